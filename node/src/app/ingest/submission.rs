//! A batch on its way to the disk: it takes its place, is queued, tried again while the disk is full.
//!
//! Invariant: its places are free when the store has answered, whether or not anybody still waits for the answer: a client
//! that does not read its acknowledgements takes no places from others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use store::{AHEAD_WEIGHT_MAX, CommitError, IngestBatch, Ingested, Queueing, SenderId, Ticket};

use super::Shared;
use super::places::{Held, Need, Source};
use crate::app::AppError;
use crate::app::devices::Reserved;

/// After a failed commit the next attempt waits at first so long, then twice as long each time up to the second bound.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// A writer whose queue is full has room again after a commit.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// Messages on their way to the disk. Dropping it gives up on those that the store does not have yet.
pub struct Submission {
    shared: Arc<Shared>,
    /// Kept until it is committed, to try again with.
    batch: IngestBatch,
    source: Arc<Source>,
    sender: SenderId,
    need: Need,
    state: State,
    retry: Duration,
    repeated: Vec<u32>,
    submitted_at: Instant,
    on_its_way: Option<OnItsWay>,
    /// Places of its texts, where it has any.
    texts: Option<Arc<Vec<Reserved>>>,
}

enum State {
    /// For the batch before it.
    Waiting,
    /// For places; this keeps its turn.
    ForPlaces(BoxFuture<'static, Held>),
    Queued(Ticket<Ingested, CommitError>),
    /// It failed; the next attempt is then.
    Pausing(tokio::time::Instant),
    Committed,
}

/// Counts what was stored beside another value with the same time.
pub(in crate::app) fn count_contradictions(ingested: &Ingested) {
    metrics::counter!("muster_ingest_contradictions_total")
        .increment(u64::from(ingested.contradictions));
}

/// Counts the batches of one session that are on their way.
pub(super) struct OnItsWay(Arc<AtomicUsize>);

impl OnItsWay {
    /// Answers whether it is the only one, too.
    pub(super) fn begin(of_session: &Arc<AtomicUsize>) -> (Self, bool) {
        let before = of_session.fetch_add(1, Ordering::Relaxed);
        (OnItsWay(Arc::clone(of_session)), before == 0)
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Submission {
    pub(super) fn new(
        shared: Arc<Shared>,
        (source, sender): (Arc<Source>, SenderId),
        batch: IngestBatch,
        texts: Vec<Reserved>,
        (on_its_way, is_only): (OnItsWay, bool),
    ) -> Submission {
        let (weight, is_empty) = (batch.weight(), batch.is_empty());
        Submission {
            shared,
            source,
            sender,
            need: Need {
                weight,
                lone: is_only && weight <= AHEAD_WEIGHT_MAX && batch.mqtt.is_empty(),
            },
            texts: (!texts.is_empty()).then(|| Arc::new(texts)),
            on_its_way: (!is_empty).then_some(on_its_way),
            batch,
            state: if is_empty {
                State::Committed
            } else {
                State::Waiting
            },
            retry: RETRY_MIN,
            repeated: Vec::new(),
            submitted_at: Instant::now(),
        }
    }

    /// Gives it to the store now, if it has a place without waiting.
    pub(super) fn start_if_there_is_room(&mut self) {
        if let State::Waiting = self.state
            && let Some(places) = self.source.try_take(self.need)
        {
            self.start(places);
        }
    }

    /// Returns when everything in it is on the disk. May be dropped and called again.
    ///
    /// # Errors
    /// The store is closed: nothing of it will ever be committed.
    pub async fn committed(&mut self) -> Result<(), AppError> {
        loop {
            match &mut self.state {
                State::Committed => return Ok(()),
                State::Queued(ticket) => match ticket.await {
                    Ok(ingested) => self.done(ingested),
                    Err(error) => self.pause(error)?,
                },
                State::Waiting | State::ForPlaces(_) | State::Pausing(_) => self.started().await,
            }
        }
    }

    /// Returns when the store has it: at once if it has, or had. May be dropped and called again.
    pub async fn started(&mut self) {
        loop {
            match &mut self.state {
                State::Waiting => match self.source.try_take(self.need) {
                    Some(places) => return self.start(places),
                    None => self.state = State::ForPlaces(self.source.take(self.need)),
                },
                State::ForPlaces(turn) => {
                    let places = turn.await;
                    return self.start(places);
                }
                State::Pausing(until) => {
                    tokio::time::sleep_until(*until).await;
                    self.state = State::Waiting;
                }
                State::Queued(_) | State::Committed => return,
            }
        }
    }

    /// Whether it is on the disk, without waiting.
    pub fn is_committed(&mut self) -> bool {
        if let State::Queued(ticket) = &mut self.state
            && let Some(outcome) = ticket.now_or_never()
        {
            match outcome {
                Ok(ingested) => self.done(ingested),
                // `committed` will say so, or try again.
                Err(error) => {
                    let _ = self.pause(error);
                }
            }
        }
        matches!(self.state, State::Committed)
    }

    /// Once it is committed: messages that came already, as [`IngestSession::last_message`] names them.
    pub(in crate::app) fn repeated(&self) -> &[u32] {
        &self.repeated
    }

    /// How it ended, without trying again: whether it is on the disk.
    pub(in crate::app) async fn settled(&mut self) -> bool {
        if let State::Queued(ticket) = &mut self.state
            && let Ok(ingested) = ticket.await
        {
            self.done(ingested);
        }
        matches!(self.state, State::Committed)
    }

    /// The store has it, or had it and refused.
    pub fn is_under_way(&self) -> bool {
        matches!(self.state, State::Queued(_) | State::Committed)
    }
}

impl Submission {
    fn start(&mut self, places: Held) {
        for text in self.texts.iter().flat_map(|texts| texts.iter()) {
            text.give();
        }
        let queueing = Queueing {
            ahead: self.need.lone,
            sender: Some(self.sender),
            hold: Some(Box::new((places, self.texts.clone()))),
        };
        let batch = self.batch.clone();
        let ticket = self.shared.store.readings().ingest_as(batch, queueing);
        self.state = State::Queued(ticket);
        if self.shared.cheats {
            self.state = State::Committed;
        }
    }

    fn done(&mut self, ingested: Ingested) {
        self.state = State::Committed;
        self.on_its_way = None;
        self.texts = None;
        metrics::counter!("muster_ingest_readings_total").increment(u64::from(ingested.stored));
        metrics::counter!("muster_ingest_duplicates_total")
            .increment(u64::from(ingested.duplicates));
        count_contradictions(&ingested);
        metrics::histogram!("muster_ingest_commit_seconds")
            .record(self.submitted_at.elapsed().as_secs_f64());
        self.repeated = ingested.repeated;
        if !self.batch.devices.texts.is_empty() {
            self.shared.devices.texts().wake();
        }
    }

    /// Plans the next attempt.
    ///
    /// # Errors
    /// There is none: the store is closed.
    fn pause(&mut self, error: CommitError) -> Result<(), AppError> {
        let pause = if let CommitError::Busy { .. } = error {
            self.source.was_refused();
            BUSY_PAUSE
        } else {
            self.retry
        };
        self.state = State::Pausing(tokio::time::Instant::now() + pause);
        match error {
            CommitError::Busy { .. } => Ok(()),
            CommitError::Closed => Err(AppError::Fault {
                context: "store readings",
                source: Box::new(error),
            }),
            other => {
                metrics::counter!("muster_ingest_commit_failures_total").increment(1);
                let retry_in_ms = pause.as_millis() as u64;
                tracing::error!(error = %other, retry_in_ms, "readings are not stored and not acknowledged");
                self.retry = (self.retry * 2).min(RETRY_MAX);
                Ok(())
            }
        }
    }
}
