//! A run: contiguous entries of one log with a head signature at the end, the unit that travels.
//!
//! Invariants: a [`VerifiedRun`] exists only after its whole chain was recomputed and every signature in it checked
//! against its author's key; anyone may join neighbouring runs and cut them at the signatures inside, because those
//! stand at most [`UNSIGNED_BYTES_MAX`] entry bytes apart (or around one larger entry).
//!
//! On the wire: one flag byte (0 plain, 1 zstd), then the postcard body, at most [`RUN_BYTES_MAX`] decompressed.

use serde::{Deserialize, Serialize};

use crate::chain::{
    Head, UNSIGNED_BYTES_MAX, chain_next, entry_hash, verify_head_with, verifying_key,
};
use crate::dictionary::is_one_frame;
use crate::entry::ENTRY_BYTES_MAX;
use crate::ids::{ChainHash, EntryHash, HeadSignature, LogId, Seq, byte_vec};
use crate::planted::{self, Planted};

/// The longest body of a run, decompressed, bytes: what one frame may make a receiver hold at once.
pub const RUN_BYTES_MAX: usize = 64 * 1024;

/// The most signatures in one run: checking one costs as much as hashing 100 KB, and a builder that keeps no more than
/// it must needs two per 4 KiB.
pub const SIGNATURES_MAX: usize = 40;

/// The most entries in one run. The smallest entry that says anything takes 22 bytes, so that honest runs stay below; only
/// a log of empty entries would make more, and each costs whoever unpacks it some hundred bytes.
pub const RUN_ENTRIES_MAX: usize = 4096;

/// Below this many bytes a body is not worth compressing: signatures and keys, which are random, are most of it.
const COMPRESS_BYTES_MIN: usize = 256;

/// Fast, and within a few percent of the slower levels on runs of this size.
const ZSTD_LEVEL: i32 = 3;

const FLAG_PLAIN: u8 = 0;
const FLAG_ZSTD: u8 = 1;

/// Body bytes besides entries and signatures: log, first, previous chain hash, two counts.
const BODY_FIXED_BYTES: usize = 57 + 10 + 32 + 3 + 3;
/// Body bytes of one signature: its offset and itself.
const BODY_SIGNATURE_BYTES: usize = 3 + 64;

/// Bytes that are no run, or a run that does not hold together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// Longer than [`RUN_BYTES_MAX`] once decompressed, or an entry longer than [`ENTRY_BYTES_MAX`].
    #[error("run or entry too large")]
    TooLarge,
    /// The bytes are no encoding of a run.
    #[error("malformed run")]
    Malformed,
    /// No entries, no signature at the last one, signatures out of order, too many or too far apart.
    #[error("run is not built as a run must be: {0}")]
    Shape(&'static str),
    /// The author's id is no usable key.
    #[error("author is no usable key")]
    AuthorKey,
    /// A signature is not the author's over this chain: forged, altered, or another branch's.
    #[error("signature at entry {seq} does not verify")]
    Signature {
        /// Where it stands.
        seq: Seq,
    },
    /// The two runs are not neighbours in one log, or too long together.
    #[error("runs cannot be joined")]
    NotAdjacent,
    /// No signature is kept there, so that the part before it would be no run.
    #[error("run cannot be cut at entry {0}")]
    NoCut(Seq),
}

/// Contiguous entries of one log, not checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Which log.
    pub log: LogId,
    /// The place of the first entry; at least 1.
    pub first: Seq,
    /// The chain hash before the first entry.
    pub prev: ChainHash,
    /// The entries as stored, in order.
    pub entries: Vec<Vec<u8>>,
    /// Signatures kept, in order; the last stands at the last entry.
    pub signatures: Vec<(Seq, HeadSignature)>,
}

/// The postcard body: signatures carry their offset from the first entry, which is short.
#[derive(Serialize, Deserialize)]
struct Body {
    log: LogId,
    first: Seq,
    prev: ChainHash,
    #[serde(with = "byte_vecs")]
    entries: Vec<Vec<u8>>,
    signatures: Vec<(u32, HeadSignature)>,
}

#[derive(Serialize)]
struct BodyRef<'a> {
    log: &'a LogId,
    first: Seq,
    prev: &'a ChainHash,
    #[serde(serialize_with = "byte_vecs::serialize")]
    entries: &'a [Vec<u8>],
    signatures: Vec<(u32, HeadSignature)>,
}

