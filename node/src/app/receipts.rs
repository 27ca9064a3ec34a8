//! Receipts: this node says in its own log of lane 4 how far it has come with the logs of the others.
//!
//! Peers acknowledge to each other what they exchange; a node several hops away hears nothing of that. Its receipts
//! reach it as everything else does: signed, stored, carried on by whoever passes. A receiver takes them in with direct
//! acknowledgements, and `seen_by` of a document lists them all.
//!
//! What always holds:
//! - a receipt is about what its author holds itself; its time is its author's clock;
//! - only lanes 0 to 3 make a receipt necessary, never a receipt: two nodes do not answer each other for ever;
//! - it names the logs that moved since the last one, which the store remembers together with it: nothing is said
//!   twice, nothing is left out after a crash;
//! - of its own logs a node says nothing: an entry's author has it;
//! - in an operation of two nodes there are none: the two acknowledge to each other.

mod payload;
mod schedule;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use store::{Batch, Disposition, LocalEntry, Store};
use sync_engine::{
    Entry, EntryHeader, GroupId, HybridTime, Incarnation, Lane, LogId, MayWrite, NodeId, ObjectId,
    Payload, Trust,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::error::AppError;

pub(in crate::app) use payload::{KIND, decode};
use schedule::Schedule;

/// With so many members there is somebody whom the others' acknowledgements do not reach.
const MEMBERS_MIN: usize = 3;

/// The lanes that everybody must have all of: who belongs to the operation, and what people see. Only those are spoken
/// of; of the others the latest wins, and nobody asks who has the rest.
const LANES: [Lane; 4] = [Lane::Trust, Lane::Flash, Lane::Life, Lane::Coordination];

/// Whether receipts speak of a lane.
pub(in crate::app) fn is_about(lane: Lane) -> bool {
    LANES.contains(&lane)
}

/// What a receipt stands under: its author, of which it speaks.
pub(in crate::app) fn object_of(author: NodeId) -> ObjectId {
    let mut object = [0; 16];
    object.copy_from_slice(&author.0[..16]);
    ObjectId(object)
}

/// Where others tell that there may be something to say. Cheap to clone.
#[derive(Clone, Default)]
pub(in crate::app) struct Moved(Arc<Notify>);

impl Moved {
    /// Entries of others were stored or applied, or somebody joined who should hear of them.
    pub(in crate::app) fn note(&self) {
        self.0.notify_one();
    }
}

/// What the writer of receipts needs from around it.
pub(in crate::app) struct Surroundings {
    pub store: Store,
    pub node: NodeId,
    pub incarnation: Incarnation,
    pub clock: Clock,
    pub trust: Arc<ArcSwap<Trust>>,
    /// Set when this node must not write; says why.
    pub writes_stopped: Arc<ArcSwapOption<String>>,
}

/// Starts the task that writes receipts, which ends when `stop` is cancelled.
pub(in crate::app) fn start(
    around: Surroundings,
    moved: Moved,
    stop: CancellationToken,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        // A receipt that is broken off is committed or is not; what it says is remembered with it.
        let _ = stop
            .run_until_cancelled(write_when_due(around, moved))
            .await;
    })
}

