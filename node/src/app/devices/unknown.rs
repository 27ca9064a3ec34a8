//! Devices that were heard and that nobody has made a document of.
//!
//! Invariant: of those that nobody asked for nothing but the name is looked at: a hostile publisher can invent as many as the
//! node keeps.

use std::sync::atomic::Ordering;

use super::{DeviceEntry, Devices, NEVER, Overlay, overlay_of};

/// A device that was heard and that nobody has made a document of.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::app) struct UnknownDevice {
    pub(in crate::app) name: String,
    pub(in crate::app) first_seen_ms: i64,
    pub(in crate::app) overlay: Overlay,
}

impl UnknownDevice {
    fn of(name: &str, entry: &DeviceEntry) -> Self {
        UnknownDevice {
            name: name.to_owned(),
            first_seen_ms: entry.first_seen_ms.load(Ordering::Relaxed),
            overlay: overlay_of(entry),
        }
    }
}

impl Devices {
    /// The one of that name.
    pub(in crate::app) fn unknown_device(&self, name: &str) -> Option<UnknownDevice> {
        let by_name = self.by_name.read();
        let entry = by_name.get(name).filter(|entry| is_unknown(entry))?;
        Some(UnknownDevice::of(name, entry))
    }

    /// The first by name, at most `limit`, of those whose name `fits`. Looks at every name there is, which takes
    /// milliseconds where they are many: not for a thread on which others wait.
    pub(in crate::app) fn unknown_devices(
        &self,
        limit: usize,
        fits: impl Fn(&str) -> bool,
    ) -> Vec<UnknownDevice> {
        let mut names = self.unknown_names();
        names.retain(|name| fits(name));
        if names.len() > limit {
            names.select_nth_unstable(limit);
            names.truncate(limit);
        }
        names.sort_unstable();
        let first = names.iter();
        first.filter_map(|name| self.unknown_device(name)).collect()
    }

    /// Copies, so that what comes in waits for these and not for what is made of them.
    fn unknown_names(&self) -> Vec<String> {
        let by_name = self.by_name.read();
        let unknown = by_name.iter().filter(|(_, entry)| is_unknown(entry));
        unknown.map(|(name, _)| name.to_string()).collect()
    }
}

/// Heard, and without a document.
fn is_unknown(entry: &DeviceEntry) -> bool {
    !entry.standing.get().has_document() && entry.first_seen_ms.load(Ordering::Relaxed) != NEVER
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn heard(names: &[&str]) -> Devices {
        let devices = Devices::default();
        for name in names {
            devices.entry(name).unwrap().heard(1000);
        }
        devices
    }

    fn names(found: Vec<UnknownDevice>) -> Vec<String> {
        found.into_iter().map(|device| device.name).collect()
    }

    #[test]
    fn a_page_has_the_first_by_name_of_those_that_fit_however_many_there_are() {
        let invented: Vec<String> = (0..500).map(|number| format!("made-up-{number}")).collect();
        let mut all: Vec<&str> = invented.iter().map(String::as_str).collect();
        all.extend(["pump", "gauge-2", "gauge"]);
        let devices = heard(&all);
        let first = |limit, part: &str| {
            let found = devices.unknown_devices(limit, |name| name.contains(part));
            names(found)
        };
        assert_eq!(first(2, ""), ["gauge", "gauge-2"]);
        assert_eq!(first(50, "gauge"), ["gauge", "gauge-2"]);
        assert_eq!(first(1, "p"), ["made-up-0"]);
        assert_eq!(first(1000, "").len(), 503);
        assert!(first(1000, "").is_sorted());
        assert!(first(0, "").is_empty());
    }

    #[test]
    fn a_device_is_unknown_while_it_was_heard_and_has_no_document() {
        let devices = heard(&["gauge"]);
        devices.entry("never-heard").unwrap();
        assert!(devices.unknown_device("never-heard").is_none());
        assert!(devices.unknown_device("gaug").is_none());
        let gauge = devices.unknown_device("gauge").unwrap();
        assert_eq!(gauge.first_seen_ms, 1000);
        assert_eq!(devices.unknown_devices(10, |_| true), [gauge]);
        let document = serde_json::json!({ "name": "gauge", "state": "unknown" });
        devices.document_committed(document.as_object().unwrap(), false);
        assert!(devices.unknown_device("gauge").is_none());
        assert!(devices.unknown_devices(10, |_| true).is_empty());
    }
}