impl Run {
    /// The place of the last entry; the one before `first` when there are none.
    pub fn last(&self) -> Seq {
        Seq(self
            .first
            .0
            .saturating_add(self.entries.len() as u64)
            .saturating_sub(1))
    }

    /// Bytes of all entries.
    pub fn entry_bytes(&self) -> usize {
        self.entries.iter().map(Vec::len).sum()
    }

    /// The bytes that travel: compressed as a whole when that helps.
    pub fn encode(&self) -> Vec<u8> {
        let body = BodyRef {
            log: &self.log,
            first: self.first,
            prev: &self.prev,
            entries: &self.entries,
            signatures: self
                .signatures
                .iter()
                .map(|(seq, signature)| {
                    let offset = seq.0.saturating_sub(self.first.0);
                    (u32::try_from(offset).unwrap_or(u32::MAX), *signature)
                })
                .collect(),
        };
        let mut bytes = Vec::with_capacity(1 + BODY_FIXED_BYTES + self.entry_bytes());
        bytes.push(FLAG_PLAIN);
        let bytes = postcard::to_extend(&body, bytes).expect("a run of vectors always encodes");
        if bytes.len() < COMPRESS_BYTES_MIN {
            return bytes;
        }
        match zstd::bulk::compress(&bytes[1..], ZSTD_LEVEL) {
            Ok(mut compressed) if compressed.len() + 1 < bytes.len() => {
                compressed.insert(0, FLAG_ZSTD);
                compressed
            }
            _ => bytes,
        }
    }

    /// Reads a run; nothing in it is checked yet, see [`Run::verify`].
    ///
    /// # Errors
    /// [`RunError::TooLarge`] or [`RunError::Malformed`]; hostile bytes take no more than [`RUN_BYTES_MAX`] to unpack.
    pub fn decode(bytes: &[u8]) -> Result<Self, RunError> {
        let (flag, packed) = bytes.split_first().ok_or(RunError::Malformed)?;
        let body: Body = match *flag {
            FLAG_PLAIN if packed.len() > RUN_BYTES_MAX => return Err(RunError::TooLarge),
            FLAG_PLAIN => decode_body(packed)?,
            FLAG_ZSTD if !is_one_frame(packed) => return Err(RunError::Malformed),
            FLAG_ZSTD => decode_body(
                &zstd::bulk::decompress(packed, RUN_BYTES_MAX).map_err(|_| RunError::TooLarge)?,
            )?,
            _ => return Err(RunError::Malformed),
        };
        let signatures = body
            .signatures
            .into_iter()
            .map(|(offset, signature)| {
                (
                    Seq(body.first.0.saturating_add(u64::from(offset))),
                    signature,
                )
            })
            .collect();
        Ok(Self {
            log: body.log,
            first: body.first,
            prev: body.prev,
            entries: body.entries,
            signatures,
        })
    }

    /// Recomputes the chain and checks every signature against the author's key.
    ///
    /// # Errors
    /// [`RunError`]; the run is of no use then, and nothing of it was believed.
    pub fn verify(self) -> Result<VerifiedRun, RunError> {
        let checked = !planted::is(Planted::SkipSignature);
        self.verify_if(checked)
    }

    /// The same for a run that was put together here.
    pub(crate) fn verify_rebuilt(self) -> Result<VerifiedRun, RunError> {
        let checked = !planted::is(Planted::BelieveRebuilt);
        self.verify_if(checked)
    }

    fn verify_if(self, checked: bool) -> Result<VerifiedRun, RunError> {
        self.check_shape()?;
        let last = self.last();
        let key = verifying_key(&self.log.author).ok_or(RunError::AuthorKey)?;
        let mut entries = Vec::with_capacity(self.entries.len());
        let mut chain = self.prev;
        let mut seq = self.first;
        for bytes in self.entries {
            let hash = entry_hash(&bytes);
            chain = chain_next(&self.log, seq, chain, hash);
            entries.push(VerifiedEntry {
                seq,
                bytes,
                hash,
                chain,
                signature: None,
            });
            seq = seq.next();
        }
        // The last one first: it vouches for every byte, and a forged run is refused after one check. The others are
        // checked because who cuts the run there later would be taken for a forger.
        for (at, signature) in self.signatures.iter().rev() {
            let index = usize::try_from(at.0 - self.first.0).map_err(|_| RunError::Malformed)?;
            let entry = entries.get_mut(index).ok_or(RunError::Malformed)?;
            let checked = checked && !(*at < last && planted::is(Planted::BelieveInnerSignatures));
            if checked && !verify_head_with(&key, &self.log, *at, entry.chain, signature) {
                return Err(RunError::Signature { seq: *at });
            }
            entry.signature = Some(*signature);
        }
        Ok(VerifiedRun {
            log: self.log,
            prev: self.prev,
            entries,
        })
    }

