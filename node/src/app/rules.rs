//! The rule runner: follows committed readings and opens, updates and clears incidents.
//!
//! ```text
//! readings committed → feed (bounded; a gap is read from the store) → Evaluator → effects + cursor in one commit
//! a second passed, and nothing waits to be evaluated ────────────────────┘
//! ```
//!
//! Invariants:
//! - Each reading is evaluated exactly once: effects and the cursor behind them are one transaction, and evaluation
//!   from a cursor is deterministic.
//! - The runner never holds up an acknowledgement: what it cannot take in time it reads from the store later.
//! - A rule that was changed or switched off counts from the next reading on. One that is off, or deleted, still ends what
//!   it has raised: an incident whose cause is over says so, whoever switched off what.

mod curves;
mod evaluator;
mod folding;
mod now;
mod planted;
mod reopen;
mod saved;
pub mod trial;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use domain::RecordId;
use domain::rules::Rule;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use store::{
    CommittedReadings, Evaluated, RuleCursor, SeriesId, SeriesQuery, StoredReading, flags,
};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::records::RuleEffect;
use super::{App, AppError};
use evaluator::{Effect, Evaluator, Names, Surroundings};
pub(in crate::app) use folding::Folds;
pub use now::RuleStanding;
use planted::Planted;

/// Commits of readings that wait for the runner; beyond that it reads from the store. 64 × 4,096 readings × 48 bytes is
/// 12 MB at worst.
const FEED_COMMITS_MAX: usize = 64;

/// Readings evaluated before anything else gets a turn: well below a millisecond.
const SLICE: usize = 2048;

/// Effects committed together.
const EFFECTS_MAX: usize = 32;

/// … and one second more for each so many bytes of state, so that many series do not become much writing.
const CURSOR_BYTES_PER_S: usize = 64 * 1024;

/// How often it is looked whether something has been silent for too long: a quarter of the shortest silence that a rule
/// can ask for, and well below a millisecond of work.
const TICK: Duration = Duration::from_secs(1);

/// What only time has changed is committed at most so often: a crash makes a silence count that much longer.
const TICK_CURSOR_INTERVAL: Duration = Duration::from_secs(60);

/// After a start sensors have to find the node again: nobody is silent for that long.
const RECONNECT: Duration = Duration::from_secs(30);

/// Series looked at when the node starts or a rule changes: as many as there may be.
const SERIES_MAX: usize = 100_000;

/// A commit that fails is tried again after so long, doubled each time up to the second bound.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// The rules, and the way to the runner.
pub(in crate::app) struct Rules {
    documents: Mutex<BTreeMap<RecordId, Arc<Rule>>>,
    /// Grows with each change of `documents`.
    version: AtomicU64,
    feed: mpsc::Sender<CommittedReadings>,
    receiver: Mutex<Option<mpsc::Receiver<CommittedReadings>>>,
    /// The newest committed position.
    newest: AtomicI64,
    /// Something did not fit into the feed.
    overflowed: AtomicBool,
    wake: Notify,
    /// Evaluated up to here and committed.
    position: AtomicI64,
    /// Permits for test runs.
    trials: Arc<Semaphore>,
    /// What people want to know of the runner.
    asks: mpsc::Sender<now::Ask>,
    asked: Mutex<Option<mpsc::Receiver<now::Ask>>>,
}

impl Default for Rules {
    fn default() -> Self {
        let (feed, receiver) = mpsc::channel(FEED_COMMITS_MAX);
        let (asks, asked) = mpsc::channel(now::ASKS_MAX);
        Rules {
            documents: Mutex::default(),
            version: AtomicU64::new(1),
            feed,
            receiver: Mutex::new(Some(receiver)),
            newest: AtomicI64::new(0),
            overflowed: AtomicBool::new(false),
            wake: Notify::new(),
            position: AtomicI64::new(0),
            trials: Arc::new(Semaphore::new(trial::AT_ONCE_MAX)),
            asks,
            asked: Mutex::new(Some(asked)),
        }
    }
}

