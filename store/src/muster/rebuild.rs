//! Dropping the views and writing them again from the journal, under the original commit numbers.
//!
//! Always holds: it is one transaction. Readers see the old views until it ends; a crash in the middle leaves them.

use rusqlite::Connection;
use sync_engine::{LogId, ObjectId};

use super::apply::raise;
use super::batch::{
    CommitNo, ConflictWrite, DocumentWrite, EntryPlace, FactWrite, HealthWrite, RawWrite,
    RewrittenViews, SummaryWrite,
};
use super::health;
use super::raw;
use super::rows::{self, At};
use super::summaries;
use crate::error::{Doing, StoreError};
use crate::migrate::{META_REBUILD_NEEDED, VIEWS, meta, set_meta};
use crate::sql::{blob, entry_seq, log_id};

/// Up to this commit the history of documents has been pruned.
pub(crate) const META_PAST_PRUNED: &str = "past_pruned_to_commit";

/// What the replay of one commit gave. The document service passes the same values as in the original batch.
#[derive(Debug, Clone, Default)]
pub struct RebuildCommit {
    pub commit: CommitNo,
    pub documents: Vec<DocumentWrite>,
    pub facts: Vec<FactWrite>,
    pub conflicts: Vec<ConflictWrite>,
    /// In the order of the entries that say it.
    pub summaries: Vec<SummaryWrite>,
    /// The same.
    pub health: Vec<HealthWrite>,
    /// The same, by their places in logs.
    pub raw: Vec<RawWrite>,
}

pub(crate) enum RebuildStep {
    Begin,
    Commits(Vec<RebuildCommit>),
    Finish,
    Abandon,
}

pub(crate) fn begin(connection: &Connection) -> Result<(), StoreError> {
    connection
        .execute_batch("BEGIN IMMEDIATE")
        .doing("begin rebuild")?;
    // Prepared statements of dropped tables are prepared anew by SQLite itself.
    connection.execute_batch(VIEWS).doing("recreate views")
}

pub(crate) fn step(connection: &Connection, step: RebuildStep) -> Result<(), StoreError> {
    match step {
        RebuildStep::Begin => Err(StoreError::Refused(
            "a rebuild is running already".to_owned(),
        )),
        RebuildStep::Commits(commits) => {
            let pruned_to = CommitNo(meta(connection, META_PAST_PRUNED)?.unwrap_or(0));
            commits
                .iter()
                .try_for_each(|commit| write(connection, commit, pruned_to))
        }
        RebuildStep::Finish => {
            summaries::collapse_as_before(connection)?;
            set_meta(connection, META_REBUILD_NEEDED, 0)?;
            connection.execute_batch("COMMIT").doing("commit rebuild")
        }
        RebuildStep::Abandon => connection
            .execute_batch("ROLLBACK")
            .doing("abandon rebuild"),
    }
}

/// Drops the views of these objects and writes them anew: what a rebuild does, for a few of them and inside a batch.
pub(crate) fn rewrite(
    connection: &Connection,
    rewritten: &[RewrittenViews],
) -> Result<(), StoreError> {
    if rewritten.is_empty() {
        return Ok(());
    }
    let pruned_to = CommitNo(meta(connection, META_PAST_PRUNED)?.unwrap_or(0));
    let objects: Vec<ObjectId> = rewritten.iter().map(|views| views.object).collect();
    rows::forget(connection, &objects).doing("forget the views of objects")?;
    rewritten
        .iter()
        .flat_map(|views| &views.commits)
        .try_for_each(|commit| write(connection, commit, pruned_to))
}

struct Entry {
    at: i64,
    object: ObjectId,
    log: LogId,
    applied: bool,
}

fn write(
    connection: &Connection,
    replayed: &RebuildCommit,
    pruned_to: CommitNo,
) -> Result<(), StoreError> {
    let commit = replayed.commit;
    let (journal_last, entries) = entries(connection, commit)?;
    for document in &replayed.documents {
        let mut heights = Vec::new();
        for entry in entries
            .iter()
            .filter(|entry| entry.applied && entry.object == document.id)
        {
            raise(&mut heights, entry.at);
        }
        let at = At {
            commit,
            journal_last,
            heights: &heights,
            pruned_to,
        };
        rows::write_document(connection, document, &rows::search_text(document), &at)
            .doing("rebuild document")?;
    }
    for fact in &replayed.facts {
        let entry = entries
            .iter()
            .rev()
            .find(|entry| match &fact.entry {
                None => entry.object == fact.id,
                Some((log, seq)) => entry.log == *log && entry_seq(entry.at) == *seq,
            })
            .ok_or_else(|| {
                StoreError::Refused(format!(
                    "rebuild: commit {} has no entry of the fact",
                    commit.0
                ))
            })?;
        rows::write_fact(connection, fact, &entry.log, entry.at, commit).doing("rebuild fact")?;
    }
    for conflict in &replayed.conflicts {
        rows::write_conflict(connection, conflict, commit).doing("rebuild conflict")?;
    }
    for said in &replayed.summaries {
        summaries::fold_again(connection, said, commit).doing("rebuild summaries")?;
    }
    for said in &replayed.health {
        health::fold_again(connection, said, commit).doing("rebuild what is said of devices")?;
    }
    for said in &replayed.raw {
        let entry = entries
            .iter()
            .find(|entry| said.place == EntryPlace::Log(entry.log, entry_seq(entry.at)));
        if let Some(entry) = entry {
            raw::fold(connection, said, entry.at).doing("rebuild raw readings")?;
        }
    }
    Ok(())
}