    fn check_shape(&self) -> Result<(), RunError> {
        let count = self.entries.len() as u64;
        if self.entries.is_empty() {
            return Err(RunError::Shape("no entries"));
        }
        if self.entries.len() > RUN_ENTRIES_MAX {
            return Err(RunError::Shape("too many entries"));
        }
        if self.first == Seq::NONE || self.first.0.checked_add(count).is_none() {
            return Err(RunError::Shape("first entry out of range"));
        }
        if self.first == Seq(1) && self.prev != ChainHash::ZERO {
            return Err(RunError::Shape("a chain hash before the first entry"));
        }
        if self
            .entries
            .iter()
            .any(|bytes| bytes.len() > ENTRY_BYTES_MAX)
            || BODY_FIXED_BYTES + self.entry_bytes() > RUN_BYTES_MAX
        {
            return Err(RunError::TooLarge);
        }
        if self.signatures.len() > SIGNATURES_MAX {
            return Err(RunError::Shape("too many signatures"));
        }
        if self.signatures.last().map(|(seq, _)| *seq) != Some(self.last()) {
            return Err(RunError::Shape("no signature at the last entry"));
        }
        let mut unsigned_from = self.first;
        for (seq, _) in &self.signatures {
            if *seq < unsigned_from {
                return Err(RunError::Shape("signatures out of order"));
            }
            let from = (unsigned_from.0 - self.first.0) as usize;
            let to = (seq.0 - self.first.0) as usize;
            let span = self.entries.get(from..=to).ok_or(RunError::Malformed)?;
            if span.len() > 1 && span.iter().map(Vec::len).sum::<usize>() > UNSIGNED_BYTES_MAX {
                return Err(RunError::Shape("signatures too far apart"));
            }
            unsigned_from = seq.next();
        }
        Ok(())
    }

    /// This run and the one right behind it, as one, with no more signatures than needed.
    ///
    /// # Errors
    /// [`RunError::NotAdjacent`] when they are no neighbours or do not fit one run.
    pub fn join(&self, next: &Self) -> Result<Self, RunError> {
        if self.log != next.log || self.last().next() != next.first {
            return Err(RunError::NotAdjacent);
        }
        let mut builder = RunBuilder::new(self.log, self.first, self.prev, RUN_BYTES_MAX);
        for run in [self, next] {
            let mut signatures = run.signatures.iter().peekable();
            for (bytes, seq) in run.entries.iter().zip(run.first.0..) {
                let signature = signatures.next_if(|(at, _)| at.0 == seq).map(|(_, s)| *s);
                if !builder.push(bytes.clone(), signature) {
                    return Err(RunError::NotAdjacent);
                }
            }
        }
        match builder.finish() {
            Some(joined) if joined.last() == next.last() => Ok(joined),
            _ => Err(RunError::NotAdjacent),
        }
    }

    /// Two runs: up to and with the entry at `seq`, and what follows.
    ///
    /// # Errors
    /// [`RunError::NoCut`] when no signature is kept there or nothing follows.
    pub fn cut_at(&self, seq: Seq) -> Result<(Self, Self), RunError> {
        let kept = self.signatures.iter().position(|(at, _)| *at == seq);
        let (Some(kept), true) = (kept, seq >= self.first && seq < self.last()) else {
            return Err(RunError::NoCut(seq));
        };
        let (left, right) = self.entries.split_at((seq.0 - self.first.0) as usize + 1);
        let (left_signatures, right_signatures) = self.signatures.split_at(kept + 1);
        let chain = left
            .iter()
            .zip(self.first.0..)
            .fold(self.prev, |chain, (bytes, at)| {
                chain_next(&self.log, Seq(at), chain, entry_hash(bytes))
            });
        let part = |first, prev, entries: &[Vec<u8>], signatures: &[(Seq, HeadSignature)]| Self {
            log: self.log,
            first,
            prev,
            entries: entries.to_vec(),
            signatures: signatures.to_vec(),
        };
        Ok((
            part(self.first, self.prev, left, left_signatures),
            part(seq.next(), chain, right, right_signatures),
        ))
    }
}

