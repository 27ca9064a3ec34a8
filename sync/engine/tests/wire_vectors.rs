//! Golden vectors of the control stream: what two engines say when they meet, meet again, and do not know each other yet.
//!
//! `UPDATE_VECTORS=1 cargo test -p sync-engine --test wire_vectors` writes them anew; formats may change until the first
//! release and never after. docs/spec/sync.md explains them byte by byte.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use common::*;
use data_encoding::HEXLOWER;
use sync_engine::*;

const HELLO: u8 = 1;
const ADMIT: u8 = 2;
const PROGRESS: u8 = 3;
const FRONTIER: u8 = 6;
const MARK: u8 = 8;
const MARKED: u8 = 9;
const PROOF: u8 = 10;

/// An engine, its store, and what it says.
struct End {
    seed: u8,
    engine: Engine,
    store: MemoryStore,
    /// Control frames, in the order in which they were sent.
    said: Vec<Vec<u8>>,
    /// The documents and facts that it made of the logs, by id, each in the bytes that proofs are over.
    objects: BTreeMap<ObjectId, Vec<u8>>,
}

impl End {
    fn new(seed: u8, members: &[SignedGrant], store: MemoryStore) -> Self {
        let mut trust = Trust::new(genesis());
        for grant in members {
            trust.insert(TrustRecord::Grant(grant.clone())).unwrap();
        }
        let local = LocalNode {
            node: node_id(seed),
            incarnation: Incarnation(u64::from(seed)),
            name: format!("node {seed}"),
            software: "muster 0.1.0".to_owned(),
        };
        let frontier = store.frontier();
        let applied: Vec<_> = frontier
            .iter()
            .map(|(log, held)| (*log, held.height))
            .collect();
        let mut engine = Engine::new(
            1,
            at(0),
            local,
            trust,
            frontier,
            Interest::default(),
            Limits::default(),
        );
        engine.handle(at(0), Input::Applied { items: applied });
        Self {
            seed,
            engine,
            store,
            said: Vec::new(),
            objects: BTreeMap::new(),
        }
    }

    /// What a host answers, as docs/spec/sync.md has it.
    fn digests(&self, groups: &[GroupId]) -> Digests {
        let bucket = |number: usize| {
            let of = |id: &ObjectId| usize::from(id.0[15]) == number;
            let objects = self.objects.iter().filter(|(id, _)| of(id));
            let bytes: Vec<u8> = objects.flat_map(|(_, bytes)| bytes.clone()).collect();
            short_hash("muster 2026 proof bucket 1", &bytes)
        };
        Digests {
            rules: 7,
            frontier: self.store.frontier(),
            groups: groups
                .iter()
                .map(|group| GroupDigest {
                    group: *group,
                    buckets: Box::new(std::array::from_fn(bucket)),
                    pending: 0,
                    quarantined: 1,
                })
                .collect(),
        }
    }

    fn items(&self, buckets: &[u8]) -> DigestItems {
        let objects = self.objects.iter();
        DigestItems {
            frontier: self.store.frontier(),
            items: objects
                .filter(|(id, _)| buckets.contains(&id.0[15]))
                .map(|(id, bytes)| (*id, short_hash("muster 2026 proof item 1", bytes)))
                .collect(),
        }
    }

    /// The newest control frame of a kind.
    fn last(&self, kind: u8) -> &[u8] {
        let mut frames = self.said.iter().rev();
        let frame = frames.find(|frame| frame.first() == Some(&kind));
        frame.unwrap_or_else(|| panic!("node {} said no frame of kind {kind}", self.seed))
    }
}

fn short_hash(context: &str, bytes: &[u8]) -> [u8; 8] {
    blake3::derive_key(context, bytes)[..8].try_into().unwrap()
}

fn at(mono_ms: u64) -> Now {
    Now {
        mono_ms,
        wall_ms: 1_790_000_000_000 + mono_ms,
    }
}