impl Rules {
    /// After a commit, and at start for every rule document: what it says now.
    pub(in crate::app) fn document_committed(
        &self,
        id: RecordId,
        fields: &Map<String, Value>,
        deleted: bool,
    ) {
        let rule = Rule::from_fields(id, fields);
        let mut documents = self.documents.lock();
        match rule {
            Ok(mut rule) => {
                rule.is_on &= !deleted;
                documents.insert(id, Arc::new(rule));
            }
            Err(fault) => {
                tracing::warn!(rule = %id, %fault, "a rule is not evaluated");
                documents.remove(&id);
            }
        }
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Called by the writer of readings after each commit, in order. Never waits.
    pub(in crate::app) fn readings_committed(&self, committed: &CommittedReadings) {
        self.newest
            .store(committed.last_position, Ordering::Release);
        if self.feed.try_send(committed.clone()).is_err() {
            self.overflowed.store(true, Ordering::Release);
            self.wake.notify_one();
        }
    }

    /// How many readings wait to be evaluated.
    pub(in crate::app) fn behind(&self) -> i64 {
        (self.newest.load(Ordering::Acquire) - self.position.load(Ordering::Acquire)).max(0)
    }

    /// Starts the runner. It ends when `stop` is cancelled, with its cursor committed.
    pub(in crate::app) fn start(
        self: &Arc<Self>,
        app: Arc<App>,
        stop: CancellationToken,
    ) -> Option<tokio::task::JoinHandle<()>> {
        let feed = self.receiver.lock().take()?;
        let asked = self.asked.lock().take()?;
        Some(tokio::spawn(run(Arc::clone(self), app, feed, asked, stop)))
    }
}

async fn run(
    rules: Arc<Rules>,
    app: Arc<App>,
    mut feed: mpsc::Receiver<CommittedReadings>,
    asked: mpsc::Receiver<now::Ask>,
    stop: CancellationToken,
) {
    let mut runner = match Runner::begin(rules, Arc::clone(&app), asked).await {
        Ok(runner) => runner,
        Err(error) => {
            tracing::error!(%error, "rules cannot be evaluated");
            return;
        }
    };
    // What came in before this process, and before the feed.
    runner.catch_up(i64::MAX, &stop).await;
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !stop.is_cancelled() {
        let cursor_due = runner.cursor_due();
        tokio::select! {
            () = stop.cancelled() => break,
            committed = feed.recv() => match committed {
                Some(committed) => runner.take(&committed, &stop).await,
                None => break,
            },
            () = runner.rules.wake.notified() => {}
            Some(ask) = runner.asked.recv() => runner.answer(ask),
            () = wait_until(cursor_due) => runner.commit_cursor(&stop).await,
            _ = ticks.tick() => runner.tick(feed.is_empty(), &stop).await,
        }
        // Only with an empty feed: what is in it closes the gap more cheaply.
        if feed.is_empty() && runner.rules.overflowed.swap(false, Ordering::AcqRel) {
            runner.catch_up(i64::MAX, &stop).await;
        }
    }
    runner.commit_cursor(&stop).await;
}

async fn wait_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

struct Runner {
    rules: Arc<Rules>,
    app: Arc<App>,
    evaluator: Evaluator,
    rules_version: u64,
    file_id: [u8; 16],
    /// Evaluated up to here.
    position: i64,
    /// … and which that were.
    evaluated: Evaluated,
    /// What is committed. Its position is −1 where the stored one means another file.
    last_cursor: RuleCursor,
    committed_at: Instant,
    state_bytes: usize,
    names: HashMap<SeriesId, Names>,
    effects: Vec<Effect>,
    ticked_at: Instant,
    /// Before that, what is silent may only have to find this node again.
    judges_silence_from: Instant,
    /// Effects were lost from memory because the node stopped: the cursor must not move past them.
    broken_off: bool,
    planted: Planted,
    asked: mpsc::Receiver<now::Ask>,
}

impl Runner {
    async fn begin(
        rules: Arc<Rules>,
        app: Arc<App>,
        asked: mpsc::Receiver<now::Ask>,
    ) -> Result<Runner, AppError> {
        let file_id = app.store.readings().file_id();
        let stored = app.rule_cursor().await?;
        let was_running = stored.is_some();
        let mut evaluator = Evaluator::new(file_id, app.node_id().to_string());
        let none = || RuleCursor {
            file_id,
            position: 0,
            evaluated: Evaluated::default(),
            state: Vec::new(),
        };
        let planted = Planted::from_environment();
        let (position, last_cursor) = match stored {
            Some(cursor) if cursor.file_id == file_id => {
                if let Err(error) = evaluator.restore(&cursor.state) {
                    tracing::error!(%error, "what rules have seen so far cannot be read: they begin anew from here");
                }
                (planted.begin_at(cursor.position), cursor)
            }
            // Another file (restored, or set aside as damaged): its readings were evaluated when they came, and
            // positions in it mean nothing here.
            Some(_) => (
                app.store.readings().newest_position(),
                RuleCursor {
                    position: -1,
                    ..none()
                },
            ),
            None => (0, none()),
        };
        rules
            .newest
            .fetch_max(app.store.readings().newest_position(), Ordering::AcqRel);
        rules.position.store(position, Ordering::Release);
        metrics::counter!("muster_rules_evaluated_total").absolute(last_cursor.evaluated.readings);
        let mut runner = Runner {
            rules,
            app,
            evaluator,
            rules_version: 0,
            file_id,
            position,
            evaluated: last_cursor.evaluated,
            last_cursor,
            committed_at: Instant::now(),
            state_bytes: 0,
            names: HashMap::new(),
            effects: Vec::new(),
            ticked_at: Instant::now(),
            judges_silence_from: Instant::now()
                + if was_running {
                    RECONNECT
                } else {
                    Duration::ZERO
                },
            broken_off: false,
            planted,
            asked,
        };
        runner.refresh_rules();
        Ok(runner)
    }

