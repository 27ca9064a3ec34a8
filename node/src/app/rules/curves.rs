//! The value of a rule over time, as a test run shows it: what a level is chosen by.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use domain::rules::{Level, rfc3339};
use serde_json::{Value, json};

/// Points of one curve: two for each character of a phone's width.
const POINTS_MAX: i64 = 240;
/// Curves told: more are neither looked at nor told apart. Each is 15 kB at most.
const CURVES_MAX: usize = 12;

/// Curves of one run, at most as many as it has series.
pub(super) struct Curves {
    from_ms: i64,
    width_ms: i64,
    raise: Level,
    by_name: BTreeMap<(Arc<str>, Arc<str>), Curve>,
}

struct Curve {
    /// The value farthest beyond the level, by its excess.
    worst: f64,
    points: BTreeMap<i64, Point>,
}

struct Point {
    min: f64,
    max: f64,
    sum: f64,
    count: u32,
}

impl Curves {
    /// For a rule that raises at that level, over readings of that range.
    pub(super) fn new(from_ms: i64, to_ms: i64, raise: Level) -> Curves {
        let span_ms = to_ms.saturating_sub(from_ms).max(1);
        Curves {
            from_ms,
            // Whole seconds, which is what the answer gives.
            width_ms: (span_ms / POINTS_MAX / 1000 + 1) * 1000,
            raise,
            by_name: BTreeMap::new(),
        }
    }

    /// Takes in a value.
    pub(super) fn push(&mut self, device: &Arc<str>, channel: &Arc<str>, at_ms: i64, value: f64) {
        let name = (Arc::clone(device), Arc::clone(channel));
        let curve = self.by_name.entry(name).or_insert_with(|| Curve {
            worst: f64::NEG_INFINITY,
            points: BTreeMap::new(),
        });
        curve.worst = curve.worst.max(self.raise.excess(value));
        let place = at_ms.saturating_sub(self.from_ms).div_euclid(self.width_ms);
        let point = curve.points.entry(place).or_insert(Point {
            min: value,
            max: value,
            sum: 0.0,
            count: 0,
        });
        point.min = point.min.min(value);
        point.max = point.max.max(value);
        point.sum += value;
        point.count = point.count.saturating_add(1);
    }

    /// As the API shows them, the one farthest beyond the level first.
    pub(super) fn told(&self) -> Value {
        let mut curves: Vec<_> = self.by_name.iter().collect();
        curves.sort_by(|(_, a), (_, b)| b.worst.partial_cmp(&a.worst).unwrap_or(Ordering::Equal));
        let told = curves.iter().take(CURVES_MAX);
        let told = told.map(|((device, channel), curve)| {
            json!({
                "device": &**device,
                "channel": &**channel,
                "width_s": self.width_ms / 1000,
                "points": self.points(curve),
            })
        });
        told.collect()
    }

    fn points(&self, curve: &Curve) -> Vec<Value> {
        let point = |(place, point): (&i64, &Point)| {
            let at_ms = place
                .saturating_mul(self.width_ms)
                .saturating_add(self.from_ms);
            let mean = point.sum / f64::from(point.count);
            json!([rfc3339(at_ms), point.min, mean, point.max, point.count])
        };
        curve.points.iter().map(point).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_has_a_bounded_number_of_points_that_hold_every_value() {
        let week_ms = 7 * 24 * 3_600_000;
        let mut curves = Curves::new(0, week_ms, Level::Above(4.0));
        let (device, level): (Arc<str>, Arc<str>) = ("gauge".into(), "level".into());
        for n in 0..week_ms / 60_000 {
            curves.push(&device, &level, n * 60_000, (n % 7) as f64);
        }
        let told = curves.told();
        let points = told[0]["points"].as_array().unwrap();
        assert!(points.len() <= 240, "{}", points.len());
        let count: u64 = points.iter().map(|point| point[4].as_u64().unwrap()).sum();
        assert_eq!(count, 10_080);
        assert!(
            points
                .iter()
                .all(|point| point[1] == 0.0 && point[3] == 6.0)
        );
    }

    #[test]
    fn the_curves_that_are_farthest_beyond_the_level_are_told() {
        let mut curves = Curves::new(0, 60_000, Level::Below(0.0));
        for n in 0..40 {
            let device: Arc<str> = format!("tank-{n}").into();
            curves.push(&device, &"level".into(), 0, 30.0 - f64::from(n));
        }
        let told = curves.told();
        let told = told.as_array().unwrap();
        assert_eq!(told.len(), CURVES_MAX);
        assert_eq!(told[0]["device"], "tank-39");
        assert_eq!(told[11]["device"], "tank-28");
    }
}
