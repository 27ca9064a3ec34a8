//! Many rows of one series in one row of the file: readings, or buckets of a rollup.
//!
//! | format | holds | bytes |
//! | --- | --- | --- |
//! | 1 | readings | plain: LEB128 of zigzag differences of time, position, and receive time to time; flags; value. About 12 bytes a reading. For blocks that will soon be part of a larger one |
//! | 2 | readings | columns (see `column.rs`): time, receive time less time, flags, value |
//! | 3 | buckets | columns: start in widths, count, min, max, sum |
//!
//! Positions are not kept in format 2, and are 0 in what is now written of format 1: rules read positions in the tail
//! only, duplicates are told by time and value, and a query tells what it met twice by how far the tail had been moved.
//! Readings of one time stand in the order in which they came.
//!
//! Always holds: readings are sorted by time; the number of rows stands beside the bytes and is bounded before they are
//! read.

use super::column::{ColumnsIn, ColumnsOut};
use super::flags;
use super::rollup::{Bucket, QUARTER_MS};
use super::types::{SeriesId, StoredReading};

/// Readings in a block: a query decodes whole blocks, so they stay near a tenth of a millisecond.
pub(crate) const BLOCK_READINGS_MAX: usize = 4_096;
/// A block with so many is closed: it is not merged any further.
pub(crate) const CLOSED_READINGS_MIN: usize = BLOCK_READINGS_MAX / 2;
/// The level of a closed block.
pub(crate) const CLOSED: u8 = 9;
/// Below this compression costs more time than it saves bytes that last: such blocks are merged soon.
const COLUMNS_MIN: usize = 128;

pub(crate) const FORMAT_PLAIN: u8 = 1;
pub(crate) const FORMAT_COLUMNS: u8 = 2;
pub(crate) const FORMAT_BUCKETS: u8 = 3;

pub(crate) const DAY_MS: i64 = 24 * 3_600_000;

/// What a block holds. Its number is in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Readings of an approved device.
    Readings = 1,
    /// Readings that came while their device was not approved: never in rollups, and bounded (see `unapproved.rs`).
    Unapproved = 2,
    Minutes = 3,
    Quarters = 4,
    Hours = 5,
}

impl Kind {
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Kind::Readings),
            2 => Some(Kind::Unapproved),
            3 => Some(Kind::Minutes),
            4 => Some(Kind::Quarters),
            5 => Some(Kind::Hours),
            _ => None,
        }
    }

    pub(crate) fn of(reading: &StoredReading) -> Self {
        if reading.flags & (flags::APPROVED | flags::KEPT) != 0 {
            Kind::Readings
        } else {
            Kind::Unapproved
        }
    }

    pub(crate) fn is_readings(self) -> bool {
        matches!(self, Kind::Readings | Kind::Unapproved)
    }

    /// Width of a bucket.
    pub(crate) fn width_ms(self) -> i64 {
        match self {
            Kind::Readings | Kind::Unapproved => 1,
            Kind::Minutes => 60_000,
            Kind::Quarters => QUARTER_MS,
            Kind::Hours => 3_600_000,
        }
    }

    /// No block reaches over the end of a period: a UTC day of readings, 1,440 buckets of a rollup. So retention drops
    /// whole blocks, and a clock that jumps does not make blocks that every query has to look into.
    pub(crate) fn period_ms(self) -> i64 {
        match self {
            Kind::Readings | Kind::Unapproved => DAY_MS,
            _ => 1_440 * self.width_ms(),
        }
    }

    pub(crate) fn period_of(self, at_ms: i64) -> i64 {
        at_ms.div_euclid(self.period_ms())
    }

    /// The first and the last millisecond of a period.
    pub(crate) fn bounds(self, period: i64) -> (i64, i64) {
        let first = period.saturating_mul(self.period_ms());
        (first, first.saturating_add(self.period_ms() - 1))
    }
}

