//! The one writer of readings.db: groups what is queued into transactions, tells duplicates apart, answers after the
//! commit.
//!
//! Always holds: an answer means that everything of the batch is on the disk (or was there before); a failed transaction
//! leaves no trace, in the file or in memory, and the writer goes on with the next.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use rusqlite::{Connection, params};
use tokio::sync::{oneshot, watch};

use super::blocks::Rewrite;
use super::catalogue::Catalogue;
use super::dead_letters::DeadLetters;
use super::dedup::Deliveries;
use super::flags;
use super::inbox::Inbox;
use super::mqtt::{MqttChange, Unreleased};
use super::query;
use super::tail::Tail;
use super::types::{
    CommittedReadings, Delivery, IngestBatch, Ingested, NewReading, Point, SenderId, SeriesId,
    StoredReading,
};
use crate::checkpoint::Committing;
use crate::error::{CommitError, Doing, StoreError};
use crate::open::Wear;
use crate::ticket::{Done, LocalJob};

/// A transaction takes in whatever is queued for at most this long.
const GROUP_WORK_MAX: Duration = Duration::from_millis(5);
/// And at most this many readings, so that what the hook gets at once stays small.
const GROUP_READINGS_MAX: usize = 4_096;
/// Rows of the tail that are in blocks already are deleted in steps of this many, each in some commit, or of twice as
/// many as the commit stores, so that they do not pile up while large batches come.
const DELETE_STEP: i64 = 2_048;
/// While a step of deleting is due and nobody writes.
const IDLE_STEP_AFTER: Duration = Duration::from_millis(50);

pub(crate) type ReadingsHook = Arc<dyn Fn(&CommittedReadings) + Send + Sync>;

pub(crate) enum Job {
    Ingest {
        batch: Box<IngestBatch>,
        /// Before what has to stay in order.
        ahead: bool,
        /// Its batches stay in order among themselves.
        sender: Option<SenderId>,
        reply: Reply,
    },
    /// From the keeper.
    Rewrite {
        rewrite: Box<Rewrite>,
        done: std::sync::mpsc::SyncSender<Result<(), CommitError>>,
    },
    Local(LocalJob),
    /// One step of dropping dead letters that are too old, which the writer keeps count of.
    ExpireDeadLetters {
        before_ms: i64,
        reply: oneshot::Sender<Result<bool, StoreError>>,
    },
    Stop,
}

impl Job {
    pub(crate) fn sender(&self) -> Option<SenderId> {
        match self {
            Job::Ingest { sender, .. } => *sender,
            _ => None,
        }
    }

    pub(crate) fn goes_ahead(&self) -> bool {
        matches!(self, Job::Ingest { ahead: true, .. })
    }

    /// It goes ahead no longer.
    pub(crate) fn stay_in_order(&mut self) {
        if let Job::Ingest { ahead, .. } = self {
            *ahead = false;
        }
    }
}

/// Who waits for a batch.
pub(crate) struct Reply {
    pub(crate) answer: oneshot::Sender<Result<Ingested, CommitError>>,
    /// See [`super::Queueing::hold`].
    pub(crate) hold: Option<Box<dyn Send>>,
}

impl Reply {
    fn send(self, result: Result<Ingested, CommitError>) {
        // First, so that whoever hears the answer finds its place free.
        drop(self.hold);
        // A publisher that went away does not want to know.
        let _ = self.answer.send(result);
    }
}

/// What the writer, the handles and the keeper share.
pub(crate) struct Shared {
    pub(crate) file_id: [u8; 16],
    pub(crate) catalogue: Catalogue,
    pub(crate) tail: RwLock<Tail>,
    pub(crate) hook: RwLock<Option<ReadingsHook>>,
    /// Readings that wait in the queue.
    pub(crate) queued: AtomicUsize,
    /// The rules have evaluated everything up to this position.
    pub(crate) rules_position: AtomicI64,
    /// What blocks of unapproved devices take up.
    pub(crate) unapproved_bytes: AtomicI64,
    /// Readings of unapproved devices that had to make room for others of theirs.
    pub(crate) unapproved_dropped: AtomicU64,
    /// Dead letters that had to make room for others.
    pub(crate) dead_letters_dropped: AtomicU64,
    /// Counts the commits that changed the list of dead letters.
    pub(crate) dead_letters_changed: watch::Sender<u64>,
}

