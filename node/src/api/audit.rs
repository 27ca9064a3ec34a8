//! Who did what on this node.

use axum::extract::State;
use axum::response::Response;

use super::ApiState;
use super::dto;
use super::extract::Signed;
use super::problem::Problem;
use super::query::{LIST_LIMIT_MAX, QueryParameters};
use super::records::page_answer;

/// Who did what on this node, newest first.
#[utoipa::path(
    get, path = "/v1/audit", tag = "status", operation_id = "list_audit",
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 500),
        ("cursor" = Option<String>, Query, description = "The next of an earlier page."),
    ),
    responses((status = 200, description = "One page.", body = dto::AuditPage)),
)]
pub async fn list(
    State(api): State<ApiState>,
    Signed(caller): Signed,
    mut query: QueryParameters,
) -> Result<Response, Problem> {
    let cursor = query.text("cursor");
    let limit = query.limit(LIST_LIMIT_MAX)?;
    query.finish(&["limit", "cursor"])?;
    Ok(page_answer(
        api.app.list_audit(&caller, cursor, limit).await?,
    ))
}
