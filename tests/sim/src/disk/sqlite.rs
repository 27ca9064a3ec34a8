//! The real store as a simulated node's disk.
//!
//! Invariant: a crash takes the files as they are, without a shutdown: the write-ahead logs are read back at the next
//! start.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use domain::{FactKind, Kind, RecordId};
use ed25519_dalek::SigningKey;
use store::{
    Batch, Committed, DbKey, DocumentQuery, FactQuery, Identity, LoadedDocument, OpenOptions,
    Store, StoreError, Synchronous,
};
use sync_engine::{Frontier, Incarnation, LogId, Name, Place, Run, Seq};
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::Disk;
use crate::codec::DocumentCodec;

/// More rows than a run can make.
const ROWS_MAX: usize = 10_000;

/// See the module.
pub struct SqliteDisk {
    /// `None` only while a crash is under way.
    store: Option<Store>,
    dir: TempDir,
}

fn open(dir: &Path) -> Result<Store, StoreError> {
    let options = OpenOptions {
        // The process does not die here, so what the system was given is what the next start finds.
        synchronous: Synchronous::Off,
        readers: 1,
        ..OpenOptions::default()
    };
    Store::open(dir, &DbKey::new([7; 32]), &options)
}

impl SqliteDisk {
    /// An empty store whose writer signs with `key`.
    ///
    /// # Errors
    /// When the store cannot be made.
    pub fn create(key: &SigningKey, incarnation: Incarnation) -> Result<Self, String> {
        let dir = TempDir::new().map_err(|error| error.to_string())?;
        let store = open(dir.path()).map_err(|error| error.to_string())?;
        let identity = Identity {
            node_secret: Zeroizing::new(key.to_bytes()),
            incarnation,
            name: "sim".to_owned(),
            role: "field".to_owned(),
            operation: None,
            operation_title: String::new(),
            root_secret: None,
            successor_secret: None,
            created_wall_ms: 0,
        };
        store
            .put_identity(identity)
            .wait()
            .map_err(|error| error.to_string())?;
        Ok(Self {
            store: Some(store),
            dir,
        })
    }

    fn store(&self) -> &Store {
        self.store
            .as_ref()
            .expect("the store is only away inside `crash`")
    }

    fn read<T>(&self, f: impl FnOnce(&store::Reader<'_>) -> Result<T, StoreError>) -> T {
        self.store()
            .read(f)
            .expect("a store that was just written can be read")
    }
}

/// Copies what a power cut would leave: the databases and their write-ahead logs.
fn copy_files(from: &Path, to: &Path) -> std::io::Result<()> {
    for file in std::fs::read_dir(from)? {
        let file = file?;
        let name = file.file_name();
        let text = name.to_string_lossy();
        if text.ends_with(".db") || text.ends_with(".db-wal") {
            std::fs::copy(file.path(), to.join(&name))?;
        }
    }
    Ok(())
}

impl Disk for SqliteDisk {
    fn commit(&mut self, batch: Batch) -> Result<Committed, String> {
        self.store()
            .commit(batch)
            .wait()
            .map_err(|error| error.to_string())
    }

    fn sync(&mut self) {}

    fn crash(&mut self) {
        let after = TempDir::new().expect("a temporary directory");
        copy_files(self.dir.path(), after.path()).expect("the files of the store can be copied");
        self.store = None;
        self.store = Some(open(after.path()).expect("the store opens after a crash"));
        self.dir = after;
    }

    fn frontier(&self) -> Frontier {
        self.read(|reader| reader.frontier())
    }

    fn durable(&self, log: &LogId) -> Seq {
        self.frontier().head(log).seq
    }

    fn load_run(&self, log: &LogId, from: Seq, bytes_max: usize) -> Option<Run> {
        self.read(|reader| reader.load_run(log, from, bytes_max))
    }

    fn parents_of_run(&self, run: &Run) -> Vec<(Name, Place)> {
        self.read(|reader| reader.parents_of_run(run, &DocumentCodec))
    }

    fn names_at(&self, places: &[Place]) -> Vec<(Place, Name)> {
        self.read(|reader| reader.names_at(places, &DocumentCodec))
    }

    fn entry(&self, log: &LogId, seq: Seq) -> Option<Vec<u8>> {
        self.read(|reader| reader.entry(log, seq))
            .map(|entry| entry.bytes)
    }

    fn trust_entries(&self) -> Vec<Vec<u8>> {
        let entries = self.read(|reader| reader.trust_records());
        entries.into_iter().map(|entry| entry.bytes).collect()
    }

    fn documents(&self) -> Vec<RecordId> {
        let kind = Kind::Incident.spec().code;
        let rows = self.read(|reader| reader.list_documents(&DocumentQuery::new(kind, ROWS_MAX)));
        let mut ids: BTreeSet<RecordId> = rows.into_iter().map(|row| RecordId(row.id.0)).collect();
        for (log, seq) in self.unapplied() {
            if let Some(entry) = self.entry(&log, seq)
                && let Ok(entry) = sync_engine::Entry::decode(&entry)
            {
                ids.insert(RecordId(entry.header.object.0));
            }
        }
        ids.into_iter().collect()
    }

    fn load_document(&self, id: RecordId) -> LoadedDocument {
        self.read(|reader| reader.load_document(&sync_engine::ObjectId(id.0)))
    }

    fn unapplied(&self) -> Vec<(LogId, Seq)> {
        self.read(|reader| reader.unapplied_entries())
    }

    fn quarantined(&self) -> BTreeMap<(LogId, Seq), String> {
        let entries = self.read(|reader| reader.quarantine(None, ROWS_MAX));
        let verdicts = entries.into_iter().filter(|entry| !entry.held);
        verdicts
            .map(|entry| ((entry.entry.log, entry.entry.seq), entry.reason))
            .collect()
    }

    fn facts(&self) -> BTreeMap<RecordId, String> {
        let query = FactQuery {
            kind: FactKind::Note.code(),
            limit: ROWS_MAX,
            after: None,
            about: None,
            q: None,
            changed_after: None,
            at_commit: None,
        };
        let rows = self.read(|reader| reader.list_facts(&query));
        rows.into_iter()
            .map(|row| (RecordId(row.id.0), row.view))
            .collect()
    }
}
