//! The engine: one value that takes inputs and gives effects.

use std::collections::VecDeque;

use crate::frontier::Frontier;
use crate::io::{
    Counters, Effect, Input, Interest, Limits, LocalNode, Now, OwnLogConflict, PeerView,
};
use crate::trust::Trust;

/// Replication with every connected peer.
pub struct Engine {
    trust: Trust,
    frontier: Frontier,
    counters: Counters,
    effects: VecDeque<Effect>,
}

impl Engine {
    /// An engine without connections.
    pub fn new(
        _seed: u64,
        _now: Now,
        _local: LocalNode,
        trust: Trust,
        frontier: Frontier,
        _interest: Interest,
        _limits: Limits,
    ) -> Self {
        Self {
            trust,
            frontier,
            counters: Counters::default(),
            effects: VecDeque::new(),
        }
    }

    /// Takes one input. Effects are to be drained after each.
    pub fn handle(&mut self, _now: Now, _input: Input) {}

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to call again with [`Input::Timeout`], milliseconds on the monotonic clock, and why.
    pub fn poll_timeout(&self) -> Option<(u64, &'static str)> {
        None
    }

    /// Who may do what.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// What is on our disk.
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// Every peer met since the start, and every member.
    pub fn peers(&self) -> Vec<PeerView> {
        Vec::new()
    }

    /// What was counted since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The first conflict about a log of ours, if any peer showed one.
    pub fn own_log_conflict(&self) -> Option<&OwnLogConflict> {
        None
    }
}
