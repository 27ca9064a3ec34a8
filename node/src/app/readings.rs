//! Series, readings and dead letters as people and programs ask for them.
//!
//! Invariant: what was acknowledged to a sensor is in the answer of the next question.

mod answers;
mod archive;
mod calibrated;

use std::sync::Arc;

use domain::permissions::{Action, Subject};
use serde_json::{Value, json};
use store::{DeadLetter, DeadLetterQuery, DeadLetterState, SeriesId, SeriesQuery, StoreError};

pub use self::answers::Resolution;
pub use self::calibrated::Values;
use super::clock::rfc3339;
use super::{App, AppError, Caller, Page};

/// Items of a list where nothing is said, and at most (DESIGN §8).
const LIMIT_DEFAULT: u32 = 50;
const LIMIT_MAX: u32 = 500;

/// Points of one answer where nothing is said, and at most: 10,000 points are half a megabyte of JSON.
const POINTS_DEFAULT: u32 = 1000;
const POINTS_MAX: u32 = 10_000;

impl App {
    /// Series in the order in which they were first heard. `device` and `channel` are exact names, `q` is a part of
    /// either.
    ///
    /// # Errors
    /// `Forbidden`, a limit or cursor that does not fit, a fault of the store.
    pub async fn list_series(
        self: &Arc<Self>,
        caller: &Caller,
        device: Option<String>,
        channel: Option<String>,
        q: Option<String>,
        cursor: Option<String>,
        limit: Option<u32>,
    ) -> Result<Page, AppError> {
        self.authorise(caller, Action::Read, Subject::Readings)?;
        let limit = limit_of(limit)?;
        let after = cursor
            .map(|cursor| cursor.parse().map(SeriesId))
            .transpose()
            .map_err(|_| bad_cursor())?;
        let app = Arc::clone(self);
        let mut found = blocking("list series", move || {
            let query = SeriesQuery {
                device,
                channel,
                q,
                after,
                limit: limit + 1,
            };
            Ok((
                app.store.readings().series(&query),
                app.store.readings().newest_position(),
            ))
        })
        .await?;
        let more = found.0.len() > limit;
        found.0.truncate(limit);
        let next = if more {
            found.0.last().map(|series| series.id.0.to_string())
        } else {
            None
        };
        Ok(Page {
            items: found.0.iter().map(series_value).collect(),
            next,
            since: found.1.to_string(),
        })
    }

