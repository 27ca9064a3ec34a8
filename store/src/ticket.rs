//! The answer to something that was handed to a writer thread.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

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
