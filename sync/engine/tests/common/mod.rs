//! Engines on a virtual network: time moves only when the test says so, frames take a fixed latency.
#![allow(dead_code, clippy::unwrap_used)]

pub mod toy;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use sync_engine::*;

/// One entry as a store keeps it.
#[derive(Clone)]
pub struct Kept {
    pub bytes: Vec<u8>,
    pub chain: ChainHash,
    pub signature: Option<HeadSignature>,
}

/// A store in memory.
#[derive(Default)]
pub struct MemoryStore {
    pub logs: BTreeMap<LogId, Vec<Kept>>,
    /// Refuses batches while set.
    pub faulty: bool,
    /// Answers loads with nothing while set.
    pub unreadable: bool,
}

impl MemoryStore {
    pub fn head(&self, log: &LogId) -> Head {
        self.logs
            .get(log)
            .and_then(|kept| kept.last().map(|last| (kept.len(), last)))
            .map_or(Head::EMPTY, |(len, last)| Head {
                seq: Seq(len as u64),
                chain: last.chain,
            })
    }

    pub fn frontier(&self) -> Frontier {
        let mut frontier = Frontier::new();
        for log in self.logs.keys() {
            let head = self.head(log);
            frontier.advance(*log, head.seq, head.chain);
        }
        frontier
    }

    /// Appends a commit of own entries, signed as the writer does it.
    pub fn append(&mut self, log: LogId, entries: &[Vec<u8>], key: &SigningKey) -> Run {
        let before = self.head(&log);
        let kept = self.logs.entry(log).or_default();
        let mut tail = LogTail::resume(log, before.seq, before.chain, 0);
        for bytes in entries {
            let pushed = tail.push(bytes, key);
            if let Some((at, signature)) = pushed.sign_before {
                kept[at.0 as usize - 1].signature = Some(signature);
            }
            kept.push(Kept {
                bytes: bytes.clone(),
                chain: pushed.chain,
                signature: None,
            });
        }
        kept.last_mut().unwrap().signature = tail.seal(key).map(|(_, signature)| signature);
        self.load(&log, before.seq.next(), RUN_BYTES_MAX).unwrap()
    }

    pub fn load(&self, log: &LogId, from: Seq, bytes_max: usize) -> Option<Run> {
        let kept = self.logs.get(log)?;
        let skip = usize::try_from(from.0).ok()? - 1;
        let prev = if skip == 0 {
            ChainHash::ZERO
        } else {
            kept.get(skip - 1)?.chain
        };
        let mut builder = RunBuilder::new(*log, from, prev, bytes_max);
        for entry in kept.get(skip..)? {
            if !builder.push(entry.bytes.clone(), entry.signature) {
                break;
            }
        }
        builder.finish()
    }

    pub fn commit(&mut self, runs: Vec<VerifiedRun>) -> Stored {
        let mut applied = Vec::new();
        for run in runs {
            let head = self.head(run.log());
            assert_eq!(
                run.first(),
                head.seq.next(),
                "a batch must continue its log"
            );
            assert_eq!(run.prev(), head.chain, "a batch must continue its chain");
            let log = *run.log();
            applied.push((log, run.head().seq));
            let kept = self.logs.entry(log).or_default();
            for entry in run.into_entries() {
                kept.push(Kept {
                    bytes: entry.bytes,
                    chain: entry.chain,
                    signature: entry.signature,
                });
            }
        }
        Stored { applied }
    }
}

pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

pub fn node_id(seed: u8) -> NodeId {
    NodeId(key(seed).verifying_key().to_bytes())
}

pub fn log_of(seed: u8, lane: Lane) -> LogId {
    LogId {
        author: node_id(seed),
        incarnation: Incarnation(u64::from(seed)),
        group: GroupId::SHARED,
        lane,
    }
}

/// The root key is seed 1.
pub fn genesis() -> Genesis {
    Genesis {
        title: "Flood".to_owned(),
        root_key: key(1).verifying_key().to_bytes(),
        successor_hash: [2; 32],
        created_wall_ms: 3,
        nonce: [4; 16],
    }
}

