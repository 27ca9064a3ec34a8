//! The shapes of what a node says of itself and of the others.

use serde_json::Value;
use utoipa::ToSchema;

/// How this node is.
#[derive(ToSchema)]
pub struct Status {
    /// Its public key.
    pub node_id: String,
    /// Its name.
    pub name: String,
    /// `field`, `hq` or `gateway`.
    pub role: String,
    /// Id of the incarnation it writes under.
    pub incarnation: String,
    /// The operation it belongs to.
    pub operation: Operation,
    /// Version of its program.
    pub software: String,
    /// Seconds since it was started.
    pub uptime_s: u64,
    /// How many documents.
    pub documents: u64,
    /// How many readings.
    pub readings: u64,
    /// Dead letters that nobody has looked after.
    pub dead_letters: u64,
    /// What its data lies on.
    pub storage: Storage,
    /// What somebody should look after.
    pub warnings: Vec<Warning>,
    /// Digest of the documents and facts of `shared` in lanes 0 to 3: equal on two nodes that have the same.
    pub heads_digest: String,
    /// The same by group.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub digests: Value,
    /// Entries that wait for what they depend on.
    pub pending: u64,
    /// Entries in quarantine.
    pub quarantined: u64,
    /// Times when another node had made something else of the same entries.
    pub sync_faults: UnseenSyncFaults,
    /// Readings that rules have not looked at yet.
    pub rules_behind: u64,
    /// Why it must not write; null where it may.
    #[schema(required)]
    pub writes_stopped: Option<String>,
    /// Where it listens; null while it does not.
    #[schema(required)]
    pub addresses: Option<Addresses>,
    /// SHA-256 of the certificate of MQTT over TLS, `AB:CD:…`; null where there is none.
    #[schema(required)]
    pub mqtt_tls_sha256: Option<String>,
    /// The brokers that it listens to.
    pub brokers: Vec<super::Broker>,
    /// The other nodes that it knows.
    pub peers: Vec<Peer>,
}

/// What a node's data lies on, and what is traded for its wear.
#[derive(ToSchema)]
pub struct Storage {
    /// `disk` or `sd-card`.
    pub profile: String,
    /// How long readings are gathered before they are committed together, ms: their acknowledgements wait for it.
    pub window_ms: u64,
    /// How large the write-ahead log grows before its pages move to the files.
    pub checkpoint_bytes: u64,
    /// How often it is written down what rules have seen and when devices were heard.
    pub note_every_s: u64,
}

/// The operation.
#[derive(ToSchema)]
pub struct Operation {
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: String,
}

/// Where a node listens, `HOST:PORT`.
#[derive(ToSchema)]
pub struct Addresses {
    /// This API and the page.
    pub http: String,
    /// Other nodes (QUIC).
    pub sync: String,
    /// Sensors.
    pub mqtt: String,
    /// Sensors over TLS; not there where nobody asked for it.
    #[schema(nullable = false)]
    pub mqtt_tls: Option<String>,
}

/// Another node.
#[derive(ToSchema)]
pub struct Peer {
    /// Its public key; null while an address is dialled and nobody has answered there.
    #[schema(required)]
    pub node_id: Option<String>,
    /// Its name.
    #[schema(required)]
    pub name: Option<String>,
    /// Whether it is in reach: `connected`, `greeting`, `disconnected` or another word.
    pub state: String,
    /// When it was heard last.
    #[schema(required, format = DateTime)]
    pub last_seen: Option<String>,
    /// Entries that this node holds and it has not acknowledged, to this node or in a receipt that others carried here;
    /// null where nothing was heard of it yet. While it is not connected only the lanes from `trust` to `coordination`
    /// count: of the others it takes the latest when it comes.
    #[schema(required)]
    pub behind_entries: Option<u64>,
    /// The same in bytes: an estimate.
    #[schema(required)]
    pub behind_bytes: Option<u64>,
    /// The same by lane, the most urgent first; lanes of which it lacks nothing are left out.
    pub behind: Vec<LaneBehind>,
    /// Entries that it holds and this node lacks; null while it is not connected.
    #[schema(required)]
    pub missing_entries: Option<u64>,
    /// Whether it has made the same of the same entries.
    pub agreed: Agreement,
    /// Where it is reached or dialled.
    #[schema(nullable)]
    pub address: Option<String>,
    /// Time of a round trip, milliseconds.
    #[schema(nullable)]
    pub rtt_ms: Option<f64>,
    /// Version of its program.
    #[schema(nullable)]
    pub software: Option<String>,
    /// Why the last attempt failed.
    #[schema(nullable)]
    pub last_error: Option<String>,
    /// How often it broke the protocol, until an hour without. Each time its connection is ended, and it is refused for
    /// longer than the last time.
    pub violations: Option<u64>,
    /// What it did the last time.
    #[schema(nullable)]
    pub last_violation: Option<String>,
    /// How much longer it is refused for that, milliseconds; null when it is not.
    #[schema(nullable)]
    pub refused_for_ms: Option<u64>,
    /// When it is dialled again, milliseconds from now.
    #[schema(nullable)]
    pub next_dial_in_ms: Option<u64>,
    /// Since the connection began.
    pub datagrams_sent: Option<u64>,
    /// Since the connection began.
    pub datagrams_received: Option<u64>,
    /// Since the connection began.
    pub bytes_sent: Option<u64>,
    /// Since the connection began.
    pub bytes_received: Option<u64>,
}

