//! What a rule looks at: each kind makes one value of what it hears, and [`super::machine`] does the rest.
//!
//! Invariant: evaluation is a pure function of rule, state and sample or tick; what a state holds is bounded.

use serde::{Deserialize, Serialize};

use super::clock::{Place, Stretch, window_time_ms};
use super::formula::Formula;
use super::machine::{Machine, Moment, Phase, RuleEvent};
use super::normal::Normal;
use super::seen::InputSeen;
use super::sta_lta::Energy;
use super::weather::{self, Hours};
use super::window::{Of, Window};
use super::{Level, Rule};

/// One reading as a rule sees it. The value is finite; decoders let nothing else through.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// The value.
    pub value: f64,
    /// The time it is stored under, which is what people see of it: its own, or that of its receipt.
    pub at_ms: i64,
    /// When this node received it.
    pub received_ms: i64,
    /// Its place in this node's readings.
    pub position: u64,
    /// How long this node has listened in all, by a clock that nobody can set; as of the last tick.
    pub uptime_ms: i64,
}

/// Time that passed, whether or not anything was heard.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tick {
    /// The node's clock, for people.
    pub at_ms: i64,
    /// As in [`Sample`].
    pub uptime_ms: i64,
}

/// What value a rule makes of readings.
#[derive(Debug, Clone, PartialEq)]
pub enum Measure {
    /// The reading itself.
    Value,
    /// How far it rose (or fell, for a rule that looks down) within the last so many milliseconds.
    Rate {
        /// The window.
        window_ms: i64,
    },
    /// For how many seconds nothing was heard.
    NoData,
    /// How many spreads it lies from the normal of the last so many milliseconds.
    Deviation {
        /// The window.
        window_ms: i64,
        /// The least spread, in the unit of the series.
        spread_min: f64,
        /// Whether below counts as above.
        either_way: bool,
    },
    /// Short-term over long-term average of energy.
    StaLta {
        /// Length of the short average.
        sta_ms: f64,
        /// Length of the long one.
        lta_ms: f64,
    },
    /// A formula over several channels.
    Expression(Box<Expression>),
}

/// A virtual sensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    /// What is computed.
    pub formula: Formula,
    /// Of what.
    pub inputs: Vec<Input>,
    /// Inputs older than this do not count.
    pub fresh_ms: i64,
}

/// One input of a virtual sensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// What the formula calls it.
    pub name: String,
    /// A device by name; `None` for the device that the rule looks at.
    pub device: Option<String>,
    /// The channel.
    pub channel: String,
    /// The unit in which the formula wants it.
    pub unit: Option<String>,
    /// What is taken of it.
    pub function: Function,
}

/// What is taken of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// The last value.
    Last,
    /// The last value less the smallest of the window.
    Rise(i64),
    /// The smallest of the window.
    Min(i64),
    /// The greatest of the window.
    Max(i64),
    /// The mean of the window.
    Mean(i64),
    /// Air quality index of the NowCast of fine particles.
    NowcastAqiPm25,
    /// The same of coarse particles.
    NowcastAqiPm10,
}

/// What a rule has seen so far on one series or device; stored with the cursor over the readings.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RuleState {
    pub(super) machine: Machine,
    pub(super) memory: Memory,
}

/// What a kind remembers of the readings.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) enum Memory {
    #[default]
    Nothing,
    Window(Box<(Stretch, Window)>),
    Normal(Box<(Stretch, Normal)>),
    Energy(Box<(Stretch, Energy)>),
    Heard(Heard),
    Inputs(Vec<InputMemory>),
}

