//! What is to be known about readings besides their values, in words.
//!
//! Invariant: of values that contradict each other every one says so, whichever came first. (The store marks the later:
//! what is stored is never changed.)

use std::collections::BTreeSet;

use store::flags::{self, APPROVED, CONTRADICTS, DEVICE_TIME, IN_ORDER, KEPT};
use store::{Point, TimedPoint};

/// Its device was not approved when it came.
const UNAPPROVED: &str = "unapproved";
/// The device said a time that cannot be true.
const ABSURD_CLOCK: &str = "absurd-clock";

/// The words of each point.
pub(super) fn of_points(points: &[Point]) -> Vec<Vec<&'static str>> {
    let contradicted = contradicted(points.iter());
    let words = |point: &Point| words(point, &contradicted);
    points.iter().map(words).collect()
}

/// The words of one point by itself: that a later one contradicts it is not seen.
pub(super) fn of_point(point: &Point) -> Vec<&'static str> {
    words(point, &BTreeSet::new())
}

/// The same where the device's own time is known.
pub(super) fn of_timed_points(timed: &[TimedPoint]) -> Vec<Vec<&'static str>> {
    let contradicted = contradicted(timed.iter().map(|timed| &timed.point));
    let words = |timed: &TimedPoint| {
        let mut words = words(&timed.point, &contradicted);
        // A time that is believed is the device's own.
        if timed.device_ms.is_some() && timed.point.flags & DEVICE_TIME == 0 {
            words.push(ABSURD_CLOCK);
        }
        words
    };
    timed.iter().map(words).collect()
}

/// Times for which there is more than one value.
fn contradicted<'a>(points: impl Iterator<Item = &'a Point>) -> BTreeSet<i64> {
    points
        .filter(|point| point.flags & CONTRADICTS != 0)
        .map(|point| point.at_ms)
        .collect()
}

fn words(point: &Point, contradicted: &BTreeSet<i64>) -> Vec<&'static str> {
    let mut bits = point.flags & !IN_ORDER;
    // A time of receipt may be the same by chance.
    if point.flags & DEVICE_TIME != 0 && contradicted.contains(&point.at_ms) {
        bits |= CONTRADICTS;
    }
    let of_bits = flags::WORDS.iter().filter(|(bit, _)| bits & bit != 0);
    let mut words: Vec<&'static str> = of_bits.map(|(_, word)| *word).collect();
    if point.flags & (APPROVED | KEPT) == 0 {
        words.push(UNAPPROVED);
    }
    words
}

#[cfg(test)]
mod tests {
    use store::flags::{REDELIVERED, RETAINED, SUSPECT};

    use super::*;

    fn point(at_ms: i64, flags: u8) -> Point {
        Point {
            at_ms,
            value: 1.0,
            flags,
        }
    }

    #[test]
    fn both_of_two_values_with_one_time_contradict_and_no_other() {
        let points = [
            point(1, IN_ORDER),
            point(2, IN_ORDER),
            point(2, IN_ORDER | CONTRADICTS),
            // Received in that very millisecond.
            point(2, APPROVED),
        ];
        let nothing: [&str; 0] = [];
        let expected = [&nothing[..], &["contradicts"], &["contradicts"], &nothing];
        assert_eq!(of_points(&points), expected);
    }

    #[test]
    fn what_is_doubted_what_was_retained_and_what_nobody_approved_are_told_apart() {
        let points = [
            point(1, KEPT | SUSPECT),
            point(2, KEPT | RETAINED | DEVICE_TIME),
            point(3, KEPT),
            point(4, SUSPECT),
            point(5, APPROVED | REDELIVERED),
        ];
        let expected: [&[&str]; 5] = [
            &["not-news", "suspect"],
            &["not-news", "retained"],
            &["not-news"],
            &["suspect", "unapproved"],
            &["redelivered"],
        ];
        assert_eq!(of_points(&points), expected);
    }

    #[test]
    fn a_time_that_cannot_be_true_is_told_from_one_that_was_not_said() {
        let timed = |flags, device_ms| TimedPoint {
            point: point(9, flags),
            received_ms: 9,
            device_ms,
        };
        let all = [
            timed(IN_ORDER, Some(9)),
            timed(APPROVED, Some(0)),
            timed(APPROVED, None),
        ];
        let nothing: [&str; 0] = [];
        let expected = [&nothing[..], &["absurd-clock"], &nothing];
        assert_eq!(of_timed_points(&all), expected);
    }
}
