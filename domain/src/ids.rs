//! Ids: UUIDv7 for what people create, UUIDv8 from a hash for what several nodes must give one id (RFC 9562).
//!
//! Invariant: an id made from a hash depends on nothing but the named inputs, so every node makes the same one.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::Kind;

/// The id of a document or fact.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub [u8; 16]);

/// A text that is no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id: a UUID as in 01935f2e-8c6a-7c1e-9d3b-2f4a5b6c7d8e is expected")]
pub struct RecordIdError;

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_bytes(self.0).hyphenated().fmt(f)
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RecordId {
    type Err = RecordIdError;

    /// Only the hyphenated form: one document must not have several spellings in URLs.
    fn from_str(text: &str) -> Result<Self, RecordIdError> {
        if text.len() != 36 {
            return Err(RecordIdError);
        }
        Uuid::try_parse(text)
            .map(|id| RecordId(id.into_bytes()))
            .map_err(|_| RecordIdError)
    }
}

impl From<[u8; 16]> for RecordId {
    fn from(bytes: [u8; 16]) -> Self {
        RecordId(bytes)
    }
}

/// Where an id names the kind it was made for (the low byte of `rand_a` in a UUIDv7, free in a UUIDv8).
const KIND_BYTE: usize = 7;

/// The mark of a kind in its ids: the class of its code and its number within it.
fn kind_mark(code: u16) -> u8 {
    ((code >> 8) as u8) << 6 | (code as u8 & 0x3f)
}

/// Whether an id may belong to a kind with that code. An id carries its kind, so that no entry can claim an id for
/// another kind than the first did, whatever arrives first.
pub fn fits_kind(id: RecordId, code: u16) -> bool {
    id.0[KIND_BYTE] == kind_mark(code)
}

/// A new id (UUIDv7) for a kind with that code, from the wall clock in milliseconds and fresh random bytes.
pub fn new_id(code: u16, wall_ms: u64, random: &[u8; 10]) -> RecordId {
    let mut bytes = uuid::Builder::from_unix_timestamp_millis(wall_ms, random)
        .into_uuid()
        .into_bytes();
    bytes[KIND_BYTE] = kind_mark(code);
    RecordId(bytes)
}

/// A new id (UUIDv7) for a fact of a kind with that code, written by `author`. Nobody edits a fact, so its id carries a
/// mark of who may write it: whoever sees the id cannot put another fact under it.
pub fn new_fact_id(code: u16, author: &[u8; 32], wall_ms: u64, random: &[u8; 10]) -> RecordId {
    let mut id = new_id(code, wall_ms, random);
    let mark = author_mark(&id, author);
    id.0[AUTHOR_MARK..].copy_from_slice(&mark);
    id
}

/// The id (UUIDv8) of a fact of a kind with that code, written by `author`, from a hash over what makes it one: doing it
/// twice makes one. Of two authors who write down the same thing, the first [`SHARED_BYTES`] are the same.
pub fn hashed_fact_id(code: u16, author: &[u8; 32], hasher: &blake3::Hasher) -> RecordId {
    let mut id = hashed_id(code, hasher);
    let mark = author_mark(&id, author);
    id.0[AUTHOR_MARK..].copy_from_slice(&mark);
    id
}

/// Whether a fact with that id may be written by that author (a node's key).
pub fn fits_author(id: RecordId, author: &[u8; 32]) -> bool {
    id.0[AUTHOR_MARK..] == author_mark(&id, author)
}

/// Where the id of a fact holds the mark of its author: four bytes, which a member with one key meets once in four
/// thousand million ids.
const AUTHOR_MARK: usize = 12;

/// How much of an id made by [`hashed_fact_id`] does not depend on its author: 88 bits of the hash.
pub const SHARED_BYTES: usize = AUTHOR_MARK;

fn author_mark(id: &RecordId, author: &[u8; 32]) -> [u8; 4] {
    let mut hasher = blake3::Hasher::new_derive_key("muster 2026 fact id author v1");
    hasher.update(&id.0[..AUTHOR_MARK]);
    hasher.update(author);
    let mut mark = [0; 4];
    mark.copy_from_slice(&hasher.finalize().as_bytes()[..4]);
    mark
}

