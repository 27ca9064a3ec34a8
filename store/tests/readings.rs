//! readings.db: nothing acknowledged is lost, nothing counts twice, and queries find what a model says.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use common::*;
use parking_lot::Mutex;
use proptest::prelude::*;
use store::{
    Batch, CommitError, DeadLetterFailure, DeadLetterQuery, DeadLetterState, Delivery, Evaluated,
    IngestBatch, Ingested, NewDeadLetter, NewReading, OpenOptions, Readings, RuleCursor, SeriesId,
    SeriesOwner, SeriesQuery, SeriesRefused, Store, Wear, flags,
};
use sync_engine::Lane;

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

fn batch(readings: Vec<NewReading>) -> IngestBatch {
    IngestBatch {
        readings,
        ..IngestBatch::default()
    }
}

fn ingest(readings: &Readings, batch: IngestBatch) -> Ingested {
    readings.ingest(batch).wait().unwrap()
}

fn values(readings: &Readings, series: SeriesId) -> Vec<(i64, f64)> {
    let page = readings.points(series, i64::MIN, i64::MAX, 10_000).unwrap();
    page.points
        .iter()
        .map(|point| (point.at_ms, point.value))
        .collect()
}

#[test]
fn readings_are_kept_with_their_series_through_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let gauge = store
        .readings()
        .intern_series(&names("gauge-1", "level", "m"), SeriesOwner::Approved, 50)
        .unwrap();
    assert_eq!(
        store
            .readings()
            .intern_series(&names("gauge-1", "level", "m"), SeriesOwner::Approved, 60)
            .unwrap(),
        gauge
    );
    let rain = store
        .readings()
        .intern_series(&names("gauge-1", "rain", "mm"), SeriesOwner::Approved, 60)
        .unwrap();
    let answer = ingest(
        store.readings(),
        batch(vec![
            reading(gauge, 100, 1.0),
            reading(rain, 100, 2.0),
            reading(gauge, 200, 1.5),
        ]),
    );
    assert_eq!(
        (answer.first_position, answer.last_position, answer.stored),
        (1, 3, 3)
    );
    drop(store);
    let store = open(dir.path());
    let readings = store.readings();
    assert_eq!(values(readings, gauge), [(100, 1.0), (200, 1.5)]);
    let info = readings.series_info(gauge).unwrap();
    assert_eq!(
        (&*info.device, &*info.channel, &*info.unit, info.count),
        ("gauge-1", "level", "m", 2)
    );
    assert_eq!(
        info.last.map(|last| (last.at_ms, last.value)),
        Some((200, 1.5))
    );
    assert_eq!(readings.series_info(SeriesId(3)), None);
    let query = SeriesQuery {
        q: Some("RAI".into()),
        limit: 10,
        ..SeriesQuery::default()
    };
    assert_eq!(
        readings
            .series(&query)
            .iter()
            .map(|series| series.id)
            .collect::<Vec<_>>(),
        [rain]
    );
    let seen = readings.device_seen("gauge-1").unwrap();
    assert_eq!((seen.first_seen_ms, seen.last_seen_ms), (50, 205));
    assert_eq!(
        ingest(readings, batch(vec![reading(rain, 300, 3.0)])).first_position,
        4
    );
    assert_eq!(readings.count(), 4);
}

#[test]
fn a_reading_with_the_same_device_time_counts_once_unless_its_value_differs() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let readings = store.readings();
    let series = readings
        .intern_series(&names("d", "c", "m"), SeriesOwner::Approved, 0)
        .unwrap();
    ingest(
        readings,
        batch(vec![reading(series, 100, 1.0), reading(series, 300, 3.0)]),
    );
    let again = ingest(
        readings,
        batch(vec![
            reading(series, 100, 1.0),
            reading(series, 300, 3.0),
            reading(series, 200, 2.0),
            reading(series, 200, 2.0),
            reading(series, 300, 3.5),
        ]),
    );
    assert_eq!(
        (again.stored, again.duplicates, again.contradictions),
        (2, 3, 1)
    );
    assert_eq!(
        values(readings, series),
        [(100, 1.0), (200, 2.0), (300, 3.0), (300, 3.5)]
    );
    let page = readings.points(series, 300, 300, 10).unwrap();
    assert_eq!(
        page.points[1].flags & flags::CONTRADICTS,
        flags::CONTRADICTS
    );
    // A value without a device time is never a duplicate of another one.
    let mut now = reading(series, 300, 3.0);
    now.device_time = false;
    assert_eq!(ingest(readings, batch(vec![now, now])).stored, 2);
}

