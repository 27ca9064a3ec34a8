//! Rollups: the least, the greatest, the mean and the number of a series' readings per minute, quarter of an hour and
//! hour.
//!
//! A block's readings go into the rollups when the block is closed, in the same transaction, and only then (see
//! `merge.rs`). So every reading is in exactly one place: in the rollups, or in a block that is still open, or in the
//! tail; a query adds the three up ([`buckets`]). Late readings are in an open block of their own day first, like all
//! others, and nothing has to be computed anew for them: buckets are added, and adding them is exact for number, least
//! and greatest, and for the sum within the rounding of `f64`.
//!
//! Always holds: what a query answers counts every acknowledged reading once, the newest included; a time without
//! readings has no bucket; no bucket holds NaN or an infinity.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::block::{self, Block, Kind};
use super::types::{SeriesId, StoredReading};
use super::writer::{Shared, meta_i64};
use super::{blocks, query};
use crate::error::StoreError;
use crate::pool::Pool;

/// Year 9999: later (and as much earlier) times share the last bucket. Nobody measures then, but a broken clock says so.
const TIME_MAX_MS: i64 = 253_402_300_799_999;

/// A quarter of an hour.
pub const QUARTER_MS: i64 = 15 * 60_000;

/// How wide buckets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketWidth {
    Minute,
    Quarter,
    Hour,
}

impl BucketWidth {
    /// In milliseconds.
    pub fn ms(self) -> i64 {
        self.kind().width_ms()
    }

    pub(crate) fn kind(self) -> Kind {
        match self {
            BucketWidth::Minute => Kind::Minutes,
            BucketWidth::Quarter => Kind::Quarters,
            BucketWidth::Hour => Kind::Hours,
        }
    }
}

/// The readings of a series in `[start_ms, start_ms + width)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// A multiple of the width since 1970, UTC.
    pub start_ms: i64,
    /// At least 1.
    pub count: u64,
    pub min: f64,
    pub max: f64,
    /// Sum of the values, and not their mean: a sum of tenths is nearly a tenth again and takes two bytes where a mean
    /// takes eight. Held at ±`f64::MAX` where it would pass it.
    pub sum: f64,
}

impl Bucket {
    fn of(start_ms: i64, value: f64) -> Self {
        Bucket {
            start_ms,
            count: 1,
            min: value,
            max: value,
            sum: value,
        }
    }

    /// Between `min` and `max`, always; no more than that is known when values add up past `f64::MAX`.
    pub fn mean(&self) -> f64 {
        (self.sum / self.count as f64).clamp(self.min, self.max)
    }

    /// Takes in another part of the same time.
    pub fn add(&mut self, other: &Bucket) {
        self.count = self.count.saturating_add(other.count);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum = (self.sum + other.sum).clamp(f64::MIN, f64::MAX);
    }

    /// Whether such a bucket can have been written by us: `mean` relies on it.
    pub fn is_sound(&self) -> bool {
        self.min.is_finite() && self.max.is_finite() && self.sum.is_finite() && self.min <= self.max
    }
}

/// The newest buckets of a range, oldest first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BucketPage {
    pub buckets: Vec<Bucket>,
    /// Whether older buckets of the range were left out.
    pub truncated: bool,
}

/// Buckets of one width by their start.
pub(crate) struct Buckets {
    width_ms: i64,
    by_start: BTreeMap<i64, Bucket>,
}

impl Buckets {
    pub(crate) fn new(kind: Kind) -> Self {
        Buckets {
            width_ms: kind.width_ms(),
            by_start: BTreeMap::new(),
        }
    }

    fn start_of(&self, at_ms: i64) -> i64 {
        let at_ms = at_ms.clamp(-TIME_MAX_MS, TIME_MAX_MS);
        at_ms - at_ms.rem_euclid(self.width_ms)
    }

    pub(crate) fn add_value(&mut self, at_ms: i64, value: f64) {
        let start = self.start_of(at_ms);
        self.add(&Bucket::of(start, value));
    }

    /// Adds a bucket of this width or of a finer one.
    pub(crate) fn add(&mut self, bucket: &Bucket) {
        let start_ms = self.start_of(bucket.start_ms);
        self.by_start
            .entry(start_ms)
            .and_modify(|known| known.add(bucket))
            .or_insert(Bucket {
                start_ms,
                ..*bucket
            });
    }

    pub(crate) fn has(&self, at_ms: i64) -> bool {
        self.by_start.contains_key(&self.start_of(at_ms))
    }

    /// Whether `wanted` buckets begin after the one that `at_ms` is in.
    fn has_newer(&self, at_ms: i64, wanted: usize) -> bool {
        let after = self.start_of(at_ms).saturating_add(1);
        self.by_start.len() >= wanted
            && self
                .by_start
                .range(after..)
                .nth(wanted.saturating_sub(1))
                .is_some()
    }

