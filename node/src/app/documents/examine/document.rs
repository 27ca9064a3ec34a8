//! A new look at a document.

use data_encoding::HEXLOWER;
use domain::{Document, Incoming, Kind, Outcome, RecordId};
use store::{Disposition, DocumentRow, DocumentWrite, RebuildCommit};
use sync_engine::{Entry, LogId, Payload, Seq};

use super::{Examined, History, Kept, Repair, Verdict};
use crate::app::documents::remote::{self, Target};
use crate::app::documents::replay::{AppliedEntry, Replay};
use crate::app::documents::resident::author_of;
use crate::app::error::AppError;

/// What the entries of a document say.
pub(super) struct Judged {
    kind: Kind,
    /// One per entry.
    dispositions: Vec<Disposition>,
    heads: Vec<[u8; 32]>,
    /// Whether an entry bears anything of it: what is sealed for others does not.
    is_there: bool,
}

/// The document's past as the journal has it, and what it comes to.
struct Past {
    commits: Vec<RebuildCommit>,
    replay: Replay,
}

/// Judges every entry from nothing.
pub(super) fn judge(kept: &Kept, kind: Kind) -> Judged {
    let id = RecordId(kept.object.0);
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
                Target::Carried
                | Target::Receipt(_)
                | Target::Summary(_)
                | Target::Health(_)
                | Target::Raw(_)
                | Target::Change(..)
                | Target::Fact(..) => Disposition::Applied,
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
        kind,
        dispositions,
        heads: document.heads(),
        is_there: outcomes.contains(&Outcome::Applied),
    }
}

/// Whether the row has the heads that the entries give, and every entry the state.
pub(super) fn is_shown(kept: &Kept, judged: &Judged) -> bool {
    let shown = match &kept.document {
        Some((row, heads)) => {
            judged.is_there
                && row.kind == judged.kind.spec().code
                && *heads == judged.heads.concat()
        }
        None => !judged.is_there,
    };
    shown && kept.wrong(&judged.dispositions).is_empty()
}

/// What puts right a document that is not shown as judged.
pub(super) fn repair(
    kept: &Kept,
    judged: &Judged,
    history: &History,
) -> Result<(Examined, Option<Repair>), AppError> {
    let key = (judged.kind, RecordId(kept.object.0));
    let wrong = kept.wrong(&judged.dispositions);
    let mut examined = Examined {
        object: kept.object,
        before: kept.shown(),
        after: judged.is_there.then(|| heads_in_words(&judged.heads)),
        entries: wrong.iter().map(|(_, change, _)| change.clone()).collect(),
        verdict: Verdict::Repaired,
    };
    let past = past(key, history)?;
    let last = past
        .commits
        .last()
        .and_then(|commit| commit.documents.last());
    let shown_as_in_journal = match (&kept.document, last) {
        (Some((row, heads)), Some(last)) => is_row_of(row, heads, last),
        (None, None) => true,
        _ => false,
    };
    let mut repair = Repair {
        rewritten: (!shown_as_in_journal).then_some(past.commits),
        ..Repair::default()
    };
    if wrong.is_empty() && past.replay.heads() == judged.heads {
        return Ok((examined, Some(repair)));
    }
    let released: Vec<(LogId, Seq, Disposition)> = wrong
        .iter()
        .map(|(entry, _, judged)| (entry.entry.log, entry.entry.seq, judged.clone()))
        .collect();
    // First what is missing on top of what the journal applied; where that does not lead there, all of it anew.
    let all_again = all_again(kept, judged, &released);
    for released in [released, all_again] {
        if let Some(written) = on_top(kept, key, judged, history, &released)? {
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

fn past((kind, id): (Kind, RecordId), history: &History) -> Result<Past, AppError> {
    let mut replay = Replay::new(kind, id);
    let mut commits = Vec::new();
    for (commit, entries) in history {
        if let Some((document, conflicts)) = replay.commit(entries)? {
            commits.push(RebuildCommit {
                commit: *commit,
                documents: vec![document],
                conflicts,
                ..RebuildCommit::default()
            });
        }
    }
    Ok(Past { commits, replay })
}

type Written = Option<(DocumentWrite, Vec<store::ConflictWrite>)>;

/// What a commit that releases these entries writes after the journal's past; `None` where that is not the document.
fn on_top(
    kept: &Kept,
    key: (Kind, RecordId),
    judged: &Judged,
    history: &History,
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
    let mut replay = past(key, history)?.replay;
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
