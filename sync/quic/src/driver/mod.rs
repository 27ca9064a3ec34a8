//! The driver: the one task that feeds the engine and carries out what it says.
//!
//! It never waits for anything but its inputs: frames to send go into queues that refuse when full, loads and stores run
//! on tasks of their own and come back as events. So everybody else may wait for the driver without a deadlock.

mod connections;
mod host_calls;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sync_engine::{ConnId, Effect, Input, Lane, NodeId, Now, PeerState, ReasonCode, StreamKind};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::events::{Event, Incoming};
use crate::host::Host;
use crate::offenders::is_violation;
use crate::outgoing::Outgoing;
use crate::shared::Shared;
use crate::wire;
use host_calls::{Done, HostCalls};

/// Urgent events in a row while bulk waits. Urgent goes first, but not alone: else a member that sends control frames
/// without end would stop the bulk lanes of everybody.
const URGENT_IN_A_ROW_MAX: usize = 64;
/// What every peer is told when the node ends in order.
const GOODBYE: &str = "node shuts down";

pub(crate) fn spawn<H: Host>(shared: Arc<Shared>, host: Arc<H>, incoming: Incoming) {
    let (calls, answers) = HostCalls::start(&shared, host);
    let driver = Driver {
        shared: shared.clone(),
        calls,
        conns: BTreeMap::new(),
        inputs: VecDeque::new(),
        frame_room: None,
    };
    shared.tasks.spawn(driver.run(answers, incoming));
}

struct Driver<H> {
    shared: Arc<Shared>,
    calls: HostCalls<H>,
    conns: BTreeMap<ConnId, (NodeId, Outgoing)>,
    /// Inputs that arose while effects were carried out. The engine gets them when all of those are done, so that what
    /// it sends stays in order.
    inputs: VecDeque<Input>,
    /// The room of the frame that the engine gets next.
    frame_room: Option<(Lane, OwnedSemaphorePermit)>,
}

