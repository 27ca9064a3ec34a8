//! Documents over HTTP: create, read, edit, delete, restore, look back.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Node, send};

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_nobody_has_approved_is_found_as_any_other() {
    let node = Node::start().await;
    node.publish(&[
        ("muster/v1/gauge/level", b"1"),
        ("muster/v1/gauge-2/level", b"1"),
    ])
    .await;
    let pump = json!({ "name": "pump", "state": "approved" });
    node.post("/v1/devices", pump).await.expect(201);
    let found = async |query: &str| -> Vec<Value> {
        let page = node.get(&format!("/v1/devices?{query}")).await.expect(200);
        let devices = page.body["items"].as_array().unwrap().iter();
        devices.map(|device| device["name"].clone()).collect()
    };
    assert_eq!(found("name=gauge").await, ["gauge"]);
    assert_eq!(found("name=gauge&state=unknown").await, ["gauge"]);
    assert_eq!(found("state=unknown").await, ["gauge", "gauge-2"]);
    assert_eq!(found("q=gauge").await, ["gauge", "gauge-2"]);
    assert_eq!(found("state=unknown&limit=1").await, ["gauge"]);
    assert_eq!(found("name=gauge-2&q=GAUGE").await, ["gauge-2"]);
    assert!(found("name=gauge-2&q=pump").await.is_empty());
    assert_eq!(found("name=pump").await, ["pump"]);
    assert!(found("name=gauge&state=approved").await.is_empty());
    assert!(found("name=gaug").await.is_empty());
    let listed = node.get("/v1/devices?name=gauge-2").await.expect(200);
    let listed = &listed.body["items"][0];
    let path = listed["_links"]["self"].as_str().unwrap();
    let one = node.get(path).await.expect(200);
    assert_eq!(one.body["name"], "gauge-2");
    assert_eq!(one.body["id"], listed["id"]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_lives_through_create_edit_delete_and_restore() {
    let node = Node::start().await;
    let created = node
        .post(
            "/v1/incidents",
            json!({ "title": "Dam", "severity": "severe" }),
        )
        .await
        .expect(201);
    let path = format!("/v1/incidents/{}", created.id());
    assert_eq!(created.header("location"), path);
    assert_eq!(created.header("etag"), format!("\"{}\"", created.version()));
    assert_eq!(created.body["status"], "reported");
    assert_eq!(created.body["author"], "admin");

    let read = node.get(&path).await.expect(200);
    assert_eq!(read.body, created.body);
    assert_eq!(read.header("etag"), created.header("etag"));

    let edited = node
        .patch(
            &path,
            created.version(),
            json!({ "title": "Dam gives way" }),
        )
        .await
        .expect(200);
    assert_eq!(edited.body["title"], "Dam gives way");
    assert_ne!(edited.version(), created.version());
    assert_eq!(edited.header("etag"), format!("\"{}\"", edited.version()));

    assert!(node.delete(&path).await.expect(204).text.is_empty());
    assert_eq!(node.get(&path).await.expect(410).code(), "gone");
    let list = node.get("/v1/incidents").await.expect(200);
    assert_eq!(list.body["items"], json!([]));
    let with_deleted = node.get("/v1/incidents?include=deleted").await.expect(200);
    assert_eq!(with_deleted.body["items"][0]["deleted"], true);

    let restored = node
        .post(&format!("{path}/restore"), json!({}))
        .await
        .expect(200);
    assert_eq!(restored.body["title"], "Dam gives way");
    node.get(&path).await.expect(200);

    let history = node.get(&format!("{path}/history")).await.expect(200);
    assert!(
        history.body["items"].as_array().unwrap().len() >= 3,
        "{}",
        history.text
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_edits_from_one_version_keep_both_values_until_somebody_chooses() {
    let node = Node::start().await;
    let incident = node.incident("Dam").await;
    let path = format!("/v1/incidents/{}", incident.id());
    node.patch(&path, incident.version(), json!({ "title": "Dam A" }))
        .await
        .expect(200);
    let merged = node
        .patch(&path, incident.version(), json!({ "title": "Dam B" }))
        .await
        .expect(200);
    let conflicts = merged.body["conflicts"].as_array().unwrap();
    assert_eq!(conflicts.len(), 1, "{}", merged.text);
    assert_eq!(conflicts[0]["field"], "title");

    let conflict_path = format!(
        "/v1/conflicts/{}",
        conflicts[0]["conflict"].as_str().unwrap()
    );
    let conflict = node.get(&conflict_path).await.expect(200);
    assert_eq!(conflict.body["state"], "open");
    let mut values: Vec<_> = conflict.body["values"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v["value"].clone())
        .collect();
    values.sort_by_key(Value::to_string);
    assert_eq!(values, [json!("Dam A"), json!("Dam B")]);

    node.post(
        &format!("{conflict_path}/resolve"),
        json!({ "choice": "no such choice" }),
    )
    .await
    .expect(422);
    node.post(&format!("{conflict_path}/resolve"), json!({}))
        .await
        .expect(422);
    let choice = conflict.body["choices"][0]["id"].clone();
    let resolved = node
        .post(
            &format!("{conflict_path}/resolve"),
            json!({ "choice": choice }),
        )
        .await
        .expect(200);
    assert_eq!(resolved.body["state"], "resolved");
    let settled = node.get(&path).await.expect(200);
    assert_eq!(settled.body["conflicts"], json!([]));
    let open = node.get("/v1/conflicts?state=open").await.expect(200);
    assert_eq!(open.body["items"], json!([]));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_sent_again_happens_once() {
    let node = Node::start().await;
    let keyed = |method: Method, path: &str, body: Value| {
        node.signed(method, path)
            .header("idempotency-key", "once")
            .json(&body)
    };
    let body = json!({ "title": "Dam" });
    let first = send(keyed(Method::POST, "/v1/incidents", body.clone()))
        .await
        .expect(201);
    let again = send(keyed(Method::POST, "/v1/incidents", body))
        .await
        .expect(201);
    assert_eq!(again.body, first.body);
    assert_eq!(again.header("location"), first.header("location"));
    let other = send(keyed(
        Method::POST,
        "/v1/incidents",
        json!({ "title": "Fire" }),
    ))
    .await
    .expect(422);
    assert_eq!(other.code(), "idempotency-key-reused");
    let list = node.get("/v1/incidents").await.expect(200);
    assert_eq!(list.body["items"].as_array().unwrap().len(), 1);

    // Another path is another scope.
    let path = format!("/v1/incidents/{}", first.id());
    let edit = || {
        keyed(Method::PATCH, &path, json!({ "status": "active" }))
            .header("if-match", format!("\"{}\"", first.version()))
    };
    let edited = send(edit()).await.expect(200);
    assert_eq!(send(edit()).await.expect(200).body, edited.body);
    assert_eq!(edited.body["status"], "active");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages_and_filtered() {
    let node = Node::start().await;
    for n in 0..5 {
        let status = if n % 2 == 0 { "active" } else { "closed" };
        let location = json!({ "lat": 50.0 + f64::from(n), "lon": 179.5 - f64::from(n) });
        let body =
            json!({ "title": format!("Incident {n}"), "status": status, "location": location });
        node.post("/v1/incidents", body).await.expect(201);
    }
    let titles = |answer: &Answer| -> Vec<String> {
        let items = answer.body["items"].as_array().unwrap();
        items
            .iter()
            .map(|item| item["title"].as_str().unwrap().to_owned())
            .collect()
    };
    let mut seen = Vec::new();
    let mut path = "/v1/incidents?limit=2".to_owned();
    loop {
        let page = node.get(&path).await.expect(200);
        assert!(page.body["items"].as_array().unwrap().len() <= 2);
        seen.extend(titles(&page));
        match page.body["next"].as_str() {
            Some(next) => path = format!("/v1/incidents?limit=2&cursor={next}"),
            None => break,
        }
    }
    seen.sort();
    assert_eq!(
        seen,
        [
            "Incident 0",
            "Incident 1",
            "Incident 2",
            "Incident 3",
            "Incident 4"
        ]
    );
    assert_eq!(
        titles(&node.get("/v1/incidents?status=closed").await.expect(200)).len(),
        2
    );
    assert_eq!(
        titles(&node.get("/v1/incidents?q=incident%203").await.expect(200)),
        ["Incident 3"]
    );
    let boxed = node
        .get("/v1/incidents?bbox=178,49,-179,52")
        .await
        .expect(200);
    assert_eq!(titles(&boxed).len(), 2, "{}", boxed.text);

    let since = boxed.body["since"].as_str().unwrap().to_owned();
    node.incident("Later").await;
    assert_eq!(
        titles(
            &node
                .get(&format!("/v1/incidents?since={since}"))
                .await
                .expect(200)
        ),
        ["Later"]
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn approving_a_device_twice_is_one_device() {
    let node = Node::start().await;
    let body = json!({ "name": "gauge-1", "state": "approved" });
    let first = node.post("/v1/devices", body.clone()).await.expect(201);
    let second = node.post("/v1/devices", body).await.expect(200);
    assert_eq!(first.id(), second.id());
    assert_eq!(
        node.get("/v1/devices").await.expect(200).body["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn notes_are_written_once_and_found_by_what_they_are_about() {
    let node = Node::start().await;
    let incident = node.incident("Dam").await;
    let about = json!({ "kind": "incident", "id": incident.id() });
    let note = node
        .post("/v1/notes", json!({ "text": "Two meters", "about": about }))
        .await
        .expect(201);
    let path = format!("/v1/notes/{}", note.id());
    assert_eq!(note.header("location"), path);
    assert_eq!(node.get(&path).await.expect(200).body["text"], "Two meters");
    let found = node
        .get(&format!("/v1/notes?about={}", incident.id()))
        .await
        .expect(200);
    assert_eq!(found.body["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        node.delete(&path).await.expect(405).code(),
        "method-not-allowed"
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_shown_as_it_was_known_at_a_time() {
    let node = Node::start().await;
    let incident = node.incident("Before").await;
    let path = format!("/v1/incidents/{}", incident.id());
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let between = node::app::rfc3339_wall(node.app.clock().wall_ms());
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    node.patch(&path, incident.version(), json!({ "title": "After" }))
        .await
        .expect(200);
    assert_eq!(
        node.get(&format!("{path}?at={between}"))
            .await
            .expect(200)
            .body["title"],
        "Before"
    );
    assert_eq!(node.get(&path).await.expect(200).body["title"], "After");
    node.get(&format!("{path}?at=2001-01-01T00:00:00Z"))
        .await
        .expect(404);
    node.stop().await;
}
