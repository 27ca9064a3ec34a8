//! A new look at a document.

use data_encoding::HEXLOWER;
use domain::{Document, Incoming, Kind, RecordId};
use store::{Disposition, DocumentRow, DocumentWrite, RebuildCommit};
use sync_engine::{Entry, LogId, Payload, Seq};

use super::{Examined, Kept, Repair, Verdict};
use crate::app::documents::remote::{self, Target};
use crate::app::documents::replay::{AppliedEntry, Replay};
use crate::app::documents::resident::author_of;
use crate::app::error::AppError;

/// What the entries say of themselves.
struct Judged {
    /// One per entry.
    dispositions: Vec<Disposition>,
    heads: Vec<[u8; 32]>,
}

/// The document's past as the journal has it, and what it comes to.
struct Past {
    commits: Vec<RebuildCommit>,
    replay: Replay,
}

pub(super) fn look(kept: &Kept, kind: Kind) -> Result<(Examined, Option<Repair>), AppError> {
    let id = RecordId(kept.object.0);
    let judged = judge(kept, kind, id);
    let wrong = kept.wrong(&judged.dispositions);
    let past = past(kept, kind, id)?;

    let mut examined = Examined {
        object: kept.object,
        before: kept.shown(),
        after: (!judged.heads.is_empty() && judged.dispositions.contains(&Disposition::Applied))
            .then(|| heads_in_words(&judged.heads)),
        entries: wrong.iter().map(|(_, change, _)| change.clone()).collect(),
        verdict: Verdict::Repaired,
    };
    let last = past
        .commits
        .last()
        .and_then(|commit| commit.documents.last());
    let shown_as_in_journal = match (&kept.document, last) {
        (Some((row, heads)), Some(last)) => is_row_of(row, heads, last),
        (None, None) => true,
        _ => false,
    };
    let journal_bears_it = past.replay.heads() == judged.heads;
    if wrong.is_empty() && shown_as_in_journal && journal_bears_it {
        examined.verdict = Verdict::Sound;
        return Ok((examined, None));
    }

    let mut repair = Repair::default();
    if !shown_as_in_journal {
        repair.rewritten = Some(past.commits.clone());
    }
    if wrong.is_empty() && journal_bears_it {
        return Ok((examined, Some(repair)));
    }
    let released: Vec<(LogId, Seq, Disposition)> = wrong
        .iter()
        .map(|(entry, _, judged)| (entry.entry.log, entry.entry.seq, judged.clone()))
        .collect();
    // First what is missing on top of what the journal applied; where that does not lead there, all of it anew.
    let all_again = all_again(kept, &judged, &released);
    for released in [released, all_again] {
        if let Some(written) = on_top(kept, kind, id, &judged, &released)? {
            repair.released = released;
            if let Some((document, conflicts)) = written {
                repair.document = Some(document);
                repair.conflicts = conflicts;
            }
            return Ok((examined, Some(repair)));
        }
    }
    examined.verdict = Verdict::NotRepaired(
        "its entries bear nothing of what is shown: left as it is, a person must look".into(),
    );
    Ok((examined, None))
}

/// Judges every entry from nothing.
fn judge(kept: &Kept, kind: Kind, id: RecordId) -> Judged {
    let mut dispositions = Vec::with_capacity(kept.entries.len());
    let mut changes: Vec<(usize, LogId, Vec<u8>)> = Vec::new();
    for (at, stored) in kept.entries.iter().enumerate() {
        let log = stored.entry.log;
        let refused = |reason| Disposition::Quarantined { reason };
        dispositions.push(match Entry::decode(&stored.entry.bytes) {
            Err(error) => refused(error.to_string()),
            Ok(Entry { header, payload }) => match remote::target(&log, &header, &payload) {
                Target::Refused(reason) => refused(reason),
                Target::Change(of, object) if (of, object) == (kind, id) => {
                    if let Payload::Plain(bytes) = payload {
                        changes.push((at, log, bytes));
                    }
                    Disposition::Applied
                }
                // Nothing to apply: what else may stand under the id is not the document's.
                Target::Carried | Target::Receipt(_) | Target::Change(..) | Target::Fact(..) => {
                    Disposition::Applied
                }
            },
        });
    }
    let incoming: Vec<Incoming<'_>> = changes
        .iter()
        .map(|(at, log, bytes)| Incoming {
            key: *at as u64,
            author: author_of(log),
            bytes,
        })
        .collect();
    let mut document = Document::new(kind, id);
    let outcomes = document.ingest(&incoming).outcomes;
    for ((at, ..), outcome) in changes.iter().zip(&outcomes) {
        dispositions[*at] = remote::disposition(outcome);
    }
    Judged {
        dispositions,
        heads: document.heads(),
    }
}

fn past(kept: &Kept, kind: Kind, id: RecordId) -> Result<Past, AppError> {
    let mut replay = Replay::new(kind, id);
    let mut commits = Vec::new();
    for (commit, entries) in kept.history() {
        if let Some((document, conflicts)) = replay.commit(&entries)? {
            commits.push(RebuildCommit {
                commit,
                documents: vec![document],
                facts: Vec::new(),
                conflicts,
            });
        }
    }
    Ok(Past { commits, replay })
}

type Written = Option<(DocumentWrite, Vec<store::ConflictWrite>)>;

/// What a commit that releases these entries writes after the journal's past; `None` where that is not the document.
fn on_top(
    kept: &Kept,
    kind: Kind,
    id: RecordId,
    judged: &Judged,
    released: &[(LogId, Seq, Disposition)],
) -> Result<Option<Written>, AppError> {
    let applied: Vec<AppliedEntry> = kept
        .entries
        .iter()
        .filter(|entry| {
            let place = (entry.entry.log, entry.entry.seq, Disposition::Applied);
            released.contains(&place)
        })
        .map(|entry| (entry.entry.log, entry.entry.seq, entry.entry.bytes.clone()))
        .collect();
    let mut replay = past(kept, kind, id)?.replay;
    let written = if applied.is_empty() {
        None
    } else {
        replay.commit(&applied)?
    };
    Ok((replay.heads() == judged.heads).then_some(written))
}

/// Every entry that counts, and those whose state is wrong: the document anew.
fn all_again(
    kept: &Kept,
    judged: &Judged,
    wrong: &[(LogId, Seq, Disposition)],
) -> Vec<(LogId, Seq, Disposition)> {
    kept.entries
        .iter()
        .zip(&judged.dispositions)
        .map(|(entry, judged)| (entry.entry.log, entry.entry.seq, judged.clone()))
        .filter(|released| released.2 == Disposition::Applied || wrong.contains(released))
        .collect()
}

fn is_row_of(row: &DocumentRow, heads: &[u8], written: &DocumentWrite) -> bool {
    (row.kind, row.group, row.lane, row.deleted)
        == (written.kind, written.group, written.lane, written.deleted)
        && heads == written.heads
        && (&row.version, &row.view, &row.title)
            == (&written.version, &written.view, &written.title)
        && (row.created_wall_ms, row.updated_wall_ms)
            == (written.created_wall_ms, written.updated_wall_ms)
}

/// The beginnings of the hashes: enough for a person to tell them apart.
pub(super) fn heads_in_words(heads: &[[u8; 32]]) -> String {
    let words: Vec<String> = heads
        .iter()
        .map(|head| HEXLOWER.encode(&head[..8]))
        .collect();
    words.join(" ")
}
