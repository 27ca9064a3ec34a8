//! A document that people edit together: its automerge state, what waits to be applied, and what was refused.
//!
//! Invariants: automerge only ever gets changes that are valid and ready; a panic inside it never leaves this module;
//! a failed call leaves the document as it was. Everything is a function of the changes taken in: two documents that
//! took in the same ones, in whatever order, show the same fields, versions and conflicts.

mod actor;
mod columns;
mod conflict;
mod edit;
mod genesis;
mod history;
mod ingest;
mod pack;
mod prescan;
mod valid;
mod version;
mod view;

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::{ActorId, Automerge, Change, ChangeHash, LoadOptions, ROOT, ReadDoc};

pub use actor::Author;
pub use conflict::{ConflictValue, FieldConflict, ResolvedConflict};
pub use edit::{EditError, Edited};
pub use ingest::{Incoming, Ingested, Outcome, Settled};
pub use pack::{ActorParts, ChangeParts, Dep, Whole, change_deps};
pub use valid::{CHANGE_BYTES_MAX, QuarantineReason};
pub use version::{Version, VersionError};
pub use view::View;

use crate::planted::{self, Planted};
use crate::{Kind, RecordId};
use history::History;

/// Applied changes that wait to be indexed; beyond that the index is made anew when it is needed.
const UNINDEXED_MAX: usize = 64;

/// Whatever the caller knows an entry by, for instance its row number. Only handed back.
pub type ChangeKey = u64;

/// Who made a change and when, for display.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// The author's clock in seconds since 1970 UTC. Never used to order anything that matters.
    pub time_s: i64,
    /// The change.
    pub change: [u8; 32],
    /// [`Author::actor`] of its author.
    pub actor: [u8; 16],
}

/// A change that is stored but not applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// See [`ChangeKey`].
    pub key: ChangeKey,
    /// Whose log it stands in.
    pub author: Author,
    /// As they came.
    pub bytes: Vec<u8>,
}

/// A change in quarantine, as it is given back to [`Document::restore`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Whose log it stands in.
    pub author: Author,
    /// As they came.
    pub bytes: Vec<u8>,
}

/// What a store keeps of a document.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    /// From [`Document::save`] or [`Ingested::saved`]; empty stands for the empty document.
    pub snapshot: Vec<u8>,
    /// Changes that were applied after the snapshot was taken, in that order.
    pub applied: Vec<Vec<u8>>,
    /// Changes that were answered with [`Outcome::Waiting`], in the order of their arrival.
    pub waiting: Vec<Pending>,
    /// Changes that were answered with [`Outcome::HeldBack`], in the order of their arrival.
    pub held: Vec<Pending>,
    /// Changes that were answered with [`Outcome::Quarantined`].
    pub quarantined: Vec<Refused>,
}

/// A document cannot be made from what was stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// The bytes are damaged, or written by a version that this one cannot read.
    #[error("the document cannot be read: {0}")]
    Damaged(String),
    /// It is another kind of document.
    #[error("the document is not a {expected}")]
    WrongKind {
        /// What the caller expected.
        expected: &'static str,
    },
}

/// See the module.
pub struct Document {
    kind: Kind,
    id: RecordId,
    doc: Automerge,
    created: Option<Stamp>,
    updated: Option<Stamp>,
    /// Made when the first remote change comes; an empty document starts with one.
    history: Option<History>,
    /// Applied changes that the history does not hold yet: own ones, and those that were loaded, in causal order.
    unindexed: Vec<Change>,
    /// Applied changes that `doc` lacks, and the history holds: only within [`Document::restore_and_ingest`].
    behind: Vec<Change>,
    aside: Aside,
}

/// A change that was taken in and is not applied.
#[derive(Clone)]
struct Parked {
    key: ChangeKey,
    author: Author,
    change: Change,
}

/// What is not applied.
#[derive(Clone, Default)]
struct Aside {
    /// Some dependency is missing. Bounded by what the log of this document holds on disk; counted in
    /// [`Document::approx_bytes`].
    waiting: Vec<Parked>,
    /// automerge failed on it.
    held: Vec<Parked>,
    /// Never to be applied, nor anything built on it.
    quarantined: HashSet<ChangeHash>,
    /// Per actor the highest sequence number among all of these.
    claimed: HashMap<ActorId, u64>,
}

impl Aside {
    fn claim(&mut self, change: &Change) {
        let claimed = self.claimed.entry(change.actor_id().clone()).or_default();
        *claimed = change.seq().max(*claimed);
    }
}

impl Document {
    /// The empty document: only the genesis changes, the same on every node.
    pub fn new(kind: Kind, id: RecordId) -> Self {
        let genesis = genesis::genesis(kind).doc.clone();
        Document::of(kind, id, genesis, Some(History::empty(kind)))
    }

