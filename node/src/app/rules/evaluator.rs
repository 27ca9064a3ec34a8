//! Rules over readings as a value: committed readings in, effects on incidents out. No IO, no clock.
//!
//! Invariants:
//! - The same readings and ticks from the same cursor give the same effects, incident ids included: what is evaluated
//!   again after a crash changes nothing twice.
//! - A reading that was not approved when it arrived has no effect, whatever is approved later.
//! - Ticks only raise: what clears is data.

mod effects;
mod seen;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use domain::RecordId;
use domain::rules::{Measure, Rule, RuleState, Sample, Scope, Tick, needs_ticks, step, tick};
use sensor_drivers::Calibrations;
use sensor_drivers::ucum::UnitFit;
use serde_json::Value;
use store::{SeriesId, SeriesInfo, StoredReading, flags};

use super::saved::{self, Key};
use crate::app::calibrations::CalibrationBook;

pub(super) use effects::Effect;
pub(super) use seen::{Place, Rank, Seen, Wanted};

/// States kept in memory and in the cursor, one per rule and series (or device) that it looks at. 200,000: every series
/// that a node may have, twice; some 200 bytes each for a threshold.
const STATES_MAX: usize = 200_000;

/// What the states may take together: a window is 1,600 bytes, and half of that in the cursor, all of which is written
/// with each alarm. Past either bound a state that is clear begins anew, which loses no incident.
const STATE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a series is called.
#[derive(Debug, Clone)]
pub(super) struct Names {
    pub(super) device: Arc<str>,
    pub(super) channel: Arc<str>,
    /// Empty for none.
    pub(super) unit: Arc<str>,
}

impl From<SeriesInfo> for Names {
    fn from(series: SeriesInfo) -> Self {
        Names {
            device: series.device,
            channel: series.channel,
            unit: series.unit,
        }
    }
}

/// What a node adds to what it measures.
pub(super) struct Surroundings<'a> {
    /// Where a device stands, as its document says.
    pub(super) location: &'a (dyn Fn(&str) -> Option<Value> + Sync),
    /// Whether a device is approved now.
    pub(super) approved: &'a (dyn Fn(&str) -> bool + Sync),
    /// What raw values mean.
    pub(super) calibrations: &'a CalibrationBook,
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
    /// For each series that was heard: who looks at it.
    series: HashMap<SeriesId, Watched>,
    instances: Vec<Instance>,
    by_key: HashMap<(RecordId, Key), usize>,
    /// From the cursor, for series that have not sent since.
    parked: HashMap<(RecordId, Key), Kept>,
    /// How long this node has listened in all; moved by ticks.
    uptime_ms: i64,
    /// What the states took when they were saved last.
    state_bytes: usize,
    /// See [`Evaluator::take_other_unit`].
    other_unit: u64,
}

/// A series that was heard.
struct Watched {
    slots: Vec<Slot>,
    /// How many rules would look at it if its unit converted into theirs.
    other_unit: u32,
    names: Names,
    calibrations: Option<Arc<Calibrations>>,
    /// The version of the book that they are from.
    calibrations_version: Option<u64>,
}

impl Watched {
    /// What a reading says in truth, by the calibration that is valid at its time as it is known now; as it came where
    /// there is none.
    fn value(&mut self, reading: &StoredReading, book: &CalibrationBook) -> f64 {
        let version = Some(book.version());
        if self.calibrations_version != version {
            self.calibrations = book.of(&self.names.device, &self.names.channel, &self.names.unit);
            self.calibrations_version = version;
        }
        self.calibrations
            .as_ref()
            .and_then(|calibrations| calibrations.apply(reading.value, reading.at_ms))
            .map_or(reading.value, |calibrated| calibrated.value)
    }
}

struct Slot {
    instance: usize,
    /// How its values become those that the rule wants.
    unit: UnitFit,
    /// Which inputs of the instance's expression.
    inputs: Vec<u8>,
}

