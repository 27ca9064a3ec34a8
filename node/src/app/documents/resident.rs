//! Documents in memory: a bounded cache in front of the store.
//!
//! Invariant: a document whose batch is on its way to the disk is never dropped, because the store does not have its
//! newest state yet; everything else can go at any time.

use std::collections::HashMap;
use std::sync::Arc;

use domain::{Author, Document, Incoming, Ingested, Kind, RecordId};
use lru::LruCache;
use store::{LoadedDocument, Store, StoredEntry};
use sync_engine::{EntryHeader, LogId, ObjectId, Seq};

use super::remote::change_in;
use crate::app::error::AppError;
use crate::app::present::{Meta, OpenConflict, RowView};

/// Memory for documents that nobody is editing. An incident with a few lines of text and some edits takes about 45 KiB,
/// so about a thousand stay loaded: what people work on in an hour, and within the 250 MiB that a loaded node may use.
/// It is empty after a start.
const CACHE_BYTES_MAX: usize = 48 * 1024 * 1024;

/// Documents in flight that are passed over while looking for one to drop: a catch-up pins all that it touches, and
/// looking at each of them for every document that comes in would cost more than the work itself.
const PINNED_LOOKS_MAX: usize = 8;

/// A snapshot is written after so many entries, so that loading replays few of them and a small edit stays small.
pub(super) const SNAPSHOT_EVERY: u32 = 16;

pub(super) type DocumentKey = (Kind, RecordId);

/// Where an entry came from, for people.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    pub(super) author: [u8; 32],
    pub(super) user: Option<[u8; 16]>,
    pub(super) wall_ms: u64,
}

/// A loaded document and what stands beside it.
pub(super) struct Resident {
    pub(super) document: Document,
    pub(super) meta: Meta,
    pub(super) conflicts: Vec<OpenConflict>,
    /// Entries applied since the last snapshot.
    pub(super) unsaved: u32,
    /// Waiting changes by the key under which the document knows them.
    pub(super) keys: HashMap<u64, Parked>,
    /// Origins of changes since it was loaded; of all, once a conflict asked for an older one.
    origins: HashMap<[u8; 32], Origin>,
    origins_complete: bool,
    /// Cloned into every batch in flight.
    pub(super) pin: Arc<()>,
}

/// An entry that waits in a document.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parked {
    pub(super) log: LogId,
    pub(super) seq: Seq,
    pub(super) wall_ms: u64,
    pub(super) logical: u16,
    pub(super) user: Option<[u8; 16]>,
}

/// The cache.
pub(super) struct Residents {
    /// Boxed: they move between here and the worker with every edit, and are large.
    cache: LruCache<DocumentKey, Box<Resident>>,
    bytes: usize,
    next_key: u64,
}

impl Residents {
    pub(super) fn new() -> Self {
        Residents {
            cache: LruCache::unbounded(),
            bytes: 0,
            next_key: 1,
        }
    }

