//! Read connections: a fixed number, opened once, handed out one at a time.
//!
//! Always holds: a reader sees one snapshot for the whole of its closure, and cannot write.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::error::{Doing, StoreError};
use crate::open::{Role, Source};

pub(crate) struct Pool {
    free: Mutex<Vec<Connection>>,
    returned: Condvar,
}

/// Reads take milliseconds; whoever waits this long meets a pool that is wedged and should hear so.
const WAIT_MAX: Duration = Duration::from_secs(5);

impl Pool {
    pub(crate) fn open(source: &Source, count: usize) -> Result<Self, StoreError> {
        let connections = (0..count.max(1))
            .map(|_| source.open(Role::Reader))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Pool {
            free: Mutex::new(connections),
            returned: Condvar::new(),
        })
    }

    /// Runs `f` on one snapshot. Blocks while all connections are out, at most [`WAIT_MAX`].
    pub(crate) fn read<T>(
        &self,
        f: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let lent = Lent {
            connection: Some(self.take()?),
            pool: self,
        };
        let connection = lent.connection.as_ref().ok_or(StoreError::Closed)?;
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Deferred)
            .doing("begin reading")?;
        let result = f(&transaction);
        transaction.finish().doing("end reading")?;
        result
    }

    fn take(&self) -> Result<Connection, StoreError> {
        let deadline = Instant::now() + WAIT_MAX;
        let mut free = self.free.lock();
        loop {
            if let Some(connection) = free.pop() {
                return Ok(connection);
            }
            if self.returned.wait_until(&mut free, deadline).timed_out() {
                return Err(StoreError::Busy("readers of the database"));
            }
        }
    }
}

/// Gives the connection back even when the closure panics.
struct Lent<'a> {
    connection: Option<Connection>,
    pool: &'a Pool,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.free.lock().push(connection);
            self.pool.returned.notify_one();
        }
    }
}
