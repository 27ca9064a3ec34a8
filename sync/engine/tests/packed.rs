//! Packed runs between engines: what refers to what, who looks it up, and what happens when nobody knows.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

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
    net.slow_stream = Some((1, StreamKind::Control, net.now_ms + 200));
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

#[test]
fn an_author_that_builds_on_a_change_of_another_document_makes_nobody_send_a_wrong_run() {
    let (mut net, _) = two_who_edit_each_others(1);
    let first = toy::name(&toy::entry(0, &[], "incident 0")).unwrap().hash;
    // One of the two can go with the place of what it builds on, which stands for the object as well.
    let entries = [
        toy::entry(0, &[first], "right"),
        toy::entry(5, &[first], "wrong"),
    ];
    net.commit(1, log_of(2, Lane::Life), &entries);
    net.connect(0, 1);
    net.drive();
    net.assert_converged();
    assert_eq!(net.nodes[0].engine.counters().wrong_rebuilds, 0);
    assert_eq!(net.nodes[0].engine.counters().unresolved_runs, 0);
}

/// The third node's entry, which the second has and answers, is on its way to the first together with the answer.
fn an_answer_and_what_it_answers() -> (Net, [u8; 32]) {
    let mut net = Net::operation(2);
    for (a, b) in [(0, 1), (1, 2)] {
        let conn = net.connect(a, b);
        net.drive();
        net.cut(conn);
    }
    net.commit(2, log_of(3, Lane::Life), &[toy::entry(1, &[], "first")]);
    let conn = net.connect(1, 2);
    net.drive();
    net.cut(conn);
    let parent = toy::name(&toy::entry(1, &[], "first")).unwrap().hash;
    net.commit(
        1,
        log_of(2, Lane::Life),
        &[toy::entry(1, &[parent], "second")],
    );
    net.nodes[1].sent_runs.clear();
    (net, parent)
}

fn nothing_had_to_be_asked_for(net: &Net) {
    for node in &net.nodes {
        let counters = node.engine.counters();
        assert_eq!(counters.unresolved_runs + counters.wrong_rebuilds, 0);
        assert!(node.disconnects.is_empty());
    }
}

#[test]
fn a_receiver_that_crashes_before_its_commit_gets_what_is_referred_to_once_more() {
    let (mut net, _) = an_answer_and_what_it_answers();
    net.nodes[0].hold_batches = true;
    net.connect(0, 1);
    net.drive();
    assert!(!net.nodes[0].held.is_empty(), "on its way to the disk");
    // All that was not committed is gone, and nothing of it was acknowledged.
    net.nodes[0].held.clear();
    net.nodes[0].hold_batches = false;
    net.restart(0);
    let log = log_of(3, Lane::Life);
    assert_eq!(net.nodes[0].engine.frontier().head(&log), Head::EMPTY);
    net.connect(0, 1);
    net.drive();
    assert_eq!(net.nodes[0].engine.frontier().head(&log).seq, Seq(1));
    assert_eq!(
        net.nodes[0].engine.frontier().head(&log_of(2, Lane::Life)),
        net.nodes[1].engine.frontier().head(&log_of(2, Lane::Life))
    );
    nothing_had_to_be_asked_for(&net);
}

#[test]
fn what_was_committed_and_whose_acknowledgement_was_lost_is_referred_to_and_found() {
    let (mut net, parent) = an_answer_and_what_it_answers();
    let conn = net.connect(0, 1);
    let log = log_of(2, Lane::Life);
    while net.nodes[0].engine.frontier().head(&log) == Head::EMPTY {
        assert!(net.now_ms < 60_000, "the answer never came");
        net.drive_for(1);
    }
    // Committed, and the acknowledgement is on its way: it is lost, and so is the memory of the receiver.
    net.cut(conn);
    net.restart(0);
    net.commit(1, log, &[toy::entry(1, &[parent], "third")]);
    net.connect(0, 1);
    net.drive();
    assert_eq!(
        net.nodes[0].engine.frontier().head(&log),
        net.nodes[1].engine.frontier().head(&log)
    );
    // It was a place that came, and the store knew what stands there.
    assert_eq!(net.nodes[0].engine.counters().resolves, 1);
    nothing_had_to_be_asked_for(&net);
}

