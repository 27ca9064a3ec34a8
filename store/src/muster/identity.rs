//! Who this node is, and its small named values.
//!
//! Always holds: there is at most one identity; secrets are wiped from memory when the value is dropped.

use rusqlite::{Connection, OptionalExtension, params};
use sync_engine::Incarnation;
use zeroize::Zeroizing;

use crate::error::{Doing, StoreError};
use crate::sql::{blob, blob_option, millis, wall};

/// The row of this node.
#[derive(Clone)]
pub struct Identity {
    /// Ed25519 secret key; its public key is the node id.
    pub node_secret: Zeroizing<[u8; 32]>,
    pub incarnation: Incarnation,
    pub name: String,
    /// `field`, `hq`, `gateway`.
    pub role: String,
    /// The operation's id; `None` until the node is a member of one.
    pub operation: Option<[u8; 32]>,
    pub operation_title: String,
    /// The operation's root key, where it was founded and until it is exported.
    pub root_secret: Option<Zeroizing<[u8; 32]>>,
    pub successor_secret: Option<Zeroizing<[u8; 32]>>,
    pub created_wall_ms: u64,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("name", &self.name)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

pub(crate) fn put(connection: &Connection, identity: &Identity) -> Result<(), StoreError> {
    connection
        .execute(
            "INSERT OR REPLACE INTO identity (one, node_secret, incarnation, name, role, operation, operation_title, \
             root_secret, successor_secret, created_wall_ms) VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                &identity.node_secret[..],
                identity.incarnation.0.cast_signed(),
                identity.name,
                identity.role,
                identity.operation.as_ref().map(|id| &id[..]),
                identity.operation_title,
                identity.root_secret.as_ref().map(|secret| &secret[..]),
                identity.successor_secret.as_ref().map(|secret| &secret[..]),
                millis(identity.created_wall_ms)
            ],
        )
        .doing("write identity")?;
    Ok(())
}

pub(crate) fn get(connection: &Connection) -> Result<Option<Identity>, StoreError> {
    connection
        .query_row(
            "SELECT node_secret, incarnation, name, role, operation, operation_title, root_secret, successor_secret, \
             created_wall_ms FROM identity WHERE one = 1",
            [],
            |row| {
                Ok(Identity {
                    node_secret: Zeroizing::new(blob(row, 0)?),
                    incarnation: Incarnation(row.get::<_, i64>(1)?.cast_unsigned()),
                    name: row.get(2)?,
                    role: row.get(3)?,
                    operation: blob_option(row, 4)?,
                    operation_title: row.get(5)?,
                    root_secret: blob_option(row, 6)?.map(Zeroizing::new),
                    successor_secret: blob_option(row, 7)?.map(Zeroizing::new),
                    created_wall_ms: wall(row, 8)?,
                })
            },
        )
        .optional()
        .doing("read identity")
}

pub(crate) fn setting(connection: &Connection, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    connection
        .prepare_cached("SELECT value FROM setting WHERE name = ?1")
        .and_then(|mut statement| statement.query_row([name], |row| row.get(0)).optional())
        .doing("read setting")
}

pub(crate) fn write_setting(
    connection: &Connection,
    name: &str,
    value: Option<&[u8]>,
) -> Result<(), rusqlite::Error> {
    match value {
        Some(value) => connection
            .prepare_cached("INSERT OR REPLACE INTO setting (name, value) VALUES (?1, ?2)")?
            .execute((name, value))?,
        None => connection
            .prepare_cached("DELETE FROM setting WHERE name = ?1")?
            .execute([name])?,
    };
    Ok(())
}
