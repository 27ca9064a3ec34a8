//! `/v1/<plural>` for every kind of document and fact: one implementation, told apart by a [`RecordKind`].
//!
//! Invariant: a kind that the domain's registry lists has its routes, its filters and its schemas without a line here,
//! except users: their documents hold password hashes, so they are managed by `muster user` and have no routes.

use axum::Json;
use axum::extract::{OriginalUri, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, patch, post};
use domain::{FactKind, Kind, Merge, ValueSpec};
use serde_json::{Value, json};
use utoipa::openapi::HttpMethod;
use utoipa::openapi::path::{OperationBuilder, Paths};
use utoipa_axum::router::OpenApiRouter;

use super::ApiState;
use super::extract::{
    JsonObject, LIST_LIMIT_MAX, QueryParameters, Signed, idempotency_key, if_match,
};
use super::openapi::{self, Header};
use super::problem::Problem;
use super::schema::{self, Names};
use crate::app::{ListQuery, Page, RecordKind};

type Answer = Result<Response, Problem>;

/// Parameters that every list takes, beside the filters of its kind.
const LIST_PARAMETERS: [&str; 7] = ["limit", "cursor", "q", "bbox", "since", "include", "at"];

/// The kinds of document that have routes.
fn document_kinds() -> impl Iterator<Item = Kind> {
    Kind::all().filter(|kind| *kind != Kind::User)
}

/// Fields of a kind that a list can be filtered by: words, ids, flags and sets, which are compared whole.
pub fn filters(kind: RecordKind) -> Vec<&'static str> {
    match kind {
        RecordKind::Document(kind) => {
            let comparable = |value: &ValueSpec, merge: Merge| {
                merge == Merge::Set
                    || matches!(
                        value,
                        ValueSpec::Enum(_) | ValueSpec::Id(_) | ValueSpec::Bool
                    )
            };
            let by_name = ["kind", "type", "organisation", "name"];
            let mut names: Vec<_> = domain::schema::spec(kind)
                .fields
                .iter()
                .filter(|field| !field.secret)
                .filter(|field| {
                    comparable(&field.value, field.merge)
                        || (by_name.contains(&field.name)
                            && matches!(field.value, ValueSpec::Str { .. }))
                })
                .map(|field| field.name)
                .collect();
            match kind {
                Kind::Resource => names.push("status"),
                Kind::Incident => names.extend(["rule", "device"]),
                _ => {}
            }
            names
        }
        RecordKind::Fact(_) => vec!["about"],
    }
}

/// The routes of every kind, with their OpenAPI description.
pub fn routes() -> OpenApiRouter<ApiState> {
    let mut router = OpenApiRouter::default();
    for kind in document_kinds() {
        router = document_routes(router, kind);
    }
    for kind in FactKind::all() {
        router = fact_routes(router, kind);
    }
    router
}

