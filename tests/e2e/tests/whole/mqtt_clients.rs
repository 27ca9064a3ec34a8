//! MQTT clients that were not written here tell the same story to a real node, in both versions, plain and over TLS; and
//! QoS 2 counts once while the node is killed again and again.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::api::Api;
use e2e::node::{Node, run_to_end};
use e2e::skip::skipped;
use e2e::third_party::{STORY_READINGS, Teller};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

async fn readings_of(api: &Api, device: &str) -> anyhow::Result<u64> {
    let series = api.get(&format!("/v1/series?device={device}")).await?;
    let items = series["items"].as_array().context("items")?;
    Ok(items.iter().filter_map(|item| item["count"].as_u64()).sum())
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_other_people_publish_subscribe_and_come_back() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let mut node = Node::found(&place.path().join("hq"), "HQ").await?;
    node.stop().await?;
    node.environment = vec![("MUSTER_MQTT_TLS_LISTEN".into(), "127.0.0.1:0".into())];
    node.start().await?;
    let api = node.api().await?;
    let certificate = node.dir.join("mqtt-cert.pem");
    let tls = node.addresses().mqtt_tls.context("TLS was asked for")?;
    let status = node.status().await?;
    let fingerprint = status["mqtt_tls_sha256"].as_str().context("fingerprint")?;
    ensure!(fingerprint.len() == 95, "{fingerprint}");
    for teller in Teller::ALL {
        if let Some(tool) = teller.missing() {
            skipped(
                tool,
                "clients_of_other_people_publish_subscribe_and_come_back",
            );
            continue;
        }
        for version in [4, 5] {
            for (address, certificate) in [
                (node.addresses().mqtt, None),
                (tls, Some(certificate.as_path())),
            ] {
                let way = if certificate.is_some() {
                    "tls"
                } else {
                    "plain"
                };
                let device = format!("{teller:?}-{version}-{way}").to_lowercase();
                teller
                    .tell(address, version, &device, certificate)
                    .await
                    .with_context(|| format!("{device}\n{}", node.log_tail()))?;
                let count = readings_of(&api, &device).await?;
                ensure!(
                    count == STORY_READINGS,
                    "{device}: {count} readings, {STORY_READINGS} were published"
                );
            }
        }
    }
    node.stop().await
}

/// A client of QoS 2 by the book (MQTT 3.1.1 §4.3.3), one message at a time: it sends PUBLISH until PUBREC and PUBREL
/// until PUBCOMP, on as many connections as that takes.
struct ExactlyOnce {
    /// Messages that are done: the next one has this value.
    number: u32,
    /// PUBREC came for it.
    received: bool,
}

impl ExactlyOnce {
    /// Connects and publishes until the connection breaks.
    async fn talk(&mut self, node: &Node) -> anyhow::Result<()> {
        let mut stream = TcpStream::connect(node.addresses().mqtt).await?;
        stream
            .write_all(b"\x10\x11\0\x04MQTT\x04\0\0\x3c\0\x05twice")
            .await?;
        let mut connack = [0; 4];
        stream.read_exact(&mut connack).await?;
        ensure!(connack[3] == 0, "{connack:?}");
        loop {
            // Two ids in turns: the next message under an id looks like the one before.
            let id = u8::try_from(self.number % 2 + 1)?;
            if !self.received {
                let mut packet = vec![0x34, 0, 0, 16];
                packet.extend(b"muster/v1/once/n");
                packet.extend([0, id]);
                packet.extend(self.number.to_string().as_bytes());
                packet[1] = u8::try_from(packet.len() - 2)?;
                exchange(&mut stream, &packet, [0x50, 2, 0, id]).await?;
                self.received = true;
            }
            exchange(&mut stream, &[0x62, 2, 0, id], [0x70, 2, 0, id]).await?;
            self.received = false;
            self.number += 1;
        }
    }
}

