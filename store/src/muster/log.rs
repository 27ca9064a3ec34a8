//! Reading the log: runs for peers, the frontier, one object's entries.
//!
//! Always holds: a run that leaves here ends at a kept signature and fits the engine's bound; nothing is decoded.

use rusqlite::{Connection, OptionalExtension, Row, params};
use sync_engine::{
    ChainHash, Frontier, GroupId, Head, HeadSignature, Incarnation, Lane, LogFrontier, LogId,
    NodeId, ObjectId, Run, RunBuilder, Seq,
};

use super::apply::hashes;
use super::batch::CommitNo;
use super::state::stored_head;
use crate::error::{Doing, StoreError};
use crate::sql::{SEQ_MAX, blob, entry_at, entry_log_no, entry_seq, lane, log_id, signature, wall};

/// A stored entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEntry {
    pub log: LogId,
    pub seq: Seq,
    pub kind: u16,
    pub bytes: Vec<u8>,
    /// The commit that stored it, and this node's clock then.
    pub commit: CommitNo,
    pub at_wall_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingEntry {
    pub entry: StoredEntry,
    pub missing: Vec<[u8; 32]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantinedEntry {
    pub object: ObjectId,
    pub entry: StoredEntry,
    pub reason: String,
    /// Held back by a local fault: no verdict.
    pub held: bool,
}

/// All that is needed to bring a document into memory.
#[derive(Debug, Clone, Default)]
pub struct LoadedDocument {
    /// `None`: no snapshot was saved; `applied` then starts from the document's first entry.
    pub snapshot: Option<Vec<u8>>,
    /// Applied after the snapshot, in the order in which they were applied.
    pub applied: Vec<StoredEntry>,
    pub waiting: Vec<WaitingEntry>,
    pub quarantined: Vec<QuarantinedEntry>,
}

const ENTRY_COLUMNS: &str =
    "l.author, l.incarnation, l.grp, l.lane, e.at, e.kind, e.bytes, e.commit_no, c.at_wall_ms";
const ENTRY_JOINS: &str =
    "JOIN log l ON l.no = e.at >> 40 JOIN commit_info c ON c.commit_no = e.commit_no";
/// Columns that [`stored_entry`] reads.
const ENTRY_COLUMN_COUNT: usize = 9;

fn stored_entry(row: &Row<'_>) -> rusqlite::Result<StoredEntry> {
    Ok(StoredEntry {
        log: log_id(row, 0)?,
        seq: entry_seq(row.get(4)?),
        kind: row.get(5)?,
        bytes: row.get(6)?,
        commit: CommitNo(row.get(7)?),
        at_wall_ms: wall(row, 8)?,
    })
}

pub(crate) fn load_document(
    connection: &Connection,
    id: &ObjectId,
) -> Result<LoadedDocument, StoreError> {
    let state: Option<(i64, Vec<u8>)> = connection
        .prepare_cached("SELECT s.covers, s.bytes FROM document d JOIN document_state s USING (no) WHERE d.id = ?1")
        .and_then(|mut statement| statement.query_row([&id.0[..]], |row| Ok((row.get(0)?, row.get(1)?))).optional())
        .doing("read snapshot")?;
    let (covers, snapshot) = state.unzip();
    let applied = connection
        .prepare_cached(&format!(
            "SELECT {ENTRY_COLUMNS} FROM entry e {ENTRY_JOINS} WHERE e.object = ?1 AND e.applied > ?2 ORDER BY e.applied"
        ))
        .and_then(|mut statement| {
            statement.query_map(params![&id.0[..], covers.unwrap_or(0)], stored_entry)?.collect()
        })
        .doing("read entries of document")?;
    let waiting = connection
        .prepare_cached(&format!(
            "SELECT {ENTRY_COLUMNS}, w.missing FROM waiting w JOIN entry e ON e.at = w.entry {ENTRY_JOINS} \
             WHERE w.object = ?1 ORDER BY w.commit_no, w.entry"
        ))
        .and_then(|mut statement| {
            statement
                .query_map([&id.0[..]], |row| {
                    let missing: Vec<u8> = row.get(ENTRY_COLUMN_COUNT)?;
                    Ok(WaitingEntry { entry: stored_entry(row)?, missing: hashes(&missing).unwrap_or_default() })
                })?
                .collect()
        })
        .doing("read waiting entries")?;
    let quarantined = connection
        .prepare_cached(&format!(
            "SELECT {ENTRY_COLUMNS}, q.object, q.reason, q.held FROM quarantine q JOIN entry e ON e.at = q.entry \
             {ENTRY_JOINS} WHERE q.object = ?1 ORDER BY q.commit_no, q.entry"
        ))
        .and_then(|mut statement| statement.query_map([&id.0[..]], quarantined_entry)?.collect())
        .doing("read quarantined entries")?;
    Ok(LoadedDocument {
        snapshot,
        applied,
        waiting,
        quarantined,
    })
}

fn quarantined_entry(row: &Row<'_>) -> rusqlite::Result<QuarantinedEntry> {
    Ok(QuarantinedEntry {
        entry: stored_entry(row)?,
        object: ObjectId(blob(row, ENTRY_COLUMN_COUNT)?),
        reason: row.get(ENTRY_COLUMN_COUNT + 1)?,
        held: row.get(ENTRY_COLUMN_COUNT + 2)?,
    })
}

/// The applied entries of an object, in the order in which they were applied here.
pub(crate) fn entries_of_object(
    connection: &Connection,
    id: &ObjectId,
) -> Result<Vec<StoredEntry>, StoreError> {
    connection
        .prepare_cached(&format!(
            "SELECT {ENTRY_COLUMNS} FROM entry e {ENTRY_JOINS} WHERE e.object = ?1 AND e.applied IS NOT NULL \
             ORDER BY e.applied"
        ))
        .and_then(|mut statement| statement.query_map([&id.0[..]], stored_entry)?.collect())
        .doing("read entries of object")
}

/// One entry by its place.
pub(crate) fn entry(
    connection: &Connection,
    log: &LogId,
    seq: Seq,
) -> Result<Option<StoredEntry>, StoreError> {
    let Some(log_no) = log_no(connection, log)? else {
        return Ok(None);
    };
    connection
        .prepare_cached(&format!(
            "SELECT {ENTRY_COLUMNS} FROM entry e {ENTRY_JOINS} WHERE e.at = ?1"
        ))
        .and_then(|mut statement| {
            statement
                .query_row([entry_at(log_no, seq)], stored_entry)
                .optional()
        })
        .doing("read entry")
}

/// Quarantined entries, newest first; `before` continues a list at (commit, log, seq) of its last item.
pub(crate) fn quarantine(
    connection: &Connection,
    before: Option<(CommitNo, LogId, Seq)>,
    limit: usize,
) -> Result<Vec<QuarantinedEntry>, StoreError> {
    let (commit, at) = match before {
        None => (i64::MAX, i64::MAX),
        Some((commit, log, seq)) => (
            commit.0,
            log_no(connection, &log)?.map_or(0, |log_no| entry_at(log_no, seq)),
        ),
    };
    connection
        .prepare_cached(&format!(
            "SELECT {ENTRY_COLUMNS}, q.object, q.reason, q.held FROM quarantine q JOIN entry e ON e.at = q.entry \
             {ENTRY_JOINS} WHERE (q.commit_no, q.entry) < (?1, ?2) ORDER BY q.commit_no DESC, q.entry DESC LIMIT ?3"
        ))
        .and_then(|mut statement| {
            statement.query_map((commit, at, i64::try_from(limit).unwrap_or(i64::MAX)), quarantined_entry)?.collect()
        })
        .doing("read quarantine")
}

/// How many entries wait, are quarantined, are held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UnappliedCounts {
    pub waiting: u64,
    pub quarantined: u64,
    pub held: u64,
}

