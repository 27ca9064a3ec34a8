//! A broker that is there already: nothing that it took is lost, whoever of the two is gone for a while.

use std::collections::BTreeMap;

use anyhow::Context as _;
use e2e::api::Api;
use e2e::broker::Broker;
use e2e::node::Node;
use e2e::skip::skipped;
use e2e::wait::until;
use serde_json::Value;

/// A node that listens to `broker` and runs.
async fn listening(place: &std::path::Path, broker: &Broker) -> anyhow::Result<Node> {
    let mut node = Node::found(&place.join("hq"), "HQ").await?;
    node.stop().await?;
    let config = format!(
        "[[brokers]]\nname = \"city\"\nurl = \"mqtt://{}\"\nsubscribe = [\"muster/#\"]\n",
        broker.address
    );
    std::fs::write(node.dir.join("muster.toml"), config)?;
    node.start().await?;
    Ok(node)
}

/// How the node says it stands with its broker.
async fn state_of(api: &Api) -> anyhow::Result<Value> {
    let brokers = api.get("/v1/brokers").await?;
    Ok(brokers["items"][0].clone())
}

async fn until_state(api: &Api, state: &str) -> anyhow::Result<Value> {
    until(&format!("the broker is {state}"), || async move {
        let broker = state_of(api).await?;
        Ok((broker["state"] == state).then_some(broker))
    })
    .await
}

/// Values of a channel, and how often each is stored.
async fn values(api: &Api, channel: &str) -> anyhow::Result<BTreeMap<i64, usize>> {
    let series = api.get(&format!("/v1/series?channel={channel}")).await?;
    let Some(id) = series["items"][0]["id"].as_str() else {
        return Ok(BTreeMap::new());
    };
    let readings = api
        .get(&format!("/v1/series/{id}/readings?limit=10000"))
        .await?;
    let mut counts = BTreeMap::new();
    for point in readings["points"].as_array().context("points")? {
        let value = point[1].as_f64().context("a value")?;
        *counts.entry(value as i64).or_default() += 1;
    }
    Ok(counts)
}

async fn until_exactly_once(api: &Api, channel: &str, wanted: i64) -> anyhow::Result<()> {
    until(&format!("{wanted} values of {channel}"), || async move {
        let found = values(api, channel).await?;
        Ok((found.len() as i64 >= wanted).then_some(()))
    })
    .await?;
    let found = values(api, channel).await?;
    assert!(
        found.keys().copied().eq(0..wanted) && found.values().all(|count| *count == 1),
        "each of 0 to {wanted} once: {found:?}"
    );
    Ok(())
}

fn numbers(range: std::ops::Range<i64>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_broker_takes_while_the_node_is_away_is_there_afterwards() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let Some(mut broker) = Broker::at(&place.path().join("broker"))? else {
        skipped("mosquitto", "brokers::what_a_broker_takes");
        return Ok(());
    };
    broker.start().await?;
    // Nobody can say how old that is.
    broker
        .publish("muster/v1/gauge/kept", &numbers(7..8), true)
        .await?;
    let mut node = listening(place.path(), &broker).await?;
    let api = node.api().await?;
    until_state(&api, "connected").await?;
    broker
        .publish("muster/v1/gauge/level", &numbers(0..50), false)
        .await?;
    until_exactly_once(&api, "level", 50).await?;
    assert!(values(&api, "kept").await?.is_empty(), "no news");

    node.stop().await?;
    broker
        .publish("muster/v1/gauge/level", &numbers(50..400), false)
        .await?;
    node.start().await?;
    let api = node.api().await?;
    until_exactly_once(&api, "level", 400).await?;

    // In the middle of a stream.
    let rest = numbers(400..3_000);
    let publishing = broker.publish("muster/v1/gauge/level", &rest, false);
    let killing = async {
        until("some of it has come", || async {
            let found = values(&api, "level").await?;
            Ok((found.len() > 500).then_some(()))
        })
        .await?;
        node.kill().await
    };
    let (published, killed) = tokio::join!(publishing, killing);
    published?;
    killed?;
    node.start().await?;
    until_exactly_once(&node.api().await?, "level", 3_000).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_gone_is_shown_and_found_again() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let Some(mut broker) = Broker::at(&place.path().join("broker"))? else {
        skipped("mosquitto", "brokers::a_broker_that_is_gone");
        return Ok(());
    };
    broker.start().await?;
    let node = listening(place.path(), &broker).await?;
    let api = node.api().await?;
    until_state(&api, "connected").await?;
    broker.kill().await?;
    let waiting = until_state(&api, "waiting").await?;
    assert!(waiting["failures"].as_u64() >= Some(1), "{waiting}");
    assert!(waiting["last_error"].is_string(), "{waiting}");
    assert!(waiting["next_attempt_at"].is_string(), "{waiting}");
    broker.start().await?;
    until_state(&api, "connected").await?;
    broker
        .publish("muster/v1/gauge/level", &numbers(0..5), false)
        .await?;
    until_exactly_once(&api, "level", 5).await?;
    let stands = until("the failures are over", || async {
        let broker = state_of(&api).await?;
        Ok((broker["failures"] == 0).then_some(broker))
    })
    .await?;
    assert_eq!(stands["state"], "connected", "{stands}");
    assert!(stands["last_error"].is_null(), "{stands}");
    Ok(())
}
