//! What waits for the writer of readings.db, in the order in which it is done.
//!
//! Two queues: whatever has to stay in order, and lone batches ([`super::Queueing::ahead`]), which go ahead of a
//! backlog. A lone batch waits for the commit that runs and for its own, however much is queued.
//!
//! Invariants:
//! - Neither starves the other: of a transaction those that go ahead take half at most while the other queue is not
//!   empty; where even that left no room for the other one, the next transaction begins with it.
//! - The batches of one sender are done in the order in which they came, whichever queue they are in. A message that is
//!   sent again is known by the one before it, so it must not be stored first: the sender may have connected anew while
//!   its earlier batch waits here, and whoever hands in the later one need not know of that.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::types::SenderId;
use super::writer::Job;

pub(crate) struct Inbox {
    jobs: Receiver<Job>,
    ahead: VecDeque<Job>,
    in_order: VecDeque<Job>,
    /// Of every sender that has something in the queues.
    senders: HashMap<SenderId, Waiting>,
    /// The transaction before took lone batches alone, though others waited.
    only_ahead: bool,
}

/// What waits of one sender.
#[derive(Default)]
struct Waiting {
    batches: usize,
    /// The first of them goes ahead; no other does.
    ahead: bool,
}

impl Inbox {
    pub(crate) fn new(jobs: Receiver<Job>) -> Self {
        Inbox {
            jobs,
            ahead: VecDeque::new(),
            in_order: VecDeque::new(),
            senders: HashMap::new(),
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
            self.pop_ahead().or_else(|| self.pop_in_order())
        } else {
            self.pop_in_order().or_else(|| self.pop_ahead())
        }
    }

    fn pop_ahead(&mut self) -> Option<Job> {
        let job = self.ahead.pop_front()?;
        self.taken(&job);
        Some(job)
    }

    /// The first of those in order; where its sender has an earlier batch that goes ahead, that one.
    fn pop_in_order(&mut self) -> Option<Job> {
        let sender = self.in_order.front()?.sender();
        let has_earlier = sender
            .and_then(|sender| self.senders.get(&sender))
            .is_some_and(|waiting| waiting.ahead);
        let earlier = has_earlier
            .then(|| self.ahead.iter().position(|job| job.sender() == sender))
            .flatten();
        let job = match earlier {
            Some(earlier) => self.ahead.remove(earlier),
            None => self.in_order.pop_front(),
        }?;
        self.taken(&job);
        Some(job)
    }

    fn taken(&mut self, job: &Job) {
        let Some(sender) = job.sender() else { return };
        if let Some(waiting) = self.senders.get_mut(&sender) {
            waiting.batches -= 1;
            waiting.ahead &= !job.goes_ahead();
            if waiting.batches == 0 {
                self.senders.remove(&sender);
            }
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

    fn sort(&mut self, mut job: Job) {
        if let Some(sender) = job.sender() {
            let waiting = self.senders.entry(sender).or_default();
            if waiting.batches > 0 {
                job.stay_in_order();
            }
            waiting.batches += 1;
            waiting.ahead |= job.goes_ahead();
        }
        if job.goes_ahead() {
            self.ahead.push_back(job);
        } else {
            self.in_order.push_back(job);
        }
    }
}
