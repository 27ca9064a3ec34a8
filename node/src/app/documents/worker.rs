//! The worker's loop: take a command, change documents, hand the batch to the store, go on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::{Kind, RecordId};
use store::{Batch, CommitError, CommitTicket, Disposition, StoreError};
use sync_engine::{HybridClock, LogId, Seq};
use tokio::sync::mpsc;

use super::queue::{Class, Taken};
use super::resident::Residents;
use super::{Inbox, Surroundings};
use crate::app::error::AppError;
use crate::app::present::RowView;

/// A document that a batch changes, for those who follow commits.
pub(super) struct ChangedDocument {
    pub(super) kind: Kind,
    pub(super) id: RecordId,
    pub(super) deleted: bool,
    pub(super) row: RowView,
}

/// What happens when a batch is on the disk, or is not.
pub(super) struct Completion {
    class: Class,
    epoch: u64,
    ticket: CommitTicket,
    /// Keep the batch's documents in memory until then.
    pins: Vec<Arc<()>>,
    changed: Vec<ChangedDocument>,
    applied: Vec<(LogId, Seq)>,
    done: Box<dyn FnOnce(Result<(), AppError>) + Send>,
}

/// Everything that the worker thread owns.
pub(super) struct Worker {
    pub(super) around: Surroundings,
    pub(super) residents: Residents,
    pub(super) clock: HybridClock,
    /// Entries stored but not applied, by log: they hold back what we tell peers is applied.
    pub(super) unapplied: BTreeMap<LogId, BTreeSet<Seq>>,
    /// Heights of the logs as of the batches handed over.
    pub(super) heights: HashMap<LogId, Seq>,
    pub(super) epoch: u64,
    inbox: Arc<Inbox>,
    runtime: tokio::runtime::Handle,
    /// The newest epoch in which a commit failed.
    failed_epoch: Arc<AtomicU64>,
    completions: [mpsc::UnboundedSender<Completion>; 3],
}

impl Worker {
    pub(super) fn new(
        around: Surroundings,
        inbox: Arc<Inbox>,
        runtime: tokio::runtime::Handle,
    ) -> Self {
        let failed_epoch = Arc::new(AtomicU64::new(0));
        let around_committed = Arc::clone(&around.committed);
        // Unbounded in form only: the inbox lets no more than its in-flight bound per class through.
        let completions = Class::ALL.map(|_| {
            let (sender, receiver) = mpsc::unbounded_channel();
            runtime.spawn(complete(
                receiver,
                Arc::clone(&inbox),
                Arc::clone(&failed_epoch),
                Arc::clone(&around_committed),
            ));
            sender
        });
        Worker {
            around,
            residents: Residents::new(),
            clock: HybridClock::default(),
            unapplied: BTreeMap::new(),
            heights: HashMap::new(),
            epoch: 1,
            inbox,
            runtime,
            failed_epoch,
            completions,
        }
    }

    pub(super) fn run(mut self) {
        if let Err(error) = self.load_marks() {
            tracing::error!(%error, "read what waits to be applied");
        }
        let inbox = Arc::clone(&self.inbox);
        while let Some((class, taken)) = inbox.take() {
            if self.failed_epoch.load(Ordering::Acquire) >= self.epoch {
                self.start_over();
            }
            match taken {
                Taken::Local(command) => self.edit(class, command),
                Taken::Remote(command) => self.ingest(class, command),
            }
        }
    }

    /// After a failed commit: wait until the store has answered for everything handed over, forget what is in memory,
    /// and go on in a new epoch.
    fn start_over(&mut self) {
        self.inbox.wait_until_settled();
        self.residents.clear();
        self.epoch = self.failed_epoch.load(Ordering::Acquire) + 1;
        if let Err(error) = self.load_marks() {
            tracing::error!(%error, "read what waits to be applied");
        }
    }

