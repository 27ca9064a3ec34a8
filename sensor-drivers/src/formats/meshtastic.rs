//! Meshtastic, JSON over MQTT: `msh/<region>/2/json/<channel>/<gateway>`, and the gateways' own state.
//!
//! A device is named by its node number as Meshtastic writes it, `!7efeee00`; what its owner calls it is a label, because
//! owners rename and impersonate.

use serde::{Deserialize, Serialize};

use super::{BATTERY_CHANNEL, object, online_of};
use crate::decoded::DeviceAt;
use crate::tree::{Members, Value, from_json};
use crate::{DecodeError, Decoded, Decoder, Location, Message, TextMessage, time, ucum};

/// Options of the format `meshtastic`: there are none.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeshtasticOptions {}

pub(crate) struct Meshtastic;

const FORMAT: &str = "Meshtastic";

/// The node number that means everybody.
const BROADCAST: u32 = u32::MAX;

/// Degrees are sent as integers of 10⁻⁷.
const DEGREE: f64 = 1e7;

impl Decoder for Meshtastic {
    fn decode(&self, message: &Message<'_>) -> Result<Decoded, DecodeError> {
        let levels: Vec<&str> = message.topic.split('/').collect();
        let position = |name| levels.iter().position(|level| *level == name);
        if let Some(at) = position("stat") {
            return gateway_state(&levels[at + 1..].join("/"), message.payload);
        }
        if position("json").is_none() {
            return if ["e", "c", "map"]
                .into_iter()
                .any(|name| position(name).is_some())
            {
                Ok(Decoded::noise(
                    "packet in Protobuf: the gateway sends the same as JSON",
                ))
            } else {
                Err(DecodeError::TopicForm {
                    form: "msh/<region>/2/json/<channel>/<gateway>",
                })
            };
        }
        let tree = from_json(message.payload)?;
        packet(object(FORMAT, &tree)?)
    }
}

/// `msh/<region>/2/stat/!7efeee00` with `online` or `offline`.
fn gateway_state(gateway: &str, payload: &[u8]) -> Result<Decoded, DecodeError> {
    let word = std::str::from_utf8(payload).ok();
    let online = word
        .and_then(online_of)
        .ok_or_else(|| refused("a gateway's state is neither online nor offline"))?;
    let mut decoded = Decoded::default();
    let device = decoded.device(gateway)?;
    decoded.facts(device).online = Some(online);
    Ok(decoded)
}

fn packet(tree: &Value<'_>) -> Result<Decoded, DecodeError> {
    let from = node_number(tree, "from").ok_or(DecodeError::Member {
        at: "/from".into(),
        problem: "is no node number",
    })?;
    let sent_ms = tree
        .get("timestamp")
        .and_then(Value::number)
        // A gateway whose clock was never set sends 0.
        .filter(|seconds| *seconds > 0.0)
        .and_then(|seconds| time::from_seconds(seconds).ok());
    let mut decoded = Decoded::default();
    let device = decoded.device(&node_id(from))?;
    signal(tree, &mut decoded, device);
    let payload = tree.get("payload");
    match tree.get("type").and_then(Value::text) {
        Some("text") => text(tree, payload, &mut decoded, device, sent_ms)?,
        Some("position") => position(inner(payload)?, &mut decoded, device, sent_ms)?,
        Some("telemetry") => telemetry(inner(payload)?, &mut decoded, device, sent_ms)?,
        Some("nodeinfo") => {
            let name = inner(payload)?.get("longname").and_then(Value::text);
            decoded.facts(device).label = name.and_then(|name| decoded.label(name));
        }
        // Waypoints, routes, neighbours, packets whose type the gateway does not know.
        _ => return Ok(Decoded::noise("packet without readings")),
    }
    Ok(decoded)
}

/// The signal is that of the last hop: the sender's own only where there was none between.
fn signal(tree: &Value<'_>, decoded: &mut Decoded, device: DeviceAt) {
    let number = |name| tree.get(name).and_then(Value::number);
    if number("hops_away").unwrap_or(0.0) != 0.0 {
        return;
    }
    let facts = decoded.facts(device);
    // The gateway's own packets have 0.
    facts.rssi_dbm = number("rssi").filter(|rssi| *rssi != 0.0);
    facts.snr_db = number("snr").filter(|_| facts.rssi_dbm.is_some());
}

