//! Rules over readings as a value: committed readings in, effects on incidents out. No IO, no clock.
//!
//! Invariants:
//! - The same readings and ticks from the same cursor give the same effects, incident ids included: what is evaluated
//!   again after a crash changes nothing twice.
//! - A reading that was not approved when it arrived has no effect, whatever is approved later.
//! - Ticks only raise: what clears is data.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use domain::rules::{
    Measure, Rule, RuleEvent, RuleState, Sample, Scope, Tick, effective_time_ms, needs_ticks,
    peak_field, rfc3339, step, tick,
};
use domain::{Kind, RecordId};
use serde_json::{Map, Value, json};
use store::{SeriesId, StoredReading, flags};

use super::saved::{self, Key};
use crate::app::records::RuleEffect;

/// States kept in memory and in the cursor, one per rule and series (or device) that it looks at. 200,000: every series
/// that a node may have, twice; some 200 bytes each for a threshold.
const STATES_MAX: usize = 200_000;

/// What the states may take together: a window is 1,600 bytes, and half of that in the cursor, all of which is written
/// with each alarm. Past either bound a state that is clear begins anew, which loses no incident.
const STATE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Device and channel of a series.
pub(super) type Names = (Arc<str>, Arc<str>);

/// What evaluation leads to.
#[derive(Debug, Clone)]
pub(super) enum Effect {
    /// As it is.
    Do(RuleEffect),
    /// True again soon after it cleared: goes on in the same incident, if people still work on it, else in a new one.
    Reopen {
        incident_id: [u8; 16],
        changes: Map<String, Value>,
        fresh_id: [u8; 16],
        fresh: Map<String, Value>,
    },
}

/// What a node adds to what it measures.
pub(super) struct Surroundings<'a> {
    /// Where a device stands, as its document says.
    pub(super) location: &'a (dyn Fn(&str) -> Option<Value> + Sync),
    /// Whether a device is approved now.
    pub(super) approved: &'a (dyn Fn(&str) -> bool + Sync),
}

/// What readings are evaluated with, and what was seen so far.
pub(super) struct Evaluator {
    /// Part of incident ids: positions mean something only within one readings file.
    file_id: [u8; 16],
    /// As evidence names it.
    node_id: String,
    rules: Vec<Arc<Rule>>,
    /// Some rule is about time.
    about_time: bool,
    /// For each series that was heard: which instances look at it.
    series: HashMap<SeriesId, Vec<Slot>>,
    instances: Vec<Instance>,
    by_key: HashMap<(RecordId, Key), usize>,
    /// From the cursor, for series that have not sent since.
    parked: HashMap<(RecordId, Key), RuleState>,
    /// How long this node has listened in all; moved by ticks.
    uptime_ms: i64,
    /// What the states took when they were saved last.
    state_bytes: usize,
}

struct Slot {
    instance: usize,
    /// Which inputs of the instance's expression.
    inputs: Vec<u8>,
}

/// A rule over one series or device.
struct Instance {
    rule: Arc<Rule>,
    key: Key,
    names: Names,
    state: RuleState,
}

impl Evaluator {
    pub(super) fn new(file_id: [u8; 16], node_id: String) -> Self {
        Evaluator {
            file_id,
            node_id,
            rules: Vec::new(),
            about_time: false,
            series: HashMap::new(),
            instances: Vec::new(),
            by_key: HashMap::new(),
            parked: HashMap::new(),
            uptime_ms: 0,
            state_bytes: 0,
        }
    }

    /// Goes on with other rules from the next reading on. A rule that was changed keeps what it has seen, so that an
    /// incident that is open can still clear; one that is gone or switched off forgets it.
    pub(super) fn set_rules(&mut self, rules: &BTreeMap<RecordId, Arc<Rule>>) {
        self.park();
        self.rules = rules.values().cloned().collect();
        self.about_time = self.rules.iter().any(|rule| rule.is_about_time());
        self.parked.retain(|(rule, _), _| rules.contains_key(rule));
    }

