//! The documents of one node: what `node`'s document worker does, without its threads.
//!
//! Invariants: what is in memory is what the disk holds, plus the one commit under way; a commit that fails leaves no
//! trace, because the documents it touched are read from the disk again.

mod judge;
mod own;
pub mod target;

use std::collections::{BTreeMap, BTreeSet};

use domain::{Author, Document, Kind, Pending, RecordId, Refused, Stored, Version, View};
use store::{DocumentWrite, StoredEntry};
use sync_engine::{GroupId, Lane, LogId, NodeId, ObjectId, Seq};

pub use judge::{Judged, Verdict};
pub use own::{Plan, Promise, Written, entry};
use target::{Target, change_in};

use crate::disk::Disk;
use crate::planted::{self, InShell};

/// How many older versions of a document a person may still have on the screen.
const VERSIONS_KEPT: usize = 6;

/// What people see of a document, and the heads that it was made of.
type Shown = (Vec<[u8; 32]>, View);

/// A document in memory.
struct Resident {
    document: Document,
    versions: Vec<Version>,
}

/// See the module.
pub struct Desk {
    node: NodeId,
    author: Author,
    residents: BTreeMap<RecordId, Resident>,
    /// What documents came to, as long as nothing changes them.
    digests: BTreeMap<RecordId, [u8; 8]>,
    /// Where the changes stand that wait in a resident document.
    parked: BTreeMap<u64, (RecordId, LogId, Seq)>,
    next_key: u64,
    /// Entries that are stored and not applied, of every document.
    open: BTreeSet<(LogId, Seq)>,
}

impl Desk {
    /// The desk of a node that starts, over what its disk holds.
    pub fn open(author: Author, disk: &dyn Disk) -> Self {
        Self {
            node: NodeId(author.node),
            author,
            residents: BTreeMap::new(),
            digests: BTreeMap::new(),
            parked: BTreeMap::new(),
            next_key: 0,
            open: disk.unapplied().into_iter().collect(),
        }
    }

    /// Up to where everything of a log is applied or quarantined, when it goes up to `height`.
    pub fn applied_height(&self, log: &LogId, height: Seq) -> Seq {
        let first_open = self.open.range((*log, Seq::NONE)..).next();
        match first_open {
            Some((open, seq)) if open == log => seq.before().min(height),
            _ => height,
        }
    }

    /// Drops a document from memory, as a full cache does.
    pub fn evict(&mut self, id: RecordId) -> bool {
        self.parked.retain(|_, (of, _, _)| *of != id);
        self.touch(id);
        self.residents.remove(&id).is_some()
    }

    /// Throws away what a failed commit has touched.
    pub fn undo(&mut self, touched: &BTreeSet<RecordId>, disk: &dyn Disk) {
        for id in touched {
            self.evict(*id);
        }
        self.open = disk.unapplied().into_iter().collect();
    }

    /// Documents that somebody has written.
    pub fn document_ids(&mut self, disk: &dyn Disk) -> Vec<RecordId> {
        let ids = disk.documents().into_iter();
        ids.filter(|id| domain::ids::fits_kind(*id, Kind::Incident.spec().code))
            .collect()
    }

    /// What people see of a document; `None` while nothing of it is applied.
    ///
    /// # Errors
    /// When what the disk holds is no document.
    pub fn view(&mut self, id: RecordId, disk: &dyn Disk) -> Result<Option<Shown>, String> {
        let resident = self.resident(id, disk)?;
        let document = &resident.document;
        Ok((!document.is_empty()).then(|| (document.heads(), document.view())))
    }

    /// The newest changes of a document; `None` while nothing of it is applied.
    ///
    /// # Errors
    /// When what the disk holds is no document.
    pub fn heads(
        &mut self,
        id: RecordId,
        disk: &dyn Disk,
    ) -> Result<Option<Vec<[u8; 32]>>, String> {
        let document = &self.resident(id, disk)?.document;
        Ok((!document.is_empty()).then(|| document.heads()))
    }

