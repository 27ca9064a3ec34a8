//! What devices say besides values: of themselves, in words, and by clocks that cannot be true.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use domain::{FactKind, Kind};
use node::app::readings::Values;
use node::app::{AppError, Caller, ListQuery, RecordKind, SyncSettings};
use serde_json::{Value, json};
use support::{Connect, Node, Raw, eventually, named, publish_packet};

const MESSAGES: RecordKind = RecordKind::Fact(FactKind::Message);
const MESH: &str = "msh/EU_868/2/json/LongFast/!7efeee00";
/// The sender of [`text`].
const RADIO: &str = "!abcdef01";

async fn use_decoders(node: &Node) {
    let entries = json!([
        { "topic": "msh/#", "format": "meshtastic" },
        {
            "topic": "pump/+", "format": "json", "device": "{2}",
            "facts": { "firmware": "/fw", "label": "/name", "lat": "/lat", "lon": "/lon" },
            "values": [{ "channel": "level", "pointer": "/level" }],
        },
        { "topic": "packs/+", "format": "senml-json" },
    ]);
    let entries = serde_json::from_value(entries).unwrap();
    node.app
        .use_decoders(entries, Path::new("."))
        .await
        .unwrap();
}

/// What a Meshtastic gateway publishes of a text with that packet number.
fn text(packet: u32, words: &str) -> String {
    json!({
        "channel": 2, "from": 0xabcd_ef01_u32, "id": packet, "payload": { "text": words },
        "sender": "!7efeee00", "timestamp": 1_772_366_400, "to": u32::MAX, "type": "text",
    })
    .to_string()
}

async fn messages(node: &Node) -> Vec<Value> {
    let query = ListQuery::default();
    let page = node.app.list(&Caller::socket(), MESSAGES, query).await;
    page.unwrap().items
}

/// Those that are facts, once there are so many.
async fn facts(node: &Node, count: usize) -> Vec<Value> {
    eventually("messages", || async {
        let all = messages(node).await;
        let facts = || all.iter().filter(|message| message["unapproved"].is_null());
        if facts().count() == count {
            Ok(facts().cloned().collect())
        } else {
            Err(format!("{all:?}"))
        }
    })
    .await
}

fn settings() -> SyncSettings {
    SyncSettings {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        advertise: Vec::new(),
        peers: Vec::new(),
        mdns: false,
    }
}

