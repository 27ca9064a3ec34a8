//! Readings over MQTT become incidents: once each, across restarts, from approved devices only.
#![allow(clippy::unwrap_used)]

mod support;

use domain::Kind;
use node::app::{Caller, RecordKind};
use serde_json::{Value, json};
use support::{Connect, Node, Raw, eventually};

fn high_water() -> Value {
    json!({
        "name": "high water", "kind": "threshold",
        "match": {"device": "river-*", "channel": "level"},
        "raise_above": 4.0, "clear_below": 3.0, "for_s": 0, "hold_s": 0,
        "incident": {"title": "High water at {device}: {value} m", "category": "Met", "severity": "severe"},
    })
}

struct Sensor {
    raw: Raw,
    packet_id: u16,
}

impl Sensor {
    async fn connect(node: &Node) -> Sensor {
        Sensor {
            raw: Raw::connect(node, Connect::default()).await.0,
            packet_id: 0,
        }
    }

    async fn level(&mut self, device: &str, metres: f64) {
        self.packet_id += 1;
        let topic = format!("muster/v1/{device}/level");
        self.raw
            .publish(&topic, metres.to_string().as_bytes(), self.packet_id, false)
            .await;
    }
}

/// Incidents of one device.
async fn incidents_of(node: &Node, device: &str) -> Vec<Value> {
    let mut incidents = node.list(Kind::Incident).await;
    incidents.retain(|incident| incident["source"]["device"] == device);
    incidents
}

async fn incident_of(node: &Node, device: &str) -> Value {
    eventually("an incident", || async {
        match incidents_of(node, device).await.as_slice() {
            [one] => Ok(one.clone()),
            other => Err(format!("{} incidents", other.len())),
        }
    })
    .await
}

/// When this returns, everything that was acknowledged before has been evaluated: readings are taken in order.
async fn evaluated(node: &Node, sensor: &mut Sensor, marker: &str) {
    node.approve(marker).await;
    sensor.level(marker, 9.0).await;
    incident_of(node, marker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_one_incident_across_restarts() {
    let node = Node::start().await;
    node.create(Kind::Rule, high_water()).await;
    node.approve("river-01").await;
    let mut sensor = Sensor::connect(&node).await;
    for metres in [2.0, 3.9, 4.2, 5.1] {
        sensor.level("river-01", metres).await;
    }
    let raised = incident_of(&node, "river-01").await;
    assert_eq!(raised["title"], "High water at river-01: 4.2 m");
    assert_eq!(raised["status"], "reported");
    assert_eq!(raised["category"], "Met");
    assert_eq!(
        raised["evidence"][0]["node"],
        node.app.node_id().to_string()
    );
    assert!(raised["cleared_at"].is_null());

    let mut node = node.restart().await;
    for round in 0..3 {
        let mut sensor = Sensor::connect(&node).await;
        sensor.level("river-01", 5.5).await;
        sensor.level("river-01", 4.4).await;
        evaluated(&node, &mut sensor, &format!("river-marker-{round}")).await;
        assert_eq!(incidents_of(&node, "river-01").await.len(), 1);
        node = node.restart().await;
    }

    let mut sensor = Sensor::connect(&node).await;
    sensor.level("river-01", 2.5).await;
    let id = raised["id"].as_str().unwrap();
    let cleared = eventually("the end of the flood", || async {
        let incident = node
            .app
            .get(
                &Caller::socket(),
                RecordKind::Document(Kind::Incident),
                id,
                None,
            )
            .await
            .unwrap();
        if incident["cleared_at"].is_null() {
            Err(incident.to_string())
        } else {
            Ok(incident)
        }
    })
    .await;
    assert_eq!(cleared["peak"]["value"], 5.5);
    assert_eq!(
        cleared["status"], "reported",
        "a person closes an incident, not a sensor"
    );

    // The next flood is another incident.
    sensor.level("river-01", 4.8).await;
    evaluated(&node, &mut sensor, "river-marker-last").await;
    assert_eq!(incidents_of(&node, "river-01").await.len(), 2);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_before_approval_is_never_evaluated() {
    let node = Node::start().await;
    node.create(Kind::Rule, high_water()).await;
    let mut sensor = Sensor::connect(&node).await;
    sensor.level("river-new", 7.0).await;
    evaluated(&node, &mut sensor, "river-marker-1").await;
    assert!(incidents_of(&node, "river-new").await.is_empty());

    let devices = node.list(Kind::Device).await;
    let unknown = devices
        .iter()
        .find(|device| device["name"] == "river-new")
        .unwrap();
    assert_eq!(unknown["state"], "unknown");
    assert!(unknown["last_seen"].is_string(), "{unknown}");

    node.approve("river-new").await;
    evaluated(&node, &mut sensor, "river-marker-2").await;
    assert!(incidents_of(&node, "river-new").await.is_empty());
    sensor.level("river-new", 7.1).await;
    assert_eq!(
        incident_of(&node, "river-new").await["title"],
        "High water at river-new: 7.1 m"
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_is_switched_off_is_quiet_from_then_on() {
    let node = Node::start().await;
    let rule = node.create(Kind::Rule, high_water()).await;
    let mut marker_rule = high_water();
    marker_rule["match"] = json!({"device": "river-marker*", "channel": "level"});
    node.create(Kind::Rule, marker_rule).await;
    node.approve("river-01").await;
    node.patch(Kind::Rule, &rule, json!({"enabled": false}))
        .await;
    let mut sensor = Sensor::connect(&node).await;
    sensor.level("river-01", 6.0).await;
    evaluated(&node, &mut sensor, "river-marker").await;
    assert!(incidents_of(&node, "river-01").await.is_empty());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_incident_does_not_hold_up_the_others() {
    let node = Node::start().await;
    node.create(Kind::Rule, high_water()).await;
    node.approve("river-01").await;
    let mut sensor = Sensor::connect(&node).await;
    sensor.level("river-01", 6.0).await;
    let incident = incident_of(&node, "river-01").await;
    let (id, version) = (
        incident["id"].as_str().unwrap(),
        incident["version"].as_str(),
    );
    node.app
        .delete(&Caller::socket(), Kind::Incident, id, version)
        .await
        .unwrap();
    // Its clearing has no document to go to.
    sensor.level("river-01", 1.0).await;
    evaluated(&node, &mut sensor, "river-marker").await;
    sensor.level("river-01", 6.5).await;
    incident_of(&node, "river-01").await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn battery_and_signal_are_shown_beside_the_device_and_survive_a_restart() {
    let node = Node::start().await;
    node.approve("river-01").await;
    let mut raw = Raw::connect(&node, Connect::default()).await.0;
    raw.publish(
        "muster/v1/river-01/battery_pct",
        b"{\"v\":83.5,\"u\":\"%\"}",
        1,
        false,
    )
    .await;
    raw.publish("muster/v1/river-01/rssi_dbm", b"-71", 2, false)
        .await;
    drop(raw);
    let check = async |node: &Node| {
        let [device] = node.list(Kind::Device).await.try_into().unwrap();
        assert_eq!(device["battery_pct"], 83.5);
        assert_eq!(device["rssi_dbm"], -71.0);
        assert!(device["last_seen"].is_string());
    };
    check(&node).await;
    let node = node.restart().await;
    check(&node).await;
    node.stop().await;
}
