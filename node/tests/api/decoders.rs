//! Decoders: listed, added, tried out, refused with reasons.

use data_encoding::BASE64;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Node, send};

async fn put(node: &Node, body: Value) -> Answer {
    send(node.signed(Method::PUT, "/v1/decoders").json(&body)).await
}

async fn try_out(node: &Node, topic: &str, payload: &[u8]) -> Answer {
    let body = json!({ "topic": topic, "payload_base64": BASE64.encode(payload) });
    node.post("/v1/decoders/try", body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decoder_is_added_tried_out_and_there_at_the_next_look() {
    let node = Node::start().await;
    let before = node.get("/v1/decoders").await.expect(200);
    assert_eq!(before.body["items"][0]["origin"], "built-in");
    let script =
        "function decodeUplink(input) { return { data: { level: input.bytes[0] / 10 } }; }";
    let entry = json!({
        "topic": "radar/+/raw", "format": "script", "device": "{2}", "script": { "source": script }
    });
    let added = put(&node, json!({ "items": [entry] })).await.expect(200);
    assert_eq!(added.body["items"][1]["origin"], "api", "{}", added.body);
    assert_eq!(added.body["items"][1]["entry"]["topic"], "radar/+/raw");

    let tried = try_out(&node, "radar/bridge/raw", &[25]).await.expect(200);
    let device = &tried.body["devices"][0];
    assert_eq!(device["device"], "bridge", "{}", tried.body);
    assert_eq!(device["readings"][0]["channel"], "level");
    assert_eq!(device["readings"][0]["value"], 2.5);
    let unknown = try_out(&node, "elsewhere/x", b"1").await.expect(422);
    assert!(
        unknown.body["errors"][0]["detail"]
            .as_str()
            .unwrap_or("")
            .contains("[[decoders]]")
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_does_not_fit_is_named_and_changes_nothing() {
    let node = Node::start().await;
    let good = json!({ "topic": "tele/+/SENSOR", "format": "tasmota" });
    for (bad, pointer) in [
        (json!({ "topic": "x/#/y", "format": "tasmota" }), "/items/1"),
        (json!({ "topic": "x/#", "format": "telepathy" }), "/items/1"),
        (
            json!({ "topic": "x/#", "format": "script", "device": "x", "script": { "file": "/etc/passwd" } }),
            "/items/1",
        ),
    ] {
        let refused = put(&node, json!({ "items": [good, bad] }))
            .await
            .expect(422);
        assert_eq!(refused.pointers(), [pointer], "{}", refused.body);
    }
    put(&node, json!({})).await.expect(422);
    let listed = node.get("/v1/decoders").await.expect(200);
    assert_eq!(listed.body["items"].as_array().map(Vec::len), Some(1));
    node.stop().await;
}
