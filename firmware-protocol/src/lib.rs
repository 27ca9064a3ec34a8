//! The wire protocol between a sensor's firmware and a node: over a UART, USB, RS-485 or any other byte pipe.
//!
//! Invariants:
//! - `no_std` and without an allocator: everything has a fixed size, and the same code runs in the sensor and the node
//!   (`make no-std-check` proves it).
//! - Whatever arrives, nothing panics; a whole frame is found again directly after any noise.
//! - A frame is bytes at rest as well: `vectors/*.hex` hold one of each kind, and every version to come must still
//!   read them.
//!
//! ```text
//! 00 │ COBS( header 22 │ body ≤ 466 │ tag 0 or 16 │ CRC-32 4 ) │ 00
//! ```
//!
//! A frame is enclosed in zeros on both sides: the first one ends whatever noise came before, so that noise costs no
//! frame but those it hits. The CRC covers header, body and tag: it tells a damaged frame from a forged one, and lies
//! outside the authentication tag so that a relay without the key can drop damaged frames.
//!
//! Delivery: readings are numbered per boot without gaps. The node acknowledges cumulatively, and only what is on
//! disk ([`Ack`]); the device keeps the rest and sends it again, or says what it had to drop ([`Gap`]). How many
//! readings it may send beyond the acknowledged ones is the node's `credit`.

#![no_std]
#![forbid(unsafe_code)]

mod frame;
mod header;
mod message;
mod reader;
mod schema;

pub use frame::{
    BODY_BYTES_MAX, EncodeError, FRAME_BYTES_MAX, Frame, FrameError, TAG_BYTES, encode_frame,
    encode_message,
};
pub use header::{Direction, HEADER_BYTES, Header, MessageType, VERSION};
pub use message::{
    Ack, BatchFull, BodyError, CHANNELS_MAX, Channel, Gap, GapReason, Hello, Message, Reading,
    ReadingBatch, SAMPLES_MAX, Sample,
};
pub use reader::{FrameReader, ReaderCounts};
pub use schema::{SCHEMA, SCHEMA_HASH};
