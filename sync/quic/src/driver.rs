//! The driver: the one task that feeds the engine and carries out what it says.
//!
//! It never waits for anything but its inputs: frames to send go into queues that refuse when full, loads and stores run
//! on tasks of their own and come back as events. So everybody else may wait for the driver without a deadlock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use sync_engine::{
    BatchId, ConnId, DigestItems, Digests, Effect, Input, Lane, LoadId, Name, NodeId, Now,
    PeerState, Place, ProofId, ReasonCode, ResolveId, StoreFault, Stored, StreamKind, VerifiedRun,
};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::dial;
use crate::host::{Host, Loaded};
use crate::links::{Link, Meeting, newcomer_wins};
use crate::offenders::is_violation;
use crate::outgoing::Outgoing;
use crate::shared::Shared;
use crate::wire::{self, Preface};

/// What connections tell the driver.
pub(crate) enum Event {
    Opened(Box<Opened>),
    Preface {
        conn: ConnId,
        preface: Preface,
    },
    Frame {
        conn: ConnId,
        stream: StreamKind,
        bytes: Vec<u8>,
        /// Lets its stream's reader go on.
        turn: OwnedSemaphorePermit,
        /// What it takes of its lane's room.
        room: OwnedSemaphorePermit,
    },
    Unsent {
        conn: ConnId,
        lane: Lane,
        bytes: usize,
    },
    Closed {
        conn: ConnId,
        reason: String,
    },
}

/// A connection is up and has its control stream.
pub(crate) struct Opened {
    pub(crate) conn: ConnId,
    pub(crate) peer: NodeId,
    pub(crate) dialled: bool,
    pub(crate) connection: quinn::Connection,
    pub(crate) control: quinn::SendStream,
    pub(crate) preface: Option<Preface>,
    /// Whether the engine takes it; else the driver has closed it, for this reason.
    pub(crate) verdict: oneshot::Sender<Result<(), String>>,
}

/// What the host's tasks tell the driver.
enum Done {
    Loaded {
        load: LoadId,
        loaded: Option<Loaded>,
    },
    Resolved {
        resolve: ResolveId,
        names: Vec<(Place, Name)>,
    },
    Persisted {
        batch: BatchId,
        lane: Lane,
        result: Result<Stored, StoreFault>,
    },
    Digested {
        proof: ProofId,
        digests: Option<Digests>,
    },
    DigestedItems {
        proof: ProofId,
        items: Option<DigestItems>,
    },
}

struct StoreJob {
    batch: BatchId,
    lane: Lane,
    from: NodeId,
    runs: Vec<VerifiedRun>,
}

/// Answers of the host in front of the driver; whoever sends one may wait.
const DONE_MAX: usize = 256;
/// What may come between the two ends of a race seeing each other: one handshake and a little more.
const RACE_MARGIN: Duration = Duration::from_secs(2);

pub(crate) fn spawn<H: Host>(
    shared: Arc<Shared>,
    host: Arc<H>,
    urgent: mpsc::Receiver<Event>,
    bulk: mpsc::Receiver<Event>,
) {
    let (done, done_events) = mpsc::channel(DONE_MAX);
    let lanes = Lane::ALL.map(|_| spawn_lane_worker(&shared, &host, &done));
    let driver = Driver {
        shared: shared.clone(),
        host,
        done,
        lanes,
        conns: BTreeMap::new(),
        inputs: VecDeque::new(),
        frame_room: None,
    };
    shared.tasks.spawn(driver.run(done_events, urgent, bulk));
}

/// Stores of one lane run one after the other, whoever sent them, because each continues where the last ended. The
/// queue needs no bound of its own: the engine bounds the batches in flight.
fn spawn_lane_worker<H: Host>(
    shared: &Arc<Shared>,
    host: &Arc<H>,
    done: &mpsc::Sender<Done>,
) -> mpsc::UnboundedSender<StoreJob> {
    let (jobs, mut queue) = mpsc::unbounded_channel::<StoreJob>();
    let (host, done, cancel) = (host.clone(), done.clone(), shared.cancel.clone());
    shared.tasks.spawn(async move {
        while let Some(StoreJob {
            batch,
            lane,
            from,
            runs,
        }) = queue.recv().await
        {
            // What was begun is ended; what was not need not begin: the peer has no acknowledgement.
            if cancel.is_cancelled() {
                return;
            }
            let stored = AssertUnwindSafe(host.store(from, runs))
                .catch_unwind()
                .await;
            // A lane goes on after a panic: the batch counts as refused, and the peer sends it again.
            let result = stored.unwrap_or_else(|_| {
                Err(StoreFault {
                    detail: "the store panicked".into(),
                })
            });
            if done
                .send(Done::Persisted {
                    batch,
                    lane,
                    result,
                })
                .await
                .is_err()
            {
                return;
            }
        }
    });
    jobs
}

