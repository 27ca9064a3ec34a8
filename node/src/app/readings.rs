//! Series, readings and dead letters as people and programs ask for them.
//!
//! Invariant: what was acknowledged to a sensor is in the answer of the next question.

mod answers;
mod archive;
mod calibrated;
mod elsewhere;
mod times;

use std::sync::Arc;

use domain::permissions::{Action, Subject};
use sensor_drivers::Calibrations;
use serde_json::{Value, json};
use store::{
    BucketPage, BucketWidth, DeadLetter, DeadLetterQuery, DeadLetterState, PointPage, SeriesId,
    SeriesKey, SeriesQuery, StoreError,
};
use uuid::Uuid;

pub use self::answers::Resolution;
pub use self::calibrated::Values;
use super::clock::rfc3339;
use super::{App, AppError, Caller, Page};

/// Items of a list where nothing is said, and at most (DESIGN §8).
const LIMIT_DEFAULT: u32 = 50;
const LIMIT_MAX: u32 = 500;

/// Series that others heard, looked at in one read of the store.
const SERIES_AT_ONCE: usize = 500;

/// Points of one answer where nothing is said, and at most: 10,000 points are half a megabyte of JSON.
const POINTS_DEFAULT: u32 = 1000;
const POINTS_MAX: u32 = 10_000;

