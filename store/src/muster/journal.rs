//! The arrival journal: what was stored, applied or set aside, commit by commit. `muster rebuild` replays it.
//!
//! Always holds: commits come whole and in order.

use rusqlite::{Connection, OptionalExtension};
use sync_engine::{LogId, ObjectId, Seq};

use super::apply::decode;
use super::batch::{CommitNo, Disposition};
use crate::error::{Doing, StoreError};
use crate::sql::{blob, entry_seq, log_id, millis, wall};

/// One entry's arrival or change of state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalEntry {
    pub log: LogId,
    pub seq: Seq,
    pub kind: u16,
    pub object: ObjectId,
    pub bytes: Vec<u8>,
    pub disposition: Disposition,
    /// `false`: it was stored by an earlier commit, and this one released it.
    pub arrived: bool,
}

/// What one commit did to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalCommit {
    pub commit: CommitNo,
    pub at_wall_ms: u64,
    pub entries: Vec<JournalEntry>,
}

/// Commits after `after` that touched the log, until `entries_max` entries are reached; at least one whole commit.
pub(crate) fn after(
    connection: &Connection,
    after: CommitNo,
    entries_max: usize,
) -> Result<Vec<JournalCommit>, StoreError> {
    let first: i64 = connection
        .prepare_cached(
            "SELECT journal_last + 1 FROM commit_info WHERE commit_no <= ?1 ORDER BY commit_no DESC LIMIT 1",
        )
        .and_then(|mut statement| statement.query_row([after.0], |row| row.get(0)).optional())
        .doing("read journal")?
        .unwrap_or(1);
    let mut statement = connection
        .prepare_cached(
            "SELECT l.author, l.incarnation, l.grp, l.lane, j.entry, j.commit_no, c.at_wall_ms, j.disposition, j.detail, \
             e.kind, e.object, e.bytes, e.commit_no = j.commit_no FROM journal j JOIN commit_info c USING (commit_no) \
             JOIN entry e ON e.at = j.entry JOIN log l ON l.no = j.entry >> 40 WHERE j.position >= ?1 \
             ORDER BY j.position",
        )
        .doing("prepare journal")?;
    let mut rows = statement.query([first]).doing("read journal")?;
    let mut commits: Vec<JournalCommit> = Vec::new();
    let mut count = 0;
    while let Some(row) = rows.next().doing("read journal")? {
        let commit = CommitNo(row.get(5).doing("read journal")?);
        let new = commits.last().is_none_or(|last| last.commit != commit);
        if new {
            if count >= entries_max && count > 0 {
                break;
            }
            let at_wall_ms = wall(row, 6).doing("read journal")?;
            commits.push(JournalCommit {
                commit,
                at_wall_ms,
                entries: Vec::new(),
            });
        }
        let entry = journal_entry(row)
            .doing("read journal")?
            .ok_or(StoreError::Unreadable { what: "journal" })?;
        if let Some(last) = commits.last_mut() {
            last.entries.push(entry);
        }
        count += 1;
    }
    Ok(commits)
}

fn journal_entry(row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<JournalEntry>> {
    let Some(disposition) = decode(row.get(7)?, row.get(8)?) else {
        return Ok(None);
    };
    Ok(Some(JournalEntry {
        log: log_id(row, 0)?,
        seq: entry_seq(row.get(4)?),
        kind: row.get(9)?,
        object: ObjectId(blob(row, 10)?),
        bytes: row.get(11)?,
        disposition,
        arrived: row.get(12)?,
    }))
}

/// The newest commit; 0 in an empty store.
pub(crate) fn newest_commit(connection: &Connection) -> Result<CommitNo, StoreError> {
    connection
        .prepare_cached("SELECT coalesce(max(commit_no), 0) FROM commit_info")
        .and_then(|mut statement| statement.query_row([], |row| Ok(CommitNo(row.get(0)?))))
        .doing("read newest commit")
}

/// The commit that was the newest when this node's clock showed `wall_ms`; 0 before the first.
pub(crate) fn commit_at(connection: &Connection, wall_ms: u64) -> Result<CommitNo, StoreError> {
    connection
        .prepare_cached(
            "SELECT commit_no FROM commit_info WHERE at_wall_ms <= ?1 ORDER BY at_wall_ms DESC, commit_no DESC LIMIT 1",
        )
        .and_then(|mut statement| statement.query_row([millis(wall_ms)], |row| Ok(CommitNo(row.get(0)?))).optional())
        .doing("read commit at a time")
        .map(Option::unwrap_or_default)
}
