//! A view that does not follow from its entries: found by comparing, recorded, and put right.

use std::collections::{BTreeMap, BTreeSet};

use domain::{FactKind, Kind};
use node::app::{Caller, ListQuery, RecordKind};
use node::ops::local::{LocalRequest, handle};
use serde_json::{Value, json};
use store::{Batch, Disposition, DocumentRow, DocumentWrite, RewrittenViews, Store};
use sync_engine::{GroupId, Lane, ObjectId};
use uuid::Uuid;

use super::pair::{Node, Pair, object, until};

const INCIDENTS: RecordKind = RecordKind::Document(Kind::Incident);
const NOTES: RecordKind = RecordKind::Fact(FactKind::Note);

/// What stands in place of a document's heads.
const WRONG_HEADS: [u8; 32] = [0xbd; 32];

fn object_id(value: &Value) -> ObjectId {
    ObjectId(*id_of(value).as_bytes())
}

fn id_of(value: &Value) -> Uuid {
    value["id"].as_str().unwrap().parse().unwrap()
}

/// A row as a batch would write it, with other heads and another text.
fn spoilt(row: DocumentRow) -> DocumentWrite {
    DocumentWrite {
        id: row.id,
        kind: row.kind,
        group: row.group,
        lane: row.lane,
        version: "spoilt".into(),
        heads: WRONG_HEADS.to_vec(),
        snapshot: None,
        view: row.view.replace("Dam", "Dry"),
        deleted: row.deleted,
        title: "Dry".into(),
        facets: Vec::new(),
        location: None,
        created_wall_ms: row.created_wall_ms,
        updated_wall_ms: row.updated_wall_ms,
    }
}

/// One document shows something else, another and a note are gone, and there is one that nobody ever wrote.
fn damage(store: &Store, shown_wrong: ObjectId, gone: [ObjectId; 2], invented: ObjectId) {
    let row = store
        .read(|reader| reader.get_document(None, &shown_wrong, None))
        .unwrap()
        .unwrap();
    let mut batch = Batch::new(Lane::Life, 1);
    batch.documents.push(spoilt(row.clone()));
    batch.documents.push(DocumentWrite {
        id: invented,
        group: GroupId::SHARED,
        ..spoilt(row)
    });
    for object in gone {
        batch.rewritten.push(RewrittenViews {
            object,
            commits: Vec::new(),
        });
    }
    store.commit(batch).wait().unwrap();
}

/// The objects of a fault by their ids.
fn objects(fault: &Value) -> BTreeMap<Uuid, &Value> {
    let objects = fault["detail"]["objects"].as_array().unwrap();
    objects.iter().map(|it| (id_of(it), it)).collect()
}

async fn titles(node: &Node) -> Vec<String> {
    let page = node
        .app
        .list(&Caller::socket(), INCIDENTS, ListQuery::default())
        .await
        .unwrap();
    let mut titles: Vec<String> = page
        .items
        .iter()
        .map(|item| item["title"].as_str().unwrap().to_owned())
        .collect();
    titles.sort();
    titles
}

/// How often this process, which both nodes share, recorded a fault.
fn faults_counted() -> u64 {
    let figures = node::api::metrics_recorder().unwrap().render();
    figures
        .lines()
        .find_map(|line| line.strip_prefix("muster_sync_faults_total "))
        .map_or(0, |count| count.parse().unwrap())
}

