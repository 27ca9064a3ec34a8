//! Meeting a peer: connections, greetings, admission, and what each says it has.
//!
//! Invariants: no lane above 0 flows before each end has said that the other is a member; a peer's claims move nothing
//! but our picture of that peer, and only a member's claims can stop a log of ours.

use crate::engine::Engine;
use crate::frame::{self, PROGRESS_ITEMS_MAX, WireProgress};
use crate::hello::{Claim, Hello, HelloPrelude, PROTOCOL_MAX, PROTOCOL_MIN, WireFrontier, cut};
use crate::ids::{Lane, LogId, NodeId, Seq};
use crate::io::{ConnId, Effect, Now, ProgressItem, ReasonCode, StreamKind};
use crate::peer::{Peer, Session, Stage};

/// Two connections of one pair that come within this time, milliseconds, are taken for both ends dialling at once; a
/// later one means that the peer has lost the older.
const SIMULTANEOUS_MS: u64 = 5_000;

/// How much longer than `Limits::greeting_ms_max` a greeting may take while lane 0 moves.
const GREETING_STRETCH: u64 = 12;

impl Engine {
    pub(crate) fn on_connected(&mut self, now: Now, conn: ConnId, node: NodeId, dialled: bool) {
        if let Some((code, detail)) = self.refuse_connection(now, node, dialled) {
            self.effect(Effect::Disconnect {
                conn,
                code,
                detail: detail.to_owned(),
            });
            return;
        }
        self.disconnect(
            node,
            ReasonCode::Superseded,
            "a newer connection is kept".to_owned(),
        );
        let member = self.trust.is_member(node);
        let deadline_ms = now.mono_ms + self.limits.greeting_ms_max;
        let session = Session::new(conn, dialled, now.mono_ms, deadline_ms, member);
        self.conns.insert(conn, node);
        let peer = self.peers.entry(node).or_insert_with(|| Peer::new(node));
        peer.last_seen_wall_ms = now.wall_ms;
        peer.begin(session);

        let prelude = HelloPrelude {
            protocol_min: PROTOCOL_MIN,
            protocol_max: PROTOCOL_MAX,
            node: self.local.node,
            operation: self.trust.operation(),
        };
        let frontier = WireFrontier::full(&self.frontier, &self.applied, |log| {
            member || log.lane == Lane::Trust
        });
        let hello = Hello::new(
            &self.local.software,
            &self.local.name,
            &self.interest,
            frontier,
            member,
        );
        self.send(conn, StreamKind::Control, frame::hello(&prelude, &hello));
        self.effect(Effect::PeerChanged { peer: node });
    }

    /// Why a new connection is not taken, if so.
    fn refuse_connection(
        &self,
        now: Now,
        node: NodeId,
        dialled: bool,
    ) -> Option<(ReasonCode, &'static str)> {
        if node == self.local.node {
            return Some((ReasonCode::Author, "the peer has our own key"));
        }
        if let Some(session) = self.peers.get(&node).and_then(Peer::session) {
            // Both ends dialled: both keep the connection that the smaller id dialled.
            let at_once = now.mono_ms.saturating_sub(session.since_ms) < SIMULTANEOUS_MS
                && session.dialled != dialled;
            let keep_older = session.dialled == (self.local.node < node);
            return (at_once && keep_older)
                .then_some((ReasonCode::Superseded, "another connection is kept"));
        }
        let strangers = self
            .conns
            .values()
            .filter(|node| !self.trust.is_member(**node))
            .count();
        let stranger = !self.trust.is_member(node);
        let full = self.conns.len() >= self.limits.connections_max
            || stranger && strangers >= self.limits.strangers_max;
        full.then_some((ReasonCode::Busy, "too many connections"))
    }

    pub(crate) fn on_hello(
        &mut self,
        now: Now,
        node: NodeId,
        prelude: HelloPrelude,
        hello: Option<Hello>,
    ) {
        let ours = self.trust.operation();
        if prelude.operation != ours {
            self.counters.refused_operation += 1;
            let detail = format!(
                "the peer is of operation {}, we are of {ours}",
                prelude.operation
            );
            return self.disconnect(node, ReasonCode::OtherOperation, detail);
        }
        let (Some(protocol), Some(hello)) = (prelude.common_protocol(), hello) else {
            self.counters.refused_protocol += 1;
            let detail = format!(
                "the peer speaks protocol {} to {}, we speak {PROTOCOL_MIN} to {PROTOCOL_MAX}",
                prelude.protocol_min, prelude.protocol_max
            );
            return self.disconnect(node, ReasonCode::Protocol, detail);
        };
        if prelude.node != node {
            return self.refuse_frame(node, "the greeting names another node");
        }
        let deadline_ms = now.mono_ms + self.limits.greeting_ms_max;
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        peer.name = Some(cut(&hello.name));
        peer.software = Some(cut(&hello.software));
        peer.interest = hello.interest();
        peer.forget_claims(|lane| hello.complete || lane == Lane::Trust);
        let Some(session) = peer.session_mut() else {
            return;
        };
        if !matches!(session.stage, Stage::Waiting { .. }) {
            return self.refuse_frame(node, "a second greeting");
        }
        session.protocol = Some(protocol);
        session.stage = Stage::Greeting {
            deadline_ms,
            we_admit: false,
            they_admit: false,
        };
        if !self.take_claims(node, hello.frontier.claims().collect()) {
            return;
        }
        self.fill_ready(node);
        self.try_admit(node);
        self.effect(Effect::PeerChanged { peer: node });
    }

