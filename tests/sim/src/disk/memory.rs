//! A disk in memory with the semantics of the store: atomic batches, own entries chained and signed by the writer.
//!
//! Invariant: `undo` takes back, newest first, exactly what was committed since the last sync.

use std::collections::{BTreeMap, BTreeSet};

use domain::RecordId;
use ed25519_dalek::SigningKey;
use store::{
    Batch, CommitNo, Committed, Disposition, LoadedDocument, QuarantinedEntry, RunWrite,
    StoredEntry, WaitingEntry,
};
use sync_engine::{
    ChainHash, Entry, EntryHeader, Frontier, Head, HeadSignature, Incarnation, Lane, LogFrontier,
    LogId, LogTail, Name, NodeId, ObjectId, Payload, PayloadCodec, Place, RUN_BYTES_MAX, Run,
    RunBuilder, Seq,
};

use super::Disk;
use crate::codec::DocumentCodec;
use crate::planted::{self, InShell};

/// One entry on the disk.
#[derive(Debug, Clone)]
struct Kept {
    bytes: Vec<u8>,
    chain: ChainHash,
    signature: Option<HeadSignature>,
    kind: u16,
    object: ObjectId,
    disposition: Disposition,
    /// Its place in the order of application; 0 while it is not applied.
    applied: u64,
}

/// Where an entry stands.
type At = (LogId, Seq);

/// As the store does: parents are among the newest few entries of their object.
const LOOK_BACK: usize = 16;

fn plain(bytes: &[u8]) -> Option<(EntryHeader, Vec<u8>)> {
    let Entry { header, payload } = Entry::decode(bytes).ok()?;
    match payload {
        Payload::Plain(payload) => Some((header, payload)),
        Payload::Sealed { .. } => None,
    }
}

/// What an entry is called by those that build on it.
fn name(bytes: &[u8]) -> Option<Name> {
    let (header, payload) = plain(bytes)?;
    let hash = DocumentCodec.name(header.kind, &payload)?;
    let object = header.object;
    Some(Name { hash, object })
}

/// A document as it is kept: the number of the last change applied, and its bytes.
type Snapshot = (u64, Vec<u8>);

/// What one commit changed, to be taken back.
#[derive(Debug, Default)]
struct Undo {
    lengths: BTreeMap<LogId, usize>,
    released: Vec<(At, Disposition)>,
    snapshots: Vec<(RecordId, Option<Snapshot>)>,
    facts: Vec<(RecordId, Option<String>)>,
}

/// See the module.
pub struct MemoryDisk {
    key: SigningKey,
    node: NodeId,
    incarnation: Incarnation,
    logs: BTreeMap<LogId, Vec<Kept>>,
    objects: BTreeMap<RecordId, BTreeSet<At>>,
    snapshots: BTreeMap<RecordId, Snapshot>,
    facts: BTreeMap<RecordId, String>,
    last_applied: u64,
    last_commit: i64,
    undo: Vec<Undo>,
    /// What a planted bug believes after a crash.
    believed: BTreeMap<LogId, Head>,
}

impl MemoryDisk {
    /// An empty disk whose writer signs with `key`.
    pub fn new(key: SigningKey, incarnation: Incarnation) -> Self {
        Self {
            node: NodeId(key.verifying_key().to_bytes()),
            key,
            incarnation,
            logs: BTreeMap::new(),
            objects: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            facts: BTreeMap::new(),
            last_applied: 0,
            last_commit: 0,
            undo: Vec::new(),
            believed: BTreeMap::new(),
        }
    }

    fn head(&self, log: &LogId) -> Head {
        let kept = self.logs.get(log);
        kept.and_then(|kept| Some((kept.len(), kept.last()?)))
            .map_or(Head::EMPTY, |(len, last)| Head {
                seq: Seq(len as u64),
                chain: last.chain,
            })
    }

    fn kept(&self, (log, seq): &At) -> Option<&Kept> {
        let index = usize::try_from(seq.0.checked_sub(1)?).ok()?;
        self.logs.get(log)?.get(index)
    }

    fn kept_mut(&mut self, (log, seq): &At) -> Option<&mut Kept> {
        let index = usize::try_from(seq.0.checked_sub(1)?).ok()?;
        self.logs.get_mut(log)?.get_mut(index)
    }

