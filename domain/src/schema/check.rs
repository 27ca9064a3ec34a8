//! What a person may write: a JSON body checked against the schema becomes an [`Edit`], or a list of what does not fit.
//!
//! Invariant: an `Edit` only holds known fields and normalised values; nothing else reaches a document.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::value::{normalise, text_fault};
use super::{FieldSpec, Kind, KindSpec, Merge, Scalar, ValueSpec};

/// A set is for tags and capabilities: more of them than that is a list that belongs elsewhere.
const SET_ELEMENTS_MAX: usize = 64;
/// The key of the register that marks a document as deleted; every kind has it.
pub(crate) const DELETED_KEY: &str = "deleted";

/// What does not fit, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Where in the body: a JSON pointer (RFC 6901).
    pub pointer: String,
    /// What is wrong, for a person.
    pub detail: String,
}

impl FieldError {
    /// An error at a pointer.
    pub fn new(pointer: &str, detail: &str) -> Self {
        FieldError {
            pointer: pointer.to_owned(),
            detail: detail.to_owned(),
        }
    }

    /// An error at `key` below `parent`, escaped as RFC 6901 §3 says.
    pub(crate) fn at(parent: &str, key: &str, detail: &str) -> Self {
        let key = key.replace('~', "~0").replace('/', "~1");
        FieldError {
            pointer: format!("{parent}/{key}"),
            detail: detail.to_owned(),
        }
    }
}

/// Checked changes to the fields of one document, made together.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit {
    pub(crate) kind: Kind,
    pub(crate) changes: Vec<FieldChange>,
}

/// One field's new content.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FieldChange {
    pub(crate) key: &'static str,
    pub(crate) what: What,
}

/// The new content of one field, by how it merges.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum What {
    /// Set a register.
    Register(Scalar),
    /// The whole new text; only the difference is written.
    Text(String),
    /// The whole new set; only additions and removals are written.
    Set(BTreeSet<String>),
}

impl Edit {
    /// Marks the document as deleted.
    pub fn delete(kind: Kind) -> Self {
        Edit::deleted(kind, true)
    }

    /// Takes the mark away again.
    pub fn restore(kind: Kind) -> Self {
        Edit::deleted(kind, false)
    }

    fn deleted(kind: Kind, yes: bool) -> Self {
        let what = What::Register(Scalar::Bool(yes));
        Edit {
            kind,
            changes: vec![FieldChange {
                key: DELETED_KEY,
                what,
            }],
        }
    }

    /// The kind of document it is for.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The names of the fields it sets.
    pub fn fields(&self) -> impl Iterator<Item = &'static str> {
        self.changes.iter().map(|change| change.key)
    }

    /// Both edits as one change; where both set a field, the later one counts. For a node that adds its own fields to
    /// a person's (`source` to a new incident, `password_hash` to a new user).
    ///
    /// # Panics
    ///
    /// When they are for different kinds: that is a mistake in the program.
    #[must_use]
    pub fn and(mut self, later: Edit) -> Edit {
        assert_eq!(self.kind, later.kind, "edits of one document have one kind");
        self.changes
            .retain(|change| later.changes.iter().all(|l| l.key != change.key));
        self.changes.extend(later.changes);
        self
    }
}

/// Checks the body of a create. Fields that are left out or null keep their default.
pub fn check_create(kind: Kind, body: &Map<String, Value>) -> Result<Edit, Vec<FieldError>> {
    let spec = kind.spec();
    let mut errors = Vec::new();
    let given: Map<String, Value> = body
        .iter()
        .filter(|(_, v)| !v.is_null())
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    for field in spec.fields.iter().filter(|field| field.required) {
        if !given.contains_key(field.name) {
            errors.push(FieldError::at("", field.name, "is required"));
        }
    }
    unknown_fields(spec, body, &mut errors);
    let edit = changes(spec, &given, Who::Person, &mut errors);
    if errors.is_empty() {
        errors.extend((spec.check)(&given));
    }
    if errors.is_empty() {
        Ok(edit)
    } else {
        Err(errors)
    }
}

/// Checks a merge patch (RFC 7396): null clears a field, which a required field does not allow. `current` holds the
/// fields as the patch's author saw them, for rules over several fields.
pub fn check_patch(
    kind: Kind,
    patch: &Map<String, Value>,
    current: &Map<String, Value>,
) -> Result<Edit, Vec<FieldError>> {
    let spec = kind.spec();
    let mut errors = Vec::new();
    unknown_fields(spec, patch, &mut errors);
    let patch = merge_objects(spec, patch, current);
    let edit = changes(spec, &patch, Who::Person, &mut errors);
    if errors.is_empty() {
        let mut after = current.clone();
        after.extend(patch);
        errors.extend((spec.check)(&after));
    }
    if errors.is_empty() {
        Ok(edit)
    } else {
        Err(errors)
    }
}

/// Checks fields that the node itself sets, those that people may not write among them.
pub fn check_node_fields(kind: Kind, fields: &Map<String, Value>) -> Result<Edit, Vec<FieldError>> {
    let spec = kind.spec();
    let mut errors = Vec::new();
    unknown_fields(spec, fields, &mut errors);
    let edit = changes(spec, fields, Who::Node, &mut errors);
    if errors.is_empty() {
        Ok(edit)
    } else {
        Err(errors)
    }
}

