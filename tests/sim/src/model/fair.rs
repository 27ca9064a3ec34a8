//! Whether the authors of a lane take turns.
//!
//! When a session begins, the model notes what the receiver lacks of each author. From then on no author's backlog may
//! bring several runs while another's has not begun. Runs that were written since do not count: they are passed on as
//! they come. Invariant: whatever may honestly delay one author's turn (a disk that fails, a session that ends) ends the
//! watch.

use std::collections::BTreeMap;

use sync_engine::{Lane, LogId, MayWrite, NodeId, Seq, VerifiedRun};

use crate::node::Node;

/// Runs of one author before the first of another: one is its turn, and a turn can be lost to a run that came from
/// elsewhere.
const RUNS_MAX: u32 = 4;

/// What one receiver lacked of one sender's lane.
#[derive(Debug, Default)]
struct Backlog {
    /// How far the sender had each log.
    heights: BTreeMap<LogId, Seq>,
    /// Runs that each author brought.
    runs: BTreeMap<NodeId, u32>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Fairness(BTreeMap<(NodeId, NodeId, Lane), Backlog>);

impl Fairness {
    /// The sender's session with the receiver is live.
    pub fn begin(&mut self, sender: &Node, receiver: &Node) {
        let (Some(sending), Some(running)) = (&sender.running, &receiver.running) else {
            return;
        };
        let held = receiver.disk.frontier();
        // What is being written is not the sender's to send yet.
        for (log, theirs) in sending.engine.frontier().iter() {
            let may_write = running.engine.trust().may_write(log) == MayWrite::Yes;
            if may_write && receiver.wants(log) && held.head(log).seq < theirs.height {
                let backlog = self
                    .0
                    .entry((sender.id(), receiver.id(), log.lane))
                    .or_default();
                backlog.heights.insert(*log, theirs.height);
            }
        }
    }

    /// Something happened to this node that may delay one author honestly, or its sessions are gone.
    pub fn forget(&mut self, node: NodeId) {
        self.0
            .retain(|(sender, receiver, _), _| *sender != node && *receiver != node);
    }

    /// The session of these two is gone.
    pub fn end(&mut self, one: NodeId, other: NodeId) {
        self.0.retain(|(sender, receiver, _), _| {
            ![(one, other), (other, one)].contains(&(*sender, *receiver))
        });
    }

    /// The receiver hands runs from the sender to its store.
    ///
    /// # Errors
    /// When one author of the sender's lane has waited for too many runs of another.
    pub fn check(
        &mut self,
        sender: NodeId,
        receiver: &Node,
        runs: &[VerifiedRun],
    ) -> Result<(), String> {
        for run in runs {
            let log = run.log();
            // What came from elsewhere was this sender's turn, too: it sent the same, a moment later.
            for ((_, to, lane), backlog) in &mut self.0 {
                if *to == receiver.id() && *lane == log.lane {
                    backlog.runs.entry(log.author).or_default();
                }
            }
            let Some(backlog) = self.0.get_mut(&(sender, receiver.id(), log.lane)) else {
                continue;
            };
            let of_backlog = backlog
                .heights
                .get(log)
                .is_some_and(|height| run.head().seq <= *height);
            if !of_backlog {
                continue;
            }
            let count = backlog.runs.entry(log.author).or_default();
            *count += 1;
            if *count <= RUNS_MAX {
                continue;
            }
            let waits = backlog.heights.iter().find(|(other, height)| {
                !backlog.runs.contains_key(&other.author)
                    && receiver.disk.frontier().head(other).seq < **height
            });
            if let Some((other, _)) = waits {
                return Err(format!(
                    "{} got {RUNS_MAX} runs of {} and more before the first of {other}",
                    receiver.who.grant.name, log
                ));
            }
        }
        Ok(())
    }
}
