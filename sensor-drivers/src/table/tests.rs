#![allow(clippy::unwrap_used)]

use serde::Deserialize;

use super::*;
use crate::formats::samples::{NOW, lines};
use crate::tree::JSON_BYTES_MAX;

#[derive(Deserialize)]
struct File {
    decoders: Vec<DecoderConfig>,
}

fn configs(toml: &str) -> Vec<DecoderConfig> {
    toml::from_str::<File>(toml).unwrap().decoders
}

fn build(toml: &str) -> DecoderTable {
    DecoderTable::build(&configs(toml), ScriptHost::default()).unwrap()
}

fn errors(toml: &str) -> Vec<String> {
    match DecoderTable::build(&configs(toml), ScriptHost::default()) {
        Ok(_) => vec![],
        Err(errors) => errors.0.iter().map(ToString::to_string).collect(),
    }
}

fn decode(table: &DecoderTable, topic: &str, payload: &str) -> Result<Vec<String>, DecodeError> {
    let decoded = table.decode(&Message {
        topic,
        payload: payload.as_bytes(),
        received_ms: NOW,
    })?;
    Ok(lines(&decoded))
}

/// Every format once; also the example of the documentation.
const ALL: &str = include_str!("../../examples/decoders.toml");

#[test]
fn the_example_configuration_builds_and_every_format_decodes() {
    let table = build(ALL);
    for (topic, payload, expected) in [
        ("muster/v1/gauge/level", "2.5", "gauge/level 2.5"),
        ("site/river-7/level", "2750", "river-7/level 2.75 m"),
        (
            "weather/roof/obs",
            r#"{"obs":{"temp":70.7,"gate":"open"},"ts":1795291200}"#,
            "roof/temperature 21.5 Cel|roof/gate 1",
        ),
        (
            "senml/gw1",
            r#"[{"n":"gw1/t","u":"Cel","v":4}]"#,
            "gw1/t 4 Cel",
        ),
        (
            "application/1/device/70b3d57ed0051f2c/event/status",
            r#"{"deviceInfo":{"deviceName":"tide 3"},"margin":7}"#,
            "tide 3/margin 7 dB",
        ),
        (
            "zigbee2mqtt/hall",
            r#"{"humidity":40}"#,
            "hall/humidity 40 %",
        ),
        ("tele/pump/STATE", r#"{"Vcc":3.1}"#, "pump/Vcc 3.1 V"),
        (
            "msh/EU_868/2/json/LongFast/!a",
            r#"{"from":1,"type":"telemetry","payload":{"voltage":4}}"#,
            "!00000001/voltage 4 V",
        ),
        ("raw/buoy-2/data", "\u{1}\u{2}", "buoy-2/wave_cm 258"),
        ("homeassistant/sensor/x/config", "{}", ""),
    ] {
        let seen = decode(&table, topic, payload).map(|lines| lines.join("|"));
        assert_eq!(seen.as_deref(), Ok(expected), "{topic}");
    }
    assert_eq!(
        decode(&table, "senml-cbor/gw1", "\u{1}")
            .unwrap_err()
            .code(),
        "wrong-form"
    );
    assert_eq!(
        decode(&table, "nobody/listens", "1"),
        Err(DecodeError::UnknownTopic)
    );
}

#[test]
fn muster_topics_are_first_and_nobody_elses() {
    let table = build("decoders = [{ topic = \"#\", format = \"ignore\" }]");
    assert!(matches!(table.route("muster/v1/a/b"), Some(Route::Muster)));
    assert!(matches!(table.route("muster/v1"), Some(Route::Muster)));
    assert!(matches!(table.route("muster/v2/a"), Some(Route::Entry(_))));
    assert!(table.route("$SYS/broker/uptime").is_none());
    assert!(DecoderTable::default().route("a/b").is_none());
    assert_eq!(
        decode(&table, "muster/v1/a/state", "1").unwrap_err().code(),
        "channel-reserved"
    );
}

#[test]
fn the_first_entry_that_covers_a_topic_counts() {
    let table = build(
        r#"[[decoders]]
        topic = "a/b/+"
        format = "plain"
        device = "first"
        channel = "{3}"
        [[decoders]]
        topic = "a/#"
        format = "plain"
        name = "the rest"
        device = "second"
        channel = "{2}""#,
    );
    assert_eq!(decode(&table, "a/b/c", "1").unwrap(), ["first/c 1"]);
    assert_eq!(decode(&table, "a/b", "1").unwrap(), ["second/b 1"]);
    assert_eq!(decode(&table, "a/b/c/d", "1").unwrap(), ["second/b 1"]);
    assert_eq!(
        decode(&table, "a", "1").unwrap_err().code(),
        "topic-level-missing"
    );
    let names: Vec<&str> = table.entries().map(Entry::name).collect();
    assert_eq!(names, ["plain", "the rest"]);
}

#[test]
fn a_version_changes_with_the_entry_and_with_nothing_else() {
    let version = |toml: &str| build(toml).entries().next().unwrap().version().to_owned();
    let plain =
        "decoders = [{ topic = \"a/+\", format = \"plain\", device = \"{2}\", channel = \"x\" }]";
    assert_eq!(version(plain), version(plain));
    assert!(version(plain).starts_with("1-"));
    assert_ne!(version(plain), version(&plain.replace("\"x\"", "\"y\"")));
}

#[test]
fn what_is_wrong_is_named_with_its_entry_and_all_at_once() {
    let seen = errors(
        r#"[[decoders]]
        topic = "a/#/b"
        format = "meshtastic"
        [[decoders]]
        topic = "muster/v1/+/x"
        format = "meshtastic"
        [[decoders]]
        topic = "w/+"
        format = "json"
        device = "{3}"
        [[decoders]]
        topic = "x/+"
        format = "json"
        device_pointer = "id"
        values = [{ channel = "a/b", pointer = "/x" }, { channel = "b", pointer = "y" }]
        [[decoders]]
        topic = "y/+"
        format = "script"
        device = "{2}"
        script = { source = "function decode() {}" }
        [[decoders]]
        topic = "z/+"
        format = "script"
        device = "{2}"
        script = { file = "buoy.js" }
        [[decoders]]
        topic = "t/#"
        format = "tasmota"
        utc_offset = "CET"
        [[decoders]]
        topic = "t/x"
        format = "senml-json"
        channels = { a = { convert_to = "parsec" } }"#,
    );
    let expected = [
        r##"decoder 1 (topic "a/#/b"): topic has # elsewhere than as its last level"##,
        r##"decoder 2 (topic "muster/v1/+/x"): topic lies in muster/v1/#, which is Muster's own and cannot be configured"##,
        r#"decoder 3 (topic "w/+"): device names level 3, but these topics have 2"#,
        r#"decoder 4 (topic "x/+"): device_pointer is none: a JSON pointer begins with /, such as /main/temp"#,
        r#"decoder 5 (topic "y/+"): script cannot be used: the script failed: it does not define function decodeUplink(input)"#,
        r#"decoder 6 (topic "z/+"): script "buoy.js" has not been read"#,
        r#"decoder 7 (topic "t/#"): utc_offset must be Z or an offset such as +01:00"#,
    ];
    for expected in expected {
        assert!(seen.iter().any(|s| s == expected), "{expected}\n{seen:#?}");
    }
    assert!(
        seen.iter()
            .any(|s| s.starts_with("decoder 8") && s.contains("channels.a.convert_to"))
    );
}

#[test]
fn an_entry_that_would_never_be_reached_is_refused() {
    let seen = errors(
        r#"decoders = [
        { topic = "a/#", format = "ignore" },
        { topic = "a/+/c", format = "ignore" }]"#,
    );
    assert_eq!(
        seen,
        [
            r##"decoder 2 (topic "a/+/c"): topic is never reached: the earlier "a/#" covers all of it"##
        ]
    );
}

