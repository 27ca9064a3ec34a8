//! Which decoder reads which topic.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::Value;

use super::ApiState;
use super::dto;
use super::extract::{JsonObject, Signed, if_match};
use super::problem::Problem;
use super::query::QueryParameters;
use super::records::document_answer;

/// The decoders in the order in which they are asked.
#[utoipa::path(
    get, path = "/v1/decoders", tag = "decoders", operation_id = "list_decoders",
    responses((
        status = 200, description = "Every decoder.", body = dto::DecoderPage,
        headers(("ETag" = String, description = "The version, in double quotes: send it back in If-Match.")),
    )),
)]
pub async fn list(
    State(api): State<ApiState>,
    Signed(caller): Signed,
    query: QueryParameters,
) -> Result<Response, Problem> {
    query.finish(&[])?;
    Ok(document_answer(
        StatusCode::OK,
        api.app.list_decoders(&caller)?,
    ))
}

/// Replace the decoders that were added here; those of the configuration stay, and are asked first.
#[utoipa::path(
    put, path = "/v1/decoders", tag = "decoders", operation_id = "put_decoders",
    description = "The list takes the place of the one whose version If-Match names: 428 without it, 412 `version-stale` \
                   where somebody else has changed the list by then.",
    params(("If-Match" = String, Header, description = "The version that you read, in double quotes.")),
    request_body = dto::DecoderEntries,
    responses((
        status = 200, description = "Every decoder afterwards.", body = dto::DecoderPage,
        headers(("ETag" = String, description = "The version, in double quotes: send it back in If-Match.")),
    )),
)]
pub async fn put(
    State(api): State<ApiState>,
    Signed(caller): Signed,
    headers: HeaderMap,
    body: JsonObject,
) -> Result<Response, Problem> {
    let seen = if_match(&headers)?;
    let page = api
        .app
        .put_decoders(&caller, seen.as_deref(), body.members)
        .await?;
    Ok(document_answer(StatusCode::OK, page))
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
