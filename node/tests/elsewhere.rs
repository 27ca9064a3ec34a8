//! What one node's sensors measured, shown by another: after a cut, after a rebuild, and without anybody being added up.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use node::app::inspect::LogQuery;
use node::app::readings::{Resolution, Values};
use node::app::{Caller, OpenConfig, SummaryTiming};
use serde_json::{Value, json};
use support::{
    Connect, Node, Raw, eventually, hq_and_truck, listen, listen_with, rebuild_changes_nothing,
};

const QUARTER_MS: i64 = 15 * 60_000;

/// Looks every tenth of a second instead of every quarter of an hour.
fn quick(config: &mut OpenConfig) {
    config.summaries = SummaryTiming {
        first: Duration::from_millis(50),
        every: Duration::from_millis(100),
    };
}

/// The truck again, without a link.
async fn cut(truck: Node) -> Node {
    Node::member_with(truck.stop().await, quick).await
}

async fn measure(node: &Node, device: &str, readings: impl IntoIterator<Item = (i64, f64)>) {
    let (mut client, _) = Raw::connect(
        node,
        Connect {
            client_id: device,
            ..Connect::default()
        },
    )
    .await;
    for (number, (at_ms, value)) in (1..).zip(readings) {
        let payload = json!({ "v": value, "t": at_ms, "u": "m" }).to_string();
        let topic = format!("muster/v1/{device}/level");
        client
            .publish(&topic, payload.as_bytes(), number, false)
            .await;
    }
}

/// An hour ago, at the beginning of a quarter of an hour.
fn an_hour_ago(node: &Node) -> i64 {
    let now_ms = i64::try_from(node.app.clock().wall_ms()).unwrap();
    now_ms - 3_600_000 - now_ms % QUARTER_MS
}

async fn chart(node: &Node, id: &str, resolution: Resolution) -> Result<Value, String> {
    node.app
        .readings(
            &Caller::socket(),
            id,
            None,
            None,
            (resolution, Values::Raw),
            None,
        )
        .await
        .map_err(|error| error.to_string())
}

/// Counts of the quarters of an hour that a node shows.
async fn counts(node: &Node, id: &str) -> Vec<u64> {
    let chart = chart(node, id, Resolution::FifteenMinutes).await.unwrap();
    let points = chart["points"].as_array().unwrap();
    points
        .iter()
        .map(|point| point[4].as_u64().unwrap())
        .collect()
}

