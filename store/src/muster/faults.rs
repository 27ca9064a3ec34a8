//! Faults of sync: times when a peer had made something else of the same logs.
//!
//! Always holds: a difference that comes up again is counted, not listed again, so that one fault cannot push the others
//! out, and neither can one peer, whatever it says; the oldest go past the bounds.

use rusqlite::{Connection, OptionalExtension, Row, params};
use sync_engine::{GroupId, MarkHash, NodeId};

use super::Reader;
use crate::error::{Doing, StoreError};
use crate::sql::{blob, millis, wall};

/// Faults kept. Each is a defect of a program or a disk; nobody looks at more than a handful, and the detail of a large
/// one takes some 100 KiB.
const FAULTS_MAX: i64 = 200;

/// Of them with one peer: a member that lies may say something else each time.
const FAULTS_OF_PEER_MAX: i64 = 20;

/// A fault as it is noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultWrite {
    pub at_wall_ms: u64,
    /// Who holds something else.
    pub peer: NodeId,
    /// The frontier that both hold.
    pub mark: MarkHash,
    pub group: GroupId,
    /// Names what differs: equal for the same difference at another time.
    pub about: [u8; 16],
    /// How many objects differ.
    pub objects: u64,
    /// JSON: what is needed to find the cause.
    pub detail: String,
}

/// A fault as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultRow {
    pub no: i64,
    pub at_wall_ms: u64,
    /// When it was noticed last, and how often.
    pub last_wall_ms: u64,
    pub times: u64,
    pub peer: NodeId,
    pub mark: MarkHash,
    pub group: GroupId,
    pub objects: u64,
    /// JSON.
    pub detail: String,
    /// When this node's side was put right, or was found to be right.
    pub repaired_at_wall_ms: Option<u64>,
    /// When a person had looked at it.
    pub seen_at_wall_ms: Option<u64>,
}

/// The faults that nobody has looked at yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UnseenFaults {
    pub count: u64,
    /// When the newest of them was noticed last.
    pub last_wall_ms: Option<u64>,
}

/// Records a fault; answers its number. One that is the peer's newest fault in the group already is counted once more.
pub(crate) fn record(connection: &Connection, fault: &FaultWrite) -> Result<i64, StoreError> {
    write(connection, fault).doing("record a fault of sync")
}

fn write(connection: &Connection, fault: &FaultWrite) -> Result<i64, rusqlite::Error> {
    let newest: Option<(i64, [u8; 16])> = connection
        .prepare_cached(
            "SELECT no, about FROM sync_fault WHERE peer = ?1 AND grp = ?2 ORDER BY no DESC LIMIT 1",
        )?
        .query_row(params![&fault.peer.0[..], &fault.group.0[..]], |row| {
            Ok((row.get(0)?, blob(row, 1)?))
        })
        .optional()?;
    if let Some((no, _)) = newest.filter(|(_, about)| *about == fault.about) {
        // Somebody has to look again, and at what is known now.
        connection
            .prepare_cached(
                "UPDATE sync_fault SET last_wall_ms = ?2, times = times + 1, mark = ?3, detail = ?4, \
                 repaired_at_wall_ms = NULL, seen_at_wall_ms = NULL WHERE no = ?1",
            )?
            .execute(params![
                no,
                millis(fault.at_wall_ms),
                &fault.mark.0[..],
                fault.detail
            ])?;
        return Ok(no);
    }
    connection
        .prepare_cached(
            "INSERT INTO sync_fault (at_wall_ms, last_wall_ms, times, peer, mark, grp, about, objects, detail) \
             VALUES (?1, ?1, 1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            millis(fault.at_wall_ms),
            &fault.peer.0[..],
            &fault.mark.0[..],
            &fault.group.0[..],
            &fault.about[..],
            i64::try_from(fault.objects).unwrap_or(i64::MAX),
            fault.detail
        ])?;
    let no = connection.last_insert_rowid();
    connection
        .prepare_cached(
            "DELETE FROM sync_fault WHERE peer = ?1 AND no NOT IN \
             (SELECT no FROM sync_fault WHERE peer = ?1 ORDER BY no DESC LIMIT ?2)",
        )?
        .execute(params![&fault.peer.0[..], FAULTS_OF_PEER_MAX])?;
    connection
        .prepare_cached(
            "DELETE FROM sync_fault WHERE no NOT IN (SELECT no FROM sync_fault ORDER BY no DESC LIMIT ?1)",
        )?
        .execute([FAULTS_MAX])?;
    Ok(no)
}

