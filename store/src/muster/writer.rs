//! The one writer of muster.db: groups what is queued into transactions.
//!
//! Always holds: a ticket is answered only after the SQL COMMIT that holds its batch (or with the reason why there is
//! none); one bad batch does not take its neighbours with it; after a lost batch nothing of its epoch is stored.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use rusqlite::Connection;
use sync_engine::Lane;
use tokio::sync::oneshot;

use super::apply;
use super::batch::{Batch, Committed, GroupCommit, RuleCursor};
use super::events::Event;
use super::identity::{self, Identity};
use super::progress::{self, Pending};
use super::queue::{Queue, Wake};
use super::rebuild::{self, RebuildStep};
use super::state::{Author, Mark, State};
use crate::checkpoint::Committing;
use crate::error::{CommitError, StoreError};
use crate::ticket::{Done, LocalJob};

/// A transaction takes in whatever is queued for at most this long: a press of a button next door waits no longer.
const GROUP_WORK_MAX: Duration = Duration::from_millis(5);
/// Bounds what a transaction that cannot be committed takes with it.
const GROUP_JOBS_MAX: usize = 1024;
/// A batch of so many bytes has a transaction to itself and needs no savepoint in it. Under a savepoint SQLite keeps
/// every page that it touches as it was, and looks at all of these at the end of each statement: of a catch-up's batch,
/// some thousand documents, that was two fifths of the writer's time, and more than in proportion with longer ones.
const ALONE_BYTES_MIN: usize = 128 << 10;

/// How long reports of progress wait after a transaction that failed. A full disk does not get room in a moment.
const PROGRESS_RETRY: Duration = Duration::from_secs(2);

pub(crate) type CommitHook = Arc<dyn Fn(&GroupCommit) + Send + Sync>;
pub(crate) type CursorHook = Arc<dyn Fn(&RuleCursor) + Send + Sync>;

pub(crate) enum Job {
    Batch {
        batch: Box<Batch>,
        search: Vec<String>,
        /// [`Batch::weight`].
        weight_bytes: usize,
        reply: oneshot::Sender<Result<Committed, CommitError>>,
    },
    Local(LocalJob),
    Identity {
        identity: Box<Identity>,
        reply: oneshot::Sender<Result<(), StoreError>>,
    },
    Rebuild {
        step: RebuildStep,
        reply: oneshot::Sender<Result<(), StoreError>>,
    },
}

impl Job {
    /// Whether it shares its transaction with no other.
    fn is_alone(&self) -> bool {
        match self {
            // A new identity signs with another key: never in one transaction with entries of the old one.
            Job::Identity { .. } => true,
            Job::Batch { weight_bytes, .. } => *weight_bytes >= ALONE_BYTES_MIN,
            Job::Local(_) | Job::Rebuild { .. } => false,
        }
    }
}

/// What the writer shares with the handles.
pub(crate) struct Shared {
    pub(crate) queue: Queue<Job>,
    pub(crate) hook: RwLock<Option<CommitHook>>,
    /// Hears of each rule cursor that is on the disk.
    pub(crate) cursor_hook: RwLock<Option<CursorHook>>,
    pub(crate) progress: Pending,
}

/// What is answered once the transaction has ended.
enum Answer {
    Batch {
        reply: oneshot::Sender<Result<Committed, CommitError>>,
        result: Result<Committed, CommitError>,
        epoch: u64,
    },
    Local {
        done: Box<Done>,
        result: Result<(), StoreError>,
    },
    Identity {
        reply: oneshot::Sender<Result<(), StoreError>>,
        result: Result<(), StoreError>,
        author: Option<Box<Author>>,
    },
}

pub(crate) struct Writer {
    connection: Connection,
    state: State,
    shared: Arc<Shared>,
    committing: Committing,
    poisoned: u64,
    /// The newest rule cursor of the open transaction.
    cursor: Option<RuleCursor>,
}

impl Writer {
    pub(crate) fn new(
        connection: Connection,
        shared: Arc<Shared>,
        committing: Committing,
    ) -> Result<Self, StoreError> {
        let state = State::load(&connection)?;
        Ok(Writer {
            connection,
            state,
            shared,
            committing,
            poisoned: 0,
            cursor: None,
        })
    }

