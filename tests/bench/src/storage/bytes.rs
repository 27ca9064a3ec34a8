//! Bytes a reading of a gauge at 1 Hz with a resolution of 0.1, when everything is in blocks: measured at the file.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::json;
use store::Retention;

use super::fill::Filling;
use crate::Effort;
use crate::child::Node;
use crate::ingest::now_ms;
use crate::report::{Reach, Report, thousands};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const DAYS: i64 = 10;
const DAYS_QUICK: i64 = 2;
const BYTES_MAX: f64 = 8.0;
const SETTLE_MAX: Duration = Duration::from_secs(60);

/// # Errors
/// The node does not start, or the store refuses.
pub async fn run(effort: Effort) -> anyhow::Result<Report> {
    let days = if effort.quick { DAYS_QUICK } else { DAYS };
    let directory = tempfile::tempdir()?;
    let data_dir = directory.path().join("node");
    Node::start(&data_dir, &[])?.stop();
    let file = data_dir.join("readings.db");
    let empty = std::fs::metadata(&file)?.len();
    // On a thread that may wait for the store.
    let (count, used, free) = {
        let data_dir = data_dir.clone();
        tokio::task::spawn_blocking(move || fill(&data_dir, days)).await??
    };
    let whole = std::fs::metadata(&file)?.len();

    let mut report = Report::default();
    let each = used.saturating_sub(empty) as f64 / count as f64;
    report.judged(
        format!(
            "{} readings of one gauge with their rollups: bytes a reading",
            thousands(count as f64)
        ),
        format!("{each:.2}"),
        each,
        Reach::AtMost(BYTES_MAX),
        format!("{BYTES_MAX:.0}"),
    );
    report.row(
        "readings.db, kB; of which free for new readings; when it was empty",
        format!("{}; {}; {}", whole / 1_000, free / 1_000, empty / 1_000),
    );
    report.line(json!({
        "readings": count, "bytes_used": used, "bytes_free": free, "bytes_empty": empty, "file_bytes": whole,
    }));
    Ok(report)
}

/// Days of readings, all of them in blocks: how many, the bytes that they take, and those free for new ones.
fn fill(data_dir: &Path, days: i64) -> anyhow::Result<(u64, u64, u64)> {
    let mut filling = Filling::open(data_dir, 1)?;
    let to_ms = now_ms();
    let (count, _) = filling.fill((to_ms - days * DAY_MS, to_ms), 1_000)?;
    // As upkeep does in the hours that follow.
    let keep_all = Retention {
        raw_ms: None,
        rollups_ms: None,
    };
    let later_ms = to_ms + 2 * HOUR_MS;
    let began = Instant::now();
    loop {
        let readings = filling.store.readings();
        while readings.expire_readings(later_ms, keep_all).wait()? {}
        // Rows leave the tail step by step after their blocks were made.
        if readings.readings_after(0, 1)?.is_empty() {
            break;
        }
        ensure!(
            began.elapsed() < SETTLE_MAX,
            "{} readings are not in blocks",
            readings.tail_len()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let (used, free) = filling.store.readings().file_bytes()?;
    filling.close()?;
    Ok((count, used, free))
}
