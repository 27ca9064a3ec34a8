//! Messages: words to others, from a person, or from a device that carries them (a mesh radio).

use serde_json::{Map, Value, json};

use super::{check_about, check_text};
use crate::schema::{FieldError, canonical_json};

/// A message is typed, not pasted from a book; a mesh radio carries 237 bytes.
pub const MESSAGE_TEXT_BYTES_MAX: usize = 8_000;
/// To whom: the name of a device, a user or a group, as its writer spells it.
pub const MESSAGE_TO_BYTES_MAX: usize = 128;

/// Checks the body of a person's message: `{"text", "to"?, "about": {"kind","id"}?}`; gives the bytes that go into the
/// entry.
///
/// # Errors
/// What does not fit, with pointers.
pub fn check_message(body: &Map<String, Value>) -> Result<Vec<u8>, Vec<FieldError>> {
    let mut errors = Vec::new();
    for key in body
        .keys()
        .filter(|key| !matches!(key.as_str(), "text" | "to" | "about"))
    {
        errors.push(FieldError::at("", key, "unknown field"));
    }
    check_text(body, MESSAGE_TEXT_BYTES_MAX, &mut errors);
    let mut message = body.clone();
    message.retain(|_, value| !value.is_null());
    match message.get("to").map(Value::as_str) {
        None => {}
        Some(Some(to)) if !to.trim().is_empty() && to.len() <= MESSAGE_TO_BYTES_MAX => {}
        Some(_) => errors.push(FieldError {
            pointer: "/to".into(),
            detail: format!("must be a string of 1 to {MESSAGE_TO_BYTES_MAX} bytes"),
        }),
    }
    if let Some(about) = message.get("about") {
        check_about(about, &mut errors);
    }
    if errors.is_empty() {
        Ok(canonical_json(&Value::Object(message)).into_bytes())
    } else {
        Err(errors)
    }
}

/// What a device said, as a node writes it down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceMessage<'a> {
    /// Name of the device.
    pub device: &'a str,
    pub text: &'a str,
    /// To whom, in the format's own spelling; `None` for everybody.
    pub to: Option<&'a str>,
    /// The radio's channel, where it has several.
    pub channel: Option<u32>,
    /// RFC 3339, by the clock of the node that heard it.
    pub received_at: &'a str,
    /// RFC 3339, as the sender's clock says; believed by nobody.
    pub sent_at: Option<&'a str>,
}

impl DeviceMessage<'_> {
    /// The bytes that go into the entry.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut fields = json!({
            "text": self.text,
            "to": self.to,
            "device": self.device,
            "channel": self.channel,
            "received_at": self.received_at,
            "sent_at": self.sent_at,
        });
        if let Value::Object(fields) = &mut fields {
            fields.retain(|_, value| !value.is_null());
        }
        canonical_json(&fields).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::FactKind;
    use crate::facts::decode;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_persons_message_comes_back_as_it_was_written() {
        let body = object(json!({"text": "Send sandbags", "to": "hq", "about": null}));
        let message = decode(FactKind::Message, &check_message(&body).unwrap()).unwrap();
        assert_eq!(
            message.fields,
            object(json!({"text": "Send sandbags", "to": "hq"}))
        );
    }

    #[test]
    fn nobody_can_write_in_the_name_of_a_device() {
        let body = object(json!({"text": "x", "device": "radio-1", "to": ""}));
        let pointers: Vec<String> = check_message(&body)
            .unwrap_err()
            .into_iter()
            .map(|error| error.pointer)
            .collect();
        assert_eq!(pointers, ["/device", "/to"]);
    }

    #[test]
    fn what_a_device_said_is_the_same_bytes_each_time() {
        let message = DeviceMessage {
            device: "!00000007",
            text: "Bridge under water",
            to: None,
            channel: Some(2),
            received_at: "2026-11-21T12:00:00.000Z",
            sent_at: None,
        };
        let bytes = message.to_bytes();
        assert_eq!(
            String::from_utf8(bytes.clone()).unwrap(),
            r#"{"channel":2,"device":"!00000007","received_at":"2026-11-21T12:00:00.000Z","text":"Bridge under water"}"#
        );
        assert!(decode(FactKind::Message, &bytes).is_ok());
    }
}
