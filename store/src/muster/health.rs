//! What nodes say of the devices that they hear: when they heard one last, its battery, its signal, whether it is there,
//! its firmware.
//!
//! Always holds: a row is what its author said last of a device, and nothing in it is newer than the commit that brought
//! it. An author counts by its own clock: where that is ahead of ours, all that it says is moved back by as much, so that
//! what it says was a minute old stays so; where it is behind, or the entry was long on its way, what is said is older.
//! It is a view: written with the entries that say it, and again by a rebuild. What this node says itself is in it too,
//! which is how it knows what it has said.

use rusqlite::{Connection, OptionalExtension, Row, params};
use sync_engine::NodeId;

use super::batch::{CommitNo, DeviceHealth, HealthWrite, SaidAt};
use crate::error::{Doing, StoreError};
use crate::sql::blob;

/// Devices of one author: ten times what a busy gateway hears. Where it speaks of more, the one that it has not spoken of
/// for longest is forgotten: an author that invents names pushes out its own words, nobody else's.
const DEVICES_PER_AUTHOR_MAX: i64 = 10_000;

/// What a node said last of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthSaid {
    /// Who says it.
    pub node: NodeId,
    /// When, milliseconds since 1970; never after it came here.
    pub said_ms: i64,
    pub health: DeviceHealth,
}

/// Takes in what a node says, in a batch that came at `arrival_ms`.
pub(crate) fn fold(
    connection: &Connection,
    said: &HealthWrite,
    arrival_ms: i64,
) -> Result<(), rusqlite::Error> {
    let mut author = Author::of(connection, &said.node)?;
    let ahead_ms = said.at_ms.saturating_sub(arrival_ms).max(0);
    for health in &said.devices {
        author.write(connection, said.at_ms, health, ahead_ms)?;
    }
    author.keep(connection)
}

/// See [`fold`]; for a replay of an earlier commit.
pub(crate) fn fold_again(
    connection: &Connection,
    said: &HealthWrite,
    commit: CommitNo,
) -> Result<(), rusqlite::Error> {
    let arrival_ms = connection
        .prepare_cached("SELECT at_wall_ms FROM commit_info WHERE commit_no = ?1")?
        .query_row([commit.0], |row| row.get(0))?;
    fold(connection, said, arrival_ms)
}

struct Author {
    no: i64,
    devices: i64,
    /// Counts what it says: rows of it lie in this order.
    turns: i64,
}

impl Author {
    fn of(connection: &Connection, node: &NodeId) -> Result<Author, rusqlite::Error> {
        let known = connection
            .prepare_cached("SELECT no, devices, turns FROM device_health_author WHERE node = ?1")?
            .query_row([&node.0[..]], |row| {
                Ok(Author {
                    no: row.get(0)?,
                    devices: row.get(1)?,
                    turns: row.get(2)?,
                })
            })
            .optional()?;
        if let Some(known) = known {
            return Ok(known);
        }
        connection
            .prepare_cached(
                "INSERT INTO device_health_author (node, devices, turns) VALUES (?1, 0, 0)",
            )?
            .execute([&node.0[..]])?;
        Ok(Author {
            no: connection.last_insert_rowid(),
            devices: 0,
            turns: 0,
        })
    }

