//! The document worker: one thread that owns every document in memory.
//!
//! Local edits and remote entries go through the same worker, one after the other, so that two edits of one document
//! can never mint the same sequence number. It does not wait for the disk: a batch is handed to the store's writer and
//! the next command is taken. What always holds:
//!
//! - an answer leaves after the commit of its batch, never before;
//! - a local edit goes in between while remote entries are worked off, unless it is about a document that they changed;
//! - a document whose batch is on its way to the disk stays in memory, so that the next edit builds on it;
//! - when a commit fails, everything in memory is forgotten and the store refuses what was built on it (its *epoch*), so
//!   that no entry ever follows one that was lost.

mod edits;
mod examine;
mod of_itself;
mod queue;
mod remote;
mod replay;
mod resident;
mod rows;
mod worker;

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use domain::{Author, FactKind, Kind, RecordId, Version};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::{RuleCursor, Store};
use sync_engine::{Lane, LogId, ObjectId, Seq, StoreFault, Stored, VerifiedRun};
use tokio::sync::oneshot;

use super::clock::Clock;
use super::error::AppError;
use super::present::RowView;
use super::types::IdempotencyKey;
use queue::{Class, Queue, Refused};
use resident::DocumentKey;

pub(in crate::app) use examine::{EntryChange, Examined, Verdict, state_word};
pub(in crate::app) use of_itself::{OfItself, health_in, raw_in, summary_in};
pub(in crate::app) use remote::{change_in, fact_write, judge_trust_entry};
pub(in crate::app) use replay::Replay;
pub(in crate::app) use rows::{ConflictDetail, OriginDetail};

/// Who writes a document's fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::app) enum By {
    /// A person: only writable fields, all checks.
    Person,
    /// The node itself: fields such as `raised_at` too.
    Node,
}

/// What a create does where the document is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::app) enum IfExists {
    /// Refuse.
    Refuse,
    /// Treat the fields as a patch of the current version (devices: one name is one document).
    Patch,
    /// Leave it as it is (rules: the effect was committed before a crash).
    Keep,
}

/// One step of an edit. All steps of a request are committed together or not at all.
#[derive(Debug, Clone)]
pub(in crate::app) enum Step {
    Create {
        kind: Kind,
        id: RecordId,
        fields: Map<String, Value>,
        by: By,
        if_exists: IfExists,
    },
    Patch {
        kind: Kind,
        id: RecordId,
        base: Option<Version>,
        fields: Map<String, Value>,
        by: By,
    },
    Resolve {
        kind: Kind,
        id: RecordId,
        /// The conflict that its author saw.
        conflict: String,
        field: String,
        value: Value,
        choices: Vec<Value>,
    },
    SetDeleted {
        kind: Kind,
        id: RecordId,
        base: Option<Version>,
        deleted: bool,
    },
    Fact {
        kind: FactKind,
        id: RecordId,
        bytes: Vec<u8>,
        about: Option<RecordId>,
    },
}

/// A request to change documents.
#[derive(Debug)]
pub(in crate::app) struct EditRequest {
    /// On whose behalf; `None` for the node.
    pub user: Option<[u8; 16]>,
    /// For the audit record: who, and what they did.
    pub actor: String,
    pub action: &'static str,
    pub steps: Vec<Step>,
    pub idempotency: Option<IdempotencyKey>,
    pub rule_cursor: Option<RuleCursor>,
}

impl EditRequest {
    /// Whether it changes one of these documents.
    fn touches(&self, documents: &BTreeSet<DocumentKey>) -> bool {
        self.steps.iter().any(|step| match step {
            Step::Create { kind, id, .. }
            | Step::Patch { kind, id, .. }
            | Step::Resolve { kind, id, .. }
            | Step::SetDeleted { kind, id, .. } => documents.contains(&(*kind, *id)),
            Step::Fact { .. } => false,
        })
    }
}

/// What a step left behind; also what is kept for a request that may be sent again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::app) struct Outcome {
    #[serde(with = "record_id")]
    pub id: RecordId,
    pub version: String,
    pub deleted: bool,
    pub row: RowView,
    /// It was there before the request.
    pub existed: bool,
}

/// Called after commits, in their order.
pub(in crate::app) trait Committed: Send + Sync + 'static {
    /// Documents that a device or rule registry may care about.
    fn document(&self, kind: Kind, id: RecordId, deleted: bool, row: &RowView);
    /// Heights up to which logs are applied have moved because a dependency came.
    fn applied(&self, items: Vec<(LogId, Seq)>);
}

/// What the worker needs from around it.
pub(in crate::app) struct Surroundings {
    pub store: Store,
    pub author: Author,
    pub node_id: String,
    pub clock: Clock,
    pub committed: Arc<dyn Committed>,
    /// Set when this node must not write; says why.
    pub writes_stopped: Arc<ArcSwapOption<String>>,
}