/// A rule over one series or device.
struct Instance {
    rule: Arc<Rule>,
    key: Key,
    /// Device and channel that its incidents name.
    shown: (Arc<str>, Arc<str>),
    kept: Kept,
}

/// What was seen so far.
#[derive(Default)]
struct Kept {
    state: RuleState,
    /// Of this process: it is for people, and the cursor does without.
    last: Option<Last>,
}

/// The newest value of a rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Last {
    pub(super) value: f64,
    /// The reading that made it: its time, receipt and place.
    pub(super) at_ms: i64,
    pub(super) received_ms: i64,
    pub(super) position: u64,
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
            other_unit: 0,
        }
    }

    /// Goes on with other rules from the next reading on. A rule that was changed keeps what it has seen, so that an
    /// incident that is open can still clear; one that is switched off keeps what it has raised, and one that is gone
    /// nothing.
    pub(super) fn set_rules(&mut self, rules: &BTreeMap<RecordId, Arc<Rule>>) {
        self.park();
        // What measures something else has other values.
        let measures_other = |old: &&Arc<Rule>| {
            rules
                .get(&old.id)
                .is_none_or(|new| (&new.measure, &new.unit) != (&old.measure, &old.unit))
        };
        let other = self.rules.iter().filter(measures_other);
        let other: BTreeSet<RecordId> = other.map(|rule| rule.id).collect();
        for ((rule, _), kept) in &mut self.parked {
            kept.last = kept.last.filter(|_| !other.contains(rule));
        }
        self.parked.retain(|(rule, _), kept| {
            rules
                .get(rule)
                .is_some_and(|rule| rule.is_on || kept.state.is_raised())
        });
        let ending: BTreeSet<RecordId> = self.parked.keys().map(|(rule, _)| *rule).collect();
        let looks = |rule: &&Arc<Rule>| rule.is_on || ending.contains(&rule.id);
        self.rules = rules.values().filter(looks).cloned().collect();
        self.about_time = self.rules.iter().any(|rule| rule.is_about_time());
    }

    fn park(&mut self) {
        self.series.clear();
        self.by_key.clear();
        for instance in self.instances.drain(..) {
            // What a rule saw while it was off is nothing when it is switched on again.
            if instance.rule.is_on || instance.kept.state.is_raised() {
                self.parked
                    .insert((instance.rule.id, instance.key), instance.kept);
            }
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
            let wanted = rules.iter().any(|rule| {
                rule.is_about_time() && rule.watch(&names.device, &names.channel).is_some()
            });
            if wanted && !self.series.contains_key(&series) {
                self.watch(series, &names);
            }
        }
        let uptime_ms = self.uptime_ms;
        for instance in &mut self.instances {
            if instance.rule.measure == Measure::NoData {
                instance
                    .kept
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
        let Some(watched) = self.series.get_mut(&reading.series) else {
            return;
        };
        self.other_unit += u64::from(watched.other_unit);
        if watched.slots.is_empty() {
            return;
        }
        let sample = Sample {
            value: watched.value(reading, around.calibrations),
            at_ms: reading.at_ms,
            received_ms: reading.received_ms,
            position: reading.position.unsigned_abs(),
            uptime_ms: self.uptime_ms,
        };
        for slot in &watched.slots {
            let Some(instance) = self.instances.get_mut(slot.instance) else {
                continue;
            };
            let Some(value) = slot.unit.apply(sample.value) else {
                self.other_unit += 1;
                continue;
            };
            let sample = Sample { value, ..sample };
            let kept = &mut instance.kept;
            let step = step(&instance.rule, &mut kept.state, &slot.inputs, &sample);
            if let Some(value) = step.value {
                kept.last = Some(Last {
                    value,
                    at_ms: sample.at_ms,
                    received_ms: sample.received_ms,
                    position: sample.position,
                });
            }
            if let Some(event) = step.event {
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
            let state = &mut instance.kept.state;
            if !needs_ticks(&instance.rule, state) {
                continue;
            }
            // Nobody waits for a device that is switched off. (A virtual device has no document.)
            let about_silence = instance.rule.measure == Measure::NoData;
            if about_silence && !(around.approved)(&instance.shown.0) {
                state.pause_listening(now.uptime_ms);
                continue;
            }
            if let Some(event) = tick(&instance.rule, state, &now) {
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

    /// Readings that a rule passed over since this was asked last, because their unit does not convert into the rule's;
    /// one that two rules passed over counts twice.
    pub(super) fn take_other_unit(&mut self) -> u64 {
        std::mem::take(&mut self.other_unit)
    }

    /// What was to go on in one incident goes on in another.
    pub(super) fn reattach(&mut self, from: [u8; 16], to: [u8; 16]) {
        for instance in &mut self.instances {
            instance.kept.state.reattach(from, to);
        }
    }

    fn watch(&mut self, series: SeriesId, names: &Names) {
        if self.instances.len() + self.parked.len() > STATES_MAX
            || self.state_bytes > STATE_BYTES_MAX
        {
            self.forget_clear();
        }
        let mut slots = Vec::new();
        let mut other_unit = 0;
        for rule in &self.rules {
            let Some(watch) = rule.watch(&names.device, &names.channel) else {
                continue;
            };
            let unit = UnitFit::of(&names.unit, watch.unit);
            if unit == UnitFit::Foreign {
                other_unit += u32::from(rule.is_on);
                continue;
            }
            let (key, shown) = match watch.scope {
                Scope::Series => (
                    Key::Series(series.0),
                    (Arc::clone(&names.device), Arc::clone(&names.channel)),
                ),
                Scope::Device(device) => {
                    let device: Arc<str> = device.into();
                    (
                        Key::Device(Arc::clone(&device)),
                        (device, rule.channel.as_str().into()),
                    )
                }
            };
            let whole = (rule.id, key);
            let is_known = self.by_key.contains_key(&whole) || self.parked.contains_key(&whole);
            if !rule.is_on && !is_known {
                continue;
            }
            let instance = match self.by_key.get(&whole) {
                Some(instance) => *instance,
                None => {
                    self.instances.push(Instance {
                        rule: Arc::clone(rule),
                        key: whole.1.clone(),
                        shown,
                        kept: self.parked.remove(&whole).unwrap_or_default(),
                    });
                    self.by_key.insert(whole, self.instances.len() - 1);
                    self.instances.len() - 1
                }
            };
            slots.push(Slot {
                instance,
                unit,
                inputs: watch.inputs,
            });
        }
        let watched = Watched {
            slots,
            other_unit,
            names: names.clone(),
            calibrations: None,
            calibrations_version: None,
        };
        self.series.insert(series, watched);
    }

    fn forget_clear(&mut self) {
        let before = self.instances.len() + self.parked.len();
        for instance in &mut self.instances {
            let silence = instance.rule.measure == Measure::NoData;
            if !silence && !instance.kept.state.is_raised() {
                instance.kept.state = RuleState::default();
            }
        }
        // What has not sent since the start is not looked at, so that nothing is lost from memory but its state.
        self.parked.retain(|_, kept| kept.state.is_raised());
        if self.instances.len() > STATES_MAX {
            self.park();
            self.parked.retain(|_, kept| kept.state.is_raised());
        }
        let live = self.instances.iter().map(|instance| &instance.kept);
        let all = live.chain(self.parked.values());
        self.state_bytes = all.map(|kept| kept.state.size_bytes()).sum();
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
            .map(|instance| (&instance.rule.id, &instance.key, &instance.kept.state));
        let parked = self
            .parked
            .iter()
            .map(|((rule, key), kept)| (rule, key, &kept.state));
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
        let unseen = |state| Kept { state, last: None };
        let states = saved.states.into_iter();
        self.parked = states.map(|(key, state)| (key, unseen(state))).collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
