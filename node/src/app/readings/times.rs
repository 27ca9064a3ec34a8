//! All times of readings: when they count, when they were received, and what the device's own clock said.

use std::sync::Arc;

use domain::permissions::{Action, Subject};
use serde_json::{Value, json};
use store::{PointPage, TimedPoint};

use super::{Asked, Values, answers, blocking, calibrated, flagged, no_series, series_key};
use crate::app::clock::rfc3339;
use crate::app::{App, AppError, Caller};

impl App {
    /// As [`App::readings`] of single readings, with `"times": [[received_at, device_time], …]`, one for each point, and
    /// always with `flags`, which tell then also whose clock is not believed.
    /// `device_time` is what the device said, whether or not it can be true; null where it said nothing. For somebody who
    /// looks into a clock: it takes longer than a chart may.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`, a limit or range that does not fit, a fault of the store.
    pub async fn readings_with_times(
        self: &Arc<Self>,
        caller: &Caller,
        id: &str,
        (from_ms, to_ms): (Option<i64>, Option<i64>),
        values: Values,
        limit: Option<u32>,
    ) -> Result<Value, AppError> {
        self.authorise(caller, Action::Read, Subject::Readings)?;
        let key = series_key(id)?;
        let Asked { range, limit } = Asked::new(from_ms, to_ms, limit)?;
        let (app, name) = (Arc::clone(self), id.to_owned());
        let answer = blocking("read readings with their times", move || {
            let Some(asked) = app.asked_series(&key, values)? else {
                return Ok(None);
            };
            let (timed, truncated) = match asked.here {
                Some(here) => {
                    let readings = app.store.readings();
                    readings.timed_points(here, range.0, range.1, limit)?
                }
                // The readings of other nodes are not here.
                None => (Vec::new(), false),
            };
            let mut page = PointPage {
                points: timed.iter().map(|timed| timed.point).collect(),
                truncated,
            };
            let told = calibrated::points(&asked.calibrations, &mut page);
            let expected_interval_ms = app.devices.expected_interval_ms(&asked.device);
            let mut answer = answers::raw(&name, &page, expected_interval_ms);
            told.lay_over(&mut answer);
            answer["times"] = timed.iter().map(times).collect();
            answer["flags"] = json!(flagged::of_timed_points(&timed));
            Ok(Some(answer))
        })
        .await?;
        answer.ok_or_else(|| no_series(id))
    }
}

fn times(timed: &TimedPoint) -> Value {
    json!([rfc3339(timed.received_ms), timed.device_ms.map(rfc3339)])
}
