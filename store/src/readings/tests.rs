//! The keeper at work on a small scale: a tail of some readings instead of 100,000, so that every case sees all of it.
#![allow(clippy::unwrap_used)]

mod dead_letters;
mod devices;
mod flagged;

use std::collections::BTreeMap;

use proptest::prelude::*;
use rusqlite::Connection;

use super::block::DAY_MS;
use super::compact::Schedule;
use super::*;
use crate::key::DbKey;
use crate::muster::batch::Evaluated;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;
/// A midnight, so that days are easy to read in the tests.
const START_MS: i64 = 20_000 * DAY_MS;
const FOR_EVER: Retention = Retention {
    raw_ms: None,
    rollups_ms: None,
};
const WIDTHS: [(BucketWidth, i64); 3] = [
    (BucketWidth::Minute, MINUTE_MS),
    (BucketWidth::Quarter, 15 * MINUTE_MS),
    (BucketWidth::Hour, HOUR_MS),
];

fn small() -> Limits {
    Limits {
        schedule: Schedule {
            tail_start: 40,
            tail_keep: 10,
            chunk: 25,
            chunk_max: 100,
            urgent: 120,
            chunk_min: 5,
            ..Schedule::default()
        },
        ..Limits::default()
    }
}

fn source(dir: &Path) -> Source {
    Source::new(
        dir,
        "readings.db",
        &DbKey::new([3; 32]),
        &OpenOptions::default(),
    )
}

fn open(dir: &Path, limits: Limits) -> Readings {
    let readings =
        Readings::open_with(&source(dir), &OpenOptions::default(), None, limits).unwrap();
    pass_rules(&readings);
    readings
}

/// The rules have seen everything, whatever comes.
fn pass_rules(readings: &Readings) {
    readings.rules_mark()(&RuleCursor {
        file_id: readings.file_id(),
        position: i64::MAX,
        evaluated: Evaluated::default(),
        state: Vec::new(),
    });
}

fn sql(dir: &Path) -> Connection {
    source(dir).open(Role::Writer).unwrap()
}

fn number(dir: &Path, statement: &str) -> i64 {
    sql(dir).query_row(statement, [], |row| row.get(0)).unwrap()
}

/// What a series is called.
fn names<'a>(device: &'a str, channel: &'a str, unit: &'a str) -> SeriesNames<'a> {
    SeriesNames {
        device,
        channel,
        unit,
    }
}

fn reading(series: SeriesId, at_ms: i64, value: f64) -> NewReading {
    NewReading {
        series,
        at_ms,
        device_time: true,
        received_ms: at_ms + 5,
        value,
        flags: flags::APPROVED,
        message: None,
    }
}

fn ingest(readings: &Readings, new: Vec<NewReading>) -> Ingested {
    let batch = IngestBatch {
        readings: new,
        ..IngestBatch::default()
    };
    readings.ingest(batch).wait().unwrap()
}

/// Until the keeper has nothing left to do at that time.
fn settle(readings: &Readings, now_ms: i64, retention: Retention) {
    while readings.expire_readings(now_ms, retention).wait().unwrap() {}
}

fn points(readings: &Readings, series: SeriesId) -> Vec<(i64, u64)> {
    let page = readings
        .points(series, i64::MIN, i64::MAX, POINTS_MAX)
        .unwrap();
    assert!(!page.truncated);
    let mut points: Vec<_> = page
        .points
        .iter()
        .map(|point| (point.at_ms, point.value.to_bits()))
        .collect();
    points.sort_unstable();
    points
}

fn buckets(readings: &Readings, series: SeriesId, width: BucketWidth) -> Vec<Bucket> {
    let page = readings
        .buckets(series, width, i64::MIN, i64::MAX, POINTS_MAX)
        .unwrap();
    assert!(!page.truncated);
    page.buckets
}

/// What buckets should be. Values in these tests are whole, so sums do not depend on their order.
fn folded(rows: &[(i64, f64)], width_ms: i64) -> Vec<Bucket> {
    let mut folded: BTreeMap<i64, Bucket> = BTreeMap::new();
    for (at_ms, value) in rows {
        let start_ms = at_ms.div_euclid(width_ms) * width_ms;
        let bucket = folded.entry(start_ms).or_insert(Bucket {
            start_ms,
            count: 0,
            min: *value,
            max: *value,
            sum: 0.0,
        });
        bucket.count += 1;
        bucket.min = bucket.min.min(*value);
        bucket.max = bucket.max.max(*value);
        bucket.sum += value;
    }
    folded.into_values().collect()
}

