//! What we know of one peer, and the state of the connection with it.
//!
//! Invariants: `PeerLog::stored` is only what the peer itself showed, by its word or by sending it; `PeerLog::sent` also
//! covers what is on its way. Of lanes whose claims were heard, a log that [`Peer::logs`] does not name is *level*: the
//! peer has stored and applied exactly what we hold. So a peer that has everything costs nothing per log, which is what
//! lets one node serve a thousand. Of a peer that is away nothing is kept per log; what it lacks is counted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

use crate::frontier::{Frontier, LogFrontier};
use crate::frontier_wire::Claim;
use crate::ids::{GroupId, Incarnation, Lane, LogId, NodeId, Seq};
use crate::io::{ConnId, Interest, PeerState};
use crate::marks::MarkHash;
use crate::members::Members;
use crate::packed::StreamTable;
use crate::proof::{Proof, ProofView};
use crate::unpacking::LaneIn;

/// The first protocol version with packed runs.
const PROTOCOL_PACKED: u16 = 2;
/// Logs that a peer may ask for plain; who asks for more gets all of them plain.
const PLAIN_LOGS_MAX: usize = 1024;

/// One log in which a peer is not level with us, or which something is under way for.
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
    /// The same, for runs that are not packed.
    pub(crate) wanted_plain: Seq,
}

impl PeerLog {
    /// As a level log stands.
    pub(crate) fn level(held: Option<&LogFrontier>) -> Self {
        let height = held.map_or(Seq::NONE, |held| held.height);
        Self {
            stored: height,
            applied: height,
            chain: held.map(|held| held.chain.short()),
            sent: height,
            ..Self::default()
        }
    }

    /// Whether nothing of it has to be remembered: it is as [`PeerLog::level`] would make it.
    fn is_level(&self, held: Option<&LogFrontier>) -> bool {
        let height = held.map_or(Seq::NONE, |held| held.height);
        self.stored == height
            && self.applied == height
            && self
                .chain
                .is_none_or(|chain| held.is_none_or(|held| held.chain.short() == chain))
            && self.outstanding.is_empty()
            && !self.forked
    }

    /// Takes the peer's word for how far it is. What it said before is not taken back.
    pub(crate) fn take(&mut self, claim: &Claim) {
        if claim.stored < self.stored {
            return;
        }
        if claim.stored > self.stored || claim.chain.is_some() {
            self.chain = claim.chain;
        }
        self.stored = claim.stored;
        self.applied = self.applied.max(claim.applied);
    }

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
    turn: Option<NodeId>,
    /// The log that a load is under way for: one per lane at a time.
    pub(crate) loading: Option<LogId>,
    /// Logs whose load gave nothing, and when to try again (monotonic milliseconds).
    pub(crate) resting: BTreeMap<LogId, u64>,
    /// Frame bytes that the transport has not sent.
    pub(crate) unsent_bytes: usize,
    /// Weight of runs sent and not acknowledged.
    pub(crate) unacked_bytes: usize,
    /// What packed runs on this stream have named.
    table: Option<Box<StreamTable>>,
}

impl LaneOut {
    /// The table of the stream, which is of that lane.
    pub(crate) fn table(&mut self, lane: Lane) -> &mut StreamTable {
        self.table
            .get_or_insert_with(|| Box::new(StreamTable::new(lane)))
    }

    /// The next log in turn. Within a lane authors take turns, however many logs each has.
    pub(crate) fn next_turn(&mut self) -> Option<LogId> {
        let after = self.turn.map_or(Bound::Unbounded, |author| {
            Bound::Excluded(LogId {
                author,
                incarnation: Incarnation(u64::MAX),
                group: GroupId([u8::MAX; 16]),
                lane: Lane::Blobs,
            })
        });
        let log = self
            .ready
            .range((after, Bound::Unbounded))
            .next()
            .or_else(|| self.ready.first())
            .copied()?;
        self.turn = Some(log.author);
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
    /// What we have said of our own frontier.
    pub(crate) told: Told,
    pub(crate) protocol: Option<u16>,
    pub(crate) lanes: [LaneOut; 7],
    pub(crate) lanes_in: [LaneIn; 7],
    /// Logs that the peer asked for plain.
    plain: BTreeSet<LogId>,
    /// Packed runs of the peer that came out as something else than their author signed.
    pub(crate) wrong_rebuilds: u32,
    /// When to propose the next mark (monotonic milliseconds); `None` when nothing has moved since the last.
    pub(crate) mark_at_ms: Option<u64>,
    /// A mark that we proposed and the peer has not answered.
    pub(crate) mark_offered: Option<MarkHash>,
    /// The members as our greeting counted them: the answer counts by these.
    pub(crate) members: Members,
    /// How the peer's greeting counted them.
    pub(crate) their_members: [u8; 8],
    /// The peer did not know the mark of our greeting, and was told all.
    pub(crate) said_again: bool,
    /// When the peer last proposed a mark that we did not know (monotonic milliseconds).
    pub(crate) mark_asked_ms: Option<u64>,
    /// The comparison of what both have made of the same logs.
    pub(crate) proof: Option<Box<Proof>>,
    /// When we last said log by log what we have, because the peer's mark was not ours (monotonic milliseconds).
    pub(crate) differed_ms: Option<u64>,
}

/// What a peer was told of our frontier on this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Told {
    /// Nothing yet: it comes when the peer's greeting has shown how it can be said.
    Nothing,
    /// Lane 0: the peer was no member when we greeted it.
    Trust,
    /// All of it.
    All,
}