    pub(crate) fn into_vec(self) -> Vec<Bucket> {
        self.by_start.into_values().collect()
    }
}

/// What closing readings of one series adds to its rollups, as new blocks of level 0.
pub(crate) fn of_readings(readings: &[StoredReading]) -> Vec<Block> {
    let Some(series) = readings.first().map(|reading| reading.series) else {
        return Vec::new();
    };
    let mut minutes = Buckets::new(Kind::Minutes);
    for reading in readings {
        minutes.add_value(reading.at_ms, reading.value);
    }
    let minutes = minutes.into_vec();
    let mut blocks = Vec::new();
    for kind in [Kind::Minutes, Kind::Quarters, Kind::Hours] {
        let mut coarser = Buckets::new(kind);
        minutes.iter().for_each(|bucket| coarser.add(bucket));
        blocks.extend(pack(series, kind, 0, &coarser.into_vec()));
    }
    blocks
}

/// Buckets with rising starts as blocks, none reaching over the end of a period.
pub(crate) fn pack(series: SeriesId, kind: Kind, level: u8, buckets: &[Bucket]) -> Vec<Block> {
    buckets
        .chunk_by(|a, b| kind.period_of(a.start_ms) == kind.period_of(b.start_ms))
        .filter_map(|of_period| block::encode_buckets(series, kind, level, of_period))
        .collect()
}

/// The newest `limit` buckets that have part in `from_ms ..= to_ms`, each whole.
pub(crate) fn buckets(
    shared: &Shared,
    pool: &Pool,
    series: SeriesId,
    kind: Kind,
    (from_ms, to_ms): (i64, i64),
    limit: usize,
) -> Result<BucketPage, StoreError> {
    let wanted = limit.saturating_add(1);
    let mut found = Buckets::new(kind);
    let from_ms = found.start_of(from_ms);
    let to_ms = found.start_of(to_ms).saturating_add(found.width_ms - 1);
    // Memory first, as in query.rs: the snapshot that is read next says which of these points it has in blocks.
    let (in_memory, only_in_file) = {
        let tail = shared.tail.read();
        let points = tail
            .series(series)
            .map(|of_series| of_series.newest_with_position(from_ms, to_ms, usize::MAX))
            .unwrap_or_default();
        (points, tail.only_in_file(series, (from_ms, to_ms)))
    };
    pool.read(|connection| {
        let compacted_to = meta_i64(connection, "compacted_to")?.unwrap_or(0);
        for (position, point) in &in_memory {
            if *position > compacted_to {
                found.add_value(point.at_ms, point.value);
            }
        }
        query::unmirrored(
            connection,
            series,
            query::not_in_blocks(&only_in_file, compacted_to),
            (from_ms, to_ms),
            |point| {
                found.add_value(point.at_ms, point.value);
            },
        )?;
        rolled_up(
            connection,
            series,
            kind,
            (from_ms, to_ms),
            wanted,
            &mut found,
        )?;
        not_rolled_up(connection, series, (from_ms, to_ms), wanted, &mut found)
    })?;
    let mut buckets = found.into_vec();
    let truncated = buckets.len() > limit;
    buckets.drain(..buckets.len().saturating_sub(limit));
    Ok(BucketPage { buckets, truncated })
}

/// At least the newest `wanted` buckets of what is stored as rollups.
fn rolled_up(
    connection: &Connection,
    series: SeriesId,
    kind: Kind,
    range: (i64, i64),
    wanted: usize,
    found: &mut Buckets,
) -> Result<(), StoreError> {
    blocks::newest_first(connection, series, kind, range, |row| {
        if found.has_newer(row.last_at, wanted) {
            return Ok(false);
        }
        for bucket in row.buckets(kind)? {
            if (range.0..=range.1).contains(&bucket.start_ms) {
                found.add(&bucket);
            }
        }
        Ok(true)
    })
}

/// Readings in blocks that the rollups do not know: open ones, and those of unapproved devices.
fn not_rolled_up(
    connection: &Connection,
    series: SeriesId,
    range: (i64, i64),
    wanted: usize,
    found: &mut Buckets,
) -> Result<(), StoreError> {
    let add = |found: &mut Buckets, row: &blocks::BlockRow<'_>| -> Result<(), StoreError> {
        for reading in row.readings(series)? {
            if (range.0..=range.1).contains(&reading.at_ms) {
                found.add_value(reading.at_ms, reading.value);
            }
        }
        Ok(())
    };
    blocks::open_readings(connection, series, range, |row| add(found, &row))?;
    blocks::newest_first(connection, series, Kind::Unapproved, range, |row| {
        if found.has_newer(row.last_at, wanted) {
            return Ok(false);
        }
        add(found, &row).map(|()| true)
    })
}

