//! The seam for decoders: a message comes in with its topic, readings go out.
//!
//! Invariant: a decoder gives all readings of a message or an error, never some readings and an error; the message is
//! a dead letter as a whole or not at all.

use crate::{DecodeError, Measurement, TOPIC_PREFIX, decode_payload, decode_topic};

/// One value of one channel. When it was received is known by the caller, not by the decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading<'a> {
    pub device: &'a str,
    pub channel: &'a str,
    pub measurement: Measurement,
}

/// Understands the messages of one kind of topic.
pub trait Decoder: Send + Sync {
    /// A short stable name, for the source of a dead letter.
    fn name(&self) -> &'static str;

    /// Whether messages on this topic are this decoder's; the first that says yes gets it.
    fn covers(&self, topic: &str) -> bool;

    /// Decodes one message and gives each reading to `emit`.
    ///
    /// # Errors
    /// What makes the message a dead letter; `emit` has not been called then.
    fn decode(
        &self,
        topic: &str,
        payload: &[u8],
        emit: &mut dyn FnMut(Reading<'_>),
    ) -> Result<(), DecodeError>;
}

/// Muster's own topics, `muster/v1/<device>/<channel>`: one reading a message.
#[derive(Debug, Clone, Copy, Default)]
pub struct MusterTopics;

impl Decoder for MusterTopics {
    fn name(&self) -> &'static str {
        "muster"
    }

    fn covers(&self, topic: &str) -> bool {
        topic.starts_with(TOPIC_PREFIX)
    }

    fn decode(
        &self,
        topic: &str,
        payload: &[u8],
        emit: &mut dyn FnMut(Reading<'_>),
    ) -> Result<(), DecodeError> {
        let topic = decode_topic(topic)?;
        let measurement = decode_payload(payload)?;
        emit(Reading {
            device: topic.device,
            channel: topic.channel,
            measurement,
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_becomes_one_reading_or_none() {
        let decoder: &dyn Decoder = &MusterTopics;
        let mut seen = Vec::new();
        assert!(decoder.covers("muster/v1/gauge/level"));
        assert!(!decoder.covers("zigbee2mqtt/kitchen"));
        let mut emit = |r: Reading<'_>| {
            seen.push((
                r.device.to_owned(),
                r.channel.to_owned(),
                r.measurement.value,
            ))
        };
        assert_eq!(
            decoder.decode("muster/v1/gauge/level", b"2.5", &mut emit),
            Ok(())
        );
        assert_eq!(
            decoder.decode("muster/v1/gauge/level", b"high", &mut emit),
            Err(DecodeError::NotANumber)
        );
        assert_eq!(seen, [("gauge".to_owned(), "level".to_owned(), 2.5)]);
    }
}
