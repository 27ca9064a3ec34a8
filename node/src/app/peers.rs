//! The other nodes, as people see them: in reach or not, what they lack of ours, what we lack of theirs.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sync_engine::{Lane, LaneBehind, PeerState};
use sync_quic::{PeerStatus, SyncNode};

use super::App;
use super::clock::rfc3339_wall;

impl App {
    /// The peers as the API shows them.
    pub(in crate::app) fn peer_values(&self) -> Vec<Value> {
        let trust = self.trust.load();
        let mut values: Vec<Value> = Vec::new();
        let mut shown = BTreeSet::new();
        for status in self.sync.get().map(SyncNode::peers).unwrap_or_default() {
            if let Some(node) = status.node {
                shown.insert(node);
            }
            let name = status
                .node
                .and_then(|node| trust.grant(node))
                .map(|grant| grant.name.clone());
            values.push(peer_value(&status, name));
        }
        for (node, grant) in trust.members() {
            if *node != self.me.node && !shown.contains(node) {
                values.push(json!({
                    "node_id": node.to_string(),
                    "name": grant.name,
                    "state": state_word(PeerState::Disconnected),
                    "last_seen": null,
                    "behind_entries": null,
                    "behind_bytes": null,
                    "behind": [],
                    "missing_entries": null,
                }));
            }
        }
        values
    }
}

/// The state of the exchange with a peer, in the word of the API.
pub(in crate::app) fn state_word(state: PeerState) -> &'static str {
    match state {
        PeerState::Greeting => "greeting",
        PeerState::Live => "connected",
        PeerState::Disconnected => "disconnected",
    }
}

fn peer_value(status: &PeerStatus, name: Option<String>) -> Value {
    let view = status.view.as_ref();
    let last_seen = view.map(|view| view.last_seen_wall_ms).filter(|at| *at > 0);
    // What it holds is its own word, and counts while it can take it back.
    let connected = view.filter(|view| view.state == PeerState::Live);
    json!({
        "node_id": status.node.map(|node| node.to_string()),
        "name": name.or_else(|| view.and_then(|view| view.name.clone())),
        "state": state_word(status.state()),
        "last_seen": last_seen.map(rfc3339_wall),
        "behind_entries": view.map(|view| view.behind_entries),
        "behind_bytes": view.map(|view| view.behind_bytes),
        "behind": view.map_or_else(Vec::new, |view| behind_by_lane(&view.behind)),
        "missing_entries": connected.map(|view| view.missing_entries),
        "address": status.addr.map(|addr| addr.to_string()).or_else(|| status.configured.clone()),
        "rtt_ms": status.rtt_ms,
        "software": view.and_then(|view| view.software.clone()),
        "last_error": status.last_error,
        "next_dial_in_ms": status.next_dial_in_ms,
        "datagrams_sent": status.datagrams_sent,
        "datagrams_received": status.datagrams_received,
        "bytes_sent": status.bytes_sent,
        "bytes_received": status.bytes_received,
    })
}

/// The lanes of which it lacks something, the most urgent first.
fn behind_by_lane(behind: &[LaneBehind; Lane::ALL.len()]) -> Vec<Value> {
    Lane::ALL
        .iter()
        .zip(behind)
        .filter(|(_, behind)| behind.entries > 0)
        .map(|(lane, behind)| {
            json!({ "lane": lane.to_string(), "entries": behind.entries, "bytes": behind.bytes })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_with_something_are_named_the_most_urgent_first() {
        let mut behind = [LaneBehind::default(); 7];
        assert_eq!(behind_by_lane(&behind), Vec::<Value>::new());
        behind[Lane::Coordination as usize] = LaneBehind {
            entries: 9,
            bytes: 2_700,
        };
        behind[Lane::Life as usize] = LaneBehind {
            entries: 3,
            bytes: 900,
        };
        assert_eq!(
            behind_by_lane(&behind),
            [
                json!({ "lane": "life", "entries": 3, "bytes": 900 }),
                json!({ "lane": "coordination", "entries": 9, "bytes": 2_700 }),
            ]
        );
    }
}
