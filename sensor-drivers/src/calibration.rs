//! Calibration of a channel: what a raw value means in truth.
//!
//! Raw values are what is stored; a calibration is applied when they are read, so that a corrected one can be applied to
//! everything again. Each has an id, which goes wherever a calibrated value goes.
//!
//! Invariants: a calibration that was accepted gives a finite value for every finite raw one, or says that it cannot; of
//! several, the one that was valid at the value's time counts, not the newest; which one that is follows from the
//! calibrations alone, in whatever order they came.

use serde::{Deserialize, Serialize};

use crate::ucum::UnitFit;

/// Points of one curve: a laboratory certificate has 5 to 20, a rating curve of a river gauge some 40.
pub const POINTS_MAX: usize = 64;

/// What a raw value is made into.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Curve {
    /// `raw × scale + offset`.
    Linear { scale: f64, offset: f64 },
    /// Straight lines between (raw, true) points; beyond the first and last the outer lines go on.
    Points(Vec<(f64, f64)>),
}

impl Curve {
    /// The same curve, written in the unit `unit` of its raw values and of what it makes of them, for a channel whose
    /// values are in `said`. `None` where one does not convert into the other. Conversions are straight lines, so that a
    /// curve of straight lines stays one.
    pub fn for_values_in(&self, said: &str, unit: Option<&str>) -> Option<Curve> {
        let to_unit = UnitFit::of(said, unit);
        let back = match to_unit {
            UnitFit::AsItIs => return Some(self.clone()),
            UnitFit::Foreign => return None,
            UnitFit::Converted(_) => UnitFit::of(unit?, Some(said)),
        };
        match self {
            Curve::Linear { scale, offset } => {
                let of_zero = to_unit.apply(0.0)?.mul_add(*scale, *offset);
                Some(Curve::Linear {
                    scale: *scale,
                    offset: back.apply(of_zero)?,
                })
            }
            Curve::Points(points) => {
                let point =
                    |(raw, value): &(f64, f64)| Some((back.apply(*raw)?, back.apply(*value)?));
                points
                    .iter()
                    .map(point)
                    .collect::<Option<_>>()
                    .map(Curve::Points)
            }
        }
    }
}

/// Names a calibration: the id of the document that says it.
pub type CalibrationId = [u8; 16];

/// What counts for a channel from a time on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    pub id: CalibrationId,
    /// Values from this time on, ms since 1970; `i64::MIN` for all.
    pub valid_from_ms: i64,
    pub curve: Curve,
}

/// A value with what made it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Calibrated {
    /// Finite.
    pub value: f64,
    pub id: CalibrationId,
    /// The raw value lies beyond the points that were measured.
    pub extrapolated: bool,
}

/// What is wrong with a calibration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CalibrationError {
    #[error("every number of a calibration must be finite")]
    NotFinite,
    #[error("a scale of 0 would make every value the same")]
    ScaleZero,
    #[error("a curve needs 2 to {POINTS_MAX} points")]
    PointCount,
    #[error("the raw values of the points must rise from each to the next")]
    NotRising,
}

impl Calibration {
    /// Checks a calibration before it is kept.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), CalibrationError> {
        match &self.curve {
            Curve::Linear { scale, offset } => {
                if !scale.is_finite() || !offset.is_finite() {
                    return Err(CalibrationError::NotFinite);
                }
                if *scale == 0.0 {
                    return Err(CalibrationError::ScaleZero);
                }
            }
            Curve::Points(points) => {
                if !(2..=POINTS_MAX).contains(&points.len()) {
                    return Err(CalibrationError::PointCount);
                }
                if points.iter().any(|(r, t)| !r.is_finite() || !t.is_finite()) {
                    return Err(CalibrationError::NotFinite);
                }
                if points.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
                    return Err(CalibrationError::NotRising);
                }
            }
        }
        Ok(())
    }

    /// Whether all raw values from `low` to `high` lie on one straight line: what is true of their least, greatest and
    /// mean is then true of what is made of them.
    pub fn is_straight(&self, low: f64, high: f64) -> bool {
        match &self.curve {
            Curve::Linear { .. } => true,
            Curve::Points(points) => line_at(points, low) == line_at(points, high),
        }
    }

    /// The true value of a raw one; `None` where the result is beyond a double, or the calibration was never checked.
    pub fn apply(&self, raw: f64) -> Option<Calibrated> {
        let (value, extrapolated) = match &self.curve {
            Curve::Linear { scale, offset } => (raw.mul_add(*scale, *offset), false),
            Curve::Points(points) => on_lines(points, raw)?,
        };
        value.is_finite().then_some(Calibrated {
            value: value + 0.0,
            id: self.id,
            extrapolated,
        })
    }
}

