//! A document on its way through its past: what the worker did commit by commit, done once more for a rebuild.

use domain::{Document, FactKind, Incoming, Outcome};
use store::{ConflictWrite, DocumentWrite, FactWrite};
use sync_engine::{Entry, LogId, ObjectId, Payload};

use super::edits::fact_row;
use super::resident::{Origin, Resident, author_of, change_of};
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
        let changes: Vec<(LogId, Entry, Vec<u8>)> = entries
            .iter()
            .filter_map(|(log, bytes)| {
                change_of(bytes).map(|(entry, change)| (*log, entry, change))
            })
            .collect();
        let mut incoming = Vec::with_capacity(changes.len());
        for (at, (log, entry, change)) in changes.iter().enumerate() {
            if let Some(hash) = domain::change_hash(change) {
                resident.note_origin(
                    hash,
                    Origin {
                        author: log.author.0,
                        user: entry.header.user,
                        wall_ms: entry.header.time.wall_ms,
                    },
                );
            }
            incoming.push(Incoming {
                key: at as u64,
                author: author_of(log),
                bytes: change,
            });
        }
        let ingested = resident.document.ingest(&incoming);
        let mut applied = false;
        for ((log, entry, _), outcome) in changes.iter().zip(&ingested.outcomes) {
            if matches!(outcome, Outcome::Applied) {
                applied = true;
                resident.meta.observe(
                    entry.header.time.wall_ms,
                    entry.header.time.logical,
                    &log.author.to_string(),
                    entry.header.user,
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

/// The row of a fact from its entry; `None` for bytes that are none.
pub(in crate::app) fn fact_write(
    kind: FactKind,
    log: &LogId,
    entry_bytes: &[u8],
) -> Option<FactWrite> {
    let Entry { header, payload } = Entry::decode(entry_bytes).ok()?;
    let Payload::Plain(bytes) = payload else {
        return None;
    };
    let fact = domain::facts::decode(kind, &bytes).ok()?;
    let row = fact_row(
        &fact.fields,
        header.time.wall_ms,
        &log.author.to_string(),
        header.user,
    );
    Some(FactWrite {
        id: header.object,
        kind: kind.code(),
        view: serde_json::to_string(&row).ok()?,
        about: fact.about.map(|about| ObjectId(about.0)),
        created_wall_ms: header.time.wall_ms,
    })
}
