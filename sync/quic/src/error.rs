//! What can go wrong when a node takes part in the network, in words that a person can act on.

use std::net::SocketAddr;

/// Why sync could not start.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The UDP socket could not be had.
    #[error("listen on udp {addr}")]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    /// The key was refused by the TLS library.
    #[error("prepare tls identity")]
    Tls(#[source] rustls::Error),
    /// The TLS library lacks the cipher that QUIC starts with.
    #[error("tls provider has no cipher for quic")]
    NoInitialCipher(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
    /// A duration in the limits does not fit the transport.
    #[error("{name} is out of range")]
    Limit {
        /// Name of the field.
        name: &'static str,
    },
}