fn decode_body(bytes: &[u8]) -> Result<Body, RunError> {
    match postcard::take_from_bytes(bytes) {
        Ok((body, [])) => Ok(body),
        _ => Err(RunError::Malformed),
    }
}

/// Collects stored entries into one run: stops when it is full, keeps no more signatures than it must.
#[derive(Debug)]
pub struct RunBuilder {
    run: Run,
    bytes_max: usize,
    entry_bytes: usize,
    /// Entry bytes up to and with each kept signature's entry.
    signed_bytes: Vec<usize>,
}

impl RunBuilder {
    /// An empty run of `log` from `first`, with the chain hash before it. `bytes_max` is a wish: the run grows past it
    /// until a signature closes it, and never past [`RUN_BYTES_MAX`].
    pub fn new(log: LogId, first: Seq, prev: ChainHash, bytes_max: usize) -> Self {
        Self {
            run: Run {
                log,
                first,
                prev,
                entries: Vec::new(),
                signatures: Vec::new(),
            },
            bytes_max,
            entry_bytes: 0,
            signed_bytes: Vec::new(),
        }
    }

    /// Takes the next entry with the signature stored beside it; `false` when it does not fit (it was not taken).
    pub fn push(&mut self, entry_bytes: Vec<u8>, signature: Option<HeadSignature>) -> bool {
        let total = self.entry_bytes + entry_bytes.len();
        let body = BODY_FIXED_BYTES
            + total
            + 3 * (self.run.entries.len() + 1)
            + BODY_SIGNATURE_BYTES * (self.run.signatures.len() + 1);
        let full = body > RUN_BYTES_MAX
            || self.run.entries.len() == RUN_ENTRIES_MAX
            || body > self.bytes_max && !self.signed_bytes.is_empty();
        if full {
            return false;
        }
        self.entry_bytes = total;
        self.run.entries.push(entry_bytes);
        if let Some(signature) = signature {
            self.keep(signature);
        }
        true
    }

    /// Keeps the signature of the newest entry, and drops the one before it when the rest still stands close enough.
    fn keep(&mut self, signature: HeadSignature) {
        let kept = self.signed_bytes.len();
        let two_back = if kept >= 2 {
            self.signed_bytes[kept - 2]
        } else {
            0
        };
        if kept >= 1 && self.entry_bytes - two_back <= UNSIGNED_BYTES_MAX {
            self.run.signatures.pop();
            self.signed_bytes.pop();
        }
        self.run.signatures.push((self.run.last(), signature));
        self.signed_bytes.push(self.entry_bytes);
    }

    /// The run up to its last signature; `None` when there is none.
    pub fn finish(mut self) -> Option<Run> {
        let (last, _) = self.run.signatures.last()?;
        let count = usize::try_from(last.0 - self.run.first.0).ok()? + 1;
        self.run.entries.truncate(count);
        Some(self.run)
    }
}

/// One entry of a verified run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedEntry {
    /// Its place in the log.
    pub seq: Seq,
    /// The bytes to store.
    pub bytes: Vec<u8>,
    /// Their hash.
    pub hash: EntryHash,
    /// The chain hash up to and with it.
    pub chain: ChainHash,
    /// The author's signature over the head here, where one is kept.
    pub signature: Option<HeadSignature>,
}

/// Contiguous entries whose chain and signatures hold. Made only by [`Run::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedRun {
    log: LogId,
    prev: ChainHash,
    /// Never empty; the last one carries a signature.
    entries: Vec<VerifiedEntry>,
}

impl VerifiedRun {
    /// Which log.
    pub const fn log(&self) -> &LogId {
        &self.log
    }

    /// The place of the first entry.
    pub fn first(&self) -> Seq {
        self.entries.first().map_or(Seq::NONE, |entry| entry.seq)
    }

    /// The chain hash before the first entry.
    pub const fn prev(&self) -> ChainHash {
        self.prev
    }

