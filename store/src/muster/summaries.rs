//! What nodes say that they heard of their sensors: quarters of an hour, and hours of what is older.
//!
//! Always holds: a row says what its author said last; nothing is added up over authors, because two nodes may hear the
//! same sensor. It is a view: written with the entries that say it, and again by a rebuild. What this node says itself
//! is in it too, which is how it knows what it has said.
//!
//! A quarter takes about 40 bytes, so 1,000 series about 4 MB a day, and 350 MB in the 90 days after which quarters become
//! hours. They are read one look-up per quarter: rows lie in the order in which they come, 3 µs each to find.

mod collapse;
mod fold;
mod read;

use rusqlite::{Connection, OptionalExtension};
use sync_engine::NodeId;

pub(crate) use self::collapse::{collapse, collapse_as_before};
pub(super) use self::fold::{author_no, series_of};
pub(crate) use self::fold::{fold, fold_again};
pub(crate) use self::read::{buckets, heard_by, said, series, series_by_key};
use crate::readings::{Bucket, SeriesKey};

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
    /// When the last one ends, or would at the latest.
    pub to_ms: i64,
    /// Readings in all of them.
    pub count: u64,
    /// The last one, where it is a quarter still and can be found at once.
    pub last: Option<Bucket>,
}

/// What this view knows of a quarter that a node says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum QuarterSaid {
    /// Nothing was said of it yet.
    Nothing,
    /// This was said last.
    Last(Bucket),
    /// Whatever is said of it is shown by nobody: its author speaks of too many series already, or its hour was made of it
    /// long ago.
    InVain,
}

/// The bit of a quarter among those of its hour.
fn quarter_of_hour(quarter: i64) -> i64 {
    1 << quarter.rem_euclid(QUARTERS_PER_HOUR)
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

pub(super) fn series_known(
    connection: &Connection,
    key: &SeriesKey,
) -> Result<Option<i64>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT no FROM summary_series WHERE id = ?1")?
        .query_row([&key.0[..]], |row| row.get(0))
        .optional()
}