pub fn grant(seed: u8, role: Role) -> Grant {
    Grant {
        operation: genesis().id(),
        node: node_id(seed),
        name: format!("node {seed}"),
        role,
        organisation: None,
        groups: Vec::new(),
        field_classes: Vec::new(),
        lanes: Lane::ALL.to_vec(),
        may_enrol: role == Role::Hq,
        serial: 1,
    }
}

pub fn entry(text: &str) -> Vec<u8> {
    Entry {
        header: EntryHeader {
            time: HybridTime {
                wall_ms: 1_700_000_000_000,
                logical: 0,
            },
            user: None,
            kind: EntryKind(0x0101),
            object: ObjectId([7; 16]),
        },
        payload: Payload::Plain(text.as_bytes().to_vec()),
    }
    .encode()
    .unwrap()
}

pub fn record_entry(record: TrustRecord) -> Vec<u8> {
    record
        .into_entry(EntryHeader {
            time: HybridTime::default(),
            user: None,
            kind: EntryKind(0),
            object: ObjectId([0; 16]),
        })
        .encode()
        .unwrap()
}

/// One node: an engine and its store.
pub struct Node {
    pub seed: u8,
    pub engine: Engine,
    pub store: MemoryStore,
    /// Everything the engine asked for that is not plain work.
    pub disconnects: Vec<(ReasonCode, String)>,
    pub conflicts: Vec<OwnLogConflict>,
    pub progress: Vec<(NodeId, ProgressItem)>,
    /// What the engine wanted to be remembered over a restart.
    pub memory: Memory,
    /// Objects that its view lost, although their entries are stored.
    pub lost: std::collections::BTreeSet<ObjectId>,
    pub pending: u64,
    pub rules: u64,
    pub mismatches: Vec<Mismatch>,
    interest: Interest,
    limits: Limits,
    /// Lanes of run frames, in the order they were sent.
    pub sent_lanes: Vec<Lane>,
    /// Bytes of the control frames sent, in order.
    pub sent_control: Vec<usize>,
    pub largest_unsent: usize,
    /// The frames that carried runs, in order.
    pub sent_runs: Vec<Vec<u8>>,
    /// Never knows what entries are called.
    pub forgetful: bool,
    /// Takes every entry that is asked for to be this one.
    pub mistaken: Option<Name>,
    /// Keep requests to resolve back.
    pub hold_resolves: bool,
    pub held_resolves: VecDeque<ResolveId>,
    /// Keep store batches back until [`Net::release_batches`].
    pub hold_batches: bool,
    pub held: VecDeque<(BatchId, Vec<VerifiedRun>)>,
}

impl Node {
    /// Where the entries stand that payloads of the run build on.
    fn named(&self, run: &Run) -> Vec<(Name, Place)> {
        let parents: Vec<_> = run.entries.iter().flat_map(|e| toy::parents(e)).collect();
        let mut named = Vec::new();
        for (log, kept) in &self.store.logs {
            for (entry, seq) in kept.iter().zip(1..) {
                if let Some(name) = toy::name(&entry.bytes)
                    && parents.contains(&name.hash)
                {
                    let (log, seq) = (*log, Seq(seq));
                    named.push((name, Place { log, seq }));
                }
            }
        }
        named
    }

    fn names(&self, places: &[Place]) -> Vec<(Place, Name)> {
        if self.forgetful {
            return Vec::new();
        }
        let name = |place: &Place| {
            let kept = self.store.logs.get(&place.log)?;
            let entry = kept.get(usize::try_from(place.seq.0).ok()? - 1)?;
            Some((*place, self.mistaken.or_else(|| toy::name(&entry.bytes))?))
        };
        places.iter().filter_map(name).collect()
    }
}

struct Flight {
    at_ms: u64,
    to: usize,
    conn: ConnId,
    stream: StreamKind,
    bytes: Vec<u8>,
}

struct Link {
    ends: [usize; 2],
    up: bool,
}

/// The network and the clock.
pub struct Net {
    pub nodes: Vec<Node>,
    pub now_ms: u64,
    pub latency_ms: u64,
    /// Frames of this stream to this node come no earlier than that: streams do not wait for each other.
    pub slow_stream: Option<(usize, StreamKind, u64)>,
    flights: VecDeque<Flight>,
    links: BTreeMap<ConnId, Link>,
    next_conn: u64,
}