/// Two nodes of one operation, the second of which does not sync yet.
async fn pair() -> (Node, Node) {
    let wait = Duration::from_secs(20);
    let hq = Node::start().await;
    hq.app.start_sync(settings()).await.unwrap();
    let invited = hq.app.invite(&Caller::socket(), "field", None, wait).await;
    let directory = tempfile::TempDir::new().unwrap();
    node::app::founding::join(
        directory.path(),
        &node::app::KeySource::DataDir,
        invited.unwrap()["code"].as_str().unwrap(),
        "Truck".into(),
        wait,
    )
    .await
    .unwrap();
    (hq, Node::member_in(directory).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_words_of_a_device_are_one_message_however_often_they_are_repeated() {
    let node = Node::start().await;
    use_decoders(&node).await;
    node.approve(RADIO).await;
    let mut raw = Raw::connect(&node, Connect::default()).await.0;
    let words = text(7, "Bridge at km 4 is under water");
    raw.publish(MESH, words.as_bytes(), 1, false).await;
    let [message] = facts(&node, 1).await.try_into().unwrap();
    assert_eq!(message["text"], "Bridge at km 4 is under water");
    assert_eq!(message["device"], RADIO);
    assert_eq!(message["channel"], 2);
    assert_eq!(message["sent_at"], "2026-03-01T12:00:00.000Z");
    assert!(message["received_at"].is_string() && message["author"].is_null());
    let id = message["id"].as_str().unwrap();
    let alone = node.app.get(&Caller::socket(), MESSAGES, id, None).await;
    assert_eq!(alone.unwrap()["text"], message["text"]);

    // Again by the radio, by the MQTT client, after a restart; and then something else.
    raw.publish(MESH, words.as_bytes(), 2, false).await;
    raw.publish(MESH, words.as_bytes(), 2, true).await;
    let node = node.restart().await;
    use_decoders(&node).await;
    let mut raw = Raw::connect(&node, Connect::default()).await.0;
    raw.publish(MESH, words.as_bytes(), 2, true).await;
    raw.publish(MESH, words.as_bytes(), 3, false).await;
    raw.publish(MESH, text(8, "Coming").as_bytes(), 4, false)
        .await;
    let both = facts(&node, 2).await;
    assert_eq!(both[0]["text"], "Coming");
    assert_eq!(both[1]["id"], message["id"]);
    assert!(node.dead_letters().await.is_empty());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stranger_says_is_shown_here_and_goes_out_when_somebody_approves_it() {
    let (hq, truck) = pair().await;
    truck.app.start_sync(settings()).await.unwrap();
    use_decoders(&truck).await;
    let mut raw = Raw::connect(&truck, Connect::default()).await.0;
    let words = text(7, "Help");
    raw.publish(MESH, words.as_bytes(), 1, false).await;
    let [message] = messages(&truck).await.try_into().unwrap();
    assert_eq!(message["unapproved"], true);
    assert_eq!(
        (&message["text"], &message["device"]),
        (&json!("Help"), &json!(RADIO))
    );
    let id = message["id"].as_str().unwrap();
    let alone = truck.app.get(&Caller::socket(), MESSAGES, id, None).await;
    assert_eq!(alone.unwrap(), message);

    // It is still there after a restart, and nowhere else.
    let truck = truck.restart().await;
    assert_eq!(messages(&truck).await, std::slice::from_ref(&message));
    assert!(messages(&hq).await.is_empty());

    truck.app.start_sync(settings()).await.unwrap();
    hq.approve(RADIO).await;
    for node in [&truck, &hq] {
        let [approved] = facts(node, 1).await.try_into().unwrap();
        assert_eq!(approved["id"], message["id"]);
        assert_eq!(approved["received_at"], message["received_at"]);
        assert_eq!(messages(node).await.len(), 1);
    }
    hq.stop().await;
    truck.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_nodes_heard_apart_is_shown_once() {
    let (hq, truck) = pair().await;
    for node in [&hq, &truck] {
        use_decoders(node).await;
        node.approve(RADIO).await;
        let mut raw = Raw::connect(node, Connect::default()).await.0;
        let words = text(7, "Bridge at km 4 is under water");
        raw.publish(MESH, words.as_bytes(), 1, false).await;
        facts(node, 1).await;
    }
    truck.app.start_sync(settings()).await.unwrap();
    let mut shown = Vec::new();
    for node in [&hq, &truck] {
        shown.push(
            eventually("one that both heard", || async {
                match messages(node).await.as_slice() {
                    [one] if one["also_heard_by"].as_array().is_some() => Ok(one.clone()),
                    other => Err(format!("{other:?}")),
                }
            })
            .await,
        );
    }
    assert_eq!(shown[0]["id"], shown[1]["id"]);
    let nodes = [&shown[0]["node"], &shown[0]["also_heard_by"][0]];
    for node in [&hq, &truck] {
        assert!(nodes.contains(&&json!(node.app.node_id().to_string())));
    }
    hq.stop().await;
    truck.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_never_stops_talking_fills_dead_letters_and_no_more() {
    let node = Node::start().await;
    use_decoders(&node).await;
    let mut raw = Raw::connect(&node, Connect::default()).await.0;
    let mut packets = Vec::new();
    for number in 1..=210_u16 {
        let words = text(u32::from(number), "spam");
        packets.extend(publish_packet(
            MESH,
            words.as_bytes(),
            Some((number, false)),
        ));
    }
    // However fast they come.
    raw.send(&packets).await;
    for number in 1..=210 {
        raw.puback(number).await;
    }
    let letters = node.dead_letters().await;
    assert!(letters.len() >= 10, "{} of 210", letters.len());
    assert!(
        letters
            .iter()
            .all(|letter| letter["code"] == "too-many-texts")
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_writes_a_message_and_nobody_writes_one_for_a_device() {
    let node = Node::start().await;
    let write = async |fields: Value| {
        let fields = fields.as_object().unwrap().clone();
        let caller = Caller::socket();
        node.app.create(&caller, MESSAGES, fields, None).await
    };
    write(json!({ "text": "Send sandbags", "to": "hq" }))
        .await
        .unwrap();
    let [message] = messages(&node).await.try_into().unwrap();
    assert_eq!(
        (&message["text"], &message["to"]),
        (&json!("Send sandbags"), &json!("hq"))
    );
    let forged = write(json!({ "text": "x", "device": RADIO })).await;
    assert!(
        matches!(&forged, Err(AppError::Invalid(errors)) if errors[0].pointer == "/device"),
        "{forged:?}"
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_device_said_of_itself_is_there_after_a_restart() {
    let node = Node::start().await;
    use_decoders(&node).await;
    node.approve("north").await;
    let mut raw = Raw::connect(&node, Connect::default()).await.0;
    for (packet, payload) in [
        (
            1,
            json!({ "fw": "1.4.2", "name": "Pump by the bridge", "level": 3 }),
        ),
        (2, json!({ "lat": 48.1, "lon": 11.5, "level": 4 })),
        (3, json!({ "level": 5 })),
    ] {
        let payload = payload.to_string();
        raw.publish("pump/north", payload.as_bytes(), packet, false)
            .await;
    }
    raw.publish("muster/v1/north/battery_pct", b"81", 4, false)
        .await;
    let said = |device: &Value| {
        let names = [
            "firmware",
            "label",
            "reported_location",
            "reported_location_at",
            "battery_pct",
            "battery_at",
            "last_seen",
        ];
        names.map(|name| device[name].clone())
    };
    let [before] = node.list(Kind::Device).await.try_into().unwrap();
    assert_eq!(before["firmware"], "1.4.2");
    assert_eq!(
        (&before["label"], &before["name"]),
        (&json!("Pump by the bridge"), &json!("north"))
    );
    assert_eq!(
        before["reported_location"],
        json!({ "lat": 48.1, "lon": 11.5 })
    );
    assert!(said(&before).iter().all(|value| !value.is_null()));
    let node = node.restart().await;
    let [after] = node.list(Kind::Device).await.try_into().unwrap();
    assert_eq!(said(&after), said(&before));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_is_one_series_however_its_unit_is_spelled() {
    let node = Node::start().await;
    let mut raw = Raw::connect(&node, Connect::default()).await.0;
    for (packet, unit) in [(1, "dB[mW]"), (2, "dBm")] {
        let payload = json!({ "v": -90, "u": unit }).to_string();
        let topic = "muster/v1/gauge/rssi_dbm";
        raw.publish(topic, payload.as_bytes(), packet, false).await;
    }
    let [series] = node.series("gauge").await.try_into().unwrap();
    assert_eq!(
        (&series["unit"], &series["count"]),
        (&json!("dBm"), &json!(2))
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_battery_that_was_said_with_and_without_a_unit_the_newest_is_there_after_a_restart() {
    let node = Node::start().await;
    let mut raw = Raw::connect(&node, Connect::default()).await.0;
    for (packet, payload) in [
        (1, "80"),
        // Of another series, and older.
        (2, r#"{"v":70,"u":"%","t":"2026-03-01T12:00:00Z"}"#),
    ] {
        raw.publish(
            "muster/v1/gauge/battery_pct",
            payload.as_bytes(),
            packet,
            false,
        )
        .await;
    }
    assert_eq!(node.device("gauge").await["battery_pct"], 80.0);
    let node = node.restart().await;
    assert_eq!(node.device("gauge").await["battery_pct"], 80.0);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_is_not_shown_as_fresh_once_its_device_has_missed_three_intervals() {
    let node = Node::start().await;
    let mut raw = Raw::connect(&node, Connect::default()).await.0;
    raw.publish("muster/v1/gauge/level", b"2", 1, false).await;
    let shown = async || {
        let [device] = node.list(Kind::Device).await.try_into().unwrap();
        let [series] = node.series("gauge").await.try_into().unwrap();
        (device["stale"].clone(), series["last"]["stale"].clone())
    };
    assert_eq!(shown().await, (Value::Null, Value::Null), "nobody knows");
    let every_hour = json!({ "name": "gauge", "state": "approved", "expected_interval_s": 3600 });
    let device = node.create(Kind::Device, every_hour).await;
    assert_eq!(shown().await, (json!(false), json!(false)));
    node.patch(Kind::Device, &device, json!({ "expected_interval_s": 1 }))
        .await;
    eventually("that it is stale", || async {
        match shown().await {
            (Value::Bool(true), Value::Bool(true)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    raw.publish("muster/v1/gauge/level", b"3", 2, false).await;
    assert_eq!(shown().await, (json!(false), json!(false)));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sensor_that_sleeps_is_not_gone_and_one_that_is_lost_is_until_it_is_heard() {
    let node = Node::start().await;
    let every_ten_minutes =
        json!({ "name": "gauge", "state": "approved", "expected_interval_s": 600 });
    node.create(Kind::Device, every_ten_minutes).await;
    let shown = async || {
        let device = node.device("gauge").await;
        let last = node
            .series("gauge")
            .await
            .first()
            .map(|series| series["last"].clone());
        let last = last.unwrap_or_default();
        (
            device["online"].clone(),
            device["stale"].clone(),
            last["stale"].clone(),
        )
    };
    let becomes = async |expected: (Value, Value, Value)| {
        eventually("what is shown", || async {
            match shown().await {
                now if now == expected => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    };
    // The will is a value, so that it is heard from somebody, but not from the device.
    let connect = || Connect {
        will: Some(("muster/v1/gauge/running", "0")),
        ..Connect::default()
    };
    let (mut raw, _) = Raw::connect(&node, connect()).await;
    raw.publish("muster/v1/gauge/level", b"2", 1, false).await;
    assert_eq!(shown().await, (json!(true), json!(false), json!(false)));
    raw.disconnect().await;
    becomes((Value::Null, json!(false), json!(false))).await;

    let (mut raw, _) = Raw::connect(&node, connect()).await;
    raw.publish("muster/v1/gauge/level", b"3", 2, false).await;
    drop(raw);
    eventually("the will", || async {
        match node.count("gauge").await {
            3 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    becomes((json!(false), json!(true), json!(true))).await;

    // Somebody carries its next message.
    let (mut gateway, _) = Raw::connect(&node, named("gateway")).await;
    gateway
        .publish("muster/v1/gauge/level", b"4", 1, false)
        .await;
    becomes((Value::Null, json!(false), json!(false))).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_cannot_be_true_is_kept_beside_the_one_that_counts() {
    let node = Node::start().await;
    let mut raw = Raw::connect(&node, Connect::default()).await.0;
    for (packet, payload) in [
        (1, r#"{"v":1,"t":"2026-03-01T12:00:00Z"}"#),
        (2, r#"{"v":2,"t":"1970-01-01T00:05:00Z"}"#),
        (3, r#"{"v":3,"t":"2106-02-07T06:28:15Z"}"#),
        (4, r#"{"v":4}"#),
    ] {
        raw.publish("muster/v1/gauge/level", payload.as_bytes(), packet, false)
            .await;
    }
    let check = async |node: &Node| {
        let [series] = node.series("gauge").await.try_into().unwrap();
        let id = series["id"].as_str().unwrap();
        let answer = node
            .app
            .readings_with_times(&Caller::socket(), id, (None, None), Values::default(), None)
            .await
            .unwrap();
        let points = answer["points"].as_array().unwrap();
        let times = answer["times"].as_array().unwrap();
        assert_eq!(points.len(), 4);
        for (number, stated) in [
            json!("2026-03-01T12:00:00.000Z"),
            json!("1970-01-01T00:05:00.000Z"),
            json!("2106-02-07T06:28:15.000Z"),
            Value::Null,
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(points[number][1], json!(number as f64 + 1.0));
            assert_eq!(times[number][1], stated);
            let counts = if number == 0 {
                &stated
            } else {
                &times[number][0]
            };
            assert_eq!(&points[number][0], counts);
        }
    };
    check(&node).await;
    let node = node.restart().await;
    check(&node).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_of_a_clock_that_is_years_off_keeps_its_spacing_and_is_stored_once() {
    let node = Node::start().await;
    use_decoders(&node).await;
    let mut raw = Raw::connect(&node, named("gateway")).await.0;
    // RFC 8428's: 2010-06-08T18:01:16Z. The newest stands first.
    let pack = json!([
        { "bn": "gauge:", "bt": 1_276_020_076_i64, "bu": "m", "n": "level", "v": 3 },
        { "n": "level", "t": -120, "v": 1 },
        { "n": "level", "t": -60, "v": 2 },
        { "bu": "%", "n": "battery_pct", "v": 80 },
        { "n": "battery_pct", "t": -60, "v": 90 },
    ]);
    let pack = pack.to_string();
    for redelivered in [false, true, true] {
        raw.publish("packs/one", pack.as_bytes(), 1, redelivered)
            .await;
    }
    let node = node.restart().await;
    let mut raw = Raw::connect(&node, named("gateway")).await.0;
    use_decoders(&node).await;
    raw.publish("packs/one", pack.as_bytes(), 1, true).await;
    assert!(node.dead_letters().await.is_empty());
    assert_eq!(node.count("gauge").await, 5);

    let series = node.series("gauge").await;
    let level = series.iter().find(|series| series["channel"] == "level");
    let id = level.unwrap()["id"].as_str().unwrap();
    let answer = node
        .app
        .readings_with_times(&Caller::socket(), id, (None, None), Values::default(), None)
        .await
        .unwrap();
    let ms = |at: &Value| {
        let at: jiff::Timestamp = at.as_str().unwrap().parse().unwrap();
        at.as_millisecond()
    };
    let points = answer["points"].as_array().unwrap().iter();
    let times = answer["times"].as_array().unwrap().iter();
    let seen: Vec<_> = points
        .zip(times)
        .map(|(point, times)| {
            let before_receipt_ms = ms(&times[0]) - ms(&point[0]);
            (point[1].as_f64().unwrap(), before_receipt_ms, ms(&times[1]))
        })
        .collect();
    let newest_ms = 1_276_020_076_000;
    assert_eq!(
        seen,
        [
            (1.0, 120_000, newest_ms - 120_000),
            (2.0, 60_000, newest_ms - 60_000),
            (3.0, 0, newest_ms),
        ]
    );
    assert_eq!(node.device("gauge").await["battery_pct"], 80.0);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_signal_of_a_radio_is_two_channels_and_what_it_calls_itself_stands_beside_its_name() {
    let node = Node::start().await;
    use_decoders(&node).await;
    let mut raw = Raw::connect(&node, Connect::default()).await.0;
    let packet = json!({
        "from": 0xabcd_ef01_u32, "hops_away": 0, "rssi": -92, "snr": 6.25, "sender": "!7efeee00",
        "payload": { "id": RADIO, "longname": "HQ", "shortname": "HQ" }, "type": "nodeinfo",
    });
    let packet = packet.to_string();
    raw.publish(MESH, packet.as_bytes(), 1, false).await;
    let series = node.series(RADIO).await;
    let mut shown: Vec<_> = series
        .iter()
        .map(|series| {
            let words = |name: &str| series[name].as_str().unwrap().to_owned();
            let value = series["last"]["value"].as_f64().unwrap();
            (words("channel"), value, words("unit"))
        })
        .collect();
    shown.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        shown,
        [
            ("rssi_dbm".into(), -92.0, "dBm".into()),
            ("snr_db".into(), 6.25, "dB".into()),
        ]
    );
    // Nobody has approved it: it is shown with its word, under its own name.
    let [device] = node.list(Kind::Device).await.try_into().unwrap();
    assert_eq!(
        [&device["name"], &device["label"], &device["state"]],
        [&json!(RADIO), &json!("HQ"), &json!("unknown")]
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_runs_ahead_makes_no_value_fresher_than_its_receipt() {
    let node = Node::start().await;
    let mut raw = Raw::connect(&node, Connect::default()).await.0;
    let now_ms = || jiff::Timestamp::now().as_millisecond();
    let hour_ms = 3_600_000;
    let began_ms = now_ms();
    for (packet, ahead_ms) in [(1, 23 * hour_ms), (2, hour_ms), (3, 240_000)] {
        let payload = format!(r#"{{"v":{packet},"t":{}}}"#, began_ms + ahead_ms);
        for channel in ["level", "battery_pct"] {
            let topic = format!("muster/v1/gauge/{channel}");
            let packet_id = packet * 2 + u16::from(channel == "level");
            raw.publish(&topic, payload.as_bytes(), packet_id, false)
                .await;
        }
        // The right clock, after it: what comes last is the last.
        let right = format!(r#"{{"v":{},"t":{}}}"#, packet * 10, now_ms() + 1);
        raw.publish(
            "muster/v1/gauge/level",
            right.as_bytes(),
            100 + packet,
            false,
        )
        .await;
        let series = node.series("gauge").await;
        let level = series
            .iter()
            .find(|series| series["channel"] == "level")
            .unwrap();
        assert_eq!(
            level["last"]["value"],
            f64::from(packet * 10),
            "{ahead_ms} ms ahead"
        );
    }
    let at_ms = |at: &Value| {
        at.as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .unwrap()
            .as_millisecond()
    };
    let device = node.device("gauge").await;
    assert_eq!(device["battery_pct"], 3.0);
    assert!(at_ms(&device["battery_at"]) <= now_ms());
    // Four minutes are kept as they were stated; an hour is not believed.
    let series = node.series("gauge").await;
    let battery = series
        .iter()
        .find(|series| series["channel"] == "battery_pct")
        .unwrap();
    assert!(at_ms(&battery["last"]["at"]) <= now_ms());
    let id = battery["id"].as_str().unwrap();
    let answer = node
        .app
        .readings_with_times(&Caller::socket(), id, (None, None), Values::default(), None)
        .await
        .unwrap();
    let counts: Vec<bool> = std::iter::zip(
        answer["points"].as_array().unwrap(),
        answer["times"].as_array().unwrap(),
    )
    .map(|(point, times)| point[0] == times[1])
    .collect();
    assert_eq!(counts, [false, false, true]);
    node.stop().await;
}
