//! The world: it holds the time, the nodes and the network, and draws every random number.
//!
//! Invariant: one event at a time, in the order of time and then of scheduling, so that a seed always plays the same.
//!
//! `setup` makes the operation, `act` decides what happens to it, `wire` is connections and frames, `shell` stands
//! between the engines and their disks, `settle` heals everything and asks the model.

mod act;
mod harm;
mod settle;
mod setup;
mod shell;
mod wire;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use domain::RecordId;
use rand::RngExt;
use rand::rngs::StdRng;
use sync_engine::{
    ConnId, GroupId, Lane, LoadId, LogId, Now, Place, ProofId, ResolveId, Seq, SignedGrant,
    StreamKind,
};

use crate::model::Model;
use crate::net::Net;
use crate::node::Node;
use crate::tally::Tally;
use crate::{Config, Report, Violation};

/// What is due at some moment.
#[derive(Debug)]
enum Event {
    /// The world does something.
    Act,
    /// A node dials another.
    Dial(usize, usize),
    /// The handshake of a connection is done at one end.
    Up(ConnId, usize, u64),
    /// A frame has left an end.
    Departed(ConnId, usize),
    /// A frame arrives at an end: its stream and its place in it.
    Arrives(ConnId, usize, StreamKind, u64, Vec<u8>),
    /// An end learns that a connection is gone.
    Gone(ConnId, usize, &'static str),
    /// An end has heard nothing for its idle timeout, unless the direction was mended since.
    Idle(ConnId, usize, u64),
    /// A node's writer takes its next job.
    Write(usize, u64),
    /// A node's writer has synced.
    Written(usize, u64),
    /// A node's reader has read.
    Read(usize, u64, LoadId, LogId, Seq, usize),
    /// A node's reader has looked up what a packed run refers to.
    Resolve(usize, u64, ResolveId, Vec<Place>),
    /// A node's store is asked what its documents have come to.
    Digest(usize, u64, ProofId, Vec<GroupId>),
    /// The same, object by object.
    DigestItems(usize, u64, ProofId, GroupId, Vec<u8>),
    /// Somebody has seen to a node's disk.
    DiskMended(usize),
    /// A node's engine wanted to be woken.
    Wake(usize, u64),
}

pub(crate) struct World {
    config: Config,
    rng: StdRng,
    now_ms: u64,
    events: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    /// Honest nodes first, the HQ at 0; then the others.
    nodes: Vec<Node>,
    honest: usize,
    net: Net,
    model: Model,
    tally: Tally,
    trace: DefaultHasher,
    steps: u64,
    stormy: bool,
    /// Every event is told on standard error: `SIM_TELL=1`.
    tell: bool,
    /// Acts left until the world is quiet for some hours.
    burst_acts: u32,
    /// Grants that the HQ has not written down yet.
    to_enrol: Vec<SignedGrant>,
    /// Those that it was asked to write down: a crash or a full disk may have been in the way.
    enrolled: Vec<SignedGrant>,
    /// Nodes that join later.
    to_join: Vec<usize>,
    /// Dials that are scheduled.
    dialling: BTreeSet<(usize, usize)>,
    /// Dials in a row that led to nothing.
    failed_dials: BTreeMap<(usize, usize), u32>,
    documents: Vec<RecordId>,
    written: u64,
    edits: u64,
    crashes: u64,
    connections: u64,
}

/// The longest line about one event, characters.
const TOLD_MAX: usize = 160;

fn told(event: &Event) -> String {
    format!("{event:?}").chars().take(TOLD_MAX).collect()
}

impl World {
    /// Plays the storm, heals, and waits for convergence.
    ///
    /// `progress` shows events played and the virtual time, also to who catches a panic.
    pub(crate) fn play_all(mut self, progress: &Cell<(u64, u64)>) -> Result<Report, Violation> {
        match self.play_storm_and_calm(progress) {
            Ok(converged_after_ms) => Ok(Report {
                trace: self.trace.finish(),
                nodes: self.honest,
                steps: self.steps,
                virtual_ms: self.now_ms,
                acknowledged_entries: self.model.acknowledged_entries(),
                crashes: self.crashes,
                connections: self.connections,
                converged_after_ms,
                tally: self.tally,
            }),
            Err(sentence) => {
                if std::env::var_os("SIM_DUMP").is_some() {
                    self.dump();
                }
                Err(Violation {
                    sentence,
                    steps: self.steps,
                    at_ms: self.now_ms,
                })
            }
        }
    }

    fn play_storm_and_calm(&mut self, progress: &Cell<(u64, u64)>) -> Result<u64, String> {
        let storm_ms = self.config.storm_ms;
        self.play_until(storm_ms, progress)?;
        self.now_ms = storm_ms;
        self.heal()?;
        self.settle(progress)
    }

