//! The readings of a quarter of an hour of one series, as bytes: what lane 5 carries.
//!
//! `version (1 byte) | postcard(Said)`. Times are differences of differences, and values that are decimal numbers are
//! differences in units of their last place, so a gauge of 0.01 that sends each second takes two to three bytes a reading.
//! No library decompresses here: what a peer sends is read by a few lines, and there is one encoding, as of summaries.

use serde::{Deserialize, Serialize};
use sync_engine::EntryKind;

use super::payload::{
    Malformed, NAME_BYTES_MAX, QUARTER_MS, QUARTERS, SCALE_MAX, decimal, is_decimal, units,
};

/// Number on the wire, for ever.
pub const KIND: EntryKind = EntryKind(0x0303);

const VERSION: u8 = 1;

/// Readings of a quarter of an hour, eleven a second. Of faster sensors the others have summaries.
pub const READINGS_MAX: usize = 10_000;
/// What fits an entry with its header and its names.
pub const PAYLOAD_BYTES_MAX: usize = 31 * 1024;

/// The readings of a quarter of an hour.
#[derive(Debug, Clone, PartialEq)]
pub struct RawQuarter {
    pub device: String,
    pub channel: String,
    pub unit: String,
    /// Quarters of an hour since 1970.
    pub number: i64,
    /// Unix milliseconds and values, in the order of time, at least one.
    pub readings: Vec<(i64, f64)>,
}

#[derive(Serialize, Deserialize)]
struct Said {
    device: String,
    channel: String,
    unit: String,
    /// After the first quarter that anybody can mean.
    after: u64,
    /// The first: milliseconds into the quarter. The second: after the first. Then how much more or less than before.
    times: Vec<i64>,
    values: Values,
}

#[derive(Serialize, Deserialize)]
enum Values {
    /// In units of a tenth, a hundredth …: the first, then the differences.
    Decimal {
        scale: u8,
        units: Vec<i64>,
    },
    Plain(Vec<f64>),
}

/// The payload; `None` when it cannot be said: too many readings, or too wild ones for one entry.
pub fn encode(quarter: &RawQuarter) -> Option<Vec<u8>> {
    let bytes = encode_any(quarter)?;
    (bytes.len() <= PAYLOAD_BYTES_MAX && is_sound(quarter)).then_some(bytes)
}

fn is_sound(quarter: &RawQuarter) -> bool {
    let names = [&quarter.device, &quarter.channel, &quarter.unit];
    let start_ms = quarter.number.saturating_mul(QUARTER_MS);
    let of_quarter = start_ms..start_ms.saturating_add(QUARTER_MS);
    QUARTERS.contains(&quarter.number)
        && names.iter().all(|name| name.len() <= NAME_BYTES_MAX)
        && !quarter.device.is_empty()
        && !quarter.channel.is_empty()
        && (1..=READINGS_MAX).contains(&quarter.readings.len())
        && quarter.readings.is_sorted_by_key(|(at_ms, _)| *at_ms)
        && quarter
            .readings
            .iter()
            .all(|(at_ms, value)| of_quarter.contains(at_ms) && value.is_finite())
}

fn encode_any(quarter: &RawQuarter) -> Option<Vec<u8>> {
    let after = u64::try_from(quarter.number.checked_sub(QUARTERS.start)?).ok()?;
    let (mut before_ms, mut step_ms) = (quarter.number.checked_mul(QUARTER_MS)?, 0);
    let mut times = Vec::with_capacity(quarter.readings.len());
    for (number, (at_ms, _)) in quarter.readings.iter().enumerate() {
        let step = at_ms.checked_sub(before_ms)?;
        times.push(step.checked_sub(step_ms)?);
        // The first is no step from one reading to another.
        step_ms = if number == 0 { 0 } else { step };
        before_ms = *at_ms;
    }
    let values: Vec<f64> = quarter.readings.iter().map(|(_, value)| *value).collect();
    let scale = (0..=SCALE_MAX).find(|scale| values.iter().all(|value| is_decimal(*value, *scale)));
    let values = match scale {
        Some(scale) => {
            let mut before = 0;
            let differences = values.iter().map(|value| {
                let now = units(*value, scale);
                let difference = now - before;
                before = now;
                difference
            });
            Values::Decimal {
                scale,
                units: differences.collect(),
            }
        }
        None => Values::Plain(values),
    };
    let said = Said {
        device: quarter.device.clone(),
        channel: quarter.channel.clone(),
        unit: quarter.unit.clone(),
        after,
        times,
        values,
    };
    let mut bytes = vec![VERSION];
    bytes.extend(postcard::to_allocvec(&said).ok()?);
    Some(bytes)
}

