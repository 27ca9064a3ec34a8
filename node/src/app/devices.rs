//! What this node knows of sensors from hearing them, and which of them are approved.
//!
//! Approval is a field of the device's document; it is mirrored here, so that a reading's flag costs one atomic load on
//! the way to the disk. Last seen, battery and signal are this node's own: they are laid over the document when it is
//! read, never edited into it (10,000 edits of a document are 2 MB).
//!
//! Invariants:
//! - A device is approved here only after the commit that approved it; a reading's flag is the approval at its arrival.
//! - A name may be approved before it was ever heard: approval and hearing meet in one [`DeviceEntry`].

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};

use parking_lot::RwLock;
use sensor_drivers::{DeviceFacts, Location};
use serde_json::{Map, Value, json};
use store::SeriesQuery;

use super::clock::rfc3339;

/// Names kept in memory, heard or approved: as many as there may be series, and about 150 bytes each.
const DEVICES_MAX: usize = 100_000;

/// Past so many names one that is new is made by its document alone: whoever invents names cannot take the other half.
const HEARD_MAX: usize = 50_000;

/// Channels whose last value is shown beside the device.
const BATTERY_CHANNEL: &str = "battery_pct";
/// See [`BATTERY_CHANNEL`].
const RSSI_CHANNEL: &str = "rssi_dbm";

/// What `at_ms` atomics hold while there is no time.
const NEVER: i64 = i64::MIN;

/// What is known of a device's own MQTT connection.
mod presence {
    /// It never had one since the node started: it may speak through a gateway.
    pub(super) const UNKNOWN: u8 = 0;
    pub(super) const ONLINE: u8 = 1;
    /// It said goodbye, or was lost.
    pub(super) const OFFLINE: u8 = 2;
}

/// One device, shared by everybody who hears it.
#[derive(Debug)]
pub(in crate::app) struct DeviceEntry {
    approved: AtomicBool,
    /// There is a document, whatever it says.
    documented: AtomicBool,
    first_seen_ms: AtomicI64,
    last_seen_ms: AtomicI64,
    /// Bits of an f64, NaN for none.
    battery_pct: AtomicU64,
    rssi_dbm: AtomicU64,
    /// MQTT connections of its own that are open.
    connections: AtomicU32,
    /// See [`presence`].
    presence: AtomicU8,
    location: RwLock<Option<Value>>,
    /// How often it says that it sends; 0 where it does not say.
    expected_interval_ms: AtomicI64,
    /// As it said itself, since the node started.
    firmware: RwLock<Option<Box<str>>>,
    /// Where it said that it is, since the node started: not where somebody put it.
    reported_location: RwLock<Option<Location>>,
}

impl Default for DeviceEntry {
    fn default() -> Self {
        DeviceEntry {
            approved: AtomicBool::new(false),
            documented: AtomicBool::new(false),
            first_seen_ms: AtomicI64::new(NEVER),
            last_seen_ms: AtomicI64::new(NEVER),
            battery_pct: AtomicU64::new(f64::NAN.to_bits()),
            rssi_dbm: AtomicU64::new(f64::NAN.to_bits()),
            connections: AtomicU32::new(0),
            presence: AtomicU8::new(presence::UNKNOWN),
            location: RwLock::new(None),
            expected_interval_ms: AtomicI64::new(0),
            firmware: RwLock::new(None),
            reported_location: RwLock::new(None),
        }
    }
}

impl DeviceEntry {
    pub(in crate::app) fn is_approved(&self) -> bool {
        self.approved.load(Ordering::Acquire)
    }

    /// A reading of it came in at `received_ms`.
    pub(in crate::app) fn heard(&self, received_ms: i64) {
        // The clock may be set back: what is shown is the last one that came, not the greatest.
        if self.last_seen_ms.swap(received_ms, Ordering::Relaxed) == NEVER {
            self.first_seen_ms.store(received_ms, Ordering::Relaxed);
        }
    }

    /// A connection of its own began.
    pub(in crate::app) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::AcqRel);
        self.presence.store(presence::ONLINE, Ordering::Release);
    }

    /// A connection of its own ended.
    pub(in crate::app) fn disconnected(&self) {
        // The one that follows it may have begun already.
        if self.connections.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.presence.store(presence::OFFLINE, Ordering::Release);
        }
    }

    /// A message said something of the device itself; what it does not say stays as it was.
    pub(in crate::app) fn told(&self, facts: &DeviceFacts) {
        if let Some(firmware) = &facts.firmware {
            *self.firmware.write() = Some(firmware.as_str().into());
        }
        if let Some(location) = &facts.location {
            *self.reported_location.write() = Some(*location);
        }
        // Its own connection says more than what somebody else says of it.
        if let Some(online) = facts.online
            && self.connections.load(Ordering::Acquire) == 0
        {
            let now = if online {
                presence::ONLINE
            } else {
                presence::OFFLINE
            };
            self.presence.store(now, Ordering::Release);
        }
    }

    /// A value came that is shown beside the device.
    pub(in crate::app) fn note(&self, health: Health, value: f64) {
        let field = match health {
            Health::Battery => &self.battery_pct,
            Health::Rssi => &self.rssi_dbm,
        };
        field.store(value.to_bits(), Ordering::Relaxed);
    }
}

