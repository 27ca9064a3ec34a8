//! From the fields of a rule document to a [`Rule`], and what does not fit about them.
//!
//! Invariant: what [`check`] lets a person write is what can be evaluated. A merge of two people's edits can still bring
//! fields together that nobody wrote; such a rule is reported, instead of evaluating something that nobody meant.

mod expression;

use serde_json::{Map, Value};

pub(crate) use self::expression::INPUTS_MAX;
use self::expression::expression;
use super::limits::{Level, Limits, SeverityStep};
use super::measure::Measure;
use super::silence::Silence;
use super::{Pattern, Rule, RuleFault};
use crate::RecordId;
use crate::schema::FieldError;

/// How soon after it cleared an alarm goes on in the same incident where nothing is said: a value that flaps around its
/// levels for minutes is one thing for people to look at.
pub(crate) const REOPEN_S: i64 = 600;

/// Which fields a kind has beside those that all have.
struct KindFields {
    kind: &'static str,
    needed: &'static [&'static str],
    optional: &'static [&'static str],
    levels: bool,
}

static KINDS: &[KindFields] = &[
    KindFields {
        kind: "threshold",
        needed: &[],
        optional: &[],
        levels: true,
    },
    KindFields {
        kind: "rate",
        needed: &["window_s"],
        optional: &[],
        levels: true,
    },
    KindFields {
        kind: "no_data",
        needed: &["after_s"],
        optional: &[],
        levels: false,
    },
    KindFields {
        kind: "deviation",
        needed: &["window_s", "spread_min"],
        optional: &["either_way"],
        levels: true,
    },
    KindFields {
        kind: "sta_lta",
        needed: &["sta_s", "lta_s"],
        optional: &[],
        levels: true,
    },
    KindFields {
        kind: "expression",
        needed: &["expression"],
        optional: &[],
        levels: true,
    },
];

/// Every field that only some kinds have.
const SPECIAL: [&str; 7] = [
    "window_s",
    "after_s",
    "spread_min",
    "either_way",
    "sta_s",
    "lta_s",
    "expression",
];

/// What does not fit about the fields of a rule, as they would be after an edit; types have been checked before.
pub(crate) fn check(fields: &Map<String, Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let kind = text(fields, "kind").unwrap_or("threshold");
    if KINDS.iter().any(|known| known.kind == kind) {
        read(fields, kind, &mut errors);
    }
    errors
}

impl Rule {
    /// From the fields of a rule document's view.
    ///
    /// # Errors
    /// What a person has to look at; the document stays as it is.
    pub fn from_fields(id: RecordId, fields: &Map<String, Value>) -> Result<Self, RuleFault> {
        let kind = text(fields, "kind").ok_or(RuleFault::Field("kind"))?;
        if KINDS.iter().all(|known| known.kind != kind) {
            return Err(RuleFault::UnknownKind(kind.to_owned()));
        }
        let mut errors = Vec::new();
        let read = read(fields, kind, &mut errors);
        let (Some((measure, limits, silence)), true) = (read, errors.is_empty()) else {
            let fault = errors.into_iter().next().map(|error| RuleFault::Unfit {
                pointer: error.pointer,
                detail: error.detail,
            });
            return Err(fault.unwrap_or(RuleFault::Field("kind")));
        };
        let part = |field: &'static str, part: &str| {
            let text = fields
                .get(field)
                .and_then(|value| value.get(part))
                .and_then(Value::as_str);
            text.map(str::to_owned)
        };
        let needed =
            |field: &'static str, name: &str| part(field, name).ok_or(RuleFault::Field(field));
        Ok(Rule {
            id,
            is_on: fields.get("enabled") != Some(&Value::Bool(false)),
            name: text(fields, "name").unwrap_or_default().to_owned(),
            device: Pattern::new(&needed("match", "device")?),
            channel: Pattern::new(&needed("match", "channel")?),
            unit: text(fields, "unit")
                .map(str::trim)
                .filter(|unit| !unit.is_empty())
                .map(str::to_owned),
            measure,
            limits,
            silence,
            title: needed("incident", "title")?,
            category: part("incident", "category").unwrap_or_else(|| "Other".into()),
            severity: part("incident", "severity").unwrap_or_else(|| "unknown".into()),
        })
    }
}

