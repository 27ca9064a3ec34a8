//! Meeting a peer: connections, greetings, and admission.
//!
//! Invariants: no lane above 0 flows before each end has said that the other is a member and what it has; only one
//! connection with a peer is kept.

use crate::engine::{Engine, GREETING};
use crate::frame;
use crate::frontier_wire::{self, Claims};
use crate::hello::{FrontierSaid, GROUPS_MAX, Hello, HelloPrelude, PROTOCOL_MIN, cut};
use crate::ids::{Lane, NodeId};
use crate::io::{ConnId, Effect, Now, ReasonCode, StreamKind};
use crate::peer::{Heard, Peer, Session, Stage, Told};
use crate::planted::{self, Planted};

/// Two connections of one pair that come within this time, milliseconds, are taken for both ends dialling at once; a
/// later one means that the peer has lost the older.
const SIMULTANEOUS_MS: u64 = 5_000;

/// How much longer than `Limits::greeting_ms_max` a greeting may take while lane 0 moves.
const GREETING_STRETCH: u64 = 12;

/// A frontier up to this size goes into the greeting itself, members written out: it saves half a round trip, and one
/// packet holds it.
const GREETING_FRONTIER_BYTES_MAX: usize = 1_024;

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
        let deadline_ms = now.mono_ms + self.limits.greeting_ms_max;
        let (said, told) = self.first_words(node);
        let members = self.members.clone();
        let hello = Hello::new(
            &self.local.software,
            &self.local.name,
            &self.interest,
            members.hash(),
            said,
            told != Told::Trust,
        );
        let session = Session::new(conn, dialled, now.mono_ms, deadline_ms, told, members);
        self.conns.insert(conn, node);
        let peer = self
            .peers
            .entry(node)
            .or_insert_with(|| Peer::new(node, &self.frontier));
        peer.last_seen_wall_ms = now.wall_ms;
        peer.begin(session);
        self.wake(deadline_ms, node, GREETING);

        let prelude = HelloPrelude {
            protocol_min: PROTOCOL_MIN,
            protocol_max: self.limits.protocol_max,
            node: self.local.node,
            operation: self.trust.operation(),
        };
        self.send(conn, StreamKind::Control, frame::hello(&prelude, &hello));
        self.effect(Effect::PeerChanged { peer: node });
    }

    /// What the greeting says of our frontier: lane 0 to a stranger, what moved to who stood where we stood, all of it
    /// where it is small, and otherwise nothing yet.
    fn first_words(&self, node: NodeId) -> (FrontierSaid, Told) {
        let whole = |lane_0_only: bool| {
            let said = self.whole_frontier(|log| !lane_0_only || log.lane == Lane::Trust, None);
            FrontierSaid::Whole {
                indexed: false,
                logs: said,
            }
        };
        if !self.trust.is_member(node) {
            return (whole(true), Told::Trust);
        }
        let mark = self.peers.get(&node).and_then(|peer| peer.mark);
        if let Some(mark) = mark.and_then(|hash| self.marks.find(hash)) {
            let moved = self.frontier_since(mark);
            let mark = mark.hash;
            return (FrontierSaid::Since { mark, moved }, Told::All);
        }
        match whole(false) {
            FrontierSaid::Whole { logs, .. } if logs.len() > GREETING_FRONTIER_BYTES_MAX => {
                (FrontierSaid::Later, Told::Nothing)
            }
            small => (small, Told::All),
        }
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
        let protocol_max = self.limits.protocol_max;
        let (Some(protocol), Some(hello)) = (prelude.common_protocol(protocol_max), hello) else {
            self.counters.refused_protocol += 1;
            let detail = format!(
                "the peer speaks protocol {} to {}, we speak {PROTOCOL_MIN} to {protocol_max}",
                prelude.protocol_min, prelude.protocol_max
            );
            return self.disconnect(node, ReasonCode::Protocol, detail);
        };
        if prelude.node != node {
            return self.refuse_frame(node, "the greeting names another node");
        }
        if hello.groups.len() > GROUPS_MAX || hello.lanes.len() > GROUPS_MAX {
            return self.refuse_frame(node, "a greeting that names more groups than a grant may");
        }
        let deadline_ms = now.mono_ms + self.limits.greeting_ms_max;
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        peer.name = Some(cut(&hello.name));
        peer.software = Some(cut(&hello.software));
        if !planted::is(Planted::ForgetInterest) {
            peer.interest = hello.interest();
        }
        let Some(session) = peer.session_mut() else {
            return;
        };
        if !matches!(session.stage, Stage::Waiting { .. }) {
            return self.refuse_frame(node, "a second greeting");
        }
        session.protocol = Some(protocol);
        session.their_members = hello.members;
        session.stage = Stage::Greeting {
            deadline_ms,
            we_admit: false,
            they_admit: false,
        };
        if session.told == Told::Nothing {
            self.say_frontier(node, hello.members);
        }
        self.wake(deadline_ms, node, GREETING);
        let heard = if hello.complete {
            Heard::All
        } else {
            Heard::Trust
        };
        if !self.hear_frontier(now, node, hello.frontier, heard) {
            return;
        }
        self.try_admit(now, node);
        self.effect(Effect::PeerChanged { peer: node });
    }

    /// Says all that we have, with members by index when the peer counts them as we do.
    fn say_frontier(&mut self, node: NodeId, their_members: [u8; 8]) {
        let indexed = their_members == self.members.hash();
        let members = indexed.then_some(&self.members);
        let logs = self.whole_frontier(|_| true, members);
        let said = FrontierSaid::Whole { indexed, logs };
        self.send_control(node, frame::frontier(&said));
        if let Some(session) = self.peers.get_mut(&node).and_then(Peer::session_mut) {
            session.told = Told::All;
        }
    }

    /// Takes in what a peer says of its frontier. `false` when the peer is gone for it.
    fn hear_frontier(&mut self, now: Now, node: NodeId, said: FrontierSaid, heard: Heard) -> bool {
        let session = self.peers.get(&node).and_then(Peer::session);
        let Some(members) = session.map(|session| session.members.clone()) else {
            return false;
        };
        let read = |bytes: &[u8], indexed: bool| {
            frontier_wire::decode(bytes, |index| members.get(index).filter(|_| indexed))
        };
        let claims = match said {
            FrontierSaid::Later => return true,
            FrontierSaid::Whole { indexed, logs } => read(&logs, indexed),
            FrontierSaid::Since { mark, moved } => match self.marks.find(mark) {
                Some(mark) => read(&moved, false).map(|moved| {
                    self.counters.short_greetings += 1;
                    Claims::since(mark, moved)
                }),
                None => {
                    self.send_control(node, frame::whole_please());
                    return true;
                }
            },
        };
        match claims {
            Ok(claims) => self.hear(now, node, claims, heard),
            Err(error) => {
                self.refuse_frame(node, &error.to_string());
                false
            }
        }
    }

    /// The whole frontier of a peer that had left it for later, or whose mark we did not know.
    pub(crate) fn on_frontier(&mut self, now: Now, node: NodeId, said: FrontierSaid) {
        let heard = self.peers.get(&node).map(|peer| peer.heard);
        if heard != Some(Heard::Nothing) || !matches!(said, FrontierSaid::Whole { .. }) {
            return self.refuse_frame(node, "a frontier that nobody asked for");
        }
        if self.hear_frontier(now, node, said, Heard::All) {
            self.try_go_live(now, node);
        }
    }

    /// The peer does not know the mark that our greeting named.
    pub(crate) fn on_whole_please(&mut self, node: NodeId) {
        let Some(session) = self.peers.get_mut(&node).and_then(Peer::session_mut) else {
            return;
        };
        // Once: it costs us kilobytes and them a byte.
        if std::mem::replace(&mut session.said_again, true) {
            return self.refuse_frame(node, "the whole frontier was said before");
        }
        let their_members = session.their_members;
        self.say_frontier(node, their_members);
    }

    /// Tells a peer that it is a member, once it is one.
    pub(crate) fn try_admit(&mut self, now: Now, node: NodeId) {
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
        let told = std::mem::replace(&mut session.told, Told::All);
        let rest = (told == Told::Trust).then(|| FrontierSaid::Whole {
            indexed: false,
            logs: self.whole_frontier(|log| log.lane != Lane::Trust, None),
        });
        self.send_control(node, frame::admit(rest.as_ref()));
        // What it claimed as a stranger was not held against our own logs.
        self.check_all_claims(node);
        self.try_go_live(now, node);
    }

    pub(crate) fn on_admit(&mut self, now: Now, node: NodeId, rest: Option<FrontierSaid>) {
        let session = self.peers.get_mut(&node).and_then(Peer::session_mut);
        let Some(session) = session else {
            return;
        };
        match &mut session.stage {
            Stage::Greeting { they_admit, .. } => *they_admit = true,
            Stage::Waiting { .. } => return self.refuse_frame(node, "admission before a greeting"),
            Stage::Live => return,
        }
        let heard = match rest {
            Some(rest)
                if self
                    .peers
                    .get(&node)
                    .is_some_and(|peer| peer.heard == Heard::Trust) =>
            {
                self.hear_frontier(now, node, rest, Heard::All)
            }
            Some(_) => {
                self.refuse_frame(node, "a frontier that nobody asked for");
                false
            }
            None => true,
        };
        if heard {
            self.try_go_live(now, node);
        }
    }

    /// Both ends know each other as members, and each what the other has: all lanes flow.
    fn try_go_live(&mut self, now: Now, node: NodeId) {
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        let heard = peer.heard;
        let Some(session) = peer.session_mut() else {
            return;
        };
        let admitted = matches!(
            session.stage,
            Stage::Greeting {
                we_admit: true,
                they_admit: true,
                ..
            }
        );
        if admitted && heard == Heard::All {
            session.stage = Stage::Live;
            self.fill_ready(node);
            self.plan_mark(now, node);
            self.effect(Effect::PeerChanged { peer: node });
        }
    }

    /// Lane 0 moved between us and a peer: its greeting may take longer, within bounds.
    pub(crate) fn stretch_greeting(&mut self, now: Now, node: NodeId) {
        let limit = self.limits.greeting_ms_max;
        if let Some(session) = self.peers.get_mut(&node).and_then(Peer::session_mut) {
            let last_ms = session.since_ms + limit * GREETING_STRETCH;
            // The timer set before looks again, and sees the new deadline.
            session.extend((now.mono_ms + limit).min(last_ms));
        }
    }

    /// A frame that does not decode, or comes where it must not.
    pub(crate) fn refuse_frame(&mut self, node: NodeId, detail: &str) {
        self.counters.refused_frames += 1;
        self.disconnect(node, ReasonCode::BadFrame, detail.to_owned());
    }
}