    /// One series.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub async fn get_series(&self, caller: &Caller, id: &str) -> Result<Value, AppError> {
        self.authorise(caller, Action::Read, Subject::Readings)?;
        let info = series_id(id).and_then(|id| self.store.readings().series_info(id));
        info.as_ref().map(series_value).ok_or_else(|| no_series(id))
    }

    /// Readings of a series with `from_ms ≤ at ≤ to_ms`, oldest first: `{"points": [[at, value], …], "truncated"}`, or
    /// `[at, min, mean, max, count]` of the minutes, quarters or hours that have part in the range. Where there are more
    /// than `limit`, these are the newest, and `truncated` is true. Values are as their calibrations say, or as they came;
    /// the answer tells which calibrations were used.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`, a limit or range that does not fit, a fault of the store.
    pub async fn readings(
        self: &Arc<Self>,
        caller: &Caller,
        id: &str,
        from_ms: Option<i64>,
        to_ms: Option<i64>,
        (resolution, values): (Resolution, Values),
        limit: Option<u32>,
    ) -> Result<Value, AppError> {
        self.authorise(caller, Action::Read, Subject::Readings)?;
        let series = series_id(id).and_then(|id| self.store.readings().series_info(id));
        let series = series.ok_or_else(|| no_series(id))?;
        let limit = match limit {
            None => POINTS_DEFAULT,
            Some(limit @ 1..=POINTS_MAX) => limit,
            Some(_) => {
                return Err(AppError::Unreadable(format!(
                    "limit: 1 to {POINTS_MAX} is expected"
                )));
            }
        };
        let (from_ms, to_ms) = (from_ms.unwrap_or(i64::MIN), to_ms.unwrap_or(i64::MAX));
        if from_ms > to_ms {
            return Err(AppError::Unreadable("from lies after to".into()));
        }
        let app = Arc::clone(self);
        let limit = limit as usize;
        let calibrations = match values {
            Values::Calibrated => self.calibrations.of(&series.device, &series.channel),
            Values::Raw => None,
        }
        .unwrap_or_default();
        let Some(width) = resolution.width() else {
            let mut page = blocking("read readings", move || {
                app.store
                    .readings()
                    .points(series.id, from_ms, to_ms, limit)
            })
            .await?;
            let expected_interval_ms = self.devices.expected_interval_ms(&series.device);
            let told = calibrated::points(&calibrations, &mut page);
            let mut answer = answers::raw(id, &page, expected_interval_ms);
            told.lay_over(&mut answer);
            return Ok(answer);
        };
        let (page, told) = blocking("read rollups", move || {
            let readings = app.store.readings();
            let mut page = readings.buckets(series.id, width, from_ms, to_ms, limit)?;
            let told = calibrated::buckets(&calibrations, width, &mut page, |from, to, limit| {
                readings.points(series.id, from, to, limit)
            })?;
            Ok((page, told))
        })
        .await?;
        let mut answer = answers::rollup(id, resolution, &page);
        told.lay_over(&mut answer);
        Ok(answer)
    }

    /// Payloads that could not be read, newest first. `state` is open, replayed or discarded.
    ///
    /// # Errors
    /// `Forbidden`, a state, limit or cursor that does not fit, a fault of the store.
    pub async fn list_dead_letters(
        self: &Arc<Self>,
        caller: &Caller,
        state: Option<String>,
        cursor: Option<String>,
        limit: Option<u32>,
    ) -> Result<Page, AppError> {
        self.authorise(caller, Action::Read, Subject::DeadLetters)?;
        let state = match state.as_deref() {
            None => None,
            Some("open") => Some(DeadLetterState::Open),
            Some("replayed") => Some(DeadLetterState::Replayed),
            Some("discarded") => Some(DeadLetterState::Discarded),
            Some(other) => {
                let message = format!("state {other:?}: open, replayed or discarded is expected");
                return Err(AppError::Unreadable(message));
            }
        };
        let limit = limit_of(limit)?;
        let before = cursor
            .map(|cursor| cursor.parse())
            .transpose()
            .map_err(|_| bad_cursor())?;
        let app = Arc::clone(self);
        let mut letters = blocking("list dead letters", move || {
            app.store.readings().dead_letters(&DeadLetterQuery {
                state,
                before,
                limit: limit + 1,
                ..DeadLetterQuery::default()
            })
        })
        .await?;
        let more = letters.len() > limit;
        letters.truncate(limit);
        let next = if more {
            letters.last().map(|letter| letter.id.to_string())
        } else {
            None
        };
        let since = self.store.readings().newest_position().to_string();
        Ok(Page {
            items: letters.iter().map(letter_value).collect(),
            next,
            since,
        })
    }

    /// One dead letter.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`, a fault of the store.
    pub async fn get_dead_letter(
        self: &Arc<Self>,
        caller: &Caller,
        id: &str,
    ) -> Result<Value, AppError> {
        self.authorise(caller, Action::Read, Subject::DeadLetters)?;
        self.letter(id).await.map(|letter| letter_value(&letter))
    }

    /// Tries again to read it, with the decoders of this version. Its readings and its new state are one commit. The
    /// readings are not evaluated by rules: they are old news.
    ///
    /// # Errors
    /// `Conflict` when it still cannot be read (its reason is updated) or is settled already; `NotFound`, `Forbidden`,
    /// a fault of the store.
    pub async fn replay_dead_letter(
        self: &Arc<Self>,
        caller: &Caller,
        id: &str,
    ) -> Result<Value, AppError> {
        self.authorise(caller, Action::Administer, Subject::DeadLetters)?;
        let letter = self.open_letter(id).await?;
        self.note_audit(caller, "dead-letter.replay", json!({ "dead_letter": id }))
            .await?;
        match self.try_dead_letter(&letter).await? {
            Ok(()) => self.letter(id).await.map(|letter| letter_value(&letter)),
            Err(reason) => Err(AppError::Conflict(format!(
                "it still cannot be read: {reason}"
            ))),
        }
    }

    /// Gives it up. It stays listed until it is too old.
    ///
    /// # Errors
    /// `Conflict` when it is settled already; `NotFound`, `Forbidden`, a fault of the store.
    pub async fn discard_dead_letter(
        self: &Arc<Self>,
        caller: &Caller,
        id: &str,
    ) -> Result<Value, AppError> {
        self.authorise(caller, Action::Administer, Subject::DeadLetters)?;
        let letter = self.open_letter(id).await?;
        self.note_audit(caller, "dead-letter.discard", json!({ "dead_letter": id }))
            .await?;
        let discarded = self.store.readings().discard_dead_letter(letter.id).await;
        if !discarded.map_err(|error| fault("discard a dead letter", error))? {
            return Err(settled());
        }
        self.letter(id).await.map(|letter| letter_value(&letter))
    }

    async fn letter(self: &Arc<Self>, id: &str) -> Result<DeadLetter, AppError> {
        let missing = || AppError::NotFound {
            what: "dead letter",
            id: id.to_owned(),
        };
        let number: i64 = id.parse().map_err(|_| missing())?;
        let app = Arc::clone(self);
        blocking("read a dead letter", move || {
            app.store.readings().dead_letter(number)
        })
        .await?
        .ok_or_else(missing)
    }

    async fn open_letter(self: &Arc<Self>, id: &str) -> Result<DeadLetter, AppError> {
        let letter = self.letter(id).await?;
        if letter.state == DeadLetterState::Open {
            Ok(letter)
        } else {
            Err(settled())
        }
    }
}

