//! Times that cannot be true, beside the readings that count from their receipt; and all times of a reading.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::super::block::Kind;
use super::super::blocks;
use super::super::flags;
use super::super::query::stored_reading;
use super::super::types::{Point, SeriesId, StoredReading};
use super::super::writer::meta_i64;
use crate::error::{Doing, StoreError};

/// Odd times that are kept. A clock that was never set makes as many as its sensor makes readings, and nobody needs all of
/// them to see that: some 40 MB. Past it the oldest give way.
const ODD_CLOCKS_MAX: i64 = 1_000_000;
/// Dropped in one step, in some commit.
const EXPIRE_STEP: i64 = 4_096;

/// What a reading's clock said, which cannot be true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OddClock {
    /// Index into [`crate::IngestBatch::readings`].
    pub reading: u32,
    /// Unix milliseconds, as the device said.
    pub device_ms: i64,
}

/// A reading with all its times.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimedPoint {
    /// With the time that counts.
    pub point: Point,
    /// Unix milliseconds.
    pub received_ms: i64,
    /// As the device said; `None` where it said nothing, or what it said is no longer kept.
    pub device_ms: Option<i64>,
}

/// Keeps what the clock of a stored reading said.
pub(crate) fn insert(
    connection: &Connection,
    reading: &StoredReading,
    device_ms: i64,
) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached("INSERT INTO odd_clock (series, at_ms, device_ms) VALUES (?1, ?2, ?3)")?
        .execute(params![reading.series.0, reading.at_ms, device_ms])?;
    let newest = connection.last_insert_rowid();
    // Two go for each that comes, until the bound is met: it may have been greater in another version.
    connection
        .prepare_cached(
            "DELETE FROM odd_clock WHERE number IN \
             (SELECT number FROM odd_clock WHERE number <= ?1 ORDER BY number LIMIT 2)",
        )?
        .execute([newest - ODD_CLOCKS_MAX])?;
    Ok(())
}

/// Drops one step of what came before `before_ms`; answers whether more may be left.
pub(crate) fn expire(connection: &Connection, before_ms: i64) -> Result<bool, StoreError> {
    let dropped = connection
        .execute(
            "DELETE FROM odd_clock WHERE at_ms < ?1 AND number IN \
             (SELECT number FROM odd_clock ORDER BY number LIMIT ?2)",
            [before_ms, EXPIRE_STEP],
        )
        .doing("drop odd clocks")?;
    Ok(i64::try_from(dropped).is_ok_and(|dropped| dropped >= EXPIRE_STEP))
}

/// The newest `limit` readings of a series in a closed range of time with all their times, oldest first, and whether there
/// are more.
pub(crate) fn timed_points(
    connection: &Connection,
    series: SeriesId,
    (from_ms, to_ms): (i64, i64),
    limit: usize,
) -> Result<(Vec<TimedPoint>, bool), StoreError> {
    let mut readings = Vec::new();
    for kind in [Kind::Readings, Kind::Unapproved] {
        blocks::newest_first(connection, series, kind, (from_ms, to_ms), |row| {
            let newer = |reading: &&StoredReading| reading.at_ms > row.last_at;
            if readings.iter().filter(newer).count() > limit {
                return Ok(false);
            }
            let of_block = row.readings(series)?;
            let in_range = |reading: &StoredReading| (from_ms..=to_ms).contains(&reading.at_ms);
            readings.extend(of_block.into_iter().filter(in_range));
            Ok(true)
        })?;
    }
    let compacted_to = meta_i64(connection, "compacted_to")?.unwrap_or(0);
    // The newest and one more, which tells whether there are more: there may be millions while the rules lag behind.
    let wanted = i64::try_from(limit).map_or(i64::MAX, |limit| limit.saturating_add(1));
    let tail: Vec<StoredReading> = connection
        .prepare_cached(
            "SELECT position, series, at_ms, received_ms, value, flags FROM reading \
             WHERE position > ?1 AND series = ?2 AND at_ms BETWEEN ?3 AND ?4 ORDER BY at_ms DESC, position DESC LIMIT ?5",
        )
        .and_then(|mut statement| {
            let range = (compacted_to, series.0, from_ms, to_ms, wanted);
            statement.query_map(range, stored_reading)?.collect()
        })
        .doing("read readings with their times")?;
    readings.extend(tail.into_iter().rev());
    // Stable: of one time, the one that came first stands first.
    readings.sort_by_key(|reading| reading.at_ms);
    let more = readings.len() > limit;
    readings.drain(..readings.len().saturating_sub(limit));
    let range = (
        readings.first().map_or(from_ms, |reading| reading.at_ms),
        readings.last().map_or(to_ms, |reading| reading.at_ms),
    );
    let mut odd = odd_clocks(connection, series, range)?;
    let timed = readings.iter().map(|reading| TimedPoint {
        point: Point {
            at_ms: reading.at_ms,
            value: reading.value,
            flags: reading.flags,
        },
        received_ms: reading.received_ms,
        device_ms: if reading.flags & flags::DEVICE_TIME != 0 {
            Some(reading.at_ms)
        } else {
            odd.get_mut(&reading.at_ms).and_then(Iterator::next)
        },
    });
    Ok((timed.collect(), more))
}

/// By the time that counts, in the order in which they came.
fn odd_clocks(
    connection: &Connection,
    series: SeriesId,
    (from_ms, to_ms): (i64, i64),
) -> Result<HashMap<i64, std::vec::IntoIter<i64>>, StoreError> {
    let rows: Vec<(i64, i64)> = connection
        .prepare_cached(
            "SELECT at_ms, device_ms FROM odd_clock WHERE series = ?1 AND at_ms BETWEEN ?2 AND ?3 ORDER BY number",
        )
        .and_then(|mut statement| {
            statement
                .query_map((series.0, from_ms, to_ms), |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
        .doing("read odd clocks")?;
    let mut by_time: HashMap<i64, Vec<i64>> = HashMap::new();
    for (at_ms, device_ms) in rows {
        by_time.entry(at_ms).or_default().push(device_ms);
    }
    let each = by_time.into_iter();
    Ok(each.map(|(at_ms, all)| (at_ms, all.into_iter())).collect())
}
