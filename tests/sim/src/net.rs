//! The virtual network: links with delay and bandwidth, connections with one ordered stream per lane.
//!
//! Invariants: frames of one stream arrive in the order they were sent, frames of different streams may overtake each
//! other; a connection that closes takes all that is in flight with it; nothing here draws random numbers, so that
//! what a seed means depends on the world alone.

use std::collections::{BTreeMap, VecDeque};

use sync_engine::{ConnId, StreamKind};

/// What connects two nodes, as long as it is up.
#[derive(Debug, Clone)]
pub struct Link {
    /// Whether anything passes.
    pub up: bool,
    /// One way, milliseconds.
    pub delay_ms: u64,
    /// Bytes per second, each way.
    pub bytes_per_s: u64,
    /// The connection over it.
    pub conn: Option<ConnId>,
    /// A dial is under way.
    pub dialling: bool,
}

/// One direction of a connection: what waits to leave, urgent streams first.
#[derive(Debug, Default)]
struct Direction {
    waiting: BTreeMap<StreamKind, VecDeque<Vec<u8>>>,
    leaving: Option<(StreamKind, Vec<u8>)>,
    /// When the newest frame of each stream arrives: later ones arrive after it.
    arrivals: BTreeMap<StreamKind, u64>,
}

#[derive(Debug)]
struct Connection {
    ends: [usize; 2],
    directions: [Direction; 2],
}

/// A frame that has left its sender.
#[derive(Debug)]
pub struct Departed {
    /// Who gets it.
    pub to: usize,
    /// On which stream.
    pub stream: StreamKind,
    /// The frame.
    pub frame: Vec<u8>,
    /// When it arrives, on the virtual clock.
    pub arrives_ms: u64,
    /// Bytes of the same stream that still wait.
    pub unsent_bytes: usize,
    /// When the next frame of this direction has left, if one waits.
    pub next_departure_ms: Option<u64>,
}

/// All links and connections.
#[derive(Debug, Default)]
pub struct Net {
    links: BTreeMap<(usize, usize), Link>,
    connections: BTreeMap<ConnId, Connection>,
    next_conn: u64,
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

impl Net {
    /// Lays a link; it is down.
    pub fn lay(&mut self, a: usize, b: usize, delay_ms: u64, bytes_per_s: u64) {
        let link = Link {
            up: false,
            delay_ms,
            bytes_per_s,
            conn: None,
            dialling: false,
        };
        self.links.insert(pair(a, b), link);
    }

    /// The pairs that a link was laid for.
    pub fn pairs(&self) -> Vec<(usize, usize)> {
        self.links.keys().copied().collect()
    }

    /// The link of a pair.
    pub fn link(&mut self, a: usize, b: usize) -> &mut Link {
        self.links
            .get_mut(&pair(a, b))
            .expect("the world lays a link for every pair")
    }

    /// Opens a connection over the link of a pair.
    pub fn open(&mut self, a: usize, b: usize) -> ConnId {
        self.next_conn += 1;
        let conn = ConnId(self.next_conn);
        let connection = Connection {
            ends: [a, b],
            directions: Default::default(),
        };
        self.connections.insert(conn, connection);
        self.link(a, b).conn = Some(conn);
        conn
    }

    /// Closes a connection; its two ends, when it was open.
    pub fn close(&mut self, conn: ConnId) -> Option<[usize; 2]> {
        let connection = self.connections.remove(&conn)?;
        let [a, b] = connection.ends;
        let link = self.link(a, b);
        if link.conn == Some(conn) {
            link.conn = None;
        }
        Some(connection.ends)
    }

    /// Connections that end at a node.
    pub fn conns_of(&self, node: usize) -> Vec<ConnId> {
        let ends = self
            .connections
            .iter()
            .filter(|(_, c)| c.ends.contains(&node));
        ends.map(|(conn, _)| *conn).collect()
    }

    /// Every open connection.
    pub fn conns(&self) -> Vec<ConnId> {
        self.connections.keys().copied().collect()
    }

