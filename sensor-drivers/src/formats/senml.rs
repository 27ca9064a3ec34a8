//! SenML, JSON and CBOR (RFC 8428, with the feature bits of RFC 9100).
//!
//! Base fields are resolved (§4.6), so that a pack and its resolved form give the same: names are split into device and
//! channel only after base name and name are joined. Times below 2²⁸ are relative to the receipt (§4.5.3).

use serde::{Deserialize, Serialize};

use crate::decoded::DeviceAt;
use crate::table::template::Template;
use crate::tree::{Members, Value, from_cbor, from_json};
use crate::ucum::ucum_code_of_senml;
use crate::{DecodeError, Decoded, Decoder, Location, Message, UnitString, time};

/// Options of the formats `senml-json` and `senml-cbor`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SenmlOptions {
    /// Name of the device, `{2}` being the topic's second level; the whole SenML name is the channel then. Without it
    /// both come from the SenML name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// How a pack is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Json,
    Cbor,
}

pub(crate) struct Senml {
    pub(crate) encoding: Encoding,
    pub(crate) device: Option<Template>,
}

/// Times from here on are absolute (§4.5.3): 1978.
const ABSOLUTE_FROM_S: f64 = 268_435_456.0;

/// The version of RFC 8428, and the only feature of RFC 9100 that we know: secondary units (bit 4).
const VERSION: u64 = 10;
const SECONDARY_UNITS: u64 = 1 << 4;

/// What a record without a name of its own measures.
const UNNAMED_CHANNEL: &str = "value";

const FORMAT: &str = "SenML";

impl Decoder for Senml {
    fn decode(&self, message: &Message<'_>) -> Result<Decoded, DecodeError> {
        let tree = match self.encoding {
            Encoding::Json => from_json(message.payload)?,
            Encoding::Cbor => from_cbor(message.payload, label)?,
        };
        let Value::Array(records) = &tree else {
            return Err(form(format!("a pack is an array, this is {}", tree.kind())));
        };
        let device = self
            .device
            .as_ref()
            .map(|template| template.fill("device", message.topic));
        let mut pack = Pack {
            base: Base::default(),
            device: device.transpose()?,
            received_ms: message.received_ms,
            decoded: Decoded::default(),
            places: Vec::new(),
        };
        for record in records {
            let Value::Object(record) = record else {
                return Err(form(format!(
                    "a record is an object, this is {}",
                    record.kind()
                )));
            };
            pack.record(record)?;
        }
        pack.finish()
    }
}

/// RFC 8428 §6, table 4.
fn label(label: i64) -> Option<&'static str> {
    Some(match label {
        -1 => "bver",
        -2 => "bn",
        -3 => "bt",
        -4 => "bu",
        -5 => "bv",
        -6 => "bs",
        0 => "n",
        1 => "u",
        2 => "v",
        3 => "vs",
        4 => "vb",
        5 => "s",
        6 => "t",
        7 => "ut",
        8 => "vd",
        _ => return None,
    })
}

/// The base fields so far.
#[derive(Default)]
struct Base {
    name: String,
    time_s: f64,
    unit: Option<String>,
    value: f64,
    sum: f64,
}

struct Pack {
    base: Base,
    /// Configured.
    device: Option<String>,
    received_ms: i64,
    decoded: Decoded,
    /// Latitude and longitude of a device come in two records.
    places: Vec<(DeviceAt, Option<f64>, Option<f64>)>,
}