/// The journal of one commit: its newest position, and its entries.
fn entries(connection: &Connection, commit: CommitNo) -> Result<(i64, Vec<Entry>), StoreError> {
    let (first, last): (i64, i64) = connection
        .prepare_cached(
            "SELECT coalesce((SELECT journal_last FROM commit_info WHERE commit_no < ?1 ORDER BY commit_no DESC LIMIT 1), \
             0) + 1, journal_last FROM commit_info WHERE commit_no = ?1",
        )
        .and_then(|mut statement| statement.query_row([commit.0], |row| Ok((row.get(0)?, row.get(1)?))))
        .doing("read commit")?;
    let entries = connection
        .prepare_cached(
            "SELECT l.author, l.incarnation, l.grp, l.lane, j.entry, j.disposition, e.object FROM journal j \
             JOIN entry e ON e.at = j.entry JOIN log l ON l.no = j.entry >> 40 \
             WHERE j.position BETWEEN ?1 AND ?2 ORDER BY j.position",
        )
        .and_then(|mut statement| {
            statement
                .query_map((first, last), |row| {
                    Ok(Entry {
                        log: log_id(row, 0)?,
                        at: row.get(4)?,
                        applied: row.get::<_, u8>(5)? == 0,
                        object: ObjectId(blob(row, 6)?),
                    })
                })?
                .collect()
        })
        .doing("read journal of commit")?;
    Ok((last, entries))
}

/// BLAKE3 over all rows of all view tables in the order of their keys. Saved snapshots are a cache and left out, and so
/// are internal row numbers.
pub(crate) fn fingerprint(connection: &Connection) -> Result<[u8; 32], StoreError> {
    const TABLES: [&str; 12] = [
        "SELECT id, kind, grp, lane, from_commit, first_commit, deleted, created_wall_ms, updated_wall_ms, lat, lon, \
         version, heads, title, facets, search, view FROM document ORDER BY id",
        "SELECT d.id, p.from_commit, p.to_commit, p.deleted, p.updated_wall_ms, p.lat, p.lon, p.version, p.title, \
         p.facets, p.view FROM document_past p JOIN document d USING (no) ORDER BY d.id, p.from_commit",
        "SELECT d.id, l.log_no, l.last_seq FROM document_log l JOIN document d USING (no) ORDER BY d.id, l.log_no",
        "SELECT kind, facet, created_wall_ms, id FROM row_facet ORDER BY kind, facet, created_wall_ms, id",
        "SELECT d.id, p.lat_min, p.lat_max, p.lon_min, p.lon_max FROM document_place p JOIN document d USING (no) \
         ORDER BY d.id",
        "SELECT id, kind, grp, lane, entry, about, from_commit, created_wall_ms, view FROM fact ORDER BY id",
        "SELECT id, kind, object, object_kind, field, state, detail, first_commit, from_commit FROM conflict ORDER BY id",
        "SELECT s.id, s.device, s.channel, s.unit, a.node, h.first_quarter, h.last_quarter, h.count FROM summary_heard h \
         JOIN summary_series s ON s.no = h.series JOIN summary_author a ON a.no = h.author ORDER BY s.id, a.node",
        "SELECT a.node, a.series, a.quarters, q.start, s.id, q.count, q.min, q.max, q.sum FROM summary_quarter q \
         JOIN summary_series s ON s.no = q.series JOIN summary_author a ON a.no = q.author ORDER BY a.node, q.start, s.id",
        "SELECT a.node, r.start, s.id, r.count, r.entry FROM raw_quarter r \
         JOIN summary_series s ON s.no = r.series JOIN summary_author a ON a.no = r.author ORDER BY a.node, r.start, s.id",
        "SELECT a.node, q.start, s.id, q.quarters, q.count, q.min, q.max, q.sum FROM summary_hour q \
         JOIN summary_series s ON s.no = q.series JOIN summary_author a ON a.no = q.author ORDER BY a.node, q.start, s.id",
        "SELECT a.node, a.devices, a.turns, h.turn, h.device, h.said_ms, h.heard_ms, h.battery_pct, h.battery_ms, h.rssi_dbm, \
         h.rssi_ms, h.online, h.firmware, h.firmware_ms FROM device_health h \
         JOIN device_health_author a ON a.no = h.author ORDER BY a.node, h.turn",
    ];
    let mut hasher = blake3::Hasher::new_derive_key("muster 2026 fingerprint of views 1");
    for sql in TABLES {
        let mut statement = connection.prepare(sql).doing("prepare fingerprint")?;
        let columns = statement.column_count();
        let mut rows = statement.query([]).doing("read views")?;
        while let Some(row) = rows.next().doing("read views")? {
            for column in 0..columns {
                use rusqlite::types::ValueRef;
                let (tag, bytes): (u8, std::borrow::Cow<'_, [u8]>) = match row
                    .get_ref(column)
                    .doing("read views")?
                {
                    ValueRef::Null => (0, (&[][..]).into()),
                    ValueRef::Integer(number) => (1, number.to_le_bytes().to_vec().into()),
                    ValueRef::Real(number) => (2, number.to_bits().to_le_bytes().to_vec().into()),
                    ValueRef::Text(text) => (3, text.into()),
                    ValueRef::Blob(bytes) => (4, bytes.into()),
                };
                hasher.update(&[tag]);
                hasher.update(&(bytes.len() as u64).to_le_bytes());
                hasher.update(&bytes);
            }
        }
        hasher.update(&[0xff]);
    }
    Ok(*hasher.finalize().as_bytes())
}