impl Shared {
    /// After the commit.
    pub(crate) fn note_dead_letters(&self) {
        self.dead_letters_changed
            .send_modify(|commits| *commits += 1);
    }
}

enum Answer {
    Ingest {
        reply: Reply,
        ingested: Ingested,
    },
    Local {
        done: Box<Done>,
        result: Result<(), StoreError>,
    },
}

pub(crate) struct Writer {
    connection: Connection,
    shared: Arc<Shared>,
    committing: Committing,
    inbox: Inbox,
    wear: Wear,
    committed_at: Instant,
    wake_keeper: std::sync::mpsc::SyncSender<()>,
    deliveries: Deliveries,
    unreleased: Unreleased,
    dead_letters: DeadLetters,
    /// Per series the greatest device time stored: what is newer needs no look-up. Series n stands at index n - 1.
    last_device_time: Vec<i64>,
    /// (series, what it was) of the open transaction.
    undo_times: Vec<(usize, i64)>,
    position: i64,
    compacted_to: i64,
    /// Rows of `reading` up to this are gone.
    deleted_to: i64,
    devices_written: Instant,
    devices_dirty: bool,
    /// The last transaction: nothing is put off any more.
    closing: bool,
}

/// The open transaction.
#[derive(Default)]
struct Group {
    readings: Vec<StoredReading>,
    /// Values with device times of this transaction, for duplicates within it.
    values: HashMap<(SeriesId, i64), Vec<u64>>,
    answers: Vec<Answer>,
}

impl Writer {
    pub(crate) fn new(
        connection: Connection,
        shared: Arc<Shared>,
        committing: Committing,
        inbox: Inbox,
        wear: Wear,
        wake_keeper: std::sync::mpsc::SyncSender<()>,
        loaded: super::load::Loaded,
    ) -> Self {
        Writer {
            connection,
            shared,
            committing,
            inbox,
            wear,
            committed_at: Instant::now(),
            wake_keeper,
            deliveries: loaded.deliveries,
            unreleased: loaded.unreleased,
            dead_letters: loaded.dead_letters,
            last_device_time: loaded.last_device_time,
            undo_times: Vec::new(),
            position: loaded.position,
            compacted_to: loaded.compacted_to,
            deleted_to: loaded.deleted_to,
            devices_written: Instant::now(),
            devices_dirty: false,
            closing: false,
        }
    }

