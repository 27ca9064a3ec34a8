//! Readings over MQTT become incidents: once each, across restarts, from approved devices only.
#![allow(clippy::unwrap_used)]

mod support;

use domain::Kind;
use node::app::rules::trial::TestRange;
use node::app::{Caller, RecordKind};
use serde_json::{Value, json};
use support::{Connect, Node, Raw, eventually};

fn high_water() -> Value {
    json!({
        "name": "high water", "kind": "threshold",
        "match": {"device": "river-*", "channel": "level"},
        "raise_above": 4.0, "clear_below": 3.0, "for_s": 0, "hold_s": 0, "reopen_s": 0,
        "incident": {"title": "High water at {device}: {value} m", "category": "Met", "severity": "severe"},
    })
}

struct Sensor {
    raw: Raw,
    packet_id: u16,
}

impl Sensor {
    async fn connect(node: &Node) -> Sensor {
        Sensor {
            raw: Raw::connect(node, Connect::default()).await.0,
            packet_id: 0,
        }
    }

    async fn level(&mut self, device: &str, metres: f64) {
        self.packet_id += 1;
        let topic = format!("muster/v1/{device}/level");
        self.raw
            .publish(&topic, metres.to_string().as_bytes(), self.packet_id, false)
            .await;
    }
}

/// Incidents of one device.
async fn incidents_of(node: &Node, device: &str) -> Vec<Value> {
    let mut incidents = node.list(Kind::Incident).await;
    incidents.retain(|incident| incident["source"]["device"] == device);
    incidents
}

async fn incident_of(node: &Node, device: &str) -> Value {
    eventually("an incident", || async {
        match incidents_of(node, device).await.as_slice() {
            [one] => Ok(one.clone()),
            other => Err(format!("{} incidents", other.len())),
        }
    })
    .await
}

/// When this returns, everything that was acknowledged before has been evaluated: readings are taken in order.
async fn evaluated(node: &Node, sensor: &mut Sensor, marker: &str) {
    node.approve(marker).await;
    sensor.level(marker, 9.0).await;
    incident_of(node, marker).await;
}

fn since(from_ms: i64) -> TestRange {
    TestRange {
        from_ms: Some(from_ms),
        ..TestRange::default()
    }
}