#[test]
fn a_redelivered_message_counts_once_also_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let crashed = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let series = store
        .readings()
        .intern_series(&names("d", "c", "m"), SeriesOwner::Approved, 0)
        .unwrap();
    let (session, known) = store.readings().intern_session("client", 0);
    assert!(!known);
    let message = |packet_id, payload_hash, redelivered, count: usize| {
        let one = NewReading {
            device_time: false,
            message: Some(0),
            ..reading(series, 100, f64::from(packet_id))
        };
        IngestBatch {
            readings: vec![one; count],
            messages: vec![Delivery {
                session,
                packet_id,
                payload_hash,
                redelivered,
                exactly_once: false,
            }],
            ..IngestBatch::default()
        }
    };
    assert_eq!(ingest(store.readings(), message(1, 11, false, 3)).stored, 3);
    assert_eq!(
        ingest(store.readings(), message(2, 22, true, 2)).stored,
        2,
        "its first delivery was lost"
    );
    for name in [
        "muster.db",
        "muster.db-wal",
        "readings.db",
        "readings.db-wal",
        "blobs.db",
        "blobs.db-wal",
    ] {
        let from = dir.path().join(name);
        if from.exists() {
            std::fs::copy(from, crashed.path().join(name)).unwrap();
        }
    }
    for store in [store, open(crashed.path())] {
        let readings = store.readings();
        assert_eq!(readings.intern_session("client", 9), (session, true));
        for again in [message(1, 11, true, 3), message(2, 22, true, 2)] {
            let count = again.readings.len() as u32;
            let answer = ingest(readings, again);
            assert_eq!((answer.stored, answer.duplicates), (0, count));
            assert!(answer.first_position > answer.last_position);
        }
        // The packet id is used anew: another message, though it may look the same.
        assert_eq!(ingest(readings, message(1, 11, false, 1)).stored, 1);
        assert_eq!(ingest(readings, message(1, 12, true, 1)).stored, 1);
        assert_eq!(readings.count(), 7);
    }
}

