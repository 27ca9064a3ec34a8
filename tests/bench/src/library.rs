//! Signed logs in memory, for engines that are measured without a store.
//!
//! What an entry is does not depend on who holds it, so all nodes of a simulation share one library and each only knows
//! how far it has come: a hundred thousand entries on two hundred nodes would not fit otherwise. Invariant: every
//! entry at which an append ended carries a signature, as every commit of the real store does.

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;
use sync_engine::{
    ChainHash, Entry, EntryHeader, EntryKind, Frontier, Genesis, Grant, GroupId, Head,
    HeadSignature, HybridTime, Incarnation, Lane, LogId, LogTail, NodeId, ObjectId, Payload, Role,
    Run, RunBuilder, Seq, SignedGrant, Trust, TrustRecord, VerifiedRun,
};

/// Kind of the entries that these benches write: none that the program knows, so that a real node stores and relays it
/// and makes nothing of it.
const BENCH_KIND: EntryKind = EntryKind(0x7f42);

/// Bytes of a small change (one field of an incident, see shared figures of the domain's tests).
const CHANGE_BYTES: usize = 129;

struct Kept {
    bytes: Vec<u8>,
    chain: ChainHash,
    signature: Option<HeadSignature>,
}

/// All entries of all logs.
#[derive(Default)]
pub struct Library {
    logs: BTreeMap<LogId, Vec<Kept>>,
}

impl Library {
    /// The newest entry of a log.
    pub fn head(&self, log: &LogId) -> Head {
        let last = |kept: &Vec<Kept>| {
            kept.last().map(|last| Head {
                seq: Seq(kept.len() as u64),
                chain: last.chain,
            })
        };
        self.logs.get(log).and_then(last).unwrap_or(Head::EMPTY)
    }

    /// Every log up to its newest entry.
    pub fn frontier(&self) -> Frontier {
        let mut frontier = Frontier::new();
        for log in self.logs.keys() {
            let head = self.head(log);
            frontier.advance(*log, head.seq, head.chain);
        }
        frontier
    }

    /// Appends one commit, signed as the store's writer does it, and gives the new head.
    pub fn append(
        &mut self,
        log: LogId,
        entries: impl IntoIterator<Item = Vec<u8>>,
        key: &SigningKey,
    ) -> Head {
        let before = self.head(&log);
        let kept = self.logs.entry(log).or_default();
        let mut tail = LogTail::resume(log, before.seq, before.chain, 0);
        for bytes in entries {
            let pushed = tail.push(&bytes, key);
            if let (Some((_, signature)), Some(last)) = (pushed.sign_before, kept.last_mut()) {
                last.signature = Some(signature);
            }
            kept.push(Kept {
                bytes,
                chain: pushed.chain,
                signature: None,
            });
        }
        if let (Some((_, signature)), Some(last)) = (tail.seal(key), kept.last_mut()) {
            last.signature = Some(signature);
        }
        tail.head()
    }

    /// Reads a run that starts at `from` and does not go past `to`.
    pub fn load(&self, log: &LogId, from: Seq, to: Seq, bytes_max: usize) -> Option<Run> {
        let kept = self.logs.get(log)?;
        let (before, end) = (from.0.checked_sub(1)? as usize, to.0 as usize);
        let prev = match before.checked_sub(1) {
            Some(index) => kept.get(index)?.chain,
            None => ChainHash::ZERO,
        };
        let mut builder = RunBuilder::new(*log, from, prev, bytes_max);
        for entry in kept.get(before..end.min(kept.len()))? {
            if !builder.push(entry.bytes.clone(), entry.signature) {
                break;
            }
        }
        builder.finish()
    }

    /// Whether a run ends where the library stands at that entry.
    pub fn holds(&self, run: &VerifiedRun) -> bool {
        let head = run.head();
        (head.seq.0 as usize).checked_sub(1).is_some_and(|index| {
            self.logs
                .get(run.log())
                .and_then(|kept| kept.get(index))
                .is_some_and(|kept| kept.chain == head.chain)
        })
    }

    /// Frees the bytes of the entries below `seq`, which nobody will ask for any more; returns how many were freed.
    pub fn forget_below(&mut self, log: &LogId, seq: Seq) -> usize {
        let Some(kept) = self.logs.get_mut(log) else {
            return 0;
        };
        let end = (seq.0.saturating_sub(1) as usize).min(kept.len());
        let mut freed = 0;
        for entry in kept[..end].iter_mut().rev() {
            if entry.bytes.is_empty() {
                break;
            }
            freed += std::mem::take(&mut entry.bytes).len();
        }
        freed
    }
}

/// A key per number, the same in each run.
pub fn key(number: u16) -> SigningKey {
    let mut seed = [0x42; 32];
    seed[..2].copy_from_slice(&number.to_le_bytes());
    SigningKey::from_bytes(&seed)
}

