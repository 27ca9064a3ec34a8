//! The document worker's inbox: bounded queues by urgency, people before peers.
//!
//! Invariants: what is more urgent is always taken first; within one class a local edit goes before remote entries
//! (somebody waits for it); a class whose commits are slow cannot take the worker away from the classes above it,
//! because only `IN_FLIGHT_MAX` of its batches may be on their way to the disk.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};
use sync_engine::Lane;

/// Local edits waiting per class. People and rules edit; a thousand waiting edits mean that the disk stands still, and
/// a clear "busy" helps more than a longer queue.
const LOCAL_MAX: usize = 1_024;

/// Remote batches waiting per class. The engine keeps one batch per lane at the store, of at most 1 MiB; this only
/// keeps the memory bounded should that ever change.
const REMOTE_MAX: usize = 64;

/// Batches of one class between the worker and the disk: enough for the writer to group, few enough that a refused
/// commit throws little work away.
const IN_FLIGHT_MAX: usize = 128;

/// Urgency as the worker sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Trust, flash and life-safety lanes.
    Life,
    /// Coordination.
    Coordination,
    /// Summaries, raw blocks, blobs.
    Bulk,
}

impl Class {
    pub(super) const ALL: [Class; 3] = [Class::Life, Class::Coordination, Class::Bulk];

    pub(super) fn of(lane: Lane) -> Class {
        match lane {
            Lane::Trust | Lane::Flash | Lane::Life => Class::Life,
            Lane::Coordination => Class::Coordination,
            Lane::Summary | Lane::Raw | Lane::Blobs => Class::Bulk,
        }
    }
}

/// Why a command was not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Full,
    Closed,
}

struct Lanes<L, R> {
    local: [VecDeque<L>; 3],
    remote: [VecDeque<R>; 3],
    in_flight: [usize; 3],
    closed: bool,
}

/// The bounded inbox; `L` are local commands, `R` remote batches.
pub(super) struct Queue<L, R> {
    lanes: Mutex<Lanes<L, R>>,
    changed: Condvar,
}

/// What the worker takes next.
pub(super) enum Taken<L, R> {
    Local(L),
    Remote(R),
}

impl<L, R> Queue<L, R> {
    pub(super) fn new() -> Self {
        Queue {
            lanes: Mutex::new(Lanes {
                local: Default::default(),
                remote: Default::default(),
                in_flight: [0; 3],
                closed: false,
            }),
            changed: Condvar::new(),
        }
    }

    pub(super) fn push_local(&self, class: Class, command: L) -> Result<(), Refused> {
        self.push(|lanes| {
            let queue = &mut lanes.local[class as usize];
            if queue.len() >= LOCAL_MAX {
                return Err(Refused::Full);
            }
            queue.push_back(command);
            Ok(())
        })
    }

    pub(super) fn push_remote(&self, class: Class, batch: R) -> Result<(), Refused> {
        self.push(|lanes| {
            let queue = &mut lanes.remote[class as usize];
            if queue.len() >= REMOTE_MAX {
                return Err(Refused::Full);
            }
            queue.push_back(batch);
            Ok(())
        })
    }

