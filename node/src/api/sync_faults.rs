//! Faults that comparing with other nodes brought up.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde_json::Value;

use super::ApiState;
use super::dto;
use super::extract::{PathId, Signed};
use super::problem::Problem;
use super::query::QueryParameters;
use super::records::page_answer;
use crate::app::SYNC_FAULTS_LIMIT_MAX;

/// Times when another node had made something else of the same entries.
#[utoipa::path(
    get, path = "/v1/sync-faults", tag = "status", operation_id = "list_sync_faults",
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "The next of an earlier page."),
    ),
    responses((status = 200, description = "One page.", body = dto::SyncFaultPage)),
)]
pub async fn list(
    State(api): State<ApiState>,
    Signed(caller): Signed,
    mut query: QueryParameters,
) -> Result<Response, Problem> {
    let cursor = query.text("cursor");
    let limit = query.limit(SYNC_FAULTS_LIMIT_MAX)?;
    query.finish(&["limit", "cursor"])?;
    Ok(page_answer(
        api.app.sync_faults(&caller, cursor, limit).await?,
    ))
}

/// Say that somebody has looked at a fault and at all older ones.
#[utoipa::path(
    post, path = "/v1/sync-faults/{id}/see", tag = "status", operation_id = "see_sync_faults",
    params(("id" = String, Path)),
    responses((status = 200, description = "How many were new.", body = dto::SeenSyncFaults)),
)]
pub async fn see(
    State(api): State<ApiState>,
    Signed(caller): Signed,
    PathId(id): PathId,
) -> Result<Json<Value>, Problem> {
    Ok(Json(api.app.see_sync_faults(&caller, &id).await?))
}
