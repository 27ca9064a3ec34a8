//! What MQTT clients are promised beyond readings: exactly once, sessions, subscriptions, retained messages, wills,
//! commands, accounts, and the bounds of all of them.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use node::app::Caller;
use node::app::mqtt::{QUEUE_MESSAGES_MAX, SUBSCRIPTIONS_MAX};
use node::ingest::mqtt::{Bounds, RECEIVE_MAXIMUM};
use serde_json::{Value, json};
use support::{
    Connect, Connect5, Node, Raw, connect_packet, connect5_packet, eventually, packet,
    publish_packet, publish5_packet,
};
use tokio::io::AsyncWriteExt as _;

const TOPIC: &str = "muster/v1/gauge/level";

fn named(client_id: &str) -> Connect<'_> {
    Connect {
        client_id,
        ..Connect::default()
    }
}

/// A session of MQTT 5 that outlives its connection by an hour.
fn lasting(client_id: &str) -> Connect5<'_> {
    Connect5 {
        client_id,
        properties: b"\x11\0\0\x0e\x10",
        ..Connect5::default()
    }
}

fn is_present(connack: &[u8]) -> bool {
    assert_eq!(connack[1], 0, "{connack:?}");
    connack[0] == 1
}

/// Takes a PUBLISH of QoS 1 or 2 of MQTT 3.1.1 apart: first byte, topic, packet id, payload.
fn message(packet: (u8, Vec<u8>)) -> (u8, String, u16, Vec<u8>) {
    let (header, body) = packet;
    assert_eq!(header >> 4, 3, "{header:#x} {body:?}");
    let end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
    let topic = String::from_utf8(body[2..end].to_vec()).unwrap();
    if header & 0b110 == 0 {
        return (header, topic, 0, body[end..].to_vec());
    }
    let packet_id = u16::from_be_bytes([body[end], body[end + 1]]);
    (header, topic, packet_id, body[end + 2..].to_vec())
}

async fn acknowledge(raw: &mut Raw, header: u8, packet_id: u16) {
    let [high, low] = packet_id.to_be_bytes();
    raw.send(&[header, 2, high, low]).await;
}

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
    let node = Node::start().await;
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
    let (raw, _) = Raw::connect5(&node, brief).await;
    drop(raw);
    tokio::time::sleep(Duration::from_millis(1_300)).await;
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

