//! Flow-control windows: what one connection may hold in QUIC's own buffers, and all of them together.
//!
//! A peer may send what its windows allow before anybody reads it, so that windows are memory that others spend. Two
//! things hold for each connection:
//!
//! - **No lane takes room from another.** `connection window = streams × stream window`: when every bulk lane is full to
//!   its window because its store is behind, `(streams − bulk lanes) × stream window` is left, and nobody but the
//!   control stream and the urgent lanes can use it.
//! - **No lane takes the send buffer.** [`SEND_WINDOW`] exceeds the largest connection window that a peer of this
//!   program grants, so that a lane meets its own stream's window first, and a flash frame always finds room in the
//!   transport, where its priority takes it to the front.
//!
//! Wide windows are what a fast or distant link needs, and what a node with a thousand peers cannot afford for all of
//! them: so there are a few wide places, some middle ones, and narrow ones for everybody else. A connection keeps its
//! place to its end, which makes the sum exact: see [`receive_bytes_max`].

use std::sync::Arc;

use quinn::{IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::SyncLimits;
use crate::error::SyncError;
use crate::wire::STREAMS;

/// Streams a peer may open beyond those that this version knows: it declines them one after the other, so that a later
/// version learns that its new kinds are not understood here.
const SPARE_STREAMS: usize = 1;
/// Streams a peer may have open towards us.
const UNI_STREAMS_MAX: usize = STREAMS + SPARE_STREAMS;
/// None: sync needs no answers on the same stream. A join gets one when it has shown that it is one.
const BIDI_STREAMS_MAX: u8 = 0;
/// What is on its way besides full streams: stream headers, and frames of the connection itself.
const SEND_MARGIN_BYTES: u64 = 256 * 1024;
/// Bytes of one connection that the other end has not acknowledged, at most: see the module. What normally bounds them
/// is the engine, which hands out little per lane before it is acknowledged.
const SEND_WINDOW: u64 = UNI_STREAMS_MAX as u64 * WIDTHS[0].stream_bytes as u64 + SEND_MARGIN_BYTES;

/// One class of windows.
struct Width {
    /// Unread bytes of one stream.
    stream_bytes: u32,
    /// Connections that may have it at one time; `None`: all others.
    places: Option<usize>,
}

/// From wide to narrow. The first carries 80 Mbit/s per lane at 50 ms round trip; the last still 400 kbit/s over a
/// satellite's 600 ms, and 5 Mbit/s at 50 ms.
const WIDTHS: [Width; 3] = [
    Width {
        stream_bytes: 512 * 1024,
        places: Some(8),
    },
    Width {
        stream_bytes: 128 * 1024,
        places: Some(56),
    },
    Width {
        stream_bytes: 32 * 1024,
        places: None,
    },
];

impl Width {
    const fn connection_bytes(&self) -> u32 {
        self.stream_bytes * UNI_STREAMS_MAX as u32
    }
}

/// Bytes that the peers of `connections` connections can make QUIC hold here without anybody reading them.
pub fn receive_bytes_max(connections: usize) -> usize {
    let mut left = connections;
    let mut sum = 0;
    for width in &WIDTHS {
        let here = width.places.unwrap_or(left).min(left);
        sum += here * width.connection_bytes() as usize;
        left -= here;
    }
    sum
}

/// A connection's place among the windows; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place(
    #[allow(dead_code, reason = "held for its drop")] Option<OwnedSemaphorePermit>,
);

/// The transports of a node, one for each width.
pub(crate) struct Windows {
    places: Vec<Option<Arc<Semaphore>>>,
    transports: Vec<Arc<TransportConfig>>,
    servers: Vec<Arc<quinn::ServerConfig>>,
}

impl Windows {
    pub(crate) fn new(
        server: &quinn::ServerConfig,
        limits: &SyncLimits,
    ) -> Result<Self, SyncError> {
        let mut windows = Self {
            places: Vec::new(),
            transports: Vec::new(),
            servers: Vec::new(),
        };
        for width in &WIDTHS {
            let transport = transport(limits, width)?;
            let mut server = server.clone();
            server.transport_config(transport.clone());
            let places = width.places.map(|places| Arc::new(Semaphore::new(places)));
            windows.places.push(places);
            windows.transports.push(transport);
            windows.servers.push(Arc::new(server));
        }
        Ok(windows)
    }

