//! muster.db: the log, its views, and this node's own memory of people's work.
//!
//! Always holds: one thread writes; readers see whole commits only.

mod apply;
pub(crate) mod batch;
pub(crate) mod conflicts;
pub(crate) mod events;
pub(crate) mod examine;
pub(crate) mod faults;
pub(crate) mod health;
pub(crate) mod identity;
pub(crate) mod inspect;
pub(crate) mod journal;
pub(crate) mod log;
mod marks;
pub(crate) mod progress;
pub(crate) mod queries;
mod queue;
pub(crate) mod raw;
pub(crate) mod rebuild;
mod receipts;
mod references;
mod rows;
pub(crate) mod sessions;
mod state;
pub(crate) mod summaries;
pub(crate) mod upkeep;
mod writer;

use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use rusqlite::Connection;
use sync_engine::{
    Frontier, GroupId, Head, Incarnation, Lane, LogId, Mark, Name, NodeId, ObjectId, PayloadCodec,
    Place, ProgressItem, Run, Seq,
};
use tokio::sync::oneshot;

use self::batch::{Batch, CommitNo, Committed};
use self::identity::Identity;
use self::rebuild::{RebuildCommit, RebuildStep};
use self::writer::{Job, Shared, Writer};
use crate::checkpoint::Checkpointer;
use crate::error::{CommitError, StoreError, io};
use crate::migrate;
use crate::open::{OpenOptions, Role, Source};
use crate::pool::Pool;
use crate::readings::{BucketPage, BucketWidth, SeriesKey};
use crate::ticket::{LocalJob, Ticket};

pub(crate) use self::writer::CommitHook;