    /// Whether a connection is open.
    pub fn is_open(&self, conn: ConnId) -> bool {
        self.connections.contains_key(&conn)
    }

    /// Queues a frame. When the direction was idle: the time at which the frame has left.
    pub fn push(
        &mut self,
        now_ms: u64,
        conn: ConnId,
        from: usize,
        stream: StreamKind,
        frame: Vec<u8>,
    ) -> Option<u64> {
        let connection = self.connections.get_mut(&conn)?;
        let side = usize::from(connection.ends[0] != from);
        let direction = &mut connection.directions[side];
        direction
            .waiting
            .entry(stream)
            .or_default()
            .push_back(frame);
        if direction.leaving.is_some() {
            return None;
        }
        self.start_next(now_ms, conn, side)
    }

    /// Takes the most urgent waiting frame; the time at which it has left.
    fn start_next(&mut self, now_ms: u64, conn: ConnId, side: usize) -> Option<u64> {
        let connection = self.connections.get_mut(&conn)?;
        let [a, b] = connection.ends;
        let direction = &mut connection.directions[side];
        let (stream, queue) = direction
            .waiting
            .iter_mut()
            .find(|(_, queue)| !queue.is_empty())?;
        let frame = queue.pop_front()?;
        let bytes = frame.len() as u64;
        direction.leaving = Some((*stream, frame));
        Some(now_ms + bytes * 1_000 / self.link(a, b).bytes_per_s.max(1))
    }

    /// The frame under way of one direction has left, `jitter_ms` late; `None` when the connection closed meanwhile.
    pub fn depart(
        &mut self,
        now_ms: u64,
        conn: ConnId,
        from: usize,
        jitter_ms: u64,
    ) -> Option<Departed> {
        let ends = self.connections.get(&conn)?.ends;
        let delay_ms = self.link(ends[0], ends[1]).delay_ms;
        let side = usize::from(ends[0] != from);
        let direction = &mut self.connections.get_mut(&conn)?.directions[side];
        let (stream, frame) = direction.leaving.take()?;
        let newest = direction.arrivals.entry(stream).or_default();
        *newest = (*newest).max(now_ms + delay_ms + jitter_ms);
        let arrives_ms = *newest;
        let waiting = direction.waiting.get(&stream);
        let unsent_bytes = waiting.map_or(0, |queue| queue.iter().map(Vec::len).sum());
        let next_departure_ms = self.start_next(now_ms, conn, side);
        Some(Departed {
            to: ends[1 - side],
            stream,
            frame,
            arrives_ms,
            unsent_bytes,
            next_departure_ms,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use sync_engine::Lane;

    #[test]
    fn urgent_frames_leave_before_bulk_that_waits() {
        let mut net = Net::default();
        net.lay(0, 1, 10, 1_000);
        let conn = net.open(0, 1);
        let bulk = StreamKind::Lane(Lane::Raw);
        let flash = StreamKind::Lane(Lane::Flash);
        assert_eq!(net.push(0, conn, 0, bulk, vec![0; 1_000]), Some(1_000));
        assert_eq!(net.push(0, conn, 0, bulk, vec![0; 1_000]), None);
        assert_eq!(net.push(0, conn, 0, flash, vec![0; 10]), None);
        let first = net.depart(1_000, conn, 0, 5).unwrap();
        assert_eq!(
            (first.stream, first.arrives_ms, first.unsent_bytes),
            (bulk, 1_015, 1_000)
        );
        assert_eq!(first.next_departure_ms, Some(1_010));
        assert_eq!(net.depart(1_010, conn, 0, 0).unwrap().stream, flash);
    }

    #[test]
    fn a_closed_connection_takes_its_frames_with_it() {
        let mut net = Net::default();
        net.lay(0, 1, 10, 1_000);
        let conn = net.open(1, 0);
        net.push(0, conn, 0, StreamKind::Control, vec![0; 10]);
        assert_eq!(net.close(conn), Some([1, 0]));
        assert!(net.depart(10, conn, 0, 0).is_none());
        assert_eq!(net.link(0, 1).conn, None);
    }
}
