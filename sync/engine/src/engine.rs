//! The engine: one value that takes inputs and gives effects.
//!
//! Greetings are in `greet`, what peers say they have in `claims`, frontiers agreed on in `marking`, the sending half in
//! `send`, the receiving half in `receive`. What is here is what they share: the state, the way of an input to its
//! handler, connections that end, and the views.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::chain::Head;
use crate::codec::{NoCodec, PayloadCodec};
use crate::dictionary::Zstd;
use crate::frontier::Frontier;
use crate::ids::{Lane, LogId, NodeId, Seq};
use crate::inbox::Inbox;
use crate::io::{
    ConnId, Counters, Effect, Input, Interest, LaneBehind, Limits, LoadId, LocalNode, Now,
    OwnLogConflict, PeerState, PeerView, ReasonCode, ResolveId, StreamKind, Usage,
};
use crate::marks::{Mark, Marks, Memory};
use crate::members::Members;
use crate::names::Names;
use crate::peer::{Peer, Phase, Stage};
use crate::planted::{self, Planted};
use crate::proof::ProofId;
use crate::trust::Trust;
use crate::unpacking::ResolveTicket;

/// What an entry is taken to weigh before any was seen, bytes.
const ENTRY_BYTES_GUESS: u64 = 200;

/// Why a peer is looked at again, for who asks what the engine waits for.
pub(crate) const GREETING: &str = "greeting takes too long";
pub(crate) const RETRY_LOAD: &str = "retry a load";
pub(crate) const MARK: &str = "agree on a frontier";

/// A run being read from the store for a peer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoadTicket {
    pub(crate) peer: NodeId,
    pub(crate) conn: ConnId,
    pub(crate) log: LogId,
    pub(crate) from: Seq,
}

/// Replication with every connected peer.
pub struct Engine {
    pub(crate) local: LocalNode,
    pub(crate) interest: Interest,
    pub(crate) limits: Limits,
    pub(crate) trust: Trust,
    pub(crate) frontier: Frontier,
    /// Applied or quarantined up to here, per log that has something.
    pub(crate) applied: BTreeMap<LogId, Seq>,
    pub(crate) peers: BTreeMap<NodeId, Peer>,
    pub(crate) conns: BTreeMap<ConnId, NodeId>,
    pub(crate) inbox: Inbox,
    pub(crate) loads: BTreeMap<LoadId, LoadTicket>,
    /// Knows what payloads say.
    pub(crate) codec: Arc<dyn PayloadCodec>,
    pub(crate) zstd: Zstd,
    pub(crate) names: Names,
    /// Requests to look up what packed runs refer to: one per lane and connection at most.
    pub(crate) resolves: BTreeMap<ResolveId, ResolveTicket>,
    /// Logs seen in two versions.
    pub(crate) forks: BTreeSet<LogId>,
    own_conflicts: BTreeSet<LogId>,
    own_conflict: Option<OwnLogConflict>,
    pub(crate) marks: Marks,
    /// The mark of the present frontier, once somebody asked for it: many peers do so at the same moment.
    pub(crate) mark_now: Option<Arc<Mark>>,
    /// The members in the order in which frontiers count them.
    pub(crate) members: Members,
    /// Questions to the shell for comparisons, and with whom each is.
    pub(crate) proofs: BTreeMap<ProofId, NodeId>,
    pub(crate) next_proof: u64,
    /// When anything last moved that a mark would name (monotonic milliseconds).
    pub(crate) moved_ms: u64,
    /// Peers that may have a load to start: looked at after each input.
    pub(crate) busy: BTreeSet<NodeId>,
    /// When to look at which peer again, and why. One that is no longer due does nothing.
    timers: BTreeSet<(u64, NodeId, &'static str)>,
    /// Entries and bytes seen, by lane, for the mean.
    seen: [LaneBehind; 7],
    pub(crate) next_batch: u64,
    next_load: u64,
    next_resolve: u64,
    jitter: u64,
    pub(crate) counters: Counters,
    effects: VecDeque<Effect>,
}

impl Engine {
    /// An engine without connections, over what the store holds.
    ///
    /// `seed` feeds the only randomness: the spread of retries. The shell follows up with [`Input::Applied`] for every
    /// log whose applied height it knows; until then nothing counts as applied.
    pub fn new(
        seed: u64,
        _now: Now,
        local: LocalNode,
        trust: Trust,
        frontier: Frontier,
        interest: Interest,
        limits: Limits,
    ) -> Self {
        let applied = frontier
            .iter()
            .filter(|(log, _)| log.lane == Lane::Trust)
            .map(|(log, held)| (*log, held.height))
            .collect();
        let mut engine = Self {
            local,
            interest: interest.normal(),
            limits,
            members: Members::of(&trust),
            trust,
            frontier,
            applied,
            peers: BTreeMap::new(),
            conns: BTreeMap::new(),
            inbox: Inbox::default(),
            loads: BTreeMap::new(),
            codec: Arc::new(NoCodec),
            zstd: Zstd::new(),
            names: Names::default(),
            resolves: BTreeMap::new(),
            forks: BTreeSet::new(),
            own_conflicts: BTreeSet::new(),
            own_conflict: None,
            marks: Marks::default(),
            mark_now: None,
            proofs: BTreeMap::new(),
            next_proof: 0,
            moved_ms: 0,
            busy: BTreeSet::new(),
            timers: BTreeSet::new(),
            seen: [LaneBehind::default(); 7],
            next_batch: 0,
            next_load: 0,
            next_resolve: 0,
            jitter: seed,
            counters: Counters::default(),
            effects: VecDeque::new(),
        };
        engine.meet_members();
        engine
    }

