//! Why a message could not be decoded, in words for people.
//!
//! Invariant: [`DecodeError::code`] is stable (metrics and scripts use it); the `Display` text may be reworded.

use thiserror::Error;

use crate::{DEPTH_MAX, LEVEL_BYTES_MAX, PAYLOAD_BYTES_MAX, UNIT_BYTES_MAX};

/// What is wrong with a topic or a payload. The text goes into the dead letter's `reason`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Nothing understands this topic.
    #[error("no decoder covers this topic: publish to muster/v1/<device>/<channel>")]
    UnknownTopic,
    /// The topic starts with `muster/v1` but has too few or too many levels.
    #[error("the topic has {levels} levels where muster/v1/<device>/<channel> has 4")]
    TopicLevels { levels: usize },
    /// A name in the topic is empty.
    #[error("the {part} in the topic is empty")]
    NameEmpty { part: &'static str },
    /// A name in the topic is too long.
    #[error("the {part} in the topic has {bytes} bytes, at most {LEVEL_BYTES_MAX} are allowed")]
    NameTooLong { part: &'static str, bytes: usize },
    /// A name in the topic holds a control character, `+` or `#`.
    #[error("the {part} in the topic contains {character:?}, which is not allowed in a name")]
    NameCharacter { part: &'static str, character: char },
    /// `cmd` and `state` belong to the node.
    #[error("the channel {channel:?} is reserved for the node itself: choose another channel name")]
    ChannelReserved { channel: &'static str },

    /// The payload has no bytes, or only blanks.
    #[error("the payload is empty")]
    Empty,
    /// The payload is larger than any single reading needs to be.
    #[error("the payload has {bytes} bytes, at most {PAYLOAD_BYTES_MAX} are allowed")]
    TooLarge { bytes: usize },
    /// The payload is binary.
    #[error("the payload is not UTF-8 text (first bad byte at {at})")]
    NotText { at: usize },
    /// The payload is text, but neither a number nor an object.
    #[error("the payload is neither a number nor a JSON object such as {{\"v\":21.5}}")]
    NotANumber,
    /// A number written with a comma.
    #[error("the number has a decimal comma: write 21.5, not 21,5")]
    DecimalComma,
    /// NaN, an infinity, or a number that a 64-bit float cannot hold.
    #[error("the value is not a finite number (NaN, infinite, or beyond ±1.8e308)")]
    NotFinite,
    /// Broken JSON; the text says where.
    #[error("the payload is not valid JSON: {detail}")]
    Json { detail: String },
    /// Arrays or objects inside each other without end.
    #[error("the JSON is nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// A member appears twice, so that nobody can say which one is meant.
    #[error("the member {name:?} appears twice")]
    Duplicate { name: &'static str },
    /// There is no `v`.
    #[error("the member \"v\" with the value is missing")]
    ValueMissing,
    /// `v` is not a number.
    #[error("the member \"v\" is {found}, it must be a number")]
    ValueType { found: &'static str },
    /// `t` is not a time that we understand.
    #[error(
        "the member \"t\" is not a time: give RFC 3339 such as \"2026-03-01T12:00:00Z\", or whole milliseconds since 1970"
    )]
    Time,
    /// `t` is a time outside the years 0 to 9999.
    #[error("the member \"t\" lies outside the years 0 to 9999")]
    TimeRange,
    /// `u` is not a string.
    #[error("the member \"u\" is {found}, it must be a string with the unit")]
    UnitType { found: &'static str },
    /// `u` is too long.
    #[error("the unit has {bytes} bytes, at most {UNIT_BYTES_MAX} are allowed")]
    UnitTooLong { bytes: usize },
    /// `u` holds a control character.
    #[error("the unit contains a control character")]
    UnitCharacter,
}

impl DecodeError {
    /// A short stable name, for counters and scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownTopic => "unknown-topic",
            Self::TopicLevels { .. } => "topic-levels",
            Self::NameEmpty { .. } => "name-empty",
            Self::NameTooLong { .. } => "name-too-long",
            Self::NameCharacter { .. } => "name-character",
            Self::ChannelReserved { .. } => "channel-reserved",
            Self::Empty => "payload-empty",
            Self::TooLarge { .. } => "payload-too-large",
            Self::NotText { .. } => "not-text",
            Self::NotANumber => "not-a-number",
            Self::DecimalComma => "decimal-comma",
            Self::NotFinite => "not-finite",
            Self::Json { .. } => "invalid-json",
            Self::TooDeep => "too-deep",
            Self::Duplicate { .. } => "duplicate-member",
            Self::ValueMissing => "value-missing",
            Self::ValueType { .. } => "value-type",
            Self::Time => "time",
            Self::TimeRange => "time-range",
            Self::UnitType { .. } => "unit-type",
            Self::UnitTooLong { .. } => "unit-too-long",
            Self::UnitCharacter => "unit-character",
        }
    }
}
