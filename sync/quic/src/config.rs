//! What a node is told about its network: where it listens, whom it dials, and the bounds of everything it holds.

use std::net::SocketAddr;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use sync_engine::NodeId;

/// One peer to dial. `addr` is `host:port` and is resolved anew at each dial, because addresses behind a name change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerAddr {
    /// The node expected there; anybody else is refused before this node shows who it is. `None`: any member will do.
    pub node: Option<NodeId>,
    /// `host:port`.
    pub addr: String,
}

/// How a node takes part in the sync network.
#[derive(Clone)]
pub struct SyncConfig {
    /// UDP address to listen on; port 0 picks one.
    pub listen: SocketAddr,
    /// The node's key: its public half is the [`NodeId`] that the other end sees in TLS.
    pub key: SigningKey,
    /// Addresses at which others may dial this node, told to every peer. At most [`ADVERTISE_MAX`] are told.
    pub advertise: Vec<SocketAddr>,
    /// Peers to keep a connection to.
    pub peers: Vec<PeerAddr>,
    /// Announce this node and look for others by multicast DNS.
    pub mdns: bool,
    /// Bounds and times.
    pub limits: SyncLimits,
}

impl SyncConfig {
    /// A node that listens at `listen`, dials nobody and does not use mDNS.
    pub fn new(listen: SocketAddr, key: SigningKey) -> Self {
        Self {
            listen,
            key,
            advertise: Vec::new(),
            peers: Vec::new(),
            mdns: false,
            limits: SyncLimits::default(),
        }
    }
}

impl std::fmt::Debug for SyncConfig {
    /// Leaves the key out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SyncConfig")
            .field("listen", &self.listen)
            .field("advertise", &self.advertise)
            .field("peers", &self.peers)
            .field("mdns", &self.mdns)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Addresses of itself that a node tells a peer: a few interfaces and one public address; more is a mistake.
pub const ADVERTISE_MAX: usize = 8;

/// Times and bounds of the shell. The defaults suit a LAN or a radio link between two trucks.
#[derive(Debug, Clone, PartialEq)]
pub struct SyncLimits {
    /// Silence after which a connection counts as lost. Three missed keep-alives.
    pub idle: Duration,
    /// A packet goes out at least this often, so that NAT entries and the idle timer stay alive.
    pub keep_alive: Duration,
    /// How long a handshake, and the first bytes after it, may take.
    pub handshake: Duration,
    /// Round-trip time assumed before the first measurement: decides how soon a lost handshake packet goes out again.
    pub initial_rtt: Duration,
    /// First pause after a failed dial; doubles from there. The pause itself is random below this (full jitter), so
    /// that nodes that lost HQ together do not come back together.
    pub redial_min: Duration,
    /// Longest pause after a failed dial. A peer that was reached lately is dialled more often: the pause never exceeds
    /// a quarter of the time since it was last live.
    pub redial_max: Duration,
    /// Look for larger packets that the path carries. Off on thin links, where the probes cost more than they give.
    pub mtu_discovery: bool,
    /// Connections at one time. One HQ serves about a thousand field nodes.
    pub connections_max: usize,
    /// Incoming handshakes at one time: an unauthenticated sender can hold no more memory than these.
    pub handshakes_max: usize,
    /// Connections at one time with nodes that are no members (yet): enough for a team that enrols together.
    pub strangers_max: usize,
    /// Joins served at one time.
    pub joins_max: usize,
    /// Peers known from mDNS and from other members' announcements.
    pub discovered_max: usize,
    /// How long a node is refused after its first violation of the protocol; doubles with each further one.
    pub refuse_min: Duration,
    /// Longest time for which a violating node is refused: one that was repaired is back within it.
    pub refuse_max: Duration,
    /// After this long without a violation a node's earlier ones are forgotten.
    pub refuse_forget: Duration,
    /// Bytes of one lane, of all connections together, that were received and are not stored yet. A lane whose store
    /// falls behind stops being read at this, and no other lane is.
    pub lane_bytes_max: usize,
    /// Bytes of control frames, of all connections together, that wait for the engine.
    pub control_bytes_max: usize,
    /// Bytes of all connections together that wait for a slow or silent peer: frames queued for it, and the beginnings
    /// of frames whose rest it has not sent. Beyond this the connection that holds most is closed.
    pub held_bytes_max: usize,
    /// How long a shutdown waits for stores in flight.
    pub shutdown: Duration,
}

impl Default for SyncLimits {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(15),
            keep_alive: Duration::from_secs(5),
            handshake: Duration::from_secs(10),
            initial_rtt: Duration::from_millis(100),
            redial_min: Duration::from_millis(500),
            redial_max: Duration::from_secs(30),
            mtu_discovery: true,
            connections_max: 2048,
            handshakes_max: 64,
            strangers_max: 16,
            joins_max: 8,
            discovered_max: 256,
            refuse_min: Duration::from_secs(2),
            refuse_max: Duration::from_secs(10 * 60),
            refuse_forget: Duration::from_secs(60 * 60),
            lane_bytes_max: 8 * 1024 * 1024,
            control_bytes_max: 8 * 1024 * 1024,
            held_bytes_max: 256 * 1024 * 1024,
            shutdown: Duration::from_secs(5),
        }
    }
}
