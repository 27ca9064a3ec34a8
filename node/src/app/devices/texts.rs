//! How many words of devices wait to be written down, so that nobody can fill the disk with them.

use std::collections::HashMap;

use parking_lot::RwLock;
use tokio::sync::Notify;

/// Texts of one device that wait: those of an approved one wait for a commit, those of a stranger until somebody looks.
const OF_ONE_DEVICE_MAX: u64 = 200;
/// Texts of all devices that wait: 2 KiB each at most.
const ALL_MAX: u64 = 10_000;

/// Texts that wait.
#[derive(Debug, Default)]
pub(in crate::app) struct DeviceTexts {
    waiting: RwLock<HashMap<String, u64>>,
    /// Some may be written down now.
    woken: Notify,
}

impl DeviceTexts {
    /// Whether one more of this device would be too many. Those on their way to the disk are not counted: the bounds hold
    /// to within a batch.
    pub(in crate::app) fn is_full(&self, device: &str) -> bool {
        let waiting = self.waiting.read();
        let of_device = waiting.get(device).copied().unwrap_or(0);
        of_device >= OF_ONE_DEVICE_MAX || waiting.values().sum::<u64>() >= ALL_MAX
    }

    /// What the store has of each device.
    pub(in crate::app) fn count(&self, of_each: Vec<(String, u64)>) {
        *self.waiting.write() = of_each.into_iter().collect();
    }

    /// There may be something to write down.
    pub(in crate::app) fn wake(&self) {
        self.woken.notify_one();
    }

    /// Returns after [`DeviceTexts::wake`].
    pub(in crate::app) async fn woken(&self) {
        self.woken.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_its_bound_and_all_of_them_have_one() {
        let texts = DeviceTexts::default();
        texts.count(vec![("loud".into(), OF_ONE_DEVICE_MAX)]);
        assert!(texts.is_full("loud") && !texts.is_full("other"));
        let many = (0..50).map(|number| (format!("radio-{number}"), OF_ONE_DEVICE_MAX));
        texts.count(many.collect());
        assert!(texts.is_full("other"));
    }
}
