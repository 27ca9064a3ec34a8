//! Points and buckets of a series as the API answers them.

use serde_json::{Value, json};
use store::{BucketPage, BucketWidth, PointPage, gaps};

use super::super::clock::rfc3339;

/// How fine an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Resolution {
    /// Every reading.
    #[default]
    Raw,
    /// One row a minute.
    OneMinute,
    /// One row a quarter of an hour.
    FifteenMinutes,
    /// One row an hour.
    OneHour,
}

impl Resolution {
    /// `None` for readings themselves.
    pub(super) fn width(self) -> Option<BucketWidth> {
        match self {
            Resolution::Raw => None,
            Resolution::OneMinute => Some(BucketWidth::Minute),
            Resolution::FifteenMinutes => Some(BucketWidth::Quarter),
            Resolution::OneHour => Some(BucketWidth::Hour),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Resolution::Raw => "raw",
            Resolution::OneMinute => "1m",
            Resolution::FifteenMinutes => "15m",
            Resolution::OneHour => "1h",
        }
    }
}

/// `{"series", "resolution", "points": [[at, value], …], "gaps": [[from, to], …], "truncated"}`. Gaps are there only
/// where the device says how often it sends.
pub(super) fn raw(series: &str, page: &PointPage, expected_interval_ms: Option<i64>) -> Value {
    let points: Vec<Value> = page
        .points
        .iter()
        .map(|point| json!([rfc3339(point.at_ms), point.value]))
        .collect();
    let mut answer = answer(series, Resolution::Raw, points, page.truncated);
    if let Some(interval_ms) = expected_interval_ms {
        let times = page.points.iter().map(|point| point.at_ms);
        let gaps: Vec<Value> = gaps(times, interval_ms)
            .map(|gap| json!([rfc3339(gap.from_ms), rfc3339(gap.to_ms)]))
            .collect();
        answer["gaps"] = json!(gaps);
    }
    answer
}

/// The same with `[at, min, mean, max, count]`, `at` being where the bucket begins. A time without readings has no row.
pub(super) fn rollup(series: &str, resolution: Resolution, page: &BucketPage) -> Value {
    let points: Vec<Value> = page
        .buckets
        .iter()
        .map(|bucket| {
            json!([
                rfc3339(bucket.start_ms),
                bucket.min,
                bucket.mean(),
                bucket.max,
                bucket.count
            ])
        })
        .collect();
    answer(series, resolution, points, page.truncated)
}

fn answer(series: &str, resolution: Resolution, points: Vec<Value>, truncated: bool) -> Value {
    json!({
        "series": series,
        "resolution": resolution.name(),
        "points": points,
        "truncated": truncated,
    })
}

#[cfg(test)]
mod tests {
    use store::{Bucket, Point};

    use super::*;

    fn page(times_ms: &[i64]) -> PointPage {
        let points = times_ms.iter().map(|at_ms| Point {
            at_ms: *at_ms,
            value: 1.5,
            flags: 0,
        });
        PointPage {
            points: points.collect(),
            truncated: false,
        }
    }

    #[test]
    fn gaps_are_told_where_the_device_says_how_often_it_sends() {
        let page = page(&[0, 1_000, 4_000]);
        let told = raw("7", &page, Some(1_000));
        assert_eq!(
            told["gaps"],
            json!([["1970-01-01T00:00:01.000Z", "1970-01-01T00:00:04.000Z"]])
        );
        assert_eq!(raw("7", &page, None).get("gaps"), None);
        assert_eq!(raw("7", &page, Some(3_000))["gaps"], json!([]));
    }

    #[test]
    fn a_bucket_is_its_start_min_mean_max_and_count() {
        let page = BucketPage {
            buckets: vec![Bucket {
                start_ms: 900_000,
                count: 4,
                min: 1.0,
                max: 3.0,
                sum: 7.0,
            }],
            truncated: true,
        };
        assert_eq!(
            rollup("7", Resolution::FifteenMinutes, &page),
            json!({
                "series": "7",
                "resolution": "15m",
                "points": [["1970-01-01T00:15:00.000Z", 1.0, 1.75, 3.0, 4]],
                "truncated": true,
            })
        );
    }
}
