//! Conflicts: registers that two posts set apart, listed until a person chooses.

use domain::permissions::{Action, Subject};
use domain::{Kind, RecordId, schema};
use serde_json::{Map, Value, json};
use store::{CommitNo, ConflictQuery, ConflictRow, ConflictState};
use sync_engine::ObjectId;

use super::clock::rfc3339_wall;
use super::documents::{ConflictDetail, OriginDetail, Step};
use super::present::{Names, RowView};
use super::types::{bad_query, limit_of};
use super::{App, AppError, Caller, LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX, Page, Resolution};

impl App {
    /// One page of conflicts, newest first; `state` is `open` or `resolved`.
    ///
    /// # Errors
    /// `Forbidden`, `Invalid` for a parameter that does not fit.
    pub async fn list_conflicts(
        &self,
        caller: &Caller,
        state: Option<String>,
        document: Option<String>,
        cursor: Option<String>,
        limit: Option<u32>,
    ) -> Result<Page, AppError> {
        self.authorise(caller, Action::Read, Subject::Conflicts)?;
        let limit = limit_of(limit, LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX)?;
        let query = ConflictQuery {
            state: match state.as_deref() {
                None => None,
                Some("open") => Some(ConflictState::Open),
                Some("resolved") => Some(ConflictState::Resolved),
                Some(_) => return Err(bad_state()),
            },
            kind: None,
            object: match document {
                None => None,
                Some(id) => {
                    let id: RecordId = id.parse().map_err(|_| bad_query("document"))?;
                    Some(ObjectId(id.0))
                }
            },
            after: cursor.as_deref().map(parse_cursor).transpose()?,
            limit: limit + 1,
        };
        let (mut rows, titles, since) = self
            .read(move |reader| {
                let rows = reader.conflicts(&query)?;
                let titles = rows
                    .iter()
                    .map(|row| title(reader, row))
                    .collect::<Result<Vec<_>, _>>()?;
                Ok((rows, titles, reader.newest_commit()?))
            })
            .await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows
            .last()
            .filter(|_| more)
            .map(|row| format!("{}.{}", row.first_commit.0, row.id));
        let items = rows
            .into_iter()
            .zip(titles)
            .map(|(row, title)| self.show_conflict(&row, &title))
            .collect::<Result<Vec<Value>, AppError>>()?;
        Ok(Page {
            items,
            next,
            since: since.0.to_string(),
        })
    }

    /// One conflict.
    ///
    /// # Errors
    /// `Forbidden`, `NotFound`.
    pub async fn get_conflict(&self, caller: &Caller, id: &str) -> Result<Value, AppError> {
        self.authorise(caller, Action::Read, Subject::Conflicts)?;
        let (row, title) = self.conflict_row(id).await?;
        self.show_conflict(&row, &title)
    }

    async fn conflict_row(&self, id: &str) -> Result<(ConflictRow, String), AppError> {
        let wanted = id.to_owned();
        let found = self
            .read(move |reader| {
                let Some(row) = reader.conflict(&wanted)? else {
                    return Ok(None);
                };
                let title = title(reader, &row)?;
                Ok(Some((row, title)))
            })
            .await?;
        found.ok_or_else(|| AppError::NotFound {
            what: "conflict",
            id: id.to_owned(),
        })
    }

    /// Settles a conflict with one of its values, or with another one; answers with the conflict, now resolved.
    ///
    /// # Errors
    /// `NotFound`, `Conflict` when it was settled otherwise in the meantime, `Invalid` for an unknown choice or a value
    /// that the field does not take.
    pub async fn resolve_conflict(
        &self,
        caller: &Caller,
        id: &str,
        resolution: Resolution,
    ) -> Result<Value, AppError> {
        self.authorise(caller, Action::Edit, Subject::Conflicts)?;
        let (row, _) = self.conflict_row(id).await?;
        let kind = kind_of(&row)?;
        self.authorise(caller, Action::Edit, Subject::Document(kind))?;
        let detail = detail(&row)?;
        if row.state != ConflictState::Open {
            return Err(AppError::Conflict(
                "this conflict is resolved already: change the field if the choice was wrong"
                    .into(),
            ));
        }
        let value = match resolution {
            Resolution::Value(value) => value,
            Resolution::Choice(choice) => detail
                .values
                .iter()
                .find(|value| value.choice == choice)
                .map(|value| value.value.clone())
                .ok_or_else(|| {
                    AppError::Invalid(vec![domain::FieldError {
                        pointer: "/choice".into(),
                        detail: "is none of this conflict's choices".into(),
                    }])
                })?,
        };
        let step = Step::Resolve {
            kind,
            id: RecordId(row.object.0),
            conflict: row.id.clone(),
            field: row.field.clone(),
            value,
            choices: detail
                .values
                .into_iter()
                .map(|choice| choice.value)
                .collect(),
        };
        self.edit(caller, "resolve", vec![step], None).await?;
        self.get_conflict(caller, id).await
    }

