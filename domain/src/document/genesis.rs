//! The genesis changes: what every document of a kind starts with (DESIGN §7).
//!
//! Invariants: they have a fixed actor and time, so they are the same bytes on every node; they alone create
//! containers; they are known by their hash and never stand in a log. Version *n* + 1 of a kind adds one change that
//! depends on that of version *n* alone.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use automerge::transaction::{CommitOptions, Transactable};
use automerge::{ActorId, Automerge, ChangeHash, ObjId, ObjType, ROOT, ReadDoc, TextEncoding};

use crate::Kind;
use crate::schema::{FieldSpec, Merge};

/// Positions in texts count code points on every node, whatever features some build of automerge turns on.
pub(crate) const TEXT_ENCODING: TextEncoding = TextEncoding::UnicodeCodePoint;

/// The register that says which kind of document this is; nobody else writes it.
pub(crate) const KIND_KEY: &str = "_kind";

/// A container that a genesis change made.
pub(crate) struct Container {
    /// The field that lives in it.
    pub(crate) field: &'static FieldSpec,
    /// Its object id.
    pub(crate) object: ObjId,
    /// The object id's counter; its actor is the genesis actor of the field's version.
    pub(crate) counter: u64,
    /// See `counter`.
    pub(crate) actor: ActorId,
}

/// A kind's empty document.
pub(crate) struct Genesis {
    /// The document, ready to be cloned.
    pub(crate) doc: Automerge,
    /// Its bytes, for a snapshot of a document that has nothing else.
    pub(crate) saved: Vec<u8>,
    /// Hashes of its changes, oldest first.
    pub(crate) hashes: Vec<ChangeHash>,
    /// Its containers.
    pub(crate) containers: Vec<Container>,
}

impl Genesis {
    /// The container of a field.
    pub(crate) fn container(&self, key: &str) -> Option<&Container> {
        self.containers
            .iter()
            .find(|container| container.field.name == key)
    }
}

/// The genesis of a kind, made once per process.
pub(crate) fn genesis(kind: Kind) -> &'static Genesis {
    all()
        .get(&kind)
        .expect("made for every kind in the registry")
}

/// Whether a hash is a genesis change of any kind other than this one: a change that names it is in the wrong document.
pub(crate) fn belongs_to_another_kind(hash: &ChangeHash, kind: Kind) -> bool {
    all()
        .iter()
        .any(|(other, genesis)| *other != kind && genesis.hashes.contains(hash))
}

fn all() -> &'static BTreeMap<Kind, Genesis> {
    static ALL: OnceLock<BTreeMap<Kind, Genesis>> = OnceLock::new();
    ALL.get_or_init(|| Kind::all().map(|kind| (kind, make(kind))).collect())
}

/// The actor of one genesis change: 16 bytes that no author has, because an author's come from another hash.
fn actor(kind: Kind, version: u16) -> ActorId {
    let mut hasher = blake3::Hasher::new_derive_key("muster 2026 genesis actor v1");
    hasher.update(&kind.spec().code.to_le_bytes());
    hasher.update(&version.to_le_bytes());
    ActorId::from(&hasher.finalize().as_bytes()[..16])
}

fn make(kind: Kind) -> Genesis {
    const WHY: &str = "a genesis change is made from constants and a test makes each of them";
    let spec = kind.spec();
    let mut doc = Automerge::new_with_encoding(TEXT_ENCODING);
    let mut hashes = Vec::new();
    for version in 1..=spec.genesis_version {
        doc.set_actor(actor(kind, version));
        let mut tx = doc.transaction();
        if version == 1 {
            tx.put(ROOT, KIND_KEY, spec.name).expect(WHY);
        }
        for field in spec.fields.iter().filter(|field| field.since == version) {
            match field.merge {
                Merge::Register => {}
                Merge::Text => {
                    tx.put_object(ROOT, field.name, ObjType::Text).expect(WHY);
                }
                Merge::Set => {
                    tx.put_object(ROOT, field.name, ObjType::Map).expect(WHY);
                }
            }
        }
        let (hash, _) = tx.commit_with(CommitOptions::default().with_time(0));
        hashes.push(hash.expect(WHY));
    }
    let containers = spec
        .fields
        .iter()
        .filter(|field| field.merge != Merge::Register)
        .map(|field| {
            let (_, object) = doc.get(ROOT, field.name).expect(WHY).expect(WHY);
            let ObjId::Id(counter, actor, _) = &object else {
                unreachable!("not the root")
            };
            Container {
                field,
                counter: *counter,
                actor: actor.clone(),
                object,
            }
        })
        .collect();
    let saved = doc.save();
    Genesis {
        doc,
        saved,
        hashes,
        containers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every node must make the same bytes for ever; a change here splits the operation.
    #[test]
    fn genesis_hashes_are_pinned() {
        let lines: Vec<String> = Kind::all()
            .flat_map(|kind| {
                let name = kind.spec().name;
                genesis(kind)
                    .hashes
                    .iter()
                    .map(move |hash| format!("{name} {hash}"))
            })
            .collect();
        insta::assert_snapshot!("genesis", lines.join("\n"));
    }

    #[test]
    fn a_change_that_names_another_kinds_genesis_is_recognised() {
        let incident = genesis(Kind::Incident).hashes[0];
        assert!(belongs_to_another_kind(&incident, Kind::Device));
        assert!(!belongs_to_another_kind(&incident, Kind::Incident));
    }
}