#[test]
fn dead_letters_are_kept_replayed_once_and_discarded() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let readings = store.readings();
    let (session, _) = readings.intern_session("client", 0);
    let dead = |topic: &str, redelivered| IngestBatch {
        dead: vec![NewDeadLetter {
            source: "mqtt".into(),
            topic: topic.into(),
            reason: "not a number".into(),
            received_ms: 1_000,
            payload: b"\xff\x00".to_vec(),
            message: Some(0),
            ..NewDeadLetter::default()
        }],
        messages: vec![Delivery {
            session,
            packet_id: 4,
            payload_hash: 1,
            redelivered,
            exactly_once: false,
        }],
        ..IngestBatch::default()
    };
    assert_eq!(
        ingest(readings, dead("muster/v1/d/level", false)).dead_letters,
        1
    );
    assert_eq!(
        ingest(readings, dead("muster/v1/d/level", true)).duplicates,
        1
    );
    assert_eq!(ingest(readings, dead("other", false)).dead_letters, 1);
    let all = readings
        .dead_letters(&DeadLetterQuery {
            limit: 10,
            ..DeadLetterQuery::default()
        })
        .unwrap();
    assert_eq!(
        all.iter()
            .map(|letter| letter.topic.as_str())
            .collect::<Vec<_>>(),
        ["other", "muster/v1/d/level"]
    );
    assert_eq!(all[1].payload, b"\xff\x00");

    readings
        .dead_letter_failed(
            all[1].id,
            DeadLetterFailure {
                decoder: "muster 1".into(),
                reason: "still not".into(),
                code: "not-a-number".into(),
                retry_at_ms: Some(5_000),
            },
        )
        .wait()
        .unwrap();
    let due = |now_ms| {
        let due = readings.due_dead_letters(now_ms, 10).unwrap();
        due.iter().map(|letter| letter.id).collect::<Vec<_>>()
    };
    assert_eq!((due(4_999), due(5_000)), (vec![], vec![all[1].id]));
    let series = readings
        .intern_series(&names("d", "level", "m"), SeriesOwner::Approved, 0)
        .unwrap();
    let mut replay = batch(vec![reading(series, 1, 1.0)]);
    replay.replayed = Some(all[1].id);
    assert_eq!(ingest(readings, replay).stored, 1);
    // Whoever was as quick finds it settled; so does who replays what another has given up, or what made room for others.
    assert_eq!(
        readings
            .discard_dead_letters(vec![all[0].id])
            .wait()
            .unwrap(),
        1
    );
    for settled in [all[1].id, all[0].id, i64::MAX] {
        let mut late = batch(vec![reading(series, 2, 1.0)]);
        late.replayed = Some(settled);
        let late = ingest(readings, late);
        assert_eq!((late.stored, late.settled_before), (0, true), "{settled}");
    }
    let replayed = readings.dead_letter(all[1].id).unwrap().unwrap();
    assert_eq!(
        (replayed.state, replayed.attempts, replayed.reason.as_str()),
        (DeadLetterState::Replayed, 3, "still not")
    );
    assert_eq!(due(i64::MAX), Vec::<i64>::new());
    assert_eq!(
        readings
            .discard_dead_letters(vec![all[0].id])
            .wait()
            .unwrap(),
        0
    );
    let in_state = |state| {
        let query = DeadLetterQuery {
            state: Some(state),
            limit: 10,
            ..DeadLetterQuery::default()
        };
        readings.dead_letter_ids(&query).unwrap()
    };
    assert_eq!(readings.dead_letters_open().unwrap(), 0);
    assert_eq!(in_state(DeadLetterState::Open), Vec::<i64>::new());
    assert_eq!(in_state(DeadLetterState::Replayed), [all[1].id]);
    assert_eq!(in_state(DeadLetterState::Discarded), [all[0].id]);
}

#[test]
fn old_dead_letters_make_room() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let readings = store.readings();
    let letters = |received_ms, count| IngestBatch {
        dead: vec![
            NewDeadLetter {
                source: "mqtt".into(),
                topic: "t".into(),
                reason: "r".into(),
                received_ms,
                payload: vec![],
                ..NewDeadLetter::default()
            };
            count
        ],
        ..IngestBatch::default()
    };
    let day = 24 * 3_600_000;
    ingest(readings, letters(0, 10));
    ingest(readings, letters(91 * day, 128));
    while readings.expire_dead_letters(day).wait().unwrap() {}
    assert_eq!(readings.dead_letters_open().unwrap(), 128);
}

#[test]
fn what_cannot_be_stored_is_refused_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let readings = store.readings();
    let series = readings
        .intern_series(&names("d", "c", "m"), SeriesOwner::Approved, 0)
        .unwrap();
    let good = readings.ingest(batch(vec![reading(series, 1, 1.0)]));
    let unknown = readings.ingest(batch(vec![reading(SeriesId(77), 1, 1.0)]));
    let unlinked = readings.ingest(batch(vec![NewReading {
        message: Some(0),
        ..reading(series, 2, 1.0)
    }]));
    let infinite = readings.ingest(batch(vec![reading(series, 3, f64::INFINITY)]));
    let also_good = readings.ingest(batch(vec![reading(series, 4, 1.0)]));
    assert!(good.wait().is_ok() && also_good.wait().is_ok());
    for refused in [unknown, unlinked, infinite] {
        assert!(matches!(refused.wait(), Err(CommitError::Fault { .. })));
    }
    assert_eq!(readings.count(), 2);
    assert_eq!(
        readings.intern_series(&names(&"n".repeat(300), "c", "m"), SeriesOwner::Approved, 0),
        Err(SeriesRefused::NameTooLong)
    );
}

