//! What we know of one peer, and the state of the connection with it.
//!
//! Invariant: `PeerLog::stored` is only what the peer itself showed, by its word or by sending it; `PeerLog::sent` also
//! covers what is on its way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

use crate::ids::{GroupId, Lane, LogId, NodeId, Seq};
use crate::io::{ConnId, Interest, PeerState};

/// One log, as far as a peer is with it.
#[derive(Debug, Default)]
pub(crate) struct PeerLog {
    /// On the peer's disk up to here: it said so, or sent the entries.
    pub(crate) stored: Seq,
    /// Applied there up to here, as it said.
    pub(crate) applied: Seq,
    /// The first bytes of the chain hash at `stored`, if known.
    pub(crate) chain: Option<[u8; 8]>,
    /// Sent up to here on this connection.
    pub(crate) sent: Seq,
    /// Runs sent and not acknowledged: last entry and weight.
    outstanding: VecDeque<(Seq, usize)>,
    /// The two of us hold different branches: not exchanged on this connection.
    pub(crate) forked: bool,
    /// Where we last asked the peer to send from again; not asked twice.
    pub(crate) wanted: Seq,
}

impl PeerLog {
    /// The first entry that the peer may lack.
    pub(crate) fn next(&self) -> Seq {
        self.sent.max(self.stored).next()
    }

    /// Notes a run that went out.
    fn note_sent(&mut self, last: Seq, weight: usize) {
        self.sent = last;
        self.outstanding.push_back((last, weight));
    }

    /// Drops what is acknowledged; returns its weight.
    fn release(&mut self) -> usize {
        let mut released = 0;
        while self
            .outstanding
            .front()
            .is_some_and(|(last, _)| *last <= self.stored)
        {
            released += self.outstanding.pop_front().map_or(0, |(_, weight)| weight);
        }
        released
    }

    /// Forgets all that is on its way; returns its weight.
    fn forget(&mut self) -> usize {
        self.outstanding.drain(..).map(|(_, weight)| weight).sum()
    }
}

/// The sending side of one lane of one connection.
#[derive(Debug, Default)]
pub(crate) struct LaneOut {
    /// Logs with something to send.
    pub(crate) ready: BTreeSet<LogId>,
    /// Whose turn it was last.
    turn: Option<LogId>,
    /// The log that a load is under way for: one per lane at a time.
    pub(crate) loading: Option<LogId>,
    /// Logs whose load gave nothing, and when to try again (monotonic milliseconds).
    pub(crate) resting: BTreeMap<LogId, u64>,
    /// Frame bytes that the transport has not sent.
    pub(crate) unsent_bytes: usize,
    /// Weight of runs sent and not acknowledged.
    pub(crate) unacked_bytes: usize,
}

impl LaneOut {
    /// The next log in turn; within a lane authors take turns.
    pub(crate) fn next_turn(&mut self) -> Option<LogId> {
        let after = self.turn.map_or(Bound::Unbounded, Bound::Excluded);
        let log = self
            .ready
            .range((after, Bound::Unbounded))
            .next()
            .or_else(|| self.ready.first())
            .copied()?;
        self.turn = Some(log);
        Some(log)
    }
}

/// How far a greeting has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The peer's Hello has not come.
    Waiting {
        /// When we give up.
        deadline_ms: u64,
    },
    /// Hellos are exchanged; lane 0 flows until both ends know each other as members.
    Greeting {
        /// When we give up, unless lane 0 moves.
        deadline_ms: u64,
        /// The peer is a member as far as we know.
        we_admit: bool,
        /// The peer said that we are.
        they_admit: bool,
    },
    /// All lanes flow.
    Live,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) conn: ConnId,
    pub(crate) dialled: bool,
    pub(crate) since_ms: u64,
    pub(crate) stage: Stage,
    /// Our Hello named all lanes.
    pub(crate) told_all: bool,
    pub(crate) protocol: Option<u16>,
    pub(crate) lanes: [LaneOut; 7],
}

impl Session {
    pub(crate) fn new(
        conn: ConnId,
        dialled: bool,
        since_ms: u64,
        deadline_ms: u64,
        told_all: bool,
    ) -> Self {
        Self {
            conn,
            dialled,
            since_ms,
            stage: Stage::Waiting { deadline_ms },
            told_all,
            protocol: None,
            lanes: Default::default(),
        }
    }

    pub(crate) fn lane(&mut self, lane: Lane) -> &mut LaneOut {
        &mut self.lanes[lane.index()]
    }

