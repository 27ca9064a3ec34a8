//! Calibrations: readings stay as they came, and are judged and shown by what they mean.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use domain::Kind;
use node::app::readings::{Resolution, Values};
use node::app::rules::trial::TestRange;
use node::app::{Caller, SyncSettings};
use serde_json::{Value, json};
use support::{Connect, Node, Raw, eventually};

/// 2026-03-01T12:00:00Z.
const NOON_MS: i64 = 1_772_366_400_000;

/// Publishes values a minute apart from noon on.
async fn hear(node: &Node, device: &str, values: &[f64]) {
    let mut raw = Raw::connect(node, Connect::default()).await.0;
    for (number, value) in (0..).zip(values) {
        let payload = json!({ "v": value, "t": NOON_MS + i64::from(number) * 60_000 });
        let topic = format!("muster/v1/{device}/level");
        let payload = payload.to_string();
        raw.publish(&topic, payload.as_bytes(), number + 1, false)
            .await;
    }
}

async fn answer(node: &Node, resolution: Resolution, values: Values) -> Value {
    let series = node.series("gauge").await.remove(0);
    let id = series["id"].as_str().unwrap();
    node.app
        .readings(
            &Caller::socket(),
            id,
            None,
            None,
            (resolution, values),
            None,
        )
        .await
        .unwrap()
}

/// The values of an answer of raw readings.
async fn values(node: &Node, values: Values) -> Vec<f64> {
    let answer = answer(node, Resolution::Raw, values).await;
    let points = answer["points"].as_array().unwrap();
    points
        .iter()
        .map(|point| point[1].as_f64().unwrap())
        .collect()
}

