//! What the bodies hold, as postcard (its wire format 1: varints, no names).
//!
//! Invariants: every body has room in a frame when it is full; a decoded body has no bytes left over.

use core::fmt;

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

use crate::frame::EncodeError;
use crate::header::MessageType;

/// Most channels of a device: more than sensors have, and their names still fit into one hello.
pub const CHANNELS_MAX: usize = 8;

/// Most readings of a batch: what fits into one frame at their longest.
pub const SAMPLES_MAX: usize = 30;

/// A body together with its type.
// The two large variants are of about the same size, and there is no allocator to box them with.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Message {
    Hello(Hello),
    Readings(ReadingBatch),
    Ack(Ack),
    Gap(Gap),
}

/// Sent by a device after each start and whenever the node asks (by an [`Ack`] of a boot that the device does not
/// know): who it is and what its channels mean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`crate::SCHEMA_HASH`] of the firmware.
    pub schema: [u8; 8],
    /// The device's name, as in a topic.
    pub name: String<32>,
    /// Version of the firmware, for people.
    pub firmware: String<24>,
    /// Time since boot at the moment of sending: it anchors the device's times to the node's clock.
    pub uptime_us: u64,
    /// Number of the oldest reading of this boot that the device still holds.
    pub oldest: u32,
    /// Channels; readings name them by their place in this list.
    pub channels: Vec<Channel, CHANNELS_MAX>,
}

/// One thing that a device measures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    pub name: String<24>,
    /// UCUM, or empty.
    pub unit: String<16>,
}

/// Readings with consecutive numbers, in the order in which they were taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadingBatch {
    /// Boot in which they were taken, which may be an earlier one.
    pub boot: u32,
    /// Number of the first reading.
    pub first: u32,
    /// Time since boot from which the first sample counts.
    pub base_us: u64,
    pub samples: Vec<Sample, SAMPLES_MAX>,
}

/// One value within a batch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Place in [`Hello::channels`].
    pub channel: u8,
    /// Time since the sample before, the first one's since `base_us`.
    pub after_us: u32,
    /// In the channel's unit. The wire carries any float; what is not finite is refused by the node's driver.
    pub value: f64,
}

/// One value with what it takes from its batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// With device and boot it names the reading for ever: a second arrival is the same reading.
    pub sequence: u32,
    /// µs since boot.
    pub at_us: u64,
    pub channel: u8,
    pub value: f64,
}

/// From the node: every reading of `boot` below `next` is on disk (or known to be lost), and the device may forget it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    pub boot: u32,
    pub next: u32,
    /// Readings that the device may send from `next` on.
    pub credit: u16,
}

/// From the device: `count` readings from `first` on will never come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    pub boot: u32,
    pub first: u32,
    pub count: u32,
    pub reason: GapReason,
}

/// Why readings are lost. Unknown values are kept: a newer firmware may know more reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapReason(pub u8);

impl GapReason {
    /// The node was away for longer than the device's memory lasts.
    pub const BUFFER_FULL: Self = Self(1);
    /// The device started anew before it could send them.
    pub const RESTART: Self = Self(2);
    /// The memory gave back something else than was stored.
    pub const MEMORY_FAULT: Self = Self(3);
}

/// The batch takes no further reading: send it and start the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchFull;

impl ReadingBatch {
    /// An empty batch whose first reading will have the number `first`.
    pub const fn new(boot: u32, first: u32) -> Self {
        Self {
            boot,
            first,
            base_us: 0,
            samples: Vec::new(),
        }
    }

