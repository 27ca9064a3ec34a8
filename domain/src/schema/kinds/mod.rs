//! One file per kind of document.

pub(super) mod assignment;
pub(super) mod calibration;
pub(super) mod device;
pub(super) mod incident;
pub(super) mod resource;
pub(super) mod rule;
pub(super) mod user;

use super::{FieldError, FieldSpec};

/// A name or title: one line that fits on a screen.
const NAME_BYTES_MAX: usize = 200;
/// A remark or description that is typed, not pasted from a book; one edit must fit an entry of 32 KiB anyway.
const TEXT_BYTES_MAX: usize = 20_000;
/// One tag or capability.
const TAG_BYTES_MAX: usize = 64;

/// CAP 1.2 §3.2.2 `category`.
pub(super) const CAP_CATEGORIES: &[&str] = &[
    "Geo",
    "Met",
    "Safety",
    "Security",
    "Rescue",
    "Fire",
    "Health",
    "Env",
    "Transport",
    "Infra",
    "CBRNE",
    "Other",
];

/// CAP 1.2 §3.2.2 `severity`, in lower case.
pub(super) const SEVERITIES: &[&str] = &["extreme", "severe", "moderate", "minor", "unknown"];

/// For kinds whose fields do not depend on each other.
fn no_check(_: &serde_json::Map<String, serde_json::Value>) -> Vec<FieldError> {
    Vec::new()
}
