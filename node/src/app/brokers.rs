//! How the connections with brokers stand, for whoever asks.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::permissions::{Action, Subject};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::clock::rfc3339;
use super::{App, AppError, Caller, Page};

/// Brokers of one node: each has a connection, a task and a session.
pub const BROKERS_MAX: usize = 16;

/// Where the connection with a broker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerPhase {
    /// An attempt is being made.
    Connecting,
    /// It is there.
    Connected,
    /// It failed a moment ago; the next attempt follows soon.
    Waiting,
    /// It failed too often: no attempt for a minute.
    Open,
    /// One attempt after that minute.
    HalfOpen,
}

impl BrokerPhase {
    fn name(self) -> &'static str {
        match self {
            BrokerPhase::Connecting => "connecting",
            BrokerPhase::Connected => "connected",
            BrokerPhase::Waiting => "waiting",
            BrokerPhase::Open => "open",
            BrokerPhase::HalfOpen => "half_open",
        }
    }
}

/// One broker as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerView {
    /// As the configuration calls it.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// Where the connection stands.
    pub phase: BrokerPhase,
    /// Attempts in a row that failed.
    pub failures: u32,
    /// Why the last one did.
    pub last_error: Option<String>,
    /// Unix milliseconds.
    pub connected_since_ms: Option<u64>,
    /// Unix milliseconds.
    pub next_attempt_ms: Option<u64>,
    /// Messages since the node started.
    pub messages: u64,
}

/// All brokers by name. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct BrokerBoard(Arc<Mutex<BTreeMap<String, BrokerView>>>);

impl BrokerBoard {
    /// A broker that the configuration names.
    pub fn add(&self, view: BrokerView) {
        self.0.lock().insert(view.name.clone(), view);
    }

    /// Something about a broker has changed.
    pub fn update(&self, name: &str, change: impl FnOnce(&mut BrokerView)) {
        if let Some(view) = self.0.lock().get_mut(name) {
            change(view);
        }
    }

    /// Those that failed so often that they are tried once a minute only: name and why.
    pub(in crate::app) fn out_of_reach(&self) -> Vec<(String, Option<String>)> {
        let views = self.0.lock();
        let given_up =
            |view: &&BrokerView| matches!(view.phase, BrokerPhase::Open | BrokerPhase::HalfOpen);
        let told = |view: &BrokerView| (view.name.clone(), view.last_error.clone());
        views.values().filter(given_up).map(told).collect()
    }

    /// All of them as JSON.
    pub(in crate::app) fn values(&self) -> Vec<Value> {
        let time = |at_ms: Option<u64>| at_ms.and_then(|at| i64::try_from(at).ok()).map(rfc3339);
        let value = |view: &BrokerView| {
            json!({
                "name": view.name,
                "url": view.url,
                "state": view.phase.name(),
                "failures": view.failures,
                "last_error": view.last_error,
                "connected_since": time(view.connected_since_ms),
                "next_attempt_at": time(view.next_attempt_ms),
                "messages": view.messages,
            })
        };
        self.0.lock().values().map(value).collect()
    }
}

impl App {
    /// How the connections with brokers stand.
    pub fn brokers(&self) -> &BrokerBoard {
        &self.brokers
    }

    /// The brokers that this node listens to.
    ///
    /// # Errors
    /// `Forbidden`.
    pub fn list_brokers(&self, caller: &Caller) -> Result<Page, AppError> {
        self.authorise(caller, Action::Read, Subject::Node)?;
        Ok(Page {
            items: self.brokers.values(),
            next: None,
            since: self.event_position().to_string(),
        })
    }
}
