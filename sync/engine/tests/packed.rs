//! Packed runs between engines: what refers to what, who looks it up, and what happens when nobody knows.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use sync_engine::*;

/// Kind byte of a packed run's frame.
const RUN_PACKED: u8 = 17;

/// HQ writes an entry for each of some objects, the field node takes them in and builds one on each.
fn two_who_edit_each_others(objects: u8) -> (Net, ConnId) {
    let mut net = Net::operation(1);
    let conn = net.connect(0, 1);
    net.drive();
    let first: Vec<_> = (0..objects)
        .map(|object| toy::entry(object, &[], &format!("incident {object}")))
        .collect();
    net.commit(0, log_of(1, Lane::Life), &first);
    net.drive();
    net.cut(conn);
    (net, conn)
}

fn answers(net: &Net, objects: u8) -> Vec<Vec<u8>> {
    let log = &net.nodes[0].store.logs[&log_of(1, Lane::Life)];
    (0..objects)
        .map(|object| {
            let name = toy::name(&log[usize::from(object)].bytes).unwrap();
            toy::entry(object, &[name.hash], "seen and on the way")
        })
        .collect()
}

#[test]
fn a_change_of_what_the_peer_wrote_costs_a_fraction_of_its_hashes() {
    let (mut net, _) = two_who_edit_each_others(32);
    let answers = answers(&net, 32);
    net.commit(1, log_of(2, Lane::Life), &answers);
    net.nodes[1].sent_runs.clear();
    net.connect(0, 1);
    net.drive();
    net.assert_converged();
    let sent: usize = net.nodes[1].sent_runs.iter().map(Vec::len).sum();
    assert!(net.nodes[1].sent_runs.iter().all(|f| f[0] == RUN_PACKED));
    // Hash and object alone are 48 bytes each.
    assert!(sent < 32 * 20, "{sent} bytes");
    assert_eq!(net.nodes[0].engine.counters().unresolved_runs, 0);
}

#[test]
fn what_a_restarted_node_no_longer_has_in_memory_is_looked_up_in_its_store() {
    let (mut net, _) = two_who_edit_each_others(32);
    let answers = answers(&net, 32);
    net.commit(1, log_of(2, Lane::Life), &answers);
    net.restart(0);
    net.restart(1);
    net.connect(0, 1);
    net.drive();
    net.assert_converged();
    assert_eq!(net.nodes[0].engine.counters().resolves, 1);
    assert_eq!(net.nodes[0].engine.counters().unresolved_runs, 0);
}

#[test]
fn what_cannot_be_looked_up_is_asked_for_plain_and_arrives() {
    let (mut net, _) = two_who_edit_each_others(32);
    let answers = answers(&net, 32);
    net.commit(1, log_of(2, Lane::Life), &answers);
    net.restart(0);
    net.nodes[0].forgetful = true;
    net.connect(0, 1);
    net.drive();
    net.assert_converged();
    assert_eq!(net.nodes[0].engine.counters().unresolved_runs, 1);
    assert!(net.nodes[0].disconnects.is_empty() && net.nodes[1].disconnects.is_empty());
    // That log stays plain; the others do not.
    net.nodes[1].sent_runs.clear();
    net.commit(1, log_of(2, Lane::Life), &[toy::entry(1, &[], "plain")]);
    net.commit(1, log_of(2, Lane::Flash), &[toy::entry(2, &[], "packed")]);
    net.drive();
    let kinds: Vec<bool> = net.nodes[1]
        .sent_runs
        .iter()
        .map(|f| f[0] == RUN_PACKED)
        .collect();
    assert_eq!(kinds, [false, true]);
    net.assert_converged();
}

