//! Honest nodes with real stores and real QUIC, and ways to ask them how they are.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use automerge::{Change, ExpandedChange};
use domain::{Author, Document, FactKind, Kind, RecordId};
use node::app::founding::{self, Founding};
use node::app::{App, Caller, KeySource, ListQuery, OpenConfig, RecordKind, SyncSettings};
use serde_json::{Map, Value, json};

use super::member::{Life, WAIT, change, wall_ms};

pub const INCIDENTS: RecordKind = RecordKind::Document(Kind::Incident);
pub const NOTES: RecordKind = RecordKind::Fact(FactKind::Note);
pub const INCIDENT: u16 = 0x0101;
pub const NOTE: u16 = 0x0201;

pub async fn open(dir: &Path) -> Arc<App> {
    App::open(OpenConfig::new(dir, KeySource::DataDir))
        .await
        .unwrap()
}

pub async fn listen(app: &Arc<App>, address: &str) -> SocketAddr {
    let settings = SyncSettings {
        listen: address.parse().unwrap(),
        peers: Vec::new(),
        advertise: Vec::new(),
        mdns: false,
    };
    app.start_sync(settings).await.unwrap()
}

/// An HQ that listens, in `dir`.
pub async fn hq(dir: &Path) -> (Arc<App>, SocketAddr) {
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
pub async fn truck(dir: &Path, hq: &Arc<App>) -> Arc<App> {
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

pub async fn restart(app: Arc<App>, dir: &Path, address: &str) -> Arc<App> {
    app.shutdown().await;
    drop(app);
    let app = open(dir).await;
    listen(&app, address).await;
    app
}

pub fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

pub async fn incident(app: &App, title: &str) -> RecordId {
    let fields = object(json!({ "title": title, "description": "first", "severity": "minor" }));
    let created = app
        .create(&Caller::socket(), INCIDENTS, fields, None)
        .await
        .unwrap();
    created.value["id"].as_str().unwrap().parse().unwrap()
}

pub async fn shown(app: &App, id: RecordId) -> Value {
    app.get(&Caller::socket(), INCIDENTS, &id.to_string(), None)
        .await
        .unwrap()
}

/// A person edits an incident as they see it.
pub async fn patch(app: &App, id: RecordId, fields: Value) -> Value {
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

pub async fn until(what: &str, app: &App, reached: impl Fn(&Value) -> bool) {
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

pub async fn until_quarantined(app: &App, count: u64) {
    until("quarantine", app, |status| status["quarantined"] == count).await;
}

pub async fn until_shown(app: &App, id: RecordId, field: &str, value: &str) {
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
pub async fn until_equal(a: &App, b: &App) {
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

pub async fn picture(app: &App) -> Vec<Value> {
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

pub async fn rebuild_changes_nothing(app: &App) {
    let rebuilt = app.rebuild(&Caller::socket()).await.unwrap();
    assert_eq!(rebuilt["views_changed"], json!(false), "{rebuilt:#}");
}

/// The reasons in quarantine, in order. The node must not run.
pub fn reasons(dir: &Path) -> Vec<String> {
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
pub fn edit(document: &mut Document, author: Author, fields: Value) -> Vec<u8> {
    let edit = domain::check_patch(Kind::Incident, &object(fields), &Map::new()).unwrap();
    let time_s = i64::try_from(wall_ms() / 1_000).unwrap();
    document
        .edit(&author, None, &edit, time_s)
        .unwrap()
        .unwrap()
        .bytes
}

/// An honest change, taken apart and spoilt.
pub async fn spoilt(life: &Life, id: RecordId, spoil: impl FnOnce(&mut ExpandedChange)) -> Vec<u8> {
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
