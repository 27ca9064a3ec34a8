//! What the engine asks of the program around it, on tasks of their own: the driver itself never waits for a disk.
//!
//! Always: an answer comes to everything that was asked, also when the host panics; stores of one lane run one after the
//! other, and one that was begun is let end at shutdown.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use sync_engine::{
    BatchId, DigestItems, Digests, GroupId, Input, Lane, LoadId, LogId, Name, NodeId, Place,
    ProofId, ResolveId, Seq, StoreFault, Stored, VerifiedRun,
};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::host::{Host, Loaded};
use crate::shared::Shared;

/// Answers of the host in front of the driver; whoever sends one may wait.
const DONE_MAX: usize = 256;

/// What the host's tasks tell the driver.
pub(super) enum Done {
    Loaded {
        load: LoadId,
        loaded: Option<Loaded>,
    },
    Resolved {
        resolve: ResolveId,
        names: Vec<(Place, Name)>,
    },
    Persisted {
        batch: BatchId,
        lane: Lane,
        result: Result<Stored, StoreFault>,
    },
    Digested {
        proof: ProofId,
        digests: Option<Digests>,
    },
    DigestedItems {
        proof: ProofId,
        items: Option<DigestItems>,
    },
}

impl Done {
    /// What the engine is told.
    pub(super) fn into_input(self) -> Input {
        match self {
            Self::Loaded { load, loaded } => {
                let (run, named) = match loaded {
                    Some(Loaded { run, named }) => (Some(run), named),
                    None => (None, Vec::new()),
                };
                Input::Loaded { load, run, named }
            }
            Self::Resolved { resolve, names } => Input::Resolved { resolve, names },
            Self::Persisted { batch, result, .. } => Input::Persisted { batch, result },
            Self::Digested { proof, digests } => Input::Digested { proof, digests },
            Self::DigestedItems { proof, items } => Input::DigestedItems { proof, items },
        }
    }

    /// Whether who may do what can be another than before.
    pub(super) fn may_change_trust(&self) -> bool {
        matches!(
            self,
            Self::Persisted {
                lane: Lane::Trust,
                ..
            }
        )
    }
}

struct StoreJob {
    batch: BatchId,
    lane: Lane,
    from: NodeId,
    runs: Vec<VerifiedRun>,
}

/// The way to the host.
pub(super) struct HostCalls<H> {
    host: Arc<H>,
    tasks: TaskTracker,
    done: mpsc::Sender<Done>,
    lanes: [mpsc::UnboundedSender<StoreJob>; Lane::ALL.len()],
}

impl<H: Host> HostCalls<H> {
    /// Starts the lanes' workers. The answers come out of the receiver.
    pub(super) fn start(shared: &Shared, host: Arc<H>) -> (Self, mpsc::Receiver<Done>) {
        let (done, answers) = mpsc::channel(DONE_MAX);
        let lanes = Lane::ALL.map(|_| spawn_lane_worker(shared, &host, &done));
        let tasks = shared.tasks.clone();
        let calls = Self {
            host,
            tasks,
            done,
            lanes,
        };
        (calls, answers)
    }

    /// For what is told to it, and not asked of it.
    pub(super) fn host(&self) -> &H {
        &self.host
    }

    pub(super) fn store(&self, batch: BatchId, from: NodeId, runs: Vec<VerifiedRun>) {
        let lane = runs.first().map_or(Lane::Trust, |run| run.log().lane);
        let job = StoreJob {
            batch,
            lane,
            from,
            runs,
        };
        // A worker is gone only at shutdown.
        let _ = self.lanes[lane as usize].send(job);
    }

    pub(super) fn load(&self, load: LoadId, log: LogId, from: Seq, bytes_max: usize) {
        let host = self.host.clone();
        self.ask(async move {
            let loaded = or_nothing(host.load(log, from, bytes_max)).await;
            Done::Loaded { load, loaded }
        });
    }

    pub(super) fn resolve(&self, resolve: ResolveId, places: Vec<Place>) {
        let host = self.host.clone();
        self.ask(async move {
            let names = or_nothing(host.resolve(places)).await;
            Done::Resolved { resolve, names }
        });
    }

    pub(super) fn digest(&self, proof: ProofId, groups: Vec<GroupId>) {
        let host = self.host.clone();
        self.ask(async move {
            let digests = or_nothing(host.digests(groups)).await;
            Done::Digested { proof, digests }
        });
    }

    pub(super) fn digest_items(&self, proof: ProofId, group: GroupId, buckets: Vec<u8>) {
        let host = self.host.clone();
        self.ask(async move {
            let items = or_nothing(host.digest_items(group, buckets)).await;
            Done::DigestedItems { proof, items }
        });
    }

    /// As many at a time as the engine asks for: loads and look-ups one per lane and peer, digests one per peer.
    fn ask(&self, answer: impl Future<Output = Done> + Send + 'static) {
        let done = self.done.clone();
        self.tasks.spawn(async move {
            let _ = done.send(answer.await).await;
        });
    }
}

/// A host that panics has nothing to say: the engine asks again, or goes another way.
async fn or_nothing<T: Default>(answer: impl Future<Output = T>) -> T {
    let answer = AssertUnwindSafe(answer).catch_unwind().await;
    answer.unwrap_or_default()
}

/// Stores of one lane run one after the other, whoever sent them, because each continues where the last ended. The
/// queue needs no bound of its own: the engine bounds the batches in flight.
fn spawn_lane_worker<H: Host>(
    shared: &Shared,
    host: &Arc<H>,
    done: &mpsc::Sender<Done>,
) -> mpsc::UnboundedSender<StoreJob> {
    let (jobs, mut queue) = mpsc::unbounded_channel::<StoreJob>();
    let (host, done, cancel) = (host.clone(), done.clone(), shared.cancel.clone());
    shared.tasks.spawn(async move {
        while let Some(StoreJob {
            batch,
            lane,
            from,
            runs,
        }) = queue.recv().await
        {
            // What was begun is ended; what was not need not begin: the peer has no acknowledgement.
            if cancel.is_cancelled() {
                return;
            }
            let stored = AssertUnwindSafe(host.store(from, runs))
                .catch_unwind()
                .await;
            // A lane goes on after a panic: the batch counts as refused, and the peer sends it again.
            let result = stored.unwrap_or_else(|_| {
                Err(StoreFault {
                    detail: "the store panicked".into(),
                })
            });
            let persisted = Done::Persisted {
                batch,
                lane,
                result,
            };
            if done.send(persisted).await.is_err() {
                return;
            }
        }
    });
    jobs
}
