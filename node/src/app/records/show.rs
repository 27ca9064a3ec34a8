//! Records as the API shows them: a row, and what other documents and this node's own memory say about it.

use std::collections::BTreeMap;

use domain::{FactKind, Kind, RecordId};
use serde_json::{Value, json};
use store::{CommitNo, DocumentQuery, DocumentRow, FactRow, Reader, StoreError};
use sync_engine::{NodeId, ObjectId};
use uuid::Uuid;

use crate::app::documents::Outcome;
use crate::app::health::HealthBook;
use crate::app::messages::Copies;
use crate::app::present::{self, RowView, SeenBy};
use crate::app::rules::Folds;
use crate::app::{App, AppError, RecordKind};

/// Assignments looked at to derive one resource's status; a resource has a handful that are open.
const ASSIGNMENTS_MAX: usize = 500;

/// States of an assignment in which the resource is not free.
const BUSY_STATES: [&str; 3] = ["committed", "en_route", "on_scene"];

/// A row, whatever kind of record it is.
pub(super) struct Row {
    pub(super) id: ObjectId,
    version: String,
    pub(super) deleted: bool,
    view: String,
    pub(super) created_wall_ms: u64,
    seen_by: Vec<SeenBy>,
}

impl Row {
    fn of_document(row: DocumentRow, seen_by: Vec<SeenBy>) -> Row {
        Row {
            id: row.id,
            version: row.version,
            deleted: row.deleted,
            view: row.view,
            created_wall_ms: row.created_wall_ms,
            seen_by,
        }
    }

    fn of_fact(row: FactRow, seen_by: Vec<SeenBy>) -> Row {
        Row {
            id: row.id,
            version: String::new(),
            deleted: false,
            view: row.view,
            created_wall_ms: row.created_wall_ms,
            seen_by,
        }
    }
}

impl App {
    /// A committed outcome as the API shows it.
    pub(super) async fn show_outcome(
        &self,
        kind: RecordKind,
        outcome: Outcome,
    ) -> Result<Value, AppError> {
        let created_wall_ms = outcome.row.meta.created_ms;
        let view = serde_json::to_string(&outcome.row).map_err(|error| AppError::Fault {
            context: "show a document",
            source: Box::new(error),
        })?;
        let id = ObjectId(outcome.id.0);
        let (version, deleted) = (outcome.version, outcome.deleted);
        let me = self.me.node;
        let (row, related) = self
            .read(move |reader| {
                let seen_by = seen_by(reader.seen_by(&id, &me)?);
                let row = Row {
                    id,
                    version,
                    deleted,
                    view,
                    created_wall_ms,
                    seen_by,
                };
                let related = related(reader, &me, kind, std::slice::from_ref(&row), None)?;
                Ok((row, related))
            })
            .await?;
        self.show(kind, row, &related)
    }

    /// A row as the API shows it.
    pub(super) fn show(
        &self,
        kind: RecordKind,
        row: Row,
        related: &Related,
    ) -> Result<Value, AppError> {
        let view: RowView = serde_json::from_str(&row.view).map_err(|error| AppError::Fault {
            context: "read a row",
            source: Box::new(error),
        })?;
        let id = Uuid::from_bytes(row.id.0);
        let names = self.names.as_ref();
        match kind {
            RecordKind::Document(kind) => {
                let mut value = present::document(
                    kind,
                    id,
                    &row.version,
                    row.deleted,
                    view,
                    &row.seen_by,
                    names,
                );
                if kind == Kind::Resource {
                    let status = if value
                        .get("out_of_service")
                        .is_some_and(|reason| !reason.is_null())
                    {
                        "out_of_service"
                    } else {
                        related
                            .statuses
                            .get(&row.id)
                            .copied()
                            .unwrap_or("available")
                    };
                    value.insert("status".into(), json!(status));
                }
                if kind == Kind::Incident {
                    related.folds.lay_over(RecordId(row.id.0), &mut value);
                }
                if kind == Kind::Calibration {
                    self.calibrations.lay_over(RecordId(row.id.0), &mut value);
                }
                if kind == Kind::Device
                    && let Some(name) = value.get("name").and_then(Value::as_str).map(str::to_owned)
                {
                    let now_ms = self.clock.wall_ms().cast_signed();
                    let own = self.devices.overlay(&name);
                    own.lay_over(&mut value, now_ms);
                    let me = self.me.node;
                    let health = &related.health;
                    health.lay_over(&mut value, &own, (me, now_ms), |node| self.name_of(node));
                }
                Ok(Value::Object(value))
            }
            RecordKind::Fact(kind) => {
                let mut value = present::fact(kind, id, view, &row.seen_by, names);
                related.copies.lay_over(row.id, &mut value);
                Ok(Value::Object(value))
            }
        }
    }
}

