//! Asking what nodes said.

use rusqlite::{Connection, OptionalExtension, Row};
use sync_engine::NodeId;

use super::{
    HeardBy, HeardSeries, QUARTERS_PER_HOUR, QuarterSaid, author_known, collapse, fold,
    quarter_of_hour, series_known,
};
use crate::error::{Doing, StoreError};
use crate::readings::{Bucket, BucketPage, BucketWidth, QUARTER_MS, SeriesKey};
use crate::sql::blob;

/// Quarters or hours that one question looks for at an author, there or not: two years of hours, in a tenth of a second.
const STEPS_MAX: usize = 20_000;
/// And for the last quarter of a series whose author also speaks of times that have not come: a day of them, for each of
/// the series of a list.
const LAST_STEPS_MAX: usize = 96;

/// See [`crate::Reader::said_quarters`].
pub(crate) fn said(
    connection: &Connection,
    node: &NodeId,
    quarters: &[(SeriesKey, i64)],
) -> Result<Vec<QuarterSaid>, StoreError> {
    let author = author_known(connection, node).doing("look for an author")?;
    let Some(author) = author else {
        return Ok(vec![QuarterSaid::Nothing; quarters.len()]);
    };
    let has_room = fold::has_room(connection, author).doing("count series of an author")?;
    let hours_to =
        collapse::hours_to(connection, node).doing("look up which quarters are hours")?;
    quarters
        .iter()
        .map(|(key, start_ms)| {
            let start = start_ms.div_euclid(QUARTER_MS);
            let series = series_known(connection, key).doing("look for a series")?;
            if let Some(series) = series {
                let last = bucket(connection, Width::Quarter, author, series, start)?;
                if let Some(last) = last {
                    return Ok(QuarterSaid::Last(last));
                }
                if hours_to.is_some_and(|to| start < to)
                    && is_in_hour(connection, author, series, start)?
                {
                    return Ok(QuarterSaid::InVain);
                }
            }
            let is_taken = has_room
                || match series {
                    Some(series) => {
                        fold::is_heard(connection, author, series).doing("look who heard it")?
                    }
                    None => false,
                };
            Ok(if is_taken {
                QuarterSaid::Nothing
            } else {
                QuarterSaid::InVain
            })
        })
        .collect()
}

fn is_in_hour(
    connection: &Connection,
    author: i64,
    series: i64,
    quarter: i64,
) -> Result<bool, StoreError> {
    connection
        .prepare_cached(
            "SELECT 1 FROM summary_hour WHERE author = ?1 AND start = ?2 AND series = ?3 AND quarters & ?4",
        )
        .and_then(|mut statement| {
            let hour = quarter.div_euclid(QUARTERS_PER_HOUR);
            statement.exists((author, hour, series, quarter_of_hour(quarter)))
        })
        .doing("look into an hour")
}

/// See [`crate::Reader::heard_series`].
pub(crate) fn series(
    connection: &Connection,
    after: i64,
    limit: usize,
) -> Result<Vec<HeardSeries>, StoreError> {
    connection
        .prepare_cached(
            "SELECT no, id, device, channel, unit FROM summary_series WHERE no > ?1 ORDER BY no LIMIT ?2",
        )
        .and_then(|mut statement| {
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            statement.query_map((after, limit), heard_series)?.collect()
        })
        .doing("read series that others heard")
}

/// See [`crate::Reader::heard_series_by_key`].
pub(crate) fn series_by_key(
    connection: &Connection,
    key: &SeriesKey,
) -> Result<Option<HeardSeries>, StoreError> {
    connection
        .prepare_cached("SELECT no, id, device, channel, unit FROM summary_series WHERE id = ?1")
        .and_then(|mut statement| statement.query_row([&key.0[..]], heard_series).optional())
        .doing("read a series that others heard")
}

