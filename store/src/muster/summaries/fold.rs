//! Taking in what a node says, entry by entry.

use rusqlite::{Connection, OptionalExtension, params};
use sync_engine::NodeId;

use super::{QUARTERS_PER_HOUR, author_known, collapse, quarter_of_hour, series_known};
use crate::muster::batch::{CommitNo, SummaryWrite};
use crate::readings::{Bucket, QUARTER_MS, SeriesKey};

/// Series of one author: ten times what a busy gateway has. What it says of others is not shown.
const SERIES_PER_AUTHOR_MAX: i64 = 10_000;

/// Takes in what a node says in an entry of this commit.
pub(crate) fn fold(
    connection: &Connection,
    said: &SummaryWrite,
    commit: CommitNo,
) -> Result<(), rusqlite::Error> {
    let Some(hours_to) = collapse::hours_to(connection, &said.node)? else {
        return take_in(connection, said, i64::MIN);
    };
    let mut quarters = said.series.iter().flat_map(|series| &series.quarters);
    if quarters.any(|quarter| quarter_no(quarter) < hours_to) {
        collapse::note_late(connection, &said.node, commit, hours_to)?;
    }
    take_in(connection, said, hours_to)
}

/// The same in a rebuild, which comes to the same rows: where quarters came too late the first time, what were hours by
/// then are hours again before they are taken in.
pub(crate) fn fold_again(
    connection: &Connection,
    said: &SummaryWrite,
    commit: CommitNo,
) -> Result<(), rusqlite::Error> {
    let hours_to = collapse::as_it_was(connection, &said.node, commit)?;
    take_in(connection, said, hours_to.unwrap_or(i64::MIN))
}

/// Quarters before `hours_to` are hours by now.
fn take_in(
    connection: &Connection,
    said: &SummaryWrite,
    hours_to: i64,
) -> Result<(), rusqlite::Error> {
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
            if quarter_no(quarter) < hours_to {
                more_readings += add_to_hour(connection, author, series, quarter)?;
                continue;
            }
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

/// Adds a quarter to the hour that it is a part of, and answers with how many readings. One that is in it already cannot
/// be taken out of it: said again, it changes nothing.
fn add_to_hour(
    connection: &Connection,
    author: i64,
    series: i64,
    quarter: &Bucket,
) -> Result<i64, rusqlite::Error> {
    let start = quarter_no(quarter);
    let count = quarter.count.cast_signed();
    let added = connection
        .prepare_cached(
            "INSERT INTO summary_hour (author, start, series, quarters, count, min, max, sum) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) \
             ON CONFLICT DO UPDATE SET quarters = quarters | excluded.quarters, count = count + excluded.count, \
             min = min(min, excluded.min), max = max(max, excluded.max), \
             sum = max(min(sum + excluded.sum, 1.7976931348623157e308), -1.7976931348623157e308) \
             WHERE summary_hour.quarters & excluded.quarters = 0",
        )?
        .execute(params![
            author,
            start.div_euclid(QUARTERS_PER_HOUR),
            series,
            quarter_of_hour(start),
            count,
            quarter.min,
            quarter.max,
            quarter.sum
        ])?;
    Ok(if added == 0 { 0 } else { count })
}

fn quarter_no(quarter: &Bucket) -> i64 {
    quarter.start_ms.div_euclid(QUARTER_MS)
}

pub(in crate::muster) fn author_no(
    connection: &Connection,
    node: &NodeId,
) -> Result<i64, rusqlite::Error> {
    if let Some(no) = author_known(connection, node)? {
        return Ok(no);
    }
    connection
        .prepare_cached("INSERT INTO summary_author (node, series, quarters) VALUES (?1, 0, 0)")?
        .execute([&node.0[..]])?;
    Ok(connection.last_insert_rowid())
}

/// The number of a series that an author speaks of, from the quarter `first` on; `None` where it would be one too many.
pub(in crate::muster) fn series_of(
    connection: &Connection,
    author: i64,
    [device, channel, unit]: [&str; 3],
    first: i64,
) -> Result<Option<i64>, rusqlite::Error> {
    let key = SeriesKey::of(device, channel, unit);
    let known = series_known(connection, &key)?;
    if let Some(series) = known
        && is_heard(connection, author, series)?
    {
        return Ok(Some(series));
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

pub(super) fn is_heard(
    connection: &Connection,
    author: i64,
    series: i64,
) -> Result<bool, rusqlite::Error> {
    connection
        .prepare_cached("SELECT 1 FROM summary_heard WHERE series = ?1 AND author = ?2")?
        .exists((series, author))
}

/// Whether an author may speak of one series more.
pub(super) fn has_room(connection: &Connection, author: i64) -> Result<bool, rusqlite::Error> {
    connection
        .prepare_cached("SELECT series < ?2 FROM summary_author WHERE no = ?1")?
        .query_row((author, SERIES_PER_AUTHOR_MAX), |row| row.get(0))
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
