//! `GET /v1/events`: what changes, as server-sent events (WHATWG HTML §9.2).
//!
//! Invariant: a client that reconnects with the last id it got misses nothing: positions only grow, what the live
//! channel drops under load is read again from the store, and where the store no longer holds it the client is told
//! `reset` and must list anew.
//!
//! Dead letters have no such positions: their event carries no id, so that it moves nobody's, and is not sent again.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::Stream;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::ApiState;
use super::dto;
use super::extract::Signed;
use super::problem::Problem;
use super::query::QueryParameters;
use crate::app::{App, Event};

/// Streams at one moment: one per open page; a page holds one.
pub const STREAMS_MAX: usize = 256;

/// Events on their way to one client; beyond it the stream waits for the client, and catches up from the store.
const QUEUE_EVENTS_MAX: usize = 64;

/// A comment this often keeps proxies and phones from closing a quiet stream, and finds dead connections.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A stream ends after this time, so that a session that ended elsewhere stops hearing; browsers reconnect by
/// themselves and resume.
const STREAM_AGE_MAX: Duration = Duration::from_secs(30 * 60);

/// Dead letters can come by the thousand each second, and whoever hears of them reads a page of their payloads.
const DEAD_LETTERS_PAUSE: Duration = Duration::from_secs(2);

/// Everything that changes, from now on or from `Last-Event-ID`.
#[utoipa::path(
    get, path = "/v1/events", tag = "events", operation_id = "events",
    description = "Server-sent events: `id` is this node's position, `event` is `<kind>.changed`, `data` is a \
                   ChangeEvent. `reset` says that Last-Event-ID is too old: list anew. `dead-letter.changed` comes \
                   without an id, at most once in two seconds however many changed, and is not sent again to who \
                   resumes.",
    params(
        ("Last-Event-ID" = Option<String>, Header, description = "Resume after this event."),
        ("last_event_id" = Option<String>, Query, description = "The same, for clients that cannot set the header."),
    ),
    responses((status = 200, description = "The stream.", body = dto::ChangeEvent, content_type = "text/event-stream")),
)]
pub async fn events(
    State(api): State<ApiState>,
    _caller: Signed,
    headers: HeaderMap,
    mut query: QueryParameters,
) -> Result<Response, Problem> {
    let by_query = query.text("last_event_id");
    query.finish(&["last_event_id"])?;
    let by_header = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let resume = by_header.or(by_query).filter(|id| !id.is_empty());
    let permit = Arc::clone(&api.streams)
        .try_acquire_owned()
        .map_err(|_| Problem::busy(format!("{STREAMS_MAX} event streams are open"), 10))?;
    let stream = open(Arc::clone(&api.app), resume, permit, api.closing.clone());
    let mut response = Sse::new(stream)
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx and its kin would hold events back otherwise.
    response
        .headers_mut()
        .insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

fn open(
    app: Arc<App>,
    resume: Option<String>,
    permit: OwnedSemaphorePermit,
    closing: CancellationToken,
) -> impl Stream<Item = Result<SseEvent, Infallible>> {
    let (sender, receiver) = mpsc::channel(QUEUE_EVENTS_MAX);
    tokio::spawn(async move {
        let _permit = permit;
        let run = feed(&app, resume, &sender);
        tokio::select! {
            () = run => {}
            () = sender.closed() => {}
            () = closing.cancelled() => {}
            () = tokio::time::sleep(STREAM_AGE_MAX) => {}
        }
    });
    ReceiverStream::new(receiver)
}

/// Sends until the client or the node goes away.
async fn feed(
    app: &Arc<App>,
    resume: Option<String>,
    sender: &mpsc::Sender<Result<SseEvent, Infallible>>,
) {
    // Subscribed before the position is read: what commits in between comes twice and is dropped by its position.
    let mut live = app.subscribe_events();
    let mut letters = DeadLetters::follow(app);
    let now = app.event_position();
    let mut position = match resume.as_deref().map(str::parse::<i64>) {
        None => now,
        Some(Ok(last)) if (0..=now).contains(&last) => last,
        // Not a position of this node (its data was restored, or the id is another node's).
        Some(_) => {
            if sender.send(Ok(reset(now))).await.is_err() {
                return;
            }
            now
        }
    };
    // An id without data fires no event in a browser, but it is what the browser resumes from.
    if sender
        .send(Ok(SseEvent::default().id(position.to_string())))
        .await
        .is_err()
    {
        return;
    }
    loop {
        match catch_up(app, position, sender).await {
            Some(reached) => position = reached,
            None => return,
        }
        let followed = follow(&mut live, &mut letters, &mut position, sender).await;
        if followed.is_none() {
            return;
        }
    }
}

/// Sends what the store holds after `position`; `None` when the client is gone or the store failed.
async fn catch_up(
    app: &Arc<App>,
    mut position: i64,
    sender: &mpsc::Sender<Result<SseEvent, Infallible>>,
) -> Option<i64> {
    loop {
        match app.events_since(position).await {
            Ok(Some(events)) if events.is_empty() => return Some(position),
            Ok(Some(events)) => {
                for event in events {
                    position = position.max(event.position);
                    sender.send(Ok(change(&event))).await.ok()?;
                }
            }
            Ok(None) => {
                position = app.event_position();
                sender.send(Ok(reset(position))).await.ok()?;
            }
            Err(error) => {
                // The client reconnects with its last id and tries again.
                tracing::warn!(%error, "event stream ends: the store cannot be read");
                return None;
            }
        }
    }
}

/// Sends what commits from now on; returns when the channel dropped some, so that the store must be read again.
async fn follow(
    live: &mut broadcast::Receiver<Event>,
    letters: &mut DeadLetters,
    position: &mut i64,
    sender: &mpsc::Sender<Result<SseEvent, Infallible>>,
) -> Option<()> {
    loop {
        let event = tokio::select! {
            event = live.recv() => event,
            () = letters.changed() => {
                sender.send(Ok(dead_letters_changed())).await.ok()?;
                continue;
            }
        };
        match event {
            Ok(event) if event.position <= *position => {}
            Ok(event) => {
                *position = event.position;
                sender.send(Ok(change(&event))).await.ok()?;
            }
            Err(RecvError::Lagged(_)) => return Some(()),
            Err(RecvError::Closed) => return None,
        }
    }
}

/// Follows the list of dead letters: the first change at once, what changes in the pause after it together.
struct DeadLetters {
    changes: watch::Receiver<u64>,
    quiet_until: Instant,
}

impl DeadLetters {
    fn follow(app: &App) -> Self {
        DeadLetters {
            changes: app.subscribe_dead_letters(),
            quiet_until: Instant::now(),
        }
    }

    /// May be dropped and called again.
    async fn changed(&mut self) {
        tokio::time::sleep_until(self.quiet_until).await;
        if self.changes.changed().await.is_err() {
            // The store is closed, and with it the stream will be.
            std::future::pending::<()>().await;
        }
        self.quiet_until = Instant::now() + DEAD_LETTERS_PAUSE;
    }
}

fn dead_letters_changed() -> SseEvent {
    SseEvent::default()
        .event("dead-letter.changed")
        .data(json!({ "kind": "dead-letter", "id": "", "version": "" }).to_string())
}

fn change(event: &Event) -> SseEvent {
    SseEvent::default()
        .id(event.position.to_string())
        .event(format!("{}.changed", event.kind))
        .data(json!({ "kind": event.kind, "id": event.id, "version": event.version }).to_string())
}

fn reset(position: i64) -> SseEvent {
    SseEvent::default()
        .id(position.to_string())
        .event("reset")
        .data(json!({ "position": position.to_string() }).to_string())
}
