//! The bugs that can be planted, and the switch: what a campaign has to find, or its model is too weak.
//!
//! A bug stands where the mistake would be made: in the engine, in the domain, or here in the shell that stands for
//! `node` and `store`. Invariant: one bug at most is planted in a thread, and the model works as if there were none.

use std::cell::Cell;

use domain::planted::Planted as InDomain;
use sync_engine::planted::Planted as InEngine;

/// Mistakes of a shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InShell {
    /// The store answers when it has begun, not when the disk has synced.
    AcknowledgeBeforeCommit,
    /// Own entries leave before they are synced: after a crash their numbers are used again.
    ReuseSequence,
    /// Heights are kept apart from the entries, and synced before them.
    BelieveStoredHeight,
    /// A commit failed, and what it would have changed stays in memory.
    KeepFailedCommit,
    /// Kinds of later versions are refused.
    RefuseUnknownKinds,
    /// What waited is applied in memory and not on the disk.
    SettleInMemory,
    /// What a document came to is remembered, and not looked at again when it changes.
    KeepStaleDigest,
}

/// Where a bug is, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// In `sync/engine`.
    Engine(InEngine),
    /// In `domain`.
    Domain(InDomain),
    /// In the shell of this simulation.
    Shell(InShell),
}

/// One bug, for people.
#[derive(Debug, Clone, Copy)]
pub struct Described {
    /// What it is called on the command line.
    pub name: &'static str,
    /// The switch.
    pub bug: Bug,
    /// What somebody got wrong.
    pub mistake: &'static str,
    /// The file with the switch.
    pub place: &'static str,
    /// The first seed that finds it.
    pub seed: u64,
}

const fn bug(
    name: &'static str,
    bug: Bug,
    mistake: &'static str,
    place: &'static str,
    seed: u64,
) -> Described {
    Described {
        name,
        bug,
        mistake,
        place,
        seed,
    }
}

