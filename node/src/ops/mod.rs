//! Operations: logging, and the socket through which the command line reaches a running node.

pub mod local;
pub mod logging;
pub mod socket;
