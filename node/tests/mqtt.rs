//! The MQTT endpoint from outside: what a sensor may do, and what it is told.
#![allow(clippy::unwrap_used)]

mod support;

use std::cell::Cell;
use std::time::{Duration, Instant};

use node::ingest::mqtt::Bounds;
use proptest::prelude::*;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, PublishOptions, QoS};
use support::{Connect, Node, Raw, connect_packet, eventually, packet, publish_packet};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const TOPIC: &str = "muster/v1/gauge/level";

/// Publishes with a real client and waits for all acknowledgements.
async fn publish_all(node: &Node, client_id: &str, messages: Vec<(String, String)>) {
    let mut options = MqttOptions::new(client_id, ("127.0.0.1", node.mqtt.port()));
    options.set_clean_session(false);
    let (client, mut eventloop) = AsyncClient::builder(options).capacity(100).build();
    let expected = messages.len();
    let publisher = tokio::spawn(async move {
        for (topic, payload) in messages {
            client
                .publish(topic, payload, PublishOptions::new(QoS::AtLeastOnce))
                .await
                .unwrap();
        }
        client
    });
    let mut acknowledged = 0;
    while acknowledged < expected {
        let event = tokio::time::timeout(Duration::from_secs(30), eventloop.poll())
            .await
            .unwrap()
            .unwrap();
        if matches!(event, Event::Incoming(Packet::PubAck(_))) {
            acknowledged += 1;
        }
    }
    let client = publisher.await.unwrap();
    let _ = client.disconnect().await;
    let _ = tokio::time::timeout(Duration::from_secs(1), eventloop.poll()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_at_once_and_after_a_restart() {
    let node = Node::start().await;
    let messages = (0..500)
        .map(|n| {
            (
                TOPIC.to_owned(),
                format!(r#"{{"v":{n},"t":{},"u":"m"}}"#, 1_772_366_400_000_i64 + n),
            )
        })
        .collect();
    publish_all(&node, "sensor", messages).await;
    assert_eq!(node.count("gauge").await, 500);
    let node = node.restart().await;
    let [series] = node.series("gauge").await.try_into().unwrap();
    assert_eq!(series["count"], 500);
    assert_eq!(series["unit"], "m");
    assert_eq!(series["last"]["value"], 499.0);
    assert_eq!(series["last"]["at"], "2026-03-01T12:00:00.499Z");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unacknowledged_publishing_is_stored_too() {
    let node = Node::start().await;
    let (mut raw, _) = Raw::connect(&node, Connect::default()).await;
    raw.send(&publish_packet(TOPIC, b"1.5", None)).await;
    raw.send(&packet(0xe0, &[])).await;
    assert!(raw.closed().await.is_empty());
    eventually("the reading", || async {
        match node.count("gauge").await {
            1 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_sent_again_counts_once() {
    let node = Node::start().await;
    let (mut raw, present) = Raw::connect(&node, Connect::default()).await;
    assert!(!present);
    raw.publish(TOPIC, b"1.5", 7, false).await;
    raw.publish(TOPIC, b"1.5", 8, false).await;
    drop(raw);

    let (mut raw, present) = Raw::connect(&node, Connect::default()).await;
    assert!(
        present,
        "the session is remembered, or clients forget what they have not seen acknowledged"
    );
    raw.publish(TOPIC, b"1.5", 8, true).await;
    assert_eq!(node.count("gauge").await, 2);
    // The same packet id with something else in it is another message, and so is one without the mark.
    raw.publish(TOPIC, b"1.6", 8, true).await;
    raw.publish(TOPIC, b"1.6", 8, false).await;
    assert_eq!(node.count("gauge").await, 4);
    drop(raw);

    // The same across a restart, also for another client with the same packet id.
    let node = node.restart().await;
    let (mut raw, _) = Raw::connect(&node, Connect::default()).await;
    raw.publish(TOPIC, b"1.5", 7, true).await;
    assert_eq!(node.count("gauge").await, 4);
    let (mut other, _) = Raw::connect(
        &node,
        Connect {
            client_id: "other",
            ..Connect::default()
        },
    )
    .await;
    other.publish(TOPIC, b"1.5", 7, true).await;
    assert_eq!(node.count("gauge").await, 5);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_with_the_sensors_own_time_counts_once_however_often_it_comes() {
    let node = Node::start().await;
    let (mut raw, _) = Raw::connect(&node, Connect::default()).await;
    let payload = br#"{"v":3.5,"t":"2026-03-01T12:00:00Z"}"#;
    for packet_id in 1..=3 {
        raw.publish(TOPIC, payload, packet_id, false).await;
    }
    assert_eq!(node.count("gauge").await, 1);
    // Two values with one time contradict each other: both are kept.
    raw.publish(TOPIC, br#"{"v":3.6,"t":"2026-03-01T12:00:00Z"}"#, 4, false)
        .await;
    assert_eq!(node.count("gauge").await, 2);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_kept_with_its_reason_and_acknowledged() {
    let node = Node::start().await;
    let (mut raw, _) = Raw::connect(&node, Connect::default()).await;
    raw.publish(TOPIC, b"very high", 1, false).await;
    raw.publish("zigbee2mqtt/kitchen", b"{\"temperature\":21}", 2, false)
        .await;
    raw.publish("muster/v1/gauge/cmd", b"1", 3, false).await;
    raw.publish(TOPIC, b"1.5", 4, false).await;

    let letters = node.dead_letters().await;
    assert_eq!(letters.len(), 3);
    let letter = letters
        .iter()
        .find(|letter| letter["topic"] == TOPIC)
        .unwrap();
    assert_eq!(letter["payload_base64"], "dmVyeSBoaWdo");
    assert!(
        letter["reason"]
            .as_str()
            .unwrap()
            .contains("neither a number"),
        "{letter}"
    );
    assert_eq!(letter["state"], "open");
    assert_eq!(node.count("gauge").await, 1);
    // A poison message that is sent again is one letter.
    raw.publish(TOPIC, b"very high", 1, true).await;
    assert_eq!(node.dead_letters().await.len(), 3);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_come_in_the_order_of_the_messages() {
    let node = Node::start().await;
    let (mut raw, _) = Raw::connect(&node, Connect::default()).await;
    let mut burst = Vec::new();
    for packet_id in 1..=5000_u16 {
        let payload = if packet_id % 7 == 0 {
            "poison".to_owned()
        } else {
            format!("{packet_id}")
        };
        burst.extend(publish_packet(
            TOPIC,
            payload.as_bytes(),
            Some((packet_id, false)),
        ));
    }
    let (mut reader, mut writer) = raw.stream.into_split();
    let sender = tokio::spawn(async move {
        writer.write_all(&burst).await.unwrap();
        writer
    });
    for packet_id in 1..=5000_u16 {
        let mut puback = [0; 4];
        tokio::time::timeout(Duration::from_secs(30), reader.read_exact(&mut puback))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(u16::from_be_bytes([puback[2], puback[3]]), packet_id);
    }
    sender.await.unwrap();
    raw = Raw::connect(
        &node,
        Connect {
            client_id: "second",
            ..Connect::default()
        },
    )
    .await
    .0;
    drop(raw);
    assert_eq!(node.count("gauge").await, 5000 - 5000 / 7);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packet_that_is_too_large_ends_only_its_own_connection() {
    let node = Node::start().await;
    let (mut good, _) = Raw::connect(
        &node,
        Connect {
            client_id: "good",
            ..Connect::default()
        },
    )
    .await;
    let (mut bad, _) = Raw::connect(
        &node,
        Connect {
            client_id: "bad",
            ..Connect::default()
        },
    )
    .await;
    bad.send(&[0x32, 0xff, 0xff, 0xff, 0x7f, 0, 1]).await;
    bad.closed().await;
    good.publish(TOPIC, b"1.5", 1, false).await;
    // A payload near the bound is a message like any other: a dead letter here, because no reading has 60 KiB.
    good.publish(TOPIC, &[b'9'; 60 * 1024], 2, false).await;
    assert_eq!(node.dead_letters().await.len(), 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newer_connection_of_a_client_wins() {
    let node = Node::start().await;
    let (mut first, _) = Raw::connect(&node, Connect::default()).await;
    first.publish(TOPIC, b"1", 1, false).await;
    let (mut second, present) = Raw::connect(&node, Connect::default()).await;
    assert!(present);
    assert!(first.closed().await.is_empty());
    second.publish(TOPIC, b"2", 2, false).await;
    assert_eq!(node.count("gauge").await, 2);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_client_is_let_go_after_one_and_a_half_keep_alives() {
    let node = Node::start().await;
    let (mut silent, _) = Raw::connect(
        &node,
        Connect {
            client_id: "silent",
            keep_alive_s: 1,
            ..Connect::default()
        },
    )
    .await;
    let (mut pinging, _) = Raw::connect(
        &node,
        Connect {
            client_id: "pinging",
            keep_alive_s: 1,
            ..Connect::default()
        },
    )
    .await;
    let started = Instant::now();
    let pings = async {
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            pinging.send(&packet(0xc0, &[])).await;
            assert_eq!(pinging.read::<2>().await, [0xd0, 0]);
        }
    };
    let (_, silence) = tokio::join!(pings, async {
        silent.closed().await;
        started.elapsed()
    });
    assert!(silence >= Duration::from_millis(1400), "{silence:?}");
    pinging.publish(TOPIC, b"1", 1, false).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_says_connect_is_let_go() {
    let bounds = Bounds {
        connect_timeout: Duration::from_millis(200),
        ..Bounds::default()
    };
    let node = Node::start().await.with_bounds(bounds).await;
    let mut raw = Raw::open(&node).await;
    raw.send(&[0x10]).await;
    assert!(raw.closed().await.is_empty());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_bound_are_refused_and_free_places_are_used_again() {
    let node = Node::start()
        .await
        .with_bounds(Bounds {
            connections_max: 2,
            ..Bounds::default()
        })
        .await;
    let (first, _) = Raw::connect(
        &node,
        Connect {
            client_id: "1",
            ..Connect::default()
        },
    )
    .await;
    let (_second, _) = Raw::connect(
        &node,
        Connect {
            client_id: "2",
            ..Connect::default()
        },
    )
    .await;
    let mut third = Raw::open(&node).await;
    third.closed().await;
    drop(first);
    eventually("a free place", || async {
        let mut raw = Raw::open(&node).await;
        raw.send(&connect_packet(
            4,
            &Connect {
                client_id: "4",
                ..Connect::default()
            },
        ))
        .await;
        let mut connack = [0; 4];
        match raw.stream.read_exact(&mut connack).await {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_supported_is_refused_in_the_standards_way() {
    let node = Node::start().await;
    let mut six = Raw::open(&node).await;
    six.send(&connect_packet(6, &Connect::default())).await;
    assert_eq!(six.closed().await, [0x20, 2, 0, 1]);

    let (mut subscriber, _) = Raw::connect(&node, Connect::default()).await;
    assert_eq!(subscriber.subscribe("$share/group/#", 1).await, 0x80);
    assert_eq!(subscriber.subscribe("$SYS/#", 1).await, 0x80);
    // QoS 3.
    subscriber.send(&packet(0x36, b"\0\x01a\0\x01x")).await;
    assert!(subscriber.closed().await.is_empty());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_is_published_when_the_connection_breaks_and_only_then() {
    let node = Node::start().await;
    let will = Some(("muster/v1/pump/running", "0"));
    let (mut polite, _) = Raw::connect(
        &node,
        Connect {
            client_id: "polite",
            will,
            ..Connect::default()
        },
    )
    .await;
    polite.send(&packet(0xe0, &[])).await;
    polite.closed().await;
    assert_eq!(node.count("pump").await, 0);
    let (broken, _) = Raw::connect(
        &node,
        Connect {
            client_id: "broken",
            will,
            ..Connect::default()
        },
    )
    .await;
    drop(broken);
    eventually("the will", || async {
        match node.count("pump").await {
            1 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    node.stop().await;
}

#[test]
fn garbage_harms_nobody_else() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let node = runtime.block_on(Node::start());
    let good = runtime.block_on(async { Raw::connect(&node, Connect::default()).await.0 });
    let (good, sent) = (tokio::sync::Mutex::new(good), Cell::new(0_u16));
    let headers = vec![
        0x10_u8, 0x30, 0x32, 0x3a, 0x82, 0xa2, 0xc0, 0xe0, 0x62, 0x00,
    ];
    let garbage = (
        any::<bool>(),
        proptest::collection::vec(any::<u8>(), 1..400),
        proptest::sample::select(headers),
    );
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(150));
    runner
        .run(&garbage, |(greet, bytes, header)| {
            sent.set(sent.get() + 1);
            runtime.block_on(async {
                let mut bad = Raw::open(&node).await;
                if greet {
                    let connect = Connect {
                        client_id: "bad",
                        ..Connect::default()
                    };
                    bad.send(&connect_packet(4, &connect)).await;
                }
                // Either end may close first.
                let _ = bad.stream.write_all(&packet(header, &bytes)).await;
                let _ = bad.stream.write_all(&bytes).await;
                drop(bad);
                let payload = sent.get().to_string();
                let publish = publish_packet(TOPIC, payload.as_bytes(), Some((sent.get(), false)));
                let mut good = good.lock().await;
                good.send(&publish).await;
                good.puback(sent.get()).await;
            });
            Ok(())
        })
        .unwrap();
    runtime.block_on(async {
        assert!(node.count("gauge").await >= u64::from(sent.get()));
        node.stop().await;
    });
}
