//! How far the clocks of sensors are believed, and which time of a reading counts.

use sensor_drivers::{JudgedTime, TimeLimits, judge_time, judge_times};
use store::flags::Coming;
use store::{NewReading, OddClock, SeriesId};

/// How far ahead of the receipt a sensor's clock may run. One that is set by NTP, GPS or LoRaWAN is right within seconds,
/// a clock chip that nobody has set for three months within this; local time taken for UTC is half an hour ahead at
/// least. Nothing is measured in the future, so a value from there would look fresh until its time has come.
const AHEAD_MS_MAX: u64 = 5 * 60_000;

/// How far a sensor's clock is believed: it may have kept its readings for years while nobody fetched them. (Rules look a
/// day back, DESIGN §8.)
const TIMES_BELIEVED: TimeLimits = TimeLimits {
    past_ms: 10 * 366 * 24 * 3_600_000,
    future_ms: AHEAD_MS_MAX,
};

/// 2026-01-01: a node whose own clock stands before this program was written judges nobody's.
const CLOCK_SET_MS: i64 = 1_767_225_600_000;

/// Whether the time that counts is the sensor's own.
fn is_own_time(judged: &JudgedTime) -> bool {
    judged.device_ms.is_some() && !judged.flag.is_absurd()
}

/// Whether a value is of a copy that a broker `kept` and of which nobody can say how old it is: it is no reading. Such ones
/// are counted.
pub(in crate::app) fn is_of_unknown_age(judged: &JudgedTime, kept: bool) -> bool {
    let is_unknown = kept && !is_own_time(judged);
    if is_unknown {
        metrics::counter!("muster_ingest_kept_copies_total").increment(1);
    }
    is_unknown
}

/// A reading with the time that counts; of no message yet.
pub(in crate::app) fn new_reading(
    series: SeriesId,
    judged: &JudgedTime,
    received_ms: i64,
    value: f64,
    coming: Coming,
) -> NewReading {
    NewReading {
        series,
        at_ms: judged.estimated_ms,
        device_time: is_own_time(judged),
        received_ms,
        value,
        flags: coming.flags(),
        message: None,
    }
}

/// What the clock of the reading with that index said, to be kept beside it where it cannot be true.
pub(in crate::app) fn odd_clock(judged: &JudgedTime, reading: usize) -> Option<OddClock> {
    let device_ms = judged.device_ms.filter(|_| judged.flag.is_absurd())?;
    let reading = u32::try_from(reading).ok()?;
    Some(OddClock { reading, device_ms })
}

/// Which time of a reading counts; a clock that cannot be believed is counted.
pub(super) fn judged(device_time_ms: Option<i64>, received_ms: i64) -> JudgedTime {
    let judged = judge_time(device_time_ms, received_ms, limits(received_ms));
    count_absurd(&judged);
    judged
}

/// The same for all values that one device said in one message: what its clock says of how far they lie apart counts also
/// where it cannot be believed.
pub(super) fn judged_together(
    device_times_ms: impl IntoIterator<Item = Option<i64>>,
    received_ms: i64,
) -> Vec<JudgedTime> {
    let judged = judge_times(device_times_ms, received_ms, limits(received_ms));
    judged.iter().for_each(count_absurd);
    judged
}

fn limits(received_ms: i64) -> TimeLimits {
    if received_ms < CLOCK_SET_MS {
        TimeLimits {
            past_ms: u64::MAX,
            future_ms: u64::MAX,
        }
    } else {
        TIMES_BELIEVED
    }
}

fn count_absurd(judged: &JudgedTime) {
    if judged.flag.is_absurd() {
        metrics::counter!("muster_ingest_absurd_clocks_total", "flag" => judged.flag.code())
            .increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22.
    const NOW_MS: i64 = 1_795_305_600_000;

    #[test]
    fn a_clock_a_little_ahead_is_believed_and_local_time_taken_for_utc_is_not() {
        let counts = |ahead_ms: i64| {
            let judged = judged(Some(NOW_MS + ahead_ms), NOW_MS);
            (judged.estimated_ms - NOW_MS, judged.flag.is_absurd())
        };
        assert_eq!(counts(20_000), (20_000, false));
        assert_eq!(counts(5 * 60_000), (5 * 60_000, false));
        assert_eq!(counts(30 * 60_000), (0, true));
        assert_eq!(counts(23 * 3_600_000), (0, true));
        assert_eq!(counts(-23 * 3_600_000), (-23 * 3_600_000, false));
    }
}
