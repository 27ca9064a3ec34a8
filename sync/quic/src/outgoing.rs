//! The sending half of a connection: a queue and a writer task per stream.
//!
//! Always: handing in a frame never waits; what a peer does not read costs it its connection when the queue is full.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use quinn::SendStream;
use sync_engine::{CONTROL_FRAME_BYTES_MAX, ConnId, StreamKind};
use tokio::sync::mpsc;

use crate::events::Event;
use crate::shared::Shared;
use crate::wire::{self, STREAMS};

/// A writer tells the engine when its queue has fallen by this much, and when it is empty.
const UNSENT_STEP_BYTES: usize = 16 * 1024;
/// Control frames queued for a peer that does not read them. The engine bounds what it queues on lanes; control it may
/// always send, so that this bound is the shell's.
const CONTROL_QUEUE_BYTES_MAX: usize = 2 * CONTROL_FRAME_BYTES_MAX;
/// Frames queued on one lane: above the engine's own bound (`Limits::unsent_bytes_max` and a run), which normally holds.
const LANE_QUEUE_BYTES_MAX: usize = 512 * 1024;

/// The sending half of a connection, as the driver holds it.
pub(crate) struct Outgoing {
    conn: ConnId,
    connection: quinn::Connection,
    streams: [Option<mpsc::UnboundedSender<Bytes>>; STREAMS],
    /// Bytes of each stream that quinn has not taken yet. They bound the queues, which have no bound of their own.
    queued: Arc<[AtomicUsize; STREAMS]>,
}

/// The queue of a stream is full: the peer does not read it.
#[derive(Debug)]
pub(crate) struct QueueFull;

impl Outgoing {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        conn: ConnId,
        connection: quinn::Connection,
        control: SendStream,
    ) -> Self {
        let mut outgoing = Self {
            conn,
            connection,
            streams: [const { None }; STREAMS],
            queued: Arc::new([const { AtomicUsize::new(0) }; STREAMS]),
        };
        outgoing.spawn_writer(shared, StreamKind::Control, Some(control));
        outgoing
    }

    pub(crate) fn connection(&self) -> &quinn::Connection {
        &self.connection
    }

    /// Queues a frame. Its stream is opened with its first frame.
    pub(crate) fn send(
        &mut self,
        shared: &Arc<Shared>,
        kind: StreamKind,
        frame: Vec<u8>,
    ) -> Result<(), QueueFull> {
        let at = wire::index(kind);
        let bytes_max = match kind {
            StreamKind::Control => CONTROL_QUEUE_BYTES_MAX,
            StreamKind::Lane(_) => LANE_QUEUE_BYTES_MAX,
        };
        if self.queued[at].fetch_add(frame.len(), Ordering::AcqRel) + frame.len() > bytes_max {
            return Err(QueueFull);
        }
        shared.ledger.add(self.conn, frame.len());
        if self.streams[at].is_none() {
            self.spawn_writer(shared, kind, None);
        }
        if let Some(stream) = &self.streams[at] {
            // A writer that is gone means a connection that is going: its end comes as an event.
            let _ = stream.send(Bytes::from(frame));
        }
        Ok(())
    }

    fn spawn_writer(&mut self, shared: &Arc<Shared>, kind: StreamKind, stream: Option<SendStream>) {
        let (frames, queue) = mpsc::unbounded_channel();
        self.streams[wire::index(kind)] = Some(frames);
        let writer = Writer {
            conn: self.conn,
            kind,
            queue,
            queued: self.queued.clone(),
            shared: shared.clone(),
        };
        let connection = self.connection.clone();
        shared.tasks.spawn(async move {
            // What stops a writer ends the connection, and that is reported with its reason where it is read.
            let _ = writer.run(&connection, stream).await;
        });
    }
}

struct Writer {
    conn: ConnId,
    kind: StreamKind,
    queue: mpsc::UnboundedReceiver<Bytes>,
    queued: Arc<[AtomicUsize; STREAMS]>,
    shared: Arc<Shared>,
}

impl Writer {
    async fn run(
        mut self,
        connection: &quinn::Connection,
        stream: Option<SendStream>,
    ) -> Result<(), quinn::WriteError> {
        let at = wire::index(self.kind);
        let mut stream = match stream {
            Some(stream) => stream,
            None => {
                let mut stream = connection.open_uni().await?;
                let _ = stream.set_priority(wire::priority(self.kind));
                stream.write_all(&[at as u8]).await?;
                stream
            }
        };
        let mut told = 0;
        while let Some(frame) = self.queue.recv().await {
            let bytes = frame.len();
            wire::write_frame(&mut stream, frame).await?;
            self.shared.ledger.sub(self.conn, bytes);
            let unsent = self.queued[at].fetch_sub(bytes, Ordering::AcqRel) - bytes;
            if let StreamKind::Lane(lane) = self.kind
                && (unsent == 0 || usize::abs_diff(told, unsent) >= UNSENT_STEP_BYTES)
            {
                told = unsent;
                let event = Event::Unsent {
                    conn: self.conn,
                    lane,
                    bytes: unsent,
                };
                if self.shared.events.urgent.send(event).await.is_err() {
                    break;
                }
            }
        }
        Ok(())
    }
}