fn document_routes(router: OpenApiRouter<ApiState>, kind: Kind) -> OpenApiRouter<ApiState> {
    let spec = domain::schema::spec(kind);
    let record = RecordKind::Document(kind);
    let names = Names::of(spec.name);
    let all = format!("/v1/{}", spec.plural);
    let one = format!("{all}/{{id}}");

    let list_route = get(
        move |State(api): State<ApiState>, caller: Signed, query: QueryParameters| {
            list(api, caller, record, query)
        },
    );
    let create_route = post(
        move |State(api): State<ApiState>, caller: Signed, head: Head, body: JsonObject| {
            create(api, caller, record, head, body)
        },
    );
    let read_route = get(
        move |State(api): State<ApiState>,
              caller: Signed,
              Path(id): Path<String>,
              query: QueryParameters| { read(api, caller, record, id, query) },
    );
    let edit_route = patch(
        move |State(api): State<ApiState>,
              caller: Signed,
              Path(id): Path<String>,
              head: Head,
              body: JsonObject| { edit(api, caller, kind, id, head, body) },
    );
    let delete_route = delete(
        move |State(api): State<ApiState>, caller: Signed, Path(id): Path<String>, head: Head| {
            remove(api, caller, kind, id, head)
        },
    );
    let restore_route = post(
        move |State(api): State<ApiState>, caller: Signed, Path(id): Path<String>| {
            restore(api, caller, kind, id)
        },
    );
    let history_route = get(
        move |State(api): State<ApiState>,
              caller: Signed,
              Path(id): Path<String>,
              query: QueryParameters| { history(api, caller, kind, id, query) },
    );

    let read_schema = || schema::reference(&names.read);
    let op = |id: &str, summary: String| {
        openapi::operation(spec.plural, &format!("{id}_{}", spec.name), &summary)
    };
    let a = article(spec.name);
    let list_op = list_parameters(
        openapi::operation(
            spec.plural,
            &format!("list_{}", spec.plural),
            &format!("The {} of this node.", spec.plural),
        ),
        record,
    )
    .response(
        "200",
        openapi::json_response("One page.", schema::reference(&names.page), &[]),
    );
    let created =
        |text| openapi::json_response(text, read_schema(), &[Header::ETag, Header::Location]);
    let mut create_op = op("create", format!("Record {a} {}.", spec.name))
        .parameter(openapi::idempotency_parameter())
        .request_body(Some(openapi::json_body(schema::reference(&names.create))))
        .response("201", created("Stored on this node."));
    if kind == Kind::Device {
        create_op = create_op.response(
            "200",
            created("A device of this name was known; it has been changed."),
        );
    }
    let read_op = op("get", format!("One {}.", spec.name))
        .parameter(openapi::id_parameter())
        .parameter(openapi::query_parameter(
            "at",
            "As this node knew it at that time (RFC 3339).",
        ))
        .response(
            "200",
            openapi::json_response("The document.", read_schema(), &[Header::ETag]),
        );
    let edit_op = op(
        "edit",
        format!(
            "Change {a} {}, merged with what others did since the version named.",
            spec.name
        ),
    )
    .parameter(openapi::id_parameter())
    .parameter(openapi::if_match_parameter(true))
    .parameter(openapi::idempotency_parameter())
    .request_body(Some(openapi::json_body(schema::reference(&names.patch))))
    .response(
        "200",
        openapi::json_response("The merged document.", read_schema(), &[Header::ETag]),
    );
    let delete_op = op(
        "delete",
        format!("Delete {a} {}; restore brings it back.", spec.name),
    )
    .parameter(openapi::id_parameter())
    .parameter(openapi::if_match_parameter(false))
    .response("204", openapi::empty_response("It was deleted."));
    let restore_op = op("restore", format!("Bring a deleted {} back.", spec.name))
        .parameter(openapi::id_parameter())
        .response(
            "200",
            openapi::json_response("The document.", read_schema(), &[Header::ETag]),
        );
    let history_op = op(
        "history_of",
        format!("How {a} {} came to be what it is, newest first.", spec.name),
    )
    .parameter(openapi::id_parameter())
    .parameter(openapi::limit_parameter(LIST_LIMIT_MAX))
    .parameter(openapi::query_parameter(
        "cursor",
        "The next of an earlier page.",
    ))
    .response(
        "200",
        openapi::json_response("One page.", schema::reference("HistoryPage"), &[]),
    );

    let components = schema::document_components(kind);
    let router = described(
        router,
        &all,
        components,
        list_route.merge(create_route),
        [(HttpMethod::Get, list_op), (HttpMethod::Post, create_op)],
    );
    let router = described(
        router,
        &one,
        vec![],
        read_route.merge(edit_route).merge(delete_route),
        [
            (HttpMethod::Get, read_op),
            (HttpMethod::Patch, edit_op),
            (HttpMethod::Delete, delete_op),
        ],
    );
    let router = described(
        router,
        &format!("{one}/restore"),
        vec![],
        restore_route,
        [(HttpMethod::Post, restore_op)],
    );
    described(
        router,
        &format!("{one}/history"),
        vec![],
        history_route,
        [(HttpMethod::Get, history_op)],
    )
}