impl Session {
    pub(crate) fn new(
        conn: ConnId,
        dialled: bool,
        since_ms: u64,
        deadline_ms: u64,
        told: Told,
        members: Members,
    ) -> Self {
        Self {
            conn,
            dialled,
            since_ms,
            stage: Stage::Waiting { deadline_ms },
            told,
            protocol: None,
            lanes: Default::default(),
            lanes_in: Default::default(),
            plain: BTreeSet::new(),
            wrong_rebuilds: 0,
            mark_at_ms: None,
            mark_offered: None,
            members,
            their_members: [0; 8],
            said_again: false,
            mark_asked_ms: None,
            proof: None,
            differed_ms: None,
        }
    }

    pub(crate) fn lane(&mut self, lane: Lane) -> &mut LaneOut {
        &mut self.lanes[lane.index()]
    }

    pub(crate) fn lane_in(&mut self, lane: Lane) -> &mut LaneIn {
        &mut self.lanes_in[lane.index()]
    }

    /// Whether packed runs are part of the protocol spoken.
    pub(crate) fn reads_packed(&self) -> bool {
        self.protocol >= Some(PROTOCOL_PACKED)
    }

    /// Whether the peer gets runs of this log packed.
    pub(crate) fn packs(&self, log: &LogId) -> bool {
        self.reads_packed() && self.plain.len() <= PLAIN_LOGS_MAX && !self.plain.contains(log)
    }

    /// From now on the peer gets this log plain.
    pub(crate) fn send_plain(&mut self, log: LogId) {
        if self.plain.len() <= PLAIN_LOGS_MAX {
            self.plain.insert(log);
        }
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

/// Whose claims were heard on this connection, by lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Heard {
    /// None yet.
    Nothing,
    /// Lane 0: the peer did not take us for a member when it greeted.
    Trust,
    /// All lanes.
    All,
}

/// One peer.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) node: NodeId,
    pub(crate) phase: Phase,
    /// See the module.
    pub(crate) logs: BTreeMap<LogId, PeerLog>,
    pub(crate) heard: Heard,
    /// Entries that it lacks, by lane, as far as claims were not heard: counted when it left, and since.
    away_behind: [u64; 7],
    pub(crate) last_seen_wall_ms: u64,
    pub(crate) name: Option<String>,
    pub(crate) software: Option<String>,
    /// What it asked for when it last greeted.
    pub(crate) interest: Interest,
    /// The newest frontier that both of us are known to have held.
    pub(crate) mark: Option<MarkHash>,
    /// When that was agreed on, this start (monotonic milliseconds).
    pub(crate) mark_agreed_ms: Option<u64>,
    /// What the newest comparison came to.
    pub(crate) proof: ProofView,
}

impl Peer {
    /// A peer that we know nothing of: it lacks everything it may want.
    pub(crate) fn new(node: NodeId, ours: &Frontier) -> Self {
        let mut peer = Self {
            node,
            phase: Phase::Away { reason: None },
            logs: BTreeMap::new(),
            heard: Heard::Nothing,
            away_behind: [0; 7],
            last_seen_wall_ms: 0,
            name: None,
            software: None,
            interest: Interest::default(),
            mark: None,
            mark_agreed_ms: None,
            proof: ProofView::Unproven,
        };
        peer.count_from(ours, |_| Seq::NONE);
        peer
    }

    /// Counts what the peer lacks, who had each log up to `had` and no further.
    pub(crate) fn count_from(&mut self, ours: &Frontier, had: impl Fn(&LogId) -> Seq) {
        self.away_behind = [0; 7];
        for (log, held) in ours.iter() {
            if self.wants(log) {
                self.away_behind[log.lane.index()] += lacking(held, had(log));
            }
        }
    }

    /// Whether the peer gets this log at all.
    pub(crate) fn wants(&self, log: &LogId) -> bool {
        self.interest.covers(log)
    }