/// All of them.
pub const ALL: &[Described] = &[
    bug(
        "acknowledge-before-commit",
        Bug::Shell(InShell::AcknowledgeBeforeCommit),
        "the store answers when a commit has begun, not when the disk has synced it",
        "tests/sim/src/node.rs",
        1,
    ),
    bug(
        "reuse-sequence",
        Bug::Shell(InShell::ReuseSequence),
        "own entries leave before they are synced; after a crash their numbers are given to others",
        "tests/sim/src/node.rs",
        3,
    ),
    bug(
        "believe-stored-height",
        Bug::Shell(InShell::BelieveStoredHeight),
        "a stored height is believed after a crash that took the entries below it",
        "tests/sim/src/disk/memory.rs",
        6,
    ),
    bug(
        "keep-failed-commit",
        Bug::Shell(InShell::KeepFailedCommit),
        "a commit fails, and the documents it touched stay in memory as if it had not",
        "tests/sim/src/node.rs",
        1,
    ),
    bug(
        "refuse-unknown-kinds",
        Bug::Shell(InShell::RefuseUnknownKinds),
        "entries of kinds that only a later version knows are put into quarantine, not carried",
        "tests/sim/src/desk/target.rs",
        1,
    ),
    bug(
        "settle-in-memory",
        Bug::Shell(InShell::SettleInMemory),
        "a change that waited is applied in memory, and its verdict is not written",
        "tests/sim/src/desk/judge.rs",
        1,
    ),
    bug(
        "keep-stale-digest",
        Bug::Shell(InShell::KeepStaleDigest),
        "the digest of a document is kept when a change is applied to it",
        "tests/sim/src/desk/mod.rs",
        1,
    ),
    bug(
        "skip-signature",
        Bug::Engine(InEngine::SkipSignature),
        "a run is stored whose signature does not verify",
        "sync/engine/src/run.rs",
        3,
    ),
    bug(
        "believe-inner-signatures",
        Bug::Engine(InEngine::BelieveInnerSignatures),
        "only the last signature of a run is checked, and runs are cut at the others later",
        "sync/engine/src/run.rs",
        54,
    ),
    bug(
        "believe-rebuilt",
        Bug::Engine(InEngine::BelieveRebuilt),
        "a packed run is stored as it was rebuilt, without asking whether its author signed that",
        "sync/engine/src/run.rs",
        5,
    ),
    bug(
        "drop-unresolved",
        Bug::Engine(InEngine::DropUnresolved),
        "a packed run that refers to what is not here is dropped, and never asked for plain",
        "sync/engine/src/receive.rs",
        10,
    ),
    bug(
        "announce-unstored",
        Bug::Engine(InEngine::AnnounceUnstored),
        "a height is announced when its run goes to the store, not when it is there",
        "sync/engine/src/claims.rs",
        1,
    ),
    bug(
        "starve-an-author",
        Bug::Engine(InEngine::StarveAnAuthor),
        "the first author of a lane is served until it has nothing more",
        "sync/engine/src/peer/lane.rs",
        1,
    ),
    bug(
        "lose-runs-at-reconnect",
        Bug::Engine(InEngine::LoseRunsAtReconnect),
        "what was sent on a connection that broke counts as sent on the next one",
        "sync/engine/src/peer/mod.rs",
        1,
    ),
    bug(
        "resume-at-wrong-place",
        Bug::Engine(InEngine::ResumeAtWrongPlace),
        "a peer that lost something in the middle of a lane and asks for it gets what comes next",
        "sync/engine/src/send.rs",
        3,
    ),
    bug(
        "forget-interest",
        Bug::Engine(InEngine::ForgetInterest),
        "the groups and lanes that a greeting asks for are not noted",
        "sync/engine/src/greet.rs",
        1,
    ),
    bug(
        "mark-unconfirmed",
        Bug::Engine(InEngine::MarkUnconfirmed),
        "a frontier is remembered as held by both when it is proposed",
        "sync/engine/src/marking.rs",
        3,
    ),
    bug(
        "keep-stale-mark",
        Bug::Engine(InEngine::KeepStaleMark),
        "the digest of the present frontier is kept when the frontier moves",
        "sync/engine/src/engine.rs",
        1,
    ),
    bug(
        "skip-lane-of-grant",
        Bug::Engine(InEngine::SkipLaneOfGrant),
        "a member may write lanes that its grant does not name",
        "sync/engine/src/trust.rs",
        4,
    ),
    bug(
        "skip-window",
        Bug::Engine(InEngine::SkipWindow),
        "runs are loaded and sent whatever the transport still holds",
        "sync/engine/src/send.rs",
        58,
    ),
    bug(
        "trust-clock",
        Bug::Domain(InDomain::TrustClock),
        "a change made in 1970, by its author's clock, is taken for invalid",
        "domain/src/document/valid.rs",
        1,
    ),
    bug(
        "drop-pending",
        Bug::Domain(InDomain::DropPending),
        "a change that waits for a dependency is forgotten when its document leaves memory",
        "domain/src/document/mod.rs",
        13,
    ),
    bug(
        "apply-twice",
        Bug::Domain(InDomain::ApplyTwice),
        "a change that waited and was applied goes on waiting, and is applied again",
        "domain/src/document/ingest.rs",
        1,
    ),
    bug(
        "forget-quarantine",
        Bug::Domain(InDomain::ForgetQuarantine),
        "a document that comes back into memory does not know what of it was refused",
        "domain/src/document/mod.rs",
        4,
    ),
    bug(
        "any-actor",
        Bug::Domain(InDomain::AnyActor),
        "a change may name another author's actor",
        "domain/src/document/ingest.rs",
        2,
    ),
    bug(
        "two-of-one-number",
        Bug::Domain(InDomain::ReusedSequence),
        "the second change with one sequence number is applied too",
        "domain/src/document/ingest.rs",
        6,
    ),
];

/// The one with that name.
pub fn named(name: &str) -> Option<&'static Described> {
    ALL.iter().find(|described| described.name == name)
}

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Whether this build has the switches.
pub const POSSIBLE: bool = cfg!(debug_assertions);

/// Whether this mistake of a shell is planted.
pub(crate) fn is(mistake: InShell) -> bool {
    POSSIBLE && PLANTED.get() == Some(Bug::Shell(mistake))
}

/// Plants a bug in this thread, and takes it out again when this goes out of scope.
pub(crate) struct Planting {
    before: Option<Bug>,
}

impl Planting {
    pub(crate) fn of(bug: Option<Bug>) -> Self {
        let before = PLANTED.replace(bug);
        plant(bug);
        Self { before }
    }
}

impl Drop for Planting {
    fn drop(&mut self) {
        PLANTED.set(self.before);
        plant(self.before);
    }
}

#[cfg(debug_assertions)]
fn plant(bug: Option<Bug>) {
    let in_engine = bug.and_then(|bug| match bug {
        Bug::Engine(planted) => Some(planted),
        Bug::Domain(_) | Bug::Shell(_) => None,
    });
    let in_domain = bug.and_then(|bug| match bug {
        Bug::Domain(planted) => Some(planted),
        Bug::Engine(_) | Bug::Shell(_) => None,
    });
    sync_engine::planted::plant(in_engine);
    domain::planted::plant(in_domain);
}

#[cfg(not(debug_assertions))]
fn plant(_bug: Option<Bug>) {}

/// Runs `f` without any planted bug: for the model, which must not believe what it is to find.
pub(crate) fn without<T>(f: impl FnOnce() -> T) -> T {
    let _none = Planting::of(None);
    f()
}
