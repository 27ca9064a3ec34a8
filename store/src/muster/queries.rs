//! Lists and single documents and facts, now or as of an earlier commit.
//!
//! Always holds: lists are in the order of creation, newest first, with the id as the tie break, so that a cursor stays
//! good while documents change; a query's work is bounded by its kind's rows.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};
use sync_engine::{GroupId, Lane, LogId, ObjectId, Seq};

use super::batch::CommitNo;
use super::rows::{FACET_SEPARATOR, facet};
use crate::error::{Doing, StoreError};
use crate::sql::{blob, entry_seq, lane, log_id, millis, wall};

/// A place in a list: after the item with these values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListCursor {
    pub created_wall_ms: u64,
    pub id: ObjectId,
}

/// A window on the map, WGS 84 degrees. `lon_min > lon_max` crosses the 180th meridian.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BoundingBox {
    pub lon_min: f64,
    pub lat_min: f64,
    pub lon_max: f64,
    pub lat_max: f64,
}

/// What to list.
#[derive(Debug, Clone)]
pub struct DocumentQuery {
    pub kind: u16,
    pub limit: usize,
    pub after: Option<ListCursor>,
    /// Part of the title or description, in any case.
    pub q: Option<String>,
    /// All of these must match.
    pub facets: Vec<(String, String)>,
    pub bbox: Option<BoundingBox>,
    /// Only what changed after that commit.
    pub changed_after: Option<CommitNo>,
    pub include_deleted: bool,
    /// As this node knew it after that commit.
    pub at_commit: Option<CommitNo>,
}

impl DocumentQuery {
    /// Everything of a kind that is not deleted, as it is now.
    pub fn new(kind: u16, limit: usize) -> Self {
        DocumentQuery {
            kind,
            limit,
            after: None,
            q: None,
            facets: Vec::new(),
            bbox: None,
            changed_after: None,
            include_deleted: false,
            at_commit: None,
        }
    }
}

/// A document's read model.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentRow {
    pub id: ObjectId,
    pub kind: u16,
    pub group: GroupId,
    pub lane: Lane,
    pub version: String,
    /// JSON.
    pub view: String,
    pub deleted: bool,
    pub title: String,
    pub created_wall_ms: u64,
    pub updated_wall_ms: u64,
    /// The commit since which it looks like this.
    pub commit: CommitNo,
}

impl DocumentRow {
    /// Where a list goes on behind this row.
    pub fn cursor(&self) -> ListCursor {
        ListCursor {
            created_wall_ms: self.created_wall_ms,
            id: self.id,
        }
    }
}

/// A fact's read model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactRow {
    pub id: ObjectId,
    pub kind: u16,
    pub log: LogId,
    pub seq: Seq,
    pub about: Option<ObjectId>,
    /// JSON.
    pub view: String,
    pub created_wall_ms: u64,
    pub commit: CommitNo,
}

/// Which facts to list: newest first.
#[derive(Debug, Clone)]
pub struct FactQuery {
    pub kind: u16,
    pub limit: usize,
    pub after: Option<ListCursor>,
    pub about: Option<ObjectId>,
    pub q: Option<String>,
    pub changed_after: Option<CommitNo>,
    pub at_commit: Option<CommitNo>,
}

/// A facet or window that matches more rows than this does not lead the query: walking the list in its order is cheaper
/// than sorting that many.
const LEADING_ROWS_MAX: i64 = 2_000;

const NOW: &str = "d.id, d.kind, d.grp, d.lane, d.version, d.view, d.deleted, d.title, d.created_wall_ms, \
                   d.updated_wall_ms, d.from_commit";
const PAST: &str = "d.id, d.kind, d.grp, d.lane, p.version, p.view, p.deleted, p.title, d.created_wall_ms, \
                    p.updated_wall_ms, p.from_commit";

fn document_row(row: &Row<'_>) -> rusqlite::Result<DocumentRow> {
    Ok(DocumentRow {
        id: ObjectId(blob(row, 0)?),
        kind: row.get(1)?,
        group: GroupId(blob(row, 2)?),
        lane: lane(row, 3)?,
        version: row.get(4)?,
        view: row.get(5)?,
        deleted: row.get(6)?,
        title: row.get(7)?,
        created_wall_ms: wall(row, 8)?,
        updated_wall_ms: wall(row, 9)?,
        commit: CommitNo(row.get(10)?),
    })
}

/// A statement in the making: conditions and their values, numbered in order.
#[derive(Default)]
struct Conditions {
    sql: String,
    values: Vec<Value>,
}

impl Conditions {
    /// Adds `condition`, in which each `?` stands for the next of `values`.
    fn and(&mut self, condition: &str, values: impl IntoIterator<Item = Value>) {
        self.sql.push_str(if self.sql.is_empty() {
            " WHERE "
        } else {
            " AND "
        });
        self.sql.push_str(condition);
        self.values.extend(values);
    }
}

