//! The UDP endpoint: one socket on which a node both accepts and dials.
//!
//! What one connection may hold in QUIC's own buffers is decided in `windows`.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use quinn::EndpointConfig;

use crate::config::SyncLimits;
use crate::error::SyncError;
use crate::identity::Identity;

/// The kernel's buffers: 20 ms of a fast LAN.
const SOCKET_BUFFER_BYTES: usize = 2 * 1024 * 1024;
/// Incoming handshakes wait in quinn until they are looked at; their first packets may hold this much.
const INCOMING_BUFFER_BYTES: u64 = 64 * 1024;

pub(crate) fn bind(
    listen: SocketAddr,
    key: &SigningKey,
    server: quinn::ServerConfig,
) -> Result<quinn::Endpoint, SyncError> {
    let listen_error = |source| SyncError::Listen {
        addr: listen,
        source,
    };
    let socket = UdpSocket::bind(listen).map_err(listen_error)?;
    widen(&socket);
    quinn::Endpoint::new(
        endpoint_config(key),
        Some(server),
        socket,
        Arc::new(quinn::TokioRuntime),
    )
    .map_err(listen_error)
}

/// Asks for room for a burst of all peers; where the system grants less, the rest of a burst is lost and sent again.
fn widen(socket: &UdpSocket) {
    let Ok(state) = quinn::udp::UdpSocketState::new(socket.into()) else {
        return;
    };
    let received = state.set_recv_buffer_size(socket.into(), SOCKET_BUFFER_BYTES);
    let sent = state.set_send_buffer_size(socket.into(), SOCKET_BUFFER_BYTES);
    if let Err(error) = received.and(sent) {
        tracing::debug!(%error, "udp buffers stay as they are");
    }
}

/// An endpoint that only dials, for `muster join`.
pub(crate) fn bind_client(
    remote: SocketAddr,
    key: &SigningKey,
) -> Result<quinn::Endpoint, SyncError> {
    let listen: SocketAddr = if remote.is_ipv6() {
        (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
    } else {
        (std::net::Ipv4Addr::UNSPECIFIED, 0).into()
    };
    let listen_error = |source| SyncError::Listen {
        addr: listen,
        source,
    };
    let socket = UdpSocket::bind(listen).map_err(listen_error)?;
    quinn::Endpoint::new(
        endpoint_config(key),
        None,
        socket,
        Arc::new(quinn::TokioRuntime),
    )
    .map_err(listen_error)
}

/// How the endpoint takes connections in; what each of them gets is chosen when it comes (`windows`).
pub(crate) fn server(
    identity: &Identity,
    limits: &SyncLimits,
) -> Result<quinn::ServerConfig, SyncError> {
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(identity.server()?));
    server
        .max_incoming(limits.handshakes_max)
        .incoming_buffer_size(INCOMING_BUFFER_BYTES)
        .incoming_buffer_size_total(INCOMING_BUFFER_BYTES * limits.handshakes_max as u64)
        // A truck that drives from Wi-Fi into a mobile network keeps its connection (RFC 9000 §9).
        .migration(true);
    Ok(server)
}

fn endpoint_config(key: &SigningKey) -> EndpointConfig {
    let mut config = EndpointConfig::new(Arc::new(ResetKey(blake3::derive_key(
        "muster 2026-11 quic stateless reset",
        &key.to_bytes(),
    ))));
    // quinn's own generator knows the ids of its own life alone, and leaves packets for those of the last one unanswered.
    config.cid_generator(|| Box::new(RandomIds));
    config
}

/// Connection ids without a pattern. So every packet for a connection that is not there is answered with a reset: a
/// smaller packet than the one that came, and at most one in 20 ms (quinn's `min_reset_interval`).
struct RandomIds;

/// As long as quinn's own.
const CONNECTION_ID_BYTES: usize = 8;

impl quinn::ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> quinn::ConnectionId {
        quinn::ConnectionId::new(&rand::random::<[u8; CONNECTION_ID_BYTES]>())
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

/// Key of the stateless reset tokens (RFC 9000 §10.3). It is derived from the node key, so that a node that lost its
/// memory in a crash can still tell its peers that their connections are gone, instead of letting them time out.
struct ResetKey([u8; 32]);

impl quinn::crypto::HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        signature_out.copy_from_slice(blake3::keyed_hash(&self.0, data).as_bytes());
    }

    fn signature_len(&self) -> usize {
        blake3::OUT_LEN
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), quinn::crypto::CryptoError> {
        let signature: [u8; blake3::OUT_LEN] = signature
            .try_into()
            .map_err(|_| quinn::crypto::CryptoError)?;
        // `blake3::Hash` compares in constant time.
        (blake3::keyed_hash(&self.0, data) == signature)
            .then_some(())
            .ok_or(quinn::crypto::CryptoError)
    }
}
