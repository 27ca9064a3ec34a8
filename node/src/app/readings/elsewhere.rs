//! What other nodes said of series, beside what this node heard itself.
//!
//! Invariant: buckets of two nodes are never added up, because they may have heard the same sensor: of each time the node
//! that heard most is shown, this one where they heard the same.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use store::{Bucket, BucketPage, BucketWidth, HeardBy, HeardSeries, Reader, SeriesKey, StoreError};
use sync_engine::NodeId;

use super::super::clock::rfc3339;

/// Nodes named beside a series, and asked for its buckets: those that heard most of it. A sensor is in reach of a few.
const NODES_MAX: usize = 16;
/// What a node says of times later than this is not shown: its clock is wrong, and it would stand in front of what is true.
const AHEAD_MAX_MS: i64 = 24 * 3_600_000;

/// The nodes besides `me` that heard a series.
pub(super) fn heard_by(
    reader: &Reader<'_>,
    me: &NodeId,
    key: &SeriesKey,
) -> Result<Vec<HeardBy>, StoreError> {
    reader.heard_by(key, me, NODES_MAX)
}

/// `[{"node", "name", "from", "to", "count", "last"}]`: who heard a series, those that heard most of it first.
pub(super) fn heard_by_value(
    heard: &[HeardBy],
    name_of: impl Fn(NodeId) -> Option<String>,
) -> Value {
    heard
        .iter()
        .map(|heard| {
            json!({
                "node": heard.node.to_string(),
                "name": name_of(heard.node),
                "from": rfc3339(heard.from_ms),
                "to": rfc3339(heard.to_ms),
                "count": heard.count,
                "last": heard.last.map(|last| json!({
                    "at": rfc3339(last.start_ms),
                    "min": last.min,
                    "mean": last.mean(),
                    "max": last.max,
                    "count": last.count,
                })),
            })
        })
        .collect()
}

/// A series that this node did not hear itself, as it is listed.
pub(super) fn series_value(
    series: &HeardSeries,
    heard: &[HeardBy],
    name_of: impl Fn(NodeId) -> Option<String>,
) -> Value {
    json!({
        "id": super::public_id(&series.key),
        "device": series.device,
        "channel": series.channel,
        "unit": if series.unit.is_empty() { Value::Null } else { json!(series.unit) },
        // Never a sum: two nodes may have heard the same readings.
        "count": heard.iter().map(|heard| heard.count).max().unwrap_or(0),
        "last": Value::Null,
        "heard_by": heard_by_value(heard, name_of),
    })
}

/// What other nodes said of the newest `limit` buckets of a range, node by node.
pub(super) fn buckets(
    reader: &Reader<'_>,
    me: &NodeId,
    key: &SeriesKey,
    width: BucketWidth,
    (from_ms, to_ms): (i64, i64),
    limit: usize,
    now_ms: i64,
) -> Result<Vec<(NodeId, BucketPage)>, StoreError> {
    let to_ms = to_ms.min(now_ms.saturating_add(AHEAD_MAX_MS));
    heard_by(reader, me, key)?
        .into_iter()
        .map(|heard| {
            let page = reader.buckets_said(&heard.node, key, width, (from_ms, to_ms), limit)?;
            Ok((heard.node, page))
        })
        .collect()
}

/// Buckets, each with the node whose it is.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Merged {
    pub(super) page: BucketPage,
    /// Whose the buckets are, in their order.
    sources: Vec<NodeId>,
}

/// The newest `limit` buckets of all.
pub(super) fn merge(
    me: NodeId,
    own: BucketPage,
    others: Vec<(NodeId, BucketPage)>,
    limit: usize,
) -> Merged {
    let mut best: BTreeMap<i64, (Bucket, NodeId)> = BTreeMap::new();
    let mut truncated = own.truncated;
    // Where an answer was cut off, what is older than it is not whole: nothing that old is answered.
    let mut whole_from_ms = i64::MIN;
    let mut cut = |page: &BucketPage| {
        truncated |= page.truncated;
        if let Some(oldest) = page.buckets.first().filter(|_| page.truncated) {
            whole_from_ms = whole_from_ms.max(oldest.start_ms);
        }
    };
    cut(&own);
    for bucket in own.buckets {
        best.insert(bucket.start_ms, (bucket, me));
    }
    for (node, page) in others {
        cut(&page);
        for bucket in page.buckets {
            let known = best.entry(bucket.start_ms).or_insert((bucket, node));
            if bucket.count > known.0.count {
                *known = (bucket, node);
            }
        }
    }
    let mut newest: Vec<(Bucket, NodeId)> = best.into_values().collect();
    newest.retain(|(bucket, _)| bucket.start_ms >= whole_from_ms);
    truncated |= newest.len() > limit;
    newest.drain(..newest.len().saturating_sub(limit));
    let (buckets, sources) = newest.into_iter().unzip();
    Merged {
        page: BucketPage { buckets, truncated },
        sources,
    }
}

