//! The form in which the cursor keeps what rules have seen.
//!
//! Invariant: what a released version wrote can be read; a fixture in the tests for each.

use std::collections::HashMap;
use std::sync::Arc;

use domain::RecordId;
use domain::rules::{RuleState, StateV1};
use serde::{Deserialize, Serialize};

/// First byte. 2: states per series or device, of every kind of rule.
const FORMAT: u8 = 2;
/// Thresholds per series.
const FORMAT_1: u8 = 1;

/// What a state is kept for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// A series by its number.
    Series(u32),
    /// A device by its name.
    Device(Arc<str>),
}

/// What a cursor gave back.
pub(super) struct Saved {
    pub(super) uptime_ms: i64,
    pub(super) states: HashMap<(RecordId, Key), RuleState>,
}

#[derive(Serialize)]
enum KeyRef<'a> {
    Series(u32),
    Device(&'a str),
}

#[derive(Deserialize)]
enum KeyOwned {
    Series(u32),
    Device(String),
}

#[derive(Deserialize)]
struct StoredState {
    rule: [u8; 16],
    key: KeyOwned,
    state: RuleState,
}

#[derive(Deserialize)]
struct StoredStateV1 {
    rule: [u8; 16],
    series: u32,
    state: StateV1,
}

pub(super) fn to_bytes<'a>(
    uptime_ms: i64,
    states: impl Iterator<Item = (&'a RecordId, &'a Key, &'a RuleState)>,
) -> Vec<u8> {
    let states: Vec<(&[u8; 16], KeyRef<'_>, &RuleState)> = states
        .map(|(rule, key, state)| {
            let key = match key {
                Key::Series(series) => KeyRef::Series(*series),
                Key::Device(device) => KeyRef::Device(device),
            };
            (&rule.0, key, state)
        })
        .collect();
    // Serialising plain values to memory cannot fail.
    postcard::to_extend(&(uptime_ms, states), vec![FORMAT]).unwrap_or_default()
}

pub(super) fn from_bytes(bytes: &[u8]) -> Result<Saved, postcard::Error> {
    match bytes.split_first() {
        Some((&FORMAT, rest)) => {
            let (uptime_ms, stored): (i64, Vec<StoredState>) = postcard::from_bytes(rest)?;
            let states = stored.into_iter().map(|stored| {
                let key = match stored.key {
                    KeyOwned::Series(series) => Key::Series(series),
                    KeyOwned::Device(device) => Key::Device(device.into()),
                };
                ((RecordId(stored.rule), key), stored.state)
            });
            Ok(Saved {
                uptime_ms,
                states: states.collect(),
            })
        }
        Some((&FORMAT_1, rest)) => {
            let stored: Vec<StoredStateV1> = postcard::from_bytes(rest)?;
            let states = stored.into_iter().map(|stored| {
                let key = Key::Series(stored.series);
                ((RecordId(stored.rule), key), stored.state.into())
            });
            Ok(Saved {
                uptime_ms: 0,
                states: states.collect(),
            })
        }
        _ => Err(postcard::Error::DeserializeBadEncoding),
    }
}
