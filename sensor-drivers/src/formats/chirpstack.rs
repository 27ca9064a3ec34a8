//! ChirpStack v4, MQTT integration with JSON payloads: `application/<id>/device/<EUI>/event/<type>`.
//!
//! Protobuf's JSON leaves out what is zero, so a missing number of an event means 0 where the event is about it. The time
//! of an event is the network server's: LoRaWAN devices send none.

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use super::{BATTERY_CHANNEL, add_leaves, object};
use crate::decoded::DeviceAt;
use crate::script::{Script, ScriptInput, ScriptSource};
use crate::tree::{Value, from_json};
use crate::ucum;
use crate::{DecodeError, Decoded, Decoder, Location, Message, time};

/// Options of the format `chirpstack`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChirpstackOptions {
    /// What names a device.
    #[serde(default)]
    pub device: DeviceNaming,
    /// Takes uplinks apart that ChirpStack has no codec for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<ScriptSource>,
}

/// What names a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceNaming {
    /// `deviceInfo.deviceName`, and the EUI where that is empty.
    #[default]
    Name,
    /// `deviceInfo.devEui`: stays the same when somebody renames the device, and is unique over applications.
    Eui,
}

pub(crate) struct Chirpstack {
    pub(crate) naming: DeviceNaming,
    pub(crate) script: Option<Script>,
}

const FORMAT: &str = "ChirpStack";

/// What happens besides: acknowledgements of downlinks, the server's log, modems' own services.
const NOISE: [&str; 4] = ["ack", "txack", "log", "integration"];

impl Decoder for Chirpstack {
    fn decode(&self, message: &Message<'_>) -> Result<Decoded, DecodeError> {
        let mut levels = message.topic.rsplit('/');
        let (event, kind) = (levels.next(), levels.next());
        let event = match (event, kind) {
            (Some(event), Some("event")) => event,
            (_, Some("command")) => return Ok(Decoded::noise("command to a device")),
            _ => {
                return Err(DecodeError::TopicForm {
                    form: "application/<id>/device/<EUI>/event/<type>",
                });
            }
        };
        if NOISE.contains(&event) {
            return Ok(Decoded::noise("event without readings"));
        }
        let tree = from_json(message.payload).map_err(|error| match error {
            // ChirpStack sends Protobuf unless told otherwise.
            DecodeError::NotText { .. } => DecodeError::Form {
                format: FORMAT,
                detail: "it is binary: set json=true in ChirpStack's MQTT integration".into(),
            },
            other => other,
        })?;
        let tree = object(FORMAT, &tree)?;
        let mut decoded = Decoded::default();
        let device = decoded.device(self.device_name(tree)?)?;
        let time_ms = match tree.get("time").and_then(Value::text) {
            Some(text) => time::from_rfc3339(text).ok(),
            None => None,
        };
        match event {
            "up" => self.up(tree, &mut decoded, device, time_ms, message.received_ms)?,
            "join" => decoded.facts(device).online = Some(true),
            "status" => status(tree, &mut decoded, device, time_ms)?,
            "location" => location(tree, &mut decoded, device),
            other => {
                return Err(DecodeError::Form {
                    format: FORMAT,
                    detail: format!(
                        "the event {:?} is not known",
                        other.chars().take(32).collect::<String>()
                    ),
                });
            }
        }
        Ok(decoded)
    }

    fn takes_time(&self) -> bool {
        self.script.is_some()
    }
}

impl Chirpstack {
    fn device_name<'v>(&self, tree: &'v Value<'_>) -> Result<&'v str, DecodeError> {
        let info = tree.get("deviceInfo");
        let member = |name| {
            let text = info.and_then(|info| info.get(name)).and_then(Value::text);
            text.filter(|text| !text.trim().is_empty())
        };
        let name = match self.naming {
            DeviceNaming::Name => member("deviceName").or_else(|| member("devEui")),
            DeviceNaming::Eui => member("devEui"),
        };
        name.ok_or(DecodeError::Member {
            at: "/deviceInfo".into(),
            problem: "neither deviceName nor devEui says which device it is",
        })
    }

    fn up(
        &self,
        tree: &Value<'_>,
        decoded: &mut Decoded,
        device: DeviceAt,
        time_ms: Option<i64>,
        received_ms: i64,
    ) -> Result<(), DecodeError> {
        best_signal(tree, decoded, device);
        if let Some(object @ Value::Object(members)) = tree.get("object")
            && !members.is_empty()
        {
            return add_leaves(decoded, device, object, time_ms, &|_| None);
        }
        let data = tree.get("data").and_then(Value::text).unwrap_or_default();
        let bytes = BASE64
            .decode(data.as_bytes())
            .map_err(|_| DecodeError::Member {
                at: "/data".into(),
                problem: "is not base64",
            })?;
        // fPort 0 carries commands of the network.
        let f_port = tree.get("fPort").and_then(Value::number).unwrap_or(0.0);
        if bytes.is_empty() || f_port == 0.0 {
            return Ok(());
        }
        let script = self.script.as_ref().ok_or(DecodeError::RawPayload)?;
        let output = script.run(&ScriptInput {
            bytes: &bytes,
            f_port: f_port.clamp(0.0, 255.0) as u8,
            received_ms: time_ms.unwrap_or(received_ms),
        })?;
        output.add_to(decoded, device, time_ms)
    }
}

