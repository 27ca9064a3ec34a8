//! The worker's loop: take a command, change documents, hand the batch to the store, go on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use domain::{Kind, RecordId};
use store::{Batch, CommitError, CommitTicket, Disposition, StoreError};
use sync_engine::{HybridClock, LogId, Seq};
use tokio::sync::mpsc;

use super::queue::{Class, Taken};
use super::resident::{DocumentKey, Residents};
use super::{Inbox, LocalCommand, RemoteCommand, Surroundings};
use crate::app::error::AppError;
use crate::app::present::RowView;

/// Idempotency keys remembered before those of settled batches are forgotten: more than can be in flight.
const KEYS_MAX: usize = 1_024;

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
    /// Commands taken from the inbox and not handed over yet: one, and a second while an edit goes in between.
    in_hand: usize,
    /// Requests with an idempotency key that were handed over, and whether their batches are still in flight.
    keys_in_flight: HashMap<(String, String), Weak<()>>,
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
            in_hand: 1,
            keys_in_flight: HashMap::new(),
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
            self.contained(class, |worker| match taken {
                Taken::Local(command) => worker.edit(class, command),
                Taken::Remote(RemoteCommand::Runs(command)) => worker.ingest(class, command),
                Taken::Remote(RemoteCommand::Examine(command)) => worker.examine(class, command),
            });
        }
    }

    /// A panic costs the command that met it and what is in memory, never the thread that everybody needs. A batch is
    /// handed over last of all, so nothing of that command is on its way to the disk.
    fn contained(&mut self, class: Class, work: impl FnOnce(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| work(self))).is_err() {
            tracing::error!("a command of the document worker panicked and was dropped");
            self.in_hand = 1;
            self.failed_epoch.fetch_max(self.epoch, Ordering::AcqRel);
            self.inbox.settled(class);
        }
    }

    /// Waits while the same request is on its way to the disk: then its answer is there, or it failed.
    pub(super) fn wait_for_the_same(&mut self, scope: &str, key: &str) -> Arc<()> {
        if self.keys_in_flight.len() > KEYS_MAX {
            self.keys_in_flight
                .retain(|_, batch| batch.strong_count() > 0);
        }
        let name = (scope.to_owned(), key.to_owned());
        if self
            .keys_in_flight
            .get(&name)
            .is_some_and(|batch| batch.strong_count() > 0)
        {
            self.inbox.wait_until_settled(self.in_hand);
        }
        let pin = Arc::new(());
        self.keys_in_flight.insert(name, Arc::downgrade(&pin));
        pin
    }

    /// After a failed commit: wait until the store has answered for everything handed over, forget what is in memory,
    /// and go on in a new epoch.
    fn start_over(&mut self) {
        self.inbox.wait_until_settled(self.in_hand);
        self.residents.clear();
        self.epoch = self.failed_epoch.load(Ordering::Acquire) + 1;
        if let Err(error) = self.load_marks() {
            tracing::error!(%error, "read what waits to be applied");
        }
    }

    /// Edits that wait while a remote batch of `class` is worked off. A catch-up may take a second, and somebody waits
    /// for each of them. Those that touch a document of the batch wait for its end: the batch's changes are not handed
    /// over yet, and an edit must not get to the disk before what it builds on.
    pub(super) fn edits_in_between(&mut self, class: Class, touched: &BTreeSet<DocumentKey>) {
        let inbox = Arc::clone(&self.inbox);
        let may = |command: &LocalCommand| !command.request.touches(touched);
        while let Some((class, command)) = inbox.take_local_if(class, may) {
            self.in_hand += 1;
            let edited = catch_unwind(AssertUnwindSafe(|| self.edit(class, command)));
            if let Err(panic) = edited {
                // What the edit changed in memory must not be built on: the batch in hand is given up with it.
                inbox.settled(class);
                resume_unwind(panic);
            }
            self.in_hand -= 1;
        }
    }

    /// Documents that were changed in memory for a batch that will not be handed over.
    pub(super) fn undo(&mut self, keys: impl IntoIterator<Item = DocumentKey>) {
        let mut keys = keys.into_iter().peekable();
        if keys.peek().is_none() {
            return;
        }
        self.inbox.wait_until_settled(self.in_hand);
        for key in keys {
            self.residents.forget(key);
        }
    }

    /// Heights and waiting entries as they are on the disk. Nothing may be in flight.
    pub(super) fn load_marks(&mut self) -> Result<(), StoreError> {
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

    /// Waits until the store has answered for every batch: nothing in memory is newer than the disk then. For the one
    /// command in hand, before it is handed over.
    pub(super) fn wait_for_the_disk(&self) {
        self.inbox.wait_until_settled(self.in_hand);
    }

    /// The same for a command that was just handed over.
    pub(super) fn wait_for_this_batch(&self) {
        self.inbox.wait_until_settled(self.in_hand - 1);
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
