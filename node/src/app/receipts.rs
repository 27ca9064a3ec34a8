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

use store::Batch;
use sync_engine::{GroupId, Lane};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::error::AppError;
use super::own_log::{OwnLog, entry};
use super::readings::blocking;

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

/// Where others tell that there may be something to say. Cheap to clone.
#[derive(Clone, Default)]
pub(in crate::app) struct Moved(Arc<Notify>);

impl Moved {
    /// Entries of others were stored or applied, or somebody joined who should hear of them.
    pub(in crate::app) fn note(&self) {
        self.0.notify_one();
    }
}

/// Starts the task that writes receipts, which ends when `stop` is cancelled.
pub(in crate::app) fn start(
    log: OwnLog,
    moved: Moved,
    stop: CancellationToken,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        // A receipt that is broken off is committed or is not; what it says is remembered with it.
        let _ = stop.run_until_cancelled(write_when_due(log, moved)).await;
    })
}

async fn write_when_due(log: OwnLog, moved: Moved) {
    let mut schedule = Schedule::default();
    // What was stored before the last stop may not have been said.
    schedule.moved(log.clock.uptime_ms());
    loop {
        let due = async {
            match schedule.due_ms() {
                Some(due_ms) => {
                    let wait_ms = due_ms.saturating_sub(log.clock.uptime_ms());
                    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = moved.0.notified() => schedule.moved(log.clock.uptime_ms()),
            () = due => match write(&log).await {
                Ok(said) => {
                    let now_ms = log.clock.uptime_ms();
                    schedule.looked(now_ms, said);
                }
                Err(error) => {
                    tracing::warn!(%error, "a receipt could not be written and has to wait");
                    schedule.failed(log.clock.uptime_ms());
                }
            },
        }
    }
}

/// Writes what there is to say; answers whether there was something.
async fn write(log: &OwnLog) -> Result<bool, AppError> {
    if log.trust.load().members().count() < MEMBERS_MIN || !log.may_write(Lane::Summary) {
        return Ok(false);
    }
    let (store, me) = (log.store.clone(), log.node);
    let unsaid = blocking("read what receipts have not said", move || {
        store.read(|reader| reader.unsaid(&me, &GroupId::SHARED, &LANES))
    })
    .await?;
    if unsaid.is_empty() {
        return Ok(false);
    }
    let now_ms = log.clock.wall_ms();
    let mut batch = Batch::new(Lane::Summary, now_ms);
    for bytes in payload::encode(&unsaid) {
        let kind = (Lane::Summary, KIND);
        batch.local.push(entry(log.node, kind, now_ms, bytes)?);
    }
    let bytes: usize = batch.local.iter().map(|entry| entry.bytes.len()).sum();
    tracing::debug!(logs = unsaid.len(), bytes, "a receipt");
    batch.receipt_said = unsaid;
    log.store.commit(batch).await?;
    Ok(true)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use sync_engine::{Incarnation, LogId, NodeId, ProgressItem, Seq};

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
                .map(|bytes| {
                    let entry = entry(me, (Lane::Summary, KIND), wall_ms, bytes);
                    entry.unwrap().bytes.len()
                })
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
