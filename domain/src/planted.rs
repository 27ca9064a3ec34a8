//! Bugs that can be planted, for the simulation to find: each is a mistake that somebody could make where its switch is.
//!
//! Only builds with debug assertions have the switches; in every other [`is`] is `false` for good, and what hangs on it is
//! not compiled in. docs/planted-bugs.md lists all of them, with the seeds that find them.

#[cfg(debug_assertions)]
use std::cell::Cell;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// A change from before this program was written is taken for invalid: a clock is believed.
    TrustClock,
    /// What waits for a dependency is forgotten when its document leaves memory.
    DropPending,
    /// What waited and is applied goes on waiting, to be applied again.
    ApplyTwice,
    /// A document that comes back into memory does not know what was refused.
    ForgetQuarantine,
    /// Whose actor a change names is not looked at.
    AnyActor,
    /// The second change with one sequence number is as good as the first.
    ReusedSequence,
}

#[cfg(debug_assertions)]
thread_local! {
    static PLANTED: Cell<Option<Planted>> = const { Cell::new(None) };
}

/// Plants a bug in every document of this thread, or none.
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
