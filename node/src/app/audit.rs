//! The audit record: who did what on this node. The one place that writes it, and the one that reads it.
//!
//! Invariants:
//! - What is stored in muster.db and its record are one transaction: [`record`] gives the row for its batch.
//! - What is stored elsewhere is recorded before it happens ([`App::note_audit`]), so that nothing happens without a
//!   record. One may stand for something that failed a moment later.
//! - No secret and no payload stands in a record: names, ids and versions do.

use domain::permissions::{Action, Subject};
use domain::{FactKind, Kind, RecordId, ids};
use serde_json::{Value, json};
use store::{AuditRow, AuditWrite, Batch};
use sync_engine::{Lane, ObjectId};
use uuid::Uuid;

use super::clock::rfc3339_wall;
use super::types::{cursor_of, limit_of};
use super::{App, AppError, Caller, LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX, Page};

/// The row of one action. `object` is the document it is about, if it is about one.
pub(in crate::app) fn record(
    at_wall_ms: u64,
    actor: &str,
    action: &str,
    object: Option<ObjectId>,
    detail: &Value,
) -> AuditWrite {
    AuditWrite {
        at_wall_ms,
        actor: actor.to_owned(),
        action: action.to_owned(),
        kind: None,
        object,
        detail: detail.to_string(),
    }
}

impl App {
    /// Records an action whose effect is stored elsewhere; to be awaited before the effect.
    ///
    /// # Errors
    /// A fault of the store, a full disk: then the action must not happen.
    pub(in crate::app) async fn note_audit(
        &self,
        caller: &Caller,
        action: &'static str,
        detail: Value,
    ) -> Result<(), AppError> {
        let now_ms = self.clock.wall_ms();
        let mut batch = Batch::new(Lane::Coordination, now_ms);
        batch
            .audit
            .push(record(now_ms, &caller.name, action, None, &detail));
        self.store.commit(batch).await?;
        Ok(())
    }

    /// Who did what on this node, newest first.
    ///
    /// # Errors
    /// `Forbidden`, a limit or cursor that does not fit, a fault of the store.
    pub async fn list_audit(
        &self,
        caller: &Caller,
        cursor: Option<String>,
        limit: Option<u32>,
    ) -> Result<Page, AppError> {
        self.authorise(caller, Action::Read, Subject::Audit)?;
        let before = cursor_of::<i64>(cursor.as_deref())?;
        let limit = limit_of(limit, LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX)?;
        let rows = self
            .read(move |reader| reader.audit(before, limit + 1))
            .await?;
        let since = self.event_position().to_string();
        let cursor = |row: &AuditRow| row.no.to_string();
        Ok(Page::cut(rows, limit, since, cursor, |row| value(&row)))
    }
}

/// What an object is, as paths call it: its id says so.
fn kind_of(object: ObjectId) -> Option<&'static str> {
    let id = RecordId(object.0);
    let document = Kind::all()
        .map(Kind::spec)
        .find(|spec| ids::fits_kind(id, spec.code));
    let fact = || FactKind::all().find(|kind| ids::fits_kind(id, kind.code()));
    document
        .map(|spec| spec.plural)
        .or_else(|| fact().map(FactKind::plural))
}

fn value(row: &AuditRow) -> Value {
    // Written by this program alone; what cannot be read is shown as it is.
    let detail: Value =
        serde_json::from_str(&row.detail).unwrap_or_else(|_| json!({ "text": row.detail }));
    json!({
        "id": row.no.to_string(),
        "at": rfc3339_wall(row.at_wall_ms),
        "actor": row.actor,
        "action": row.action,
        "object": row.object.map(|object| Uuid::from_bytes(object.0).to_string()),
        "kind": row.object.and_then(kind_of),
        "detail": detail,
    })
}
