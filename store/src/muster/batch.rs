//! What a caller hands to the writer of muster.db, and what it gets back.
//!
//! Always holds: a [`Batch`] is one commit number and happens whole or not at all; its entries are numbered, chained and
//! signed by the writer, in the order local, runs, released.

use sync_engine::{
    GroupId, Head, Lane, LogId, NodeId, ObjectId, ProgressItem, Run, Seq, VerifiedRun,
};

use super::rebuild::RebuildCommit;
use super::sessions::SessionWrite;
use crate::readings::Bucket;

/// A local commit number, from 1. Also the order of arrival on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CommitNo(pub i64);

/// What became of an entry when it was judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    Applied,
    /// Valid so far; these change hashes have not arrived. Stored and acknowledged.
    Waiting {
        missing: Vec<[u8; 32]>,
    },
    /// Judged invalid: the same verdict on every node. Kept with its bytes.
    Quarantined {
        reason: String,
    },
    /// This node could not apply it; no verdict. Kept, relayed, reported.
    Held {
        fault: String,
    },
}

/// A new entry of one of this node's own logs.
#[derive(Debug, Clone)]
pub struct LocalEntry {
    pub group: GroupId,
    pub lane: Lane,
    /// The encoded entry, as it is hashed and travels.
    pub bytes: Vec<u8>,
    pub kind: u16,
    pub object: ObjectId,
    pub disposition: Disposition,
}

/// What the writer must know about an entry of a run, without decoding it.
#[derive(Debug, Clone)]
pub struct RunEntry {
    pub kind: u16,
    pub object: ObjectId,
    pub disposition: Disposition,
}

/// A verified run from a peer. Entries that are stored already are skipped; a gap is a fault.
#[derive(Debug)]
pub struct RunWrite {
    pub run: VerifiedRun,
    /// One per entry of the run, in its order.
    pub entries: Vec<RunEntry>,
}

/// The new state of a document, as of this batch.
#[derive(Debug, Clone)]
pub struct DocumentWrite {
    pub id: ObjectId,
    pub kind: u16,
    pub group: GroupId,
    pub lane: Lane,
    /// What the API calls the version.
    pub version: String,
    /// The encoded heads; opaque here, compared in digests.
    pub heads: Vec<u8>,
    /// The saved document with everything applied up to and including this batch. `None`: the log alone moved, and a
    /// loader takes the last snapshot plus the entries applied after it.
    pub snapshot: Option<Vec<u8>>,
    /// JSON, what the API shows without overlays.
    pub view: String,
    pub deleted: bool,
    pub title: String,
    /// Values a list can be filtered by. Several of one name are allowed (a set).
    pub facets: Vec<(&'static str, String)>,
    /// Latitude and longitude in WGS 84 degrees.
    pub location: Option<(f64, f64)>,
    pub created_wall_ms: u64,
    pub updated_wall_ms: u64,
}

/// A new fact. Where several entries claim one id, the store keeps the one with the smallest chain hash: the same on
/// every node, whatever arrived first.
#[derive(Debug, Clone)]
pub struct FactWrite {
    pub id: ObjectId,
    pub kind: u16,
    /// Its entry among the runs, or those released, of this batch; `None`: the local one whose object is `id`.
    pub entry: Option<(LogId, Seq)>,
    pub view: String,
    pub about: Option<ObjectId>,
    pub created_wall_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConflictState {
    Open,
    Resolved,
    /// Another conflict took its place: the row goes.
    Superseded,
}

#[derive(Debug, Clone)]
pub struct ConflictWrite {
    pub id: String,
    pub kind: String,
    pub object: ObjectId,
    pub object_kind: u16,
    pub field: String,
    pub state: ConflictState,
    /// JSON.
    pub detail: String,
}

#[derive(Debug, Clone)]
pub struct AuditWrite {
    pub at_wall_ms: u64,
    pub actor: String,
    pub action: String,
    pub kind: Option<u16>,
    pub object: Option<ObjectId>,
    pub detail: String,
}

/// The answer that a repeated request must get again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyWrite {
    /// User, method and path.
    pub scope: String,
    pub key: String,
    pub body_hash: [u8; 32],
    pub status: u16,
    pub answer: Vec<u8>,
    pub at_wall_ms: u64,
}

/// What another node says in a receipt that this batch stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptWrite {
    /// Who says it, of itself.
    pub node: NodeId,
    /// When, by its own clock.
    pub at_wall_ms: u64,
    /// How far it has come. What it says of its own logs, or of places that no log can have, is passed over.
    pub items: Vec<ProgressItem>,
}

