//! Between the engines and their disks: inputs, effects, writers, readers, alarms.
//!
//! Every effect of an honest engine passes the model here.

use rand::{Rng, RngExt};
use sync_engine::{
    CONTROL_FRAME_BYTES_MAX, ConnId, Effect, GroupId, Input, LANE_FRAME_BYTES_MAX, Lane, LoadId,
    LogId, NodeId, PROTOCOL_MAX, PeerState, Place, ProofId, ReasonCode, ResolveId, Seq, StreamKind,
};

use super::{Event, World};
use crate::desk::Plan;
use crate::model::check_bounds;
use crate::node::Job;
use crate::planted;

/// Batches that an engine may have at its store: one for each lane.
const BATCHES_MAX: usize = Lane::ALL.len();

impl World {
    /// Switches a node on; it dials whom it can reach.
    pub(super) fn start(&mut self, node: usize) {
        let seed = self.rng.next_u64();
        let now_ms = self.now_ms;
        let this = &mut self.nodes[node];
        this.clock.reboot(&mut self.rng, now_ms);
        let now = this.clock.now(now_ms);
        this.start(now, seed);
        for (a, b) in self.net.pairs() {
            if a == node || b == node {
                self.failed_dials.remove(&(node, a + b - node));
                self.want_dial(node, a + b - node);
            }
        }
    }

    pub(super) fn queue_own(&mut self, node: usize, plan: Plan) {
        self.queue(node, Job::Own(plan));
    }

    fn queue(&mut self, node: usize, job: Job) {
        let Some(running) = &mut self.nodes[node].running else {
            return;
        };
        let idle = running.jobs.is_empty() && running.busy.is_none();
        running.jobs.push_back(job);
        if idle {
            let epoch = self.nodes[node].epoch;
            self.at(0, Event::Write(node, epoch));
        }
    }

    /// The writer takes its next job: the entries are on the disk, not synced.
    pub(super) fn write(&mut self, node: usize, epoch: u64) -> Result<(), String> {
        if self.nodes[node].epoch != epoch {
            return Ok(());
        }
        let now = self.now_of(node);
        loop {
            let Some(begun) = self.nodes[node].begin_job(now)? else {
                let running = self.nodes[node].running.as_ref();
                if running.is_none_or(|running| running.jobs.is_empty() || running.busy.is_some()) {
                    return Ok(());
                }
                // The job had nothing to write.
                continue;
            };
            if begun.refused {
                self.tally.note("disk: full");
                let id = self.nodes[node].id();
                self.model.fairness.forget(id);
            }
            if self.is_honest(node) {
                self.model.honest_wrote(&begun.written);
                self.model
                    .check_verdicts(&self.nodes[node], &begun.verdicts, &mut self.tally)?;
            }
            let slow = self.nodes[node].slow;
            if slow {
                self.tally.note("disk: slow");
            }
            let delay_ms = if slow {
                self.rng.random_range(500..=8_000)
            } else {
                self.rng.random_range(1..=30)
            };
            self.at(delay_ms, Event::Written(node, epoch));
            let mut too_early = begun.too_early.into_iter();
            return too_early.try_for_each(|input| self.input(node, input));
        }
    }

    /// The writer has synced: now it answers.
    pub(super) fn written(&mut self, node: usize, epoch: u64) -> Result<(), String> {
        if self.nodes[node].epoch != epoch {
            return Ok(());
        }
        let Some(busy) = self.nodes[node].end_job() else {
            return Ok(());
        };
        if self.is_honest(node)
            && let Some(acknowledged) = busy.acknowledged
        {
            if matches!(acknowledged.promise, crate::desk::Promise::Note(..)) {
                self.tally.note("document: fact kept");
            }
            self.model.acknowledge(acknowledged)?;
        }
        self.at(0, Event::Write(node, epoch));
        busy.inputs
            .into_iter()
            .try_for_each(|input| self.input(node, input))
    }

    pub(super) fn read(
        &mut self,
        node: usize,
        epoch: u64,
        load: LoadId,
        (log, from): (LogId, Seq),
        bytes_max: usize,
    ) -> Result<(), String> {
        if self.nodes[node].epoch != epoch {
            return Ok(());
        }
        let run = if self.nodes[node].unreadable {
            self.tally.note("disk: unreadable");
            let id = self.nodes[node].id();
            self.model.fairness.forget(id);
            None
        } else {
            self.nodes[node].disk.load_run(&log, from, bytes_max)
        };
        if run.is_none() {
            self.tally.note("engine: load gave nothing");
        }
        let disk = &self.nodes[node].disk;
        let named = run.as_ref().map(|run| disk.parents_of_run(run));
        let named = named.unwrap_or_default();
        self.input(node, Input::Loaded { load, run, named })
    }

