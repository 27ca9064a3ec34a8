//! Runs that are none, or of nobody who may write them, and junk in the lane that decides who may.

use std::time::Duration;

use domain::{Kind, RecordId};
use ed25519_dalek::SigningKey;
use serde_json::{Value, json};
use sync_engine::{
    ChainHash, Genesis, Grant, GroupId, Incarnation, Lane, LogId, LogTail, NodeId, Payload, Role,
    Run, Seq, Trust, TrustRecord,
};

use super::member::{Member, WAIT, change, entry};
use super::world::*;

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_are_none_are_refused_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (hq, _) = hq(dir.path()).await;
    let id = incident(&hq, "Bridge").await;
    // Who breaks the protocol is refused for a while: a member for each attempt.
    let mut number = 8;
    let mut another = || {
        number += 1;
        Member::join(&hq, number)
    };
    let before = hq.sync_counters().unwrap();

    // A wrong signature.
    let mut life = another().await.connect(1).await;
    let bytes = spoilt(&life, id, |_| {}).await;
    let mut run = life.run(Lane::Life, vec![bytes.clone()]);
    run.signatures[0].1.0[7] ^= 1;
    life.send_run(run);
    life.until_cut_off("signature").await;
    life.sync.shutdown().await;

    // Bytes that were changed after they were signed, so that the chain is another one.
    let mut life = another().await.connect(2).await;
    let mut run = life.run(Lane::Life, vec![bytes.clone()]);
    run.entries[0][3] ^= 1;
    life.send_run(run);
    life.until_cut_off("signature").await;
    life.sync.shutdown().await;

    // A chain that begins with something. It says so as it is: a packed run leaves out what its receiver knows better.
    let mut plain = another().await;
    plain.protocol_max = 1;
    let mut life = plain.connect(3).await;
    let mut run = life.run(Lane::Life, vec![bytes.clone()]);
    run.prev = ChainHash([1; 32]);
    life.send_run(run);
    life.until_cut_off("chain").await;
    life.sync.shutdown().await;

    // A run of somebody who is no member, signed as it should be: its author's grant may be on its way, so that it waits
    // for a while and makes room then.
    let life = another().await.connect(4).await;
    life.send_run(foreign_run(
        &SigningKey::from_bytes(&[77; 32]),
        Lane::Life,
        vec![bytes.clone()],
    ));
    let dropped = async {
        while hq.sync_counters().unwrap().waiting_dropped == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(WAIT, dropped)
        .await
        .expect("it waits for a grant, not for ever");
    life.sync.shutdown().await;

    // A run of another operation: its founder's, with its genesis and its grant.
    let life = another().await.connect(5).await;
    let founder = SigningKey::from_bytes(&[66; 32]);
    let (genesis, grant) = another_operation(&founder);
    let records = [TrustRecord::Genesis(genesis.clone()), grant.clone()];
    let entries = records
        .iter()
        .map(|record| {
            entry(
                record.kind().0,
                RecordId([0; 16]),
                Payload::Plain(record.encode()),
            )
        })
        .collect();
    life.send_run(foreign_run(&founder, Lane::Trust, entries));
    life.until_cut_off("another operation").await;
    life.sync.shutdown().await;

    // The same member as if it were of another operation.
    let mut elsewhere = Trust::new(genesis);
    elsewhere.insert(grant).unwrap();
    let life = another().await.dial(6, elsewhere).await;
    let refused = async {
        while hq.sync_counters().unwrap().refused_operation < before.refused_operation + 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(WAIT, refused)
        .await
        .expect("it is told apart");
    life.sync.shutdown().await;

    let after = hq.sync_counters().unwrap();
    assert_eq!(
        after.refused_signature - before.refused_signature,
        2,
        "{after:?}"
    );
    assert_eq!(after.refused_chain - before.refused_chain, 1, "{after:?}");
    assert_eq!(after.waiting_dropped, 1, "{after:?}");
    assert!(
        after.refused_operation >= before.refused_operation + 2,
        "{after:?}"
    );
    assert_eq!(
        after.stored_entries, before.stored_entries,
        "nothing of it was stored: {after:?}"
    );

    let mut life = another().await.connect(7).await;
    let mut document = life.document(Kind::Incident, id).await;
    let honest = edit(
        &mut document,
        life.author(),
        json!({ "severity": "severe" }),
    );
    life.send(Lane::Life, vec![change(Kind::Incident, id, honest)]);
    until_shown(&hq, id, "severity", "severe").await;
    let status = hq.status().await.unwrap();
    assert_eq!(
        (&status["quarantined"], &status["pending"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(status["writes_stopped"], Value::Null);
    hq.shutdown().await;
}

/// A run in order, in a log of whoever has the key.
pub fn foreign_run(key: &SigningKey, lane: Lane, entries: Vec<Vec<u8>>) -> Run {
    let author = NodeId(key.verifying_key().to_bytes());
    let log = LogId {
        author,
        incarnation: Incarnation(1),
        group: GroupId::SHARED,
        lane,
    };
    let mut tail = LogTail::start(log);
    let mut signatures = Vec::new();
    for bytes in &entries {
        signatures.extend(tail.push(bytes, key).sign_before);
    }
    signatures.extend(tail.seal(key));
    Run {
        log,
        first: Seq(1),
        prev: ChainHash::ZERO,
        entries,
        signatures,
    }
}

pub fn another_operation(founder: &SigningKey) -> (Genesis, TrustRecord) {
    let root = SigningKey::from_bytes(&[55; 32]);
    let genesis = Genesis {
        title: "another".into(),
        root_key: root.verifying_key().to_bytes(),
        successor_hash: [0; 32],
        created_wall_ms: 1,
        nonce: [9; 16],
    };
    let grant = Grant {
        operation: genesis.id(),
        node: NodeId(founder.verifying_key().to_bytes()),
        name: "elsewhere".into(),
        role: Role::Hq,
        organisation: None,
        groups: Vec::new(),
        field_classes: Vec::new(),
        lanes: Lane::ALL.to_vec(),
        may_enrol: true,
        serial: 1,
    };
    (genesis, TrustRecord::Grant(grant.sign(&root)))
}

#[tokio::test(flavor = "multi_thread")]
async fn junk_in_the_trust_lane_keeps_nobody_from_joining() {
    let dir = tempfile::tempdir().unwrap();
    let (hq, _) = hq(dir.path()).await;
    let id = incident(&hq, "Bridge").await;
    let member = Member::join(&hq, 9).await;
    let mut life = member.connect(1).await;
    let (_, elsewhere) = another_operation(&life.key.clone());
    let mut document = life.document(Kind::Incident, id).await;
    let stray = edit(
        &mut document,
        life.author(),
        json!({ "severity": "extreme" }),
    );
    life.send(
        Lane::Trust,
        vec![
            entry(
                elsewhere.kind().0,
                RecordId([0; 16]),
                Payload::Plain(elsewhere.encode()),
            ),
            entry(
                elsewhere.kind().0,
                RecordId([0; 16]),
                Payload::Plain(b"no grant".to_vec()),
            ),
            b"no entry".to_vec(),
            change(Kind::Incident, id, stray),
        ],
    );
    until_quarantined(&hq, 3).await;
    let truck = truck(dir.path(), &hq).await;
    until_shown(&truck, id, "title", "Bridge").await;
    patch(&truck, id, json!({ "description": "people go on" })).await;
    until_shown(&hq, id, "description", "people go on").await;
    until_quarantined(&truck, 3).await;
    until_equal(&hq, &truck).await;
    assert_eq!(shown(&truck, id).await["severity"], "minor");
    hq.shutdown().await;
    truck.shutdown().await;
}