    fn refresh_rules(&mut self) {
        let version = self.rules.version.load(Ordering::Acquire);
        if version != self.rules_version {
            self.rules_version = version;
            let documents = self.rules.documents.lock().clone();
            self.evaluator.set_rules(&documents);
            if self.evaluator.is_about_time() {
                let known = SeriesQuery {
                    limit: SERIES_MAX,
                    ..SeriesQuery::default()
                };
                let known = self.app.store.readings().series(&known);
                self.evaluator.listen(
                    known
                        .into_iter()
                        .filter(|series| self.app.devices.is_approved(&series.device))
                        .map(|series| (series.id, series.into())),
                    wall_ms(&self.app),
                    self.position,
                );
            }
        }
    }

    /// Judges what time alone changes; only when every reading that arrived has been evaluated.
    async fn tick(&mut self, feed_is_empty: bool, stop: &CancellationToken) {
        self.refresh_rules();
        let now = Instant::now();
        let since = self.ticked_at.max(self.judges_silence_from);
        self.ticked_at = now;
        if !self.evaluator.is_about_time() || now < self.judges_silence_from {
            return;
        }
        let passed = now.saturating_duration_since(since);
        let passed_ms = i64::try_from(passed.as_millis()).unwrap_or(i64::MAX);
        let behind = self.rules.newest.load(Ordering::Acquire) > self.position;
        if behind || !feed_is_empty || self.rules.overflowed.load(Ordering::Acquire) {
            self.evaluator.pass(passed_ms);
            return;
        }
        let app = &self.app;
        let around = Surroundings {
            location: &|device| app.devices.location(device),
            approved: &|device| app.devices.is_approved(device),
            calibrations: &app.calibrations,
        };
        let now_ms = wall_ms(app);
        self.evaluator
            .tick(passed_ms, now_ms, &around, &mut self.effects);
        if !self.effects.is_empty() || self.committed_at + TICK_CURSOR_INTERVAL <= now {
            self.commit(stop).await;
        }
    }

    /// Evaluates one commit of readings.
    async fn take(&mut self, committed: &CommittedReadings, stop: &CancellationToken) {
        if committed.last_position <= self.position {
            return;
        }
        if committed.first_position > self.position + 1 {
            self.catch_up(committed.first_position - 1, stop).await;
        }
        self.evaluate(&committed.readings, stop).await;
    }

    /// Evaluates what the store holds beyond the cursor, up to `until`.
    async fn catch_up(&mut self, until: i64, stop: &CancellationToken) {
        let mut pause = RETRY_MIN;
        while self.position < until && !stop.is_cancelled() {
            let (app, after) = (Arc::clone(&self.app), self.position);
            let read = tokio::task::spawn_blocking(move || {
                app.store.readings().readings_after(after, SLICE)
            })
            .await;
            match read {
                Ok(Ok(readings)) if readings.is_empty() => {
                    // Positions up to there were never used, or their readings are gone.
                    if until != i64::MAX {
                        self.position = until;
                    }
                    return;
                }
                Ok(Ok(readings)) => self.evaluate(&readings, stop).await,
                Ok(Err(error)) => {
                    tracing::error!(%error, "readings cannot be read for rules");
                    pause = back_off(pause, stop).await;
                }
                Err(error) => {
                    tracing::error!(%error, "reading for rules was broken off");
                    pause = back_off(pause, stop).await;
                }
            }
        }
    }

    async fn evaluate(&mut self, readings: &[StoredReading], stop: &CancellationToken) {
        for slice in readings.chunks(SLICE) {
            self.refresh_rules();
            if self.evaluator.is_idle() {
                self.position = slice
                    .last()
                    .map_or(self.position, |reading| reading.position.max(self.position));
                continue;
            }
            for reading in slice {
                if reading.position <= self.position {
                    continue;
                }
                self.position = reading.position;
                if reading.flags & flags::APPROVED != 0 {
                    self.evaluated.note(reading.position);
                }
                let (app, cache) = (&self.app, &mut self.names);
                self.evaluator.evaluate(
                    reading,
                    &mut |series| app.series_names(cache, series),
                    &Surroundings {
                        location: &|device| app.devices.location(device),
                        approved: &|device| app.devices.is_approved(device),
                        calibrations: &app.calibrations,
                    },
                    &mut self.effects,
                );
                if self.effects.len() >= EFFECTS_MAX {
                    self.commit(stop).await;
                }
            }
            let other_unit = self.evaluator.take_other_unit();
            if other_unit > 0 {
                metrics::counter!("muster_rules_other_unit_total").increment(other_unit);
            }
            if !self.effects.is_empty() {
                self.commit(stop).await;
            }
            if self.broken_off || stop.is_cancelled() {
                return;
            }
            // One at a time: readings go before questions.
            if let Ok(ask) = self.asked.try_recv() {
                self.answer(ask);
            }
            tokio::task::yield_now().await;
        }
    }

