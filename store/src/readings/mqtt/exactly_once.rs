//! QoS 2 (MQTT 5 §4.3.3): which packet ids of which session are taken and not released.
//!
//! Always holds: an id is here exactly while its row is in `mqtt_unreleased`, so that after a crash the same messages
//! count as duplicates as before it.

use std::collections::{HashMap, HashSet};

use rusqlite::Connection;

use crate::error::{Doing, StoreError};
use crate::readings::types::SessionNo;

#[derive(Default)]
pub(crate) struct Unreleased {
    sessions: HashMap<SessionNo, HashSet<u16>>,
    /// (session, id, whether it was there before) of the open transaction, to go back to.
    undo: Vec<(SessionNo, u16, bool)>,
}

impl Unreleased {
    pub(crate) fn load(connection: &Connection) -> Result<Self, StoreError> {
        let mut unreleased = Unreleased::default();
        // Nothing was promised beyond the connection, and that is gone.
        connection
            .execute(
                "DELETE FROM mqtt_unreleased WHERE session NOT IN (SELECT session FROM mqtt_persistent)",
                [],
            )
            .doing("forget packet ids of sessions that are over")?;
        let mut statement = connection
            .prepare("SELECT session, packet FROM mqtt_unreleased")
            .doing("prepare unreleased packet ids")?;
        let mut rows = statement.query([]).doing("read unreleased packet ids")?;
        while let Some(row) = rows.next().doing("read unreleased packet ids")? {
            let session = SessionNo(row.get(0).doing("read unreleased packet ids")?);
            let packet_id = row.get(1).doing("read unreleased packet ids")?;
            let ids = unreleased.sessions.entry(session).or_default();
            ids.insert(packet_id);
        }
        Ok(unreleased)
    }

    /// Takes the id in the open transaction; answers whether it was taken already, so that its message is a duplicate.
    pub(crate) fn take(
        &mut self,
        connection: &Connection,
        session: SessionNo,
        packet_id: u16,
    ) -> Result<bool, rusqlite::Error> {
        if !self.sessions.entry(session).or_default().insert(packet_id) {
            return Ok(true);
        }
        self.undo.push((session, packet_id, false));
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO mqtt_unreleased (session, packet) VALUES (?1, ?2)",
            )?
            .execute((session.0, packet_id))?;
        Ok(false)
    }

    /// PUBREL came.
    pub(crate) fn release(
        &mut self,
        connection: &Connection,
        session: SessionNo,
        packet_id: u16,
    ) -> Result<(), rusqlite::Error> {
        let Some(ids) = self.sessions.get_mut(&session) else {
            return Ok(());
        };
        if !ids.remove(&packet_id) {
            return Ok(());
        }
        if ids.is_empty() {
            self.sessions.remove(&session);
        }
        self.undo.push((session, packet_id, true));
        connection
            .prepare_cached("DELETE FROM mqtt_unreleased WHERE session = ?1 AND packet = ?2")?
            .execute((session.0, packet_id))?;
        Ok(())
    }

    /// The session begins anew; its rows go elsewhere in the same transaction.
    pub(crate) fn clear(&mut self, session: SessionNo) {
        for packet_id in self.sessions.remove(&session).into_iter().flatten() {
            self.undo.push((session, packet_id, true));
        }
    }

    pub(crate) fn commit(&mut self) {
        self.undo.clear();
    }

    /// The transaction failed.
    pub(crate) fn roll_back(&mut self) {
        while let Some((session, packet_id, was_there)) = self.undo.pop() {
            let ids = self.sessions.entry(session).or_default();
            if was_there {
                ids.insert(packet_id);
            } else {
                ids.remove(&packet_id);
            }
        }
        self.sessions.retain(|_, ids| !ids.is_empty());
    }

    pub(crate) fn forget(&mut self, sessions: &[SessionNo]) {
        for session in sessions {
            self.sessions.remove(session);
        }
    }
}
