//! Readings and rollups as a page asks for them.

use std::sync::Arc;

use node::app::ingest::{Delivery, Message, SessionKey};
use serde_json::{Value, json};

use crate::harness::Node;

const MINUTE_MS: i64 = 60_000;
/// 2026-03-01T12:00:00Z.
const NOON_MS: i64 = 1_772_366_400_000;

/// Takes in values 0, 1, 2 … of a gauge at these times, acknowledged; answers the id of their series.
async fn hear(node: &Node, times_ms: impl IntoIterator<Item = i64>) -> String {
    let (mut session, _) = node.app.ingest().session(SessionKey {
        source: Arc::from("mqtt"),
        client_id: None,
        clean: true,
    });
    for (value, at_ms) in times_ms.into_iter().enumerate() {
        session.message(Message {
            topic: "muster/v1/gauge/level",
            payload: json!({ "v": value, "t": at_ms }).to_string().as_bytes(),
            delivery: Delivery::AtMostOnce,
            kept: false,
        });
    }
    let mut submission = session.submit(true).expect("there are readings");
    submission.committed().await.unwrap();
    let series = node.get("/v1/series?device=gauge").await.expect(200);
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
