//! Readings over MQTT: how many, how soon, and what else goes on meanwhile.
//!
//! All scenarios drive the built program with one load generator ([`load`]). What is published is approved and looked
//! at by a rule, as it would be in the field, and what was acknowledged is read back.

pub mod alarms;
pub mod crowd;
pub mod load;
pub mod lone;
pub mod operators;
pub mod plaintext;
pub mod rates;
pub mod read_back;
pub mod sink;
pub mod sustained;
pub mod versions;

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;

use crate::api::Api;
use crate::child::Node;
use crate::report::percentile;
use load::{Outcome, Plan};

/// Approvals under way at once.
const APPROVALS: usize = 16;

/// Approves the devices of a plan, and makes a rule look at every reading of them.
///
/// # Errors
/// The node refuses.
pub async fn approve(api: &Api, connections: usize, series: usize) -> anyhow::Result<()> {
    let devices: Vec<String> = (0..connections)
        .flat_map(|connection| (0..series).map(move |series| load::device(connection, series)))
        .collect();
    let shares = devices.chunks(devices.len().div_ceil(APPROVALS).max(1));
    let approvals = shares.map(|share| async move {
        for device in share {
            api.post("/v1/devices", &json!({"name": device, "state": "approved"}))
                .await?;
        }
        anyhow::Ok(())
    });
    futures::future::try_join_all(approvals).await?;
    let rule = json!({
        "name": "never reached", "match": {"device": "bench-*", "channel": "value"}, "kind": "threshold",
        "raise_above": 1_000_000.0, "clear_below": 999_999.0, "for_s": 0, "hold_s": 0,
        "incident": {"title": "{device}: {value}", "category": "Geo", "severity": "minor"},
    });
    api.post("/v1/rules", &rule).await?;
    Ok(())
}

/// Device times of each run begin where no earlier one has been, within a day of now.
pub struct Times {
    next_ms: i64,
}

impl Times {
    /// More than any run of one node takes of a series: 1 ms a reading.
    const STEP_MS: i64 = 3_600_000;

    pub fn new() -> Times {
        Times {
            next_ms: now_ms() - 22 * Self::STEP_MS,
        }
    }

    pub fn next(&mut self) -> i64 {
        let next_ms = self.next_ms;
        self.next_ms += Self::STEP_MS;
        next_ms
    }
}

/// What a run cost a process, in processors.
pub struct Measured {
    pub outcome: Outcome,
    /// Processors that the program under load kept busy.
    pub cores: f64,
}

impl Measured {
    /// Runs a plan against a node.
    ///
    /// # Errors
    /// See [`load::run`].
    pub async fn node(node: &Node, plan: Plan) -> anyhow::Result<Measured> {
        let before = node.cpu();
        let outcome = load::run(node.mqtt, plan).await?;
        let cores = (node.cpu() - before).as_secs_f64() / outcome.elapsed.as_secs_f64();
        Ok(Measured { outcome, cores })
    }

    pub fn per_second(&self) -> f64 {
        self.outcome.acknowledged as f64 / self.outcome.elapsed.as_secs_f64()
    }

    pub fn p50_ms(&self) -> f64 {
        percentile(&self.outcome.latencies_ms, 50.0)
    }

    pub fn p99_ms(&self) -> f64 {
        percentile(&self.outcome.latencies_ms, 99.0)
    }

    /// Processors that the generator kept busy; at 1 it would be the limit, because it is one thread.
    pub fn generator_cores(&self) -> f64 {
        self.outcome.cpu.as_secs_f64() / self.outcome.elapsed.as_secs_f64()
    }

    /// For the JSON lines.
    pub fn line(&self, who: &str, round: usize) -> serde_json::Value {
        json!({
            "who": who,
            "round": round,
            "acknowledged": self.outcome.acknowledged,
            "seconds": self.outcome.elapsed.as_secs_f64(),
            "per_second": self.per_second(),
            "p50_ms": self.p50_ms(),
            "p99_ms": self.p99_ms(),
            "cores": self.cores,
            "generator_cores": self.generator_cores(),
        })
    }
}

/// Waits until the rules have seen everything; gives how long that took.
///
/// # Errors
/// The node does not answer, or they have not after a minute.
pub async fn until_evaluated(api: &Api) -> anyhow::Result<Duration> {
    let began = Instant::now();
    loop {
        let status = api.get("/v1/status").await?;
        let behind = status["rules_behind"].as_i64().context("rules_behind")?;
        if behind == 0 {
            return Ok(began.elapsed());
        }
        anyhow::ensure!(
            began.elapsed() < Duration::from_secs(60),
            "rules are {behind} readings behind after a minute"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// As the API takes and gives it.
///
/// # Errors
/// A time that no calendar has.
pub fn rfc3339(ms: i64) -> anyhow::Result<String> {
    Ok(jiff::Timestamp::from_millisecond(ms)?.to_string())
}