/// An encoded block on its way to the table.
#[derive(Debug, PartialEq)]
pub(crate) struct Block {
    pub(crate) series: SeriesId,
    pub(crate) kind: Kind,
    pub(crate) period: i64,
    pub(crate) level: u8,
    pub(crate) first_at: i64,
    pub(crate) last_at: i64,
    pub(crate) count: usize,
    pub(crate) format: u8,
    pub(crate) data: Vec<u8>,
}

/// Encodes sorted readings of one series, kind and day; `None` when there are none.
pub(crate) fn encode(readings: &[StoredReading], level: u8) -> Option<Block> {
    let (first, last) = (readings.first()?, readings.last()?);
    let kind = Kind::of(first);
    let columns = if readings.len() >= COLUMNS_MIN || level == CLOSED {
        encode_columns(readings)
    } else {
        None
    };
    let (format, data) = match columns {
        Some(data) => (FORMAT_COLUMNS, data),
        None => (FORMAT_PLAIN, encode_plain(readings)),
    };
    Some(Block {
        series: first.series,
        kind,
        period: kind.period_of(first.at_ms),
        level,
        first_at: first.at_ms,
        last_at: last.at_ms,
        count: readings.len(),
        format,
        data,
    })
}

/// Reads readings back; `None` when the bytes are damaged or of a format that this program does not know. Positions
/// mean nothing.
pub(crate) fn decode(
    series: SeriesId,
    format: u8,
    count: usize,
    data: &[u8],
) -> Option<Vec<StoredReading>> {
    if count > BLOCK_READINGS_MAX {
        return None;
    }
    match format {
        FORMAT_PLAIN => decode_plain(series, count, data),
        FORMAT_COLUMNS => decode_columns(series, count, data),
        _ => None,
    }
}

/// Encodes buckets of one series, kind and period with rising starts; `None` when there are none.
pub(crate) fn encode_buckets(
    series: SeriesId,
    kind: Kind,
    level: u8,
    buckets: &[Bucket],
) -> Option<Block> {
    let (first, last) = (buckets.first()?, buckets.last()?);
    let column = |of: fn(&Bucket) -> f64| buckets.iter().map(of).collect::<Vec<f64>>();
    let starts: Vec<i64> = buckets
        .iter()
        .map(|bucket| bucket.start_ms.div_euclid(kind.width_ms()))
        .collect();
    let counts: Vec<i64> = buckets
        .iter()
        .map(|bucket| bucket.count.cast_signed())
        .collect();
    let (min, max, sum) = (
        column(|bucket| bucket.min),
        column(|bucket| bucket.max),
        column(|bucket| bucket.sum),
    );
    let same = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
    let mut out = ColumnsOut::new();
    out.push(&starts)?;
    out.push(&counts)?;
    out.push(&min)?;
    // A sensor that sends once a minute has one reading in a bucket: all three are the same.
    for column in [&max, &sum] {
        if same(&min, column) {
            out.push_same_as(2);
        } else {
            out.push(column)?;
        }
    }
    Some(Block {
        series,
        kind,
        period: kind.period_of(first.start_ms),
        level,
        first_at: first.start_ms,
        last_at: last.start_ms,
        count: buckets.len(),
        format: FORMAT_BUCKETS,
        data: out.finish(),
    })
}

/// Reads buckets back; `None` when the bytes are damaged or say what cannot be.
pub(crate) fn decode_buckets(
    kind: Kind,
    format: u8,
    count: usize,
    data: &[u8],
) -> Option<Vec<Bucket>> {
    if format != FORMAT_BUCKETS || count > BLOCK_READINGS_MAX {
        return None;
    }
    let mut columns = ColumnsIn::new(data, count)?;
    let starts = columns.next_own::<i64>()?;
    let counts = columns.next_own::<i64>()?;
    let min = columns.next_own::<f64>()?;
    let mut like_min = || match columns.next::<f64>()? {
        super::column::ColumnIn::Own(column) => Some(column),
        super::column::ColumnIn::SameAs(2) => Some(min.clone()),
        super::column::ColumnIn::SameAs(_) => None,
    };
    let (max, sum) = (like_min()?, like_min()?);
    if !columns.at_end() {
        return None;
    }
    (0..count)
        .map(|row| {
            let bucket = Bucket {
                start_ms: starts[row].checked_mul(kind.width_ms())?,
                count: u64::try_from(counts[row]).ok().filter(|count| *count > 0)?,
                min: min[row],
                max: max[row],
                sum: sum[row],
            };
            bucket.is_sound().then_some(bucket)
        })
        .collect()
}

