//! How decoders are configured: `[[decoders]]`, in the order in which they are asked.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::channels::ChannelConfig;
use crate::formats::{
    ChirpstackOptions, JsonOptions, MeshtasticOptions, PlainOptions, SenmlOptions, TasmotaOptions,
    UserScriptOptions, Zigbee2mqttOptions,
};
use crate::script::ScriptSource;

/// One entry: the messages of these topics have this format.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecoderConfig {
    /// A topic filter with MQTT's `+` and `#`.
    pub topic: String,
    /// How it is called in dead letters and counters; the format's name where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What is to be done with single channels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub channels: BTreeMap<String, ChannelConfig>,
    /// `format = "…"` and its options.
    #[serde(flatten)]
    pub format: FormatConfig,
}

/// A format and its options.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "format", rename_all = "kebab-case")]
pub enum FormatConfig {
    Plain(PlainOptions),
    Json(Box<JsonOptions>),
    SenmlJson(SenmlOptions),
    SenmlCbor(SenmlOptions),
    Chirpstack(ChirpstackOptions),
    Zigbee2mqtt(Zigbee2mqttOptions),
    Tasmota(TasmotaOptions),
    Meshtastic(MeshtasticOptions),
    Script(UserScriptOptions),
    /// Messages of no interest: neither readings nor dead letters.
    Ignore(IgnoreOptions),
}

/// Options of the format `ignore`: there are none.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IgnoreOptions {}

impl FormatConfig {
    /// As it is written in the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Plain(_) => "plain",
            Self::Json(_) => "json",
            Self::SenmlJson(_) => "senml-json",
            Self::SenmlCbor(_) => "senml-cbor",
            Self::Chirpstack(_) => "chirpstack",
            Self::Zigbee2mqtt(_) => "zigbee2mqtt",
            Self::Tasmota(_) => "tasmota",
            Self::Meshtastic(_) => "meshtastic",
            Self::Script(_) => "script",
            Self::Ignore(_) => "ignore",
        }
    }

    /// Raised whenever the same bytes and options would decode to something else than before; part of a decoder's
    /// version in dead letters.
    pub(super) fn revision(&self) -> u32 {
        1
    }
}

impl DecoderConfig {
    /// The script of this entry, if it has one. Whoever reads the configuration puts the text of `file` into `source`
    /// before [`DecoderTable::build`](super::DecoderTable::build): this crate opens no files.
    pub fn script_mut(&mut self) -> Option<&mut ScriptSource> {
        match &mut self.format {
            FormatConfig::Script(options) => Some(&mut options.script),
            FormatConfig::Chirpstack(options) => options.script.as_mut(),
            _ => None,
        }
    }
}

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Its place in the list, from 1.
    pub entry: usize,
    pub topic: String,
    /// Which of its fields, as a path.
    pub field: String,
    /// In words that follow the field's name.
    pub problem: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topic: String = self.topic.chars().take(80).collect();
        write!(
            f,
            "decoder {} (topic {topic:?}): {} {}",
            self.entry, self.field, self.problem
        )
    }
}

/// Everything that is wrong with a list of decoders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if at == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
