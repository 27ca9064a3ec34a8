//! Local edits: from a request to one batch, or to nothing at all.

use std::sync::Arc;

use domain::{Document, Edit, EditError, FieldError, Kind, RecordId, Version};
use serde_json::{Map, Value, json};
use store::{Batch, Disposition, FactWrite, IdempotencyWrite, LocalEntry};
use sync_engine::{Entry, EntryHeader, EntryKind, GroupId, ObjectId, Payload};

use super::queue::Class;
use super::resident::{DocumentKey, Origin, Resident, fault};
use super::worker::{ChangedDocument, Worker};
use super::{By, EditRequest, IfExists, LocalCommand, Outcome, Step, lane_of, rows};
use crate::app::audit;
use crate::app::error::AppError;
use crate::app::present::RowView;

/// Room that an entry's header and framing take beside its change, bytes.
const ENTRY_OVERHEAD_BYTES: usize = 64;

/// A request as it becomes a batch.
struct Draft {
    batch: Batch,
    pins: Vec<Arc<()>>,
    changed: Vec<ChangedDocument>,
    outcomes: Vec<Outcome>,
    /// Changed in memory; forgotten if the request fails.
    touched: Vec<DocumentKey>,
    user: Option<[u8; 16]>,
    wall_ms: u64,
}

impl Worker {
    pub(super) fn edit(&mut self, class: Class, command: LocalCommand) {
        let LocalCommand { request, reply } = command;
        match self.draft(&request) {
            Ok(Some((draft, answer))) => {
                self.hand_over(
                    class,
                    draft.batch,
                    draft.pins,
                    draft.changed,
                    Vec::new(),
                    move |result| {
                        // Whoever asked may have gone away; the edit stands all the same.
                        let _ = reply.send(result.map(|()| answer));
                    },
                );
            }
            Ok(None) => {
                self.nothing_handed_over(class);
                let _ = reply.send(self.answer_before(&request));
            }
            Err(error) => {
                self.nothing_handed_over(class);
                let _ = reply.send(Err(error));
            }
        }
    }

    /// The batch for a request and its answer; `None` when the same request was answered before.
    fn draft(&mut self, request: &EditRequest) -> Result<Option<(Draft, Vec<Outcome>)>, AppError> {
        if let Some(reason) = self.around.writes_stopped.load_full() {
            return Err(AppError::WritesStopped(reason.as_ref().clone()));
        }
        let same = request
            .idempotency
            .as_ref()
            .map(|key| self.wait_for_the_same(&key.scope(request.user), &key.key));
        if self.answered_before(request)?.is_some() {
            return Ok(None);
        }
        let wall_ms = self.around.clock.wall_ms();
        let lane = request.steps.iter().map(Step::lane).min();
        let mut draft = Draft {
            batch: Batch::new(lane.unwrap_or(sync_engine::Lane::Life), wall_ms),
            pins: same.into_iter().collect(),
            changed: Vec::new(),
            outcomes: Vec::new(),
            touched: Vec::new(),
            user: request.user,
            wall_ms,
        };
        for step in &request.steps {
            if let Err(error) = self.step(&mut draft, step) {
                self.undo(std::mem::take(&mut draft.touched));
                return Err(error);
            }
        }
        draft.batch.rule_cursor.clone_from(&request.rule_cursor);
        if let Err(error) = self.finish(&mut draft, request) {
            self.undo(std::mem::take(&mut draft.touched));
            return Err(error);
        }
        let answer = draft.outcomes.clone();
        Ok(Some((draft, answer)))
    }