type Reply = oneshot::Sender<Result<Vec<Outcome>, AppError>>;

struct LocalCommand {
    request: EditRequest,
    reply: Reply,
}

/// What is not a request of a person or a rule.
enum RemoteCommand {
    Runs(IngestCommand),
    Examine(ExamineCommand),
}

struct ExamineCommand {
    objects: Vec<ObjectId>,
    reply: oneshot::Sender<Result<Vec<Examined>, AppError>>,
}

struct IngestCommand {
    lane: Lane,
    runs: Vec<VerifiedRun>,
    reply: oneshot::Sender<Result<Stored, StoreFault>>,
}

type Inbox = Queue<LocalCommand, RemoteCommand>;

/// The handle.
pub(in crate::app) struct DocumentService {
    inbox: Arc<Inbox>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl DocumentService {
    /// Starts the worker. Must be called inside a tokio runtime, which completes the commits.
    pub(in crate::app) fn start(surroundings: Surroundings) -> std::io::Result<Self> {
        let inbox = Arc::new(Inbox::new());
        let runtime = tokio::runtime::Handle::current();
        let worker = worker::Worker::new(surroundings, Arc::clone(&inbox), runtime);
        let thread = std::thread::Builder::new()
            .name("documents".into())
            .spawn(move || worker.run())?;
        Ok(DocumentService {
            inbox,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Carries out an edit; answers after its commit.
    pub(in crate::app) async fn edit(
        &self,
        request: EditRequest,
    ) -> Result<Vec<Outcome>, AppError> {
        let class = request
            .steps
            .iter()
            .map(|step| Class::of(step.lane()))
            .min();
        let (reply, answer) = oneshot::channel();
        self.inbox
            .push_local(
                class.unwrap_or(Class::Life),
                LocalCommand { request, reply },
            )
            .map_err(|refused| match refused {
                Refused::Full => AppError::Busy { retry_after_s: 2 },
                Refused::Closed => stopping(),
            })?;
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Judges, applies and stores remote runs; answers after the commit.
    pub(in crate::app) async fn ingest(
        &self,
        runs: Vec<VerifiedRun>,
    ) -> Result<Stored, StoreFault> {
        let Some(lane) = runs.iter().map(|run| run.log().lane).min() else {
            return Ok(Stored::default());
        };
        let (reply, answer) = oneshot::channel();
        self.inbox
            .push_remote(
                Class::of(lane),
                RemoteCommand::Runs(IngestCommand { lane, runs, reply }),
            )
            .map_err(|refused| StoreFault {
                detail: match refused {
                    Refused::Full => "too many batches wait for the document worker".into(),
                    Refused::Closed => "the node is stopping".into(),
                },
            })?;
        answer.await.unwrap_or_else(|_| {
            Err(StoreFault {
                detail: "the node is stopping".into(),
            })
        })
    }

    /// Looks at objects again from nothing but their entries, and puts right what was shown of them; answers after the
    /// commit, in the order asked.
    pub(in crate::app) async fn examine(
        &self,
        objects: &[ObjectId],
    ) -> Result<Vec<Examined>, AppError> {
        let mut examined = Vec::with_capacity(objects.len());
        for some in objects.chunks(examine::OBJECTS_AT_ONCE) {
            let (reply, answer) = oneshot::channel();
            let command = ExamineCommand {
                objects: some.to_vec(),
                reply,
            };
            self.inbox
                .push_remote(Class::Coordination, RemoteCommand::Examine(command))
                .map_err(|refused| match refused {
                    Refused::Full => AppError::Busy { retry_after_s: 2 },
                    Refused::Closed => stopping(),
                })?;
            examined.extend(answer.await.unwrap_or_else(|_| Err(stopping()))?);
        }
        Ok(examined)
    }

    /// Works off what is queued and ends the thread.
    pub(in crate::app) fn stop(&self) {
        self.inbox.close();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the document worker panicked");
        }
    }
}

/// Ids as people write them.
mod record_id {
    use domain::RecordId;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(id: &RecordId, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<RecordId, D::Error> {
        String::deserialize(from)?
            .parse()
            .map_err(de::Error::custom)
    }
}

fn stopping() -> AppError {
    AppError::Conflict("the node is stopping: send it again when it is back".into())
}

impl Step {
    fn lane(&self) -> Lane {
        let lane = match self {
            Step::Create { kind, .. }
            | Step::Patch { kind, .. }
            | Step::Resolve { kind, .. }
            | Step::SetDeleted { kind, .. } => kind.spec().lane,
            Step::Fact { kind, .. } => kind.lane(),
        };
        lane_of(lane)
    }
}

/// The engine's lane for a lane number of the schema.
fn lane_of(number: u8) -> Lane {
    Lane::ALL
        .into_iter()
        .find(|lane| *lane as u8 == number)
        .unwrap_or(Lane::Coordination)
}
