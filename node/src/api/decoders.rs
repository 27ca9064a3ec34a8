//! Which decoder reads which topic.

use axum::Json;
use axum::extract::State;
use serde_json::Value;

use super::ApiState;
use super::dto;
use super::extract::{JsonObject, Signed};
use super::problem::Problem;
use super::query::QueryParameters;

/// The decoders in the order in which they are asked.
#[utoipa::path(
    get, path = "/v1/decoders", tag = "decoders", operation_id = "list_decoders",
    responses((status = 200, description = "Every decoder.", body = dto::DecoderPage)),
)]
pub async fn list(
    State(api): State<ApiState>,
    Signed(caller): Signed,
    query: QueryParameters,
) -> Result<Json<Value>, Problem> {
    query.finish(&[])?;
    Ok(Json(api.app.list_decoders(&caller)?))
}

/// Replace the decoders that were added here; those of the configuration stay, and are asked first.
#[utoipa::path(
    put, path = "/v1/decoders", tag = "decoders", operation_id = "put_decoders",
    request_body = dto::DecoderEntries,
    responses((status = 200, description = "Every decoder afterwards.", body = dto::DecoderPage)),
)]
pub async fn put(
    State(api): State<ApiState>,
    Signed(caller): Signed,
    body: JsonObject,
) -> Result<Json<Value>, Problem> {
    Ok(Json(api.app.put_decoders(&caller, body.members).await?))
}

/// See what the decoders make of a message; nothing is stored.
#[utoipa::path(
    post, path = "/v1/decoders/try", tag = "decoders", operation_id = "try_decoders",
    request_body = dto::DecoderTrial,
    responses((status = 200, description = "What was read.", body = dto::DecodedMessage)),
)]
pub async fn try_out(
    State(api): State<ApiState>,
    Signed(caller): Signed,
    mut body: JsonObject,
) -> Result<Json<Value>, Problem> {
    let mut errors = Vec::new();
    let topic = body.take_string("topic", &mut errors);
    let payload = body.take_string("payload_base64", &mut errors);
    let payload = match data_encoding::BASE64.decode(payload.as_bytes()) {
        Ok(payload) => payload,
        Err(error) => {
            let detail = format!("is not base64: {error}");
            errors.push(domain::FieldError::new("/payload_base64", &detail));
            Vec::new()
        }
    };
    body.finish(errors)?;
    Ok(Json(api.app.try_decoders(&caller, topic, payload).await?))
}
