//! Turns old readings of the tail into blocks, beside the writer: reading, sorting and encoding happen in a thread of
//! their own, on a read connection; the writer only inserts the finished blocks.
//!
//! Always holds: nothing that the rules have not evaluated leaves the tail; rows are deleted only after their blocks are
//! on the disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, sync_channel};

use rusqlite::Connection;

use super::block::{self, BLOCK_READINGS_MAX, Block};
use super::dedup::StoredKey;
use super::types::{SeriesId, SessionNo, StoredReading};
use super::writer::{Job, Shared};
use crate::error::{Doing, StoreError};

/// Begin when the tail has this many readings: a restart reads so many in a tenth of a second.
const TAIL_START: i64 = 100_000;
/// Leave the newest: most questions and late duplicates are about them.
const TAIL_KEEP: i64 = 50_000;
/// Readings turned into blocks at a time: about half a megabyte of blocks in one transaction, a few milliseconds of the
/// writer.
const CHUNK: i64 = 32_768;
/// Less than this is not worth a transaction.
const CHUNK_MIN: i64 = 8_192;

/// Finished blocks, for the writer.
pub(crate) struct Compaction {
    /// All positions up to this are in the blocks (or in earlier ones).
    pub(crate) to: i64,
    pub(crate) blocks: Vec<Block>,
    /// The QoS 1 messages of these rows, the last of each packet id.
    pub(crate) keys: Vec<StoredKey>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Compacted {
    pub(crate) to: i64,
}

/// Works until the writer's end of `wake` is gone.
pub(crate) fn run(
    connection: &Connection,
    shared: &Arc<Shared>,
    jobs: &Sender<Job>,
    wake: &Receiver<()>,
) {
    while wake.recv().is_ok() {
        loop {
            match step(connection, shared, jobs, TAIL_START, TAIL_KEEP, CHUNK_MIN) {
                Ok(Some(compacted)) => {
                    tracing::debug!(to = compacted.to, "readings moved to blocks")
                }
                Ok(None) => break,
                Err(error) => {
                    // The readings stay in the tail; the next wake-up tries again.
                    tracing::warn!(error = %error, "readings could not be moved to blocks");
                    break;
                }
            }
        }
    }
}

/// Moves one chunk when there is enough; answers how far it came.
pub(crate) fn step(
    connection: &Connection,
    shared: &Shared,
    jobs: &Sender<Job>,
    start: i64,
    keep: i64,
    chunk_min: i64,
) -> Result<Option<Compacted>, StoreError> {
    let (from, newest) = {
        let tail = shared.tail.read();
        (tail.compacted_to, tail.newest)
    };
    if newest - from < start {
        return Ok(None);
    }
    let evaluated = shared.rules_position.load(Ordering::Acquire);
    let to = (newest - keep).min(evaluated).min(from + CHUNK);
    if to - from < chunk_min {
        return Ok(None);
    }
    let compaction = read(connection, from, to)?;
    let (done, outcome) = sync_channel(1);
    jobs.send(Job::Compact {
        compaction: Box::new(compaction),
        done,
    })
    .map_err(|_| StoreError::Closed)?;
    outcome
        .recv()
        .map_err(|_| StoreError::Closed)?
        .map(Some)
        .map_err(StoreError::from)
}

fn read(connection: &Connection, from: i64, to: i64) -> Result<Compaction, StoreError> {
    let mut series: BTreeMap<SeriesId, Vec<StoredReading>> = BTreeMap::new();
    let mut keys: BTreeMap<(SessionNo, u16), StoredKey> = BTreeMap::new();
    let mut statement = connection
        .prepare_cached(
            "SELECT position, series, at_ms, received_ms, value, flags, session, packet, hash FROM reading \
             WHERE position > ?1 AND position <= ?2 ORDER BY position",
        )
        .doing("prepare tail")?;
    let mut rows = statement.query((from, to)).doing("read tail")?;
    while let Some(row) = rows.next().doing("read tail")? {
        let reading = super::query::stored_reading(row).doing("read tail")?;
        if let Some(key) = super::load::stored_key(row).doing("read tail")? {
            keys.insert((key.session, key.packet_id), key);
        }
        series.entry(reading.series).or_default().push(reading);
    }
    let mut blocks = Vec::new();
    for readings in series.values_mut() {
        readings.sort_unstable_by_key(|reading| (reading.at_ms, reading.position));
        blocks.extend(
            readings
                .chunks(BLOCK_READINGS_MAX)
                .filter_map(block::encode),
        );
    }
    Ok(Compaction {
        to,
        blocks,
        keys: keys.into_values().collect(),
    })
}
