//! What must be true, kept beside the system: what was promised to users, and what nodes may claim.
//!
//! A violation is a sentence; the first one ends the run.

use std::collections::BTreeMap;

use sync_engine::{Counters, EntryHash, LogId, PeerState, ProgressItem, Seq};

use crate::node::Node;

/// What users were promised.
#[derive(Debug, Default)]
pub struct Model {
    acknowledged: BTreeMap<LogId, Vec<EntryHash>>,
    /// Entries promised so far.
    pub acknowledged_entries: u64,
}

impl Model {
    /// A node told its user that its own log is safe up to `seq`.
    pub fn acknowledge(&mut self, node: &Node, log: LogId, seq: Seq) {
        let promised = self.acknowledged.entry(log).or_default();
        while (promised.len() as u64) < seq.0 {
            let next = Seq(promised.len() as u64 + 1);
            let Some(hash) = node.disk.entry_hash(&log, next) else {
                return;
            };
            promised.push(hash);
            self.acknowledged_entries += 1;
        }
    }

    /// A node was told how far another is: it must be true of the other's disk, now and after any crash.
    pub fn check_claim(&self, claimer: &Node, item: &ProgressItem) -> Result<(), String> {
        let synced = claimer.disk.synced(&item.log);
        if item.stored > synced {
            return Err(format!(
                "{} acknowledged {} of {}, only {synced} would survive a crash",
                claimer.id, item.stored, item.log
            ));
        }
        if item.applied > item.stored {
            return Err(format!(
                "{} has applied more of {} than stored",
                claimer.id, item.log
            ));
        }
        Ok(())
    }

    /// Nothing that honest nodes do may be refused.
    pub fn check_counters(&self, node: &Node, counters: &Counters) -> Result<(), String> {
        let refused = [
            ("signature", counters.refused_signature),
            ("chain", counters.refused_chain),
            ("operation", counters.refused_operation),
            ("records", counters.refused_records),
            ("protocol", counters.refused_protocol),
            ("frames", counters.refused_frames),
            ("flow", counters.refused_flow),
            ("forks", counters.forks_seen),
        ];
        match refused.iter().find(|(_, count)| *count > 0) {
            Some((what, count)) => Err(format!(
                "{} refused an honest peer: {what} {count}",
                node.id
            )),
            None => Ok(()),
        }
    }

    /// After everything healed: every node has the same, nothing promised is missing, and each knows it of the others.
    pub fn check_end(&self, nodes: &[Node]) -> Result<(), String> {
        for node in nodes {
            for (log, promised) in &self.acknowledged {
                for (hash, seq) in promised.iter().zip(1..) {
                    if node.disk.entry_hash(log, Seq(seq)) != Some(*hash) {
                        return Err(format!(
                            "{} lacks acknowledged entry {seq} of {log}",
                            node.id
                        ));
                    }
                }
            }
            let Some(running) = &node.running else {
                return Err(format!("{} is off at the end", node.id));
            };
            if running.engine.frontier() != &node.disk.frontier() {
                return Err(format!("{}: engine and disk disagree", node.id));
            }
            if running.engine.frontier().hash() != nodes[0].disk.frontier().hash() {
                return Err(format!(
                    "{} and {} hold different logs",
                    node.id, nodes[0].id
                ));
            }
            self.check_counters(node, running.engine.counters())?;
            for peer in running.engine.peers() {
                if peer.state == PeerState::Live && peer.behind_entries > 0 {
                    return Err(format!(
                        "{} believes that {} lacks {} entries",
                        node.id, peer.node, peer.behind_entries
                    ));
                }
            }
        }
        Ok(())
    }
}