    fn now_of(&self, node: usize) -> Now {
        self.nodes[node].clock.now(self.now_ms)
    }

    fn is_honest(&self, node: usize) -> bool {
        node < self.honest
    }

    fn is_on(&self, node: usize) -> bool {
        self.nodes[node].running.is_some()
    }

    fn at(&mut self, delay_ms: u64, event: Event) {
        self.next_event += 1;
        self.events
            .insert((self.now_ms + delay_ms, self.next_event), event);
    }

    /// Plays all events up to a time.
    fn play_until(&mut self, end_ms: u64, progress: &Cell<(u64, u64)>) -> Result<(), String> {
        while let Some(next) = self.events.first_entry() {
            let (at_ms, _) = *next.key();
            if at_ms > end_ms {
                break;
            }
            let event = next.remove();
            self.now_ms = at_ms;
            self.steps += 1;
            progress.set((self.steps, self.now_ms));
            if self.tell {
                eprintln!("{} {}", self.now_ms, told(&event));
            }
            self.play(event)?;
        }
        Ok(())
    }

    fn play(&mut self, event: Event) -> Result<(), String> {
        self.trace_event(&event);
        match event {
            Event::Act => self.act(),
            Event::Dial(from, to) => self.dial(from, to),
            Event::Up(conn, side, epoch) => self.up(conn, side, epoch),
            Event::Departed(conn, side) => self.departed(conn, side),
            Event::Arrives(conn, side, stream, offset, frame) => {
                self.arrives(conn, side, stream, offset, frame)
            }
            Event::Gone(conn, side, why) => self.gone(conn, side, why),
            Event::Idle(conn, side, cuts) => self.idle(conn, side, cuts),
            Event::Write(node, epoch) => self.write(node, epoch),
            Event::Written(node, epoch) => self.written(node, epoch),
            Event::Read(node, epoch, load, log, from, bytes_max) => {
                self.read(node, epoch, load, (log, from), bytes_max)
            }
            Event::Resolve(node, epoch, resolve, places) => {
                self.resolve(node, epoch, resolve, &places)
            }
            Event::Digest(node, epoch, proof, groups) => self.digest(node, epoch, proof, &groups),
            Event::DigestItems(node, epoch, proof, group, buckets) => {
                self.digest_items(node, epoch, proof, (group, &buckets))
            }
            Event::DiskMended(node) => {
                let this = &mut self.nodes[node];
                (this.full, this.unreadable, this.slow) = (false, false, false);
                Ok(())
            }
            Event::Wake(node, epoch) => self.wake(node, epoch),
        }
    }

    /// Everything that tells two runs apart goes into the trace, in the order in which it happens.
    fn trace_event(&mut self, event: &Event) {
        let trace = &mut self.trace;
        self.now_ms.hash(trace);
        std::mem::discriminant(event).hash(trace);
        match event {
            Event::Act => {}
            Event::Dial(from, to) => (from, to).hash(trace),
            Event::DiskMended(node) => node.hash(trace),
            Event::Up(conn, side, epoch) | Event::Idle(conn, side, epoch) => {
                (conn, side, epoch).hash(trace)
            }
            Event::Departed(conn, side) => (conn, side).hash(trace),
            Event::Arrives(conn, side, stream, offset, frame) => {
                (conn, side, stream, offset, frame).hash(trace)
            }
            Event::Gone(conn, side, why) => (conn, side, why).hash(trace),
            Event::Write(node, epoch) | Event::Written(node, epoch) | Event::Wake(node, epoch) => {
                (node, epoch).hash(trace);
            }
            Event::Digest(node, epoch, proof, _) | Event::DigestItems(node, epoch, proof, ..) => {
                (node, epoch, proof.0).hash(trace);
            }
            Event::Resolve(node, epoch, resolve, places) => {
                (node, epoch, resolve, places.len()).hash(trace);
            }
            Event::Read(node, epoch, load, log, from, _) => {
                (node, epoch, load, log.to_bytes(), from.0).hash(trace)
            }
        }
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        (!items.is_empty()).then(|| &items[self.rng.random_range(0..items.len())])
    }

    /// A number that no other write of this run has.
    fn next_number(&mut self) -> u64 {
        self.written += 1;
        self.written
    }

    /// The lanes that applications write, the more usual ones more often.
    const WRITTEN_LANES: [Lane; 6] = [
        Lane::Flash,
        Lane::Coordination,
        Lane::Coordination,
        Lane::Summary,
        Lane::Raw,
        Lane::Blobs,
    ];
}
