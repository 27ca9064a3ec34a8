//! Who waits for whom in front of the writer of readings.db, counted in commits: times say nothing on a loaded machine.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use common::*;
use parking_lot::Mutex;
use store::{
    AHEAD_WEIGHT_MAX, CommitError, Delivery, IngestBatch, Ingested, MqttChange, NewReading,
    Queueing, Readings, SenderId, SeriesId, SeriesOwner, SessionNo, Ticket, flags,
};

/// A writer that stops after each commit until it is let on, and tells what each held.
struct Held {
    commits: Receiver<Vec<SeriesId>>,
    go_on: Sender<()>,
}

impl Held {
    fn hold(readings: &Readings) -> Held {
        let (told, commits) = channel();
        let (go_on, wait) = channel();
        let wait: Arc<Mutex<Receiver<()>>> = Arc::new(Mutex::new(wait));
        readings.set_hook(move |committed| {
            let series = committed.readings.iter().map(|reading| reading.series);
            // When the test is over nobody listens and nobody waits.
            let _ = told.send(series.collect());
            let _ = wait.lock().recv();
        });
        Held { commits, go_on }
    }

    /// What the next commit holds; the writer stands behind it.
    fn next(&self) -> Vec<SeriesId> {
        self.commits.recv().unwrap()
    }

    fn go_on(&self) {
        self.go_on.send(()).unwrap();
    }
}

fn batch(series: SeriesId, count: usize) -> IngestBatch {
    IngestBatch {
        readings: (0..count)
            .map(|number| NewReading {
                series,
                at_ms: number as i64,
                device_time: false,
                received_ms: 5,
                value: 1.0,
                flags: flags::APPROVED,
                message: None,
            })
            .collect(),
        ..IngestBatch::default()
    }
}

fn gauge(readings: &Readings, name: &str) -> SeriesId {
    readings
        .intern_series(&names(name, "level", "m"), SeriesOwner::Approved, 0)
        .unwrap()
}

fn ahead(readings: &Readings, batch: IngestBatch) -> Answer {
    let queueing = Queueing {
        ahead: true,
        ..Queueing::default()
    };
    readings.ingest_as(batch, queueing)
}

type Answer = Ticket<Ingested, CommitError>;

#[test]
fn a_lone_batch_is_in_the_next_commit_whatever_waits() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let readings = store.readings();
    let (busy, lone) = (gauge(readings, "busy"), gauge(readings, "lone"));
    let held = Held::hold(readings);
    let first = readings.ingest(batch(busy, 1));
    held.next();
    // The backlog of several commits, and behind it one reading of a sensor that was idle.
    let backlog: Vec<Answer> = (0..40)
        .map(|_| readings.ingest(batch(busy, 1_000)))
        .collect();
    let alone = ahead(readings, batch(lone, 1));
    held.go_on();
    let next = held.next();
    assert!(next.contains(&lone), "{} readings without it", next.len());
    assert!(
        next.len() < 20_000,
        "the whole backlog of 40,000 was one commit: this shows nothing"
    );
    drop(held);
    for ticket in backlog.into_iter().chain([first, alone]) {
        ticket.wait().unwrap();
    }
}

#[test]
fn a_flood_of_lone_batches_does_not_starve_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let readings = store.readings();
    let (ordered, lone) = (gauge(readings, "ordered"), gauge(readings, "lone"));
    let held = Held::hold(readings);
    let first = readings.ingest(batch(ordered, 1));
    held.next();
    let mut tickets: Vec<Answer> = (0..1_000)
        .map(|_| ahead(readings, batch(lone, AHEAD_WEIGHT_MAX - 1)))
        .collect();
    tickets.push(readings.ingest(batch(ordered, 100)));
    tickets.push(first);
    held.go_on();
    let mut next = held.next();
    assert!(next.contains(&lone));
    held.go_on();
    // On a machine that stood still within the first one, the second begins with what waited.
    next.extend(held.next());
    assert!(next.contains(&ordered), "{} readings", next.len());
    assert!(next.len() < 20_000, "the flood of 63,000 was over before");
    drop(held);
    for ticket in tickets {
        ticket.wait().unwrap();
    }
}

#[test]
fn what_is_large_goes_ahead_of_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let readings = store.readings();
    let (early, late) = (gauge(readings, "early"), gauge(readings, "late"));
    let held = Held::hold(readings);
    let mut tickets = vec![readings.ingest(batch(early, 1))];
    held.next();
    tickets.push(readings.ingest(batch(early, 10)));
    tickets.push(ahead(readings, batch(late, AHEAD_WEIGHT_MAX)));
    held.go_on();
    let next = held.next();
    assert_eq!(next.first(), Some(&early));
    assert_eq!(next.last(), Some(&late));
    drop(held);
    for ticket in tickets {
        ticket.wait().unwrap();
    }
}

