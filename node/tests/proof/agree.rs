//! Nodes that hold the same say so, and remember each other over a restart.

use std::sync::Arc;

use domain::{FactKind, Kind};
use node::app::{Caller, RecordKind};
use node::ops::local::{LocalRequest, handle};
use serde_json::json;
use store::Store;
use sync_engine::{GroupId, Interest, Lane, MARKS_MAX, Mark, MarkHash, NodeId};

use super::pair::{Pair, until};

const INCIDENTS: RecordKind = RecordKind::Document(Kind::Incident);

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_that_hold_the_same_prove_it_and_both_say_so_with_digest_and_time() {
    let began = jiff::Timestamp::now();
    let pair = Pair::meet().await;
    let incident = pair.hq.create(INCIDENTS, json!({ "title": "Dam" })).await;
    let about = json!({ "kind": "incident", "id": incident["id"] });
    let note = json!({ "text": "Seen", "about": about });
    pair.truck
        .create(RecordKind::Fact(FactKind::Note), note)
        .await;
    let digest = pair.until_agreed().await;
    assert_eq!(digest.len(), 32, "{digest}");
    for node in pair.nodes() {
        let agreed = &node.other().await["agreed"];
        assert_eq!(
            (&agreed["state"], &agreed["objects"]),
            (&json!("equal"), &json!(0))
        );
        let at: jiff::Timestamp = agreed["at"].as_str().unwrap().parse().unwrap();
        assert!(at >= began && at <= jiff::Timestamp::now(), "{at}");
        let counters = node.app.sync_counters().unwrap();
        assert!(counters.proofs_equal >= 1);
        assert_eq!(counters.proof_faults, 0);
        let status = node.status().await;
        assert_eq!(
            status["sync_faults"],
            json!({ "unseen": 0, "last_at": null })
        );
        assert!(node.faults().await.is_empty());
        // What `muster peers` is made of.
        let printed = handle(&node.app, LocalRequest::Peers).await.into_result();
        assert_eq!(
            printed.unwrap()["items"][0]["agreed"]["digest"],
            json!(digest)
        );
    }
    pair.part().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_later_is_proven_anew_under_another_digest() {
    let pair = Pair::meet().await;
    let before = pair.until_agreed().await;
    let apart = pair.part().await;
    let pair = apart.meet().await;
    pair.hq.create(INCIDENTS, json!({ "title": "Dam" })).await;
    let after = until("they agree on what was written", async || {
        let digest = pair.until_agreed().await;
        (digest != before).then_some(digest)
    })
    .await;
    assert_ne!(after, before);
    pair.part().await;
}

/// Greetings at each node that named only what had moved.
async fn short_greetings(pair: &Pair) -> [u64; 2] {
    pair.nodes()
        .map(|node| node.app.sync_counters().unwrap().short_greetings)
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_met_before_greet_shortly_after_both_were_restarted() {
    let recorder = node::api::metrics_recorder().unwrap();
    let pair = Pair::meet().await;
    pair.hq.create(INCIDENTS, json!({ "title": "Dam" })).await;
    pair.until_agreed().await;
    assert_eq!(short_greetings(&pair).await, [0, 0]);
    let pair = pair.part().await.meet().await;
    pair.until_agreed().await;
    assert_eq!(short_greetings(&pair).await, [1, 1]);
    pair.hq.app.publish_sync_counters();
    let figures = recorder.render();
    assert!(
        figures.contains("muster_sync_short_greetings_total 1"),
        "{figures}"
    );
    pair.part().await;
}

/// A mark that nobody else ever held.
fn invented(number: usize) -> Arc<Mark> {
    let mut hash = [0xee; 16];
    hash[..8].copy_from_slice(&(number as u64).to_le_bytes());
    Arc::new(Mark {
        hash: MarkHash(hash),
        scope: Interest {
            groups: vec![GroupId::SHARED],
            lanes: vec![Lane::Life],
        },
        heights: Vec::new(),
    })
}

/// Waits until what was handed over without a ticket is on the disk.
fn settle(store: &Store) {
    store.write_sessions(Vec::new()).wait().unwrap();
}

/// So many marks with others that the one with HQ has to go.
fn forget_marks(store: &Store) {
    for number in 0..MARKS_MAX {
        let mut node = [0xee; 32];
        node[0] = number as u8;
        store.keep_mark(NodeId(node), invented(number), 1);
    }
    settle(store);
    let memory = store.read(|reader| reader.sync_memory()).unwrap();
    assert!(memory.peers.iter().all(|(node, _)| node.0[1] == 0xee));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lost_its_marks_is_greeted_at_length_once_and_shortly_again_afterwards() {
    let pair = Pair::meet().await;
    pair.hq.create(INCIDENTS, json!({ "title": "Dam" })).await;
    pair.until_agreed().await;
    let apart = pair.part().await;
    apart.at("truck", forget_marks);
    let pair = apart.meet().await;
    pair.until_agreed().await;
    assert_eq!(short_greetings(&pair).await, [0, 0]);
    let pair = pair.part().await.meet().await;
    pair.until_agreed().await;
    assert_eq!(short_greetings(&pair).await, [1, 1]);
    pair.part().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_that_the_other_never_held_costs_a_longer_greeting_and_nothing_is_missed() {
    let pair = Pair::meet().await;
    pair.hq.create(INCIDENTS, json!({ "title": "Dam" })).await;
    pair.until_agreed().await;
    let hq = pair.hq.app.node_id();
    let apart = pair.part().await;
    apart.at("truck", |store| {
        store.keep_mark(hq, invented(1), 1);
        settle(store);
    });
    let pair = apart.meet().await;
    let written = pair
        .truck
        .create(INCIDENTS, json!({ "title": "Levee" }))
        .await;
    let id = written["id"].as_str().unwrap();
    until("HQ has what the truck wrote", async || {
        pair.hq
            .app
            .get(&Caller::socket(), INCIDENTS, id, None)
            .await
            .ok()
    })
    .await;
    pair.until_agreed().await;
    assert_eq!(
        short_greetings(&pair).await[0],
        0,
        "HQ did not know the mark"
    );
    pair.part().await;
}
