//! A thousand field nodes on one HQ: what a connection and a delivered entry cost there.
//!
//! First HQ's engine alone, in a process of its own (see `crowd_engine`). Then the built program, as real as it gets: a
//! thousand members, whose grants a node of this bench has written, each with a socket, TLS, streams and an engine of
//! the real QUIC shell, all of them in this process; HQ's memory and processor time are read from /proc.

use std::time::{Duration, Instant};

use serde_json::json;
use sync_engine::{Frontier, Lane, Limits, TrustRecord};

use crate::api::Api;
use crate::child::{self, Node};
use crate::documents;
use crate::member::{Beginning, Member};
use crate::report::{Reach, Report, thousands};
use crate::{Effort, crowd_engine, library};

const PEERS: u16 = 1_000;
const PEERS_QUICK: u16 = 100;
/// Handshakes at a time; HQ takes 64.
const AT_ONCE: usize = 20;
/// Changes at HQ that all get, and entries of field nodes that all others get.
const CHANGES: usize = 50;
/// How long HQ is watched at rest: two keep-alives of each connection.
const REST: Duration = Duration::from_secs(10);
/// Grants in one commit.
const GRANTS_AT_ONCE: usize = 50;
/// Keys above those of the crowd.
const ENROLLER: u16 = 60_000;

/// # Errors
/// HQ does not start, or an entry never arrives.
pub async fn run(effort: Effort) -> anyhow::Result<Report> {
    let peers = if effort.quick { PEERS_QUICK } else { PEERS };
    let mut report = Report::default();
    crowd_engine::report(&mut report, peers)?;
    // A runtime of its own: the crowd would share the bench's one thread with who measures.
    tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        runtime.block_on(real(report, peers))
    })
    .await?
}

async fn real(mut report: Report, peers: u16) -> anyhow::Result<Report> {
    let directory = tempfile::tempdir()?;
    let hq_dir = directory.path().join("hq");
    let hq = Node::start(&hq_dir, &[])?;
    let api = Api::sign_in(hq.http).await?;
    let mut seen = documents::create(&api, CHANGES).await?;
    let beginning = enrol(&hq, peers).await?;

    tokio::time::sleep(REST / 4).await;
    let (memory_before, cpu_before) = (hq.memory(), hq.cpu());
    let started = Instant::now();
    let crowd = connect(&beginning, peers).await?;
    let connected = crowd.len() as f64;
    let (took, cpu) = (started.elapsed(), hq.cpu() - cpu_before);
    report.judged(
        "real connections that HQ carries, each to a member of its own",
        thousands(connected),
        connected,
        Reach::AtLeast(f64::from(peers)),
        thousands(f64::from(peers)),
    );
    report.row(
        "handshake and greeting, CPU at HQ a connection",
        format!("{:.1} ms", ms(cpu) / connected),
    );

    let cpu_before = hq.cpu();
    tokio::time::sleep(REST).await;
    let (rest_cpu, rest) = (hq.cpu() - cpu_before, hq.memory());
    let grown = rest
        .resident_bytes
        .saturating_sub(memory_before.resident_bytes) as f64;
    report.row(
        "memory at HQ a connection, at rest",
        format!("{:.1} kB", grown / connected / 1e3),
    );
    report.row(
        "memory of HQ with all of them, at rest (before)",
        format!(
            "{} ({})",
            mb(rest.resident_bytes),
            mb(memory_before.resident_bytes)
        ),
    );
    report.row(
        "CPU at HQ a connection, at rest",
        format!(
            "{:.1} µs a second",
            ms(rest_cpu) * 1e3 / connected / REST.as_secs_f64()
        ),
    );

    let down = measure(&hq, &crowd, crowd.len() * CHANGES, async {
        for (number, document) in seen.iter_mut().enumerate() {
            let fields = json!({ "title": format!("Water in the cellar, seen {number}") });
            let path = format!("/v1/incidents/{}", document.id);
            api.patch(&path, &document.version, &fields).await?;
        }
        Ok(())
    })
    .await?;
    note(
        &mut report,
        "changes at HQ to all",
        &down,
        crowd.len() * CHANGES,
    );
    let up = measure(&hq, &crowd, (crowd.len() - 1) * CHANGES, async {
        for (number, member) in crowd.iter().take(CHANGES).enumerate() {
            let entry = library::small_entry(number as u64, number as u64)?;
            member.commit(Lane::Life, vec![entry], Vec::new())?;
        }
        Ok(())
    })
    .await?;
    note(
        &mut report,
        "entries of field nodes through HQ to all others",
        &up,
        (crowd.len() - 1) * CHANGES,
    );
    let after = hq.memory();
    report.row("memory of HQ, its highest", mb(after.peak_bytes));
    report.line(json!({
        "connections": crowd.len(),
        "connect_ms": took.as_millis() as u64,
        "connect_cpu_ms": cpu.as_millis() as u64,
        "rest_cpu_ms": rest_cpu.as_millis() as u64,
        "rest_s": REST.as_secs(),
        "rss_bytes_before": memory_before.resident_bytes,
        "rss_bytes_at_rest": rest.resident_bytes,
        "rss_bytes_after": after.resident_bytes,
        "rss_bytes_peak": after.peak_bytes,
    }));
    report.note("The crowd shares two cores with HQ, so that times are its own as much as HQ's; CPU and memory are HQ's alone.");
    for chunk in crowd.chunks(AT_ONCE) {
        futures::future::join_all(chunk.iter().map(|member| member.sync.clone().shutdown())).await;
    }
    Ok(report)
}

