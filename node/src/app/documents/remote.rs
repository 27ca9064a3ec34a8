//! Remote runs: every entry gets a disposition, every document that moved gets new rows, and all of it is one batch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domain::{FactKind, Incoming, Ingested, Kind, Outcome, RecordId, Settled};
use store::{Batch, Disposition, EntryPlace, FactWrite, ReceiptWrite, RunEntry, RunWrite};
use sync_engine::{
    Entry, EntryHeader, EntryKind, GroupId, Lane, LogId, ObjectId, Payload, ProgressItem, Seq,
    StoreFault, Stored, TrustRecord, VerifiedEntry,
};

use super::edits::fact_row;
use super::of_itself::OfItself;
use super::queue::Class;
use super::resident::{Origin, Parked, Resident, author_of, fault};
use super::worker::{ChangedDocument, Worker};
use super::{IngestCommand, lane_of, rows};
use crate::app::error::AppError;
use crate::app::present::Meta;
use crate::app::summaries::payload::SeriesSaid;
use crate::app::summaries::raw::RawQuarter;
use crate::app::{health, summaries};

/// Where an entry stands in the batch: index of its run, index within it.
type Place = (usize, usize);

/// An Automerge change on its way to its document.
struct Change {
    place: Place,
    log: LogId,
    seq: Seq,
    header: EntryHeader,
    bytes: Vec<u8>,
}

/// What an entry is for.
pub(super) enum Target {
    Change(Kind, RecordId),
    Fact(FactKind, RecordId),
    /// How far the log's author has come with the others' logs.
    Receipt(Vec<ProgressItem>),
    /// What the log's author heard of its sensors.
    Summary(Vec<SeriesSaid>),
    /// What it knows of its devices.
    Health(health::payload::Said),
    /// Readings of its sensors.
    Raw(RawQuarter),
    /// Nothing for this program to apply: trust records (the engine's), sealed for others, or from a newer version.
    Carried,
    Refused(String),
}

impl Worker {
    pub(super) fn ingest(&mut self, class: Class, command: IngestCommand) {
        let IngestCommand { lane, runs, reply } = command;
        let logs: Vec<LogId> = runs.iter().map(|run| *run.log()).collect();
        match self.remote_batch(class, lane, runs) {
            Ok(Drafted {
                batch,
                pins,
                changed,
                mut moved,
            }) => {
                let applied: Vec<(LogId, Seq)> = logs
                    .iter()
                    .map(|log| (*log, self.applied_height(log)))
                    .collect();
                // Logs of this batch are answered for by the acknowledgement itself.
                moved.retain(|log| !logs.contains(log));
                let elsewhere = moved
                    .iter()
                    .map(|log| (*log, self.applied_height(log)))
                    .collect();
                self.hand_over(class, batch, pins, changed, elsewhere, move |result| {
                    let answer = match result {
                        Ok(()) => Ok(Stored { applied }),
                        Err(error) => Err(StoreFault {
                            detail: error.to_string(),
                        }),
                    };
                    // The engine gives up on batches when it stops.
                    let _ = reply.send(answer);
                });
            }
            Err(error) => {
                self.nothing_handed_over(class);
                let _ = reply.send(Err(StoreFault {
                    detail: error.to_string(),
                }));
            }
        }
    }

