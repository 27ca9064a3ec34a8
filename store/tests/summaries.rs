//! What nodes say that they heard, as a view: who said what last, for how long as quarters, and again by a rebuild.
#![allow(clippy::unwrap_used)]

mod common;

use common::{commit, names, node, node_id};
use store::{
    Batch, Bucket, BucketWidth, CommitNo, Disposition, IngestBatch, LocalEntry, NewReading,
    QUARTER_MS, QuarterSaid, RebuildCommit, SeriesKey, SeriesOwner, SeriesSummary, Store,
    SummaryWrite, flags,
};
use sync_engine::{GroupId, Lane, ObjectId};

const DAY_MS: i64 = 24 * 3_600_000;
/// 2026-03-01 12:00 UTC.
const NOON_MS: i64 = 1_772_366_400_000;

const FOR_EVER_MS: i64 = i64::MAX;

fn bucket(start_ms: i64, count: u64) -> Bucket {
    Bucket {
        start_ms,
        count,
        min: 1.0,
        max: 3.0,
        sum: 2.0 * count as f64,
    }
}

fn said(seed: u8, device: &str, quarters: &[Bucket]) -> SummaryWrite {
    SummaryWrite {
        entry: None,
        node: node_id(seed),
        series: vec![SeriesSummary {
            device: device.into(),
            channel: "level".into(),
            unit: "m".into(),
            quarters: quarters.to_vec(),
        }],
    }
}

/// A batch that takes in what a node says; its entry stands in our own log, which the view does not mind.
fn say(store: &Store, said: SummaryWrite) -> (CommitNo, SummaryWrite) {
    let mut batch = Batch::new(Lane::Summary, 1);
    batch.local.push(LocalEntry {
        group: GroupId::SHARED,
        lane: Lane::Summary,
        bytes: b"a summary".to_vec(),
        kind: 0x0302,
        object: ObjectId([1; 16]),
        disposition: Disposition::Applied,
    });
    batch.summaries.push(said.clone());
    (commit(store, batch).commit, said)
}

fn key(device: &str) -> SeriesKey {
    SeriesKey::of(device, "level", "m")
}

fn buckets(store: &Store, seed: u8, device: &str, width: BucketWidth) -> Vec<(i64, u64)> {
    let range = (i64::MIN, i64::MAX);
    let page = store
        .read(|reader| reader.buckets_said(&node_id(seed), &key(device), width, range, 100))
        .unwrap();
    assert!(!page.truncated);
    page.buckets
        .iter()
        .map(|bucket| (bucket.start_ms, bucket.count))
        .collect()
}

fn fingerprint(store: &Store) -> [u8; 32] {
    store.read(|reader| reader.views_fingerprint()).unwrap()
}

fn rebuild(store: &Store, all: &[(CommitNo, SummaryWrite)]) {
    let mut rebuild = store.begin_rebuild().unwrap();
    for (commit, said) in all {
        let replayed = RebuildCommit {
            commit: *commit,
            summaries: vec![said.clone()],
            ..RebuildCommit::default()
        };
        rebuild.write(vec![replayed]).unwrap();
    }
    rebuild.finish().unwrap();
}

fn collapse(store: &Store, now_ms: i64) {
    while store
        .collapse_summaries(now_ms.unsigned_abs())
        .wait()
        .unwrap()
    {}
}

