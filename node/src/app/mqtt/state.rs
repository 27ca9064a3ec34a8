//! What devices say about themselves on `muster/v1/<device>/state` without naming a command.

use std::collections::HashMap;

/// Devices whose state is kept; as many as have retained messages.
const DEVICES_MAX: usize = 10_000;
/// One state. A device has a dozen settings.
pub(super) const STATE_BYTES_MAX: usize = 16 * 1024;

/// The last state of each device.
#[derive(Debug, Default)]
pub(super) struct DeviceStates {
    by_device: HashMap<String, (Vec<u8>, i64)>,
}

impl DeviceStates {
    pub(super) fn restore(states: Vec<(String, Vec<u8>, i64)>) -> Self {
        DeviceStates {
            by_device: states
                .into_iter()
                .map(|(device, payload, at)| (device, (payload, at)))
                .collect(),
        }
    }

    /// Answers whether there was room.
    pub(super) fn put(&mut self, device: &str, payload: &[u8], received_ms: i64) -> bool {
        if payload.len() > STATE_BYTES_MAX
            || (self.by_device.len() >= DEVICES_MAX && !self.by_device.contains_key(device))
        {
            return false;
        }
        self.by_device
            .insert(device.to_owned(), (payload.to_vec(), received_ms));
        true
    }

    pub(super) fn get(&self, device: &str) -> Option<(Vec<u8>, i64)> {
        self.by_device.get(device).cloned()
    }
}
