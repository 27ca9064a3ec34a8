//! What is normal for a series: median and median absolute deviation of a sample of its recent past.
//!
//! Invariants: bounded in size; what is unusual is not learned as normal until it has lasted a whole window, and then it
//! is the new normal.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use statrs::statistics::{Data, OrderStatistics};

use super::clock::Place;

/// Values picked from a window, one from each of so many parts of it: a median of 64 has a standard error of 0.16 of the
/// spread, and 64 values are 1 KiB.
const PICKS_MAX: i64 = 64;
/// Fewer say nothing about what is normal.
const PICKS_MIN: usize = 16;
/// Makes the median absolute deviation of a normal distribution its standard deviation.
const MAD_TO_SIGMA: f64 = 1.4826;

/// The normal of one series.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Normal {
    window_ms: i64,
    picks: VecDeque<Pick>,
    median: f64,
    /// As a standard deviation.
    spread: f64,
    /// Since when values have been unusual.
    unusual_since_ms: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Pick {
    /// Which part of the time.
    part: i64,
    value: f64,
}

impl Normal {
    /// How many spreads a value lies above (or, negative, below) the normal; `None` while too little is known.
    pub(super) fn score(&self, window_ms: i64, value: f64, spread_min: f64) -> Option<f64> {
        let known = self.window_ms == window_ms && self.picks.len() >= PICKS_MIN;
        let score = (value - self.median) / self.spread.max(spread_min);
        (known && score.is_finite()).then_some(score)
    }

    /// Learns from a value.
    pub(super) fn learn(&mut self, window_ms: i64, place: Place, value: f64, unusual: bool) {
        let at_ms = match place {
            Place::At(at_ms) | Place::Anew(at_ms) => at_ms,
            Place::Passed => return,
        };
        if self.window_ms != window_ms {
            *self = Normal {
                window_ms,
                ..Normal::default()
            };
        }
        if unusual {
            let since_ms = *self.unusual_since_ms.get_or_insert(at_ms);
            if at_ms.saturating_sub(since_ms) < window_ms {
                return;
            }
        } else {
            self.unusual_since_ms = None;
        }
        let part = at_ms / (window_ms / PICKS_MAX).max(1);
        if self.picks.back().is_some_and(|last| last.part == part) {
            return;
        }
        while let Some(oldest) = self.picks.front()
            && oldest.part <= part - PICKS_MAX
        {
            self.picks.pop_front();
        }
        self.picks.push_back(Pick { part, value });
        let mut values: Vec<f64> = self.picks.iter().map(|pick| pick.value).collect();
        self.median = Data::new(values.as_mut_slice()).median();
        for value in &mut values {
            *value = (*value - self.median).abs();
        }
        self.spread = MAD_TO_SIGMA * Data::new(values.as_mut_slice()).median();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn learned(values: impl Iterator<Item = f64>) -> Normal {
        let mut normal = Normal::default();
        for (n, value) in values.enumerate() {
            normal.learn(64_000, Place::At(n as i64 * 1000), value, false);
        }
        normal
    }

    #[test]
    fn one_wild_value_in_ten_moves_the_normal_hardly() {
        let calm = learned((0..64).map(|n| 10.0 + f64::from(n % 5) / 10.0));
        let wild = learned((0..64).map(|n| {
            if n % 10 == 9 {
                1e9
            } else {
                10.0 + f64::from(n % 5) / 10.0
            }
        }));
        assert!((calm.median - wild.median).abs() <= 0.1);
        let (calm, wild) = (
            calm.score(64_000, 12.0, 0.01).unwrap(),
            wild.score(64_000, 12.0, 0.01).unwrap(),
        );
        assert!(calm > 8.0 && wild > 5.0, "{calm} {wild}");
    }

    #[test]
    fn too_little_says_nothing_and_a_constant_series_has_the_least_spread() {
        assert_eq!(
            learned((0..15).map(f64::from)).score(64_000, 99.0, 1.0),
            None
        );
        let constant = learned((0..64).map(|_| 0.0));
        assert_eq!(constant.score(64_000, 5.0, 0.5), Some(10.0));
    }

    #[test]
    fn what_lasts_a_window_is_the_new_normal() {
        let mut normal = learned((0..64).map(|n| f64::from(n % 3)));
        for n in 64..220 {
            let unusual = normal
                .score(64_000, 100.0, 1.0)
                .is_none_or(|score| score.abs() > 3.0);
            if n < 128 {
                assert!(unusual && normal.median < 3.0, "at {n}");
            }
            normal.learn(64_000, Place::At(n * 1000), 100.0, unusual);
        }
        assert_eq!(normal.median, 100.0);
        assert!(normal.picks.len() as i64 <= PICKS_MAX);
    }
}