#[track_caller]
fn holds(readings: &Readings, series: SeriesId, rows: &[(i64, f64)]) {
    let mut expected: Vec<_> = rows
        .iter()
        .map(|(at, value)| (*at, value.to_bits()))
        .collect();
    expected.sort_unstable();
    assert_eq!(points(readings, series), expected);
    for (width, width_ms) in WIDTHS {
        assert_eq!(
            buckets(readings, series, width),
            folded(rows, width_ms),
            "{width:?}"
        );
    }
}

#[test]
fn what_leaves_the_tail_is_still_due_until_it_was_said_and_again_when_more_came() {
    let dir = tempfile::tempdir().unwrap();
    let readings = open(dir.path(), small());
    let series = readings
        .intern_series(&names("d", "x", "m"), SeriesOwner::Approved, 0)
        .unwrap();
    let later = START_MS + DAY_MS;
    let due =
        |readings: &Readings| -> Vec<DueQuarter> { readings.due_summaries(later, 1_000).unwrap() };
    let some = |from: i64| {
        (from..from + 60)
            .map(|n| reading(series, START_MS + n * 1_000, 1.0))
            .collect()
    };
    ingest(&readings, some(0));
    settle(&readings, later, FOR_EVER);
    assert!(number(dir.path(), "SELECT count(*) FROM summary_due") > 0);
    let [said] = due(&readings).try_into().unwrap();
    assert_eq!((said.series, said.start_ms), (series, START_MS));

    // Something comes between the look and the word that it was said.
    ingest(&readings, some(60));
    settle(&readings, later, FOR_EVER);
    readings.summaries_said(vec![said]).wait().unwrap();
    let [again] = due(&readings).try_into().unwrap();
    assert!(again.stamp > said.stamp);

    readings.close();
    let crashed = tempfile::tempdir().unwrap();
    std::fs::copy(
        dir.path().join("readings.db"),
        crashed.path().join("readings.db"),
    )
    .unwrap();
    let readings = open(crashed.path(), small());
    assert_eq!(due(&readings), [again], "a restart forgets nothing");
    readings.summaries_said(vec![again]).wait().unwrap();
    settle(&readings, later + DAY_MS, FOR_EVER);
    readings.summaries_said(due(&readings)).wait().unwrap();
    assert_eq!(
        number(crashed.path(), "SELECT count(*) FROM summary_due"),
        0
    );
}

/// As a power cut leaves it: whatever is in the files at this moment.
fn copy_files(from: &Path, to: &Path) {
    for name in ["readings.db", "readings.db-wal"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, ..ProptestConfig::default() })]

    // Rows: series, day, second of the day, value, whether the device is approved. Small numbers, so that late readings,
    // duplicates and contradictions are frequent.
    #[test]
    fn raw_readings_and_rollups_are_those_of_a_model_whatever_was_moved_merged_or_cut_short(
        batches in proptest::collection::vec(
            proptest::collection::vec((0usize..3, 0i64..4, 0i64..7_200, 0u8..4, prop::bool::weighted(0.8)), 1..40), 1..25),
        restart_every in 3usize..10, settle_every in 2usize..6,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut readings = open(dir.path(), small());
        let mut model: [Vec<(i64, f64)>; 3] = Default::default();
        let series: Vec<_> = (0..3)
            .map(|number| readings.intern_series(&names("d", &number.to_string(), "m"), SeriesOwner::Approved, 0).unwrap())
            .collect();
        for (number, rows) in batches.iter().enumerate() {
            let new = rows.iter().map(|(which, day, second, value, approved)| {
                let at = START_MS + day * DAY_MS + second * 1_000;
                let row = (at, f64::from(*value));
                if !model[*which].contains(&row) {
                    model[*which].push(row);
                }
                NewReading {
                    flags: if *approved { flags::APPROVED } else { 0 },
                    ..reading(series[*which], at, row.1)
                }
            }).collect();
            ingest(&readings, new);
            if number % restart_every == 0 {
                let crashed = tempfile::tempdir().unwrap();
                copy_files(dir.path(), crashed.path());
                let after_crash = open(crashed.path(), small());
                for (series, rows) in series.iter().zip(&model) {
                    holds(&after_crash, *series, rows);
                }
                readings.close();
                readings = open(dir.path(), small());
            }
            if number % settle_every == 0 {
                settle(&readings, START_MS + (number as i64 % 6) * DAY_MS, FOR_EVER);
            }
            for (series, rows) in series.iter().zip(&model) {
                holds(&readings, *series, rows);
            }
        }
        settle(&readings, START_MS + 100 * DAY_MS, FOR_EVER);
        for (series, rows) in series.iter().zip(&model) {
            holds(&readings, *series, rows);
        }
        readings.close();
        prop_assert_eq!(number(dir.path(), "SELECT count(*) FROM block WHERE level < 9 AND kind <= 2"), 0);
    }
}

