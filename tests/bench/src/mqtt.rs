//! Readings over MQTT: how many a second are acknowledged after the commit, and how long one waits for it.
//!
//! Mosquitto gets the same load from the same generator, in turn; it stores nothing, decodes nothing, and has no
//! subscriber. After the last round 1,000 acknowledged values are read back through the API.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use serde_json::json;

use crate::Effort;
use crate::api::Api;
use crate::child::{Mosquitto, Node};
use crate::load::{self, Outcome, Plan};
use crate::report::{Reach, Report, median, percentile, thousands};

const CONNECTIONS: usize = 10;
const WINDOW: usize = 50;
/// Series of each connection; 200 in all.
const SERIES: usize = 20;
const READ_BACK: usize = 1000;

pub async fn run(effort: Effort) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let directory = tempfile::tempdir()?;
    let node = Node::start(&directory.path().join("node"), &[])?;
    let api = Api::sign_in(node.http).await?;
    approve(&api).await?;
    let mosquitto = Mosquitto::start(directory.path())?;

    // Device times of each round begin where no earlier one has been: an hour of 1 ms steps apart, within a day of now.
    let mut next_start = now_ms() - 20 * 3600 * 1000;
    let mut plan = |rate: Option<f64>, seconds: u64| {
        let first_at_ms = next_start;
        next_start += 3600 * 1000;
        Plan {
            connections: CONNECTIONS,
            window: WINDOW,
            duration: Duration::from_secs(seconds),
            rate,
            series: SERIES,
            first_at_ms,
        }
    };

    // Both warm up: caches, allocators, the first growth of files.
    load::run(node.mqtt, plan(None, 1))
        .await
        .context("muster")?;
    if let Some(mosquitto) = &mosquitto {
        load::run(mosquitto.mqtt, plan(None, 1))
            .await
            .context("mosquitto")?;
    }
    let (mut ours, mut theirs, mut cores) = (Vec::new(), Vec::new(), Vec::new());
    let mut last = None;
    for round in 0..effort.rounds {
        let measure_ours = async |plan: Plan| -> anyhow::Result<(Plan, Outcome, f64)> {
            let before = node.cpu();
            let outcome = load::run(node.mqtt, plan).await.context("muster")?;
            let used = (node.cpu() - before).as_secs_f64() / outcome.elapsed.as_secs_f64();
            Ok((plan, outcome, used))
        };
        let measure_theirs = async |plan: Plan| -> anyhow::Result<Option<(Outcome, f64)>> {
            let Some(mosquitto) = &mosquitto else {
                return Ok(None);
            };
            let before = mosquitto.cpu();
            let outcome = load::run(mosquitto.mqtt, plan).await.context("mosquitto")?;
            let used = (mosquitto.cpu() - before).as_secs_f64() / outcome.elapsed.as_secs_f64();
            Ok(Some((outcome, used)))
        };
        // Who goes first alternates, so that a drift of the machine hits both.
        let (first, second) = (plan(None, effort.seconds), plan(None, effort.seconds));
        let ((used_plan, outcome, used), other) = if round % 2 == 0 {
            let mine = measure_ours(first).await?;
            (mine, measure_theirs(second).await?)
        } else {
            let other = measure_theirs(first).await?;
            (measure_ours(second).await?, other)
        };
        report.line(line("muster", round, &outcome, used));
        ours.push(rate_of(&outcome));
        cores.push(used);
        last = Some((used_plan, outcome));
        if let Some((outcome, used)) = other {
            report.line(line("mosquitto", round, &outcome, used));
            theirs.push(rate_of(&outcome));
        }
    }
    let paced = load::run(node.mqtt, plan(Some(50_000.0), effort.seconds))
        .await
        .context("muster at 50,000/s")?;
    report.line(line("muster at 50,000/s", 0, &paced, 0.0));

    let (used_plan, outcome) = last.context("no round was run")?;
    let read = read_back(&api, used_plan, &outcome).await?;

    report.judged(
        "readings/s acknowledged after commit (median)",
        thousands(median(&ours)),
        median(&ours),
        Reach::AtLeast(50_000.0),
        "50,000",
    );
    report.row("  CPU of the node, cores", format!("{:.2}", median(&cores)));
    report.row(
        "  publish to PUBACK at full rate, p99 ms",
        format!("{:.1}", percentile(&outcome.latencies_ms, 99.0)),
    );
    match mosquitto {
        Some(mosquitto) => {
            report.row(
                "Mosquitto, acknowledged, nothing stored (median)",
                thousands(median(&theirs)),
            );
            report.row("  ratio", format!("{:.2}", median(&ours) / median(&theirs)));
            report.note(format!(
                "Mosquitto's configuration: {}",
                mosquitto.config.trim().replace('\n', "; ")
            ));
        }
        None => report.note("skipped: Mosquitto is not installed (apt-get install mosquitto)"),
    }
    report.row("at 50,000/s: acknowledged/s", thousands(rate_of(&paced)));
    report.row(
        "  publish to PUBACK p50 ms",
        format!("{:.1}", percentile(&paced.latencies_ms, 50.0)),
    );
    report.judged(
        "  publish to PUBACK p99 ms",
        format!("{:.1}", percentile(&paced.latencies_ms, 99.0)),
        percentile(&paced.latencies_ms, 99.0),
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

/// Devices are approved and a rule looks at every reading, as it would be in the field.
async fn approve(api: &Api) -> anyhow::Result<()> {
    for connection in 0..CONNECTIONS {
        for series in 0..SERIES {
            let body = json!({"name": load::device(connection, series), "state": "approved"});
            api.post("/v1/devices", &body).await?;
        }
    }
    let rule = json!({
        "name": "never reached", "match": {"device": "bench-*", "channel": "value"}, "kind": "threshold",
        "raise_above": 1_000_000.0, "clear_below": 999_999.0, "for_s": 0, "hold_s": 0,
        "incident": {"title": "{device}: {value}", "category": "Geo", "severity": "minor"},
    });
    api.post("/v1/rules", &rule).await?;
    Ok(())
}

/// Reads acknowledged values of many series back and compares them with what was sent; gives how many.
async fn read_back(api: &Api, plan: Plan, outcome: &Outcome) -> anyhow::Result<usize> {
    const PER_SERIES: u64 = 5;
    let known = api.all("/v1/series").await?;
    let mut read = 0;
    for connection in 0..plan.connections {
        for series in 0..plan.series {
            let device = load::device(connection, series);
            let acknowledged = outcome.acknowledged_by_series[connection][series];
            ensure!(
                acknowledged >= PER_SERIES,
                "{device}: only {acknowledged} acknowledged"
            );
            let id = known
                .iter()
                .find(|item| item["device"] == device.as_str())
                .and_then(|item| item["id"].as_str())
                .with_context(|| format!("series of {device}"))?;
            // Somewhere in the run, another place for each series; the last acknowledged one is among them.
            let span = acknowledged - PER_SERIES;
            let first = if series == 0 {
                span
            } else {
                span * series as u64 / plan.series as u64
            };
            let from = plan.first_at_ms + first as i64;
            let to = from + PER_SERIES as i64;
            let path = format!(
                "/v1/series/{id}/readings?from={}&to={}&resolution=raw",
                rfc3339(from),
                rfc3339(to)
            );
            let answer = api.get(&path).await?;
            let points = answer["points"].as_array().context("points")?;
            for n in first..first + PER_SERIES {
                let at = rfc3339(plan.first_at_ms + n as i64);
                let expected = load::value(connection, series, n);
                ensure!(
                    points
                        .iter()
                        .any(|point| same_time(&point[0], &at)
                            && point[1].as_f64() == Some(expected)),
                    "{device}: reading {n} ({at}, {expected}) was acknowledged and is missing in {answer}"
                );
                read += 1;
            }
        }
    }
    Ok(read)
}

/// RFC 3339 leaves the number of fractional digits open.
fn same_time(answered: &serde_json::Value, expected: &str) -> bool {
    let trimmed = |text: &str| match text.trim_end_matches('Z').split_once('.') {
        Some((seconds, fraction)) => format!("{seconds}.{}", fraction.trim_end_matches('0')),
        None => format!("{}.", text.trim_end_matches('Z')),
    };
    answered
        .as_str()
        .is_some_and(|text| trimmed(text) == trimmed(expected))
}

/// Milliseconds since 1970 as RFC 3339, UTC (days from civil, the other way round).
fn rfc3339(ms: i64) -> String {
    let (days, of_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (
        doy - (153 * mp + 2) / 5 + 1,
        if mp < 10 { mp + 3 } else { mp - 9 },
    );
    let year = yoe + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        of_day / 3_600_000,
        of_day / 60_000 % 60,
        of_day / 1000 % 60,
        of_day % 1000
    )
}

fn line(who: &str, round: usize, outcome: &Outcome, cores: f64) -> serde_json::Value {
    json!({
        "who": who,
        "round": round,
        "acknowledged": outcome.acknowledged,
        "seconds": outcome.elapsed.as_secs_f64(),
        "per_second": rate_of(outcome),
        "p50_ms": percentile(&outcome.latencies_ms, 50.0),
        "p99_ms": percentile(&outcome.latencies_ms, 99.0),
        "cores": cores,
    })
}

fn rate_of(outcome: &Outcome) -> f64 {
    outcome.acknowledged as f64 / outcome.elapsed.as_secs_f64()
}

fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339() {
        assert_eq!(rfc3339(1_772_366_400_123), "2026-03-01T12:00:00.123Z");
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert!(same_time(
            &json!("2026-03-01T12:00:00.12Z"),
            "2026-03-01T12:00:00.120Z"
        ));
        assert!(same_time(
            &json!("2026-03-01T12:00:00Z"),
            "2026-03-01T12:00:00.000Z"
        ));
    }
}