    fn of(kind: Kind, id: RecordId, doc: Automerge, history: Option<History>) -> Self {
        Document {
            kind,
            id,
            doc,
            created: None,
            updated: None,
            history,
            unindexed: Vec::new(),
            behind: Vec::new(),
            aside: Aside::default(),
        }
    }

    /// A document from its snapshot, without who wrote it. Empty bytes stand for the empty document.
    fn of_snapshot(kind: Kind, id: RecordId, snapshot: &[u8]) -> Result<Self, DocumentError> {
        if snapshot.is_empty() {
            return Ok(Document::new(kind, id));
        }
        let doc = load_contained(snapshot).map_err(DocumentError::Damaged)?;
        Ok(Document::of(kind, id, doc, None))
    }

    /// Whether automerge holds the genesis of this kind, and all that its changes build on.
    fn is_of_its_kind(&self) -> bool {
        let genesis = genesis::genesis(self.kind);
        let named = self.doc.get(ROOT, genesis::KIND_KEY);
        matches!(named, Ok(Some((value, _))) if value.as_str() == Some(self.kind.spec().name))
            && self.doc.get_missing_deps(&genesis.hashes).is_empty()
    }

    /// A document from its snapshot alone. Empty bytes stand for the empty document.
    pub fn load(kind: Kind, id: RecordId, snapshot: &[u8]) -> Result<Self, DocumentError> {
        let stored = Stored {
            snapshot: snapshot.to_vec(),
            ..Stored::default()
        };
        Self::restore(kind, id, stored)
    }

    /// A document from everything that a store keeps of it. What was applied is believed; what waited is judged when
    /// its dependencies come.
    pub fn restore(kind: Kind, id: RecordId, stored: Stored) -> Result<Self, DocumentError> {
        let mut document = Document::of_snapshot(kind, id, &stored.snapshot)?;
        if !stored.applied.is_empty() {
            let doc = &mut document.doc;
            let changes = contained(|| {
                let mut changes = Vec::with_capacity(stored.applied.len());
                for bytes in stored.applied {
                    let change = Change::from_bytes(bytes);
                    changes.push(change.map_err(|error| format!("a stored change: {error}"))?);
                }
                doc.apply_changes(changes.iter().cloned())
                    .map_err(|error| error.to_string())?;
                if doc.get_missing_deps(&[]).is_empty() {
                    return Ok(changes);
                }
                Err("a stored change lacks one that it builds on".to_owned())
            })
            .map_err(DocumentError::Damaged)?;
            if !document.is_causal(&changes) {
                document.history = None;
            }
            document.index_later(changes);
        }
        if !document.is_of_its_kind() {
            let expected = kind.spec().name;
            return Err(DocumentError::WrongKind { expected });
        }
        for parked in stored.waiting {
            let parked = park(parked)?;
            document.aside.claim(&parked.change);
            if !planted::is(Planted::DropPending) {
                document.aside.waiting.push(parked);
            }
        }
        for parked in stored.held {
            let parked = park(parked)?;
            document.aside.claim(&parked.change);
            document.aside.held.push(parked);
        }
        for refused in &stored.quarantined {
            if !planted::is(Planted::ForgetQuarantine) {
                document.restore_refused(refused);
            }
        }
        document.find_stamps();
        Ok(document)
    }

    /// A snapshot for [`Document::load`]. What waits, is held back or in quarantine is not in it.
    pub fn save(&self) -> Vec<u8> {
        if self.created.is_none() {
            return genesis::genesis(self.kind).saved.clone();
        }
        snapshot(&self.doc)
    }

    /// Which kind of document.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its id.
    pub fn id(&self) -> RecordId {
        self.id
    }

    /// The hashes of the newest changes, sorted: equal on two nodes exactly when they applied the same changes.
    pub fn heads(&self) -> Vec<[u8; 32]> {
        self.doc
            .get_heads()
            .into_iter()
            .map(|hash| hash.0)
            .collect()
    }

    /// What a reader of the document sees now.
    pub fn version(&self) -> Version {
        Version::of(self.doc.get_heads())
    }

    /// Whether this node has applied all of what that version names.
    pub fn knows(&self, version: &Version) -> bool {
        self.doc.get_missing_deps(version.heads()).is_empty()
    }

    /// Whether nobody has written anything yet.
    pub fn is_empty(&self) -> bool {
        self.created.is_none()
    }

    /// How many changes wait for a dependency.
    pub fn waiting(&self) -> usize {
        self.aside.waiting.len()
    }

    /// How many changes are held back after a fault.
    pub fn held_back(&self) -> usize {
        self.aside.held.len()
    }

