//! One module for each format that sensors and their gateways send, after what its makers publish.

mod chirpstack;
pub(crate) mod json_pointers;
mod meshtastic;
mod plain;
mod senml;
mod tasmota;
mod user_script;
mod zigbee2mqtt;

pub use chirpstack::{ChirpstackOptions, DeviceNaming};
pub use json_pointers::{FactPointers, JsonOptions, JsonValue, TimeUnit};
pub use meshtastic::MeshtasticOptions;
pub use plain::PlainOptions;
pub use senml::SenmlOptions;
pub use tasmota::TasmotaOptions;
pub use user_script::UserScriptOptions;
pub use zigbee2mqtt::Zigbee2mqttOptions;

pub(crate) use chirpstack::Chirpstack;
pub(crate) use json_pointers::JsonPointers;
pub(crate) use meshtastic::Meshtastic;
pub(crate) use plain::Plain;
pub(crate) use senml::{Encoding, Senml};
pub(crate) use tasmota::Tasmota;
pub(crate) use user_script::UserScript;
pub(crate) use zigbee2mqtt::Zigbee2mqtt;

use crate::decoded::DeviceAt;
use crate::tree::{Leaf, Value, each_leaf};
use crate::{DecodeError, Decoded, UnitString};

/// The channel of a battery's level in percent, whatever a format calls it: one rule for all devices.
const BATTERY_CHANNEL: &str = "battery_pct";

/// What is announced where availability is published as a word.
fn online_of(word: &str) -> Option<bool> {
    match word.trim() {
        word if word.eq_ignore_ascii_case("online") => Some(true),
        word if word.eq_ignore_ascii_case("offline") => Some(false),
        _ => None,
    }
}

/// Words for a switch, as most firmwares write them.
fn switch_of(word: &str) -> Option<f64> {
    match word {
        "ON" | "on" | "On" => Some(1.0),
        "OFF" | "off" | "Off" => Some(0.0),
        _ => None,
    }
}

/// Makes every number, boolean and switch of a tree a value, named by its path; other words are skipped and counted.
pub(crate) fn add_leaves(
    decoded: &mut Decoded,
    device: DeviceAt,
    tree: &Value<'_>,
    time_ms: Option<i64>,
    unit_of: &dyn Fn(&str) -> Option<UnitString>,
) -> Result<(), DecodeError> {
    each_leaf(tree, &mut |path, leaf| {
        let value = match leaf {
            Leaf::Number(number) => Some(number),
            Leaf::Bool(yes) => Some(f64::from(u8::from(yes))),
            Leaf::Text(word) => switch_of(word),
            Leaf::Other => None,
        };
        match value {
            Some(value) => decoded.sample(device, path, value, unit_of(path), time_ms),
            None => {
                decoded.skip();
                Ok(())
            }
        }
    })
}

/// The tree as an object, which a message of `format` must be.
fn object<'v, 'a>(format: &'static str, tree: &'v Value<'a>) -> Result<&'v Value<'a>, DecodeError> {
    match tree {
        Value::Object(_) => Ok(tree),
        other => Err(DecodeError::Form {
            format,
            detail: format!("it is {}, it must be an object", other.kind()),
        }),
    }
}

/// Samples and helpers that the formats' tests share.
#[cfg(test)]
pub(crate) mod samples {
    #![allow(clippy::unwrap_used)]
    use crate::{DecodeError, Decoded, Decoder, Message};

    /// 2026-11-21T20:00:00Z.
    pub(crate) const NOW: i64 = 1_795_291_200_000;

    pub(crate) fn decode(
        decoder: &dyn Decoder,
        topic: &str,
        payload: impl AsRef<[u8]>,
    ) -> Result<Decoded, DecodeError> {
        decoder.decode(&Message {
            topic,
            payload: payload.as_ref(),
            received_ms: NOW,
        })
    }

    /// `device/channel value unit` of each sample.
    pub(crate) fn lines(decoded: &Decoded) -> Vec<String> {
        decoded
            .samples()
            .map(|(device, s)| {
                let unit = s.unit.as_ref().map_or("", |unit| unit.as_str());
                format!("{device}/{} {} {unit}", s.channel, s.value)
                    .trim_end()
                    .to_owned()
            })
            .collect()
    }
}
