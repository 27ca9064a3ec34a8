//! Marks: frontiers that we held, each named by its hash, so that two nodes that meet again need only say what moved.
//!
//! A mark is agreed on when both ends hold exactly the same of all that both want. Its name is a hash over the whole of
//! it, so it does not matter with whom it was agreed on first: whoever knows a mark of that name knows its content.
//! Invariant: a mark that is kept describes entries that were on our disk when it was made, and those never go away from
//! above the floor.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::frontier::{Frontier, LogFrontier};
use crate::frontier_wire;
use crate::ids::{ChainHash, GroupId, Lane, LogId, NodeId, Seq, byte_vec};
use crate::io::Interest;

/// Marks kept. At 1,000 authors with five logs each one takes some 400 KB; peers whose mark is gone are told the whole
/// frontier, a few kilobytes.
pub const MARKS_MAX: usize = 32;

/// The name of a frontier that two nodes held: 16 bytes of BLAKE3 over its scope, logs, heights and chain hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MarkHash(pub [u8; 16]);

/// A frontier that we held, of all that two nodes want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Its name.
    pub hash: MarkHash,
    /// What it covers.
    pub scope: Interest,
    /// Per log the newest entry, in the order of the logs.
    pub heights: Vec<(LogId, Seq)>,
}

impl Mark {
    /// The mark of a frontier as it is now.
    pub(crate) fn of(frontier: &Frontier, scope: Interest) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("muster 2026 frontier mark 1");
        for (kind, count) in [(1_u8, scope.groups.len()), (2, scope.lanes.len())] {
            hasher.update(&[kind]);
            hasher.update(&(count as u64).to_le_bytes());
        }
        for group in &scope.groups {
            hasher.update(&group.0);
        }
        for lane in &scope.lanes {
            hasher.update(&[u8::from(*lane)]);
        }
        let mut heights = Vec::new();
        for (log, held) in frontier.iter().filter(|(log, _)| scope.covers(log)) {
            hasher.update(&log.to_bytes());
            hasher.update(&held.height.0.to_le_bytes());
            hasher.update(&held.chain.0);
            heights.push((*log, held.height));
        }
        let mut hash = [0; 16];
        hash.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self {
            hash: MarkHash(hash),
            scope,
            heights,
        }
    }

    /// The mark as it is kept on a disk: some 60 bytes an author.
    pub fn to_bytes(&self) -> Vec<u8> {
        let heights: BTreeMap<LogId, Seq> = self.heights.iter().copied().collect();
        let frontier: Frontier = self
            .heights
            .iter()
            .map(|(log, height)| {
                let held = LogFrontier {
                    floor: Seq(1),
                    height: *height,
                    chain: ChainHash::ZERO,
                };
                (*log, held)
            })
            .collect();
        let logs = frontier_wire::encode(&frontier, &heights, |_, _| true, |_| None);
        let kept = Kept {
            hash: self.hash,
            groups: self.scope.groups.clone(),
            lanes: self.scope.lanes.clone(),
            logs,
        };
        postcard::to_allocvec(&kept).expect("a mark of vectors always encodes")
    }

    /// Reads what [`Mark::to_bytes`] wrote; `None` when it is nothing of that kind.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let kept: Kept = postcard::from_bytes(bytes).ok()?;
        let claims = frontier_wire::decode(&kept.logs, |_| None).ok()?;
        Some(Self {
            hash: kept.hash,
            scope: Interest {
                groups: kept.groups,
                lanes: kept.lanes,
            },
            heights: claims
                .logs
                .into_iter()
                .map(|(log, claim)| (log, claim.stored))
                .collect(),
        })
    }

    /// The newest entry of a log then; [`Seq::NONE`] when there was none.
    pub fn height(&self, log: &LogId) -> Seq {
        self.heights
            .binary_search_by_key(log, |(log, _)| *log)
            .map_or(Seq::NONE, |at| self.heights[at].1)
    }
}

