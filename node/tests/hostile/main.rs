//! A member that lies: whatever it sends is quarantined or refused and counted, honest work right behind it arrives,
//! and every honest node ends with the same picture, in whatever order things came and whoever was restarted meanwhile.

#![allow(clippy::unwrap_used)]

mod member;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use automerge::legacy::{ObjectId as AmObject, OpId, OpType};
use automerge::{ActorId, Change, ExpandedChange, ScalarValue};
use domain::{Author, Document, FactKind, Kind, RecordId};
use ed25519_dalek::SigningKey;
use member::{Life, Member, WAIT, change, entry, wall_ms};
use node::app::founding::{self, Founding};
use node::app::{App, Caller, KeySource, ListQuery, OpenConfig, RecordKind, SyncSettings};
use serde_json::{Map, Value, json};
use sync_engine::{
    ChainHash, Genesis, Grant, GroupId, Lane, LogId, LogTail, NodeId, Payload, Role, Run, Seq,
    Trust, TrustRecord,
};

const INCIDENTS: RecordKind = RecordKind::Document(Kind::Incident);
const NOTES: RecordKind = RecordKind::Fact(FactKind::Note);
const INCIDENT: u16 = 0x0101;
const NOTE: u16 = 0x0201;

async fn open(dir: &Path) -> Arc<App> {
    App::open(OpenConfig::new(dir, KeySource::DataDir))
        .await
        .unwrap()
}

async fn listen(app: &Arc<App>, address: &str) -> SocketAddr {
    let settings = SyncSettings {
        listen: address.parse().unwrap(),
        peers: Vec::new(),
        advertise: Vec::new(),
        mdns: false,
    };
    app.start_sync(settings).await.unwrap()
}

/// An HQ that listens, in `dir`.
async fn hq(dir: &Path) -> (Arc<App>, SocketAddr) {
    let founding = Founding {
        name: "HQ".into(),
        role: "hq".parse().unwrap(),
        title: "Flood".into(),
    };
    founding::found(&dir.join("hq"), &KeySource::DataDir, founding)
        .await
        .unwrap();
    let hq = open(&dir.join("hq")).await;
    let address = listen(&hq, "127.0.0.1:0").await;
    (hq, address)
}

/// An honest node that joined `hq` and runs.
async fn truck(dir: &Path, hq: &Arc<App>) -> Arc<App> {
    let code = hq
        .invite(&Caller::socket(), "field", None, WAIT)
        .await
        .unwrap();
    let code = code["code"].as_str().unwrap().to_owned();
    founding::join(
        &dir.join("truck"),
        &KeySource::DataDir,
        &code,
        "Truck".into(),
        WAIT,
    )
    .await
    .unwrap();
    let truck = open(&dir.join("truck")).await;
    listen(&truck, "127.0.0.1:0").await;
    truck
}

