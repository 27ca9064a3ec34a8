//! Rule: when readings open an incident. Evaluated by [`crate::rules`].
//!
//! The two levels are registers of their own, so that a person sees which of them another person changed; a merge that
//! leaves them in the wrong order makes the rule unusable, which [`crate::rules::ThresholdRule`] reports, instead of
//! evaluating something that nobody wrote.

use serde_json::{Map, Value};

use super::{CAP_CATEGORIES, FieldSpec, NAME_BYTES_MAX, SEVERITIES};
use crate::schema::{Fallback, FieldError, Kind, KindSpec, Part, ValueSpec};

/// Which readings it looks at; `*` stands for any characters.
const MATCH: &[Part] = &[
    Part {
        name: "device",
        value: ValueSpec::Str { max_bytes: 128 },
        required: true,
    },
    Part {
        name: "channel",
        value: ValueSpec::Str { max_bytes: 128 },
        required: true,
    },
];

/// What the incident that it opens looks like.
const INCIDENT: &[Part] = &[
    Part {
        name: "title",
        value: ValueSpec::Str {
            max_bytes: NAME_BYTES_MAX,
        },
        required: true,
    },
    Part {
        name: "category",
        value: ValueSpec::Enum(CAP_CATEGORIES),
        required: false,
    },
    Part {
        name: "severity",
        value: ValueSpec::Enum(SEVERITIES),
        required: false,
    },
];

/// A condition that must hold longer than a day is not a threshold any more.
const WAIT_S_MAX: i64 = 86_400;

pub(in crate::schema) static SPEC: KindSpec = KindSpec {
    kind: Kind::Rule,
    code: 0x0105,
    name: "rule",
    plural: "rules",
    lane: 3,
    fields: &[
        FieldSpec::register(
            "name",
            ValueSpec::Str {
                max_bytes: NAME_BYTES_MAX,
            },
        )
        .required()
        .default(Fallback::Str("")),
        FieldSpec::register("enabled", ValueSpec::Bool).default(Fallback::Bool(true)),
        FieldSpec::register("match", ValueSpec::Object(MATCH)).required(),
        FieldSpec::register("kind", ValueSpec::Enum(&["threshold"]))
            .default(Fallback::Str("threshold")),
        FieldSpec::register("raise_above", ValueSpec::Float),
        FieldSpec::register("clear_below", ValueSpec::Float),
        FieldSpec::register("raise_below", ValueSpec::Float),
        FieldSpec::register("clear_above", ValueSpec::Float),
        FieldSpec::register(
            "for_s",
            ValueSpec::Int {
                min: 0,
                max: WAIT_S_MAX,
            },
        )
        .default(Fallback::Int(0)),
        FieldSpec::register(
            "hold_s",
            ValueSpec::Int {
                min: 0,
                max: WAIT_S_MAX,
            },
        )
        .default(Fallback::Int(0)),
        FieldSpec::register("incident", ValueSpec::Object(INCIDENT)).required(),
    ],
    genesis_version: 1,
    check,
};

/// Exactly one pair of levels, in an order that leaves room between them: the wrong way round a value could be high
/// enough to raise and low enough to clear at once.
fn check(fields: &Map<String, Value>) -> Vec<FieldError> {
    let level = |name: &str| fields.get(name).and_then(Value::as_f64);
    let (raise_above, clear_below) = (level("raise_above"), level("clear_below"));
    let (raise_below, clear_above) = (level("raise_below"), level("clear_above"));
    let mut errors = Vec::new();
    match (raise_above, raise_below) {
        (None, None) => errors.push(FieldError::new(
            "/raise_above",
            "a threshold rule needs raise_above with clear_below, or raise_below with clear_above",
        )),
        (Some(_), Some(_)) => errors.push(FieldError::new(
            "/raise_below",
            "raise_above and raise_below cannot both be set",
        )),
        (Some(raise), None) => {
            match clear_below {
                None => errors.push(FieldError::new(
                    "/clear_below",
                    "is needed with raise_above",
                )),
                Some(clear) if clear > raise => errors.push(FieldError::new(
                    "/clear_below",
                    "must not be greater than raise_above",
                )),
                Some(_) => {}
            }
            if clear_above.is_some() {
                errors.push(FieldError::new("/clear_above", "belongs to raise_below"));
            }
        }
        (None, Some(raise)) => {
            match clear_above {
                None => errors.push(FieldError::new(
                    "/clear_above",
                    "is needed with raise_below",
                )),
                Some(clear) if clear < raise => errors.push(FieldError::new(
                    "/clear_above",
                    "must not be smaller than raise_below",
                )),
                Some(_) => {}
            }
            if clear_below.is_some() {
                errors.push(FieldError::new("/clear_below", "belongs to raise_above"));
            }
        }
    }
    errors
}
