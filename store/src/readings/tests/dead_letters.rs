//! Which dead letters go when there are too many, on a small scale.

use super::super::dead_letters::Room;
use super::*;

const ROWS_MAX: u64 = 400;

fn little_room() -> Limits {
    Limits {
        dead_letters: Room {
            rows_max: ROWS_MAX,
            bytes_max: 1 << 20,
        },
        ..small()
    }
}

fn letter(source: &str, topic: &str, payload: &[u8]) -> NewDeadLetter {
    NewDeadLetter {
        source: source.to_owned(),
        topic: topic.to_owned(),
        reason: "no number".to_owned(),
        code: "not-a-number".to_owned(),
        received_ms: START_MS,
        payload: payload.to_vec(),
        ..NewDeadLetter::default()
    }
}

fn put(readings: &Readings, dead: Vec<NewDeadLetter>) {
    let batch = IngestBatch {
        dead,
        ..IngestBatch::default()
    };
    readings.ingest(batch).wait().unwrap();
}

fn flood(readings: &Readings, source: &str, topic: impl Fn(u64) -> String, count: u64) {
    for start in (0..count).step_by(100) {
        let some = start..(start + 100).min(count);
        let dead = some.map(|number| letter(source, &topic(number), b"?"));
        put(readings, dead.collect());
    }
}

/// Topics of open letters of a source, the oldest first.
fn topics(readings: &Readings, source: &str) -> Vec<String> {
    let query = DeadLetterQuery {
        state: Some(DeadLetterState::Open),
        source: Some(source.to_owned()),
        limit: usize::MAX,
        ..DeadLetterQuery::default()
    };
    let letters = readings.dead_letters(&query).unwrap();
    letters.into_iter().rev().map(|it| it.topic).collect()
}

#[test]
fn a_letter_stays_beside_a_flood_of_its_source() {
    let dir = tempfile::tempdir().unwrap();
    let readings = open(dir.path(), little_room());
    put(&readings, vec![letter("mqtt", "help", b"flooded")]);
    flood(&readings, "mqtt", |_| "noise/a/b".to_owned(), 3_000);
    let left = topics(&readings, "mqtt");
    assert_eq!(left.iter().filter(|topic| *topic == "help").count(), 1);
    assert!(left.len() as u64 <= ROWS_MAX && left.len() as u64 > ROWS_MAX * 9 / 10);
    assert_eq!(readings.dead_letters_dropped(), 3_001 - left.len() as u64);
}

#[test]
fn who_invents_topics_takes_the_room_of_its_own_source() {
    let dir = tempfile::tempdir().unwrap();
    let readings = open(dir.path(), little_room());
    flood(&readings, "broker city", |_| "a/b/c".to_owned(), 150);
    flood(&readings, "mqtt", |number| format!("{number}"), 2_000);
    assert_eq!(topics(&readings, "broker city").len(), 150);
    let of_flood = topics(&readings, "mqtt");
    assert_eq!(of_flood.last().map(String::as_str), Some("1999"));
    assert!(of_flood.is_sorted_by_key(|topic| topic.parse::<u64>().unwrap()));
}

#[test]
fn what_is_settled_goes_before_anything_that_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let readings = open(dir.path(), little_room());
    flood(&readings, "mqtt", |_| "settled".to_owned(), 100);
    let all = DeadLetterQuery {
        limit: usize::MAX,
        ..DeadLetterQuery::default()
    };
    let ids = readings.dead_letter_ids(&all).unwrap();
    assert_eq!(readings.discard_dead_letters(ids).wait().unwrap(), 100);
    flood(&readings, "mqtt", |_| "open".to_owned(), 350);
    assert_eq!(topics(&readings, "mqtt").len(), 350);
    assert!(readings.dead_letters_dropped() >= 50);
}

#[test]
fn large_letters_make_room_for_others_by_their_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let readings = open(dir.path(), little_room());
    flood(&readings, "mqtt", |_| "small".to_owned(), 100);
    for _ in 0..20 {
        put(&readings, vec![letter("mqtt", "picture", &[7; 100_000])]);
    }
    let left = topics(&readings, "mqtt");
    let small = left.iter().filter(|topic| *topic == "small").count();
    assert_eq!(small, 100);
    assert!(left.len() <= 100 + 10, "{}", left.len());
    drop(readings);
    let readings = open(dir.path(), little_room());
    put(&readings, vec![letter("mqtt", "picture", &[7; 100_000])]);
    assert!(
        topics(&readings, "mqtt").len() <= 100 + 10,
        "counted over a restart"
    );
}

