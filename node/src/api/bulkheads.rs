//! Bulkheads: what people need at once and what can wait do not share places, so that a flood of the one cannot drown
//! the other (M. Nygard, "Release It!", 2nd ed., ch. 5).
//!
//! Each kind has places for requests that run and places behind them for requests that wait, first come, first served.
//! Past both a request is refused at once: a longer queue would only age.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::problem::Problem;

/// Places of the two kinds, `[requests]` in muster.toml. A request holds at most one 64 KiB body and one page of a list
/// (about 1 MiB): with the usual places all of them fit into the 250 MiB that a loaded node may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RequestPlaces {
    /// Edits, documents, lists, the page: so many at once; a browser opens six connections.
    pub critical_max: usize,
    /// So many of them behind.
    pub critical_queued_max: usize,
    /// Charts, histories, exports, test runs: so many at once. Each may read for seconds.
    pub background_max: usize,
    /// So many of them behind.
    pub background_queued_max: usize,
}

impl Default for RequestPlaces {
    fn default() -> Self {
        RequestPlaces {
            critical_max: 100,
            critical_queued_max: 50,
            background_max: 20,
            background_queued_max: 100,
        }
    }
}

/// Which kind a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Critical,
    Background,
}

impl Work {
    fn of(method: &Method, path: &str, query: Option<&str>) -> Work {
        let mut parts = path.trim_matches('/').split('/');
        let (root, kind, last) = (parts.next(), parts.next(), path.rsplit('/').next());
        let looks_back = query.is_some_and(|query| {
            query
                .split('&')
                .any(|parameter| parameter.starts_with("at=") || parameter.starts_with("q="))
        });
        let is_background = match (root, kind, last) {
            (Some("docs" | "openapi.json"), ..) => true,
            (Some("v1"), Some("series"), Some("readings")) => true,
            (Some("v1"), Some("search" | "audit"), _) => true,
            (Some("v1"), Some("dead-letters"), Some("replay")) => true,
            (Some("v1"), Some("rules"), Some("test")) => true,
            (Some("v1"), _, Some("history")) => true,
            (Some("v1"), ..) => method.is_safe() && looks_back,
            _ => false,
        };
        if is_background {
            Work::Background
        } else {
            Work::Critical
        }
    }

    fn name(self) -> &'static str {
        match self {
            Work::Critical => "critical",
            Work::Background => "background",
        }
    }
}

/// Places of one kind.
#[derive(Debug)]
struct Bulkhead {
    work: Work,
    /// Those that run and those that wait.
    admitted: Semaphore,
    running: Semaphore,
}

impl Bulkhead {
    fn new(work: Work, running_max: usize, queued_max: usize) -> Self {
        // Nobody is served by a node without places.
        let running_max = running_max.clamp(1, Semaphore::MAX_PERMITS / 2);
        let queued_max = queued_max.min(Semaphore::MAX_PERMITS / 2);
        Bulkhead {
            work,
            admitted: Semaphore::new(running_max + queued_max),
            running: Semaphore::new(running_max),
        }
    }

    /// Runs `work` once there is a place; `None` when even the queue is full.
    async fn run<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let _admitted = self.admitted.try_acquire().ok()?;
        // Never closed.
        let _running = self.running.acquire().await.ok()?;
        Some(work.await)
    }
}

/// The bulkheads of a node.
#[derive(Debug)]
pub(super) struct Bulkheads {
    critical: Bulkhead,
    background: Bulkhead,
}

impl Bulkheads {
    pub(super) fn new(places: RequestPlaces) -> Arc<Self> {
        Arc::new(Bulkheads {
            critical: Bulkhead::new(
                Work::Critical,
                places.critical_max,
                places.critical_queued_max,
            ),
            background: Bulkhead::new(
                Work::Background,
                places.background_max,
                places.background_queued_max,
            ),
        })
    }
}

