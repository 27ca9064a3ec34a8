//! Figures that agencies publish formulas for: the air quality index with NowCast, and the heat index.

use serde::{Deserialize, Serialize};

const HOUR_MS: i64 = 3_600_000;
/// Hours that a NowCast looks back (US EPA, "Technical Assistance Document for the Reporting of Daily Air Quality",
/// EPA-454/B-24-002, 2024).
const NOWCAST_HOURS: usize = 12;

/// Concentration up to which, and the index there; between two of them the index is linear. EPA-454/B-24-002, table 6;
/// the last step goes on beyond its end.
pub(super) struct Breakpoints {
    /// Concentrations are cut to this many parts of a unit before they are looked up.
    parts: f64,
    /// Lowest and highest concentration, lowest and highest index.
    steps: &'static [(f64, f64, f64, f64)],
}

/// Fine particles in µg/m³, as revised in May 2024.
pub(super) static PM25: Breakpoints = Breakpoints {
    parts: 10.0,
    steps: &[
        (0.0, 9.0, 0.0, 50.0),
        (9.1, 35.4, 51.0, 100.0),
        (35.5, 55.4, 101.0, 150.0),
        (55.5, 125.4, 151.0, 200.0),
        (125.5, 225.4, 201.0, 300.0),
        (225.5, 325.4, 301.0, 500.0),
    ],
};

/// Coarse particles in µg/m³.
pub(super) static PM10: Breakpoints = Breakpoints {
    parts: 1.0,
    steps: &[
        (0.0, 54.0, 0.0, 50.0),
        (55.0, 154.0, 51.0, 100.0),
        (155.0, 254.0, 101.0, 150.0),
        (255.0, 354.0, 151.0, 200.0),
        (355.0, 424.0, 201.0, 300.0),
        (425.0, 604.0, 301.0, 500.0),
    ],
};

/// The index of a concentration. Negative concentrations (a sensor near zero) count as none.
pub(super) fn aqi(breakpoints: &Breakpoints, concentration: f64) -> f64 {
    // A hair is added before cutting: 35.5 must not become 35.4 because it cannot be written in binary.
    let cut = (concentration.max(0.0) * breakpoints.parts + 1e-6).floor() / breakpoints.parts;
    let step = breakpoints
        .steps
        .iter()
        .find(|(_, to, _, _)| cut <= *to)
        .or(breakpoints.steps.last());
    let Some(&(from, to, index_from, index_to)) = step else {
        return f64::NAN;
    };
    ((index_to - index_from) / (to - from) * (cut - from) + index_from).round()
}

/// Mean concentrations of the last hours, by the hours of the clock in UTC.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Hours {
    /// The hour now running, since 1970.
    hour: i64,
    /// Sum and number of readings: of the running hour first, then of the one before it, and so on.
    sums: [(f64, u32); NOWCAST_HOURS + 1],
}

impl Hours {
    /// Takes in a reading into the hour it was measured in; what is older than the hours kept is passed over.
    pub(super) fn push(&mut self, at_ms: i64, value: f64) {
        let hour = at_ms.div_euclid(HOUR_MS);
        if hour > self.hour {
            let passed = usize::try_from(hour - self.hour).unwrap_or(usize::MAX);
            let kept = self.sums.len();
            self.sums.rotate_right(passed % kept);
            for sum in self.sums.iter_mut().take(passed) {
                *sum = (0.0, 0);
            }
            self.hour = hour;
        }
        let ago = usize::try_from(self.hour - hour).unwrap_or(usize::MAX);
        if let Some((sum, count)) = self.sums.get_mut(ago) {
            *sum += value;
            *count = count.saturating_add(1);
        }
    }

    /// The NowCast concentration from the last twelve whole hours; `None` where two of the last three have no reading.
    pub(super) fn nowcast(&self) -> Option<f64> {
        let means: Vec<Option<f64>> = self.sums[1..]
            .iter()
            .map(|(sum, count)| (*count > 0).then(|| sum / f64::from(*count)))
            .collect();
        if means.iter().take(3).flatten().count() < 2 {
            return None;
        }
        let known = || means.iter().flatten().copied();
        let greatest = known().fold(f64::NEG_INFINITY, f64::max);
        let least = known().fold(f64::INFINITY, f64::min);
        let weight = if greatest > 0.0 {
            (least / greatest).clamp(0.5, 1.0)
        } else {
            1.0
        };
        let (mut total, mut weights, mut power) = (0.0, 0.0, 1.0);
        for mean in &means {
            if let Some(mean) = mean {
                total += power * mean;
                weights += power;
            }
            power *= weight;
        }
        Some(total / weights)
    }
}