fn fact_routes(router: OpenApiRouter<ApiState>, kind: FactKind) -> OpenApiRouter<ApiState> {
    let record = RecordKind::Fact(kind);
    let (singular, plural) = (kind.name(), kind.plural());
    let names = Names::of(singular);
    let all = format!("/v1/{plural}");
    let list_route = get(
        move |State(api): State<ApiState>, caller: Signed, query: QueryParameters| {
            list(api, caller, record, query)
        },
    );
    let create_route = post(
        move |State(api): State<ApiState>, caller: Signed, head: Head, body: JsonObject| {
            create(api, caller, record, head, body)
        },
    );
    let read_route = get(
        move |State(api): State<ApiState>,
              caller: Signed,
              Path(id): Path<String>,
              query: QueryParameters| { read(api, caller, record, id, query) },
    );
    let op = |id: &str, summary: String| {
        openapi::operation(plural, &format!("{id}_{singular}"), &summary)
    };
    let list_op = list_parameters(
        openapi::operation(
            plural,
            &format!("list_{plural}"),
            &format!("The {plural} of this node."),
        ),
        record,
    )
    .response(
        "200",
        openapi::json_response("One page.", schema::reference(&names.page), &[]),
    );
    let create_op = op(
        "create",
        format!("Record a {singular}; nobody edits it afterwards."),
    )
    .parameter(openapi::idempotency_parameter())
    .request_body(Some(openapi::json_body(schema::reference(&names.create))))
    .response(
        "201",
        openapi::json_response(
            "Stored.",
            schema::reference(&names.read),
            &[Header::Location],
        ),
    );
    let read_op = op("get", format!("One {singular}."))
        .parameter(openapi::id_parameter())
        .response(
            "200",
            openapi::json_response("The record.", schema::reference(&names.read), &[]),
        );
    let components = schema::fact_components(kind);
    let router = described(
        router,
        &all,
        components,
        list_route.merge(create_route),
        [(HttpMethod::Get, list_op), (HttpMethod::Post, create_op)],
    );
    described(
        router,
        &format!("{all}/{{id}}"),
        vec![],
        read_route,
        [(HttpMethod::Get, read_op)],
    )
}

/// Puts one path with its operations into the router and into its OpenAPI document.
fn described<const N: usize>(
    router: OpenApiRouter<ApiState>,
    path: &str,
    components: Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::Schema>)>,
    methods: MethodRouter<ApiState>,
    operations: [(HttpMethod, OperationBuilder); N],
) -> OpenApiRouter<ApiState> {
    let mut paths = Paths::new();
    for (method, operation) in operations {
        paths.add_path_operation(path, vec![method], operation.build());
    }
    router.routes((components, paths, methods))
}

fn list_parameters(operation: OperationBuilder, kind: RecordKind) -> OperationBuilder {
    let mut operation = operation
        .parameter(openapi::limit_parameter(LIST_LIMIT_MAX))
        .parameter(openapi::query_parameter(
            "cursor",
            "The next of an earlier page.",
        ))
        .parameter(openapi::query_parameter("q", "Words to find."))
        .parameter(openapi::query_parameter(
            "bbox",
            "minlon,minlat,maxlon,maxlat in degrees; minlon > maxlon crosses the antimeridian.",
        ))
        .parameter(openapi::query_parameter(
            "since",
            "Only what changed after this since of an earlier answer.",
        ))
        .parameter(openapi::query_parameter(
            "include",
            "deleted: deleted ones too.",
        ))
        .parameter(openapi::query_parameter(
            "at",
            "As this node knew it at that time (RFC 3339).",
        ));
    for name in filters(kind) {
        operation = operation.parameter(openapi::query_parameter(
            name,
            &format!("Only those with this {name}."),
        ));
    }
    operation
}

fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    }
}

/// Path and headers of a write.
struct Head {
    path: String,
    headers: HeaderMap,
}

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Head {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        state: &S,
    ) -> Result<Self, Self::Rejection> {
        let OriginalUri(uri) = OriginalUri::from_request_parts(parts, state).await?;
        Ok(Head {
            path: uri.path().to_owned(),
            headers: parts.headers.clone(),
        })
    }
}

async fn list(
    api: ApiState,
    Signed(caller): Signed,
    kind: RecordKind,
    mut query: QueryParameters,
) -> Answer {
    let filters_known = filters(kind);
    let mut wanted = ListQuery {
        limit: query.limit(LIST_LIMIT_MAX)?,
        cursor: query.text("cursor"),
        q: query.text("q"),
        bbox: query.bounding_box()?,
        since: query.text("since"),
        include_deleted: query.include_deleted()?,
        at_wall_ms: query.at_wall_ms()?,
        ..ListQuery::default()
    };
    for name in &filters_known {
        if let Some(value) = query.text(name) {
            wanted.filters.insert((*name).to_owned(), value);
        }
    }
    let known: Vec<&str> = LIST_PARAMETERS
        .iter()
        .copied()
        .chain(filters_known)
        .collect();
    query.finish(&known)?;
    Ok(page_answer(api.app.list(&caller, kind, wanted).await?))
}

