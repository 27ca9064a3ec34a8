#![allow(clippy::unwrap_used)]

use std::sync::atomic::Ordering;

use super::*;

fn message(bytes: usize) -> Arc<MqttMessage> {
    Arc::new(MqttMessage {
        topic: "a".into(),
        payload: vec![0; bytes].into(),
        properties: Box::default(),
        qos: 1,
        received_ms: 0,
        expires_ms: None,
    })
}

#[test]
fn all_queues_together_are_bounded_and_what_is_dropped_is_given_back() {
    let total = Arc::new(AtomicUsize::new(0));
    let large = message(60_000);
    let mut sessions = Vec::new();
    let mut full = 0;
    for _ in 0..200 {
        let session = Session::new(None, String::new(), String::new(), &total);
        while session
            .promise(&large, 1, false, Box::default(), None)
            .is_ok()
        {}
        full += usize::from(session.is_behind());
        sessions.push(session);
    }
    assert!(total.load(Ordering::Relaxed) <= QUEUES_BYTES_MAX);
    assert!(
        (100..200).contains(&full),
        "{full}: the last ones are not behind themselves"
    );
    drop(sessions);
    assert_eq!(total.load(Ordering::Relaxed), 0);
}

#[test]
fn messages_leave_in_order_and_within_what_the_client_takes() {
    let total = Arc::new(AtomicUsize::new(0));
    let session = Session::new(None, String::new(), String::new(), &total);
    let receiver = Receiver { receive_maximum: 2 };
    session.connect(receiver, 0, CancellationToken::new());
    let mut numbers = Vec::new();
    for bytes in 1..=3 {
        let outgoing = session
            .promise(&message(bytes), 1, false, Box::default(), None)
            .unwrap();
        numbers.push(outgoing.number);
    }
    // The later promise is kept first: its publisher's commit was quicker.
    session.keep(numbers[1]);
    session.keep(numbers[0]);
    session.keep(numbers[2]);
    let mut sizes = Vec::new();
    let mut changes = Vec::new();
    loop {
        let ready = session.ready(0, 10, &mut changes);
        if ready.is_empty() {
            break;
        }
        assert!(ready.len() <= 2);
        for packet in ready {
            let Ready::Publish {
                packet_id, message, ..
            } = packet
            else {
                panic!("{packet:?}");
            };
            sizes.push(message.payload.len());
            session.finished(packet_id.unwrap());
        }
    }
    assert_eq!(sizes, [1, 2, 3]);
    assert_eq!(total.load(Ordering::Relaxed), 0);
}
