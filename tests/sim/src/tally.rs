//! How often each fault and each phase of the engine occurred: a campaign in which one never did proves nothing about it.
//!
//! Invariant: every name that is counted stands in [`FAULTS`] or [`PHASES`], and a campaign has to meet each of them.

use std::collections::BTreeMap;

/// What the world does to the nodes.
pub const FAULTS: &[&str] = &[
    "network: packet lost",
    "network: packet out of order",
    "network: packet twice",
    "network: link cut both ways",
    "network: link cut one way",
    "network: idle timeout at the end that hears nothing",
    "network: connection reset",
    "network: both ends dialled",
    "network: quality changed",
    "disk: full",
    "disk: unreadable",
    "disk: slow",
    "disk: unsynced commit lost in a crash",
    "disk: commit survived a crash without an answer",
    "clock: small step",
    "clock: back",
    "clock: ahead",
    "clock: 1970",
    "clock: 2106",
    "node: crash",
    "node: restart",
    "node: joined late",
    "node: grant written late",
    "node: marks lost in a crash",
    "node: document dropped from memory",
    "node: edit of an old version",
    "hostile: signature forged",
    "hostile: chain forged",
    "hostile: packed run spoilt",
    "hostile: old frame again",
    "hostile: acknowledgement withheld",
    "hostile: run withheld",
    "hostile: flood",
    "hostile: frame too long",
    "hostile: decompression bomb",
    "hostile: garbage",
    "hostile: run on another lane's stream",
    "hostile: lane without a grant",
    "hostile: lie about heights",
    "hostile: another operation",
    "hostile: stranger",
    "hostile: foreign actor",
    "hostile: unknown object",
    "hostile: unknown predecessor",
    "hostile: counter at its maximum",
    "hostile: sequence used twice",
    "hostile: change of another kind",
    "hostile: bytes that are no change",
    "hostile: change in the wrong lane",
    "hostile: fact under another author's id",
    "hostile: change on a quarantined one",
    "hostile: change on one that never comes",
];

/// Where the engine and the documents went.
pub const PHASES: &[&str] = &[
    "phase: greeting",
    "phase: live",
    "phase: away",
    "close: other operation",
    "close: not a member",
    "close: bad frame",
    "close: bad run",
    "close: author",
    "close: storage fault",
    "close: superseded",
    "close: busy",
    "engine: duplicate run dropped",
    "engine: gap asked for again",
    "engine: run waited for its author",
    "engine: batch refused by the store",
    "engine: load gave nothing",
    "engine: newest protocol",
    "engine: older protocol",
    "engine: mark agreed on",
    "engine: proof made",
    "engine: proof equal",
    "engine: proof void",
    "engine: greeting by what moved",
    "engine: packed run sent",
    "engine: plain run sent",
    "engine: reference looked up on the disk",
    "engine: reference unknown, run asked for plain",
    "engine: rebuilt run was not what its author signed",
    "document: change applied at once",
    "document: change waited",
    "document: waiting change settled",
    "document: change quarantined",
    "document: fact kept",
    "document: conflict open at the end",
    "interest: group",
    "interest: lane on request",
];

/// Counts by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    /// It happened.
    pub fn note(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    /// It happened that often.
    pub fn add(&mut self, what: &'static str, times: u64) {
        debug_assert!(
            FAULTS.contains(&what) || PHASES.contains(&what),
            "{what} is in neither list"
        );
        if times > 0 {
            *self.0.entry(what).or_default() += times;
        }
    }

    /// How often it happened.
    pub fn count(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// Adds another run's counts.
    pub fn merge(&mut self, other: &Self) {
        for (what, times) in &other.0 {
            *self.0.entry(what).or_default() += times;
        }
    }

    /// What never happened.
    pub fn missing(&self) -> Vec<&'static str> {
        let all = FAULTS.iter().chain(PHASES);
        all.filter(|what| self.count(what) == 0).copied().collect()
    }
}
