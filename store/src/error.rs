//! What can go wrong in the store, in words for the person or the code that has to act on it.
//!
//! Always holds: a full disk is told apart from every other fault, because the answer to it (withhold, free space, go on)
//! is another one; no error ever comes with a promise that something was kept.

use std::path::{Path, PathBuf};

/// Errors of opening, reading and of the small writes of local state.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the data directory {} is in use by {}", dir.display(), holder(*pid))]
    InUse { dir: PathBuf, pid: Option<u32> },
    #[error("{what} {}", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "{} cannot be read with this key: check the key file or passphrase; if the key is right the file is damaged: \
         move it aside (never delete it) and restore a backup, or join the operation again",
        path.display()
    )]
    WrongKey { path: PathBuf },
    #[error(
        "{} is damaged ({detail}): stop the node, move the file aside (never delete it) and restore a backup, or join \
         the operation again",
        path.display()
    )]
    Damaged { path: PathBuf, detail: String },
    #[error("{} was written by a newer program (schema {found}, this one knows {known}): install that version", path.display())]
    TooNew {
        path: PathBuf,
        found: i64,
        known: i64,
    },
    #[error("key {}: {detail}", path.display())]
    Key { path: PathBuf, detail: String },
    #[error("the disk is full")]
    DiskFull,
    #[error("too much is waiting: {0}")]
    Busy(&'static str),
    #[error("{what}: a stored value cannot be read")]
    Unreadable { what: &'static str },
    #[error("{0}")]
    Refused(String),
    #[error("the store is closed")]
    Closed,
    #[error("{what}")]
    Sql {
        what: &'static str,
        #[source]
        source: rusqlite::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    match pid {
        Some(pid) => format!("process {pid}"),
        None => "another process".to_owned(),
    }
}

/// Why a batch is not on the disk. Nothing of it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    #[error("the disk is full")]
    DiskFull,
    #[error("the {queue} queue is full")]
    Busy { queue: &'static str },
    /// An earlier batch of this epoch was lost, so this one may lean on something that is not there.
    #[error("an earlier batch of this epoch was not stored")]
    EpochPoisoned,
    #[error("the views are being rebuilt")]
    Rebuilding,
    #[error("the store is closed")]
    Closed,
    #[error("{detail}")]
    Fault { detail: String },
}

impl CommitError {
    pub(crate) fn fault(detail: impl Into<String>) -> Self {
        CommitError::Fault {
            detail: detail.into(),
        }
    }
}

impl From<rusqlite::Error> for CommitError {
    fn from(error: rusqlite::Error) -> Self {
        if is_disk_full(&error) {
            CommitError::DiskFull
        } else {
            CommitError::fault(error.to_string())
        }
    }
}

impl From<CommitError> for StoreError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::DiskFull => StoreError::DiskFull,
            CommitError::Busy { queue } => StoreError::Busy(queue),
            CommitError::Closed => StoreError::Closed,
            other => StoreError::Refused(other.to_string()),
        }
    }
}

/// Whether SQLite said that there is no room: ENOSPC on a write is `SQLITE_FULL`; growing the shared-memory index fails
/// with an IO error of its own.
pub(crate) fn is_disk_full(error: &rusqlite::Error) -> bool {
    let rusqlite::Error::SqliteFailure(failure, _) = error else {
        return false;
    };
    failure.code == rusqlite::ErrorCode::DiskFull
        || matches!(
            failure.extended_code,
            rusqlite::ffi::SQLITE_IOERR_SHMSIZE | rusqlite::ffi::SQLITE_IOERR_SHMOPEN
        )
}

/// Turns SQLite errors into ours, with the one thing the caller knows: what it was doing.
pub(crate) trait Doing<T> {
    fn doing(self, what: &'static str) -> Result<T, StoreError>;
}

impl<T> Doing<T> for Result<T, rusqlite::Error> {
    fn doing(self, what: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| {
            if is_disk_full(&source) {
                StoreError::DiskFull
            } else {
                StoreError::Sql { what, source }
            }
        })
    }
}

pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| {
        if source.kind() == std::io::ErrorKind::StorageFull {
            StoreError::DiskFull
        } else {
            StoreError::Io { what, path, source }
        }
    }
}
