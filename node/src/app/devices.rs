//! What this node knows of sensors from hearing them, and which of them are approved.
//!
//! Approval is a field of the device's document; it is mirrored here, so that a reading's flag costs one atomic load on
//! the way to the disk. Last seen, battery and signal are this node's own: they are laid over the document when it is
//! read, never edited into it (10,000 edits of a document are 2 MB).
//!
//! Invariants:
//! - A device is approved here only after the commit that approved it; a reading's flag is the approval at its arrival.
//! - A name may be approved before it was ever heard: approval and hearing meet in one [`DeviceEntry`].

mod claims;
mod overlay;
mod presence;
mod standing;
mod texts;
mod unknown;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::{Mutex, RwLock};
use sensor_drivers::{DeviceFacts, Location};
use serde_json::{Map, Value};
use store::{DeviceReport, ReportedPlace, SeriesOwner, SeriesQuery, StoreError};
use tokio::sync::Notify;

pub(in crate::app) use self::claims::Claims;
pub(in crate::app) use self::overlay::{Freshness, Overlay, Timed, age_s};
pub(in crate::app) use self::standing::Standing;
pub(in crate::app) use self::texts::{DeviceTexts, Reserved};
pub(in crate::app) use self::unknown::UnknownDevice;
use super::clock::Clock;

use self::presence::Presence;
use self::standing::AtomicStanding;

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

/// One device, shared by everybody who hears it.
#[derive(Debug)]
pub(in crate::app) struct DeviceEntry {
    standing: AtomicStanding,
    /// Since when it is approved or not, Unix milliseconds; [`NEVER`] for before this start.
    approved_since_ms: AtomicI64,
    first_seen_ms: AtomicI64,
    last_seen_ms: AtomicI64,
    battery_pct: Mutex<Option<Timed<f64>>>,
    rssi_dbm: Mutex<Option<Timed<f64>>>,
    presence: Presence,
    location: RwLock<Option<Value>>,
    /// How often it says that it sends; 0 where it does not say.
    expected_interval_ms: AtomicI64,
    /// As it said itself, and when.
    firmware: RwLock<Option<Timed<Box<str>>>>,
    /// What it calls itself, and since when.
    label: RwLock<Option<Timed<Box<str>>>>,
    /// Where it said that it is: not where somebody put it.
    reported_location: RwLock<Option<Timed<Location>>>,
}

impl Default for DeviceEntry {
    fn default() -> Self {
        DeviceEntry {
            standing: AtomicStanding::default(),
            approved_since_ms: AtomicI64::new(NEVER),
            first_seen_ms: AtomicI64::new(NEVER),
            last_seen_ms: AtomicI64::new(NEVER),
            battery_pct: Mutex::default(),
            rssi_dbm: Mutex::default(),
            presence: Presence::default(),
            location: RwLock::new(None),
            expected_interval_ms: AtomicI64::new(0),
            firmware: RwLock::new(None),
            label: RwLock::new(None),
            reported_location: RwLock::new(None),
        }
    }
}

impl DeviceEntry {
    pub(in crate::app) fn is_approved(&self) -> bool {
        self.standing.get() == Standing::Approved
    }

    /// Whose its series are when they are new.
    pub(in crate::app) fn owner(&self) -> SeriesOwner {
        if self.is_approved() {
            SeriesOwner::Approved
        } else {
            SeriesOwner::Stranger
        }
    }

    /// Whether it is approved and was when something of it came at that time: what came before is never evaluated.
    pub(in crate::app) fn was_approved_at(&self, received_ms: i64) -> bool {
        self.is_approved() && self.approved_since_ms.load(Ordering::Relaxed) <= received_ms
    }

    /// A reading of it came in at `received_ms`.
    pub(in crate::app) fn heard(&self, received_ms: i64) {
        // The clock may be set back: what is shown is the last one that came, not the greatest.
        if self.last_seen_ms.swap(received_ms, Ordering::Relaxed) == NEVER {
            self.first_seen_ms.store(received_ms, Ordering::Relaxed);
        }
        self.presence.heard();
    }

    /// A connection of its own began.
    pub(in crate::app) fn connected(&self) {
        self.presence.connected();
    }

    /// A connection of its own ended; `lost` without a goodbye.
    pub(in crate::app) fn disconnected(&self, lost: bool, now_ms: i64) {
        self.presence.disconnected(lost, now_ms);
    }

    /// A message that was received then said something of the device itself; what it does not say stays as it was.
    /// Answers what is new, to be committed with the message.
    pub(in crate::app) fn told(
        &self,
        name: &str,
        facts: &DeviceFacts,
        received_ms: i64,
    ) -> Option<DeviceReport> {
        let mut report = DeviceReport {
            firmware: news(&self.firmware, facts.firmware.as_deref(), received_ms),
            label: news(&self.label, facts.label.as_deref(), received_ms),
            ..DeviceReport::default()
        };
        if let Some(place) = facts.location {
            let mut location = self.reported_location.write();
            // The same place at another time is news: the device is still there.
            *location = Some(Timed {
                value: place,
                at_ms: received_ms,
            });
            let Location { lat, lon, alt_m } = place;
            report.place = Some((ReportedPlace { lat, lon, alt_m }, received_ms));
        }
        if let Some(online) = facts.online {
            self.presence.told(online, received_ms);
        }
        if report == DeviceReport::default() {
            return None;
        }
        report.device = name.to_owned();
        Some(report)
    }