impl App {
    /// Series in the order in which they were first heard here, then those that only other nodes heard. `device` and
    /// `channel` are exact names, `q` is a part of either.
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
        let after = cursor.map_or(Ok(SeriesCursor::Here(SeriesId(0))), |cursor| {
            cursor.parse().map_err(|()| bad_cursor())
        })?;
        let app = Arc::clone(self);
        blocking("list series", move || {
            let query = SeriesQuery {
                device,
                channel,
                q: q.map(|q| q.to_lowercase()),
                after: None,
                limit: limit + 1,
            };
            app.series_page(query, after, limit)
        })
        .await
    }

    fn series_page(
        &self,
        query: SeriesQuery,
        after: SeriesCursor,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let readings = self.store.readings();
        let since = readings.newest_position().to_string();
        let mut items: Vec<(SeriesCursor, Value)> = Vec::new();
        let name_of = |node| self.name_of(node);
        if let SeriesCursor::Here(after) = after {
            let here = readings.series(&SeriesQuery {
                after: Some(after),
                ..query.clone()
            });
            self.store.read(|reader| {
                for series in &here {
                    let heard = elsewhere::heard_by(reader, &self.me.node, &series.key)?;
                    let mut value = self.series_value(series);
                    value["heard_by"] = elsewhere::heard_by_value(&heard, name_of);
                    items.push((SeriesCursor::Here(series.id), value));
                }
                Ok(())
            })?;
        }
        let mut no = match after {
            SeriesCursor::Here(_) => 0,
            SeriesCursor::Elsewhere(no) => no,
        };
        while items.len() <= limit {
            let last = self.store.read(|reader| {
                let page = reader.heard_series(no, SERIES_AT_ONCE)?;
                for series in &page {
                    let is_here = readings.series_by_key(&series.key).is_some();
                    if is_here || !is_wanted(&query, series) || items.len() > limit {
                        continue;
                    }
                    let heard = elsewhere::heard_by(reader, &self.me.node, &series.key)?;
                    // What this node alone said before its readings were lost is no series to show.
                    if !heard.is_empty() {
                        let value = elsewhere::series_value(series, &heard, name_of);
                        items.push((SeriesCursor::Elsewhere(series.no), value));
                    }
                }
                Ok(page.last().map(|series| series.no))
            })?;
            let Some(last) = last else { break };
            no = last;
        }
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|(at, _)| at.to_string());
        Ok(Page {
            items: items.into_iter().map(|(_, value)| value).collect(),
            next,
            since,
        })
    }

    /// One series.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`, a fault of the store.
    pub async fn get_series(
        self: &Arc<Self>,
        caller: &Caller,
        id: &str,
    ) -> Result<Value, AppError> {
        self.authorise(caller, Action::Read, Subject::Readings)?;
        let (app, key) = (Arc::clone(self), series_key(id)?);
        let found = blocking("read a series", move || {
            let name_of = |node| app.name_of(node);
            let here = app.series_here(&key);
            app.store.read(|reader| {
                let heard = elsewhere::heard_by(reader, &app.me.node, &key)?;
                if let Some(here) = here {
                    let mut value = app.series_value(&here);
                    value["heard_by"] = elsewhere::heard_by_value(&heard, name_of);
                    return Ok(Some(value));
                }
                let series = reader.heard_series_by_key(&key)?;
                let series = series.filter(|_| !heard.is_empty());
                Ok(series.map(|series| elsewhere::series_value(&series, &heard, name_of)))
            })
        })
        .await?;
        found.ok_or_else(|| no_series(id))
    }

    /// The series, if it was heard here.
    fn series_here(&self, key: &SeriesKey) -> Option<store::SeriesInfo> {
        let readings = self.store.readings();
        readings.series_info(readings.series_by_key(key)?)
    }

    /// Readings of a series with `from_ms ≤ at ≤ to_ms`, oldest first: `{"points": [[at, value], …], "truncated"}`, or
    /// `[at, min, mean, max, count]` of the minutes, quarters or hours that have part in the range. Where there are more
    /// than `limit`, these are the newest, and `truncated` is true. Values are as their calibrations say, or as they came;
    /// the answer tells which calibrations were used.
    ///
    /// Quarters and hours are filled in from what other nodes said of the same series, readings and minutes from what they
    /// gave away; `sources` says whose they are.
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
        let key = series_key(id)?;
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
        let (app, limit) = (Arc::clone(self), limit as usize);
        let (name, range) = (id.to_owned(), (from_ms, to_ms));
        let answer = blocking("read readings", move || {
            let Some(asked) = app.asked_series(&key, values)? else {
                return Ok(None);
            };
            match resolution.width() {
                None => app.raw_answer(&name, &asked, range, limit),
                Some(width) => app.rollup_answer(&name, &asked, (resolution, width), range, limit),
            }
            .map(Some)
        })
        .await?;
        answer.ok_or_else(|| no_series(id))
    }

    /// The series that a question is about; `None` where no node heard it.
    fn asked_series(
        &self,
        key: &SeriesKey,
        values: Values,
    ) -> Result<Option<AskedSeries>, StoreError> {
        let here = self.series_here(key);
        let (device, channel) = match &here {
            Some(here) => (here.device.to_string(), here.channel.to_string()),
            None => {
                let elsewhere = self.store.read(|reader| {
                    let heard = elsewhere::heard_by(reader, &self.me.node, key)?;
                    let series = reader.heard_series_by_key(key)?;
                    Ok(series.filter(|_| !heard.is_empty()))
                })?;
                match elsewhere {
                    Some(series) => (series.device, series.channel),
                    None => return Ok(None),
                }
            }
        };
        let calibrations = match values {
            Values::Calibrated => self.calibrations.of(&device, &channel),
            Values::Raw => None,
        };
        Ok(Some(AskedSeries {
            key: *key,
            here: here.map(|here| here.id),
            device,
            calibrations: calibrations.unwrap_or_default(),
        }))
    }

    fn raw_answer(
        &self,
        id: &str,
        asked: &AskedSeries,
        (from_ms, to_ms): (i64, i64),
        limit: usize,
    ) -> Result<Value, StoreError> {
        let me = self.me.node;
        let own = match asked.here {
            Some(here) => self.store.readings().points(here, from_ms, to_ms, limit)?,
            None => PointPage::default(),
        };
        let now_ms = i64::try_from(self.clock.wall_ms()).unwrap_or(i64::MAX);
        let others = self.store.read(|reader| {
            // One more than asked for tells whether there are more.
            let (range, wanted) = ((from_ms, to_ms), limit as u64 + 1);
            elsewhere::raw(reader, &me, &asked.key, range, wanted, now_ms)
        })?;
        let name_of = |node| self.name_of(node);
        let (mut page, sources) = elsewhere::merge_raw(me, own, &others, limit, name_of);
        let expected_interval_ms = self.devices.expected_interval_ms(&asked.device);
        let told = calibrated::points(&asked.calibrations, &mut page);
        let mut answer = answers::raw(id, &page, expected_interval_ms);
        told.lay_over(&mut answer);
        answer["sources"] = sources;
        Ok(answer)
    }

    fn rollup_answer(
        &self,
        id: &str,
        asked: &AskedSeries,
        (resolution, width): (Resolution, BucketWidth),
        (from_ms, to_ms): (i64, i64),
        limit: usize,
    ) -> Result<Value, StoreError> {
        let (me, readings) = (self.me.node, self.store.readings());
        let own = match asked.here {
            Some(here) => readings.buckets(here, width, from_ms, to_ms, limit)?,
            None => BucketPage::default(),
        };
        let now_ms = i64::try_from(self.clock.wall_ms()).unwrap_or(i64::MAX);
        let range = (from_ms, to_ms);
        let others = self.store.read(|reader| {
            if width == BucketWidth::Minute {
                // Nobody says what a minute was, but some give away their readings: whole minutes of them are wanted.
                let ms = width.ms();
                let from_ms = from_ms.saturating_sub(from_ms.rem_euclid(ms));
                let to_ms = to_ms.saturating_add(ms - 1 - to_ms.rem_euclid(ms));
                let range = (from_ms, to_ms);
                let given = elsewhere::raw(reader, &me, &asked.key, range, u64::MAX, now_ms)?;
                return Ok(given.iter().map(elsewhere::Raw::minutes).collect());
            }
            elsewhere::buckets(reader, &me, &asked.key, width, range, limit, now_ms)
        })?;
        let mut merged = elsewhere::merge(me, own, others, limit);
        let own_from = merged.starts_of(me);
        let told = calibrated::buckets(
            &asked.calibrations,
            width,
            &mut merged.page,
            |from, to, limit| match asked.here.filter(|_| own_from.contains(&from)) {
                Some(here) => readings.points(here, from, to, limit),
                // The readings of another node's bucket are not here.
                None => Ok(PointPage::default()),
            },
        )?;
        let mut answer = answers::rollup(id, resolution, &merged.page);
        told.lay_over(&mut answer);
        answer["sources"] = merged.sources_value(me, width, |node| self.name_of(node));
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

    fn series_value(&self, series: &store::SeriesInfo) -> Value {
        let last = series.last.map(|last| {
            let calibrations = self.calibrations.of(&series.device, &series.channel);
            let freshness = self.devices.freshness(&series.device);
            let now_ms = self.clock.wall_ms().cast_signed();
            calibrated::last(last, calibrations.as_deref(), &freshness, now_ms)
        });
        json!({
            "id": public_id(&series.key),
            "device": &*series.device,
            "channel": &*series.channel,
            "unit": if series.unit.is_empty() { Value::Null } else { json!(&*series.unit) },
            "count": series.count,
            "last": last,
        })
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

/// A series that somebody asks for.
struct AskedSeries {
    key: SeriesKey,
    /// Its number, if it was heard here.
    here: Option<SeriesId>,
    device: String,
    calibrations: Arc<Calibrations>,
}

/// Where a list of series goes on: after one of this node's own, or after one that only others heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SeriesCursor {
    Here(SeriesId),
    Elsewhere(i64),
}

impl std::fmt::Display for SeriesCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SeriesCursor::Here(id) => write!(f, "{}", id.0),
            SeriesCursor::Elsewhere(no) => write!(f, "e{no}"),
        }
    }
}

