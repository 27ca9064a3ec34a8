//! Bytes on the MQTT port: whatever comes, before CONNECT and after it, in both versions.
//!
//! The packets stand in `node` and lean on nothing of it but [`crate::app`]'s words.

#[path = "../../../node/src/ingest/mqtt/encode.rs"]
#[allow(dead_code)]
mod encode;
#[path = "../../../node/src/ingest/mqtt/frame.rs"]
mod frame;
#[path = "../../../node/src/ingest/mqtt/packets.rs"]
#[allow(dead_code)]
mod packets;
#[path = "../../../node/src/ingest/mqtt/properties.rs"]
#[allow(dead_code)]
mod properties;
#[path = "../../../node/src/ingest/mqtt/protocol.rs"]
#[allow(dead_code)]
mod protocol;
#[path = "../../../node/src/ingest/mqtt/reason.rs"]
#[allow(dead_code)]
mod reason;
#[path = "../../../node/src/ingest/mqtt/refusal.rs"]
#[allow(dead_code)]
mod refusal;

use protocol::{Protocol, Step};

/// As the endpoint has it.
const PACKET_BYTES_MAX: usize = 64 * 1024;

/// Plays a connection: what comes is understood packet by packet until the first refusal, which has an answer.
pub(crate) fn stream(data: &[u8]) -> bool {
    let mut protocol = Protocol::new(PACKET_BYTES_MAX);
    let mut rest = data;
    let mut understood = false;
    loop {
        match protocol.next(rest) {
            Ok((taken, Step::NeedMore)) => {
                assert_eq!(taken, 0, "nothing is taken of half a packet");
                return understood;
            }
            Ok((taken, step)) => {
                assert!((2..=PACKET_BYTES_MAX).contains(&taken));
                rest = &rest[taken..];
                understood = true;
                match step {
                    Step::Connect(request) => {
                        assert!(request.client_id.len() <= protocol::CLIENT_ID_BYTES_MAX);
                        protocol.accept();
                    }
                    Step::Publish(publish) => {
                        assert!(!publish.topic.is_empty() && !publish.topic.contains('\0'));
                        let forwarded = publish.properties.forwarded();
                        assert!(forwarded.len() <= publish.properties.raw.len());
                    }
                    _ => {}
                }
            }
            Err(refusal) => {
                let mut out = Vec::new();
                protocol.refuse(&refusal, &mut out);
                assert!(out.len() < 512, "an answer is short");
                assert!(refusal.reason_code() >= reason::FIRST_ERROR);
                let after = protocol.next(rest);
                assert!(
                    matches!(after, Ok((0, Step::NeedMore)) | Err(_)),
                    "nothing is understood after an error"
                );
                return understood;
            }
        }
    }
}
