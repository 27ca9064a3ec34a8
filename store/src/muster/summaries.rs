//! What nodes say that they heard of their sensors: quarters of an hour, and hours of what is older.
//!
//! Always holds: a row says what its author said last; nothing is added up over authors, because two nodes may hear the
//! same sensor. It is a view: written with the entries that say it, and again by a rebuild. What this node says itself
//! is in it too, which is how it knows what it has said.
//!
//! A quarter takes about 40 bytes, so 1,000 series about 4 MB a day, and 350 MB in the 90 days after which quarters become
//! hours. They are read one look-up per quarter: rows lie in the order in which they come, 3 µs each to find.

use rusqlite::{Connection, OptionalExtension, Row, params};
use sync_engine::NodeId;

use super::batch::SummaryWrite;
use crate::error::{Doing, StoreError};
use crate::readings::{Bucket, BucketPage, BucketWidth, QUARTER_MS, SeriesKey};
use crate::sql::blob;

/// Quarters become hours when they are so old: charts of a season are drawn from hours.
const QUARTERS_KEPT_MS: i64 = 90 * 24 * 3_600_000;
/// And earlier where one node says more than so many: 1,000 series for 90 days, some 350 MB.
const QUARTERS_PER_AUTHOR_MAX: i64 = 9_000_000;
/// Series of one author: ten times what a busy gateway has. What it says of others is not shown.
const SERIES_PER_AUTHOR_MAX: i64 = 10_000;
/// Quarters that one step makes hours of, or all of one hour: some ten milliseconds of the writer.
const STEP_ROWS: usize = 2_000;
/// Quarters or hours that one question looks for at an author, there or not: two years of hours, in a tenth of a second.
const STEPS_MAX: usize = 20_000;

const QUARTERS_PER_HOUR: i64 = 4;

/// A series that some node has said something of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeardSeries {
    /// Its number in this view: good for going on from it.
    pub no: i64,
    pub key: SeriesKey,
    pub device: String,
    pub channel: String,
    pub unit: String,
}

/// What a node says that it heard of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct HeardBy {
    pub node: NodeId,
    /// When the first quarter begins.
    pub from_ms: i64,
    /// When the last one ends.
    pub to_ms: i64,
    /// Readings in all of them.
    pub count: u64,
    /// The last one.
    pub last: Option<Bucket>,
}

/// Takes in what a node says.
pub(crate) fn fold(connection: &Connection, said: &SummaryWrite) -> Result<(), rusqlite::Error> {
    let author = author_no(connection, &said.node)?;
    for summary in said.series.iter().filter(|said| !said.quarters.is_empty()) {
        let names = [&*summary.device, &*summary.channel, &*summary.unit];
        let Some(first) = summary.quarters.first().map(quarter_no) else {
            continue;
        };
        let Some(series) = series_of(connection, author, names, first)? else {
            continue;
        };
        let (mut new_quarters, mut more_readings) = (0, 0);
        for quarter in &summary.quarters {
            let before = write_quarter(connection, author, series, quarter)?;
            new_quarters += i64::from(before.is_none());
            more_readings += quarter.count.cast_signed() - before.unwrap_or(0);
        }
        let starts = summary.quarters.iter().map(quarter_no);
        connection
            .prepare_cached(
                "UPDATE summary_heard SET first_quarter = min(first_quarter, ?3), \
                 last_quarter = max(last_quarter, ?4), count = count + ?5 WHERE series = ?1 AND author = ?2",
            )?
            .execute((series, author, starts.clone().min(), starts.max(), more_readings))?;
        connection
            .prepare_cached("UPDATE summary_author SET quarters = quarters + ?2 WHERE no = ?1")?
            .execute((author, new_quarters))?;
    }
    Ok(())
}

fn quarter_no(quarter: &Bucket) -> i64 {
    quarter.start_ms.div_euclid(QUARTER_MS)
}

pub(super) fn author_no(connection: &Connection, node: &NodeId) -> Result<i64, rusqlite::Error> {
    if let Some(no) = author_known(connection, node)? {
        return Ok(no);
    }
    connection
        .prepare_cached("INSERT INTO summary_author (node, series, quarters) VALUES (?1, 0, 0)")?
        .execute([&node.0[..]])?;
    Ok(connection.last_insert_rowid())
}

pub(super) fn author_known(
    connection: &Connection,
    node: &NodeId,
) -> Result<Option<i64>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT no FROM summary_author WHERE node = ?1")?
        .query_row([&node.0[..]], |row| row.get(0))
        .optional()
}