/// When something was heard last.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Heard {
    uptime_ms: i64,
    at_ms: i64,
    position: u64,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct InputMemory {
    stretch: Stretch,
    /// `None` before the first, and while there is no answer.
    value: Option<f64>,
    received_ms: i64,
    past: Past,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
enum Past {
    #[default]
    Nothing,
    Window(Box<Window>),
    Hours(Box<Hours>),
}

impl RuleState {
    /// Whether it has raised and not cleared.
    pub fn is_raised(&self) -> bool {
        matches!(self.machine.phase, Phase::Raised(_))
    }

    /// The incident that was attached to what is raised now.
    pub fn incident(&self) -> Option<[u8; 16]> {
        match &self.machine.phase {
            Phase::Raised(raised) => raised.incident,
            _ => None,
        }
    }

    /// Remembers the incident that was opened for the raise that just happened.
    pub fn attach_incident(&mut self, incident: [u8; 16]) {
        if let Phase::Raised(raised) = &mut self.machine.phase {
            raised.incident = Some(incident);
        }
    }

    /// About how much memory it takes.
    pub fn size_bytes(&self) -> usize {
        let past = match &self.memory {
            Memory::Nothing | Memory::Heard(_) => 0,
            Memory::Window(_) => WINDOW_BYTES,
            Memory::Normal(_) => NORMAL_BYTES,
            Memory::Energy(_) => size_of::<(Stretch, Energy)>(),
            Memory::Inputs(inputs) => inputs
                .iter()
                .map(|input| match &input.past {
                    Past::Nothing => size_of::<InputMemory>(),
                    Past::Window(_) => size_of::<InputMemory>() + WINDOW_BYTES,
                    Past::Hours(_) => size_of::<InputMemory>() + size_of::<Hours>(),
                })
                .sum(),
        };
        size_of::<RuleState>() + past
    }

    /// How many levels of severity have been reached by what is raised now.
    pub fn severity_steps(&self) -> u8 {
        match &self.machine.phase {
            Phase::Raised(raised) => raised.severity_steps,
            _ => 0,
        }
    }

    /// Goes on in another incident than the one that it is attached to.
    pub fn reattach(&mut self, from: [u8; 16], to: [u8; 16]) {
        if let Phase::Raised(raised) = &mut self.machine.phase
            && raised.incident == Some(from)
        {
            raised.incident = Some(to);
        }
        self.machine.reattach_cleared(from, to);
    }

    /// Silence does not count for a rule about it while nothing is expected to be heard.
    pub fn pause_listening(&mut self, uptime_ms: i64) {
        if let Memory::Heard(heard) = &mut self.memory {
            heard.uptime_ms = uptime_ms;
        }
    }

    /// As if something had been heard at that time: a rule about silence counts from there on. Changes nothing where
    /// something was heard before.
    pub fn begin_listening(&mut self, at_ms: i64, uptime_ms: i64, position: u64) {
        if !matches!(self.memory, Memory::Heard(_)) {
            self.machine.count_uptime(&self.memory, uptime_ms);
            self.memory = Memory::Heard(Heard {
                uptime_ms,
                at_ms,
                position,
            });
        }
    }
}

/// A full window and a full normal, with their boxes.
const WINDOW_BYTES: usize = 1600;
const NORMAL_BYTES: usize = 1200;

impl Machine {
    /// Durations of a rule about silence run on the time that this node has listened. Where its state was that of
    /// another kind, which ran on the sensors' time, both would never meet.
    fn count_uptime(&mut self, memory: &Memory, uptime_ms: i64) {
        if matches!(memory, Memory::Heard(_)) {
            self.time.elapsed_ms = self.time.elapsed_ms.max(uptime_ms);
        } else {
            self.begin_at(uptime_ms);
        }
    }
}

/// What a rule made of a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// The value that it looks at; `None` where there is none yet.
    pub value: Option<f64>,
    /// What it led to.
    pub event: Option<RuleEvent>,
}

/// Evaluates one sample. Samples are given once each, in the order of their positions. `inputs` says which inputs of a
/// virtual sensor it is, and means nothing to other kinds.
pub fn step(rule: &Rule, state: &mut RuleState, inputs: &[u8], sample: &Sample) -> Step {
    let RuleState { machine, memory } = state;
    let mut moment = Moment {
        at_ms: sample.at_ms,
        received_ms: sample.received_ms,
        from_ms: sample.at_ms,
        position: sample.position,
        late: false,
        silenced: !rule.is_on || rule.silence.covers(sample.received_ms),
    };
    let value = measured(rule, machine, memory, inputs, sample, &mut moment);
    let event = value
        .and_then(|value| machine.judge(&rule.limits, &moment, value))
        // The end brings the peak with it.
        .filter(|event| rule.is_on || matches!(event, RuleEvent::Clear { .. }));
    Step { value, event }
}

