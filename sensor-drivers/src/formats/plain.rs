//! A number alone, or `{"v","t","u"}`, on any topic: what the least of firmwares publishes.

use serde::{Deserialize, Serialize};

use crate::table::template::Template;
use crate::ucum::unit_as_said;
use crate::{DecodeError, Decoded, Decoder, Message, UnitString, decode_payload};

/// Options of the format `plain`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlainOptions {
    /// Name of the device; `{2}` is the topic's second level.
    pub device: String,
    /// Name of the channel, likewise.
    pub channel: String,
    /// What the number is in, where the message does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

pub(crate) struct Plain {
    pub(crate) device: Template,
    pub(crate) channel: Template,
    pub(crate) unit: Option<UnitString>,
}

impl Decoder for Plain {
    fn decode(&self, message: &Message<'_>) -> Result<Decoded, DecodeError> {
        let measurement = decode_payload(message.payload)?;
        let mut decoded = Decoded::default();
        let device = decoded.device(&self.device.fill("device", message.topic)?)?;
        let unit = match &measurement.unit {
            Some(said) => unit_as_said(said.as_str())?,
            None => self.unit.clone(),
        };
        decoded.sample(
            device,
            &self.channel.fill("channel", message.topic)?,
            measurement.value,
            unit,
            measurement.device_time_ms,
        )?;
        Ok(decoded)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::formats::samples::{decode, lines};

    fn plain() -> Plain {
        Plain {
            device: Template::parse("{2}").unwrap(),
            channel: Template::parse("{3}").unwrap(),
            unit: unit_as_said("°C").unwrap(),
        }
    }

    #[test]
    fn names_come_from_the_topic_and_the_unit_from_the_configuration() {
        let decoded = decode(&plain(), "site/river 7/temp", "21.5").unwrap();
        assert_eq!(lines(&decoded), ["river 7/temp 21.5 Cel"]);
        let decoded = decode(
            &plain(),
            "site/r/t",
            r#"{"v":70.7,"u":"°F","t":1772366400000}"#,
        )
        .unwrap();
        assert_eq!(lines(&decoded), ["r/t 70.7 [degF]"]);
        assert_eq!(
            decoded.devices[0].samples[0].device_time_ms,
            Some(1_772_366_400_000)
        );
    }

    #[test]
    fn what_is_no_number_is_no_reading() {
        for (payload, code) in [
            ("NaN", "not-finite"),
            ("-inf", "not-finite"),
            ("1e400", "not-finite"),
            ("21,5", "decimal-comma"),
            ("", "payload-empty"),
            ("warm", "not-a-number"),
        ] {
            assert_eq!(decode(&plain(), "a/b/c", payload).unwrap_err().code(), code);
        }
        assert_eq!(
            decode(&plain(), "a/b", "1").unwrap_err().code(),
            "topic-level-missing"
        );
        assert_eq!(
            decode(&plain(), "a//c", "1").unwrap_err().code(),
            "name-empty"
        );
    }
}
