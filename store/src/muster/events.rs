//! The outbox: what changed, in the order of commits, for event streams.
//!
//! Always holds: a position is given once and never again, also after old rows were dropped.

use rusqlite::{Connection, params};
use sync_engine::ObjectId;

use super::batch::CommitNo;
use crate::error::{Doing, StoreError};

/// Rows kept: a page that was asleep longer than this many changes reads its lists again.
pub(crate) const EVENTS_KEPT: i64 = 100_000;
/// Old rows are dropped in steps of this many, so that most commits delete nothing.
pub(crate) const EVENTS_PRUNE_STEP: i64 = 1_000;

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventSubject {
    /// A document or a fact (whose version is empty).
    Object {
        kind: u16,
        id: ObjectId,
        version: String,
    },
    Conflict {
        id: String,
    },
}

/// One change, as event streams tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub position: i64,
    pub commit: CommitNo,
    pub subject: EventSubject,
}

pub(crate) fn insert(connection: &Connection, event: &Event) -> Result<(), rusqlite::Error> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO event (position, commit_no, kind, id, version) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    match &event.subject {
        EventSubject::Object { kind, id, version } => statement.execute(params![
            event.position,
            event.commit.0,
            kind,
            data_encoding::HEXLOWER.encode(&id.0),
            version
        ])?,
        EventSubject::Conflict { id } => {
            statement.execute(params![event.position, event.commit.0, None::<u16>, id, ""])?
        }
    };
    Ok(())
}

/// Drops what is older than the newest [`EVENTS_KEPT`].
pub(crate) fn prune(connection: &Connection, newest: i64) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached("DELETE FROM event WHERE position <= ?1")?
        .execute([newest - EVENTS_KEPT])?;
    Ok(())
}

pub(crate) fn newest(connection: &Connection) -> Result<i64, StoreError> {
    connection
        .prepare_cached("SELECT coalesce(max(position), 0) FROM event")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .doing("read newest event")
}

/// Events after `position`, at most `limit`. `None`: that position is too old, or not one of this node.
pub(crate) fn since(
    connection: &Connection,
    position: i64,
    limit: usize,
) -> Result<Option<Vec<Event>>, StoreError> {
    let (oldest, newest): (Option<i64>, i64) = connection
        // Two questions: both ends of the key, where one with both would read every event.
        .prepare_cached(
            "SELECT (SELECT min(position) FROM event), (SELECT coalesce(max(position), 0) FROM event)",
        )
        .and_then(|mut statement| statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?))))
        .doing("read bounds of events")?;
    let oldest = oldest.unwrap_or(1);
    if position > newest || position < oldest - 1 {
        return Ok(None);
    }
    let mut statement = connection
        .prepare_cached(
            "SELECT position, commit_no, kind, id, version FROM event WHERE position > ?1 ORDER BY position LIMIT ?2",
        )
        .doing("prepare events")?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement.query((position, limit)).doing("read events")?;
    let mut events = Vec::new();
    while let Some(row) = rows.next().doing("read events")? {
        let read =
            |row: &rusqlite::Row<'_>| -> rusqlite::Result<(i64, i64, Option<u16>, String, String)> {
                Ok((
                    row.get(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get(4)?,
                ))
            };
        let (position, commit, kind, id, version) = read(row).doing("read events")?;
        let subject = match kind {
            None => EventSubject::Conflict { id },
            Some(kind) => EventSubject::Object {
                kind,
                id: object_id(&id)?,
                version,
            },
        };
        events.push(Event {
            position,
            commit: CommitNo(commit),
            subject,
        });
    }
    Ok(Some(events))
}

fn object_id(hex: &str) -> Result<ObjectId, StoreError> {
    let bytes = data_encoding::HEXLOWER.decode(hex.as_bytes()).ok();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .map(ObjectId)
        .ok_or(StoreError::Unreadable { what: "event" })
}
