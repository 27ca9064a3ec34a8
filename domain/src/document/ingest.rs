//! Changes from other nodes: judged, put in order, applied in one batch behind a safety net.
//!
//! Invariants: every change given gets an answer; a change is applied when all it builds on is, in whatever order they
//! came; a refused one takes only those with it that build on it. automerge 0.12 can panic, or build a document that
//! never loads again: so a batch is applied to a copy, which must save and load again with the heads expected. Where
//! that fails, the culprits are held back as a local fault; that is no verdict about them.

use std::collections::{HashMap, VecDeque};

use automerge::legacy::Op;
use automerge::{Automerge, Change, ChangeHash, ReadDoc};

use super::actor::{Author, base_actor};
use super::conflict::{self, ResolvedConflict};
use super::genesis::{belongs_to_another_kind, genesis};
use super::history::History;
use super::valid::{self, Decoded, QuarantineReason};
use super::view::{View, view_of};
use super::{
    ChangeKey, Document, DocumentError, Parked, Stored, contained, load_contained, snapshot,
};
use crate::planted::{self, Planted};
use crate::{Kind, RecordId};

/// One change of this document, from somebody's log.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    /// Handed back if it is settled later.
    pub key: ChangeKey,
    /// Whose log it stands in.
    pub author: Author,
    /// As they came.
    pub bytes: &'a [u8],
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is part of the document.
    Applied,
    /// Valid so far; applied as soon as these changes are.
    Waiting {
        /// Hashes of dependencies that are not applied.
        missing: Vec<[u8; 32]>,
    },
    /// It was taken in before.
    Duplicate,
    /// Not valid, here and on every other node.
    Quarantined {
        /// Why.
        reason: QuarantineReason,
    },
    /// automerge failed on it: a local fault. [`Document::retry_held`] tries again, for instance with a newer version.
    HeldBack {
        /// What automerge said.
        fault: String,
    },
}

/// A change of an earlier batch whose state has changed now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// As it was given.
    pub key: ChangeKey,
    /// What became of it.
    pub outcome: Outcome,
}

/// What a batch did.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ingested {
    /// One per change given, in that order.
    pub outcomes: Vec<Outcome>,
    /// Changes that had waited, or had been held back.
    pub settled: Vec<Settled>,
    /// Conflicts that the applied changes settled, in the order of application.
    pub resolved: Vec<ResolvedConflict>,
    /// The document's new snapshot, made by the safety net anyway; `None` when nothing was applied.
    pub saved: Option<Vec<u8>>,
    /// What people see now, for the same reason; `None` when nothing was applied.
    pub view: Option<View>,
}

/// A copy of a document that is known to be sound.
pub(super) struct Sound {
    pub(super) doc: Automerge,
    pub(super) saved: Vec<u8>,
    view: View,
}

/// A change on its way.
struct Slot {
    /// Its place in the batch, or the key that it waited under.
    origin: Origin,
    author: Author,
    change: Change,
    /// Its operations, where they are decoded already.
    ops: Option<Vec<Op>>,
    outcome: Option<Outcome>,
}

#[derive(Clone, Copy)]
enum Origin {
    Batch(usize),
    Earlier(ChangeKey),
}

impl Slot {
    fn parked(parked: Parked) -> Self {
        let Parked {
            key,
            author,
            change,
        } = parked;
        Slot {
            origin: Origin::Earlier(key),
            author,
            change,
            ops: None,
            outcome: None,
        }
    }

    fn refuse(&mut self, reason: QuarantineReason) {
        self.outcome = Some(Outcome::Quarantined { reason });
    }
}

/// What passed and is to be applied.
struct Ready {
    slot: usize,
    change: Change,
    ops: Vec<Op>,
}