    fn remote_batch(
        &mut self,
        class: Class,
        lane: Lane,
        runs: Vec<sync_engine::VerifiedRun>,
    ) -> Result<Drafted, AppError> {
        let wall_ms = self.around.clock.wall_ms();
        let mut batch = Batch::new(lane, wall_ms);
        let mut by_document: BTreeMap<(Kind, RecordId), Vec<Change>> = BTreeMap::new();
        let mut entries: Vec<Vec<RunEntry>> = Vec::with_capacity(runs.len());
        for (run_at, run) in runs.iter().enumerate() {
            let log = *run.log();
            let mut judged = Vec::with_capacity(run.entries().len());
            for (entry_at, verified) in run.entries().iter().enumerate() {
                let place = (run_at, entry_at);
                let judgement =
                    self.judge(&mut batch, &log, verified, place, wall_ms, &mut by_document);
                judged.push(judgement);
            }
            entries.push(judged);
        }

        let mut drafted = Drafted {
            batch,
            pins: Vec::new(),
            changed: Vec::new(),
            moved: Vec::new(),
        };
        // What is in memory goes first: in the order of ids, a catch-up over more documents than fit there would find
        // each of them just dropped.
        let (here, elsewhere): (Vec<_>, Vec<_>) = by_document
            .into_iter()
            .partition(|(key, _)| self.residents.holds(key));
        let mut touched = BTreeSet::new();
        for (key, changes) in here.into_iter().chain(elsewhere) {
            self.edits_in_between(class, &touched);
            touched.insert(key);
            if let Err(error) = self.document(key, changes, &mut entries, &mut drafted) {
                self.undo(touched);
                // Some of these documents may have settled what waited for them.
                self.load_marks()
                    .map_err(|error| fault("read what waits to be applied", error))?;
                return Err(error);
            }
        }
        // The rows must not depend on what happened to be in memory.
        drafted
            .batch
            .documents
            .sort_by_key(|document| (document.kind, document.id));
        for (run, judged) in runs.iter().zip(&entries) {
            let log = *run.log();
            for (verified, judgement) in run.entries().iter().zip(judged) {
                self.mark(log, verified.seq, &judgement.disposition);
            }
            let height = self.heights.entry(log).or_insert(Seq(0));
            *height = (*height).max(run.head().seq);
        }
        drafted.batch.runs = runs
            .into_iter()
            .zip(entries)
            .map(|(run, entries)| RunWrite { run, entries })
            .collect();
        Ok(drafted)
    }

    /// A first judgement of one entry. Changes are put aside for their document; theirs is settled later.
    fn judge(
        &mut self,
        batch: &mut Batch,
        log: &LogId,
        verified: &VerifiedEntry,
        place: Place,
        wall_ms: u64,
        by_document: &mut BTreeMap<(Kind, RecordId), Vec<Change>>,
    ) -> RunEntry {
        let entry = match Entry::decode(&verified.bytes) {
            Ok(entry) => entry,
            Err(error) => {
                return RunEntry {
                    kind: 0,
                    object: ObjectId([0; 16]),
                    disposition: Disposition::Quarantined {
                        reason: error.to_string(),
                    },
                };
            }
        };
        let Entry { header, payload } = entry;
        self.clock.observe(header.time, wall_ms);
        let mut judged = RunEntry {
            kind: header.kind.0,
            object: header.object,
            disposition: Disposition::Applied,
        };
        match target(log, &header, &payload) {
            Target::Carried => {}
            Target::Refused(reason) => judged.disposition = Disposition::Quarantined { reason },
            Target::Fact(kind, id) => {
                match fact(kind, id, (*log, verified.seq), &header, &payload) {
                    Ok(fact) => batch.facts.extend(fact),
                    Err(reason) => judged.disposition = Disposition::Quarantined { reason },
                }
            }
            Target::Receipt(items) => batch.receipts.push(ReceiptWrite {
                node: log.author,
                at_wall_ms: header.time.wall_ms,
                items,
            }),
            Target::Summary(said) => {
                let entry = Some((*log, verified.seq));
                let write = summaries::summary_write(log.author, entry, said);
                batch.summaries.push(write);
            }
            Target::Health(said) => {
                let entry = Some((*log, verified.seq));
                let write = health::health_write(log.author, entry, said);
                batch.health.push(write);
            }
            Target::Raw(quarter) => {
                let place = EntryPlace::Log(*log, verified.seq);
                let write = summaries::raw_write(log.author, place, &quarter);
                batch.raw.push(write);
            }
            Target::Change(kind, id) => {
                if let Payload::Plain(bytes) = payload {
                    by_document.entry((kind, id)).or_default().push(Change {
                        place,
                        log: *log,
                        seq: verified.seq,
                        header,
                        bytes,
                    });
                }
            }
        }
        judged
    }

    /// Gives a document its changes and adds what came of it to the batch.
    fn document(
        &mut self,
        key: (Kind, RecordId),
        changes: Vec<Change>,
        entries: &mut [Vec<RunEntry>],
        drafted: &mut Drafted,
    ) -> Result<(), AppError> {
        let mut incoming = Vec::with_capacity(changes.len());
        for change in &changes {
            let number = self.residents.next_key();
            incoming.push(Incoming {
                key: number,
                author: author_of(&change.log),
                bytes: &change.bytes,
            });
        }
        let store = &self.around.store;
        let (mut resident, ingested) = self.residents.take_and_ingest(store, key, &incoming)?;
        let keys: Vec<u64> = incoming.iter().map(|sent| sent.key).collect();
        let result = self.take_in(&mut resident, changes, &keys, ingested, entries, drafted);
        self.residents.put(key, resident);
        result
    }

