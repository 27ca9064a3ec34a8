//! What people see of a document.
//!
//! Invariants: a known field always has the type that its spec promises, whatever some node wrote; what this version
//! does not know is shown apart, as it is.

use std::collections::BTreeMap;

use automerge::{Automerge, ROOT, ReadDoc, ValueRef};
use serde_json::{Map, Value};

use super::conflict::{self, FieldConflict};
use super::genesis::{KIND_KEY, genesis};
use super::{Document, Stamp, Version};
use crate::schema::{DELETED_KEY, Merge, fits_when_read, json_of_scalar};
use crate::{Kind, RecordId};

/// More unknown fields than a newer version of a kind could have; the rest stays in the document and is not shown.
const UNKNOWN_FIELDS_MAX: usize = 256;

/// A document's fields and what stands beside them.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// The version that a PATCH of this view names.
    pub version: Version,
    /// Every field of the kind in the order of the schema, secret ones left out. Of a register in conflict the value
    /// that automerge ranks first.
    pub fields: Map<String, Value>,
    /// Fields that only a newer version knows, and known ones whose content has another type, as they are.
    pub unknown: Map<String, Value>,
    /// Fields that the API never shows.
    pub secrets: Map<String, Value>,
    /// Whether it is marked as deleted.
    pub deleted: bool,
    /// Who set or removed the mark last.
    pub deleted_at: Option<Stamp>,
    /// Registers with several values, in the order of their names. Secret fields are left out.
    pub conflicts: Vec<FieldConflict>,
    /// The earliest change.
    pub created: Option<Stamp>,
    /// The latest change by its author's clock.
    pub updated: Option<Stamp>,
}

impl Document {
    /// What people see now.
    pub fn view(&self) -> View {
        let mut view = view_of(&self.doc, self.kind, self.id);
        (view.created, view.updated) = (self.created, self.updated);
        view
    }

    /// The fields as they were in a version that this document knows: what the author of an edit saw.
    pub fn fields_at(&self, version: &Version) -> Option<Map<String, Value>> {
        if !self.knows(version) {
            return None;
        }
        let heads = version.heads();
        let spec = self.kind.spec();
        let genesis = genesis(self.kind);
        let mut fields = Map::new();
        for field in spec.fields.iter().filter(|field| !field.secret) {
            let value = match (field.merge, genesis.container(field.name)) {
                (Merge::Text, Some(container)) => Value::String(
                    self.doc
                        .text_at(&container.object, heads)
                        .unwrap_or_default(),
                ),
                (Merge::Set, Some(container)) => self
                    .doc
                    .keys_at(&container.object, heads)
                    .map(Value::String)
                    .collect(),
                _ => match register_at(&self.doc, field.name, heads) {
                    Some(value) if fits_when_read(&field.value, &value) => value,
                    _ => field.default_json(),
                },
            };
            fields.insert(field.name.to_owned(), value);
        }
        Some(fields)
    }
}

/// What people see of an automerge document, without who created and changed it.
pub(super) fn view_of(doc: &Automerge, kind: Kind, id: RecordId) -> View {
    let spec = kind.spec();
    let genesis = genesis(kind);
    let mut registers: BTreeMap<String, Value> = BTreeMap::new();
    let mut conflicts = Vec::new();
    let mut deleted_at = None;
    for item in doc.map_range(ROOT, ..) {
        let key = item.key.as_ref();
        let ValueRef::Scalar(value) = &item.value else {
            continue;
        };
        if key == KIND_KEY {
            continue;
        }
        if key == DELETED_KEY {
            deleted_at = conflict::stamp_of(doc, &item.id());
        }
        if item.conflict && spec.field(key).is_none_or(|field| !field.secret) {
            conflicts.extend(conflict::open(doc, id, key));
        }
        registers.insert(key.to_owned(), json_of_scalar(value));
    }
    let deleted = registers
        .remove(DELETED_KEY)
        .is_some_and(|value| value == Value::Bool(true));
    let mut view = View {
        version: Version::of(doc.get_heads()),
        fields: Map::new(),
        unknown: Map::new(),
        secrets: Map::new(),
        deleted,
        deleted_at,
        conflicts,
        created: None,
        updated: None,
    };
    for field in spec.fields {
        let value = match (field.merge, genesis.container(field.name)) {
            (Merge::Text, Some(container)) => {
                Value::String(doc.text(&container.object).unwrap_or_default())
            }
            (Merge::Set, Some(container)) => {
                doc.keys(&container.object).map(Value::String).collect()
            }
            _ => match registers.remove(field.name) {
                None | Some(Value::Null) => field.default_json(),
                Some(value) if fits_when_read(&field.value, &value) => value,
                Some(value) => {
                    view.unknown.insert(field.name.to_owned(), value);
                    field.default_json()
                }
            },
        };
        let shown = if field.secret {
            &mut view.secrets
        } else {
            &mut view.fields
        };
        shown.insert(field.name.to_owned(), value);
    }
    // A name by which serde_json tells its own types would not come back from a row.
    registers.retain(|name, _| !name.starts_with("$serde_json::"));
    view.unknown
        .extend(registers.into_iter().take(UNKNOWN_FIELDS_MAX));
    view
}

fn register_at(doc: &Automerge, key: &str, heads: &[automerge::ChangeHash]) -> Option<Value> {
    let (value, _) = doc.get_at(ROOT, key, heads).ok()??;
    match value {
        automerge::Value::Scalar(value) => Some(conflict::json_of(&value)),
        automerge::Value::Object(_) => None,
    }
}
