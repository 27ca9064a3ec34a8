//! Nodes in one process: an operation of a few members, each with its logs in memory and a real socket on loopback.

#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ed25519_dalek::SigningKey;
use parking_lot::Mutex;
use sync_engine::{
    ChainHash, Engine, Entry, EntryHeader, EntryKind, Frontier, Genesis, Grant, GroupId, Head,
    HeadSignature, HybridTime, Incarnation, Interest, Lane, Limits, LocalNode, LogFrontier, LogId,
    LogTail, NodeId, Now, ObjectId, OperationId, Payload, PeerState, ProgressItem, Pushed, Role,
    Run, RunBuilder, Seq, StoreFault, Stored, Trust, TrustRecord, VerifiedEntry, VerifiedRun,
};
use sync_quic::{
    Host, JoinRefusal, JoinReply, JoinRequest, Loaded, PeerAddr, SyncConfig, SyncNode,
};
use tokio::sync::watch;

pub mod crowd;
pub mod relay;

pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// A key per number, the same in each run.
pub fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

pub fn node_id(key: &SigningKey) -> NodeId {
    NodeId(key.verifying_key().to_bytes())
}

pub fn wall_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis() as u64
}

/// An operation with its root key; hands out grants.
#[derive(Clone)]
pub struct Operation {
    pub root: SigningKey,
    pub genesis: Genesis,
}

impl Operation {
    pub fn new(number: u8) -> Self {
        let root = key(200 + number);
        let genesis = Genesis {
            title: format!("operation {number}"),
            root_key: root.verifying_key().to_bytes(),
            successor_hash: [0; 32],
            created_wall_ms: 1,
            nonce: [number; 16],
        };
        Self { root, genesis }
    }

    pub fn id(&self) -> OperationId {
        self.genesis.id()
    }

    pub fn grant(&self, node: NodeId, name: &str) -> TrustRecord {
        let grant = Grant {
            operation: self.id(),
            node,
            name: name.into(),
            role: Role::Field,
            organisation: None,
            groups: Vec::new(),
            field_classes: Vec::new(),
            lanes: Lane::ALL.to_vec(),
            may_enrol: false,
            serial: 1,
        };
        TrustRecord::Grant(grant.sign(&self.root))
    }
}

#[derive(Default)]
struct Logs {
    entries: BTreeMap<LogId, Vec<VerifiedEntry>>,
    tails: BTreeMap<LogId, LogTail>,
}

type JoinJudge = Box<dyn Fn(NodeId, JoinRequest) -> Result<JoinReply, JoinRefusal> + Send + Sync>;

/// What a disk and a program would be: survives a restart of the node's [`SyncNode`].
pub struct Memory {
    logs: Mutex<Logs>,
    pub stored: watch::Sender<u64>,
    /// Stores that were begun.
    pub begun: watch::Sender<u64>,
    pub progress: Mutex<BTreeMap<NodeId, BTreeMap<LogId, Seq>>>,
    pub addresses: Mutex<BTreeMap<NodeId, Vec<SocketAddr>>>,
    /// Lanes whose stores take this long.
    pub slow: Mutex<BTreeMap<Lane, Duration>>,
    pub judge: Mutex<Option<JoinJudge>>,
}

