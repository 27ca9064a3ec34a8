//! Closed days of readings as Parquet files, for programs that know nothing of Muster.
//!
//! Invariant: a day that is not over is not exported, so that a file with a day's name holds the day.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::permissions::{Action, Subject};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use store::ArchivedDay;

use super::super::{App, AppError, Caller};
use super::blocking;

const DAY_MS: i64 = 24 * 3_600_000;

impl App {
    /// Writes `readings-<day>.parquet` into the directory `out`, which has to be there, with all readings of a UTC day.
    /// A file that is there already is left alone unless `again`, so that a long export can be taken up where it was
    /// broken off; `again` is for late readings, and leaves a file alone that holds more readings than are here. Answers
    /// `{"day", "path", "readings", "bytes", "holds_more"}`: the two before the last are null where nothing was written, and
    /// the last says whether that was because more readings are in the file.
    ///
    /// # Errors
    /// `Forbidden`, `Unreadable` for what is no day or not over yet, `Busy` while rules are far behind, a fault of the
    /// store or of the directory.
    pub async fn export_readings(
        self: &Arc<Self>,
        caller: &Caller,
        day: &str,
        out: &Path,
        again: bool,
    ) -> Result<Value, AppError> {
        self.authorise(caller, Action::Administer, Subject::Node)?;
        let now_ms = i64::try_from(self.clock.wall_ms()).unwrap_or(i64::MAX);
        let number = closed_day(day, now_ms)?;
        let path = file_of(out, day);
        let (app, into) = (Arc::clone(self), path.clone());
        let archived = blocking("export readings", move || {
            if !again && into.exists() {
                return Ok(None);
            }
            app.store.readings().archive_day(number, &into).map(Some)
        })
        .await?;
        Ok(answer(day, &path, archived))
    }
}

fn answer(day: &str, path: &Path, archived: Option<ArchivedDay>) -> Value {
    let written = match archived {
        Some(ArchivedDay::Written { readings, bytes }) => Some((readings, bytes)),
        Some(ArchivedDay::HoldsMore { .. }) | None => None,
    };
    json!({
        "day": day,
        "path": path.to_string_lossy(),
        "readings": written.map(|(readings, _)| readings),
        "bytes": written.map(|(_, bytes)| bytes),
        "holds_more": matches!(archived, Some(ArchivedDay::HoldsMore { .. })),
    })
}

fn file_of(out: &Path, day: &str) -> PathBuf {
    out.join(format!("readings-{day}.parquet"))
}

/// The number of a day since 1970, when it is over. Only `2026-11-20` is understood: the text becomes a file's name.
fn closed_day(day: &str, now_ms: i64) -> Result<i64, AppError> {
    let date: Date = day
        .parse()
        .ok()
        .filter(|date: &Date| date.to_string() == day)
        .ok_or_else(|| AppError::Unreadable(format!("day {day:?}: 2026-11-20 is expected")))?;
    let midnight = date
        .to_zoned(TimeZone::UTC)
        .map_err(|error| AppError::Unreadable(format!("day {day:?}: {error}")))?;
    let number = midnight.timestamp().as_millisecond().div_euclid(DAY_MS);
    if (number + 1).saturating_mul(DAY_MS) > now_ms {
        return Err(AppError::Unreadable(format!(
            "{day} is not over yet: only closed days (UTC) are exported"
        )));
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_day_that_is_over_is_a_day_to_export() {
        let noon_ms = 20_000 * DAY_MS + DAY_MS / 2;
        assert_eq!(closed_day("2024-10-03", noon_ms).ok(), Some(19_999));
        assert_eq!(closed_day("1970-01-01", noon_ms).ok(), Some(0));
        for refused in [
            "2024-10-04",
            "2024-10-05",
            "2024-10-3",
            "20241003",
            "2024-02-30",
            "../../etc",
            "",
        ] {
            assert!(
                matches!(closed_day(refused, noon_ms), Err(AppError::Unreadable(_))),
                "{refused}"
            );
        }
    }
}
