//! The keeper: one thread that moves the tail to blocks, merges blocks, and drops what is not kept. It decides and
//! encodes; the writer only puts finished rows in and takes others out, so ingest waits milliseconds for it at most.
//!
//! Always holds: nobody else decides about blocks, so what it read is still there when the writer does it; what fails is
//! tried again at the next occasion, and nothing is lost by it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, sync_channel};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::blocks::Rewrite;
use super::compact::{self, Schedule, TailState};
use super::dead_letters::Room;
use super::merge::{self, Group};
use super::retention::{Retention, Round};
use super::unapproved::{UNAPPROVED_BYTES_MAX, Unapproved};
use super::writer::{Job, Shared};
use crate::error::StoreError;

/// Levels cannot fill up faster than this many moves of the tail, so it is looked at no more often.
const MOVES_PER_MERGE: u32 = 8;
/// Groups merged in one transaction: some 300 rows out and 100 in, a few milliseconds of the writer.
const GROUPS_PER_STEP: usize = 32;
/// Between two steps that can wait, so that the writer belongs to ingest most of the time.
const STEP_PAUSE: Duration = Duration::from_millis(5);
/// Requests that may wait; upkeep asks one at a time.
pub(crate) const REQUESTS_MAX: usize = 16;

/// One step of dropping what is not kept.
pub(crate) struct Request {
    pub(crate) now_ms: i64,
    pub(crate) retention: Retention,
    /// Whether more is left.
    pub(crate) reply: oneshot::Sender<Result<bool, StoreError>>,
}

pub(crate) type Requests = Arc<Mutex<VecDeque<Request>>>;

/// What tests set to other values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) schedule: Schedule,
    pub(crate) unapproved_bytes_max: i64,
    pub(crate) dead_letters: Room,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            schedule: Schedule::default(),
            unapproved_bytes_max: UNAPPROVED_BYTES_MAX,
            dead_letters: Room::default(),
        }
    }
}

pub(crate) struct Keeper {
    connection: Connection,
    shared: Arc<Shared>,
    jobs: Sender<Job>,
    requests: Requests,
    limits: Limits,
    /// The time as upkeep said it last. A clock that is wrong closes blocks too early, which only costs bytes.
    told_now_ms: i64,
    /// When the oldest reading of the tail came, and behind which position that is.
    oldest: Option<(i64, i64)>,
    /// Moves of the tail since blocks were last merged.
    moves: u32,
    groups: VecDeque<Group>,
    /// Whether a merge of this look has succeeded, so that looking again may find what it made.
    progressed: bool,
    round: Round,
    unapproved: Option<Unapproved>,
}

impl Keeper {
    pub(crate) fn new(
        connection: Connection,
        shared: Arc<Shared>,
        jobs: Sender<Job>,
        requests: Requests,
        limits: Limits,
    ) -> Self {
        Keeper {
            connection,
            shared,
            jobs,
            requests,
            limits,
            told_now_ms: i64::MIN,
            oldest: None,
            moves: 0,
            groups: VecDeque::new(),
            progressed: false,
            round: Round::default(),
            unapproved: None,
        }
    }

