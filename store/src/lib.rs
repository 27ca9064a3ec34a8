//! The only SQL of Muster: log, read models, readings and blobs in three encrypted SQLite files.
//!
//! What always holds:
//!
//! - each file has one writer thread, which groups what is queued into transactions; an answer leaves after the commit;
//! - a [`Batch`] is one commit: log entries, rows, outbox, journal, audit and idempotency key, or none of them;
//! - readers see whole commits, come from a bounded pool and cannot write;
//! - time is passed in by callers; threads and files are this crate's own business.
//!
//! Map: `open`, `migrate`, `pool`, `checkpoint`, `wal_room` are about files; `muster` is the log with its views (writer: `queue` →
//! `writer` → `apply` → `rows`), `readings` the sensors' side, `blobs` bytes by hash.

mod blobs;
mod checkpoint;
mod error;
mod key;
mod lock;
mod migrate;
mod muster;
mod open;
mod pool;
mod readings;
mod sql;
mod ticket;
mod wal_room;

use std::path::Path;
use std::sync::Arc;

use sync_engine::{LogId, Mark, NodeId, Seq};

pub use blobs::{BlobHash, Blobs};
pub use error::{CommitError, StoreError};
pub use key::{DbKey, KEY_FILE, key_from_file, key_from_passphrase, key_in_data_dir};
pub use lock::DataDirLock;
pub use muster::batch::{
    AuditWrite, Batch, CommitNo, Committed, ConflictState, ConflictWrite, DeviceHealth,
    Disposition, DocumentWrite, EntryPlace, Evaluated, FactWrite, GroupCommit, HealthWrite,
    IdempotencyWrite, LocalEntry, RawWrite, ReceiptWrite, RewrittenViews, RuleCursor, RunEntry,
    RunWrite, SaidAt, SeriesSummary, SummaryWrite,
};
pub use muster::conflicts::{AuditRow, ConflictQuery, ConflictRow};
pub use muster::events::{Event, EventSubject};
pub use muster::examine::{Application, GroupUnapplied};
pub use muster::faults::{FaultRow, FaultWrite, UnseenFaults};
pub use muster::health::HealthSaid;
pub use muster::identity::Identity;
pub use muster::inspect::{EntryState, HeldLog, InspectedEntry, LogSize};
pub use muster::journal::{JournalCommit, JournalEntry};
pub use muster::log::{
    DigestItem, LoadedDocument, QuarantinedEntry, StoredEntry, UnappliedCounts, WaitingEntry,
};
pub use muster::progress::{Lacking, SeenBy};
pub use muster::queries::{
    BoundingBox, DocumentQuery, DocumentRow, FactQuery, FactRow, ListCursor,
};
pub use muster::raw::RawPage;
pub use muster::rebuild::RebuildCommit;
pub use muster::sessions::{Invite, SessionRecord, SessionWrite};
pub use muster::summaries::{HeardBy, HeardSeries, QuarterSaid};
pub use muster::upkeep::IDEMPOTENCY_KEPT_MS;
pub use muster::{Reader, Rebuild};
pub use open::{OpenOptions, Synchronous, Wear};
pub use readings::*;
pub use ticket::Ticket;

use muster::{CommitHook, Muster};
use open::Source;

/// Resolves when a batch is on the disk, or is not.
pub type CommitTicket = Ticket<Committed, CommitError>;

/// The open data directory. Clones share it.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    muster: Muster,
    readings: Readings,
    blobs: Blobs,
    /// Last, so that it is let go after the files are closed.
    _lock: DataDirLock,
}

impl Store {
    /// Takes the data directory and opens its three files, creating or migrating them.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another process has it; otherwise what is wrong with which file, and what to do.
    pub fn open(dir: &Path, key: &DbKey, options: &OpenOptions) -> Result<Self, StoreError> {
        let lock = DataDirLock::acquire(dir)?;
        Self::open_locked(dir, key, options, lock)
    }

    /// The same with a directory that the caller has taken already.
    pub fn open_locked(
        dir: &Path,
        key: &DbKey,
        options: &OpenOptions,
        lock: DataDirLock,
    ) -> Result<Self, StoreError> {
        let muster = Muster::open(&Source::new(dir, "muster.db", key, options), options)?;
        let rules = muster.read(|reader| reader.rule_cursor())?;
        let readings = Readings::open(
            &Source::new(dir, "readings.db", key, options),
            options,
            rules.as_ref(),
        )?;
        muster.set_cursor_hook(readings.rules_mark());
        let blobs = Blobs::open(&Source::new(dir, "blobs.db", key, options))?;
        Ok(Store(Arc::new(Inner {
            muster,
            readings,
            blobs,
            _lock: lock,
        })))
    }

    /// Does what is queued, stops the threads and leaves empty write-ahead logs. Later calls answer `Closed`.
    pub fn close(&self) {
        self.0.readings.close();
        self.0.muster.close();
    }

    /// The sensors' side.
    pub fn readings(&self) -> &Readings {
        &self.0.readings
    }

    pub fn blobs(&self) -> &Blobs {
        &self.0.blobs
    }

    /// Queues a batch. The ticket resolves after the SQL COMMIT that holds it.
    pub fn commit(&self, batch: Batch) -> CommitTicket {
        self.0.muster.commit(batch)
    }

