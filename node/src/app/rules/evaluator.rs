//! Rules over readings as a value: committed readings in, effects on incidents out. No IO, no clock.
//!
//! Invariants:
//! - The same readings from the same cursor give the same effects, incident ids included: what is evaluated again after
//!   a crash changes nothing twice.
//! - A reading that was not approved when it arrived has no effect, whatever is approved later.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use domain::rules::{
    RuleEvent, RuleState, Sample, ThresholdRule, effective_time_ms, peak_field, rfc3339, step,
};
use domain::{Kind, RecordId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use store::{SeriesId, StoredReading, flags};

use crate::app::records::RuleEffect;

/// States kept in memory and in the cursor, one per rule and series that it looks at. 200,000: every series that a node
/// may have, twice; some 150 bytes each. Past it a state that is clear begins anew, which loses no incident.
const STATES_MAX: usize = 200_000;

/// First byte of a stored cursor's state.
const FORMAT: u8 = 1;

/// Device and channel of a series.
pub(super) type Names = (Arc<str>, Arc<str>);

/// What readings are evaluated with, and what was seen so far.
pub(super) struct Evaluator {
    /// Part of incident ids: positions mean something only within one readings file.
    file_id: [u8; 16],
    /// As evidence names it.
    node_id: String,
    rules: Vec<Arc<ThresholdRule>>,
    series: HashMap<SeriesId, Watched>,
    /// From the cursor, for series that have not sent since.
    parked: HashMap<(RecordId, SeriesId), Seen>,
    states: usize,
}

/// A series with the rules that look at it.
struct Watched {
    names: Names,
    slots: Vec<Slot>,
}

struct Slot {
    rule: Arc<ThresholdRule>,
    seen: Seen,
}

/// What a rule has seen of a series.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Seen {
    state: RuleState,
    /// Of what is raised now: where its evidence begins.
    evidence_from_ms: i64,
}

/// A state as the cursor keeps it.
#[derive(Serialize, Deserialize)]
struct StoredState {
    rule: [u8; 16],
    series: u32,
    seen: Seen,
}

impl Evaluator {
    pub(super) fn new(file_id: [u8; 16], node_id: String) -> Self {
        Evaluator {
            file_id,
            node_id,
            rules: Vec::new(),
            series: HashMap::new(),
            parked: HashMap::new(),
            states: 0,
        }
    }

    /// Goes on with other rules from the next reading on. A rule that was changed keeps what it has seen, so that an
    /// incident that is open can still clear; one that is gone or switched off forgets it.
    pub(super) fn set_rules(&mut self, rules: &BTreeMap<RecordId, Arc<ThresholdRule>>) {
        for (id, watched) in std::mem::take(&mut self.series) {
            for slot in watched.slots {
                self.parked.insert((slot.rule.id, id), slot.seen);
            }
        }
        self.rules = rules.values().cloned().collect();
        self.parked.retain(|(rule, _), _| rules.contains_key(rule));
        self.states = self.parked.len();
    }

    /// Whether any reading could have an effect.
    pub(super) fn is_idle(&self) -> bool {
        self.rules.is_empty()
    }

