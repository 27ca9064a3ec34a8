//! Nodes that meet again: what they remember, what they say, and what it costs.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use sync_engine::*;

/// Two nodes that have exchanged all they have and agreed on it.
fn acquainted() -> (Net, ConnId) {
    let mut net = Net::operation(1);
    for n in 0..50 {
        net.write(0, Lane::Life, &format!("hq {n}"));
        net.write(1, Lane::Coordination, &format!("field {n}"));
    }
    let conn = net.connect(0, 1);
    net.drive_for(3_000);
    net.assert_converged();
    (net, conn)
}

fn marks_agreed(net: &Net) -> Vec<u64> {
    net.nodes
        .iter()
        .map(|node| node.engine.counters().marks_agreed)
        .collect()
}

#[test]
fn level_peers_agree_on_a_mark_once_and_then_keep_still() {
    let (mut net, _) = acquainted();
    assert_eq!(marks_agreed(&net), [1, 1]);
    let said: Vec<usize> = net
        .nodes
        .iter()
        .map(|node| node.sent_control.len())
        .collect();
    net.drive_for(600_000);
    assert_eq!(marks_agreed(&net), [1, 1]);
    let later: Vec<usize> = net
        .nodes
        .iter()
        .map(|node| node.sent_control.len())
        .collect();
    assert_eq!(said, later, "nothing moved, so nothing is said");
    assert_eq!(
        net.nodes[0].engine.usage().peer_logs,
        0,
        "a level peer costs nothing per log"
    );
}

#[test]
fn who_meets_again_says_only_what_moved_also_after_a_restart() {
    let (mut net, conn) = acquainted();
    net.cut(conn);
    net.write(0, Lane::Life, "written while apart");
    net.restart(0);
    net.restart(1);
    assert_eq!(net.state(1, 0).behind_entries, 0);
    assert_eq!(
        net.state(0, 1).behind_entries,
        1,
        "known from the mark, before any word"
    );
    net.nodes[1].sent_control.clear();
    net.connect(1, 0);
    let hello = net.nodes[1].sent_control[0];
    assert!(hello <= 200, "a greeting of {hello} bytes");
    net.drive_for(3_000);
    net.assert_converged();
    for node in &net.nodes {
        assert_eq!(node.engine.counters().short_greetings, 1);
        assert_eq!(node.engine.counters().duplicate_runs, 0);
    }
}

#[test]
fn a_peer_that_forgot_is_told_everything() {
    let (mut net, conn) = acquainted();
    net.cut(conn);
    net.nodes[1].memory = Memory::default();
    net.restart(1);
    net.write(0, Lane::Life, "written while apart");
    net.write(1, Lane::Life, "there too");
    net.connect(0, 1);
    net.drive_for(3_000);
    net.assert_converged();
    assert_eq!(net.nodes[1].engine.counters().short_greetings, 0);
    assert_eq!(net.state(0, 1).state, PeerState::Live);
}

#[test]
fn a_frontier_too_large_for_a_greeting_follows_with_members_by_index() {
    let mut net = Net::operation(20);
    for node in 1..20 {
        net.connect(0, node);
        net.drive();
        for lane in [Lane::Life, Lane::Coordination, Lane::Summary] {
            net.write(node, lane, "from each");
        }
    }
    net.drive();
    net.assert_converged_but(&[20]);
    for node in [0, 20] {
        net.nodes[node].sent_control.clear();
    }
    net.connect(20, 0);
    net.drive();
    assert_eq!(
        net.nodes[20].store.frontier(),
        net.nodes[0].store.frontier()
    );
    let [hello, whole] = net.nodes[0].sent_control[..2] else {
        panic!("a greeting and a frontier");
    };
    assert!(hello <= 200, "{hello}");
    assert!((500..1_500).contains(&whole), "{whole}");
}

#[test]
fn an_older_version_neither_marks_nor_is_asked_to() {
    let mut net = Net::operation(0);
    let hq = grant(1, Role::Hq).sign(&key(1));
    let own = grant(2, Role::Field).sign(&key(1));
    net.enrol(0, own.clone());
    let limits = Limits {
        protocol_max: 1,
        ..Limits::default()
    };
    net.add_with(2, &[hq, own], genesis(), limits, Interest::default());
    net.connect(0, 1);
    net.write(0, Lane::Life, "to the old");
    net.write(1, Lane::Life, "from the old");
    net.drive_for(100_000);
    net.assert_converged();
    assert_eq!(net.state(0, 1).protocol, Some(1));
    assert_eq!(marks_agreed(&net), [0, 0]);
}