    /// The widest place that is free, for a connection that comes in.
    pub(crate) fn for_incoming(&self) -> (Place, Arc<quinn::ServerConfig>) {
        let (at, place) = self.claim();
        (place, self.servers[at].clone())
    }

    /// The widest place that is free, for a dial.
    pub(crate) fn for_dial(&self) -> (Place, Arc<TransportConfig>) {
        let (at, place) = self.claim();
        (place, self.transports[at].clone())
    }

    fn claim(&self) -> (usize, Place) {
        for (at, places) in self.places.iter().enumerate() {
            match places {
                None => return (at, Place(None)),
                Some(places) => {
                    if let Ok(permit) = places.clone().try_acquire_owned() {
                        return (at, Place(Some(permit)));
                    }
                }
            }
        }
        (WIDTHS.len() - 1, Place(None))
    }
}

/// The transport of an endpoint that makes one connection: `muster join`.
pub(crate) fn single(limits: &SyncLimits) -> Result<Arc<TransportConfig>, SyncError> {
    transport(limits, &WIDTHS[0])
}

fn transport(limits: &SyncLimits, width: &Width) -> Result<Arc<TransportConfig>, SyncError> {
    let idle = IdleTimeout::try_from(limits.idle).map_err(|_| SyncError::Limit { name: "idle" })?;
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(limits.keep_alive))
        .initial_rtt(limits.initial_rtt)
        .mtu_discovery_config(limits.mtu_discovery.then(MtuDiscoveryConfig::default))
        .max_concurrent_uni_streams(VarInt::from(UNI_STREAMS_MAX as u32))
        .max_concurrent_bidi_streams(VarInt::from(BIDI_STREAMS_MAX))
        .stream_receive_window(VarInt::from(width.stream_bytes))
        .receive_window(VarInt::from(width.connection_bytes()))
        .send_window(SEND_WINDOW)
        // Stream priorities carry the lanes; switching fairness off would defeat them.
        .send_fairness(true)
        // Unreliable datagrams are not used.
        .datagram_receive_buffer_size(None)
        .datagram_send_buffer_size(0);
    Ok(Arc::new(transport))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use sync_engine::{Lane, StreamKind};

    use super::*;

    #[test]
    fn full_bulk_lanes_always_leave_room_for_control_and_urgent_lanes() {
        let bulk = Lane::ALL.into_iter().filter(|lane| *lane > Lane::Life);
        let (bulk, urgent) = (bulk.count() + SPARE_STREAMS, 1 + Lane::Life as usize + 1);
        assert_eq!(bulk + urgent, UNI_STREAMS_MAX);
        for width in &WIDTHS {
            let left = width.connection_bytes() - bulk as u32 * width.stream_bytes;
            assert!(left >= urgent as u32 * width.stream_bytes);
            assert!(SEND_WINDOW > u64::from(width.connection_bytes()));
        }
        // A frame larger than its stream's window would still pass, piece by piece, but wait a round trip for each.
        let narrowest = WIDTHS[WIDTHS.len() - 1].stream_bytes as usize;
        assert!(narrowest * 4 >= StreamKind::Lane(Lane::Raw).frame_bytes_max() - 64);
    }

    #[test]
    fn a_thousand_connections_stay_within_the_stated_budget() {
        const MIB: usize = 1024 * 1024;
        assert!(receive_bytes_max(8) <= 36 * MIB);
        assert!(receive_bytes_max(64) <= 99 * MIB);
        assert!(receive_bytes_max(1_000) <= 363 * MIB);
    }

    #[test]
    fn wide_places_are_given_out_first_and_come_back() {
        let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        let identity = crate::identity::Identity::new(&key).unwrap();
        let limits = SyncLimits::default();
        let server = crate::endpoint::server(&identity, &limits).unwrap();
        let windows = Windows::new(&server, &limits).unwrap();
        let mut held: Vec<_> = (0..100).map(|_| windows.claim()).collect();
        let of = |width: usize| held.iter().filter(|(at, _)| *at == width).count();
        assert_eq!((of(0), of(1), of(2)), (8, 56, 36));
        held.truncate(3);
        assert_eq!(windows.claim().0, 0);
    }
}
