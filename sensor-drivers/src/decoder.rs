//! The seam for decoders: a message comes in with its topic, what it says goes out.
//!
//! Invariant: a decoder gives everything a message says or an error, never a part and an error; the message is a dead
//! letter as a whole or not at all.

use crate::{DecodeError, Decoded};

/// One message as it arrived.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    /// When this node received it, ms since 1970: relative times are resolved against it.
    pub received_ms: i64,
}

/// Understands the messages of one format.
pub trait Decoder: Send + Sync {
    /// Decodes one message.
    ///
    /// # Errors
    /// What makes the message a dead letter.
    fn decode(&self, message: &Message<'_>) -> Result<Decoded, DecodeError>;

    /// It takes milliseconds, and where a script misbehaves [`script::WALL_MAX`](crate::script::WALL_MAX) and more: not
    /// for the thread that serves connections.
    fn takes_time(&self) -> bool {
        false
    }
}
