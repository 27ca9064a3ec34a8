//! What peers say they have, and what we say.
//!
//! Invariants: a peer's claims move nothing but our picture of that peer; only a member's claims can stop a log of ours;
//! a log in which a peer turns out level with us is forgotten.

use crate::engine::Engine;
use crate::frame::{self, PROGRESS_ITEMS_MAX, WireProgress};
use crate::frontier_wire::{self, Claim, Claims};
use crate::ids::{Lane, LogId, NodeId, Seq};
use crate::io::{Effect, Now, ProgressItem, ReasonCode};
use crate::marks::Mark;
use crate::members::Members;
use crate::peer::{Heard, Peer, PeerLog, Told};
use crate::planted::{self, Planted};

impl Claims {
    /// The claims of a peer that held `mark` and has moved on since.
    pub(crate) fn since(mark: &Mark, moved: Claims) -> Self {
        let mut claims = moved;
        for (log, height) in &mark.heights {
            claims.logs.entry(*log).or_insert(Claim {
                stored: *height,
                applied: *height,
                chain: None,
            });
        }
        claims
    }
}

impl Engine {
    /// The logs that we want and `covers` picks, as they travel. Nobody needs to know how far we are with the others.
    pub(crate) fn whole_frontier(
        &self,
        covers: impl Fn(&LogId) -> bool,
        members: Option<&Members>,
    ) -> Vec<u8> {
        frontier_wire::encode(
            &self.frontier,
            &self.applied,
            |log, _| self.interest.covers(log) && covers(log),
            |node| members.and_then(|members| members.index_of(node)),
        )
    }

    /// The logs that are not as a mark says, as they travel.
    pub(crate) fn frontier_since(&self, mark: &Mark) -> Vec<u8> {
        let as_marked = |log: &LogId, height: Seq| {
            mark.scope.covers(log)
                && mark.height(log) == height
                && self
                    .applied
                    .get(log)
                    .is_some_and(|applied| *applied >= height)
        };
        frontier_wire::encode(
            &self.frontier,
            &self.applied,
            |log, held| self.interest.covers(log) && !as_marked(log, held.height),
            |_| None,
        )
    }

    /// Takes in all that a peer says it has, in the lanes that `heard` names. `false` when the peer is gone for it.
    pub(crate) fn hear(&mut self, now: Now, node: NodeId, claims: Claims, heard: Heard) -> bool {
        let Some(peer) = self.peers.get_mut(&node) else {
            return false;
        };
        let told_before = peer.heard;
        peer.heard = heard;
        let is_new = |lane: Lane| match told_before {
            Heard::Nothing => heard == Heard::All || lane == Lane::Trust,
            Heard::Trust => lane != Lane::Trust,
            Heard::All => false,
        };
        // What it does not name it does not have.
        for (log, _) in self.frontier.iter().filter(|(log, _)| is_new(log.lane)) {
            if peer.wants(log) && !claims.logs.contains_key(log) {
                peer.logs.entry(*log).or_insert_with(PeerLog::default);
            }
        }
        let mut items = Vec::new();
        for (log, claim) in &claims.logs {
            let theirs = peer.logs.entry(*log).or_default();
            theirs.take(claim);
            let (stored, applied) = (theirs.stored, theirs.applied);
            if self.frontier.get(log).is_some() && stored > Seq::NONE {
                items.push(ProgressItem {
                    log: *log,
                    stored,
                    applied,
                });
            }
            peer.release(*log);
        }
        if !items.is_empty() {
            self.effect(Effect::Progress { peer: node, items });
        }
        let differing: Vec<LogId> = claims
            .chains
            .iter()
            .filter(|sum| sum.contradicts(&claims.logs, &self.frontier))
            .flat_map(|sum| sum.logs.iter().copied())
            .collect();
        self.say_progress(node, &differing);
        for (log, claim) in &claims.logs {
            self.check_claim(node, *log, claim.stored, claim.chain);
        }
        self.settle_all(node);
        if !self.has_room(node) {
            return false;
        }
        self.moved_ms = now.mono_ms;
        self.fill_ready(node);
        true
    }

    fn settle_all(&mut self, node: NodeId) {
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        let logs: Vec<LogId> = peer.logs.keys().copied().collect();
        for log in logs {
            peer.settle(&log, &self.frontier);
        }
    }

    /// Cuts off a peer of which more would have to be remembered than there is room for.
    pub(crate) fn has_room(&mut self, node: NodeId) -> bool {
        let full = self
            .peers
            .get(&node)
            .is_some_and(|peer| peer.logs.len() > self.limits.peer_logs_max);
        if full {
            self.counters.refused_flow += 1;
            self.disconnect(node, ReasonCode::Flow, "too many logs".to_owned());
        }
        !full
    }