    /// Whether the peer's claims about this lane were heard on this connection.
    pub(crate) fn has_told(&self, lane: Lane) -> bool {
        match self.heard {
            Heard::Nothing => false,
            Heard::Trust => lane == Lane::Trust,
            Heard::All => true,
        }
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

    /// Whether we may send the peer this lane now.
    pub(crate) fn may_send(&self, lane: Lane) -> bool {
        self.has_told(lane) && self.session().is_some_and(|session| session.may_send(lane))
    }

    /// A connection begins. What the peer lacked when it left stays counted until it speaks.
    pub(crate) fn begin(&mut self, session: Session) {
        self.phase = Phase::Met(Box::new(session));
    }

    /// The connection is gone: what the peer lacks is counted from here on, not kept log by log.
    pub(crate) fn leave(&mut self, reason: String, ours: &Frontier) {
        let behind = self.behind(ours);
        self.away_behind = behind;
        self.logs.clear();
        self.heard = Heard::Nothing;
        self.phase = Phase::Away {
            reason: Some(reason),
        };
    }

    /// Entries that we hold and the peer has not acknowledged, by lane.
    pub(crate) fn behind(&self, ours: &Frontier) -> [u64; 7] {
        let mut behind = self.away_behind;
        for lane in Lane::ALL {
            if self.has_told(lane) {
                behind[lane.index()] = 0;
            }
        }
        for (log, theirs) in &self.logs {
            if self.wants(log)
                && let Some(held) = ours.get(log)
            {
                behind[log.lane.index()] += lacking(held, theirs.stored);
            }
        }
        behind
    }

    /// Entries that the peer says it holds and we lack, of logs that `we_want`.
    pub(crate) fn missing(&self, ours: &Frontier, we_want: impl Fn(&LogId) -> bool) -> u64 {
        self.logs
            .iter()
            .filter(|(log, _)| we_want(log))
            .map(|(log, theirs)| theirs.stored.0.saturating_sub(ours.head(log).seq.0))
            .sum()
    }

    /// How far the peer is with one log: by its own word, or because it is level.
    pub(crate) fn log(&self, log: &LogId, ours: &Frontier) -> PeerHeights {
        match self.logs.get(log) {
            Some(theirs) => PeerHeights {
                stored: theirs.stored,
                next: theirs.next(),
                forked: theirs.forked,
            },
            None => {
                let stored = if self.has_told(log.lane) {
                    ours.head(log).seq
                } else {
                    Seq::NONE
                };
                PeerHeights {
                    stored,
                    next: stored.next(),
                    forked: false,
                }
            }
        }
    }

    /// The same, to be changed: it is remembered until [`Peer::settle`] finds it level again.
    pub(crate) fn log_mut(&mut self, log: LogId, ours: &Frontier) -> &mut PeerLog {
        let told = self.has_told(log.lane);
        self.logs.entry(log).or_insert_with(|| {
            if told {
                PeerLog::level(ours.get(&log))
            } else {
                PeerLog::default()
            }
        })
    }

    /// Our own height of a log is about to move from `held`, by `entries`: who was level with it no longer is.
    pub(crate) fn before_move(&mut self, log: LogId, held: Option<&LogFrontier>, entries: u64) {
        if !self.wants(&log) {
            return;
        }
        if self.has_told(log.lane) {
            self.logs.entry(log).or_insert_with(|| PeerLog::level(held));
        } else {
            self.away_behind[log.lane.index()] += entries;
        }
    }

    /// Forgets a log that is level.
    pub(crate) fn settle(&mut self, log: &LogId, ours: &Frontier) {
        if self.has_told(log.lane)
            && self
                .logs
                .get(log)
                .is_some_and(|theirs| theirs.is_level(ours.get(log)))
        {
            self.logs.remove(log);
        }
    }

    /// A run went out.
    pub(crate) fn note_sent(
        &mut self,
        log: LogId,
        ours: &Frontier,
        last: Seq,
        weight: usize,
        frame_bytes: usize,
    ) {
        self.log_mut(log, ours).note_sent(last, weight);
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

/// How far a peer is with one log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PeerHeights {
    pub(crate) stored: Seq,
    /// The first entry that it may lack and that is not on its way.
    pub(crate) next: Seq,
    pub(crate) forked: bool,
}

/// How many of the entries that we hold come after `had`.
fn lacking(held: &LogFrontier, had: Seq) -> u64 {
    held.height
        .0
        .saturating_sub(had.0.max(held.floor.before().0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_author_with_many_logs_gets_no_more_turns_than_one_with_a_single_log() {
        let log = |author, incarnation| LogId {
            author: NodeId([author; 32]),
            incarnation: Incarnation(incarnation),
            group: GroupId::SHARED,
            lane: Lane::Life,
        };
        let mut lane = LaneOut::default();
        lane.ready
            .extend([log(1, 1), log(1, 2), log(1, 3), log(2, 1), log(3, 9)]);
        let authors: Vec<u8> = (0..6)
            .filter_map(|_| lane.next_turn())
            .map(|log| log.author.0[0])
            .collect();
        assert_eq!(authors, [1, 2, 3, 1, 2, 3]);
    }
}
