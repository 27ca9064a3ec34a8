//! A new look at objects that may be shown wrongly: judged from nothing but their entries, as a node would that gets
//! them all today, and put right where the rows or the state of entries say something else.
//!
//! What always holds:
//!
//! - nothing is believed but the entries: memory, rows, snapshots and earlier verdicts are what is checked. Of a document's
//!   row that is its heads: they are what nodes compare, and all else in it is written together with them;
//! - what is put right is what `muster rebuild` gives: rows come from the journal, and verdicts that changed are lines of
//!   the journal in the commit that changes them;
//! - where the entries no longer bear anything of an object, it is left as it is, and said so: to take away what people
//!   saw is for a person.

mod document;
mod fact;

use std::collections::HashMap;

use domain::{FactKind, Kind, RecordId, schema};
use store::{
    Application, Batch, CommitNo, ConflictWrite, Disposition, DocumentRow, DocumentWrite,
    EntryState, FactRow, FactWrite, InspectedEntry, Reader, RebuildCommit, RewrittenViews,
    StoreError,
};
use sync_engine::{Lane, LogId, ObjectId, Seq};

use super::ExamineCommand;
use super::queue::Class;
use super::replay::AppliedEntry;
use super::resident::fault;
use super::worker::{ChangedDocument, Worker};
use crate::app::error::AppError;

/// Objects in one batch: building each anew takes a millisecond or some, and edits wait for as long. Where one is wrong
/// they wait for one reading of the journal besides.
pub(super) const OBJECTS_AT_ONCE: usize = 32;

/// What a new look at an object came to.
#[derive(Debug, Clone)]
pub(in crate::app) struct Examined {
    pub object: ObjectId,
    /// What was shown, and what is now: heads of a document, the place of a fact's entry. `None`: nothing.
    pub before: Option<String>,
    pub after: Option<String>,
    /// Entries whose state was wrong.
    pub entries: Vec<EntryChange>,
    pub verdict: Verdict,
}

/// An entry whose state was wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::app) struct EntryChange {
    pub log: LogId,
    pub seq: Seq,
    pub before: &'static str,
    pub after: &'static str,
}

/// Whether what was shown follows from the entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::app) enum Verdict {
    /// It does.
    Sound,
    /// It did not, and does now.
    Repaired,
    /// It does not, and could not be put right.
    NotRepaired(String),
}

/// All that the store has of an object, but for the journal.
struct Kept {
    object: ObjectId,
    entries: Vec<InspectedEntry>,
    document: Option<(DocumentRow, Vec<u8>)>,
    fact: Option<FactRow>,
}

/// What the entries of an object say.
enum Judged {
    Document(document::Judged),
    Fact(fact::Judged),
    /// None of them bears anything that is shown.
    Nothing,
}

/// What puts an object right.
#[derive(Default)]
struct Repair {
    rewritten: Option<Vec<RebuildCommit>>,
    released: Vec<(LogId, Seq, Disposition)>,
    document: Option<DocumentWrite>,
    conflicts: Vec<ConflictWrite>,
    facts: Vec<FactWrite>,
}

impl Worker {
    pub(super) fn examine(&mut self, class: Class, command: ExamineCommand) {
        let ExamineCommand { objects, reply } = command;
        self.wait_for_the_disk();
        let (batch, examined) = match self.draft_repair(&objects) {
            Ok((batch, examined)) if !batch.rewritten.is_empty() || !batch.released.is_empty() => {
                (batch, examined)
            }
            result => {
                self.nothing_handed_over(class);
                let _ = reply.send(result.map(|(_, examined)| examined));
                return;
            }
        };
        for (log, seq, disposition) in &batch.released {
            self.mark(*log, *seq, disposition);
        }
        let mut logs: Vec<LogId> = batch.released.iter().map(|(log, ..)| *log).collect();
        logs.sort_unstable();
        logs.dedup();
        let applied = logs
            .iter()
            .map(|log| (*log, self.applied_height(log)))
            .collect();
        let changed = changed(&batch);
        self.hand_over(class, batch, Vec::new(), changed, applied, move |result| {
            let _ = reply.send(result.map(|()| examined));
        });
        // They are not in memory: whoever edits one must find it on the disk as it is now.
        self.wait_for_this_batch();
    }

