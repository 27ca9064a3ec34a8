//! Bytes a reading of a gauge at 1 Hz with a resolution of 0.1, when everything is in blocks: measured at the file.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;
use store::Retention;

use super::fill::Filling;
use crate::Effort;
use crate::child::Node;
use crate::ingest::now_ms;
use crate::report::{Reach, Report, thousands};

const DAY_MS: i64 = 24 * 3_600_000;
const DAYS: i64 = 10;
const DAYS_QUICK: i64 = 2;
const BYTES_MAX: f64 = 8.0;
/// What the keeper leaves in the tail of a quiet node: what came in the last ten minutes.
const TAIL_MAX: u64 = 1_000;
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
    let mut filling = Filling::open(&data_dir, 1)?;
    let to_ms = now_ms();
    let (count, _) = filling.fill((to_ms - days * DAY_MS, to_ms), 1_000)?;
    // As upkeep does in the hour that follows.
    let began = std::time::Instant::now();
    let nothing = Retention {
        raw_ms: None,
        rollups_ms: None,
    };
    loop {
        let readings = filling.store.readings();
        while readings
            .expire_readings(to_ms + 2 * 3_600_000, nothing)
            .wait()?
        {}
        if readings.tail_len() <= TAIL_MAX && readings.readings_after(0, 2_000)?.len() <= 1_000 {
            break;
        }
        ensure!(
            began.elapsed() < SETTLE_MAX,
            "{} readings are not in blocks",
            readings.tail_len()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (used, free) = filling.store.readings().file_bytes()?;
    filling.close()?;
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