struct Driver<H> {
    shared: Arc<Shared>,
    host: Arc<H>,
    done: mpsc::Sender<Done>,
    lanes: [mpsc::UnboundedSender<StoreJob>; Lane::ALL.len()],
    conns: BTreeMap<ConnId, (NodeId, Outgoing)>,
    /// Inputs that arose while effects were carried out. The engine gets them when all of those are done, so that what
    /// it sends stays in order.
    inputs: VecDeque<Input>,
    /// The room of the frame that the engine gets next.
    frame_room: Option<(Lane, OwnedSemaphorePermit)>,
}

impl<H: Host> Driver<H> {
    async fn run(
        mut self,
        mut done: mpsc::Receiver<Done>,
        mut urgent: mpsc::Receiver<Event>,
        mut bulk: mpsc::Receiver<Event>,
    ) {
        let shared = self.shared.clone();
        loop {
            let due = shared.engine.lock().poll_timeout();
            let due = due.map(|(mono_ms, _why)| shared.started + Duration::from_millis(mono_ms));
            if due.is_some_and(|due| due <= Instant::now()) {
                self.feed(Input::Timeout);
                // A timer that is due again at once must not keep the others waiting.
                tokio::task::consume_budget().await;
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
                Some(done) = done.recv() => self.done(done),
                () = shared.ledger.full.notified() => self.shed(),
                () = shared.local.ready.notified() => self.local(),
                Some(event) = urgent.recv() => self.event(event),
                Some(event) = bulk.recv() => self.event(event),
                () = timer => {}
            }
        }
        for (_, outgoing) in self.conns.values() {
            wire::close(
                outgoing.connection(),
                ReasonCode::Shutdown.code(),
                "node shuts down",
            );
        }
        shared.endpoint.close(
            wire::close_code(ReasonCode::Shutdown.code()),
            b"node shuts down",
        );
    }

