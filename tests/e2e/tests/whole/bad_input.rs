//! Mistakes and strangers: each is told apart, and nothing else suffers.

use std::time::Duration;

use e2e::mqtt::Publisher;
use e2e::node::{Node, agree, muster, run_to_end};
use e2e::wait::until;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_on_a_data_directory_says_who_holds_it() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let mut node = Node::found(&place.path().join("node"), "HQ").await?;
    let second = node
        .command(&[
            "run",
            "--listen",
            "127.0.0.1:0",
            "--mqtt-listen",
            "127.0.0.1:0",
        ])
        .await?;
    assert_eq!(second.code, Some(1));
    let holder = node.pid().unwrap_or_default().to_string();
    assert!(
        second.stderr.contains(&holder),
        "the process {holder} is not named: {}",
        second.stderr
    );
    assert!(node.runs());
    assert_eq!(node.status().await?["name"], "HQ");
    node.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_settings_are_named_wherever_they_stand() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let node = Node::at(&place.path().join("node"), "HQ").await?;
    let init = ["init", "--name", "HQ"];
    node.command(&init).await?.success()?;

    let file = node.dir.join("muster.toml");
    std::fs::write(&file, "lisen = \"127.0.0.1:0\"\n")?;
    let in_file = node.command(&["run"]).await?;
    assert_eq!(in_file.code, Some(1));
    assert!(
        in_file.stderr.contains("lisen") && in_file.stderr.contains("muster.toml"),
        "{}",
        in_file.stderr
    );
    std::fs::remove_file(&file)?;

    let mut run = muster(&["run", "--data-dir"]);
    run.arg(&node.dir).env("MUSTER_LISEN", "127.0.0.1:0");
    let in_environment = run_to_end(run).await?;
    assert_eq!(in_environment.code, Some(1));
    assert!(
        in_environment.stderr.contains("MUSTER_LISEN"),
        "{}",
        in_environment.stderr
    );

    for wrong in [
        &["run", "--lisen", "127.0.0.1:0"][..],
        &["fly"],
        &["run", "--listen", "here"],
    ] {
        assert_eq!(node.command(wrong).await?.code, Some(2), "{wrong:?}");
    }
    let twice = node.command(&init).await?;
    assert_eq!(twice.code, Some(1));
    assert!(twice.stderr.contains("already"), "{}", twice.stderr);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_used_or_late_invitation_is_refused_and_a_good_one_still_works()
-> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let hq = Node::found(&place.path().join("hq"), "HQ").await?;
    let mut truck = Node::at(&place.path().join("truck"), "Truck").await?;
    let join = |code: String| {
        let truck = &truck;
        async move {
            truck
                .command(&["join", &code, "--name", "Truck", "--timeout", "10"])
                .await
        }
    };

    let good = hq.invite().await?;
    // One character of the code is another one.
    let last = good.len() - 1;
    let other = if good.ends_with('7') { "8" } else { "7" };
    let misread = join(format!("{}{other}", &good[..last])).await?;
    assert_eq!(misread.code, Some(1));
    let nonsense = join("MUSTER".into()).await?;
    assert_eq!(nonsense.code, Some(1));
    let late = hq
        .command(&["invite", "--ttl", "1s", "--json"])
        .await?
        .json()?;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let late = join(late["code"].as_str().unwrap_or_default().to_owned()).await?;
    assert_eq!(late.code, Some(1), "{late:?}");
    let unjoined = truck.command(&["run", "--no-found"]).await?;
    assert_eq!(unjoined.code, Some(1), "{unjoined:?}");

    join(good.clone()).await?.success()?;
    let twice = join(good.clone()).await?;
    assert_eq!(twice.code, Some(1));
    let boat = Node::at(&place.path().join("boat"), "Boat").await?;
    let used = boat
        .command(&["join", &good, "--name", "Boat", "--timeout", "10"])
        .await?;
    assert_eq!(used.code, Some(1));
    assert!(used.stderr.contains("used"), "{}", used.stderr);

    truck.start().await?;
    agree(&[&hq, &truck]).await?;
    assert_eq!(
        hq.status().await?["peers"].as_array().map(Vec::len),
        Some(1),
        "only the truck is a member"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_operation_is_refused_and_counted() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let hq = Node::found(&place.path().join("hq"), "HQ").await?;
    let api = hq.api().await?;
    api.post(
        "/v1/incidents",
        json!({ "title": "Ours", "category": "Fire" }),
    )
    .await?;
    let digest = hq.status().await?["heads_digest"].clone();

    let mut stranger = Node::found(&place.path().join("stranger"), "Stranger").await?;
    stranger.stop().await?;
    stranger.words = vec!["--peer".into(), hq.as_peer()];
    stranger.start().await?;
    let refusals = until("HQ counts the refusal", || async {
        let metrics = api
            .request(Method::GET, "/metrics")
            .send()
            .await?
            .text()
            .await?;
        Ok(refused(&metrics))
    })
    .await?;
    assert!(refusals >= 1.0);
    let theirs = stranger.api().await?;
    assert_eq!(theirs.all("/v1/incidents").await?, Vec::<Value>::new());
    assert_eq!(hq.status().await?["heads_digest"], digest);
    let connected = |status: &Value| {
        status["peers"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|peer| peer["state"] == "connected")
    };
    assert!(!connected(&hq.status().await?) && !connected(&stranger.status().await?));
    Ok(())
}

