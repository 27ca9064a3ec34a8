//! Who wrote what: nobody writes under another's id, or takes the credit for a change, whatever the order of arrival.

use std::sync::Arc;
use std::time::Duration;

use domain::{Kind, RecordId};
use node::app::{App, Caller};
use serde_json::{Value, json};
use sync_engine::{Lane, Payload};

use super::member::{Member, WAIT, change, entry, wall_ms};
use super::world::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_id_of_a_fact_belongs_to_its_author() {
    let dir = tempfile::tempdir().unwrap();
    let (hq, hq_address) = hq(dir.path()).await;
    let truck = truck(dir.path(), &hq).await;
    let fields = object(json!({ "text": "the bridge is closed" }));
    let note = hq
        .create(&Caller::socket(), NOTES, fields, None)
        .await
        .unwrap()
        .value;
    let id: RecordId = note["id"].as_str().unwrap().parse().unwrap();

    let member = Member::join(&hq, 9).await;
    let mut life = member.connect(1).await;
    let text = |text: &str| Payload::Plain(json!({ "text": text }).to_string().into_bytes());
    let own = domain::ids::new_fact_id(NOTE, &life.author().node, wall_ms(), &[5; 10]);
    let nested = format!(
        r#"{{"text":"x","deep":{}{}}}"#,
        "[".repeat(100),
        "]".repeat(100)
    );
    let deep = domain::ids::new_fact_id(NOTE, &life.author().node, wall_ms(), &[6; 10]);
    life.send(
        Lane::Coordination,
        vec![
            // Somebody else's id; a later version's kind under the same id; its own id, twice.
            entry(NOTE, id, text("the bridge is open")),
            entry(0x0fff, id, text("the bridge is open")),
            entry(NOTE, own, text("one")),
            entry(NOTE, own, text("two")),
            entry(NOTE, deep, Payload::Plain(nested.into_bytes())),
        ],
    );
    until_quarantined(&hq, 2).await;
    until_quarantined(&truck, 2).await;
    assert_eq!(
        note_shown(&hq, id).await.unwrap()["text"],
        "the bridge is closed",
        "nobody writes under another's id"
    );

    // More of its own, in a log each: every node has another one first.
    hq.shutdown().await;
    truck.shutdown().await;
    drop((hq, truck));
    let truck = open(&dir.path().join("truck")).await;
    let address = listen(&truck, "127.0.0.1:0").await;
    let mut life = member.at(&truck, address).connect(2).await;
    life.send(Lane::Coordination, vec![entry(NOTE, own, text("three"))]);
    life.send(Lane::Coordination, vec![entry(NOTE, deep, text("deep"))]);
    until_noted(&truck, deep).await;
    truck.shutdown().await;
    drop(truck);
    let hq = open(&dir.path().join("hq")).await;
    listen(&hq, &hq_address.to_string()).await;
    let mut life = member.connect(3).await;
    let last = domain::ids::new_fact_id(NOTE, &life.author().node, wall_ms(), &[7; 10]);
    life.send(Lane::Coordination, vec![entry(NOTE, deep, text("deeper"))]);
    life.send(Lane::Coordination, vec![entry(NOTE, own, text("four"))]);
    life.send(Lane::Coordination, vec![entry(NOTE, last, text("last"))]);
    until_noted(&hq, last).await;
    let truck = open(&dir.path().join("truck")).await;
    listen(&truck, "127.0.0.1:0").await;
    until_noted(&truck, last).await;
    let came = async {
        while hq.sync_counters().unwrap().stored_entries < 5 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(WAIT, came)
        .await
        .expect("what the truck had comes, too");
    until_equal(&hq, &truck).await;
    for app in [&hq, &truck] {
        rebuild_changes_nothing(app).await;
    }
    hq.shutdown().await;
    truck.shutdown().await;
}

/// A note as people see it.
async fn note_shown(app: &App, id: RecordId) -> Option<Value> {
    app.get(&Caller::socket(), NOTES, &id.to_string(), None)
        .await
        .ok()
}

async fn until_noted(app: &App, id: RecordId) {
    let came = async {
        while note_shown(app, id).await.is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(WAIT, came)
        .await
        .expect("the note comes");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_set_a_value_is_told_by_the_log_that_it_stands_in() {
    let dir = tempfile::tempdir().unwrap();
    let (mut hq, address) = hq(dir.path()).await;
    let id = incident(&hq, "Dam").await;
    let (honest, thief) = (Member::join(&hq, 8).await, Member::join(&hq, 9).await);
    let mut first = honest.connect(1).await;
    let mut copy = thief.connect(1).await;
    let mut apart = first.document(Kind::Incident, id).await;
    let mut document = first.document(Kind::Incident, id).await;
    let base = edit(&mut document, first.author(), json!({ "status": "active" }));
    let set = edit(
        &mut document,
        first.author(),
        json!({ "severity": "extreme" }),
    );
    patch(&hq, id, json!({ "severity": "severe" })).await;

    // The later change comes in the logs of two members, before the one that it builds on; then the node restarts.
    first.send(Lane::Flash, vec![b"no entry".to_vec()]);
    copy.send(Lane::Life, vec![change(Kind::Incident, id, set.clone())]);
    until_quarantined(&hq, 2).await;
    first.send(
        Lane::Life,
        vec![
            change(Kind::Incident, id, base),
            change(Kind::Incident, id, set.clone()),
        ],
    );
    let conflicts = |app: Arc<App>| async move {
        app.list_conflicts(&Caller::socket(), Some("open".into()), None, None, None)
            .await
            .unwrap()
            .items
    };
    let opened = async {
        while conflicts(Arc::clone(&hq)).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(WAIT, opened)
        .await
        .expect("a conflict");
    copy.send(Lane::Life, vec![change(Kind::Incident, id, set)]);
    until_quarantined(&hq, 3).await;
    // A third value makes it another conflict, told anew.
    let mut other = honest.connect(2).await;
    let third = edit(
        &mut apart,
        other.author(),
        json!({ "severity": "moderate" }),
    );
    other.send(Lane::Life, vec![change(Kind::Incident, id, third)]);
    let retold = async {
        loop {
            let listed = conflicts(Arc::clone(&hq)).await;
            if listed
                .first()
                .is_some_and(|it| it["values"].as_array().unwrap().len() == 3)
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(WAIT, retold)
        .await
        .expect("a conflict of three");
    let listed = conflicts(Arc::clone(&hq)).await;
    let nodes: Vec<&str> = listed[0]["values"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v["node"].as_str().unwrap())
        .collect();
    assert!(
        nodes.contains(&honest.node().to_string().as_str()),
        "{listed:#?}"
    );
    assert!(
        !nodes.contains(&thief.node().to_string().as_str()),
        "{listed:#?}"
    );
    rebuild_changes_nothing(&hq).await;
    hq = restart(hq, &dir.path().join("hq"), &address.to_string()).await;
    rebuild_changes_nothing(&hq).await;
    hq.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_over_a_restart_keeps_its_author() {
    let dir = tempfile::tempdir().unwrap();
    let (mut hq, address) = hq(dir.path()).await;
    let id = incident(&hq, "Levee").await;
    let (one, two) = (Member::join(&hq, 8).await, Member::join(&hq, 9).await);
    let mut first = one.connect(1).await;
    let mut second = two.connect(1).await;
    let mut document = first.document(Kind::Incident, id).await;
    let earlier = edit(&mut document, first.author(), json!({ "status": "active" }));
    let later = edit(
        &mut document,
        second.author(),
        json!({ "severity": "extreme" }),
    );
    second.send(Lane::Life, vec![change(Kind::Incident, id, later)]);
    until("a change that waits", &hq, |status| status["pending"] == 1).await;
    patch(&hq, id, json!({ "severity": "severe" })).await;

    hq = restart(hq, &dir.path().join("hq"), &address.to_string()).await;
    first.send(Lane::Life, vec![change(Kind::Incident, id, earlier)]);
    until("all applied", &hq, |status| status["pending"] == 0).await;
    let listed = hq
        .list_conflicts(&Caller::socket(), Some("open".into()), None, None, None)
        .await
        .unwrap()
        .items;
    let nodes: Vec<&str> = listed[0]["values"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v["node"].as_str().unwrap_or("nobody"))
        .collect();
    assert!(
        nodes.contains(&two.node().to_string().as_str()),
        "{listed:#?}"
    );
    rebuild_changes_nothing(&hq).await;
    hq.shutdown().await;
}
