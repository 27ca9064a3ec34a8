//! Whether a sensor's clock can be believed.
//!
//! Sensors' clocks are wrong in few ways: never set (they count from 1970, 1980 or 2000), overflowed, or set by somebody
//! to another day. A wrong time would file a reading where nobody looks, and make a rule wait for years. So the sensor's
//! time is kept as it is, and beside it stands the time that counts.
//!
//! Invariants: the time that counts lies within the limits of receipt, whatever the sensor says; with the limits of
//! [`TimeLimits::default`] it is what the rules use (`domain::effective_time_ms`: 24 h to either side).

mod message;

pub use message::judge_times;

/// How far a sensor's time may lie from its receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeLimits {
    /// Before: what a sensor may have kept while it had no connection.
    pub past_ms: u64,
    /// After: how far its clock may run ahead.
    pub future_ms: u64,
}

/// 24 h, as the contract says (DESIGN §8, rules).
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

impl Default for TimeLimits {
    fn default() -> Self {
        Self {
            past_ms: DAY_MS,
            future_ms: DAY_MS,
        }
    }
}

/// What was made of a sensor's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeFlag {
    /// The message states none.
    NotStated,
    /// It counts.
    Plausible,
    /// Within a year after 1970, 1980 (GPS) or 2000 (clock chips): the clock was never set, and counts from its start.
    NeverSet,
    /// Within a day of 2038-01-19 or 2106-02-07, where seconds overflow 32 bits: −1 sent as "no time", or a clock that ran over.
    Overflowed,
    /// 1,024 weeks (or twice that) before receipt: a GPS receiver whose week number rolled over.
    GpsRollover,
    /// Too old, for no reason that we know.
    FarPast,
    /// Too far ahead, for no reason that we know.
    FarFuture,
}

impl TimeFlag {
    /// A short stable name, for counters.
    pub fn code(self) -> &'static str {
        match self {
            TimeFlag::NotStated => "not-stated",
            TimeFlag::Plausible => "plausible",
            TimeFlag::NeverSet => "never-set",
            TimeFlag::Overflowed => "overflowed",
            TimeFlag::GpsRollover => "gps-rollover",
            TimeFlag::FarPast => "far-past",
            TimeFlag::FarFuture => "far-future",
        }
    }

    /// The sensor stated a time that cannot be believed.
    pub fn is_absurd(self) -> bool {
        !matches!(self, TimeFlag::NotStated | TimeFlag::Plausible)
    }
}

/// The three times of a reading, ms since 1970 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JudgedTime {
    /// As the sensor states it.
    pub device_ms: Option<i64>,
    pub received_ms: i64,
    /// The one that counts: the sensor's where it is plausible, else that of receipt, or one made from it
    /// ([`judge_times`]).
    pub estimated_ms: i64,
    pub flag: TimeFlag,
}

const YEAR_MS: i64 = 366 * 24 * 60 * 60 * 1000;
/// 1970-01-01, 1980-01-06 and 2000-01-01.
const CLOCK_STARTS_MS: [i64; 3] = [0, 315_964_800_000, 946_684_800_000];
/// The last second of a signed and of an unsigned count of 32 bits.
const OVERFLOWS_MS: [i64; 2] = [2_147_483_647_000, 4_294_967_295_000];
const GPS_WEEKS_MS: i64 = 1024 * 7 * 24 * 60 * 60 * 1000;

/// Says which time of a reading counts.
pub fn judge_time(device_ms: Option<i64>, received_ms: i64, limits: TimeLimits) -> JudgedTime {
    let flag = device_ms.map_or(TimeFlag::NotStated, |at| judge(at, received_ms, limits));
    let estimated_ms = match (flag, device_ms) {
        (TimeFlag::Plausible, Some(at)) => at,
        _ => received_ms,
    };
    JudgedTime {
        device_ms,
        received_ms,
        estimated_ms,
        flag,
    }
}

