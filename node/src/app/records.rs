//! Documents and facts as people use them: list, read, create, change, delete, restore, look back.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::permissions::{Action, Subject};
use domain::{FactKind, Incoming, Kind, RecordId, Version, ids};
use serde_json::{Map, Value, json};
use store::{
    CommitNo, DocumentQuery, DocumentRow, FactQuery, FactRow, ListCursor, Reader, RuleCursor,
    StoreError,
};
use sync_engine::{NodeId, ObjectId};
use uuid::Uuid;

use super::clock::rfc3339_wall;
use super::documents::{By, EditRequest, IfExists, Outcome, Step, change_in};
use super::health::HealthBook;
use super::messages::Copies;
use super::present::{self, RowView, SeenBy};
use super::rules::Folds;
use super::types::limit_of;
use super::{
    App, AppError, Caller, Created, IdempotencyKey, LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX, ListQuery,
    Page, RecordKind,
};

/// Assignments looked at to derive one resource's status; a resource has a handful that are open.
const ASSIGNMENTS_MAX: usize = 500;

/// States of an assignment in which the resource is not free.
const BUSY_STATES: [&str; 3] = ["committed", "en_route", "on_scene"];

/// A row, whatever kind of record it is.
struct Row {
    id: ObjectId,
    version: String,
    deleted: bool,
    view: String,
    created_wall_ms: u64,
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

impl RecordKind {
    /// Singular, for messages.
    pub fn name(self) -> &'static str {
        match self {
            RecordKind::Document(kind) => kind.spec().name,
            RecordKind::Fact(kind) => kind.name(),
        }
    }

    fn subject(self) -> Subject {
        match self {
            RecordKind::Document(kind) => Subject::Document(kind),
            RecordKind::Fact(kind) => Subject::Fact(kind),
        }
    }
}

impl App {
    /// One page of the records of a kind, newest first.
    ///
    /// # Errors
    /// `Forbidden`, `Invalid` with the query parameter's name, a fault of the store.
    pub async fn list(
        &self,
        caller: &Caller,
        kind: RecordKind,
        query: ListQuery,
    ) -> Result<Page, AppError> {
        self.authorise(caller, Action::Read, kind.subject())?;
        let limit = limit_of(query.limit, LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX)?;
        let after = query.cursor.as_deref().map(parse_cursor).transpose()?;
        let changed_after = query.since.as_deref().map(parse_since).transpose()?;
        // Devices that nobody has approved or refused yet have no document, and what they say is no fact; they come before
        // the first page.
        let unknown = match kind {
            RecordKind::Document(Kind::Device) => self.unknown_devices_for(&query, limit),
            RecordKind::Fact(FactKind::Message) => self.unapproved_messages_for(&query).await?,
            _ => Vec::new(),
        };
        let me = self.me.node;
        let (rows, since, related) = self
            .read(move |reader| {
                let since = reader.newest_commit()?;
                let at_commit = query
                    .at_wall_ms
                    .map(|at| reader.commit_at(at))
                    .transpose()?;
                let rows = match kind {
                    RecordKind::Document(kind) => {
                        let mut wanted = DocumentQuery::new(kind.spec().code, limit + 1);
                        wanted.after = after;
                        wanted.q = query.q;
                        wanted.facets = query.filters.into_iter().collect();
                        wanted.bbox = query.bbox.map(|bbox| store::BoundingBox {
                            lon_min: bbox.min_lon,
                            lat_min: bbox.min_lat,
                            lon_max: bbox.max_lon,
                            lat_max: bbox.max_lat,
                        });
                        wanted.changed_after = changed_after;
                        wanted.include_deleted = query.include_deleted;
                        wanted.at_commit = at_commit;
                        document_rows(reader, &me, reader.list_documents(&wanted)?)?
                    }
                    RecordKind::Fact(kind) => {
                        let about = query.filters.get("about").and_then(|id| id.parse().ok());
                        let wanted = FactQuery {
                            kind: kind.code(),
                            limit: limit + 1,
                            after,
                            about: about.map(|about: RecordId| ObjectId(about.0)),
                            q: query.q,
                            changed_after,
                            at_commit,
                        };
                        fact_rows(reader, &me, reader.list_facts(&wanted)?)?
                    }
                };
                let related = related(reader, &me, kind, &rows, at_commit)?;
                Ok((rows, since, related))
            })
            .await?;
        let mut rows = rows;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows
            .last()
            .filter(|_| more)
            .map(|row| format!("{}.{}", row.created_wall_ms, RecordId(row.id.0)));
        let mut items = rows
            .into_iter()
            .filter(|row| !related.copies.is_hidden(row.id))
            .map(|row| self.show(kind, row, &related))
            .collect::<Result<Vec<Value>, AppError>>()?;
        items.splice(0..0, unknown);
        Ok(Page {
            items,
            next,
            since: since.0.to_string(),
        })
    }

