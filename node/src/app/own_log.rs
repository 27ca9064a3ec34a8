//! This node's own logs of what it says of itself: receipts, summaries, the health of its devices, and readings that it gives
//! away.
//!
//! Invariant: an entry that stands here is about its author, and its time is the plain clock of this machine: it says when,
//! and comes after nothing.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use store::{Disposition, LocalEntry, Store};
use sync_engine::{
    Entry, EntryHeader, EntryKind, GroupId, HybridTime, Incarnation, Lane, LogId, MayWrite, NodeId,
    ObjectId, Payload, Trust,
};

use super::clock::Clock;
use super::error::AppError;

/// What whoever writes there needs from around it.
#[derive(Clone)]
pub(in crate::app) struct OwnLog {
    pub store: Store,
    pub node: NodeId,
    pub incarnation: Incarnation,
    pub clock: Clock,
    pub trust: Arc<ArcSwap<Trust>>,
    /// Set when this node must not write; says why.
    pub writes_stopped: Arc<ArcSwapOption<String>>,
}

impl OwnLog {
    /// Whether others would take an entry of that lane from this node.
    pub(in crate::app) fn may_write(&self, lane: Lane) -> bool {
        let log = LogId {
            author: self.node,
            incarnation: self.incarnation,
            group: GroupId::SHARED,
            lane,
        };
        matches!(self.trust.load().may_write(&log), MayWrite::Yes)
            && self.writes_stopped.load().is_none()
    }
}

/// The object that such an entry stands under: its author, of which it speaks.
pub(in crate::app) fn object_of(author: NodeId) -> ObjectId {
    let mut object = [0; 16];
    object.copy_from_slice(&author.0[..16]);
    ObjectId(object)
}

/// The entry of a payload that `author` says of itself.
///
/// # Errors
/// A payload that is too large for an entry, which is a fault of this program.
pub(in crate::app) fn entry(
    author: NodeId,
    (lane, kind): (Lane, EntryKind),
    now_wall_ms: u64,
    payload: Vec<u8>,
) -> Result<LocalEntry, AppError> {
    let object = object_of(author);
    let entry = Entry {
        header: EntryHeader {
            time: HybridTime {
                wall_ms: now_wall_ms,
                logical: 0,
            },
            user: None,
            kind,
            object,
        },
        payload: Payload::Plain(payload),
    };
    let bytes = entry.encode().map_err(|error| AppError::Fault {
        context: "write what this node says of itself",
        source: Box::new(error),
    })?;
    Ok(LocalEntry {
        group: GroupId::SHARED,
        lane,
        bytes,
        kind: kind.0,
        object,
        disposition: Disposition::Applied,
    })
}
