//! Calibrations as documents say them, looked up by device and channel.
//!
//! Invariant: what is looked up follows from the documents alone, so that nodes that hold the same ones show the same
//! values.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::RecordId;
use parking_lot::RwLock;
use sensor_drivers::{Calibration, Calibrations, Curve};
use serde_json::{Map, Value, json};

/// Calibrations that are looked at. One with 64 points takes a kilobyte; an operation has a few per sensor.
const CALIBRATIONS_MAX: usize = 20_000;

/// One document.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    device: Box<str>,
    channel: Box<str>,
    written: Written,
}

/// A calibration as it is written.
#[derive(Debug, Clone, PartialEq)]
struct Written {
    calibration: Calibration,
    /// Of its raw values and of what it makes of them; `None` for whatever the channel says.
    unit: Option<Box<str>>,
}

impl Written {
    /// As it counts for values in that unit; `None` where it does not.
    fn for_values_in(&self, unit: &str) -> Option<Calibration> {
        let curve = &self.calibration.curve;
        Some(Calibration {
            curve: curve.for_values_in(unit, self.unit.as_deref())?,
            ..self.calibration.clone()
        })
    }
}

/// All calibrations. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(in crate::app) struct CalibrationBook(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    book: RwLock<Book>,
    /// Grows with each change.
    version: AtomicU64,
}

#[derive(Debug, Default)]
struct Book {
    documents: HashMap<RecordId, Entry>,
    /// By device, then by channel.
    channels: HashMap<Box<str>, HashMap<Box<str>, Channel>>,
}

#[derive(Debug, Default)]
struct Channel {
    all: BTreeMap<RecordId, Written>,
    /// What counts whatever the unit is; `None` where that depends on it.
    in_use: Option<Arc<Calibrations>>,
}

impl Channel {
    fn in_use(&self, unit: &str) -> Arc<Calibrations> {
        if let Some(in_use) = &self.in_use {
            return Arc::clone(in_use);
        }
        let all = self.all.values();
        let counting = all.filter_map(|written| written.for_values_in(unit));
        Arc::new(Calibrations::new(counting.collect()))
    }
}

impl CalibrationBook {
    /// After a commit, and at start for every calibration: what the document says now.
    pub(in crate::app) fn document_committed(
        &self,
        id: RecordId,
        fields: &Map<String, Value>,
        deleted: bool,
    ) {
        let entry = if deleted { None } else { entry_of(id, fields) };
        let mut book = self.0.book.write();
        if book.documents.get(&id) == entry.as_ref() {
            return;
        }
        if let Some(before) = book.documents.remove(&id) {
            book.change(&before.device, &before.channel, |all| {
                all.remove(&id);
            });
        }
        if let Some(entry) = entry {
            if book.documents.len() >= CALIBRATIONS_MAX {
                tracing::error!(
                    calibration = %id,
                    "more than {CALIBRATIONS_MAX} calibrations: this one is kept and not applied"
                );
            } else {
                book.change(&entry.device, &entry.channel, |all| {
                    all.insert(id, entry.written.clone());
                });
                book.documents.insert(id, entry);
            }
        }
        self.0.version.fetch_add(1, Ordering::Release);
    }

    /// Another number than before after every change.
    pub(in crate::app) fn version(&self) -> u64 {
        self.0.version.load(Ordering::Acquire)
    }

    /// What counts for a channel's values in that unit (empty for none); `None` where nothing does.
    pub(in crate::app) fn of(
        &self,
        device: &str,
        channel: &str,
        unit: &str,
    ) -> Option<Arc<Calibrations>> {
        let book = self.0.book.read();
        let in_use = book.channel(device, channel)?.in_use(unit);
        (!in_use.is_empty()).then_some(in_use)
    }

    /// What this node says beside a calibration's document: whether another one counts instead.
    pub(in crate::app) fn lay_over(&self, id: RecordId, calibration: &mut Map<String, Value>) {
        let superseded_by = self.superseded_by(id).map(|id| id.to_string());
        calibration.insert("superseded_by".into(), json!(superseded_by));
    }

    /// The one that counts from the same time instead of this one.
    fn superseded_by(&self, id: RecordId) -> Option<RecordId> {
        let book = self.0.book.read();
        let Entry {
            device,
            channel,
            written: Written { calibration, unit },
        } = book.documents.get(&id)?;
        let in_use = book
            .channel(device, channel)?
            .in_use(unit.as_deref().unwrap_or_default());
        let counts = in_use
            .in_use()
            .iter()
            .find(|other| other.valid_from_ms == calibration.valid_from_ms)?;
        (counts.id != id.0).then_some(RecordId(counts.id))
    }
}

impl Book {
    fn channel(&self, device: &str, channel: &str) -> Option<&Channel> {
        self.channels.get(device)?.get(channel)
    }

    fn change(
        &mut self,
        device: &str,
        channel: &str,
        change: impl FnOnce(&mut BTreeMap<RecordId, Written>),
    ) {
        let channels = self.channels.entry(device.into()).or_default();
        let of_channel = channels.entry(channel.into()).or_default();
        change(&mut of_channel.all);
        if of_channel.all.is_empty() {
            channels.remove(channel);
            if channels.is_empty() {
                self.channels.remove(device);
            }
        } else {
            let any_unit = of_channel.all.values().map(|written| {
                let without_unit = written.unit.is_none();
                without_unit.then(|| written.calibration.clone())
            });
            let any_unit: Option<Vec<Calibration>> = any_unit.collect();
            of_channel.in_use = any_unit.map(|all| Arc::new(Calibrations::new(all)));
        }
    }
}

