//! What raw values mean: readings and rollups as their calibrations say.
//!
//! Readings are stored as they came. A bucket of a rollup is made of raw values, too: where one straight line counts for
//! all of them, its least, greatest and mean are exact; where a curve bends, or another calibration begins within it, it
//! is made anew from the readings while they are kept, and said to be approximate where they are not.

use std::collections::BTreeMap;

use sensor_drivers::{CalibrationId, Calibrations};
use serde_json::{Value, json};
use store::{Bucket, BucketPage, BucketWidth, Point, PointPage, StoreError};

use super::super::clock::rfc3339;
use super::super::devices::{Freshness, age_s};
use super::flagged;

/// Readings that one answer may be made of beyond its rollups: a day of a sensor that sends each second, in some 20 ms.
const READINGS_MAX: usize = 100_000;

/// Which values are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Values {
    /// As their calibrations say.
    #[default]
    Calibrated,
    /// As they came.
    Raw,
}

/// What was done to an answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Told {
    /// Those that were used, by the time from which they count.
    used: BTreeMap<i64, CalibrationId>,
    /// Rows that stayed as they came: no calibration counts for their time.
    uncalibrated: u64,
    /// Some value lies beyond the points of its curve.
    extrapolated: bool,
    /// Some row could not be made exactly.
    approximate: bool,
}

impl Told {
    /// Puts it beside the points.
    pub(super) fn lay_over(&self, answer: &mut Value) {
        let used: Vec<Value> = self
            .used
            .iter()
            .map(|(from_ms, id)| {
                let valid_from = (*from_ms != i64::MIN).then(|| rfc3339(*from_ms));
                json!({ "id": id_text(id), "valid_from": valid_from })
            })
            .collect();
        answer["values"] = json!(if used.is_empty() { "raw" } else { "calibrated" });
        answer["calibrations"] = json!(used);
        answer["uncalibrated"] = json!(self.uncalibrated);
        answer["extrapolated"] = json!(self.extrapolated);
        answer["approximate"] = json!(self.approximate);
    }

    /// One value; `None` where no calibration counts for its time, or what it gives is beyond a double.
    fn value(&mut self, calibrations: &Calibrations, raw: f64, at_ms: i64) -> Option<f64> {
        let calibration = calibrations.at(at_ms)?;
        let calibrated = calibration.apply(raw)?;
        self.used.insert(calibration.valid_from_ms, calibration.id);
        self.extrapolated |= calibrated.extrapolated;
        Some(calibrated.value)
    }
}

/// The id of a calibration's document as the API writes it.
fn id_text(id: &CalibrationId) -> String {
    domain::RecordId(*id).to_string()
}

/// The newest reading of a series: what it says, and whether that is still true.
pub(super) fn last(
    last: Point,
    calibrations: Option<&Calibrations>,
    freshness: &Freshness,
    now_ms: i64,
) -> Value {
    let calibrated = calibrations.and_then(|all| all.apply(last.value, last.at_ms));
    // One that was read back from a block has the time that its sensor stated, which may lie a little ahead.
    let at_ms = last.at_ms.min(now_ms);
    json!({
        "at": rfc3339(at_ms),
        "value": calibrated.map_or(last.value, |calibrated| calibrated.value),
        "raw": last.value,
        "calibration": calibrated.map(|calibrated| id_text(&calibrated.id)),
        "age_s": age_s(at_ms, now_ms),
        "stale": freshness.is_stale(at_ms, now_ms),
        "flags": flagged::of_point(&last),
    })
}

/// Makes calibrated readings of raw ones.
pub(super) fn points(calibrations: &Calibrations, page: &mut PointPage) -> Told {
    let mut told = Told::default();
    if calibrations.is_empty() {
        return told;
    }
    for point in &mut page.points {
        match told.value(calibrations, point.value, point.at_ms) {
            Some(value) => point.value = value,
            None => told.uncalibrated += 1,
        }
    }
    told
}

