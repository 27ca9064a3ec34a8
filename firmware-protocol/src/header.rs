//! The fixed little-endian header.
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 1 | version, 1 |
//! | 1 | 1 | message type |
//! | 2 | 1 | flags: bit 0 tag present, bit 1 from node to device; the others are 0 |
//! | 3 | 1 | key number, 0 while there is no tag |
//! | 4 | 8 | device id |
//! | 12 | 4 | boot counter of the sender |
//! | 16 | 4 | sequence of this frame |
//! | 20 | 2 | length of the body |
//!
//! Invariant: (key, direction, boot, sequence) never repeats, also when readings are sent again: it will be the nonce
//! of the authentication. That is why readings carry numbers of their own in the body.

use crate::FrameError;

/// The version that this crate speaks. Every version keeps the version in the first byte and the CRC-32 in the last
/// four, so that an unknown version is told from noise.
pub const VERSION: u8 = 1;

/// Length of the header.
pub const HEADER_BYTES: usize = 22;

const FLAG_TAG: u8 = 0b01;
const FLAG_TO_DEVICE: u8 = 0b10;

/// Who sent a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    FromDevice,
    ToDevice,
}

/// What the body holds. Unknown types are kept as they are: a frame of a later type is not an error of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageType(pub u8);

impl MessageType {
    pub const HELLO: Self = Self(1);
    pub const READINGS: Self = Self(2);
    pub const ACK: Self = Self(3);
    pub const GAP: Self = Self(4);
}

/// What a frame says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Header {
    pub message_type: MessageType,
    pub direction: Direction,
    /// Which of the device's keys made the tag; 0 without a tag.
    pub key: u8,
    /// The device on this link, also in frames to it (several may share an RS-485 bus).
    pub device: u64,
    /// Counts the sender's starts; kept in non-volatile memory.
    pub boot: u32,
    /// Counts the sender's frames since that start.
    pub sequence: u32,
}

impl Header {
    pub(crate) fn encode(&self, tagged: bool, body_bytes: u16) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[0] = VERSION;
        out[1] = self.message_type.0;
        out[2] = if tagged { FLAG_TAG } else { 0 };
        if self.direction == Direction::ToDevice {
            out[2] |= FLAG_TO_DEVICE;
        }
        out[3] = self.key;
        out[4..12].copy_from_slice(&self.device.to_le_bytes());
        out[12..16].copy_from_slice(&self.boot.to_le_bytes());
        out[16..20].copy_from_slice(&self.sequence.to_le_bytes());
        out[20..22].copy_from_slice(&body_bytes.to_le_bytes());
        out
    }

    /// Gives the header, whether a tag follows the body, and the length of the body.
    pub(crate) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<(Self, bool, usize), FrameError> {
        let [version, message_type, flags, key, rest @ ..] = *bytes;
        if version != VERSION {
            return Err(FrameError::Version { found: version });
        }
        if flags & !(FLAG_TAG | FLAG_TO_DEVICE) != 0 {
            return Err(FrameError::Flags { found: flags });
        }
        let [
            d0,
            d1,
            d2,
            d3,
            d4,
            d5,
            d6,
            d7,
            b0,
            b1,
            b2,
            b3,
            s0,
            s1,
            s2,
            s3,
            l0,
            l1,
        ] = rest;
        let header = Self {
            message_type: MessageType(message_type),
            direction: if flags & FLAG_TO_DEVICE == 0 {
                Direction::FromDevice
            } else {
                Direction::ToDevice
            },
            key,
            device: u64::from_le_bytes([d0, d1, d2, d3, d4, d5, d6, d7]),
            boot: u32::from_le_bytes([b0, b1, b2, b3]),
            sequence: u32::from_le_bytes([s0, s1, s2, s3]),
        };
        Ok((
            header,
            flags & FLAG_TAG != 0,
            usize::from(u16::from_le_bytes([l0, l1])),
        ))
    }
}