    /// Evaluates the next reading. `names` is asked once per series; a series that it does not know is passed over.
    pub(super) fn evaluate(
        &mut self,
        reading: &StoredReading,
        names: &mut dyn FnMut(SeriesId) -> Option<Names>,
        location: &dyn Fn(&str) -> Option<Value>,
        effects: &mut Vec<RuleEffect>,
    ) {
        if reading.flags & flags::APPROVED == 0 || self.rules.is_empty() {
            return;
        }
        if !self.series.contains_key(&reading.series) {
            let Some(names) = names(reading.series) else {
                return;
            };
            self.watch(reading.series, names);
        }
        let Some(watched) = self.series.get_mut(&reading.series) else {
            return;
        };
        let (device, channel) = &watched.names;
        let sample = Sample {
            value: reading.value,
            at_ms: effective_time_ms(
                (reading.flags & flags::DEVICE_TIME != 0).then_some(reading.at_ms),
                reading.received_ms,
            ),
            received_ms: reading.received_ms,
            position: reading.position.unsigned_abs(),
        };
        for Slot { rule, seen } in &mut watched.slots {
            let Some(event) = step(rule, &mut seen.state, &sample) else {
                continue;
            };
            match event {
                RuleEvent::Raise {
                    at_ms,
                    peak,
                    evidence_from_ms,
                    ..
                } => {
                    let incident_id =
                        incident_id(&self.file_id, rule.id, reading.series, reading.position);
                    seen.state.attach_incident(incident_id.0);
                    seen.evidence_from_ms = evidence_from_ms;
                    let mut fields = rule.incident_fields(device, channel, at_ms, reading.value);
                    fields.insert("status".into(), json!("reported"));
                    fields.insert("peak".into(), peak_field(peak.at_ms, peak.value));
                    fields.insert(
                        "evidence".into(),
                        evidence(&self.node_id, evidence_from_ms, at_ms),
                    );
                    if let Some(location) = location(device) {
                        fields.insert("location".into(), location);
                    }
                    effects.push(RuleEffect::Open {
                        incident_id: incident_id.0,
                        fields,
                    });
                }
                RuleEvent::Peak {
                    incident: Some(incident),
                    peak,
                } => {
                    let fields =
                        Map::from_iter([("peak".to_owned(), peak_field(peak.at_ms, peak.value))]);
                    effects.push(RuleEffect::Update {
                        incident_id: incident,
                        fields,
                    });
                }
                RuleEvent::Clear {
                    incident: Some(incident),
                    at_ms,
                    peak,
                } => {
                    let fields = Map::from_iter([
                        ("cleared_at".to_owned(), json!(rfc3339(at_ms))),
                        ("peak".to_owned(), peak_field(peak.at_ms, peak.value)),
                        (
                            "evidence".to_owned(),
                            evidence(&self.node_id, seen.evidence_from_ms, at_ms),
                        ),
                    ]);
                    effects.push(RuleEffect::Update {
                        incident_id: incident,
                        fields,
                    });
                }
                // Without an incident there is nothing to record it in; a raise always attaches one.
                RuleEvent::Peak { incident: None, .. }
                | RuleEvent::Clear { incident: None, .. } => {}
            }
        }
    }

    fn watch(&mut self, series: SeriesId, names: Names) {
        if self.states > STATES_MAX {
            self.forget_clear();
        }
        let mut slots = Vec::new();
        for rule in self
            .rules
            .iter()
            .filter(|rule| rule.matches(&names.0, &names.1))
        {
            let seen = self.parked.remove(&(rule.id, series)).unwrap_or_else(|| {
                self.states += 1;
                Seen::default()
            });
            slots.push(Slot {
                rule: Arc::clone(rule),
                seen,
            });
        }
        self.series.insert(series, Watched { names, slots });
    }

    fn forget_clear(&mut self) {
        self.series
            .retain(|_, watched| watched.slots.iter().any(|slot| slot.seen.state.is_raised()));
        self.parked.retain(|_, seen| seen.state.is_raised());
        self.states = self.parked.len()
            + self
                .series
                .values()
                .map(|watched| watched.slots.len())
                .sum::<usize>();
    }

    /// What the cursor keeps.
    pub(super) fn save(&self) -> Vec<u8> {
        let live = self.series.iter().flat_map(|(series, watched)| {
            watched
                .slots
                .iter()
                .map(|slot| (slot.rule.id, *series, &slot.seen))
        });
        let parked = self
            .parked
            .iter()
            .map(|((rule, series), seen)| (*rule, *series, seen));
        let states: Vec<StoredState> = live
            .chain(parked)
            .map(|(rule, series, seen)| StoredState {
                rule: rule.0,
                series: series.0,
                seen: seen.clone(),
            })
            .collect();
        // Serialising plain values to memory cannot fail.
        let mut bytes = postcard::to_allocvec(&states).unwrap_or_default();
        bytes.insert(0, FORMAT);
        bytes
    }

