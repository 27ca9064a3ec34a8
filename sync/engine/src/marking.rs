//! Agreeing on marks: when two live peers hold the same of all that both want, they give it a name and remember it.
//!
//! The node with the smaller id proposes, once nothing has moved for a while; the other agrees when it holds, or held,
//! exactly that. A proposal that is not answered costs a frame. Where the heights agree and the names do not, one of the
//! two holds another branch, and both say log by log what they have.

use std::sync::Arc;

use crate::engine::{Engine, MARK};
use crate::frame;
use crate::hello::PROTOCOL_MARKS;
use crate::ids::{LogId, NodeId};
use crate::io::{Effect, Interest, Now};
use crate::marks::{Mark, MarkHash};
use crate::peer::{Heard, Peer, Stage, Told};
use crate::planted::{self, Planted};

impl Engine {
    /// Something moved that the next mark with this peer would name.
    pub(crate) fn plan_mark(&mut self, now: Now, node: NodeId) {
        let (quiet_ms, pause_ms) = (self.limits.mark_quiet_ms, self.limits.mark_pause_ms);
        if self.local.node > node {
            return;
        }
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        let pause_until_ms = peer.mark_agreed_ms.map_or(0, |at_ms| at_ms + pause_ms);
        let Some(session) = peer.session_mut() else {
            return;
        };
        let speaks = session
            .protocol
            .is_some_and(|protocol| protocol >= PROTOCOL_MARKS);
        if !speaks || session.stage != Stage::Live || session.mark_at_ms.is_some() {
            return;
        }
        let at_ms = (now.mono_ms + quiet_ms).max(pause_until_ms);
        session.mark_at_ms = Some(at_ms);
        self.wake(at_ms, node, MARK);
    }

    /// Every peer's next mark would be another.
    pub(crate) fn plan_marks(&mut self, now: Now) {
        for node in self.connected() {
            self.plan_mark(now, node);
        }
    }

    /// Proposes a mark when its time has come and nothing moves.
    pub(crate) fn mark_if_due(&mut self, now: Now, node: NodeId) {
        let quiet_from_ms = self.moved_ms + self.limits.mark_quiet_ms;
        let session = self.peers.get_mut(&node).and_then(Peer::session_mut);
        let Some(session) = session else {
            return;
        };
        if session.mark_at_ms.is_none_or(|at_ms| at_ms > now.mono_ms) {
            return;
        }
        if quiet_from_ms > now.mono_ms {
            session.mark_at_ms = Some(quiet_from_ms);
            self.wake(quiet_from_ms, node, MARK);
            return;
        }
        session.mark_at_ms = None;
        let Some(mark) = self.mark_with(node) else {
            return;
        };
        let hash = mark.hash;
        // One that is agreed on already is named once more on a new connection: both compare what they made of it.
        if self
            .peers
            .get(&node)
            .is_some_and(|peer| peer.mark == Some(hash) && peer.has_compared())
        {
            return;
        }
        self.keep_mark(mark);
        if let Some(session) = self.peers.get_mut(&node).and_then(Peer::session_mut) {
            session.mark_offered = Some(hash);
        }
        self.send_control(node, frame::mark(hash));
        if planted::is(Planted::MarkUnconfirmed) {
            self.agree(now, node, hash);
        }
    }

    /// What a peer and we both hold, if the two of us are level.
    fn mark_with(&mut self, node: NodeId) -> Option<Arc<Mark>> {
        let scope = self.level_scope(node)?;
        if let Some(mark) = self.mark_now.as_ref().filter(|mark| mark.scope == scope) {
            return Some(Arc::clone(mark));
        }
        let mark = Arc::new(Mark::of(&self.frontier, scope));
        self.mark_now = Some(Arc::clone(&mark));
        Some(mark)
    }

