//! Sensors that speak other formats than Muster's own: configured, published by a client that others wrote, read back.

use anyhow::Context as _;
use e2e::api::Api;
use e2e::node::Node;
use e2e::third_party::Client;
use e2e::wait::until;
use serde_json::{Value, json};

const CONFIG: &str = r#"
[[decoders]]
topic = "application/+/device/+/event/+"
format = "chirpstack"

[[decoders]]
topic = "zigbee2mqtt/#"
format = "zigbee2mqtt"

[[decoders]]
topic = "radar/+/raw"
format = "script"
device = "{2}"
script = { file = "radar.js" }
"#;

const RADAR: &str = "function decodeUplink(input) {
  if (input.bytes[0] === 126) { for (;;) {} }
  return { data: { level: input.bytes[0] } };
}";

/// The last value of a channel.
async fn last_value(api: &Api, device: &str, channel: &str) -> anyhow::Result<Option<Value>> {
    let series = api
        .get(&format!("/v1/series?device={device}&channel={channel}"))
        .await?;
    Ok(series["items"].get(0).map(|it| it["last"]["value"].clone()))
}

async fn until_value(api: &Api, device: &str, channel: &str, value: f64) -> anyhow::Result<()> {
    until(&format!("{device} {channel} is {value}"), || async {
        let found = last_value(api, device, channel).await?;
        Ok((found == Some(json!(value))).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_configured_format_becomes_readings_and_a_script_without_end_a_dead_letter()
-> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let mut node = Node::found(&place.path().join("hq"), "HQ").await?;
    node.stop().await?;
    std::fs::write(node.dir.join("muster.toml"), CONFIG)?;
    std::fs::write(node.dir.join("radar.js"), RADAR)?;
    node.start().await?;
    let api = node.api().await?;
    let mqtt = node.addresses().mqtt;
    let client = *Client::installed()
        .first()
        .context("no MQTT client is installed")?;

    let uplink = json!({
        "deduplicationId": "3ac7e3c4-4401-4b8d-9386-a5c902f9202d",
        "time": "2026-11-21T12:00:00+00:00",
        "deviceInfo": { "deviceName": "well-3", "devEui": "0101010101010101" },
        "fPort": 1,
        "data": "AQ==",
        "object": { "level": 3.25 },
        "rxInfo": [{ "gatewayId": "0016c001f153a14c", "rssi": -48, "snr": 9.0 }]
    });
    client
        .publish(
            mqtt,
            "application/1/device/0101010101010101/event/up",
            &uplink.to_string(),
        )
        .await?;
    until_value(&api, "well-3", "level", 3.25).await?;
    until_value(&api, "well-3", "rssi_dbm", -48.0).await?;

    client
        .publish(
            mqtt,
            "zigbee2mqtt/tent-2",
            r#"{"temperature":21.5,"battery":87,"linkquality":120}"#,
        )
        .await?;
    until_value(&api, "tent-2", "temperature", 21.5).await?;
    let tent = || async {
        let devices = api.get("/v1/devices").await?;
        let mut items = devices["items"].as_array().into_iter().flatten();
        anyhow::Ok(items.find(|device| device["name"] == "tent-2").cloned())
    };
    let heard = until("the battery stands beside the device", || async {
        Ok(tent().await?.filter(|device| device["battery_pct"] == 87.0))
    })
    .await?;
    client
        .publish(
            mqtt,
            "zigbee2mqtt/tent-2/availability",
            r#"{"state":"offline"}"#,
        )
        .await?;
    let gone = until("the device is offline", || async {
        Ok(tent().await?.filter(|device| device["online"] == false))
    })
    .await?;
    assert_eq!(
        gone["last_seen"], heard["last_seen"],
        "nothing was heard of it"
    );

    client.publish(mqtt, "radar/bridge/raw", "A").await?;
    until_value(&api, "bridge", "level", 65.0).await?;

    client.publish(mqtt, "radar/bridge/raw", "~").await?;
    let letter = until("the dead letter of a script without end", || async {
        let letters = api.get("/v1/dead-letters").await?;
        Ok(letters["items"].get(0).cloned())
    })
    .await?;
    // Whichever bound comes first on this machine.
    let code = letter["code"].as_str().unwrap_or_default();
    assert!(["script-steps", "script-time"].contains(&code), "{letter}");
    assert!(
        letter["decoder"]
            .as_str()
            .is_some_and(|it| it.starts_with("script ")),
        "{letter}"
    );
    let id = letter["id"].as_str().context("an id")?;
    api.post(&format!("/v1/dead-letters/{id}/discard"), json!({}))
        .await?;

    // Nobody's topic is a dead letter that says what to do; with a decoder it can be read after all.
    client
        .publish(mqtt, "tele/pump/SENSOR", r#"{"Flow":{"Rate":4.5}}"#)
        .await?;
    let letter = until("the dead letter", || async {
        let letters = api.get("/v1/dead-letters?state=open").await?;
        Ok(letters["items"].get(0).cloned())
    })
    .await?;
    assert_eq!(letter["code"], "unknown-topic", "{letter}");
    assert!(letter["retry_at"].is_null(), "{letter}");
    let entry = json!({ "topic": "tele/+/SENSOR", "format": "tasmota" });
    let before = api.get("/v1/decoders").await?;
    let version = before["version"].as_str().context("a version")?;
    let put = api
        .request(reqwest::Method::PUT, "/v1/decoders")
        .header("if-match", format!("\"{version}\""))
        .json(&json!({ "items": [entry] }));
    api.ask(put).await?.success()?;
    let id = letter["id"].as_str().context("an id")?;
    let replayed = api
        .post(&format!("/v1/dead-letters/{id}/replay"), json!({}))
        .await?;
    assert_eq!(replayed["state"], "replayed", "{replayed}");
    until("the pump's rate", || async {
        let series = api.get("/v1/series?device=pump").await?;
        let value = &series["items"][0]["last"]["value"];
        Ok((value == 4.5).then_some(()))
    })
    .await?;

    // What was added is there after a restart.
    node.stop().await?;
    node.start().await?;
    let api = node.api().await?;
    let decoders = api.get("/v1/decoders").await?;
    assert_eq!(decoders["items"][4]["origin"], "api", "{decoders}");
    Ok(())
}