    /// Batches and small writes that wait for the writer.
    pub fn queued(&self) -> usize {
        self.0.muster.queued()
    }

    /// Calls `hook` in the writer's thread after each SQL COMMIT with batches in it, in order, before their tickets
    /// resolve. It must be quick and must not call the store.
    pub fn set_commit_hook(&self, hook: impl Fn(&GroupCommit) + Send + Sync + 'static) {
        let hook: CommitHook = Arc::new(hook);
        self.0.muster.set_hook(hook);
    }

    /// Runs `f` on one snapshot. Blocks for a connection when all are out (at most seconds, then `Busy`).
    pub fn read<T>(
        &self,
        f: impl FnOnce(&Reader<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.0.muster.read(f)
    }

    /// Writes who this node is; own entries are signed with this key from then on.
    pub fn put_identity(&self, identity: Identity) -> Ticket<(), StoreError> {
        self.0.muster.put_identity(identity)
    }

    /// Writes, ends or expires sessions.
    pub fn write_sessions(&self, changes: Vec<SessionWrite>) -> Ticket<(), StoreError> {
        self.0.muster.local(move |connection| {
            use error::Doing;
            changes
                .iter()
                .try_for_each(|change| muster::sessions::write(connection, change))
                .doing("write sessions")
        })
    }

    pub fn put_invite(&self, invite: Invite, now_wall_ms: u64) -> Ticket<(), StoreError> {
        self.0
            .muster
            .local(move |connection| muster::sessions::put_invite(connection, &invite, now_wall_ms))
    }

    /// Takes an invitation: it is gone afterwards. `None`: unknown, taken, or expired.
    pub fn take_invite(
        &self,
        secret_hash: [u8; 32],
        now_wall_ms: u64,
    ) -> Ticket<Option<Invite>, StoreError> {
        self.0.muster.local(move |connection| {
            muster::sessions::take_invite(connection, &secret_hash, now_wall_ms)
        })
    }

    /// Notes how far a peer has stored and applied logs. Written with the next transaction, within a fraction of a
    /// second; a power cut before that loses nothing that the peer's next Hello does not say again.
    pub fn record_progress(&self, peer: NodeId, items: &[(LogId, Seq, Seq)], at_wall_ms: u64) {
        self.0.muster.record_progress(peer, items, at_wall_ms);
    }

    /// Remembers a mark that was agreed on with `peer`, with the next transaction; see [`Reader::sync_memory`]. A power
    /// cut before that costs one greeting at length. Shared, because many peers agree on one.
    pub fn keep_mark(&self, peer: NodeId, mark: Arc<Mark>, at_wall_ms: u64) {
        self.0.muster.keep_mark(peer, mark, at_wall_ms);
    }

    /// Records that a peer has made something else of the same logs; answers the fault's number.
    pub fn record_sync_fault(&self, fault: FaultWrite) -> Ticket<i64, StoreError> {
        self.0
            .muster
            .local(move |connection| muster::faults::record(connection, &fault))
    }

    /// Notes what came of a fault's repair; `repaired_at_wall_ms` is `None` where this node's side could not be put
    /// right.
    pub fn settle_sync_fault(
        &self,
        no: i64,
        detail: String,
        repaired_at_wall_ms: Option<u64>,
    ) -> Ticket<(), StoreError> {
        self.0.muster.local(move |connection| {
            muster::faults::settle(connection, no, &detail, repaired_at_wall_ms)
        })
    }

    /// A person has looked at all faults of sync up to `through`; answers how many were new to them.
    pub fn see_sync_faults(&self, through: i64, at_wall_ms: u64) -> Ticket<u64, StoreError> {
        self.0
            .muster
            .local(move |connection| muster::faults::see(connection, through, at_wall_ms))
    }

    /// Drops one step of document history that ended before `keep_from`; answers whether more is left.
    pub fn prune_history(&self, keep_from: CommitNo) -> Ticket<bool, StoreError> {
        self.0.muster.prune_history(keep_from)
    }

    /// Drops one step of audit records: from before a time, or more than a million; answers whether more is left.
    pub fn prune_audit(&self, before_wall_ms: u64) -> Ticket<bool, StoreError> {
        self.0.muster.prune_audit(before_wall_ms)
    }

    /// Makes hours of one step of the quarters that nodes said more than 90 days ago; answers whether more is left.
    pub fn collapse_summaries(&self, now_wall_ms: u64) -> Ticket<bool, StoreError> {
        self.0
            .muster
            .local(move |connection| muster::summaries::collapse(connection, now_wall_ms))
    }

    /// Drops one step of sessions that have ended and of idempotency keys older than 7 days; answers whether more is
    /// left.
    pub fn expire(&self, now_wall_ms: u64) -> Ticket<bool, StoreError> {
        self.0.muster.expire(now_wall_ms)
    }

    /// Begins to write the views anew: replay [`Reader::journal_after`] into [`Rebuild::write`]. Batches are refused
    /// until it ends; readers see the old views. Blocks; not for an async runtime's thread.
    pub fn begin_rebuild(&self) -> Result<Rebuild<'_>, StoreError> {
        Rebuild::begin(&self.0.muster)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.readings.close();
        self.muster.close();
    }
}
