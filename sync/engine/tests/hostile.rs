//! Peers that lie, and bytes that are none of ours: refused, counted, survived.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use proptest::prelude::*;
use sync_engine::*;

fn run_frame(run: &Run) -> Vec<u8> {
    let mut frame = run.encode();
    frame.insert(0, 16);
    frame
}

fn send_run(net: &mut Net, conn: ConnId, run: &Run) {
    let stream = StreamKind::Lane(run.log.lane);
    net.input(
        0,
        Input::Frame {
            conn,
            stream,
            bytes: run_frame(run),
        },
    );
}

/// A live pair, and what node 1 would send next.
fn live_pair() -> (Net, ConnId, Run) {
    let mut net = Net::operation(1);
    let conn = net.connect(0, 1);
    net.drive();
    let mut store = MemoryStore::default();
    let run = store.append(
        log_of(2, Lane::Life),
        &[entry("one"), entry("two")],
        &key(2),
    );
    (net, conn, run)
}

#[test]
fn a_wrong_signature_is_refused_and_counted() {
    let (mut net, conn, mut run) = live_pair();
    run.signatures[0].1.0[10] ^= 1;
    send_run(&mut net, conn, &run);
    assert_eq!(net.nodes[0].engine.counters().refused_signature, 1);
    let (code, detail) = &net.nodes[0].disconnects[0];
    assert_eq!(*code, ReasonCode::BadRun);
    assert!(detail.contains("1 so far"), "{detail}");
    assert!(
        net.nodes[0]
            .store
            .logs
            .keys()
            .all(|log| log.author != node_id(2))
    );
}

#[test]
fn an_altered_entry_breaks_the_chain_and_is_refused() {
    let (mut net, conn, mut run) = live_pair();
    run.entries[0][5] ^= 1;
    send_run(&mut net, conn, &run);
    assert_eq!(net.nodes[0].engine.counters().refused_signature, 1);
    assert_eq!(net.nodes[0].disconnects[0].0, ReasonCode::BadRun);
}

#[test]
fn runs_of_no_shape_are_refused() {
    let breaks: [fn(&mut Run); 5] = [
        |run| run.signatures.clear(),
        |run| run.entries.clear(),
        |run| run.prev = ChainHash([1; 32]),
        |run| run.first = Seq(u64::MAX),
        |run| run.first = Seq(0),
    ];
    for break_it in breaks {
        let (mut net, conn, mut run) = live_pair();
        break_it(&mut run);
        send_run(&mut net, conn, &run);
        let counters = net.nodes[0].engine.counters();
        assert_eq!(counters.refused_chain + counters.refused_frames, 1);
        assert_eq!(net.nodes[0].disconnects.len(), 1);
    }
}

#[test]
fn a_run_on_the_wrong_stream_is_refused() {
    let (mut net, conn, run) = live_pair();
    let stream = StreamKind::Lane(Lane::Flash);
    net.input(
        0,
        Input::Frame {
            conn,
            stream,
            bytes: run_frame(&run),
        },
    );
    assert_eq!(net.nodes[0].disconnects[0].0, ReasonCode::BadFrame);
}

#[test]
fn a_gap_is_asked_for_and_filled() {
    let (mut net, conn, _) = live_pair();
    let log = log_of(2, Lane::Life);
    let first = net.nodes[1].store.append(log, &[entry("one")], &key(2));
    let second = net.nodes[1].store.append(log, &[entry("two")], &key(2));
    // The engine of node 1 learns of both, but the first is lost on the way.
    let head = net.nodes[1].store.head(&log);
    send_run(&mut net, conn, &second);
    assert_eq!(net.nodes[0].engine.counters().gap_runs, 1);
    net.input(
        1,
        Input::LocalCommit {
            log,
            head,
            records: Vec::new(),
            run: Some(first),
        },
    );
    net.drive();
    net.assert_converged();
    assert_eq!(net.nodes[0].disconnects, []);
}

#[test]
fn overlapping_runs_are_trimmed() {
    let (mut net, conn, _) = live_pair();
    let log = log_of(2, Lane::Life);
    let mut store = MemoryStore::default();
    let one = store.append(log, &[entry("one")], &key(2));
    store.append(log, &[entry("two")], &key(2));
    let both = store.load(&log, Seq(1), RUN_BYTES_MAX).unwrap();
    send_run(&mut net, conn, &one);
    send_run(&mut net, conn, &one);
    send_run(&mut net, conn, &both);
    assert_eq!(net.nodes[0].store.head(&log).seq, Seq(2));
    assert_eq!(net.nodes[0].engine.counters().duplicate_runs, 1);
    assert_eq!(net.nodes[0].disconnects, []);
}

