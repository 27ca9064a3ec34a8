//! What this node heard of a device, laid over the device's document when it is shown, and whether it is still true.

use sensor_drivers::Location;
use serde_json::{Map, Value, json};

use crate::app::clock::rfc3339;

/// A device that has missed so many of its intervals is not merely late: one message may be lost on a radio, and the next
/// may be sent again after a pause.
const STALE_AFTER_INTERVALS: i64 = 3;

/// Something with the time from which it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::app) struct Timed<T> {
    pub(in crate::app) value: T,
    /// Unix milliseconds.
    pub(in crate::app) at_ms: i64,
}

/// What tells whether values of a device are still true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::app) struct Freshness {
    /// How often it sends, as its document says.
    pub(in crate::app) expected_interval_ms: Option<i64>,
    /// Whether it is there: by its own MQTT connection, else as its gateway said last; `None` where neither is known, as
    /// of a device that said goodbye.
    pub(in crate::app) online: Option<bool>,
    /// Since when it is gone, while it is.
    pub(in crate::app) gone_ms: Option<i64>,
}

impl Freshness {
    /// Whether something from `at_ms` is to be doubted now: the device has been gone since, or has missed
    /// [`STALE_AFTER_INTERVALS`]. `None` where nobody has said how often it sends.
    pub(in crate::app) fn is_stale(&self, at_ms: i64, now_ms: i64) -> Option<bool> {
        if self.gone_ms.is_some_and(|gone_ms| at_ms <= gone_ms) {
            return Some(true);
        }
        Some(now_ms.saturating_sub(at_ms) > self.stale_after_ms()?)
    }

    /// How long it may be silent, where somebody has said how often it sends.
    pub(in crate::app) fn stale_after_ms(&self) -> Option<i64> {
        let interval_ms = self.expected_interval_ms?;
        Some(interval_ms.saturating_mul(STALE_AFTER_INTERVALS))
    }
}

/// Whole seconds since then; 0 where that is in the future.
pub(in crate::app) fn age_s(at_ms: i64, now_ms: i64) -> i64 {
    now_ms.saturating_sub(at_ms).max(0) / 1000
}

/// What this node heard of a device, as the API shows it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in crate::app) struct Overlay {
    pub(in crate::app) last_seen_ms: Option<i64>,
    pub(in crate::app) battery_pct: Option<Timed<f64>>,
    pub(in crate::app) rssi_dbm: Option<Timed<f64>>,
    pub(in crate::app) firmware: Option<Timed<Box<str>>>,
    /// What it calls itself: never its name, because whoever owns a device can give it any.
    pub(in crate::app) label: Option<Timed<Box<str>>>,
    pub(in crate::app) reported_location: Option<Timed<Location>>,
    pub(in crate::app) freshness: Freshness,
}

impl Overlay {
    /// What was heard of it; null where nothing was.
    pub(in crate::app) fn lay_over(&self, device: &mut Map<String, Value>, now_ms: i64) {
        let mut put = |name: &str, value: Value| device.insert(name.to_owned(), value);
        put("last_seen", json!(self.last_seen_ms.map(rfc3339)));
        put(
            "age_s",
            json!(self.last_seen_ms.map(|at| age_s(at, now_ms))),
        );
        let stale = self
            .last_seen_ms
            .and_then(|at| self.freshness.is_stale(at, now_ms));
        put("stale", json!(stale));
        put("online", json!(self.freshness.online));
        let battery = self.battery_pct;
        put("battery_pct", json!(battery.map(|battery| battery.value)));
        put("battery_at", at(battery.map(|battery| battery.at_ms)));
        let rssi = self.rssi_dbm;
        put("rssi_dbm", json!(rssi.map(|rssi| rssi.value)));
        put("rssi_at", at(rssi.map(|rssi| rssi.at_ms)));
        let firmware = self.firmware.as_ref();
        put("firmware", json!(firmware.map(|firmware| &firmware.value)));
        let label = self.label.as_ref();
        put("label", json!(label.map(|label| &label.value)));
        let place = self.reported_location;
        let location = place.map(|place| json!({ "lat": place.value.lat, "lon": place.value.lon }));
        put("reported_location", json!(location));
        put("reported_location_at", at(place.map(|place| place.at_ms)));
    }
}

fn at(at_ms: Option<i64>) -> Value {
    json!(at_ms.map(rfc3339))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_stale_after_three_missed_intervals_or_when_its_device_is_gone() {
        let every_minute = |gone_ms: Option<i64>| Freshness {
            expected_interval_ms: Some(60_000),
            online: gone_ms.map(|_| false),
            gone_ms,
        };
        assert_eq!(every_minute(None).is_stale(0, 180_000), Some(false));
        assert_eq!(every_minute(None).is_stale(0, 180_001), Some(true));
        assert_eq!(every_minute(Some(5)).is_stale(5, 6), Some(true));
        assert_eq!(every_minute(Some(5)).is_stale(6, 7), Some(false));
        let nobody_knows = Freshness::default();
        assert_eq!(nobody_knows.is_stale(0, i64::MAX), None);
        assert_eq!(every_minute(None).is_stale(i64::MAX, 0), Some(false));
        assert_eq!(every_minute(None).is_stale(i64::MIN, i64::MAX), Some(true));
    }
}
