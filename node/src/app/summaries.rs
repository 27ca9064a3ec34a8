//! Summaries: this node says in its own log of lane 4 what it heard of its sensors, a quarter of an hour at a time.
//!
//! A quarter is said when it is over, and again when readings of it came late. Whoever gets the log shows it: a chart on
//! one node has what another node's sensors measured. Minutes and readings themselves stay where they were heard, unless
//! somebody asks for them (see [`replicate`]).
//!
//! What always holds:
//! - only readings of approved devices are spoken of: a flood of invented names on an open port stays in one place;
//! - what a summary says is what this node's own rollups answer at that time; a later one of the same quarter replaces it;
//! - this node's own log is what tells it what it has said, so nothing is said twice, and nothing is left out after a
//!   crash: what is due is marked in the transaction that would make it be forgotten (`store::DueQuarter`).

mod look;
pub(in crate::app) mod payload;
pub(in crate::app) mod raw;
mod replicate;
mod rollups;
#[cfg(test)]
mod tests;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use self::look::{HowMuch, Seen, Speaker};
pub(in crate::app) use self::payload::{KIND, decode};
pub(in crate::app) use self::raw::{KIND as RAW_KIND, decode as decode_raw};
use self::replicate::Budget;
pub use self::replicate::Replicate;
pub(in crate::app) use self::writes::{raw_write, readings_in, summary_write};
use super::clock::Clock;
use super::own_log::OwnLog;

/// Readings take their time from the sensor to here: what comes within it is in the first summary, and costs no second.
const SETTLE_MS: i64 = 20_000;

/// How often there is a look at what is due. The first is soon after the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SummaryTiming {
    /// From the start to the first.
    pub first: Duration,
    /// At most so long until the next; it is earlier when a quarter of an hour is over.
    pub every: Duration,
}

impl Default for SummaryTiming {
    fn default() -> Self {
        SummaryTiming {
            first: Duration::from_secs(10),
            every: Duration::from_millis(payload::QUARTER_MS.unsigned_abs()),
        }
    }
}

/// Starts the task that writes summaries, which ends when `stop` is cancelled.
pub(in crate::app) fn start(
    log: OwnLog,
    replicate: Replicate,
    timing: SummaryTiming,
    stop: CancellationToken,
) -> tokio::task::JoinHandle<()> {
    let speaker = Speaker { log, replicate };
    tokio::spawn(async move {
        // A summary that is broken off is committed or is not, and the next look finds out.
        let _ = stop
            .run_until_cancelled(look_when_due(speaker, timing))
            .await;
    })
}

async fn look_when_due(speaker: Speaker, timing: SummaryTiming) {
    let speaker = Arc::new(speaker);
    let mut in_tail = Seen::default();
    let mut budget = Budget::default();
    let mut told_in_vain = false;
    let mut wait = timing.first;
    loop {
        tokio::time::sleep(wait).await;
        match speaker.look(&mut in_tail, &mut budget).await {
            Ok(said) => note(&said, &mut told_in_vain),
            Err(error) => {
                tracing::warn!(%error, "a summary of readings could not be written and has to wait");
            }
        }
        wait = until_next(now_ms(speaker.log.clock)).min(timing.every);
    }
}

fn note(said: &HowMuch, told_in_vain: &mut bool) {
    if said.quarters > 0 {
        tracing::debug!(quarters = said.quarters, bytes = said.bytes, "a summary");
        metrics::counter!("muster_summary_quarters_total").increment(said.quarters as u64);
        metrics::counter!("muster_summary_bytes_total").increment(said.bytes as u64);
    }
    if said.in_vain > 0 {
        metrics::counter!("muster_summary_quarters_left_out_total").increment(said.in_vain as u64);
        if !std::mem::replace(told_in_vain, true) {
            tracing::warn!(
                quarters = said.in_vain,
                "other nodes are not told of some readings: this node has more series than they show of one node; they \
                 can be read here"
            );
        }
    }
}

fn now_ms(clock: Clock) -> i64 {
    i64::try_from(clock.wall_ms()).unwrap_or(i64::MAX)
}

/// From now to when the current quarter of an hour is over and its readings are here.
fn until_next(now_ms: i64) -> Duration {
    let into_ms = (now_ms.saturating_sub(SETTLE_MS)).rem_euclid(payload::QUARTER_MS);
    Duration::from_millis((payload::QUARTER_MS - into_ms).unsigned_abs())
}