    /// The last entry, as a head.
    pub fn head(&self) -> Head {
        self.entries.last().map_or(Head::EMPTY, |entry| Head {
            seq: entry.seq,
            chain: entry.chain,
        })
    }

    /// The entries in order; never empty.
    pub fn entries(&self) -> &[VerifiedEntry] {
        &self.entries
    }

    /// The entries by value, so that the store need not copy their bytes.
    pub fn into_entries(self) -> Vec<VerifiedEntry> {
        self.entries
    }

    /// Bytes of all entries.
    pub fn entry_bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.bytes.len()).sum()
    }

    /// The chain hash at `seq`, also right before the first entry; `None` outside of the run.
    pub fn chain_at(&self, seq: Seq) -> Option<ChainHash> {
        if seq.next() == self.first() {
            return Some(self.prev);
        }
        let index = usize::try_from(seq.0.checked_sub(self.first().0)?).ok()?;
        self.entries.get(index).map(|entry| entry.chain)
    }

    /// Drops the entries up to and with `seq`, which the receiver has already. `false`, and unchanged, when nothing
    /// would be left.
    pub(crate) fn trim_through(&mut self, seq: Seq) -> bool {
        let Some(count) = seq.next().0.checked_sub(self.first().0) else {
            return true;
        };
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let Some(chain) = self.chain_at(seq) else {
            return false;
        };
        if count >= self.entries.len() {
            return false;
        }
        self.entries.drain(..count);
        self.prev = chain;
        true
    }
}

/// serde of a list of byte vectors, each as one slice.
mod byte_vecs {
    use serde::de::{Error as _, SeqAccess, Visitor};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::byte_vec;

