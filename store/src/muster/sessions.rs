//! Tokens, cookies and invitations: by hash only, each with an end.
//!
//! Always holds: what a thief reads here opens nothing; an invitation is taken at most once.

use rusqlite::{Connection, OptionalExtension, Row, params};
use sync_engine::ObjectId;

use crate::error::{Doing, StoreError};
use crate::sql::{blob, millis, wall};

/// A token or cookie that is good until it expires or is deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    pub token_hash: [u8; 32],
    /// What it may be used as: `access`, `refresh`, `cookie`.
    pub kind: String,
    pub user: ObjectId,
    /// Tokens that came from one sign-in share it, so that they can end together.
    pub family: [u8; 16],
    pub created_wall_ms: u64,
    pub expires_wall_ms: u64,
    /// JSON of the caller's.
    pub data: String,
}

/// A change to the sessions, part of a batch.
#[derive(Debug, Clone)]
pub enum SessionWrite {
    Put(SessionRecord),
    Delete {
        token_hash: [u8; 32],
    },
    DeleteFamily {
        family: [u8; 16],
    },
    DeleteUser {
        user: ObjectId,
    },
    /// Deletes what has expired before.
    Expire {
        before_wall_ms: u64,
    },
}

/// An invitation to join, by the hash of its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    pub secret_hash: [u8; 32],
    pub role: String,
    pub organisation: Option<String>,
    pub expires_wall_ms: u64,
}

/// Invitations that are open at once: more than a person hands out, few enough to guess none.
const INVITES_MAX: i64 = 1_000;

pub(crate) fn write(connection: &Connection, change: &SessionWrite) -> Result<(), rusqlite::Error> {
    match change {
        SessionWrite::Put(record) => connection
            .prepare_cached(
                "INSERT OR REPLACE INTO session \
                 (token_hash, kind, user, family, created_wall_ms, expires_wall_ms, data) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                &record.token_hash[..],
                record.kind,
                &record.user.0[..],
                &record.family[..],
                millis(record.created_wall_ms),
                millis(record.expires_wall_ms),
                record.data
            ])?,
        SessionWrite::Delete { token_hash } => connection
            .prepare_cached("DELETE FROM session WHERE token_hash = ?1")?
            .execute([&token_hash[..]])?,
        SessionWrite::DeleteFamily { family } => connection
            .prepare_cached("DELETE FROM session WHERE family = ?1")?
            .execute([&family[..]])?,
        SessionWrite::DeleteUser { user } => connection
            .prepare_cached("DELETE FROM session WHERE user = ?1")?
            .execute([&user.0[..]])?,
        SessionWrite::Expire { before_wall_ms } => connection
            .prepare_cached("DELETE FROM session WHERE expires_wall_ms < ?1")?
            .execute([millis(*before_wall_ms)])?,
    };
    Ok(())
}

pub(crate) fn get(
    connection: &Connection,
    token_hash: &[u8; 32],
) -> Result<Option<SessionRecord>, StoreError> {
    connection
        .prepare_cached(
            "SELECT token_hash, kind, user, family, created_wall_ms, expires_wall_ms, data \
             FROM session WHERE token_hash = ?1",
        )
        .and_then(|mut statement| statement.query_row([&token_hash[..]], record).optional())
        .doing("read session")
}

fn record(row: &Row<'_>) -> rusqlite::Result<SessionRecord> {
    Ok(SessionRecord {
        token_hash: blob(row, 0)?,
        kind: row.get(1)?,
        user: ObjectId(blob(row, 2)?),
        family: blob(row, 3)?,
        created_wall_ms: wall(row, 4)?,
        expires_wall_ms: wall(row, 5)?,
        data: row.get(6)?,
    })
}

pub(crate) fn put_invite(
    connection: &Connection,
    invite: &Invite,
    now_wall_ms: u64,
) -> Result<(), StoreError> {
    connection
        .execute(
            "DELETE FROM invite WHERE expires_wall_ms < ?1",
            [millis(now_wall_ms)],
        )
        .doing("expire invitations")?;
    let open: i64 = connection
        .query_row("SELECT count(*) FROM invite", [], |row| row.get(0))
        .doing("count invitations")?;
    if open >= INVITES_MAX {
        return Err(StoreError::Busy("open invitations"));
    }
    connection
        .execute(
            "INSERT OR REPLACE INTO invite (secret_hash, role, organisation, expires_wall_ms) VALUES (?1, ?2, ?3, ?4)",
            params![&invite.secret_hash[..], invite.role, invite.organisation, millis(invite.expires_wall_ms)],
        )
        .doing("write invitation")?;
    Ok(())
}

/// Takes the invitation out, when it is there and has not expired.
pub(crate) fn take_invite(
    connection: &Connection,
    secret_hash: &[u8; 32],
    now_wall_ms: u64,
) -> Result<Option<Invite>, StoreError> {
    connection
        .query_row(
            "DELETE FROM invite WHERE secret_hash = ?1 AND expires_wall_ms >= ?2 \
             RETURNING secret_hash, role, organisation, expires_wall_ms",
            params![&secret_hash[..], millis(now_wall_ms)],
            |row| {
                Ok(Invite {
                    secret_hash: blob(row, 0)?,
                    role: row.get(1)?,
                    organisation: row.get(2)?,
                    expires_wall_ms: wall(row, 3)?,
                })
            },
        )
        .optional()
        .doing("take invitation")
}
