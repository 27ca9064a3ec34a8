//! The sending side of one lane of one connection: which log is next, and how much is under way.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::ids::{GroupId, Incarnation, Lane, LogId, NodeId};
use crate::packed::StreamTable;
use crate::planted::{self, Planted};

/// A pause after loads without result doubles so many times at most: 16 s with the limits' usual second.
const DOUBLINGS_MAX: u32 = 4;

/// Where a log stands that has something to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    /// It waits for its turn, or is being loaded.
    Ready,
    /// Its load gave nothing: not tried again before that (monotonic milliseconds).
    Resting { until_ms: u64 },
}

/// The sending side of one lane of one connection.
#[derive(Debug, Default)]
pub(crate) struct LaneOut {
    /// Logs with something to send, as far as is known; the others have nothing.
    logs: BTreeMap<LogId, Sending>,
    /// Whose turn it was last.
    turn: Option<NodeId>,
    /// The log that a load is under way for: one per lane at a time.
    pub(crate) loading: Option<LogId>,
    /// Loads in a row that gave nothing: a disk that cannot be read is not asked for each log each second.
    failed_loads: u32,
    /// Frame bytes that the transport has not sent.
    pub(crate) unsent_bytes: usize,
    /// Weight of runs sent and not acknowledged.
    pub(crate) unacked_bytes: usize,
    /// What packed runs on this stream have named.
    table: Option<Box<StreamTable>>,
}

impl LaneOut {
    /// The table of the stream.
    pub(crate) fn table(&mut self) -> &mut StreamTable {
        self.table.get_or_insert_default()
    }

    /// The log has something to send. One that rests goes on resting.
    pub(crate) fn queue(&mut self, log: LogId) {
        self.logs.entry(log).or_insert(Sending::Ready);
    }

    /// The log has nothing to send.
    pub(crate) fn unqueue(&mut self, log: &LogId) {
        self.logs.remove(log);
    }

    /// The log was loaded.
    pub(crate) fn loaded(&mut self) {
        self.failed_loads = 0;
    }

    /// The log cannot be read now: it rests for `pause_ms`, longer after each in a row. Returns when it comes back.
    pub(crate) fn rest(&mut self, log: LogId, now_ms: u64, pause_ms: u64) -> u64 {
        let until_ms = now_ms + (pause_ms << self.failed_loads.min(DOUBLINGS_MAX));
        self.failed_loads = self.failed_loads.saturating_add(1);
        self.logs.insert(log, Sending::Resting { until_ms });
        until_ms
    }

    /// Logs that have rested long enough get their turns again.
    pub(crate) fn wake(&mut self, now_ms: u64) {
        for sending in self.logs.values_mut() {
            if matches!(sending, Sending::Resting { until_ms } if *until_ms <= now_ms) {
                *sending = Sending::Ready;
            }
        }
    }

    /// The next log in turn. Within a lane authors take turns, however many logs each has.
    pub(crate) fn next_turn(&mut self) -> Option<LogId> {
        let after = self.turn.map_or(Bound::Unbounded, |author| {
            Bound::Excluded(LogId {
                author,
                incarnation: Incarnation(u64::MAX),
                group: GroupId([u8::MAX; 16]),
                lane: Lane::Blobs,
            })
        });
        let behind = self.logs.range((after, Bound::Unbounded));
        let (log, _) = behind
            .chain(self.logs.iter())
            .find(|(_, sending)| **sending == Sending::Ready)?;
        self.turn = (!planted::is(Planted::StarveAnAuthor)).then_some(log.author);
        Some(*log)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_author_with_many_logs_gets_no_more_turns_than_one_with_a_single_log() {
        let log = |author, incarnation| LogId {
            author: NodeId([author; 32]),
            incarnation: Incarnation(incarnation),
            group: GroupId::SHARED,
            lane: Lane::Life,
        };
        let mut lane = LaneOut::default();
        for log in [log(1, 1), log(1, 2), log(1, 3), log(2, 1), log(3, 9)] {
            lane.queue(log);
        }
        let authors: Vec<u8> = (0..6)
            .filter_map(|_| lane.next_turn())
            .map(|log| log.author.0[0])
            .collect();
        assert_eq!(authors, [1, 2, 3, 1, 2, 3]);
    }

    #[test]
    fn a_log_that_cannot_be_read_does_not_hold_up_the_others_and_comes_back() {
        let log = |author| LogId {
            author: NodeId([author; 32]),
            incarnation: Incarnation(1),
            group: GroupId::SHARED,
            lane: Lane::Life,
        };
        let mut lane = LaneOut::default();
        lane.queue(log(1));
        lane.queue(log(2));
        assert_eq!(lane.rest(log(1), 0, 500), 500);
        assert_eq!([lane.next_turn(), lane.next_turn()], [Some(log(2)); 2]);
        lane.queue(log(1));
        lane.wake(499);
        assert_eq!(lane.next_turn(), Some(log(2)));
        lane.wake(500);
        assert_eq!(lane.next_turn(), Some(log(1)));
    }

    #[test]
    fn a_disk_that_cannot_be_read_is_asked_ever_less_often_until_it_answers() {
        let log = |author| LogId {
            author: NodeId([author; 32]),
            incarnation: Incarnation(1),
            group: GroupId::SHARED,
            lane: Lane::Life,
        };
        let mut lane = LaneOut::default();
        let pauses: Vec<u64> = (1..=7)
            .map(|author| lane.rest(log(author), 100, 10) - 100)
            .collect();
        assert_eq!(pauses, [10, 20, 40, 80, 160, 160, 160]);
        lane.loaded();
        assert_eq!(lane.rest(log(1), 100, 10), 110);
    }
}