    fn park(&mut self) {
        self.series.clear();
        self.by_key.clear();
        for instance in self.instances.drain(..) {
            self.parked
                .insert((instance.rule.id, instance.key), instance.state);
        }
    }

    /// Whether any reading could have an effect.
    pub(super) fn is_idle(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether time alone could have one.
    pub(super) fn is_about_time(&self) -> bool {
        self.about_time
    }

    /// Tells it of series that were heard before: rules about time look at them without waiting for a reading. Those
    /// that are new to a rule about silence count from now on.
    pub(super) fn listen(
        &mut self,
        known: impl Iterator<Item = (SeriesId, Names)>,
        now_ms: i64,
        position: i64,
    ) {
        if !self.about_time {
            return;
        }
        let rules = self.rules.clone();
        for (series, names) in known {
            let wanted = rules
                .iter()
                .any(|rule| rule.is_about_time() && rule.watch(&names.0, &names.1).is_some());
            if wanted && !self.series.contains_key(&series) {
                self.watch(series, &names);
            }
        }
        let uptime_ms = self.uptime_ms;
        for instance in &mut self.instances {
            if instance.rule.measure == Measure::NoData {
                instance
                    .state
                    .begin_listening(now_ms, uptime_ms, position.unsigned_abs());
            }
        }
    }

    /// Evaluates the next reading. `names` is asked once per series; a series that it does not know is passed over.
    pub(super) fn evaluate(
        &mut self,
        reading: &StoredReading,
        names: &mut dyn FnMut(SeriesId) -> Option<Names>,
        around: &Surroundings<'_>,
        effects: &mut Vec<Effect>,
    ) {
        if reading.flags & flags::APPROVED == 0 || self.rules.is_empty() {
            return;
        }
        if !self.series.contains_key(&reading.series) {
            let Some(names) = names(reading.series) else {
                return;
            };
            self.watch(reading.series, &names);
        }
        let Some(slots) = self.series.get(&reading.series) else {
            return;
        };
        if slots.is_empty() {
            return;
        }
        let sample = Sample {
            value: reading.value,
            at_ms: effective_time_ms(
                (reading.flags & flags::DEVICE_TIME != 0).then_some(reading.at_ms),
                reading.received_ms,
            ),
            received_ms: reading.received_ms,
            position: reading.position.unsigned_abs(),
            uptime_ms: self.uptime_ms,
        };
        for slot in slots {
            let Some(instance) = self.instances.get_mut(slot.instance) else {
                continue;
            };
            let event = step(&instance.rule, &mut instance.state, &slot.inputs, &sample);
            if let Some(event) = event {
                let id = instance.incident_id(&self.file_id, reading.position);
                instance.effect(event, id, &self.node_id, around, effects);
            }
        }
    }

    /// Evaluates that time has passed: `passed_ms` since the tick before, by a clock that nobody can set. To be called
    /// only when every reading that arrived before has been evaluated.
    pub(super) fn tick(
        &mut self,
        passed_ms: i64,
        now_ms: i64,
        around: &Surroundings<'_>,
        effects: &mut Vec<Effect>,
    ) {
        self.pass(passed_ms);
        if !self.about_time {
            return;
        }
        let now = Tick {
            at_ms: now_ms,
            uptime_ms: self.uptime_ms,
        };
        for instance in &mut self.instances {
            if !needs_ticks(&instance.rule, &instance.state) {
                continue;
            }
            // Nobody waits for a device that is switched off. (A virtual device has no document.)
            let about_silence = instance.rule.measure == Measure::NoData;
            if about_silence && !(around.approved)(&instance.names.0) {
                instance.state.pause_listening(now.uptime_ms);
                continue;
            }
            if let Some(event) = tick(&instance.rule, &mut instance.state, &now) {
                // The same silence has the same incident, whichever tick notices it.
                let position = event.from_position().unwrap_or_default();
                let position = i64::try_from(position).unwrap_or(i64::MAX);
                let id = instance.incident_id(&self.file_id, position);
                instance.effect(event, id, &self.node_id, around, effects);
            }
        }
    }

    /// Time passed in which nothing could be judged.
    pub(super) fn pass(&mut self, passed_ms: i64) {
        self.uptime_ms = self.uptime_ms.saturating_add(passed_ms.max(0));
    }

    /// What was to go on in one incident goes on in another.
    pub(super) fn reattach(&mut self, from: [u8; 16], to: [u8; 16]) {
        for instance in &mut self.instances {
            instance.state.reattach(from, to);
        }
    }

    fn watch(&mut self, series: SeriesId, names: &Names) {
        if self.instances.len() + self.parked.len() > STATES_MAX
            || self.state_bytes > STATE_BYTES_MAX
        {
            self.forget_clear();
        }
        let mut slots = Vec::new();
        for rule in &self.rules {
            let Some(watch) = rule.watch(&names.0, &names.1) else {
                continue;
            };
            let (key, shown) = match watch.scope {
                Scope::Series => (Key::Series(series.0), names.clone()),
                Scope::Device(device) => {
                    let device: Arc<str> = device.into();
                    (
                        Key::Device(Arc::clone(&device)),
                        (device, rule.channel.as_str().into()),
                    )
                }
            };
            let whole = (rule.id, key);
            let instance = match self.by_key.get(&whole) {
                Some(instance) => *instance,
                None => {
                    self.instances.push(Instance {
                        rule: Arc::clone(rule),
                        key: whole.1.clone(),
                        names: shown,
                        state: self.parked.remove(&whole).unwrap_or_default(),
                    });
                    self.by_key.insert(whole, self.instances.len() - 1);
                    self.instances.len() - 1
                }
            };
            slots.push(Slot {
                instance,
                inputs: watch.inputs,
            });
        }
        self.series.insert(series, slots);
    }

    fn forget_clear(&mut self) {
        let before = self.instances.len() + self.parked.len();
        for instance in &mut self.instances {
            let silence = instance.rule.measure == Measure::NoData;
            if !silence && !instance.state.is_raised() {
                instance.state = RuleState::default();
            }
        }
        // What has not sent since the start is not looked at, so that nothing is lost from memory but its state.
        self.parked.retain(|_, state| state.is_raised());
        if self.instances.len() > STATES_MAX {
            self.park();
            self.parked.retain(|_, state| state.is_raised());
        }
        let live = self.instances.iter().map(|instance| &instance.state);
        let states = live.chain(self.parked.values());
        self.state_bytes = states.map(RuleState::size_bytes).sum();
        tracing::warn!(
            states = before,
            "rules look at more series than fit into memory: those that are clear begin anew"
        );
    }

    /// What the cursor keeps.
    pub(super) fn save(&mut self) -> Vec<u8> {
        let live = self
            .instances
            .iter()
            .map(|instance| (&instance.rule.id, &instance.key, &instance.state));
        let parked = self
            .parked
            .iter()
            .map(|((rule, key), state)| (rule, key, state));
        let bytes = live.clone().chain(parked.clone());
        self.state_bytes = bytes.map(|(_, _, state)| state.size_bytes()).sum();
        saved::to_bytes(self.uptime_ms, live.chain(parked))
    }

    /// Takes in what [`Evaluator::save`] gave.
    ///
    /// # Errors
    /// It was written by a version that is not known; evaluation then begins anew at the cursor's position.
    pub(super) fn restore(&mut self, bytes: &[u8]) -> Result<(), postcard::Error> {
        let saved = saved::from_bytes(bytes)?;
        self.uptime_ms = saved.uptime_ms;
        self.parked = saved.states;
        Ok(())
    }
}

impl Instance {
    /// UUIDv8 of one raise, the same whenever this reading is evaluated.
    fn incident_id(&self, file_id: &[u8; 16], position: i64) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_derive_key("muster 2026 incident of a rule v1");
        hasher.update(file_id);
        hasher.update(&self.rule.id.0);
        match &self.key {
            Key::Series(series) => hasher.update(&series.to_le_bytes()),
            Key::Device(device) => hasher.update(device.as_bytes()),
        };
        hasher.update(&position.to_le_bytes());
        domain::ids::hashed_id(Kind::Incident.spec().code, &hasher).0
    }