    /// Looks up what a packed run refers to.
    pub(super) fn resolve(
        &mut self,
        node: usize,
        epoch: u64,
        resolve: ResolveId,
        places: &[Place],
    ) -> Result<(), String> {
        if self.nodes[node].epoch != epoch {
            return Ok(());
        }
        let names = if self.nodes[node].unreadable {
            self.tally.note("disk: unreadable");
            Vec::new()
        } else {
            self.nodes[node].disk.names_at(places)
        };
        self.input(node, Input::Resolved { resolve, names })
    }

    /// Says what the documents have come to, unless a commit is under way: then memory is ahead of the disk.
    pub(super) fn digest(
        &mut self,
        node: usize,
        epoch: u64,
        proof: ProofId,
        groups: &[GroupId],
    ) -> Result<(), String> {
        let Some(this) = self.quiet(node, epoch) else {
            return self.answer(
                node,
                epoch,
                Input::Digested {
                    proof,
                    digests: None,
                },
            );
        };
        let digests = Some(crate::proof::digests(this, groups)?);
        self.tally.note("engine: proof made");
        self.answer(node, epoch, Input::Digested { proof, digests })
    }

    /// Names the objects behind a digest that differs.
    pub(super) fn digest_items(
        &mut self,
        node: usize,
        epoch: u64,
        proof: ProofId,
        (group, buckets): (GroupId, &[u8]),
    ) -> Result<(), String> {
        let Some(this) = self.quiet(node, epoch) else {
            return self.answer(node, epoch, Input::DigestedItems { proof, items: None });
        };
        let items = Some(crate::proof::items(this, group, buckets)?);
        self.answer(node, epoch, Input::DigestedItems { proof, items })
    }

    fn quiet(&mut self, node: usize, epoch: u64) -> Option<&mut crate::node::Node> {
        let this = &mut self.nodes[node];
        let running = this.running.as_ref().filter(|_| this.epoch == epoch);
        running
            .is_some_and(|running| running.busy.is_none())
            .then_some(this)
    }

    fn answer(&mut self, node: usize, epoch: u64, input: Input) -> Result<(), String> {
        if self.nodes[node].epoch == epoch {
            self.input(node, input)
        } else {
            Ok(())
        }
    }

    pub(super) fn wake(&mut self, node: usize, epoch: u64) -> Result<(), String> {
        if self.nodes[node].epoch != epoch {
            return Ok(());
        }
        let now_ms = self.now_ms;
        match &mut self.nodes[node].running {
            Some(running) if running.wake_ms == Some(now_ms) => running.wake_ms = None,
            // An earlier alarm took its place.
            _ => return Ok(()),
        }
        self.input(node, Input::Timeout)
    }

    /// Gives an engine an input and does what it asks for.
    pub(super) fn input(&mut self, node: usize, input: Input) -> Result<(), String> {
        let now = self.now_of(node);
        let Some(running) = &mut self.nodes[node].running else {
            return Ok(());
        };
        running.engine.handle(now, input);
        let effects: Vec<Effect> = std::iter::from_fn(|| running.engine.poll_effect()).collect();
        for effect in effects {
            self.perform(node, effect)?;
        }
        self.set_alarm(node);
        if self.is_honest(node) {
            check_bounds(&self.nodes[node])?;
        }
        Ok(())
    }

    /// Wakes the engine when it wants, by the node's own monotonic clock.
    fn set_alarm(&mut self, node: usize) {
        let clock = self.nodes[node].clock;
        let Some(running) = &mut self.nodes[node].running else {
            return;
        };
        let Some((mono_ms, _)) = running.engine.poll_timeout() else {
            return;
        };
        let at_ms = clock.world_ms_at(mono_ms).max(self.now_ms + 1);
        if running.wake_ms.is_none_or(|known| at_ms < known) {
            running.wake_ms = Some(at_ms);
            let epoch = self.nodes[node].epoch;
            self.at(at_ms - self.now_ms, Event::Wake(node, epoch));
        }
    }