    /// Says who knows what payloads say, so that less of them has to travel. To be called before any connection; until
    /// then all payloads travel as they are.
    pub fn set_codec(&mut self, codec: Arc<dyn PayloadCodec>) {
        self.codec = codec;
    }

    /// Takes back what [`Effect::KeepMark`] gave out before a restart. To be called before any connection.
    pub fn recall(&mut self, memory: Memory) {
        let used: BTreeSet<_> = memory.peers.iter().map(|(_, hash)| *hash).collect();
        for mark in memory.marks {
            self.marks.keep(Arc::new(mark), |hash| used.contains(&hash));
        }
        for (node, hash) in memory.peers {
            let (Some(peer), Some(mark)) = (self.peers.get_mut(&node), self.marks.find(hash))
            else {
                continue;
            };
            peer.mark = Some(hash);
            peer.interest = mark.scope.clone();
            peer.count_from(&self.frontier, |log| mark.height(log));
        }
    }

    /// Every member is a peer, met or not.
    pub(crate) fn meet_members(&mut self) {
        for node in self.members.iter().filter(|node| **node != self.local.node) {
            self.peers
                .entry(*node)
                .or_insert_with(|| Peer::new(*node, &self.frontier));
        }
    }

    /// Takes one input. The shell drains [`Engine::poll_effect`] after each: effects are not bounded otherwise.
    pub fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Connected {
                conn,
                peer,
                dialled,
            } => self.on_connected(now, conn, peer, dialled),
            Input::Frame {
                conn,
                stream,
                bytes,
            } => {
                self.on_frame(now, conn, stream, bytes);
                self.touch(conn);
            }
            Input::Unsent { conn, lane, bytes } => {
                if let Some(session) = self.peer_of(conn).and_then(Peer::session_mut) {
                    session.lane(lane).unsent_bytes = bytes;
                }
                self.touch(conn);
            }
            Input::Disconnected { conn, reason } => {
                if let Some(node) = self.conns.get(&conn).copied() {
                    self.end_session(node, reason);
                }
            }
            Input::Loaded { load, run, named } => self.on_loaded(now, load, run, named),
            Input::Resolved { resolve, names } => self.on_resolved(now, resolve, names),
            Input::Persisted { batch, result } => self.on_persisted(now, batch, result),
            Input::Applied { items } => self.on_applied(items),
            Input::LocalCommit {
                log,
                head,
                records,
                run,
            } => {
                self.on_local_commit(now, log, head, records, run);
            }
            Input::Digested { proof, digests } => self.on_digested(now, proof, digests),
            Input::DigestedItems { proof, items } => self.on_digest_items(now, proof, items),
            Input::Timeout => self.on_timeout(now),
        }
        self.pump_store();
        self.pump_loads();
    }

    /// The next thing to do, in order; `None` when there is nothing.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to call again with [`Input::Timeout`], milliseconds on the monotonic clock, and why. May lie in the past.
    pub fn poll_timeout(&self) -> Option<(u64, &'static str)> {
        let waiting = self.inbox.waiting_until_ms();
        let waiting = waiting.map(|at_ms| (at_ms, "author still unknown"));
        let timer = self.timers.first().map(|(at_ms, _, why)| (*at_ms, *why));
        [waiting, timer].into_iter().flatten().min()
    }

    /// Who may do what, as far as lane 0 on our disk says.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// What is on our disk.
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// What was counted since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The first conflict about a log of ours, if any peer showed one: appending has to stop.
    pub fn own_log_conflict(&self) -> Option<&OwnLogConflict> {
        self.own_conflict.as_ref()
    }

    /// Every member besides us and every peer that is connected, in the order of their ids.
    pub fn peers(&self) -> Vec<PeerView> {
        let mut nodes: BTreeSet<NodeId> = self.peers.keys().copied().collect();
        nodes.extend(self.trust.members().map(|(node, _)| *node));
        nodes.remove(&self.local.node);
        nodes.into_iter().map(|node| self.peer_view(node)).collect()
    }

    /// Where the exchange with a peer stands: what a shell asks whenever something changes, so that it costs nothing per
    /// peer.
    pub fn state_of(&self, node: NodeId) -> PeerState {
        self.peers
            .get(&node)
            .map_or(PeerState::Disconnected, Peer::state)
    }

    /// What is held in memory now.
    pub fn usage(&self) -> Usage {
        let lanes = || {
            let sessions = self.peers.values().filter_map(Peer::session);
            sessions.flat_map(|session| &session.lanes)
        };
        Usage {
            connections: self.conns.len(),
            inbox_bytes_max: self.inbox.held_bytes_max(),
            waiting_bytes: self.inbox.waiting_bytes(),
            unacked_bytes_max: lanes().map(|lane| lane.unacked_bytes).max().unwrap_or(0),
            unsent_bytes_max: lanes().map(|lane| lane.unsent_bytes).max().unwrap_or(0),
            peer_logs: self.peers.values().map(|peer| peer.logs.len()).sum(),
            loads: self.loads.len(),
        }
    }

    /// Bytes of received runs that wait for the store or are there, by lane, over all peers: what a shell counts
    /// against its budget.
    pub fn held_bytes(&self) -> [usize; 7] {
        let mut held = self.inbox.held_bytes();
        for (lane, bytes) in self.resolving_bytes() {
            held[lane.index()] += bytes;
        }
        held
    }

    fn peer_view(&self, node: NodeId) -> PeerView {
        let stranger;
        let peer = match self.peers.get(&node) {
            Some(peer) => peer,
            None => {
                stranger = Peer::new(node, &self.frontier);
                &stranger
            }
        };
        let mut behind = [LaneBehind::default(); 7];
        for (lane, entries) in peer.behind(&self.frontier).into_iter().enumerate() {
            behind[lane] = LaneBehind {
                entries,
                bytes: entries.saturating_mul(self.entry_bytes_mean(lane)),
            };
        }
        let granted = self.trust.grant(node).map(|grant| grant.name.clone());
        PeerView {
            node,
            name: granted.or_else(|| peer.name.clone()),
            state: peer.state(),
            last_seen_wall_ms: peer.last_seen_wall_ms,
            behind_entries: behind.iter().map(|lane| lane.entries).sum(),
            behind_bytes: behind
                .iter()
                .fold(0, |sum, lane| sum.saturating_add(lane.bytes)),
            behind,
            missing_entries: peer.missing(&self.frontier, |log| self.interest.covers(log)),
            protocol: peer.session().and_then(|session| session.protocol),
            software: peer.software.clone(),
            proof: peer.proof,
            reason: match &peer.phase {
                Phase::Away { reason } => reason.clone(),
                Phase::Met(_) => None,
            },
        }
    }

    /// What an entry of a lane weighs, as far as any were seen.
    fn entry_bytes_mean(&self, lane: usize) -> u64 {
        let seen = self.seen[lane];
        seen.bytes
            .checked_div(seen.entries)
            .unwrap_or(ENTRY_BYTES_GUESS)
    }

    pub(crate) fn note_sizes(&mut self, lane: Lane, entries: usize, bytes: usize) {
        let seen = &mut self.seen[lane.index()];
        seen.entries += entries as u64;
        seen.bytes += bytes as u64;
    }

    // What the halves share.

    pub(crate) fn effect(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    pub(crate) fn send(&mut self, conn: ConnId, stream: StreamKind, frame: Vec<u8>) {
        self.counters.sent_bytes += frame.len() as u64;
        self.effect(Effect::Send {
            conn,
            stream,
            frame,
        });
    }

    /// Sends a control frame to a peer, if it is connected.
    pub(crate) fn send_control(&mut self, node: NodeId, frame: Vec<u8>) {
        let conn = self
            .peers
            .get(&node)
            .and_then(Peer::session)
            .map(|session| session.conn);
        if let Some(conn) = conn {
            self.send(conn, StreamKind::Control, frame);
        }
    }

    /// A peer's room or wishes may have changed.
    fn touch(&mut self, conn: ConnId) {
        self.busy.extend(self.conns.get(&conn));
    }

    /// Looks at a peer again at a time, for a reason that people can read.
    pub(crate) fn wake(&mut self, at_ms: u64, node: NodeId, why: &'static str) {
        self.timers.insert((at_ms, node, why));
    }

    /// Moves our height of a log. Who was level with it is remembered as it was.
    pub(crate) fn move_frontier(&mut self, now: Now, log: LogId, head: Head) -> bool {
        let held = self.frontier.get(&log).copied();
        let height = held.map_or(Seq::NONE, |held| held.height);
        if head.seq <= height {
            return false;
        }
        for peer in self.peers.values_mut() {
            peer.before_move(log, held.as_ref(), head.seq.0 - height.0);
        }
        self.moved_ms = now.mono_ms;
        if !planted::is(Planted::KeepStaleMark) {
            self.mark_now = None;
        }
        self.frontier.advance(log, head.seq, head.chain)
    }

    pub(crate) fn peer_of(&mut self, conn: ConnId) -> Option<&mut Peer> {
        self.peers.get_mut(self.conns.get(&conn)?)
    }

    /// Closes the connection with a peer.
    pub(crate) fn disconnect(&mut self, node: NodeId, code: ReasonCode, detail: String) {
        let conn = self
            .peers
            .get(&node)
            .and_then(Peer::session)
            .map(|session| session.conn);
        if let Some(conn) = conn {
            self.effect(Effect::Disconnect {
                conn,
                code,
                detail: detail.clone(),
            });
            self.end_session(node, detail);
        }
    }

    /// The connection with a peer is gone: what waits from it will come again, what was loading is not waited for.
    pub(crate) fn end_session(&mut self, node: NodeId, reason: String) {
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        let Some(session) = peer.session() else {
            return;
        };
        self.conns.remove(&session.conn);
        peer.leave(reason, &self.frontier);
        self.inbox.drop_waiting_from(node);
        self.proofs.retain(|_, asked| *asked != node);
        if !self.trust.is_member(node) {
            // Strangers come in any number; nothing of them is kept.
            self.peers.remove(&node);
        }
        self.effect(Effect::PeerChanged { peer: node });
    }

    /// Notes that somebody holds a version of our own log that we do not.
    pub(crate) fn own_log_conflict_seen(&mut self, log: LogId, theirs: Seq, peer: NodeId) {
        if !self.own_conflicts.insert(log) {
            return;
        }
        let conflict = OwnLogConflict {
            log,
            ours: self.frontier.head(&log).seq,
            theirs,
            peer,
        };
        self.own_conflict.get_or_insert(conflict);
        self.effect(Effect::OwnLogLonger(conflict));
    }

    /// Whether we are the ones who write this log now.
    pub(crate) fn is_own_log(&self, log: &LogId) -> bool {
        log.author == self.local.node && log.incarnation == self.local.incarnation
    }

    /// Where a log ends once all that is on its way to the disk is there.
    pub(crate) fn tip(&self, log: &LogId) -> Head {
        self.inbox
            .tip(log)
            .unwrap_or_else(|| self.frontier.head(log))
    }

    pub(crate) fn new_load_id(&mut self) -> LoadId {
        self.next_load += 1;
        LoadId(self.next_load)
    }

    pub(crate) fn new_resolve_id(&mut self) -> ResolveId {
        self.next_resolve += 1;
        ResolveId(self.next_resolve)
    }

    /// Up to a quarter more than `base_ms`, so that many retries do not fall on one moment (SplitMix64).
    pub(crate) fn jittered(&mut self, base_ms: u64) -> u64 {
        self.jitter = self.jitter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.jitter;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        base_ms + (z ^ (z >> 31)) % (base_ms / 4).max(1)
    }

    fn on_timeout(&mut self, now: Now) {
        while let Some((at_ms, node, why)) = self.timers.first().copied() {
            if at_ms > now.mono_ms {
                break;
            }
            self.timers.remove(&(at_ms, node, why));
            self.look_at(now, node);
        }
        self.expire_waiting(now);
    }

    /// Does what is due for one peer, and sets its next timers.
    fn look_at(&mut self, now: Now, node: NodeId) {
        let Some(session) = self.peers.get(&node).and_then(Peer::session) else {
            return;
        };
        match session.deadline_ms() {
            Some(at_ms) if at_ms <= now.mono_ms => return self.give_up_greeting(node),
            Some(at_ms) => self.wake(at_ms, node, GREETING),
            None => {}
        }
        self.wake_rested(now, node);
        self.mark_if_due(now, node);
        self.prove_again_if_due(now, node);
    }

    fn give_up_greeting(&mut self, node: NodeId) {
        let stage = self
            .peers
            .get(&node)
            .and_then(Peer::session)
            .map(|session| session.stage);
        let detail = match stage {
            Some(Stage::Greeting { we_admit: true, .. }) => "the peer did not admit us in time",
            Some(Stage::Greeting { .. }) => {
                self.counters.refused_author += 1;
                "not a member of this operation"
            }
            _ => "no greeting in time",
        };
        self.disconnect(node, ReasonCode::NotMember, detail.to_owned());
    }

    /// Peers that are connected, in order.
    pub(crate) fn connected(&self) -> Vec<NodeId> {
        self.conns
            .values()
            .copied()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    }
}