    /// Eight bytes over the newest changes of a document; `None` while nothing of it is applied.
    ///
    /// # Errors
    /// When what the disk holds is no document.
    pub fn digest(&mut self, id: RecordId, disk: &dyn Disk) -> Result<Option<[u8; 8]>, String> {
        if let Some(digest) = self.digests.get(&id) {
            return Ok(Some(*digest));
        }
        let Some(heads) = self.heads(id, disk)? else {
            return Ok(None);
        };
        let hash = blake3::hash(&heads.concat());
        let digest = *hash.as_bytes().first_chunk().expect("32 bytes");
        self.digests.insert(id, digest);
        Ok(Some(digest))
    }

    /// A document is about to change.
    fn touch(&mut self, id: RecordId) {
        if !planted::is(InShell::KeepStaleDigest) {
            self.digests.remove(&id);
        }
    }

    fn resident(&mut self, id: RecordId, disk: &dyn Disk) -> Result<&mut Resident, String> {
        if !self.residents.contains_key(&id) {
            let resident = self.load(id, disk)?;
            self.residents.insert(id, resident);
        }
        Ok(self.residents.get_mut(&id).expect("it was just put there"))
    }

    fn load(&mut self, id: RecordId, disk: &dyn Disk) -> Result<Resident, String> {
        let loaded = disk.load_document(id);
        let mut stored = Stored {
            snapshot: loaded.snapshot.unwrap_or_default(),
            applied: loaded
                .applied
                .iter()
                .filter_map(|entry| Some(change_of(id, entry)?.1))
                .collect(),
            ..Stored::default()
        };
        for waiting in &loaded.waiting {
            stored.waiting.extend(self.park(id, &waiting.entry));
        }
        for refused in &loaded.quarantined {
            if refused.held {
                stored.held.extend(self.park(id, &refused.entry));
            } else if let Some((author, bytes)) = change_of(id, &refused.entry) {
                stored.quarantined.push(Refused { author, bytes });
            }
        }
        let document = Document::restore(Kind::Incident, id, stored).map_err(|error| {
            format!(
                "{}: document {id} cannot be read from the disk: {error}",
                self.node
            )
        })?;
        Ok(Resident {
            versions: vec![document.version()],
            document,
        })
    }

    fn park(&mut self, id: RecordId, entry: &StoredEntry) -> Option<Pending> {
        let (author, bytes) = change_of(id, entry)?;
        self.next_key += 1;
        self.parked
            .insert(self.next_key, (id, entry.log, entry.seq));
        Some(Pending {
            key: self.next_key,
            author,
            bytes,
        })
    }
}

/// The change of a document in a stored entry, with whose it is; `None` for an entry that only has its id.
fn change_of(id: RecordId, entry: &StoredEntry) -> Option<(Author, Vec<u8>)> {
    match change_in(&entry.log, &entry.bytes)? {
        (Target::Change(of), bytes) if of == id => Some((author_of(&entry.log), bytes)),
        _ => None,
    }
}

/// Whose log it is.
pub fn author_of(log: &LogId) -> Author {
    Author {
        node: log.author.0,
        incarnation: log.incarnation.0,
    }
}

/// The row of a document, as it goes into a batch.
fn row(document: &Document, view: &View, snapshot: Option<Vec<u8>>) -> DocumentWrite {
    let spec = document.kind().spec();
    DocumentWrite {
        id: ObjectId(document.id().0),
        kind: spec.code,
        group: GroupId::SHARED,
        lane: Lane::Life,
        version: view.version.to_string(),
        heads: document.heads().concat(),
        snapshot,
        view: serde_json::Value::Object(view.fields.clone()).to_string(),
        deleted: view.deleted,
        title: view.fields["title"].as_str().unwrap_or_default().to_owned(),
        facets: Vec::new(),
        location: None,
        created_wall_ms: 0,
        updated_wall_ms: 0,
    }
}