pub(super) fn document_rows(
    reader: &Reader<'_>,
    me: &NodeId,
    rows: Vec<DocumentRow>,
) -> Result<Vec<Row>, StoreError> {
    rows.into_iter()
        .map(|row| {
            let seen = seen_by(reader.seen_by(&row.id, me)?);
            Ok(Row::of_document(row, seen))
        })
        .collect()
}

pub(super) fn fact_rows(
    reader: &Reader<'_>,
    me: &NodeId,
    rows: Vec<FactRow>,
) -> Result<Vec<Row>, StoreError> {
    rows.into_iter()
        .map(|row| {
            let seen = seen_by(reader.seen_by(&row.id, me)?);
            Ok(Row::of_fact(row, seen))
        })
        .collect()
}

fn seen_by(seen: Vec<store::SeenBy>) -> Vec<SeenBy> {
    seen.into_iter()
        .map(|seen| SeenBy {
            node: seen.node.to_string(),
            stored_at_ms: seen.stored_at_wall_ms,
            applied_at_ms: seen.applied_at_wall_ms,
        })
        .collect()
}

/// What other documents say about those that are shown.
pub(super) struct Related {
    statuses: BTreeMap<ObjectId, &'static str>,
    folds: Folds,
    pub(super) copies: Copies,
    health: HealthBook,
}

pub(super) fn related(
    reader: &Reader<'_>,
    me: &NodeId,
    kind: RecordKind,
    rows: &[Row],
    at_commit: Option<CommitNo>,
) -> Result<Related, StoreError> {
    let folds = if kind == RecordKind::Document(Kind::Incident) {
        Folds::read(reader, rows.iter().map(|row| row.view.as_str()), at_commit)?
    } else {
        Folds::default()
    };
    let copies = if kind == RecordKind::Fact(FactKind::Message) {
        Copies::read(reader, rows.iter().map(|row| row.id))?
    } else {
        Copies::default()
    };
    let health = if kind == RecordKind::Document(Kind::Device) {
        HealthBook::read(reader, me, rows.iter().map(|row| row.view.as_str()))?
    } else {
        HealthBook::default()
    };
    Ok(Related {
        statuses: statuses(reader, kind, rows, at_commit)?,
        folds,
        copies,
        health,
    })
}

/// Which resources are assigned; a resource's status follows from its assignments.
fn statuses(
    reader: &Reader<'_>,
    kind: RecordKind,
    rows: &[Row],
    at_commit: Option<CommitNo>,
) -> Result<BTreeMap<ObjectId, &'static str>, StoreError> {
    let mut statuses = BTreeMap::new();
    if kind != RecordKind::Document(Kind::Resource) {
        return Ok(statuses);
    }
    for row in rows {
        let mut query = DocumentQuery::new(Kind::Assignment.spec().code, ASSIGNMENTS_MAX);
        query.facets = vec![("resource".into(), RecordId(row.id.0).to_string())];
        query.at_commit = at_commit;
        let assigned = reader.list_documents(&query)?.iter().any(|assignment| {
            serde_json::from_str::<RowView>(&assignment.view).is_ok_and(|view| {
                let state = view.fields.get("state").and_then(Value::as_str);
                state.is_some_and(|state| BUSY_STATES.contains(&state))
            })
        });
        if assigned {
            statuses.insert(row.id, "assigned");
        }
    }
    Ok(statuses)
}
