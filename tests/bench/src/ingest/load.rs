//! An MQTT publisher made for measuring: QoS 1, a fixed window per connection, big writes.
//!
//! It costs as little as a publisher can, because it shares the machine with what it measures: packets are built into
//! one buffer per burst, and a burst is as many packets as PUBACKs have made room for. One thread serves all
//! connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Which MQTT is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 3.1.1
    V3,
    V5,
}

/// What to publish.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub version: Version,
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
    /// The time from publish to PUBACK is taken of every n-th message.
    pub sample_every: u64,
}

impl Plan {
    /// Ten connections with 20 series each, as the figures have it.
    pub fn of_ten(duration: Duration, rate: Option<f64>, first_at_ms: i64) -> Plan {
        Plan {
            version: Version::V3,
            connections: 10,
            window: 50,
            duration,
            rate,
            series: 20,
            first_at_ms,
            sample_every: 16,
        }
    }
}

/// What is acknowledged while the load runs, for those who look meanwhile.
#[derive(Debug)]
pub struct Ledger {
    began: Instant,
    series: usize,
    /// Per connection and series.
    acknowledged: Vec<(AtomicU64, AtomicU64)>,
}

impl Ledger {
    pub fn new(plan: &Plan) -> Arc<Ledger> {
        let places = plan.connections * plan.series;
        Arc::new(Ledger {
            began: Instant::now(),
            series: plan.series,
            acknowledged: (0..places).map(|_| Default::default()).collect(),
        })
    }

    fn note(&self, connection: usize, series: usize, count: u64, now: Instant) {
        let (counts, at_us) = &self.acknowledged[connection * self.series + series];
        counts.store(count, Ordering::Release);
        let after = now.saturating_duration_since(self.began).as_micros();
        at_us.store(u64::try_from(after).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// How many readings of a series are acknowledged, and when the newest of them was, or somewhat before that.
    pub fn newest(&self, connection: usize, series: usize) -> (u64, Instant) {
        let (counts, at_us) = &self.acknowledged[connection * self.series + series];
        // In this order: an acknowledgement in between makes the newest look older than it is, never younger.
        let at = self.began + Duration::from_micros(at_us.load(Ordering::Acquire));
        (counts.load(Ordering::Acquire), at)
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    pub acknowledged: u64,
    pub elapsed: Duration,
    /// Processor time of the generator itself.
    pub cpu: Duration,
    /// Publish to PUBACK in ms, of every [`Plan::sample_every`]th message.
    pub latencies_ms: Vec<f64>,
    /// Per connection and series: how many readings were acknowledged, from the first on without a gap.
    pub acknowledged_by_series: Vec<Vec<u64>>,
}

/// Shorter pauses than a timer can take.
const PACE_MIN: Duration = Duration::from_millis(1);

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
    run_watched(address, plan, None).await
}

/// The same, with somebody who looks meanwhile.
///
/// # Errors
/// See [`run`].
pub async fn run_watched(
    address: SocketAddr,
    plan: Plan,
    ledger: Option<Arc<Ledger>>,
) -> anyhow::Result<Outcome> {
    let (send, receive) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let outcome = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("runtime of the load generator")
            .and_then(|runtime| runtime.block_on(all(address, plan, ledger)))
            .map(|outcome| Outcome {
                cpu: thread_cpu(),
                ..outcome
            });
        let _ = send.send(outcome);
    });
    receive.await.context("the load generator's thread ended")?
}

/// Processor time of the calling thread; 0 where /proc does not say.
fn thread_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

