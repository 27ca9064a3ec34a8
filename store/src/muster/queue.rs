//! The queues in front of the writer: one per class of urgency, each bounded by number and by bytes.
//!
//! Always holds: what is pushed is either taken by the writer or refused here, at once; when a batch of an epoch is
//! refused, every later one of that epoch is refused too, under the same lock.

use std::collections::VecDeque;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use sync_engine::Lane;

use crate::error::CommitError;

/// Trust, flash and life: small and rare; a thousand people typing at once.
const URGENT_JOBS_MAX: usize = 1024;
/// A restored link delivers a day of edits here; half a second of work at the writer's speed.
const COORDINATION_JOBS_MAX: usize = 4096;
/// Summaries and bulk can always be asked for again.
const REST_JOBS_MAX: usize = 2048;
/// Per class: a few receive batches of the largest size and what people write meanwhile, within what one node may hold
/// in memory.
const CLASS_BYTES_MAX: usize = 16 << 20;
/// What a batch counts for at most. A mebibyte of entries may rewrite documents of many times that size, and there is
/// one such batch per lane at a time: the edits of people behind it must not be refused for it.
const BATCH_BYTES_MAX: usize = CLASS_BYTES_MAX / 4;

const NAMES: [&str; 3] = ["urgent", "coordination", "rest"];
const JOBS_MAX: [usize; 3] = [URGENT_JOBS_MAX, COORDINATION_JOBS_MAX, REST_JOBS_MAX];

fn class(lane: Lane) -> usize {
    match lane {
        Lane::Trust | Lane::Flash | Lane::Life => 0,
        Lane::Coordination => 1,
        Lane::Summary | Lane::Raw | Lane::Blobs => 2,
    }
}

struct Queued<J> {
    job: J,
    weight: usize,
}

struct Inner<J> {
    classes: [VecDeque<Queued<J>>; 3],
    bytes: [usize; 3],
    poisoned: u64,
    closed: bool,
    /// Something for the writer to do by then, even when nothing else comes.
    alarm: Option<Instant>,
}

pub(crate) struct Queue<J> {
    inner: Mutex<Inner<J>>,
    arrived: Condvar,
}

/// Why the writer woke.
pub(crate) enum Wake<J> {
    Job(J),
    Alarm,
    Closed,
}

impl<J> Queue<J> {
    pub(crate) fn new() -> Self {
        Queue {
            inner: Mutex::new(Inner {
                classes: [VecDeque::new(), VecDeque::new(), VecDeque::new()],
                bytes: [0; 3],
                poisoned: 0,
                closed: false,
                alarm: None,
            }),
            arrived: Condvar::new(),
        }
    }