    pub(crate) fn on_progress(&mut self, now: Now, node: NodeId, items: Vec<WireProgress>) {
        if items.iter().any(|item| item.log.lane == Lane::Trust) {
            self.stretch_greeting(now, node);
        }
        let logs: Vec<LogId> = items.iter().map(|item| item.log).collect();
        let mut reported = Vec::new();
        for item in items {
            let Some(peer) = self.peers.get_mut(&node) else {
                return;
            };
            let theirs = peer.log_mut(item.log, &self.frontier);
            if item.stored < theirs.stored {
                continue;
            }
            theirs.take(&Claim {
                stored: item.stored,
                applied: item.applied.min(item.stored),
                chain: Some(item.chain),
            });
            let applied = theirs.applied;
            peer.release(item.log);
            self.check_claim(node, item.log, item.stored, Some(item.chain));
            if self.frontier.get(&item.log).is_some() && item.stored > Seq::NONE {
                reported.push(ProgressItem {
                    log: item.log,
                    stored: item.stored,
                    applied,
                });
            }
        }
        if !reported.is_empty() {
            self.effect(Effect::Progress {
                peer: node,
                items: reported,
            });
        }
        self.tell_of_own_logs(node, &logs);
        if let Some(peer) = self.peers.get_mut(&node) {
            for log in &logs {
                peer.settle(log, &self.frontier);
            }
        }
        if self.has_room(node) {
            self.plan_mark(now, node);
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
            self.say_progress(node, &[*log]);
        }
    }

    /// Compares a claim with what we hold: a longer log of our own, or another branch of any.
    pub(crate) fn check_claim(
        &mut self,
        node: NodeId,
        log: LogId,
        stored: Seq,
        chain: Option<[u8; 8]>,
    ) {
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

    /// Looks at everything again that a peer has said.
    pub(crate) fn check_all_claims(&mut self, node: NodeId) {
        let logs = self
            .peers
            .get(&node)
            .into_iter()
            .flat_map(|peer| &peer.logs);
        let claims: Vec<_> = logs
            .map(|(log, theirs)| (*log, theirs.stored, theirs.chain))
            .collect();
        for (log, stored, chain) in claims {
            self.check_claim(node, log, stored, chain);
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
        let held = peer.log_mut(log, &self.frontier);
        if !held.fork() {
            return;
        }
        peer.forget_outstanding(log);
        if let Some(session) = peer.session_mut() {
            session.lane(log.lane).unqueue(&log);
        }
        if tell {
            self.send_control(node, frame::hold(log));
        }
    }

    /// Our height of a log moved: who is level with it now, and who shows another branch?
    pub(crate) fn check_claims_of(&mut self, log: LogId) {
        let height = self.frontier.head(&log).seq;
        let claims: Vec<_> = self
            .peers
            .values()
            .filter_map(|peer| Some((peer.node, peer.logs.get(&log)?)))
            .filter(|(_, held)| held.stored == height)
            .map(|(node, held)| (node, held.chain))
            .collect();
        for (node, chain) in claims {
            self.check_claim(node, log, height, chain);
            if let Some(peer) = self.peers.get_mut(&node) {
                peer.settle(&log, &self.frontier);
            }
        }
    }

    /// Tells every peer how far we are with these logs: the acknowledgement to who sent them, news to the others.
    pub(crate) fn announce(&mut self, logs: &[LogId]) {
        if logs.is_empty() {
            return;
        }
        let trust: Vec<LogId> = logs
            .iter()
            .filter(|log| log.lane == Lane::Trust)
            .copied()
            .collect();
        for node in self.connected() {
            let session = self.peers.get(&node).and_then(Peer::session);
            match session.map(|session| session.told) {
                Some(Told::All) => self.say_progress(node, logs),
                Some(Told::Trust) => self.say_progress(node, &trust),
                // What it is told later has this in it.
                Some(Told::Nothing) | None => {}
            }
        }
    }

    /// Tells a peer how far we are with these logs.
    pub(crate) fn say_progress(&mut self, node: NodeId, logs: &[LogId]) {
        for chunk in logs.chunks(PROGRESS_ITEMS_MAX) {
            let items: Vec<WireProgress> =
                chunk.iter().map(|log| self.wire_progress(*log)).collect();
            self.send_control(node, frame::progress(&items));
        }
    }

    /// How far we are with one log.
    fn wire_progress(&self, log: LogId) -> WireProgress {
        let head = match planted::is(Planted::AnnounceUnstored) {
            true => self.tip(&log),
            false => self.frontier.head(&log),
        };
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
}