/// The id (UUIDv8) of a document that is known by its name: devices and users.
pub fn stable_id(operation: &[u8; 32], kind: Kind, name: &str) -> RecordId {
    let mut hasher = blake3::Hasher::new_derive_key("muster 2026 stable document id v1");
    hasher.update(operation);
    hasher.update(&kind.spec().code.to_le_bytes());
    hasher.update(name.as_bytes());
    hashed_id(kind.spec().code, &hasher)
}

/// An id (UUIDv8) for a kind with that code from a hash over what makes the record one: doing it twice makes one.
pub fn hashed_id(code: u16, hasher: &blake3::Hasher) -> RecordId {
    let mut id = from_hash(hasher);
    id.0[KIND_BYTE] = kind_mark(code);
    id
}

/// A UUIDv8 from a hash: 122 bits of it.
pub(crate) fn from_hash(hasher: &blake3::Hasher) -> RecordId {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    RecordId(
        uuid::Builder::from_custom_bytes(bytes)
            .into_uuid()
            .into_bytes(),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_new_id_is_version_7_and_sorts_by_time() {
        let early = new_id(0x0101, 1_700_000_000_000, &[0xff; 10]);
        let late = new_id(0x0101, 1_700_000_000_001, &[0; 10]);
        assert!(early < late);
        assert_eq!(Uuid::from_bytes(early.0).get_version_num(), 7);
    }

    #[test]
    fn an_id_tells_which_kind_it_was_made_for() {
        let id = new_id(Kind::Incident.spec().code, 1_700_000_000_000, &[0xff; 10]);
        for kind in Kind::all() {
            assert_eq!(
                fits_kind(id, kind.spec().code),
                kind == Kind::Incident,
                "{kind:?}"
            );
            assert!(fits_kind(stable_id(&[3; 32], kind, "x"), kind.spec().code));
        }
        assert!(!fits_kind(id, crate::FactKind::Note.code()));
    }

    #[test]
    fn a_fact_id_is_its_authors_alone() {
        let code = crate::FactKind::Note.code();
        let id = new_fact_id(code, &[1; 32], 1_700_000_000_000, &[0xff; 10]);
        assert_eq!(Uuid::from_bytes(id.0).get_version_num(), 7);
        assert!(fits_kind(id, code));
        assert!(fits_author(id, &[1; 32]));
        assert!(!fits_author(id, &[2; 32]));
        let other = new_fact_id(code, &[1; 32], 1_700_000_000_000, &[0; 10]);
        assert_ne!(id, other);
    }

    #[test]
    fn what_two_authors_write_down_is_recognised_as_one_thing() {
        let code = crate::FactKind::Message.code();
        let mut hasher = blake3::Hasher::new_derive_key("test");
        hasher.update(b"radio-1 says hello");
        let (a, b) = (
            hashed_fact_id(code, &[1; 32], &hasher),
            hashed_fact_id(code, &[2; 32], &hasher),
        );
        assert_eq!(a, hashed_fact_id(code, &[1; 32], &hasher));
        assert!(fits_author(a, &[1; 32]) && fits_author(b, &[2; 32]));
        assert!(fits_kind(a, code) && a != b);
        assert_eq!(a.0[..SHARED_BYTES], b.0[..SHARED_BYTES]);
        assert_eq!(Uuid::from_bytes(a.0).get_version_num(), 8);
    }

    #[test]
    fn a_name_gives_one_id_per_operation_and_kind() {
        let id = stable_id(&[1; 32], Kind::Device, "gauge-1");
        assert_eq!(id, stable_id(&[1; 32], Kind::Device, "gauge-1"));
        assert_ne!(id, stable_id(&[2; 32], Kind::Device, "gauge-1"));
        assert_ne!(id, stable_id(&[1; 32], Kind::User, "gauge-1"));
        assert_eq!(Uuid::from_bytes(id.0).get_version_num(), 8);
        // Stored in logs: this value may never change.
        assert_eq!(id.to_string(), "d6fa80c0-7528-8244-8677-fb4fd3765bfb");
    }

    #[test]
    fn only_the_hyphenated_form_is_an_id() {
        let id = new_id(0x0101, 1_700_000_000_000, &[7; 10]);
        assert_eq!(id.to_string().parse::<RecordId>().unwrap(), id);
        for text in [
            "",
            "x",
            "01935f2e8c6a7c1e9d3b2f4a5b6c7d8e",
            "{01935f2e-8c6a-7c1e-9d3b-2f4a5b6c7d8e}",
        ] {
            assert!(text.parse::<RecordId>().is_err(), "{text}");
        }
    }
}