#[test]
fn what_a_peer_that_left_lacks_is_counted_as_it_comes() {
    let (mut net, conn) = acquainted();
    net.cut(conn);
    for n in 0..7 {
        net.write(0, Lane::Flash, &format!("urgent {n}"));
    }
    net.write(0, Lane::Summary, "less so");
    let view = net.state(0, 1);
    assert_eq!(view.behind_entries, 8);
    assert_eq!(view.behind[Lane::Flash.index()].entries, 7);
    assert_eq!(view.behind[Lane::Summary.index()].entries, 1);
    assert!(view.behind[Lane::Flash.index()].bytes > 7 * 30);
    assert_eq!(
        view.behind_bytes,
        view.behind.iter().map(|lane| lane.bytes).sum::<u64>()
    );
}

#[test]
fn what_a_peer_holds_and_we_lack_is_shown() {
    let (mut net, conn) = acquainted();
    net.cut(conn);
    for n in 0..5 {
        net.write(0, Lane::Life, &format!("news {n}"));
    }
    net.nodes[1].hold_batches = true;
    net.connect(0, 1);
    net.drive();
    assert_eq!(net.state(1, 0).missing_entries, 5);
    net.release_batches(1);
    net.drive();
    assert_eq!(net.state(1, 0).missing_entries, 0);
}

#[test]
fn a_fork_at_equal_heights_is_found_although_no_log_of_it_moves() {
    let mut net = Net::operation(2);
    for node in [1, 2] {
        net.connect(0, node);
        net.drive();
    }
    // Two branches of node 4's log, each brought to one node by hand.
    let own = grant(4, Role::Field).sign(&key(1));
    net.enrol(0, own);
    net.drive();
    let log = log_of(4, Lane::Life);
    for (node, text) in [(1, "one branch"), (2, "the other")] {
        let run = MemoryStore::default().append(log, &[entry(text)], &key(4));
        let verified = run.verify().unwrap();
        net.nodes[node].store.commit(vec![verified]);
        net.restart(node);
    }
    net.connect(1, 2);
    net.drive_for(5_000);
    for node in [1, 2] {
        assert_eq!(
            net.nodes[node].engine.counters().forks_seen,
            1,
            "node {node}"
        );
        assert_eq!(net.nodes[node].store.head(&log).seq, Seq(1));
    }
}

#[test]
fn an_unasked_frontier_and_a_mark_during_the_greeting_are_violations() {
    // Kinds 6 (frontier: whole, not indexed, no groups) and 8 (mark).
    let unasked = vec![6, 1, 0, 1, 0];
    let early = [vec![8], vec![0; 16]].concat();
    for (frame, greeted) in [(unasked, true), (early, false)] {
        let (mut net, mut conn) = acquainted();
        if !greeted {
            net.cut(conn);
            conn = net.connect(0, 1);
        }
        let stream = StreamKind::Control;
        let bytes = frame;
        net.input(
            0,
            Input::Frame {
                conn,
                stream,
                bytes,
            },
        );
        assert_eq!(net.nodes[0].engine.counters().refused_frames, 1);
        assert_eq!(net.nodes[0].disconnects[0].0, ReasonCode::BadFrame);
    }
}

#[test]
fn a_greeting_that_names_too_many_groups_is_refused() {
    for (groups, refused) in [(64, 0), (65, 1)] {
        let mut net = Net::operation(0);
        let own = grant(2, Role::Field).sign(&key(1));
        net.enrol(0, own.clone());
        let hq = grant(1, Role::Hq).sign(&key(1));
        let interest = Interest {
            groups: (1..=groups).map(|group| GroupId([group; 16])).collect(),
            lanes: Vec::new(),
        };
        net.add_with(2, &[hq, own], genesis(), Limits::default(), interest);
        net.connect(0, 1);
        net.drive();
        assert_eq!(
            net.nodes[0].engine.counters().refused_frames,
            refused,
            "{groups}"
        );
    }
}
