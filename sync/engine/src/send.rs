//! The sending half: what each peer lacks, in turns within a lane, urgent lanes first.
//!
//! Invariants: per connection and lane at most one load is under way; what the transport has not sent and what the
//! peer has not acknowledged are both bounded; entries of one log leave in order.

use crate::chain::Head;
use crate::codec::{Name, Place};
use crate::engine::{Engine, LoadTicket, RETRY_LOAD};
use crate::ids::{Lane, LogId, NodeId, Seq};
use crate::inbox::weight;
use crate::io::{ConnId, Effect, LoadId, Now, StreamKind};
use crate::parcel::Parcel;
use crate::peer::Peer;
use crate::planted::{self, Planted};
use crate::run::{RUN_BYTES_MAX, Run};
use crate::trust::TrustRecord;

/// Among many connections a run may be this short, bytes: shorter ones would cost more in signatures than they save.
const LOAD_BYTES_MIN: usize = 16 * 1024;

/// A run that has just come to our disk, ready to be passed on without a load.
pub(crate) struct Fresh<'a, 'run> {
    pub(crate) log: LogId,
    pub(crate) first: Seq,
    pub(crate) last: Seq,
    pub(crate) weight: usize,
    /// `None` when it has to be loaded.
    pub(crate) parcel: Option<&'a mut Parcel<'run>>,
}

impl Engine {
    /// Marks every log that the peer may get and lacks something of. One that is level lacks nothing.
    pub(crate) fn fill_ready(&mut self, node: NodeId) {
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        let lacking: Vec<LogId> = peer
            .logs
            .iter()
            .filter(|(log, theirs)| {
                peer.may_send(log.lane)
                    && peer.wants(log)
                    && !theirs.is_forked()
                    && theirs.next() <= self.frontier.head(log).seq
            })
            .map(|(log, _)| *log)
            .collect();
        if let Some(session) = peer.session_mut() {
            for log in lacking {
                session.lane(log.lane).queue(log);
            }
            self.busy.insert(node);
        }
    }

    /// Starts the loads that there is room for, urgent lanes first, for the peers that an input has touched.
    pub(crate) fn pump_loads(&mut self) {
        for node in std::mem::take(&mut self.busy) {
            for lane in Lane::ALL {
                let Some((log, from)) = self.next_load(node, lane) else {
                    continue;
                };
                let load = self.new_load_id();
                let Some(session) = self.peers.get_mut(&node).and_then(Peer::session_mut) else {
                    break;
                };
                session.lane(lane).loading = Some(log);
                let conn = session.conn;
                self.loads.insert(
                    load,
                    LoadTicket {
                        peer: node,
                        conn,
                        log,
                        from,
                    },
                );
                let bytes_max = self.limits.load_bytes_max.min(RUN_BYTES_MAX);
                let bytes_max = bytes_max.min(self.unacked_bytes_max().max(LOAD_BYTES_MIN));
                self.effect(Effect::Load {
                    load,
                    log,
                    from,
                    bytes_max,
                });
            }
        }
    }

    /// What one lane of one connection may have unacknowledged: the fewer the connections the more.
    fn unacked_bytes_max(&self) -> usize {
        let share = self.limits.unacked_total_bytes_max / self.conns.len().max(1);
        self.limits.unacked_bytes_max.min(share.max(1))
    }

    fn next_load(&mut self, node: NodeId, lane: Lane) -> Option<(LogId, Seq)> {
        let unacked_bytes_max = self.unacked_bytes_max();
        let peer = self.peers.get_mut(&node)?;
        let may_send = peer.may_send(lane);
        loop {
            let out = peer.session_mut()?.lane(lane);
            if !may_send
                || out.loading.is_some()
                || out.unsent_bytes >= self.limits.unsent_bytes_max
                    && !planted::is(Planted::SkipWindow)
                || out.unacked_bytes >= unacked_bytes_max
            {
                return None;
            }
            let log = out.next_turn()?;
            let theirs = peer.log(&log, &self.frontier);
            match self.frontier.get(&log) {
                Some(held)
                    if !theirs.forked
                        && held.floor <= theirs.next
                        && theirs.next <= held.height =>
                {
                    return Some((log, theirs.next));
                }
                _ => peer.session_mut()?.lane(lane).unqueue(&log),
            };
        }
    }

    pub(crate) fn on_loaded(
        &mut self,
        now: Now,
        load: LoadId,
        run: Option<Run>,
        named: Vec<(Name, Place)>,
    ) {
        let Some(ticket) = self.loads.remove(&load) else {
            return;
        };
        let (node, log) = (ticket.peer, ticket.log);
        self.busy.insert(node);
        let pause_ms = self.jittered(self.limits.load_retry_ms);
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        let theirs = peer.log(&log, &self.frontier);
        let (next, forked) = (theirs.next, theirs.forked);
        let Some(session) = peer
            .session_mut()
            .filter(|session| session.conn == ticket.conn)
        else {
            return;
        };
        let conn = session.conn;
        let out = session.lane(log.lane);
        out.loading = None;
        if forked || next != ticket.from {
            // The peer got it elsewhere, or asked to start again: the next load begins at the right place.
            return;
        }
        let Some(run) = run.filter(|run| run.log == log && run.first == next && run.last() >= next)
        else {
            let retry_ms = out.rest(log, now.mono_ms, pause_ms);
            return self.wake(retry_ms, node, RETRY_LOAD);
        };
        out.loaded();
        let weight = weight(run.entries.len(), run.entry_bytes());
        let mut parcel = Parcel::of_run(&run, named);
        if let Some(frame) = self.frame_for(node, &mut parcel) {
            self.send_run(node, conn, log, run.last(), weight, frame);
        }
    }