/// Of the gateways that heard it, the one with the strongest signal.
fn best_signal(tree: &Value<'_>, decoded: &mut Decoded, device: DeviceAt) {
    let Some(Value::Array(gateways)) = tree.get("rxInfo") else {
        return;
    };
    let signal = |gateway: &Value<'_>| {
        let rssi = gateway.get("rssi").and_then(Value::number)?;
        Some((rssi, gateway.get("snr").and_then(Value::number)))
    };
    let best = gateways
        .iter()
        .filter_map(signal)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    if let Some((rssi, snr)) = best {
        let facts = decoded.facts(device);
        facts.rssi_dbm = Some(rssi);
        facts.snr_db = snr;
    }
}

/// LoRaWAN DevStatusAns: margin in dB, battery in percent unless it has none or cannot tell.
fn status(
    tree: &Value<'_>,
    decoded: &mut Decoded,
    device: DeviceAt,
    time_ms: Option<i64>,
) -> Result<(), DecodeError> {
    let flag = |name| tree.get(name).and_then(Value::bool).unwrap_or(false);
    let margin = tree.get("margin").and_then(Value::number).unwrap_or(0.0);
    decoded.sample(device, "margin", margin, ucum::unit("dB"), time_ms)?;
    if flag("externalPowerSource") {
        decoded.facts(device).external_power = Some(true);
    } else if !flag("batteryLevelUnavailable")
        && let Some(pct) = tree.get("batteryLevel").and_then(Value::number)
    {
        decoded.facts(device).external_power = Some(false);
        if decoded.facts(device).set_battery(pct) {
            decoded.sample(device, BATTERY_CHANNEL, pct, ucum::unit("%"), time_ms)?;
        } else {
            decoded.skip();
        }
    }
    Ok(())
}