/// The line that a raw value lies on, or the outer one that it lies beyond: the place of its upper point.
fn line_at(points: &[(f64, f64)], raw: f64) -> usize {
    let after = points.partition_point(|(known, _)| *known <= raw);
    after.clamp(1, points.len().saturating_sub(1).max(1))
}

fn on_lines(points: &[(f64, f64)], raw: f64) -> Option<(f64, bool)> {
    let (first, last) = (points.first()?, points.last()?);
    if points.len() < 2 {
        return None;
    }
    let upper = line_at(points, raw);
    let (&(r0, t0), &(r1, t1)) = (points.get(upper - 1)?, points.get(upper)?);
    let share = (raw - r0) / (r1 - r0);
    // Exact at both ends.
    let value = if share == 1.0 {
        t1
    } else {
        t0 + share * (t1 - t0)
    };
    Some((value, raw < first.0 || raw > last.0))
}

/// All calibrations of a channel.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Calibrations {
    /// By the time from which they count; no two from the same.
    in_use: Vec<Calibration>,
}

impl Calibrations {
    /// From what was kept, in any order. Of two that count from the same time the one with the greater id does: that is
    /// the one that was written later, where the ids say so. What fails its check counts for nothing.
    pub fn new(mut all: Vec<Calibration>) -> Self {
        all.retain(|calibration| calibration.check().is_ok());
        all.sort_by_key(|calibration| (calibration.valid_from_ms, calibration.id));
        // The later of two stays.
        all.reverse();
        all.dedup_by_key(|calibration| calibration.valid_from_ms);
        all.reverse();
        Self { in_use: all }
    }

    /// Whether none counts.
    pub fn is_empty(&self) -> bool {
        self.in_use.is_empty()
    }

    /// Those that count for some time, by the time from which they do.
    pub fn in_use(&self) -> &[Calibration] {
        &self.in_use
    }

    /// The one that counts for a value of this time; `None` before the first.
    pub fn at(&self, time_ms: i64) -> Option<&Calibration> {
        let after = self
            .in_use
            .partition_point(|calibration| calibration.valid_from_ms <= time_ms);
        after.checked_sub(1).and_then(|at| self.in_use.get(at))
    }

