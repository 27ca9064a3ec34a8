//! What a rule would have done with readings of the past: for people who write one.
//!
//! Invariant: a test run has no effect. It is bounded in readings, series and runs at once, and says when it left
//! something out.

use std::collections::HashMap;
use std::sync::Arc;

use domain::permissions::{Action, Subject};
use domain::rules::{Measure, Rule, rfc3339};
use domain::{FieldError, Kind, RecordId};
use serde_json::{Map, Value, json};
use store::{Point, SeriesId, SeriesQuery, StoreError, StoredReading, flags};

use super::curves::Curves;
use super::evaluator::{Effect, Evaluator, Names, Surroundings};
use super::{SERIES_MAX, wall_ms};
use crate::app::records::RuleEffect;
use crate::app::{App, AppError, Caller};

/// Test runs at once: each takes a core for a second at most, and up to 24 MB.
pub(super) const AT_ONCE_MAX: usize = 2;
/// Readings of one run, of all its series: three months of a sensor that sends each ten seconds, in half a second.
pub const READINGS_MAX: usize = 500_000;
/// Series of one run.
const RUN_SERIES_MAX: usize = 200;
/// Readings asked of the store in one go.
const PAGE: usize = store::POINTS_MAX;
/// Firings that are told one by one; the number of all is told beside them.
const FIRINGS_MAX: usize = 1000;
/// Ticks of one run; a rule about silence is judged to that part of the range.
const TICKS_MAX: i64 = 50_000;
/// What is looked at where nothing is said.
const WEEK_MS: i64 = 7 * 24 * 3_600_000;

/// What readings a test run looks at, and what it tells of them.
#[derive(Debug, Clone, Copy, Default)]
pub struct TestRange {
    /// Not before this time, in milliseconds since 1970 UTC; a week before the end where nothing is said.
    pub from_ms: Option<i64>,
    /// Not after this time; now where nothing is said.
    pub to_ms: Option<i64>,
    /// Whether the rule's value over that time is wanted, too.
    pub values: bool,
}

/// One incident that would have been.
struct Firing {
    value: Map<String, Value>,
    reopened: u32,
}

impl App {
    /// Evaluates a rule over the stored readings of a range and tells what it would have raised: `{"fired", "firings":
    /// [{"device", "channel", "title", "severity", "raised_at", "peak", "cleared_at", "reopened"}], "readings",
    /// "passed_over", "series", "truncated"}`, with `"values": [{"device", "channel", "width_s", "points"}]` if asked for.
    ///
    /// Readings are taken in the order of their times, as if each had been received when it was measured: when it came is
    /// not kept for ever. Where there are more than [`READINGS_MAX`], the oldest are left out, and `truncated` is true.
    ///
    /// # Errors
    /// `Invalid` with pointers into the rule, a range that does not fit, `Busy` while others run, a fault of the store.
    pub async fn test_rule(
        self: &Arc<Self>,
        caller: &Caller,
        rule: &Map<String, Value>,
        range: TestRange,
    ) -> Result<Value, AppError> {
        self.authorise(caller, Action::Read, Subject::Readings)?;
        self.authorise(caller, Action::Read, Subject::Document(Kind::Rule))?;
        let rule = read_rule(rule)?;
        let to_ms = range.to_ms.unwrap_or_else(|| wall_ms(self));
        let from_ms = range
            .from_ms
            .unwrap_or_else(|| to_ms.saturating_sub(WEEK_MS));
        if from_ms > to_ms {
            return Err(invalid("/from", "must not lie after to"));
        }
        let Ok(permit) = Arc::clone(&self.rules.trials).try_acquire_owned() else {
            return Err(AppError::Busy { retry_after_s: 2 });
        };
        let app = Arc::clone(self);
        let run = tokio::task::spawn_blocking(move || {
            let told = run(&app, rule, (from_ms, to_ms), range.values);
            drop(permit);
            told
        });
        run.await
            .map_err(|error| AppError::Fault {
                context: "test a rule",
                source: Box::new(error),
            })?
            .map_err(|error| AppError::Fault {
                context: "read readings to test a rule",
                source: Box::new(error),
            })
    }
}

