//! What is in use, and what was added and does not fit beside the configuration of now.
//!
//! Invariants: a table that is in use was built without an error; what was added keeps its place in the list, with the
//! reason where it does not fit, until somebody who has seen that list replaces it.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use sensor_drivers::script::ScriptHost;
use sensor_drivers::{ConfigErrors, DecoderConfig, DecoderTable, MUSTER_DECODER};
use serde_json::{Value, json};

/// Time since the process first asked: scripts end by it where the machine is too slow for their steps.
fn monotonic() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

const HOST: ScriptHost = ScriptHost {
    monotonic: Some(monotonic),
};

pub(super) fn build(
    configured: &[DecoderConfig],
    added: &[DecoderConfig],
) -> Result<DecoderTable, ConfigErrors> {
    DecoderTable::build(&[configured, added].concat(), HOST)
}

/// The list of what was added while nothing was.
pub(super) const NOTHING_ADDED: &[u8] = b"[]";

/// The decoders of now.
pub(in crate::app) struct Active {
    /// Those that fit, in the order of the lists.
    pub(in crate::app) table: DecoderTable,
    pub(super) configured: Vec<DecoderConfig>,
    added: Vec<Added>,
    /// Of what was added, and of nothing else: that is what a writer replaces.
    pub(super) version: String,
}

/// An entry that was added.
struct Added {
    entry: Value,
    /// Why it is not in use.
    problem: Option<String>,
}

impl Default for Active {
    fn default() -> Self {
        Active {
            table: DecoderTable::default(),
            configured: Vec::new(),
            added: Vec::new(),
            version: version_of(NOTHING_ADDED),
        }
    }
}

impl Active {
    /// Those of the configuration, and of what was added, as it is stored, those that fit beside them.
    ///
    /// # Errors
    /// What does not fit in the configuration itself.
    pub(super) fn of(configured: Vec<DecoderConfig>, saved: &[u8]) -> Result<Active, ConfigErrors> {
        let (mut added, mut fitting) = read(saved);
        let table = loop {
            let configs: Vec<DecoderConfig> =
                fitting.iter().map(|(_, config)| config.clone()).collect();
            let errors = match build(&configured, &configs) {
                Ok(table) => break table,
                Err(errors) => errors,
            };
            let place = |entry: usize| entry.checked_sub(configured.len() + 1);
            // The first alone: what comes after it may fit where it is not.
            let Some(first) = errors.0.iter().find_map(|error| place(error.entry)) else {
                return Err(errors);
            };
            if errors.0.iter().any(|error| place(error.entry).is_none()) || first >= fitting.len() {
                return Err(errors);
            }
            let (at, _) = fitting.remove(first);
            let of_first = errors
                .0
                .iter()
                .filter(|error| place(error.entry) == Some(first));
            let problems: Vec<String> = of_first
                .map(|error| format!("{} {}", error.field, error.problem))
                .collect();
            added[at].problem = Some(problems.join("; "));
        };
        // With what every option is that it leaves out.
        for (at, config) in &fitting {
            added[*at].entry = json!(config);
        }
        Ok(Active {
            table,
            configured,
            added,
            version: version_of(saved),
        })
    }

    /// Topics of what was added and does not fit, each with the reason.
    pub(in crate::app) fn unfit(&self) -> impl Iterator<Item = (&str, &str)> {
        self.added.iter().filter_map(|added| {
            let topic = added.entry["topic"].as_str().unwrap_or_default();
            Some((topic, added.problem.as_deref()?))
        })
    }

    /// All of them as the API shows them, in the order in which they are asked.
    pub(super) fn values(&self) -> Vec<Value> {
        let built_in = json!({
            "origin": "built-in",
            "name": MUSTER_DECODER.0,
            "version": MUSTER_DECODER.1,
            "topic": "muster/v1/#",
            "entry": Value::Null,
            "problem": Value::Null,
        });
        let mut in_table = self.table.entries();
        let mut in_use = |origin: &str, config: Value| {
            in_table.next().map(|entry| {
                json!({
                    "origin": origin,
                    "name": entry.name(),
                    "version": entry.version(),
                    "topic": entry.topic(),
                    "entry": config,
                    "problem": Value::Null,
                })
            })
        };
        let mut values = vec![built_in];
        for config in &self.configured {
            values.extend(in_use("configuration", json!(config)));
        }
        for added in &self.added {
            match &added.problem {
                None => values.extend(in_use("api", added.entry.clone())),
                Some(problem) => values.push(unfit_value(&added.entry, problem)),
            }
        }
        values
    }
}