#[test]
fn late_readings_of_a_closed_day_are_in_its_rollups_once() {
    let dir = tempfile::tempdir().unwrap();
    let readings = open(dir.path(), small());
    let series = readings
        .intern_series(&names("d", "c", "m"), SeriesOwner::Approved, 0)
        .unwrap();
    let mut rows: Vec<_> = (0..200)
        .map(|n| (START_MS + n * 30_000, n as f64))
        .collect();
    ingest(
        &readings,
        rows.iter()
            .map(|row| reading(series, row.0, row.1))
            .collect(),
    );
    settle(&readings, START_MS + 3 * DAY_MS, FOR_EVER);
    holds(&readings, series, &rows);
    for round in 0..3i64 {
        let late: Vec<_> = (0..60)
            .map(|n| (START_MS + n * 30_000 + round + 1, 1_000.0 + n as f64))
            .collect();
        let answer = ingest(
            &readings,
            late.iter()
                .map(|row| reading(series, row.0, row.1))
                .collect(),
        );
        assert_eq!(answer.stored, 60);
        let again = ingest(
            &readings,
            late.iter()
                .map(|row| reading(series, row.0, row.1))
                .collect(),
        );
        assert_eq!(again.duplicates, 60);
        rows.extend(late);
        holds(&readings, series, &rows);
        settle(&readings, START_MS + 3 * DAY_MS, FOR_EVER);
        holds(&readings, series, &rows);
    }
    readings.close();
    // The tail keeps its newest; the rest of the day is one block, however often it was added to.
    assert_eq!(
        number(dir.path(), "SELECT count(*) FROM block WHERE kind = 1"),
        1
    );
}

#[test]
fn raw_readings_go_after_their_time_and_their_rollups_stay() {
    let dir = tempfile::tempdir().unwrap();
    let readings = open(dir.path(), small());
    let series = readings
        .intern_series(&names("d", "c", "m"), SeriesOwner::Approved, 0)
        .unwrap();
    let rows: Vec<_> = (0..40 * 24)
        .map(|hour| (START_MS + hour * HOUR_MS, hour as f64))
        .collect();
    for some in rows.chunks(100) {
        ingest(
            &readings,
            some.iter()
                .map(|row| reading(series, row.0, row.1))
                .collect(),
        );
    }
    let now = START_MS + 40 * DAY_MS;
    settle(&readings, now, Retention::default());
    let kept: Vec<_> = rows[10 * 24..]
        .iter()
        .map(|row| (row.0, row.1.to_bits()))
        .collect();
    assert_eq!(points(&readings, series), kept);
    for (width, width_ms) in WIDTHS {
        assert_eq!(buckets(&readings, series, width), folded(&rows, width_ms));
    }
    assert_eq!(readings.series_info(series).unwrap().count, 960);
    // Sent again after its raw reading is gone: it cannot be told from a new one, and is not counted a second time.
    let again = ingest(
        &readings,
        (0..60)
            .map(|hour| reading(series, START_MS + hour * HOUR_MS, hour as f64))
            .collect(),
    );
    assert_eq!(again.stored, 60);
    // A minute that nothing was ever heard of counts, however late it is.
    ingest(
        &readings,
        vec![reading(series, START_MS + 90 * MINUTE_MS, 7.0)],
    );
    ingest(
        &readings,
        (0..60).map(|n| reading(series, now + n, 1.0)).collect(),
    );
    settle(&readings, now + HOUR_MS, Retention::default());
    let count = |start_ms| {
        let found = readings
            .buckets(series, BucketWidth::Hour, start_ms, start_ms, 1)
            .unwrap();
        found.buckets[0].count
    };
    assert_eq!(
        [
            count(START_MS),
            count(START_MS + HOUR_MS),
            count(START_MS + 2 * HOUR_MS)
        ],
        [1, 2, 1]
    );
    // Nothing is left of it but the rollups, when those have a time too they go as well.
    settle(
        &readings,
        now + 400 * DAY_MS,
        Retention {
            rollups_ms: Some(100 * DAY_MS as u64),
            ..Retention::default()
        },
    );
    assert_eq!(buckets(&readings, series, BucketWidth::Hour), []);
    readings.close();
    assert_eq!(number(dir.path(), "SELECT count(*) FROM block"), 0);
}