async fn restart(app: Arc<App>, dir: &Path, address: &str) -> Arc<App> {
    app.shutdown().await;
    drop(app);
    let app = open(dir).await;
    listen(&app, address).await;
    app
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

async fn incident(app: &App, title: &str) -> RecordId {
    let fields = object(json!({ "title": title, "description": "first", "severity": "minor" }));
    let created = app
        .create(&Caller::socket(), INCIDENTS, fields, None)
        .await
        .unwrap();
    created.value["id"].as_str().unwrap().parse().unwrap()
}

async fn shown(app: &App, id: RecordId) -> Value {
    app.get(&Caller::socket(), INCIDENTS, &id.to_string(), None)
        .await
        .unwrap()
}

/// A person edits an incident as they see it.
async fn patch(app: &App, id: RecordId, fields: Value) -> Value {
    let version = shown(app, id).await["version"].as_str().unwrap().to_owned();
    app.patch(
        &Caller::socket(),
        Kind::Incident,
        &id.to_string(),
        Some(&version),
        object(fields),
        None,
    )
    .await
    .unwrap()
}

async fn until(what: &str, app: &App, reached: impl Fn(&Value) -> bool) {
    let waited = async {
        while !reached(&app.status().await.unwrap()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(WAIT, waited).await.is_err() {
        panic!(
            "{what} did not come: {:#}, {:?}",
            app.status().await.unwrap(),
            app.sync_counters()
        );
    }
}

async fn until_quarantined(app: &App, count: u64) {
    until("quarantine", app, |status| status["quarantined"] == count).await;
}

async fn until_shown(app: &App, id: RecordId, field: &str, value: &str) {
    let waited = async {
        loop {
            let shown = app
                .get(&Caller::socket(), INCIDENTS, &id.to_string(), None)
                .await;
            if shown.is_ok_and(|shown| shown[field] == value) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(WAIT, waited).await.is_err() {
        panic!("{field} = {value} did not come: {:?}", app.sync_counters());
    }
}

/// Both hold the same, and show the same.
async fn until_equal(a: &App, b: &App) {
    let agreed = async {
        loop {
            let (x, y) = (a.status().await.unwrap(), b.status().await.unwrap());
            if x["heads_digest"] == y["heads_digest"] && x["pending"] == y["pending"] {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(WAIT, agreed).await.is_err() {
        panic!(
            "no agreement: {:#} {:#}",
            a.status().await.unwrap(),
            b.status().await.unwrap()
        );
    }
    assert_eq!(picture(a).await, picture(b).await);
}

async fn picture(app: &App) -> Vec<Value> {
    let mut items = Vec::new();
    for kind in [INCIDENTS, NOTES] {
        let query = ListQuery {
            limit: Some(500),
            ..ListQuery::default()
        };
        items.extend(
            app.list(&Caller::socket(), kind, query)
                .await
                .unwrap()
                .items,
        );
    }
    for item in &mut items {
        item.as_object_mut().unwrap().remove("seen_by");
    }
    items.sort_by_key(|item| item["id"].to_string());
    items
}

async fn rebuild_changes_nothing(app: &App) {
    let rebuilt = app.rebuild(&Caller::socket()).await.unwrap();
    assert_eq!(rebuilt["views_changed"], json!(false), "{rebuilt:#}");
}

/// The reasons in quarantine, in order. The node must not run.
fn reasons(dir: &Path) -> Vec<String> {
    let key = store::key_in_data_dir(dir, [0; 32]).unwrap();
    let store = store::Store::open(dir, &key, &store::OpenOptions::default()).unwrap();
    let mut reasons: Vec<String> = store
        .read(|reader| reader.quarantine(None, 100))
        .unwrap()
        .into_iter()
        .map(|entry| entry.reason)
        .collect();
    store.close();
    reasons.sort();
    reasons
}

/// An honest edit of the document as the member sees it, by an author of its choice.
fn edit(document: &mut Document, author: Author, fields: Value) -> Vec<u8> {
    let edit = domain::check_patch(Kind::Incident, &object(fields), &Map::new()).unwrap();
    let time_s = i64::try_from(wall_ms() / 1_000).unwrap();
    document
        .edit(&author, None, &edit, time_s)
        .unwrap()
        .unwrap()
        .bytes
}

/// An honest change, taken apart and spoilt.
async fn spoilt(life: &Life, id: RecordId, spoil: impl FnOnce(&mut ExpandedChange)) -> Vec<u8> {
    let mut document = life.document(Kind::Incident, id).await;
    let bytes = edit(
        &mut document,
        life.author(),
        json!({ "severity": "extreme" }),
    );
    let mut expanded = Change::from_bytes(bytes).unwrap().decode();
    spoil(&mut expanded);
    change(
        Kind::Incident,
        id,
        Change::from(expanded).raw_bytes().to_vec(),
    )
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
    let nobody = ActorId::from([3; 16]);

    let mut hostile = vec![
        spoilt(&life, ids[0], |change| {
            change.operations[0].obj = AmObject::Id(OpId(1, nobody.clone()));
        })
        .await,
        spoilt(&life, ids[1], |change| {
            change.operations[0].pred = vec![OpId(1, nobody.clone())].into();
        })
        .await,
        spoilt(&life, ids[2], |change| {
            change.start_op = ((1 << 31) - 1).try_into().unwrap();
        })
        .await,
        spoilt(&life, ids[3], |change| {
            change.start_op = u64::from(u32::MAX).try_into().unwrap();
        })
        .await,
        // HQ's own actor.
        spoilt(&life, ids[4], |change| {
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

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_are_none_are_refused_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (hq, _) = hq(dir.path()).await;
    let id = incident(&hq, "Bridge").await;
    let member = Member::join(&hq, 9).await;
    let before = hq.sync_counters().unwrap();

    // A wrong signature.
    let mut life = member.connect(1).await;
    let bytes = spoilt(&life, id, |_| {}).await;
    let mut run = life.run(Lane::Life, vec![bytes.clone()]);
    run.signatures[0].1.0[7] ^= 1;
    life.send_run(run);
    life.until_cut_off("signature").await;
    life.sync.shutdown().await;

    // Bytes that were changed after they were signed, so that the chain is another one.
    let mut life = member.connect(2).await;
    let mut run = life.run(Lane::Life, vec![bytes.clone()]);
    run.entries[0][3] ^= 1;
    life.send_run(run);
    life.until_cut_off("signature").await;
    life.sync.shutdown().await;

    // A chain that begins with something.
    let mut life = member.connect(3).await;
    let mut run = life.run(Lane::Life, vec![bytes.clone()]);
    run.prev = ChainHash([1; 32]);
    life.send_run(run);
    life.until_cut_off("chain").await;
    life.sync.shutdown().await;

    // A run of somebody who is no member, signed as it should be.
    let life = member.connect(4).await;
    life.send_run(foreign_run(
        &SigningKey::from_bytes(&[77; 32]),
        Lane::Life,
        vec![bytes.clone()],
    ));
    let counted = |count: u64| {
        let hq = Arc::clone(&hq);
        async move { hq.sync_counters().unwrap().waiting_runs >= count }
    };
    let waited = async {
        while !counted(1).await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(WAIT, waited)
        .await
        .expect("it waits for a grant");
    life.until_cut_off("no member").await;
    life.sync.shutdown().await;

    // A run of another operation: its founder's, with its genesis and its grant.
    let life = member.connect(5).await;
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
    let life = member.dial(6, elsewhere).await;
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
    assert!(after.refused_author > before.refused_author, "{after:?}");
    assert!(
        after.refused_operation >= before.refused_operation + 2,
        "{after:?}"
    );
    assert_eq!(
        after.stored_entries, before.stored_entries,
        "nothing of it was stored: {after:?}"
    );

    let mut life = member.connect(7).await;
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
fn foreign_run(key: &SigningKey, lane: Lane, entries: Vec<Vec<u8>>) -> Run {
    let author = NodeId(key.verifying_key().to_bytes());
    let log = LogId {
        author,
        incarnation: sync_engine::Incarnation(1),
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

fn another_operation(founder: &SigningKey) -> (Genesis, TrustRecord) {
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
