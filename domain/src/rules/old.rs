//! States as version 1 of the cursor kept them: thresholds only, the evidence beside the state.

use serde::Deserialize;

use super::clock::Time;
use super::machine::{Machine, Peak, Phase, Raised, Start};
use super::measure::{Memory, RuleState};

/// What version 1 kept for a rule and a series. Read in its field order (postcard has no names).
#[derive(Debug, Deserialize)]
pub struct StateV1 {
    time: Time,
    phase: PhaseV1,
    evidence_from_ms: i64,
}

#[derive(Debug, Deserialize)]
enum PhaseV1 {
    Clear,
    Pending(StartV1),
    Raised(RaisedV1),
}

#[derive(Debug, Deserialize)]
struct StartV1 {
    elapsed_ms: i64,
    at_ms: i64,
    position: u64,
    peak: Peak,
}

#[derive(Debug, Deserialize)]
struct RaisedV1 {
    #[serde(rename = "at_ms")]
    _at_ms: i64,
    peak: Peak,
    recorded: Peak,
    recorded_elapsed_ms: i64,
    clearing_since_ms: Option<i64>,
    incident: Option<[u8; 16]>,
}

impl From<StateV1> for RuleState {
    fn from(old: StateV1) -> RuleState {
        let phase = match old.phase {
            PhaseV1::Clear => Phase::Clear,
            PhaseV1::Pending(start) => Phase::Pending(Start {
                elapsed_ms: start.elapsed_ms,
                from_ms: start.at_ms,
                position: start.position,
                peak: start.peak,
                due: false,
            }),
            PhaseV1::Raised(raised) => Phase::Raised(Raised {
                from_ms: old.evidence_from_ms,
                peak: raised.peak,
                recorded: raised.recorded,
                recorded_elapsed_ms: raised.recorded_elapsed_ms,
                clearing_since_ms: raised.clearing_since_ms,
                incident: raised.incident,
                severity_steps: 0,
            }),
        };
        RuleState {
            machine: Machine {
                time: old.time,
                phase,
                cleared: None,
            },
            memory: Memory::Nothing,
        }
    }
}
