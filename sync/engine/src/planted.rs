//! Bugs that can be planted, for the simulation to find: each is a mistake that somebody could make where its switch is.
//!
//! Only builds with debug assertions have the switches; in every other [`is`] is `false` for good, and what hangs on it is
//! not compiled in. docs/planted-bugs.md lists all of them, with the seeds that find them.

#[cfg(debug_assertions)]
use std::cell::Cell;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// A run whose signature does not verify is stored.
    SkipSignature,
    /// Only the last signature of a run is checked.
    BelieveInnerSignatures,
    /// A run that was rebuilt from references is taken for what its author signed.
    BelieveRebuilt,
    /// A run that refers to what is not here is dropped, and not asked for plain.
    DropUnresolved,
    /// Heights are announced when runs go to the store, not when they are there.
    AnnounceUnstored,
    /// A lane gives its turns to the first author as long as that one has something.
    StarveAnAuthor,
    /// What was sent on a connection counts as sent on the next.
    LoseRunsAtReconnect,
    /// What a peer wants is remembered from its last mark, and not heard again.
    ForgetInterest,
    /// A mark is kept when it is proposed, level or not.
    MarkUnconfirmed,
    /// The mark of a frontier is not made anew when the frontier moves.
    KeepStaleMark,
    /// A peer that lost something and asks for it gets what comes next.
    ResumeAtWrongPlace,
    /// A member may write any lane.
    SkipLaneOfGrant,
    /// What the transport has not sent is not counted.
    SkipWindow,
}

#[cfg(debug_assertions)]
thread_local! {
    static PLANTED: Cell<Option<Planted>> = const { Cell::new(None) };
}

/// Plants a bug in every engine of this thread, or none.
#[cfg(debug_assertions)]
pub fn plant(bug: Option<Planted>) {
    PLANTED.set(bug);
}

/// Whether this bug is planted.
#[cfg(debug_assertions)]
pub(crate) fn is(bug: Planted) -> bool {
    PLANTED.get() == Some(bug)
}

#[cfg(not(debug_assertions))]
pub(crate) const fn is(_bug: Planted) -> bool {
    false
}
