//! Bytes per connection, measured: a node in a process of its own, with a crowd of peers at rest and then at their worst.
//!
//! `CROWD=1000 cargo test -p sync-quic --release --test budget -- --nocapture` prints the figures of docs/quic-shell.md.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead as _, Write as _};
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use common::crowd::{CrowdPeer, crowd_ids, crowd_trust};
use common::{Operation, PATIENCE, founder, key, node_id};
use sync_engine::{Lane, StreamKind};
use sync_quic::SyncConfig;
use sync_quic::testing::Crowd;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// Says that this process is the measured node, and of how many members.
const ROLE: &str = "MUSTER_TEST_MEASURED_NODE";

/// What one connection may cost while nothing happens, with all its tasks, streams and TLS: docs/quic-shell.md. An
/// unoptimised build has larger futures.
const AT_REST_BYTES_MAX: usize = if cfg!(debug_assertions) {
    160 * KIB
} else {
    100 * KIB
};

fn crowd_size() -> usize {
    let size = std::env::var("CROWD").ok();
    size.and_then(|text| text.parse().ok()).unwrap_or(200)
}

/// The measured process, as the test sees it.
struct Measured {
    addr: SocketAddr,
    stdin: ChildStdin,
    stdout: tokio::io::Lines<BufReader<ChildStdout>>,
    _process: Child,
}

/// One look at it.
#[derive(Debug, Clone, Copy)]
struct Look {
    rss_bytes: usize,
    cpu_ms: usize,
    unstored_bytes: usize,
    waiting_bytes: usize,
    flash: usize,
}

impl Measured {
    async fn start(members: usize) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_measured_node", "--ignored", "--nocapture"])
            .env(ROLE, members.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut measured = Self {
            addr: "127.0.0.1:0".parse().unwrap(),
            stdin: process.stdin.take().unwrap(),
            stdout: BufReader::new(process.stdout.take().unwrap()).lines(),
            _process: process,
        };
        measured.addr = measured.answer("addr").await.parse().unwrap();
        measured
    }

    /// The rest of the next line that begins with `word`: the test harness writes lines of its own.
    async fn answer(&mut self, word: &str) -> String {
        let found = async {
            while let Some(line) = self.stdout.next_line().await.unwrap() {
                if let Some((_, rest)) = line.split_once(&format!("{word}=")) {
                    return rest.to_owned();
                }
            }
            panic!("the measured node ended");
        };
        tokio::time::timeout(PATIENCE, found).await.unwrap()
    }

    async fn tell(&mut self, what: &str) {
        let line = format!("{what}\n");
        self.stdin.write_all(line.as_bytes()).await.unwrap();
    }

    async fn look(&mut self) -> Look {
        self.tell("look").await;
        let answer = self.answer("look").await;
        let mut numbers = answer.split(' ').map(|it| it.parse::<usize>().unwrap());
        let mut next = || numbers.next().unwrap();
        Look {
            rss_bytes: next(),
            cpu_ms: next(),
            unstored_bytes: next(),
            waiting_bytes: next(),
            flash: next(),
        }
    }