#[test]
fn what_a_node_says_last_of_a_quarter_stands_and_two_nodes_stand_beside_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let next_ms = NOON_MS + QUARTER_MS;
    say(
        &store,
        said(5, "gauge", &[bucket(NOON_MS, 10), bucket(next_ms, 4)]),
    );
    say(&store, said(5, "gauge", &[bucket(NOON_MS, 12)]));
    say(&store, said(6, "gauge", &[bucket(NOON_MS, 11)]));
    let quarters = buckets(&store, 5, "gauge", BucketWidth::Quarter);
    assert_eq!(quarters, [(NOON_MS, 12), (next_ms, 4)]);
    assert_eq!(
        buckets(&store, 6, "gauge", BucketWidth::Quarter),
        [(NOON_MS, 11)]
    );
    assert_eq!(
        buckets(&store, 5, "gauge", BucketWidth::Hour),
        [(NOON_MS, 16)]
    );
    assert_eq!(buckets(&store, 7, "gauge", BucketWidth::Hour), []);

    let heard = store
        .read(|reader| reader.heard_by(&key("gauge"), &node_id(6), FOR_EVER_MS, 10))
        .unwrap();
    let [heard] = heard.try_into().unwrap();
    assert_eq!(
        (heard.node, heard.from_ms, heard.to_ms, heard.count),
        (node_id(5), NOON_MS, next_ms + QUARTER_MS, 16),
        "whoever asks is not named"
    );
    assert_eq!(heard.last, Some(bucket(next_ms, 4)));
    let known = store
        .read(|reader| {
            reader.said_quarters(&node_id(5), &[(key("gauge"), next_ms), (key("gauge"), 0)])
        })
        .unwrap();
    let last = QuarterSaid::Last(bucket(next_ms, 4));
    assert_eq!(known, [last, QuarterSaid::Nothing]);
}

#[test]
fn the_newest_are_answered_and_a_time_of_which_nobody_speaks_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let early_ms = 1_577_836_800_000;
    let late_ms = 4_102_444_800_000 - QUARTER_MS;
    say(
        &store,
        said(
            5,
            "gauge",
            &[bucket(early_ms, 1), bucket(NOON_MS, 2), bucket(late_ms, 3)],
        ),
    );
    let all = buckets(&store, 5, "gauge", BucketWidth::Quarter);
    assert_eq!(all, [(early_ms, 1), (NOON_MS, 2), (late_ms, 3)]);
    let page = store
        .read(|reader| {
            let range = (NOON_MS - DAY_MS, NOON_MS + DAY_MS);
            reader.buckets_said(&node_id(5), &key("gauge"), BucketWidth::Hour, range, 1)
        })
        .unwrap();
    assert_eq!(page.buckets.len(), 1);
    let page = store
        .read(|reader| {
            let range = (i64::MIN, i64::MAX);
            reader.buckets_said(&node_id(5), &key("gauge"), BucketWidth::Quarter, range, 2)
        })
        .unwrap();
    assert_eq!(
        page.buckets.first().map(|bucket| bucket.start_ms),
        Some(NOON_MS)
    );
    assert!(page.truncated);
}

#[test]
fn a_node_whose_clock_was_wrong_once_is_shown_with_what_it_heard_until_now() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let in_2099_ms = 4_102_444_800_000 - QUARTER_MS;
    say(&store, said(5, "gauge", &[bucket(in_2099_ms, 3)]));
    let heard = |until_ms: i64| {
        store
            .read(|reader| reader.heard_by(&key("gauge"), &node_id(1), until_ms, 10))
            .unwrap()
    };
    let now_ms = NOON_MS + DAY_MS;
    assert_eq!(heard(now_ms), [], "nothing that can be shown");
    say(
        &store,
        said(
            5,
            "gauge",
            &[bucket(NOON_MS, 10), bucket(NOON_MS + QUARTER_MS, 4)],
        ),
    );
    // The same node goes on about another series.
    let later: Vec<Bucket> = (2..40)
        .map(|quarter| bucket(NOON_MS + quarter * QUARTER_MS, 1))
        .collect();
    say(&store, said(5, "mast", &later));
    let [shown] = heard(now_ms).try_into().unwrap();
    assert_eq!(
        (shown.from_ms, shown.to_ms, shown.count),
        (NOON_MS, NOON_MS + 2 * QUARTER_MS, 17)
    );
    assert_eq!(shown.last, Some(bucket(NOON_MS + QUARTER_MS, 4)));
    // Where it is long ago it is not looked for without end.
    let longer: Vec<Bucket> = (40..140)
        .map(|quarter| bucket(NOON_MS + quarter * QUARTER_MS, 1))
        .collect();
    say(&store, said(5, "mast", &longer));
    let [shown] = heard(NOON_MS + 2 * DAY_MS).try_into().unwrap();
    assert_eq!(shown.last, None);
    assert!(shown.to_ms > NOON_MS && shown.to_ms < NOON_MS + 2 * DAY_MS);
}

