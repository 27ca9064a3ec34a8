//! One simulated node: the real engine and the real documents over a disk, with a writer that takes its time.
//!
//! Invariants: the writer does one job at a time; it answers after the disk has synced; a crash leaves exactly what was
//! synced, and the answer of the job under way is never given.

use std::collections::VecDeque;
use std::sync::Arc;

use sync_engine::{
    BatchId, Engine, EntryHash, Genesis, Grant, GroupId, Incarnation, Input, Interest, Lane,
    Limits, LocalNode, LogId, MARKS_MAX, Mark, Memory, NodeId, Now, Seq, SignedGrant, StoreFault,
    Stored, Trust, TrustRecord, VerifiedRun, entry_hash,
};

use crate::codec::DocumentCodec;
use crate::desk::{Desk, Judged, Plan, Promise, Verdict, Written, author_of};
use crate::disk::Disk;
use crate::hostile::Hostile;
use crate::planted::{self, InShell};

/// What the writer does next.
#[derive(Debug)]
pub enum Job {
    /// Commit runs for the engine.
    Batch(BatchId, Vec<VerifiedRun>),
    /// Write something of our own.
    Own(Plan),
}

/// What a user is told when a write of our own is on the disk.
#[derive(Debug)]
pub struct Acknowledged {
    /// The entries, with their hashes.
    pub entries: Vec<(LogId, Seq, EntryHash)>,
    /// What they say.
    pub promise: Promise,
}

/// A job under way: committed, not synced, not answered.
#[derive(Debug)]
pub struct Busy {
    /// For the engine.
    pub inputs: Vec<Input>,
    /// For the user.
    pub acknowledged: Option<Acknowledged>,
}

/// What beginning a job showed.
#[derive(Debug, Default)]
pub struct Begun {
    /// Answers that leave before the disk has synced: only where a bug is planted.
    pub too_early: Vec<Input>,
    /// What was decided about entries from peers.
    pub verdicts: Vec<Verdict>,
    /// Entries of our own, promised to nobody yet.
    pub written: Vec<(LogId, Seq, EntryHash)>,
    /// The disk refused.
    pub refused: bool,
}

/// A node that is switched on.
pub struct Running {
    /// The engine under test.
    pub engine: Engine,
    /// Its documents.
    pub desk: Desk,
    /// The writer's queue.
    pub jobs: VecDeque<Job>,
    /// What the writer has begun.
    pub busy: Option<Busy>,
    /// The wake-up that is scheduled, in the world's time.
    pub wake_ms: Option<u64>,
}

/// Who a node is: fixed for a run.
pub struct Identity {
    /// Its id.
    pub id: NodeId,
    /// The life of its logs.
    pub incarnation: Incarnation,
    /// Of which operation.
    pub genesis: Genesis,
    /// What it may do, once the HQ has written it down.
    pub grant: Grant,
    /// What the join reply brought.
    pub joined: Vec<SignedGrant>,
    /// What it wants to have.
    pub interest: Interest,
    /// Its bounds.
    pub limits: Limits,
}

/// A node, on or off.
pub struct Node {
    /// Who it is.
    pub who: Identity,
    /// What it has written.
    pub disk: Box<dyn Disk>,
    /// Its clocks.
    pub clock: crate::clock::NodeClock,
    /// What its engine wanted to be remembered over a restart.
    pub memory: Memory,
    /// Commits are refused while set.
    pub full: bool,
    /// Loads give nothing while set.
    pub unreadable: bool,
    /// Commits take seconds while set.
    pub slow: bool,
    /// Tells apart what was scheduled before a crash.
    pub epoch: u64,
    /// It means harm.
    pub hostile: Option<Hostile>,
    /// `None` while it is off.
    pub running: Option<Running>,
}

impl Node {
    /// Its id.
    pub fn id(&self) -> NodeId {
        self.who.id
    }

    /// One of its own logs.
    pub fn log(&self, group: GroupId, lane: Lane) -> LogId {
        LogId {
            author: self.who.id,
            incarnation: self.who.incarnation,
            group,
            lane,
        }
    }

