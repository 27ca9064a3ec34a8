//! readings.db: what sensors say, in the order in which it came, and what could not be read.
//!
//! Always holds: a reading that was acknowledged is on the disk, once. New readings are appended to a plain table (the
//! tail), which memory mirrors; older ones move to blocks once the rules have seen them. Only this module knows which.

mod archive;
mod block;
mod blocks;
mod catalogue;
mod column;
mod compact;
mod dead_letters;
mod dedup;
mod devices;
mod due;
pub mod flags;
mod gaps;
mod inbox;
mod keeper;
mod load;
mod merge;
mod mqtt;
mod only_in_file;
mod query;
mod retention;
mod rollup;
mod tail;
mod types;
mod unapproved;
mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use parking_lot::{Mutex, RwLock};
use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

pub use self::archive::ArchivedDay;
pub use self::dead_letters::{DeadLetter, DeadLetterFailure, DeadLetterQuery, DeadLetterState};
pub use self::devices::{
    DeviceReport, DeviceText, DeviceWrites, NewText, OddClock, ReportedPlace, TimedPoint,
};
pub use self::due::DueQuarter;
pub use self::gaps::{Gap, gaps};
use self::inbox::Inbox;
use self::keeper::{Keeper, Limits, REQUESTS_MAX, Request, Requests};
pub use self::mqtt::{
    CommandRequest, CommandState, DeviceCommand, MqttAccount, MqttChange, MqttMessage,
    MqttOutgoing, MqttSession, MqttState, MqttWrite,
};
pub use self::retention::Retention;
pub use self::rollup::{Bucket, BucketPage, BucketWidth, QUARTER_MS};
pub use self::types::{
    CommittedReadings, Delivery, DeviceSeen, IngestBatch, Ingested, NAME_BYTES_MAX, NewDeadLetter,
    NewReading, Point, PointPage, SERIES_MAX, SERIES_OF_UNAPPROVED_MAX, SERIES_PER_DEVICE_MAX,
    SERIES_PER_UNAPPROVED_MAX, SenderId, SeriesId, SeriesInfo, SeriesKey, SeriesNames, SeriesOwner,
    SeriesQuery, SeriesRefused, SessionNo, StoredReading,
};
use self::writer::{Job, Reply, Shared, Writer};
use crate::checkpoint::Checkpointer;
use crate::error::{CommitError, Doing, StoreError, io};
use crate::migrate;
use crate::muster::batch::RuleCursor;
use crate::open::{OpenOptions, Role, Source};
use crate::pool::Pool;
use crate::ticket::{LocalJob, Ticket};

/// Points of one answer, whatever was asked for.
pub const POINTS_MAX: usize = 10_000;
/// SQLCipher's and SQLite's own; `open.rs` does not change it.
const PAGE_BYTES: u64 = 4_096;
/// What may wait for the writer, as [`IngestBatch::weight`] counts it: half a second of a flood of readings. Past it
/// batches are refused, and the publishers' PUBACKs with them.
pub const QUEUE_READINGS_MAX: usize = 65_536;

/// The largest batch that goes ahead of a backlog: what a sensor sends that woke up, or one message of a gateway.
pub const AHEAD_WEIGHT_MAX: usize = 64;

/// How a batch is queued for the writer; usually behind what is there.
#[derive(Default)]
pub struct Queueing {
    /// Ahead of others' backlog. Has an effect for small batches ([`AHEAD_WEIGHT_MAX`]) that change nothing that later
    /// changes build on, while nothing else of its sender is queued.
    pub ahead: bool,
    /// Who sends it: what is queued of one sender is stored in the order in which it was queued. `None`: nobody whose
    /// other batches matter.
    pub sender: Option<SenderId>,
    /// Dropped when the batch was answered, whether or not anybody still waits for the answer.
    pub hold: Option<Box<dyn Send>>,
}

