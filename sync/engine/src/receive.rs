//! The receiving half: frames are read, runs verified, judged, stored, and only then acknowledged and passed on.
//!
//! Invariants: nothing of a run is believed before its chain and signatures were checked; a height is announced only
//! after the store said that it is on disk; whatever was dropped on the way is either asked for again or its sender is
//! cut off.

use std::collections::BTreeSet;

use crate::engine::Engine;
use crate::frame::{self, ControlFrame};
use crate::ids::{Lane, LogId, NodeId, Seq};
use crate::inbox::{Arrived, Batch, Waiting};
use crate::io::{
    BatchId, ConnId, Effect, Now, ProgressItem, ReasonCode, StoreFault, Stored, StreamKind,
};
use crate::members::Members;
use crate::parcel::{Came, Parcel};
use crate::peer::{Peer, PeerLog, Stage};
use crate::planted::{self, Planted};
use crate::run::{Run, RunError, VerifiedRun};
use crate::send::Fresh;
use crate::trust::{MayWrite, TrustError, TrustRecord};

impl Engine {
    pub(crate) fn on_frame(&mut self, now: Now, conn: ConnId, stream: StreamKind, bytes: Vec<u8>) {
        let Some(node) = self.conns.get(&conn).copied() else {
            return;
        };
        self.counters.received_bytes += bytes.len() as u64;
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.last_seen_wall_ms = now.wall_ms;
        }
        if bytes.len() > stream.frame_bytes_max() {
            return self.refuse_frame(node, "frame too long");
        }
        match stream {
            StreamKind::Control => self.on_control(now, node, &bytes),
            StreamKind::Lane(lane) => self.on_lane_frame(now, node, lane, bytes),
        }
    }

    fn on_control(&mut self, now: Now, node: NodeId, bytes: &[u8]) {
        let frame = match frame::decode_control(bytes) {
            Ok(frame) => frame,
            Err(error) => return self.refuse_frame(node, &error.to_string()),
        };
        let stage = self
            .peers
            .get(&node)
            .and_then(Peer::session)
            .map(|session| session.stage);
        let greeted = !matches!(stage, Some(Stage::Waiting { .. }));
        match frame {
            ControlFrame::Hello(prelude, hello) => self.on_hello(now, node, prelude, hello),
            ControlFrame::Unknown => self.counters.unknown_frames += 1,
            _ if !greeted => self.refuse_frame(node, "the first frame is no greeting"),
            ControlFrame::Admit(frontier) => self.on_admit(now, node, frontier),
            ControlFrame::Frontier(said) => self.on_frontier(now, node, said),
            ControlFrame::WholePlease => self.on_whole_please(node),
            ControlFrame::Mark(hash) => self.on_mark(now, node, hash),
            ControlFrame::Marked(hash) => self.on_marked(now, node, hash),
            ControlFrame::Proof(round, said) => self.on_proof(now, node, round, said),
            ControlFrame::Progress(items) => self.on_progress(now, node, items),
            ControlFrame::Want { log, from, plain } => self.on_want(node, log, from, plain),
            ControlFrame::Hold { log } => {
                // Only a member's word stops a log of our own.
                if self.trust.is_member(node)
                    && let Some(peer) = self.peers.get(&node)
                {
                    let theirs = peer.log(&log, &self.frontier).stored;
                    self.fork_seen(node, log, theirs, false);
                }
            }
        }
    }

    /// A run that is not packed, with the kind of its frame before it.
    pub(crate) fn on_run(&mut self, now: Now, node: NodeId, lane: Lane, frame: Vec<u8>) {
        let run = match Run::decode(&frame[1..]) {
            Ok(run) => run,
            Err(error) => return self.refuse_frame(node, &error.to_string()),
        };
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        if run.log.lane != lane {
            return self.refuse_frame(node, "a run of another lane");
        }
        if peer.logs.get(&run.log).is_some_and(PeerLog::is_forked) {
            return;
        }
        let (log, last) = (run.log, run.last());
        if !run.entries.is_empty() && last <= self.tip(&log).seq {
            return self.drop_duplicate(node, log, last);
        }
        match run.verify() {
            Ok(run) => self.judge(now, node, run, Some(Came::Plain(frame))),
            Err(error) => self.refuse_run(node, &log, &error),
        }
    }

    /// We have all of a run already, or it is on its way to the disk.
    pub(crate) fn drop_duplicate(&mut self, node: NodeId, log: LogId, last: Seq) {
        self.counters.duplicate_runs += 1;
        self.note_theirs(node, log, last, None);
        if last <= self.frontier.head(&log).seq {
            // The height was announced before the peer sent this, perhaps before it could hear us: say it again, or
            // the room it takes in the peer's window is never freed.
            self.say_progress(node, &[log]);
        }
    }

    /// A peer that sends entries has them on its disk: they need not be sent back.
    fn note_theirs(&mut self, node: NodeId, log: LogId, last: Seq, chain: Option<[u8; 8]>) {
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        let room = peer.logs.len() < self.limits.peer_logs_max;
        if !room && !peer.logs.contains_key(&log) {
            return;
        }
        let held = peer.log_mut(log, &self.frontier);
        if last > held.stored {
            held.stored = last;
            held.chain = chain;
            peer.release(log);
        }
        peer.settle(&log, &self.frontier);
    }

    pub(crate) fn refuse_run(&mut self, node: NodeId, log: &LogId, error: &RunError) {
        let count = match error {
            RunError::Signature { .. } | RunError::AuthorKey => {
                &mut self.counters.refused_signature
            }
            _ => &mut self.counters.refused_chain,
        };
        *count += 1;
        let detail = format!("run of {log} refused ({count} so far): {error}");
        self.disconnect(node, ReasonCode::BadRun, detail);
    }

    fn refuse_author(&mut self, node: NodeId, log: &LogId, why: &str) {
        self.counters.refused_author += 1;
        let count = self.counters.refused_author;
        let detail = format!("run of {log} refused ({count} so far): {why}");
        self.disconnect(node, ReasonCode::Author, detail);
    }

    /// May its author write this run's log?
    pub(crate) fn judge(&mut self, now: Now, node: NodeId, run: VerifiedRun, came: Option<Came>) {
        let log = *run.log();
        if self.is_own_log(&log) {
            return self.fork_seen(node, log, run.head().seq, true);
        }
        let records = if log.lane == Lane::Trust {
            self.records_of(&run)
        } else {
            Vec::new()
        };
        let verdict = match self.trust.may_write(&log) {
            MayWrite::Unknown if records.iter().any(|record| self.trust.is_foreign(record)) => {
                self.counters.refused_operation += 1;
                let detail = format!("run of {log} refused: records of another operation");
                return self.disconnect(node, ReasonCode::OtherOperation, detail);
            }
            MayWrite::Unknown => self.trust.may_write_with(&log, &records),
            verdict => verdict,
        };
        match verdict {
            MayWrite::Yes => self.accept(
                node,
                Arrived {
                    from: node,
                    run,
                    came,
                    records,
                },
            ),
            MayWrite::No(why) => self.refuse_author(node, &log, why),
            MayWrite::Unknown => self.wait(now, node, run, came),
        }
    }

    /// The records of a lane 0 run. Entries that carry none are kept and passed on like all others.
    fn records_of(&mut self, run: &VerifiedRun) -> Vec<TrustRecord> {
        let mut records = Vec::new();
        for entry in run.entries() {
            match TrustRecord::from_entry_bytes(&entry.bytes) {
                Ok(record) => records.extend(record),
                Err(_) => self.counters.refused_records += 1,
            }
        }
        records
    }

    /// Queues a run for the store, when it continues what we have.
    fn accept(&mut self, node: NodeId, mut arrived: Arrived) {
        let log = *arrived.run.log();
        let tip = self.tip(&log);
        let last = arrived.run.head().seq;
        if last <= tip.seq {
            return self.drop_duplicate(node, log, last);
        }
        if arrived.run.first() > tip.seq.next() {
            self.counters.gap_runs += 1;
            return self.want(node, log, tip.seq.next());
        }
        if arrived.run.chain_at(tip.seq) != Some(tip.chain) {
            return self.fork_seen(node, log, last, true);
        }
        if arrived.run.first() <= tip.seq {
            arrived.came = None;
            if !arrived.run.trim_through(tip.seq) {
                return;
            }
        }
        let chain = arrived.run.head().chain.short();
        self.note_theirs(node, log, last, Some(chain));
        if let Some(theirs) = self
            .peers
            .get_mut(&node)
            .and_then(|peer| peer.logs.get_mut(&log))
        {
            theirs.came();
        }
        let entries = arrived.run.entries().iter().map(|entry| &entry.bytes[..]);
        let first = arrived.run.first();
        self.names.arrive(self.codec.as_ref(), log, first, entries);
        if !self.inbox.push(arrived, &self.limits) {
            self.names.lost(log, tip.seq);
            self.counters.refused_flow += 1;
            self.disconnect(
                node,
                ReasonCode::Flow,
                "more was sent than there is room for".to_owned(),
            );
        }
    }

    /// Asks a peer to send a log again from a place, once per place.
    pub(crate) fn want(&mut self, node: NodeId, log: LogId, from: Seq) {
        self.ask_again(node, log, from, false);
    }

    /// Asks a peer to send a log again from where we stand, plain from now on; once per place.
    pub(crate) fn want_plain(&mut self, node: NodeId, log: LogId) {
        let from = self.tip(&log).seq.next();
        if planted::is(Planted::DropUnresolved) {
            return;
        }
        self.ask_again(node, log, from, true);
    }

    fn ask_again(&mut self, node: NodeId, log: LogId, from: Seq, plain: bool) {
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        let held = peer.log_mut(log, &self.frontier);
        // What is asked for is remembered, and nothing that was asked for plain has been verified.
        if held.ask_again(from, plain) && self.has_room(node) {
            self.send_control(node, frame::want(log, from, plain));
        }
    }

    /// Keeps a run until its author's grant comes, unacknowledged.
    fn wait(&mut self, now: Now, node: NodeId, run: VerifiedRun, came: Option<Came>) {
        let (log, last) = (*run.log(), run.head().seq);
        let until_ms = now.mono_ms + self.limits.waiting_ms_max;
        // A run behind one that was dropped would only be a gap later.
        let is_parked = self
            .peers
            .get(&node)
            .and_then(|peer| peer.logs.get(&log))
            .is_some_and(PeerLog::is_parked);
        let waiting = Waiting {
            from: node,
            run,
            came,
            until_ms,
        };
        if !is_parked && self.inbox.wait(waiting, &self.limits) {
            self.counters.waiting_runs += 1;
        } else {
            self.park(node, log, last);
        }
    }

    /// Drops a run that ends at `last`, to ask for it once its author is known: what that takes is bounded with all that
    /// is remembered of a peer's logs.
    pub(crate) fn park(&mut self, node: NodeId, log: LogId, last: Seq) {
        self.counters.waiting_dropped += 1;
        self.note_theirs(node, log, last, None);
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.log_mut(log, &self.frontier).park();
        }
        self.has_room(node);
    }

    /// Who may do what has changed: peers may be members now, and runs that waited may be stored.
    pub(crate) fn on_trust_changed(&mut self, now: Now) {
        self.members = Members::of(&self.trust);
        self.meet_members();
        for node in self.connected() {
            self.try_admit(now, node);
        }
        // Before what waits goes on: where it ends is where what was dropped begins.
        let parked = self.parked_and_known();
        for waiting in self.inbox.take_waiting() {
            if self
                .peers
                .get(&waiting.from)
                .is_some_and(|peer| peer.session().is_some())
            {
                self.rejudge(now, waiting);
            }
        }
        for (node, log) in parked {
            let from = self.tip(&log).seq.next();
            self.want(node, log, from);
        }
    }

    /// Logs of which runs were dropped while their author was unknown, who is known now.
    fn parked_and_known(&self) -> Vec<(NodeId, LogId)> {
        let parked = self.peers.values().flat_map(|peer| {
            let logs = peer.logs.iter().filter(|(_, held)| held.is_parked());
            logs.map(|(log, _)| (peer.node, *log))
        });
        parked
            .filter(|(_, log)| self.trust.may_write(log) != MayWrite::Unknown)
            .collect()
    }

    fn rejudge(&mut self, now: Now, waiting: Waiting) {
        if self.trust.may_write(waiting.run.log()) == MayWrite::Unknown {
            // There was room for it a moment ago.
            let _ = self.inbox.wait(waiting, &self.limits);
        } else {
            self.judge(now, waiting.from, waiting.run, waiting.came);
        }
    }

    /// Runs whose author's grant has not come in time make room for others. That is no proof of anything: the lanes of
    /// a connection do not wait for one another, and nobody announces its own commits, so that a grant may be lost and
    /// sent again, for many seconds, while all that we were told of is here.
    pub(crate) fn expire_waiting(&mut self, now: Now) {
        for (node, log, last) in self.inbox.take_late(now) {
            self.park(node, log, last);
        }
    }

    /// Hands the store the next batch of every lane that has none there, urgent lanes first.
    pub(crate) fn pump_store(&mut self) {
        for lane in Lane::ALL {
            let batch = BatchId(self.next_batch);
            if let Some((from, runs)) = self.inbox.next_batch(lane, &self.limits, batch) {
                self.next_batch += 1;
                self.effect(Effect::Store { batch, from, runs });
            }
        }
    }

    pub(crate) fn on_persisted(
        &mut self,
        now: Now,
        batch: BatchId,
        result: Result<Stored, StoreFault>,
    ) {
        let Some(batch) = self.inbox.finish(batch) else {
            return;
        };
        match result {
            Ok(stored) => self.on_stored(now, batch, stored),
            Err(fault) => self.on_store_fault(batch, &fault),
        }
    }

    fn on_stored(&mut self, now: Now, batch: Batch, stored: Stored) {
        let mut logs = BTreeSet::new();
        let mut records = Vec::new();
        for run in &batch.runs {
            self.move_frontier(now, run.log, run.head);
            self.names.stored(run.log, run.first, run.head.seq);
            if run.log.lane == Lane::Trust {
                self.applied.insert(run.log, run.head.seq);
            }
            self.counters.stored_runs += 1;
            self.counters.stored_entries += run.entries as u64;
            self.note_sizes(run.log.lane, run.entries, run.entry_bytes);
            records.extend(run.records.iter().cloned());
            logs.insert(run.log);
        }
        for (log, applied) in stored.applied {
            self.note_applied(log, applied);
        }
        let logs: Vec<LogId> = logs.into_iter().collect();
        self.credit_sender(&batch);
        for log in &logs {
            self.check_claims_of(*log);
        }
        self.announce(&logs);
        self.plan_marks(now);
        if logs.iter().any(|log| log.lane == Lane::Trust) {
            self.stretch_greeting(now, batch.from);
        }
        for run in &batch.runs {
            let mut parcel = run.came.as_ref().map(|came| Parcel::of_came(run.log, came));
            self.pass_on(Fresh {
                log: run.log,
                first: run.first,
                last: run.head.seq,
                weight: run.weight(),
                parcel: parcel.as_mut(),
            });
        }
        self.take_records(now, records);
    }

    /// Whoever sends an entry holds it, and its author has applied it: nobody acknowledges that, because own commits are
    /// not announced.
    fn credit_sender(&mut self, batch: &Batch) {
        let from = batch.from;
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        let mut items: Vec<ProgressItem> = Vec::new();
        for run in &batch.runs {
            // Of a connection that is gone nothing is kept; the next one says it anew.
            if !peer.has_told(run.log.lane) {
                continue;
            }
            let held = peer.log_mut(run.log, &self.frontier);
            if run.log.author == from {
                held.applied = held.applied.max(run.head.seq.min(held.stored));
            }
            items.push(ProgressItem {
                log: run.log,
                stored: held.stored,
                applied: held.applied,
            });
            peer.settle(&run.log, &self.frontier);
        }
        if !items.is_empty() {
            self.effect(Effect::Progress { peer: from, items });
        }
    }

    /// The store could not take a batch: its sender is cut off and comes back later; the other peers that offered the
    /// same logs are asked to send from where we stand.
    fn on_store_fault(&mut self, batch: Batch, fault: &StoreFault) {
        self.counters.store_faults += 1;
        let logs: BTreeSet<LogId> = batch.runs.iter().map(|run| run.log).collect();
        for log in &logs {
            self.inbox.drop_log(log);
            self.names.lost(*log, self.frontier.head(log).seq);
        }
        self.disconnect(batch.from, ReasonCode::StorageFault, fault.to_string());
        for node in self.connected() {
            for log in &logs {
                let height = self.frontier.head(log).seq;
                let Some(peer) = self.peers.get_mut(&node) else {
                    continue;
                };
                // Nobody who is level has more than we do.
                let Some(held) = peer.logs.get_mut(log) else {
                    continue;
                };
                if held.stored > height {
                    held.came();
                    self.want(node, *log, height.next());
                }
            }
        }
    }

    /// Trust records have come to our disk.
    pub(crate) fn take_records(&mut self, now: Now, records: Vec<TrustRecord>) {
        if records.is_empty() {
            return;
        }
        let (changed, errors) = self.trust.extend(records);
        for error in errors {
            match error {
                TrustError::OtherOperation => self.counters.refused_operation += 1,
                _ => self.counters.refused_records += 1,
            }
        }
        if changed {
            self.on_trust_changed(now);
        }
    }

    pub(crate) fn on_applied(&mut self, items: Vec<(LogId, Seq)>) {
        let moved: Vec<LogId> = items
            .into_iter()
            .filter(|(log, applied)| self.note_applied(*log, *applied))
            .map(|(log, _)| log)
            .collect();
        self.announce(&moved);
    }

    /// Applied heights only grow, and never past what is stored.
    fn note_applied(&mut self, log: LogId, applied: Seq) -> bool {
        let applied = applied.min(self.frontier.head(&log).seq);
        let known = self.applied.entry(log).or_default();
        let moved = applied > *known;
        *known = (*known).max(applied);
        moved
    }
}