    fn finish(&mut self, draft: &mut Draft, request: &EditRequest) -> Result<(), AppError> {
        for outcome in &draft.outcomes {
            draft.batch.audit.push(audit::record(
                draft.wall_ms,
                &request.actor,
                request.action,
                Some(ObjectId(outcome.id.0)),
                &json!({ "version": outcome.version }),
            ));
        }
        if let Some(key) = &request.idempotency {
            let Some(outcome) = draft.outcomes.first() else {
                return Ok(());
            };
            draft.batch.idempotency = Some(IdempotencyWrite {
                scope: key.scope(request.user),
                key: key.key.clone(),
                body_hash: key.body_hash,
                status: if outcome.existed { 200 } else { 201 },
                answer: serde_json::to_vec(&draft.outcomes)
                    .map_err(|error| fault("keep an answer", error))?,
                at_wall_ms: draft.wall_ms,
            });
        }
        Ok(())
    }

    fn answered_before(&self, request: &EditRequest) -> Result<Option<IdempotencyWrite>, AppError> {
        let Some(key) = &request.idempotency else {
            return Ok(None);
        };
        let scope = key.scope(request.user);
        let before = self
            .around
            .store
            .read(|reader| reader.idempotency(&scope, &key.key, self.around.clock.wall_ms()))
            .map_err(|error| fault("look up an idempotency key", error))?;
        match before {
            Some(before) if before.body_hash != key.body_hash => Err(AppError::IdempotencyReused),
            before => Ok(before),
        }
    }

    fn answer_before(&self, request: &EditRequest) -> Result<Vec<Outcome>, AppError> {
        let Some(before) = self.answered_before(request)? else {
            return Err(AppError::Busy { retry_after_s: 1 });
        };
        serde_json::from_slice(&before.answer).map_err(|error| fault("read a kept answer", error))
    }

    fn step(&mut self, draft: &mut Draft, step: &Step) -> Result<(), AppError> {
        match step {
            Step::Create {
                kind,
                id,
                fields,
                by,
                if_exists,
            } => self.create(draft, *kind, *id, fields, *by, *if_exists),
            Step::Patch {
                kind,
                id,
                base,
                fields,
                by,
            } => self.change(draft, *kind, *id, base.as_ref(), true, |document| {
                let current = match base {
                    Some(base) => document
                        .fields_at(base)
                        .ok_or_else(|| AppError::VersionUnknown(base.to_string()))?,
                    None => document.view().fields,
                };
                checked(*kind, fields, &current, *by)
            }),
            Step::Resolve {
                kind,
                id,
                conflict,
                field,
                value,
                choices,
            } => self.change(draft, *kind, *id, None, false, |document| {
                let current = document.view();
                let mut open = current.conflicts.iter().map(|open| open.id.to_string());
                if open.all(|open| open != *conflict) {
                    return Err(AppError::Conflict(
                        "this conflict was settled, or another value came, in the meantime: \
                         look at it again"
                            .into(),
                    ));
                }
                domain::check_resolution(*kind, field, value, choices, &current.fields)
                    .map_err(AppError::Invalid)
            }),
            Step::SetDeleted {
                kind,
                id,
                base,
                deleted,
            } => self.change(draft, *kind, *id, base.as_ref(), *deleted, |_| {
                Ok(if *deleted {
                    Edit::delete(*kind)
                } else {
                    Edit::restore(*kind)
                })
            }),
            Step::Fact {
                kind,
                id,
                bytes,
                about,
            } => {
                let code = kind.code();
                let entry = self.entry(draft, code, *id, bytes.clone())?;
                let time = entry.header.time;
                let fact = domain::facts::decode(*kind, bytes)
                    .map_err(|error| fault("read back a fact", error))?;
                let row = fact_row(&fact.fields, time.wall_ms, &self.around.node_id, draft.user);
                draft.batch.facts.push(FactWrite {
                    id: ObjectId(id.0),
                    kind: code,
                    entry: None,
                    view: serde_json::to_string(&row)
                        .map_err(|error| fault("write a row", error))?,
                    about: about.map(|about| ObjectId(about.0)),
                    created_wall_ms: time.wall_ms,
                });
                draft
                    .batch
                    .local
                    .push(local_entry(&entry, lane_of(kind.lane()))?);
                draft.outcomes.push(Outcome {
                    id: *id,
                    version: String::new(),
                    deleted: false,
                    row,
                    existed: false,
                });
                Ok(())
            }
        }
    }

