//! A new look at a fact.

use std::collections::HashSet;

use domain::{FactKind, RecordId};
use store::{Disposition, FactRow, FactWrite, InspectedEntry, RebuildCommit};
use sync_engine::{Entry, LogId, Seq};

use super::{Examined, Kept, Repair, Verdict};
use crate::app::documents::remote::{self, Target};

pub(super) fn look(kept: &Kept, kind: FactKind) -> (Examined, Option<Repair>) {
    let judged: Vec<(Disposition, Option<FactWrite>)> = kept
        .entries
        .iter()
        .map(|entry| judge(entry, kind))
        .collect();
    let dispositions: Vec<Disposition> = judged.iter().map(|(it, _)| it.clone()).collect();
    let wrong = kept.wrong(&dispositions);
    // Of several entries under one id that with the smallest chain hash is shown, on every node.
    let stands = kept
        .entries
        .iter()
        .zip(&judged)
        .filter_map(|(entry, (_, fact))| Some((entry, fact.as_ref()?)))
        .min_by_key(|(entry, _)| entry.chain.0);
    let mut examined = Examined {
        object: kept.object,
        before: kept.shown(),
        after: stands.map(|(entry, _)| place_in_words(&entry.entry.log, entry.entry.seq)),
        entries: wrong.iter().map(|(_, change, _)| change.clone()).collect(),
        verdict: Verdict::Repaired,
    };
    let shown_right = match (&kept.fact, stands) {
        (Some(row), Some((entry, fact))) => is_row_of(row, entry, fact),
        (None, None) => true,
        _ => false,
    };
    if wrong.is_empty() && shown_right {
        examined.verdict = Verdict::Sound;
        return (examined, None);
    }
    let fact_at = |log: &LogId, seq: Seq| {
        let mut at = kept.entries.iter().zip(&judged);
        at.find(|(entry, _)| (entry.entry.log, entry.entry.seq) == (*log, seq))
            .and_then(|(_, (_, fact))| fact.clone())
    };
    let mut seen: HashSet<(LogId, Seq)> = HashSet::new();
    let mut commits = Vec::new();
    for (commit, entries) in kept.history() {
        let mut facts = Vec::new();
        for (log, seq, _) in entries.iter().filter(|it| seen.insert((it.0, it.1))) {
            let Some(fact) = fact_at(log, *seq) else {
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
                commit,
                documents: Vec::new(),
                facts,
                conflicts: Vec::new(),
            });
        }
    }
    let repair = Repair {
        rewritten: Some(commits),
        facts: wrong
            .iter()
            .filter(|(entry, ..)| !seen.contains(&(entry.entry.log, entry.entry.seq)))
            .filter_map(|(entry, ..)| fact_at(&entry.entry.log, entry.entry.seq))
            .collect(),
        released: wrong
            .into_iter()
            .map(|(entry, _, judged)| (entry.entry.log, entry.entry.seq, judged))
            .collect(),
        ..Repair::default()
    };
    (examined, Some(repair))
}

fn judge(stored: &InspectedEntry, kind: FactKind) -> (Disposition, Option<FactWrite>) {
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