#[test]
fn a_full_disk_withholds_the_answer_and_forgets_the_readings() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).close();
    let options = OpenOptions {
        pages_max: Some(120),
        ..OpenOptions::default()
    };
    let store = Store::open(dir.path(), &common::key(), &options).unwrap();
    let readings = store.readings();
    let series = readings
        .intern_series(&names("d", "c", "m"), SeriesOwner::Approved, 0)
        .unwrap();
    let mut next = 0i64;
    let error = loop {
        let many = (next..next + 500)
            .map(|at| reading(series, at, at as f64))
            .collect();
        match readings.ingest(batch(many)).wait() {
            Ok(answer) => {
                next += 500;
                assert_eq!(answer.last_position, next);
            }
            Err(error) => break error,
        }
    };
    assert_eq!(error, CommitError::DiskFull);
    assert!(next > 500);
    assert_eq!(readings.count(), next as u64);
    assert_eq!(
        readings.series_info(series).unwrap().last.unwrap().at_ms,
        next - 1
    );
    drop(store);
    let store = open(dir.path());
    let readings = store.readings();
    assert_eq!(readings.count(), next as u64);
    // The publisher sends what was refused once more: new, not a duplicate.
    assert_eq!(
        ingest(readings, batch(vec![reading(series, next, 0.5)])).stored,
        1
    );
}

#[test]
fn the_hook_hears_every_reading_once_in_order_before_its_answer() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let readings = store.readings();
    let series = readings
        .intern_series(&names("d", "c", "m"), SeriesOwner::Approved, 0)
        .unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let of_hook = heard.clone();
    readings.set_hook(move |committed| {
        assert_eq!(
            committed.readings.len() as i64,
            committed.last_position - committed.first_position + 1
        );
        of_hook
            .lock()
            .extend(committed.readings.iter().map(|reading| reading.position));
    });
    let tickets: Vec<_> = (0..300)
        .map(|at| {
            readings.ingest(batch(vec![
                reading(series, at, 1.0),
                reading(series, at, 1.0),
            ]))
        })
        .collect();
    for ticket in tickets {
        let answer = ticket.wait().unwrap();
        assert_eq!(answer.duplicates, 1);
        assert!(heard.lock().contains(&answer.last_position));
    }
    assert_eq!(*heard.lock(), (1..=300).collect::<Vec<i64>>());
    let replay = readings.readings_after(290, 100).unwrap();
    assert_eq!(
        replay
            .iter()
            .map(|reading| reading.position)
            .collect::<Vec<_>>(),
        (291..=300).collect::<Vec<_>>()
    );
    assert_eq!(replay[0].flags, flags::APPROVED | flags::DEVICE_TIME);
}

#[test]
fn a_flood_of_queued_readings_is_refused_not_held() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let readings = store.readings();
    let series = readings
        .intern_series(&names("d", "c", "m"), SeriesOwner::Approved, 0)
        .unwrap();
    let blocked = Arc::new(AtomicI64::new(0));
    let of_hook = blocked.clone();
    // The writer stands still in the hook until the queue has been filled.
    readings.set_hook(move |_| {
        while of_hook.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
    });
    let first = readings.ingest(batch(vec![reading(series, 0, 1.0)]));
    let tickets: Vec<_> = (1..40)
        .map(|number| {
            readings.ingest(batch(
                (0..4_000)
                    .map(|at| reading(series, number * 10_000 + at, 1.0))
                    .collect(),
            ))
        })
        .collect();
    blocked.store(1, Ordering::SeqCst);
    first.wait().unwrap();
    let refused = tickets
        .into_iter()
        .map(|ticket| ticket.wait())
        .filter(|answer| matches!(answer, Err(CommitError::Busy { .. })))
        .count();
    assert!((20..39).contains(&refused), "{refused}");
}

