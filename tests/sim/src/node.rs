//! One simulated node: the real engine over a disk in memory, with a writer that takes its time.
//!
//! Invariant: what a crash leaves is exactly what was synced. An honest writer syncs before it answers; the dishonest
//! one, which tests that the model notices, answers first.

use std::collections::{BTreeMap, VecDeque};

use ed25519_dalek::SigningKey;
use sync_engine::{
    BatchId, ChainHash, Engine, EntryHash, Frontier, Genesis, Head, HeadSignature, Incarnation,
    Input, Interest, Lane, Limits, LocalNode, LogFrontier, LogId, LogTail, Mark, Memory, NodeId,
    Now, RUN_BYTES_MAX, Run, RunBuilder, Seq, SignedGrant, StoreFault, Stored, Trust, TrustRecord,
    VerifiedRun, entry_hash,
};

/// One entry on the disk.
#[derive(Debug, Clone)]
pub struct Kept {
    /// As stored.
    pub bytes: Vec<u8>,
    /// Up to and with it.
    pub chain: ChainHash,
    /// Where one is kept.
    pub signature: Option<HeadSignature>,
}

#[derive(Debug, Default)]
struct DiskLog {
    kept: Vec<Kept>,
    /// How many of them survive a crash.
    synced: usize,
}

/// What a node has written.
#[derive(Debug, Default)]
pub struct Disk {
    logs: BTreeMap<LogId, DiskLog>,
}

impl Disk {
    /// The newest entry of a log.
    pub fn head(&self, log: &LogId) -> Head {
        self.logs
            .get(log)
            .and_then(|disk| Some((disk, disk.kept.last()?)))
            .map_or(Head::EMPTY, |(disk, last)| Head {
                seq: Seq(disk.kept.len() as u64),
                chain: last.chain,
            })
    }

    /// How much of a log would survive a crash now.
    pub fn synced(&self, log: &LogId) -> Seq {
        Seq(self.logs.get(log).map_or(0, |disk| disk.synced as u64))
    }

    /// The hash of the entry at `seq`, if it is there.
    pub fn entry_hash(&self, log: &LogId, seq: Seq) -> Option<EntryHash> {
        let index = usize::try_from(seq.0.checked_sub(1)?).ok()?;
        self.logs
            .get(log)?
            .kept
            .get(index)
            .map(|kept| entry_hash(&kept.bytes))
    }

    /// What is on the disk, as the engine wants it.
    pub fn frontier(&self) -> Frontier {
        self.logs
            .keys()
            .map(|log| (*log, self.head(log)))
            .filter(|(_, head)| head.seq > Seq::NONE)
            .map(|(log, head)| {
                (
                    log,
                    LogFrontier {
                        floor: Seq(1),
                        height: head.seq,
                        chain: head.chain,
                    },
                )
            })
            .collect()
    }

    /// The trust records of all lane 0 logs.
    fn trust_records(&self) -> Vec<TrustRecord> {
        self.logs
            .iter()
            .filter(|(log, _)| log.lane == Lane::Trust)
            .flat_map(|(_, disk)| &disk.kept)
            .filter_map(|kept| TrustRecord::from_entry_bytes(&kept.bytes).ok().flatten())
            .collect()
    }

    /// Reads a run.
    pub fn load(&self, log: &LogId, from: Seq, bytes_max: usize) -> Option<Run> {
        let kept = &self.logs.get(log)?.kept;
        let before = usize::try_from(from.0.checked_sub(1)?).ok()?;
        let prev = match before.checked_sub(1) {
            Some(index) => kept.get(index)?.chain,
            None => ChainHash::ZERO,
        };
        let mut builder = RunBuilder::new(*log, from, prev, bytes_max);
        for entry in kept.get(before..)? {
            if !builder.push(entry.bytes.clone(), entry.signature) {
                break;
            }
        }
        builder.finish()
    }

    fn append(&mut self, log: LogId, entries: &[Vec<u8>], key: &SigningKey) -> Head {
        let before = self.head(&log);
        let kept = &mut self.logs.entry(log).or_default().kept;
        let mut tail = LogTail::resume(log, before.seq, before.chain, 0);
        for bytes in entries {
            let pushed = tail.push(bytes, key);
            if let (Some((_, signature)), Some(last)) = (pushed.sign_before, kept.last_mut()) {
                last.signature = Some(signature);
            }
            kept.push(Kept {
                bytes: bytes.clone(),
                chain: pushed.chain,
                signature: None,
            });
        }
        if let (Some((_, signature)), Some(last)) = (tail.seal(key), kept.last_mut()) {
            last.signature = Some(signature);
        }
        tail.head()
    }

    /// Stores a batch whole or not at all, as one transaction does.
    fn commit(&mut self, runs: Vec<VerifiedRun>) -> Result<Vec<LogId>, StoreFault> {
        let mut heads: BTreeMap<LogId, Head> = BTreeMap::new();
        for run in &runs {
            let head = heads
                .entry(*run.log())
                .or_insert_with(|| self.head(run.log()));
            if run.first() != head.seq.next() || run.prev() != head.chain {
                let detail = format!("{} does not continue at {}", run.log(), run.first());
                return Err(StoreFault { detail });
            }
            *head = run.head();
        }
        for run in runs {
            let kept = &mut self.logs.entry(*run.log()).or_default().kept;
            kept.extend(run.into_entries().into_iter().map(|entry| Kept {
                bytes: entry.bytes,
                chain: entry.chain,
                signature: entry.signature,
            }));
        }
        Ok(heads.into_keys().collect())
    }

