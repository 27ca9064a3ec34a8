//! The host's side of the proof: what this node has made of the logs, and what happens when a peer has made something
//! else of the same ones.
//!
//! The sync engine compares digests with a peer once both hold the same; where those differ it names the objects. Then
//! this node records a fault with all that is needed to find its cause, and looks at the objects again from nothing but
//! their entries ([`super::documents`]): either its own view was wrong and is put right, or its log gives what it showed
//! and the fault is at the other end, which does the same.
//!
//! Invariants: digests come from one snapshot of the store; a fault is on the disk before anything is put right; faults
//! are looked into one after the other, in a task that keeps nobody waiting.

mod digest;
mod faults;
mod record;

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use sync_engine::{Mismatch, NodeId, ObjectId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::documents::{Examined, Verdict};
use super::{App, AppError};
use record::Fault;

pub(in crate::app) use digest::{Cache, heads_digest};
pub use faults::SYNC_FAULTS_LIMIT_MAX;
pub(in crate::app) use faults::unseen_value;

/// Mismatches that wait to be looked into. The engine tells one per peer and mark; more than these at once are one fault
/// of this node that all its peers see, and the first finds it.
const WAITING_MAX: usize = 16;

/// Objects looked at because only the counts of entries differ: which ones is not known then.
const IN_DOUBT_MAX: usize = 1_024;

/// Objects with entries that a local fault holds back, tried again at once; the next ones have their turn after
/// [`RETRY_HELD_EVERY`]. More of them are one defect, and each costs a document built anew.
const RETRY_HELD_MAX: usize = 256;

/// From one try of what is held back to the next. The first is at the start, because a newer program comes with one and
/// may manage; between starts only chance helps.
const RETRY_HELD_EVERY: Duration = Duration::from_secs(3_600);

/// Mismatches with peers that were recorded, the same difference at another time among them.
pub(in crate::app) const FAULTS_TOTAL: &str = "muster_sync_faults_total";

/// Where the engine's shell tells of mismatches.
pub(in crate::app) struct Mismatches(mpsc::Sender<Mismatch>);

impl Mismatches {
    /// The sender, and what [`start`] takes.
    pub(in crate::app) fn new() -> (Self, mpsc::Receiver<Mismatch>) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Mismatches(sender), receiver)
    }

    /// Returns at once.
    pub(in crate::app) fn note(&self, mismatch: Mismatch) {
        let peer = mismatch.peer;
        if self.0.try_send(mismatch).is_err() {
            // Both ends compare once more soon, so it comes again if it is still there.
            tracing::warn!(%peer, "a peer has made something else of the same logs; others are being looked into first");
        }
    }
}

/// Starts the task that looks into mismatches and tries again what is held back; it ends when `stop` is cancelled.
pub(in crate::app) fn start(
    app: Arc<App>,
    mut mismatches: mpsc::Receiver<Mismatch>,
    stop: CancellationToken,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let work = async {
            let mut retry = tokio::time::interval(RETRY_HELD_EVERY);
            let mut retried = None;
            loop {
                tokio::select! {
                    Some(mismatch) = mismatches.recv() => {
                        if let Err(error) = app.look_into(&mismatch).await {
                            tracing::error!(%error, peer = %mismatch.peer, "a fault of sync could not be looked into");
                        }
                    }
                    _ = retry.tick() => {
                        retried = app.retry_held(retried).await.unwrap_or_else(|error| {
                            tracing::warn!(%error, "what is held back could not be tried again");
                            None
                        });
                    }
                }
            }
        };
        // What is broken off here was not committed, and is found again.
        let _ = stop.run_until_cancelled(work).await;
    })
}

impl App {
    /// Records a mismatch and puts this node's side right.
    async fn look_into(&self, mismatch: &Mismatch) -> Result<(), AppError> {
        tracing::warn!(
            peer = %mismatch.peer,
            name = self.name_of(mismatch.peer),
            objects = mismatch.objects.len(),
            pending = ?mismatch.pending,
            quarantined = ?mismatch.quarantined,
            "a peer has made something else of the same logs",
        );
        let objects = self.objects_in_doubt(mismatch).await?;
        let mut fault = {
            let (mismatch, objects) = (mismatch.clone(), objects.clone());
            let software = self.software_of(mismatch.peer);
            self.read(move |reader| Fault::describe(reader, &mismatch, &objects, software))
                .await?
        };
        let no = self
            .store
            .record_sync_fault(fault.write(mismatch, self.clock.wall_ms()))
            .await
            .map_err(record::store_fault)?;
        counter!(FAULTS_TOTAL).increment(1);

        let examined = self.documents.examine(&objects).await;
        fault.found(&examined);
        let in_order = examined
            .as_deref()
            .is_ok_and(|examined| report(no, examined));
        let settled_at = in_order.then(|| self.clock.wall_ms());
        self.store
            .settle_sync_fault(no, fault.detail(), settled_at)
            .await
            .map_err(record::store_fault)?;
        examined.map(drop)
    }

    /// The objects that a mismatch names, or where it names none those with entries that are not applied.
    async fn objects_in_doubt(&self, mismatch: &Mismatch) -> Result<Vec<ObjectId>, AppError> {
        if mismatch.objects.is_empty() {
            return self
                .read(|reader| reader.objects_not_all_applied(IN_DOUBT_MAX))
                .await;
        }
        Ok(mismatch.objects.iter().map(|it| it.object).collect())
    }

    /// Tries again what a local fault keeps from being applied, of the objects behind `after`; answers the last of them,
    /// or `None` when all had their turn.
    async fn retry_held(&self, after: Option<ObjectId>) -> Result<Option<ObjectId>, AppError> {
        let held = self
            .read(move |reader| reader.objects_held_back(after.as_ref(), RETRY_HELD_MAX))
            .await?;
        if held.is_empty() {
            return Ok(None);
        }
        let examined = self.documents.examine(&held).await?;
        let mended = examined.iter().filter(|it| it.verdict == Verdict::Repaired);
        tracing::info!(
            objects = held.len(),
            mended = mended.count(),
            "tried again what was held back"
        );
        Ok(held
            .last()
            .copied()
            .filter(|_| held.len() == RETRY_HELD_MAX))
    }

    /// What a peer says it runs.
    fn software_of(&self, peer: NodeId) -> Option<String> {
        let peers = self.sync.get()?.peers();
        let status = peers.into_iter().find(|status| status.node == Some(peer))?;
        status.view?.software
    }
}

/// Logs what looking again came to; answers whether this node's side is in order now.
fn report(fault: i64, examined: &[Examined]) -> bool {
    let mended = examined.iter().filter(|it| it.verdict == Verdict::Repaired);
    let broken = examined
        .iter()
        .filter(|it| matches!(it.verdict, Verdict::NotRepaired(_)));
    let (mended, broken) = (mended.count(), broken.count());
    if mended + broken == 0 {
        tracing::warn!(
            fault,
            "this node's log gives what it shows: the fault is at the peer"
        );
    } else {
        tracing::warn!(fault, mended, broken, "this node's own view was wrong");
    }
    broken == 0
}
