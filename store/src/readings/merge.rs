//! Blocks become fewer and larger: eight of a level are made into one of the next, and when a period is over everything
//! in it is closed.
//!
//! ```text
//! tail ─▶ level 0 ─8─▶ level 1 ─8─▶ … ─▶ closed (≥ 2,048 readings, or its day is over) ─▶ dropped by retention
//!                                         └─▶ buckets of level 0 ─8─▶ … ─▶ closed (its 1,440 buckets are over)
//! ```
//!
//! So a reading is written a handful of times however slow its series is, a slow series does not stay in many tiny
//! blocks, and a query meets at most seven open blocks of each level.
//!
//! Always holds: the transaction that closes a block of readings adds them to the rollups, and no other does; what is
//! replaced and what replaces it are one transaction.

use rusqlite::Connection;

use super::block::{self, CLOSED, CLOSED_READINGS_MIN, Kind};
use super::blocks::{BlockRow, Rewrite};
use super::compact::{by_period_and_kind, pack, roll_up};
use super::rollup::{self, Buckets};
use super::types::{SeriesId, StoredReading};
use crate::error::{Doing, StoreError};

/// So many blocks of a level become one of the next.
const MERGE_WIDTH: i64 = 8;
/// A period is closed so long after its end: most late readings have come by then and need no blocks of their own.
const CLOSE_AFTER_MS: i64 = 2 * 3_600_000;
/// Blocks read for one merge; what is left over is met again. 64 × 2,048 readings are 6 MB.
const ROWS_MAX: i64 = 64;
/// Groups that are looked up at once, 32 bytes each.
const GROUPS_MAX: i64 = 65_536;
/// A closed block with fewer readings than this takes part when its day gets late ones, so that they do not add up to
/// many small blocks.
const SMALL_CLOSED_MAX: i64 = CLOSED_READINGS_MIN as i64 / 2;

/// Blocks that are to be merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) series: SeriesId,
    pub(crate) kind: Kind,
    pub(crate) period: i64,
    /// `None`: all, because the period is over.
    pub(crate) level: Option<u8>,
}

/// What is to be merged now: periods that are over, then levels that are full.
pub(crate) fn groups(connection: &Connection, now_ms: i64) -> Result<Vec<Group>, StoreError> {
    let over_before = |kind: Kind| kind.period_of(now_ms.saturating_sub(CLOSE_AFTER_MS));
    let over = connection
        .prepare_cached(
            "SELECT series, kind, period, NULL FROM block INDEXED BY block_open WHERE level < 9 AND period < \
             CASE kind WHEN 3 THEN ?2 WHEN 4 THEN ?3 WHEN 5 THEN ?4 ELSE ?1 END \
             GROUP BY series, kind, period LIMIT ?5",
        )
        .doing("prepare groups of blocks")?
        .query_map(
            (
                over_before(Kind::Readings),
                over_before(Kind::Minutes),
                over_before(Kind::Quarters),
                over_before(Kind::Hours),
                GROUPS_MAX,
            ),
            group,
        )
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .doing("read groups of blocks")?;
    let full = connection
        .prepare_cached(
            "SELECT series, kind, period, level FROM block INDEXED BY block_open WHERE level < 9 \
             GROUP BY series, kind, period, level HAVING count(*) >= ?1 LIMIT ?2",
        )
        .doing("prepare groups of blocks")?
        .query_map((MERGE_WIDTH, GROUPS_MAX), group)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .doing("read groups of blocks")?;
    let still_going_on = |group: &Group| group.period >= over_before(group.kind);
    let mut groups: Vec<Group> = over
        .into_iter()
        .flatten()
        .chain(full.into_iter().flatten().filter(still_going_on))
        .collect();
    // Blocks of one time that were made together stand on the same pages: series after series, not day after day.
    groups.sort_unstable_by_key(|group| (group.period, group.kind, group.level, group.series));
    Ok(groups)
}