/// Gives a request a place of its kind, or refuses it.
pub(super) async fn admit(
    State(bulkheads): State<Arc<Bulkheads>>,
    request: Request,
    next: Next,
) -> Response {
    // Whoever watches the node must hear from it most when it is busy.
    if request.uri().path() == "/health/live" {
        return next.run(request).await;
    }
    let work = Work::of(
        request.method(),
        request.uri().path(),
        request.uri().query(),
    );
    let bulkhead = match work {
        Work::Critical => &bulkheads.critical,
        Work::Background => &bulkheads.background,
    };
    match bulkhead.run(next.run(request)).await {
        Some(response) => response,
        None => {
            let work = bulkhead.work.name();
            metrics::counter!("muster_http_refused_total", "work" => work).increment(1);
            let detail =
                format!("all places for {work} requests are taken, and those that wait too");
            Problem::busy(detail, 1).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::Router;
    use axum::body::Body;
    use axum::http::{StatusCode, header};
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use tokio::sync::Notify;
    use tower::ServiceExt;

    use super::*;

    async fn ask(router: &Router, path: &str) -> Response {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap()
    }

    /// A node with places for one chart and one behind it; charts wait for `go`, status does not.
    fn busy_node(go: &Arc<Notify>) -> (Router, Arc<Bulkheads>) {
        let bulkheads = Bulkheads::new(RequestPlaces {
            background_max: 1,
            background_queued_max: 1,
            ..RequestPlaces::default()
        });
        let go = Arc::clone(go);
        let router = Router::new()
            .route("/v1/status", get(|| async { "ok" }))
            .route("/health/live", get(|| async { "ok" }))
            .route(
                "/v1/series/{id}/readings",
                get(move || async move { go.notified().await }),
            )
            .layer(from_fn_with_state(Arc::clone(&bulkheads), admit));
        (router, bulkheads)
    }

    #[tokio::test]
    async fn charts_without_end_do_not_keep_anybody_from_working() {
        let go = Arc::new(Notify::new());
        let (router, bulkheads) = busy_node(&go);
        let charts: Vec<_> = (0..2)
            .map(|_| {
                let router = router.clone();
                tokio::spawn(async move { ask(&router, "/v1/series/1/readings").await.status() })
            })
            .collect();
        while bulkheads.background.admitted.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let refused = ask(&router, "/v1/series/2/readings").await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
        for path in ["/v1/status", "/health/live"] {
            assert_eq!(ask(&router, path).await.status(), StatusCode::OK, "{path}");
        }
        for chart in charts {
            go.notify_one();
            assert_eq!(chart.await.unwrap(), StatusCode::OK);
        }
        assert_eq!(bulkheads.background.admitted.available_permits(), 2);
    }

    #[tokio::test]
    async fn the_watchers_are_heard_when_nobody_else_is() {
        let go = Arc::new(Notify::new());
        let (router, bulkheads) = busy_node(&go);
        let places = bulkheads.critical.admitted.available_permits();
        let taken = bulkheads
            .critical
            .admitted
            .try_acquire_many(u32::try_from(places).unwrap())
            .unwrap();
        let refused = ask(&router, "/v1/status").await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(ask(&router, "/health/live").await.status(), StatusCode::OK);
        drop(taken);
        assert_eq!(ask(&router, "/v1/status").await.status(), StatusCode::OK);
    }

    #[test]
    fn what_reads_long_is_background_and_what_people_do_is_not() {
        let of = |method: &str, uri: &str| {
            let (path, query) = match uri.split_once('?') {
                Some((path, query)) => (path, Some(query)),
                None => (uri, None),
            };
            Work::of(&method.parse().unwrap(), path, query)
        };
        for (method, uri) in [
            ("GET", "/v1/series/7/readings?resolution=15m"),
            ("GET", "/v1/incidents/x/history"),
            ("GET", "/v1/incidents?at=2026-03-01T12:00:00Z"),
            ("GET", "/v1/incidents?limit=5&q=bridge"),
            ("POST", "/v1/rules/test"),
            ("POST", "/v1/dead-letters/5/replay"),
            ("POST", "/v1/dead-letters/replay"),
            ("GET", "/docs/index.html"),
        ] {
            assert_eq!(of(method, uri), Work::Background, "{method} {uri}");
        }
        for (method, uri) in [
            ("POST", "/v1/incidents"),
            ("PATCH", "/v1/incidents/x?at=5"),
            ("GET", "/v1/incidents?limit=50"),
            ("GET", "/v1/series"),
            ("POST", "/session"),
            ("GET", "/"),
        ] {
            assert_eq!(of(method, uri), Work::Critical, "{method} {uri}");
        }
    }
}