/// Notes what came of a repair; `repaired_at_wall_ms` is `None` where this node's side could not be put right.
pub(crate) fn settle(
    connection: &Connection,
    no: i64,
    detail: &str,
    repaired_at_wall_ms: Option<u64>,
) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE sync_fault SET detail = ?2, repaired_at_wall_ms = ?3 WHERE no = ?1")
        .and_then(|mut statement| {
            statement.execute(params![no, detail, repaired_at_wall_ms.map(millis)])
        })
        .map(|_| ())
        .doing("note what came of a repair")
}

/// A person has looked at all faults up to `through`; answers how many were new to them.
pub(crate) fn see(
    connection: &Connection,
    through: i64,
    at_wall_ms: u64,
) -> Result<u64, StoreError> {
    connection
        .prepare_cached(
            "UPDATE sync_fault SET seen_at_wall_ms = ?2 WHERE no <= ?1 AND seen_at_wall_ms IS NULL",
        )
        .and_then(|mut statement| statement.execute((through, millis(at_wall_ms))))
        .map(|count| count as u64)
        .doing("note that faults were looked at")
}

impl Reader<'_> {
    /// Faults of sync, newest first; `before` is the number of the last one of the page before.
    pub fn sync_faults(
        &self,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<FaultRow>, StoreError> {
        self.connection
            .prepare_cached(
                "SELECT no, at_wall_ms, last_wall_ms, times, peer, mark, grp, objects, detail, repaired_at_wall_ms, \
                 seen_at_wall_ms FROM sync_fault WHERE no < ?1 ORDER BY no DESC LIMIT ?2",
            )
            .and_then(|mut statement| {
                let limit = i64::try_from(limit).unwrap_or(i64::MAX);
                statement
                    .query_map((before.unwrap_or(i64::MAX), limit), fault)?
                    .collect()
            })
            .doing("list faults of sync")
    }

    /// The faults of sync that nobody has looked at yet.
    pub fn unseen_sync_faults(&self) -> Result<UnseenFaults, StoreError> {
        self.connection
            .prepare_cached(
                "SELECT count(*), max(last_wall_ms) FROM sync_fault WHERE seen_at_wall_ms IS NULL",
            )
            .and_then(|mut statement| {
                statement.query_row([], |row| {
                    Ok(UnseenFaults {
                        count: wall(row, 0)?,
                        last_wall_ms: optional_wall(row, 1)?,
                    })
                })
            })
            .doing("count faults of sync")
    }
}

fn fault(row: &Row<'_>) -> rusqlite::Result<FaultRow> {
    Ok(FaultRow {
        no: row.get(0)?,
        at_wall_ms: wall(row, 1)?,
        last_wall_ms: wall(row, 2)?,
        times: wall(row, 3)?,
        peer: NodeId(blob(row, 4)?),
        mark: MarkHash(blob(row, 5)?),
        group: GroupId(blob(row, 6)?),
        objects: wall(row, 7)?,
        detail: row.get(8)?,
        repaired_at_wall_ms: optional_wall(row, 9)?,
        seen_at_wall_ms: optional_wall(row, 10)?,
    })
}

fn optional_wall(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    let at_ms: Option<i64> = row.get(column)?;
    Ok(at_ms.and_then(|at_ms| u64::try_from(at_ms).ok()))
}
