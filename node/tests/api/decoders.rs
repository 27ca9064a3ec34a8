//! Decoders: listed, added, tried out, refused with reasons.

use data_encoding::BASE64;
use node::app::Caller;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Node, send};

/// On top of what is there now.
async fn put(node: &Node, body: Value) -> Answer {
    let version = version(node).await;
    put_over(node, &version, body).await
}

async fn put_over(node: &Node, version: &str, body: Value) -> Answer {
    let request = node
        .signed(Method::PUT, "/v1/decoders")
        .header("if-match", format!("\"{version}\""));
    send(request.json(&body)).await
}

async fn version(node: &Node) -> String {
    let listed = node.get("/v1/decoders").await.expect(200);
    assert_eq!(listed.header("etag"), format!("\"{}\"", listed.version()));
    listed.version().to_owned()
}

/// Topics of what was added.
async fn added(node: &Node) -> Vec<String> {
    let listed = node.get("/v1/decoders").await.expect(200);
    let items = listed.body["items"].as_array().cloned().unwrap_or_default();
    let added = items.iter().filter(|item| item["origin"] == "api");
    let topics = added.filter_map(|item| item["topic"].as_str());
    topics.map(str::to_owned).collect()
}

async fn try_out(node: &Node, topic: &str, payload: &[u8]) -> Answer {
    let body = json!({ "topic": topic, "payload_base64": BASE64.encode(payload) });
    node.post("/v1/decoders/try", body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decoder_is_added_tried_out_and_there_at_the_next_look() {
    let node = Node::start().await;
    let before = node.get("/v1/decoders").await.expect(200);
    assert_eq!(before.body["items"][0]["origin"], "built-in");
    let script =
        "function decodeUplink(input) { return { data: { level: input.bytes[0] / 10 } }; }";
    let entry = json!({
        "topic": "radar/+/raw", "format": "script", "device": "{2}", "script": { "source": script }
    });
    let added = put(&node, json!({ "items": [entry] })).await.expect(200);
    assert_eq!(added.body["items"][1]["origin"], "api", "{}", added.body);
    assert_eq!(added.body["items"][1]["entry"]["topic"], "radar/+/raw");

    let tried = try_out(&node, "radar/bridge/raw", &[25]).await.expect(200);
    let device = &tried.body["devices"][0];
    assert_eq!(device["device"], "bridge", "{}", tried.body);
    assert_eq!(device["readings"][0]["channel"], "level");
    assert_eq!(device["readings"][0]["value"], 2.5);
    assert_eq!(tried.body["warnings"], json!([]));
    let unknown = try_out(&node, "elsewhere/x", b"1").await.expect(422);
    assert!(
        unknown.body["errors"][0]["detail"]
            .as_str()
            .unwrap_or("")
            .contains("[[decoders]]")
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_script_warns_of_is_told_to_who_tries_it() {
    let node = Node::start().await;
    let script = "function decodeUplink() { return { data: { v: 1 }, warnings: ['battery low', 'old firmware'] }; }";
    let entry = json!({
        "topic": "radar/+/raw", "format": "script", "device": "{2}", "script": { "source": script }
    });
    put(&node, json!({ "items": [entry] })).await.expect(200);
    let tried = try_out(&node, "radar/bridge/raw", &[25]).await.expect(200);
    let warnings = json!(["battery low", "old firmware"]);
    assert_eq!(tried.body["warnings"], warnings, "{}", tried.body);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_does_not_fit_is_named_and_changes_nothing() {
    let node = Node::start().await;
    let good = json!({ "topic": "tele/+/SENSOR", "format": "tasmota" });
    for (bad, pointer) in [
        (json!({ "topic": "x/#/y", "format": "tasmota" }), "/items/1"),
        (json!({ "topic": "x/#", "format": "telepathy" }), "/items/1"),
        (
            json!({ "topic": "x/#", "format": "script", "device": "x", "script": { "file": "/etc/passwd" } }),
            "/items/1",
        ),
    ] {
        let refused = put(&node, json!({ "items": [good, bad] }))
            .await
            .expect(422);
        assert_eq!(refused.pointers(), [pointer], "{}", refused.body);
    }
    put(&node, json!({})).await.expect(422);
    let listed = node.get("/v1/decoders").await.expect(200);
    assert_eq!(listed.body["items"].as_array().map(Vec::len), Some(1));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_was_made_from_an_older_one_takes_nothing_away() {
    let node = Node::start().await;
    let tasmota = json!({ "topic": "tele/#", "format": "tasmota" });
    let plain =
        json!({ "topic": "site/+/+", "format": "plain", "device": "{2}", "channel": "{3}" });
    let seen = version(&node).await;
    let first = put_over(&node, &seen, json!({ "items": [tasmota] }))
        .await
        .expect(200);
    assert_ne!(first.version(), seen);
    assert_eq!(first.header("etag"), format!("\"{}\"", first.version()));

    let late = put_over(&node, &seen, json!({ "items": [plain] }))
        .await
        .expect(412);
    assert_eq!(late.code(), "version-stale", "{}", late.body);
    assert_eq!(added(&node).await, ["tele/#"]);

    // What is wrong with it may be from the older list, where somebody has removed it since.
    let of_another_version = json!({ "topic": "x/#", "format": "telepathy" });
    let late = put_over(&node, &seen, json!({ "items": [of_another_version] }))
        .await
        .expect(412);
    assert_eq!(late.code(), "version-stale", "{}", late.body);

    put_over(&node, first.version(), json!({ "items": [tasmota, plain] }))
        .await
        .expect(200);
    assert_eq!(added(&node).await, ["tele/#", "site/+/+"]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_put_again_because_its_answer_was_lost_is_answered_and_written_once() {
    let node = Node::start().await;
    let seen = version(&node).await;
    let list = json!({ "items": [{ "topic": "tele/#", "format": "tasmota" }] });
    let first = put_over(&node, &seen, list.clone()).await.expect(200);
    let again = put_over(&node, &seen, list).await.expect(200);
    assert_eq!(again.version(), first.version());
    assert_eq!(again.body["items"], first.body["items"]);
    let records = node.get("/v1/audit").await.expect(200);
    let records = records.body["items"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let puts = records.iter().filter(|it| it["action"] == "decoders.put");
    assert_eq!(puts.count(), 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_no_longer_fits_the_configuration_is_shown_and_stays_until_somebody_removes_it() {
    let node = Node::start().await;
    let configure = async |entries: Value| {
        let entries = serde_json::from_value(entries).expect("decoders");
        let directory = std::path::Path::new(".");
        let used = node.app.use_decoders(entries, directory).await;
        used.expect("a configuration that fits");
    };
    let tasmota = json!({ "topic": "tele/+/SENSOR", "format": "tasmota" });
    let mesh = json!({ "topic": "msh/#", "format": "meshtastic" });
    put(&node, json!({ "items": [tasmota, mesh] }))
        .await
        .expect(200);
    let before = version(&node).await;

    // As after a restart with another muster.toml.
    configure(json!([{ "topic": "tele/#", "format": "ignore" }])).await;
    let listed = node.get("/v1/decoders").await.expect(200);
    let items = &listed.body["items"];
    assert_eq!(items[2]["topic"], "tele/+/SENSOR");
    assert!(
        items[2]["problem"]
            .as_str()
            .is_some_and(|why| why.contains("tele/#")),
        "{items}"
    );
    assert_eq!(
        (&items[3]["topic"], &items[3]["problem"]),
        (&json!("msh/#"), &Value::Null)
    );
    assert_eq!(listed.version(), before);
    let warned = node.get("/v1/status").await.expect(200);
    assert_eq!(warned.body["warnings"][0]["code"], "decoders-unfit");
    // It may stay beside another one; one that does not fit is not taken anew.
    let another = json!({ "topic": "zigbee2mqtt/#", "format": "zigbee2mqtt" });
    put(&node, json!({ "items": [tasmota, mesh, another] }))
        .await
        .expect(200);
    assert_eq!(
        added(&node).await,
        ["tele/+/SENSOR", "msh/#", "zigbee2mqtt/#"]
    );
    let changed = json!({ "topic": "tele/+/STATE", "format": "tasmota" });
    let refused = put(&node, json!({ "items": [changed, mesh] }))
        .await
        .expect(422);
    assert_eq!(refused.pointers(), ["/items/0"], "{}", refused.body);

    configure(json!([])).await;
    let listed = node.get("/v1/decoders").await.expect(200);
    assert_eq!(listed.body["items"][1]["problem"], Value::Null);
    let status = node.get("/v1/status").await.expect(200);
    assert_eq!(status.body["warnings"], json!([]));
    configure(json!([{ "topic": "tele/#", "format": "ignore" }])).await;
    put(&node, json!({ "items": [mesh] })).await.expect(200);
    assert_eq!(added(&node).await, ["msh/#"]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_lists_that_are_put_at_once_over_the_same_one_only_one_is_taken() {
    let node = Node::start().await;
    let seen = version(&node).await;
    let puts = (0..8).map(|number| {
        let entry = json!({ "topic": format!("tele/{number}/#"), "format": "tasmota" });
        put_over(&node, &seen, json!({ "items": [entry] }))
    });
    let answers = futures::future::join_all(puts).await;
    let mut statuses: Vec<u16> = answers.iter().map(|it| it.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [[200].as_slice(), &[412; 7]].concat());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_without_the_version_that_it_was_made_from_is_refused() {
    let node = Node::start().await;
    let entry = json!({ "topic": "tele/#", "format": "tasmota" });
    let request = node.signed(Method::PUT, "/v1/decoders");
    let refused = send(request.json(&json!({ "items": [entry] })))
        .await
        .expect(428);
    assert_eq!(refused.code(), "version-missing");
    assert_eq!(added(&node).await, Vec::<String>::new());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_whose_sender_went_away_is_in_use_where_it_is_on_the_disk() {
    let node = Node::start().await;
    let seen = version(&node).await;
    let Value::Object(list) = json!({ "items": [{ "topic": "tele/#", "format": "tasmota" }] })
    else {
        panic!("an object");
    };
    let caller = Caller::socket();
    let mut put = Box::pin(node.app.put_decoders(&caller, Some(&seen), list));
    // It is on its way to the disk, and nobody waits for it any more.
    assert!(futures::poll!(put.as_mut()).is_pending());
    drop(put);
    let mut tries = 0;
    while added(&node).await != ["tele/#"] {
        tries += 1;
        assert!(tries < 500, "it never came into use");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    node.stop().await;
}
