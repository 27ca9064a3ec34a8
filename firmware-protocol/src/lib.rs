//! firmware-protocol
