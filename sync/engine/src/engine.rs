//! The engine: one value that takes inputs and gives effects.
//!
//! Greetings and claims are in `greet`, the sending half in `send`, the receiving half in `receive`. What is here is
//! what they share: the state, the way of an input to its handler, connections that end, and the views.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::chain::Head;
use crate::frontier::Frontier;
use crate::ids::{Lane, LogId, NodeId, Seq};
use crate::inbox::Inbox;
use crate::io::{
    ConnId, Counters, Effect, Input, Interest, Limits, LoadId, LocalNode, Now, OwnLogConflict,
    PeerState, PeerView, ReasonCode, StreamKind,
};
use crate::peer::{Peer, Phase, Stage};
use crate::trust::Trust;

/// What an entry is taken to weigh before any was seen, bytes.
const ENTRY_BYTES_GUESS: u64 = 200;

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
    /// Runs of these logs were dropped while their author was unknown: to be asked for again. Bounded with the buffer
    /// they did not fit: see `receive`.
    pub(crate) dropped: BTreeSet<(NodeId, LogId)>,
    /// Logs seen in two versions.
    pub(crate) forks: BTreeSet<LogId>,
    own_conflicts: BTreeSet<LogId>,
    own_conflict: Option<OwnLogConflict>,
    /// Entries and bytes seen, for the mean.
    pub(crate) seen_entries: u64,
    pub(crate) seen_bytes: u64,
    pub(crate) next_batch: u64,
    next_load: u64,
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
        Self {
            local,
            interest,
            limits,
            trust,
            frontier,
            applied,
            peers: BTreeMap::new(),
            conns: BTreeMap::new(),
            inbox: Inbox::default(),
            loads: BTreeMap::new(),
            dropped: BTreeSet::new(),
            forks: BTreeSet::new(),
            own_conflicts: BTreeSet::new(),
            own_conflict: None,
            seen_entries: 0,
            seen_bytes: 0,
            next_batch: 0,
            next_load: 0,
            jitter: seed,
            counters: Counters::default(),
            effects: VecDeque::new(),
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
            } => self.on_frame(now, conn, stream, bytes),
            Input::Unsent { conn, lane, bytes } => {
                if let Some(session) = self.peer_of(conn).and_then(Peer::session_mut) {
                    session.lane(lane).unsent_bytes = bytes;
                }
            }
            Input::Disconnected { conn, reason } => {
                if let Some(node) = self.conns.get(&conn).copied() {
                    self.end_session(node, reason);
                }
            }
            Input::Loaded { load, run } => self.on_loaded(now, load, run),
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
        let sessions = self.peers.values().filter_map(Peer::session);
        let mut next = self
            .inbox
            .waiting_until_ms()
            .map(|at| (at, "author still unknown"));
        for session in sessions {
            let greeting = session
                .deadline_ms()
                .map(|at| (at, "greeting takes too long"));
            let rests = session.lanes.iter().flat_map(|lane| lane.resting.values());
            let retry = rests.min().map(|at| (*at, "retry a load"));
            next = [next, greeting, retry].into_iter().flatten().min();
        }
        next
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

    fn peer_view(&self, node: NodeId) -> PeerView {
        let stranger = Peer::new(node);
        let peer = self.peers.get(&node).unwrap_or(&stranger);
        let behind_entries: u64 = self
            .frontier
            .iter()
            .filter(|(log, _)| peer.wants(log))
            .map(|(log, held)| {
                let stored = peer.logs.get(log).map_or(Seq::NONE, |log| log.stored);
                held.height
                    .0
                    .saturating_sub(stored.0.max(held.floor.before().0))
            })
            .sum();
        let mean = self
            .seen_bytes
            .checked_div(self.seen_entries)
            .unwrap_or(ENTRY_BYTES_GUESS);
        let granted = self.trust.grant(node).map(|grant| grant.name.clone());
        PeerView {
            node,
            name: granted.or_else(|| peer.name.clone()),
            state: peer.state(),
            last_seen_wall_ms: peer.last_seen_wall_ms,
            behind_entries,
            behind_bytes: behind_entries.saturating_mul(mean),
            protocol: peer.session().and_then(|session| session.protocol),
            software: peer.software.clone(),
            reason: match &peer.phase {
                Phase::Away { reason } => reason.clone(),
                Phase::Met(_) => None,
            },
        }
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
        peer.phase = Phase::Away {
            reason: Some(reason),
        };
        self.inbox.drop_waiting_from(node);
        self.dropped.retain(|(peer, _)| *peer != node);
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

    /// Up to a quarter more than `base_ms`, so that many retries do not fall on one moment (SplitMix64).
    pub(crate) fn jittered(&mut self, base_ms: u64) -> u64 {
        self.jitter = self.jitter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.jitter;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        base_ms + (z ^ (z >> 31)) % (base_ms / 4).max(1)
    }

    fn on_timeout(&mut self, now: Now) {
        let late: Vec<(NodeId, Stage)> = self
            .peers
            .values()
            .filter_map(|peer| {
                let session = peer.session()?;
                let due = session.deadline_ms().is_some_and(|at| at <= now.mono_ms);
                due.then_some((peer.node, session.stage))
            })
            .collect();
        for (node, stage) in late {
            let detail = match stage {
                Stage::Greeting { we_admit: true, .. } => "the peer did not admit us in time",
                Stage::Greeting { .. } => {
                    self.counters.refused_author += 1;
                    "not a member of this operation"
                }
                _ => "no greeting in time",
            };
            self.disconnect(node, ReasonCode::NotMember, detail.to_owned());
        }
        self.wake_rested(now);
        self.expire_waiting(now);
    }

    /// Peers that are connected, in order.
    pub(crate) fn connected(&self) -> Vec<NodeId> {
        self.peers
            .values()
            .filter(|peer| peer.state() != PeerState::Disconnected)
            .map(|peer| peer.node)
            .collect()
    }
}