    /// One record as the API shows it.
    ///
    /// # Errors
    /// `Forbidden`, `NotFound`, `Gone` for a deleted one.
    pub async fn get(
        &self,
        caller: &Caller,
        kind: RecordKind,
        id: &str,
        at_wall_ms: Option<u64>,
    ) -> Result<Value, AppError> {
        self.authorise(caller, Action::Read, kind.subject())?;
        let not_found = || AppError::NotFound {
            what: kind.name(),
            id: id.to_owned(),
        };
        let record: RecordId = id.parse().map_err(|_| not_found())?;
        let me = self.me.node;
        let found = self
            .read(move |reader| {
                let at_commit = at_wall_ms.map(|at| reader.commit_at(at)).transpose()?;
                let object = ObjectId(record.0);
                let rows = match kind {
                    RecordKind::Document(document) => {
                        let row =
                            reader.get_document(Some(document.spec().code), &object, at_commit)?;
                        document_rows(reader, &me, row.into_iter().collect())?
                    }
                    RecordKind::Fact(fact) => {
                        let row = reader
                            .get_fact(&object)?
                            .filter(|row| row.kind == fact.code());
                        fact_rows(reader, &me, row.into_iter().collect())?
                    }
                };
                let related = related(reader, &me, kind, &rows, at_commit)?;
                Ok((rows, related))
            })
            .await?;
        let (mut rows, related) = found;
        let Some(row) = rows.pop() else {
            if kind == RecordKind::Document(Kind::Device)
                && let Some(unknown) = self
                    .unknown_device_values()
                    .into_iter()
                    .find(|device| device["id"] == json!(id))
            {
                return Ok(unknown);
            }
            if kind == RecordKind::Fact(FactKind::Message)
                && let Some(unapproved) = self.get_unapproved_message(id).await?
            {
                return Ok(unapproved);
            }
            return Err(not_found());
        };
        if row.deleted {
            return Err(AppError::Gone {
                what: kind.name(),
                id: id.to_owned(),
            });
        }
        self.show(kind, row, &related)
    }

    /// Creates a document or a fact.
    ///
    /// # Errors
    /// `Forbidden`, `Invalid` with pointers, `Conflict` where the name is taken, `DiskFull`, `Busy`.
    pub async fn create(
        &self,
        caller: &Caller,
        kind: RecordKind,
        fields: Map<String, Value>,
        idempotency: Option<IdempotencyKey>,
    ) -> Result<Created, AppError> {
        self.authorise(caller, Action::Create, kind.subject())?;
        if kind == RecordKind::Document(Kind::User) {
            // A user without a password could never sign in, and a password must not stand in a document as it is.
            return Err(AppError::NotYet(
                "users are added with `muster user add NAME` on the node",
            ));
        }
        let step = match kind {
            RecordKind::Document(kind) => self.create_step(kind, fields)?,
            RecordKind::Fact(kind @ (FactKind::Note | FactKind::Message)) => {
                let check = match kind {
                    FactKind::Message => domain::facts::check_message,
                    _ => domain::facts::check_note,
                };
                let bytes = check(&fields).map_err(AppError::Invalid)?;
                let about = domain::facts::decode(kind, &bytes)
                    .ok()
                    .and_then(|fact| fact.about);
                Step::Fact {
                    kind,
                    id: ids::new_fact_id(
                        kind.code(),
                        &self.me.node.0,
                        self.clock.wall_ms(),
                        &rand::random(),
                    ),
                    bytes,
                    about,
                }
            }
            RecordKind::Fact(_) => {
                return Err(AppError::NotYet("this kind of fact cannot be written yet"));
            }
        };
        match self
            .edit(caller, "create", vec![step], idempotency)
            .await?
            .into_iter()
            .next()
        {
            Some(outcome) => {
                let existed = outcome.existed;
                Ok(Created {
                    value: self.show_outcome(kind, outcome).await?,
                    existed,
                })
            }
            None => Err(AppError::Conflict("nothing was created".into())),
        }
    }

    fn create_step(&self, kind: Kind, fields: Map<String, Value>) -> Result<Step, AppError> {
        let (id, if_exists) = match kind {
            // One name is one document, on whichever node it is made first.
            Kind::Device => {
                let name = fields
                    .get("name")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                (
                    ids::stable_id(&self.me.operation.0, kind, name),
                    IfExists::Patch,
                )
            }
            _ => (self.new_id(kind.spec().code), IfExists::Refuse),
        };
        Ok(Step::Create {
            kind,
            id,
            fields,
            by: By::Person,
            if_exists,
        })
    }