    /// The true value of a raw one; `None` where no calibration was valid or the result is beyond a double: the raw
    /// value is shown then, and said to be raw.
    pub fn apply(&self, raw: f64, time_ms: i64) -> Option<Calibrated> {
        self.at(time_ms)?.apply(raw)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_curve_in_one_unit_counts_for_values_in_another_that_measures_the_same() {
        let line = Curve::Linear {
            scale: 1.1,
            offset: -5.0,
        };
        let made = |curve: &Curve, raw: f64| {
            let calibration = Calibration {
                id: [1; 16],
                valid_from_ms: 0,
                curve: curve.clone(),
            };
            calibration.apply(raw).unwrap().value
        };
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        let metres = line.for_values_in("m", Some("cm")).unwrap();
        assert!(close(made(&metres, 3.0), 3.25), "325 cm");
        let bent = Curve::Points(vec![(0.0, 0.0), (100.0, 200.0), (200.0, 210.0)]);
        let metres = bent.for_values_in("m", Some("cm")).unwrap();
        assert!(close(made(&metres, 0.5), 1.0) && close(made(&metres, 1.5), 2.05));
        // A scale has its zero: 0 °C is not 0 °F.
        let kelvin = Curve::Linear {
            scale: 2.0,
            offset: 1.0,
        };
        let celsius = kelvin.for_values_in("Cel", Some("K")).unwrap();
        assert!(close(made(&celsius, 0.0), 273.15 + 1.0));
        assert_eq!(line.for_values_in("Pa", Some("cm")), None);
        assert_eq!(line.for_values_in("m", None), Some(line.clone()));
        assert_eq!(line.for_values_in("", Some("cm")), Some(line.clone()));
    }

    fn linear(id: u8, valid_from_ms: i64, scale: f64, offset: f64) -> Calibration {
        Calibration {
            id: [id; 16],
            valid_from_ms,
            curve: Curve::Linear { scale, offset },
        }
    }

    fn points(points: &[(f64, f64)]) -> Calibration {
        Calibration {
            id: [1; 16],
            valid_from_ms: 0,
            curve: Curve::Points(points.to_vec()),
        }
    }

    #[test]
    fn a_line_scales_and_shifts() {
        let calibrated = linear(3, 0, 2.0, -1.0).apply(10.0).unwrap();
        assert_eq!((calibrated.value, calibrated.id), (19.0, [3; 16]));
        assert_eq!(linear(1, 0, 1e300, 0.0).apply(1e300), None);
        assert_eq!(linear(1, 0, 2.0, 0.0).apply(f64::NAN), None);
    }

    #[test]
    fn between_points_it_is_straight_and_beyond_them_it_says_so() {
        let curve = points(&[(0.0, 1.0), (10.0, 21.0), (20.0, 22.0)]);
        for (raw, value, extrapolated) in [
            (0.0, 1.0, false),
            (5.0, 11.0, false),
            (10.0, 21.0, false),
            (15.0, 21.5, false),
            (20.0, 22.0, false),
            (-5.0, -9.0, true),
            (30.0, 23.0, true),
        ] {
            let calibrated = curve.apply(raw).unwrap();
            assert_eq!(
                (calibrated.value, calibrated.extrapolated),
                (value, extrapolated),
                "{raw}"
            );
        }
    }

    #[test]
    fn a_range_on_one_line_is_straight() {
        let curve = points(&[(0.0, 1.0), (10.0, 21.0), (20.0, 22.0)]);
        assert!(curve.is_straight(-5.0, 9.0) && curve.is_straight(10.0, 50.0));
        assert!(!curve.is_straight(9.0, 11.0));
        assert!(linear(1, 0, -2.0, 0.0).is_straight(-1e9, 1e9));
    }

    #[test]
    fn a_calibration_that_makes_no_sense_is_refused() {
        for (calibration, error) in [
            (linear(1, 0, 0.0, 1.0), CalibrationError::ScaleZero),
            (linear(1, 0, f64::NAN, 1.0), CalibrationError::NotFinite),
            (points(&[(1.0, 1.0)]), CalibrationError::PointCount),
            (points(&[(1.0, 1.0); 65]), CalibrationError::PointCount),
            (
                points(&[(1.0, 1.0), (1.0, 2.0)]),
                CalibrationError::NotRising,
            ),
            (
                points(&[(1.0, 1.0), (2.0, f64::INFINITY)]),
                CalibrationError::NotFinite,
            ),
        ] {
            assert_eq!(calibration.check(), Err(error));
        }
        // An unchecked curve without points gives nothing, and no panic.
        assert_eq!(points(&[]).apply(1.0), None);
        assert_eq!(points(&[(1.0, 1.0)]).apply(1.0), None);
    }

    #[test]
    fn the_calibration_that_was_valid_at_the_time_counts() {
        let all = Calibrations::new(vec![linear(2, 1000, 2.0, 0.0), linear(1, 0, 1.0, 0.5)]);
        assert_eq!(all.apply(10.0, -1), None);
        assert_eq!(all.apply(10.0, 0).unwrap().value, 10.5);
        assert_eq!(all.apply(10.0, 999).unwrap().id, [1; 16]);
        assert_eq!(all.apply(10.0, 1000).unwrap().value, 20.0);
    }

    #[test]
    fn of_two_from_one_time_the_same_counts_on_every_node() {
        let (a, b) = (linear(1, 5, 2.0, 0.0), linear(2, 5, 3.0, 0.0));
        let wrong = linear(9, 5, 0.0, 0.0);
        for order in [
            vec![a.clone(), b.clone(), wrong.clone()],
            vec![wrong, b.clone(), a],
        ] {
            assert_eq!(Calibrations::new(order).in_use(), std::slice::from_ref(&b));
        }
    }

    proptest! {
        #[test]
        fn rising_points_keep_the_order_of_raw_values(
            steps in proptest::collection::vec((0.001..100.0_f64, 0.0..100.0_f64), 2..20),
            a in -1000.0..3000.0_f64,
            b in -1000.0..3000.0_f64,
        ) {
            let mut at = (0.0, 0.0);
            let curve: Vec<_> = steps.iter().map(|(r, t)| { at = (at.0 + r, at.1 + t); at }).collect();
            let curve = points(&curve);
            prop_assert_eq!(curve.check(), Ok(()));
            let (low, high) = (a.min(b), a.max(b));
            let (low, high) = (curve.apply(low).unwrap().value, curve.apply(high).unwrap().value);
            prop_assert!(low <= high + 1e-9 * high.abs().max(1.0));
        }

        #[test]
        fn nothing_makes_it_panic_or_give_what_is_not_finite(
            raw in any::<f64>(),
            curve in proptest::collection::vec((any::<f64>(), any::<f64>()), 0..6),
        ) {
            if let Some(calibrated) = points(&curve).apply(raw) {
                prop_assert!(calibrated.value.is_finite());
            }
        }
    }
}
