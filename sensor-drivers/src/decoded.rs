//! What a message decodes to, whatever its format: values of channels, and facts about the devices that sent them.
//!
//! Invariants: every value is finite and never −0; every name can be used again in a topic, a rule and a path; at most
//! [`SAMPLES_MAX`] values, [`DEVICES_MAX`] devices and [`TEXTS_MAX`] texts, whatever a payload claims.

use crate::name::{channel_name, device_name};
use crate::{DecodeError, UnitString};

/// Values in one message. The largest packs of SenML gateways and the widest multi-sensors stay below 100; a sender of
/// more must split, or one message could fill a batch of the writer.
pub const SAMPLES_MAX: usize = 256;

/// Devices that one message may speak of: a SenML pack of a gateway with its sensors. Each may become a row for ever.
pub const DEVICES_MAX: usize = 16;

/// Texts in one message; the formats carry one.
pub const TEXTS_MAX: usize = 4;

/// Warnings of one message, and errors of a script; published decoders give one or two.
pub const WARNINGS_MAX: usize = 8;

/// Longest text message in bytes. Meshtastic's radio carries 237.
pub const TEXT_BYTES_MAX: usize = 2048;

/// Longest firmware version or label in bytes; what is longer is left out and counted.
pub const LABEL_BYTES_MAX: usize = 128;

/// How far the source itself trusts a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Quality {
    /// Nothing speaks against it.
    #[default]
    Good,
    /// The source gave it with a warning.
    Suspect,
}

/// One value of one channel.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelSample {
    /// 1 to [`LEVEL_BYTES_MAX`](crate::LEVEL_BYTES_MAX) bytes.
    pub channel: String,
    /// Finite, never −0.
    pub value: f64,
    /// A UCUM code where we know it, else what the sensor says.
    pub unit: Option<UnitString>,
    /// The source's own time in ms since 1970 UTC, unverified; see [`judge_time`](crate::judge_time).
    pub device_time_ms: Option<i64>,
    pub quality: Quality,
}

/// Where a device says that it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Location {
    /// WGS 84 degrees, −90 to 90.
    pub lat: f64,
    /// WGS 84 degrees, −180 to 180.
    pub lon: f64,
    /// Metres; above what (sea, ellipsoid) is up to the device.
    pub alt_m: Option<f64>,
}

impl Location {
    /// `None` for anything that is no place on Earth, and for 0°, 0°: receivers without a fix say that, and nobody keeps
    /// a sensor there.
    pub fn new(lat: f64, lon: f64, alt_m: Option<f64>) -> Option<Self> {
        let somewhere = (-90.0..=90.0).contains(&lat)
            && (-180.0..=180.0).contains(&lon)
            && (lat != 0.0 || lon != 0.0);
        somewhere.then(|| Self {
            lat,
            lon,
            alt_m: alt_m.filter(|alt| alt.is_finite()),
        })
    }
}

/// What a message says about a device besides values. `None` means that it says nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DeviceFacts {
    /// 0 to 100.
    pub battery_pct: Option<f64>,
    /// It runs on mains or solar power, and its battery level means nothing.
    pub external_power: Option<bool>,
    /// At the gateway that hears it best.
    pub rssi_dbm: Option<f64>,
    pub snr_db: Option<f64>,
    /// Zigbee's LQI, 0 to 255: no dBm can be made of it.
    pub link_quality: Option<f64>,
    pub firmware: Option<String>,
    /// What its owner calls it; the device's name stays its key.
    pub label: Option<String>,
    pub location: Option<Location>,
    /// It joined, was announced as available, or a will says that it is gone.
    pub online: Option<bool>,
}

impl DeviceFacts {
    /// A level beyond 0 to 100 is no level; says whether it was taken.
    pub(crate) fn set_battery(&mut self, pct: f64) -> bool {
        let plausible = (0.0..=100.0).contains(&pct);
        if plausible {
            self.battery_pct = Some(pct);
        }
        plausible
    }
}

/// Words from a person or a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextMessage {
    /// 1 to [`TEXT_BYTES_MAX`] bytes.
    pub text: String,
    /// To whom, in the format's own spelling; `None` for everybody.
    pub to: Option<String>,
    /// As the sender's clock or its gateway's says, ms since 1970.
    pub sent_ms: Option<i64>,
    /// The sender's own number for it, the same however often and by whomever it is repeated.
    pub packet: Option<u32>,
    /// The radio's channel.
    pub channel: Option<u32>,
}

/// What one message says of one device.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceReport {
    /// 1 to [`LEVEL_BYTES_MAX`](crate::LEVEL_BYTES_MAX) bytes. It is also the sender of `texts`.
    pub device: String,
    pub samples: Vec<ChannelSample>,
    pub facts: DeviceFacts,
    pub texts: Vec<TextMessage>,
}

/// What one message says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Decoded {
    /// Each device once.
    pub devices: Vec<DeviceReport>,
    /// Members that hold nothing we can keep (words where a number would be, a battery of 255 %): to be counted.
    pub skipped: u32,
    /// What the source says against the values, which are [`Quality::Suspect`] then: at most [`WARNINGS_MAX`].
    pub warnings: Vec<String>,
    /// The message belongs to the format and says nothing about any device, for this reason: to be counted, and no dead
    /// letter.
    pub noise: Option<&'static str>,
}

impl Decoded {
    /// A message that is known and of no interest.
    pub(crate) fn noise(why: &'static str) -> Self {
        Self {
            noise: Some(why),
            ..Self::default()
        }
    }