/// Makes the crowd members: a node of ours joins as a second HQ and writes a grant for each. What each begins with.
async fn enrol(hq: &Node, peers: u16) -> anyhow::Result<Beginning> {
    let code = child::invite(&hq.data_dir, "hq")?;
    let key = library::key(ENROLLER);
    let enroller = Member::join(key.clone(), &code, Limits::default()).await?;
    enroller.until_live().await?;
    let genesis = enroller.sync.trust().genesis().clone();
    let numbers: Vec<u16> = (1..=peers).collect();
    for chunk in numbers.chunks(GRANTS_AT_ONCE) {
        let grants = chunk.iter().map(|number| {
            let node = library::node_of(&library::key(*number));
            let grant = library::grant(&genesis, node, format!("Field {number}"), &key);
            TrustRecord::Grant(grant)
        });
        let records: Vec<TrustRecord> = grants.collect();
        let entries = records.iter().cloned().map(library::record_entry);
        let entries = entries.collect::<anyhow::Result<Vec<_>>>()?;
        enroller.commit(Lane::Trust, entries, records)?;
    }
    let report = enroller
        .sync
        .sync_now(None, true, Duration::from_secs(60))
        .await;
    anyhow::ensure!(report.complete, "HQ did not take the grants: {report:?}");
    let trust = enroller.sync.trust().as_ref().clone();
    let frontier: Frontier = enroller.frontier();
    enroller.sync.shutdown().await;
    Ok(Beginning {
        peer: Some((hq.id.parse()?, hq.sync)),
        ..Beginning::new(key, trust, frontier)
    })
}

/// Connects one after the other, some at a time; ends early when the machine carries no more.
async fn connect(beginning: &Beginning, peers: u16) -> anyhow::Result<Vec<Member>> {
    let mut crowd: Vec<Member> = Vec::new();
    let numbers: Vec<u16> = (1..=peers).collect();
    for chunk in numbers.chunks(AT_ONCE) {
        let arriving = chunk.iter().map(|number| async {
            let key = library::key(*number);
            let (trust, frontier) = (beginning.trust.clone(), beginning.frontier.clone());
            let member = Member::start(Beginning {
                peer: beginning.peer,
                ..Beginning::new(key, trust, frontier)
            })
            .await?;
            member.until_live().await?;
            anyhow::Ok(member)
        });
        let mut failed = None;
        for arrived in futures::future::join_all(arriving).await {
            match arrived {
                Ok(member) => crowd.push(member),
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            println!("  {} connections, then: {error:#}", crowd.len());
            break;
        }
    }
    anyhow::ensure!(crowd.len() > CHANGES, "HQ carries no crowd");
    Ok(crowd)
}

/// What the deliveries of something took.
struct Delivered {
    cpu: Duration,
    took: Duration,
}

async fn measure(
    hq: &Node,
    crowd: &[Member],
    deliveries: usize,
    what: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<Delivered> {
    let count = || crowd.iter().map(Member::entries).sum::<u64>();
    let goal = count() + deliveries as u64;
    let (started, cpu_before) = (Instant::now(), hq.cpu());
    what.await?;
    crowd[0]
        .until("entries never arrived", || count() >= goal)
        .await?;
    let took = started.elapsed();
    // Acknowledgements are on their way still.
    tokio::time::sleep(Duration::from_millis(500)).await;
    Ok(Delivered {
        cpu: hq.cpu() - cpu_before,
        took,
    })
}

fn note(report: &mut Report, what: &str, seen: &Delivered, deliveries: usize) {
    report.row(
        format!("CPU at HQ a delivered entry, {what}"),
        format!("{:.1} µs", ms(seen.cpu) * 1e3 / deliveries as f64),
    );
    report.row(
        format!("deliveries, {what}"),
        format!(
            "{} in {:.1} s",
            thousands(deliveries as f64),
            seen.took.as_secs_f64()
        ),
    );
    report.line(json!({
        "what": what,
        "deliveries": deliveries,
        "cpu_ms": seen.cpu.as_millis() as u64,
        "took_ms": seen.took.as_millis() as u64,
    }));
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn mb(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
