//! JSON of any shape: the configuration says by JSON pointers (RFC 6901) where what stands.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::decoded::DeviceAt;
use crate::table::template::Template;
use crate::tree::{Pointer, Value, from_json};
use crate::ucum::unit_as_said;
use crate::{DecodeError, Decoded, Decoder, Location, Message, TextMessage, UnitString, time};

/// Options of the format `json`. Exactly one of `device` and `device_pointer` is given.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JsonOptions {
    /// Name of the device; `{2}` is the topic's second level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Where the device's name stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_pointer: Option<String>,
    /// Where the time stands that all values have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_pointer: Option<String>,
    /// What a time is that is written as a number.
    #[serde(default)]
    pub time_unit: TimeUnit,
    /// The channels.
    #[serde(default)]
    pub values: Vec<JsonValue>,
    /// Where facts about the device stand.
    #[serde(default)]
    pub facts: FactPointers,
}

/// One channel.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JsonValue {
    pub channel: String,
    pub pointer: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_pointer: Option<String>,
    /// In place of the one for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_pointer: Option<String>,
    /// A message without it is a dead letter.
    #[serde(default)]
    pub required: bool,
    /// Numbers for words, such as `{ open = 1, closed = 0 }`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub words: BTreeMap<String, f64>,
}

/// What a time is that is written as a number. Text is RFC 3339 always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeUnit {
    /// Milliseconds from 10¹¹ on, else seconds.
    #[default]
    Auto,
    Seconds,
    Milliseconds,
}

/// Where facts about the device stand.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FactPointers {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub battery_pct: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rssi_dbm: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snr_db: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lat: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lon: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alt_m: Option<String>,
    /// `true`, `false`, `"online"` or `"offline"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub online: Option<String>,
    /// A message from a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// [`JsonOptions`], compiled by the table.
pub(crate) struct JsonPointers {
    pub(crate) device: DeviceName,
    pub(crate) time: Option<Pointer>,
    pub(crate) time_unit: TimeUnit,
    pub(crate) channels: Vec<Channel>,
    pub(crate) facts: Facts,
}

pub(crate) enum DeviceName {
    Topic(Template),
    Payload(Pointer),
}

pub(crate) struct Channel {
    pub(crate) name: String,
    pub(crate) value: Pointer,
    pub(crate) unit: Option<UnitString>,
    pub(crate) unit_pointer: Option<Pointer>,
    pub(crate) time: Option<Pointer>,
    pub(crate) required: bool,
    pub(crate) words: BTreeMap<String, f64>,
}

#[derive(Default)]
pub(crate) struct Facts {
    pub(crate) battery_pct: Option<Pointer>,
    pub(crate) rssi_dbm: Option<Pointer>,
    pub(crate) snr_db: Option<Pointer>,
    pub(crate) firmware: Option<Pointer>,
    pub(crate) label: Option<Pointer>,
    pub(crate) lat: Option<Pointer>,
    pub(crate) lon: Option<Pointer>,
    pub(crate) alt_m: Option<Pointer>,
    pub(crate) online: Option<Pointer>,
    pub(crate) text: Option<Pointer>,
}

impl Decoder for JsonPointers {
    fn decode(&self, message: &Message<'_>) -> Result<Decoded, DecodeError> {
        let tree = from_json(message.payload)?;
        let mut decoded = Decoded::default();
        let device = match &self.device {
            DeviceName::Topic(template) => {
                decoded.device(&template.fill("device", message.topic)?)?
            }
            DeviceName::Payload(pointer) => decoded.device(&name_at(pointer, &tree)?)?,
        };
        let common_time = self.time_at(self.time.as_ref(), &tree)?;
        for channel in &self.channels {
            let Some(found) = channel.value.find(&tree) else {
                if channel.required {
                    return Err(member(&channel.value, "the value is missing"));
                }
                continue;
            };
            let value = channel.number(found)?;
            let time = match &channel.time {
                Some(pointer) => self.time_at(Some(pointer), &tree)?,
                None => common_time,
            };
            decoded.sample(device, &channel.name, value, channel.unit_in(&tree)?, time)?;
        }
        self.facts.add(&mut decoded, device, &tree, common_time)?;
        let report = &decoded.devices[0];
        if report.samples.is_empty()
            && report.texts.is_empty()
            && report.facts == Default::default()
        {
            return Err(DecodeError::Form {
                format: "json",
                detail: "nothing is found at any of the configured pointers".into(),
            });
        }
        Ok(decoded)
    }
}

