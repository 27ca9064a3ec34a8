//! `/v1/<plural>` for every kind of document and fact: one implementation, told apart by a [`RecordKind`].
//!
//! Invariant: a kind that the domain's registry lists has its routes, its filters and its schemas without a line here,
//! except users: their documents hold password hashes, so they are managed by `muster user` and have no routes.

mod describe;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, patch, post};
use domain::{FactKind, Kind, Merge, ValueSpec};
use serde_json::{Value, json};
use utoipa::openapi::HttpMethod;
use utoipa::openapi::path::{OperationBuilder, Paths};
use utoipa::openapi::{RefOr, Schema};
use utoipa_axum::router::OpenApiRouter;

use super::ApiState;
use super::extract::{Head, JsonObject, PathId, Signed, idempotency_key, if_match};
use super::problem::Problem;
use super::query::{LIST_LIMIT_MAX, QueryParameters};
use super::schema;
use crate::app::{ListQuery, Page, RecordKind};

type Answer = Result<Response, Problem>;
type Api = State<ApiState>;

/// Parameters that every list takes, beside the filters of its kind.
const LIST_PARAMETERS: [&str; 7] = ["limit", "cursor", "q", "bbox", "since", "include", "at"];

/// The kinds of document that have routes.
fn document_kinds() -> impl Iterator<Item = Kind> {
    Kind::all().filter(|kind| *kind != Kind::User)
}

/// What a list of this kind can be filtered by: fields whose values are compared whole, and for incidents the sensor and
/// rule that raised them.
pub fn filters(kind: RecordKind) -> Vec<&'static str> {
    let RecordKind::Document(kind) = kind else {
        return vec!["about"];
    };
    let mut names: Vec<_> = domain::schema::spec(kind)
        .fields
        .iter()
        .filter(|field| !field.secret && field.writable)
        .filter(|field| match field.merge {
            Merge::Set => true,
            Merge::Text => false,
            Merge::Register => matches!(
                field.value,
                ValueSpec::Enum(_) | ValueSpec::Id(_) | ValueSpec::Bool | ValueSpec::Str { .. }
            ),
        })
        .map(|field| field.name)
        .collect();
    if kind == Kind::Incident {
        names.extend(["rule", "device", "channel"]);
    }
    names
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
    let record = RecordKind::Document(kind);
    let all = format!("/v1/{}", domain::schema::spec(kind).plural);
    let one = format!("{all}/{{id}}");
    let edit_route = patch(
        move |api: Api, caller: Signed, id: PathId, head: Head, body: JsonObject| {
            edit(api, caller, kind, id, head, body)
        },
    );
    let delete_route = delete(move |api: Api, caller: Signed, id: PathId, head: Head| {
        remove(api, caller, kind, id, head)
    });
    let restore_route =
        post(move |api: Api, caller: Signed, id: PathId| restore(api, caller, kind, id));
    let history_route = get(
        move |api: Api, caller: Signed, id: PathId, query: QueryParameters| {
            history(api, caller, kind, id, query)
        },
    );
    let router = described(
        router,
        &all,
        schema::document_components(kind),
        list_route(record).merge(create_route(record)),
        [
            (HttpMethod::Get, describe::list(record)),
            (HttpMethod::Post, describe::create(record)),
        ],
    );
    let router = described(
        router,
        &one,
        vec![],
        read_route(record).merge(edit_route).merge(delete_route),
        [
            (HttpMethod::Get, describe::read(record)),
            (HttpMethod::Patch, describe::edit(kind)),
            (HttpMethod::Delete, describe::delete(kind)),
        ],
    );
    let restores = [(HttpMethod::Post, describe::restore(kind))];
    let router = described(
        router,
        &format!("{one}/restore"),
        vec![],
        restore_route,
        restores,
    );
    let histories = [(HttpMethod::Get, describe::history(kind))];
    described(
        router,
        &format!("{one}/history"),
        vec![],
        history_route,
        histories,
    )
}

fn fact_routes(router: OpenApiRouter<ApiState>, kind: FactKind) -> OpenApiRouter<ApiState> {
    let record = RecordKind::Fact(kind);
    let all = format!("/v1/{}", kind.plural());
    let router = described(
        router,
        &all,
        schema::fact_components(kind),
        list_route(record).merge(create_route(record)),
        [
            (HttpMethod::Get, describe::list(record)),
            (HttpMethod::Post, describe::create(record)),
        ],
    );
    let reads = [(HttpMethod::Get, describe::read(record))];
    described(
        router,
        &format!("{all}/{{id}}"),
        vec![],
        read_route(record),
        reads,
    )
}

fn list_route(kind: RecordKind) -> MethodRouter<ApiState> {
    get(move |api: Api, caller: Signed, query: QueryParameters| list(api, caller, kind, query))
}

fn create_route(kind: RecordKind) -> MethodRouter<ApiState> {
    post(
        move |api: Api, caller: Signed, head: Head, body: JsonObject| {
            create(api, caller, kind, head, body)
        },
    )
}

fn read_route(kind: RecordKind) -> MethodRouter<ApiState> {
    get(
        move |api: Api, caller: Signed, id: PathId, query: QueryParameters| {
            read(api, caller, kind, id, query)
        },
    )
}

/// Puts one path with its operations into the router and into its OpenAPI document.
fn described<const N: usize>(
    router: OpenApiRouter<ApiState>,
    path: &str,
    components: Vec<(String, RefOr<Schema>)>,
    methods: MethodRouter<ApiState>,
    operations: [(HttpMethod, OperationBuilder); N],
) -> OpenApiRouter<ApiState> {
    let mut paths = Paths::new();
    for (method, operation) in operations {
        paths.add_path_operation(path, vec![method], operation.build());
    }
    router.routes((components, paths, methods))
}

async fn list(
    State(api): Api,
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
    State(api): Api,
    Signed(caller): Signed,
    kind: RecordKind,
    head: Head,
    body: JsonObject,
) -> Answer {
    let key = idempotency_key(&head.headers, format!("POST {}", head.path), body.body_hash)?;
    let created = api
        .app
        .create(&caller, kind, body.into_edit()?, key)
        .await?;
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
    State(api): Api,
    Signed(caller): Signed,
    kind: RecordKind,
    PathId(id): PathId,
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
    State(api): Api,
    Signed(caller): Signed,
    kind: Kind,
    PathId(id): PathId,
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
        .patch(&caller, kind, &id, base.as_deref(), body.into_edit()?, key)
        .await?;
    Ok(document_answer(StatusCode::OK, merged))
}

async fn remove(
    State(api): Api,
    Signed(caller): Signed,
    kind: Kind,
    PathId(id): PathId,
    head: Head,
) -> Answer {
    let base = if_match(&head.headers)?;
    api.app.delete(&caller, kind, &id, base.as_deref()).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn restore(
    State(api): Api,
    Signed(caller): Signed,
    kind: Kind,
    PathId(id): PathId,
) -> Answer {
    Ok(document_answer(
        StatusCode::OK,
        api.app.restore(&caller, kind, &id).await?,
    ))
}

async fn history(
    State(api): Api,
    Signed(caller): Signed,
    kind: Kind,
    PathId(id): PathId,
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
                "title", "category", "status", "severity", "tags", "parent", "rule", "device",
                "channel"
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
