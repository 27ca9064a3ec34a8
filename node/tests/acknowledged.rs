//! An answer means that it is on the disk, once: requests sent twice, commits that are refused, a rebuild in between.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::{FactKind, Kind};
use node::app::founding::{self, Founding};
use node::app::{
    App, AppError, Caller, IdempotencyKey, KeySource, ListQuery, OpenConfig, RecordKind, Resolution,
};
use serde_json::{Map, Value, json};

const INCIDENTS: RecordKind = RecordKind::Document(Kind::Incident);
const NOTES: RecordKind = RecordKind::Fact(FactKind::Note);

async fn open(dir: &Path) -> Arc<App> {
    App::open(OpenConfig::new(dir, KeySource::DataDir))
        .await
        .unwrap()
}

async fn node(dir: &Path) -> Arc<App> {
    let founding = Founding {
        name: "HQ".into(),
        role: "hq".parse().unwrap(),
        title: "Flood".into(),
    };
    founding::found(dir, &KeySource::DataDir, founding)
        .await
        .unwrap();
    open(dir).await
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn key(name: &str, body: u8) -> Option<IdempotencyKey> {
    Some(IdempotencyKey {
        key: name.into(),
        route: "POST /v1/x".into(),
        body_hash: [body; 32],
    })
}

async fn list(app: &App, kind: RecordKind) -> Vec<Value> {
    let query = ListQuery {
        limit: Some(500),
        ..ListQuery::default()
    };
    app.list(&Caller::socket(), kind, query)
        .await
        .unwrap()
        .items
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_sent_twice_at_once_is_carried_out_once() {
    let dir = tempfile::tempdir().unwrap();
    let app = node(&dir.path().join("hq")).await;
    let caller = Caller::socket();
    for round in 0..20 {
        let fields = || object(json!({ "title": format!("round {round}") }));
        let name = format!("key {round}");
        let sent = futures::future::join_all(
            (0..8).map(|_| app.create(&caller, INCIDENTS, fields(), key(&name, 1))),
        );
        let answers: Vec<Value> = sent
            .await
            .into_iter()
            .map(|sent| sent.unwrap().value)
            .collect();
        assert!(
            answers
                .iter()
                .all(|answer| answer["id"] == answers[0]["id"]),
            "{answers:#?}"
        );
        let note = || object(json!({ "text": format!("round {round}") }));
        let name = format!("note {round}");
        let (one, two) = tokio::join!(
            app.create(&caller, NOTES, note(), key(&name, 1)),
            app.create(&caller, NOTES, note(), key(&name, 1)),
        );
        assert_eq!(one.unwrap().value, two.unwrap().value);
        // Another body under the key, while the first is still on its way.
        let (one, other) = tokio::join!(
            app.create(&caller, NOTES, note(), key(&format!("other {round}"), 1)),
            app.create(&caller, NOTES, note(), key(&format!("other {round}"), 2)),
        );
        let refused = [one, other]
            .into_iter()
            .filter(|sent| matches!(sent, Err(AppError::IdempotencyReused)));
        assert_eq!(refused.count(), 1);
    }
    assert_eq!(list(&app, INCIDENTS).await.len(), 20);
    assert_eq!(list(&app, NOTES).await.len(), 40);
    app.shutdown().await;
}

/// Edits one incident again and again until told to stop; gives the versions that were acknowledged.
async fn edits(app: Arc<App>, id: String, writer: usize, stop: Arc<AtomicBool>) -> Vec<Value> {
    let caller = Caller::socket();
    let mut acknowledged = Vec::new();
    while !stop.load(Ordering::Relaxed) && acknowledged.len() < 100 {
        let shown = app.get(&caller, INCIDENTS, &id, None).await.unwrap();
        let patch = object(json!({ "title": format!("{writer}: {}", acknowledged.len()) }));
        let version = shown["version"].as_str();
        match app
            .patch(&caller, Kind::Incident, &id, version, patch, None)
            .await
        {
            Ok(merged) => acknowledged.push(merged["version"].clone()),
            Err(AppError::Busy { .. }) => tokio::time::sleep(Duration::from_millis(2)).await,
            Err(error) => panic!("{error:?}"),
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_refused_by_a_rebuild_leave_nothing_behind_and_acknowledged_ones_stay() {
    let dir = tempfile::tempdir().unwrap();
    let app = node(&dir.path().join("hq")).await;
    let caller = Caller::socket();
    let created = app
        .create(&caller, INCIDENTS, object(json!({ "title": "Dam" })), None)
        .await
        .unwrap();
    let id = created.value["id"].as_str().unwrap().to_owned();
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            tokio::spawn(edits(
                Arc::clone(&app),
                id.clone(),
                writer,
                Arc::clone(&stop),
            ))
        })
        .collect();
    for _ in 0..15 {
        app.rebuild(&caller).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await.unwrap());
    }
    assert!(!acknowledged.is_empty());

    let check = |app: Arc<App>, acknowledged: Vec<Value>, id: String| async move {
        let history = app
            .history(&Caller::socket(), Kind::Incident, &id, Some(500), None)
            .await
            .unwrap()
            .items;
        let versions: Vec<&Value> = history.iter().map(|item| &item["version"]).collect();
        for version in &acknowledged {
            assert!(versions.contains(&version), "{version} is lost");
        }
        assert_eq!(
            versions.len(),
            acknowledged.len() + 1,
            "and nothing else is there"
        );
        let shown = app
            .get(&Caller::socket(), INCIDENTS, &id, None)
            .await
            .unwrap();
        let rebuilt = app.rebuild(&Caller::socket()).await.unwrap();
        assert_eq!(rebuilt["views_changed"], json!(false));
        shown
    };
    let before = check(Arc::clone(&app), acknowledged.clone(), id.clone()).await;
    app.shutdown().await;
    drop(app);
    let app = open(&dir.path().join("hq")).await;
    let after = check(Arc::clone(&app), acknowledged, id).await;
    assert_eq!(before, after, "memory and disk say the same");
    app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_rebuild_is_refused_and_does_not_end_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let app = node(&dir.path().join("hq")).await;
    let caller = Caller::socket();
    for number in 0..300 {
        let fields = object(json!({ "title": format!("incident {number}") }));
        app.create(&caller, INCIDENTS, fields, None).await.unwrap();
    }
    let all = futures::future::join_all((0..4).map(|_| app.rebuild(&caller))).await;
    let done = all.iter().filter(|rebuilt| rebuilt.is_ok()).count();
    assert!(done >= 1, "{all:#?}");
    assert_eq!(list(&app, INCIDENTS).await.len(), 300);
    app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_settle_a_conflict_at_once_one_is_told_that_it_was_settled() {
    let dir = tempfile::tempdir().unwrap();
    let app = node(&dir.path().join("hq")).await;
    let caller = Caller::socket();
    for _ in 0..10 {
        let fields = object(json!({ "title": "Dam" }));
        let created = app
            .create(&caller, INCIDENTS, fields, None)
            .await
            .unwrap()
            .value;
        let (id, base) = (created["id"].as_str().unwrap(), created["version"].as_str());
        for severity in ["minor", "extreme"] {
            let patch = object(json!({ "severity": severity }));
            app.patch(&caller, Kind::Incident, id, base, patch, None)
                .await
                .unwrap();
        }
        let open = app
            .list_conflicts(&caller, Some("open".into()), Some(id.into()), None, None)
            .await
            .unwrap()
            .items;
        let conflict = open[0]["id"].as_str().unwrap();
        let settle = |value: &'static str| {
            app.resolve_conflict(&caller, conflict, Resolution::Value(json!(value)))
        };
        let both = tokio::join!(settle("minor"), settle("extreme"));
        let (resolved, refused) = match both {
            (Ok(resolved), Err(refused)) | (Err(refused), Ok(resolved)) => (resolved, refused),
            both => panic!("{both:#?}"),
        };
        assert!(matches!(refused, AppError::Conflict(_)), "{refused:?}");
        let shown = app.get(&caller, INCIDENTS, id, None).await.unwrap();
        assert_eq!(shown["severity"], resolved["resolution"]["value"]);
        assert_eq!(shown["conflicts"], json!([]));
    }
    app.shutdown().await;
}