    /// All values with their device.
    pub fn samples(&self) -> impl Iterator<Item = (&str, &ChannelSample)> {
        self.devices
            .iter()
            .flat_map(|report| report.samples.iter().map(|s| (report.device.as_str(), s)))
    }

    /// Finds or adds a device; the name is made fit for a topic.
    ///
    /// # Errors
    /// The name is empty or too long, or there are too many.
    pub(crate) fn device(&mut self, name: &str) -> Result<DeviceAt, DecodeError> {
        let name = device_name(name)?;
        if let Some(at) = self.devices.iter().position(|d| d.device == *name) {
            return Ok(DeviceAt(at));
        }
        if self.devices.len() >= DEVICES_MAX {
            return Err(DecodeError::TooManyDevices);
        }
        self.devices.push(DeviceReport {
            device: name.into_owned(),
            samples: Vec::new(),
            facts: DeviceFacts::default(),
            texts: Vec::new(),
        });
        Ok(DeviceAt(self.devices.len() - 1))
    }

    /// Adds a value; the channel's name is made fit for a topic.
    ///
    /// # Errors
    /// The value is not finite, the name is empty or too long, or there are too many values.
    pub(crate) fn sample(
        &mut self,
        device: DeviceAt,
        channel: &str,
        value: f64,
        unit: Option<UnitString>,
        device_time_ms: Option<i64>,
    ) -> Result<(), DecodeError> {
        let channel = channel_name(channel)?.into_owned();
        if !value.is_finite() {
            return Err(DecodeError::ValueNotFinite { name: channel });
        }
        if self.samples().count() >= SAMPLES_MAX {
            return Err(DecodeError::TooManySamples);
        }
        self.devices[device.0].samples.push(ChannelSample {
            channel,
            // Adding 0 turns −0 into 0, as `decode_payload` does.
            value: value + 0.0,
            unit,
            device_time_ms,
            quality: Quality::Good,
        });
        Ok(())
    }

    pub(crate) fn facts(&mut self, device: DeviceAt) -> &mut DeviceFacts {
        &mut self.devices[device.0].facts
    }

    /// Adds a text; an empty one is skipped.
    ///
    /// # Errors
    /// It is too long, or there are too many.
    pub(crate) fn text(
        &mut self,
        device: DeviceAt,
        message: TextMessage,
    ) -> Result<(), DecodeError> {
        let bytes = message.text.len();
        if bytes > TEXT_BYTES_MAX {
            return Err(DecodeError::TextTooLong { bytes });
        }
        let texts: usize = self.devices.iter().map(|d| d.texts.len()).sum();
        if texts >= TEXTS_MAX {
            return Err(DecodeError::TooManySamples);
        }
        if message.text.trim().is_empty() {
            self.skip();
        } else {
            self.devices[device.0].texts.push(message);
        }
        Ok(())
    }

    /// Counts a member that holds nothing we can keep.
    pub(crate) fn skip(&mut self) {
        self.skipped = self.skipped.saturating_add(1);
    }

    /// A short text about a device: trimmed; what is longer than a label is skipped.
    pub(crate) fn label(&mut self, text: &str) -> Option<String> {
        let text = text.trim();
        if text.len() > LABEL_BYTES_MAX || text.chars().any(char::is_control) {
            self.skip();
            return None;
        }
        (!text.is_empty()).then(|| text.to_owned())
    }
}

/// A device of one [`Decoded`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeviceAt(usize);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_that_are_not_finite_never_get_in() {
        let mut decoded = Decoded::default();
        let device = decoded.device("d").unwrap();
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(
                decoded.sample(device, "c", value, None, None),
                Err(DecodeError::ValueNotFinite { name: "c".into() })
            );
        }
        decoded.sample(device, "c", 1e300, None, None).unwrap();
        decoded.sample(device, "c", -0.0, None, None).unwrap();
        let values: Vec<f64> = decoded.samples().map(|(_, s)| s.value).collect();
        assert_eq!(values, [1e300, 0.0]);
        assert!(values[1].is_sign_positive());
    }

    #[test]
    fn counts_are_bounded() {
        let mut decoded = Decoded::default();
        for n in 0..DEVICES_MAX {
            decoded.device(&format!("d{n}")).unwrap();
        }
        assert_eq!(decoded.device("more"), Err(DecodeError::TooManyDevices));
        let device = decoded.device("d3").unwrap();
        for n in 0..SAMPLES_MAX {
            decoded
                .sample(device, &format!("c{n}"), 1.0, None, None)
                .unwrap();
        }
        assert_eq!(
            decoded.sample(device, "more", 1.0, None, None),
            Err(DecodeError::TooManySamples)
        );
        let text = |bytes| TextMessage {
            text: "x".repeat(bytes),
            to: None,
            sent_ms: None,
            packet: None,
            channel: None,
        };
        decoded.text(device, text(TEXT_BYTES_MAX)).unwrap();
        assert_eq!(
            decoded.text(device, text(TEXT_BYTES_MAX + 1)),
            Err(DecodeError::TextTooLong {
                bytes: TEXT_BYTES_MAX + 1
            })
        );
    }

    #[test]
    fn a_place_is_on_earth_and_not_null_island() {
        assert!(Location::new(37.344_214, -8.839_375, Some(2.0)).is_some());
        assert!(Location::new(0.0, -8.8, None).is_some());
        for (lat, lon) in [(0.0, 0.0), (90.1, 0.0), (0.0, 181.0), (f64::NAN, 1.0)] {
            assert_eq!(Location::new(lat, lon, None), None, "{lat} {lon}");
        }
        assert_eq!(
            Location::new(1.0, 1.0, Some(f64::INFINITY)).unwrap().alt_m,
            None
        );
    }
}
