//! What devices say on `muster/v1/<device>/state`: about a command, or about themselves.

use std::collections::HashMap;

use store::MqttChange;

use super::Mqtt;
use super::topics::reserved;
use crate::app::ingest::{IngestSession, Message};

/// Devices whose state is kept; as many as have retained messages.
const DEVICES_MAX: usize = 10_000;
/// One state. A device has a dozen settings.
pub(super) const STATE_BYTES_MAX: usize = 16 * 1024;

/// All states together.
pub(super) const STATES_BYTES_MAX: usize = 16 << 20;

/// The last state of each device.
#[derive(Debug, Default)]
pub(super) struct DeviceStates {
    by_device: HashMap<String, (Vec<u8>, i64)>,
    bytes: usize,
}

impl DeviceStates {
    pub(super) fn restore(states: Vec<(String, Vec<u8>, i64)>) -> Self {
        let mut restored = DeviceStates::default();
        for (device, payload, at_ms) in states {
            restored.put(&device, &payload, at_ms);
        }
        restored
    }

    /// Answers whether there was room.
    pub(super) fn put(&mut self, device: &str, payload: &[u8], received_ms: i64) -> bool {
        let before = self.by_device.get(device).map(|(old, _)| old.len());
        let bytes = self.bytes - before.unwrap_or(0) + payload.len();
        if payload.len() > STATE_BYTES_MAX
            || bytes > STATES_BYTES_MAX
            || (before.is_none() && self.by_device.len() >= DEVICES_MAX)
        {
            return false;
        }
        self.bytes = bytes;
        self.by_device
            .insert(device.to_owned(), (payload.to_vec(), received_ms));
        true
    }

    pub(super) fn get(&self, device: &str) -> Option<(Vec<u8>, i64)> {
        self.by_device.get(device).cloned()
    }
}

/// The device whose `state` this topic is.
pub fn device_of_state(topic: &str) -> Option<&str> {
    reserved(topic, "/state")
}

impl Mqtt {
    /// Takes a message that came on the `state` of `device`: with the sender's next submission it is on the disk.
    pub fn take_state(&self, ingest: &mut IngestSession, device: &str, message: Message<'_>) {
        // Which command it answers stands in it, however old it is.
        if let Some(change) = self.command_answered(device, message.payload) {
            ingest.bare_message(message.delivery);
            ingest.attach(change, ingest.last_message());
            return;
        }
        if message.kept {
            // A state of unknown age would be shown as the newest.
            metrics::counter!("muster_ingest_kept_copies_total").increment(1);
            ingest.bare_message(message.delivery);
            return;
        }
        let now_ms = self.now_ms();
        if self.0.states.lock().put(device, message.payload, now_ms) {
            ingest.bare_message(message.delivery);
            let change = MqttChange::DeviceState {
                device: device.to_owned(),
                payload: message.payload.to_vec(),
                received_ms: now_ms,
            };
            ingest.attach(change, ingest.last_message());
        } else {
            let reason = "the state is too large, or too many devices have one".to_owned();
            ingest.reject(message, "state-refused", reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_room_for_so_many_bytes() {
        let mut states = DeviceStates::default();
        let large = vec![1; STATE_BYTES_MAX];
        let kept = (0..2_000)
            .filter(|n| states.put(&format!("device {n}"), &large, 0))
            .count();
        assert_eq!(kept, STATES_BYTES_MAX / STATE_BYTES_MAX);
        assert!(
            states.put("device 0", b"small", 1),
            "another state of one that has one"
        );
        assert!(!states.put("device 0", &[large, vec![1]].concat(), 1));
    }
}