/// The open file. Shared through [`crate::Store`].
pub struct Readings {
    shared: Arc<Shared>,
    jobs: Mutex<Option<Sender<Job>>>,
    wake_keeper: Mutex<Option<SyncSender<()>>>,
    requests: Requests,
    pool: Pool,
    checkpointer: Checkpointer,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Readings {
    pub(crate) fn open(
        source: &Source,
        options: &OpenOptions,
        rules: Option<&RuleCursor>,
    ) -> Result<Self, StoreError> {
        Self::open_with(source, options, rules, Limits::default())
    }

    fn open_with(
        source: &Source,
        options: &OpenOptions,
        rules: Option<&RuleCursor>,
        limits: Limits,
    ) -> Result<Self, StoreError> {
        let mut connection = source.open(Role::Writer)?;
        migrate::migrate(source, &mut connection, migrate::READINGS)?;
        let file_id = load::file_id(&connection)?;
        let (catalogue, tail, loaded) = load::load(&connection, limits.dead_letters)?;
        let rules_position = rules
            .filter(|cursor| cursor.file_id == file_id)
            .map_or(0, |cursor| cursor.position);
        let shared = Arc::new(Shared {
            file_id,
            catalogue,
            tail: RwLock::new(tail),
            hook: RwLock::new(None),
            queued: AtomicUsize::new(0),
            rules_position: AtomicI64::new(rules_position),
            unapproved_bytes: AtomicI64::new(0),
            unapproved_dropped: AtomicU64::new(0),
            dead_letters_dropped: AtomicU64::new(0),
            dead_letters_changed: watch::Sender::new(0),
        });
        let checkpointer = Checkpointer::start(source, "readings")?;
        let pool = Pool::open(source, options.readers.div_ceil(2))?;
        let (jobs, receiver) = channel();
        let (wake, woken) = sync_channel(1);
        let writer = Writer::new(
            connection,
            shared.clone(),
            checkpointer.handle(source),
            Inbox::new(receiver),
            source.wear,
            wake.clone(),
            loaded,
        );
        let requests = Requests::default();
        let keeper = Keeper::new(
            source.open(Role::Reader)?,
            shared.clone(),
            jobs.clone(),
            requests.clone(),
            limits,
        );
        let mut threads = Vec::new();
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(run)
                .map_err(io("start a thread for", &source.path))
        };
        threads.push(spawn("readings-writer", Box::new(move || writer.run()))?);
        threads.push(spawn(
            "readings-blocks",
            Box::new(move || keeper.run(&woken)),
        )?);
        // What was not put in order before the last end is not to wait for the next reading.
        let _ = wake.try_send(());
        Ok(Readings {
            shared,
            jobs: Mutex::new(Some(jobs)),
            wake_keeper: Mutex::new(Some(wake)),
            requests,
            pool,
            checkpointer,
            threads: Mutex::new(threads),
        })
    }

    /// Does what is queued, then stops.
    pub(crate) fn close(&self) {
        let Some(jobs) = self.jobs.lock().take() else {
            return;
        };
        self.wake_keeper.lock().take();
        // Whatever else is sent after this finds nobody, and is answered `Closed` by its dropped ticket.
        let _ = jobs.send(Job::Stop);
        for thread in self.threads.lock().drain(..) {
            let _ = thread.join();
        }
        self.checkpointer.stop();
    }

    /// The id of this file, which the rule cursor names.
    pub fn file_id(&self) -> [u8; 16] {
        self.shared.file_id
    }

    /// The number of a series, new ones included. Cheap; call it per reading. `now_ms` is used for a new device only.
    pub fn intern_series(
        &self,
        names: &SeriesNames<'_>,
        owner: SeriesOwner,
        now_ms: i64,
    ) -> Result<SeriesId, SeriesRefused> {
        self.shared.catalogue.intern_series(names, owner, now_ms)
    }

    /// The number of an MQTT client id, and whether it was known before; call it when a client connects.
    pub fn intern_session(&self, client_id: &str, now_ms: i64) -> (SessionNo, bool) {
        self.shared.catalogue.intern_session(client_id, now_ms)
    }

    /// Queues a batch. The ticket resolves after the SQL COMMIT that holds it; nothing may be acknowledged before.
    ///
    /// Errors: `DiskFull`, `Busy` (too much is queued), `Fault`: nothing of the batch is stored.
    pub fn ingest(&self, batch: IngestBatch) -> Ticket<Ingested, CommitError> {
        self.ingest_as(batch, Queueing::default())
    }

