//! Reading readings: one series over time, all series in the order of arrival.
//!
//! Always holds: only committed readings are seen; a reading that is being moved to a block is seen once.

use rusqlite::{Connection, Row};

use super::block;
use super::tail::Tail;
use super::types::{Point, PointPage, SeriesId, StoredReading};
use super::writer::Shared;
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
        position: reading.position,
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
    if from_ms > to_ms {
        return Ok(PointPage::default());
    }
    // One more than asked for tells whether there are more.
    let wanted = limit.saturating_add(1);
    // Memory first: what moves to blocks after this copy is met twice, never missed.
    let (mut points, mirror_from, has_blocks, unmirrored) = {
        let tail: &Tail = &shared.tail.read();
        let of_series = tail.series(series);
        (
            of_series
                .map(|of_series| of_series.newest(from_ms, to_ms, wanted))
                .unwrap_or_default(),
            tail.mirror_from,
            of_series.is_some_and(|of_series| {
                of_series.blocks_last_at.is_some_and(|last| last >= from_ms)
            }),
            tail.compacted_to + 1 < tail.mirror_from,
        )
    };
    if has_blocks || unmirrored {
        pool.read(|connection| {
            points.extend(block_points(connection, series, (from_ms, to_ms), wanted)?);
            let compacted_to = super::writer::meta_i64(connection, "compacted_to")?.unwrap_or(0);
            if compacted_to + 1 < mirror_from {
                let mut statement = connection
                    .prepare_cached(
                        "SELECT position, series, at_ms, received_ms, value, flags FROM reading \
                         WHERE position > ?1 AND position < ?2 AND series = ?3 AND at_ms BETWEEN ?4 AND ?5",
                    )
                    .doing("prepare readings")?;
                let mut rows = statement
                    .query((compacted_to, mirror_from, series.0, from_ms, to_ms))
                    .doing("read readings")?;
                while let Some(row) = rows.next().doing("read readings")? {
                    points.push(point(&stored_reading(row).doing("read readings")?));
                }
            }
            Ok(())
        })?;
    }
    points.sort_unstable_by_key(|point| (point.at_ms, point.position));
    points.dedup_by_key(|point| point.position);
    let truncated = points.len() > limit;
    points.drain(..points.len().saturating_sub(limit));
    Ok(PointPage { points, truncated })
}

/// At least the newest `wanted` points of a series' blocks in a closed range of time, if there are so many; in no order.
pub(crate) fn block_points(
    connection: &Connection,
    series: SeriesId,
    (from_ms, to_ms): (i64, i64),
    wanted: usize,
) -> Result<Vec<Point>, StoreError> {
    let mut statement = connection
        .prepare_cached(
            "SELECT last_at, count, format, data FROM block WHERE series = ?1 AND last_at >= ?2 AND first_at <= ?3 \
             ORDER BY last_at DESC",
        )
        .doing("prepare blocks")?;
    let mut rows = statement
        .query((series.0, from_ms, to_ms))
        .doing("read blocks")?;
    let mut points: Vec<Point> = Vec::new();
    while let Some(row) = rows.next().doing("read blocks")? {
        let last_at: i64 = row.get(0).doing("read blocks")?;
        // Blocks come by their newest reading: nothing in the rest is newer than this one's.
        if points.len() >= wanted
            && points.iter().filter(|point| point.at_ms > last_at).count() >= wanted
        {
            break;
        }
        let count: i64 = row.get(1).doing("read blocks")?;
        let data = row.get_ref(3).doing("read blocks")?;
        let readings = block::decode(
            series,
            row.get(2).doing("read blocks")?,
            usize::try_from(count).unwrap_or(0),
            data.as_blob().unwrap_or_default(),
        )
        .ok_or(StoreError::Unreadable {
            what: "block of readings",
        })?;
        points.extend(
            readings
                .iter()
                .filter(|reading| (from_ms..=to_ms).contains(&reading.at_ms))
                .map(point),
        );
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
