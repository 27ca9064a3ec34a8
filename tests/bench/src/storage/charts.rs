//! What a page asks for when somebody opens a chart, on a node with a thousand series: a day at 1 Hz as it came, and the
//! week before in rollups. Asked over HTTP, another series each time, from the moment the node is ready: it still puts the
//! newest readings in order and looks for summaries to give.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::fill::{Filling, device};
use crate::Effort;
use crate::api::Api;
use crate::child::Node;
use crate::ingest::{now_ms, rfc3339};
use crate::report::{Reach, Report, percentile, thousands};

const SERIES: usize = 1_000;
const SERIES_QUICK: usize = 100;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Of the days before the last one, of which only the rollups are asked for.
const WEEK_INTERVAL_MS: i64 = 300_000;
const QUESTIONS: usize = 500;
/// Readings that no block has, of sensors that send a thousand a second: up to a hundred thousand.
const TAIL_ORDINARY: u64 = 100_000;
const SETTLE_MAX: Duration = Duration::from_secs(60);

/// A question with what it may take.
struct Question {
    what: &'static str,
    span_ms: i64,
    resolution: &'static str,
    /// Points that must be there, at least.
    points_min: usize,
    ms_max: f64,
}

const ASKED: [Question; 3] = [
    Question {
        what: "a day at 15 min",
        span_ms: DAY_MS,
        resolution: "15m",
        points_min: 96,
        ms_max: 20.0,
    },
    Question {
        what: "a week at 1 h",
        span_ms: 7 * DAY_MS,
        resolution: "1h",
        points_min: 7 * 24,
        ms_max: 20.0,
    },
    Question {
        what: "a raw hour",
        span_ms: HOUR_MS,
        resolution: "raw",
        points_min: 3_599,
        ms_max: 50.0,
    },
];

/// # Errors
/// The node does not start, or an answer is not whole.
pub async fn run(effort: Effort) -> anyhow::Result<Report> {
    let (series, raw_ms) = if effort.quick {
        (SERIES_QUICK, 2 * HOUR_MS)
    } else {
        (SERIES, DAY_MS)
    };
    let directory = tempfile::tempdir()?;
    let data_dir = directory.path().join("node");
    Node::start(&data_dir, &[])?.stop();
    let end_ms = now_ms();
    // On a thread that may wait for the store.
    let filled = {
        let data_dir = data_dir.clone();
        tokio::task::spawn_blocking(move || fill(&data_dir, series, raw_ms, end_ms)).await??
    };

    let mut report = Report::default();
    report.row(
        "readings in the file; the last day's, stored at so many a second",
        format!(
            "{}; {}",
            thousands(filled.readings as f64),
            thousands(filled.per_second)
        ),
    );
    report.row(
        "readings.db, MB; of which free for new readings",
        format!(
            "{}; {}",
            (filled.used_bytes + filled.free_bytes) / 1_000_000,
            filled.free_bytes / 1_000_000
        ),
    );
    report.row(
        "of them not in blocks when the node starts; seconds until there were no more",
        format!(
            "{}; {:.1}",
            thousands(filled.not_in_blocks as f64),
            filled.settled_s
        ),
    );
    let began = Instant::now();
    let node = Node::start(&data_dir, &["--no-found"])?;
    report.row(
        "the node starts on it, ms",
        format!("{:.0}", began.elapsed().as_secs_f64() * 1_000.0),
    );
    let api = Api::sign_in(node.http).await?;
    let ids: Vec<String> = api
        .all("/v1/series")
        .await?
        .iter()
        .filter_map(|series| series["id"].as_str().map(str::to_owned))
        .collect();
    ensure!(ids.len() == series, "{} of {series} are there", ids.len());
    for question in &ASKED {
        let took_ms = ask(&api, &ids, question, end_ms).await?;
        let (p50, p99) = (percentile(&took_ms, 50.0), percentile(&took_ms, 99.0));
        report.judged(
            format!("{}, p99 (p50, most) ms", question.what),
            format!("{p99:.1} ({p50:.1}, {:.1})", percentile(&took_ms, 100.0)),
            p99,
            Reach::AtMost(question.ms_max),
            format!("{:.0}", question.ms_max),
        );
        report.line(json!({"question": question.what, "p50_ms": p50, "p99_ms": p99}));
    }
    report.row(
        "memory after it, MB",
        format!("{:.0}", node.resident_bytes() as f64 / 1e6),
    );
    report.note(format!(
        "{series} series ({} …), {QUESTIONS} questions of each kind, one after the other",
        device(0)
    ));
    node.stop();
    Ok(report)
}

/// What the file holds.
struct Filled {
    readings: u64,
    /// Of the last day.
    per_second: f64,
    not_in_blocks: u64,
    /// The fill is faster than any node's sensors: so long until what it left had been put in order.
    settled_s: f64,
    used_bytes: u64,
    free_bytes: u64,
}

fn fill(data_dir: &Path, series: usize, raw_ms: i64, end_ms: i64) -> anyhow::Result<Filled> {
    let mut filling = Filling::open(data_dir, series)?;
    let before = (end_ms - 7 * DAY_MS, end_ms - raw_ms);
    let (coarse, _) = filling.fill(before, WEEK_INTERVAL_MS)?;
    let (raw, took) = filling.fill((end_ms - raw_ms, end_ms), 1_000)?;
    let readings = filling.store.readings();
    // As where a thousand sensors send once a second: what waits to be put in order is in memory.
    let settling = Instant::now();
    while readings.tail_len() > TAIL_ORDINARY {
        ensure!(
            settling.elapsed() < SETTLE_MAX,
            "{} readings are not in blocks",
            readings.tail_len()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let settled_s = settling.elapsed().as_secs_f64();
    let (used_bytes, free_bytes) = readings.file_bytes()?;
    let not_in_blocks = readings.tail_len();
    filling.close()?;
    Ok(Filled {
        readings: coarse + raw,
        not_in_blocks,
        settled_s,
        per_second: raw as f64 / took.as_secs_f64(),
        used_bytes,
        free_bytes,
    })
}

async fn ask(
    api: &Api,
    ids: &[String],
    question: &Question,
    end_ms: i64,
) -> anyhow::Result<Vec<f64>> {
    // A whole day or hour, not the one that has just begun.
    let to_ms = end_ms - 1;
    let from_ms = end_ms - question.span_ms;
    let mut took_ms = Vec::with_capacity(QUESTIONS);
    for number in 0..QUESTIONS {
        // Another one each time, so that nothing of it is in a cache.
        let id = &ids[(number * 131 + 17) % ids.len()];
        let path = format!(
            "/v1/series/{id}/readings?from={}&to={}&resolution={}&limit=10000",
            rfc3339(from_ms)?,
            rfc3339(to_ms)?,
            question.resolution
        );
        let asked = Instant::now();
        let answer = api.get(&path).await?;
        took_ms.push(asked.elapsed().as_secs_f64() * 1_000.0);
        let points = answer["points"].as_array().context("points")?.len();
        ensure!(
            points >= question.points_min,
            "{}: {points} points",
            question.what
        );
    }
    Ok(took_ms)
}
