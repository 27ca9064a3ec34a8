//! The words that use cases share: who asks, what is asked for in a list, and what a list answers.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde_json::Value;

use super::error::AppError;

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

/// Items of a list where nothing is said, and at most (DESIGN §8).
pub const LIST_LIMIT_DEFAULT: u32 = 50;
/// See [`LIST_LIMIT_DEFAULT`].
pub const LIST_LIMIT_MAX: u32 = 500;

/// How many items somebody wants. What is too much is refused, not cut: who asks for more would take the page for all.
pub(in crate::app) fn limit_of(
    limit: Option<u32>,
    default: u32,
    max: u32,
) -> Result<usize, AppError> {
    match limit.unwrap_or(default) {
        limit if (1..=max).contains(&limit) => Ok(limit as usize),
        _ => Err(AppError::Unreadable(format!(
            "limit: 1 to {max} is expected"
        ))),
    }
}

/// Where a list goes on, from the `next` of the page before.
pub(in crate::app) fn cursor_of<T: FromStr>(cursor: Option<&str>) -> Result<Option<T>, AppError> {
    let parsed = cursor.map(str::parse).transpose();
    parsed.map_err(|_| bad_query("cursor"))
}

/// A query parameter that did not come from an answer of ours.
pub(in crate::app) fn bad_query(name: &str) -> AppError {
    AppError::Invalid(vec![domain::FieldError {
        pointer: format!("/{name}"),
        detail: "is not one that this node has given out".into(),
    }])
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

impl Page {
    /// A page of at most `limit` rows. One more was read, to know whether there are more; `cursor` says where the next
    /// page goes on after a row.
    pub(in crate::app) fn cut<T>(
        mut rows: Vec<T>,
        limit: usize,
        since: String,
        cursor: impl Fn(&T) -> String,
        show: impl FnMut(T) -> Value,
    ) -> Page {
        let more = rows.len() > limit;
        rows.truncate(limit);
        Page {
            next: rows.last().filter(|_| more).map(cursor),
            items: rows.into_iter().map(show).collect(),
            since,
        }
    }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page(rows: Vec<i64>) -> Page {
        Page::cut(rows, 2, "7".into(), i64::to_string, |row| json!(row))
    }

    #[test]
    fn a_page_names_the_next_one_only_where_more_was_read_than_it_holds() {
        let first = page(vec![9, 8, 7]);
        assert_eq!(first.items, [json!(9), json!(8)]);
        assert_eq!(first.next.as_deref(), Some("8"));
        assert_eq!(page(vec![9, 8]).next, None);
        assert_eq!(page(vec![]).next, None);
    }

    #[test]
    fn a_limit_that_is_too_large_is_refused_and_not_cut() {
        assert!(matches!(limit_of(None, 50, 500), Ok(50)));
        assert!(matches!(limit_of(Some(500), 50, 500), Ok(500)));
        for wrong in [0, 501] {
            let refused = limit_of(Some(wrong), 50, 500);
            assert!(matches!(refused, Err(AppError::Unreadable(_))), "{wrong}");
        }
    }

    #[test]
    fn a_cursor_that_was_not_given_out_is_refused() {
        assert!(matches!(cursor_of::<i64>(None), Ok(None)));
        assert!(matches!(cursor_of::<i64>(Some("12")), Ok(Some(12))));
        let refused = cursor_of::<i64>(Some("twelve"));
        assert!(
            matches!(refused, Err(AppError::Invalid(errors)) if errors[0].pointer == "/cursor")
        );
    }
}
