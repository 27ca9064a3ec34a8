//! One value on its way in (checked, normalised) and the canonical form in which composite values are kept.
//!
//! Invariant: two values that mean the same have the same bytes, because equal values are no conflict and the bytes
//! are compared.

use data_encoding::BASE64;
use serde_json::{Map, Number, Value};

use super::{FieldError, Part, ValueSpec};
use crate::ids::RecordId;

/// A JSON register that nobody described further may hold that much; larger things are attachments.
const ANY_BYTES_MAX: usize = 4096;
/// A JSON value may nest that deep: enough for GeoJSON, far from any stack limit.
const NESTING_MAX: usize = 16;

/// What a register holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    F64(f64),
    Str(String),
    /// A composite value as canonical JSON. It travels as bytes, so that even a node that does not know the field can
    /// tell it from a string.
    Json(String),
}

impl Scalar {
    pub(crate) fn to_automerge(&self) -> automerge::ScalarValue {
        use automerge::ScalarValue;
        match self {
            Scalar::Null => ScalarValue::Null,
            Scalar::Bool(yes) => ScalarValue::Boolean(*yes),
            Scalar::Int(number) => ScalarValue::Int(*number),
            Scalar::F64(number) => ScalarValue::F64(*number),
            Scalar::Str(text) => ScalarValue::Str(text.as_str().into()),
            Scalar::Json(json) => ScalarValue::Bytes(json.as_bytes().to_vec()),
        }
    }
}