    fn new_id(&self, code: u16) -> RecordId {
        ids::new_id(code, self.clock.wall_ms(), &rand::random())
    }

    /// Changes a document by a merge patch (RFC 7396) of the version that its author saw.
    ///
    /// # Errors
    /// `VersionMissing`, `VersionUnknown`, `Invalid` with pointers, `NotFound`, `Gone`, `DiskFull`, `Busy`.
    pub async fn patch(
        &self,
        caller: &Caller,
        kind: Kind,
        id: &str,
        base_version: Option<&str>,
        patch: Map<String, Value>,
        idempotency: Option<IdempotencyKey>,
    ) -> Result<Value, AppError> {
        self.authorise(caller, Action::Edit, Subject::Document(kind))?;
        let base = parse_version(base_version)?;
        let id = self.existing_id(kind, id)?;
        let step = Step::Patch {
            kind,
            id,
            base: Some(base),
            fields: patch,
            by: By::Person,
        };
        self.one_outcome(caller, kind, "edit", step, idempotency)
            .await
    }

    /// Marks a document as deleted.
    ///
    /// # Errors
    /// As [`App::patch`].
    pub async fn delete(
        &self,
        caller: &Caller,
        kind: Kind,
        id: &str,
        base_version: Option<&str>,
    ) -> Result<(), AppError> {
        self.authorise(caller, Action::Delete, Subject::Document(kind))?;
        let base = base_version
            .map(|version| parse_version(Some(version)))
            .transpose()?;
        let id = self.existing_id(kind, id)?;
        let step = Step::SetDeleted {
            kind,
            id,
            base,
            deleted: true,
        };
        self.one_outcome(caller, kind, "delete", step, None)
            .await
            .map(drop)
    }

    /// Takes the mark of deletion away.
    ///
    /// # Errors
    /// As [`App::patch`].
    pub async fn restore(&self, caller: &Caller, kind: Kind, id: &str) -> Result<Value, AppError> {
        self.authorise(caller, Action::Delete, Subject::Document(kind))?;
        let id = self.existing_id(kind, id)?;
        let step = Step::SetDeleted {
            kind,
            id,
            base: None,
            deleted: false,
        };
        self.one_outcome(caller, kind, "restore", step, None).await
    }

    fn existing_id(&self, kind: Kind, id: &str) -> Result<RecordId, AppError> {
        let not_found = || AppError::NotFound {
            what: kind.spec().name,
            id: id.to_owned(),
        };
        let id: RecordId = id.parse().map_err(|_| not_found())?;
        if !ids::fits_kind(id, kind.spec().code) {
            return Err(not_found());
        }
        Ok(id)
    }

    async fn one_outcome(
        &self,
        caller: &Caller,
        kind: Kind,
        action: &'static str,
        step: Step,
        idempotency: Option<IdempotencyKey>,
    ) -> Result<Value, AppError> {
        match self
            .edit(caller, action, vec![step], idempotency)
            .await?
            .into_iter()
            .next()
        {
            Some(outcome) => self.show_outcome(RecordKind::Document(kind), outcome).await,
            None => Err(AppError::Conflict("nothing was changed".into())),
        }
    }

    pub(in crate::app) async fn edit(
        &self,
        caller: &Caller,
        action: &'static str,
        steps: Vec<Step>,
        idempotency: Option<IdempotencyKey>,
    ) -> Result<Vec<Outcome>, AppError> {
        self.documents
            .edit(EditRequest {
                user: caller.user_id,
                actor: caller.name.clone(),
                action,
                steps,
                idempotency,
                rule_cursor: None,
            })
            .await
    }

    /// What rules did, with their cursor, in one transaction.
    pub(in crate::app) async fn commit_rule_effects(
        &self,
        effects: Vec<RuleEffect>,
        cursor: RuleCursor,
    ) -> Result<(), AppError> {
        let steps = effects
            .into_iter()
            .map(|effect| match effect {
                RuleEffect::Open {
                    incident_id,
                    fields,
                } => Step::Create {
                    kind: Kind::Incident,
                    id: RecordId(incident_id),
                    fields,
                    by: By::Node,
                    if_exists: IfExists::Keep,
                },
                RuleEffect::Update {
                    incident_id,
                    fields,
                } => Step::Patch {
                    kind: Kind::Incident,
                    id: RecordId(incident_id),
                    base: None,
                    fields,
                    by: By::Node,
                },
            })
            .collect();
        let request = EditRequest {
            user: None,
            actor: "rules".into(),
            action: "rule",
            steps,
            idempotency: None,
            rule_cursor: Some(cursor),
        };
        self.documents.edit(request).await.map(drop)
    }

    pub(in crate::app) async fn rule_cursor(&self) -> Result<Option<RuleCursor>, AppError> {
        self.read(|reader| reader.rule_cursor()).await
    }

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

