//! Whether a device's own connection is there.

use std::sync::Arc;

use super::Mqtt;
use crate::app::devices::DeviceEntry;

/// One connection of a device. When it is dropped the device is offline, unless it has another.
pub struct Presence {
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
            device: device.to_owned(),
            entry,
        }
    }
}

impl Presence {
    /// The connection ended; `lost` where the device did not say goodbye.
    pub fn ended(self, lost: bool) {
        if lost {
            metrics::counter!("muster_devices_lost_total").increment(1);
            tracing::info!(device = self.device, "the connection of a device is lost");
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if let Some(entry) = &self.entry {
            entry.disconnected();
        }
    }
}