async fn device(node: &Node, name: &str) -> Value {
    let devices = node.list(domain::Kind::Device).await;
    devices
        .into_iter()
        .find(|device| device["name"] == name)
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_with_a_delay_is_not_said_if_the_client_comes_back() {
    let node = Node::start().await;
    node.approve("pump").await;
    let connect = Connect5 {
        will: Some((b"\x18\0\0\0\x01", "muster/v1/pump/running", "0")),
        ..lasting("pump-1")
    };
    let (raw, _) = Raw::connect5(&node, connect).await;
    assert_eq!(device(&node, "pump").await["online"], true);
    drop(raw);
    eventually("offline", || async {
        match device(&node, "pump").await["online"] {
            Value::Bool(false) => Ok(()),
            ref other => Err(other.to_string()),
        }
    })
    .await;
    let (raw, connack) = Raw::connect5(&node, connect).await;
    assert!(is_present(&connack));
    tokio::time::sleep(Duration::from_millis(2_300)).await;
    assert_eq!(node.count("pump").await, 0);
    drop(raw);
    eventually("the will", || async {
        match node.count("pump").await {
            1 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    node.stop().await;
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

// Accounts.

async fn credentials(node: &Node, name: &str) -> (String, String) {
    node.approve(name).await;
    let id = device(node, name).await["id"].as_str().unwrap().to_owned();
    let made = node
        .app
        .make_device_credentials(&Caller::socket(), &id)
        .await
        .unwrap();
    assert_eq!(made["username"], name);
    (id, made["password"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_may_speak_for_itself_and_nobody_else() {
    let node = Node::start().await;
    let (id, password) = credentials(&node, "gauge").await;
    let connect = Connect5 {
        credentials: Some(("gauge", &password)),
        client_id: "gauge-1",
        ..Connect5::default()
    };
    let (mut raw, connack) = Raw::connect5(&node, connect).await;
    assert_eq!(connack[1], 0);
    raw.send(&publish5_packet(0x32, TOPIC, 1, b"", b"1")).await;
    assert_eq!(raw.packet().await, (0x40, vec![0, 1]));
    raw.send(&publish5_packet(
        0x32,
        "muster/v1/other/level",
        2,
        b"",
        b"1",
    ))
    .await;
    assert_eq!(raw.packet().await, (0x40, vec![0, 2, 0x87]));
    raw.send(&publish5_packet(
        0x34,
        "muster/v1/other/level",
        3,
        b"",
        b"1",
    ))
    .await;
    assert_eq!(raw.packet().await, (0x50, vec![0, 3, 0x87]));
    assert_eq!(raw.subscribe5("muster/v1/gauge/cmd", 1).await, 1);
    assert_eq!(raw.subscribe5("muster/v1/+/cmd", 1).await, 0x87);
    assert_eq!(node.count("other").await, 0);

    // Nobody else gets its session by naming it.
    let mut thief = Raw::open(&node).await;
    thief.send(&connect_packet(4, &named("gauge-1"))).await;
    assert_eq!(thief.closed().await, [0x20, 2, 0, 3]);
    raw.send(&[0xc0, 0]).await;
    assert_eq!(raw.packet().await.0, 0xd0, "and the device did not notice");

    // In version 3.1.1 there is no way to say no but to part.
    let mut old = Raw::open(&node).await;
    let mut body = b"\0\x04MQTT\x04\xc2\0\x3c\0\x03old\0\x05gauge".to_vec();
    body.extend(u16::try_from(password.len()).unwrap().to_be_bytes());
    body.extend(password.as_bytes());
    old.send(&packet(0x10, &body)).await;
    assert_eq!(old.read::<4>().await, [0x20, 2, 0, 0]);
    old.send(&publish_packet(
        "muster/v1/other/level",
        b"1",
        Some((1, false)),
    ))
    .await;
    assert!(old.closed().await.is_empty());

    // Revoked, its connection ends with the reason.
    node.app
        .revoke_device_credentials(&Caller::socket(), &id)
        .await
        .unwrap();
    let (header, body) = raw.packet().await;
    assert_eq!((header, body[0]), (0xe0, 0x87));
    raw.closed().await;
    let (_, connack) = Raw::connect5(&node, connect).await;
    assert_eq!(connack[1], 0x86);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_are_told_so_and_slowed_down() {
    let node = Node::start().await;
    credentials(&node, "gauge").await;
    let connect = Connect5 {
        credentials: Some(("gauge", "guess")),
        ..Connect5::default()
    };
    let mut old = Raw::open(&node).await;
    old.send(&packet(
        0x10,
        b"\0\x04MQTT\x04\xc2\0\x3c\0\x01o\0\x05gauge\0\x01x",
    ))
    .await;
    assert_eq!(old.closed().await, [0x20, 2, 0, 4]);
    let mut codes = Vec::new();
    for _ in 0..25 {
        codes.push(Raw::connect5(&node, connect).await.1[1]);
    }
    assert!(codes.starts_with(&[0x86; 19]), "{codes:x?}");
    assert_eq!(codes.last(), Some(&0x9f));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_has_its_patterns_across_a_restart() {
    let node = Node::start().await;
    let caller = Caller::socket();
    let made = node
        .app
        .add_mqtt_account(&caller, "lora", vec!["muster/v1/+/level".into()], vec![])
        .await
        .unwrap();
    let password = made["password"].as_str().unwrap().to_owned();
    assert!(password.len() >= 26, "at least 128 bits");
    assert!(
        node.app
            .add_mqtt_account(&caller, "lora", vec![], vec![])
            .await
            .is_err()
    );
    let node = node.restart().await;
    let connect = Connect5 {
        // Without a name it is found by its account all the same.
        client_id: "",
        credentials: Some(("lora", &password)),
        ..Connect5::default()
    };
    let (mut raw, connack) = Raw::connect5(&node, connect).await;
    assert_eq!(connack[1], 0);
    raw.send(&publish5_packet(0x32, TOPIC, 1, b"", b"1")).await;
    assert_eq!(raw.packet().await, (0x40, vec![0, 1]));
    raw.send(&publish5_packet(0x32, "muster/v1/gauge/flow", 2, b"", b"1"))
        .await;
    assert_eq!(raw.packet().await, (0x40, vec![0, 2, 0x87]));
    assert_eq!(raw.subscribe5("muster/v1/gauge/level", 1).await, 0x87);
    node.app
        .remove_mqtt_account(&Caller::socket(), "lora")
        .await
        .unwrap();
    assert_eq!(raw.packet().await.0, 0xe0);
    assert!(
        node.app
            .list_mqtt_accounts(&Caller::socket())
            .unwrap()
            .is_empty()
    );
    node.stop().await;
}

// Commands.

async fn state_of(node: &Node, id: &str, command: &Value) -> Value {
    let (page, _) = node
        .app
        .list_commands(&Caller::socket(), id, None, None)
        .await
        .unwrap();
    let found = page
        .items
        .into_iter()
        .find(|item| item["id"] == command["id"]);
    found.unwrap()
}

async fn becomes(node: &Node, id: &str, command: &Value, state: &str) -> Value {
    eventually(state, || async {
        let now = state_of(node, id, command).await;
        if now["state"] == state {
            Ok(now)
        } else {
            Err(now.to_string())
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_waits_for_its_device_and_is_answered() {
    let node = Node::start().await;
    node.approve("pump").await;
    let id = device(&node, "pump").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let caller = Caller::socket();
    let payload = json!({ "switch": "on" });
    let command = node
        .app
        .send_command(&caller, &id, payload.clone(), None)
        .await
        .unwrap();
    assert_eq!(command["state"], "queued");

    // A dashboard that hears everything is not the device.
    let (mut dashboard, _) = Raw::connect(&node, named("dashboard")).await;
    dashboard.subscribe("#", 1).await;
    let node = node.restart().await;
    assert_eq!(state_of(&node, &id, &command).await["state"], "queued");

    let (mut pump, _) = Raw::connect(&node, named("pump")).await;
    assert_eq!(pump.subscribe("muster/v1/pump/cmd", 1).await, 1);
    let (header, topic, first, body) = message(pump.packet().await);
    assert_eq!((header, topic.as_str()), (0x32, "muster/v1/pump/cmd"));
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&body["id"], &body["payload"]), (&command["id"], &payload));
    // The connection breaks before PUBACK: it comes again.
    drop(pump);
    let (mut pump, _) = Raw::connect(&node, named("pump")).await;
    let (header, _, again, _) = message(pump.packet().await);
    assert_eq!((header, again), (0x3a, first));
    acknowledge(&mut pump, 0x40, again).await;
    becomes(&node, &id, &command, "sent").await;
    let answer = json!({ "id": command["id"], "ok": true, "detail": "running" }).to_string();
    pump.publish("muster/v1/pump/state", answer.as_bytes(), 1, false)
        .await;
    let done = state_of(&node, &id, &command).await;
    assert_eq!(
        (&done["state"], &done["detail"]),
        (&json!("acknowledged"), &json!("running"))
    );

    // Another device cannot answer for it; live commands come at once; no is an answer.
    let command = node
        .app
        .send_command(&caller, &id, json!(1), None)
        .await
        .unwrap();
    let (_, _, packet_id, _) = message(pump.packet().await);
    acknowledge(&mut pump, 0x40, packet_id).await;
    let answer = json!({ "id": command["id"], "ok": false }).to_string();
    pump.publish("muster/v1/other/state", answer.as_bytes(), 2, false)
        .await;
    assert_ne!(state_of(&node, &id, &command).await["state"], "failed");
    pump.publish("muster/v1/pump/state", answer.as_bytes(), 3, false)
        .await;
    assert_eq!(state_of(&node, &id, &command).await["state"], "failed");

    // What is no answer is the device's state.
    pump.publish("muster/v1/pump/state", b"{\"valve\":3}", 4, false)
        .await;
    let node = node.restart().await;
    let (_, reported) = node
        .app
        .list_commands(&caller, &id, None, None)
        .await
        .unwrap();
    assert_eq!(reported["state"], json!({ "valve": 3 }));
    assert!(node.dead_letters().await.is_empty());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_nobody_takes_expires_and_too_many_are_refused() {
    let node = Node::start().await;
    node.approve("pump").await;
    let id = device(&node, "pump").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let caller = Caller::socket();
    let command = node
        .app
        .send_command(&caller, &id, json!(1), Some(1))
        .await
        .unwrap();
    becomes(&node, &id, &command, "expired").await;
    for _ in 0..node::app::mqtt::COMMANDS_OPEN_MAX {
        node.app
            .send_command(&caller, &id, json!(1), None)
            .await
            .unwrap();
    }
    let refused = node.app.send_command(&caller, &id, json!(1), None).await;
    assert!(matches!(refused, Err(node::app::AppError::Conflict(_))));
    let large = Value::String("x".repeat(9_000));
    let refused = node.app.send_command(&caller, &id, large, Some(0)).await;
    let Err(node::app::AppError::Invalid(errors)) = refused else {
        panic!("{refused:?}");
    };
    let pointers: Vec<_> = errors.iter().map(|error| error.pointer.as_str()).collect();
    assert_eq!(pointers, ["/payload", "/expires_s"]);
    // All of them reach the device when it comes, whatever else waits.
    let (mut pump, _) = Raw::connect(&node, named("pump")).await;
    pump.subscribe("muster/v1/pump/cmd", 1).await;
    for _ in 0..node::app::mqtt::COMMANDS_OPEN_MAX {
        let (_, _, packet_id, _) = message(pump.packet().await);
        acknowledge(&mut pump, 0x40, packet_id).await;
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gives_commands_by_publishing_them() {
    let node = Node::start().await;
    let (mut pump, _) = Raw::connect(&node, named("pump")).await;
    pump.subscribe("muster/v1/pump/cmd", 1).await;
    let (mut forger, _) = Raw::connect(&node, named("forger")).await;
    forger
        .publish("muster/v1/pump/cmd", b"{\"payload\":\"open\"}", 1, false)
        .await;
    pump.nothing_comes().await;
    assert_eq!(node.dead_letters().await.len(), 1);
    node.stop().await;
}

// Bounds.

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_of_kilobytes_is_a_dead_letter_with_a_short_name() {
    let node = Node::start().await;
    let (mut raw, _) = Raw::connect(&node, Connect::default()).await;
    let topic = format!("muster/v1/{}/level", "x".repeat(60_000));
    raw.publish(&topic, b"1", 1, false).await;
    let [letter] = node.dead_letters().await.try_into().unwrap();
    assert_eq!(letter["topic"].as_str().unwrap().len(), 1_024);
    assert!(
        letter["reason"]
            .as_str()
            .unwrap()
            .contains("topic of 60016 bytes")
    );
    // 64 KB are more than a packet may have.
    let topic = "x".repeat(65_535);
    raw.send(&publish_packet(&topic, b"1", Some((2, false))))
        .await;
    raw.closed().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_too_fast_is_read_later_and_loses_nothing() {
    let bounds = Bounds {
        messages_per_s_max: 500,
        ..Bounds::default()
    };
    let node = Node::start().await.with_bounds(bounds).await;
    let (mut raw, _) = Raw::connect(&node, Connect::default()).await;
    let mut burst = Vec::new();
    for packet_id in 1..=1_500 {
        burst.extend(publish_packet(TOPIC, b"1", Some((packet_id, false))));
    }
    let started = Instant::now();
    raw.send(&burst).await;
    for packet_id in 1..=1_500 {
        raw.puback(packet_id).await;
    }
    assert!(
        started.elapsed() >= Duration::from_millis(900),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(node.count("gauge").await, 1_500);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_a_bounded_number_of_connections() {
    let node = Node::start().await;
    let (_, password) = credentials(&node, "gauge").await;
    let mut open = Vec::new();
    for n in 0..=Bounds::default().connections_of_device_max {
        let client_id = format!("gauge-{n}");
        let connect = Connect5 {
            client_id: &client_id,
            credentials: Some(("gauge", &password)),
            ..Connect5::default()
        };
        let (raw, connack) = Raw::connect5(&node, connect).await;
        open.push((raw, connack[1]));
    }
    let codes: Vec<u8> = open.iter().map(|(_, code)| *code).collect();
    assert_eq!(codes, [0, 0, 0, 0, 0x97]);
    node.stop().await;
}