/// What a node, this one or another, says in an entry that it heard of its sensors.
#[derive(Debug, Clone, PartialEq)]
pub struct SummaryWrite {
    /// Its entry among the runs of this batch; `None`: a local one.
    pub entry: Option<(LogId, Seq)>,
    /// Who says it.
    pub node: NodeId,
    pub series: Vec<SeriesSummary>,
}

/// What a node, this one or another, says in an entry of the devices that it hears.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthWrite {
    /// Its entry among the runs of this batch; `None`: a local one.
    pub entry: Option<(LogId, Seq)>,
    /// Who says it.
    pub node: NodeId,
    /// When, by its own clock; this and all times of it in milliseconds since 1970.
    pub at_ms: i64,
    pub devices: Vec<DeviceHealth>,
}

/// What a node knows of a device. What is said later takes the place of all that was said before.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DeviceHealth {
    pub device: String,
    pub heard_ms: Option<i64>,
    pub battery_pct: Option<SaidAt<f64>>,
    pub rssi_dbm: Option<SaidAt<f64>>,
    /// Whether it is there, where its author knows.
    pub online: Option<bool>,
    pub firmware: Option<SaidAt<String>>,
}

/// A value with the time from which it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SaidAt<T> {
    pub value: T,
    pub at_ms: i64,
}

/// An entry that holds the readings of a quarter of an hour of one series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawWrite {
    pub place: EntryPlace,
    /// Who says it.
    pub node: NodeId,
    pub device: String,
    pub channel: String,
    pub unit: String,
    pub start_ms: i64,
    pub count: u64,
}

/// Where an entry of a batch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryPlace {
    /// Among those of the runs, or stored before.
    Log(LogId, Seq),
    /// Among the local ones, by its index.
    Local(usize),
}

/// What was heard of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesSummary {
    pub device: String,
    pub channel: String,
    /// UCUM; empty where none was said.
    pub unit: String,
    /// Quarters of an hour. What is said of one later takes the place of what was said before.
    pub quarters: Vec<Bucket>,
}

/// The views of one object, written anew from what the journal says of it: for an object whose rows were found wrong.
#[derive(Debug, Clone)]
pub struct RewrittenViews {
    pub object: ObjectId,
    /// As a rebuild would give them, in the order of the commits; none: there is no such object.
    pub commits: Vec<RebuildCommit>,
}

/// How far the rules have come in the readings file of that id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleCursor {
    pub file_id: [u8; 16],
    pub position: i64,
    pub evaluated: Evaluated,
    pub state: Vec<u8>,
}

/// Which readings of a file the rules have evaluated, so that it can be shown that each was evaluated exactly once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Evaluated {
    pub readings: u64,
    /// Made of their positions in the order of evaluation: one left out, taken twice or out of turn gives another number.
    pub sequence: u64,
}

