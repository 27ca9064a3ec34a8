//! The state machine of one threshold rule on one series: clear, pending, raised.
//!
//! Invariants: time never runs backwards; what comes late (older than the newest sample) can start or raise, but never
//! weakens: it neither resets a condition that holds nor clears an incident; a state is bounded in size.
//!
//! Durations run on the samples' own time. From and to a sample that is older than the newest (a buffer sent late, a
//! clock that was set back) they run on the time of receipt, so that a rule is never blind.

use serde::{Deserialize, Serialize};

use super::ThresholdRule;

/// A sample's own time counts if it lies that close to its receipt (DESIGN §8).
const PLAUSIBLE_MS: i64 = 24 * 60 * 60 * 1000;
/// A clock that runs ahead by more than this must not make later, correct samples look late.
const AHEAD_MS: i64 = 60_000;
/// A peak is recorded again when it lies that much farther beyond the level than the one recorded: an edit costs every
/// node for ever, and this way their number grows with the logarithm of the peak.
const PEAK_GROWTH: f64 = 1.5;
/// …and not more often than that.
const PEAK_INTERVAL_MS: i64 = 5 * 60 * 1000;

/// One reading as a rule sees it. The value is finite; decoders let nothing else through.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// The value.
    pub value: f64,
    /// From [`effective_time_ms`].
    pub at_ms: i64,
    /// When this node received it.
    pub received_ms: i64,
    /// Its place in this node's readings.
    pub position: u64,
}

/// The time that counts for a reading: its own where that is plausible, else the time of receipt.
pub fn effective_time_ms(sample_ms: Option<i64>, received_ms: i64) -> i64 {
    match sample_ms {
        Some(at_ms) if at_ms.abs_diff(received_ms) <= PLAUSIBLE_MS.unsigned_abs() => at_ms,
        _ => received_ms,
    }
}

/// What a rule has seen so far on one series; stored with the cursor over the readings.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RuleState {
    time: Time,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Time {
    /// Time of the newest sample; `None` before the first.
    newest_ms: Option<i64>,
    /// Receipt of the last sample.
    received_ms: i64,
    /// Whether that sample was older than the newest.
    late: bool,
    /// What durations are measured on: only ever grows.
    elapsed_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
enum Phase {
    #[default]
    Clear,
    Pending(Start),
    Raised(Raised),
}

/// When the condition began to hold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Start {
    elapsed_ms: i64,
    at_ms: i64,
    position: u64,
    peak: Peak,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Raised {
    at_ms: i64,
    peak: Peak,
    /// As last told in an event.
    recorded: Peak,
    recorded_elapsed_ms: i64,
    /// Since when it has been beyond the clear level.
    clearing_since_ms: Option<i64>,
    /// The incident that was opened for it.
    incident: Option<[u8; 16]>,
}

/// The value farthest beyond the level.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Peak {
    /// When.
    pub at_ms: i64,
    /// How much.
    pub value: f64,
}

/// What a sample led to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RuleEvent {
    /// Open an incident.
    Raise {
        /// Time of the sample that raised it.
        at_ms: i64,
        /// The worst value since the condition began to hold.
        peak: Peak,
        /// Time of the first sample of the evidence.
        evidence_from_ms: i64,
        /// Its place in the readings.
        evidence_from_position: u64,
    },
    /// The peak is much higher than the one recorded.
    Peak {
        /// The incident, if it was attached.
        incident: Option<[u8; 16]>,
        /// The new peak.
        peak: Peak,
    },
    /// It is over.
    Clear {
        /// The incident, if it was attached.
        incident: Option<[u8; 16]>,
        /// Time of the sample that cleared it.
        at_ms: i64,
        /// The peak over all of it.
        peak: Peak,
    },
}

impl RuleState {
    /// Whether it has raised and not cleared.
    pub fn is_raised(&self) -> bool {
        matches!(self.phase, Phase::Raised(_))
    }

