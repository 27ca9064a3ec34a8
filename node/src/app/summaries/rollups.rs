//! What this node's rollups answer for quarters that are due.

use std::collections::HashMap;

use store::{Bucket, BucketWidth, DueQuarter, SeriesId};

use super::payload::{QUARTER_MS, Quarter};

const DAY_MS: i64 = 24 * 3_600_000;
const QUARTERS_A_DAY: usize = 96;

/// What the rollups answer for quarters that are due: asked for a series and a day at once, because a question costs much
/// the same for one quarter and for all of a day.
pub(super) struct Rollups {
    /// Not asked for yet: when the quarters of a series begin, by day.
    unasked: HashMap<(SeriesId, i64), Vec<i64>>,
    /// Answered and not taken: of quarters that are due, no others.
    answered: HashMap<(SeriesId, i64), Bucket>,
}

impl Rollups {
    pub(super) fn of(due: &[DueQuarter]) -> Self {
        let mut unasked: HashMap<(SeriesId, i64), Vec<i64>> = HashMap::new();
        for due in due {
            let day = (due.series, due.start_ms.div_euclid(DAY_MS));
            unasked.entry(day).or_default().push(due.start_ms);
        }
        Rollups {
            unasked,
            answered: HashMap::new(),
        }
    }

    /// What is known of a quarter; read after it was found to be due.
    pub(super) fn take(
        &mut self,
        readings: &store::Readings,
        due: &DueQuarter,
    ) -> Result<Option<Bucket>, store::StoreError> {
        let day = (due.series, due.start_ms.div_euclid(DAY_MS));
        if let Some(starts) = self.unasked.remove(&day) {
            let from = starts.iter().copied().min().unwrap_or(due.start_ms);
            let to = starts.iter().copied().max().unwrap_or(due.start_ms);
            let width = BucketWidth::Quarter;
            let page = readings.buckets(due.series, width, from, to, QUARTERS_A_DAY)?;
            let wanted = page.buckets.into_iter();
            self.answered.extend(
                wanted
                    .filter(|bucket| starts.contains(&bucket.start_ms))
                    .map(|bucket| ((due.series, bucket.start_ms), bucket)),
            );
        }
        Ok(self.answered.remove(&(due.series, due.start_ms)))
    }
}

/// As it is said; `None` where it cannot be.
pub(super) fn sayable(bucket: &Bucket) -> Option<Quarter> {
    quarter_of(bucket).sayable()
}

pub(super) fn quarter_of(bucket: &Bucket) -> Quarter {
    Quarter {
        number: bucket.start_ms.div_euclid(QUARTER_MS),
        count: bucket.count,
        min: bucket.min,
        max: bucket.max,
        sum: bucket.sum,
    }
}
