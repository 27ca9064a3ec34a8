//! How long a frontier is when it travels, for people who wonder what a greeting costs.

use std::collections::BTreeMap;

use crate::frontier::Frontier;
use crate::frontier_wire;
use crate::ids::{LogId, Seq};
use crate::marks::Mark;
use crate::members::Members;
use crate::trust::Trust;

/// Bytes of a frontier in the forms that docs/spec/sync.md describes, without the frame around them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrontierSize {
    /// All of it, authors written out: to who counts members in another way.
    pub written_out: usize,
    /// All of it, members by index: to who counts them as we do.
    pub indexed: usize,
}

impl FrontierSize {
    /// The sizes of a frontier of which everything up to `applied` is applied.
    pub fn of(frontier: &Frontier, applied: &BTreeMap<LogId, Seq>, trust: &Trust) -> Self {
        let members = Members::of(trust);
        let size = |indexed: bool| {
            let index = |node: &_| members.index_of(node).filter(|_| indexed);
            frontier_wire::encode(frontier, applied, |_, _| true, index).len()
        };
        Self {
            written_out: size(false),
            indexed: size(true),
        }
    }
}

/// How many bytes say what moved since `mark`, which is all that a peer needs to hear that was level with us then.
pub fn frontier_size_since(
    mark: &Mark,
    frontier: &Frontier,
    applied: &BTreeMap<LogId, Seq>,
) -> usize {
    let moved = |log: &LogId, height: Seq| {
        let settled = applied.get(log).is_some_and(|applied| *applied >= height);
        !mark.scope.covers(log) || mark.height(log) != height || !settled
    };
    frontier_wire::encode(
        frontier,
        applied,
        |log, held| moved(log, held.height),
        |_| None,
    )
    .len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ChainHash, GroupId, Incarnation, Lane, NodeId};
    use crate::io::Interest;
    use crate::trust::Genesis;

    #[test]
    fn what_moved_since_a_mark_is_short_and_nothing_is_a_byte() {
        let trust = Trust::new(Genesis {
            title: String::new(),
            root_key: [1; 32],
            successor_hash: [2; 32],
            created_wall_ms: 3,
            nonce: [4; 16],
        });
        let log = |author: u8| LogId {
            author: NodeId([author; 32]),
            incarnation: Incarnation(1),
            group: GroupId::SHARED,
            lane: Lane::Life,
        };
        let mut frontier = Frontier::new();
        let mut applied = BTreeMap::new();
        for author in 0..100 {
            frontier.advance(log(author), Seq(9), ChainHash([author; 32]));
            applied.insert(log(author), Seq(9));
        }
        let mark = Mark::of(&frontier, Interest::default());
        assert_eq!(frontier_size_since(&mark, &frontier, &applied), 1);
        frontier.advance(log(5), Seq(10), ChainHash([6; 32]));
        applied.insert(log(5), Seq(10));
        let since = frontier_size_since(&mark, &frontier, &applied);
        assert!((60..80).contains(&since), "{since}");
        // Nobody is a member of this operation, so that there are no numbers to say.
        let size = FrontierSize::of(&frontier, &applied, &trust);
        assert_eq!(size.indexed, size.written_out);
        assert!(size.written_out > 5_000, "{size:?}");
    }
}
