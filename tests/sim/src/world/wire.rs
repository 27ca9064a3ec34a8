//! Connections and frames: dials, handshakes, frames on their way, ends that close in their own time.

use rand::RngExt;
use sync_engine::{ConnId, Input, StreamKind};

use super::setup::IDLE_MS;
use super::{Event, World};
use crate::net::End;

/// How long a node waits after a dial that led to nothing: doubled each time, up to an hour.
const REDIAL_MS: std::ops::RangeInclusive<u64> = 200..=2_000;
const REDIAL_DOUBLINGS_MAX: u32 = 11;
/// A connection that lasted so long was a good one.
const LASTED_MS: u64 = 60_000;

impl World {
    /// Has a node dial another soon, if it is not about to.
    pub(super) fn want_dial(&mut self, from: usize, to: usize) {
        if from == to || !self.dialling.insert((from, to)) {
            return;
        }
        let failed = self.failed_dials.get(&(from, to)).copied().unwrap_or(0);
        let delay_ms = self.rng.random_range(REDIAL_MS) << failed.min(REDIAL_DOUBLINGS_MAX);
        self.at(delay_ms, Event::Dial(from, to));
    }

    pub(super) fn dial(&mut self, from: usize, to: usize) -> Result<(), String> {
        self.dialling.remove(&(from, to));
        let reachable = self.net.carries(from, to) && self.net.carries(to, from);
        // A node that is off or cut off is dialled again when that changes: see `start` and `mend`.
        if !reachable || !self.is_on(from) || !self.is_on(to) || self.net.has_conn(from, to) {
            return Ok(());
        }
        *self.failed_dials.entry((from, to)).or_default() += 1;
        self.connections += 1;
        let conn = self.net.dial(self.now_ms, from, to);
        let round_trip_ms = 2 * self.net.quality(from, to).delay_ms;
        // The end that was dialled is ready first.
        self.at(round_trip_ms, Event::Up(conn, 1, self.nodes[to].epoch));
        self.at(round_trip_ms, Event::Up(conn, 0, self.nodes[from].epoch));
        if self.rng.random_bool(0.1) && !self.net.has_conn(to, from) {
            self.want_dial(to, from);
        }
        // The other end may dial at the same moment: it knows nothing of this one.
        if self.rng.random_bool(0.1) {
            self.tally.note("network: both ends dialled");
            let second = self.net.dial(self.now_ms, to, from);
            self.at(round_trip_ms, Event::Up(second, 1, self.nodes[from].epoch));
            self.at(round_trip_ms, Event::Up(second, 0, self.nodes[to].epoch));
        }
        Ok(())
    }

    /// The handshake is done at one end.
    pub(super) fn up(&mut self, conn: ConnId, side: usize, epoch: u64) -> Result<(), String> {
        let Some(nodes) = self.net.nodes(conn) else {
            return Ok(());
        };
        let (node, other) = (nodes[side], nodes[1 - side]);
        let reachable = self.net.carries(node, other) && self.net.carries(other, node);
        let answered = side == 1 || self.net.end(conn, 1) != End::Opening;
        if !reachable || !answered || self.nodes[node].epoch != epoch || !self.is_on(node) {
            self.net.close_end(conn, side);
            if side == 0 {
                self.net.close_end(conn, 1);
                self.want_dial(node, other);
            }
            return Ok(());
        }
        if self.net.end(conn, side) == End::Closed {
            return Ok(());
        }
        self.net.open_end(conn, side);
        let peer = self.nodes[other].id();
        self.input(
            node,
            Input::Connected {
                conn,
                peer,
                dialled: side == 0,
            },
        )
    }

    pub(super) fn transmit(
        &mut self,
        conn: ConnId,
        side: usize,
        stream: StreamKind,
        frame: Vec<u8>,
    ) {
        if let Some(at_ms) = self.net.push(self.now_ms, conn, side, stream, frame) {
            self.at(at_ms - self.now_ms, Event::Departed(conn, side));
        }
    }

    pub(super) fn departed(&mut self, conn: ConnId, side: usize) -> Result<(), String> {
        let Some(departed) = self.net.depart(self.now_ms, conn, side, &mut self.rng) else {
            return Ok(());
        };
        if let Some(next_ms) = departed.next_ms {
            self.at(next_ms - self.now_ms, Event::Departed(conn, side));
        }
        let (fate, stream, offset) = (departed.fate, departed.stream, departed.offset);
        self.tally.add("network: packet lost", u64::from(fate.lost));
        if fate.late {
            self.tally.note("network: packet out of order");
        }
        if let Some(again_ms) = fate.again_ms {
            let again = Event::Arrives(conn, 1 - side, stream, offset, departed.frame.clone());
            self.at(again_ms - self.now_ms, again);
        }
        let arrives = Event::Arrives(conn, 1 - side, stream, offset, departed.frame);
        self.at(fate.at_ms - self.now_ms, arrives);
        match (stream, self.net.nodes(conn)) {
            (StreamKind::Lane(lane), Some(nodes)) => self.input(
                nodes[side],
                Input::Unsent {
                    conn,
                    lane,
                    bytes: departed.unsent_bytes,
                },
            ),
            _ => Ok(()),
        }
    }

