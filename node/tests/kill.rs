//! SIGKILL at random moments under load: every acknowledged reading is there once, in order, and every raise of a rule
//! is one incident.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Connect, Raw, eventually, publish_packet};
use tokio::io::AsyncReadExt as _;

const PASSWORD: &str = "kill-test-not-secret";
const TOPIC: &str = "muster/v1/river-01/level";
const ROUNDS: u64 = 6;
/// Unacknowledged messages of the publisher.
const WINDOW: usize = 40;

/// A node as its own process.
struct Process {
    child: Child,
    http: SocketAddr,
    mqtt: SocketAddr,
}

impl Process {
    fn start(directory: &Path) -> Process {
        let mut child = Command::new(env!("CARGO_BIN_EXE_muster"))
            .args(["run", "--json", "--no-mdns", "--data-dir"])
            .arg(directory)
            .args(["--listen", "127.0.0.1:0", "--sync-listen", "127.0.0.1:0"])
            .args(["--mqtt-listen", "127.0.0.1:0"])
            .env("MUSTER_ADMIN_PASSWORD", PASSWORD)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        let address = |name: &str| ready["addresses"][name].as_str().unwrap().parse().unwrap();
        Process {
            http: address("http"),
            mqtt: address("mqtt"),
            child,
        }
    }

    /// SIGKILL: no destructor, no flush, nothing.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Api {
    client: reqwest::Client,
    base: String,
    token: String,
}

impl Api {
    async fn sign_in(http: SocketAddr) -> Api {
        let (client, base) = (reqwest::Client::new(), format!("http://{http}"));
        let form = [
            ("grant_type", "password"),
            ("username", "admin"),
            ("password", PASSWORD),
        ];
        let answer = client
            .post(format!("{base}/oauth/token"))
            .form(&form)
            .send()
            .await
            .unwrap();
        let token = answer.json::<Value>().await.unwrap()["access_token"]
            .as_str()
            .unwrap()
            .to_owned();
        Api {
            client,
            base,
            token,
        }
    }

    async fn get(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.base);
        let answer = self
            .client
            .get(url)
            .bearer_auth(&self.token)
            .send()
            .await
            .unwrap();
        answer.error_for_status().unwrap().json().await.unwrap()
    }

    async fn post(&self, path: &str, body: Value) {
        let url = format!("{}{path}", self.base);
        let answer = self
            .client
            .post(url)
            .bearer_auth(&self.token)
            .json(&body)
            .send()
            .await
            .unwrap();
        answer.error_for_status().unwrap();
    }
}

/// A sensor that sends everything once, and again what it did not see acknowledged.
#[derive(Default)]
struct Sensor {
    published: Vec<f64>,
    unacknowledged: VecDeque<(u16, f64)>,
}

