//! What a memory card is written on for ten readings a second, and what sparing it costs: two nodes beside each other with
//! `storage = "disk"` and `"sd-card"`, each on a file system of its own, whose device is counted.

use std::time::Duration;

use serde_json::json;

use super::device::Device;
use crate::Effort;
use crate::api::Api;
use crate::child::{Node, muster};
use crate::ingest::load::Plan;
use crate::ingest::{Measured, Times, approve};
use crate::report::{Reach, Report, percentile};

const SECONDS: u64 = 600;
const SECONDS_QUICK: u64 = 30;
/// What a new node writes is not what a day of it is made of.
const WARM_SECONDS: u64 = 20;
const WARM_SECONDS_QUICK: u64 = 3;
/// Ten sensors that send once a second.
const SENSORS: usize = 10;
const DEVICE_MEBIBYTES: u64 = 512;
const SECONDS_A_DAY: f64 = 86_400.0;
const GB_A_DAY_MAX: f64 = 1.0;

struct Side {
    storage: &'static str,
    node: Node,
    device: Device,
}

/// # Errors
/// A node does not start, or refuses.
pub async fn run(effort: Effort) -> anyhow::Result<Report> {
    let (warm, seconds) = if effort.quick {
        (WARM_SECONDS_QUICK, SECONDS_QUICK)
    } else {
        (WARM_SECONDS, SECONDS)
    };
    let mut report = Report::default();
    let directory = tempfile::tempdir()?;
    let mut sides = Vec::new();
    for storage in ["sd-card", "disk"] {
        let Some(device) = Device::make(directory.path(), storage, DEVICE_MEBIBYTES)? else {
            report.note("skipped: this process may not mount, or mkfs.ext4 is missing");
            return Ok(report);
        };
        let data_dir = device.path().join("node");
        let environment = [("MUSTER_STORAGE", storage)];
        let node = Node::start_as(&muster()?, &data_dir, &[], &environment)?;
        approve(&Api::sign_in(node.http).await?, SENSORS, 1).await?;
        sides.push(Side {
            storage,
            node,
            device,
        });
    }
    let mut times = Times::new();
    let first = times.next();
    let warmed = sides.iter().map(|side| measure(side, warm, first));
    futures::future::try_join_all(warmed).await?;
    let second = times.next();
    let measured = sides.iter().map(|side| measure(side, seconds, second));
    let measured = futures::future::try_join_all(measured).await?;
    for (side, (measured, written)) in sides.iter().zip(measured) {
        let gb_a_day = written as f64 * SECONDS_A_DAY / seconds as f64 / 1e9;
        let what = format!(
            "storage = \"{}\": bytes on the device in {seconds} s as GB a day",
            side.storage
        );
        let shown = format!("{gb_a_day:.2}");
        if side.storage == "sd-card" {
            let target = format!("{GB_A_DAY_MAX:.0}");
            report.judged(what, shown, gb_a_day, Reach::AtMost(GB_A_DAY_MAX), target);
        } else {
            report.row(what, shown);
        }
        let waited = &measured.outcome.latencies_ms;
        report.row(
            "  publish to PUBACK, p50 / p99 / max ms",
            format!(
                "{:.1} / {:.1} / {:.1}",
                measured.p50_ms(),
                measured.p99_ms(),
                percentile(waited, 100.0)
            ),
        );
        report.line(measured.line(side.storage, 0));
        report.line(json!({"storage": side.storage, "written_bytes": written, "seconds": seconds}));
    }
    report.note(format!(
        "{SENSORS} sensors, one reading a second each; the file system's journal is counted too"
    ));
    for side in sides {
        side.node.stop();
    }
    Ok(report)
}

/// A run, and the bytes written for it.
async fn measure(side: &Side, seconds: u64, first_at_ms: i64) -> anyhow::Result<(Measured, u64)> {
    let plan = Plan {
        series: 1,
        sample_every: 1,
        connections: SENSORS,
        ..Plan::of_ten(
            Duration::from_secs(seconds),
            Some(SENSORS as f64),
            first_at_ms,
        )
    };
    let before = side.device.written_bytes()?;
    let measured = Measured::node(&side.node, plan).await?;
    Ok((measured, side.device.written_bytes()? - before))
}
