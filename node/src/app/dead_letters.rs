//! Dead letters that are tried again: by themselves where the cause can pass, else when a person asks.
//!
//! Invariants:
//! - A letter is tried [`ATTEMPTS_MAX`] times by itself at most, ever later, and only for a cause that can pass without
//!   anybody doing something about it. What is wrong with a message or with the configuration does not pass.
//! - Its readings and its new state are one commit, and of several who replay it at once one stores them.
//! - What a person replays is old news: rules do not look at it. What the node itself reads a moment later is news as
//!   long as it would have been when it came ([`Retry::coming`]): a busy machine must not swallow an alarm.

mod again;

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use sensor_drivers::{DecodeError, Quality};
use store::flags::Coming;
use store::{CommitError, DeadLetter, DeadLetterFailure, IngestBatch, Queueing, SeriesRefused};
use tokio_util::sync::CancellationToken;

use super::devices::{DeviceEntry, Reserved};
use super::ingest::count_contradictions;
use super::readings::{blocking, fault};
use super::{App, AppError};

/// Attempts by the node itself, the first, when the message came, among them.
pub(in crate::app) const ATTEMPTS_MAX: u32 = 5;
/// From the first failure to the second attempt; twice as long each time.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// How often is looked for those that are due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Tried at one look: none of them is urgent, and what comes in now is.
const AT_ONCE_MAX: usize = 16;
/// A letter that the node reads by itself is news for so long: four pauses and a restart. What is older is history, and
/// people who were not told then are not helped by an alarm about it now.
const NEWS_MS_MAX: i64 = 5 * 60_000;
/// So many that nobody has looked after are worth a warning: a sensor that speaks another language makes a hundred in an
/// hour, one bad message does not.
pub(in crate::app) const OPEN_WARN: u64 = 100;

/// How another attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::app) enum Attempt {
    /// What it says is stored.
    Read,
    /// It still cannot be read, for that reason.
    Failed(String),
    /// It was settled meanwhile, or made room for others: nothing was stored.
    Settled,
}

impl Attempt {
    /// As figures name it.
    fn name(&self) -> &'static str {
        match self {
            Attempt::Read => "read",
            Attempt::Failed(_) => "failed",
            Attempt::Settled => "settled",
        }
    }
}

/// Who tries to read a dead letter again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::app) enum Retry {
    /// The node itself, at that time (Unix milliseconds).
    ByItself { now_ms: i64 },
    /// A person asked for it, perhaps after months.
    ByPerson,
}

impl Retry {
    /// How what a letter says of a device comes: rules look at it as they would have when the letter came.
    fn coming(self, letter: &DeadLetter, device: &DeviceEntry, quality: Quality) -> Coming {
        let is_late = match self {
            Retry::ByItself { now_ms } => {
                now_ms.saturating_sub(letter.received_ms) > NEWS_MS_MAX
                    || !device.was_approved_at(letter.received_ms)
            }
            Retry::ByPerson => true,
        };
        Coming {
            approved: device.is_approved(),
            suspect: quality == Quality::Suspect,
            retained: letter.kept,
            late: is_late,
        }
    }
}

/// Why a message cannot be read.
#[derive(Debug, thiserror::Error)]
pub(in crate::app) enum Unreadable {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("this node knows as many devices as it can keep")]
    TooManyDevices,
    #[error("other scripts took all the time there is for scripts")]
    ScriptsBusy,
    #[error("{}", too_many_texts(*of_approved))]
    TooManyTexts {
        /// They wait for the disk, not for a person.
        of_approved: bool,
    },
    #[error(
        "the device has an account, and the message came without one: give its gateway an account"
    )]
    NotItsAccount,
    #[error("no new series: {0}")]
    Series(#[from] SeriesRefused),
}

