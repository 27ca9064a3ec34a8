//! The main job: sensors in, an incident out, three nodes that agree.

use e2e::api::Api;
use e2e::node::{Node, agree};
use e2e::skip::skipped;
use e2e::third_party::Client;
use e2e::wait::until;
use serde_json::{Value, json};

/// The rule that every test here uses.
pub fn high_water() -> Value {
    json!({
        "name": "High water", "match": { "device": "river-*", "channel": "level" },
        "raise_above": 4.0, "clear_below": 3.0,
        "incident": { "title": "High water at {device}: {value} m", "category": "Met", "severity": "moderate" },
    })
}

/// The incident that a rule opened for `device`, as soon as the node has it.
async fn incident_of(api: &Api, device: &str) -> anyhow::Result<Value> {
    let path = format!("/v1/incidents?device={device}");
    let found = until("the incident is there", || async {
        let items = api.all(&path).await?;
        Ok((!items.is_empty()).then_some(items))
    })
    .await?;
    assert_eq!(found.len(), 1, "one flood is one incident");
    Ok(found[0].clone())
}

fn relayed(nodes: &[&Node]) -> (u64, u64) {
    let passed = nodes.iter().map(|node| node.relay.passed()).sum();
    (
        passed,
        nodes.iter().map(|node| node.relay.swallowed()).sum(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_becomes_an_incident_and_three_nodes_agree_after_edits_apart()
-> anyhow::Result<()> {
    let clients = Client::installed();
    let [client, ..] = clients[..] else {
        skipped(
            "mqtt-client",
            "a_reading_becomes_an_incident_and_three_nodes_agree_after_edits_apart",
        );
        return Ok(());
    };
    let place = tempfile::tempdir()?;
    let hq = Node::found(&place.path().join("hq"), "HQ").await?;
    let truck = Node::join(&place.path().join("truck"), "Truck", &hq).await?;
    let boat = Node::join(&place.path().join("boat"), "Boat", &hq).await?;
    let nodes = [&hq, &truck, &boat];
    let (at_hq, at_truck, at_boat) = (hq.api().await?, truck.api().await?, boat.api().await?);
    let apis = [&at_hq, &at_truck, &at_boat];

    // Made at HQ, needed at the truck.
    let rule = at_hq.post("/v1/rules", high_water()).await?;
    at_hq.approve("river-1").await?;
    let rule = rule["id"].as_str().unwrap_or_default();
    until("rule and device reach the truck", || async {
        let rule = at_truck.find(&format!("/v1/rules/{rule}")).await?;
        let devices = at_truck.all("/v1/devices?state=approved").await?;
        Ok((rule.is_some() && !devices.is_empty()).then_some(()))
    })
    .await?;

    // Every client that is installed says something; the last value is the one that counts.
    for other in &clients {
        other
            .publish(
                truck.addresses().mqtt,
                "muster/v1/river-1/level",
                r#"{"v":3.9,"u":"m"}"#,
            )
            .await?;
    }
    client
        .publish(
            truck.addresses().mqtt,
            "muster/v1/river-1/level",
            r#"{"v":4.7,"u":"m"}"#,
        )
        .await?;

    let mut raised = Vec::new();
    for api in apis {
        raised.push(incident_of(api, "river-1").await?);
    }
    let id = raised[0]["id"].as_str().unwrap_or_default().to_owned();
    for incident in &raised {
        assert_eq!(incident["id"], json!(id));
        assert_eq!(incident["title"], "High water at river-1: 4.7 m");
        assert_eq!(incident["severity"], "moderate");
        assert_eq!(incident["source"]["rule"], json!(rule));
        assert_eq!(incident["evidence"][0]["node"], json!(truck.id()));
        assert!(incident["raised_at"].is_string() && incident["cleared_at"].is_null());
    }
    let path = format!("/v1/incidents/{id}");
    until("the truck knows that HQ has it", || async {
        let seen = at_truck.get(&path).await?["seen_by"].clone();
        let by_hq = seen
            .as_array()
            .into_iter()
            .flatten()
            .find(|seen| seen["node"] == json!(hq.id()))
            .cloned();
        Ok(by_hq.filter(|seen| seen["stored_at"].is_string() && seen["applied_at"].is_string()))
    })
    .await?;
    agree(&nodes).await?;

    // Apart.
    for node in nodes {
        node.relay.cut();
    }
    let (passed, _) = relayed(&nodes);
    at_truck
        .edit(
            &path,
            json!({ "severity": "extreme", "status": "active", "tags": ["bridge"] }),
        )
        .await?;
    at_hq.edit(&path, json!({ "severity": "minor", "description": "Boats wait in the north.", "tags": ["dam"] })).await?;
    at_boat
        .post(
            "/v1/incidents",
            json!({ "title": "Mill bridge is under water", "category": "Transport" }),
        )
        .await?;
    until("the relays hold something back", || async {
        Ok((relayed(&nodes).1 > 0).then_some(()))
    })
    .await?;
    // One that was on its way through a relay at the moment of the cut may be counted after it.
    assert!(relayed(&nodes).0 <= passed + 2, "packets pass a cut relay");
    assert_eq!(at_truck.get(&path).await?["description"], "");
    assert_eq!(at_boat.get(&path).await?["severity"], "moderate");
    for api in apis {
        assert_eq!(api.all("/v1/conflicts").await?, Vec::<Value>::new());
    }

    // Together again.
    for node in nodes {
        node.relay.heal();
    }
    agree(&nodes).await?;
    let mut exports = Vec::new();
    let mut conflicts = Vec::new();
    for api in apis {
        exports.push(api.export("incidents").await?);
        conflicts.push(api.all("/v1/conflicts?state=open").await?);
    }
    assert_eq!(exports[0].len(), 2);
    assert_eq!(exports[0], exports[1]);
    assert_eq!(exports[0], exports[2]);
    let merged = at_boat.get(&path).await?;
    assert_eq!(merged["status"], "active");
    assert_eq!(merged["description"], "Boats wait in the north.");
    assert_eq!(merged["tags"], json!(["bridge", "dam"]));
    assert_eq!(conflicts[0].len(), 1, "{:?}", conflicts[0]);
    assert_eq!(conflicts[0], conflicts[1]);
    assert_eq!(conflicts[0], conflicts[2]);
    let conflict = &conflicts[0][0];
    assert_eq!(
        (&conflict["kind"], &conflict["field"]),
        (&json!("field"), &json!("severity"))
    );
    assert_eq!(
        merged["conflicts"],
        json!([{ "field": "severity", "conflict": conflict["id"] }])
    );
    let mut values: Vec<(&str, &str)> = conflict["values"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|value| {
            (
                value["value"].as_str().unwrap_or_default(),
                value["node"].as_str().unwrap_or_default(),
            )
        })
        .collect();
    values.sort_unstable();
    assert_eq!(values, [("extreme", truck.id()), ("minor", hq.id())]);

    // A person on the third node chooses.
    let choices = conflict["choices"].as_array().cloned().unwrap_or_default();
    let extreme = choices
        .iter()
        .find(|choice| choice["label"] == "extreme")
        .cloned()
        .unwrap_or_default();
    let conflict_path = format!(
        "/v1/conflicts/{}",
        conflict["id"].as_str().unwrap_or_default()
    );
    let resolved = at_boat
        .post(
            &format!("{conflict_path}/resolve"),
            json!({ "choice": extreme["id"] }),
        )
        .await?;
    assert_eq!(resolved["state"], "resolved");
    agree(&nodes).await?;
    for api in apis {
        let incident = api.get(&path).await?;
        assert_eq!(
            (&incident["severity"], &incident["conflicts"]),
            (&json!("extreme"), &json!([]))
        );
        assert_eq!(api.get(&conflict_path).await?["state"], "resolved");
    }

    // The water falls: recorded, not closed.
    client
        .publish(
            truck.addresses().mqtt,
            "muster/v1/river-1/level",
            r#"{"v":2.5,"u":"m"}"#,
        )
        .await?;
    for api in apis {
        let cleared = until("it is recorded that the water fell", || async {
            let incident = api.get(&path).await?;
            Ok((!incident["cleared_at"].is_null()).then_some(incident))
        })
        .await?;
        assert_eq!(cleared["status"], "active");
        assert_eq!(cleared["peak"]["value"], 4.7);
    }
    agree(&nodes).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn field_nodes_exchange_through_headquarters_and_without_it() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let mut hq = Node::found(&place.path().join("hq"), "HQ").await?;
    let truck = Node::join(&place.path().join("truck"), "Truck", &hq).await?;
    let mut boat = Node::join(&place.path().join("boat"), "Boat", &hq).await?;
    let (at_truck, at_boat) = (truck.api().await?, boat.api().await?);

    // They have no address of each other: HQ passes it on.
    let incident = at_truck
        .post(
            "/v1/incidents",
            json!({ "title": "Slide", "category": "Geo" }),
        )
        .await?;
    let path = format!(
        "/v1/incidents/{}",
        incident["id"].as_str().unwrap_or_default()
    );
    until("the boat has it through HQ", || async {
        at_boat.find(&path).await
    })
    .await?;

    // HQ is gone for good; the boat is told where the truck is.
    hq.kill().await?;
    boat.stop().await?;
    boat.words = vec!["--peer".into(), truck.as_peer()];
    boat.start().await?;
    let at_boat = boat.api().await?;
    at_boat
        .edit(&path, json!({ "status": "confirmed" }))
        .await?;
    until("the truck has the boat's edit", || async {
        let incident = at_truck.get(&path).await?;
        Ok((incident["status"] == "confirmed").then_some(()))
    })
    .await?;
    agree(&[&truck, &boat]).await?;
    Ok(())
}
