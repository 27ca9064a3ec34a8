//! What a device said last of itself.

use rusqlite::{Connection, params};

use crate::error::{Doing, StoreError};

/// A place on Earth, WGS 84.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReportedPlace {
    /// Degrees.
    pub lat: f64,
    /// Degrees.
    pub lon: f64,
    /// Metres.
    pub alt_m: Option<f64>,
}

/// News of a device, with the time of receipt; what it does not say stays as it was.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DeviceReport {
    pub device: String,
    pub firmware: Option<(String, i64)>,
    /// What it calls itself.
    pub label: Option<(String, i64)>,
    pub place: Option<(ReportedPlace, i64)>,
}

pub(crate) fn write(connection: &Connection, report: &DeviceReport) -> Result<(), rusqlite::Error> {
    let words = |said: &Option<(String, i64)>| said.clone().unzip();
    let (firmware, firmware_ms) = words(&report.firmware);
    let (label, label_ms) = words(&report.label);
    let (place, location_ms) = report.place.unzip();
    connection
        .prepare_cached(
            "INSERT INTO device_report (device, firmware, firmware_ms, label, label_ms, lat, lon, alt_m, location_ms) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO UPDATE SET \
             firmware = coalesce(excluded.firmware, firmware), \
             firmware_ms = coalesce(excluded.firmware_ms, firmware_ms), \
             label = coalesce(excluded.label, label), label_ms = coalesce(excluded.label_ms, label_ms), \
             alt_m = CASE WHEN excluded.lat IS NULL THEN alt_m ELSE excluded.alt_m END, \
             lat = coalesce(excluded.lat, lat), lon = coalesce(excluded.lon, lon), \
             location_ms = coalesce(excluded.location_ms, location_ms)",
        )?
        .execute(params![
            report.device,
            firmware,
            firmware_ms,
            label,
            label_ms,
            place.map(|place| place.lat),
            place.map(|place| place.lon),
            place.and_then(|place| place.alt_m),
            location_ms,
        ])?;
    Ok(())
}

/// Of every device that has said something.
pub(crate) fn load(connection: &Connection) -> Result<Vec<DeviceReport>, StoreError> {
    connection
        .prepare(
            "SELECT device, firmware, firmware_ms, lat, lon, alt_m, location_ms, label, label_ms \
             FROM device_report",
        )
        .and_then(|mut statement| {
            let report = |row: &rusqlite::Row<'_>| {
                let firmware: Option<String> = row.get(1)?;
                let firmware_ms: Option<i64> = row.get(2)?;
                let lat_lon: (Option<f64>, Option<f64>) = (row.get(3)?, row.get(4)?);
                let alt_m: Option<f64> = row.get(5)?;
                let location_ms: Option<i64> = row.get(6)?;
                let label: (Option<String>, Option<i64>) = (row.get(7)?, row.get(8)?);
                let place = match lat_lon {
                    (Some(lat), Some(lon)) => Some(ReportedPlace { lat, lon, alt_m }),
                    _ => None,
                };
                Ok(DeviceReport {
                    device: row.get(0)?,
                    firmware: firmware.zip(firmware_ms),
                    label: label.0.zip(label.1),
                    place: place.zip(location_ms),
                })
            };
            statement.query_map([], report)?.collect()
        })
        .doing("read what devices said of themselves")
}