#[test]
fn room_of_dropped_readings_is_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let readings = open(dir.path(), Limits::default());
    let series = readings
        .intern_series(&names("d", "c", "m"), SeriesOwner::Approved, 0)
        .unwrap();
    let retention = Retention {
        raw_ms: Some(DAY_MS as u64),
        rollups_ms: Some(DAY_MS as u64),
    };
    let mut sizes = Vec::new();
    for day in 0..40i64 {
        let new = (0..2_000).map(|n| {
            let at = START_MS + day * DAY_MS + n * 40_000;
            reading(series, at, ((n * n * 7 + day) % 1_013) as f64 / 10.0)
        });
        ingest(&readings, new.collect());
        settle(&readings, START_MS + (day + 1) * DAY_MS, retention);
        sizes.push(
            readings
                .pool
                .read(|connection| {
                    Ok(connection
                        .query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0))
                        .unwrap())
                })
                .unwrap(),
        );
    }
    assert!(sizes[39] <= sizes[15] + sizes[15] / 10, "{sizes:?}");
}

#[test]
fn an_unapproved_device_that_floods_pushes_out_only_its_own_readings() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        unapproved_bytes_max: 20_000,
        ..small()
    };
    let readings = open(dir.path(), limits);
    let known = readings
        .intern_series(&names("known", "c", "m"), SeriesOwner::Approved, 0)
        .unwrap();
    let quiet = readings
        .intern_series(&names("quiet", "c", "m"), SeriesOwner::Approved, 0)
        .unwrap();
    let loud: Vec<_> = (0..5)
        .map(|number| {
            readings
                .intern_series(
                    &names("loud", &number.to_string(), "m"),
                    SeriesOwner::Approved,
                    0,
                )
                .unwrap()
        })
        .collect();
    let unapproved = |series, at_ms, value| NewReading {
        flags: 0,
        ..reading(series, at_ms, value)
    };
    let rows: Vec<_> = (0..30).map(|n| (START_MS + n * 1_000, n as f64)).collect();
    ingest(
        &readings,
        rows.iter()
            .map(|row| reading(known, row.0, row.1))
            .collect(),
    );
    ingest(
        &readings,
        rows.iter()
            .map(|row| unapproved(quiet, row.0, row.1))
            .collect(),
    );
    for round in 0..40i64 {
        let flood = (0..250).map(|n| {
            let at = START_MS + round * 300_000 + n * 1_000;
            unapproved(loud[(n % 5) as usize], at, (n * 7_919 % 1_000) as f64)
        });
        ingest(&readings, flood.collect());
    }
    settle(&readings, START_MS + 2 * DAY_MS, FOR_EVER);
    let (bytes, dropped) = readings.unapproved();
    assert!(bytes <= 20_000, "{bytes}");
    assert!(dropped > 5_000, "{dropped}");
    holds(&readings, known, &rows);
    holds(&readings, quiet, &rows);
    // What is left of the flood is its newest.
    let page = readings
        .points(loud[0], i64::MIN, i64::MAX, POINTS_MAX)
        .unwrap();
    assert_eq!(
        page.points.last().unwrap().at_ms,
        START_MS + 39 * 300_000 + 245_000
    );
    assert!(page.points[0].at_ms > START_MS + 10 * 300_000);
    readings.close();
    // Strangers have no rollups, which are kept for ever.
    assert_eq!(
        number(
            dir.path(),
            "SELECT count(DISTINCT series) FROM block WHERE kind > 2"
        ),
        1
    );
    // After a restart it is still known what they take up.
    let readings = open(dir.path(), limits);
    settle(&readings, START_MS + 2 * DAY_MS, FOR_EVER);
    assert_eq!(readings.unapproved().0, bytes);
}