    /// Whether the peer may send us this lane.
    pub(crate) fn may_receive(&self, lane: Lane) -> bool {
        lane == Lane::Trust
            || matches!(
                self.stage,
                Stage::Live | Stage::Greeting { we_admit: true, .. }
            )
    }

    /// Whether we may send the peer this lane.
    pub(crate) fn may_send(&self, lane: Lane) -> bool {
        match self.stage {
            Stage::Waiting { .. } => false,
            Stage::Greeting { .. } => lane == Lane::Trust,
            Stage::Live => true,
        }
    }

    /// When the greeting is given up.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        match self.stage {
            Stage::Waiting { deadline_ms } | Stage::Greeting { deadline_ms, .. } => {
                Some(deadline_ms)
            }
            Stage::Live => None,
        }
    }

    /// Lane 0 moved: the greeting gets more time.
    pub(crate) fn extend(&mut self, until_ms: u64) {
        if let Stage::Greeting { deadline_ms, .. } = &mut self.stage {
            *deadline_ms = (*deadline_ms).max(until_ms);
        }
    }
}

/// Whether there is a connection.
#[derive(Debug)]
pub(crate) enum Phase {
    /// None; why the last one ended.
    Away { reason: Option<String> },
    /// One.
    Met(Box<Session>),
}

/// One peer.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) node: NodeId,
    pub(crate) phase: Phase,
    pub(crate) logs: BTreeMap<LogId, PeerLog>,
    pub(crate) last_seen_wall_ms: u64,
    pub(crate) name: Option<String>,
    pub(crate) software: Option<String>,
    /// What it asked for when it last greeted.
    pub(crate) interest: Interest,
}

impl Peer {
    pub(crate) fn new(node: NodeId) -> Self {
        Self {
            node,
            phase: Phase::Away { reason: None },
            logs: BTreeMap::new(),
            last_seen_wall_ms: 0,
            name: None,
            software: None,
            interest: Interest::default(),
        }
    }

    /// Whether the peer gets this log at all.
    pub(crate) fn wants(&self, log: &LogId) -> bool {
        (log.group == GroupId::SHARED || self.interest.groups.contains(&log.group))
            && (!log.lane.on_request() || self.interest.lanes.contains(&log.lane))
    }

    pub(crate) fn session(&self) -> Option<&Session> {
        match &self.phase {
            Phase::Met(session) => Some(session),
            Phase::Away { .. } => None,
        }
    }

    pub(crate) fn session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.phase {
            Phase::Met(session) => Some(session),
            Phase::Away { .. } => None,
        }
    }

    pub(crate) fn state(&self) -> PeerState {
        match self.session().map(|session| session.stage) {
            None => PeerState::Disconnected,
            Some(Stage::Live) => PeerState::Live,
            Some(_) => PeerState::Greeting,
        }
    }

    /// A connection begins: what the peer said before stays shown until it speaks again.
    pub(crate) fn begin(&mut self, session: Session) {
        for log in self.logs.values_mut() {
            log.forget();
            log.sent = Seq::NONE;
            log.forked = false;
            log.wanted = Seq::NONE;
        }
        self.phase = Phase::Met(Box::new(session));
    }

    /// The peer is about to say all that it has in these lanes: what it said before no longer counts.
    pub(crate) fn forget_claims(&mut self, covered: impl Fn(Lane) -> bool) {
        for (log, held) in &mut self.logs {
            if covered(log.lane) {
                held.stored = Seq::NONE;
                held.applied = Seq::NONE;
            }
        }
    }

    /// A run went out.
    pub(crate) fn note_sent(&mut self, log: LogId, last: Seq, weight: usize, frame_bytes: usize) {
        self.logs.entry(log).or_default().note_sent(last, weight);
        if let Some(session) = self.session_mut() {
            let lane = session.lane(log.lane);
            lane.unsent_bytes += frame_bytes;
            lane.unacked_bytes += weight;
        }
    }

    /// Frees the room of what the peer has acknowledged.
    pub(crate) fn release(&mut self, log: LogId) {
        let released = self.logs.get_mut(&log).map_or(0, PeerLog::release);
        self.give_room(log.lane, released);
    }

    /// Frees the room of all that is on its way of this log.
    pub(crate) fn forget_outstanding(&mut self, log: LogId) {
        let released = self.logs.get_mut(&log).map_or(0, PeerLog::forget);
        self.give_room(log.lane, released);
    }

    fn give_room(&mut self, lane: Lane, released: usize) {
        if let Some(session) = self.session_mut() {
            let lane = session.lane(lane);
            lane.unacked_bytes = lane.unacked_bytes.saturating_sub(released);
        }
    }
}
