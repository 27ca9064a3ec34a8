//! Device: a sensor that publishes readings. Its id comes from its name ([`crate::ids::stable_id`]), so that two nodes
//! that approve it apart make one document.
//!
//! `last_seen`, `battery_pct` and `rssi_dbm` are not fields: they come from local state and are never edited.

use super::{FieldSpec, TEXT_BYTES_MAX};
use crate::schema::{Fallback, FieldError, Kind, KindSpec, ValueSpec};

pub(in crate::schema) static SPEC: KindSpec = KindSpec {
    kind: Kind::Device,
    code: 0x0104,
    name: "device",
    plural: "devices",
    lane: 3,
    fields: &[
        FieldSpec::register("name", ValueSpec::Str { max_bytes: 128 })
            .required()
            .default(Fallback::Str("")),
        FieldSpec::register(
            "state",
            ValueSpec::Enum(&["unknown", "approved", "disabled"]),
        )
        .default(Fallback::Str("unknown")),
        FieldSpec::register("location", ValueSpec::Location),
        FieldSpec::register(
            "expected_interval_s",
            ValueSpec::Int {
                min: 1,
                max: 31_536_000,
            },
        ),
        FieldSpec::text("description", TEXT_BYTES_MAX),
    ],
    genesis_version: 1,
    check,
};

/// A device's name is one level of an MQTT topic, so it can hold none of that syntax (MQTT 3.1.1 §4.7).
fn check(fields: &serde_json::Map<String, serde_json::Value>) -> Vec<FieldError> {
    let name = fields
        .get("name")
        .and_then(|name| name.as_str())
        .unwrap_or_default();
    if name.contains(['/', '+', '#', '*']) {
        return vec![FieldError::new("/name", "may not contain / + # or *")];
    }
    Vec::new()
}
