//! What connections hold for peers that are slow or silent, of all connections together.
//!
//! Two things wait for a peer in this program's own memory: frames that it has not read, and beginnings of frames whose
//! rest it has not sent. Each has a bound per connection; a thousand connections at their bounds would still be too
//! much. So the sum has a bound of its own, and when it is passed, who holds most goes.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use sync_engine::ConnId;
use tokio::sync::Notify;

/// See the module.
pub(crate) struct Ledger {
    max: usize,
    books: Mutex<Books>,
    /// Told when the sum passes the bound.
    pub(crate) full: Notify,
}

#[derive(Default)]
struct Books {
    total: usize,
    by_conn: BTreeMap<ConnId, usize>,
}

impl Ledger {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            books: Mutex::default(),
            full: Notify::new(),
        }
    }

    /// From here on `conn` is counted.
    pub(crate) fn open(&self, conn: ConnId) {
        self.books.lock().by_conn.entry(conn).or_default();
    }

    /// `conn` is over: what it still holds is about to be freed.
    pub(crate) fn close(&self, conn: ConnId) {
        let mut books = self.books.lock();
        if let Some(held) = books.by_conn.remove(&conn) {
            books.total -= held;
        }
    }

    pub(crate) fn add(&self, conn: ConnId, bytes: usize) {
        let mut books = self.books.lock();
        let Some(held) = books.by_conn.get_mut(&conn) else {
            return;
        };
        *held += bytes;
        books.total += bytes;
        if books.total > self.max {
            drop(books);
            self.full.notify_one();
        }
    }

    pub(crate) fn sub(&self, conn: ConnId, bytes: usize) {
        let mut books = self.books.lock();
        if let Some(held) = books.by_conn.get_mut(&conn) {
            let bytes = bytes.min(*held);
            *held -= bytes;
            books.total -= bytes;
        }
    }

    /// Bytes held, of all connections.
    pub(crate) fn total(&self) -> usize {
        self.books.lock().total
    }

    /// Who has to go so that the others stay, with what it holds; `None` while the sum is within the bound.
    pub(crate) fn to_shed(&self) -> Option<(ConnId, usize)> {
        let books = self.books.lock();
        if books.total <= self.max {
            return None;
        }
        let largest = books.by_conn.iter().max_by_key(|(_, held)| **held)?;
        Some((*largest.0, *largest.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connection_that_holds_most_goes_and_only_while_the_sum_is_too_large() {
        let ledger = Ledger::new(1_000);
        for conn in 1..=10 {
            ledger.open(ConnId(conn));
            ledger.add(ConnId(conn), 90);
        }
        assert_eq!(ledger.to_shed(), None);
        ledger.add(ConnId(7), 150);
        assert_eq!(ledger.to_shed(), Some((ConnId(7), 240)));
        ledger.close(ConnId(7));
        assert_eq!((ledger.to_shed(), ledger.total()), (None, 810));
    }

    #[test]
    fn a_connection_that_is_over_is_never_counted_again() {
        let ledger = Ledger::new(100);
        ledger.open(ConnId(1));
        ledger.add(ConnId(1), 80);
        ledger.close(ConnId(1));
        // Its tasks end a moment later, and settle what they held.
        ledger.add(ConnId(1), 500);
        ledger.sub(ConnId(1), 80);
        assert_eq!((ledger.total(), ledger.to_shed()), (0, None));
    }
}
