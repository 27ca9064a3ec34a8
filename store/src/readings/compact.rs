//! The tail's old end becomes blocks: reading, sorting and encoding happen in the keeper's thread, on a read connection;
//! the writer only inserts the finished blocks.
//!
//! Always holds: nothing that the rules have not evaluated leaves the tail; rows are deleted only after their blocks are
//! on the disk.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;

use super::block::{self, BLOCK_READINGS_MAX, Block, CLOSED, CLOSED_READINGS_MIN, Kind};
use super::blocks::{Grown, Moved, Rewrite};
use super::dedup::StoredKey;
use super::due;
use super::rollup;
use super::types::{SeriesId, SessionNo, StoredReading};
use crate::error::{Doing, StoreError};

/// When the tail is moved. Chosen once; tests have their own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    /// Begin when the tail has this many readings: a restart reads so many in a tenth of a second.
    pub(crate) tail_start: i64,
    /// Leave the newest: most questions and late duplicates are about them.
    pub(crate) tail_keep: i64,
    /// Readings turned into blocks at a time: about half a megabyte of blocks in one transaction, a few milliseconds of
    /// the writer.
    pub(crate) chunk: i64,
    /// At most, when more waits. With a thousand series a chunk is a thousand small blocks; larger ones take fewer rows
    /// and merges for each reading, so that the keeper becomes the faster the more it has to catch up with. Some 30 MB
    /// while they are encoded.
    pub(crate) chunk_max: i64,
    /// While fewer wait, blocks that are due to be merged come first: what never ended would otherwise leave a series in
    /// ever more small blocks, each of which a chart reads. With more, the oldest are about to leave memory
    /// ([`super::tail::MIRROR_READINGS_MAX`]), and finding them in the file is slower still.
    pub(crate) urgent: i64,
    /// Less than this is not worth a transaction.
    pub(crate) chunk_min: i64,
    /// Begin, too, when the oldest reading of the tail came so long ago: a quiet node's tail must not outlive its
    /// retention, nor wait for weeks to take up little room.
    pub(crate) age_ms: i64,
    /// And leave what came later than this.
    pub(crate) age_keep_ms: i64,
}

impl Default for Schedule {
    fn default() -> Self {
        Schedule {
            tail_start: 100_000,
            tail_keep: 50_000,
            chunk: 32_768,
            chunk_max: 262_144,
            urgent: 300_000,
            chunk_min: 8_192,
            age_ms: 3_600_000,
            age_keep_ms: 10 * 60_000,
        }
    }
}

/// What is known of the tail.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TailState {
    pub(crate) compacted_to: i64,
    pub(crate) newest: i64,
    /// The rules have evaluated everything up to this position.
    pub(crate) evaluated: i64,
    /// When the oldest reading of the tail came.
    pub(crate) oldest_received_ms: i64,
    pub(crate) now_ms: i64,
}

impl Schedule {
    /// Whether moving the tail is put off until the merges that are due are done.
    pub(crate) fn merges_first(&self, tail: &TailState) -> bool {
        tail.newest - tail.compacted_to < self.urgent
    }

    /// Up to which position to move now; `None` when it is not worth it yet.
    pub(crate) fn due(
        &self,
        connection: &Connection,
        tail: &TailState,
    ) -> Result<Option<i64>, StoreError> {
        let from = tail.compacted_to;
        if tail.newest - from >= self.tail_start {
            let ready = (tail.newest - self.tail_keep).min(tail.evaluated);
            let chunk = ((ready - from) / 2).clamp(self.chunk, self.chunk_max);
            let to = ready.min(from + chunk);
            return Ok((to - from >= self.chunk_min).then_some(to));
        }
        if tail.newest <= from || tail.now_ms.saturating_sub(tail.oldest_received_ms) < self.age_ms
        {
            return Ok(None);
        }
        let until = tail.now_ms.saturating_sub(self.age_keep_ms);
        let to = last_received_before(connection, from, from + self.chunk, until)?;
        // All at once or not yet: rules that lag by a little would make a transaction of every few readings.
        Ok((to > from && to <= tail.evaluated).then_some(to))
    }
}

/// The end of the run of rows after `from`, at most at `to_max`, that came until `until_ms`.
fn last_received_before(
    connection: &Connection,
    from: i64,
    to_max: i64,
    until_ms: i64,
) -> Result<i64, StoreError> {
    connection
        .prepare_cached(
            "SELECT coalesce((SELECT min(position) - 1 FROM reading WHERE position > ?1 AND position <= ?2 AND received_ms > ?3), \
             (SELECT max(position) FROM reading WHERE position <= ?2))",
        )
        .and_then(|mut statement| {
            statement.query_row((from, to_max, until_ms), |row| row.get::<_, Option<i64>>(0))
        })
        .map(|to| to.unwrap_or(from))
        .doing("look for the end of what is old")
}

