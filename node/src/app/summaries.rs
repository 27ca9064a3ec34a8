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

pub(in crate::app) mod payload;
pub(in crate::app) mod raw;
mod replicate;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use store::{
    Batch, Bucket, BucketWidth, DueQuarter, EntryPlace, RawWrite, SeriesId, SeriesKey,
    SeriesSummary, SummaryWrite,
};
use sync_engine::{Entry, Lane, LogId, NodeId, Payload};
use tokio_util::sync::CancellationToken;

pub(in crate::app) use self::payload::{KIND, decode};
use self::payload::{Quarter, SeriesSaid};
pub(in crate::app) use self::raw::{KIND as RAW_KIND, decode as decode_raw};
use self::replicate::Budget;
pub use self::replicate::Replicate;
use super::clock::Clock;
use super::error::AppError;
use super::own_log::{OwnLog, entry};

/// Readings take their time from the sensor to here: what comes within it is in the first summary, and costs no second.
const SETTLE_MS: i64 = 20_000;
/// Marked quarters looked at in one go: all that 1,000 series make in a day without a look.
const MARKS_PER_LOOK: usize = 100_000;
/// Quarters said in one go, in some 24 entries of 250 KB together: whoever makes a sensor send late readings without end
/// makes this node say at most 24 MB a day. The rest is said the next time, the newest first.
const QUARTERS_PER_LOOK: usize = 16_384;
/// Quarters asked for at once, so that no reader of the store is held for long.
const ASK_AT_ONCE: usize = 500;

const DAY_MS: i64 = 24 * 3_600_000;
const QUARTERS_A_DAY: usize = 96;

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

/// Who says them.
struct Speaker {
    log: OwnLog,
    /// Which readings themselves are given away.
    replicate: Replicate,
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
    let mut wait = timing.first;
    loop {
        tokio::time::sleep(wait).await;
        match speaker.look(&mut in_tail, &mut budget).await {
            Ok(said) if said.quarters > 0 => {
                tracing::debug!(quarters = said.quarters, bytes = said.bytes, "a summary");
                metrics::counter!("muster_summary_quarters_total").increment(said.quarters as u64);
                metrics::counter!("muster_summary_bytes_total").increment(said.bytes as u64);
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "a summary of readings could not be written and has to wait");
            }
        }
        wait = until_next(now_ms(speaker.log.clock)).min(timing.every);
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

/// How much one look said.
#[derive(Debug, Default, PartialEq, Eq)]
struct HowMuch {
    quarters: usize,
    bytes: usize,
}

/// Quarters that were settled, with what was known of them: what is in the tail is due at every look.
type Seen = HashMap<(SeriesId, i64), i64>;

/// What one look found to say.
#[derive(Default)]
struct Found {
    series: BTreeMap<SeriesKey, SeriesSaid>,
    quarters: usize,
    /// Quarters of which the readings themselves are given away.
    raw: Vec<(SeriesId, i64)>,
    /// Due ones that are settled when all of this is said.
    settled: Vec<DueQuarter>,
}

impl Speaker {
    /// Says what there is to say.
    async fn look(
        self: &Arc<Self>,
        in_tail: &mut Seen,
        budget: &mut Budget,
    ) -> Result<HowMuch, AppError> {
        if !self.log.may_write(Lane::Summary) {
            return Ok(HowMuch::default());
        }
        let (speaker, seen) = (Arc::clone(self), std::mem::take(in_tail));
        let (found, due, seen) =
            super::readings::blocking("read what summaries have not said", move || {
                let before_ms = now_ms(speaker.log.clock).saturating_sub(SETTLE_MS);
                let due = speaker
                    .log
                    .store
                    .readings()
                    .due_summaries(before_ms, MARKS_PER_LOOK)?;
                let fresh: Vec<DueQuarter> = due
                    .iter()
                    .filter(|due| seen.get(&(due.series, due.start_ms)) != Some(&due.stamp))
                    .copied()
                    .collect();
                Ok((speaker.unsaid(&fresh)?, due, seen))
            })
            .await?;
        let Found {
            series,
            quarters,
            raw,
            settled,
        } = found;
        // Before the summaries, which are what tells the next look that nothing is left to say.
        self.give_raw(raw, budget).await?;
        let said = self
            .say(&series.into_values().collect::<Vec<_>>(), quarters)
            .await?;
        // What is not due any more is not looked at again; of the rest what was settled before still is.
        let mut still: Seen = due
            .iter()
            .filter(|due| seen.get(&(due.series, due.start_ms)) == Some(&due.stamp))
            .map(|due| ((due.series, due.start_ms), due.stamp))
            .collect();
        still.extend(
            settled
                .iter()
                .map(|due| ((due.series, due.start_ms), due.stamp)),
        );
        *in_tail = still;
        if !settled.is_empty() {
            let forgotten = self.log.store.readings().summaries_said(settled).await;
            forgotten.map_err(|error| super::readings::fault("note what was said", error))?;
        }
        Ok(said)
    }