impl JsonPointers {
    fn time_at(
        &self,
        pointer: Option<&Pointer>,
        tree: &Value<'_>,
    ) -> Result<Option<i64>, DecodeError> {
        let Some((pointer, found)) = pointer.and_then(|p| p.find(tree).map(|found| (p, found)))
        else {
            return Ok(None);
        };
        let time = match (found, self.time_unit) {
            (Value::Text(text), _) => time::from_rfc3339(text),
            (Value::Number(number), TimeUnit::Auto) => time::from_either(*number),
            (Value::Number(number), TimeUnit::Seconds) => time::from_seconds(*number),
            (Value::Number(number), TimeUnit::Milliseconds) => time::from_seconds(number / 1000.0),
            _ => Err(DecodeError::Time),
        };
        time.map(Some).map_err(|_| {
            member(
                pointer,
                "is no time: RFC 3339 text, or seconds or milliseconds since 1970 within the years 0 to 9999",
            )
        })
    }
}

impl Channel {
    /// A number, also one in quotes, a boolean, or one of the configured words.
    fn number(&self, found: &Value<'_>) -> Result<f64, DecodeError> {
        match found {
            Value::Number(number) => Ok(*number),
            Value::Bool(yes) => Ok(f64::from(u8::from(*yes))),
            Value::Text(word) => match self.words.get(word.as_ref()) {
                Some(number) => Ok(*number),
                None => match crate::decode_payload(word.as_bytes()) {
                    // An object in quotes is no number.
                    Ok(measurement) if !word.trim_start().starts_with('{') => Ok(measurement.value),
                    Err(DecodeError::NotFinite) => Err(DecodeError::ValueNotFinite {
                        name: self.name.clone(),
                    }),
                    _ => Err(member(
                        &self.value,
                        "is a word that is no number: give it one under `words`",
                    )),
                },
            },
            _ => Err(member(&self.value, "is no number")),
        }
    }

    fn unit_in(&self, tree: &Value<'_>) -> Result<Option<UnitString>, DecodeError> {
        let said = self.unit_pointer.as_ref().and_then(|p| p.find(tree));
        match said {
            Some(Value::Text(said)) => unit_as_said(said),
            Some(other) => Err(DecodeError::UnitType {
                found: other.kind(),
            }),
            None => Ok(self.unit.clone()),
        }
    }
}

impl Facts {
    fn add(
        &self,
        decoded: &mut Decoded,
        device: DeviceAt,
        tree: &Value<'_>,
        time_ms: Option<i64>,
    ) -> Result<(), DecodeError> {
        let find = |pointer: &Option<Pointer>| pointer.as_ref().and_then(|p| p.find(tree));
        let number = |decoded: &mut Decoded, pointer| {
            let found = find(pointer)?;
            let number = found.number().filter(|n| n.is_finite());
            if number.is_none() {
                decoded.skip();
            }
            number
        };
        if let Some(pct) = number(decoded, &self.battery_pct)
            && !decoded.facts(device).set_battery(pct)
        {
            decoded.skip();
        }
        decoded.facts(device).rssi_dbm = number(decoded, &self.rssi_dbm);
        decoded.facts(device).snr_db = number(decoded, &self.snr_db);
        let alt_m = number(decoded, &self.alt_m);
        if let (Some(lat), Some(lon)) = (number(decoded, &self.lat), number(decoded, &self.lon)) {
            decoded.facts(device).location = Location::new(lat, lon, alt_m);
        }
        if let Some(Value::Text(text)) = find(&self.firmware) {
            decoded.facts(device).firmware = decoded.label(text);
        }
        if let Some(Value::Text(text)) = find(&self.label) {
            decoded.facts(device).label = decoded.label(text);
        }
        decoded.facts(device).online = match find(&self.online) {
            Some(Value::Bool(yes)) => Some(*yes),
            Some(Value::Text(word)) => super::online_of(word),
            _ => None,
        };
        if let Some(Value::Text(text)) = find(&self.text) {
            decoded.text(
                device,
                TextMessage {
                    text: text.clone().into_owned(),
                    to: None,
                    sent_ms: time_ms,
                    packet: None,
                    channel: None,
                },
            )?;
        }
        Ok(())
    }
}

fn name_at(pointer: &Pointer, tree: &Value<'_>) -> Result<String, DecodeError> {
    match pointer.find(tree) {
        Some(Value::Text(name)) => Ok(name.clone().into_owned()),
        // Station numbers.
        Some(Value::Number(number)) if number.fract() == 0.0 && number.abs() < 1e15 => {
            Ok(number.to_string())
        }
        Some(_) => Err(member(pointer, "is no name for a device")),
        None => Err(member(pointer, "the name of the device is missing")),
    }
}