/// Which of the values beside a device a channel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::app) enum Health {
    Battery,
    Rssi,
}

impl Health {
    /// The channel that says it.
    pub(in crate::app) fn channel(self) -> &'static str {
        match self {
            Health::Battery => BATTERY_CHANNEL,
            Health::Rssi => RSSI_CHANNEL,
        }
    }

    pub(in crate::app) fn of_channel(channel: &str) -> Option<Health> {
        match channel {
            BATTERY_CHANNEL => Some(Health::Battery),
            RSSI_CHANNEL => Some(Health::Rssi),
            _ => None,
        }
    }
}

/// What this node heard of a device, as the API shows it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in crate::app) struct Overlay {
    pub(in crate::app) last_seen_ms: Option<i64>,
    pub(in crate::app) battery_pct: Option<f64>,
    pub(in crate::app) rssi_dbm: Option<f64>,
    /// Whether it is there: by its own MQTT connection, else as its gateway said last; `None` where neither is known.
    pub(in crate::app) online: Option<bool>,
    pub(in crate::app) firmware: Option<Box<str>>,
    pub(in crate::app) reported_location: Option<Location>,
}

impl Overlay {
    /// What was heard of it; null where nothing was.
    pub(in crate::app) fn lay_over(&self, device: &mut Map<String, Value>) {
        device.insert("last_seen".into(), json!(self.last_seen_ms.map(rfc3339)));
        device.insert("battery_pct".into(), json!(self.battery_pct));
        device.insert("rssi_dbm".into(), json!(self.rssi_dbm));
        device.insert("online".into(), json!(self.online));
        device.insert("firmware".into(), json!(self.firmware));
        let location = self.reported_location;
        let location = location.map(|place| json!({ "lat": place.lat, "lon": place.lon }));
        device.insert("reported_location".into(), json!(location));
    }
}

/// A device that was heard and that nobody has made a document of.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::app) struct UnknownDevice {
    pub(in crate::app) name: String,
    pub(in crate::app) first_seen_ms: i64,
    pub(in crate::app) overlay: Overlay,
}

/// All devices by name. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(in crate::app) struct Devices {
    by_name: Arc<RwLock<HashMap<Box<str>, Arc<DeviceEntry>>>>,
}

impl Devices {
    /// The device of that name that was heard, made if need be. `None` when [`HEARD_MAX`] names are known already.
    pub(in crate::app) fn entry(&self, name: &str) -> Option<Arc<DeviceEntry>> {
        self.entry_within(name, HEARD_MAX)
    }

    fn entry_within(&self, name: &str, max: usize) -> Option<Arc<DeviceEntry>> {
        if let Some(entry) = self.by_name.read().get(name) {
            return Some(Arc::clone(entry));
        }
        let mut by_name = self.by_name.write();
        if by_name.len() >= max && !by_name.contains_key(name) {
            return None;
        }
        Some(Arc::clone(by_name.entry(name.into()).or_default()))
    }

    /// At start: what an earlier run of this node heard.
    pub(in crate::app) fn restore(&self, readings: &store::Readings) {
        for seen in readings.devices_seen() {
            if let Some(entry) = self.entry_within(&seen.name, DEVICES_MAX) {
                entry
                    .first_seen_ms
                    .store(seen.first_seen_ms, Ordering::Relaxed);
                entry
                    .last_seen_ms
                    .store(seen.last_seen_ms, Ordering::Relaxed);
            }
        }
        for channel in [BATTERY_CHANNEL, RSSI_CHANNEL] {
            let query = SeriesQuery {
                channel: Some(channel.into()),
                limit: DEVICES_MAX,
                ..SeriesQuery::default()
            };
            for series in readings.series(&query) {
                let health = Health::of_channel(channel);
                if let (Some(entry), Some(health), Some(last)) = (
                    self.entry_within(&series.device, DEVICES_MAX),
                    health,
                    series.last,
                ) {
                    entry.note(health, last.value);
                }
            }
        }
    }

    /// After a commit, and at start for every document: what the device's document says now.
    pub(in crate::app) fn document_committed(&self, fields: &Map<String, Value>, deleted: bool) {
        let Some(name) = fields.get("name").and_then(Value::as_str) else {
            return;
        };
        let Some(entry) = self.entry_within(name, DEVICES_MAX) else {
            tracing::error!(
                device = name,
                "more devices than this node keeps: its readings will not be evaluated"
            );
            return;
        };
        let approved = !deleted && fields.get("state").and_then(Value::as_str) == Some("approved");
        *entry.location.write() = fields
            .get("location")
            .filter(|location| location.is_object())
            .cloned();
        let expected_interval_s = fields
            .get("expected_interval_s")
            .and_then(Value::as_i64)
            .unwrap_or(0);
        entry
            .expected_interval_ms
            .store(expected_interval_s.saturating_mul(1_000), Ordering::Relaxed);
        entry.documented.store(!deleted, Ordering::Relaxed);
        if entry.approved.swap(approved, Ordering::Release) != approved {
            tracing::info!(device = name, approved, "device approval changed");
        }
    }