    /// Each run has to continue its log, as the engine promises.
    fn check(&self, runs: &[RunWrite]) -> Result<(), String> {
        let mut heads: BTreeMap<LogId, Head> = BTreeMap::new();
        for RunWrite { run, .. } in runs {
            let head = heads
                .entry(*run.log())
                .or_insert_with(|| self.head(run.log()));
            if run.first() != head.seq.next() || run.prev() != head.chain {
                return Err(format!(
                    "{} does not continue at {}",
                    run.log(),
                    run.first()
                ));
            }
            *head = run.head();
        }
        Ok(())
    }

    fn push(&mut self, log: LogId, mut kept: Kept) -> At {
        if matches!(kept.disposition, Disposition::Applied) {
            self.last_applied += 1;
            kept.applied = self.last_applied;
        }
        let object = RecordId(kept.object.0);
        let entries = self.logs.entry(log).or_default();
        entries.push(kept);
        let place = (log, Seq(entries.len() as u64));
        self.objects.entry(object).or_default().insert(place);
        place
    }

    fn append_own(&mut self, batch: &Batch, undo: &mut Undo) -> BTreeMap<LogId, Seq> {
        let mut firsts = BTreeMap::new();
        let mut tails: BTreeMap<LogId, LogTail> = BTreeMap::new();
        for entry in &batch.local {
            let log = LogId {
                author: self.node,
                incarnation: self.incarnation,
                group: entry.group,
                lane: entry.lane,
            };
            let head = self.head(&log);
            undo.lengths.entry(log).or_insert(head.seq.0 as usize);
            firsts.entry(log).or_insert(head.seq.next());
            let tail = tails
                .entry(log)
                .or_insert_with(|| LogTail::resume(log, head.seq, head.chain, 0));
            let pushed = tail.push(&entry.bytes, &self.key);
            if let Some((at, signature)) = pushed.sign_before
                && let Some(kept) = self.kept_mut(&(log, at))
            {
                kept.signature = Some(signature);
            }
            self.push(
                log,
                Kept {
                    bytes: entry.bytes.clone(),
                    chain: pushed.chain,
                    signature: None,
                    kind: entry.kind,
                    object: entry.object,
                    disposition: entry.disposition.clone(),
                    applied: 0,
                },
            );
        }
        for (log, mut tail) in tails {
            if let Some((at, signature)) = tail.seal(&self.key)
                && let Some(kept) = self.kept_mut(&(log, at))
            {
                kept.signature = Some(signature);
            }
        }
        firsts
    }

    fn run_up_to(&self, log: &LogId, from: Seq, last: Seq, bytes_max: usize) -> Option<Run> {
        let kept = self.logs.get(log)?;
        let before = usize::try_from(from.0.checked_sub(1)?).ok()?;
        let prev = match before.checked_sub(1) {
            Some(index) => kept.get(index)?.chain,
            None => ChainHash::ZERO,
        };
        let mut builder = RunBuilder::new(*log, from, prev, bytes_max);
        for entry in kept.get(before..usize::try_from(last.0).ok()?)? {
            if !builder.push(entry.bytes.clone(), entry.signature) {
                break;
            }
        }
        builder.finish()
    }

    /// The newest few entries that were applied to an object before the one at `place`, with what they are called.
    fn applied_before(&self, object: ObjectId, place: At) -> impl Iterator<Item = (Name, Place)> {
        let limit = self.kept(&place).map_or(0, |kept| kept.applied);
        let limit = if limit == 0 { u64::MAX } else { limit };
        let places = self.objects.get(&RecordId(object.0)).into_iter().flatten();
        let kept = places.filter_map(|place| Some((*place, self.kept(place)?)));
        let mut before: Vec<_> = kept
            .filter(|(_, kept)| (1..limit).contains(&kept.applied))
            .collect();
        before.sort_by_key(|(_, kept)| std::cmp::Reverse(kept.applied));
        before.truncate(LOOK_BACK);
        before
            .into_iter()
            .filter_map(|((log, seq), kept)| Some((name(&kept.bytes)?, Place { log, seq })))
    }

    fn stored(&self, place: At, kept: &Kept) -> StoredEntry {
        StoredEntry {
            log: place.0,
            seq: place.1,
            kind: kept.kind,
            bytes: kept.bytes.clone(),
            commit: CommitNo(0),
            at_wall_ms: 0,
        }
    }

