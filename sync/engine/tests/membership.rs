//! Who is let in: strangers, joiners, other operations, authors whose grant is still on its way.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use sync_engine::*;

/// HQ, a field node, and a joiner whose grant only the HQ has written down.
fn with_joiner() -> Net {
    let mut net = Net::operation(1);
    net.connect(0, 1);
    net.drive();
    net.cut(ConnId(1));
    let hq = grant(1, Role::Hq).sign(&key(1));
    let joiner = grant(9, Role::Field).sign(&key(1));
    net.enrol(0, joiner.clone());
    net.add(9, &[hq, joiner]);
    net
}

#[test]
fn a_joiner_with_only_the_genesis_gets_lane_0_first_and_then_the_rest() {
    let mut net = Net::operation(0);
    net.write(0, Lane::Life, "an incident");
    net.enrol(0, grant(9, Role::Field).sign(&key(1)));
    let joiner = net.add(9, &[]);
    net.connect(joiner, 0);
    net.drive();
    net.assert_converged();
    assert_eq!(net.state(joiner, 0).state, PeerState::Live);
    net.write(joiner, Lane::Life, "the joiner's own");
    net.drive();
    net.assert_converged();
    assert_eq!(net.nodes[0].engine.counters().refused_author, 0);
}

#[test]
fn a_node_admits_a_joiner_once_the_joiner_brought_its_grant() {
    let mut net = with_joiner();
    // The joiner has met the HQ, the field node has not since.
    net.connect(2, 0);
    net.drive();
    net.write(2, Lane::Life, "from the joiner");
    net.drive();
    let conn = net.connect(2, 1);
    assert_eq!(net.state(2, 1).state, PeerState::Greeting);
    net.drive();
    assert_eq!(net.state(1, 2).state, PeerState::Live);
    net.assert_converged();
    assert_eq!(net.nodes[1].engine.counters().refused_author, 0);
    net.cut(conn);
}

#[test]
fn a_stranger_is_dropped_after_ten_seconds_and_gets_nothing_but_lane_0() {
    let mut net = Net::operation(1);
    net.write(0, Lane::Life, "not for strangers");
    let hq = grant(1, Role::Hq).sign(&key(1));
    // It would wait longer for us than we do for it.
    let patient = Limits {
        greeting_ms_max: 60_000,
        ..Limits::default()
    };
    let stranger = net.add_with(66, &[hq], genesis(), patient, Interest::default());
    net.write(stranger, Lane::Life, "let me in");
    net.connect(stranger, 0);
    net.drive();
    let got = net.nodes[stranger]
        .store
        .logs
        .keys()
        .filter(|log| log.author != node_id(66));
    assert_eq!(got.collect::<Vec<_>>(), [&log_of(1, Lane::Trust)]);
    assert_eq!(
        net.nodes[0].engine.poll_timeout().unwrap().1,
        "greeting takes too long"
    );
    net.drive_for(15_000);
    assert_eq!(net.nodes[0].disconnects[0].0, ReasonCode::NotMember);
    assert_eq!(net.nodes[0].engine.counters().refused_author, 1);
    assert!(
        net.nodes[0]
            .engine
            .peers()
            .iter()
            .all(|peer| peer.node != node_id(66))
    );
    assert!(
        net.nodes[0]
            .store
            .logs
            .keys()
            .all(|log| log.author != node_id(66))
    );
}

#[test]
fn two_operations_refuse_each_other_and_name_both() {
    let mut net = Net::operation(0);
    let other = Genesis {
        nonce: [77; 16],
        ..genesis()
    };
    let stranger = net.add_with(
        5,
        &[],
        other.clone(),
        Limits::default(),
        Interest::default(),
    );
    net.connect(stranger, 0);
    net.drive();
    let (code, detail) = &net.nodes[0].disconnects[0];
    assert_eq!(*code, ReasonCode::OtherOperation);
    assert!(detail.contains(&other.id().to_string()));
    assert!(detail.contains(&genesis().id().to_string()));
    assert_eq!(net.nodes[0].engine.counters().refused_operation, 1);
}

#[test]
fn runs_of_an_author_whose_grant_comes_later_wait_unacknowledged() {
    let mut net = with_joiner();
    net.connect(2, 0);
    net.drive();
    net.write(2, Lane::Life, "early");
    net.drive();
    // The field node's lane 0 is held at its store, so that the run of the joiner overtakes the grant.
    net.nodes[1].hold_batches = true;
    net.connect(1, 0);
    net.drive();
    assert_eq!(net.nodes[1].engine.counters().waiting_runs, 1);
    assert_eq!(net.state(0, 1).behind_entries, 2);
    // However long the disk takes: the author is not refused while lane 0 is on its way.
    net.drive_for(60_000);
    assert_eq!(net.nodes[1].disconnects, []);
    net.release_batches(1);
    net.drive();
    net.assert_converged();
}

#[test]
fn waiting_runs_are_bounded_and_what_did_not_fit_is_asked_for_again() {
    let mut net = with_joiner();
    net.connect(2, 0);
    net.drive();
    for n in 0..300 {
        net.write(2, Lane::Life, &format!("{n} {}", "q".repeat(3_000)));
        net.write(2, Lane::Coordination, &format!("{n} {}", "q".repeat(3_000)));
    }
    net.drive();
    net.nodes[1].hold_batches = true;
    net.connect(1, 0);
    net.drive();
    assert!(net.nodes[1].engine.counters().waiting_dropped > 0);
    net.release_batches(1);
    net.drive();
    net.assert_converged();
}