    fn create(
        &mut self,
        draft: &mut Draft,
        kind: Kind,
        id: RecordId,
        fields: &Map<String, Value>,
        by: By,
        if_exists: IfExists,
    ) -> Result<(), AppError> {
        let key = (kind, id);
        let mut resident = self.residents.take(&self.around.store, key)?;
        let existed = !resident.document.is_empty();
        let result = match (existed, if_exists) {
            (false, _) => create_edit(kind, fields, by)
                .and_then(|edit| self.apply(draft, &mut resident, None, &edit)),
            (true, IfExists::Refuse) => Err(AppError::Conflict(format!(
                "this {} exists already: change it with a PATCH",
                kind.spec().name
            ))),
            (true, IfExists::Keep) => self.outcome(draft, &resident, true),
            (true, IfExists::Patch) => {
                let view = resident.document.view();
                let mut fields = fields.clone();
                // What is so already is no change, and makes no conflict with somebody who changes it elsewhere.
                fields.retain(|name, value| view.fields.get(name) != Some(value));
                let edit = checked(kind, &fields, &view.fields, by).map(|edit| {
                    if view.deleted {
                        Edit::restore(kind).and(edit)
                    } else {
                        edit
                    }
                });
                edit.and_then(|edit| self.apply(draft, &mut resident, None, &edit))
            }
        };
        self.residents.put(key, resident);
        if let Some(outcome) = draft.outcomes.last_mut() {
            outcome.existed = existed;
        }
        result
    }

    /// Changes a document that exists; `gone` refuses one that is deleted.
    fn change(
        &mut self,
        draft: &mut Draft,
        kind: Kind,
        id: RecordId,
        base: Option<&Version>,
        gone: bool,
        edit: impl FnOnce(&Document) -> Result<Edit, AppError>,
    ) -> Result<(), AppError> {
        let key = (kind, id);
        let mut resident = self.residents.take(&self.around.store, key)?;
        let what = kind.spec().name;
        let result = if resident.document.is_empty() {
            Err(AppError::NotFound {
                what,
                id: id.to_string(),
            })
        } else if gone && resident.document.view().deleted {
            Err(AppError::Gone {
                what,
                id: id.to_string(),
            })
        } else {
            edit(&resident.document).and_then(|edit| self.apply(draft, &mut resident, base, &edit))
        };
        self.residents.put(key, resident);
        if let Some(outcome) = draft.outcomes.last_mut() {
            outcome.existed = true;
        }
        result
    }

    /// Applies an edit and adds its entry and rows to the draft.
    fn apply(
        &mut self,
        draft: &mut Draft,
        resident: &mut Resident,
        base: Option<&Version>,
        edit: &Edit,
    ) -> Result<(), AppError> {
        let kind = resident.document.kind();
        let id = resident.document.id();
        let time_s = i64::try_from(draft.wall_ms / 1_000).unwrap_or(i64::MAX);
        let edited = resident
            .document
            .edit(&self.around.author, base, edit, time_s)
            .map_err(|error| in_app_words(error, base))?;
        let Some(edited) = edited else {
            return self.outcome(draft, resident, true);
        };
        draft.touched.push((kind, id));
        let entry = self.entry(draft, kind.spec().code, id, edited.bytes)?;
        let time = entry.header.time;
        let origin = Origin {
            author: self.around.author.node,
            user: draft.user,
            wall_ms: time.wall_ms,
        };
        resident.note_origin(edited.hash, origin);
        // The sequence number is known only to the writer; between two entries of one node the hybrid time decides.
        resident
            .meta
            .observe(time.wall_ms, time.logical, &self.around.node_id, draft.user);
        resident.unsaved += 1;
        let rows = rows::rows(
            resident,
            Some(&self.around.store),
            &edited.resolved,
            None,
            None,
        )?;
        draft
            .batch
            .local
            .push(local_entry(&entry, rows.document.lane)?);
        draft.batch.conflicts.extend(rows.conflicts);
        draft.pins.push(Arc::clone(&resident.pin));
        draft.outcomes.push(Outcome {
            id,
            version: rows.document.version.clone(),
            deleted: rows.document.deleted,
            row: rows.row.clone(),
            existed: false,
        });
        draft.changed.push(ChangedDocument {
            kind,
            id,
            deleted: rows.document.deleted,
            row: rows.row,
        });
        // A request that touches a document twice leaves one row behind.
        draft
            .batch
            .documents
            .retain(|earlier| earlier.id != rows.document.id);
        draft.batch.documents.push(rows.document);
        Ok(())
    }

