//! What the OpenAPI document says about the routes of a kind.

use domain::Kind;
use utoipa::openapi::path::OperationBuilder;
use utoipa::openapi::{RefOr, Schema};

use super::filters;
use crate::api::openapi::{self, Header};
use crate::api::query::LIST_LIMIT_MAX;
use crate::api::schema::{Names, reference};
use crate::app::RecordKind;

const CURSOR: &str = "The next of an earlier page.";
const BOX: &str =
    "minlon,minlat,maxlon,maxlat in degrees; minlon > maxlon crosses the antimeridian.";
const AT: &str = "As this node knew it at that time (RFC 3339).";

pub(super) fn list(kind: RecordKind) -> OperationBuilder {
    let (_, plural) = words(kind);
    let summary = format!("The {plural} of this node.");
    let mut operation = openapi::operation(plural, &format!("list_{plural}"), &summary)
        .parameter(openapi::limit_parameter(LIST_LIMIT_MAX));
    for parameter in [
        openapi::query_parameter("cursor", CURSOR),
        openapi::query_parameter("q", "Words to find."),
        openapi::pattern_parameter("bbox", BOX, "^(-?[0-9.]+,){3}-?[0-9.]+$"),
        openapi::query_parameter(
            "since",
            "Only what changed after this since of an earlier answer.",
        ),
        openapi::word_parameter("include", "Deleted ones too.", &["deleted"]),
        openapi::time_parameter("at", AT),
    ] {
        operation = operation.parameter(parameter);
    }
    for name in filters(kind) {
        let text = format!("Only those with this {name}.");
        operation = operation.parameter(openapi::query_parameter(name, &text));
    }
    let page = reference(&names(kind).page);
    operation.response("200", openapi::json_response("One page.", page, &[]))
}

pub(super) fn create(kind: RecordKind) -> OperationBuilder {
    let body = openapi::json_body(reference(&names(kind).create));
    let operation = operation(kind, "create", "Record")
        .parameter(openapi::idempotency_parameter())
        .request_body(Some(body));
    let headers: &[Header] = match kind {
        RecordKind::Document(_) => &[Header::ETag, Header::Location],
        RecordKind::Fact(_) => &[Header::Location],
    };
    let stored = openapi::json_response("Stored on this node.", read_schema(kind), headers);
    let operation = operation.response("201", stored);
    if kind != RecordKind::Document(Kind::Device) {
        return operation;
    }
    let changed = "A device of this name was known; it has been changed.";
    operation.response(
        "200",
        openapi::json_response(changed, read_schema(kind), headers),
    )
}

pub(super) fn read(kind: RecordKind) -> OperationBuilder {
    let headers: &[Header] = match kind {
        RecordKind::Document(_) => &[Header::ETag],
        RecordKind::Fact(_) => &[],
    };
    operation(kind, "get", "Read")
        .parameter(openapi::id_parameter())
        .parameter(openapi::time_parameter("at", AT))
        .response(
            "200",
            openapi::json_response("As it is here.", read_schema(kind), headers),
        )
}

pub(super) fn edit(kind: Kind) -> OperationBuilder {
    let record = RecordKind::Document(kind);
    operation(record, "edit", "Change")
        .description(Some(
            "The edit is merged as if it had been made at the version that If-Match names.",
        ))
        .parameter(openapi::id_parameter())
        .parameter(openapi::if_match_parameter(true))
        .parameter(openapi::idempotency_parameter())
        .request_body(Some(openapi::json_body(reference(&names(record).patch))))
        .response("200", document("The merged document.", record))
}

pub(super) fn delete(kind: Kind) -> OperationBuilder {
    operation(RecordKind::Document(kind), "delete", "Delete")
        .description(Some("It answers 410 afterwards; restore brings it back."))
        .parameter(openapi::id_parameter())
        .parameter(openapi::if_match_parameter(false))
        .response("204", openapi::empty_response("It was deleted."))
}

pub(super) fn restore(kind: Kind) -> OperationBuilder {
    let record = RecordKind::Document(kind);
    operation(record, "restore", "Bring back")
        .parameter(openapi::id_parameter())
        .response("200", document("The document.", record))
}

pub(super) fn history(kind: Kind) -> OperationBuilder {
    operation(RecordKind::Document(kind), "history_of", "Look back on")
        .description(Some("How it came to be what it is, newest first."))
        .parameter(openapi::id_parameter())
        .parameter(openapi::limit_parameter(LIST_LIMIT_MAX))
        .parameter(openapi::query_parameter("cursor", CURSOR))
        .response(
            "200",
            openapi::json_response("One page.", reference("HistoryPage"), &[]),
        )
}

fn document(text: &str, kind: RecordKind) -> utoipa::openapi::Response {
    openapi::json_response(text, read_schema(kind), &[Header::ETag])
}

/// An operation on one record: `create_incident`, "Record an incident."
fn operation(kind: RecordKind, id: &str, verb: &str) -> OperationBuilder {
    let (singular, plural) = words(kind);
    let article = if singular.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    };
    openapi::operation(
        plural,
        &format!("{id}_{singular}"),
        &format!("{verb} {article} {singular}."),
    )
}

fn read_schema(kind: RecordKind) -> RefOr<Schema> {
    reference(&names(kind).read)
}

fn names(kind: RecordKind) -> Names {
    Names::of(words(kind).0)
}

/// Singular and plural.
fn words(kind: RecordKind) -> (&'static str, &'static str) {
    match kind {
        RecordKind::Document(kind) => (kind.spec().name, kind.spec().plural),
        RecordKind::Fact(kind) => (kind.name(), kind.plural()),
    }
}