    fn write(
        &mut self,
        connection: &Connection,
        at_ms: i64,
        health: &DeviceHealth,
        ahead_ms: i64,
    ) -> Result<(), rusqlite::Error> {
        let is_known = connection
            .prepare_cached("SELECT 1 FROM device_health WHERE device = ?1 AND author = ?2")?
            .exists((&health.device, self.no))?;
        if !is_known {
            if self.devices >= DEVICES_PER_AUTHOR_MAX {
                self.forget_one(connection)?;
            }
            self.devices += 1;
        }
        self.turns += 1;
        let back = |ms: i64| ms.saturating_sub(ahead_ms);
        let value = |timed: &Option<SaidAt<f64>>| timed.map(|timed| timed.value);
        let time = |timed: &Option<SaidAt<f64>>| timed.map(|timed| back(timed.at_ms));
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO device_health (device, author, turn, said_ms, heard_ms, battery_pct, battery_ms, \
                 rssi_dbm, rssi_ms, online, firmware, firmware_ms) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?
            .execute(params![
                health.device,
                self.no,
                self.turns,
                back(at_ms),
                health.heard_ms.map(back),
                value(&health.battery_pct),
                time(&health.battery_pct),
                value(&health.rssi_dbm),
                time(&health.rssi_dbm),
                health.online,
                health.firmware.as_ref().map(|firmware| &firmware.value),
                health.firmware.as_ref().map(|firmware| back(firmware.at_ms)),
            ])?;
        Ok(())
    }

    fn forget_one(&mut self, connection: &Connection) -> Result<(), rusqlite::Error> {
        let forgotten = connection
            .prepare_cached(
                "DELETE FROM device_health WHERE author = ?1 AND turn = \
                 (SELECT min(turn) FROM device_health WHERE author = ?1)",
            )?
            .execute([self.no])?;
        self.devices -= i64::try_from(forgotten).unwrap_or(i64::MAX);
        Ok(())
    }

    fn keep(&self, connection: &Connection) -> Result<(), rusqlite::Error> {
        connection
            .prepare_cached(
                "UPDATE device_health_author SET devices = ?2, turns = ?3 WHERE no = ?1",
            )?
            .execute((self.no, self.devices, self.turns))?;
        Ok(())
    }
}

const COLUMNS: &str = "a.node, h.said_ms, h.device, h.heard_ms, h.battery_pct, h.battery_ms, h.rssi_dbm, h.rssi_ms, \
     h.online, h.firmware, h.firmware_ms";

/// See [`super::Reader::health_of`].
pub(crate) fn of_device(
    connection: &Connection,
    device: &str,
    me: &NodeId,
    limit: usize,
) -> Result<Vec<HealthSaid>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM device_health h JOIN device_health_author a ON a.no = h.author \
         WHERE h.device = ?1 AND a.node <> ?2 ORDER BY h.heard_ms DESC, a.node LIMIT ?3"
    );
    connection
        .prepare_cached(&sql)
        .and_then(|mut statement| {
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            statement
                .query_map((device, &me.0[..], limit), said)?
                .collect()
        })
        .doing("read what nodes say of a device")
}

/// See [`super::Reader::health_said_by`].
pub(crate) fn said_by(
    connection: &Connection,
    node: &NodeId,
) -> Result<Vec<HealthSaid>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM device_health_author a JOIN device_health h ON h.author = a.no \
         WHERE a.node = ?1 ORDER BY h.turn"
    );
    connection
        .prepare_cached(&sql)
        .and_then(|mut statement| statement.query_map([&node.0[..]], said)?.collect())
        .doing("read what a node says of devices")
}

fn said(row: &Row<'_>) -> rusqlite::Result<HealthSaid> {
    fn timed<T: rusqlite::types::FromSql>(
        row: &Row<'_>,
        column: usize,
    ) -> rusqlite::Result<Option<SaidAt<T>>> {
        let value: Option<T> = row.get(column)?;
        let at_ms: Option<i64> = row.get(column + 1)?;
        Ok(value
            .zip(at_ms)
            .map(|(value, at_ms)| SaidAt { value, at_ms }))
    }
    Ok(HealthSaid {
        node: NodeId(blob(row, 0)?),
        said_ms: row.get(1)?,
        health: DeviceHealth {
            device: row.get(2)?,
            heard_ms: row.get(3)?,
            battery_pct: timed(row, 4)?,
            rssi_dbm: timed(row, 6)?,
            online: row.get(8)?,
            firmware: timed(row, 9)?,
        },
    })
}
