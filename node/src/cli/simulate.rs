//! `muster simulate`: a flood in a valley, published over real MQTT with QoS 1.
//!
//! A dozen river gauges rise one after the other, rain gauges are ahead of them, a seismometer hums. The water crosses
//! 4 m about a third of the way and falls below 3 m before the end; without `--duration` a flood takes five minutes
//! and comes again. Every sensor states its own time, a unit, and now and then its battery and signal.
//!
//! Invariant: what is published depends on the seed and on the time since the start, on nothing else.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use clap::Args;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, PublishOptions, QoS};
use serde_json::json;

use crate::ops::local::LocalRequest;
use crate::ops::socket;

const RIVER_GAUGES: usize = 12;
const RAIN_GAUGES: usize = 6;

/// One flood, where `--duration` says nothing.
const PERIOD: Duration = Duration::from_secs(300);

/// Messages are handed over in slices of this length.
const TICK: Duration = Duration::from_millis(10);

/// The last acknowledgements may take this long.
const DRAIN: Duration = Duration::from_secs(20);

/// Unacknowledged messages; more than a commit takes in at any rate that one client can produce.
const WINDOW: u16 = 1000;

/// What `muster simulate` takes.
#[derive(Debug, Clone, Args)]
pub struct SimulateArgs {
    /// The node's address for sensors
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:1883")]
    pub mqtt: SocketAddr,
    /// Messages a second, all sensors together
    #[arg(long, value_name = "N", default_value_t = 20.0, value_parser = positive)]
    pub rate: f64,
    /// Stop after so many seconds [default: run until interrupted]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    pub duration: Option<u64>,
    /// What happens
    #[arg(long, default_value = "flood", value_parser = ["flood"])]
    pub scenario: String,
    /// Another seed gives other noise
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Approve the sensors over HTTP at this address instead of the data directory's socket
    #[arg(long, value_name = "URL", requires = "token")]
    pub http: Option<String>,
    /// Access token for --http
    #[arg(
        long,
        value_name = "TOKEN",
        env = "MUSTER_TOKEN",
        hide_env_values = true
    )]
    pub token: Option<String>,
    /// Do not approve the sensors: their readings are kept, and no rule looks at them
    #[arg(long, conflicts_with = "http")]
    pub no_approve: bool,
    /// End at once when standard input ends
    #[arg(long, hide = true)]
    pub end_with_stdin: bool,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 1e6 => Ok(rate),
        _ => Err("a number greater than 0 and at most 1000000 is expected".into()),
    }
}

/// Publishes until the duration is over or Ctrl-C, then waits for the last acknowledgements.
///
/// # Errors
/// The sensors could not be approved, the endpoint was never reached, or messages were left unacknowledged.
pub async fn run(data_dir: &Path, args: SimulateArgs) -> anyhow::Result<()> {
    let mut flood = Flood::new(args.seed, args.duration.map_or(PERIOD, Duration::from_secs));
    if !args.no_approve {
        approve(data_dir, &args, flood.devices()).await?;
    }
    println!(
        "publishing to mqtt://{}: {RIVER_GAUGES} river gauges, {RAIN_GAUGES} rain gauges, 1 seismometer, {} messages/s",
        args.mqtt, args.rate
    );

    let client_id = format!("muster-simulate-{}", std::process::id());
    let mut options = MqttOptions::new(client_id, (args.mqtt.ip().to_string(), args.mqtt.port()));
    options.set_keep_alive(30).set_inflight(WINDOW);
    // A session that survives a broken connection, so that what was not acknowledged is sent again.
    options.set_clean_session(false);
    let (client, eventloop) = AsyncClient::builder(options)
        .capacity(usize::from(WINDOW))
        .build();
    let acknowledged = Arc::new(AtomicU64::new(0));
    let driver = tokio::spawn(drive(eventloop, Arc::clone(&acknowledged)));

    let started = Instant::now();
    let mut published = 0_u64;
    let mut reported = started;
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut end = std::pin::pin!(end(args.duration, args.end_with_stdin));
    let ended = 'publishing: loop {
        tokio::select! {
            _ = ticks.tick() => {}
            ended = &mut end => break ended,
        }
        let due = (started.elapsed().as_secs_f64() * args.rate) as u64;
        while published < due {
            let message = flood.next(started.elapsed(), wall_ms());
            tokio::select! {
                sent = client.publish(message.topic, message.payload, PublishOptions::new(QoS::AtLeastOnce)) => {
                    sent.context("publish")?;
                }
                ended = &mut end => break 'publishing ended,
            }
            published += 1;
        }
        if reported.elapsed() >= Duration::from_secs(10) {
            reported = Instant::now();
            println!(
                "{:>6.0} s: {published} published, {} acknowledged, {}",
                started.elapsed().as_secs_f64(),
                acknowledged.load(Ordering::Relaxed),
                flood.in_words(started.elapsed()),
            );
        }
    };
    if let End::Abandoned = ended {
        return Ok(());
    }
    let deadline = Instant::now() + DRAIN;
    while acknowledged.load(Ordering::Relaxed) < published
        && Instant::now() < deadline
        && !driver.is_finished()
    {
        tokio::time::sleep(TICK).await;
    }
    let acknowledged = acknowledged.load(Ordering::Relaxed);
    // Best effort: the connection may be gone, and the way to it full.
    let _ = tokio::time::timeout(Duration::from_secs(2), async {
        let _ = client.disconnect().await;
        driver.await
    })
    .await;
    println!("{published} published, {acknowledged} acknowledged");
    if acknowledged < published {
        bail!(
            "{} messages were not acknowledged",
            published - acknowledged
        );
    }
    Ok(())
}

