//! Making hours of quarters that are old, or too many.
//!
//! Always holds: of a node, no quarter stands before the one up to which hours were made (`summary_collapsed`), and no hour
//! behind it. What is said of that time later is added to the hours at once, and the commit that says it is remembered
//! (`summary_late`): a log that was held up for a season comes to the same hours, and so does a rebuild.

use rusqlite::{Connection, OptionalExtension};
use sync_engine::NodeId;

use super::{QUARTERS_PER_HOUR, author_known};
use crate::error::{Doing, StoreError};
use crate::muster::batch::CommitNo;
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
        while let Some(hour) =
            oldest_hour(connection, author).doing("look for the oldest quarter")?
        {
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

/// Before which quarter the quarters of a node are hours by now.
pub(super) fn hours_to(
    connection: &Connection,
    node: &NodeId,
) -> Result<Option<i64>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT to_quarter FROM summary_collapsed WHERE node = ?1")?
        .query_row([&node.0[..]], |row| row.get(0))
        .optional()
}

/// Remembers for a rebuild that this commit said quarters that were hours by then.
pub(super) fn note_late(
    connection: &Connection,
    node: &NodeId,
    commit: CommitNo,
    hours_to: i64,
) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO summary_late (commit_no, node, to_quarter) VALUES (?1, ?2, ?3)",
        )?
        .execute((commit.0, &node.0[..], hours_to))
        .map(|_| ())
}

/// In a rebuild: what of a node were hours when this commit came late for them are hours again. Answers up to where.
pub(super) fn as_it_was(
    connection: &Connection,
    node: &NodeId,
    commit: CommitNo,
) -> Result<Option<i64>, rusqlite::Error> {
    let hours_to: Option<i64> = connection
        .prepare_cached("SELECT to_quarter FROM summary_late WHERE commit_no = ?1 AND node = ?2")?
        .query_row((commit.0, &node.0[..]), |row| row.get(0))
        .optional()?;
    if let Some(hours_to) = hours_to
        && let Some(author) = author_known(connection, node)?
    {
        collapse_author_to(connection, author, hours_to)?;
    }
    Ok(hours_to)
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
    authors
        .into_iter()
        .try_for_each(|(author, to)| collapse_author_to(connection, author, to))
        .doing("make hours of quarters")
}

fn collapse_author_to(
    connection: &Connection,
    author: i64,
    to_quarter: i64,
) -> Result<(), rusqlite::Error> {
    while let Some(hour) = oldest_hour(connection, author)? {
        if (hour + 1) * QUARTERS_PER_HOUR > to_quarter {
            break;
        }
        collapse_hour(connection, author, hour)?;
    }
    Ok(())
}

fn oldest_hour(connection: &Connection, author: i64) -> Result<Option<i64>, rusqlite::Error> {
    let oldest: Option<i64> = connection
        .prepare_cached("SELECT min(start) FROM summary_quarter WHERE author = ?1")?
        .query_row([author], |row| row.get(0))?;
    Ok(oldest.map(|start| start.div_euclid(QUARTERS_PER_HOUR)))
}

/// Answers how many quarters it were. The hour is not there yet: from now on a quarter that comes late is added to it.
fn collapse_hour(
    connection: &Connection,
    author: i64,
    hour: i64,
) -> Result<usize, rusqlite::Error> {
    let first = hour * QUARTERS_PER_HOUR;
    let range = (author, first, first + QUARTERS_PER_HOUR - 1);
    connection
        .prepare_cached(
            "INSERT INTO summary_hour (author, start, series, quarters, count, min, max, sum) \
             SELECT author, ?4, series, sum(1 << (start - ?2)), sum(count), min(min), max(max), \
             max(min(total(sum), 1.7976931348623157e308), -1.7976931348623157e308) FROM summary_quarter \
             WHERE author = ?1 AND start BETWEEN ?2 AND ?3 GROUP BY series",
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