pub(crate) fn documents(
    connection: &Connection,
    query: &DocumentQuery,
) -> Result<Vec<DocumentRow>, StoreError> {
    match query.at_commit {
        None => documents_now(connection, query),
        Some(at) => documents_then(connection, query, at),
    }
}

fn documents_now(
    connection: &Connection,
    query: &DocumentQuery,
) -> Result<Vec<DocumentRow>, StoreError> {
    let mut all = Conditions::default();
    let from = lead(connection, query, &mut all)?;
    all.and("d.kind = ?", [Value::from(query.kind)]);
    common(query, &mut all);
    if let Some(bbox) = &query.bbox {
        inside("d.lat", "d.lon", bbox, &mut all);
    }
    if !query.include_deleted {
        all.and("d.deleted = 0", []);
    }
    if let Some(after) = query.changed_after {
        all.and("d.from_commit > ?", [Value::from(after.0)]);
    }
    if let Some(q) = &query.q {
        all.and("instr(d.search, ?) > 0", [Value::from(q.to_lowercase())]);
    }
    for (name, value) in &query.facets {
        all.and(
            "instr(d.facets, ?) > 0",
            [Value::from(delimited(name, value))],
        );
    }
    let sql = format!(
        "SELECT {NOW} FROM {from}{} ORDER BY d.created_wall_ms DESC, d.id DESC LIMIT ?",
        all.sql
    );
    run(connection, &sql, all.values, query.limit)
}

/// As of a commit: the current row where it is old enough, else the one that was valid then.
fn documents_then(
    connection: &Connection,
    query: &DocumentQuery,
    at: CommitNo,
) -> Result<Vec<DocumentRow>, StoreError> {
    let mut all = Conditions::default();
    all.and("d.kind = ?", [Value::from(query.kind)]);
    all.and("d.first_commit <= ?", [Value::from(at.0)]);
    common(query, &mut all);
    let mut now = String::new();
    let mut then = String::new();
    let mut values = Vec::new();
    // The same conditions on the two sources of the columns that change.
    let mut both = |condition: &dyn Fn(&str) -> String, given: Vec<Value>| {
        for (side, alias) in [(&mut now, "d"), (&mut then, "p")] {
            side.push_str(" AND ");
            side.push_str(&condition(alias));
        }
        values.extend(given);
    };
    if !query.include_deleted {
        both(&|t| format!("{t}.deleted = 0"), Vec::new());
    }
    if let Some(after) = query.changed_after {
        both(
            &|t| format!("{t}.from_commit > ?"),
            vec![Value::from(after.0)],
        );
    }
    if let Some(q) = &query.q {
        let like = Value::from(format!("%{}%", escape_like(q)));
        both(
            &|t| {
                format!(
                    "({t}.title || char(10) || coalesce(json_extract({t}.view, '$.description'), '')) LIKE ? ESCAPE '\\'"
                )
            },
            vec![like],
        );
    }
    for (name, value) in &query.facets {
        both(
            &|t| format!("instr({t}.facets, ?) > 0"),
            vec![Value::from(delimited(name, value))],
        );
    }
    if let Some(bbox) = &query.bbox {
        let mut probe = Conditions::default();
        inside("#.lat", "#.lon", bbox, &mut probe);
        let condition = probe.sql.trim_start_matches(" WHERE ").to_owned();
        both(&|t| condition.replace('#', t), probe.values);
    }
    // SQLite joins the arms of the union in the order of the list and stops at the limit only after sorting both: the
    // past of a kind is bounded by its 30 days.
    let sql = format!(
        "SELECT * FROM (SELECT {NOW} FROM document d{where_} AND d.from_commit <= ?{now} \
         UNION ALL SELECT {PAST} FROM document d JOIN document_past p ON p.no = d.no{where_} \
         AND p.from_commit <= ? AND p.to_commit > ?{then}) ORDER BY 9 DESC, 1 DESC LIMIT ?",
        where_ = all.sql
    );
    let mut bound = all.values.clone();
    bound.push(Value::from(at.0));
    bound.extend(values.iter().cloned());
    bound.extend(all.values);
    bound.extend([Value::from(at.0), Value::from(at.0)]);
    bound.extend(values);
    run(connection, &sql, bound, query.limit)
}

fn common(query: &DocumentQuery, all: &mut Conditions) {
    if let Some(after) = &query.after {
        all.and(
            "(d.created_wall_ms, d.id) < (?, ?)",
            [
                Value::from(millis(after.created_wall_ms)),
                Value::from(after.id.0.to_vec()),
            ],
        );
    }
}

