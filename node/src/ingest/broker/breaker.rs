//! When to try a broker again: a circuit breaker (M. Nygard, "Release It!", 2nd ed., ch. 5).
//!
//! Invariant: a broker that does not answer costs one attempt a minute, however long it stays away, and the pauses of
//! many nodes do not fall on one moment.

use std::time::Duration;

/// Failures in a row that open it.
const FAILURES_MAX: u32 = 5;

/// How long it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pauses {
    /// After the first failure; twice as long after each in a row.
    pub(super) first: Duration,
    /// While it is open, before one attempt is let through.
    pub(super) open: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Pauses {
            first: Duration::from_millis(500),
            open: Duration::from_secs(60),
        }
    }
}

/// Where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Circuit {
    /// Attempts follow each other.
    Closed,
    /// None is made for a while.
    Open,
    /// One is being made; its outcome decides.
    HalfOpen,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Breaker {
    circuit: Circuit,
    failures: u32,
    pauses: Pauses,
}

impl Breaker {
    pub(super) fn new(pauses: Pauses) -> Self {
        Breaker {
            circuit: Circuit::Closed,
            failures: 0,
            pauses,
        }
    }

    pub(super) fn circuit(&self) -> Circuit {
        self.circuit
    }

    /// Failures in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// An attempt begins.
    pub(super) fn attempt(&mut self) {
        if self.circuit == Circuit::Open {
            self.circuit = Circuit::HalfOpen;
        }
    }

    /// The connection has shown that it is one.
    pub(super) fn succeeded(&mut self) {
        *self = Breaker::new(self.pauses);
    }

    /// The attempt failed, or the connection broke. How long to wait; `jitter` is from 0 to 1.
    pub(super) fn failed(&mut self, jitter: f64) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let pause = if self.circuit == Circuit::HalfOpen || self.failures >= FAILURES_MAX {
            self.circuit = Circuit::Open;
            self.pauses.open
        } else {
            self.pauses.first * 2_u32.pow(self.failures - 1)
        };
        // Up to a quarter more.
        pause + pause.mul_f64(jitter.clamp(0.0, 1.0) / 4.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_open_it_for_a_minute_and_one_attempt_decides() {
        let mut breaker = Breaker::new(Pauses::default());
        let pauses: Vec<u128> = (0..5)
            .map(|_| {
                breaker.attempt();
                breaker.failed(0.0).as_millis()
            })
            .collect();
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 60_000]);
        assert_eq!(breaker.circuit(), Circuit::Open);
        breaker.attempt();
        assert_eq!(breaker.circuit(), Circuit::HalfOpen);
        assert_eq!(breaker.failed(0.0), Pauses::default().open);
        breaker.attempt();
        breaker.succeeded();
        assert_eq!(
            (breaker.circuit(), breaker.failures()),
            (Circuit::Closed, 0)
        );
        assert_eq!(breaker.failed(0.0), Pauses::default().first);
    }

    #[test]
    fn pauses_are_spread_by_a_quarter_at_most() {
        let first = |jitter| Breaker::new(Pauses::default()).failed(jitter);
        assert_eq!(first(1.0), Duration::from_millis(625));
        assert_eq!(first(7.0), Duration::from_millis(625));
    }
}
