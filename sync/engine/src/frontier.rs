//! What a node has: per log the oldest entry held, the newest contiguous one stored, and the chain hash there.
//!
//! Invariant: a height never goes down. Whoever calls [`Frontier::advance`] has committed the entries first.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::chain::Head;
use crate::ids::{ChainHash, LogId, Seq};

/// What a node has of one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFrontier {
    /// The oldest entry held: 1 unless older ones were pruned.
    pub floor: Seq,
    /// The newest entry stored with all from the floor on.
    pub height: Seq,
    /// The chain hash at the height.
    pub chain: ChainHash,
}

impl LogFrontier {
    /// The newest entry, as a head.
    pub const fn head(&self) -> Head {
        Head {
            seq: self.height,
            chain: self.chain,
        }
    }
}

/// What a node has, of every log it knows.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frontier(BTreeMap<LogId, LogFrontier>);

impl Frontier {
    /// Nothing at all.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// What is held of one log; `None` when nothing is.
    pub fn get(&self, log: &LogId) -> Option<&LogFrontier> {
        self.0.get(log)
    }

    /// The newest entry of one log; [`Head::EMPTY`] when nothing is held.
    pub fn head(&self, log: &LogId) -> Head {
        self.0.get(log).map_or(Head::EMPTY, LogFrontier::head)
    }

    /// Sets what is held of one log, as read from the store.
    pub fn insert(&mut self, log: LogId, held: LogFrontier) {
        self.0.insert(log, held);
    }

    /// Moves one log's height up; says whether it moved. A lower or equal height changes nothing.
    pub fn advance(&mut self, log: LogId, height: Seq, chain: ChainHash) -> bool {
        let held = self.0.entry(log).or_insert(LogFrontier {
            floor: Seq(1),
            height: Seq::NONE,
            chain: ChainHash::ZERO,
        });
        if height <= held.height {
            return false;
        }
        held.height = height;
        held.chain = chain;
        true
    }

    /// All logs in order.
    pub fn iter(&self) -> impl Iterator<Item = (&LogId, &LogFrontier)> {
        self.0.iter()
    }

    /// How many logs are known.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// BLAKE3 over all logs in order: equal on two nodes that have the same.
    pub fn hash(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("muster 2026 frontier hash 1");
        for (log, held) in &self.0 {
            hasher.update(&log.to_bytes());
            hasher.update(&held.floor.0.to_le_bytes());
            hasher.update(&held.height.0.to_le_bytes());
            hasher.update(&held.chain.0);
        }
        *hasher.finalize().as_bytes()
    }

    /// The logs that are not the same as in `older`.
    pub fn diff_since<'a>(
        &'a self,
        older: &'a Self,
    ) -> impl Iterator<Item = (&'a LogId, &'a LogFrontier)> {
        self.0
            .iter()
            .filter(|(log, held)| older.get(log) != Some(*held))
    }
}

impl FromIterator<(LogId, LogFrontier)> for Frontier {
    fn from_iter<T: IntoIterator<Item = (LogId, LogFrontier)>>(logs: T) -> Self {
        Self(logs.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{GroupId, Incarnation, Lane, NodeId};

    fn log(author: u8) -> LogId {
        LogId {
            author: NodeId([author; 32]),
            incarnation: Incarnation(1),
            group: GroupId::SHARED,
            lane: Lane::Life,
        }
    }

    #[test]
    fn a_height_never_goes_down() {
        let mut frontier = Frontier::new();
        assert!(frontier.advance(log(1), Seq(5), ChainHash([5; 32])));
        assert!(!frontier.advance(log(1), Seq(4), ChainHash([4; 32])));
        assert_eq!(frontier.head(&log(1)).seq, Seq(5));
        assert_eq!(frontier.head(&log(2)), Head::EMPTY);
    }

    #[test]
    fn equal_frontiers_hash_equally_and_differ_in_nothing() {
        let mut one = Frontier::new();
        one.advance(log(1), Seq(1), ChainHash([1; 32]));
        let mut two = one.clone();
        assert_eq!(one.hash(), two.hash());
        assert_eq!(one.diff_since(&two).count(), 0);
        two.advance(log(2), Seq(1), ChainHash([2; 32]));
        assert_ne!(one.hash(), two.hash());
        assert_eq!(
            two.diff_since(&one)
                .map(|(log, _)| *log)
                .collect::<Vec<_>>(),
            [log(2)]
        );
    }
}
