//! Series and readings as people and programs ask for them.
//!
//! Invariant: what was acknowledged to a sensor is in the answer of the next question.

mod answers;
mod archive;
mod calibrated;
mod dead_letters;
mod elsewhere;
mod flagged;
mod list;
mod times;

use std::sync::Arc;

use domain::permissions::{Action, Subject};
use sensor_drivers::Calibrations;
use serde_json::{Value, json};
use store::{BucketPage, BucketWidth, PointPage, SeriesId, SeriesKey, StoreError};
use uuid::Uuid;

pub use self::answers::Resolution;
pub use self::calibrated::Values;
pub use self::dead_letters::{AllOf, DeadLetterFilter, SettleDeadLetters};
use super::{App, AppError, Caller};

/// Points of one answer where nothing is said, and at most: 10,000 points are half a megabyte of JSON.
const POINTS_DEFAULT: u32 = 1000;
const POINTS_MAX: u32 = 10_000;

impl App {
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
                let heard = app.heard_elsewhere(reader, &key)?;
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
    /// than `limit`, these are the newest, and `truncated` is true. `flags` says for each reading in words what speaks
    /// against it, and is left out where nothing speaks against any. Values are as their calibrations say, or as they came;
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
        let Asked { range, limit } = Asked::new(from_ms, to_ms, limit)?;
        let (app, name) = (Arc::clone(self), id.to_owned());
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
        let (device, channel, unit) = match &here {
            Some(here) => (
                here.device.to_string(),
                here.channel.to_string(),
                here.unit.to_string(),
            ),
            None => {
                let elsewhere = self.store.read(|reader| {
                    let heard = self.heard_elsewhere(reader, key)?;
                    let series = reader.heard_series_by_key(key)?;
                    Ok(series.filter(|_| !heard.is_empty()))
                })?;
                match elsewhere {
                    Some(series) => (series.device, series.channel, series.unit),
                    None => return Ok(None),
                }
            }
        };
        let calibrations = match values {
            Values::Calibrated => self.calibrations.of(&device, &channel, &unit),
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
        let flagged = flagged::of_points(&page.points);
        if flagged.iter().any(|words| !words.is_empty()) {
            answer["flags"] = json!(flagged);
        }
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

    fn series_value(&self, series: &store::SeriesInfo) -> Value {
        let last = series.last.map(|last| {
            let (device, channel, unit) = (&series.device, &series.channel, &series.unit);
            let calibrations = self.calibrations.of(device, channel, unit);
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

fn no_series(id: &str) -> AppError {
    AppError::NotFound {
        what: "series",
        id: id.to_owned(),
    }
}

/// Which readings of a series somebody asks for.
struct Asked {
    /// Unix milliseconds, both ends included.
    range: (i64, i64),
    /// Points of the answer, at most.
    limit: usize,
}

impl Asked {
    /// All times, and [`POINTS_DEFAULT`], where nothing is said.
    fn new(
        from_ms: Option<i64>,
        to_ms: Option<i64>,
        limit: Option<u32>,
    ) -> Result<Asked, AppError> {
        let limit = limit.unwrap_or(POINTS_DEFAULT);
        if !(1..=POINTS_MAX).contains(&limit) {
            let message = format!("limit: 1 to {POINTS_MAX} is expected");
            return Err(AppError::Unreadable(message));
        }
        let range = (from_ms.unwrap_or(i64::MIN), to_ms.unwrap_or(i64::MAX));
        if range.0 > range.1 {
            return Err(AppError::Unreadable("from lies after to".into()));
        }
        Ok(Asked {
            range,
            limit: limit as usize,
        })
    }
}

/// A series that somebody asks for.
struct AskedSeries {
    key: SeriesKey,
    /// Its number, if it was heard here.
    here: Option<SeriesId>,
    device: String,
    calibrations: Arc<Calibrations>,
}

/// A series is called the same on every node: a UUID made of its names.
pub(in crate::app) fn public_id(key: &SeriesKey) -> String {
    Uuid::from_bytes(key.0).to_string()
}

/// Only the one form that we write is an id.
fn series_key(id: &str) -> Result<SeriesKey, AppError> {
    let key = Uuid::try_parse(id).map(|uuid| SeriesKey(uuid.into_bytes()));
    key.ok()
        .filter(|key| public_id(key) == id)
        .ok_or_else(|| no_series(id))
}
