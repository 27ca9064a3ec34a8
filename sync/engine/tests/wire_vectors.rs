//! Golden vectors of the control stream: what two engines say when they meet, meet again, and do not know each other yet.
//!
//! `UPDATE_VECTORS=1 cargo test -p sync-engine --test wire_vectors` writes them anew; formats may change until the first
//! release and never after. docs/spec/sync.md explains them byte by byte.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::VecDeque;
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

/// An engine, its store, and what it says.
struct End {
    seed: u8,
    engine: Engine,
    store: MemoryStore,
    /// Control frames, in the order in which they were sent.
    said: Vec<Vec<u8>>,
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
        }
    }

    /// The newest control frame of a kind.
    fn last(&self, kind: u8) -> &[u8] {
        let mut frames = self.said.iter().rev();
        let frame = frames.find(|frame| frame.first() == Some(&kind));
        frame.unwrap_or_else(|| panic!("node {} said no frame of kind {kind}", self.seed))
    }
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