/// The heat index in °C from air temperature in °C and relative humidity in percent: the regression of Rothfusz (US
/// National Weather Service, SR 90-23) with its two adjustments, and Steadman's simple form below 80 °F.
pub(super) fn heat_index(celsius: f64, humidity: f64) -> f64 {
    let t = celsius * 1.8 + 32.0;
    let rh = humidity.clamp(0.0, 100.0);
    let simple = 0.5 * (t + 61.0 + (t - 68.0) * 1.2 + rh * 0.094);
    let mean = (simple + t) / 2.0;
    let fahrenheit = if mean < 80.0 {
        mean
    } else {
        let regression = -42.379 + 2.049_015_23 * t + 10.143_331_27 * rh
            - 0.224_755_41 * t * rh
            - 0.006_837_83 * t * t
            - 0.054_817_17 * rh * rh
            + 0.001_228_74 * t * t * rh
            + 0.000_852_82 * t * rh * rh
            - 0.000_001_99 * t * t * rh * rh;
        let adjustment = if rh < 13.0 && (80.0..=112.0).contains(&t) {
            -((13.0 - rh) / 4.0) * ((17.0 - (t - 95.0).abs()) / 17.0).sqrt()
        } else if rh > 85.0 && (80.0..=87.0).contains(&t) {
            ((rh - 85.0) / 10.0) * ((87.0 - t) / 5.0)
        } else {
            0.0
        };
        regression + adjustment
    };
    (fahrenheit - 32.0) / 1.8
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_index_meets_its_table_at_every_breakpoint() {
        for (breakpoints, name) in [(&PM25, "PM2.5"), (&PM10, "PM10")] {
            for (from, to, index_from, index_to) in breakpoints.steps {
                assert_eq!(aqi(breakpoints, *from), *index_from, "{name} {from}");
                assert_eq!(aqi(breakpoints, *to), *index_to, "{name} {to}");
            }
        }
        // Cut, not rounded: 9.09 is still good air.
        assert_eq!(aqi(&PM25, 9.09), 50.0);
        assert_eq!(aqi(&PM25, -1.0), 0.0);
        assert!(aqi(&PM25, 400.0) > 500.0);
    }

    #[test]
    fn the_newest_hours_weigh_more_when_the_air_changes() {
        let mut hours = Hours::default();
        // Calm air is its mean; the running hour does not count yet.
        for hour in 0..12 {
            hours.push(hour * HOUR_MS, 20.0);
        }
        hours.push(12 * HOUR_MS, 500.0);
        assert_eq!(hours.nowcast(), Some(20.0));
        // Smoke: the weight is one half, so that the newest hour counts for half of all.
        hours.push(13 * HOUR_MS, 500.0);
        let smoke = hours.nowcast().unwrap();
        let expected = (500.0 + 20.0 * (1.0 - 0.5_f64.powi(11))) / (2.0 - 0.5_f64.powi(11));
        assert!((smoke - expected).abs() < 1e-9, "{smoke} {expected}");
    }

    #[test]
    fn two_of_the_last_three_hours_are_needed_and_late_readings_fill_them() {
        let mut hours = Hours::default();
        hours.push(10 * HOUR_MS, 30.0);
        hours.push(13 * HOUR_MS, 30.0);
        assert_eq!(hours.nowcast(), None);
        hours.push(12 * HOUR_MS, 30.0);
        assert_eq!(hours.nowcast(), Some(30.0));
        hours.push(40 * HOUR_MS, 5.0);
        assert_eq!(hours.nowcast(), None);
        hours.push(0, 99.0);
        assert_eq!(hours.sums[0], (5.0, 1));
    }

    #[test]
    fn the_heat_index_is_that_of_the_published_table() {
        // °F and %, from the chart of the National Weather Service.
        for (fahrenheit, humidity, expected) in [
            (80.0, 40.0, 80.0),
            (90.0, 50.0, 95.0),
            (90.0, 70.0, 105.0),
            (100.0, 40.0, 109.0),
            (86.0, 90.0, 105.0),
            (96.0, 60.0, 116.0),
        ] {
            let celsius = (fahrenheit - 32.0) / 1.8;
            let index = heat_index(celsius, humidity) * 1.8 + 32.0;
            assert!(
                (index - expected).abs() < 1.0,
                "{fahrenheit} °F {humidity} %: {index}"
            );
        }
        assert!((heat_index(20.0, 50.0) - 19.4).abs() < 1.0);
    }
}
