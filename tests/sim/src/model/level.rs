//! Whether two who have been connected for long have the same, in the middle of it all.
//!
//! At the end of a run everything is healed, and what was lost on a connection may come with the next. So the model also
//! asks before each burst, after hours in which nobody wrote and no disk failed.

use std::collections::BTreeMap;

use sync_engine::{MayWrite, NodeId};

use crate::node::Node;

/// A session that has been live for so long, milliseconds, has nothing left to send: the longest backlog over the
/// thinnest link takes minutes.
const LONG_MS: u64 = 30 * 60_000;

/// Since when which node has had a live session with which.
#[derive(Debug, Default)]
pub struct Sessions(BTreeMap<(NodeId, NodeId), u64>);

impl Sessions {
    /// A node's session with a peer is live.
    pub fn begin(&mut self, node: NodeId, peer: NodeId, now_ms: u64) {
        self.0.insert((node, peer), now_ms);
    }

    /// It is not, or no longer.
    pub fn end(&mut self, node: NodeId, peer: NodeId) {
        self.0.remove(&(node, peer));
    }

    /// A node is off.
    pub fn forget(&mut self, node: NodeId) {
        self.0.retain(|(of, _), _| *of != node);
    }

    /// Whether every two with long sessions have the same, as far as both know the authors.
    ///
    /// # Errors
    /// Who lacks what.
    pub fn check(&self, nodes: &[Node], now_ms: u64) -> Result<(), String> {
        let long = |one: &Node, other: &Node| {
            let since = self.0.get(&(one.id(), other.id()));
            since.is_some_and(|since| since + LONG_MS <= now_ms)
        };
        for sender in nodes {
            for receiver in nodes {
                let Some(running) = receiver.running.as_ref() else {
                    continue;
                };
                if !long(sender, receiver) || !long(receiver, sender) {
                    continue;
                }
                let held = receiver.disk.frontier();
                for (log, theirs) in sender.disk.frontier().iter() {
                    let may_write = running.engine.trust().may_write(log) == MayWrite::Yes;
                    let height = held.head(log).seq;
                    if may_write && receiver.wants(log) && height < theirs.height {
                        return Err(format!(
                            "{} has {height} of {log} after hours with {}, which has {}",
                            receiver.who.grant.name, sender.who.grant.name, theirs.height
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}
