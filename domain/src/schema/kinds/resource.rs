//! Resource: a vehicle, team or piece of equipment (NIMS resource kinds and types, EDXL-RM).
//!
//! `status` is not a field: it is derived from assignments and `out_of_service`.

use super::{FieldSpec, NAME_BYTES_MAX, TAG_BYTES_MAX};
use crate::schema::{Fallback, Kind, KindSpec, ValueSpec};

pub(in crate::schema) static SPEC: KindSpec = KindSpec {
    kind: Kind::Resource,
    code: 0x0102,
    name: "resource",
    plural: "resources",
    lane: 3,
    fields: &[
        FieldSpec::register(
            "name",
            ValueSpec::Str {
                max_bytes: NAME_BYTES_MAX,
            },
        )
        .required()
        .default(Fallback::Str("")),
        FieldSpec::register(
            "kind",
            ValueSpec::Str {
                max_bytes: NAME_BYTES_MAX,
            },
        ),
        FieldSpec::register(
            "type",
            ValueSpec::Str {
                max_bytes: NAME_BYTES_MAX,
            },
        ),
        FieldSpec::register(
            "organisation",
            ValueSpec::Str {
                max_bytes: NAME_BYTES_MAX,
            },
        ),
        FieldSpec::register("location", ValueSpec::Location),
        FieldSpec::set("capabilities", TAG_BYTES_MAX),
        FieldSpec::register(
            "out_of_service",
            ValueSpec::Str {
                max_bytes: NAME_BYTES_MAX,
            },
        ),
    ],
    genesis_version: 1,
    check: super::no_check,
};
