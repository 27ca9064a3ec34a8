//! Readings of devices that nobody has approved share a bounded part of the disk.
//!
//! When they take up more than [`UNAPPROVED_BYTES_MAX`] the oldest blocks of the device with the most go. So one that
//! floods the node only ever pushes out its own readings, and what a quiet unknown sensor said stays until there are so
//! many of them that the equal share of each is smaller than what it said.
//!
//! Always holds: readings of an approved device are never dropped for it, and are never made room for by other means
//! than retention.

use std::collections::{BTreeMap, HashMap};

use rusqlite::Connection;

use super::block::Kind;
use super::blocks::{Rewrite, weight};
use super::catalogue::Catalogue;
use super::types::SeriesId;
use crate::error::{Doing, StoreError};

/// Some 50 million readings of steady sensors, or a million of the most wasteful kind; 1 % of a small card.
pub(crate) const UNAPPROVED_BYTES_MAX: i64 = 128 << 20;
/// Blocks dropped in one transaction.
const BLOCKS_PER_STEP: i64 = 128;

/// What series of unapproved devices take up in blocks.
pub(crate) struct Unapproved {
    by_series: HashMap<SeriesId, i64>,
    bytes: i64,
    bytes_max: i64,
}

impl Unapproved {
    pub(crate) fn load(connection: &Connection, bytes_max: i64) -> Result<Self, StoreError> {
        let mut unapproved = Unapproved {
            by_series: HashMap::new(),
            bytes: 0,
            bytes_max,
        };
        let mut statement = connection
            .prepare(
                "SELECT series, count(*), sum(length(data)) FROM block INDEXED BY block_unapproved \
                 WHERE kind = 2 GROUP BY series",
            )
            .doing("prepare blocks of unapproved devices")?;
        let mut rows = statement
            .query([])
            .doing("read blocks of unapproved devices")?;
        while let Some(row) = rows.next().doing("read blocks of unapproved devices")? {
            let read = |row: &rusqlite::Row<'_>| -> rusqlite::Result<(u32, i64, i64)> {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            };
            let (series, count, bytes) = read(row).doing("read blocks of unapproved devices")?;
            let all = bytes.saturating_add(count.saturating_mul(weight(0)));
            unapproved.grow(&BTreeMap::from([(SeriesId(series), all)]));
        }
        Ok(unapproved)
    }

    /// A transaction stands.
    pub(crate) fn grow(&mut self, by: &BTreeMap<SeriesId, i64>) {
        for (series, bytes) in by {
            self.bytes += bytes;
            let of_series = self.by_series.entry(*series).or_default();
            *of_series += bytes;
            if *of_series <= 0 {
                self.by_series.remove(series);
            }
        }
    }

    pub(crate) fn bytes(&self) -> i64 {
        self.bytes
    }

    /// Adds to `rewrite` what has to go, one step of it; answers how many readings that are.
    pub(crate) fn make_room(
        &self,
        connection: &Connection,
        catalogue: &Catalogue,
        rewrite: &mut Rewrite,
    ) -> Result<u64, StoreError> {
        let mut excess = self.bytes - self.bytes_max;
        if excess <= 0 {
            return Ok(0);
        }
        let Some(series) = self.largest_of_largest(catalogue) else {
            return Ok(0);
        };
        let mut statement = connection
            .prepare_cached(
                "SELECT id, length(data), count FROM block INDEXED BY block_unapproved \
                 WHERE kind = 2 AND series = ?1 ORDER BY id LIMIT ?2",
            )
            .doing("prepare blocks of an unapproved device")?;
        let mut rows = statement
            .query((series.0, BLOCKS_PER_STEP))
            .doing("read blocks of an unapproved device")?;
        let mut readings = 0;
        while let Some(row) = rows.next().doing("read blocks of an unapproved device")? {
            let read = |row: &rusqlite::Row<'_>| -> rusqlite::Result<(i64, i64, i64)> {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            };
            let (id, bytes, count) = read(row).doing("read blocks of an unapproved device")?;
            let bytes = usize::try_from(bytes).unwrap_or(0);
            rewrite.remove(series, Kind::Unapproved, id, bytes);
            readings += u64::try_from(count).unwrap_or(0);
            excess -= weight(bytes);
            if excess <= 0 {
                break;
            }
        }
        Ok(readings)
    }

    /// The largest series of the device that has the most.
    fn largest_of_largest(&self, catalogue: &Catalogue) -> Option<SeriesId> {
        let mut devices: BTreeMap<u32, (i64, i64, SeriesId)> = BTreeMap::new();
        for (series, bytes) in &self.by_series {
            let device = catalogue.with_names(*series, |names| names.device_no)?;
            let of_device = devices.entry(device).or_insert((0, 0, *series));
            of_device.0 += bytes;
            if (*bytes, *series) > (of_device.1, of_device.2) {
                (of_device.1, of_device.2) = (*bytes, *series);
            }
        }
        devices.into_values().max().map(|(_, _, series)| series)
    }
}