/// Lets two ends talk from `from_ms` on for ten virtual seconds.
fn meet(ends: &mut [End; 2], conn: ConnId, from_ms: u64) {
    let ids = [node_id(ends[0].seed), node_id(ends[1].seed)];
    let mut inputs: VecDeque<(usize, Input)> = VecDeque::new();
    for side in 0..2 {
        let peer = ids[1 - side];
        let dialled = side == 0;
        inputs.push_back((
            side,
            Input::Connected {
                conn,
                peer,
                dialled,
            },
        ));
    }
    let mut now_ms = from_ms;
    while now_ms < from_ms + 10_000 {
        while let Some((side, input)) = inputs.pop_front() {
            ends[side].engine.handle(at(now_ms), input);
            while let Some(effect) = ends[side].engine.poll_effect() {
                inputs.extend(perform(&mut ends[side], side, effect));
            }
        }
        now_ms += 100;
        inputs.extend([(0, Input::Timeout), (1, Input::Timeout)]);
    }
    for end in ends {
        let reason = String::new();
        end.engine
            .handle(at(now_ms), Input::Disconnected { conn, reason });
    }
}

fn perform(end: &mut End, side: usize, effect: Effect) -> Option<(usize, Input)> {
    match effect {
        Effect::Send {
            conn,
            stream,
            frame,
        } => {
            if stream == StreamKind::Control {
                end.said.push(frame.clone());
            }
            let bytes = frame;
            Some((
                1 - side,
                Input::Frame {
                    conn,
                    stream,
                    bytes,
                },
            ))
        }
        Effect::Load {
            load,
            log,
            from,
            bytes_max,
        } => {
            let run = end.store.load(&log, from, bytes_max);
            Some((
                side,
                Input::Loaded {
                    load,
                    run,
                    named: Vec::new(),
                },
            ))
        }
        Effect::Store { batch, runs, .. } => {
            let result = Ok(end.store.commit(runs));
            Some((side, Input::Persisted { batch, result }))
        }
        Effect::Digest { proof, groups } => {
            let digests = Some(end.digests(&groups));
            Some((side, Input::Digested { proof, digests }))
        }
        Effect::DigestItems { proof, buckets, .. } => {
            let items = Some(end.items(&buckets));
            Some((side, Input::DigestedItems { proof, items }))
        }
        Effect::Disconnect { detail, .. } => panic!("node {} hangs up: {detail}", end.seed),
        _ => None,
    }
}

fn check(name: &str, bytes: &[u8]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("vectors")
        .join(name);
    let hex = HEXLOWER.encode(bytes);
    let lines: Vec<&str> = hex
        .as_bytes()
        .chunks(80)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    let text = lines.join("\n") + "\n";
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(golden, text, "{name} has changed");
}

fn hq() -> SignedGrant {
    grant(1, Role::Hq).sign(&key(1))
}

fn field(seed: u8) -> SignedGrant {
    grant(seed, Role::Field).sign(&key(1))
}

/// The founder's lane 0 log: genesis, its own grant, that of node 2.
fn founded(members: &[SignedGrant]) -> MemoryStore {
    let mut store = MemoryStore::default();
    let mut entries = vec![record_entry(TrustRecord::Genesis(genesis()))];
    entries.extend(
        members
            .iter()
            .map(|grant| record_entry(TrustRecord::Grant(grant.clone()))),
    );
    store.append(log_of(1, Lane::Trust), &entries, &key(1));
    store
}

