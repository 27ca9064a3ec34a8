//! What a node says that it heard of its sensors, as bytes.
//!
//! `version (1 byte) | postcard(Said)`. Names of channels and units stand once per entry and devices once, numbers are
//! varints. A bucket's values are decimal numbers where they are (readings of 0.01 m are, and so are their sums), then they
//! take two or three bytes each; else they take eight. There is one encoding of what is said, and no other is read: what
//! is malformed on one node is malformed on every one.
//!
//! Its size: 13 to 16 bytes a bucket, and the device's name; a thousand gauges with four channels at each device take
//! 18 KB a quarter of an hour.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sync_engine::EntryKind;

/// Number on the wire, for ever; 0x0301 and up are what a node says of itself.
pub const KIND: EntryKind = EntryKind(0x0302);

const VERSION: u8 = 1;

/// The time that a bucket is about: a quarter of an hour.
pub const QUARTER_MS: i64 = 15 * 60_000;

/// A payload that is longer is another one. A receiver's writer takes in some 700 buckets at a time, 10 ms; and several
/// entries fit a run of 64 KiB.
pub const PAYLOAD_BYTES_MAX: usize = 12 * 1024;
/// As long as the names that a node takes from its sensors.
pub(super) const NAME_BYTES_MAX: usize = 256;
/// A million readings a second for a quarter of an hour.
const COUNT_MAX: u64 = 1_000_000_000;
/// Quarters that anybody can mean: 2020 to 2100.
pub(super) const QUARTERS: std::ops::Range<i64> = 1_753_152..4_558_272;
/// The greatest power of ten that values are tried with: a millionth of a unit.
pub(super) const SCALE_MAX: u8 = 6;
/// Beyond it a whole number of units of the last place is not exact as `f64` any more.
const UNITS_MAX: f64 = 9_007_199_254_740_992.0;

/// What was heard of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesSaid {
    pub device: String,
    pub channel: String,
    pub unit: String,
    /// With rising starts, at least one.
    pub quarters: Vec<Quarter>,
}

/// The readings of a quarter of an hour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quarter {
    /// Quarters of an hour since 1970.
    pub number: i64,
    pub count: u64,
    pub min: f64,
    pub max: f64,
    pub sum: f64,
}

/// Bytes that no node writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed summary of readings")]
pub struct Malformed;

#[derive(Serialize, Deserialize)]
struct Said {
    channels: Vec<String>,
    units: Vec<String>,
    devices: Vec<Device>,
}

#[derive(Serialize, Deserialize)]
struct Device {
    name: String,
    series: Vec<Series>,
}

#[derive(Serialize, Deserialize)]
struct Series {
    channel: u32,
    unit: u32,
    quarters: Vec<Bucket>,
}

#[derive(Serialize, Deserialize)]
struct Bucket {
    /// From the quarter before of this series; the first from the first that anybody can mean.
    after: u64,
    count: u64,
    values: Values,
}

#[derive(Serialize, Deserialize)]
enum Values {
    /// In units of a tenth, a hundredth … (`scale` digits): the least, how much greater the greatest is, and the sum.
    Decimal {
        scale: u8,
        min: i64,
        range: u64,
        sum: i64,
    },
    Plain {
        min: f64,
        max: f64,
        sum: f64,
    },
}

impl Quarter {
    /// This quarter as it is said: a sum that is a decimal number but for the rounding of `f64` is that number. `None` when
    /// it cannot be said.
    pub fn sayable(mut self) -> Option<Quarter> {
        // What adding so many values can be off by, at the most.
        let rounding = self.sum.abs().max(1.0) * 1e-9;
        let rounded = (0..=SCALE_MAX)
            .filter(|scale| is_decimal(self.min, *scale) && is_decimal(self.max, *scale))
            .map(|scale| decimal(units(self.sum, scale), scale))
            .find(|rounded| (rounded - self.sum).abs() <= rounding);
        self.sum = rounded.unwrap_or(self.sum);
        self.is_sound().then_some(self)
    }

    fn is_sound(&self) -> bool {
        QUARTERS.contains(&self.number)
            && (1..=COUNT_MAX).contains(&self.count)
            && [self.min, self.max, self.sum]
                .iter()
                .all(|value| value.is_finite())
            && self.min <= self.max
    }

    fn values(&self) -> Values {
        let all = [self.min, self.max, self.sum];
        let scale =
            (0..=SCALE_MAX).find(|scale| all.iter().all(|value| is_decimal(*value, *scale)));
        match scale {
            Some(scale) => {
                let [min, max, sum] = all.map(|value| units(value, scale));
                Values::Decimal {
                    scale,
                    min,
                    range: max.abs_diff(min),
                    sum,
                }
            }
            None => Values::Plain {
                min: self.min,
                max: self.max,
                sum: self.sum,
            },
        }
    }
}

pub(super) fn units(value: f64, scale: u8) -> i64 {
    // Saturates; whether it is exact is asked of the result.
    (value * 10_f64.powi(i32::from(scale))).round() as i64
}

pub(super) fn decimal(units: i64, scale: u8) -> f64 {
    units as f64 / 10_f64.powi(i32::from(scale))
}

/// Whether a value is so many units of the last place, bit for bit.
pub(super) fn is_decimal(value: f64, scale: u8) -> bool {
    let units = units(value, scale);
    (units as f64).abs() < UNITS_MAX && decimal(units, scale).to_bits() == value.to_bits()
}