#[derive(Serialize, Deserialize)]
struct Kept {
    hash: MarkHash,
    groups: Vec<GroupId>,
    lanes: Vec<Lane>,
    #[serde(with = "byte_vec")]
    logs: Vec<u8>,
}

/// What a node remembers of its peers over a restart; given back with [`crate::Engine::recall`].
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Memory {
    /// Marks, the oldest first.
    pub marks: Vec<Mark>,
    /// The newest mark agreed on with each peer.
    pub peers: Vec<(NodeId, MarkHash)>,
}

/// The marks kept, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Marks(VecDeque<Arc<Mark>>);

impl Marks {
    pub(crate) fn find(&self, hash: MarkHash) -> Option<&Arc<Mark>> {
        self.0.iter().rev().find(|mark| mark.hash == hash)
    }

    /// Keeps a mark; says whether it is new. Past the bound the oldest one goes that is nobody's newest, else the oldest.
    pub(crate) fn keep(&mut self, mark: Arc<Mark>, is_used: impl Fn(MarkHash) -> bool) -> bool {
        if self.find(mark.hash).is_some() {
            return false;
        }
        if self.0.len() >= MARKS_MAX {
            let unused = self.0.iter().position(|mark| !is_used(mark.hash));
            self.0.remove(unused.unwrap_or(0));
        }
        self.0.push_back(mark);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Incarnation;

    fn log(author: u8, lane: Lane) -> LogId {
        LogId {
            author: NodeId([author; 32]),
            incarnation: Incarnation(1),
            group: GroupId::SHARED,
            lane,
        }
    }

    fn frontier(heights: &[(LogId, u64)]) -> Frontier {
        let mut frontier = Frontier::new();
        for (log, height) in heights {
            frontier.advance(*log, Seq(*height), ChainHash([*height as u8; 32]));
        }
        frontier
    }

    #[test]
    fn a_mark_is_named_by_what_both_want_and_by_nothing_else() {
        let life = (log(1, Lane::Life), 5);
        let raw = (log(1, Lane::Raw), 9);
        let scope = Interest::default;
        let one = Mark::of(&frontier(&[life]), scope());
        let with_raw = Mark::of(&frontier(&[life, raw]), scope());
        assert_eq!(one, with_raw);
        let other = Mark::of(&frontier(&[(life.0, 6)]), scope());
        assert_ne!(one.hash, other.hash);
        let wider = Interest {
            groups: Vec::new(),
            lanes: vec![Lane::Raw],
        };
        assert_ne!(one.hash, Mark::of(&frontier(&[life]), wider).hash);
        assert_eq!(
            (one.height(&life.0), one.height(&raw.0)),
            (Seq(5), Seq::NONE)
        );
    }

    #[test]
    fn a_mark_reads_back_from_the_disk() {
        let scope = Interest {
            groups: vec![GroupId([3; 16])],
            lanes: vec![Lane::Raw],
        };
        let logs = [(log(1, Lane::Life), 5), (log(2, Lane::Raw), 900)];
        let mark = Mark::of(&frontier(&logs), scope);
        assert_eq!(Mark::from_bytes(&mark.to_bytes()), Some(mark));
        assert_eq!(Mark::from_bytes(&[7; 30]), None);
    }

    #[test]
    fn marks_that_somebody_stands_at_outlive_the_others() {
        let mut marks = Marks::default();
        let mark = |height| {
            Mark::of(
                &frontier(&[(log(1, Lane::Life), height)]),
                Interest::default(),
            )
        };
        let used = mark(1).hash;
        for height in 1..=MARKS_MAX as u64 + 5 {
            assert!(marks.keep(Arc::new(mark(height)), |hash| hash == used));
        }
        assert!(!marks.keep(Arc::new(mark(1)), |_| false), "known already");
        assert_eq!(marks.0.len(), MARKS_MAX);
        assert!(marks.find(used).is_some());
        assert!(marks.find(mark(2).hash).is_none());
    }
}
