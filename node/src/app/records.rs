//! Documents and facts as people use them: list, read, create, change, delete, restore; looking back is in `history`.

mod history;
mod show;
mod undecided;

use domain::permissions::{Action, Subject};
use domain::{FactKind, Kind, RecordId, Version, ids};
use serde_json::{Map, Value};
use store::{CommitNo, DocumentQuery, FactQuery, ListCursor, RuleCursor};
use sync_engine::ObjectId;

use self::show::{document_rows, fact_rows, related};
use super::documents::{By, EditRequest, IfExists, Outcome, Step};
use super::types::{bad_query, limit_of};
use super::{
    App, AppError, Caller, Created, IdempotencyKey, LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX, ListQuery,
    Page, RecordKind,
};

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
        let undecided = self.undecided_for(kind, &query, limit).await?;
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
        items.splice(0..0, undecided);
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
            if let Some(undecided) = self.undecided(kind, id).await? {
                return Ok(undecided);
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