pub(crate) fn unapplied(connection: &Connection) -> Result<UnappliedCounts, StoreError> {
    connection
        .prepare_cached(
            "SELECT (SELECT count(*) FROM waiting), (SELECT count(*) FROM quarantine WHERE held = 0), \
             (SELECT count(*) FROM quarantine WHERE held = 1)",
        )
        .and_then(|mut statement| {
            statement.query_row([], |row| {
                Ok(UnappliedCounts { waiting: wall(row, 0)?, quarantined: wall(row, 1)?, held: wall(row, 2)? })
            })
        })
        .doing("count entries that are not applied")
}

pub(crate) fn log_no(connection: &Connection, log: &LogId) -> Result<Option<i64>, StoreError> {
    connection
        .prepare_cached(
            "SELECT no FROM log WHERE author = ?1 AND incarnation = ?2 AND grp = ?3 AND lane = ?4",
        )
        .and_then(|mut statement| {
            statement
                .query_row(
                    params![
                        &log.author.0[..],
                        log.incarnation.0.cast_signed(),
                        &log.group.0[..],
                        log.lane as u8
                    ],
                    |row| row.get(0),
                )
                .optional()
        })
        .doing("read log")
}

/// Entries of `log` from `from` on, as many as fit `bytes_max` and the bound of a run, ending at a kept signature; more
/// when the first signature comes later. `None`: nothing there (or pruned).
pub(crate) fn load_run(
    connection: &Connection,
    log: &LogId,
    from: Seq,
    bytes_max: usize,
) -> Result<Option<Run>, StoreError> {
    let Some(log_no) = log_no(connection, log)? else {
        return Ok(None);
    };
    let Some(prev) = chain_before(connection, log_no, from)? else {
        return Ok(None);
    };
    let mut statement = connection
        .prepare_cached(
            "SELECT at, bytes, signature FROM entry WHERE at BETWEEN ?1 AND ?2 ORDER BY at",
        )
        .doing("prepare run")?;
    let mut rows = statement
        .query((entry_at(log_no, from), entry_at(log_no, Seq(SEQ_MAX))))
        .doing("read run")?;
    let mut builder = RunBuilder::new(*log, from, prev, bytes_max);
    let mut expected = from;
    while let Some(row) = rows.next().doing("read run")? {
        let read = |row: &Row<'_>| -> rusqlite::Result<(i64, Vec<u8>, Option<HeadSignature>)> {
            Ok((row.get(0)?, row.get(1)?, signature(row, 2)?))
        };
        let (at, entry, signature) = read(row).doing("read run")?;
        if entry_seq(at) != expected || !builder.push(entry, signature) {
            break;
        }
        expected = expected.next();
    }
    Ok(builder.finish())
}

