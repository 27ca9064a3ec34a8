//! The state of one connection.

use std::collections::BTreeSet;

use super::lane::LaneOut;
use crate::ids::{Lane, LogId};
use crate::io::ConnId;
use crate::marks::MarkHash;
use crate::members::Members;
use crate::proof::Proof;
use crate::unpacking::LaneIn;

/// The first protocol version with packed runs.
const PROTOCOL_PACKED: u16 = 2;
/// Logs that a peer may ask for plain; who asks for more gets all of them plain.
const PLAIN_LOGS_MAX: usize = 1024;

/// How far a greeting has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The peer's Hello has not come.
    Waiting {
        /// When we give up.
        deadline_ms: u64,
    },
    /// Hellos are exchanged; lane 0 flows until both ends know each other as members.
    Greeting {
        /// When we give up, unless lane 0 moves.
        deadline_ms: u64,
        /// The peer is a member as far as we know.
        we_admit: bool,
        /// The peer said that we are.
        they_admit: bool,
    },
    /// All lanes flow.
    Live,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) conn: ConnId,
    pub(crate) dialled: bool,
    pub(crate) since_ms: u64,
    pub(crate) stage: Stage,
    /// What we have said of our own frontier.
    pub(crate) told: Told,
    pub(crate) protocol: Option<u16>,
    pub(crate) lanes: [LaneOut; 7],
    pub(crate) lanes_in: [LaneIn; 7],
    /// Logs that the peer asked for plain.
    plain: BTreeSet<LogId>,
    /// Packed runs of the peer that came out as something else than their author signed.
    pub(crate) wrong_rebuilds: u32,
    /// When to propose the next mark (monotonic milliseconds); `None` when nothing has moved since the last.
    pub(crate) mark_at_ms: Option<u64>,
    /// A mark that we proposed and the peer has not answered.
    pub(crate) mark_offered: Option<MarkHash>,
    /// The members as our greeting counted them: the answer counts by these.
    pub(crate) members: Members,
    /// How the peer's greeting counted them.
    pub(crate) their_members: [u8; 8],
    /// The peer did not know the mark of our greeting, and was told all.
    pub(crate) said_again: bool,
    /// When the peer last proposed a mark that we did not know (monotonic milliseconds).
    pub(crate) mark_asked_ms: Option<u64>,
    /// A comparison was begun on this connection.
    pub(crate) compared: bool,
    /// The comparison of what both have made of the same logs.
    pub(crate) proof: Option<Box<Proof>>,
    /// When we last said log by log what we have, because the peer's mark was not ours (monotonic milliseconds).
    pub(crate) differed_ms: Option<u64>,
}

/// What a peer was told of our frontier on this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Told {
    /// Nothing yet: it comes when the peer's greeting has shown how it can be said.
    Nothing,
    /// Lane 0: the peer was no member when we greeted it.
    Trust,
    /// All of it.
    All,
}

impl Session {
    pub(crate) fn new(
        conn: ConnId,
        dialled: bool,
        since_ms: u64,
        deadline_ms: u64,
        told: Told,
        members: Members,
    ) -> Self {
        Self {
            conn,
            dialled,
            since_ms,
            stage: Stage::Waiting { deadline_ms },
            told,
            protocol: None,
            lanes: Default::default(),
            lanes_in: Default::default(),
            plain: BTreeSet::new(),
            wrong_rebuilds: 0,
            mark_at_ms: None,
            mark_offered: None,
            members,
            their_members: [0; 8],
            said_again: false,
            mark_asked_ms: None,
            compared: false,
            proof: None,
            differed_ms: None,
        }
    }

    pub(crate) fn lane(&mut self, lane: Lane) -> &mut LaneOut {
        &mut self.lanes[lane.index()]
    }

    pub(crate) fn lane_in(&mut self, lane: Lane) -> &mut LaneIn {
        &mut self.lanes_in[lane.index()]
    }

    /// Whether packed runs are part of the protocol spoken. The peer has our greeting when it sends one, which may
    /// overtake its own greeting: lane 0 is another stream.
    pub(crate) fn reads_packed(&self) -> bool {
        self.protocol
            .is_none_or(|protocol| protocol >= PROTOCOL_PACKED)
    }

    /// Whether the peer gets runs of this log packed.
    pub(crate) fn packs(&self, log: &LogId) -> bool {
        self.protocol >= Some(PROTOCOL_PACKED)
            && self.plain.len() <= PLAIN_LOGS_MAX
            && !self.plain.contains(log)
    }

    /// From now on the peer gets this log plain.
    pub(crate) fn send_plain(&mut self, log: LogId) {
        if self.plain.len() <= PLAIN_LOGS_MAX {
            self.plain.insert(log);
        }
    }

    /// Whether the peer may send us this lane.
    pub(crate) fn may_receive(&self, lane: Lane) -> bool {
        lane == Lane::Trust
            || matches!(
                self.stage,
                Stage::Live | Stage::Greeting { we_admit: true, .. }
            )
    }

    /// Whether we may send the peer this lane.
    pub(crate) fn may_send(&self, lane: Lane) -> bool {
        match self.stage {
            Stage::Waiting { .. } => false,
            Stage::Greeting { .. } => lane == Lane::Trust,
            Stage::Live => true,
        }
    }

    /// When the greeting is given up.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        match self.stage {
            Stage::Waiting { deadline_ms } | Stage::Greeting { deadline_ms, .. } => {
                Some(deadline_ms)
            }
            Stage::Live => None,
        }
    }

    /// Lane 0 moved: the greeting gets more time.
    pub(crate) fn extend(&mut self, until_ms: u64) {
        if let Stage::Greeting { deadline_ms, .. } = &mut self.stage {
            *deadline_ms = (*deadline_ms).max(until_ms);
        }
    }
}