    /// Works until nobody can wake it any more.
    pub(crate) fn run(mut self, wake: &Receiver<()>) {
        while wake.recv().is_ok() {
            loop {
                match self.step() {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        // Readings stay in the tail, blocks as they are; the next wake-up tries again.
                        tracing::warn!(error = %error, "readings could not be put in order");
                        let Some(request) = self.requests.lock().pop_front() else {
                            break;
                        };
                        // Whoever asked has more to do than to wait for a fault that may last.
                        let _ = request.reply.send(Err(error));
                    }
                }
            }
        }
        for request in self.requests.lock().drain(..) {
            let _ = request.reply.send(Err(StoreError::Closed));
        }
    }

    /// Does the most urgent thing; answers whether there may be more.
    fn step(&mut self) -> Result<bool, StoreError> {
        if let Some(request) = self.requests.lock().front() {
            // Before anything else, so that what is due by it is done when the request is answered.
            self.told_now_ms = request.now_ms;
        }
        let tail = self.tail_state()?;
        let schedule = self.limits.schedule;
        let merges_are_due = !self.groups.is_empty() || self.moves >= MOVES_PER_MERGE;
        if !(merges_are_due && schedule.merges_first(&tail))
            && let Some(to) = schedule.due(&self.connection, &tail)?
        {
            let rewrite = compact::read(&self.connection, tail.compacted_to, to)?;
            self.write(rewrite)?;
            self.moves += 1;
            tracing::debug!(to, "readings moved to blocks");
            return Ok(true);
        }
        if self.make_room()? {
            return Ok(true);
        }
        if self.groups.is_empty() && self.moves >= MOVES_PER_MERGE {
            self.look_for_merges(tail.now_ms)?;
            if self.groups.is_empty() {
                // The tail had stood back for them.
                return Ok(true);
            }
        }
        if !self.groups.is_empty() {
            self.merge_some();
            if self.groups.is_empty() && self.progressed {
                self.look_for_merges(tail.now_ms)?;
            }
            std::thread::sleep(STEP_PAUSE);
            return Ok(true);
        }
        let request = {
            let mut requests = self.requests.lock();
            match requests.front() {
                // It came while this step was under way: what is due by its time has not been done yet.
                Some(request) if request.now_ms != self.told_now_ms => return Ok(true),
                _ => requests.pop_front(),
            }
        };
        match request {
            Some(request) => {
                let answer = self.expire(&request);
                // Whoever asked may have gone away.
                let _ = request.reply.send(answer);
                Ok(true)
            }
            None => Ok(false),
        }
    }

    fn tail_state(&mut self) -> Result<TailState, StoreError> {
        let (compacted_to, newest, newest_received_ms) = {
            let tail = self.shared.tail.read();
            (tail.compacted_to, tail.newest, tail.newest_received_ms)
        };
        if newest > compacted_to && self.oldest.is_none_or(|(after, _)| after != compacted_to) {
            self.oldest = compact::oldest_received_ms(&self.connection, compacted_to)?
                .map(|received_ms| (compacted_to, received_ms));
        }
        let now_ms = newest_received_ms.max(self.told_now_ms);
        Ok(TailState {
            compacted_to,
            newest,
            evaluated: self.shared.rules_position.load(Ordering::Acquire),
            oldest_received_ms: self.oldest.map_or(now_ms, |(_, received_ms)| received_ms),
            now_ms,
        })
    }

    fn look_for_merges(&mut self, now_ms: i64) -> Result<(), StoreError> {
        self.groups = merge::groups(&self.connection, now_ms)?.into();
        self.moves = 0;
        self.progressed = false;
        Ok(())
    }

    /// A group that cannot be read (a damaged block) is passed over, so that it does not hold up all others.
    fn merge_some(&mut self) {
        let mut rewrite = Rewrite::default();
        for _ in 0..GROUPS_PER_STEP {
            let Some(group) = self.groups.pop_front() else {
                break;
            };
            let mut of_group = Rewrite::default();
            match merge::merge(&self.connection, &group, &mut of_group) {
                Ok(()) => rewrite.append(of_group),
                Err(error) => {
                    tracing::warn!(error = %error, series = group.series.0, "blocks could not be merged");
                }
            }
        }
        if rewrite.is_empty() {
            return;
        }
        match self.write(rewrite) {
            Ok(()) => self.progressed = true,
            Err(error) => {
                self.groups.clear();
                tracing::warn!(error = %error, "merged blocks could not be written");
            }
        }
    }

    /// One step of retention. Its time is also when periods that are over get closed.
    fn expire(&mut self, request: &Request) -> Result<bool, StoreError> {
        if self.round.is_at_start() {
            let tail = self.tail_state()?;
            self.look_for_merges(tail.now_ms)?;
            if !self.groups.is_empty() {
                // First what is due to be closed, because only that can be dropped. Merging goes on before the next
                // request is looked at.
                self.round.begin();
                return Ok(true);
            }
        }
        let mut rewrite = Rewrite::default();
        let more = self.round.step(
            &self.connection,
            &request.retention,
            request.now_ms,
            self.shared.catalogue.series_count(),
            &mut rewrite,
        )?;
        if !rewrite.is_empty() {
            self.write(rewrite)?;
        }
        Ok(more)
    }

    /// Drops a step of what unapproved devices have too much; answers whether it did.
    fn make_room(&mut self) -> Result<bool, StoreError> {
        let unapproved = match &mut self.unapproved {
            Some(unapproved) => unapproved,
            none => none.insert(Unapproved::load(
                &self.connection,
                self.limits.unapproved_bytes_max,
            )?),
        };
        let mut rewrite = Rewrite::default();
        let readings =
            unapproved.make_room(&self.connection, &self.shared.catalogue, &mut rewrite)?;
        let bytes = unapproved.bytes();
        self.shared.unapproved_bytes.store(bytes, Ordering::Relaxed);
        if rewrite.is_empty() {
            return Ok(false);
        }
        self.write(rewrite)?;
        self.shared
            .unapproved_dropped
            .fetch_add(readings, Ordering::Relaxed);
        Ok(true)
    }

    /// Hands over to the writer and waits for its commit.
    fn write(&mut self, rewrite: Rewrite) -> Result<(), StoreError> {
        let unapproved = rewrite.unapproved();
        let (done, outcome) = sync_channel(1);
        self.jobs
            .send(Job::Rewrite {
                rewrite: Box::new(rewrite),
                done,
            })
            .map_err(|_| StoreError::Closed)?;
        outcome.recv().map_err(|_| StoreError::Closed)??;
        if let Some(known) = &mut self.unapproved {
            known.grow(&unapproved);
        }
        Ok(())
    }
}