/// The value that a rule looks at, now that a sample came; `moment` learns what that means for it.
fn measured(
    rule: &Rule,
    machine: &mut Machine,
    memory: &mut Memory,
    inputs: &[u8],
    sample: &Sample,
    moment: &mut Moment,
) -> Option<f64> {
    match &rule.measure {
        Measure::Value => {
            moment.late = machine.time.advance(sample);
            Some(sample.value)
        }
        Measure::Rate { window_ms } => {
            moment.late = machine.time.advance(sample);
            if !matches!(memory, Memory::Window(_)) {
                *memory = Memory::Window(Box::default());
            }
            let Memory::Window(past) = memory else {
                return None;
            };
            let (stretch, window) = &mut **past;
            // A rise is counted from the lowest of the window, a fall from the highest.
            let of = match rule.limits.raise {
                Level::Above(_) => Of::Min,
                Level::Below(_) => Of::Max,
            };
            let from = window.push(*window_ms, of, stretch.advance(sample), sample.value);
            from.map(|from| sample.value - from)
        }
        Measure::NoData => {
            moment.at_ms = sample.received_ms;
            moment.from_ms = sample.received_ms;
            machine.count_uptime(memory, sample.uptime_ms);
            *memory = Memory::Heard(Heard {
                uptime_ms: sample.uptime_ms,
                at_ms: sample.received_ms,
                position: sample.position,
            });
            Some(0.0)
        }
        Measure::Deviation {
            window_ms,
            spread_min,
            either_way,
        } => {
            moment.late = machine.time.advance(sample);
            if !matches!(memory, Memory::Normal(_)) {
                *memory = Memory::Normal(Box::default());
            }
            let Memory::Normal(past) = memory else {
                return None;
            };
            let (stretch, normal) = &mut **past;
            let place = stretch.advance(sample);
            let score = normal.score(*window_ms, sample.value, *spread_min);
            let score = score.map(|score| if *either_way { score.abs() } else { score });
            let unusual = score.is_some_and(|score| !rule.limits.clears(score));
            normal.learn(*window_ms, place, sample.value, unusual);
            score.filter(|_| place != Place::Passed)
        }
        Measure::StaLta { sta_ms, lta_ms } => {
            moment.late = machine.time.advance(sample);
            if !matches!(memory, Memory::Energy(_)) {
                *memory = Memory::Energy(Box::default());
            }
            let Memory::Energy(past) = memory else {
                return None;
            };
            let (stretch, energy) = &mut **past;
            energy.push(stretch.advance(sample), sample.value, *sta_ms, *lta_ms)
        }
        Measure::Expression(expression) => {
            // Its inputs may come from several clocks: how long it holds is measured by the one that they share.
            machine.time.advance(&Sample {
                at_ms: sample.received_ms,
                ..*sample
            });
            let memories = expression.memories(memory);
            expression.hear(memories, inputs, sample);
            moment.late = memories.iter().any(InputMemory::is_behind);
            expression.value(memories, sample.received_ms)
        }
    }
}

/// Evaluates that time has passed: a silence that lasts too long, and the end of a time in which nothing was to be
/// raised. It never clears anything: only data does.
pub fn tick(rule: &Rule, state: &mut RuleState, tick: &Tick) -> Option<RuleEvent> {
    let RuleState { machine, memory } = state;
    let silenced = rule.silence.covers(tick.at_ms);
    if let (Measure::NoData, Memory::Heard(heard)) = (&rule.measure, memory) {
        let silent_ms = heard.silent_ms(tick.uptime_ms);
        machine.time.elapsed_ms = machine.time.elapsed_ms.max(tick.uptime_ms);
        let moment = Moment {
            at_ms: tick.at_ms,
            received_ms: tick.at_ms,
            from_ms: heard.at_ms,
            position: heard.position,
            // Below the limit it says nothing yet; whether it is over, the next reading says.
            late: true,
            silenced,
        };
        return machine.judge(&rule.limits, &moment, silent_ms as f64 / 1000.0);
    }
    if silenced {
        return None;
    }
    machine.silence_ended(&rule.limits, tick.at_ms)
}