    /// The same, queued in another way.
    pub fn ingest_as(
        &self,
        batch: IngestBatch,
        queueing: Queueing,
    ) -> Ticket<Ingested, CommitError> {
        let (reply, receiver) = oneshot::channel();
        let ticket = Ticket::new(receiver);
        let weight = batch.weight();
        let before = self.shared.queued.fetch_add(weight, Ordering::Relaxed);
        if before > 0 && before + weight > QUEUE_READINGS_MAX {
            self.shared.queued.fetch_sub(weight, Ordering::Relaxed);
            let _ = reply.send(Err(CommitError::Busy { queue: "readings" }));
            return ticket;
        }
        // Later changes of what MQTT clients are promised build on earlier ones.
        let ahead = queueing.ahead && batch.mqtt.is_empty() && weight <= AHEAD_WEIGHT_MAX;
        self.send(Job::Ingest {
            batch: Box::new(batch),
            ahead,
            sender: queueing.sender,
            reply: Reply {
                answer: reply,
                hold: queueing.hold,
            },
        });
        ticket
    }

    /// Queues changes of what the MQTT endpoint promises. Never refused for a full queue: their number is bounded by the
    /// connections, and half of them make room.
    ///
    /// Errors: `DiskFull`, `Fault`: nothing of it is stored.
    pub fn write_mqtt(&self, changes: Vec<MqttChange>) -> Ticket<Ingested, CommitError> {
        // What its client sends next may not be stored before what ended the session that it had.
        let sender = changes.iter().find_map(MqttChange::session);
        let batch = IngestBatch {
            mqtt: changes.into_iter().map(MqttWrite::from).collect(),
            ..IngestBatch::default()
        };
        let (reply, receiver) = oneshot::channel();
        self.shared
            .queued
            .fetch_add(batch.weight(), Ordering::Relaxed);
        self.send(Job::Ingest {
            batch: Box::new(batch),
            ahead: false,
            sender: sender.map(SenderId::Session),
            reply: Reply {
                answer: reply,
                hold: None,
            },
        });
        Ticket::new(receiver)
    }

    /// What the MQTT endpoint has promised, for its start.
    pub fn mqtt_state(&self) -> Result<MqttState, StoreError> {
        self.pool.read(mqtt::load)
    }

    /// Client ids that must not be forgotten, however many others connect: those of live connections and of sessions
    /// that outlive them. The caller keeps them below the bound on client ids.
    pub fn pin_session(&self, session: SessionNo, pinned: bool) {
        self.shared.catalogue.pin_session(session, pinned);
    }

    /// Sends a job; when the writer is gone the job is dropped, and its ticket answers `Closed`.
    fn send(&self, job: Job) {
        if let Some(jobs) = &*self.jobs.lock() {
            let _ = jobs.send(job);
        }
    }

    fn local<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Ticket<T, StoreError> {
        let (job, ticket) = LocalJob::new(f);
        self.send(Job::Local(job));
        ticket
    }

    /// The same for what changes dead letters: followers hear of it once it is on the disk.
    fn on_dead_letters<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Ticket<T, StoreError> {
        let (LocalJob { run, done }, ticket) = LocalJob::new(f);
        let shared = self.shared.clone();
        let done = move |result: Result<(), StoreError>| {
            if result.is_ok() {
                shared.note_dead_letters();
            }
            done(result);
        };
        let done = Box::new(done);
        self.send(Job::Local(LocalJob { run, done }));
        ticket
    }

    /// Calls `hook` in the writer's thread after each SQL COMMIT with readings in it, in order, before tickets resolve.
    /// It must be quick and must not call the store: hand over to a bounded channel, and read what does not fit with
    /// [`Readings::readings_after`].
    pub fn set_hook(&self, hook: impl Fn(&CommittedReadings) + Send + Sync + 'static) {
        *self.shared.hook.write() = Some(Arc::new(hook));
    }

