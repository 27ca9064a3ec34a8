//! A new look at a fact.

use std::collections::HashSet;

use domain::{FactKind, RecordId};
use store::{Disposition, FactRow, FactWrite, InspectedEntry, RebuildCommit};
use sync_engine::{Entry, LogId, Seq};

use super::{Examined, History, Kept, Repair, Verdict};
use crate::app::documents::remote::{self, Target};

/// What the entries under the id of a fact say: of each its state, and the fact where it is one.
pub(super) struct Judged(Vec<(Disposition, Option<FactWrite>)>);

/// Judges every entry from nothing.
pub(super) fn judge(kept: &Kept, kind: FactKind) -> Judged {
    Judged(
        kept.entries
            .iter()
            .map(|it| judge_entry(it, kind))
            .collect(),
    )
}

impl Judged {
    fn dispositions(&self) -> impl Iterator<Item = &Disposition> {
        self.0.iter().map(|(disposition, _)| disposition)
    }

    /// Of several entries under one id that with the smallest chain hash is shown, on every node.
    fn shown<'a>(&'a self, kept: &'a Kept) -> Option<(&'a InspectedEntry, &'a FactWrite)> {
        kept.entries
            .iter()
            .zip(&self.0)
            .filter_map(|(entry, (_, fact))| Some((entry, fact.as_ref()?)))
            .min_by_key(|(entry, _)| entry.chain.0)
    }

    /// The fact in the entry at a place.
    fn at(&self, kept: &Kept, log: &LogId, seq: Seq) -> Option<FactWrite> {
        let mut entries = kept.entries.iter().zip(&self.0);
        let (_, (_, fact)) =
            entries.find(|(entry, _)| (entry.entry.log, entry.entry.seq) == (*log, seq))?;
        fact.clone()
    }
}

/// Whether the row is that of the entry that is to be shown, and every entry has the state that was judged.
pub(super) fn is_shown(kept: &Kept, judged: &Judged) -> bool {
    let shown = match (&kept.fact, judged.shown(kept)) {
        (Some(row), Some((entry, fact))) => is_row_of(row, entry, fact),
        (None, None) => true,
        _ => false,
    };
    shown && kept.wrong(judged.dispositions()).is_empty()
}

/// What puts right a fact that is not shown as judged.
pub(super) fn repair(
    kept: &Kept,
    judged: &Judged,
    history: &History,
) -> (Examined, Option<Repair>) {
    let wrong = kept.wrong(judged.dispositions());
    let shown = judged.shown(kept);
    let mut examined = Examined {
        object: kept.object,
        before: kept.shown(),
        after: shown.map(|(entry, _)| place_in_words(&entry.entry.log, entry.entry.seq)),
        entries: wrong.iter().map(|(_, change, _)| change.clone()).collect(),
        verdict: Verdict::Repaired,
    };
    let mut applied: HashSet<(LogId, Seq)> = HashSet::new();
    let mut commits = Vec::new();
    for (commit, entries) in history {
        let mut facts = Vec::new();
        for (log, seq, _) in entries.iter().filter(|it| applied.insert((it.0, it.1))) {
            let Some(fact) = judged.at(kept, log, *seq) else {
                examined.verdict = Verdict::NotRepaired(
                    "an entry that was applied is none of this kind: left as it is, a person must look"
                        .into(),
                );
                return (examined, None);
            };
            facts.push(fact);
        }
        if !facts.is_empty() {
            commits.push(RebuildCommit {
                commit: *commit,
                facts,
                ..RebuildCommit::default()
            });
        }
    }
    let repair = Repair {
        rewritten: Some(commits),
        facts: wrong
            .iter()
            .filter(|(entry, ..)| !applied.contains(&(entry.entry.log, entry.entry.seq)))
            .filter_map(|(entry, ..)| judged.at(kept, &entry.entry.log, entry.entry.seq))
            .collect(),
        released: wrong
            .into_iter()
            .map(|(entry, _, judged)| (entry.entry.log, entry.entry.seq, judged))
            .collect(),
        ..Repair::default()
    };
    (examined, Some(repair))
}

fn judge_entry(stored: &InspectedEntry, kind: FactKind) -> (Disposition, Option<FactWrite>) {
    let refused = |reason| (Disposition::Quarantined { reason }, None);
    let (log, seq) = (stored.entry.log, stored.entry.seq);
    let Entry { header, payload } = match Entry::decode(&stored.entry.bytes) {
        Ok(entry) => entry,
        Err(error) => return refused(error.to_string()),
    };
    match remote::target(&log, &header, &payload) {
        Target::Refused(reason) => refused(reason),
        Target::Fact(of, id) if (of, id) == (kind, RecordId(stored.object.0)) => {
            match remote::fact(kind, id, (log, seq), &header, &payload) {
                Ok(fact) => (Disposition::Applied, fact),
                Err(reason) => refused(reason),
            }
        }
        _ => (Disposition::Applied, None),
    }
}

fn is_row_of(row: &FactRow, entry: &InspectedEntry, fact: &FactWrite) -> bool {
    (row.kind, row.log, row.seq) == (fact.kind, entry.entry.log, entry.entry.seq)
        && (&row.view, row.about, row.created_wall_ms)
            == (&fact.view, fact.about, fact.created_wall_ms)
}

/// Where the entry that is shown stands.
pub(super) fn place_in_words(log: &LogId, seq: Seq) -> String {
    format!(
        "{}/{}/{} entry {seq}",
        log.author, log.incarnation, log.lane
    )
}