#[test]
fn a_copy_that_a_broker_kept_is_one_letter_until_it_is_another() {
    let dir = tempfile::tempdir().unwrap();
    let readings = open(dir.path(), little_room());
    let kept = |source: &str, topic: &str, payload: &[u8]| NewDeadLetter {
        kept: true,
        ..letter(source, topic, payload)
    };
    for _ in 0..3 {
        put(&readings, vec![kept("broker city", "a/config", b"{}")]);
    }
    assert_eq!(topics(&readings, "broker city"), ["a/config"]);
    put(
        &readings,
        vec![
            kept("broker city", "a/config", b"{1}"),
            kept("broker city", "b/config", b"{}"),
            kept("broker river", "a/config", b"{}"),
        ],
    );
    let others = ["a/config", "a/config", "b/config"];
    assert_eq!(topics(&readings, "broker city"), others);
    assert_eq!(topics(&readings, "broker river"), ["a/config"]);
    // What is sent, and not kept, is a message of its own each time.
    for _ in 0..2 {
        put(&readings, vec![letter("broker city", "c", b"{}")]);
    }
    assert_eq!(topics(&readings, "broker city").len(), 5);
    // Given up is given up.
    let all = DeadLetterQuery {
        limit: usize::MAX,
        ..DeadLetterQuery::default()
    };
    let ids = readings.dead_letter_ids(&all).unwrap();
    readings.discard_dead_letters(ids).wait().unwrap();
    put(&readings, vec![kept("broker city", "a/config", b"{}")]);
    assert!(topics(&readings, "broker city").is_empty());
}

#[test]
fn who_follows_hears_of_letters_that_come_fail_again_are_settled_or_go_and_of_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let readings = open(dir.path(), little_room());
    let mut changes = readings.dead_letter_changes();
    let mut heard = |what: &str, expected: bool| {
        assert_eq!(changes.has_changed().unwrap(), expected, "{what}");
        changes.mark_unchanged();
    };
    let copy = || NewDeadLetter {
        kept: true,
        ..letter("mqtt", "copy", b"?")
    };
    put(&readings, vec![letter("mqtt", "a", b"?"), copy()]);
    heard("two came", true);
    put(&readings, vec![copy()]);
    heard("a copy came that is there already", false);
    let series = readings
        .intern_series(&names("d", "level", "m"), SeriesOwner::Approved, 0)
        .unwrap();
    ingest(&readings, vec![reading(series, START_MS, 1.0)]);
    heard("a reading", false);

    let all = DeadLetterQuery {
        limit: usize::MAX,
        ..DeadLetterQuery::default()
    };
    let ids = readings.dead_letter_ids(&all).unwrap();
    let failure = DeadLetterFailure {
        decoder: String::new(),
        reason: "still not".into(),
        code: "not-a-number".into(),
        retry_at_ms: None,
    };
    let failed = readings.dead_letter_failed(ids[0], failure);
    failed.wait().unwrap();
    heard("one was tried and failed", true);
    let replay = IngestBatch {
        replayed: Some(ids[0]),
        ..IngestBatch::default()
    };
    readings.ingest(replay.clone()).wait().unwrap();
    heard("one was read", true);
    readings.ingest(replay).wait().unwrap();
    heard("it was settled already", false);
    readings.discard_dead_letters(vec![ids[1]]).wait().unwrap();
    heard("one was given up", true);
    assert!(!readings.expire_dead_letters(START_MS).wait().unwrap());
    heard("none is old enough to go", false);
    assert!(!readings.expire_dead_letters(START_MS + 1).wait().unwrap());
    heard("they are too old", true);
}

#[test]
fn of_letters_from_before_senders_were_known_none_is_believed_to_have_had_an_account() {
    let dir = tempfile::tempdir().unwrap();
    {
        let connection = sql(dir.path());
        for step in &migrate::READINGS[..12] {
            connection.execute_batch(step).unwrap();
        }
        connection.pragma_update(None, "user_version", 12).unwrap();
        connection
            .execute_batch(
                "INSERT INTO dead_letter (id, source, topic, code, reason, received_ms, payload, state) VALUES \
                 (1, 'mqtt', 't', 'not-a-number', '', 0, x'', 0), (2, 'mqtt', 't', 'not-authorised', '', 0, x'', 0), \
                 (3, 'mqtt', 't', 'not-a-number', '', 0, x'', 2), (4, 'broker city', 't', 'not-a-number', '', 0, x'', 0)",
            )
            .unwrap();
    }
    let readings = open(dir.path(), little_room());
    let anonymous = [1, 2, 3, 4].map(|id| readings.dead_letter(id).unwrap().unwrap().anonymous);
    assert_eq!(anonymous, [true, true, false, false]);
}