    fn effect(
        &mut self,
        event: RuleEvent,
        new_id: [u8; 16],
        node_id: &str,
        around: &Surroundings<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let rule = &self.rule;
        let open = |at_ms, value, peak: domain::rules::Peak, from_ms, steps| {
            let (device, channel) = (&self.names.0, &self.names.1);
            let mut fields = rule.incident_fields(device, channel, at_ms, value, steps);
            fields.insert("status".into(), json!("reported"));
            fields.insert("peak".into(), peak_field(peak.at_ms, peak.value));
            fields.insert("evidence".into(), evidence(node_id, from_ms, at_ms));
            if let Some(location) = (around.location)(device) {
                fields.insert("location".into(), location);
            }
            fields
        };
        let severity = |fields: &mut Map<String, Value>, steps: Option<u8>| {
            if let Some(steps) = steps {
                fields.insert("severity".into(), json!(rule.severity(steps)));
            }
        };
        let update = |incident_id, fields| {
            Effect::Do(RuleEffect::Update {
                incident_id,
                fields,
            })
        };
        match event {
            RuleEvent::Raise {
                at_ms,
                value,
                peak,
                evidence_from_ms,
                severity_steps,
                ..
            } => {
                let fields = open(at_ms, value, peak, evidence_from_ms, severity_steps);
                self.state.attach_incident(new_id);
                effects.push(Effect::Do(RuleEffect::Open {
                    incident_id: new_id,
                    fields,
                }));
            }
            RuleEvent::Reopen {
                incident,
                at_ms,
                value,
                peak,
                evidence_from_ms,
                severity_steps,
                ..
            } => {
                let mut changes = Map::from_iter([
                    ("cleared_at".to_owned(), Value::Null),
                    ("peak".to_owned(), peak_field(peak.at_ms, peak.value)),
                ]);
                changes.insert(
                    "evidence".into(),
                    evidence(node_id, evidence_from_ms, at_ms),
                );
                severity(&mut changes, severity_steps);
                let steps = self.state.severity_steps();
                effects.push(Effect::Reopen {
                    incident_id: incident,
                    changes,
                    fresh_id: new_id,
                    fresh: open(at_ms, value, peak, evidence_from_ms, steps),
                });
            }
            RuleEvent::Peak {
                incident: Some(incident),
                peak,
                severity_steps,
            } => {
                let mut fields =
                    Map::from_iter([("peak".to_owned(), peak_field(peak.at_ms, peak.value))]);
                severity(&mut fields, severity_steps);
                effects.push(update(incident, fields));
            }
            RuleEvent::Clear {
                incident: Some(incident),
                at_ms,
                peak,
                evidence_from_ms,
            } => {
                let fields = Map::from_iter([
                    ("cleared_at".to_owned(), json!(rfc3339(at_ms))),
                    ("peak".to_owned(), peak_field(peak.at_ms, peak.value)),
                    (
                        "evidence".to_owned(),
                        evidence(node_id, evidence_from_ms, at_ms),
                    ),
                ]);
                effects.push(update(incident, fields));
            }
            // Without an incident there is nothing to record it in; a raise always attaches one.
            RuleEvent::Peak { incident: None, .. } | RuleEvent::Clear { incident: None, .. } => {}
        }
    }
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

