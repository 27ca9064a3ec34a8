//! The world: it holds the clock, the nodes and the network, and draws every random number.
//!
//! Invariant: one event at a time, in the order of time and then of scheduling, so that a seed always plays the same.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use ed25519_dalek::SigningKey;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use sync_engine::{
    BatchId, ConnId, Effect, Entry, EntryHeader, EntryKind, Genesis, Grant, HybridTime, Input,
    Lane, LoadId, LogId, Now, ObjectId, Payload, Role, Seq, SignedGrant, StreamKind, TrustRecord,
};

use crate::model::Model;
use crate::net::Net;
use crate::node::{Job, Node};
use crate::{Config, Report};

/// What is due at some moment.
#[derive(Debug)]
enum Event {
    /// The world does something.
    Act,
    /// A node dials another.
    Dial(usize, usize),
    /// A frame has left.
    Departed(ConnId, usize),
    /// A frame arrives.
    Arrives(ConnId, usize, StreamKind, Vec<u8>),
    /// A node learns that a connection is gone.
    Closed(ConnId, usize, u64),
    /// A node's writer finishes its first job.
    Written(usize, u64),
    /// A dishonest writer syncs at last.
    SyncedLate(usize, u64),
    /// A node's reader has read.
    Read(usize, u64, LoadId, LogId, Seq, usize),
    /// A node's engine wanted to be woken.
    Wake(usize, u64),
}

pub(crate) struct World {
    config: Config,
    rng: StdRng,
    now_ms: u64,
    events: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    nodes: Vec<Node>,
    net: Net,
    model: Model,
    trace: DefaultHasher,
    stormy: bool,
    /// Grants that the HQ has not written down yet.
    to_enrol: Vec<SignedGrant>,
    written: u64,
    crashes: u64,
    connections: u64,
}

impl World {
    /// Plays the storm, heals, and waits for convergence.
    pub(crate) fn play_all(mut self) -> Result<Report, String> {
        let storm_ms = self.config.storm_ms;
        self.play_until(storm_ms, false)?;
        self.heal();
        let end_ms = storm_ms + self.config.calm_ms;
        if !self.play_until(end_ms, true)? {
            self.model.check_end(&self.nodes)?;
        }
        Ok(Report {
            trace: self.trace.finish(),
            nodes: self.nodes.len(),
            acknowledged_entries: self.model.acknowledged_entries,
            crashes: self.crashes,
            connections: self.connections,
            converged_after_ms: self.now_ms - storm_ms,
        })
    }