/// The node of a key.
pub fn node_of(key: &SigningKey) -> NodeId {
    NodeId(key.verifying_key().to_bytes())
}

/// A log of group `shared`.
pub fn log_of(author: NodeId, incarnation: u64, lane: Lane) -> LogId {
    LogId {
        author,
        incarnation: Incarnation(incarnation),
        group: GroupId::SHARED,
        lane,
    }
}

/// An operation whose root key is HQ's: number 0.
pub fn genesis() -> Genesis {
    Genesis {
        title: "Bench".to_owned(),
        root_key: key(0).verifying_key().to_bytes(),
        successor_hash: [2; 32],
        created_wall_ms: 3,
        nonce: [4; 16],
    }
}

/// What makes `node` a member that may write every lane.
pub fn grant(genesis: &Genesis, node: NodeId, name: String, issuer: &SigningKey) -> SignedGrant {
    Grant {
        operation: genesis.id(),
        node,
        name,
        role: Role::Field,
        organisation: None,
        groups: Vec::new(),
        field_classes: Vec::new(),
        lanes: Lane::ALL.to_vec(),
        may_enrol: false,
        serial: 1,
    }
    .sign(issuer)
}

/// Who may do what when these grants count.
pub fn trust(genesis: Genesis, grants: &[SignedGrant]) -> anyhow::Result<Trust> {
    let mut trust = Trust::new(genesis);
    let (_, errors) = trust.extend(grants.iter().cloned().map(TrustRecord::Grant));
    anyhow::ensure!(errors.is_empty(), "a grant does not count: {errors:?}");
    Ok(trust)
}

/// A trust record as an entry of lane 0.
pub fn record_entry(record: TrustRecord) -> anyhow::Result<Vec<u8>> {
    Ok(record.into_entry(header(0)).encode()?)
}

/// An entry of the size of a small change: most of it alike, 36 bytes of its own, as a change's hashes and actor are.
pub fn small_entry(author: u64, number: u64) -> anyhow::Result<Vec<u8>> {
    let mut payload = Vec::with_capacity(CHANGE_BYTES);
    payload.extend(noise(author << 32 | number, 36));
    payload.extend(b"status=active;severity=severe;title=Bridge closed;location=;");
    payload.resize(CHANGE_BYTES, number as u8);
    entry(number, payload)
}

/// An entry of bytes that do not compress, as packed readings are.
pub fn raw_entry(number: u64, bytes: usize) -> anyhow::Result<Vec<u8>> {
    entry(number, noise(number, bytes))
}

fn entry(number: u64, payload: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    Ok(Entry {
        header: header(number),
        payload: Payload::Plain(payload),
    }
    .encode()?)
}

fn header(number: u64) -> EntryHeader {
    let mut object = [7; 16];
    object[..8].copy_from_slice(&number.to_le_bytes());
    EntryHeader {
        time: HybridTime {
            wall_ms: 1_790_000_000_000 + number,
            logical: 0,
        },
        user: Some([7; 16]),
        kind: BENCH_KIND,
        object: ObjectId(object),
    }
}

/// Xorshift: the same bytes in each run.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(bytes);
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_loaded_verifies_and_is_known_to_the_library() {
        let (key, mut library) = (key(3), Library::default());
        let log = log_of(node_of(&key), 1, Lane::Life);
        let entries = |from: u64, to: u64| (from..to).map(|n| small_entry(3, n).unwrap());
        library.append(log, entries(0, 100), &key);
        let head = library.append(log, entries(100, 140), &key);
        assert_eq!(head.seq, Seq(140));
        let run = library.load(&log, Seq(1), Seq(100), 1 << 16).unwrap();
        assert_eq!(run.last(), Seq(100));
        assert!(library.holds(&run.verify().unwrap()));
        let run = library.load(&log, Seq(101), head.seq, 1 << 16).unwrap();
        assert_eq!(run.verify().unwrap().head(), head);
        assert!(library.load(&log, Seq(141), Seq(200), 1 << 16).is_none());
    }

    #[test]
    fn forgotten_entries_keep_their_place() {
        let (key, mut library) = (key(3), Library::default());
        let log = log_of(node_of(&key), 1, Lane::Raw);
        let head = library.append(log, (0..10).map(|n| raw_entry(n, 500).unwrap()), &key);
        assert!(library.forget_below(&log, Seq(6)) >= 5 * 500);
        assert_eq!(library.forget_below(&log, Seq(6)), 0);
        assert_eq!(library.head(&log), head);
        let run = library.load(&log, Seq(6), head.seq, 1 << 16).unwrap();
        assert!(run.verify().is_ok());
    }
}