impl Pack {
    fn record(&mut self, record: &Members<'_>) -> Result<(), DecodeError> {
        check_members(record)?;
        self.set_base(record)?;
        let values = ["v", "vs", "vb", "vd"];
        let given = values
            .iter()
            .filter(|name| record.contains_key(**name))
            .count();
        if given > 1 {
            return Err(form("a record has more than one value"));
        }
        let has_sum = record.contains_key("s");
        if given == 0 && !has_sum {
            // Base fields may stand in a record of their own.
            let only_base = !["n", "u", "t", "ut"]
                .iter()
                .any(|name| record.contains_key(*name));
            return if only_base && !record.is_empty() {
                Ok(())
            } else {
                Err(form("a record has neither a value nor a sum"))
            };
        }
        let name = format!(
            "{}{}",
            self.base.name,
            text(record, "n")?.unwrap_or_default()
        );
        let (device, channel) = self.names(&name)?;
        let unit = match text(record, "u")? {
            Some(unit) => Some(unit.to_owned()),
            None => self.base.unit.clone(),
        };
        let time_ms = self.time(record)?;
        if let Some(value) = number(record, "v")? {
            let value = self.base.value + value;
            self.note_facts(device, unit.as_deref(), value);
            let unit = unit.as_deref().map(unit_code).transpose()?.flatten();
            self.decoded
                .sample(device, &channel, value, unit, time_ms)?;
        } else if let Some(value) = record.get("vb") {
            let Some(yes) = value.bool() else {
                return Err(member("vb", "must be true or false"));
            };
            let value = f64::from(u8::from(yes));
            self.decoded
                .sample(device, &channel, value, None, time_ms)?;
        } else if given > 0 {
            // Text and bytes: no value of a series.
            self.decoded.skip();
        }
        if let Some(sum) = number(record, "s")? {
            let unit = unit.as_deref().map(unit_of_sum).transpose()?.flatten();
            let channel = format!("{channel}.sum");
            self.decoded
                .sample(device, &channel, self.base.sum + sum, unit, time_ms)?;
        }
        Ok(())
    }

    fn set_base(&mut self, record: &Members<'_>) -> Result<(), DecodeError> {
        if let Some(version) = number(record, "bver")? {
            check_version(version)?;
        }
        if let Some(name) = text(record, "bn")? {
            self.base.name = name.to_owned();
        }
        if let Some(seconds) = number(record, "bt")? {
            self.base.time_s = seconds;
        }
        if let Some(unit) = text(record, "bu")? {
            self.base.unit = Some(unit.to_owned());
        }
        if let Some(value) = number(record, "bv")? {
            self.base.value = value;
        }
        if let Some(sum) = number(record, "bs")? {
            self.base.sum = sum;
        }
        Ok(())
    }

    fn names(&mut self, name: &str) -> Result<(DeviceAt, String), DecodeError> {
        if name.is_empty() {
            return Err(DecodeError::NameEmpty { part: "record" });
        }
        if let Some(device) = &self.device {
            return Ok((self.decoded.device(device)?, name.to_owned()));
        }
        let (device, channel) = split_name(name);
        Ok((self.decoded.device(device)?, channel.to_owned()))
    }

    /// `None` where the pack states none: now, as the receipt says better.
    fn time(&self, record: &Members<'_>) -> Result<Option<i64>, DecodeError> {
        let seconds = self.base.time_s + number(record, "t")?.unwrap_or(0.0);
        if seconds == 0.0 {
            return Ok(None);
        }
        if seconds >= ABSOLUTE_FROM_S {
            return time::from_seconds(seconds).map(Some);
        }
        let received_s = self.received_ms as f64 / 1000.0;
        time::from_seconds(received_s + seconds).map(Some)
    }

    /// Some units say what a value is about.
    fn note_facts(&mut self, device: DeviceAt, unit: Option<&str>, value: f64) {
        match unit {
            Some("%EL") if !self.decoded.facts(device).set_battery(value) => self.decoded.skip(),
            Some("lat" | "lon") => {
                let at = match self.places.iter().position(|(of, ..)| *of == device) {
                    Some(at) => at,
                    None => {
                        self.places.push((device, None, None));
                        self.places.len() - 1
                    }
                };
                let (_, lat, lon) = &mut self.places[at];
                *(if unit == Some("lat") { lat } else { lon }) = Some(value);
            }
            _ => {}
        }
    }

    fn finish(mut self) -> Result<Decoded, DecodeError> {
        for (device, lat, lon) in std::mem::take(&mut self.places) {
            if let (Some(lat), Some(lon)) = (lat, lon) {
                self.decoded.facts(device).location = Location::new(lat, lon, None);
            }
        }
        if self.decoded.devices.is_empty() && self.decoded.skipped == 0 {
            return Err(form("the pack has no records with values"));
        }
        Ok(self.decoded)
    }
}

/// §4.4: a member that ends in `_` must be understood, or the pack be refused. Others that we do not know are ignored.
fn check_members(record: &Members<'_>) -> Result<(), DecodeError> {
    match record.keys().find(|name| name.ends_with('_')) {
        Some(name) => Err(form(format!(
            "it needs {:?}, which this node does not understand",
            name.chars().take(64).collect::<String>()
        ))),
        None => Ok(()),
    }
}