fn encode_columns(readings: &[StoredReading]) -> Option<Vec<u8>> {
    let column = |of: fn(&StoredReading) -> i64| readings.iter().map(of).collect::<Vec<i64>>();
    let mut out = ColumnsOut::new();
    out.push(&column(|reading| reading.at_ms))?;
    out.push(&column(|reading| {
        reading.received_ms.wrapping_sub(reading.at_ms)
    }))?;
    out.push(&column(|reading| i64::from(reading.flags)))?;
    let values: Vec<f64> = readings.iter().map(|reading| reading.value).collect();
    out.push(&values)?;
    Some(out.finish())
}

fn decode_columns(series: SeriesId, count: usize, data: &[u8]) -> Option<Vec<StoredReading>> {
    let mut columns = ColumnsIn::new(data, count)?;
    let at = columns.next_own::<i64>()?;
    let delays = columns.next_own::<i64>()?;
    let flags = columns.next_own::<i64>()?;
    let values = columns.next_own::<f64>()?;
    if !columns.at_end() {
        return None;
    }
    (0..count)
        .map(|row| {
            Some(StoredReading {
                position: 0,
                series,
                at_ms: at[row],
                received_ms: at[row].wrapping_add(delays[row]),
                value: values[row],
                flags: u8::try_from(flags[row]).ok()?,
            })
        })
        .collect()
}

fn encode_plain(readings: &[StoredReading]) -> Vec<u8> {
    let mut data = Vec::with_capacity(readings.len() * 14);
    let mut at = 0i64;
    for reading in readings {
        put(&mut data, reading.at_ms.wrapping_sub(at));
        put(&mut data, 0);
        put(&mut data, reading.received_ms.wrapping_sub(reading.at_ms));
        data.push(reading.flags);
        data.extend_from_slice(&reading.value.to_le_bytes());
        at = reading.at_ms;
    }
    data
}

fn decode_plain(series: SeriesId, count: usize, data: &[u8]) -> Option<Vec<StoredReading>> {
    let mut rest = data;
    let mut readings = Vec::with_capacity(count);
    let mut at = 0i64;
    for _ in 0..count {
        at = at.wrapping_add(take(&mut rest)?);
        take(&mut rest)?;
        let received_ms = at.wrapping_add(take(&mut rest)?);
        let (flags, after) = rest.split_first()?;
        let (value, after) = after.split_first_chunk::<8>()?;
        rest = after;
        readings.push(StoredReading {
            position: 0,
            series,
            at_ms: at,
            received_ms,
            value: f64::from_le_bytes(*value),
            flags: *flags,
        });
    }
    rest.is_empty().then_some(readings)
}

fn put(data: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while rest >= 0x80 {
        data.push((rest as u8) | 0x80);
        rest >>= 7;
    }
    data.push(rest as u8);
}

