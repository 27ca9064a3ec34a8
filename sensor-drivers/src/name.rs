//! Names of devices and channels that come from a payload.
//!
//! A publisher chooses a topic, and a bad one is refused; the names inside payloads are chosen by the sensor's maker and
//! cannot be mended by whoever runs it, so they are made fit instead: what a topic or a path of the API cannot hold
//! becomes `_`.
//!
//! Invariant: what comes out would pass as a level of `muster/v1/<device>/<channel>`.

use std::borrow::Cow;

use crate::topic::RESERVED_CHANNELS;
use crate::{DecodeError, LEVEL_BYTES_MAX};

/// Before a channel that would claim the node's own (`state` is what Zigbee2MQTT calls a lamp's).
const RESERVED_PREFIX: &str = "reported_";

pub(crate) fn device_name(raw: &str) -> Result<Cow<'_, str>, DecodeError> {
    fit("device", raw)
}

pub(crate) fn channel_name(raw: &str) -> Result<Cow<'_, str>, DecodeError> {
    let name = fit("channel", raw)?;
    if RESERVED_CHANNELS.contains(&name.as_ref()) {
        return Ok(Cow::Owned(format!("{RESERVED_PREFIX}{name}")));
    }
    Ok(name)
}

fn fit<'a>(part: &'static str, raw: &'a str) -> Result<Cow<'a, str>, DecodeError> {
    let name = raw.trim();
    if name.is_empty() {
        return Err(DecodeError::NameEmpty { part });
    }
    if name.len() > LEVEL_BYTES_MAX {
        return Err(DecodeError::NameTooLong {
            part,
            bytes: name.len(),
        });
    }
    let unfit = |c: char| c.is_control() || matches!(c, '/' | '+' | '#');
    if name.contains(unfit) {
        // A control character may be two bytes long, `_` never is: it only gets shorter.
        return Ok(Cow::Owned(name.replace(unfit, "_")));
    }
    Ok(Cow::Borrowed(name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::decode_topic;

    #[test]
    fn what_a_topic_cannot_hold_becomes_an_underscore() {
        assert_eq!(
            device_name(" kitchen/floor_light ").unwrap(),
            "kitchen_floor_light"
        );
        assert_eq!(channel_name("PM2.5").unwrap(), "PM2.5");
        assert_eq!(channel_name("a+b#c\u{1}").unwrap(), "a_b_c_");
        assert_eq!(channel_name("state").unwrap(), "reported_state");
        assert_eq!(
            device_name(" "),
            Err(DecodeError::NameEmpty { part: "device" })
        );
        assert_eq!(
            channel_name(&"c".repeat(129)),
            Err(DecodeError::NameTooLong {
                part: "channel",
                bytes: 129
            })
        );
    }

    proptest! {
        #[test]
        fn every_name_that_comes_out_is_a_level_of_our_topic(device in ".{0,140}", channel in ".{0,140}") {
            if let (Ok(device), Ok(channel)) = (device_name(&device), channel_name(&channel)) {
                let topic = format!("muster/v1/{device}/{channel}");
                let names = decode_topic(&topic).unwrap();
                prop_assert_eq!((names.device, names.channel), (&*device, &*channel));
            }
        }
    }
}
