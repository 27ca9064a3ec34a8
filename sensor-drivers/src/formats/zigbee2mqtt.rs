//! Zigbee2MQTT: `zigbee2mqtt/<friendly name>` with a JSON object, `…/availability`, and the bridge's own topics.
//!
//! Payloads name no units; the properties that its "exposes" documentation gives one unit for every device get that one.
//! `voltage` gets none: batteries report mV and plugs V.

use serde::{Deserialize, Serialize};

use super::{BATTERY_CHANNEL, add_leaves, object, online_of};
use crate::decoded::DeviceAt;
use crate::tree::{Members, Value, from_json};
use crate::{DecodeError, Decoded, Decoder, Message, UnitString, time, ucum};

/// Options of the format `zigbee2mqtt`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Zigbee2mqttOptions {
    /// Zigbee2MQTT's `base_topic`, which may have several levels.
    #[serde(default = "base_topic")]
    pub base: String,
}

impl Default for Zigbee2mqttOptions {
    fn default() -> Self {
        Self { base: base_topic() }
    }
}

fn base_topic() -> String {
    "zigbee2mqtt".into()
}

pub(crate) struct Zigbee2mqtt {
    /// With the slash behind it.
    pub(crate) prefix: String,
}

const FORMAT: &str = "Zigbee2MQTT";

/// Members about the message or the device itself.
const ABOUT: [&str; 6] = [
    "update",
    "device",
    "last_seen",
    "elapsed",
    "battery",
    "linkquality",
];

impl Decoder for Zigbee2mqtt {
    fn decode(&self, message: &Message<'_>) -> Result<Decoded, DecodeError> {
        let below = message.topic.strip_prefix(&self.prefix);
        let Some(name) = below.filter(|name| !name.is_empty()) else {
            return Err(DecodeError::TopicForm {
                form: "<base>/<friendly name>",
            });
        };
        if name == "bridge" || name.starts_with("bridge/") {
            return Ok(Decoded::noise("message of the bridge"));
        }
        if let Some(name) = name.strip_suffix("/availability") {
            return availability(name, message.payload);
        }
        // Friendly names may have slashes, commands end in `/set`, `/get` or `/set/<property>`.
        let mut levels = name.rsplit('/').take(2);
        if levels.any(|level| level == "set" || level == "get") {
            return Ok(Decoded::noise("command to a device"));
        }
        if message.payload.is_empty() {
            return Ok(Decoded::noise("retained state removed"));
        }
        state(name, message.payload)
    }
}

fn state(name: &str, payload: &[u8]) -> Result<Decoded, DecodeError> {
    let tree = from_json(payload)?;
    let Value::Object(members) = object(FORMAT, &tree)? else {
        return Ok(Decoded::default());
    };
    let mut decoded = Decoded::default();
    let device = decoded.device(name)?;
    let time_ms = match members.get("last_seen") {
        // `last_seen: ISO_8601` and `epoch`; the local form has no zone and is not for machines.
        Some(Value::Text(text)) => time::from_rfc3339(text).ok(),
        Some(Value::Number(ms)) => time::from_seconds(ms / 1000.0).ok(),
        _ => None,
    };
    facts(members, &mut decoded, device, time_ms)?;
    let mut values = members.clone();
    values.retain(|name, _| !ABOUT.contains(&name.as_ref()));
    add_leaves(
        &mut decoded,
        device,
        &Value::Object(values),
        time_ms,
        &unit_of,
    )?;
    Ok(decoded)
}

fn facts(
    members: &Members<'_>,
    decoded: &mut Decoded,
    device: DeviceAt,
    time_ms: Option<i64>,
) -> Result<(), DecodeError> {
    // Old converters write "100.00".
    let battery = match members.get("battery") {
        Some(Value::Text(text)) => text.trim().parse().ok(),
        Some(other) => other.number(),
        None => None,
    };
    if let Some(pct) = battery {
        if decoded.facts(device).set_battery(pct) {
            decoded.sample(device, BATTERY_CHANNEL, pct, ucum::unit("%"), time_ms)?;
        } else {
            decoded.skip();
        }
    }
    if let Some(lqi) = members.get("linkquality").and_then(Value::number) {
        if (0.0..=255.0).contains(&lqi) {
            decoded.facts(device).link_quality = Some(lqi);
            decoded.sample(device, "linkquality", lqi, None, time_ms)?;
        } else {
            decoded.skip();
        }
    }
    // A number of the update cluster, or text from the device's own information.
    let installed = members
        .get("update")
        .and_then(|update| update.get("installed_version"));
    let build = members
        .get("device")
        .and_then(|device| device.get("softwareBuildID"));
    decoded.facts(device).firmware = match (build, installed) {
        (Some(Value::Text(text)), _) => decoded.label(text),
        (_, Some(Value::Number(version))) if *version >= 0.0 => decoded.label(&version.to_string()),
        _ => None,
    };
    Ok(())
}

/// `online`, or `{"state":"online"}` since 2.0.
fn availability(name: &str, payload: &[u8]) -> Result<Decoded, DecodeError> {
    if payload.is_empty() {
        return Ok(Decoded::noise("retained availability removed"));
    }
    let word = std::str::from_utf8(payload).ok().and_then(online_of);
    let online = match word {
        Some(online) => Some(online),
        None => {
            let tree = from_json(payload)?;
            let word = tree.get("state").or(Some(&tree)).and_then(Value::text);
            word.and_then(online_of)
        }
    };
    let Some(online) = online else {
        return Err(DecodeError::Form {
            format: FORMAT,
            detail: "availability is neither online nor offline".into(),
        });
    };
    let mut decoded = Decoded::default();
    let device = decoded.device(name)?;
    decoded.facts(device).online = Some(online);
    Ok(decoded)
}