impl Sensor {
    /// Publishes until the connection breaks or the time is over; then, if it still stands, waits for the rest.
    async fn publish(&mut self, mqtt: SocketAddr, time: Duration) {
        let (mut raw, _) = Raw::connect_to(mqtt, Connect::default()).await;
        let deadline = Instant::now() + time;
        let again: Vec<u8> = self
            .unacknowledged
            .iter()
            .flat_map(|(id, value)| {
                publish_packet(TOPIC, value.to_string().as_bytes(), Some((*id, true)))
            })
            .collect();
        raw.send(&again).await;
        loop {
            let open = Instant::now() < deadline;
            if !open && self.unacknowledged.is_empty() {
                return;
            }
            let mut burst = Vec::new();
            while open && self.unacknowledged.len() < WINDOW {
                let n = self.published.len();
                let (id, value) = (u16::try_from(n % 65_535 + 1).unwrap(), water_level(n));
                self.published.push(value);
                self.unacknowledged.push_back((id, value));
                burst.extend(publish_packet(
                    TOPIC,
                    value.to_string().as_bytes(),
                    Some((id, false)),
                ));
            }
            let mut puback = [0; 4];
            // A node that was killed breaks one or the other.
            if tokio::io::AsyncWriteExt::write_all(&mut raw.stream, &burst)
                .await
                .is_err()
                || raw.stream.read_exact(&mut puback).await.is_err()
            {
                return;
            }
            let (id, _) = self.unacknowledged.pop_front().unwrap();
            assert_eq!(u16::from_be_bytes([puback[2], puback[3]]), id);
            // Some hundred a second: enough to be hit in the middle, few enough to be read back in one answer.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Up and down, over 4 m every 40 readings; no value is like one of its neighbours.
fn water_level(n: usize) -> f64 {
    let wave = (n as f64 / 40.0 * std::f64::consts::TAU).sin();
    ((3.5 + 2.0 * wave) * 1000.0).round() / 1000.0 + n as f64 / 1e7
}

/// How often a rule "raise above 4, clear below 3" raises.
fn raises(values: &[f64]) -> usize {
    let (mut raised, mut count) = (false, 0);
    for &value in values {
        if !raised && value > 4.0 {
            (raised, count) = (true, count + 1);
        } else if raised && value < 3.0 {
            raised = false;
        }
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_reading_and_every_raise_survives_kill_nine_once() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("node");
    let mut process = Process::start(&data);
    let api = Api::sign_in(process.http).await;
    api.post(
        "/v1/devices",
        json!({"name": "river-01", "state": "approved"}),
    )
    .await;
    let rule = json!({
        "name": "high water", "match": {"device": "river-*", "channel": "level"}, "kind": "threshold",
        "raise_above": 4.0, "clear_below": 3.0, "for_s": 0, "hold_s": 0, "reopen_s": 0,
        "incident": {"title": "{device}: {value} m", "category": "Met", "severity": "severe"},
    });
    api.post("/v1/rules", rule).await;

    let seed = match std::env::var("KILL_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => std::process::id(),
    };
    println!("KILL_SEED={seed} cargo test -p node --test kill");
    let mut sensor = Sensor::default();
    for round in 0..ROUNDS {
        // Anywhere between the first commit and several cursors of the rules.
        let life_ms = 150
            + (u64::from(seed)
                .wrapping_mul(2_654_435_761)
                .wrapping_add(round * 40_503)
                >> 3)
                % 1500;
        let mqtt = process.mqtt;
        let killer = tokio::task::spawn_blocking(move || {
            std::thread::sleep(Duration::from_millis(life_ms));
            process.kill();
        });
        sensor.publish(mqtt, Duration::from_secs(60)).await;
        killer.await.unwrap();
        process = Process::start(&data);
    }
    sensor
        .publish(process.mqtt, Duration::from_millis(300))
        .await;

    let api = Api::sign_in(process.http).await;
    let series = api.get("/v1/series?device=river-01").await;
    assert_eq!(series["items"][0]["count"], sensor.published.len());
    let id = series["items"][0]["id"].as_str().unwrap();
    let answer = api
        .get(&format!("/v1/series/{id}/readings?limit=10000"))
        .await;
    let stored: Vec<f64> = answer["points"]
        .as_array()
        .unwrap()
        .iter()
        .map(|point| point[1].as_f64().unwrap())
        .collect();
    assert_eq!(stored, sensor.published);

    let expected = raises(&sensor.published);
    assert!(
        expected > 10,
        "{expected} raises in {} readings",
        sensor.published.len()
    );
    eventually("one incident for each raise", || async {
        let incidents = api.get("/v1/incidents?limit=500").await["items"]
            .as_array()
            .unwrap()
            .clone();
        let open = incidents
            .iter()
            .filter(|incident| incident["cleared_at"].is_null())
            .count();
        match incidents.len() {
            found if found == expected && open <= 1 => Ok(()),
            found => Err(format!(
                "{found} incidents, {open} of them open, for {expected} raises"
            )),
        }
    })
    .await;
}
