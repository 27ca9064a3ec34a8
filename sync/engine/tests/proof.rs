//! Peers that hold the same logs compare what they have made of them.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use sync_engine::*;

fn met() -> Net {
    meeting().0
}

/// Two nodes that hold the same, and the connection between them.
fn meeting() -> (Net, ConnId) {
    let mut net = Net::operation(1);
    for n in 0..300 {
        net.write(0, Lane::Life, &format!("hq {n}"));
        net.write(1, Lane::Coordination, &format!("field {n}"));
    }
    let conn = net.connect(0, 1);
    net.drive();
    (net, conn)
}

#[test]
fn equal_views_are_found_equal_at_both_ends() {
    let mut net = met();
    assert_eq!(net.state(0, 1).proof, ProofView::Unproven);
    net.drive_for(3_000);
    for (at, of) in [(0, 1), (1, 0)] {
        assert!(matches!(net.state(at, of).proof, ProofView::Equal { .. }));
        assert_eq!(net.nodes[at].engine.counters().proofs_equal, 1);
        assert!(net.nodes[at].mismatches.is_empty());
    }
}

#[test]
fn both_ends_name_the_same_digest_and_another_when_something_came() {
    let mut net = met();
    let digest = |net: &Net, at: usize, of: usize| match net.state(at, of).proof {
        ProofView::Equal { digest, .. } => digest,
        other => panic!("{other:?} at node {at}"),
    };
    net.drive_for(3_000);
    let first = digest(&net, 0, 1);
    assert_eq!(digest(&net, 1, 0), first);
    net.write(1, Lane::Life, "one more");
    net.drive_for(60_000);
    assert_ne!(digest(&net, 0, 1), first);
    assert_eq!(digest(&net, 1, 0), digest(&net, 0, 1));
}

#[test]
fn a_view_that_went_bad_while_nothing_was_written_is_found_on_the_next_connection() {
    let (mut net, conn) = meeting();
    net.drive_for(60_000);
    let marks = net.nodes[0].engine.counters().marks_agreed;
    net.cut(conn);
    net.drive();
    let lost = *net.nodes[1].view().keys().next().unwrap();
    net.nodes[1].lost.insert(lost);
    net.connect(0, 1);
    net.drive_for(3_000);
    for node in &net.nodes {
        let [mismatch] = &node.mismatches[..] else {
            panic!("one fault: {:?}", node.mismatches);
        };
        assert_eq!(mismatch.objects[0].object, lost);
    }
    assert_eq!(
        net.nodes[0].engine.counters().marks_agreed,
        marks,
        "no new mark"
    );
    net.nodes[1].lost.clear();
    net.drive_for(600_000);
    assert_eq!(
        net.nodes[0].engine.counters().proofs_equal,
        2,
        "once a connection"
    );
}

#[test]
fn lost_objects_are_named_at_both_ends_and_found_again_after_the_repair() {
    let mut net = met();
    let objects: Vec<ObjectId> = net.nodes[1].view().into_keys().collect();
    let lost: Vec<ObjectId> = objects.iter().copied().step_by(150).collect();
    net.nodes[1].lost.extend(&lost);
    net.drive_for(3_000);
    let named = |mismatch: &Mismatch| -> Vec<ObjectId> {
        mismatch
            .objects
            .iter()
            .map(|differing| differing.object)
            .collect()
    };
    for at in [0, 1] {
        let [mismatch] = &net.nodes[at].mismatches[..] else {
            panic!("one fault at node {at}");
        };
        assert_eq!(named(mismatch), lost);
        let here = mismatch.objects[0];
        assert_eq!(
            (here.ours.is_none(), here.theirs.is_none()),
            (at == 1, at == 0)
        );
        assert!(matches!(
            net.state(at, 1 - at).proof,
            ProofView::Differs { objects: 5, .. }
        ));
    }
    net.nodes[1].lost.clear();
    net.drive_for(10_000);
    for at in [0, 1] {
        assert!(matches!(
            net.state(at, 1 - at).proof,
            ProofView::Equal { .. }
        ));
        assert_eq!(net.nodes[at].mismatches.len(), 1);
    }
}

#[test]
fn a_difference_that_stays_is_compared_three_times_and_then_left() {
    let mut net = met();
    let object = *net.nodes[0].view().keys().next().unwrap();
    net.nodes[0].lost.insert(object);
    net.drive_for(600_000);
    for node in &net.nodes {
        assert_eq!(node.mismatches.len(), 3);
        assert_eq!(node.engine.counters().proof_faults, 3);
    }
}

#[test]
fn more_than_one_look_can_hold_is_found_bucket_by_bucket() {
    let mut net = met();
    let all: Vec<ObjectId> = net.nodes[1].view().into_keys().collect();
    net.nodes[1].lost.extend(&all);
    net.drive_for(3_000);
    let found = net.nodes[0].mismatches[0].objects.len();
    assert!((1..100).contains(&found), "{found} of {}", all.len());
}

#[test]
fn pending_entries_that_one_node_forgot_are_a_fault_without_objects() {
    let mut net = met();
    net.nodes[0].pending = 2;
    net.drive_for(3_000);
    let mismatch = &net.nodes[1].mismatches[0];
    assert!(mismatch.objects.is_empty());
    assert_eq!(mismatch.pending, (0, 2));
}

#[test]
fn a_node_that_cannot_look_looks_later_though_nothing_moves() {
    for blind in [0, 1] {
        let mut net = met();
        let lost = *net.nodes[1].view().keys().next().unwrap();
        net.nodes[1].lost.insert(lost);
        net.nodes[blind].store.unreadable = true;
        net.drive_for(100_000);
        assert_eq!(net.state(0, 1).proof, ProofView::Unproven);
        assert_eq!(net.state(1, 0).proof, ProofView::Unproven);
        net.nodes[blind].store.unreadable = false;
        while net.nodes.iter().any(|node| node.mismatches.is_empty()) {
            net.drive_for(1_000);
        }
        for node in &net.nodes {
            assert_eq!(node.mismatches[0].objects[0].object, lost);
        }
        net.nodes[1].lost.clear();
        net.drive_for(10_000);
        for (at, of) in [(0, 1), (1, 0)] {
            assert!(matches!(net.state(at, of).proof, ProofView::Equal { .. }));
        }
    }
}

#[test]
fn programs_with_other_rules_are_not_compared() {
    let mut net = met();
    net.nodes[0].rules = 2;
    net.drive_for(60_000);
    for (at, of) in [(0, 1), (1, 0)] {
        assert_eq!(net.state(at, of).proof, ProofView::Unproven);
        assert_eq!(net.nodes[at].engine.counters().proofs_void, 1);
    }
}

#[test]
fn a_proof_beyond_its_bounds_is_a_violation() {
    let mut net = met();
    let conn = ConnId(1);
    // Kind 10, a mark of zeros, round 0, buckets, none of them.
    let bytes = [vec![10], vec![0; 16], vec![0, 1, 0]].concat();
    let stream = StreamKind::Control;
    net.input(
        0,
        Input::Frame {
            conn,
            stream,
            bytes,
        },
    );
    assert_eq!(net.nodes[0].disconnects[0].0, ReasonCode::BadFrame);
}
