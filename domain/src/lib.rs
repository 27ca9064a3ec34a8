//! The rules of Muster's domain: kinds of documents and facts, how they merge, what is a valid change, what a conflict
//! is, when a threshold rule raises, who may do what.
//!
//! Invariants: no IO, no clock, no randomness and no runtime in here: time and random bytes are arguments. This is the
//! only crate that knows automerge; nobody outside sees one of its types. Equal inputs give equal outputs on every node.

pub mod document;
pub mod facts;
pub mod ids;
pub mod permissions;
#[doc(hidden)]
pub mod planted;
pub mod rules;
pub mod schema;

pub use document::{
    Author, ConflictValue, Document, DocumentError, EditError, Edited, FieldConflict, Incoming,
    Ingested, Outcome, Pending, QuarantineReason, Refused, ResolvedConflict, Settled, Stamp,
    Stored, Version, View, change_hash,
};
pub use ids::RecordId;
pub use schema::{
    Edit, FactKind, FieldError, FieldSpec, Kind, KindSpec, Merge, ValueSpec, check_create,
    check_node_fields, check_patch, check_resolution, spec,
};
