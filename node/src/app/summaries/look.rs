//! One look at what is due, and saying what it found.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use store::{Batch, DueQuarter, QuarterSaid, SeriesId, SeriesKey};
use sync_engine::Lane;

use super::payload::{self, KIND, SeriesSaid, decode};
use super::replicate::{Budget, Replicate};
use super::rollups::{Rollups, quarter_of, sayable};
use super::{SETTLE_MS, now_ms, summary_write};
use crate::app::error::AppError;
use crate::app::own_log::{OwnLog, entry};
use crate::app::readings::{blocking, fault};

/// Marked quarters looked at in one go: all that 1,000 series make in a day without a look.
const MARKS_PER_LOOK: usize = 100_000;
/// Quarters said in one go, in some 24 entries of 250 KB together: whoever makes a sensor send late readings without end
/// makes this node say at most 24 MB a day. The rest is said the next time, the newest first.
const QUARTERS_PER_LOOK: usize = 16_384;
/// Quarters asked for at once, so that no reader of the store is held for long.
const ASK_AT_ONCE: usize = 500;

/// Who says them.
pub(super) struct Speaker {
    pub(super) log: OwnLog,
    /// Which readings themselves are given away.
    pub(super) replicate: Replicate,
}

/// How much one look said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct HowMuch {
    pub(super) quarters: usize,
    pub(super) bytes: usize,
    /// Quarters that were due and are not said, because nobody would show them.
    pub(super) in_vain: usize,
}

/// Quarters that were settled, with what was known of them: what is in the tail is due at every look.
pub(super) type Seen = HashMap<(SeriesId, i64), i64>;

/// What one look found to say.
#[derive(Default)]
struct Found {
    series: BTreeMap<SeriesKey, SeriesSaid>,
    quarters: usize,
    in_vain: usize,
    /// Quarters of which the readings themselves are given away.
    raw: Vec<(SeriesId, i64)>,
    /// Due ones that are settled when all of this is said.
    settled: Vec<DueQuarter>,
}

impl Speaker {
    /// Says what there is to say.
    pub(super) async fn look(
        self: &Arc<Self>,
        in_tail: &mut Seen,
        budget: &mut Budget,
    ) -> Result<HowMuch, AppError> {
        if !self.log.may_write(Lane::Summary) {
            return Ok(HowMuch::default());
        }
        let (speaker, seen) = (Arc::clone(self), std::mem::take(in_tail));
        let (found, due, seen) = blocking("read what summaries have not said", move || {
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
            in_vain,
            raw,
            settled,
        } = found;
        // Before the summaries, which are what tells the next look that nothing is left to say.
        self.give_raw(raw, budget).await?;
        let bytes = self.say(&series.into_values().collect::<Vec<_>>()).await?;
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
            forgotten.map_err(|error| fault("note what was said", error))?;
        }
        Ok(HowMuch {
            quarters,
            bytes,
            in_vain,
        })
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
                found.settled.push(*due);
                let said = match said {
                    QuarterSaid::Nothing => None,
                    QuarterSaid::Last(said) => Some(quarter_of(&said)),
                    QuarterSaid::InVain => {
                        found.in_vain += 1;
                        continue;
                    }
                };
                let bucket = rollups.take(readings, due)?;
                let now = bucket.as_ref().and_then(sayable);
                let Some(now) = now.filter(|now| said != Some(*now)) else {
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

    /// Writes entries and rows in one transaction each; answers how many bytes.
    async fn say(&self, series: &[SeriesSaid]) -> Result<usize, AppError> {
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
        Ok(bytes)
    }
}