/// What a register of any version holds, as JSON. Total: bytes that are no JSON of ours are shown in base64.
pub(crate) fn json_of_scalar(value: &automerge::ScalarValueRef<'_>) -> Value {
    use automerge::ScalarValueRef;
    match value {
        ScalarValueRef::Null => Value::Null,
        ScalarValueRef::Boolean(yes) => Value::Bool(*yes),
        ScalarValueRef::Int(number) | ScalarValueRef::Timestamp(number) => Value::from(*number),
        ScalarValueRef::Counter(number) => Value::from(*number),
        ScalarValueRef::Uint(number) => Value::from(*number),
        ScalarValueRef::F64(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
        ScalarValueRef::Str(text) => Value::String(text.to_string()),
        ScalarValueRef::Bytes(bytes) => serde_json::from_slice(bytes)
            .ok()
            .filter(reads_back)
            .unwrap_or_else(|| Value::String(BASE64.encode(bytes))),
        ScalarValueRef::Unknown { bytes, .. } => Value::String(BASE64.encode(bytes)),
    }
}

/// Whether JSON that some node wrote comes back as it is when it is written into a row and read again: it nests no
/// deeper than any version writes (serde_json reads 128 levels, and a row puts some around it), and has none of the
/// keys by which serde_json tells its own types.
pub(crate) fn reads_back(value: &Value) -> bool {
    fn keys_fit(value: &Value) -> bool {
        match value {
            Value::Array(items) => items.iter().all(keys_fit),
            Value::Object(map) => map
                .iter()
                .all(|(key, value)| !key.starts_with("$serde_json::") && keys_fit(value)),
            _ => true,
        }
    }
    nesting(value) <= NESTING_MAX && keys_fit(value)
}

/// JSON with sorted keys and no spaces. (Whether `serde_json::Map` sorts depends on features that other crates of a
/// build may turn on.)
pub fn canonical_json(value: &Value) -> String {
    let mut out = String::new();
    write_canonical(value, &mut out);
    out
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort_unstable();
            out.push('{');
            for (index, key) in keys.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write_canonical(&map[key], out);
            }
            out.push('}');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

/// Checks a value that is not null against its spec and brings it into its one form. `pointer` is where it stands.
pub(super) fn normalise(
    spec: &ValueSpec,
    value: &Value,
    pointer: &str,
    errors: &mut Vec<FieldError>,
) -> Option<Scalar> {
    let value = normal_json(spec, value, pointer, errors)?;
    if matches!(spec, ValueSpec::Any) {
        return Some(Scalar::Json(canonical_json(&value)));
    }
    match value {
        Value::Null => Some(Scalar::Null),
        Value::Bool(yes) => Some(Scalar::Bool(yes)),
        Value::String(text) => Some(Scalar::Str(text)),
        Value::Number(number) => match (spec, number.as_i64()) {
            (ValueSpec::Int { .. }, Some(number)) => Some(Scalar::Int(number)),
            _ => number.as_f64().map(Scalar::F64),
        },
        composite => Some(Scalar::Json(canonical_json(&composite))),
    }
}

/// As [`normalise`], but as JSON, so that it also serves the parts of an object.
fn normal_json(
    spec: &ValueSpec,
    value: &Value,
    pointer: &str,
    errors: &mut Vec<FieldError>,
) -> Option<Value> {
    let mut fail = |detail: String| {
        errors.push(FieldError {
            pointer: pointer.to_owned(),
            detail,
        });
        None
    };
    match spec {
        ValueSpec::Str { max_bytes } => {
            let Some(text) = value.as_str() else {
                return fail("must be a string".into());
            };
            match text_fault(text, *max_bytes) {
                Some(detail) => fail(detail),
                None => Some(Value::String(text.to_owned())),
            }
        }
        ValueSpec::Enum(words) => match value.as_str() {
            Some(word) if words.contains(&word) => Some(Value::String(word.to_owned())),
            _ => fail(format!("must be one of {}", words.join(", "))),
        },
        ValueSpec::Bool => match value {
            Value::Bool(yes) => Some(Value::Bool(*yes)),
            _ => fail("must be true or false".into()),
        },
        ValueSpec::Int { min, max } => match value.as_i64() {
            Some(number) if (*min..=*max).contains(&number) => Some(Value::from(number)),
            _ => fail(format!("must be a whole number from {min} to {max}")),
        },
        ValueSpec::Float => match value.as_f64() {
            Some(number) if number.is_finite() => Some(float(number)),
            _ => fail("must be a number".into()),
        },
        ValueSpec::Location => location(value, pointer, errors),
        ValueSpec::Id(kind) => match value.as_str().and_then(|id| id.parse::<RecordId>().ok()) {
            Some(id) => Some(Value::String(id.to_string())),
            None => fail(format!(
                "must be the id of {} {}",
                article(kind.spec().name),
                kind.spec().name
            )),
        },
        ValueSpec::Time => match value
            .as_str()
            .and_then(|at| at.parse::<jiff::Timestamp>().ok())
        {
            Some(at) => Some(Value::String(at.to_string())),
            None => fail("must be a time as in 2026-11-20T13:45:00Z (RFC 3339)".into()),
        },
        ValueSpec::Object(parts) => object(parts, value, pointer, errors),
        ValueSpec::List { parts, max } => list(parts, *max, value, pointer, errors),
        ValueSpec::Any => {
            if nesting(value) > NESTING_MAX {
                return fail(format!("may nest {NESTING_MAX} levels deep"));
            }
            if canonical_json(value).len() > ANY_BYTES_MAX {
                return fail(format!("may hold {ANY_BYTES_MAX} bytes"));
            }
            Some(value.clone())
        }
    }
}

/// One text: bounded and free of control characters, which would garble terminals and reports.
pub(super) fn text_fault(text: &str, max_bytes: usize) -> Option<String> {
    if text.len() > max_bytes {
        return Some(format!(
            "may hold {max_bytes} bytes, this has {}",
            text.len()
        ));
    }
    let control = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    text.contains(control)
        .then(|| "may not contain control characters".to_owned())
}

/// −0 and 0 mean the same here, so they must be the same bytes.
fn float(number: f64) -> Value {
    let number = if number == 0.0 { 0.0 } else { number };
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

fn location(value: &Value, pointer: &str, errors: &mut Vec<FieldError>) -> Option<Value> {
    let Value::Object(map) = value else {
        errors.push(FieldError {
            pointer: pointer.to_owned(),
            detail: "must be {\"lat\",\"lon\"} in degrees".into(),
        });
        return None;
    };
    let before = errors.len();
    let mut normal = Map::new();
    for (name, bound) in [("lat", 90.0), ("lon", 180.0)] {
        match map.get(name).and_then(Value::as_f64) {
            Some(degrees) if degrees.abs() <= bound => {
                normal.insert(name.to_owned(), float(degrees));
            }
            _ => errors.push(FieldError {
                pointer: format!("{pointer}/{name}"),
                detail: format!("must be a number from -{bound} to {bound}"),
            }),
        }
    }
    for key in map
        .keys()
        .filter(|key| !matches!(key.as_str(), "lat" | "lon"))
    {
        errors.push(FieldError::at(pointer, key, "unknown field"));
    }
    (errors.len() == before).then_some(Value::Object(normal))
}

fn object(
    parts: &[Part],
    value: &Value,
    pointer: &str,
    errors: &mut Vec<FieldError>,
) -> Option<Value> {
    let Value::Object(map) = value else {
        let names: Vec<&str> = parts.iter().map(|part| part.name).collect();
        errors.push(FieldError {
            pointer: pointer.to_owned(),
            detail: format!("must be an object with {}", names.join(", ")),
        });
        return None;
    };
    let before = errors.len();
    let mut normal = Map::new();
    for part in parts {
        match map.get(part.name) {
            None | Some(Value::Null) if part.required => {
                errors.push(FieldError::at(pointer, part.name, "is required"));
            }
            None | Some(Value::Null) => {}
            Some(value) => {
                let pointer = format!("{pointer}/{}", part.name);
                if let Some(value) = normal_json(&part.value, value, &pointer, errors) {
                    normal.insert(part.name.to_owned(), value);
                }
            }
        }
    }
    for key in map
        .keys()
        .filter(|key| parts.iter().all(|part| part.name != key.as_str()))
    {
        errors.push(FieldError::at(pointer, key, "unknown field"));
    }
    (errors.len() == before).then_some(Value::Object(normal))
}

fn list(
    parts: &[Part],
    max: usize,
    value: &Value,
    pointer: &str,
    errors: &mut Vec<FieldError>,
) -> Option<Value> {
    let fault = match value.as_array() {
        None => "must be an array of objects".to_owned(),
        Some(items) if items.len() > max => format!("may hold {max} elements"),
        Some(items) => {
            let read = items
                .iter()
                .enumerate()
                .map(|(index, item)| object(parts, item, &format!("{pointer}/{index}"), errors));
            // Every element is looked at, so that all of what does not fit is said at once.
            let read: Vec<Option<Value>> = read.collect();
            return read
                .into_iter()
                .collect::<Option<Vec<Value>>>()
                .map(Value::Array);
        }
    };
    errors.push(FieldError {
        pointer: pointer.to_owned(),
        detail: fault,
    });
    None
}

/// Whether a value that some node wrote has the shape that readers of this field rely on. Words that only a newer
/// version knows and additional parts are fine; another type is not.
pub(crate) fn fits_when_read(spec: &ValueSpec, value: &Value) -> bool {
    match spec {
        ValueSpec::Str { .. } | ValueSpec::Enum(_) | ValueSpec::Id(_) | ValueSpec::Time => {
            value.is_string()
        }
        ValueSpec::Bool => value.is_boolean(),
        ValueSpec::Int { .. } => value.is_i64(),
        ValueSpec::Float => value.is_number(),
        ValueSpec::Location => location(value, "", &mut Vec::new()).is_some(),
        ValueSpec::Object(parts) => parts_fit(parts, value),
        ValueSpec::List { parts, .. } => value
            .as_array()
            .is_some_and(|items| items.iter().all(|item| parts_fit(parts, item))),
        ValueSpec::Any => true,
    }
}

fn parts_fit(parts: &[Part], value: &Value) -> bool {
    value.as_object().is_some_and(|map| {
        parts.iter().all(|part| match map.get(part.name) {
            None | Some(Value::Null) => !part.required,
            Some(value) => fits_when_read(&part.value, value),
        })
    })
}

fn nesting(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(nesting).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(nesting).max().unwrap_or(0),
        _ => 0,
    }
}

fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) && !word.starts_with("us") {
        "an"
    } else {
        "a"
    }
}
