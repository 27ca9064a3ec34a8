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
use sync_engine::{Mismatch, ObjectId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::documents::Verdict;
use super::{App, AppError};
use record::Fault;

pub(in crate::app) use digest::{Cache, heads_digest};

/// Mismatches that wait to be looked into. The engine tells one per peer and mark; more than these at once are one fault
/// of this node that all its peers see, and the first finds it.
const WAITING_MAX: usize = 16;

/// Objects looked at because only the counts of entries differ: which ones is not known then.
const IN_DOUBT_MAX: usize = 1_024;

/// Objects with entries that a local fault holds back, looked at again per round. More of them are one defect, and each
/// costs a document built anew.
const HELD_BACK_MAX: usize = 256;

/// From the start to the first look at what is held back: whoever starts a node has something else in mind.
const HELD_BACK_FIRST: Duration = Duration::from_secs(20);

/// From one look to the next. A newer program may manage, and comes with a start; between starts only chance helps.
const HELD_BACK_EVERY: Duration = Duration::from_secs(3_600);

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

/// Starts the task that looks into mismatches and at what is held back; it ends when `stop` is cancelled.
pub(in crate::app) fn start(
    app: Arc<App>,
    mut mismatches: mpsc::Receiver<Mismatch>,
    stop: CancellationToken,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let work = async {
            let start = tokio::time::Instant::now() + HELD_BACK_FIRST;
            let mut held_back = tokio::time::interval_at(start, HELD_BACK_EVERY);
            loop {
                tokio::select! {
                    Some(mismatch) = mismatches.recv() => {
                        if let Err(error) = app.look_into(&mismatch).await {
                            tracing::error!(%error, peer = %mismatch.peer, "a fault of sync could not be looked into");
                        }
                    }
                    _ = held_back.tick() => {
                        if let Err(error) = app.look_at_held_back().await {
                            tracing::warn!(%error, "what is held back could not be looked at");
                        }
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
        counter!("muster_sync_faults_total").increment(1);
        let name = self
            .trust
            .load()
            .grant(mismatch.peer)
            .map(|grant| grant.name.clone());
        tracing::warn!(
            peer = %mismatch.peer,
            name,
            objects = mismatch.objects.len(),
            pending = ?mismatch.pending,
            quarantined = ?mismatch.quarantined,
            "a peer has made something else of the same logs",
        );
        let mut objects: Vec<ObjectId> = mismatch.objects.iter().map(|it| it.object).collect();
        if objects.is_empty() {
            objects = self
                .read(|reader| reader.objects_not_all_applied(IN_DOUBT_MAX))
                .await?;
        }
        let software = self.software_of(mismatch.peer);
        let (of_peer, looked_at) = (mismatch.clone(), objects.clone());
        let mut fault = self
            .read(move |reader| Fault::of(reader, &of_peer, &looked_at, software))
            .await?;
        let at_wall_ms = self.clock.wall_ms();
        let no = self
            .store
            .record_sync_fault(fault.write(mismatch, at_wall_ms))
            .await
            .map_err(record::store_fault)?;

        let result = self.documents.examine(&objects).await;
        let all_right = match &result {
            Ok(examined) => {
                let count =
                    |is: fn(&Verdict) -> bool| examined.iter().filter(|it| is(&it.verdict)).count();
                let repaired = count(|it| *it == Verdict::Repaired);
                let not_repaired = count(|it| matches!(it, Verdict::NotRepaired(_)));
                if repaired + not_repaired == 0 {
                    tracing::warn!(
                        fault = no,
                        "this node's log gives what it shows: the fault is at the peer"
                    );
                } else {
                    tracing::warn!(
                        fault = no,
                        repaired,
                        not_repaired,
                        "this node's own view was wrong"
                    );
                }
                not_repaired == 0
            }
            Err(_) => false,
        };
        fault.found(&result);
        let settled_at = all_right.then(|| self.clock.wall_ms());
        self.store
            .settle_sync_fault(no, fault.detail(), settled_at)
            .await
            .map_err(record::store_fault)?;
        result.map(|_| ())
    }

    /// Tries again what a local fault keeps from being applied.
    async fn look_at_held_back(&self) -> Result<(), AppError> {
        let held = self
            .read(|reader| reader.objects_held_back(None, HELD_BACK_MAX))
            .await?;
        if held.is_empty() {
            return Ok(());
        }
        let examined = self.documents.examine(&held).await?;
        let repaired = examined
            .iter()
            .filter(|it| it.verdict == Verdict::Repaired)
            .count();
        tracing::info!(
            objects = held.len(),
            repaired,
            "looked again at what was held back"
        );
        Ok(())
    }

    /// What a peer says it runs.
    fn software_of(&self, peer: sync_engine::NodeId) -> Option<String> {
        let peers = self.sync.get()?.peers();
        let status = peers.into_iter().find(|status| status.node == Some(peer))?;
        status.view?.software
    }
}