    /// What the rollups answer for these quarters, where it is not what was said of them.
    fn unsaid(&self, due: &[DueQuarter]) -> Result<Found, store::StoreError> {
        let readings = self.log.store.readings();
        let mut found = Found::default();
        let mut rollups = Rollups::of(due);
        for some in due.chunks(ASK_AT_ONCE) {
            if found.quarters >= QUARTERS_PER_LOOK {
                break;
            }
            let infos: HashMap<SeriesId, store::SeriesInfo> = some
                .iter()
                .filter_map(|due| Some((due.series, readings.series_info(due.series)?)))
                .collect();
            let asked: Vec<(&DueQuarter, &store::SeriesInfo)> = some
                .iter()
                .filter_map(|due| Some((due, infos.get(&due.series)?)))
                .collect();
            let keys: Vec<(SeriesKey, i64)> = asked
                .iter()
                .map(|(due, info)| (info.key, due.start_ms))
                .collect();
            let said = self
                .log
                .store
                .read(|reader| reader.said_quarters(&self.log.node, &keys))?;
            for ((due, info), said) in asked.into_iter().zip(said) {
                let bucket = rollups.take(readings, due)?;
                found.settled.push(*due);
                let now = bucket.as_ref().and_then(sayable);
                let Some(now) = now.filter(|now| said.map(|said| quarter_of(&said)) != Some(*now))
                else {
                    continue;
                };
                found.quarters += 1;
                if self.replicate.gives(&info.device, &info.channel) {
                    found.raw.push((due.series, due.start_ms));
                }
                let series = found.series.entry(info.key).or_insert_with(|| SeriesSaid {
                    device: info.device.to_string(),
                    channel: info.channel.to_string(),
                    unit: info.unit.to_string(),
                    quarters: Vec::new(),
                });
                series.quarters.push(now);
            }
        }
        // Due quarters come newest first.
        for series in found.series.values_mut() {
            series.quarters.sort_by_key(|quarter| quarter.number);
        }
        Ok(found)
    }