/// A run of an author that is no member, in a frame of its lane.
fn foreign_frame(author: u8) -> Vec<u8> {
    let mut forger = MemoryStore::default();
    let log = log_of(author, Lane::Life);
    let run = forger.append(log, &[entry("forged")], &key(author));
    let mut frame = run.encode();
    frame.insert(0, 16);
    frame
}

fn on_life(conn: ConnId, bytes: Vec<u8>) -> Input {
    Input::Frame {
        conn,
        stream: StreamKind::Lane(Lane::Life),
        bytes,
    }
}

#[test]
fn runs_of_a_non_member_make_room_after_a_while_and_nothing_of_them_is_stored() {
    let mut net = Net::operation(1);
    let conn = net.connect(0, 1);
    net.drive();
    // A stranger's log, sent over a member's connection.
    net.input(0, on_life(conn, foreign_frame(66)));
    assert_eq!(net.nodes[0].engine.counters().waiting_runs, 1);
    net.drive_for(30_000);
    assert_eq!(net.nodes[0].engine.counters().waiting_dropped, 1);
    assert_eq!(net.nodes[0].disconnects, []);
    let of_the_stranger = |log: &&LogId| log.author == node_id(66);
    assert_eq!(net.nodes[0].store.logs.keys().find(of_the_stranger), None);
    net.write(1, Lane::Life, "goes on");
    net.drive();
    net.assert_converged();
}

#[test]
fn who_sends_runs_of_ever_more_non_members_is_cut_off() {
    let mut net = Net::new();
    let grants: Vec<_> = (1..=2)
        .map(|seed| grant(seed, Role::Hq).sign(&key(1)))
        .collect();
    let narrow = Limits {
        peer_logs_max: 20,
        ..Limits::default()
    };
    net.add_with(1, &grants, genesis(), narrow, Interest::default());
    net.add(2, &grants);
    let conn = net.connect(0, 1);
    net.drive();
    for author in 60..100 {
        net.input(0, on_life(conn, foreign_frame(author)));
    }
    net.drive_for(15_000);
    assert_eq!(net.nodes[0].disconnects[0].0, ReasonCode::Flow);
}

#[test]
fn a_grant_that_takes_longer_than_runs_wait_costs_no_honest_node_its_connection() {
    let mut net = Net::operation(1);
    net.connect(0, 1);
    net.drive();
    // Lane 0 of the HQ is lost and sent again, over and over; the lane of the joiner's entry has better luck.
    net.slow_stream = Some((1, StreamKind::Lane(Lane::Trust), net.now_ms + 45_000));
    let hq = grant(1, Role::Hq).sign(&key(1));
    let joiner = grant(9, Role::Field).sign(&key(1));
    net.enrol(0, joiner.clone());
    net.add(9, &[hq, joiner]);
    net.connect(2, 0);
    net.drive_for(1_000);
    net.write(2, Lane::Life, "early");
    net.drive_for(30_000);
    assert_eq!(net.nodes[1].engine.counters().waiting_dropped, 1);
    net.write(2, Lane::Life, "behind it");
    net.drive_for(30_000);
    assert_eq!(net.nodes[1].disconnects, []);
    net.drive();
    net.assert_converged();
}

#[test]
fn an_author_that_may_not_write_a_lane_is_refused() {
    let mut narrow = grant(2, Role::Field);
    narrow.lanes = vec![Lane::Trust, Lane::Life];
    let grants = [grant(1, Role::Hq).sign(&key(1)), narrow.sign(&key(1))];
    let mut net = Net::new();
    net.add(1, &grants);
    net.add(2, &grants);
    net.connect(0, 1);
    net.drive();
    net.write(1, Lane::Flash, "not granted");
    net.drive();
    assert_eq!(net.nodes[0].disconnects[0].0, ReasonCode::Author);
    assert!(net.nodes[0].store.logs.is_empty());
}

#[test]
fn records_of_another_operation_in_a_members_log_do_not_count() {
    let mut net = Net::operation(1);
    net.connect(0, 1);
    net.drive();
    let mut foreign = grant(5, Role::Hq);
    foreign.operation = OperationId([5; 32]);
    net.enrol(1, foreign.sign(&key(1)));
    net.commit(1, log_of(2, Lane::Trust), &[entry("no record at all")]);
    net.drive();
    // Kept and passed on, so that the chain goes on, but without effect.
    net.assert_converged();
    assert_eq!(net.nodes[0].engine.counters().refused_operation, 1);
    assert!(!net.nodes[0].engine.trust().is_member(node_id(5)));
}

#[test]
fn members_that_were_never_met_are_listed_with_all_they_would_get() {
    let net = Net::operation(2);
    let view = net.state(0, 1);
    assert_eq!(
        (view.state, view.last_seen_wall_ms),
        (PeerState::Disconnected, 0)
    );
    assert_eq!(view.behind_entries, 4);
}