/// Why publishing ends.
enum End {
    /// The time is over, or a person said so: what was published should arrive.
    InOrder,
    /// Whoever started this is gone, and with it most likely the node.
    Abandoned,
}

async fn end(duration_s: Option<u64>, end_with_stdin: bool) -> End {
    let over = async {
        match duration_s {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = over => End::InOrder,
        _ = tokio::signal::ctrl_c() => End::InOrder,
        () = super::stdin_ended(end_with_stdin) => End::Abandoned,
    }
}

/// Keeps the connection going and counts PUBACKs.
async fn drive(mut eventloop: EventLoop, acknowledged: Arc<AtomicU64>) {
    let mut connected = true;
    loop {
        match eventloop.poll().await {
            Ok(Event::Incoming(Packet::PubAck(_))) => {
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Event::Incoming(Packet::ConnAck(_))) => connected = true,
            Ok(Event::Outgoing(rumqttc::Outgoing::Disconnect))
            | Err(rumqttc::ConnectionError::RequestsDone) => return,
            Ok(_) => {}
            Err(error) => {
                if std::mem::take(&mut connected) {
                    eprintln!("connection lost, trying again: {error}");
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }
}

/// Approves the devices, so that rules look at them.
async fn approve(data_dir: &Path, args: &SimulateArgs, names: Vec<String>) -> anyhow::Result<()> {
    let count = names.len();
    if let Some(base) = &args.http {
        let client = reqwest::Client::new();
        let token = args.token.as_deref().unwrap_or_default();
        for name in names {
            let answer = client
                .post(format!("{}/v1/devices", base.trim_end_matches('/')))
                .bearer_auth(token)
                .json(&json!({"name": name, "state": "approved"}))
                .send()
                .await
                .with_context(|| format!("approve {name} at {base}"))?;
            if !answer.status().is_success() {
                let status = answer.status();
                bail!(
                    "approve {name}: {status}: {}",
                    answer.text().await.unwrap_or_default()
                );
            }
        }
    } else {
        let directory: PathBuf = data_dir.to_owned();
        socket::request(data_dir, &LocalRequest::ApproveDevices { names })
            .await
            .map_err(anyhow::Error::from)
            .and_then(|response| response.into_result().map_err(anyhow::Error::msg))
            .with_context(|| {
                format!(
                    "approve the sensors over {} (say where the node is with --data-dir, or use --http and --token, or \
                     --no-approve)",
                    directory.join(socket::SOCKET_NAME).display()
                )
            })?;
    }
    println!("approved {count} sensors");
    Ok(())
}

fn wall_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
}

/// One message of one sensor.
struct Message {
    topic: String,
    payload: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    River,
    Rain,
    Seismometer,
}

struct Sensor {
    name: String,
    kind: Kind,
    /// Place along the river, 0 at the spring: when the wave passes.
    place: f64,
    messages: u64,
    last_at_ms: i64,
}

/// The weather, and the sensors in it.
struct Flood {
    sensors: Vec<Sensor>,
    turn: usize,
    period: Duration,
    noise: u64,
}

impl Flood {
    fn new(seed: u64, period: Duration) -> Self {
        let many = |kind: Kind, word: &str, count: usize| -> Vec<Sensor> {
            (0..count)
                .map(|index| Sensor {
                    name: format!("{word}-{:02}", index + 1),
                    kind,
                    place: index as f64 / count as f64,
                    messages: 0,
                    last_at_ms: i64::MIN,
                })
                .collect()
        };
        let mut sensors = many(Kind::River, "river", RIVER_GAUGES);
        sensors.extend(many(Kind::Rain, "rain", RAIN_GAUGES));
        sensors.extend(many(Kind::Seismometer, "seismo", 1));
        Flood {
            sensors,
            turn: 0,
            period,
            noise: seed,
        }
    }

    fn devices(&self) -> Vec<String> {
        self.sensors
            .iter()
            .map(|sensor| sensor.name.clone())
            .collect()
    }

    /// The next message; sensors take turns. A sensor's own times never repeat, whatever the rate.
    fn next(&mut self, elapsed: Duration, wall_ms: i64) -> Message {
        let noise = self.noise();
        let phase = (elapsed.as_secs_f64() / self.period.as_secs_f64()).fract();
        let turn = self.turn;
        self.turn = (turn + 1) % self.sensors.len();
        let sensor = &mut self.sensors[turn];
        sensor.messages += 1;
        let at_ms = wall_ms.max(sensor.last_at_ms.saturating_add(1));
        sensor.last_at_ms = at_ms;
        // Each thirtieth message tells of the sensor itself, every other of those of its radio.
        let (channel, value, unit) = match (sensor.messages % 30, sensor.messages % 60, sensor.kind)
        {
            (0, 30, _) => ("battery_pct", 96.0 - 30.0 * phase - 5.0 * sensor.place, "%"),
            (0, _, _) => ("rssi_dbm", -71.0 - 20.0 * sensor.place + 4.0 * noise, "dBm"),
            (_, _, Kind::River) => ("level", river_m(phase, sensor.place) + 0.02 * noise, "m"),
            (_, _, Kind::Rain) => (
                "rate",
                (rain_mm_h(phase, sensor.place) + noise).max(0.0),
                "mm/h",
            ),
            (_, _, Kind::Seismometer) => ("pga", 0.002 * (1.0 + noise.abs()), "m/s2"),
        };
        Message {
            topic: format!("muster/v1/{}/{channel}", sensor.name),
            payload: format!(r#"{{"v":{value:.3},"t":{at_ms},"u":"{unit}"}}"#),
        }
    }

    /// What is happening, for whoever watches.
    fn in_words(&self, elapsed: Duration) -> String {
        let phase = (elapsed.as_secs_f64() / self.period.as_secs_f64()).fract();
        let highest = self
            .sensors
            .iter()
            .filter(|sensor| sensor.kind == Kind::River)
            .map(|sensor| (river_m(phase, sensor.place), sensor.name.as_str()))
            .max_by(|a, b| a.0.total_cmp(&b.0));
        match highest {
            Some((level, name)) => format!("highest water {level:.1} m at {name}"),
            None => String::new(),
        }
    }

    /// −1..1, by splitmix64: the same for the same seed on every machine.
    fn noise(&mut self) -> f64 {
        self.noise = self.noise.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.noise;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }
}

/// Water level in metres: 1.6 m before and after, 5.4 m at the crest, which passes downstream gauges later.
fn river_m(phase: f64, place: f64) -> f64 {
    1.6 + 3.8 * wave(phase, 0.42 + 0.2 * place, 0.13)
}

/// Rain in mm/h: the cause, so it comes first.
fn rain_mm_h(phase: f64, place: f64) -> f64 {
    38.0 * wave(phase, 0.22 + 0.1 * place, 0.10)
}

/// A bell of height 1 around `middle`.
fn wave(phase: f64, middle: f64, width: f64) -> f64 {
    (-((phase - middle) / width).powi(2)).exp()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn value(payload: &str) -> f64 {
        serde_json::from_str::<serde_json::Value>(payload).unwrap()["v"]
            .as_f64()
            .unwrap()
    }

    #[test]
    fn the_water_rises_above_four_metres_and_falls_again() {
        let mut flood = Flood::new(7, Duration::from_secs(100));
        let mut highest = 0.0_f64;
        let mut last = f64::NAN;
        for step in 0..20_000_u64 {
            let message = flood.next(Duration::from_millis(step * 5), step as i64);
            if message.topic == "muster/v1/river-01/level" {
                last = value(&message.payload);
                highest = highest.max(last);
            }
        }
        assert!(highest > 5.0, "{highest}");
        assert!(last < 2.0, "{last}");
    }

    #[test]
    fn one_seed_gives_one_flood() {
        let payloads = |seed| -> Vec<String> {
            let mut flood = Flood::new(seed, PERIOD);
            (0..200)
                .map(|step| flood.next(Duration::from_millis(step), step as i64).payload)
                .collect()
        };
        assert_eq!(payloads(1), payloads(1));
        assert_ne!(payloads(1), payloads(2));
    }

    #[test]
    fn a_sensor_never_states_one_time_twice() {
        let mut flood = Flood::new(1, PERIOD);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1000 {
            let message = flood.next(Duration::ZERO, 1_772_366_400_000);
            let device = message.topic.split('/').nth(2).unwrap().to_owned();
            let at = serde_json::from_str::<serde_json::Value>(&message.payload).unwrap()["t"]
                .as_i64()
                .unwrap();
            assert!(seen.insert((device, at)));
        }
    }

    #[test]
    fn every_message_can_be_decoded() {
        let mut flood = Flood::new(3, PERIOD);
        for step in 0..3000 {
            let message = flood.next(
                Duration::from_millis(step * 100),
                1_772_366_400_000 + step as i64,
            );
            sensor_drivers::decode_topic(&message.topic).unwrap();
            sensor_drivers::decode_payload(message.payload.as_bytes()).unwrap();
        }
    }
}
