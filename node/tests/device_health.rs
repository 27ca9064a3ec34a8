//! What one node knows of its devices, shown by another: the newest of each thing, by whom, growing old, and again after a
//! rebuild.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use node::app::inspect::LogQuery;
use node::app::{Caller, Clock, HealthTiming, OpenConfig};
use serde_json::{Value, json};
use support::{Connect, Node, Raw, eventually, hq_and_truck, listen, rebuild_changes_nothing};

/// Looks every tenth of a second instead of every five minutes.
fn quick(config: &mut OpenConfig) {
    config.health = HealthTiming {
        first: Duration::from_millis(50),
        every: Duration::from_millis(100),
    };
}

/// A device behind a gateway says something; the gateway stays.
async fn say(node: &Node, device: &str, said: &[(&str, f64)]) -> Raw {
    let (mut gateway, _) = Raw::connect(
        node,
        Connect {
            client_id: &format!("gateway-of-{device}"),
            ..Connect::default()
        },
    )
    .await;
    for (number, (channel, value)) in (1..).zip(said) {
        let topic = format!("muster/v1/{device}/{channel}");
        let payload = value.to_string();
        gateway
            .publish(&topic, payload.as_bytes(), number, false)
            .await;
    }
    gateway
}

/// Asks for a device until it is as expected.
async fn device_when(node: &Node, name: &str, is: impl Fn(&Value) -> bool) -> Value {
    eventually("what is known of the device", async || {
        let devices = node.list(domain::Kind::Device).await;
        let device = devices.into_iter().find(|device| device["name"] == name);
        match device {
            Some(device) if is(&device) => Ok(device),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

fn names(device: &Value) -> Vec<String> {
    let heard_by = device["heard_by"].as_array().unwrap();
    heard_by
        .iter()
        .map(|by| by["name"].as_str().unwrap().to_owned())
        .collect()
}

/// A time of the API without its milliseconds, which do not travel.
fn second(time: &Value) -> &str {
    &time.as_str().unwrap()[..19]
}

#[tokio::test(flavor = "multi_thread")]
async fn hq_shows_what_the_truck_knows_of_a_device_and_of_each_thing_the_newest() {
    let (hq, truck) = hq_and_truck(quick).await;
    truck.approve("pump").await;
    let _gateway = say(
        &truck,
        "pump",
        &[("level", 2.0), ("battery_pct", 71.5), ("rssi_dbm", -101.0)],
    )
    .await;
    let _stranger = say(&truck, "invented", &[("battery_pct", 1.0)]).await;
    listen(&truck.app).await;
    let shown = device_when(&hq, "pump", |device| device["rssi_dbm"] == -101.0).await;
    assert_eq!(shown["battery_pct"], 71.5);
    let there = truck.device("pump").await;
    for field in ["last_seen", "battery_at", "rssi_at"] {
        assert_eq!(second(&shown[field]), second(&there[field]), "{field}");
    }
    assert_eq!(
        shown["stale"],
        Value::Null,
        "nobody said how often it sends"
    );
    assert_eq!(names(&shown), ["Truck 3"]);
    let by = &shown["heard_by"][0];
    assert_eq!(
        (&by["here"], &by["rssi_dbm"]),
        (&json!(false), &json!(-101.0))
    );
    assert_eq!(names(&there), ["Truck 3"]);
    assert_eq!(there["heard_by"][0]["here"], true);
    let strangers = hq.list(domain::Kind::Device).await;
    assert!(
        strangers.iter().all(|device| device["name"] != "invented"),
        "nobody approved it"
    );

    // A second later, because times travel as whole seconds, HQ hears it too: its signal is HQ's, its battery of whoever
    // heard that last.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let _gateway = say(&hq, "pump", &[("rssi_dbm", -60.0)]).await;
    let shown = device_when(&hq, "pump", |device| device["rssi_dbm"] == -60.0).await;
    assert_eq!(shown["battery_pct"], 71.5);
    assert_eq!(names(&shown), ["HQ", "Truck 3"]);
    let there = device_when(&truck, "pump", |device| device["rssi_dbm"] == -60.0).await;
    assert_eq!(names(&there), ["HQ", "Truck 3"]);
    assert_eq!(there["battery_pct"], 71.5);

    rebuild_changes_nothing(&hq).await;
    rebuild_changes_nothing(&truck).await;
    let again = hq.device("pump").await;
    assert_eq!(again["heard_by"], shown["heard_by"]);
    hq.stop().await;
    truck.stop().await;
}

/// How many entries of lane 4 a node has written.
async fn entries(node: &Node, author: &str) -> u64 {
    let query = LogQuery {
        author: Some(author.into()),
        lane: Some("summary".into()),
        ..LogQuery::default()
    };
    let shown = node.app.inspect_log(&Caller::socket(), query).await;
    shown.map_or(0, |shown| {
        let entries = shown["entries"].as_array().unwrap();
        entries.len() as u64
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_heard_all_the_time_is_spoken_of_once_and_again_when_something_changes() {
    let (hq, truck) = hq_and_truck(quick).await;
    truck.approve("pump").await;
    let mut gateway = say(&truck, "pump", &[("battery_pct", 70.0)]).await;
    eventually("the first word", async || {
        match entries(&truck, "Truck 3").await {
            0 => Err("none".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    let before = entries(&truck, "Truck 3").await;
    // Heard again and again, for some looks; nothing of it has changed much.
    for number in 0..40_u16 {
        let value = 70.0 - f64::from(number % 4);
        let payload = value.to_string();
        let topic = "muster/v1/pump/battery_pct";
        gateway
            .publish(topic, payload.as_bytes(), 100 + number, false)
            .await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(entries(&truck, "Truck 3").await, before);
    gateway
        .publish("muster/v1/pump/battery_pct", b"60", 200, false)
        .await;
    listen(&truck.app).await;
    device_when(&hq, "pump", |device| device["battery_pct"] == 60.0).await;
    assert_eq!(entries(&truck, "Truck 3").await, before + 1);
    hq.stop().await;
    truck.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_truck_heard_grows_old_at_hq_also_where_the_truck_says_nothing_more() {
    static AHEAD_MS: AtomicU64 = AtomicU64::new(0);
    const MINUTE_MS: u64 = 60_000;
    let later = |minutes: u64| AHEAD_MS.fetch_add(minutes * MINUTE_MS, Ordering::Relaxed);
    let (hq, truck) = hq_and_truck(|config| {
        quick(config);
        config.clock = Clock::start_ahead(&AHEAD_MS);
    })
    .await;
    let pump = json!({ "name": "pump", "state": "approved", "expected_interval_s": 60 });
    truck.create(domain::Kind::Device, pump).await;
    let mut gateway = say(&truck, "pump", &[("level", 1.0)]).await;
    listen(&truck.app).await;
    device_when(&hq, "pump", |device| device["stale"] == false).await;

    // It falls silent, which the truck says before HQ could know; and is heard again.
    later(4);
    device_when(&hq, "pump", |device| device["stale"] == true).await;
    gateway
        .publish("muster/v1/pump/level", b"2.0", 100, false)
        .await;
    device_when(&hq, "pump", |device| device["stale"] == false).await;

    // The truck is cut off: three intervals, and the time that its word may take.
    truck.stop().await;
    later(23);
    let shown = hq.device("pump").await;
    assert_eq!(shown["stale"], false, "{shown}");
    later(2);
    let shown = hq.device("pump").await;
    assert_eq!(shown["stale"], true);
    assert!(shown["age_s"].as_i64().unwrap() >= 25 * 60);
    hq.stop().await;
}
