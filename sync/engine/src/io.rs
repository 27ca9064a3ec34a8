//! What goes into the engine and what comes out of it.

use std::sync::Arc;

use crate::chain::Head;
use crate::codec::{Name, Place};
use crate::ids::{GroupId, Incarnation, Lane, LogId, NodeId, Seq};
use crate::marks::Mark;
use crate::proof::{DigestItems, Digests, Mismatch, ProofId, ProofView};
use crate::run::{Run, VerifiedRun};
use crate::trust::TrustRecord;

/// The longest frame of each kind of stream, bytes, without the shell's length prefix. A shell refuses longer ones
/// before it buffers them.
pub const CONTROL_FRAME_BYTES_MAX: usize = 1024 * 1024;
/// See [`CONTROL_FRAME_BYTES_MAX`]: one run and its kind byte.
pub const LANE_FRAME_BYTES_MAX: usize = crate::run::RUN_BYTES_MAX + 64;

/// The time, as the shell's clocks show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds on a clock that never goes back; every timer runs on it.
    pub mono_ms: u64,
    /// Milliseconds since 1970 UTC; shown to people, never used to decide.
    pub wall_ms: u64,
}

/// One connection, numbered by the shell and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// One batch handed to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub u64);

/// One request to read a run from the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoadId(pub u64);

/// One request to look up what entries are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResolveId(pub u64);

/// Which of a connection's streams a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamKind {
    /// The one control stream: greetings and acknowledgements. Goes before every lane.
    Control,
    /// A lane's stream; its priority is the lane.
    Lane(Lane),
}

impl StreamKind {
    /// The longest frame on this stream, bytes.
    pub const fn frame_bytes_max(self) -> usize {
        match self {
            Self::Control => CONTROL_FRAME_BYTES_MAX,
            Self::Lane(_) => LANE_FRAME_BYTES_MAX,
        }
    }
}

/// Who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalNode {
    /// Our key.
    pub node: NodeId,
    /// The current life of our logs.
    pub incarnation: Incarnation,
    /// What people call this node.
    pub name: String,
    /// Program and version, for people.
    pub software: String,
}

/// What we want beyond what everyone gets (group `shared`, lanes 0 to 4).
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Interest {
    /// Groups besides `shared`.
    pub groups: Vec<GroupId>,
    /// Lanes above 4.
    pub lanes: Vec<Lane>,
}

impl Interest {
    /// Whether this interest includes a log.
    pub fn covers(&self, log: &LogId) -> bool {
        (log.group == GroupId::SHARED || self.groups.contains(&log.group))
            && (!log.lane.on_request() || self.lanes.contains(&log.lane))
    }

    /// The same without what everyone gets and without repetitions, in order.
    pub(crate) fn normal(mut self) -> Self {
        self.groups.retain(|group| *group != GroupId::SHARED);
        self.groups.sort_unstable();
        self.groups.dedup();
        self.lanes.retain(|lane| lane.on_request());
        self.lanes.sort_unstable();
        self.lanes.dedup();
        self
    }

    /// What both want.
    pub(crate) fn common(&self, other: &Self) -> Self {
        let both = Self {
            groups: self
                .groups
                .iter()
                .copied()
                .filter(|group| other.groups.contains(group))
                .collect(),
            lanes: self
                .lanes
                .iter()
                .copied()
                .filter(|lane| other.lanes.contains(lane))
                .collect(),
        };
        both.normal()
    }
}

/// Why a connection ends. The number travels as the transport's close code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum ReasonCode {
    /// This end shuts down in order.
    Shutdown = 0,
    /// The two nodes belong to different operations.
    OtherOperation = 1,
    /// No protocol version that both speak.
    Protocol = 2,
    /// The peer is no member, and its lane 0 did not make it one in time.
    NotMember = 3,
    /// A frame that does not decode, or comes where it must not.
    BadFrame = 4,
    /// A run whose shape, chain or signature is wrong.
    BadRun = 5,
    /// A run by an author that may not write there.
    Author = 6,
    /// The peer sent more than it was given room for.
    Flow = 7,
    /// This end cannot store what it is sent.
    StorageFault = 8,
    /// Another connection with the same peer is kept instead.
    Superseded = 9,
    /// This end has as many connections as it allows.
    Busy = 10,
}

impl ReasonCode {
    /// The number that travels.
    pub const fn code(self) -> u32 {
        self as u32
    }
}