    /// Documents that were changed in memory for a batch that will not be handed over.
    pub(super) fn undo(&mut self, keys: impl IntoIterator<Item = super::resident::DocumentKey>) {
        let mut keys = keys.into_iter().peekable();
        if keys.peek().is_none() {
            return;
        }
        self.inbox.wait_until_settled();
        for key in keys {
            self.residents.forget(key);
        }
    }

    fn load_marks(&mut self) -> Result<(), StoreError> {
        let (frontier, unapplied) = self
            .around
            .store
            .read(|reader| Ok((reader.frontier()?, reader.unapplied_entries()?)))?;
        self.heights = frontier
            .iter()
            .map(|(log, held)| (*log, held.height))
            .collect();
        self.unapplied.clear();
        for (log, seq) in unapplied {
            self.unapplied.entry(log).or_default().insert(seq);
        }
        Ok(())
    }

    /// Up to where everything of a log is applied, in quarantine, or not ours to apply.
    pub(super) fn applied_height(&self, log: &LogId) -> Seq {
        let height = self.heights.get(log).copied().unwrap_or(Seq(0));
        match self.unapplied.get(log).and_then(BTreeSet::first) {
            Some(first) => Seq(first.0 - 1),
            None => height,
        }
    }

    /// Notes what became of an entry.
    pub(super) fn mark(&mut self, log: LogId, seq: Seq, disposition: &Disposition) {
        let waits = matches!(
            disposition,
            Disposition::Waiting { .. } | Disposition::Held { .. }
        );
        if waits {
            self.unapplied.entry(log).or_default().insert(seq);
        } else if let Some(set) = self.unapplied.get_mut(&log) {
            set.remove(&seq);
            if set.is_empty() {
                self.unapplied.remove(&log);
            }
        }
    }

    /// Hands a batch to the store; `done` runs after its commit, or its failure.
    pub(super) fn hand_over(
        &mut self,
        class: Class,
        mut batch: Batch,
        pins: Vec<Arc<()>>,
        changed: Vec<ChangedDocument>,
        applied: Vec<(LogId, Seq)>,
        done: impl FnOnce(Result<(), AppError>) + Send + 'static,
    ) {
        batch.epoch = self.epoch;
        let ticket = self.around.store.commit(batch);
        let completion = Completion {
            class,
            epoch: self.epoch,
            ticket,
            pins,
            changed,
            applied,
            done: Box::new(done),
        };
        if let Err(refused) = self.completions[class as usize].send(completion) {
            // The runtime is going down; the batch may or may not be on the disk, so nobody is told that it is.
            tracing::debug!("a commit was not waited for");
            drop(refused);
            self.inbox.settled(class);
        }
        let _ = &self.runtime;
    }

    /// A command that made no batch.
    pub(super) fn nothing_handed_over(&self, class: Class) {
        self.inbox.settled(class);
    }
}

async fn complete(
    mut completions: mpsc::UnboundedReceiver<Completion>,
    inbox: Arc<Inbox>,
    failed_epoch: Arc<AtomicU64>,
    committed: Arc<dyn super::Committed>,
) {
    while let Some(completion) = completions.recv().await {
        let result = completion.ticket.await;
        match &result {
            Ok(_) => {
                for changed in &completion.changed {
                    committed.document(changed.kind, changed.id, changed.deleted, &changed.row);
                }
                if !completion.applied.is_empty() {
                    committed.applied(completion.applied);
                }
            }
            Err(error) => {
                if !matches!(error, CommitError::EpochPoisoned) {
                    tracing::error!(%error, "a commit failed");
                }
                failed_epoch.fetch_max(completion.epoch, Ordering::AcqRel);
            }
        }
        drop(completion.pins);
        inbox.settled(completion.class);
        (completion.done)(result.map(|_| ()).map_err(AppError::from));
    }
}

impl From<CommitError> for AppError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::DiskFull => AppError::DiskFull,
            CommitError::Busy { .. } | CommitError::EpochPoisoned | CommitError::Rebuilding => {
                AppError::Busy { retry_after_s: 1 }
            }
            other => AppError::Fault {
                context: "commit",
                source: Box::new(other),
            },
        }
    }
}