fn text(
    tree: &Value<'_>,
    payload: Option<&Value<'_>>,
    decoded: &mut Decoded,
    device: DeviceAt,
    sent_ms: Option<i64>,
) -> Result<(), DecodeError> {
    // The gateway parses a text that happens to be JSON, so that "5" arrives as 5.
    let text = match payload {
        Some(Value::Text(text)) => text.clone().into_owned(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Bool(yes)) => yes.to_string(),
        Some(object @ Value::Object(_)) => match object.get("text") {
            Some(Value::Text(text)) => text.clone().into_owned(),
            _ => return Err(refused("the text is a JSON object of somebody's own")),
        },
        _ => return Err(refused("a text without text")),
    };
    let to = node_number(tree, "to").filter(|to| *to != BROADCAST);
    decoded.text(
        device,
        TextMessage {
            text,
            to: to.map(node_id),
            sent_ms,
            // 0 is what a gateway says of a packet that has none.
            packet: node_number(tree, "id").filter(|number| *number != 0),
            channel: node_number(tree, "channel"),
        },
    )
}

fn position(
    payload: &Members<'_>,
    decoded: &mut Decoded,
    device: DeviceAt,
    sent_ms: Option<i64>,
) -> Result<(), DecodeError> {
    let number = |name| payload.get(name).and_then(Value::number);
    let (Some(lat), Some(lon)) = (number("latitude_i"), number("longitude_i")) else {
        return Err(refused("a position without latitude_i and longitude_i"));
    };
    let location = Location::new(lat / DEGREE, lon / DEGREE, number("altitude"));
    if location.is_none() {
        decoded.skip();
    }
    decoded.facts(device).location = location;
    let fixed_ms = number("time")
        .filter(|s| *s > 0.0)
        .and_then(|s| time::from_seconds(s).ok());
    if let Some(speed) = number("ground_speed") {
        decoded.sample(
            device,
            "ground_speed",
            speed,
            ucum::unit("m/s"),
            fixed_ms.or(sent_ms),
        )?;
    }
    if let Some(count) = number("sats_in_view") {
        decoded.sample(device, "sats_in_view", count, None, fixed_ms.or(sent_ms))?;
    }
    Ok(())
}

/// What only the message about the device itself has (`DeviceMetrics` of telemetry.proto; its `voltage` is the battery's).
/// That about its surroundings has a `voltage`, too.
const DEVICE_METRICS: [&str; 4] = [
    "battery_level",
    "channel_utilization",
    "air_util_tx",
    "uptime_seconds",
];
const BATTERY_VOLTAGE_CHANNEL: &str = "battery_voltage";

fn telemetry(
    payload: &Members<'_>,
    decoded: &mut Decoded,
    device: DeviceAt,
    sent_ms: Option<i64>,
) -> Result<(), DecodeError> {
    let of_device = DEVICE_METRICS
        .iter()
        .any(|name| payload.contains_key(*name));
    for (name, value) in payload {
        let Some(number) = value.number() else {
            decoded.skip();
            continue;
        };
        // One name for two things: what a sensor measures must not stand among the voltages of the battery.
        let name = match &**name {
            "voltage" if of_device => BATTERY_VOLTAGE_CHANNEL,
            name => name,
        };
        if name == "battery_level" {
            // Above 100 it is powered (telemetry.proto).
            let powered = number > 100.0;
            decoded.facts(device).external_power = Some(powered);
            if powered {
                continue;
            }
            if !decoded.facts(device).set_battery(number) {
                decoded.skip();
                continue;
            }
            decoded.sample(device, BATTERY_CHANNEL, number, ucum::unit("%"), sent_ms)?;
        } else {
            let unit = unit_of(name).and_then(ucum::unit);
            decoded.sample(device, name, number, unit, sent_ms)?;
        }
    }
    Ok(())
}