/// A month of a sensor that sends once a minute, on a node that hears little else.
#[test]
fn a_slow_series_is_moved_by_the_hour_and_costs_no_more_than_a_fast_one() {
    let dir = tempfile::tempdir().unwrap();
    let readings = open(dir.path(), Limits::default());
    let series = readings
        .intern_series(&names("d", "c", "m"), SeriesOwner::Approved, 0)
        .unwrap();
    let mut level = 1_234;
    let mut tail_max = 0;
    let days = 10;
    for hour in 0..24 * days {
        let new = (0..60).map(|minute| {
            level += (minute * 7_919 + hour) % 7 - 3;
            let at = START_MS + hour * HOUR_MS + minute * MINUTE_MS;
            NewReading {
                received_ms: at + 40 + minute % 9,
                ..reading(series, at, level as f64 / 10.0)
            }
        });
        ingest(&readings, new.collect());
        settle(&readings, START_MS + (hour + 1) * HOUR_MS, FOR_EVER);
        let tail = readings.shared.tail.read();
        tail_max = tail_max.max(tail.newest - tail.compacted_to);
    }
    assert!(tail_max <= 2 * 60, "{tail_max}");
    readings.close();
    let rows = number(dir.path(), "SELECT count(*) FROM block WHERE kind = 1");
    assert!(rows <= days + 20, "{rows}");
    let bytes = number(
        dir.path(),
        "SELECT sum(length(data) + 96) FROM block WHERE kind = 1 AND level = 9",
    );
    let count = number(
        dir.path(),
        "SELECT sum(count) FROM block WHERE kind = 1 AND level = 9",
    );
    assert!(bytes <= 4 * count, "{bytes} bytes for {count} readings");
}

#[test]
fn a_damaged_block_holds_up_neither_other_series_nor_the_keeper() {
    let dir = tempfile::tempdir().unwrap();
    let readings = open(dir.path(), small());
    let series: Vec<_> = (0..2)
        .map(|number| {
            readings
                .intern_series(
                    &names("d", &number.to_string(), "m"),
                    SeriesOwner::Approved,
                    0,
                )
                .unwrap()
        })
        .collect();
    let rows: Vec<_> = (0..300).map(|n| (START_MS + n * 1_000, n as f64)).collect();
    let both = rows
        .iter()
        .flat_map(|row| series.iter().map(|series| reading(*series, row.0, row.1)));
    ingest(&readings, both.collect());
    settle(&readings, START_MS, FOR_EVER);
    readings.close();
    let changed = sql(dir.path())
        .execute(
            "UPDATE block SET data = x'00' WHERE id = (SELECT min(id) FROM block WHERE series = 1)",
            [],
        )
        .unwrap();
    assert_eq!(changed, 1);
    let readings = open(dir.path(), small());
    settle(&readings, START_MS + 2 * DAY_MS, FOR_EVER);
    holds(&readings, series[1], &rows);
    assert!(matches!(
        readings.points(series[0], i64::MIN, i64::MAX, 10_000),
        Err(StoreError::Unreadable { .. })
    ));
    // What is not in that block can still be asked for.
    let newest = readings
        .points(series[0], rows[290].0, i64::MAX, 10)
        .unwrap();
    assert_eq!(newest.points.len(), 10);
}

#[test]
fn what_was_not_put_in_order_before_a_restart_is_after_it_without_another_reading() {
    let dir = tempfile::tempdir().unwrap();
    let readings = open(dir.path(), Limits::default());
    let series = readings
        .intern_series(&names("d", "c", "m"), SeriesOwner::Approved, 0)
        .unwrap();
    let rows = (0..300).map(|n| reading(series, START_MS + n * 1_000, n as f64));
    ingest(&readings, rows.collect());
    assert_eq!(readings.tail_len(), 300);
    let seen = RuleCursor {
        file_id: readings.file_id(),
        position: 300,
        evaluated: Evaluated::default(),
        state: Vec::new(),
    };
    readings.close();
    let options = OpenOptions::default();
    let readings =
        Readings::open_with(&source(dir.path()), &options, Some(&seen), small()).unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while readings.tail_len() >= 40 {
        let left = readings.tail_len();
        assert!(std::time::Instant::now() < until, "{left} are left");
        std::thread::yield_now();
    }
}

#[test]
fn whoever_asks_for_upkeep_hears_of_a_fault_instead_of_waiting_for_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let readings = open(dir.path(), small());
    let series = readings
        .intern_series(&names("d", "c", "m"), SeriesOwner::Approved, 0)
        .unwrap();
    readings.close();
    sql(dir.path())
        .execute_batch(
            "CREATE TRIGGER full BEFORE INSERT ON block BEGIN SELECT RAISE(ABORT, 'no room'); END",
        )
        .unwrap();
    let readings = open(dir.path(), small());
    let rows = (0..300).map(|n| reading(series, START_MS + n * 1_000, n as f64));
    ingest(&readings, rows.collect());
    for _ in 0..2 {
        let refused = readings.expire_readings(START_MS + DAY_MS, FOR_EVER).wait();
        assert!(refused.unwrap_err().to_string().contains("no room"));
    }
    assert_eq!(readings.tail_len(), 300);
    sql(dir.path()).execute_batch("DROP TRIGGER full").unwrap();
    settle(&readings, START_MS + DAY_MS, FOR_EVER);
    assert_eq!(readings.tail_len(), 0);
}

