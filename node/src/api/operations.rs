//! What the node says about itself and its neighbours, and what people must settle or look at: status, peers, conflicts,
//! dead letters.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use domain::FieldError;
use serde_json::Value;

use super::ApiState;
use super::dto;
use super::extract::{JsonObject, PathId, Signed};
use super::problem::Problem;
use super::query::{LIST_LIMIT_MAX, QueryParameters};
use super::records::page_answer;
use crate::app::readings::{AllOf, DeadLetterFilter, SettleDeadLetters};
use crate::app::{Caller, Resolution};

/// How this node is.
#[utoipa::path(
    get, path = "/v1/status", tag = "status", operation_id = "get_status",
    responses((status = 200, description = "The status.", body = dto::Status)),
)]
pub async fn status(
    State(api): State<ApiState>,
    _caller: Signed,
    query: QueryParameters,
) -> Result<Json<Value>, Problem> {
    query.finish(&[])?;
    Ok(Json(api.app.status().await?))
}

/// The other nodes.
#[utoipa::path(
    get, path = "/v1/peers", tag = "status", operation_id = "list_peers",
    responses((status = 200, description = "Every node that this one knows.", body = dto::PeerPage)),
)]
pub async fn peers(
    State(api): State<ApiState>,
    Signed(caller): Signed,
    query: QueryParameters,
) -> Result<Response, Problem> {
    query.finish(&[])?;
    Ok(page_answer(api.app.peers(&caller).await?))
}

/// The brokers that this node listens to.
#[utoipa::path(
    get, path = "/v1/brokers", tag = "status", operation_id = "list_brokers",
    responses((status = 200, description = "Every broker of the configuration.", body = dto::BrokerPage)),
)]
pub async fn brokers(
    State(api): State<ApiState>,
    Signed(caller): Signed,
    query: QueryParameters,
) -> Result<Response, Problem> {
    query.finish(&[])?;
    Ok(page_answer(api.app.list_brokers(&caller)?))
}

/// What people must settle.
#[utoipa::path(
    get, path = "/v1/conflicts", tag = "conflicts", operation_id = "list_conflicts",
    params(
        ("state" = Option<dto::ConflictState>, Query, description = "Only those in this state."),
        ("document" = Option<String>, Query, description = "Only those about this document."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 500),
        ("cursor" = Option<String>, Query, description = "The next of an earlier page."),
    ),
    responses((status = 200, description = "One page.", body = dto::ConflictPage)),
)]
pub async fn list_conflicts(
    State(api): State<ApiState>,
    Signed(caller): Signed,
    mut query: QueryParameters,
) -> Result<Response, Problem> {
    let state = one_of(&mut query, "state", &["open", "resolved"])?;
    let document = query.text("document");
    let cursor = query.text("cursor");
    let limit = query.limit(LIST_LIMIT_MAX)?;
    query.finish(&["state", "document", "limit", "cursor"])?;
    Ok(page_answer(
        api.app
            .list_conflicts(&caller, state, document, cursor, limit)
            .await?,
    ))
}

/// One conflict.
#[utoipa::path(
    get, path = "/v1/conflicts/{id}", tag = "conflicts", operation_id = "get_conflict",
    params(("id" = String, Path, format = "uuid")),
    responses((status = 200, description = "The conflict.", body = dto::Conflict)),
)]
pub async fn get_conflict(
    State(api): State<ApiState>,
    Signed(caller): Signed,
    PathId(id): PathId,
) -> Result<Json<Value>, Problem> {
    Ok(Json(api.app.get_conflict(&caller, &id).await?))
}

/// Settle a conflict.
#[utoipa::path(
    post, path = "/v1/conflicts/{id}/resolve", tag = "conflicts", operation_id = "resolve_conflict",
    params(("id" = String, Path, format = "uuid")),
    request_body = dto::ConflictResolution,
    responses((status = 200, description = "The conflict, now resolved.", body = dto::Conflict)),
)]
pub async fn resolve_conflict(
    State(api): State<ApiState>,
    Signed(caller): Signed,
    PathId(id): PathId,
    body: JsonObject,
) -> Result<Json<Value>, Problem> {
    let resolution = resolution(body)?;
    Ok(Json(
        api.app.resolve_conflict(&caller, &id, resolution).await?,
    ))
}

