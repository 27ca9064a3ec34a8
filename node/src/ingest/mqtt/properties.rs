//! Properties of a PUBLISH of MQTT 5 (§3.3.2.3), checked in place: readings come in packets with properties at the same
//! rate as in those without, so nothing is allocated for them.

use thiserror::Error;

use super::reason;

/// Properties of one PUBLISH, borrowed from its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct PublishProperties<'a> {
    /// All of them, as on the wire, without their length.
    pub(super) raw: &'a [u8],
    pub(super) expiry_s: Option<u32>,
}

impl<'a> PublishProperties<'a> {
    /// What subscribers get as it is: all but the expiry, which is counted down on the way.
    pub(super) fn forwarded(&self) -> std::borrow::Cow<'a, [u8]> {
        if self.expiry_s.is_none() {
            return self.raw.into();
        }
        let mut kept = Vec::with_capacity(self.raw.len());
        let mut rest = self.raw;
        while let Ok(Some((property, after))) = next(rest) {
            if property.id != id::MESSAGE_EXPIRY_INTERVAL {
                kept.extend_from_slice(&rest[..rest.len() - after.len()]);
            }
            rest = after;
        }
        kept.into()
    }
}

/// What is wrong with properties, and what the client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{text}")]
pub(super) struct PropertyError {
    pub(super) reason_code: u8,
    text: &'static str,
}

const fn malformed(text: &'static str) -> PropertyError {
    PropertyError {
        reason_code: reason::MALFORMED_PACKET,
        text,
    }
}

const fn wrong(text: &'static str) -> PropertyError {
    PropertyError {
        reason_code: reason::PROTOCOL_ERROR,
        text,
    }
}

/// Identifiers, §2.2.2.2.
pub(super) mod id {
    pub(in super::super) const PAYLOAD_FORMAT_INDICATOR: u8 = 0x01;
    pub(in super::super) const MESSAGE_EXPIRY_INTERVAL: u8 = 0x02;
    pub(in super::super) const CONTENT_TYPE: u8 = 0x03;
    pub(in super::super) const RESPONSE_TOPIC: u8 = 0x08;
    pub(in super::super) const CORRELATION_DATA: u8 = 0x09;
    pub(in super::super) const SUBSCRIPTION_IDENTIFIER: u8 = 0x0b;
    pub(in super::super) const SESSION_EXPIRY_INTERVAL: u8 = 0x11;
    pub(in super::super) const ASSIGNED_CLIENT_IDENTIFIER: u8 = 0x12;
    pub(in super::super) const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub(in super::super) const REASON_STRING: u8 = 0x1f;
    pub(in super::super) const RECEIVE_MAXIMUM: u8 = 0x21;
    pub(in super::super) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub(in super::super) const TOPIC_ALIAS: u8 = 0x23;
    pub(in super::super) const USER_PROPERTY: u8 = 0x26;
    pub(in super::super) const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub(in super::super) const SHARED_SUBSCRIPTION_AVAILABLE: u8 = 0x2a;
}

/// Cuts the properties off what follows the packet identifier; gives them and the payload.
///
/// # Errors
/// [`PropertyError`] for what §3.3.2.3 forbids, and for a topic alias: this endpoint allows none.
pub(super) fn of_publish(bytes: &[u8]) -> Result<(PublishProperties<'_>, &[u8]), PropertyError> {
    let (length, rest) =
        variable_byte_integer(bytes).ok_or(malformed("the length is cut off or too long"))?;
    let (raw, payload) = rest
        .split_at_checked(length)
        .ok_or(malformed("they are cut off"))?;
    let mut properties = PublishProperties {
        raw,
        expiry_s: None,
    };
    let mut seen = 0_u64;
    let mut rest = raw;
    while let Some((property, after)) = next(rest)? {
        rest = after;
        if property.id != id::USER_PROPERTY {
            let bit = 1 << property.id;
            if seen & bit != 0 {
                return Err(wrong("one stands twice"));
            }
            seen |= bit;
        }
        match (property.id, property.value) {
            (id::PAYLOAD_FORMAT_INDICATOR, [0 | 1]) => {}
            (id::PAYLOAD_FORMAT_INDICATOR, _) => {
                return Err(wrong("the payload format is neither 0 nor 1"));
            }
            (id::MESSAGE_EXPIRY_INTERVAL, value) => {
                properties.expiry_s = value.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
            }
            (id::RESPONSE_TOPIC, value) => {
                let topic = text(value)?;
                if topic.is_empty() || topic.contains(['+', '#']) {
                    return Err(wrong("the response topic is no topic name"));
                }
            }
            (id::CONTENT_TYPE, value) => {
                text(value)?;
            }
            (id::TOPIC_ALIAS, _) => {
                return Err(PropertyError {
                    reason_code: reason::TOPIC_ALIAS_INVALID,
                    text: "a topic alias, of which this server allows none",
                });
            }
            (id::SUBSCRIPTION_IDENTIFIER, _) => {
                return Err(wrong("a subscription identifier, which only servers send"));
            }
            _ => {}
        }
    }
    Ok((properties, payload))
}

