//! An MQTT publisher made for measuring: QoS 1, a fixed window per connection, big writes.
//!
//! It costs as little as a publisher can, because it shares the machine with what it measures: packets are built into
//! one buffer per burst, and a burst is as many packets as PUBACKs have made room for. One thread serves all
//! connections.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What to publish.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub connections: usize,
    /// Unacknowledged messages per connection.
    pub window: usize,
    pub duration: Duration,
    /// Messages per second over all connections; `None`: as fast as acknowledgements allow.
    pub rate: Option<f64>,
    /// Series of each connection.
    pub series: usize,
    /// Device time of the first reading of each series, ms since 1970; each next one is 1 ms later.
    pub first_at_ms: i64,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    pub acknowledged: u64,
    pub elapsed: Duration,
    /// Publish to PUBACK in ms, every 16th message.
    pub latencies_ms: Vec<f64>,
    /// Per connection and series: how many readings were acknowledged, from the first on without a gap.
    pub acknowledged_by_series: Vec<Vec<u64>>,
}

/// The device of a series.
pub fn device(connection: usize, series: usize) -> String {
    format!("bench-{connection}-{series}")
}

/// The value of reading `n` of a series: what is checked when it is read back.
pub fn value(connection: usize, series: usize, n: u64) -> f64 {
    // Three decimals, different for each series, never the same twice in a row.
    ((n * 7919 + series as u64 * 131 + connection as u64 * 17) % 1_000_000) as f64 / 1000.0
}

/// Runs the plan on a thread of its own.
///
/// # Errors
/// A connection is refused, breaks, or gets an acknowledgement out of order.
pub async fn run(address: SocketAddr, plan: Plan) -> anyhow::Result<Outcome> {
    let (send, receive) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let outcome = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("runtime of the load generator")
            .and_then(|runtime| runtime.block_on(all(address, plan)));
        let _ = send.send(outcome);
    });
    receive.await.context("the load generator's thread ended")?
}

async fn all(address: SocketAddr, plan: Plan) -> anyhow::Result<Outcome> {
    let mut publishers = Vec::new();
    for index in 0..plan.connections {
        publishers.push(Publisher::connect(address, plan, index).await?);
    }
    let started = Instant::now();
    let until = started + plan.duration;
    let mut running = tokio::task::JoinSet::new();
    for publisher in publishers {
        running.spawn(publisher.run(started, until));
    }
    let mut outcome = Outcome {
        acknowledged_by_series: vec![Vec::new(); plan.connections],
        ..Outcome::default()
    };
    while let Some(done) = running.join_next().await {
        let publisher = done.context("a publisher panicked")??;
        outcome.acknowledged += publisher.acknowledged;
        outcome.latencies_ms.extend(publisher.latencies_ms);
        outcome.acknowledged_by_series[publisher.index] = publisher.acknowledged_by_series;
    }
    outcome.elapsed = started.elapsed();
    Ok(outcome)
}

struct Publisher {
    stream: TcpStream,
    plan: Plan,
    index: usize,
    /// `muster/v1/<device>/value` as it is on the wire, length first, one per series.
    topics: Vec<Vec<u8>>,
    published: u64,
    acknowledged: u64,
    /// When message n was written, ring of `window`, for those that are measured.
    written_at: Vec<Instant>,
    latencies_ms: Vec<f64>,
    acknowledged_by_series: Vec<u64>,
}