impl Unreadable {
    /// A short stable name, for counters and scripts.
    pub(in crate::app) fn code(&self) -> &'static str {
        match self {
            Unreadable::Decode(error) => error.code(),
            Unreadable::TooManyDevices => "too-many-devices",
            Unreadable::ScriptsBusy => "scripts-busy",
            Unreadable::TooManyTexts { .. } => "too-many-texts",
            Unreadable::NotItsAccount => "not-authorised",
            Unreadable::Series(_) => "too-many-series",
        }
    }

    /// Whether the same bytes may be read later although nobody has done anything.
    fn may_pass(&self) -> bool {
        match self {
            Unreadable::Decode(error) => error.may_pass(),
            Unreadable::ScriptsBusy => true,
            Unreadable::TooManyTexts { of_approved } => *of_approved,
            Unreadable::TooManyDevices | Unreadable::NotItsAccount | Unreadable::Series(_) => false,
        }
    }

    /// When to try again by itself after `attempts` that failed, Unix milliseconds.
    pub(in crate::app) fn retry_at_ms(&self, now_ms: i64, attempts: u32) -> Option<i64> {
        (self.may_pass() && attempts < ATTEMPTS_MAX)
            .then(|| now_ms + pause(attempts, rand::rng().random()).as_millis() as i64)
    }
}

fn too_many_texts(of_approved: bool) -> &'static str {
    if of_approved {
        "as many texts wait to be written down as this node keeps: it is tried again"
    } else {
        "as many texts wait to be written down as this node keeps: approve the device, or silence it"
    }
}

/// How long to wait after `attempts` that failed; `jitter` is from 0 to 1 and shortens it by half at most, so that many
/// letters of one moment do not come back in one.
fn pause(attempts: u32, jitter: f64) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    let pause = (PAUSE_MIN * 2_u32.pow(doublings)).min(PAUSE_MAX);
    pause
        .mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
        .max(PAUSE_MIN)
}

/// Tries those that are due until `stop`.
pub(in crate::app) fn start(app: Arc<App>, stop: CancellationToken) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let rounds = async {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                if let Err(error) = app.retry_dead_letters().await {
                    tracing::warn!(%error, "dead letters that are due wait for the next round");
                }
            }
        };
        let _ = stop.run_until_cancelled(rounds).await;
    })
}

impl App {
    /// How many nobody has settled.
    pub(in crate::app) async fn open_dead_letters(&self) -> Result<u64, AppError> {
        let store = self.store.clone();
        blocking("count dead letters", move || {
            store.readings().dead_letters_open()
        })
        .await
    }

    /// Gives their number to the figures for Prometheus.
    pub async fn publish_dead_letters(&self) {
        match self.open_dead_letters().await {
            Ok(open) => metrics::gauge!("muster_dead_letters_open").set(open as f64),
            Err(error) => tracing::warn!(%error, "dead letters cannot be counted"),
        }
        metrics::counter!("muster_dead_letters_dropped_total")
            .absolute(self.store.readings().dead_letters_dropped());
    }

    async fn retry_dead_letters(self: &Arc<Self>) -> Result<(), AppError> {
        let now_ms = self.clock.wall_ms().cast_signed();
        let app = Arc::clone(self);
        let due = blocking("read dead letters that are due", move || {
            app.store.readings().due_dead_letters(now_ms, AT_ONCE_MAX)
        })
        .await?;
        for letter in due {
            let retry = Retry::ByItself { now_ms };
            let outcome = self.try_dead_letter(&letter, retry).await?.name();
            metrics::counter!("muster_dead_letter_retries_total", "outcome" => outcome)
                .increment(1);
        }
        Ok(())
    }

