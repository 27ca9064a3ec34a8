//! How a document looks from outside (DESIGN §8), and the form in which its read-model row keeps it.
//!
//! Invariant: a row holds only what follows from the log, the same on every node that has the same entries. What is
//! this node's own (who has it, last values, names) is laid over it at reading time.

use domain::{FactKind, Kind};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::clock::rfc3339_wall;

/// The JSON of a document's row.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct RowView {
    /// Fields of the kind, as the API shows them.
    pub fields: Map<String, Value>,
    /// Fields that this version of the program does not know: kept, shown apart.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub unknown: Map<String, Value>,
    /// Fields that are never shown (password hashes).
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub secrets: Map<String, Value>,
    /// Registers that hold several values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<OpenConflict>,
    /// Where the document stands in time.
    pub meta: Meta,
}

/// A register with several values, and the conflict that lists them.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub(super) struct OpenConflict {
    pub field: String,
    pub conflict: String,
}

/// First and last entry of a document. The last is the greatest by (hybrid time, node, user), so that every node names the
/// same one, whatever arrived first.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
pub(super) struct Meta {
    pub created_ms: u64,
    pub updated_ms: u64,
    pub updated_logical: u16,
    /// Node id of the last entry's author.
    pub node: String,
    /// User on whose behalf, if a person acted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Uuid>,
}

impl Meta {
    /// Takes in one more entry of the document.
    pub(super) fn observe(
        &mut self,
        wall_ms: u64,
        logical: u16,
        node: &str,
        user: Option<[u8; 16]>,
    ) {
        let first = self.node.is_empty();
        if first || wall_ms < self.created_ms {
            self.created_ms = wall_ms;
        }
        let user = user.map(Uuid::from_bytes);
        let last = (self.updated_ms, self.updated_logical, self.node.as_str());
        let newer = ((wall_ms, logical, node), user) > (last, self.user);
        if first || newer {
            self.updated_ms = wall_ms;
            self.updated_logical = logical;
            self.node = node.to_owned();
            self.user = user;
        }
    }
}

/// Names that stand beside ids.
pub(super) trait Names {
    /// A user's name, or what can be said where the user's document has not arrived.
    fn user(&self, id: Uuid) -> String;
    /// A node's name from its grant.
    fn node(&self, id: &str) -> Option<String>;
}

/// A copy of the document on another node.
#[derive(Debug, Clone)]
pub(super) struct SeenBy {
    pub node: String,
    pub stored_at_ms: Option<u64>,
    pub applied_at_ms: Option<u64>,
}

/// The document as the API shows it, without overlays of its kind.
pub(super) fn document(
    kind: Kind,
    id: Uuid,
    version: &str,
    deleted: bool,
    row: RowView,
    seen_by: &[SeenBy],
    names: &dyn Names,
) -> Map<String, Value> {
    let plural = domain::spec(kind).plural;
    let mut out = Map::new();
    out.insert("id".into(), json!(id));
    out.insert("version".into(), json!(version));
    out.extend(row.fields);
    if !row.unknown.is_empty() {
        out.insert("unknown_fields".into(), Value::Object(row.unknown));
    }
    if deleted {
        out.insert("deleted".into(), json!(true));
    }
    out.insert(
        "created_at".into(),
        json!(rfc3339_wall(row.meta.created_ms)),
    );
    out.insert(
        "updated_at".into(),
        json!(rfc3339_wall(row.meta.updated_ms)),
    );
    out.insert(
        "author".into(),
        json!(row.meta.user.map(|user| names.user(user))),
    );
    out.insert("node_name".into(), json!(names.node(&row.meta.node)));
    out.insert("node".into(), json!(row.meta.node));
    out.insert("conflicts".into(), json!(row.conflicts));
    out.insert("seen_by".into(), seen_by_json(seen_by, names));
    let own = format!("/v1/{plural}/{id}");
    out.insert(
        "_links".into(),
        json!({ "self": own, "history": format!("{own}/history"), "collection": format!("/v1/{plural}") }),
    );
    out
}

/// A fact as the API shows it: who wrote it where and when stands beside its fields, and nobody can change it.
pub(super) fn fact(
    kind: FactKind,
    id: Uuid,
    row: RowView,
    seen_by: &[SeenBy],
    names: &dyn Names,
) -> Map<String, Value> {
    let collection = format!("/v1/{}", kind.plural());
    let mut out = Map::new();
    out.insert("id".into(), json!(id));
    out.extend(row.fields);
    out.insert(
        "created_at".into(),
        json!(rfc3339_wall(row.meta.created_ms)),
    );
    out.insert(
        "author".into(),
        json!(row.meta.user.map(|user| names.user(user))),
    );
    out.insert("node_name".into(), json!(names.node(&row.meta.node)));
    out.insert("node".into(), json!(row.meta.node));
    out.insert("seen_by".into(), seen_by_json(seen_by, names));
    out.insert(
        "_links".into(),
        json!({ "self": format!("{collection}/{id}"), "collection": collection }),
    );
    out
}

/// `seen_by` as the API shows it.
pub(super) fn seen_by_json(seen_by: &[SeenBy], names: &dyn Names) -> Value {
    seen_by
        .iter()
        .map(|seen| {
            json!({
                "node": seen.node,
                "name": names.node(&seen.node),
                "stored_at": seen.stored_at_ms.map(rfc3339_wall),
                "applied_at": seen.applied_at_ms.map(rfc3339_wall),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_arrival_order_names_the_same_last_entry() {
        let entries = [
            (20, 0, "node-b", None),
            (20, 0, "node-a", Some([1; 16])),
            (20, 0, "node-b", Some([3; 16])),
            (10, 3, "node-c", Some([2; 16])),
        ];
        let mut forward = Meta::default();
        let mut backward = Meta::default();
        for (wall, logical, node, user) in entries {
            forward.observe(wall, logical, node, user);
        }
        for (wall, logical, node, user) in entries.into_iter().rev() {
            backward.observe(wall, logical, node, user);
        }
        assert_eq!(forward, backward);
        assert_eq!((forward.created_ms, forward.node.as_str()), (10, "node-b"));
    }
}
