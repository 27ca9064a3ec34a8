//! The walls between the parts of Muster, as rules that a test checks.
//!
//! A wall is what lets a reader believe a sentence such as "nothing in `domain` knows the time" without reading all of
//! it. Two kinds of rules exist: which crate may depend on which ([`edges`], from `cargo metadata`), and which paths a
//! source file may name ([`sources`], from its tokens). What is compiled for tests only is exempt, except where a rule
//! says otherwise.
//!
//! Invariant: each rule has a planted violation in its tests, so that none of them can stop working unnoticed.

pub mod edges;
pub mod rust;
pub mod sources;

use std::fmt;

/// One broken wall.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// Crate or `file:line`.
    pub place: String,
    /// What is there.
    pub found: String,
    /// Why it must not be there.
    pub wall: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.place, self.found, self.wall)
    }
}
