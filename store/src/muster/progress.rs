//! Who has what: how far each node has come with each log, and when.
//!
//! It comes from two sides: peers acknowledge what we exchange with them (the time is *our* clock, when we heard it), and
//! nodes several hops away write receipts (the time is *their* clock, when they wrote it; see [`super::receipts`]). The
//! times are for people and order nothing.
//!
//! Always holds: heights of a (peer, log) only grow; at most [`MARKS_MAX`] moments are remembered for each, and what is
//! forgotten makes a document look stored *later* than it was, never earlier. Acknowledgements wait in memory for the
//! next transaction (at most [`FLUSH_AFTER`]): losing them in a power cut costs nothing, the next Hello brings them
//! again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, params};
use sync_engine::{GroupId, Lane, LogId, NodeId, ObjectId, Seq};

use super::log;
use crate::error::{Doing, StoreError};
use crate::sql::{blob, entry_at, entry_log_no, entry_seq, millis, wall};

/// Moments kept per node and log; older ones are thinned out by half, so that yesterday is told to the hour and the last
/// minutes to the second. With receipts every node has rows for every log: 100 nodes with 3 logs each are 30,000 pairs,
/// and 64 rows of some 25 bytes keep even that below 50 MB.
const MARKS_MAX: i64 = 64;
/// How long a report may wait for company.
pub(crate) const FLUSH_AFTER: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy)]
pub(crate) struct Heights {
    pub(crate) stored: Seq,
    pub(crate) applied: Seq,
    pub(crate) at_wall_ms: u64,
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
            // A log that we do not hold says nothing about any of our documents, and a later Hello says it again.
            if let Some(log_no) = log_no(connection, log)? {
                write_mark(connection, peer_no(connection, peer)?, log_no, heights)?;
            }
        }
        Ok(())
    }
}

/// The number of a log of which something is here.
pub(crate) fn log_no(connection: &Connection, log: &LogId) -> Result<Option<i64>, rusqlite::Error> {
    connection
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
            |row| row.get(0),
        )
        .optional()
}

/// The number of a node in `peer`; it gets one when it has none.
pub(crate) fn peer_no(connection: &Connection, node: &NodeId) -> Result<i64, rusqlite::Error> {
    connection
        .prepare_cached(
            "INSERT INTO peer (node) VALUES (?1) ON CONFLICT DO UPDATE SET node = excluded.node RETURNING no",
        )?
        .query_row([&node.0[..]], |row| row.get(0))
}

/// Notes how far a node has come with a log. What is not news changes nothing.
pub(crate) fn write_mark(
    connection: &Connection,
    peer_no: i64,
    log_no: i64,
    heights: &Heights,
) -> Result<(), rusqlite::Error> {
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

/// A node that is known to have something, and since when. `None`: not known to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenBy {
    pub node: NodeId,
    pub stored_at_wall_ms: Option<u64>,
    pub applied_at_wall_ms: Option<u64>,
}

/// By lane, in the order of [`Lane::ALL`]: entries of a group that are here and that a node is not known to have.
pub type Lacking = [u64; Lane::ALL.len()];

/// What each of `nodes` is not known to have stored, by acknowledgements and receipts.
pub(crate) fn lacking(
    connection: &Connection,
    nodes: &[NodeId],
    group: &GroupId,
) -> Result<Vec<Lacking>, StoreError> {
    let logs: BTreeMap<i64, (LogId, Seq)> = log::all_logs(connection)?
        .into_iter()
        .filter(|(_, id, _)| id.group == *group)
        .map(|(no, id, held)| (no, (id, held.height)))
        .collect();
    let mut known = connection
        .prepare_cached(
            "SELECT l.no, (SELECT max(m.stored) FROM ack_mark m WHERE m.peer_no = p.no AND m.log_no = l.no) \
             FROM peer p, log l WHERE p.node = ?1",
        )
        .doing("prepare heights of peer")?;
    let mut lacking = Vec::with_capacity(nodes.len());
    for node in nodes {
        let stored: BTreeMap<i64, u64> = known
            .query_map([&node.0[..]], |row| {
                let stored: Option<i64> = row.get(1)?;
                Ok((row.get(0)?, stored.unwrap_or(0).cast_unsigned()))
            })
            .and_then(Iterator::collect)
            .doing("read heights of peer")?;
        let mut lacks = Lacking::default();
        for (no, (id, height)) in &logs {
            // What it wrote it has.
            if id.author != *node {
                let stored = stored.get(no).copied().unwrap_or(0);
                lacks[id.lane as usize] += height.0.saturating_sub(stored);
            }
        }
        lacking.push(lacks);
    }
    Ok(lacking)
}

/// Up to where a document (or a fact) goes in one log.
struct Extent {
    log_no: i64,
    last_seq: i64,
    author: NodeId,
}

