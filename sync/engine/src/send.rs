//! The sending half: what each peer lacks, in turns within a lane, urgent lanes first.
//!
//! Invariants: per connection and lane at most one load is under way; what the transport has not sent and what the
//! peer has not acknowledged are both bounded; entries of one log leave in order.

use crate::chain::Head;
use crate::engine::{Engine, LoadTicket};
use crate::frame;
use crate::ids::{Lane, LogId, NodeId, Seq};
use crate::inbox::weight;
use crate::io::{Effect, LoadId, Now, StreamKind};
use crate::peer::Peer;
use crate::run::{RUN_BYTES_MAX, Run};
use crate::trust::TrustRecord;

/// A run that has just come to our disk, ready to be passed on without a load.
pub(crate) struct Fresh<'a> {
    pub(crate) log: LogId,
    pub(crate) first: Seq,
    pub(crate) last: Seq,
    pub(crate) weight: usize,
    /// `None` when it has to be loaded.
    pub(crate) frame: Option<&'a [u8]>,
}

impl Engine {
    /// Marks every log that the peer may get and lacks something of.
    pub(crate) fn fill_ready(&mut self, node: NodeId) {
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        let Some(session) = peer.session() else {
            return;
        };
        let lacking: Vec<LogId> = self
            .frontier
            .iter()
            .filter(|(log, _)| session.may_send(log.lane) && peer.wants(log))
            .filter(|(log, held)| match peer.logs.get(log) {
                Some(theirs) => !theirs.forked && theirs.next() <= held.height,
                None => true,
            })
            .map(|(log, _)| *log)
            .collect();
        if let Some(session) = peer.session_mut() {
            for log in lacking {
                session.lane(log.lane).ready.insert(log);
            }
        }
    }

    /// Starts the loads that there is room for, urgent lanes first.
    pub(crate) fn pump_loads(&mut self) {
        for node in self.connected() {
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
                self.effect(Effect::Load {
                    load,
                    log,
                    from,
                    bytes_max,
                });
            }
        }
    }

    fn next_load(&mut self, node: NodeId, lane: Lane) -> Option<(LogId, Seq)> {
        let peer = self.peers.get_mut(&node)?;
        loop {
            let session = peer.session_mut()?;
            let may_send = session.may_send(lane);
            let out = session.lane(lane);
            if !may_send
                || out.loading.is_some()
                || out.unsent_bytes >= self.limits.unsent_bytes_max
                || out.unacked_bytes >= self.limits.unacked_bytes_max
            {
                return None;
            }
            let log = out.next_turn()?;
            let next = peer.logs.get(&log).map_or(Seq(1), |held| held.next());
            let forked = peer.logs.get(&log).is_some_and(|held| held.forked);
            match self.frontier.get(&log) {
                Some(held) if !forked && held.floor <= next && next <= held.height => {
                    return Some((log, next));
                }
                _ => peer.session_mut()?.lane(lane).ready.remove(&log),
            };
        }
    }

    pub(crate) fn on_loaded(&mut self, now: Now, load: LoadId, run: Option<Run>) {
        let Some(ticket) = self.loads.remove(&load) else {
            return;
        };
        let (node, log) = (ticket.peer, ticket.log);
        let retry_ms = now.mono_ms + self.jittered(self.limits.load_retry_ms);
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        let held = peer.logs.entry(log).or_default();
        let (next, forked) = (held.next(), held.forked);
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
            out.ready.remove(&log);
            out.resting.insert(log, retry_ms);
            return;
        };
        let frame = frame::run(&run);
        let weight = weight(run.entries.len(), run.entry_bytes());
        peer.note_sent(log, run.last(), weight, frame.len());
        self.counters.sent_runs += 1;
        self.send(conn, StreamKind::Lane(log.lane), frame);
    }

    /// Passes a fresh run to every peer that is level with it, and marks the log for those that are not.
    pub(crate) fn pass_on(&mut self, fresh: &Fresh<'_>) {
        let log = fresh.log;
        let mut frames = Vec::new();
        for peer in self.peers.values_mut() {
            let wants = peer.wants(&log);
            let held = peer.logs.get(&log);
            let next = held.map_or(Seq(1), |held| held.next());
            if !wants || held.is_some_and(|held| held.forked) || next > fresh.last {
                continue;
            }
            let Some(session) = peer.session_mut() else {
                continue;
            };
            if !session.may_send(log.lane) {
                continue;
            }
            let conn = session.conn;
            let out = session.lane(log.lane);
            let room = out.unsent_bytes < self.limits.unsent_bytes_max
                && out.unacked_bytes < self.limits.unacked_bytes_max;
            match fresh.frame {
                Some(frame) if room && next == fresh.first && out.loading != Some(log) => {
                    peer.note_sent(log, fresh.last, fresh.weight, frame.len());
                    frames.push((conn, frame.to_vec()));
                }
                _ => {
                    out.ready.insert(log);
                }
            }
        }
        for (conn, frame) in frames {
            self.counters.sent_runs += 1;
            self.send(conn, StreamKind::Lane(log.lane), frame);
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
        if !self.frontier.advance(log, head.seq, head.chain) {
            return;
        }
        self.applied.insert(log, head.seq);
        let run = run.filter(|run| {
            run.log == log && run.last() == head.seq && run.entry_bytes() <= RUN_BYTES_MAX
        });
        if let Some(run) = &run {
            self.note_sizes(run.entries.len(), run.entry_bytes());
        }
        self.check_claims_of(log);
        let frame = run.as_ref().map(frame::run);
        self.pass_on(&Fresh {
            log,
            first: run.as_ref().map_or(before.next(), |run| run.first),
            last: head.seq,
            weight: run
                .as_ref()
                .map_or(0, |run| weight(run.entries.len(), run.entry_bytes())),
            frame: frame.as_deref(),
        });
        self.take_records(now, records);
    }

    /// "Send this log from here again."
    pub(crate) fn on_want(&mut self, node: NodeId, log: LogId, from: Seq) {
        let height = self.frontier.head(&log).seq;
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        // A log that we never spoke of is none that the peer could have lost something of.
        let Some(held) = peer.logs.get_mut(&log) else {
            return;
        };
        held.sent = held.sent.min(from.before());
        held.stored = held.stored.min(from.before());
        let lacks = !held.forked && held.next() <= height;
        peer.forget_outstanding(log);
        let wants = peer.wants(&log);
        if let Some(session) = peer.session_mut()
            && lacks
            && wants
            && session.may_send(log.lane)
        {
            session.lane(log.lane).ready.insert(log);
        }
    }

    /// Logs that rested after a load without result come back.
    pub(crate) fn wake_rested(&mut self, now: Now) {
        for session in self.peers.values_mut().filter_map(Peer::session_mut) {
            for lane in &mut session.lanes {
                let due: Vec<LogId> = lane
                    .resting
                    .iter()
                    .filter(|(_, at)| **at <= now.mono_ms)
                    .map(|(log, _)| *log)
                    .collect();
                for log in due {
                    lane.resting.remove(&log);
                    lane.ready.insert(log);
                }
            }
        }
    }

    pub(crate) fn note_sizes(&mut self, entries: usize, bytes: usize) {
        self.seen_entries += entries as u64;
        self.seen_bytes += bytes as u64;
    }
}