struct Property<'a> {
    id: u8,
    value: &'a [u8],
}

/// The first property, and what follows it.
fn next(bytes: &[u8]) -> Result<Option<(Property<'_>, &[u8])>, PropertyError> {
    const CUT: PropertyError = malformed("one is cut off");
    let Some((&id, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    let (value, rest) = match id {
        id::PAYLOAD_FORMAT_INDICATOR => rest.split_at_checked(1).ok_or(CUT)?,
        id::TOPIC_ALIAS => rest.split_at_checked(2).ok_or(CUT)?,
        id::MESSAGE_EXPIRY_INTERVAL => rest.split_at_checked(4).ok_or(CUT)?,
        id::CONTENT_TYPE | id::RESPONSE_TOPIC | id::CORRELATION_DATA => {
            prefixed(rest).ok_or(CUT)?
        }
        id::USER_PROPERTY => {
            let (name, after) = prefixed(rest).ok_or(CUT)?;
            let (value, after) = prefixed(after).ok_or(CUT)?;
            text(name)?;
            text(value)?;
            (&rest[..rest.len() - after.len()], after)
        }
        id::SUBSCRIPTION_IDENTIFIER => {
            let (_, after) = variable_byte_integer(rest).ok_or(CUT)?;
            (&rest[..rest.len() - after.len()], after)
        }
        _ => return Err(malformed("one that PUBLISH does not have")),
    };
    Ok(Some((Property { id, value }, rest)))
}

fn text(bytes: &[u8]) -> Result<&str, PropertyError> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !bytes.contains(&0) => Ok(text),
        _ => Err(malformed("text that is not UTF-8, or holds NUL")),
    }
}

fn prefixed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

/// §1.5.5; gives what follows, too.
fn variable_byte_integer(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0_usize;
    for (index, &byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn refused(properties: &[u8], reason_code: u8) {
        let mut bytes = vec![u8::try_from(properties.len()).unwrap()];
        bytes.extend(properties);
        let error = of_publish(&bytes).unwrap_err();
        assert_eq!(error.reason_code, reason_code, "{properties:?}: {error}");
    }

    #[test]
    fn what_a_publish_may_have_is_taken_as_it_is() {
        let raw =
            b"\x01\x01\x03\0\x01t\x08\0\x03a/b\x09\0\x02\xff\0\x26\0\x01k\0\x01v\x26\0\x01k\0\x01w";
        let mut bytes = vec![raw.len() as u8];
        bytes.extend(raw);
        bytes.extend(b"payload");
        let (properties, payload) = of_publish(&bytes).unwrap();
        assert_eq!((properties.raw, payload), (&raw[..], &b"payload"[..]));
        assert_eq!(&*properties.forwarded(), raw);
    }

    #[test]
    fn the_expiry_is_read_and_not_passed_on_as_it_is() {
        let (properties, payload) = of_publish(b"\x07\x01\x00\x02\0\0\x01\0!").unwrap();
        assert_eq!(payload, b"!");
        assert_eq!(properties.expiry_s, Some(256));
        assert_eq!(&*properties.forwarded(), b"\x01\x00");
    }

    #[test]
    fn what_a_publish_must_not_have_is_refused_with_its_reason() {
        refused(b"\x01\x02", reason::PROTOCOL_ERROR);
        refused(b"\x01\x01\x01\x01", reason::PROTOCOL_ERROR);
        refused(b"\x23\0\x01", reason::TOPIC_ALIAS_INVALID);
        refused(b"\x0b\x01", reason::PROTOCOL_ERROR);
        refused(b"\x08\0\x01#", reason::PROTOCOL_ERROR);
        refused(b"\x11\0\0\0\x01", reason::MALFORMED_PACKET);
        refused(b"\x02\0\0", reason::MALFORMED_PACKET);
        refused(b"\x26\0\x01k\0\x09v", reason::MALFORMED_PACKET);
        refused(b"\x03\0\x01\xff", reason::MALFORMED_PACKET);
        assert!(of_publish(b"\x05\x01").is_err());
        assert!(of_publish(b"\xff\xff\xff\xff\x01").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok((properties, _)) = of_publish(&bytes) {
                let _ = properties.forwarded();
            }
        }
    }
}