/// Makes calibrated buckets of raw ones. `readings` gives the newest of a range of time, at most as many as it is asked
/// for.
pub(super) fn buckets(
    calibrations: &Calibrations,
    width: BucketWidth,
    page: &mut BucketPage,
    mut readings: impl FnMut(i64, i64, usize) -> Result<PointPage, StoreError>,
) -> Result<Told, StoreError> {
    let mut told = Told::default();
    if calibrations.is_empty() {
        return Ok(told);
    }
    let mut left = READINGS_MAX;
    // The newest first: they are looked at most, and their readings are the longest kept.
    for bucket in page.buckets.iter_mut().rev() {
        let last_ms = bucket.start_ms.saturating_add(width.ms() - 1);
        if is_exact(calibrations, bucket, last_ms) {
            along_a_line(calibrations, bucket, &mut told);
            continue;
        }
        let count = usize::try_from(bucket.count).unwrap_or(usize::MAX);
        let mut of_bucket = PointPage::default();
        if count <= left.min(store::POINTS_MAX) {
            of_bucket = readings(bucket.start_ms, last_ms, count)?;
            left -= count;
        }
        // Fewer are left where retention took some.
        if of_bucket.points.len() == count && !of_bucket.truncated {
            anew(calibrations, bucket, &of_bucket.points, &mut told);
        } else {
            told.approximate = true;
            along_a_line(calibrations, bucket, &mut told);
        }
    }
    Ok(told)
}

/// Whether one straight line counts for all values of a bucket, or none does.
fn is_exact(calibrations: &Calibrations, bucket: &Bucket, last_ms: i64) -> bool {
    match (calibrations.at(bucket.start_ms), calibrations.at(last_ms)) {
        (None, None) => true,
        (Some(first), Some(last)) => {
            first.id == last.id && first.is_straight(bucket.min, bucket.max)
        }
        _ => false,
    }
}

/// As if the line at the bucket's beginning counted for all of it.
fn along_a_line(calibrations: &Calibrations, bucket: &mut Bucket, told: &mut Told) {
    let at_ms = bucket.start_ms;
    let mut value = |raw| told.value(calibrations, raw, at_ms);
    let (min, mean, max) = (value(bucket.min), value(bucket.mean()), value(bucket.max));
    let (Some(min), Some(mean), Some(max)) = (min, mean, max) else {
        told.uncalibrated += 1;
        return;
    };
    // A scale below zero turns them over; on a curve that bends the mean need not lie between them.
    bucket.min = min.min(max).min(mean);
    bucket.max = min.max(max).max(mean);
    bucket.sum = sum(mean, bucket.count);
}

fn anew(calibrations: &Calibrations, bucket: &mut Bucket, points: &[Point], told: &mut Told) {
    let (mut min, mut max, mut mean) = (f64::INFINITY, f64::NEG_INFINITY, 0.0);
    let mut as_they_came = false;
    for (before, point) in (0_u32..).zip(points) {
        let value = told.value(calibrations, point.value, point.at_ms);
        as_they_came |= value.is_none();
        let value = value.unwrap_or(point.value);
        min = value.min(min);
        max = value.max(max);
        // A running mean: it cannot pass what a double holds, whatever the values are.
        let share = f64::from(before) / (f64::from(before) + 1.0);
        mean = mean * share + value / (f64::from(before) + 1.0);
    }
    told.uncalibrated += u64::from(as_they_came);
    (bucket.min, bucket.max) = (min, max);
    bucket.sum = sum(mean.clamp(min, max), bucket.count);
}

