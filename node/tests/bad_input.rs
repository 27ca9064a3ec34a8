//! Whatever comes over the MQTT port has an answer and a counter: the table "Bad input" of docs/sensors.md, line by line,
//! against a node over TCP, its figures read from `/metrics`.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use node::app::Caller;
use node::app::mqtt::SUBSCRIPTIONS_MAX;
use node::ingest::mqtt::{Bounds, RECEIVE_MAXIMUM};
use serde_json::{Value, json};
use support::{
    Connect, Connect5, Node, Raw, connect_packet, eventually, named, packet, publish_packet,
    push_string,
};
use tokio_util::sync::CancellationToken;

const TOPIC: &str = "muster/v1/gauge/level";

/// What a scraper sees.
struct Figures {
    address: std::net::SocketAddr,
    stop: CancellationToken,
}

impl Figures {
    async fn of(node: &Node) -> Figures {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(node::api::serve(
            listener,
            Arc::clone(&node.app),
            node::api::RequestPlaces::default(),
            stop.clone(),
        ));
        let figures = Figures { address, stop };
        // The recorder counts from here on.
        figures.get("up").await;
        figures
    }

    /// The sum of all figures whose line begins so: a name, or a name with its first labels.
    async fn get(&self, begins: &str) -> f64 {
        let url = format!("http://{}/metrics", self.address);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let text = client.get(url).send().await.unwrap().text().await.unwrap();
        let lines = text.lines().filter(|line| line.starts_with(begins));
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Waits until a figure has grown by at least so much since `before`.
    async fn grown(&self, begins: &str, before: f64, by: f64) {
        eventually(begins, || async {
            match self.get(begins).await - before {
                grown if grown >= by => Ok(()),
                grown => Err(format!("{grown} of {by}")),
            }
        })
        .await;
    }
}

impl Drop for Figures {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What becomes of a message.
enum Becomes {
    /// A dead letter with this code.
    Letter(&'static str),
    /// A reading, at the time of receipt.
    AbsurdClock,
    Reading,
    /// A reading beside another one with its time.
    Contradiction,
}
use Becomes::{AbsurdClock, Contradiction, Letter, Reading};

fn script(topic: &str, body: &str) -> Value {
    json!({
        "topic": topic, "format": "script", "device": "{2}",
        "script": { "source": format!("function decodeUplink(input) {{ {body} }}") },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_payload_has_its_answer_and_its_counter() {
    let node = Node::start().await;
    let figures = Figures::of(&node).await;
    let decoders = json!({ "items": [
        script("loop/+", "for (;;);"),
        script("greedy/+", "const a = []; for (;;) a.push(new ArrayBuffer(100000));"),
        script("deep/+", "function f() { return f() + 1; } return f();"),
        script("throws/+", "throw new Error('no');"),
        { "topic": "senml/+", "format": "senml-json" },
        { "topic": "cbor/+", "format": "senml-cbor" },
        { "topic": "json/+", "format": "json", "device": "{2}",
          "values": [{ "channel": "v", "pointer": "/v" }] },
    ]});
    let Value::Object(decoders) = decoders else {
        panic!("an object")
    };
    let before = node.app.list_decoders(&Caller::socket()).unwrap();
    node.app
        .put_decoders(&Caller::socket(), before["version"].as_str(), decoders)
        .await
        .unwrap();
    let (mut raw, _) = Raw::connect(&node, Connect::default()).await;
    let nested = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    let long_name = format!("muster/v1/{}/level", "x".repeat(200));
    let cases: Vec<(&str, &[u8], Becomes)> = vec![
        (TOPIC, b"NaN", Letter("not-finite")),
        (TOPIC, b"Infinity", Letter("not-finite")),
        (TOPIC, b"-inf", Letter("not-finite")),
        (TOPIC, b"1e400", Letter("not-finite")),
        (TOPIC, br#"{"v":-1e999}"#, Letter("not-finite")),
        (TOPIC, br#"{"v":NaN}"#, Letter("invalid-json")),
        ("json/a", br#"{"v":1e999}"#, Letter("not-finite")),
        // Large, and a number.
        (TOPIC, b"1e300", Reading),
        (TOPIC, b"-1e300", Reading),
        (TOPIC, b"", Letter("payload-empty")),
        (TOPIC, b"wet", Letter("not-a-number")),
        (TOPIC, b"\xff\xfe21", Letter("not-text")),
        (TOPIC, br#"{"v":1,"v":2}"#, Letter("duplicate-member")),
        (TOPIC, &[b'9'; 9_000], Letter("payload-too-large")),
        (TOPIC, br#"{"v":1,"t":0}"#, AbsurdClock),
        (TOPIC, br#"{"v":2,"t":"2106-02-07T06:28:15Z"}"#, AbsurdClock),
        (TOPIC, br#"{"v":3,"t":-86400000}"#, AbsurdClock),
        (TOPIC, br#"{"v":3,"t":"2026-03-01T12:00:00Z"}"#, Reading),
        (
            TOPIC,
            br#"{"v":4,"t":"2026-03-01T12:00:00Z"}"#,
            Contradiction,
        ),
        (
            TOPIC,
            br#"{"v":4,"t":99999999999999999999}"#,
            Letter("time-range"),
        ),
        ("json/b", nested.as_bytes(), Letter("too-deep")),
        ("senml/c", br#"[{"n":"a","v":1,"t":-1e300}]"#, Letter("")),
        (
            "cbor/d",
            b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
            Letter("invalid-cbor"),
        ),
        ("loop/e", b"x", Letter("script-steps")),
        ("greedy/f", b"x", Letter("script-memory")),
        ("deep/g", b"x", Letter("script-stack")),
        ("throws/h", b"x", Letter("script-failed")),
        ("nobody/covers/this", b"1", Letter("unknown-topic")),
        ("muster/v1/gauge", b"1", Letter("topic-levels")),
        (&long_name, b"1", Letter("name-too-long")),
        ("muster/v1/a+b/level", b"1", Letter("name-character")),
        ("nobody/#", b"1", Letter("unknown-topic")),
    ];
    for (packet_id, (topic, payload, becomes)) in (1_u16..).zip(cases) {
        let shown = String::from_utf8_lossy(&payload[..payload.len().min(40)]).into_owned();
        let (stored, letters) = (node.count("gauge").await, node.dead_letters().await.len());
        let begins = match &becomes {
            Letter("") => "muster_ingest_dead_letters_total".to_owned(),
            Letter(code) => format!("muster_ingest_dead_letters_total{{reason=\"{code}\"}}"),
            AbsurdClock => "muster_ingest_absurd_clocks_total".to_owned(),
            Contradiction => "muster_ingest_contradictions_total".to_owned(),
            Reading => "muster_ingest_readings_total".to_owned(),
        };
        let before = figures.get(&begins).await;
        raw.publish(topic, payload, packet_id, false).await;
        let letters_now = node.dead_letters().await;
        if let Letter(_) = becomes {
            let newest = &letters_now[0];
            assert_eq!(letters_now.len(), letters + 1, "{topic} {shown}");
            assert!(newest["reason"].as_str().is_some_and(|it| !it.is_empty()));
            assert_eq!(
                figures.get(&begins).await,
                before + 1.0,
                "{topic} {shown}: {} {}",
                newest["code"],
                newest["reason"]
            );
        } else {
            assert_eq!(letters_now.len(), letters, "{topic} {shown}");
            assert_eq!(node.count("gauge").await, stored + 1, "{topic} {shown}");
            assert_eq!(figures.get(&begins).await, before + 1.0, "{topic} {shown}");
        }
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_packet_that_breaks_the_rules_ends_its_own_connection_and_is_counted() {
    let node = Node::start().await;
    let figures = Figures::of(&node).await;
    let (mut good, _) = Raw::connect(&node, named("good")).await;
    let refused = "muster_mqtt_disconnects_total{reason=\"refused\"}";
    let topic = |topic: &[u8]| {
        let mut body = u16::try_from(topic.len()).unwrap().to_be_bytes().to_vec();
        body.extend(topic);
        body.push(b'1');
        packet(0x30, &body)
    };
    let greeted: Vec<(&str, Vec<u8>)> = vec![
        ("a packet of 256 MiB", vec![0x30, 0xff, 0xff, 0xff, 0x7f]),
        (
            "a length without end",
            vec![0x30, 0xff, 0xff, 0xff, 0xff, 0x7f],
        ),
        (
            "a topic of 64 KB",
            publish_packet(&"x".repeat(65_535), b"1", None),
        ),
        ("a topic that is no UTF-8", topic(b"a/\xff\xfe")),
        ("a topic with a NUL", topic(b"a/\0")),
        ("an empty topic", topic(b"")),
        ("a topic longer than its packet", packet(0x30, b"\xff\xffa")),
        ("QoS 3", packet(0x36, b"\0\x01a\0\x01x")),
        ("packet id 0", packet(0x32, b"\0\x01a\0\0x")),
        ("a second CONNECT", connect_packet(4, &Connect::default())),
        ("a packet that only servers send", packet(0x20, &[0, 0])),
        ("an empty SUBSCRIBE", packet(0x82, &[0, 1])),
    ];
    for (what, bytes) in greeted {
        let before = figures.get(refused).await;
        let (mut bad, _) = Raw::connect(&node, named("bad")).await;
        eprintln!("{what}"); // Shown where it fails.
        bad.send(&bytes).await;
        bad.closed().await;
        figures.grown(refused, before, 1.0).await;
        good.publish(TOPIC, what.as_bytes(), 1, false).await;
    }
    for (what, bytes) in [
        ("HTTP", b"GET / HTTP/1.1\r\nHost: node\r\n\r\n".to_vec()),
        (
            "TLS",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        ),
        ("PUBLISH before CONNECT", publish_packet(TOPIC, b"1", None)),
    ] {
        let before = figures.get(refused).await;
        let mut bad = Raw::open(&node).await;
        bad.send(&bytes).await;
        assert!(bad.closed().await.is_empty(), "{what}");
        figures.grown(refused, before, 1.0).await;
    }
    assert_eq!(node.count("gauge").await, 0);
    good.publish(TOPIC, b"1", 2, false).await;
    assert_eq!(node.count("gauge").await, 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_or_half_of_it_is_let_go_and_the_places_come_back() {
    let bounds = Bounds {
        connections_max: 100,
        connect_timeout: Duration::from_millis(500),
        ..Bounds::default()
    };
    let node = Node::start().await.with_bounds(bounds).await;
    let figures = Figures::of(&node).await;
    let mut silent = Vec::new();
    for number in 0..150 {
        let mut raw = Raw::open(&node).await;
        // Some say the first byte of CONNECT, and another one from time to time.
        if number % 3 == 0 {
            let _ = raw.send_some(&[0x10]).await;
        }
        silent.push(raw);
    }
    figures
        .grown("muster_mqtt_connections_refused_total", 0.0, 50.0)
        .await;
    let timeouts = "muster_mqtt_disconnects_total{reason=\"connect-timeout\"}";
    figures.grown(timeouts, 0.0, 100.0).await;
    let (mut good, _) = Raw::connect(&node, named("good")).await;
    good.publish(TOPIC, b"1", 1, false).await;
    drop(silent);

    // Half a packet, and then nothing: the keep-alive ends it.
    let connect = Connect {
        client_id: "half",
        keep_alive_s: 1,
        ..Connect::default()
    };
    let (mut half, _) = Raw::connect(&node, connect).await;
    half.send(&publish_packet(TOPIC, b"1.5", Some((1, false)))[..9])
        .await;
    half.closed().await;
    figures
        .grown(
            "muster_mqtt_disconnects_total{reason=\"keep-alive\"}",
            0.0,
            1.0,
        )
        .await;
    assert_eq!(node.count("gauge").await, 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_sent_again_a_thousand_times_is_one_reading() {
    let node = Node::start().await;
    let figures = Figures::of(&node).await;
    let (mut raw, _) = Raw::connect(&node, Connect::default()).await;
    raw.publish(TOPIC, b"1.5", 7, false).await;
    let again = publish_packet(TOPIC, b"1.5", Some((7, true)));
    raw.send(&again.repeat(1_000)).await;
    for _ in 0..1_000 {
        raw.puback(7).await;
    }
    assert_eq!(node.count("gauge").await, 1);
    figures
        .grown("muster_ingest_duplicates_total", 0.0, 1_000.0)
        .await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_messages_of_qos_2_than_may_be_unreleased_end_the_connection() {
    let node = Node::start().await;
    let figures = Figures::of(&node).await;
    let (mut old, _) = Raw::connect(&node, named("old")).await;
    let message = |packet_id: u16| {
        let mut body = Vec::new();
        push_string(&mut body, TOPIC);
        body.extend(packet_id.to_be_bytes());
        body.extend(b"1");
        packet(0x34, &body)
    };
    let flood: Vec<u8> = (1..=RECEIVE_MAXIMUM + 1).flat_map(message).collect();
    let _ = old.send_some(&flood).await;
    old.closed().await;
    figures
        .grown(
            "muster_mqtt_publish_refused_total{reason=\"quota\"}",
            0.0,
            1.0,
        )
        .await;
    eventually("those within the bound", || async {
        match node.count("gauge").await {
            count if count == u64::from(RECEIVE_MAXIMUM) => Ok(()),
            count => Err(count.to_string()),
        }
    })
    .await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_retained_messages_and_wills_have_their_bounds() {
    let node = Node::start().await;
    let figures = Figures::of(&node).await;
    let (mut raw, _) = Raw::connect(&node, Connect::default()).await;
    for number in 0..SUBSCRIPTIONS_MAX {
        assert_eq!(raw.subscribe(&format!("a/{number}"), 0).await, 0);
    }
    for number in 0..50 {
        assert_eq!(raw.subscribe(&format!("b/{number}"), 0).await, 0x80);
    }
    figures
        .grown("muster_mqtt_subscriptions_refused_total", 0.0, 50.0)
        .await;

    // A thousand retained messages of one device are kept; every further one is stored, and not kept for later.
    let (mut publisher, _) = Raw::connect(&node, named("publisher")).await;
    for number in 0..1_010_u16 {
        let topic = format!("muster/v1/chatty/{}", number % 500);
        let mut body = Vec::new();
        push_string(&mut body, &format!("{topic}-{number}"));
        body.extend((number + 1).to_be_bytes());
        body.extend(b"1");
        publisher.send(&packet(0x33, &body)).await;
        publisher.puback(number + 1).await;
    }
    figures
        .grown("muster_mqtt_retained_refused_total", 0.0, 10.0)
        .await;

    for number in 0..60 {
        let client_id = format!("lost-{number}");
        let connect = Connect {
            client_id: &client_id,
            will: Some(("muster/v1/lost/running", "0")),
            ..Connect::default()
        };
        drop(Raw::connect(&node, connect).await);
    }
    figures.grown("muster_mqtt_wills_total", 0.0, 60.0).await;
    eventually("the wills", || async {
        match node.count("lost").await {
            60 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_invents_channels_takes_its_own_share_of_series_and_no_more() {
    let node = Node::start().await;
    let figures = Figures::of(&node).await;
    let invent = async |name: &str, count: u16| {
        let (mut raw, _) = Raw::connect(&node, named(name)).await;
        let messages = (1..=count).flat_map(|number| {
            let topic = format!("muster/v1/{name}/c{number}");
            publish_packet(&topic, b"1", Some((number, false)))
        });
        let all: Vec<u8> = messages.collect();
        raw.send(&all).await;
        for number in 1..=count {
            raw.puback(number).await;
        }
    };
    let letters = "muster_ingest_dead_letters_total{reason=\"too-many-series\"}";
    invent("hostile", 1_100).await;
    figures.grown(letters, 0.0, 100.0).await;
    assert_eq!(figures.get("muster_ingest_readings_total").await, 1_000.0);
    let [letter, ..] = &node.dead_letters().await[..] else {
        panic!("no letter")
    };
    assert!(letter["reason"].as_str().unwrap().contains("approve"));
    // Others have theirs, and so has it when somebody vouches for it.
    invent("quiet", 1).await;
    assert_eq!(node.count("quiet").await, 1);
    node.approve("hostile").await;
    invent("hostile", 1_100).await;
    assert_eq!(figures.get(letters).await, 100.0);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interval_that_cannot_be_is_refused_to_who_sets_it() {
    let node = Node::start().await;
    for interval_s in [-60, 0] {
        let fields = json!({ "name": "gauge", "expected_interval_s": interval_s });
        let created = node
            .app
            .create(
                &Caller::socket(),
                node::app::RecordKind::Document(domain::Kind::Device),
                fields.as_object().unwrap().clone(),
                None,
            )
            .await;
        assert!(
            matches!(created, Err(node::app::AppError::Invalid(_))),
            "{interval_s}"
        );
    }
    node.stop().await;
}

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
    let (_, password) = node.credentials("gauge").await;
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
