//! The smallest, the greatest and the mean value of the last so many seconds, in bounded memory.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::clock::Place;

/// Buckets of a window. A window is up to one bucket short (1.7 %): what is older than the window never counts. With one
/// sample a bucket or fewer (a gauge that sends each minute, looked at over a quarter of an hour) it is exact. A full
/// one is 800 bytes in a cursor, which is written with every alarm.
const BUCKETS: i64 = 60;

/// What is kept of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) enum Of {
    /// The smallest value.
    #[default]
    Min,
    /// The greatest.
    Max,
    /// The mean.
    Mean,
}

/// Samples of the last `window_ms`, in buckets.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Window {
    window_ms: i64,
    of: Of,
    buckets: VecDeque<Bucket>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Bucket {
    /// Elapsed time of its first sample.
    first_ms: i64,
    /// Smallest, greatest or sum.
    value: f64,
    count: u32,
}

impl Window {
    /// Takes in the next sample and gives what is kept of the window; `None` when the sample has no place in it.
    pub(super) fn push(&mut self, window_ms: i64, of: Of, place: Place, value: f64) -> Option<f64> {
        let at_ms = match place {
            Place::At(at_ms) => at_ms,
            Place::Anew(at_ms) => {
                self.buckets.clear();
                at_ms
            }
            Place::Passed => return None,
        };
        if (self.window_ms, self.of) != (window_ms, of) {
            (self.window_ms, self.of) = (window_ms, of);
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
                bucket.value = of.both(bucket.value, value);
                bucket.count = bucket.count.saturating_add(1);
            }
            _ => self.buckets.push_back(Bucket {
                first_ms: at_ms,
                value,
                count: 1,
            }),
        }
        let values = self.buckets.iter().map(|bucket| bucket.value);
        let all = values.reduce(|a, b| of.both(a, b))?;
        let count: f64 = self.buckets.iter().map(|b| f64::from(b.count)).sum();
        Some(if of == Of::Mean { all / count } else { all })
    }
}

impl Of {
    fn both(self, a: f64, b: f64) -> f64 {
        match self {
            Of::Min => a.min(b),
            Of::Max => a.max(b),
            Of::Mean => a + b,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_hour_of_a_fast_sensor_takes_no_more_than_its_buckets() {
        let mut window = Window::default();
        let mut least = None;
        for at_ms in (0..3_600_000).step_by(10) {
            least = window.push(60_000, Of::Min, Place::At(at_ms), at_ms as f64);
        }
        assert!(window.buckets.len() as i64 <= BUCKETS + 1);
        let oldest_ms = 3_599_990.0 - least.unwrap();
        assert!((58_000.0..=60_000.0).contains(&oldest_ms), "{oldest_ms}");
    }

    proptest! {
        /// Against every sample kept: never more than the window, and short of it by one bucket at most.
        #[test]
        fn a_window_holds_what_the_last_seconds_hold(
            samples in proptest::collection::vec((0..5_000_i64, -50.0..50.0_f64), 1..300),
        ) {
            let window_ms = 60_000;
            let mut windows = [Of::Min, Of::Max, Of::Mean].map(|of| (of, Window::default()));
            let mut at_ms = 0;
            let mut all = Vec::new();
            for (gap_ms, value) in samples {
                at_ms += gap_ms;
                all.push((at_ms, value));
                let [least, greatest, mean] = windows
                    .each_mut()
                    .map(|(of, window)| window.push(window_ms, *of, Place::At(at_ms), value).unwrap());
                let within = |span_ms: i64| {
                    let recent = all.iter().filter(move |(then_ms, _)| at_ms - then_ms <= span_ms);
                    recent.map(|(_, value)| *value)
                };
                let short_ms = window_ms - window_ms / BUCKETS;
                prop_assert!(least >= within(window_ms).fold(f64::INFINITY, f64::min));
                prop_assert!(least <= within(short_ms).fold(f64::INFINITY, f64::min));
                prop_assert!(greatest <= within(window_ms).fold(f64::NEG_INFINITY, f64::max));
                prop_assert!(greatest >= within(short_ms).fold(f64::NEG_INFINITY, f64::max));
                prop_assert!((least..=greatest).contains(&mean) || (mean - least).abs() < 1e-9);
            }
        }
    }
}