/// The number of a series that an author speaks of, from the quarter `first` on; `None` where it would be one too many.
pub(super) fn series_of(
    connection: &Connection,
    author: i64,
    [device, channel, unit]: [&str; 3],
    first: i64,
) -> Result<Option<i64>, rusqlite::Error> {
    let key = SeriesKey::of(device, channel, unit);
    let known = series_known(connection, &key)?;
    if let Some(series) = known {
        let is_heard = connection
            .prepare_cached("SELECT 1 FROM summary_heard WHERE series = ?1 AND author = ?2")?
            .exists((series, author))?;
        if is_heard {
            return Ok(Some(series));
        }
    }
    let has_room = connection
        .prepare_cached(
            "UPDATE summary_author SET series = series + 1 WHERE no = ?1 AND series < ?2",
        )?
        .execute((author, SERIES_PER_AUTHOR_MAX))?
        == 1;
    if !has_room {
        return Ok(None);
    }
    let series = match known {
        Some(series) => series,
        None => {
            connection
                .prepare_cached(
                    "INSERT INTO summary_series (id, device, channel, unit) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute((&key.0[..], device, channel, unit))?;
            connection.last_insert_rowid()
        }
    };
    connection
        .prepare_cached(
            "INSERT INTO summary_heard (series, author, first_quarter, last_quarter, count) \
             VALUES (?1, ?2, ?3, ?3, 0)",
        )?
        .execute((series, author, first))?;
    Ok(Some(series))
}

pub(super) fn series_known(
    connection: &Connection,
    key: &SeriesKey,
) -> Result<Option<i64>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT no FROM summary_series WHERE id = ?1")?
        .query_row([&key.0[..]], |row| row.get(0))
        .optional()
}

/// Answers how many readings were said to be in it before.
fn write_quarter(
    connection: &Connection,
    author: i64,
    series: i64,
    quarter: &Bucket,
) -> Result<Option<i64>, rusqlite::Error> {
    let start = quarter_no(quarter);
    let before = connection
        .prepare_cached(
            "SELECT count FROM summary_quarter WHERE author = ?1 AND start = ?2 AND series = ?3",
        )?
        .query_row((author, start, series), |row| row.get(0))
        .optional()?;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO summary_quarter (author, start, series, count, min, max, sum) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            author,
            start,
            series,
            quarter.count.cast_signed(),
            quarter.min,
            quarter.max,
            quarter.sum
        ])?;
    Ok(before)
}

/// One step of making hours of old quarters; answers whether more is left.
pub(crate) fn collapse(connection: &Connection, now_wall_ms: u64) -> Result<bool, StoreError> {
    let now_ms = i64::try_from(now_wall_ms).unwrap_or(i64::MAX);
    let cutoff = now_ms
        .saturating_sub(QUARTERS_KEPT_MS)
        .div_euclid(QUARTER_MS);
    collapse_to(connection, cutoff, QUARTERS_PER_AUTHOR_MAX)
}

fn collapse_to(
    connection: &Connection,
    cutoff: i64,
    quarters_max: i64,
) -> Result<bool, StoreError> {
    let authors: Vec<(i64, [u8; 32], i64)> = connection
        .prepare_cached("SELECT no, node, quarters FROM summary_author ORDER BY no")
        .and_then(|mut statement| {
            statement
                .query_map([], |row| Ok((row.get(0)?, blob(row, 1)?, row.get(2)?)))?
                .collect()
        })
        .doing("read who says what")?;
    let mut rows = 0;
    for (author, node, mut quarters) in authors {
        let mut collapsed_to = None;
        while let Some(hour) = oldest_hour(connection, author)? {
            let end = (hour + 1) * QUARTERS_PER_HOUR;
            if end > cutoff && quarters <= quarters_max || rows >= STEP_ROWS {
                break;
            }
            let made = collapse_hour(connection, author, hour).doing("make an hour of quarters")?;
            quarters -= i64::try_from(made).unwrap_or(i64::MAX);
            rows += made;
            collapsed_to = Some(end);
        }
        if let Some(to) = collapsed_to {
            connection
                .prepare_cached(
                    "INSERT INTO summary_collapsed (node, to_quarter) VALUES (?1, ?2) \
                     ON CONFLICT DO UPDATE SET to_quarter = max(to_quarter, excluded.to_quarter)",
                )
                .and_then(|mut statement| statement.execute((&node[..], to)))
                .doing("note which quarters are hours")?;
        }
    }
    Ok(rows >= STEP_ROWS)
}

