//! Five minutes at a stated rate, with everything that goes on in them: somebody reads what was acknowledged, rules raise
//! alarms, people write, and the node's memory and files are watched.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use super::load::{self, Ledger, Plan};
use super::{Times, alarms, approve, operators, read_back, until_evaluated};
use crate::Effort;
use crate::api::Api;
use crate::child::Node;
use crate::report::{Reach, Report, percentile, thousands};

const DURATION: Duration = Duration::from_secs(300);
const DURATION_QUICK: Duration = Duration::from_secs(20);
/// Somewhat above what is asked for, so that a slow second is made up for.
const RATE: f64 = 105_000.0;
const RATE_MIN: f64 = 100_000.0;
/// Acknowledged values read meanwhile.
const SAMPLES: u32 = 1_000;
/// How old the newest acknowledged one may be when it is seen.
const AGE_MS_MAX: f64 = 1_000.0;
const ALARMS: u32 = 30;
const ALARM_MS_MAX: f64 = 200.0;
const WRITE_MS_MAX: f64 = 50.0;
/// How often memory and files are looked at.
const LOOK: Duration = Duration::from_secs(10);
const LOOK_QUICK: Duration = Duration::from_secs(1);
/// Before that caches and pools fill up.
const WARM: f64 = 0.2;
/// Memory counts as flat where it would take a quarter of an hour at this slope to grow by 15 MB.
const SLOPE_MB_A_MINUTE_MAX: f64 = 1.0;

/// # Errors
/// The node refuses, or something acknowledged is missing.
pub async fn run(effort: Effort) -> anyhow::Result<Report> {
    let (duration, look) = if effort.quick {
        (DURATION_QUICK, LOOK_QUICK)
    } else {
        (DURATION, LOOK)
    };
    let rate = effort
        .rate
        .map_or(Some(RATE), |rate| (rate > 0.0).then_some(rate));
    let alarms = if effort.quick { ALARMS / 5 } else { ALARMS };
    let directory = tempfile::tempdir()?;
    let node = Node::start(&directory.path().join("node"), &[])?;
    let api = Api::sign_in(node.http).await?;
    approve(&api, 10, 20).await?;
    alarms::prepare(&api, alarms).await?;
    let mut times = Times::new();
    // Each series must be there before it is looked at.
    let warm = Plan::of_ten(Duration::from_millis(500), None, times.next());
    load::run(node.mqtt, warm).await?;

    let plan = Plan::of_ten(duration, rate, times.next());
    let ledger = Ledger::new(&plan);
    let cpu_before = node.cpu();
    let samples = if effort.quick { SAMPLES / 5 } else { SAMPLES };
    let (outcome, seen, raised, writes_ms, looks) = tokio::try_join!(
        load::run_watched(node.mqtt, plan, Some(ledger.clone())),
        read_back::during(&api, &plan, &ledger, samples),
        alarms::raise(&api, node.mqtt, alarms, duration),
        people(&api, duration, effort),
        watch(&node, duration, look),
    )?;
    let cores = (node.cpu() - cpu_before).as_secs_f64() / outcome.elapsed.as_secs_f64();
    let caught_up = until_evaluated(&api).await?;
    let read_after = read_back::after(&api, &plan, &outcome).await?;

    let mut report = Report::default();
    let per_second = outcome.acknowledged as f64 / outcome.elapsed.as_secs_f64();
    let paced = rate.map_or("as fast as it goes".to_owned(), |rate| {
        format!("paced at {}/s", thousands(rate))
    });
    report.judged(
        format!(
            "readings/s acknowledged over {:.0} s, {paced}",
            outcome.elapsed.as_secs_f64()
        ),
        thousands(per_second),
        per_second,
        Reach::AtLeast(RATE_MIN),
        thousands(RATE_MIN),
    );
    report.row(
        "  acknowledged in all",
        thousands(outcome.acknowledged as f64),
    );
    report.row("  CPU of the node, cores", format!("{cores:.2}"));
    report.row(
        "  publish to PUBACK, p50 / p99 ms",
        format!(
            "{:.1} / {:.1}",
            percentile(&outcome.latencies_ms, 50.0),
            percentile(&outcome.latencies_ms, 99.0)
        ),
    );
    report.row(
        "  rules have seen everything after the end, ms",
        format!("{:.0}", caught_up.as_secs_f64() * 1_000.0),
    );
    memory(&mut report, &looks);
    let oldest = percentile(&seen.ages_ms, 100.0);
    report.judged(
        format!(
            "{} acknowledged values read meanwhile: age when seen, p50 / max ms",
            seen.ages_ms.len()
        ),
        format!("{:.1} / {oldest:.1}", percentile(&seen.ages_ms, 50.0)),
        oldest,
        Reach::AtMost(AGE_MS_MAX),
        format!("{AGE_MS_MAX:.0}"),
    );
    report.row(
        "  the request alone, p50 / p99 ms",
        format!(
            "{:.1} / {:.1}",
            percentile(&seen.answers_ms, 50.0),
            percentile(&seen.answers_ms, 99.0)
        ),
    );
    report.row("  and read afterwards", read_after.to_string());
    report.row(
        format!("{alarms} alarms: publish to the event (SSE), p50 / max ms"),
        format!(
            "{:.1} / {:.1}",
            percentile(&raised.events_ms, 50.0),
            percentile(&raised.events_ms, 100.0)
        ),
    );
    let slowest = percentile(&raised.answers_ms, 100.0);
    report.judged(
        "  publish to the incident in an answer, p50 / max ms",
        format!("{:.1} / {slowest:.1}", percentile(&raised.answers_ms, 50.0)),
        slowest,
        Reach::AtMost(ALARM_MS_MAX),
        format!("{ALARM_MS_MAX:.0}"),
    );
    let write_p99 = percentile(&writes_ms, 99.0);
    if effort.readings_only {
        report.note("Nobody wrote meanwhile.");
    } else {
        report.judged(
            format!("{} writes of people, 20/s: p50 / p99 ms", writes_ms.len()),
            format!("{:.1} / {write_p99:.1}", percentile(&writes_ms, 50.0)),
            write_p99,
            Reach::AtMost(WRITE_MS_MAX),
            format!("{WRITE_MS_MAX:.0}"),
        );
    }
    report.line(json!({
        "acknowledged": outcome.acknowledged,
        "readings_only": effort.readings_only,
        "seconds": outcome.elapsed.as_secs_f64(),
        "per_second": per_second,
        "cores": cores,
        "looks": looks.iter().map(Look::line).collect::<Vec<_>>(),
        "alarms_ms": raised.answers_ms,
        "write_p50_ms": percentile(&writes_ms, 50.0),
        "write_p99_ms": write_p99,
        "write_max_ms": percentile(&writes_ms, 100.0),
    }));
    report.note("Each age counts from the acknowledgement; MB is 10^6 bytes.");
    node.stop();
    Ok(report)
}