async fn exchange(stream: &mut TcpStream, packet: &[u8], answer: [u8; 4]) -> anyhow::Result<()> {
    stream.write_all(packet).await?;
    let mut got = [0; 4];
    stream.read_exact(&mut got).await?;
    ensure!(got == answer, "{got:?} instead of {answer:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn qos_2_counts_once_through_kills() -> anyhow::Result<()> {
    let kills = e2e::rounds("MUSTER_TEST_QOS2_KILLS", 8);
    let place = tempfile::tempdir()?;
    let mut node = Node::found(&place.path().join("hq"), "HQ").await?;
    let mut client = ExactlyOnce {
        number: 0,
        received: false,
    };
    for kill in 0..kills {
        // Spread, and the same in each run, so that a failure can be looked at again.
        let dies_after = Duration::from_millis(100 + u64::from(kill) * 37 % 211);
        tokio::select! {
            ended = client.talk(&node) => ended.context("before the node was killed")?,
            () = tokio::time::sleep(dies_after) => {}
        }
        node.kill().await?;
        node.start().await?;
    }
    let api = node.api().await?;
    let series = api.get("/v1/series?device=once").await?;
    let series = series["items"][0]["id"].as_str().context("the series")?;
    let readings = api
        .get(&format!("/v1/series/{series}/readings?limit=10000"))
        .await?;
    let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
    for point in readings["points"].as_array().context("points")? {
        let value = point[1].as_f64().context("a value")?;
        *counts.entry(value as i64).or_default() += 1;
    }
    let done = usize::try_from(client.number)?;
    ensure!(done > 10, "only {done} messages got through");
    // The last one may be stored although the client does not know.
    let last_known = done + usize::from(client.received);
    ensure!(
        counts.values().all(|count| *count == 1)
            && (last_known..=done + 1).contains(&counts.len())
            && counts.keys().copied().eq(0..i64::try_from(counts.len())?),
        "each of {done} once: {counts:?}"
    );
    node.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_given_over_http_reaches_the_device_and_comes_back_answered() -> anyhow::Result<()>
{
    if let Some(tool) = Teller::Mosquitto.missing() {
        skipped(
            tool,
            "a_command_given_over_http_reaches_the_device_and_comes_back_answered",
        );
        return Ok(());
    }
    let place = tempfile::tempdir()?;
    let mut node = Node::found(&place.path().join("hq"), "HQ").await?;
    let api = node.api().await?;
    let device = api
        .post(
            "/v1/devices",
            json!({ "name": "pump", "state": "approved" }),
        )
        .await?;
    let path = format!("/v1/devices/{}", device["id"].as_str().context("id")?);
    let made = api.post(&format!("{path}/credentials"), json!({})).await?;
    let password = made["password"].as_str().context("password")?.to_owned();
    let commands = format!("{path}/commands");
    let given = api
        .post(
            &commands,
            json!({ "payload": { "switch": "on" }, "expires_s": 600 }),
        )
        .await?;
    let mqtt = node.addresses().mqtt;
    let port = mqtt.port().to_string();
    let as_pump = |program: &str, password: &str, words: &[&str]| {
        let mut command = Command::new(program);
        command
            .args(["-h", "127.0.0.1", "-p", &port, "-V", "mqttv5", "-u", "pump"])
            .args(["-P", password, "-q", "1"])
            .args(words)
            .kill_on_drop(true);
        run_to_end(command)
    };
    let words = ["-t", "muster/v1/pump/cmd", "-C", "1", "-W", "20"];
    let heard = as_pump("mosquitto_sub", &password, &words)
        .await?
        .success()?;
    let heard: Value = serde_json::from_str(&heard.stdout)?;
    ensure!(
        heard["id"] == given["id"] && heard["payload"]["switch"] == "on",
        "{heard}"
    );
    let answer = json!({ "id": heard["id"], "ok": true, "detail": "runs" }).to_string();
    let words = ["-t", "muster/v1/pump/state", "-m", &answer];
    as_pump("mosquitto_pub", &password, &words)
        .await?
        .success()?;
    let listed = api.get(&commands).await?;
    let command = &listed["items"][0];
    ensure!(
        command["state"] == "acknowledged" && command["detail"] == "runs",
        "{listed}"
    );

    // A gateway's account, by the command line; and somebody who has none.
    let words = [
        "mqtt",
        "account",
        "add",
        "lora",
        "--publish",
        "muster/v1/+/level",
        "--json",
    ];
    let account = node.command(&words).await?.json()?;
    let mut publish = Command::new("mosquitto_pub");
    publish
        .args(["-h", "127.0.0.1", "-p", &port, "-u", "lora", "-P"])
        .arg(account["password"].as_str().context("password")?)
        .args(["-q", "1", "-t", "muster/v1/buoy/level", "-m", "3"]);
    run_to_end(publish).await?.success()?;
    ensure!(readings_of(&api, "buoy").await? == 1);
    let listed = node
        .command(&["mqtt", "account", "list"])
        .await?
        .success()?;
    ensure!(
        listed.stdout.contains("lora") && listed.stdout.contains("pump"),
        "{listed:?}"
    );
    node.command(&["mqtt", "account", "remove", "lora"])
        .await?
        .success()?;
    let words = ["-t", "muster/v1/pump/level", "-m", "1"];
    let refused = as_pump("mosquitto_pub", "wrong", &words).await?;
    ensure!(refused.code != Some(0), "{refused:?}");
    node.stop().await
}
