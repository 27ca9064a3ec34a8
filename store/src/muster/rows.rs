//! Writing the read models: documents with their history, facets and places, facts, conflicts.
//!
//! Always holds: these functions are the only writers of the view tables, for live batches and rebuilds alike, and take
//! nothing from the clock or from chance: a rebuild gives the same rows.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, params};
use sync_engine::{LogId, ObjectId};

use super::batch::{CommitNo, ConflictState, ConflictWrite, DocumentWrite, FactWrite};
use crate::sql::millis;

/// Separates facets in `document.facets`; never part of a value (control characters are cut out of values).
pub(crate) const FACET_SEPARATOR: char = '\u{1f}';

/// The text that q= looks in: title and description, lower case. Computed in the caller's thread, not the writer's.
pub(crate) fn search_text(document: &DocumentWrite) -> String {
    #[derive(serde::Deserialize)]
    struct Described<'a> {
        #[serde(borrow, default)]
        description: Option<std::borrow::Cow<'a, str>>,
    }
    let mut text = document.title.to_lowercase();
    if let Ok(Described {
        description: Some(description),
    }) = serde_json::from_str(&document.view)
    {
        text.push('\n');
        text.push_str(&description.to_lowercase());
    }
    text
}

pub(crate) fn facet(name: &str, value: &str) -> String {
    let mut text = String::with_capacity(name.len() + 1 + value.len());
    text.push_str(name);
    text.push('=');
    text.extend(value.chars().filter(|c| *c != FACET_SEPARATOR));
    text
}

fn joined(facets: &BTreeSet<String>) -> String {
    if facets.is_empty() {
        return String::new();
    }
    let mut text = String::from(FACET_SEPARATOR);
    for facet in facets {
        text.push_str(facet);
        text.push(FACET_SEPARATOR);
    }
    text
}

/// What the current row says, as far as a new one must know.
struct Current {
    no: i64,
    from_commit: i64,
    created_wall_ms: i64,
    deleted: bool,
    lat: Option<f64>,
    lon: Option<f64>,
    facets: String,
}

/// When and where a document row is written.
pub(crate) struct At<'a> {
    pub(crate) commit: CommitNo,
    /// The newest journal position of the commit: what a snapshot covers.
    pub(crate) journal_last: i64,
    /// Applied entries of the document in this commit: log number and newest sequence.
    pub(crate) heights: &'a [(i64, i64)],
    /// History up to this commit has been pruned and is not written again by a rebuild.
    pub(crate) pruned_to: CommitNo,
}

pub(crate) fn write_document(
    connection: &Connection,
    document: &DocumentWrite,
    search: &str,
    at: &At<'_>,
) -> Result<(), rusqlite::Error> {
    let current = connection
        .prepare_cached(
            "SELECT no, from_commit, created_wall_ms, deleted, lat, lon, facets FROM document WHERE id = ?1",
        )?
        .query_row([&document.id.0[..]], |row| {
            Ok(Current {
                no: row.get(0)?,
                from_commit: row.get(1)?,
                created_wall_ms: row.get(2)?,
                deleted: row.get(3)?,
                lat: row.get(4)?,
                lon: row.get(5)?,
                facets: row.get(6)?,
            })
        })
        .optional()?;
    let facets: BTreeSet<String> = document
        .facets
        .iter()
        .map(|(name, value)| facet(name, value))
        .collect();
    let facets_text = joined(&facets);
    let (lat, lon) = document.location.unzip();
    let no = match &current {
        Some(current) => {
            replace(connection, document, search, at, current, &facets_text)?;
            current.no
        }
        None => insert(connection, document, search, at, &facets_text)?,
    };
    let created = millis(document.created_wall_ms);
    let (old_facets, old_created) = match &current {
        Some(current) => (split(&current.facets), current.created_wall_ms),
        None => (BTreeSet::new(), created),
    };
    write_facets(
        connection,
        document,
        no,
        (&old_facets, old_created),
        (&facets, created),
    )?;
    let old_place = current
        .as_ref()
        .and_then(|current| current.lat.zip(current.lon));
    if old_place != lat.zip(lon) {
        write_place(connection, no, lat.zip(lon))?;
    }
    for (log_no, last_seq) in at.heights {
        connection
            .prepare_cached(
                "INSERT INTO document_log (no, log_no, last_seq) VALUES (?1, ?2, ?3) \
                 ON CONFLICT DO UPDATE SET last_seq = max(last_seq, excluded.last_seq)",
            )?
            .execute((no, log_no, last_seq))?;
    }
    if let Some(snapshot) = &document.snapshot {
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO document_state (no, covers, bytes) VALUES (?1, ?2, ?3)",
            )?
            .execute((no, at.journal_last, snapshot))?;
    }
    Ok(())
}