    /// As an earlier run of this node heard it.
    fn restore(&self, report: DeviceReport) {
        let words = |said: Option<(String, i64)>| {
            said.map(|(text, at_ms)| Timed {
                value: text.into(),
                at_ms,
            })
        };
        *self.firmware.write() = words(report.firmware);
        *self.label.write() = words(report.label);
        *self.reported_location.write() = report.place.map(|(place, at_ms)| Timed {
            value: Location {
                lat: place.lat,
                lon: place.lon,
                alt_m: place.alt_m,
            },
            at_ms,
        });
    }

    /// A value came that is shown beside the device. One with the device's own time is not shown in the place of a newer
    /// one: a device that sends what it has kept sends its past. One without is of now, also where the node's clock was
    /// set back.
    pub(in crate::app) fn note(&self, health: Health, value: Timed<f64>, has_own_time: bool) {
        let shown = match health {
            Health::Battery => &self.battery_pct,
            Health::Rssi => &self.rssi_dbm,
        };
        let mut shown = shown.lock();
        if !has_own_time || shown.is_none_or(|shown| shown.at_ms <= value.at_ms) {
            *shown = Some(value);
        }
    }
}

/// What a device said in words then, where it said something else before.
fn news(
    known: &RwLock<Option<Timed<Box<str>>>>,
    said: Option<&str>,
    received_ms: i64,
) -> Option<(String, i64)> {
    let said = said?;
    let mut known = known.write();
    if known.as_ref().is_some_and(|known| &*known.value == said) {
        return None;
    }
    *known = Some(Timed {
        value: said.into(),
        at_ms: received_ms,
    });
    Some((said.to_owned(), received_ms))
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

/// All devices by name. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(in crate::app) struct Devices {
    claims: Claims,
    barred: Arc<Notify>,
    clock: Clock,
    texts: Arc<DeviceTexts>,
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

    /// Which have an account of their own.
    pub(in crate::app) fn claims(&self) -> &Claims {
        &self.claims
    }

    /// What they say in words.
    pub(in crate::app) fn texts(&self) -> &Arc<DeviceTexts> {
        &self.texts
    }

    /// At start: what an earlier run of this node heard.
    ///
    /// # Errors
    /// A fault of the store.
    pub(in crate::app) fn restore(&self, readings: &store::Readings) -> Result<(), StoreError> {
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
                    let value = Timed {
                        value: last.value,
                        at_ms: last.at_ms,
                    };
                    // A channel may have been in several units.
                    entry.note(health, value, true);
                }
            }
        }
        for report in readings.device_reports()? {
            if let Some(entry) = self.entry_within(&report.device, DEVICES_MAX) {
                entry.restore(report);
            }
        }
        let waiting = readings.device_text_counts()?;
        self.texts.count(waiting, |name| self.is_approved(name));
        // What the documents say at a start was so before.
        for entry in self.by_name.read().values() {
            entry.approved_since_ms.store(NEVER, Ordering::Relaxed);
        }
        Ok(())
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
        let standing = Standing::of_document(fields, deleted);
        let approved = standing == Standing::Approved;
        if entry.is_approved() != approved {
            let now_ms = self.clock.wall_ms().cast_signed();
            entry.approved_since_ms.store(now_ms, Ordering::Relaxed);
        }
        let before = entry.standing.swap(standing);
        if (before == Standing::Approved) != approved {
            tracing::info!(device = name, approved, "device approval changed");
            // What it said before it was approved may be written down now.
            self.texts.wake();
        }
        if before != standing && standing.is_barred() && self.claims.has(name) {
            self.barred.notify_one();
        }
    }

    /// What its document says now.
    pub(in crate::app) fn standing(&self, name: &str) -> Standing {
        let by_name = self.by_name.read();
        by_name
            .get(name)
            .map_or_else(Standing::default, |entry| entry.standing.get())
    }

    /// A device that has an account may not sign in any more, or may never have been allowed to.
    pub(in crate::app) fn barred(&self) -> &Notify {
        &self.barred
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

    /// What tells whether its values are still true.
    pub(in crate::app) fn freshness(&self, name: &str) -> Freshness {
        let entry = self.by_name.read().get(name).cloned();
        entry.map_or_else(Freshness::default, |entry| freshness_of(&entry))
    }

    /// What was heard of it; all `None` for a device that never was.
    pub(in crate::app) fn overlay(&self, name: &str) -> Overlay {
        self.by_name
            .read()
            .get(name)
            .map_or_else(Overlay::default, |entry| overlay_of(entry))
    }

    /// What was heard of those that are approved.
    pub(in crate::app) fn approved(&self) -> Vec<(String, Overlay)> {
        let by_name = self.by_name.read();
        by_name
            .iter()
            .filter(|(_, entry)| entry.is_approved())
            .map(|(name, entry)| (name.to_string(), overlay_of(entry)))
            .collect()
    }
}

