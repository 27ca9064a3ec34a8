//! Engines that meet, on a virtual network: what arrives, in which order, and what is said about it.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use sync_engine::*;

#[test]
fn two_engines_end_with_the_same_logs() {
    let mut net = Net::operation(1);
    for n in 0..50 {
        net.write(0, Lane::Life, &format!("hq {n}"));
        net.write(1, Lane::Coordination, &format!("field {n}"));
    }
    net.connect(0, 1);
    net.drive();
    net.assert_converged();
    assert_eq!(net.state(0, 1).state, PeerState::Live);
    assert_eq!(net.state(0, 1).behind_entries, 0);
    assert_eq!(net.state(1, 0).name.as_deref(), Some("node 1"));
    assert_eq!(net.state(1, 0).software.as_deref(), Some("test"));
    // The author hears that the other has stored and applied.
    let last = net.nodes[1].progress.last().unwrap();
    assert_eq!((last.1.stored, last.1.applied), (Seq(50), Seq(50)));
}

#[test]
fn a_live_entry_arrives_after_one_latency() {
    let mut net = Net::operation(1);
    net.connect(0, 1);
    net.drive();
    let before_ms = net.now_ms;
    net.write(1, Lane::Flash, "help");
    while net.nodes[0]
        .engine
        .frontier()
        .get(&log_of(2, Lane::Flash))
        .is_none()
    {
        assert!(net.step());
    }
    assert_eq!(net.now_ms - before_ms, net.latency_ms);
}

#[test]
fn a_third_node_gets_everything_through_the_second() {
    let mut net = Net::operation(2);
    net.connect(0, 1);
    net.connect(0, 2);
    net.drive();
    net.write(1, Lane::Life, "from 1, for 2");
    net.drive();
    net.assert_converged();
    assert_eq!(net.nodes[2].store.head(&log_of(2, Lane::Life)).seq, Seq(1));
    // Nothing was sent back to where it came from.
    assert_eq!(net.nodes[1].engine.counters().duplicate_runs, 0);
}

#[test]
fn a_cut_connection_resumes_where_the_disk_is() {
    let mut net = Net::operation(1);
    let conn = net.connect(0, 1);
    net.drive();
    let many: Vec<_> = (0..4_000)
        .map(|n| entry(&format!("entry {n} {}", "x".repeat(200))))
        .collect();
    for commit in many.chunks(100) {
        net.commit(0, log_of(1, Lane::Coordination), commit);
    }
    for _ in 0..12 {
        net.step();
    }
    let held = net.nodes[1].store.head(&log_of(1, Lane::Coordination)).seq;
    assert!(held < Seq(4_000));
    net.cut(conn);
    assert_eq!(net.state(0, 1).state, PeerState::Disconnected);
    assert!(net.state(0, 1).behind_entries > 0);
    assert!(net.state(0, 1).behind_bytes > 200 * net.state(0, 1).behind_entries);
    let duplicates = net.nodes[1].engine.counters().duplicate_runs;
    net.connect(1, 0);
    net.drive();
    net.assert_converged();
    assert_eq!(net.nodes[1].engine.counters().duplicate_runs, duplicates);
}

#[test]
fn urgent_lanes_leave_first() {
    let mut net = Net::operation(1);
    for n in 0..300 {
        net.write(0, Lane::Coordination, &format!("{n} {}", "y".repeat(500)));
    }
    net.write(0, Lane::Life, "life");
    net.write(0, Lane::Flash, "flash");
    net.nodes[0].sent_lanes.clear();
    net.connect(0, 1);
    net.drive();
    let order = &net.nodes[0].sent_lanes;
    assert_eq!(order[..3], [Lane::Trust, Lane::Flash, Lane::Life]);
}