    /// All that a peer and we both want, if neither lacks any of it.
    fn level_scope(&self, node: NodeId) -> Option<Interest> {
        let peer = self.peers.get(&node)?;
        let session = peer.session()?;
        let scope = self.interest.common(&peer.interest);
        let level = peer
            .logs
            .iter()
            .filter(|(log, _)| scope.covers(log))
            .all(|(log, theirs)| {
                !theirs.is_forked() && theirs.stored == self.frontier.head(log).seq
            });
        let ready =
            session.stage == Stage::Live && peer.heard == Heard::All && session.told == Told::All;
        (ready && (level || planted::is(Planted::MarkUnconfirmed))).then_some(scope)
    }

    fn keep_mark(&mut self, mark: Arc<Mark>) {
        let peers = &self.peers;
        self.marks.keep(mark, |hash| {
            peers.values().any(|peer| peer.mark == Some(hash))
        });
    }

    /// "This is what we both hold now, if you see it as I do."
    pub(crate) fn on_mark(&mut self, now: Now, node: NodeId, hash: MarkHash) {
        // A peer whose greeting named a mark that we did not know is live before we are.
        let live = self.peers.get(&node).and_then(Peer::session);
        if live.is_none_or(|session| session.stage != Stage::Live) {
            return;
        }
        if self.marks.find(hash).is_none() {
            // Who is not level is told so by what it lacks; the next proposal, right behind it, is to be looked at.
            if self.level_scope(node).is_none() || self.is_asked_too_often(now, node) {
                return;
            }
            let Some(mark) = self.mark_with(node) else {
                return;
            };
            if mark.hash != hash {
                let logs: Vec<LogId> = mark.heights.iter().map(|(log, _)| *log).collect();
                return self.say_differing(now, node, &logs);
            }
            self.keep_mark(mark);
        }
        self.send_control(node, frame::marked(hash));
        self.agree(now, node, hash);
    }

    /// An unknown mark costs a walk over all logs: an honest peer asks for one a second at most.
    fn is_asked_too_often(&mut self, now: Now, node: NodeId) -> bool {
        let pause_ms = self.limits.mark_quiet_ms / 2;
        let Some(session) = self.peers.get_mut(&node).and_then(Peer::session_mut) else {
            return true;
        };
        let last_ms = session.mark_asked_ms.replace(now.mono_ms);
        last_ms.is_some_and(|at_ms| now.mono_ms < at_ms + pause_ms)
    }

    /// Heights agree and the names of the frontiers do not: one log has two branches, or a claim has just moved.
    fn say_differing(&mut self, now: Now, node: NodeId, logs: &[LogId]) {
        let pause_ms = self.limits.mark_pause_ms;
        let Some(session) = self.peers.get_mut(&node).and_then(Peer::session_mut) else {
            return;
        };
        // It costs 80 bytes a log: not more often than marks come.
        if session
            .differed_ms
            .is_some_and(|at_ms| now.mono_ms < at_ms + pause_ms)
        {
            return;
        }
        session.differed_ms = Some(now.mono_ms);
        self.say_progress(node, logs);
    }

    /// "I do, and I remember it."
    pub(crate) fn on_marked(&mut self, now: Now, node: NodeId, hash: MarkHash) {
        let session = self.peers.get_mut(&node).and_then(Peer::session_mut);
        if session.is_some_and(|session| {
            session
                .mark_offered
                .take_if(|offered| *offered == hash)
                .is_some()
        }) {
            self.agree(now, node, hash);
        }
    }

    /// Both ends know the mark.
    fn agree(&mut self, now: Now, node: NodeId, hash: MarkHash) {
        let (Some(peer), Some(mark)) = (self.peers.get_mut(&node), self.marks.find(hash)) else {
            return;
        };
        peer.mark_agreed_ms = Some(now.mono_ms);
        let compared = peer.has_compared();
        let is_new = peer.mark.replace(hash) != Some(hash);
        if let Some(session) = peer.session_mut() {
            session.compared = true;
        }
        if is_new {
            let mark = Arc::clone(mark);
            self.counters.marks_agreed += 1;
            self.effect(Effect::KeepMark { peer: node, mark });
        }
        if is_new || !compared {
            self.begin_proof(node, hash);
        }
    }
}
