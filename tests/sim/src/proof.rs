//! What a node's documents and facts have come to, for the engines' comparison after each mark.
//!
//! Invariant: made from what is on the disk, so that it stands at the frontier it is given out with.

use std::collections::BTreeMap;

use domain::RecordId;
use sync_engine::{DigestItems, Digests, GroupDigest, GroupId, ObjectId, PROOF_BUCKETS};

use crate::node::Node;

/// All nodes of a simulation run the same program.
const RULES: u64 = 1;

fn short(hasher: &blake3::Hasher) -> [u8; 8] {
    *hasher
        .finalize()
        .as_bytes()
        .first_chunk()
        .expect("32 bytes")
}

/// The state of every object of a group, in the order of their ids. Only `shared` has any that a node can read.
fn objects(node: &mut Node, group: GroupId) -> Result<BTreeMap<RecordId, [u8; 8]>, String> {
    let mut objects = BTreeMap::new();
    let disk = node.disk.as_ref();
    if let Some(running) = node.running.as_mut().filter(|_| group == GroupId::SHARED) {
        for id in running.desk.document_ids(disk) {
            if let Some(digest) = running.desk.digest(id, disk)? {
                objects.insert(id, digest);
            }
        }
        objects.extend(disk.facts().into_keys().map(|id| (id, [1; 8])));
    }
    Ok(objects)
}

/// The answer to `Effect::Digest`.
///
/// # Errors
/// When a document cannot be read from the disk.
pub fn digests(node: &mut Node, groups: &[GroupId]) -> Result<Digests, String> {
    let mut digests = Digests {
        rules: RULES,
        frontier: node.disk.frontier(),
        groups: Vec::new(),
    };
    for group in groups {
        let mut hashers = vec![blake3::Hasher::new(); PROOF_BUCKETS];
        for (id, state) in objects(node, *group)? {
            let hasher = &mut hashers[usize::from(id.0[15])];
            hasher.update(&id.0);
            hasher.update(&state);
        }
        let of_group = |author: &sync_engine::LogId| author.group == *group;
        digests.groups.push(GroupDigest {
            group: *group,
            buckets: Box::new(std::array::from_fn(|at| short(&hashers[at]))),
            pending: node
                .disk
                .unapplied()
                .iter()
                .filter(|(log, _)| of_group(log))
                .count() as u64,
            quarantined: node
                .disk
                .quarantined()
                .keys()
                .filter(|(log, _)| of_group(log))
                .count() as u64,
        });
    }
    Ok(digests)
}

/// The answer to `Effect::DigestItems`.
///
/// # Errors
/// When a document cannot be read from the disk.
pub fn items(node: &mut Node, group: GroupId, buckets: &[u8]) -> Result<DigestItems, String> {
    let objects = objects(node, group)?
        .into_iter()
        .filter(|(id, _)| buckets.contains(&id.0[15]));
    Ok(DigestItems {
        frontier: node.disk.frontier(),
        items: objects.map(|(id, state)| (ObjectId(id.0), state)).collect(),
    })
}
