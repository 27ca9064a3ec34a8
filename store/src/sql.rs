//! Small conversions between SQLite's types and ours.

use rusqlite::Row;
use sync_engine::{GroupId, Incarnation, Lane, LogId, NodeId, Seq};

/// Milliseconds since 1970 as SQLite keeps them; times past the year 292 million are cut.
pub(crate) fn millis(wall_ms: u64) -> i64 {
    i64::try_from(wall_ms).unwrap_or(i64::MAX)
}

pub(crate) fn wall(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0))
}

/// A blob of fixed length.
pub(crate) fn blob<const N: usize>(row: &Row<'_>, column: usize) -> rusqlite::Result<[u8; N]> {
    let value = row.get_ref(column)?;
    value
        .as_blob()
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| {
            rusqlite::Error::FromSqlConversionFailure(
                column,
                value.data_type(),
                format!("expected {N} bytes").into(),
            )
        })
}

/// A blob of fixed length, or null.
pub(crate) fn blob_option<const N: usize>(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<Option<[u8; N]>> {
    match row.get_ref(column)? {
        rusqlite::types::ValueRef::Null => Ok(None),
        _ => blob(row, column).map(Some),
    }
}

/// A log's sequence needs 40 bits at most: 34 years of 1,000 entries a second.
const SEQ_BITS: u32 = 40;
pub(crate) const SEQ_MAX: u64 = (1 << SEQ_BITS) - 1;
/// `log.no` is bounded in the schema, so that log and sequence fit one positive integer.
pub(crate) const LOG_NO_MAX: i64 = 4_194_303;

/// The key of `entry`: entries of one log lie together, in order.
pub(crate) fn entry_at(log_no: i64, seq: Seq) -> i64 {
    debug_assert!(
        seq.0 <= SEQ_MAX && (1..=LOG_NO_MAX).contains(&log_no),
        "bounds are checked before storing"
    );
    log_no << SEQ_BITS | i64::try_from(seq.0 & SEQ_MAX).unwrap_or(i64::MAX)
}

pub(crate) fn entry_seq(at: i64) -> Seq {
    Seq(u64::try_from(at).unwrap_or(0) & SEQ_MAX)
}

pub(crate) fn entry_log_no(at: i64) -> i64 {
    at >> SEQ_BITS
}

/// Columns `author, incarnation, grp, lane` from `first` on.
pub(crate) fn log_id(row: &Row<'_>, first: usize) -> rusqlite::Result<LogId> {
    Ok(LogId {
        author: NodeId(blob(row, first)?),
        incarnation: Incarnation(row.get::<_, i64>(first + 1)?.cast_unsigned()),
        group: GroupId(blob(row, first + 2)?),
        lane: lane(row, first + 3)?,
    })
}

pub(crate) fn lane(row: &Row<'_>, column: usize) -> rusqlite::Result<Lane> {
    let number: u8 = row.get(column)?;
    Lane::try_from(number)
        .map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, i64::from(number)))
}

/// The head signature's column.
pub(crate) fn signature(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<Option<sync_engine::HeadSignature>> {
    Ok(blob_option(row, column)?.map(sync_engine::HeadSignature))
}
