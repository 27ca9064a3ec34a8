//! Whom to keep a connection to, how dialling each of them goes, and how a pause is cut short.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use sync_engine::NodeId;
use tokio::sync::Notify;

use crate::config::ADVERTISE_MAX;
use crate::shared::Shared;
use crate::status::PeerStatus;

/// Addresses tried in one dial: a name with both families on two interfaces.
pub(super) const ADDRESSES_MAX: usize = ADVERTISE_MAX;

/// Where a target comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Configured,
    /// mDNS, or a member's own announcement.
    Discovered,
}

pub(super) enum Address {
    /// `host:port`, resolved at each dial.
    Name(String),
    /// The newest announcement.
    Known(Mutex<Vec<SocketAddr>>),
}

/// Somebody to keep a connection to.
pub(crate) struct Target {
    pub(super) origin: Origin,
    /// Who must answer; a node that is not configured with its key is learned from the first answer.
    pub(super) expected: Option<NodeId>,
    pub(super) address: Address,
    pub(super) wake: Notify,
    pub(super) state: Mutex<TargetState>,
    /// Dials that came to an end, whichever.
    pub(super) attempts: AtomicU64,
}

#[derive(Default)]
pub(super) struct TargetState {
    pub(super) node: Option<NodeId>,
    pub(super) dialling: bool,
    pub(super) next_dial: Option<Instant>,
    pub(super) last_error: Option<String>,
}

impl Target {
    pub(super) fn new(origin: Origin, expected: Option<NodeId>, address: Address) -> Self {
        Self {
            origin,
            expected,
            address,
            wake: Notify::new(),
            state: Mutex::default(),
            attempts: AtomicU64::new(0),
        }
    }

    pub(crate) fn node(&self) -> Option<NodeId> {
        self.expected.or(self.state.lock().node)
    }

    /// How dialling it goes, for people.
    pub(crate) fn describe(&self, row: &mut PeerStatus) {
        let state = self.state.lock();
        if let Some(name) = self.name() {
            row.configured.get_or_insert_with(|| name.to_owned());
        }
        row.dialling |= state.dialling;
        if let Some(next) = state.next_dial {
            let ms = next.saturating_duration_since(Instant::now()).as_millis() as u64;
            row.next_dial_in_ms = Some(row.next_dial_in_ms.map_or(ms, |other| other.min(ms)));
        }
        if row.addr.is_none() && state.last_error.is_some() {
            row.last_error = state.last_error.clone();
        }
    }

    pub(super) fn name(&self) -> Option<&str> {
        match &self.address {
            Address::Name(name) => Some(name),
            Address::Known(_) => None,
        }
    }

    pub(super) async fn resolve(&self, shared: &Shared) -> Result<Vec<SocketAddr>, String> {
        let mut found: Vec<SocketAddr> = match &self.address {
            Address::Known(known) => known.lock().clone(),
            Address::Name(name) => tokio::net::lookup_host(name.as_str())
                .await
                .map_err(|error| format!("look up {name}: {error}"))?
                .collect(),
        };
        // A socket bound to IPv4 cannot send IPv6; one bound to IPv6 sends both.
        found.retain(|it| shared.local_addr.is_ipv6() || it.is_ipv4());
        found.truncate(ADDRESSES_MAX);
        if found.is_empty() {
            Err("no usable address".into())
        } else {
            Ok(found)
        }
    }
}

/// All targets of a node.
#[derive(Default)]
pub(crate) struct Targets(pub(super) Mutex<Vec<Arc<Target>>>);

impl Targets {
    pub(crate) fn all(&self) -> Vec<Arc<Target>> {
        self.0.lock().clone()
    }

    /// Cuts the pauses short, of everybody or of one node. Targets whose node is not known yet may be that node.
    pub(crate) fn wake(&self, node: Option<NodeId>) -> Attempts {
        let mut awaited = Vec::new();
        for target in self.all() {
            let who = target.node();
            if node.is_none() || who.is_none() || who == node {
                awaited.push((target.clone(), target.attempts.load(Ordering::Relaxed)));
                target.wake.notify_one();
            }
        }
        Attempts(awaited)
    }
}

/// Dials that were asked for, with how many had ended before.
pub(crate) struct Attempts(Vec<(Arc<Target>, u64)>);

impl Attempts {
    /// Every target is connected, or was dialled since.
    pub(crate) fn all_tried(&self, shared: &Shared) -> bool {
        let links = shared.links.lock();
        self.0.iter().all(|(target, before)| {
            target.attempts.load(Ordering::Relaxed) > *before
                || target.node().is_some_and(|node| links.is_connected(node))
        })
    }
}