    fn perform(&mut self, node: usize, effect: Effect) -> Result<(), String> {
        let epoch = self.nodes[node].epoch;
        match effect {
            Effect::Send {
                conn,
                stream,
                frame,
            } => self.send_from(node, conn, stream, frame)?,
            Effect::Load {
                load,
                log,
                from,
                bytes_max,
            } => {
                let delay_ms = self.rng.random_range(0..=3);
                self.at(
                    delay_ms,
                    Event::Read(node, epoch, load, log, from, bytes_max),
                );
            }
            Effect::Resolve { resolve, places } => {
                let delay_ms = self.rng.random_range(0..=3);
                self.at(delay_ms, Event::Resolve(node, epoch, resolve, places));
            }
            Effect::Store { batch, from, runs } => {
                if self.is_honest(node) {
                    self.check_batch(node, from, &runs)?;
                }
                self.queue(node, Job::Batch(batch, runs));
            }
            Effect::Disconnect { conn, code, detail } => {
                self.disconnect(node, conn, code, &detail)?
            }
            Effect::Progress { peer, items } => {
                let claimer = self.nodes[..self.honest]
                    .iter()
                    .find(|node| node.id() == peer);
                if let Some(claimer) = claimer.filter(|_| node < self.honest) {
                    for item in &items {
                        self.model.check_claim(claimer, item)?;
                    }
                }
            }
            Effect::OwnLogLonger(conflict) => {
                if self.is_honest(node) {
                    return Err(format!(
                        "node {node} is told that its log {} goes on to {}, it has {}",
                        conflict.log, conflict.theirs, conflict.ours
                    ));
                }
            }
            Effect::KeepMark { peer, mark } => {
                self.tally.note("engine: mark agreed on");
                let (honest, this) = (&self.nodes[..self.honest], &self.nodes[node]);
                let other = honest.iter().find(|other| other.id() == peer);
                if let Some(other) = other.filter(|_| node < self.honest) {
                    self.model.check_mark(this, other, &mark)?;
                }
                self.nodes[node].remember(peer, &mark);
            }
            Effect::Digest { proof, groups } => {
                self.at(1, Event::Digest(node, epoch, proof, groups))
            }
            Effect::DigestItems {
                proof,
                group,
                buckets,
            } => {
                self.at(1, Event::DigestItems(node, epoch, proof, group, buckets));
            }
            Effect::Mismatch(mismatch) => {
                let other = self.nodes[..self.honest]
                    .iter()
                    .find(|node| node.id() == mismatch.peer);
                if let Some(other) = other.filter(|_| node < self.honest) {
                    let name = &other.who.grant.name;
                    return Err(format!(
                        "node {node} and {name} made different things of the same logs: {mismatch:?}"
                    ));
                }
            }
            Effect::PeerChanged { peer } => self.peer_changed(node, peer),
        }
        Ok(())
    }

    /// A batch at the store is as large as it may be, of authors who may write there.
    fn check_batch(
        &mut self,
        node: usize,
        from: NodeId,
        runs: &[sync_engine::VerifiedRun],
    ) -> Result<(), String> {
        let (honest, this) = (&self.nodes[..self.honest], &self.nodes[node]);
        self.model.check_authors(this, runs)?;
        self.model.fairness.check(from, this, runs)?;
        planted::without(|| self.model.check_origin(this, honest, runs))?;
        let bytes: usize = runs.iter().map(sync_engine::VerifiedRun::entry_bytes).sum();
        let limits = &this.who.limits;
        if runs.len() > limits.batch_runs_max || runs.len() > 1 && bytes > limits.batch_bytes_max {
            return Err(format!(
                "node {node} stores a batch of {} runs and {bytes} bytes",
                runs.len()
            ));
        }
        let jobs = this.running.iter().flat_map(|running| &running.jobs);
        let batches = jobs.filter(|job| matches!(job, Job::Batch(..))).count();
        if batches > BATCHES_MAX {
            return Err(format!("node {node} has {batches} batches at its store"));
        }
        Ok(())
    }

    fn send_from(
        &mut self,
        node: usize,
        conn: ConnId,
        stream: StreamKind,
        frame: Vec<u8>,
    ) -> Result<(), String> {
        let Some(side) = self.net.side_of(conn, node) else {
            return Ok(());
        };
        let frames = match &mut self.nodes[node].hostile {
            Some(hostile) => hostile.twist((stream, frame), &mut self.rng, &mut self.tally),
            None => vec![(stream, frame)],
        };
        for (stream, frame) in frames {
            self.transmit(conn, side, stream, frame);
        }
        if self.is_honest(node) {
            let unsent_max = match stream {
                StreamKind::Control => CONTROL_FRAME_BYTES_MAX,
                StreamKind::Lane(_) => {
                    self.nodes[node].who.limits.unsent_bytes_max + LANE_FRAME_BYTES_MAX
                }
            };
            let unsent = self.net.unsent_bytes(conn, side, stream);
            if unsent > unsent_max {
                return Err(format!(
                    "node {node} has {unsent} bytes unsent on {stream:?}, at most {unsent_max} are allowed"
                ));
            }
        }
        Ok(())
    }

