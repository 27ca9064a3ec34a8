//! What MQTT clients are promised beyond readings: exactly once, sessions, subscriptions, retained messages,
//! wills, and the bounds of all of them.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::atomic::{AtomicU64, Ordering};

use node::app::mqtt::{QUEUE_MESSAGES_MAX, SUBSCRIPTIONS_MAX};
use node::ingest::mqtt::RECEIVE_MAXIMUM;
use serde_json::Value;
use support::{
    Connect, Connect5, Node, Raw, acknowledge, connect_packet, connect5_packet, eventually,
    is_present, lasting, message, named, packet, publish_packet, publish5_packet,
};
use tokio::io::AsyncWriteExt as _;

const TOPIC: &str = "muster/v1/gauge/level";

// Exactly once.

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_qos_2_counts_once_until_it_is_released() {
    let node = Node::start().await;
    let (mut raw, _) = Raw::connect(&node, Connect::default()).await;
    raw.publish2(TOPIC, b"1.5", 7).await;
    // Neither another content nor a missing DUP flag makes it another message.
    raw.publish2(TOPIC, b"1.6", 7).await;
    assert_eq!(node.count("gauge").await, 1);
    drop(raw);

    let node = node.restart().await;
    let (mut raw, present) = Raw::connect(&node, Connect::default()).await;
    assert!(present);
    raw.publish2(TOPIC, b"1.5", 7).await;
    assert_eq!(node.count("gauge").await, 1);
    raw.release(7).await;
    // PUBCOMP was lost: the client releases it again.
    raw.release(7).await;
    drop(raw);

    let node = node.restart().await;
    let (mut raw, _) = Raw::connect(&node, Connect::default()).await;
    raw.publish2(TOPIC, b"1.5", 7).await;
    assert_eq!(node.count("gauge").await, 2);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_once_holds_for_subscribers_and_for_poison_too() {
    let node = Node::start().await;
    let (mut listener, _) = Raw::connect(&node, named("listener")).await;
    assert_eq!(listener.subscribe("#", 2).await, 2);
    let (mut raw, _) = Raw::connect(&node, Connect::default()).await;
    for _ in 0..3 {
        raw.publish2("other/topic", b"poison", 3).await;
    }
    assert_eq!(node.dead_letters().await.len(), 1);
    let (header, topic, packet_id, payload) = message(listener.packet().await);
    assert_eq!((header, topic.as_str()), (0x34, "other/topic"));
    assert_eq!(payload, b"poison");
    acknowledge(&mut listener, 0x50, packet_id).await;
    let [high, low] = packet_id.to_be_bytes();
    assert_eq!(listener.read::<4>().await, [0x62, 2, high, low]);
    acknowledge(&mut listener, 0x70, packet_id).await;
    listener.nothing_comes().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_name_has_qos_2_for_as_long_as_it_is_connected() {
    let node = Node::start().await;
    let anonymous = Connect {
        client_id: "",
        clean: true,
        ..Connect::default()
    };
    let (mut raw, _) = Raw::connect(&node, anonymous).await;
    raw.publish2(TOPIC, b"1", 1).await;
    raw.publish2(TOPIC, b"1", 1).await;
    raw.release(1).await;
    raw.publish2(TOPIC, b"1", 1).await;
    assert_eq!(node.count("gauge").await, 2);
    node.stop().await;
}

// Version 5.

#[tokio::test(flavor = "multi_thread")]
async fn version_5_is_told_the_bounds_and_publishes_with_properties() {
    let node = Node::start().await;
    let connect = Connect5 {
        client_id: "",
        keep_alive_s: 0,
        ..Connect5::default()
    };
    let (mut raw, connack) = Raw::connect5(&node, connect).await;
    assert!(!is_present(&connack));
    let properties = &connack[3..];
    let [high, low] = RECEIVE_MAXIMUM.to_be_bytes();
    assert!(properties.windows(3).any(|p| p == [0x21, high, low]));
    assert!(
        properties.windows(3).any(|p| p == [0x22, 0, 0]),
        "no topic aliases"
    );
    assert!(
        properties.windows(2).any(|p| p == [0x2a, 0]),
        "no shared subscriptions"
    );
    assert!(properties.windows(5).any(|p| p == [0x27, 0, 1, 0, 0]));
    assert!(
        properties.windows(3).any(|p| p == [0x13, 0x0e, 0x10]),
        "a keep-alive"
    );
    assert!(properties.windows(9).any(|p| p == b"\x12\0\x1bmuster"));
    let properties = b"\x01\x01\x26\0\x01k\0\x01v\x08\0\x01r\x09\0\x01c";
    raw.send(&publish5_packet(0x32, TOPIC, 9, properties, b"4.5"))
        .await;
    assert_eq!(raw.packet().await, (0x40, vec![0, 9]));
    assert_eq!(node.count("gauge").await, 1);
    // A topic alias, although none was allowed.
    raw.send(&publish5_packet(0x32, TOPIC, 10, b"\x23\0\x01", b"4.5"))
        .await;
    let (header, body) = raw.packet().await;
    assert_eq!((header, body[0]), (0xe0, 0x94));
    raw.closed().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn request_and_response_properties_reach_subscribers() {
    let node = Node::start().await;
    let (mut listener, _) = Raw::connect5(&node, lasting("listener")).await;
    // Subscription identifier 5.
    listener
        .send(&packet(0x82, b"\0\x4d\x02\x0b\x05\0\x01#\x01"))
        .await;
    assert_eq!(listener.packet().await, (0x90, vec![0, 77, 0, 1]));
    let (mut raw, _) = Raw::connect5(&node, Connect5::default()).await;
    let properties = b"\x08\0\x01r\x02\0\0\0\x3c\x09\0\x01c";
    raw.send(&publish5_packet(0x32, TOPIC, 9, properties, b"4.5"))
        .await;
    raw.packet().await;
    let (header, body) = listener.packet().await;
    assert_eq!(header, 0x32);
    let after_topic = &body[2 + TOPIC.len() + 2..];
    let (length, rest) = after_topic.split_first().unwrap();
    let (properties, payload) = rest.split_at(usize::from(*length));
    assert_eq!(payload, b"4.5");
    assert!(
        properties.starts_with(b"\x08\0\x01r\x09\0\x01c\x02\0\0\0"),
        "{properties:?}"
    );
    assert!(properties.ends_with(b"\x0b\x05"), "{properties:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_receive_maximum_is_an_error_with_a_reason() {
    let node = Node::start().await;
    let (mut raw, _) = Raw::connect5(&node, Connect5::default()).await;
    // Not released, they stay in the client's quota.
    let mut burst = Vec::new();
    for packet_id in 1..=RECEIVE_MAXIMUM + 1 {
        burst.extend(publish5_packet(0x34, TOPIC, packet_id, b"", b"1"));
    }
    let _ = raw.stream.write_all(&burst).await;
    let mut last = (0, Vec::new());
    while last.0 != 0xe0 {
        last = raw.packet().await;
    }
    assert_eq!(last.1[0], 0x93);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_version_5_have_codes_and_words() {
    let node = Node::start().await;
    let (mut raw, _) = Raw::connect5(&node, Connect5::default()).await;
    assert_eq!(raw.subscribe5("$share/g/#", 1).await, 0x9e);
    assert_eq!(raw.subscribe5("$SYS/#", 1).await, 0x8f);
    assert_eq!(raw.subscribe5("a/#/b", 1).await, 0x8f);
    raw.send(&[0x32, 0xff, 0xff, 0xff, 0x7f]).await;
    let (header, body) = raw.packet().await;
    assert_eq!((header, body[0]), (0xe0, 0x95));
    assert!(String::from_utf8_lossy(&body).contains("at most"));
    raw.closed().await;

    let mut enhanced = Raw::open(&node).await;
    let connect = Connect5 {
        properties: b"\x15\0\x05SCRAM",
        ..Connect5::default()
    };
    enhanced.send(&connect5_packet(&connect)).await;
    let (header, body) = enhanced.packet().await;
    assert_eq!((header, body[1]), (0x20, 0x8c));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_and_a_newcomer_say_so_in_version_5() {
    let node = Node::start().await;
    let (mut first, _) = Raw::connect5(&node, lasting("twin")).await;
    let (mut second, connack) = Raw::connect5(&node, lasting("twin")).await;
    assert!(is_present(&connack));
    assert_eq!(first.packet().await.1[0], 0x8e);
    let stopped = tokio::spawn(node.stop());
    assert_eq!(second.packet().await.1[0], 0x8b);
    stopped.await.unwrap();
}

// Sessions and subscriptions.

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_a_session_is_away_waits_for_it_across_a_restart() {
    let node = Node::start().await;
    let (mut away, _) = Raw::connect(&node, named("away")).await;
    assert_eq!(away.subscribe("muster/v1/+/level", 1).await, 1);
    away.disconnect().await;
    let (mut raw, _) = Raw::connect(&node, Connect::default()).await;
    raw.publish(TOPIC, b"1", 1, false).await;
    raw.publish(TOPIC, b"2", 2, false).await;
    raw.publish("muster/v1/gauge/flow", b"3", 3, false).await;
    // QoS 0 is for those who are there.
    raw.send(&publish_packet(TOPIC, b"4", None)).await;
    raw.publish("muster/v1/gauge/flow", b"5", 4, false).await;
    drop(raw);

    let node = node.restart().await;
    let (mut back, present) = Raw::connect(&node, named("away")).await;
    assert!(present);
    for expected in [b"1", b"2"] {
        let (header, topic, packet_id, payload) = message(back.packet().await);
        assert_eq!((topic.as_str(), &payload[..]), (TOPIC, &expected[..]));
        assert_eq!(header & 0b110, 0b010);
        acknowledge(&mut back, 0x40, packet_id).await;
    }
    back.nothing_comes().await;
    // And the subscription is still there.
    let (mut raw, _) = Raw::connect(&node, Connect::default()).await;
    raw.publish(TOPIC, b"6", 5, false).await;
    assert_eq!(message(back.packet().await).3, b"6");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_acknowledged_is_sent_again_marked_and_under_its_id() {
    let node = Node::start().await;
    let (mut listener, _) = Raw::connect(&node, named("listener")).await;
    listener.subscribe(TOPIC, 2).await;
    let (mut raw, _) = Raw::connect(&node, Connect::default()).await;
    raw.publish(TOPIC, b"1", 1, false).await;
    raw.publish2(TOPIC, b"2", 2).await;
    let (header, _, first, _) = message(listener.packet().await);
    assert_eq!(header, 0x32);
    let (header, _, second, _) = message(listener.packet().await);
    assert_eq!(header, 0x34);
    acknowledge(&mut listener, 0x50, second).await;
    assert_eq!(listener.packet().await.0, 0x62);
    drop(listener);

    // Twice: from memory, and from the disk.
    let mut node = node;
    for _ in 0..2 {
        let (mut listener, present) = Raw::connect(&node, named("listener")).await;
        assert!(present);
        let mut seen = [listener.packet().await, listener.packet().await];
        seen.sort();
        let [again, release] = seen;
        let (header, _, packet_id, payload) = message(again);
        assert_eq!((header, packet_id, &payload[..]), (0x3a, first, &b"1"[..]));
        assert_eq!(release, (0x62, second.to_be_bytes().to_vec()));
        listener.nothing_comes().await;
        drop(listener);
        node = node.restart().await;
    }
    let (mut listener, _) = Raw::connect(&node, named("listener")).await;
    listener.packet().await;
    listener.packet().await;
    acknowledge(&mut listener, 0x40, first).await;
    acknowledge(&mut listener, 0x70, second).await;
    listener.send(&[0xc0, 0]).await;
    listener.packet().await;
    listener.disconnect().await;
    let node = node.restart().await;
    let (mut listener, _) = Raw::connect(&node, named("listener")).await;
    listener.nothing_comes().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn session_present_is_the_truth() {
    static AHEAD_MS: AtomicU64 = AtomicU64::new(0);
    let node = Node::start_ahead(&AHEAD_MS).await;
    let (raw, present) = Raw::connect(&node, named("a")).await;
    assert!(!present);
    raw.disconnect().await;
    let clean = Connect {
        clean: true,
        ..named("a")
    };
    let (raw, present) = Raw::connect(&node, clean).await;
    assert!(!present, "a clean session has none");
    raw.disconnect().await;
    let (raw, present) = Raw::connect(&node, named("a")).await;
    assert!(!present, "it ended with the clean one");
    raw.disconnect().await;

    // Version 5: the session lasts as long as it was asked to.
    let brief = Connect5 {
        properties: b"\x11\0\0\0\x01",
        ..lasting("b")
    };
    let (mut raw, _) = Raw::connect5(&node, brief).await;
    raw.send(&packet(0xe0, b"")).await;
    // The node closes the socket when the session is left.
    raw.closed().await;
    AHEAD_MS.fetch_add(1_000, Ordering::Relaxed);
    let (raw, connack) = Raw::connect5(&node, lasting("b")).await;
    assert!(!is_present(&connack), "it is over");
    drop(raw);
    let (mut raw, connack) = Raw::connect5(&node, lasting("b")).await;
    assert!(is_present(&connack));
    // DISCONNECT may end it earlier.
    raw.send(&packet(0xe0, b"\0\x05\x11\0\0\0\0")).await;
    raw.closed().await;
    let (_, connack) = Raw::connect5(&node, lasting("b")).await;
    assert!(!is_present(&connack));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_no_more_at_once_than_it_takes() {
    let node = Node::start().await;
    let small = Connect5 {
        // Receive maximum 2, packets of at most 64 bytes.
        properties: b"\x21\0\x02\x27\0\0\0\x40",
        client_id: "small",
        ..Connect5::default()
    };
    let (mut small, _) = Raw::connect5(&node, small).await;
    assert_eq!(small.subscribe5("#", 1).await, 1);
    let (mut raw, _) = Raw::connect(&node, Connect::default()).await;
    for packet_id in 1..=3 {
        raw.publish(TOPIC, packet_id.to_string().as_bytes(), packet_id, false)
            .await;
    }
    raw.publish("large", &[b'x'; 100], 4, false).await;
    raw.publish(TOPIC, b"5", 5, false).await;
    let id = |body: &[u8]| [body[2 + TOPIC.len()], body[3 + TOPIC.len()]];
    let first = small.packet().await.1;
    small.packet().await;
    small.nothing_comes().await;
    let [high, low] = id(&first);
    small.send(&[0x40, 2, high, low]).await;
    let third = small.packet().await.1;
    assert!(third.ends_with(b"3"), "{third:?}");
    let [high, low] = id(&third);
    small.send(&[0x40, 2, high, low]).await;
    assert!(
        small.packet().await.1.ends_with(b"5"),
        "the one in between is too large for it"
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_is_too_slow_loses_its_connection_and_nobody_waits_for_it() {
    let node = Node::start().await;
    let slow = Connect5 {
        properties: b"\x21\0\x01\x11\0\0\x0e\x10",
        client_id: "slow",
        ..Connect5::default()
    };
    let (mut slow, _) = Raw::connect5(&node, slow).await;
    slow.subscribe5("muster/#", 1).await;
    let (mut raw, _) = Raw::connect(&node, Connect::default()).await;
    let count = u16::try_from(QUEUE_MESSAGES_MAX).unwrap() + 50;
    for packet_id in 1..=count {
        raw.publish(TOPIC, b"1", packet_id, false).await;
    }
    assert_eq!(node.count("gauge").await, u64::from(count));
    // The one that it may have unacknowledged, then the reason.
    assert_eq!(slow.packet().await.0, 0x32);
    let (header, body) = slow.packet().await;
    assert_eq!((header, body[0]), (0xe0, 0x97));
    drop(slow);

    // What had found room waits for it.
    let fast = Connect5 {
        properties: b"\x11\0\0\x0e\x10",
        client_id: "slow",
        ..Connect5::default()
    };
    let (mut fast, connack) = Raw::connect5(&node, fast).await;
    assert!(is_present(&connack));
    for _ in 0..QUEUE_MESSAGES_MAX {
        assert_eq!(fast.packet().await.0 & 0xf6, 0x32);
    }
    fast.nothing_comes().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_has_a_bounded_number_of_subscriptions() {
    let node = Node::start().await;
    let (mut raw, _) = Raw::connect5(&node, lasting("many")).await;
    for n in 0..SUBSCRIPTIONS_MAX {
        assert_eq!(raw.subscribe5(&format!("a/{n}"), 0).await, 0);
    }
    assert_eq!(raw.subscribe5("one/more", 0).await, 0x97);
    assert_eq!(raw.subscribe5("a/0", 1).await, 1, "a change needs no room");
    raw.send(&packet(0xa2, b"\0\x4e\0\0\x03a/0\0\x01z")).await;
    assert_eq!(raw.packet().await, (0xb0, vec![0, 78, 0, 0, 0x11]));
    assert_eq!(raw.subscribe5("one/more", 0).await, 0);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_wants_not_its_own_messages_gets_those_of_others() {
    let node = Node::start().await;
    let (mut own, _) = Raw::connect5(&node, lasting("own")).await;
    assert_eq!(own.subscribe5("#", 0b101).await, 1);
    own.send(&publish5_packet(0x32, TOPIC, 1, b"", b"1")).await;
    assert_eq!(own.packet().await.0, 0x40);
    own.nothing_comes().await;
    let (mut other, _) = Raw::connect(&node, Connect::default()).await;
    other.publish(TOPIC, b"2", 1, false).await;
    assert_eq!(own.packet().await.0, 0x32);
    node.stop().await;
}

// Retained messages.

#[tokio::test(flavor = "multi_thread")]
async fn a_retained_message_is_for_later_subscribers_and_says_so() {
    let node = Node::start().await;
    let (mut raw, _) = Raw::connect(&node, Connect::default()).await;
    raw.send(&{
        let mut publish = publish_packet(TOPIC, b"7", Some((1, false)));
        publish[0] |= 1;
        publish
    })
    .await;
    raw.puback(1).await;
    assert_eq!(node.count("gauge").await, 1, "it is a reading, too");
    let node = node.restart().await;

    let (mut listener, _) = Raw::connect5(&node, lasting("listener")).await;
    let (_, body) = {
        listener.subscribe5("muster/+/#", 1).await;
        let (header, body) = listener.packet().await;
        assert_eq!(header, 0x33, "marked as retained");
        (header, body)
    };
    assert!(body.ends_with(b"7"));
    // Retain handling 1: only for a new subscription; 2: never.
    listener.subscribe5("muster/+/#", 0b01_0001).await;
    listener.subscribe5("other/#", 0b10_0001).await;
    listener.nothing_comes().await;

    // What is published now is news, not retained, for those who are there.
    let (mut raw, _) = Raw::connect(&node, Connect::default()).await;
    let mut publish = publish_packet(TOPIC, b"8", Some((2, false)));
    publish[0] |= 1;
    raw.send(&publish).await;
    raw.puback(2).await;
    assert_eq!(listener.packet().await.0, 0x32);
    // An empty one ends it, and is no reading.
    let mut publish = publish_packet(TOPIC, b"", Some((3, false)));
    publish[0] |= 1;
    raw.send(&publish).await;
    raw.puback(3).await;
    assert_eq!(node.count("gauge").await, 2);
    assert!(node.dead_letters().await.is_empty());
    let (mut late, _) = Raw::connect(&node, named("late")).await;
    late.subscribe("#", 1).await;
    late.nothing_comes().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_bridge_sends_again_is_never_news() {
    let node = Node::start().await;
    let mut bridge = Raw::open(&node).await;
    bridge.send(&connect_packet(0x84, &named("bridge"))).await;
    assert_eq!(bridge.packet().await, (0x20, vec![0, 0]));
    let mut kept = publish_packet(TOPIC, b"7", Some((1, false)));
    kept[0] |= 1;
    bridge.send(&kept).await;
    bridge.puback(1).await;
    assert_eq!(node.count("gauge").await, 0, "nobody knows how old it is");
    bridge.publish(TOPIC, b"8", 2, false).await;
    assert_eq!(node.count("gauge").await, 1);
    node.stop().await;
}

// Wills and presence.

#[tokio::test(flavor = "multi_thread")]
async fn a_will_with_a_delay_is_not_said_if_the_client_comes_back() {
    static AHEAD_MS: AtomicU64 = AtomicU64::new(0);
    let node = Node::start_ahead(&AHEAD_MS).await;
    node.approve("pump").await;
    node.approve("valve").await;
    // A minute after it is lost.
    let delay = b"\x18\0\0\0\x3c";
    let pump = Connect5 {
        will: Some((delay, "muster/v1/pump/running", "0")),
        ..lasting("pump-1")
    };
    let (raw, _) = Raw::connect5(&node, pump).await;
    assert_eq!(node.device("pump").await["online"], true);
    drop(raw);
    offline(&node, "pump").await;
    let (raw, connack) = Raw::connect5(&node, pump).await;
    assert!(is_present(&connack));
    // One that does not come back shows that the node has looked for wills that are due.
    let valve = Connect5 {
        will: Some((delay, "muster/v1/valve/running", "0")),
        ..lasting("valve-1")
    };
    drop(Raw::connect5(&node, valve).await);
    offline(&node, "valve").await;
    will_is_said(&node, "valve", &AHEAD_MS).await;
    let (mut other, _) = Raw::connect(&node, Connect::default()).await;
    other.publish(TOPIC, b"1", 1, false).await;
    assert_eq!(node.count("pump").await, 0);
    drop(raw);
    offline(&node, "pump").await;
    will_is_said(&node, "pump", &AHEAD_MS).await;
    node.stop().await;
}

async fn offline(node: &Node, device: &str) {
    eventually("offline", || async {
        match node.device(device).await["online"] {
            Value::Bool(false) => Ok(()),
            ref other => Err(other.to_string()),
        }
    })
    .await;
}

/// Lets time go on until the one reading of a device that its will makes is there.
async fn will_is_said(node: &Node, device: &str, ahead_ms: &AtomicU64) {
    eventually("the will", || async {
        ahead_ms.fetch_add(60_000, Ordering::Relaxed);
        match node.count(device).await {
            1 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_goodbye_of_version_5_may_ask_for_the_will() {
    let node = Node::start().await;
    let connect = Connect5 {
        will: Some((b"", "muster/v1/pump/running", "0")),
        ..Connect5::default()
    };
    let (mut raw, _) = Raw::connect5(&node, connect).await;
    raw.send(&[0xe0, 1, 4]).await;
    raw.closed().await;
    eventually("the will", || async {
        match node.count("pump").await {
            1 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    node.stop().await;
}
