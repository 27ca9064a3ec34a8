//! The members in the order in which frontiers count them.
//!
//! Invariant: a value never changes once it is made; a session keeps the one that its greeting spoke of, because the
//! answer counts by that one.

use std::sync::Arc;

use crate::frontier_wire::members_hash;
use crate::ids::NodeId;
use crate::trust::Trust;

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Members {
    nodes: Arc<[NodeId]>,
    hash: [u8; 8],
}

impl Members {
    pub(crate) fn of(trust: &Trust) -> Self {
        let nodes: Arc<[NodeId]> = trust.members().map(|(node, _)| *node).collect();
        Self {
            hash: members_hash(nodes.iter()),
            nodes,
        }
    }

    /// Equal for two nodes that count alike.
    pub(crate) fn hash(&self) -> [u8; 8] {
        self.hash
    }

    pub(crate) fn get(&self, index: usize) -> Option<NodeId> {
        self.nodes.get(index).copied()
    }

    pub(crate) fn index_of(&self, node: &NodeId) -> Option<usize> {
        self.nodes.binary_search(node).ok()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &NodeId> {
        self.nodes.iter()
    }
}