impl Publisher {
    async fn connect(address: SocketAddr, plan: Plan, index: usize) -> anyhow::Result<Publisher> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let client_id = format!("bench-{index}");
        let mut packet = vec![0x10, u8::try_from(12 + client_id.len())?];
        packet.extend_from_slice(b"\0\x04MQTT\x04\x02\0\x3c");
        packet.extend_from_slice(&u16::try_from(client_id.len())?.to_be_bytes());
        packet.extend_from_slice(client_id.as_bytes());
        stream.write_all(&packet).await?;
        let mut connack = [0_u8; 4];
        stream.read_exact(&mut connack).await?;
        ensure!(connack == [0x20, 2, 0, 0], "CONNACK {connack:?}");
        let topics = (0..plan.series)
            .map(|series| {
                let topic = format!("muster/v1/{}/value", device(index, series));
                let mut wire = (topic.len() as u16).to_be_bytes().to_vec();
                wire.extend_from_slice(topic.as_bytes());
                wire
            })
            .collect();
        Ok(Publisher {
            stream,
            plan,
            index,
            topics,
            published: 0,
            acknowledged: 0,
            written_at: vec![Instant::now(); plan.window],
            latencies_ms: Vec::new(),
            acknowledged_by_series: vec![0; plan.series],
        })
    }

    async fn run(mut self, started: Instant, until: Instant) -> anyhow::Result<Publisher> {
        let mut out = Vec::with_capacity(64 * 1024);
        let mut read = vec![0_u8; 16 * 1024];
        let mut held = 0;
        let rate = self.plan.rate.map(|all| all / self.plan.connections as f64);
        loop {
            let now = Instant::now();
            let open = now < until;
            let due = match rate {
                Some(rate) => (now.duration_since(started).as_secs_f64() * rate) as u64,
                None => u64::MAX,
            };
            let room = self.plan.window as u64 - (self.published - self.acknowledged);
            let burst = if open {
                room.min(due.saturating_sub(self.published))
            } else {
                0
            };
            if burst > 0 {
                out.clear();
                for _ in 0..burst {
                    self.push_publish(&mut out, now);
                }
                self.stream.write_all(&out).await?;
            }
            if !open && self.acknowledged == self.published {
                return Ok(self);
            }
            let wait = self.stream.read(&mut read[held..]);
            let n = match rate {
                // Paced: wake up for the next messages as well as for acknowledgements.
                Some(_) if open => match tokio::time::timeout(Duration::from_millis(1), wait).await
                {
                    Ok(n) => n?,
                    Err(_) => continue,
                },
                _ => tokio::time::timeout(Duration::from_secs(30), wait)
                    .await
                    .context("no acknowledgement for 30 s")??,
            };
            if n == 0 {
                bail!(
                    "the connection was closed with {} unacknowledged",
                    self.published - self.acknowledged
                );
            }
            held = self.take_pubacks(&mut read, held + n)?;
        }
    }

    /// PUBLISH with QoS 1 of the next reading: about 60 bytes of payload, never twice the same.
    fn push_publish(&mut self, out: &mut Vec<u8>, now: Instant) {
        use std::io::Write as _;
        let n = self.published;
        self.published += 1;
        let series = (n % self.plan.series as u64) as usize;
        let of_series = n / self.plan.series as u64;
        let start = out.len();
        out.extend_from_slice(&[0x32, 0, 0]);
        out.extend_from_slice(&self.topics[series]);
        out.extend_from_slice(&self.packet_id(n).to_be_bytes());
        let at_ms = self.plan.first_at_ms + of_series as i64;
        let value = value(self.index, series, of_series);
        // Writing to a Vec cannot fail.
        let _ = write!(
            out,
            r#"{{"v":{value:.3},"t":{at_ms},"u":"cm","seq":"{n:08}"}}"#
        );
        // Two bytes of remaining length, always: 128 to 16,383 in its plain form, below that with a leading zero group,
        // which a packet of this size never needs.
        let remaining = out.len() - start - 3;
        let two = |length: usize| [(length % 128) as u8 | 0x80, (length / 128) as u8];
        if remaining < 128 {
            out[start + 1] = remaining as u8;
            out.remove(start + 2);
        } else {
            out[start + 1..start + 3].copy_from_slice(&two(remaining));
        }
        if n.is_multiple_of(16) {
            let slot = (n / 16) as usize % self.plan.window;
            self.written_at[slot] = now;
        }
    }

    /// Packet ids run round 1..=65,535.
    fn packet_id(&self, n: u64) -> u16 {
        (n % 65_535 + 1) as u16
    }

    /// Counts whole PUBACKs, which must come in order; gives the number of bytes left over.
    fn take_pubacks(&mut self, read: &mut [u8], held: usize) -> anyhow::Result<usize> {
        let now = Instant::now();
        let whole = held - held % 4;
        for puback in read[..whole].chunks_exact(4) {
            let expected = self.packet_id(self.acknowledged).to_be_bytes();
            ensure!(
                puback == [0x40, 2, expected[0], expected[1]],
                "expected the PUBACK of {expected:?}, got {puback:?}"
            );
            let n = self.acknowledged;
            self.acknowledged += 1;
            self.acknowledged_by_series[(n % self.plan.series as u64) as usize] += 1;
            if n.is_multiple_of(16) {
                let slot = (n / 16) as usize % self.plan.window;
                self.latencies_ms
                    .push(now.duration_since(self.written_at[slot]).as_secs_f64() * 1000.0);
            }
        }
        read.copy_within(whole..held, 0);
        Ok(held - whole)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::child::Mosquitto;

    #[tokio::test]
    async fn the_generator_speaks_mqtt_that_mosquitto_accepts() {
        let directory = tempfile::tempdir().unwrap();
        let Some(mosquitto) = Mosquitto::start(directory.path()).unwrap() else {
            skip(
                "mosquitto",
                "the_generator_speaks_mqtt_that_mosquitto_accepts",
            );
            return;
        };
        let plan = Plan {
            connections: 3,
            window: 50,
            duration: Duration::from_millis(500),
            rate: None,
            series: 7,
            first_at_ms: 1_772_366_400_000,
        };
        let outcome = run(mosquitto.mqtt, plan).await.unwrap();
        assert!(outcome.acknowledged > 1000, "{}", outcome.acknowledged);
        let by_series: u64 = outcome.acknowledged_by_series.iter().flatten().sum();
        assert_eq!(by_series, outcome.acknowledged);
        let paced = run(
            mosquitto.mqtt,
            Plan {
                rate: Some(2000.0),
                ..plan
            },
        )
        .await
        .unwrap();
        assert!(
            (800..=1100).contains(&paced.acknowledged),
            "{}",
            paced.acknowledged
        );
    }

    /// `scripts/test.sh` counts these.
    fn skip(tool: &str, test: &str) {
        use std::io::Write as _;
        println!("skipped: {test} needs {tool}");
        if let Some(path) = std::env::var_os("MUSTER_SKIP_LOG") {
            let mut file = std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .unwrap();
            writeln!(file, "SKIPPED-TOOL {tool} {test}").unwrap();
        }
    }
}
