//! Runs from peers: every entry gets its verdict, every document that moved its row, all in one batch.

use std::collections::{BTreeMap, BTreeSet};

use domain::{FactKind, Incoming, Outcome, RecordId};
use store::{Batch, Disposition, FactWrite, RunEntry, RunWrite};
use sync_engine::{
    Entry, EntryHash, Lane, LogId, ObjectId, Payload, Seq, VerifiedEntry, VerifiedRun,
};

use super::target::{Target, target};
use super::{Desk, author_of, row};
use crate::disk::Disk;
use crate::planted::{self, InShell};

/// What was decided about one entry.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// Where it stands.
    pub log: LogId,
    /// See `log`.
    pub seq: Seq,
    /// `None` when it was settled later than it came.
    pub hash: Option<EntryHash>,
    /// What became of it.
    pub disposition: Disposition,
}

/// A batch of runs, ready to be committed.
pub struct Judged {
    /// For the disk.
    pub batch: Batch,
    /// Documents that are lost from memory if the commit fails.
    pub touched: BTreeSet<RecordId>,
    /// For the model.
    pub verdicts: Vec<Verdict>,
    /// Logs of earlier batches in which something was settled.
    pub moved: BTreeSet<LogId>,
}

/// A change on its way to its document: index of its run, index within it.
struct Change {
    place: (usize, usize),
    log: LogId,
    seq: Seq,
    bytes: Vec<u8>,
}

impl Desk {
    /// Judges what came from a peer.
    ///
    /// # Errors
    /// When a document cannot be read from the disk.
    pub fn judge(
        &mut self,
        disk: &dyn Disk,
        lane: Lane,
        wall_ms: u64,
        runs: Vec<VerifiedRun>,
    ) -> Result<Judged, String> {
        let mut judged = Judged {
            batch: Batch::new(lane, wall_ms),
            touched: BTreeSet::new(),
            verdicts: Vec::new(),
            moved: BTreeSet::new(),
        };
        let mut changes: BTreeMap<RecordId, Vec<Change>> = BTreeMap::new();
        let mut entries: Vec<Vec<RunEntry>> = Vec::new();
        for (run_at, run) in runs.iter().enumerate() {
            let each = run.entries().iter().enumerate();
            let first = each.map(|(entry_at, verified)| {
                first_look(
                    &mut judged.batch,
                    run.log(),
                    verified,
                    (run_at, entry_at),
                    &mut changes,
                )
            });
            let first = first.collect();
            entries.push(first);
        }
        for (id, changes) in changes {
            judged.touched.insert(id);
            self.take_in(disk, id, changes, &mut entries, &mut judged)?;
        }
        for (run, entries) in runs.iter().zip(&entries) {
            for (verified, judgement) in run.entries().iter().zip(entries) {
                let verdict = Verdict {
                    log: *run.log(),
                    seq: verified.seq,
                    hash: Some(verified.hash),
                    disposition: judgement.disposition.clone(),
                };
                self.note(&verdict);
                judged.verdicts.push(verdict);
            }
        }
        let written = runs.into_iter().zip(entries);
        judged.batch.runs = written
            .map(|(run, entries)| RunWrite { run, entries })
            .collect();
        Ok(judged)
    }

