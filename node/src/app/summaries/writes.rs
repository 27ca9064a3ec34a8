//! What the store is to take in of what nodes say.

use store::{Bucket, EntryPlace, RawWrite, SeriesSummary, SummaryWrite};
use sync_engine::{Entry, LogId, NodeId, Payload};

use super::payload::{QUARTER_MS, SeriesSaid};
use super::raw::{KIND as RAW_KIND, RawQuarter, decode as decode_raw};

/// The readings in a stored entry; `None` for any other entry.
pub(in crate::app) fn readings_in(entry_bytes: &[u8]) -> Option<RawQuarter> {
    let Entry { header, payload } = Entry::decode(entry_bytes).ok()?;
    match payload {
        Payload::Plain(bytes) if header.kind == RAW_KIND => decode_raw(&bytes).ok()?,
        _ => None,
    }
}

/// What the store is to take in of readings that somebody gives away.
pub(in crate::app) fn raw_write(node: NodeId, place: EntryPlace, quarter: &RawQuarter) -> RawWrite {
    RawWrite {
        place,
        node,
        device: quarter.device.clone(),
        channel: quarter.channel.clone(),
        unit: quarter.unit.clone(),
        start_ms: quarter.number * QUARTER_MS,
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
                    start_ms: quarter.number * QUARTER_MS,
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