/// Held where it would pass what a double can hold, as the store does.
fn sum(mean: f64, count: u64) -> f64 {
    (mean * count as f64).clamp(-f64::MAX, f64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sensor_drivers::{Calibration, Curve};

    use super::*;

    const MINUTE_MS: i64 = 60_000;

    fn calibrations(all: Vec<(i64, Curve)>) -> Calibrations {
        let each = all
            .into_iter()
            .zip(1..)
            .map(|((valid_from_ms, curve), id)| {
                let id = [id; 16];
                Calibration {
                    id,
                    valid_from_ms,
                    curve,
                }
            });
        Calibrations::new(each.collect())
    }

    fn line(scale: f64, offset: f64) -> Curve {
        Curve::Linear { scale, offset }
    }

    fn readings(values: &[f64]) -> Vec<Point> {
        let points = (0..).zip(values).map(|(second, value)| Point {
            at_ms: second * 1000,
            value: *value,
            flags: 0,
        });
        points.collect()
    }

    fn bucket(values: &[f64]) -> Bucket {
        Bucket {
            start_ms: 0,
            count: values.len() as u64,
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            sum: values.iter().sum(),
        }
    }

    /// The bucket of these readings, calibrated, of which only the first `kept` are there still.
    fn calibrated(calibrations: &Calibrations, values: &[f64], kept: usize) -> (Bucket, Told) {
        let mut page = BucketPage {
            buckets: vec![bucket(values)],
            truncated: false,
        };
        let all = readings(values);
        let told = buckets(
            calibrations,
            BucketWidth::Minute,
            &mut page,
            |from, to, limit| {
                assert_eq!((from, to), (0, MINUTE_MS - 1));
                assert!(limit >= kept);
                Ok(PointPage {
                    points: all[..kept].to_vec(),
                    truncated: false,
                })
            },
        );
        (page.buckets[0], told.unwrap())
    }

    #[test]
    fn a_line_is_applied_to_a_bucket_exactly_and_without_its_readings() {
        let calibrations = calibrations(vec![(i64::MIN, line(-2.0, 1.0))]);
        let (bucket, told) = calibrated(&calibrations, &[1.0, 2.0, 6.0], 0);
        assert_eq!((bucket.min, bucket.mean(), bucket.max), (-11.0, -5.0, -1.0));
        assert!(!told.approximate);
        assert_eq!(told.used.len(), 1);
    }

    #[test]
    fn a_curve_that_bends_is_applied_to_the_readings_while_they_are_kept() {
        let bent = Curve::Points(vec![(0.0, 0.0), (2.0, 2.0), (4.0, 0.0)]);
        let calibrations = calibrations(vec![(i64::MIN, bent)]);
        let values = [1.0, 2.0, 3.0];
        let (bucket, told) = calibrated(&calibrations, &values, 3);
        assert_eq!((bucket.min, bucket.max), (1.0, 2.0));
        assert!((bucket.mean() - 4.0 / 3.0).abs() < 1e-12);
        assert!(!told.approximate);
        let (_, told) = calibrated(&calibrations, &values, 2);
        assert!(told.approximate, "a reading is gone");
        // On one of its lines the curve is one.
        let (bucket, told) = calibrated(&calibrations, &[3.0, 4.0], 0);
        assert_eq!((bucket.min, bucket.mean(), bucket.max), (0.0, 0.5, 1.0));
        assert!(!told.approximate);
    }

    #[test]
    fn a_calibration_that_begins_within_a_bucket_counts_from_there() {
        let calibrations = calibrations(vec![(1000, line(10.0, 0.0))]);
        let (bucket, told) = calibrated(&calibrations, &[1.0, 1.0, 1.0], 3);
        assert_eq!((bucket.min, bucket.max), (1.0, 10.0));
        assert_eq!((told.uncalibrated, told.approximate), (1, false));
    }

    #[test]
    fn readings_before_the_first_calibration_stay_as_they_came() {
        let calibrations = calibrations(vec![(1000, line(1.0, 0.5)), (2000, line(1.0, 1.0))]);
        let mut page = PointPage {
            points: readings(&[1.0, 1.0, 1.0]),
            truncated: false,
        };
        let told = points(&calibrations, &mut page);
        let values: Vec<f64> = page.points.iter().map(|point| point.value).collect();
        assert_eq!(values, [1.0, 1.5, 2.0]);
        let mut answer = json!({});
        told.lay_over(&mut answer);
        assert_eq!(answer["values"], "calibrated");
        assert_eq!(answer["uncalibrated"], 1);
        assert_eq!(answer["calibrations"][1]["valid_from"], rfc3339(2000));
    }

    #[test]
    fn what_is_beyond_a_double_stays_as_it_came() {
        let calibrations = calibrations(vec![(i64::MIN, line(1e300, 0.0))]);
        let (huge, told) = calibrated(&calibrations, &[1e300, 1e300], 0);
        assert_eq!((huge, told.uncalibrated), (bucket(&[1e300, 1e300]), 1));
    }
}