    /// Whether peers are to send it this log.
    pub fn wants(&self, log: &LogId) -> bool {
        let interest = &self.who.interest;
        (log.group == GroupId::SHARED || interest.groups.contains(&log.group))
            && (!log.lane.on_request() || interest.lanes.contains(&log.lane))
    }

    /// Switches it on over what its disk holds.
    pub fn start(&mut self, now: Now, seed: u64) {
        let mut trust = Trust::new(self.who.genesis.clone());
        let joined = self.who.joined.iter().cloned().map(TrustRecord::Grant);
        let entries = self.disk.trust_entries();
        let stored = entries
            .iter()
            .filter_map(|bytes| TrustRecord::from_entry_bytes(bytes).ok().flatten());
        let _ = trust.extend(joined.chain(stored));
        let local = LocalNode {
            node: self.who.id,
            incarnation: self.who.incarnation,
            name: self.who.grant.name.clone(),
            software: "sim".to_owned(),
        };
        let frontier = self.disk.frontier();
        let author = author_of(&self.log(GroupId::SHARED, Lane::Life));
        let desk = Desk::open(author, self.disk.as_ref());
        let applied = frontier.iter();
        let items = applied
            .map(|(log, held)| (*log, desk.applied_height(log, held.height)))
            .collect();
        let (interest, limits) = (self.who.interest.clone(), self.who.limits.clone());
        let mut engine = Engine::new(seed, now, local, trust, frontier, interest, limits);
        engine.set_codec(Arc::new(DocumentCodec));
        engine.recall(self.memory.clone());
        engine.handle(now, Input::Applied { items });
        self.running = Some(Running {
            engine,
            desk,
            jobs: VecDeque::new(),
            busy: None,
            wake_ms: None,
        });
    }

    /// Keeps a mark over a restart.
    pub fn remember(&mut self, peer: NodeId, mark: &Arc<Mark>) {
        self.memory.peers.retain(|(known, _)| *known != peer);
        self.memory.peers.push((peer, mark.hash));
        if !self.memory.marks.contains(mark.as_ref()) {
            self.memory.marks.push(mark.as_ref().clone());
        }
        // As the store does: marks that nobody stands at go first.
        if self.memory.marks.len() > MARKS_MAX {
            let stood_at =
                |mark: &Mark| self.memory.peers.iter().any(|(_, hash)| *hash == mark.hash);
            let unused = self.memory.marks.iter().position(|mark| !stood_at(mark));
            self.memory.marks.remove(unused.unwrap_or(0));
        }
    }

    /// Power is cut: what was not synced is gone.
    pub fn crash(&mut self) {
        self.running = None;
        self.epoch += 1;
        self.disk.crash();
    }

    /// Begins the writer's next job, if it has none under way; `None` when there is none.
    ///
    /// # Errors
    /// What must never happen: a sentence of the model.
    pub fn begin_job(&mut self, now: Now) -> Result<Option<Begun>, String> {
        let Some(running) = self
            .running
            .as_mut()
            .filter(|running| running.busy.is_none())
        else {
            return Ok(None);
        };
        match running.jobs.pop_front() {
            None => Ok(None),
            Some(Job::Batch(batch, runs)) => self.begin_batch(now, batch, runs).map(Some),
            Some(Job::Own(plan)) => self.begin_own(now, plan),
        }
    }

