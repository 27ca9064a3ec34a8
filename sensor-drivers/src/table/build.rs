//! Checks a configuration and compiles it.

use std::sync::Arc;

use super::channels::Channels;
use super::config::{ConfigError, ConfigErrors, DecoderConfig, FormatConfig};
use super::pattern::Pattern;
use super::template::Template;
use super::{DecoderTable, ENTRIES_MAX, Entry};
use crate::decoded::LABEL_BYTES_MAX;
use crate::formats::{
    Chirpstack, Encoding, FactPointers, JsonOptions, JsonPointers, Meshtastic, Plain, Senml,
    Tasmota, UserScript, Zigbee2mqtt, json_pointers,
};
use crate::name::channel_name;
use crate::script::{Script, ScriptHost, ScriptSource};
use crate::tree::Pointer;
use crate::ucum::unit_as_said;
use crate::{
    DecodeError, Decoded, Decoder, LEVEL_BYTES_MAX, Message, SAMPLES_MAX, UnitString, time,
};

/// What nobody may take: it is built in.
const OWN_TOPICS: &str = "muster/v1/#";

pub(super) fn table(
    configs: &[DecoderConfig],
    host: ScriptHost,
) -> Result<DecoderTable, ConfigErrors> {
    let mut errors = Vec::new();
    let mut entries: Vec<Arc<Entry>> = Vec::new();
    if configs.len() > ENTRIES_MAX {
        errors.push(ConfigError {
            entry: ENTRIES_MAX + 1,
            topic: configs[ENTRIES_MAX].topic.clone(),
            field: "decoders".into(),
            problem: format!("has more than {ENTRIES_MAX} entries"),
        });
        return Err(ConfigErrors(errors));
    }
    for (at, config) in configs.iter().enumerate() {
        let mut compiler = Compiler {
            entry: at + 1,
            config,
            host,
            errors: &mut errors,
        };
        if let Some(entry) = compiler.entry(&entries) {
            entries.push(Arc::new(entry));
        }
    }
    if errors.is_empty() {
        Ok(DecoderTable { entries })
    } else {
        Err(ConfigErrors(errors))
    }
}

/// One entry on its way. What is wrong is gathered, so that a person sees all of it at once.
struct Compiler<'c> {
    entry: usize,
    config: &'c DecoderConfig,
    host: ScriptHost,
    errors: &'c mut Vec<ConfigError>,
}

