//! What is read from the file at start: names, the tail, duplicate keys.
//!
//! Always holds: counts and last values are exact, whatever moment the power was cut at: those of the blocks were written
//! with the blocks, the rest is counted here.

use rusqlite::{Connection, OptionalExtension, Row};

use super::catalogue::Catalogue;
use super::dead_letters::{DeadLetters, Room};
use super::dedup::{Deliveries, StoredKey};
use super::flags;
use super::mqtt::Unreleased;
use super::query::stored_reading;
use super::tail::Tail;
use super::types::{Point, SeriesId, SessionNo};
use super::writer::meta_i64;
use crate::error::{Doing, StoreError};

pub(crate) struct Loaded {
    pub(crate) deliveries: Deliveries,
    pub(crate) unreleased: Unreleased,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) last_device_time: Vec<i64>,
    pub(crate) position: i64,
    pub(crate) compacted_to: i64,
    pub(crate) deleted_to: i64,
}

/// The file's own name; a new file gets one from SQLite's randomness.
pub(crate) fn file_id(connection: &Connection) -> Result<[u8; 16], StoreError> {
    connection
        .execute("INSERT INTO meta (name, value) VALUES ('file_id', randomblob(16)) ON CONFLICT DO NOTHING", [])
        .doing("name the readings file")?;
    connection
        .query_row("SELECT value FROM meta WHERE name = 'file_id'", [], |row| {
            crate::sql::blob(row, 0)
        })
        .doing("read the name of the readings file")
}

pub(crate) fn load(
    connection: &Connection,
    room: Room,
) -> Result<(Catalogue, Tail, Loaded), StoreError> {
    let catalogue = Catalogue::load(connection)?;
    let mut tail = Tail::default();
    let mut last_device_time = vec![i64::MIN; catalogue.series_count() as usize];
    load_blocks(connection, &mut tail, &mut last_device_time)?;
    let mut deliveries = Deliveries::load(connection)?;
    let compacted_to = meta_i64(connection, "compacted_to")?.unwrap_or(0);
    tail.compacted_to = compacted_to;
    tail.newest = compacted_to;
    tail.mirror_from = compacted_to + 1;
    let mut position = compacted_to;
    let mut statement = connection
        .prepare(
            "SELECT position, series, at_ms, received_ms, value, flags, session, packet, hash FROM reading \
             WHERE position > ?1 ORDER BY position",
        )
        .doing("prepare tail")?;
    let mut rows = statement.query([compacted_to]).doing("read tail")?;
    while let Some(row) = rows.next().doing("read tail")? {
        let reading = stored_reading(row).doing("read tail")?;
        position = reading.position;
        tail.push(&reading);
        tail.bound();
        if reading.flags & flags::DEVICE_TIME != 0
            && let Some(last) =
                last_device_time.get_mut((reading.series.0 as usize).saturating_sub(1))
        {
            *last = (*last).max(reading.at_ms);
        }
        if let Some(key) = stored_key(row).doing("read tail")? {
            deliveries.insert(&key, false);
            deliveries.commit();
        }
    }
    let first_row: Option<i64> = connection
        .query_row("SELECT min(position) FROM reading", [], |row| row.get(0))
        .optional()
        .doing("read start of tail")?
        .flatten();
    let deleted_to = first_row.map_or(compacted_to, |first| (first - 1).min(compacted_to));
    let dead_letters = DeadLetters::load(connection, room)?;
    Ok((
        catalogue,
        tail,
        Loaded {
            deliveries,
            unreleased: Unreleased::load(connection)?,
            dead_letters,
            last_device_time,
            position,
            compacted_to,
            deleted_to,
        },
    ))
}

fn load_blocks(
    connection: &Connection,
    tail: &mut Tail,
    last_device_time: &mut [i64],
) -> Result<(), StoreError> {
    let mut statement = connection
        .prepare(
            "SELECT id, block_count, block_last_at, block_last, block_last_flags FROM series WHERE block_count > 0",
        )
        .doing("prepare series")?;
    let mut rows = statement.query([]).doing("read series")?;
    while let Some(row) = rows.next().doing("read series")? {
        let read = |row: &Row<'_>| -> rusqlite::Result<(u32, i64, i64, f64, Option<u8>)> {
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                row.get(3)?,
                row.get(4)?,
            ))
        };
        let (id, count, at_ms, value, last_flags) = read(row).doing("read series")?;
        let series = tail.series_mut(SeriesId(id));
        series.count = u64::try_from(count).unwrap_or(0);
        series.last = Some(Point {
            at_ms,
            value,
            flags: last_flags.unwrap_or(flags::IN_ORDER),
        });
        series.blocks_last_at = Some(at_ms);
        // The greatest device time is not kept apart: the greatest time of any kind only means a look-up more.
        if let Some(last) = last_device_time.get_mut((id as usize).saturating_sub(1)) {
            *last = (*last).max(at_ms);
        }
    }
    Ok(())
}

/// Columns 6 to 8 of a tail row, with its position in column 0.
pub(crate) fn stored_key(row: &Row<'_>) -> rusqlite::Result<Option<StoredKey>> {
    let Some(session) = row.get::<_, Option<u32>>(6)? else {
        return Ok(None);
    };
    Ok(Some(StoredKey {
        session: SessionNo(session),
        packet_id: row.get(7)?,
        hash: row.get::<_, i64>(8)?.cast_unsigned(),
        position: row.get(0)?,
    }))
}
