//! MQTT frames (§2.2 fixed header of 3.1.1, §2.1 of 5), and PUBLISH (§3.3 of both) decoded in place.
//!
//! Everything but PUBLISH goes to `mqtt-protocol-core`. PUBLISH is the one packet of which there are 100,000 a second:
//! the crate's own path builds owned packets and event lists (0.55 µs for a message and its PUBACK, a twentieth of a
//! core at that rate), so it is read here, borrowed from the socket's buffer, with every check of the standard.
//!
//! Invariant: a frame is cut only when all of it has arrived, and its declared length is checked before anybody waits
//! for it, so that a hostile length costs no memory.

use thiserror::Error;

use super::properties::{self, PublishProperties};
use super::reason;
use crate::app::mqtt::Qos;

/// What makes a stream of bytes not MQTT. The network connection is closed (§4.8 of 3.1.1, §4.13 of 5), in version 5 with
/// the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum FrameError {
    #[error("malformed remaining length")]
    RemainingLength,
    #[error("packet of {bytes} bytes, at most {max} are accepted")]
    TooLarge { bytes: usize, max: usize },
    #[error("packet type {0} is not one that a client sends")]
    PacketType(u8),
    #[error("reserved flags {flags:#06b} of packet type {packet_type}")]
    Flags { packet_type: u8, flags: u8 },
    #[error("malformed PUBLISH: {0}")]
    Publish(&'static str),
    #[error("properties of PUBLISH: {0}")]
    Properties(#[from] properties::PropertyError),
}

impl FrameError {
    /// Of MQTT 5.
    pub(super) fn reason_code(self) -> u8 {
        match self {
            FrameError::TooLarge { .. } => reason::PACKET_TOO_LARGE,
            FrameError::Properties(error) => error.reason_code,
            FrameError::PacketType(_) => reason::PROTOCOL_ERROR,
            FrameError::RemainingLength | FrameError::Flags { .. } | FrameError::Publish(_) => {
                reason::MALFORMED_PACKET
            }
        }
    }
}

/// Which MQTT a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// 3.1.1
    V3,
    /// 5
    V5,
}

/// Packet types that a client may send, MQTT 3.1.1 §2.2.1; AUTH, which only MQTT 5 has, follows a method that this
/// endpoint never agrees on.
pub(super) mod packet_type {
    pub(in super::super) const CONNECT: u8 = 1;
    pub(in super::super) const PUBLISH: u8 = 3;
    pub(in super::super) const PUBACK: u8 = 4;
    pub(in super::super) const PUBREC: u8 = 5;
    pub(in super::super) const PUBREL: u8 = 6;
    pub(in super::super) const PUBCOMP: u8 = 7;
    pub(in super::super) const SUBSCRIBE: u8 = 8;
    pub(in super::super) const UNSUBSCRIBE: u8 = 10;
    pub(in super::super) const PINGREQ: u8 = 12;
    pub(in super::super) const DISCONNECT: u8 = 14;
}

/// One whole packet, borrowed from the read buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// Fixed header's first byte: type in the upper four bits, flags in the lower.
    header: u8,
    /// The whole packet, fixed header included.
    pub(super) bytes: &'a [u8],
    /// What follows the fixed header.
    pub(super) body: &'a [u8],
}

impl Frame<'_> {
    pub(super) fn packet_type(&self) -> u8 {
        self.header >> 4
    }
}

/// Cuts the first packet off `buffer`; `None` while it is not complete.
///
/// # Errors
/// [`FrameError`] when no further byte could make it a packet that a client may send.
pub(super) fn next_frame(
    buffer: &[u8],
    packet_bytes_max: usize,
) -> Result<Option<Frame<'_>>, FrameError> {
    let Some((&header, after_header)) = buffer.split_first() else {
        return Ok(None);
    };
    check_header(header)?;
    let mut remaining = 0_usize;
    for (index, &byte) in after_header.iter().take(4).enumerate() {
        remaining |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let start = index + 2;
            let end = start + remaining;
            if end > packet_bytes_max {
                return Err(FrameError::TooLarge {
                    bytes: end,
                    max: packet_bytes_max,
                });
            }
            return Ok(buffer.get(..end).map(|bytes| Frame {
                header,
                bytes,
                body: &bytes[start..],
            }));
        }
    }
    if after_header.len() >= 4 {
        Err(FrameError::RemainingLength)
    } else {
        Ok(None)
    }
}

