//! Who may publish and hear what over MQTT, and commands to devices.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;

use domain::Kind;
use node::app::{AppError, Caller, IdempotencyKey};
use node::ingest::mqtt::{Anonymous, MqttLimits, MqttSettings};
use serde_json::{Value, json};
use support::{
    Connect, Connect5, Node, Raw, acknowledge, connect_packet, eventually, hq_and_truck, lasting,
    listen, message, named, packet, publish_packet, publish5_packet,
};

const TOPIC: &str = "muster/v1/gauge/level";

// Accounts.

#[tokio::test(flavor = "multi_thread")]
async fn a_device_may_speak_for_itself_and_nobody_else() {
    let node = Node::start().await;
    let (id, password) = node.credentials("gauge").await;
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
    node.credentials("gauge").await;
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

    let renewed = node.app.renew_mqtt_password(&caller, "lora").await.unwrap();
    assert_eq!(raw.packet().await.0, 0xe0, "cut off");
    let (_, refused) = Raw::connect5(&node, connect).await;
    assert_eq!(refused[1], 0x86);
    let connect = Connect5 {
        credentials: Some(("lora", renewed["password"].as_str().unwrap())),
        ..connect
    };
    let (mut raw, connack) = Raw::connect5(&node, connect).await;
    assert_eq!(connack[1], 0);
    raw.send(&publish5_packet(0x32, TOPIC, 1, b"", b"2")).await;
    assert_eq!(raw.packet().await, (0x40, vec![0, 1]), "as before");
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

#[tokio::test(flavor = "multi_thread")]
async fn a_name_with_an_account_takes_no_word_from_whoever_has_none() {
    let node = Node::start().await;
    let (mut stranger, _) = Raw::connect5(&node, Connect5::default()).await;
    let mut packet_id = 0;
    let mut says = async |stranger: &mut Raw, topic: &str| {
        packet_id += 1;
        let publish = publish5_packet(0x33, topic, packet_id, b"", b"1");
        stranger.send(&publish).await;
        let (header, body) = stranger.packet().await;
        assert_eq!(header, 0x40);
        body.get(2).copied().unwrap_or(0)
    };
    assert_eq!(says(&mut stranger, TOPIC).await, 0, "it is anybody's");
    let (id, password) = node.credentials("gauge").await;
    for topic in [TOPIC, "muster/v1/gauge/state", "muster/v1/gauge/a/b"] {
        assert_eq!(says(&mut stranger, topic).await, 0x87, "{topic}");
    }
    assert_eq!(says(&mut stranger, "muster/v1/other/level").await, 0);
    assert_eq!(node.count("gauge").await, 1);

    let mut old = Raw::connect(&node, named("old")).await.0;
    let publish = publish_packet(TOPIC, b"1", Some((1, false)));
    old.send(&publish).await;
    assert!(old.closed().await.is_empty());
    // A will would mark the device, and say something in its name.
    let will = Connect {
        will: Some(("muster/v1/gauge/state", "gone")),
        ..named("will")
    };
    let mut raw = Raw::open(&node).await;
    raw.send(&connect_packet(4, &will)).await;
    assert_eq!(raw.closed().await, [0x20, 2, 0, 5]);
    assert_eq!(node.device("gauge").await["online"], Value::Null);

    // After a restart too; the device itself is heard, and the name is anybody's again without the account.
    let node = node.restart().await;
    let (mut stranger, _) = Raw::connect5(&node, Connect5::default()).await;
    assert_eq!(says(&mut stranger, TOPIC).await, 0x87);
    let connect = Connect5 {
        credentials: Some(("gauge", &password)),
        client_id: "gauge",
        ..Connect5::default()
    };
    let (mut gauge, _) = Raw::connect5(&node, connect).await;
    assert_eq!(says(&mut gauge, TOPIC).await, 0);
    assert_eq!(node.count("gauge").await, 2);
    let caller = Caller::socket();
    node.app
        .revoke_device_credentials(&caller, &id)
        .await
        .unwrap();
    assert_eq!(says(&mut stranger, TOPIC).await, 0);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decoder_that_finds_a_device_with_an_account_wants_an_account_too() {
    let node = Node::start().await;
    let entries = json!([{
        "topic": "pumps/+", "format": "json", "device": "{2}",
        "values": [{ "channel": "level", "pointer": "/level" }],
    }]);
    let entries = serde_json::from_value(entries).unwrap();
    node.app
        .use_decoders(entries, Path::new("."))
        .await
        .unwrap();
    node.credentials("north").await;
    let (mut stranger, _) = Raw::connect(&node, named("stranger")).await;
    stranger
        .publish("pumps/south", b"{\"level\":1}", 1, false)
        .await;
    stranger
        .publish("pumps/north", b"{\"level\":2}", 2, false)
        .await;
    assert_eq!(
        (node.count("south").await, node.count("north").await),
        (1, 0)
    );
    let [letter] = node.dead_letters().await.try_into().unwrap();
    assert_eq!(letter["code"], "not-authorised");

    let password = gateway(&node, "site", &["pumps/#"], &[]).await;
    let connect = Connect5 {
        credentials: Some(("site", &password)),
        client_id: "site",
        ..Connect5::default()
    };
    let (mut raw, _) = Raw::connect5(&node, connect).await;
    raw.send(&publish5_packet(
        0x32,
        "pumps/north",
        1,
        b"",
        b"{\"level\":3}",
    ))
    .await;
    assert_eq!(raw.packet().await, (0x40, vec![0, 1]));
    assert_eq!(node.count("north").await, 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_is_let_in_without_an_account_this_machine_is_not_either() {
    let node = Node::start().await;
    let (_, password) = node.credentials("gauge").await;
    let node = node
        .with_settings(MqttSettings {
            anonymous: Anonymous::Never,
            ..MqttSettings::default()
        })
        .await;
    let mut raw = Raw::open(&node).await;
    raw.send(&connect_packet(4, &named("raw"))).await;
    assert_eq!(raw.closed().await, [0x20, 2, 0, 5]);
    let connect = Connect5 {
        credentials: Some(("gauge", &password)),
        ..Connect5::default()
    };
    assert_eq!(Raw::connect5(&node, connect).await.1[1], 0);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_as_many_connections_as_the_operator_says() {
    let node = Node::start().await;
    let (_, password) = node.credentials("gauge").await;
    let limits = MqttLimits {
        connections_of_device_max: 1,
        packet_bytes_max: 2_048,
        ..MqttLimits::default()
    };
    let settings = MqttSettings {
        limits,
        ..MqttSettings::default()
    };
    let node = node.with_settings(settings).await;
    let connect = |client_id| Connect5 {
        credentials: Some(("gauge", &password)),
        client_id,
        ..Connect5::default()
    };
    let (mut first, connack) = Raw::connect5(&node, connect("first")).await;
    assert_eq!(connack[1], 0);
    assert_eq!(Raw::connect5(&node, connect("second")).await.1[1], 0x97);
    let large = vec![b'1'; 3_000];
    first
        .send(&publish5_packet(0x30, TOPIC, 0, b"", &large))
        .await;
    let (header, body) = first.packet().await;
    assert_eq!((header, body[0]), (0xe0, 0x95));
    node.stop().await;
}

/// Connects with a device's credentials; gives the client and the reason.
async fn sign_in(node: &Node, device: &str, password: &str) -> (Raw, u8) {
    let will_topic = format!("muster/v1/{device}/running");
    let connect = Connect5 {
        credentials: Some((device, password)),
        client_id: device,
        will: Some((b"", &will_topic, "0")),
        ..Connect5::default()
    };
    let (raw, connack) = Raw::connect5(node, connect).await;
    (raw, connack[1])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_disabled_is_cut_off_until_it_is_approved_again() {
    let node = Node::start().await;
    let (_, password) = node.credentials("gauge").await;
    let (mut gauge, reason) = sign_in(&node, "gauge", &password).await;
    assert_eq!(reason, 0);
    let disabled = node
        .patch(
            Kind::Device,
            &node.device("gauge").await,
            json!({ "state": "disabled" }),
        )
        .await;
    let (header, body) = gauge.packet().await;
    assert_eq!((header, body[0]), (0xe0, 0x87));
    gauge.closed().await;
    assert_eq!(sign_in(&node, "gauge", &password).await.1, 0x87);
    let node = node.restart().await;
    assert_eq!(sign_in(&node, "gauge", &password).await.1, 0x87);
    // The name is still its own, and its will was not said.
    let (mut stranger, _) = Raw::connect(&node, named("stranger")).await;
    let publish = publish_packet(TOPIC, b"1", Some((1, false)));
    stranger.send(&publish).await;
    stranger.closed().await;
    assert_eq!(node.count("gauge").await, 0);

    node.patch(Kind::Device, &disabled, json!({ "state": "approved" }))
        .await;
    assert_eq!(sign_in(&node, "gauge", &password).await.1, 0);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_deleted_loses_its_account() {
    let node = Node::start().await;
    let caller = Caller::socket();
    let (id, password) = node.credentials("gauge").await;
    let (mut gauge, reason) = sign_in(&node, "gauge", &password).await;
    assert_eq!(reason, 0);
    node.app
        .delete(&caller, Kind::Device, &id, None)
        .await
        .unwrap();
    let (header, body) = gauge.packet().await;
    assert_eq!((header, body[0]), (0xe0, 0x87));
    gauge.closed().await;
    assert_ne!(sign_in(&node, "gauge", &password).await.1, 0);
    eventually("that the account is gone", || async {
        let accounts = node.app.list_mqtt_accounts(&caller).unwrap();
        if accounts.is_empty() {
            Ok(())
        } else {
            Err(format!("{accounts:?}"))
        }
    })
    .await;
    assert_eq!(node.count("gauge").await, 0, "its will was not said");
    // Asked for once more it is not there, which is no mystery of a deleted document.
    let again = node.app.revoke_device_credentials(&caller, &id).await;
    assert!(matches!(again, Err(AppError::NotFound { .. })), "{again:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_another_node_disables_or_deletes_is_cut_off_where_its_sensor_is() {
    let (hq, truck) = hq_and_truck(|_| {}).await;
    listen(&truck.app).await;
    for name in ["gauge", "pump"] {
        hq.approve(name).await;
        arrives(&truck, name, |device| device["state"] == "approved").await;
    }
    // The accounts are the truck's alone: they are of the node where the sensor is.
    let passwords = [
        truck.new_password("gauge").await,
        truck.new_password("pump").await,
    ];
    let (mut gauge, reason) = sign_in(&truck, "gauge", &passwords[0]).await;
    assert_eq!(reason, 0);
    let (mut pump, reason) = sign_in(&truck, "pump", &passwords[1]).await;
    assert_eq!(reason, 0);

    let at_hq = hq.device("gauge").await;
    let disabled = hq
        .patch(Kind::Device, &at_hq, json!({ "state": "disabled" }))
        .await;
    let (header, body) = gauge.packet().await;
    assert_eq!((header, body[0]), (0xe0, 0x87));
    gauge.closed().await;
    assert_eq!(sign_in(&truck, "gauge", &passwords[0]).await.1, 0x87);
    // The other one speaks on.
    pump.send(&publish5_packet(0x32, "muster/v1/pump/rate", 1, b"", b"1"))
        .await;
    assert_eq!(pump.packet().await, (0x40, vec![0, 1]));

    let caller = Caller::socket();
    let pump_id = hq.device("pump").await["id"].as_str().unwrap().to_owned();
    let deleted = hq.app.delete(&caller, Kind::Device, &pump_id, None);
    deleted.await.unwrap();
    let (header, body) = pump.packet().await;
    assert_eq!((header, body[0]), (0xe0, 0x87));
    pump.closed().await;
    assert_ne!(sign_in(&truck, "pump", &passwords[1]).await.1, 0);
    eventually("that the deleted one's account is gone", || async {
        let accounts = truck.app.list_mqtt_accounts(&caller).unwrap();
        let [account] = accounts.as_slice() else {
            return Err(format!("{accounts:?}"));
        };
        assert_eq!(account["device"], "gauge");
        Ok(())
    })
    .await;

    let approved = json!({ "state": "approved" });
    hq.patch(Kind::Device, &disabled, approved).await;
    arrives(&truck, "gauge", |device| device["state"] == "approved").await;
    assert_eq!(sign_in(&truck, "gauge", &passwords[0]).await.1, 0);
    truck.stop().await;
    hq.stop().await;
}

/// Waits until a device is there as expected.
async fn arrives(node: &Node, name: &str, is: impl Fn(&Value) -> bool) {
    eventually("the device", || async {
        let devices = node.list(Kind::Device).await;
        match devices.iter().find(|device| device["name"] == name) {
            Some(device) if is(device) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

/// Makes a gateway's account; gives its password.
async fn gateway(node: &Node, name: &str, publish: &[&str], subscribe: &[&str]) -> String {
    let own = |patterns: &[&str]| patterns.iter().map(|&pattern| pattern.to_owned()).collect();
    let made = node
        .app
        .add_mqtt_account(&Caller::socket(), name, own(publish), own(subscribe))
        .await;
    made.unwrap()["password"].as_str().unwrap().to_owned()
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
    let id = node.device("pump").await["id"].as_str().unwrap().to_owned();
    let caller = Caller::socket();
    let payload = json!({ "switch": "on" });
    let command = node
        .app
        .send_command(&caller, &id, payload.clone(), None, None)
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
        .send_command(&caller, &id, json!(1), None, None)
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
async fn a_command_whose_answer_was_lost_reaches_its_device_once_also_over_a_restart() {
    let node = Node::start().await;
    node.approve("pump").await;
    let id = node.device("pump").await["id"].as_str().unwrap().to_owned();
    let caller = Caller::socket();
    let key = || {
        Some(IdempotencyKey {
            key: "k".into(),
            route: format!("POST /v1/devices/{id}/commands"),
            body_hash: [1; 32],
        })
    };
    let command = node
        .app
        .send_command(&caller, &id, json!("on"), None, key())
        .await
        .unwrap();
    let (mut pump, _) = Raw::connect(&node, named("pump")).await;
    pump.subscribe("muster/v1/pump/cmd", 1).await;
    let (_, _, packet_id, _) = message(pump.packet().await);
    acknowledge(&mut pump, 0x40, packet_id).await;
    becomes(&node, &id, &command, "sent").await;
    drop(pump);

    let node = node.restart().await;
    let again = node
        .app
        .send_command(&caller, &id, json!("on"), None, key())
        .await
        .unwrap();
    assert_eq!(again, command);
    let (page, _) = node
        .app
        .list_commands(&caller, &id, None, None)
        .await
        .unwrap();
    assert_eq!(page.items.len(), 1);
    assert_eq!(page.items[0]["state"], "sent");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_nobody_takes_expires_and_too_many_are_refused() {
    let node = Node::start().await;
    node.approve("pump").await;
    let id = node.device("pump").await["id"].as_str().unwrap().to_owned();
    let caller = Caller::socket();
    let command = node
        .app
        .send_command(&caller, &id, json!(1), Some(1), None)
        .await
        .unwrap();
    becomes(&node, &id, &command, "expired").await;
    for _ in 0..node::app::mqtt::COMMANDS_OPEN_MAX {
        node.app
            .send_command(&caller, &id, json!(1), None, None)
            .await
            .unwrap();
    }
    let refused = node
        .app
        .send_command(&caller, &id, json!(1), None, None)
        .await;
    assert!(matches!(refused, Err(node::app::AppError::Conflict(_))));
    let large = Value::String("x".repeat(9_000));
    let refused = node
        .app
        .send_command(&caller, &id, large, Some(0), None)
        .await;
    let Err(node::app::AppError::Invalid(errors)) = refused else {
        panic!("{refused:?}");
    };
    let pointers: Vec<_> = errors.iter().map(|error| error.pointer.as_str()).collect();
    assert_eq!(pointers, ["/payload", "/expires_s"]);
    let listed = node.app.list_commands(&caller, &id, None, Some(501)).await;
    assert!(matches!(listed, Err(node::app::AppError::Unreadable(_))));
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

#[tokio::test(flavor = "multi_thread")]
async fn a_command_for_a_device_with_an_account_waits_for_that_account() {
    let node = Node::start().await;
    let caller = Caller::socket();
    node.approve("pump").await;
    let id = node.device("pump").await["id"].as_str().unwrap().to_owned();
    // Whoever listens there before the device has an account is the device, and no longer after that.
    let (mut stranger, _) = Raw::connect(&node, named("stranger")).await;
    stranger.subscribe("muster/v1/pump/cmd", 1).await;
    let promised = node
        .app
        .send_command(&caller, &id, json!(0), None, None)
        .await
        .unwrap();
    let (_, _, packet_id, _) = message(stranger.packet().await);
    let (_, password) = node.credentials("pump").await;
    acknowledge(&mut stranger, 0x40, packet_id).await;
    let command = node
        .app
        .send_command(&caller, &id, json!(1), None, None)
        .await
        .unwrap();
    let (header, ..) = message(stranger.packet().await);
    assert_eq!(
        header & 0b110,
        0,
        "a copy, of which nobody hears whether it arrived"
    );
    let answer = json!({ "id": command["id"], "ok": true }).to_string();
    let state = publish_packet("muster/v1/pump/state", answer.as_bytes(), Some((1, false)));
    stranger.send(&state).await;
    stranger.closed().await;
    for command in [&promised, &command] {
        assert_eq!(state_of(&node, &id, command).await["state"], "queued");
    }

    let connect = Connect5 {
        credentials: Some(("pump", &password)),
        ..lasting("pump")
    };
    let (mut pump, _) = Raw::connect5(&node, connect).await;
    assert_eq!(pump.subscribe5("muster/v1/pump/cmd", 1).await, 1);
    for command in [&promised, &command] {
        let (header, body) = pump.packet().await;
        assert_eq!(header, 0x32);
        let at = 2 + "muster/v1/pump/cmd".len();
        acknowledge(
            &mut pump,
            0x40,
            u16::from_be_bytes([body[at], body[at + 1]]),
        )
        .await;
        becomes(&node, &id, command, "sent").await;
    }
    pump.send(&publish5_packet(
        0x32,
        "muster/v1/pump/state",
        1,
        b"",
        answer.as_bytes(),
    ))
    .await;
    assert_eq!(pump.packet().await, (0x40, vec![0, 1]));
    assert_eq!(
        state_of(&node, &id, &command).await["state"],
        "acknowledged"
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_takes_commands_where_it_asks_for_them_and_a_dashboard_with_an_account_does_not()
{
    let node = Node::start().await;
    let (id, _) = node.credentials("pump").await;
    let caller = Caller::socket();
    let reads = gateway(&node, "board", &[], &["#"]).await;
    let (mut board, _) = Raw::connect5(
        &node,
        Connect5 {
            credentials: Some(("board", &reads)),
            ..lasting("board")
        },
    )
    .await;
    assert_eq!(board.subscribe5("#", 1).await, 1);
    let command = node
        .app
        .send_command(&caller, &id, json!(1), None, None)
        .await
        .unwrap();
    assert_eq!(board.packet().await.0, 0x30, "it sees the command");
    assert_eq!(state_of(&node, &id, &command).await["state"], "queued");

    let carries = gateway(&node, "lora", &["muster/v1/+/+"], &["muster/v1/+/cmd"]).await;
    let (mut lora, _) = Raw::connect5(
        &node,
        Connect5 {
            credentials: Some(("lora", &carries)),
            ..lasting("lora")
        },
    )
    .await;
    assert_eq!(lora.subscribe5("muster/v1/+/cmd", 1).await, 1);
    let (header, body) = lora.packet().await;
    assert_eq!(header, 0x32);
    let at = 2 + "muster/v1/pump/cmd".len();
    acknowledge(
        &mut lora,
        0x40,
        u16::from_be_bytes([body[at], body[at + 1]]),
    )
    .await;
    becomes(&node, &id, &command, "sent").await;
    node.stop().await;
}