/// The store's reads wait for the disk: not on a thread of the runtime.
pub(in crate::app) async fn blocking<T: Send + 'static>(
    context: &'static str,
    read: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, AppError> {
    tokio::task::spawn_blocking(read)
        .await
        .map_err(|error| AppError::Fault {
            context,
            source: Box::new(error),
        })?
        .map_err(|error| fault(context, error))
}

pub(in crate::app) fn fault(context: &'static str, error: StoreError) -> AppError {
    match error {
        StoreError::DiskFull => AppError::DiskFull,
        StoreError::Busy(_) => AppError::Busy { retry_after_s: 1 },
        other => AppError::Fault {
            context,
            source: Box::new(other),
        },
    }
}

fn limit_of(limit: Option<u32>) -> Result<usize, AppError> {
    match limit.unwrap_or(LIMIT_DEFAULT) {
        limit @ 1..=LIMIT_MAX => Ok(limit as usize),
        _ => Err(AppError::Unreadable(format!(
            "limit: 1 to {LIMIT_MAX} is expected"
        ))),
    }
}

fn bad_cursor() -> AppError {
    AppError::Unreadable("cursor: take it as it is from `next` of the page before".into())
}

fn no_series(id: &str) -> AppError {
    AppError::NotFound {
        what: "series",
        id: id.to_owned(),
    }
}

fn settled() -> AppError {
    AppError::Conflict("this dead letter was replayed or discarded already".into())
}

/// Series ids are this node's own small numbers.
fn series_id(id: &str) -> Option<SeriesId> {
    id.parse().ok().map(SeriesId)
}

fn series_value(series: &store::SeriesInfo) -> Value {
    json!({
        "id": series.id.0.to_string(),
        "device": &*series.device,
        "channel": &*series.channel,
        "unit": if series.unit.is_empty() { Value::Null } else { json!(&*series.unit) },
        "count": series.count,
        "last": series.last.map(|last| json!({ "at": rfc3339(last.at_ms), "value": last.value })),
    })
}

fn letter_value(letter: &DeadLetter) -> Value {
    json!({
        "id": letter.id.to_string(),
        "source": letter.source,
        "topic": letter.topic,
        "decoder": if letter.decoder.is_empty() { Value::Null } else { json!(letter.decoder) },
        "reason": letter.reason,
        "code": letter.code,
        "received_at": rfc3339(letter.received_ms),
        "payload_base64": data_encoding::BASE64.encode(&letter.payload),
        "attempts": letter.attempts,
        "retry_at": letter.retry_at_ms.filter(|_| letter.state == DeadLetterState::Open).map(rfc3339),
        "state": match letter.state {
            DeadLetterState::Open => "open",
            DeadLetterState::Replayed => "replayed",
            DeadLetterState::Discarded => "discarded",
        },
    })
}