    fn rules(fields: Value) -> BTreeMap<RecordId, Arc<Rule>> {
        let rule = Rule::from_fields(RULE, fields.as_object().unwrap())
            .unwrap()
            .unwrap();
        BTreeMap::from([(RULE, Arc::new(rule))])
    }

    fn high_water() -> BTreeMap<RecordId, Arc<Rule>> {
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

    const AROUND: Surroundings<'static> = Surroundings {
        location: &|_| Some(Value::Null),
        approved: &|_| true,
    };

    fn effects(evaluator: &mut Evaluator, readings: &[StoredReading]) -> Vec<RuleEffect> {
        let mut effects = Vec::new();
        for reading in readings {
            let around = Surroundings {
                location: &|_| Some(json!({"lat": 1.0, "lon": 2.0})),
                ..AROUND
            };
            evaluator.evaluate(reading, &mut names, &around, &mut effects);
        }
        plain(effects)
    }

    fn plain(effects: Vec<Effect>) -> Vec<RuleEffect> {
        let plain = effects.into_iter().map(|effect| match effect {
            Effect::Do(effect) => effect,
            Effect::Reopen {
                incident_id,
                changes,
                ..
            } => RuleEffect::Update {
                incident_id,
                fields: changes,
            },
        });
        plain.collect()
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
        rule.limits.clear = 3.9;
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

    /// What the last version with format 1 wrote after a rule with `for_s` 60 and `hold_s` 30 had raised on series 1 (an
    /// incident of reading 6) and had begun to wait on series 3.
    const FORMAT_1: &str = "0102070707070707070707070707070707070301a09ab7949567a09ab79495670080e50801c0a907e0deb594\
        956738a09ab7949567666666666666164000070707070707070707070707070707070101808db1949567808db19495670080e50802c0d1af\
        949567808db19495676666666666661640c0d1af9495670000000000001640c0a907000189a2a1e18d158c419cfac96770eeb06380a8a894\
        9567";

    #[test]
    fn a_cursor_of_format_1_goes_on_where_it_stood() {
        let bytes: Vec<u8> = (0..FORMAT_1.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&FORMAT_1[at..at + 2], 16).unwrap())
            .collect();
        let mut evaluator = Evaluator::new([1; 16], "node".into());
        evaluator.restore(&bytes).unwrap();
        evaluator.set_rules(&rules(json!({
            "name": "high water", "enabled": true, "kind": "threshold",
            "match": {"device": "river-*", "channel": "level"},
            "raise_above": 4.0, "clear_below": 3.0, "for_s": 60, "hold_s": 30,
            "incident": {"title": "x"},
        })));
        let gauge = |series: u32, at_s: i64, value: f64| StoredReading {
            series: SeriesId(series),
            ..reading(at_s, value)
        };
        let mut seen = Vec::new();
        for reading in [gauge(1, 100, 1.0), gauge(3, 170, 5.0), gauge(1, 171, 1.0)] {
            let mut names = |_| Some(("river-01".into(), "level".into()));
            evaluator.evaluate(&reading, &mut names, &AROUND, &mut seen);
        }
        let [
            RuleEffect::Open { fields: opened, .. },
            RuleEffect::Update {
                incident_id,
                fields,
            },
        ] = &plain(seen)[..]
        else {
            panic!("one waited, one was raised")
        };
        // Format 1 remembered since when it was true, and which incident it is.
        assert_eq!(opened["evidence"][0]["from"], "2026-03-01T12:01:50Z");
        assert_eq!(incident_id[..4], [0x89, 0xa2, 0xa1, 0xe1]);
        assert_eq!(fields["evidence"][0]["from"], "2026-03-01T12:00:00Z");
    }