/// telemetry.proto's comments, under the names of the JSON. `current` of the environment has none there, and firmwares
/// differ; those of the power channels are mA.
fn unit_of(name: &str) -> Option<&'static str> {
    Some(match name {
        "temperature" | "soil_temperature" => "Cel",
        "relative_humidity" | "soil_moisture" | "channel_utilization" | "air_util_tx" => "%",
        "barometric_pressure" => "hPa",
        "gas_resistance" => "MOhm",
        BATTERY_VOLTAGE_CHANNEL | "voltage" | "voltage_ch1" | "voltage_ch2" | "voltage_ch3" => "V",
        "current_ch1" | "current_ch2" | "current_ch3" => "mA",
        "uptime_seconds" => "s",
        "distance" | "rainfall_1h" | "rainfall_24h" => "mm",
        "lux" | "white_lux" | "ir_lux" | "uv_lux" => "lx",
        "wind_speed" | "wind_gust" | "wind_lull" => "m/s",
        "wind_direction" => "deg",
        "weight" => "kg",
        "radiation" => "uR/h",
        "pm10" | "pm25" | "pm100" | "pm10_e" | "pm25_e" | "pm100_e" => "ug/m3",
        "co2" => "[ppm]",
        _ => return None,
    })
}

/// A number of 32 bits; `to` may be −1, which is how some firmwares print that everybody is meant.
fn node_number(tree: &Value<'_>, name: &str) -> Option<u32> {
    let number = tree.get(name)?.number()?;
    if number == -1.0 {
        return Some(BROADCAST);
    }
    let whole = number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number);
    whole.then_some(number as u32)
}

fn node_id(number: u32) -> String {
    format!("!{number:08x}")
}

fn inner<'v, 'a>(payload: Option<&'v Value<'a>>) -> Result<&'v Members<'a>, DecodeError> {
    match payload {
        Some(Value::Object(members)) => Ok(members),
        _ => Err(refused("the payload is no object")),
    }
}