/// What a payload says; `None` for a version that this program does not know, which is kept and passed on.
///
/// # Errors
/// [`Malformed`].
pub fn decode(bytes: &[u8]) -> Result<Option<RawQuarter>, Malformed> {
    let (version, rest) = bytes.split_first().ok_or(Malformed)?;
    match *version {
        0 => return Err(Malformed),
        VERSION => {}
        _ => return Ok(None),
    }
    let said: Said = match postcard::take_from_bytes(rest) {
        Ok((said, [])) => said,
        _ => return Err(Malformed),
    };
    let quarter = read(said).ok_or(Malformed)?;
    if !is_sound(&quarter) || encode(&quarter).as_deref() != Some(bytes) {
        return Err(Malformed);
    }
    Ok(Some(quarter))
}

fn read(said: Said) -> Option<RawQuarter> {
    let number = i64::try_from(said.after)
        .ok()?
        .checked_add(QUARTERS.start)?;
    let values: Vec<f64> = match said.values {
        Values::Plain(values) => values,
        Values::Decimal { scale, .. } if scale > SCALE_MAX => return None,
        Values::Decimal { scale, units } => {
            let mut now: i64 = 0;
            let mut values = Vec::with_capacity(units.len());
            for difference in units {
                now = now.checked_add(difference)?;
                values.push(decimal(now, scale));
            }
            values
        }
    };
    if values.len() != said.times.len() {
        return None;
    }
    let (mut at_ms, mut step_ms) = (number.checked_mul(QUARTER_MS)?, 0_i64);
    let mut readings = Vec::with_capacity(values.len());
    for (place, (change, value)) in said.times.into_iter().zip(values).enumerate() {
        let step = step_ms.checked_add(change)?;
        at_ms = at_ms.checked_add(step)?;
        step_ms = if place == 0 { 0 } else { step };
        readings.push((at_ms, value));
    }
    Some(RawQuarter {
        device: said.device,
        channel: said.channel,
        unit: said.unit,
        number,
        readings,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NUMBER: i64 = 1_969_296;

    fn quarter(readings: Vec<(i64, f64)>) -> RawQuarter {
        RawQuarter {
            device: "river-1".into(),
            channel: "level".into(),
            unit: "m".into(),
            number: NUMBER,
            readings: readings
                .into_iter()
                .map(|(into_ms, value)| (NUMBER * QUARTER_MS + into_ms, value))
                .collect(),
        }
    }

    #[test]
    fn a_gauge_that_sends_each_second_takes_less_than_three_bytes_a_reading() {
        let level = |second: i64| ((second as f64 / 60.0).sin() * 50.0 + 342.0).round() / 100.0;
        let said = quarter(
            (0..900)
                .map(|second| (second * 1_000 + 37, level(second)))
                .collect(),
        );
        let bytes = encode(&said).unwrap();
        assert!(bytes.len() < 3 * 900, "{}", bytes.len());
        assert_eq!(decode(&bytes), Ok(Some(said)));
    }

    #[test]
    fn what_no_node_says_is_malformed_and_what_does_not_fit_is_not_said() {
        let sound = quarter(vec![(0, 1.0), (1_000, 2.0)]);
        let bytes = encode(&sound).unwrap();
        assert_eq!(decode(&[2, 1]), Ok(None));
        for refused in [&[][..], &[0], &[1], &[&bytes[..], &[0]].concat()] {
            assert_eq!(decode(refused), Err(Malformed));
        }
        let wild = |n: i64| (n, (n as f64).sqrt());
        let unsayable = [
            quarter(vec![]),
            quarter(vec![(QUARTER_MS, 1.0)]),
            quarter(vec![(-1, 1.0)]),
            quarter(vec![(5, 1.0), (4, 1.0)]),
            quarter(vec![(0, f64::NAN)]),
            quarter((0..READINGS_MAX as i64 + 1).map(|n| (n, 1.0)).collect()),
            quarter((0..5_000).map(wild).collect()),
            RawQuarter {
                number: 0,
                ..sound.clone()
            },
            RawQuarter {
                device: String::new(),
                ..sound.clone()
            },
            RawQuarter {
                unit: "x".repeat(257),
                ..sound
            },
        ];
        for said in unsayable {
            assert_eq!(encode(&said), None);
            if let Some(bytes) = encode_any(&said) {
                assert_eq!(decode(&bytes), Err(Malformed));
            }
        }
    }

    proptest! {
        #[test]
        fn readings_come_back_bit_for_bit(
            mut times in proptest::collection::vec(0..QUARTER_MS, 1..100), wild in any::<bool>(), seed in any::<u32>(),
        ) {
            times.sort_unstable();
            let value = |at: i64| {
                let noise = f64::from(seed.wrapping_mul(at as u32 | 1) % 1_000);
                if wild { noise.sqrt() } else { noise / 10.0 }
            };
            let said = quarter(times.iter().map(|at| (*at, value(*at))).collect());
            let bytes = encode(&said).unwrap();
            prop_assert_eq!(decode(&bytes).unwrap().unwrap(), said);
        }

        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 1..200)) {
            bytes[0] = 1;
            let _ = decode(&bytes);
        }
    }
}