#[test]
fn old_quarters_become_hours_and_a_rebuild_gives_the_same_rows() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let mut all = Vec::new();
    for quarter in 0..9 {
        all.push(say(
            &store,
            said(5, "gauge", &[bucket(NOON_MS + quarter * QUARTER_MS, 10)]),
        ));
    }
    all.push(say(&store, said(6, "mast", &[bucket(NOON_MS, 7)])));
    let hours = buckets(&store, 5, "gauge", BucketWidth::Hour);
    assert_eq!(
        hours.iter().map(|(_, count)| *count).collect::<Vec<_>>(),
        [40, 40, 10]
    );
    let before = fingerprint(&store);
    rebuild(&store, &all);
    assert_eq!(fingerprint(&store), before);

    // The first hour is old enough, the second not yet.
    collapse(&store, NOON_MS + 3_600_000 + 90 * DAY_MS);
    assert_ne!(fingerprint(&store), before);
    assert_eq!(buckets(&store, 5, "gauge", BucketWidth::Hour), hours);
    let quarters = buckets(&store, 5, "gauge", BucketWidth::Quarter);
    assert_eq!(quarters.len(), 5);
    assert_eq!(quarters[0].0, NOON_MS + 3_600_000);
    let collapsed = fingerprint(&store);
    rebuild(&store, &all);
    assert_eq!(
        fingerprint(&store),
        collapsed,
        "what were hours are hours again"
    );

    // A quarter of an hour that is one already is said again: nobody can take the first out of the hour, so it stands.
    let count = |store: &Store| {
        let heard =
            store.read(|reader| reader.heard_by(&key("gauge"), &node_id(6), FOR_EVER_MS, 10));
        heard.unwrap()[0].count
    };
    assert_eq!(count(&store), 90);
    all.push(say(&store, said(5, "gauge", &[bucket(NOON_MS, 11)])));
    collapse(&store, NOON_MS + 3_600_000 + 90 * DAY_MS);
    assert_eq!(buckets(&store, 5, "gauge", BucketWidth::Hour), hours);
    assert_eq!(count(&store), 90);
    assert_eq!(fingerprint(&store), collapsed);
    rebuild(&store, &all);
    assert_eq!(fingerprint(&store), collapsed);
}

#[test]
fn an_hour_whose_quarters_come_after_it_was_made_is_whole_all_the_same_and_after_a_rebuild() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let thirds = |quarter: i64, count: u64| Bucket {
        sum: count as f64 / 3.0,
        ..bucket(NOON_MS + quarter * QUARTER_MS, count)
    };
    let later_ms = NOON_MS + 100 * DAY_MS;
    let mut all = Vec::new();
    // A log that was held up for a season comes while hours are made: the first entry has the first quarter alone.
    all.push(say(&store, said(5, "gauge", &[thirds(0, 40)])));
    collapse(&store, later_ms);
    let rest = [thirds(1, 10), thirds(3, 7)];
    all.push(say(&store, said(5, "gauge", &rest)));
    collapse(&store, later_ms);
    let more = [thirds(2, 20), thirds(3, 8), thirds(4, 1), thirds(8, 2)];
    all.push(say(&store, said(5, "gauge", &more)));
    // Hours that nobody spoke of before, and one that is too young.
    all.push(say(&store, said(5, "mast", &[thirds(0, 5), thirds(1, 5)])));
    all.push(say(
        &store,
        said(5, "mast", &[bucket(later_ms - DAY_MS, 3)]),
    ));
    collapse(&store, later_ms);
    all.push(say(&store, said(5, "mast", &[thirds(2, 5)])));
    let hour_ms = |hour: i64| NOON_MS + hour * 4 * QUARTER_MS;
    assert_eq!(
        buckets(&store, 5, "gauge", BucketWidth::Hour),
        [(hour_ms(0), 77), (hour_ms(1), 1), (hour_ms(2), 2)]
    );
    assert_eq!(
        buckets(&store, 5, "mast", BucketWidth::Hour),
        [(hour_ms(0), 15), (later_ms - DAY_MS, 3)]
    );
    let heard = store
        .read(|reader| reader.heard_by(&key("gauge"), &node_id(6), FOR_EVER_MS, 10))
        .unwrap();
    assert_eq!(heard[0].count, 80);
    let known = store
        .read(|reader| {
            let asked = [0, 5].map(|quarter| (key("gauge"), NOON_MS + quarter * QUARTER_MS));
            reader.said_quarters(&node_id(5), &asked)
        })
        .unwrap();
    assert_eq!(known, [QuarterSaid::InVain, QuarterSaid::Nothing]);
    let before = fingerprint(&store);
    rebuild(&store, &all);
    assert_eq!(fingerprint(&store), before);
    collapse(&store, later_ms);
    assert_eq!(fingerprint(&store), before);
}

