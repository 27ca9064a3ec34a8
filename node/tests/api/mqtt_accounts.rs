//! Accounts of gateways: made, shown once, given another password, removed.

use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use crate::harness::Node;

const ACCOUNTS: &str = "/v1/mqtt-accounts";

/// Whether somebody may sign in over MQTT so.
fn lets_in(node: &Node, name: &str, password: &str) -> bool {
    let mqtt = node.app.mqtt();
    mqtt.authenticate(name, password.as_bytes()).is_ok()
}

fn password(credentials: &Value) -> &str {
    credentials["password"].as_str().expect("a password")
}

async fn names(node: &Node, query: &str) -> (Vec<String>, Value) {
    let path = format!("{ACCOUNTS}?{query}");
    let page = node.get(&path).await.expect(200).body;
    let items = page["items"].as_array().cloned().unwrap_or_default();
    let names = items.iter().filter_map(|item| item["name"].as_str());
    (names.map(str::to_owned).collect(), page["next"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateways_password_is_shown_once_and_lets_in_until_there_is_another_one_or_no_account() {
    let node = Node::start().await;
    let wanted = json!({
        "name": "lora / north", "publish": ["buoys/#"], "subscribe": ["muster/v1/+/cmd"],
    });
    let made = node.post(ACCOUNTS, wanted.clone()).await.expect(201);
    assert_eq!(made.header("cache-control"), "no-store");
    assert_eq!(made.body["username"], "lora / north");
    assert_eq!(made.body["publish"], wanted["publish"]);
    let first = password(&made.body).to_owned();
    assert!(lets_in(&node, "lora / north", &first));
    let again = node.post(ACCOUNTS, wanted).await.expect(409);
    assert_eq!(again.code(), "conflict", "{}", again.body);

    let listed = node.get(ACCOUNTS).await.expect(200);
    let [account] = &listed.body["items"].as_array().unwrap()[..] else {
        panic!("{}", listed.text)
    };
    assert_eq!(account["subscribe"], json!(["muster/v1/+/cmd"]));
    assert!(account["created_at"].is_string());
    assert!(!listed.text.contains(&first), "{}", listed.text);

    let path = format!("{ACCOUNTS}/lora%20%2F%20north");
    let renewed = node
        .post(&format!("{path}/password"), json!({}))
        .await
        .expect(201);
    assert_eq!(renewed.header("cache-control"), "no-store");
    let second = password(&renewed.body).to_owned();
    assert_eq!(renewed.body["publish"], json!(["buoys/#"]), "as before");
    assert!(!lets_in(&node, "lora / north", &first));
    assert!(lets_in(&node, "lora / north", &second));

    node.delete(&path).await.expect(204);
    assert!(!lets_in(&node, "lora / north", &second));
    node.delete(&path).await.expect(404);
    node.post(&format!("{path}/password"), json!({}))
        .await
        .expect(404);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_devices_own_account_is_none_of_these() {
    let node = Node::start().await;
    let device = json!({ "name": "pump", "state": "approved" });
    let device = node.post("/v1/devices", device).await.expect(201);
    let credentials = format!("/v1/devices/{}/credentials", device.id());
    let own = node.post(&credentials, json!({})).await.expect(201);
    assert_eq!(names(&node, "").await.0, [""; 0]);
    let path = format!("{ACCOUNTS}/pump");
    node.delete(&path).await.expect(404);
    node.post(&format!("{path}/password"), json!({}))
        .await
        .expect(404);
    node.post(ACCOUNTS, json!({ "name": "pump" }))
        .await
        .expect(409);
    assert!(lets_in(&node, "pump", password(&own.body)));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_listed_by_name_and_page_by_page() {
    let node = Node::start().await;
    for name in ["site", "lora", "bridge"] {
        let account = json!({ "name": name, "publish": ["a/#"] });
        node.post(ACCOUNTS, account).await.expect(201);
    }
    let (first, next) = names(&node, "limit=2").await;
    assert_eq!(first, ["bridge", "lora"]);
    let next = next.as_str().expect("more").to_owned();
    let (rest, end) = names(&node, &format!("limit=2&cursor={next}")).await;
    assert_eq!((rest, end), (vec!["site".to_owned()], Value::Null));
    assert_eq!(next, HEXLOWER.encode(b"lora"), "only letters of a URL");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_account_is_pointed_at() {
    let node = Node::start().await;
    for (body, pointers) in [
        (json!({}), vec!["/name"]),
        (json!({ "name": "" }), vec!["/name"]),
        (
            json!({ "name": "g", "publish": ["a#", "b"], "subscribe": ["x/#/y"] }),
            vec!["/publish/0", "/subscribe/0"],
        ),
        (
            json!({ "name": "g", "publish": "a/#", "subscribe": [1] }),
            vec!["/publish", "/subscribe/0"],
        ),
        (
            json!({ "name": "g", "password": "mine" }),
            vec!["/password"],
        ),
    ] {
        let refused = node.post(ACCOUNTS, body).await.expect(422);
        assert_eq!(refused.pointers(), pointers, "{}", refused.text);
    }
    assert_eq!(names(&node, "").await.0, [""; 0]);
    node.stop().await;
}
