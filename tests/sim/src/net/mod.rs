//! The virtual network: links between nodes and the connections over them.
//!
//! What a link does to packets shows in the streams above it: a lost packet holds up its stream until it was sent again,
//! one out of order waits in the receiver for those before it, a second copy is dropped there; streams never wait for
//! each other. Invariants: the frames of one stream reach the engine in the order they were sent, each at most once; each
//! end of a connection opens and closes at its own time.

mod link;
mod stream;

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use sync_engine::{ConnId, StreamKind};

use link::Link;
pub use link::{Fate, Quality};
use stream::{Incoming, Outgoing};

/// What one end knows of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The handshake is under way.
    Opening,
    /// Frames flow.
    Open,
    /// It is gone, whatever the other end believes.
    Closed,
}

#[derive(Debug)]
struct Connection {
    nodes: [usize; 2],
    /// When it was dialled.
    since_ms: u64,
    ends: [End; 2],
    outgoing: [Outgoing; 2],
    incoming: [Incoming; 2],
}

/// A frame that has left its sender, and what the link did to it.
#[derive(Debug)]
pub struct Departed {
    /// On which stream.
    pub stream: StreamKind,
    /// Its place in the stream.
    pub offset: u64,
    /// The frame.
    pub frame: Vec<u8>,
    /// When it arrives, and how often.
    pub fate: Fate,
    /// Bytes of the same stream that still wait.
    pub unsent_bytes: usize,
    /// When the next frame of this direction has left, if one waits.
    pub next_ms: Option<u64>,
}

/// All links and connections.
#[derive(Debug, Default)]
pub struct Net {
    links: BTreeMap<(usize, usize), Link>,
    connections: BTreeMap<ConnId, Connection>,
    last_conn: u64,
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

impl Net {
    /// Lays a link.
    pub fn lay(&mut self, a: usize, b: usize, quality: Quality) {
        self.links.insert(pair(a, b), Link::new(quality));
    }

    /// The pairs that a link was laid for.
    pub fn pairs(&self) -> Vec<(usize, usize)> {
        self.links.keys().copied().collect()
    }

    /// Changes how a link carries.
    pub fn set_quality(&mut self, a: usize, b: usize, quality: Quality) {
        if let Some(link) = self.links.get_mut(&pair(a, b)) {
            link.quality = quality;
        }
    }

    /// How a link carries.
    pub fn quality(&self, a: usize, b: usize) -> Quality {
        self.links[&pair(a, b)].quality
    }

    /// Whether packets from `a` reach `b`.
    pub fn carries(&self, a: usize, b: usize) -> bool {
        let link = self.links.get(&pair(a, b));
        link.is_some_and(|link| !link.cut[usize::from(a > b)])
    }

    /// Cuts or mends one direction of a link; says whether that changed anything.
    pub fn set_cut(&mut self, a: usize, b: usize, cut: bool) -> bool {
        let Some(link) = self.links.get_mut(&pair(a, b)) else {
            return false;
        };
        let side = usize::from(a > b);
        let changed = link.cut[side] != cut;
        link.cut[side] = cut;
        link.cuts[side] += u64::from(changed);
        changed
    }

    /// How often one direction was cut or mended: tells a cut that lasted from two short ones.
    pub fn cuts(&self, a: usize, b: usize) -> u64 {
        self.links[&pair(a, b)].cuts[usize::from(a > b)]
    }

    /// Begins a connection from `dialler` to `other`.
    pub fn dial(&mut self, now_ms: u64, dialler: usize, other: usize) -> ConnId {
        self.last_conn += 1;
        let conn = ConnId(self.last_conn);
        let connection = Connection {
            nodes: [dialler, other],
            since_ms: now_ms,
            ends: [End::Opening; 2],
            outgoing: Default::default(),
            incoming: Default::default(),
        };
        self.connections.insert(conn, connection);
        conn
    }

    /// The two nodes of a connection, the dialler first.
    pub fn nodes(&self, conn: ConnId) -> Option<[usize; 2]> {
        Some(self.connections.get(&conn)?.nodes)
    }

    /// How long ago a connection was dialled.
    pub fn age_ms(&self, conn: ConnId, now_ms: u64) -> u64 {
        let connection = self.connections.get(&conn);
        connection.map_or(0, |connection| now_ms.saturating_sub(connection.since_ms))
    }

