//! Calibration: what the raw values of one channel of a device mean in truth, from a time on until the next one begins.
//!
//! Each is a document of its own, so that two posts that enter one apart lose neither; who entered it, when, and what it
//! was before stand in its history. Readings stay as they came: a calibration is applied when they are read.

use super::{FieldSpec, NAME_BYTES_MAX};
use crate::schema::{FieldError, Kind, KindSpec, Part, ValueSpec};

/// Points of one curve: a laboratory certificate has 5 to 20, a rating curve of a river gauge some 40.
const POINTS_MAX: usize = 64;

/// One point of a curve that was measured.
const POINT: &[Part] = &[
    part("raw", ValueSpec::Float),
    part("value", ValueSpec::Float),
];

/// `raw × scale + offset` (1 and 0 where one is left out), or straight lines through points. One register, because its
/// parts only make sense together.
const CURVE: &[Part] = &[
    optional("scale", ValueSpec::Float),
    optional("offset", ValueSpec::Float),
    optional(
        "points",
        ValueSpec::List {
            parts: POINT,
            max: POINTS_MAX,
        },
    ),
];

const fn part(name: &'static str, value: ValueSpec) -> Part {
    Part {
        name,
        value,
        required: true,
    }
}

const fn optional(name: &'static str, value: ValueSpec) -> Part {
    Part {
        name,
        value,
        required: false,
    }
}

pub(in crate::schema) static SPEC: KindSpec = KindSpec {
    kind: Kind::Calibration,
    code: 0x0107,
    name: "calibration",
    plural: "calibrations",
    lane: 3,
    fields: &[
        // The name, as in rules and topics: a device can be calibrated before it is first heard.
        FieldSpec::register("device", ValueSpec::Str { max_bytes: 128 }).required(),
        FieldSpec::register("channel", ValueSpec::Str { max_bytes: 128 }).required(),
        // Unset: from the first reading on.
        FieldSpec::register("valid_from", ValueSpec::Time),
        FieldSpec::register("curve", ValueSpec::Object(CURVE)).required(),
        // Of the raw values and of what they are made into.
        FieldSpec::register("unit", ValueSpec::Str { max_bytes: 32 }),
        FieldSpec::register(
            "note",
            ValueSpec::Str {
                max_bytes: NAME_BYTES_MAX,
            },
        ),
    ],
    genesis_version: 1,
    check,
};

fn check(fields: &serde_json::Map<String, serde_json::Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for name in ["device", "channel"] {
        let text = fields.get(name).and_then(|text| text.as_str());
        if text.is_some_and(|text| text.contains('*')) {
            errors.push(FieldError {
                pointer: format!("/{name}"),
                detail: "is one name: each sensor has a calibration of its own".into(),
            });
        }
    }
    if let Some(fault) = fields.get("curve").and_then(curve_fault) {
        errors.push(fault);
    }
    errors
}

/// What keeps a curve from giving one value for each raw one.
fn curve_fault(curve: &serde_json::Value) -> Option<FieldError> {
    let part = |name| curve.get(name).filter(|part| !part.is_null());
    let is_linear = part("scale").is_some() || part("offset").is_some();
    match (is_linear, part("points")) {
        (true, Some(_)) => Some(FieldError::new(
            "/curve",
            "has scale and offset, or points, not both",
        )),
        (false, None) => Some(FieldError::new(
            "/curve",
            "needs scale or offset, or points",
        )),
        (true, None) => {
            (part("scale").and_then(serde_json::Value::as_f64) == Some(0.0)).then(|| {
                FieldError::new(
                    "/curve/scale",
                    "a scale of 0 would make every value the same",
                )
            })
        }
        (false, Some(points)) => {
            let raw = |point: &serde_json::Value| point.get("raw").and_then(|raw| raw.as_f64());
            let raws: Vec<f64> = points.as_array()?.iter().filter_map(raw).collect();
            if raws.len() < 2 {
                return Some(FieldError::new("/curve/points", "needs two points or more"));
            }
            let falls = raws.windows(2).position(|pair| pair[0] >= pair[1])?;
            Some(FieldError {
                pointer: format!("/curve/points/{}/raw", falls + 1),
                detail: "must be greater than that of the point before".into(),
            })
        }
    }
}
