//! What is kept for how long, and how it goes: whole blocks, in bounded steps.
//!
//! | class | kept, unless configured otherwise | then |
//! | --- | --- | --- |
//! | readings of telemetry | 30 days, by UTC days | dropped with their blocks |
//! | rollups | for ever | dropped with theirs |
//!
//! (Audit records are in muster.db; see `Store::prune_audit`.)
//!
//! The file does not shrink: SQLite uses the pages of dropped blocks for new ones, so it stays at the size of its
//! fullest 30 days. Giving pages back (incremental vacuum) would cost a pointer page for every page moved, on a disk that
//! is often a memory card, to make room that the next day needs again.
//!
//! Always holds: a block goes only when it is closed, that is, when the rollups have what was in it; the rest waits for
//! the merge that closes it.

use rusqlite::Connection;

use super::block::{DAY_MS, Kind};
use super::blocks::Rewrite;
use super::types::SeriesId;
use crate::error::{Doing, StoreError};

/// Blocks dropped in one transaction: some hundred pages that the writer has to look at, a few milliseconds.
const BLOCKS_PER_STEP: usize = 128;
/// Series looked at for one step: a look-up in an index each.
const SERIES_PER_STEP: u32 = 2_000;

/// How long readings are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Readings themselves; `None` is for ever. Whole UTC days go at a time, so it can be a day more.
    pub raw_ms: Option<u64>,
    /// Their rollups; `None` is for ever. Whole periods of 1,440 buckets go at a time: 1, 15 and 60 days.
    pub rollups_ms: Option<u64>,
}

impl Default for Retention {
    fn default() -> Self {
        Retention {
            raw_ms: Some(30 * DAY_MS.unsigned_abs()),
            rollups_ms: None,
        }
    }
}

impl Retention {
    fn kept_ms(&self, kind: Kind) -> Option<i64> {
        let kept = if kind.is_readings() {
            self.raw_ms
        } else {
            self.rollups_ms
        };
        kept.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX))
    }

    /// What ends before this is not kept.
    fn cutoff_ms(&self, kind: Kind, now_ms: i64) -> Option<i64> {
        let from = now_ms.saturating_sub(self.kept_ms(kind)?);
        Some(kind.bounds(kind.period_of(from)).0)
    }
}

/// How far a round of dropping has come.
#[derive(Debug, Default)]
pub(crate) struct Round {
    begun: bool,
    /// Series up to this number have been looked at.
    series: u32,
}

impl Round {
    pub(crate) fn is_at_start(&self) -> bool {
        !self.begun
    }

    pub(crate) fn begin(&mut self) {
        self.begun = true;
    }

    /// Adds the next step to `rewrite`; answers whether more is left to look at.
    pub(crate) fn step(
        &mut self,
        connection: &Connection,
        retention: &Retention,
        now_ms: i64,
        series_count: u32,
        rewrite: &mut Rewrite,
    ) -> Result<bool, StoreError> {
        self.begun = true;
        let until = self
            .series
            .saturating_add(SERIES_PER_STEP)
            .min(series_count);
        let mut room = BLOCKS_PER_STEP;
        while self.series < until {
            let series = SeriesId(self.series + 1);
            for kind in [
                Kind::Readings,
                Kind::Unapproved,
                Kind::Minutes,
                Kind::Quarters,
                Kind::Hours,
            ] {
                if let Some(cutoff_ms) = retention.cutoff_ms(kind, now_ms) {
                    room -= old_blocks(connection, series, kind, cutoff_ms, room, rewrite)?;
                }
            }
            if room == 0 {
                break;
            }
            self.series += 1;
        }
        if !rewrite.is_empty() {
            // Written with the first block that goes: from then on late readings cannot be told from duplicates.
            rewrite.raw_dropped_to = retention.cutoff_ms(Kind::Readings, now_ms);
        }
        let more = self.series < series_count;
        if !more {
            *self = Round::default();
        }
        Ok(more)
    }
}

fn old_blocks(
    connection: &Connection,
    series: SeriesId,
    kind: Kind,
    cutoff_ms: i64,
    room: usize,
    rewrite: &mut Rewrite,
) -> Result<usize, StoreError> {
    if room == 0 {
        return Ok(0);
    }
    let mut statement = connection
        .prepare_cached(
            "SELECT id, length(data) FROM block INDEXED BY block_time \
             WHERE series = ?1 AND kind = ?2 AND last_at < ?3 AND level = 9 LIMIT ?4",
        )
        .doing("prepare old blocks")?;
    let mut rows = statement
        .query((series.0, kind as u8, cutoff_ms, room as i64))
        .doing("read old blocks")?;
    let mut found = 0;
    while let Some(row) = rows.next().doing("read old blocks")? {
        let read = |row: &rusqlite::Row<'_>| -> rusqlite::Result<(i64, i64)> {
            Ok((row.get(0)?, row.get(1)?))
        };
        let (id, bytes) = read(row).doing("read old blocks")?;
        rewrite.remove(series, kind, id, usize::try_from(bytes).unwrap_or(0));
        found += 1;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_days_go_and_only_when_all_of_them_is_old_enough() {
        let retention = Retention::default();
        let day = |number: i64| number * DAY_MS;
        let cutoff = |now| retention.cutoff_ms(Kind::Readings, now);
        assert_eq!(cutoff(day(100)), Some(day(70)));
        assert_eq!(cutoff(day(100) + 5), Some(day(70)));
        assert_eq!(cutoff(day(101) - 1), Some(day(70)));
        assert_eq!(retention.cutoff_ms(Kind::Hours, day(100)), None);
        let for_ever = Retention {
            raw_ms: None,
            ..retention
        };
        assert_eq!(for_ever.cutoff_ms(Kind::Unapproved, day(100)), None);
        let absurd = Retention {
            raw_ms: Some(u64::MAX),
            rollups_ms: Some(u64::MAX),
        };
        assert!(absurd.cutoff_ms(Kind::Minutes, day(100)) < Some(0));
    }
}
