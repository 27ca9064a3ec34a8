//! Upkeep: what has outlived its use is forgotten here, a step at a time.
//!
//! Always holds: a step deletes at most [`STEP_ROWS`] rows of a table, so that nobody's edit waits long behind it; the
//! log, the journal and what documents say now are never touched.

use rusqlite::{Connection, params};

use super::batch::CommitNo;
use super::rebuild;
use crate::error::{Doing, StoreError};
use crate::migrate;
use crate::sql::millis;

/// Idempotency keys are kept this long (the contract says 7 days).
pub const IDEMPOTENCY_KEPT_MS: u64 = 7 * DAY_MS;
/// A request flood must not fill the disk with remembered answers.
const IDEMPOTENCY_ROWS_MAX: i64 = 100_000;
/// The record of one operation, not of everything for ever: some 250 MB, what a small card can spare. One edit is one
/// row, so a busy node of fifty people reaches it after months.
const AUDIT_ROWS_MAX: i64 = 1_000_000;
/// Rows of one table that one step deletes: some 20 ms of the writer's time on a slow card.
const STEP_ROWS: i64 = 2_000;

const DAY_MS: u64 = 24 * 3_600_000;

/// One step of forgetting sessions and idempotency keys that have ended; answers whether more is left.
pub(crate) fn expire(connection: &Connection, now_wall_ms: u64) -> Result<bool, rusqlite::Error> {
    let sessions = connection
        .prepare_cached(
            "DELETE FROM session WHERE token_hash IN \
             (SELECT token_hash FROM session WHERE expires_wall_ms < ?1 LIMIT ?2)",
        )?
        .execute((millis(now_wall_ms), STEP_ROWS))?;
    let old_keys = connection
        .prepare_cached(
            "DELETE FROM idempotency WHERE rowid IN \
             (SELECT rowid FROM idempotency WHERE at_wall_ms < ?1 LIMIT ?2)",
        )?
        .execute((
            millis(now_wall_ms.saturating_sub(IDEMPOTENCY_KEPT_MS)),
            STEP_ROWS,
        ))?;
    let surplus_keys = connection
        .prepare_cached(
            "DELETE FROM idempotency WHERE rowid IN \
             (SELECT rowid FROM idempotency ORDER BY at_wall_ms DESC LIMIT ?2 OFFSET ?1)",
        )?
        .execute((IDEMPOTENCY_ROWS_MAX, STEP_ROWS))?;
    Ok([sessions, old_keys, surplus_keys].into_iter().any(is_full))
}

/// One step of forgetting document history that ended before `keep_from`; answers whether more is left.
pub(crate) fn prune_history(
    connection: &Connection,
    keep_from: CommitNo,
) -> Result<bool, StoreError> {
    let pruned = migrate::meta(connection, rebuild::META_PAST_PRUNED)?.unwrap_or(0);
    if keep_from.0 > pruned {
        migrate::set_meta(connection, rebuild::META_PAST_PRUNED, keep_from.0)?;
    }
    let deleted = connection
        .prepare_cached(
            "DELETE FROM document_past WHERE rowid IN \
             (SELECT rowid FROM document_past WHERE to_commit <= ?1 LIMIT ?2)",
        )
        .and_then(|mut statement| statement.execute((keep_from.0, STEP_ROWS)))
        .doing("prune history")?;
    Ok(is_full(deleted))
}

/// One step of forgetting audit records, the oldest first, by age and by number; answers whether more is left.
pub(crate) fn prune_audit(
    connection: &Connection,
    before_wall_ms: u64,
) -> Result<bool, StoreError> {
    prune_audit_to(connection, before_wall_ms, AUDIT_ROWS_MAX)
}

fn prune_audit_to(
    connection: &Connection,
    before_wall_ms: u64,
    rows_max: i64,
) -> Result<bool, StoreError> {
    let older_than = millis(before_wall_ms);
    // By number the rows are in the order in which they were written, so a step only has to look at the first ones; no
    // index over time is needed. Only the oldest ever go, so numbers count rows well enough.
    let deleted = connection
        .prepare_cached(
            "DELETE FROM audit WHERE no IN (SELECT no FROM \
             (SELECT no, at_wall_ms FROM audit ORDER BY no LIMIT ?3) \
             WHERE at_wall_ms < ?1 OR no <= (SELECT max(no) FROM audit) - ?2)",
        )
        .and_then(|mut statement| statement.execute(params![older_than, rows_max, STEP_ROWS]))
        .doing("prune audit records")?;
    Ok(is_full(deleted))
}

fn is_full(deleted: usize) -> bool {
    i64::try_from(deleted).is_ok_and(|deleted| deleted >= STEP_ROWS)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn audit_at(times: impl Iterator<Item = u64>) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(include_str!(
                "../../migrations/muster/0001_log_and_local.sql"
            ))
            .unwrap();
        for at_wall_ms in times {
            connection
                .prepare_cached(
                    "INSERT INTO audit (at_wall_ms, actor, action, commit_no, detail) VALUES (?1, 'a', 'b', 1, '')",
                )
                .unwrap()
                .execute([millis(at_wall_ms)])
                .unwrap();
        }
        connection
    }

    fn kept(connection: &Connection) -> (i64, i64) {
        connection
            .query_row(
                "SELECT count(*), coalesce(min(no), 0) FROM audit",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .unwrap()
    }

    #[test]
    fn audit_records_of_before_a_time_go() {
        let connection = audit_at([DAY_MS, 2 * DAY_MS, 3 * DAY_MS].into_iter());
        assert!(!prune_audit(&connection, DAY_MS).unwrap());
        assert_eq!(kept(&connection), (3, 1));
        assert!(!prune_audit(&connection, 3 * DAY_MS).unwrap());
        assert_eq!(kept(&connection), (1, 3));
    }

    #[test]
    fn too_many_audit_records_go_step_by_step_and_the_newest_stay() {
        let rows = u64::try_from(STEP_ROWS).unwrap() + 10;
        let connection = audit_at((0..rows).map(|_| DAY_MS));
        assert!(prune_audit_to(&connection, DAY_MS, 5).unwrap());
        assert_eq!(kept(&connection), (10, STEP_ROWS + 1));
        assert!(!prune_audit_to(&connection, DAY_MS, 5).unwrap());
        assert_eq!(kept(&connection), (5, STEP_ROWS + 6));
        assert!(!prune_audit_to(&connection, DAY_MS, 5).unwrap());
        assert_eq!(kept(&connection).0, 5);
    }
}