/// The sum of what sync refused, if anything.
fn refused(metrics: &str) -> Option<f64> {
    let sum: f64 = metrics
        .lines()
        .filter(|line| line.starts_with("muster_sync_refused_total"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    (sum > 0.0).then_some(sum)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_payload_is_kept_with_its_bytes_and_acknowledged() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let mut node = Node::found(&place.path().join("node"), "HQ").await?;
    let mut sensor = Publisher::connect(node.addresses().mqtt, "sensor").await?;
    let messages: [(&str, &[u8]); 4] = [
        ("muster/v1/gauge/level", b"3.2"),
        ("muster/v1/gauge/level", b"\xff\x00 wet"),
        ("zigbee2mqtt/lamp", b"on"),
        ("muster/v1/gauge/level", b"3.3"),
    ];
    for (id, (topic, payload)) in (1..).zip(messages) {
        sensor.publish(topic, payload, id, false).await?;
        sensor.flush().await?;
        assert_eq!(sensor.puback().await?, id, "{topic}");
    }
    let series = node.api().await?.get("/v1/series?device=gauge").await?;
    assert_eq!(series["items"][0]["count"], 2);

    let list = node.command(&["dlq", "list", "--json"]).await?.json()?;
    let letters = list["items"].as_array().cloned().unwrap_or_default();
    assert_eq!(letters.len(), 2, "{list}");
    let wet = letters
        .iter()
        .find(|letter| letter["topic"] == "muster/v1/gauge/level")
        .cloned()
        .unwrap_or_default();
    assert_eq!(wet["payload_base64"], "/wAgd2V0");
    assert_eq!(wet["state"], "open");
    // The same letters answer where no node runs.
    node.stop().await?;
    assert_eq!(
        node.command(&["dlq", "list", "--json"]).await?.json()?["items"],
        list["items"]
    );
    let id = wet["id"].as_str().unwrap_or_default();
    let again = node.command(&["dlq", "replay", id]).await?;
    assert_eq!(
        node.command(&["dlq", "show", id, "--json"]).await?.json()?["state"],
        "open",
        "{again:?}"
    );
    node.command(&["dlq", "discard", id]).await?.success()?;
    assert_eq!(
        node.command(&["dlq", "show", id, "--json"]).await?.json()?["state"],
        "discarded"
    );
    let kind = node
        .command(&["dlq", "discard", "--topic", "lamp", "--json"])
        .await?;
    assert_eq!(kind.json()?["settled"], 1);
    let open = node
        .command(&["dlq", "list", "--state", "open", "--json"])
        .await?;
    assert_eq!(open.json()?["items"], serde_json::json!([]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_told_what_is_wrong() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let node = Node::found(&place.path().join("node"), "HQ").await?;
    let api = node.api().await?;
    let incidents = || api.request(Method::POST, "/v1/incidents");
    let unreadable = api
        .ask(
            incidents()
                .header("content-type", "application/json")
                .body("{"),
        )
        .await?;
    assert_eq!(unreadable.status, StatusCode::BAD_REQUEST);
    let wrong = json!({ "title": 7, "category": "Plague", "colour": "red" });
    let refused = api.ask(incidents().json(&wrong)).await?;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let mut pointers: Vec<&str> = refused.body["errors"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|error| error["pointer"].as_str())
        .collect();
    pointers.sort_unstable();
    assert_eq!(pointers, ["/category", "/colour", "/title"]);
    let nobody = reqwest::get(format!("http://{}/v1/incidents", node.addresses().http)).await?;
    assert_eq!(nobody.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(api.all("/v1/incidents").await?, Vec::<Value>::new());
    Ok(())
}
