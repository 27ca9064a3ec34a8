//! What a rule sees now: `/v1/rules/{id}/state`.
//!
//! The runner alone has the states. It is asked, and answers between two slices of readings, so that nothing is copied for
//! nobody and what is shown is what is evaluated.

use std::collections::HashMap;
use std::str::FromStr;
use std::time::Duration;

use domain::permissions::{Action, Subject};
use domain::rules::{Input, InputSeen, Measure, Standing, peak_field, rfc3339};
use domain::{Kind, RecordId};
use serde_json::{Value, json};
use store::SeriesId;
use tokio::sync::oneshot;

use super::evaluator::{Evaluator, Names, Place, Rank, Seen, Wanted};
use crate::app::readings::public_id;
use crate::app::types::{cursor_of, limit_of};
use crate::app::{App, AppError, Caller, LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX, Page, RecordKind};

/// Questions that wait for the runner. One of a rule that looks at 100,000 series takes it some ten milliseconds, so that the
/// last of these waits well below [`ANSWER_WITHIN`]. Past it people are asked to come back.
pub(super) const ASKS_MAX: usize = 16;

/// A slice of readings takes less than a millisecond and a commit of alarms some ten; a runner that does not answer within
/// this waits for the disk.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// A question to the runner.
pub(super) struct Ask {
    wanted: Wanted,
    answer: oneshot::Sender<Vec<Seen>>,
}

impl Ask {
    /// Answers from what was seen so far; `names` is what the runner knows of series already.
    pub(super) fn answer(
        self,
        evaluator: &Evaluator,
        now_ms: i64,
        app: &App,
        names: &mut HashMap<SeriesId, Names>,
    ) {
        // Whoever asked may have gone.
        if self.answer.is_closed() {
            return;
        }
        let seen = evaluator.seen(&self.wanted, now_ms, &mut |series| {
            app.series_names(names, series)
        });
        let _gone = self.answer.send(seen);
    }
}

/// How a rule stands, as a filter says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleStanding(Rank);

impl FromStr for RuleStanding {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        [Rank::Raised, Rank::Pending, Rank::Clear]
            .into_iter()
            .find(|rank| rank.word() == word)
            .map(RuleStanding)
            .ok_or(())
    }
}

impl App {
    /// What the series that a rule looks at, or the devices, come to now: what is raised first, then by name.
    ///
    /// # Errors
    /// `Forbidden`, `NotFound`, `Gone`, a limit or cursor that does not fit, `Busy` while the runner does not answer.
    pub async fn rule_state(
        &self,
        caller: &Caller,
        id: &str,
        only: Option<RuleStanding>,
        cursor: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Page, AppError> {
        self.authorise(caller, Action::Read, Subject::Readings)?;
        let limit = limit_of(limit, LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX)?;
        let after = cursor_of(cursor)?;
        let kind = RecordKind::Document(Kind::Rule);
        self.get(caller, kind, id, None).await?;
        let not_found = || AppError::NotFound {
            what: kind.name(),
            id: id.to_owned(),
        };
        let rule: RecordId = id.parse().map_err(|_| not_found())?;
        let (answer, answered) = oneshot::channel();
        let wanted = Wanted {
            rule,
            rank: only.map(|only| only.0),
            after,
            count: limit + 1,
        };
        let busy = || AppError::Busy { retry_after_s: 2 };
        self.rules
            .asks
            .try_send(Ask { wanted, answer })
            .map_err(|_| busy())?;
        let seen = tokio::time::timeout(ANSWER_WITHIN, answered).await;
        let seen = seen.map_err(|_| busy())?.map_err(|_| busy())?;
        let since = self.store.readings().newest_position().to_string();
        let cursor = |seen: &Seen| seen.place.to_string();
        let series_id = |series| {
            let info = self.store.readings().series_info(SeriesId(series))?;
            Some(public_id(&info.key))
        };
        Ok(Page::cut(seen, limit, since, cursor, |seen| {
            let series = series_id(seen.place.series);
            seen.told(series)
        }))
    }

    /// What a series is called, from what is known already where it is.
    pub(super) fn series_names(
        &self,
        known: &mut HashMap<SeriesId, Names>,
        series: SeriesId,
    ) -> Option<Names> {
        if let Some(names) = known.get(&series) {
            return Some(names.clone());
        }
        let names = Names::from(self.store.readings().series_info(series)?);
        known.insert(series, names.clone());
        Some(names)
    }
}

impl Rank {
    fn word(self) -> &'static str {
        match self {
            Rank::Raised => "raised",
            Rank::Pending => "pending",
            Rank::Clear => "clear",
        }
    }
}

impl Seen {
    fn told(self, series: Option<String>) -> Value {
        let (since_ms, peak, incident) = match self.standing {
            Standing::Clear => (None, None, None),
            Standing::Pending { since_ms } => (Some(since_ms), None, None),
            Standing::Raised {
                since_ms,
                peak,
                incident,
            } => (Some(since_ms), Some(peak), incident),
        };
        let inputs: Vec<Value> = match &self.rule.measure {
            Measure::Expression(expression) => {
                let seen = self.inputs.iter().copied().map(Some);
                let seen = seen.chain(std::iter::repeat(None));
                let inputs = expression.inputs.iter().zip(seen);
                inputs
                    .map(|(input, seen)| told_input(input, seen))
                    .collect()
            }
            _ => Vec::new(),
        };
        json!({
            "device": &*self.place.device,
            "channel": &*self.place.channel,
            "series": series,
            "state": self.place.rank.word(),
            "value": self.value,
            "unit": self.unit,
            "at": self.last.map(|last| rfc3339(last.at_ms)),
            "received_at": self.last.map(|last| rfc3339(last.received_ms)),
            "since": since_ms.map(rfc3339),
            "peak": peak.map(|peak| peak_field(peak.at_ms, peak.value)),
            "incident": incident.map(|id| RecordId(id).to_string()),
            "inputs": inputs,
        })
    }
}

fn told_input(input: &Input, seen: Option<InputSeen>) -> Value {
    json!({
        "name": input.name,
        "value": seen.and_then(|seen| seen.value),
        "received_at": seen.and_then(|seen| seen.received_ms).map(rfc3339),
        "counts": seen.is_some_and(|seen| seen.is_fresh),
    })
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = json!([self.rank.word(), self.series, &*self.device, &*self.channel]);
        write!(f, "{place}")
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let place: (String, u32, String, String) = serde_json::from_str(text).map_err(|_| ())?;
        let (rank, series, device, channel) = place;
        Ok(Place {
            rank: rank.parse::<RuleStanding>()?.0,
            device: device.into(),
            channel: channel.into(),
            series,
        })
    }
}
