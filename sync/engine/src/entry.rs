//! One appended record: a clear header and a payload that is plain or sealed.
//!
//! What is chained and hashed are the bytes that [`Entry::encode`] made, as they are stored: nobody re-encodes an entry
//! of another author, so that a later version may add payload forms without breaking a chain.

use serde::{Deserialize, Serialize};

use crate::clock::HybridTime;
use crate::ids::{EntryKind, ObjectId, byte_vec};

/// The longest encoded entry. An edit that does not fit is refused to the person who makes it; two of the largest fit
/// one run.
pub const ENTRY_BYTES_MAX: usize = 32 * 1024;

/// Bytes that are no entry, or an entry that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Longer than [`ENTRY_BYTES_MAX`].
    #[error("entry of {bytes} bytes, at most {ENTRY_BYTES_MAX} are allowed")]
    TooLarge {
        /// How long it is.
        bytes: usize,
    },
    /// The bytes are no encoding of an entry.
    #[error("malformed entry")]
    Malformed,
}

/// What carriers see of every entry, sealed or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryHeader {
    /// When its author says it was made; shown, never ordered by.
    pub time: HybridTime,
    /// The user on whose behalf the node wrote it, if any.
    pub user: Option<[u8; 16]>,
    /// What the payload is.
    pub kind: EntryKind,
    /// The document or fact it belongs to.
    pub object: ObjectId,
}

/// An entry's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// Readable by every node (group `shared`).
    Plain(#[serde(with = "byte_vec")] Vec<u8>),
    /// Readable by holders of the key. Sealed before it is chained, so that any node can verify and carry it.
    Sealed {
        /// The key that opens it.
        key_id: [u8; 16],
        /// The nonce it was sealed with.
        nonce: [u8; 24],
        /// Compressed, then sealed.
        #[serde(with = "byte_vec")]
        ciphertext: Vec<u8>,
    },
}

/// One record of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What everyone sees.
    pub header: EntryHeader,
    /// What it says.
    pub payload: Payload,
}

impl Entry {
    /// The bytes that are stored, hashed and sent.
    ///
    /// # Errors
    /// [`EntryError::TooLarge`] above [`ENTRY_BYTES_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>, EntryError> {
        let bytes = postcard::to_allocvec(self).map_err(|_| EntryError::Malformed)?;
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(EntryError::TooLarge { bytes: bytes.len() });
        }
        Ok(bytes)
    }

    /// Reads an entry back.
    ///
    /// # Errors
    /// [`EntryError`] when the bytes are too many, are no entry, or go on after one.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(EntryError::TooLarge { bytes: bytes.len() });
        }
        match postcard::take_from_bytes(bytes) {
            Ok((entry, [])) => Ok(entry),
            _ => Err(EntryError::Malformed),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn entry(payload: Payload) -> Entry {
        Entry {
            header: EntryHeader {
                time: HybridTime {
                    wall_ms: 1_700_000_000_000,
                    logical: 3,
                },
                user: Some([9; 16]),
                kind: EntryKind(0x0101),
                object: ObjectId([4; 16]),
            },
            payload,
        }
    }

    #[test]
    fn plain_and_sealed_entries_read_back() {
        for payload in [
            Payload::Plain(vec![1, 2, 3]),
            Payload::Sealed {
                key_id: [1; 16],
                nonce: [2; 24],
                ciphertext: vec![3; 40],
            },
        ] {
            let entry = entry(payload);
            assert_eq!(Entry::decode(&entry.encode().unwrap()), Ok(entry));
        }
    }

    #[test]
    fn bytes_after_an_entry_and_oversized_entries_are_refused() {
        let mut bytes = entry(Payload::Plain(vec![1])).encode().unwrap();
        bytes.push(0);
        assert_eq!(Entry::decode(&bytes), Err(EntryError::Malformed));
        let large = entry(Payload::Plain(vec![0; ENTRY_BYTES_MAX]));
        assert!(matches!(large.encode(), Err(EntryError::TooLarge { .. })));
    }
}
