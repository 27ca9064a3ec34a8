//! What can go wrong in a use case, in words that the API and the command line turn into their own form.
//!
//! Invariant: an `Err` means that nothing was stored; a caller may try again.

use domain::FieldError;

/// The outcome of a use case that did not happen.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The caller did not prove who they are (HTTP 401).
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// The caller may not do this (HTTP 403).
    #[error("role {role} may not {action} {what}")]
    Forbidden {
        /// The caller's role.
        role: String,
        /// What they tried.
        action: &'static str,
        /// On which kind of thing.
        what: String,
    },
    /// There is no such thing here (HTTP 404).
    #[error("no {what} with id {id}")]
    NotFound {
        /// Kind of thing, singular.
        what: &'static str,
        /// As the caller wrote it.
        id: String,
    },
    /// It was deleted; `POST …/restore` brings it back (HTTP 410).
    #[error("{what} {id} was deleted")]
    Gone {
        /// Kind of thing, singular.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// The request was understood and does not fit (HTTP 422).
    #[error("{} field(s) do not fit", .0.len())]
    Invalid(Vec<FieldError>),
    /// The request could not be read (HTTP 400).
    #[error("{0}")]
    Unreadable(String),
    /// A write without the version it was based on (HTTP 428).
    #[error("say which version you edited: send If-Match with the version you read")]
    VersionMissing,
    /// This node does not hold the version that the edit was based on; keep the edit and send it again after a sync,
    /// or read the document anew (HTTP 409 `version-unknown`).
    #[error(
        "this node does not know version {0} yet: keep the edit and send it again after the next sync"
    )]
    VersionUnknown(String),
    /// What the write replaces is not what the writer read (HTTP 412 `version-stale`).
    #[error("{0} were changed since you read them: read them again and make your change there")]
    VersionStale(&'static str),
    /// The state of the thing forbids it (HTTP 409).
    #[error("{0}")]
    Conflict(String),
    /// The same idempotency key came with another body (HTTP 422 `idempotency-key-reused`).
    #[error("this Idempotency-Key was used with another request body")]
    IdempotencyReused,
    /// One edit may hold 32 KiB (HTTP 413).
    #[error("one edit may hold {max_bytes} bytes, this one has {bytes}: split it")]
    TooLarge {
        /// Size of the refused edit.
        bytes: usize,
        /// The bound.
        max_bytes: usize,
    },
    /// Known to the design and not built yet (HTTP 501).
    #[error("{0}")]
    NotYet(&'static str),
    /// The disk is full: nothing was stored (HTTP 507).
    #[error("the disk of this node is full: nothing was stored; free space and send it again")]
    DiskFull,
    /// A bounded queue is full (HTTP 503 with Retry-After).
    #[error("this node is busy: try again in {retry_after_s} s")]
    Busy {
        /// When a new attempt makes sense.
        retry_after_s: u32,
    },
    /// Too many attempts (HTTP 429 with Retry-After).
    #[error("too many attempts: wait {retry_after_s} s")]
    TooMany {
        /// When a new attempt makes sense.
        retry_after_s: u32,
    },
    /// This node must not write: a longer log of its own was seen elsewhere (HTTP 409 `own-log-longer`).
    #[error("{0}")]
    WritesStopped(String),
    /// A fault of this node, with its cause (HTTP 500); the cause is logged, not shown.
    #[error("{context}")]
    Fault {
        /// What was being done.
        context: &'static str,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl AppError {
    /// Wraps a fault with what was being done.
    pub fn fault(
        context: &'static str,
    ) -> impl FnOnce(Box<dyn std::error::Error + Send + Sync>) -> AppError {
        move |source| AppError::Fault { context, source }
    }
}
