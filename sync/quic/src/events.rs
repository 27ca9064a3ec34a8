//! What connections tell the driver, and on which way.

use sync_engine::{ConnId, Lane, NodeId, StreamKind};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::wire::Preface;

/// Small and urgent events in front of the driver: control, lanes 0 to 2, comings and goings.
const URGENT_EVENTS_MAX: usize = 256;
/// Frames of the other lanes in front of the driver; their bytes are bounded by `SyncLimits::lane_bytes_max`.
const BULK_EVENTS_MAX: usize = 64;

/// One of them.
pub(crate) enum Event {
    Opened(Box<Opened>),
    Preface {
        conn: ConnId,
        preface: Preface,
    },
    Frame {
        conn: ConnId,
        stream: StreamKind,
        bytes: Vec<u8>,
        /// Lets its stream's reader go on.
        turn: OwnedSemaphorePermit,
        /// What it takes of its lane's room.
        room: OwnedSemaphorePermit,
    },
    Unsent {
        conn: ConnId,
        lane: Lane,
        bytes: usize,
    },
    Closed {
        conn: ConnId,
        reason: String,
    },
}

/// A connection is up and has its control stream.
pub(crate) struct Opened {
    pub(crate) conn: ConnId,
    pub(crate) peer: NodeId,
    pub(crate) dialled: bool,
    pub(crate) connection: quinn::Connection,
    pub(crate) control: quinn::SendStream,
    pub(crate) preface: Option<Preface>,
    /// Whether the engine takes it; else the driver has closed it, for this reason.
    pub(crate) verdict: oneshot::Sender<Result<(), String>>,
}

/// The ways into the driver. What is small or urgent does not queue behind bulk.
#[derive(Clone)]
pub(crate) struct Events {
    pub(crate) urgent: mpsc::Sender<Event>,
    bulk: mpsc::Sender<Event>,
}

/// Where they come out.
pub(crate) struct Incoming {
    pub(crate) urgent: mpsc::Receiver<Event>,
    pub(crate) bulk: mpsc::Receiver<Event>,
}

impl Events {
    pub(crate) fn channels() -> (Self, Incoming) {
        let (urgent, urgent_events) = mpsc::channel(URGENT_EVENTS_MAX);
        let (bulk, bulk_events) = mpsc::channel(BULK_EVENTS_MAX);
        let incoming = Incoming {
            urgent: urgent_events,
            bulk: bulk_events,
        };
        (Self { urgent, bulk }, incoming)
    }

    /// The way of a stream's frames: control and the lanes that lives depend on have one of their own.
    pub(crate) fn of(&self, kind: StreamKind) -> &mpsc::Sender<Event> {
        match kind {
            StreamKind::Control => &self.urgent,
            StreamKind::Lane(lane) if lane <= Lane::Life => &self.urgent,
            StreamKind::Lane(_) => &self.bulk,
        }
    }
}
