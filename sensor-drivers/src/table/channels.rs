//! What the configuration says about single channels, whatever the format: another name, the unit that a format does not
//! carry, the unit that people want.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::name::channel_name;
use crate::ucum::{Conversion, ucum_code, unit_as_said};
use crate::{DecodeError, Decoded, LEVEL_BYTES_MAX, UnitString};

/// Channels that one entry may speak of.
pub const CHANNELS_MAX: usize = 256;

/// One channel, by the name that the decoder gives it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelConfig {
    /// Its name here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rename: Option<String>,
    /// What its values are in, in place of what the message says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// What they shall be in, a UCUM code. Where the message says a unit that cannot be converted, the value stays as it
    /// is, with its unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub convert_to: Option<String>,
    /// It is left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore: bool,
}

/// [`ChannelConfig`]s, compiled.
#[derive(Default)]
pub(crate) struct Channels(BTreeMap<String, Channel>);

struct Channel {
    rename: Option<String>,
    unit: Option<UnitString>,
    convert_to: Option<&'static str>,
    ignore: bool,
}

impl Channels {
    /// Compiles; `refuse` takes the field and what is wrong with it.
    pub(crate) fn compile(
        configs: &BTreeMap<String, ChannelConfig>,
        refuse: &mut dyn FnMut(String, String),
    ) -> Self {
        if configs.len() > CHANNELS_MAX {
            refuse(
                "channels".into(),
                format!("has more than {CHANNELS_MAX} entries"),
            );
            return Self::default();
        }
        let mut channels = BTreeMap::new();
        for (name, config) in configs {
            let field = |field: &str| format!("channels.{name}.{field}");
            if let Some(rename) = &config.rename
                && channel_name(rename).as_deref() != Ok(rename.as_str())
            {
                refuse(
                    field("rename"),
                    format!(
                        "is no name for a channel: 1 to {LEVEL_BYTES_MAX} bytes without /, +, # and control characters, not cmd or state"
                    ),
                );
            }
            let unit = config.unit.as_deref().map(unit_as_said).transpose();
            let unit = unit.unwrap_or_else(|error| {
                refuse(field("unit"), error.to_string());
                None
            });
            let convert_to = config.convert_to.as_deref().map(|to| {
                let from = unit.flatten_unit().unwrap_or(to);
                if let Err(error) = Conversion::between(from, to) {
                    refuse(field("convert_to"), error.to_string());
                }
                ucum_code(to)
            });
            channels.insert(
                name.clone(),
                Channel {
                    rename: config.rename.clone(),
                    unit: unit.flatten(),
                    convert_to: convert_to.flatten(),
                    ignore: config.ignore,
                },
            );
        }
        Self(channels)
    }

    /// Applies them to what a decoder gave.
    pub(crate) fn apply(&self, decoded: &mut Decoded) -> Result<(), DecodeError> {
        if self.0.is_empty() {
            return Ok(());
        }
        for report in &mut decoded.devices {
            report
                .samples
                .retain(|s| self.0.get(&s.channel).is_none_or(|channel| !channel.ignore));
            for sample in &mut report.samples {
                let Some(channel) = self.0.get(&sample.channel) else {
                    continue;
                };
                if let Some(unit) = &channel.unit {
                    sample.unit = Some(unit.clone());
                }
                if let (Some(to), Some(from)) = (channel.convert_to, &sample.unit)
                    && let Ok(conversion) = Conversion::between(from.as_str(), to)
                {
                    let value = conversion.apply(sample.value);
                    if !value.is_finite() {
                        return Err(DecodeError::ValueNotFinite {
                            name: sample.channel.clone(),
                        });
                    }
                    sample.value = value + 0.0;
                    sample.unit = conversion.unit();
                }
                if let Some(rename) = &channel.rename {
                    sample.channel.clone_from(rename);
                }
            }
        }
        Ok(())
    }
}

/// The unit's text, out of what was configured and parsed.
trait FlattenUnit {
    fn flatten_unit(&self) -> Option<&str>;
}

impl FlattenUnit for Option<Option<UnitString>> {
    fn flatten_unit(&self) -> Option<&str> {
        self.as_ref()?.as_ref().map(UnitString::as_str)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::formats::samples::lines;

    fn compile(toml: &str) -> (Channels, Vec<(String, String)>) {
        let mut refused = Vec::new();
        let configs = toml::from_str(toml).unwrap();
        let channels = Channels::compile(&configs, &mut |field, problem| {
            refused.push((field, problem))
        });
        (channels, refused)
    }

    fn decoded() -> Decoded {
        let mut decoded = Decoded::default();
        let device = decoded.device("d").unwrap();
        let celsius = unit_as_said("°C").unwrap();
        decoded.sample(device, "t", 20.0, celsius, None).unwrap();
        decoded
            .sample(device, "distance_mm", 1234.0, None, None)
            .unwrap();
        decoded.sample(device, "noise", 5.0, None, None).unwrap();
        decoded
    }

    #[test]
    fn channels_are_renamed_given_units_converted_and_left_out() {
        let (channels, refused) = compile(
            r#"t = { convert_to = "[degF]" }
            distance_mm = { rename = "distance", unit = "mm", convert_to = "m" }
            noise = { ignore = true }
            absent = { unit = "K" }"#,
        );
        assert_eq!(refused, []);
        let mut decoded = decoded();
        channels.apply(&mut decoded).unwrap();
        assert_eq!(lines(&decoded), ["d/t 68 [degF]", "d/distance 1.234 m"]);
    }

    #[test]
    fn a_unit_that_the_message_says_and_that_cannot_be_converted_stays() {
        let (channels, _) = compile(r#"t = { convert_to = "Pa" }"#);
        let mut decoded = decoded();
        channels.apply(&mut decoded).unwrap();
        assert_eq!(lines(&decoded)[0], "d/t 20 Cel");
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_place() {
        let (_, refused) = compile(
            r#"a = { rename = "x/y" }
            b = { unit = "mm", convert_to = "Pa" }
            c = { convert_to = "furlong" }
            d = { rename = "state" }"#,
        );
        let fields: Vec<&str> = refused.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "channels.a.rename",
                "channels.b.convert_to",
                "channels.c.convert_to",
                "channels.d.rename"
            ]
        );
    }

    #[test]
    fn a_conversion_beyond_a_double_makes_a_dead_letter() {
        let (channels, _) = compile(r#"t = { unit = "km", convert_to = "mm" }"#);
        let mut decoded = decoded();
        decoded.devices[0].samples[0].value = 1e308;
        assert_eq!(
            channels.apply(&mut decoded).unwrap_err().code(),
            "not-finite"
        );
    }
}
