//! Packed runs on their way in: what they refer to is looked up, then they are runs like all others.
//!
//! Invariants: frames of one lane of one connection are taken in the order in which they came; while one waits for what
//! it refers to, those behind it wait too, within a bound. A run that cannot be unpacked here is asked for again, plain:
//! the peer may be right about what we hold, and a frame that holds together is no violation.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::codec::{Name, Place};
use crate::engine::Engine;
use crate::frame::{self, LaneFrame};
use crate::ids::{Lane, LogId, NodeId};
use crate::io::{ConnId, Effect, Now, ReasonCode, ResolveId};
use crate::packed::{Opened, PackedError, PackedRun, Packing, StreamTable};
use crate::parcel::Came;
use crate::peer::{Peer, PeerLog};
use crate::trust::MayWrite;

/// Packed runs of one connection that come out as something else than their author signed. A reference to a branch that
/// we do not hold does that, which is nobody's fault; this many are.
const WRONG_REBUILDS_MAX: u32 = 64;

/// The receiving side of one lane of one connection.
#[derive(Debug, Default)]
pub(crate) struct LaneIn {
    table: Option<Box<StreamTable>>,
    /// The run that waits for what it refers to, and for which request.
    resolving: Option<(ResolveId, Opened)>,
    /// Frames behind it, with their lengths.
    held: VecDeque<(Held, usize)>,
    held_bytes: usize,
}

impl LaneIn {
    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes
    }
}

/// A frame that waits for its turn.
#[derive(Debug)]
enum Held {
    Plain(Vec<u8>),
    Packed(Box<PackedRun>),
}

/// Whose run a request to resolve is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResolveTicket {
    peer: NodeId,
    conn: ConnId,
    lane: Lane,
}

impl Engine {
    /// A frame of a lane's stream.
    pub(crate) fn on_lane_frame(&mut self, now: Now, node: NodeId, lane: Lane, bytes: Vec<u8>) {
        let Some(session) = self.peers.get_mut(&node).and_then(Peer::session_mut) else {
            return;
        };
        let reads_packed = session.reads_packed();
        let may_receive = session.may_receive(lane);
        let lane_in = session.lane_in(lane);
        let frame_bytes = bytes.len();
        let held = match frame::decode_lane(&bytes) {
            Ok(LaneFrame::Plain) => Held::Plain(bytes),
            // Read at once, and whatever becomes of it: the frames behind it count on what it names.
            Ok(LaneFrame::Packed(packed)) if reads_packed => {
                let table = lane_in
                    .table
                    .get_or_insert_with(|| Box::new(StreamTable::new(lane)));
                match PackedRun::decode(packed, table) {
                    Ok(packed) => Held::Packed(Box::new(packed)),
                    Err(error) => return self.refuse_frame(node, &error.to_string()),
                }
            }
            Ok(LaneFrame::Packed(_) | LaneFrame::Unknown) => {
                self.counters.unknown_frames += 1;
                return;
            }
            Err(error) => return self.refuse_frame(node, &error.to_string()),
        };
        if !may_receive {
            self.counters.refused_author += 1;
            let detail = "not a member of this operation".to_owned();
            return self.disconnect(node, ReasonCode::NotMember, detail);
        }
        if lane_in.resolving.is_none() {
            return self.take_held(now, node, lane, held);
        }
        lane_in.held_bytes += frame_bytes;
        if lane_in.held_bytes > self.limits.inbox_bytes_max {
            self.counters.refused_flow += 1;
            let detail = "more was sent than there is room for".to_owned();
            return self.disconnect(node, ReasonCode::Flow, detail);
        }
        lane_in.held.push_back((held, frame_bytes));
    }

    fn take_held(&mut self, now: Now, node: NodeId, lane: Lane, held: Held) {
        match held {
            Held::Plain(bytes) => self.on_run(now, node, lane, bytes),
            Held::Packed(packed) => self.on_packed(now, node, lane, *packed),
        }
    }

    fn on_packed(&mut self, now: Now, node: NodeId, lane: Lane, packed: PackedRun) {
        let log = packed.log;
        if !self.follows(node, &packed) {
            return;
        }
        let opened = match packed.open(&mut self.zstd) {
            Ok(opened) => opened,
            Err(error) => return self.cannot_unpack(node, log, &error),
        };
        let unknown: Vec<Place> = match opened.references() {
            Ok(references) => references
                .into_iter()
                .filter(|place| self.names.name(place).is_none())
                .collect(),
            Err(error) => return self.cannot_unpack(node, log, &error),
        };
        if unknown.is_empty() {
            return self.unpack(now, node, opened, &BTreeMap::new());
        }
        let on_disk = |place: &&Place| place.seq <= self.frontier.head(&place.log).seq;
        if let Some(missing) = unknown.iter().find(|place| !on_disk(place)) {
            return self.cannot_unpack(node, log, &PackedError::Unresolved(*missing));
        }
        let resolve = self.new_resolve_id();
        let Some(session) = self.peers.get_mut(&node).and_then(Peer::session_mut) else {
            return;
        };
        let conn = session.conn;
        session.lane_in(lane).resolving = Some((resolve, opened));
        let ticket = ResolveTicket {
            peer: node,
            conn,
            lane,
        };
        self.resolves.insert(resolve, ticket);
        self.counters.resolves += 1;
        self.effect(Effect::Resolve {
            resolve,
            places: unknown,
        });
    }