/// At the end of a rebuild: what were hours are hours again.
pub(crate) fn collapse_as_before(connection: &Connection) -> Result<(), StoreError> {
    let authors: Vec<(i64, i64)> = connection
        .prepare_cached(
            "SELECT a.no, c.to_quarter FROM summary_collapsed c JOIN summary_author a ON a.node = c.node",
        )
        .and_then(|mut statement| {
            statement
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
        .doing("read which quarters are hours")?;
    for (author, to) in authors {
        while let Some(hour) = oldest_hour(connection, author)? {
            if (hour + 1) * QUARTERS_PER_HOUR > to {
                break;
            }
            collapse_hour(connection, author, hour).doing("make an hour of quarters")?;
        }
    }
    Ok(())
}

fn oldest_hour(connection: &Connection, author: i64) -> Result<Option<i64>, StoreError> {
    let oldest: Option<i64> = connection
        .prepare_cached("SELECT min(start) FROM summary_quarter WHERE author = ?1")
        .and_then(|mut statement| statement.query_row([author], |row| row.get(0)))
        .doing("look for the oldest quarter")?;
    Ok(oldest.map(|start| start.div_euclid(QUARTERS_PER_HOUR)))
}

/// Answers how many quarters it were. Where the hour is there already, the one with more readings stands: quarters of it
/// came late, and may be all of them or one that was said again.
fn collapse_hour(
    connection: &Connection,
    author: i64,
    hour: i64,
) -> Result<usize, rusqlite::Error> {
    let first = hour * QUARTERS_PER_HOUR;
    let range = (author, first, first + QUARTERS_PER_HOUR - 1);
    connection
        .prepare_cached(
            "INSERT INTO summary_hour (author, start, series, count, min, max, sum) \
             SELECT author, ?4, series, sum(count), min(min), max(max), \
             max(min(total(sum), 1.7976931348623157e308), -1.7976931348623157e308) FROM summary_quarter \
             WHERE author = ?1 AND start BETWEEN ?2 AND ?3 GROUP BY series \
             ON CONFLICT DO UPDATE SET count = excluded.count, min = excluded.min, max = excluded.max, \
             sum = excluded.sum WHERE excluded.count > summary_hour.count",
        )?
        .execute((range.0, range.1, range.2, hour))?;
    let quarters = connection
        .prepare_cached(
            "DELETE FROM summary_quarter WHERE author = ?1 AND start BETWEEN ?2 AND ?3",
        )?
        .execute(range)?;
    connection
        .prepare_cached("UPDATE summary_author SET quarters = quarters - ?2 WHERE no = ?1")?
        .execute((author, i64::try_from(quarters).unwrap_or(i64::MAX)))?;
    Ok(quarters)
}

/// See [`super::Reader::said_quarters`].
pub(crate) fn said(
    connection: &Connection,
    node: &NodeId,
    quarters: &[(SeriesKey, i64)],
) -> Result<Vec<Option<Bucket>>, StoreError> {
    let Some(author) = author_known(connection, node).doing("look for an author")? else {
        return Ok(vec![None; quarters.len()]);
    };
    quarters
        .iter()
        .map(|(key, start_ms)| {
            let Some(series) = series_known(connection, key).doing("look for a series")? else {
                return Ok(None);
            };
            let start = start_ms.div_euclid(QUARTER_MS);
            bucket(connection, Width::Quarter, author, series, start)
        })
        .collect()
}

/// See [`super::Reader::heard_series`].
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

/// See [`super::Reader::heard_series_by_key`].
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

/// See [`super::Reader::heard_by`].
pub(crate) fn heard_by(
    connection: &Connection,
    key: &SeriesKey,
    me: &NodeId,
    limit: usize,
) -> Result<Vec<HeardBy>, StoreError> {
    let Some(series) = series_known(connection, key).doing("look for a series")? else {
        return Ok(Vec::new());
    };
    let heard: Vec<(i64, NodeId, i64, i64, i64)> = connection
        .prepare_cached(
            "SELECT a.no, a.node, h.first_quarter, h.last_quarter, h.count FROM summary_heard h \
             JOIN summary_author a ON a.no = h.author WHERE h.series = ?1 AND a.node <> ?2 \
             ORDER BY h.count DESC, a.node LIMIT ?3",
        )
        .and_then(|mut statement| {
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            statement
                .query_map((series, &me.0[..], limit), |row| {
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
        .map(|(author, node, first, last, count)| {
            Ok(HeardBy {
                node,
                from_ms: first * QUARTER_MS,
                to_ms: (last + 1) * QUARTER_MS,
                count: u64::try_from(count).unwrap_or(0),
                last: bucket(connection, Width::Quarter, author, series, last)?,
            })
        })
        .collect()
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

/// An hour: as it was kept, or of the quarters that are there, whichever has more readings.
fn hour(
    connection: &Connection,
    author: i64,
    series: i64,
    start: i64,
) -> Result<Option<Bucket>, StoreError> {
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
    let kept = bucket(connection, Width::Hour, author, series, start)?;
    let kept_has_more = |kept: &Bucket| found.is_none_or(|found| kept.count >= found.count);
    Ok(kept.filter(kept_has_more).or(found))
}

/// See [`super::Reader::buckets_said`].
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
