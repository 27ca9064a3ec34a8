//! Real engines in one thread: no sockets, no disk, no delay; what they say to each other is counted.
//!
//! Invariant: frames travel in steps. All that is on its way arrives, and what that gives leaves together, so that two
//! steps are one round trip whatever the machine does meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use ed25519_dalek::SigningKey;
use sync_engine::{
    ConnId, Effect, Engine, Frontier, Input, Interest, Lane, Limits, LocalNode, LogId, NodeId, Now,
    Seq, Stored, StreamKind, Trust, TrustRecord,
};

use crate::library::{self, Library};

/// Contacts lie further apart than two marks with one peer must (`Limits::mark_pause_ms`).
const BETWEEN_CONTACTS_MS: u64 = 60_000;

/// A contact lasts so much longer than the exchange: the two agree on a mark (`Limits::mark_quiet_ms`).
const LINGER_MS: u64 = 2_000;

/// Steps of one contact; more means that it never ends.
const STEPS_MAX: usize = 100_000;

/// One node.
pub struct Member {
    pub key: SigningKey,
    pub id: NodeId,
    pub engine: Engine,
    /// Time that its engine has taken, all inputs.
    pub busy: Duration,
}

impl Member {
    /// The log that it writes now.
    pub fn log(&self, lane: Lane) -> LogId {
        library::log_of(self.id, incarnation_of(self.id), lane)
    }
}

/// The life in which a bench node writes.
pub fn incarnation_of(node: NodeId) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&node.0[8..16]);
    u64::from_le_bytes(bytes)
}

/// The engine of a node that holds `frontier`, all of it applied.
pub fn engine(key: &SigningKey, trust: Trust, frontier: Frontier, limits: Limits) -> Engine {
    let node = library::node_of(key);
    let applied: Vec<(LogId, Seq)> = frontier
        .iter()
        .map(|(log, held)| (*log, held.height))
        .collect();
    let local = LocalNode {
        node,
        incarnation: sync_engine::Incarnation(incarnation_of(node)),
        name: "Bench".to_owned(),
        software: concat!("muster/", env!("CARGO_PKG_VERSION")).to_owned(),
    };
    let now = Now {
        mono_ms: 0,
        wall_ms: 0,
    };
    let interest = Interest {
        groups: Vec::new(),
        lanes: vec![Lane::Raw],
    };
    let mut engine = Engine::new(1, now, local, trust, frontier, interest, limits);
    engine.handle(now, Input::Applied { items: applied });
    engine
}

/// What two nodes said to each other while they were connected; index 0 is the one that dialled.
#[derive(Debug, Default, Clone)]
pub struct Contact {
    /// The first frame of each: its greeting.
    pub hello_bytes: [usize; 2],
    /// All that each said on the control stream before the first entry moved, or before the exchange was over.
    pub greeting_bytes: [usize; 2],
    /// Frames of both, all streams.
    pub bytes: usize,
    /// Of these what carried entries.
    pub run_bytes: usize,
    /// Steps until the first run left, and until nothing was on its way any more.
    pub first_run_step: Option<usize>,
    pub steps: usize,
}

/// A frame on its way, and to which end.
struct Flight {
    to: usize,
    stream: StreamKind,
    bytes: Vec<u8>,
}

/// Nodes over one library.
#[derive(Default)]
pub struct Engines {
    pub library: Library,
    pub members: Vec<Member>,
    now_ms: u64,
    conns: u64,
}

impl Engines {
    /// Adds a node that holds all that is in the library now.
    pub fn add(&mut self, key: SigningKey, trust: Trust, limits: Limits) {
        let frontier = self.library.frontier();
        self.members.push(Member {
            id: library::node_of(&key),
            engine: engine(&key, trust, frontier, limits),
            key,
            busy: Duration::ZERO,
        });
    }

    /// A node writes one commit.
    ///
    /// # Errors
    /// What was written does not read back.
    pub fn commit(&mut self, at: usize, lane: Lane, entries: Vec<Vec<u8>>) -> anyhow::Result<()> {
        let (log, key) = (self.members[at].log(lane), self.members[at].key.clone());
        let first = self.library.head(&log).seq.next();
        let head = self.library.append(log, entries, &key);
        let run = self
            .library
            .load(&log, first, head.seq, sync_engine::RUN_BYTES_MAX)
            .context("what was just written cannot be read")?;
        let input = Input::LocalCommit {
            log,
            head,
            records: Vec::new(),
            run: Some(run).filter(|run| run.last() == head.seq),
        };
        self.input([at, at], 0, input, &mut Vec::new())
    }

    /// Connects two nodes, lets them exchange all they have, agree on a mark, and part.
    ///
    /// # Errors
    /// One of them ends the connection, or they never come to an end.
    pub fn meet(&mut self, dials: usize, answers: usize) -> anyhow::Result<Contact> {
        self.now_ms += BETWEEN_CONTACTS_MS;
        self.conns += 1;
        let conn = ConnId(self.conns);
        let ends = [dials, answers];
        let ids = ends.map(|at| self.members[at].id);
        let mut contact = Contact::default();
        let mut flights = Vec::new();
        for end in [0, 1] {
            let input = Input::Connected {
                conn,
                peer: ids[1 - end],
                dialled: end == 0,
            };
            self.input(ends, end, input, &mut flights)?;
        }
        self.drive(ends, &mut contact, flights)?;
        contact.first_run_step.get_or_insert(usize::MAX);
        let steps = contact.steps;
        self.now_ms += LINGER_MS;
        let mut flights = Vec::new();
        for end in [0, 1] {
            self.input(ends, end, Input::Timeout, &mut flights)?;
        }
        self.drive(ends, &mut contact, flights)?;
        contact.steps = steps;
        contact.first_run_step.take_if(|step| *step == usize::MAX);
        for end in [0, 1] {
            let reason = "contact over".to_owned();
            let input = Input::Disconnected { conn, reason };
            self.input(ends, end, input, &mut Vec::new())?;
        }
        Ok(contact)
    }