    /// What came of a document's changes, whose keys are `keys`.
    fn take_in(
        &mut self,
        resident: &mut Resident,
        changes: Vec<Change>,
        keys: &[u64],
        ingested: Ingested,
        entries: &mut [Vec<RunEntry>],
        drafted: &mut Drafted,
    ) -> Result<(), AppError> {
        let mut applied = 0;
        for ((change, key), outcome) in changes.iter().zip(keys).zip(&ingested.outcomes) {
            let disposition = disposition(outcome);
            // Only of what stands: a copy in somebody else's log says nothing about who made the change.
            if !matches!(outcome, Outcome::Quarantined { .. } | Outcome::Duplicate) {
                resident.note_origin_of(&change.bytes, Origin::of(&change.log, &change.header));
            }
            if matches!(outcome, Outcome::Applied) {
                observe(&mut resident.meta, &change.log, &change.header);
                applied += 1;
            }
            if matches!(outcome, Outcome::Waiting { .. } | Outcome::HeldBack { .. }) {
                resident.keys.insert(*key, Parked::of(change));
            }
            let (run, at) = change.place;
            entries[run][at].disposition = disposition;
        }
        for Settled { key, outcome } in &ingested.settled {
            let Some(parked) = resident.keys.get(key).copied() else {
                continue;
            };
            let disposition = disposition(outcome);
            if matches!(outcome, Outcome::Applied) {
                resident.meta.observe(
                    parked.wall_ms,
                    parked.logical,
                    &parked.log.author.to_string(),
                    parked.user,
                );
                applied += 1;
            }
            if !matches!(outcome, Outcome::Waiting { .. } | Outcome::HeldBack { .. }) {
                resident.keys.remove(key);
                self.mark(parked.log, parked.seq, &disposition);
                drafted.moved.push(parked.log);
                drafted
                    .batch
                    .released
                    .push((parked.log, parked.seq, disposition));
            }
        }
        if applied == 0 {
            drafted.pins.push(Arc::clone(&resident.pin));
            return Ok(());
        }
        resident.unsaved += applied;
        let rows = rows::rows(
            resident,
            Some(&self.around.store),
            &ingested.resolved,
            ingested.view,
            ingested.saved,
        )?;
        drafted.batch.conflicts.extend(rows.conflicts);
        drafted.pins.push(Arc::clone(&resident.pin));
        drafted.changed.push(ChangedDocument {
            kind: resident.document.kind(),
            id: resident.document.id(),
            deleted: rows.document.deleted,
            row: rows.row,
        });
        drafted.batch.documents.push(rows.document);
        Ok(())
    }
}

/// A remote batch on its way to the store.
struct Drafted {
    batch: Batch,
    pins: Vec<Arc<()>>,
    changed: Vec<ChangedDocument>,
    /// Logs of earlier batches whose waiting entries were settled.
    moved: Vec<LogId>,
}

impl Parked {
    fn of(change: &Change) -> Parked {
        Parked {
            log: change.log,
            seq: change.seq,
            wall_ms: change.header.time.wall_ms,
            logical: change.header.time.logical,
            user: change.header.user,
        }
    }
}

fn observe(meta: &mut Meta, log: &LogId, header: &EntryHeader) {
    meta.observe(
        header.time.wall_ms,
        header.time.logical,
        &log.author.to_string(),
        header.user,
    );
}

pub(super) fn disposition(outcome: &Outcome) -> Disposition {
    match outcome {
        Outcome::Applied => Disposition::Applied,
        // Only its own author can write a change twice. The first stands, whatever becomes of it.
        Outcome::Duplicate => Disposition::Quarantined {
            reason: "its log holds this change already".into(),
        },
        Outcome::Waiting { missing } => Disposition::Waiting {
            missing: missing.clone(),
        },
        Outcome::Quarantined { reason } => Disposition::Quarantined {
            reason: reason.to_string(),
        },
        Outcome::HeldBack { fault } => Disposition::Held {
            fault: fault.clone(),
        },
    }
}