fn overlay_of(entry: &DeviceEntry) -> Overlay {
    Overlay {
        last_seen_ms: Some(entry.last_seen_ms.load(Ordering::Relaxed)).filter(|&at| at != NEVER),
        battery_pct: *entry.battery_pct.lock(),
        rssi_dbm: *entry.rssi_dbm.lock(),
        firmware: entry.firmware.read().clone(),
        label: entry.label.read().clone(),
        reported_location: *entry.reported_location.read(),
        freshness: freshness_of(entry),
    }
}

fn freshness_of(entry: &DeviceEntry) -> Freshness {
    let expected_interval_ms = entry.expected_interval_ms.load(Ordering::Relaxed);
    Freshness {
        expected_interval_ms: Some(expected_interval_ms).filter(|ms| *ms > 0),
        online: entry.presence.online(),
        gone_ms: entry.presence.gone_ms(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn document(name: &str, state: &str) -> Map<String, Value> {
        serde_json::json!({"name": name, "state": state})
            .as_object()
            .unwrap()
            .clone()
    }

    #[test]
    fn what_a_device_says_of_itself_is_written_down_where_it_is_news() {
        let devices = Devices::default();
        let entry = devices.entry("pump").unwrap();
        let facts = |firmware: &str| DeviceFacts {
            firmware: Some(firmware.into()),
            ..DeviceFacts::default()
        };
        let news = entry.told("pump", &facts("1.2"), 1000).unwrap();
        assert_eq!(news.firmware, Some(("1.2".into(), 1000)));
        assert_eq!(entry.told("pump", &facts("1.2"), 2000), None);
        assert!(entry.told("pump", &facts("1.3"), 3000).is_some());
        let named = DeviceFacts {
            label: Some("Pump by the bridge".into()),
            ..DeviceFacts::default()
        };
        let label = entry.told("pump", &named, 3500).unwrap().label;
        assert_eq!(label, Some(("Pump by the bridge".into(), 3500)));
        assert_eq!(entry.told("pump", &named, 3600), None);
        assert_eq!(entry.told("pump", &DeviceFacts::default(), 4000), None);
        let place = DeviceFacts {
            location: Location::new(48.1, 11.5, None),
            ..DeviceFacts::default()
        };
        let news = entry.told("pump", &place, 5000).unwrap();
        assert_eq!(news.place.unwrap().1, 5000);
        // After a restart.
        let again = Devices::default();
        again.entry("pump").unwrap().restore(DeviceReport {
            firmware: Some(("1.3".into(), 3000)),
            label,
            ..news
        });
        assert_eq!(again.overlay("pump"), devices.overlay("pump"));
    }

    #[test]
    fn a_device_can_be_approved_before_it_is_heard() {
        let devices = Devices::default();
        devices.document_committed(&document("gauge", "approved"), false);
        assert!(devices.entry("gauge").unwrap().is_approved());
        assert_eq!(devices.overlay("gauge"), Overlay::default());
        assert!(devices.unknown_device("gauge").is_none());
    }

    #[test]
    fn what_a_device_kept_is_not_shown_in_the_place_of_what_is_newer() {
        let devices = Devices::default();
        let entry = devices.entry("pump").unwrap();
        let at = |at_ms| Timed { value: 50.0, at_ms };
        let shown = || devices.overlay("pump").battery_pct.unwrap().at_ms;
        entry.note(Health::Battery, at(2000), true);
        entry.note(Health::Battery, at(1000), true);
        assert_eq!(shown(), 2000);
        entry.note(Health::Battery, at(3000), true);
        assert_eq!(shown(), 3000);
        // Without a time of its own it is of now, whatever the node's clock says by now.
        entry.note(Health::Battery, at(500), false);
        assert_eq!(shown(), 500);
    }

    #[test]
    fn whoever_holds_an_entry_sees_approval_come_and_go() {
        let devices = Devices::default();
        let entry = devices.entry("gauge").unwrap();
        assert!(!entry.is_approved());
        devices.document_committed(&document("gauge", "approved"), false);
        assert!(entry.is_approved());
        assert!(!entry.was_approved_at(1000), "long before it was approved");
        assert!(entry.was_approved_at(devices.clock.wall_ms().cast_signed()));
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
        let battery = Timed {
            value: 71.5,
            at_ms: 1500,
        };
        entry.note(Health::Battery, battery, true);
        let unknown = devices.unknown_device("new").unwrap();
        assert_eq!(
            (unknown.name.as_str(), unknown.first_seen_ms),
            ("new", 1000)
        );
        assert_eq!(
            unknown.overlay,
            Overlay {
                last_seen_ms: Some(2000),
                battery_pct: Some(battery),
                ..Overlay::default()
            }
        );
        devices.document_committed(&document("new", "unknown"), false);
        assert!(devices.unknown_device("new").is_none());
        assert_eq!(devices.overlay("new").last_seen_ms, Some(2000));
    }
}