fn location(tree: &Value<'_>, decoded: &mut Decoded, device: DeviceAt) {
    let place = tree.get("location");
    let member = |name| {
        place
            .and_then(|place| place.get(name))
            .and_then(Value::number)
    };
    let (lat, lon) = (member("latitude"), member("longitude"));
    let found = Location::new(lat.unwrap_or(0.0), lon.unwrap_or(0.0), member("altitude"));
    if found.is_none() {
        decoded.skip();
    }
    decoded.facts(device).location = found;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::formats::samples::{decode, lines};
    use crate::script::ScriptHost;

    const PLAIN: Chirpstack = Chirpstack {
        naming: DeviceNaming::Name,
        script: None,
    };

    fn topic(event: &str) -> String {
        format!("application/7/device/70b3d57ed0051f2c/event/{event}")
    }

    fn event(members: &str) -> String {
        format!(
            r#"{{"deduplicationId":"1f0c","time":"2026-03-01T12:00:00.250+00:00",
            "deviceInfo":{{"deviceName":"Sihl gauge","devEui":"70b3d57ed0051f2c","tags":{{}}}},{members}}}"#
        )
    }

    const RADIO: &str = r#""fPort":2,"rxInfo":[{"gatewayId":"a","rssi":-101,"snr":-3.5},{"gatewayId":"b","rssi":-88,"snr":7.25},{"gatewayId":"c"}]"#;

    #[test]
    fn an_uplink_with_a_decoded_object_gives_its_values_and_the_best_signal() {
        let payload = event(&format!(
            r#"{RADIO},"data":"AQI=","object":{{"level":2.75,"door":{{"open":true}},"hist":[1,2],"model":"LDDS75","x":null}}"#
        ));
        let decoded = decode(&PLAIN, &topic("up"), payload).unwrap();
        assert_eq!(
            lines(&decoded),
            [
                "Sihl gauge/door.open 1",
                "Sihl gauge/hist.0 1",
                "Sihl gauge/hist.1 2",
                "Sihl gauge/level 2.75",
            ]
        );
        let report = &decoded.devices[0];
        assert_eq!(report.samples[0].device_time_ms, Some(1_772_366_400_250));
        assert_eq!(report.facts.rssi_dbm, Some(-88.0));
        assert_eq!(report.facts.snr_db, Some(7.25));
        assert_eq!(decoded.skipped, 2);
    }

    #[test]
    fn raw_bytes_go_to_the_script_and_are_a_dead_letter_without_one() {
        let payload = event(&format!(r#"{RADIO},"data":"ART/""#));
        assert_eq!(
            decode(&PLAIN, &topic("up"), &payload),
            Err(DecodeError::RawPayload)
        );
        let source = "function decodeUplink(input) {
            return { data: { port: input.fPort, level_cm: (input.bytes[0] << 8 | input.bytes[1]), last: input.bytes[2] } };
        }";
        let with_script = Chirpstack {
            naming: DeviceNaming::Eui,
            script: Some(Script::new(source, &Default::default(), ScriptHost::default()).unwrap()),
        };
        assert!(with_script.takes_time());
        let decoded = decode(&with_script, &topic("up"), &payload).unwrap();
        assert_eq!(
            lines(&decoded),
            [
                "70b3d57ed0051f2c/last 255",
                "70b3d57ed0051f2c/level_cm 276",
                "70b3d57ed0051f2c/port 2",
            ]
        );
    }

    #[test]
    fn an_uplink_that_carries_nothing_of_the_application_is_no_dead_letter() {
        for members in [r#""fPort":2"#, r#""data":"""#, r#""data":"AQ==""#] {
            let decoded = decode(&PLAIN, &topic("up"), event(members)).unwrap();
            assert_eq!(decoded.samples().count(), 0, "{members}");
        }
        assert_eq!(
            decode(&PLAIN, &topic("up"), event(r#""fPort":1,"data":"***""#))
                .unwrap_err()
                .code(),
            "member"
        );
    }

    #[test]
    fn status_tells_the_battery_unless_it_has_none() {
        let decoded = decode(
            &PLAIN,
            &topic("status"),
            event(r#""margin":12,"batteryLevel":88.3"#),
        )
        .unwrap();
        assert_eq!(
            lines(&decoded),
            ["Sihl gauge/margin 12 dB", "Sihl gauge/battery_pct 88.3 %"]
        );
        assert_eq!(decoded.devices[0].facts.battery_pct, Some(88.3));
        let mains = decode(
            &PLAIN,
            &topic("status"),
            event(r#""externalPowerSource":true"#),
        )
        .unwrap();
        assert_eq!(mains.devices[0].facts.external_power, Some(true));
        assert_eq!(mains.devices[0].facts.battery_pct, None);
        let absurd = decode(&PLAIN, &topic("status"), event(r#""batteryLevel":1e9"#)).unwrap();
        assert_eq!(
            (absurd.devices[0].facts.battery_pct, absurd.skipped),
            (None, 1)
        );
    }

    #[test]
    fn join_and_location_are_facts() {
        let joined = decode(&PLAIN, &topic("join"), event(r#""devAddr":"00189440""#)).unwrap();
        assert_eq!(joined.devices[0].facts.online, Some(true));
        let placed = decode(
            &PLAIN,
            &topic("location"),
            event(r#""location":{"latitude":51.477,"altitude":46}"#),
        )
        .unwrap();
        // On the prime meridian the longitude is left out.
        assert_eq!(
            placed.devices[0].facts.location,
            Location::new(51.477, 0.0, Some(46.0))
        );
        let nowhere = decode(&PLAIN, &topic("location"), event(r#""location":{}"#)).unwrap();
        assert_eq!(
            (nowhere.devices[0].facts.location, nowhere.skipped),
            (None, 1)
        );
    }

    #[test]
    fn other_events_are_known_noise_and_strange_topics_are_not() {
        for noise in ["ack", "txack", "log", "integration"] {
            assert!(decode(&PLAIN, &topic(noise), "{}").unwrap().noise.is_some());
        }
        let command = "application/7/device/70b3d57ed0051f2c/command/down";
        assert!(decode(&PLAIN, command, "{}").unwrap().noise.is_some());
        assert_eq!(
            decode(&PLAIN, "application/7", "{}").unwrap_err().code(),
            "topic-form"
        );
        assert_eq!(
            decode(&PLAIN, &topic("dream"), event(r#""a":1"#))
                .unwrap_err()
                .code(),
            "wrong-form"
        );
        assert_eq!(
            decode(&PLAIN, &topic("up"), "{}").unwrap_err().code(),
            "member"
        );
        assert_eq!(
            decode(&PLAIN, &topic("up"), "[]").unwrap_err().code(),
            "wrong-form"
        );
        let protobuf = decode(&PLAIN, &topic("up"), b"\x0a\x24\xff\xfe").unwrap_err();
        assert!(protobuf.to_string().contains("json=true"), "{protobuf}");
    }

    /// ChirpStack's own published events, where the workplace has them.
    #[test]
    fn published_events_decode() {
        let folder =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/chirpstack");
        for (file, expected) in [
            ("up", Err("raw-payload")),
            ("join", Ok("")),
            (
                "status",
                Ok("Test device/margin 10 dB|Test device/battery_pct 88.3 %"),
            ),
            ("location", Ok("")),
            ("ack", Ok("")),
            ("txack", Ok("")),
            ("log", Ok("")),
            ("integration", Ok("")),
        ] {
            let Ok(payload) = std::fs::read(folder.join(format!("{file}.json"))) else {
                continue;
            };
            let decoded = decode(&PLAIN, &topic(file), payload);
            let seen = decoded.as_ref().map(|d| lines(d).join("|"));
            assert_eq!(seen.as_deref().map_err(|e| e.code()), expected, "{file}");
        }
    }
}