    /// A committed outcome as the API shows it.
    async fn show_outcome(&self, kind: RecordKind, outcome: Outcome) -> Result<Value, AppError> {
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

    fn show(&self, kind: RecordKind, row: Row, related: &Related) -> Result<Value, AppError> {
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

    /// Devices without a document, as far as a list asks for them.
    fn unknown_devices_for(&self, query: &ListQuery, limit: usize) -> Vec<Value> {
        let elsewhere = query.cursor.is_some()
            || query.since.is_some()
            || query.bbox.is_some()
            || query.at_wall_ms.is_some()
            || query
                .filters
                .iter()
                .any(|(name, value)| name != "state" || value != "unknown");
        if elsewhere {
            return Vec::new();
        }
        let wanted = query
            .q
            .as_ref()
            .map(|q| q.to_lowercase())
            .unwrap_or_default();
        let mut devices = self.unknown_device_values();
        devices.retain(|device| {
            let name = device["name"].as_str().unwrap_or_default().to_lowercase();
            name.contains(&wanted)
        });
        // A hostile publisher can invent names; a page stays a page.
        devices.truncate(limit);
        devices
    }

    /// Devices that were heard and have no document.
    fn unknown_device_values(&self) -> Vec<Value> {
        self.devices
            .unknown_devices()
            .into_iter()
            .map(|unknown| {
                let id = ids::stable_id(&self.me.operation.0, Kind::Device, &unknown.name);
                let mut device = Map::new();
                device.insert("id".into(), json!(id.to_string()));
                device.insert("version".into(), Value::Null);
                device.insert("name".into(), json!(unknown.name));
                for field in Kind::Device.spec().fields {
                    device
                        .entry(field.name)
                        .or_insert_with(|| field.default_json());
                }
                device.insert("state".into(), json!("unknown"));
                let first_seen = super::rfc3339(unknown.first_seen_ms);
                device.insert("created_at".into(), json!(first_seen));
                device.insert("updated_at".into(), json!(first_seen));
                device.insert("author".into(), Value::Null);
                device.insert("node".into(), json!(self.me.node.to_string()));
                device.insert("node_name".into(), json!(self.me.name));
                device.insert("conflicts".into(), json!([]));
                device.insert("seen_by".into(), json!([]));
                device.insert(
                    "_links".into(),
                    json!({ "self": format!("/v1/devices/{id}"), "collection": "/v1/devices" }),
                );
                let now_ms = self.clock.wall_ms().cast_signed();
                let own = unknown.overlay;
                own.lay_over(&mut device, now_ms);
                // What others say of a device counts where it is one of the operation's.
                let me = self.me.node;
                let none = HealthBook::default();
                none.lay_over(&mut device, &own, (me, now_ms), |node| self.name_of(node));
                Value::Object(device)
            })
            .collect()
    }
}

/// What a rule does to an incident.
#[derive(Debug, Clone)]
pub(in crate::app) enum RuleEffect {
    /// Opens one; the id follows from the rule, the sensor and the reading, so that doing it twice makes one.
    Open {
        incident_id: [u8; 16],
        fields: Map<String, Value>,
    },
    /// Records a peak or a clearing.
    Update {
        incident_id: [u8; 16],
        fields: Map<String, Value>,
    },
}

fn document_rows(
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

fn fact_rows(reader: &Reader<'_>, me: &NodeId, rows: Vec<FactRow>) -> Result<Vec<Row>, StoreError> {
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
struct Related {
    statuses: BTreeMap<ObjectId, &'static str>,
    folds: Folds,
    copies: Copies,
    health: HealthBook,
}

fn related(
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

fn parse_version(text: Option<&str>) -> Result<Version, AppError> {
    let text = text.ok_or(AppError::VersionMissing)?;
    // A text that is no version cannot be one that this node knows.
    text.parse()
        .map_err(|_| AppError::VersionUnknown(text.chars().take(100).collect()))
}

fn parse_cursor(text: &str) -> Result<ListCursor, AppError> {
    let parsed = text.split_once('.').and_then(|(created, id)| {
        let id: RecordId = id.parse().ok()?;
        Some(ListCursor {
            created_wall_ms: created.parse().ok()?,
            id: ObjectId(id.0),
        })
    });
    parsed.ok_or_else(|| bad_query("cursor"))
}

fn parse_since(text: &str) -> Result<CommitNo, AppError> {
    text.parse().map(CommitNo).map_err(|_| bad_query("since"))
}

/// A query parameter that did not come from an answer of ours.
pub(in crate::app) fn bad_query(name: &str) -> AppError {
    AppError::Invalid(vec![domain::FieldError {
        pointer: format!("/{name}"),
        detail: "is not one that this node has given out".into(),
    }])
}