/// What happened, as told by the shell.
#[derive(Debug)]
pub enum Input {
    /// A connection with an authenticated peer is up.
    Connected {
        /// Its number.
        conn: ConnId,
        /// Whose key authenticated the other end.
        peer: NodeId,
        /// Whether this end dialled.
        dialled: bool,
    },
    /// One whole frame came; the shell deals with length prefixes and [`StreamKind::frame_bytes_max`].
    Frame {
        /// From where.
        conn: ConnId,
        /// On which stream.
        stream: StreamKind,
        /// The frame.
        bytes: Vec<u8>,
    },
    /// How many bytes of a lane the transport has not sent yet. To be told whenever it falls; the engine itself adds
    /// what it sends.
    Unsent {
        /// Of which connection.
        conn: ConnId,
        /// Of which lane.
        lane: Lane,
        /// Bytes queued in the shell and the transport.
        bytes: usize,
    },
    /// The connection is gone.
    Disconnected {
        /// Its number.
        conn: ConnId,
        /// Why, for people.
        reason: String,
    },
    /// The answer to [`Effect::Load`]: a run that starts where it was asked for; `None` when nothing is there or it
    /// could not be read.
    Loaded {
        /// Which request.
        load: LoadId,
        /// What was read.
        run: Option<Run>,
        /// What payloads in the run name outside of it, and where that stands, as far as it is known. May be empty; the
        /// run is sent in fewer bytes where it is not.
        named: Vec<(Name, Place)>,
    },
    /// The answer to [`Effect::Resolve`].
    Resolved {
        /// Which request.
        resolve: ResolveId,
        /// What is known of the places asked for, in any order.
        names: Vec<(Place, Name)>,
    },
    /// The answer to [`Effect::Store`], after the commit.
    Persisted {
        /// Which batch.
        batch: BatchId,
        /// Whether all of it is on disk, or none.
        result: Result<Stored, StoreFault>,
    },
    /// Applied heights moved: at start for every log, later when something that waited became ready.
    Applied {
        /// Per log the highest entry up to which all is applied or quarantined.
        items: Vec<(LogId, Seq)>,
    },
    /// Entries of our own were committed.
    LocalCommit {
        /// The log.
        log: LogId,
        /// Its newest entry.
        head: Head,
        /// The trust records among them (lane 0).
        records: Vec<TrustRecord>,
        /// The new entries, so that connected peers get them without a load.
        run: Option<Run>,
    },
    /// The answer to [`Effect::Digest`]; `None` when it cannot be given now.
    Digested {
        /// Which question.
        proof: ProofId,
        /// The digests.
        digests: Option<Digests>,
    },
    /// The answer to [`Effect::DigestItems`]; `None` when it cannot be given now.
    DigestedItems {
        /// Which question.
        proof: ProofId,
        /// The items.
        items: Option<DigestItems>,
    },
    /// The time that [`crate::Engine::poll_timeout`] named has come.
    Timeout,
}

/// A batch is on disk.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Per log of the batch the highest entry up to which all is applied or quarantined.
    pub applied: Vec<(LogId, Seq)>,
}

/// A batch is not on disk, none of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store refused a batch: {detail}")]
pub struct StoreFault {
    /// What the store said.
    pub detail: String,
}

/// What the shell has to do, in order.
#[derive(Debug)]
pub enum Effect {
    /// Send a frame.
    Send {
        /// On which connection.
        conn: ConnId,
        /// On which stream.
        stream: StreamKind,
        /// The frame, without length prefix.
        frame: Vec<u8>,
    },
    /// Read a run from the store, for [`Input::Loaded`].
    Load {
        /// The request's number.
        load: LoadId,
        /// Which log.
        log: LogId,
        /// The first entry wanted.
        from: Seq,
        /// About how long the run may be (see [`crate::RunBuilder`]).
        bytes_max: usize,
    },
    /// Say what the entries at these places are called (see [`PayloadCodec::name`]) and whose they are, for
    /// [`Input::Resolved`]. What cannot be read is left out.
    ///
    /// [`PayloadCodec::name`]: crate::PayloadCodec::name
    Resolve {
        /// The request's number.
        resolve: ResolveId,
        /// Which entries.
        places: Vec<Place>,
    },
    /// Commit these runs in one transaction, for [`Input::Persisted`]. Each continues its log.
    Store {
        /// The batch's number.
        batch: BatchId,
        /// Who sent them.
        from: NodeId,
        /// What to store.
        runs: Vec<VerifiedRun>,
    },
    /// Close a connection; [`Input::Disconnected`] may follow or not.
    Disconnect {
        /// Which one.
        conn: ConnId,
        /// Why, as a number for the other end.
        code: ReasonCode,
        /// Why, for people at both ends.
        detail: String,
    },
    /// Remember that this peer and we have both held a frontier, for [`crate::Engine::recall`] after a restart. Losing
    /// it costs nothing but a longer greeting.
    KeepMark {
        /// Who.
        peer: NodeId,
        /// The frontier, as a whole: it may have been kept before, with another peer.
        mark: Arc<Mark>,
    },
    /// Say what these groups' documents and facts have come to, for [`Input::Digested`].
    Digest {
        /// The question's number.
        proof: ProofId,
        /// The groups.
        groups: Vec<GroupId>,
    },
    /// Name the objects in these buckets and the state of each, for [`Input::DigestedItems`].
    DigestItems {
        /// The question's number.
        proof: ProofId,
        /// The group.
        group: GroupId,
        /// Last bytes of the ids.
        buckets: Vec<u8>,
    },
    /// A peer has made something else of the same logs: a fault, here or there.
    Mismatch(Box<Mismatch>),
    /// A peer said how far it has stored and applied logs that we hold.
    Progress {
        /// Who.
        peer: NodeId,
        /// Per log.
        items: Vec<ProgressItem>,
    },
    /// A peer shows a longer or another version of a log that we are writing: stop appending. Once per log.
    OwnLogLonger(OwnLogConflict),
    /// [`crate::Engine::peers`] shows something new of this peer.
    PeerChanged {
        /// Who.
        peer: NodeId,
    },
}