    fn send_run(
        &mut self,
        node: NodeId,
        conn: ConnId,
        log: LogId,
        last: Seq,
        weight: usize,
        frame: Vec<u8>,
    ) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.note_sent(log, &self.frontier, last, weight, frame.len());
        }
        self.counters.sent_runs += 1;
        self.send(conn, StreamKind::Lane(log.lane), frame);
    }

    /// Passes a fresh run to every peer that is level with it, and marks the log for those that are not.
    pub(crate) fn pass_on(&mut self, mut fresh: Fresh<'_, '_>) {
        let log = fresh.log;
        let mut level = Vec::new();
        for peer in self.peers.values_mut() {
            if !peer.may_send(log.lane) || !peer.wants(&log) {
                continue;
            }
            let theirs = peer.log(&log, &self.frontier);
            if theirs.forked || theirs.next > fresh.last {
                continue;
            }
            let node = peer.node;
            let Some(session) = peer.session_mut() else {
                continue;
            };
            let conn = session.conn;
            let out = session.lane(log.lane);
            let room = out.unsent_bytes < self.limits.unsent_bytes_max
                && out.unacked_bytes < self.limits.unacked_bytes_max;
            if room && theirs.next == fresh.first && out.loading != Some(log) {
                level.push((node, conn));
            } else {
                out.queue(log);
                self.busy.insert(node);
            }
        }
        for (node, conn) in level {
            let frame = match &mut fresh.parcel {
                Some(parcel) => self.frame_for(node, parcel),
                None => None,
            };
            if let Some(frame) = frame {
                self.send_run(node, conn, log, fresh.last, fresh.weight, frame);
            } else if let Some(session) = self.peers.get_mut(&node).and_then(Peer::session_mut) {
                session.lane(log.lane).queue(log);
                self.busy.insert(node);
            }
        }
    }

    pub(crate) fn on_local_commit(
        &mut self,
        now: Now,
        log: LogId,
        head: Head,
        records: Vec<TrustRecord>,
        run: Option<Run>,
    ) {
        let before = self.frontier.head(&log).seq;
        if !self.move_frontier(now, log, head) {
            return;
        }
        self.applied.insert(log, head.seq);
        let run = run.filter(|run| {
            run.log == log && run.last() == head.seq && run.entry_bytes() <= RUN_BYTES_MAX
        });
        if let Some(run) = &run {
            self.note_sizes(log.lane, run.entries.len(), run.entry_bytes());
            let entries = run.entries.iter().map(Vec::as_slice);
            self.names
                .arrive(self.codec.as_ref(), log, run.first, entries);
            self.names.stored(log, run.first, head.seq);
        }
        self.check_claims_of(log);
        self.plan_marks(now);
        let mut parcel = run.as_ref().map(|run| Parcel::of_run(run, Vec::new()));
        self.pass_on(Fresh {
            log,
            first: run.as_ref().map_or(before.next(), |run| run.first),
            last: head.seq,
            weight: run
                .as_ref()
                .map_or(0, |run| weight(run.entries.len(), run.entry_bytes())),
            parcel: parcel.as_mut(),
        });
        self.take_records(now, records);
    }

    /// "Send this log from here again", and plain from now on where that is asked for.
    pub(crate) fn on_want(&mut self, node: NodeId, log: LogId, from: Seq, plain: bool) {
        let height = self.frontier.head(&log).seq;
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        let theirs = peer.log(&log, &self.frontier);
        // Only what it could have lost on the way, or may not know that we hold.
        if from == Seq::NONE || from > height.next() {
            return;
        }
        let room = peer.logs.len() < self.limits.peer_logs_max || peer.logs.contains_key(&log);
        if !room || !peer.has_told(log.lane) {
            return;
        }
        if plain && let Some(session) = peer.session_mut() {
            session.send_plain(log);
        }
        let held = peer.log_mut(log, &self.frontier);
        if !planted::is(Planted::ResumeAtWrongPlace) {
            held.sent = held.sent.min(from.before());
        }
        held.stored = held.stored.min(from.before());
        held.applied = held.applied.min(held.stored);
        let lacks = !theirs.forked && held.next() <= height;
        peer.forget_outstanding(log);
        if lacks
            && peer.wants(&log)
            && peer.may_send(log.lane)
            && let Some(session) = peer.session_mut()
        {
            session.lane(log.lane).queue(log);
        }
    }

    /// Logs that rested after a load without result come back.
    pub(crate) fn wake_rested(&mut self, now: Now, node: NodeId) {
        let Some(session) = self.peers.get_mut(&node).and_then(Peer::session_mut) else {
            return;
        };
        for lane in &mut session.lanes {
            lane.wake(now.mono_ms);
        }
        self.busy.insert(node);
    }
}