/// Lane 2 of a connection, written by hand.
struct ByHand {
    conn: ConnId,
    stream: PackedStream,
}

impl ByHand {
    fn new(conn: ConnId) -> Self {
        let stream = PackedStream::new(Lane::Life);
        Self { conn, stream }
    }

    /// Sends a run to a node, with what it builds on as places.
    fn send(
        &mut self,
        net: &mut Net,
        to: usize,
        run: &Run,
        places: &BTreeMap<Name, Place>,
    ) -> usize {
        let knows = Knows {
            places: &|name| places.get(name).copied(),
            covered: &|_| true,
        };
        let packed = self.stream.pack(run, &toy::ToyCodec, &knows).unwrap();
        let bytes = [&[RUN_PACKED][..], &packed].concat();
        let length = bytes.len();
        self.send_frame(net, to, bytes);
        length
    }

    fn send_frame(&self, net: &mut Net, to: usize, bytes: Vec<u8>) {
        let (conn, stream) = (self.conn, StreamKind::Lane(Lane::Life));
        net.input(
            to,
            Input::Frame {
                conn,
                stream,
                bytes,
            },
        );
    }
}

/// A log of a node's that its engine does not know of.
fn life(seed: u8, life: u64) -> LogId {
    LogId {
        incarnation: Incarnation(life),
        ..log_of(seed, Lane::Life)
    }
}

#[test]
fn looks_into_the_store_that_lead_to_nothing_are_given_up() {
    let (mut net, _) = two_who_edit_each_others(1);
    net.restart(0);
    net.nodes[0].forgetful = true;
    let conn = net.connect(0, 1);
    net.drive();
    let mut by_hand = ByHand::new(conn);
    let first = toy::name(&toy::entry(0, &[], "incident 0")).unwrap();
    let place = Place {
        log: log_of(1, Lane::Life),
        seq: Seq(1),
    };
    let places = BTreeMap::from([(first, place)]);
    let mut store = MemoryStore::default();
    for n in 0..100 {
        let run = store.append(
            life(2, 100 + n),
            &[toy::entry(0, &[first.hash], "x")],
            &key(2),
        );
        by_hand.send(&mut net, 0, &run, &places);
    }
    let counters = net.nodes[0].engine.counters();
    assert_eq!((counters.resolves, counters.unresolved_runs), (64, 100));
    assert!(net.nodes[0].disconnects.is_empty());
    // And none for a log of an author that nobody knows: anybody can make those up.
    net.restart(0);
    let conn = net.connect(0, 1);
    net.drive();
    let run = store.append(life(77, 1), &[toy::entry(0, &[first.hash], "x")], &key(77));
    ByHand::new(conn).send(&mut net, 0, &run, &places);
    assert_eq!(net.nodes[0].engine.counters().resolves, 0);
    assert_eq!(net.nodes[0].engine.counters().unresolved_runs, 1);
}

#[test]
fn who_makes_us_ask_for_more_logs_than_may_be_remembered_is_cut_off() {
    let mut net = Net::operation(0);
    let own = grant(2, Role::Field).sign(&key(1));
    net.enrol(0, own.clone());
    let hq = grant(1, Role::Hq).sign(&key(1));
    let limits = Limits {
        peer_logs_max: 50,
        ..Limits::default()
    };
    net.add_with(2, &[hq, own], genesis(), limits, Interest::default());
    let conn = net.connect(0, 1);
    net.drive();
    let mut by_hand = ByHand::new(conn);
    let mut store = MemoryStore::default();
    for n in 0..60 {
        let log = life(1, 100 + n);
        store.append(log, &[toy::entry(0, &[], "x")], &key(1));
        // Behind a gap.
        let run = store.append(log, &[toy::entry(0, &[], "y")], &key(1));
        by_hand.send(&mut net, 1, &run, &BTreeMap::new());
    }
    assert_eq!(net.nodes[1].disconnects[0].0, ReasonCode::Flow);
}

