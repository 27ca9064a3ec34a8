//! What the MQTT endpoint promised outlives a crash at any moment: QoS 2 counts once, sessions and what is on its way to
//! them come back as they were.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::*;
use proptest::prelude::*;
use store::{
    CommandRequest, CommandState, Delivery, DeviceCommand, IngestBatch, MqttAccount, MqttChange,
    MqttMessage, MqttOutgoing, MqttWrite, NewReading, Readings, SeriesOwner, SessionNo, Store,
};

/// What a crash leaves: the files as they are while the store is open.
fn crash(dir: &Path) -> (tempfile::TempDir, Store) {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(dir).unwrap() {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        // The index of the WAL is memory that belongs to the processes that died.
        if !name.ends_with("-shm") && file.file_type().unwrap().is_file() {
            std::fs::copy(file.path(), copy.path().join(name)).unwrap();
        }
    }
    let store = open(copy.path());
    (copy, store)
}

fn exactly_once(readings: &Readings, session: SessionNo, packet_id: u16, value: f64) -> u32 {
    let series = readings
        .intern_series(&names("gauge", "level", ""), SeriesOwner::Approved, 1)
        .unwrap();
    let batch = IngestBatch {
        readings: vec![NewReading {
            series,
            at_ms: 5,
            device_time: false,
            received_ms: 5,
            value,
            flags: 0,
            message: Some(0),
        }],
        messages: vec![Delivery {
            session,
            packet_id,
            payload_hash: 0,
            redelivered: false,
            exactly_once: true,
        }],
        ..IngestBatch::default()
    };
    readings.ingest(batch).wait().unwrap().stored
}

fn release(readings: &Readings, session: SessionNo, packet_id: u16) {
    let batch = IngestBatch {
        released: vec![(session, packet_id)],
        ..IngestBatch::default()
    };
    readings.ingest(batch).wait().unwrap();
}

#[test]
fn a_packet_id_is_taken_until_it_is_released_across_crashes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (session, _) = store.readings().intern_session("sensor", 1);
    store
        .readings()
        .write_mqtt(vec![kept(session)])
        .wait()
        .unwrap();
    assert_eq!(exactly_once(store.readings(), session, 7, 1.0), 1);

    // The node dies before the client sees PUBREC: the client sends the message again.
    let (_dir, store) = crash(dir.path());
    assert_eq!(
        store.readings().intern_session("sensor", 1),
        (session, true)
    );
    assert_eq!(exactly_once(store.readings(), session, 7, 1.0), 0);
    release(store.readings(), session, 7);
    // Released twice, as after a lost PUBCOMP.
    release(store.readings(), session, 7);

    // It dies after PUBCOMP: what comes under this id now is another message, although it looks the same.
    let (_dir, store) = crash(_dir.path());
    assert_eq!(exactly_once(store.readings(), session, 7, 1.0), 1);
    assert_eq!(store.readings().count(), 2);
    let (other, _) = store.readings().intern_session("other", 1);
    assert_eq!(exactly_once(store.readings(), other, 7, 1.0), 1);
}

#[test]
fn packet_ids_of_a_session_that_ended_with_its_connection_end_with_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (session, _) = store.readings().intern_session("sensor", 1);
    assert_eq!(exactly_once(store.readings(), session, 7, 1.0), 1);
    assert_eq!(exactly_once(store.readings(), session, 7, 1.0), 0);
    let (_dir, store) = crash(dir.path());
    assert_eq!(exactly_once(store.readings(), session, 7, 1.0), 1);
}

#[test]
fn a_session_that_begins_anew_has_no_packet_ids_and_no_messages() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (session, _) = store.readings().intern_session("sensor", 1);
    assert_eq!(exactly_once(store.readings(), session, 7, 1.0), 1);
    let changes = vec![
        kept(session),
        enqueued(session, 1),
        MqttChange::SessionFresh { session },
    ];
    store.readings().write_mqtt(changes).wait().unwrap();
    assert_eq!(exactly_once(store.readings(), session, 7, 1.0), 1);
    let (_dir, store) = crash(dir.path());
    assert!(store.readings().mqtt_state().unwrap().sessions.is_empty());
}

fn kept(session: SessionNo) -> MqttChange {
    MqttChange::SessionKept {
        session,
        owner: "truck".into(),
        expiry_s: 60,
    }
}

fn outgoing(number: u64) -> MqttOutgoing {
    MqttOutgoing {
        number,
        packet_id: 9,
        message: Arc::new(MqttMessage {
            topic: "a/b".into(),
            payload: (*b"\0\xff").into(),
            properties: (*b"\x01\x01").into(),
            qos: 2,
            received_ms: 5,
            expires_ms: Some(6),
        }),
        qos: 2,
        retain: true,
        identifiers: Box::default(),
        released: false,
    }
}

fn enqueued(session: SessionNo, number: u64) -> MqttChange {
    MqttChange::Enqueued {
        session,
        outgoing: outgoing(number),
    }
}

