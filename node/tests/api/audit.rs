//! The audit record: what people do to the node itself is in it, with their name and without secrets.

use node::app::Caller;
use node::app::ingest::{Delivery, Message, SessionKey};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Node, send};

/// Every record, newest first.
async fn records(node: &Node) -> Vec<Value> {
    let page = node.get("/v1/audit?limit=500").await.expect(200);
    page.body["items"].as_array().cloned().unwrap_or_default()
}

/// The newest record of an action.
async fn newest(node: &Node, action: &str) -> Value {
    let records = records(node).await;
    let found = records.iter().find(|record| record["action"] == action);
    found
        .unwrap_or_else(|| panic!("no {action} in {records:?}"))
        .clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn new_decoders_are_in_the_audit_record_and_refused_ones_are_not() {
    let node = Node::start().await;
    let listed = node.get("/v1/decoders").await.expect(200);
    let seen = listed.header("etag");
    let put = |entry: Value| {
        send(
            node.signed(Method::PUT, "/v1/decoders")
                .header("if-match", seen)
                .json(&json!({ "items": [entry] })),
        )
    };
    put(json!({ "topic": "x/#", "format": "telepathy" }))
        .await
        .expect(422);
    assert!(
        !records(&node)
            .await
            .iter()
            .any(|record| record["action"] == "decoders.put")
    );
    put(json!({ "topic": "tele/+/SENSOR", "format": "tasmota" }))
        .await
        .expect(200);
    let record = newest(&node, "decoders.put").await;
    assert_eq!(record["actor"], "admin", "{record}");
    assert_eq!(record["detail"]["topics"], json!(["tele/+/SENSOR"]));
    assert_eq!(record["object"], Value::Null);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_and_accounts_are_in_the_audit_record_without_their_secrets() {
    let node = Node::start().await;
    let device = node
        .post(
            "/v1/devices",
            json!({ "name": "pump", "state": "approved" }),
        )
        .await
        .expect(201);
    let created = newest(&node, "create").await;
    assert_eq!(created["object"], device.id());
    assert_eq!(created["kind"], "devices");
    let path = |what: &str| format!("/v1/devices/{}/{what}", device.id());
    let credentials = node.post(&path("credentials"), json!({})).await.expect(201);
    let command = node
        .post(
            &path("commands"),
            json!({ "payload": { "secret-word": "open sesame" } }),
        )
        .await
        .expect(201);
    node.delete(&path("credentials")).await.expect(204);
    let socket = Caller::socket();
    let filters = || vec!["buoys/#".to_owned()];
    let account = node
        .app
        .add_mqtt_account(&socket, "gateway", filters(), Vec::new())
        .await
        .unwrap();
    let renewed = node
        .post("/v1/mqtt-accounts/gateway/password", json!({}))
        .await
        .expect(201);
    node.app
        .remove_mqtt_account(&socket, "gateway")
        .await
        .unwrap();

    for (action, actor, key, value) in [
        ("device.credentials", "admin", "device", "pump"),
        ("device.command", "admin", "command", command.id()),
        ("device.credentials.revoke", "admin", "device", "pump"),
        ("mqtt.account.add", "local administrator", "name", "gateway"),
        ("mqtt.account.password", "admin", "name", "gateway"),
        (
            "mqtt.account.remove",
            "local administrator",
            "name",
            "gateway",
        ),
    ] {
        let record = newest(&node, action).await;
        assert_eq!(record["actor"], actor, "{record}");
        assert_eq!(record["detail"][key], value, "{record}");
    }
    let all = Value::from(records(&node).await).to_string();
    for secret in [
        credentials.body["password"].as_str().unwrap(),
        account["password"].as_str().unwrap(),
        renewed.body["password"].as_str().unwrap(),
        "sesame",
    ] {
        assert!(!all.contains(secret), "{all}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_do_with_dead_letters_is_in_the_audit_record() {
    let node = Node::start().await;
    let (mut session, _) = node.app.ingest().session(SessionKey {
        source: "mqtt".into(),
        client_id: None,
        clean: true,
    });
    session.message(Message {
        topic: "muster/v1/gauge/level",
        payload: b"wet",
        delivery: Delivery::AtMostOnce,
        kept: false,
    });
    session.submit(true).unwrap().committed().await.unwrap();
    let letters = node.get("/v1/dead-letters").await.expect(200);
    let id = letters.body["items"][0]["id"].as_str().unwrap().to_owned();
    node.post(&format!("/v1/dead-letters/{id}/replay"), json!({}))
        .await
        .expect(409);
    node.post(&format!("/v1/dead-letters/{id}/discard"), json!({}))
        .await
        .expect(200);
    for action in ["dead-letter.replay", "dead-letter.discard"] {
        let record = newest(&node, action).await;
        assert_eq!(record["detail"]["dead_letter"], id.as_str(), "{record}");
        assert_eq!(record["actor"], "admin");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_record_is_read_page_by_page_from_the_newest() {
    let node = Node::start().await;
    for number in 0..5 {
        node.incident(&format!("number {number}")).await;
    }
    let all: Vec<String> = records(&node)
        .await
        .iter()
        .map(|record| record["id"].as_str().unwrap().to_owned())
        .collect();
    let numbers: Vec<u64> = all.iter().map(|id| id.parse().unwrap()).collect();
    assert!(numbers.is_sorted_by(|a, b| a > b), "{numbers:?}");
    let mut paged = Vec::new();
    let mut path = "/v1/audit?limit=2".to_owned();
    loop {
        let page = node.get(&path).await.expect(200);
        let items = page.body["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        paged.extend(items.iter().map(|it| it["id"].as_str().unwrap().to_owned()));
        match page.body["next"].as_str() {
            Some(next) => path = format!("/v1/audit?limit=2&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(paged, all);
    node.get("/v1/audit?limit=501").await.expect(422);
    node.stop().await;
}
