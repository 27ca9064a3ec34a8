//! A document on its way through its past: what the worker did commit by commit, done once more, for a rebuild and for
//! an object that is looked at again.
//!
//! A commit that applies an entry for the second time is one in which the worker had judged the whole document anew,
//! because something in it should never have been applied: from there on only what that commit applied counts.

use std::collections::HashSet;

use domain::{Document, Incoming, Kind, Outcome, RecordId};
use store::{ConflictWrite, DocumentWrite};
use sync_engine::{EntryHeader, LogId, Seq};

use super::remote::change_in;
use super::resident::{Origin, Resident, author_of};
use super::rows;
use crate::app::error::AppError;

/// An applied entry: where it stands and its bytes.
pub(in crate::app) type AppliedEntry = (LogId, Seq, Vec<u8>);

/// See the module.
pub(in crate::app) struct Replay {
    resident: Resident,
    applied: HashSet<(LogId, Seq)>,
}

impl Replay {
    pub(in crate::app) fn new(kind: Kind, id: RecordId) -> Self {
        Replay {
            resident: Resident::of(Document::new(kind, id)),
            applied: HashSet::new(),
        }
    }

    /// As [`Document::heads`].
    pub(in crate::app) fn heads(&self) -> Vec<[u8; 32]> {
        self.resident.document.heads()
    }

    /// Applies what one commit applied; gives the rows that it wrote. `None` when nothing came of it.
    pub(in crate::app) fn commit(
        &mut self,
        entries: &[AppliedEntry],
    ) -> Result<Option<(DocumentWrite, Vec<ConflictWrite>)>, AppError> {
        let again = |(log, seq, _): &AppliedEntry| self.applied.contains(&(*log, *seq));
        if entries.iter().any(again) {
            self.start_over();
        }
        let resident = &mut self.resident;
        let key = (resident.document.kind(), resident.document.id());
        let changes: Vec<(LogId, EntryHeader, Vec<u8>)> = entries
            .iter()
            .filter_map(|(log, _, bytes)| {
                change_in(key, log, bytes).map(|(header, change)| (*log, header, change))
            })
            .collect();
        self.applied
            .extend(entries.iter().map(|(log, seq, _)| (*log, *seq)));
        let mut incoming = Vec::with_capacity(changes.len());
        for (at, (log, header, change)) in changes.iter().enumerate() {
            resident.note_origin_of(change, Origin::of(log, header));
            incoming.push(Incoming {
                key: at as u64,
                author: author_of(log),
                bytes: change,
            });
        }
        let ingested = resident.document.ingest(&incoming);
        let mut applied = false;
        for ((log, header, _), outcome) in changes.iter().zip(&ingested.outcomes) {
            if matches!(outcome, Outcome::Applied) {
                applied = true;
                resident.meta.observe(
                    header.time.wall_ms,
                    header.time.logical,
                    &log.author.to_string(),
                    header.user,
                );
            }
        }
        if !applied {
            return Ok(None);
        }
        let rows = rows::rows(
            resident,
            None,
            &ingested.resolved,
            ingested.view,
            ingested.saved,
        )?;
        Ok(Some((rows.document, rows.conflicts)))
    }

    /// The document from nothing. Open conflicts are kept in mind, so that those are taken back that are none now.
    fn start_over(&mut self) {
        let conflicts = std::mem::take(&mut self.resident.conflicts);
        let (kind, id) = (self.resident.document.kind(), self.resident.document.id());
        self.resident = Resident::of(Document::new(kind, id));
        self.resident.conflicts = conflicts;
        self.applied.clear();
    }
}