    fn show_conflict(&self, row: &ConflictRow, title: &str) -> Result<Value, AppError> {
        let detail = detail(row)?;
        let names = self.names.as_ref();
        let kind = schema::spec_by_code(row.object_kind);
        let document = RecordId(row.object.0).to_string();
        let values: Vec<Value> = detail
            .values
            .iter()
            .map(|choice| {
                let mut value = origin(&choice.origin, names);
                value.insert("choice".into(), json!(choice.choice));
                value.insert("value".into(), choice.value.clone());
                Value::Object(value)
            })
            .collect();
        let choices: Vec<Value> = detail
            .values
            .iter()
            .map(|choice| json!({ "id": choice.choice, "label": label(&choice.value) }))
            .collect();
        let said: Vec<String> = detail
            .values
            .iter()
            .map(|choice| label(&choice.value))
            .collect();
        let subject = if title.is_empty() {
            document.as_str()
        } else {
            title
        };
        Ok(json!({
            "id": row.id,
            "kind": row.kind,
            "documents": [{
                "kind": kind.map(|spec| spec.name),
                "id": document,
                "title": title,
                "href": kind.map(|spec| format!("/v1/{}/{document}", spec.plural)),
            }],
            "field": row.field,
            "summary": format!("{} of “{subject}” was set to {} apart", row.field, said.join(" and to ")),
            "values": values,
            "choices": choices,
            "state": if row.state == ConflictState::Resolved { "resolved" } else { "open" },
            "resolution": detail.resolved.as_ref().map(|resolved| {
                let mut value = origin(&resolved.origin, names);
                value.insert("value".into(), resolved.value.clone());
                Value::Object(value)
            }),
        }))
    }
}

fn origin(origin: &OriginDetail, names: &dyn Names) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert(
        "author".into(),
        json!(origin.user.map(|user| names.user(user))),
    );
    out.insert("node".into(), json!(origin.node));
    out.insert(
        "node_name".into(),
        json!(origin.node.as_deref().and_then(|node| names.node(node))),
    );
    out.insert("at".into(), json!(rfc3339_wall(origin.at_ms)));
    out
}

/// A value in a few words.
fn label(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::String(text) => text.clone(),
        Value::Object(place) if place.contains_key("lat") && place.contains_key("lon") => {
            format!("{}, {}", place["lat"], place["lon"])
        }
        other => other.to_string(),
    }
}

fn detail(row: &ConflictRow) -> Result<ConflictDetail, AppError> {
    serde_json::from_str(&row.detail).map_err(|error| AppError::Fault {
        context: "read a conflict",
        source: Box::new(error),
    })
}

fn kind_of(row: &ConflictRow) -> Result<Kind, AppError> {
    schema::spec_by_code(row.object_kind)
        .map(|spec| spec.kind)
        .ok_or(AppError::NotYet(
            "this conflict is about a kind that only a newer version knows",
        ))
}

/// The first line of what the document is called.
fn title(reader: &store::Reader<'_>, row: &ConflictRow) -> Result<String, store::StoreError> {
    let document = reader.get_document(Some(row.object_kind), &row.object, None)?;
    let view = document.and_then(|row| serde_json::from_str::<RowView>(&row.view).ok());
    Ok(view
        .and_then(|view| {
            let named = ["title", "name"]
                .into_iter()
                .find_map(|field| view.fields.get(field).cloned());
            named.and_then(|name| name.as_str().map(str::to_owned))
        })
        .unwrap_or_default())
}

fn parse_cursor(text: &str) -> Result<(CommitNo, String), AppError> {
    let parsed = text
        .split_once('.')
        .and_then(|(commit, id)| Some((CommitNo(commit.parse().ok()?), id.to_owned())));
    parsed.ok_or_else(|| bad_query("cursor"))
}

fn bad_state() -> AppError {
    AppError::Invalid(vec![domain::FieldError {
        pointer: "/state".into(),
        detail: "expected one of: open, resolved".into(),
    }])
}