    /// Tries to read a dead letter again, with the decoders of now.
    ///
    /// # Errors
    /// A fault of the store.
    pub(in crate::app) async fn try_dead_letter(
        self: &Arc<Self>,
        letter: &DeadLetter,
        retry: Retry,
    ) -> Result<Attempt, AppError> {
        let (app, again) = (Arc::clone(self), letter.clone());
        // A script may take its time.
        let decoded = tokio::task::spawn_blocking(move || app.decode_again(&again, retry));
        let (decoder, decoded) = decoded.await.map_err(|error| AppError::Fault {
            context: "replay a dead letter",
            source: Box::new(error),
        })?;
        let (readings, devices, places) = match decoded {
            Ok(replayed) => replayed.into_writes(),
            Err(error) => {
                let now_ms = self.clock.wall_ms().cast_signed();
                let failure = DeadLetterFailure {
                    decoder,
                    reason: error.to_string(),
                    code: error.code().to_owned(),
                    retry_at_ms: error.retry_at_ms(now_ms, letter.attempts + 1),
                };
                let noted = self.store.readings().dead_letter_failed(letter.id, failure);
                noted
                    .await
                    .map_err(|error| fault("note a failed replay", error))?;
                return Ok(Attempt::Failed(error.to_string()));
            }
        };
        let batch = IngestBatch {
            readings,
            replayed: Some(letter.id),
            devices,
            ..IngestBatch::default()
        };
        places.iter().for_each(Reserved::give);
        let queueing = Queueing {
            hold: Some(Box::new(places)),
            ..Queueing::default()
        };
        let stored = self.store.readings().ingest_as(batch, queueing).await;
        self.devices.texts().wake();
        match stored {
            Ok(ingested) if ingested.settled_before => Ok(Attempt::Settled),
            Ok(ingested) => {
                count_contradictions(&ingested);
                Ok(Attempt::Read)
            }
            Err(CommitError::DiskFull) => Err(AppError::DiskFull),
            Err(CommitError::Busy { .. }) => Err(AppError::Busy { retry_after_s: 1 }),
            Err(other) => Err(AppError::Fault {
                context: "replay a dead letter",
                source: Box::new(other),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use serde_json::json;
    use store::flags;

    use super::super::devices::Devices;
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_are_spread() {
        let pauses: Vec<u64> = (1..=8).map(|tried| pause(tried, 0.0).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pause(4, 1.0), Duration::from_secs(4));
        assert_eq!(pause(1, 1.0), PAUSE_MIN);
    }

    #[test]
    fn what_was_no_news_when_it_came_is_none_when_it_is_read_by_itself() {
        let devices = Devices::default();
        let fields = json!({"name": "gauge", "state": "approved"});
        devices.document_committed(fields.as_object().expect("an object"), false);
        let approved = devices.entry("gauge").expect("room");
        let unknown = devices.entry("stranger").expect("room");
        let received_ms = i64::MAX / 2;
        let letter = |kept| DeadLetter {
            id: 1,
            source: String::new(),
            topic: String::new(),
            decoder: String::new(),
            reason: String::new(),
            code: String::new(),
            received_ms,
            kept,
            anonymous: false,
            payload: Vec::new(),
            attempts: 1,
            state: store::DeadLetterState::Open,
            retry_at_ms: None,
        };
        let soon = Retry::ByItself {
            now_ms: received_ms + 1000,
        };
        let late = Retry::ByItself {
            now_ms: received_ms + NEWS_MS_MAX + 1,
        };
        let flags = |retry: Retry, kept, device, quality| {
            retry.coming(&letter(kept), device, quality).flags()
        };
        let (good, suspect) = (Quality::Good, Quality::Suspect);
        let retained = flags::KEPT | flags::RETAINED;
        let doubted = flags::KEPT | flags::SUSPECT;
        assert_eq!(flags(soon, false, &approved, good), flags::APPROVED);
        assert_eq!(flags(soon, true, &approved, good), retained);
        assert_eq!(flags(soon, false, &approved, suspect), doubted);
        assert_eq!(flags(soon, false, &unknown, good), 0);
        assert_eq!(flags(late, false, &approved, good), flags::KEPT);
        assert_eq!(flags(Retry::ByPerson, false, &approved, good), flags::KEPT);
    }

    #[test]
    fn what_is_wrong_with_a_message_is_not_tried_again() {
        let wrong = Unreadable::Decode(DecodeError::NotANumber);
        assert_eq!(wrong.retry_at_ms(0, 1), None);
    }
}
