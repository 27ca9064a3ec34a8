//! How many readings a second are acknowledged after the commit, and how long one waits for it.
//!
//! Mosquitto gets the same load from the same generator, in turn; it stores nothing, decodes nothing, and has no
//! subscriber. So does a sink that only acknowledges, which shows what the generator can do. After the last round 1,000
//! acknowledged values are read back through the API.

use std::time::Duration;

use anyhow::Context as _;

use super::load::{self, Plan};
use super::{Measured, Times, approve, read_back, sink};
use crate::Effort;
use crate::api::Api;
use crate::child::{Mosquitto, Node};
use crate::report::{Reach, Report, median, thousands};

const RATE_MIN: f64 = 100_000.0;
const PACED: f64 = 50_000.0;
const READ_BACK: usize = 1000;

/// # Errors
/// The node or Mosquitto does not start, refuses, or loses something.
pub async fn run(effort: Effort) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let directory = tempfile::tempdir()?;
    let node = Node::start(&directory.path().join("node"), &[])?;
    let api = Api::sign_in(node.http).await?;
    approve(&api, 10, 20).await?;
    let mosquitto = Mosquitto::start(directory.path())?;
    let mut times = Times::new();
    let mut plan = |rate: Option<f64>, seconds: u64| {
        Plan::of_ten(Duration::from_secs(seconds), rate, times.next())
    };

    // Both warm up: caches, allocators, the first growth of files.
    Measured::node(&node, plan(None, 1)).await?;
    if let Some(mosquitto) = &mosquitto {
        load::run(mosquitto.mqtt, plan(None, 1))
            .await
            .context("mosquitto")?;
    }
    let (mut ours, mut theirs, mut cores) = (Vec::new(), Vec::new(), Vec::new());
    let mut generator = Vec::new();
    let mut last = None;
    for round in 0..effort.rounds {
        // Who goes first alternates, so that a drift of the machine hits both.
        let (first, second) = (plan(None, effort.seconds), plan(None, effort.seconds));
        let (used, mine, other) = if round % 2 == 0 {
            let mine = Measured::node(&node, first).await?;
            (first, mine, of_mosquitto(mosquitto.as_ref(), second).await?)
        } else {
            let other = of_mosquitto(mosquitto.as_ref(), first).await?;
            (second, Measured::node(&node, second).await?, other)
        };
        report.line(mine.line("muster", round));
        ours.push(mine.per_second());
        cores.push(mine.cores);
        generator.push(mine.generator_cores());
        last = Some((used, mine));
        if let Some(other) = other {
            report.line(other.line("mosquitto", round));
            theirs.push(other.per_second());
        }
    }
    let paced = Measured::node(&node, plan(Some(PACED), effort.seconds)).await?;
    report.line(paced.line("muster at 50,000/s", 0));
    let (used, full) = last.context("no round was run")?;
    let read = read_back::after(&api, &used, &full.outcome).await?;
    let of_sink = load::run(sink::start()?, plan(None, effort.seconds)).await?;
    let of_sink = Measured {
        outcome: of_sink,
        cores: 0.0,
    };
    report.line(of_sink.line("sink", 0));

    report.judged(
        "readings/s acknowledged after commit (median)",
        thousands(median(&ours)),
        median(&ours),
        Reach::AtLeast(RATE_MIN),
        thousands(RATE_MIN),
    );
    report.row("  CPU of the node, cores", format!("{:.2}", median(&cores)));
    report.row(
        "  publish to PUBACK at full rate, p50 / p99 ms",
        format!("{:.1} / {:.1}", full.p50_ms(), full.p99_ms()),
    );
    match &mosquitto {
        Some(mosquitto) => {
            let ratio = median(&ours) / median(&theirs);
            report.row(
                "Mosquitto, acknowledged, nothing stored (median)",
                thousands(median(&theirs)),
            );
            report.judged(
                "  Muster against Mosquitto",
                format!("{ratio:.2}"),
                ratio,
                Reach::AtLeast(1.0),
                "1.0",
            );
            report.note(format!(
                "Mosquitto's configuration: {}",
                mosquitto.config.trim().replace('\n', "; ")
            ));
        }
        None => report.note("skipped: Mosquitto is not installed (apt-get install mosquitto)"),
    }
    report.row(
        "the generator against a sink that only acknowledges",
        thousands(of_sink.per_second()),
    );
    report.row(
        "  its own CPU against the node (the sink), cores of 1",
        format!(
            "{:.2} ({:.2})",
            median(&generator),
            of_sink.generator_cores()
        ),
    );
    report.row("at 50,000/s: acknowledged/s", thousands(paced.per_second()));
    report.row(
        "  publish to PUBACK p50 ms",
        format!("{:.1}", paced.p50_ms()),
    );
    report.judged(
        "  publish to PUBACK p99 ms",
        format!("{:.1}", paced.p99_ms()),
        paced.p99_ms(),
        Reach::AtMost(50.0),
        "50",
    );
    report.judged(
        "acknowledged values read back through the API",
        thousands(read as f64),
        read as f64,
        Reach::AtLeast(READ_BACK as f64),
        thousands(READ_BACK as f64),
    );
    report.row(
        "memory after it, MB",
        format!("{:.0}", node.resident_bytes() as f64 / 1e6),
    );
    node.stop();
    Ok(report)
}

async fn of_mosquitto(
    mosquitto: Option<&Mosquitto>,
    plan: Plan,
) -> anyhow::Result<Option<Measured>> {
    let Some(mosquitto) = mosquitto else {
        return Ok(None);
    };
    let before = mosquitto.cpu();
    let outcome = load::run(mosquitto.mqtt, plan).await.context("mosquitto")?;
    let cores = (mosquitto.cpu() - before).as_secs_f64() / outcome.elapsed.as_secs_f64();
    Ok(Some(Measured { outcome, cores }))
}
