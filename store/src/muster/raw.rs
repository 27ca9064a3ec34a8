//! Which entries hold readings that nodes gave away (lane 5), by series and quarter of an hour.
//!
//! Always holds: a row names the entry that says a quarter last; the bytes stand in the log alone. Series and authors are
//! those of the summaries, under the same bounds.

use rusqlite::{Connection, OptionalExtension, params};
use sync_engine::NodeId;

use super::batch::RawWrite;
use super::summaries;
use crate::error::{Doing, StoreError};
use crate::readings::{QUARTER_MS, SeriesKey};

/// Entries of one answer: a day and a half of quarters, each an entry of up to 32 KiB.
const ENTRIES_MAX: usize = 150;
/// Quarters looked at for one answer: more than half a year of an author that always has something to say.
const STEPS_MAX: usize = 20_000;

/// Entries with readings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawPage {
    /// Encoded entries, the newest first.
    pub entries: Vec<Vec<u8>>,
    /// Whether older ones were left out.
    pub truncated: bool,
}

/// Takes in what an entry holds.
pub(crate) fn fold(
    connection: &Connection,
    said: &RawWrite,
    entry: i64,
) -> Result<(), rusqlite::Error> {
    let author = summaries::author_no(connection, &said.node)?;
    let names = [&*said.device, &*said.channel, &*said.unit];
    let start = said.start_ms.div_euclid(QUARTER_MS);
    let Some(series) = summaries::series_of(connection, author, names, start)? else {
        return Ok(());
    };
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO raw_quarter (author, start, series, count, entry) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![author, start, series, said.count.cast_signed(), entry])?;
    Ok(())
}

/// See [`super::Reader::raw_entries`].
pub(crate) fn entries(
    connection: &Connection,
    node: &NodeId,
    key: &SeriesKey,
    (from_ms, to_ms): (i64, i64),
    readings_max: u64,
) -> Result<RawPage, StoreError> {
    let author = summaries::author_known(connection, node).doing("look for an author")?;
    let series = summaries::series_known(connection, key).doing("look for a series")?;
    let (Some(author), Some(series)) = (author, series) else {
        return Ok(RawPage::default());
    };
    let from = from_ms.div_euclid(QUARTER_MS);
    // Rows of an author lie in the order of time, those of all its series together: of each time the one row is looked up.
    let mut at = to_ms.div_euclid(QUARTER_MS).saturating_add(1);
    let (mut page, mut readings) = (RawPage::default(), 0_u64);
    for _ in 0..STEPS_MAX {
        let before: Option<i64> = connection
            .prepare_cached("SELECT max(start) FROM raw_quarter WHERE author = ?1 AND start < ?2")
            .and_then(|mut statement| statement.query_row((author, at), |row| row.get(0)))
            .doing("look for the quarter before")?;
        let Some(start) = before.filter(|start| *start >= from) else {
            return Ok(page);
        };
        let row: Option<(i64, Vec<u8>)> = connection
            .prepare_cached(
                "SELECT r.count, e.bytes FROM raw_quarter r JOIN entry e ON e.at = r.entry \
                 WHERE r.author = ?1 AND r.start = ?2 AND r.series = ?3",
            )
            .and_then(|mut statement| {
                statement
                    .query_row((author, start, series), |row| {
                        Ok((row.get(0)?, row.get(1)?))
                    })
                    .optional()
            })
            .doing("read an entry with readings")?;
        if let Some((count, bytes)) = row {
            if page.entries.len() >= ENTRIES_MAX || readings >= readings_max {
                page.truncated = true;
                return Ok(page);
            }
            readings += u64::try_from(count).unwrap_or(0);
            page.entries.push(bytes);
        }
        at = start;
    }
    page.truncated = true;
    Ok(page)
}