    /// The document as it stands, where nothing was changed.
    fn outcome(
        &mut self,
        draft: &mut Draft,
        resident: &Resident,
        existed: bool,
    ) -> Result<(), AppError> {
        let view = resident.document.view();
        // The answer says what may still be on its way to the disk: it waits for the same writer.
        draft.pins.push(Arc::clone(&resident.pin));
        draft.outcomes.push(Outcome {
            id: resident.document.id(),
            version: view.version.to_string(),
            deleted: view.deleted,
            row: RowView {
                fields: view.fields,
                unknown: view.unknown,
                secrets: view.secrets,
                conflicts: resident.conflicts.clone(),
                meta: resident.meta.clone(),
            },
            existed,
        });
        Ok(())
    }

    fn entry(
        &mut self,
        draft: &Draft,
        code: u16,
        id: RecordId,
        payload: Vec<u8>,
    ) -> Result<Entry, AppError> {
        let bytes = payload.len();
        let max_bytes = sync_engine::ENTRY_BYTES_MAX - ENTRY_OVERHEAD_BYTES;
        if bytes > max_bytes {
            return Err(AppError::TooLarge { bytes, max_bytes });
        }
        Ok(Entry {
            header: EntryHeader {
                time: self.clock.tick(draft.wall_ms),
                user: draft.user,
                kind: EntryKind(code),
                object: ObjectId(id.0),
            },
            payload: Payload::Plain(payload),
        })
    }
}

/// A fact's row: its fields, who wrote it and when.
pub(super) fn fact_row(
    fields: &Map<String, Value>,
    wall_ms: u64,
    node: &str,
    user: Option<[u8; 16]>,
) -> RowView {
    let mut row = RowView {
        fields: fields.clone(),
        ..RowView::default()
    };
    row.meta.observe(wall_ms, 0, node, user);
    row
}

fn local_entry(entry: &Entry, lane: sync_engine::Lane) -> Result<LocalEntry, AppError> {
    Ok(LocalEntry {
        group: GroupId::SHARED,
        lane,
        bytes: entry
            .encode()
            .map_err(|error| fault("encode an entry", error))?,
        kind: entry.header.kind.0,
        object: entry.header.object,
        disposition: Disposition::Applied,
    })
}

fn create_edit(kind: Kind, fields: &Map<String, Value>, by: By) -> Result<Edit, AppError> {
    match by {
        By::Person => domain::check_create(kind, fields),
        By::Node => domain::check_node_fields(kind, fields),
    }
    .map_err(AppError::Invalid)
}

fn checked(
    kind: Kind,
    fields: &Map<String, Value>,
    current: &Map<String, Value>,
    by: By,
) -> Result<Edit, AppError> {
    let checked: Result<Edit, Vec<FieldError>> = match by {
        By::Person => domain::check_patch(kind, fields, current),
        By::Node => domain::check_node_fields(kind, fields),
    };
    checked.map_err(AppError::Invalid)
}

fn in_app_words(error: EditError, base: Option<&Version>) -> AppError {
    match error {
        EditError::VersionUnknown => {
            AppError::VersionUnknown(base.map(Version::to_string).unwrap_or_default())
        }
        EditError::TooLarge { bytes, max_bytes } => AppError::TooLarge { bytes, max_bytes },
        error @ EditError::TooManyAtOnce => AppError::Conflict(error.to_string()),
        error => fault("edit a document", error),
    }
}
