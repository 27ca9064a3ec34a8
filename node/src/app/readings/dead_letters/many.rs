//! Many dead letters settled with one request: after a decoder was mended, or when a source turned out to be of no use.
//!
//! Invariants:
//! - One request does a bounded part, the newest first, and answers where the next begins. Going on so ends however many
//!   new ones come meanwhile, because those are newer.
//! - Nobody settles everything by leaving something out: all of them are asked for by that word.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::permissions::{Action, Subject};
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::DeadLetterFilter;
use crate::app::dead_letters::{Attempt, Retry};
use crate::app::readings::{blocking, fault};
use crate::app::{App, AppError, Caller};

/// Given up by one request: one commit that others wait behind.
const DISCARDED_MAX: usize = 1_000;
/// Read again by one request, each of up to 1 MiB.
const REPLAYED_MAX: usize = 200;
/// Or as many as can be read in that time: a script takes up to 250 ms, a commit on a card as long.
const REPLAY_TIME_MAX: Duration = Duration::from_secs(5);
/// Read at once, so that one commit stores several, and messages that come now find room for theirs.
const AT_ONCE: usize = 4;

/// What is to become of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SettleDeadLetters {
    /// They are read again.
    Replay,
    /// They are given up.
    Discard,
}

/// The open ones of a kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllOf {
    /// Which; its state is not asked for.
    pub filter: DeadLetterFilter,
    /// All of them, where the filter names none.
    pub all: bool,
    /// `next` of the request before.
    pub cursor: Option<String>,
}

/// What one request did.
#[derive(Default)]
struct Done {
    settled: u64,
    /// Tried, and still unreadable.
    failed: u64,
    /// The last one that was looked at.
    last: Option<i64>,
}

impl App {
    /// Settles open dead letters, the newest first: `{"settled","failed","next"}`. While `next` is there more of them are.
    ///
    /// # Errors
    /// `Unreadable` where nothing says which, or a cursor does not fit; `Forbidden`, a fault of the store.
    pub async fn settle_dead_letters(
        self: &Arc<Self>,
        caller: &Caller,
        action: SettleDeadLetters,
        which: AllOf,
    ) -> Result<Value, AppError> {
        self.authorise(caller, Action::Administer, Subject::DeadLetters)?;
        let AllOf {
            filter,
            all,
            cursor,
        } = which;
        let is_any = filter.source.is_none() && filter.topic.is_none() && filter.code.is_none();
        if is_any && !all {
            let message = "say which: source, topic or code, or all=true".to_owned();
            return Err(AppError::Unreadable(message));
        }
        let (word, limit) = match action {
            SettleDeadLetters::Replay => ("dead-letter.replay", REPLAYED_MAX),
            SettleDeadLetters::Discard => ("dead-letter.discard", DISCARDED_MAX),
        };
        let asked = json!({
            "source": filter.source,
            "topic": filter.topic,
            "code": filter.code,
            "before": cursor,
        });
        let open = DeadLetterFilter {
            state: Some("open".to_owned()),
            ..filter
        };
        let query = open.query(cursor, limit)?;
        let app = Arc::clone(self);
        let ids = blocking("list dead letters", move || {
            app.store.readings().dead_letter_ids(&query)
        })
        .await?;
        self.note_audit(caller, word, asked).await?;
        let done = match action {
            SettleDeadLetters::Replay => self.replay_all(&ids).await?,
            SettleDeadLetters::Discard => self.discard_all(&ids).await?,
        };
        let is_all = ids.len() < limit && done.last == ids.last().copied();
        let next = done.last.filter(|_| !is_all).map(|id| id.to_string());
        Ok(json!({ "settled": done.settled, "failed": done.failed, "next": next }))
    }

    async fn discard_all(&self, ids: &[i64]) -> Result<Done, AppError> {
        let discarded = self.store.readings().discard_dead_letters(ids.to_vec());
        let settled = discarded.await;
        Ok(Done {
            settled: settled.map_err(|error| fault("discard dead letters", error))?,
            failed: 0,
            last: ids.last().copied(),
        })
    }

    async fn replay_all(self: &Arc<Self>, ids: &[i64]) -> Result<Done, AppError> {
        let (mut done, begun) = (Done::default(), Instant::now());
        for some in ids.chunks(AT_ONCE) {
            let attempts = some.iter().map(|id| self.replay_by_id(*id));
            for attempt in join_all(attempts).await {
                match attempt? {
                    Attempt::Read => done.settled += 1,
                    Attempt::Failed(_) => done.failed += 1,
                    // Somebody else was quicker.
                    Attempt::Settled => {}
                }
            }
            done.last = some.last().copied();
            if begun.elapsed() >= REPLAY_TIME_MAX {
                break;
            }
        }
        Ok(done)
    }

    async fn replay_by_id(self: &Arc<Self>, id: i64) -> Result<Attempt, AppError> {
        let app = Arc::clone(self);
        let letter = blocking("read a dead letter", move || {
            app.store.readings().dead_letter(id)
        })
        .await?;
        match letter {
            Some(letter) => self.try_dead_letter(&letter, Retry::ByPerson).await,
            None => Ok(Attempt::Settled),
        }
    }
}