impl Compiler<'_> {
    fn refuse(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.errors.push(ConfigError {
            entry: self.entry,
            topic: self.config.topic.clone(),
            field: field.into(),
            problem: problem.into(),
        });
    }

    fn entry(&mut self, before: &[Arc<Entry>]) -> Option<Entry> {
        let config = self.config;
        let pattern = self.pattern(before)?;
        let name = config.name.as_deref().unwrap_or(config.format.name());
        if name.trim().is_empty()
            || name.len() > LABEL_BYTES_MAX
            || name.chars().any(char::is_control)
        {
            self.refuse(
                "name",
                format!("must have 1 to {LABEL_BYTES_MAX} bytes without control characters"),
            );
        }
        let mut refused = Vec::new();
        let channels = Channels::compile(&config.channels, &mut |field, problem| {
            refused.push((field, problem));
        });
        for (field, problem) in refused {
            self.refuse(field, problem);
        }
        let decoder = self.decoder(&pattern)?;
        Some(Entry {
            name: name.to_owned(),
            version: version(config),
            topic: config.topic.clone(),
            pattern,
            channels,
            decoder,
        })
    }

    fn pattern(&mut self, before: &[Arc<Entry>]) -> Option<Pattern> {
        let pattern = match Pattern::parse(&self.config.topic) {
            Ok(pattern) => pattern,
            Err(problem) => {
                self.refuse("topic", problem);
                return None;
            }
        };
        let own = Pattern::parse(OWN_TOPICS).ok();
        if own.is_some_and(|own| own.includes(&pattern)) {
            self.refuse(
                "topic",
                "lies in muster/v1/#, which is Muster's own and cannot be configured",
            );
        } else if let Some(earlier) = before.iter().find(|entry| entry.pattern.includes(&pattern)) {
            let problem = format!(
                "is never reached: the earlier {:?} covers all of it",
                earlier.topic
            );
            self.refuse("topic", problem);
        }
        Some(pattern)
    }

    fn decoder(&mut self, pattern: &Pattern) -> Option<Box<dyn Decoder>> {
        let config = self.config;
        Some(match &config.format {
            FormatConfig::Plain(options) => Box::new(Plain {
                device: self.template("device", &options.device, pattern)?,
                channel: self.template("channel", &options.channel, pattern)?,
                unit: self.unit("unit", options.unit.as_deref()),
            }),
            FormatConfig::Json(options) => Box::new(self.json(options, pattern)?),
            FormatConfig::SenmlJson(options) | FormatConfig::SenmlCbor(options) => {
                let device = match &options.device {
                    Some(device) => Some(self.template("device", device, pattern)?),
                    None => None,
                };
                let encoding = if matches!(config.format, FormatConfig::SenmlCbor(_)) {
                    Encoding::Cbor
                } else {
                    Encoding::Json
                };
                Box::new(Senml { encoding, device })
            }
            FormatConfig::Chirpstack(options) => {
                let script = match &options.script {
                    Some(source) => Some(self.script(source)?),
                    None => None,
                };
                Box::new(Chirpstack {
                    naming: options.device,
                    script,
                })
            }
            FormatConfig::Zigbee2mqtt(options) => {
                if options.base.is_empty() || options.base.contains(['+', '#', '\0']) {
                    self.refuse(
                        "base",
                        "must be Zigbee2MQTT's base_topic, such as zigbee2mqtt",
                    );
                }
                Box::new(Zigbee2mqtt {
                    prefix: format!("{}/", options.base),
                })
            }
            FormatConfig::Tasmota(options) => {
                if let Some(offset) = &options.utc_offset
                    && time::from_rfc3339(&format!("2026-01-01T00:00:00{offset}")).is_err()
                {
                    self.refuse("utc_offset", "must be Z or an offset such as +01:00");
                }
                Box::new(Tasmota {
                    utc_offset: options.utc_offset.clone(),
                })
            }
            FormatConfig::Meshtastic(_) => Box::new(Meshtastic),
            FormatConfig::Script(options) => Box::new(UserScript {
                device: self.template("device", &options.device, pattern)?,
                script: self.script(&options.script)?,
                f_port: options.f_port,
            }),
            FormatConfig::Ignore(_) => Box::new(Ignore),
        })
    }

    fn json(&mut self, options: &JsonOptions, pattern: &Pattern) -> Option<JsonPointers> {
        let device = match (&options.device, &options.device_pointer) {
            (Some(device), None) => {
                json_pointers::DeviceName::Topic(self.template("device", device, pattern)?)
            }
            (None, Some(pointer)) => {
                json_pointers::DeviceName::Payload(self.pointer("device_pointer", pointer)?)
            }
            _ => {
                self.refuse(
                    "device",
                    "and device_pointer: exactly one of them says which device it is",
                );
                return None;
            }
        };
        let facts = self.facts(&options.facts);
        if options.values.is_empty() && options.facts == FactPointers::default() {
            self.refuse("values", "is empty: say where at least one value stands");
        }
        if options.values.len() > SAMPLES_MAX {
            self.refuse("values", format!("has more than {SAMPLES_MAX} entries"));
        }
        let mut channels = Vec::new();
        for (at, value) in options.values.iter().enumerate().take(SAMPLES_MAX) {
            let field = |field: &str| format!("values[{at}].{field}");
            if channel_name(&value.channel).as_deref() != Ok(value.channel.as_str()) {
                self.refuse(
                    field("channel"),
                    format!("is no name for a channel: 1 to {LEVEL_BYTES_MAX} bytes without /, +, # and control characters, not cmd or state"),
                );
            }
            if let Some(word) = value.words.iter().find(|(_, number)| !number.is_finite()) {
                self.refuse(
                    field("words"),
                    format!("gives {:?} a number that is not finite", word.0),
                );
            }
            let unit = self.unit(&field("unit"), value.unit.as_deref());
            let unit_pointer =
                self.maybe_pointer(&field("unit_pointer"), value.unit_pointer.as_deref());
            let time = self.maybe_pointer(&field("time_pointer"), value.time_pointer.as_deref());
            if let Some(pointer) = self.pointer(&field("pointer"), &value.pointer) {
                channels.push(json_pointers::Channel {
                    name: value.channel.clone(),
                    value: pointer,
                    unit,
                    unit_pointer,
                    time,
                    required: value.required,
                    words: value.words.clone(),
                });
            }
        }
        Some(JsonPointers {
            device,
            time: self.maybe_pointer("time_pointer", options.time_pointer.as_deref()),
            time_unit: options.time_unit,
            channels,
            facts,
        })
    }

    fn facts(&mut self, facts: &FactPointers) -> json_pointers::Facts {
        let mut at = |field: &str, pointer: &Option<String>| {
            self.maybe_pointer(&format!("facts.{field}"), pointer.as_deref())
        };
        json_pointers::Facts {
            battery_pct: at("battery_pct", &facts.battery_pct),
            rssi_dbm: at("rssi_dbm", &facts.rssi_dbm),
            snr_db: at("snr_db", &facts.snr_db),
            firmware: at("firmware", &facts.firmware),
            label: at("label", &facts.label),
            lat: at("lat", &facts.lat),
            lon: at("lon", &facts.lon),
            alt_m: at("alt_m", &facts.alt_m),
            online: at("online", &facts.online),
            text: at("text", &facts.text),
        }
    }

    fn template(&mut self, field: &str, text: &str, pattern: &Pattern) -> Option<Template> {
        let checked = Template::parse(text)
            .and_then(|template| template.check_against(pattern).map(|()| template));
        checked.map_err(|problem| self.refuse(field, problem)).ok()
    }

    fn pointer(&mut self, field: &str, text: &str) -> Option<Pointer> {
        let pointer = Pointer::parse(text);
        pointer
            .map_err(|problem| self.refuse(field, format!("is none: {problem}")))
            .ok()
    }

    fn maybe_pointer(&mut self, field: &str, text: Option<&str>) -> Option<Pointer> {
        text.and_then(|text| self.pointer(field, text))
    }

    fn unit(&mut self, field: &str, text: Option<&str>) -> Option<UnitString> {
        let unit = text.map(unit_as_said).transpose();
        let unit = unit.map_err(|error| self.refuse(field, format!("is none: {error}")));
        unit.ok().flatten().flatten()
    }

    fn script(&mut self, source: &ScriptSource) -> Option<Script> {
        let Some(text) = &source.source else {
            let problem = match &source.file {
                Some(file) => format!("{file:?} has not been read"),
                None => "needs source = \"…\" or file = \"…\"".into(),
            };
            self.refuse("script", problem);
            return None;
        };
        let script = Script::new(text, &source.variables, self.host);
        script
            .map_err(|problem| self.refuse("script", format!("cannot be used: {problem}")))
            .ok()
    }
}

/// Tells one configuration of an entry from another; shown beside dead letters, and no secret.
fn version(config: &DecoderConfig) -> String {
    // Deterministic: members are in the order of the structs, maps are ordered.
    let written = serde_json::to_vec(config).unwrap_or_default();
    // FNV-1a, 64 bits.
    let hash = written
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    format!("{}-{hash:016x}", config.format.revision())
}

/// See [`FormatConfig::Ignore`].
struct Ignore;

impl Decoder for Ignore {
    fn decode(&self, _: &Message<'_>) -> Result<Decoded, DecodeError> {
        Ok(Decoded::noise("ignored by configuration"))
    }
}