    /// Appends the next reading.
    ///
    /// # Errors
    /// [`BatchFull`] after [`SAMPLES_MAX`] readings, and when the reading is older than the one before or more than
    /// 71 minutes (2³² µs) younger: a new batch can carry it.
    pub fn push(&mut self, at_us: u64, channel: u8, value: f64) -> Result<(), BatchFull> {
        if self.samples.is_empty() {
            self.base_us = at_us;
        }
        let last_us = self.readings().last().map_or(self.base_us, |r| r.at_us);
        let after_us = at_us.checked_sub(last_us).ok_or(BatchFull)?;
        let after_us = u32::try_from(after_us).map_err(|_| BatchFull)?;
        self.samples
            .push(Sample {
                channel,
                after_us,
                value,
            })
            .map_err(|_| BatchFull)
    }

    /// The readings with their own numbers and times. Numbers and times past the end of their range stay there, so that
    /// a hostile batch cannot wrap into someone else's.
    pub fn readings(&self) -> impl Iterator<Item = Reading> + '_ {
        let start = (self.base_us, self.first);
        self.samples
            .iter()
            .scan(start, |(at_us, sequence), sample| {
                *at_us = at_us.saturating_add(u64::from(sample.after_us));
                let reading = Reading {
                    sequence: *sequence,
                    at_us: *at_us,
                    channel: sample.channel,
                    value: sample.value,
                };
                *sequence = sequence.saturating_add(1);
                Some(reading)
            })
    }
}

/// Why an intact frame's body is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyError {
    /// A type of a later version.
    UnknownType { found: u8 },
    /// The frame has a tag; it must be opened first.
    Tagged,
    /// Not the fields of this type.
    Malformed { message_type: u8 },
    /// The fields of this type, and more.
    TrailingBytes { bytes: usize },
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownType { found } => write!(f, "unknown message type {found}"),
            Self::Tagged => f.write_str("frame is authenticated, its tag has to be checked first"),
            Self::Malformed { message_type } => {
                write!(f, "malformed body of message type {message_type}")
            }
            Self::TrailingBytes { bytes } => write!(f, "{bytes} bytes after the end of the body"),
        }
    }
}

impl core::error::Error for BodyError {}

impl Message {
    /// The type under which it travels.
    pub const fn message_type(&self) -> MessageType {
        match self {
            Self::Hello(_) => MessageType::HELLO,
            Self::Readings(_) => MessageType::READINGS,
            Self::Ack(_) => MessageType::ACK,
            Self::Gap(_) => MessageType::GAP,
        }
    }

    /// Writes the body to the front of `out` and gives that part.
    ///
    /// # Errors
    /// [`EncodeError::BodyTooLong`] when `out` is too short; [`crate::BODY_BYTES_MAX`] is always enough.
    pub fn encode<'o>(&self, out: &'o mut [u8]) -> Result<&'o [u8], EncodeError> {
        let written = match self {
            Self::Hello(body) => postcard::to_slice(body, out),
            Self::Readings(body) => postcard::to_slice(body, out),
            Self::Ack(body) => postcard::to_slice(body, out),
            Self::Gap(body) => postcard::to_slice(body, out),
        };
        written.map(|w| &*w).map_err(|_| EncodeError::BodyTooLong)
    }

    /// Reads a body.
    ///
    /// # Errors
    /// [`BodyError`], never [`BodyError::Tagged`].
    pub fn decode(message_type: MessageType, body: &[u8]) -> Result<Self, BodyError> {
        match message_type {
            MessageType::HELLO => whole(message_type, body).map(Self::Hello),
            MessageType::READINGS => whole(message_type, body).map(Self::Readings),
            MessageType::ACK => whole(message_type, body).map(Self::Ack),
            MessageType::GAP => whole(message_type, body).map(Self::Gap),
            MessageType(found) => Err(BodyError::UnknownType { found }),
        }
    }
}

fn whole<'b, T: Deserialize<'b>>(
    message_type: MessageType,
    body: &'b [u8],
) -> Result<T, BodyError> {
    let malformed = BodyError::Malformed {
        message_type: message_type.0,
    };
    let (value, rest) = postcard::take_from_bytes(body).map_err(|_| malformed)?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(BodyError::TrailingBytes { bytes: rest.len() })
    }
}