    pub(crate) fn new(seed: u64, config: Config) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let count = rng.random_range(3..=5_usize);
        let keys: Vec<SigningKey> = (0..count)
            .map(|_| SigningKey::from_bytes(&rng.random()))
            .collect();
        let root = SigningKey::from_bytes(&rng.random());
        let genesis = Genesis {
            title: "simulated flood".to_owned(),
            root_key: root.verifying_key().to_bytes(),
            successor_hash: rng.random(),
            created_wall_ms: 0,
            nonce: rng.random(),
        };
        let hq = grant(&genesis, &keys[0], 0).sign(&root);
        let mut nodes = vec![Node::new(
            keys[0].clone(),
            genesis.clone(),
            vec![hq.clone()],
        )];
        let mut to_enrol = Vec::new();
        for (index, key) in keys.iter().enumerate().skip(1) {
            let own = grant(&genesis, key, index).sign(&keys[0]);
            nodes.push(Node::new(
                key.clone(),
                genesis.clone(),
                vec![hq.clone(), own.clone()],
            ));
            to_enrol.push(own);
        }
        let mut world = Self {
            config,
            rng,
            now_ms: 0,
            events: BTreeMap::new(),
            next_event: 0,
            nodes,
            net: Net::default(),
            model: Model::default(),
            trace: DefaultHasher::new(),
            stormy: true,
            to_enrol,
            written: 0,
            crashes: 0,
            connections: 0,
        };
        for index in 0..count {
            world.start(index);
        }
        world.append_records(vec![TrustRecord::Genesis(genesis), TrustRecord::Grant(hq)]);
        world.lay_links(count);
        world.at(1, Event::Act);
        world
    }

    fn lay_links(&mut self, count: usize) {
        for a in 0..count {
            for b in a + 1..count {
                let delay_ms = self.rng.random_range(1..=400);
                let bytes_per_s = *pick(&mut self.rng, &[5_000, 32_000, 1_000_000, 100_000_000]);
                self.net.lay(a, b, delay_ms, bytes_per_s);
                if self.rng.random_bool(0.6) {
                    self.link_up(a, b);
                }
            }
        }
    }

    fn now(&self) -> Now {
        Now {
            mono_ms: self.now_ms,
            wall_ms: 1_800_000_000_000 + self.now_ms,
        }
    }

    fn at(&mut self, delay_ms: u64, event: Event) {
        self.next_event += 1;
        self.events
            .insert((self.now_ms + delay_ms, self.next_event), event);
    }

    /// Plays events up to a time; with `until_converged`, stops when the model is content. Says whether it was.
    fn play_until(&mut self, end_ms: u64, until_converged: bool) -> Result<bool, String> {
        let mut check_ms = self.now_ms;
        while let Some(((at_ms, _), event)) = self.events.pop_first() {
            if at_ms > end_ms {
                self.at(at_ms - self.now_ms, event);
                break;
            }
            self.now_ms = at_ms;
            self.play(event)?;
            if until_converged && self.now_ms >= check_ms {
                check_ms = self.now_ms + 250;
                if self.to_enrol.is_empty() && self.model.check_end(&self.nodes).is_ok() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn play(&mut self, event: Event) -> Result<(), String> {
        let line = match &event {
            Event::Arrives(conn, to, stream, bytes) => {
                format!("{} {conn:?} {to} {stream:?} {}", self.now_ms, bytes.len())
            }
            other => format!("{} {other:?}", self.now_ms),
        };
        line.hash(&mut self.trace);
        match event {
            Event::Act => self.act(),
            Event::Dial(a, b) => self.dial(a, b),
            Event::Departed(conn, from) => self.departed(conn, from),
            Event::Arrives(conn, to, stream, bytes) => {
                if self.net.is_open(conn) {
                    return self.input(
                        to,
                        Input::Frame {
                            conn,
                            stream,
                            bytes,
                        },
                    );
                }
                Ok(())
            }
            Event::Closed(conn, to, epoch) => {
                if self.nodes[to].epoch == epoch {
                    return self.input(
                        to,
                        Input::Disconnected {
                            conn,
                            reason: "closed".into(),
                        },
                    );
                }
                Ok(())
            }
            Event::Written(node, epoch) => self.written(node, epoch),
            Event::SyncedLate(node, epoch) => {
                if self.nodes[node].epoch == epoch {
                    self.nodes[node].disk.sync();
                }
                Ok(())
            }
            Event::Read(node, epoch, load, log, from, bytes_max) => {
                if self.nodes[node].epoch == epoch {
                    let run = self.nodes[node].disk.load(&log, from, bytes_max);
                    return self.input(node, Input::Loaded { load, run });
                }
                Ok(())
            }
            Event::Wake(node, epoch) => {
                if self.nodes[node].epoch == epoch
                    && let Some(running) = &mut self.nodes[node].running
                {
                    running.wake_ms = None;
                    return self.input(node, Input::Timeout);
                }
                Ok(())
            }
        }
    }

    /// Something random happens, and the next such moment is set.
    fn act(&mut self) -> Result<(), String> {
        if !self.stormy {
            return Ok(());
        }
        let pause_ms = self.rng.random_range(1..=400);
        self.at(pause_ms, Event::Act);
        let node = self.rng.random_range(0..self.nodes.len());
        let pairs = self.net.pairs();
        let (a, b) = *pick(&mut self.rng, &pairs);
        match self.rng.random_range(0..100) {
            0..55 => self.write_something(node),
            55..60 => {
                if let Some(grant) = self.to_enrol.pop() {
                    if self.nodes[0].running.is_some() {
                        self.append_records(vec![TrustRecord::Grant(grant)]);
                    } else {
                        self.to_enrol.push(grant);
                    }
                }
            }
            60..72 if self.config.partitions => {
                if self.net.link(a, b).up {
                    return self.link_down(a, b);
                }
                self.link_up(a, b);
            }
            72..78 if self.config.partitions => {
                let conns = self.net.conns();
                if !conns.is_empty() {
                    let conn = *pick(&mut self.rng, &conns);
                    self.close(conn);
                }
            }
            78..84 if self.config.crashes => return self.crash_or_start(node),
            84..88 if self.config.full_disks => {
                self.nodes[node].full = !self.nodes[node].full;
            }
            _ => {}
        }
        Ok(())
    }

    /// Everything works from now on, and nothing new is written.
    fn heal(&mut self) {
        self.stormy = false;
        for node in 0..self.nodes.len() {
            self.nodes[node].full = false;
            if self.nodes[node].running.is_none() {
                self.start(node);
            }
        }
        let records = std::mem::take(&mut self.to_enrol);
        if !records.is_empty() {
            self.append_records(records.into_iter().map(TrustRecord::Grant).collect());
        }
        for (a, b) in self.net.pairs() {
            self.link_up(a, b);
        }
    }

    fn start(&mut self, node: usize) {
        let seed = self.rng.next_u64();
        let now = self.now();
        self.nodes[node].start(now, seed);
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            if self
                .net
                .pairs()
                .contains(&(node.min(other), node.max(other)))
            {
                self.schedule_dial(node, other);
            }
        }
    }

    fn crash_or_start(&mut self, node: usize) -> Result<(), String> {
        let Some(running) = &self.nodes[node].running else {
            self.start(node);
            return Ok(());
        };
        // The counts die with the engine: look at them first.
        self.model
            .check_counters(&self.nodes[node], running.engine.counters())?;
        self.crashes += 1;
        for conn in self.net.conns_of(node) {
            self.close(conn);
        }
        self.nodes[node].crash();
        Ok(())
    }

    fn write_something(&mut self, node: usize) {
        let lane = *pick(
            &mut self.rng,
            &[
                Lane::Flash,
                Lane::Life,
                Lane::Coordination,
                Lane::Coordination,
                Lane::Summary,
            ],
        );
        let log = self.nodes[node].log(lane);
        let large = self.rng.random_bool(0.05);
        let entries = (0..self.rng.random_range(1..=8))
            .map(|_| {
                self.written += 1;
                let bytes_max = if large { 20_000 } else { 300 };
                let mut payload = vec![0; self.rng.random_range(20..=bytes_max)];
                self.rng.fill_bytes(&mut payload);
                let entry = Entry {
                    header: EntryHeader {
                        time: HybridTime {
                            wall_ms: self.now_ms,
                            logical: 0,
                        },
                        user: None,
                        kind: EntryKind(0x0101),
                        object: ObjectId(u128::from(self.written).to_le_bytes()),
                    },
                    payload: Payload::Plain(payload),
                };
                entry.encode().expect("20 kB fit an entry")
            })
            .collect();
        self.queue_job(node, Job::Append(log, entries, Vec::new()));
    }

    /// The HQ writes trust records.
    fn append_records(&mut self, records: Vec<TrustRecord>) {
        let log = self.nodes[0].log(Lane::Trust);
        let header = EntryHeader {
            time: HybridTime {
                wall_ms: self.now_ms,
                logical: 0,
            },
            user: None,
            kind: EntryKind(0),
            object: ObjectId([0; 16]),
        };
        let entries = records
            .iter()
            .map(|record| {
                let entry = record.clone().into_entry(header.clone());
                entry.encode().expect("a trust record fits an entry")
            })
            .collect();
        self.queue_job(0, Job::Append(log, entries, records));
    }

    fn queue_job(&mut self, node: usize, job: Job) {
        let Some(running) = &mut self.nodes[node].running else {
            return;
        };
        running.jobs.push_back(job);
        if running.jobs.len() == 1 {
            self.schedule_writer(node);
        }
    }

    fn schedule_writer(&mut self, node: usize) {
        let delay_ms = self.rng.random_range(0..=25);
        let epoch = self.nodes[node].epoch;
        self.at(delay_ms, Event::Written(node, epoch));
    }

    fn written(&mut self, node: usize, epoch: u64) -> Result<(), String> {
        if self.nodes[node].epoch != epoch {
            return Ok(());
        }
        let Some(done) = self.nodes[node].do_job() else {
            return Ok(());
        };
        if self.config.sync_before_answer {
            self.nodes[node].disk.sync();
        } else {
            let delay_ms = self.rng.random_range(10..=2_000);
            self.at(delay_ms, Event::SyncedLate(node, epoch));
        }
        if let Some((log, seq)) = done.acknowledged {
            self.model.acknowledge(&self.nodes[node], log, seq);
        }
        if self.nodes[node]
            .running
            .as_ref()
            .is_some_and(|running| !running.jobs.is_empty())
        {
            self.schedule_writer(node);
        }
        self.input(node, done.input)
    }

    // The network.

    fn link_up(&mut self, a: usize, b: usize) {
        self.net.link(a, b).up = true;
        self.schedule_dial(a, b);
    }

    fn link_down(&mut self, a: usize, b: usize) -> Result<(), String> {
        let link = self.net.link(a, b);
        link.up = false;
        if let Some(conn) = link.conn {
            self.close(conn);
        }
        Ok(())
    }

    fn schedule_dial(&mut self, a: usize, b: usize) {
        let delay_ms = self.rng.random_range(50..=3_000);
        let (dialler, other) = if self.rng.random_bool(0.5) {
            (a, b)
        } else {
            (b, a)
        };
        let link = self.net.link(a, b);
        if !link.dialling {
            link.dialling = true;
            self.at(delay_ms, Event::Dial(dialler, other));
        }
    }

    fn dial(&mut self, a: usize, b: usize) -> Result<(), String> {
        let on = |node: &Node| node.running.is_some();
        let both_on = on(&self.nodes[a]) && on(&self.nodes[b]);
        let link = self.net.link(a, b);
        link.dialling = false;
        if !link.up || link.conn.is_some() || !both_on {
            return Ok(());
        }
        self.connections += 1;
        let conn = self.net.open(a, b);
        let (a_id, b_id) = (self.nodes[a].id, self.nodes[b].id);
        self.input(
            a,
            Input::Connected {
                conn,
                peer: b_id,
                dialled: true,
            },
        )?;
        self.input(
            b,
            Input::Connected {
                conn,
                peer: a_id,
                dialled: false,
            },
        )
    }

    /// A connection ends: both ends learn of it in their own time, and one dials again.
    fn close(&mut self, conn: ConnId) {
        let Some(ends) = self.net.close(conn) else {
            return;
        };
        for end in ends {
            let delay_ms = self.rng.random_range(0..=500);
            let epoch = self.nodes[end].epoch;
            self.at(delay_ms, Event::Closed(conn, end, epoch));
        }
        self.schedule_dial(ends[0], ends[1]);
    }

    fn departed(&mut self, conn: ConnId, from: usize) -> Result<(), String> {
        let jitter_ms = self.rng.random_range(0..=20);
        let Some(departed) = self.net.depart(self.now_ms, conn, from, jitter_ms) else {
            return Ok(());
        };
        if let Some(next_ms) = departed.next_departure_ms {
            self.at(next_ms - self.now_ms, Event::Departed(conn, from));
        }
        let wait_ms = departed.arrives_ms - self.now_ms;
        self.at(
            wait_ms,
            Event::Arrives(conn, departed.to, departed.stream, departed.frame),
        );
        match departed.stream {
            StreamKind::Lane(lane) => self.input(
                from,
                Input::Unsent {
                    conn,
                    lane,
                    bytes: departed.unsent_bytes,
                },
            ),
            StreamKind::Control => Ok(()),
        }
    }

    // The engines.

    fn input(&mut self, node: usize, input: Input) -> Result<(), String> {
        let now = self.now();
        let Some(running) = &mut self.nodes[node].running else {
            return Ok(());
        };
        running.engine.handle(now, input);
        let effects: Vec<Effect> = std::iter::from_fn(|| running.engine.poll_effect()).collect();
        for effect in effects {
            self.perform(node, effect)?;
        }
        let Some(running) = &mut self.nodes[node].running else {
            return Ok(());
        };
        let wake_ms = running
            .engine
            .poll_timeout()
            .map(|(at_ms, _)| at_ms.max(self.now_ms + 1));
        if let Some(at_ms) = wake_ms
            && running.wake_ms.is_none_or(|known| at_ms < known)
        {
            running.wake_ms = Some(at_ms);
            let epoch = self.nodes[node].epoch;
            self.at(at_ms - self.now_ms, Event::Wake(node, epoch));
        }
        Ok(())
    }

    fn perform(&mut self, node: usize, effect: Effect) -> Result<(), String> {
        let epoch = self.nodes[node].epoch;
        match effect {
            Effect::Send {
                conn,
                stream,
                frame,
            } => {
                if let Some(at_ms) = self.net.push(self.now_ms, conn, node, stream, frame) {
                    self.at(at_ms - self.now_ms, Event::Departed(conn, node));
                }
            }
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
            Effect::Store { batch, runs, .. } => self.queue_batch(node, batch, runs),
            Effect::Disconnect { conn, .. } => self.close(conn),
            Effect::Progress { peer, items } => {
                let claimer = self.nodes.iter().find(|node| node.id == peer);
                let claimer = claimer.ok_or("a claim by nobody")?;
                for item in &items {
                    self.model.check_claim(claimer, item)?;
                }
            }
            Effect::OwnLogLonger(conflict) => {
                return Err(format!(
                    "{} is told that its log {} goes on to {}, it has {}",
                    self.nodes[node].id, conflict.log, conflict.theirs, conflict.ours
                ));
            }
            Effect::KeepMark { peer, mark } => self.nodes[node].remember(peer, mark),
            Effect::PeerChanged { .. } => {}
        }
        Ok(())
    }

    fn queue_batch(&mut self, node: usize, batch: BatchId, runs: Vec<sync_engine::VerifiedRun>) {
        self.queue_job(node, Job::Batch(batch, runs));
    }
}

fn pick<'a, T>(rng: &mut StdRng, items: &'a [T]) -> &'a T {
    &items[rng.random_range(0..items.len())]
}

fn grant(genesis: &Genesis, key: &SigningKey, index: usize) -> Grant {
    let hq = index == 0;
    Grant {
        operation: genesis.id(),
        node: sync_engine::NodeId(key.verifying_key().to_bytes()),
        name: format!("node {index}"),
        role: if hq { Role::Hq } else { Role::Field },
        organisation: None,
        groups: Vec::new(),
        field_classes: Vec::new(),
        lanes: Lane::ALL.to_vec(),
        may_enrol: hq,
        serial: 1,
    }
}
