//! Conflicts of kind `field`: a register that two people set apart.
//!
//! Invariants: a conflict's id depends only on the document, the field and the changes that disagree, so it is the same
//! on every node; equal values are no conflict; what resolved a conflict is found in the resolving change and its
//! ancestors, so it is the same on every node and after a rebuild.

use std::collections::BTreeMap;

use automerge::legacy::{Key, ObjectId, Op, OpType};
use automerge::{Automerge, Change, ChangeHash, ObjId, ROOT, ReadDoc, ScalarValue};
use data_encoding::HEXLOWER;
use serde_json::Value;

use super::Stamp;
use super::actor::base_actor;
use crate::RecordId;
use crate::ids::from_hash;
use crate::schema::{canonical_json, json_of_scalar};

/// A register with several values.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldConflict {
    /// The field's name.
    pub field: String,
    /// UUIDv8, the same on every node that holds the same changes.
    pub id: RecordId,
    /// At least two distinct values, the one that is shown first.
    pub values: Vec<ConflictValue>,
}

/// One of the values.
#[derive(Debug, Clone, PartialEq)]
pub struct ConflictValue {
    /// Names the value within its conflict, the same on every node.
    pub choice_id: String,
    /// The value.
    pub value: Value,
    /// Who set it, in which change and when.
    pub set: Stamp,
}

/// A conflict that a change has settled.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedConflict {
    /// The conflict as it stood.
    pub conflict: FieldConflict,
    /// The value that was chosen.
    pub chosen: Value,
    /// Who chose, in which change and when.
    pub resolved: Stamp,
}

/// The conflict on a register now, if its values differ.
pub(super) fn open(doc: &Automerge, document: RecordId, key: &str) -> Option<FieldConflict> {
    from_values(doc, document, key, doc.get_all(ROOT, key).ok()?)
}

/// The conflict on a register as it was in an earlier version.
pub(super) fn at(
    doc: &Automerge,
    document: RecordId,
    key: &str,
    heads: &[ChangeHash],
) -> Option<FieldConflict> {
    from_values(doc, document, key, doc.get_all_at(ROOT, key, heads).ok()?)
}

fn from_values(
    doc: &Automerge,
    document: RecordId,
    key: &str,
    values: Vec<(automerge::Value<'_>, ObjId)>,
) -> Option<FieldConflict> {
    if values.len() < 2 {
        return None;
    }
    let mut changes = Vec::with_capacity(values.len());
    let mut distinct: Vec<(String, Value, Stamp)> = Vec::new();
    // automerge ranks the highest operation id first and lists it last.
    for (value, id) in values.into_iter().rev() {
        let automerge::Value::Scalar(value) = value else {
            continue;
        };
        let Some(set) = stamp_of(doc, &id) else {
            continue;
        };
        changes.push(set.change);
        let value = json_of(&value);
        let canonical = canonical_json(&value);
        if distinct.iter().all(|(other, _, _)| *other != canonical) {
            distinct.push((canonical, value, set));
        }
    }
    if distinct.len() < 2 {
        return None;
    }
    changes.sort_unstable();
    changes.dedup();
    let mut hasher = blake3::Hasher::new_derive_key("muster 2026 field conflict v1");
    hasher.update(&document.0);
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key.as_bytes());
    for change in &changes {
        hasher.update(change);
    }
    let id = from_hash(&hasher);
    let values = distinct
        .into_iter()
        .map(|(canonical, value, set)| ConflictValue {
            choice_id: choice_id(id, &canonical),
            value,
            set,
        })
        .collect();
    Some(FieldConflict {
        field: key.to_owned(),
        id,
        values,
    })
}

fn choice_id(conflict: RecordId, canonical: &str) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("muster 2026 conflict choice v1");
    hasher.update(&conflict.0);
    hasher.update(canonical.as_bytes());
    HEXLOWER.encode(&hasher.finalize().as_bytes()[..8])
}

/// The change that made an operation.
pub(super) fn stamp_of(doc: &Automerge, operation: &ObjId) -> Option<Stamp> {
    let hash = doc.hash_for_opid(operation)?;
    let meta = doc.get_change_meta_by_hash(&hash)?;
    let actor = base_actor(&meta.actor)?;
    Some(Stamp {
        time_s: meta.timestamp,
        change: hash.0,
        actor,
    })
}

/// A register's value as JSON.
pub(super) fn json_of(value: &ScalarValue) -> Value {
    json_of_scalar(&value.clone().into())
}

/// The conflicts that a change, now applied, has settled: registers of which it replaced several distinct values.
/// A change that chooses the value already shown deletes them all and sets it anew, because a deletion of the others
/// alone would silently lose against a concurrent choice.
pub(super) fn resolved_by(
    doc: &Automerge,
    document: RecordId,
    change: &Change,
    ops: &[Op],
) -> Vec<ResolvedConflict> {
    let mut touched: BTreeMap<&str, (usize, Option<&ScalarValue>)> = BTreeMap::new();
    for op in ops.iter().filter(|op| op.obj == ObjectId::Root) {
        let Key::Map(key) = &op.key else { continue };
        let (replaced, last) = touched.entry(key.as_str()).or_default();
        *replaced = (*replaced).max(op.pred.len());
        *last = match &op.action {
            OpType::Put(value) => Some(value),
            _ => None,
        };
    }
    let Some(actor) = base_actor(change.actor_id()) else {
        return Vec::new();
    };
    let resolved = Stamp {
        time_s: change.timestamp(),
        change: change.hash().0,
        actor,
    };
    touched
        .into_iter()
        .filter(|(_, (replaced, _))| *replaced >= 2)
        .filter_map(|(key, (_, last))| {
            let conflict = at(doc, document, key, change.deps())?;
            Some(ResolvedConflict {
                conflict,
                chosen: last.map_or(Value::Null, json_of),
                resolved,
            })
        })
        .collect()
}
