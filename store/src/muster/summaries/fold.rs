//! Taking in what a node says, entry by entry.

use rusqlite::{Connection, OptionalExtension, params};
use sync_engine::NodeId;

use super::{author_known, series_known};
use crate::muster::batch::SummaryWrite;
use crate::readings::{Bucket, QUARTER_MS, SeriesKey};

/// Series of one author: ten times what a busy gateway has. What it says of others is not shown.
const SERIES_PER_AUTHOR_MAX: i64 = 10_000;

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