/// Chooses what drives the query: a rare facet, few changes, a small window, or the list's own order.
fn lead(
    connection: &Connection,
    query: &DocumentQuery,
    all: &mut Conditions,
) -> Result<String, StoreError> {
    let mut best: Option<(i64, String)> = None;
    for (name, value) in &query.facets {
        let text = facet(name, value);
        let count: i64 = connection
            .prepare_cached(
                "SELECT count(*) FROM (SELECT 1 FROM row_facet WHERE kind = ?1 AND facet = ?2 LIMIT ?3)",
            )
            .and_then(|mut statement| {
                statement.query_row(params![query.kind, text, LEADING_ROWS_MAX], |row| row.get(0))
            })
            .doing("count facet")?;
        if count < LEADING_ROWS_MAX && best.as_ref().is_none_or(|(least, _)| count < *least) {
            best = Some((count, text));
        }
    }
    if let Some((_, text)) = best {
        all.and(
            "f.kind = ? AND f.facet = ?",
            [Value::from(query.kind), Value::from(text)],
        );
        // CROSS JOIN keeps SQLite from turning the order around.
        return Ok("row_facet f CROSS JOIN document d ON d.no = f.no".to_owned());
    }
    if let Some(after) = query.changed_after {
        let count: i64 = connection
            .prepare_cached(
                "SELECT count(*) FROM (SELECT 1 FROM document WHERE kind = ?1 AND from_commit > ?2 LIMIT ?3)",
            )
            .and_then(|mut statement| {
                statement.query_row(params![query.kind, after.0, LEADING_ROWS_MAX], |row| row.get(0))
            })
            .doing("count changes")?;
        if count < LEADING_ROWS_MAX {
            return Ok("document d INDEXED BY document_changed".to_owned());
        }
    }
    if let Some(bbox) = &query.bbox {
        let mut window = Conditions::default();
        overlaps(bbox, &mut window);
        let sql = format!(
            "SELECT count(*) FROM (SELECT 1 FROM document_place r{} LIMIT {LEADING_ROWS_MAX})",
            window.sql
        );
        let count: i64 = connection
            .prepare_cached(&sql)
            .and_then(|mut statement| {
                statement.query_row(params_from_iter(&window.values), |row| row.get(0))
            })
            .doing("count window")?;
        if count < LEADING_ROWS_MAX {
            all.and(window.sql.trim_start_matches(" WHERE "), window.values);
            return Ok("document_place r CROSS JOIN document d ON d.no = r.no".to_owned());
        }
    }
    Ok("document d".to_owned())
}

/// The R*Tree's own, rounded, test.
fn overlaps(bbox: &BoundingBox, all: &mut Conditions) {
    all.and(
        "r.lat_max >= ? AND r.lat_min <= ?",
        [Value::from(bbox.lat_min), Value::from(bbox.lat_max)],
    );
    let sides = [Value::from(bbox.lon_min), Value::from(bbox.lon_max)];
    if bbox.lon_min <= bbox.lon_max {
        all.and("r.lon_max >= ? AND r.lon_min <= ?", sides);
    } else {
        all.and("(r.lon_max >= ? OR r.lon_min <= ?)", sides);
    }
}

/// The exact test.
fn inside(lat: &str, lon: &str, bbox: &BoundingBox, all: &mut Conditions) {
    all.and(
        &format!("{lat} BETWEEN ? AND ?"),
        [Value::from(bbox.lat_min), Value::from(bbox.lat_max)],
    );
    let sides = [Value::from(bbox.lon_min), Value::from(bbox.lon_max)];
    if bbox.lon_min <= bbox.lon_max {
        all.and(&format!("{lon} BETWEEN ? AND ?"), sides);
    } else {
        all.and(&format!("({lon} >= ? OR {lon} <= ?)"), sides);
    }
}

fn delimited(name: &str, value: &str) -> String {
    format!("{FACET_SEPARATOR}{}{FACET_SEPARATOR}", facet(name, value))
}

fn escape_like(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('%', "\\%")
        .replace('_', "\\_")
}

fn run(
    connection: &Connection,
    sql: &str,
    mut values: Vec<Value>,
    limit: usize,
) -> Result<Vec<DocumentRow>, StoreError> {
    values.push(Value::from(i64::try_from(limit).unwrap_or(i64::MAX)));
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| {
            statement
                .query_map(params_from_iter(values), document_row)?
                .collect()
        })
        .doing("list documents")
}