    /// To be called when a batch with a rule cursor is committed: what the rules have evaluated may move to blocks.
    pub(crate) fn rules_mark(&self) -> impl Fn(&RuleCursor) + Send + Sync + 'static {
        let shared = self.shared.clone();
        move |cursor| {
            if cursor.file_id == shared.file_id {
                shared
                    .rules_position
                    .fetch_max(cursor.position, Ordering::AcqRel);
            }
        }
    }

    /// The newest committed position.
    pub fn newest_position(&self) -> i64 {
        self.shared.tail.read().newest
    }

    /// Readings after a position in the order of arrival, at most `limit`. Positions below the rule cursor may be
    /// missing: they can have moved to blocks.
    pub fn readings_after(
        &self,
        position: i64,
        limit: usize,
    ) -> Result<Vec<StoredReading>, StoreError> {
        self.pool
            .read(|connection| query::after(connection, position, limit))
    }

    /// The newest `limit` (at most [`POINTS_MAX`]) readings of a series with `from_ms <= at <= to_ms`, oldest first.
    pub fn points(
        &self,
        series: SeriesId,
        from_ms: i64,
        to_ms: i64,
        limit: usize,
    ) -> Result<PointPage, StoreError> {
        query::points(
            &self.shared,
            &self.pool,
            series,
            (from_ms, to_ms),
            limit.min(POINTS_MAX),
        )
    }

    /// The newest `limit` (at most [`POINTS_MAX`]) buckets of a series that have part in `from_ms ..= to_ms`, oldest
    /// first, each whole. The newest acknowledged reading is in them; a time without readings has none.
    pub fn buckets(
        &self,
        series: SeriesId,
        width: BucketWidth,
        from_ms: i64,
        to_ms: i64,
        limit: usize,
    ) -> Result<BucketPage, StoreError> {
        rollup::buckets(
            &self.shared,
            &self.pool,
            series,
            width.kind(),
            (from_ms, to_ms),
            limit.min(POINTS_MAX),
        )
    }

    /// Does one step of putting what is old in order, and of dropping what is not kept; answers whether more is left.
    /// To be called now and then: it is also what tells the time when no readings come.
    pub fn expire_readings(&self, now_ms: i64, retention: Retention) -> Ticket<bool, StoreError> {
        let (reply, receiver) = oneshot::channel();
        let ticket = Ticket::new(receiver);
        let mut requests = self.requests.lock();
        if requests.len() >= REQUESTS_MAX {
            let _ = reply.send(Err(StoreError::Busy("steps of dropping old readings")));
            return ticket;
        }
        let wake_keeper = self.wake_keeper.lock();
        let Some(wake_keeper) = &*wake_keeper else {
            return ticket;
        };
        requests.push_back(Request {
            now_ms,
            retention,
            reply,
        });
        // Full means that it will look anyway.
        let _ = wake_keeper.try_send(());
        ticket
    }

    /// Writes the readings of a UTC day (counted from 1970) to a Parquet file, unless one is there that holds more of them;
    /// its columns stand in `archive.rs`. The file gets its name when it is whole and on the disk. Takes seconds for millions
    /// of readings: not for an async runtime's thread.
    pub fn archive_day(&self, day: i64, path: &Path) -> Result<ArchivedDay, StoreError> {
        archive::day(&self.shared, &self.pool, day, path)
    }

    /// When the oldest block of readings ends: nothing before its day is kept but in the tail. `None` while all readings
    /// are in the tail.
    pub fn oldest_block_ms(&self) -> Result<Option<i64>, StoreError> {
        let series_count = self.shared.catalogue.series_count();
        self.pool
            .read(|connection| blocks::oldest_readings_ms(connection, series_count))
    }

    /// Bytes of the file that hold something, and bytes that are free for what comes. The file itself never shrinks.
    pub fn file_bytes(&self) -> Result<(u64, u64), StoreError> {
        self.pool.read(|connection| {
            let number = |pragma: &str| -> Result<u64, StoreError> {
                let sql = format!("PRAGMA {pragma}");
                let number: i64 = connection
                    .query_row(&sql, [], |row| row.get(0))
                    .doing("ask for the size of readings.db")?;
                Ok(u64::try_from(number).unwrap_or(0))
            };
            let free = number("freelist_count")?;
            let all = number("page_count")?;
            Ok((all.saturating_sub(free) * PAGE_BYTES, free * PAGE_BYTES))
        })
    }

    /// What readings of unapproved devices take up in blocks, in bytes, and how many of them had to make room for others
    /// since this process began.
    pub fn unapproved(&self) -> (u64, u64) {
        let bytes = self.shared.unapproved_bytes.load(Ordering::Relaxed);
        let dropped = self.shared.unapproved_dropped.load(Ordering::Relaxed);
        (u64::try_from(bytes).unwrap_or(0), dropped)
    }

    /// Series in the order of their ids.
    pub fn series(&self, query: &SeriesQuery) -> Vec<SeriesInfo> {
        let q = query.q.as_ref().map(|q| q.to_lowercase());
        let mut found = Vec::new();
        let tail = self.shared.tail.read();
        self.shared
            .catalogue
            .each_series(query.after.map_or(0, |after| after.0), |id, names| {
                if found.len() >= query.limit {
                    return false;
                }
                let wanted = query
                    .device
                    .as_deref()
                    .is_none_or(|device| device == &*names.device)
                    && query
                        .channel
                        .as_deref()
                        .is_none_or(|channel| channel == &*names.channel)
                    && q.as_deref().is_none_or(|q| {
                        names.device.to_lowercase().contains(q)
                            || names.channel.to_lowercase().contains(q)
                    });
                if wanted {
                    found.push(info(&tail, id, names));
                }
                true
            });
        found
    }

    /// One series; `None` when there is none of that number.
    pub fn series_info(&self, id: SeriesId) -> Option<SeriesInfo> {
        let tail = self.shared.tail.read();
        self.shared
            .catalogue
            .with_names(id, |names| info(&tail, id, names))
    }

    /// The number that a series has here; `None` when it was never heard here.
    pub fn series_by_key(&self, key: &SeriesKey) -> Option<SeriesId> {
        self.shared.catalogue.by_key(key)
    }

    /// Quarters of an hour that were over at `before_ms` and have got readings of approved devices since they were given
    /// to [`Readings::summaries_said`] last, the newest first: all of the tail's, and at most `marks_max` of what left it.
    /// What is in the tail is among them each time, whether it was said or not.
    pub fn due_summaries(
        &self,
        before_ms: i64,
        marks_max: usize,
    ) -> Result<Vec<DueQuarter>, StoreError> {
        self.pool
            .read(|connection| due::find(connection, before_ms, marks_max))
    }

    /// Others have been told of these, or are not to be.
    pub fn summaries_said(&self, said: Vec<DueQuarter>) -> Ticket<(), StoreError> {
        self.local(move |connection| due::forget(connection, &said))
    }

    /// Readings that came and were stored, of all series, those that retention has dropped since included.
    pub fn count(&self) -> u64 {
        let tail = self.shared.tail.read();
        u64::try_from(tail.newest).unwrap_or(0)
    }

    /// Readings that are not in blocks yet. Grows while the rules lag behind, or when more comes than can be put in order.
    pub fn tail_len(&self) -> u64 {
        let tail = self.shared.tail.read();
        u64::try_from(tail.newest - tail.compacted_to).unwrap_or(0)
    }

    /// Every device that was heard here, by name.
    pub fn devices_seen(&self) -> Vec<DeviceSeen> {
        self.shared.catalogue.devices()
    }

    pub fn device_seen(&self, name: &str) -> Option<DeviceSeen> {
        self.shared.catalogue.device(name)
    }

    /// What every device said last of itself.
    pub fn device_reports(&self) -> Result<Vec<DeviceReport>, StoreError> {
        self.pool.read(devices::load_reports)
    }

    /// Texts of devices that are no facts yet, in the order in which they came.
    pub fn device_texts(&self) -> Result<Vec<DeviceText>, StoreError> {
        self.pool.read(devices::list_texts)
    }

    /// Those of one device.
    pub fn device_texts_of(&self, device: &str) -> Result<Vec<DeviceText>, StoreError> {
        self.pool
            .read(|connection| devices::list_texts_of(connection, device))
    }

    /// The ids of all texts that are no facts yet.
    pub fn device_text_ids(&self) -> Result<Vec<[u8; 16]>, StoreError> {
        self.pool.read(devices::text_ids)
    }

    /// One of them.
    pub fn device_text(&self, id: [u8; 16]) -> Result<Option<DeviceText>, StoreError> {
        self.pool.read(|connection| devices::text(connection, &id))
    }

    /// How many texts wait, by device.
    pub fn device_text_counts(&self) -> Result<Vec<(String, u64)>, StoreError> {
        self.pool.read(devices::text_counts)
    }

    /// A text has become a fact, on the disk.
    pub fn device_text_written(&self, id: [u8; 16]) -> Ticket<(), StoreError> {
        self.local(move |connection| devices::remove_text(connection, &id))
    }

    /// As [`Readings::points`], with all times of each reading; and whether there are more. Reads the file alone, and all
    /// of its tail: for a person who looks into a clock, not for charts.
    pub fn timed_points(
        &self,
        series: SeriesId,
        from_ms: i64,
        to_ms: i64,
        limit: usize,
    ) -> Result<(Vec<TimedPoint>, bool), StoreError> {
        let limit = limit.min(POINTS_MAX);
        self.pool
            .read(|connection| devices::timed_points(connection, series, (from_ms, to_ms), limit))
    }

    /// Drops one step of times that could not be true, of readings from before `before_ms`; answers whether more is left.
    pub fn expire_odd_clocks(&self, before_ms: i64) -> Ticket<bool, StoreError> {
        self.local(move |connection| devices::expire_clocks(connection, before_ms))
    }

    /// Dead letters, newest first.
    pub fn dead_letters(&self, query: &DeadLetterQuery) -> Result<Vec<DeadLetter>, StoreError> {
        self.pool
            .read(|connection| dead_letters::list(connection, query))
    }

    pub fn dead_letter(&self, id: i64) -> Result<Option<DeadLetter>, StoreError> {
        self.pool
            .read(|connection| dead_letters::get(connection, id))
    }

    /// How many had to make room for others since this process began.
    pub fn dead_letters_dropped(&self) -> u64 {
        self.shared.dead_letters_dropped.load(Ordering::Relaxed)
    }

    /// How many nobody has settled.
    pub fn dead_letters_open(&self) -> Result<u64, StoreError> {
        self.pool.read(dead_letters::open_count)
    }

    /// Moves with each commit that adds, settles or drops dead letters, and with each attempt that failed.
    pub fn dead_letter_changes(&self) -> watch::Receiver<u64> {
        self.shared.dead_letters_changed.subscribe()
    }

    /// Ids of what a query asks for, without the payloads.
    pub fn dead_letter_ids(&self, query: &DeadLetterQuery) -> Result<Vec<i64>, StoreError> {
        self.pool
            .read(|connection| dead_letters::ids(connection, query))
    }

    /// People gave them up: how many were still open.
    pub fn discard_dead_letters(&self, ids: Vec<i64>) -> Ticket<u64, StoreError> {
        self.on_dead_letters(move |connection| dead_letters::discard(connection, &ids))
    }

    /// Drops one step of dead letters that came before a time; answers whether more is left. (Their number is bounded as
    /// they come.)
    pub fn expire_dead_letters(&self, before_ms: i64) -> Ticket<bool, StoreError> {
        let (reply, receiver) = oneshot::channel();
        self.send(Job::ExpireDeadLetters { before_ms, reply });
        Ticket::new(receiver)
    }

    /// A replay was tried and failed, for that reason.
    pub fn dead_letter_failed(
        &self,
        id: i64,
        failure: DeadLetterFailure,
    ) -> Ticket<(), StoreError> {
        self.on_dead_letters(move |connection| dead_letters::mark_failed(connection, id, &failure))
    }

    /// Dead letters that are to be tried again by now.
    pub fn due_dead_letters(
        &self,
        now_ms: i64,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        self.pool
            .read(|connection| dead_letters::due(connection, now_ms, limit))
    }
}

fn info(tail: &tail::Tail, id: SeriesId, names: &catalogue::Names) -> SeriesInfo {
    let state = tail.series(id);
    SeriesInfo {
        id,
        key: names.key,
        device: names.device.clone(),
        channel: names.channel.clone(),
        unit: names.unit.clone(),
        count: state.map_or(0, |state| state.count),
        last: state.and_then(|state| state.last),
    }
}
