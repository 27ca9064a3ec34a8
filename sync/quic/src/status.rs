//! What people see of the network: one row per peer, and the report of a sync that was asked for.

use std::net::SocketAddr;

use sync_engine::{NodeId, PeerState, PeerView};

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