fn check_version(version: f64) -> Result<(), DecodeError> {
    let understood = version.fract() == 0.0 && (1.0..=1e15).contains(&version) && {
        let version = version as u64;
        version <= VERSION || version == (VERSION | SECONDARY_UNITS)
    };
    if understood {
        Ok(())
    } else {
        Err(form(format!(
            "version {version} is newer than RFC 8428's 10"
        )))
    }
}

/// Device and channel of a resolved name, always the same way, so that base names change nothing.
///
/// A device URN (RFC 9039, `urn:dev:mac:0024befffe804ff1_temperature`) ends where its identifier does. Else the last `:`
/// or `/` parts the two; a name without either is a device with one channel.
fn split_name(name: &str) -> (&str, &str) {
    let at = match name.strip_prefix("urn:dev:") {
        Some(rest) => {
            let id = rest.find(':').map_or(rest.len(), |colon| colon + 1);
            let end = rest[id..].find([':', '_', '/', ';', '.']);
            end.map(|end| "urn:dev:".len() + id + end)
        }
        None => name
            .trim_end_matches([':', '/'])
            .rfind([':', '/'])
            .or_else(|| {
                name.ends_with([':', '/'])
                    .then(|| name.trim_end_matches([':', '/']).len())
            }),
    };
    let (device, channel) = match at {
        Some(at) => (
            &name[..at],
            name[at..].trim_matches([':', '_', '/', ';', '.']),
        ),
        None => (name, ""),
    };
    match (device.is_empty(), channel.is_empty()) {
        (true, _) => (channel, UNNAMED_CHANNEL),
        (_, true) => (device, UNNAMED_CHANNEL),
        _ => (device, channel),
    }
}

fn unit_code(unit: &str) -> Result<Option<UnitString>, DecodeError> {
    UnitString::parse(ucum_code_of_senml(unit).unwrap_or(unit))
}

/// A sum is over time in seconds (§4.5.2); UCUM reads from left to right, so that `m3/s.s` is m3.
fn unit_of_sum(unit: &str) -> Result<Option<UnitString>, DecodeError> {
    match ucum_code_of_senml(unit) {
        Some(code) => UnitString::parse(&format!("{code}.s")),
        None => Ok(None),
    }
}

fn number(record: &Members<'_>, name: &'static str) -> Result<Option<f64>, DecodeError> {
    match record.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) if number.is_finite() => Ok(Some(*number)),
        Some(Value::Number(_)) => Err(DecodeError::ValueNotFinite { name: name.into() }),
        Some(_) => Err(member(name, "must be a number")),
    }
}

fn text<'r>(record: &'r Members<'_>, name: &'static str) -> Result<Option<&'r str>, DecodeError> {
    match record.get(name) {
        None => Ok(None),
        Some(Value::Text(text)) => Ok(Some(text)),
        Some(_) => Err(member(name, "must be text")),
    }
}

fn form(detail: impl Into<String>) -> DecodeError {
    DecodeError::Form {
        format: FORMAT,
        detail: detail.into(),
    }
}