    /// Works until it is told to stop; what was queued before that is done.
    pub(crate) fn run(mut self) {
        loop {
            let pause = self.pause();
            match self.inbox.first(pause) {
                Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(job) => {
                    self.gather_behind(&job);
                    if self.take(job) {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.group(None);
                }
            }
        }
        if self.devices_dirty || self.shared.catalogue.has_news() {
            self.closing = true;
            self.group(None);
        }
    }

    /// Where writing wears the disk: waits for more readings to be committed with these. Whatever else comes ends the
    /// wait, because somebody waits for it.
    fn gather_behind(&mut self, first: &Job) {
        let until = self.committed_at + self.wear.gather;
        if until <= Instant::now() {
            return;
        }
        let mut readings = 0;
        let mut is_enough = |job: &Job| match job {
            Job::Ingest { batch, .. } => {
                readings += batch.weight();
                readings >= GROUP_READINGS_MAX
            }
            _ => true,
        };
        if !is_enough(first) {
            self.inbox.gather(until, is_enough);
        }
    }

    /// How long to wait for a job before doing what else is due.
    fn pause(&self) -> Option<Duration> {
        if self.deleted_to < self.compacted_to {
            Some(IDLE_STEP_AFTER)
        } else if self.devices_dirty {
            Some(
                self.wear
                    .seen_every
                    .saturating_sub(self.devices_written.elapsed()),
            )
        } else {
            None
        }
    }

    /// Does a job and what is queued behind it; answers whether to stop.
    fn take(&mut self, job: Job) -> bool {
        match job {
            Job::Stop => true,
            Job::Rewrite { rewrite, done } => {
                let result = self.rewrite(&rewrite);
                let _ = done.send(result);
                self.committing.committed(&self.connection);
                false
            }
            job => match self.group(Some(job)) {
                None => false,
                Some(left) => self.take(left),
            },
        }
    }

    /// One SQL transaction. Answers a job that it met and that cannot be part of it.
    fn group(&mut self, first: Option<Job>) -> Option<Job> {
        let started = Instant::now();
        let mut group = Group::default();
        let mut left = None;
        let (mut readings_ahead, mut only_ahead) = (0, true);
        let before = self.position;
        let mut result = self
            .connection
            .execute_batch("BEGIN IMMEDIATE")
            .map_err(CommitError::from);
        let mut next = first;
        while let Some(job) = next {
            only_ahead &= job.goes_ahead();
            match job {
                Job::Ingest {
                    batch,
                    ahead,
                    reply,
                    ..
                } => {
                    if ahead {
                        readings_ahead += batch.weight();
                    }
                    self.shared
                        .queued
                        .fetch_sub(batch.weight(), Ordering::Relaxed);
                    self.ingest(&batch, reply, &mut group, &mut result);
                }
                Job::Local(LocalJob { run, done }) => {
                    let outcome = match &result {
                        Ok(()) => run(&self.connection),
                        Err(error) => Err(error.clone().into()),
                    };
                    group.answers.push(Answer::Local {
                        done,
                        result: outcome,
                    });
                }
                Job::ExpireDeadLetters { before_ms, reply } => {
                    let expired = match &result {
                        Ok(()) => self.dead_letters.expire(&self.connection, before_ms),
                        Err(error) => Err(error.clone().into()),
                    };
                    let (more, outcome) = match expired {
                        Ok(more) => (more, Ok(())),
                        Err(error) => (true, Err(error)),
                    };
                    group.answers.push(Answer::Local {
                        done: Box::new(move |result: Result<(), StoreError>| {
                            // Whoever asked may have gone away.
                            let _ = reply.send(result.map(|()| more));
                        }),
                        result: outcome,
                    });
                }
                other => {
                    left = Some(other);
                    break;
                }
            }
            let full =
                group.readings.len() >= GROUP_READINGS_MAX || started.elapsed() >= GROUP_WORK_MAX;
            let may_go_ahead = readings_ahead < GROUP_READINGS_MAX / 2
                && (readings_ahead == 0 || started.elapsed() < GROUP_WORK_MAX / 2);
            next = if full || result.is_err() {
                self.inbox.is_full(only_ahead);
                None
            } else {
                self.inbox.next(may_go_ahead)
            };
        }
        let result = result.and_then(|()| self.commit(group.readings.len()));
        match result {
            Ok(()) => self.settle(group),
            Err(error) => self.undo(group, before, &error),
        }
        left
    }

    /// Stores a batch in the open transaction. A fault of the database ends the transaction for all in it.
    fn ingest(
        &mut self,
        batch: &IngestBatch,
        reply: Reply,
        group: &mut Group,
        result: &mut Result<(), CommitError>,
    ) {
        if let Err(error) = self.check(batch) {
            reply.send(Err(error));
            return;
        }
        let mut ingested = Ingested {
            first_position: self.position + 1,
            ..Ingested::default()
        };
        if result.is_ok() {
            *result = self.store(batch, group, &mut ingested);
        }
        ingested.last_position = self.position;
        group.answers.push(Answer::Ingest { reply, ingested });
    }

    /// Refuses what would otherwise fail in the middle of a transaction that others are part of.
    fn check(&self, batch: &IngestBatch) -> Result<(), CommitError> {
        let series_count = self.shared.catalogue.series_count();
        let known = batch
            .readings
            .iter()
            .all(|reading| (1..=series_count).contains(&reading.series.0));
        let finite = batch
            .readings
            .iter()
            .all(|reading| reading.value.is_finite());
        let messages = batch.messages.len();
        let named =
            |message: Option<u32>| message.is_none_or(|number| (number as usize) < messages);
        let linked = batch.readings.iter().all(|reading| named(reading.message))
            && batch.dead.iter().all(|dead| named(dead.message))
            && batch.mqtt.iter().all(|write| named(write.message))
            && batch.devices.texts.iter().all(|new| named(new.message));
        match (known, finite, linked) {
            (true, true, true) => Ok(()),
            (false, ..) => Err(CommitError::fault("a reading of an unknown series")),
            (_, false, _) => Err(CommitError::fault("a reading that is no finite number")),
            _ => Err(CommitError::fault(
                "a reading of a message that is not in the batch",
            )),
        }
    }

    fn store(
        &mut self,
        batch: &IngestBatch,
        group: &mut Group,
        ingested: &mut Ingested,
    ) -> Result<(), CommitError> {
        if let Some(id) = batch.replayed {
            if !super::dead_letters::mark_replayed(&self.connection, id)? {
                ingested.settled_before = true;
                return Ok(());
            }
            self.dead_letters.note_change();
        }
        let came_already = self.came_already(batch, ingested)?;
        let mut noted = vec![false; batch.messages.len()];
        let mut odd_clocks = batch.devices.odd_clocks.iter().peekable();
        for (index, reading) in (0u32..).zip(&batch.readings) {
            let odd_clock = odd_clocks.next_if(|odd| odd.reading == index);
            let message = reading.message.map(|number| number as usize);
            if message.is_some_and(|number| came_already[number]) {
                ingested.duplicates += 1;
                continue;
            }
            let delivery = message.map(|number| &batch.messages[number]);
            let mut flags = reading.flags & !(flags::CONTRADICTS | flags::DEVICE_TIME);
            if delivery.is_some_and(|delivery| delivery.redelivered) {
                flags |= flags::REDELIVERED;
            }
            if reading.device_time {
                flags |= flags::DEVICE_TIME;
                match self.at_that_time(reading, group)? {
                    Known::Nothing => {}
                    Known::Same => {
                        ingested.duplicates += 1;
                        continue;
                    }
                    Known::Other => {
                        flags |= flags::CONTRADICTS;
                        ingested.contradictions += 1;
                    }
                }
                group
                    .values
                    .entry((reading.series, reading.at_ms))
                    .or_default()
                    .push(reading.value.to_bits());
            }
            self.position += 1;
            let stored = StoredReading {
                position: self.position,
                series: reading.series,
                at_ms: reading.at_ms,
                received_ms: reading.received_ms,
                value: reading.value,
                flags,
            };
            let remembered = delivery.filter(|delivery| !delivery.exactly_once);
            insert(&self.connection, &stored, remembered)?;
            if let Some(odd) = odd_clock {
                super::devices::insert_clock(&self.connection, &stored, odd.device_ms)?;
            }
            if let (Some(number), Some(delivery)) = (message, remembered) {
                self.deliveries.note(delivery, self.position);
                noted[number] = true;
            }
            group.readings.push(stored);
            ingested.stored += 1;
        }
        for dead in &batch.dead {
            let message = dead.message.map(|number| number as usize);
            if message.is_some_and(|number| came_already[number]) {
                ingested.duplicates += 1;
                continue;
            }
            let delivery = message
                .map(|number| &batch.messages[number])
                .filter(|delivery| !delivery.exactly_once);
            let is_new =
                self.dead_letters
                    .insert(&self.connection, dead, delivery, self.position)?;
            if !is_new {
                ingested.duplicates += 1;
                continue;
            }
            if let (Some(number), Some(delivery)) = (message, delivery)
                && !noted[number]
            {
                self.deliveries.note(delivery, self.position);
            }
            ingested.dead_letters += 1;
        }
        for new in &batch.devices.texts {
            let message = new.message.map(|number| number as usize);
            if message.is_some_and(|number| came_already[number]) {
                ingested.duplicates += 1;
                continue;
            }
            super::devices::insert_text(&self.connection, &new.text)?;
            if let Some(number) = message
                && !batch.messages[number].exactly_once
                && !noted[number]
            {
                let delivery = &batch.messages[number];
                self.deliveries
                    .note_kept(&self.connection, delivery, self.position)?;
            }
        }
        for report in &batch.devices.reports {
            super::devices::write_report(&self.connection, report)?;
        }
        for (session, packet_id) in &batch.released {
            self.unreleased
                .release(&self.connection, *session, *packet_id)?;
        }
        for write in &batch.mqtt {
            if write
                .message
                .is_some_and(|number| came_already[number as usize])
            {
                continue;
            }
            if let MqttChange::SessionFresh { session } = &write.change {
                self.unreleased.clear(*session);
            }
            super::mqtt::apply(&self.connection, &write.change)?;
        }
        Ok(())
    }

    /// Which messages of the batch came already; takes the packet ids of those that come exactly once.
    fn came_already(
        &mut self,
        batch: &IngestBatch,
        ingested: &mut Ingested,
    ) -> Result<Vec<bool>, CommitError> {
        let mut came_already = Vec::with_capacity(batch.messages.len());
        for (number, delivery) in (0u32..).zip(&batch.messages) {
            let repeated = if delivery.exactly_once {
                self.unreleased
                    .take(&self.connection, delivery.session, delivery.packet_id)?
            } else {
                self.deliveries.came_already(delivery)
            };
            if repeated {
                ingested.repeated.push(number);
            }
            came_already.push(repeated);
        }
        Ok(came_already)
    }

    /// What is stored of this series with the device time of `reading`. Samples that carry no time of their own are
    /// never duplicates of one another, nor of one that does.
    fn at_that_time(&mut self, reading: &NewReading, group: &Group) -> Result<Known, CommitError> {
        let index = (reading.series.0 as usize).saturating_sub(1);
        if index >= self.last_device_time.len() {
            self.last_device_time.resize(index + 1, i64::MIN);
        }
        let last = self.last_device_time[index];
        if reading.at_ms > last {
            self.undo_times.push((index, last));
            self.last_device_time[index] = reading.at_ms;
            return Ok(Known::Nothing);
        }
        let mut known = Known::Nothing;
        let value = reading.value.to_bits();
        let of_group = group
            .values
            .get(&(reading.series, reading.at_ms))
            .map_or(&[][..], Vec::as_slice);
        for other in of_group {
            known = known.and(*other == value);
        }
        let at = (reading.at_ms, reading.at_ms);
        let (only_in_file, blocks_last_at) = {
            let tail = self.shared.tail.read();
            let series = tail.series(reading.series);
            for other in series
                .into_iter()
                .flat_map(|series| series.values_at(reading.at_ms))
            {
                known = known.and(other.to_bits() == value);
            }
            (
                tail.only_in_file(reading.series, at),
                series.and_then(|series| series.blocks_last_at),
            )
        };
        if known == Known::Same {
            return Ok(known);
        }
        let mut points = Vec::new();
        let rows = query::not_in_blocks(&only_in_file, self.compacted_to);
        query::unmirrored(&self.connection, reading.series, rows, at, |point| {
            points.push(point);
        })
        .map_err(|error| CommitError::fault(error.to_string()))?;
        if blocks_last_at.is_some_and(|last| last >= reading.at_ms) {
            let in_blocks = query::block_points(&self.connection, reading.series, at, usize::MAX);
            points.extend(in_blocks.map_err(|error| CommitError::fault(error.to_string()))?);
        }
        let with_time = |point: &&Point| point.flags & flags::DEVICE_TIME != 0;
        for point in points.iter().filter(with_time) {
            known = known.and(point.value.to_bits() == value);
        }
        Ok(known)
    }

    /// Commits a transaction with so many new readings.
    fn commit(&mut self, stored: usize) -> Result<(), CommitError> {
        let devices_too = self.closing || self.devices_written.elapsed() >= self.wear.seen_every;
        let written = self.shared.catalogue.write(&self.connection, devices_too)?;
        let step = DELETE_STEP.max(2 * stored as i64);
        let delete_to = self.compacted_to.min(self.deleted_to + step);
        let rest = || -> Result<(), rusqlite::Error> {
            if delete_to > self.deleted_to {
                self.connection
                    .prepare_cached("DELETE FROM reading WHERE position <= ?1")?
                    .execute([delete_to])?;
            }
            self.connection.execute_batch("COMMIT")
        };
        if let Err(error) = rest() {
            self.shared.catalogue.give_back(written);
            return Err(error.into());
        }
        self.shared.catalogue.settle(&written);
        self.deliveries.forget(&written.forgotten);
        self.unreleased.forget(&written.forgotten);
        self.committed_at = Instant::now();
        self.deleted_to = self.deleted_to.max(delete_to);
        if devices_too {
            self.devices_written = Instant::now();
            self.devices_dirty = false;
        }
        Ok(())
    }

    /// The transaction is on the disk: readers see it, the hook hears it, everyone is answered.
    fn settle(&mut self, group: Group) {
        self.undo_times.clear();
        self.deliveries.commit();
        self.unreleased.commit();
        self.shared
            .dead_letters_dropped
            .store(self.dead_letters.commit(), Ordering::Relaxed);
        if self.dead_letters.take_change() {
            self.shared.note_dead_letters();
        }
        if let (Some(first), Some(last)) = (group.readings.first(), group.readings.last()) {
            let (first_position, last_position) = (first.position, last.position);
            {
                let mut tail = self.shared.tail.write();
                group.readings.iter().for_each(|reading| tail.push(reading));
                tail.bound();
            }
            self.shared.catalogue.touch(
                group
                    .readings
                    .iter()
                    .map(|reading| (reading.series, reading.received_ms)),
            );
            self.devices_dirty = true;
            let hook = self.shared.hook.read().clone();
            if let Some(hook) = hook {
                hook(&CommittedReadings {
                    file_id: self.shared.file_id,
                    first_position,
                    last_position,
                    readings: group.readings.into(),
                });
            }
            // Full means that the keeper has been told already.
            let _ = self.wake_keeper.try_send(());
        }
        for answer in group.answers {
            match answer {
                Answer::Ingest { reply, ingested } => reply.send(Ok(ingested)),
                Answer::Local { done, result } => done(result),
            }
        }
        self.committing.committed(&self.connection);
    }

    fn undo(&mut self, group: Group, before: i64, error: &CommitError) {
        if !self.connection.is_autocommit() {
            // The next BEGIN would meet the same error again, and says so then.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        tracing::error!(error = %error, readings = group.readings.len(), "transaction on readings.db failed");
        self.position = before;
        while let Some((index, last)) = self.undo_times.pop() {
            self.last_device_time[index] = last;
        }
        self.deliveries.roll_back();
        self.unreleased.roll_back();
        self.dead_letters.roll_back();
        for answer in group.answers {
            match answer {
                Answer::Ingest { reply, .. } => reply.send(Err(error.clone())),
                Answer::Local { done, result } => done(result.and(Err(error.clone().into()))),
            }
        }
    }

    /// Puts blocks in the place of readings or of other blocks, or takes them out. Rows of the tail that are in blocks are
    /// deleted later, step by step.
    fn rewrite(&mut self, rewrite: &Rewrite) -> Result<(), CommitError> {
        let write = |writer: &mut Self| -> Result<(), CommitError> {
            writer.connection.execute_batch("BEGIN IMMEDIATE")?;
            rewrite.apply(&writer.connection)?;
            if let Some(moved) = &rewrite.moved {
                writer.deliveries.keep(&writer.connection, &moved.keys)?;
            }
            Ok(writer.connection.execute_batch("COMMIT")?)
        };
        if let Err(error) = write(self) {
            if !self.connection.is_autocommit() {
                let _ = self.connection.execute_batch("ROLLBACK");
            }
            return Err(error);
        }
        if let Some(moved) = &rewrite.moved {
            self.compacted_to = moved.to;
            let mut tail = self.shared.tail.write();
            for grown in &moved.grown {
                let series = tail.series_mut(grown.series);
                series.blocks_last_at = series.blocks_last_at.max(Some(grown.last.at_ms));
            }
            tail.forget_compacted(moved.to);
        }
        Ok(())
    }
}

/// What is known about a time of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Nothing,
    Same,
    Other,
}

impl Known {
    fn and(self, same: bool) -> Self {
        if same || self == Known::Same {
            Known::Same
        } else {
            Known::Other
        }
    }
}

fn insert(
    connection: &Connection,
    reading: &StoredReading,
    delivery: Option<&Delivery>,
) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached(
            "INSERT INTO reading (position, series, at_ms, received_ms, value, flags, session, packet, hash) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            reading.position,
            reading.series.0,
            reading.at_ms,
            reading.received_ms,
            reading.value,
            reading.flags,
            delivery.map(|delivery| delivery.session.0),
            delivery.map(|delivery| delivery.packet_id),
            delivery.map(|delivery| delivery.payload_hash.cast_signed())
        ])?;
    Ok(())
}

/// Reads the small values of `meta`.
pub(crate) fn meta_i64(connection: &Connection, name: &str) -> Result<Option<i64>, StoreError> {
    use rusqlite::OptionalExtension;
    let bytes: Option<[u8; 8]> = connection
        .query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| {
            crate::sql::blob(row, 0)
        })
        .optional()
        .doing("read meta")?;
    Ok(bytes.map(i64::from_le_bytes))
}
