//! `/v1/mqtt-accounts`: gateways and programs that sign in over MQTT. Devices' own are in `mqtt.rs`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use domain::FieldError;
use serde_json::Value;

use super::ApiState;
use super::dto;
use super::extract::{JsonObject, PathId, Signed};
use super::mqtt::shown_once;
use super::problem::Problem;
use super::query::{LIST_LIMIT_MAX, QueryParameters};
use super::records::page_answer;

/// The accounts of gateways, without their passwords: nobody has those.
#[utoipa::path(
    get, path = "/v1/mqtt-accounts", tag = "devices", operation_id = "list_mqtt_accounts",
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 500),
        ("cursor" = Option<String>, Query, description = "The next of an earlier page."),
    ),
    responses((status = 200, description = "One page, by name.", body = dto::MqttAccountPage)),
)]
pub async fn list(
    State(api): State<ApiState>,
    Signed(caller): Signed,
    mut query: QueryParameters,
) -> Result<Response, Problem> {
    let cursor = query.text("cursor");
    let limit = query.limit(LIST_LIMIT_MAX)?;
    query.finish(&["limit", "cursor"])?;
    Ok(page_answer(api.app.list_gateways(&caller, cursor, limit)?))
}

/// Make an account for a gateway; its password is made too.
#[utoipa::path(
    post, path = "/v1/mqtt-accounts", tag = "devices", operation_id = "add_mqtt_account",
    request_body = dto::NewMqttAccount,
    responses(
        (status = 201, description = "The credentials, shown this once.", body = dto::MqttAccountCredentials),
        (status = 409, description = "Another account has the name: `conflict`."),
    ),
)]
pub async fn add(
    State(api): State<ApiState>,
    Signed(caller): Signed,
    mut body: JsonObject,
) -> Result<Response, Problem> {
    let mut errors = Vec::new();
    let name = body.take_string("name", &mut errors);
    let publish = take_filters(&mut body, "publish", &mut errors);
    let subscribe = take_filters(&mut body, "subscribe", &mut errors);
    body.finish(errors)?;
    let made = api.app.add_mqtt_account(&caller, &name, publish, subscribe);
    Ok(shown_once(made.await?))
}

/// Remove a gateway's account, and end its connections.
#[utoipa::path(
    delete, path = "/v1/mqtt-accounts/{name}", tag = "devices", operation_id = "remove_mqtt_account",
    params(("name" = String, Path)),
    responses((status = 204, description = "It is gone.")),
)]
pub async fn remove(
    State(api): State<ApiState>,
    Signed(caller): Signed,
    PathId(name): PathId,
) -> Result<StatusCode, Problem> {
    api.app.remove_gateway(&caller, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Make a new password for a gateway's account; the old one is of no use any more, and connections with it end.
#[utoipa::path(
    post, path = "/v1/mqtt-accounts/{name}/password", tag = "devices", operation_id = "renew_mqtt_password",
    params(("name" = String, Path)),
    responses((status = 201, description = "The credentials, shown this once.", body = dto::MqttAccountCredentials)),
)]
pub async fn renew_password(
    State(api): State<ApiState>,
    Signed(caller): Signed,
    PathId(name): PathId,
) -> Result<Response, Problem> {
    let made = api.app.renew_mqtt_password(&caller, &name).await?;
    Ok(shown_once(made))
}

/// A list of texts; none where nothing is said.
fn take_filters(body: &mut JsonObject, name: &str, errors: &mut Vec<FieldError>) -> Vec<String> {
    let Some(value) = body.members.remove(name) else {
        return Vec::new();
    };
    let Value::Array(items) = value else {
        errors.push(FieldError::new(
            &format!("/{name}"),
            "expected a list of topic filters",
        ));
        return Vec::new();
    };
    let texts = (0..).zip(items).filter_map(|(number, item): (usize, _)| {
        if let Value::String(text) = item {
            return Some(text);
        }
        let pointer = format!("/{name}/{number}");
        errors.push(FieldError::new(&pointer, "expected a topic filter"));
        None
    });
    texts.collect()
}