    /// What the objects come to, and the batch that puts right what is wrong.
    fn draft_repair(&mut self, objects: &[ObjectId]) -> Result<(Batch, Vec<Examined>), AppError> {
        for object in objects {
            for kind in Kind::all() {
                self.residents.forget((kind, RecordId(object.0)));
            }
        }
        let store = &self.around.store;
        let kept = store
            .read(|reader| {
                let kept = objects.iter().map(|object| Kept::read(reader, object));
                kept.collect::<Result<Vec<Kept>, StoreError>>()
            })
            .map_err(|error| fault("read the entries of objects", error))?;
        let judged: Vec<Judged> = kept.iter().map(Kept::judge).collect();
        let wrong: Vec<ObjectId> = kept
            .iter()
            .zip(&judged)
            .filter(|(kept, judged)| !kept.is_shown_as(judged))
            .map(|(kept, _)| kept.object)
            .collect();
        // The whole journal is read for it: only where something is wrong, so that nobody can make this node do it.
        let mut applications = match wrong[..] {
            [] => HashMap::new(),
            _ => store
                .read(|reader| reader.applications_of(&wrong))
                .map_err(|error| fault("read the journal of objects", error))?,
        };
        let mut batch = Batch::new(Lane::Coordination, self.around.clock.wall_ms());
        let mut all = Vec::with_capacity(kept.len());
        for (kept, judged) in kept.iter().zip(&judged) {
            if !wrong.contains(&kept.object) {
                all.push(kept.sound());
                continue;
            }
            let history = kept.history(&applications.remove(&kept.object).unwrap_or_default());
            let (examined, repair) = match judged {
                Judged::Document(judged) => document::repair(kept, judged, &history)?,
                Judged::Fact(judged) => fact::repair(kept, judged, &history),
                Judged::Nothing => kept.removed(),
            };
            all.push(examined);
            if let Some(repair) = repair {
                repair.add_to(&mut batch, kept.object);
            }
        }
        Ok((batch, all))
    }
}

impl Repair {
    fn add_to(self, batch: &mut Batch, object: ObjectId) {
        if let Some(commits) = self.rewritten {
            batch.rewritten.push(RewrittenViews { object, commits });
        }
        batch.released.extend(self.released);
        batch.documents.extend(self.document);
        batch.conflicts.extend(self.conflicts);
        batch.facts.extend(self.facts);
    }
}

/// The entries that commits applied, as the journal says, in its order.
type History = Vec<(CommitNo, Vec<AppliedEntry>)>;

impl Kept {
    fn read(reader: &Reader<'_>, object: &ObjectId) -> Result<Self, StoreError> {
        let row = reader.get_document(None, object, None)?;
        Ok(Kept {
            object: *object,
            entries: reader.entries_about(object)?,
            document: row.zip(reader.document_heads(object)?),
            fact: reader.get_fact(object)?,
        })
    }

    /// Judges every entry from nothing.
    fn judge(&self) -> Judged {
        let id = RecordId(self.object.0);
        let codes = || {
            let codes = self.entries.iter().map(|entry| entry.entry.kind);
            codes.filter(|code| domain::ids::fits_kind(id, *code))
        };
        if let Some(spec) = codes().find_map(schema::spec_by_code) {
            return Judged::Document(document::judge(self, spec.kind));
        }
        match codes().find_map(FactKind::by_code) {
            Some(kind) => Judged::Fact(fact::judge(self, kind)),
            None => Judged::Nothing,
        }
    }

    /// Whether what is shown, and the states of entries, follow from the entries.
    fn is_shown_as(&self, judged: &Judged) -> bool {
        match judged {
            Judged::Document(judged) => document::is_shown(self, judged),
            Judged::Fact(judged) => fact::is_shown(self, judged),
            Judged::Nothing => self.document.is_none() && self.fact.is_none(),
        }
    }