    /// Bytes in memory, roughly: for the bound of a cache.
    pub fn approx_bytes(&self) -> usize {
        /// A loaded document with nothing in it (measured: 17–19 KiB for an incident).
        const EMPTY: usize = 14 * 1024;
        /// One operation in automerge's columns and indexes (measured: 2.1 MB for 10,000).
        const PER_OP: usize = 210;
        let parked: usize = self
            .aside
            .waiting
            .iter()
            .chain(&self.aside.held)
            .map(|parked| parked.change.raw_bytes().len() + 400)
            .sum();
        let stats = self.doc.stats();
        EMPTY
            + stats.num_ops as usize * PER_OP
            + self.history.as_ref().map_or(0, History::approx_bytes)
            + self
                .unindexed
                .iter()
                .map(|change| change.raw_bytes().len() + 400)
                .sum::<usize>()
            + parked
            + self.aside.quarantined.len() * 48
    }

    /// Who created and who last changed it, over everything that automerge holds.
    fn find_stamps(&mut self) {
        let genesis = genesis::genesis(self.kind);
        let (mut created, mut updated): (Option<Stamp>, Option<Stamp>) = (None, None);
        for meta in self.doc.get_changes_meta(&genesis.hashes) {
            let Some(actor) = actor::base_actor(&meta.actor) else {
                continue;
            };
            let stamp = Stamp {
                time_s: meta.timestamp,
                change: meta.hash.0,
                actor,
            };
            created = Some(created.map_or(stamp, |first| first.min(stamp)));
            updated = Some(updated.map_or(stamp, |last| last.max(stamp)));
        }
        (self.created, self.updated) = (created, updated);
    }

    /// Notes one more applied change.
    fn stamp(&mut self, change: &Change) {
        let Some(actor) = actor::base_actor(change.actor_id()) else {
            return;
        };
        let stamp = Stamp {
            time_s: change.timestamp(),
            change: change.hash().0,
            actor,
        };
        self.created = Some(self.created.map_or(stamp, |first| first.min(stamp)));
        self.updated = Some(self.updated.map_or(stamp, |last| last.max(stamp)));
    }

    /// Keeps applied changes for the index, which is brought up to date when it is needed; where there is none, or too
    /// much to keep, it will be made from the whole document.
    fn index_later(&mut self, changes: impl IntoIterator<Item = Change>) {
        if self.history.is_none() {
            return;
        }
        self.unindexed.extend(changes);
        if self.unindexed.len() > UNINDEXED_MAX {
            self.history = None;
            self.unindexed.clear();
        }
    }

    /// Whether each of these stands behind all that it builds on. Those that one batch brought are stored run by run,
    /// whichever was applied first.
    fn is_causal(&self, changes: &[Change]) -> bool {
        let Some(history) = &self.history else {
            return true;
        };
        let mut before = HashSet::new();
        changes.iter().all(|change| {
            before.insert(change.hash());
            let known = |dep| history.contains(dep) || before.contains(dep);
            change.deps().iter().all(known)
        })
    }

    /// Takes note of a change that was refused: nothing may build on it, and its sequence number is used. One with a
    /// foreign actor says nothing about that actor's own changes, and a second copy of a change that stands says nothing
    /// about the first.
    fn restore_refused(&mut self, refused: &Refused) {
        let Ok(decoded) = valid::decode(&refused.bytes) else {
            return;
        };
        let change = &decoded.change;
        let hash = change.hash();
        let mut parked = self.aside.waiting.iter().chain(&self.aside.held);
        let stands = self.doc.get_change_meta_by_hash(&hash).is_some()
            || parked.any(|parked| parked.change.hash() == hash);
        if !stands && actor::base_actor(change.actor_id()) == Some(refused.author.actor()) {
            self.aside.claim(change);
            self.aside.quarantined.insert(hash);
        }
    }
}

/// The hash by which others name a change; `None` for bytes that are none. Says nothing about what is in it.
pub fn change_hash(bytes: &[u8]) -> Option<[u8; 32]> {
    prescan::hash(bytes)
}

fn park(pending: Pending) -> Result<Parked, DocumentError> {
    let change = valid::decode(&pending.bytes).map_err(damaged)?.change;
    Ok(Parked {
        key: pending.key,
        author: pending.author,
        change,
    })
}

fn damaged(reason: QuarantineReason) -> DocumentError {
    DocumentError::Damaged(format!("a stored change: {reason}"))
}

/// A document's bytes, not deflated: of documents as small as ours that would save an eighth of a kilobyte, and setting
/// up to deflate and inflate costs a tenth of what taking in a change does.
fn snapshot(doc: &Automerge) -> Vec<u8> {
    doc.save_nocompress()
}

/// Loads bytes; a panic becomes an error.
fn load_contained(bytes: &[u8]) -> Result<Automerge, String> {
    let options = LoadOptions::new().text_encoding(genesis::TEXT_ENCODING);
    contained(|| Automerge::load_with_options(bytes, options).map_err(|error| error.to_string()))
}

/// Runs automerge code; a panic becomes an error. What `work` was changing must be thrown away then.
fn contained<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned());
        Err(format!(
            "automerge panicked: {}",
            text.unwrap_or_else(|| "no message".into())
        ))
    })
}

#[cfg(test)]
mod tests;