async fn create(
    api: ApiState,
    Signed(caller): Signed,
    kind: RecordKind,
    head: Head,
    body: JsonObject,
) -> Answer {
    let key = idempotency_key(&head.headers, format!("POST {}", head.path), body.body_hash)?;
    let created = api.app.create(&caller, kind, body.members, key).await?;
    // Only a device is named by its writer, so only a device can have been there before; elsewhere `existed` means
    // that this is the kept answer of an idempotency key, which must look like the first one.
    let was_there = created.existed && kind == RecordKind::Document(Kind::Device);
    let status = if was_there {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    let location = created.value["id"]
        .as_str()
        .map(|id| format!("{}/{id}", head.path.trim_end_matches('/')));
    let mut response = document_answer(status, created.value);
    if let Some(location) = location.and_then(|path| HeaderValue::try_from(path).ok()) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

async fn read(
    api: ApiState,
    Signed(caller): Signed,
    kind: RecordKind,
    id: String,
    mut query: QueryParameters,
) -> Answer {
    let at_wall_ms = query.at_wall_ms()?;
    query.finish(&["at"])?;
    Ok(document_answer(
        StatusCode::OK,
        api.app.get(&caller, kind, &id, at_wall_ms).await?,
    ))
}

async fn edit(
    api: ApiState,
    Signed(caller): Signed,
    kind: Kind,
    id: String,
    head: Head,
    body: JsonObject,
) -> Answer {
    let base = if_match(&head.headers)?;
    let key = idempotency_key(
        &head.headers,
        format!("PATCH {}", head.path),
        body.body_hash,
    )?;
    let merged = api
        .app
        .patch(&caller, kind, &id, base.as_deref(), body.members, key)
        .await?;
    Ok(document_answer(StatusCode::OK, merged))
}

async fn remove(
    api: ApiState,
    Signed(caller): Signed,
    kind: Kind,
    id: String,
    head: Head,
) -> Answer {
    let base = if_match(&head.headers)?;
    api.app.delete(&caller, kind, &id, base.as_deref()).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn restore(api: ApiState, Signed(caller): Signed, kind: Kind, id: String) -> Answer {
    Ok(document_answer(
        StatusCode::OK,
        api.app.restore(&caller, kind, &id).await?,
    ))
}

async fn history(
    api: ApiState,
    Signed(caller): Signed,
    kind: Kind,
    id: String,
    mut query: QueryParameters,
) -> Answer {
    let limit = query.limit(LIST_LIMIT_MAX)?;
    let cursor = query.text("cursor");
    query.finish(&["limit", "cursor"])?;
    Ok(page_answer(
        api.app.history(&caller, kind, &id, limit, cursor).await?,
    ))
}

/// A list as DESIGN §8 shows it.
pub fn page_answer(page: Page) -> Response {
    Json(json!({ "items": page.items, "next": page.next, "since": page.since })).into_response()
}

/// A document with its version as ETag.
pub fn document_answer(status: StatusCode, value: Value) -> Response {
    let tag = value["version"]
        .as_str()
        .and_then(|version| HeaderValue::try_from(format!("\"{version}\"")).ok());
    let mut response = (status, Json(value)).into_response();
    if let Some(tag) = tag {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_filter_by_the_fields_that_are_compared_whole() {
        assert_eq!(
            filters(RecordKind::Document(Kind::Incident)),
            [
                "category", "status", "severity", "tags", "parent", "rule", "device"
            ]
        );
        assert_eq!(
            filters(RecordKind::Document(Kind::Assignment)),
            ["resource", "incident", "state"]
        );
        assert!(!filters(RecordKind::Document(Kind::Rule)).contains(&"match"));
    }

    #[test]
    fn users_have_no_routes() {
        let api = routes().into_openapi();
        assert!(api.paths.paths.keys().all(|path| !path.contains("user")));
        assert!(api.paths.paths.contains_key("/v1/incidents/{id}/history"));
    }
}
