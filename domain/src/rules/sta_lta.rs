//! Short-term over long-term average: how much livelier a seismometer is now than lately.
//!
//! The recursive form of Withers et al. 1998 ("A comparison of select trigger algorithms for automated global seismic
//! phase and event detection", BSSA 88, p. 98), as ObsPy's `recursive_sta_lta` computes it, with two differences. The
//! weight of a sample is the time since the one before it over the length of the average, so that samples need not come
//! at a fixed rate; where they do, it is 1/n as there (but for the beginning, which nobody is told of). And the mean over the long term is taken off first, because a
//! raw channel has an offset (an accelerometer shows gravity), and a filter may not have been in between.

use serde::{Deserialize, Serialize};

use super::clock::Place;

/// Energies of one series.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Energy {
    /// Elapsed time of the last sample.
    at_ms: Option<i64>,
    /// How long it has been listening without a break.
    age_ms: i64,
    mean: f64,
    short: f64,
    long: f64,
}

impl Energy {
    /// Takes in the next sample and gives the ratio; `None` before it has listened for the length of the long average,
    /// and for a line without any movement. The ratio is never above `lta_ms / sta_ms`.
    ///
    /// Samples with one time count as a millisecond apart: a sensor that sends a bundle without times is not ignored.
    pub(super) fn push(
        &mut self,
        place: Place,
        value: f64,
        sta_ms: f64,
        lta_ms: f64,
    ) -> Option<f64> {
        let at_ms = match place {
            Place::At(at_ms) => at_ms,
            Place::Anew(at_ms) => {
                self.at_ms = None;
                at_ms
            }
            Place::Passed => return None,
        };
        let step_ms = match self.at_ms {
            Some(before_ms) if ((at_ms - before_ms) as f64) < lta_ms => (at_ms - before_ms).max(1),
            // Nothing is known of what lies before a gap that long.
            _ => {
                *self = Energy {
                    at_ms: Some(at_ms),
                    mean: value,
                    ..Energy::default()
                };
                return None;
            }
        };
        self.at_ms = Some(at_ms);
        self.age_ms = self.age_ms.saturating_add(step_ms);
        let short_weight = (step_ms as f64 / sta_ms).min(1.0);
        // While it is shorter than the long average, the average is that of all there is.
        let long_weight = step_ms as f64 / lta_ms.min(self.age_ms as f64);
        self.mean += long_weight * (value - self.mean);
        let energy = (value - self.mean) * (value - self.mean);
        self.short += short_weight * (energy - self.short);
        self.long += long_weight * (energy - self.long);
        let ratio = self.short / self.long;
        (self.age_ms as f64 >= lta_ms && ratio.is_finite()).then_some(ratio)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Noise without a generator: the same on every machine.
    fn noise(n: i64) -> f64 {
        ((n * 7919 % 1009) as f64 / 504.5 - 1.0) * 0.1
    }

    /// The recursion over the whole trace at a fixed rate, as it is published.
    fn published(trace: &[f64], short: f64, long: f64) -> Vec<f64> {
        let (mut sta, mut lta) = (0.0, f64::MIN_POSITIVE);
        trace
            .iter()
            .map(|x| {
                sta = x * x / short + (1.0 - 1.0 / short) * sta;
                lta = x * x / long + (1.0 - 1.0 / long) * lta;
                sta / lta
            })
            .collect()
    }

    #[test]
    fn at_a_fixed_rate_it_is_the_published_recursion() {
        let trace: Vec<f64> = (0..12_000)
            .map(|n| {
                let quake = if (8000..8400).contains(&n) { 5.0 } else { 0.0 };
                noise(n) + quake * (n as f64 * 0.7).sin()
            })
            .collect();
        // 50 Hz, 1 s over 20 s. The mean of the trace is near nothing, so that taking it off changes little.
        let expected = published(&trace, 50.0, 1000.0);
        let mut energy = Energy::default();
        let mut greatest = 0.0_f64;
        for (n, value) in (0..).zip(&trace) {
            let ratio = energy.push(Place::At(n * 20), *value, 1000.0, 20_000.0);
            assert_eq!(ratio.is_none(), n < 1000, "at {n}");
            if let Some(ratio) = ratio.filter(|_| n > 6000) {
                let expected = expected[n as usize];
                assert!(
                    (ratio - expected).abs() < 0.03 * expected + 0.05,
                    "at {n}: {ratio} {expected}"
                );
                greatest = greatest.max(ratio);
            }
        }
        assert!((8.0..=20.0).contains(&greatest), "{greatest}");
    }

    #[test]
    fn an_offset_is_taken_off_and_a_gap_begins_anew() {
        let mut energy = Energy::default();
        for n in 0..4000 {
            let ratio = energy.push(Place::At(n * 20), 9.81 + noise(n), 1000.0, 20_000.0);
            assert!(ratio.is_none_or(|ratio| ratio < 3.0), "at {n}: {ratio:?}");
        }
        assert!(
            energy
                .push(Place::At(80_000), 9.81, 1000.0, 20_000.0)
                .is_some()
        );
        assert_eq!(
            energy.push(Place::At(110_000), 9.81, 1000.0, 20_000.0),
            None
        );
    }
}
