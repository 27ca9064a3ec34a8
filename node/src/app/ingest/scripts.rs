//! Decoders that take time (scripts) run beside the runtime's other tasks, and only so many at once.
//!
//! A script is bounded by steps, time and memory, but not within one builtin of the engine: one that an administrator
//! wrote carelessly can be made to hold its thread for seconds by a payload. So what may run at once is bounded too, for
//! the memory and the threads; and a batch ends early when its messages have taken long, so that its connection hears its
//! other events.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Scripts that run at once: 64 MiB of memory if each takes all it may. The four connections of one device's account
/// leave twelve to others.
const AT_ONCE_MAX: usize = 16;

/// How long a message waits for one of them to end. Past it the message is a dead letter that is tried again by itself.
const PATIENCE: Duration = Duration::from_millis(250);

/// A batch is not filled any further after this.
pub(super) const BATCH_TIME_MAX: Duration = Duration::from_millis(50);

#[derive(Default)]
pub(super) struct Scripts {
    running: Mutex<usize>,
    one_ended: Condvar,
}

/// One that runs; also when it panics, it ends.
struct Running<'a>(&'a Scripts);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        *self.0.running.lock() -= 1;
        self.0.one_ended.notify_one();
    }
}

impl Scripts {
    /// Runs `work`; `None` when too many others run for too long.
    pub(super) fn run<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        aside(|| {
            let _running = self.begin(PATIENCE)?;
            Some(work())
        })
    }

    fn begin(&self, patience: Duration) -> Option<Running<'_>> {
        let until = Instant::now() + patience;
        let mut running = self.running.lock();
        while *running >= AT_ONCE_MAX {
            if self.one_ended.wait_until(&mut running, until).timed_out() {
                return None;
            }
        }
        *running += 1;
        Some(Running(self))
    }
}

/// Runs what takes long without keeping the thread's other tasks from running.
fn aside<T>(work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_scripts_run_at_once_and_the_next_begins_when_one_ends() {
        let scripts = Scripts::default();
        let mut running: Vec<Running<'_>> = (0..AT_ONCE_MAX)
            .filter_map(|_| scripts.begin(Duration::ZERO))
            .collect();
        assert_eq!(running.len(), AT_ONCE_MAX);
        assert!(scripts.begin(Duration::from_millis(5)).is_none());
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| scripts.begin(Duration::from_secs(60)).is_some());
            running.pop();
            assert!(waits.join().is_ok_and(|began| began));
        });
        drop(running);
        assert_eq!(*scripts.running.lock(), 0);
    }
}
