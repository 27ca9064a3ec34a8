//! Making hours of quarters that are old, or too many.

use rusqlite::Connection;

use super::QUARTERS_PER_HOUR;
use crate::error::{Doing, StoreError};
use crate::readings::QUARTER_MS;
use crate::sql::blob;

/// Quarters become hours when they are so old: charts of a season are drawn from hours.
const QUARTERS_KEPT_MS: i64 = 90 * 24 * 3_600_000;
/// And earlier where one node says more than so many: 1,000 series for 90 days, some 350 MB.
const QUARTERS_PER_AUTHOR_MAX: i64 = 9_000_000;
/// Quarters that one step makes hours of, or all of one hour: some ten milliseconds of the writer.
const STEP_ROWS: usize = 2_000;

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