#[test]
fn a_node_that_invents_series_without_end_is_shown_with_ten_thousand() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    for part in 0..11 {
        let mut many = said(5, "", &[]);
        many.series = (0..1_000)
            .map(|number| SeriesSummary {
                device: format!("invented-{part}-{number}"),
                channel: "x".into(),
                unit: String::new(),
                quarters: vec![bucket(NOON_MS, 1)],
            })
            .collect();
        say(&store, many);
    }
    say(&store, said(6, "gauge", &[bucket(NOON_MS, 1)]));
    let shown = |device: &str, seed: u8| {
        let key = SeriesKey::of(device, "x", "");
        let heard = store
            .read(|reader| reader.heard_by(&key, &node_id(1), FOR_EVER_MS, 10))
            .unwrap();
        heard.iter().any(|heard| heard.node == node_id(seed))
    };
    assert!(shown("invented-9-999", 5));
    assert!(!shown("invented-10-0", 5));
    let named = SeriesKey::of("invented-10-0", "x", "");
    let named = store
        .read(|reader| reader.heard_series_by_key(&named))
        .unwrap();
    assert_eq!(named, None, "nor does its name take up room");
    let asked = ["invented-9-999", "invented-10-0"].map(|device| SeriesKey::of(device, "x", ""));
    let asked: Vec<(SeriesKey, i64)> = asked
        .into_iter()
        .flat_map(|key| [(key, NOON_MS), (key, NOON_MS + QUARTER_MS)])
        .collect();
    let known = store
        .read(|reader| reader.said_quarters(&node_id(5), &asked))
        .unwrap();
    let (last, in_vain) = (QuarterSaid::Last(bucket(NOON_MS, 1)), QuarterSaid::InVain);
    assert_eq!(known, [last, QuarterSaid::Nothing, in_vain, in_vain]);
    assert_eq!(
        buckets(&store, 6, "gauge", BucketWidth::Quarter).len(),
        1,
        "others are not held up"
    );
}

fn reading(series: store::SeriesId, at_ms: i64, received_ms: i64, flags: u8) -> NewReading {
    NewReading {
        series,
        at_ms,
        device_time: true,
        received_ms,
        value: 2.0,
        flags,
        message: None,
    }
}

#[test]
fn what_is_due_is_of_approved_devices_over_and_not_absurdly_late() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let readings = store.readings();
    let series = readings
        .intern_series(&names("gauge", "level", "m"), SeriesOwner::Approved, 0)
        .unwrap();
    let stranger = readings
        .intern_series(&names("stranger", "level", "m"), SeriesOwner::Approved, 0)
        .unwrap();
    let now_ms = NOON_MS + 60_000;
    let batch = IngestBatch {
        readings: vec![
            reading(series, NOON_MS - 1, now_ms, flags::APPROVED),
            reading(series, NOON_MS + 1, now_ms, flags::APPROVED),
            reading(series, NOON_MS - 29 * DAY_MS, now_ms, flags::KEPT),
            reading(series, NOON_MS - 31 * DAY_MS, now_ms, flags::APPROVED),
            reading(stranger, NOON_MS - 1, now_ms, 0),
        ],
        ..IngestBatch::default()
    };
    readings.ingest(batch).wait().unwrap();
    let due = readings.due_summaries(now_ms, 100).unwrap();
    let found: Vec<_> = due.iter().map(|due| (due.series, due.start_ms)).collect();
    assert_eq!(
        found,
        [
            (series, NOON_MS - QUARTER_MS),
            (series, NOON_MS - 29 * DAY_MS)
        ]
    );
}