/// Moves everything that the rules have passed into blocks, as far as the background does it, and waits for it.
fn pass_rules(store: &Store, position: i64) {
    let mut cursor = Batch::new(Lane::Life, 1);
    cursor.rule_cursor = Some(RuleCursor {
        file_id: store.readings().file_id(),
        position,
        evaluated: Evaluated::default(),
        state: vec![],
    });
    commit(store, cursor);
}

#[test]
fn readings_in_blocks_are_found_counted_and_told_apart_like_all_others() {
    const COUNT: i64 = 160_000;
    let dir = tempfile::tempdir().unwrap();
    let crashed = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let readings = store.readings();
    let series: Vec<_> = (0..4)
        .map(|number| {
            readings
                .intern_series(
                    &names("d", &format!("c{number}"), "m"),
                    SeriesOwner::Approved,
                    0,
                )
                .unwrap()
        })
        .collect();
    let (session, _) = readings.intern_session("client", 0);
    let quiet = readings
        .intern_series(&names("quiet", "c", "m"), SeriesOwner::Approved, 0)
        .unwrap();
    let once = |redelivered| IngestBatch {
        readings: vec![NewReading {
            device_time: false,
            message: Some(0),
            ..reading(quiet, 7, 7.0)
        }],
        messages: vec![Delivery {
            session,
            packet_id: 9,
            payload_hash: 99,
            redelivered,
            exactly_once: false,
        }],
        ..IngestBatch::default()
    };
    ingest(readings, once(false));
    let mut at = 0;
    while at < COUNT {
        let many = (at..at + 4_000)
            .map(|number| reading(series[(number % 4) as usize], number, number as f64))
            .collect();
        ingest(readings, batch(many));
        at += 4_000;
    }
    let all = |store: &Store, series: SeriesId| -> Vec<i64> {
        let readings = store.readings();
        let mut found = Vec::new();
        let mut to = i64::MAX;
        loop {
            let page = readings.points(series, 0, to, 10_000).unwrap();
            let Some(first) = page.points.first() else {
                break;
            };
            to = first.at_ms - 1;
            found.splice(0..0, page.points.iter().map(|point| point.at_ms));
            if !page.truncated {
                break;
            }
        }
        found
    };
    let expected: Vec<i64> = (0..COUNT).filter(|number| number % 4 == 1).collect();
    assert_eq!(all(&store, series[1]), expected);
    // Nothing moves before the rules have passed.
    assert_eq!(readings.readings_after(0, 1).unwrap()[0].position, 1);
    pass_rules(&store, COUNT);
    ingest(readings, batch(vec![reading(quiet, 8, 8.0)]));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while readings.readings_after(0, 1).unwrap()[0].position < 20_000 {
        // Asked again and again while rows move: nothing is missed or met twice.
        assert_eq!(all(&store, series[1]), expected);
        assert!(
            std::time::Instant::now() < deadline,
            "readings never moved to blocks"
        );
    }
    for name in [
        "muster.db",
        "muster.db-wal",
        "readings.db",
        "readings.db-wal",
        "blobs.db",
        "blobs.db-wal",
    ] {
        std::fs::copy(dir.path().join(name), crashed.path().join(name)).ok();
    }
    let after_crash = open(crashed.path());
    for store in [&store, &after_crash] {
        let readings = store.readings();
        assert_eq!(all(store, series[1]), expected);
        let info = readings.series_info(series[1]).unwrap();
        assert_eq!(
            (info.count, info.last.unwrap().at_ms),
            (COUNT as u64 / 4, COUNT - 3)
        );
        let page = readings.points(series[1], 0, 4_001, 3).unwrap();
        assert_eq!(
            page.points
                .iter()
                .map(|point| point.at_ms)
                .collect::<Vec<_>>(),
            [3_993, 3_997, 4_001]
        );
        assert!(page.truncated);
        let late = ingest(
            readings,
            batch(vec![
                reading(series[1], 1, 1.0),
                reading(series[1], 5, 5.5),
                reading(series[1], 2, 2.0),
            ]),
        );
        assert_eq!(
            (late.stored, late.duplicates, late.contradictions),
            (2, 1, 1)
        );
        assert_eq!(
            ingest(readings, once(true)).duplicates,
            1,
            "its row is in a block, its key is not"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn the_store_holds_what_a_model_holds(
        batches in proptest::collection::vec(
            proptest::collection::vec((0u32..3, 0i64..30, 0u8..3, any::<bool>()), 1..20), 1..20),
        restart_after in 0usize..20,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        let mut model: Vec<(u32, i64, f64, bool)> = Vec::new();
        for (number, rows) in batches.iter().enumerate() {
            if number == restart_after {
                drop(store);
                store = open(dir.path());
            }
            let readings = store.readings();
            let mut new = Vec::new();
            let mut stored = 0;
            for (series, at, value, device_time) in rows {
                let id = readings.intern_series(&names("d", &series.to_string(), "m"), SeriesOwner::Approved, 0).unwrap();
                let value = f64::from(*value);
                new.push(NewReading { device_time: *device_time, ..reading(id, *at, value) });
                // Only samples with device times can be duplicates, of one another.
                let known = model.contains(&(*series, *at, value, true));
                if !*device_time || !known {
                    model.push((*series, *at, value, *device_time));
                    stored += 1;
                }
            }
            let answer = ingest(readings, batch(new));
            prop_assert_eq!((answer.stored, answer.duplicates), (stored, rows.len() as u32 - stored));
        }
        let readings = store.readings();
        for info in readings.series(&SeriesQuery { limit: 10, ..SeriesQuery::default() }) {
            let number: u32 = info.channel.parse().unwrap();
            let mut expected: Vec<(i64, u64)> =
                model.iter().filter(|row| row.0 == number).map(|row| (row.1, row.2.to_bits())).collect();
            let mut found: Vec<(i64, u64)> =
                values(readings, info.id).iter().map(|(at, value)| (*at, value.to_bits())).collect();
            expected.sort_unstable();
            found.sort_unstable();
            prop_assert_eq!(found.len() as u64, info.count);
            prop_assert_eq!(found, expected);
        }
    }
}

#[test]
fn where_writing_wears_the_disk_readings_are_committed_together_and_nobody_else_waits() {
    let dir = tempfile::tempdir().unwrap();
    let options = OpenOptions {
        wear: Wear {
            gather: Duration::from_millis(400),
            ..Wear::CARD
        },
        ..OpenOptions::default()
    };
    let store = Store::open(dir.path(), &common::key(), &options).unwrap();
    let readings = store.readings();
    let commits = Arc::new(Mutex::new(Vec::new()));
    readings.set_hook({
        let commits = Arc::clone(&commits);
        move |committed| {
            let count = committed.last_position - committed.first_position + 1;
            commits.lock().push(count);
        }
    });
    let series = readings
        .intern_series(&names("d", "level", "m"), SeriesOwner::Approved, 0)
        .unwrap();
    let one = |at| batch(vec![reading(series, at, 1.0)]);
    // Whatever was before: with this commit a time of gathering begins.
    ingest(readings, one(1));
    let began = Instant::now();
    let tickets: Vec<_> = (2..7).map(|at| readings.ingest(one(at))).collect();
    for ticket in tickets {
        ticket.wait().unwrap();
    }
    let seen = commits.lock().clone();
    assert_eq!(seen.iter().sum::<i64>(), 6);
    assert!(seen.len() <= 3, "in few commits: {seen:?}");
    assert!(began.elapsed() >= Duration::from_millis(100), "they waited");

    // Somebody who waits ends it.
    let ticket = readings.ingest(one(8));
    let began = Instant::now();
    readings.discard_dead_letters(vec![1]).wait().unwrap();
    assert!(began.elapsed() < Duration::from_millis(300));
    ticket.wait().unwrap();
    assert_eq!(commits.lock().iter().sum::<i64>(), 7);
}
