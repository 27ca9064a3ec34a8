//! The hash chain of a log and the signatures over its heads.
//!
//! chain(n) = H(log, n, chain(n-1), H(entry n)) over the stored bytes, with chain(0) = zeros. The author signs
//! (log, n, chain(n)) at each commit and, within one, before more than [`UNSIGNED_BYTES_MAX`] unsigned bytes would
//! stand in a row; an entry that is larger has a signature of its own. [`LogTail`] is pure: the store's writer calls it
//! inside its transaction.

use std::sync::LazyLock;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::ids::{ChainHash, EntryHash, HeadSignature, LogId, NodeId, Seq};

/// Signatures stand at most this many entry bytes apart, so that runs can be cut small for thin links.
pub const UNSIGNED_BYTES_MAX: usize = 4096;

/// Separates head signatures from everything else that a node key signs.
const HEAD_CONTEXT: &[u8] = b"muster head signature 1\0";

static ENTRY_HASHER: LazyLock<blake3::Hasher> =
    LazyLock::new(|| blake3::Hasher::new_derive_key("muster 2026 entry hash 1"));
static CHAIN_HASHER: LazyLock<blake3::Hasher> =
    LazyLock::new(|| blake3::Hasher::new_derive_key("muster 2026 chain hash 1"));

/// BLAKE3 of an entry's stored bytes, in a domain of its own.
pub fn entry_hash(entry_bytes: &[u8]) -> EntryHash {
    let mut hasher = ENTRY_HASHER.clone();
    hasher.update(entry_bytes);
    EntryHash(*hasher.finalize().as_bytes())
}

/// The chain hash at `seq`, from the one before it and the entry there.
pub fn chain_next(log: &LogId, seq: Seq, previous: ChainHash, entry: EntryHash) -> ChainHash {
    let mut hasher = CHAIN_HASHER.clone();
    hasher.update(&log.to_bytes());
    hasher.update(&seq.0.to_le_bytes());
    hasher.update(&previous.0);
    hasher.update(&entry.0);
    ChainHash(*hasher.finalize().as_bytes())
}

fn head_message(log: &LogId, seq: Seq, chain: ChainHash) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEAD_CONTEXT.len() + 57 + 8 + 32);
    message.extend_from_slice(HEAD_CONTEXT);
    message.extend_from_slice(&log.to_bytes());
    message.extend_from_slice(&seq.0.to_le_bytes());
    message.extend_from_slice(&chain.0);
    message
}

/// The author's public key, ready to check signatures with; `None` when the id is no point on the curve.
pub(crate) fn verifying_key(author: &NodeId) -> Option<VerifyingKey> {
    VerifyingKey::from_bytes(&author.0).ok()
}

pub(crate) fn verify_head_with(
    key: &VerifyingKey,
    log: &LogId,
    seq: Seq,
    chain: ChainHash,
    signature: &HeadSignature,
) -> bool {
    // Strict: every node must give the same verdict on the same bytes.
    key.verify_strict(
        &head_message(log, seq, chain),
        &Signature::from_bytes(&signature.0),
    )
    .is_ok()
}

/// Whether `signature` is the author's over the head (`seq`, `chain`) of `log` (RFC 8032, strict).
pub fn verify_head(log: &LogId, seq: Seq, chain: ChainHash, signature: &HeadSignature) -> bool {
    verifying_key(&log.author).is_some_and(|key| verify_head_with(&key, log, seq, chain, signature))
}

/// The newest entry of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Head {
    /// Its place; [`Seq::NONE`] in an empty log.
    pub seq: Seq,
    /// The chain hash there.
    pub chain: ChainHash,
}

impl Head {
    /// The head of an empty log.
    pub const EMPTY: Self = Self {
        seq: Seq::NONE,
        chain: ChainHash::ZERO,
    };
}

/// What appending one entry gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pushed {
    /// The entry's place.
    pub seq: Seq,
    /// The chain hash there.
    pub chain: ChainHash,
    /// The signature that the entry *before* this one has to carry, as otherwise too many bytes would stand unsigned.
    pub sign_before: Option<(Seq, HeadSignature)>,
}

