//! Receipts: a member says how far it has come itself, in one form, and nothing of anybody else.

use domain::RecordId;
use node::app::App;
use serde_json::{Value, json};
use sync_engine::{Incarnation, Lane, NodeId, Payload};

use super::member::{Member, entry};
use super::world::*;

const RECEIPT: u16 = 0x0301;

/// What a receipt stands under: the node that it is about.
fn about(node: NodeId) -> RecordId {
    RecordId(node.0[..16].try_into().unwrap())
}

/// A receipt that says: so many entries of that node's life-safety log are stored, and so many of them not applied.
fn receipt(author: NodeId, incarnation: Incarnation, stored: u8, unapplied: u8) -> Vec<u8> {
    let mut bytes = vec![1, 1];
    bytes.extend(author.0);
    bytes.extend(incarnation.0.to_le_bytes());
    bytes.extend([1, Lane::Life as u8, stored, unapplied]);
    bytes
}

/// What a node knows of the copy of a document on another one.
async fn copy_at(app: &App, id: RecordId, node: NodeId) -> Option<Value> {
    let seen = shown(app, id).await["seen_by"].clone();
    let mut copies = seen.as_array().into_iter().flatten();
    copies
        .find(|seen| seen["node"] == json!(node.to_string()))
        .cloned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_counts_for_its_author_alone_and_only_in_the_form_that_every_node_reads() {
    let dir = tempfile::tempdir().unwrap();
    let (hq, _) = hq(dir.path()).await;
    let truck = truck(dir.path(), &hq).await;
    let id = incident(&hq, "Dam").await;
    until_shown(&truck, id, "title", "Dam").await;
    let incarnation = hq.status().await.unwrap()["incarnation"].clone();
    let incarnation: Incarnation = incarnation.as_str().unwrap().parse().unwrap();

    // The truck never meets the member; what it knows of it, it knows from its receipts.
    let member = Member::join(&hq, 9).await;
    let (me, victim) = (member.node(), truck.node_id());
    let mut life = member.connect(1).await;
    let say = |object: NodeId, bytes: Vec<u8>| entry(RECEIPT, about(object), Payload::Plain(bytes));
    let (author, log) = (hq.node_id(), incarnation);
    let mut longer = receipt(author, log, 1, 0);
    longer.push(0);
    life.send(
        Lane::Summary,
        vec![
            // In another node's name, twice malformed, and the one of a later version.
            say(victim, receipt(author, log, 1, 0)),
            say(me, longer),
            say(me, receipt(author, log, 1, 2)),
            say(me, vec![2, 0xff]),
        ],
    );
    // Where documents are.
    life.send(
        Lane::Coordination,
        vec![say(me, receipt(author, log, 1, 0))],
    );
    until_quarantined(&hq, 4).await;
    until_quarantined(&truck, 4).await;
    assert_eq!(copy_at(&truck, id, me).await, None);

    // Honest ones right behind: stored, then applied.
    life.send(Lane::Summary, vec![say(me, receipt(author, log, 1, 1))]);
    let stored = known(&truck, id, me, |copy| copy["stored_at"].is_string()).await;
    assert_eq!(stored["applied_at"], Value::Null);
    life.send(Lane::Summary, vec![say(me, receipt(author, log, 1, 0))]);
    let applied = known(&truck, id, me, |copy| copy["applied_at"].is_string()).await;
    assert_eq!(applied["stored_at"], stored["stored_at"]);
    // More than anybody has: its own word about itself, and no harm to anybody's picture.
    life.send(Lane::Summary, vec![say(me, receipt(author, log, 100, 0))]);

    until_equal(&hq, &truck).await;
    let before = copy_at(&truck, id, me).await;
    for app in [&hq, &truck] {
        rebuild_changes_nothing(app).await;
    }
    assert_eq!(copy_at(&truck, id, me).await, before, "a rebuild leaves it");
    hq.shutdown().await;
    truck.shutdown().await;
    drop((hq, truck));
    let expected = [
        "a node writes receipts for itself alone",
        "malformed receipt",
        "malformed receipt",
        "this kind belongs into lane 4",
    ];
    assert_eq!(reasons(&dir.path().join("hq")), expected);
    assert_eq!(reasons(&dir.path().join("truck")), expected);
}

async fn known(app: &App, id: RecordId, node: NodeId, enough: impl Fn(&Value) -> bool) -> Value {
    let waited = async {
        loop {
            if let Some(copy) = copy_at(app, id, node).await.filter(&enough) {
                return copy;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(super::member::WAIT, waited)
        .await
        .expect("the receipt comes")
}