/// A kind that a newer program has made is left alone.
fn group(row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<Group>> {
    let (series, kind, period, level) = (
        SeriesId(row.get(0)?),
        Kind::from_number(row.get(1)?),
        row.get(2)?,
        row.get(3)?,
    );
    Ok(kind.map(|kind| Group {
        series,
        kind,
        period,
        level,
    }))
}

/// Adds to `rewrite` what becomes of a group.
pub(crate) fn merge(
    connection: &Connection,
    group: &Group,
    rewrite: &mut Rewrite,
) -> Result<(), StoreError> {
    if group.kind.is_readings() {
        merge_readings(connection, group, rewrite)
    } else {
        merge_buckets(connection, group, rewrite)
    }
}

fn merge_readings(
    connection: &Connection,
    group: &Group,
    rewrite: &mut Rewrite,
) -> Result<(), StoreError> {
    let (series, kind) = (group.series, group.kind);
    let mut fresh: Vec<StoredReading> = Vec::new();
    let mut counted: Vec<StoredReading> = Vec::new();
    each_row(
        connection,
        group,
        SMALL_CLOSED_MAX,
        |id, level, bytes, row| {
            let readings = row.readings(series)?;
            rewrite.remove(series, kind, id, bytes);
            let to = if level == CLOSED {
                &mut counted
            } else {
                &mut fresh
            };
            to.extend(readings);
            Ok(())
        },
    )?;
    fresh.sort_by_key(|reading| reading.at_ms);
    let dropped_to_ms = rollup::dropped_to_ms(connection)?;
    for part in by_period_and_kind(fresh) {
        let Some(first) = part.first() else { continue };
        let (part_kind, part_period) = (Kind::of(first), kind.period_of(first.at_ms));
        let closes = group.level.is_none() && (part_kind, part_period) == (kind, group.period);
        if !closes {
            // Blocks of the first program could reach over days and mix kinds: the parts go where they belong.
            let next = group.level.map_or(0, |level| (level + 1).min(CLOSED - 1));
            rewrite.add(pack(connection, part, next, dropped_to_ms)?);
            continue;
        }
        rewrite.add(roll_up(connection, part.clone(), dropped_to_ms)?);
        counted.extend(part);
    }
    counted.sort_by_key(|reading| reading.at_ms);
    for chunk in counted.chunks(block::BLOCK_READINGS_MAX) {
        rewrite.add(block::encode(chunk, CLOSED));
    }
    Ok(())
}

fn merge_buckets(
    connection: &Connection,
    group: &Group,
    rewrite: &mut Rewrite,
) -> Result<(), StoreError> {
    let (series, kind) = (group.series, group.kind);
    let mut sum = Buckets::new(kind);
    each_row(connection, group, i64::MAX, |id, _, bytes, row| {
        row.buckets(kind)?.iter().for_each(|bucket| sum.add(bucket));
        rewrite.remove(series, kind, id, bytes);
        Ok(())
    })?;
    let level = group
        .level
        .map_or(CLOSED, |level| (level + 1).min(CLOSED - 1));
    rewrite.add(rollup::pack(series, kind, level, &sum.into_vec()));
    Ok(())
}

/// The rows of a group in the order in which they came. Where the period is over those that are closed already take
/// part too, if they have fewer rows than `closed_max`.
fn each_row(
    connection: &Connection,
    group: &Group,
    closed_max: i64,
    mut each: impl FnMut(i64, u8, usize, BlockRow<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    const COLUMNS: &str = "id, level, length(data), last_at, count, format, data";
    let (series, kind, period) = (group.series.0, group.kind as u8, group.period);
    let mut read = |sql: &str, parameters: &[&dyn rusqlite::ToSql]| -> Result<(), StoreError> {
        let mut statement = connection
            .prepare_cached(sql)
            .doing("prepare blocks to merge")?;
        let mut rows = statement.query(parameters).doing("read blocks to merge")?;
        while let Some(row) = rows.next().doing("read blocks to merge")? {
            let head = |row: &rusqlite::Row<'_>| -> rusqlite::Result<(i64, u8, i64)> {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            };
            let (id, level, bytes) = head(row).doing("read blocks to merge")?;
            let bytes = usize::try_from(bytes).unwrap_or(0);
            each(id, level, bytes, BlockRow::read(row, 3)?)?;
        }
        Ok(())
    };
    match group.level {
        Some(level) => read(
            &format!(
                "SELECT {COLUMNS} FROM block INDEXED BY block_open \
                 WHERE series = ?1 AND kind = ?2 AND period = ?3 AND level = ?4 AND level < 9 ORDER BY id LIMIT ?5"
            ),
            &[&series, &kind, &period, &level, &ROWS_MAX],
        ),
        None => {
            let (first, last) = group.kind.bounds(group.period);
            read(
                &format!(
                    "SELECT {COLUMNS} FROM block INDEXED BY block_time WHERE series = ?1 AND kind = ?2 \
                     AND last_at BETWEEN ?3 AND ?4 AND level = 9 AND period = ?5 AND count < ?6 ORDER BY id LIMIT ?7"
                ),
                &[
                    &series,
                    &kind,
                    &first,
                    &last,
                    &period,
                    &closed_max,
                    &ROWS_MAX,
                ],
            )?;
            read(
                &format!(
                    "SELECT {COLUMNS} FROM block INDEXED BY block_open \
                     WHERE series = ?1 AND kind = ?2 AND period = ?3 AND level < 9 ORDER BY id LIMIT ?4"
                ),
                &[&series, &kind, &period, &ROWS_MAX],
            )
        }
    }
}