    fn answer(&mut self, ask: now::Ask) {
        self.refresh_rules();
        let now_ms = wall_ms(&self.app);
        ask.answer(&self.evaluator, now_ms, &self.app, &mut self.names);
    }

    /// When the cursor alone is to be committed; `None` while it has not moved.
    fn cursor_due(&self) -> Option<Instant> {
        let more = Duration::from_secs((self.state_bytes / CURSOR_BYTES_PER_S) as u64);
        (self.position != self.last_cursor.position)
            .then(|| self.committed_at + self.app.storage.cursor_interval() + more)
    }

    async fn commit_cursor(&mut self, stop: &CancellationToken) {
        if self.broken_off {
            return;
        }
        if self.position != self.last_cursor.position || !self.effects.is_empty() {
            self.commit(stop).await;
        }
    }

    /// Commits the effects with the cursor behind them. Tries until it succeeds or the node stops; then nothing more is
    /// committed, and the readings are evaluated again at the next start.
    async fn commit(&mut self, stop: &CancellationToken) {
        let effects = std::mem::take(&mut self.effects);
        let effects = reopen::settle(&self.app, &mut self.evaluator, effects).await;
        let state = self.evaluator.save();
        self.state_bytes = state.len();
        let cursor = RuleCursor {
            file_id: self.file_id,
            position: self.position,
            evaluated: self.evaluated,
            state,
        };
        if self.planted.cursor_before_effects {
            self.commit_one(Vec::new(), cursor.clone(), stop).await;
            tokio::time::sleep(planted::UNTIL_EFFECTS).await;
        }
        metrics::counter!("muster_rules_effects_total").increment(effects.len() as u64);
        if self.commit_one(effects.clone(), cursor.clone(), stop).await == Attempt::Refused {
            // One of them cannot be done (its incident was deleted, a title does not fit). It must not hold up the
            // others, nor every rule for ever. Doing an effect twice changes nothing, so that the cursor may come last.
            for effect in effects {
                let before = self.last_cursor.clone();
                if self.commit_one(vec![effect.clone()], before, stop).await == Attempt::Refused {
                    metrics::counter!("muster_rules_effects_refused_total").increment(1);
                    tracing::warn!(?effect, "a rule's effect was refused and is dropped");
                }
            }
            self.commit_one(Vec::new(), cursor, stop).await;
        }
        self.committed_at = Instant::now();
    }

    async fn commit_one(
        &mut self,
        effects: Vec<RuleEffect>,
        cursor: RuleCursor,
        stop: &CancellationToken,
    ) -> Attempt {
        let mut pause = RETRY_MIN;
        while !self.broken_off {
            match self
                .app
                .commit_rule_effects(effects.clone(), cursor.clone())
                .await
            {
                Ok(()) => {
                    self.rules
                        .position
                        .store(cursor.position, Ordering::Release);
                    metrics::counter!("muster_rules_evaluated_total")
                        .absolute(cursor.evaluated.readings);
                    self.last_cursor = cursor;
                    metrics::gauge!("muster_rules_behind_readings").set(self.rules.behind() as f64);
                    return Attempt::Done;
                }
                Err(
                    error @ (AppError::Invalid(_)
                    | AppError::NotFound { .. }
                    | AppError::Gone { .. }
                    | AppError::TooLarge { .. }),
                ) => {
                    tracing::debug!(%error, "effects of rules were refused");
                    return Attempt::Refused;
                }
                Err(error) => {
                    if stop.is_cancelled() {
                        self.broken_off = true;
                    } else {
                        tracing::error!(%error, "effects of rules wait");
                        pause = back_off(pause, stop).await;
                    }
                }
            }
        }
        Attempt::BrokenOff
    }
}

/// How a commit went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    Done,
    /// Trying again would not help.
    Refused,
    /// The node stopped first.
    BrokenOff,
}

/// The node's clock as rules take it.
fn wall_ms(app: &App) -> i64 {
    i64::try_from(app.clock.wall_ms()).unwrap_or(i64::MAX)
}

/// Waits; gives the next pause.
async fn back_off(pause: Duration, stop: &CancellationToken) -> Duration {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(pause) => {}
    }
    (pause * 2).min(RETRY_MAX)
}
