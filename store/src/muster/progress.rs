//! Who has what: how far each peer acknowledged each log, and when.
//!
//! Always holds: heights of a (peer, log) only grow; at most [`MARKS_MAX`] moments are remembered for each, and what is
//! forgotten makes a document look stored *later* than it was, never earlier. Reports wait in memory for the next
//! transaction (at most [`FLUSH_AFTER`]): losing them in a power cut costs nothing, the next Hello brings them again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, params};
use sync_engine::{LogId, NodeId, ObjectId, Seq};

use crate::error::{Doing, StoreError};
use crate::sql::{blob, entry_log_no, entry_seq, millis, wall};

/// Moments kept per peer and log: a busy day at one a few minutes; older ones are thinned out by half.
const MARKS_MAX: i64 = 256;
/// How long a report may wait for company.
pub(crate) const FLUSH_AFTER: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy)]
struct Heights {
    stored: Seq,
    applied: Seq,
    at_wall_ms: u64,
}

/// Reports on their way to the table; one per (peer, log), so bounded by peers × logs.
#[derive(Default)]
pub(crate) struct Pending(Mutex<BTreeMap<(NodeId, LogId), Heights>>);

/// Reports taken out to be written.
pub(crate) struct Taken(BTreeMap<(NodeId, LogId), Heights>);

impl Pending {
    /// Notes a report; answers when it should be written, when it is the first.
    pub(crate) fn note(
        &self,
        peer: NodeId,
        items: &[(LogId, Seq, Seq)],
        at_wall_ms: u64,
    ) -> Option<Instant> {
        let mut pending = self.0.lock();
        let first = pending.is_empty() && !items.is_empty();
        for (log, stored, applied) in items {
            let new = Heights {
                stored: *stored,
                applied: *applied,
                at_wall_ms,
            };
            pending
                .entry((peer, *log))
                .and_modify(|known| {
                    if new.stored > known.stored || new.applied > known.applied {
                        *known = Heights {
                            stored: known.stored.max(new.stored),
                            applied: known.applied.max(new.applied),
                            at_wall_ms,
                        };
                    }
                })
                .or_insert(new);
        }
        first.then(|| Instant::now() + FLUSH_AFTER)
    }

    pub(crate) fn is_due(&self) -> bool {
        !self.0.lock().is_empty()
    }

    pub(crate) fn take(&self) -> Taken {
        Taken(std::mem::take(&mut *self.0.lock()))
    }

    /// The transaction failed: they wait for the next one.
    pub(crate) fn give_back(&self, taken: Taken) {
        let mut pending = self.0.lock();
        for (key, old) in taken.0 {
            pending.entry(key).or_insert(old);
        }
    }
}

impl Taken {
    pub(crate) fn write(&self, connection: &Connection) -> Result<(), rusqlite::Error> {
        for ((peer, log), heights) in &self.0 {
            write_mark(connection, peer, log, heights)?;
        }
        Ok(())
    }
}