/// When the oldest reading after a position came.
pub(crate) fn oldest_received_ms(
    connection: &Connection,
    after: i64,
) -> Result<Option<i64>, StoreError> {
    use rusqlite::OptionalExtension;
    connection
        .prepare_cached(
            "SELECT received_ms FROM reading WHERE position > ?1 ORDER BY position LIMIT 1",
        )
        .and_then(|mut statement| statement.query_row([after], |row| row.get(0)).optional())
        .doing("read the oldest of the tail")
}

/// The blocks of the rows between two positions.
pub(crate) fn read(connection: &Connection, from: i64, to: i64) -> Result<Rewrite, StoreError> {
    let mut series: BTreeMap<SeriesId, Vec<StoredReading>> = BTreeMap::new();
    let mut keys: BTreeMap<(SessionNo, u16), StoredKey> = BTreeMap::new();
    let mut statement = connection
        .prepare_cached(
            "SELECT position, series, at_ms, received_ms, value, flags, session, packet, hash FROM reading \
             WHERE position > ?1 AND position <= ?2 ORDER BY position",
        )
        .doing("prepare tail")?;
    let mut rows = statement.query((from, to)).doing("read tail")?;
    while let Some(row) = rows.next().doing("read tail")? {
        let reading = super::query::stored_reading(row).doing("read tail")?;
        if let Some(key) = super::load::stored_key(row).doing("read tail")? {
            keys.insert((key.session, key.packet_id), key);
        }
        series.entry(reading.series).or_default().push(reading);
    }
    let dropped_to_ms = rollup::dropped_to_ms(connection)?;
    let mut rewrite = Rewrite::default();
    let mut grown = Vec::new();
    let mut due = BTreeSet::new();
    for (series, readings) in series {
        let mut readings = readings;
        readings.sort_by_key(|reading| reading.at_ms);
        due.extend(readings.iter().filter_map(due::quarter_of));
        let Some(last) = readings.last().copied() else {
            continue;
        };
        grown.push(Grown {
            series,
            count: readings.len(),
            last,
        });
        for part in by_period_and_kind(readings) {
            let packed = pack(connection, part, 0, dropped_to_ms)?;
            rewrite.add(packed);
        }
    }
    rewrite.moved = Some(Moved {
        to,
        grown,
        due,
        keys: keys.into_values().collect(),
    });
    Ok(rewrite)
}

/// Splits sorted readings of one series so that no part reaches over a day or mixes kinds; each stays sorted.
pub(crate) fn by_period_and_kind(readings: Vec<StoredReading>) -> Vec<Vec<StoredReading>> {
    let mut parts: BTreeMap<(i64, Kind), Vec<StoredReading>> = BTreeMap::new();
    for reading in readings {
        let kind = Kind::of(&reading);
        parts
            .entry((kind.period_of(reading.at_ms), kind))
            .or_default()
            .push(reading);
    }
    parts.into_values().collect()
}

/// Blocks of sorted readings of one series, day and kind that no rollup knows. Those that are large enough are closed at
/// once, with what they add to the rollups; the rest gets the given level.
pub(crate) fn pack(
    connection: &Connection,
    readings: Vec<StoredReading>,
    level: u8,
    dropped_to_ms: i64,
) -> Result<Vec<Block>, StoreError> {
    let mut blocks = Vec::new();
    for chunk in readings.chunks(BLOCK_READINGS_MAX) {
        let closes = chunk.len() >= CLOSED_READINGS_MIN;
        blocks.extend(block::encode(chunk, if closes { CLOSED } else { level }));
        if closes {
            blocks.extend(roll_up(connection, chunk.to_vec(), dropped_to_ms)?);
        }
    }
    Ok(blocks)
}

/// What closing these readings adds to the rollups.
pub(crate) fn roll_up(
    connection: &Connection,
    readings: Vec<StoredReading>,
    dropped_to_ms: i64,
) -> Result<Vec<Block>, StoreError> {
    if readings.first().map(Kind::of) != Some(Kind::Readings) {
        return Ok(Vec::new());
    }
    let fresh = rollup::without_counted(connection, readings, dropped_to_ms)?;
    Ok(rollup::of_readings(&fresh))
}