fn member(name: &str, problem: &'static str) -> DecodeError {
    DecodeError::Member {
        at: name.to_owned(),
        problem,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use data_encoding::HEXLOWER_PERMISSIVE;
    use proptest::prelude::*;

    use super::*;
    use crate::formats::samples::{NOW, decode, lines};

    const JSON: Senml = Senml {
        encoding: Encoding::Json,
        device: None,
    };
    const CBOR: Senml = Senml {
        encoding: Encoding::Cbor,
        device: None,
    };

    fn json(pack: &str) -> Decoded {
        decode(&JSON, "senml", pack).unwrap()
    }

    fn error(pack: &str) -> DecodeError {
        decode(&JSON, "senml", pack).unwrap_err()
    }

    fn times(decoded: &Decoded) -> Vec<Option<i64>> {
        decoded.samples().map(|(_, s)| s.device_time_ms).collect()
    }

    /// After the form of §5.1.2, with our own gauge.
    const GAUGE: &str = r#"[
        {"bn":"urn:dev:mac:0024befffe804ff1:","bt":1772366400.5,"bu":"m","bver":10,"n":"level","v":2.75},
        {"n":"level","t":-5,"v":2.5},
        {"n":"battery","u":"%EL","v":87},
        {"n":"flow","u":"l/s","v":120,"s":3600},
        {"n":"alarm","vb":true},
        {"n":"note","vs":"sluice open"}
    ]"#;

    #[test]
    fn base_fields_are_resolved() {
        let decoded = json(GAUGE);
        let device = "urn:dev:mac:0024befffe804ff1";
        assert_eq!(
            lines(&decoded),
            [
                format!("{device}/level 2.75 m"),
                format!("{device}/level 2.5 m"),
                format!("{device}/battery 87 %"),
                format!("{device}/flow 120 L/s"),
                format!("{device}/flow.sum 3600 L/s.s"),
                format!("{device}/alarm 1"),
            ]
        );
        assert_eq!(
            times(&decoded)[..2],
            [Some(1_772_366_400_500), Some(1_772_366_395_500)]
        );
        assert_eq!(decoded.devices[0].facts.battery_pct, Some(87.0));
        assert_eq!(decoded.skipped, 1);
    }

    #[test]
    fn a_pack_and_its_resolved_form_give_the_same() {
        let resolved = r#"[
            {"n":"urn:dev:mac:0024befffe804ff1:level","u":"m","t":1772366400.5,"v":2.75},
            {"n":"urn:dev:mac:0024befffe804ff1:level","u":"m","t":1772366395.5,"v":2.5},
            {"n":"urn:dev:mac:0024befffe804ff1:battery","u":"%EL","t":1772366400.5,"v":87},
            {"n":"urn:dev:mac:0024befffe804ff1:flow","u":"l/s","t":1772366400.5,"v":120,"s":3600},
            {"n":"urn:dev:mac:0024befffe804ff1:alarm","u":"m","t":1772366400.5,"vb":true},
            {"n":"urn:dev:mac:0024befffe804ff1:note","u":"m","t":1772366400.5,"vs":"sluice open"}
        ]"#;
        assert_eq!(json(GAUGE), json(resolved));
    }

    #[test]
    fn base_value_and_base_sum_are_added() {
        let decoded =
            json(r#"[{"bn":"g/","bv":20,"bs":100,"bu":"Cel"},{"n":"t","v":1.5},{"n":"t","s":5}]"#);
        assert_eq!(lines(&decoded), ["g/t 21.5 Cel", "g/t.sum 105 Cel.s"]);
    }

    #[test]
    fn small_times_are_relative_to_the_receipt() {
        let decoded = json(
            r#"[{"n":"g/a","v":1},{"n":"g/a","v":1,"t":-60},{"n":"g/a","v":1,"t":30.25},{"n":"g/a","v":1,"t":268435456}]"#,
        );
        assert_eq!(
            times(&decoded),
            [
                None,
                Some(NOW - 60_000),
                Some(NOW + 30_250),
                Some(268_435_456_000)
            ]
        );
        assert_eq!(
            error(r#"[{"n":"a","v":1,"t":1e300}]"#),
            DecodeError::TimeRange
        );
    }

    #[test]
    fn the_same_pack_in_cbor_gives_the_same() {
        // [{-2: "urn:dev:ow:10e2073a01080063:", -3: 1.772366400e9, -4: "Cel", 0: "temp", 2: 23.5},
        //  {0: "rh", 1: "%RH", 2: 4([-1, 671])}, {0: "on", 4: true}]
        let hex = concat!(
            "83",
            "a5 21 78 1c 75726e3a6465763a6f773a31306532303733613031303830303633 3a",
            "22 1a69a42a40 23 63 43656c 00 64 74656d70 02 f94de0",
            "a3 00 62 7268 01 63 255248 02 c4 82 20 19 029f",
            "a2 00 62 6f6e 04 f5"
        )
        .replace(' ', "");
        let cbor = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).unwrap();
        let decoded = decode(&CBOR, "senml", cbor).unwrap();
        let expected = json(
            r#"[{"bn":"urn:dev:ow:10e2073a01080063:","bt":1772366400,"bu":"Cel","n":"temp","v":23.5},
                {"n":"rh","u":"%RH","v":67.1},{"n":"on","vb":true}]"#,
        );
        assert_eq!(decoded, expected);
        assert_eq!(lines(&decoded).len(), 3);
    }

    #[test]
    fn names_are_parted_into_device_and_channel_the_same_way_always() {
        for (name, device, channel) in [
            (
                "urn:dev:ow:10e2073a01080063",
                "urn:dev:ow:10e2073a01080063",
                "value",
            ),
            (
                "urn:dev:ow:10e2073a01080063:",
                "urn:dev:ow:10e2073a01080063",
                "value",
            ),
            (
                "urn:dev:ow:10e2073a01080063_humidity",
                "urn:dev:ow:10e2073a01080063",
                "humidity",
            ),
            (
                "urn:dev:ops:32473-Pump-5002:flow:in",
                "urn:dev:ops:32473-Pump-5002",
                "flow:in",
            ),
            ("site/gauge/level", "site/gauge", "level"),
            ("gauge:level", "gauge", "level"),
            ("gauge/", "gauge", "value"),
            ("gauge", "gauge", "value"),
            ("urn:dev:", "urn:dev:", "value"),
            ("/x", "x", "value"),
        ] {
            assert_eq!(split_name(name), (device, channel), "{name}");
        }
    }

    #[test]
    fn a_configured_device_takes_the_whole_name_as_channel() {
        let senml = Senml {
            encoding: Encoding::Json,
            device: Some(Template::parse("{2}").unwrap()),
        };
        let decoded = decode(&senml, "senml/gauge 7", r#"[{"bn":"in/","n":"t","v":1}]"#).unwrap();
        assert_eq!(lines(&decoded), ["gauge 7/in_t 1"]);
    }

    #[test]
    fn a_place_in_two_records_is_a_location() {
        let decoded = json(
            r#"[{"bn":"truck/","n":"lat","u":"lat","v":46.5},{"n":"lon","u":"lon","v":7.25}]"#,
        );
        assert_eq!(
            decoded.devices[0].facts.location,
            Location::new(46.5, 7.25, None)
        );
        assert_eq!(lines(&decoded)[0], "truck/lat 46.5 deg");
    }

    #[test]
    fn what_the_standard_forbids_is_refused() {
        for pack in [
            "{}",
            "[]",
            "[1]",
            "[{}]",
            r#"[{"n":"a"}]"#,
            r#"[{"n":"a","v":1,"vb":true}]"#,
            r#"[{"n":"a","v":1,"must_":1}]"#,
            r#"[{"n":"a","v":1,"bver":11}]"#,
            r#"[{"n":"a","v":1,"bver":74}]"#,
            r#"[{"bn":"a"}]"#,
        ] {
            assert_eq!(error(pack).code(), "wrong-form", "{pack}");
        }
        for pack in [
            r#"[{"n":"a","v":"1"}]"#,
            r#"[{"n":1,"v":1}]"#,
            r#"[{"n":"a","vb":1}]"#,
            r#"[{"n":"a","v":null}]"#,
        ] {
            assert_eq!(error(pack).code(), "member", "{pack}");
        }
        assert_eq!(error(r#"[{"v":1}]"#).code(), "name-empty");
        assert_eq!(
            error(r#"[{"n":"a","bv":1e308,"v":1e308}]"#).code(),
            "not-finite"
        );
        assert_eq!(
            lines(&json(r#"[{"n":"a","v":1,"bver":26,"u":"km/h"}]"#)),
            ["a/value 1 km/h"]
        );
    }

    #[test]
    fn nan_and_infinity_in_cbor_are_no_values() {
        for float in ["f97e00", "f97c00", "f9fc00", "fb7ff8000000000000"] {
            let cbor = HEXLOWER_PERMISSIVE
                .decode(format!("81a200616102{float}").as_bytes())
                .unwrap();
            assert_eq!(
                decode(&CBOR, "t", cbor).unwrap_err().code(),
                "not-finite",
                "{float}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_resembles_a_pack_never_makes_it_panic(
            pack in r#"\[(\{("(bn|bt|bu|bv|bs|bver|n|u|v|vs|vb|vd|s|t|ut)":(-?[0-9e.]{1,8}|"[a-z:/_]{0,6}"|true|null),?){0,5}\},?){0,4}\]"#
        ) {
            if let Ok(decoded) = decode(&JSON, "t", &pack) {
                prop_assert!(decoded.samples().all(|(_, s)| s.value.is_finite()));
            }
        }

        #[test]
        fn a_name_is_parted_without_losing_its_ends(name in "[a-z:/_.;]{1,12}") {
            let (device, channel) = split_name(&name);
            prop_assert!(name.contains(device));
            prop_assert!(!channel.is_empty());
        }
    }
}
