//! Memory of a node that holds 10,000 documents: while it works, when the work is done, and after a restart.
//!
//! RSS counts every page that is mapped and present, the program's own code among them; PSS counts shared pages by
//! share. Both are from /proc and both are printed.

use std::time::Duration;

use serde_json::json;

use crate::Effort;
use crate::api::Api;
use crate::child::{Memory, Node};
use crate::documents::{self, EDITS, Order, Side};
use crate::report::{Reach, Report};

const DOCUMENTS: usize = 10_000;

/// What a restarted node may take that nobody uses.
const IDLE_BYTES_MAX: f64 = 80e6;
/// Without requests for so long, a node counts as idle.
const IDLE: Duration = Duration::from_secs(5);

/// Lists that are read after the restart: what a page asks for when somebody signs in.
const PAGE_PATHS: [&str; 6] = [
    "/v1/status",
    "/v1/incidents?limit=100",
    "/v1/incidents?limit=100&status=active",
    "/v1/conflicts?state=open",
    "/v1/devices",
    "/v1/peers",
];

/// # Errors
/// The node does not start, or refuses a request.
pub async fn run(effort: Effort) -> anyhow::Result<Report> {
    let edits = if effort.quick { 1 } else { EDITS };
    let mut report = Report::default();
    let directory = tempfile::tempdir()?;
    let data_dir = directory.path().join("node");
    let node = Node::start(&data_dir, &[])?;
    let api = Api::sign_in(node.http).await?;
    note(&mut report, "started, empty", node.memory(), None);
    let mut documents = documents::create(&api, DOCUMENTS).await?;
    documents::edit(&api, &mut documents, Side::Hq, Order::Mixed, edits).await?;
    anyhow::ensure!(
        api.all("/v1/incidents").await?.len() == DOCUMENTS,
        "documents are missing"
    );
    let loaded = node.memory();
    note(&mut report, "at the end of the workload", loaded, None);
    report.row("highest during the workload", mb(loaded.peak_bytes));
    tokio::time::sleep(IDLE).await;
    note(&mut report, "idle after the workload", node.memory(), None);
    node.stop();

    let node = Node::start(&data_dir, &["--no-found"])?;
    tokio::time::sleep(IDLE).await;
    note(
        &mut report,
        "restarted, idle",
        node.memory(),
        Some(IDLE_BYTES_MAX),
    );
    let api = Api::sign_in(node.http).await?;
    for path in PAGE_PATHS {
        api.get(path).await?;
    }
    tokio::time::sleep(IDLE).await;
    note(
        &mut report,
        "restarted, a page was opened, idle",
        node.memory(),
        Some(IDLE_BYTES_MAX),
    );
    anyhow::ensure!(
        api.all("/v1/incidents").await?.len() == DOCUMENTS,
        "documents are missing"
    );
    tokio::time::sleep(IDLE).await;
    note(
        &mut report,
        "restarted, all 10,000 were listed, idle",
        node.memory(),
        Some(IDLE_BYTES_MAX),
    );
    report.note(format!(
        "{DOCUMENTS} incidents, {} entries; MB is 10^6 bytes.",
        DOCUMENTS * (1 + edits)
    ));
    Ok(report)
}

fn note(report: &mut Report, what: &str, memory: Memory, bytes_max: Option<f64>) {
    let words = format!("RSS (PSS) {what}");
    let resident = memory.resident_bytes;
    let shown = format!("{} ({})", mb(resident), mb(memory.proportional_bytes));
    match bytes_max {
        Some(bound) => {
            let target = format!("{:.0} MB", bound / 1e6);
            report.judged(words, shown, resident as f64, Reach::AtMost(bound), target);
        }
        None => report.row(words, shown),
    }
    report.line(json!({
        "when": what,
        "rss_bytes": memory.resident_bytes,
        "pss_bytes": memory.proportional_bytes,
        "rss_peak_bytes": memory.peak_bytes,
        "rss_anonymous_bytes": memory.anonymous_bytes,
    }));
}

fn mb(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