impl Merged {
    /// When the buckets begin that are of one node.
    pub(super) fn starts_of(&self, node: NodeId) -> BTreeSet<i64> {
        let buckets = self.page.buckets.iter().zip(&self.sources);
        buckets
            .filter(|(_, source)| **source == node)
            .map(|(bucket, _)| bucket.start_ms)
            .collect()
    }

    /// `[{"node", "name", "here", "from", "to", "buckets"}]`: whose data this is, from the start of the first bucket to the
    /// end of the last one, the node that gave most first.
    pub(super) fn sources_value(
        &self,
        me: NodeId,
        width: BucketWidth,
        name_of: impl Fn(NodeId) -> Option<String>,
    ) -> Value {
        let mut by_node: BTreeMap<NodeId, (i64, i64, u64)> = BTreeMap::new();
        for (bucket, node) in self.page.buckets.iter().zip(&self.sources) {
            let (_, to_ms, buckets) =
                by_node
                    .entry(*node)
                    .or_insert((bucket.start_ms, bucket.start_ms, 0));
            *to_ms = bucket.start_ms.saturating_add(width.ms());
            *buckets += 1;
        }
        let mut sources: Vec<_> = by_node.into_iter().collect();
        sources.sort_by_key(|(_, (_, _, buckets))| std::cmp::Reverse(*buckets));
        sources
            .into_iter()
            .map(|(node, (from_ms, to_ms, buckets))| {
                json!({
                    "node": node.to_string(),
                    "name": name_of(node),
                    "here": node == me,
                    "from": rfc3339(from_ms),
                    "to": rfc3339(to_ms),
                    "buckets": buckets,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: NodeId = NodeId([1; 32]);
    const TRUCK: NodeId = NodeId([2; 32]);
    const BOAT: NodeId = NodeId([3; 32]);

    fn page(buckets: &[(i64, u64)], truncated: bool) -> BucketPage {
        let buckets = buckets.iter().map(|(start, count)| Bucket {
            start_ms: start * 900_000,
            count: *count,
            min: 1.0,
            max: 1.0,
            sum: *count as f64,
        });
        BucketPage {
            buckets: buckets.collect(),
            truncated,
        }
    }

    fn shown(merged: &Merged) -> Vec<(i64, u64, NodeId)> {
        let buckets = merged.page.buckets.iter().zip(&merged.sources);
        buckets
            .map(|(bucket, node)| (bucket.start_ms / 900_000, bucket.count, *node))
            .collect()
    }

    #[test]
    fn of_each_time_the_node_that_heard_most_is_shown_and_nothing_is_added_up() {
        let others = vec![
            (TRUCK, page(&[(1, 5), (2, 7), (3, 2)], false)),
            (BOAT, page(&[(2, 7), (4, 1)], false)),
        ];
        let merged = merge(ME, page(&[(1, 5), (3, 1)], false), others, 100);
        let expected = [(1, 5, ME), (2, 7, TRUCK), (3, 2, TRUCK), (4, 1, BOAT)];
        assert_eq!(shown(&merged), expected);
        assert!(!merged.page.truncated);
        let names = |node| (node == TRUCK).then(|| "Truck 3".to_owned());
        let sources = merged.sources_value(ME, BucketWidth::Quarter, names);
        assert_eq!(sources[0]["name"], "Truck 3");
        assert_eq!(sources[0]["buckets"], 2);
        assert_eq!(sources[0]["from"], "1970-01-01T00:30:00.000Z");
        assert_eq!(sources[0]["to"], "1970-01-01T01:00:00.000Z");
        let here: Vec<bool> = sources
            .as_array()
            .into_iter()
            .flatten()
            .map(|source| source["here"] == true)
            .collect();
        assert_eq!(here, [false, true, false]);
    }

    #[test]
    fn what_is_older_than_an_answer_that_was_cut_off_is_left_out_so_that_no_gap_is_shown() {
        let others = vec![(TRUCK, page(&[(1, 1), (2, 1), (8, 1)], false))];
        let merged = merge(ME, page(&[(5, 3), (9, 3)], true), others, 100);
        assert_eq!(shown(&merged), [(5, 3, ME), (8, 1, TRUCK), (9, 3, ME)]);
        assert!(merged.page.truncated);
        let newest = merge(ME, page(&[(1, 1), (2, 1), (3, 1)], false), Vec::new(), 2);
        assert_eq!(shown(&newest), [(2, 1, ME), (3, 1, ME)]);
        assert!(newest.page.truncated);
    }
}
