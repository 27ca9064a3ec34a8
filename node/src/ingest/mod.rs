//! Sensor intake: the protocols that sensors speak, up to the door of [`crate::app::ingest`].
//!
//! Invariant: nothing here knows the store. A protocol hands messages to an `IngestSession` and acknowledges them to
//! the sender when the session's `Submission` says that they are on disk; it never acknowledges anything earlier.

pub mod broker;
pub mod mqtt;