    fn push(
        &self,
        put: impl FnOnce(&mut Lanes<L, R>) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        let mut lanes = self.lanes.lock();
        if lanes.closed {
            return Err(Refused::Closed);
        }
        put(&mut lanes)?;
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for the most urgent command and counts it as in flight; `None` once the queue is closed and empty.
    pub(super) fn take(&self) -> Option<(Class, Taken<L, R>)> {
        let mut lanes = self.lanes.lock();
        loop {
            for class in Class::ALL {
                let at = class as usize;
                if lanes.in_flight[at] >= IN_FLIGHT_MAX {
                    continue;
                }
                let taken = match lanes.local[at].pop_front() {
                    Some(command) => Some(Taken::Local(command)),
                    None => lanes.remote[at].pop_front().map(Taken::Remote),
                };
                if let Some(taken) = taken {
                    lanes.in_flight[at] += 1;
                    return Some((class, taken));
                }
            }
            if lanes.closed {
                return None;
            }
            self.changed.wait(&mut lanes);
        }
    }

    /// A local command that goes before the rest of what the worker has in hand: at least as urgent as `class`, and
    /// allowed by `may`. One that is not allowed holds back its class, so that edits stay in order.
    pub(super) fn take_local_if(
        &self,
        class: Class,
        may: impl Fn(&L) -> bool,
    ) -> Option<(Class, L)> {
        let mut lanes = self.lanes.lock();
        for class in Class::ALL.into_iter().filter(|urgent| *urgent <= class) {
            let at = class as usize;
            if lanes.in_flight[at] < IN_FLIGHT_MAX && lanes.local[at].front().is_some_and(&may) {
                let command = lanes.local[at].pop_front()?;
                lanes.in_flight[at] += 1;
                return Some((class, command));
            }
        }
        None
    }

    /// The batch of a taken command has been committed or refused.
    pub(super) fn settled(&self, class: Class) {
        let mut lanes = self.lanes.lock();
        lanes.in_flight[class as usize] -= 1;
        self.changed.notify_all();
    }

    /// Waits until nothing is in flight except the `in_hand` commands that the caller itself has taken.
    pub(super) fn wait_until_settled(&self, in_hand: usize) {
        let mut lanes = self.lanes.lock();
        while lanes.in_flight.iter().sum::<usize>() > in_hand {
            self.changed.wait(&mut lanes);
        }
    }

    /// Refuses new commands; what is queued is still worked off.
    pub(super) fn close(&self) {
        self.lanes.lock().closed = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_most_urgent_goes_first_and_people_before_peers() {
        let queue: Queue<&str, &str> = Queue::new();
        queue.push_remote(Class::Bulk, "raw block").unwrap();
        queue.push_remote(Class::Life, "remote incident").unwrap();
        queue.push_local(Class::Coordination, "resource").unwrap();
        queue.push_local(Class::Life, "local incident").unwrap();
        queue.close();
        let mut order = Vec::new();
        while let Some((_, taken)) = queue.take() {
            order.push(match taken {
                Taken::Local(name) | Taken::Remote(name) => name,
            });
        }
        assert_eq!(
            order,
            ["local incident", "remote incident", "resource", "raw block"]
        );
    }

    #[test]
    fn slow_bulk_commits_leave_the_worker_to_urgent_work() {
        let queue: Queue<usize, usize> = Queue::new();
        for n in 0..IN_FLIGHT_MAX {
            queue.push_remote(Class::Bulk, n).unwrap();
            queue.take().unwrap();
        }
        queue.push_remote(Class::Bulk, IN_FLIGHT_MAX).unwrap();
        queue.push_local(Class::Coordination, 7).unwrap();
        let (class, _) = queue.take().unwrap();
        assert_eq!(class, Class::Coordination);
    }

    #[test]
    fn an_edit_goes_in_between_unless_it_is_less_urgent_or_not_allowed() {
        let queue: Queue<&str, &str> = Queue::new();
        queue.push_local(Class::Coordination, "resource").unwrap();
        queue.push_local(Class::Life, "held incident").unwrap();
        queue.push_local(Class::Life, "other incident").unwrap();
        let may = |command: &&str| *command != "held incident";
        assert!(queue.take_local_if(Class::Life, may).is_none());
        let (class, name) = queue.take_local_if(Class::Coordination, may).unwrap();
        assert_eq!((class, name), (Class::Coordination, "resource"));
        assert_eq!(
            queue.take_local_if(Class::Life, |_| true).unwrap().1,
            "held incident"
        );
        assert_eq!(
            queue.take_local_if(Class::Life, may).unwrap().1,
            "other incident"
        );
    }

    #[test]
    fn a_full_class_refuses_and_says_so() {
        let queue: Queue<usize, usize> = Queue::new();
        for n in 0..LOCAL_MAX {
            queue.push_local(Class::Life, n).unwrap();
        }
        assert_eq!(queue.push_local(Class::Life, 0), Err(Refused::Full));
        queue.close();
        assert_eq!(queue.push_local(Class::Bulk, 0), Err(Refused::Closed));
    }
}