#[test]
fn the_newest_buckets_are_answered_and_that_there_are_more() {
    let dir = tempfile::tempdir().unwrap();
    let readings = open(dir.path(), small());
    let series = readings
        .intern_series(&names("d", "c", "m"), SeriesOwner::Approved, 0)
        .unwrap();
    let rows: Vec<_> = (0..2_000)
        .map(|n| (START_MS + n * 10 * MINUTE_MS, n as f64))
        .collect();
    for some in rows.chunks(50) {
        ingest(
            &readings,
            some.iter()
                .map(|row| reading(series, row.0, row.1))
                .collect(),
        );
    }
    settle(&readings, START_MS + 10 * DAY_MS, FOR_EVER);
    let hours = folded(&rows, HOUR_MS);
    for limit in [1, 2, 7, 100, 333, 334, 335] {
        let page = readings
            .buckets(series, BucketWidth::Hour, i64::MIN, i64::MAX, limit)
            .unwrap();
        assert_eq!(
            page.buckets,
            hours[hours.len().saturating_sub(limit)..],
            "{limit}"
        );
        assert_eq!(page.truncated, limit < hours.len());
    }
    // Buckets are whole, also where the range begins or ends inside of one.
    let (from, to) = (START_MS + 90 * MINUTE_MS, START_MS + 3 * HOUR_MS);
    let page = readings
        .buckets(series, BucketWidth::Hour, from, to, 10)
        .unwrap();
    assert_eq!(
        (page.buckets, page.truncated),
        (hours[1..=3].to_vec(), false)
    );
}

/// A file of the version before: blocks with positions, over midnight, of approved and unapproved readings.
#[test]
fn blocks_of_the_schema_before_are_taken_over_with_all_their_readings() {
    let dir = tempfile::tempdir().unwrap();
    let rows: Vec<_> = (0..500)
        .map(|n| (START_MS + DAY_MS - 200_000 + n * 1_000, n as f64))
        .collect();
    {
        let connection = sql(dir.path());
        for step in &migrate::READINGS[..2] {
            connection.execute_batch(step).unwrap();
        }
        connection.pragma_update(None, "user_version", 2).unwrap();
        connection
            .execute_batch(
                "INSERT INTO series VALUES (1, 'd', 'c', 'm', 500, 0, 0.0); \
                 INSERT INTO meta VALUES ('compacted_to', x'f401000000000000')",
            )
            .unwrap();
        connection
            .execute(
                "UPDATE series SET block_last_at = ?1, block_last = 499.0",
                [rows[499].0],
            )
            .unwrap();
        for some in rows.chunks(90) {
            let stored: Vec<_> = some
                .iter()
                .map(|(at_ms, value)| StoredReading {
                    position: 0,
                    series: SeriesId(1),
                    at_ms: *at_ms,
                    received_ms: at_ms + 3,
                    value: *value,
                    flags: flags::DEVICE_TIME | (u8::from(*value < 300.0) * flags::APPROVED),
                })
                .collect();
            let block = block::encode(&stored, 0).unwrap();
            connection
                .execute(
                    "INSERT INTO block (series, first_at, last_at, count, format, data) VALUES (1, ?1, ?2, ?3, ?4, ?5)",
                    (block.first_at, block.last_at, block.count as i64, block.format, &block.data),
                )
                .unwrap();
        }
    }
    let readings = open(dir.path(), small());
    let series = SeriesId(1);
    holds(&readings, series, &rows);
    assert_eq!(
        ingest(&readings, vec![reading(series, rows[7].0, 7.0)]).duplicates,
        1
    );
    settle(&readings, START_MS + 5 * DAY_MS, FOR_EVER);
    holds(&readings, series, &rows);
    readings.close();
    let spread =
        "SELECT count(*) FROM block WHERE first_at / 86400000 <> last_at / 86400000 AND kind <= 2";
    assert_eq!(number(dir.path(), spread), 0);
    assert_eq!(
        number(dir.path(), "SELECT sum(count) FROM block WHERE kind = 2"),
        200
    );
}