    fn every_kind() -> BTreeMap<RecordId, Arc<Rule>> {
        let common = json!({
            "name": "r", "enabled": true, "match": {"device": "river-*", "channel": "level"},
            "raise_above": 4.0, "clear_below": 3.0, "hold_s": 3, "reopen_s": 20, "incident": {"title": "{value}"},
        });
        let kinds = [
            json!({"kind": "threshold"}),
            json!({"kind": "rate", "window_s": 30}),
            json!({"kind": "no_data", "after_s": 20, "raise_above": null, "clear_below": null}),
            json!({"kind": "no_data", "after_s": 30, "raise_above": null, "clear_below": null,
                "match": {"device": "*", "channel": "*"}}),
            json!({"kind": "deviation", "window_s": 60, "spread_min": 0.5}),
            json!({"kind": "sta_lta", "sta_s": 2, "lta_s": 20}),
            json!({"kind": "expression", "match": {"device": "*", "channel": "both"}, "expression": {
                "formula": "level + battery / 25", "inputs": [
                    {"name": "level", "channel": "level", "function": "mean", "window_s": 10},
                    {"name": "battery", "channel": "battery_pct"}]}}),
        ];
        let rules = (1..).zip(kinds).map(|(n, kind)| {
            let mut fields = common.as_object().unwrap().clone();
            fields.extend(kind.as_object().unwrap().clone());
            let id = RecordId([n; 16]);
            (
                id,
                Arc::new(Rule::from_fields(id, &fields).unwrap().unwrap()),
            )
        });
        rules.collect()
    }

