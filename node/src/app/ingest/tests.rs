//! Sources, senders and people beside each other while the writer of readings.db stands still: what is counted is who is
//! queued and who waits, not how long.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use domain::Kind;
use futures::FutureExt as _;
use parking_lot::Mutex;
use serde_json::{Map, json};
use store::{QUEUE_READINGS_MAX, flags};
use tempfile::TempDir;

use super::{Delivery, IngestSession, Message, SessionKey, Submission};
use crate::app::founding;
use crate::app::{App, AppError, Caller, KeySource, OpenConfig, RecordKind};

/// Nothing takes longer on a loaded machine.
const WAIT: Duration = Duration::from_secs(60);

/// A node whose writer of readings stands behind its first commit until this is let go.
struct Still {
    app: Arc<App>,
    go_on: Sender<()>,
    _directory: TempDir,
}

impl Still {
    async fn start() -> Still {
        let directory = TempDir::new().unwrap();
        founding::found_for_test(directory.path()).await;
        let app = App::open(OpenConfig::new(directory.path(), KeySource::DataDir))
            .await
            .unwrap();
        let (go_on, wait) = channel();
        let (told, stands) = channel();
        let wait: Mutex<Receiver<()>> = Mutex::new(wait);
        app.store.readings().set_hook(move |_| {
            let _ = told.send(());
            let _ = wait.lock().recv();
        });
        let still = Still {
            app,
            go_on,
            _directory: directory,
        };
        let mut first = still.sender("mqtt");
        drop(batch(&mut first, "first", 1));
        tokio::task::spawn_blocking(move || stands.recv_timeout(WAIT).unwrap())
            .await
            .unwrap();
        still
    }

    fn sender(&self, source: &str) -> IngestSession {
        self.connection(source, None)
    }

    fn connection(&self, source: &str, client_id: Option<&str>) -> IngestSession {
        let key = SessionKey {
            source: source.into(),
            client_id: client_id.map(str::to_owned),
            clean: false,
        };
        self.app.ingest().session(key).0
    }

    /// Batches of many senders of a source, each of a hundred readings, until one has to wait; that one is the last.
    fn flood(&self, source: &str) -> Vec<Submission> {
        let mut flood = Vec::new();
        for number in 0..QUEUE_READINGS_MAX / 100 {
            let mut sender = self.sender(source);
            let mut submission = batch(&mut sender, &format!("flood-{number}"), 100);
            let has_started = submission.started().now_or_never().is_some();
            flood.push(submission);
            if !has_started {
                return flood;
            }
        }
        panic!("the source found a place for everything");
    }

    /// The writer goes on; everything is committed. Answers how many readings there are, the first one among them.
    async fn finish(self, submissions: impl IntoIterator<Item = Submission>) -> u64 {
        drop(self.go_on);
        for mut submission in submissions {
            let committed = tokio::time::timeout(WAIT, submission.committed());
            committed.await.expect("it is committed in time").unwrap();
        }
        let readings = self.app.store.readings().count();
        self.app.shutdown().await;
        readings
    }
}

/// Messages under the packet ids from 1, as a client that waits for PUBACK sends them.
fn unacknowledged(sender: &mut IngestSession, packet_ids: u16, redelivered: bool) -> Submission {
    for packet_id in 1..=packet_ids {
        sender.message(Message {
            topic: "muster/v1/gauge/level",
            payload: b"3.5",
            delivery: Delivery::AtLeastOnce {
                packet_id,
                redelivered,
            },
            kept: false,
        });
    }
    sender.submit(true).unwrap()
}