    /// Tells a peer that it is a member, once it is one.
    pub(crate) fn try_admit(&mut self, node: NodeId) {
        if !self.trust.is_member(node) {
            return;
        }
        let Some(session) = self.peers.get_mut(&node).and_then(Peer::session_mut) else {
            return;
        };
        let Stage::Greeting {
            we_admit: we_admit @ false,
            ..
        } = &mut session.stage
        else {
            return;
        };
        *we_admit = true;
        let told_all = std::mem::replace(&mut session.told_all, true);
        let rest = (!told_all).then(|| {
            WireFrontier::full(&self.frontier, &self.applied, |log| log.lane != Lane::Trust)
        });
        self.send_control(node, frame::admit(rest.as_ref()));
        // What it claimed as a stranger was not held against our own logs.
        let logs = self
            .peers
            .get(&node)
            .into_iter()
            .flat_map(|peer| &peer.logs);
        let claims: Vec<_> = logs
            .map(|(log, held)| (*log, held.stored, held.chain))
            .collect();
        for (log, stored, chain) in claims {
            self.check_claim(node, log, stored, chain);
        }
        self.try_go_live(node);
    }

    pub(crate) fn on_admit(&mut self, node: NodeId, frontier: Option<WireFrontier>) {
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        if frontier.is_some() {
            peer.forget_claims(|lane| lane != Lane::Trust);
        }
        let Some(session) = peer.session_mut() else {
            return;
        };
        match &mut session.stage {
            Stage::Greeting { they_admit, .. } => *they_admit = true,
            Stage::Waiting { .. } => return self.refuse_frame(node, "admission before a greeting"),
            Stage::Live => return,
        }
        let claims = frontier.iter().flat_map(WireFrontier::claims).collect();
        if self.take_claims(node, claims) {
            self.try_go_live(node);
        }
    }

    fn try_go_live(&mut self, node: NodeId) {
        let Some(session) = self.peers.get_mut(&node).and_then(Peer::session_mut) else {
            return;
        };
        if matches!(
            session.stage,
            Stage::Greeting {
                we_admit: true,
                they_admit: true,
                ..
            }
        ) {
            session.stage = Stage::Live;
            self.fill_ready(node);
            self.effect(Effect::PeerChanged { peer: node });
        }
    }

    /// Lane 0 moved between us and a peer: its greeting may take longer, within bounds.
    pub(crate) fn stretch_greeting(&mut self, now: Now, node: NodeId) {
        let limit = self.limits.greeting_ms_max;
        if let Some(session) = self.peers.get_mut(&node).and_then(Peer::session_mut) {
            let last_ms = session.since_ms + limit * GREETING_STRETCH;
            session.extend((now.mono_ms + limit).min(last_ms));
        }
    }

    pub(crate) fn on_progress(&mut self, now: Now, node: NodeId, items: Vec<WireProgress>) {
        if items.iter().any(|item| item.log.lane == Lane::Trust) {
            self.stretch_greeting(now, node);
        }
        let logs: Vec<LogId> = items.iter().map(|item| item.log).collect();
        let claims = items
            .into_iter()
            .map(|item| Claim {
                log: item.log,
                stored: item.stored,
                chain: item.chain,
                applied: item.applied,
            })
            .collect();
        if self.take_claims(node, claims) {
            self.tell_of_own_logs(node, &logs);
        }
    }

    /// Our own commits are not announced: the entries themselves tell of them. A peer that got them elsewhere before
    /// we sent them has to be told, or it would believe that we lack what we wrote.
    fn tell_of_own_logs(&mut self, node: NodeId, logs: &[LogId]) {
        for log in logs {
            if !self.is_own_log(log) {
                continue;
            }
            let height = self.frontier.head(log).seq;
            let held = self
                .peers
                .get_mut(&node)
                .and_then(|peer| peer.logs.get_mut(log));
            let Some(held) = held.filter(|held| held.stored == height && held.sent < height) else {
                continue;
            };
            held.sent = height;
            let item = self.wire_progress(*log);
            self.send_control(node, frame::progress(&[item]));
        }
    }