fn insert(
    connection: &Connection,
    document: &DocumentWrite,
    search: &str,
    at: &At<'_>,
    facets: &str,
) -> Result<i64, rusqlite::Error> {
    let (lat, lon) = document.location.unzip();
    connection
        .prepare_cached(
            "INSERT INTO document (id, kind, grp, lane, from_commit, first_commit, deleted, created_wall_ms, \
             updated_wall_ms, lat, lon, version, heads, title, facets, search, view) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
        )?
        .execute(params![
            &document.id.0[..],
            document.kind,
            &document.group.0[..],
            document.lane as u8,
            at.commit.0,
            document.deleted,
            millis(document.created_wall_ms),
            millis(document.updated_wall_ms),
            lat,
            lon,
            document.version,
            document.heads,
            document.title,
            facets,
            search,
            document.view
        ])?;
    Ok(connection.last_insert_rowid())
}

fn replace(
    connection: &Connection,
    document: &DocumentWrite,
    search: &str,
    at: &At<'_>,
    current: &Current,
    facets: &str,
) -> Result<(), rusqlite::Error> {
    // Written twice in one commit: nobody can ask for the state in between.
    if current.from_commit < at.commit.0 && at.pruned_to < at.commit {
        connection
            .prepare_cached(
                "INSERT INTO document_past (no, from_commit, to_commit, deleted, updated_wall_ms, lat, lon, version, \
                 title, facets, view) SELECT no, from_commit, ?2, deleted, updated_wall_ms, lat, lon, version, title, \
                 facets, view FROM document WHERE no = ?1",
            )?
            .execute((current.no, at.commit.0))?;
    }
    let (lat, lon) = document.location.unzip();
    let created = millis(document.created_wall_ms);
    if current.deleted != document.deleted || current.created_wall_ms != created {
        // Apart, because naming these columns makes SQLite move the row in the list's index.
        connection
            .prepare_cached("UPDATE document SET deleted = ?2, created_wall_ms = ?3 WHERE no = ?1")?
            .execute((current.no, document.deleted, created))?;
    }
    connection
        .prepare_cached(
            "UPDATE document SET from_commit = ?2, updated_wall_ms = ?3, lat = ?4, lon = ?5, version = ?6, \
             heads = ?7, title = ?8, facets = ?9, search = ?10, view = ?11 WHERE no = ?1",
        )?
        .execute(params![
            current.no,
            at.commit.0,
            millis(document.updated_wall_ms),
            lat,
            lon,
            document.version,
            document.heads,
            document.title,
            facets,
            search,
            document.view
        ])?;
    Ok(())
}

fn split(facets: &str) -> BTreeSet<String> {
    facets
        .split(FACET_SEPARATOR)
        .filter(|facet| !facet.is_empty())
        .map(str::to_owned)
        .collect()
}

fn write_facets(
    connection: &Connection,
    document: &DocumentWrite,
    no: i64,
    (old, old_created): (&BTreeSet<String>, i64),
    (new, new_created): (&BTreeSet<String>, i64),
) -> Result<(), rusqlite::Error> {
    let moved = old_created != new_created;
    for gone in old.iter().filter(|facet| moved || !new.contains(*facet)) {
        connection
            .prepare_cached("DELETE FROM row_facet WHERE kind = ?1 AND facet = ?2 AND created_wall_ms = ?3 AND id = ?4")?
            .execute(params![document.kind, gone, old_created, &document.id.0[..]])?;
    }
    for come in new.iter().filter(|facet| moved || !old.contains(*facet)) {
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO row_facet (kind, facet, created_wall_ms, id, no) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![document.kind, come, new_created, &document.id.0[..], no])?;
    }
    Ok(())
}

fn write_place(
    connection: &Connection,
    no: i64,
    place: Option<(f64, f64)>,
) -> Result<(), rusqlite::Error> {
    match place {
        Some((lat, lon)) => connection
            .prepare_cached(
                "INSERT OR REPLACE INTO document_place (no, lat_min, lat_max, lon_min, lon_max) \
                 VALUES (?1, ?2, ?2, ?3, ?3)",
            )?
            .execute((no, lat, lon))?,
        None => connection
            .prepare_cached("DELETE FROM document_place WHERE no = ?1")?
            .execute([no])?,
    };
    Ok(())
}