    /// Looks until memory has stopped growing.
    async fn settled(&mut self) -> Look {
        let mut last = self.look().await;
        for _ in 0..60 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let now = self.look().await;
            if now.rss_bytes.abs_diff(last.rss_bytes) < 256 * KIB {
                return now;
            }
            last = now;
        }
        last
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_peers_that_stall_in_every_way_stays_within_the_budget() {
    let count = crowd_size();
    let operation = Operation::new(1);
    let trust = crowd_trust(&operation, node_id(&key(1)), count);
    let mut node = Measured::start(count).await;
    let empty = node.settled().await;

    // They read nothing but control and flash, so that what the node writes for them stays on its way.
    let bulk = [Lane::Life, Lane::Coordination, Lane::Summary, Lane::Raw];
    let deaf = bulk.map(StreamKind::Lane);
    let crowd = Crowd::bind().unwrap();
    let mut peers = Vec::new();
    for number in 0..count {
        let peer = CrowdPeer::connect(&crowd, node.addr, number, &trust, &deaf).await;
        peers.push(peer.unwrap());
    }
    let rest = node.settled().await;
    let each = rest.rss_bytes.saturating_sub(empty.rss_bytes) / count;
    println!("empty node: {} KiB", empty.rss_bytes / KIB);
    println!("{count} connections at rest: {} KiB each", each / KIB);
    let began = std::time::Instant::now();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let cpu_ms = node.look().await.cpu_ms - rest.cpu_ms;
    let share = cpu_ms as f64 / began.elapsed().as_millis() as f64 * 100.0;
    println!("at rest: {share:.2} % of a core for all of them");
    assert!(each <= AT_REST_BYTES_MAX, "{each} bytes");

    // The node's store takes no bulk, and each peer pushes bulk on three lanes.
    node.tell("stall").await;
    for peer in &peers {
        for lane in [Lane::Coordination, Lane::Summary, Lane::Raw] {
            peer.write(lane, &[20_000; 12]);
        }
    }
    // And the node has bulk for all of them, which they do not read.
    node.tell("write").await;
    let stalled = node.settled().await;
    let grown = stalled.rss_bytes.saturating_sub(rest.rss_bytes);
    println!(
        "{count} connections stalled: {} KiB each, {stalled:?}",
        grown / count / KIB
    );

    // Still alive: a flash entry of each of some is stored, and told to all.
    let writers = count.min(100);
    for peer in &peers[..writers] {
        peer.write(Lane::Flash, &[60]);
    }
    let alive = async {
        while node.look().await.flash < writers {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE * 2, alive).await.unwrap();
    for peer in &peers {
        assert!(peer.light.is_open(), "{:?}", peer.light.closed().await);
    }

    let lanes = 3 * 8 * MIB;
    assert!(stalled.waiting_bytes <= 256 * MIB, "{stalled:?}");
    assert!(stalled.unstored_bytes <= lanes + MIB, "{stalled:?}");
    // Each byte that waits for the store is held as entries and as the frame that will be relayed.
    let budget = sync_quic::receive_bytes_max(count) + 2 * lanes + count * 4 * 96 * KIB + 64 * MIB;
    println!("budget: {} MiB, used {} MiB", budget / MIB, grown / MIB);
    assert!(grown <= budget, "{grown} bytes");
}

/// The other process: not a test of its own.
#[test]
#[ignore = "runs as the measured process of the test above"]
fn the_measured_node() {
    let Ok(members) = std::env::var(ROLE) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let members = crowd_ids(members.parse().unwrap());
    // Memory is measured here: a machine with other work must not cost a peer its connection.
    let patient = |config: &mut SyncConfig| config.limits.idle = PATIENCE * 4;
    let node = runtime.block_on(founder(&Operation::new(1), key(1), &members, patient));
    say(&format!("addr={}", node.addr()));
    for line in std::io::stdin().lock().lines() {
        match line.unwrap().as_str() {
            "look" => {
                let usage = node.sync.usage();
                let unstored: usize = usage.unstored_bytes.iter().sum();
                say(&format!(
                    "look={} {} {unstored} {} {}",
                    rss_bytes(),
                    cpu_ms(),
                    usage.waiting_bytes,
                    node.memory.count(Lane::Flash)
                ));
            }
            "stall" => {
                let mut slow = node.memory.slow.lock();
                for lane in [Lane::Coordination, Lane::Summary, Lane::Raw] {
                    slow.insert(lane, Duration::from_secs(3_600));
                }
            }
            "write" => {
                for lane in [Lane::Life, Lane::Coordination, Lane::Raw] {
                    for _ in 0..20 {
                        node.write(lane, &[25_000; 2]);
                    }
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{line}").unwrap();
    out.flush().unwrap();
}

fn rss_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|it| it.starts_with("VmRSS")).unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<usize>()
        .unwrap()
        * KIB
}

fn cpu_ms() -> usize {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // Behind the name in brackets: user and system time are the 12th and 13th, in hundredths of a second.
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    (fields[11].parse::<usize>().unwrap() + fields[12].parse::<usize>().unwrap()) * 10
}
