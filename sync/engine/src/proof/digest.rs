//! What a shell says of its documents, and what it is told when a peer's are not the same.

use crate::frontier::Frontier;
use crate::ids::{GroupId, NodeId, ObjectId};
use crate::marks::MarkHash;

/// Buckets of a group's objects, by the last byte of their ids.
pub const PROOF_BUCKETS: usize = 256;

/// One question to the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProofId(pub u64);

/// What one group's documents and facts came to, in lanes 0 to 3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDigest {
    /// Which group.
    pub group: GroupId,
    /// 8 bytes per bucket: over the objects whose id ends with its number, in the order of their ids.
    pub buckets: Box<[[u8; 8]; PROOF_BUCKETS]>,
    /// Entries stored and not applied, because what they build on is missing or this node could not apply them.
    pub pending: u64,
    /// Entries judged invalid.
    pub quarantined: u64,
}

impl GroupDigest {
    /// Over all buckets.
    pub(super) fn digest(&self) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_derive_key("muster 2026 proof digest 1");
        for bucket in self.buckets.iter() {
            hasher.update(bucket);
        }
        let mut digest = [0; 16];
        digest.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        digest
    }
}

/// Digests of several groups and the frontier, all from one snapshot of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digests {
    /// Names the rules by which documents are made of entries: two programs that know different kinds make something else
    /// of the same logs, rightly, and are not compared.
    pub rules: u64,
    /// What the snapshot holds.
    pub frontier: Frontier,
    /// One per group that was asked for.
    pub groups: Vec<GroupDigest>,
}

/// Objects and 8 bytes over the state of each, and the frontier of the same snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestItems {
    /// What the snapshot holds.
    pub frontier: Frontier,
    /// In the order of their ids.
    pub items: Vec<(ObjectId, [u8; 8])>,
}

/// Two nodes hold the same logs and have made something else of them: one of the two is at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Who holds something else.
    pub peer: NodeId,
    /// The frontier that both hold.
    pub mark: MarkHash,
    /// The group.
    pub group: GroupId,
    /// What differs; none when only the counts below do.
    pub objects: Vec<DifferingObject>,
    /// Entries not applied: ours, theirs.
    pub pending: (u64, u64),
    /// Entries judged invalid: ours, theirs.
    pub quarantined: (u64, u64),
}

/// An object that two nodes see differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DifferingObject {
    /// Which.
    pub object: ObjectId,
    /// 8 bytes over its state here; `None` when it is not here.
    pub ours: Option<[u8; 8]>,
    /// The same there.
    pub theirs: Option<[u8; 8]>,
}

/// What the newest comparison with a peer came to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum ProofView {
    /// None was made since our start.
    #[default]
    Unproven,
    /// Both had made the same of the same logs.
    Equal {
        /// When, by our wall clock.
        at_wall_ms: u64,
        /// Over what both said: the same at both ends.
        digest: [u8; 16],
    },
    /// They had not.
    Differs {
        /// When, by our wall clock.
        at_wall_ms: u64,
        /// How many objects were found to differ.
        objects: u64,
    },
}