    /// Works until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        loop {
            match self.shared.queue.wait() {
                Wake::Job(Job::Rebuild {
                    step: RebuildStep::Begin,
                    reply,
                }) => self.rebuild(reply),
                Wake::Job(job) => self.group(Some(job)),
                Wake::Alarm => self.group(None),
                Wake::Closed => break,
            }
        }
        if self.shared.progress.is_due() {
            self.group(None);
        }
    }

    /// One SQL transaction: `first`, and what is queued behind it.
    fn group(&mut self, first: Option<Job>) {
        let started = Instant::now();
        let start = self.state.mark();
        let mut answers = Vec::new();
        let mut events = Vec::new();
        let mut deferred = None;
        if let Err(error) = self.connection.execute_batch("BEGIN IMMEDIATE") {
            // The job was never tried, but whoever waits for it must hear.
            if let Some(job) = first {
                answers.push(refuse(job, &error.into()));
            }
            self.finish(
                Err(CommitError::fault("no transaction")),
                &start,
                answers,
                events,
                Vec::new(),
            );
            return;
        }
        let mut next = first;
        while let Some(job) = next {
            let alone = job.is_alone();
            // A rebuild is a transaction of its own. Any other step of one has come too late, and is answered so.
            let begins = matches!(
                job,
                Job::Rebuild {
                    step: RebuildStep::Begin,
                    ..
                }
            );
            if begins || alone && !answers.is_empty() {
                deferred = Some(job);
                break;
            }
            let answer = self.one(job, answers.len(), &mut events);
            answers.push(answer);
            if alone {
                break;
            }
            // A full disk or an IO error inside a statement may end the whole transaction on its own.
            if self.connection.is_autocommit() {
                break;
            }
            if answers.len() >= GROUP_JOBS_MAX || started.elapsed() >= GROUP_WORK_MAX {
                break;
            }
            next = self.shared.queue.try_take();
        }
        let (result, grown) = self.commit();
        self.finish(result, &start, answers, events, grown);
        match deferred {
            Some(Job::Rebuild {
                step: RebuildStep::Begin,
                reply,
            }) => self.rebuild(reply),
            Some(job) => self.group(Some(job)),
            None => {}
        }
    }

    fn commit(&mut self) -> (Result<(), CommitError>, Vec<super::state::Grown>) {
        if self.connection.is_autocommit() {
            return (
                Err(CommitError::fault(
                    "the transaction was rolled back by the database",
                )),
                Vec::new(),
            );
        }
        let mut seal = || -> Result<Vec<super::state::Grown>, CommitError> {
            let grown = self.state.seal(&self.connection)?;
            let progress = self.shared.progress.take();
            let written = progress.write(&self.connection);
            if let Err(error) = written.and_then(|()| self.connection.execute_batch("COMMIT")) {
                self.shared.progress.give_back(progress);
                return Err(error.into());
            }
            Ok(grown)
        };
        match seal() {
            Ok(grown) => (Ok(()), grown),
            Err(error) => {
                if !self.connection.is_autocommit() {
                    // Nothing better can be done with an error here: the next BEGIN would meet it again.
                    let _ = self.connection.execute_batch("ROLLBACK");
                }
                (Err(error), Vec::new())
            }
        }
    }

    /// Runs one job so that its failure undoes only what it did itself.
    fn one(&mut self, job: Job, index: usize, events: &mut Vec<Event>) -> Answer {
        let alone = job.is_alone();
        match job {
            Job::Batch {
                batch,
                search,
                weight_bytes: _,
                reply,
            } => {
                let epoch = batch.epoch;
                if epoch != 0 && epoch <= self.poisoned {
                    return Answer::Batch {
                        reply,
                        result: Err(CommitError::EpochPoisoned),
                        epoch: 0,
                    };
                }
                let mark = self.state.mark();
                let told = events.len();
                let connection = &self.connection;
                let state = &mut self.state;
                let apply = || apply::apply(connection, state, &batch, &search, index, events);
                let result = if alone {
                    or_roll_back(connection, apply)
                } else {
                    in_savepoint(connection, apply)
                };
                if result.is_err() {
                    self.state.roll_back(&mark);
                    events.truncate(told);
                    self.poisoned = self.poisoned.max(epoch);
                } else if let Some(cursor) = batch.rule_cursor {
                    self.cursor = Some(cursor);
                }
                Answer::Batch {
                    reply,
                    result,
                    epoch,
                }
            }
            Job::Local(LocalJob { run, done }) => {
                let connection = &self.connection;
                let result = in_savepoint(connection, || run(connection));
                Answer::Local { done, result }
            }
            Job::Identity { identity, reply } => {
                let connection = &self.connection;
                let result = in_savepoint(connection, || identity::put(connection, &identity));
                // Batches behind it in this transaction are already written under the new name.
                let author = result.is_ok().then(|| {
                    self.state
                        .author
                        .replace(Author::of(&identity))
                        .map(Box::new)
                });
                Answer::Identity {
                    reply,
                    result,
                    author: author.flatten(),
                }
            }
            Job::Rebuild { reply, .. } => Answer::Identity {
                reply,
                result: Err(StoreError::Refused("no rebuild was begun".to_owned())),
                author: None,
            },
        }
    }

    /// Tells everyone how the transaction ended.
    fn finish(
        &mut self,
        result: Result<(), CommitError>,
        start: &Mark,
        mut answers: Vec<Answer>,
        events: Vec<Event>,
        grown: Vec<super::state::Grown>,
    ) {
        let cursor = self.cursor.take();
        if let Err(error) = &result {
            self.state.abort(start);
            self.wake_for_progress(PROGRESS_RETRY);
            // The first reason is the real one: a full disk that rolled everything back says so to all.
            let error = answers
                .iter()
                .find_map(|answer| match answer {
                    Answer::Batch {
                        result: Err(CommitError::DiskFull),
                        ..
                    }
                    | Answer::Local {
                        result: Err(StoreError::DiskFull),
                        ..
                    } => Some(CommitError::DiskFull),
                    _ => None,
                })
                .unwrap_or_else(|| error.clone());
            tracing::error!(error = %error, batches = answers.len(), "transaction on muster.db failed");
            for answer in answers {
                self.answer_failed(answer, &error);
            }
            return;
        }
        self.state.commit();
        if let Some(cursor) = cursor
            && let Some(hook) = &*self.shared.cursor_hook.read()
        {
            hook(&cursor);
        }
        let mut group = GroupCommit {
            events,
            ..GroupCommit::default()
        };
        for grown in grown {
            group.heads.push((grown.log, grown.head));
            group.local_runs.extend(grown.runs.iter().cloned());
            if let Some(Answer::Batch {
                result: Ok(committed),
                ..
            }) = answers.get_mut(grown.batch)
            {
                committed.heads.push((grown.log, grown.head));
                committed.local_runs.extend(grown.runs);
            }
        }
        let mut commits = answers.iter().filter_map(|answer| match answer {
            Answer::Batch {
                result: Ok(committed),
                ..
            } => Some(committed.commit),
            _ => None,
        });
        if let Some(first) = commits.next() {
            group.first = first;
            group.last = commits.next_back().unwrap_or(first);
            let hook = self.shared.hook.read().clone();
            if let Some(hook) = hook {
                hook(&group);
            }
        }
        for answer in answers {
            // A caller that went away does not want to know.
            match answer {
                Answer::Batch { reply, result, .. } => drop(reply.send(result)),
                Answer::Local { done, result } => done(result),
                Answer::Identity { reply, result, .. } => drop(reply.send(result)),
            }
        }
        self.committing.committed(&self.connection);
    }

    fn answer_failed(&mut self, answer: Answer, error: &CommitError) {
        match answer {
            Answer::Batch {
                reply,
                result,
                epoch,
            } => {
                self.poisoned = self.poisoned.max(epoch);
                let error = match result {
                    Err(own) => own,
                    Ok(_) => error.clone(),
                };
                let _ = reply.send(Err(error));
            }
            Answer::Local { done, result } => done(result.and(Err(error.clone().into()))),
            Answer::Identity {
                reply,
                result,
                author,
            } => {
                if result.is_ok() {
                    self.state.author = author.map(|author| *author);
                }
                let _ = reply.send(result.and(Err(error.clone().into())));
            }
        }
    }

    /// Takes rebuild steps in one long transaction until it is finished or given up. Readers see the old views meanwhile.
    fn rebuild(&mut self, reply: oneshot::Sender<Result<(), StoreError>>) {
        let begun = rebuild::begin(&self.connection);
        let ok = begun.is_ok();
        let _ = reply.send(begun);
        if ok {
            self.rebuild_steps();
        } else {
            self.roll_back_rebuild();
        }
        self.wake_for_progress(progress::FLUSH_AFTER);
    }

    fn rebuild_steps(&mut self) {
        loop {
            match self.shared.queue.wait() {
                Wake::Job(Job::Rebuild {
                    step: RebuildStep::Begin,
                    reply,
                }) => {
                    // Whoever began first goes on.
                    let _ = reply.send(rebuild::step(&self.connection, RebuildStep::Begin));
                }
                Wake::Job(Job::Rebuild { step, reply }) => {
                    let ends = !matches!(step, RebuildStep::Commits(_));
                    let result = rebuild::step(&self.connection, step);
                    let failed = result.is_err();
                    if failed || self.connection.is_autocommit() {
                        self.roll_back_rebuild();
                    }
                    if !failed {
                        self.committing.committed(&self.connection);
                    }
                    let _ = reply.send(result);
                    if ends || failed {
                        return;
                    }
                }
                Wake::Job(job) => {
                    let answer = refuse(job, &CommitError::Rebuilding);
                    self.answer_failed(answer, &CommitError::Rebuilding);
                }
                // Progress waits for the end of this.
                Wake::Alarm => {}
                Wake::Closed => {
                    self.roll_back_rebuild();
                    return;
                }
            }
        }
    }

    /// Reports of progress that could not be written ask for another try: nothing else does while nobody writes.
    fn wake_for_progress(&self, after: Duration) {
        if self.shared.progress.is_due() {
            self.shared.queue.set_alarm(Instant::now() + after);
        }
    }

    fn roll_back_rebuild(&self) {
        if !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
    }
}

