//! Readings and rollups as a page asks for them.

use std::sync::Arc;

use node::app::ingest::{Delivery, Message, SessionKey};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Node, send};

const MINUTE_MS: i64 = 60_000;
/// 2026-03-01T12:00:00Z.
const NOON_MS: i64 = 1_772_366_400_000;

/// Takes in values 0, 1, 2 … of a gauge at these times, acknowledged; answers the id of their series.
async fn hear(node: &Node, times_ms: impl IntoIterator<Item = i64>) -> String {
    let values = times_ms.into_iter().enumerate();
    let payloads = values.map(|(value, at_ms)| json!({ "v": value, "t": at_ms }).to_string());
    let payloads: Vec<String> = payloads.collect();
    let messages = payloads.iter().map(|payload| Message {
        topic: "muster/v1/gauge/level",
        payload: payload.as_bytes(),
        delivery: Delivery::AtMostOnce,
        kept: false,
    });
    take_in(node, messages).await;
    series_of(node, "gauge").await
}

/// Returns when all of it is on the disk.
async fn take_in<'a>(node: &Node, messages: impl IntoIterator<Item = Message<'a>>) {
    let (mut session, _) = node.app.ingest().session(SessionKey {
        source: Arc::from("mqtt"),
        client_id: None,
        clean: true,
    });
    for message in messages {
        session.message(message);
    }
    let mut submission = session.submit(true).expect("there are readings");
    submission.committed().await.unwrap();
}

/// The id of a device's one series.
async fn series_of(node: &Node, device: &str) -> String {
    let path = format!("/v1/series?device={device}");
    let series = node.get(&path).await.expect(200);
    series.body["items"][0]["id"].as_str().unwrap().to_owned()
}

async fn points(node: &Node, series: &str, query: &str) -> Value {
    let path = format!("/v1/series/{series}/readings?{query}");
    node.get(&path).await.expect(200).body["points"].clone()
}

#[tokio::test]
async fn rollups_have_the_newest_acknowledged_reading_and_no_row_where_there_was_none() {
    let node = Node::start().await;
    let times = [0, 10_000, 70_000, 20 * MINUTE_MS, 62 * MINUTE_MS];
    let series = hear(&node, times.map(|ms| NOON_MS + ms)).await;
    assert_eq!(
        points(&node, &series, "resolution=15m").await,
        json!([
            ["2026-03-01T12:00:00.000Z", 0.0, 1.0, 2.0, 3],
            ["2026-03-01T12:15:00.000Z", 3.0, 3.0, 3.0, 1],
            ["2026-03-01T13:00:00.000Z", 4.0, 4.0, 4.0, 1],
        ])
    );
    assert_eq!(
        points(&node, &series, "resolution=1h&to=2026-03-01T12:30:00Z").await,
        json!([["2026-03-01T12:00:00.000Z", 0.0, 1.5, 3.0, 4]])
    );
    assert_eq!(
        points(&node, &series, "resolution=1m&limit=1").await,
        json!([["2026-03-01T13:02:00.000Z", 4.0, 4.0, 4.0, 1]])
    );
    // What comes next is in the next answer, the late ones too.
    hear(&node, [NOON_MS + 5_000]).await;
    assert_eq!(
        points(&node, &series, "resolution=1m&to=2026-03-01T12:00:30Z").await,
        json!([["2026-03-01T12:00:00.000Z", 0.0, 1.0 / 3.0, 1.0, 3]])
    );
    node.stop().await;
}

#[tokio::test]
async fn gaps_are_told_once_the_device_says_how_often_it_sends() {
    let node = Node::start().await;
    let times = [0, 1, 2, 5, 6].map(|number| NOON_MS + number * 10_000);
    let series = hear(&node, times).await;
    let path = format!("/v1/series/{series}/readings");
    assert_eq!(node.get(&path).await.expect(200).body.get("gaps"), None);
    let device = json!({ "name": "gauge", "state": "approved", "expected_interval_s": 10 });
    node.post("/v1/devices", device).await;
    assert_eq!(
        node.get(&path).await.expect(200).body["gaps"],
        json!([["2026-03-01T12:00:20.000Z", "2026-03-01T12:00:50.000Z"]])
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_reading_is_flagged_with_is_told_in_words() {
    let node = Node::start().await;
    let entry = json!({
        "topic": "radar/+/raw", "format": "script", "device": "{2}",
        "script": { "source": "function decodeUplink(input) {
            return { data: { level: input.bytes[0] }, warnings: input.bytes[0] > 9 ? ['echo lost'] : [] };
        }" },
    });
    let request = node.signed(Method::PUT, "/v1/decoders");
    let seen = node.get("/v1/decoders").await.expect(200);
    let request = request.header("if-match", format!("\"{}\"", seen.version()));
    let put = send(request.json(&json!({ "items": [entry] })));
    put.await.expect(200);
    for name in ["gauge", "radar"] {
        let device = json!({ "name": name, "state": "approved" });
        node.post("/v1/devices", device).await.expect(201);
    }
    let at = |payload: &'static str, kept| Message {
        topic: "muster/v1/gauge/level",
        payload: payload.as_bytes(),
        delivery: Delivery::AtMostOnce,
        kept,
    };
    take_in(
        &node,
        [
            at(r#"{"v": 1, "t": "2026-03-01T12:00:00Z"}"#, false),
            at(r#"{"v": 2, "t": "2026-03-01T12:00:00Z"}"#, false),
            at(r#"{"v": 3, "t": "2026-03-01T12:01:00Z"}"#, true),
            at(r#"{"v": 4, "t": "2026-03-01T12:02:00Z"}"#, false),
            at(r#"{"v": 5, "t": "1970-01-01T00:00:01Z"}"#, false),
        ],
    )
    .await;
    let series = series_of(&node, "gauge").await;
    let path = format!("/v1/series/{series}/readings");
    let contradicts = json!(["contradicts"]);
    let retained = json!(["not-news", "retained"]);
    let all = node.get(&format!("{path}?times=all")).await.expect(200);
    assert_eq!(
        all.body["flags"],
        json!([contradicts, contradicts, retained, [], ["absurd-clock"]])
    );
    assert_eq!(all.body["times"].as_array().map(Vec::len), Some(5));
    // A chart marks them without asking for all times.
    let plain = node.get(&path).await.expect(200);
    let expected = json!([contradicts, contradicts, retained, [], []]);
    assert_eq!(plain.body["flags"], expected);
    let good = format!("{path}?from=2026-03-01T12:02:00Z");
    assert_eq!(node.get(&good).await.expect(200).body.get("flags"), None);

    let raw = |payload: &'static [u8]| Message {
        topic: "radar/radar/raw",
        payload,
        delivery: Delivery::AtMostOnce,
        kept: false,
    };
    take_in(&node, [raw(&[5]), raw(&[10])]).await;
    let series = series_of(&node, "radar").await;
    let path = format!("/v1/series/{series}/readings");
    let doubted = node.get(&path).await.expect(200);
    assert_eq!(doubted.body["flags"], json!([[], ["not-news", "suspect"]]));
    let shown = node.get(&format!("/v1/series/{series}")).await.expect(200);
    let last = &shown.body["last"]["flags"];
    assert_eq!(*last, json!(["not-news", "suspect"]), "{}", shown.text);
    node.stop().await;
}