fn batch(sender: &mut IngestSession, device: &str, readings: usize) -> Submission {
    let topic = format!("muster/v1/{device}/level");
    for _ in 0..readings {
        sender.message(Message {
            topic: &topic,
            payload: b"3.5",
            delivery: Delivery::AtMostOnce,
            kept: false,
        });
    }
    sender.submit(true).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_brokers_backlog_leaves_the_endpoint_and_other_brokers_their_places() {
    let still = Still::start().await;
    let mut flood = still.flood("broker city");
    for source in ["mqtt", "broker harbour"] {
        // More than a lone batch may hold, from a sender that has something on its way already.
        let mut sender = still.sender(source);
        for _ in 0..3 {
            let submission = batch(&mut sender, "gauge", 500);
            assert!(submission.is_under_way(), "{source}");
            flood.push(submission);
        }
    }
    still.finish(flood).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_sensor_has_a_place_beside_a_flood_of_a_hundred_other_connections() {
    let still = Still::start().await;
    let mut flood = still.flood("mqtt");
    let mut busy = still.sender("mqtt");
    let large = batch(&mut busy, "busy", 100);
    assert!(!large.is_under_way(), "there was room: this shows nothing");
    let second = batch(&mut busy, "busy", 1);
    assert!(!second.is_under_way(), "behind its own, in order");
    let mut idle = still.sender("mqtt");
    let lone = batch(&mut idle, "idle", 1);
    assert!(lone.is_under_way());
    flood.extend([lone, large, second]);
    still.finish(flood).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_a_place_gets_it_without_being_looked_at_again() {
    let still = Still::start().await;
    let mut flood = still.flood("mqtt");
    let mut waiting = flood.pop().unwrap();
    assert!(!waiting.is_under_way());
    // The answers give the places back, though nobody asks for them: a client that does not read its acknowledgements.
    still.go_on.send(()).unwrap();
    still.go_on.send(()).unwrap();
    tokio::time::timeout(WAIT, waiting.started())
        .await
        .expect("a place that nobody held back");
    flood.push(waiting);
    still.finish(flood).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_answered_while_every_place_for_readings_is_taken() {
    let still = Still::start().await;
    let flood = still.flood("mqtt");
    let somebody = Caller::socket();
    for number in 0..20 {
        let fields = json!({ "title": format!("number {number}") });
        let edit = still.app.create(
            &somebody,
            RecordKind::Document(Kind::Incident),
            Map::from_iter(fields.as_object().unwrap().clone()),
            None,
        );
        let created = tokio::time::timeout(WAIT, edit).await;
        created.expect("an answer while readings wait").unwrap();
    }
    let held = flood.last().is_some_and(|last| !last.is_under_way());
    assert!(held, "the writer went on meanwhile: this shows nothing");
    still.finish(flood).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_again_on_a_new_connection_is_stored_once_while_the_first_copy_is_still_queued()
 {
    let still = Still::start().await;
    let mut before = still.connection("mqtt", Some("gateway"));
    let first = unacknowledged(&mut before, 100, false);
    assert!(first.is_under_way(), "the store has it");
    // The socket breaks: nobody waits for the answer any more.
    drop((first, before));
    let mut after = still.connection("mqtt", Some("gateway"));
    // Fewer than make a small batch: one that would go ahead of the backlog.
    let again = unacknowledged(&mut after, 20, true);
    assert_eq!(still.finish([again]).await, 101);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_batch_and_what_follows_it_are_stored_once_on_whichever_connection_they_came() {
    let still = Still::start().await;
    let mut before = still.connection("mqtt", Some("gateway"));
    let first = unacknowledged(&mut before, 20, false);
    let flood = still.flood("mqtt");
    drop((first, before));
    let mut after = still.connection("mqtt", Some("gateway"));
    let again = unacknowledged(&mut after, 100, true);
    let of_flood = 100 * flood.len() as u64;
    let readings = still.finish(flood.into_iter().chain([again])).await;
    assert_eq!(readings, 1 + of_flood + 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_copy_is_an_approved_devices_reading_and_no_news() {
    let still = Still::start().await;
    let approved = json!({ "name": "gauge", "state": "approved" });
    let fields = approved.as_object().unwrap();
    still.app.devices.document_committed(fields, false);
    let mut broker = still.sender("broker city");
    for (device, kept) in [("gauge", false), ("gauge", true), ("stranger", true)] {
        broker.message(Message {
            topic: &format!("muster/v1/{device}/level"),
            payload: br#"{"v": 3.5, "t": "2026-11-20T10:00:00Z"}"#,
            delivery: Delivery::AtMostOnce,
            kept,
        });
    }
    let flags: Vec<u8> = broker.batch.readings.iter().map(|new| new.flags).collect();
    let of_broker = flags::KEPT | flags::RETAINED;
    assert_eq!(flags, [flags::APPROVED, of_broker, flags::RETAINED]);
    let submission = broker.submit(true).unwrap();
    still.finish([submission]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_replay_a_dead_letter_at_once_one_stores_it() {
    let still = Still::start().await;
    let app = Arc::clone(&still.app);
    let mut sender = still.sender("mqtt");
    sender.message(Message {
        topic: "plain/gauge",
        payload: br#"{"level": 3.5}"#,
        delivery: Delivery::AtMostOnce,
        kept: false,
    });
    let mut letter = sender.submit(true).unwrap();
    still.go_on.send(()).unwrap();
    tokio::time::timeout(WAIT, letter.committed())
        .await
        .expect("it is committed in time")
        .unwrap();
    let decoder = json!([{
        "topic": "plain/+", "format": "json", "device": "{2}",
        "values": [{ "channel": "level", "pointer": "/level" }],
    }]);
    app.use_decoders(serde_json::from_value(decoder).unwrap(), Path::new("."))
        .await
        .unwrap();
    // The writer stands again, behind another reading.
    let second = batch(&mut sender, "second", 1);
    let replay = || {
        let app = Arc::clone(&app);
        tokio::spawn(async move { app.replay_dead_letter(&Caller::socket(), "1").await })
    };
    let both = [replay(), replay()];
    // Each is written down after it has found the letter open.
    let both_have_begun = async {
        loop {
            let audit = app.list_audit(&Caller::socket(), None, None).await.unwrap();
            let replays = audit.items.iter();
            if replays
                .filter(|entry| entry["action"] == "dead-letter.replay")
                .count()
                == 2
            {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(WAIT, both_have_begun)
        .await
        .expect("both begin in time");
    let _ = still.go_on.send(());
    let _ = still.go_on.send(());
    let mut outcomes = Vec::new();
    for one in both {
        outcomes.push(one.await.unwrap());
    }
    let refused = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
    assert_eq!(
        refused
            .map(|error| matches!(error, AppError::Conflict(_)))
            .collect::<Vec<_>>(),
        [true]
    );
    assert_eq!(still.finish([second]).await, 3);
}
