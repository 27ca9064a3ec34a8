//! Formulas over the inputs of a virtual sensor.
//!
//! `exmex` parses and evaluates; the functions are ours, so that a formula means the same whatever the library offers.
//! A formula is a pure function of its inputs without loops: its cost grows with its length, which is bounded.

use exmex::{BinOp, Express, FlatEx, MakeOperators, Operator};

use super::weather;

/// Longer ones nobody can check by reading.
pub(crate) const FORMULA_BYTES_MAX: usize = 500;
/// The parser goes one call deeper for each.
const NESTING_MAX: usize = 32;

/// A function of one value, and its name.
type Unary = (&'static str, fn(f64) -> f64);

/// Arithmetic and what a field uses; prio as in arithmetic.
#[derive(Debug, Clone, PartialEq)]
struct Functions;

impl MakeOperators<f64> for Functions {
    fn make<'a>() -> Vec<Operator<'a, f64>> {
        let binary =
            |repr: &'a str, prio: i64, is_commutative: bool, apply: fn(f64, f64) -> f64| {
                Operator::make_bin(
                    repr,
                    BinOp {
                        apply,
                        prio,
                        is_commutative,
                    },
                )
            };
        let mut operators = vec![
            Operator::make_bin_unary(
                "-",
                BinOp {
                    apply: |a: f64, b: f64| a - b,
                    prio: 1,
                    is_commutative: false,
                },
                |a: f64| -a,
            ),
            binary("+", 1, true, |a, b| a + b),
            binary("*", 2, true, |a, b| a * b),
            binary("/", 3, false, |a, b| a / b),
            binary("^", 4, false, f64::powf),
            binary("min", 0, true, f64::min),
            binary("max", 0, true, f64::max),
            binary("heat_index", 0, false, weather::heat_index),
        ];
        let unary: [Unary; 7] = [
            ("abs", f64::abs),
            ("sqrt", f64::sqrt),
            ("exp", f64::exp),
            ("ln", f64::ln),
            ("log10", f64::log10),
            ("aqi_pm25", |c| weather::aqi(&weather::PM25, c)),
            ("aqi_pm10", |c| weather::aqi(&weather::PM10, c)),
        ];
        operators.extend(unary.map(|(repr, apply)| Operator::make_unary(repr, apply)));
        operators
    }
}

/// A formula with the inputs it reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Formula {
    parsed: FlatEx<f64, Functions>,
    /// For each variable in the parser's order: which input it is.
    inputs: Vec<usize>,
}

impl Formula {
    /// Reads a formula over inputs of those names.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn parse(text: &str, names: &[&str]) -> Result<Formula, String> {
        if text.len() > FORMULA_BYTES_MAX {
            return Err(format!("may hold {FORMULA_BYTES_MAX} bytes"));
        }
        let known = |c: char| c.is_ascii_alphanumeric() || " _.,+-*/^()".contains(c);
        if let Some(strange) = text.chars().find(|c| !known(*c)) {
            return Err(format!(
                "may hold names, numbers, + - * / ^ ( ) and commas, not {strange:?}"
            ));
        }
        let mut depth = 0_usize;
        for c in text.chars() {
            match c {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth > NESTING_MAX {
                return Err(format!("may nest {NESTING_MAX} parentheses"));
            }
        }
        let parsed = FlatEx::<f64, Functions>::parse(text)
            .map_err(|error| format!("cannot be read: {}", error.msg()))?;
        let inputs = parsed
            .var_names()
            .iter()
            .map(|variable| {
                names
                    .iter()
                    .position(|name| name == variable)
                    .ok_or_else(|| {
                        format!("{variable} is neither an input nor a function: {FUNCTIONS}")
                    })
            })
            .collect::<Result<Vec<usize>, String>>()?;
        if let Some(unused) = (0..names.len()).find(|input| !inputs.contains(input)) {
            return Err(format!("does not use the input {}", names[unused]));
        }
        Ok(Formula { parsed, inputs })
    }

    /// The value for these inputs, in the order of the names; `None` where it is no number (a division by zero).
    pub fn value(&self, inputs: &[f64]) -> Option<f64> {
        let variables: Vec<f64> = self
            .inputs
            .iter()
            .map(|input| inputs.get(*input).copied().unwrap_or(f64::NAN))
            .collect();
        self.parsed
            .eval(&variables)
            .ok()
            .filter(|value| value.is_finite())
    }
}

const FUNCTIONS: &str = "min(a, b), max(a, b), abs, sqrt, exp, ln, log10, heat_index(celsius, percent), aqi_pm25, aqi_pm10";

/// Whether an input may be called that: a name that is no function.
pub(super) fn name_fault(name: &str) -> Option<&'static str> {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !plain || !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Some("must be letters, digits and _, beginning with a letter");
    }
    Functions::make()
        .iter()
        .any(|function| function.repr() == name)
        .then_some("is the name of a function")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn value(text: &str, inputs: &[(&str, f64)]) -> Option<f64> {
        let names: Vec<&str> = inputs.iter().map(|(name, _)| *name).collect();
        let values: Vec<f64> = inputs.iter().map(|(_, value)| *value).collect();
        Formula::parse(text, &names).unwrap().value(&values)
    }

    #[test]
    fn arithmetic_is_as_people_write_it_with_signs_as_in_a_spreadsheet() {
        for (text, expected) in [
            ("1 + 2 * x", 7.0),
            ("(1 + 2) * x", 9.0),
            ("-x ^ 2 + 12 / 2 / 3", 11.0),
            ("10 - x - 2", 5.0),
            ("max(x, 1 + 3) * 2", 8.0),
            ("min(max(x, 5), 4)", 4.0),
            ("abs(-x) + sqrt(x + 1)", 5.0),
            ("2 * aqi_pm25(9.0 * x / 3)", 100.0),
        ] {
            assert_eq!(value(text, &[("x", 3.0)]), Some(expected), "{text}");
        }
        assert_eq!(value("a - b", &[("b", 1.0), ("a", 5.0)]), Some(4.0));
        assert_eq!(value("1 / x", &[("x", 0.0)]), None);
        assert_eq!(value("ln(x)", &[("x", -1.0)]), None);
    }

    #[test]
    fn a_formula_that_cannot_be_read_says_why() {
        for (text, part) in [
            ("x +", "cannot be read"),
            ("x + y", "y is neither an input nor a function"),
            ("1 + 1", "does not use the input x"),
            ("{x}", "not '{'"),
            ("x; 1", "not ';'"),
            ("", "cannot be read"),
        ] {
            let error = Formula::parse(text, &["x"]).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        let deep = format!("{}x{}", "(".repeat(40), ")".repeat(40));
        assert!(Formula::parse(&deep, &["x"]).unwrap_err().contains("nest"));
        assert!(Formula::parse(&"x+".repeat(300), &["x"]).is_err());
        assert!(name_fault("max").is_some() && name_fault("2x").is_some());
        assert!(name_fault("level_2").is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        /// Whatever a person types, reading it ends, and so does evaluating it.
        #[test]
        fn no_text_makes_it_panic(text in "[xy0-9.,+*/^() a-z_-]{0,60}") {
            if let Ok(formula) = Formula::parse(&text, &["x"]) {
                formula.value(&[1.5]);
            }
        }
    }
}