    /// Gives a document its changes.
    fn take_in(
        &mut self,
        disk: &dyn Disk,
        id: RecordId,
        changes: Vec<Change>,
        entries: &mut [Vec<RunEntry>],
        judged: &mut Judged,
    ) -> Result<(), String> {
        let first_key = self.next_key + 1;
        self.next_key += changes.len() as u64;
        self.touch(id);
        let resident = self.resident(id, disk)?;
        let incoming: Vec<Incoming<'_>> = changes
            .iter()
            .zip(first_key..)
            .map(|(change, key)| Incoming {
                key,
                author: author_of(&change.log),
                bytes: &change.bytes,
            })
            .collect();
        let ingested = resident.document.ingest(&incoming);
        if let Some(view) = &ingested.view {
            // The store saves a document now and then, and the changes since beside it.
            let snapshot = ingested.saved.filter(|_| first_key.is_multiple_of(3));
            judged
                .batch
                .documents
                .push(row(&resident.document, view, snapshot));
            resident.versions.push(view.version.clone());
            let old = resident.versions.len().saturating_sub(super::VERSIONS_KEPT);
            resident.versions.drain(..old);
        }
        for ((change, key), outcome) in changes.iter().zip(first_key..).zip(&ingested.outcomes) {
            let (run, at) = change.place;
            entries[run][at].disposition = disposition(outcome);
            if matches!(outcome, Outcome::Waiting { .. } | Outcome::HeldBack { .. }) {
                self.parked.insert(key, (id, change.log, change.seq));
            }
        }
        for settled in &ingested.settled {
            let disposition = disposition(&settled.outcome);
            let (_, log, seq) = *self.parked.get(&settled.key).ok_or_else(|| {
                format!(
                    "{}: a change of {id} is settled that does not wait, or settled twice",
                    self.node
                )
            })?;
            if matches!(
                disposition,
                Disposition::Waiting { .. } | Disposition::Held { .. }
            ) {
                continue;
            }
            self.parked.remove(&settled.key);
            let verdict = Verdict {
                log,
                seq,
                hash: None,
                disposition: disposition.clone(),
            };
            self.note(&verdict);
            judged.verdicts.push(verdict);
            judged.moved.insert(log);
            if !planted::is(InShell::SettleInMemory) {
                judged.batch.released.push((log, seq, disposition));
            }
        }
        Ok(())
    }

    fn note(&mut self, verdict: &Verdict) {
        let place = (verdict.log, verdict.seq);
        match verdict.disposition {
            Disposition::Waiting { .. } | Disposition::Held { .. } => self.open.insert(place),
            Disposition::Applied | Disposition::Quarantined { .. } => self.open.remove(&place),
        };
    }
}

/// What can be said of an entry without its document.
fn first_look(
    batch: &mut Batch,
    log: &LogId,
    verified: &VerifiedEntry,
    place: (usize, usize),
    changes: &mut BTreeMap<RecordId, Vec<Change>>,
) -> RunEntry {
    let refused = |kind, object, reason: &str| RunEntry {
        kind,
        object,
        disposition: Disposition::Quarantined {
            reason: reason.to_owned(),
        },
    };
    let Ok(entry) = Entry::decode(&verified.bytes) else {
        return refused(0, ObjectId([0; 16]), "malformed entry");
    };
    let (kind, object) = (entry.header.kind.0, entry.header.object);
    let target = target(log, &entry);
    let bytes = match entry.payload {
        Payload::Plain(bytes) => bytes,
        Payload::Sealed { .. } => Vec::new(),
    };
    match target {
        Target::Carried => {}
        Target::Refused(reason) => return refused(kind, object, reason),
        Target::Fact(_) => match fact_row(
            &bytes,
            (*log, verified.seq),
            object,
            entry.header.time.wall_ms,
        ) {
            Ok(fact) => batch.facts.push(fact),
            Err(reason) => return refused(kind, object, &reason),
        },
        Target::Change(id) => changes.entry(id).or_default().push(Change {
            place,
            log: *log,
            seq: verified.seq,
            bytes,
        }),
    }
    RunEntry {
        kind,
        object,
        disposition: Disposition::Applied,
    }
}

/// The row of a note.
pub(super) fn fact_row(
    bytes: &[u8],
    place: (LogId, Seq),
    id: ObjectId,
    wall_ms: u64,
) -> Result<FactWrite, String> {
    let fact = domain::facts::decode(FactKind::Note, bytes).map_err(|error| error.to_string())?;
    Ok(FactWrite {
        id,
        kind: FactKind::Note.code(),
        entry: (place.1 > Seq::NONE).then_some(place),
        view: serde_json::Value::Object(fact.fields).to_string(),
        about: fact.about.map(|about| ObjectId(about.0)),
        created_wall_ms: wall_ms,
    })
}

fn disposition(outcome: &Outcome) -> Disposition {
    match outcome {
        Outcome::Applied => Disposition::Applied,
        Outcome::Duplicate => Disposition::Quarantined {
            reason: "its log holds this change already".to_owned(),
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