fn write_mark(
    connection: &Connection,
    peer: &NodeId,
    log: &LogId,
    heights: &Heights,
) -> Result<(), rusqlite::Error> {
    // A log that we do not hold says nothing about any of our documents.
    let Some(log_no) = connection
        .prepare_cached(
            "SELECT no FROM log WHERE author = ?1 AND incarnation = ?2 AND grp = ?3 AND lane = ?4",
        )?
        .query_row(
            params![
                &log.author.0[..],
                log.incarnation.0.cast_signed(),
                &log.group.0[..],
                log.lane as u8
            ],
            |row| row.get::<_, i64>(0),
        )
        .optional()?
    else {
        return Ok(());
    };
    let peer_no: i64 = connection
        .prepare_cached("INSERT INTO peer (node) VALUES (?1) ON CONFLICT DO UPDATE SET node = excluded.node RETURNING no")?
        .query_row([&peer.0[..]], |row| row.get(0))?;
    let newest: Option<(i64, i64)> = connection
        .prepare_cached(
            "SELECT stored, applied FROM ack_mark WHERE peer_no = ?1 AND log_no = ?2 \
             ORDER BY stored DESC, applied DESC LIMIT 1",
        )?
        .query_row((peer_no, log_no), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (known_stored, known_applied) = newest.unwrap_or((0, 0));
    let stored = known_stored.max(heights.stored.0.cast_signed());
    let applied = known_applied.max(heights.applied.0.cast_signed());
    if newest == Some((stored, applied)) {
        return Ok(());
    }
    connection
        .prepare_cached(
            "INSERT INTO ack_mark (peer_no, log_no, stored, applied, at_wall_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute((peer_no, log_no, stored, applied, millis(heights.at_wall_ms)))?;
    thin_out(connection, peer_no, log_no)
}

/// Past the bound, every other mark of the older half goes: what it covered now dates from the mark after it.
fn thin_out(connection: &Connection, peer_no: i64, log_no: i64) -> Result<(), rusqlite::Error> {
    let count: i64 = connection
        .prepare_cached("SELECT count(*) FROM ack_mark WHERE peer_no = ?1 AND log_no = ?2")?
        .query_row((peer_no, log_no), |row| row.get(0))?;
    if count <= MARKS_MAX {
        return Ok(());
    }
    connection
        .prepare_cached(
            "DELETE FROM ack_mark WHERE peer_no = ?1 AND log_no = ?2 AND (stored, applied) IN \
             (SELECT stored, applied FROM (SELECT stored, applied, row_number() OVER (ORDER BY stored, applied) AS n \
              FROM ack_mark WHERE peer_no = ?1 AND log_no = ?2) WHERE n <= ?3 AND n % 2 = 1)",
        )?
        .execute((peer_no, log_no, MARKS_MAX / 2))?;
    Ok(())
}

/// A peer that is known to have something, and since when. `None`: not known to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenBy {
    pub node: NodeId,
    pub stored_at_wall_ms: Option<u64>,
    pub applied_at_wall_ms: Option<u64>,
}

/// Which peers have all of a document's (or a fact's) entries. Peers that have nothing of it are left out.
pub(crate) fn seen_by(
    connection: &Connection,
    object: &ObjectId,
) -> Result<Vec<SeenBy>, StoreError> {
    let heights = heights(connection, object)?;
    if heights.is_empty() {
        return Ok(Vec::new());
    }
    let peers = peers(connection)?;
    let mut seen = Vec::new();
    for (peer_no, node) in peers {
        let mut stored = Some(0);
        let mut applied = Some(0);
        for (log_no, last_seq) in &heights {
            let (s, a) = since(connection, peer_no, *log_no, *last_seq)?;
            stored = stored.zip(s).map(|(x, y)| x.max(y));
            applied = applied.zip(a).map(|(x, y)| x.max(y));
        }
        // The author of every entry has them without saying so; it acknowledges nobody.
        if stored.is_some() {
            seen.push(SeenBy {
                node,
                stored_at_wall_ms: stored,
                applied_at_wall_ms: applied,
            });
        }
    }
    Ok(seen)
}

fn heights(connection: &Connection, object: &ObjectId) -> Result<Vec<(i64, i64)>, StoreError> {
    let mut statement = connection
        .prepare_cached(
            "SELECT l.log_no, l.last_seq FROM document d JOIN document_log l ON l.no = d.no WHERE d.id = ?1",
        )
        .doing("prepare heights of document")?;
    let heights = statement
        .query_map([&object.0[..]], |row| Ok((row.get(0)?, row.get(1)?)))
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .doing("read heights of document")?;
    if !heights.is_empty() {
        return Ok(heights);
    }
    let entry: Option<i64> = connection
        .prepare_cached("SELECT entry FROM fact WHERE id = ?1")
        .and_then(|mut statement| {
            statement
                .query_row([&object.0[..]], |row| row.get(0))
                .optional()
        })
        .doing("read entry of fact")?;
    Ok(entry
        .map(|at| (entry_log_no(at), entry_seq(at).0.cast_signed()))
        .into_iter()
        .collect())
}

fn peers(connection: &Connection) -> Result<Vec<(i64, NodeId)>, StoreError> {
    connection
        .prepare_cached("SELECT no, node FROM peer ORDER BY node")
        .and_then(|mut statement| {
            statement
                .query_map([], |row| Ok((row.get(0)?, NodeId(blob(row, 1)?))))?
                .collect()
        })
        .doing("read peers")
}

/// When the peer first said that it had stored, and applied, a log up to `seq`.
fn since(
    connection: &Connection,
    peer_no: i64,
    log_no: i64,
    seq: i64,
) -> Result<(Option<u64>, Option<u64>), StoreError> {
    let find = |sql: &str| {
        connection
            .prepare_cached(sql)
            .and_then(|mut statement| {
                statement
                    .query_row((peer_no, log_no, seq), |row| wall(row, 0))
                    .optional()
            })
            .doing("read acknowledgement")
    };
    let stored = find(
        "SELECT at_wall_ms FROM ack_mark WHERE peer_no = ?1 AND log_no = ?2 AND stored >= ?3 \
         ORDER BY stored, applied LIMIT 1",
    )?;
    let applied = match stored {
        None => None,
        Some(_) => find(
            "SELECT at_wall_ms FROM ack_mark WHERE peer_no = ?1 AND log_no = ?2 AND stored >= ?3 AND applied >= ?3 \
             ORDER BY stored, applied LIMIT 1",
        )?,
    };
    Ok((stored, applied))
}