    /// The answer where nothing is wrong.
    fn sound(&self) -> Examined {
        Examined {
            object: self.object,
            before: self.shown(),
            after: self.shown(),
            entries: Vec::new(),
            verdict: Verdict::Sound,
        }
    }

    /// Rows without any entry: a rebuild would not give them.
    fn removed(&self) -> (Examined, Option<Repair>) {
        let examined = Examined {
            object: self.object,
            before: self.shown(),
            after: None,
            entries: Vec::new(),
            verdict: Verdict::Repaired,
        };
        let repair = Repair {
            rewritten: Some(Vec::new()),
            ..Repair::default()
        };
        (examined, Some(repair))
    }

    /// What is shown of it, for a person.
    fn shown(&self) -> Option<String> {
        match (&self.document, &self.fact) {
            (Some((_, heads)), _) => Some(document::heads_in_words(heads.as_chunks::<32>().0)),
            (None, Some(fact)) => Some(fact::place_in_words(&fact.log, fact.seq)),
            (None, None) => None,
        }
    }

    /// The entries whose state is another than was judged now.
    fn wrong<'a>(
        &'a self,
        judged: impl IntoIterator<Item = &'a Disposition>,
    ) -> Vec<(&'a InspectedEntry, EntryChange, Disposition)> {
        self.entries
            .iter()
            .zip(judged)
            .filter_map(|(entry, judged)| {
                let change = EntryChange {
                    log: entry.entry.log,
                    seq: entry.entry.seq,
                    before: state_word(&entry.state),
                    after: word(judged),
                };
                (change.before != change.after).then(|| (entry, change, judged.clone()))
            })
            .collect()
    }

    /// What the journal says was applied, with the entries' bytes.
    fn history(&self, applications: &[Application]) -> History {
        let bytes: HashMap<(LogId, Seq), &[u8]> = self
            .entries
            .iter()
            .map(|entry| {
                let place = (entry.entry.log, entry.entry.seq);
                (place, entry.entry.bytes.as_slice())
            })
            .collect();
        applications
            .chunk_by(|one, next| one.commit == next.commit)
            .map(|chunk| {
                let entries = chunk.iter().filter_map(|it| {
                    let bytes = bytes.get(&(it.log, it.seq))?;
                    Some((it.log, it.seq, bytes.to_vec()))
                });
                (chunk[0].commit, entries.collect())
            })
            .collect()
    }
}

/// What became of a stored entry, in a word for people.
pub(in crate::app) fn state_word(state: &EntryState) -> &'static str {
    match state {
        EntryState::Applied { .. } => "applied",
        EntryState::Waiting { .. } => "waiting",
        EntryState::Quarantined { .. } => "quarantined",
        EntryState::Held { .. } => "held",
        EntryState::Unknown => "unknown",
    }
}

fn word(disposition: &Disposition) -> &'static str {
    match disposition {
        Disposition::Applied => "applied",
        Disposition::Waiting { .. } => "waiting",
        Disposition::Quarantined { .. } => "quarantined",
        Disposition::Held { .. } => "held",
    }
}

/// The documents of a batch for those who follow what they say.
fn changed(batch: &Batch) -> Vec<ChangedDocument> {
    let last_of = |views: &RewrittenViews| {
        let last = views.commits.iter().rev();
        last.flat_map(|commit| &commit.documents).next().cloned()
    };
    let written: HashMap<ObjectId, DocumentWrite> = batch
        .rewritten
        .iter()
        .filter_map(last_of)
        .chain(batch.documents.iter().cloned())
        .map(|document| (document.id, document))
        .collect();
    written
        .into_values()
        .filter_map(|document| {
            Some(ChangedDocument {
                kind: schema::spec_by_code(document.kind)?.kind,
                id: RecordId(document.id.0),
                deleted: document.deleted,
                row: serde_json::from_str(&document.view).ok()?,
            })
        })
        .collect()
}
