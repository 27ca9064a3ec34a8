//! How far a peer is with one log, and how the exchange of it goes.

use std::collections::VecDeque;

use crate::frontier::LogFrontier;
use crate::frontier_wire::Claim;
use crate::ids::Seq;

/// One log in which a peer is not level with us, or which something is under way for.
#[derive(Debug, Default)]
pub(crate) struct PeerLog {
    /// On the peer's disk up to here: it said so, or sent the entries.
    pub(crate) stored: Seq,
    /// Applied there up to here, as it said.
    pub(crate) applied: Seq,
    /// The first bytes of the chain hash at `stored`, if known.
    pub(crate) chain: Option<[u8; 8]>,
    /// Sent up to here on this connection.
    pub(crate) sent: Seq,
    /// Runs sent and not acknowledged: last entry and weight.
    outstanding: VecDeque<(Seq, usize)>,
    /// How the exchange of it goes on this connection.
    pub(crate) phase: LogPhase,
}

/// How the exchange of one log with one peer goes on this connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum LogPhase {
    /// Entries flow.
    #[default]
    Flowing,
    /// We asked the peer to send it again from there, and do not ask twice for the same.
    AskedAgain { from: Seq, plain: bool },
    /// We dropped a run of it because its author's grant has not come: we ask for it once we know the author.
    Parked,
    /// The two of us hold different branches: nothing of it is exchanged any more.
    Forked,
}

impl PeerLog {
    /// As a level log stands.
    pub(crate) fn level(held: Option<&LogFrontier>) -> Self {
        let height = held.map_or(Seq::NONE, |held| held.height);
        Self {
            stored: height,
            applied: height,
            chain: held.map(|held| held.chain.short()),
            sent: height,
            ..Self::default()
        }
    }

    /// Whether nothing of it has to be remembered: it is as [`PeerLog::level`] would make it.
    pub(super) fn is_level(&self, held: Option<&LogFrontier>) -> bool {
        let height = held.map_or(Seq::NONE, |held| held.height);
        self.stored == height
            && self.applied == height
            && self
                .chain
                .is_none_or(|chain| held.is_none_or(|held| held.chain.short() == chain))
            && self.outstanding.is_empty()
            && matches!(self.phase, LogPhase::Flowing | LogPhase::AskedAgain { .. })
    }

    /// Whether the two of us hold different branches.
    pub(crate) fn is_forked(&self) -> bool {
        self.phase == LogPhase::Forked
    }

    /// Notes that the two of us hold different branches; whether that is news.
    pub(crate) fn fork(&mut self) -> bool {
        std::mem::replace(&mut self.phase, LogPhase::Forked) != LogPhase::Forked
    }

    /// Notes that we dropped a run of it until its author is known.
    pub(crate) fn park(&mut self) {
        if !self.is_forked() {
            self.phase = LogPhase::Parked;
        }
    }

    /// Whether we dropped a run of it until its author is known.
    pub(crate) fn is_parked(&self) -> bool {
        self.phase == LogPhase::Parked
    }

    /// Notes that the peer is to send it again from a place; whether it has to be asked.
    pub(crate) fn ask_again(&mut self, from: Seq, plain: bool) -> bool {
        let ask = match self.phase {
            LogPhase::Flowing | LogPhase::Parked => true,
            // Plain is what we hoped for, too.
            LogPhase::AskedAgain {
                from: place,
                plain: asked,
            } => place != from || (plain && !asked),
            LogPhase::Forked => false,
        };
        if ask {
            self.phase = LogPhase::AskedAgain { from, plain };
        }
        ask
    }

    /// A run of the peer continued what we have: what we asked for has come, or is no longer needed.
    pub(crate) fn came(&mut self) {
        if !self.is_forked() {
            self.phase = LogPhase::Flowing;
        }
    }

    /// Takes the peer's word for how far it is. What it said before is not taken back.
    pub(crate) fn take(&mut self, claim: &Claim) {
        if claim.stored < self.stored {
            return;
        }
        if claim.stored > self.stored || claim.chain.is_some() {
            self.chain = claim.chain;
        }
        self.stored = claim.stored;
        self.applied = self.applied.max(claim.applied);
    }

    /// The first entry that the peer may lack.
    pub(crate) fn next(&self) -> Seq {
        self.sent.max(self.stored).next()
    }

    /// Notes a run that went out.
    pub(super) fn note_sent(&mut self, last: Seq, weight: usize) {
        self.sent = last;
        self.outstanding.push_back((last, weight));
    }

    /// Drops what is acknowledged; returns its weight.
    pub(super) fn release(&mut self) -> usize {
        let mut released = 0;
        while self
            .outstanding
            .front()
            .is_some_and(|(last, _)| *last <= self.stored)
        {
            released += self.outstanding.pop_front().map_or(0, |(_, weight)| weight);
        }
        released
    }

    /// Forgets all that is on its way; returns its weight.
    pub(super) fn forget(&mut self) -> usize {
        self.outstanding.drain(..).map(|(_, weight)| weight).sum()
    }
}

/// How far a peer is with one log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PeerHeights {
    pub(crate) stored: Seq,
    /// The first entry that it may lack and that is not on its way.
    pub(crate) next: Seq,
    pub(crate) forked: bool,
}

/// How many of the entries that we hold come after `had`.
pub(super) fn lacking(held: &LogFrontier, had: Seq) -> u64 {
    held.height
        .0
        .saturating_sub(had.0.max(held.floor.before().0))
}
