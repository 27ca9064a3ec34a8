//! Acknowledged values, read through the API.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;

use super::load::{self, Ledger, Outcome, Plan};
use super::rfc3339;
use crate::api::Api;

/// Readings looked at of each series after a run.
const PER_SERIES: u64 = 5;

/// Ids of the series of a plan, by connection and series.
///
/// # Errors
/// The node does not know one.
pub async fn series_ids(api: &Api, plan: &Plan) -> anyhow::Result<Vec<Vec<String>>> {
    let known = api.all("/v1/series").await?;
    let id = |connection, series| {
        let device = load::device(connection, series);
        known
            .iter()
            .find(|item| item["device"] == device.as_str())
            .and_then(|item| item["id"].as_str().map(str::to_owned))
            .with_context(|| format!("series of {device}"))
    };
    (0..plan.connections)
        .map(|connection| {
            (0..plan.series)
                .map(|series| id(connection, series))
                .collect()
        })
        .collect()
}

/// Reads acknowledged values of many series back and compares them with what was sent; gives how many.
///
/// # Errors
/// One is missing, or another value.
pub async fn after(api: &Api, plan: &Plan, outcome: &Outcome) -> anyhow::Result<usize> {
    let ids = series_ids(api, plan).await?;
    let mut read = 0;
    for (connection, ids) in ids.iter().enumerate() {
        for (series, id) in ids.iter().enumerate() {
            let acknowledged = outcome.acknowledged_by_series[connection][series];
            ensure!(
                acknowledged >= PER_SERIES,
                "{}: only {acknowledged} acknowledged",
                load::device(connection, series)
            );
            // Somewhere in the run, another place for each series; the last acknowledged one is among them.
            let span = acknowledged - PER_SERIES;
            let first = if series == 0 {
                span
            } else {
                span * series as u64 / plan.series as u64
            };
            let points = points(api, id, plan.first_at_ms + first as i64, PER_SERIES).await?;
            for n in first..first + PER_SERIES {
                expect(&points, plan, connection, series, n)?;
                read += 1;
            }
        }
    }
    Ok(read)
}

/// What was seen of readings while more came.
#[derive(Debug, Default)]
pub struct Seen {
    /// From the acknowledgement, or somewhat before it, to the answer that has the reading.
    pub ages_ms: Vec<f64>,
    /// The request alone.
    pub answers_ms: Vec<f64>,
}

/// Reads the newest acknowledged value of some series, again and again, for so long; each must be there.
///
/// # Errors
/// One is missing, or another value.
pub async fn during(
    api: &Api,
    plan: &Plan,
    ledger: &Arc<Ledger>,
    samples: u32,
) -> anyhow::Result<Seen> {
    let ids = series_ids(api, plan).await?;
    let mut random = StdRng::seed_from_u64(4);
    let mut seen = Seen::default();
    let began = Instant::now();
    for sample in 0..samples {
        let due = plan.duration * sample / samples;
        tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
        let connection = random.random_range(0..plan.connections);
        let series = random.random_range(0..plan.series);
        let (count, at) = ledger.newest(connection, series);
        let Some(n) = count.checked_sub(1) else {
            continue;
        };
        let asked = Instant::now();
        let id = &ids[connection][series];
        let points = points(api, id, plan.first_at_ms + n as i64, 1).await?;
        expect(&points, plan, connection, series, n)?;
        seen.ages_ms.push(ms(at.elapsed()));
        seen.answers_ms.push(ms(asked.elapsed()));
    }
    Ok(seen)
}

async fn points(api: &Api, series: &str, from_ms: i64, count: u64) -> anyhow::Result<Vec<Value>> {
    let path = format!(
        "/v1/series/{series}/readings?from={}&to={}&resolution=raw",
        rfc3339(from_ms)?,
        rfc3339(from_ms + count as i64 - 1)?
    );
    let mut answer = api.get(&path).await?;
    let points = answer["points"].as_array_mut().context("points")?;
    Ok(std::mem::take(points))
}

fn expect(
    points: &[Value],
    plan: &Plan,
    connection: usize,
    series: usize,
    n: u64,
) -> anyhow::Result<()> {
    let at_ms = plan.first_at_ms + n as i64;
    let expected = load::value(connection, series, n);
    let is_it = |point: &Value| {
        let at = point[0].as_str().and_then(|at| at.parse().ok());
        at.is_some_and(|at: jiff::Timestamp| at.as_millisecond() == at_ms)
            && point[1].as_f64() == Some(expected)
    };
    ensure!(
        points.iter().any(is_it),
        "{}: reading {n} ({}, {expected}) was acknowledged and is missing in {points:?}",
        load::device(connection, series),
        rfc3339(at_ms)?
    );
    Ok(())
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
