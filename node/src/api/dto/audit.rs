//! Shapes of the audit record, for the OpenAPI document.

use serde_json::Value;
use utoipa::ToSchema;

/// One action of a person or program on this node. Kept for seven years.
#[derive(ToSchema)]
pub struct AuditRecord {
    /// Id on this node; greater ones are later.
    pub id: String,
    /// When, by this node's clock.
    #[schema(format = DateTime)]
    pub at: String,
    /// Who: a user's name, `local administrator` for the command line, or `node` and what acts by itself.
    pub actor: String,
    /// What was done, such as `decoders.put`.
    pub action: String,
    /// The document that it was done to; null where it was something else.
    #[schema(required, format = "uuid")]
    pub object: Option<String>,
    /// What that is, as its path says: `incidents`, `devices`, …; null where there is none, or this version does not know it.
    #[schema(required)]
    pub kind: Option<String>,
    /// Names, ids and versions, by action.
    #[schema(value_type = Object)]
    pub detail: Value,
}

/// Audit records, newest first.
#[derive(ToSchema)]
pub struct AuditPage {
    /// The records.
    pub items: Vec<AuditRecord>,
    /// Cursor of the next page; null at the end.
    #[schema(required)]
    pub next: Option<String>,
    /// This node's position.
    pub since: String,
}