#[test]
fn a_wrong_name_in_the_receivers_store_is_found_by_the_signature_and_healed_by_a_plain_run() {
    let (mut net, _) = two_who_edit_each_others(4);
    let answers = answers(&net, 4);
    net.commit(1, log_of(2, Lane::Life), &answers);
    net.restart(0);
    net.nodes[0].mistaken = Some(Name {
        hash: [1; 32],
        object: ObjectId([1; 16]),
    });
    net.connect(0, 1);
    net.drive();
    net.assert_converged();
    assert_eq!(net.nodes[0].engine.counters().wrong_rebuilds, 1);
    assert_eq!(net.nodes[0].engine.counters().refused_signature, 0);
    assert!(net.nodes[0].disconnects.is_empty());
}

#[test]
fn a_packed_run_of_lane_0_that_overtakes_its_senders_greeting_is_read() {
    let mut net = Net::operation(2);
    net.slow_control = Some((1, net.now_ms + 200));
    net.connect(0, 1);
    net.drive_for(100);
    let frames = &net.nodes[0].sent_runs;
    assert!(frames.iter().any(|frame| frame[0] == RUN_PACKED));
    assert_eq!(
        net.nodes[1].engine.frontier(),
        net.nodes[0].engine.frontier(),
        "lane 0 is there before the greeting"
    );
    // What comes later on the stream counts on what the first frame named.
    net.enrol(0, grant(9, Role::Field).sign(&key(1)));
    net.write(0, Lane::Life, "evacuate");
    net.drive_for(1_000);
    assert_eq!(
        net.nodes[1].engine.frontier(),
        net.nodes[0].engine.frontier()
    );
    assert_eq!(net.nodes[1].engine.counters().unknown_frames, 0);
    assert!(net.nodes[1].disconnects.is_empty());
}

#[test]
fn a_peer_of_protocol_1_gets_and_sends_plain_runs() {
    let mut net = Net::operation(0);
    let own = grant(2, Role::Field).sign(&key(1));
    net.enrol(0, own.clone());
    let limits = Limits {
        protocol_max: 1,
        ..Limits::default()
    };
    let hq = grant(1, Role::Hq).sign(&key(1));
    net.add_with(2, &[hq, own], genesis(), limits, Interest::default());
    net.commit(0, log_of(1, Lane::Life), &[toy::entry(1, &[], "from hq")]);
    net.connect(0, 1);
    net.commit(
        1,
        log_of(2, Lane::Life),
        &[toy::entry(2, &[], "from the field")],
    );
    net.drive();
    net.assert_converged();
    for node in &net.nodes {
        assert!(node.sent_runs.iter().all(|frame| frame[0] != RUN_PACKED));
        assert_eq!(node.engine.counters().unknown_frames, 0);
    }
}

#[test]
fn a_relay_passes_on_what_it_got_and_packs_nothing_again() {
    let mut net = Net::operation(2);
    net.connect(0, 1);
    net.connect(1, 2);
    net.drive();
    net.commit(0, log_of(1, Lane::Life), &[toy::entry(1, &[], "first")]);
    net.drive();
    let parent = toy::name(&toy::entry(1, &[], "first")).unwrap().hash;
    net.commit(
        2,
        log_of(3, Lane::Life),
        &[toy::entry(1, &[parent], "second")],
    );
    net.drive();
    net.assert_converged();
    for node in &net.nodes {
        let counters = node.engine.counters();
        assert_eq!(counters.unresolved_runs + counters.wrong_rebuilds, 0);
        assert_eq!(counters.resolves, 0, "it is in memory still");
    }
    let relayed = net.nodes[1].sent_runs.last().unwrap();
    assert_eq!(relayed[0], RUN_PACKED);
}

