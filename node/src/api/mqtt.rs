//! Credentials of devices, and commands to them.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::FieldError;
use serde_json::{Value, json};

use super::ApiState;
use super::dto;
use super::extract::{Head, JsonObject, PathId, Signed, idempotency_key};
use super::problem::Problem;
use super::query::{LIST_LIMIT_MAX, QueryParameters};

/// Make the credentials with which a device signs in over MQTT; new ones in the place of old.
#[utoipa::path(
    post, path = "/v1/devices/{id}/credentials", tag = "devices", operation_id = "make_device_credentials",
    params(("id" = String, Path, format = "uuid")),
    responses((status = 201, description = "The credentials, shown this once.", body = dto::DeviceCredentials)),
)]
pub async fn make_credentials(
    State(api): State<ApiState>,
    Signed(caller): Signed,
    PathId(id): PathId,
) -> Result<Response, Problem> {
    let value = api.app.make_device_credentials(&caller, &id).await?;
    Ok(shown_once(value))
}

/// Credentials, which must not stay in a cache between here and the person.
pub(super) fn shown_once(credentials: Value) -> Response {
    let mut response = (StatusCode::CREATED, Json(credentials)).into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Take a device's credentials away, and end its connections.
#[utoipa::path(
    delete, path = "/v1/devices/{id}/credentials", tag = "devices", operation_id = "revoke_device_credentials",
    params(("id" = String, Path, format = "uuid")),
    responses((status = 204, description = "They are of no use any more.")),
)]
pub async fn revoke_credentials(
    State(api): State<ApiState>,
    Signed(caller): Signed,
    PathId(id): PathId,
) -> Result<StatusCode, Problem> {
    api.app.revoke_device_credentials(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tell a device to do something.
#[utoipa::path(
    post, path = "/v1/devices/{id}/commands", tag = "devices", operation_id = "send_device_command",
    params(
        ("id" = String, Path, format = "uuid"),
        (
            "Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,128}$",
            description = "Sent again with the same key and body within 7 days, the command is given once and its \
                           answer is the same.",
        ),
    ),
    request_body = dto::NewDeviceCommand,
    responses((status = 201, description = "The command, stored and on its way.", body = dto::DeviceCommand)),
)]
pub async fn send_command(
    State(api): State<ApiState>,
    Signed(caller): Signed,
    PathId(id): PathId,
    head: Head,
    body: JsonObject,
) -> Result<Response, Problem> {
    let key = idempotency_key(&head.headers, format!("POST {}", head.path), body.body_hash)?;
    let (payload, expires_s) = new_command(body)?;
    let value = api
        .app
        .send_command(&caller, &id, payload, expires_s, key)
        .await?;
    Ok((StatusCode::CREATED, Json(value)).into_response())
}

fn new_command(mut body: JsonObject) -> Result<(Value, Option<u64>), Problem> {
    let mut errors = Vec::new();
    let mut wrong = |pointer: &str, detail: &str| {
        errors.push(FieldError {
            pointer: pointer.into(),
            detail: detail.into(),
        });
    };
    let payload = body.members.remove("payload");
    if payload.is_none() {
        wrong("/payload", "is required");
    }
    let expires_s = match body.members.remove("expires_s") {
        None => None,
        Some(value) => {
            let seconds = value.as_u64();
            if seconds.is_none() {
                wrong("/expires_s", "expected a number of seconds");
            }
            seconds
        }
    };
    body.finish(errors)?;
    Ok((payload.unwrap_or_default(), expires_s))
}

/// What a device was told, and what came of it.
#[utoipa::path(
    get, path = "/v1/devices/{id}/commands", tag = "devices", operation_id = "list_device_commands",
    params(
        ("id" = String, Path, format = "uuid"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 500),
        ("cursor" = Option<String>, Query, description = "The next of an earlier page."),
    ),
    responses((status = 200, description = "One page, newest first.", body = dto::DeviceCommandPage)),
)]
pub async fn list_commands(
    State(api): State<ApiState>,
    Signed(caller): Signed,
    PathId(id): PathId,
    mut query: QueryParameters,
) -> Result<Json<Value>, Problem> {
    let cursor = query.text("cursor");
    let limit = query.limit(LIST_LIMIT_MAX)?;
    query.finish(&["limit", "cursor"])?;
    let (page, reported) = api.app.list_commands(&caller, &id, cursor, limit).await?;
    Ok(Json(json!({
        "items": page.items,
        "next": page.next,
        "since": page.since,
        "reported": reported,
    })))
}
