//! Commits of this node on their way to the engine: handing one in never blocks, whatever the driver is doing.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use sync_engine::{Head, LogId, Run, Seq, TrustRecord};
use tokio::sync::Notify;

/// Bytes of runs kept for the driver; what exceeds it is loaded from the store when it is sent. The driver empties this
/// in microseconds, so that only a driver that is far behind meets the bound.
const LOCAL_RUN_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Commits kept one by one; beyond that those of one log become one.
const LOCAL_COMMITS_MAX: usize = 1024;

/// Commits of this node on their way to the engine. Handing one in never blocks.
#[derive(Default)]
pub(crate) struct Local {
    queue: Mutex<LocalQueue>,
    pub(crate) ready: Notify,
}

#[derive(Default)]
pub(crate) struct LocalQueue {
    pub(crate) commits: Vec<LocalCommit>,
    pub(crate) applied: BTreeMap<LogId, Seq>,
    run_bytes: usize,
}

/// One log's part of a commit.
pub(crate) struct LocalCommit {
    pub(crate) log: LogId,
    pub(crate) head: Head,
    /// Not bounded here: a record is a person's act, and the engine holds all of them anyway.
    pub(crate) records: Vec<TrustRecord>,
    pub(crate) run: Option<Run>,
}

impl Local {
    pub(crate) fn push(
        &self,
        heads: Vec<(LogId, Head)>,
        runs: Vec<Run>,
        mut records: Vec<TrustRecord>,
    ) {
        let mut by_log: BTreeMap<LogId, Option<Run>> = BTreeMap::new();
        for run in runs {
            let joined = match by_log.remove(&run.log) {
                None => Some(run),
                // Two runs of one log in one commit: one run if they fit, else the engine loads them.
                Some(first) => first.and_then(|first| first.join(&run).ok()),
            };
            if let Some(joined) = joined {
                by_log.insert(joined.log, Some(joined));
            }
        }
        let mut queue = self.queue.lock();
        for (log, head) in heads {
            let records = if log.lane == sync_engine::Lane::Trust {
                std::mem::take(&mut records)
            } else {
                Vec::new()
            };
            let run = by_log.remove(&log).flatten();
            queue.push(LocalCommit {
                log,
                head,
                records,
                run,
            });
        }
        drop(queue);
        self.ready.notify_one();
    }

    pub(crate) fn applied(&self, items: Vec<(LogId, Seq)>) {
        let mut queue = self.queue.lock();
        for (log, seq) in items {
            let at = queue.applied.entry(log).or_insert(seq);
            *at = (*at).max(seq);
        }
        drop(queue);
        self.ready.notify_one();
    }

    pub(crate) fn take(&self) -> LocalQueue {
        std::mem::take(&mut *self.queue.lock())
    }
}

impl LocalQueue {
    fn push(&mut self, mut commit: LocalCommit) {
        let bytes = commit.run.as_ref().map_or(0, Run::entry_bytes);
        if self.run_bytes + bytes > LOCAL_RUN_BYTES_MAX || self.commits.len() >= LOCAL_COMMITS_MAX {
            commit.run = None;
        } else {
            self.run_bytes += bytes;
        }
        if self.commits.len() >= LOCAL_COMMITS_MAX
            && let Some(last) = self.commits.iter_mut().rfind(|last| last.log == commit.log)
        {
            last.head = commit.head;
            last.records.append(&mut commit.records);
            last.run = None;
            return;
        }
        self.commits.push(commit);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use sync_engine::{ChainHash, GroupId, Incarnation, Lane, NodeId};

    use super::*;

    fn log(lane: Lane) -> LogId {
        LogId {
            author: NodeId([1; 32]),
            incarnation: Incarnation(1),
            group: GroupId::SHARED,
            lane,
        }
    }

    fn head(seq: u64) -> Head {
        Head {
            seq: Seq(seq),
            chain: ChainHash::ZERO,
        }
    }

    fn run(lane: Lane, first: u64, bytes: usize) -> Run {
        Run {
            log: log(lane),
            first: Seq(first),
            prev: ChainHash::ZERO,
            entries: vec![vec![0; bytes]],
            signatures: Vec::new(),
        }
    }

    #[test]
    fn a_driver_that_is_far_behind_keeps_heads_and_drops_runs() {
        let local = Local::default();
        for seq in 1..=2000 {
            let lane = if seq % 2 == 0 {
                Lane::Life
            } else {
                Lane::Flash
            };
            local.push(
                vec![(log(lane), head(seq))],
                vec![run(lane, seq, 30_000)],
                Vec::new(),
            );
        }
        let queue = local.take();
        assert!(queue.commits.len() <= LOCAL_COMMITS_MAX);
        let bytes: usize = queue
            .commits
            .iter()
            .filter_map(|it| it.run.as_ref())
            .map(Run::entry_bytes)
            .sum();
        assert!(bytes <= LOCAL_RUN_BYTES_MAX);
        for (lane, newest) in [(Lane::Life, 2000), (Lane::Flash, 1999)] {
            let last = queue
                .commits
                .iter()
                .rfind(|it| it.log == log(lane))
                .unwrap();
            assert_eq!(last.head.seq, Seq(newest));
            assert!(
                last.run.is_none(),
                "a run that is not the newest would leave a gap"
            );
        }
        assert!(local.take().commits.is_empty());
    }

    #[test]
    fn applied_heights_never_go_back() {
        let local = Local::default();
        local.applied(vec![(log(Lane::Life), Seq(7))]);
        local.applied(vec![(log(Lane::Life), Seq(5))]);
        assert_eq!(local.take().applied[&log(Lane::Life)], Seq(7));
    }
}