    fn begin_batch(
        &mut self,
        now: Now,
        batch: BatchId,
        runs: Vec<VerifiedRun>,
    ) -> Result<Begun, String> {
        let running = self.running.as_mut().ok_or("a job of a node that is off")?;
        let disk = self.disk.as_mut();
        let heads: Vec<(LogId, Seq)> = runs
            .iter()
            .map(|run| (*run.log(), run.head().seq))
            .collect();
        let lane = runs.first().map_or(Lane::Life, |run| run.log().lane);
        let Judged {
            batch: write,
            touched,
            verdicts,
            moved,
        } = running.desk.judge(disk, lane, now.wall_ms, runs)?;
        let result = if self.full {
            Err("no space left on device".to_owned())
        } else {
            // The engine promises that each run continues its log.
            disk.commit(write)
                .map_err(|error| format!("{}: {error}", self.who.grant.name))
                .map(Some)?;
            Ok(())
        };
        let refused = result.is_err();
        let mut inputs = Vec::new();
        if refused {
            if !planted::is(InShell::KeepFailedCommit) {
                running.desk.undo(&touched, disk);
            }
        } else {
            let frontier = disk.frontier();
            let elsewhere = moved
                .into_iter()
                .filter(|log| !heads.iter().any(|(of, _)| of == log));
            let items: Vec<_> = elsewhere
                .map(|log| {
                    (
                        log,
                        running.desk.applied_height(&log, frontier.head(&log).seq),
                    )
                })
                .collect();
            if !items.is_empty() {
                inputs.push(Input::Applied { items });
            }
        }
        let applied = heads
            .iter()
            .map(|(log, head)| (*log, running.desk.applied_height(log, *head)));
        let result = result.map(|()| Stored {
            applied: applied.collect(),
        });
        let result = result.map_err(|detail| StoreFault { detail });
        inputs.insert(0, Input::Persisted { batch, result });
        let early = planted::is(InShell::AcknowledgeBeforeCommit);
        let too_early = if early {
            std::mem::take(&mut inputs)
        } else {
            Vec::new()
        };
        running.busy = Some(Busy {
            inputs,
            acknowledged: None,
        });
        Ok(Begun {
            too_early,
            verdicts: if refused { Vec::new() } else { verdicts },
            written: Vec::new(),
            refused,
        })
    }

    fn begin_own(&mut self, now: Now, plan: Plan) -> Result<Option<Begun>, String> {
        let running = self.running.as_mut().ok_or("a job of a node that is off")?;
        let disk = self.disk.as_mut();
        let Some(written) = running.desk.write(disk, plan, now.wall_ms)? else {
            return Ok(None);
        };
        let Written {
            batch,
            touched,
            promise,
            records,
        } = written;
        if self.full {
            // The user is told so, and nothing of it may be left anywhere.
            if !planted::is(InShell::KeepFailedCommit) {
                running.desk.undo(&touched, disk);
            }
            running.busy = Some(Busy {
                inputs: Vec::new(),
                acknowledged: None,
            });
            return Ok(Some(Begun {
                refused: true,
                ..Begun::default()
            }));
        }
        let local: Vec<(GroupId, Lane, EntryHash)> = batch
            .local
            .iter()
            .map(|entry| (entry.group, entry.lane, entry_hash(&entry.bytes)))
            .collect();
        let committed = disk.commit(batch)?;
        let mut entries = Vec::with_capacity(local.len());
        let mut inputs = Vec::new();
        for (log, head) in committed.heads {
            let of_log = local
                .iter()
                .filter(|(group, lane, _)| (*group, *lane) == (log.group, log.lane));
            let hashes: Vec<EntryHash> = of_log.map(|(_, _, hash)| *hash).collect();
            let first = head.seq.0 + 1 - hashes.len() as u64;
            entries.extend(
                hashes
                    .into_iter()
                    .zip(first..)
                    .map(|(hash, seq)| (log, Seq(seq), hash)),
            );
            inputs.push(Input::LocalCommit {
                log,
                head,
                records: if log.lane == Lane::Trust {
                    records.clone()
                } else {
                    Vec::new()
                },
                run: committed
                    .local_runs
                    .iter()
                    .rfind(|run| run.log == log)
                    .cloned(),
            });
        }
        let early = planted::is(InShell::ReuseSequence);
        let too_early = if early {
            std::mem::take(&mut inputs)
        } else {
            Vec::new()
        };
        running.busy = Some(Busy {
            inputs,
            acknowledged: Some(Acknowledged {
                entries: entries.clone(),
                promise,
            }),
        });
        Ok(Some(Begun {
            written: entries,
            too_early,
            ..Begun::default()
        }))
    }

    /// The job under way is on the disk for good: its answers.
    pub fn end_job(&mut self) -> Option<Busy> {
        let busy = self.running.as_mut()?.busy.take()?;
        self.disk.sync();
        Some(busy)
    }
}
