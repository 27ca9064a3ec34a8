//! Drops the views and builds them anew from the journal: the same rows under the same commit numbers.
//!
//! Documents are replayed one after the other, each through all of its commits, so that memory holds one document and
//! the journal's index, never all documents. The index takes 64 bytes an entry.

use std::collections::BTreeMap;
use std::time::Instant;

use domain::permissions::{Action, Subject};
use domain::{FactKind, Kind, RecordId, schema};
use serde_json::{Value, json};
use store::{CommitNo, Disposition, FactWrite, JournalEntry, RebuildCommit, Store, StoreError};
use sync_engine::{EntryKind, LogId, ObjectId, Seq};

use super::documents::{OfItself, Replay, health_in, raw_in, summary_in};
use super::proof::heads_digest;
use super::{App, AppError, Caller};

/// Journal entries per read.
const JOURNAL_PAGE: usize = 2_000;

/// Commits handed to the writer at once.
const WRITE_PAGE: usize = 500;

/// What a rebuild did.
#[derive(Debug, Default)]
pub(in crate::app) struct Rebuilt {
    pub documents: u64,
    pub facts: u64,
    pub commits: u64,
}

/// Where an applied entry stands.
struct Place {
    commit: CommitNo,
    log: LogId,
    seq: Seq,
}

impl App {
    /// `muster rebuild`.
    ///
    /// # Errors
    /// `Forbidden`, a fault of the store; the old views stay then.
    pub async fn rebuild(&self, caller: &Caller) -> Result<Value, AppError> {
        self.authorise(caller, Action::Administer, Subject::Node)?;
        let started = Instant::now();
        let store = self.store.clone();
        let rebuilt = tokio::task::spawn_blocking(move || -> Result<_, StoreError> {
            let before = store.read(|reader| reader.views_fingerprint())?;
            let rebuilt = rebuild(&store)?;
            let after = store.read(|reader| reader.views_fingerprint())?;
            Ok((rebuilt, store.read(heads_digest)?, before, after))
        })
        .await;
        let fault = |source| AppError::Fault {
            context: "rebuild the views",
            source,
        };
        let (rebuilt, digest, before, after) = rebuilt
            .map_err(|error| fault(Box::new(error)))?
            .map_err(|error| fault(Box::new(error)))?;
        Ok(json!({
            "documents": rebuilt.documents,
            "facts": rebuilt.facts,
            "commits": rebuilt.commits,
            "heads_digest": digest,
            "views_fingerprint": data_encoding::HEXLOWER.encode(&after),
            // Edits that were committed while it ran change the views too.
            "views_changed": before != after,
            "took_ms": u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        }))
    }
}

/// Rebuilds every view; one transaction.
pub(in crate::app) fn rebuild(store: &Store) -> Result<Rebuilt, StoreError> {
    let mut rebuild = store.begin_rebuild()?;
    let mut rebuilt = Rebuilt::default();
    let mut by_document: BTreeMap<(Kind, ObjectId), Vec<Place>> = BTreeMap::new();
    let mut out: Vec<RebuildCommit> = Vec::new();

    let mut after = CommitNo(0);
    loop {
        let page = store.read(|reader| reader.journal_after(after, JOURNAL_PAGE))?;
        let Some(last) = page.last() else { break };
        after = last.commit;
        for commit in page {
            rebuilt.commits += 1;
            let (mut facts, mut summaries, mut raw) = (Vec::new(), Vec::new(), Vec::new());
            let mut health = Vec::new();
            for entry in commit.entries {
                if entry.disposition != Disposition::Applied {
                    continue;
                }
                if let Some(spec) = schema::spec_by_code(entry.kind) {
                    by_document
                        .entry((spec.kind, entry.object))
                        .or_default()
                        .push(Place {
                            commit: commit.commit,
                            log: entry.log,
                            seq: entry.seq,
                        });
                } else if let Some(kind) = FactKind::by_code(entry.kind) {
                    // One that was looked at again comes twice; the store keeps the first.
                    facts.extend(fact(kind, &entry));
                } else {
                    match OfItself::of(EntryKind(entry.kind)) {
                        Some(OfItself::Summary) => {
                            summaries.extend(summary_in(&entry.log, entry.seq, &entry.bytes));
                        }
                        Some(OfItself::Health) => {
                            health.extend(health_in(&entry.log, entry.seq, &entry.bytes));
                        }
                        Some(OfItself::Raw) => {
                            raw.extend(raw_in(&entry.log, entry.seq, &entry.bytes));
                        }
                        // How far others have come is local durable state, no view.
                        Some(OfItself::Receipt) | None => {}
                    }
                }
            }
            let views = [summaries.is_empty(), health.is_empty(), raw.is_empty()];
            if !facts.is_empty() || views.contains(&false) {
                rebuilt.facts += facts.len() as u64;
                out.push(RebuildCommit {
                    commit: commit.commit,
                    facts,
                    summaries,
                    health,
                    raw,
                    ..RebuildCommit::default()
                });
            }
            if out.len() >= WRITE_PAGE {
                rebuild.write(std::mem::take(&mut out))?;
            }
        }
    }
    for ((kind, object), places) in by_document {
        replay(store, kind, object, &places, &mut out)?;
        rebuilt.documents += 1;
        if out.len() >= WRITE_PAGE {
            rebuild.write(std::mem::take(&mut out))?;
        }
    }
    rebuild.write(out)?;
    rebuild.finish()?;
    Ok(rebuilt)
}

fn fact(kind: FactKind, entry: &JournalEntry) -> Option<FactWrite> {
    super::documents::fact_write(kind, &entry.log, entry.seq, &entry.bytes)
}

/// Takes one document through all of its commits.
fn replay(
    store: &Store,
    kind: Kind,
    object: ObjectId,
    places: &[Place],
    out: &mut Vec<RebuildCommit>,
) -> Result<(), StoreError> {
    let mut replay = Replay::new(kind, RecordId(object.0));
    for chunk in places.chunk_by(|a, b| a.commit == b.commit) {
        let Some(first) = chunk.first() else { continue };
        let mut entries = Vec::with_capacity(chunk.len());
        for place in chunk {
            let stored = store.read(|reader| reader.entry(&place.log, place.seq))?;
            entries.extend(stored.map(|stored| (place.log, place.seq, stored.bytes)));
        }
        let rows = replay
            .commit(&entries)
            .map_err(|error| StoreError::Refused(format!("replay {object}: {error}")))?;
        if let Some((document, conflicts)) = rows {
            out.push(RebuildCommit {
                commit: first.commit,
                documents: vec![document],
                conflicts,
                ..RebuildCommit::default()
            });
        }
    }
    Ok(())
}