#[test]
fn what_was_queued_before_the_end_is_done_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let (busy, lone) = (
        gauge(store.readings(), "busy"),
        gauge(store.readings(), "lone"),
    );
    let mut tickets: Vec<Answer> = Vec::new();
    for _ in 0..30 {
        tickets.push(store.readings().ingest(batch(busy, 1_000)));
        tickets.push(ahead(store.readings(), batch(lone, 1)));
    }
    store.close();
    for ticket in tickets {
        ticket.wait().unwrap();
    }
}

#[test]
fn what_a_batch_holds_is_free_when_it_is_answered_though_nobody_listens() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let readings = store.readings();
    let place = Arc::new(());
    let hold = |readings: &Readings, batch: IngestBatch| {
        let queueing = Queueing {
            hold: Some(Box::new(Arc::clone(&place))),
            ..Queueing::default()
        };
        readings.ingest_as(batch, queueing)
    };
    let good = gauge(readings, "good");
    drop(hold(readings, batch(good, 1)));
    let refused = hold(readings, batch(SeriesId(999), 1));
    hold(readings, batch(good, 1)).wait().unwrap();
    assert_eq!(Arc::strong_count(&place), 1);
    assert!(refused.wait().is_err());
}

const GATEWAY: SenderId = SenderId::Session(SessionNo(7));

/// Messages under the packet ids from 1, one untimed reading in each.
fn messages(series: SeriesId, packet_ids: u16, redelivered: bool) -> IngestBatch {
    let mut batch = batch(series, usize::from(packet_ids));
    for (number, reading) in (0..).zip(&mut batch.readings) {
        reading.message = Some(number);
    }
    let delivery = |packet_id| Delivery {
        session: SessionNo(7),
        packet_id,
        payload_hash: 1,
        redelivered,
        exactly_once: false,
    };
    batch.messages = (1..=packet_ids).map(delivery).collect();
    batch
}

fn of_gateway(readings: &Readings, ahead: bool, batch: IngestBatch) -> Answer {
    let queueing = Queueing {
        ahead,
        sender: Some(GATEWAY),
        ..Queueing::default()
    };
    readings.ingest_as(batch, queueing)
}

#[test]
fn what_a_sender_sends_again_does_not_overtake_what_it_repeats() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let readings = store.readings();
    let series = gauge(readings, "gauge");
    let held = Held::hold(readings);
    let running = readings.ingest(batch(series, 1));
    held.next();
    // Large, so in order; what is sent again after a reconnect is small and would go ahead.
    let first = of_gateway(readings, false, messages(series, 100, false));
    let again = of_gateway(readings, true, messages(series, 20, true));
    drop(held);
    running.wait().unwrap();
    assert_eq!(first.wait().unwrap().stored, 100);
    let again = again.wait().unwrap();
    assert_eq!((again.stored, again.duplicates), (0, 20));
}

#[test]
fn what_follows_a_lone_batch_of_a_sender_does_not_overtake_it_in_a_flood() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let readings = store.readings();
    let (lone, series) = (gauge(readings, "lone"), gauge(readings, "gauge"));
    let held = Held::hold(readings);
    let running = readings.ingest(batch(lone, 1));
    held.next();
    // So many that the others get their half of the transaction before these are through.
    let flood: Vec<Answer> = (0..200)
        .map(|_| ahead(readings, batch(lone, AHEAD_WEIGHT_MAX - 1)))
        .collect();
    let first = of_gateway(readings, true, messages(series, 20, false));
    let again = of_gateway(readings, false, messages(series, 100, true));
    drop(held);
    for ticket in flood.into_iter().chain([running]) {
        ticket.wait().unwrap();
    }
    assert_eq!(first.wait().unwrap().stored, 20);
    let again = again.wait().unwrap();
    assert_eq!((again.stored, again.duplicates), (80, 20));
}

#[test]
fn a_packet_id_of_a_new_session_is_taken_after_the_old_session_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let readings = store.readings();
    let series = gauge(readings, "gauge");
    let held = Held::hold(readings);
    let running = readings.ingest(batch(series, 1));
    held.next();
    let session = SessionNo(7);
    let ended = readings.write_mqtt(vec![MqttChange::SessionFresh { session }]);
    let exactly_once = || {
        let mut batch = messages(series, 1, false);
        batch.messages[0].exactly_once = true;
        batch
    };
    let first = of_gateway(readings, true, exactly_once());
    drop(held);
    running.wait().unwrap();
    ended.wait().unwrap();
    assert_eq!(first.wait().unwrap().stored, 1);
    let again = of_gateway(readings, true, exactly_once()).wait().unwrap();
    assert_eq!(again.stored, 0, "its packet id was not released");
}