    fn all(&self) -> impl Iterator<Item = (At, &Kept)> {
        self.logs.iter().flat_map(|(log, kept)| {
            kept.iter()
                .zip(1..)
                .map(|(kept, seq)| ((*log, Seq(seq)), kept))
        })
    }

    fn take_back(&mut self, undo: Undo) {
        for (place, disposition) in undo.released {
            if let Some(kept) = self.kept_mut(&place) {
                kept.disposition = disposition;
                kept.applied = 0;
            }
        }
        for (log, length) in undo.lengths {
            let gone = self.logs.get_mut(&log).map(|kept| kept.split_off(length));
            for (kept, seq) in gone.unwrap_or_default().iter().zip(length as u64 + 1..) {
                if let Some(places) = self.objects.get_mut(&RecordId(kept.object.0)) {
                    places.remove(&(log, Seq(seq)));
                }
            }
        }
        for (id, before) in undo.snapshots {
            restore(&mut self.snapshots, id, before);
        }
        for (id, before) in undo.facts {
            restore(&mut self.facts, id, before);
        }
    }
}

fn restore<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, before: Option<V>) {
    match before {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

impl Disk for MemoryDisk {
    fn commit(&mut self, batch: Batch) -> Result<Committed, String> {
        self.check(&batch.runs)?;
        let mut undo = Undo::default();
        let firsts = self.append_own(&batch, &mut undo);
        let mut stored = Vec::new();
        for RunWrite { run, entries } in batch.runs {
            let log = *run.log();
            undo.lengths
                .entry(log)
                .or_insert(run.first().0 as usize - 1);
            for (verified, judged) in run.into_entries().into_iter().zip(entries) {
                let kept = Kept {
                    bytes: verified.bytes,
                    chain: verified.chain,
                    signature: verified.signature,
                    kind: judged.kind,
                    object: judged.object,
                    disposition: judged.disposition,
                    applied: 0,
                };
                stored.push(self.push(log, kept));
            }
        }
        for (log, seq, disposition) in batch.released {
            let applied = matches!(disposition, Disposition::Applied);
            self.last_applied += u64::from(applied);
            let order = if applied { self.last_applied } else { 0 };
            let kept = self.kept_mut(&(log, seq)).ok_or("a release of nothing")?;
            if matches!(kept.disposition, Disposition::Applied) {
                return Err(format!("{log} {seq} is released twice"));
            }
            let before = std::mem::replace(&mut kept.disposition, disposition);
            kept.applied = order;
            undo.released.push(((log, seq), before));
        }
        for document in batch.documents {
            let id = RecordId(document.id.0);
            if let Some(snapshot) = document.snapshot {
                let before = self.snapshots.insert(id, (self.last_applied, snapshot));
                undo.snapshots.push((id, before));
            }
        }
        for fact in batch.facts {
            let id = RecordId(fact.id.0);
            undo.facts.push((id, self.facts.insert(id, fact.view)));
        }
        self.undo.push(undo);
        self.last_commit += 1;
        let heads = firsts.keys().map(|log| (*log, self.head(log))).collect();
        let local_runs = firsts
            .iter()
            .filter_map(|(log, first)| {
                self.run_up_to(log, *first, self.head(log).seq, RUN_BYTES_MAX)
            })
            .collect();
        Ok(Committed {
            commit: CommitNo(self.last_commit),
            stored,
            event_position: 0,
            heads,
            local_runs,
        })
    }

    fn sync(&mut self) {
        self.undo.clear();
    }

    fn crash(&mut self) {
        if planted::is(InShell::BelieveStoredHeight) {
            self.believed = self.logs.keys().map(|log| (*log, self.head(log))).collect();
        }
        while let Some(undo) = self.undo.pop() {
            self.take_back(undo);
        }
    }

    fn frontier(&self) -> Frontier {
        let held = |log: &LogId| {
            let head = self.head(log);
            let head = self
                .believed
                .get(log)
                .map_or(head, |believed| head.max(*believed));
            LogFrontier {
                floor: Seq(1),
                height: head.seq,
                chain: head.chain,
            }
        };
        let logs = self.logs.iter().filter(|(_, kept)| !kept.is_empty());
        logs.map(|(log, _)| (*log, held(log))).collect()
    }

    fn durable(&self, log: &LogId) -> Seq {
        let unsynced = self.undo.iter().filter_map(|undo| undo.lengths.get(log));
        let synced = unsynced.min().map(|length| Seq(*length as u64));
        synced.unwrap_or_else(|| self.head(log).seq)
    }

    fn load_run(&self, log: &LogId, from: Seq, bytes_max: usize) -> Option<Run> {
        // Readers see what is durable: a peer must not be told what a crash could take back.
        self.run_up_to(log, from, self.durable(log), bytes_max)
    }

    fn parents_of_run(&self, run: &Run) -> Vec<(Name, Place)> {
        let mut named: BTreeMap<Name, Place> = BTreeMap::new();
        for (bytes, seq) in run.entries.iter().zip(run.first.0..) {
            let Some((header, payload)) = plain(bytes) else {
                continue;
            };
            let parents = DocumentCodec.parents(header.kind, &payload);
            if !parents.is_empty() {
                let before = self.applied_before(header.object, (run.log, Seq(seq)));
                named.extend(before.filter(|(name, _)| parents.contains(&name.hash)));
            }
        }
        let inside = |place: &Place| place.log == run.log && place.seq >= run.first;
        named.into_iter().filter(|(_, at)| !inside(at)).collect()
    }

    fn names_at(&self, places: &[Place]) -> Vec<(Place, Name)> {
        let name = |place: &Place| {
            let kept = self.kept(&(place.log, place.seq))?;
            Some((*place, name(&kept.bytes)?))
        };
        places.iter().filter_map(name).collect()
    }

    fn entry(&self, log: &LogId, seq: Seq) -> Option<Vec<u8>> {
        self.kept(&(*log, seq)).map(|kept| kept.bytes.clone())
    }

    fn trust_entries(&self) -> Vec<Vec<u8>> {
        let trust = self.logs.iter().filter(|(log, _)| log.lane == Lane::Trust);
        trust
            .flat_map(|(_, kept)| kept.iter().map(|kept| kept.bytes.clone()))
            .collect()
    }

    fn documents(&self) -> Vec<RecordId> {
        let any = self.objects.iter().filter(|(_, places)| !places.is_empty());
        any.map(|(id, _)| *id).collect()
    }

    fn load_document(&self, id: RecordId) -> LoadedDocument {
        let snapshot = self.snapshots.get(&id);
        let covers = snapshot.map_or(0, |(covers, _)| *covers);
        let mut applied = Vec::new();
        let mut loaded = LoadedDocument {
            snapshot: snapshot.map(|(_, bytes)| bytes.clone()),
            ..LoadedDocument::default()
        };
        for place in self.objects.get(&id).into_iter().flatten() {
            let Some(kept) = self.kept(place) else {
                continue;
            };
            let entry = self.stored(*place, kept);
            let refused = |reason: &str, held| QuarantinedEntry {
                object: kept.object,
                entry: entry.clone(),
                reason: reason.to_owned(),
                held,
            };
            match &kept.disposition {
                Disposition::Applied if kept.applied > covers => {
                    applied.push((kept.applied, entry))
                }
                Disposition::Applied => {}
                Disposition::Waiting { missing } => loaded.waiting.push(WaitingEntry {
                    entry,
                    missing: missing.clone(),
                }),
                Disposition::Quarantined { reason } => {
                    loaded.quarantined.push(refused(reason, false))
                }
                Disposition::Held { fault } => loaded.quarantined.push(refused(fault, true)),
            }
        }
        applied.sort_by_key(|(order, _)| *order);
        loaded.applied = applied.into_iter().map(|(_, entry)| entry).collect();
        loaded
    }

    fn unapplied(&self) -> Vec<(LogId, Seq)> {
        let open = |kept: &Kept| {
            matches!(
                kept.disposition,
                Disposition::Waiting { .. } | Disposition::Held { .. }
            )
        };
        self.all()
            .filter(|(_, kept)| open(kept))
            .map(|(place, _)| place)
            .collect()
    }

    fn quarantined(&self) -> BTreeMap<(LogId, Seq), String> {
        self.all()
            .filter_map(|(place, kept)| match &kept.disposition {
                Disposition::Quarantined { reason } => Some((place, reason.clone())),
                _ => None,
            })
            .collect()
    }

    fn facts(&self) -> BTreeMap<RecordId, String> {
        self.facts.clone()
    }
}
