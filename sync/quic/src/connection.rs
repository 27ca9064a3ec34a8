//! One connection: its opening, its streams, its end.
//!
//! A task per connection opens the control stream, waits for the other end's, tells the driver, and then hands each
//! stream that comes to a reader of its own. So a lane that stalls stops its reader and its own flow-control window,
//! and nobody else's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quinn::{ConnectionError, RecvStream, SendStream};
use sync_engine::{ConnId, Lane, NodeId, ReasonCode, StreamKind};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use crate::driver::{Event, Opened};
use crate::shared::{Events, Shared};
use crate::wire::{self, FrameError, Preface, STREAMS};

/// Frames of one stream that wait for the driver. More than one, so that reading and handling overlap; few, so that an
/// urgent frame waits behind few.
const FRAMES_WAITING_MAX: usize = 4;
/// Runs one sync connection to its end. `registered` learns whether the engine got it.
pub(crate) async fn run(
    shared: Arc<Shared>,
    connection: quinn::Connection,
    peer: NodeId,
    dialled: bool,
    handshake: Option<tokio::sync::OwnedSemaphorePermit>,
    registered: Option<oneshot::Sender<Result<ConnId, String>>>,
) {
    let registered = |outcome: Result<ConnId, String>| {
        if let Some(registered) = registered {
            let _ = registered.send(outcome);
        }
    };
    if peer == shared.node {
        wire::close(&connection, wire::CLOSE_SELF, "this is the same node");
        return registered(Err("that address is this node itself".into()));
    }
    // Before the preface goes out: the other end may then rely on it that this end knows of no other connection.
    if dialled && !shared.links.lock().reserve(peer) {
        wire::close(
            &connection,
            ReasonCode::Superseded.code(),
            "connected already",
        );
        return registered(Err("connected already".into()));
    }
    let opened = timeout(shared.limits.handshake, open(&shared, &connection, dialled)).await;
    drop(handshake);
    let (control_out, control_in) = match opened {
        Ok(Ok(streams)) => streams,
        failed => {
            if dialled {
                shared.links.lock().unreserve(peer);
            }
            let text = match failed {
                Ok(Err(error)) => error.to_string(),
                _ => "no control stream in time".into(),
            };
            wire::close(&connection, ReasonCode::BadFrame.code(), &text);
            return registered(Err(text));
        }
    };
    let conn = shared.next_conn();
    let (verdict, accepted) = oneshot::channel();
    let event = Event::Opened(Box::new(Opened {
        conn,
        peer,
        dialled,
        connection: connection.clone(),
        control: control_out,
        preface: control_in.as_ref().map(|(_, preface)| preface.clone()),
        verdict,
    }));
    let told = shared.events.urgent.send(event).await.is_ok();
    match accepted.await {
        Ok(Ok(())) if told => registered(Ok(conn)),
        Ok(Err(refusal)) => return registered(Err(refusal)),
        _ => return registered(Err("shutting down".into())),
    }
    let error = streams(
        &shared,
        &connection,
        conn,
        control_in.map(|(stream, _)| stream),
    )
    .await;
    let reason = reason_text(&shared, &error);
    tracing::debug!(%peer, conn = conn.0, %reason, "connection ended");
    let _ = shared
        .events
        .urgent
        .send(Event::Closed { conn, reason })
        .await;
}

type ControlIn = Option<(RecvStream, Preface)>;

/// Opens our control stream; a listener also waits for the other end's, whose preface says which life dialled.
async fn open(
    shared: &Shared,
    connection: &quinn::Connection,
    dialled: bool,
) -> Result<(SendStream, ControlIn), FrameError> {
    let lost = |error: ConnectionError| FrameError::Read(quinn::ReadError::ConnectionLost(error));
    let mut control = connection.open_uni().await.map_err(lost)?;
    // An error shows again, with its reason, when the connection is read.
    let _ = control.set_priority(wire::priority(StreamKind::Control));
    let _ = control.write_all(&shared.preface.opening()).await;
    if dialled {
        return Ok((control, None));
    }
    let stream = connection.accept_uni().await.map_err(lost)?;
    Ok((control, Some(read_preface(stream).await?)))
}

async fn read_preface(mut stream: RecvStream) -> Result<(RecvStream, Preface), FrameError> {
    let kind = wire::read_kind(&mut stream).await?;
    if wire::kind(kind) != Some(StreamKind::Control) {
        return Err(FrameError::Preface);
    }
    let preface = Preface::read(&mut stream).await?;
    Ok((stream, preface))
}

