//! The log as a person looks at it: what stands in each log, entry by entry, with its state.
//!
//! Always holds: nothing here is on the way of a peer's run or a person's edit, so it may count and join where they may
//! not; callers ask in pages, because a reader holds one of few connections.

use rusqlite::{Connection, Row, params};
use sync_engine::{ChainHash, Head, HeadSignature, LogId, ObjectId, Seq};

use super::Reader;
use super::apply::hashes;
use super::log::{StoredEntry, log_no};
use super::state::stored_head;
use crate::error::{Doing, StoreError};
use crate::sql::{SEQ_MAX, blob, entry_at, entry_seq, log_id, signature, wall};

/// What is held of one log, and how many of its entries are not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldLog {
    pub log: LogId,
    /// The oldest entry held, and the chain hash just before it.
    pub floor: Seq,
    pub floor_chain: ChainHash,
    /// The newest entry held.
    pub head: Head,
    /// Everything up to here is applied or quarantined.
    pub applied: Seq,
    pub waiting: u64,
    pub quarantined: u64,
    /// Held back by a local fault: no verdict.
    pub held: u64,
}

/// How much of a log is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSize {
    pub entries: u64,
    /// Of the entries themselves, without keys, hashes and signatures.
    pub bytes: u64,
}

/// What became of a stored entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryState {
    /// At this position of the journal.
    Applied { position: i64 },
    /// For changes with these hashes.
    Waiting { missing: Vec<[u8; 32]> },
    /// Judged invalid.
    Quarantined { reason: String },
    /// A local fault keeps it from being applied.
    Held { fault: String },
    /// Stored, and nothing says what became of it: no commit leaves this behind.
    Unknown,
}

/// A stored entry with all that is kept beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InspectedEntry {
    pub entry: StoredEntry,
    pub object: ObjectId,
    /// The chain hash as stored, not recomputed.
    pub chain: ChainHash,
    pub signature: Option<HeadSignature>,
    pub state: EntryState,
}

impl Reader<'_> {
    /// Every log in the order of its id.
    pub fn held_logs(&self) -> Result<Vec<HeldLog>, StoreError> {
        held_logs(self.connection)
    }

    /// How much of a log is stored: reads every page of it. Zero of a log that is not known.
    pub fn log_size(&self, log: &LogId) -> Result<LogSize, StoreError> {
        let log_no = log_no(self.connection, log)?.unwrap_or(0);
        self.connection
            .prepare_cached(
                "SELECT count(*), coalesce(sum(length(bytes)), 0) FROM entry WHERE at BETWEEN ?1 AND ?2",
            )
            .and_then(|mut statement| {
                statement.query_row(range(log_no, Seq(0)), |row| {
                    Ok(LogSize {
                        entries: wall(row, 0)?,
                        bytes: wall(row, 1)?,
                    })
                })
            })
            .doing("measure log")
    }

    /// Entries of a log from `from` on, at most `limit`.
    pub fn inspect_entries(
        &self,
        log: &LogId,
        from: Seq,
        limit: usize,
    ) -> Result<Vec<InspectedEntry>, StoreError> {
        let Some(log_no) = log_no(self.connection, log)? else {
            return Ok(Vec::new());
        };
        if from.0 > SEQ_MAX {
            return Ok(Vec::new());
        }
        let (first, last) = range(log_no, from);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        // Left joins throughout: what stands beside an entry must not decide whether it is shown.
        self.connection
            .prepare_cached(
                "SELECT e.at, e.kind, e.object, e.bytes, e.chain, e.signature, e.commit_no, e.applied, \
                 coalesce(c.at_wall_ms, 0), w.missing, q.held, q.reason FROM entry e \
                 LEFT JOIN commit_info c ON c.commit_no = e.commit_no LEFT JOIN waiting w ON w.entry = e.at \
                 LEFT JOIN quarantine q ON q.entry = e.at WHERE e.at BETWEEN ?1 AND ?2 ORDER BY e.at LIMIT ?3",
            )
            .and_then(|mut statement| {
                statement
                    .query_map(params![first, last, limit], |row| inspected(log, row))?
                    .collect()
            })
            .doing("read entries of log")
    }
}

