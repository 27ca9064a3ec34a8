//! Changes and entries that no honest node writes: each is set aside alone, by every node and after every restart.

use automerge::legacy::{ObjectId, OpId, OpType};
use automerge::{ActorId, Change, ScalarValue};
use domain::{Author, Kind, RecordId};
use node::app::Caller;
use serde_json::json;
use sync_engine::{Grant, Lane, Payload, Role, TrustRecord};

use super::member::{Life, Member, change, entry};
use super::world::*;

/// Changes that no honest node writes, of seven incidents: eight are set aside, and of two with one sequence number the
/// first stands.
pub async fn hostile_changes(life: &Life, ids: &[RecordId]) -> Vec<Vec<u8>> {
    let nobody = ActorId::from([3; 16]);

    let mut hostile = vec![
        spoilt(life, ids[0], |change| {
            change.operations[0].obj = ObjectId::Id(OpId(1, nobody.clone()));
        })
        .await,
        spoilt(life, ids[1], |change| {
            change.operations[0].pred = vec![OpId(1, nobody.clone())].into();
        })
        .await,
        spoilt(life, ids[2], |change| {
            change.start_op = ((1 << 31) - 1).try_into().unwrap();
        })
        .await,
        spoilt(life, ids[3], |change| {
            change.start_op = u64::from(u32::MAX).try_into().unwrap();
        })
        .await,
        // HQ's own actor.
        spoilt(life, ids[4], |change| {
            let of_hq = change.operations[0].pred.get(0).unwrap().actor().clone();
            change.actor_id = of_hq;
        })
        .await,
    ];
    // One sequence number, two changes: the first stands.
    for severity in ["extreme", "severe"] {
        let mut document = life.document(Kind::Incident, ids[5]).await;
        let bytes = edit(
            &mut document,
            life.author(),
            json!({ "severity": severity }),
        );
        hostile.push(change(Kind::Incident, ids[5], bytes));
    }
    // No change at all, and no entry at all.
    hostile.push(change(Kind::Incident, ids[6], b"no change".to_vec()));
    hostile.push(b"no entry".to_vec());
    hostile
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_changes_are_quarantined_and_nothing_else_suffers() {
    let dir = tempfile::tempdir().unwrap();
    let (hq, address) = hq(dir.path()).await;
    let truck = truck(dir.path(), &hq).await;
    let mut ids = Vec::new();
    for number in 0..8 {
        ids.push(incident(&hq, &format!("incident {number}")).await);
    }
    let member = Member::join(&hq, 9).await;
    let mut life = member.connect(1).await;
    let hostile = hostile_changes(&life, &ids).await;
    life.send(Lane::Life, hostile);

    // Honest work of the same node right behind it, and of another one.
    let mut document = life.document(Kind::Incident, ids[7]).await;
    let honest = edit(
        &mut document,
        life.author(),
        json!({ "severity": "severe" }),
    );
    life.send(Lane::Life, vec![change(Kind::Incident, ids[7], honest)]);
    until_shown(&hq, ids[7], "severity", "severe").await;
    until_shown(&truck, ids[0], "title", "incident 0").await;
    patch(&truck, ids[0], json!({ "title": "still works" })).await;
    until_shown(&hq, ids[0], "title", "still works").await;
    assert_eq!(shown(&hq, ids[5]).await["severity"], "extreme");

    until_quarantined(&hq, 8).await;
    until_quarantined(&truck, 8).await;
    for id in &ids {
        patch(&hq, *id, json!({ "description": "people go on" })).await;
    }
    until_equal(&hq, &truck).await;
    let counters = hq.sync_counters().unwrap();
    assert_eq!(counters.store_faults, 0);
    rebuild_changes_nothing(&hq).await;

    let hq_dir = dir.path().join("hq");
    let hq = restart(hq, &hq_dir, &address.to_string()).await;
    assert_eq!(hq.status().await.unwrap()["quarantined"], 8);
    for id in &ids {
        patch(&hq, *id, json!({ "description": "and after a restart" })).await;
    }
    until_equal(&hq, &truck).await;
    hq.shutdown().await;
    truck.shutdown().await;
    drop(hq);
    let of_hq = reasons(&hq_dir);
    insta::assert_snapshot!("reasons", of_hq.join("\n"));
    drop(truck);
    assert_eq!(
        of_hq,
        reasons(&dir.path().join("truck")),
        "the same verdicts on every node"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_where_they_do_not_belong_harm_no_document() {
    let dir = tempfile::tempdir().unwrap();
    let (hq, address) = hq(dir.path()).await;
    let id = incident(&hq, "Bridge").await;
    let member = Member::join(&hq, 9).await;
    let mut life = member.connect(1).await;
    let mut document = life.document(Kind::Incident, id).await;
    let good = edit(
        &mut document,
        life.author(),
        json!({ "severity": "extreme" }),
    );
    let sealed = Payload::Sealed {
        key_id: [1; 16],
        nonce: [2; 24],
        ciphertext: b"who knows".to_vec(),
    };
    let grant = TrustRecord::Grant(
        Grant {
            operation: member.trust.operation(),
            node: member.node(),
            name: "more".into(),
            role: Role::Hq,
            organisation: None,
            groups: Vec::new(),
            field_classes: Vec::new(),
            lanes: Lane::ALL.to_vec(),
            may_enrol: true,
            serial: 99,
        }
        .sign(&life.key),
    );
    life.send(
        Lane::Life,
        vec![
            // Kinds of a later version, with the id of our incident: carried, and nothing of ours.
            entry(0x0fff, id, Payload::Plain(b"what is this".to_vec())),
            entry(0x0fff, id, Payload::Plain(good.clone())),
            entry(INCIDENT, id, sealed),
            // A kind that has another lane, an id of another kind, a record of the trust lane.
            entry(Kind::Resource.spec().code, id, Payload::Plain(good.clone())),
            entry(NOTE, id, Payload::Plain(br#"{"text":"x"}"#.to_vec())),
            entry(grant.kind().0, id, Payload::Plain(grant.encode())),
        ],
    );
    until_quarantined(&hq, 3).await;
    // The incident's change in the lanes of others.
    for lane in [Lane::Trust, Lane::Flash, Lane::Coordination, Lane::Summary] {
        life.send(lane, vec![change(Kind::Incident, id, good.clone())]);
    }
    until_quarantined(&hq, 7).await;
    assert_eq!(shown(&hq, id).await["severity"], "minor");

    // The document is not in memory any more and is loaded with all that stands in the log under its id.
    let hq = restart(hq, &dir.path().join("hq"), &address.to_string()).await;
    patch(&hq, id, json!({ "description": "people go on" })).await;
    let history = hq
        .history(
            &Caller::socket(),
            Kind::Incident,
            &id.to_string(),
            None,
            None,
        )
        .await
        .unwrap();
    assert_eq!(history.items.len(), 2, "{:#?}", history.items);
    // Where it belongs the change counts.
    let mut life = member.connect(2).await;
    let mut document = life.document(Kind::Incident, id).await;
    let good = edit(
        &mut document,
        life.author(),
        json!({ "severity": "extreme" }),
    );
    life.send(Lane::Life, vec![change(Kind::Incident, id, good)]);
    until_shown(&hq, id, "severity", "extreme").await;
    rebuild_changes_nothing(&hq).await;
    hq.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_between_changes_no_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let (mut hq, address) = hq(dir.path()).await;
    let truck = truck(dir.path(), &hq).await;
    let (moved, twice) = (incident(&hq, "Moved").await, incident(&hq, "Twice").await);
    let member = Member::join(&hq, 9).await;
    let mut life = member.connect(1).await;

    // First in a lane where it does not belong, then where it does.
    let mut document = life.document(Kind::Incident, moved).await;
    let good = edit(
        &mut document,
        life.author(),
        json!({ "severity": "extreme" }),
    );
    life.send(
        Lane::Coordination,
        vec![change(Kind::Incident, moved, good.clone())],
    );
    // A change that waits for one that never came, twice.
    let mut other = Author {
        incarnation: 77,
        ..life.author()
    };
    other.node[0] ^= 1;
    let missing = edit(
        &mut life.document(Kind::Incident, twice).await,
        other,
        json!({ "tags": ["a"] }),
    );
    let waits = spoilt(&life, twice, |change| {
        change
            .deps
            .push(Change::from_bytes(missing).unwrap().hash());
        change.deps.sort();
    })
    .await;
    life.send(Lane::Life, vec![waits.clone(), waits]);
    for app in [&hq, &truck] {
        until("a change that waits", app, |status| {
            status["pending"] == 1 && status["quarantined"] == 2
        })
        .await;
    }

    // HQ forgets what it had in memory, the truck does not.
    hq = restart(hq, &dir.path().join("hq"), &address.to_string()).await;
    life.send(Lane::Life, vec![change(Kind::Incident, moved, good)]);
    until_shown(&hq, moved, "severity", "extreme").await;
    until_shown(&truck, moved, "severity", "extreme").await;
    patch(&hq, twice, json!({ "description": "people go on" })).await;
    until_equal(&hq, &truck).await;
    assert_eq!(hq.status().await.unwrap()["quarantined"], 2);
    assert_eq!(truck.status().await.unwrap()["quarantined"], 2);
    rebuild_changes_nothing(&hq).await;
    rebuild_changes_nothing(&truck).await;
    hq.shutdown().await;
    truck.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_nests_too_deep_leaves_its_list_readable() {
    let dir = tempfile::tempdir().unwrap();
    let (hq, address) = hq(dir.path()).await;
    let id = incident(&hq, "Bridge").await;
    let member = Member::join(&hq, 9).await;
    let mut life = member.connect(1).await;
    for (number, json) in [
        format!("{}{}", "[".repeat(126), "]".repeat(126)),
        r#"{"a":1,"$serde_json::private::RawValue":5}"#.to_owned(),
    ]
    .into_iter()
    .enumerate()
    {
        let bytes = spoilt(&life, id, |change| {
            change.seq = number as u64 + 1;
            change.operations[0].key = format!("mood{number}").into();
            change.operations[0].pred = Vec::new().into();
            change.operations[0].action = OpType::Put(ScalarValue::Bytes(json.into_bytes()));
        })
        .await;
        life.send(Lane::Life, vec![bytes]);
    }
    until("the first value", &hq, |_| {
        hq.sync_counters().unwrap().stored_entries >= 2
    })
    .await;
    assert_eq!(picture(&hq).await.len(), 1);
    let hq = restart(hq, &dir.path().join("hq"), &address.to_string()).await;
    assert_eq!(picture(&hq).await.len(), 1);
    patch(&hq, id, json!({ "description": "people go on" })).await;
    rebuild_changes_nothing(&hq).await;
    hq.shutdown().await;
}