/// The chain hash before `seq`; `None` when it is not known.
fn chain_before(
    connection: &Connection,
    log_no: i64,
    seq: Seq,
) -> Result<Option<ChainHash>, StoreError> {
    if seq.0 == 0 || seq.0 > SEQ_MAX {
        return Ok(None);
    }
    let before: Option<[u8; 32]> = connection
        .prepare_cached("SELECT chain FROM entry WHERE at = ?1")
        .and_then(|mut statement| {
            statement
                .query_row([entry_at(log_no, seq.before())], |row| blob(row, 0))
                .optional()
        })
        .doing("read chain")?;
    if let Some(chain) = before {
        return Ok(Some(ChainHash(chain)));
    }
    connection
        .prepare_cached("SELECT floor_chain FROM log WHERE no = ?1 AND floor = ?2")
        .and_then(|mut statement| {
            statement
                .query_row((log_no, i64::try_from(seq.0).unwrap_or(i64::MAX)), |row| {
                    Ok(ChainHash(blob(row, 0)?))
                })
                .optional()
        })
        .doing("read floor of log")
}

/// A log's row: number, id, and what is held of it.
pub(crate) fn all_logs(
    connection: &Connection,
) -> Result<Vec<(i64, LogId, LogFrontier)>, StoreError> {
    let logs: Vec<(i64, LogId, i64, [u8; 32])> = connection
        .prepare_cached(
            "SELECT author, incarnation, grp, lane, no, floor, floor_chain FROM log ORDER BY no",
        )
        .and_then(|mut statement| {
            statement
                .query_map([], |row| {
                    Ok((row.get(4)?, log_id(row, 0)?, row.get(5)?, blob(row, 6)?))
                })?
                .collect()
        })
        .doing("read logs")?;
    let mut all = Vec::with_capacity(logs.len());
    for (no, id, floor, floor_chain) in logs {
        let floor = Seq(u64::try_from(floor).unwrap_or(1));
        let head = stored_head(connection, no)?.unwrap_or(Head {
            seq: floor.before(),
            chain: ChainHash(floor_chain),
        });
        all.push((
            no,
            id,
            LogFrontier {
                floor,
                height: head.seq,
                chain: head.chain,
            },
        ));
    }
    Ok(all)
}

pub(crate) fn frontier(connection: &Connection) -> Result<Frontier, StoreError> {
    Ok(all_logs(connection)?
        .into_iter()
        .filter(|(_, _, held)| held.height > Seq::NONE)
        .map(|(_, id, held)| (id, held))
        .collect())
}

/// Per log the highest sequence up to which everything is applied or quarantined.
pub(crate) fn applied_heights(connection: &Connection) -> Result<Vec<(LogId, Seq)>, StoreError> {
    all_logs(connection)?
        .into_iter()
        .map(|(no, id, held)| Ok((id, applied_height(connection, no, held.height)?)))
        .collect()
}

/// The same for one log that is stored up to `height`.
pub(crate) fn applied_height(
    connection: &Connection,
    log_no: i64,
    height: Seq,
) -> Result<Seq, StoreError> {
    let range = (entry_at(log_no, Seq(0)), entry_at(log_no, Seq(SEQ_MAX)));
    let first_open: Option<i64> = connection
        .prepare_cached(
            "SELECT min(entry) FROM (SELECT min(entry) AS entry FROM waiting WHERE entry BETWEEN ?1 AND ?2 \
             UNION ALL SELECT min(entry) FROM quarantine WHERE held = 1 AND entry BETWEEN ?1 AND ?2)",
        )
        .and_then(|mut statement| statement.query_row(range, |row| row.get(0)))
        .doing("read applied height")?;
    Ok(first_open.map_or(height, |at| entry_seq(at).before()))
}