fn refused(detail: &str) -> DecodeError {
    DecodeError::Form {
        format: FORMAT,
        detail: detail.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::formats::samples::{decode, lines};

    const TOPIC: &str = "msh/EU_868/2/json/LongFast/!7efeee00";

    fn packet(kind: &str, payload: &str) -> String {
        format!(
            r#"{{"channel":0,"from":2882400001,"hops_away":0,"id":452664778,"payload":{payload},"rssi":-92,
            "sender":"!7efeee00","snr":6.25,"timestamp":1772366400,"to":4294967295,"type":"{kind}"}}"#
        )
    }

    fn read(kind: &str, payload: &str) -> Decoded {
        decode(&Meshtastic, TOPIC, packet(kind, payload)).unwrap()
    }

    #[test]
    fn a_position_is_a_location_in_degrees() {
        let decoded = read(
            "position",
            r#"{"latitude_i":465123456,"longitude_i":-72500001,"altitude":431,"time":1772366390,"sats_in_view":9}"#,
        );
        let report = &decoded.devices[0];
        assert_eq!(report.device, "!abcdef01");
        assert_eq!(
            report.facts.location,
            Location::new(46.512_345_6, -7.250_000_1, Some(431.0))
        );
        assert_eq!(report.facts.rssi_dbm, Some(-92.0));
        assert_eq!(report.facts.snr_db, Some(6.25));
        assert_eq!(report.samples[0].device_time_ms, Some(1_772_366_390_000));
        let unfixed = read("position", r#"{"latitude_i":0,"longitude_i":0}"#);
        assert_eq!(
            (unfixed.devices[0].facts.location, unfixed.skipped),
            (None, 1)
        );
    }

    #[test]
    fn telemetry_gives_values_in_the_units_of_the_protocol() {
        let decoded = read(
            "telemetry",
            r#"{"battery_level":71,"voltage":3.91,"air_util_tx":0.5,"temperature":12.5,"barometric_pressure":987.5,"iaq":60}"#,
        );
        assert_eq!(
            lines(&decoded),
            [
                "!abcdef01/air_util_tx 0.5 %",
                "!abcdef01/barometric_pressure 987.5 hPa",
                "!abcdef01/battery_pct 71 %",
                "!abcdef01/iaq 60",
                "!abcdef01/temperature 12.5 Cel",
                "!abcdef01/battery_voltage 3.91 V",
            ]
        );
        assert_eq!(decoded.devices[0].facts.battery_pct, Some(71.0));
        let powered = read("telemetry", r#"{"battery_level":101,"voltage":4.2}"#);
        assert_eq!(powered.devices[0].facts.external_power, Some(true));
        assert_eq!(lines(&powered), ["!abcdef01/battery_voltage 4.2 V"]);
    }

    #[test]
    fn the_voltage_of_the_battery_and_one_that_is_measured_are_two_channels() {
        let without_level = read(
            "telemetry",
            r#"{"voltage":3.9,"channel_utilization":1,"air_util_tx":0,"uptime_seconds":60}"#,
        );
        assert!(lines(&without_level).contains(&"!abcdef01/battery_voltage 3.9 V".to_owned()));
        let around = read("telemetry", r#"{"temperature":12.5,"voltage":0}"#);
        assert_eq!(
            lines(&around),
            ["!abcdef01/temperature 12.5 Cel", "!abcdef01/voltage 0 V"]
        );
    }

    #[test]
    fn a_text_is_a_message_with_its_sender() {
        let decoded = read("text", r#"{"text":"Bridge at km 4 is under water"}"#);
        assert_eq!(
            decoded.devices[0].texts,
            [TextMessage {
                text: "Bridge at km 4 is under water".into(),
                to: None,
                sent_ms: Some(1_772_366_400_000),
                packet: Some(452_664_778),
                channel: Some(0),
            }]
        );
        assert_eq!(read("text", "5").devices[0].texts[0].text, "5");
        let direct = packet("text", r#"{"text":"hi"}"#).replace("4294967295", "7");
        let decoded = decode(&Meshtastic, TOPIC, direct).unwrap();
        assert_eq!(decoded.devices[0].texts[0].to.as_deref(), Some("!00000007"));
        let long = format!(r#"{{"text":"{}"}}"#, "x".repeat(2049));
        assert_eq!(
            decode(&Meshtastic, TOPIC, packet("text", &long)),
            Err(DecodeError::TextTooLong { bytes: 2049 })
        );
    }

    #[test]
    fn names_and_gateways_are_facts() {
        let named = read(
            "nodeinfo",
            r#"{"id":"!abcdef01","longname":"Truck 4","shortname":"T4","hardware":9}"#,
        );
        assert_eq!(named.devices[0].facts.label.as_deref(), Some("Truck 4"));
        let gateway = decode(&Meshtastic, "msh/EU_868/2/stat/!7efeee00", "offline").unwrap();
        assert_eq!(gateway.devices[0].device, "!7efeee00");
        assert_eq!(gateway.devices[0].facts.online, Some(false));
    }

    #[test]
    fn the_signal_of_a_relayed_packet_is_not_the_senders() {
        let relayed = packet("nodeinfo", "{}").replace("\"hops_away\":0", "\"hops_away\":2");
        let decoded = decode(&Meshtastic, TOPIC, relayed).unwrap();
        assert_eq!(decoded.devices[0].facts.rssi_dbm, None);
    }

    #[test]
    fn other_packets_are_noise_and_broken_ones_are_not() {
        for kind in ["waypoint", "neighborinfo", "traceroute", ""] {
            assert!(read(kind, "{}").noise.is_some(), "{kind}");
        }
        assert!(
            decode(
                &Meshtastic,
                "msh/EU_868/2/e/LongFast/!7efeee00",
                b"\x0a\xff"
            )
            .unwrap()
            .noise
            .is_some()
        );
        for (payload, code) in [
            ("{}".to_owned(), "member"),
            (packet("position", "{}"), "wrong-form"),
            (packet("telemetry", "[]"), "wrong-form"),
            (packet("text", r#"{"a":1}"#), "wrong-form"),
            (
                packet("text", r#"{"text":"x"}"#).replace("2882400001", "1e10"),
                "member",
            ),
            (
                packet("telemetry", r#"{"temperature":1e999}"#),
                "not-finite",
            ),
        ] {
            assert_eq!(
                decode(&Meshtastic, TOPIC, &payload).unwrap_err().code(),
                code,
                "{payload}"
            );
        }
        assert_eq!(
            decode(&Meshtastic, "other/x", "{}").unwrap_err().code(),
            "topic-form"
        );
    }
}