#[test]
fn the_signal_of_a_device_goes_on_in_its_series_under_the_unit_that_it_has_now() {
    let dir = tempfile::tempdir().unwrap();
    {
        let connection = sql(dir.path());
        for step in &migrate::READINGS[..10] {
            connection.execute_batch(step).unwrap();
        }
        connection.pragma_update(None, "user_version", 10).unwrap();
        connection
            .execute_batch(
                "INSERT INTO series (id, device, channel, unit) VALUES (1, 'one', 'rssi_dbm', 'dB[mW]'), \
                 (2, 'both', 'rssi_dbm', 'dB[mW]'), (3, 'both', 'rssi_dbm', 'dBm'), (4, 'one', 'noise', 'dB[W]')",
            )
            .unwrap();
    }
    let readings = open(dir.path(), small());
    let number = |device: &str, channel: &str, unit: &str| {
        let names = names(device, channel, unit);
        let series = readings.intern_series(&names, SeriesOwner::Approved, 0);
        series.unwrap().0
    };
    assert_eq!(number("one", "rssi_dbm", "dBm"), 1);
    assert_eq!(number("both", "rssi_dbm", "dBm"), 3);
    assert_eq!(number("both", "rssi_dbm", "dB[mW]"), 2);
    assert_eq!(number("one", "noise", "dB[W]"), 4);
    readings.close();
}

type ArchivedRow = (String, String, String, i64, i64, f64, i64);

fn archived(path: &Path) -> Vec<ArchivedRow> {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::RowAccessor;
    let file = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let rows = file.get_row_iter(None).unwrap().map(|row| {
        let row = row.unwrap();
        let text = |column| row.get_string(column).unwrap().clone();
        (
            text(0),
            text(1),
            text(2),
            row.get_timestamp_millis(3).unwrap(),
            row.get_timestamp_millis(4).unwrap(),
            row.get_double(5).unwrap(),
            i64::from(row.get_ubyte(6).unwrap()),
        )
    });
    rows.collect()
}

#[test]
fn a_day_is_exported_whole_with_what_came_late_and_what_is_still_in_the_tail() {
    let dir = tempfile::tempdir().unwrap();
    let out = tempfile::tempdir().unwrap();
    let readings = open(dir.path(), small());
    let level = readings
        .intern_series(&names("gauge", "level", "m"), SeriesOwner::Approved, 0)
        .unwrap();
    let rain = readings
        .intern_series(&names("gauge", "regen", ""), SeriesOwner::Approved, 0)
        .unwrap();
    let mut rows: Vec<_> = (0..3_000)
        .map(|n| (START_MS + n * 60_000, n as f64 / 10.0))
        .collect();
    for some in rows.chunks(500) {
        ingest(
            &readings,
            some.iter()
                .map(|row| reading(level, row.0, row.1))
                .collect(),
        );
    }
    settle(&readings, START_MS + 3 * DAY_MS, FOR_EVER);
    let late: Vec<_> = (0..45).map(|n| (START_MS + n * 60_000 + 1, -1.0)).collect();
    ingest(
        &readings,
        late.iter()
            .map(|row| reading(level, row.0, row.1))
            .collect(),
    );
    let stranger = NewReading {
        flags: 0,
        ..reading(rain, START_MS + 77, 1e-9)
    };
    ingest(&readings, vec![stranger]);
    rows.extend(late);
    rows.retain(|row| row.0 < START_MS + DAY_MS);
    rows.sort_by(|a, b| a.partial_cmp(b).unwrap());

    let path = out.path().join("day.parquet");
    std::fs::write(out.path().join("day.parquet.partial"), b"broken off").unwrap();
    let answer = readings.archive_day(START_MS / DAY_MS, &path).unwrap();
    let whole = |path: &Path| ArchivedDay::Written {
        readings: rows.len() as u64 + 1,
        bytes: path.metadata().unwrap().len(),
    };
    assert_eq!(answer, whole(&path));
    assert!(!out.path().join("day.parquet.partial").exists());
    let mut found = archived(&path);
    found.sort_by(|a, b| a.partial_cmp(b).unwrap());
    let text =
        |channel: &str, unit: &str| ("gauge".to_owned(), channel.to_owned(), unit.to_owned());
    let expected_flags = i64::from(flags::APPROVED | flags::DEVICE_TIME);
    let mut expected: Vec<ArchivedRow> = rows
        .iter()
        .map(|(at, value)| {
            let (device, channel, unit) = text("level", "m");
            (device, channel, unit, *at, at + 5, *value, expected_flags)
        })
        .collect();
    let (device, channel, unit) = text("regen", "");
    let of_stranger = i64::from(flags::DEVICE_TIME);
    expected.push((
        device,
        channel,
        unit,
        START_MS + 77,
        START_MS + 82,
        1e-9,
        of_stranger,
    ));
    assert_eq!(found, expected);
    // Again, over what is there; and a day without readings is a file without rows.
    let again = readings.archive_day(START_MS / DAY_MS, &path).unwrap();
    assert_eq!(again, whole(&path));
    let empty = out.path().join("empty.parquet");
    let nothing = readings.archive_day(5, &empty).unwrap();
    assert!(
        matches!(nothing, ArchivedDay::Written { readings: 0, .. }),
        "{nothing:?}"
    );
    assert_eq!(archived(&empty), []);
    // Of what is not here any more that file is all there is.
    let fuller = readings.archive_day(5, &path).unwrap();
    let left = ArchivedDay::HoldsMore {
        readings: rows.len() as u64 + 1,
        here: 0,
    };
    assert_eq!(fuller, left);
    assert_eq!(archived(&path).len(), rows.len() + 1);
    assert!(!out.path().join("day.parquet.partial").exists());
    // Where it cannot be written nothing has its name.
    let nowhere = out.path().join("nowhere/day.parquet");
    assert!(matches!(
        readings.archive_day(START_MS / DAY_MS, &nowhere),
        Err(StoreError::Io { .. })
    ));
}

