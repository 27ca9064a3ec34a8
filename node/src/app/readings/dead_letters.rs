//! Dead letters as people ask for them: payloads that could not be read, tried again or given up.
//!
//! Invariant: one that is settled stays settled: it is neither replayed nor discarded a second time.

mod many;

use std::sync::Arc;

use domain::permissions::{Action, Subject};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{DeadLetter, DeadLetterQuery, DeadLetterState};

use super::{blocking, fault};
use crate::app::clock::rfc3339;
use crate::app::dead_letters::{Attempt, Retry};
use crate::app::types::{cursor_of, limit_of};
use crate::app::{App, AppError, Caller, LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX, Page};

pub use many::{AllOf, SettleDeadLetters};

/// Which dead letters; what is left out is not asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterFilter {
    /// Open, replayed or discarded.
    pub state: Option<String>,
    /// Where they came from, such as `mqtt` or `broker city`.
    pub source: Option<String>,
    /// Part of the topic, in any case.
    pub topic: Option<String>,
    /// Why they could not be read, as a stable name.
    pub code: Option<String>,
}

impl DeadLetterFilter {
    fn query(self, cursor: Option<String>, limit: usize) -> Result<DeadLetterQuery, AppError> {
        let state = match self.state.as_deref() {
            None => None,
            Some("open") => Some(DeadLetterState::Open),
            Some("replayed") => Some(DeadLetterState::Replayed),
            Some("discarded") => Some(DeadLetterState::Discarded),
            Some(other) => {
                let message = format!("state {other:?}: open, replayed or discarded is expected");
                return Err(AppError::Unreadable(message));
            }
        };
        Ok(DeadLetterQuery {
            state,
            source: self.source,
            topic: self.topic,
            code: self.code,
            before: cursor_of(cursor.as_deref())?,
            limit,
        })
    }
}

impl App {
    /// Payloads that could not be read, newest first.
    ///
    /// # Errors
    /// `Forbidden`, a state, limit or cursor that does not fit, a fault of the store.
    pub async fn list_dead_letters(
        self: &Arc<Self>,
        caller: &Caller,
        filter: DeadLetterFilter,
        cursor: Option<String>,
        limit: Option<u32>,
    ) -> Result<Page, AppError> {
        self.authorise(caller, Action::Read, Subject::DeadLetters)?;
        let limit = limit_of(limit, LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX)?;
        let query = filter.query(cursor, limit + 1)?;
        let app = Arc::clone(self);
        let letters = blocking("list dead letters", move || {
            app.store.readings().dead_letters(&query)
        })
        .await?;
        let since = self.store.readings().newest_position().to_string();
        let cursor = |letter: &DeadLetter| letter.id.to_string();
        let show = |letter| letter_value(&letter);
        Ok(Page::cut(letters, limit, since, cursor, show))
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
        match self.try_dead_letter(&letter, Retry::ByPerson).await? {
            Attempt::Read => self.letter(id).await.map(|letter| letter_value(&letter)),
            Attempt::Failed(reason) => Err(AppError::Conflict(format!(
                "it still cannot be read: {reason}"
            ))),
            Attempt::Settled => Err(settled()),
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
        let discarded = self.store.readings().discard_dead_letters(vec![letter.id]);
        let discarded = discarded.await;
        if discarded.map_err(|error| fault("discard a dead letter", error))? == 0 {
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

fn settled() -> AppError {
    AppError::Conflict("this dead letter was replayed or discarded already".into())
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