    /// Whether its document says so now; false for one that was never heard nor written down.
    pub(in crate::app) fn is_approved(&self, name: &str) -> bool {
        let by_name = self.by_name.read();
        by_name.get(name).is_some_and(|entry| entry.is_approved())
    }

    /// Where it stands, from its document.
    pub(in crate::app) fn location(&self, name: &str) -> Option<Value> {
        let entry = self.by_name.read().get(name).cloned()?;
        entry.location.read().clone()
    }

    /// How often it sends, from its document.
    pub(in crate::app) fn expected_interval_ms(&self, name: &str) -> Option<i64> {
        let entry = self.by_name.read().get(name).cloned()?;
        Some(entry.expected_interval_ms.load(Ordering::Relaxed)).filter(|ms| *ms > 0)
    }

    /// What was heard of it; all `None` for a device that never was.
    pub(in crate::app) fn overlay(&self, name: &str) -> Overlay {
        self.by_name
            .read()
            .get(name)
            .map_or_else(Overlay::default, |entry| overlay_of(entry))
    }

    /// Heard, without a document, by name.
    pub(in crate::app) fn unknown_devices(&self) -> Vec<UnknownDevice> {
        let mut unknown: Vec<UnknownDevice> = self
            .by_name
            .read()
            .iter()
            .filter(|(_, entry)| {
                !entry.documented.load(Ordering::Relaxed)
                    && entry.first_seen_ms.load(Ordering::Relaxed) != NEVER
            })
            .map(|(name, entry)| UnknownDevice {
                name: name.to_string(),
                first_seen_ms: entry.first_seen_ms.load(Ordering::Relaxed),
                overlay: overlay_of(entry),
            })
            .collect();
        unknown.sort_by(|a, b| a.name.cmp(&b.name));
        unknown
    }
}

fn overlay_of(entry: &DeviceEntry) -> Overlay {
    let value = |bits: &AtomicU64| {
        Some(f64::from_bits(bits.load(Ordering::Relaxed))).filter(|v| !v.is_nan())
    };
    Overlay {
        last_seen_ms: Some(entry.last_seen_ms.load(Ordering::Relaxed)).filter(|&at| at != NEVER),
        battery_pct: value(&entry.battery_pct),
        rssi_dbm: value(&entry.rssi_dbm),
        firmware: entry.firmware.read().clone(),
        reported_location: *entry.reported_location.read(),
        online: match entry.presence.load(Ordering::Acquire) {
            presence::UNKNOWN => None,
            known => Some(known == presence::ONLINE),
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn document(name: &str, state: &str) -> Map<String, Value> {
        json!({"name": name, "state": state})
            .as_object()
            .unwrap()
            .clone()
    }

    #[test]
    fn a_device_can_be_approved_before_it_is_heard() {
        let devices = Devices::default();
        devices.document_committed(&document("gauge", "approved"), false);
        assert!(devices.entry("gauge").unwrap().is_approved());
        assert_eq!(devices.overlay("gauge"), Overlay::default());
        assert!(devices.unknown_devices().is_empty());
    }

    #[test]
    fn a_device_is_online_while_one_of_its_connections_is_there() {
        let devices = Devices::default();
        let entry = devices.entry("pump").unwrap();
        assert_eq!(devices.overlay("pump").online, None);
        entry.connected();
        entry.connected();
        entry.disconnected();
        assert_eq!(devices.overlay("pump").online, Some(true));
        entry.disconnected();
        assert_eq!(devices.overlay("pump").online, Some(false));
    }

    #[test]
    fn whoever_holds_an_entry_sees_approval_come_and_go() {
        let devices = Devices::default();
        let entry = devices.entry("gauge").unwrap();
        assert!(!entry.is_approved());
        devices.document_committed(&document("gauge", "approved"), false);
        assert!(entry.is_approved());
        devices.document_committed(&document("gauge", "disabled"), false);
        assert!(!entry.is_approved());
        devices.document_committed(&document("gauge", "approved"), false);
        devices.document_committed(&document("gauge", "approved"), true);
        assert!(!entry.is_approved());
    }

    #[test]
    fn what_was_heard_without_a_document_is_unknown() {
        let devices = Devices::default();
        let entry = devices.entry("new").unwrap();
        entry.heard(1000);
        entry.heard(2000);
        entry.note(Health::Battery, 71.5);
        let [unknown] = devices.unknown_devices().try_into().unwrap();
        assert_eq!(
            (unknown.name.as_str(), unknown.first_seen_ms),
            ("new", 1000)
        );
        assert_eq!(
            unknown.overlay,
            Overlay {
                last_seen_ms: Some(2000),
                battery_pct: Some(71.5),
                ..Overlay::default()
            }
        );
        devices.document_committed(&document("new", "unknown"), false);
        assert!(devices.unknown_devices().is_empty());
        assert_eq!(devices.overlay("new").last_seen_ms, Some(2000));
    }
}