fn heard_series(row: &Row<'_>) -> rusqlite::Result<HeardSeries> {
    Ok(HeardSeries {
        no: row.get(0)?,
        key: SeriesKey(blob(row, 1)?),
        device: row.get(2)?,
        channel: row.get(3)?,
        unit: row.get(4)?,
    })
}

/// See [`crate::Reader::heard_by`].
pub(crate) fn heard_by(
    connection: &Connection,
    key: &SeriesKey,
    me: &NodeId,
    until_ms: i64,
    limit: usize,
) -> Result<Vec<HeardBy>, StoreError> {
    let Some(series) = series_known(connection, key).doing("look for a series")? else {
        return Ok(Vec::new());
    };
    let until = until_ms.div_euclid(QUARTER_MS);
    let heard: Vec<(i64, NodeId, i64, i64, i64)> = connection
        .prepare_cached(
            "SELECT a.no, a.node, h.first_quarter, h.last_quarter, h.count FROM summary_heard h \
             JOIN summary_author a ON a.no = h.author WHERE h.series = ?1 AND a.node <> ?2 AND h.first_quarter <= ?3 \
             ORDER BY h.count DESC, a.node LIMIT ?4",
        )
        .and_then(|mut statement| {
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            statement
                .query_map((series, &me.0[..], until, limit), |row| {
                    Ok((
                        row.get(0)?,
                        NodeId(blob(row, 1)?),
                        row.get(2)?,
                        row.get(3)?,
                        row.get(4)?,
                    ))
                })?
                .collect()
        })
        .doing("read who heard a series")?;
    heard
        .into_iter()
        .map(|(author, node, first, newest, count)| {
            let (last, bucket) = if newest <= until {
                let bucket = bucket(connection, Width::Quarter, author, series, newest)?;
                (newest, bucket)
            } else {
                last_until(connection, author, series, until)?
            };
            Ok(HeardBy {
                node,
                from_ms: first * QUARTER_MS,
                to_ms: (last.max(first) + 1) * QUARTER_MS,
                count: u64::try_from(count).unwrap_or(0),
                last: bucket,
            })
        })
        .collect()
}

/// The last quarter up to `until` that an author said of a series; `None` where it lies further back than is looked for,
/// with the quarter behind which there is none.
fn last_until(
    connection: &Connection,
    author: i64,
    series: i64,
    until: i64,
) -> Result<(i64, Option<Bucket>), StoreError> {
    let mut at = until;
    for _ in 0..LAST_STEPS_MAX {
        let found = bucket(connection, Width::Quarter, author, series, at)?;
        if found.is_some() {
            return Ok((at, found));
        }
        match spoken_of_before(connection, Width::Quarter, author, at)? {
            Some(before) => at = before,
            None => break,
        }
    }
    Ok((at, None))
}

#[derive(Clone, Copy)]
enum Width {
    Quarter,
    Hour,
}

impl Width {
    fn ms(self) -> i64 {
        match self {
            Width::Quarter => QUARTER_MS,
            Width::Hour => QUARTERS_PER_HOUR * QUARTER_MS,
        }
    }
}

fn bucket(
    connection: &Connection,
    width: Width,
    author: i64,
    series: i64,
    start: i64,
) -> Result<Option<Bucket>, StoreError> {
    let sql = match width {
        Width::Quarter => {
            "SELECT count, min, max, sum FROM summary_quarter WHERE author = ?1 AND start = ?2 AND series = ?3"
        }
        Width::Hour => {
            "SELECT count, min, max, sum FROM summary_hour WHERE author = ?1 AND start = ?2 AND series = ?3"
        }
    };
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| {
            statement
                .query_row((author, start, series), |row| {
                    Ok(Bucket {
                        start_ms: start * width.ms(),
                        count: row.get::<_, i64>(0)?.cast_unsigned(),
                        min: row.get(1)?,
                        max: row.get(2)?,
                        sum: row.get(3)?,
                    })
                })
                .optional()
        })
        .doing("read a bucket that a node said")
}

