//! One connection that waits for each acknowledgement: a lone message never waits for a batch. Beside it what the disk
//! takes for an fdatasync of a page at the end of a file, in the same directory.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::load::Plan;
use super::{Measured, Times, approve};
use crate::Effort;
use crate::api::Api;
use crate::child::Node;
use crate::report::{Reach, Report, percentile};

const P50_MS_MAX: f64 = 2.0;
const SYNCS: usize = 1_000;
const PAGE_BYTES: usize = 4_096;

/// # Errors
/// The node does not start, or breaks the protocol.
pub async fn run(effort: Effort) -> anyhow::Result<Report> {
    let directory = tempfile::tempdir()?;
    let node = Node::start(&directory.path().join("node"), &[])?;
    let api = Api::sign_in(node.http).await?;
    approve(&api, 1, 1).await?;
    let mut times = Times::new();
    let mut report = Report::default();
    let plan = |seconds, first_at_ms| Plan {
        connections: 1,
        window: 1,
        series: 1,
        sample_every: 1,
        ..Plan::of_ten(Duration::from_secs(seconds), None, first_at_ms)
    };
    Measured::node(&node, plan(1, times.next())).await?;
    let before = syncs_ms(directory.path())?;
    let measured = Measured::node(&node, plan(effort.seconds, times.next())).await?;
    let after = syncs_ms(directory.path())?;

    report.judged(
        "one connection, window 1: publish to PUBACK p50 ms",
        format!("{:.2}", measured.p50_ms()),
        measured.p50_ms(),
        Reach::AtMost(P50_MS_MAX),
        format!("{P50_MS_MAX:.0}"),
    );
    report.row("  p99 ms", format!("{:.2}", measured.p99_ms()));
    report.row("  acknowledged/s", format!("{:.0}", measured.per_second()));
    for (when, syncs) in [("before", &before), ("after", &after)] {
        report.row(
            format!("fdatasync of an appended page, {when} it, p50 / p99 ms"),
            format!(
                "{:.2} / {:.2}",
                percentile(syncs, 50.0),
                percentile(syncs, 99.0)
            ),
        );
    }
    report.line(measured.line("muster", 0));
    node.stop();
    Ok(report)
}

/// How long the disk takes to have a page.
fn syncs_ms(directory: &Path) -> anyhow::Result<Vec<f64>> {
    let mut file = tempfile::tempfile_in(directory)?;
    let page = [7; PAGE_BYTES];
    let mut took = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        file.write_all(&page)?;
        let began = Instant::now();
        file.sync_data()?;
        took.push(began.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(took)
}
