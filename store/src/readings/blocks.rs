//! The rows of the table `block`: written by the writer's thread only, read by everybody.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, Row, params};

use super::block::{self, Block, Kind};
use super::dedup::StoredKey;
use super::due;
use super::rollup::Bucket;
use super::types::{SeriesId, StoredReading};
use crate::error::{CommitError, Doing, StoreError};

/// A row on the way to its readings or buckets.
pub(crate) struct BlockRow<'a> {
    pub(crate) last_at: i64,
    count: usize,
    format: u8,
    data: &'a [u8],
}

impl<'a> BlockRow<'a> {
    /// Columns `last_at, count, format, data` from `first` on.
    pub(crate) fn read(row: &'a Row<'_>, first: usize) -> Result<Self, StoreError> {
        let read = |row: &'a Row<'_>| -> rusqlite::Result<Self> {
            Ok(BlockRow {
                last_at: row.get(first)?,
                count: usize::try_from(row.get::<_, i64>(first + 1)?).unwrap_or(usize::MAX),
                format: row.get(first + 2)?,
                data: row.get_ref(first + 3)?.as_blob()?,
            })
        };
        read(row).doing("read blocks")
    }

    pub(crate) fn readings(&self, series: SeriesId) -> Result<Vec<StoredReading>, StoreError> {
        block::decode(series, self.format, self.count, self.data).ok_or(StoreError::Unreadable {
            what: "block of readings",
        })
    }

    pub(crate) fn buckets(&self, kind: Kind) -> Result<Vec<Bucket>, StoreError> {
        block::decode_buckets(kind, self.format, self.count, self.data).ok_or(
            StoreError::Unreadable {
                what: "block of a rollup",
            },
        )
    }
}