impl std::str::FromStr for SeriesCursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.strip_prefix('e') {
            Some(no) => no.parse().map(SeriesCursor::Elsewhere).map_err(|_| ()),
            None => text
                .parse()
                .map(|no| SeriesCursor::Here(SeriesId(no)))
                .map_err(|_| ()),
        }
    }
}

/// Whether a series that others heard is one of those asked for; `q` is in lower case.
fn is_wanted(query: &SeriesQuery, series: &store::HeardSeries) -> bool {
    let is =
        |asked: &Option<String>, name: &str| asked.as_deref().is_none_or(|asked| asked == name);
    let holds = |q: &str| {
        let names = [&series.device, &series.channel];
        names.iter().any(|name| name.to_lowercase().contains(q))
    };
    is(&query.device, &series.device)
        && is(&query.channel, &series.channel)
        && query.q.as_deref().is_none_or(holds)
}

/// A series is called the same on every node: a UUID made of its names.
fn public_id(key: &SeriesKey) -> String {
    Uuid::from_bytes(key.0).to_string()
}

/// Only the one form that we write is an id.
fn series_key(id: &str) -> Result<SeriesKey, AppError> {
    let key = Uuid::try_parse(id).map(|uuid| SeriesKey(uuid.into_bytes()));
    key.ok()
        .filter(|key| public_id(key) == id)
        .ok_or_else(|| no_series(id))
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
