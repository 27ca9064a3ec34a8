//! A thousand connections with a reading every fiftieth of a second each: who waits how long, and what a connection takes.

use std::time::Duration;

use serde_json::json;

use super::load::Plan;
use super::{Measured, Times, approve, until_evaluated};
use crate::Effort;
use crate::api::Api;
use crate::child::{Node, raise_open_files};
use crate::report::{Reach, Report, thousands};

const CONNECTIONS: usize = 1_000;
const CONNECTIONS_QUICK: usize = 200;
const RATE: f64 = 50_000.0;
const SECONDS: u64 = 60;
const SECONDS_QUICK: u64 = 5;
const P99_MS_MAX: f64 = 50.0;
/// Less than this share of the rate means that somebody waited.
const SHARE_MIN: f64 = 0.99;

/// # Errors
/// The node refuses a connection, or breaks the protocol.
pub async fn run(effort: Effort) -> anyhow::Result<Report> {
    let (connections, seconds) = if effort.quick {
        (CONNECTIONS_QUICK, SECONDS_QUICK)
    } else {
        (CONNECTIONS, SECONDS)
    };
    let mut report = Report::default();
    // The node inherits it.
    raise_open_files(8_192)?;
    let directory = tempfile::tempdir()?;
    let node = Node::start(&directory.path().join("node"), &[])?;
    let api = Api::sign_in(node.http).await?;
    approve(&api, connections, 1).await?;
    let mut times = Times::new();
    let plan = |rate, seconds, first_at_ms| Plan {
        connections,
        series: 1,
        ..Plan::of_ten(Duration::from_secs(seconds), Some(rate), first_at_ms)
    };
    // One connection more or less is seen in memory only when the rest of it has filled up.
    let ten = Plan {
        connections: 10,
        ..plan(RATE, seconds.min(10), times.next())
    };
    Measured::node(&node, ten).await?;
    let before = node.memory();
    let mut highest = 0;
    let measure = Measured::node(&node, plan(RATE, seconds, times.next()));
    let watch = async {
        loop {
            highest = highest.max(node.resident_bytes());
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let measured = tokio::select! {
        measured = measure => measured?,
        () = watch => anyhow::bail!("it never ends"),
    };
    until_evaluated(&api).await?;

    let per_second = measured.per_second();
    report.judged(
        format!(
            "{connections} connections at {}/s in all: acknowledged/s",
            thousands(RATE)
        ),
        thousands(per_second),
        per_second,
        Reach::AtLeast(RATE * SHARE_MIN),
        thousands(RATE * SHARE_MIN),
    );
    report.row(
        "  publish to PUBACK p50 ms",
        format!("{:.1}", measured.p50_ms()),
    );
    report.judged(
        "  publish to PUBACK p99 ms",
        format!("{:.1}", measured.p99_ms()),
        measured.p99_ms(),
        Reach::AtMost(P99_MS_MAX),
        format!("{P99_MS_MAX:.0}"),
    );
    report.row("  CPU of the node, cores", format!("{:.2}", measured.cores));
    report.row(
        "  CPU of the generator, cores of 1",
        format!("{:.2}", measured.generator_cores()),
    );
    let more = highest.saturating_sub(before.resident_bytes);
    report.row(
        "memory with ten connections; highest; a connection",
        format!(
            "{:.0} MB; {:.0} MB; {:.0} kB",
            before.resident_bytes as f64 / 1e6,
            highest as f64 / 1e6,
            more as f64 / 1e3 / (connections - 10) as f64
        ),
    );
    report.line(measured.line("muster", 0));
    report.line(json!({"rss_before_bytes": before.resident_bytes, "rss_highest_bytes": highest}));
    node.stop();
    Ok(report)
}