/// Calls `each` for the blocks of a series that have part in a closed range of time, the one with the newest content
/// first, until it answers `false`.
pub(crate) fn newest_first(
    connection: &Connection,
    series: SeriesId,
    kind: Kind,
    range: (i64, i64),
    each: impl FnMut(BlockRow<'_>) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    let sql = "SELECT last_at, count, format, data FROM block \
               WHERE series = ?1 AND kind = ?2 AND last_at >= ?3 AND first_at <= ?4 ORDER BY last_at DESC";
    in_order(connection, sql, series, kind, range, each)
}

/// The same from the oldest on, to the end.
pub(crate) fn oldest_first(
    connection: &Connection,
    series: SeriesId,
    kind: Kind,
    range: (i64, i64),
    mut each: impl FnMut(BlockRow<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let sql = "SELECT last_at, count, format, data FROM block \
               WHERE series = ?1 AND kind = ?2 AND last_at >= ?3 AND first_at <= ?4 ORDER BY last_at";
    in_order(connection, sql, series, kind, range, |row| {
        each(row).map(|()| true)
    })
}

fn in_order(
    connection: &Connection,
    sql: &str,
    series: SeriesId,
    kind: Kind,
    (from_ms, to_ms): (i64, i64),
    mut each: impl FnMut(BlockRow<'_>) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(sql).doing("prepare blocks")?;
    let mut rows = statement
        .query((series.0, kind as u8, from_ms, to_ms))
        .doing("read blocks")?;
    while let Some(row) = rows.next().doing("read blocks")? {
        if !each(BlockRow::read(row, 0)?)? {
            break;
        }
    }
    Ok(())
}

/// Calls `each` for the open blocks of readings of approved devices that have part in a closed range of time, in no
/// order. There are few: merging keeps their number down.
pub(crate) fn open_readings(
    connection: &Connection,
    series: SeriesId,
    (from_ms, to_ms): (i64, i64),
    mut each: impl FnMut(BlockRow<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut statement = connection
        .prepare_cached(
            "SELECT last_at, count, format, data FROM block INDEXED BY block_open \
             WHERE series = ?1 AND kind = 1 AND level < 9 AND last_at >= ?2 AND first_at <= ?3",
        )
        .doing("prepare open blocks")?;
    let mut rows = statement
        .query((series.0, from_ms, to_ms))
        .doing("read open blocks")?;
    while let Some(row) = rows.next().doing("read open blocks")? {
        each(BlockRow::read(row, 0)?)?;
    }
    Ok(())
}

/// When the oldest block of readings of any series ends: a look-up in an index for each of them.
pub(crate) fn oldest_readings_ms(
    connection: &Connection,
    series_count: u32,
) -> Result<Option<i64>, StoreError> {
    let mut statement = connection
        .prepare_cached(
            "SELECT min(last_at) FROM block INDEXED BY block_time WHERE series = ?1 AND kind = ?2",
        )
        .doing("prepare the oldest blocks")?;
    let mut oldest: Option<i64> = None;
    for series in 1..=series_count {
        for kind in [Kind::Readings, Kind::Unapproved] {
            let of_series: Option<i64> = statement
                .query_row((series, kind as u8), |row| row.get(0))
                .doing("look for the oldest block")?;
            oldest = oldest.into_iter().chain(of_series).min();
        }
    }
    Ok(oldest)
}

/// What the keeper wants to have changed in the file, in one transaction.
#[derive(Debug, Default)]
pub(crate) struct Rewrite {
    add: Vec<Block>,
    remove: Vec<i64>,
    pub(crate) moved: Option<Moved>,
    /// Raw readings before this time are being dropped.
    pub(crate) raw_dropped_to: Option<i64>,
    /// By how many bytes the blocks of unapproved devices grow or shrink.
    unapproved: BTreeMap<SeriesId, i64>,
}

/// Readings leave the tail.
#[derive(Debug)]
pub(crate) struct Moved {
    /// All positions up to this are in blocks: in these, or in earlier ones.
    pub(crate) to: i64,
    pub(crate) grown: Vec<Grown>,
    /// Quarters of an hour that these rows are in and that others are to hear of.
    pub(crate) due: BTreeSet<(SeriesId, i64)>,
    /// The QoS 1 messages of these rows, the last of each packet id.
    pub(crate) keys: Vec<StoredKey>,
}

/// What a series has got in blocks.
#[derive(Debug)]
pub(crate) struct Grown {
    pub(crate) series: SeriesId,
    pub(crate) count: usize,
    /// The newest of them by time.
    pub(crate) last: StoredReading,
}

impl Rewrite {
    pub(crate) fn add(&mut self, blocks: impl IntoIterator<Item = Block>) {
        for block in blocks {
            if block.kind == Kind::Unapproved {
                *self.unapproved.entry(block.series).or_default() += weight(block.data.len());
            }
            self.add.push(block);
        }
    }

    pub(crate) fn remove(&mut self, series: SeriesId, kind: Kind, id: i64, data_bytes: usize) {
        if kind == Kind::Unapproved {
            *self.unapproved.entry(series).or_default() -= weight(data_bytes);
        }
        self.remove.push(id);
    }

    /// Takes over what another one wants. Only one of them may move the tail.
    pub(crate) fn append(&mut self, mut other: Rewrite) {
        self.add.append(&mut other.add);
        self.remove.append(&mut other.remove);
        self.moved = self.moved.take().or(other.moved);
        self.raw_dropped_to = self.raw_dropped_to.max(other.raw_dropped_to);
        for (series, bytes) in other.unapproved {
            *self.unapproved.entry(series).or_default() += bytes;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty()
    }

    /// By how many bytes each series of an unapproved device grows or shrinks.
    pub(crate) fn unapproved(&self) -> BTreeMap<SeriesId, i64> {
        self.unapproved.clone()
    }

    /// Writes the blocks, inside the writer's transaction. What is to be removed must be there: only one thread decides
    /// about blocks.
    pub(crate) fn apply(&self, connection: &Connection) -> Result<(), CommitError> {
        for id in &self.remove {
            if !remove(connection, *id)? {
                return Err(CommitError::fault(
                    "a block that was to be replaced is gone",
                ));
            }
        }
        for block in &self.add {
            insert(connection, block)?;
        }
        for grown in self.moved.iter().flat_map(|moved| &moved.grown) {
            grow(connection, grown)?;
        }
        if let Some(moved) = &self.moved {
            due::mark(connection, &moved.due, moved.to)?;
            put_meta(connection, "compacted_to", moved.to)?;
        }
        if let Some(raw_dropped_to) = self.raw_dropped_to {
            due::give_up(connection, raw_dropped_to)?;
            put_meta(connection, "raw_dropped_to", raw_dropped_to)?;
        }
        Ok(())
    }
}

/// What a block takes up: its bytes, and about so many for its row and the entries of the indices.
pub(crate) fn weight(data_bytes: usize) -> i64 {
    const ROW_BYTES: i64 = 96;
    i64::try_from(data_bytes).unwrap_or(i64::MAX - ROW_BYTES) + ROW_BYTES
}

fn grow(connection: &Connection, grown: &Grown) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached(
            "UPDATE series SET block_count = block_count + ?2, \
             block_last = CASE WHEN block_last_at IS NULL OR block_last_at <= ?3 THEN ?4 ELSE block_last END, \
             block_last_flags = CASE WHEN block_last_at IS NULL OR block_last_at <= ?3 THEN ?5 ELSE block_last_flags END, \
             block_last_at = max(coalesce(block_last_at, ?3), ?3) WHERE id = ?1",
        )?
        .execute(params![
            grown.series.0,
            grown.count as i64,
            grown.last.at_ms,
            grown.last.value,
            grown.last.flags
        ])?;
    Ok(())
}

fn put_meta(connection: &Connection, name: &str, number: i64) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)")?
        .execute((name, &number.to_le_bytes()[..]))?;
    Ok(())
}

fn insert(connection: &Connection, block: &Block) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached(
            "INSERT INTO block (series, kind, period, level, first_at, last_at, count, format, data) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            block.series.0,
            block.kind as u8,
            block.period,
            block.level,
            block.first_at,
            block.last_at,
            block.count as i64,
            block.format,
            block.data
        ])?;
    Ok(())
}

/// Answers whether it was there.
fn remove(connection: &Connection, id: i64) -> Result<bool, rusqlite::Error> {
    let removed = connection
        .prepare_cached("DELETE FROM block WHERE id = ?1")?
        .execute([id])?;
    Ok(removed == 1)
}