#[test]
fn two_branches_of_a_log_are_seen_and_not_exchanged() {
    let mut net = Net::operation(3);
    let log = log_of(2, Lane::Life);
    let met = net.connect(0, 2);
    net.drive();
    net.cut(met);
    // A cloned card: one key, one incarnation, two stories, each told to another node.
    let conn = net.connect(0, 1);
    net.drive();
    net.write(1, Lane::Life, "story one");
    net.drive();
    let mut clone = MemoryStore::default();
    let run = clone.append(log, &[entry("story two")], &key(2));
    let other = net.connect(2, 3);
    net.drive();
    net.input(
        2,
        Input::Frame {
            conn: other,
            stream: StreamKind::Lane(Lane::Life),
            bytes: run_frame(&run),
        },
    );
    net.drive();
    net.cut(conn);
    net.connect(0, 2);
    net.write(0, Lane::Life, "goes on");
    net.drive();
    assert_eq!(net.nodes[0].engine.counters().forks_seen, 1);
    assert_eq!(net.nodes[2].engine.counters().forks_seen, 1);
    assert_eq!(net.nodes[0].disconnects, []);
    assert_ne!(
        net.nodes[0].store.head(&log).chain,
        net.nodes[2].store.head(&log).chain
    );
    assert_eq!(net.nodes[2].store.head(&log_of(1, Lane::Life)).seq, Seq(1));
}

#[test]
fn a_longer_log_of_our_own_is_reported_once_and_not_stored() {
    let mut net = Net::operation(1);
    net.connect(0, 1);
    net.drive();
    let log = log_of(2, Lane::Life);
    // Node 0 was told more by us than we have: our disk was restored.
    let mut before = MemoryStore::default();
    before.append(log, &[entry("one"), entry("two"), entry("lost")], &key(2));
    let run = before.load(&log, Seq(1), RUN_BYTES_MAX).unwrap();
    send_run(&mut net, ConnId(1), &run);
    net.drive();
    assert_eq!(net.nodes[1].conflicts.len(), 1);
    let conflict = *net.nodes[1].engine.own_log_conflict().unwrap();
    assert_eq!(
        (conflict.log, conflict.ours, conflict.theirs),
        (log, Seq(0), Seq(3))
    );
    assert_eq!(conflict.peer, node_id(1));
    net.cut(ConnId(1));
    net.connect(0, 1);
    net.drive();
    assert_eq!(net.nodes[1].conflicts.len(), 1);
    assert!(!net.nodes[1].store.logs.contains_key(&log));
}

#[test]
fn another_entry_at_our_own_height_is_reported() {
    let mut net = Net::operation(1);
    let log = log_of(2, Lane::Life);
    let mut clone = MemoryStore::default();
    let run = clone.append(log, &[entry("the clone's")], &key(2));
    let conn = net.connect(0, 1);
    net.drive();
    send_run(&mut net, conn, &run);
    net.cut(conn);
    net.write(1, Lane::Life, "ours");
    net.connect(0, 1);
    net.drive();
    let conflict = net.nodes[1].conflicts[0];
    assert_eq!((conflict.ours, conflict.theirs), (Seq(1), Seq(1)));
}

#[test]
fn a_peer_behind_on_another_branch_of_our_log_makes_us_stop_too() {
    let mut net = Net::operation(1);
    let log = log_of(2, Lane::Life);
    let mut clone = MemoryStore::default();
    let run = clone.append(log, &[entry("the clone's")], &key(2));
    let conn = net.connect(0, 1);
    net.drive();
    send_run(&mut net, conn, &run);
    net.cut(conn);
    net.write(1, Lane::Life, "ours");
    net.write(1, Lane::Life, "and more");
    net.connect(0, 1);
    net.drive();
    assert_eq!(net.nodes[1].conflicts.len(), 1);
    assert_eq!(net.nodes[0].disconnects, []);
}

#[test]
fn a_newer_peers_unknown_frames_are_skipped() {
    let (mut net, conn, _) = live_pair();
    net.input(
        0,
        Input::Frame {
            conn,
            stream: StreamKind::Control,
            bytes: vec![200, 1, 2, 3],
        },
    );
    let stream = StreamKind::Lane(Lane::Life);
    net.input(
        0,
        Input::Frame {
            conn,
            stream,
            bytes: vec![201, 9],
        },
    );
    assert_eq!(net.nodes[0].engine.counters().unknown_frames, 2);
    assert_eq!(net.state(0, 1).state, PeerState::Live);
}

