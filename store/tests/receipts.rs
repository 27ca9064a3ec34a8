//! What nodes several hops away say of the logs they hold, and what this node says of itself.
#![allow(clippy::unwrap_used)]

mod common;

use common::{INCIDENT, Peer, commit, document, edit, id, key, log_of, node, node_id, open};
use store::{Batch, Disposition, OpenOptions, ReceiptWrite, RunEntry, RunWrite, SeenBy, Store};
use sync_engine::{GroupId, Lane, LogId, NodeId, ObjectId, ProgressItem, Seq};

fn item(log: LogId, stored: u64, applied: u64) -> ProgressItem {
    ProgressItem {
        log,
        stored: Seq(stored),
        applied: Seq(applied),
    }
}

/// A batch that stores nothing but what a receipt of `node_id(seed)` says.
fn receipt(seed: u8, at_wall_ms: u64, items: &[ProgressItem]) -> Batch {
    let mut batch = Batch::new(Lane::Summary, 9_999);
    batch.receipts.push(ReceiptWrite {
        node: node_id(seed),
        at_wall_ms,
        items: items.to_vec(),
    });
    batch
}

/// A batch with the next entries of a peer's log, each a new version of one document, at our clock `at_wall_ms`.
fn arrival(
    peer: &mut Peer,
    object: ObjectId,
    dispositions: &[Disposition],
    at_wall_ms: u64,
) -> Batch {
    let bytes: Vec<&[u8]> = dispositions.iter().map(|_| b"change".as_slice()).collect();
    let run = peer.verified(&bytes);
    let mut batch = Batch::new(Lane::Life, at_wall_ms);
    let entries = dispositions
        .iter()
        .map(|disposition| RunEntry {
            kind: INCIDENT,
            object,
            disposition: disposition.clone(),
        })
        .collect();
    batch.runs.push(RunWrite { run, entries });
    if dispositions.contains(&Disposition::Applied) {
        batch.documents.push(document(object, "theirs"));
    }
    batch
}

fn seen(store: &Store, object: ObjectId) -> Vec<(NodeId, Option<u64>, Option<u64>)> {
    let seen: Vec<SeenBy> = store
        .read(|reader| reader.seen_by(&object, &node_id(1)))
        .unwrap();
    seen.into_iter()
        .map(|seen| (seen.node, seen.stored_at_wall_ms, seen.applied_at_wall_ms))
        .collect()
}

fn unsaid(store: &Store) -> Vec<ProgressItem> {
    store
        .read(|reader| reader.unsaid(&node_id(1), &GroupId::SHARED, &[Lane::Life]))
        .unwrap()
}

#[test]
fn a_receipt_says_who_has_a_document_by_its_authors_clock() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    commit(&store, edit(id(1), "one", 1));
    commit(&store, edit(id(2), "two", 2));
    let log = log_of(1, Lane::Life);
    commit(&store, receipt(5, 700, &[item(log, 2, 1)]));
    assert_eq!(seen(&store, id(1)), [(node_id(5), Some(700), Some(700))]);
    assert_eq!(
        seen(&store, id(2)),
        [(node_id(5), Some(700), None)],
        "stored is not applied"
    );
    // A clock that was set back is what it is: shown, and nothing is ordered by it.
    commit(&store, receipt(5, 300, &[item(log, 2, 2)]));
    assert_eq!(seen(&store, id(2)), [(node_id(5), Some(700), Some(300))]);
    // An older receipt that comes late takes nothing back.
    commit(&store, receipt(5, 800, &[item(log, 1, 1)]));
    assert_eq!(seen(&store, id(1)), [(node_id(5), Some(700), Some(700))]);
    assert_eq!(seen(&store, id(2)), [(node_id(5), Some(700), Some(300))]);

    store.close();
    drop(store);
    let store = open(dir.path());
    assert_eq!(seen(&store, id(2)), [(node_id(5), Some(700), Some(300))]);
}

#[test]
fn the_author_of_an_entry_has_it_since_it_came_here_and_this_node_is_not_listed() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let mut peer = Peer::new(5);
    commit(
        &store,
        arrival(&mut peer, id(1), &[Disposition::Applied], 400),
    );
    assert_eq!(seen(&store, id(1)), [(node_id(5), Some(400), Some(400))]);
    // With an entry of ours on top, the author of the first has not all of it until it says so.
    commit(&store, edit(id(1), "ours", 500));
    assert_eq!(seen(&store, id(1)), []);
    let log = log_of(1, Lane::Life);
    commit(&store, receipt(5, 450, &[item(log, 1, 1)]));
    assert_eq!(seen(&store, id(1)), [(node_id(5), Some(450), Some(450))]);
    assert!(
        unsaid(&store)
            .iter()
            .all(|item| item.log.author != node_id(1)),
        "our own log says itself what we have of it"
    );
}

