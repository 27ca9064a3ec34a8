//! Marks on the disk: what sync remembers of its peers over a restart, so that they greet each other shortly again.
//!
//! Always holds: a peer's newest mark is one of those kept. Losing all of this costs the next greetings some kilobytes.

use rusqlite::{Connection, params};
use sync_engine::{MARKS_MAX, Mark, MarkHash, Memory, NodeId};

use super::Reader;
use crate::error::{Doing, StoreError};
use crate::sql::{blob, millis};

/// Keeps a mark that was agreed on with `peer`; past the bound the oldest goes that is nobody's newest, else the oldest.
pub(crate) fn keep(
    connection: &Connection,
    peer: &NodeId,
    mark: &Mark,
    at_wall_ms: u64,
) -> Result<(), StoreError> {
    write(connection, peer, mark, at_wall_ms).doing("keep a mark")
}

fn write(
    connection: &Connection,
    peer: &NodeId,
    mark: &Mark,
    at_wall_ms: u64,
) -> Result<(), rusqlite::Error> {
    let known: bool = connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM mark WHERE hash = ?1)")?
        .query_row([&mark.hash.0[..]], |row| row.get(0))?;
    if !known {
        connection
            .prepare_cached("INSERT INTO mark (hash, bytes) VALUES (?1, ?2)")?
            .execute(params![&mark.hash.0[..], mark.to_bytes()])?;
    }
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO peer_mark (node, hash, at_wall_ms) VALUES (?1, ?2, ?3)",
        )?
        .execute(params![&peer.0[..], &mark.hash.0[..], millis(at_wall_ms)])?;
    connection
        .prepare_cached(
            "DELETE FROM mark WHERE no IN (SELECT no FROM mark ORDER BY hash IN (SELECT hash FROM peer_mark) DESC, \
             no DESC LIMIT -1 OFFSET ?1)",
        )?
        .execute([i64::try_from(MARKS_MAX).unwrap_or(i64::MAX)])?;
    connection
        .prepare_cached("DELETE FROM peer_mark WHERE hash NOT IN (SELECT hash FROM mark)")?
        .execute([])?;
    Ok(())
}

impl Reader<'_> {
    /// The marks kept, the oldest first, and the newest of each peer. What cannot be read is left out: the peer is
    /// greeted at length.
    pub fn sync_memory(&self) -> Result<Memory, StoreError> {
        let rows: Vec<Vec<u8>> = self
            .connection
            .prepare_cached("SELECT bytes FROM mark ORDER BY no")
            .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
            .doing("read marks")?;
        let marks: Vec<Mark> = rows
            .iter()
            .filter_map(|bytes| Mark::from_bytes(bytes))
            .collect();
        let peers: Vec<(NodeId, MarkHash)> = self
            .connection
            .prepare_cached("SELECT node, hash FROM peer_mark ORDER BY node")
            .and_then(|mut statement| {
                statement
                    .query_map([], |row| {
                        Ok((NodeId(blob(row, 0)?), MarkHash(blob(row, 1)?)))
                    })?
                    .collect()
            })
            .doing("read marks of peers")?;
        let peers = peers
            .into_iter()
            .filter(|(_, hash)| marks.iter().any(|mark| mark.hash == *hash))
            .collect();
        Ok(Memory { marks, peers })
    }
}
