//! Two nodes with real stores and real QUIC: whatever people edit while the link comes and goes, both end with the same
//! picture, and a rebuild gives the same rows.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use domain::Kind;
use node::app::founding::{self, Founding};
use node::app::{
    App, Caller, KeySource, ListQuery, OpenConfig, RecordKind, Resolution, SyncSettings,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value, json};

const INCIDENTS: RecordKind = RecordKind::Document(Kind::Incident);
const WAIT: Duration = Duration::from_secs(30);

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

/// HQ and a member, both in `dir`, neither of them running.
async fn two_members(dir: &Path) -> SocketAddr {
    let hq_dir = dir.join("hq");
    let founding = Founding {
        name: "HQ".into(),
        role: "hq".parse().unwrap(),
        title: "Flood".into(),
    };
    founding::found(&hq_dir, &KeySource::DataDir, founding)
        .await
        .unwrap();
    let hq = open(&hq_dir).await;
    let address = listen(&hq, "127.0.0.1:0").await;
    let code = hq
        .invite(&Caller::socket(), "field", None, Duration::from_secs(60))
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
    hq.shutdown().await;
    address
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

async fn incidents(app: &App) -> Vec<Value> {
    let query = ListQuery {
        limit: Some(500),
        include_deleted: true,
        ..ListQuery::default()
    };
    app.list(&Caller::socket(), INCIDENTS, query)
        .await
        .unwrap()
        .items
}

fn one_of(rng: &mut StdRng, words: [&'static str; 3]) -> &'static str {
    words[rng.random_range(0..words.len())]
}

/// One random thing that a person does. Errors that people meet (gone, nothing there) are part of it.
async fn act(app: &App, rng: &mut StdRng) {
    let caller = Caller::socket();
    let known = incidents(app).await;
    if known.is_empty() || rng.random_ratio(1, 5) {
        let title = format!("incident {}", rng.random::<u32>());
        app.create(&caller, INCIDENTS, object(json!({ "title": title })), None)
            .await
            .unwrap();
        return;
    }
    let incident = &known[rng.random_range(0..known.len())];
    let id = incident["id"].as_str().unwrap();
    let version = incident["version"].as_str();
    let patch = match rng.random_range(0..6) {
        0 => json!({ "status": one_of(rng, ["confirmed", "active", "closed"]) }),
        1 => json!({ "severity": one_of(rng, ["minor", "severe", "extreme"]) }),
        2 => json!({ "tags": [one_of(rng, ["a", "b", "c"])] }),
        3 => json!({ "description": format!("seen at {}", rng.random_range(0..1000)) }),
        4 => {
            let _ = app.delete(&caller, Kind::Incident, id, version).await;
            return;
        }
        _ => {
            let _ = app.restore(&caller, Kind::Incident, id).await;
            return;
        }
    };
    let _ = app
        .patch(&caller, Kind::Incident, id, version, object(patch), None)
        .await;
}

async fn digest(app: &App) -> (String, u64) {
    let status = app.status().await.unwrap();
    (
        status["heads_digest"].as_str().unwrap().to_owned(),
        status["pending"].as_u64().unwrap(),
    )
}

async fn until_equal(hq: &App, truck: &App) {
    let agreed = async {
        loop {
            let (a, waiting_a) = digest(hq).await;
            let (b, waiting_b) = digest(truck).await;
            if a == b && waiting_a + waiting_b == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(WAIT, agreed)
        .await
        .expect("both nodes agree in time");
}

/// What people see, without what belongs to the node that shows it.
async fn picture(app: &App) -> Vec<Value> {
    let mut items = incidents(app).await;
    for item in &mut items {
        item.as_object_mut().unwrap().remove("seen_by");
    }
    items.sort_by_key(|item| item["id"].to_string());
    items
}

#[tokio::test(flavor = "multi_thread")]
async fn random_edits_apart_end_in_one_picture_and_rebuild_gives_the_same_rows() {
    let seed = std::env::var("SIM_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(7);
    eprintln!("replay with SIM_SEED={seed} cargo test -p node --test convergence");
    let mut rng = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let address = two_members(dir.path()).await;
    let mut hq = open(&dir.path().join("hq")).await;
    let mut truck = open(&dir.path().join("truck")).await;
    for round in 0..4 {
        // Apart: nobody listens.
        for _ in 0..12 {
            act(&hq, &mut rng).await;
            act(&truck, &mut rng).await;
        }
        listen(&hq, &address.to_string()).await;
        listen(&truck, "127.0.0.1:0").await;
        // Together: edits race with the exchange.
        for _ in 0..6 {
            act(&hq, &mut rng).await;
            act(&truck, &mut rng).await;
        }
        until_equal(&hq, &truck).await;
        assert_eq!(picture(&hq).await, picture(&truck).await, "round {round}");
        for (name, app) in [("hq", &hq), ("truck", &truck)] {
            let before = digest(app).await;
            let rebuilt = app.rebuild(&Caller::socket()).await.unwrap();
            assert_eq!(
                rebuilt["views_changed"],
                json!(false),
                "{name} after round {round}"
            );
            assert_eq!(digest(app).await, before, "{name} after round {round}");
        }
        // A process ends and begins anew between the rounds.
        hq.shutdown().await;
        truck.shutdown().await;
        drop((hq, truck));
        hq = open(&dir.path().join("hq")).await;
        truck = open(&dir.path().join("truck")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_values_set_apart_are_a_conflict_everywhere_until_somebody_chooses() {
    let dir = tempfile::tempdir().unwrap();
    let address = two_members(dir.path()).await;
    let caller = Caller::socket();
    let hq = open(&dir.path().join("hq")).await;
    let truck = open(&dir.path().join("truck")).await;
    let created = hq
        .create(
            &caller,
            INCIDENTS,
            object(json!({ "title": "Bridge" })),
            None,
        )
        .await
        .unwrap();
    let id = created.value["id"].as_str().unwrap().to_owned();
    let base = created.value["version"].as_str().unwrap().to_owned();
    // Two people of one node, from the same version: a conflict as well.
    for severity in ["minor", "extreme"] {
        let patch = object(json!({ "severity": severity }));
        hq.patch(&caller, Kind::Incident, &id, Some(&base), patch, None)
            .await
            .unwrap();
    }
    listen(&hq, &address.to_string()).await;
    listen(&truck, "127.0.0.1:0").await;
    until_equal(&hq, &truck).await;

    let listed = truck
        .list_conflicts(&caller, Some("open".into()), None, None, None)
        .await
        .unwrap();
    let [conflict] = &listed.items[..] else {
        panic!("one conflict: {:?}", listed.items)
    };
    let conflict_id = conflict["id"].as_str().unwrap();
    let mut values: Vec<&str> = conflict["values"]
        .as_array()
        .unwrap()
        .iter()
        .map(|value| value["value"].as_str().unwrap())
        .collect();
    values.sort_unstable();
    assert_eq!(values, ["extreme", "minor"]);

    let choice = conflict["choices"][0]["id"].as_str().unwrap().to_owned();
    let resolved = truck
        .resolve_conflict(&caller, conflict_id, Resolution::Choice(choice))
        .await
        .unwrap();
    assert_eq!(resolved["state"], "resolved");
    until_equal(&hq, &truck).await;
    let there = hq.get_conflict(&caller, conflict_id).await.unwrap();
    assert_eq!(
        there["resolution"]["value"],
        resolved["resolution"]["value"]
    );
    let shown = hq.get(&caller, INCIDENTS, &id, None).await.unwrap();
    assert_eq!(shown["severity"], resolved["resolution"]["value"]);
    assert_eq!(shown["conflicts"], json!([]));
    hq.shutdown().await;
    truck.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_a_version_that_has_not_arrived_yet_is_refused_and_can_be_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let address = two_members(dir.path()).await;
    let caller = Caller::socket();
    let hq = open(&dir.path().join("hq")).await;
    let truck = open(&dir.path().join("truck")).await;
    listen(&hq, &address.to_string()).await;
    listen(&truck, "127.0.0.1:0").await;
    let created = hq
        .create(
            &caller,
            INCIDENTS,
            object(json!({ "title": "Levee" })),
            None,
        )
        .await
        .unwrap();
    let id = created.value["id"].as_str().unwrap().to_owned();
    until_equal(&hq, &truck).await;
    truck.shutdown().await;
    drop(truck);

    // HQ goes on; its newest version is not known at the truck, which is alone now.
    let base = created.value["version"].as_str().unwrap();
    let newer = hq
        .patch(
            &caller,
            Kind::Incident,
            &id,
            Some(base),
            object(json!({ "status": "active" })),
            None,
        )
        .await
        .unwrap();
    let truck = open(&dir.path().join("truck")).await;
    let patch = || object(json!({ "severity": "severe" }));
    let refused = truck
        .patch(
            &caller,
            Kind::Incident,
            &id,
            newer["version"].as_str(),
            patch(),
            None,
        )
        .await
        .unwrap_err();
    assert!(
        matches!(refused, node::app::AppError::VersionUnknown(_)),
        "{refused:?}"
    );

    listen(&truck, "127.0.0.1:0").await;
    until_equal(&hq, &truck).await;
    let merged = truck
        .patch(
            &caller,
            Kind::Incident,
            &id,
            newer["version"].as_str(),
            patch(),
            None,
        )
        .await
        .unwrap();
    assert_eq!(
        (&merged["status"], &merged["severity"]),
        (&json!("active"), &json!("severe"))
    );
    hq.shutdown().await;
    truck.shutdown().await;
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_copy_that_meets_its_own_longer_log_stops_writing_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let address = two_members(dir.path()).await;
    let caller = Caller::socket();
    let (truck_dir, old_dir) = (dir.path().join("truck"), dir.path().join("truck-backup"));
    let hq = open(&dir.path().join("hq")).await;
    listen(&hq, &address.to_string()).await;
    copy_files(&truck_dir, &old_dir);
    {
        let truck = open(&truck_dir).await;
        listen(&truck, "127.0.0.1:0").await;
        truck
            .create(&caller, INCIDENTS, object(json!({ "title": "Dam" })), None)
            .await
            .unwrap();
        until_equal(&hq, &truck).await;
        truck.shutdown().await;
    }

    let restored = open(&old_dir).await;
    listen(&restored, "127.0.0.1:0").await;
    let stopped = async {
        while restored.status().await.unwrap()["writes_stopped"].is_null() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(WAIT, stopped)
        .await
        .expect("it notices its own longer log");
    let refused = restored
        .create(&caller, INCIDENTS, object(json!({ "title": "Fork" })), None)
        .await
        .unwrap_err();
    assert!(
        matches!(refused, node::app::AppError::WritesStopped(_)),
        "{refused:?}"
    );
    assert!(
        refused.to_string().contains("HQ"),
        "it says who holds more: {refused}"
    );
    hq.shutdown().await;
    restored.shutdown().await;
}