fn calibration(valid_from: Value, curve: Value) -> Value {
    json!({ "device": "gauge", "channel": "level", "valid_from": valid_from, "curve": curve })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrected_calibration_counts_for_old_readings_at_once() {
    let node = Node::start().await;
    hear(&node, "gauge", &[1.0, 2.0, 3.0]).await;
    let plain = answer(&node, Resolution::Raw, Values::Calibrated).await;
    assert_eq!(plain["values"], "raw");
    assert_eq!(plain["calibrations"], json!([]));

    let wrong = calibration(Value::Null, json!({ "scale": 10.0 }));
    let wrong = node.create(Kind::Calibration, wrong).await;
    assert_eq!(values(&node, Values::Calibrated).await, [10.0, 20.0, 30.0]);
    assert_eq!(values(&node, Values::Raw).await, [1.0, 2.0, 3.0]);

    // A second one counts from its time on; the first is put right.
    let moved = calibration(
        json!("2026-03-01T12:02:00Z"),
        json!({ "points": [{ "raw": 0, "value": 1 }, { "raw": 10, "value": 21 }] }),
    );
    let moved = node.create(Kind::Calibration, moved).await;
    let right = json!({ "curve": { "scale": null, "offset": 0.5 } });
    node.patch(Kind::Calibration, &wrong, right).await;
    let corrected = answer(&node, Resolution::Raw, Values::Calibrated).await;
    assert_eq!(values(&node, Values::Calibrated).await, [1.5, 2.5, 7.0]);
    assert_eq!(corrected["values"], "calibrated");
    assert_eq!(
        corrected["calibrations"],
        json!([
            { "id": wrong["id"], "valid_from": null },
            { "id": moved["id"], "valid_from": "2026-03-01T12:02:00.000Z" },
        ])
    );
    // The hour has both of them in it: its row is made of the readings.
    let hour = answer(&node, Resolution::OneHour, Values::Calibrated).await;
    assert_eq!(
        hour["points"],
        json!([["2026-03-01T12:00:00.000Z", 1.5, 11.0 / 3.0, 7.0, 3]])
    );
    assert_eq!(hour["approximate"], false);

    // The same after a restart.
    let node = node.restart().await;
    assert_eq!(values(&node, Values::Calibrated).await, [1.5, 2.5, 7.0]);
    assert_eq!(values(&node, Values::Raw).await, [1.0, 2.0, 3.0]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_sees_what_a_reading_means_and_so_does_its_test_run() {
    let node = Node::start().await;
    let rule = json!({
        "name": "high water", "kind": "threshold",
        "match": { "device": "gauge*", "channel": "level" },
        "raise_above": 40.0, "clear_below": 30.0, "for_s": 0, "hold_s": 0,
        "incident": { "title": "{device} at {value}" },
    });
    node.create(Kind::Rule, rule.clone()).await;
    let deep = calibration(Value::Null, json!({ "scale": 10.0 }));
    node.create(Kind::Calibration, deep).await;
    node.approve("gauge").await;
    node.approve("gauge-uncalibrated").await;
    hear(&node, "gauge-uncalibrated", &[5.0]).await;
    hear(&node, "gauge", &[1.0, 5.0]).await;
    let incident = eventually("an incident", || async {
        match node.list(Kind::Incident).await.as_slice() {
            [one] => Ok(one.clone()),
            other => Err(format!("{} incidents", other.len())),
        }
    })
    .await;
    assert_eq!(incident["title"], "gauge at 50");
    assert_eq!(incident["peak"]["value"], 50.0);

    let range = TestRange {
        from_ms: Some(NOON_MS),
        to_ms: Some(NOON_MS + 3_600_000),
        ..TestRange::default()
    };
    let trial = node
        .app
        .test_rule(&Caller::socket(), rule.as_object().unwrap(), range)
        .await
        .unwrap();
    assert_eq!(trial["fired"], 1, "{trial}");
    assert_eq!(trial["firings"][0]["device"], "gauge");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calibrations_that_two_posts_enter_apart_are_both_kept_and_one_counts() {
    let settings = || SyncSettings {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        advertise: Vec::new(),
        peers: Vec::new(),
        mdns: false,
    };
    let wait = Duration::from_secs(20);
    let hq = Node::start().await;
    hq.app.start_sync(settings()).await.unwrap();
    let code = hq
        .app
        .invite(&Caller::socket(), "field", None, wait)
        .await
        .unwrap();
    let directory = tempfile::TempDir::new().unwrap();
    node::app::founding::join(
        directory.path(),
        &node::app::KeySource::DataDir,
        code["code"].as_str().unwrap(),
        "Truck".into(),
        wait,
    )
    .await
    .unwrap();
    let truck = Node::member_in(directory).await;

    // Not connected: both enter one from the same time, and the truck one more.
    for (node, scale) in [(&hq, 2.0), (&truck, 3.0)] {
        let same_time = calibration(json!("2026-03-01T12:00:00Z"), json!({ "scale": scale }));
        node.create(Kind::Calibration, same_time).await;
        hear(node, "gauge", &[1.0, 2.0]).await;
    }
    let later = calibration(json!("2026-03-01T12:01:00Z"), json!({ "offset": 0.25 }));
    truck.create(Kind::Calibration, later).await;
    truck.app.start_sync(settings()).await.unwrap();

    for node in [&hq, &truck] {
        // What counts follows the commit that a list shows already.
        let (all, superseded) = eventually("all three, of which one gives way", || async {
            let all = node.list(Kind::Calibration).await;
            let mut given_way = all.clone();
            given_way.retain(|calibration| !calibration["superseded_by"].is_null());
            match (all.len(), given_way.pop(), given_way.pop()) {
                (3, Some(one), None) => Ok((all, one)),
                _ => Err(format!("{all:?}")),
            }
        })
        .await;
        let counts = all
            .iter()
            .find(|calibration| calibration["id"] == superseded["superseded_by"])
            .unwrap();
        assert_eq!(counts["valid_from"], superseded["valid_from"]);
        let scale = counts["curve"]["scale"].as_f64().unwrap();
        assert_eq!(values(node, Values::Calibrated).await, [scale, 2.25]);
    }
    assert_eq!(
        values(&hq, Values::Calibrated).await,
        values(&truck, Values::Calibrated).await
    );
    hq.stop().await;
    truck.stop().await;
}