#[test]
fn authors_take_turns_within_a_lane() {
    let mut net = Net::operation(3);
    for node in 1..3 {
        for n in 0..2_000 {
            net.write(node, Lane::Life, &format!("{n} {}", "z".repeat(300)));
        }
        net.connect(0, node);
        net.drive();
    }
    // Node 3 has nothing yet: half way through it holds about as much of one author as of the other.
    net.connect(0, 3);
    let total = |net: &Net| {
        let one = net.nodes[3].store.head(&log_of(2, Lane::Life)).seq.0;
        let two = net.nodes[3].store.head(&log_of(3, Lane::Life)).seq.0;
        (one, two)
    };
    while total(&net).0 + total(&net).1 < 2_000 {
        assert!(net.step());
    }
    let (one, two) = total(&net);
    assert!(one.abs_diff(two) < 600, "{one} and {two}");
    net.drive();
    net.assert_converged();
}

#[test]
fn only_what_a_peer_asked_for_is_sent_of_groups_and_bulk_lanes() {
    let group = GroupId([9; 16]);
    let mut hq = grant(1, Role::Hq);
    hq.groups = vec![group];
    let hq = hq.sign(&key(1));
    let field = grant(2, Role::Field).sign(&key(1));
    let carrier = grant(3, Role::Field).sign(&key(1));
    let grants = [hq, field, carrier];
    let mut net = Net::new();
    net.add(1, &grants);
    net.add(2, &grants);
    let interest = Interest {
        groups: vec![group],
        lanes: vec![Lane::Raw],
    };
    net.add_with(3, &grants, genesis(), Limits::default(), interest);
    let sealed = LogId {
        group,
        ..log_of(1, Lane::Life)
    };
    net.commit(0, sealed, &[entry("for the group")]);
    net.write(0, Lane::Raw, "raw");
    net.write(0, Lane::Blobs, "blob");
    net.write(0, Lane::Summary, "summary");
    net.connect(0, 1);
    net.connect(0, 2);
    net.drive();
    let lanes = |at: usize| {
        net.nodes[at]
            .store
            .logs
            .keys()
            .map(|log| log.lane)
            .collect::<Vec<_>>()
    };
    assert_eq!(lanes(1), [Lane::Summary]);
    assert_eq!(lanes(2), [Lane::Summary, Lane::Raw, Lane::Life]);
    assert_eq!(net.state(0, 1).behind_entries, 0);
}

#[test]
fn nothing_is_acknowledged_before_it_is_on_disk() {
    let mut net = Net::operation(1);
    net.connect(0, 1);
    net.drive();
    net.nodes[1].hold_batches = true;
    net.write(0, Lane::Life, "not yet");
    net.drive();
    assert_eq!(net.state(0, 1).behind_entries, 1);
    assert!(
        net.nodes[1]
            .engine
            .frontier()
            .get(&log_of(1, Lane::Life))
            .is_none()
    );
    net.release_batches(1);
    net.drive();
    assert_eq!(net.state(0, 1).behind_entries, 0);
    net.assert_converged();
}

#[test]
fn a_store_that_cannot_write_cuts_the_sender_off_and_goes_on_later() {
    let mut net = Net::operation(1);
    net.connect(0, 1);
    net.drive();
    net.nodes[1].store.faulty = true;
    net.write(0, Lane::Life, "no room");
    net.drive();
    assert_eq!(net.nodes[1].disconnects[0].0, ReasonCode::StorageFault);
    assert_eq!(net.nodes[1].engine.counters().store_faults, 1);
    net.nodes[1].store.faulty = false;
    net.connect(0, 1);
    net.drive();
    net.assert_converged();
}

#[test]
fn after_a_fault_the_same_entries_come_from_the_other_peer() {
    let mut net = Net::operation(2);
    net.connect(0, 1);
    net.drive();
    net.write(0, Lane::Life, "held by both");
    net.drive();
    net.nodes[2].hold_batches = true;
    net.connect(0, 2);
    net.connect(1, 2);
    net.drive();
    // One copy is at the store, the other was dropped as a duplicate. The store fails.
    net.nodes[2].store.faulty = true;
    net.release_batches(2);
    net.nodes[2].store.faulty = false;
    net.drive();
    net.assert_converged();
}

