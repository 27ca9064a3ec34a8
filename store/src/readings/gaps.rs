//! Where readings are missing.

/// A sample may come half an interval late before it counts as missing: radio slots and retries shift it by less.
const TOLERANCE: (i64, i64) = (3, 2);

/// A stretch of time without the readings that were expected in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The last reading before it.
    pub from_ms: i64,
    /// The first reading after it.
    pub to_ms: i64,
}

/// The gaps between readings, whose times are given in rising order: neighbours that are more than one and a half times
/// the expected interval apart. None where the interval is not positive. What lies before the first and after the last
/// reading is for the caller to judge, who knows what was asked for and what time it is.
pub fn gaps(
    times_ms: impl IntoIterator<Item = i64>,
    expected_interval_ms: i64,
) -> impl Iterator<Item = Gap> {
    let (times, per) = TOLERANCE;
    let apart_max = expected_interval_ms.saturating_mul(times) / per;
    let mut before: Option<i64> = None;
    times_ms.into_iter().filter_map(move |at_ms| {
        let from_ms = before.replace(at_ms)?;
        let apart = at_ms.saturating_sub(from_ms);
        (expected_interval_ms > 0 && apart > apart_max).then_some(Gap {
            from_ms,
            to_ms: at_ms,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(times_ms: &[i64], expected_interval_ms: i64, expected: &[(i64, i64)]) {
        let found: Vec<(i64, i64)> = gaps(times_ms.iter().copied(), expected_interval_ms)
            .map(|gap| (gap.from_ms, gap.to_ms))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_missing_sample_is_a_gap_and_a_late_one_is_not() {
        check(&[0, 1_000, 2_000, 4_000, 5_000], 1_000, &[(2_000, 4_000)]);
        check(&[0, 1_000, 2_500, 3_000], 1_000, &[]);
        check(&[0, 1_501], 1_000, &[(0, 1_501)]);
    }

    #[test]
    fn nothing_is_missing_where_nothing_was_promised() {
        check(&[0, 1_000_000], 0, &[]);
        check(&[0, 1_000_000], -5, &[]);
        check(&[], 1_000, &[]);
        check(&[7], 1_000, &[]);
    }

    #[test]
    fn absurd_times_are_gaps_and_no_fault() {
        check(
            &[i64::MIN, 0, 0, i64::MAX],
            1_000,
            &[(i64::MIN, 0), (0, i64::MAX)],
        );
        check(&[0, 10], i64::MAX, &[]);
    }
}
