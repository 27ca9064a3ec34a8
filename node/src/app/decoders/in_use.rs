//! What is in use, and what was added and does not fit beside the configuration of now.
//!
//! Invariants: a table that is in use was built without an error; what was added keeps its place in the list, with the
//! reason where it does not fit, until somebody who has seen that list replaces it.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use sensor_drivers::script::ScriptHost;
use sensor_drivers::{ConfigError, ConfigErrors, DecoderConfig, DecoderTable, MUSTER_DECODER};
use serde_json::{Value, json};

/// Time since the process first asked: scripts end by it where the machine is too slow for their steps.
fn monotonic() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

const HOST: ScriptHost = ScriptHost {
    monotonic: Some(monotonic),
};

fn build(configs: &[DecoderConfig]) -> Result<DecoderTable, ConfigErrors> {
    DecoderTable::build(configs, HOST)
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
    config: Option<DecoderConfig>,
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
        let mut added = read(saved);
        for one in &mut added {
            one.check_alone();
        }
        let table = loop {
            let fitting = added.iter_mut().filter(|one| one.problem.is_none());
            let mut fitting: Vec<&mut Added> = fitting.collect();
            let configs = fitting.iter().filter_map(|one| one.config.clone());
            let errors = match build(
                &configured
                    .iter()
                    .cloned()
                    .chain(configs)
                    .collect::<Vec<_>>(),
            ) {
                Ok(table) => break table,
                Err(errors) => errors,
            };
            // What is left is that an earlier one covers its topic, or that there are too many. What the earlier one covers
            // is covered by what covers that, so all of them go at once.
            for error in &errors.0 {
                let place = error.entry.checked_sub(configured.len() + 1);
                let Some(one) = place.and_then(|place| fitting.get_mut(place)) else {
                    return Err(errors);
                };
                one.problem.get_or_insert_with(|| words(error));
            }
        };
        Ok(Active {
            table,
            configured,
            added,
            version: version_of(saved),
        })
    }

    /// What was added and does not fit: its place among what was added, its topic and the reason.
    pub(in crate::app) fn unfit(&self) -> impl Iterator<Item = (usize, &str, &str)> {
        let added = self.added.iter().enumerate();
        added.filter_map(|(place, added)| {
            let topic = added.entry["topic"].as_str().unwrap_or_default();
            Some((place, topic, added.problem.as_deref()?))
        })
    }

    /// The entry as it is stored that does not fit and that somebody has sent back as it was shown, perhaps without members
    /// that say nothing. It may stay: else nobody could change a list in which two do not fit.
    pub(super) fn unfit_like(&self, sent: &Value) -> Option<&Value> {
        let sent = saying(sent)?;
        let unfit = self.added.iter().filter(|added| added.problem.is_some());
        unfit
            .map(|added| &added.entry)
            .find(|entry| saying(entry).is_some_and(|entry| entry == sent))
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

impl Added {
    /// Finds what is wrong with it whatever stands beside it.
    fn check_alone(&mut self) {
        let Some(config) = &self.config else { return };
        match build(std::slice::from_ref(config)) {
            // With what every option is that it leaves out.
            Ok(_) => self.entry = json!(config),
            Err(errors) => {
                let problems: Vec<String> = errors.0.iter().map(words).collect();
                self.problem = Some(problems.join("; "));
            }
        }
    }
}

fn words(error: &ConfigError) -> String {
    format!("{} {}", error.field, error.problem)
}

/// Its members that say something; `None` for what is no entry.
fn saying(entry: &Value) -> Option<Vec<(&String, &Value)>> {
    let says = |value: &Value| match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        _ => true,
    };
    let members = entry.as_object()?.iter();
    let mut saying: Vec<_> = members.filter(|(_, value)| says(value)).collect();
    saying.sort_by_key(|(name, _)| *name);
    Some(saying)
}

/// What is stored, entry by entry.
fn read(saved: &[u8]) -> Vec<Added> {
    let unfit = |entry: Value, problem: String| Added {
        entry,
        config: None,
        problem: Some(problem),
    };
    let entries: Vec<Value> = match serde_json::from_slice(saved) {
        Ok(entries) => entries,
        Err(error) => {
            let problem = format!("what is stored cannot be read: {error}");
            return vec![unfit(Value::Null, problem)];
        }
    };
    let each = entries.into_iter();
    each.map(
        |entry| match serde_json::from_value::<DecoderConfig>(entry.clone()) {
            Ok(config) => Added {
                entry,
                config: Some(config),
                problem: None,
            },
            Err(error) => unfit(entry, error.to_string()),
        },
    )
    .collect()
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
    use sensor_drivers::ENTRIES_MAX;

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
        assert_eq!((reasons[0].0, reasons[1].0), (0, 2));
        assert!(reasons[0].2.contains("never reached"), "{reasons:?}");
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
    fn an_entry_that_does_not_fit_is_known_by_what_it_says() {
        let saved = json!([
            { "topic": "a/#", "format": "telepathy", "values": [], "name": null, "range": 7 },
            { "topic": "b/#", "format": "tasmota" },
        ]);
        let active = active(json!([]), &saved);
        let like = |sent: Value| active.unfit_like(&sent).is_some();
        assert!(like(
            json!({ "range": 7, "format": "telepathy", "topic": "a/#" })
        ));
        assert!(!like(
            json!({ "range": 8, "format": "telepathy", "topic": "a/#" })
        ));
        assert!(
            !like(json!({ "topic": "b/#", "format": "tasmota" })),
            "it fits"
        );
    }

    #[test]
    fn of_more_than_there_may_be_the_last_do_not_fit() {
        let entry = |number: usize| json!({ "topic": format!("{number}/#"), "format": "tasmota" });
        let saved: Vec<Value> = (1..=ENTRIES_MAX).map(entry).collect();
        let active = active(json!([entry(0), entry(ENTRIES_MAX + 1)]), &json!(saved));
        let places: Vec<usize> = active.unfit().map(|(place, ..)| place).collect();
        assert_eq!(places, [ENTRIES_MAX - 2, ENTRIES_MAX - 1]);
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
