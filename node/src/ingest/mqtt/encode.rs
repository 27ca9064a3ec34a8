//! Packets that the endpoint sends, as bytes. Most of them have four, so they are written by hand.

use super::frame::Version;
use super::properties::id;
use super::reason;

/// First bytes of acknowledgements (§3.4–3.7), with the flags that the standard fixes.
pub(super) mod ack {
    pub(in super::super) const PUBACK: u8 = 0x40;
    pub(in super::super) const PUBREC: u8 = 0x50;
    pub(in super::super) const PUBREL: u8 = 0x62;
    pub(in super::super) const PUBCOMP: u8 = 0x70;
}

/// Appends an acknowledgement; MQTT 3.1.1 knows no other reason than success.
#[inline]
pub(super) fn push_ack(header: u8, packet_id: u16, reason_code: u8, out: &mut Vec<u8>) {
    let [high, low] = packet_id.to_be_bytes();
    if reason_code == reason::SUCCESS {
        out.extend_from_slice(&[header, 2, high, low]);
    } else {
        out.extend_from_slice(&[header, 3, high, low, reason_code]);
    }
}

/// SUBACK and UNSUBACK (§3.9, §3.11): a code per filter; the UNSUBACK of MQTT 3.1.1 has none.
pub(super) fn push_codes(
    header: u8,
    version: Version,
    packet_id: u16,
    codes: &[u8],
    out: &mut Vec<u8>,
) {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
    }
    body.extend_from_slice(codes);
    push_packet(header, &body, out);
}

/// What CONNACK says of version 5 (§3.2.2.3).
#[derive(Debug, Clone, Default)]
pub(super) struct ConnackProperties<'a> {
    pub(super) session_expiry_s: Option<u32>,
    pub(super) receive_maximum: u16,
    pub(super) packet_bytes_max: u32,
    pub(super) assigned_client_id: Option<&'a str>,
    pub(super) server_keep_alive_s: Option<u16>,
}

/// CONNACK of an accepted client.
pub(super) fn push_connack(
    version: Version,
    session_present: bool,
    properties: &ConnackProperties<'_>,
    out: &mut Vec<u8>,
) {
    let present = u8::from(session_present);
    if version == Version::V3 {
        out.extend_from_slice(&[0x20, 2, present, 0]);
        return;
    }
    let mut bytes = Vec::new();
    if let Some(expiry_s) = properties.session_expiry_s {
        bytes.push(id::SESSION_EXPIRY_INTERVAL);
        bytes.extend(expiry_s.to_be_bytes());
    }
    bytes.push(id::RECEIVE_MAXIMUM);
    bytes.extend(properties.receive_maximum.to_be_bytes());
    bytes.push(id::MAXIMUM_PACKET_SIZE);
    bytes.extend(properties.packet_bytes_max.to_be_bytes());
    bytes.extend([id::TOPIC_ALIAS_MAXIMUM, 0, 0]);
    bytes.extend([id::SHARED_SUBSCRIPTION_AVAILABLE, 0]);
    if let Some(client_id) = properties.assigned_client_id {
        bytes.push(id::ASSIGNED_CLIENT_IDENTIFIER);
        push_text(client_id, &mut bytes);
    }
    if let Some(seconds) = properties.server_keep_alive_s {
        bytes.push(id::SERVER_KEEP_ALIVE);
        bytes.extend(seconds.to_be_bytes());
    }
    push_with_properties(0x20, &[present, reason::SUCCESS], &bytes, out);
}

/// CONNACK of a client that is not let in: its return code in MQTT 3.1.1, its reason code and words in MQTT 5.
pub(super) fn push_connack_refusal(
    version: Version,
    return_code: u8,
    reason_code: u8,
    words: Option<&str>,
    out: &mut Vec<u8>,
) {
    match version {
        Version::V3 => out.extend_from_slice(&[0x20, 2, 0, return_code]),
        Version::V5 => {
            push_with_properties(0x20, &[0, reason_code], &reason_string(words), out);
        }
    }
}

/// DISCONNECT of MQTT 5 (§3.14).
pub(super) fn push_disconnect(reason_code: u8, words: Option<&str>, out: &mut Vec<u8>) {
    push_with_properties(0xe0, &[reason_code], &reason_string(words), out);
}

fn reason_string(words: Option<&str>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(words) = words {
        bytes.push(id::REASON_STRING);
        push_text(words, &mut bytes);
    }
    bytes
}

fn push_with_properties(header: u8, fixed: &[u8], properties: &[u8], out: &mut Vec<u8>) {
    let mut body = fixed.to_vec();
    push_length(properties.len(), &mut body);
    body.extend_from_slice(properties);
    push_packet(header, &body, out);
}

fn push_packet(header: u8, body: &[u8], out: &mut Vec<u8>) {
    out.push(header);
    push_length(body.len(), out);
    out.extend_from_slice(body);
}

/// A string with its length (§1.5.4); longer ones than the standard has are cut.
pub(super) fn push_text(text: &str, out: &mut Vec<u8>) {
    let text = &text[..text.floor_char_boundary(usize::from(u16::MAX))];
    out.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(text.as_bytes());
}

/// A variable byte integer, §1.5.5.
pub(super) fn push_length(mut length: usize, out: &mut Vec<u8>) {
    loop {
        let byte = (length % 128) as u8;
        length /= 128;
        out.push(if length > 0 { byte | 0x80 } else { byte });
        if length == 0 {
            return;
        }
    }
}
