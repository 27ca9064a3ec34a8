//! User: a person who signs in. Users replicate, so that a person can sign in on any node.

use super::{FieldSpec, NAME_BYTES_MAX};
use crate::schema::{Fallback, FieldError, Kind, KindSpec, ValueSpec};

pub(in crate::schema) static SPEC: KindSpec = KindSpec {
    kind: Kind::User,
    code: 0x0106,
    name: "user",
    plural: "users",
    lane: 3,
    fields: &[
        FieldSpec::register("name", ValueSpec::Str { max_bytes: 64 })
            .required()
            .default(Fallback::Str("")),
        FieldSpec::register(
            "display_name",
            ValueSpec::Str {
                max_bytes: NAME_BYTES_MAX,
            },
        ),
        FieldSpec::register("role", ValueSpec::Str { max_bytes: 64 }).default(Fallback::Str("")),
        FieldSpec::register("password_hash", ValueSpec::Str { max_bytes: 512 })
            .node_only()
            .secret(),
        FieldSpec::register("disabled", ValueSpec::Bool).default(Fallback::Bool(false)),
    ],
    genesis_version: 1,
    check,
};

/// A name is typed at sign-in, often on a small keyboard.
fn check(fields: &serde_json::Map<String, serde_json::Value>) -> Vec<FieldError> {
    let name = fields
        .get("name")
        .and_then(|name| name.as_str())
        .unwrap_or_default();
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '@');
    if name.chars().all(fits) {
        return Vec::new();
    }
    vec![FieldError::new(
        "/name",
        "may only contain letters, digits and . - _ @",
    )]
}