    /// All that is written survives from now on.
    pub fn sync(&mut self) {
        for disk in self.logs.values_mut() {
            disk.synced = disk.kept.len();
        }
    }

    fn crash(&mut self) {
        for disk in self.logs.values_mut() {
            disk.kept.truncate(disk.synced);
        }
    }
}

/// What the writer does next.
#[derive(Debug)]
pub enum Job {
    /// Commit runs for the engine.
    Batch(BatchId, Vec<VerifiedRun>),
    /// Append entries of our own.
    Append(LogId, Vec<Vec<u8>>, Vec<TrustRecord>),
}

/// What the writer has done.
#[derive(Debug)]
pub struct Done {
    /// For the engine.
    pub input: Input,
    /// What was promised to a user: entries of our own up to here.
    pub acknowledged: Option<(LogId, Seq)>,
}

/// A node that is switched on.
pub struct Running {
    /// The engine under test.
    pub engine: Engine,
    /// The writer's queue; its first job is under way.
    pub jobs: VecDeque<Job>,
    /// The wake-up that is scheduled.
    pub wake_ms: Option<u64>,
}

/// A node, on or off.
pub struct Node {
    key: SigningKey,
    /// Its id.
    pub id: NodeId,
    incarnation: Incarnation,
    genesis: Genesis,
    /// What the join reply brought.
    joined: Vec<SignedGrant>,
    /// What it has written.
    pub disk: Disk,
    /// What the engine wanted to be remembered.
    memory: Memory,
    /// Batches are refused while set: the disk is full.
    pub full: bool,
    /// Tells apart what was scheduled before a crash.
    pub epoch: u64,
    /// `None` while it is off.
    pub running: Option<Running>,
}

impl Node {
    /// A node that is off, with an empty disk.
    pub fn new(key: SigningKey, genesis: Genesis, joined: Vec<SignedGrant>) -> Self {
        let id = NodeId(key.verifying_key().to_bytes());
        Self {
            incarnation: Incarnation(u64::from_le_bytes([id.0[0]; 8])),
            key,
            id,
            genesis,
            joined,
            disk: Disk::default(),
            memory: Memory::default(),
            full: false,
            epoch: 0,
            running: None,
        }
    }

    /// One of its own logs.
    pub fn log(&self, lane: Lane) -> LogId {
        LogId {
            author: self.id,
            incarnation: self.incarnation,
            group: sync_engine::GroupId::SHARED,
            lane,
        }
    }

    /// The key it signs with.
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Switches it on over what its disk holds.
    pub fn start(&mut self, now: Now, seed: u64) {
        let mut trust = Trust::new(self.genesis.clone());
        let joined = self.joined.iter().cloned().map(TrustRecord::Grant);
        let _ = trust.extend(joined.chain(self.disk.trust_records()));
        let local = LocalNode {
            node: self.id,
            incarnation: self.incarnation,
            name: format!("sim {}", &self.id.to_string()[..6]),
            software: "sim".to_owned(),
        };
        let frontier = self.disk.frontier();
        let applied = frontier
            .iter()
            .map(|(log, held)| (*log, held.height))
            .collect();
        let interest = Interest::default();
        let limits = Limits::default();
        let mut engine = Engine::new(seed, now, local, trust, frontier, interest, limits);
        engine.recall(self.memory.clone());
        engine.handle(now, Input::Applied { items: applied });
        self.running = Some(Running {
            engine,
            jobs: VecDeque::new(),
            wake_ms: None,
        });
    }

    /// Keeps a mark over a restart. Here it survives every crash, so that marks are put to use.
    pub fn remember(&mut self, peer: NodeId, mark: Mark) {
        self.memory.peers.retain(|(known, _)| *known != peer);
        self.memory.peers.push((peer, mark.hash));
        if !self.memory.marks.contains(&mark) {
            self.memory.marks.push(mark);
        }
    }

    /// Power is cut: what was not synced is gone.
    pub fn crash(&mut self) {
        self.running = None;
        self.epoch += 1;
        self.disk.crash();
    }

    /// Does the writer's first job. The disk is synced by the caller, before or (wrongly) after the answer.
    pub fn do_job(&mut self) -> Option<Done> {
        let job = self.running.as_mut()?.jobs.pop_front()?;
        Some(match job {
            Job::Batch(batch, _) if self.full => {
                let fault = StoreFault {
                    detail: "no space left on device".to_owned(),
                };
                Done {
                    input: Input::Persisted {
                        batch,
                        result: Err(fault),
                    },
                    acknowledged: None,
                }
            }
            Job::Batch(batch, runs) => {
                let result = self.disk.commit(runs).map(|logs| Stored {
                    applied: logs
                        .into_iter()
                        .map(|log| (log, self.disk.head(&log).seq))
                        .collect(),
                });
                Done {
                    input: Input::Persisted { batch, result },
                    acknowledged: None,
                }
            }
            Job::Append(log, entries, records) => {
                let first = self.disk.head(&log).seq.next();
                let head = self.disk.append(log, &entries, &self.key);
                let run = self.disk.load(&log, first, RUN_BYTES_MAX);
                Done {
                    input: Input::LocalCommit {
                        log,
                        head,
                        records,
                        run,
                    },
                    acknowledged: Some((log, head.seq)),
                }
            }
        })
    }
}
