//! What we know of one peer, and the state of the connection with it.
//!
//! Invariants: `PeerLog::stored` is only what the peer itself showed, by its word or by sending it; `PeerLog::sent` also
//! covers what is on its way. Of lanes whose claims were heard, a log that [`Peer::logs`] does not name is *level*: the
//! peer has stored and applied exactly what we hold. So a peer that has everything costs nothing per log, which is what
//! lets one node serve a thousand. Of a peer that is away nothing is kept per log; what it lacks is counted.

mod lane;
mod log;
mod session;

use std::collections::BTreeMap;

use crate::frontier::{Frontier, LogFrontier};
use crate::ids::{Lane, LogId, NodeId, Seq};
use crate::io::{Interest, PeerState};
use crate::marks::MarkHash;
use crate::planted::{self, Planted};
use crate::proof::ProofView;

pub(crate) use log::{PeerHeights, PeerLog};
pub(crate) use session::{Session, Stage, Told};

use log::lacking;

/// Whether there is a connection.
#[derive(Debug)]
pub(crate) enum Phase {
    /// None; why the last one ended.
    Away { reason: Option<String> },
    /// One.
    Met(Box<Session>),
}

/// Whose claims were heard on this connection, by lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Heard {
    /// None yet.
    Nothing,
    /// Lane 0: the peer did not take us for a member when it greeted.
    Trust,
    /// All lanes.
    All,
}

/// One peer.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) node: NodeId,
    pub(crate) phase: Phase,
    /// See the module.
    pub(crate) logs: BTreeMap<LogId, PeerLog>,
    pub(crate) heard: Heard,
    /// Entries that it lacks, by lane, as far as claims were not heard: counted when it left, and since.
    away_behind: [u64; 7],
    pub(crate) last_seen_wall_ms: u64,
    pub(crate) name: Option<String>,
    pub(crate) software: Option<String>,
    /// What it asked for when it last greeted.
    pub(crate) interest: Interest,
    /// The newest frontier that both of us are known to have held.
    pub(crate) mark: Option<MarkHash>,
    /// When that was agreed on, this start (monotonic milliseconds).
    pub(crate) mark_agreed_ms: Option<u64>,
    /// What the newest comparison came to.
    pub(crate) proof: ProofView,
}

impl Peer {
    /// A peer that we know nothing of: it lacks everything it may want.
    pub(crate) fn new(node: NodeId, ours: &Frontier) -> Self {
        let mut peer = Self {
            node,
            phase: Phase::Away { reason: None },
            logs: BTreeMap::new(),
            heard: Heard::Nothing,
            away_behind: [0; 7],
            last_seen_wall_ms: 0,
            name: None,
            software: None,
            interest: Interest::default(),
            mark: None,
            mark_agreed_ms: None,
            proof: ProofView::Unproven,
        };
        peer.count_from(ours, |_| Seq::NONE);
        peer
    }

    /// Counts what the peer lacks, who had each log up to `had` and no further.
    pub(crate) fn count_from(&mut self, ours: &Frontier, had: impl Fn(&LogId) -> Seq) {
        self.away_behind = [0; 7];
        for (log, held) in ours.iter() {
            if self.wants(log) {
                self.away_behind[log.lane.index()] += lacking(held, had(log));
            }
        }
    }

    /// Whether the peer gets this log at all.
    pub(crate) fn wants(&self, log: &LogId) -> bool {
        self.interest.covers(log)
    }

    /// Whether the peer's claims about this lane were heard on this connection.
    pub(crate) fn has_told(&self, lane: Lane) -> bool {
        match self.heard {
            Heard::Nothing => false,
            Heard::Trust => lane == Lane::Trust,
            Heard::All => true,
        }
    }

    pub(crate) fn session(&self) -> Option<&Session> {
        match &self.phase {
            Phase::Met(session) => Some(session),
            Phase::Away { .. } => None,
        }
    }

