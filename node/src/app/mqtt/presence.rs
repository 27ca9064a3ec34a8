//! Whether a device's own connection is there.

use std::sync::Arc;

use super::Mqtt;
use crate::app::devices::DeviceEntry;

/// One connection of a device. A device whose last one is lost is gone; dropped, it was not lost.
pub struct Presence {
    mqtt: Mqtt,
    device: String,
    entry: Option<Arc<DeviceEntry>>,
}

impl Mqtt {
    /// A device is connected.
    pub fn device_connected(&self, device: &str) -> Presence {
        // Where more devices are known than are kept, nothing is shown of this one.
        let entry = self.0.devices.entry(device);
        if let Some(entry) = &entry {
            entry.connected();
        }
        Presence {
            mqtt: self.clone(),
            device: device.to_owned(),
            entry,
        }
    }
}

impl Presence {
    /// The connection ended without a goodbye.
    pub fn lost(mut self) {
        metrics::counter!("muster_devices_lost_total").increment(1);
        // Not louder: on a poor link it is lost again and again.
        tracing::info!(device = self.device, "the connection of a device is lost");
        if let Some(entry) = self.entry.take() {
            entry.disconnected(true, self.mqtt.now_ms());
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if let Some(entry) = &self.entry {
            entry.disconnected(false, self.mqtt.now_ms());
        }
    }
}
