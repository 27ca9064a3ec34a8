//! How long two nodes need to agree after people edited the same documents on both while the link was down.
//!
//! The clock runs from the first datagram that passes the healed link (so the handshake counts, the pause between dials
//! does not: that is random by design) to the moment at which both nodes have committed, applied and acknowledged
//! everything.

use anyhow::Context as _;
use serde_json::json;

use crate::documents::{self, EDITS, Order, Side};
use crate::pair::Pair;
use crate::relay::Passed;
use crate::report::{Reach, Report, median, thousands};
use crate::{Effort, child};

/// Documents that both sides edit.
const DOCUMENTS: usize = 1_000;

/// Measures as often as `effort` says, each time from new data directories.
///
/// # Errors
/// A node does not start, or they never agree.
pub async fn run(effort: Effort) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let documents = effort.documents.unwrap_or(DOCUMENTS);
    for (order, words) in [
        (Order::InTurn, "document by document"),
        (Order::Mixed, "all mixed"),
    ] {
        let (mut times_ms, mut bytes, mut datagrams) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..effort.rounds {
            let Measured {
                taken_ms,
                passed,
                cpu_ms,
            } = measure(order, documents).await?;
            report.line(json!({
                "order": words,
                "round": round,
                "documents": documents,
                "edits_per_document_and_node": EDITS,
                "until_agreed_ms": taken_ms,
                "wire_bytes": passed.bytes,
                "wire_datagrams": passed.datagrams,
                "cpu_ms": cpu_ms,
            }));
            println!(
                "  {words}, round {round}: {taken_ms:.0} ms, {} bytes in {} datagrams, CPU {} + {} ms",
                passed.bytes, passed.datagrams, cpu_ms[0], cpu_ms[1]
            );
            times_ms.push(taken_ms);
            bytes.push(passed.bytes as f64);
            datagrams.push(passed.datagrams as f64);
        }
        let what = format!(
            "{documents} documents × {EDITS} edits on each of two nodes, {words}, until both have committed"
        );
        let taken_ms = median(&times_ms);
        let shown = format!("{taken_ms:.0} ms");
        if documents == DOCUMENTS {
            let reach = Reach::AtMost(1_000.0);
            report.judged(what, shown, taken_ms, reach, "1,000 ms");
        } else {
            report.row(what, shown);
        }
        report.row(
            format!("UDP payload for that ({words}), both directions"),
            format!(
                "{} bytes in {} datagrams",
                thousands(median(&bytes)),
                thousands(median(&datagrams))
            ),
        );
    }
    report.note(
        "From the first datagram over the healed link; looked at every 10 ms, so up to 10 ms late.",
    );
    Ok(report)
}

/// One exchange.
pub struct Measured {
    pub taken_ms: f64,
    pub passed: Passed,
    /// Of HQ and of the field node, while they exchanged.
    pub cpu_ms: [u64; 2],
}

/// Two new nodes with `documents` documents, edited on both sides while apart, until they agree again.
///
/// # Errors
/// A node does not start, or they never agree.
pub async fn measure(order: Order, documents: usize) -> anyhow::Result<Measured> {
    let directory = tempfile::tempdir()?;
    let pair = Pair::start(directory.path()).await?;
    let mut on_hq = documents::create(&pair.hq_api, documents).await?;
    pair.until_level().await?;
    let mut on_field = on_hq.clone();

    let pair = pair.part().await?;
    documents::edit(&pair.hq_api, &mut on_hq, Side::Hq, order, EDITS).await?;
    documents::edit(&pair.field_api, &mut on_field, Side::Field, order, EDITS).await?;

    let cpu = || [pair.hq.cpu(), pair.field.cpu()];
    let cpu_before = cpu();
    pair.relay.heal();
    // Ends the pause before the next dial, as a person would.
    let mut asked = child::background(&pair.field.data_dir, &["sync"])?;
    let level = pair.until_level().await?;
    let (passed, cpu_after) = (pair.relay.passed(), cpu());
    let _ = asked.wait();
    let first = passed.first.context("nothing passed the relay")?;

    let conflicts = pair.hq_api.all("/v1/conflicts?state=open").await?.len();
    anyhow::ensure!(
        conflicts == 2 * documents,
        "{conflicts} conflicts instead of {}",
        2 * documents
    );
    let cpu_ms = [0, 1].map(|node| (cpu_after[node] - cpu_before[node]).as_millis() as u64);
    Ok(Measured {
        taken_ms: level.duration_since(first).as_secs_f64() * 1e3,
        passed,
        cpu_ms,
    })
}