/// How far a peer is with one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProgressItem {
    /// Which log.
    pub log: LogId,
    /// On its disk up to here.
    pub stored: Seq,
    /// Applied or quarantined up to here; at most `stored`.
    pub applied: Seq,
}

/// Somebody holds a version of our own log that we do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnLogConflict {
    /// Which log.
    pub log: LogId,
    /// Our newest entry.
    pub ours: Seq,
    /// Theirs; equal to ours when the chains differ.
    pub theirs: Seq,
    /// Who showed it.
    pub peer: NodeId,
}

/// Where the exchange with a peer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerState {
    /// Connected; one end does not know yet that the other is a member.
    Greeting,
    /// Connected and exchanging.
    Live,
    /// Not connected.
    Disconnected,
}

/// One peer, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerView {
    /// Its key.
    pub node: NodeId,
    /// Its name: from its grant, else from its greeting.
    pub name: Option<String>,
    /// Where the exchange stands.
    pub state: PeerState,
    /// When something last came from it, by our wall clock, milliseconds since 1970; 0 when never since our start.
    pub last_seen_wall_ms: u64,
    /// Entries that we hold and it has not acknowledged. For a peer not met since our start: what has come since the
    /// newest frontier that both had; without one, all it would get.
    pub behind_entries: u64,
    /// An estimate of their bytes: entries times the mean size of those of the lane seen since our start.
    pub behind_bytes: u64,
    /// The same by lane, in the order of [`Lane::ALL`].
    pub behind: [LaneBehind; 7],
    /// Entries that it says it holds and we lack, while connected.
    pub missing_entries: u64,
    /// The protocol version agreed on, while connected.
    pub protocol: Option<u16>,
    /// The program it says it runs.
    pub software: Option<String>,
    /// What the newest comparison with it came to.
    pub proof: ProofView,
    /// Why the last connection ended, for people.
    pub reason: Option<String>,
}

/// What a peer lacks of one lane.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct LaneBehind {
    /// Entries.
    pub entries: u64,
    /// An estimate of their bytes.
    pub bytes: u64,
}

/// What the engine holds in memory, each of it bounded by [`Limits`]. For figures and for tests of the bounds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Connections.
    pub connections: usize,
    /// The most bytes of one lane of one peer that wait for the store.
    pub inbox_bytes_max: usize,
    /// Bytes of runs that wait for their author's grant.
    pub waiting_bytes: usize,
    /// The most bytes of one lane of one connection that were sent and not acknowledged.
    pub unacked_bytes_max: usize,
    /// The most bytes of one lane of one connection that the transport has not sent.
    pub unsent_bytes_max: usize,
    /// Logs remembered for peers, over all of them: those in which one is not level with us.
    pub peer_logs: usize,
    /// Loads under way.
    pub loads: usize,
}