async fn people(api: &Api, duration: Duration, effort: Effort) -> anyhow::Result<Vec<f64>> {
    if effort.readings_only {
        return Ok(Vec::new());
    }
    operators::work(api, duration).await
}

/// What the node takes at one moment.
struct Look {
    after_s: f64,
    resident_bytes: u64,
    files_bytes: u64,
}

impl Look {
    fn line(&self) -> serde_json::Value {
        json!({"after_s": self.after_s, "rss_bytes": self.resident_bytes, "files_bytes": self.files_bytes})
    }
}

async fn watch(node: &Node, duration: Duration, every: Duration) -> anyhow::Result<Vec<Look>> {
    let began = Instant::now();
    let mut looks = Vec::new();
    loop {
        looks.push(Look {
            after_s: began.elapsed().as_secs_f64(),
            resident_bytes: node.resident_bytes(),
            files_bytes: files_bytes(&node.data_dir)?,
        });
        if began.elapsed() + every > duration {
            return Ok(looks);
        }
        tokio::time::sleep(every).await;
    }
}

fn files_bytes(directory: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let metadata = entry?.metadata()?;
        bytes += if metadata.is_file() {
            metadata.len()
        } else {
            0
        };
    }
    Ok(bytes)
}

fn memory(report: &mut Report, looks: &[Look]) {
    let mb = |bytes: u64| bytes as f64 / 1e6;
    let warm = ((looks.len() as f64 * WARM) as usize).min(looks.len().saturating_sub(2));
    let after: Vec<(f64, f64)> = looks[warm..]
        .iter()
        .map(|look| (look.after_s / 60.0, mb(look.resident_bytes)))
        .collect();
    let slope = slope(&after);
    report.judged(
        format!(
            "memory after {:.0} s: slope, MB a minute",
            looks.get(warm).map_or(0.0, |look| look.after_s)
        ),
        format!("{slope:+.2}"),
        slope,
        Reach::AtMost(SLOPE_MB_A_MINUTE_MAX),
        format!("{SLOPE_MB_A_MINUTE_MAX:.0}"),
    );
    let all: Vec<f64> = looks.iter().map(|look| mb(look.resident_bytes)).collect();
    let shown: Vec<String> = all.iter().map(|mb| format!("{mb:.0}")).collect();
    report.row("  highest, MB", format!("{:.0}", percentile(&all, 100.0)));
    report.note(format!("RSS in MB, each look: {}", shown.join(" ")));
    if let (Some(first), Some(last)) = (looks.first(), looks.last()) {
        report.row(
            "files at the end, MB (at the beginning)",
            format!("{:.0} ({:.0})", mb(last.files_bytes), mb(first.files_bytes)),
        );
    }
}

/// Of the straight line that lies nearest (least squares).
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let rise: f64 = points
        .iter()
        .map(|point| (point.0 - x) * (point.1 - y))
        .sum();
    let run: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    if run > 0.0 { rise / run } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_of_a_line_is_its_slope() {
        assert_eq!(slope(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]), 2.0);
        assert_eq!(slope(&[(1.0, 7.0), (1.0, 9.0)]), 0.0);
    }
}
