//! What this node has made of the logs, in digests: one for people, 256 buckets and single items for comparing.
//!
//! Invariant: all are over the same bytes per object, so that two nodes whose digests for people differ in an object
//! always find a bucket and an item that do.
//!
//! # What is digested
//!
//! The documents and facts of one group whose kind belongs into lanes 0 to 3, deleted ones among them. Not digested are
//! their fields: the heads of a document name all changes that are applied to it, and with them its content. What people
//! see of it, and the search over it, are made of that; `muster rebuild` finds a row that was damaged without its heads.
//!
//! `H(context, bytes)` is BLAKE3 in its mode for deriving keys, numbers are little endian, `‖` joins:
//!
//! ```text
//! bytes of a document  01 ‖ lane u8 ‖ id [16] ‖ length of heads in bytes u64 ‖ heads
//! bytes of a fact      02 ‖ lane u8 ‖ id [16]
//! ```
//!
//! The heads are the hashes (32 bytes each) of the document's Automerge changes on which no other applied change builds,
//! in ascending order; the changes with which every document of a kind begins count as applied. A document counts once
//! one change of an entry is applied, a fact once its entry is.
//!
//! ```text
//! item digest     first 8 bytes of H("muster 2026 proof item 1", bytes)
//! bucket digest   first 8 bytes of H("muster 2026 proof bucket 1", bytes of its documents by id ‖ bytes of its facts by id)
//! digest for people   H("muster 2026 heads digest v1", count of trust records u64 ‖ BLAKE3 of each record's entry, ascending
//!                     ‖ bytes of all documents of `shared` by id ‖ bytes of all its facts by id), as 64 hex digits
//! ```
//!
//! An object is in the bucket that the last byte of its id numbers; a bucket without objects has the digest of no bytes.
//! What a group's 256 buckets come to is [`GroupDigest`]'s to say. Beside them a group states how many of its entries in
//! those lanes are *pending* (they wait for what they build on, or a local fault holds them back) and how many are
//! *quarantined*. All of it, and the frontier it belongs to, is from one snapshot of the store.
//!
//! The *rules* that a node states are the first 8 bytes, as a number, of
//!
//! ```text
//! H("muster 2026 proof rules 1", version of the validity rules u32
//!   ‖ per kind of document by code: code u16 ‖ lane u8 ‖ version of its beginning u16 ‖ count of its fields u16
//!       ‖ per field in the order shown: length of its name u16 ‖ name ‖ merge u8 (0 register, 1 text, 2 set) ‖ since u16
//!   ‖ per kind of fact by code: code u16 ‖ lane u8)
//! ```

use std::sync::{Arc, LazyLock};

use data_encoding::HEXLOWER;
use domain::schema::Merge;
use domain::{FactKind, Kind};
use parking_lot::Mutex;
use store::{CommitNo, DigestItem, Reader, StoreError};
use sync_engine::{DigestItems, Digests, Frontier, GroupDigest, GroupId, ObjectId, PROOF_BUCKETS};

use super::super::{App, AppError};

/// Raised when the domain judges or merges the same entries in another way than before, with the same kinds and fields: two
/// programs of different rules are not compared, because both are right.
const VALIDITY_RULES: u32 = 1;

/// What one snapshot came to.
struct View {
    commit: CommitNo,
    frontier: Frontier,
    shared: GroupDigest,
    heads_digest: String,
}

/// The last view: a status that is asked for every second, and proofs with many peers at one mark, cost nothing.
#[derive(Default)]
pub(in crate::app) struct Cache(Arc<Mutex<Option<Arc<View>>>>);

impl App {
    /// BLAKE3 over everything that `shared` has come to; see [`heads_digest`].
    pub(in crate::app) async fn digest(&self) -> Result<String, AppError> {
        Ok(self.view().await?.heads_digest.clone())
    }

    async fn view(&self) -> Result<Arc<View>, AppError> {
        let cache = Arc::clone(&self.digest.0);
        self.read(move |reader| {
            let commit = reader.newest_commit()?;
            let kept = cache.lock().clone();
            if let Some(view) = kept.filter(|view| view.commit == commit) {
                return Ok(view);
            }
            let view = Arc::new(view(reader)?);
            *cache.lock() = Some(Arc::clone(&view));
            Ok(view)
        })
        .await
    }