fn read(
    fields: &Map<String, Value>,
    kind: &str,
    errors: &mut Vec<FieldError>,
) -> Option<(Measure, Limits, Silence)> {
    let of_kind = KINDS.iter().find(|known| known.kind == kind)?;
    for field in SPECIAL.iter().filter(|field| given(fields, field)) {
        // A switch that is off says nothing.
        let off = fields.get(*field) == Some(&Value::Bool(false));
        if !off && !of_kind.needed.contains(field) && !of_kind.optional.contains(field) {
            errors.push(FieldError::new(
                &format!("/{field}"),
                &format!("does not belong to a rule of kind {kind}"),
            ));
        }
    }
    // Silence has no unit, and what a formula gives has the unit of its levels.
    if matches!(kind, "no_data" | "expression") && given(fields, "unit") {
        errors.push(FieldError::new(
            "/unit",
            match kind {
                "expression" => "belongs to each input of an expression",
                _ => "does not belong to a rule of kind no_data",
            },
        ));
    }
    for field in of_kind.needed.iter().filter(|field| !given(fields, field)) {
        errors.push(FieldError::new(
            &format!("/{field}"),
            &format!("is needed by a rule of kind {kind}"),
        ));
    }
    let (raise, clear) = if of_kind.levels {
        levels(fields, kind, errors)?
    } else {
        for field in ["raise_above", "clear_below", "raise_below", "clear_above"] {
            if given(fields, field) {
                errors.push(FieldError::new(
                    &format!("/{field}"),
                    &format!("does not belong to a rule of kind {kind}: it raises after after_s"),
                ));
            }
        }
        let after_s = number(fields, "after_s")?;
        (Level::Above(after_s), after_s)
    };
    let milliseconds = |name: &str| {
        let seconds = fields.get(name).and_then(Value::as_i64).unwrap_or(0);
        seconds.saturating_mul(1000)
    };
    let limits = Limits {
        raise,
        clear,
        for_ms: milliseconds("for_s"),
        hold_ms: milliseconds("hold_s"),
        reopen_ms: if given(fields, "reopen_s") {
            milliseconds("reopen_s")
        } else {
            REOPEN_S.saturating_mul(1000)
        },
        severities: severities(fields, raise, errors),
    };
    for name in ["for_s", "hold_s", "reopen_s"] {
        if milliseconds(name) < 0
            || fields
                .get(name)
                .is_some_and(|v| !v.is_null() && !v.is_i64())
        {
            errors.push(FieldError::new(
                &format!("/{name}"),
                "must be a whole number of seconds, not negative",
            ));
        }
    }
    let measure = match kind {
        "threshold" => Measure::Value,
        "rate" => Measure::Rate {
            window_ms: milliseconds("window_s"),
        },
        "no_data" => Measure::NoData,
        "deviation" => Measure::Deviation {
            window_ms: milliseconds("window_s"),
            spread_min: positive(fields, "spread_min", errors)?,
            either_way: fields.get("either_way") == Some(&Value::Bool(true)),
        },
        "sta_lta" => sta_lta(fields, raise, errors)?,
        _ => Measure::Expression(Box::new(expression(fields, errors)?)),
    };
    if let Measure::Rate { window_ms } | Measure::Deviation { window_ms, .. } = measure
        && window_ms <= 0
        && given(fields, "window_s")
    {
        errors.push(FieldError::new("/window_s", "must be greater than 0"));
    }
    if let Measure::Deviation {
        either_way: true, ..
    } = measure
        && matches!(raise, Level::Below(_))
    {
        errors.push(FieldError::new(
            "/either_way",
            "belongs to raise_above: the size of a deviation has no sign",
        ));
    }
    let silence = Silence::read(fields.get("silence"), errors);
    Some((measure, limits, silence))
}