async fn until_counts(node: &Node, id: &str, expected: &[u64]) {
    eventually("the other node's quarters", async || {
        if chart(node, id, Resolution::FifteenMinutes).await.is_err() {
            return Err("no such series".to_owned());
        }
        let seen = counts(node, id).await;
        if seen == expected {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chart_at_hq_shows_what_the_truck_heard_after_a_cut_and_after_a_rebuild() {
    let (hq, truck) = hq_and_truck(quick).await;
    truck.approve("river-1").await;
    let start_ms = an_hour_ago(&truck);
    measure(
        &truck,
        "river-1",
        [
            (start_ms, 3.0),
            (start_ms + 1_000, 4.0),
            (start_ms + QUARTER_MS, 5.5),
        ],
    )
    .await;
    measure(&truck, "invented", [(start_ms, 1.0)]).await;
    listen(&truck.app).await;
    let [series] = truck.series("river-1").await.try_into().unwrap();
    let id = series["id"].as_str().unwrap().to_owned();
    until_counts(&hq, &id, &[2, 1]).await;

    let [heard] = hq.series("river-1").await.try_into().unwrap();
    assert_eq!((&heard["id"], &heard["unit"]), (&series["id"], &json!("m")));
    assert_eq!((&heard["count"], &heard["last"]), (&json!(3), &Value::Null));
    let by = &heard["heard_by"];
    assert_eq!(
        (&by[0]["name"], &by[0]["count"]),
        (&json!("Truck 3"), &json!(3))
    );
    assert_eq!(by[0]["last"]["mean"], 5.5);
    assert_eq!(truck.series("river-1").await[0]["heard_by"], json!([]));
    assert!(hq.series("invented").await.is_empty(), "nobody approved it");

    for resolution in [Resolution::FifteenMinutes, Resolution::OneHour] {
        let (here, there) = (
            chart(&hq, &id, resolution).await.unwrap(),
            chart(&truck, &id, resolution).await.unwrap(),
        );
        assert_eq!(here["points"], there["points"]);
        assert_eq!(
            (&here["sources"][0]["name"], &here["sources"][0]["here"]),
            (&json!("Truck 3"), &json!(false))
        );
        assert_eq!(there["sources"][0]["here"], true);
    }
    let raw = chart(&hq, &id, Resolution::Raw).await.unwrap();
    assert_eq!(
        raw["points"],
        json!([]),
        "the readings themselves are not given away"
    );

    // The link is cut; readings come late, and after a restart that heard nothing of them before.
    let truck = cut(truck).await;
    measure(&truck, "river-1", [(start_ms + 2_000, 9.0)]).await;
    let truck = cut(truck).await;
    measure(&truck, "river-1", [(start_ms + 2 * QUARTER_MS, 7.0)]).await;
    until_counts(&truck, &id, &[3, 1, 1]).await;
    assert_eq!(counts(&hq, &id).await, [2, 1]);
    listen(&truck.app).await;
    until_counts(&hq, &id, &[3, 1, 1]).await;
    rebuild_changes_nothing(&hq).await;
    rebuild_changes_nothing(&truck).await;
    assert_eq!(counts(&hq, &id).await, [3, 1, 1]);
    hq.stop().await;
    truck.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_nodes_that_hear_one_sensor_the_one_that_heard_more_is_shown_each_time() {
    let (hq, truck) = hq_and_truck(quick).await;
    truck.approve("mast").await;
    let start_ms = an_hour_ago(&truck);
    let every = |from_ms: i64, count: i64| (0..count).map(move |n| (from_ms + n * 1_000, n as f64));
    measure(
        &truck,
        "mast",
        every(start_ms, 3).chain(every(start_ms + QUARTER_MS, 1)),
    )
    .await;
    measure(
        &hq,
        "mast",
        every(start_ms, 2).chain(every(start_ms + QUARTER_MS, 2)),
    )
    .await;
    listen(&truck.app).await;
    let [series] = hq.series("mast").await.try_into().unwrap();
    let id = series["id"].as_str().unwrap();
    until_counts(&hq, id, &[3, 2]).await;
    let shown = chart(&hq, id, Resolution::FifteenMinutes).await.unwrap();
    let mut sources: Vec<&Value> = shown["sources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|source| &source["name"])
        .collect();
    sources.sort_by_key(|name| name.to_string());
    assert_eq!(sources, ["HQ", "Truck 3"]);
    // An hour of two nodes is the one that heard more of it, not both.
    let hours = chart(&hq, id, Resolution::OneHour).await.unwrap();
    let total: u64 = hours["points"]
        .as_array()
        .unwrap()
        .iter()
        .map(|point| point[4].as_u64().unwrap())
        .sum();
    assert!(total <= 5, "{hours}");
    hq.stop().await;
    truck.stop().await;
}

/// Sizes of the truck's summaries.
async fn summary_bytes(truck: &Node) -> Result<Vec<u64>, String> {
    let query = LogQuery {
        author: Some("Truck 3".into()),
        lane: Some("summary".into()),
        ..LogQuery::default()
    };
    let shown = truck.app.inspect_log(&Caller::socket(), query).await;
    let shown = shown.map_err(|error| error.to_string())?;
    let entries = shown["entries"].as_array().cloned().unwrap_or_default();
    Ok(entries
        .iter()
        .map(|entry| entry["bytes"].as_u64().unwrap())
        .collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_is_not_said_again_after_a_restart() {
    let (hq, truck) = hq_and_truck(quick).await;
    truck.approve("river-1").await;
    truck.approve("river-22").await;
    let start_ms = an_hour_ago(&truck);
    measure(&truck, "river-1", [(start_ms, 3.0)]).await;
    let said = eventually("a summary", async || summary_bytes(&truck).await).await;
    let [first] = said.try_into().unwrap();
    let truck = cut(truck).await;
    // A look goes through all that is due: the one that finds the second gauge has seen the first.
    measure(&truck, "river-22", [(start_ms, 3.0)]).await;
    let said = eventually("the other summary", async || {
        let said = summary_bytes(&truck).await?;
        if said.len() > 1 {
            Ok(said)
        } else {
            Err(format!("{said:?}"))
        }
    })
    .await;
    assert_eq!(said, [first, first + 1], "its name is one letter longer");
    hq.stop().await;
    truck.stop().await;
}

/// The log of lane 5 that a node holds of the truck; `None` where it has none.
async fn raw_log(node: &Node) -> Option<Value> {
    let query = LogQuery {
        author: Some("Truck 3".into()),
        lane: Some("raw".into()),
        ..LogQuery::default()
    };
    node.app.inspect_log(&Caller::socket(), query).await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn readings_that_are_given_away_come_to_who_asks_for_them_and_to_nobody_else() {
    let (hq, truck) = hq_and_truck(quick).await;
    let give = |config: &mut OpenConfig| {
        quick(config);
        config.replicate.raw = vec!["river-*/level".into()];
    };
    let truck = Node::member_with(truck.stop().await, give).await;
    truck.approve("river-1").await;
    truck.approve("mast").await;
    let start_ms = an_hour_ago(&truck);
    let readings = [
        (start_ms, 3.25),
        (start_ms + 1_000, 4.0),
        (start_ms + 61_000, 5.5),
    ];
    measure(&truck, "river-1", readings).await;
    measure(&truck, "mast", [(start_ms, 1.0)]).await;
    listen(&truck.app).await;
    let [series] = truck.series("river-1").await.try_into().unwrap();
    let id = series["id"].as_str().unwrap().to_owned();
    let there = chart(&truck, &id, Resolution::Raw).await.unwrap();
    // An HQ asks unless it is told not to.
    eventually("the readings", async || {
        let here = chart(&hq, &id, Resolution::Raw).await?;
        if here["points"] == there["points"] {
            Ok(())
        } else {
            Err(here.to_string())
        }
    })
    .await;
    let here = chart(&hq, &id, Resolution::Raw).await.unwrap();
    assert_eq!(here["sources"][0]["name"], "Truck 3");
    let minutes = |node| chart(node, &id, Resolution::OneMinute);
    assert_eq!(
        minutes(&hq).await.unwrap()["points"],
        minutes(&truck).await.unwrap()["points"]
    );
    // Lanes do not wait for each other: its summary may come after the readings of the other.
    let mast = eventually("the summary of the mast", async || {
        let series = hq.series("mast").await;
        series
            .into_iter()
            .next()
            .ok_or_else(|| "no series".to_owned())
    })
    .await;
    let mast = chart(&hq, mast["id"].as_str().unwrap(), Resolution::Raw)
        .await
        .unwrap();
    assert_eq!(mast["points"], json!([]), "nobody named it");

    // One that comes late replaces what was said of its quarter; a rebuild gives the same rows.
    measure(&truck, "river-1", [(start_ms + 2_000, 9.0)]).await;
    let there = chart(&truck, &id, Resolution::Raw).await.unwrap();
    eventually("the late reading", async || {
        let here = chart(&hq, &id, Resolution::Raw).await?;
        if here["points"] == there["points"] {
            Ok(())
        } else {
            Err(here.to_string())
        }
    })
    .await;
    // Its summary comes in a lane of its own; nothing is on its way any more while the views are built anew.
    until_counts(&hq, &id, &[4]).await;
    rebuild_changes_nothing(&hq).await;
    rebuild_changes_nothing(&truck).await;
    assert_eq!(
        chart(&hq, &id, Resolution::Raw).await.unwrap()["points"],
        there["points"]
    );
    hq.stop().await;
    truck.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_ask_for_readings_gets_none() {
    let (hq, truck) = hq_and_truck(quick).await;
    let hq_dir = hq.stop().await;
    let hq = Node::member_with(hq_dir, |config| {
        quick(config);
        config.replicate.receive_raw = Some(false);
    })
    .await;
    let address = listen(&hq.app).await;
    let truck = Node::member_with(truck.stop().await, |config| {
        quick(config);
        config.replicate.raw = vec!["*/*".into()];
    })
    .await;
    truck.approve("river-1").await;
    let start_ms = an_hour_ago(&truck);
    measure(&truck, "river-1", [(start_ms, 3.25)]).await;
    listen_with(&truck.app, vec![address.to_string()]).await;
    let [series] = truck.series("river-1").await.try_into().unwrap();
    until_counts(&hq, series["id"].as_str().unwrap(), &[1]).await;
    assert!(raw_log(&truck).await.is_some());
    assert_eq!(raw_log(&hq).await, None, "not one entry of lane 5");
    hq.stop().await;
    truck.stop().await;
}
