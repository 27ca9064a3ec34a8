//! Looking at objects once more: all their entries, what the journal says of them, and which of them are in doubt.
//!
//! Always holds: nothing here is asked for in the course of normal work, so it may read the whole journal.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};
use sync_engine::{GroupId, Lane, LogId, ObjectId, Seq};

use super::Reader;
use super::batch::CommitNo;
use super::inspect::{InspectedEntry, inspected};
use crate::error::{Doing, StoreError};
use crate::sql::{blob, entry_seq, log_id, wall};

/// An entry that a commit applied, as the journal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Application {
    pub commit: CommitNo,
    pub log: LogId,
    pub seq: Seq,
}

/// Entries of a group in lanes 0 to 3 that are not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GroupUnapplied {
    /// They wait, or a local fault holds them back.
    pub pending: u64,
    /// Judged invalid.
    pub quarantined: u64,
}

impl Reader<'_> {
    /// Every stored entry of an object with what became of it, each log's in its order.
    pub fn entries_about(&self, object: &ObjectId) -> Result<Vec<InspectedEntry>, StoreError> {
        self.connection
            .prepare_cached(
                "SELECT e.at, e.kind, e.object, e.bytes, e.chain, e.signature, e.commit_no, e.applied, \
                 coalesce(c.at_wall_ms, 0), w.missing, q.held, q.reason, l.author, l.incarnation, l.grp, l.lane \
                 FROM entry e JOIN log l ON l.no = e.at >> 40 LEFT JOIN commit_info c ON c.commit_no = e.commit_no \
                 LEFT JOIN waiting w ON w.entry = e.at LEFT JOIN quarantine q ON q.entry = e.at \
                 WHERE e.object = ?1 ORDER BY e.at",
            )
            .and_then(|mut statement| {
                statement
                    .query_map([&object.0[..]], |row| inspected(&log_id(row, 12)?, row))?
                    .collect()
            })
            .doing("read entries of object")
    }

    /// What the journal says was applied of these objects, in its order. Reads all of it, so ask for many at once.
    pub fn applications_of(
        &self,
        objects: &[ObjectId],
    ) -> Result<HashMap<ObjectId, Vec<Application>>, StoreError> {
        let mut entries: HashMap<i64, (ObjectId, LogId)> = HashMap::new();
        for object in objects {
            let of_one: Vec<(i64, LogId)> = self
                .connection
                .prepare_cached(
                    "SELECT e.at, l.author, l.incarnation, l.grp, l.lane FROM entry e JOIN log l ON l.no = e.at >> 40 \
                     WHERE e.object = ?1",
                )
                .and_then(|mut statement| {
                    statement
                        .query_map([&object.0[..]], |row| Ok((row.get(0)?, log_id(row, 1)?)))?
                        .collect()
                })
                .doing("read entries of object")?;
            entries.extend(of_one.into_iter().map(|(at, log)| (at, (*object, log))));
        }
        let mut found: HashMap<ObjectId, Vec<Application>> = HashMap::new();
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT commit_no, entry FROM journal WHERE disposition = 0 ORDER BY position",
            )
            .doing("prepare journal")?;
        let mut rows = statement.query([]).doing("read journal")?;
        while let Some(row) = rows.next().doing("read journal")? {
            let at: i64 = row.get(1).doing("read journal")?;
            if let Some((object, log)) = entries.get(&at) {
                found.entry(*object).or_default().push(Application {
                    commit: CommitNo(row.get(0).doing("read journal")?),
                    log: *log,
                    seq: entry_seq(at),
                });
            }
        }
        Ok(found)
    }

    /// The heads of a document as digests take them; `None` where there is no such document.
    pub fn document_heads(&self, id: &ObjectId) -> Result<Option<Vec<u8>>, StoreError> {
        self.connection
            .prepare_cached("SELECT heads FROM document WHERE id = ?1")
            .and_then(|mut statement| {
                statement
                    .query_row([&id.0[..]], |row| row.get(0))
                    .optional()
            })
            .doing("read heads")
    }

    /// How many entries of a group are not applied, in the lanes that digests cover.
    pub fn unapplied_in(&self, group: &GroupId) -> Result<GroupUnapplied, StoreError> {
        self.connection
            .prepare_cached(
                "SELECT count(*) FILTER (WHERE judged = 0), count(*) FILTER (WHERE judged = 1) FROM ( \
                 SELECT entry, 0 AS judged FROM waiting UNION ALL SELECT entry, held = 0 FROM quarantine) \
                 JOIN log l ON l.no = entry >> 40 WHERE l.grp = ?1 AND l.lane <= ?2",
            )
            .and_then(|mut statement| {
                statement.query_row(params![&group.0[..], Lane::Coordination as u8], |row| {
                    Ok(GroupUnapplied {
                        pending: wall(row, 0)?,
                        quarantined: wall(row, 1)?,
                    })
                })
            })
            .doing("count what is not applied in a group")
    }

    /// Objects with entries that are stored and not applied, whatever the reason or for none at all.
    pub fn objects_not_all_applied(&self, limit: usize) -> Result<Vec<ObjectId>, StoreError> {
        objects(
            self.connection,
            "SELECT DISTINCT object FROM entry WHERE applied IS NULL ORDER BY object LIMIT ?1",
            limit,
        )
    }

    /// Objects with entries that a local fault holds back, in the order of their ids behind `after`.
    pub fn objects_held_back(
        &self,
        after: Option<&ObjectId>,
        limit: usize,
    ) -> Result<Vec<ObjectId>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let after = after.map_or(&[][..], |object| &object.0[..]);
        self.connection
            .prepare_cached(
                "SELECT DISTINCT object FROM quarantine WHERE held = 1 AND object > ?1 ORDER BY object LIMIT ?2",
            )
            .and_then(|mut statement| {
                statement
                    .query_map(params![after, limit], |row| Ok(ObjectId(blob(row, 0)?)))?
                    .collect()
            })
            .doing("read what is held back")
    }
}

fn objects(connection: &Connection, sql: &str, limit: usize) -> Result<Vec<ObjectId>, StoreError> {
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| {
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            statement
                .query_map([limit], |row| Ok(ObjectId(blob(row, 0)?)))?
                .collect()
        })
        .doing("read objects in doubt")
}
