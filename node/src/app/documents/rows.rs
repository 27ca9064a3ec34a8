//! From a document to the rows of its read models.
//!
//! Invariant: a row follows from the document and its entries alone, so that a rebuild writes the same ones.

use domain::{ConflictValue, FieldConflict, Kind, Merge, ResolvedConflict, ValueSpec, View};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{ConflictState, ConflictWrite, DocumentWrite, Store};
use sync_engine::{GroupId, NodeId, ObjectId};
use uuid::Uuid;

use super::lane_of;
use super::resident::{Origin, Resident, SNAPSHOT_EVERY, fault};
use crate::app::error::AppError;
use crate::app::present::{OpenConflict, RowView};

/// Longest value that a list can be filtered by.
const FACET_BYTES_MAX: usize = 128;

/// What a conflict's row holds as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::app) struct ConflictDetail {
    pub values: Vec<ChoiceDetail>,
    /// How it was settled, once it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<ResolutionDetail>,
}

/// One of the values in conflict.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::app) struct ChoiceDetail {
    pub choice: String,
    pub value: Value,
    #[serde(flatten)]
    pub origin: OriginDetail,
}

/// How a conflict was settled.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::app) struct ResolutionDetail {
    pub value: Value,
    #[serde(flatten)]
    pub origin: OriginDetail,
}

/// Who, where and when.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::app) struct OriginDetail {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Uuid>,
    pub node: Option<String>,
    pub at_ms: u64,
}

/// The rows that a change of a document leads to.
pub(super) struct Rows {
    pub(super) document: DocumentWrite,
    pub(super) conflicts: Vec<ConflictWrite>,
    pub(super) row: RowView,
}

/// Makes the rows of a document after changes were applied to it. `view` and `saved` are what its ingest made anyway.
pub(super) fn rows(
    resident: &mut Resident,
    store: Option<&Store>,
    resolved: &[ResolvedConflict],
    view: Option<View>,
    saved: Option<Vec<u8>>,
) -> Result<Rows, AppError> {
    let kind = resident.document.kind();
    let id = ObjectId(resident.document.id().0);
    let view = view.unwrap_or_else(|| resident.document.view());

    let mut conflicts = Vec::new();
    for conflict in resolved {
        conflicts.push(resolved_row(resident, store, kind, id, conflict)?);
    }
    for conflict in &view.conflicts {
        let known = resident
            .conflicts
            .iter()
            .any(|open| open.conflict == conflict.id.to_string());
        if !known {
            conflicts.push(open_row(resident, store, kind, id, conflict)?);
        }
    }
    let open: Vec<OpenConflict> = view
        .conflicts
        .iter()
        .map(|conflict| OpenConflict {
            field: conflict.field.clone(),
            conflict: conflict.id.to_string(),
        })
        .collect();
    // A conflict that is neither open nor settled has become another one (a third value came).
    for gone in &resident.conflicts {
        let still = open.iter().any(|now| now.conflict == gone.conflict)
            || resolved
                .iter()
                .any(|settled| settled.conflict.id.to_string() == gone.conflict);
        if !still {
            conflicts.push(ConflictWrite {
                id: gone.conflict.clone(),
                kind: "field".into(),
                object: id,
                object_kind: kind.spec().code,
                field: gone.field.clone(),
                state: ConflictState::Superseded,
                detail: String::new(),
            });
        }
    }
    resident.conflicts.clone_from(&open);

    let row = RowView {
        fields: view.fields,
        unknown: view.unknown,
        secrets: view.secrets,
        conflicts: open,
        meta: resident.meta.clone(),
    };
    let snapshot = match saved {
        Some(saved) => Some(saved),
        None if resident.unsaved >= SNAPSHOT_EVERY => Some(resident.document.save()),
        None => None,
    };
    if snapshot.is_some() {
        resident.unsaved = 0;
    }
    let document = DocumentWrite {
        id,
        kind: kind.spec().code,
        group: GroupId::SHARED,
        lane: lane_of(kind.spec().lane),
        version: view.version.to_string(),
        heads: resident.document.heads().concat(),
        snapshot,
        view: serde_json::to_string(&row).map_err(|error| fault("write a row", error))?,
        deleted: view.deleted,
        title: title(kind, &row),
        facets: facets(kind, &row),
        location: location(&row),
        created_wall_ms: row.meta.created_ms,
        updated_wall_ms: row.meta.updated_ms,
    };
    Ok(Rows {
        document,
        conflicts,
        row,
    })
}

