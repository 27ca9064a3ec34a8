//! The times of one message, which one clock has given.
//!
//! A clock that is wrong still runs: how far its times lie apart is right, also where each of them cannot be true. So the
//! newest time of a message that cannot be true is taken for the receipt, and the others of its kind stay as far before it
//! as the clock says.
//!
//! Invariants: a time that can be true counts, whatever stands beside it, because a message may say when a value of now was
//! measured and when one is foretold for; any other time that counts is never after the receipt, and at most
//! [`SPAN_MS_MAX`] before it.

use super::{JudgedTime, TimeFlag, TimeLimits, judge_time};

/// Of a clock that is not believed, times that lie further apart than this say nothing of each other: what gathers for
/// longer is from before and after the clock was set or began anew. Rules look no further back, either (DESIGN §8).
const SPAN_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// In how many ways a clock is wrong; times that are wrong in one way are of one run of the clock.
const ABSURD: [TimeFlag; 5] = [
    TimeFlag::NeverSet,
    TimeFlag::Overflowed,
    TimeFlag::GpsRollover,
    TimeFlag::FarPast,
    TimeFlag::FarFuture,
];

/// Says which times of the values count that one device said in one message, in their order. As [`judge_time`] where the
/// time is believed or there is one value; else as far before the receipt as the value is before the newest one of those
/// that are wrong in the same way.
pub fn judge_times(
    device_ms: impl IntoIterator<Item = Option<i64>>,
    received_ms: i64,
    limits: TimeLimits,
) -> Vec<JudgedTime> {
    let mut judged: Vec<JudgedTime> = device_ms
        .into_iter()
        .map(|at| judge_time(at, received_ms, limits))
        .collect();
    for flag in ABSURD {
        let Some(newest_ms) = newest_ms(&judged, flag) else {
            continue;
        };
        for time in judged.iter_mut().filter(|time| time.flag == flag) {
            time.estimated_ms = behind_ms(time, newest_ms)
                .and_then(|behind_ms| received_ms.checked_sub(behind_ms))
                .unwrap_or(received_ms);
        }
    }
    judged
}

fn newest_ms(judged: &[JudgedTime], flag: TimeFlag) -> Option<i64> {
    let of_flag = judged.iter().filter(|time| time.flag == flag);
    of_flag.filter_map(|time| time.device_ms).max()
}

/// How far a time lies before the newest of its clock; `None` where that is too far to mean anything.
fn behind_ms(time: &JudgedTime, newest_ms: i64) -> Option<i64> {
    let behind_ms = newest_ms.abs_diff(time.device_ms?);
    i64::try_from(behind_ms)
        .ok()
        .filter(|_| behind_ms <= SPAN_MS_MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    /// 2026-11-21T20:00:00Z.
    const NOW: i64 = 1_795_291_200_000;
    /// 2010-06-08, RFC 8428's.
    const PACK: i64 = 1_276_020_076_000;
    const HOUR: i64 = 3_600_000;
    const DAY: i64 = 24 * HOUR;
    const LIMITS: TimeLimits = TimeLimits {
        past_ms: 366 * DAY.unsigned_abs(),
        future_ms: 5 * 60_000,
    };

    /// How far before the receipt each counts.
    fn before(times: &[Option<i64>]) -> Vec<i64> {
        let judged = judge_times(times.iter().copied(), NOW, LIMITS);
        judged.iter().map(|time| NOW - time.estimated_ms).collect()
    }

    #[test]
    fn values_of_a_clock_that_is_years_off_stay_as_far_apart_as_it_says() {
        let times = [-5_000, 0, -3_000].map(|after| Some(PACK + after));
        assert_eq!(before(&times), [5_000, 0, 3_000]);
        let never_set = [Some(60_000), Some(0)];
        assert_eq!(before(&never_set), [0, 60_000]);
        let judged = judge_times(times, NOW, LIMITS);
        assert!(judged.iter().all(|time| time.flag == TimeFlag::FarPast));
        assert_eq!(judged[0].device_ms, times[0], "what it said is kept");
    }

    #[test]
    fn what_lies_more_than_a_day_before_the_newest_counts_from_the_receipt() {
        let times = [PACK - DAY, PACK - DAY - 1, PACK].map(Some);
        assert_eq!(before(&times), [DAY, 0, 0]);
        assert_eq!(before(&[Some(i64::MIN), Some(i64::MAX)]), [0, 0]);
    }

    #[test]
    fn a_value_without_a_time_and_one_that_says_it_has_none_do_not_move_the_others() {
        let no_time = Some(4_294_967_295_000);
        let times = [None, Some(PACK - 10), no_time, Some(PACK)];
        assert_eq!(before(&times), [0, 10, 0, 0]);
    }

    #[test]
    fn a_time_that_can_be_true_counts_whatever_is_foretold_beside_it() {
        let ahead = |minutes: i64| Some(NOW + minutes * 60_000);
        let level_and_next_high = [ahead(0), ahead(6 * 60)];
        assert_eq!(before(&level_and_next_high), [0, 0]);
        let judged = judge_times(level_and_next_high, NOW, LIMITS);
        assert_eq!(judged[0], judge_time(ahead(0), NOW, LIMITS));
        assert_eq!(judged[1].flag, TimeFlag::FarFuture);
        assert_eq!(
            before(&[ahead(-10), ahead(4), ahead(20), ahead(30)]),
            [10, -4, 10, 0].map(|minutes| minutes * 60_000)
        );
    }

    proptest! {
        #[test]
        fn what_is_not_believed_counts_within_a_day_before_the_receipt(
            times in proptest::collection::vec(
                proptest::option::of(prop_oneof![any::<i64>(), NOW - DAY..NOW + DAY, PACK - DAY..PACK + DAY]), 0..20),
            received in prop_oneof![any::<i64>(), Just(NOW)],
        ) {
            let judged = judge_times(times.iter().copied(), received, LIMITS);
            prop_assert_eq!(judged.len(), times.len());
            for (time, said) in judged.iter().zip(&times) {
                prop_assert_eq!(time.device_ms, *said);
                if time.flag.is_absurd() {
                    prop_assert!(time.estimated_ms <= received);
                    prop_assert!(time.estimated_ms.abs_diff(received) <= SPAN_MS_MAX);
                } else {
                    prop_assert_eq!(*time, judge_time(*said, received, LIMITS));
                }
            }
        }

        #[test]
        fn a_value_alone_is_judged_as_it_is(time in proptest::option::of(any::<i64>()), received in any::<i64>()) {
            prop_assert_eq!(judge_times([time], received, LIMITS), [judge_time(time, received, LIMITS)]);
        }
    }
}
