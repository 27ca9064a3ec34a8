//! Figures of readings.db: bytes a reading, rate of ingest while blocks are made, how long questions take.
//!
//! `cargo run --release -p store --example measure_readings -- gauge [DAYS]`: a 1 Hz gauge of 0.1 resolution.
//! `cargo run --release -p store --example measure_readings -- many [SERIES] [INTERVAL_S] [RATE]`: a week of many series of
//! which the last day is kept raw, sent at RATE a second, and the questions a page asks.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use store::{
    Batch, BucketWidth, DbKey, Evaluated, Identity, IngestBatch, NewReading, OpenOptions, Readings,
    Retention, RuleCursor, SeriesId, SeriesNames, SeriesOwner, Store, flags,
};
use sync_engine::{Incarnation, Lane};
use zeroize::Zeroizing;

const START_MS: i64 = 20_000 * DAY_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
const HOUR_MS: i64 = 3_600_000;
const QUESTIONS: u32 = 50;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize, default: i64| {
        words
            .get(place)
            .map_or(default, |word| word.parse().unwrap())
    };
    println!("load before: {}", load());
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    match words.first().map(String::as_str) {
        Some("gauge") => gauge(store.readings(), number(1, 10)),
        Some("many") => many(
            store.readings(),
            number(1, 1_000),
            number(2, 10),
            number(3, 100_000),
        ),
        _ => eprintln!("gauge [DAYS] or many [SERIES] [INTERVAL_S] [RATE] is expected"),
    }
    println!("load after: {}", load());
}

fn load() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default()
}

/// A store whose rules have seen everything, whatever comes.
fn open(dir: &std::path::Path) -> Store {
    let store = Store::open(dir, &DbKey::new([3; 32]), &OpenOptions::default()).unwrap();
    let identity = Identity {
        node_secret: Zeroizing::new([1; 32]),
        incarnation: Incarnation(7),
        name: "north".to_owned(),
        role: "field".to_owned(),
        operation: Some([9; 32]),
        operation_title: "flood".to_owned(),
        root_secret: None,
        successor_secret: None,
        created_wall_ms: 1,
    };
    store.put_identity(identity).wait().unwrap();
    let mut batch = Batch::new(Lane::Life, 1);
    batch.rule_cursor = Some(RuleCursor {
        file_id: store.readings().file_id(),
        position: i64::MAX,
        evaluated: Evaluated::default(),
        state: Vec::new(),
    });
    store.commit(batch).wait().unwrap();
    store
}

/// A level in tenths that wanders, and arrives some milliseconds after it was measured.
struct Gauge {
    tenths: i64,
    seed: u64,
}

impl Gauge {
    fn next(&mut self, series: SeriesId, at_ms: i64) -> NewReading {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.tenths += (self.seed % 7) as i64 - 3;
        NewReading {
            series,
            at_ms: at_ms + (self.seed >> 8) as i64 % 5,
            device_time: true,
            received_ms: at_ms + 12 + (self.seed >> 16) as i64 % 30,
            value: self.tenths as f64 / 10.0,
            flags: flags::APPROVED,
            message: None,
        }
    }
}

fn gauge(readings: &Readings, days: i64) {
    let series = readings
        .intern_series(
            &SeriesNames {
                device: "gauge",
                channel: "level",
                unit: "m",
            },
            SeriesOwner::Approved,
            0,
        )
        .unwrap();
    let mut gauge = Gauge {
        tenths: 1_234,
        seed: 88_172_645_463_325_252,
    };
    let (empty, _) = readings.file_bytes().unwrap();
    for hour in 0..24 * days {
        let new =
            (0..3_600).map(|second| gauge.next(series, START_MS + hour * HOUR_MS + second * 1_000));
        ingest(readings, new.collect());
    }
    settle(
        readings,
        START_MS + (days + 1) * DAY_MS,
        Retention {
            raw_ms: None,
            rollups_ms: None,
        },
    );
    let (used, free) = readings.file_bytes().unwrap();
    let count = days * 86_400;
    println!(
        "{count} readings and their rollups: {} bytes used, {:.2} a reading; {free} bytes free for new ones",
        used - empty,
        (used - empty) as f64 / count as f64
    );
}