    /// Queues a job, or gives it back with the reason.
    pub(crate) fn push(
        &self,
        lane: Lane,
        epoch: u64,
        weight: usize,
        job: J,
    ) -> Result<(), (J, CommitError)> {
        let class = class(lane);
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err((job, CommitError::Closed));
        }
        if epoch != 0 && epoch <= inner.poisoned {
            return Err((job, CommitError::EpochPoisoned));
        }
        let weight = weight.min(BATCH_BYTES_MAX);
        let full = inner.classes[class].len() >= JOBS_MAX[class]
            || inner.bytes[class] + weight > CLASS_BYTES_MAX;
        if full {
            inner.poisoned = inner.poisoned.max(epoch);
            return Err((
                job,
                CommitError::Busy {
                    queue: NAMES[class],
                },
            ));
        }
        inner.bytes[class] += weight;
        inner.classes[class].push_back(Queued { job, weight });
        self.arrived.notify_one();
        Ok(())
    }

    /// Queues a job that steers the writer itself, among the most urgent and whatever waits there: there is one of them
    /// at a time, and a lost one (the end of a rebuild) would leave the writer where it is for ever.
    pub(crate) fn push_control(&self, job: J) -> Result<(), (J, CommitError)> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err((job, CommitError::Closed));
        }
        inner.classes[0].push_back(Queued { job, weight: 0 });
        self.arrived.notify_one();
        Ok(())
    }

    /// Asks for a wake-up at that time; the earliest one asked for stands.
    pub(crate) fn set_alarm(&self, at: Instant) {
        let mut inner = self.inner.lock();
        if inner.alarm.is_none_or(|alarm| at < alarm) {
            inner.alarm = Some(at);
            self.arrived.notify_one();
        }
    }

    /// The next job, most urgent first; waits for one.
    pub(crate) fn wait(&self) -> Wake<J> {
        let mut inner = self.inner.lock();
        loop {
            if let Some(job) = inner.take() {
                return Wake::Job(job);
            }
            if inner.closed {
                return Wake::Closed;
            }
            match inner.alarm {
                Some(at) if at <= Instant::now() => {
                    inner.alarm = None;
                    return Wake::Alarm;
                }
                Some(at) => {
                    self.arrived.wait_until(&mut inner, at);
                }
                None => self.arrived.wait(&mut inner),
            }
        }
    }

    /// The next job if there is one.
    pub(crate) fn try_take(&self) -> Option<J> {
        self.inner.lock().take()
    }

    /// Refuses what comes from now on; what is queued is still done.
    pub(crate) fn close(&self) {
        self.inner.lock().closed = true;
        self.arrived.notify_all();
    }

    pub(crate) fn len(&self) -> usize {
        self.inner.lock().classes.iter().map(VecDeque::len).sum()
    }
}

impl<J> Inner<J> {
    fn take(&mut self) -> Option<J> {
        for class in 0..self.classes.len() {
            if let Some(queued) = self.classes[class].pop_front() {
                self.bytes[class] -= queued.weight;
                return Some(queued.job);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn life_safety_is_taken_first() {
        let queue = Queue::new();
        queue.push(Lane::Raw, 0, 1, "raw").expect("room");
        queue
            .push(Lane::Coordination, 0, 1, "coordination")
            .expect("room");
        queue.push(Lane::Flash, 0, 1, "flash").expect("room");
        let taken: Vec<_> = std::iter::from_fn(|| queue.try_take()).collect();
        assert_eq!(taken, ["flash", "coordination", "raw"]);
    }

    #[test]
    fn a_refused_batch_poisons_its_epoch_and_a_later_epoch_heals_it() {
        let queue = Queue::new();
        for number in 0..URGENT_JOBS_MAX {
            queue.push(Lane::Life, 3, 1, number).expect("room");
        }
        assert_eq!(
            queue.push(Lane::Life, 3, 1, 0).expect_err("full").1,
            CommitError::Busy { queue: "urgent" }
        );
        assert_eq!(
            queue
                .push(Lane::Coordination, 3, 1, 0)
                .expect_err("poisoned")
                .1,
            CommitError::EpochPoisoned
        );
        assert!(queue.push(Lane::Coordination, 4, 1, 0).is_ok());
    }

    #[test]
    fn what_steers_the_writer_is_never_refused() {
        let queue = Queue::new();
        for number in 0..URGENT_JOBS_MAX {
            queue.push(Lane::Life, 3, 1, number).expect("room");
        }
        queue
            .push_control(usize::MAX)
            .expect("whatever waits there");
    }

    #[test]
    fn bytes_bound_a_queue_and_a_large_batch_leaves_room_for_small_ones() {
        let queue = Queue::new();
        let large = CLASS_BYTES_MAX * 2;
        queue.push(Lane::Life, 0, large, 0).expect("it passes");
        queue
            .push(Lane::Life, 0, 10_000, 0)
            .expect("room beside it");
        while queue.push(Lane::Life, 0, large, 0).is_ok() {}
        let held: usize = queue.inner.lock().bytes.iter().sum();
        assert!(held <= CLASS_BYTES_MAX);
    }
}
