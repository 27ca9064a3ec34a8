//! A document on its way through its past: what the worker did commit by commit, done once more for a rebuild.

use domain::{Document, Incoming, Outcome};
use store::{ConflictWrite, DocumentWrite};
use sync_engine::{EntryHeader, LogId};

use super::remote::change_in;
use super::resident::{Origin, Resident, author_of};
use super::rows;
use crate::app::error::AppError;

/// See the module.
pub(in crate::app) struct Replay {
    resident: Resident,
}

impl Replay {
    pub(in crate::app) fn new(document: Document) -> Self {
        Replay {
            resident: Resident::of(document),
        }
    }

    /// Applies what one commit applied; gives the rows that it wrote. `None` when nothing came of it.
    pub(in crate::app) fn commit(
        &mut self,
        entries: &[(LogId, Vec<u8>)],
    ) -> Result<Option<(DocumentWrite, Vec<ConflictWrite>)>, AppError> {
        let resident = &mut self.resident;
        let key = (resident.document.kind(), resident.document.id());
        let changes: Vec<(LogId, EntryHeader, Vec<u8>)> = entries
            .iter()
            .filter_map(|(log, bytes)| {
                change_in(key, log, bytes).map(|(header, change)| (*log, header, change))
            })
            .collect();
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
}
