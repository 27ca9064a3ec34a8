//! What every request passes through: measuring, tracing, a time limit, a net under
//! panics, and the headers that keep a browser strict.
//!
//! Invariant: a request that is not served is answered, with a problem that says when to come back.

use std::any::Any;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use http_body_util::BodyExt;
use tracing::Instrument;

use super::extract::BODY_BYTES_MAX;
use super::gate::is_program_path;
use super::problem::Problem;

/// A request that takes longer is answered 503: far above any honest one (lists are read in milliseconds, a commit
/// takes one fsync), below the minute after which browsers and proxies give up with an error of their own.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What the page may load: its own files and nothing else. Styles may be inline because the component library sets
/// them; scripts may not. `blob:` is for the map's worker and for pictures.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; manifest-src 'self'; \
    worker-src 'self' blob:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Headers of every answer.
const SECURITY_HEADERS: [(HeaderName, HeaderValue); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(PAGE_POLICY),
    ),
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];

/// What is read and thrown away of a body that is too large, so that the sender reads the answer instead of a reset
/// connection. A photo sent to the wrong address fits; whoever sends more is cut off.
const DRAINED_BYTES_MAX: usize = 1024 * 1024;

/// Takes the whole body in before anything answers. A handler that refuses early would otherwise leave bytes unread,
/// and the connection would be reset under the answer, or under the next request on it.
pub async fn take_body(request: Request, next: Next) -> Response {
    let (parts, mut body) = request.into_parts();
    let mut taken = BytesMut::new();
    let mut drained = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Problem::unreadable("the body ended early").into_response();
        };
        let Some(data) = frame.data_ref() else {
            continue;
        };
        if taken.len() + data.len() <= BODY_BYTES_MAX && drained == 0 {
            taken.extend_from_slice(data);
            continue;
        }
        drained += data.len();
        if drained > DRAINED_BYTES_MAX {
            break;
        }
    }
    if drained > 0 {
        let mut response = Problem::body_too_large(BODY_BYTES_MAX).into_response();
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
        return response;
    }
    next.run(Request::from_parts(parts, Body::from(taken.freeze())))
        .await
}

/// Adds the security headers, and forbids storing what the program (not the page) answers.
pub async fn security_headers(request: Request, next: Next) -> Response {
    let of_program = is_program_path(request.uri().path());
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in SECURITY_HEADERS {
        headers.insert(name, value);
    }
    if of_program && !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// Counts and times each request under its route pattern (bounded, unlike paths), inside a span for the log.
pub async fn observe(request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("page", |m| m.as_str())
        .to_owned();
    let method_label = match method.as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PATCH" | "DELETE" | "PUT" | "OPTIONS") => {
            known.to_owned()
        }
        _ => "other".to_owned(),
    };
    let started = Instant::now();
    let span = tracing::debug_span!("http", %method, path = request.uri().path());
    let response = next.run(request).instrument(span.clone()).await;
    let elapsed = started.elapsed();
    let status = response.status().as_u16();
    span.in_scope(|| tracing::debug!(status, elapsed_ms = elapsed.as_millis() as u64, "answered"));
    metrics::counter!(
        "muster_http_requests_total",
        "method" => method_label.clone(), "route" => route.clone(), "status" => status.to_string()
    )
    .increment(1);
    metrics::histogram!("muster_http_request_seconds", "method" => method_label, "route" => route)
        .record(elapsed.as_secs_f64());
    response
}

/// Answers for a request that takes too long. A stream of events has answered when its head is sent, so it may last.
pub async fn limit_time(request: Request, next: Next) -> Response {
    let is_write = !request.method().is_safe();
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = if is_write {
                "it took too long; it may have been stored: send it again with the same Idempotency-Key"
            } else {
                "it took too long"
            };
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "timeout",
                "The request took too long",
                detail,
            )
            .retry_after(2)
            .into_response()
        }
    }
}

/// Turns a panic in a handler into a 500; the node goes on.
pub fn panic_answer(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".into());
    tracing::error!(panic = %text, "a request handler panicked");
    metrics::counter!("muster_http_panics_total").increment(1);
    Problem::fault("the request hit a fault of this program; the node's log has it").into_response()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn;
    use axum::routing::get;
    use tower::ServiceExt;
    use tower_http::catch_panic::CatchPanicLayer;

    use super::*;

    async fn ask(router: &Router, path: &str) -> Response {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_for_its_caller_and_for_nobody_else() {
        async fn broken() -> &'static str {
            panic!("secret detail")
        }
        let router = Router::new()
            .route("/broken", get(broken))
            .route("/whole", get(|| async { "ok" }))
            .layer(CatchPanicLayer::custom(panic_answer))
            .layer(from_fn(security_headers));
        let answer = ask(&router, "/broken").await;
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(
            answer.headers()[header::CONTENT_TYPE],
            "application/problem+json"
        );
        assert!(
            answer
                .headers()
                .contains_key(header::CONTENT_SECURITY_POLICY)
        );
        let body = axum::body::to_bytes(answer.into_body(), 10_000)
            .await
            .unwrap();
        assert!(!String::from_utf8_lossy(&body).contains("secret"));
        assert_eq!(ask(&router, "/whole").await.status(), StatusCode::OK);
    }
}
