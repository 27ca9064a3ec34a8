//! What a node says of the devices that it hears, as bytes.
//!
//! `version (1 byte) | postcard(Said)`. Devices stand in the order of their names, each without what it shares with the
//! one before; times are seconds before the entry was made, and those of battery and signal seconds before the device was
//! heard, which most often is at the same time. There is one encoding of what is said, and no other is read: what is
//! malformed on one node is malformed on every one.
//!
//! Its size: 13 to 17 bytes for a device with battery and signal, and the end of its name.

use serde::{Deserialize, Serialize};
use sync_engine::EntryKind;

/// Number on the wire, for ever; 0x0301 and up are what a node says of itself.
pub const KIND: EntryKind = EntryKind(0x0304);

const VERSION: u8 = 1;

/// A payload that is longer is another one. A receiver's writer takes in some 700 devices at a time, 10 ms; and several
/// entries fit a run of 64 KiB.
pub const PAYLOAD_BYTES_MAX: usize = 12 * 1024;
/// As long as the names that a node takes from its sensors.
const NAME_BYTES_MAX: usize = 256;
/// As long as what a decoder takes for a version of firmware.
const FIRMWARE_BYTES_MAX: usize = 128;
/// Times that anybody can mean, seconds since 1970: 2020 to 2100.
const TIMES_S: std::ops::Range<i64> = 1_577_836_800..4_102_444_800;
/// Tenths of a percent.
const BATTERY: std::ops::RangeInclusive<i16> = 0..=1_000;
/// Tenths of a dBm: no receiver hears less than the noise of a hertz, and no sensor sends more than 100 W.
const RSSI: std::ops::RangeInclusive<i16> = -2_000..=500;

/// What a node says at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// By the clock of who says it; whole seconds, as all times here, in milliseconds since 1970.
    pub at_ms: i64,
    /// At least one, by name.
    pub devices: Vec<DeviceSaid>,
}

/// What it knows of a device; at least one of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DeviceSaid {
    pub device: String,
    /// When it was heard last.
    pub heard_ms: Option<i64>,
    pub battery_pct: Option<Level>,
    pub rssi_dbm: Option<Level>,
    /// Whether it is there.
    pub online: Option<bool>,
    /// As the device says it, and since when.
    pub firmware: Option<(String, i64)>,
}

/// A value in tenths of its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    tenths: i16,
    pub at_ms: i64,
}

/// Bytes that no node writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed device health")]
pub struct Malformed;

#[derive(Serialize, Deserialize)]
struct Wire {
    /// Seconds since 2020.
    at_s: u32,
    /// Versions of firmware, each once.
    firmware: Vec<String>,
    devices: Vec<Device>,
}

#[derive(Serialize, Deserialize)]
struct Device {
    /// Bytes that its name begins with as the name before does.
    shared: u16,
    rest: String,
    /// Seconds before the entry.
    heard: Option<u32>,
    battery: Option<WireLevel>,
    rssi: Option<WireLevel>,
    online: Option<bool>,
    /// Its place in the list, and how many seconds before the entry it was said first.
    firmware: Option<(u32, u32)>,
}

#[derive(Serialize, Deserialize)]
struct WireLevel {
    tenths: i16,
    /// Seconds before the device was heard last, or before the entry where it was not heard; less than 0: after it.
    before: i64,
}

impl Level {
    /// A charge of that time; `None` for what is no charge.
    pub fn battery_pct(value: f64, at_ms: i64) -> Option<Level> {
        Level::within(&BATTERY, value, at_ms)
    }

    /// The strength of a signal.
    pub fn rssi_dbm(value: f64, at_ms: i64) -> Option<Level> {
        Level::within(&RSSI, value, at_ms)
    }

    fn within(range: &std::ops::RangeInclusive<i16>, value: f64, at_ms: i64) -> Option<Level> {
        let tenths = (value * 10.0).round();
        let (least, greatest) = (f64::from(*range.start()), f64::from(*range.end()));
        (least..=greatest).contains(&tenths).then_some(Level {
            // Within the range of an i16.
            tenths: tenths as i16,
            at_ms,
        })
    }

    /// In its unit.
    pub fn value(self) -> f64 {
        f64::from(self.tenths) / 10.0
    }
}