    /// Takes in what [`Evaluator::save`] gave.
    ///
    /// # Errors
    /// It was written by another version; evaluation then begins anew at the cursor's position.
    pub(super) fn restore(&mut self, bytes: &[u8]) -> Result<(), postcard::Error> {
        let states: Vec<StoredState> = match bytes.split_first() {
            Some((&FORMAT, rest)) => postcard::from_bytes(rest)?,
            _ => return Err(postcard::Error::DeserializeBadEncoding),
        };
        self.parked = states
            .into_iter()
            .map(|s| ((RecordId(s.rule), SeriesId(s.series)), s.seen))
            .collect();
        self.states = self.parked.len();
        Ok(())
    }
}

/// UUIDv8 of one raise, the same whenever this reading is evaluated.
fn incident_id(file_id: &[u8; 16], rule: RecordId, series: SeriesId, position: i64) -> RecordId {
    let mut hasher = blake3::Hasher::new_derive_key("muster 2026 incident of a rule v1");
    hasher.update(file_id);
    hasher.update(&rule.0);
    hasher.update(&series.0.to_le_bytes());
    hasher.update(&position.to_le_bytes());
    domain::ids::hashed_id(Kind::Incident.spec().code, &hasher)
}

/// The time range of this node's readings.
fn evidence(node_id: &str, from_ms: i64, to_ms: i64) -> Value {
    json!([{ "node": node_id, "from": rfc3339(from_ms), "to": rfc3339(to_ms) }])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const RULE: RecordId = RecordId([7; 16]);

    fn rules(fields: Value) -> BTreeMap<RecordId, Arc<ThresholdRule>> {
        let rule = ThresholdRule::from_fields(RULE, fields.as_object().unwrap())
            .unwrap()
            .unwrap();
        BTreeMap::from([(RULE, Arc::new(rule))])
    }

    fn high_water() -> BTreeMap<RecordId, Arc<ThresholdRule>> {
        rules(json!({
            "name": "high water", "enabled": true, "kind": "threshold",
            "match": {"device": "river-*", "channel": "level"},
            "raise_above": 4.0, "clear_below": 3.0, "for_s": 0, "hold_s": 0,
            "incident": {"title": "{device} at {value} m", "category": "Met", "severity": "severe"},
        }))
    }

    fn evaluator() -> Evaluator {
        let mut evaluator = Evaluator::new([1; 16], "node".into());
        evaluator.set_rules(&high_water());
        evaluator
    }

    fn reading(position: i64, value: f64) -> StoredReading {
        let at_ms = 1_772_366_400_000 + position * 1000;
        StoredReading {
            position,
            series: SeriesId(1),
            at_ms,
            received_ms: at_ms,
            value,
            flags: flags::APPROVED | flags::DEVICE_TIME,
        }
    }

    /// Series 1 is a river's level, 2 its battery; others are unknown.
    fn names(series: SeriesId) -> Option<Names> {
        match series.0 {
            1 => Some(("river-01".into(), "level".into())),
            2 => Some(("river-01".into(), "battery_pct".into())),
            _ => None,
        }
    }

    fn effects(evaluator: &mut Evaluator, readings: &[StoredReading]) -> Vec<RuleEffect> {
        let mut effects = Vec::new();
        for reading in readings {
            evaluator.evaluate(
                reading,
                &mut names,
                &|_| Some(json!({"lat": 1.0, "lon": 2.0})),
                &mut effects,
            );
        }
        effects
    }

    #[test]
    fn a_flood_is_one_incident_with_raise_peak_and_clear() {
        let values = [2.0, 4.1, 5.5, 5.0, 3.5, 2.9, 2.0];
        let readings: Vec<StoredReading> = (1..)
            .zip(values)
            .map(|(n, value)| reading(n, value))
            .collect();
        let effects = effects(&mut evaluator(), &readings);
        let [
            RuleEffect::Open {
                incident_id,
                fields,
            },
            RuleEffect::Update {
                incident_id: updated,
                fields: cleared,
            },
        ] = &effects[..]
        else {
            panic!("{effects:?}")
        };
        assert_eq!(incident_id, updated);
        assert_eq!(fields["title"], "river-01 at 4.1 m");
        assert_eq!(fields["status"], "reported");
        assert_eq!(fields["severity"], "severe");
        assert_eq!(
            fields["source"],
            json!({"rule": RULE.to_string(), "device": "river-01", "channel": "level"})
        );
        assert_eq!(fields["location"], json!({"lat": 1.0, "lon": 2.0}));
        assert_eq!(cleared["peak"]["value"], 5.5);
        assert_eq!(
            cleared["evidence"],
            json!([{"node": "node", "from": "2026-03-01T12:00:02Z", "to": "2026-03-01T12:00:06Z"}])
        );
        // What the schema does not take would hold up every rule.
        for fields in [fields, cleared] {
            domain::check_node_fields(domain::Kind::Incident, fields).unwrap();
        }
    }

    #[test]
    fn readings_that_were_not_approved_have_no_effect() {
        let unapproved = StoredReading {
            flags: flags::DEVICE_TIME,
            ..reading(1, 9.0)
        };
        assert!(effects(&mut evaluator(), &[unapproved]).is_empty());
        let other_channel = StoredReading {
            series: SeriesId(2),
            ..reading(1, 9.0)
        };
        let unknown_series = StoredReading {
            series: SeriesId(9),
            ..reading(2, 9.0)
        };
        assert!(effects(&mut evaluator(), &[other_channel, unknown_series]).is_empty());
    }

    #[test]
    fn evaluation_goes_on_from_a_saved_state_as_if_never_interrupted() {
        let readings: Vec<StoredReading> = (1..=60)
            .map(|n| reading(n, 3.5 + 2.0 * ((n as f64) / 4.0).sin()))
            .collect();
        let whole = effects(&mut evaluator(), &readings);
        assert!(whole.len() > 3, "{whole:?}");
        for cut in 0..readings.len() {
            let (before, after) = readings.split_at(cut);
            let mut first = evaluator();
            let mut seen = effects(&mut first, before);
            let mut second = evaluator();
            second.restore(&first.save()).unwrap();
            seen.extend(effects(&mut second, after));
            assert_eq!(format!("{seen:?}"), format!("{whole:?}"), "cut at {cut}");
        }
    }

    #[test]
    fn a_changed_rule_keeps_what_it_saw_and_one_that_is_gone_forgets_it() {
        let mut evaluator = evaluator();
        let [RuleEffect::Open { incident_id, .. }] =
            &effects(&mut evaluator, &[reading(1, 5.0)])[..]
        else {
            panic!("no incident")
        };
        let mut changed = high_water();
        let rule = Arc::make_mut(changed.get_mut(&RULE).unwrap());
        rule.clear = 3.9;
        evaluator.set_rules(&changed);
        let cleared = effects(&mut evaluator, &[reading(2, 3.8)]);
        assert!(
            matches!(&cleared[..], [RuleEffect::Update { incident_id: id, .. }] if id == incident_id),
            "{cleared:?}"
        );

        effects(&mut evaluator, &[reading(3, 5.0)]);
        evaluator.set_rules(&BTreeMap::new());
        assert!(evaluator.is_idle());
        assert!(effects(&mut evaluator, &[reading(4, 1.0)]).is_empty());
        evaluator.set_rules(&high_water());
        assert!(effects(&mut evaluator, &[reading(5, 1.0)]).is_empty());
    }

    #[test]
    fn a_state_of_another_version_is_refused() {
        assert!(evaluator().restore(&[]).is_err());
        assert!(evaluator().restore(&[99, 1, 2]).is_err());
        assert!(evaluator().restore(&[FORMAT, 0xff, 0xff]).is_err());
    }
}