#[test]
fn a_device_with_too_many_channels_is_refused_more_and_others_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let readings = open(dir.path(), small());
    let intern = |device: &str, channel: u32| {
        readings.intern_series(
            &names(device, &channel.to_string(), "m"),
            SeriesOwner::Approved,
            START_MS,
        )
    };
    for channel in 0..SERIES_PER_DEVICE_MAX {
        intern("loud", channel).unwrap();
    }
    assert_eq!(
        intern("loud", SERIES_PER_DEVICE_MAX),
        Err(SeriesRefused::DeviceFull)
    );
    // Those it has go on, and so does everybody else.
    assert_eq!(intern("loud", 0), Ok(SeriesId(1)));
    let quiet = intern("quiet", 0).unwrap();
    let new = vec![
        reading(SeriesId(1), START_MS, 1.0),
        reading(quiet, START_MS, 2.0),
    ];
    assert_eq!(ingest(&readings, new).stored, 2);
    // Ten such devices fill the node, whose memory is bounded too; one series is the quiet one's.
    let mut device = 0;
    let refused = loop {
        device += 1;
        let filled = (0..SERIES_PER_DEVICE_MAX)
            .try_for_each(|channel| intern(&device.to_string(), channel).map(drop));
        if let Err(refused) = filled {
            break refused;
        }
    };
    assert_eq!((refused, device), (SeriesRefused::Full, 9));
}

/// Rules that hang: nothing may leave the tail, and memory holds a part of it only.
#[test]
fn readings_that_are_neither_in_memory_nor_in_blocks_are_found_and_told_apart() {
    const COUNT: i64 = 450_000;
    let dir = tempfile::tempdir().unwrap();
    let options = OpenOptions::default();
    let mut readings = Readings::open_with(&source(dir.path()), &options, None, small()).unwrap();
    let series: Vec<_> = (0..2)
        .map(|number| {
            let channel = number.to_string();
            readings
                .intern_series(&names("d", &channel, "m"), SeriesOwner::Approved, 0)
                .unwrap()
        })
        .collect();
    for from in (0..COUNT).step_by(4_500) {
        let new = (from..from + 4_500).map(|n| {
            reading(
                series[(n % 2) as usize],
                START_MS + n * 1_000,
                (n % 1_000) as f64,
            )
        });
        ingest(&readings, new.collect());
    }
    for _ in 0..2 {
        assert_eq!(readings.tail_len(), COUNT as u64);
        assert!(readings.shared.tail.read().mirror_from > 10_000);
        let early = readings
            .points(series[0], START_MS, START_MS + 9_000, 100)
            .unwrap();
        let times: Vec<_> = early.points.iter().map(|point| point.at_ms).collect();
        assert_eq!(times, [0, 2, 4, 6, 8].map(|n| START_MS + n * 1_000));
        let day = readings
            .buckets(series[1], BucketWidth::Hour, START_MS, i64::MAX, 1_000)
            .unwrap();
        assert_eq!(day.buckets.len(), 125);
        assert!(day.buckets.iter().all(|bucket| bucket.count == 1_800));
        let again = ingest(&readings, vec![reading(series[1], START_MS + 1_000, 1.0)]);
        assert_eq!(again.duplicates, 1);
        readings.close();
        readings = Readings::open_with(&source(dir.path()), &options, None, small()).unwrap();
    }
}