/// The keys of a log's entries from `from` on.
fn range(log_no: i64, from: Seq) -> (i64, i64) {
    match log_no {
        0 => (0, 0),
        _ => (entry_at(log_no, from), entry_at(log_no, Seq(SEQ_MAX))),
    }
}

pub(super) fn inspected(log: &LogId, row: &Row<'_>) -> rusqlite::Result<InspectedEntry> {
    let applied: Option<i64> = row.get(7)?;
    let missing: Option<Vec<u8>> = row.get(9)?;
    let quarantine: Option<(bool, String)> = match row.get(10)? {
        Some(held) => Some((held, row.get(11)?)),
        None => None,
    };
    let state = match (applied, missing, quarantine) {
        (_, Some(missing), _) => EntryState::Waiting {
            missing: hashes(&missing).unwrap_or_default(),
        },
        (_, _, Some((false, reason))) => EntryState::Quarantined { reason },
        (_, _, Some((true, fault))) => EntryState::Held { fault },
        (Some(position), None, None) => EntryState::Applied { position },
        (None, None, None) => EntryState::Unknown,
    };
    Ok(InspectedEntry {
        entry: StoredEntry {
            log: *log,
            seq: entry_seq(row.get(0)?),
            kind: row.get(1)?,
            bytes: row.get(3)?,
            commit: crate::CommitNo(row.get(6)?),
            at_wall_ms: wall(row, 8)?,
        },
        object: ObjectId(blob(row, 2)?),
        chain: ChainHash(blob(row, 4)?),
        signature: signature(row, 5)?,
        state,
    })
}

fn held_logs(connection: &Connection) -> Result<Vec<HeldLog>, StoreError> {
    let rows: Vec<(i64, LogId, u64, [u8; 32])> = connection
        .prepare_cached("SELECT author, incarnation, grp, lane, no, floor, floor_chain FROM log")
        .and_then(|mut statement| {
            statement
                .query_map([], |row| {
                    Ok((
                        row.get(4)?,
                        log_id(row, 0)?,
                        wall(row, 5)?.max(1),
                        blob(row, 6)?,
                    ))
                })?
                .collect()
        })
        .doing("read logs")?;
    let mut logs = Vec::with_capacity(rows.len());
    for (no, log, floor, floor_chain) in rows {
        let (floor, floor_chain) = (Seq(floor), ChainHash(floor_chain));
        let head = stored_head(connection, no)?.unwrap_or(Head {
            seq: floor.before(),
            chain: floor_chain,
        });
        let (waiting, quarantined, held, first_open) = unapplied_of(connection, no)?;
        logs.push(HeldLog {
            log,
            floor,
            floor_chain,
            head,
            applied: first_open.map_or(head.seq, Seq::before),
            waiting,
            quarantined,
            held,
        });
    }
    logs.sort_by_key(|held| held.log);
    Ok(logs)
}

/// How many entries of a log wait, are quarantined, are held back; and the first that is not settled.
fn unapplied_of(
    connection: &Connection,
    log_no: i64,
) -> Result<(u64, u64, u64, Option<Seq>), StoreError> {
    connection
        .prepare_cached(
            "SELECT count(*) FILTER (WHERE state = 1), count(*) FILTER (WHERE state = 2), \
             count(*) FILTER (WHERE state = 3), min(entry) FILTER (WHERE state <> 2) FROM ( \
             SELECT entry, 1 AS state FROM waiting WHERE entry BETWEEN ?1 AND ?2 UNION ALL \
             SELECT entry, 2 + held FROM quarantine WHERE entry BETWEEN ?1 AND ?2)",
        )
        .and_then(|mut statement| {
            statement.query_row(range(log_no, Seq(0)), |row| {
                let first_open: Option<i64> = row.get(3)?;
                Ok((
                    wall(row, 0)?,
                    wall(row, 1)?,
                    wall(row, 2)?,
                    first_open.map(entry_seq),
                ))
            })
        })
        .doing("count what is not applied")
}
