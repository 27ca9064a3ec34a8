//! How soon an urgent entry is committed at the far end while raw blocks fill everything behind it.
//!
//! The program writes no lane 5 yet, so two nodes of the real QUIC shell stand in this process, around hosts without
//! documents (see `member`). One has raw blocks without end; the other writes all that comes to one file and syncs it
//! before it acknowledges, urgent entries and raw blocks behind the same lock, as one database would. The clock runs from
//! the end of fdatasync on one side to the end of fdatasync on the other.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;
use sync_engine::{Frontier, Lane, Seq};

use crate::Effort;
use crate::library;
use crate::member::{Arrival, Beginning, Member};
use crate::report::{Reach, Report, percentile};

/// Samples: enough that the 99th percentile is not a single one.
const SAMPLES: usize = 2_000;
/// Between two samples.
const PAUSE: Duration = Duration::from_millis(5);
/// A sample that takes longer means that it never comes.
const PATIENCE: Duration = Duration::from_secs(10);
/// A raw block: half of what an entry may have.
const BLOCK_BYTES: usize = 16 * 1024;
/// Raw blocks that the other side lacks at any time: more than the engine lets be on its way unacknowledged (2 MiB).
const BACKLOG_BLOCKS: u64 = 1_024;
/// Blocks that become one commit of the raw log.
const COMMIT_BLOCKS: u64 = 64;
/// What the issue asks of the 99th percentile.
const P99_MS_MAX: f64 = 50.0;
/// The lane that is measured: incidents and tasks.
const LIVE: Lane = Lane::Life;

/// # Errors
/// A node does not start, or an entry never arrives.
pub async fn run(effort: Effort) -> anyhow::Result<Report> {
    let samples = if effort.quick { SAMPLES / 10 } else { SAMPLES };
    // A runtime of its own: the bench's has one thread, and the nodes would share it with who measures.
    tokio::task::spawn_blocking(move || measure(samples)).await?
}

fn measure(samples: usize) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let directory = tempfile::tempdir()?;
    let (arrivals, arrived) = channel();
    let (from, to) = runtime.block_on(connect(directory.path(), arrivals))?;

    let mut report = Report::default();
    let alone = sample(&from, &to, &arrived, samples)?;
    note(&mut report, "lane 5 empty", &alone);

    let over = AtomicBool::new(false);
    let full = std::thread::scope(|scope| {
        let filling = scope.spawn(|| fill(&from, &over));
        let full = sample(&from, &to, &arrived, samples);
        over.store(true, Ordering::SeqCst);
        let filled = filling.join();
        filled.map_err(|_| anyhow::anyhow!("who fills lane 5 panicked"))??;
        full
    })?;
    note(&mut report, "lane 5 full", &full);
    report.row(
        "raw blocks committed at the far end meanwhile",
        format!(
            "{:.0} MB/s",
            full.raw_bytes as f64 / full.took.as_secs_f64() / 1e6
        ),
    );
    anyhow::ensure!(
        full.raw_bytes > 4 * BACKLOG_BLOCKS * BLOCK_BYTES as u64 || samples < SAMPLES,
        "lane 5 was not full: {} bytes in {:?}",
        full.raw_bytes,
        full.took
    );
    report.note(
        "Two sync-quic nodes in the bench over loopback, one file and fdatasync each; no documents, no SQLite.",
    );
    runtime.block_on(async {
        from.sync.shutdown().await;
        to.sync.shutdown().await;
    });
    Ok(report)
}

async fn connect(
    directory: &Path,
    arrivals: std::sync::mpsc::Sender<Arrival>,
) -> anyhow::Result<(Member, Member)> {
    let keys = [library::key(0), library::key(1)];
    let genesis = library::genesis();
    let grants: Vec<_> = keys
        .iter()
        .map(|key| {
            library::grant(
                &genesis,
                library::node_of(key),
                "Bench".to_owned(),
                &keys[0],
            )
        })
        .collect();
    let trust = library::trust(genesis, &grants)?;
    let [from_key, to_key] = keys;
    let to = Member::start(Beginning {
        disk: Some(std::fs::File::create(directory.join("to"))?),
        arrivals: Some(arrivals),
        ..Beginning::new(to_key, trust.clone(), Frontier::new())
    })
    .await?;
    let from = Member::start(Beginning {
        disk: Some(std::fs::File::create(directory.join("from"))?),
        peer: Some((to.node, to.sync.local_addr())),
        ..Beginning::new(from_key, trust, Frontier::new())
    })
    .await?;
    from.until_live().await?;
    to.until_live().await?;
    Ok((from, to))
}