/// Takes the streams that the other end opens until the connection ends; returns why it did.
async fn streams(
    shared: &Arc<Shared>,
    connection: &quinn::Connection,
    conn: ConnId,
    control: Option<RecvStream>,
) -> ConnectionError {
    let control = match control {
        Some(control) => control,
        None => {
            let first = async {
                let stream = connection
                    .accept_uni()
                    .await
                    .map_err(quinn::ReadError::ConnectionLost)?;
                read_preface(stream).await
            };
            match timeout(shared.limits.handshake, first).await {
                Ok(Ok((stream, preface))) => {
                    let _ = shared
                        .events
                        .urgent
                        .send(Event::Preface { conn, preface })
                        .await;
                    stream
                }
                Ok(Err(error)) => {
                    violation(connection, &error);
                    return connection.closed().await;
                }
                Err(_) => {
                    wire::close(
                        connection,
                        ReasonCode::BadFrame.code(),
                        "no control stream in time",
                    );
                    return connection.closed().await;
                }
            }
        }
    };
    let seen = Arc::new([const { AtomicUsize::new(0) }; STREAMS]);
    spawn_reader(shared, connection, conn, StreamKind::Control, control);
    loop {
        let stream = match connection.accept_uni().await {
            Ok(stream) => stream,
            Err(error) => return error,
        };
        let (shared, connection, seen) = (shared.clone(), connection.clone(), seen.clone());
        shared.clone().tasks.spawn(async move {
            let mut stream = stream;
            let byte = match wire::read_kind(&mut stream).await {
                Ok(byte) => byte,
                Err(error) => return violation(&connection, &error),
            };
            match wire::kind(byte) {
                // A kind of a later version: it must do without it.
                None => drop(stream.stop(wire::close_code(ReasonCode::Protocol.code()))),
                Some(StreamKind::Control) => {
                    wire::close(
                        &connection,
                        ReasonCode::BadFrame.code(),
                        "second control stream",
                    );
                }
                Some(kind) if seen[wire::index(kind)].fetch_add(1, Ordering::Relaxed) > 0 => {
                    wire::close(
                        &connection,
                        ReasonCode::BadFrame.code(),
                        "second stream of one lane",
                    );
                }
                Some(kind) => read_frames(&shared, &connection, conn, kind, stream).await,
            }
        });
    }
}

fn spawn_reader(
    shared: &Arc<Shared>,
    connection: &quinn::Connection,
    conn: ConnId,
    kind: StreamKind,
    stream: RecvStream,
) {
    let (shared, connection) = (shared.clone(), connection.clone());
    shared
        .clone()
        .tasks
        .spawn(async move { read_frames(&shared, &connection, conn, kind, stream).await });
}

/// Reads one stream to its end. What the driver has not taken yet is bounded: per stream by frames, over all
/// connections by bytes.
async fn read_frames(
    shared: &Shared,
    connection: &quinn::Connection,
    conn: ConnId,
    kind: StreamKind,
    mut stream: RecvStream,
) {
    let waiting = Arc::new(Semaphore::new(FRAMES_WAITING_MAX));
    let queue = queue_of(&shared.events, kind);
    loop {
        let length = match wire::read_length(&mut stream, kind.frame_bytes_max()).await {
            Ok(Some(0)) => continue,
            Ok(Some(length)) => length,
            Ok(None) => return,
            Err(error) => return violation(connection, &error),
        };
        let bytes = match wire::read_body(&mut stream, length).await {
            Ok(bytes) => bytes,
            Err(error) => return violation(connection, &error),
        };
        let Ok(turn) = waiting.clone().acquire_owned().await else {
            return;
        };
        let kib = length.div_ceil(1024) as u32;
        let Ok(room) = shared.received.clone().acquire_many_owned(kib).await else {
            return;
        };
        let event = Event::Frame {
            conn,
            stream: kind,
            bytes,
            _held: (turn, room),
        };
        if queue.send(event).await.is_err() {
            return;
        }
    }
}

/// Control and the lanes that lives depend on have a way of their own into the driver.
fn queue_of(events: &Events, kind: StreamKind) -> &mpsc::Sender<Event> {
    match kind {
        StreamKind::Control => &events.urgent,
        StreamKind::Lane(lane) if lane <= Lane::Life => &events.urgent,
        StreamKind::Lane(_) => &events.bulk,
    }
}

fn violation(connection: &quinn::Connection, error: &FrameError) {
    if error.is_violation() {
        wire::close(connection, ReasonCode::BadFrame.code(), &error.to_string());
    }
}

/// Why a connection ended, for people.
pub(crate) fn reason_text(shared: &Shared, error: &ConnectionError) -> String {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            let text = String::from_utf8_lossy(&close.reason);
            if text.is_empty() {
                "closed by peer".into()
            } else {
                format!("closed by peer: {text}")
            }
        }
        ConnectionError::TimedOut => format!("no packet for {} s", shared.limits.idle.as_secs()),
        ConnectionError::Reset => "peer restarted".into(),
        ConnectionError::LocallyClosed => "closed here".into(),
        other => other.to_string(),
    }
}
