//! Why a message could not be decoded, in words for people.
//!
//! Invariant: [`DecodeError::code`] is stable (metrics and scripts use it); the `Display` text may be reworded.

use thiserror::Error;

use crate::script::{BUDGET_STEPS, MEMORY_BYTES_MAX, WALL_MAX};
use crate::tree::{JSON_BYTES_MAX, NODES_MAX};
use crate::{
    DEPTH_MAX, DEVICES_MAX, LEVEL_BYTES_MAX, PAYLOAD_BYTES_MAX, SAMPLES_MAX, TEXT_BYTES_MAX,
    UNIT_BYTES_MAX,
};

/// What is wrong with a topic or a payload. The text goes into the dead letter's `reason`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Nothing understands this topic.
    #[error(
        "no decoder covers this topic: publish to muster/v1/<device>/<channel>, or add an entry to [[decoders]]"
    )]
    UnknownTopic,
    /// The topic starts with `muster/v1` but has too few or too many levels.
    #[error("the topic has {levels} levels where muster/v1/<device>/<channel> has 4")]
    TopicLevels { levels: usize },
    /// The topic has not the form that the format gives its topics.
    #[error("the topic has not the form {form}")]
    TopicForm { form: &'static str },
    /// A configured name is made of a level that this topic does not have.
    #[error("the {part} is level {level} of the topic, which has {levels}")]
    TopicLevelMissing {
        part: &'static str,
        level: usize,
        levels: usize,
    },
    /// A name is empty.
    #[error("the name of the {part} is empty")]
    NameEmpty { part: &'static str },
    /// A name is too long.
    #[error("the name of the {part} has {bytes} bytes, at most {LEVEL_BYTES_MAX} are allowed")]
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
    /// The payload is larger than a message of many values needs to be.
    #[error("the payload has {bytes} bytes, at most {JSON_BYTES_MAX} are allowed")]
    MessageTooLarge { bytes: usize },
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
    /// The same, where a message has many values.
    #[error("{name}: the value is not a finite number (NaN, infinite, or beyond ±1.8e308)")]
    ValueNotFinite { name: String },
    /// Broken JSON; the text says where.
    #[error("the payload is not valid JSON: {detail}")]
    Json { detail: String },
    /// Broken CBOR; the text says where.
    #[error("the payload is not valid CBOR: {detail}")]
    Cbor { detail: String },
    /// Arrays or objects inside each other without end.
    #[error("the payload is nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// More members and elements than any message of a sensor has.
    #[error("the payload has more than {NODES_MAX} members and elements")]
    TooManyParts,
    /// A member appears twice, so that nobody can say which one is meant.
    #[error("the member {name:?} appears twice")]
    Duplicate { name: &'static str },
    /// The same, where the member's name is the sender's.
    #[error("the member {name:?} appears twice")]
    DuplicateMember { name: String },
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

    /// A message of the format must look otherwise.
    #[error("not a {format} message: {detail}")]
    Form {
        format: &'static str,
        detail: String,
    },
    /// A member that the configuration or the format requires is missing or of the wrong type.
    #[error("{at}: {problem}")]
    Member { at: String, problem: &'static str },
    /// More values than one message may carry.
    #[error("the message has more than {SAMPLES_MAX} values")]
    TooManySamples,
    /// More devices than one message may speak of.
    #[error("the message speaks of more than {DEVICES_MAX} devices")]
    TooManyDevices,
    /// A text message longer than any radio carries.
    #[error("the text has {bytes} bytes, at most {TEXT_BYTES_MAX} are allowed")]
    TextTooLong { bytes: usize },
    /// A LoRaWAN payload that nobody has taken apart.
    #[error(
        "the uplink has only raw bytes: set a codec in ChirpStack's device profile, or a script in this decoder's entry"
    )]
    RawPayload,

    /// The script did not finish within its steps: it loops, or does far too much.
    #[error(
        "the script did not finish within {BUDGET_STEPS} steps: it loops for ever or does too much"
    )]
    ScriptSteps,
    /// The script took too long by the clock.
    #[error("the script did not finish within {} ms", WALL_MAX.as_millis())]
    ScriptTime,
    /// The script wanted more memory than it may have.
    #[error("the script needs more than {} KiB of memory", MEMORY_BYTES_MAX / 1024)]
    ScriptMemory,
    /// The script calls itself without end.
    #[error("the script calls itself too deeply")]
    ScriptStack,
    /// The script threw an exception.
    #[error("the script failed: {detail}")]
    ScriptFailed { detail: String },
    /// The script said that it cannot decode this payload.
    #[error("the script refused the payload: {detail}")]
    ScriptRefused { detail: String },
    /// What the script returned is not `{ data: {…} }`.
    #[error("the script returned something else than {{ data: {{…}} }}: {detail}")]
    ScriptResult { detail: String },
}

impl DecodeError {
    /// A short stable name, for counters and scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownTopic => "unknown-topic",
            Self::TopicLevels { .. } => "topic-levels",
            Self::TopicForm { .. } => "topic-form",
            Self::TopicLevelMissing { .. } => "topic-level-missing",
            Self::NameEmpty { .. } => "name-empty",
            Self::NameTooLong { .. } => "name-too-long",
            Self::NameCharacter { .. } => "name-character",
            Self::ChannelReserved { .. } => "channel-reserved",
            Self::Empty => "payload-empty",
            Self::TooLarge { .. } | Self::MessageTooLarge { .. } => "payload-too-large",
            Self::NotText { .. } => "not-text",
            Self::NotANumber => "not-a-number",
            Self::DecimalComma => "decimal-comma",
            Self::NotFinite | Self::ValueNotFinite { .. } => "not-finite",
            Self::Json { .. } => "invalid-json",
            Self::Cbor { .. } => "invalid-cbor",
            Self::TooDeep => "too-deep",
            Self::TooManyParts => "too-many-parts",
            Self::Duplicate { .. } | Self::DuplicateMember { .. } => "duplicate-member",
            Self::ValueMissing => "value-missing",
            Self::ValueType { .. } => "value-type",
            Self::Time => "time",
            Self::TimeRange => "time-range",
            Self::UnitType { .. } => "unit-type",
            Self::UnitTooLong { .. } => "unit-too-long",
            Self::UnitCharacter => "unit-character",
            Self::Form { .. } => "wrong-form",
            Self::Member { .. } => "member",
            Self::TooManySamples => "too-many-samples",
            Self::TooManyDevices => "too-many-devices-in-message",
            Self::TextTooLong { .. } => "text-too-long",
            Self::RawPayload => "raw-payload",
            Self::ScriptSteps => "script-steps",
            Self::ScriptTime => "script-time",
            Self::ScriptMemory => "script-memory",
            Self::ScriptStack => "script-stack",
            Self::ScriptFailed { .. } => "script-failed",
            Self::ScriptRefused { .. } => "script-refused",
            Self::ScriptResult { .. } => "script-result",
        }
    }

    /// Whether the same bytes may decode later with nothing else changed: only then is it worth trying again without a
    /// person. All else is a property of the message and of the configuration.
    pub fn may_pass(&self) -> bool {
        // A script that is slow by the clock may only have met a busy machine; its steps were within bounds.
        matches!(self, Self::ScriptTime)
    }
}