/// Keeps the raw log longer than the other side can follow. These entries stand for what was on the disk before, so that
/// only the other side writes them.
fn fill(from: &Member, over: &AtomicBool) -> anyhow::Result<()> {
    let blocks = (0..COMMIT_BLOCKS)
        .map(|number| library::raw_entry(number, BLOCK_BYTES))
        .collect::<anyhow::Result<Vec<_>>>()?;
    while !over.load(Ordering::SeqCst) {
        if from.forget_acknowledged(Lane::Raw) < BACKLOG_BLOCKS {
            from.append(Lane::Raw, blocks.clone(), Vec::new());
        } else {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}

struct Samples {
    /// From the commit here to the commit there.
    commit_to_commit_ms: Vec<f64>,
    raw_bytes: u64,
    took: Duration,
}

fn sample(
    from: &Member,
    to: &Member,
    arrived: &Receiver<Arrival>,
    samples: usize,
) -> anyhow::Result<Samples> {
    let log = from.log(LIVE);
    let raw = from.log(Lane::Raw);
    let started = Instant::now();
    let mut sent: BTreeMap<Seq, Instant> = BTreeMap::new();
    let mut seen = Samples {
        commit_to_commit_ms: Vec::with_capacity(samples),
        raw_bytes: 0,
        took: Duration::ZERO,
    };
    let mut take = |arrival: Arrival, sent: &mut BTreeMap<Seq, Instant>| {
        if arrival.log == raw {
            seen.raw_bytes += arrival.entry_bytes as u64;
        } else if arrival.log == log {
            let later = sent.split_off(&arrival.last.next());
            for at in std::mem::replace(sent, later).into_values() {
                let took = arrival.at.saturating_duration_since(at);
                seen.commit_to_commit_ms.push(took.as_secs_f64() * 1e3);
            }
        }
    };
    for number in 0..samples {
        let entry = library::small_entry(0, number as u64)?;
        let (head, at) = from.commit(LIVE, vec![entry], Vec::new())?;
        sent.insert(head.seq, at);
        // The next one leaves in its time, whether this one has arrived or not.
        let next = Instant::now() + PAUSE;
        while let Some(left) = next.checked_duration_since(Instant::now()) {
            if let Ok(arrival) = arrived.recv_timeout(left) {
                take(arrival, &mut sent);
            }
        }
    }
    while !sent.is_empty() {
        let arrival = arrived.recv_timeout(PATIENCE).with_context(|| {
            format!(
                "{} entries never arrived; peers: {:?} and {:?}",
                sent.len(),
                from.sync.peers(),
                to.sync.peers()
            )
        })?;
        take(arrival, &mut sent);
    }
    seen.took = started.elapsed();
    Ok(seen)
}

fn note(report: &mut Report, what: &str, seen: &Samples) {
    let values = &seen.commit_to_commit_ms;
    let (p50, p99) = (percentile(values, 50.0), percentile(values, 99.0));
    report.row(
        format!("entry of lane 2, commit to commit, {what}, p50"),
        format!("{p50:.1} ms"),
    );
    report.judged(
        format!("entry of lane 2, commit to commit, {what}, p99"),
        format!("{p99:.1} ms"),
        p99,
        Reach::AtMost(P99_MS_MAX),
        format!("{P99_MS_MAX} ms"),
    );
    report.line(json!({
        "lane_5": what,
        "samples": values.len(),
        "p50_ms": p50,
        "p99_ms": p99,
        "max_ms": percentile(values, 100.0),
        "raw_bytes": seen.raw_bytes,
        "took_ms": seen.took.as_millis() as u64,
    }));
}
