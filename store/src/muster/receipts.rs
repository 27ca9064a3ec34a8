//! Receipts: what nodes several hops away say of the logs they hold, and what this node's own receipts have said.
//!
//! Always holds: what a receipt says is written in the transaction that stores the receipt, so that none is stored and
//! forgotten; it lands in the same table as direct acknowledgements, under the same rules (see [`super::progress`]).
//! Its time is its author's clock, an acknowledgement's is ours: both are for people, and neither orders anything.

use rusqlite::{Connection, OptionalExtension, params};
use sync_engine::{GroupId, Lane, LogId, NodeId, ProgressItem, Seq};

use super::batch::ReceiptWrite;
use super::log;
use super::progress::{self, Heights};
use crate::error::{Doing, StoreError};
use crate::sql::{SEQ_MAX, millis, wall};

/// Logs of which nothing is here yet, kept per author of receipts: a receipt names at most 256 logs, and more than one
/// receipt that overtakes what it is about is rare. What does not fit is unknown until that node says it anew.
const AHEAD_MAX: i64 = 256;

/// Takes in what another node said.
pub(crate) fn fold(connection: &Connection, receipt: &ReceiptWrite) -> Result<(), rusqlite::Error> {
    let mut peer_no = None;
    for item in &receipt.items {
        // A node's own log says so itself, and what cannot be numbered here can never arrive.
        if item.log.author == receipt.node || item.stored.0 > SEQ_MAX {
            continue;
        }
        let peer_no = match peer_no {
            Some(no) => no,
            None => *peer_no.insert(progress::peer_no(connection, &receipt.node)?),
        };
        let heights = Heights {
            stored: item.stored,
            applied: item.applied.min(item.stored),
            at_wall_ms: receipt.at_wall_ms,
        };
        match progress::log_no(connection, &item.log)? {
            Some(log_no) => progress::write_mark(connection, peer_no, log_no, &heights)?,
            None => keep_ahead(connection, peer_no, &item.log, &heights)?,
        }
    }
    Ok(())
}

/// Notes what this node says in a receipt of its own.
pub(crate) fn said(connection: &Connection, items: &[ProgressItem]) -> Result<(), rusqlite::Error> {
    for item in items {
        let Some(log_no) = progress::log_no(connection, &item.log)? else {
            continue;
        };
        connection
            .prepare_cached(
                "INSERT INTO receipt_said (log_no, stored, applied) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET \
                 stored = max(stored, excluded.stored), applied = max(applied, excluded.applied)",
            )?
            .execute((
                log_no,
                item.stored.0.cast_signed(),
                item.applied.0.cast_signed(),
            ))?;
    }
    Ok(())
}

/// The logs of others in these lanes of a group that this node has more of, stored or applied, than its receipts have
/// said. In the order of ids.
pub(crate) fn unsaid(
    connection: &Connection,
    me: &NodeId,
    group: &GroupId,
    lanes: &[Lane],
) -> Result<Vec<ProgressItem>, StoreError> {
    let mut items = Vec::new();
    for (no, id, held) in log::all_logs(connection)? {
        if id.author == *me || id.group != *group || !lanes.contains(&id.lane) {
            continue;
        }
        let stored = held.height;
        let applied = log::applied_height(connection, no, stored)?;
        let said: (i64, i64) = connection
            .prepare_cached("SELECT stored, applied FROM receipt_said WHERE log_no = ?1")
            .and_then(|mut statement| {
                statement
                    .query_row([no], |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()
            })
            .doing("read what receipts said")?
            .unwrap_or((0, 0));
        if (stored.0.cast_signed(), applied.0.cast_signed()) != said && stored > Seq::NONE {
            items.push(ProgressItem {
                log: id,
                stored,
                applied,
            });
        }
    }
    items.sort_unstable();
    Ok(items)
}

fn keep_ahead(
    connection: &Connection,
    peer_no: i64,
    log: &LogId,
    heights: &Heights,
) -> Result<(), rusqlite::Error> {
    let count: i64 = connection
        .prepare_cached("SELECT count(*) FROM receipt_ahead WHERE peer_no = ?1")?
        .query_row([peer_no], |row| row.get(0))?;
    let sql = if count < AHEAD_MAX {
        "INSERT INTO receipt_ahead (peer_no, author, incarnation, grp, lane, stored, applied, at_wall_ms) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO UPDATE SET stored = excluded.stored, \
         applied = max(applied, excluded.applied), at_wall_ms = excluded.at_wall_ms WHERE excluded.stored >= stored"
    } else {
        "UPDATE receipt_ahead SET stored = ?6, applied = max(applied, ?7), at_wall_ms = ?8 \
         WHERE peer_no = ?1 AND author = ?2 AND incarnation = ?3 AND grp = ?4 AND lane = ?5 AND stored <= ?6"
    };
    connection.prepare_cached(sql)?.execute(params![
        peer_no,
        &log.author.0[..],
        log.incarnation.0.cast_signed(),
        &log.group.0[..],
        log.lane as u8,
        heights.stored.0.cast_signed(),
        heights.applied.0.cast_signed(),
        millis(heights.at_wall_ms)
    ])?;
    Ok(())
}

/// A log has got its number: what receipts said of it before becomes marks.
pub(crate) fn log_known(
    connection: &Connection,
    log: &LogId,
    log_no: i64,
) -> Result<(), rusqlite::Error> {
    let key = params![
        &log.author.0[..],
        log.incarnation.0.cast_signed(),
        &log.group.0[..],
        log.lane as u8
    ];
    let ahead: Vec<(i64, Heights)> = connection
        .prepare_cached(
            "SELECT peer_no, stored, applied, at_wall_ms FROM receipt_ahead \
             WHERE author = ?1 AND incarnation = ?2 AND grp = ?3 AND lane = ?4",
        )?
        .query_map(key, |row| {
            let seq = |column| -> rusqlite::Result<Seq> {
                Ok(Seq(row.get::<_, i64>(column)?.cast_unsigned()))
            };
            Ok((
                row.get(0)?,
                Heights {
                    stored: seq(1)?,
                    applied: seq(2)?,
                    at_wall_ms: wall(row, 3)?,
                },
            ))
        })?
        .collect::<Result<_, _>>()?;
    if ahead.is_empty() {
        return Ok(());
    }
    for (peer_no, heights) in &ahead {
        progress::write_mark(connection, *peer_no, log_no, heights)?;
    }
    connection
        .prepare_cached(
            "DELETE FROM receipt_ahead WHERE author = ?1 AND incarnation = ?2 AND grp = ?3 AND lane = ?4",
        )?
        .execute(key)?;
    Ok(())
}