    /// Keys under which waiting changes are known; unique while the process lives.
    pub(super) fn next_key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }

    /// Takes a document out, to work on it beside the cache.
    pub(super) fn take(
        &mut self,
        store: &Store,
        key: DocumentKey,
    ) -> Result<Box<Resident>, AppError> {
        match self.pop(&key) {
            Some(resident) => Ok(resident),
            None => Ok(Box::new(read(store, key, &mut self.next_key)?.restored()?)),
        }
    }

    /// The same, and gives it changes: one that is not in memory is read and changed in one go.
    pub(super) fn take_and_ingest(
        &mut self,
        store: &Store,
        key: DocumentKey,
        batch: &[Incoming<'_>],
    ) -> Result<(Box<Resident>, Ingested), AppError> {
        if let Some(mut resident) = self.pop(&key) {
            let ingested = resident.document.ingest(batch);
            return Ok((resident, ingested));
        }
        let kept = read(store, key, &mut self.next_key)?;
        let (resident, ingested) = kept.restored_and_given(batch)?;
        Ok((Box::new(resident), ingested))
    }

    fn pop(&mut self, key: &DocumentKey) -> Option<Box<Resident>> {
        let resident = self.cache.pop(key)?;
        self.bytes = self.bytes.saturating_sub(resident.document.approx_bytes());
        Some(resident)
    }

    /// Puts a document in, newest, and drops the oldest ones beyond the bound.
    pub(super) fn put(&mut self, key: DocumentKey, resident: Box<Resident>) {
        self.bytes += resident.document.approx_bytes();
        self.cache.put(key, resident);
        self.shrink();
    }

    fn shrink(&mut self) {
        let mut pinned = 0;
        while self.bytes > CACHE_BYTES_MAX && pinned < PINNED_LOOKS_MAX {
            let Some((key, resident)) = self.cache.pop_lru() else {
                break;
            };
            if Arc::strong_count(&resident.pin) > 1 {
                // In flight means used a moment ago, so it may as well be the newest.
                pinned += 1;
                self.cache.put(key, resident);
                continue;
            }
            self.bytes = self.bytes.saturating_sub(resident.document.approx_bytes());
        }
    }

    /// Whether the document is in memory.
    pub(super) fn holds(&self, key: &DocumentKey) -> bool {
        self.cache.contains(key)
    }

    /// Forgets one document; only when none of its batches is in flight.
    pub(super) fn forget(&mut self, key: DocumentKey) {
        self.pop(&key);
    }

    /// Forgets everything; only when nothing is in flight.
    pub(super) fn clear(&mut self) {
        self.cache.clear();
        self.bytes = 0;
    }
}

/// The domain's name for an author.
pub(super) fn author_of(log: &LogId) -> Author {
    Author {
        node: log.author.0,
        incarnation: log.incarnation.0,
    }
}

impl Origin {
    pub(super) fn of(log: &LogId, header: &EntryHeader) -> Self {
        Origin {
            author: log.author.0,
            user: header.user,
            wall_ms: header.time.wall_ms,
        }
    }
}

/// A document as the store keeps it, before anything is made of it.
struct Kept {
    key: DocumentKey,
    stored: domain::Stored,
    meta: Meta,
    conflicts: Vec<OpenConflict>,
    keys: HashMap<u64, Parked>,
    origins: HashMap<[u8; 32], Origin>,
}

fn read(store: &Store, (kind, id): DocumentKey, next_key: &mut u64) -> Result<Kept, AppError> {
    let object = ObjectId(id.0);
    let (loaded, row) = store
        .read(|reader| {
            let row = reader.get_document(Some(kind.spec().code), &object, None)?;
            Ok((reader.load_document(&object)?, row))
        })
        .map_err(|error| fault("load a document", error))?;
    let row: RowView = match row {
        Some(row) => serde_json::from_str(&row.view)
            .map_err(|error| fault("read a document's row", error))?,
        None => RowView::default(),
    };
    let mut kept = Kept {
        key: (kind, id),
        stored: domain::Stored::default(),
        meta: row.meta,
        conflicts: row.conflicts,
        keys: HashMap::new(),
        origins: HashMap::new(),
    };
    kept.take(loaded, next_key);
    Ok(kept)
}

impl Kept {
    fn take(&mut self, loaded: LoadedDocument, next_key: &mut u64) {
        self.stored.snapshot = loaded.snapshot.unwrap_or_default();
        for entry in &loaded.applied {
            // The store could be asked who wrote these; but a conflict is mostly with one of them, and here they are.
            if let Some((_, bytes)) = self.change(entry) {
                self.stored.applied.push(bytes);
            }
        }
        for waiting in &loaded.waiting {
            let parked = self.park(&waiting.entry, next_key);
            self.stored.waiting.extend(parked);
        }
        for quarantined in &loaded.quarantined {
            if quarantined.held {
                let parked = self.park(&quarantined.entry, next_key);
                self.stored.held.extend(parked);
            } else if let Some((_, bytes)) =
                change_in(self.key, &quarantined.entry.log, &quarantined.entry.bytes)
            {
                let author = author_of(&quarantined.entry.log);
                self.stored
                    .quarantined
                    .push(domain::Refused { author, bytes });
            }
        }
    }