/// Counts since the engine was made.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Runs with a signature that does not verify.
    pub refused_signature: u64,
    /// Runs whose shape or chain is wrong.
    pub refused_chain: u64,
    /// Runs by authors that may not write there, and connections of non-members.
    pub refused_author: u64,
    /// Greetings, runs and records of another operation.
    pub refused_operation: u64,
    /// Trust records that do not decode or are not signed by their issuer.
    pub refused_records: u64,
    /// Greetings without a protocol version in common.
    pub refused_protocol: u64,
    /// Frames that do not decode or come where they must not.
    pub refused_frames: u64,
    /// Connections that sent more than they had room for.
    pub refused_flow: u64,
    /// Frames of kinds this version does not know: ignored.
    pub unknown_frames: u64,
    /// Runs of which everything was there already, or on its way.
    pub duplicate_runs: u64,
    /// Runs dropped because one before them is missing; asked for again.
    pub gap_runs: u64,
    /// Runs that waited for their author's grant.
    pub waiting_runs: u64,
    /// Waiting runs dropped for lack of room or time; asked for again once the author is known.
    pub waiting_dropped: u64,
    /// Logs seen in two versions.
    pub forks_seen: u64,
    /// Batches that the store refused.
    pub store_faults: u64,
    /// Runs stored.
    pub stored_runs: u64,
    /// Entries stored.
    pub stored_entries: u64,
    /// Frontiers agreed on with peers.
    pub marks_agreed: u64,
    /// Greetings that named only what moved.
    pub short_greetings: u64,
    /// Comparisons with a peer that found the same.
    pub proofs_equal: u64,
    /// Comparisons that came to nothing, because something had moved on or the programs differ.
    pub proofs_void: u64,
    /// Comparisons that found a difference.
    pub proof_faults: u64,
    /// Runs sent.
    pub sent_runs: u64,
    /// Those among them that were packed.
    pub sent_packed_runs: u64,
    /// Packed runs that referred to what was looked up in the store.
    pub resolves: u64,
    /// Packed runs that could not be unpacked here: asked for again, plain.
    pub unresolved_runs: u64,
    /// Packed runs that came out as something else than their author signed: asked for again, plain.
    pub wrong_rebuilds: u64,
    /// Bytes of frames sent, all streams.
    pub sent_bytes: u64,
    /// Bytes of frames received, all streams.
    pub received_bytes: u64,
}

/// The engine's bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once. Each may make us hold the buffers below.
    pub connections_max: usize,
    /// Connections at once with who is no member yet, so that strangers cannot keep members out.
    pub strangers_max: usize,
    /// Bytes of one lane handed to the transport and not sent yet, per connection: what an urgent entry of the same
    /// lane waits behind, as quinn's send window is shared.
    pub unsent_bytes_max: usize,
    /// Bytes of one lane sent and not acknowledged, per connection: what a receiver may have to hold.
    pub unacked_bytes_max: usize,
    /// The same for all connections together: with many of them each may have its share, and always one run. What a
    /// thousand peers that do not read make us hold is bounded by this.
    pub unacked_total_bytes_max: usize,
    /// Bytes of verified runs of one lane waiting for the store, per peer. An honest sender stays below
    /// `unacked_bytes_max` by frame size; this is above it by a run's decompressed growth.
    pub inbox_bytes_max: usize,
    /// One store batch: bytes and runs. A batch is one transaction, and what comes behind it waits for it: some tenths
    /// of a second. A smaller one would cost more in all, because a document that several batches change is judged,
    /// saved and loaded again for each of them.
    pub batch_bytes_max: usize,
    /// See `batch_bytes_max`.
    pub batch_runs_max: usize,
    /// Runs waiting for their author's grant, bytes over all peers: lane 0 goes first, so that few ever wait.
    pub waiting_bytes_max: usize,
    /// See `waiting_bytes_max`: runs.
    pub waiting_runs_max: usize,
    /// How long a run is kept here for its author's grant, milliseconds; then it is asked for again once that has come.
    pub waiting_ms_max: u64,
    /// How long a peer may stay no member, milliseconds, from its last piece of lane 0.
    pub greeting_ms_max: u64,
    /// How long a run asked of the store may be, bytes: at most [`crate::RUN_BYTES_MAX`], less where a link is so thin
    /// that one run holds up the next.
    pub load_bytes_max: usize,
    /// After a load that gave nothing the log rests this long, milliseconds.
    pub load_retry_ms: u64,
    /// Logs remembered for one peer, those in which it is not level with us: some 200 bytes each.
    pub peer_logs_max: usize,
    /// The newest protocol version to speak: lower than this program's own to hold a fleet back, and in tests.
    pub protocol_max: u16,
    /// How long nothing may have moved before two level peers agree on a mark, milliseconds.
    pub mark_quiet_ms: u64,
    /// The shortest time between two marks with one peer, milliseconds: each is a small write to the disk.
    pub mark_pause_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 64,
            strangers_max: 16,
            unsent_bytes_max: 128 * 1024,
            unacked_bytes_max: 2 * 1024 * 1024,
            unacked_total_bytes_max: 32 * 1024 * 1024,
            inbox_bytes_max: 4 * 1024 * 1024,
            batch_bytes_max: 1024 * 1024,
            batch_runs_max: 256,
            waiting_bytes_max: 1024 * 1024,
            waiting_runs_max: 1024,
            waiting_ms_max: 10_000,
            greeting_ms_max: 10_000,
            load_bytes_max: crate::run::RUN_BYTES_MAX,
            load_retry_ms: 1_000,
            peer_logs_max: 65_536,
            protocol_max: crate::hello::PROTOCOL_MAX,
            mark_quiet_ms: 1_000,
            mark_pause_ms: 30_000,
        }
    }
}