fn member(pointer: &Pointer, problem: &'static str) -> DecodeError {
    DecodeError::Member {
        at: pointer.as_str().to_owned(),
        problem,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::formats::samples::{decode, lines};

    fn pointer(text: &str) -> Pointer {
        Pointer::parse(text).unwrap()
    }

    fn channel(name: &str, at: &str, unit: &str) -> Channel {
        Channel {
            name: name.into(),
            value: pointer(at),
            unit: unit_as_said(unit).unwrap(),
            unit_pointer: None,
            time: None,
            required: false,
            words: BTreeMap::new(),
        }
    }

    /// As an Ecowitt station sends through its gateway's custom upload, shortened.
    fn station() -> JsonPointers {
        JsonPointers {
            device: DeviceName::Payload(pointer("/station/id")),
            time: Some(pointer("/ts")),
            time_unit: TimeUnit::Auto,
            channels: vec![
                channel("temperature", "/obs/0/temp_f", "°F"),
                channel("wind", "/obs/0/wind", "kn"),
                Channel {
                    words: BTreeMap::from([("open".into(), 1.0), ("closed".into(), 0.0)]),
                    ..channel("gate", "/gate", "")
                },
            ],
            facts: Facts {
                battery_pct: Some(pointer("/bat")),
                lat: Some(pointer("/pos/0")),
                lon: Some(pointer("/pos/1")),
                firmware: Some(pointer("/fw")),
                ..Facts::default()
            },
        }
    }

    #[test]
    fn values_times_and_facts_are_found_where_the_pointers_say() {
        let decoded = decode(
            &station(),
            "weather/x",
            r#"{"station":{"id":"WS 7"},"ts":1772366400,"obs":[{"temp_f":"70.7","wind":12}],"gate":"open",
                "bat":88.5,"pos":[46.5,7.25],"fw":"1.2.3"}"#,
        )
        .unwrap();
        assert_eq!(
            lines(&decoded),
            [
                "WS 7/temperature 70.7 [degF]",
                "WS 7/wind 12 [kn_i]",
                "WS 7/gate 1"
            ]
        );
        let report = &decoded.devices[0];
        assert!(
            report
                .samples
                .iter()
                .all(|s| s.device_time_ms == Some(1_772_366_400_000))
        );
        assert_eq!(report.facts.battery_pct, Some(88.5));
        assert_eq!(report.facts.firmware.as_deref(), Some("1.2.3"));
        assert_eq!(report.facts.location, Location::new(46.5, 7.25, None));
    }

    #[test]
    fn what_is_missing_is_left_out_unless_it_is_required() {
        let mut station = station();
        let payload = r#"{"station":{"id":7},"obs":[{"temp_f":null}],"gate":false}"#;
        assert_eq!(
            lines(&decode(&station, "t", payload).unwrap()),
            ["7/gate 0"]
        );
        station.channels[0].required = true;
        let error = decode(&station, "t", payload).unwrap_err();
        assert_eq!(error.to_string(), "/obs/0/temp_f: the value is missing");
    }

    #[test]
    fn a_message_in_which_nothing_is_found_is_a_dead_letter() {
        let error = decode(&station(), "t", r#"{"station":{"id":"a"},"other":1}"#).unwrap_err();
        assert_eq!(error.code(), "wrong-form");
        assert_eq!(decode(&station(), "t", "{}").unwrap_err().code(), "member");
    }

    #[test]
    fn what_is_no_number_or_no_time_is_refused_with_its_place() {
        for (payload, code) in [
            (r#"{"station":{"id":"a"},"gate":"ajar"}"#, "member"),
            (r#"{"station":{"id":"a"},"gate":"NaN"}"#, "not-finite"),
            (r#"{"station":{"id":"a"},"gate":[]}"#, "member"),
            (r#"{"station":{"id":"a"},"gate":"{\"v\":1}"}"#, "member"),
            (
                r#"{"station":{"id":"a"},"gate":1,"ts":"yesterday"}"#,
                "member",
            ),
            (r#"{"station":{"id":"a"},"gate":1,"ts":1e300}"#, "member"),
            (r#"{"station":{"id":true},"gate":1}"#, "member"),
        ] {
            assert_eq!(
                decode(&station(), "t", payload).unwrap_err().code(),
                code,
                "{payload}"
            );
        }
    }

    #[test]
    fn a_fact_that_cannot_be_is_skipped_and_counted() {
        let decoded = decode(
            &station(),
            "t",
            r#"{"station":{"id":"a"},"gate":1,"bat":255,"pos":[0,0],"fw":""}"#,
        )
        .unwrap();
        assert_eq!(decoded.skipped, 1);
        assert_eq!(decoded.devices[0].facts, Default::default());
    }
}
