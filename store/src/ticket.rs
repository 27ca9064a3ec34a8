//! The answer to something that was handed to a writer thread.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::error::{CommitError, StoreError};

/// Resolves when the transaction has ended. Dropping it changes nothing about the work.
#[must_use = "what was handed in may have been refused"]
#[derive(Debug)]
pub struct Ticket<T, E>(oneshot::Receiver<Result<T, E>>);

/// An error that says that the writer is gone.
pub trait Gone {
    fn gone() -> Self;
}

impl Gone for StoreError {
    fn gone() -> Self {
        StoreError::Closed
    }
}

impl Gone for CommitError {
    fn gone() -> Self {
        CommitError::Closed
    }
}

impl<T, E: Gone> Ticket<T, E> {
    pub(crate) fn new(receiver: oneshot::Receiver<Result<T, E>>) -> Self {
        Ticket(receiver)
    }

    /// Blocks the thread. Not to be called on an async runtime's thread, where it panics: await the ticket there.
    pub fn wait(self) -> Result<T, E> {
        self.0.blocking_recv().unwrap_or_else(|_| Err(E::gone()))
    }
}

impl<T, E: Gone> Future for Ticket<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|answer| answer.unwrap_or_else(|_| Err(E::gone())))
    }
}

/// What a small write does in the transaction, and what hears how that ended.
type Write = dyn FnOnce(&Connection) -> Result<(), StoreError> + Send;
pub(crate) type Done = dyn FnOnce(Result<(), StoreError>) + Send;

/// A small write of local state: runs in the writer's transaction, is told afterwards whether it stands.
pub(crate) struct LocalJob {
    pub(crate) run: Box<Write>,
    pub(crate) done: Box<Done>,
}

impl LocalJob {
    /// Packs `f` for the writer; its value comes out of the ticket once it is on the disk.
    pub(crate) fn new<T: Send + 'static>(
        f: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> (Self, Ticket<T, StoreError>) {
        let (reply, receiver) = oneshot::channel();
        let slot = Arc::new(Mutex::new(None));
        let filled = slot.clone();
        let job = LocalJob {
            run: Box::new(move |connection| {
                *filled.lock() = Some(f(connection)?);
                Ok(())
            }),
            done: Box::new(move |result| {
                let value = slot.lock().take();
                // Whoever asked may have gone away.
                let _ = reply.send(result.and_then(|()| value.ok_or(StoreError::Closed)));
            }),
        };
        (job, Ticket::new(receiver))
    }
}
