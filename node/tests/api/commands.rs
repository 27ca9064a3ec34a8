//! Commands to devices: a request that is sent again with its key gives no second command.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Node, send};

/// The path of a device's commands.
async fn commands_of(node: &Node, name: &str) -> String {
    let device = node
        .post("/v1/devices", json!({ "name": name, "state": "approved" }))
        .await
        .expect(201);
    format!("/v1/devices/{}/commands", device.id())
}

async fn give(node: &Node, commands: &str, key: &str, payload: Value) -> Answer {
    let request = node.signed(Method::POST, commands);
    let body = json!({ "payload": payload, "expires_s": 600 });
    send(request.header("idempotency-key", key).json(&body)).await
}

async fn given(node: &Node, commands: &str) -> Vec<Value> {
    let listed = node.get(commands).await.expect(200);
    listed.body["items"].as_array().cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_sent_again_with_its_key_is_given_once_and_answered_the_same() {
    let node = Node::start().await;
    let pump = commands_of(&node, "pump").await;
    let first = give(&node, &pump, "k1", json!("on")).await.expect(201);
    let again = give(&node, &pump, "k1", json!("on")).await.expect(201);
    assert_eq!(again.body, first.body);
    let other = give(&node, &pump, "k1", json!("off")).await.expect(422);
    assert_eq!(other.code(), "idempotency-key-reused");
    assert_eq!(given(&node, &pump).await.len(), 1);
    let records = node.get("/v1/audit").await.expect(200);
    let records = records.body["items"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let noted = records.iter().filter(|it| it["action"] == "device.command");
    assert_eq!(noted.count(), 1);

    // Another key is another wish, and another device is another path.
    give(&node, &pump, "k2", json!("on")).await.expect(201);
    let siren = commands_of(&node, "siren").await;
    give(&node, &siren, "k1", json!("on")).await.expect(201);
    assert_eq!(given(&node, &pump).await.len(), 2);
    assert_eq!(given(&node, &siren).await.len(), 1);
    give(&node, &pump, "not ascii: ü", json!("on"))
        .await
        .expect(400);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_one_command_sent_many_times_at_once_one_is_given() {
    let node = Node::start().await;
    let pump = commands_of(&node, "pump").await;
    let all = (0..8).map(|_| give(&node, &pump, "k", json!("on")));
    let answers = futures::future::join_all(all).await;
    let commands = given(&node, &pump).await;
    assert_eq!(commands.len(), 1);
    for answer in answers {
        let answer = answer.expect(201);
        assert_eq!(answer.body["id"], commands[0]["id"]);
    }
    node.stop().await;
}
