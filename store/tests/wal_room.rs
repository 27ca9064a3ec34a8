//! A write-ahead log that gets its room beforehand: nothing acknowledged is lost with it, and it does not grow with commits.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::*;
use store::{
    IngestBatch, NewReading, OpenOptions, Readings, SeriesId, SeriesOwner, Store, Wear, flags,
};

const STEP_BYTES: u64 = 512 << 10;

fn open_with_room(dir: &Path) -> Store {
    let options = OpenOptions {
        wear: Wear {
            gather: Duration::ZERO,
            wal_start_bytes: 512 << 10,
            wal_step_bytes: STEP_BYTES,
            ..Wear::CARD
        },
        ..OpenOptions::default()
    };
    Store::open(dir, &key(), &options).unwrap()
}

fn gauge(readings: &Readings) -> SeriesId {
    readings
        .intern_series(&names("gauge", "level", "m"), SeriesOwner::Approved, 0)
        .unwrap()
}

/// Returns when they are on the disk.
fn store_some(readings: &Readings, series: SeriesId, from: i64, count: i64) {
    let reading = |at_ms| NewReading {
        series,
        at_ms,
        device_time: true,
        received_ms: at_ms,
        // Noise, which takes room.
        value: (at_ms as f64).sin(),
        flags: flags::APPROVED,
        message: None,
    };
    let batch = IngestBatch {
        readings: (from..from + count).map(reading).collect(),
        ..IngestBatch::default()
    };
    readings.ingest(batch).wait().unwrap();
}

fn log_bytes(dir: &Path) -> u64 {
    std::fs::metadata(dir.join("readings.db-wal")).map_or(0, |log| log.len())
}

/// Waits: the room is made when everybody has been answered.
fn until_log_has(dir: &Path, bytes: u64) {
    let began = Instant::now();
    while log_bytes(dir) < bytes {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{}",
            log_bytes(dir)
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn count(readings: &Readings, series: SeriesId) -> usize {
    let page = readings.points(series, i64::MIN, i64::MAX, 10_000).unwrap();
    page.points.len()
}

#[test]
fn the_log_has_room_before_a_commit_needs_it_and_a_cut_of_power_loses_nothing() {
    let (dir, cut) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open_with_room(dir.path());
    let series = gauge(store.readings());
    store_some(store.readings(), series, 0, 1);
    until_log_has(dir.path(), STEP_BYTES);
    let before = log_bytes(dir.path());
    for at in 1..20 {
        store_some(store.readings(), series, at, 1);
    }
    assert_eq!(
        log_bytes(dir.path()),
        before,
        "twenty commits within the room"
    );
    // As the disk is when the power goes: pages in the log, zeros behind them.
    for name in [
        "muster.db",
        "muster.db-wal",
        "readings.db",
        "readings.db-wal",
    ] {
        std::fs::copy(dir.path().join(name), cut.path().join(name)).unwrap();
    }
    let again = open_with_room(cut.path());
    assert_eq!(count(again.readings(), gauge(again.readings())), 20);
    store_some(again.readings(), series, 20, 1);
    assert_eq!(count(again.readings(), series), 21);
}

/// How often the log was begun anew (the WAL header's checkpoint sequence number, sqlite.org/fileformat2.html §4.1).
fn log_begun(dir: &Path) -> u32 {
    let log = std::fs::read(dir.join("readings.db-wal")).unwrap();
    u32::from_be_bytes(log[12..16].try_into().unwrap())
}

#[test]
fn the_log_is_used_again_and_again_and_stays_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let mut stored = 0;
    {
        let store = open_with_room(dir.path());
        let series = gauge(store.readings());
        let began = Instant::now();
        store_some(store.readings(), series, 0, 1);
        stored += 1;
        let first = log_begun(dir.path());
        while log_begun(dir.path()) < first + 3 {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "{stored} readings"
            );
            store_some(store.readings(), series, stored, 50);
            stored += 50;
        }
        assert!(log_bytes(dir.path()) <= 16 << 20);
    }
    let store = open_with_room(dir.path());
    let series = store.readings().series_info(gauge(store.readings()));
    assert_eq!(series.unwrap().count, stored.unsigned_abs());
}

#[test]
fn a_disk_that_does_not_wear_out_gets_no_zeros() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let series = gauge(store.readings());
    for at in 0..50 {
        store_some(store.readings(), series, at, 1);
    }
    assert!(log_bytes(dir.path()) < 4 << 20, "{}", log_bytes(dir.path()));
}
