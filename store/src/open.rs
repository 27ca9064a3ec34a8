//! How a file is opened: key first, then every PRAGMA once, each with its reason.
//!
//! Always holds: every connection of this crate comes from here.

use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::error::{Doing, StoreError};
use crate::key::DbKey;

/// Whether a commit waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Synchronous {
    #[default]
    Full,
    /// Only for the test that proves that a power cut then loses data.
    Off,
}

/// How much the disk is written on, and what that costs in time.
///
/// A commit writes whole pages and the journal of the file system, whatever is in it, so that few large commits wear a
/// memory card far less than many small ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wear {
    /// How long readings are gathered before they are committed: their acknowledgements wait for it. What people do
    /// waits for nothing.
    pub gather: Duration,
    /// How often it goes to the file when devices were last heard, while readings come: after a crash it may be so old.
    pub seen_every: Duration,
    /// How large the write-ahead log grows before its pages move to the file, bytes: a page that changes often moves
    /// once. Opening after a power cut reads it.
    pub wal_start_bytes: i64,
    /// In what steps the write-ahead log gets room before it needs it, bytes; 0 where it grows with each commit. Written once
    /// for each start of the node: while it runs, the log is used again and again.
    pub wal_step_bytes: u64,
}

impl Wear {
    /// A disk that bears being written on: nothing waits. Opening after a power cut reads a few milliseconds.
    pub const DISK: Wear = Wear {
        gather: Duration::ZERO,
        seen_every: Duration::from_secs(1),
        wal_start_bytes: 4 << 20,
        wal_step_bytes: 0,
    };
    /// A memory card: acknowledgements of readings come up to two seconds later, which keeps ten readings a second below
    /// a gigabyte a day, the file system's journal included (`make bench ARGS=store-card`). Opening after a power cut reads for
    /// some tenths of a second.
    pub const CARD: Wear = Wear {
        gather: Duration::from_secs(2),
        seen_every: Duration::from_secs(60),
        wal_start_bytes: 32 << 20,
        wal_step_bytes: 4 << 20,
    };

    /// How much of a write-ahead log is kept when it begins anew. Its pages have moved on by then, so that a step beyond where
    /// they begin to is enough.
    pub(crate) fn wal_bytes_max(&self) -> u64 {
        WAL_KEPT_BYTES.max(self.wal_start_bytes.unsigned_abs() + self.wal_step_bytes)
    }
}

/// How to open the store. `Default` is what a node uses.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    pub synchronous: Synchronous,
    /// SQLCipher on the three files. Off only where its cost is being measured.
    pub encrypt: bool,
    /// Connections for reading muster.db; readings.db has half of them, at least one.
    pub readers: usize,
    /// The largest size of each file in pages of 4 KiB; `None` is SQLite's own bound. For tests of a full disk.
    pub pages_max: Option<u32>,
    /// See [`Wear`].
    pub wear: Wear,
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions {
            synchronous: Synchronous::Full,
            encrypt: true,
            readers: 4,
            pages_max: None,
            wear: Wear::DISK,
        }
    }
}

/// What a connection is for: decides its rights and its cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Writer,
    Reader,
    Checkpointer,
}

/// The page cache of a writer that only appends (readings, blobs).
const APPENDER_CACHE_KIB: i64 = 2 * 1024;
/// Edits touch a handful of random pages each (document, snapshot, index of entries): with the working set of some
/// thousand documents in memory a write decrypts nothing. Filled only as far as it is used.
const EDITOR_CACHE_KIB: i64 = 16 * 1024;
/// Readers are several, and read what was written last.
const READER_CACHE_KIB: i64 = 2 * 1024;
const CHECKPOINTER_CACHE_KIB: i64 = 256;

/// A checkpoint holds the database for milliseconds; whoever waits this long meets something broken.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Statements kept prepared per connection: more than any connection has, so that none is ever prepared twice.
const STATEMENTS_MAX: usize = 160;

/// Past this size, or what [`Wear`] lets it have, the WAL file is cut when it is reset, so that a burst does not hold its disk
/// space for ever.
const WAL_KEPT_BYTES: u64 = 16 << 20;

/// What is needed to open one file again and again.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) key: Option<DbKey>,
    pub(crate) synchronous: Synchronous,
    pub(crate) pages_max: Option<u32>,
    /// Rows are changed in place, not only appended.
    pub(crate) edits: bool,
    pub(crate) wear: Wear,
}