    struct Slice<'a>(&'a [u8]);

    impl Serialize for Slice<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            byte_vec::serialize(self.0, serializer)
        }
    }

    #[derive(Deserialize)]
    struct Bytes(#[serde(deserialize_with = "byte_vec::deserialize")] Vec<u8>);

    pub(super) fn serialize<S: Serializer>(
        entries: &[Vec<u8>],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(entries.iter().map(|bytes| Slice(bytes)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Vec<u8>>, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Vec<Vec<u8>>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("entries")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<Vec<u8>>, A::Error> {
                // No capacity from the claimed count: it is a stranger's number.
                let mut entries = Vec::new();
                while let Some(Bytes(bytes)) = items.next_element()? {
                    if entries.len() == super::RUN_ENTRIES_MAX {
                        return Err(A::Error::custom("too many entries"));
                    }
                    entries.push(bytes);
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_seq(Entries)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::chain::LogTail;
    use crate::ids::{GroupId, Incarnation, Lane, NodeId};
    use ed25519_dalek::SigningKey;

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[5; 32])
    }

    /// A signed log of `count` entries of `size` bytes, with a commit after each `per_commit`.
    fn log_run(count: u64, size: usize, per_commit: u64) -> Run {
        let log = LogId {
            author: NodeId(key().verifying_key().to_bytes()),
            incarnation: Incarnation(1),
            group: GroupId::SHARED,
            lane: Lane::Life,
        };
        let mut tail = LogTail::start(log);
        let mut stored: Vec<(Vec<u8>, Option<HeadSignature>)> = Vec::new();
        for seq in 1..=count {
            let bytes = vec![seq as u8; size];
            if let Some((at, signature)) = tail.push(&bytes, &key()).sign_before {
                stored[at.0 as usize - 1].1 = Some(signature);
            }
            stored.push((bytes, None));
            if seq % per_commit == 0 || seq == count {
                stored.last_mut().unwrap().1 = tail.seal(&key()).map(|(_, signature)| signature);
            }
        }
        let mut builder = RunBuilder::new(log, Seq(1), ChainHash::ZERO, RUN_BYTES_MAX);
        for (bytes, signature) in stored {
            if !builder.push(bytes, signature) {
                break;
            }
        }
        builder.finish().unwrap()
    }

    #[test]
    fn a_run_reads_back_and_verifies() {
        for run in [
            log_run(1, 20, 1),
            log_run(100, 200, 100),
            log_run(3, 30_000, 1),
        ] {
            let decoded = Run::decode(&run.encode()).unwrap();
            assert_eq!(decoded, run);
            let verified = decoded.verify().unwrap();
            assert_eq!(verified.head().seq, run.last());
        }
    }

    #[test]
    fn a_long_log_fills_a_run_to_the_bound_and_no_further() {
        let run = log_run(2_000, 100, 1);
        assert!(run.entries.len() > 500 && run.entries.len() < 2_000);
        let Body { .. } =
            decode_body(&zstd::bulk::decompress(&run.encode()[1..], RUN_BYTES_MAX).unwrap())
                .unwrap();
        run.verify().unwrap();
    }

    #[test]
    fn signatures_of_small_commits_are_thinned_to_one_per_4_kib() {
        let run = log_run(300, 100, 1);
        assert!(run.signatures.len() <= 8, "{} kept", run.signatures.len());
        run.verify().unwrap();
    }

    #[test]
    fn altered_bytes_a_foreign_signature_and_a_wrong_chain_are_refused() {
        let run = log_run(10, 50, 10);
        let mut altered = run.clone();
        altered.entries[3][0] ^= 1;
        assert_eq!(altered.verify(), Err(RunError::Signature { seq: Seq(10) }));
        let mut foreign = run.clone();
        foreign.log.author = NodeId(SigningKey::from_bytes(&[6; 32]).verifying_key().to_bytes());
        assert_eq!(foreign.verify(), Err(RunError::Signature { seq: Seq(10) }));
        let mut moved = run.clone();
        moved.log.lane = Lane::Flash;
        assert_eq!(moved.verify(), Err(RunError::Signature { seq: Seq(10) }));
        let mut chained = run.clone();
        chained.prev = ChainHash([1; 32]);
        assert!(matches!(chained.verify(), Err(RunError::Shape(_))));
        let mut unsigned = run;
        unsigned.signatures.clear();
        assert!(matches!(unsigned.verify(), Err(RunError::Shape(_))));
    }

    #[test]
    fn a_forged_signature_inside_is_refused_too() {
        let mut run = log_run(100, 100, 1);
        run.signatures[0].1.0[3] ^= 1;
        let seq = run.signatures[0].0;
        assert_eq!(run.verify(), Err(RunError::Signature { seq }));
    }

    #[test]
    fn cut_runs_verify_and_join_again() {
        let run = log_run(200, 100, 1);
        let (at, _) = run.signatures[1];
        let (left, right) = run.cut_at(at).unwrap();
        left.clone().verify().unwrap();
        right.clone().verify().unwrap();
        let joined = left.join(&right).unwrap();
        assert_eq!(joined.entries, run.entries);
        joined.verify().unwrap();
        assert_eq!(run.cut_at(Seq(1)), Err(RunError::NoCut(Seq(1))));
        assert_eq!(right.join(&left), Err(RunError::NotAdjacent));
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let mut bomb = zstd::bulk::compress(&vec![0; 10 << 20], 3).unwrap();
        bomb.insert(0, FLAG_ZSTD);
        assert_eq!(Run::decode(&bomb), Err(RunError::TooLarge));
    }

    #[test]
    fn a_log_of_empty_entries_travels_in_runs_of_bounded_count() {
        let log = log_run(1, 1, 1).log;
        let mut builder = RunBuilder::new(log, Seq(1), ChainHash::ZERO, RUN_BYTES_MAX);
        let mut taken = 0;
        while builder.push(Vec::new(), Some(HeadSignature([0; 64]))) {
            taken += 1;
        }
        let mut run = builder.finish().unwrap();
        assert_eq!(
            (taken, run.entries.len()),
            (RUN_ENTRIES_MAX, RUN_ENTRIES_MAX)
        );
        assert_eq!(Run::decode(&run.encode()), Ok(run.clone()));
        run.entries.push(Vec::new());
        assert_eq!(Run::decode(&run.encode()), Err(RunError::Malformed));
        assert_eq!(
            run.verify(),
            Err(RunError::Shape("too many entries")),
            "a run that was not decoded is bounded too"
        );
    }

    #[test]
    fn trimming_keeps_the_chain() {
        let mut verified = log_run(10, 50, 10).verify().unwrap();
        let chain = verified.chain_at(Seq(4)).unwrap();
        assert!(verified.trim_through(Seq(4)));
        assert_eq!((verified.first(), verified.prev()), (Seq(5), chain));
        assert!(!verified.trim_through(Seq(10)));
        assert!(verified.trim_through(Seq(3)));
        assert_eq!(verified.first(), Seq(5));
    }
}
