//! Which quarters of an hour have got readings that other nodes have not been told of.
//!
//! Always holds: a reading of an approved device is in the tail, or its quarter is marked, from its commit until somebody
//! says that others were told. So nothing that came before a crash is forgotten, and nothing has to be looked through to
//! find it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension};

use super::block::{DAY_MS, Kind};
use super::rollup::QUARTER_MS;
use super::types::{SeriesId, StoredReading};
use super::writer::meta_i64;
use crate::error::{Doing, StoreError};

/// How long before its receipt a reading may have been taken for others to hear of it: as long as readings are kept by
/// default, so that a sensor's buffer of any usual size is told of. Older ones stay in this node's own rollups.
const LATE_MAX_MS: i64 = 30 * DAY_MS;
/// And how long after: more is no clock that runs ahead, but a wrong one.
const EARLY_MAX_MS: i64 = DAY_MS;
/// Rows of the tail that are looked at: ten times what it has unless the rules lag far behind. The rest is marked when it
/// leaves the tail.
const TAIL_ROWS_MAX: i64 = 1_000_000;

/// A quarter of an hour of a series that others are to hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueQuarter {
    pub series: SeriesId,
    /// When it begins; a multiple of [`QUARTER_MS`].
    pub start_ms: i64,
    /// What was known of it when this was read: the newest position of its readings in the tail, or of the tail when it
    /// was marked. The same one again means that nothing has come since.
    pub stamp: i64,
}

/// The quarter that a reading is in, if others are to hear of it.
pub(crate) fn quarter_of(reading: &StoredReading) -> Option<(SeriesId, i64)> {
    let age_ms = reading.received_ms.saturating_sub(reading.at_ms);
    let told =
        Kind::of(reading) == Kind::Readings && (-EARLY_MAX_MS..=LATE_MAX_MS).contains(&age_ms);
    told.then(|| (reading.series, reading.at_ms.div_euclid(QUARTER_MS)))
}

/// Marks quarters of readings that leave the tail, which is moved up to `stamp`.
pub(crate) fn mark(
    connection: &Connection,
    quarters: &BTreeSet<(SeriesId, i64)>,
    stamp: i64,
) -> Result<(), rusqlite::Error> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO summary_due (series, quarter, stamp) VALUES (?1, ?2, ?3) \
         ON CONFLICT DO UPDATE SET stamp = excluded.stamp",
    )?;
    for (series, quarter) in quarters {
        statement.execute((series.0, quarter, stamp))?;
    }
    Ok(())
}

/// See [`super::Readings::due_summaries`].
pub(crate) fn find(
    connection: &Connection,
    before_ms: i64,
    marks_max: usize,
) -> Result<Vec<DueQuarter>, StoreError> {
    let before = before_ms.div_euclid(QUARTER_MS);
    let mut due: BTreeMap<(Reverse<i64>, SeriesId), i64> = BTreeMap::new();
    in_tail(connection, before, &mut due)?;
    let mut statement = connection
        .prepare_cached(
            "SELECT series, quarter, stamp FROM summary_due WHERE quarter < ?1 ORDER BY quarter DESC, series LIMIT ?2",
        )
        .doing("prepare summaries that are due")?;
    let limit = i64::try_from(marks_max).unwrap_or(i64::MAX);
    let mut rows = statement
        .query((before, limit))
        .doing("read summaries that are due")?;
    while let Some(row) = rows.next().doing("read summaries that are due")? {
        let read = |row: &rusqlite::Row<'_>| -> rusqlite::Result<(u32, i64, i64)> {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        };
        let (series, quarter, stamp) = read(row).doing("read summaries that are due")?;
        // What is in the tail came later than what was marked.
        due.entry((Reverse(quarter), SeriesId(series)))
            .or_insert(stamp);
    }
    Ok(due
        .into_iter()
        .map(|((Reverse(quarter), series), stamp)| DueQuarter {
            series,
            start_ms: quarter * QUARTER_MS,
            stamp,
        })
        .collect())
}

fn in_tail(
    connection: &Connection,
    before: i64,
    due: &mut BTreeMap<(Reverse<i64>, SeriesId), i64>,
) -> Result<(), StoreError> {
    let compacted_to = meta_i64(connection, "compacted_to")?.unwrap_or(0);
    let mut statement = connection
        .prepare_cached(
            "SELECT position, series, at_ms, received_ms, value, flags FROM reading WHERE position > ?1 \
             ORDER BY position LIMIT ?2",
        )
        .doing("prepare tail")?;
    let mut rows = statement
        .query((compacted_to, TAIL_ROWS_MAX))
        .doing("read tail")?;
    while let Some(row) = rows.next().doing("read tail")? {
        let reading = super::query::stored_reading(row).doing("read tail")?;
        if let Some((series, quarter)) = quarter_of(&reading).filter(|(_, at)| *at < before) {
            due.insert((Reverse(quarter), series), reading.position);
        }
    }
    Ok(())
}

/// Takes the marks away, except those that were set anew since they were read.
pub(crate) fn forget(connection: &Connection, said: &[DueQuarter]) -> Result<(), StoreError> {
    let mut statement = connection
        .prepare_cached(
            "DELETE FROM summary_due WHERE series = ?1 AND quarter = ?2 AND stamp <= ?3",
        )
        .doing("prepare summaries that were said")?;
    for due in said {
        statement
            .execute((due.series.0, due.start_ms.div_euclid(QUARTER_MS), due.stamp))
            .doing("forget summaries that were said")?;
    }
    Ok(())
}

/// Takes away the marks of what is not kept any more, once for each day that goes: a node that may not write, and so says
/// nothing, must not gather them for ever.
pub(crate) fn give_up(connection: &Connection, before_ms: i64) -> Result<(), rusqlite::Error> {
    let done: Option<Vec<u8>> = connection
        .prepare_cached("SELECT value FROM meta WHERE name = 'raw_dropped_to'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    if done.as_deref() == Some(&before_ms.to_le_bytes()[..]) {
        return Ok(());
    }
    connection
        .prepare_cached("DELETE FROM summary_due WHERE quarter < ?1")?
        .execute([before_ms.div_euclid(QUARTER_MS)])?;
    Ok(())
}