async fn write_when_due(around: Surroundings, moved: Moved) {
    let mut schedule = Schedule::default();
    // What was stored before the last stop may not have been said.
    schedule.moved(around.clock.uptime_ms());
    loop {
        let due = async {
            match schedule.due_ms() {
                Some(due_ms) => {
                    let wait_ms = due_ms.saturating_sub(around.clock.uptime_ms());
                    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = moved.0.notified() => schedule.moved(around.clock.uptime_ms()),
            () = due => match around.write().await {
                Ok(said) => {
                    let now_ms = around.clock.uptime_ms();
                    schedule.looked(now_ms, said);
                }
                Err(error) => {
                    tracing::warn!(%error, "a receipt could not be written and has to wait");
                    schedule.failed(around.clock.uptime_ms());
                }
            },
        }
    }
}

impl Surroundings {
    /// Writes what there is to say; answers whether there was something.
    async fn write(&self) -> Result<bool, AppError> {
        if !self.may_write() {
            return Ok(false);
        }
        let (store, me) = (self.store.clone(), self.node);
        let fault = |source| AppError::Fault {
            context: "read what receipts have not said",
            source,
        };
        let unsaid = tokio::task::spawn_blocking(move || {
            store.read(|reader| reader.unsaid(&me, &GroupId::SHARED, &LANES))
        })
        .await
        .map_err(|error| fault(Box::new(error)))?
        .map_err(|error| fault(Box::new(error)))?;
        if unsaid.is_empty() {
            return Ok(false);
        }
        let now_ms = self.clock.wall_ms();
        let mut batch = Batch::new(Lane::Summary, now_ms);
        for bytes in payload::encode(&unsaid) {
            batch.local.push(entry(self.node, now_ms, bytes)?);
        }
        let bytes: usize = batch.local.iter().map(|entry| entry.bytes.len()).sum();
        tracing::debug!(logs = unsaid.len(), bytes, "a receipt");
        batch.receipt_said = unsaid;
        self.store.commit(batch).await?;
        Ok(true)
    }

    fn may_write(&self) -> bool {
        let trust = self.trust.load();
        let log = LogId {
            author: self.node,
            incarnation: self.incarnation,
            group: GroupId::SHARED,
            lane: Lane::Summary,
        };
        trust.members().count() >= MEMBERS_MIN
            && matches!(trust.may_write(&log), MayWrite::Yes)
            && self.writes_stopped.load().is_none()
    }
}

/// The entry of a receipt for this node's own log of lane 4.
fn entry(author: NodeId, now_wall_ms: u64, bytes: Vec<u8>) -> Result<LocalEntry, AppError> {
    let object = object_of(author);
    let entry = Entry {
        header: EntryHeader {
            // The plain clock of this machine: a receipt says when, and comes after nothing.
            time: HybridTime {
                wall_ms: now_wall_ms,
                logical: 0,
            },
            user: None,
            kind: KIND,
            object,
        },
        payload: Payload::Plain(bytes),
    };
    let bytes = entry.encode().map_err(|error| AppError::Fault {
        context: "write a receipt",
        source: Box::new(error),
    })?;
    Ok(LocalEntry {
        group: GroupId::SHARED,
        lane: Lane::Summary,
        bytes,
        kind: KIND.0,
        object,
        disposition: Disposition::Applied,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use sync_engine::{ProgressItem, Seq};

    use super::*;

    #[test]
    fn a_receipt_is_small() {
        let log = |author: u8, lane| LogId {
            author: NodeId(*blake3::hash(&[author]).as_bytes()),
            incarnation: Incarnation(u64::MAX / 3),
            group: GroupId::SHARED,
            lane,
        };
        let item = |log| ProgressItem {
            log,
            stored: Seq(1_234),
            applied: Seq(1_230),
        };
        let bytes = |items: &[ProgressItem]| {
            let payloads = payload::encode(items);
            let me = NodeId([9; 32]);
            let wall_ms = 1_795_181_133_120;
            payloads
                .into_iter()
                .map(|bytes| entry(me, wall_ms, bytes).unwrap().bytes.len())
                .collect::<Vec<_>>()
        };
        assert_eq!(bytes(&[item(log(1, Lane::Life))]), [75]);
        let two = [
            item(log(1, Lane::Life)),
            item(log(1, Lane::Coordination)),
            item(log(2, Lane::Coordination)),
        ];
        assert_eq!(bytes(&two), [124]);
        let all: Vec<ProgressItem> = (0..100)
            .flat_map(|author| [Lane::Life, Lane::Coordination].map(|lane| item(log(author, lane))))
            .collect();
        let parts = bytes(&all);
        assert_eq!(parts.len(), 2);
        assert!(parts.iter().all(|bytes| *bytes < 4 * 1024), "{parts:?}");
    }

    #[test]
    fn its_number_belongs_to_no_document_and_no_fact() {
        assert!(domain::schema::spec_by_code(KIND.0).is_none());
        assert_eq!(domain::FactKind::by_code(KIND.0), None);
    }
}