async fn all(
    address: SocketAddr,
    plan: Plan,
    ledger: Option<Arc<Ledger>>,
) -> anyhow::Result<Outcome> {
    let mut publishers = Vec::new();
    for index in 0..plan.connections {
        let publisher = Publisher::connect(address, plan, index).await;
        let mut publisher = publisher.with_context(|| format!("connection {index}"))?;
        publisher.ledger = ledger.clone();
        publishers.push(publisher);
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

/// A connection with a clean session and a keep-alive of a minute.
///
/// # Errors
/// Nobody listens, or the other end refuses.
pub async fn connect(
    address: SocketAddr,
    client_id: &str,
    version: Version,
) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    // A clean session, keep-alive 60 s; version 5 has properties, of which there are none.
    let (words, rest): (&[u8], &[u8]) = match version {
        Version::V3 => (b"\0\x04MQTT\x04\x02\0\x3c", b""),
        Version::V5 => (b"\0\x04MQTT\x05\x02\0\x3c", b"\0"),
    };
    let length = words.len() + rest.len() + 2 + client_id.len();
    let mut packet = vec![0x10, u8::try_from(length)?];
    packet.extend_from_slice(words);
    packet.extend_from_slice(rest);
    packet.extend_from_slice(&u16::try_from(client_id.len())?.to_be_bytes());
    packet.extend_from_slice(client_id.as_bytes());
    stream.write_all(&packet).await?;
    let mut header = [0_u8; 2];
    stream.read_exact(&mut header).await?;
    let mut connack = vec![0_u8; usize::from(header[1])];
    stream.read_exact(&mut connack).await?;
    ensure!(
        header[0] == 0x20 && connack.len() >= 2 && connack[1] == 0,
        "CONNACK {header:?} {connack:?}"
    );
    Ok(stream)
}

struct Publisher {
    stream: TcpStream,
    plan: Plan,
    index: usize,
    ledger: Option<Arc<Ledger>>,
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
        let stream = connect(address, &format!("bench-{index}"), plan.version).await?;
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
            ledger: None,
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
        // Not all at the same moment: that would be a burst, not a rate.
        let phase = self.index as f64 / self.plan.connections as f64;
        loop {
            let now = Instant::now();
            let open = now < until;
            let due = match rate {
                Some(rate) => (now.duration_since(started).as_secs_f64() * rate + phase) as u64,
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
                Some(rate) if open => {
                    let next = (self.published as f64 + 1.0 - phase) / rate;
                    let due = (started + Duration::from_secs_f64(next.max(0.0))).min(until);
                    let pause = due.saturating_duration_since(now).max(PACE_MIN);
                    match tokio::time::timeout(pause, wait).await {
                        Ok(n) => n?,
                        Err(_) => continue,
                    }
                }
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
        if self.plan.version == Version::V5 {
            out.push(0); // no properties
        }
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
        if n.is_multiple_of(self.plan.sample_every) {
            let slot = self.slot(n);
            self.written_at[slot] = now;
        }
    }

    /// Where the time of a message is kept until its acknowledgement: no two in the window share a place.
    fn slot(&self, n: u64) -> usize {
        (n / self.plan.sample_every) as usize % self.plan.window
    }

    /// Packet ids run round 1..=65,535.
    fn packet_id(&self, n: u64) -> u16 {
        (n % 65_535 + 1) as u16
    }

    /// Counts whole PUBACKs, which must come in order; gives the number of bytes left over.
    fn take_pubacks(&mut self, read: &mut [u8], held: usize) -> anyhow::Result<usize> {
        let now = Instant::now();
        let mut from = 0;
        // Two bytes of header, and a body of two, or of more where version 5 has a reason (that nobody subscribes).
        while let Some(&[kind, length, ref rest @ ..]) = read.get(from..held) {
            let Some(body) = rest.get(..usize::from(length)) else {
                break;
            };
            let expected = self.packet_id(self.acknowledged).to_be_bytes();
            let refused = body.get(2).is_some_and(|reason| *reason >= 0x80);
            ensure!(
                kind == 0x40 && body.starts_with(&expected) && !refused,
                "expected the PUBACK of {expected:?}, got {kind:#x} {body:?}"
            );
            from += 2 + body.len();
            let n = self.acknowledged;
            self.acknowledged += 1;
            let series = (n % self.plan.series as u64) as usize;
            self.acknowledged_by_series[series] += 1;
            if let Some(ledger) = &self.ledger {
                let count = self.acknowledged_by_series[series];
                ledger.note(self.index, series, count, now);
            }
            if n.is_multiple_of(self.plan.sample_every) {
                let waited = now.duration_since(self.written_at[self.slot(n)]);
                self.latencies_ms.push(waited.as_secs_f64() * 1000.0);
            }
        }
        read.copy_within(from..held, 0);
        Ok(held - from)
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
            series: 7,
            ..Plan::of_ten(Duration::from_millis(500), None, 1_772_366_400_000)
        };
        let outcome = run(mosquitto.mqtt, plan).await.unwrap();
        assert!(outcome.acknowledged > 1000, "{}", outcome.acknowledged);
        let by_series: u64 = outcome.acknowledged_by_series.iter().flatten().sum();
        assert_eq!(by_series, outcome.acknowledged);
        let newer = Plan {
            version: Version::V5,
            ..plan
        };
        let newer = run(mosquitto.mqtt, newer).await.unwrap();
        assert!(newer.acknowledged > 1000, "{}", newer.acknowledged);
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