/// What is to be known of an entry of the trust lane where there is nothing but that lane yet: at a node that joins.
pub(in crate::app) fn judge_trust_entry(log: &LogId, entry_bytes: &[u8]) -> RunEntry {
    let quarantined = |kind, object, reason| RunEntry {
        kind,
        object,
        disposition: Disposition::Quarantined { reason },
    };
    match Entry::decode(entry_bytes) {
        Err(error) => quarantined(0, ObjectId([0; 16]), error.to_string()),
        Ok(Entry { header, payload }) => match target(log, &header, &payload) {
            Target::Refused(reason) => quarantined(header.kind.0, header.object, reason),
            // Nothing that is not the engine's belongs into that lane.
            _ => RunEntry {
                kind: header.kind.0,
                object: header.object,
                disposition: Disposition::Applied,
            },
        },
    }
}

/// The change of a document in a stored entry; `None` for an entry that has the document's id and is something else, or
/// stands where the document's changes do not belong.
pub(in crate::app) fn change_in(
    (kind, id): (Kind, RecordId),
    log: &LogId,
    entry_bytes: &[u8],
) -> Option<(EntryHeader, Vec<u8>)> {
    let Entry { header, payload } = Entry::decode(entry_bytes).ok()?;
    match (target(log, &header, &payload), payload) {
        (Target::Change(of, object), Payload::Plain(bytes)) if (of, object) == (kind, id) => {
            Some((header, bytes))
        }
        _ => None,
    }
}

/// What an entry is for, by its kind; a known kind in a log that is not for it is refused, and so is an id of another
/// kind's, and a fact's id that is another author's.
pub(super) fn target(log: &LogId, header: &EntryHeader, payload: &Payload) -> Target {
    let code = header.kind.0;
    if header.kind < EntryKind::FIRST_OPAQUE {
        if log.lane != Lane::Trust {
            return Target::Refused("this kind belongs into lane 0".into());
        }
        return match payload {
            Payload::Plain(bytes) => match TrustRecord::decode(header.kind, bytes) {
                Ok(_) => Target::Carried,
                Err(error) => Target::Refused(error.to_string()),
            },
            Payload::Sealed { .. } => Target::Refused("trust records are never sealed".into()),
        };
    }
    if let Some(of_itself) = OfItself::of(header.kind) {
        return of_itself.target(log, header, payload);
    }
    let id = RecordId(header.object.0);
    let (lane, target) = if let Some(spec) = domain::schema::spec_by_code(code) {
        (spec.lane, Target::Change(spec.kind, id))
    } else if let Some(kind) = FactKind::by_code(code) {
        (kind.lane(), Target::Fact(kind, id))
    } else {
        return Target::Carried;
    };
    if lane_of(lane) != log.lane {
        return Target::Refused(format!("this kind belongs into lane {lane}"));
    }
    if !domain::ids::fits_kind(id, code) {
        return Target::Refused("the id is not one of this kind".into());
    }
    if matches!(target, Target::Fact(..)) && !domain::ids::fits_author(id, &log.author.0) {
        return Target::Refused("the id is another author's".into());
    }
    if log.group != GroupId::SHARED && matches!(payload, Payload::Plain(_)) {
        return Target::Refused("only what is for everybody is not sealed".into());
    }
    match payload {
        Payload::Plain(_) => target,
        Payload::Sealed { .. } => Target::Carried,
    }
}

/// The row of a fact; `None` for a sealed one. Of several entries under one id the store keeps the same one on every
/// node.
pub(super) fn fact(
    kind: FactKind,
    id: RecordId,
    place: (LogId, Seq),
    header: &EntryHeader,
    payload: &Payload,
) -> Result<Option<FactWrite>, String> {
    let Payload::Plain(bytes) = payload else {
        return Ok(None);
    };
    let fact = domain::facts::decode(kind, bytes).map_err(|error| error.to_string())?;
    let row = fact_row(
        &fact.fields,
        header.time.wall_ms,
        &place.0.author.to_string(),
        header.user,
    );
    let view =
        serde_json::to_string(&row).map_err(|error| fault("write a row", error).to_string())?;
    Ok(Some(FactWrite {
        id: ObjectId(id.0),
        kind: kind.code(),
        entry: Some(place),
        view,
        about: fact.about.map(|about| ObjectId(about.0)),
        created_wall_ms: header.time.wall_ms,
    }))
}

/// The row of a fact from its stored entry; `None` for bytes that are none.
pub(in crate::app) fn fact_write(
    kind: FactKind,
    log: &LogId,
    seq: Seq,
    entry_bytes: &[u8],
) -> Option<FactWrite> {
    let Entry { header, payload } = Entry::decode(entry_bytes).ok()?;
    fact(
        kind,
        RecordId(header.object.0),
        (*log, seq),
        &header,
        &payload,
    )
    .ok()?
}
