//! Muster's own topic: `muster/v1/<device>/<channel>`.
//!
//! Invariant: a [`Topic`] only ever holds names that can be used again as they are, in a topic, in a rule and in a
//! path of the API: no wildcards, no control characters, no empty level, a bounded length.

use crate::DecodeError;

/// What every topic of ours starts with.
pub const TOPIC_PREFIX: &str = "muster/v1/";

/// Longest device or channel name in bytes. Names are keys of series, shown in lists and kept in memory for each
/// series, so that an unbounded one would let a sensor fill all three.
pub const LEVEL_BYTES_MAX: usize = 128;

/// Channels on which a node speaks to a device; a reading must not claim them.
pub(crate) const RESERVED_CHANNELS: [&str; 2] = ["cmd", "state"];

/// The two names of a reading, borrowed from the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Topic<'a> {
    /// 1 to [`LEVEL_BYTES_MAX`] bytes.
    pub device: &'a str,
    /// 1 to [`LEVEL_BYTES_MAX`] bytes, neither `cmd` nor `state`.
    pub channel: &'a str,
}

/// Takes a topic apart.
///
/// Names are case-sensitive and may hold blanks and any script. A topic that does not start with `muster/v1` is
/// [`DecodeError::UnknownTopic`], so that a caller can offer it to another decoder.
///
/// # Errors
/// The topic's part of [`DecodeError`].
pub fn decode_topic(topic: &str) -> Result<Topic<'_>, DecodeError> {
    let Some(rest) = topic.strip_prefix(TOPIC_PREFIX) else {
        return if topic == TOPIC_PREFIX.trim_end_matches('/') {
            Err(DecodeError::TopicLevels { levels: 2 })
        } else {
            Err(DecodeError::UnknownTopic)
        };
    };
    let mut levels = rest.split('/');
    let device = levels.next().unwrap_or_default();
    let (Some(channel), None) = (levels.next(), levels.next()) else {
        return Err(DecodeError::TopicLevels {
            levels: topic.split('/').count(),
        });
    };
    check_name("device", device)?;
    check_name("channel", channel)?;
    for reserved in RESERVED_CHANNELS {
        if channel == reserved {
            return Err(DecodeError::ChannelReserved { channel: reserved });
        }
    }
    Ok(Topic { device, channel })
}

fn check_name(part: &'static str, name: &str) -> Result<(), DecodeError> {
    if name.is_empty() {
        return Err(DecodeError::NameEmpty { part });
    }
    if name.len() > LEVEL_BYTES_MAX {
        return Err(DecodeError::NameTooLong {
            part,
            bytes: name.len(),
        });
    }
    // Almost every name is plain ASCII: one pass over bytes, the characters only when something looks odd.
    let plain = name
        .bytes()
        .all(|b| (0x20..0x7f).contains(&b) && b != b'+' && b != b'#');
    if plain {
        return Ok(());
    }
    match name
        .chars()
        .find(|&c| c.is_control() || c == '+' || c == '#')
    {
        Some(character) => Err(DecodeError::NameCharacter { part, character }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_device_and_a_channel_come_out_as_they_are() {
        let topic = decode_topic("muster/v1/river-12/water level").unwrap();
        assert_eq!(
            topic,
            Topic {
                device: "river-12",
                channel: "water level"
            }
        );
        assert_eq!(
            decode_topic("muster/v1/Brücke/Pegel").unwrap().device,
            "Brücke"
        );
    }

    #[test]
    fn names_have_the_stated_length() {
        let longest = "d".repeat(LEVEL_BYTES_MAX);
        assert!(decode_topic(&format!("muster/v1/{longest}/x")).is_ok());
        assert_eq!(
            decode_topic(&format!("muster/v1/{longest}d/x")),
            Err(DecodeError::NameTooLong {
                part: "device",
                bytes: LEVEL_BYTES_MAX + 1
            })
        );
        assert_eq!(
            decode_topic("muster/v1//x"),
            Err(DecodeError::NameEmpty { part: "device" })
        );
        assert_eq!(
            decode_topic("muster/v1/x/"),
            Err(DecodeError::NameEmpty { part: "channel" })
        );
    }

    #[test]
    fn exactly_four_levels_are_a_reading() {
        assert_eq!(
            decode_topic("muster/v1/x"),
            Err(DecodeError::TopicLevels { levels: 3 })
        );
        assert_eq!(
            decode_topic("muster/v1/x/y/z"),
            Err(DecodeError::TopicLevels { levels: 5 })
        );
        assert_eq!(
            decode_topic("muster/v1"),
            Err(DecodeError::TopicLevels { levels: 2 })
        );
        assert_eq!(
            decode_topic("muster/v2/x/y"),
            Err(DecodeError::UnknownTopic)
        );
        assert_eq!(
            decode_topic("zigbee2mqtt/kitchen"),
            Err(DecodeError::UnknownTopic)
        );
        assert_eq!(decode_topic(""), Err(DecodeError::UnknownTopic));
    }

    #[test]
    fn wildcards_and_control_characters_are_refused() {
        for (topic, character) in [
            ("muster/v1/a+/y", '+'),
            ("muster/v1/x/#", '#'),
            ("muster/v1/x/y\n", '\n'),
            ("muster/v1/\u{0}/y", '\u{0}'),
            ("muster/v1/x/\u{85}", '\u{85}'),
            ("muster/v1/x/\u{7f}", '\u{7f}'),
        ] {
            match decode_topic(topic) {
                Err(DecodeError::NameCharacter {
                    character: found, ..
                }) => assert_eq!(found, character),
                other => panic!("{topic:?} gave {other:?}"),
            }
        }
    }

    #[test]
    fn channels_of_the_node_are_refused_but_devices_may_have_that_name() {
        assert_eq!(
            decode_topic("muster/v1/x/cmd"),
            Err(DecodeError::ChannelReserved { channel: "cmd" })
        );
        assert_eq!(
            decode_topic("muster/v1/x/state"),
            Err(DecodeError::ChannelReserved { channel: "state" })
        );
        assert!(decode_topic("muster/v1/state/cmd2").is_ok());
        assert!(decode_topic("muster/v1/cmd/temp").is_ok());
    }
}