fn resolution(mut body: JsonObject) -> Result<Resolution, Problem> {
    let mut errors = Vec::new();
    let resolution = match (
        body.members.contains_key("choice"),
        body.members.remove("value"),
    ) {
        (true, None) => Resolution::Choice(body.take_string("choice", &mut errors)),
        (false, Some(value)) => Resolution::Value(value),
        (true, Some(_)) | (false, None) => {
            body.members.remove("choice");
            errors.push(FieldError {
                pointer: String::new(),
                detail: "send either choice (the id of one) or value".into(),
            });
            Resolution::Value(Value::Null)
        }
    };
    body.finish(errors)?;
    Ok(resolution)
}

/// Messages that could not be taken in.
#[utoipa::path(
    get, path = "/v1/dead-letters", tag = "dead-letters", operation_id = "list_dead_letters",
    params(
        ("state" = Option<dto::DeadLetterState>, Query, description = "Only those in this state."),
        ("source" = Option<String>, Query, description = "Only those that came from there."),
        ("topic" = Option<String>, Query, description = "Only those with this in their topic."),
        ("code" = Option<String>, Query, description = "Only those that could not be read for this reason."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 500),
        ("cursor" = Option<String>, Query, description = "The next of an earlier page."),
    ),
    responses((status = 200, description = "One page.", body = dto::DeadLetterPage)),
)]
pub async fn list_dead_letters(
    State(api): State<ApiState>,
    Signed(caller): Signed,
    mut query: QueryParameters,
) -> Result<Response, Problem> {
    let filter = DeadLetterFilter {
        state: one_of(&mut query, "state", &["open", "replayed", "discarded"])?,
        ..kind_of_letters(&mut query)
    };
    let cursor = query.text("cursor");
    let limit = query.limit(LIST_LIMIT_MAX)?;
    query.finish(&["state", "source", "topic", "code", "limit", "cursor"])?;
    Ok(page_answer(
        api.app
            .list_dead_letters(&caller, filter, cursor, limit)
            .await?,
    ))
}

fn kind_of_letters(query: &mut QueryParameters) -> DeadLetterFilter {
    DeadLetterFilter {
        state: None,
        source: query.text("source"),
        topic: query.text("topic"),
        code: query.text("code"),
    }
}

/// Try many dead letters again: open ones, the newest first, a bounded part of them.
#[utoipa::path(
    post, path = "/v1/dead-letters/replay", tag = "dead-letters", operation_id = "replay_dead_letters",
    params(
        ("source" = Option<String>, Query, description = "Those that came from there."),
        ("topic" = Option<String>, Query, description = "Those with this in their topic."),
        ("code" = Option<String>, Query, description = "Those that could not be read for this reason."),
        ("all" = Option<bool>, Query, description = "All of them, where nothing else is said."),
        ("cursor" = Option<String>, Query, description = "The next of an earlier answer."),
    ),
    responses((status = 200, description = "What was done, and where to go on.", body = dto::DeadLettersSettled)),
)]
pub async fn replay_dead_letters(
    State(api): State<ApiState>,
    Signed(caller): Signed,
    query: QueryParameters,
) -> Result<Json<Value>, Problem> {
    settle_letters(&api, &caller, SettleDeadLetters::Replay, query).await
}

