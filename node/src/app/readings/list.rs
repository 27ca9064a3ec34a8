//! The list of series: those that were heard here, then those that only other nodes heard.
//!
//! Invariant: a series is listed once; one that was heard here says who else heard it.

use std::sync::Arc;

use domain::permissions::{Action, Subject};
use serde_json::Value;
use store::{SeriesId, SeriesQuery, StoreError};

use super::{blocking, elsewhere};
use crate::app::types::{cursor_of, limit_of};
use crate::app::{App, AppError, Caller, LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX, Page};

/// Series that others heard, looked at in one read of the store.
const SERIES_AT_ONCE: usize = 500;

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
        let limit = limit_of(limit, LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX)?;
        let after = cursor_of(cursor.as_deref())?.unwrap_or(SeriesCursor::Here(SeriesId(0)));
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
                    let heard = self.heard_elsewhere(reader, &series.key)?;
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
                    let heard = self.heard_elsewhere(reader, &series.key)?;
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
        let cursor = |(at, _): &(SeriesCursor, Value)| at.to_string();
        Ok(Page::cut(items, limit, since, cursor, |(_, value)| value))
    }
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