/// What the document says; `None` for what no calibration can be made of (a merge may leave that behind): it is shown
/// and not applied.
fn entry_of(id: RecordId, fields: &Map<String, Value>) -> Option<Entry> {
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let (device, channel) = (text("device")?, text("channel")?);
    let valid_from_ms = match text("valid_from") {
        None => i64::MIN,
        Some(at) => at.parse::<jiff::Timestamp>().ok()?.as_millisecond(),
    };
    let calibration = Calibration {
        id: id.0,
        valid_from_ms,
        curve: curve_of(fields.get("curve")?)?,
    };
    if let Err(fault) = calibration.check() {
        tracing::warn!(calibration = %id, %fault, "a calibration is not applied");
        return None;
    }
    let unit = text("unit").map(str::trim).filter(|unit| !unit.is_empty());
    Some(Entry {
        device: device.into(),
        channel: channel.into(),
        written: Written {
            calibration,
            unit: unit.map(Into::into),
        },
    })
}

fn curve_of(curve: &Value) -> Option<Curve> {
    let number = |name: &str| curve.get(name).and_then(Value::as_f64);
    match (number("scale"), number("offset"), curve.get("points")) {
        (None, None, Some(points)) => {
            let point = |point: &Value| Some((point["raw"].as_f64()?, point["value"].as_f64()?));
            let points = points.as_array()?.iter().map(point).collect::<Option<_>>();
            points.map(Curve::Points)
        }
        (None, None, None) => None,
        (scale, offset, _) => Some(Curve::Linear {
            scale: scale.unwrap_or(1.0),
            offset: offset.unwrap_or(0.0),
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn fields(valid_from: &str, curve: Value) -> Map<String, Value> {
        json!({"device": "gauge", "channel": "level", "valid_from": valid_from, "curve": curve})
            .as_object()
            .unwrap()
            .clone()
    }

    fn id(number: u8) -> RecordId {
        RecordId([number; 16])
    }

    const NEW_YEAR: &str = "2026-01-01T00:00:00Z";
    const NEW_YEAR_MS: i64 = 1_767_225_600_000;

    #[test]
    fn what_counts_follows_the_documents() {
        let book = CalibrationBook::default();
        let offset = fields(NEW_YEAR, json!({"offset": -0.5}));
        book.document_committed(id(1), &offset, false);
        let level = book.of("gauge", "level", "").unwrap();
        assert_eq!(level.apply(2.0, NEW_YEAR_MS).unwrap().value, 1.5);
        assert_eq!(level.apply(2.0, NEW_YEAR_MS - 1), None);
        let points = json!({"points": [{"raw": 0, "value": 0}, {"raw": 1, "value": 3}]});
        book.document_committed(id(1), &fields(NEW_YEAR, points), false);
        let level = book.of("gauge", "level", "").unwrap();
        assert_eq!(level.apply(2.0, NEW_YEAR_MS).unwrap().value, 6.0);
        book.document_committed(id(1), &offset, true);
        assert!(book.of("gauge", "level", "").is_none());
        assert!(book.of("gauge", "rain", "").is_none());
    }

    #[test]
    fn every_change_has_another_version_and_nothing_else_does() {
        let book = CalibrationBook::default();
        let offset = fields(NEW_YEAR, json!({"offset": -0.5}));
        let before = book.version();
        book.document_committed(id(1), &offset, false);
        let after = book.version();
        assert_ne!(before, after);
        book.document_committed(id(1), &offset, false);
        assert_eq!(book.version(), after);
    }

    #[test]
    fn of_two_from_one_time_both_are_told_apart() {
        let book = CalibrationBook::default();
        for number in [2, 1] {
            let curve = json!({"scale": f64::from(number)});
            book.document_committed(id(number), &fields(NEW_YEAR, curve), false);
        }
        assert_eq!(book.superseded_by(id(1)), Some(id(2)));
        assert_eq!(book.superseded_by(id(2)), None);
        let level = book.of("gauge", "level", "").unwrap();
        assert_eq!(level.apply(1.0, NEW_YEAR_MS).unwrap().id, id(2).0);
    }

    #[test]
    fn a_calibration_with_a_unit_counts_where_values_convert_into_it() {
        let book = CalibrationBook::default();
        let mut centimetres = fields(NEW_YEAR, json!({"offset": -5.0}));
        centimetres.insert("unit".into(), json!("cm"));
        book.document_committed(id(1), &centimetres, false);
        let level = |unit: &str, raw| {
            let level = book.of("gauge", "level", unit)?;
            level.apply(raw, NEW_YEAR_MS).map(|made| made.value)
        };
        assert_eq!(level("cm", 300.0), Some(295.0));
        assert_eq!(level("m", 3.5), Some(3.45));
        assert_eq!(level("", 300.0), Some(295.0), "nobody said otherwise");
        assert_eq!(level("Cel", 300.0), None);
        // One without a unit, from the same time: for centimetres that with the greater id counts, for degrees the other.
        let doubled = fields(NEW_YEAR, json!({"scale": 2.0}));
        book.document_committed(id(0), &doubled, false);
        let level = |unit: &str| {
            book.of("gauge", "level", unit)
                .unwrap()
                .at(NEW_YEAR_MS)
                .unwrap()
                .id
        };
        assert_eq!((level("cm"), level("Cel")), (id(1).0, id(0).0));
    }

    #[test]
    fn what_a_merge_left_in_contradiction_is_not_applied() {
        let book = CalibrationBook::default();
        for curve in [json!({}), json!({"scale": 0.0}), json!({"points": []})] {
            book.document_committed(id(1), &fields(NEW_YEAR, curve), false);
            assert!(book.of("gauge", "level", "").is_none());
        }
        let never = fields("soon", json!({"scale": 2.0}));
        book.document_committed(id(1), &never, false);
        assert!(book.of("gauge", "level", "").is_none());
    }
}