    /// An engine closes a connection: with an honest peer only for reasons that honest peers give.
    fn disconnect(
        &mut self,
        node: usize,
        conn: ConnId,
        code: ReasonCode,
        detail: &str,
    ) -> Result<(), String> {
        let Some(nodes) = self.net.nodes(conn) else {
            return Ok(());
        };
        let name = match code {
            ReasonCode::OtherOperation => Some("close: other operation"),
            ReasonCode::NotMember => Some("close: not a member"),
            ReasonCode::BadFrame => Some("close: bad frame"),
            ReasonCode::BadRun => Some("close: bad run"),
            ReasonCode::Author => Some("close: author"),
            ReasonCode::StorageFault => Some("close: storage fault"),
            ReasonCode::Superseded => Some("close: superseded"),
            ReasonCode::Busy => Some("close: busy"),
            ReasonCode::Shutdown | ReasonCode::Protocol | ReasonCode::Flow => None,
        };
        if let Some(name) = name.filter(|_| self.is_honest(node)) {
            self.tally.note(name);
        }
        let both_honest = nodes.iter().all(|end| self.is_honest(*end));
        let innocent = matches!(
            code,
            ReasonCode::Superseded
                | ReasonCode::Busy
                | ReasonCode::NotMember
                | ReasonCode::StorageFault
        );
        if both_honest && !innocent {
            let [a, b] = nodes;
            let other = a + b - node;
            return Err(format!(
                "node {node} cuts off the honest node {other}: {code:?}, {detail}"
            ));
        }
        self.close_from(node, conn);
        Ok(())
    }

    fn peer_changed(&mut self, node: usize, peer: NodeId) {
        let Some(running) = &self.nodes[node].running else {
            return;
        };
        let view = running
            .engine
            .peers()
            .into_iter()
            .find(|view| view.node == peer);
        match view.as_ref().map(|view| view.state) {
            Some(PeerState::Live) => {
                self.tally.note("phase: live");
                let id = self.nodes[node].id();
                self.model.sessions.begin(id, peer, self.now_ms);
                self.watch_fairness(node, peer);
                let newest = view.and_then(|view| view.protocol) == Some(PROTOCOL_MAX);
                self.tally.note(if newest {
                    "engine: newest protocol"
                } else {
                    "engine: older protocol"
                });
            }
            Some(PeerState::Greeting) => {
                self.tally.note("phase: greeting");
                let id = self.nodes[node].id();
                self.model.sessions.end(id, peer);
            }
            Some(PeerState::Disconnected) | None => {
                self.tally.note("phase: away");
                let id = self.nodes[node].id();
                self.model.fairness.end(id, peer);
                self.model.sessions.end(id, peer);
            }
        }
    }

    fn watch_fairness(&mut self, node: usize, peer: NodeId) {
        let (honest, sender) = (&self.nodes[..self.honest], &self.nodes[node]);
        let receiver = honest.iter().find(|receiver| receiver.id() == peer);
        if let Some(receiver) = receiver.filter(|_| node < self.honest) {
            self.model.fairness.begin(sender, receiver);
        }
    }

    /// What an engine counted, before it is gone.
    pub(super) fn note_counters(&mut self, node: usize) {
        let Some(running) = self.nodes[node]
            .running
            .as_ref()
            .filter(|_| node < self.honest)
        else {
            return;
        };
        let counters = running.engine.counters();
        let counts = [
            ("engine: duplicate run dropped", counters.duplicate_runs),
            ("engine: gap asked for again", counters.gap_runs),
            ("engine: run waited for its author", counters.waiting_runs),
            ("engine: batch refused by the store", counters.store_faults),
            ("engine: packed run sent", counters.sent_packed_runs),
            (
                "engine: plain run sent",
                counters.sent_runs - counters.sent_packed_runs,
            ),
            ("engine: reference looked up on the disk", counters.resolves),
            (
                "engine: reference unknown, run asked for plain",
                counters.unresolved_runs,
            ),
            (
                "engine: rebuilt run was not what its author signed",
                counters.wrong_rebuilds,
            ),
            ("engine: greeting by what moved", counters.short_greetings),
            ("engine: proof equal", counters.proofs_equal),
            ("engine: proof void", counters.proofs_void),
        ];
        for (what, times) in counts {
            self.tally.add(what, times);
        }
    }
}