/// What a rule sees now, once it is as it should be.
async fn seen(node: &Node, rule: &str, is_right: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    eventually("what the rule sees", || async {
        let page = node
            .app
            .rule_state(&Caller::socket(), rule, None, None, None)
            .await
            .map_err(|error| error.to_string())?;
        if is_right(&page.items) {
            Ok(page.items)
        } else {
            Err(json!(page.items).to_string())
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rule_sees_is_shown_before_it_raises_anything_and_after_a_restart() {
    let node = Node::start().await;
    let mut fields = high_water();
    fields["unit"] = json!("m");
    fields["for_s"] = json!(3600);
    let high = node.create(Kind::Rule, fields).await;
    let high = high["id"].as_str().unwrap();
    let sum = json!({
        "name": "both", "kind": "expression", "match": {"device": "river-*", "channel": "both"},
        "expression": {"formula": "a + b", "inputs": [
            {"name": "a", "channel": "level"}, {"name": "b", "channel": "rain"},
        ]},
        "raise_above": 50, "clear_below": 40, "incident": {"title": "{device}: {value}"},
    });
    let both = node.create(Kind::Rule, sum).await;
    let both = both["id"].as_str().unwrap();
    for device in ["river-01", "river-02", "river-03"] {
        node.approve(device).await;
    }
    let mut sensor = Sensor::connect(&node).await;
    for (device, metres) in [("river-01", 2.0), ("river-02", 4.5), ("river-03", 1.0)] {
        sensor.level(device, metres).await;
    }
    // What is beyond its level comes first.
    let three = seen(&node, high, |items| items.len() == 3).await;
    let told = |item: &Value| {
        (
            item["device"].clone(),
            item["state"].clone(),
            item["value"].clone(),
        )
    };
    assert_eq!(
        told(&three[0]),
        (json!("river-02"), json!("pending"), json!(4.5))
    );
    assert_eq!(
        told(&three[1]),
        (json!("river-01"), json!("clear"), json!(2.0))
    );
    assert_eq!(
        (&three[0]["unit"], &three[1]["since"]),
        (&json!("m"), &Value::Null)
    );
    assert!(
        three[0]["since"].is_string() && three[0]["incident"].is_null(),
        "{}",
        three[0]
    );

    let series = node.series("river-02").await;
    assert_eq!(three[0]["series"], series[0]["id"]);

    // A virtual sensor has no value before all of its inputs have.
    let items = seen(&node, both, |items| items.len() == 3).await;
    assert_eq!(
        (&items[0]["value"], &items[0]["inputs"][0]["value"]),
        (&Value::Null, &json!(2.0))
    );
    assert_eq!(items[0]["inputs"][1]["counts"], false);
    sensor
        .raw
        .publish("muster/v1/river-01/rain", b"7", 100, false)
        .await;
    let is_nine = |items: &[Value]| items.iter().any(|item| item["value"] == 9.0);
    seen(&node, both, is_nine).await;

    // The virtual sensor is known at once after a restart; what the others saw last, with their next reading.
    let node = node.restart().await;
    seen(&node, both, is_nine).await;
    let three = seen(&node, high, |items| items.len() == 3).await;
    assert_eq!(
        told(&three[0]),
        (json!("river-02"), json!("pending"), Value::Null)
    );
    let mut sensor = Sensor::connect(&node).await;
    sensor.level("river-02", 4.6).await;
    seen(&node, high, |items| items[0]["value"] == 4.6).await;
    // An edit of another rule takes nothing away.
    let other = node.create(Kind::Rule, high_water()).await;
    seen(&node, other["id"].as_str().unwrap(), <[Value]>::is_empty).await;
    seen(&node, high, |items| items[0]["value"] == 4.6).await;

    // Page by page, and those alone that stand so.
    let page = |only: Option<&'static str>, cursor: Option<String>, limit| {
        let (app, high) = (node.app.clone(), high.to_owned());
        async move {
            let only = only.map(|word| word.parse().unwrap());
            app.rule_state(
                &Caller::socket(),
                &high,
                only,
                cursor.as_deref(),
                Some(limit),
            )
            .await
            .unwrap()
        }
    };
    let first = page(None, None, 2).await;
    let second = page(None, first.next.clone(), 2).await;
    let devices: Vec<&Value> = first
        .items
        .iter()
        .chain(&second.items)
        .map(|item| &item["device"])
        .collect();
    assert_eq!(devices, ["river-02", "river-01", "river-03"]);
    assert!(second.next.is_none());
    assert_eq!(page(Some("pending"), None, 10).await.items.len(), 1);
    assert!(page(Some("raised"), None, 10).await.items.is_empty());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_one_incident_across_restarts() {
    let node = Node::start().await;
    node.create(Kind::Rule, high_water()).await;
    node.approve("river-01").await;
    let mut sensor = Sensor::connect(&node).await;
    for metres in [2.0, 3.9, 4.2, 5.1] {
        sensor.level("river-01", metres).await;
    }
    let raised = incident_of(&node, "river-01").await;
    assert_eq!(raised["title"], "High water at river-01: 4.2 m");
    assert_eq!(raised["status"], "reported");
    assert_eq!(raised["category"], "Met");
    assert_eq!(
        raised["evidence"][0]["node"],
        node.app.node_id().to_string()
    );
    assert!(raised["cleared_at"].is_null());

    let mut node = node.restart().await;
    for round in 0..3 {
        let mut sensor = Sensor::connect(&node).await;
        sensor.level("river-01", 5.5).await;
        sensor.level("river-01", 4.4).await;
        evaluated(&node, &mut sensor, &format!("river-marker-{round}")).await;
        assert_eq!(incidents_of(&node, "river-01").await.len(), 1);
        node = node.restart().await;
    }

    let mut sensor = Sensor::connect(&node).await;
    sensor.level("river-01", 2.5).await;
    let id = raised["id"].as_str().unwrap();
    let cleared = eventually("the end of the flood", || async {
        let incident = node
            .app
            .get(
                &Caller::socket(),
                RecordKind::Document(Kind::Incident),
                id,
                None,
            )
            .await
            .unwrap();
        if incident["cleared_at"].is_null() {
            Err(incident.to_string())
        } else {
            Ok(incident)
        }
    })
    .await;
    assert_eq!(cleared["peak"]["value"], 5.5);
    assert_eq!(
        cleared["status"], "reported",
        "a person closes an incident, not a sensor"
    );

    // The next flood is another incident.
    sensor.level("river-01", 4.8).await;
    evaluated(&node, &mut sensor, "river-marker-last").await;
    assert_eq!(incidents_of(&node, "river-01").await.len(), 2);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_before_approval_is_never_evaluated() {
    let node = Node::start().await;
    node.create(Kind::Rule, high_water()).await;
    let mut sensor = Sensor::connect(&node).await;
    sensor.level("river-new", 7.0).await;
    evaluated(&node, &mut sensor, "river-marker-1").await;
    assert!(incidents_of(&node, "river-new").await.is_empty());

    let devices = node.list(Kind::Device).await;
    let unknown = devices
        .iter()
        .find(|device| device["name"] == "river-new")
        .unwrap();
    assert_eq!(unknown["state"], "unknown");
    assert!(unknown["last_seen"].is_string(), "{unknown}");

    node.approve("river-new").await;
    evaluated(&node, &mut sensor, "river-marker-2").await;
    assert!(incidents_of(&node, "river-new").await.is_empty());
    sensor.level("river-new", 7.1).await;
    assert_eq!(
        incident_of(&node, "river-new").await["title"],
        "High water at river-new: 7.1 m"
    );
    node.stop().await;
}

/// Reads `radar/<device>` by a script, whose result is the level; `before` is done first.
async fn use_script(node: &Node, before: &str) {
    let source = format!(
        "function decodeUplink(input) {{ {before} return {{ data: {{ level: input.bytes[0] }} }}; }}"
    );
    let entries = json!([{
        "topic": "radar/+", "format": "script", "device": "{2}", "script": { "source": source },
    }]);
    let entries = serde_json::from_value(entries).unwrap();
    node.app
        .use_decoders(entries, std::path::Path::new("."))
        .await
        .unwrap();
}

/// The only dead letter, once it is in that state.
async fn letter_that_is(node: &Node, state: &str) -> Value {
    eventually("the dead letter", || async {
        match node.dead_letters().await.as_slice() {
            [letter] if letter["state"] == state => Ok(letter.clone()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_in_a_message_that_the_node_can_read_only_a_moment_later_is_raised() {
    let node = Node::start().await;
    node.create(Kind::Rule, high_water()).await;
    node.approve("river-01").await;
    // Too slow by the clock: few steps, each of which compares a megabyte.
    let slow = "const a = 'x'.repeat(1e6) + '1', b = 'x'.repeat(1e6) + '2'; while (a !== b);";
    use_script(&node, slow).await;
    let mut sensor = Sensor::connect(&node).await;
    sensor.raw.publish("radar/river-01", &[9], 1, false).await;
    let letter = letter_that_is(&node, "open").await;
    assert!(letter["retry_at"].is_string(), "{letter}");
    use_script(&node, "").await;
    let raised = incident_of(&node, "river-01").await;
    assert_eq!(raised["peak"]["value"], 9.0);
    letter_that_is(&node, "replayed").await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_replays_is_stored_and_raises_nothing() {
    let node = Node::start().await;
    node.create(Kind::Rule, high_water()).await;
    node.approve("river-01").await;
    let mut sensor = Sensor::connect(&node).await;
    sensor.raw.publish("radar/river-01", &[9], 900, false).await;
    let letter = letter_that_is(&node, "open").await;
    assert_eq!(letter["retry_at"], Value::Null);
    use_script(&node, "").await;
    let id = letter["id"].as_str().unwrap();
    node.app
        .replay_dead_letter(&Caller::socket(), id)
        .await
        .unwrap();
    assert_eq!(node.count("river-01").await, 1);
    evaluated(&node, &mut sensor, "river-marker").await;
    assert!(incidents_of(&node, "river-01").await.is_empty());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_is_switched_off_is_quiet_from_then_on() {
    let node = Node::start().await;
    let rule = node.create(Kind::Rule, high_water()).await;
    let mut marker_rule = high_water();
    marker_rule["match"] = json!({"device": "river-marker*", "channel": "level"});
    node.create(Kind::Rule, marker_rule).await;
    node.approve("river-01").await;
    node.patch(Kind::Rule, &rule, json!({"enabled": false}))
        .await;
    let mut sensor = Sensor::connect(&node).await;
    sensor.level("river-01", 6.0).await;
    evaluated(&node, &mut sensor, "river-marker").await;
    assert!(incidents_of(&node, "river-01").await.is_empty());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_ends_although_its_rule_was_switched_off_or_deleted_meanwhile() {
    let node = Node::start().await;
    let mut marker_rule = high_water();
    marker_rule["match"] = json!({"device": "marker", "channel": "level"});
    node.create(Kind::Rule, marker_rule).await;
    let mut sensor = Sensor::connect(&node).await;
    let mut rules = Vec::new();
    for device in ["river-off", "river-gone"] {
        let mut rule = high_water();
        rule["match"]["device"] = json!(device);
        rules.push(node.create(Kind::Rule, rule).await);
        node.approve(device).await;
        sensor.level(device, 6.0).await;
        incident_of(&node, device).await;
    }
    node.patch(Kind::Rule, &rules[0], json!({"enabled": false}))
        .await;
    let caller = Caller::socket();
    let id = rules[1]["id"].as_str().unwrap();
    let version = rules[1]["version"].as_str();
    node.app
        .delete(&caller, Kind::Rule, id, version)
        .await
        .unwrap();
    let node = node.restart().await;
    let mut sensor = Sensor::connect(&node).await;
    for device in ["river-off", "river-gone"] {
        sensor.level(device, 2.0).await;
        sensor.level(device, 7.0).await;
    }
    evaluated(&node, &mut sensor, "marker").await;
    for device in ["river-off", "river-gone"] {
        let ended = incident_of(&node, device).await;
        assert!(ended["cleared_at"].is_string(), "{ended}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_incident_does_not_hold_up_the_others() {
    let node = Node::start().await;
    node.create(Kind::Rule, high_water()).await;
    node.approve("river-01").await;
    let mut sensor = Sensor::connect(&node).await;
    sensor.level("river-01", 6.0).await;
    let incident = incident_of(&node, "river-01").await;
    let (id, version) = (
        incident["id"].as_str().unwrap(),
        incident["version"].as_str(),
    );
    node.app
        .delete(&Caller::socket(), Kind::Incident, id, version)
        .await
        .unwrap();
    // Its clearing has no document to go to.
    sensor.level("river-01", 1.0).await;
    evaluated(&node, &mut sensor, "river-marker").await;
    sensor.level("river-01", 6.5).await;
    incident_of(&node, "river-01").await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sensor_that_falls_silent_is_an_incident_until_it_speaks_again() {
    let node = Node::start().await;
    let rule = json!({
        "name": "silent", "kind": "no_data", "after_s": 5,
        "match": {"device": "river-*", "channel": "*"},
        "incident": {"title": "{device} has been silent for {value} s"},
    });
    node.create(Kind::Rule, rule).await;
    node.approve("river-01").await;
    node.approve("river-02").await;
    let mut sensor = Sensor::connect(&node).await;
    sensor.level("river-01", 2.0).await;
    let raised = incident_of(&node, "river-01").await;
    assert_eq!(raised["source"]["channel"], "*");
    assert!(raised["peak"]["value"].as_f64().unwrap() >= 5.0, "{raised}");
    assert!(
        incidents_of(&node, "river-02").await.is_empty(),
        "what was never heard is not silent"
    );
    sensor.level("river-01", 2.1).await;
    eventually("its end", || async {
        let [incident] = &incidents_of(&node, "river-01").await[..] else {
            panic!("more than one incident")
        };
        let cleared = !incident["cleared_at"].is_null();
        cleared.then_some(()).ok_or(incident.to_string())
    })
    .await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_that_comes_back_goes_on_in_its_incident_unless_a_person_closed_it() {
    let node = Node::start().await;
    let mut rule = high_water();
    rule["reopen_s"] = json!(3600);
    rule["severities"] = json!([{"level": 6, "severity": "extreme"}]);
    node.create(Kind::Rule, rule).await;
    node.approve("river-01").await;
    let mut sensor = Sensor::connect(&node).await;
    for metres in [5.0, 2.0, 6.5] {
        sensor.level("river-01", metres).await;
    }
    evaluated(&node, &mut sensor, "river-marker-1").await;
    let again = incident_of(&node, "river-01").await;
    assert!(again["cleared_at"].is_null(), "{again}");
    assert_eq!(
        (&again["peak"]["value"], &again["severity"]),
        (&json!(6.5), &json!("extreme"))
    );

    node.patch(Kind::Incident, &again, json!({"status": "closed"}))
        .await;
    for metres in [2.0, 5.0, 5.5, 2.0] {
        sensor.level("river-01", metres).await;
    }
    evaluated(&node, &mut sensor, "river-marker-2").await;
    let mut incidents = incidents_of(&node, "river-01").await;
    incidents.retain(|incident| incident["id"] != again["id"]);
    let [fresh] = &incidents[..] else {
        panic!("{incidents:?}")
    };
    assert_eq!(fresh["status"], "reported");
    assert!(
        fresh["cleared_at"].is_string(),
        "its end is its own: {fresh}"
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_run_tells_what_a_rule_would_have_done_and_does_nothing() {
    let node = Node::start().await;
    node.approve("river-01").await;
    let mut raw = Raw::connect(&node, Connect::default()).await.0;
    let now_ms = jiff::Timestamp::now().as_millisecond();
    // Every ten minutes of the last day: three floods, the last of which goes on.
    for n in 0..144_u16 {
        let flood = (20..30).contains(&n) || (60..70).contains(&n) || n > 130;
        let metres = if flood {
            4.0 + f64::from(n) / 100.0
        } else {
            2.0
        };
        let at_ms = now_ms - i64::from(144 - n) * 600_000;
        let payload = json!({"v": metres, "t": at_ms}).to_string();
        raw.publish("muster/v1/river-01/level", payload.as_bytes(), n + 1, false)
            .await;
    }
    let mut rule = high_water();
    rule["enabled"] = json!(false);
    let rule = rule.as_object().unwrap().clone();
    let run = node
        .app
        .test_rule(&Caller::socket(), &rule, TestRange::default())
        .await
        .unwrap();
    assert_eq!(
        (&run["fired"], &run["readings"]),
        (&json!(3), &json!(144)),
        "{run}"
    );
    assert_eq!(run["truncated"], false);
    assert!(run.get("values").is_none(), "{run}");
    let with_values = TestRange {
        values: true,
        ..since(now_ms - 24 * 3_600_000)
    };
    let seen = node
        .app
        .test_rule(&Caller::socket(), &rule, with_values)
        .await
        .unwrap();
    assert_eq!(seen["values"][0]["device"], "river-01");
    let points = seen["values"][0]["points"].as_array().unwrap();
    assert_eq!(points.len(), 144);
    assert!(points.iter().any(|point| point[3] == 4.29), "{points:?}");
    let firings = run["firings"].as_array().unwrap();
    assert_eq!(firings[0]["peak"]["value"], 4.29);
    assert!(firings[1]["cleared_at"].is_string() && firings[2]["cleared_at"].is_null());
    let half = node
        .app
        .test_rule(&Caller::socket(), &rule, since(now_ms - 12 * 3_600_000))
        .await
        .unwrap();
    assert_eq!(half["fired"], 1);
    // The gauge was silent for a while in the morning, of which a rule about silence would have told.
    for n in (0..144_u16).filter(|n| !(50..80).contains(n)) {
        let at_ms = now_ms - i64::from(144 - n) * 600_000;
        let payload = json!({"v": 1, "t": at_ms}).to_string();
        raw.publish("muster/v1/river-01/rain", payload.as_bytes(), n + 1, false)
            .await;
    }
    let silence = json!({
        "name": "silent", "kind": "no_data", "after_s": 3600,
        "match": {"device": "river-*", "channel": "rain"}, "incident": {"title": "{device}"},
    });
    let silence = silence.as_object().unwrap();
    let day_ms = 24 * 3_600_000;
    let run = node
        .app
        .test_rule(&Caller::socket(), silence, since(now_ms - day_ms))
        .await
        .unwrap();
    assert_eq!(run["fired"], 1, "{run}");
    // In the days before it was first heard nobody missed it.
    let week = node
        .app
        .test_rule(&Caller::socket(), silence, TestRange::default())
        .await
        .unwrap();
    assert_eq!(week["fired"], 1, "{week}");
    let firing = &run["firings"][0];
    let time_ms = |name: &str| {
        let at: jiff::Timestamp = firing[name].as_str().unwrap().parse().unwrap();
        now_ms - at.as_millisecond()
    };
    // After the 49th reading and an hour; and with the 80th.
    let raised_ms = 95 * 600_000 - 3_600_000 - time_ms("raised_at");
    assert!((0..10_000).contains(&raised_ms), "{firing}");
    assert_eq!(time_ms("cleared_at") / 1000, 64 * 600);
    assert!(node.list(Kind::Incident).await.is_empty());
    assert!(node.list(Kind::Rule).await.is_empty());

    let mut wrong = rule.clone();
    wrong.insert("clear_below".into(), json!(9));
    let refused = node
        .app
        .test_rule(&Caller::socket(), &wrong, TestRange::default())
        .await;
    assert!(
        matches!(&refused, Err(node::app::AppError::Invalid(errors)) if errors[0].pointer == "/rule/clear_below"),
        "{refused:?}"
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_alarm_that_two_nodes_raised_is_shown_as_one_on_both() {
    const WAIT: std::time::Duration = std::time::Duration::from_secs(30);
    let hq = Node::start().await;
    let settings = || node::app::SyncSettings {
        listen: "127.0.0.1:0".parse().unwrap(),
        peers: Vec::new(),
        advertise: Vec::new(),
        mdns: false,
    };
    hq.app.start_sync(settings()).await.unwrap();
    let code = hq
        .app
        .invite(&Caller::socket(), "field", None, WAIT)
        .await
        .unwrap();
    let dir = tempfile::TempDir::new().unwrap();
    node::app::founding::join(
        dir.path(),
        &node::app::KeySource::DataDir,
        code["code"].as_str().unwrap(),
        "Truck".into(),
        WAIT,
    )
    .await
    .unwrap();
    let truck = Node::member_in(dir).await;
    truck.app.start_sync(settings()).await.unwrap();
    hq.create(Kind::Rule, high_water()).await;
    hq.approve("river-01").await;
    eventually("the truck has the rule and the device", || async {
        let both = (
            truck.list(Kind::Rule).await.len(),
            truck.list(Kind::Device).await.len(),
        );
        if both == (1, 1) {
            Ok(())
        } else {
            Err(format!("{both:?}"))
        }
    })
    .await;
    // Both hear the gauge; the second flood is another incident.
    for node in [&hq, &truck] {
        Sensor::connect(node).await.level("river-01", 5.0).await;
    }
    let shown = |node: &Node| {
        let app = std::sync::Arc::clone(&node.app);
        async move {
            let query = node::app::ListQuery::default();
            let kind = RecordKind::Document(Kind::Incident);
            let mut items = app
                .list(&Caller::socket(), kind, query)
                .await
                .unwrap()
                .items;
            items.retain(|item| item["source"]["device"] == "river-01");
            items.sort_by_key(|item| item["id"].as_str().unwrap().to_owned());
            items
        }
    };
    for node in [&hq, &truck] {
        let (head, other) = eventually("both incidents", || async {
            match <[Value; 2]>::try_from(shown(node).await) {
                Ok([head, other]) => Ok((head, other)),
                Err(items) => Err(format!("{} incidents", items.len())),
            }
        })
        .await;
        assert_eq!(head["folds"], json!([other["id"]]));
        assert_eq!(head["folded_into"], Value::Null);
        assert_eq!(other["folded_into"], head["id"]);
        let nodes: Vec<&Value> = head["evidence"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| &e["node"])
            .collect();
        assert_eq!(nodes.len(), 2);
        assert_ne!(nodes[0], nodes[1]);
    }
    // It is over when it is over for both, whichever of them shows it.
    let mut at_hq = Sensor::connect(&hq).await;
    at_hq.level("river-01", 1.0).await;
    evaluated(&hq, &mut at_hq, "river-marker").await;
    let head = shown(&hq).await.swap_remove(0);
    assert_eq!(head["cleared_at"], Value::Null, "{head}");
    Sensor::connect(&truck).await.level("river-01", 1.0).await;
    for node in [&hq, &truck] {
        eventually("the end of both", || async {
            let head = shown(node).await.swap_remove(0);
            let ended = head["cleared_at"].is_string();
            ended.then_some(()).ok_or(head.to_string())
        })
        .await;
    }
    hq.stop().await;
    truck.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn battery_and_signal_are_shown_beside_the_device_and_survive_a_restart() {
    let node = Node::start().await;
    node.approve("river-01").await;
    let mut raw = Raw::connect(&node, Connect::default()).await.0;
    raw.publish(
        "muster/v1/river-01/battery_pct",
        b"{\"v\":83.5,\"u\":\"%\"}",
        1,
        false,
    )
    .await;
    raw.publish("muster/v1/river-01/rssi_dbm", b"-71", 2, false)
        .await;
    drop(raw);
    let check = async |node: &Node| {
        let [device] = node.list(Kind::Device).await.try_into().unwrap();
        assert_eq!(device["battery_pct"], 83.5);
        assert_eq!(device["rssi_dbm"], -71.0);
        assert!(device["last_seen"].is_string());
    };
    check(&node).await;
    let node = node.restart().await;
    check(&node).await;
    node.stop().await;
}
