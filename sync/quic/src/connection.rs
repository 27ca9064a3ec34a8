//! One connection: its opening, its streams, its end.
//!
//! A task per connection opens the control stream, waits for the other end's, tells the driver, and then hands each
//! stream that comes to a reader of its own. So a lane that stalls stops its reader and its own flow-control window,
//! and nobody else's.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use quinn::{ConnectionError, RecvStream, SendStream};
use sync_engine::{ConnId, NodeId, ReasonCode, StreamKind};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use crate::events::{Event, Opened};
use crate::ledger::Ledger;
use crate::shared::Shared;
use crate::windows::Place;
use crate::wire::{self, FrameError, Preface, STREAMS};

/// Frames of one stream that wait for the driver. More than one, so that reading and handling overlap; few, so that an
/// urgent frame waits behind few.
const FRAMES_WAITING_MAX: usize = 4;

/// A connection whose other end has proven its key.
pub(crate) struct Arrival {
    pub(crate) connection: quinn::Connection,
    pub(crate) peer: NodeId,
    pub(crate) dialled: bool,
    pub(crate) place: Place,
    /// The handshake's slot, given back when the control stream is there.
    pub(crate) handshake: Option<OwnedSemaphorePermit>,
}

/// Runs one sync connection to its end. `registered` learns whether the engine got it.
pub(crate) async fn run(
    shared: Arc<Shared>,
    arrival: Arrival,
    registered: Option<oneshot::Sender<Result<ConnId, String>>>,
) {
    let Arrival {
        connection,
        peer,
        dialled,
        place: _place,
        handshake,
    } = arrival;
    let registered = |outcome: Result<ConnId, String>| {
        if let Some(registered) = registered {
            let _ = registered.send(outcome);
        }
    };
    if peer == shared.node {
        wire::close(&connection, wire::CLOSE_SELF, "this is the same node");
        return registered(Err("that address is this node itself".into()));
    }
    if let Some(refusal) = shared.refusal(peer) {
        let text = refusal.to_string();
        wire::close(&connection, wire::CLOSE_REFUSED, &text);
        return registered(Err(text));
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
    let conn = shared.next_conn();
    let link = Link {
        shared: shared.clone(),
        connection: connection.clone(),
        peer,
        conn,
        violation: OnceLock::new(),
    };
    let (control_out, control_in) = match opened {
        Ok(Ok(streams)) => streams,
        failed => {
            if dialled {
                shared.links.lock().unreserve(peer);
            }
            let text = match failed {
                Ok(Err(error)) => {
                    link.end_for(&error);
                    error.to_string()
                }
                _ => "no control stream in time".into(),
            };
            wire::close(&connection, ReasonCode::BadFrame.code(), &text);
            return registered(Err(text));
        }
    };
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
    let link = Arc::new(link);
    let error = link.streams(control_in.map(|(stream, _)| stream)).await;
    let reason = match (&error, link.violation.get()) {
        (ConnectionError::LocallyClosed, Some(why)) => why.clone(),
        _ => reason_text(&shared, &error),
    };
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

/// What the tasks of one connection share.
struct Link {
    shared: Arc<Shared>,
    connection: quinn::Connection,
    peer: NodeId,
    conn: ConnId,
    /// What the peer did that it must not.
    violation: OnceLock<String>,
}

impl Link {
    /// Takes the streams that the other end opens until the connection ends; returns why it did.
    async fn streams(self: &Arc<Self>, control: Option<RecvStream>) -> ConnectionError {
        let control = match control {
            Some(control) => control,
            None => match self.control().await {
                Some(control) => control,
                None => return self.connection.closed().await,
            },
        };
        let seen = Arc::new([const { AtomicUsize::new(0) }; STREAMS]);
        let reader = self.clone();
        self.shared
            .tasks
            .spawn(async move { reader.read_frames(StreamKind::Control, control).await });
        loop {
            let stream = match self.connection.accept_uni().await {
                Ok(stream) => stream,
                Err(error) => return error,
            };
            let (reader, seen) = (self.clone(), seen.clone());
            self.shared
                .tasks
                .spawn(async move { reader.read_stream(stream, &seen).await });
        }
    }

    /// The control stream of who was dialled: it comes with the driver knowing of the connection already.
    async fn control(&self) -> Option<RecvStream> {
        let first = async {
            let stream = self
                .connection
                .accept_uni()
                .await
                .map_err(quinn::ReadError::ConnectionLost)?;
            read_preface(stream).await
        };
        match timeout(self.shared.limits.handshake, first).await {
            Ok(Ok((stream, preface))) => {
                let conn = self.conn;
                let event = Event::Preface { conn, preface };
                let _ = self.shared.events.urgent.send(event).await;
                Some(stream)
            }
            Ok(Err(error)) => {
                self.end_for(&error);
                None
            }
            Err(_) => {
                let code = ReasonCode::BadFrame.code();
                wire::close(&self.connection, code, "no control stream in time");
                None
            }
        }
    }

    async fn read_stream(&self, mut stream: RecvStream, seen: &[AtomicUsize; STREAMS]) {
        let byte = match wire::read_kind(&mut stream).await {
            Ok(byte) => byte,
            Err(error) => return self.end_for(&error),
        };
        match wire::kind(byte) {
            // A kind of a later version: it must do without it.
            None => drop(stream.stop(wire::close_code(ReasonCode::Protocol.code()))),
            Some(StreamKind::Control) => self.end("second control stream"),
            Some(kind) if seen[wire::index(kind)].fetch_add(1, Ordering::Relaxed) > 0 => {
                self.end("second stream of one lane");
            }
            Some(kind) => self.read_frames(kind, stream).await,
        }
    }

    /// Reads one stream to its end. What the driver has not taken yet is bounded: per stream by frames, over all
    /// connections by bytes.
    async fn read_frames(&self, kind: StreamKind, mut stream: RecvStream) {
        let waiting = Arc::new(Semaphore::new(FRAMES_WAITING_MAX));
        let queue = self.shared.events.of(kind);
        loop {
            let length = match wire::read_length(&mut stream, kind.frame_bytes_max()).await {
                Ok(Some(0)) => continue,
                Ok(Some(length)) => length,
                Ok(None) => return,
                Err(error) => return self.end_for(&error),
            };
            // Room is taken when the frame is whole: a peer that sends half of one, and then nothing, holds up nobody.
            let mut begun = Begun::of(&self.shared.ledger, self.conn);
            let body = wire::read_body(&mut stream, length, |piece| begun.grows(piece)).await;
            let bytes = match body {
                Ok(bytes) => bytes,
                Err(error) => return self.end_for(&error),
            };
            let Ok(turn) = waiting.clone().acquire_owned().await else {
                return;
            };
            let Some(room) = self.shared.rooms.enter(kind, length).await else {
                return;
            };
            drop(begun);
            let event = Event::Frame {
                conn: self.conn,
                stream: kind,
                bytes,
                turn,
                room,
            };
            if queue.send(event).await.is_err() {
                return;
            }
        }
    }

    /// Ends the connection if the peer broke the protocol; any other error ends it by itself.
    fn end_for(&self, error: &FrameError) {
        if error.is_violation() {
            self.end(&error.to_string());
        }
    }

    fn end(&self, why: &str) {
        // Several streams may find something at once: it is one violation.
        if self.violation.set(why.to_owned()).is_ok() && self.connection.close_reason().is_none() {
            self.shared.no_frames.fetch_add(1, Ordering::Relaxed);
            self.shared.violated(self.peer, why);
            wire::close(&self.connection, ReasonCode::BadFrame.code(), why);
        }
    }
}

/// The beginning of a frame, in the ledger for as long as its rest has not come.
struct Begun<'a> {
    ledger: &'a Ledger,
    conn: ConnId,
    bytes: usize,
}

impl<'a> Begun<'a> {
    fn of(ledger: &'a Ledger, conn: ConnId) -> Self {
        let bytes = 0;
        Self {
            ledger,
            conn,
            bytes,
        }
    }

    fn grows(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.ledger.add(self.conn, bytes);
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.ledger.sub(self.conn, self.bytes);
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