/// The end of one of our own logs, while entries are appended to it.
#[derive(Debug, Clone)]
pub struct LogTail {
    log: LogId,
    head: Head,
    /// Entry bytes since the newest signature; zero when the head is signed.
    unsigned_bytes: usize,
}

impl LogTail {
    /// The tail of an empty log.
    pub const fn start(log: LogId) -> Self {
        Self {
            log,
            head: Head::EMPTY,
            unsigned_bytes: 0,
        }
    }

    /// Goes on behind a stored head. `unsigned_bytes` is 0 when that head is signed, as every committed one is.
    pub const fn resume(log: LogId, seq: Seq, chain: ChainHash, unsigned_bytes: usize) -> Self {
        Self {
            log,
            head: Head { seq, chain },
            unsigned_bytes,
        }
    }

    /// Appends one encoded entry. The caller stores `sign_before` beside the previous entry.
    pub fn push(&mut self, entry_bytes: &[u8], key: &SigningKey) -> Pushed {
        let grown = self.unsigned_bytes.saturating_add(entry_bytes.len());
        let sign_before = if grown > UNSIGNED_BYTES_MAX {
            self.seal(key)
        } else {
            None
        };
        let seq = self.head.seq.next();
        let chain = chain_next(&self.log, seq, self.head.chain, entry_hash(entry_bytes));
        self.head = Head { seq, chain };
        // An entry without bytes cannot be decoded by anyone, yet its head still has to be signed.
        self.unsigned_bytes += entry_bytes.len().max(1);
        Pushed {
            seq,
            chain,
            sign_before,
        }
    }

    /// Signs the head, at each commit; `None` when it is signed already.
    pub fn seal(&mut self, key: &SigningKey) -> Option<(Seq, HeadSignature)> {
        if self.unsigned_bytes == 0 {
            return None;
        }
        self.unsigned_bytes = 0;
        let message = head_message(&self.log, self.head.seq, self.head.chain);
        Some((self.head.seq, HeadSignature(key.sign(&message).to_bytes())))
    }

    /// The newest entry.
    pub const fn head(&self) -> Head {
        self.head
    }

    /// The log this is the end of.
    pub const fn log(&self) -> &LogId {
        &self.log
    }

    /// Entry bytes since the newest signature.
    pub const fn unsigned_bytes(&self) -> usize {
        self.unsigned_bytes
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::ids::{GroupId, Incarnation, Lane};

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[5; 32])
    }

    fn log() -> LogId {
        LogId {
            author: NodeId(key().verifying_key().to_bytes()),
            incarnation: Incarnation(1),
            group: GroupId::SHARED,
            lane: Lane::Life,
        }
    }

    #[test]
    fn a_commit_is_sealed_once_and_its_signature_verifies() {
        let mut tail = LogTail::start(log());
        let pushed = tail.push(b"one", &key());
        assert_eq!((pushed.seq, pushed.sign_before), (Seq(1), None));
        let (seq, signature) = tail.seal(&key()).unwrap();
        assert!(verify_head(&log(), seq, pushed.chain, &signature));
        assert!(!verify_head(&log(), Seq(2), pushed.chain, &signature));
        assert_eq!(tail.seal(&key()), None);
    }

    #[test]
    fn signatures_never_stand_more_than_4_kib_apart() {
        let mut tail = LogTail::start(log());
        let mut unsigned = 0;
        for _ in 0..100 {
            let pushed = tail.push(&[1; 300], &key());
            unsigned = if pushed.sign_before.is_some() {
                300
            } else {
                unsigned + 300
            };
            assert!(unsigned <= UNSIGNED_BYTES_MAX);
        }
        // A large entry is signed by itself: the head before it is sealed first, it is sealed before the next.
        assert!(tail.push(&[1; 9_000], &key()).sign_before.is_some());
        assert!(tail.push(&[1], &key()).sign_before.is_some());
    }

    #[test]
    fn a_resumed_tail_continues_the_same_chain() {
        let mut whole = LogTail::start(log());
        let first = whole.push(b"one", &key());
        let mut resumed = LogTail::resume(log(), first.seq, first.chain, 3);
        assert_eq!(whole.push(b"two", &key()), resumed.push(b"two", &key()));
    }
}
