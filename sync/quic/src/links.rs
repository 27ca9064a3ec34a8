//! Which nodes this one is connected to, and which of two connections between a pair survives.
//!
//! Always: a pair keeps one connection, and both ends keep the same one without asking each other. Connections meet only
//! in a race (both dialled at the same moment) or when one end does not know yet that the old connection is dead.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sync_engine::{ConnId, NodeId};

/// Nodes remembered without a connection, for their last error: members and strangers together.
const KNOWN_MAX: usize = 4096;

/// A link that was live this long counts as one that works: when it ends, the peer is expected back soon.
const HELD_MIN: Duration = Duration::from_secs(2);

/// A connection that the engine knows.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) conn: ConnId,
    pub(crate) connection: quinn::Connection,
    pub(crate) dialled: bool,
    pub(crate) since: Instant,
    /// The life of the other end's program, once its preface is here.
    pub(crate) boot: Option<u64>,
}

/// What is remembered of a node.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) link: Option<Link>,
    /// A dial of ours has come through and is about to become the link.
    reserved: bool,
    /// When the present link, or with none the last one, became live.
    live_since: Option<Instant>,
    /// The last link was live for a while.
    held: bool,
    /// When a link that held was last live.
    pub(crate) last_live: Option<Instant>,
    pub(crate) last_error: Option<String>,
}

impl Known {
    /// Whether the last link was live for a while before it ended.
    pub(crate) fn held(&self) -> bool {
        self.held
    }
}

/// The table of nodes.
#[derive(Default)]
pub(crate) struct Links {
    nodes: BTreeMap<NodeId, Known>,
}

impl Links {
    pub(crate) fn get(&self, node: NodeId) -> Option<&Known> {
        self.nodes.get(&node)
    }

    pub(crate) fn link(&self, node: NodeId) -> Option<&Link> {
        self.nodes.get(&node)?.link.as_ref()
    }

    pub(crate) fn is_connected(&self, node: NodeId) -> bool {
        self.link(node).is_some()
    }

    /// Connected nodes that `is_member` does not know, among those that dialled us.
    pub(crate) fn strangers(&self, is_member: impl Fn(NodeId) -> bool) -> usize {
        let guest = |(node, known): &(&NodeId, &Known)| {
            known.link.as_ref().is_some_and(|link| !link.dialled) && !is_member(**node)
        };
        self.nodes.iter().filter(guest).count()
    }

    /// Claims `node` for a dial that has come through. False: there is a connection already, or another dial is ahead.
    pub(crate) fn reserve(&mut self, node: NodeId) -> bool {
        let known = self.entry(node);
        let free = known.link.is_none() && !known.reserved;
        known.reserved |= free;
        free
    }

    pub(crate) fn unreserve(&mut self, node: NodeId) {
        if let Some(known) = self.nodes.get_mut(&node) {
            known.reserved = false;
        }
    }

    pub(crate) fn opened(&mut self, node: NodeId, link: Link) {
        let known = self.entry(node);
        known.reserved &= !link.dialled;
        known.link = Some(link);
        known.live_since = None;
        known.held = false;
    }

    pub(crate) fn set_boot(&mut self, node: NodeId, conn: ConnId, boot: u64) {
        let link = self
            .nodes
            .get_mut(&node)
            .and_then(|known| known.link.as_mut());
        if let Some(link) = link.filter(|link| link.conn == conn) {
            link.boot = Some(boot);
        }
    }

    /// The exchange with `node` is live.
    pub(crate) fn set_live(&mut self, node: NodeId) {
        let Some(known) = self.nodes.get_mut(&node) else {
            return;
        };
        if known.link.is_some() && known.live_since.is_none() {
            known.live_since = Some(Instant::now());
            known.last_error = None;
        }
    }

