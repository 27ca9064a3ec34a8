//! Summaries: a member says what it heard itself, in one form, of times and numbers that can be.

use std::sync::Arc;

use node::app::readings::{Resolution, Values};
use node::app::{App, Caller};
use serde_json::{Value, json};
use sync_engine::{Lane, NodeId, Payload};

use super::member::{Member, entry};
use super::world::*;

const SUMMARY: u16 = 0x0302;

pub fn about(node: NodeId) -> domain::RecordId {
    domain::RecordId(node.0[..16].try_into().unwrap())
}

/// A summary of one device's channel `b` in metres: quarters of an hour after the beginning of 2020, and what is in each.
fn summary(device: &[u8], quarters: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = vec![1, 1, 1, b'b', 1, 1, b'm', 1];
    varint(&mut bytes, device.len() as u32);
    bytes.extend(device);
    bytes.extend([1, 0, 0, quarters.len() as u8]);
    let mut before = 0;
    for (number, values) in quarters {
        varint(&mut bytes, number - before);
        before = *number;
        bytes.extend(values);
    }
    bytes
}

pub fn varint(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// So many readings, all of them 1.
fn ones(count: u8) -> Vec<u8> {
    vec![count, 0, 0, 2, 0, 2 * count]
}

/// The first series of a device, as it is listed.
async fn series(app: &Arc<App>, device: &str) -> Option<Value> {
    let listed = app
        .list_series(
            &Caller::socket(),
            Some(device.into()),
            None,
            None,
            None,
            None,
        )
        .await
        .unwrap();
    listed.items.into_iter().next()
}

pub async fn chart(app: &Arc<App>, device: &str, resolution: Resolution) -> Option<Value> {
    let id = series(app, device).await?["id"].as_str()?.to_owned();
    let chart = app
        .readings(
            &Caller::socket(),
            &id,
            None,
            None,
            (resolution, Values::Raw),
            None,
        )
        .await;
    chart.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_summary_counts_for_its_author_alone_and_only_if_it_can_be_true() {
    let dir = tempfile::tempdir().unwrap();
    let (hq, _) = hq(dir.path()).await;
    let truck = truck(dir.path(), &hq).await;
    let member = Member::join(&hq, 9).await;
    let (me, victim) = (member.node(), truck.node_id());
    let mut life = member.connect(1).await;
    let say = |object: NodeId, bytes: Vec<u8>| entry(SUMMARY, about(object), Payload::Plain(bytes));
    let mut infinite = vec![1, 1];
    for value in [1.0, f64::INFINITY, 1.0] {
        infinite.extend(f64::to_le_bytes(value));
    }
    let mut claims_a_million = summary(b"gauge", &[(7, ones(1))]);
    claims_a_million.truncate(claims_a_million.len() - 8);
    claims_a_million.extend([0xc0, 0x84, 0x3d]);
    life.send(
        Lane::Summary,
        vec![
            // In another node's name; no readings; an infinity; after 2100; a name that is too long; in two forms.
            say(victim, summary(b"gauge", &[(7, ones(1))])),
            say(me, summary(b"gauge", &[(7, ones(0))])),
            say(me, summary(b"gauge", &[(7, infinite)])),
            say(me, summary(b"gauge", &[(2_805_120, ones(1))])),
            say(me, summary(&[b'g'; 257], &[(7, ones(1))])),
            say(me, [&summary(b"gauge", &[(7, ones(1))])[..], &[0]].concat()),
            say(me, claims_a_million),
            // Of a later version: kept, and it says nothing here.
            say(me, vec![2, 0xff]),
        ],
    );
    life.send(
        Lane::Coordination,
        vec![say(me, summary(b"gauge", &[(7, ones(1))]))],
    );
    until_quarantined(&hq, 8).await;
    until_quarantined(&truck, 8).await;
    assert_eq!(
        chart(&truck, "gauge", Resolution::FifteenMinutes).await,
        None
    );

    // Honest ones right behind; and one of a year that has not come, which does not stand in front of them.
    let december_2099 = 2_805_000;
    let quarters = [(7, ones(3)), (december_2099, ones(9))];
    life.send(Lane::Summary, vec![say(me, summary(b"gauge", &quarters))]);
    let shown = async {
        loop {
            if let Some(chart) = chart(&truck, "gauge", Resolution::FifteenMinutes).await {
                return chart;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let shown = tokio::time::timeout(super::member::WAIT, shown)
        .await
        .expect("the summary comes");
    let expected = json!([["2020-01-01T01:45:00.000Z", 1.0, 1.0, 1.0, 3]]);
    assert_eq!(shown["points"], expected);
    assert_eq!(shown["sources"][0]["node"], json!(me.to_string()));
    let listed = series(&truck, "gauge").await.unwrap();
    let heard = &listed["heard_by"][0];
    assert_eq!(
        (&heard["to"], &heard["last"]["at"]),
        (
            &json!("2020-01-01T02:00:00.000Z"),
            &json!("2020-01-01T01:45:00.000Z")
        )
    );
    for app in [&hq, &truck] {
        rebuild_changes_nothing(app).await;
    }
    assert_eq!(
        chart(&truck, "gauge", Resolution::FifteenMinutes).await,
        Some(shown)
    );
    hq.shutdown().await;
    truck.shutdown().await;
    drop((hq, truck));
    let mut expected = vec!["malformed summary of readings"; 6];
    expected.insert(0, "a node writes summaries for itself alone");
    expected.push("this kind belongs into lane 4");
    assert_eq!(reasons(&dir.path().join("truck")), expected);
}