#[test]
fn a_peer_without_a_common_protocol_is_told_both_ranges() {
    let mut net = Net::operation(1);
    let conn = ConnId(77);
    net.input(
        0,
        Input::Connected {
            conn,
            peer: node_id(2),
            dialled: false,
        },
    );
    // kind, min 8, max 9, node, operation: the part of the greeting that never changes.
    let mut bytes = vec![1, 8, 9];
    bytes.extend(node_id(2).0);
    bytes.extend(genesis().id().0);
    net.input(
        0,
        Input::Frame {
            conn,
            stream: StreamKind::Control,
            bytes,
        },
    );
    let (code, detail) = &net.nodes[0].disconnects[0];
    assert_eq!(*code, ReasonCode::Protocol);
    assert!(
        detail.contains("8 to 9") && detail.contains("1 to 2"),
        "{detail}"
    );
}

#[test]
fn strangers_cannot_take_every_connection() {
    let mut net = Net::operation(1);
    let limits = Limits::default();
    for n in 0..100 {
        let stranger = NodeId([n + 100; 32]);
        net.input(
            0,
            Input::Connected {
                conn: ConnId(1_000 + u64::from(n)),
                peer: stranger,
                dialled: false,
            },
        );
    }
    let busy = net.nodes[0]
        .disconnects
        .iter()
        .filter(|(code, _)| *code == ReasonCode::Busy);
    assert_eq!(busy.count(), 100 - limits.strangers_max);
    net.connect(1, 0);
    net.drive();
    assert_eq!(net.state(0, 1).state, PeerState::Live);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decoders_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let _ = Entry::decode(&bytes);
        let _ = TrustRecord::from_entry_bytes(&bytes);
        let _ = TrustRecord::decode(EntryKind::GRANT, &bytes);
        let _ = TrustRecord::decode(EntryKind::GENESIS, &bytes);
        if let Ok(run) = Run::decode(&bytes) {
            let _ = run.verify();
        }
        for flag in [0, 1] {
            let mut flagged = vec![flag];
            flagged.extend(&bytes);
            if let Ok(run) = Run::decode(&flagged) {
                let _ = run.verify();
            }
        }
    }

    #[test]
    fn altered_runs_never_verify_as_something_else(position in 0_usize..2_000, bit in 0_u8..8) {
        let mut store = MemoryStore::default();
        let entries: Vec<_> = (0..5).map(|n| entry(&format!("entry {n}"))).collect();
        let run = store.append(log_of(2, Lane::Life), &entries, &key(2));
        let mut bytes = run.encode();
        let at = position % bytes.len();
        bytes[at] ^= 1 << bit;
        if let Ok(decoded) = Run::decode(&bytes)
            && let Ok(verified) = decoded.verify()
        {
            // A flipped bit in the compressed form may decode to the same run.
            prop_assert_eq!(verified, run.verify().unwrap());
        }
    }

    #[test]
    fn hostile_frames_never_panic_and_never_reach_the_store(
        frames in prop::collection::vec(
            (0_u8..8, prop::option::of(0_u8..20), prop::collection::vec(any::<u8>(), 0..300)),
            0..20,
        ),
    ) {
        let (mut net, conn, _) = live_pair();
        let before = net.frontier_hash(0);
        for (stream, kind, mut bytes) in frames {
            if let Some(kind) = kind {
                bytes.insert(0, kind);
            }
            let stream = match Lane::try_from(stream) {
                Ok(lane) => StreamKind::Lane(lane),
                Err(_) => StreamKind::Control,
            };
            net.input(0, Input::Frame { conn, stream, bytes });
        }
        prop_assert_eq!(net.frontier_hash(0), before);
    }

    #[test]
    fn mutated_honest_frames_never_panic(flips in prop::collection::vec((any::<usize>(), any::<u8>()), 1..6)) {
        let (mut net, conn, run) = live_pair();
        let mut bytes = run_frame(&run);
        for (position, mask) in flips {
            let at = position % bytes.len();
            bytes[at] ^= mask;
        }
        net.input(0, Input::Frame { conn, stream: StreamKind::Lane(Lane::Life), bytes });
    }
}
