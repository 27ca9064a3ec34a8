//! Which times the rows have that left memory before they got to blocks: there are such rows while the rules lag far behind,
//! or while more comes than can be put in order. They have no index, because appending is what must be fast, so a
//! question reads them one by one; this says which of them it may leave out.
//!
//! Always holds: each such row is in a segment whose times include its own.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Positions of one segment: a late reading, which asks about one moment, reads a quarter of a millisecond's rows. A segment
/// takes 40 bytes for rows that take 35 kB of the file.
const SEGMENT: i64 = 1_024;

/// Times by segment of positions.
#[derive(Debug, Default)]
pub(crate) struct OnlyInFile {
    /// By position / [`SEGMENT`]: the least and the greatest time.
    times: BTreeMap<i64, (i64, i64)>,
}

impl OnlyInFile {
    pub(crate) fn note(&mut self, position: i64, at_ms: i64) {
        let times = self.times.entry(position.div_euclid(SEGMENT));
        let (first, last) = times.or_insert((at_ms, at_ms));
        *first = at_ms.min(*first);
        *last = at_ms.max(*last);
    }

    /// Positions up to `to` are in blocks.
    pub(crate) fn forget_up_to(&mut self, to: i64) {
        self.times = self.times.split_off(&(to + 1).div_euclid(SEGMENT));
    }

    /// Which positions below `before` may have a time in a closed range; runs of segments as one.
    pub(crate) fn positions(
        &self,
        before: i64,
        (from_ms, to_ms): (i64, i64),
    ) -> Vec<RangeInclusive<i64>> {
        let mut found: Vec<RangeInclusive<i64>> = Vec::new();
        let segments = self.times.range(..=(before - 1).div_euclid(SEGMENT));
        for (segment, _) in
            segments.filter(|(_, (first, last))| *first <= to_ms && *last >= from_ms)
        {
            let first = segment * SEGMENT;
            let last = (first + SEGMENT - 1).min(before - 1);
            match found.last_mut() {
                Some(run) if *run.end() + 1 == first => *run = *run.start()..=last,
                _ => found.push(first..=last),
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(rows: impl IntoIterator<Item = (i64, i64)>) -> OnlyInFile {
        let mut only = OnlyInFile::default();
        rows.into_iter()
            .for_each(|(position, at_ms)| only.note(position, at_ms));
        only
    }

    #[test]
    fn only_segments_with_such_times_are_named_and_neighbours_as_one() {
        let only = noted((0..10 * SEGMENT).map(|position| (position, position * 10)));
        let before = 10 * SEGMENT;
        let asked = |from: i64, to: i64| only.positions(before, (from * 10, to * 10));
        assert_eq!(asked(5, 5), [0..=SEGMENT - 1]);
        assert_eq!(asked(SEGMENT - 1, SEGMENT), [0..=2 * SEGMENT - 1]);
        assert_eq!(asked(i64::from(u16::MAX), i64::from(u16::MAX)), []);
        assert_eq!(asked(-100, 1_000_000), [0..=before - 1]);
    }

    #[test]
    fn what_is_in_memory_is_not_named_and_what_is_in_blocks_is_forgotten() {
        let mut only = noted((0..3 * SEGMENT).map(|position| (position, 7)));
        assert_eq!(only.positions(SEGMENT + 1, (7, 7)), [0..=SEGMENT]);
        only.forget_up_to(SEGMENT - 2);
        assert_eq!(only.positions(3 * SEGMENT, (7, 7)), [0..=3 * SEGMENT - 1]);
        only.forget_up_to(SEGMENT - 1);
        assert_eq!(
            only.positions(3 * SEGMENT, (7, 7)),
            [SEGMENT..=3 * SEGMENT - 1]
        );
    }

    #[test]
    fn a_late_reading_among_new_ones_is_found_by_its_own_time() {
        let only = noted([(1, 5_000), (2, 3), (SEGMENT, 6_000)]);
        assert_eq!(only.positions(9_999, (3, 3)), [0..=SEGMENT - 1]);
    }
}
