//! sync-quic
