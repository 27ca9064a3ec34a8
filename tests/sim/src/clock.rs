//! A node's clocks: a monotonic one that runs a little fast or slow, and a wall clock that may show anything.
//!
//! Invariants: the monotonic clock starts at 0 with the node and never goes back; nothing but display may depend on the
//! wall clock, so it jumps as it likes.

use rand::RngExt;
use rand::rngs::StdRng;
use sync_engine::Now;

/// When the simulated operation begins, by a right clock: 2027-01-15.
const WALL_START_MS: u64 = 1_800_000_000_000;
/// 2106-02-07, where 32 bits of seconds end.
const WALL_2106_MS: u64 = 4_294_967_296_000;
/// How far a monotonic clock is off, parts per million: far more than a quartz, about what a bad virtual machine shows.
const DRIFT_PPM_MAX: i64 = 20_000;
const MILLION: i64 = 1_000_000;

/// What a wall clock was set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WallSet {
    /// Right, give or take some minutes.
    NearlyRight,
    /// No battery: it begins in 1970.
    Year1970,
    /// A wrong setting far in the future.
    Year2106,
    /// Back by up to a day.
    Back,
    /// Ahead by up to a day.
    Ahead,
}

/// Both clocks of one node.
#[derive(Debug, Clone, Copy)]
pub struct NodeClock {
    drift_ppm: i64,
    booted_ms: u64,
    wall_at_boot_ms: u64,
}

impl NodeClock {
    /// Clocks of a node that is switched on at `world_ms`.
    pub fn new(rng: &mut StdRng, world_ms: u64) -> Self {
        let mut clock = Self {
            drift_ppm: 0,
            booted_ms: world_ms,
            wall_at_boot_ms: WALL_START_MS + world_ms,
        };
        clock.reboot(rng, world_ms);
        clock
    }

    /// The monotonic clock begins again, at another rate.
    pub fn reboot(&mut self, rng: &mut StdRng, world_ms: u64) {
        let wall_ms = self.now(world_ms).wall_ms;
        self.booted_ms = world_ms;
        self.wall_at_boot_ms = wall_ms;
        self.drift_ppm = rng.random_range(-DRIFT_PPM_MAX..=DRIFT_PPM_MAX);
    }

    /// What the node's clocks show.
    pub fn now(&self, world_ms: u64) -> Now {
        let mono_ms = self.mono_ms(world_ms);
        Now {
            mono_ms,
            wall_ms: self.wall_at_boot_ms.saturating_add(mono_ms),
        }
    }

    fn mono_ms(&self, world_ms: u64) -> u64 {
        let elapsed_ms = world_ms.saturating_sub(self.booted_ms);
        elapsed_ms * (MILLION + self.drift_ppm).unsigned_abs() / MILLION.unsigned_abs()
    }

    /// The first moment of the world at which the monotonic clock shows `mono_ms` or more.
    pub fn world_ms_at(&self, mono_ms: u64) -> u64 {
        let rate = (MILLION + self.drift_ppm).unsigned_abs();
        let elapsed_ms = mono_ms
            .saturating_mul(MILLION.unsigned_abs())
            .div_ceil(rate);
        self.booted_ms.saturating_add(elapsed_ms)
    }

    /// Sets the wall clock.
    pub fn set_wall(&mut self, rng: &mut StdRng, world_ms: u64, to: WallSet) {
        const DAY_MS: u64 = 24 * 3_600_000;
        let shown_ms = self.now(world_ms).wall_ms;
        let wanted_ms = match to {
            WallSet::NearlyRight => WALL_START_MS + world_ms + rng.random_range(0..600_000),
            WallSet::Year1970 => rng.random_range(0..60_000),
            WallSet::Year2106 => WALL_2106_MS + rng.random_range(0..60_000),
            WallSet::Back => shown_ms.saturating_sub(rng.random_range(1_000..DAY_MS)),
            WallSet::Ahead => shown_ms + rng.random_range(1_000..DAY_MS),
        };
        self.wall_at_boot_ms = wanted_ms.saturating_sub(self.mono_ms(world_ms));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_wake_up_never_comes_before_its_time_and_at_most_a_millisecond_late() {
        let mut rng = StdRng::seed_from_u64(1);
        for _ in 0..100 {
            let clock = NodeClock::new(&mut rng, 5_000);
            let at_ms = clock.world_ms_at(100_000);
            assert!(clock.now(at_ms).mono_ms >= 100_000);
            assert!(clock.now(at_ms - 1).mono_ms < 100_000);
        }
    }

    #[test]
    fn setting_the_wall_clock_leaves_the_monotonic_one_alone() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut clock = NodeClock::new(&mut rng, 0);
        let before = clock.now(10_000);
        clock.set_wall(&mut rng, 10_000, WallSet::Year2106);
        let after = clock.now(10_000);
        assert_eq!(before.mono_ms, after.mono_ms);
        assert!(after.wall_ms >= WALL_2106_MS);
    }
}
