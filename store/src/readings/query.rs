//! Reading readings: one series over time, all series in the order of arrival.
//!
//! Always holds: only committed readings are seen; a reading that is being moved to a block is seen once: what is taken
//! from memory counts only beyond the position up to which the snapshot of the file, taken afterwards, has blocks.

use std::ops::RangeInclusive;

use rusqlite::{Connection, Row};

use super::block::Kind;
use super::blocks;
use super::types::{Point, PointPage, SeriesId, StoredReading};
use super::writer::{Shared, meta_i64};
use crate::error::{Doing, StoreError};
use crate::pool::Pool;

/// Columns `position, series, at_ms, received_ms, value, flags`.
pub(crate) fn stored_reading(row: &Row<'_>) -> rusqlite::Result<StoredReading> {
    Ok(StoredReading {
        position: row.get(0)?,
        series: SeriesId(row.get(1)?),
        at_ms: row.get(2)?,
        received_ms: row.get(3)?,
        value: row.get(4)?,
        flags: row.get(5)?,
    })
}

fn point(reading: &StoredReading) -> Point {
    Point {
        at_ms: reading.at_ms,
        value: reading.value,
        flags: reading.flags,
    }
}

/// The newest `limit` points of a series in a closed range of time, oldest first.
pub(crate) fn points(
    shared: &Shared,
    pool: &Pool,
    series: SeriesId,
    (from_ms, to_ms): (i64, i64),
    limit: usize,
) -> Result<PointPage, StoreError> {
    // One more than asked for tells whether there are more.
    let wanted = limit.saturating_add(1);
    let Some((in_memory, in_blocks, only_in_file)) = ({
        let tail = shared.tail.read();
        tail.series(series).map(|of_series| {
            (
                of_series.newest_with_position(from_ms, to_ms, wanted),
                of_series.blocks_last_at.is_some_and(|last| last >= from_ms),
                tail.only_in_file(series, (from_ms, to_ms)),
            )
        })
    }) else {
        return Ok(PointPage::default());
    };
    let mut points: Vec<Point> = Vec::new();
    let mut compacted_to = i64::MIN;
    if in_blocks || !only_in_file.is_empty() {
        pool.read(|connection| {
            compacted_to = meta_i64(connection, "compacted_to")?.unwrap_or(0);
            points = block_points(connection, series, (from_ms, to_ms), wanted)?;
            let rows = not_in_blocks(&only_in_file, compacted_to);
            unmirrored(connection, series, rows, (from_ms, to_ms), |point| {
                points.push(point);
            })
        })?;
    }
    let not_in_file = in_memory
        .iter()
        .rev()
        .filter(|(position, _)| *position > compacted_to);
    points.extend(not_in_file.map(|(_, point)| *point));
    // Stable: of one time, the one that came first stands first.
    points.sort_by_key(|point| point.at_ms);
    let truncated = points.len() > limit;
    points.drain(..points.len().saturating_sub(limit));
    Ok(PointPage { points, truncated })
}

/// What is left of runs of positions when those up to `compacted_to` are in blocks.
pub(crate) fn not_in_blocks(
    positions: &[RangeInclusive<i64>],
    compacted_to: i64,
) -> impl Iterator<Item = RangeInclusive<i64>> {
    positions
        .iter()
        .map(move |run| (*run.start()).max(compacted_to + 1)..=*run.end())
        .filter(|run| !run.is_empty())
}

/// Points of a series among rows that are neither in blocks nor in memory.
pub(crate) fn unmirrored(
    connection: &Connection,
    series: SeriesId,
    rows: impl Iterator<Item = RangeInclusive<i64>>,
    (from_ms, to_ms): (i64, i64),
    mut each: impl FnMut(Point),
) -> Result<(), StoreError> {
    for run in rows {
        let mut statement = connection
            .prepare_cached(
                "SELECT position, series, at_ms, received_ms, value, flags FROM reading \
                 WHERE position BETWEEN ?1 AND ?2 AND series = ?3 AND at_ms BETWEEN ?4 AND ?5 ORDER BY position",
            )
            .doing("prepare readings")?;
        let mut rows = statement
            .query((run.start(), run.end(), series.0, from_ms, to_ms))
            .doing("read readings")?;
        while let Some(row) = rows.next().doing("read readings")? {
            each(point(&stored_reading(row).doing("read readings")?));
        }
    }
    Ok(())
}

/// At least the newest `wanted` points of a series' blocks in a closed range of time, if there are so many; in no order.
pub(crate) fn block_points(
    connection: &Connection,
    series: SeriesId,
    (from_ms, to_ms): (i64, i64),
    wanted: usize,
) -> Result<Vec<Point>, StoreError> {
    let mut points: Vec<Point> = Vec::new();
    for kind in [Kind::Readings, Kind::Unapproved] {
        blocks::newest_first(connection, series, kind, (from_ms, to_ms), |row| {
            // Blocks come by their newest reading: nothing in the rest is newer than this one's.
            let newer = |point: &&Point| point.at_ms > row.last_at;
            if points.len() >= wanted && points.iter().filter(newer).count() >= wanted {
                return Ok(false);
            }
            let readings = row.readings(series)?;
            let in_range = readings
                .iter()
                .filter(|reading| (from_ms..=to_ms).contains(&reading.at_ms));
            points.extend(in_range.map(point));
            Ok(true)
        })?;
    }
    Ok(points)
}

/// Readings after a position in the order of arrival: what the rules have not seen.
pub(crate) fn after(
    connection: &Connection,
    position: i64,
    limit: usize,
) -> Result<Vec<StoredReading>, StoreError> {
    connection
        .prepare_cached(
            "SELECT position, series, at_ms, received_ms, value, flags FROM reading WHERE position > ?1 \
             ORDER BY position LIMIT ?2",
        )
        .and_then(|mut statement| {
            statement.query_map((position, i64::try_from(limit).unwrap_or(i64::MAX)), stored_reading)?.collect()
        })
        .doing("read readings after a position")
}