/// Exactly one pair of levels, in an order that leaves room between them: the wrong way round a value could be high
/// enough to raise and low enough to clear at once.
fn levels(
    fields: &Map<String, Value>,
    kind: &str,
    errors: &mut Vec<FieldError>,
) -> Option<(Level, f64)> {
    let level = |name: &str| number(fields, name);
    let (raise_above, clear_below) = (level("raise_above"), level("clear_below"));
    let (raise_below, clear_above) = (level("raise_below"), level("clear_above"));
    let before = errors.len();
    let mut fail = |pointer: &str, detail: &str| errors.push(FieldError::new(pointer, detail));
    let read = match (raise_above, raise_below) {
        (None, None) => {
            let detail = format!(
                "a {kind} rule needs raise_above with clear_below, or raise_below with clear_above"
            );
            fail("/raise_above", &detail);
            None
        }
        (Some(_), Some(_)) => {
            fail(
                "/raise_below",
                "raise_above and raise_below cannot both be set",
            );
            None
        }
        (Some(raise), None) => {
            match clear_below {
                None => fail("/clear_below", "is needed with raise_above"),
                Some(clear) if clear > raise => {
                    fail("/clear_below", "must not be greater than raise_above");
                }
                Some(_) => {}
            }
            if clear_above.is_some() {
                fail("/clear_above", "belongs to raise_below");
            }
            clear_below.map(|clear| (Level::Above(raise), clear))
        }
        (None, Some(raise)) => {
            match clear_above {
                None => fail("/clear_above", "is needed with raise_below"),
                Some(clear) if clear < raise => {
                    fail("/clear_above", "must not be smaller than raise_below");
                }
                Some(_) => {}
            }
            if clear_below.is_some() {
                fail("/clear_below", "belongs to raise_above");
            }
            clear_above.map(|clear| (Level::Below(raise), clear))
        }
    };
    read.filter(|_| errors.len() == before)
}

/// Steps from the nearest level to the farthest, none of which is less grave than the one before it.
fn severities(
    fields: &Map<String, Value>,
    raise: Level,
    errors: &mut Vec<FieldError>,
) -> Vec<SeverityStep> {
    let given = fields.get("severities").and_then(Value::as_array);
    let mut steps: Vec<SeverityStep> = Vec::new();
    for (index, step) in given.into_iter().flatten().enumerate() {
        let pointer = format!("/severities/{index}");
        let (Some(level), Some(severity)) = (
            step.get("level").and_then(Value::as_f64),
            step.get("severity").and_then(Value::as_str),
        ) else {
            errors.push(FieldError::new(&pointer, "needs level and severity"));
            continue;
        };
        if let Some(before) = steps.last() {
            let farther = match raise {
                Level::Above(_) => level > before.level,
                Level::Below(_) => level < before.level,
            };
            if !farther {
                errors.push(FieldError::new(
                    &format!("{pointer}/level"),
                    "must lie farther out than the level before it",
                ));
            }
            if gravity(severity) < gravity(&before.severity) {
                errors.push(FieldError::new(
                    &format!("{pointer}/severity"),
                    "must not be less grave than the one before it",
                ));
            }
        }
        steps.push(SeverityStep {
            level,
            severity: severity.to_owned(),
        });
    }
    steps
}

fn gravity(severity: &str) -> usize {
    ["unknown", "minor", "moderate", "severe", "extreme"]
        .iter()
        .position(|word| *word == severity)
        .unwrap_or(0)
}

fn sta_lta(
    fields: &Map<String, Value>,
    raise: Level,
    errors: &mut Vec<FieldError>,
) -> Option<Measure> {
    let sta_s = positive(fields, "sta_s", errors)?;
    let lta_s = positive(fields, "lta_s", errors)?;
    if lta_s < 2.0 * sta_s {
        errors.push(FieldError::new(
            "/lta_s",
            "must be at least twice sta_s: the long average is what the short one is compared with",
        ));
    }
    match raise {
        Level::Above(level) if level >= lta_s / sta_s => errors.push(FieldError {
            pointer: "/raise_above".into(),
            detail: format!(
                "can never be reached: the ratio is at most lta_s / sta_s, that is {}",
                lta_s / sta_s
            ),
        }),
        _ => {}
    }
    Some(Measure::StaLta {
        sta_ms: sta_s * 1000.0,
        lta_ms: lta_s * 1000.0,
    })
}

fn given(fields: &Map<String, Value>, name: &str) -> bool {
    fields.get(name).is_some_and(|value| !value.is_null())
}

fn number(fields: &Map<String, Value>, name: &str) -> Option<f64> {
    fields.get(name).and_then(Value::as_f64)
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Value::as_str)
}

fn positive(fields: &Map<String, Value>, name: &str, errors: &mut Vec<FieldError>) -> Option<f64> {
    let value = number(fields, name)?;
    if value > 0.0 {
        return Some(value);
    }
    errors.push(FieldError::new(
        &format!("/{name}"),
        "must be greater than 0",
    ));
    None
}
