//! The HTTP API and the responders' page (DESIGN §8).
//!
//! Invariants: handlers parse, call one `App` method and show its answer; who may do what and what is stored is decided
//! in [`crate::app`]. Nothing here touches the store, and axum is known nowhere else. Whatever is not listed as open in
//! [`gate`] needs a caller.

mod audit;
mod bulkheads;
mod decoders;
mod dto;
mod events;
mod extract;
mod gate;
mod health;
mod layers;
mod mqtt;
mod mqtt_accounts;
mod oauth;
mod openapi;
mod operations;
mod page;
mod problem;
mod query;
mod records;
mod rules;
mod schema;
mod series;
mod server;
mod session;
mod sync_faults;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{OriginalUri, Request};
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::app::App;

pub use bulkheads::RequestPlaces;
pub use health::recorder as metrics_recorder;
pub use problem::Problem;

/// How often histograms are folded; without it they would keep every sample until someone reads the metrics.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// The session cookie's name in the OpenAPI document, which belongs to no node.
const COOKIE_NAME_EXAMPLE: &str = "muster_session_<node>";

/// What handlers share.
#[derive(Clone)]
pub struct ApiState {
    app: Arc<App>,
    /// `muster_session_` and the beginning of the node's id.
    cookie_name: Arc<str>,
    /// Permits for event streams.
    streams: Arc<Semaphore>,
    /// Fires when the node stops, so that streams end.
    closing: CancellationToken,
    /// The OpenAPI document as text.
    openapi: Arc<str>,
}

/// The whole HTTP surface of a node. `closing` ends event streams when it fires.
pub fn router(app: Arc<App>, places: RequestPlaces, closing: CancellationToken) -> Router {
    // Installed before the first request, so that the first scrape already knows every figure.
    let _ = metrics_recorder();
    let mut document = openapi::document();
    let cookie_name = cookie_name(&app.node_id().to_string());
    if let Some(components) = &mut document.components {
        components.security_schemes.remove("session");
    }
    let document = openapi::finish(document, &cookie_name);
    let state = ApiState {
        app,
        cookie_name: cookie_name.into(),
        streams: Arc::new(Semaphore::new(events::STREAMS_MAX)),
        closing,
        openapi: openapi::to_text(&document).into(),
    };
    let bulkheads = bulkheads::Bulkheads::new(places);
    let (routes, _) = routes().split_for_parts();
    let docs = SwaggerUi::new("/docs").config(Config::from("/openapi.json").validator_url("none"));
    routes
        .route("/openapi.json", get(openapi::serve))
        .merge(docs)
        .fallback(page::fallback)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(state.clone(), gate::gate))
        .layer(from_fn(layers::take_body))
        .layer(from_fn(layers::limit_time))
        .layer(from_fn_with_state(bulkheads, bulkheads::admit))
        .layer(CatchPanicLayer::custom(layers::panic_answer))
        .layer(from_fn(layers::security_headers))
        .layer(from_fn(layers::observe))
        .with_state(state)
}

/// Every route that the OpenAPI document lists.
fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(
            session::sign_in,
            session::current,
            session::sign_out
        ))
        .routes(routes!(oauth::token))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
        .routes(routes!(operations::status))
        .routes(routes!(operations::peers))
        .routes(routes!(operations::brokers))
        .routes(routes!(sync_faults::list))
        .routes(routes!(sync_faults::see))
        .merge(records::routes())
        .routes(routes!(rules::test))
        .routes(routes!(rules::state))
        .routes(routes!(operations::list_conflicts))
        .routes(routes!(operations::get_conflict))
        .routes(routes!(operations::resolve_conflict))
        .routes(routes!(mqtt::make_credentials, mqtt::revoke_credentials))
        .routes(routes!(mqtt::send_command, mqtt::list_commands))
        .routes(routes!(mqtt_accounts::list, mqtt_accounts::add))
        .routes(routes!(mqtt_accounts::remove))
        .routes(routes!(mqtt_accounts::renew_password))
        .routes(routes!(series::list))
        .routes(routes!(series::read))
        .routes(routes!(series::readings))
        .routes(routes!(decoders::list, decoders::put))
        .routes(routes!(decoders::try_out))
        .routes(routes!(operations::list_dead_letters))
        .routes(routes!(operations::replay_dead_letters))
        .routes(routes!(operations::discard_dead_letters))
        .routes(routes!(operations::get_dead_letter))
        .routes(routes!(operations::replay_dead_letter))
        .routes(routes!(operations::discard_dead_letter))
        .routes(routes!(audit::list))
        .routes(routes!(events::events))
}

/// Serves until `closing` fires; then finishes what is in flight, for a bounded time.
pub async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    places: RequestPlaces,
    closing: CancellationToken,
) {
    let router = router(app, places, closing.clone());
    let upkeep = async {
        let mut tick = tokio::time::interval(METRICS_UPKEEP);
        loop {
            tick.tick().await;
            if let Some(handle) = metrics_recorder() {
                handle.run_upkeep();
            }
        }
    };
    tokio::select! {
        () = server::serve(listener, router, &closing) => {}
        () = upkeep => {}
    }
}

/// Browsers share cookies between the ports of one host; nodes on one machine must not share a session.
fn cookie_name(node_id: &str) -> String {
    let short: String = node_id
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(12)
        .collect();
    format!("muster_session_{short}")
}

async fn method_not_allowed(OriginalUri(uri): OriginalUri, request: Request) -> Response {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "This path does not take that method",
        format!("{} does not take {}", uri.path(), request.method()),
    )
    .into_response()
}