fn judge(at: i64, received: i64, limits: TimeLimits) -> TimeFlag {
    let apart = at.abs_diff(received);
    let late = at <= received;
    // First: a node whose own clock stands near one of the odd times must not call every sensor odd.
    if apart
        <= if late {
            limits.past_ms
        } else {
            limits.future_ms
        }
    {
        return TimeFlag::Plausible;
    }
    let near = |moment: i64, within: u64| at.abs_diff(moment) <= within;
    if CLOCK_STARTS_MS.iter().any(|start| {
        at.checked_sub(*start)
            .is_some_and(|age| (0..YEAR_MS).contains(&age))
    }) {
        return TimeFlag::NeverSet;
    }
    if OVERFLOWS_MS.iter().any(|end| near(*end, DAY_MS)) {
        return TimeFlag::Overflowed;
    }
    let rolled = (1..=2).any(|times| {
        received
            .checked_sub(times * GPS_WEEKS_MS)
            .is_some_and(|then| near(then, limits.past_ms))
    });
    match (rolled, late) {
        (true, _) => TimeFlag::GpsRollover,
        (_, true) => TimeFlag::FarPast,
        _ => TimeFlag::FarFuture,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026-11-21T20:00:00Z.
    const NOW: i64 = 1_795_291_200_000;
    const DAY: i64 = DAY_MS as i64;

    fn flag(at: i64) -> TimeFlag {
        judge_time(Some(at), NOW, TimeLimits::default()).flag
    }

    #[test]
    fn a_time_within_a_day_counts_and_one_beyond_does_not() {
        for (at, expected) in [
            (NOW, TimeFlag::Plausible),
            (NOW - DAY, TimeFlag::Plausible),
            (NOW + DAY, TimeFlag::Plausible),
            (NOW - DAY - 1, TimeFlag::FarPast),
            (NOW + DAY + 1, TimeFlag::FarFuture),
        ] {
            let judged = judge_time(Some(at), NOW, TimeLimits::default());
            assert_eq!(judged.flag, expected);
            let counts = if expected == TimeFlag::Plausible {
                at
            } else {
                NOW
            };
            assert_eq!((judged.estimated_ms, judged.device_ms), (counts, Some(at)));
        }
        let silent = judge_time(None, NOW, TimeLimits::default());
        assert_eq!(
            (silent.flag, silent.estimated_ms),
            (TimeFlag::NotStated, NOW)
        );
    }

    #[test]
    fn absurd_clocks_are_called_what_they_are() {
        for (at, expected) in [
            (0, TimeFlag::NeverSet),
            (3_600_000, TimeFlag::NeverSet),
            (315_964_800_000, TimeFlag::NeverSet),
            (946_684_800_000 + 5 * DAY, TimeFlag::NeverSet),
            (4_294_967_295_000, TimeFlag::Overflowed),
            (2_147_483_648_000, TimeFlag::Overflowed),
            (NOW - GPS_WEEKS_MS, TimeFlag::GpsRollover),
            (-1, TimeFlag::FarPast),
            (i64::MIN, TimeFlag::FarPast),
            (i64::MAX, TimeFlag::FarFuture),
            (NOW * 1000, TimeFlag::FarFuture),
            (NOW / 1000, TimeFlag::NeverSet),
        ] {
            assert_eq!(flag(at), expected, "{at}");
            assert!(flag(at).is_absurd());
        }
    }

    #[test]
    fn a_node_that_was_never_set_believes_sensors_that_agree_with_it() {
        let judged = judge_time(Some(5_000), 9_000, TimeLimits::default());
        assert_eq!(
            (judged.flag, judged.estimated_ms),
            (TimeFlag::Plausible, 5_000)
        );
    }

    /// The rule of `domain::effective_time_ms`, written again because neither crate may use the other.
    fn effective_time_ms(sample_ms: Option<i64>, received_ms: i64) -> i64 {
        match sample_ms {
            Some(at) if at.abs_diff(received_ms) <= 24 * 60 * 60 * 1000 => at,
            _ => received_ms,
        }
    }

    proptest! {
        #[test]
        fn with_the_default_limits_it_agrees_with_the_rules(
            device in proptest::option::of(prop_oneof![any::<i64>(), NOW - 2 * DAY..NOW + 2 * DAY]),
            received in prop_oneof![any::<i64>(), Just(NOW)],
        ) {
            let judged = judge_time(device, received, TimeLimits::default());
            prop_assert_eq!(judged.estimated_ms, effective_time_ms(device, received));
        }

        #[test]
        fn the_time_that_counts_lies_within_the_limits(device in any::<i64>(), received in any::<i64>(), past_ms in any::<u64>(), future_ms in any::<u64>()) {
            let judged = judge_time(Some(device), received, TimeLimits { past_ms, future_ms });
            let apart = judged.estimated_ms.abs_diff(received);
            prop_assert!(apart <= past_ms.max(future_ms));
        }
    }
}
