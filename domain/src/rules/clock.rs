//! Two clocks that run on what sensors say of the time: one for how long something has held, one for where a sample
//! stands in a window.
//!
//! Invariant: neither ever runs backwards, whatever a device's clock does.

use serde::{Deserialize, Serialize};

use super::Sample;

/// A sample's own time counts if it lies that close to its receipt (DESIGN §8).
const PLAUSIBLE_MS: i64 = 24 * 60 * 60 * 1000;
/// A clock that runs ahead by more than this must not make later, correct samples look late.
const AHEAD_MS: i64 = 60_000;

/// The time on which durations run: a sample's own where that is plausible, else the time of receipt.
pub fn effective_time_ms(at_ms: i64, received_ms: i64) -> i64 {
    if at_ms.abs_diff(received_ms) <= PLAUSIBLE_MS.unsigned_abs() {
        at_ms
    } else {
        received_ms
    }
}

/// Where a sample stands in a window: a buffer of last week is compared with itself, as it was measured, and not taken
/// for a rise within the second in which it came.
pub(super) fn window_time_ms(sample: &Sample) -> i64 {
    bounded_ms(sample.at_ms, sample)
}

fn bounded_ms(at_ms: i64, sample: &Sample) -> i64 {
    at_ms.min(sample.received_ms.saturating_add(AHEAD_MS))
}

/// What durations are measured on. They run on the samples' own time where it is plausible; from and to a sample that is
/// older than the newest (a buffer sent late, a clock that was set back or ran ahead), or older than a day, they run on the
/// time of receipt, so that a rule is never blind.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Time {
    /// Time of the newest sample that was not older than a day when it came; `None` before the first.
    pub(super) newest_ms: Option<i64>,
    /// Receipt of the last sample; 0 before the first.
    pub(super) received_ms: i64,
    /// Whether durations ran up to that sample by its receipt, because it was old.
    pub(super) by_receipt: bool,
    /// Only ever grows.
    pub(super) elapsed_ms: i64,
}

impl Time {
    /// Moves on to a sample. True when the sample is older than the newest, and than the receipt of those before it: what a
    /// clock that runs ahead says of the future makes no later sample late. One that is over a day old is late while
    /// something newer came within the last day; after that it is the best that is known, whatever its clock says.
    pub(super) fn advance(&mut self, sample: &Sample) -> bool {
        let received_ms = sample.received_ms;
        let at_ms = bounded_ms(effective_time_ms(sample.at_ms, received_ms), sample);
        let is_old = received_ms.saturating_sub(sample.at_ms) > PLAUSIBLE_MS;
        let late = self.newest_ms.is_some_and(|newest_ms| {
            if is_old {
                received_ms.saturating_sub(newest_ms) <= PLAUSIBLE_MS
            } else {
                at_ms < newest_ms.min(self.received_ms)
            }
        });
        let by_receipt = late || is_old;
        let step_ms = match self.newest_ms {
            Some(newest_ms) if !by_receipt && !self.by_receipt && at_ms >= newest_ms => {
                at_ms.saturating_sub(newest_ms)
            }
            None if self.received_ms == 0 => 0,
            _ => received_ms.saturating_sub(self.received_ms).max(0),
        };
        self.elapsed_ms = self.elapsed_ms.saturating_add(step_ms);
        if !by_receipt {
            self.newest_ms = Some(at_ms);
        }
        self.received_ms = self.received_ms.max(received_ms);
        self.by_receipt = by_receipt;
        late
    }
}

/// Where a sample stands among the others of its series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// That long after the beginning of the series, not before the sample before it.
    At(i64),
    /// The same, but what lies before is not comparable: another stretch of time begins.
    Anew(i64),
    /// Older than others, and alone: a value of another time says nothing about now.
    Passed,
}

/// The time of a series as a line of stretches. A single old sample is passed over. Old samples that go forward among
/// themselves (a clock that was set back, a buffer that is emptied after the newest sample) are a stretch of their own,
/// so that a rule goes on seeing, and compares only what was measured in one go.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Stretch {
    newest_ms: Option<i64>,
    received_ms: i64,
    /// Time of the last sample, if it was older than the newest.
    late_ms: Option<i64>,
    /// In a stretch of old samples.
    apart: bool,
    elapsed_ms: i64,
}

impl Stretch {
    /// Whether what was taken last is of another time than now: of a stretch of old samples, while something newer came within
    /// the last day. Up to a minute behind is now, too, or a clock that ran ahead and was corrected would be behind itself.
    pub(super) fn is_behind(&self) -> bool {
        let (Some(newest_ms), Some(late_ms)) = (self.newest_ms, self.late_ms) else {
            return false;
        };
        self.apart
            && newest_ms.saturating_sub(late_ms) > AHEAD_MS
            && self.received_ms.saturating_sub(newest_ms) <= PLAUSIBLE_MS
    }

    /// Moves on to a sample.
    pub(super) fn advance(&mut self, sample: &Sample) -> Place {
        let at_ms = window_time_ms(sample);
        let receipt_ms = sample.received_ms.saturating_sub(self.received_ms).max(0);
        self.received_ms = self.received_ms.max(sample.received_ms);
        let Some(newest_ms) = self.newest_ms else {
            self.newest_ms = Some(at_ms);
            return Place::At(self.elapsed_ms);
        };
        if at_ms >= newest_ms {
            self.newest_ms = Some(at_ms);
            self.late_ms = None;
            if !std::mem::take(&mut self.apart) {
                return self.at(at_ms.saturating_sub(newest_ms));
            }
            self.elapsed_ms = self.elapsed_ms.saturating_add(receipt_ms);
            return Place::Anew(self.elapsed_ms);
        }
        match self.late_ms.replace(at_ms) {
            Some(before_ms) if at_ms >= before_ms => {
                if self.apart {
                    return self.at(at_ms.saturating_sub(before_ms));
                }
                self.apart = true;
                self.elapsed_ms = self.elapsed_ms.saturating_add(receipt_ms);
                Place::Anew(self.elapsed_ms)
            }
            _ => Place::Passed,
        }
    }

    fn at(&mut self, step_ms: i64) -> Place {
        self.elapsed_ms = self.elapsed_ms.saturating_add(step_ms);
        Place::At(self.elapsed_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(samples: &[(i64, i64)]) -> Vec<Place> {
        let mut stretch = Stretch::default();
        samples
            .iter()
            .map(|&(at_ms, received_ms)| {
                stretch.advance(&Sample {
                    value: 0.0,
                    at_ms,
                    received_ms,
                    position: 0,
                    uptime_ms: 0,
                })
            })
            .collect()
    }

    #[test]
    fn a_single_old_sample_is_passed_over() {
        let placed = places(&[(1000, 1000), (2000, 2000), (500, 2100), (3000, 3000)]);
        assert_eq!(
            placed,
            [
                Place::At(0),
                Place::At(1000),
                Place::Passed,
                Place::At(2000)
            ]
        );
    }

    #[test]
    fn a_clock_that_was_set_back_begins_another_stretch() {
        let hour_ms = 3_600_000;
        let placed = places(&[
            (5 * hour_ms, 5 * hour_ms),
            (1000, 5 * hour_ms + 1000),
            (2000, 5 * hour_ms + 2000),
            (3000, 5 * hour_ms + 3000),
            (6 * hour_ms, 6 * hour_ms),
        ]);
        assert_eq!(placed[1], Place::Passed);
        assert_eq!(placed[2], Place::Anew(1000));
        assert_eq!(placed[3], Place::At(2000));
        assert!(matches!(placed[4], Place::Anew(_)));
    }
}