impl Net {
    pub fn new() -> Self {
        Self {
            nodes: Vec::new(),
            now_ms: 1_000,
            latency_ms: 5,
            slow_stream: None,
            flights: VecDeque::new(),
            links: BTreeMap::new(),
            next_conn: 0,
        }
    }

    pub fn now(&self) -> Now {
        Now {
            mono_ms: self.now_ms,
            wall_ms: 1_700_000_000_000 + self.now_ms,
        }
    }

    /// Adds a node that knows the genesis and these grants (as after a join).
    pub fn add(&mut self, seed: u8, grants: &[SignedGrant]) -> usize {
        self.add_with(
            seed,
            grants,
            genesis(),
            Limits::default(),
            Interest::default(),
        )
    }

    pub fn add_with(
        &mut self,
        seed: u8,
        grants: &[SignedGrant],
        genesis: Genesis,
        limits: Limits,
        interest: Interest,
    ) -> usize {
        let mut trust = Trust::new(genesis);
        for grant in grants {
            trust.insert(TrustRecord::Grant(grant.clone())).unwrap();
        }
        let store = MemoryStore::default();
        let local = LocalNode {
            node: node_id(seed),
            incarnation: Incarnation(u64::from(seed)),
            name: format!("node {seed}"),
            software: "test".to_owned(),
        };
        let frontier = store.frontier();
        let (kept_interest, kept_limits) = (interest.clone(), limits.clone());
        let mut engine = Engine::new(1, self.now(), local, trust, frontier, interest, limits);
        engine.set_codec(Arc::new(toy::ToyCodec));
        self.nodes.push(Node {
            memory: Memory::default(),
            lost: Default::default(),
            pending: 0,
            rules: 1,
            mismatches: Vec::new(),
            interest: kept_interest,
            limits: kept_limits,
            sent_control: Vec::new(),
            seed,
            engine,
            store,
            disconnects: Vec::new(),
            conflicts: Vec::new(),
            progress: Vec::new(),
            sent_lanes: Vec::new(),
            sent_runs: Vec::new(),
            forgetful: false,
            mistaken: None,
            hold_resolves: false,
            held_resolves: VecDeque::new(),
            largest_unsent: 0,
            hold_batches: false,
            held: VecDeque::new(),
        });
        self.nodes.len() - 1
    }

    /// An HQ (seed 1, founder: its lane 0 log holds the genesis and its own grant) and `count` field nodes that know
    /// of the HQ's grant and their own, both written in the HQ's lane 0 log.
    pub fn operation(count: u8) -> Self {
        let mut net = Self::new();
        let hq = grant(1, Role::Hq).sign(&key(1));
        net.add(1, std::slice::from_ref(&hq));
        net.commit(
            0,
            log_of(1, Lane::Trust),
            &[record_entry(TrustRecord::Genesis(genesis()))],
        );
        net.commit(
            0,
            log_of(1, Lane::Trust),
            &[record_entry(TrustRecord::Grant(hq.clone()))],
        );
        for seed in 2..2 + count {
            let own = grant(seed, Role::Field).sign(&key(1));
            net.enrol(0, own.clone());
            net.add(seed, &[hq.clone(), own]);
        }
        net
    }

    /// Writes a grant into a node's lane 0 log.
    pub fn enrol(&mut self, at: usize, grant: SignedGrant) {
        let log = log_of(self.nodes[at].seed, Lane::Trust);
        self.commit_records(at, log, vec![TrustRecord::Grant(grant)]);
    }

    pub fn commit_records(&mut self, at: usize, log: LogId, records: Vec<TrustRecord>) {
        let node = &mut self.nodes[at];
        let entries: Vec<_> = records.iter().cloned().map(record_entry).collect();
        let run = node.store.append(log, &entries, &key(node.seed));
        let head = node.store.head(&log);
        self.input(
            at,
            Input::LocalCommit {
                log,
                head,
                records,
                run: Some(run),
            },
        );
    }

