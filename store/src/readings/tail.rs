//! The newest readings in memory, per series and in the order of time, beside their rows in the file.
//!
//! Always holds: only committed readings are in it; together with the rows between `compacted_to` and `mirror_from` and
//! the blocks it is everything that was stored.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use super::flags;
use super::only_in_file::OnlyInFile;
use super::types::{Point, SeriesId, StoredReading};

/// Readings held in memory, 24 bytes each (10 MB). Normally the tail is shorter than this; when the rules lag behind and
/// nothing may be moved to blocks, the oldest are only in the file.
pub(crate) const MIRROR_READINGS_MAX: usize = 400_000;

/// Time, value, and position with flags in its low byte.
#[derive(Debug, Clone, Copy)]
struct TailPoint {
    at_ms: i64,
    value: f64,
    place: i64,
}

impl TailPoint {
    fn new(at_ms: i64, position: i64, value: f64, flags: u8) -> Self {
        TailPoint {
            at_ms,
            value,
            place: position << 8 | i64::from(flags),
        }
    }

    fn position(&self) -> i64 {
        self.place >> 8
    }

    fn point(&self) -> Point {
        Point {
            at_ms: self.at_ms,
            value: self.value,
            flags: (self.place & 0xff) as u8,
        }
    }
}

/// What is kept of a series.
#[derive(Default)]
pub(crate) struct SeriesTail {
    /// Sorted by (time, position).
    points: VecDeque<TailPoint>,
    pub(crate) count: u64,
    pub(crate) last: Option<Point>,
    /// The greatest time in blocks.
    pub(crate) blocks_last_at: Option<i64>,
    /// The greatest time of rows that are neither in blocks nor in memory: looking for them means reading such rows of
    /// all series.
    unmirrored_last_at: Option<i64>,
}

/// All series.
pub(crate) struct Tail {
    /// Series n stands at index n - 1.
    series: Vec<SeriesTail>,
    in_memory: usize,
    /// The oldest position in memory.
    pub(crate) mirror_from: i64,
    only_in_file: OnlyInFile,
    /// The newest committed position.
    pub(crate) newest: i64,
    /// Positions up to this are in blocks.
    pub(crate) compacted_to: i64,
    /// When the last reading came, by the clock it was received with; `i64::MIN` before the first.
    pub(crate) newest_received_ms: i64,
}

impl Default for Tail {
    fn default() -> Self {
        Tail {
            series: Vec::new(),
            in_memory: 0,
            mirror_from: 0,
            only_in_file: OnlyInFile::default(),
            newest: 0,
            compacted_to: 0,
            newest_received_ms: i64::MIN,
        }
    }
}

impl Tail {
    pub(crate) fn series(&self, id: SeriesId) -> Option<&SeriesTail> {
        self.series.get((id.0 as usize).checked_sub(1)?)
    }

    pub(crate) fn series_mut(&mut self, id: SeriesId) -> &mut SeriesTail {
        let index = (id.0 as usize).saturating_sub(1);
        if index >= self.series.len() {
            self.series.resize_with(index + 1, SeriesTail::default);
        }
        &mut self.series[index]
    }

    /// Takes in a committed reading; positions come in order.
    pub(crate) fn push(&mut self, reading: &StoredReading) {
        let point = TailPoint::new(
            reading.at_ms,
            reading.position,
            reading.value,
            reading.flags,
        );
        let series = self.series_mut(reading.series);
        series.count += 1;
        // Nothing is fresher than its receipt: a clock that runs ahead must not keep later values from being the last.
        // Positions rise: of one time, the one that came last.
        let at_ms = reading.at_ms.min(reading.received_ms);
        if series.last.is_none_or(|last| last.at_ms <= at_ms) {
            series.last = Some(Point {
                at_ms,
                ..point.point()
            });
        }
        let late = series
            .points
            .back()
            .is_some_and(|last| last.at_ms > point.at_ms);
        if late {
            let index = series
                .points
                .partition_point(|other| (other.at_ms, other.place) < (point.at_ms, point.place));
            series.points.insert(index, point);
        } else {
            series.points.push_back(point);
        }
        self.in_memory += 1;
        self.newest = reading.position;
        self.newest_received_ms = reading.received_ms;
    }

    /// Positions up to `to` have become blocks: they leave memory.
    pub(crate) fn forget_compacted(&mut self, to: i64) {
        self.compacted_to = to;
        self.forget_up_to(to);
        self.only_in_file.forget_up_to(to);
        if self.compacted_to + 1 >= self.mirror_from {
            for series in &mut self.series {
                series.unmirrored_last_at = None;
            }
        }
    }

    /// Drops the oldest positions when there are too many.
    pub(crate) fn bound(&mut self) {
        if self.in_memory > MIRROR_READINGS_MAX {
            let to = self.newest - (MIRROR_READINGS_MAX / 2) as i64;
            for series in &mut self.series {
                for point in series.points.iter().filter(|point| point.position() <= to) {
                    series.unmirrored_last_at = series.unmirrored_last_at.max(Some(point.at_ms));
                    self.only_in_file.note(point.position(), point.at_ms);
                }
            }
            self.forget_up_to(to);
        }
    }

    /// Where rows of a series with a time in a closed range may stand that only the file has.
    pub(crate) fn only_in_file(
        &self,
        series: SeriesId,
        (from_ms, to_ms): (i64, i64),
    ) -> Vec<RangeInclusive<i64>> {
        let has_some = |series: &SeriesTail| {
            series
                .unmirrored_last_at
                .is_some_and(|last| last >= from_ms)
        };
        if !self.series(series).is_some_and(has_some) {
            return Vec::new();
        }
        self.only_in_file
            .positions(self.mirror_from, (from_ms, to_ms))
    }

    fn forget_up_to(&mut self, to: i64) {
        let mut gone = 0;
        for series in &mut self.series {
            let before = series.points.len();
            series.points.retain(|point| point.position() > to);
            gone += before - series.points.len();
            // Idle series must not keep the room of a burst.
            if series.points.capacity() > 64 && series.points.len() * 4 < series.points.capacity() {
                series.points.shrink_to(series.points.len() * 2);
            }
        }
        self.in_memory -= gone;
        self.mirror_from = self.mirror_from.max(to + 1);
    }
}

impl SeriesTail {
    /// The newest `limit` points in `[from_ms, to_ms]` with their positions, newest first.
    pub(crate) fn newest_with_position(
        &self,
        from_ms: i64,
        to_ms: i64,
        limit: usize,
    ) -> Vec<(i64, Point)> {
        let start = self.points.partition_point(|point| point.at_ms < from_ms);
        let end = self.points.partition_point(|point| point.at_ms <= to_ms);
        self.points
            .range(start..end.max(start))
            .rev()
            .take(limit)
            .map(|point| (point.position(), point.point()))
            .collect()
    }

    /// Values with exactly that device time.
    pub(crate) fn values_at(&self, at_ms: i64) -> impl Iterator<Item = f64> + '_ {
        let start = self.points.partition_point(|point| point.at_ms < at_ms);
        self.points
            .range(start..)
            .take_while(move |point| point.at_ms == at_ms)
            .filter(|point| point.place & i64::from(flags::DEVICE_TIME) != 0)
            .map(|point| point.value)
    }
}