/// What another node lacks of one lane.
#[derive(ToSchema)]
pub struct LaneBehind {
    /// The lane, from the most urgent on: `trust`, `flash`, `life`, `coordination`, `summary`, `raw`, `blobs`.
    pub lane: String,
    /// Entries that it has not acknowledged.
    pub entries: u64,
    /// Their bytes: an estimate.
    pub bytes: u64,
}

/// What the newest comparison with another node came to, since this one was started. Two nodes compare whenever both hold
/// the same entries.
#[derive(ToSchema)]
pub struct Agreement {
    /// What it came to.
    pub state: AgreementState,
    /// When they compared, by this node's clock.
    #[schema(required, format = DateTime)]
    pub at: Option<String>,
    /// What both had come to, for `equal`: the same 32 hex digits are shown there.
    #[schema(required)]
    pub digest: Option<String>,
    /// Documents and facts that were found to differ, for `differs`; 0 where only entries differ that are not applied.
    pub objects: u64,
}

/// Whether two nodes have made the same of the same entries.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum AgreementState {
    /// They have not compared yet, or their programs follow other rules.
    Unproven,
    /// They have.
    Equal,
    /// They have not: see `/v1/sync-faults`.
    Differs,
}

/// Something that somebody should look after.
#[derive(ToSchema)]
pub struct Warning {
    /// A stable name.
    pub code: String,
    /// What it is, and what to do.
    pub detail: String,
}

/// Other nodes.
#[derive(ToSchema)]
pub struct PeerPage {
    /// The nodes.
    pub items: Vec<Peer>,
    /// Always null: every node is in one page.
    #[schema(required)]
    pub next: Option<String>,
    /// This node's position.
    pub since: String,
}

/// Faults of sync that nobody has looked at.
#[derive(ToSchema)]
pub struct UnseenSyncFaults {
    /// How many.
    pub unseen: u64,
    /// When the newest of them was noticed last.
    #[schema(required, format = DateTime)]
    pub last_at: Option<String>,
}

/// Another node had made something else of the same entries: a fault of a program or a disk, here or there.
#[derive(ToSchema)]
pub struct SyncFault {
    /// Id on this node.
    pub id: String,
    /// When it was noticed first.
    #[schema(format = DateTime)]
    pub at: String,
    /// When it was noticed last.
    #[schema(format = DateTime)]
    pub last_at: String,
    /// How often this very difference was noticed.
    pub times: u64,
    /// The other node.
    pub peer: String,
    /// Its name.
    #[schema(required)]
    pub peer_name: Option<String>,
    /// Names the entries that both held.
    pub mark: String,
    /// The group that differed.
    pub group: String,
    /// How many documents and facts differed; 0 where only entries differed that are not applied.
    pub objects: u64,
    /// Whose fault it was, as far as this node can tell.
    pub fault: SyncFaultSide,
    /// When this node's side was put right, or found to be right; null where it could not be.
    #[schema(required, format = DateTime)]
    pub repaired_at: Option<String>,
    /// When somebody had looked at it.
    #[schema(required, format = DateTime)]
    pub seen_at: Option<String>,
    /// What is needed to find the cause: per document or fact both digests, its heads, its version, its commit, its
    /// entries and their states, from before the repair; the programs of both nodes; what looking again came to.
    #[schema(value_type = Object)]
    pub detail: Value,
}

/// At which of two nodes a fault was.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum SyncFaultSide {
    /// What this node showed did not follow from its entries.
    Ours,
    /// What this node showed follows from its entries.
    Theirs,
    /// It has not been looked into yet, or that failed.
    Unknown,
}

/// Faults of sync.
#[derive(ToSchema)]
pub struct SyncFaultPage {
    /// The faults, newest first.
    pub items: Vec<SyncFault>,
    /// Cursor of the next page; null at the end.
    #[schema(required)]
    pub next: Option<String>,
    /// This node's position.
    pub since: String,
}

/// Faults that somebody has looked at.
#[derive(ToSchema)]
pub struct SeenSyncFaults {
    /// How many of them nobody had looked at before.
    pub seen: u64,
}