impl Evaluated {
    /// One more. What it does to `sequence` is the same in every version: it goes on in a file that an older one began.
    pub fn note(&mut self, position: i64) {
        self.readings += 1;
        let next = self.sequence ^ position.cast_unsigned();
        // 2⁶⁴ divided by the golden ratio, made odd: a bijection, so that a difference never vanishes by itself.
        self.sequence = next.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
}

/// One atomic change of muster.db.
#[derive(Debug)]
pub struct Batch {
    /// The lane whose queue the batch waits in: life-safety first.
    pub urgency: Lane,
    /// Batches of one epoch stand or fall from the first failure on: after it, all of this epoch or a smaller one are
    /// refused until a higher one comes. 0 takes no part.
    pub epoch: u64,
    pub arrival_wall_ms: u64,
    pub local: Vec<LocalEntry>,
    pub runs: Vec<RunWrite>,
    /// Entries stored earlier whose state changes now.
    pub released: Vec<(LogId, Seq, Disposition)>,
    /// Objects whose views are dropped and written anew before `documents`, `facts` and `conflicts` are.
    pub rewritten: Vec<RewrittenViews>,
    pub documents: Vec<DocumentWrite>,
    pub facts: Vec<FactWrite>,
    pub conflicts: Vec<ConflictWrite>,
    pub audit: Vec<AuditWrite>,
    pub idempotency: Option<IdempotencyWrite>,
    pub rule_cursor: Option<RuleCursor>,
    /// `None` deletes.
    pub settings: Vec<(String, Option<Vec<u8>>)>,
    pub sessions: Vec<SessionWrite>,
    pub summaries: Vec<SummaryWrite>,
    pub health: Vec<HealthWrite>,
    pub raw: Vec<RawWrite>,
    pub receipts: Vec<ReceiptWrite>,
    /// What this node's own receipts in `local` say.
    pub receipt_said: Vec<ProgressItem>,
}

impl Batch {
    /// An empty batch.
    pub fn new(urgency: Lane, arrival_wall_ms: u64) -> Self {
        Batch {
            urgency,
            epoch: 0,
            arrival_wall_ms,
            local: Vec::new(),
            runs: Vec::new(),
            released: Vec::new(),
            rewritten: Vec::new(),
            documents: Vec::new(),
            facts: Vec::new(),
            conflicts: Vec::new(),
            audit: Vec::new(),
            idempotency: None,
            rule_cursor: None,
            settings: Vec::new(),
            sessions: Vec::new(),
            summaries: Vec::new(),
            health: Vec::new(),
            raw: Vec::new(),
            receipts: Vec::new(),
            receipt_said: Vec::new(),
        }
    }

    /// About how much memory it holds while it waits.
    pub(crate) fn weight(&self) -> usize {
        const FIXED_BYTES: usize = 512;
        let local: usize = self.local.iter().map(|entry| entry.bytes.len() + 128).sum();
        let runs: usize = self
            .runs
            .iter()
            .flat_map(|run| run.run.entries())
            .map(|entry| entry.bytes.len() + 256)
            .sum();
        let rewritten = self.rewritten.iter().flat_map(|views| &views.commits);
        let documents: usize = rewritten
            .flat_map(|commit| &commit.documents)
            .chain(&self.documents)
            .map(|document| {
                document.view.len() + document.snapshot.as_ref().map_or(0, Vec::len) + 512
            })
            .sum();
        let facts: usize = self.facts.iter().map(|fact| fact.view.len() + 128).sum();
        let cursor = self
            .rule_cursor
            .as_ref()
            .map_or(0, |cursor| cursor.state.len());
        let receipts: usize = self
            .receipts
            .iter()
            .map(|receipt| receipt.items.len() * size_of::<ProgressItem>() + 64)
            .sum();
        let summaries: usize = self
            .summaries
            .iter()
            .flat_map(|said| &said.series)
            .map(|series| series.quarters.len() * size_of::<Bucket>() + 256)
            .sum();
        let raw = self.raw.len() * 256;
        let devices = self.health.iter().map(|said| said.devices.len());
        let health = devices.sum::<usize>() * (size_of::<DeviceHealth>() + 64);
        let said = receipts + summaries + raw + health;
        FIXED_BYTES + local + runs + documents + facts + cursor + said
    }
}

/// A batch that is on the disk.
#[derive(Debug, Clone, Default)]
pub struct Committed {
    pub commit: CommitNo,
    /// Every entry that this batch added, local ones first, then the runs', in order.
    pub stored: Vec<(LogId, Seq)>,
    /// The newest outbox position of this batch (or of an earlier one, when it made no event).
    pub event_position: i64,
    /// Own logs that grew. The writer signs once per log and SQL transaction, so when several batches share one, heads
    /// and runs are given to the last of them that wrote to the log, and cover them all.
    pub heads: Vec<(LogId, Head)>,
    /// The new entries of own logs as signed runs, in order, each within the size of a run.
    pub local_runs: Vec<Run>,
}

/// One SQL transaction, told to the commit hook in the order of commits, before any ticket is answered.
#[derive(Debug, Clone, Default)]
pub struct GroupCommit {
    pub first: CommitNo,
    pub last: CommitNo,
    pub heads: Vec<(LogId, Head)>,
    pub local_runs: Vec<Run>,
    pub events: Vec<super::events::Event>,
}
