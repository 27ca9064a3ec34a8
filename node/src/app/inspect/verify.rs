//! Whether a stored log is what its author wrote: every chain hash and every signature computed anew from the bytes.
//!
//! Invariant: nothing that was computed when the entries came is believed; the first thing that does not fit ends the
//! check of a log, because all that follows leans on it.

use serde_json::{Value, json};
use store::{HeldLog, InspectedEntry};
use sync_engine::{
    ChainHash, Entry, LogId, Seq, UNSIGNED_BYTES_MAX, chain_next, entry_hash, verify_head,
};

use super::super::{App, AppError};

/// Entries per read: a fraction of a second with signatures, some MB at most with the largest entries.
const PAGE: usize = 200;

/// What a check of one log found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Checked {
    entries: u64,
    signatures: u64,
    broken: Option<Broken>,
}

/// Where a log breaks, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Broken {
    seq: Seq,
    what: &'static str,
}

impl Checked {
    pub(super) fn to_value(&self) -> Value {
        json!({
            "ok": self.broken.is_none(),
            "entries": self.entries,
            "signatures": self.signatures,
            "broken": self.broken.as_ref().map(|broken| json!({ "seq": broken.seq, "what": broken.what })),
        })
    }
}

/// Reads the log page by page and checks each on the way.
pub(super) async fn verify(app: &App, held: &HeldLog) -> Result<Checked, AppError> {
    let mut check = Check::new(held);
    loop {
        let (log, from) = (held.log, check.next);
        if check.is_over() {
            return Ok(check.finish());
        }
        let (page, walked) = app
            .read(move |reader| {
                let page = reader.inspect_entries(&log, from, PAGE)?;
                // On the reader's thread: a page of signatures is worth not being in the way of anybody.
                check.page(&page);
                Ok((page.len(), check))
            })
            .await?;
        check = walked;
        if page == 0 {
            return Ok(check.finish());
        }
    }
}

/// A walk along one log.
struct Check {
    log: LogId,
    /// Entries that were committed after the check began are not its business.
    height: Seq,
    next: Seq,
    chain: ChainHash,
    /// The entries since the last signature, and their bytes.
    unsigned: (u64, usize),
    checked: Checked,
}

impl Check {
    fn new(held: &HeldLog) -> Self {
        let mut check = Self {
            log: held.log,
            height: held.head.seq,
            next: held.floor,
            chain: held.floor_chain,
            unsigned: (0, 0),
            checked: Checked {
                entries: 0,
                signatures: 0,
                broken: None,
            },
        };
        if held.floor == Seq(1) && held.floor_chain != ChainHash::ZERO {
            check.breaks(Seq(1), "a chain hash is stored before the first entry");
        }
        check
    }

    fn is_over(&self) -> bool {
        self.checked.broken.is_some() || self.next > self.height
    }

    fn breaks(&mut self, seq: Seq, what: &'static str) {
        self.checked.broken.get_or_insert(Broken { seq, what });
    }

    fn page(&mut self, page: &[InspectedEntry]) {
        for entry in page {
            if self.is_over() {
                return;
            }
            self.entry(entry);
        }
    }

    fn entry(&mut self, inspected: &InspectedEntry) {
        let (seq, bytes) = (inspected.entry.seq, &inspected.entry.bytes);
        if seq != self.next {
            return self.breaks(self.next, "entry is missing");
        }
        self.chain = chain_next(&self.log, seq, self.chain, entry_hash(bytes));
        if self.chain != inspected.chain {
            return self.breaks(seq, "stored bytes do not give the stored chain hash");
        }
        if let Ok(entry) = Entry::decode(bytes)
            && (entry.header.kind.0, entry.header.object)
                != (inspected.entry.kind, inspected.object)
        {
            return self.breaks(seq, "entry is filed under another kind or object");
        }
        self.unsigned = (self.unsigned.0 + 1, self.unsigned.1 + bytes.len());
        if self.unsigned.0 > 1 && self.unsigned.1 > UNSIGNED_BYTES_MAX {
            return self.breaks(seq, "signatures stand too far apart");
        }
        if let Some(signature) = &inspected.signature {
            if !verify_head(&self.log, seq, self.chain, signature) {
                return self.breaks(seq, "signature is not the author's over this chain");
            }
            self.checked.signatures += 1;
            self.unsigned = (0, 0);
        }
        self.checked.entries += 1;
        self.next = seq.next();
    }

