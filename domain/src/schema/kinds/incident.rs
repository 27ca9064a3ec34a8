//! Incident: something that happened and needs people (ICS-201, CAP 1.2 categories and severities).

use super::{CAP_CATEGORIES, FieldSpec, NAME_BYTES_MAX, SEVERITIES, TAG_BYTES_MAX, TEXT_BYTES_MAX};
use crate::schema::{Fallback, Kind, KindSpec, Part, ValueSpec};

/// Which rule, device and channel raised it.
const SOURCE: &[Part] = &[
    Part {
        name: "rule",
        value: ValueSpec::Id(Kind::Rule),
        required: true,
    },
    Part {
        name: "device",
        value: ValueSpec::Str { max_bytes: 128 },
        required: true,
    },
    Part {
        name: "channel",
        value: ValueSpec::Str { max_bytes: 128 },
        required: true,
    },
];

/// The worst value so far.
const PEAK: &[Part] = &[
    Part {
        name: "at",
        value: ValueSpec::Time,
        required: true,
    },
    Part {
        name: "value",
        value: ValueSpec::Float,
        required: true,
    },
];

pub(in crate::schema) static SPEC: KindSpec = KindSpec {
    kind: Kind::Incident,
    code: 0x0101,
    name: "incident",
    plural: "incidents",
    lane: 2,
    fields: &[
        FieldSpec::register(
            "title",
            ValueSpec::Str {
                max_bytes: NAME_BYTES_MAX,
            },
        )
        .required()
        .default(Fallback::Str("")),
        FieldSpec::register("category", ValueSpec::Enum(CAP_CATEGORIES))
            .default(Fallback::Str("Other")),
        FieldSpec::register(
            "status",
            ValueSpec::Enum(&[
                "reported",
                "confirmed",
                "active",
                "contained",
                "closed",
                "false_alarm",
            ]),
        )
        .default(Fallback::Str("reported")),
        FieldSpec::register("severity", ValueSpec::Enum(SEVERITIES))
            .default(Fallback::Str("unknown")),
        FieldSpec::text("description", TEXT_BYTES_MAX),
        FieldSpec::register("location", ValueSpec::Location),
        FieldSpec::set("tags", TAG_BYTES_MAX),
        FieldSpec::register("parent", ValueSpec::Id(Kind::Incident)),
        FieldSpec::register("source", ValueSpec::Object(SOURCE)).node_only(),
        FieldSpec::register("raised_at", ValueSpec::Time).node_only(),
        FieldSpec::register("peak", ValueSpec::Object(PEAK)).node_only(),
        FieldSpec::register("cleared_at", ValueSpec::Time).node_only(),
        FieldSpec::register("evidence", ValueSpec::Any).node_only(),
    ],
    genesis_version: 1,
    check: super::no_check,
};