/// An hour: as it is kept, or of its quarters while those are.
fn hour(
    connection: &Connection,
    author: i64,
    series: i64,
    start: i64,
) -> Result<Option<Bucket>, StoreError> {
    let kept = bucket(connection, Width::Hour, author, series, start)?;
    if kept.is_some() {
        return Ok(kept);
    }
    let mut found: Option<Bucket> = None;
    for quarter in start * QUARTERS_PER_HOUR..(start + 1) * QUARTERS_PER_HOUR {
        let Some(quarter) = bucket(connection, Width::Quarter, author, series, quarter)? else {
            continue;
        };
        match &mut found {
            Some(found) => found.add(&quarter),
            None => {
                found = Some(Bucket {
                    start_ms: start * Width::Hour.ms(),
                    ..quarter
                });
            }
        }
    }
    Ok(found)
}

/// See [`crate::Reader::buckets_said`].
pub(crate) fn buckets(
    connection: &Connection,
    node: &NodeId,
    key: &SeriesKey,
    width: BucketWidth,
    (from_ms, to_ms): (i64, i64),
    limit: usize,
) -> Result<BucketPage, StoreError> {
    let width = match width {
        BucketWidth::Quarter => Width::Quarter,
        BucketWidth::Hour => Width::Hour,
        BucketWidth::Minute => {
            return Err(StoreError::Refused("no node says what a minute was".into()));
        }
    };
    let author = author_known(connection, node).doing("look for an author")?;
    let series = series_known(connection, key).doing("look for a series")?;
    let (Some(author), Some(series)) = (author, series) else {
        return Ok(BucketPage::default());
    };
    let heard: Option<(i64, i64)> = connection
        .prepare_cached(
            "SELECT first_quarter, last_quarter FROM summary_heard WHERE series = ?1 AND author = ?2",
        )
        .and_then(|mut statement| {
            statement
                .query_row((series, author), |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()
        })
        .doing("read when a node heard a series")?;
    let Some((first, last)) = heard else {
        return Ok(BucketPage::default());
    };
    let number = |ms: i64| ms.div_euclid(width.ms());
    let from = number(from_ms).max(number(first * QUARTER_MS));
    let mut at = number(to_ms).min(number(last * QUARTER_MS));
    let mut page = BucketPage::default();
    let mut steps = 0;
    while at >= from {
        if page.buckets.len() >= limit || steps >= STEPS_MAX {
            page.truncated = true;
            break;
        }
        steps += 1;
        let found = match width {
            Width::Quarter => bucket(connection, width, author, series, at)?,
            Width::Hour => hour(connection, author, series, at)?,
        };
        at = match found {
            Some(bucket) => {
                page.buckets.push(bucket);
                at - 1
            }
            // A time of which its author says nothing at all is passed over in one go.
            None => match spoken_of_before(connection, width, author, at)? {
                Some(before) => before,
                None => break,
            },
        };
    }
    page.buckets.reverse();
    Ok(page)
}

/// The newest quarter or hour before one of which an author says something, of whatever series.
fn spoken_of_before(
    connection: &Connection,
    width: Width,
    author: i64,
    at: i64,
) -> Result<Option<i64>, StoreError> {
    let newest = |sql: &str, before: i64| -> Result<Option<i64>, StoreError> {
        connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_row((author, before), |row| row.get(0)))
            .doing("look for the quarter before")
    };
    let quarters = "SELECT max(start) FROM summary_quarter WHERE author = ?1 AND start < ?2";
    match width {
        Width::Quarter => newest(quarters, at),
        Width::Hour => {
            let quarter = newest(quarters, at * QUARTERS_PER_HOUR)?;
            let hours = "SELECT max(start) FROM summary_hour WHERE author = ?1 AND start < ?2";
            let of_quarter = quarter.map(|quarter| quarter.div_euclid(QUARTERS_PER_HOUR));
            Ok(of_quarter.max(newest(hours, at)?))
        }
    }
}