/// Drops all rows of these objects. Looks at every facet, because a damaged row does not say which ones it has.
pub(crate) fn forget(connection: &Connection, objects: &[ObjectId]) -> Result<(), rusqlite::Error> {
    /// Tables with rows by the number of their document.
    const BY_NUMBER: [&str; 4] = [
        "document_past",
        "document_log",
        "document_state",
        "document_place",
    ];
    let ids: Vec<String> = objects
        .iter()
        .map(|object| data_encoding::HEXLOWER.encode(&object.0))
        .collect();
    let ids = serde_json::to_string(&ids).unwrap_or_default();
    const THESE: &str = "(SELECT unhex(value) FROM json_each(?1))";
    let known: i64 = connection
        .prepare_cached(&format!(
            "SELECT (SELECT count(*) FROM document WHERE id IN {THESE}) + \
             (SELECT count(*) FROM fact WHERE id IN {THESE})"
        ))?
        .query_row([&ids], |row| row.get(0))?;
    for table in BY_NUMBER {
        connection
            .prepare_cached(&format!(
                "DELETE FROM {table} WHERE no IN (SELECT no FROM document WHERE id IN {THESE})"
            ))?
            .execute([&ids])?;
    }
    for (table, id) in [
        ("row_facet", "id"),
        ("conflict", "object"),
        ("fact", "id"),
        ("document", "id"),
    ] {
        connection
            .prepare_cached(&format!("DELETE FROM {table} WHERE {id} IN {THESE}"))?
            .execute([&ids])?;
    }
    if known < i64::try_from(objects.len()).unwrap_or(i64::MAX) {
        // A row that was lost left these behind; its number may be given to another document.
        for table in BY_NUMBER {
            connection
                .prepare_cached(&format!(
                    "DELETE FROM {table} WHERE no NOT IN (SELECT no FROM document)"
                ))?
                .execute([])?;
        }
    }
    Ok(())
}

/// Writes a fact whose entry is at `entry` in `log`, unless another entry stands under its id that goes before it: the
/// one with the smaller chain hash. Answers whether it was written.
pub(crate) fn write_fact(
    connection: &Connection,
    fact: &FactWrite,
    log: &LogId,
    entry: i64,
    commit: CommitNo,
) -> Result<bool, rusqlite::Error> {
    let stands: Option<bool> = connection
        .prepare_cached(
            "SELECT standing.chain <= new.chain FROM fact f JOIN entry standing ON standing.at = f.entry \
             JOIN entry new ON new.at = ?2 WHERE f.id = ?1",
        )?
        .query_row((&fact.id.0[..], entry), |row| row.get(0))
        .optional()?;
    if stands == Some(true) {
        return Ok(false);
    }
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO fact (id, kind, grp, lane, entry, about, from_commit, created_wall_ms, view) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            &fact.id.0[..],
            fact.kind,
            &log.group.0[..],
            log.lane as u8,
            entry,
            fact.about.as_ref().map(|about| &about.0[..]),
            commit.0,
            millis(fact.created_wall_ms),
            fact.view
        ])?;
    Ok(true)
}

pub(crate) fn write_conflict(
    connection: &Connection,
    conflict: &ConflictWrite,
    commit: CommitNo,
) -> Result<(), rusqlite::Error> {
    let state = match conflict.state {
        ConflictState::Open => 0,
        ConflictState::Resolved => 1,
        ConflictState::Superseded => {
            connection
                .prepare_cached("DELETE FROM conflict WHERE id = ?1")?
                .execute([&conflict.id])?;
            return Ok(());
        }
    };
    connection
        .prepare_cached(
            "INSERT INTO conflict (id, kind, object, object_kind, field, state, detail, first_commit, from_commit) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8) ON CONFLICT DO UPDATE SET kind = excluded.kind, \
             field = excluded.field, state = excluded.state, detail = excluded.detail, from_commit = excluded.from_commit",
        )?
        .execute(params![
            conflict.id,
            conflict.kind,
            &conflict.object.0[..],
            conflict.object_kind,
            conflict.field,
            state,
            conflict.detail,
            commit.0
        ])?;
    Ok(())
}