    /// Lets all that is on its way arrive, and what that gives, until there is nothing any more.
    fn drive(
        &mut self,
        ends: [usize; 2],
        contact: &mut Contact,
        mut flights: Vec<Flight>,
    ) -> anyhow::Result<()> {
        let conn = ConnId(self.conns);
        while !flights.is_empty() {
            for flight in &flights {
                contact.count(flight);
            }
            contact.steps += 1;
            if contact.steps > STEPS_MAX {
                bail!("two engines do not come to an end");
            }
            for Flight { to, stream, bytes } in std::mem::take(&mut flights) {
                let input = Input::Frame {
                    conn,
                    stream,
                    bytes,
                };
                self.input(ends, to, input, &mut flights)?;
            }
        }
        Ok(())
    }

    /// Gives one end an input and does at once what its engine asks for.
    fn input(
        &mut self,
        ends: [usize; 2],
        end: usize,
        input: Input,
        flights: &mut Vec<Flight>,
    ) -> anyhow::Result<()> {
        let now = Now {
            mono_ms: self.now_ms,
            wall_ms: self.now_ms,
        };
        let member = &mut self.members[ends[end]];
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let start = Instant::now();
            member.engine.handle(now, input);
            let effects: Vec<Effect> = std::iter::from_fn(|| member.engine.poll_effect()).collect();
            member.busy += start.elapsed();
            for effect in effects {
                match effect {
                    Effect::Send {
                        conn,
                        stream,
                        frame,
                    } => {
                        flights.push(Flight {
                            to: 1 - end,
                            stream,
                            bytes: frame,
                        });
                        if let StreamKind::Lane(lane) = stream {
                            inputs.push(Input::Unsent {
                                conn,
                                lane,
                                bytes: 0,
                            });
                        }
                    }
                    Effect::Load {
                        load,
                        log,
                        from,
                        bytes_max,
                    } => {
                        let to = member.engine.frontier().head(&log).seq;
                        let run = self.library.load(&log, from, to, bytes_max);
                        let named = Vec::new();
                        inputs.push(Input::Loaded { load, run, named });
                    }
                    Effect::Store { batch, runs, .. } => {
                        if let Some(run) = runs.iter().find(|run| !self.library.holds(run)) {
                            bail!("a run of {} that nobody wrote was verified", run.log());
                        }
                        let applied = runs.iter().map(|run| (*run.log(), run.head().seq));
                        let applied = applied.collect();
                        inputs.push(Input::Persisted {
                            batch,
                            result: Ok(Stored { applied }),
                        });
                    }
                    Effect::Disconnect { detail, .. } => bail!("a contact ended early: {detail}"),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

impl Contact {
    fn count(&mut self, flight: &Flight) {
        let (from, bytes) = (1 - flight.to, flight.bytes.len());
        self.bytes += bytes;
        match flight.stream {
            StreamKind::Control => {
                if self.hello_bytes[from] == 0 {
                    self.hello_bytes[from] = bytes;
                }
                if self.first_run_step.is_none() {
                    self.greeting_bytes[from] += bytes;
                }
            }
            StreamKind::Lane(_) => {
                self.run_bytes += bytes;
                self.first_run_step.get_or_insert(self.steps);
            }
        }
    }
}

/// Founds an operation in the library: HQ is member 0, and its lane 0 holds everybody's grant.
///
/// # Errors
/// A record does not encode.
pub fn found(library: &mut Library, members: u16) -> anyhow::Result<Trust> {
    let (genesis, root) = (library::genesis(), library::key(0));
    let mut grants = Vec::new();
    for number in 0..members {
        let node = library::node_of(&library::key(number));
        let name = format!("Node {number}");
        grants.push(library::grant(&genesis, node, name, &root));
    }
    let hq = library::node_of(&root);
    let log = library::log_of(hq, incarnation_of(hq), Lane::Trust);
    let records = std::iter::once(TrustRecord::Genesis(genesis.clone()))
        .chain(grants.iter().cloned().map(TrustRecord::Grant));
    let entries: Vec<Vec<u8>> = records
        .map(library::record_entry)
        .collect::<anyhow::Result<_>>()?;
    library.append(log, entries, &root);
    library::trust(genesis, &grants)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn two_members_exchange_what_each_lacks_and_greet_shortly_when_they_meet_again() {
        let mut engines = Engines::default();
        let trust = found(&mut engines.library, 2).unwrap();
        for number in 0..2 {
            engines.add(library::key(number), trust.clone(), Limits::default());
        }
        for at in 0..2 {
            let entries = (0..40)
                .map(|n| library::small_entry(at as u64, n).unwrap())
                .collect();
            engines.commit(at, Lane::Life, entries).unwrap();
        }
        let first = engines.meet(0, 1).unwrap();
        let hash = |engines: &Engines, at: usize| engines.members[at].engine.frontier().hash();
        assert_eq!(hash(&engines, 0), hash(&engines, 1));
        assert_eq!(first.first_run_step, Some(2), "one round trip");
        assert!(first.run_bytes > 0 && first.run_bytes < first.bytes);
        let again = engines.meet(1, 0).unwrap();
        assert_eq!(again.run_bytes, 0);
        assert_eq!(engines.members[0].engine.counters().short_greetings, 1);
        assert!(again.hello_bytes.iter().all(|bytes| *bytes <= 200));
    }
}