/// Say that many dead letters are of no use: open ones, the newest first, a bounded part of them.
#[utoipa::path(
    post, path = "/v1/dead-letters/discard", tag = "dead-letters", operation_id = "discard_dead_letters",
    params(
        ("source" = Option<String>, Query, description = "Those that came from there."),
        ("topic" = Option<String>, Query, description = "Those with this in their topic."),
        ("code" = Option<String>, Query, description = "Those that could not be read for this reason."),
        ("all" = Option<bool>, Query, description = "All of them, where nothing else is said."),
        ("cursor" = Option<String>, Query, description = "The next of an earlier answer."),
    ),
    responses((status = 200, description = "What was done, and where to go on.", body = dto::DeadLettersSettled)),
)]
pub async fn discard_dead_letters(
    State(api): State<ApiState>,
    Signed(caller): Signed,
    query: QueryParameters,
) -> Result<Json<Value>, Problem> {
    settle_letters(&api, &caller, SettleDeadLetters::Discard, query).await
}

async fn settle_letters(
    api: &ApiState,
    caller: &Caller,
    action: SettleDeadLetters,
    mut query: QueryParameters,
) -> Result<Json<Value>, Problem> {
    let which = AllOf {
        filter: kind_of_letters(&mut query),
        all: one_of(&mut query, "all", &["true", "false"])?.as_deref() == Some("true"),
        cursor: query.text("cursor"),
    };
    query.finish(&["source", "topic", "code", "all", "cursor"])?;
    Ok(Json(
        api.app.settle_dead_letters(caller, action, which).await?,
    ))
}

/// One dead letter.
#[utoipa::path(
    get, path = "/v1/dead-letters/{id}", tag = "dead-letters", operation_id = "get_dead_letter",
    params(("id" = String, Path)),
    responses((status = 200, description = "The dead letter.", body = dto::DeadLetter)),
)]
pub async fn get_dead_letter(
    State(api): State<ApiState>,
    Signed(caller): Signed,
    PathId(id): PathId,
) -> Result<Json<Value>, Problem> {
    Ok(Json(api.app.get_dead_letter(&caller, &id).await?))
}

/// Try a dead letter again.
#[utoipa::path(
    post, path = "/v1/dead-letters/{id}/replay", tag = "dead-letters", operation_id = "replay_dead_letter",
    params(("id" = String, Path)),
    responses((status = 200, description = "The dead letter afterwards.", body = dto::DeadLetter)),
)]
pub async fn replay_dead_letter(
    State(api): State<ApiState>,
    Signed(caller): Signed,
    PathId(id): PathId,
) -> Result<Json<Value>, Problem> {
    Ok(Json(api.app.replay_dead_letter(&caller, &id).await?))
}

/// Say that a dead letter is of no use.
#[utoipa::path(
    post, path = "/v1/dead-letters/{id}/discard", tag = "dead-letters", operation_id = "discard_dead_letter",
    params(("id" = String, Path)),
    responses((status = 200, description = "The dead letter afterwards.", body = dto::DeadLetter)),
)]
pub async fn discard_dead_letter(
    State(api): State<ApiState>,
    Signed(caller): Signed,
    PathId(id): PathId,
) -> Result<Json<Value>, Problem> {
    Ok(Json(api.app.discard_dead_letter(&caller, &id).await?))
}

fn one_of(
    query: &mut QueryParameters,
    name: &str,
    words: &[&str],
) -> Result<Option<String>, Problem> {
    match query.text(name) {
        Some(word) if !words.contains(&word.as_str()) => Err(Problem::invalid_parameter(
            name,
            format!("expected one of: {}", words.join(", ")),
        )),
        other => Ok(other),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: Value) -> Result<Resolution, Problem> {
        let Value::Object(members) = body else {
            panic!("expected an object")
        };
        resolution(JsonObject {
            members,
            body_hash: [0; 32],
        })
    }

    #[test]
    fn a_conflict_is_settled_by_a_choice_or_a_value_and_not_by_both() {
        assert!(
            matches!(read(json!({ "choice": "a" })).unwrap(), Resolution::Choice(id) if id == "a")
        );
        assert!(matches!(
            read(json!({ "value": null })).unwrap(),
            Resolution::Value(Value::Null)
        ));
        for wrong in [
            json!({}),
            json!({ "choice": "a", "value": 1 }),
            json!({ "choice": 1 }),
            json!({ "value": 1, "x": 2 }),
        ] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
