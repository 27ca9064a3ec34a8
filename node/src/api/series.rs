//! `/v1/series`: what sensors measured.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde_json::Value;

use super::ApiState;
use super::dto;
use super::extract::{PathId, Signed};
use super::problem::Problem;
use super::query::{LIST_LIMIT_MAX, QueryParameters};
use super::records::page_answer;
use crate::app::readings::{Resolution, Values};

/// Points of one answer: some 400 KiB of JSON, a day of readings at one per ten seconds.
const POINTS_MAX: u32 = 10_000;

/// The series that this node heard, and those that it knows from other nodes.
#[utoipa::path(
    get, path = "/v1/series", tag = "series", operation_id = "list_series",
    params(
        ("device" = Option<String>, Query, description = "Only those of this device (its name)."),
        ("channel" = Option<String>, Query, description = "Only those of this channel."),
        ("q" = Option<String>, Query, description = "Words to find."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 500),
        ("cursor" = Option<String>, Query, description = "The next of an earlier page."),
    ),
    responses((status = 200, description = "One page.", body = dto::SeriesPage)),
)]
pub async fn list(
    State(api): State<ApiState>,
    Signed(caller): Signed,
    mut query: QueryParameters,
) -> Result<Response, Problem> {
    let (device, channel, q) = (query.text("device"), query.text("channel"), query.text("q"));
    let cursor = query.text("cursor");
    let limit = query.limit(LIST_LIMIT_MAX)?;
    query.finish(&["device", "channel", "q", "limit", "cursor"])?;
    Ok(page_answer(
        api.app
            .list_series(&caller, device, channel, q, cursor, limit)
            .await?,
    ))
}

/// One series.
#[utoipa::path(
    get, path = "/v1/series/{id}", tag = "series", operation_id = "get_series",
    params(("id" = String, Path)),
    responses((status = 200, description = "The series.", body = dto::Series)),
)]
pub async fn read(
    State(api): State<ApiState>,
    Signed(caller): Signed,
    PathId(id): PathId,
) -> Result<Json<Value>, Problem> {
    Ok(Json(api.app.get_series(&caller, &id).await?))
}

/// Readings of one series. Where more lie in the range than `limit`, the newest are answered.
#[utoipa::path(
    get, path = "/v1/series/{id}/readings", tag = "series", operation_id = "get_readings",
    params(
        ("id" = String, Path),
        ("from" = Option<String>, Query, format = DateTime, description = "Not before this time (RFC 3339)."),
        ("to" = Option<String>, Query, format = DateTime, description = "Not after this time (RFC 3339)."),
        ("resolution" = Option<dto::Resolution>, Query, description = "raw where nothing is said. The others answer the whole minutes, quarters or hours that have part in the range; one without readings is not there."),
        ("values" = Option<dto::Values>, Query, description = "calibrated where nothing is said: as the calibrations of this channel say, which are applied to what is stored when it is read. raw: as they came."),
        ("times" = Option<String>, Query, pattern = "^all$", description = "all: with the time of receipt and the device's own beside each reading, and what is to be known about it besides. Only what this node heard itself."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 10000),
    ),
    responses((status = 200, description = "The readings, oldest first.", body = dto::Readings)),
)]
pub async fn readings(
    State(api): State<ApiState>,
    Signed(caller): Signed,
    PathId(id): PathId,
    mut query: QueryParameters,
) -> Result<Json<Value>, Problem> {
    let from_ms = query.time_ms("from")?;
    let to_ms = query.time_ms("to")?;
    let resolution = match query.text("resolution").as_deref() {
        None | Some("raw") => Resolution::Raw,
        Some("1m") => Resolution::OneMinute,
        Some("15m") => Resolution::FifteenMinutes,
        Some("1h") => Resolution::OneHour,
        Some(_) => {
            return Err(Problem::invalid_parameter(
                "resolution",
                "expected one of: raw, 1m, 15m, 1h",
            ));
        }
    };
    let values = match query.text("values").as_deref() {
        None | Some("calibrated") => Values::Calibrated,
        Some("raw") => Values::Raw,
        Some(_) => {
            return Err(Problem::invalid_parameter(
                "values",
                "expected one of: calibrated, raw",
            ));
        }
    };
    let all_times = match query.text("times").as_deref() {
        None => false,
        Some("all") if resolution == Resolution::Raw => true,
        Some("all") => {
            let detail = "only readings themselves have times: leave resolution out";
            return Err(Problem::invalid_parameter("times", detail));
        }
        Some(_) => return Err(Problem::invalid_parameter("times", "expected: all")),
    };
    let limit = query.limit(POINTS_MAX)?;
    query.finish(&["from", "to", "resolution", "values", "times", "limit"])?;
    if all_times {
        let range = (from_ms, to_ms);
        let answer = api
            .app
            .readings_with_times(&caller, &id, range, values, limit);
        return Ok(Json(answer.await?));
    }
    Ok(Json(
        api.app
            .readings(&caller, &id, from_ms, to_ms, (resolution, values), limit)
            .await?,
    ))
}