fn unit_of(path: &str) -> Option<UnitString> {
    let property = path.rsplit('.').next().unwrap_or(path);
    // Endpoints are told apart by a suffix: temperature_l1, power_left.
    let whole = unit_of_property(property);
    whole
        .or_else(|| unit_of_property(property.rsplit_once('_')?.0))
        .and_then(ucum::unit)
}

fn unit_of_property(property: &str) -> Option<&'static str> {
    Some(match property {
        "temperature"
        | "device_temperature"
        | "local_temperature"
        | "soil_temperature"
        | "occupied_heating_setpoint"
        | "current_heating_setpoint" => "Cel",
        "humidity" | "soil_moisture" => "%",
        "pressure" => "hPa",
        "illuminance" | "illuminance_lux" => "lx",
        "co2" => "[ppm]",
        "pm1" | "pm25" | "pm10" => "ug/m3",
        "power" => "W",
        "energy" | "produced_energy" => "kW.h",
        "current" => "A",
        "ac_frequency" => "Hz",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::formats::samples::{decode, lines};

    fn z2m() -> Zigbee2mqtt {
        Zigbee2mqtt {
            prefix: "zigbee2mqtt/".into(),
        }
    }

    #[test]
    fn a_state_gives_values_with_documented_units_and_facts() {
        let decoded = decode(
            &z2m(),
            "zigbee2mqtt/shelter 3/hall",
            r#"{"battery":74,"humidity":44.72,"linkquality":111,"pressure":987.5,"temperature":27.34,"voltage":2915,
                "contact":false,"state":"ON","action":"single","power_left":12.5,"last_seen":"2026-03-01T12:00:00.000Z",
                "update":{"installed_version":268513381,"latest_version":268513399,"state":"available"}}"#,
        )
        .unwrap();
        assert_eq!(
            lines(&decoded),
            [
                "shelter 3_hall/battery_pct 74 %",
                "shelter 3_hall/linkquality 111",
                "shelter 3_hall/contact 0",
                "shelter 3_hall/humidity 44.72 %",
                "shelter 3_hall/power_left 12.5 W",
                "shelter 3_hall/pressure 987.5 hPa",
                "shelter 3_hall/reported_state 1",
                "shelter 3_hall/temperature 27.34 Cel",
                "shelter 3_hall/voltage 2915",
            ]
        );
        let report = &decoded.devices[0];
        assert!(
            report
                .samples
                .iter()
                .all(|s| s.device_time_ms == Some(1_772_366_400_000))
        );
        assert_eq!(report.facts.battery_pct, Some(74.0));
        assert_eq!(report.facts.link_quality, Some(111.0));
        assert_eq!(report.facts.firmware.as_deref(), Some("268513381"));
        assert_eq!(decoded.skipped, 1);
    }

    #[test]
    fn availability_is_a_fact_in_both_of_its_spellings() {
        for (payload, online) in [
            ("online", true),
            ("offline", false),
            (r#"{"state":"online"}"#, true),
            (r#"{"state":"offline"}"#, false),
            (r#""online""#, true),
        ] {
            let decoded = decode(&z2m(), "zigbee2mqtt/a/b/availability", payload).unwrap();
            assert_eq!(decoded.devices[0].device, "a_b");
            assert_eq!(decoded.devices[0].facts.online, Some(online), "{payload}");
        }
        assert!(decode(&z2m(), "zigbee2mqtt/a/availability", "maybe").is_err());
        assert!(decode(&z2m(), "zigbee2mqtt/a/availability", r#"{"state":1}"#).is_err());
    }

    #[test]
    fn the_bridge_and_commands_are_known_noise() {
        for topic in [
            "zigbee2mqtt/bridge/state",
            "zigbee2mqtt/bridge/devices",
            "zigbee2mqtt/lamp/set",
            "zigbee2mqtt/a/b/set/brightness",
            "zigbee2mqtt/lamp/get",
        ] {
            assert!(
                decode(&z2m(), topic, "[]").unwrap().noise.is_some(),
                "{topic}"
            );
        }
        assert!(
            decode(&z2m(), "zigbee2mqtt/lamp", "")
                .unwrap()
                .noise
                .is_some()
        );
    }

    #[test]
    fn what_is_no_state_is_refused() {
        assert_eq!(
            decode(&z2m(), "zigbee2mqtt/a", "21.5").unwrap_err().code(),
            "wrong-form"
        );
        assert_eq!(
            decode(&z2m(), "other/a", "{}").unwrap_err().code(),
            "topic-form"
        );
        assert_eq!(
            decode(&z2m(), "zigbee2mqtt/", "{}").unwrap_err().code(),
            "topic-form"
        );
        assert_eq!(
            decode(&z2m(), "zigbee2mqtt/a", r#"{"temperature":1e999}"#)
                .unwrap_err()
                .code(),
            "not-finite"
        );
        let odd = decode(
            &z2m(),
            "zigbee2mqtt/a",
            r#"{"battery":255,"linkquality":-1}"#,
        )
        .unwrap();
        assert_eq!((odd.samples().count(), odd.skipped), (0, 2));
    }
}
