//! What other nodes said of series, beside what this node heard itself.
//!
//! Invariant: buckets of two nodes are never added up, because they may have heard the same sensor: of each time the node
//! that heard most is shown, this one where they heard the same.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use store::{
    Bucket, BucketPage, BucketWidth, HeardBy, HeardSeries, Point, PointPage, Reader, SeriesKey,
    StoreError,
};
use sync_engine::NodeId;

use super::super::clock::rfc3339;
use super::super::{App, summaries};

/// Nodes named beside a series, and asked for its buckets: those that heard most of it. A sensor is in reach of a few.
const NODES_MAX: usize = 16;
/// What a node says of times later than this is not shown: its clock is wrong, and it would stand in front of what is true.
const AHEAD_MAX_MS: i64 = 24 * 3_600_000;

impl App {
    /// The other nodes that heard a series.
    pub(super) fn heard_elsewhere(
        &self,
        reader: &Reader<'_>,
        key: &SeriesKey,
    ) -> Result<Vec<HeardBy>, StoreError> {
        let now_ms = i64::try_from(self.clock.wall_ms()).unwrap_or(i64::MAX);
        heard_by(reader, &self.me.node, key, now_ms)
    }
}

fn heard_by(
    reader: &Reader<'_>,
    me: &NodeId,
    key: &SeriesKey,
    now_ms: i64,
) -> Result<Vec<HeardBy>, StoreError> {
    reader.heard_by(key, me, now_ms.saturating_add(AHEAD_MAX_MS), NODES_MAX)
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
    heard_by(reader, me, key, now_ms)?
        .into_iter()
        .map(|heard| {
            let page = reader.buckets_said(&heard.node, key, width, (from_ms, to_ms), limit)?;
            Ok((heard.node, page))
        })
        .collect()
}

/// Readings that one answer is made of, of each node that gave them away: a day of a sensor that sends each second.
const READINGS_MAX: u64 = 100_000;

/// The readings that other nodes gave away, at least the newest `limit` of each in a range, each whole as far as it goes
/// back.
pub(super) fn raw(
    reader: &Reader<'_>,
    me: &NodeId,
    key: &SeriesKey,
    (from_ms, to_ms): (i64, i64),
    limit: u64,
    now_ms: i64,
) -> Result<Vec<Raw>, StoreError> {
    let to_ms = to_ms.min(now_ms.saturating_add(AHEAD_MAX_MS));
    let mut all = Vec::new();
    for heard in heard_by(reader, me, key, now_ms)? {
        let limit = limit.min(READINGS_MAX);
        let page = reader.raw_entries(&heard.node, key, (from_ms, to_ms), limit)?;
        let entries = page.entries.iter().rev();
        let readings = entries.filter_map(|bytes| summaries::readings_in(bytes));
        let points: Vec<Point> = readings
            .flat_map(|quarter| quarter.readings)
            .filter(|(at_ms, _)| (from_ms..=to_ms).contains(at_ms))
            .map(|(at_ms, value)| Point {
                at_ms,
                value,
                // Of approved devices only; how else it came is not told.
                flags: store::flags::APPROVED,
            })
            .collect();
        if !points.is_empty() {
            all.push(Raw {
                node: heard.node,
                points,
                is_cut_off: page.truncated,
            });
        }
    }
    Ok(all)
}

/// What one node gave away.
pub(super) struct Raw {
    node: NodeId,
    /// In the order of time.
    points: Vec<Point>,
    /// Whether it has older readings, which were left out.
    is_cut_off: bool,
}

impl Raw {
    /// As minutes.
    pub(super) fn minutes(&self) -> (NodeId, BucketPage) {
        let width_ms = BucketWidth::Minute.ms();
        let buckets = self
            .points
            .chunk_by(|a, b| a.at_ms.div_euclid(width_ms) == b.at_ms.div_euclid(width_ms))
            .filter_map(|points| {
                let mut parts = points.iter().map(|point| Bucket {
                    start_ms: point.at_ms - point.at_ms.rem_euclid(width_ms),
                    count: 1,
                    min: point.value,
                    max: point.value,
                    sum: point.value,
                });
                let mut bucket = parts.next()?;
                parts.for_each(|part| bucket.add(&part));
                Some(bucket)
            });
        let page = BucketPage {
            buckets: buckets.collect(),
            truncated: self.is_cut_off,
        };
        (self.node, page)
    }
}

/// The newest `limit` readings of all, one that several nodes heard once, and whose they are: `[{"node", "name", "here",
/// "from", "to", "points"}]`, this node's where it heard it too.
pub(super) fn merge_raw(
    me: NodeId,
    own: PointPage,
    others: &[Raw],
    limit: usize,
    name_of: impl Fn(NodeId) -> Option<String>,
) -> (PointPage, Value) {
    let mut truncated = own.truncated;
    // As of buckets: what is older than this node's own readings, where those were cut off, is not whole.
    let own_from_ms = own.points.first().filter(|_| own.truncated);
    let whole_from_ms = own_from_ms.map_or(i64::MIN, |point| point.at_ms);
    let known: BTreeSet<(i64, u64)> = own.points.iter().map(reading_of).collect();
    let mut all: Vec<(Point, NodeId)> = own.points.into_iter().map(|point| (point, me)).collect();
    let mut heard = known;
    for other in others {
        truncated |= other.is_cut_off;
        let new = other
            .points
            .iter()
            .filter(|point| heard.insert(reading_of(point)));
        all.extend(new.map(|point| (*point, other.node)));
    }
    all.retain(|(point, _)| point.at_ms >= whole_from_ms);
    all.sort_by_key(|(point, _)| point.at_ms);
    truncated |= all.len() > limit;
    all.drain(..all.len().saturating_sub(limit));
    let times = all
        .iter()
        .map(|(point, node)| (*node, point.at_ms, point.at_ms));
    let sources = sources(times, me, name_of);
    let points = all.into_iter().map(|(point, _)| point).collect();
    (PointPage { points, truncated }, sources)
}

