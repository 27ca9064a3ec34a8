//! What people see of the network: one row per peer, and the report of a sync that was asked for.

use std::net::SocketAddr;
use std::time::Instant;

use sync_engine::{Lane, NodeId, PeerState, PeerView, Usage};

use crate::shared::Shared;

/// One peer: what the engine knows of it and how this node reaches it.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerStatus {
    /// Its key; `None` for a configured address where nobody has answered yet.
    pub node: Option<NodeId>,
    /// The engine's view; `None` as long as the engine has not met it.
    pub view: Option<PeerView>,
    /// The configured address (`host:port`), if it is a configured peer.
    pub configured: Option<String>,
    /// Where its packets come from at this moment; `None` while not connected.
    pub addr: Option<SocketAddr>,
    /// Whether this end dialled the connection.
    pub dialled: bool,
    /// Smoothed round-trip time, milliseconds; `None` while not connected.
    pub rtt_ms: Option<f64>,
    /// A dial is going on.
    pub dialling: bool,
    /// Milliseconds until the next dial.
    pub next_dial_in_ms: Option<u64>,
    /// Why the last dial failed or the last connection ended.
    pub last_error: Option<String>,
    /// How often it broke the protocol since its last hour without.
    pub violations: u32,
    /// What it did the last time.
    pub last_violation: Option<String>,
    /// Milliseconds for which it is still refused for that; `None` when it is not.
    pub refused_for_ms: Option<u64>,
    /// UDP datagrams of the present connection.
    pub datagrams_sent: u64,
    /// See `datagrams_sent`.
    pub datagrams_received: u64,
    /// UDP payload bytes of the present connection.
    pub bytes_sent: u64,
    /// See `bytes_sent`.
    pub bytes_received: u64,
}

impl PeerStatus {
    /// Where the exchange stands.
    pub fn state(&self) -> PeerState {
        self.view
            .as_ref()
            .map_or(PeerState::Disconnected, |view| view.state)
    }
}

/// What a node holds in memory for others, for figures and for tests of the bounds (`docs/quic-shell.md`). What QUIC
/// itself holds is not in it: see [`crate::receive_bytes_max`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncUsage {
    /// The engine's part.
    pub engine: Usage,
    /// Bytes that were received and are not stored, by lane in the order of [`Lane::ALL`]; each is bounded by
    /// `SyncLimits::lane_bytes_max`.
    pub unstored_bytes: [usize; Lane::ALL.len()],
    /// Bytes that wait for slow peers, bounded by `SyncLimits::held_bytes_max`.
    pub waiting_bytes: usize,
}

/// Every peer for people: the engine's first, each with how it is reached, then targets that nobody has answered at.
pub(crate) fn all(shared: &Shared) -> Vec<PeerStatus> {
    let views = shared.engine.lock().peers();
    let mut rows: Vec<PeerStatus> = views
        .into_iter()
        .filter(|view| view.node != shared.node)
        .map(|view| PeerStatus {
            node: Some(view.node),
            view: Some(view),
            ..unmet()
        })
        .collect();
    describe_links(shared, &mut rows);
    for target in shared.targets.all() {
        let node = target.node();
        let at = rows
            .iter()
            .position(|row| row.node.is_some() && row.node == node);
        let row = match at {
            Some(at) => &mut rows[at],
            None => {
                rows.push(PeerStatus { node, ..unmet() });
                rows.last_mut().expect("a row was pushed just now")
            }
        };
        target.describe(row);
    }
    describe_violations(shared, &mut rows);
    rows
}

fn describe_links(shared: &Shared, rows: &mut [PeerStatus]) {
    let links = shared.links.lock();
    for row in rows {
        let Some(known) = row.node.and_then(|node| links.get(node)) else {
            continue;
        };
        row.last_error = known.last_error.clone();
        if let Some(link) = &known.link {
            let stats = link.connection.stats();
            row.addr = Some(link.connection.remote_address());
            row.dialled = link.dialled;
            row.rtt_ms = Some(stats.path.rtt.as_secs_f64() * 1000.0);
            row.datagrams_sent = stats.udp_tx.datagrams;
            row.datagrams_received = stats.udp_rx.datagrams;
            row.bytes_sent = stats.udp_tx.bytes;
            row.bytes_received = stats.udp_rx.bytes;
        }
    }
}

/// What somebody did that it must not stands before what a later dial said of it.
fn describe_violations(shared: &Shared, rows: &mut [PeerStatus]) {
    let (now, offenders) = (Instant::now(), shared.offenders.lock());
    for row in rows {
        let Some(node) = row.node else { continue };
        if let Some(record) = offenders.record(now, &shared.limits, node) {
            row.violations = record.violations;
            row.last_violation = Some(record.why);
        }
        if let Some(refusal) = offenders.refusal(now, node) {
            row.refused_for_ms = Some(refusal.left.as_millis() as u64);
            row.last_error = Some(refusal.to_string());
        }
    }
}

fn unmet() -> PeerStatus {
    PeerStatus {
        node: None,
        view: None,
        configured: None,
        addr: None,
        dialled: false,
        rtt_ms: None,
        dialling: false,
        next_dial_in_ms: None,
        last_error: None,
        violations: 0,
        last_violation: None,
        refused_for_ms: None,
        datagrams_sent: 0,
        datagrams_received: 0,
        bytes_sent: 0,
        bytes_received: 0,
    }
}

/// What a sync that was asked for came to.
#[derive(Debug, Clone, PartialEq)]
pub struct SyncReport {
    /// The peers asked for.
    pub peers: Vec<SyncReportPeer>,
    /// Every peer asked for is live and has acknowledged all that it should have; with no peer asked for by name: every
    /// live one, and there is one.
    pub complete: bool,
}

/// One peer in a [`SyncReport`].
#[derive(Debug, Clone, PartialEq)]
pub struct SyncReportPeer {
    /// Its key; `None` for a configured address where nobody has answered yet.
    pub node: Option<NodeId>,
    /// Its name.
    pub name: Option<String>,
    /// The configured address.
    pub configured: Option<String>,
    /// Where the exchange stands.
    pub state: PeerState,
    /// Entries that we hold and it has not acknowledged.
    pub behind_entries: u64,
    /// Why it could not be reached.
    pub last_error: Option<String>,
}

impl SyncReportPeer {
    pub(crate) fn of(peer: &PeerStatus) -> Self {
        Self {
            node: peer.node,
            name: peer.view.as_ref().and_then(|view| view.name.clone()),
            configured: peer.configured.clone(),
            state: peer.state(),
            behind_entries: peer.view.as_ref().map_or(0, |view| view.behind_entries),
            last_error: peer.last_error.clone(),
        }
    }
}
