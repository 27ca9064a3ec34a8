//! What waits for the writer of readings.db, in the order in which it is done.
//!
//! Two queues: whatever has to stay in order, and lone batches ([`super::Queueing::ahead`]), which go ahead of a
//! backlog. A lone batch waits for the commit that runs and for its own, however much is queued.
//!
//! Invariant: neither starves the other: of a transaction those that go ahead take half at most while the other queue is
//! not empty; where even that left no room for the other one, the next transaction begins with it.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::writer::Job;

pub(crate) struct Inbox {
    jobs: Receiver<Job>,
    ahead: VecDeque<Job>,
    in_order: VecDeque<Job>,
    /// The transaction before took lone batches alone, though others waited.
    only_ahead: bool,
}

impl Inbox {
    pub(crate) fn new(jobs: Receiver<Job>) -> Self {
        Inbox {
            jobs,
            ahead: VecDeque::new(),
            in_order: VecDeque::new(),
            only_ahead: false,
        }
    }

    /// A transaction is full; `only_ahead` if it holds nothing but lone batches.
    pub(crate) fn is_full(&mut self, only_ahead: bool) {
        self.only_ahead = only_ahead;
    }

    /// The first job of a transaction; waits for one, without `pause` for ever.
    pub(crate) fn first(&mut self, pause: Option<Duration>) -> Result<Job, RecvTimeoutError> {
        let only_ahead = std::mem::take(&mut self.only_ahead);
        if let Some(job) = self.next(!only_ahead) {
            return Ok(job);
        }
        match pause {
            None => self.jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(pause) => self.jobs.recv_timeout(pause),
        }
    }

    /// The next job that is there, without waiting; of lone batches only while they `may_go_ahead`, or nobody else waits.
    pub(crate) fn next(&mut self, may_go_ahead: bool) -> Option<Job> {
        while let Ok(job) = self.jobs.try_recv() {
            self.sort(job);
        }
        // What was queued before the end is done before it.
        let is_end = matches!(self.in_order.front(), Some(Job::Stop));
        if may_go_ahead || is_end {
            self.ahead.pop_front().or_else(|| self.in_order.pop_front())
        } else {
            self.in_order.pop_front().or_else(|| self.ahead.pop_front())
        }
    }

    /// Waits until then for jobs to gather. Answers early once `is_enough` of one of them.
    pub(crate) fn gather(&mut self, until: Instant, mut is_enough: impl FnMut(&Job) -> bool) {
        // Those that came meanwhile, or were left by the transaction before, count as well.
        while let Ok(job) = self.jobs.try_recv() {
            self.sort(job);
        }
        if self.ahead.iter().chain(&self.in_order).any(&mut is_enough) {
            return;
        }
        while let Some(rest) = until
            .checked_duration_since(Instant::now())
            .filter(|rest| !rest.is_zero())
        {
            let Ok(job) = self.jobs.recv_timeout(rest) else {
                return;
            };
            let enough = is_enough(&job);
            self.sort(job);
            if enough {
                return;
            }
        }
    }

    fn sort(&mut self, job: Job) {
        match job {
            Job::Ingest { ahead: true, .. } => self.ahead.push_back(job),
            job => self.in_order.push_back(job),
        }
    }
}
