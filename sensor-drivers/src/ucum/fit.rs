//! Whether what somebody wants in one unit can be had of values that are in another.

use super::{Conversion, ucum_code};

/// How values that say one unit become values of the unit that is wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum UnitFit {
    /// They are that already, or nobody said otherwise: of two sides one named no unit.
    AsItIs,
    /// By an exact conversion.
    Converted(Conversion),
    /// Not at all: they measure something else, or one of the units is not in the table.
    Foreign,
}

impl UnitFit {
    /// How values in the unit `said` (empty for none) become values in the unit `wanted`.
    pub fn of(said: &str, wanted: Option<&str>) -> Self {
        let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) else {
            return UnitFit::AsItIs;
        };
        let code = |unit| ucum_code(unit).unwrap_or(unit);
        if said.is_empty() || code(said) == code(wanted) {
            return UnitFit::AsItIs;
        }
        Conversion::between(said, wanted).map_or(UnitFit::Foreign, UnitFit::Converted)
    }

    /// A value in the unit that is wanted; `None` where it cannot be had, or is beyond a double.
    pub fn apply(&self, value: f64) -> Option<f64> {
        match self {
            UnitFit::AsItIs => Some(value),
            UnitFit::Converted(conversion) => {
                Some(conversion.apply(value)).filter(|value| value.is_finite())
            }
            UnitFit::Foreign => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_had_in_the_unit_that_is_wanted() {
        let had = |said, wanted| UnitFit::of(said, wanted).apply(300.0);
        assert_eq!(had("cm", Some("m")), Some(3.0));
        assert_eq!(had("m", Some("m")), Some(300.0));
        assert_eq!(had("°C", Some("Cel")), Some(300.0), "spelled otherwise");
        assert_eq!(had("dB[mW]", Some("dBm")), Some(300.0), "spelled otherwise");
        assert_eq!(had("dBm", Some("dB[mW]")), Some(300.0), "spelled otherwise");
        assert_eq!(had("dBm", Some("dB[W]")), Some(270.0));
        assert_eq!(had("furlong", Some("furlong")), Some(300.0));
        assert_eq!(had("cm", None), Some(300.0));
        assert_eq!(had("cm", Some("")), Some(300.0));
        assert_eq!(had("", Some("m")), Some(300.0), "nobody said otherwise");
        assert_eq!(had("Cel", Some("m")), None);
        assert_eq!(had("furlong", Some("m")), None);
    }
}
