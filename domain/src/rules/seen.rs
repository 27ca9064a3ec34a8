//! What a rule has made of its readings by now, for people to look at.

use super::Rule;
use super::machine::{Peak, Phase};
use super::measure::{Measure, Memory, RuleState, Tick};

/// How a rule stands over one series or device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Standing {
    /// Nothing is beyond its level.
    Clear,
    /// Beyond its level, but not for long enough, or while it is silenced.
    Pending {
        /// Time of the first sample beyond the level, in milliseconds since 1970 UTC.
        since_ms: i64,
    },
    /// It has raised and not cleared.
    Raised {
        /// Where the evidence begins, in milliseconds since 1970 UTC.
        since_ms: i64,
        /// The worst value.
        peak: Peak,
        /// The incident that was opened for it.
        incident: Option<[u8; 16]>,
    },
}

/// What an input of a virtual sensor gives now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InputSeen {
    /// What was taken of the channel; `None` before the first.
    pub value: Option<f64>,
    /// When the sample behind it was received, in milliseconds since 1970 UTC; `None` before the first.
    pub received_ms: Option<i64>,
    /// Whether it is new enough to count.
    pub is_fresh: bool,
}

impl RuleState {
    /// How the rule stands.
    pub fn standing(&self) -> Standing {
        match &self.machine.phase {
            Phase::Clear => Standing::Clear,
            Phase::Pending(start) => Standing::Pending {
                since_ms: start.from_ms,
            },
            Phase::Raised(raised) => Standing::Raised {
                since_ms: raised.from_ms,
                peak: raised.peak,
                incident: raised.incident,
            },
        }
    }

    /// The value of a rule whose value changes without a reading: seconds of silence, and a formula whose inputs grow too
    /// old. `None` where a reading made it, and where there is none.
    pub fn value_now(&self, rule: &Rule, now: &Tick) -> Option<f64> {
        match (&rule.measure, &self.memory) {
            (Measure::NoData, Memory::Heard(heard)) => {
                Some(heard.silent_ms(now.uptime_ms) as f64 / 1000.0)
            }
            (Measure::Expression(expression), Memory::Inputs(inputs))
                if inputs.len() == expression.inputs.len() =>
            {
                expression.value(inputs, now.at_ms)
            }
            _ => None,
        }
    }

    /// What the inputs of a virtual sensor give at `now_ms` of the node's clock, in the order of the rule; empty for other
    /// kinds.
    pub fn inputs_seen(&self, rule: &Rule, now_ms: i64) -> Vec<InputSeen> {
        let (Measure::Expression(expression), Memory::Inputs(inputs)) =
            (&rule.measure, &self.memory)
        else {
            return Vec::new();
        };
        inputs
            .iter()
            .map(|input| input.seen(now_ms, expression.fresh_ms))
            .collect()
    }
}
