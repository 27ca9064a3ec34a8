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
use crate::ids::{Lane, LogId, NodeId, Seq};
use crate::io::{ConnId, Effect, Now, ReasonCode, ResolveId};
use crate::packed::{Opened, PackedError, PackedRun, Packing, StreamNames};
use crate::parcel::Came;
use crate::peer::{Peer, PeerLog};
use crate::run::RunError;
use crate::trust::MayWrite;

/// Packed runs of one connection that come out as something else than their author signed. A reference to a branch that
/// we do not hold does that, which is nobody's fault; this many are.
const WRONG_REBUILDS_MAX: u32 = 64;

/// Looks into the store that led to no run, per lane of one connection. A frame of a few hundred bytes may ask for 4,096
/// entries; an honest one finds them. After that many all that would need a look is asked for plain.
const VAIN_LOOKUPS_MAX: u32 = 64;

/// The receiving side of one lane of one connection.
#[derive(Debug, Default)]
pub(crate) struct LaneIn {
    /// What packed runs on this stream have named.
    names: Option<Box<StreamNames>>,
    /// The run that waits for what it refers to.
    resolving: Option<Opened>,
    /// Frames behind it, each with what it takes.
    held: VecDeque<(Held, usize)>,
    /// What the run that waits and all behind it take.
    held_bytes: usize,
    vain_lookups: u32,
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

impl Held {
    /// What it takes in memory: a packed run may take many times its frame.
    fn bytes(&self) -> usize {
        match self {
            Self::Plain(bytes) => bytes.len(),
            Self::Packed(packed) => packed.held_bytes(),
        }
    }
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
        let held = match frame::decode_lane(&bytes) {
            Ok(LaneFrame::Plain) => Held::Plain(bytes),
            // Read at once, and whatever becomes of it: the frames behind it count on what it names.
            Ok(LaneFrame::Packed(packed)) if reads_packed => {
                let names = lane_in
                    .names
                    .get_or_insert_with(|| Box::new(StreamNames::new(lane)));
                match PackedRun::decode(packed, names) {
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
        let bytes = held.bytes();
        lane_in.held_bytes += bytes;
        if lane_in.held_bytes > self.limits.inbox_bytes_max {
            self.counters.refused_flow += 1;
            let detail = "more was sent than there is room for".to_owned();
            return self.disconnect(node, ReasonCode::Flow, detail);
        }
        lane_in.held.push_back((held, bytes));
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
        let unknown: Vec<Place> = opened
            .references()
            .into_iter()
            .filter(|place| self.names.name(place).is_none())
            .collect();
        if unknown.is_empty() {
            self.unpack(now, node, opened, &BTreeMap::new());
            return;
        }
        let on_disk = |place: &&Place| place.seq <= self.frontier.head(&place.log).seq;
        if let Some(missing) = unknown.iter().find(|place| !on_disk(place)) {
            return self.cannot_unpack(node, log, &PackedError::Unresolved(*missing));
        }
        let resolve = self.new_resolve_id();
        // Anybody can name a log of an author that nobody knows.
        let is_worth_it = self.trust.may_write(&log) == MayWrite::Yes;
        let Some(session) = self.peers.get_mut(&node).and_then(Peer::session_mut) else {
            return;
        };
        let conn = session.conn;
        let lane_in = session.lane_in(lane);
        if !is_worth_it || lane_in.vain_lookups >= VAIN_LOOKUPS_MAX {
            return self.cannot_unpack(node, log, &PackedError::Unresolved(unknown[0]));
        }
        lane_in.held_bytes += opened.held_bytes();
        lane_in.resolving = Some(opened);
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
        let Some(opened) = lane_in.resolving.take() else {
            return;
        };
        lane_in.held_bytes -= opened.held_bytes();
        lane_in.vain_lookups += 1;
        if self.unpack(now, peer, opened, &names.into_iter().collect())
            && let Some(lane_in) = self.lane_in(peer, conn, lane)
        {
            lane_in.vain_lookups -= 1;
        }
        while let Some(lane_in) = self.lane_in(peer, conn, lane)
            && lane_in.resolving.is_none()
            && let Some((held, bytes)) = lane_in.held.pop_front()
        {
            lane_in.held_bytes -= bytes;
            self.take_held(now, peer, lane, held);
        }
    }

    /// What packed runs take that wait for what they refer to, with all behind them: nothing waits on any other lane, so
    /// that this costs nothing while nothing does, however many peers there are.
    pub(crate) fn resolving_bytes(&self) -> impl Iterator<Item = (Lane, usize)> {
        self.resolves.values().filter_map(|ticket| {
            let session = self.peers.get(&ticket.peer)?.session()?;
            let lane_in = &session.lanes_in[ticket.lane.index()];
            (session.conn == ticket.conn).then(|| (ticket.lane, lane_in.held_bytes()))
        })
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
                self.park(node, log, Seq::NONE);
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

    /// Rebuilds the run and goes on with it; whether what it refers to was there.
    fn unpack(
        &mut self,
        now: Now,
        node: NodeId,
        opened: Opened,
        resolved: &BTreeMap<Place, Name>,
    ) -> bool {
        let log = opened.packed().log;
        // While it waited another peer may have sent the same.
        if !self.follows(node, opened.packed()) {
            return true;
        }
        let Some(prev) = opened.packed().prev(&self.tip(&log)) else {
            return true;
        };
        let name = |place: &Place| {
            let known = self.names.name(place);
            known.or_else(|| resolved.get(place).copied())
        };
        let run = match opened.unpack(self.codec.as_ref(), prev, &name) {
            Ok(run) => run,
            Err(error) => {
                self.cannot_unpack(node, log, &error);
                return false;
            }
        };
        match run.verify_rebuilt() {
            Ok(run) => {
                let packing = Packing {
                    references: opened.references_elsewhere(),
                    run: opened.into_packed(),
                };
                // On another stream what this one has named would stand in full, and may be too much for a frame.
                let came = packing
                    .fits_any_stream()
                    .then(|| Came::Packed(Arc::new(packing)));
                self.judge(now, node, run, came);
                true
            }
            Err(error) => {
                self.wrong_rebuild(node, &log, &error);
                false
            }
        }
    }

    fn wrong_rebuild(&mut self, node: NodeId, log: &LogId, error: &RunError) {
        let Some(session) = self.peers.get_mut(&node).and_then(Peer::session_mut) else {
            return;
        };
        session.wrong_rebuilds += 1;
        if session.wrong_rebuilds > WRONG_REBUILDS_MAX {
            return self.refuse_run(node, log, error);
        }
        self.counters.wrong_rebuilds += 1;
        self.want_plain(node, *log);
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
}