    /// A reading of one of both series, or a second that passes.
    #[derive(Clone, Copy, Debug)]
    enum Turn {
        Reading(StoredReading),
        Tick(i64),
    }

    fn play(evaluator: &mut Evaluator, turns: &[Turn]) -> Vec<RuleEffect> {
        let mut effects = Vec::new();
        for turn in turns {
            match turn {
                Turn::Reading(reading) => {
                    evaluator.evaluate(reading, &mut names, &AROUND, &mut effects);
                }
                Turn::Tick(now_ms) => evaluator.tick(1000, *now_ms, &AROUND, &mut effects),
            }
        }
        plain(effects)
    }

    /// Two sensors that fall silent now and then, on a river that rises and falls.
    fn day(seed: i64) -> Vec<Turn> {
        (1..300)
            .flat_map(|n| {
                let noise = (n * 7919 + seed * 104_729) % 1009;
                let value = 3.0 + 2.5 * ((n + seed) as f64 / 9.0).sin() + noise as f64 / 1000.0;
                let late_ms = if noise % 13 == 0 { 7000 } else { 0 };
                let silent = (n / 40) % 2 == 1 && (seed + n / 40) % 3 == 0;
                let turn = StoredReading {
                    series: SeriesId(1 + u32::from(noise % 5 == 0)),
                    at_ms: reading(n, 0.0).at_ms - late_ms,
                    ..reading(n, value)
                };
                let tick = Turn::Tick(turn.received_ms + 500);
                let heard = (!silent).then_some(Turn::Reading(turn));
                heard.into_iter().chain([tick])
            })
            .collect()
    }

    #[test]
    fn a_crash_anywhere_changes_nothing_for_any_kind() {
        for seed in 0..8 {
            let turns = day(seed);
            let start = || {
                let mut evaluator = Evaluator::new([1; 16], "node".into());
                evaluator.set_rules(&every_kind());
                evaluator
            };
            let whole = play(&mut start(), &turns);
            let opened = |effects: &[RuleEffect]| {
                let opens = effects
                    .iter()
                    .filter(|effect| matches!(effect, RuleEffect::Open { .. }));
                opens.count()
            };
            assert!(opened(&whole) > 6, "{}", opened(&whole));
            for cut in (0..turns.len()).step_by(17) {
                let (before, after) = turns.split_at(cut);
                let mut first = start();
                let mut seen = play(&mut first, before);
                // What came after the cursor was committed is done again: it must do the same.
                let saved = first.save();
                let lost = play(&mut first, &after[..after.len().min(40)]);
                let mut second = start();
                second.restore(&saved).unwrap();
                second.set_rules(&every_kind());
                let known = [1, 2].map(SeriesId).map(|id| (id, names(id).unwrap()));
                second.listen(known.into_iter(), 0, 0);
                let again = play(&mut second, after);
                assert_eq!(
                    format!("{lost:?}"),
                    format!("{:?}", &again[..lost.len()]),
                    "seed {seed}, cut at {cut}"
                );
                seen.extend(again);
                assert_eq!(
                    format!("{seen:?}"),
                    format!("{whole:?}"),
                    "seed {seed}, cut at {cut}"
                );
            }
        }
    }