/// One document, deleted ones too. `kind` guards against an id of another kind.
pub(crate) fn document(
    connection: &Connection,
    kind: Option<u16>,
    id: &ObjectId,
    at: Option<CommitNo>,
) -> Result<Option<DocumentRow>, StoreError> {
    let now = connection
        .prepare_cached(&format!("SELECT {NOW} FROM document d WHERE d.id = ?1"))
        .and_then(|mut statement| statement.query_row([&id.0[..]], document_row).optional())
        .doing("read document")?
        .filter(|row| kind.is_none_or(|kind| kind == row.kind));
    match (now, at) {
        (Some(now), Some(at)) if now.commit > at => connection
            .prepare_cached(&format!(
                "SELECT {PAST} FROM document d JOIN document_past p ON p.no = d.no WHERE d.id = ?1 \
                 AND p.from_commit <= ?2 AND p.to_commit > ?2"
            ))
            .and_then(|mut statement| {
                statement
                    .query_row(params![&id.0[..], at.0], document_row)
                    .optional()
            })
            .doing("read document of the past"),
        (now, _) => Ok(now),
    }
}

/// Documents of each kind that are not deleted.
pub(crate) fn count_by_kind(connection: &Connection) -> Result<Vec<(u16, u64)>, StoreError> {
    connection
        .prepare_cached(
            "SELECT kind, count(*) FROM document WHERE deleted = 0 GROUP BY kind ORDER BY kind",
        )
        .and_then(|mut statement| {
            statement
                .query_map([], |row| Ok((row.get(0)?, wall(row, 1)?)))?
                .collect()
        })
        .doing("count documents")
}

fn fact_row(row: &Row<'_>) -> rusqlite::Result<FactRow> {
    Ok(FactRow {
        log: log_id(row, 0)?,
        id: ObjectId(blob(row, 4)?),
        kind: row.get(5)?,
        seq: entry_seq(row.get(6)?),
        about: crate::sql::blob_option(row, 7)?.map(ObjectId),
        view: row.get(8)?,
        created_wall_ms: wall(row, 9)?,
        commit: CommitNo(row.get(10)?),
    })
}

const FACT: &str = "SELECT l.author, l.incarnation, l.grp, l.lane, f.id, f.kind, f.entry, f.about, f.view, \
                    f.created_wall_ms, f.from_commit FROM fact f JOIN log l ON l.no = f.entry >> 40";

pub(crate) fn fact(connection: &Connection, id: &ObjectId) -> Result<Option<FactRow>, StoreError> {
    connection
        .prepare_cached(&format!("{FACT} WHERE f.id = ?1"))
        .and_then(|mut statement| statement.query_row([&id.0[..]], fact_row).optional())
        .doing("read fact")
}

/// The facts whose ids begin with the same `shared_bytes` bytes.
pub(crate) fn facts_beside(
    connection: &Connection,
    id: &ObjectId,
    shared_bytes: usize,
) -> Result<Vec<FactRow>, StoreError> {
    let (mut first, mut last) = (id.0, id.0);
    first[shared_bytes.min(id.0.len())..].fill(0);
    last[shared_bytes.min(id.0.len())..].fill(0xff);
    connection
        .prepare_cached(&format!(
            "{FACT} WHERE f.id BETWEEN ?1 AND ?2 ORDER BY f.id"
        ))
        .and_then(|mut statement| {
            let range = [&first[..], &last[..]];
            statement.query_map(range, fact_row)?.collect()
        })
        .doing("read facts of one thing")
}

pub(crate) fn facts(
    connection: &Connection,
    query: &FactQuery,
) -> Result<Vec<FactRow>, StoreError> {
    let mut all = Conditions::default();
    all.and("f.kind = ?", [Value::from(query.kind)]);
    if let Some(about) = &query.about {
        all.and("f.about = ?", [Value::from(about.0.to_vec())]);
    }
    if let Some(after) = &query.after {
        all.and(
            "(f.created_wall_ms, f.id) < (?, ?)",
            [
                Value::from(millis(after.created_wall_ms)),
                Value::from(after.id.0.to_vec()),
            ],
        );
    }
    if let Some(q) = &query.q {
        all.and(
            "f.view LIKE ? ESCAPE '\\'",
            [Value::from(format!("%{}%", escape_like(q)))],
        );
    }
    if let Some(after) = query.changed_after {
        all.and("f.from_commit > ?", [Value::from(after.0)]);
    }
    if let Some(at) = query.at_commit {
        all.and("f.from_commit <= ?", [Value::from(at.0)]);
    }
    all.values
        .push(Value::from(i64::try_from(query.limit).unwrap_or(i64::MAX)));
    connection
        .prepare_cached(&format!(
            "{FACT}{} ORDER BY f.created_wall_ms DESC, f.id DESC LIMIT ?",
            all.sql
        ))
        .and_then(|mut statement| {
            statement
                .query_map(params_from_iter(all.values), fact_row)?
                .collect()
        })
        .doing("list facts")
}