impl Source {
    pub(crate) fn new(dir: &Path, name: &str, key: &DbKey, options: &OpenOptions) -> Self {
        Source {
            path: dir.join(name),
            key: options.encrypt.then(|| key.clone()),
            synchronous: options.synchronous,
            pages_max: options.pages_max,
            edits: name == "muster.db",
            wear: options.wear,
        }
    }

    pub(crate) fn open(&self, role: Role) -> Result<Connection, StoreError> {
        // SQLite counts as ready before SQLCipher in it is: two threads that open the first files of a process at once
        // would find that their key is refused.
        static READY: Once = Once::new();
        READY.call_once(|| drop(Connection::open_in_memory()));
        let mut flags = OpenFlags::SQLITE_OPEN_NO_MUTEX;
        flags |= match role {
            Role::Writer => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
            // A reader of a WAL file needs write access to the shared-memory index; `query_only` guards the data.
            Role::Reader | Role::Checkpointer => OpenFlags::SQLITE_OPEN_READ_WRITE,
        };
        let connection =
            Connection::open_with_flags(&self.path, flags).map_err(|error| self.blame(error))?;
        self.prepare(&connection, role)
            .map_err(|error| self.blame(error))?;
        Ok(connection)
    }

    fn prepare(&self, connection: &Connection, role: Role) -> Result<(), rusqlite::Error> {
        // First of all, before anything touches a page.
        if let Some(key) = &self.key {
            connection.execute_batch(&key.pragma())?;
            // A wrong key or a damaged page comes back as an error of ours; standard error belongs to the program.
            connection.execute_batch("PRAGMA cipher_log_level = NONE")?;
        }
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        // Readers go on while the writer commits, and a commit is one sequential write and one fsync.
        let mode: String =
            connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        if mode != "wal" {
            return Err(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN),
                Some(format!(
                    "the file system gives no write-ahead log (journal mode {mode})"
                )),
            ));
        }
        // Power is cut often here: a commit that was answered is on the disk.
        let synchronous = match self.synchronous {
            Synchronous::Full => "FULL",
            Synchronous::Off => "OFF",
        };
        connection.pragma_update(None, "synchronous", synchronous)?;
        // Never on the commit path; checkpoint.rs does it.
        let _: i64 = connection.query_row("PRAGMA wal_autocheckpoint = 0", [], |row| row.get(0))?;
        let _: i64 = connection.query_row(
            &format!("PRAGMA journal_size_limit = {}", self.wear.wal_bytes_max()),
            [],
            |row| row.get(0),
        )?;
        connection.pragma_update(None, "foreign_keys", true)?;
        // Sorting and savepoints leave nothing readable on the disk.
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        // Pages are encrypted: a mapping would only add page faults, and an IO error would become a signal.
        let _ = connection.query_row("PRAGMA mmap_size = 0", [], |row| row.get::<_, i64>(0));
        let cache_kib = match role {
            Role::Writer if self.edits => EDITOR_CACHE_KIB,
            Role::Writer => APPENDER_CACHE_KIB,
            Role::Reader => READER_CACHE_KIB,
            Role::Checkpointer => CHECKPOINTER_CACHE_KIB,
        };
        connection.pragma_update(None, "cache_size", -cache_kib)?;
        // A schema edited by hand cannot run functions with side effects.
        connection.pragma_update(None, "trusted_schema", false)?;
        if let (Role::Writer, Some(pages)) = (role, self.pages_max) {
            let _: i64 =
                connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |row| {
                    row.get(0)
                })?;
        }
        if role == Role::Reader {
            connection.pragma_update(None, "query_only", true)?;
        }
        Ok(())
    }

    /// SQLCipher cannot tell a wrong key from a damaged first page, so the message names both.
    pub(crate) fn blame(&self, error: rusqlite::Error) -> StoreError {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase) => StoreError::WrongKey {
                path: self.path.clone(),
            },
            Some(rusqlite::ErrorCode::DatabaseCorrupt) => StoreError::Damaged {
                path: self.path.clone(),
                detail: error.to_string(),
            },
            _ => Err::<(), _>(error)
                .doing("open database")
                .expect_err("an error stays one"),
        }
    }
}
