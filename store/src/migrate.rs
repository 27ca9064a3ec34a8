//! Numbered migrations: each file in `migrations/<database>/` runs once, in order, in one transaction with the new
//! `user_version`.
//!
//! Always holds: a file from a newer program is left alone. The views of muster.db have a version of their own: when it
//! differs they are dropped, made anew and marked for a rebuild.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use crate::error::{Doing, StoreError};
use crate::open::Source;

/// Migration n is the n-th of the list, counted from 1.
pub(crate) const MUSTER: &[&str] = &[
    include_str!("../migrations/muster/0001_log_and_local.sql"),
    include_str!("../migrations/muster/0002_receipts.sql"),
    include_str!("../migrations/muster/0003_marks_and_faults.sql"),
    include_str!("../migrations/muster/0004_rules_evaluated.sql"),
    include_str!("../migrations/muster/0005_summaries.sql"),
    include_str!("../migrations/muster/0006_summaries_late.sql"),
];
pub(crate) const READINGS: &[&str] = &[
    include_str!("../migrations/readings/0001_readings.sql"),
    include_str!("../migrations/readings/0002_mqtt.sql"),
    include_str!("../migrations/readings/0003_blocks_and_rollups.sql"),
    include_str!("../migrations/readings/0004_dead_letter_retries.sql"),
    include_str!("../migrations/readings/0005_summary_due.sql"),
    include_str!("../migrations/readings/0006_devices.sql"),
    include_str!("../migrations/readings/0007_command_requests.sql"),
    include_str!("../migrations/readings/0008_texts_by_device.sql"),
    include_str!("../migrations/readings/0009_dead_letter_room.sql"),
    include_str!("../migrations/readings/0010_dead_letter_copies.sql"),
    include_str!("../migrations/readings/0011_decibel_milliwatt.sql"),
    include_str!("../migrations/readings/0012_device_labels.sql"),
    include_str!("../migrations/readings/0013_dead_letter_senders.sql"),
    include_str!("../migrations/readings/0014_last_flags.sql"),
    include_str!("../migrations/readings/0015_dead_letter_lists.sql"),
];
pub(crate) const BLOBS: &[&str] = &[include_str!("../migrations/blobs/0001_blobs.sql")];

pub(crate) const VIEWS: &str = include_str!("../migrations/muster/views.sql");
/// Raise with every change of views.sql.
pub(crate) const VIEWS_VERSION: i64 = 6;

const META_VIEWS_VERSION: &str = "views_version";
/// 1 while the views do not show all of the log.
pub(crate) const META_REBUILD_NEEDED: &str = "rebuild_needed";

/// Brings a file to the newest schema this program knows.
pub(crate) fn migrate(
    source: &Source,
    connection: &mut Connection,
    steps: &[&str],
) -> Result<(), StoreError> {
    let found: i64 = connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(|error| source.blame(error))?;
    let known = i64::try_from(steps.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(StoreError::TooNew {
            path: source.path.clone(),
            found,
            known,
        });
    }
    for (number, sql) in (1i64..).zip(steps).filter(|(number, _)| *number > found) {
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .doing("begin migration")?;
        transaction
            .execute_batch(sql)
            .map_err(|error| source.blame(error))?;
        transaction
            .pragma_update(None, "user_version", number)
            .doing("set schema version")?;
        transaction.commit().doing("commit migration")?;
    }
    Ok(())
}

/// Makes the views of muster.db when they are missing or of another version.
pub(crate) fn ensure_views(source: &Source, connection: &mut Connection) -> Result<(), StoreError> {
    let found = meta(connection, META_VIEWS_VERSION)?;
    if found == Some(VIEWS_VERSION) {
        return Ok(());
    }
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .doing("begin views")?;
    transaction
        .execute_batch(VIEWS)
        .map_err(|error| source.blame(error))?;
    let has_log: bool = transaction
        .query_row("SELECT EXISTS (SELECT 1 FROM journal)", [], |row| {
            row.get(0)
        })
        .doing("look at journal")?;
    set_meta(&transaction, META_VIEWS_VERSION, VIEWS_VERSION)?;
    set_meta(&transaction, META_REBUILD_NEEDED, i64::from(has_log))?;
    transaction.commit().doing("commit views")
}

pub(crate) fn meta(connection: &Connection, name: &str) -> Result<Option<i64>, StoreError> {
    connection
        .prepare_cached("SELECT value FROM meta WHERE name = ?1")
        .and_then(|mut statement| statement.query_row([name], |row| row.get(0)).optional())
        .doing("read meta")
}

pub(crate) fn set_meta(connection: &Connection, name: &str, value: i64) -> Result<(), StoreError> {
    connection
        .prepare_cached("INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value")
        .and_then(|mut statement| statement.execute((name, value)))
        .map(|_| ())
        .doing("write meta")
}