impl DeviceSaid {
    /// As much of it as can be said at `now_ms`: what is from a later time is from now, what is too old for any clock is
    /// left out. `None` where nothing remains, or the device's name is too long.
    pub fn sayable(mut self, now_ms: i64) -> Option<DeviceSaid> {
        let at_s = now_ms.div_euclid(1_000);
        let time = |ms: i64| {
            let second = ms.div_euclid(1_000).min(at_s);
            TIMES_S.contains(&second).then_some(second * 1_000)
        };
        let level = |level: Level| {
            Some(Level {
                at_ms: time(level.at_ms)?,
                ..level
            })
        };
        self.heard_ms = self.heard_ms.and_then(time);
        self.battery_pct = self.battery_pct.and_then(level);
        self.rssi_dbm = self.rssi_dbm.and_then(level);
        self.firmware = self
            .firmware
            .filter(|(text, _)| (1..=FIRMWARE_BYTES_MAX).contains(&text.len()))
            .and_then(|(text, ms)| Some((text, time(ms)?)));
        self.is_sound().then_some(self)
    }

    fn is_sound(&self) -> bool {
        let says = self.heard_ms.is_some()
            || self.battery_pct.is_some()
            || self.rssi_dbm.is_some()
            || self.online.is_some()
            || self.firmware.is_some();
        says && (1..=NAME_BYTES_MAX).contains(&self.device.len())
    }

    /// Bytes that it takes at most.
    pub fn bytes_max(&self) -> usize {
        const NUMBERS: usize = 40;
        let firmware = self.firmware.as_ref().map_or(0, |(text, _)| text.len() + 2);
        self.device.len() + firmware + NUMBERS
    }
}

/// The payloads that say this of devices, each at most [`PAYLOAD_BYTES_MAX`] long. Of a device that is named twice the
/// first counts; what is not sayable at `at_ms` must have been left out. None where no clock can mean `at_ms`.
pub fn encode(at_ms: i64, devices: &[DeviceSaid]) -> Vec<Vec<u8>> {
    let mut sorted = devices.to_vec();
    sorted.sort_by(|a, b| a.device.cmp(&b.device));
    sorted.dedup_by(|b, a| a.device == b.device);
    let at_s = at_ms.div_euclid(1_000);
    let mut payloads = Vec::new();
    if TIMES_S.contains(&at_s) {
        pack(at_s, &sorted, &mut payloads);
    }
    payloads
}

/// Halves what does not fit.
fn pack(at_s: i64, devices: &[DeviceSaid], payloads: &mut Vec<Vec<u8>>) {
    if devices.is_empty() {
        return;
    }
    let bytes = encode_one(at_s, devices);
    if bytes.len() <= PAYLOAD_BYTES_MAX || devices.len() == 1 {
        payloads.push(bytes);
        return;
    }
    let (first, second) = devices.split_at(devices.len() / 2);
    pack(at_s, first, payloads);
    pack(at_s, second, payloads);
}

/// The payload of devices in the order of their names.
fn encode_one(at_s: i64, devices: &[DeviceSaid]) -> Vec<u8> {
    let ago = |ms: i64| u32::try_from(at_s - ms.div_euclid(1_000)).unwrap_or(0);
    let mut firmware: Vec<String> = devices
        .iter()
        .filter_map(|device| Some(device.firmware.as_ref()?.0.clone()))
        .collect();
    firmware.sort();
    firmware.dedup();
    let place = |text: &String| {
        let place = firmware.binary_search(text).unwrap_or(0);
        u32::try_from(place).unwrap_or(u32::MAX)
    };
    let mut before = "";
    let wire = devices
        .iter()
        .map(|said| {
            let shared = shared_bytes(before, &said.device);
            before = &said.device;
            let heard = said.heard_ms.map(ago);
            let level = |level: Level| WireLevel {
                tenths: level.tenths,
                before: i64::from(ago(level.at_ms)) - i64::from(heard.unwrap_or(0)),
            };
            Device {
                // Names have 256 bytes.
                shared: u16::try_from(shared).unwrap_or(0),
                rest: said.device[shared..].to_owned(),
                heard,
                battery: said.battery_pct.map(level),
                rssi: said.rssi_dbm.map(level),
                online: said.online,
                firmware: said
                    .firmware
                    .as_ref()
                    .map(|(text, since_ms)| (place(text), ago(*since_ms))),
            }
        })
        .collect();
    let wire = Wire {
        at_s: u32::try_from(at_s - TIMES_S.start).unwrap_or(0),
        firmware,
        devices: wire,
    };
    let mut bytes = vec![VERSION];
    // Writing to memory does not fail.
    bytes.extend(postcard::to_allocvec(&wire).unwrap_or_default());
    bytes
}