    /// The host has looked up what a run refers to: the run goes on, and what waited behind it.
    pub(crate) fn on_resolved(&mut self, now: Now, resolve: ResolveId, names: Vec<(Place, Name)>) {
        let Some(ResolveTicket { peer, conn, lane }) = self.resolves.remove(&resolve) else {
            return;
        };
        self.busy.insert(peer);
        let Some(lane_in) = self.lane_in(peer, conn, lane) else {
            return;
        };
        let Some((_, opened)) = lane_in.resolving.take() else {
            return;
        };
        self.unpack(now, peer, opened, &names.into_iter().collect());
        while let Some(lane_in) = self.lane_in(peer, conn, lane)
            && lane_in.resolving.is_none()
            && let Some((held, frame_bytes)) = lane_in.held.pop_front()
        {
            lane_in.held_bytes -= frame_bytes;
            self.take_held(now, peer, lane, held);
        }
    }

    fn lane_in(&mut self, node: NodeId, conn: ConnId, lane: Lane) -> Option<&mut LaneIn> {
        let session = self.peers.get_mut(&node).and_then(Peer::session_mut)?;
        (session.conn == conn).then(|| session.lane_in(lane))
    }

    /// Whether a packed run is of use: it brings something, and nothing before it is missing. Does what is to be done
    /// where it is not.
    fn follows(&mut self, node: NodeId, packed: &PackedRun) -> bool {
        let (log, last) = (packed.log, packed.last());
        let forked = |peer: &Peer| peer.logs.get(&log).is_some_and(PeerLog::is_forked);
        if self.peers.get(&node).is_none_or(forked) {
            return false;
        }
        let tip = self.tip(&log);
        if last <= tip.seq {
            self.drop_duplicate(node, log, last);
            return false;
        }
        if packed.first > tip.seq.next() {
            if self.trust.may_write(&log) == MayWrite::Unknown {
                // What it follows waits for its author's grant.
                self.drop_until_known(node, log);
            } else {
                self.counters.gap_runs += 1;
                self.want(node, log, tip.seq.next());
            }
            return false;
        }
        if packed.prev(&tip).is_some() {
            return true;
        }
        if packed.first == tip.seq.next() {
            // Another branch, which only a whole run can prove.
            self.want_plain(node, log);
        } else {
            // Somebody else has sent the beginning of it.
            self.want(node, log, tip.seq.next());
        }
        false
    }

    fn unpack(&mut self, now: Now, node: NodeId, opened: Opened, resolved: &BTreeMap<Place, Name>) {
        let log = opened.packed().log;
        // While it waited another peer may have sent the same.
        if !self.follows(node, opened.packed()) {
            return;
        }
        let Some(prev) = opened.packed().prev(&self.tip(&log)) else {
            return;
        };
        let name = |place: &Place| {
            let known = self.names.name(place);
            known.or_else(|| resolved.get(place).copied())
        };
        let run = match opened.unpack(self.codec.as_ref(), prev, &name) {
            Ok(run) => run,
            Err(error) => return self.cannot_unpack(node, log, &error),
        };
        match run.verify() {
            Ok(run) => {
                let packing = Packing {
                    references: opened.references_elsewhere(),
                    run: opened.into_packed(),
                };
                self.judge(now, node, run, Some(Came::Packed(Arc::new(packing))));
            }
            Err(error) => {
                let Some(session) = self.peers.get_mut(&node).and_then(Peer::session_mut) else {
                    return;
                };
                session.wrong_rebuilds += 1;
                if session.wrong_rebuilds > WRONG_REBUILDS_MAX {
                    return self.refuse_run(node, &log, &error);
                }
                self.counters.wrong_rebuilds += 1;
                self.want_plain(node, log);
            }
        }
    }

    fn cannot_unpack(&mut self, node: NodeId, log: LogId, error: &PackedError) {
        match error {
            PackedError::Malformed(_) | PackedError::TooLarge => {
                self.refuse_frame(node, &error.to_string());
            }
            PackedError::Unresolved(_) | PackedError::Unknown => {
                self.counters.unresolved_runs += 1;
                self.want_plain(node, log);
            }
        }
    }

    /// Asks a peer to send a log again from where we stand, plain from now on; once per place.
    fn want_plain(&mut self, node: NodeId, log: LogId) {
        let from = self.tip(&log).seq.next();
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        let held = peer.log_mut(log, &self.frontier);
        if held.ask_again(from, true) {
            self.send_control(node, frame::want(log, from, true));
        }
    }
}
