//! Dead letters of a kind: found, read again and given up together.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Node, send};

/// Topics of a list, the newest first.
async fn topics(node: &Node, query: &str) -> Vec<String> {
    let listed = node.get(&format!("/v1/dead-letters?{query}")).await;
    let items = listed.expect(200).body["items"].clone();
    let items = items.as_array().unwrap().iter();
    items
        .map(|letter| letter["topic"].as_str().unwrap().to_owned())
        .collect()
}

async fn settle(node: &Node, what: &str) -> Value {
    let settled = node
        .post(&format!("/v1/dead-letters/{what}"), json!({}))
        .await;
    settled.expect(200).body
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_of_a_kind_are_found_read_again_and_given_up_together() {
    let node = Node::start().await;
    node.publish(&[
        ("gate/1/raw", b"2.5"),
        ("muster/v1/gauge/level", b"wet"),
        ("gate/2/raw", b"3.5"),
        ("muster/v1/gauge/rain", b"dry"),
    ])
    .await;
    let gates = ["gate/2/raw", "gate/1/raw"];
    let gauges = ["muster/v1/gauge/rain", "muster/v1/gauge/level"];
    assert_eq!(topics(&node, "code=unknown-topic").await, gates);
    assert_eq!(topics(&node, "topic=GAUGE&state=open").await, gauges);
    assert_eq!(topics(&node, "source=mqtt").await.len(), 4);
    assert!(topics(&node, "source=broker%20city").await.is_empty());

    for action in ["replay", "discard"] {
        let path = format!("/v1/dead-letters/{action}");
        node.post(&path, json!({})).await.expect(400);
    }
    let listed = node.get("/v1/decoders").await.expect(200);
    let entry = json!({ "topic": "gate/+/raw", "format": "plain", "device": "gate-{2}", "channel": "level" });
    let put = node
        .signed(Method::PUT, "/v1/decoders")
        .header("if-match", listed.header("etag"));
    send(put.json(&json!({ "items": [entry] })))
        .await
        .expect(200);
    let read = settle(&node, "replay?code=unknown-topic").await;
    assert_eq!(read, json!({ "settled": 2, "failed": 0, "next": null }));
    assert_eq!(topics(&node, "state=replayed").await, gates);
    let series = node.get("/v1/series?q=gate").await.expect(200);
    assert_eq!(series.body["items"].as_array().unwrap().len(), 2);

    let failed = settle(&node, "replay?topic=gauge").await;
    assert_eq!(failed, json!({ "settled": 0, "failed": 2, "next": null }));
    let given_up = settle(&node, "discard?all=true").await;
    assert_eq!(given_up, json!({ "settled": 2, "failed": 0, "next": null }));
    assert!(topics(&node, "state=open").await.is_empty());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_letters_are_settled_a_bounded_part_at_a_time() {
    let node = Node::start().await;
    let many: Vec<(&str, &[u8])> = vec![("a/b", b"?"); 1_001];
    node.publish(&many).await;
    let first = settle(&node, "discard?topic=a").await;
    assert_eq!(first["settled"], 1_000, "{first}");
    let next = first["next"].as_str().expect("more are there");
    // Newer than where the first part began: left alone.
    node.publish(&[("a/new", b"?")]).await;
    let rest = settle(&node, &format!("discard?topic=a&cursor={next}")).await;
    assert_eq!(rest, json!({ "settled": 1, "failed": 0, "next": null }));
    assert_eq!(topics(&node, "state=open").await, ["a/new"]);
    node.stop().await;
}
