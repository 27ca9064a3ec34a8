//! Threshold rules: which readings a rule looks at, and what it makes of them.
//!
//! Invariants: evaluation is a pure function of rule, state and sample, so a state that is stored with a cursor gives
//! the same events after a crash; one crossing of a level gives one raise, however the value flaps around it.

mod pattern;
mod threshold;

use serde_json::{Map, Value};

pub use pattern::Pattern;
pub use threshold::{Peak, RuleEvent, RuleState, Sample, effective_time_ms, step};

use crate::RecordId;

/// Which way a value must cross the level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Level {
    /// Raises strictly above.
    Above(f64),
    /// Raises strictly below.
    Below(f64),
}

impl Level {
    /// How far a value lies beyond the level; not positive when it does not.
    pub fn excess(self, value: f64) -> f64 {
        match self {
            Level::Above(level) => value - level,
            Level::Below(level) => level - value,
        }
    }
}

/// A rule of kind `threshold`, ready to be evaluated.
#[derive(Debug, Clone, PartialEq)]
pub struct ThresholdRule {
    /// The rule document's id.
    pub id: RecordId,
    /// Its name.
    pub name: String,
    /// Which devices, by name.
    pub device: Pattern,
    /// Which channels.
    pub channel: Pattern,
    /// Where it raises.
    pub raise: Level,
    /// Strictly beyond this, on the other side, it clears.
    pub clear: f64,
    /// How long the condition must hold before it raises.
    pub for_ms: i64,
    /// How long the value must stay beyond the clear level before it clears.
    pub hold_ms: i64,
    /// Title of the incident, with `{device}`, `{channel}` and `{value}` in it.
    pub title: String,
    /// CAP 1.2 category of the incident.
    pub category: String,
    /// Severity of the incident.
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
    /// The levels contradict each other: two people's edits may have come together.
    #[error(
        "set either raise_above with clear_below not above it, or raise_below with clear_above not below it"
    )]
    Levels,
}

impl ThresholdRule {
    /// From the fields of a rule document's view. `Ok(None)` when it is switched off.
    pub fn from_fields(
        id: RecordId,
        fields: &Map<String, Value>,
    ) -> Result<Option<Self>, RuleFault> {
        if fields.get("enabled") == Some(&Value::Bool(false)) {
            return Ok(None);
        }
        let kind = fields
            .get("kind")
            .and_then(Value::as_str)
            .ok_or(RuleFault::Field("kind"))?;
        if kind != "threshold" {
            return Err(RuleFault::UnknownKind(kind.to_owned()));
        }
        let number = |name: &str| fields.get(name).and_then(Value::as_f64);
        let levels = (
            number("raise_above"),
            number("clear_below"),
            number("raise_below"),
            number("clear_above"),
        );
        let (raise, clear) = match levels {
            (Some(raise), Some(clear), None, None) if clear <= raise => {
                (Level::Above(raise), clear)
            }
            (None, None, Some(raise), Some(clear)) if clear >= raise => {
                (Level::Below(raise), clear)
            }
            _ => return Err(RuleFault::Levels),
        };
        let part = |field: &'static str, part: &str| {
            let text = fields
                .get(field)
                .and_then(|value| value.get(part))
                .and_then(Value::as_str);
            text.map(str::to_owned)
        };
        let needed =
            |field: &'static str, name: &str| part(field, name).ok_or(RuleFault::Field(field));
        let seconds = |name: &'static str| match fields.get(name) {
            None | Some(Value::Null) => Ok(0),
            Some(value) => match value.as_i64().and_then(|seconds| seconds.checked_mul(1000)) {
                Some(ms) if ms >= 0 => Ok(ms),
                _ => Err(RuleFault::Field(name)),
            },
        };
        Ok(Some(ThresholdRule {
            id,
            name: fields
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            device: Pattern::new(&needed("match", "device")?),
            channel: Pattern::new(&needed("match", "channel")?),
            raise,
            clear,
            for_ms: seconds("for_s")?,
            hold_ms: seconds("hold_s")?,
            title: needed("incident", "title")?,
            category: part("incident", "category").unwrap_or_else(|| "Other".into()),
            severity: part("incident", "severity").unwrap_or_else(|| "unknown".into()),
        }))
    }

    /// Whether it looks at that series.
    pub fn matches(&self, device: &str, channel: &str) -> bool {
        self.device.matches(device) && self.channel.matches(channel)
    }

    /// Whether a value lies beyond the clear level.
    fn clears(&self, value: f64) -> bool {
        match self.raise {
            Level::Above(_) => value < self.clear,
            Level::Below(_) => value > self.clear,
        }
    }

    /// The fields of the incident that this rule opens, without the evidence, which names the node: for
    /// [`crate::check_node_fields`].
    pub fn incident_fields(
        &self,
        device: &str,
        channel: &str,
        raised_at_ms: i64,
        value: f64,
    ) -> Map<String, Value> {
        /// The bound of an incident's title, less room for the mark of a cut.
        const TITLE_BYTES_MAX: usize = 190;
        let mut title = self
            .title
            .replace("{device}", device)
            .replace("{channel}", channel)
            .replace("{value}", &value.to_string());
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
        Map::from_iter([
            ("title".to_owned(), Value::String(title)),
            ("category".to_owned(), Value::String(self.category.clone())),
            ("severity".to_owned(), Value::String(self.severity.clone())),
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
