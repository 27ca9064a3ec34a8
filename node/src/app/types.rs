//! The words that use cases share: who asks, what is asked for in a list, and what a list answers.

use std::collections::BTreeMap;

use serde_json::Value;

/// How a caller came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// The page's cookie session.
    Session,
    /// A bearer token.
    Token,
    /// `muster.sock` in the data directory: whoever may open it owns the node.
    Socket,
    /// The node itself (rules, housekeeping).
    Node,
}

/// Who asks. Only `app::auth` makes one for a person.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The user's document id; `None` for the node itself and for the socket.
    pub user_id: Option<[u8; 16]>,
    /// Name to show.
    pub name: String,
    /// Role by which `domain::permissions` decides.
    pub role: String,
    /// How they came in.
    pub via: Via,
}

impl Caller {
    /// Whoever can open the data directory's socket.
    pub fn socket() -> Self {
        Caller {
            user_id: None,
            name: "local administrator".into(),
            role: "admin".into(),
            via: Via::Socket,
        }
    }

    /// The node itself.
    pub fn node() -> Self {
        Caller {
            user_id: None,
            name: "node".into(),
            role: "admin".into(),
            via: Via::Node,
        }
    }
}

/// West, south, east, north in degrees, WGS 84; west > east crosses the antimeridian.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BoundingBox {
    /// Western edge, −180..180.
    pub min_lon: f64,
    /// Southern edge, −90..90.
    pub min_lat: f64,
    /// Eastern edge, −180..180.
    pub max_lon: f64,
    /// Northern edge, −90..90.
    pub max_lat: f64,
}

/// What a list request may say (DESIGN §8).
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    /// 1..=500, 50 where nothing is said.
    pub limit: Option<u32>,
    /// Opaque, from the `next` of an earlier page.
    pub cursor: Option<String>,
    /// Words to find.
    pub q: Option<String>,
    /// Only what lies within.
    pub bbox: Option<BoundingBox>,
    /// Opaque position in this node's arrival order, from the `since` of an earlier answer.
    pub since: Option<String>,
    /// Deleted documents too.
    pub include_deleted: bool,
    /// Kind-specific filters, by field name.
    pub filters: BTreeMap<String, String>,
    /// As this node knew it at that time, milliseconds since 1970 UTC.
    pub at_wall_ms: Option<u64>,
}

/// One page of a list.
#[derive(Debug, Clone)]
pub struct Page {
    /// The items, as the API shows them.
    pub items: Vec<Value>,
    /// Cursor of the next page; `None` at the end.
    pub next: Option<String>,
    /// This node's position in arrival order when the page was read.
    pub since: String,
}

/// What a create answers.
#[derive(Debug, Clone)]
pub struct Created {
    /// The document as the API shows it.
    pub value: Value,
    /// It was there already (devices: one name is one document), or the answer was kept for this idempotency key.
    pub existed: bool,
}

/// A request that must have its effect once, however often it is sent (kept 7 days).
#[derive(Debug, Clone)]
pub struct IdempotencyKey {
    /// The header's value, 1..=128 bytes.
    pub key: String,
    /// Method and path, part of the scope.
    pub route: String,
    /// BLAKE3 of the body as it came.
    pub body_hash: [u8; 32],
}

impl IdempotencyKey {
    /// Keys are separate per user, method and path.
    pub(in crate::app) fn scope(&self, user_id: Option<[u8; 16]>) -> String {
        match user_id {
            Some(user) => format!("{} {}", uuid::Uuid::from_bytes(user), self.route),
            None => format!("node {}", self.route),
        }
    }
}

/// One change of one document or fact, for `GET /v1/events`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Position in this node's arrival order.
    pub position: i64,
    /// Kind, singular: `incident`.
    pub kind: String,
    /// Document or fact id.
    pub id: String,
    /// The version after the change.
    pub version: String,
}

/// How a person settles a conflict.
#[derive(Debug, Clone)]
pub enum Resolution {
    /// One of the values in the conflict, by its choice id.
    Choice(String),
    /// Another value.
    Value(Value),
}

/// Which kind of thing a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// An Automerge document.
    Document(domain::Kind),
    /// An immutable fact.
    Fact(domain::FactKind),
}
