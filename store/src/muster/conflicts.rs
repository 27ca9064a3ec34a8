//! Reading conflicts, audit records, idempotency answers and the rule cursor.

use rusqlite::{Connection, OptionalExtension, Row, params};
use sync_engine::ObjectId;

use super::batch::{AuditWrite, CommitNo, ConflictState, Evaluated, IdempotencyWrite, RuleCursor};
use super::upkeep::IDEMPOTENCY_KEPT_MS;
use crate::error::{Doing, StoreError};
use crate::sql::{blob, blob_option, millis, wall};

/// A conflict that people see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConflictRow {
    pub id: String,
    pub kind: String,
    pub object: ObjectId,
    pub object_kind: u16,
    pub field: String,
    pub state: ConflictState,
    /// JSON.
    pub detail: String,
    /// First seen, and last changed, here.
    pub first_commit: CommitNo,
    pub from_commit: CommitNo,
}

/// Which conflicts to list: newest first.
#[derive(Debug, Clone, Default)]
pub struct ConflictQuery {
    pub state: Option<ConflictState>,
    pub kind: Option<String>,
    pub object: Option<ObjectId>,
    /// (first commit, id) of the last item of the page before.
    pub after: Option<(CommitNo, String)>,
    pub limit: usize,
}

const COLUMNS: &str =
    "id, kind, object, object_kind, field, state, detail, first_commit, from_commit";

fn conflict_row(row: &Row<'_>) -> rusqlite::Result<ConflictRow> {
    Ok(ConflictRow {
        id: row.get(0)?,
        kind: row.get(1)?,
        object: ObjectId(blob(row, 2)?),
        object_kind: row.get(3)?,
        field: row.get(4)?,
        state: if row.get::<_, u8>(5)? == 0 {
            ConflictState::Open
        } else {
            ConflictState::Resolved
        },
        detail: row.get(6)?,
        first_commit: CommitNo(row.get(7)?),
        from_commit: CommitNo(row.get(8)?),
    })
}

pub(crate) fn conflict(
    connection: &Connection,
    id: &str,
) -> Result<Option<ConflictRow>, StoreError> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM conflict WHERE id = ?1"))
        .and_then(|mut statement| statement.query_row([id], conflict_row).optional())
        .doing("read conflict")
}

pub(crate) fn conflicts(
    connection: &Connection,
    query: &ConflictQuery,
) -> Result<Vec<ConflictRow>, StoreError> {
    let (commit, id) = query
        .after
        .clone()
        .map_or((i64::MAX, String::new()), |(commit, id)| (commit.0, id));
    let state = query
        .state
        .map(|state| if state == ConflictState::Open { 0 } else { 1 });
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM conflict WHERE (?1 IS NULL OR state = ?1) AND (?2 IS NULL OR kind = ?2) \
             AND (?3 IS NULL OR object = ?3) AND (first_commit, id) < (?4, ?5) \
             ORDER BY first_commit DESC, id DESC LIMIT ?6"
        ))
        .and_then(|mut statement| {
            statement
                .query_map(
                    params![
                        state,
                        query.kind,
                        query.object.as_ref().map(|id| &id.0[..]),
                        commit,
                        id,
                        i64::try_from(query.limit).unwrap_or(i64::MAX)
                    ],
                    conflict_row,
                )?
                .collect()
        })
        .doing("list conflicts")
}

/// An audit record as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    pub no: i64,
    pub at_wall_ms: u64,
    pub actor: String,
    pub action: String,
    pub kind: Option<u16>,
    pub object: Option<ObjectId>,
    pub commit: CommitNo,
    pub detail: String,
}

impl From<AuditRow> for AuditWrite {
    fn from(row: AuditRow) -> Self {
        AuditWrite {
            at_wall_ms: row.at_wall_ms,
            actor: row.actor,
            action: row.action,
            kind: row.kind,
            object: row.object,
            detail: row.detail,
        }
    }
}

/// Audit records, newest first; `before` is the number of the last item of the page before.
pub(crate) fn audit(
    connection: &Connection,
    before: Option<i64>,
    limit: usize,
) -> Result<Vec<AuditRow>, StoreError> {
    connection
        .prepare_cached(
            "SELECT no, at_wall_ms, actor, action, kind, object, commit_no, detail FROM audit WHERE no < ?1 \
             ORDER BY no DESC LIMIT ?2",
        )
        .and_then(|mut statement| {
            statement
                .query_map((before.unwrap_or(i64::MAX), i64::try_from(limit).unwrap_or(i64::MAX)), |row| {
                    Ok(AuditRow {
                        no: row.get(0)?,
                        at_wall_ms: wall(row, 1)?,
                        actor: row.get(2)?,
                        action: row.get(3)?,
                        kind: row.get(4)?,
                        object: blob_option(row, 5)?.map(ObjectId),
                        commit: CommitNo(row.get(6)?),
                        detail: row.get(7)?,
                    })
                })?
                .collect()
        })
        .doing("list audit records")
}

/// The answer kept for a key, unless it is older than 7 days.
pub(crate) fn idempotency(
    connection: &Connection,
    scope: &str,
    key: &str,
    now_wall_ms: u64,
) -> Result<Option<IdempotencyWrite>, StoreError> {
    connection
        .prepare_cached(
            "SELECT body_hash, status, answer, at_wall_ms FROM idempotency \
             WHERE scope = ?1 AND key = ?2 AND at_wall_ms >= ?3",
        )
        .and_then(|mut statement| {
            statement
                .query_row(
                    params![
                        scope,
                        key,
                        millis(now_wall_ms.saturating_sub(IDEMPOTENCY_KEPT_MS))
                    ],
                    |row| {
                        Ok(IdempotencyWrite {
                            scope: scope.to_owned(),
                            key: key.to_owned(),
                            body_hash: blob(row, 0)?,
                            status: row.get(1)?,
                            answer: row.get(2)?,
                            at_wall_ms: wall(row, 3)?,
                        })
                    },
                )
                .optional()
        })
        .doing("read idempotency key")
}

pub(crate) fn rule_cursor(connection: &Connection) -> Result<Option<RuleCursor>, StoreError> {
    connection
        .prepare_cached(
            "SELECT file_id, position, evaluated, sequence, state FROM rule_cursor WHERE one = 1",
        )
        .and_then(|mut statement| {
            statement
                .query_row([], |row| {
                    Ok(RuleCursor {
                        file_id: blob(row, 0)?,
                        position: row.get(1)?,
                        evaluated: Evaluated {
                            readings: row.get::<_, i64>(2)?.cast_unsigned(),
                            sequence: row.get::<_, i64>(3)?.cast_unsigned(),
                        },
                        state: row.get(4)?,
                    })
                })
                .optional()
        })
        .doing("read rule cursor")
}