    fn silent_after_20_s(channel: &str) -> Evaluator {
        let mut evaluator = Evaluator::new([1; 16], "node".into());
        evaluator.set_rules(&rules(json!({
            "name": "silent", "enabled": true, "kind": "no_data", "after_s": 20,
            "match": {"device": "river-*", "channel": channel}, "incident": {"title": "{device} {value}"},
        })));
        evaluator
    }

    fn ticks(evaluator: &mut Evaluator, number: i64, approved: bool) -> Vec<RuleEffect> {
        let mut effects = Vec::new();
        let around = Surroundings {
            approved: &|_| approved,
            ..AROUND
        };
        for _ in 0..number {
            evaluator.tick(1000, 1_772_366_500_000, &around, &mut effects);
        }
        plain(effects)
    }

    #[test]
    fn what_was_heard_before_the_rule_is_silent_from_the_rule_on() {
        let mut evaluator = silent_after_20_s("level");
        let known = [1, 2].map(SeriesId).map(|id| (id, names(id).unwrap()));
        evaluator.listen(known.into_iter(), 1_772_366_400_000, 77);
        assert!(ticks(&mut evaluator, 20, true).is_empty());
        let raised = ticks(&mut evaluator, 1, true);
        let [RuleEffect::Open { fields, .. }] = &raised[..] else {
            panic!("{raised:?}")
        };
        assert_eq!(fields["source"]["channel"], "level");
        domain::check_node_fields(domain::Kind::Incident, fields).unwrap();
    }

    #[test]
    fn any_channel_counts_for_a_device_as_a_whole_and_a_disabled_one_is_not_missed() {
        let mut evaluator = silent_after_20_s("*");
        effects(&mut evaluator, &[reading(1, 1.0)]);
        for n in 0..5 {
            assert!(ticks(&mut evaluator, 15, true).is_empty());
            let battery = StoredReading {
                series: SeriesId(2),
                ..reading(n + 2, 90.0)
            };
            effects(&mut evaluator, &[battery]);
        }
        assert!(ticks(&mut evaluator, 1000, false).is_empty());
        assert!(ticks(&mut evaluator, 20, true).is_empty());
        assert_eq!(ticks(&mut evaluator, 1, true).len(), 1);
    }

    #[test]
    fn states_that_do_not_fit_begin_anew_and_what_is_raised_stays() {
        let mut evaluator = evaluator();
        evaluator.set_rules(&every_kind());
        let raised = play(&mut evaluator, &day(1)[..100]);
        assert!(!raised.is_empty());
        let before = evaluator
            .instances
            .iter()
            .filter(|i| i.state.is_raised())
            .count();
        evaluator.save();
        assert!(evaluator.state_bytes > 2000);
        evaluator.state_bytes = STATE_BYTES_MAX + 1;
        evaluator.watch(SeriesId(3), &("river-03".into(), "level".into()));
        assert!(evaluator.state_bytes < STATE_BYTES_MAX);
        let after = evaluator
            .instances
            .iter()
            .filter(|i| i.state.is_raised())
            .count();
        assert_eq!(before, after);
    }

    #[test]
    fn a_state_of_another_version_is_refused() {
        assert!(evaluator().restore(&[]).is_err());
        assert!(evaluator().restore(&[99, 1, 2]).is_err());
        assert!(evaluator().restore(&[1, 0xff, 0xff]).is_err());
        assert!(evaluator().restore(&[2, 0xff, 0xff]).is_err());
    }
}