    pub(super) fn arrives(
        &mut self,
        conn: ConnId,
        side: usize,
        stream: StreamKind,
        offset: u64,
        frame: Vec<u8>,
    ) -> Result<(), String> {
        let Some(nodes) = self.net.nodes(conn) else {
            return Ok(());
        };
        let Ok(frames) = self.net.arrive(conn, side, stream, offset, frame) else {
            self.tally.note("network: packet twice");
            return Ok(());
        };
        for bytes in frames {
            if self.net.end(conn, side) == End::Open {
                self.input(
                    nodes[side],
                    Input::Frame {
                        conn,
                        stream,
                        bytes,
                    },
                )?;
            }
        }
        Ok(())
    }

    /// A node closes its end; the other learns of it by a packet, or by silence.
    pub(super) fn close_from(&mut self, node: usize, conn: ConnId) {
        let (Some(nodes), Some(side)) = (self.net.nodes(conn), self.net.side_of(conn, node)) else {
            return;
        };
        let other = nodes[1 - side];
        self.forgive(conn, node, other);
        if self.net.carries(node, other) {
            let delay_ms = self.net.quality(node, other).delay_ms;
            self.at(delay_ms, Event::Gone(conn, 1 - side, "closed by the peer"));
        } else {
            self.fall_silent(conn, 1 - side);
        }
        self.net.close_end(conn, side);
        self.want_dial(node, other);
    }

    /// A connection that lasted makes up for the dials that led to nothing.
    fn forgive(&mut self, conn: ConnId, node: usize, other: usize) {
        if self.net.age_ms(conn, self.now_ms) >= LASTED_MS {
            self.failed_dials.remove(&(node, other));
        }
    }

    /// The end at `side` will hear nothing any more.
    pub(super) fn fall_silent(&mut self, conn: ConnId, side: usize) {
        let delay_ms = self.rng.random_range(IDLE_MS);
        self.at(delay_ms, Event::Gone(conn, side, "timed out"));
    }

    /// An end learns that a connection is gone.
    pub(super) fn gone(
        &mut self,
        conn: ConnId,
        side: usize,
        why: &'static str,
    ) -> Result<(), String> {
        let Some(nodes) = self.net.nodes(conn) else {
            return Ok(());
        };
        let was_open = self.net.end(conn, side) == End::Open;
        self.forgive(conn, nodes[side], nodes[1 - side]);
        self.net.close_end(conn, side);
        if !was_open {
            return Ok(());
        }
        self.want_dial(nodes[side], nodes[1 - side]);
        self.input(
            nodes[side],
            Input::Disconnected {
                conn,
                reason: why.to_owned(),
            },
        )
    }

    /// Nothing has come through a cut direction for the idle timeout of the end behind it.
    pub(super) fn idle(&mut self, conn: ConnId, side: usize, cuts: u64) -> Result<(), String> {
        let Some(nodes) = self.net.nodes(conn) else {
            return Ok(());
        };
        let (node, other) = (nodes[side], nodes[1 - side]);
        if self.net.carries(other, node)
            || self.net.cuts(other, node) != cuts
            || self.net.end(conn, side) != End::Open
        {
            return Ok(());
        }
        self.tally
            .note("network: idle timeout at the end that hears nothing");
        // It says nothing: the other end finds out by silence.
        self.fall_silent(conn, 1 - side);
        self.gone(conn, side, "timed out")
    }

    /// Cuts one direction of a link.
    pub(super) fn cut(&mut self, from: usize, to: usize) {
        if !self.net.set_cut(from, to, true) {
            return;
        }
        let cuts = self.net.cuts(from, to);
        for conn in self.net.conns_of(from, to) {
            if let Some(side) = self.net.side_of(conn, to) {
                let delay_ms = self.rng.random_range(IDLE_MS);
                self.at(delay_ms, Event::Idle(conn, side, cuts));
            }
        }
    }

    /// Mends one direction of a link: what was held up is sent again, and whoever waits dials.
    pub(super) fn mend(&mut self, from: usize, to: usize) {
        if self.net.set_cut(from, to, false) {
            for (conn, side) in self.net.take_stalled(from, to) {
                let delay_ms = self.rng.random_range(0..=3_000);
                self.at(delay_ms, Event::Departed(conn, side));
            }
        }
        for (from, to) in [(from, to), (to, from)] {
            self.failed_dials.remove(&(from, to));
            self.want_dial(from, to);
        }
    }
}