    /// The incident that was attached to what is raised now.
    pub fn incident(&self) -> Option<[u8; 16]> {
        match &self.phase {
            Phase::Raised(raised) => raised.incident,
            Phase::Clear | Phase::Pending(_) => None,
        }
    }

    /// Remembers the incident that was opened for the raise that just happened.
    pub fn attach_incident(&mut self, incident: [u8; 16]) {
        if let Phase::Raised(raised) = &mut self.phase {
            raised.incident = Some(incident);
        }
    }
}

impl Time {
    /// Moves on to a sample. True when the sample is older than the newest.
    fn advance(&mut self, sample: &Sample) -> bool {
        let at_ms = sample
            .at_ms
            .min(sample.received_ms.saturating_add(AHEAD_MS));
        let late = self.newest_ms.is_some_and(|newest_ms| at_ms < newest_ms);
        let step_ms = match self.newest_ms {
            None => 0,
            Some(newest_ms) if !late && !self.late => at_ms.saturating_sub(newest_ms),
            Some(_) => sample.received_ms.saturating_sub(self.received_ms).max(0),
        };
        self.elapsed_ms = self.elapsed_ms.saturating_add(step_ms);
        self.newest_ms = Some(
            self.newest_ms
                .map_or(at_ms, |newest_ms| newest_ms.max(at_ms)),
        );
        self.received_ms = self.received_ms.max(sample.received_ms);
        self.late = late;
        late
    }
}

/// Evaluates one sample. Samples are given once each, in the order of their positions.
pub fn step(rule: &ThresholdRule, state: &mut RuleState, sample: &Sample) -> Option<RuleEvent> {
    let late = state.time.advance(sample);
    let now_ms = state.time.elapsed_ms;
    let beyond = rule.raise.excess(sample.value) > 0.0;
    let here = Peak {
        at_ms: sample.at_ms,
        value: sample.value,
    };
    let worse = |old: Peak| rule.raise.excess(here.value) > rule.raise.excess(old.value);
    match &mut state.phase {
        Phase::Clear | Phase::Pending(_) if !beyond => {
            if !late {
                state.phase = Phase::Clear;
            }
            None
        }
        Phase::Clear | Phase::Pending(_) => {
            let mut start = match state.phase {
                Phase::Pending(start) => start,
                _ => Start {
                    elapsed_ms: now_ms,
                    at_ms: sample.at_ms,
                    position: sample.position,
                    peak: here,
                },
            };
            if worse(start.peak) {
                start.peak = here;
            }
            if now_ms - start.elapsed_ms < rule.for_ms {
                state.phase = Phase::Pending(start);
                return None;
            }
            state.phase = Phase::Raised(Raised {
                at_ms: sample.at_ms,
                peak: start.peak,
                recorded: start.peak,
                recorded_elapsed_ms: now_ms,
                clearing_since_ms: None,
                incident: None,
            });
            Some(RuleEvent::Raise {
                at_ms: sample.at_ms,
                peak: start.peak,
                evidence_from_ms: start.at_ms,
                evidence_from_position: start.position,
            })
        }
        Phase::Raised(raised) => {
            if worse(raised.peak) {
                raised.peak = here;
            }
            if rule.clears(sample.value) {
                if !late {
                    let since_ms = *raised.clearing_since_ms.get_or_insert(now_ms);
                    if now_ms - since_ms >= rule.hold_ms {
                        let Raised { incident, peak, .. } = *raised;
                        state.phase = Phase::Clear;
                        return Some(RuleEvent::Clear {
                            incident,
                            at_ms: sample.at_ms,
                            peak,
                        });
                    }
                }
            } else {
                raised.clearing_since_ms = None;
            }
            let grown = rule.raise.excess(raised.peak.value)
                > PEAK_GROWTH * rule.raise.excess(raised.recorded.value);
            if grown && now_ms - raised.recorded_elapsed_ms >= PEAK_INTERVAL_MS {
                raised.recorded = raised.peak;
                raised.recorded_elapsed_ms = now_ms;
                return Some(RuleEvent::Peak {
                    incident: raised.incident,
                    peak: raised.peak,
                });
            }
            None
        }
    }
}
