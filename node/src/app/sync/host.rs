//! The node as the sync engine's host: it loads and stores runs, compares, remembers, and lets others join.

use std::sync::Arc;

use parking_lot::Mutex;
use sync_engine::{
    DigestItems, Digests, GroupId, Lane, LogId, Mark, Mismatch, Name, NodeId, Place, ProgressItem,
    Seq, StoreFault, Stored, TrustRecord, VerifiedRun,
};
use sync_quic::{Host, JoinRefusal, JoinReply, JoinRequest, Loaded};

use crate::app::codec::DocumentCodec;
use crate::app::founding::trust_records;
use crate::app::{App, receipts};

/// The engine's way to the disk, and to whoever must hear of what it finds.
pub(super) struct NodeHost {
    app: Arc<App>,
    /// The mark kept last: many peers agree on one, and it may be large.
    last_mark: Mutex<Option<Arc<Mark>>>,
}

impl NodeHost {
    pub(super) fn new(app: Arc<App>) -> Self {
        NodeHost {
            app,
            last_mark: Mutex::default(),
        }
    }
}

impl Host for NodeHost {
    async fn load(&self, log: LogId, from: Seq, bytes_max: usize) -> Option<Loaded> {
        let loaded = self
            .app
            .read(move |reader| {
                let Some(run) = reader.load_run(&log, from, bytes_max)? else {
                    return Ok(None);
                };
                let named = reader.parents_of_run(&run, &DocumentCodec)?;
                Ok(Some(Loaded { run, named }))
            })
            .await;
        loaded.unwrap_or_else(|error| {
            tracing::error!(%error, %log.lane, "load a run");
            None
        })
    }

    async fn resolve(&self, places: Vec<Place>) -> Vec<(Place, Name)> {
        let names = self
            .app
            .read(move |reader| reader.names_at(&places, &DocumentCodec))
            .await;
        names.unwrap_or_else(|error| {
            tracing::error!(%error, "look up what a run refers to");
            Vec::new()
        })
    }

    async fn store(&self, from: NodeId, runs: Vec<VerifiedRun>) -> Result<Stored, StoreFault> {
        let records: Vec<TrustRecord> = runs
            .iter()
            .filter(|run| run.log().lane == Lane::Trust)
            .flat_map(trust_records)
            .collect();
        let moves = runs.iter().any(|run| receipts::is_about(run.log().lane));
        let stored = self.app.documents.ingest(runs).await.inspect_err(
            |error| tracing::error!(%error, peer = %from, "entries were not stored"),
        )?;
        self.app.learn(records);
        if moves {
            self.app.moved.note();
        }
        Ok(stored)
    }

    fn progress(&self, peer: NodeId, items: Vec<ProgressItem>, at_wall_ms: u64) {
        // Of what is not spoken of in receipts nobody asks who has it.
        let items: Vec<(LogId, Seq, Seq)> = items
            .into_iter()
            .filter(|item| receipts::is_about(item.log.lane))
            .map(|item| (item.log, item.stored, item.applied))
            .collect();
        self.app.store.record_progress(peer, &items, at_wall_ms);
    }

    fn keep_mark(&self, peer: NodeId, mark: &Mark) {
        let shared = {
            let mut last = self.last_mark.lock();
            match last.as_ref().filter(|last| last.hash == mark.hash) {
                Some(last) => Arc::clone(last),
                None => Arc::clone(last.insert(Arc::new(mark.clone()))),
            }
        };
        let now_ms = self.app.clock.wall_ms();
        self.app.store.keep_mark(peer, shared, now_ms);
    }

    async fn digests(&self, groups: Vec<GroupId>) -> Option<Digests> {
        let digests = self.app.proof_digests(groups).await;
        digests
            .inspect_err(|error| tracing::error!(%error, "digests for a peer"))
            .ok()
    }

    async fn digest_items(&self, group: GroupId, buckets: Vec<u8>) -> Option<DigestItems> {
        let items = self.app.proof_items(group, buckets).await;
        items
            .inspect_err(|error| tracing::error!(%error, "digests of objects for a peer"))
            .ok()
    }

    fn mismatch(&self, mismatch: Mismatch) {
        self.app.mismatches.note(mismatch);
    }

    fn own_log_longer(&self, log: LogId, ours: Seq, theirs: Seq, peer: NodeId) {
        let reason = format!(
            "node {} holds entries of this node that this node does not have (lane {}: {theirs} there, {ours} here). \
             This data directory was restored or copied. Nothing can be written here until that is settled; \
             reading and receiving go on",
            self.app.name_of(peer).unwrap_or_else(|| peer.to_string()),
            log.lane as u8,
        );
        tracing::error!("{reason}");
        self.app.writes_stopped.store(Some(Arc::new(reason)));
    }

    async fn join(&self, peer: NodeId, request: JoinRequest) -> Result<JoinReply, JoinRefusal> {
        self.app.let_join(peer, request).await
    }

    fn wall_ms(&self) -> u64 {
        self.app.clock.wall_ms()
    }
}

impl App {
    /// Takes trust records into the picture that requests are judged by.
    pub(super) fn learn(&self, records: Vec<TrustRecord>) {
        if records.is_empty() {
            return;
        }
        self.trust.rcu(|trust| {
            let mut trust = trust.as_ref().clone();
            for record in &records {
                // One that does not count was already refused by the engine.
                let _ = trust.insert(record.clone());
            }
            trust
        });
        // Somebody who joins should hear how far everybody is.
        self.moved.note();
    }
}
