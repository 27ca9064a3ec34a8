//! Verified runs on their way to the disk, and runs that wait for their author's grant.
//!
//! Invariants: per lane at most one batch is at the store, so that a batch that fails never leaves one behind it that
//! continues it; `tips` is where each log will end once all that is queued is stored; bytes are bounded per peer and
//! lane, and over all for what waits.

use std::collections::{BTreeMap, VecDeque};

use crate::chain::Head;
use crate::ids::{Lane, LogId, NodeId, Seq};
use crate::io::{BatchId, Limits, Now};
use crate::parcel::Came;
use crate::run::VerifiedRun;
use crate::trust::TrustRecord;

/// What one entry costs in memory besides its bytes. Sender and receiver count by it, so that a sender within its
/// window never overruns the receiver.
const ENTRY_WEIGHT_BYTES: usize = 64;

/// What a run counts for in every bound.
pub(crate) fn weight(entries: usize, entry_bytes: usize) -> usize {
    entry_bytes.saturating_add(entries.saturating_mul(ENTRY_WEIGHT_BYTES))
}

/// A run that was checked in every way and goes to the store next.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) from: NodeId,
    pub(crate) run: VerifiedRun,
    /// What it came as, to be relayed so; `None` when the run was trimmed since.
    pub(crate) came: Option<Came>,
    /// Its trust records, when it is of lane 0.
    pub(crate) records: Vec<TrustRecord>,
}

/// What is remembered of a run while the store has it.
#[derive(Debug)]
pub(crate) struct Storing {
    pub(crate) log: LogId,
    pub(crate) first: Seq,
    pub(crate) head: Head,
    pub(crate) entries: usize,
    pub(crate) entry_bytes: usize,
    pub(crate) came: Option<Came>,
    pub(crate) records: Vec<TrustRecord>,
}

impl Storing {
    pub(crate) fn weight(&self) -> usize {
        weight(self.entries, self.entry_bytes)
    }
}

/// A batch at the store.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) from: NodeId,
    pub(crate) runs: Vec<Storing>,
}

/// A run whose author is not known yet.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) from: NodeId,
    pub(crate) run: VerifiedRun,
    pub(crate) came: Option<Came>,
    /// When it is refused unless lane 0 still moves (monotonic milliseconds).
    pub(crate) until_ms: u64,
}

#[derive(Debug, Default)]
struct LaneIn {
    queue: VecDeque<Arrived>,
    storing: Option<BatchId>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    lanes: [LaneIn; 7],
    batches: BTreeMap<BatchId, Batch>,
    tips: BTreeMap<LogId, Head>,
    held_bytes: BTreeMap<(NodeId, Lane), usize>,
    /// The sum of `held_bytes` by lane: a shell asks for it after every frame.
    lane_bytes: [usize; 7],
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
}

impl Inbox {
    /// Where the log ends once all that is queued is stored; `None` when nothing of it is.
    pub(crate) fn tip(&self, log: &LogId) -> Option<Head> {
        self.tips.get(log).copied()
    }

    /// Queues a run that continues its log; `false` when its sender has no room left.
    pub(crate) fn push(&mut self, arrived: Arrived, limits: &Limits) -> bool {
        let log = *arrived.run.log();
        let weight = weight(arrived.run.entries().len(), arrived.run.entry_bytes());
        let held = self.held_bytes.entry((arrived.from, log.lane)).or_default();
        if *held + weight > limits.inbox_bytes_max {
            return false;
        }
        *held += weight;
        self.lane_bytes[log.lane.index()] += weight;
        self.tips.insert(log, arrived.run.head());
        self.lanes[log.lane.index()].queue.push_back(arrived);
        true
    }