impl Document {
    /// [`Document::restore`] and [`Document::ingest`] in one: what is stored and what is new is given to automerge
    /// together, which for a document that is read to be changed saves half of the work.
    ///
    /// # Errors
    /// As [`Document::restore`].
    pub fn restore_and_ingest(
        kind: Kind,
        id: RecordId,
        stored: Stored,
        batch: &[Incoming<'_>],
    ) -> Result<(Self, Ingested), DocumentError> {
        if let Some(done) = Self::ingest_behind(kind, id, &stored, batch) {
            return Ok(done);
        }
        let mut document = Self::restore(kind, id, stored)?;
        let ingested = document.ingest(batch);
        Ok((document, ingested))
    }

    /// The short way, for a document of which nothing waits or was refused; `None` where anything is not as it is
    /// almost always: then what was tried here is forgotten.
    pub(super) fn ingest_behind(
        kind: Kind,
        id: RecordId,
        stored: &Stored,
        batch: &[Incoming<'_>],
    ) -> Option<(Self, Ingested)> {
        let aside = stored.waiting.len() + stored.held.len() + stored.quarantined.len();
        if aside > 0 || stored.applied.is_empty() {
            return None;
        }
        let mut document = Document::of_snapshot(kind, id, &stored.snapshot).ok()?;
        if !stored.snapshot.is_empty() {
            if !document.is_of_its_kind() {
                return None;
            }
            document.find_stamps();
        }
        let applied = stored.applied.iter();
        document.behind = contained(|| {
            let read = |bytes: &Vec<u8>| Change::try_from(&bytes[..]);
            let changes: Result<_, _> = applied.map(read).collect();
            changes.map_err(|error| error.to_string())
        })
        .ok()?;
        let mut history = document.take_history();
        for change in &document.behind {
            if !change.deps().iter().all(|dep| history.contains(dep)) {
                return None;
            }
            history.add_applied(change);
        }
        document.history = Some(history);
        let ingested = document.ingest(batch);
        document.behind.is_empty().then_some((document, ingested))
    }

    /// Takes in changes of this document, each log's in its order. Never panics, whatever the bytes are.
    pub fn ingest(&mut self, batch: &[Incoming<'_>]) -> Ingested {
        let mut history = self.take_history();
        let mut outcomes: Vec<Option<Outcome>> = vec![None; batch.len()];
        let mut slots: Vec<Slot> = std::mem::take(&mut self.aside.waiting)
            .into_iter()
            .map(Slot::parked)
            .collect();
        let mut known: HashMap<ChangeHash, usize> = slots
            .iter()
            .enumerate()
            .map(|(index, slot)| (slot.change.hash(), index))
            .collect();
        let waited = slots.len();

        for (index, incoming) in batch.iter().enumerate() {
            match self.admit(&history, &known, incoming) {
                Err(outcome) => outcomes[index] = Some(outcome),
                Ok(Decoded { change, ops }) => {
                    known.insert(change.hash(), slots.len());
                    let (origin, author) = (Origin::Batch(index), incoming.author);
                    slots.push(Slot {
                        origin,
                        author,
                        change,
                        ops: Some(ops),
                        outcome: None,
                    });
                }
            }
        }

        let first = match planted::is(Planted::ApplyTwice) {
            true => 0,
            false => waited,
        };
        let todo = (first..slots.len()).collect();
        let mut ingested = self.settle(&mut history, &mut slots, todo);
        for slot in slots {
            match (slot.origin, slot.outcome) {
                (Origin::Batch(index), outcome) => {
                    outcomes[index] = outcome.clone();
                    self.put_aside(index_key(batch, index), slot.author, slot.change, outcome);
                }
                (Origin::Earlier(key), outcome) => {
                    if let Some(outcome) = outcome.clone()
                        && !matches!(outcome, Outcome::Waiting { .. })
                    {
                        ingested.settled.push(Settled { key, outcome });
                    }
                    let outcome = outcome.filter(|_| !planted::is(Planted::ApplyTwice));
                    self.put_aside(key, slot.author, slot.change, outcome);
                }
            }
        }
        self.history = Some(history);
        // `settle` gives every new slot an outcome and `admit` the others.
        ingested.outcomes = outcomes
            .into_iter()
            .map(|o| o.unwrap_or(Outcome::Duplicate))
            .collect();
        ingested
    }

    /// Tries the changes again that were held back. Those that automerge still fails on are not listed in `settled`.
    pub fn retry_held(&mut self) -> Ingested {
        if self.aside.held.is_empty() {
            return Ingested::default();
        }
        let mut history = self.take_history();
        let mut slots: Vec<Slot> = std::mem::take(&mut self.aside.held)
            .into_iter()
            .map(Slot::parked)
            .collect();
        let held = slots.len();
        slots.extend(
            std::mem::take(&mut self.aside.waiting)
                .into_iter()
                .map(Slot::parked),
        );
        let mut ingested = self.settle(&mut history, &mut slots, (0..held).collect());
        for slot in slots {
            let Origin::Earlier(key) = slot.origin else {
                continue;
            };
            match &slot.outcome {
                None | Some(Outcome::Waiting { .. } | Outcome::HeldBack { .. }) => {}
                Some(outcome) => {
                    ingested.settled.push(Settled {
                        key,
                        outcome: outcome.clone(),
                    });
                }
            }
            self.put_aside(key, slot.author, slot.change, slot.outcome);
        }
        self.history = Some(history);
        ingested
    }

    /// The index of what is applied, up to date.
    fn take_history(&mut self) -> History {
        let mut history = match self.history.take() {
            Some(history) => history,
            None => {
                self.unindexed.clear();
                History::of(self.kind, &self.doc)
            }
        };
        for change in std::mem::take(&mut self.unindexed) {
            history.add_applied(&change);
        }
        history
    }

    /// Judges one change as far as its log's earlier entries and the change itself go, and claims its sequence number.
    fn admit(
        &mut self,
        history: &History,
        known: &HashMap<ChangeHash, usize>,
        incoming: &Incoming<'_>,
    ) -> Result<Decoded, Outcome> {
        let refuse = |reason| Outcome::Quarantined { reason };
        let decoded = valid::decode(incoming.bytes).map_err(refuse)?;
        let change = &decoded.change;
        if base_actor(change.actor_id()) != Some(incoming.author.actor())
            && !planted::is(Planted::AnyActor)
        {
            return Err(refuse(QuarantineReason::ForeignActor));
        }
        let hash = change.hash();
        let held = || {
            self.aside
                .held
                .iter()
                .any(|parked| parked.change.hash() == hash)
        };
        if history.contains(&hash) || known.contains_key(&hash) || held() {
            return Err(Outcome::Duplicate);
        }
        // Of two with one number in a log the first stands, even while it waits, is held back or was refused.
        let claimed = self
            .aside
            .claimed
            .get(change.actor_id())
            .copied()
            .unwrap_or(0);
        let last = claimed.max(history.seq(change.actor_id()));
        let sequence = match change.seq() {
            _ if planted::is(Planted::ReusedSequence) => Ok(()),
            seq if seq <= last => Err(QuarantineReason::ReusedSequence),
            seq if seq > last + 1 => Err(QuarantineReason::SequenceGap),
            _ => Ok(()),
        };
        self.aside.claim(change);
        if let Err(reason) = valid::check_alone(&decoded).and(sequence) {
            self.aside.quarantined.insert(hash);
            return Err(refuse(reason));
        }
        Ok(decoded)
    }

    /// Gives every slot in `todo`, and whatever follows from them, its outcome; applies what is ready.
    fn settle(
        &mut self,
        history: &mut History,
        slots: &mut [Slot],
        mut todo: VecDeque<usize>,
    ) -> Ingested {
        let mut dependents: HashMap<ChangeHash, Vec<usize>> = HashMap::new();
        for (index, slot) in slots.iter().enumerate() {
            for dep in slot.change.deps() {
                dependents.entry(*dep).or_default().push(index);
            }
        }
        let mark = history.len();
        let mut ready: Vec<Ready> = Vec::new();
        while let Some(index) = todo.pop_front() {
            let slot = &mut slots[index];
            if !matches!(slot.outcome, None | Some(Outcome::Waiting { .. })) {
                continue;
            }
            match self.judge(history, slot) {
                Some(passed) => {
                    history.add(&passed.change, &passed.ops);
                    let Decoded { change, ops } = passed;
                    slot.outcome = Some(Outcome::Applied);
                    ready.push(Ready {
                        slot: index,
                        change,
                        ops,
                    });
                }
                None if matches!(slot.outcome, Some(Outcome::Quarantined { .. })) => {
                    self.aside.quarantined.insert(slot.change.hash());
                }
                None => continue,
            }
            todo.extend(
                dependents
                    .get(&slots[index].change.hash())
                    .into_iter()
                    .flatten(),
            );
        }
        self.apply(history, slots, mark, ready)
    }

    /// Whether a change can be applied now. Sets the slot's outcome where not.
    fn judge(&self, history: &History, slot: &mut Slot) -> Option<Decoded> {
        let deps = slot.change.deps();
        if deps.iter().any(|dep| self.aside.quarantined.contains(dep)) {
            slot.refuse(QuarantineReason::DependsOnQuarantined);
            return None;
        }
        if deps
            .iter()
            .any(|dep| belongs_to_another_kind(dep, self.kind))
        {
            slot.refuse(QuarantineReason::WrongDocument);
            return None;
        }
        let missing: Vec<[u8; 32]> = deps
            .iter()
            .filter(|dep| !history.contains(dep))
            .map(|dep| dep.0)
            .collect();
        if !missing.is_empty() {
            slot.outcome = Some(Outcome::Waiting { missing });
            return None;
        }
        let ops = slot
            .ops
            .take()
            .unwrap_or_else(|| slot.change.decode().operations);
        let decoded = Decoded {
            change: slot.change.clone(),
            ops,
        };
        match valid::check_ready(history, genesis(self.kind), &decoded) {
            Ok(()) => Some(decoded),
            Err(reason) => {
                slot.refuse(reason);
                None
            }
        }
    }

    /// Applies what passed, all at once, or one by one where that fails.
    fn apply(
        &mut self,
        history: &mut History,
        slots: &mut [Slot],
        mark: usize,
        ready: Vec<Ready>,
    ) -> Ingested {
        let mut ingested = Ingested::default();
        if ready.is_empty() {
            return ingested;
        }
        let new = ready.iter().map(|ready| &ready.change);
        let changes: Vec<Change> = self.behind.iter().chain(new).cloned().collect();
        if let Ok(sound) = self.try_apply(changes) {
            for change in std::mem::take(&mut self.behind) {
                self.stamp(&change);
            }
            self.adopt(sound, &ready, &mut ingested);
            return ingested;
        }
        if !self.behind.is_empty() {
            // Whoever left it behind starts anew, with a document that is not.
            return ingested;
        }
        history.truncate(mark);
        for ready in ready {
            let missing: Vec<[u8; 32]> = ready
                .change
                .deps()
                .iter()
                .filter(|dep| !history.contains(dep))
                .map(|dep| dep.0)
                .collect();
            slots[ready.slot].outcome = Some(if !missing.is_empty() {
                Outcome::Waiting { missing }
            } else {
                match self.try_apply(vec![ready.change.clone()]) {
                    Ok(sound) => {
                        history.add(&ready.change, &ready.ops);
                        self.adopt(sound, std::slice::from_ref(&ready), &mut ingested);
                        Outcome::Applied
                    }
                    Err(fault) => Outcome::HeldBack { fault },
                }
            });
        }
        ingested
    }

    /// Goes on with the copy.
    fn adopt(&mut self, sound: Sound, applied: &[Ready], ingested: &mut Ingested) {
        self.doc = sound.doc;
        for ready in applied {
            self.stamp(&ready.change);
            if ready.ops.iter().any(|op| op.pred.len() > 1) {
                let (doc, id) = (&self.doc, self.id);
                let resolved =
                    contained(|| Ok(conflict::resolved_by(doc, id, &ready.change, &ready.ops)));
                ingested.resolved.extend(resolved.unwrap_or_default());
            }
        }
        let (created, updated) = (self.created, self.updated);
        ingested.view = Some(View {
            created,
            updated,
            ..sound.view
        });
        ingested.saved = Some(sound.saved);
    }

    /// The safety net: a copy with the changes that is known to save, to load again and to be shown. The copy returned
    /// is the one that was loaded, so that what this process works on is what the next one will find.
    pub(super) fn try_apply(&mut self, changes: Vec<Change>) -> Result<Sound, String> {
        let hashes: Vec<ChangeHash> = changes.iter().map(Change::hash).collect();
        #[cfg(test)]
        super::tests::fault_for(&hashes)?;
        // What is behind is thrown away when it fails, so it may as well be the copy.
        let mut copy = match self.behind.is_empty() {
            true => self.doc.clone(),
            false => std::mem::take(&mut self.doc),
        };
        let (heads, saved) = contained(|| {
            copy.apply_changes(changes)
                .map_err(|error| error.to_string())?;
            Ok((copy.get_heads(), snapshot(&copy)))
        })?;
        let doc = load_contained(&saved)?;
        if doc.get_heads() != heads {
            return Err("the document does not load as it was saved".to_owned());
        }
        let view = contained(|| {
            if !doc.get_missing_deps(&hashes).is_empty() {
                return Err("automerge did not apply every change".to_owned());
            }
            Ok(view_of(&doc, self.kind, self.id))
        })?;
        Ok(Sound { doc, saved, view })
    }

    /// Keeps what is not applied where it belongs.
    fn put_aside(
        &mut self,
        key: ChangeKey,
        author: Author,
        change: Change,
        outcome: Option<Outcome>,
    ) {
        match outcome {
            None | Some(Outcome::Waiting { .. }) => {
                self.aside.waiting.push(Parked {
                    key,
                    author,
                    change,
                });
            }
            Some(Outcome::HeldBack { .. }) => self.aside.held.push(Parked {
                key,
                author,
                change,
            }),
            Some(Outcome::Applied | Outcome::Duplicate | Outcome::Quarantined { .. }) => {}
        }
    }
}

fn index_key(batch: &[Incoming<'_>], index: usize) -> ChangeKey {
    batch[index].key
}