fn take(rest: &mut &[u8]) -> Option<i64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((number >> 1).cast_signed() ^ -((number & 1).cast_signed()));
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reading(at_ms: i64, received_ms: i64, value: f64, flags: u8) -> StoredReading {
        StoredReading {
            position: 0,
            series: SeriesId(7),
            at_ms,
            received_ms,
            value,
            flags,
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_in_every_format(rows in proptest::collection::vec(
            (any::<i64>(), any::<i64>(), any::<f64>(), any::<u8>()), 1..300)) {
            let mut readings: Vec<_> =
                rows.into_iter().map(|(at, received, value, flags)| reading(at, received, value, flags)).collect();
            readings.sort_by_key(|reading| reading.at_ms);
            for data in [(FORMAT_PLAIN, encode_plain(&readings)), (FORMAT_COLUMNS, encode_columns(&readings).unwrap())] {
                let decoded = decode(SeriesId(7), data.0, readings.len(), &data.1).unwrap();
                prop_assert_eq!(format!("{decoded:?}"), format!("{readings:?}"));
            }
        }

        #[test]
        fn damaged_bytes_never_panic(
            data in proptest::collection::vec(any::<u8>(), 0..200), count in 0usize..50, format in 0u8..5,
        ) {
            let _ = decode(SeriesId(1), format, count, &data);
            let _ = decode_buckets(Kind::Minutes, format, count, &data);
        }

        #[test]
        fn buckets_come_back(rows in proptest::collection::vec((1u64..100, -1e9f64..1e9, 0f64..1e6, 0f64..1.0), 1..300)) {
            let buckets: Vec<Bucket> = (5_000i64..).zip(&rows).map(|(minute, (count, min, more, part))| Bucket {
                start_ms: minute * 60_000,
                count: *count,
                min: *min,
                max: min + more,
                sum: (min + more * part) * *count as f64,
            }).collect();
            let block = encode_buckets(SeriesId(1), Kind::Minutes, 0, &buckets).unwrap();
            let decoded = decode_buckets(Kind::Minutes, block.format, block.count, &block.data).unwrap();
            prop_assert_eq!(decoded, buckets);
        }
    }

    /// As written by the program before columns: three readings with their positions.
    #[test]
    fn blocks_of_the_first_format_with_positions_are_still_read() {
        let mut data = Vec::new();
        let (mut at, mut position) = (0, 0);
        for (number, row) in [(10, 1_000), (13, 2_000), (11, 2_500)].iter().enumerate() {
            put(&mut data, row.1 - at);
            put(&mut data, row.0 - position);
            put(&mut data, 5);
            data.push(1);
            data.extend_from_slice(&(number as f64).to_le_bytes());
            (position, at) = *row;
        }
        let decoded = decode(SeriesId(7), FORMAT_PLAIN, 3, &data).unwrap();
        let expected = [
            reading(1_000, 1_005, 0.0, 1),
            reading(2_000, 2_005, 1.0, 1),
            reading(2_500, 2_505, 2.0, 1),
        ];
        assert_eq!(decoded, expected);
    }

    #[test]
    fn a_steady_sensor_of_a_tenth_resolution_costs_two_bytes_a_reading() {
        let mut level = 1_234i32;
        let readings: Vec<_> = (0..4_096i64)
            .map(|second| {
                level += (second * 7_919 % 7) as i32 - 3;
                let at = 1_760_000_000_000 + second * 1_000;
                reading(at, at + 40 + second * 31 % 9, f64::from(level) / 10.0, 9)
            })
            .collect();
        let block = encode(&readings, CLOSED).unwrap();
        assert!(
            block.data.len() < 2 * readings.len(),
            "{}",
            block.data.len()
        );
    }

    #[test]
    fn more_rows_than_a_block_may_have_are_not_believed() {
        assert_eq!(
            decode(
                SeriesId(1),
                FORMAT_PLAIN,
                BLOCK_READINGS_MAX + 1,
                &[0; 65_536]
            ),
            None
        );
        assert!(decode_buckets(Kind::Hours, FORMAT_BUCKETS, usize::MAX, &[0; 16]).is_none());
    }

    #[test]
    fn periods_of_any_time_are_there() {
        for kind in [Kind::Readings, Kind::Minutes, Kind::Quarters, Kind::Hours] {
            for at in [i64::MIN, -1, 0, 1, DAY_MS, i64::MAX] {
                let (first, last) = kind.bounds(kind.period_of(at));
                assert!(first <= at || at == i64::MIN);
                assert!(last >= at);
            }
        }
    }
}