#[test]
fn unknown_options_and_formats_are_refused_when_they_are_read() {
    for (toml, part) in [
        (r#"decoders = [{ topic = "a", format = "xml" }]"#, "xml"),
        (
            r#"decoders = [{ topic = "a", format = "meshtastic", bse = "x" }]"#,
            "bse",
        ),
        (
            r#"decoders = [{ topic = "a", format = "plain", device = "x" }]"#,
            "channel",
        ),
        (r#"decoders = [{ format = "meshtastic" }]"#, "topic"),
        (
            r#"decoders = [{ topic = "a", format = "ignore", channels = { x = { unti = "m" } } }]"#,
            "unti",
        ),
    ] {
        let error = toml::from_str::<File>(toml).err().unwrap().to_string();
        assert!(error.contains(part), "{toml}: {error}");
    }
}

#[test]
fn a_configuration_comes_back_as_it_was_written() {
    let read = configs(ALL);
    let json = serde_json::to_string(&read).unwrap();
    assert_eq!(
        serde_json::from_str::<Vec<DecoderConfig>>(&json).unwrap(),
        read
    );
}

#[test]
fn scripts_are_read_by_whoever_reads_the_configuration() {
    let mut read = configs(
        r#"decoders = [{ topic = "z/+", format = "script", device = "{2}", script = { file = "buoy.js" } }, { topic = "a", format = "ignore" }]"#,
    );
    for config in &mut read {
        if let Some(script) = config.script_mut() {
            assert_eq!(script.file.as_deref(), Some("buoy.js"));
            script.source =
                Some("function decodeUplink(i) { return { data: { n: i.bytes.length } }; }".into());
        }
    }
    let table = DecoderTable::build(&read, ScriptHost::default()).unwrap();
    assert_eq!(decode(&table, "z/b", "abc").unwrap(), ["b/n 3"]);
    assert!(table.entries().next().unwrap().takes_time());
}

#[test]
fn a_table_has_a_largest_size() {
    let many: Vec<DecoderConfig> = (0..=ENTRIES_MAX)
        .flat_map(|n| {
            configs(&format!(
                "decoders = [{{ topic = \"t{n}\", format = \"ignore\" }}]"
            ))
        })
        .collect();
    assert!(DecoderTable::build(&many[..ENTRIES_MAX], ScriptHost::default()).is_ok());
    assert!(DecoderTable::build(&many, ScriptHost::default()).is_err());
}

#[test]
fn a_topic_of_64_kb_is_looked_up_and_named_without_harm() {
    let table = build(ALL);
    let long = format!("site/{}/level", "x".repeat(65_000));
    assert_eq!(
        decode(&table, &long, "1").unwrap_err().code(),
        "name-too-long"
    );
    let deep = "zigbee2mqtt".to_owned() + &"/a".repeat(32_000);
    assert_eq!(
        decode(&table, &deep, "{}").unwrap_err().code(),
        "name-too-long"
    );
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(JSON_BYTES_MAX));
    assert_eq!(
        decode(&table, "zigbee2mqtt/a", &large).unwrap_err().code(),
        "payload-too-large"
    );
}
