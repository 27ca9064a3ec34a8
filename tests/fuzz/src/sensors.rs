//! Payloads of sensors: what anybody who reaches the MQTT port can send, through a table with every format.

use std::cell::OnceCell;

use sensor_drivers::script::{ScriptHost, ScriptSource};
use sensor_drivers::{
    ChirpstackOptions, DEVICES_MAX, Decoded, DecoderConfig, DecoderTable, FactPointers,
    FormatConfig, JsonOptions, JsonValue, MeshtasticOptions, Message, PlainOptions, SAMPLES_MAX,
    SenmlOptions, TEXT_BYTES_MAX, TasmotaOptions, UserScriptOptions, Zigbee2mqttOptions,
    decode_topic,
};

/// 2026-11-21T20:00:00Z.
const RECEIVED_MS: i64 = 1_795_291_200_000;

/// Values from bytes, as a script of a sensor's maker would: numbers by their type, nested, with conditions.
const SCRIPT: &str = "function decodeUplink(input) {
    var data = {}, at = 0, bytes = input.bytes;
    while (at < bytes.length) {
        var type = bytes[at++] & 7, value = (bytes[at++] << 8) | bytes[at++];
        if (type === 7) return { errors: ['type 7'] };
        if (type === 6) data = { inner: data };
        else if (type === 5) data['list' + at] = bytes.slice(at, at + value);
        else data['c' + type] = value / type;
    }
    return { data: data, warnings: bytes.length > 20 ? ['long'] : [] };
}";

pub(crate) fn plain(data: &[u8]) -> bool {
    decode("plain/gauge/level", data)
}

pub(crate) fn json(data: &[u8]) -> bool {
    decode("json/station", data)
}

pub(crate) fn senml_json(data: &[u8]) -> bool {
    decode("senml/json", data)
}

pub(crate) fn senml_cbor(data: &[u8]) -> bool {
    decode("senml/cbor", data)
}

/// The first byte chooses the event.
pub(crate) fn chirpstack(data: &[u8]) -> bool {
    chosen(data, &["up", "status", "location", "join"], |event| {
        format!("application/1/device/70b3d57ed0051f2c/event/{event}")
    })
}

/// The first byte chooses between state and availability.
pub(crate) fn zigbee2mqtt(data: &[u8]) -> bool {
    chosen(data, &["hall", "hall/availability"], |name| {
        format!("zigbee2mqtt/{name}")
    })
}

/// The first byte chooses the message.
pub(crate) fn tasmota(data: &[u8]) -> bool {
    chosen(data, &["SENSOR", "STATE", "INFO1", "LWT"], |what| {
        format!("tele/pump/{what}")
    })
}

pub(crate) fn meshtastic(data: &[u8]) -> bool {
    decode("msh/EU_868/2/json/LongFast/!7efeee00", data)
}

pub(crate) fn script(data: &[u8]) -> bool {
    decode("script/buoy", data)
}

fn chosen(data: &[u8], among: &[&str], topic: impl Fn(&str) -> String) -> bool {
    let Some((choice, payload)) = data.split_first() else {
        return false;
    };
    decode(&topic(among[usize::from(*choice) % among.len()]), payload)
}

/// Whatever was sent, what comes out is within bounds, usable, and the same again.
fn decode(topic: &str, payload: &[u8]) -> bool {
    thread_local!(static TABLE: OnceCell<DecoderTable> = const { OnceCell::new() });
    let message = Message {
        topic,
        payload,
        received_ms: RECEIVED_MS,
    };
    TABLE.with(|once| {
        let table = once.get_or_init(table);
        let decoded = table.decode(&message);
        assert_eq!(table.decode(&message), decoded, "the same again");
        match decoded {
            Ok(decoded) => {
                check(&decoded);
                decoded.samples().next().is_some()
            }
            Err(error) => {
                assert!(!error.code().is_empty());
                assert!(error.to_string().len() < 4096, "a reason is to be read");
                false
            }
        }
    })
}

fn check(decoded: &Decoded) {
    assert!(decoded.devices.len() <= DEVICES_MAX);
    assert!(decoded.samples().count() <= SAMPLES_MAX);
    for (device, sample) in decoded.samples() {
        assert!(
            sample.value.is_finite() && (sample.value != 0.0 || sample.value.is_sign_positive())
        );
        let topic = format!("muster/v1/{device}/{}", sample.channel);
        let names = decode_topic(&topic).expect("names that can be used again");
        assert_eq!((names.device, names.channel), (device, &*sample.channel));
    }
    for report in &decoded.devices {
        let facts = &report.facts;
        assert!(
            facts
                .battery_pct
                .is_none_or(|pct| (0.0..=100.0).contains(&pct))
        );
        assert!(
            facts
                .location
                .is_none_or(|at| at.lat.abs() <= 90.0 && at.lon.abs() <= 180.0)
        );
        assert!(
            report
                .texts
                .iter()
                .all(|text| text.text.len() <= TEXT_BYTES_MAX)
        );
    }
}

fn table() -> DecoderTable {
    let entry = |topic: &str, format| DecoderConfig {
        topic: topic.into(),
        name: None,
        channels: Default::default(),
        format,
    };
    let source = ScriptSource {
        source: Some(SCRIPT.into()),
        ..ScriptSource::default()
    };
    let value = |channel: &str| JsonValue {
        channel: channel.into(),
        pointer: format!("/{channel}"),
        unit_pointer: Some("/unit".into()),
        ..JsonValue::default()
    };
    let json = JsonOptions {
        device_pointer: Some("/id".into()),
        time_pointer: Some("/ts".into()),
        values: vec![value("a"), value("b")],
        facts: FactPointers {
            battery_pct: Some("/bat".into()),
            lat: Some("/at/0".into()),
            lon: Some("/at/1".into()),
            text: Some("/text".into()),
            ..FactPointers::default()
        },
        ..JsonOptions::default()
    };
    let chirpstack = ChirpstackOptions {
        script: Some(source.clone()),
        ..ChirpstackOptions::default()
    };
    let configs = [
        entry(
            "plain/+/+",
            FormatConfig::Plain(PlainOptions {
                device: "{2}".into(),
                channel: "{3}".into(),
                unit: None,
            }),
        ),
        entry("json/#", FormatConfig::Json(Box::new(json))),
        entry(
            "senml/json",
            FormatConfig::SenmlJson(SenmlOptions::default()),
        ),
        entry(
            "senml/cbor",
            FormatConfig::SenmlCbor(SenmlOptions::default()),
        ),
        entry("application/#", FormatConfig::Chirpstack(chirpstack)),
        entry(
            "zigbee2mqtt/#",
            FormatConfig::Zigbee2mqtt(Zigbee2mqttOptions::default()),
        ),
        entry("tele/#", FormatConfig::Tasmota(TasmotaOptions::default())),
        entry(
            "msh/#",
            FormatConfig::Meshtastic(MeshtasticOptions::default()),
        ),
        entry(
            "script/+",
            FormatConfig::Script(UserScriptOptions {
                device: "{2}".into(),
                script: source,
                f_port: 1,
            }),
        ),
    ];
    DecoderTable::build(&configs, ScriptHost::default()).expect("a table that is right")
}