fn many(readings: &Readings, count: i64, interval_s: i64, rate: i64) {
    let series: Vec<SeriesId> = (0..count)
        .map(|number| {
            let device = format!("gauge-{}", number / 4);
            let channel = format!("c{}", number % 4);
            readings
                .intern_series(
                    &SeriesNames {
                        device: &device,
                        channel: &channel,
                        unit: "m",
                    },
                    SeriesOwner::Approved,
                    0,
                )
                .unwrap()
        })
        .collect();
    let mut gauges: Vec<Gauge> = (0..count)
        .map(|number| Gauge {
            tenths: 1_000 + number,
            seed: 88_172_645_463_325_252 + number as u64,
        })
        .collect();
    let retention = Retention {
        raw_ms: Some(DAY_MS as u64),
        rollups_ms: None,
    };
    // Six days once in five minutes, for the rollups; one day at the interval that is asked about.
    for (from, days, interval_ms) in [(0, 6, 300_000), (6, 1, interval_s * 1_000)] {
        let started = Instant::now();
        let mut stored = 0;
        let mut waiting = std::collections::VecDeque::new();
        let mut at = START_MS + from * DAY_MS;
        let mut new = Vec::with_capacity(4_096);
        while at < START_MS + (from + days) * DAY_MS {
            for (series, gauge) in series.iter().zip(&mut gauges) {
                new.push(gauge.next(*series, at));
                if new.len() == 4_000 {
                    let batch = IngestBatch {
                        readings: std::mem::take(&mut new),
                        ..IngestBatch::default()
                    };
                    waiting.push_back(readings.ingest(batch));
                    stored += 4_000;
                    pace(started, stored, rate);
                    // As many as ten connections have in flight.
                    if waiting.len() > 8 {
                        waiting.pop_front().unwrap().wait().unwrap();
                    }
                }
            }
            at += interval_ms;
        }
        waiting
            .into_iter()
            .for_each(|ticket| drop(ticket.wait().unwrap()));
        ingest(readings, new);
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "{stored} readings, one per {} s: {:.0} a second acknowledged; load {}",
            interval_ms / 1_000,
            stored as f64 / seconds,
            load().trim()
        );
        println!("{} readings in the tail", readings.tail_len());
        questions(
            "at once",
            readings,
            &series,
            START_MS + (from + days) * DAY_MS,
        );
        let started = Instant::now();
        settle(
            readings,
            START_MS + (from + days) * DAY_MS + HOUR_MS,
            retention,
        );
        println!(
            "put in order after {:.1} s; load {}",
            started.elapsed().as_secs_f64(),
            load().trim()
        );
    }
    let (used, free) = readings.file_bytes().unwrap();
    println!(
        "{} MB used, {} MB free for new ones",
        used >> 20,
        free >> 20
    );
    questions("in order", readings, &series, START_MS + 7 * DAY_MS);
}

/// Not faster than `rate` a second.
fn pace(started: Instant, stored: u64, rate: i64) {
    let due = Duration::from_secs_f64(stored as f64 / rate as f64);
    std::thread::sleep(due.saturating_sub(started.elapsed()));
}

fn questions(when: &str, readings: &Readings, series: &[SeriesId], now_ms: i64) {
    let ask = |what: &str, f: &dyn Fn(SeriesId) -> usize| {
        let mut took = Vec::new();
        let mut found = 0;
        for number in 0..QUESTIONS {
            // Another series each time, so that nothing is in a cache.
            let series = series[(number as usize * 131 + 17) % series.len()];
            let started = Instant::now();
            found = f(series);
            took.push(started.elapsed());
        }
        took.sort();
        let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
        println!(
            "{when}: {what} ({found} rows): p50 {:.2} ms, max {:.2} ms",
            ms(took[took.len() / 2]),
            ms(took[took.len() - 1])
        );
    };
    ask("a day at 15 min", &|series| {
        let range = (now_ms - DAY_MS, now_ms);
        let page = readings.buckets(series, BucketWidth::Quarter, range.0, range.1, 1_000);
        page.unwrap().buckets.len()
    });
    ask("a week at 1 h", &|series| {
        let range = (now_ms - 7 * DAY_MS, now_ms);
        let page = readings.buckets(series, BucketWidth::Hour, range.0, range.1, 1_000);
        page.unwrap().buckets.len()
    });
    ask("a raw hour", &|series| {
        let page = readings.points(series, now_ms - HOUR_MS, now_ms, 10_000);
        page.unwrap().points.len()
    });
}

fn ingest(readings: &Readings, new: Vec<NewReading>) {
    let batch = IngestBatch {
        readings: new,
        ..IngestBatch::default()
    };
    readings.ingest(batch).wait().unwrap();
}

/// Until the keeper has nothing left to do, and the rows that are in blocks have left the tail.
fn settle(readings: &Readings, now_ms: i64, retention: Retention) {
    while readings.expire_readings(now_ms, retention).wait().unwrap() {}
    let first = || readings.readings_after(0, 1).unwrap().first().copied();
    while first().is_some_and(|row| row.received_ms < now_ms - 11 * 60_000) {
        std::thread::sleep(Duration::from_millis(50));
    }
}