fn refuse(job: Job, error: &CommitError) -> Answer {
    match job {
        Job::Batch { batch, reply, .. } => Answer::Batch {
            reply,
            result: Err(error.clone()),
            epoch: batch.epoch,
        },
        Job::Local(LocalJob { done, .. }) => Answer::Local {
            done,
            result: Err(error.clone().into()),
        },
        Job::Identity { reply, .. } | Job::Rebuild { reply, .. } => Answer::Identity {
            reply,
            result: Err(error.clone().into()),
            author: None,
        },
    }
}

/// Runs `f`; its failure undoes the whole transaction.
fn or_roll_back<T, E>(connection: &Connection, f: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let result = f();
    if result.is_err() && !connection.is_autocommit() {
        // The next BEGIN would meet an error of this again.
        let _ = connection.execute_batch("ROLLBACK");
    }
    result
}

/// Runs `f` so that its failure undoes only what it did itself.
fn in_savepoint<T, E: From<CommitError>>(
    connection: &Connection,
    f: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let mark = |sql: &str| -> Result<(), CommitError> {
        connection.prepare_cached(sql)?.execute([])?;
        Ok(())
    };
    mark("SAVEPOINT one")?;
    match f() {
        Ok(value) => {
            mark("RELEASE one")?;
            Ok(value)
        }
        Err(error) => {
            if !connection.is_autocommit() {
                let undone = mark("ROLLBACK TO one").and_then(|()| mark("RELEASE one"));
                if undone.is_err() && !connection.is_autocommit() {
                    // Half of a batch must not be committed with its neighbours.
                    let _ = connection.execute_batch("ROLLBACK");
                }
            }
            Err(error)
        }
    }
}

impl Shared {
    pub(crate) fn new() -> Self {
        Shared {
            queue: Queue::new(),
            hook: RwLock::new(None),
            cursor_hook: RwLock::new(None),
            progress: Pending::default(),
        }
    }

    /// Small local writes share the queue of people's edits.
    pub(crate) fn push_local(&self, job: LocalJob) {
        if let Err((Job::Local(job), error)) =
            self.queue.push(Lane::Coordination, 0, 256, Job::Local(job))
        {
            (job.done)(Err(error.into()));
        }
    }
}