#[test]
fn a_load_that_gives_nothing_is_retried_later() {
    let mut net = Net::operation(1);
    net.write(0, Lane::Life, "hidden");
    net.nodes[0].store.unreadable = true;
    net.connect(0, 1);
    net.drive();
    assert!(net.nodes[1].store.logs.is_empty());
    assert_eq!(
        net.nodes[0].engine.poll_timeout().unwrap().1,
        "retry a load"
    );
    net.nodes[0].store.unreadable = false;
    net.drive_for(2_000);
    net.assert_converged();
}

#[test]
fn when_both_dial_at_once_both_keep_the_same_connection() {
    for (a, b) in [(0, 1), (1, 0)] {
        let mut net = Net::operation(1);
        net.write(0, Lane::Life, "x");
        net.connect(a, b);
        net.connect(b, a);
        net.drive();
        net.assert_converged();
        let dropped: usize = net.nodes.iter().map(|node| node.disconnects.len()).sum();
        assert!(dropped >= 1);
        assert_eq!(net.state(0, 1).state, PeerState::Live);
        assert_eq!(net.state(1, 0).state, PeerState::Live);
    }
}

#[test]
fn a_peer_that_lost_the_connection_replaces_it() {
    let mut net = Net::operation(1);
    net.connect(0, 1);
    net.drive();
    net.now_ms += 60_000;
    net.connect(1, 0);
    net.write(0, Lane::Life, "after the reconnect");
    net.drive();
    net.assert_converged();
    assert_eq!(net.nodes[1].disconnects[0].0, ReasonCode::Superseded);
}

#[test]
fn applied_heights_follow_stored_ones() {
    let mut net = Net::operation(1);
    net.connect(0, 1);
    net.drive();
    net.nodes[1].hold_batches = true;
    net.write(0, Lane::Life, "depends on something");
    net.drive();
    let log = log_of(1, Lane::Life);
    let (batch, runs) = net.nodes[1].held.pop_front().unwrap();
    net.nodes[1].store.commit(runs);
    net.input(
        1,
        Input::Persisted {
            batch,
            result: Ok(Stored::default()),
        },
    );
    net.drive();
    let item = |net: &Net| net.nodes[0].progress.last().unwrap().1;
    assert_eq!((item(&net).stored, item(&net).applied), (Seq(1), Seq::NONE));
    net.input(
        1,
        Input::Applied {
            items: vec![(log, Seq(9))],
        },
    );
    net.drive();
    assert_eq!((item(&net).stored, item(&net).applied), (Seq(1), Seq(1)));
}

#[test]
fn what_is_in_flight_stays_within_the_window() {
    let limits = Limits::default();
    let mut net = Net::operation(1);
    net.connect(0, 1);
    net.drive();
    net.nodes[1].hold_batches = true;
    // Incompressible, so that bytes on the wire are bytes.
    let mut noise = 1_u64;
    for _ in 0..400 {
        let text: String = (0..8_000)
            .map(|_| {
                noise = noise
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                char::from(b'!' + (noise >> 60) as u8)
            })
            .collect();
        net.write(0, Lane::Coordination, &text);
    }
    net.drive();
    let received: usize = net.nodes[1]
        .held
        .iter()
        .map(|(_, runs)| runs.iter().map(VerifiedRun::entry_bytes).sum::<usize>())
        .sum();
    assert!(received <= limits.batch_bytes_max);
    let sent = net.nodes[0].engine.counters().sent_bytes as usize;
    assert!(
        sent < limits.unacked_bytes_max + 3 * RUN_BYTES_MAX,
        "{sent} bytes sent unacknowledged"
    );
    // Urgent lanes are not held up by it.
    net.nodes[1].hold_batches = false;
    net.write(0, Lane::Flash, "help");
    net.drive();
    assert_eq!(net.nodes[1].store.head(&log_of(1, Lane::Flash)).seq, Seq(1));
    net.release_batches(1);
    net.drive();
    net.assert_converged();
}