impl Memory {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            logs: Mutex::default(),
            stored: watch::Sender::new(0),
            begun: watch::Sender::new(0),
            progress: Mutex::default(),
            addresses: Mutex::default(),
            slow: Mutex::default(),
            judge: Mutex::default(),
        })
    }

    pub fn frontier(&self) -> Frontier {
        let mut frontier = Frontier::default();
        for (log, entries) in &self.logs.lock().entries {
            let last = entries.last().unwrap();
            frontier.insert(
                *log,
                LogFrontier {
                    floor: Seq(1),
                    height: last.seq,
                    chain: last.chain,
                },
            );
        }
        frontier
    }

    pub fn count(&self, lane: Lane) -> usize {
        let logs = self.logs.lock();
        logs.entries
            .iter()
            .filter(|(log, _)| log.lane == lane)
            .map(|(_, entries)| entries.len())
            .sum()
    }

    pub fn log(&self, log: LogId) -> Vec<VerifiedEntry> {
        self.logs
            .lock()
            .entries
            .get(&log)
            .cloned()
            .unwrap_or_default()
    }

    pub fn trust_runs(&self) -> Vec<Run> {
        let logs: Vec<LogId> = self
            .logs
            .lock()
            .entries
            .keys()
            .filter(|log| log.lane == Lane::Trust)
            .copied()
            .collect();
        let mut runs = Vec::new();
        for log in logs {
            let mut first = Seq(1);
            while let Some(run) = self.run(log, first, 1 << 20) {
                first = run.last().next();
                runs.push(run);
            }
        }
        runs
    }

    pub fn run(&self, log: LogId, from: Seq, bytes_max: usize) -> Option<Run> {
        let logs = self.logs.lock();
        let entries = logs.entries.get(&log)?;
        let at = usize::try_from(from.0).unwrap() - 1;
        let prev = if at == 0 {
            ChainHash::ZERO
        } else {
            entries.get(at - 1)?.chain
        };
        let mut builder = RunBuilder::new(log, from, prev, bytes_max);
        for entry in entries.get(at..)? {
            if !builder.push(entry.bytes.clone(), entry.signature) {
                break;
            }
        }
        builder.finish()
    }

    /// Waits until `lane` holds `count` entries; says how long that took.
    pub async fn until_count(&self, lane: Lane, count: usize) -> Duration {
        let began = Instant::now();
        let mut stored = self.stored.subscribe();
        let reached = async {
            while self.count(lane) < count {
                stored.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(PATIENCE, reached).await.is_err() {
            panic!(
                "{} of {count} entries of lane {lane:?} came",
                self.count(lane)
            );
        }
        began.elapsed()
    }
}

impl Host for Memory {
    async fn load(&self, log: LogId, from: Seq, bytes_max: usize) -> Option<Loaded> {
        self.run(log, from, bytes_max).map(Loaded::from)
    }

    async fn store(&self, _from: NodeId, runs: Vec<VerifiedRun>) -> Result<Stored, StoreFault> {
        let slow = runs
            .first()
            .and_then(|run| self.slow.lock().get(&run.log().lane).copied());
        self.begun.send_modify(|count| *count += 1);
        if let Some(slow) = slow {
            tokio::time::sleep(slow).await;
        }
        let mut applied = BTreeMap::new();
        {
            let mut logs = self.logs.lock();
            for run in runs {
                let log = *run.log();
                let held = logs.entries.entry(log).or_default();
                assert_eq!(
                    held.last().map_or(Seq::NONE, |last| last.seq).next(),
                    run.first(),
                    "runs continue"
                );
                assert_eq!(
                    held.last().map_or(ChainHash::ZERO, |last| last.chain),
                    run.prev()
                );
                applied.insert(log, run.head().seq);
                held.extend(run.into_entries());
            }
        }
        self.stored.send_modify(|count| *count += 1);
        Ok(Stored {
            applied: applied.into_iter().collect(),
        })
    }

    fn progress(&self, peer: NodeId, items: Vec<ProgressItem>, _at_wall_ms: u64) {
        let mut progress = self.progress.lock();
        let peer = progress.entry(peer).or_default();
        for item in items {
            peer.insert(item.log, item.stored);
        }
    }

    fn own_log_longer(&self, log: LogId, ours: Seq, theirs: Seq, peer: NodeId) {
        panic!("own log {log:?} is {ours:?} here and {theirs:?} at {peer:?}");
    }

    fn member_address(&self, node: NodeId, addresses: Vec<SocketAddr>) {
        self.addresses.lock().insert(node, addresses);
    }

    async fn join(&self, peer: NodeId, request: JoinRequest) -> Result<JoinReply, JoinRefusal> {
        match &*self.judge.lock() {
            Some(judge) => judge(peer, request),
            None => Err(JoinRefusal::NotAllowed),
        }
    }

    fn wall_ms(&self) -> u64 {
        wall_ms()
    }
}

/// One member: its key, its logs, and its running sync.
pub struct Member {
    pub key: SigningKey,
    pub operation: Operation,
    pub memory: Arc<Memory>,
    pub trust: Trust,
    pub sync: SyncNode,
}

impl Member {
    pub fn id(&self) -> NodeId {
        node_id(&self.key)
    }

    pub fn addr(&self) -> SocketAddr {
        self.sync.local_addr()
    }

    pub fn log_id(&self, lane: Lane) -> LogId {
        LogId {
            author: self.id(),
            incarnation: Incarnation(1),
            group: GroupId::SHARED,
            lane,
        }
    }

    /// Commits entries with these payload sizes to a lane, in one commit, and tells the engine.
    pub fn write(&self, lane: Lane, sizes: &[usize]) {
        let entries: Vec<_> = sizes.iter().map(|size| plain(*size)).collect();
        self.append(lane, entries, Vec::new());
    }

    /// Lets others in: appends trust records to this node's lane 0.
    pub fn write_trust(&self, records: Vec<TrustRecord>) {
        let entries = records
            .iter()
            .map(|record| record.clone().into_entry(header(0)).encode().unwrap())
            .collect();
        self.append(Lane::Trust, entries, records);
    }

    fn append(&self, lane: Lane, entries: Vec<Vec<u8>>, records: Vec<TrustRecord>) {
        let log = self.log_id(lane);
        let (head, runs) = append(&self.memory, &self.key, log, entries);
        self.sync.local_commit(vec![(log, head)], runs, records);
    }

    pub async fn stop(self) -> Stopped {
        let stopped = Stopped {
            key: self.key,
            operation: self.operation,
            memory: self.memory,
            trust: self.trust,
        };
        self.sync.shutdown().await;
        stopped
    }

    pub fn state(&self, peer: &Member) -> Option<PeerState> {
        let id = peer.id();
        self.sync
            .peers()
            .into_iter()
            .find(|row| row.node == Some(id))
            .map(|row| row.state())
    }

    pub async fn until_live(&self, peer: &Member) -> Duration {
        let began = Instant::now();
        let mut changed = self.sync.subscribe();
        let live = async {
            while self.state(peer) != Some(PeerState::Live) {
                changed.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(PATIENCE, live).await.is_err() {
            panic!("not live: {:#?}", self.sync.peers());
        }
        began.elapsed()
    }
}

/// A member between two runs of its program.
pub struct Stopped {
    pub key: SigningKey,
    pub operation: Operation,
    pub memory: Arc<Memory>,
    pub trust: Trust,
}

impl Stopped {
    pub async fn start(self, tweak: impl FnOnce(&mut SyncConfig)) -> Member {
        start_with(self.key, self.operation, self.memory, self.trust, tweak).await
    }
}

fn header(kind: u16) -> EntryHeader {
    EntryHeader {
        time: HybridTime {
            wall_ms: wall_ms(),
            logical: 0,
        },
        user: None,
        kind: EntryKind(kind),
        object: ObjectId([3; 16]),
    }
}

pub fn plain(size: usize) -> Vec<u8> {
    // Does not compress, so that sizes mean what they say on the wire.
    let mut bytes = vec![0; size];
    blake3::Hasher::new_keyed(&rand::random())
        .finalize_xof()
        .fill(&mut bytes);
    Entry {
        header: header(0x0100),
        payload: Payload::Plain(bytes),
    }
    .encode()
    .unwrap()
}

/// Appends to a log in memory as the store's writer does, and gives the new head and the new entries as runs.
pub fn append(
    memory: &Memory,
    key: &SigningKey,
    log: LogId,
    entries: Vec<Vec<u8>>,
) -> (Head, Vec<Run>) {
    let mut guard = memory.logs.lock();
    let logs = &mut *guard;
    let tail = logs.tails.entry(log).or_insert_with(|| LogTail::start(log));
    let held = logs.entries.entry(log).or_default();
    let from = held.len();
    let sign = |held: &mut Vec<VerifiedEntry>, signature: Option<(Seq, HeadSignature)>| {
        if let Some((seq, signature)) = signature {
            held[seq.0 as usize - 1].signature = Some(signature);
        }
    };
    for bytes in entries {
        let Pushed {
            seq,
            chain,
            sign_before,
        } = tail.push(&bytes, key);
        sign(held, sign_before);
        let hash = sync_engine::entry_hash(&bytes);
        held.push(VerifiedEntry {
            seq,
            bytes,
            hash,
            chain,
            signature: None,
        });
    }
    sign(held, tail.seal(key));
    let head = tail.head();
    drop(guard);
    let mut runs = Vec::new();
    let mut first = Seq(from as u64 + 1);
    while first <= head.seq {
        let run = memory.run(log, first, 48 * 1024).unwrap();
        first = run.last().next();
        runs.push(run);
    }
    (head, runs)
}

/// A member that knows the given trust records (all in the founder's lane 0 log, where `founder` is this node).
pub async fn start_with(
    key: SigningKey,
    operation: Operation,
    memory: Arc<Memory>,
    trust: Trust,
    tweak: impl FnOnce(&mut SyncConfig),
) -> Member {
    let local = LocalNode {
        node: node_id(&key),
        incarnation: Incarnation(1),
        name: format!("node {:02x}", key.to_bytes()[0]),
        software: "test".into(),
    };
    let now = Now {
        mono_ms: 0,
        wall_ms: wall_ms(),
    };
    let interest = Interest {
        groups: Vec::new(),
        lanes: vec![Lane::Raw],
    };
    // Trust is what stands in the lane 0 logs, as after a restart.
    let mut trust = trust;
    for run in memory.trust_runs() {
        for entry in &run.entries {
            if let Ok(Some(record)) = TrustRecord::from_entry_bytes(entry) {
                let _ = trust.insert(record);
            }
        }
    }
    let engine = Engine::new(
        rand::random(),
        now,
        local,
        trust.clone(),
        memory.frontier(),
        interest,
        Limits {
            connections_max: 4096,
            ..Limits::default()
        },
    );
    let mut config = SyncConfig::new(loopback(), key.clone());
    tweak(&mut config);
    let sync = SyncNode::start(config, engine, memory.clone())
        .await
        .unwrap();
    Member {
        key,
        operation,
        memory,
        trust,
        sync,
    }
}

/// A founder whose lane 0 holds the genesis, its own grant, and one for each of `others`.
pub async fn founder(
    operation: &Operation,
    key: SigningKey,
    others: &[NodeId],
    tweak: impl FnOnce(&mut SyncConfig),
) -> Member {
    let memory = Memory::new();
    let log = LogId {
        author: node_id(&key),
        incarnation: Incarnation(1),
        group: GroupId::SHARED,
        lane: Lane::Trust,
    };
    let mut records = vec![
        TrustRecord::Genesis(operation.genesis.clone()),
        operation.grant(node_id(&key), "founder"),
    ];
    records.extend(others.iter().map(|node| operation.grant(*node, "member")));
    let entries = records
        .into_iter()
        .map(|record| record.into_entry(header(0)).encode().unwrap())
        .collect();
    append(&memory, &key, log, entries);
    start_with(
        key,
        operation.clone(),
        memory,
        Trust::new(operation.genesis.clone()),
        tweak,
    )
    .await
}

/// A member as it is right after `muster join`: it holds the founder's lane 0.
pub async fn joined(from: &Member, key: SigningKey, tweak: impl FnOnce(&mut SyncConfig)) -> Member {
    let memory = Memory::new();
    let runs = from
        .memory
        .trust_runs()
        .into_iter()
        .map(|run| run.verify().unwrap())
        .collect();
    memory.store(from.id(), runs).await.unwrap();
    let operation = from.operation.clone();
    let trust = Trust::new(operation.genesis.clone());
    start_with(key, operation, memory, trust, tweak).await
}

pub fn dial(node: NodeId, addr: SocketAddr) -> PeerAddr {
    PeerAddr {
        node: Some(node),
        addr: addr.to_string(),
    }
}

/// The value below which `part` of the sorted times lie.
pub fn percentile(sorted: &[Duration], part: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * part).round() as usize]
}