/// Since when a node has something stored, and applied; the later of two logs counts, and `None` wins.
type Since = (Option<u64>, Option<u64>);

/// Which nodes but `me` have all of a document's (or a fact's) entries. Those that have nothing of it are left out.
///
/// The author of an entry has it without saying so; the time is then when the entry came here.
pub(crate) fn seen_by(
    connection: &Connection,
    object: &ObjectId,
    me: &NodeId,
) -> Result<Vec<SeenBy>, StoreError> {
    let mut seen: BTreeMap<NodeId, (usize, Since)> = BTreeMap::new();
    let extents = extents(connection, object)?;
    for extent in &extents {
        let mut had = marks(connection, extent)?;
        if let Some(came) = came_at(connection, extent)? {
            had.insert(extent.author, (Some(came), Some(came)));
        }
        for (node, (stored, applied)) in had {
            let (logs, since) = seen.entry(node).or_insert((0, (Some(0), Some(0))));
            *logs += 1;
            since.0 = since.0.zip(stored).map(|(x, y)| x.max(y));
            since.1 = since.1.zip(applied).map(|(x, y)| x.max(y));
        }
    }
    Ok(seen
        .into_iter()
        .filter(|(node, (logs, since))| node != me && *logs == extents.len() && since.0.is_some())
        .map(|(node, (_, (stored, applied)))| SeenBy {
            node,
            stored_at_wall_ms: stored,
            applied_at_wall_ms: applied,
        })
        .collect())
}

fn extents(connection: &Connection, object: &ObjectId) -> Result<Vec<Extent>, StoreError> {
    let extents = connection
        .prepare_cached(
            "SELECT h.log_no, h.last_seq, l.author FROM document d JOIN document_log h ON h.no = d.no \
             JOIN log l ON l.no = h.log_no WHERE d.id = ?1",
        )
        .and_then(|mut statement| {
            statement
                .query_map([&object.0[..]], |row| {
                    Ok(Extent {
                        log_no: row.get(0)?,
                        last_seq: row.get(1)?,
                        author: NodeId(blob(row, 2)?),
                    })
                })?
                .collect::<Result<Vec<_>, _>>()
        })
        .doing("read extents of document")?;
    if !extents.is_empty() {
        return Ok(extents);
    }
    connection
        .prepare_cached(
            "SELECT f.entry, l.author FROM fact f JOIN log l ON l.no = f.entry >> 40 WHERE f.id = ?1",
        )
        .and_then(|mut statement| {
            statement
                .query_map([&object.0[..]], |row| {
                    let at = row.get(0)?;
                    Ok(Extent {
                        log_no: entry_log_no(at),
                        last_seq: entry_seq(at).0.cast_signed(),
                        author: NodeId(blob(row, 1)?),
                    })
                })?
                .collect()
        })
        .doing("read entry of fact")
}

/// The nodes that said they have stored a log that far, and when each first said so, also of having it applied. One
/// statement for all nodes: a page of a list asks for fifty documents.
fn marks(connection: &Connection, extent: &Extent) -> Result<BTreeMap<NodeId, Since>, StoreError> {
    connection
        .prepare_cached(
            "SELECT p.node, \
             (SELECT m.at_wall_ms FROM ack_mark m WHERE m.peer_no = p.no AND m.log_no = ?1 AND m.stored >= ?2 \
              ORDER BY m.stored, m.applied LIMIT 1) AS stored, \
             (SELECT m.at_wall_ms FROM ack_mark m WHERE m.peer_no = p.no AND m.log_no = ?1 AND m.stored >= ?2 \
              AND m.applied >= ?2 ORDER BY m.stored, m.applied LIMIT 1) FROM peer p WHERE stored IS NOT NULL",
        )
        .and_then(|mut statement| {
            statement
                .query_map((extent.log_no, extent.last_seq), |row| {
                    let at = |column| -> rusqlite::Result<Option<u64>> {
                        let at: Option<i64> = row.get(column)?;
                        Ok(at.map(|at| u64::try_from(at).unwrap_or(0)))
                    };
                    Ok((NodeId(blob(row, 0)?), (at(1)?, at(2)?)))
                })?
                .collect()
        })
        .doing("read acknowledgements")
}

/// When an entry came here, by our clock; `None` when the log has been cut since.
fn came_at(connection: &Connection, extent: &Extent) -> Result<Option<u64>, StoreError> {
    let last = Seq(u64::try_from(extent.last_seq).unwrap_or(0));
    connection
        .prepare_cached(
            "SELECT c.at_wall_ms FROM entry e JOIN commit_info c USING (commit_no) WHERE e.at = ?1",
        )
        .and_then(|mut statement| {
            statement
                .query_row([entry_at(extent.log_no, last)], |row| wall(row, 0))
                .optional()
        })
        .doing("read arrival of entry")
}