impl<H: Host> Driver<H> {
    async fn run(mut self, mut answers: mpsc::Receiver<Done>, mut incoming: Incoming) {
        let shared = self.shared.clone();
        let mut urgent_in_a_row = 0;
        loop {
            let due = shared.engine.lock().poll_timeout();
            let due = due.map(|(mono_ms, _why)| shared.started + Duration::from_millis(mono_ms));
            if due.is_some_and(|due| due <= Instant::now()) {
                self.feed(Input::Timeout);
                // A timer that is due again at once must not keep the others waiting.
                tokio::task::consume_budget().await;
            }
            if urgent_in_a_row >= URGENT_IN_A_ROW_MAX {
                urgent_in_a_row = 0;
                if let Ok(event) = incoming.bulk.try_recv() {
                    self.event(event);
                }
            }
            let timer = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = shared.cancel.cancelled() => break,
                Some(done) = answers.recv() => self.done(done),
                () = shared.ledger.full.notified() => self.shed(),
                () = shared.local.ready.notified() => self.local(),
                Some(event) = incoming.urgent.recv() => {
                    urgent_in_a_row += 1;
                    self.event(event);
                }
                Some(event) = incoming.bulk.recv() => {
                    urgent_in_a_row = 0;
                    self.event(event);
                }
                () = timer => {}
            }
        }
        let code = ReasonCode::Shutdown.code();
        for (_, outgoing) in self.conns.values() {
            wire::close(outgoing.connection(), code, GOODBYE);
        }
        // Those that the driver does not know yet.
        shared
            .endpoint
            .close(wire::close_code(code), GOODBYE.as_bytes());
    }

    fn now(&self) -> Now {
        Now {
            mono_ms: self.shared.started.elapsed().as_millis() as u64,
            wall_ms: self.calls.host().wall_ms(),
        }
    }

    fn done(&mut self, done: Done) {
        let may_change_trust = done.may_change_trust();
        self.feed(done.into_input());
        if may_change_trust {
            self.refresh_trust();
        }
    }

    fn local(&mut self) {
        let queue = self.shared.local.take();
        for commit in queue.commits {
            let is_trust = commit.log.lane == Lane::Trust;
            self.feed(Input::LocalCommit {
                log: commit.log,
                head: commit.head,
                records: commit.records,
                run: commit.run,
            });
            if is_trust {
                self.refresh_trust();
            }
        }
        if !queue.applied.is_empty() {
            self.feed(Input::Applied {
                items: queue.applied.into_iter().collect(),
            });
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Opened(opened) => self.opened(*opened),
            Event::Preface { conn, preface } => {
                if let Some((peer, _)) = self.conns.get(&conn) {
                    let peer = *peer;
                    self.shared.links.lock().set_boot(peer, conn, preface.boot);
                    self.learn(peer, preface);
                }
            }
            Event::Frame {
                conn,
                stream,
                bytes,
                turn: _turn,
                room,
            } => {
                if let StreamKind::Lane(lane) = stream {
                    self.frame_room = Some((lane, room));
                }
                if self.conns.contains_key(&conn) {
                    self.feed(Input::Frame {
                        conn,
                        stream,
                        bytes,
                    });
                }
                self.frame_room = None;
            }
            Event::Unsent { conn, lane, bytes } => {
                if self.conns.contains_key(&conn) {
                    self.feed(Input::Unsent { conn, lane, bytes });
                }
            }
            Event::Closed { conn, reason } => {
                self.drop_conn(conn, reason);
                self.feed_all();
            }
        }
    }

    fn refresh_trust(&self) {
        let trust = self.shared.engine.lock().trust().clone();
        self.shared.trust.store(Arc::new(trust));
        self.shared.peers_change();
    }

    /// Gives the engine one input, after those that wait, and does what it says.
    fn feed(&mut self, input: Input) {
        self.inputs.push_back(input);
        self.feed_all();
    }

    fn feed_all(&mut self) {
        while let Some(input) = self.inputs.pop_front() {
            self.step(input);
        }
    }

    fn step(&mut self, input: Input) {
        let moves = !matches!(input, Input::Unsent { .. } | Input::Timeout);
        let mut effects = Vec::new();
        let now = self.now();
        let held_bytes = {
            let mut engine = self.shared.engine.lock();
            engine.handle(now, input);
            while let Some(effect) = engine.poll_effect() {
                effects.push(effect);
            }
            engine.held_bytes()
        };
        self.settle_rooms(held_bytes);
        let mut changed = BTreeSet::new();
        for effect in effects {
            self.perform(now, effect, &mut changed);
        }
        if !changed.is_empty() {
            self.peers_changed(&changed);
        }
        if moves {
            self.shared
                .progress_moved
                .send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// What the engine keeps of a lane takes of the lane's room until the store has it.
    fn settle_rooms(&mut self, held_bytes: [usize; Lane::ALL.len()]) {
        let rooms = &self.shared.rooms;
        if let Some((lane, room)) = self.frame_room.take() {
            rooms.leave(lane, room, held_bytes[lane as usize]);
        }
        for (lane, bytes) in Lane::ALL.into_iter().zip(held_bytes) {
            rooms.settle(lane, bytes);
        }
    }

    fn perform(&mut self, now: Now, effect: Effect, changed: &mut BTreeSet<NodeId>) {
        match effect {
            Effect::Send {
                conn,
                stream,
                frame,
            } => {
                let Some((_, outgoing)) = self.conns.get_mut(&conn) else {
                    return;
                };
                if outgoing.send(&self.shared, stream, frame).is_err() {
                    let text = "does not read what it is sent";
                    wire::close(outgoing.connection(), ReasonCode::Flow.code(), text);
                    self.drop_conn(conn, format!("peer {text}"));
                }
            }
            Effect::Load {
                load,
                log,
                from,
                bytes_max,
            } => self.calls.load(load, log, from, bytes_max),
            Effect::Resolve { resolve, places } => self.calls.resolve(resolve, places),
            Effect::Store { batch, from, runs } => self.calls.store(batch, from, runs),
            Effect::Disconnect { conn, code, detail } => {
                if let Some((peer, outgoing)) = self.conns.get(&conn) {
                    tracing::info!(%peer, ?code, %detail, "connection closed");
                    if is_violation(code) {
                        self.shared.violated(*peer, &detail);
                    }
                    wire::close(outgoing.connection(), code.code(), &detail);
                    self.drop_conn(conn, detail);
                }
            }
            Effect::Digest { proof, groups } => self.calls.digest(proof, groups),
            Effect::DigestItems {
                proof,
                group,
                buckets,
            } => self.calls.digest_items(proof, group, buckets),
            Effect::Mismatch(mismatch) => self.calls.host().mismatch(*mismatch),
            Effect::KeepMark { peer, mark } => self.calls.host().keep_mark(peer, &mark),
            Effect::Progress { peer, items } => {
                self.calls.host().progress(peer, items, now.wall_ms)
            }
            Effect::OwnLogLonger(conflict) => {
                self.calls.host().own_log_longer(
                    conflict.log,
                    conflict.ours,
                    conflict.theirs,
                    conflict.peer,
                );
            }
            Effect::PeerChanged { peer } => {
                changed.insert(peer);
            }
        }
    }

    fn peers_changed(&self, changed: &BTreeSet<NodeId>) {
        let engine = self.shared.engine.lock();
        let mut links = self.shared.links.lock();
        for node in changed {
            if engine.state_of(*node) == PeerState::Live {
                links.set_live(*node);
            }
        }
        drop((engine, links));
        self.shared.peers_change();
    }
}
