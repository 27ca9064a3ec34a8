//! The smallest, the greatest and the mean value of the last so many seconds, in bounded memory.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::clock::Place;

/// Buckets of a window. A window is up to one bucket short (1.7 %): what is older than the window never counts. 60
/// buckets are some 2 KiB, and with one sample a bucket or fewer (a gauge that sends each minute, looked at over a
/// quarter of an hour) the window is exact.
const BUCKETS: i64 = 60;

/// Samples of the last `window_ms`, in buckets.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Window {
    window_ms: i64,
    buckets: VecDeque<Bucket>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Bucket {
    /// Elapsed time of its first sample.
    first_ms: i64,
    min: f64,
    max: f64,
    sum: f64,
    count: u32,
}

impl Window {
    /// Takes in the next sample; false when it has no place in a window.
    pub(super) fn push(&mut self, window_ms: i64, place: Place, value: f64) -> bool {
        let at_ms = match place {
            Place::At(at_ms) => at_ms,
            Place::Anew(at_ms) => {
                self.buckets.clear();
                at_ms
            }
            Place::Passed => return false,
        };
        if self.window_ms != window_ms {
            self.window_ms = window_ms;
            self.buckets.clear();
        }
        while let Some(oldest) = self.buckets.front()
            && oldest.first_ms < at_ms.saturating_sub(window_ms)
        {
            self.buckets.pop_front();
        }
        let width_ms = (window_ms / BUCKETS).max(1);
        match self.buckets.back_mut() {
            Some(bucket) if bucket.first_ms / width_ms == at_ms / width_ms => {
                bucket.min = bucket.min.min(value);
                bucket.max = bucket.max.max(value);
                bucket.sum += value;
                bucket.count = bucket.count.saturating_add(1);
            }
            _ => self.buckets.push_back(Bucket {
                first_ms: at_ms,
                min: value,
                max: value,
                sum: value,
                count: 1,
            }),
        }
        true
    }

    pub(super) fn min(&self) -> f64 {
        self.buckets
            .iter()
            .fold(f64::INFINITY, |min, bucket| min.min(bucket.min))
    }

    pub(super) fn max(&self) -> f64 {
        self.buckets
            .iter()
            .fold(f64::NEG_INFINITY, |max, bucket| max.max(bucket.max))
    }

    pub(super) fn mean(&self) -> f64 {
        let count: f64 = self
            .buckets
            .iter()
            .map(|bucket| f64::from(bucket.count))
            .sum();
        self.buckets.iter().map(|bucket| bucket.sum).sum::<f64>() / count
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_hour_of_a_fast_sensor_takes_no_more_than_its_buckets() {
        let mut window = Window::default();
        for at_ms in (0..3_600_000).step_by(10) {
            window.push(60_000, Place::At(at_ms), at_ms as f64);
        }
        assert!(window.buckets.len() as i64 <= BUCKETS + 1);
        assert_eq!(window.max(), 3_599_990.0);
        let oldest_ms = 3_599_990.0 - window.min();
        assert!((58_000.0..=60_000.0).contains(&oldest_ms), "{oldest_ms}");
    }

    proptest! {
        /// Against every sample kept: never more than the window, and short of it by one bucket at most.
        #[test]
        fn a_window_holds_what_the_last_seconds_hold(
            samples in proptest::collection::vec((0..5_000_i64, -50.0..50.0_f64), 1..300),
        ) {
            let window_ms = 60_000;
            let mut window = Window::default();
            let mut at_ms = 0;
            let mut all = Vec::new();
            for (gap_ms, value) in samples {
                at_ms += gap_ms;
                all.push((at_ms, value));
                window.push(window_ms, Place::At(at_ms), value);
                let least = |span_ms: i64| {
                    all.iter()
                        .filter(|(then_ms, _)| at_ms - then_ms <= span_ms)
                        .fold(f64::INFINITY, |least, (_, value)| least.min(*value))
                };
                prop_assert!(window.min() >= least(window_ms));
                prop_assert!(window.min() <= least(window_ms - window_ms / BUCKETS));
                let held: u32 = window.buckets.iter().map(|bucket| bucket.count).sum();
                prop_assert!(held as usize <= all.len());
            }
        }
    }
}