    /// For [`sync_quic::Host::digests`].
    pub(in crate::app) async fn proof_digests(
        &self,
        groups: Vec<GroupId>,
    ) -> Result<Digests, AppError> {
        if groups == [GroupId::SHARED] {
            let view = self.view().await?;
            return Ok(Digests {
                rules: *RULES,
                frontier: view.frontier.clone(),
                groups: vec![view.shared.clone()],
            });
        }
        self.read(move |reader| {
            let digests = groups
                .iter()
                .map(|group| group_digest(reader, group, |_| {}))
                .collect::<Result<_, StoreError>>()?;
            Ok(Digests {
                rules: *RULES,
                frontier: reader.frontier()?,
                groups: digests,
            })
        })
        .await
    }

    /// For [`sync_quic::Host::digest_items`].
    pub(in crate::app) async fn proof_items(
        &self,
        group: GroupId,
        buckets: Vec<u8>,
    ) -> Result<DigestItems, AppError> {
        self.read(move |reader| {
            let mut items = Vec::new();
            let mut bytes = Vec::new();
            reader.digest_items(&group, |item| {
                let id = id_of(&item);
                if buckets.contains(&bucket_of(id)) {
                    items.push((*id, item_digest(&item, &mut bytes)));
                }
            })?;
            // Documents come first, then facts.
            items.sort_unstable();
            Ok(DigestItems {
                frontier: reader.frontier()?,
                items,
            })
        })
        .await
    }
}

/// BLAKE3 over the documents (id, heads) and facts (id) of the group `shared` in lanes 0 to 3, in the order of their
/// ids, and over the trust records in the order of their hashes. Two nodes that hold and have applied the same entries
/// have the same digest, whatever arrived first.
pub(in crate::app) fn heads_digest(reader: &Reader<'_>) -> Result<String, StoreError> {
    Ok(view(reader)?.heads_digest)
}

/// 8 bytes over the state of one object, as far as digests go: what peers are told of it.
fn item_digest(item: &DigestItem<'_>, bytes: &mut Vec<u8>) -> [u8; 8] {
    encode(item, bytes);
    let mut hasher = blake3::Hasher::new_derive_key("muster 2026 proof item 1");
    hasher.update(bytes);
    first_8(&hasher)
}

fn view(reader: &Reader<'_>) -> Result<View, StoreError> {
    let mut hasher = blake3::Hasher::new_derive_key("muster 2026 heads digest v1");
    let mut records: Vec<[u8; 32]> = reader
        .trust_records()?
        .iter()
        .map(|entry| *blake3::hash(&entry.bytes).as_bytes())
        .collect();
    records.sort_unstable();
    hasher.update(&(records.len() as u64).to_le_bytes());
    for record in records {
        hasher.update(&record);
    }
    let shared = group_digest(reader, &GroupId::SHARED, |bytes| {
        hasher.update(bytes);
    })?;
    Ok(View {
        commit: reader.newest_commit()?,
        frontier: reader.frontier()?,
        shared,
        heads_digest: HEXLOWER.encode(hasher.finalize().as_bytes()),
    })
}

/// One pass over a group; `each` gets the bytes of every object.
fn group_digest(
    reader: &Reader<'_>,
    group: &GroupId,
    mut each: impl FnMut(&[u8]),
) -> Result<GroupDigest, StoreError> {
    let empty = blake3::Hasher::new_derive_key("muster 2026 proof bucket 1");
    let mut buckets = vec![empty; PROOF_BUCKETS];
    let mut bytes = Vec::new();
    reader.digest_items(group, |item| {
        encode(&item, &mut bytes);
        each(&bytes);
        buckets[usize::from(bucket_of(id_of(&item)))].update(&bytes);
    })?;
    let mut digests = Box::new([[0; 8]; PROOF_BUCKETS]);
    for (digest, hasher) in digests.iter_mut().zip(&buckets) {
        *digest = first_8(hasher);
    }
    let unapplied = reader.unapplied_in(group)?;
    Ok(GroupDigest {
        group: *group,
        buckets: digests,
        pending: unapplied.pending,
        quarantined: unapplied.quarantined,
    })
}

/// The bytes of one object that digests are over.
fn encode(item: &DigestItem<'_>, out: &mut Vec<u8>) {
    out.clear();
    match item {
        DigestItem::Document { id, lane, heads } => {
            out.extend([1, *lane as u8]);
            out.extend(id.0);
            out.extend((heads.len() as u64).to_le_bytes());
            out.extend(*heads);
        }
        DigestItem::Fact { id, lane } => {
            out.extend([2, *lane as u8]);
            out.extend(id.0);
        }
    }
}

fn id_of<'a>(item: &'a DigestItem<'_>) -> &'a ObjectId {
    match item {
        DigestItem::Document { id, .. } | DigestItem::Fact { id, .. } => id,
    }
}