fn open_row(
    resident: &mut Resident,
    store: Option<&Store>,
    kind: Kind,
    id: ObjectId,
    conflict: &FieldConflict,
) -> Result<ConflictWrite, AppError> {
    let detail = ConflictDetail {
        values: choices(resident, store, &conflict.values)?,
        resolved: None,
    };
    conflict_write(kind, id, conflict, ConflictState::Open, &detail)
}

fn resolved_row(
    resident: &mut Resident,
    store: Option<&Store>,
    kind: Kind,
    id: ObjectId,
    settled: &ResolvedConflict,
) -> Result<ConflictWrite, AppError> {
    let origin = resident.origin(store, &settled.resolved.change)?;
    let detail = ConflictDetail {
        values: choices(resident, store, &settled.conflict.values)?,
        resolved: Some(ResolutionDetail {
            value: settled.chosen.clone(),
            origin: origin_detail(origin, settled.resolved.time_s),
        }),
    };
    conflict_write(
        kind,
        id,
        &settled.conflict,
        ConflictState::Resolved,
        &detail,
    )
}

fn conflict_write(
    kind: Kind,
    id: ObjectId,
    conflict: &FieldConflict,
    state: ConflictState,
    detail: &ConflictDetail,
) -> Result<ConflictWrite, AppError> {
    Ok(ConflictWrite {
        id: conflict.id.to_string(),
        kind: "field".into(),
        object: id,
        object_kind: kind.spec().code,
        field: conflict.field.clone(),
        state,
        detail: serde_json::to_string(detail).map_err(|error| fault("write a conflict", error))?,
    })
}

fn choices(
    resident: &mut Resident,
    store: Option<&Store>,
    values: &[ConflictValue],
) -> Result<Vec<ChoiceDetail>, AppError> {
    values
        .iter()
        .map(|value| {
            let origin = resident.origin(store, &value.set.change)?;
            Ok(ChoiceDetail {
                choice: value.choice_id.clone(),
                value: value.value.clone(),
                origin: origin_detail(origin, value.set.time_s),
            })
        })
        .collect()
}

fn origin_detail(origin: Option<Origin>, time_s: i64) -> OriginDetail {
    match origin {
        Some(origin) => OriginDetail {
            user: origin.user.map(Uuid::from_bytes),
            node: Some(NodeId(origin.author).to_string()),
            at_ms: origin.wall_ms,
        },
        None => OriginDetail {
            user: None,
            node: None,
            at_ms: u64::try_from(time_s).unwrap_or(0).saturating_mul(1_000),
        },
    }
}

/// What people search a document by: its name or title, and its description.
fn title(kind: Kind, row: &RowView) -> String {
    let mut words = String::new();
    for field in kind.spec().fields {
        if matches!(
            field.name,
            "title" | "name" | "display_name" | "description"
        ) && let Some(text) = row.fields.get(field.name).and_then(Value::as_str)
            && !text.is_empty()
        {
            if !words.is_empty() {
                words.push('\n');
            }
            words.push_str(text);
        }
    }
    words
}

/// The values that lists of this kind can be filtered by.
fn facets(kind: Kind, row: &RowView) -> Vec<(&'static str, String)> {
    let mut facets = Vec::new();
    for field in kind.spec().fields {
        let value = row.fields.get(field.name);
        match (field.merge, field.value, value) {
            (Merge::Set, _, Some(Value::Array(items))) => {
                facets.extend(
                    items
                        .iter()
                        .filter_map(Value::as_str)
                        .map(|item| (field.name, item.to_owned())),
                );
            }
            (
                Merge::Register,
                ValueSpec::Enum(_) | ValueSpec::Id(_) | ValueSpec::Str { .. },
                Some(Value::String(text)),
            ) if text.len() <= FACET_BYTES_MAX => facets.push((field.name, text.clone())),
            (Merge::Register, ValueSpec::Bool, Some(Value::Bool(yes))) => {
                facets.push((field.name, yes.to_string()));
            }
            _ => {}
        }
    }
    // What a rule opened can be found by its rule and its sensor.
    if let Some(Value::Object(source)) = row.fields.get("source") {
        for name in ["rule", "device", "channel"] {
            if let Some(text) = source.get(name).and_then(Value::as_str) {
                facets.push((name, text.to_owned()));
            }
        }
    }
    facets
}

fn location(row: &RowView) -> Option<(f64, f64)> {
    let location = row.fields.get("location")?;
    Some((
        location.get("lat")?.as_f64()?,
        location.get("lon")?.as_f64()?,
    ))
}