/// Whether ticks can mean anything to a rule in this state.
pub fn needs_ticks(rule: &Rule, state: &RuleState) -> bool {
    rule.is_on && (rule.measure == Measure::NoData || state.machine.is_due())
}

impl Expression {
    /// What it remembers of its inputs: nothing yet, where the state was that of another rule.
    fn memories<'m>(&self, memory: &'m mut Memory) -> &'m mut [InputMemory] {
        if !matches!(memory, Memory::Inputs(known) if known.len() == self.inputs.len()) {
            *memory = Memory::Inputs(vec![InputMemory::default(); self.inputs.len()]);
        }
        match memory {
            Memory::Inputs(known) => known,
            _ => &mut [],
        }
    }

    /// Takes a sample in as those inputs.
    fn hear(&self, memories: &mut [InputMemory], inputs: &[u8], sample: &Sample) {
        for index in inputs {
            let index = usize::from(*index);
            if let (Some(input), Some(past)) = (self.inputs.get(index), memories.get_mut(index)) {
                past.hear(input.function, sample);
            }
        }
    }

    /// Its value at that time of the node's clock; `None` while an input was never heard or is too old.
    pub(super) fn value(&self, memories: &[InputMemory], now_ms: i64) -> Option<f64> {
        let values: Option<Vec<f64>> = memories
            .iter()
            .map(|past| past.value.filter(|_| past.age_ms(now_ms) <= self.fresh_ms))
            .collect();
        self.formula.value(&values?)
    }
}

impl Heard {
    pub(super) fn silent_ms(&self, uptime_ms: i64) -> i64 {
        uptime_ms.saturating_sub(self.uptime_ms)
    }
}

impl InputMemory {
    /// Whether its value is of another time than now. What fills whole hours is in its place, whenever it came.
    fn is_behind(&self) -> bool {
        !matches!(self.past, Past::Hours(_)) && self.stretch.is_behind()
    }

    pub(super) fn seen(&self, now_ms: i64, fresh_ms: i64) -> InputSeen {
        InputSeen {
            value: self.value,
            received_ms: self.value.map(|_| self.received_ms),
            is_fresh: self.value.is_some() && self.age_ms(now_ms) <= fresh_ms,
        }
    }

    fn age_ms(&self, now_ms: i64) -> i64 {
        now_ms.saturating_sub(self.received_ms)
    }

    fn hear(&mut self, function: Function, sample: &Sample) {
        let place = self.stretch.advance(sample);
        let value = match function {
            Function::Last => {
                self.past = Past::Nothing;
                (place != Place::Passed).then_some(sample.value)
            }
            Function::Rise(window_ms) => self
                .window(window_ms, Of::Min, place, sample)
                .map(|least| sample.value - least),
            Function::Min(window_ms) => self.window(window_ms, Of::Min, place, sample),
            Function::Max(window_ms) => self.window(window_ms, Of::Max, place, sample),
            Function::Mean(window_ms) => self.window(window_ms, Of::Mean, place, sample),
            Function::NowcastAqiPm25 => return self.nowcast(&weather::PM25, sample),
            Function::NowcastAqiPm10 => return self.nowcast(&weather::PM10, sample),
        };
        if value.is_some() {
            self.value = value;
            self.received_ms = sample.received_ms;
        }
    }

    fn window(&mut self, window_ms: i64, of: Of, place: Place, sample: &Sample) -> Option<f64> {
        if !matches!(self.past, Past::Window(_)) {
            self.past = Past::Window(Box::default());
        }
        match &mut self.past {
            Past::Window(window) => window.push(window_ms, of, place, sample.value),
            _ => None,
        }
    }

    fn nowcast(&mut self, breakpoints: &weather::Breakpoints, sample: &Sample) {
        if !matches!(self.past, Past::Hours(_)) {
            self.past = Past::Hours(Box::default());
        }
        if let Past::Hours(hours) = &mut self.past {
            hours.push(window_time_ms(sample), sample.value);
            self.value = hours
                .nowcast()
                .map(|concentration| weather::aqi(breakpoints, concentration));
            self.received_ms = sample.received_ms;
        }
    }
}