#[test]
fn what_waits_behind_a_look_into_the_store_is_counted_by_the_memory_it_takes() {
    let (mut net, _) = two_who_edit_each_others(1);
    net.restart(0);
    net.nodes[0].hold_resolves = true;
    let conn = net.connect(0, 1);
    net.drive();
    let mut by_hand = ByHand::new(conn);
    let first = toy::name(&toy::entry(0, &[], "incident 0")).unwrap();
    let place = Place {
        log: log_of(1, Lane::Life),
        seq: Seq(1),
    };
    let mut store = MemoryStore::default();
    let run = store.append(life(2, 100), &[toy::entry(0, &[first.hash], "x")], &key(2));
    by_hand.send(&mut net, 0, &run, &BTreeMap::from([(first, place)]));
    assert_eq!(net.nodes[0].engine.counters().resolves, 1);
    // Ids that the stream has named, sixty thousand times: a byte each on the wire.
    let head = [
        &[RUN_PACKED, 0, 2, 2, 1, 0][..],
        &[7; 64],
        &[0; 4],
        &[0, 0xe0, 0xd4, 3],
    ]
    .concat();
    let frame = [&head[..], &[2; 60_000], &[0]].concat();
    let mut sent = 0;
    while net.nodes[0].disconnects.is_empty() {
        assert!(sent < 1 << 20, "{sent} bytes are held as such");
        by_hand.send_frame(&mut net, 0, frame.clone());
        sent += frame.len();
    }
    assert_eq!(net.nodes[0].disconnects[0].0, ReasonCode::Flow);
}

#[test]
fn a_run_that_is_too_long_for_another_stream_is_passed_on_all_the_same() {
    let mut net = Net::operation(2);
    let conn = net.connect(0, 1);
    net.connect(1, 2);
    net.drive();
    let mut by_hand = ByHand::new(conn);
    let mut store = MemoryStore::default();
    let mut places = BTreeMap::new();
    // A hundred and twenty logs that this stream will have named.
    for n in 0..120 {
        let (log, entry) = (life(1, 1_000 + n), toy::entry(1, &[], &format!("{n}")));
        let name = toy::name(&entry).unwrap();
        places.insert(name, Place { log, seq: Seq(1) });
        let run = store.append(log, &[entry], &key(1));
        by_hand.send(&mut net, 1, &run, &places);
    }
    net.drive();
    // Two entries that build on all of them, and as much that does not compress as a run can have besides.
    let log = log_of(1, Lane::Life);
    let hashes: Vec<[u8; 32]> = places.keys().map(|name| name.hash).collect();
    for parents in hashes.chunks(60) {
        store.append(log, &[toy::entry(1, parents, "")], &key(1));
    }
    for n in 0..15_u8 {
        let mut noise = vec![0; 3_980];
        blake3::Hasher::new()
            .update(&[n])
            .finalize_xof()
            .fill(&mut noise);
        store.append(log, &[noise], &key(1));
    }
    let run = store.load(&log, Seq(1), RUN_BYTES_MAX).unwrap();
    assert_eq!(run.last(), Seq(17));
    let length = by_hand.send(&mut net, 1, &run, &places);
    assert!(length <= LANE_FRAME_BYTES_MAX, "{length} bytes");
    assert!(
        length + 120 * 40 > LANE_FRAME_BYTES_MAX,
        "{length} bytes fit any stream"
    );
    net.drive();
    for node in &net.nodes[1..] {
        assert_eq!(node.engine.frontier().head(&log).seq, Seq(17));
        assert!(node.disconnects.is_empty(), "{:?}", node.disconnects);
    }
}
