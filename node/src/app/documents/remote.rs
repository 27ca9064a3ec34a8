//! Remote runs: every entry gets a disposition, every document that moved gets new rows, and all of it is one batch.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::{FactKind, Incoming, Kind, Outcome, RecordId, Settled};
use store::{Batch, Disposition, FactWrite, RunEntry, RunWrite};
use sync_engine::{
    Entry, EntryHeader, EntryKind, LogId, ObjectId, Payload, Seq, StoreFault, Stored, TrustRecord,
    VerifiedEntry,
};

use super::edits::fact_row;
use super::queue::Class;
use super::resident::{Origin, Parked, Resident, author_of, fault};
use super::worker::{ChangedDocument, Worker};
use super::{RemoteCommand, lane_of, rows};
use crate::app::error::AppError;
use crate::app::present::Meta;

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
enum Target {
    Change(Kind, RecordId),
    Fact(FactKind, RecordId),
    /// Nothing for this program to apply: trust records (the engine's), sealed for others, or from a newer version.
    Carried,
    Refused(String),
}

impl Worker {
    pub(super) fn ingest(&mut self, class: Class, command: RemoteCommand) {
        let RemoteCommand { lane, runs, reply } = command;
        let logs: Vec<LogId> = runs.iter().map(|run| *run.log()).collect();
        match self.remote_batch(lane, runs) {
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
        lane: sync_engine::Lane,
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
        let mut touched = Vec::new();
        for (key, changes) in by_document {
            touched.push(key);
            if let Err(error) = self.document(key, changes, &mut entries, &mut drafted) {
                self.undo(touched);
                return Err(error);
            }
        }
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
                if let Err(reason) = add_fact(batch, kind, id, log, &header, &payload) {
                    judged.disposition = Disposition::Quarantined { reason };
                }
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
        let mut resident = self.residents.take(&self.around.store, key)?;
        let result = self.take_in(&mut resident, changes, entries, drafted);
        self.residents.put(key, resident);
        result
    }

    fn take_in(
        &mut self,
        resident: &mut Resident,
        changes: Vec<Change>,
        entries: &mut [Vec<RunEntry>],
        drafted: &mut Drafted,
    ) -> Result<(), AppError> {
        let mut incoming = Vec::with_capacity(changes.len());
        for change in &changes {
            let number = self.residents.next_key();
            if let Some(hash) = domain::change_hash(&change.bytes) {
                resident.note_origin(
                    hash,
                    Origin {
                        author: change.log.author.0,
                        user: change.header.user,
                        wall_ms: change.header.time.wall_ms,
                    },
                );
            }
            incoming.push(Incoming {
                key: number,
                author: author_of(&change.log),
                bytes: &change.bytes,
            });
        }
        let ingested = resident.document.ingest(&incoming);
        let mut applied = 0;
        for ((change, sent), outcome) in changes.iter().zip(&incoming).zip(&ingested.outcomes) {
            let disposition = disposition(outcome);
            if matches!(outcome, Outcome::Applied) {
                observe(&mut resident.meta, &change.log, &change.header);
                applied += 1;
            }
            if matches!(outcome, Outcome::Waiting { .. } | Outcome::HeldBack { .. }) {
                resident.keys.insert(sent.key, Parked::of(change));
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

fn disposition(outcome: &Outcome) -> Disposition {
    match outcome {
        Outcome::Applied | Outcome::Duplicate => Disposition::Applied,
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

/// What an entry is for, by its kind; a known kind in a lane that is not its own is refused, and so is an id of another
/// kind's.
fn target(log: &LogId, header: &EntryHeader, payload: &Payload) -> Target {
    let code = header.kind.0;
    if header.kind < EntryKind::FIRST_OPAQUE {
        return match payload {
            Payload::Plain(bytes) => match TrustRecord::decode(header.kind, bytes) {
                Ok(_) => Target::Carried,
                Err(error) => Target::Refused(error.to_string()),
            },
            Payload::Sealed { .. } => Target::Refused("trust records are never sealed".into()),
        };
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
    match payload {
        Payload::Plain(_) => target,
        Payload::Sealed { .. } => Target::Carried,
    }
}

fn add_fact(
    batch: &mut Batch,
    kind: FactKind,
    id: RecordId,
    log: &LogId,
    header: &EntryHeader,
    payload: &Payload,
) -> Result<(), String> {
    let Payload::Plain(bytes) = payload else {
        return Ok(());
    };
    let fact = domain::facts::decode(kind, bytes).map_err(|error| error.to_string())?;
    if batch.facts.iter().any(|other| other.id.0 == id.0) {
        return Err("a fact with this id is there already".into());
    }
    let row = fact_row(
        &fact.fields,
        header.time.wall_ms,
        &log.author.to_string(),
        header.user,
    );
    let view =
        serde_json::to_string(&row).map_err(|error| fault("write a row", error).to_string())?;
    batch.facts.push(FactWrite {
        id: ObjectId(id.0),
        kind: kind.code(),
        view,
        about: fact.about.map(|about| ObjectId(about.0)),
        created_wall_ms: header.time.wall_ms,
    });
    Ok(())
}