    /// The connection is gone. False where it was not the present one.
    pub(crate) fn closed(&mut self, node: NodeId, conn: ConnId, error: Option<String>) -> bool {
        let Some(known) = self.nodes.get_mut(&node) else {
            return false;
        };
        if known.link.as_ref().is_none_or(|link| link.conn != conn) {
            return false;
        }
        known.link = None;
        known.last_error = error;
        known.held = known
            .live_since
            .is_some_and(|since| since.elapsed() >= HELD_MIN);
        if known.held {
            known.last_live = Some(Instant::now());
        }
        true
    }

    fn entry(&mut self, node: NodeId) -> &mut Known {
        if self.nodes.len() >= KNOWN_MAX && !self.nodes.contains_key(&node) {
            self.nodes.retain(|_, known| {
                known.link.is_some() || known.reserved || known.last_live.is_some()
            });
        }
        self.nodes.entry(node).or_default()
    }
}

/// One of two connections that meet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meeting {
    pub(crate) dialled: bool,
    pub(crate) boot: Option<u64>,
}

/// Whether a connection that has just come up replaces the one that is there.
///
/// A dialler checks for a connection before it sends its preface, so that a newcomer always comes from an end that knew
/// of none at that moment. From there:
///
/// - Same direction: the dialler has lost the old one. The newcomer wins.
/// - Dialled by the node with the smaller id: wins, at both ends.
/// - Dialled by the node with the larger id: the smaller decides, alone. It keeps its own connection if that is young
///   and the peer still lives the same life (a race), and takes the newcomer otherwise (the old one is dead, only this
///   end has not noticed).
pub(crate) fn newcomer_wins(
    us: NodeId,
    peer: NodeId,
    existing: Meeting,
    existing_age: Duration,
    newcomer: Meeting,
    race: Duration,
) -> bool {
    if existing.dialled == newcomer.dialled {
        return true;
    }
    let newcomer_by_smaller = newcomer.dialled == (us < peer);
    if newcomer_by_smaller {
        return true;
    }
    if us > peer {
        return false;
    }
    let other_life = matches!((existing.boot, newcomer.boot), (Some(a), Some(b)) if a != b);
    other_life || existing_age > race
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: NodeId = NodeId([1; 32]);
    const LARGE: NodeId = NodeId([2; 32]);
    const RACE: Duration = Duration::from_secs(12);
    const YOUNG: Duration = Duration::from_secs(1);
    const OLD: Duration = Duration::from_secs(60);

    fn meeting(dialled: bool, boot: u64) -> Meeting {
        Meeting {
            dialled,
            boot: Some(boot),
        }
    }

    #[test]
    fn in_a_race_both_ends_keep_the_connection_that_the_smaller_node_dialled() {
        // Each end sees the two connections in either order.
        for (us, peer) in [(SMALL, LARGE), (LARGE, SMALL)] {
            let by_small = meeting(us == SMALL, 7);
            let by_large = meeting(us == LARGE, 7);
            assert!(newcomer_wins(us, peer, by_large, YOUNG, by_small, RACE));
            assert!(!newcomer_wins(us, peer, by_small, YOUNG, by_large, RACE));
        }
    }

    #[test]
    fn a_restarted_peer_is_let_in_at_once() {
        for (us, peer) in [(SMALL, LARGE), (LARGE, SMALL)] {
            for old in [true, false] {
                // It dials us: from our side never `dialled`.
                assert!(
                    newcomer_wins(us, peer, meeting(old, 7), YOUNG, meeting(false, 8), RACE),
                    "{us:?} {old}"
                );
            }
        }
    }

    #[test]
    fn a_peer_that_lost_an_old_connection_is_let_in_at_once() {
        for (us, peer) in [(SMALL, LARGE), (LARGE, SMALL)] {
            for old in [true, false] {
                assert!(newcomer_wins(
                    us,
                    peer,
                    meeting(old, 7),
                    OLD,
                    meeting(false, 7),
                    RACE
                ));
            }
        }
    }

    #[test]
    fn only_one_dial_to_a_node_comes_through() {
        let mut links = Links::default();
        assert!(links.reserve(SMALL));
        assert!(!links.reserve(SMALL));
        links.unreserve(SMALL);
        assert!(links.reserve(SMALL));
    }
}
