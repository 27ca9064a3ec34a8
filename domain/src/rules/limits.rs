//! Where a rule raises, where it clears, and how grave what it raises is.

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

    /// Whether a value lies at another level or farther out.
    fn reaches(self, value: f64, level: f64) -> bool {
        match self {
            Level::Above(_) => value >= level,
            Level::Below(_) => value <= level,
        }
    }
}

/// From which value on an incident has which severity.
#[derive(Debug, Clone, PartialEq)]
pub struct SeverityStep {
    /// At this value or farther out.
    pub level: f64,
    /// CAP 1.2 severity.
    pub severity: String,
}

/// When a value raises and when it clears; the same for every kind of rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Where it raises.
    pub raise: Level,
    /// Strictly beyond this, on the other side, it clears.
    pub clear: f64,
    /// How long the condition must hold before it raises.
    pub for_ms: i64,
    /// How long the value must stay beyond the clear level before it clears.
    pub hold_ms: i64,
    /// A raise so soon after a clearing belongs to the same incident; 0 for never.
    pub reopen_ms: i64,
    /// From the nearest level to the farthest.
    pub severities: Vec<SeverityStep>,
}

impl Limits {
    /// Whether a value lies beyond the clear level.
    pub fn clears(&self, value: f64) -> bool {
        match self.raise {
            Level::Above(_) => value < self.clear,
            Level::Below(_) => value > self.clear,
        }
    }

    /// How many levels of severity a value has reached.
    pub(super) fn severity_steps(&self, value: f64) -> u8 {
        let reached = self
            .severities
            .iter()
            .take_while(|step| self.raise.reaches(value, step.level))
            .count();
        u8::try_from(reached).unwrap_or(u8::MAX)
    }

    /// The severity after so many levels; `None` for 0, where the rule's own counts.
    pub fn severity(&self, steps: u8) -> Option<&str> {
        let last = usize::from(steps).checked_sub(1)?;
        self.severities.get(last).map(|step| step.severity.as_str())
    }
}