#[test]
fn what_is_promised_to_a_session_comes_back_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (session, _) = store.readings().intern_session("dashboard", 1);
    let changes = vec![
        kept(session),
        MqttChange::Subscribed {
            session,
            filter: "a/#".into(),
            options: 0b10_1010,
            identifier: 3,
        },
        MqttChange::Subscribed {
            session,
            filter: "gone".into(),
            options: 1,
            identifier: 0,
        },
        MqttChange::Unsubscribed {
            session,
            filter: "gone".into(),
        },
        enqueued(session, 3),
        enqueued(session, 1),
        enqueued(session, 2),
        MqttChange::OutgoingReleased { session, number: 2 },
        MqttChange::Dequeued { session, number: 1 },
        MqttChange::SessionLeft {
            session,
            expiry_s: 90,
            left_ms: 77,
        },
    ];
    store.readings().write_mqtt(changes).wait().unwrap();
    let (_dir, store) = crash(dir.path());
    let [kept] = store
        .readings()
        .mqtt_state()
        .unwrap()
        .sessions
        .try_into()
        .unwrap();
    assert_eq!(
        (
            kept.client_id.as_str(),
            kept.owner.as_str(),
            kept.expiry_s,
            kept.left_ms
        ),
        ("dashboard", "truck", 90, Some(77))
    );
    assert_eq!(kept.subscriptions, [("a/#".to_owned(), 0b10_1010, 3)]);
    let mut released = outgoing(2);
    released.released = true;
    assert_eq!(kept.outgoing, [released, outgoing(3)]);
}

#[test]
fn accounts_commands_and_retained_messages_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let account = MqttAccount {
        name: "gateway".into(),
        device: None,
        secret_hash: [4; 32],
        publish: vec!["a/#".into(), "b".into()],
        subscribe: vec![],
        created_ms: 1,
    };
    let command = DeviceCommand {
        id: [8; 16],
        device: "pump".into(),
        payload: "{}".into(),
        state: CommandState::Sent,
        detail: Some("on its way".into()),
        created_by: "admin".into(),
        created_ms: 1,
        expires_ms: 2,
        changed_ms: 3,
        request: Some(CommandRequest {
            scope_hash: [5; 32],
            body_hash: [6; 32],
        }),
    };
    let without_key = DeviceCommand {
        id: [9; 16],
        request: None,
        ..command.clone()
    };
    let retained = outgoing(1).message;
    let changes = vec![
        MqttChange::Account(account.clone()),
        MqttChange::Command(command.clone()),
        MqttChange::Command(without_key.clone()),
        MqttChange::Retained(Arc::clone(&retained)),
        MqttChange::DeviceState {
            device: "pump".into(),
            payload: b"on".to_vec(),
            received_ms: 4,
        },
    ];
    store.readings().write_mqtt(changes).wait().unwrap();
    let (_dir, store) = crash(dir.path());
    let state = store.readings().mqtt_state().unwrap();
    assert_eq!(state.accounts, [account]);
    assert_eq!(state.commands, [command, without_key]);
    assert_eq!(state.retained, [(*retained).clone()]);
    assert_eq!(
        state.device_states,
        [("pump".to_owned(), b"on".to_vec(), 4)]
    );
}

#[test]
fn a_change_that_came_with_a_repeated_message_is_not_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (session, _) = store.readings().intern_session("sensor", 1);
    let (dashboard, _) = store.readings().intern_session("dashboard", 1);
    store
        .readings()
        .write_mqtt(vec![kept(dashboard)])
        .wait()
        .unwrap();
    let message = |number| IngestBatch {
        messages: vec![Delivery {
            session,
            packet_id: 7,
            payload_hash: 0,
            redelivered: false,
            exactly_once: true,
        }],
        mqtt: vec![MqttWrite {
            change: enqueued(dashboard, number),
            message: Some(0),
        }],
        ..IngestBatch::default()
    };
    assert!(
        store
            .readings()
            .ingest(message(1))
            .wait()
            .unwrap()
            .repeated
            .is_empty()
    );
    assert_eq!(
        store.readings().ingest(message(2)).wait().unwrap().repeated,
        [0]
    );
    let state = store.readings().mqtt_state().unwrap();
    assert_eq!(state.sessions[0].outgoing, [outgoing(1)]);
}

#[test]
fn client_ids_that_are_in_use_are_not_forgotten_for_new_ones() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (in_use, _) = store.readings().intern_session("in use", 1);
    store.readings().pin_session(in_use, true);
    store
        .readings()
        .write_mqtt(vec![kept(in_use)])
        .wait()
        .unwrap();
    for n in 0..10_050 {
        store.readings().intern_session(&format!("stranger {n}"), 2);
    }
    assert_eq!(store.readings().intern_session("in use", 3), (in_use, true));
    store.readings().write_mqtt(vec![]).wait().unwrap();
    assert_eq!(store.readings().mqtt_state().unwrap().sessions.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// A client of the standard (MQTT 5 §4.3.3) publishes messages in order, each until PUBREC and released until
    /// PUBCOMP, while answers get lost and the node dies at any step.
    #[test]
    fn every_message_counts_once_whatever_is_lost(
        steps in proptest::collection::vec((any::<bool>(), any::<bool>()), 1..24)
    ) {
        let mut dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        let (session, _) = store.readings().intern_session("sensor", 1);
        store.readings().write_mqtt(vec![kept(session)]).wait().unwrap();
        let mut done = 0u32;
        let mut received = false;
        for (answer_lost, dies) in steps {
            // Two ids in turns, the same value: nothing but the protocol tells the messages apart.
            let packet_id = 1 + (done % 2) as u16;
            if received {
                release(store.readings(), session, packet_id);
                if !answer_lost {
                    received = false;
                    done += 1;
                }
            } else {
                exactly_once(store.readings(), session, packet_id, 1.0);
                received = !answer_lost;
            }
            if dies {
                (dir, store) = crash(dir.path());
            }
            prop_assert!((done..=done + 1).contains(&(store.readings().count() as u32)));
        }
    }
}