/// Takes out readings of minutes whose raw data has been dropped and that have a bucket: whether they were counted in it
/// cannot be told any more, and nothing is counted twice.
pub(crate) fn without_counted(
    connection: &Connection,
    readings: Vec<StoredReading>,
    dropped_to_ms: i64,
) -> Result<Vec<StoredReading>, StoreError> {
    let old = |reading: &StoredReading| reading.at_ms < dropped_to_ms;
    let (Some(first), Some(last)) = (
        readings.iter().find(|reading| old(reading)),
        readings.iter().rfind(|reading| old(reading)),
    ) else {
        return Ok(readings);
    };
    let mut known = Buckets::new(Kind::Minutes);
    let range = (known.start_of(first.at_ms), known.start_of(last.at_ms));
    rolled_up(
        connection,
        first.series,
        Kind::Minutes,
        range,
        usize::MAX,
        &mut known,
    )?;
    Ok(readings
        .into_iter()
        .filter(|reading| !old(reading) || !known.has(reading.at_ms))
        .collect())
}

/// The day up to which raw readings have been dropped, as the file says.
pub(crate) fn dropped_to_ms(connection: &Connection) -> Result<i64, StoreError> {
    Ok(meta_i64(connection, "raw_dropped_to")?.unwrap_or(i64::MIN))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reading(at_ms: i64, value: f64) -> StoredReading {
        StoredReading {
            position: 0,
            series: SeriesId(1),
            at_ms,
            received_ms: at_ms,
            value,
            flags: 1,
        }
    }

    proptest! {
        // Whatever the readings are split into, and in whatever order the parts come: the buckets are those of the whole.
        #[test]
        fn buckets_of_parts_add_up_to_buckets_of_the_whole(
            rows in proptest::collection::vec((0i64..7_200_000, -1000i32..1000), 1..200), cuts in any::<u64>(),
        ) {
            let readings: Vec<_> = rows.iter().map(|(at, value)| reading(*at, f64::from(*value))).collect();
            let mut whole = Buckets::new(Kind::Quarters);
            readings.iter().for_each(|reading| whole.add_value(reading.at_ms, reading.value));
            let mut parts: [Vec<StoredReading>; 3] = Default::default();
            for (number, reading) in readings.iter().enumerate() {
                parts[(cuts.rotate_left(number as u32) % 3) as usize].push(*reading);
            }
            let mut sum = Buckets::new(Kind::Quarters);
            for block in parts.iter().rev().flat_map(|part| of_readings(part)) {
                if block.kind == Kind::Quarters {
                    let buckets = block::decode_buckets(block.kind, block.format, block.count, &block.data).unwrap();
                    buckets.iter().for_each(|bucket| sum.add(bucket));
                }
            }
            prop_assert_eq!(sum.into_vec(), whole.into_vec());
        }

        #[test]
        fn no_values_make_a_bucket_that_is_no_number(values in proptest::collection::vec(
            prop_oneof![Just(f64::MAX), Just(f64::MIN), -1e300f64..1e300, Just(-0.0), Just(5e-324)], 1..20)) {
            let mut buckets = Buckets::new(Kind::Hours);
            values.iter().for_each(|value| buckets.add_value(5, *value));
            for bucket in buckets.into_vec() {
                prop_assert!(bucket.is_sound());
                prop_assert!(bucket.mean().is_finite());
                prop_assert!((bucket.min..=bucket.max).contains(&bucket.mean()));
            }
        }
    }

    #[test]
    fn the_mean_is_that_of_all_readings_not_of_the_parts() {
        let mut buckets = Buckets::new(Kind::Hours);
        for value in [1.0, 2.0, 6.0, 7.0] {
            buckets.add_value(1, value);
        }
        let [bucket] = buckets.into_vec().try_into().unwrap();
        assert_eq!(
            (bucket.min, bucket.mean(), bucket.max, bucket.count),
            (1.0, 4.0, 7.0, 4)
        );
    }

    #[test]
    fn times_before_1970_and_absurd_ones_fall_into_buckets_too() {
        for at in [i64::MIN, -1, 0, 59_999, i64::MAX] {
            let blocks = of_readings(&[reading(at, 1.0)]);
            assert_eq!(blocks.len(), 3);
            for block in blocks {
                let decoded =
                    block::decode_buckets(block.kind, block.format, block.count, &block.data);
                assert_eq!(decoded.unwrap()[0].count, 1);
            }
        }
    }
}