    /// The change in a stored entry, whose origin is noted; what else stands under this id never was the document's.
    fn change(&mut self, entry: &StoredEntry) -> Option<(EntryHeader, Vec<u8>)> {
        let (header, bytes) = change_in(self.key, &entry.log, &entry.bytes)?;
        if let Some(hash) = domain::change_hash(&bytes) {
            self.origins.insert(hash, Origin::of(&entry.log, &header));
        }
        Some((header, bytes))
    }

    fn park(&mut self, entry: &StoredEntry, next_key: &mut u64) -> Option<domain::Pending> {
        let (header, bytes) = self.change(entry)?;
        *next_key += 1;
        self.keys.insert(
            *next_key,
            Parked {
                log: entry.log,
                seq: entry.seq,
                wall_ms: header.time.wall_ms,
                logical: header.time.logical,
                user: header.user,
            },
        );
        Some(domain::Pending {
            key: *next_key,
            author: author_of(&entry.log),
            bytes,
        })
    }

    /// The document.
    fn restored(mut self) -> Result<Resident, AppError> {
        let unsaved = self.unsaved();
        let stored = std::mem::take(&mut self.stored);
        let document = Document::restore(self.key.0, self.key.1, stored)
            .map_err(|error| fault("restore a document", error))?;
        Ok(self.with(document, unsaved))
    }

    /// The document with further changes.
    fn restored_and_given(
        mut self,
        batch: &[Incoming<'_>],
    ) -> Result<(Resident, Ingested), AppError> {
        let unsaved = self.unsaved();
        let stored = std::mem::take(&mut self.stored);
        let (document, ingested) =
            Document::restore_and_ingest(self.key.0, self.key.1, stored, batch)
                .map_err(|error| fault("restore a document", error))?;
        Ok((self.with(document, unsaved), ingested))
    }

    fn unsaved(&self) -> u32 {
        u32::try_from(self.stored.applied.len()).unwrap_or(u32::MAX)
    }

    fn with(self, document: Document, unsaved: u32) -> Resident {
        Resident {
            meta: self.meta,
            conflicts: self.conflicts,
            unsaved,
            keys: self.keys,
            origins: self.origins,
            ..Resident::of(document)
        }
    }
}

impl Resident {
    /// A document with nothing beside it.
    pub(super) fn of(document: Document) -> Self {
        Resident {
            document,
            meta: Meta::default(),
            conflicts: Vec::new(),
            unsaved: 0,
            keys: HashMap::new(),
            origins: HashMap::new(),
            origins_complete: false,
            pin: Arc::new(()),
        }
    }

    /// Notes where a change came from that the store does not have yet.
    pub(super) fn note_origin(&mut self, change: [u8; 32], origin: Origin) {
        self.origins.insert(change, origin);
    }

    /// The same for a change in its bytes.
    pub(super) fn note_origin_of(&mut self, change: &[u8], origin: Origin) {
        if let Some(hash) = domain::change_hash(change) {
            self.note_origin(hash, origin);
        }
    }

    /// Where a change of this document came from.
    pub(super) fn origin(
        &mut self,
        store: Option<&Store>,
        change: &[u8; 32],
    ) -> Result<Option<Origin>, AppError> {
        // A replay has noted every change itself and needs no store.
        if let Some(store) = store
            && !self.origins.contains_key(change)
            && !self.origins_complete
        {
            let object = ObjectId(self.document.id().0);
            let entries = store
                .read(|reader| reader.entries_of_object(&object))
                .map_err(|error| fault("read a document's entries", error))?;
            let key = (self.document.kind(), self.document.id());
            for stored in entries {
                if let Some((header, change)) = change_in(key, &stored.log, &stored.bytes) {
                    self.note_origin_of(&change, Origin::of(&stored.log, &header));
                }
            }
            self.origins_complete = true;
        }
        Ok(self.origins.get(change).copied())
    }
}

pub(super) fn fault(
    context: &'static str,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> AppError {
    AppError::Fault {
        context,
        source: error.into(),
    }
}
