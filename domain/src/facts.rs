//! Facts: immutable records that nobody edits. Here: the note, and what all of them have in common.
//!
//! Invariants: a fact's bytes are canonical JSON and never change; fields that only a newer version knows are kept.

mod message;

use serde_json::{Map, Value};

pub use self::message::{
    DeviceMessage, MESSAGE_TEXT_BYTES_MAX, MESSAGE_TO_BYTES_MAX, check_message,
};
use crate::schema::{FieldError, by_name, canonical_json, reads_back};
use crate::{FactKind, RecordId};

/// A note is a remark, not a document.
pub const NOTE_TEXT_BYTES_MAX: usize = 8_000;
/// The whole fact, unknown fields included: it must fit an entry of 32 KiB with its header.
pub const FACT_BYTES_MAX: usize = 30 * 1024;

/// A fact as it is read.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    /// Which kind.
    pub kind: FactKind,
    /// Its fields as the API shows them, those that this version does not know included.
    pub fields: Map<String, Value>,
    /// The document that it is about.
    pub about: Option<RecordId>,
}

/// Bytes that are no fact of their kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactError {
    /// Larger than any node writes.
    #[error("a fact may hold {FACT_BYTES_MAX} bytes, this has {0}")]
    TooLarge(usize),
    /// Not a JSON object.
    #[error("not a json object: {0}")]
    Unreadable(String),
    /// A field that every fact of this kind has is missing or of another type.
    #[error("field {0} does not fit")]
    Field(&'static str),
}

/// Checks the body of a new note: `{"text", "about": {"kind","id"}?}`; gives the bytes that go into the entry.
pub fn check_note(body: &Map<String, Value>) -> Result<Vec<u8>, Vec<FieldError>> {
    let mut errors = Vec::new();
    for key in body
        .keys()
        .filter(|key| !matches!(key.as_str(), "text" | "about"))
    {
        errors.push(FieldError::at("", key, "unknown field"));
    }
    check_text(body, NOTE_TEXT_BYTES_MAX, &mut errors);
    let mut note = body.clone();
    match body.get("about") {
        None => {}
        Some(Value::Null) => {
            note.remove("about");
        }
        Some(about) => check_about(about, &mut errors),
    }
    if errors.is_empty() {
        Ok(canonical_json(&Value::Object(note)).into_bytes())
    } else {
        Err(errors)
    }
}

/// Every fact that people write has a text.
fn check_text(body: &Map<String, Value>, bytes_max: usize, errors: &mut Vec<FieldError>) {
    match body.get("text").and_then(Value::as_str) {
        None => errors.push(FieldError::new("/text", "is required and must be a string")),
        Some(text) if text.trim().is_empty() => {
            errors.push(FieldError::new("/text", "cannot be empty"));
        }
        Some(text) if text.len() > bytes_max => errors.push(FieldError {
            pointer: "/text".into(),
            detail: format!("may hold {bytes_max} bytes, this has {}", text.len()),
        }),
        Some(_) => {}
    }
}

fn check_about(about: &Value, errors: &mut Vec<FieldError>) {
    let Some(about) = about.as_object() else {
        errors.push(FieldError::new("/about", "must be an object with kind, id"));
        return;
    };
    let kind = about.get("kind").and_then(Value::as_str);
    if kind.and_then(by_name).is_none() {
        errors.push(FieldError::new(
            "/about/kind",
            "must be a kind of document, as in incident",
        ));
    }
    let id = about.get("id").and_then(Value::as_str);
    if id.is_none_or(|id| id.parse::<RecordId>().is_err()) {
        errors.push(FieldError::new("/about/id", "must be the id of a document"));
    }
    for key in about
        .keys()
        .filter(|key| !matches!(key.as_str(), "kind" | "id"))
    {
        errors.push(FieldError::at("/about", key, "unknown field"));
    }
}

/// Reads a fact that any node wrote.
pub fn decode(kind: FactKind, bytes: &[u8]) -> Result<Fact, FactError> {
    if bytes.len() > FACT_BYTES_MAX {
        return Err(FactError::TooLarge(bytes.len()));
    }
    let fields: Map<String, Value> =
        serde_json::from_slice(bytes).map_err(|error| FactError::Unreadable(error.to_string()))?;
    let fields = Value::Object(fields);
    if !reads_back(&fields) {
        return Err(FactError::Unreadable(
            "it nests too deep, or has a reserved key".into(),
        ));
    }
    let Value::Object(fields) = fields else {
        return Err(FactError::Unreadable("not an object".into()));
    };
    if !fields.get("text").is_some_and(Value::is_string) {
        return Err(FactError::Field("text"));
    }
    let about = match fields.get("about") {
        None | Some(Value::Null) => None,
        Some(about) => Some(
            about
                .get("id")
                .and_then(Value::as_str)
                .and_then(|id| id.parse().ok())
                .ok_or(FactError::Field("about"))?,
        ),
    };
    Ok(Fact {
        kind,
        fields,
        about,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_note_comes_back_as_it_was_written() {
        let id = "01935f2e-8c6a-7c1e-9d3b-2f4a5b6c7d8e";
        let body =
            object(json!({"text": "bridge closed", "about": {"kind": "incident", "id": id}}));
        let note = decode(FactKind::Note, &check_note(&body).unwrap()).unwrap();
        assert_eq!(note.fields, body);
        assert_eq!(note.about.unwrap().to_string(), id);
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_pointer() {
        let body =
            object(json!({"text": " ", "colour": 1, "about": {"kind": "x", "id": "y", "z": 1}}));
        let mut pointers: Vec<String> = check_note(&body)
            .unwrap_err()
            .into_iter()
            .map(|error| error.pointer)
            .collect();
        pointers.sort();
        assert_eq!(
            pointers,
            ["/about/id", "/about/kind", "/about/z", "/colour", "/text"]
        );
    }

    #[test]
    fn fields_of_a_newer_version_are_kept() {
        let note = decode(FactKind::Note, br#"{"text":"x","mood":"good"}"#).unwrap();
        assert_eq!(note.fields["mood"], "good");
    }

    #[test]
    fn hostile_bytes_are_an_error_and_nothing_else() {
        let deep = "[".repeat(10_000);
        let nested = format!(r#"{{"text":"x","y":{}{}}}"#, "[".repeat(40), "]".repeat(40));
        let reserved = br#"{"text":"x","y":{"a":1,"$serde_json::private::RawValue":5}}"#;
        for bytes in [
            &b""[..],
            b"[]",
            b"{}",
            b"\xff",
            br#"{"text":1}"#,
            deep.as_bytes(),
            nested.as_bytes(),
            reserved,
        ] {
            assert!(decode(FactKind::Note, bytes).is_err());
        }
        assert!(decode(FactKind::Note, &vec![b' '; FACT_BYTES_MAX + 1]).is_err());
    }
}