    pub fn commit(&mut self, at: usize, log: LogId, entries: &[Vec<u8>]) {
        let node = &mut self.nodes[at];
        let run = node.store.append(log, entries, &key(node.seed));
        let head = node.store.head(&log);
        let run = (run.last() == head.seq).then_some(run);
        self.input(
            at,
            Input::LocalCommit {
                log,
                head,
                records: Vec::new(),
                run,
            },
        );
    }

    pub fn write(&mut self, at: usize, lane: Lane, text: &str) {
        let log = log_of(self.nodes[at].seed, lane);
        self.commit(at, log, &[entry(text)]);
    }

    pub fn connect(&mut self, a: usize, b: usize) -> ConnId {
        self.next_conn += 1;
        let conn = ConnId(self.next_conn);
        self.links.insert(
            conn,
            Link {
                ends: [a, b],
                up: true,
            },
        );
        let (a_id, b_id) = (node_id(self.nodes[a].seed), node_id(self.nodes[b].seed));
        self.input(
            a,
            Input::Connected {
                conn,
                peer: b_id,
                dialled: true,
            },
        );
        self.input(
            b,
            Input::Connected {
                conn,
                peer: a_id,
                dialled: false,
            },
        );
        conn
    }

    /// Cuts a connection: what is in flight is lost.
    pub fn cut(&mut self, conn: ConnId) {
        let Some(link) = self.links.get_mut(&conn) else {
            return;
        };
        if !std::mem::replace(&mut link.up, false) {
            return;
        }
        let ends = link.ends;
        self.flights.retain(|flight| flight.conn != conn);
        for end in ends {
            self.input(
                end,
                Input::Disconnected {
                    conn,
                    reason: "cut".to_owned(),
                },
            );
        }
    }

