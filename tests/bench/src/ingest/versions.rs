//! MQTT 5 beside 3.1.1: the same load, in turn.

use std::time::Duration;

use super::load::{Plan, Version};
use super::{Measured, Times, approve};
use crate::Effort;
use crate::api::Api;
use crate::child::Node;
use crate::report::{Report, median, percentile, thousands};

/// # Errors
/// The node does not start, or breaks the protocol.
pub async fn run(effort: Effort) -> anyhow::Result<Report> {
    let directory = tempfile::tempdir()?;
    let node = Node::start(&directory.path().join("node"), &[])?;
    let api = Api::sign_in(node.http).await?;
    approve(&api, 10, 20).await?;
    let mut times = Times::new();
    let mut plan = |version, seconds| Plan {
        version,
        ..Plan::of_ten(Duration::from_secs(seconds), None, times.next())
    };
    Measured::node(&node, plan(Version::V3, 1)).await?;
    let mut report = Report::default();
    let (mut older, mut newer, mut p99) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..effort.rounds {
        let order = if round % 2 == 0 {
            [Version::V3, Version::V5]
        } else {
            [Version::V5, Version::V3]
        };
        for version in order {
            let measured = Measured::node(&node, plan(version, effort.seconds)).await?;
            report.line(measured.line(&format!("{version:?}"), round));
            match version {
                Version::V3 => older.push(measured.per_second()),
                Version::V5 => {
                    newer.push(measured.per_second());
                    p99.push(percentile(&measured.outcome.latencies_ms, 99.0));
                }
            }
        }
    }
    report.row(
        "readings/s acknowledged, MQTT 3.1.1 (median)",
        thousands(median(&older)),
    );
    report.row("  MQTT 5 (median)", thousands(median(&newer)));
    report.row(
        "  5 against 3.1.1",
        format!("{:.2}", median(&newer) / median(&older)),
    );
    report.row(
        "  MQTT 5, publish to PUBACK p99 ms (median)",
        format!("{:.1}", median(&p99)),
    );
    node.stop();
    Ok(report)
}