/// §2.2.2: flags that a packet does not use have fixed values, and anything else closes the connection.
fn check_header(header: u8) -> Result<(), FrameError> {
    use packet_type::*;
    let (packet_type, flags) = (header >> 4, header & 0x0f);
    let expected = match packet_type {
        PUBLISH => return Ok(()),
        CONNECT | PUBACK | PUBREC | PUBCOMP | PINGREQ | DISCONNECT => 0,
        PUBREL | SUBSCRIBE | UNSUBSCRIBE => 0b0010,
        other => return Err(FrameError::PacketType(other)),
    };
    if flags == expected {
        Ok(())
    } else {
        Err(FrameError::Flags { packet_type, flags })
    }
}

/// An application message, borrowed from its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Publish<'a> {
    pub(super) qos: Qos,
    /// Well-formed UTF-8 without NUL; whether it holds wildcards is left to the topic's decoder, see [`publish`].
    pub(super) topic: &'a str,
    pub(super) payload: &'a [u8],
    pub(super) retain: bool,
    /// Of MQTT 5.
    pub(super) properties: PublishProperties<'a>,
}

/// Reads a PUBLISH.
///
/// A wildcard in the topic is not an error here although §3.3.2.1 forbids it: closing the connection would make the
/// client send the same message again for ever, so the decoder makes a dead letter of it.
///
/// # Errors
/// [`FrameError::Publish`] and [`FrameError::Properties`] say what is wrong.
pub(super) fn publish<'a>(frame: &Frame<'a>, version: Version) -> Result<Publish<'a>, FrameError> {
    let (topic_bytes, rest) =
        split_string(frame.body).ok_or(FrameError::Publish("topic is cut off"))?;
    let topic =
        std::str::from_utf8(topic_bytes).map_err(|_| FrameError::Publish("topic is not UTF-8"))?;
    // In version 5 an empty one is an alias, of which the properties speak.
    if topic.is_empty() && version == Version::V3 {
        return Err(FrameError::Publish("topic is empty"));
    }
    if topic_bytes.contains(&0) {
        return Err(FrameError::Publish("topic contains NUL"));
    }
    let dup = frame.header & 0b1000 != 0;
    let with_id = |rest: &'a [u8]| match rest {
        [0, 0, ..] => Err(FrameError::Publish("packet identifier is 0")),
        [high, low, payload @ ..] => Ok((u16::from_be_bytes([*high, *low]), payload)),
        _ => Err(FrameError::Publish("packet identifier is cut off")),
    };
    let (qos, rest) = match (frame.header >> 1) & 0b11 {
        0 if dup => return Err(FrameError::Publish("DUP is set at QoS 0")),
        0 => (Qos::Zero, rest),
        1 => {
            let (packet_id, rest) = with_id(rest)?;
            (Qos::One { packet_id, dup }, rest)
        }
        2 => {
            let (packet_id, rest) = with_id(rest)?;
            (Qos::Two { packet_id }, rest)
        }
        _ => return Err(FrameError::Publish("QoS is 3")),
    };
    let (properties, payload) = match version {
        Version::V3 => (PublishProperties::default(), rest),
        Version::V5 => properties::of_publish(rest)?,
    };
    if topic.is_empty() {
        return Err(FrameError::Publish("topic is empty"));
    }
    Ok(Publish {
        qos,
        topic,
        payload,
        retain: frame.header & 1 != 0,
        properties,
    })
}

/// Protocol name and level of a CONNECT body (§3.1.2.1–2); `None` where it is too short to hold them.
pub(super) fn connect_protocol(body: &[u8]) -> Option<(&[u8], u8)> {
    let (name, rest) = split_string(body)?;
    rest.first().map(|&level| (name, level))
}

