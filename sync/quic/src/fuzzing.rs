//! The shell's own decoders, for `tests/fuzz` alone: not part of what this crate offers.
//!
//! Each function takes any bytes, as long as they may be, and says whether they were taken.

use crate::join::JoinError;
use crate::join::messages::{ANSWER_BYTES_MAX, REQUEST_BYTES_MAX, RequestWire, decode_answer};
use crate::wire::{self, Preface};

/// The longest of each.
pub const JOIN_REQUEST_BYTES_MAX: usize = REQUEST_BYTES_MAX;
/// See [`JOIN_REQUEST_BYTES_MAX`].
pub const JOIN_ANSWER_BYTES_MAX: usize = ANSWER_BYTES_MAX;
/// See [`JOIN_REQUEST_BYTES_MAX`].
pub const PREFACE_BYTES_MAX: usize = wire::PREFACE_BYTES_MAX;

/// What a joiner says.
pub fn join_request(bytes: &[u8]) -> bool {
    RequestWire::decode(bytes).is_ok()
}

/// What an inviter answers; a refusal is an answer too.
pub fn join_answer(bytes: &[u8]) -> bool {
    matches!(decode_answer(bytes), Ok(_) | Err(JoinError::Refused(_)))
}

/// What stands first on a control stream.
pub fn preface(bytes: &[u8]) -> bool {
    Preface::decode(bytes).is_some()
}