/// How many bytes two names begin with in common, whole characters.
fn shared_bytes(a: &str, b: &str) -> usize {
    let pairs = a.chars().zip(b.chars());
    pairs
        .take_while(|(a, b)| a == b)
        .map(|(a, _)| a.len_utf8())
        .sum()
}

/// What a payload says; `None` for a version that this program does not know, which is kept and passed on.
///
/// # Errors
/// [`Malformed`].
pub fn decode(bytes: &[u8]) -> Result<Option<Said>, Malformed> {
    let (version, rest) = bytes.split_first().ok_or(Malformed)?;
    match *version {
        0 => return Err(Malformed),
        VERSION => {}
        _ => return Ok(None),
    }
    let wire: Wire = match postcard::take_from_bytes(rest) {
        Ok((wire, [])) => wire,
        _ => return Err(Malformed),
    };
    let at_s = TIMES_S.start + i64::from(wire.at_s);
    if !TIMES_S.contains(&at_s) {
        return Err(Malformed);
    }
    let mut devices: Vec<DeviceSaid> = Vec::new();
    for device in &wire.devices {
        let before = devices.last().map_or("", |said| said.device.as_str());
        let said = device.read(at_s, before, &wire.firmware)?;
        devices.push(said);
    }
    // Order, the list of firmware and the form of numbers: all of it is right when it is what a node would have written.
    let in_order = devices.is_sorted_by(|a, b| a.device < b.device);
    if devices.is_empty() || !in_order || encode_one(at_s, &devices) != bytes {
        return Err(Malformed);
    }
    Ok(Some(Said {
        at_ms: at_s * 1_000,
        devices,
    }))
}

impl Device {
    fn read(&self, at_s: i64, before: &str, firmware: &[String]) -> Result<DeviceSaid, Malformed> {
        let time = |ago_s: i64| {
            let second = at_s.saturating_sub(ago_s);
            let can_be = ago_s >= 0 && TIMES_S.contains(&second);
            can_be.then(|| second * 1_000).ok_or(Malformed)
        };
        let heard_ago_s = self.heard.map_or(0, i64::from);
        let level = |range: &std::ops::RangeInclusive<i16>, level: &WireLevel| {
            let ago_s = heard_ago_s.checked_add(level.before).ok_or(Malformed)?;
            let at_ms = time(ago_s)?;
            let known = Level {
                tenths: level.tenths,
                at_ms,
            };
            range
                .contains(&level.tenths)
                .then_some(known)
                .ok_or(Malformed)
        };
        let shared = before.get(..usize::from(self.shared)).ok_or(Malformed)?;
        if shared.len() + self.rest.len() > NAME_BYTES_MAX {
            return Err(Malformed);
        }
        let firmware = self.firmware.map(|(place, ago_s)| {
            let text = firmware.get(place as usize).ok_or(Malformed)?;
            if !(1..=FIRMWARE_BYTES_MAX).contains(&text.len()) {
                return Err(Malformed);
            }
            Ok((text.clone(), time(i64::from(ago_s))?))
        });
        let said = DeviceSaid {
            device: format!("{shared}{}", self.rest),
            heard_ms: self.heard.map(|ago_s| time(i64::from(ago_s))).transpose()?,
            battery_pct: self
                .battery
                .as_ref()
                .map(|of| level(&BATTERY, of))
                .transpose()?,
            rssi_dbm: self.rssi.as_ref().map(|of| level(&RSSI, of)).transpose()?,
            online: self.online,
            firmware: firmware.transpose()?,
        };
        said.is_sound().then_some(said).ok_or(Malformed)
    }
}
