//! Moves pages from the WAL into the database file, beside the writer instead of in its commits.
//!
//! Always holds: below [`crate::Wear::wal_start_bytes`] nothing is done, because every checkpoint costs two fsyncs; past
//! [`WAL_RESTART_BYTES`] the writer itself is asked to begin the WAL anew, since nobody else finds a gap between the
//! transactions of a flood.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

use crate::error::{Doing, StoreError};
use crate::open::{BUSY_TIMEOUT, Role, Source};
use crate::wal_room::WalRoom;

/// Under constant writing a passive checkpoint never catches the last frame, and the WAL only grows. At this size the
/// writer copies, between two transactions, the little that the passive pass before left over.
const WAL_RESTART_BYTES: i64 = 64 << 20;
/// Readers hold the WAL for milliseconds. When one takes longer, the writer goes on and tries again later.
const RESTART_WAIT: Duration = Duration::from_millis(20);
const FRAME_BYTES: i64 = 4096 + 24;
/// How often the size is looked at while commits go on.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Default)]
struct Signal {
    written: bool,
    stop: bool,
    /// The writer should begin the WAL anew.
    restart: bool,
}

pub(crate) struct Checkpointer {
    shared: Arc<(Mutex<Signal>, Condvar)>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Given to the writer: told about each commit, costs a lock nobody holds.
pub(crate) struct Committing {
    shared: Arc<(Mutex<Signal>, Condvar)>,
    room: Option<WalRoom>,
}

impl Committing {
    /// To be called after each commit, when everyone has been answered.
    pub(crate) fn committed(&self, connection: &Connection) {
        let restart = {
            let (signal, written) = &*self.shared;
            let mut signal = signal.lock();
            if !signal.written {
                signal.written = true;
                written.notify_one();
            }
            // Not in the middle of a long transaction: a rebuild tells of its steps.
            connection.is_autocommit() && std::mem::take(&mut signal.restart)
        };
        if restart && let Err(error) = restart_wal(connection) {
            tracing::warn!(error = %error, "the write-ahead log could not be begun anew yet");
        }
        if let Some(room) = &self.room
            && connection.is_autocommit()
            && let Ok((frames, _)) = checkpoint(connection, "NOOP")
        {
            room.provide(frames.unsigned_abs() * FRAME_BYTES.unsigned_abs());
        }
    }
}

fn restart_wal(connection: &Connection) -> Result<(), StoreError> {
    connection
        .busy_timeout(RESTART_WAIT)
        .doing("shorten wait")?;
    let result = checkpoint(connection, "RESTART");
    connection
        .busy_timeout(BUSY_TIMEOUT)
        .doing("restore wait")?;
    result.map(|_| ())
}

impl Checkpointer {
    pub(crate) fn start(source: &Source, name: &'static str) -> Result<Self, StoreError> {
        let connection = source.open(Role::Checkpointer)?;
        let shared = Arc::new((Mutex::new(Signal::default()), Condvar::new()));
        let inner = shared.clone();
        let path = source.path.clone();
        let start_bytes = source.wear.wal_start_bytes;
        let thread = std::thread::Builder::new()
            .name(format!("{name}-wal"))
            .spawn(move || run(&connection, &inner, start_bytes))
            .map_err(|source| StoreError::Io {
                what: "start thread for",
                path,
                source,
            })?;
        Ok(Checkpointer {
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// For the writer of that file.
    pub(crate) fn handle(&self, source: &Source) -> Committing {
        Committing {
            shared: self.shared.clone(),
            room: WalRoom::of(source),
        }
    }

    /// Stops the thread after one last checkpoint that leaves an empty WAL.
    pub(crate) fn stop(&self) {
        self.shared.0.lock().stop = true;
        self.shared.1.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

fn run(connection: &Connection, shared: &(Mutex<Signal>, Condvar), start_bytes: i64) {
    loop {
        {
            let mut signal = shared.0.lock();
            while !signal.written && !signal.stop {
                shared.1.wait(&mut signal);
            }
            if signal.stop {
                break;
            }
            // One look per interval, however many commits fall into it.
            shared.1.wait_for(&mut signal, LOOK_EVERY);
            if signal.stop {
                break;
            }
            signal.written = false;
        }
        match step(connection, start_bytes) {
            Ok(restart) => shared.0.lock().restart = restart,
            // A full disk ends here too: the WAL keeps everything, and the next commit brings us back.
            Err(error) => tracing::warn!(error = %error, "checkpoint put off"),
        }
    }
    if let Err(error) = checkpoint(connection, "TRUNCATE") {
        tracing::warn!(error = %error, "last checkpoint failed; the write-ahead log keeps the data");
    }
}

/// Copies what is worth it; answers whether the WAL has grown so long that the writer must help.
fn step(connection: &Connection, start_bytes: i64) -> Result<bool, StoreError> {
    let (log, copied) = checkpoint(connection, "NOOP")?;
    let long = log * FRAME_BYTES >= WAL_RESTART_BYTES;
    if (log - copied) * FRAME_BYTES < start_bytes && !long {
        return Ok(false);
    }
    checkpoint(connection, "PASSIVE")?;
    Ok(long)
}

/// Answers frames in the WAL and frames copied so far.
fn checkpoint(connection: &Connection, mode: &str) -> Result<(i64, i64), StoreError> {
    connection
        .query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
            Ok((row.get(1)?, row.get(2)?))
        })
        .doing("checkpoint")
}
