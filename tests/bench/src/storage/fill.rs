//! A node's readings.db with more readings than anybody would send for a measurement, written through the store.
//!
//! Invariant: the node does not run meanwhile, and its rules count as having seen everything, so that it begins behind it.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use store::{
    Batch, Evaluated, IngestBatch, NewReading, OpenOptions, RuleCursor, SeriesId, SeriesNames,
    SeriesOwner, Store, flags,
};
use sync_engine::Lane;

/// Readings in one batch, and batches under way: as ten connections have them.
const BATCH: usize = 4_000;
const UNDER_WAY: usize = 8;

/// A level in tenths that wanders, and arrives some milliseconds after it was measured.
pub struct Gauge {
    tenths: i64,
    /// Xorshift (Marsaglia 2003): one reading must cost next to nothing to make up.
    state: u64,
}

impl Gauge {
    pub fn new(number: u64) -> Gauge {
        Gauge {
            tenths: 1_000 + i64::try_from(number % 1_000).unwrap_or(0),
            state: 88_172_645_463_325_252 + number,
        }
    }

    fn next(&mut self, series: SeriesId, at_ms: i64) -> NewReading {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.tenths += (self.state % 7) as i64 - 3;
        NewReading {
            series,
            at_ms: at_ms + (self.state >> 8) as i64 % 5,
            device_time: true,
            received_ms: at_ms + 12 + (self.state >> 16) as i64 % 30,
            value: self.tenths as f64 / 10.0,
            flags: flags::APPROVED,
            message: None,
        }
    }
}

/// A store that is being filled.
pub struct Filling {
    pub store: Store,
    series: Vec<SeriesId>,
    gauges: Vec<Gauge>,
}

/// The device of a series.
pub fn device(number: usize) -> String {
    format!("gauge-{number}")
}

impl Filling {
    /// Opens the files of a node that does not run.
    ///
    /// # Errors
    /// They are not there, or somebody has them.
    pub fn open(data_dir: &Path, series: usize) -> anyhow::Result<Filling> {
        let key = store::key_in_data_dir(data_dir, [0; 32])?;
        let store = Store::open(data_dir, &key, &OpenOptions::default())?;
        // What the rules have not seen would stay out of blocks.
        rules_have_seen(&store, i64::MAX)?;
        let interned: Result<Vec<SeriesId>, _> = (0..series)
            .map(|number| {
                store.readings().intern_series(
                    &SeriesNames {
                        device: &device(number),
                        channel: "level",
                        unit: "m",
                    },
                    SeriesOwner::Approved,
                    0,
                )
            })
            .collect();
        Ok(Filling {
            series: interned.context("too many series")?,
            gauges: (0..series as u64).map(Gauge::new).collect(),
            store,
        })
    }

    /// A reading of each series every `interval_ms` from `from_ms` until before `to_ms`; gives how many and how long it
    /// took.
    ///
    /// # Errors
    /// The store refuses.
    pub fn fill(
        &mut self,
        (from_ms, to_ms): (i64, i64),
        interval_ms: i64,
    ) -> anyhow::Result<(u64, Duration)> {
        let began = Instant::now();
        let mut count = 0;
        let mut waiting = VecDeque::new();
        let mut new = Vec::with_capacity(BATCH);
        let mut at_ms = from_ms;
        while at_ms < to_ms {
            for (series, gauge) in self.series.iter().zip(&mut self.gauges) {
                new.push(gauge.next(*series, at_ms));
                count += 1;
                if new.len() == BATCH {
                    let readings = std::mem::replace(&mut new, Vec::with_capacity(BATCH));
                    waiting.push_back(ingest(&self.store, readings));
                    if waiting.len() > UNDER_WAY
                        && let Some(first) = waiting.pop_front()
                    {
                        first.wait()?;
                    }
                }
            }
            at_ms += interval_ms;
        }
        waiting.push_back(ingest(&self.store, new));
        for ticket in waiting {
            ticket.wait()?;
        }
        Ok((count, began.elapsed()))
    }

    /// Lets go of the files.
    ///
    /// # Errors
    /// The store refuses.
    pub fn close(self) -> anyhow::Result<()> {
        rules_have_seen(&self.store, self.store.readings().newest_position())?;
        self.store.close();
        Ok(())
    }
}

fn ingest(
    store: &Store,
    readings: Vec<NewReading>,
) -> store::Ticket<store::Ingested, store::CommitError> {
    store.readings().ingest(IngestBatch {
        readings,
        ..IngestBatch::default()
    })
}

fn rules_have_seen(store: &Store, position: i64) -> anyhow::Result<()> {
    let mut batch = Batch::new(Lane::Life, 1);
    batch.rule_cursor = Some(RuleCursor {
        file_id: store.readings().file_id(),
        position,
        evaluated: Evaluated::default(),
        state: Vec::new(),
    });
    store.commit(batch).wait()?;
    Ok(())
}
