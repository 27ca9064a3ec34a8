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
    let city = format!(
        "[[brokers]]\nname = \"city\"\nurl = \"mqtt://{}\"\nsubscribe = [\"muster/#\"]\n",
        broker.address
    );
    configured(place, &city).await
}

/// A node with these brokers, which runs.
async fn configured(place: &std::path::Path, brokers: &str) -> anyhow::Result<Node> {
    let mut node = Node::found(&place.join("hq"), "HQ").await?;
    node.stop().await?;
    std::fs::write(node.dir.join("muster.toml"), brokers)?;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_is_heard_over_tls_by_the_certificate_that_is_trusted_and_no_other()
-> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let Some(mut broker) = Broker::with_tls_at(&place.path().join("broker"))? else {
        skipped("mosquitto", "brokers::a_broker_is_heard_over_tls");
        return Ok(());
    };
    // Of somebody else, under the same name.
    let Some(other) = Broker::with_tls_at(&place.path().join("other"))? else {
        anyhow::bail!("mosquitto was there a moment ago");
    };
    broker.start().await?;
    let trusting = |name: &str, trusted: &Broker| {
        let port = broker.address.port();
        let ca_file = trusted.ca_file.as_deref().map(|path| path.display());
        format!(
            "[[brokers]]\nname = {name:?}\nurl = \"mqtts://localhost:{port}\"\nclient_id = {name:?}\n\
             ca_file = \"{}\"\n",
            ca_file.expect("it speaks TLS")
        )
    };
    let brokers = trusting("city", &broker) + &trusting("stranger", &other);
    let node = configured(place.path(), &brokers).await?;
    let api = node.api().await?;
    until_state(&api, "connected").await?;
    broker
        .publish("muster/v1/gauge/level", &numbers(0..20), false)
        .await?;
    until_exactly_once(&api, "level", 20).await?;
    let refused = until("the other one is refused", || async {
        let brokers = api.get("/v1/brokers").await?;
        let stranger = brokers["items"][1].clone();
        Ok(stranger["last_error"].is_string().then_some(stranger))
    })
    .await?;
    let why = refused["last_error"].as_str().context("why")?;
    assert!(why.contains("certificate"), "{refused}");
    assert!(refused["connected_since"].is_null(), "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stands_still_or_is_gone_holds_up_no_other() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let broker = |name| Broker::at(&place.path().join(name));
    let (Some(mut city), Some(mut river)) = (broker("city")?, broker("river")?) else {
        skipped("mosquitto", "brokers::a_broker_that_stands_still");
        return Ok(());
    };
    city.start().await?;
    river.start().await?;
    let named = |name: &str, broker: &Broker| {
        let address = broker.address;
        format!("[[brokers]]\nname = {name:?}\nurl = \"mqtt://{address}\"\n")
    };
    let brokers = named("city", &city) + &named("river", &river);
    let node = configured(place.path(), &brokers).await?;
    let api = node.api().await?;
    until("both are connected", || async {
        let brokers = api.get("/v1/brokers").await?;
        let brokers = brokers["items"].as_array().context("brokers")?;
        let all = brokers.iter().all(|it| it["state"] == "connected");
        Ok((brokers.len() == 2 && all).then_some(()))
    })
    .await?;
    city.publish("muster/v1/street/level", &numbers(0..10), false)
        .await?;
    until_exactly_once(&api, "level", 10).await?;

    city.stand_still(true).await?;
    river
        .publish("muster/v1/bridge/flow", &numbers(0..50), false)
        .await?;
    until_exactly_once(&api, "flow", 50).await?;
    city.stand_still(false).await?;
    city.kill().await?;
    until_state(&api, "waiting").await?;
    river
        .publish("muster/v1/bridge/flow", &numbers(50..100), false)
        .await?;
    until_exactly_once(&api, "flow", 100).await?;
    city.start().await?;
    until_state(&api, "connected").await?;
    city.publish("muster/v1/street/rain", &numbers(0..10), false)
        .await?;
    until_exactly_once(&api, "rain", 10).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retained_picture_holds_up_nothing_and_is_one_dead_letter() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let Some(mut broker) = Broker::at(&place.path().join("broker"))? else {
        skipped("mosquitto", "brokers::a_retained_picture");
        return Ok(());
    };
    broker.start().await?;
    let picture = place.path().join("picture");
    std::fs::write(&picture, vec![b'p'; 3 << 20])?;
    broker.publish_file("camera/gate", &picture, true).await?;
    let city = format!(
        "[[brokers]]\nname = \"city\"\nurl = \"mqtt://{}\"\n",
        broker.address
    );
    let mut node = configured(place.path(), &city).await?;
    for round in 1..=3 {
        let api = node.api().await?;
        until_state(&api, "connected").await?;
        broker
            .publish(
                "muster/v1/gauge/level",
                &numbers((round - 1) * 10..round * 10),
                false,
            )
            .await?;
        until_exactly_once(&api, "level", round * 10).await?;
        let letters = api.get("/v1/dead-letters").await?;
        let letters = letters["items"].as_array().context("letters")?;
        assert_eq!(letters.len(), 1, "round {round}");
        assert_eq!(letters[0]["code"], "payload-too-large");
        assert_eq!(letters[0]["topic"], "camera/gate");
        // Every connection of the node gets what is retained once more.
        node.stop().await?;
        node.start().await?;
    }
    Ok(())
}