fn bucket_of(id: &ObjectId) -> u8 {
    id.0[15]
}

fn first_8(hasher: &blake3::Hasher) -> [u8; 8] {
    let mut digest = [0; 8];
    digest.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    digest
}

/// Names what this program makes of entries: another set of kinds, or of fields that merge in another way, makes something
/// else of a log.
static RULES: LazyLock<u64> = LazyLock::new(|| {
    let mut hasher = blake3::Hasher::new_derive_key("muster 2026 proof rules 1");
    hasher.update(&VALIDITY_RULES.to_le_bytes());
    for spec in Kind::all().map(Kind::spec) {
        hasher.update(&spec.code.to_le_bytes());
        hasher.update(&[spec.lane]);
        hasher.update(&spec.genesis_version.to_le_bytes());
        hasher.update(&(spec.fields.len() as u16).to_le_bytes());
        for field in spec.fields {
            hasher.update(&(field.name.len() as u16).to_le_bytes());
            hasher.update(field.name.as_bytes());
            let merge = match field.merge {
                Merge::Register => 0,
                Merge::Text => 1,
                Merge::Set => 2,
            };
            hasher.update(&[merge]);
            hasher.update(&field.since.to_le_bytes());
        }
    }
    for kind in FactKind::all() {
        hasher.update(&kind.code().to_le_bytes());
        hasher.update(&[kind.lane()]);
    }
    u64::from_le_bytes(first_8(&hasher))
});

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use store::{Batch, DbKey, Disposition, DocumentWrite, LocalEntry, OpenOptions, Store};
    use sync_engine::Lane;

    use super::*;

    fn put(store: &Store, id: ObjectId, heads: &[u8]) {
        let mut batch = Batch::new(Lane::Life, 1);
        batch.documents.push(DocumentWrite {
            id,
            kind: 0x0101,
            group: GroupId::SHARED,
            lane: Lane::Life,
            version: String::new(),
            heads: heads.to_vec(),
            snapshot: None,
            view: "{}".into(),
            deleted: false,
            title: String::new(),
            facets: Vec::new(),
            location: None,
            created_wall_ms: 0,
            updated_wall_ms: 0,
        });
        store.commit(batch).wait().unwrap();
    }

    fn digest_of(objects: &[(u8, &[u8])]) -> View {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), &DbKey::new([1; 32]), &OpenOptions::default()).unwrap();
        for (last, heads) in objects {
            let mut id = [7; 16];
            id[15] = *last;
            put(&store, ObjectId(id), heads);
        }
        store.read(view).unwrap()
    }

    #[test]
    fn a_difference_is_in_the_bucket_of_the_last_byte_and_nowhere_else() {
        let one = digest_of(&[(0, b"a"), (9, b"b"), (255, b"c")]);
        let same = digest_of(&[(255, b"c"), (0, b"a"), (9, b"b")]);
        assert_eq!(one.shared, same.shared);
        assert_eq!(one.heads_digest, same.heads_digest);
        let other = digest_of(&[(0, b"a"), (9, b"other"), (255, b"c")]);
        assert_ne!(one.heads_digest, other.heads_digest);
        let differing: Vec<usize> = (0..PROOF_BUCKETS)
            .filter(|at| one.shared.buckets[*at] != other.shared.buckets[*at])
            .collect();
        assert_eq!(differing, [9]);
    }

    #[test]
    fn what_waits_is_counted_apart_from_what_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), &DbKey::new([1; 32]), &OpenOptions::default()).unwrap();
        let identity = store::Identity {
            node_secret: zeroize::Zeroizing::new([1; 32]),
            incarnation: sync_engine::Incarnation(1),
            name: "north".into(),
            role: "field".into(),
            operation: None,
            operation_title: String::new(),
            root_secret: None,
            successor_secret: None,
            created_wall_ms: 1,
        };
        store.put_identity(identity).wait().unwrap();
        let mut batch = Batch::new(Lane::Life, 1);
        for disposition in [
            Disposition::Waiting {
                missing: Vec::new(),
            },
            Disposition::Held { fault: "f".into() },
            Disposition::Quarantined { reason: "r".into() },
        ] {
            batch.local.push(LocalEntry {
                group: GroupId::SHARED,
                lane: Lane::Life,
                bytes: b"entry".to_vec(),
                kind: 0x0101,
                object: ObjectId([1; 16]),
                disposition,
            });
        }
        store.commit(batch).wait().unwrap();
        let view = store.read(view).unwrap();
        assert_eq!((view.shared.pending, view.shared.quarantined), (2, 1));
    }
}