fn split_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 64 * 1024;

    #[test]
    fn a_frame_is_cut_only_when_it_is_complete() {
        let bytes = [0x30, 5, 0, 1, b'a', b'4', b'2', 0xc0];
        for length in 0..7 {
            assert_eq!(
                next_frame(&bytes[..length], MAX),
                Ok(None),
                "{length} bytes"
            );
        }
        let frame = next_frame(&bytes, MAX).unwrap().unwrap();
        assert_eq!(frame.bytes, &bytes[..7]);
        assert_eq!(
            publish(&frame, Version::V3),
            Ok(Publish {
                qos: Qos::Zero,
                topic: "a",
                payload: b"42",
                retain: false,
                properties: PublishProperties::default(),
            })
        );
    }

    #[test]
    fn a_length_above_the_bound_is_refused_before_its_bytes_arrive() {
        assert_eq!(
            next_frame(&[0x30, 0x80, 0x80, 0x04], MAX),
            Err(FrameError::TooLarge {
                bytes: 65_540,
                max: MAX
            })
        );
        assert_eq!(
            next_frame(&[0x30, 0xff, 0xff, 0xff, 0xff], MAX),
            Err(FrameError::RemainingLength)
        );
        assert_eq!(next_frame(&[0x30, 0xff, 0xff, 0xff], MAX), Ok(None));
    }

    #[test]
    fn packets_and_flags_that_no_client_sends_are_refused() {
        assert_eq!(next_frame(&[0x00], MAX), Err(FrameError::PacketType(0)));
        assert_eq!(next_frame(&[0x20], MAX), Err(FrameError::PacketType(2)));
        assert_eq!(next_frame(&[0xf0], MAX), Err(FrameError::PacketType(15)));
        assert_eq!(
            next_frame(&[0x80], MAX),
            Err(FrameError::Flags {
                packet_type: 8,
                flags: 0
            })
        );
        assert_eq!(
            next_frame(&[0xc1], MAX),
            Err(FrameError::Flags {
                packet_type: 12,
                flags: 1
            })
        );
    }

    #[test]
    fn a_publish_with_an_identifier_keeps_it_and_its_dup_mark() {
        let of = |bytes: &[u8]| {
            publish(&next_frame(bytes, MAX).unwrap().unwrap(), Version::V3).map(|p| p.qos)
        };
        assert_eq!(
            of(&[0x32, 5, 0, 1, b'a', 1, 2]),
            Ok(Qos::One {
                packet_id: 258,
                dup: false
            })
        );
        assert_eq!(
            of(&[0x3a, 5, 0, 1, b'a', 1, 2]),
            Ok(Qos::One {
                packet_id: 258,
                dup: true
            })
        );
        assert_eq!(
            of(&[0x34, 5, 0, 1, b'a', 1, 2]),
            Ok(Qos::Two { packet_id: 258 })
        );
    }

    #[test]
    fn properties_of_version_5_stand_before_the_payload() {
        let bytes = [
            0x33, 14, 0, 1, b'a', 1, 2, 7, 0x02, 0, 0, 0, 9, 0x01, 1, b'4',
        ];
        let frame = next_frame(&bytes, MAX).unwrap().unwrap();
        let publish = publish(&frame, Version::V5).unwrap();
        assert_eq!(publish.payload, b"4");
        assert!(publish.retain);
        assert_eq!(publish.properties.expiry_s, Some(9));
        assert_eq!(publish.properties.raw, &bytes[8..15]);
    }

    #[test]
    fn malformed_publishes_say_what_is_wrong() {
        for (bytes, reason) in [
            (&[0x30, 1, 0][..], "topic is cut off"),
            (&[0x30, 3, 0, 2, b'a'], "topic is cut off"),
            (&[0x30, 2, 0, 0], "topic is empty"),
            (&[0x30, 3, 0, 1, 0xff], "topic is not UTF-8"),
            (&[0x30, 3, 0, 1, 0], "topic contains NUL"),
            (&[0x32, 3, 0, 1, b'a'], "packet identifier is cut off"),
            (&[0x32, 5, 0, 1, b'a', 0, 0], "packet identifier is 0"),
            (&[0x36, 5, 0, 1, b'a', 0, 1], "QoS is 3"),
            (&[0x38, 3, 0, 1, b'a'], "DUP is set at QoS 0"),
        ] {
            let frame = next_frame(bytes, MAX).unwrap().unwrap();
            assert_eq!(
                publish(&frame, Version::V3),
                Err(FrameError::Publish(reason)),
                "{bytes:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut rest = bytes.as_slice();
            while let Ok(Some(frame)) = next_frame(rest, 200) {
                let _ = publish(&frame, Version::V3);
                let _ = publish(&frame, Version::V5);
                let _ = connect_protocol(frame.body);
                rest = &rest[frame.bytes.len()..];
            }
        }
    }
}