    /// Notes what a peer says it has, and tells the shell of logs that we hold too. `false` when it named too many
    /// logs and is gone.
    fn take_claims(&mut self, node: NodeId, claims: Vec<Claim>) -> bool {
        let mut items = Vec::new();
        for claim in claims {
            let Some(peer) = self.peers.get_mut(&node) else {
                return false;
            };
            let room = peer.logs.len() < self.limits.peer_logs_max;
            if !room && !peer.logs.contains_key(&claim.log) {
                self.counters.refused_flow += 1;
                self.disconnect(node, ReasonCode::Flow, "too many logs".to_owned());
                return false;
            }
            let held = peer.logs.entry(claim.log).or_default();
            if claim.stored < held.stored {
                continue;
            }
            held.stored = claim.stored;
            held.applied = held.applied.max(claim.applied.min(claim.stored));
            held.chain = Some(claim.chain);
            let applied = held.applied;
            peer.release(claim.log);
            self.check_claim(node, claim.log, claim.stored, Some(claim.chain));
            if self.frontier.get(&claim.log).is_some() && claim.stored > Seq::NONE {
                items.push(ProgressItem {
                    log: claim.log,
                    stored: claim.stored,
                    applied,
                });
            }
        }
        if !items.is_empty() {
            self.effect(Effect::Progress { peer: node, items });
        }
        true
    }

    /// Compares a claim with what we hold: a longer log of our own, or another branch of any.
    fn check_claim(&mut self, node: NodeId, log: LogId, stored: Seq, chain: Option<[u8; 8]>) {
        if stored == Seq::NONE || !self.trust.is_member(node) {
            return;
        }
        let ours = self.frontier.head(&log);
        let branched = stored == ours.seq && chain.is_some_and(|chain| chain != ours.chain.short());
        let longer = self.is_own_log(&log) && stored > ours.seq;
        if branched || longer {
            self.fork_seen(node, log, stored, true);
        }
    }

    /// A peer holds another branch of a log: the two of us stop exchanging it.
    pub(crate) fn fork_seen(&mut self, node: NodeId, log: LogId, theirs: Seq, tell: bool) {
        if self.forks.insert(log) {
            self.counters.forks_seen += 1;
        }
        if self.is_own_log(&log) {
            self.own_log_conflict_seen(log, theirs, node);
        }
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        let held = peer.logs.entry(log).or_default();
        if std::mem::replace(&mut held.forked, true) {
            return;
        }
        peer.forget_outstanding(log);
        if let Some(session) = peer.session_mut() {
            session.lane(log.lane).ready.remove(&log);
        }
        if tell {
            self.send_control(node, frame::hold(log));
        }
    }

    /// Our height of a log moved: does it now show another branch than a peer claimed?
    pub(crate) fn check_claims_of(&mut self, log: LogId) {
        let height = self.frontier.head(&log).seq;
        let claims: Vec<_> = self
            .peers
            .values()
            .filter(|peer| peer.session().is_some())
            .filter_map(|peer| Some((peer.node, peer.logs.get(&log)?)))
            .filter(|(_, held)| held.stored == height)
            .map(|(node, held)| (node, held.chain))
            .collect();
        for (node, chain) in claims {
            self.check_claim(node, log, height, chain);
        }
    }

    /// Tells every peer how far we are with these logs: the acknowledgement to who sent them, news to the others.
    pub(crate) fn announce(&mut self, logs: &[LogId]) {
        if logs.is_empty() {
            return;
        }
        let all: Vec<WireProgress> = logs.iter().map(|log| self.wire_progress(*log)).collect();
        let trust: Vec<WireProgress> = all
            .iter()
            .filter(|item| item.log.lane == Lane::Trust)
            .cloned()
            .collect();
        for node in self.connected() {
            let told_all = self
                .peers
                .get(&node)
                .and_then(Peer::session)
                .is_some_and(|s| s.told_all);
            let items = if told_all { &all } else { &trust };
            for chunk in items.chunks(PROGRESS_ITEMS_MAX) {
                self.send_control(node, frame::progress(chunk));
            }
        }
    }

    /// How far we are with one log.
    pub(crate) fn wire_progress(&self, log: LogId) -> WireProgress {
        let head = self.frontier.head(&log);
        let applied = self
            .applied
            .get(&log)
            .copied()
            .unwrap_or_default()
            .min(head.seq);
        WireProgress {
            log,
            stored: head.seq,
            chain: head.chain.short(),
            applied,
        }
    }

    /// A frame that does not decode, or comes where it must not.
    pub(crate) fn refuse_frame(&mut self, node: NodeId, detail: &str) {
        self.counters.refused_frames += 1;
        self.disconnect(node, ReasonCode::BadFrame, detail.to_owned());
    }
}
