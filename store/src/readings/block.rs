//! Many readings of one series in one row.
//!
//! Format 1: readings in the order of (time, position); for each a LEB128 of the zigzag difference to the one before of
//! time and of position, a LEB128 of the zigzag difference of receive time and time, one byte of flags, and the value as
//! 8 bytes little-endian. About 14 bytes a reading. The number of readings stands in the row.

use super::types::SeriesId;
use super::types::StoredReading;

/// Readings in a block: a query decodes whole blocks, so they stay below a tenth of a millisecond.
pub(crate) const BLOCK_READINGS_MAX: usize = 4_096;
pub(crate) const FORMAT: u8 = 1;

/// An encoded block on its way to the table.
#[derive(Debug, PartialEq)]
pub(crate) struct Block {
    pub(crate) series: SeriesId,
    pub(crate) first_at: i64,
    pub(crate) last_at: i64,
    pub(crate) count: usize,
    pub(crate) last: StoredReading,
    pub(crate) data: Vec<u8>,
}

/// Encodes sorted readings of one series; `None` when there are none.
pub(crate) fn encode(readings: &[StoredReading]) -> Option<Block> {
    let (first, last) = (readings.first()?, readings.last()?);
    let mut data = Vec::with_capacity(readings.len() * 16);
    let (mut at, mut position) = (0i64, 0i64);
    for reading in readings {
        put(&mut data, reading.at_ms.wrapping_sub(at));
        put(&mut data, reading.position.wrapping_sub(position));
        put(&mut data, reading.received_ms.wrapping_sub(reading.at_ms));
        data.push(reading.flags);
        data.extend_from_slice(&reading.value.to_le_bytes());
        (at, position) = (reading.at_ms, reading.position);
    }
    Some(Block {
        series: first.series,
        first_at: first.at_ms,
        last_at: last.at_ms,
        count: readings.len(),
        last: *last,
        data,
    })
}

/// Reads a block back; `None` when its bytes are damaged or of a format that this program does not know.
pub(crate) fn decode(
    series: SeriesId,
    format: u8,
    count: usize,
    data: &[u8],
) -> Option<Vec<StoredReading>> {
    if format != FORMAT || count > BLOCK_READINGS_MAX {
        return None;
    }
    let mut rest = data;
    let mut readings = Vec::with_capacity(count);
    let (mut at, mut position) = (0i64, 0i64);
    for _ in 0..count {
        at = at.wrapping_add(take(&mut rest)?);
        position = position.wrapping_add(take(&mut rest)?);
        let received_ms = at.wrapping_add(take(&mut rest)?);
        let (flags, after) = rest.split_first()?;
        let (value, after) = after.split_first_chunk::<8>()?;
        rest = after;
        readings.push(StoredReading {
            position,
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

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(rows in proptest::collection::vec(
            (any::<i64>(), any::<i64>(), any::<i64>(), any::<f64>(), any::<u8>()), 1..60)) {
            let series = SeriesId(7);
            let mut readings: Vec<_> = rows.into_iter().map(|(at_ms, position, received_ms, value, flags)| {
                StoredReading { position, series, at_ms, received_ms, value, flags }
            }).collect();
            readings.sort_by_key(|reading| (reading.at_ms, reading.position));
            let block = encode(&readings).unwrap();
            let decoded = decode(series, FORMAT, block.count, &block.data).unwrap();
            prop_assert_eq!(format!("{decoded:?}"), format!("{readings:?}"));
        }

        #[test]
        fn damaged_bytes_never_panic(data in proptest::collection::vec(any::<u8>(), 0..200), count in 0usize..50) {
            let _ = decode(SeriesId(1), FORMAT, count, &data);
        }
    }
}