    pub fn input(&mut self, at: usize, input: Input) {
        let now = self.now();
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.nodes[at].engine.handle(now, input);
            while let Some(effect) = self.nodes[at].engine.poll_effect() {
                self.perform(at, effect, &mut inputs);
            }
        }
    }

    fn perform(&mut self, at: usize, effect: Effect, inputs: &mut VecDeque<Input>) {
        let at_ms = self.now_ms + self.latency_ms;
        let node = &mut self.nodes[at];
        match effect {
            Effect::Send {
                conn,
                stream,
                frame,
            } => {
                let Some(link) = self.links.get(&conn).filter(|link| link.up) else {
                    return;
                };
                let to = link.ends[usize::from(link.ends[0] == at)];
                if stream == StreamKind::Control {
                    node.sent_control.push(frame.len());
                }
                if let StreamKind::Lane(lane) = stream {
                    node.sent_lanes.push(lane);
                    node.sent_runs.push(frame.clone());
                    inputs.push_back(Input::Unsent {
                        conn,
                        lane,
                        bytes: 0,
                    });
                }
                let slow = self.slow_stream;
                let slow = slow.filter(|(node, which, _)| *which == stream && *node == to);
                self.flights.push_back(Flight {
                    at_ms: slow.map_or(at_ms, |(_, _, from_ms)| at_ms.max(from_ms)),
                    to,
                    conn,
                    stream,
                    bytes: frame,
                });
            }
            Effect::Load {
                load,
                log,
                from,
                bytes_max,
            } => {
                let run = (!node.store.unreadable)
                    .then(|| node.store.load(&log, from, bytes_max))
                    .flatten();
                let named = run.as_ref().map_or(Vec::new(), |run| node.named(run));
                inputs.push_back(Input::Loaded { load, run, named });
            }
            Effect::Resolve { resolve, .. } if node.hold_resolves => {
                node.held_resolves.push_back(resolve);
            }
            Effect::Resolve { resolve, places } => {
                let names = node.names(&places);
                inputs.push_back(Input::Resolved { resolve, names });
            }
            Effect::Store { batch, runs, .. } if node.hold_batches => {
                node.held.push_back((batch, runs));
            }
            Effect::Store { batch, runs, .. } => {
                inputs.push_back(node.finish_batch(batch, runs));
            }
            Effect::Disconnect { conn, code, detail } => {
                node.disconnects.push((code, detail.clone()));
                let Some(link) = self.links.get_mut(&conn) else {
                    return;
                };
                if std::mem::replace(&mut link.up, false) {
                    let other = link.ends[usize::from(link.ends[0] == at)];
                    self.flights.retain(|flight| flight.conn != conn);
                    self.input(
                        other,
                        Input::Disconnected {
                            conn,
                            reason: detail,
                        },
                    );
                }
            }
            Effect::Progress { peer, items } => {
                node.progress
                    .extend(items.into_iter().map(|item| (peer, item)));
            }
            Effect::OwnLogLonger(conflict) => node.conflicts.push(conflict),
            Effect::KeepMark { peer, mark } => {
                node.memory.peers.retain(|(known, _)| *known != peer);
                node.memory.peers.push((peer, mark.hash));
                if !node.memory.marks.contains(&mark) {
                    node.memory.marks.push((*mark).clone());
                }
            }
            Effect::Digest { proof, groups } => {
                let digests = Digests {
                    rules: node.rules,
                    frontier: node.store.frontier(),
                    groups: groups.iter().map(|group| node.digest(*group)).collect(),
                };
                let digests = (!node.store.unreadable).then_some(digests);
                inputs.push_back(Input::Digested { proof, digests });
            }
            Effect::DigestItems { proof, buckets, .. } => {
                let mut items = node.view();
                items.retain(|object, _| buckets.contains(&object.0[15]));
                let items = (!node.store.unreadable).then(|| DigestItems {
                    frontier: node.store.frontier(),
                    items: items.into_iter().collect(),
                });
                inputs.push_back(Input::DigestedItems { proof, items });
            }
            Effect::Mismatch(mismatch) => node.mismatches.push(*mismatch),
            Effect::PeerChanged { .. } => {}
        }
    }

    /// Switches a node off and on again: what is left is its store and what it was told to remember.
    pub fn restart(&mut self, at: usize) {
        let conns: Vec<ConnId> = self
            .links
            .iter()
            .filter(|(_, link)| link.up && link.ends.contains(&at))
            .map(|(conn, _)| *conn)
            .collect();
        for conn in conns {
            self.cut(conn);
        }
        let now = self.now();
        let node = &mut self.nodes[at];
        let frontier = node.store.frontier();
        let applied = frontier
            .iter()
            .map(|(log, held)| (*log, held.height))
            .collect();
        let local = LocalNode {
            node: node_id(node.seed),
            incarnation: Incarnation(u64::from(node.seed)),
            name: format!("node {}", node.seed),
            software: "test".to_owned(),
        };
        let trust = node.engine.trust().clone();
        let (interest, limits) = (node.interest.clone(), node.limits.clone());
        node.engine = Engine::new(2, now, local, trust, frontier, interest, limits);
        node.engine.set_codec(Arc::new(toy::ToyCodec));
        node.engine.recall(node.memory.clone());
        self.input(at, Input::Applied { items: applied });
    }

    /// Answers the requests that were held back.
    pub fn release_resolves(&mut self, at: usize, names: &[(Place, Name)]) {
        self.nodes[at].hold_resolves = false;
        while let Some(resolve) = self.nodes[at].held_resolves.pop_front() {
            let names = names.to_vec();
            self.input(at, Input::Resolved { resolve, names });
        }
    }

    /// Lets held batches through.
    pub fn release_batches(&mut self, at: usize) {
        self.nodes[at].hold_batches = false;
        while let Some((batch, runs)) = self.nodes[at].held.pop_front() {
            let input = self.nodes[at].finish_batch(batch, runs);
            self.input(at, input);
        }
    }

    /// Moves the clock to the next frame or timer and handles it; `false` when nothing is due within a minute.
    pub fn step(&mut self) -> bool {
        let frame_ms = self.flights.iter().map(|flight| flight.at_ms).min();
        let timer = |node: &Node| node.engine.poll_timeout().map(|(at, _)| at);
        let timer_ms = self.nodes.iter().filter_map(timer).min();
        let Some(next_ms) = [frame_ms, timer_ms].into_iter().flatten().min() else {
            return false;
        };
        if next_ms > self.now_ms + 60_000 {
            return false;
        }
        self.now_ms = self.now_ms.max(next_ms);
        let due = self
            .flights
            .iter()
            .position(|flight| flight.at_ms <= self.now_ms);
        if let Some(flight) = due.and_then(|index| self.flights.remove(index)) {
            let Flight {
                to,
                conn,
                stream,
                bytes,
                ..
            } = flight;
            self.input(
                to,
                Input::Frame {
                    conn,
                    stream,
                    bytes,
                },
            );
            return true;
        }
        for at in 0..self.nodes.len() {
            if timer(&self.nodes[at]).is_some_and(|at_ms| at_ms <= self.now_ms) {
                self.input(at, Input::Timeout);
            }
        }
        true
    }

    /// Steps until no frame is in flight.
    pub fn drive(&mut self) {
        for _ in 0..1_000_000 {
            if self.flights.is_empty() || !self.step() {
                return;
            }
        }
        panic!("the network does not come to rest");
    }

    /// Steps for a while of virtual time.
    pub fn drive_for(&mut self, ms: u64) {
        let end_ms = self.now_ms + ms;
        for _ in 0..1_000_000 {
            let next = self
                .flights
                .iter()
                .map(|flight| flight.at_ms)
                .chain(
                    self.nodes
                        .iter()
                        .filter_map(|node| node.engine.poll_timeout().map(|(at, _)| at)),
                )
                .min();
            if next.is_none_or(|next| next > end_ms) || !self.step() {
                self.now_ms = self.now_ms.max(end_ms);
                return;
            }
        }
        panic!("the network does not come to rest");
    }

    pub fn frontier_hash(&self, at: usize) -> [u8; 32] {
        self.nodes[at].engine.frontier().hash()
    }

    pub fn assert_converged(&self) {
        let first = self.frontier_hash(0);
        for (at, node) in self.nodes.iter().enumerate() {
            assert_eq!(
                node.engine.frontier(),
                &node.store.frontier(),
                "node {at} and its store"
            );
            assert_eq!(
                self.frontier_hash(at),
                first,
                "node {at} has something else than node 0"
            );
        }
    }

    /// As [`Net::assert_converged`], without the nodes that have not met anybody.
    pub fn assert_converged_but(&self, left_out: &[usize]) {
        let first = self.frontier_hash(0);
        for at in (0..self.nodes.len()).filter(|at| !left_out.contains(at)) {
            assert_eq!(self.frontier_hash(at), first, "node {at}");
        }
    }

    pub fn state(&self, at: usize, of: usize) -> PeerView {
        let node = node_id(self.nodes[of].seed);
        self.nodes[at]
            .engine
            .peers()
            .into_iter()
            .find(|peer| peer.node == node)
            .unwrap()
    }
}

