//! Device health: a member says what it heard itself, in one form, of times and values that can be; nothing that it says
//! is newer than its coming.

use std::sync::Arc;

use domain::Kind;
use node::app::{App, Caller, ListQuery, RecordKind};
use serde_json::{Map, Value, json};
use sync_engine::{Lane, NodeId, Payload};

use super::member::{Member, WAIT, entry};
use super::summaries::{about, varint};
use super::world::*;

const HEALTH: u16 = 0x0304;
/// The end of 2099, in seconds since 2020.
const FAR_AHEAD_S: u32 = 2_524_607_999;

/// One device of which is said so much, at a time in seconds since 2020.
fn health(at_s: u32, device: &str, said: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1];
    varint(&mut bytes, at_s);
    bytes.extend([0, 1, 0]);
    varint(&mut bytes, device.len() as u32);
    bytes.extend(device.as_bytes());
    bytes.extend(said);
    bytes
}

/// It was heard so many seconds before, with a battery in tenths of a percent; below 64 each.
fn heard(ago_s: u8, battery_tenths: u8) -> Vec<u8> {
    vec![1, ago_s, 1, 2 * battery_tenths, 0, 0, 0, 0]
}

async fn approve(app: &Arc<App>, device: &str) {
    let fields = json!({ "name": device, "state": "approved" });
    let fields: Map<String, Value> = fields.as_object().unwrap().clone();
    let kind = RecordKind::Document(Kind::Device);
    app.create(&Caller::socket(), kind, fields, None)
        .await
        .unwrap();
}

async fn device(app: &App, name: &str) -> Option<Value> {
    let kind = RecordKind::Document(Kind::Device);
    let page = app
        .list(&Caller::socket(), kind, ListQuery::default())
        .await
        .unwrap();
    page.items.into_iter().find(|device| device["name"] == name)
}

#[tokio::test(flavor = "multi_thread")]
async fn device_health_counts_for_its_author_alone_and_only_if_it_can_be_true() {
    let dir = tempfile::tempdir().unwrap();
    let (hq, _) = hq(dir.path()).await;
    let truck = truck(dir.path(), &hq).await;
    approve(&hq, "pump").await;
    let member = Member::join(&hq, 9).await;
    let (me, victim) = (member.node(), truck.node_id());
    let mut life = member.connect(1).await;
    let say = |object: NodeId, bytes: Vec<u8>| entry(HEALTH, about(object), Payload::Plain(bytes));
    let sound = || health(FAR_AHEAD_S, "pump", &heard(30, 5));
    life.send(
        Lane::Summary,
        vec![
            // In another node's name; says nothing; after 2100; before 2020; a name that is too long; a battery of 102.4 %;
            // in two forms.
            say(victim, sound()),
            say(me, health(FAR_AHEAD_S, "pump", &[0; 5])),
            say(me, health(FAR_AHEAD_S + 1, "pump", &heard(30, 5))),
            say(me, health(20, "pump", &heard(30, 5))),
            say(me, health(FAR_AHEAD_S, &"p".repeat(257), &heard(30, 5))),
            say(
                me,
                health(FAR_AHEAD_S, "pump", &[1, 30, 1, 0x80, 0x10, 0, 0, 0, 0]),
            ),
            say(me, [&sound()[..], &[0]].concat()),
            // Of a later version: kept, and it says nothing here.
            say(me, vec![2, 0xff]),
        ],
    );
    life.send(Lane::Coordination, vec![say(me, sound())]);
    until_quarantined(&hq, 8).await;
    until_quarantined(&truck, 8).await;
    let shown = device(&hq, "pump").await.unwrap();
    assert_eq!(
        (&shown["last_seen"], &shown["heard_by"]),
        (&Value::Null, &json!([]))
    );

    // One that can be true, by a clock that is decades ahead: what it heard 30 s before is half a minute old at the least.
    // Of a device without a document nothing is shown.
    life.send(
        Lane::Summary,
        vec![
            say(me, sound()),
            say(me, health(FAR_AHEAD_S, "invented", &heard(30, 5))),
        ],
    );
    let shown = async {
        loop {
            match device(&truck, "pump").await {
                Some(device) if !device["last_seen"].is_null() => return device,
                _ => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            }
        }
    };
    let shown = tokio::time::timeout(WAIT, shown)
        .await
        .expect("what it says comes");
    assert_eq!(shown["battery_pct"], 0.5);
    let age_s = shown["age_s"].as_i64().unwrap();
    assert!((30..600).contains(&age_s), "{age_s}");
    let by = &shown["heard_by"][0];
    assert_eq!(
        (&by["node"], &by["here"]),
        (&json!(me.to_string()), &json!(false))
    );
    assert_eq!(device(&truck, "invented").await, None);
    for app in [&hq, &truck] {
        rebuild_changes_nothing(app).await;
    }
    let again = device(&truck, "pump").await.unwrap();
    assert_eq!(again["heard_by"], shown["heard_by"]);
    hq.shutdown().await;
    truck.shutdown().await;
    drop((hq, truck));
    let mut expected = vec!["malformed device health"; 6];
    expected.insert(0, "a node writes device health for itself alone");
    expected.push("this kind belongs into lane 4");
    assert_eq!(reasons(&dir.path().join("truck")), expected);
}