/// Every entry that is stored and not applied: it waits, or is held back by a local fault.
pub(crate) fn unapplied_entries(connection: &Connection) -> Result<Vec<(LogId, Seq)>, StoreError> {
    let at: Vec<i64> = connection
        .prepare_cached(
            "SELECT entry FROM waiting UNION SELECT entry FROM quarantine WHERE held = 1",
        )
        .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
        .doing("read what is not applied")?;
    let logs: std::collections::BTreeMap<i64, LogId> = all_logs(connection)?
        .into_iter()
        .map(|(no, id, _)| (no, id))
        .collect();
    Ok(at
        .into_iter()
        .filter_map(|at| logs.get(&entry_log_no(at)).map(|log| (*log, entry_seq(at))))
        .collect())
}

/// Heads of the logs of one author and incarnation.
pub(crate) fn heads_of(
    connection: &Connection,
    author: &NodeId,
    incarnation: Incarnation,
) -> Result<Vec<(LogId, Head)>, StoreError> {
    Ok(all_logs(connection)?
        .into_iter()
        .filter(|(_, id, _)| id.author == *author && id.incarnation == incarnation)
        .map(|(_, id, held)| (id, held.head()))
        .collect())
}

/// Entries of the trust lane, whatever their log, in the order in which they were stored here. CROSS JOIN keeps SQLite
/// from beginning with the entries, of which few are of this lane.
pub(crate) fn trust_records(connection: &Connection) -> Result<Vec<StoredEntry>, StoreError> {
    connection
        .prepare_cached(&trust_records_sql())
        .and_then(|mut statement| statement.query_map([], stored_entry)?.collect())
        .doing("read trust records")
}

fn trust_records_sql() -> String {
    format!(
        "SELECT {ENTRY_COLUMNS} FROM log l CROSS JOIN entry e \
         ON e.at BETWEEN l.no << 40 AND (l.no << 40) + 1099511627775 \
         CROSS JOIN commit_info c ON c.commit_no = e.commit_no WHERE l.lane = 0 ORDER BY e.commit_no, e.at"
    )
}

/// What a digest of a group is computed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DigestItem<'a> {
    Document {
        id: ObjectId,
        lane: Lane,
        heads: &'a [u8],
    },
    Fact {
        id: ObjectId,
        lane: Lane,
    },
}

/// All documents of a group in the order of their ids, then all facts in the order of theirs; lanes 0 to 3.
pub(crate) fn digest_items(
    connection: &Connection,
    group: &GroupId,
    mut each: impl FnMut(DigestItem<'_>),
) -> Result<(), StoreError> {
    let last = Lane::Coordination as u8;
    let mut statement = connection
        .prepare_cached(
            "SELECT id, lane, heads FROM document WHERE grp = ?1 AND lane <= ?2 ORDER BY id",
        )
        .doing("prepare digest")?;
    let mut rows = statement
        .query(params![&group.0[..], last])
        .doing("read digest")?;
    while let Some(row) = rows.next().doing("read digest")? {
        let id = ObjectId(blob(row, 0).doing("read digest")?);
        let lane = lane(row, 1).doing("read digest")?;
        let heads = row.get_ref(2).doing("read digest")?;
        each(DigestItem::Document {
            id,
            lane,
            heads: heads.as_blob().unwrap_or_default(),
        });
    }
    let mut statement = connection
        .prepare_cached("SELECT id, lane FROM fact WHERE grp = ?1 AND lane <= ?2 ORDER BY id")
        .doing("prepare digest")?;
    let mut rows = statement
        .query(params![&group.0[..], last])
        .doing("read digest")?;
    while let Some(row) = rows.next().doing("read digest")? {
        let id = ObjectId(blob(row, 0).doing("read digest")?);
        each(DigestItem::Fact {
            id,
            lane: lane(row, 1).doing("read digest")?,
        });
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn trust_records_are_found_without_a_look_at_every_entry() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(include_str!(
                "../../migrations/muster/0001_log_and_local.sql"
            ))
            .unwrap();
        let plan: Vec<String> = connection
            .prepare(&format!("EXPLAIN QUERY PLAN {}", trust_records_sql()))
            .unwrap()
            .query_map([], |row| row.get("detail"))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert!(
            plan.iter()
                .any(|step| step.starts_with("SEARCH e USING INTEGER PRIMARY KEY")),
            "{plan:?}"
        );
    }
}