    /// What an end knows.
    pub fn end(&self, conn: ConnId, side: usize) -> End {
        let connection = self.connections.get(&conn);
        connection.map_or(End::Closed, |connection| connection.ends[side])
    }

    /// Which end of a connection a node is.
    pub fn side_of(&self, conn: ConnId, node: usize) -> Option<usize> {
        let nodes = self.connections.get(&conn)?.nodes;
        nodes.iter().position(|end| *end == node)
    }

    /// An end is open now.
    pub fn open_end(&mut self, conn: ConnId, side: usize) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.ends[side] = End::Open;
        }
    }

    /// An end is gone; says whether it was there. What it had not sent goes with it.
    pub fn close_end(&mut self, conn: ConnId, side: usize) -> bool {
        let Some(connection) = self.connections.get_mut(&conn) else {
            return false;
        };
        let was = std::mem::replace(&mut connection.ends[side], End::Closed);
        connection.outgoing[side] = Outgoing::default();
        if connection.ends == [End::Closed; 2] {
            self.connections.remove(&conn);
        }
        was != End::Closed
    }

    /// Connections that are open at a node's end, with that end.
    pub fn open_at(&self, node: usize) -> Vec<(ConnId, usize)> {
        let all = self.connections.iter();
        all.flat_map(|(conn, connection)| {
            let sides = (0..2).map(move |side| (conn, connection, side));
            sides.filter(|(_, connection, side)| connection.nodes[*side] == node)
        })
        .filter(|(_, connection, side)| connection.ends[*side] == End::Open)
        .map(|(conn, _, side)| (*conn, side))
        .collect()
    }

    /// Whether `node` has a connection with `other`, or is making one.
    pub fn has_conn(&self, node: usize, other: usize) -> bool {
        self.connections.values().any(|connection| {
            let mine = connection.nodes.iter().position(|end| *end == node);
            connection.nodes.contains(&other)
                && mine.is_some_and(|side| connection.ends[side] != End::Closed)
        })
    }

    /// Every connection over a link.
    pub fn conns_of(&self, a: usize, b: usize) -> Vec<ConnId> {
        let over =
            |connection: &Connection| pair(connection.nodes[0], connection.nodes[1]) == pair(a, b);
        let all = self.connections.iter();
        all.filter(|(_, connection)| over(connection))
            .map(|(conn, _)| *conn)
            .collect()
    }

    /// Every connection.
    pub fn conns(&self) -> Vec<ConnId> {
        self.connections.keys().copied().collect()
    }

    /// Queues a frame. When the direction was idle: the time at which the frame has left.
    pub fn push(
        &mut self,
        now_ms: u64,
        conn: ConnId,
        side: usize,
        stream: StreamKind,
        frame: Vec<u8>,
    ) -> Option<u64> {
        let connection = self.connections.get_mut(&conn)?;
        if connection.ends[side] != End::Open {
            return None;
        }
        let [a, b] = connection.nodes;
        let quality = self.links[&pair(a, b)].quality;
        let outgoing = &mut connection.outgoing[side];
        outgoing.queue(stream, frame);
        outgoing.start(now_ms, quality)
    }

    /// The frame under way of one direction has left; `None` when the end closed meanwhile, or the direction is cut: then
    /// it stays until [`Net::take_stalled`] says to try again.
    pub fn depart(
        &mut self,
        now_ms: u64,
        conn: ConnId,
        side: usize,
        rng: &mut StdRng,
    ) -> Option<Departed> {
        let [a, b] = self.connections.get(&conn)?.nodes;
        let (from, to) = if side == 0 { (a, b) } else { (b, a) };
        let carries = self.carries(from, to);
        let quality = self.links[&pair(a, b)].quality;
        let outgoing = &mut self.connections.get_mut(&conn)?.outgoing[side];
        if !carries {
            outgoing.stalled = true;
            return None;
        }
        outgoing.stalled = false;
        let (stream, offset, frame) = outgoing.take()?;
        let fate = quality.fate(now_ms, frame.len(), rng);
        Some(Departed {
            stream,
            offset,
            fate,
            unsent_bytes: outgoing.waiting_bytes(stream),
            next_ms: outgoing.start(now_ms, quality),
            frame,
        })
    }

    /// Directions from `from` to `to` that wait for the link to carry again; each is given out once.
    pub fn take_stalled(&mut self, from: usize, to: usize) -> Vec<(ConnId, usize)> {
        let mut stalled = Vec::new();
        for (conn, connection) in &mut self.connections {
            let Some(side) = connection.nodes.iter().position(|node| *node == from) else {
                continue;
            };
            if connection.nodes[1 - side] == to
                && std::mem::take(&mut connection.outgoing[side].stalled)
            {
                stalled.push((*conn, side));
            }
        }
        stalled
    }

    /// A frame arrives at an end: those that are in order now. `Err` for a second copy.
    pub fn arrive(
        &mut self,
        conn: ConnId,
        side: usize,
        stream: StreamKind,
        offset: u64,
        frame: Vec<u8>,
    ) -> Result<Vec<Vec<u8>>, ()> {
        match self.connections.get_mut(&conn) {
            Some(connection) if connection.ends[side] == End::Open => {
                connection.incoming[side].take(stream, offset, frame)
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Bytes of one lane that an end holds back because the link has not taken them.
    pub fn unsent_bytes(&self, conn: ConnId, side: usize, stream: StreamKind) -> usize {
        let connection = self.connections.get(&conn);
        connection.map_or(0, |connection| {
            connection.outgoing[side].waiting_bytes(stream)
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rand::SeedableRng;
    use sync_engine::Lane;

    use super::*;

    const STEADY: Quality = Quality {
        delay_ms: 10,
        jitter_ms: 0,
        bytes_per_s: 1_000,
        lost_permille: 0,
        twice_permille: 0,
        late_permille: 0,
    };

    fn open() -> (Net, ConnId, StdRng) {
        let mut net = Net::default();
        net.lay(0, 1, STEADY);
        let conn = net.dial(0, 0, 1);
        net.open_end(conn, 0);
        net.open_end(conn, 1);
        (net, conn, StdRng::seed_from_u64(1))
    }

    #[test]
    fn urgent_frames_leave_before_bulk_that_waits() {
        let (mut net, conn, mut rng) = open();
        let bulk = StreamKind::Lane(Lane::Raw);
        let flash = StreamKind::Lane(Lane::Flash);
        assert_eq!(net.push(0, conn, 0, bulk, vec![0; 1_000]), Some(1_000));
        assert_eq!(net.push(0, conn, 0, bulk, vec![0; 1_000]), None);
        assert_eq!(net.push(0, conn, 0, flash, vec![0; 10]), None);
        let first = net.depart(1_000, conn, 0, &mut rng).unwrap();
        assert_eq!((first.stream, first.unsent_bytes), (bulk, 1_000));
        assert_eq!((first.fate.at_ms, first.next_ms), (1_010, Some(1_010)));
        assert_eq!(net.depart(1_010, conn, 0, &mut rng).unwrap().stream, flash);
    }

    #[test]
    fn a_cut_direction_keeps_its_frame_until_it_is_mended() {
        let (mut net, conn, mut rng) = open();
        net.push(0, conn, 0, StreamKind::Control, vec![0; 10]);
        assert!(net.set_cut(0, 1, true));
        assert!(net.depart(10, conn, 0, &mut rng).is_none());
        assert_eq!(net.take_stalled(0, 1), [(conn, 0)]);
        assert!(net.carries(1, 0) && !net.carries(0, 1));
        assert!(net.set_cut(0, 1, false));
        assert!(net.depart(20, conn, 0, &mut rng).is_some());
    }

    #[test]
    fn frames_are_put_in_order_and_second_copies_dropped() {
        let (mut net, conn, _) = open();
        let control = StreamKind::Control;
        assert_eq!(net.arrive(conn, 1, control, 1, vec![1]), Ok(vec![]));
        assert_eq!(
            net.arrive(conn, 1, control, 0, vec![0]),
            Ok(vec![vec![0], vec![1]])
        );
        assert_eq!(net.arrive(conn, 1, control, 1, vec![1]), Err(()));
    }

    #[test]
    fn an_end_that_closed_neither_sends_nor_hears() {
        let (mut net, conn, _) = open();
        assert!(net.close_end(conn, 0));
        assert_eq!(net.push(0, conn, 0, StreamKind::Control, vec![0]), None);
        assert_eq!(
            (net.end(conn, 0), net.end(conn, 1)),
            (End::Closed, End::Open)
        );
        assert!(net.close_end(conn, 1));
        assert!(net.conns().is_empty());
    }
}
