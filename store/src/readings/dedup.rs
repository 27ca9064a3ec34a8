//! Which messages came already: the last message of each (client, packet id).
//!
//! A client sends a QoS 1 message again, marked, when it saw no PUBACK: with the same packet id and the same content
//! (MQTT 3.1.1 §4.4). Only what it has in flight can come again, so a bounded number of its newest messages suffices.
//!
//! Always holds: the keys live in the rows of `reading` and `dead_letter` until those rows leave the tail; then those
//! that still matter move to `delivery_key`. After a crash they are read from there.

use std::collections::{HashMap, VecDeque};

use rusqlite::Connection;

use super::types::{Delivery, SessionNo};
use crate::error::{Doing, StoreError};

/// More than any client has in flight; few clients allow themselves hundreds.
const KEYS_PER_SESSION_MAX: usize = 4_096;
/// Always granted, however many clients there are.
const KEYS_PER_SESSION_MIN: usize = 16;
/// About 7 MB.
const KEYS_MAX: usize = 131_072;

#[derive(Debug, Clone, Copy)]
struct Key {
    hash: u64,
    position: i64,
    /// Whether it has a row in `delivery_key`.
    kept: bool,
}

#[derive(Default)]
struct Session {
    keys: HashMap<u16, Key>,
    /// (packet id, position) in the order of arrival; a pair that no longer matches its key is passed over.
    order: VecDeque<(u16, i64)>,
}

#[derive(Default)]
pub(crate) struct Deliveries {
    sessions: HashMap<SessionNo, Session>,
    /// Keys of the open transaction, to go back to.
    undo: Vec<(SessionNo, u16, Option<Key>)>,
    /// Rows of `delivery_key` that stand for nothing any more.
    stale: Vec<(SessionNo, u16)>,
}

/// A key as it stands in a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoredKey {
    pub(crate) session: SessionNo,
    pub(crate) packet_id: u16,
    pub(crate) hash: u64,
    pub(crate) position: i64,
}

impl Deliveries {
    /// Reads the keys that moved to their own table, and those of dead letters; the caller adds the tail's.
    pub(crate) fn load(connection: &Connection) -> Result<Self, StoreError> {
        let mut deliveries = Deliveries::default();
        let sql = "SELECT session, packet, hash, position, kept FROM \
                   (SELECT session, packet, hash, position, 1 AS kept FROM delivery_key UNION ALL \
                    SELECT session, packet, hash, position, 0 FROM (SELECT * FROM dead_letter \
                     WHERE session IS NOT NULL ORDER BY id DESC LIMIT 4096)) ORDER BY position";
        let mut statement = connection.prepare(sql).doing("prepare duplicate keys")?;
        let mut rows = statement.query([]).doing("read duplicate keys")?;
        while let Some(row) = rows.next().doing("read duplicate keys")? {
            let read = |row: &rusqlite::Row<'_>| -> rusqlite::Result<(StoredKey, bool)> {
                let key = StoredKey {
                    session: SessionNo(row.get(0)?),
                    packet_id: row.get(1)?,
                    hash: row.get::<_, i64>(2)?.cast_unsigned(),
                    position: row.get(3)?,
                };
                Ok((key, row.get(4)?))
            };
            let (key, kept) = read(row).doing("read duplicate keys")?;
            deliveries.insert(&key, kept);
        }
        deliveries.commit();
        Ok(deliveries)
    }

    /// Whether this message was stored before.
    pub(crate) fn came_already(&self, delivery: &Delivery) -> bool {
        delivery.redelivered
            && self
                .sessions
                .get(&delivery.session)
                .and_then(|session| session.keys.get(&delivery.packet_id))
                .is_some_and(|key| key.hash == delivery.payload_hash)
    }

    /// A message is being stored at that position.
    pub(crate) fn note(&mut self, delivery: &Delivery, position: i64) {
        let key = StoredKey {
            session: delivery.session,
            packet_id: delivery.packet_id,
            hash: delivery.payload_hash,
            position,
        };
        self.insert(&key, false);
    }

    /// The same for a message of which no row of `reading` or `dead_letter` tells: it gets its own at once.
    pub(crate) fn note_kept(
        &mut self,
        connection: &Connection,
        delivery: &Delivery,
        position: i64,
    ) -> Result<(), rusqlite::Error> {
        let key = StoredKey {
            session: delivery.session,
            packet_id: delivery.packet_id,
            hash: delivery.payload_hash,
            position,
        };
        self.insert(&key, true);
        write_key(connection, &key)
    }

    pub(crate) fn insert(&mut self, key: &StoredKey, kept: bool) {
        let count = self.sessions.len().max(1);
        let bound = (KEYS_MAX / count).clamp(KEYS_PER_SESSION_MIN, KEYS_PER_SESSION_MAX);
        let session = self.sessions.entry(key.session).or_default();
        let old = session.keys.insert(
            key.packet_id,
            Key {
                hash: key.hash,
                position: key.position,
                kept,
            },
        );
        self.undo.push((key.session, key.packet_id, old));
        if old.is_some_and(|old| old.kept) && !kept {
            self.stale.push((key.session, key.packet_id));
        }
        session.order.push_back((key.packet_id, key.position));
        while session.keys.len() > bound || session.order.len() > 2 * bound {
            let Some((packet_id, position)) = session.order.pop_front() else {
                break;
            };
            let oldest = session
                .keys
                .get(&packet_id)
                .filter(|key| key.position == position)
                .copied();
            if let Some(oldest) = oldest {
                session.keys.remove(&packet_id);
                if oldest.kept {
                    self.stale.push((key.session, packet_id));
                }
            }
        }
    }

    pub(crate) fn commit(&mut self) {
        self.undo.clear();
    }

    /// The transaction failed: what it noted is forgotten.
    pub(crate) fn roll_back(&mut self) {
        while let Some((session, packet_id, old)) = self.undo.pop() {
            let Some(session) = self.sessions.get_mut(&session) else {
                continue;
            };
            match old {
                Some(old) => session.keys.insert(packet_id, old),
                None => session.keys.remove(&packet_id),
            };
        }
    }

    pub(crate) fn forget(&mut self, sessions: &[SessionNo]) {
        for session in sessions {
            self.sessions.remove(session);
        }
    }

    /// The rows that carried these keys leave the tail: those that still stand get rows of their own.
    pub(crate) fn keep(
        &mut self,
        connection: &Connection,
        leaving: &[StoredKey],
    ) -> Result<(), rusqlite::Error> {
        for (session, packet_id) in std::mem::take(&mut self.stale) {
            connection
                .prepare_cached("DELETE FROM delivery_key WHERE session = ?1 AND packet = ?2")?
                .execute((session.0, packet_id))?;
        }
        for key in leaving {
            let Some(known) = self
                .sessions
                .get_mut(&key.session)
                .and_then(|session| session.keys.get_mut(&key.packet_id))
            else {
                continue;
            };
            if known.position != key.position {
                continue;
            }
            known.kept = true;
            write_key(connection, key)?;
        }
        Ok(())
    }
}

