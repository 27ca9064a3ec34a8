//! A hybrid clock: the time that an entry shows to people. Nothing is ever ordered by it.
//!
//! Invariant: what `tick` returns never goes backwards within one clock.

use serde::{Deserialize, Serialize};

/// How far a peer's time may pull ours ahead of our own wall clock, milliseconds.
///
/// One node with a wrong clock (a Pi that woke in 2099) must not drag every other node's times there with it: what is
/// further ahead than this is ignored. A minute covers honest clocks that drift.
pub const CLOCK_JUMP_MS_MAX: u64 = 60_000;

/// A time for display: wall clock milliseconds since 1970 UTC, and a counter within one millisecond.
#[derive(
    Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct HybridTime {
    /// Milliseconds since 1970-01-01 UTC.
    pub wall_ms: u64,
    /// Tells entries of one millisecond apart.
    pub logical: u16,
}

/// Gives each entry of this node a time later than the one before it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct HybridClock {
    last: HybridTime,
}

impl HybridClock {
    /// A clock that goes on from `last` (the newest own entry's time after a restart).
    pub const fn resume(last: HybridTime) -> Self {
        Self { last }
    }

    /// The time for a new entry, later than any given before, whatever `now_wall_ms` says.
    pub fn tick(&mut self, now_wall_ms: u64) -> HybridTime {
        self.last = if now_wall_ms > self.last.wall_ms {
            HybridTime {
                wall_ms: now_wall_ms,
                logical: 0,
            }
        } else if let Some(logical) = self.last.logical.checked_add(1) {
            HybridTime {
                wall_ms: self.last.wall_ms,
                logical,
            }
        } else {
            HybridTime {
                wall_ms: self.last.wall_ms.saturating_add(1),
                logical: 0,
            }
        };
        self.last
    }

    /// Learns a peer's time, so that an answer shows a later time than what it answers. Jumps are bounded by
    /// [`CLOCK_JUMP_MS_MAX`].
    pub fn observe(&mut self, seen: HybridTime, now_wall_ms: u64) {
        if seen.wall_ms <= now_wall_ms.saturating_add(CLOCK_JUMP_MS_MAX) {
            self.last = self.last.max(seen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_never_go_backwards_and_a_far_future_is_ignored() {
        let mut clock = HybridClock::default();
        let first = clock.tick(1_000);
        let second = clock.tick(900);
        assert!(second > first);
        clock.observe(
            HybridTime {
                wall_ms: 30_000,
                logical: 5,
            },
            1_000,
        );
        assert_eq!(
            clock.tick(1_000),
            HybridTime {
                wall_ms: 30_000,
                logical: 6
            }
        );
        clock.observe(
            HybridTime {
                wall_ms: u64::MAX,
                logical: 0,
            },
            1_000,
        );
        assert_eq!(clock.tick(1_000).wall_ms, 30_000);
    }

    #[test]
    fn a_full_counter_moves_to_the_next_millisecond() {
        let mut clock = HybridClock::resume(HybridTime {
            wall_ms: 5,
            logical: u16::MAX,
        });
        assert_eq!(
            clock.tick(5),
            HybridTime {
                wall_ms: 6,
                logical: 0
            }
        );
    }
}
