//! Rules over readings: which readings a rule looks at, and what it makes of them.
//!
//! ```text
//! reading or tick → measure (one value per kind) → machine (clear, pending, raised) → raise, reopen, peak, clear
//! ```
//!
//! Invariants: evaluation is a pure function of rule, state and sample or tick, so a state that is stored with a cursor
//! gives the same events after a crash; one crossing of a level gives one raise, however the value flaps around it.

mod clock;
mod fold;
mod formula;
mod limits;
mod machine;
mod measure;
mod normal;
mod old;
mod parse;
mod pattern;
mod seen;
mod silence;
mod sta_lta;
mod weather;
mod window;

use serde_json::{Map, Value};

pub use fold::{Fold, RaisedIncident, fold};
pub(crate) use formula::FORMULA_BYTES_MAX;
pub use formula::Formula;
pub use limits::{Level, Limits, SeverityStep};
pub use machine::{Peak, RuleEvent};
pub use measure::{
    Expression, Function, Input, Measure, RuleState, Sample, Step, Tick, needs_ticks, step, tick,
};
pub use old::StateV1;
pub(crate) use parse::{INPUTS_MAX, REOPEN_S, check};
pub use pattern::Pattern;
pub use seen::{InputSeen, Standing};
pub use silence::Silence;

use crate::RecordId;

/// A rule, ready to be evaluated.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The rule document's id.
    pub id: RecordId,
    /// Its name.
    pub name: String,
    /// False for one that is switched off or deleted: what it has raised can still end, and it does nothing else.
    pub is_on: bool,
    /// Which devices, by name.
    pub device: Pattern,
    /// Which channels; for an expression, the name of the value that it gives.
    pub channel: Pattern,
    /// The unit of its levels, as a person wrote it; inputs of an expression have units of their own.
    pub unit: Option<String>,
    /// What value it looks at.
    pub measure: Measure,
    /// When that value raises and clears.
    pub limits: Limits,
    /// When nothing is raised.
    pub silence: Silence,
    /// Title of the incident, with `{device}`, `{channel}` and `{value}` in it.
    pub title: String,
    /// CAP 1.2 category of the incident.
    pub category: String,
    /// Severity of the incident where [`Limits::severities`] say nothing.
    pub severity: String,
}

/// Why a rule document cannot be evaluated. The document stays as it is; a person has to look at it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleFault {
    /// A kind that only a newer version knows.
    #[error("rules of kind {0} are not known to this version")]
    UnknownKind(String),
    /// A field that it needs is missing or has another type.
    #[error("field {0} does not fit")]
    Field(&'static str),
    /// The fields contradict each other: two people's edits may have come together.
    #[error("{pointer} {detail}")]
    Unfit {
        /// Which field, as a JSON pointer.
        pointer: String,
        /// What a person can do about it.
        detail: String,
    },
}

/// What one state of a rule is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope<'a> {
    /// Each series by itself.
    Series,
    /// A device by that name, with several of its series or with others'.
    Device(&'a str),
}

/// How a rule looks at a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch<'a> {
    /// What its state is kept for.
    pub scope: Scope<'a>,
    /// Which inputs of an expression the series is; empty for other kinds.
    pub inputs: Vec<u8>,
    /// The unit in which it wants the values.
    pub unit: Option<&'a str>,
}

impl Rule {
    /// How it looks at a series; `None` when it does not.
    pub fn watch<'a>(&'a self, device: &'a str, channel: &str) -> Option<Watch<'a>> {
        let whole = |scope| Watch {
            scope,
            inputs: Vec::new(),
            unit: self.unit.as_deref(),
        };
        match &self.measure {
            Measure::Expression(expression) => {
                let of_rule = self.device.matches(device);
                let is_input = |input: &Input| {
                    let fits = input.device.as_ref().map_or(of_rule, |name| name == device);
                    fits && input.channel == channel
                };
                let inputs: Vec<u8> = (0..)
                    .zip(&expression.inputs)
                    .filter(|(_, input)| is_input(input))
                    .map(|(index, _)| index)
                    .collect();
                // Those of one series have one unit: it is checked when the rule is read.
                let first = inputs.first().map(|index| usize::from(*index));
                let first = first.and_then(|index| expression.inputs.get(index));
                let named = expression.inputs.iter().any(|input| input.device.is_some());
                // Where devices are named, `match.device` is one name, too: that of the virtual device.
                let owner = if named { self.device.as_str() } else { device };
                (!inputs.is_empty()).then_some(Watch {
                    scope: Scope::Device(owner),
                    inputs,
                    unit: first.and_then(|input| input.unit.as_deref()),
                })
            }
            Measure::NoData if self.channel.as_str() == "*" => self
                .device
                .matches(device)
                .then(|| whole(Scope::Device(device))),
            _ => (self.device.matches(device) && self.channel.matches(channel))
                .then(|| whole(Scope::Series)),
        }
    }

    /// Whether time alone can make it raise.
    pub fn is_about_time(&self) -> bool {
        self.is_on && (self.measure == Measure::NoData || !self.silence.is_empty())
    }

    /// The severity after so many levels.
    pub fn severity(&self, steps: u8) -> &str {
        self.limits.severity(steps).unwrap_or(&self.severity)
    }

    /// The fields of the incident that this rule opens, without the evidence, which names the node: for
    /// [`crate::check_node_fields`].
    pub fn incident_fields(
        &self,
        device: &str,
        channel: &str,
        raised_at_ms: i64,
        value: f64,
        severity_steps: u8,
    ) -> Map<String, Value> {
        /// The bound of an incident's title, less room for the mark of a cut.
        const TITLE_BYTES_MAX: usize = 190;
        let shown = match self.measure {
            Measure::Value => value.to_string(),
            // What is computed has no end of digits.
            _ => ((value * 1000.0).round() / 1000.0).to_string(),
        };
        let mut title = self
            .title
            .replace("{device}", device)
            .replace("{channel}", channel)
            .replace("{value}", &shown);
        title.retain(|c| !c.is_control());
        if title.len() > TITLE_BYTES_MAX {
            title.truncate(title.floor_char_boundary(TITLE_BYTES_MAX));
            title.push('…');
        }
        if title.trim().is_empty() {
            title = self.name.clone();
        }
        let source = serde_json::json!({
            "rule": self.id.to_string(), "device": device, "channel": channel
        });
        let severity = self.severity(severity_steps).to_owned();
        Map::from_iter([
            ("title".to_owned(), Value::String(title)),
            ("category".to_owned(), Value::String(self.category.clone())),
            ("severity".to_owned(), Value::String(severity)),
            ("source".to_owned(), source),
            ("raised_at".to_owned(), Value::String(rfc3339(raised_at_ms))),
            ("peak".to_owned(), peak_field(raised_at_ms, value)),
        ])
    }
}

/// `peak` of an incident.
pub fn peak_field(at_ms: i64, value: f64) -> Value {
    serde_json::json!({ "at": rfc3339(at_ms), "value": value })
}

/// Milliseconds since 1970 UTC as RFC 3339; times out of its range become the nearest in it.
pub fn rfc3339(at_ms: i64) -> String {
    let bounded = at_ms.clamp(0, 253_402_300_799_000);
    jiff::Timestamp::from_millisecond(bounded)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_string()
}

#[cfg(test)]
mod tests;