/// The rule as it would be stored, on even where it is switched off.
fn read_rule(fields: &Map<String, Value>) -> Result<Rule, AppError> {
    let inside = |error: FieldError| FieldError {
        pointer: format!("/rule{}", error.pointer),
        ..error
    };
    domain::check_create(Kind::Rule, fields)
        .map_err(|errors| AppError::Invalid(errors.into_iter().map(inside).collect()))?;
    let mut fields = fields.clone();
    fields.insert("enabled".into(), Value::Bool(true));
    if fields.get("kind").is_none_or(Value::is_null) {
        fields.insert("kind".into(), json!("threshold"));
    }
    Rule::from_fields(RecordId([0; 16]), &fields)
        .map_err(|fault| invalid("/rule", &fault.to_string()))
}

fn invalid(pointer: &str, detail: &str) -> AppError {
    AppError::Invalid(vec![FieldError::new(pointer, detail)])
}

fn run(
    app: &App,
    rule: Rule,
    (from_ms, to_ms): (i64, i64),
    with_values: bool,
) -> Result<Value, StoreError> {
    let all = SeriesQuery {
        limit: SERIES_MAX,
        ..SeriesQuery::default()
    };
    let mut known: Vec<(SeriesId, Names)> = app
        .store
        .readings()
        .series(&all)
        .into_iter()
        .filter(|series| rule.watch(&series.device, &series.channel).is_some())
        .map(|series| (series.id, series.into()))
        .collect();
    let mut truncated = known.len() > RUN_SERIES_MAX;
    known.truncate(RUN_SERIES_MAX);
    let each_max = READINGS_MAX / known.len().max(1);
    let mut readings = Vec::new();
    for (series, _) in &known {
        let (points, more) = points(app, *series, from_ms, to_ms, each_max)?;
        truncated |= more;
        readings.extend(points.into_iter().map(|point| stored(*series, &point)));
    }
    readings.sort_by_key(|reading| reading.at_ms);
    for (position, reading) in (1..).zip(&mut readings) {
        reading.position = position;
    }
    let not_looked_at = readings
        .iter()
        .filter(|reading| reading.flags & flags::APPROVED == 0)
        .count();
    let series = known.len();
    let mut heard_before = Vec::new();
    if rule.is_about_time() {
        for (series, names) in &known {
            if was_heard_before(app, *series, from_ms)? {
                heard_before.push((*series, names.clone()));
            }
        }
    }
    let end_ms = to_ms.min(wall_ms(app));
    let known = Known {
        names: known.into_iter().collect(),
        heard_before,
    };
    // None is made of silence: it grows without a reading.
    let curves = (with_values && rule.measure != Measure::NoData)
        .then(|| Curves::new(from_ms, end_ms, rule.limits.raise));
    let Told {
        firings,
        curves,
        other_unit,
    } = evaluate(app, rule, known, &readings, (from_ms, end_ms), curves);
    let passed_over = not_looked_at + usize::try_from(other_unit).unwrap_or(usize::MAX);
    let read = readings.len().saturating_sub(passed_over);
    let told: Vec<Value> = firings.iter().take(FIRINGS_MAX).map(Firing::told).collect();
    let mut answer = json!({
        "fired": firings.len(),
        "firings": told,
        "readings": read,
        "passed_over": passed_over,
        "series": series,
        "from": rfc3339(from_ms),
        "to": rfc3339(to_ms),
        "truncated": truncated || firings.len() > FIRINGS_MAX,
    });
    if let Some(curves) = curves {
        answer["values"] = curves.told();
    }
    Ok(answer)
}

/// The newest `max` points of a range, and whether there are more.
fn points(
    app: &App,
    series: SeriesId,
    from_ms: i64,
    to_ms: i64,
    max: usize,
) -> Result<(Vec<Point>, bool), StoreError> {
    let mut points: Vec<Point> = Vec::new();
    let mut until_ms = to_ms;
    loop {
        let left = max.saturating_sub(points.len());
        if left == 0 {
            return Ok((points, true));
        }
        let page = app
            .store
            .readings()
            .points(series, from_ms, until_ms, left.min(PAGE))?;
        let oldest_ms = page.points.first().map(|point| point.at_ms);
        points.extend(page.points);
        match oldest_ms {
            // More of the very oldest time may be left; that many readings of one millisecond are no series.
            Some(oldest_ms) if page.truncated && oldest_ms > from_ms => until_ms = oldest_ms - 1,
            _ => return Ok((points, page.truncated)),
        }
    }
}

/// Whether the rules had a reading of a series before the range began: nobody misses what was never heard.
fn was_heard_before(app: &App, series: SeriesId, from_ms: i64) -> Result<bool, StoreError> {
    let before_ms = from_ms.saturating_sub(1);
    let page = app
        .store
        .readings()
        .points(series, i64::MIN, before_ms, 1)?;
    let last = page.points.last();
    Ok(last.is_some_and(|point| point.flags & flags::APPROVED != 0))
}

