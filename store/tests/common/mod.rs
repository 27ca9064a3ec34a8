//! A store in a temporary directory, and short ways to say what goes in.
#![allow(clippy::unwrap_used, dead_code)]

use std::path::Path;

use ed25519_dalek::SigningKey;
use store::{
    Batch, Committed, DbKey, Disposition, DocumentWrite, Identity, LocalEntry, OpenOptions,
    SeriesNames, Store,
};
use sync_engine::{
    GroupId, Incarnation, Lane, LogId, LogTail, NodeId, ObjectId, Run, RunBuilder, VerifiedRun,
};
use zeroize::Zeroizing;

pub const INCIDENT: u16 = 0x0101;
pub const NOTE: u16 = 0x0201;

pub fn key() -> DbKey {
    DbKey::new([3; 32])
}

pub fn identity(seed: u8) -> Identity {
    Identity {
        node_secret: Zeroizing::new([seed; 32]),
        incarnation: Incarnation(7),
        name: "north".to_owned(),
        role: "field".to_owned(),
        operation: Some([9; 32]),
        operation_title: "flood".to_owned(),
        root_secret: None,
        successor_secret: None,
        created_wall_ms: 1,
    }
}

pub fn open(dir: &Path) -> Store {
    Store::open(dir, &key(), &OpenOptions::default()).unwrap()
}

/// An open store that knows who it is.
pub fn node(dir: &Path) -> Store {
    let store = open(dir);
    store.put_identity(identity(1)).wait().unwrap();
    store
}

pub fn id(number: u64) -> ObjectId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    ObjectId(bytes)
}

pub fn entry(object: ObjectId, bytes: &[u8]) -> LocalEntry {
    LocalEntry {
        group: GroupId::SHARED,
        lane: Lane::Life,
        bytes: bytes.to_vec(),
        kind: INCIDENT,
        object,
        disposition: Disposition::Applied,
    }
}

pub fn document(id: ObjectId, version: &str) -> DocumentWrite {
    DocumentWrite {
        id,
        kind: INCIDENT,
        group: GroupId::SHARED,
        lane: Lane::Life,
        version: version.to_owned(),
        heads: version.as_bytes().to_vec(),
        snapshot: Some(format!("snapshot {version}").into_bytes()),
        view: format!("{{\"title\":\"{version}\"}}"),
        deleted: false,
        title: version.to_owned(),
        facets: vec![],
        location: None,
        created_wall_ms: 1_000,
        updated_wall_ms: 1_000,
    }
}

/// A batch that edits one document.
pub fn edit(object: ObjectId, version: &str, at: u64) -> Batch {
    let mut batch = Batch::new(Lane::Life, at);
    batch.local.push(entry(object, version.as_bytes()));
    batch.documents.push(document(object, version));
    batch
}

pub fn commit(store: &Store, batch: Batch) -> Committed {
    store.commit(batch).wait().unwrap()
}

/// The node that `identity(seed)` is.
pub fn node_id(seed: u8) -> NodeId {
    NodeId(
        SigningKey::from_bytes(&[seed; 32])
            .verifying_key()
            .to_bytes(),
    )
}

pub fn log_of(seed: u8, lane: Lane) -> LogId {
    LogId {
        author: node_id(seed),
        incarnation: Incarnation(7),
        group: GroupId::SHARED,
        lane,
    }
}

/// Another node's log, as it grows.
pub struct Peer {
    key: SigningKey,
    tail: LogTail,
}

impl Peer {
    pub fn new(seed: u8) -> Self {
        Peer {
            key: SigningKey::from_bytes(&[seed; 32]),
            tail: LogTail::start(log_of(seed, Lane::Life)),
        }
    }

    pub fn run(&mut self, entries: &[&[u8]]) -> Run {
        let head = self.tail.head();
        let mut builder = RunBuilder::new(*self.tail.log(), head.seq.next(), head.chain, 1 << 16);
        for (number, bytes) in entries.iter().enumerate() {
            let pushed = self.tail.push(bytes, &self.key);
            assert!(pushed.sign_before.is_none(), "test entries are small");
            let last = number + 1 == entries.len();
            let signature = if last {
                self.tail.seal(&self.key).map(|(_, signature)| signature)
            } else {
                None
            };
            assert!(builder.push(bytes.to_vec(), signature));
        }
        builder.finish().unwrap()
    }

    pub fn verified(&mut self, entries: &[&[u8]]) -> VerifiedRun {
        self.run(entries).verify().unwrap()
    }
}

/// What a series is called.
pub fn names<'a>(device: &'a str, channel: &'a str, unit: &'a str) -> SeriesNames<'a> {
    SeriesNames {
        device,
        channel,
        unit,
    }
}