fn write_key(connection: &Connection, key: &StoredKey) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO delivery_key (session, packet, hash, position) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute((
            key.session.0,
            key.packet_id,
            key.hash.cast_signed(),
            key.position,
        ))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(packet_id: u16, payload_hash: u64, redelivered: bool) -> Delivery {
        Delivery {
            session: SessionNo(1),
            packet_id,
            payload_hash,
            redelivered,
            exactly_once: false,
        }
    }

    #[test]
    fn only_a_marked_message_with_the_same_content_counts_as_redelivered() {
        let mut deliveries = Deliveries::default();
        deliveries.note(&delivery(5, 77, false), 1);
        assert!(deliveries.came_already(&delivery(5, 77, true)));
        assert!(!deliveries.came_already(&delivery(5, 77, false)));
        assert!(!deliveries.came_already(&delivery(5, 78, true)));
        assert!(!deliveries.came_already(&delivery(6, 77, true)));
    }

    #[test]
    fn a_failed_transaction_forgets_its_messages() {
        let mut deliveries = Deliveries::default();
        deliveries.note(&delivery(5, 1, false), 1);
        deliveries.commit();
        deliveries.note(&delivery(5, 2, false), 2);
        deliveries.note(&delivery(6, 3, false), 3);
        deliveries.roll_back();
        assert!(deliveries.came_already(&delivery(5, 1, true)));
        assert!(!deliveries.came_already(&delivery(6, 3, true)));
    }

    #[test]
    fn the_newest_messages_of_each_client_are_remembered() {
        let mut deliveries = Deliveries::default();
        for number in 0..20_000u16 {
            deliveries.note(&delivery(number, 9, false), i64::from(number));
        }
        assert!(deliveries.came_already(&delivery(19_999, 9, true)));
        assert!(!deliveries.came_already(&delivery(0, 9, true)));
        assert!(deliveries.sessions[&SessionNo(1)].keys.len() <= KEYS_PER_SESSION_MAX);
    }
}
