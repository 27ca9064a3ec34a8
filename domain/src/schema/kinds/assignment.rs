//! Assignment: a resource sent to an incident (ICS-204, EDXL-RM deployment states).

use super::FieldSpec;
use crate::schema::{Fallback, Kind, KindSpec, ValueSpec};

pub(in crate::schema) static SPEC: KindSpec = KindSpec {
    kind: Kind::Assignment,
    code: 0x0103,
    name: "assignment",
    plural: "assignments",
    lane: 3,
    fields: &[
        FieldSpec::register("resource", ValueSpec::Id(Kind::Resource)).required(),
        FieldSpec::register("incident", ValueSpec::Id(Kind::Incident)).required(),
        FieldSpec::register(
            "state",
            ValueSpec::Enum(&[
                "requested",
                "committed",
                "en_route",
                "on_scene",
                "released",
                "cancelled",
            ]),
        )
        .default(Fallback::Str("requested")),
    ],
    genesis_version: 1,
    check: super::no_check,
};