    pub(crate) fn session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.phase {
            Phase::Met(session) => Some(session),
            Phase::Away { .. } => None,
        }
    }

    pub(crate) fn state(&self) -> PeerState {
        match self.session().map(|session| session.stage) {
            None => PeerState::Disconnected,
            Some(Stage::Live) => PeerState::Live,
            Some(_) => PeerState::Greeting,
        }
    }

    /// Whether a comparison was begun on this connection.
    pub(crate) fn has_compared(&self) -> bool {
        self.session().is_some_and(|session| session.compared)
    }

    /// Whether we may send the peer this lane now.
    pub(crate) fn may_send(&self, lane: Lane) -> bool {
        self.has_told(lane) && self.session().is_some_and(|session| session.may_send(lane))
    }

    /// A connection begins. What the peer lacked when it left stays counted until it speaks.
    pub(crate) fn begin(&mut self, session: Session) {
        self.phase = Phase::Met(Box::new(session));
    }

    /// The connection is gone: what the peer lacks is counted from here on, not kept log by log.
    pub(crate) fn leave(&mut self, reason: String, ours: &Frontier) {
        let behind = self.behind(ours);
        self.away_behind = behind;
        if !planted::is(Planted::LoseRunsAtReconnect) {
            self.logs.clear();
        }
        self.heard = Heard::Nothing;
        self.phase = Phase::Away {
            reason: Some(reason),
        };
    }

    /// Entries that we hold and the peer has not acknowledged, by lane.
    pub(crate) fn behind(&self, ours: &Frontier) -> [u64; 7] {
        let mut behind = self.away_behind;
        for lane in Lane::ALL {
            if self.has_told(lane) {
                behind[lane.index()] = 0;
            }
        }
        for (log, theirs) in &self.logs {
            if self.wants(log)
                && let Some(held) = ours.get(log)
            {
                behind[log.lane.index()] += lacking(held, theirs.stored);
            }
        }
        behind
    }

    /// Entries that the peer says it holds and we lack, of logs that `we_want`. It may say what it likes: the sum ends at
    /// the largest number.
    pub(crate) fn missing(&self, ours: &Frontier, we_want: impl Fn(&LogId) -> bool) -> u64 {
        self.logs
            .iter()
            .filter(|(log, _)| we_want(log))
            .map(|(log, theirs)| theirs.stored.0.saturating_sub(ours.head(log).seq.0))
            .fold(0, u64::saturating_add)
    }

    /// How far the peer is with one log: by its own word, or because it is level.
    pub(crate) fn log(&self, log: &LogId, ours: &Frontier) -> PeerHeights {
        match self.logs.get(log) {
            Some(theirs) => PeerHeights {
                stored: theirs.stored,
                next: theirs.next(),
                forked: theirs.is_forked(),
            },
            None => {
                let stored = if self.has_told(log.lane) {
                    ours.head(log).seq
                } else {
                    Seq::NONE
                };
                PeerHeights {
                    stored,
                    next: stored.next(),
                    forked: false,
                }
            }
        }
    }

    /// The same, to be changed: it is remembered until [`Peer::settle`] finds it level again.
    pub(crate) fn log_mut(&mut self, log: LogId, ours: &Frontier) -> &mut PeerLog {
        let told = self.has_told(log.lane);
        self.logs.entry(log).or_insert_with(|| {
            if told {
                PeerLog::level(ours.get(&log))
            } else {
                PeerLog::default()
            }
        })
    }

    /// Our own height of a log is about to move from `held`, by `entries`: who was level with it no longer is.
    pub(crate) fn before_move(&mut self, log: LogId, held: Option<&LogFrontier>, entries: u64) {
        if !self.wants(&log) {
            return;
        }
        if self.has_told(log.lane) {
            self.logs.entry(log).or_insert_with(|| PeerLog::level(held));
        } else {
            self.away_behind[log.lane.index()] += entries;
        }
    }

    /// Forgets a log that is level.
    pub(crate) fn settle(&mut self, log: &LogId, ours: &Frontier) {
        if self.has_told(log.lane)
            && self
                .logs
                .get(log)
                .is_some_and(|theirs| theirs.is_level(ours.get(log)))
        {
            self.logs.remove(log);
        }
    }

    /// A run went out.
    pub(crate) fn note_sent(
        &mut self,
        log: LogId,
        ours: &Frontier,
        last: Seq,
        weight: usize,
        frame_bytes: usize,
    ) {
        self.log_mut(log, ours).note_sent(last, weight);
        if let Some(session) = self.session_mut() {
            let lane = session.lane(log.lane);
            lane.unsent_bytes += frame_bytes;
            lane.unacked_bytes += weight;
        }
    }

    /// Frees the room of what the peer has acknowledged.
    pub(crate) fn release(&mut self, log: LogId) {
        let released = self.logs.get_mut(&log).map_or(0, PeerLog::release);
        self.give_room(log.lane, released);
    }

    /// Frees the room of all that is on its way of this log.
    pub(crate) fn forget_outstanding(&mut self, log: LogId) {
        let released = self.logs.get_mut(&log).map_or(0, PeerLog::forget);
        self.give_room(log.lane, released);
    }

    fn give_room(&mut self, lane: Lane, released: usize) {
        if let Some(session) = self.session_mut() {
            let lane = session.lane(lane);
            lane.unacked_bytes = lane.unacked_bytes.saturating_sub(released);
        }
    }
}