/// A fault whose cause was looked into.
async fn settled_fault(node: &Node) -> Value {
    until("a fault is recorded and looked into", async || {
        let newest = node.faults().await.into_iter().next()?;
        (newest["fault"] != "unknown").then_some(newest)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_view_is_found_recorded_and_mended_and_the_healthy_end_says_that_it_is_in_order()
{
    node::api::metrics_recorder().unwrap();
    let pair = Pair::meet().await;
    let shown_wrong = pair.hq.create(INCIDENTS, json!({ "title": "Dam" })).await;
    let gone = pair
        .hq
        .create(INCIDENTS, json!({ "title": "Bridge" }))
        .await;
    let note = pair.truck.create(NOTES, json!({ "text": "Seen" })).await;
    pair.until_agreed().await;
    let digest = pair.hq.status().await["heads_digest"].clone();
    let shown = pair
        .hq
        .get(INCIDENTS, shown_wrong["id"].as_str().unwrap())
        .await;

    let apart = pair.part().await;
    let mut invented = object_id(&gone);
    invented.0[12] ^= 1;
    apart.at("truck", |store| {
        let rows = [object_id(&gone), object_id(&note)];
        damage(store, object_id(&shown_wrong), rows, invented);
    });
    let counted = faults_counted();
    let pair = apart.meet().await;

    // The end with the damage: recorded before it was mended, with what is needed to find the cause.
    let ours = settled_fault(&pair.truck).await;
    assert_eq!(ours["fault"], "ours", "{ours:#}");
    assert_eq!((&ours["objects"], &ours["times"]), (&json!(4), &json!(1)));
    assert_eq!(ours["peer"], json!(pair.hq.app.node_id().to_string()));
    assert_eq!(ours["peer_name"], "HQ");
    assert!(ours["repaired_at"].is_string() && ours["mark"].is_string());
    for side in ["ours", "theirs"] {
        assert_eq!(
            ours["detail"]["software"][side],
            concat!("muster/", env!("CARGO_PKG_VERSION"))
        );
    }
    let named = objects(&ours);
    let wrong = named[&id_of(&shown_wrong)];
    let wrong_heads = "bd".repeat(32);
    assert_eq!(wrong["heads"], json!([wrong_heads]), "as it was before");
    assert_eq!(
        (&wrong["kind"], &wrong["version"]),
        (&json!("incident"), &json!("spoilt"))
    );
    assert!(wrong["commit"].as_i64().unwrap() > 0);
    let entry = &wrong["entries"][0];
    assert_eq!(
        (&entry["state"], &entry["seq"]),
        (&json!("applied"), &json!(1))
    );
    assert!(entry["commit"].as_i64().unwrap() > 0);
    assert!(
        entry["log"]
            .as_str()
            .unwrap()
            .starts_with(&pair.hq.app.node_id().to_string())
    );
    let lost = named[&id_of(&gone)];
    assert!(
        lost["ours"].is_null() && lost["theirs"].is_string(),
        "{lost}"
    );
    assert_eq!(named[&id_of(&note)]["kind"], "note");
    let never_written = named[&Uuid::from_bytes(invented.0)];
    assert!(never_written["theirs"].is_null());
    assert_eq!(never_written["entries"], json!([]));
    let found = &ours["detail"]["found"];
    assert_eq!(
        (&found["looked_at"], &found["wrong"]),
        (&json!(4), &json!(4))
    );
    for object in found["objects"].as_array().unwrap() {
        assert_eq!(object["repaired"], true, "{object}");
    }

    // The healthy end: the same objects, seen from the other side.
    let theirs = settled_fault(&pair.hq).await;
    assert_eq!(theirs["fault"], "theirs", "{theirs:#}");
    assert_eq!(theirs["detail"]["found"]["wrong"], 0);
    assert!(
        theirs["repaired_at"].is_string(),
        "nothing is to be done here"
    );
    for (id, object) in objects(&theirs) {
        assert_eq!(
            (&object["ours"], &object["theirs"]),
            (&named[&id]["theirs"], &named[&id]["ours"])
        );
    }
    assert!(faults_counted() >= counted + 2);

    // What people see is right again, and both say that they agree.
    pair.until_agreed().await;
    assert_eq!(pair.truck.status().await["heads_digest"], digest);
    assert_eq!(titles(&pair.truck).await, ["Bridge", "Dam"]);
    pair.truck.get(NOTES, note["id"].as_str().unwrap()).await;
    let mended = pair
        .truck
        .get(INCIDENTS, shown_wrong["id"].as_str().unwrap())
        .await;
    assert_eq!(
        (&mended["title"], &mended["version"]),
        (&shown["title"], &shown["version"])
    );
    for node in pair.nodes() {
        let rebuilt = node.app.rebuild(&Caller::socket()).await.unwrap();
        assert_eq!(rebuilt["views_changed"], json!(false), "{rebuilt:#}");
    }
    // It takes edits as before.
    let version = mended["version"].as_str();
    let id = mended["id"].as_str().unwrap();
    let fields = object(json!({ "severity": "severe" }));
    pair.truck
        .app
        .patch(&Caller::socket(), Kind::Incident, id, version, fields, None)
        .await
        .unwrap();
    until("the edit reaches HQ", async || {
        (pair.hq.get(INCIDENTS, id).await["severity"] == "severe").then_some(())
    })
    .await;

    people_see_the_fault_until_they_looked_at_it(&pair.truck).await;
    pair.part().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_verdict_is_found_by_the_number_of_entries_and_judged_anew() {
    let pair = Pair::meet().await;
    let note = pair.hq.create(NOTES, json!({ "text": "Seen" })).await;
    pair.until_agreed().await;
    let apart = pair.part().await;
    apart.at("truck", |store| {
        let entries = store.read(|reader| reader.entries_about(&object_id(&note)));
        let entry = &entries.unwrap()[0].entry;
        let verdict = Disposition::Quarantined {
            reason: "a whim".into(),
        };
        let mut batch = Batch::new(Lane::Coordination, 1);
        batch.released.push((entry.log, entry.seq, verdict));
        store.commit(batch).wait().unwrap();
    });
    let pair = apart.meet().await;

    let ours = settled_fault(&pair.truck).await;
    assert_eq!(
        (&ours["fault"], &ours["objects"]),
        (&json!("ours"), &json!(0))
    );
    let counts = json!({ "ours": 1, "theirs": 0 });
    assert_eq!(ours["detail"]["quarantined"], counts);
    let entry = &objects(&ours)[&id_of(&note)]["entries"][0];
    assert_eq!(
        (&entry["state"], &entry["why"]),
        (&json!("quarantined"), &json!("a whim"))
    );
    let change = &ours["detail"]["found"]["objects"][0]["entries"][0];
    assert_eq!(
        (&change["before"], &change["after"]),
        (&json!("quarantined"), &json!("applied"))
    );
    assert_eq!(settled_fault(&pair.hq).await["fault"], "theirs");
    pair.until_agreed().await;
    assert_eq!(pair.truck.status().await["quarantined"], 0);
    let rebuilt = pair.truck.app.rebuild(&Caller::socket()).await.unwrap();
    assert_eq!(rebuilt["views_changed"], json!(false));
    pair.part().await;
}

/// In the status and in the list, which has the shape that is documented.
async fn people_see_the_fault_until_they_looked_at_it(node: &Node) {
    let status = node.status().await;
    assert_eq!(status["sync_faults"]["unseen"], 1);
    assert!(status["sync_faults"]["last_at"].is_string());
    let listed = handle(&node.app, LocalRequest::FaultsList { limit: 10 }).await;
    let listed = listed.into_result().unwrap();
    let id = listed["items"][0]["id"].as_str().unwrap().to_owned();

    let document: Value = serde_json::from_str(include_str!("../../openapi.json")).unwrap();
    let described = &document["components"]["schemas"]["SyncFault"]["properties"];
    let names = |value: &Value| -> BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(names(&listed["items"][0]), names(described));

    let seen = handle(&node.app, LocalRequest::FaultsSeen { id }).await;
    assert_eq!(seen.into_result().unwrap(), json!({ "seen": 1 }));
    assert_eq!(node.status().await["sync_faults"]["unseen"], 0);
    assert!(node.faults().await[0]["seen_at"].is_string());
}
