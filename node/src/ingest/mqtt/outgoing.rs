//! Messages for a client, as bytes.

use super::encode::{ack, push_ack, push_length, push_text};
use super::frame::Version;
use super::properties::id;
use super::reason;
use crate::app::mqtt::Ready;

/// Appends a message or PUBREL for a client; answers whether it fits what the client takes.
pub(super) fn push_ready(
    version: Version,
    ready: &Ready,
    now_ms: i64,
    packet_bytes_max: usize,
    out: &mut Vec<u8>,
) -> bool {
    let (packet_id, dup, qos, retain, message, identifiers) = match ready {
        Ready::Pubrel { packet_id } => {
            push_ack(ack::PUBREL, *packet_id, reason::SUCCESS, out);
            return true;
        }
        Ready::Publish {
            packet_id,
            dup,
            qos,
            retain,
            message,
            identifiers,
        } => (packet_id, dup, qos, retain, message, identifiers),
    };
    let header = 0x30 | u8::from(*dup) << 3 | qos << 1 | u8::from(*retain);
    let mut head = Vec::with_capacity(message.topic.len() + message.properties.len() + 16);
    push_text(&message.topic, &mut head);
    if let Some(packet_id) = packet_id {
        head.extend(packet_id.to_be_bytes());
    }
    if version == Version::V5 {
        let mut properties = message.properties.to_vec();
        if let Some(expires_ms) = message.expires_ms {
            // §3.3.2.3.3: what is left of it.
            let left_s = expires_ms.saturating_sub(now_ms).max(0) / 1_000;
            properties.push(id::MESSAGE_EXPIRY_INTERVAL);
            properties.extend(u32::try_from(left_s).unwrap_or(u32::MAX).to_be_bytes());
        }
        properties.extend_from_slice(identifiers);
        push_length(properties.len(), &mut head);
        head.extend(properties);
    }
    let remaining = head.len() + message.payload.len();
    // Fixed header of at most five bytes.
    if remaining + 5 > packet_bytes_max {
        return false;
    }
    out.push(header);
    push_length(remaining, out);
    out.extend(head);
    out.extend_from_slice(&message.payload);
    true
}
