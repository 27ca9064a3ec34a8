//! What a node has written: the interface that the simulated node sees, over a disk in memory or over the real store.
//!
//! Invariants: a batch is there whole or not at all; after [`Disk::crash`] exactly what was synced is left.

mod memory;
mod sqlite;

use std::collections::BTreeMap;

use domain::RecordId;
use ed25519_dalek::SigningKey;
use store::{Batch, Committed, LoadedDocument};
use sync_engine::{EntryHash, Frontier, Incarnation, LogId, Name, Place, Run, Seq, entry_hash};

pub use memory::MemoryDisk;
pub use sqlite::SqliteDisk;

/// Which kind of disk the nodes of a run have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskKind {
    /// In memory: quick, and it forgets what was not synced.
    Memory,
    /// The real store in a temporary directory. A commit is durable when it returns; a crash is a copy of the files as
    /// they are at that moment (power cuts proper are tested on a real file system, in `tests/e2e`).
    Sqlite,
}

/// What a node keeps through a crash.
pub trait Disk {
    /// Commits a batch: readable at once, durable after [`Disk::sync`].
    fn commit(&mut self, batch: Batch) -> Result<Committed, String>;
    /// All that is committed survives from now on.
    fn sync(&mut self);
    /// Power is cut.
    fn crash(&mut self);
    /// How far each log goes.
    fn frontier(&self) -> Frontier;
    /// How much of a log would survive a crash now.
    fn durable(&self, log: &LogId) -> Seq;
    /// Reads a run for a peer.
    fn load_run(&self, log: &LogId, from: Seq, bytes_max: usize) -> Option<Run>;
    /// Where the entries stand that those of a run build on, as far as they are outside of it.
    fn parents_of_run(&self, run: &Run) -> Vec<(Name, Place)>;
    /// What the entries at these places are called.
    fn names_at(&self, places: &[Place]) -> Vec<(Place, Name)>;
    /// One entry's bytes.
    fn entry(&self, log: &LogId, seq: Seq) -> Option<Vec<u8>>;
    /// The entries of lane 0.
    fn trust_entries(&self) -> Vec<Vec<u8>>;
    /// Every document that something was written of, applied or not.
    fn documents(&self) -> Vec<RecordId>;
    /// What is needed to bring a document into memory.
    fn load_document(&self, id: RecordId) -> LoadedDocument;
    /// Entries that wait or are held back.
    fn unapplied(&self) -> Vec<(LogId, Seq)>;
    /// Entries in quarantine, with the reason.
    fn quarantined(&self) -> BTreeMap<(LogId, Seq), String>;
    /// Facts by id, as they are shown.
    fn facts(&self) -> BTreeMap<RecordId, String>;

    /// The hash of one entry.
    fn entry_hash(&self, log: &LogId, seq: Seq) -> Option<EntryHash> {
        self.entry(log, seq).map(|bytes| entry_hash(&bytes))
    }
}

/// An empty disk for a node.
///
/// # Errors
/// When the real store cannot be opened.
pub fn open(
    kind: DiskKind,
    key: &SigningKey,
    incarnation: Incarnation,
) -> Result<Box<dyn Disk>, String> {
    Ok(match kind {
        DiskKind::Memory => Box::new(MemoryDisk::new(key.clone(), incarnation)),
        DiskKind::Sqlite => Box::new(SqliteDisk::create(key, incarnation)?),
    })
}
