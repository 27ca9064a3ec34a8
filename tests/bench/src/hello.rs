//! What two nodes say before they exchange anything: bytes of greetings and frontiers, and how soon the first entry
//! leaves.
//!
//! Real engines in memory, and at the end two real processes. Bytes are those of frames; QUIC adds some 20 to a packet, and a length of 4 to a frame. The
//! round trip is the engines' own: a connection over QUIC costs one more before it.

use std::time::Duration;

use serde_json::json;
use sync_engine::{Lane, Limits};

use crate::api::metric;
use crate::engines::{self, Contact, Engines};
use crate::library;
use crate::pair::Pair;
use crate::report::{Reach, Report, thousands};
use crate::{Effort, child, documents};

/// Authors of the frontier that DESIGN §10 names.
const AUTHORS: u16 = 100;
/// Lives of each: a node starts another after a restore, or on another machine.
const INCARNATIONS: u64 = 3;
/// Lanes that a field node writes all the time.
const LANES: [Lane; 3] = [Lane::Life, Lane::Coordination, Lane::Summary];
/// Entries of each log, so that heights have the length that they have after some weeks.
const ENTRIES: [u64; 2] = [3, 300];

/// Of the real processes.
const PROCESS_DOCUMENTS: usize = 500;
/// Two nodes agree on what both hold once nothing has moved for a while.
const UNTIL_MARKED: Duration = Duration::from_secs(5);

/// # Errors
/// A node does not start, or two engines do not come to agree.
pub async fn run(_: Effort) -> anyhow::Result<Report> {
    let mut report = Report::default();
    for entries_per_log in ENTRIES {
        let mut engines = world(entries_per_log)?;
        let documents = u64::from(AUTHORS) * INCARNATIONS * LANES.len() as u64 * entries_per_log;
        let about = format!("{} entries", thousands(documents as f64));

        let first = engines.meet(0, 1)?;
        anyhow::ensure!(
            first.run_bytes == 0,
            "both hold the same, and something moved"
        );
        let whole = first.greeting_bytes.into_iter().max().unwrap_or(0);
        let row = format!(
            "whole frontier, {AUTHORS} authors × {INCARNATIONS} incarnations × {} lanes, {about}",
            LANES.len()
        );
        report.judged(
            row,
            bytes(whole),
            whole as f64,
            Reach::AtMost(8_192.0),
            "8,192 B",
        );
        record(&mut report, "never met", entries_per_log, &first);

        let again = engines.meet(1, 0)?;
        let hello = again.hello_bytes.into_iter().max().unwrap_or(0);
        let row = format!("greeting of nodes that met before, nothing changed, {about}");
        report.judged(
            row,
            bytes(hello),
            hello as f64,
            Reach::AtMost(200.0),
            "200 B",
        );
        record(&mut report, "met before", entries_per_log, &again);

        for changed in [1, 10] {
            for number in 0..changed {
                let entries = vec![library::small_entry(1, entries_per_log + number)?];
                // In turns on both sides, and there in another lane each.
                let at = usize::from(number % 2 == 1);
                engines.commit(at, LANES[(number / 2) as usize % LANES.len()], entries)?;
            }
            let after = engines.meet(0, 1)?;
            let hello = after.hello_bytes.into_iter().max().unwrap_or(0);
            let row = format!("the same after {changed} entries were written, {about}");
            // The changes may come on top; they need not.
            let target = "200 B + changes";
            report.judged(
                row,
                bytes(hello),
                hello as f64,
                Reach::AtMost(200.0),
                target,
            );
            record(&mut report, "changed", entries_per_log, &after);
            let trips = after
                .first_run_step
                .map_or(f64::NAN, |step| step as f64 / 2.0);
            if changed == 10 {
                report.judged(
                    format!("round trips until the first run leaves, {about}"),
                    format!("{trips}"),
                    trips,
                    Reach::AtMost(1.0),
                    "1",
                );
            }
        }
    }
    report
        .note("Real engines in memory; the larger of the two sides' frames on the control stream.");
    processes(&mut report).await?;
    Ok(report)
}

/// Two real processes that met before: all frames that both send until each knows that the other lacks nothing.
async fn processes(report: &mut Report) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let pair = Pair::start(directory.path()).await?;
    documents::create(&pair.hq_api, PROCESS_DOCUMENTS).await?;
    pair.until_level().await?;
    tokio::time::sleep(UNTIL_MARKED).await;
    let pair = pair.part().await?;
    let sent_before = sent(&pair).await?;
    pair.relay.heal();
    let mut asked = child::background(&pair.field.data_dir, &["sync"])?;
    pair.until_level().await?;
    let (frames, passed) = (sent(&pair).await? - sent_before, pair.relay.passed());
    let _ = asked.wait();
    let about = format!("{PROCESS_DOCUMENTS} documents, nothing changed");
    report.judged(
        format!("frames of two real processes that meet again, {about}, a side"),
        bytes((frames / 2.0) as usize),
        frames / 2.0,
        Reach::AtMost(200.0),
        "200 B",
    );
    report.row(
        "the same as UDP payload, both directions, handshake and padding included",
        bytes(passed.bytes as usize),
    );
    report.line(json!({
        "contact": "real processes, met before",
        "documents": PROCESS_DOCUMENTS,
        "frame_bytes": frames,
        "wire_bytes": passed.bytes,
        "wire_datagrams": passed.datagrams,
    }));
    Ok(())
}

/// Bytes of frames that both have sent since they were started.
async fn sent(pair: &Pair) -> anyhow::Result<f64> {
    let name = "muster_sync_bytes_total{direction=\"sent\"}";
    Ok(metric(pair.hq.http, name).await? + metric(pair.field.http, name).await?)
}

/// Two nodes of an operation, both with all that a hundred authors have written in three lives each.
fn world(entries_per_log: u64) -> anyhow::Result<Engines> {
    let mut engines = Engines::default();
    let trust = engines::found(&mut engines.library, AUTHORS)?;
    for number in 0..AUTHORS {
        let key = library::key(number);
        let node = library::node_of(&key);
        for life in 0..INCARNATIONS {
            // Random numbers in the real program; the last life is the one in which the node writes now.
            let incarnation = engines::incarnation_of(node).rotate_left(life as u32 * 7);
            for lane in LANES {
                let entries = (0..entries_per_log)
                    .map(|n| library::small_entry(u64::from(number), n))
                    .collect::<anyhow::Result<Vec<_>>>()?;
                let log = library::log_of(node, incarnation, lane);
                engines.library.append(log, entries, &key);
            }
        }
    }
    for number in 0..2 {
        engines.add(library::key(number), trust.clone(), Limits::default());
    }
    Ok(engines)
}

fn record(report: &mut Report, what: &str, entries_per_log: u64, contact: &Contact) {
    report.line(json!({
        "contact": what,
        "entries_per_log": entries_per_log,
        "hello_bytes": contact.hello_bytes,
        "greeting_bytes": contact.greeting_bytes,
        "bytes": contact.bytes,
        "run_bytes": contact.run_bytes,
        "first_run_after_round_trips": contact.first_run_step.map(|step| step as f64 / 2.0),
        "round_trips": contact.steps as f64 / 2.0,
    }));
}

fn bytes(count: usize) -> String {
    format!("{} B", thousands(count as f64))
}
