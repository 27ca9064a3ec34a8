//! Many documents edited on two sides apart, and automerge-repo with the same work.
//!
//! Muster's side is that of `sync`, with more documents: two processes over loopback, every entry signed, checked and
//! committed with fsync. automerge-repo runs in one process without storage (see `peers/automerge-repo/bench.mjs`), on
//! as many documents as it manages in a bounded time.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::Effort;
use crate::documents::{EDITS, Order};
use crate::report::{Reach, Report, median, thousands};
use crate::sync;

/// Documents on Muster's side.
const DOCUMENTS: [usize; 2] = [2_000, JUDGED];
/// Of so many the issue asks that both have committed within [`TAKEN_MS_MAX`].
const JUDGED: usize = 10_000;
const TAKEN_MS_MAX: f64 = 5_000.0;
/// Documents on automerge-repo's side; it is not asked for more after a number that it did not manage.
const PEER_DOCUMENTS: [usize; 3] = [500, 1_000, 2_000];
/// How long automerge-repo may take for a number of documents, its own preparations included.
const PEER_TIMEOUT_S: u64 = 150;
/// Rounds of each: making and editing ten thousand documents over HTTP takes far longer than the exchange.
const ROUNDS_MAX: usize = 3;

/// # Errors
/// A node does not start, or the nodes never agree.
pub async fn run(effort: Effort) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let quick = effort.quick;
    let mut ours = Vec::new();
    let numbers = match effort.documents {
        Some(documents) => vec![documents],
        None => DOCUMENTS[..if quick { 1 } else { 2 }].to_vec(),
    };
    for documents in numbers {
        let mut times_ms = Vec::new();
        let mut bytes = Vec::new();
        for round in 0..effort.rounds.min(ROUNDS_MAX) {
            let seen = sync::measure(Order::InTurn, documents).await?;
            println!(
                "  {documents} documents, round {round}: {:.0} ms, {} bytes, CPU {} + {} ms",
                seen.taken_ms, seen.passed.bytes, seen.cpu_ms[0], seen.cpu_ms[1]
            );
            report.line(json!({
                "documents": documents,
                "edits_per_document_and_node": EDITS,
                "round": round,
                "until_agreed_ms": seen.taken_ms,
                "wire_bytes": seen.passed.bytes,
                "cpu_ms": seen.cpu_ms,
            }));
            times_ms.push(seen.taken_ms);
            bytes.push(seen.passed.bytes as f64);
        }
        let taken_ms = median(&times_ms);
        let what = format!(
            "{} documents × {EDITS} edits on each of two nodes, until both have committed",
            thousands(documents as f64)
        );
        let shown = format!("{:.2} s", taken_ms / 1e3);
        if documents == JUDGED {
            report.judged(what, shown, taken_ms, Reach::AtMost(TAKEN_MS_MAX), "5.0 s");
        } else {
            report.row(what, shown);
        }
        report.row(
            format!("UDP payload for that, both directions, an edit ({documents} documents)"),
            format!("{:.0} B", median(&bytes) / (2 * documents * EDITS) as f64),
        );
        ours.push((documents, taken_ms));
    }
    if effort.documents.is_some() {
        // Whoever asks for a number wants to see this program with it.
        return Ok(report);
    }
    let theirs = peer(&mut report, quick).await?;
    compare(&mut report, &ours, &theirs);
    Ok(report)
}

/// What automerge-repo took, for each number of documents that it managed.
async fn peer(report: &mut Report, quick: bool) -> anyhow::Result<Vec<(usize, f64)>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/automerge-repo");
    let mut theirs = Vec::new();
    if let Some(why) = missing(&directory) {
        println!("  SKIPPED automerge-repo: {why}");
        report.note(format!("automerge-repo was not measured: {why}"));
        return Ok(theirs);
    }
    for documents in PEER_DOCUMENTS.into_iter().take(if quick { 1 } else { 3 }) {
        let script = directory.clone();
        let seen = tokio::task::spawn_blocking(move || measure_peer(script, documents)).await??;
        println!("  automerge-repo: {seen}");
        let took_ms = seen["until_equal_ms"].as_f64();
        let what = format!(
            "automerge-repo 2.5.6, {} documents × {EDITS} edits a side, one process, nothing stored",
            thousands(documents as f64)
        );
        let mut line = json!({"peer": "automerge-repo 2.5.6"});
        if let (Value::Object(line), Value::Object(seen)) = (&mut line, &seen) {
            line.extend(seen.clone());
        }
        report.line(line);
        let Some(took_ms) = took_ms else {
            let why = seen["failed"].as_str().map(str::to_owned);
            report.row(
                what,
                why.unwrap_or_else(|| format!("not within {PEER_TIMEOUT_S} s")),
            );
            break;
        };
        report.row(what, format!("{:.1} s", took_ms / 1e3));
        theirs.push((documents, took_ms));
    }
    Ok(theirs)
}

/// Why automerge-repo cannot be measured here, if so.
fn missing(directory: &Path) -> Option<String> {
    let found = |program: &str| {
        let asked = Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .status();
        asked.is_ok_and(|status| status.success())
    };
    if !found("node") {
        return Some("node is missing: install Node.js 20 or newer".to_owned());
    }
    let installed = directory.join("node_modules/@automerge/automerge-repo");
    (!installed.exists()).then(|| {
        "its npm packages are missing: npm --prefix tests/bench/peers/automerge-repo ci".to_owned()
    })
}

fn measure_peer(directory: PathBuf, documents: usize) -> anyhow::Result<Value> {
    let output = Command::new("node")
        .arg(directory.join("bench.mjs"))
        .args([documents, EDITS].map(|number| number.to_string()))
        .arg(PEER_TIMEOUT_S.to_string())
        .stdin(Stdio::null())
        .output()
        .context("start node")?;
    if !output.status.success() {
        // More documents than it manages: an answer, as running out of time is.
        let said = String::from_utf8_lossy(&output.stderr);
        let error = said.lines().find(|line| line.contains("Error: "));
        let error = error.unwrap_or("bench.mjs failed").trim();
        return Ok(json!({"documents": documents, "edits": EDITS, "failed": error}));
    }
    let text = String::from_utf8(output.stdout)?;
    let line = text.lines().last().context("bench.mjs said nothing")?;
    serde_json::from_str(line).with_context(|| format!("bench.mjs said {line:?}"))
}

/// Ratios of the same run: the same number of documents, and the most of each by the document.
fn compare(report: &mut Report, ours: &[(usize, f64)], theirs: &[(usize, f64)]) {
    for (documents, took_ms) in theirs {
        if let Some((_, ours_ms)) = ours.iter().find(|(count, _)| count == documents) {
            report.row(
                format!("automerge-repo against Muster, {documents} documents"),
                format!("{:.0} ×", took_ms / ours_ms),
            );
        }
    }
    if let (Some((our_count, our_ms)), Some((their_count, their_ms))) = (ours.last(), theirs.last())
    {
        let ratio = (their_ms / *their_count as f64) / (our_ms / *our_count as f64);
        report.row(
            format!(
                "automerge-repo with {their_count} against Muster with {our_count}, a document"
            ),
            format!("{ratio:.0} ×"),
        );
    }
}
