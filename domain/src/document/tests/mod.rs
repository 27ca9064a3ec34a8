//! Documents on several nodes, in memory.

#![allow(clippy::unwrap_used)]

mod conflicts;
mod edits;
mod hostile;
mod one_go;
mod pack;
mod properties;

use std::cell::RefCell;

use serde_json::{Map, Value, json};

use super::*;
use crate::{Edit, check_create, check_patch};

thread_local! {
    /// Changes on which automerge shall fail in this test.
    static FAULTY: RefCell<HashSet<ChangeHash>> = RefCell::default();
}

/// Nothing known gets past the rules and breaks automerge, so the faults that the safety net is for are made here.
pub(super) fn fault_for(hashes: &[ChangeHash]) -> Result<(), String> {
    let faulty = |hash| FAULTY.with_borrow(|faulty| faulty.contains(hash));
    if hashes.iter().any(faulty) {
        Err("a fault for the test".to_owned())
    } else {
        Ok(())
    }
}

pub(super) fn make_faulty(hash: [u8; 32]) {
    FAULTY.with_borrow_mut(|faulty| faulty.insert(ChangeHash(hash)));
}

pub(super) fn mend() {
    FAULTY.with_borrow_mut(HashSet::clear);
}

pub(super) const T0: i64 = 1_763_640_000;

pub(super) fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

pub(super) fn id() -> RecordId {
    RecordId([7; 16])
}

pub(super) fn author(n: u8) -> Author {
    Author {
        node: [n; 32],
        incarnation: 1,
    }
}

pub(super) fn create(body: Value) -> Edit {
    check_create(Kind::Incident, &object(body)).unwrap()
}

pub(super) fn patch(body: Value) -> Edit {
    check_patch(Kind::Incident, &object(body), &Map::new()).unwrap()
}

/// One node's copy of a document, and the log of what it wrote.
pub(super) struct Node {
    pub(super) author: Author,
    pub(super) doc: Document,
    pub(super) log: Vec<Vec<u8>>,
    pub(super) clock_s: i64,
}

impl Node {
    pub(super) fn new(n: u8) -> Self {
        let doc = Document::new(Kind::Incident, id());
        Node {
            author: author(n),
            doc,
            log: Vec::new(),
            clock_s: T0 + i64::from(n),
        }
    }

    pub(super) fn edit(&mut self, base: Option<&Version>, edit: &Edit) -> Option<Edited> {
        self.clock_s += 10;
        let edited = self
            .doc
            .edit(&self.author, base, edit, self.clock_s)
            .unwrap();
        if let Some(edited) = &edited {
            self.log.push(edited.bytes.clone());
        }
        edited
    }

    pub(super) fn set(&mut self, body: Value) -> Edited {
        self.edit(None, &patch(body)).unwrap()
    }

    /// Takes in a log of another node, or part of it.
    pub(super) fn take(&mut self, from: Author, log: &[Vec<u8>]) -> Ingested {
        let batch: Vec<Incoming<'_>> = log
            .iter()
            .enumerate()
            .map(|(key, bytes)| Incoming {
                key: key as u64,
                author: from,
                bytes,
            })
            .collect();
        self.doc.ingest(&batch)
    }

    pub(super) fn pull(&mut self, other: &Node) -> Ingested {
        let log = other.log.clone();
        self.take(other.author, &log)
    }

    pub(super) fn field(&self, name: &str) -> Value {
        self.doc.view().fields[name].clone()
    }

    /// As after a restart: from the snapshot.
    pub(super) fn reloaded(&self) -> Document {
        Document::load(Kind::Incident, id(), &self.doc.save()).unwrap()
    }
}

/// Two nodes with one incident.
pub(super) fn pair() -> (Node, Node) {
    let (mut a, mut b) = (Node::new(1), Node::new(2));
    a.edit(
        None,
        &create(json!({"title": "flood", "severity": "minor", "tags": ["river"]})),
    );
    let ingested = b.pull(&a);
    assert_eq!(ingested.outcomes, [Outcome::Applied]);
    (a, b)
}

pub(super) fn same(a: &Document, b: &Document) {
    assert_eq!(a.heads(), b.heads());
    assert_eq!(a.view(), b.view());
}
