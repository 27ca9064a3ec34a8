//! The state machine under every kind of rule: clear, pending, raised.
//!
//! Invariants: what comes late (older than the newest sample) can start or raise, but never weakens: it neither resets a
//! condition that holds nor clears an incident; while a rule is silenced nothing is raised, and what is true when the
//! silence ends raises then; a state is bounded in size.

use serde::{Deserialize, Serialize};

use super::clock::Time;
use super::limits::Limits;

/// A peak is recorded again when it lies that much farther beyond the level than the one recorded: an edit costs every
/// node for ever, and this way their number grows with the logarithm of the peak.
const PEAK_GROWTH: f64 = 1.5;
/// …and not more often than that.
const PEAK_INTERVAL_MS: i64 = 5 * 60 * 1000;

/// The value farthest beyond the level.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Peak {
    /// When.
    pub at_ms: i64,
    /// How much.
    pub value: f64,
}

/// What a sample or a tick led to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RuleEvent {
    /// Open an incident.
    Raise {
        /// Time of the sample or tick that raised it.
        at_ms: i64,
        /// The value at that time.
        value: f64,
        /// The worst value since the condition began to hold.
        peak: Peak,
        /// Time of the first sample of the evidence.
        evidence_from_ms: i64,
        /// Its place in the readings.
        evidence_from_position: u64,
        /// For [`Limits::severity`].
        severity_steps: u8,
    },
    /// It is true again so soon after it cleared that it is the same incident.
    Reopen {
        /// The incident.
        incident: [u8; 16],
        /// Time of the sample or tick that raised it again.
        at_ms: i64,
        /// The value at that time.
        value: f64,
        /// The peak over all of it.
        peak: Peak,
        /// Time of the first sample of the whole evidence.
        evidence_from_ms: i64,
        /// For [`Limits::severity`], where it is graver than before.
        severity_steps: Option<u8>,
        /// Place in the readings of the first sample since it is true again.
        again_from_position: u64,
    },
    /// The peak is much higher than the one recorded, or graver.
    Peak {
        /// The incident, if it was attached.
        incident: Option<[u8; 16]>,
        /// The new peak.
        peak: Peak,
        /// For [`Limits::severity`], where it is graver than before.
        severity_steps: Option<u8>,
    },
    /// It is over.
    Clear {
        /// The incident, if it was attached.
        incident: Option<[u8; 16]>,
        /// Time of the sample that cleared it.
        at_ms: i64,
        /// The peak over all of it.
        peak: Peak,
        /// Time of the first sample of the evidence.
        evidence_from_ms: i64,
    },
}

/// What a rule has made of one value so far.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Machine {
    pub(super) time: Time,
    pub(super) phase: Phase,
    /// The last incident that cleared, for what comes soon after it.
    pub(super) cleared: Option<Cleared>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) enum Phase {
    #[default]
    Clear,
    Pending(Start),
    Raised(Raised),
}

/// When the condition began to hold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Start {
    pub(super) elapsed_ms: i64,
    pub(super) from_ms: i64,
    pub(super) position: u64,
    pub(super) peak: Peak,
    /// It has held for long enough and only silence keeps it back.
    pub(super) due: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Raised {
    /// Where the evidence begins.
    pub(super) from_ms: i64,
    pub(super) peak: Peak,
    /// As last told in an event.
    pub(super) recorded: Peak,
    pub(super) recorded_elapsed_ms: i64,
    /// Since when it has been beyond the clear level.
    pub(super) clearing_since_ms: Option<i64>,
    /// The incident that was opened for it.
    pub(super) incident: Option<[u8; 16]>,
    pub(super) severity_steps: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Cleared {
    elapsed_ms: i64,
    from_ms: i64,
    incident: [u8; 16],
    peak: Peak,
    severity_steps: u8,
}

/// Where and how a value is judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) at_ms: i64,
    /// When this node heard of it.
    pub(super) received_ms: i64,
    /// What it rests on: time and place of the sample. For silence, of the last one that was heard.
    pub(super) from_ms: i64,
    pub(super) position: u64,
    /// Older than the newest sample.
    pub(super) late: bool,
    /// Nothing is to be raised.
    pub(super) silenced: bool,
}

impl RuleEvent {
    /// Place in the readings where what was raised began.
    pub fn from_position(&self) -> Option<u64> {
        match self {
            RuleEvent::Raise {
                evidence_from_position,
                ..
            } => Some(*evidence_from_position),
            RuleEvent::Reopen {
                again_from_position,
                ..
            } => Some(*again_from_position),
            RuleEvent::Peak { .. } | RuleEvent::Clear { .. } => None,
        }
    }
}

impl Machine {
    /// Judges the next value; [`Machine::time`] has moved on to it already.
    pub(super) fn judge(
        &mut self,
        limits: &Limits,
        moment: &Moment,
        value: f64,
    ) -> Option<RuleEvent> {
        let now_ms = self.time.elapsed_ms;
        let beyond = limits.raise.excess(value) > 0.0;
        let here = Peak {
            at_ms: moment.at_ms,
            value,
        };
        match &mut self.phase {
            Phase::Clear | Phase::Pending(_) if !beyond => {
                if !moment.late {
                    self.phase = Phase::Clear;
                }
                None
            }
            Phase::Clear | Phase::Pending(_) => {
                let mut start = match self.phase {
                    Phase::Pending(start) => start,
                    _ => Start {
                        elapsed_ms: now_ms,
                        from_ms: moment.from_ms,
                        position: moment.position,
                        peak: here,
                        due: false,
                    },
                };
                start.from_ms = start.from_ms.min(moment.from_ms);
                start.peak = worse(limits, start.peak, here);
                start.due = now_ms - start.elapsed_ms >= limits.for_ms;
                if start.due && !moment.silenced {
                    return Some(self.raise(limits, &start, here));
                }
                self.phase = Phase::Pending(start);
                None
            }
            Phase::Raised(raised) => {
                raised.peak = worse(limits, raised.peak, here);
                if !limits.clears(value) {
                    raised.clearing_since_ms = None;
                } else if !moment.late {
                    let since_ms = *raised.clearing_since_ms.get_or_insert(now_ms);
                    if now_ms - since_ms >= limits.hold_ms {
                        let raised = *raised;
                        return Some(self.clear(&raised, moment));
                    }
                }
                told_peak(limits, raised, now_ms)
            }
        }
    }