fn unfit_value(entry: &Value, problem: &str) -> Value {
    let word = |member: &str| entry[member].as_str().unwrap_or_default();
    json!({
        "origin": "api",
        "name": entry["name"].as_str().unwrap_or(word("format")),
        "version": "",
        "topic": word("topic"),
        "entry": entry.is_object().then_some(entry),
        "problem": problem,
    })
}

/// What is stored, entry by entry, and of those that can be read where they stand.
fn read(saved: &[u8]) -> (Vec<Added>, Vec<(usize, DecoderConfig)>) {
    let entries = serde_json::from_slice::<Vec<Value>>(saved).map_err(|error| Added {
        entry: Value::Null,
        problem: Some(format!("what is stored cannot be read: {error}")),
    });
    let entries = match entries {
        Ok(entries) => entries,
        Err(unreadable) => return (vec![unreadable], Vec::new()),
    };
    let (mut added, mut fitting) = (Vec::new(), Vec::new());
    for (at, entry) in entries.into_iter().enumerate() {
        let config = serde_json::from_value::<DecoderConfig>(entry.clone());
        let problem = config.as_ref().err().map(ToString::to_string);
        fitting.extend(config.ok().map(|config| (at, config)));
        added.push(Added { entry, problem });
    }
    (added, fitting)
}

/// Tells one list of entries, as it is stored, from another, also over a restart. The same list has the same version: who
/// puts back what somebody saw takes nothing from them.
pub(super) fn version_of(saved: &[u8]) -> String {
    /// 64 bits: nobody gains by making two lists collide, and lists are few.
    const VERSION_BYTES: usize = 8;
    data_encoding::HEXLOWER.encode(&blake3::hash(saved).as_bytes()[..VERSION_BYTES])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn configs(entries: Value) -> Vec<DecoderConfig> {
        serde_json::from_value(entries).unwrap()
    }

    fn active(configured: Value, saved: &Value) -> Active {
        Active::of(configs(configured), saved.to_string().as_bytes()).unwrap()
    }

    /// Topic, and whether it is in use, of what was added.
    fn added(active: &Active) -> Vec<(String, bool)> {
        let values = active.values().into_iter();
        values
            .filter(|value| value["origin"] == "api")
            .map(|value| {
                let topic = value["topic"].as_str().unwrap().to_owned();
                (topic, value["problem"].is_null())
            })
            .collect()
    }

    #[test]
    fn what_no_longer_fits_keeps_its_place_beside_what_does() {
        let saved = json!([
            { "topic": "tele/+/SENSOR", "format": "tasmota" },
            { "topic": "msh/#", "format": "meshtastic" },
            { "topic": "x/#", "format": "of-a-later-version" },
            { "topic": "zigbee2mqtt/#", "format": "zigbee2mqtt" },
        ]);
        let all_of_tele = json!([{ "topic": "tele/#", "format": "ignore" }]);
        let active = active(all_of_tele, &saved);
        let shown = added(&active);
        let shown: Vec<_> = shown
            .iter()
            .map(|(topic, fits)| (&**topic, *fits))
            .collect();
        assert_eq!(
            shown,
            [
                ("tele/+/SENSOR", false),
                ("msh/#", true),
                ("x/#", false),
                ("zigbee2mqtt/#", true),
            ]
        );
        let reasons: Vec<_> = active.unfit().collect();
        assert_eq!(reasons.len(), 2);
        assert!(reasons[0].1.contains("never reached"), "{reasons:?}");
        let names: Vec<_> = active
            .table
            .entries()
            .map(|entry| entry.topic().to_owned())
            .collect();
        assert_eq!(names, ["tele/#", "msh/#", "zigbee2mqtt/#"]);
    }

    #[test]
    fn what_comes_after_one_that_does_not_fit_is_judged_without_it() {
        let saved = json!([
            { "topic": "a/#", "format": "tasmota", "name": " " },
            { "topic": "a/b", "format": "tasmota" },
        ]);
        let shown = added(&active(json!([]), &saved));
        assert_eq!(shown, [("a/#".to_owned(), false), ("a/b".to_owned(), true)]);
    }

    #[test]
    fn a_list_that_cannot_be_read_is_shown_as_such_and_an_error_of_the_configuration_is_one() {
        let broken = Active::of(Vec::new(), b"{").unwrap();
        assert_eq!(broken.unfit().count(), 1);
        assert_eq!(broken.values()[1]["entry"], Value::Null);
        assert_ne!(broken.version, Active::default().version);
        let wrong = configs(json!([{ "topic": "x/#/y", "format": "tasmota" }]));
        let saved = json!([{ "topic": "y/#/z", "format": "tasmota" }]).to_string();
        assert!(Active::of(wrong, saved.as_bytes()).is_err());
    }
}
