//! Moves pages from the WAL into the database file, beside the writer instead of in its commits.
//!
//! Always holds: the WAL never grows past [`WAL_TRUNCATE_BYTES`] by more than what is written while one truncation waits;
//! below [`WAL_START_BYTES`] nothing is done, because every checkpoint costs two fsyncs.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

use crate::error::{Doing, StoreError};
use crate::open::{Role, Source};

/// Start to copy here. Small enough that opening after a power cut reads the WAL in a few milliseconds.
const WAL_START_BYTES: i64 = 4 << 20;
/// Under constant writing a passive checkpoint never catches the last frame, and the WAL only grows. At this size the
/// writer is made to wait once, for what the passive pass before left over.
const WAL_TRUNCATE_BYTES: i64 = 64 << 20;
const FRAME_BYTES: i64 = 4096 + 24;
/// How often the size is looked at while commits go on.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Default)]
struct Signal {
    written: bool,
    stop: bool,
}

pub(crate) struct Checkpointer {
    shared: Arc<(Mutex<Signal>, Condvar)>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Given to the writer: told about each commit, costs a lock nobody holds.
#[derive(Clone)]
pub(crate) struct Committing(Arc<(Mutex<Signal>, Condvar)>);

impl Committing {
    pub(crate) fn committed(&self) {
        let mut signal = self.0.0.lock();
        if !signal.written {
            signal.written = true;
            self.0.1.notify_one();
        }
    }
}

impl Checkpointer {
    pub(crate) fn start(source: &Source, name: &'static str) -> Result<Self, StoreError> {
        let connection = source.open(Role::Checkpointer)?;
        let shared = Arc::new((Mutex::new(Signal::default()), Condvar::new()));
        let inner = shared.clone();
        let path = source.path.clone();
        let thread = std::thread::Builder::new()
            .name(format!("{name}-wal"))
            .spawn(move || run(&connection, &inner))
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

    pub(crate) fn handle(&self) -> Committing {
        Committing(self.shared.clone())
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

fn run(connection: &Connection, shared: &(Mutex<Signal>, Condvar)) {
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
        if let Err(error) = step(connection) {
            // A full disk ends here too: the WAL keeps everything, and the next commit brings us back.
            tracing::warn!(error = %error, "checkpoint put off");
        }
    }
    if let Err(error) = checkpoint(connection, "TRUNCATE") {
        tracing::warn!(error = %error, "last checkpoint failed; the write-ahead log keeps the data");
    }
}

fn step(connection: &Connection) -> Result<(), StoreError> {
    let (log, copied) = checkpoint(connection, "NOOP")?;
    if (log - copied) * FRAME_BYTES < WAL_START_BYTES && log * FRAME_BYTES < WAL_TRUNCATE_BYTES {
        return Ok(());
    }
    let (log, _) = checkpoint(connection, "PASSIVE")?;
    if log * FRAME_BYTES >= WAL_TRUNCATE_BYTES {
        checkpoint(connection, "RESTART")?;
    }
    Ok(())
}

/// Answers frames in the WAL and frames copied so far.
fn checkpoint(connection: &Connection, mode: &str) -> Result<(i64, i64), StoreError> {
    connection
        .query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
            Ok((row.get(1)?, row.get(2)?))
        })
        .doing("checkpoint")
}
