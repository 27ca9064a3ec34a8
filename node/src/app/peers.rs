//! The other nodes, as people see them: in reach or not, what they lack of ours, what we lack of theirs.
//!
//! What a connected node lacks the engine knows. Of one that is not connected the engine knows what it lacked when it
//! left; it may have got that from others since, and says so in its receipts.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use store::Lacking;
use sync_engine::{GroupId, Lane, LaneBehind, NodeId, PeerState, ProofView};
use sync_quic::{PeerStatus, SyncNode};

use super::clock::rfc3339_wall;
use super::{App, AppError, receipts};

/// By lane, in the order of [`Lane::ALL`].
type Behind = [LaneBehind; Lane::ALL.len()];

impl App {
    /// What a node is called by its grant.
    pub(in crate::app) fn name_of(&self, node: NodeId) -> Option<String> {
        let trust = self.trust.load();
        trust.grant(node).map(|grant| grant.name.clone())
    }

    /// The peers as the API shows them.
    pub(in crate::app) async fn peer_values(&self) -> Result<Vec<Value>, AppError> {
        let statuses = self.sync.get().map(SyncNode::peers).unwrap_or_default();
        let away: Vec<NodeId> = statuses
            .iter()
            .filter(|status| status.state() != PeerState::Live)
            .filter_map(|status| status.node)
            .collect();
        let lacking: BTreeMap<NodeId, Lacking> = self
            .read(move |reader| {
                let lacking = reader.lacking(&away, &GroupId::SHARED)?;
                Ok(away.into_iter().zip(lacking).collect())
            })
            .await?;
        let trust = self.trust.load();
        let mut values: Vec<Value> = Vec::new();
        let mut shown = BTreeSet::new();
        for status in &statuses {
            shown.extend(status.node);
            let name = status.node.and_then(|node| self.name_of(node));
            let lacks = status.node.and_then(|node| lacking.get(&node));
            values.push(peer_value(status, name, lacks));
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
                    "agreed": agreed_value(ProofView::Unproven),
                }));
            }
        }
        Ok(values)
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

fn peer_value(status: &PeerStatus, name: Option<String>, lacks: Option<&Lacking>) -> Value {
    let view = status.view.as_ref();
    let behind = view.map(|view| match lacks {
        Some(lacks) => behind_while_away(&view.behind, lacks),
        None => view.behind,
    });
    let total = |of: fn(&LaneBehind) -> u64| behind.map(|lanes| lanes.iter().map(of).sum::<u64>());
    let last_seen = view.map(|view| view.last_seen_wall_ms).filter(|at| *at > 0);
    // What it holds is its own word, and counts while it can take it back.
    let connected = view.filter(|view| view.state == PeerState::Live);
    json!({
        "node_id": status.node.map(|node| node.to_string()),
        "name": name.or_else(|| view.and_then(|view| view.name.clone())),
        "state": state_word(status.state()),
        "last_seen": last_seen.map(rfc3339_wall),
        "behind_entries": total(|lane| lane.entries),
        "behind_bytes": total(|lane| lane.bytes),
        "behind": behind.as_ref().map_or_else(Vec::new, behind_by_lane),
        "missing_entries": connected.map(|view| view.missing_entries),
        "agreed": agreed_value(view.map_or(ProofView::Unproven, |view| view.proof)),
        "address": status.addr.map(|addr| addr.to_string()).or_else(|| status.configured.clone()),
        "rtt_ms": status.rtt_ms,
        "software": view.and_then(|view| view.software.clone()),
        "last_error": status.last_error,
        "violations": status.violations,
        "last_violation": status.last_violation,
        "refused_for_ms": status.refused_for_ms,
        "next_dial_in_ms": status.next_dial_in_ms,
        "datagrams_sent": status.datagrams_sent,
        "datagrams_received": status.datagrams_received,
        "bytes_sent": status.bytes_sent,
        "bytes_received": status.bytes_received,
    })
}

/// What a node lacks that is not connected: what both the engine and its receipts leave open. Lanes of which receipts do
/// not speak are left out: of what they carry it takes the latest when it comes.
fn behind_while_away(engine: &Behind, lacks: &Lacking) -> Behind {
    let mut behind = Behind::default();
    for (lane, behind) in Lane::ALL.into_iter().zip(&mut behind) {
        let counted = engine[lane as usize];
        let entries = counted.entries.min(lacks[lane as usize]);
        if receipts::is_about(lane) && entries > 0 {
            let mean_bytes = counted.bytes / counted.entries;
            *behind = LaneBehind {
                entries,
                bytes: entries.saturating_mul(mean_bytes),
            };
        }
    }
    behind
}

/// Whether it has made the same of the same logs, as last compared.
fn agreed_value(proof: ProofView) -> Value {
    match proof {
        ProofView::Unproven => {
            json!({ "state": "unproven", "at": null, "digest": null, "objects": 0 })
        }
        ProofView::Equal { at_wall_ms, digest } => json!({
            "state": "equal",
            "at": rfc3339_wall(at_wall_ms),
            "digest": HEXLOWER.encode(&digest),
            "objects": 0,
        }),
        ProofView::Differs {
            at_wall_ms,
            objects,
        } => json!({
            "state": "differs",
            "at": rfc3339_wall(at_wall_ms),
            "digest": null,
            "objects": objects,
        }),
    }
}

/// The lanes of which it lacks something, the most urgent first.
fn behind_by_lane(behind: &Behind) -> Vec<Value> {
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
        let mut behind = Behind::default();
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

    #[test]
    fn a_node_that_is_away_lacks_what_neither_we_gave_it_nor_its_receipts_say_it_has() {
        let ten = LaneBehind {
            entries: 10,
            bytes: 2_000,
        };
        let engine: Behind = [ten; Lane::ALL.len()];
        let mut lacks = [10; Lane::ALL.len()];
        lacks[Lane::Trust as usize] = 0;
        lacks[Lane::Life as usize] = 4;
        let behind = behind_while_away(&engine, &lacks);
        let entries = behind.map(|lane| lane.entries);
        assert_eq!(entries, [0, 10, 4, 10, 0, 0, 0]);
        assert_eq!(behind[Lane::Life as usize].bytes, 800);
    }
}