#[test]
fn members_who_meet_and_meet_again_keep_their_words() {
    let members = [hq(), field(2)];
    let mut store = founded(&members);
    store.append(
        log_of(1, Lane::Life),
        &[entry("one"), entry("two")],
        &key(1),
    );
    let mut ends = [
        End::new(1, &members, store),
        End::new(2, &members, founded(&members)),
    ];
    meet(&mut ends, ConnId(1), 1_000);
    check("hello_whole.hex", ends[0].last(HELLO));
    check("admit.hex", ends[0].last(ADMIT));
    check("progress.hex", ends[1].last(PROGRESS));
    let (proposer, other) = if node_id(1) < node_id(2) {
        (0, 1)
    } else {
        (1, 0)
    };
    check("mark.hex", ends[proposer].last(MARK));
    check("marked.hex", ends[other].last(MARKED));

    let log = log_of(1, Lane::Life);
    ends[0].store.append(log, &[entry("three")], &key(1));
    let head = ends[0].store.head(&log);
    let commit = Input::LocalCommit {
        log,
        head,
        records: Vec::new(),
        run: None,
    };
    ends[0].engine.handle(at(20_000), commit);
    meet(&mut ends, ConnId(2), 21_000);
    check("hello_since.hex", ends[0].last(HELLO));
}

#[test]
fn a_stranger_is_told_lane_0_and_the_rest_with_its_admission() {
    let members = [hq(), field(2)];
    let mut store = founded(&members[..1]);
    store.append(log_of(1, Lane::Life), &[entry("one")], &key(1));
    // Node 1 learns of node 2 from node 2, who carries its own grant in a log of its own making.
    let newcomer = {
        let mut own = grant(2, Role::Field);
        own.serial = 2;
        own.sign(&key(1))
    };
    let mut ends = [
        End::new(1, &members[..1], store),
        End::new(2, &[hq(), newcomer.clone()], {
            let mut store = founded(&members[..1]);
            let entries = [record_entry(TrustRecord::Grant(newcomer))];
            store.append(log_of(2, Lane::Trust), &entries, &key(2));
            store
        }),
    ];
    meet(&mut ends, ConnId(1), 1_000);
    check("hello_stranger.hex", ends[0].last(HELLO));
    check("admit_rest.hex", ends[0].last(ADMIT));
}

#[test]
fn a_large_frontier_follows_the_greeting_with_members_by_index() {
    let members: Vec<SignedGrant> = std::iter::once(hq()).chain((2..=40).map(field)).collect();
    let mut store = founded(&members);
    for seed in 1..=40 {
        for lane in [Lane::Life, Lane::Coordination] {
            store.append(log_of(seed, lane), &[entry("one")], &key(seed));
        }
    }
    let mut ends = [
        End::new(1, &members, store),
        End::new(2, &members, founded(&members)),
    ];
    meet(&mut ends, ConnId(1), 1_000);
    check("hello_later.hex", ends[0].last(HELLO));
    check("frontier_indexed.hex", ends[0].last(FRONTIER));
}

/// The document "0123456789abcdef" of lane 2 with one head, and a fact of lane 3.
fn objects(head: u8) -> BTreeMap<ObjectId, Vec<u8>> {
    let document = ObjectId(*b"0123456789abcdef");
    let fact = ObjectId([5; 16]);
    let heads = [head; 32];
    let length = (heads.len() as u64).to_le_bytes();
    BTreeMap::from([
        (
            document,
            [&[1, 2], &document.0[..], &length, &heads].concat(),
        ),
        (fact, [&[2, 3], &fact.0[..]].concat()),
    ])
}

#[test]
fn two_who_made_something_else_of_the_same_logs_say_so_step_by_step() {
    let members = [hq(), field(2)];
    let mut ends = [
        End::new(1, &members, founded(&members)),
        End::new(2, &members, founded(&members)),
    ];
    ends[0].objects = objects(0x11);
    ends[1].objects = objects(0x22);
    meet(&mut ends, ConnId(1), 1_000);
    let said: Vec<&Vec<u8>> = ends[0].said.iter().filter(|f| f[0] == PROOF).collect();
    // The second round, five seconds later, says the same.
    assert_eq!(said.len(), 6);
    check("proof_groups.hex", said[0]);
    check("proof_buckets.hex", said[1]);
    check("proof_items.hex", said[2]);
}