    fn now(&self) -> Now {
        Now {
            mono_ms: self.shared.started.elapsed().as_millis() as u64,
            wall_ms: self.host.wall_ms(),
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Loaded { load, loaded } => {
                let (run, named) = match loaded {
                    Some(Loaded { run, named }) => (Some(run), named),
                    None => (None, Vec::new()),
                };
                self.feed(Input::Loaded { load, run, named });
            }
            Done::Resolved { resolve, names } => self.feed(Input::Resolved { resolve, names }),
            Done::Digested { proof, digests } => self.feed(Input::Digested { proof, digests }),
            Done::DigestedItems { proof, items } => {
                self.feed(Input::DigestedItems { proof, items });
            }
            Done::Persisted {
                batch,
                lane,
                result,
            } => {
                self.feed(Input::Persisted { batch, result });
                if lane == Lane::Trust {
                    self.refresh_trust();
                }
            }
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

    fn opened(&mut self, opened: Opened) {
        let Opened {
            conn,
            peer,
            dialled,
            connection,
            control,
            preface,
            verdict,
        } = opened;
        let shared = self.shared.clone();
        let boot = preface.as_ref().map(|preface| preface.boot);
        if let Err((code, text)) = self.admit(peer, dialled, boot) {
            wire::close(&connection, code.code(), text);
            if dialled {
                shared.links.lock().unreserve(peer);
            }
            let _ = verdict.send(Err(text.into()));
            return;
        }
        let link = Link {
            conn,
            connection: connection.clone(),
            dialled,
            since: Instant::now(),
            boot,
        };
        shared.links.lock().opened(peer, link);
        shared.ledger.open(conn);
        shared.links_move();
        self.conns.insert(
            conn,
            (peer, Outgoing::new(&shared, conn, connection, control)),
        );
        let _ = verdict.send(Ok(()));
        self.feed(Input::Connected {
            conn,
            peer,
            dialled,
        });
        if let Some(preface) = preface {
            self.learn(peer, preface);
        }
    }

    /// Whether a new connection may stay; one that it replaces is closed here.
    fn admit(
        &mut self,
        peer: NodeId,
        dialled: bool,
        boot: Option<u64>,
    ) -> Result<(), (ReasonCode, &'static str)> {
        let shared = self.shared.clone();
        let existing = shared.links.lock().link(peer).cloned();
        if let Some(existing) = existing {
            let wins = newcomer_wins(
                shared.node,
                peer,
                Meeting {
                    dialled: existing.dialled,
                    boot: existing.boot,
                },
                existing.since.elapsed(),
                Meeting { dialled, boot },
                shared.limits.handshake + RACE_MARGIN,
            );
            if !wins {
                return Err((ReasonCode::Superseded, "connected already"));
            }
            wire::close(
                &existing.connection,
                ReasonCode::Superseded.code(),
                "replaced by a newer connection",
            );
            self.drop_conn(existing.conn, "replaced by a newer connection".into());
            return Ok(());
        }
        if self.conns.len() >= shared.limits.connections_max {
            return Err((ReasonCode::Busy, "as many connections as allowed here"));
        }
        let trust = shared.trust.load();
        if !dialled && !trust.is_member(peer) {
            let strangers = shared.links.lock().strangers(|node| trust.is_member(node));
            if strangers >= shared.limits.strangers_max {
                return Err((ReasonCode::Busy, "as many unknown nodes as allowed here"));
            }
        }
        Ok(())
    }

    /// A member told its addresses: the program may remember them, and this node dials them when the link is lost.
    fn learn(&self, peer: NodeId, preface: Preface) {
        if preface.advertise.is_empty() || !self.shared.trust.load().is_member(peer) {
            return;
        }
        dial::learn(&self.shared, peer, &preface.advertise);
        self.host.member_address(peer, preface.advertise);
    }

    /// The connection is gone: the table and the dialler learn it now, the engine with its next input.
    fn drop_conn(&mut self, conn: ConnId, reason: String) {
        let Some((peer, _)) = self.conns.remove(&conn) else {
            return;
        };
        self.shared.ledger.close(conn);
        if self
            .shared
            .links
            .lock()
            .closed(peer, conn, Some(reason.clone()))
        {
            self.shared.links_move();
        }
        self.inputs.push_back(Input::Disconnected { conn, reason });
    }

    /// More waits for slow peers than there is memory for: those for whom most waits have to go.
    fn shed(&mut self) {
        while let Some((conn, bytes)) = self.shared.ledger.to_shed() {
            let Some((peer, outgoing)) = self.conns.get(&conn) else {
                // It is ending already.
                self.shared.ledger.close(conn);
                continue;
            };
            let text = format!("{} KiB wait for a peer that is slow", bytes / 1024);
            tracing::warn!(%peer, bytes, "closed to free memory");
            wire::close(outgoing.connection(), ReasonCode::Busy.code(), &text);
            self.drop_conn(conn, text);
        }
        self.feed_all();
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
            } => {
                // As many at a time as the engine asks for: one per lane and peer.
                let (host, done) = (self.host.clone(), self.done.clone());
                self.shared.tasks.spawn(async move {
                    let loaded = AssertUnwindSafe(host.load(log, from, bytes_max))
                        .catch_unwind()
                        .await;
                    let loaded = loaded.unwrap_or_default();
                    let _ = done.send(Done::Loaded { load, loaded }).await;
                });
            }
            Effect::Resolve { resolve, places } => {
                // One at a time per lane and peer, too.
                let (host, done) = (self.host.clone(), self.done.clone());
                self.shared.tasks.spawn(async move {
                    let names = AssertUnwindSafe(host.resolve(places)).catch_unwind().await;
                    let names = names.unwrap_or_default();
                    let _ = done.send(Done::Resolved { resolve, names }).await;
                });
            }
            Effect::Store { batch, from, runs } => {
                let lane = runs.first().map_or(Lane::Trust, |run| run.log().lane);
                let _ = self.lanes[lane as usize].send(StoreJob {
                    batch,
                    lane,
                    from,
                    runs,
                });
            }
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
            Effect::Digest { proof, groups } => {
                let (host, done) = (self.host.clone(), self.done.clone());
                self.shared.tasks.spawn(async move {
                    let digests = AssertUnwindSafe(host.digests(groups)).catch_unwind().await;
                    let digests = digests.unwrap_or_default();
                    let _ = done.send(Done::Digested { proof, digests }).await;
                });
            }
            Effect::DigestItems {
                proof,
                group,
                buckets,
            } => {
                let (host, done) = (self.host.clone(), self.done.clone());
                self.shared.tasks.spawn(async move {
                    let items = AssertUnwindSafe(host.digest_items(group, buckets))
                        .catch_unwind()
                        .await;
                    let items = items.unwrap_or_default();
                    let _ = done.send(Done::DigestedItems { proof, items }).await;
                });
            }
            Effect::Mismatch(mismatch) => self.host.mismatch(*mismatch),
            Effect::KeepMark { peer, mark } => self.host.keep_mark(peer, &mark),
            Effect::Progress { peer, items } => self.host.progress(peer, items, now.wall_ms),
            Effect::OwnLogLonger(conflict) => {
                self.host.own_log_longer(
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
        let views = self.shared.engine.lock().peers();
        let mut links = self.shared.links.lock();
        for view in views.iter().filter(|view| changed.contains(&view.node)) {
            if view.state == PeerState::Live {
                links.set_live(view.node);
            }
        }
        drop(links);
        self.shared.peers_change();
    }
}