/// Checks the value that a person chose for a register in conflict. A value that stands in the conflict (`choices`) is
/// allowed whatever its form, because another version may have written it; `current` as in [`check_patch`].
pub fn check_resolution(
    kind: Kind,
    field: &str,
    value: &Value,
    choices: &[Value],
    current: &Map<String, Value>,
) -> Result<Edit, Vec<FieldError>> {
    let spec = kind.spec();
    let key = if field == DELETED_KEY {
        DELETED_KEY
    } else {
        match spec.field(field) {
            Some(field) if field.merge == Merge::Register => field.name,
            _ => {
                return Err(vec![FieldError::new(
                    "",
                    "this field cannot be in conflict",
                )]);
            }
        }
    };
    if choices.contains(value) {
        let scalar = match value {
            Value::Null => Scalar::Null,
            Value::Bool(yes) => Scalar::Bool(*yes),
            Value::String(text) => Scalar::Str(text.clone()),
            Value::Number(number) => match (spec.field(field).map(|f| f.value), number.as_i64()) {
                (Some(ValueSpec::Float), _) | (_, None) => {
                    Scalar::F64(number.as_f64().unwrap_or_default())
                }
                (_, Some(number)) => Scalar::Int(number),
            },
            composite => Scalar::Json(super::canonical_json(composite)),
        };
        let what = What::Register(scalar);
        return Ok(Edit {
            kind,
            changes: vec![FieldChange { key, what }],
        });
    }
    let patch = Map::from_iter([(field.to_owned(), value.clone())]);
    check_patch(kind, &patch, current)
}

#[derive(Clone, Copy, PartialEq)]
enum Who {
    Person,
    Node,
}

fn unknown_fields(spec: &KindSpec, body: &Map<String, Value>, errors: &mut Vec<FieldError>) {
    for key in body.keys().filter(|key| spec.field(key).is_none()) {
        errors.push(FieldError::at("", key, "unknown field"));
    }
}

/// RFC 7396 goes into objects: `{"match": {"channel": "rain"}}` keeps the device. The register is then written whole.
fn merge_objects(
    spec: &KindSpec,
    patch: &Map<String, Value>,
    current: &Map<String, Value>,
) -> Map<String, Value> {
    let mut merged = patch.clone();
    for (key, value) in &mut merged {
        let composite = spec.field(key).is_some_and(|field| {
            matches!(
                field.value,
                ValueSpec::Object(_) | ValueSpec::Location | ValueSpec::Any
            )
        });
        if let (true, Value::Object(_), Some(old @ Value::Object(_))) =
            (composite, &*value, current.get(key))
        {
            let mut whole = old.clone();
            merge_patch(&mut whole, value);
            *value = whole;
        }
    }
    merged
}

/// RFC 7396 §2. Depth is bounded by the JSON parser (128 levels).
fn merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    if let Value::Object(target) = target {
        for (key, value) in patch {
            if value.is_null() {
                target.remove(key);
            } else {
                merge_patch(target.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
    }
}

fn changes(
    spec: &'static KindSpec,
    body: &Map<String, Value>,
    who: Who,
    errors: &mut Vec<FieldError>,
) -> Edit {
    let mut changes = Vec::new();
    for field in spec.fields {
        let Some(value) = body.get(field.name) else {
            continue;
        };
        if who == Who::Person && !field.writable {
            errors.push(FieldError::at(
                "",
                field.name,
                "is set by the node and cannot be written",
            ));
            continue;
        }
        if let Some(what) = content(field, value, errors) {
            changes.push(FieldChange {
                key: field.name,
                what,
            });
        }
    }
    Edit {
        kind: spec.kind,
        changes,
    }
}

fn content(field: &FieldSpec, value: &Value, errors: &mut Vec<FieldError>) -> Option<What> {
    let pointer = format!("/{}", field.name);
    if value.is_null() {
        if field.required {
            errors.push(FieldError::new(
                &pointer,
                "is required and cannot be cleared",
            ));
            return None;
        }
        return Some(match field.merge {
            Merge::Register => What::Register(Scalar::Null),
            Merge::Text => What::Text(String::new()),
            Merge::Set => What::Set(BTreeSet::new()),
        });
    }
    match field.merge {
        Merge::Register => {
            let scalar = normalise(&field.value, value, &pointer, errors)?;
            let blank = matches!(&scalar, Scalar::Str(text) if text.trim().is_empty());
            if field.required && blank {
                errors.push(FieldError::new(&pointer, "is required and cannot be empty"));
                return None;
            }
            Some(What::Register(scalar))
        }
        Merge::Text => match normalise(&field.value, value, &pointer, errors)? {
            Scalar::Str(text) => Some(What::Text(text)),
            _ => None,
        },
        Merge::Set => set(field, value, &pointer, errors).map(What::Set),
    }
}

fn set(
    field: &FieldSpec,
    value: &Value,
    pointer: &str,
    errors: &mut Vec<FieldError>,
) -> Option<BTreeSet<String>> {
    let Some(items) = value.as_array() else {
        errors.push(FieldError::new(pointer, "must be an array of strings"));
        return None;
    };
    if items.len() > SET_ELEMENTS_MAX {
        let detail = format!("may hold {SET_ELEMENTS_MAX} elements");
        errors.push(FieldError {
            pointer: pointer.to_owned(),
            detail,
        });
        return None;
    }
    let max_bytes = match field.value {
        ValueSpec::Str { max_bytes } => max_bytes,
        _ => usize::MAX,
    };
    let mut elements = BTreeSet::new();
    let before = errors.len();
    for (index, item) in items.iter().enumerate() {
        let pointer = format!("{pointer}/{index}");
        match item.as_str().map(str::trim) {
            None | Some("") => {
                errors.push(FieldError::new(
                    &pointer,
                    "must be a string that is not empty",
                ));
            }
            Some(element) => match text_fault(element, max_bytes) {
                Some(detail) => errors.push(FieldError { pointer, detail }),
                None => {
                    elements.insert(element.to_owned());
                }
            },
        }
    }
    (errors.len() == before).then_some(elements)
}
