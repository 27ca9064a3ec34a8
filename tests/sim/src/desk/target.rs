//! What an entry is for: the rules of `node`'s document worker, in short.
//!
//! Invariant: the answer depends on the entry and its log alone, so every node gives the same one.

use domain::{FactKind, Kind, RecordId};
use sync_engine::{Entry, EntryKind, GroupId, Lane, LogId, Payload, TrustRecord};

use crate::planted::{self, InShell};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A change of an incident.
    Change(RecordId),
    /// A note.
    Fact(RecordId),
    /// Stored and passed on, nothing else: trust records, sealed entries, kinds of later versions.
    Carried,
    /// In quarantine on every node.
    Refused(&'static str),
}

/// What the entry is for.
pub fn target(log: &LogId, entry: &Entry) -> Target {
    let Entry { header, payload } = entry;
    let Payload::Plain(bytes) = payload else {
        return Target::Carried;
    };
    if header.kind < EntryKind::FIRST_OPAQUE {
        return match TrustRecord::decode(header.kind, bytes) {
            Ok(_) if log.lane == Lane::Trust => Target::Carried,
            Ok(_) => Target::Refused("this kind belongs into lane 0"),
            Err(_) => Target::Refused("no trust record"),
        };
    }
    let id = RecordId(header.object.0);
    let (lane, target) = if header.kind.0 == Kind::Incident.spec().code {
        (Kind::Incident.spec().lane, Target::Change(id))
    } else if header.kind.0 == FactKind::Note.code() {
        (FactKind::Note.lane(), Target::Fact(id))
    } else if planted::is(InShell::RefuseUnknownKinds) {
        return Target::Refused("a kind that nobody knows");
    } else {
        return Target::Carried;
    };
    if u8::from(log.lane) != lane {
        return Target::Refused("this kind belongs into another lane");
    }
    if !domain::ids::fits_kind(id, header.kind.0) {
        return Target::Refused("the id is not one of this kind");
    }
    if matches!(target, Target::Fact(_)) && !domain::ids::fits_author(id, &log.author.0) {
        return Target::Refused("the id is another author's");
    }
    if log.group != GroupId::SHARED {
        return Target::Refused("only what is for everybody is not sealed");
    }
    target
}

/// An entry that is not carried or refused, with its payload.
pub fn change_in(log: &LogId, entry_bytes: &[u8]) -> Option<(Target, Vec<u8>)> {
    let entry = Entry::decode(entry_bytes).ok()?;
    let target = target(log, &entry);
    match (target, entry.payload) {
        (target @ (Target::Change(_) | Target::Fact(_)), Payload::Plain(bytes)) => {
            Some((target, bytes))
        }
        _ => None,
    }
}