    /// The next batch of a lane, to be numbered `batch`, when the store has none of it: runs of one peer, as they came.
    pub(crate) fn next_batch(
        &mut self,
        lane: Lane,
        limits: &Limits,
        batch: BatchId,
    ) -> Option<(NodeId, Vec<VerifiedRun>)> {
        let state = &mut self.lanes[lane.index()];
        if state.storing.is_some() {
            return None;
        }
        let from = state.queue.front()?.from;
        let (mut runs, mut storing, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Some(next) = state.queue.front() {
            let fits = bytes + next.run.entry_bytes() <= limits.batch_bytes_max;
            if next.from != from
                || runs.len() >= limits.batch_runs_max
                || !(fits || runs.is_empty())
            {
                break;
            }
            let Some(next) = state.queue.pop_front() else {
                break;
            };
            bytes += next.run.entry_bytes();
            storing.push(Storing {
                log: *next.run.log(),
                first: next.run.first(),
                head: next.run.head(),
                entries: next.run.entries().len(),
                entry_bytes: next.run.entry_bytes(),
                came: next.came,
                records: next.records,
            });
            runs.push(next.run);
        }
        state.storing = Some(batch);
        self.batches.insert(
            batch,
            Batch {
                from,
                runs: storing,
            },
        );
        Some((from, runs))
    }

    /// The store has answered: gives the batch back, and its lane is free again.
    pub(crate) fn finish(&mut self, id: BatchId) -> Option<Batch> {
        let batch = self.batches.remove(&id)?;
        for lane in &mut self.lanes {
            if lane.storing == Some(id) {
                lane.storing = None;
            }
        }
        for run in &batch.runs {
            self.give_room(batch.from, run.log.lane, run.weight());
            // Later runs of the log may be queued behind: then the tip is theirs.
            if self.tips.get(&run.log) == Some(&run.head) {
                self.tips.remove(&run.log);
            }
        }
        Some(batch)
    }

    /// Drops what is queued of a log, as what comes before it could not be stored.
    pub(crate) fn drop_log(&mut self, log: &LogId) {
        let mut dropped = Vec::new();
        self.lanes[log.lane.index()].queue.retain(|arrived| {
            let keep = arrived.run.log() != log;
            if !keep {
                let run = &arrived.run;
                dropped.push((arrived.from, weight(run.entries().len(), run.entry_bytes())));
            }
            keep
        });
        for (from, weight) in dropped {
            self.give_room(from, log.lane, weight);
        }
        self.tips.remove(log);
    }

    fn give_room(&mut self, from: NodeId, lane: Lane, weight: usize) {
        if let Some(held) = self.held_bytes.get_mut(&(from, lane)) {
            let weight = weight.min(*held);
            *held -= weight;
            self.lane_bytes[lane.index()] -= weight;
            if *held == 0 {
                self.held_bytes.remove(&(from, lane));
            }
        }
    }

    /// The most bytes that one lane of one peer has waiting for the store.
    pub(crate) fn held_bytes_max(&self) -> usize {
        self.held_bytes.values().copied().max().unwrap_or(0)
    }

    /// Bytes that wait for the store or are there, by lane, over all peers.
    pub(crate) fn held_bytes(&self) -> [usize; 7] {
        self.lane_bytes
    }

    /// Bytes of runs whose author is not known yet.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Keeps a run until its author is known; `false` when there is no room.
    pub(crate) fn wait(&mut self, waiting: Waiting, limits: &Limits) -> bool {
        let weight = weight(waiting.run.entries().len(), waiting.run.entry_bytes());
        if self.waiting.len() >= limits.waiting_runs_max
            || self.waiting_bytes + weight > limits.waiting_bytes_max
        {
            return false;
        }
        self.waiting_bytes += weight;
        self.waiting.push_back(waiting);
        true
    }

    /// Takes all that waits, in the order it came.
    pub(crate) fn take_waiting(&mut self) -> VecDeque<Waiting> {
        self.waiting_bytes = 0;
        std::mem::take(&mut self.waiting)
    }

    /// Drops what a peer sent that still waits: it is not acknowledged, so that the peer sends it again.
    pub(crate) fn drop_waiting_from(&mut self, peer: NodeId) {
        self.waiting.retain(|waiting| waiting.from != peer);
        self.waiting_bytes = self
            .waiting
            .iter()
            .map(|waiting| weight(waiting.run.entries().len(), waiting.run.entry_bytes()))
            .sum();
    }

    /// Drops what has waited long enough, and says whose it was, of which log, and where it ended.
    pub(crate) fn take_late(&mut self, now: Now) -> Vec<(NodeId, LogId, Seq)> {
        let mut late = Vec::new();
        self.waiting.retain(|waiting| {
            let is_late = waiting.until_ms <= now.mono_ms;
            if is_late {
                let run = &waiting.run;
                late.push((waiting.from, *run.log(), run.head().seq));
                self.waiting_bytes -= weight(run.entries().len(), run.entry_bytes());
            }
            !is_late
        });
        late
    }

    /// When the first that waits is to be looked at.
    pub(crate) fn waiting_until_ms(&self) -> Option<u64> {
        self.waiting.iter().map(|waiting| waiting.until_ms).min()
    }
}
