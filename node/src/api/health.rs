//! Whether the node lives and is ready, and its figures for Prometheus.

use std::sync::OnceLock;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde_json::json;

use super::ApiState;
use super::problem::Problem;

/// Seconds, from a cached read to the request's time limit.
const SECONDS_BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 30.0];

/// The process runs and answers.
#[utoipa::path(
    get, path = "/health/live", tag = "health", operation_id = "live",
    responses((status = 200, description = "It lives.")),
)]
pub async fn live() -> Response {
    Json(json!({ "status": "live" })).into_response()
}

/// The node has opened its data and takes work.
#[utoipa::path(
    get, path = "/health/ready", tag = "health", operation_id = "ready",
    responses((status = 200, description = "It is ready."), (status = 503, description = "Not yet.")),
)]
pub async fn ready(State(api): State<ApiState>) -> Response {
    if api.app.is_ready() {
        Json(json!({ "status": "ready" })).into_response()
    } else {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not-ready",
            "Not ready",
            "the node is starting or stopping",
        )
        .retry_after(1)
        .into_response()
    }
}

/// Figures in Prometheus' text format; from loopback without a token.
#[utoipa::path(
    get, path = "/metrics", tag = "health", operation_id = "metrics",
    responses((status = 200, description = "Figures.", body = String, content_type = "text/plain")),
)]
pub async fn metrics(State(api): State<ApiState>) -> Response {
    api.app.publish_sync_counters();
    api.app.publish_dead_letters().await;
    api.app.publish_ingest();
    match recorder() {
        Some(handle) => (
            [(
                header::CONTENT_TYPE,
                "text/plain; version=0.0.4; charset=utf-8",
            )],
            handle.render(),
        )
            .into_response(),
        None => Problem::fault("another recorder of metrics is installed in this process")
            .into_response(),
    }
}

/// The process-wide recorder, installed at the first call. Call it before work begins, so that nothing goes uncounted.
/// `None` where a program around this library installed its own.
pub fn recorder() -> Option<&'static PrometheusHandle> {
    static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS_BUCKETS)
                .ok()?
                .install_recorder()
                .ok()
        })
        .as_ref()
}
