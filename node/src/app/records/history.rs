//! What changed in a document, entry by entry.

use std::sync::Arc;

use domain::permissions::{Action, Subject};
use domain::{Incoming, Kind, RecordId};
use serde_json::{Value, json};
use sync_engine::ObjectId;
use uuid::Uuid;

use crate::app::clock::rfc3339_wall;
use crate::app::documents::change_in;
use crate::app::present;
use crate::app::types::{bad_query, limit_of};
use crate::app::{App, AppError, Caller, LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX, Page};

impl App {
    /// What changed in a document, newest first, in this node's order of arrival.
    ///
    /// # Errors
    /// `NotFound`, a fault of the store.
    pub async fn history(
        &self,
        caller: &Caller,
        kind: Kind,
        id: &str,
        limit: Option<u32>,
        cursor: Option<String>,
    ) -> Result<Page, AppError> {
        self.authorise(caller, Action::Read, Subject::Document(kind))?;
        let record = self.existing_id(kind, id)?;
        let object = ObjectId(record.0);
        let (mut entries, since) = self
            .read(move |reader| Ok((reader.entries_of_object(&object)?, reader.newest_commit()?)))
            .await?;
        // Kinds of later versions may name the document, too.
        entries.retain(|entry| entry.kind == kind.spec().code);
        if entries.is_empty() {
            return Err(AppError::NotFound {
                what: kind.spec().name,
                id: id.to_owned(),
            });
        }
        let names = Arc::clone(&self.names);
        let mut items =
            tokio::task::spawn_blocking(move || history(kind, record, entries, names.as_ref()))
                .await
                .map_err(|error| AppError::Fault {
                    context: "read a history",
                    source: Box::new(error),
                })?;
        items.reverse();
        let limit = limit_of(limit, LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX)?;
        let from = match cursor {
            Some(cursor) => cursor
                .parse::<usize>()
                .map_err(|_| bad_query("cursor"))?
                .min(items.len()),
            None => 0,
        };
        let end = (from + limit).min(items.len());
        let next = (end < items.len()).then(|| end.to_string());
        Ok(Page {
            items: items.drain(from..end).collect(),
            next,
            since: since.0.to_string(),
        })
    }
}

/// Replays a document's entries and notes what each of them changed; oldest first.
fn history(
    kind: Kind,
    id: RecordId,
    entries: Vec<store::StoredEntry>,
    names: &dyn present::Names,
) -> Vec<Value> {
    let mut document = domain::Document::new(kind, id);
    let mut before = document.view().fields;
    let mut items = Vec::with_capacity(entries.len());
    for stored in entries {
        let Some((header, bytes)) = change_in((kind, id), &stored.log, &stored.bytes) else {
            continue;
        };
        let author = domain::Author {
            node: stored.log.author.0,
            incarnation: stored.log.incarnation.0,
        };
        document.ingest(&[Incoming {
            key: 0,
            author,
            bytes: &bytes,
        }]);
        let view = document.view();
        let changes: Vec<Value> = view
            .fields
            .iter()
            .filter(|(name, value)| before.get(*name) != Some(*value))
            .map(|(name, value)| json!({ "field": name, "from": before.get(name), "to": value }))
            .collect();
        let node = stored.log.author.to_string();
        items.push(json!({
            // This node's time; the author's clock may be wrong.
            "at": rfc3339_wall(stored.at_wall_ms),
            "made_at": rfc3339_wall(header.time.wall_ms),
            "author": header.user.map(|user| names.user(Uuid::from_bytes(user))),
            "node_name": names.node(&node),
            "node": node,
            "version": view.version.to_string(),
            "deleted": view.deleted,
            "changes": changes,
        }));
        before = view.fields;
    }
    items
}
