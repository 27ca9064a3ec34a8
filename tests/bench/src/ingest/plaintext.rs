//! What encryption costs: the same load on the shipped program and on one that was built without SQLCipher for this
//! measurement (`--features measure-plaintext`), which no other build has.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::load::Plan;
use super::{Measured, Times, approve};
use crate::Effort;
use crate::api::Api;
use crate::child::{self, Node};
use crate::report::{Report, median, thousands};

/// Names the program without encryption where it was built before; otherwise it is built, which takes minutes.
const BUILT: &str = "BENCH_PLAINTEXT_BIN";

/// # Errors
/// The program cannot be built, or a node does not start.
pub async fn run(effort: Effort) -> anyhow::Result<Report> {
    let directory = tempfile::tempdir()?;
    let start = |name: &str, program: &Path| -> anyhow::Result<Node> {
        Node::start_as(program, &directory.path().join(name), &[], &[])
    };
    let sides = [
        ("encrypted", start("encrypted", &child::muster()?)?),
        ("plain", start("plain", &build()?)?),
    ];
    ensure!(
        is_plain(&sides[1].1.data_dir)? && !is_plain(&sides[0].1.data_dir)?,
        "the wrong files are encrypted"
    );
    let mut times = Times::new();
    for (_, node) in &sides {
        approve(&Api::sign_in(node.http).await?, 10, 20).await?;
        let warm = Plan::of_ten(Duration::from_secs(1), None, times.next());
        Measured::node(node, warm).await?;
    }
    let mut report = Report::default();
    let mut seen = [(Vec::new(), Vec::new()), (Vec::new(), Vec::new())];
    for round in 0..effort.rounds {
        for turn in 0..sides.len() {
            // Who goes first alternates.
            let side = (round + turn) % sides.len();
            let (name, node) = &sides[side];
            let plan = Plan::of_ten(Duration::from_secs(effort.seconds), None, times.next());
            let measured = Measured::node(node, plan).await?;
            report.line(measured.line(name, round));
            seen[side].0.push(measured.per_second());
            seen[side]
                .1
                .push(measured.cores / measured.per_second() * 1e6);
        }
    }
    for ((name, _), (rates, costs)) in sides.iter().zip(&seen) {
        report.row(
            format!("{name}: readings/s acknowledged (median)"),
            thousands(median(rates)),
        );
        report.row(
            "  CPU of the node a reading, µs",
            format!("{:.2}", median(costs)),
        );
    }
    report.row(
        "encrypted against plain",
        format!("{:.2}", median(&seen[0].0) / median(&seen[1].0)),
    );
    for (_, node) in sides {
        node.stop();
    }
    Ok(report)
}

fn build() -> anyhow::Result<PathBuf> {
    if let Some(program) = std::env::var_os(BUILT) {
        return Ok(program.into());
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = workspace.join("target/measure-plaintext");
    println!("  building a program without encryption: minutes the first time");
    let status = Command::new("cargo")
        .current_dir(&workspace)
        .args(["build", "--release", "--package", "node", "--bin", "muster"])
        .args(["--features", "measure-plaintext", "--target-dir"])
        .arg(&target)
        .status()
        .context("start cargo")?;
    ensure!(status.success(), "cargo build: {status}");
    Ok(target.join("release/muster"))
}

/// Whether readings.db can be read by anybody.
fn is_plain(data_dir: &Path) -> anyhow::Result<bool> {
    let bytes = std::fs::read(data_dir.join("readings.db"))?;
    Ok(bytes.starts_with(b"SQLite format 3"))
}