#[test]
fn a_live_edit_goes_without_references_to_who_lacks_what_it_builds_on() {
    let mut net = Net::operation(2);
    net.connect(0, 1);
    net.connect(1, 2);
    net.drive();
    // The third node has not got the first one's entry when the second one answers it.
    net.nodes[1].hold_batches = true;
    net.commit(0, log_of(1, Lane::Life), &[toy::entry(1, &[], "first")]);
    net.drive();
    net.nodes[1].store.unreadable = true;
    let held = net.nodes[2].engine.frontier().head(&log_of(1, Lane::Life));
    assert_eq!(held, Head::EMPTY);
    let parent = toy::name(&toy::entry(1, &[], "first")).unwrap().hash;
    net.nodes[1].sent_runs.clear();
    net.commit(
        1,
        log_of(2, Lane::Life),
        &[toy::entry(1, &[parent], "second")],
    );
    // The first holds its own entry: it gets the reference. The third would have to ask for the run again.
    let frames = &net.nodes[1].sent_runs;
    assert_eq!(frames.len(), 2);
    assert!(frames.iter().all(|frame| frame[0] == RUN_PACKED));
    let (to_first, to_third) = (frames[0].len(), frames[1].len());
    assert!(to_first < to_third, "{to_first} and {to_third} bytes");
    net.nodes[1].store.unreadable = false;
    net.release_batches(1);
    net.drive_for(5_000);
    net.assert_converged();
    for node in &net.nodes {
        assert_eq!(node.engine.counters().unresolved_runs, 0);
    }
}

#[test]
fn frames_behind_one_that_waits_are_taken_in_their_order() {
    let (mut net, _) = two_who_edit_each_others(4);
    let answers = answers(&net, 4);
    net.commit(1, log_of(2, Lane::Life), &answers);
    net.restart(0);
    net.nodes[0].hold_resolves = true;
    net.connect(0, 1);
    net.drive();
    for n in 0..5 {
        net.commit(
            1,
            log_of(2, Lane::Life),
            &[toy::entry(9, &[], &format!("{n}"))],
        );
    }
    net.drive();
    assert_eq!(
        net.nodes[0].engine.frontier().head(&log_of(2, Lane::Life)),
        Head::EMPTY
    );
    // An urgent lane does not wait with it.
    net.commit(1, log_of(2, Lane::Flash), &[toy::entry(9, &[], "help")]);
    net.drive();
    let flash = log_of(2, Lane::Flash);
    assert_eq!(net.nodes[0].engine.frontier().head(&flash).seq, Seq(1));
    let known: Vec<(Place, Name)> = net.nodes[0].store.logs[&log_of(1, Lane::Life)]
        .iter()
        .zip(1..)
        .map(|(kept, seq)| {
            let log = log_of(1, Lane::Life);
            (
                Place { log, seq: Seq(seq) },
                toy::name(&kept.bytes).unwrap(),
            )
        })
        .collect();
    net.release_resolves(0, &known);
    net.drive();
    net.assert_converged();
    assert_eq!(net.nodes[0].engine.counters().gap_runs, 0);
}

#[test]
fn a_connection_that_ends_while_a_run_waits_leaves_nothing_behind() {
    let (mut net, _) = two_who_edit_each_others(4);
    let answers = answers(&net, 4);
    net.commit(1, log_of(2, Lane::Life), &answers);
    net.restart(0);
    net.nodes[0].hold_resolves = true;
    let conn = net.connect(0, 1);
    net.drive();
    net.cut(conn);
    net.release_resolves(0, &[]);
    net.connect(0, 1);
    net.drive();
    net.assert_converged();
}

#[test]
fn entries_that_are_not_on_the_disk_yet_are_known_by_name() {
    let mut net = Net::operation(2);
    let conn = net.connect(0, 1);
    net.drive();
    net.commit(0, log_of(1, Lane::Life), &[toy::entry(1, &[], "first")]);
    net.drive();
    net.cut(conn);
    let parent = toy::name(&toy::entry(1, &[], "first")).unwrap().hash;
    net.commit(
        1,
        log_of(2, Lane::Life),
        &[toy::entry(1, &[parent], "second")],
    );
    net.nodes[2].hold_batches = true;
    net.connect(1, 2);
    net.drive();
    net.release_batches(2);
    net.drive();
    for at in 1..3 {
        let head = net.nodes[at].store.head(&log_of(2, Lane::Life));
        assert_eq!(head.seq, Seq(1));
    }
    assert_eq!(net.nodes[2].engine.counters().unresolved_runs, 0);
}
