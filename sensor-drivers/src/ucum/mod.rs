//! Units in UCUM (the Unified Code for Units of Measure, ucum.org) and exact conversions between those that measure the
//! same.
//!
//! A table of the units that sensors of our formats use, instead of a library: the two crates that implement UCUM are at
//! 0.1.0 with one author each, and compute with floating factors, so that 98.6 °F would not be 37 °C.
//!
//! Invariants: a factor is a fraction of integers, so that a conversion rounds at most twice; what is not in the table is
//! never guessed, it stays what the sensor says.

mod alias;
mod fit;
mod table;

pub use alias::{one_spelling, ucum_code, ucum_code_of_senml};
pub use fit::UnitFit;

use table::{Fraction, UNITS, Unit};

use crate::UnitString;

/// How to get from one unit to another: `(value × numerator + constant) ÷ denominator`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conversion {
    numerator: f64,
    constant: f64,
    denominator: f64,
    to: &'static str,
}

/// Why there is no conversion.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoConversion {
    #[error("the unit {unit:?} is not known: give a UCUM code such as Cel, [degF], m/s, hPa")]
    UnknownUnit { unit: String },
    #[error("{from} and {to} do not measure the same")]
    Incommensurable { from: String, to: String },
}

impl Conversion {
    /// Between two units by their UCUM codes, or by one of the usual spellings (`°C`, `km/h`).
    ///
    /// # Errors
    /// One is not in the table, or they measure different things.
    pub fn between(from: &str, to: &str) -> Result<Self, NoConversion> {
        let (from, to) = (find(from)?, find(to)?);
        if from.measures != to.measures {
            return Err(NoConversion::Incommensurable {
                from: from.code.to_owned(),
                to: to.code.to_owned(),
            });
        }
        // base = value × from.scale + from.offset, and the same for `to`, hence
        // result = value × (from.scale ÷ to.scale) + (from.offset − to.offset) ÷ to.scale.
        let scale = from.scale.divided_by(to.scale);
        let offset = from.offset.minus(to.offset).divided_by(to.scale);
        let (numerator, constant, denominator) = Fraction::on_one_denominator(scale, offset);
        Ok(Self {
            numerator,
            constant,
            denominator,
            to: to.code,
        })
    }

    /// Converts a value; may be infinite where the result is beyond a double.
    pub fn apply(&self, value: f64) -> f64 {
        let result = value.mul_add(self.numerator, self.constant) / self.denominator;
        if result.is_finite() {
            return result;
        }
        // The product alone may be too large.
        value * (self.numerator / self.denominator) + self.constant / self.denominator
    }

    /// The UCUM code of what comes out.
    pub fn unit(&self) -> Option<UnitString> {
        unit(self.to)
    }
}

/// A code of the table as a unit.
pub(crate) fn unit(code: &str) -> Option<UnitString> {
    UnitString::parse(code).ok().flatten()
}

/// What a sensor calls its unit, as UCUM where we know it, else as it is.
///
/// # Errors
/// As [`UnitString::parse`].
pub(crate) fn unit_as_said(said: &str) -> Result<Option<UnitString>, crate::DecodeError> {
    UnitString::parse(ucum_code(said).unwrap_or(said))
}

fn find(code: &str) -> Result<&'static Unit, NoConversion> {
    let known = ucum_code(code).and_then(|code| UNITS.iter().find(|unit| unit.code == code));
    known.ok_or_else(|| NoConversion::UnknownUnit {
        unit: code.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn convert(value: f64, from: &str, to: &str) -> f64 {
        Conversion::between(from, to).unwrap().apply(value)
    }

    /// Each result is the double nearest to the true one.
    #[test]
    fn conversions_are_exact() {
        for (value, from, to, expected) in [
            (98.6, "[degF]", "Cel", 37.0),
            (-40.0, "[degF]", "Cel", -40.0),
            (32.0, "[degF]", "Cel", 0.0),
            (100.0, "Cel", "[degF]", 212.0),
            (0.0, "Cel", "K", 273.15),
            (1234.5, "mm", "m", 1.2345),
            (1013.25, "hPa", "Pa", 101_325.0),
            (1.0, "atm", "hPa", 1013.25),
            (10.0, "[kn_i]", "m/s", 10.0 * 1852.0 / 3600.0),
            (36.0, "km/h", "m/s", 10.0),
            (1.0, "[in_i]", "mm", 25.4),
            (12.0, "mm/h", "m/h", 0.012),
            (1.0, "kW.h", "J", 3_600_000.0),
            (29.92, "[in_i'Hg]", "hPa", 1_013.204_536_96),
            (760.0, "mm[Hg]", "hPa", 1013.2472),
            (1.0, "[psi]", "Pa", 6_894.757_293_168_362),
            (100.0, "uS/cm", "mS/m", 10.0),
            (412.0, "[ppm]", "%", 0.0412),
            (1.0, "[g]", "m/s2", 9.80665),
            (0.1, "uSv/h", "nSv/h", 100.0),
            (4.0, "pCi/L", "Bq/m3", 148.0),
            (60.0, "/min", "Hz", 1.0),
            (-90.0, "dBm", "dB[W]", -120.0),
            (-90.0, "dB[mW]", "dBm", -90.0),
            (1.0, "[gal_us]", "L", 3.785_411_784),
        ] {
            assert_eq!(convert(value, from, to), expected, "{value} {from} in {to}");
        }
    }

    #[test]
    fn what_does_not_measure_the_same_is_refused() {
        assert_eq!(
            Conversion::between("Cel", "m"),
            Err(NoConversion::Incommensurable {
                from: "Cel".into(),
                to: "m".into()
            })
        );
        assert_eq!(
            Conversion::between("furlong", "m"),
            Err(NoConversion::UnknownUnit {
                unit: "furlong".into()
            })
        );
    }

    #[test]
    fn a_result_beyond_a_double_is_infinite_and_no_other() {
        assert!(convert(1e308, "km", "mm").is_infinite());
        assert!(convert(1e308, "[kn_i]", "m/s").is_finite());
        assert!(convert(f64::NAN, "m", "mm").is_nan());
    }

    #[test]
    fn every_unit_of_the_table_is_its_own_code_once_and_fits() {
        for (at, unit) in UNITS.iter().enumerate() {
            assert_eq!(ucum_code(unit.code), Some(unit.code));
            assert!(
                UNITS[..at].iter().all(|other| other.code != unit.code),
                "{} twice",
                unit.code
            );
            assert!(super::unit(unit.code).is_some(), "{}", unit.code);
        }
    }

    proptest! {
        #[test]
        fn there_and_back_is_the_same_value(value in -1e9..1e9_f64, from in 0..UNITS.len(), to in 0..UNITS.len()) {
            let (from, to) = (UNITS[from].code, UNITS[to].code);
            if let (Ok(there), Ok(back)) = (Conversion::between(from, to), Conversion::between(to, from)) {
                let again = back.apply(there.apply(value));
                // A temperature near 0 °F loses digits against 459.67.
                prop_assert!((again - value).abs() <= 1e-9_f64.max(value.abs() * 1e-14), "{value} {from} {to} {again}");
            }
        }
    }
}