/// Its place follows when all of them are in order.
fn stored(series: SeriesId, point: &Point) -> StoredReading {
    StoredReading {
        position: 0,
        series,
        at_ms: point.at_ms,
        received_ms: point.at_ms,
        value: point.value,
        flags: point.flags,
    }
}

/// The series of a run.
struct Known {
    names: HashMap<SeriesId, Names>,
    /// Those that a rule about silence waits for from the beginning; it waits for others from their first reading on.
    heard_before: Vec<(SeriesId, Names)>,
}

/// What came of a run.
struct Told {
    firings: Vec<Firing>,
    curves: Option<Curves>,
    /// Readings that the rule passed over because of their unit.
    other_unit: u64,
}

fn evaluate(
    app: &App,
    rule: Rule,
    known: Known,
    readings: &[StoredReading],
    (from_ms, end_ms): (i64, i64),
    mut curves: Option<Curves>,
) -> Told {
    let about_silence = rule.measure == Measure::NoData;
    let mut evaluator = Evaluator::new([0; 16], app.node_id().to_string());
    evaluator.set_rules(&[(rule.id, Arc::new(rule))].into());
    let approved = |device: &str| app.devices.is_approved(device);
    let mut heard_before = known.heard_before;
    heard_before.retain(|(_, names)| approved(&names.device));
    evaluator.listen(heard_before.into_iter(), from_ms, 0);
    let around = Surroundings {
        location: &|_| None,
        approved: &approved,
        calibrations: &app.calibrations,
    };
    let mut effects = Vec::new();
    let mut firings = Firings::default();
    let step_ms = (end_ms.saturating_sub(from_ms) / TICKS_MAX).max(1000);
    let mut now_ms = from_ms;
    let mut pass = |evaluator: &mut Evaluator, until_ms: i64, effects: &mut Vec<Effect>| {
        while now_ms < until_ms {
            let next_ms = if about_silence {
                until_ms.min(now_ms.saturating_add(step_ms))
            } else {
                until_ms
            };
            evaluator.tick(next_ms - now_ms, next_ms, &around, effects);
            now_ms = next_ms;
        }
    };
    for reading in readings {
        if evaluator.is_about_time() {
            pass(&mut evaluator, reading.at_ms, &mut effects);
        }
        let mut names = |series| known.names.get(&series).cloned();
        evaluator.evaluate(reading, &mut names, &around, &mut effects);
        firings.take(&mut effects);
        if let Some(curves) = &mut curves {
            for (device, channel, value) in evaluator.values_from(reading) {
                curves.push(device, channel, reading.at_ms, value);
            }
        }
    }
    if evaluator.is_about_time() {
        pass(&mut evaluator, end_ms, &mut effects);
        firings.take(&mut effects);
    }
    Told {
        firings: firings.all,
        curves,
        other_unit: evaluator.take_other_unit(),
    }
}

#[derive(Default)]
struct Firings {
    all: Vec<Firing>,
    by_id: HashMap<[u8; 16], usize>,
}

impl Firings {
    fn take(&mut self, effects: &mut Vec<Effect>) {
        for effect in effects.drain(..) {
            let (id, changes, reopened) = match effect {
                Effect::Do(RuleEffect::Open {
                    incident_id,
                    fields,
                }) => {
                    self.by_id.insert(incident_id, self.all.len());
                    self.all.push(Firing {
                        value: fields,
                        reopened: 0,
                    });
                    continue;
                }
                Effect::Do(RuleEffect::Update {
                    incident_id,
                    fields,
                }) => (incident_id, fields, 0),
                Effect::Reopen {
                    incident_id,
                    changes,
                    ..
                } => (incident_id, changes, 1),
            };
            if let Some(firing) = self.by_id.get(&id).and_then(|at| self.all.get_mut(*at)) {
                firing.value.extend(changes);
                firing.reopened += reopened;
            }
        }
    }
}

impl Firing {
    fn told(&self) -> Value {
        let field = |name: &str| self.value.get(name).cloned().unwrap_or_default();
        let source = field("source");
        json!({
            "device": source["device"],
            "channel": source["channel"],
            "title": field("title"),
            "severity": field("severity"),
            "raised_at": field("raised_at"),
            "peak": field("peak"),
            "cleared_at": field("cleared_at"),
            "reopened": self.reopened,
        })
    }
}