/// What makes one reading the same as another of a series.
fn reading_of(point: &Point) -> (i64, u64) {
    (point.at_ms, point.value.to_bits())
}

/// Who gave what of an answer: nodes with beginnings and ends, in the order of time; the node that gave most first.
fn sources(
    points: impl Iterator<Item = (NodeId, i64, i64)>,
    me: NodeId,
    name_of: impl Fn(NodeId) -> Option<String>,
) -> Value {
    let mut by_node: BTreeMap<NodeId, (i64, i64, u64)> = BTreeMap::new();
    for (node, from_ms, until_ms) in points {
        let (_, to_ms, count) = by_node.entry(node).or_insert((from_ms, until_ms, 0));
        *to_ms = until_ms;
        *count += 1;
    }
    let mut sources: Vec<_> = by_node.into_iter().collect();
    sources.sort_by_key(|(_, (_, _, count))| std::cmp::Reverse(*count));
    sources
        .into_iter()
        .map(|(node, (from_ms, to_ms, count))| {
            json!({
                "node": node.to_string(),
                "name": name_of(node),
                "here": node == me,
                "from": rfc3339(from_ms),
                "to": rfc3339(to_ms),
                "points": count,
            })
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
    // Where this node's own answer was cut off, what is older is not whole: nothing that old is answered. Where another's
    // was, only what is its own is missing.
    let own_from = own.buckets.first().filter(|_| own.truncated);
    let whole_from_ms = own_from.map_or(i64::MIN, |oldest| oldest.start_ms);
    for bucket in own.buckets {
        best.insert(bucket.start_ms, (bucket, me));
    }
    for (node, page) in others {
        truncated |= page.truncated;
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

    /// `[{"node", "name", "here", "from", "to", "points"}]`: whose data this is, from the start of the first bucket to the
    /// end of the last one, the node that gave most first.
    pub(super) fn sources_value(
        &self,
        me: NodeId,
        width: BucketWidth,
        name_of: impl Fn(NodeId) -> Option<String>,
    ) -> Value {
        let buckets = self.page.buckets.iter().zip(&self.sources);
        let times = buckets.map(|(bucket, node)| {
            let to_ms = bucket.start_ms.saturating_add(width.ms());
            (*node, bucket.start_ms, to_ms)
        });
        sources(times, me, name_of)
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
        assert_eq!(sources[0]["points"], 2);
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

    fn points(readings: &[(i64, f64)]) -> Vec<Point> {
        let point = |(at_ms, value): &(i64, f64)| Point {
            at_ms: *at_ms,
            value: *value,
            flags: 0,
        };
        readings.iter().map(point).collect()
    }

    #[test]
    fn a_reading_that_two_nodes_heard_is_shown_once_and_its_minute_is_of_the_one_that_heard_more() {
        let truck = Raw {
            node: TRUCK,
            points: points(&[(1_000, 1.0), (2_000, 2.0), (61_000, 4.0)]),
            is_cut_off: false,
        };
        let own = PointPage {
            points: points(&[(2_000, 2.0), (2_000, 2.5)]),
            truncated: false,
        };
        let (page, sources) = merge_raw(ME, own, &[truck], 10, |_| None);
        let expected = [(1_000, 1.0), (2_000, 2.0), (2_000, 2.5), (61_000, 4.0)];
        assert_eq!(page.points, points(&expected));
        assert_eq!(sources.as_array().map(Vec::len), Some(2));
        let truck = Raw {
            node: TRUCK,
            points: points(&expected),
            is_cut_off: true,
        };
        let (node, minutes) = truck.minutes();
        let counts: Vec<(i64, u64)> = minutes
            .buckets
            .iter()
            .map(|bucket| (bucket.start_ms, bucket.count))
            .collect();
        assert_eq!((node, counts), (TRUCK, vec![(0, 3), (60_000, 1)]));
        assert!(minutes.truncated);
        let (newest, _) = merge_raw(ME, PointPage::default(), &[truck], 1, |_| None);
        assert_eq!(newest.points, points(&[(61_000, 4.0)]));
        assert!(newest.truncated);
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

    #[test]
    fn another_node_that_was_cut_off_hides_nothing_of_what_this_node_heard() {
        let others = vec![(TRUCK, page(&[(8, 4), (9, 1)], true))];
        let own = page(&[(1, 3), (5, 3), (9, 3)], false);
        let merged = merge(ME, own, others, 100);
        let expected = [(1, 3, ME), (5, 3, ME), (8, 4, TRUCK), (9, 3, ME)];
        assert_eq!(shown(&merged), expected);
        assert!(merged.page.truncated, "and it is said that there is more");
        let truck = Raw {
            node: TRUCK,
            points: points(&[(8_000, 4.0), (9_000, 1.0)]),
            is_cut_off: true,
        };
        let own = PointPage {
            points: points(&[(1_000, 3.0), (9_000, 1.0)]),
            truncated: false,
        };
        let (page, _) = merge_raw(ME, own, &[truck], 10, |_| None);
        let expected = [(1_000, 3.0), (8_000, 4.0), (9_000, 1.0)];
        assert_eq!(page.points, points(&expected));
        assert!(page.truncated);
    }
}