#[test]
fn a_receipt_that_overtakes_what_it_is_about_counts_when_that_comes() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let theirs = log_of(5, Lane::Life);
    commit(&store, receipt(6, 600, &[item(theirs, 1, 0)]));
    commit(&store, receipt(6, 650, &[item(theirs, 2, 1)]));
    commit(&store, receipt(7, 700, &[item(theirs, 1, 1)]));
    store.close();
    drop(store);
    let store = open(dir.path());
    let mut peer = Peer::new(5);
    let both = [Disposition::Applied, Disposition::Applied];
    commit(&store, arrival(&mut peer, id(1), &both[..1], 800));
    let mut expected = vec![
        (node_id(5), Some(800), Some(800)),
        (node_id(6), Some(650), Some(650)),
        (node_id(7), Some(700), Some(700)),
    ];
    expected.sort();
    assert_eq!(seen(&store, id(1)), expected);
}

#[test]
fn what_receipts_say_of_logs_that_never_come_is_bounded_per_node() {
    let dir = tempfile::tempdir().unwrap();
    let plain = OpenOptions {
        encrypt: false,
        ..OpenOptions::default()
    };
    let store = Store::open(dir.path(), &key(), &plain).unwrap();
    store.put_identity(common::identity(1)).wait().unwrap();
    for number in 0..400u64 {
        let mut log = log_of(5, Lane::Life);
        log.incarnation = sync_engine::Incarnation(number);
        commit(
            &store,
            receipt(6, 1, &[item(log, 1, 1), item(log, u64::MAX, 1)]),
        );
    }
    commit(&store, receipt(7, 2, &[item(log_of(5, Lane::Life), 1, 1)]));
    store.close();
    drop(store);
    let kept: i64 = rusqlite::Connection::open(dir.path().join("muster.db"))
        .unwrap()
        .query_row("SELECT count(*) FROM receipt_ahead", [], |row| row.get(0))
        .unwrap();
    assert_eq!(kept, 256 + 1, "one node's claims do not push out another's");
}

#[test]
fn what_a_node_lacks_is_what_nobody_has_heard_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    for number in 1..=5 {
        commit(&store, edit(id(number), "ours", 1));
    }
    let mut peer = Peer::new(5);
    commit(
        &store,
        arrival(&mut peer, id(9), &[Disposition::Applied], 2),
    );
    let lacking = |seeds: [u8; 3]| -> Vec<u64> {
        let nodes = seeds.map(node_id);
        let lacking = store.read(|reader| reader.lacking(&nodes, &GroupId::SHARED));
        let lacking = lacking.unwrap();
        assert!(
            lacking
                .iter()
                .all(|lacks| lacks.iter().sum::<u64>() == lacks[Lane::Life as usize])
        );
        lacking
            .iter()
            .map(|lacks| lacks[Lane::Life as usize])
            .collect()
    };
    assert_eq!(lacking([5, 6, 7]), [5, 6, 6], "its author has an entry");
    commit(&store, receipt(6, 3, &[item(log_of(1, Lane::Life), 4, 0)]));
    commit(&store, receipt(7, 3, &[item(log_of(1, Lane::Life), 99, 0)]));
    assert_eq!(lacking([5, 6, 7]), [5, 2, 1]);
}

#[test]
fn only_what_moved_since_the_last_own_receipt_is_unsaid() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    assert_eq!(unsaid(&store), []);
    commit(&store, edit(id(9), "ours", 1));
    assert_eq!(unsaid(&store), [], "our own log says it itself");

    let mut peer = Peer::new(5);
    let waiting = Disposition::Waiting {
        missing: vec![[1; 32]],
    };
    let both = [Disposition::Applied, waiting];
    commit(&store, arrival(&mut peer, id(1), &both, 2));
    let log = log_of(5, Lane::Life);
    let first = [item(log, 2, 1)];
    assert_eq!(unsaid(&store), first);

    let mut batch = Batch::new(Lane::Summary, 3);
    batch.receipt_said = first.to_vec();
    commit(&store, batch);
    assert_eq!(unsaid(&store), []);
    store.close();
    drop(store);
    let store = open(dir.path());
    assert_eq!(unsaid(&store), [], "a restart says nothing twice");

    // What waited is applied: that is news, though nothing new was stored.
    let mut batch = Batch::new(Lane::Life, 4);
    batch.released.push((log, Seq(2), Disposition::Applied));
    batch.documents.push(document(id(1), "theirs 2"));
    commit(&store, batch);
    assert_eq!(unsaid(&store), [item(log, 2, 2)]);
    let other = GroupId([7; 16]);
    let of_other = store.read(|reader| reader.unsaid(&node_id(1), &other, &[Lane::Life]));
    assert_eq!(of_other.unwrap(), []);
    let of_lane = |lane| store.read(|reader| reader.unsaid(&node_id(1), &GroupId::SHARED, &[lane]));
    assert_eq!(of_lane(Lane::Coordination).unwrap(), []);
}

#[test]
fn a_receipt_that_is_not_committed_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    commit(&store, edit(id(1), "one", 1));
    let log = log_of(1, Lane::Life);
    let mut batch = receipt(5, 700, &[item(log, 1, 1)]);
    // No such entry: the batch fails after its other parts.
    batch.released.push((log, Seq(9), Disposition::Applied));
    assert!(store.commit(batch).wait().is_err());
    assert_eq!(seen(&store, id(1)), []);
}
