//! Readings that a member gives away: its own, in one form, in their quarter of an hour.

use node::app::readings::Resolution;
use serde_json::json;
use sync_engine::{Lane, NodeId, Payload};

use super::member::{Member, entry};
use super::summaries::{about, chart, varint};
use super::world::*;

const RAW: u16 = 0x0303;

/// Of a device's channel `b` in metres in the eighth quarter of 2020: times as they are written, and then values.
fn said(device: &[u8], times: &[i32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1];
    varint(&mut bytes, device.len() as u32);
    bytes.extend(device);
    bytes.extend([1, b'b', 1, b'm', 7, times.len() as u8]);
    for time in times {
        // ZigZag, as postcard writes what has a sign.
        varint(&mut bytes, ((time << 1) ^ (time >> 31)) as u32);
    }
    bytes.extend(values);
    bytes
}

/// So many values in whole units of 10^-`scale`; the first is `first`, the others are the same.
fn same(scale: u8, first: u8, count: u8) -> Vec<u8> {
    let mut bytes = vec![0, scale, count, 2 * first];
    bytes.resize(3 + usize::from(count), 0);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn readings_that_are_given_away_count_for_their_author_alone_and_only_if_they_can_be_true() {
    let dir = tempfile::tempdir().unwrap();
    let (hq, _) = hq(dir.path()).await;
    let member = Member::join(&hq, 9).await;
    let me = member.node();
    let mut life = member.connect(1).await;
    let say = |object: NodeId, bytes: Vec<u8>| entry(RAW, about(object), Payload::Plain(bytes));
    let infinite = [&[1, 1][..], &f64::INFINITY.to_le_bytes()].concat();
    let two = |values: &[u8]| said(b"gauge", &[0, 1_000], values);
    life.send(
        Lane::Raw,
        vec![
            // In another node's name.
            say(hq.node_id(), two(&same(0, 1, 2))),
            // No readings; before the quarter; after it; one before the other.
            say(me, said(b"gauge", &[], &same(0, 0, 0)[..3])),
            say(me, said(b"gauge", &[-1], &same(0, 1, 1))),
            say(me, said(b"gauge", &[900_000], &same(0, 1, 1))),
            say(me, said(b"gauge", &[5, -1], &same(0, 1, 2))),
            // More times than values; an infinity; tenths where whole units do; two forms; a name that is too long.
            say(me, two(&same(0, 1, 1))),
            say(me, said(b"gauge", &[0], &infinite)),
            say(me, said(b"gauge", &[0], &same(1, 10, 1))),
            say(me, [&two(&same(0, 1, 2))[..], &[0]].concat()),
            say(me, said(&[b'g'; 257], &[0], &same(0, 1, 1))),
            // Of a later version: kept, and it says nothing here.
            say(me, vec![2, 0xff]),
        ],
    );
    life.send(Lane::Summary, vec![say(me, two(&same(0, 1, 2)))]);
    until_quarantined(&hq, 11).await;
    assert_eq!(chart(&hq, "gauge", Resolution::Raw).await, None);

    // An honest one right behind.
    life.send(Lane::Raw, vec![say(me, two(&same(0, 1, 2)))]);
    let shown = async {
        loop {
            if let Some(chart) = chart(&hq, "gauge", Resolution::Raw).await {
                return chart;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let shown = tokio::time::timeout(super::member::WAIT, shown)
        .await
        .expect("the readings come");
    let expected = json!([
        ["2020-01-01T01:45:00.000Z", 1.0],
        ["2020-01-01T01:45:01.000Z", 1.0]
    ]);
    assert_eq!(shown["points"], expected);
    assert_eq!(shown["sources"][0]["node"], json!(me.to_string()));
    rebuild_changes_nothing(&hq).await;
    assert_eq!(chart(&hq, "gauge", Resolution::Raw).await, Some(shown));
    hq.shutdown().await;
    drop(hq);
    let mut expected = vec!["malformed readings"; 9];
    expected.insert(0, "a node writes readings for itself alone");
    expected.push("this kind belongs into lane 5");
    assert_eq!(reasons(&dir.path().join("hq")), expected);
}