    /// Writes entries and rows in one transaction each.
    async fn say(&self, series: &[SeriesSaid], quarters: usize) -> Result<HowMuch, AppError> {
        let mut bytes = 0;
        for payload in payload::encode(series) {
            let wall_ms = self.log.clock.wall_ms();
            let mut batch = Batch::new(Lane::Summary, wall_ms);
            // What is said is what can be read back.
            let said = decode(&payload).ok().flatten().unwrap_or_default();
            batch
                .summaries
                .push(summary_write(self.log.node, None, said));
            let entry = entry(self.log.node, (Lane::Summary, KIND), wall_ms, payload)?;
            bytes += entry.bytes.len();
            batch.local.push(entry);
            self.log.store.commit(batch).await?;
        }
        Ok(HowMuch { quarters, bytes })
    }
}

/// What the rollups answer for quarters that are due: asked for a series and a day at once, because a question costs much
/// the same for one quarter and for all of a day.
struct Rollups {
    /// Not asked for yet: when the quarters of a series begin, by day.
    unasked: HashMap<(SeriesId, i64), Vec<i64>>,
    /// Answered and not taken: of quarters that are due, no others.
    answered: HashMap<(SeriesId, i64), Bucket>,
}

impl Rollups {
    fn of(due: &[DueQuarter]) -> Self {
        let mut unasked: HashMap<(SeriesId, i64), Vec<i64>> = HashMap::new();
        for due in due {
            let day = (due.series, due.start_ms.div_euclid(DAY_MS));
            unasked.entry(day).or_default().push(due.start_ms);
        }
        Rollups {
            unasked,
            answered: HashMap::new(),
        }
    }

    /// What is known of a quarter; read after it was found to be due.
    fn take(
        &mut self,
        readings: &store::Readings,
        due: &DueQuarter,
    ) -> Result<Option<Bucket>, store::StoreError> {
        let day = (due.series, due.start_ms.div_euclid(DAY_MS));
        if let Some(starts) = self.unasked.remove(&day) {
            let from = starts.iter().copied().min().unwrap_or(due.start_ms);
            let to = starts.iter().copied().max().unwrap_or(due.start_ms);
            let width = BucketWidth::Quarter;
            let page = readings.buckets(due.series, width, from, to, QUARTERS_A_DAY)?;
            let wanted = page.buckets.into_iter();
            self.answered.extend(
                wanted
                    .filter(|bucket| starts.contains(&bucket.start_ms))
                    .map(|bucket| ((due.series, bucket.start_ms), bucket)),
            );
        }
        Ok(self.answered.remove(&(due.series, due.start_ms)))
    }
}

fn sayable(bucket: &Bucket) -> Option<Quarter> {
    quarter_of(bucket).sayable()
}

fn quarter_of(bucket: &Bucket) -> Quarter {
    Quarter {
        number: bucket.start_ms.div_euclid(payload::QUARTER_MS),
        count: bucket.count,
        min: bucket.min,
        max: bucket.max,
        sum: bucket.sum,
    }
}

/// The readings in a stored entry; `None` for any other entry.
pub(in crate::app) fn readings_in(entry_bytes: &[u8]) -> Option<raw::RawQuarter> {
    let Entry { header, payload } = Entry::decode(entry_bytes).ok()?;
    match payload {
        Payload::Plain(bytes) if header.kind == RAW_KIND => decode_raw(&bytes).ok()?,
        _ => None,
    }
}

/// What the store is to take in of readings that somebody gives away.
pub(in crate::app) fn raw_write(
    node: NodeId,
    place: EntryPlace,
    quarter: &raw::RawQuarter,
) -> RawWrite {
    RawWrite {
        place,
        node,
        device: quarter.device.clone(),
        channel: quarter.channel.clone(),
        unit: quarter.unit.clone(),
        start_ms: quarter.number * payload::QUARTER_MS,
        count: quarter.readings.len() as u64,
    }
}

/// What the store is to take in of a summary.
pub(in crate::app) fn summary_write(
    node: NodeId,
    entry: Option<(LogId, sync_engine::Seq)>,
    said: Vec<SeriesSaid>,
) -> SummaryWrite {
    let series = said
        .into_iter()
        .map(|series| SeriesSummary {
            device: series.device,
            channel: series.channel,
            unit: series.unit,
            quarters: series
                .quarters
                .iter()
                .map(|quarter| Bucket {
                    start_ms: quarter.number * payload::QUARTER_MS,
                    count: quarter.count,
                    min: quarter.min,
                    max: quarter.max,
                    sum: quarter.sum,
                })
                .collect(),
        })
        .collect();
    SummaryWrite {
        entry,
        node,
        series,
    }
}