/// The open file.
pub(crate) struct Muster {
    shared: Arc<Shared>,
    pool: Pool,
    checkpointer: Checkpointer,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Muster {
    pub(crate) fn open(source: &Source, options: &OpenOptions) -> Result<Self, StoreError> {
        let mut connection = source.open(Role::Writer)?;
        migrate::migrate(source, &mut connection, migrate::MUSTER)?;
        migrate::ensure_views(source, &mut connection)?;
        let checkpointer = Checkpointer::start(source, "muster")?;
        let shared = Arc::new(Shared::new());
        let writer = Writer::new(connection, shared.clone(), checkpointer.handle(source))?;
        let pool = Pool::open(source, options.readers)?;
        let thread = std::thread::Builder::new()
            .name("muster-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(io("start the writer of", &source.path))?;
        Ok(Muster {
            shared,
            pool,
            checkpointer,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Does what is queued, then stops.
    pub(crate) fn close(&self) {
        self.shared.queue.close();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
            self.checkpointer.stop();
        }
    }

    pub(crate) fn set_hook(&self, hook: CommitHook) {
        *self.shared.hook.write() = Some(hook);
    }

    /// Tells `hook` of each rule cursor that is on the disk.
    pub(crate) fn set_cursor_hook(
        &self,
        hook: impl Fn(&batch::RuleCursor) + Send + Sync + 'static,
    ) {
        *self.shared.cursor_hook.write() = Some(Arc::new(hook));
    }

    pub(crate) fn commit(&self, batch: Batch) -> Ticket<Committed, CommitError> {
        let (reply, ticket) = oneshot::channel();
        let search = batch.documents.iter().map(rows::search_text).collect();
        let (urgency, epoch, weight) = (batch.urgency, batch.epoch, batch.weight());
        let job = Job::Batch {
            batch: Box::new(batch),
            search,
            weight_bytes: weight,
            reply,
        };
        if let Err((Job::Batch { reply, .. }, error)) =
            self.shared.queue.push(urgency, epoch, weight, job)
        {
            let _ = reply.send(Err(error));
        }
        Ticket::new(ticket)
    }

    pub(crate) fn queued(&self) -> usize {
        self.shared.queue.len()
    }

    pub(crate) fn read<T>(
        &self,
        f: impl FnOnce(&Reader<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.pool.read(|connection| f(&Reader { connection }))
    }

    /// Runs a small write of local state in the writer's next transaction.
    pub(crate) fn local<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Ticket<T, StoreError> {
        let (job, ticket) = LocalJob::new(f);
        self.shared.push_local(job);
        ticket
    }

    pub(crate) fn put_identity(&self, identity: Identity) -> Ticket<(), StoreError> {
        self.control(|reply| Job::Identity {
            identity: Box::new(identity),
            reply,
        })
    }

    pub(crate) fn rebuild(&self, step: RebuildStep) -> Ticket<(), StoreError> {
        self.control(|reply| Job::Rebuild { step, reply })
    }

    fn control(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<(), StoreError>>) -> Job,
    ) -> Ticket<(), StoreError> {
        let (reply, ticket) = oneshot::channel();
        // Ahead of everything: what is queued after it must find it done.
        let refused = self.shared.queue.push_control(job(reply));
        if let Err((Job::Identity { reply, .. } | Job::Rebuild { reply, .. }, error)) = refused {
            let _ = reply.send(Err(error.into()));
        }
        Ticket::new(ticket)
    }

    pub(crate) fn record_progress(
        &self,
        peer: NodeId,
        items: &[(LogId, Seq, Seq)],
        at_wall_ms: u64,
    ) {
        if let Some(due) = self.shared.progress.note(peer, items, at_wall_ms) {
            self.shared.queue.set_alarm(due);
        }
    }

    /// See [`crate::Store::keep_mark`].
    pub(crate) fn keep_mark(&self, peer: NodeId, mark: Arc<Mark>, at_wall_ms: u64) {
        // Nobody waits for it: what is lost with a power cut costs one greeting at length.
        drop(self.local(move |connection| marks::keep(connection, &peer, &mark, at_wall_ms)));
    }

    /// See [`crate::Store::prune_history`].
    pub(crate) fn prune_history(&self, keep_from: CommitNo) -> Ticket<bool, StoreError> {
        self.local(move |connection| upkeep::prune_history(connection, keep_from))
    }

    /// See [`crate::Store::prune_audit`].
    pub(crate) fn prune_audit(&self, before_wall_ms: u64) -> Ticket<bool, StoreError> {
        self.local(move |connection| upkeep::prune_audit(connection, before_wall_ms))
    }

    /// See [`crate::Store::expire`].
    pub(crate) fn expire(&self, now_wall_ms: u64) -> Ticket<bool, StoreError> {
        use crate::error::Doing;
        self.local(move |connection| upkeep::expire(connection, now_wall_ms).doing("expire"))
    }
}

/// One snapshot of muster.db. Short-lived: it holds one of few connections.
pub struct Reader<'a> {
    connection: &'a Connection,
}

impl Reader<'_> {
    /// Documents of a kind, newest first.
    pub fn list_documents(
        &self,
        query: &queries::DocumentQuery,
    ) -> Result<Vec<queries::DocumentRow>, StoreError> {
        queries::documents(self.connection, query)
    }

    /// One document, deleted ones too, now or as of a commit.
    pub fn get_document(
        &self,
        kind: Option<u16>,
        id: &ObjectId,
        at_commit: Option<CommitNo>,
    ) -> Result<Option<queries::DocumentRow>, StoreError> {
        queries::document(self.connection, kind, id, at_commit)
    }

    /// Kind and number of documents that are not deleted.
    pub fn count_by_kind(&self) -> Result<Vec<(u16, u64)>, StoreError> {
        queries::count_by_kind(self.connection)
    }

    /// Facts of a kind, newest first.
    pub fn list_facts(
        &self,
        query: &queries::FactQuery,
    ) -> Result<Vec<queries::FactRow>, StoreError> {
        queries::facts(self.connection, query)
    }

    pub fn get_fact(&self, id: &ObjectId) -> Result<Option<queries::FactRow>, StoreError> {
        queries::fact(self.connection, id)
    }

    /// The facts whose ids begin with the same bytes, by id: what several authors wrote down of one thing.
    pub fn facts_beside(
        &self,
        id: &ObjectId,
        shared_bytes: usize,
    ) -> Result<Vec<queries::FactRow>, StoreError> {
        queries::facts_beside(self.connection, id, shared_bytes)
    }

    /// The commit that was the newest when this node's clock showed `wall_ms`; 0 before the first.
    pub fn commit_at(&self, wall_ms: u64) -> Result<CommitNo, StoreError> {
        journal::commit_at(self.connection, wall_ms)
    }

    /// The newest commit of this snapshot: what a list may be continued from with `changed_after`.
    pub fn newest_commit(&self) -> Result<CommitNo, StoreError> {
        journal::newest_commit(self.connection)
    }

    /// Snapshot, later entries, and what waits or is quarantined, of one document.
    pub fn load_document(&self, id: &ObjectId) -> Result<log::LoadedDocument, StoreError> {
        log::load_document(self.connection, id)
    }

    /// The applied entries of an object in the order of their application: its history.
    pub fn entries_of_object(&self, id: &ObjectId) -> Result<Vec<log::StoredEntry>, StoreError> {
        log::entries_of_object(self.connection, id)
    }

    pub fn entry(&self, log: &LogId, seq: Seq) -> Result<Option<log::StoredEntry>, StoreError> {
        log::entry(self.connection, log, seq)
    }

    /// A run from `from` on; `bytes_max` is a wish, see [`sync_engine::RunBuilder`].
    pub fn load_run(
        &self,
        log: &LogId,
        from: Seq,
        bytes_max: usize,
    ) -> Result<Option<Run>, StoreError> {
        log::load_run(self.connection, log, from, bytes_max)
    }

    /// Where the entries stand that payloads of a run build on, outside of the run, as far as they were applied here
    /// shortly before.
    pub fn parents_of_run(
        &self,
        run: &Run,
        codec: &dyn PayloadCodec,
    ) -> Result<Vec<(Name, Place)>, StoreError> {
        references::parents_of_run(self.connection, run, codec)
    }

    /// What other payloads call those at these places. Places without one that is ever named are left out.
    pub fn names_at(
        &self,
        places: &[Place],
        codec: &dyn PayloadCodec,
    ) -> Result<Vec<(Place, Name)>, StoreError> {
        references::names_at(self.connection, places, codec)
    }

    pub fn frontier(&self) -> Result<Frontier, StoreError> {
        log::frontier(self.connection)
    }

    /// Per log the highest sequence up to which everything is applied or quarantined.
    pub fn applied_heights(&self) -> Result<Vec<(LogId, Seq)>, StoreError> {
        log::applied_heights(self.connection)
    }

    /// Every entry that is stored and not applied: it waits, or is held back by a local fault.
    pub fn unapplied_entries(&self) -> Result<Vec<(LogId, Seq)>, StoreError> {
        log::unapplied_entries(self.connection)
    }

    /// Heads of the logs of one author's incarnation.
    pub fn heads_of(
        &self,
        author: &NodeId,
        incarnation: Incarnation,
    ) -> Result<Vec<(LogId, Head)>, StoreError> {
        log::heads_of(self.connection, author, incarnation)
    }

    /// Entries of the trust lane in the order in which they were stored here.
    pub fn trust_records(&self) -> Result<Vec<log::StoredEntry>, StoreError> {
        log::trust_records(self.connection)
    }

    /// Documents, then facts, of a group in the order of their ids, lanes 0 to 3.
    pub fn digest_items(
        &self,
        group: &GroupId,
        each: impl FnMut(log::DigestItem<'_>),
    ) -> Result<(), StoreError> {
        log::digest_items(self.connection, group, each)
    }

    pub fn unapplied(&self) -> Result<log::UnappliedCounts, StoreError> {
        log::unapplied(self.connection)
    }

    /// Quarantined and held entries, newest first; `before` is the last item of the page before.
    pub fn quarantine(
        &self,
        before: Option<(CommitNo, LogId, Seq)>,
        limit: usize,
    ) -> Result<Vec<log::QuarantinedEntry>, StoreError> {
        log::quarantine(self.connection, before, limit)
    }

    /// Outbox events after a position. `None`: too old or never given by this node, read the lists again.
    pub fn events_since(
        &self,
        position: i64,
        limit: usize,
    ) -> Result<Option<Vec<events::Event>>, StoreError> {
        events::since(self.connection, position, limit)
    }

    pub fn newest_event(&self) -> Result<i64, StoreError> {
        events::newest(self.connection)
    }

    pub fn conflicts(
        &self,
        query: &conflicts::ConflictQuery,
    ) -> Result<Vec<conflicts::ConflictRow>, StoreError> {
        conflicts::conflicts(self.connection, query)
    }

    pub fn conflict(&self, id: &str) -> Result<Option<conflicts::ConflictRow>, StoreError> {
        conflicts::conflict(self.connection, id)
    }

    /// Audit records, newest first; `before` is the `no` of the last item of the page before.
    pub fn audit(
        &self,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<conflicts::AuditRow>, StoreError> {
        conflicts::audit(self.connection, before, limit)
    }

    /// The answer remembered for a request, for 7 days.
    pub fn idempotency(
        &self,
        scope: &str,
        key: &str,
        now_wall_ms: u64,
    ) -> Result<Option<batch::IdempotencyWrite>, StoreError> {
        conflicts::idempotency(self.connection, scope, key, now_wall_ms)
    }

    pub fn rule_cursor(&self) -> Result<Option<batch::RuleCursor>, StoreError> {
        conflicts::rule_cursor(self.connection)
    }

    /// Which nodes but `me` have all entries of a document or fact, in the order of their ids.
    pub fn seen_by(
        &self,
        object: &ObjectId,
        me: &NodeId,
    ) -> Result<Vec<progress::SeenBy>, StoreError> {
        progress::seen_by(self.connection, object, me)
    }

    /// For each of `nodes` what it is not known to have stored of a group, by acknowledgements and receipts.
    pub fn lacking(
        &self,
        nodes: &[NodeId],
        group: &GroupId,
    ) -> Result<Vec<progress::Lacking>, StoreError> {
        progress::lacking(self.connection, nodes, group)
    }

    /// The logs of others, in these lanes of a group, of which there is more here than the receipts of this node, `me`,
    /// have said (see [`batch::Batch::receipt_said`]).
    pub fn unsaid(
        &self,
        me: &NodeId,
        group: &GroupId,
        lanes: &[Lane],
    ) -> Result<Vec<ProgressItem>, StoreError> {
        receipts::unsaid(self.connection, me, group, lanes)
    }

    /// What nodes but `me` said last of a device, those that heard it last first, at most `limit`.
    pub fn health_of(
        &self,
        device: &str,
        me: &NodeId,
        limit: usize,
    ) -> Result<Vec<health::HealthSaid>, StoreError> {
        health::of_device(self.connection, device, me, limit)
    }

    /// What a node said last of each device that it spoke of, what it said longest ago first.
    pub fn health_said_by(&self, node: &NodeId) -> Result<Vec<health::HealthSaid>, StoreError> {
        health::said_by(self.connection, node)
    }

    /// What a node has said of quarters, each of a series and by its start.
    pub fn said_quarters(
        &self,
        node: &NodeId,
        quarters: &[(SeriesKey, i64)],
    ) -> Result<Vec<summaries::QuarterSaid>, StoreError> {
        summaries::said(self.connection, node, quarters)
    }

    /// Series that nodes have said something of, in the order in which this node heard of them, after a number.
    pub fn heard_series(
        &self,
        after: i64,
        limit: usize,
    ) -> Result<Vec<summaries::HeardSeries>, StoreError> {
        summaries::series(self.connection, after, limit)
    }

    /// One of them.
    pub fn heard_series_by_key(
        &self,
        key: &SeriesKey,
    ) -> Result<Option<summaries::HeardSeries>, StoreError> {
        summaries::series_by_key(self.connection, key)
    }

    /// Which nodes but `me` said that they heard a series up to `until_ms`, those that heard most first, at most `limit`.
    /// What they said of later times is not shown, but counted.
    pub fn heard_by(
        &self,
        key: &SeriesKey,
        me: &NodeId,
        until_ms: i64,
        limit: usize,
    ) -> Result<Vec<summaries::HeardBy>, StoreError> {
        summaries::heard_by(self.connection, key, me, until_ms, limit)
    }

    /// The newest `limit` quarters or hours that a node said of a series and that have part in `from_ms ..= to_ms`,
    /// oldest first.
    ///
    /// # Errors
    /// `Refused` for minutes, which nobody says.
    pub fn buckets_said(
        &self,
        node: &NodeId,
        key: &SeriesKey,
        width: BucketWidth,
        range_ms: (i64, i64),
        limit: usize,
    ) -> Result<BucketPage, StoreError> {
        summaries::buckets(self.connection, node, key, width, range_ms, limit)
    }

    /// The newest entries with readings that a node gave of a series from `from_ms` to `to_ms`, until they have
    /// `readings_max` readings.
    pub fn raw_entries(
        &self,
        node: &NodeId,
        key: &SeriesKey,
        range_ms: (i64, i64),
        readings_max: u64,
    ) -> Result<raw::RawPage, StoreError> {
        raw::entries(self.connection, node, key, range_ms, readings_max)
    }

    /// Journal commits after `after`, until `entries_max` entries; empty at the end.
    pub fn journal_after(
        &self,
        after: CommitNo,
        entries_max: usize,
    ) -> Result<Vec<journal::JournalCommit>, StoreError> {
        journal::after(self.connection, after, entries_max)
    }

    pub fn identity(&self) -> Result<Option<Identity>, StoreError> {
        identity::get(self.connection)
    }

    pub fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        identity::setting(self.connection, name)
    }

    /// A session by its token's hash; whether it has expired is for the caller, who knows the time.
    pub fn session(
        &self,
        token_hash: &[u8; 32],
    ) -> Result<Option<sessions::SessionRecord>, StoreError> {
        sessions::get(self.connection, token_hash)
    }

    /// BLAKE3 over all rows of all views: equal before and after a rebuild.
    pub fn views_fingerprint(&self) -> Result<[u8; 32], StoreError> {
        rebuild::fingerprint(self.connection)
    }

    /// Whether the views do not show all of the log (a program with other views opened the file).
    pub fn rebuild_needed(&self) -> Result<bool, StoreError> {
        Ok(migrate::meta(self.connection, migrate::META_REBUILD_NEEDED)?.unwrap_or(0) != 0)
    }
}

/// A rebuild in progress. Dropping it without [`Rebuild::finish`] leaves the old views.
pub struct Rebuild<'a> {
    muster: &'a Muster,
    ended: bool,
}

impl<'a> Rebuild<'a> {
    pub(crate) fn begin(muster: &'a Muster) -> Result<Self, StoreError> {
        muster.rebuild(RebuildStep::Begin).wait()?;
        Ok(Rebuild {
            muster,
            ended: false,
        })
    }

    /// Writes what the replay of these commits gave, in order.
    ///
    /// # Errors
    /// Ends the rebuild; the old views stay.
    pub fn write(&mut self, commits: Vec<RebuildCommit>) -> Result<(), StoreError> {
        let result = self.muster.rebuild(RebuildStep::Commits(commits)).wait();
        self.ended = result.is_err();
        result
    }

    /// The new views take the place of the old ones.
    pub fn finish(mut self) -> Result<(), StoreError> {
        self.ended = true;
        self.muster.rebuild(RebuildStep::Finish).wait()
    }
}

impl Drop for Rebuild<'_> {
    fn drop(&mut self) {
        if !self.ended {
            drop(self.muster.rebuild(RebuildStep::Abandon));
        }
    }
}