    /// Raises what only silence kept back.
    pub(super) fn silence_ended(&mut self, limits: &Limits, at_ms: i64) -> Option<RuleEvent> {
        match self.phase {
            Phase::Pending(start) if start.due => {
                let value = start.peak.value;
                Some(self.raise(limits, &start, Peak { at_ms, value }))
            }
            _ => None,
        }
    }

    /// Goes on with durations that run on another clock: what is raised stays, what was waited for begins anew.
    pub(super) fn begin_at(&mut self, elapsed_ms: i64) {
        self.time = Time {
            elapsed_ms,
            ..Time::default()
        };
        self.cleared = None;
        match &mut self.phase {
            Phase::Clear => {}
            Phase::Pending(_) => self.phase = Phase::Clear,
            Phase::Raised(raised) => {
                raised.recorded_elapsed_ms = elapsed_ms;
                raised.clearing_since_ms = None;
            }
        }
    }

    /// The last incident that cleared goes on as another one.
    pub(super) fn reattach_cleared(&mut self, from: [u8; 16], to: [u8; 16]) {
        if let Some(cleared) = &mut self.cleared
            && cleared.incident == from
        {
            cleared.incident = to;
        }
    }

    /// Whether only silence keeps something back.
    pub(super) fn is_due(&self) -> bool {
        matches!(&self.phase, Phase::Pending(start) if start.due)
    }

    fn raise(&mut self, limits: &Limits, start: &Start, here: Peak) -> RuleEvent {
        let now_ms = self.time.elapsed_ms;
        let again = self.cleared.take().filter(|cleared| {
            limits.reopen_ms > 0 && now_ms - cleared.elapsed_ms <= limits.reopen_ms
        });
        let peak = again.map_or(start.peak, |before| worse(limits, before.peak, start.peak));
        let severity_steps = limits.severity_steps(peak.value);
        let before_steps = again.map_or(0, |before| before.severity_steps);
        let raised = Raised {
            from_ms: again.map_or(start.from_ms, |before| before.from_ms.min(start.from_ms)),
            peak,
            recorded: peak,
            recorded_elapsed_ms: now_ms,
            clearing_since_ms: None,
            incident: again.map(|before| before.incident),
            severity_steps: severity_steps.max(before_steps),
        };
        self.phase = Phase::Raised(raised);
        match again {
            Some(before) => RuleEvent::Reopen {
                incident: before.incident,
                at_ms: here.at_ms,
                value: here.value,
                peak,
                evidence_from_ms: raised.from_ms,
                severity_steps: (severity_steps > before_steps).then_some(severity_steps),
                again_from_position: start.position,
            },
            None => RuleEvent::Raise {
                at_ms: here.at_ms,
                value: here.value,
                peak,
                evidence_from_ms: start.from_ms,
                evidence_from_position: start.position,
                severity_steps,
            },
        }
    }

    fn clear(&mut self, raised: &Raised, moment: &Moment) -> RuleEvent {
        // A clock that was set back by days ends nothing before it began.
        let at_ms = if moment.at_ms < raised.from_ms {
            moment.received_ms
        } else {
            moment.at_ms
        };
        self.phase = Phase::Clear;
        self.cleared = raised.incident.map(|incident| Cleared {
            elapsed_ms: self.time.elapsed_ms,
            from_ms: raised.from_ms,
            incident,
            peak: raised.peak,
            severity_steps: raised.severity_steps,
        });
        RuleEvent::Clear {
            incident: raised.incident,
            at_ms,
            peak: raised.peak,
            evidence_from_ms: raised.from_ms,
        }
    }
}

/// A peak that is worth an edit: graver than what was told, or much higher and not told for a while.
fn told_peak(limits: &Limits, raised: &mut Raised, now_ms: i64) -> Option<RuleEvent> {
    let severity_steps = limits.severity_steps(raised.peak.value);
    let graver = severity_steps > raised.severity_steps;
    let grown = limits.raise.excess(raised.peak.value)
        > PEAK_GROWTH * limits.raise.excess(raised.recorded.value);
    let rested = now_ms - raised.recorded_elapsed_ms >= PEAK_INTERVAL_MS;
    let worth_an_edit = graver || (grown && rested);
    if !worth_an_edit {
        return None;
    }
    raised.severity_steps = raised.severity_steps.max(severity_steps);
    raised.recorded = raised.peak;
    raised.recorded_elapsed_ms = now_ms;
    Some(RuleEvent::Peak {
        incident: raised.incident,
        peak: raised.peak,
        severity_steps: graver.then_some(severity_steps),
    })
}

/// The one farther beyond the level; the older of two that are equal.
fn worse(limits: &Limits, old: Peak, new: Peak) -> Peak {
    if limits.raise.excess(new.value) > limits.raise.excess(old.value) {
        new
    } else {
        old
    }
}