impl Node {
    /// Every entry stands for an object of its own.
    pub fn view(&self) -> BTreeMap<ObjectId, [u8; 8]> {
        let kept = self.store.logs.values().flatten();
        let hashes = kept.map(|kept| entry_hash(&kept.bytes).0);
        let objects = hashes.map(|hash| {
            let object = ObjectId(hash[..16].try_into().unwrap());
            (object, hash[16..24].try_into().unwrap())
        });
        objects
            .filter(|(object, _)| !self.lost.contains(object))
            .collect()
    }

    fn digest(&self, group: GroupId) -> GroupDigest {
        let mut buckets = Box::new([[0_u8; 8]; PROOF_BUCKETS]);
        for (object, state) in self.view() {
            let bucket = &mut buckets[usize::from(object.0[15])];
            let joined = entry_hash(&[&bucket[..], &object.0, &state].concat());
            bucket.copy_from_slice(&joined.0[..8]);
        }
        GroupDigest {
            group,
            buckets,
            pending: self.pending,
            quarantined: 0,
        }
    }

    fn finish_batch(&mut self, batch: BatchId, runs: Vec<VerifiedRun>) -> Input {
        let result = if self.store.faulty {
            Err(StoreFault {
                detail: "no space left".to_owned(),
            })
        } else {
            Ok(self.store.commit(runs))
        };
        Input::Persisted { batch, result }
    }
}