/// The payloads that say all of `series`, each at most [`PAYLOAD_BYTES_MAX`] long (or one quarter alone). What is not
/// sayable must have been left out.
pub fn encode(series: &[SeriesSaid]) -> Vec<Vec<u8>> {
    let mut sorted: Vec<SeriesSaid> = series.to_vec();
    sorted.sort_by(|a, b| names(a).cmp(&names(b)));
    let mut payloads = Vec::new();
    pack(&sorted, &mut payloads);
    payloads
}

/// Halves what does not fit, by series and then by time.
fn pack(series: &[SeriesSaid], payloads: &mut Vec<Vec<u8>>) {
    if series.is_empty() {
        return;
    }
    let bytes = encode_one(series);
    if bytes.len() <= PAYLOAD_BYTES_MAX {
        payloads.push(bytes);
        return;
    }
    match series {
        [one] if one.quarters.len() < 2 => payloads.push(bytes),
        [one] => {
            let (early, late) = one.quarters.split_at(one.quarters.len() / 2);
            for quarters in [early, late] {
                let part = SeriesSaid {
                    quarters: quarters.to_vec(),
                    ..one.clone()
                };
                pack(&[part], payloads);
            }
        }
        many => {
            let (first, second) = many.split_at(many.len() / 2);
            pack(first, payloads);
            pack(second, payloads);
        }
    }
}

fn names(series: &SeriesSaid) -> (&str, &str, &str) {
    (&series.device, &series.channel, &series.unit)
}

/// The payload of series in the order of their names.
fn encode_one(series: &[SeriesSaid]) -> Vec<u8> {
    let dictionary = |of: fn(&SeriesSaid) -> &String| -> Vec<String> {
        let words: BTreeSet<&String> = series.iter().map(of).collect();
        words.into_iter().cloned().collect()
    };
    let channels = dictionary(|series| &series.channel);
    let units = dictionary(|series| &series.unit);
    let place = |words: &[String], word: &String| {
        let place = words.binary_search(word).unwrap_or(0);
        u32::try_from(place).unwrap_or(u32::MAX)
    };
    let devices = series
        .chunk_by(|a, b| a.device == b.device)
        .map(|of_device| Device {
            name: of_device
                .first()
                .map(|series| series.device.clone())
                .unwrap_or_default(),
            series: of_device
                .iter()
                .map(|series| Series {
                    channel: place(&channels, &series.channel),
                    unit: place(&units, &series.unit),
                    quarters: buckets(&series.quarters),
                })
                .collect(),
        })
        .collect();
    let said = Said {
        channels,
        units,
        devices,
    };
    let mut bytes = vec![VERSION];
    // Writing to memory does not fail.
    bytes.extend(postcard::to_allocvec(&said).unwrap_or_default());
    bytes
}

fn buckets(quarters: &[Quarter]) -> Vec<Bucket> {
    let mut before = QUARTERS.start;
    quarters
        .iter()
        .map(|quarter| {
            let after = quarter.number.abs_diff(before);
            before = quarter.number;
            Bucket {
                after,
                count: quarter.count,
                values: quarter.values(),
            }
        })
        .collect()
}

/// What a payload says, in the order of names; `None` for a version that this program does not know, which is kept and
/// passed on.
///
/// # Errors
/// [`Malformed`].
pub fn decode(bytes: &[u8]) -> Result<Option<Vec<SeriesSaid>>, Malformed> {
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
    let mut all = Vec::new();
    for device in &said.devices {
        for series in &device.series {
            let word = |words: &[String], place: u32| words.get(place as usize).cloned();
            let decoded = SeriesSaid {
                device: device.name.clone(),
                channel: word(&said.channels, series.channel).ok_or(Malformed)?,
                unit: word(&said.units, series.unit).ok_or(Malformed)?,
                quarters: quarters(&series.quarters)?,
            };
            let named = !decoded.device.is_empty() && !decoded.channel.is_empty();
            let (device, channel, unit) = names(&decoded);
            let short = [device, channel, unit]
                .iter()
                .all(|name| name.len() <= NAME_BYTES_MAX);
            if !named || !short || decoded.quarters.is_empty() {
                return Err(Malformed);
            }
            all.push(decoded);
        }
    }
    // Order, dictionaries and the form of numbers: all of it is right when it is what a node would have written.
    let in_order = all.is_sorted_by(|a, b| names(a) < names(b));
    if all.is_empty() || !in_order || encode_one(&all) != bytes {
        return Err(Malformed);
    }
    Ok(Some(all))
}

fn quarters(buckets: &[Bucket]) -> Result<Vec<Quarter>, Malformed> {
    let mut before = QUARTERS.start;
    let mut quarters: Vec<Quarter> = Vec::with_capacity(buckets.len());
    for bucket in buckets {
        let number = i64::try_from(bucket.after)
            .ok()
            .and_then(|after| before.checked_add(after))
            .ok_or(Malformed)?;
        if bucket.after == 0 && !quarters.is_empty() {
            return Err(Malformed);
        }
        before = number;
        let (min, max, sum) = match bucket.values {
            Values::Plain { min, max, sum } => (min, max, sum),
            Values::Decimal { scale, .. } if scale > SCALE_MAX => return Err(Malformed),
            Values::Decimal {
                scale,
                min,
                range,
                sum,
            } => {
                let max = i64::try_from(range)
                    .ok()
                    .and_then(|range| min.checked_add(range))
                    .ok_or(Malformed)?;
                (
                    decimal(min, scale),
                    decimal(max, scale),
                    decimal(sum, scale),
                )
            }
        };
        let quarter = Quarter {
            number,
            count: bucket.count,
            min,
            max,
            sum,
        };
        if !quarter.is_sound() {
            return Err(Malformed);
        }
        quarters.push(quarter);
    }
    Ok(quarters)
}