    fn finish(mut self) -> Checked {
        if self.next <= self.height {
            self.breaks(self.next, "entry is missing");
        } else if self.unsigned.0 > 0 {
            self.breaks(self.height, "newest entry is not signed");
        }
        self.checked
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ed25519_dalek::SigningKey;
    use store::{CommitNo, EntryState, StoredEntry};
    use sync_engine::{
        EntryHeader, EntryKind, GroupId, Head, HybridTime, Incarnation, Lane, LogTail, NodeId,
        ObjectId, Payload,
    };

    use super::*;

    /// A log of five entries, each its own commit, as the store gives it back.
    fn log() -> (HeldLog, Vec<InspectedEntry>) {
        let key = SigningKey::from_bytes(&[7; 32]);
        let log = LogId {
            author: NodeId(key.verifying_key().to_bytes()),
            incarnation: Incarnation(1),
            group: GroupId::SHARED,
            lane: Lane::Life,
        };
        let mut tail = LogTail::start(log);
        let entries: Vec<InspectedEntry> = (1..=5)
            .map(|number| {
                let object = ObjectId([number; 16]);
                let header = EntryHeader {
                    time: HybridTime::default(),
                    user: None,
                    kind: EntryKind(0x0101),
                    object,
                };
                let payload = Payload::Plain(vec![number]);
                let bytes = Entry { header, payload }.encode().unwrap();
                let pushed = tail.push(&bytes, &key);
                InspectedEntry {
                    entry: StoredEntry {
                        log,
                        seq: pushed.seq,
                        kind: 0x0101,
                        bytes,
                        commit: CommitNo(1),
                        at_wall_ms: 1,
                    },
                    object,
                    chain: pushed.chain,
                    signature: tail.seal(&key).map(|(_, signature)| signature),
                    state: EntryState::Applied { position: 1 },
                }
            })
            .collect();
        let held = HeldLog {
            log,
            floor: Seq(1),
            floor_chain: ChainHash::ZERO,
            head: tail.head(),
            applied: Seq(5),
            waiting: 0,
            quarantined: 0,
            held: 0,
        };
        (held, entries)
    }

    fn check(held: &HeldLog, entries: &[InspectedEntry]) -> Checked {
        let mut check = Check::new(held);
        check.page(entries);
        check.finish()
    }

    /// Where the log breaks after `spoil`.
    fn broken(spoil: impl FnOnce(&mut HeldLog, &mut Vec<InspectedEntry>)) -> (u64, &'static str) {
        let (mut held, mut entries) = log();
        spoil(&mut held, &mut entries);
        let broken = check(&held, &entries).broken.unwrap();
        (broken.seq.0, broken.what)
    }

    #[test]
    fn a_sound_log_verifies_from_its_first_entry_and_from_a_floor() {
        let (held, entries) = log();
        let whole = check(&held, &entries);
        assert_eq!(
            (whole.entries, whole.signatures, whole.broken),
            (5, 5, None)
        );
        let pruned = HeldLog {
            floor: Seq(3),
            floor_chain: entries[1].chain,
            ..held
        };
        assert_eq!(check(&pruned, &entries[2..]).broken, None);
        // What was committed meanwhile is another time's.
        let shorter = HeldLog {
            head: Head {
                seq: Seq(4),
                chain: entries[3].chain,
            },
            ..held
        };
        assert_eq!(check(&shorter, &entries).entries, 4);
    }

    #[test]
    fn the_place_where_a_log_breaks_is_named() {
        assert_eq!(
            broken(|_, entries| entries[2].entry.bytes[3] ^= 1),
            (3, "stored bytes do not give the stored chain hash")
        );
        assert_eq!(
            broken(|_, entries| drop(entries.remove(1))),
            (2, "entry is missing")
        );
        assert_eq!(
            broken(|_, entries| drop(entries.pop())),
            (5, "entry is missing")
        );
        assert_eq!(
            broken(|_, entries| entries[4].signature = None),
            (5, "newest entry is not signed")
        );
        assert_eq!(
            broken(|_, entries| entries[1].signature = entries[0].signature),
            (2, "signature is not the author's over this chain")
        );
        assert_eq!(
            broken(|_, entries| entries[3].object = ObjectId([9; 16])),
            (4, "entry is filed under another kind or object")
        );
        assert_eq!(
            broken(|held, _| held.floor_chain = ChainHash([1; 32])),
            (1, "a chain hash is stored before the first entry")
        );
    }
}
