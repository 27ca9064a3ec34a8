//! The command line: the same answers whether or not the node runs.

use e2e::PASSWORD;
use e2e::api::Api;
use e2e::node::{Node, agree, muster, run_to_end};
use e2e::wait::until;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn commands_answer_whether_or_not_the_node_runs() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let mut node = Node::found(&place.path().join("node"), "HQ").await?;
    let api = node.api().await?;
    api.post(
        "/v1/incidents",
        json!({ "title": "Smoke", "category": "Fire" }),
    )
    .await?;

    let running = node.status().await?;
    assert_eq!(running["addresses"]["http"], json!(node.addresses().http));
    let users = node.command(&["user", "list", "--json"]).await?.json()?;
    node.command(&["invite"]).await?.success()?;
    node.stop().await?;

    let resting = node.status().await?;
    for same in ["node_id", "name", "heads_digest", "documents", "operation"] {
        assert_eq!(resting[same], running[same], "{same}");
    }
    assert!(resting["addresses"].is_null());
    assert_eq!(
        node.command(&["user", "list", "--json"]).await?.json()?,
        users
    );
    assert_eq!(
        node.command(&["dlq", "list", "--json"]).await?.json()?["items"],
        json!([])
    );
    node.command(&["rebuild"]).await?.success()?;
    let invite = node.command(&["invite"]).await?;
    assert_eq!(invite.code, Some(1));
    assert!(
        invite.stderr.contains("muster run"),
        "it says what to do: {}",
        invite.stderr
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_is_added_on_one_node_signs_in_on_another() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let mut hq = Node::found(&place.path().join("hq"), "HQ").await?;
    let truck = Node::join(&place.path().join("truck"), "Truck", &hq).await?;
    let with_password = |words: &[&str], password: &str, node: &Node| {
        let mut command = muster(words);
        command
            .arg("--data-dir")
            .arg(&node.dir)
            .env("MUSTER_PASSWORD", password);
        command
    };
    // At rest, so that it must travel later.
    hq.stop().await?;
    run_to_end(with_password(
        &["user", "add", "lena"],
        "over the bridge again",
        &hq,
    ))
    .await?
    .success()?;
    hq.start().await?;
    agree(&[&hq, &truck]).await?;
    Api::sign_in_as(truck.addresses().http, "lena", "over the bridge again").await?;

    run_to_end(with_password(
        &["user", "passwd", "lena"],
        "under the bridge at last",
        &truck,
    ))
    .await?
    .success()?;
    agree(&[&hq, &truck]).await?;
    Api::sign_in_as(hq.addresses().http, "lena", "under the bridge at last").await?;
    assert!(
        Api::sign_in_as(hq.addresses().http, "lena", "over the bridge again")
            .await
            .is_err()
    );
    let short = run_to_end(with_password(&["user", "add", "max"], "a", &hq)).await?;
    assert_eq!(short.code, Some(1), "{short:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sync_with_wait_ends_when_the_other_has_everything() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let mut hq = Node::found(&place.path().join("hq"), "HQ").await?;
    let mut truck = Node::join(&place.path().join("truck"), "Truck", &hq).await?;
    truck
        .api()
        .await?
        .post("/v1/notes", json!({ "text": "Road is open" }))
        .await?;
    let synced = truck
        .command(&["sync", "HQ", "--wait", "--json"])
        .await?
        .json()?;
    assert_eq!(synced["complete"], true);
    assert_eq!(
        hq.status().await?["heads_digest"],
        truck.status().await?["heads_digest"]
    );

    // A truck whose node does not run becomes one for as long as the exchange takes.
    truck.stop().await?;
    hq.api()
        .await?
        .post("/v1/notes", json!({ "text": "Road is closed again" }))
        .await?;
    truck.command(&["sync", "--wait"]).await?.success()?;
    let digest = hq.status().await?["heads_digest"].clone();
    assert_eq!(truck.status().await?["heads_digest"], digest);

    // Nobody is there: that is no success.
    hq.stop().await?;
    let alone = truck.command(&["sync", "--wait", "--timeout", "2"]).await?;
    assert_eq!(alone.code, Some(1), "{alone:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_may_have_a_long_name_and_needs_its_key() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    // Longer than a Unix socket's address may be.
    let mut node = Node::found(&place.path().join("long".repeat(40)), "HQ").await?;
    assert_eq!(
        node.status().await?["addresses"]["mqtt"],
        json!(node.addresses().mqtt)
    );
    node.stop().await?;

    std::fs::write(node.dir.join("other-key"), [7; 32])?;
    let other = node.dir.join("other-key").to_string_lossy().into_owned();
    let refused = node.command(&["run", "--key-file", &other]).await?;
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("key"), "{}", refused.stderr);
    node.start().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_directory_becomes_an_operation_unless_told_otherwise() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let mut node = Node::at(&place.path().join("node"), "HQ").await?;
    let refused = node.command(&["run", "--no-found"]).await?;
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("--no-found"), "{}", refused.stderr);

    let mut run = muster(&[
        "run",
        "--no-mdns",
        "--listen",
        "127.0.0.1:0",
        "--mqtt-listen",
        "127.0.0.1:0",
    ]);
    run.args(["--sync-listen", "127.0.0.1:0", "--data-dir"])
        .arg(&node.dir);
    run.stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped());
    let mut founder = run.spawn()?;
    let mut lines = {
        use tokio::io::{AsyncBufReadExt as _, BufReader};
        BufReader::new(founder.stderr.take().expect("piped")).lines()
    };
    let password = loop {
        let line = lines
            .next_line()
            .await?
            .expect("the password comes before the end");
        if let Some((_, password)) = line.split_once("password (shown only now): ") {
            break password.to_owned();
        }
    };
    let status = until("it runs", || async {
        let status = node.command(&["status", "--json"]).await?;
        Ok(status
            .json()
            .ok()
            .filter(|status| status["addresses"].is_object()))
    })
    .await?;
    let http = status["addresses"]["http"]
        .as_str()
        .unwrap_or_default()
        .parse()?;
    Api::sign_in_as(http, "admin", &password).await?;
    assert!(Api::sign_in_as(http, "admin", PASSWORD).await.is_err());
    founder.kill().await?;
    // Shown only now.
    node.start().await?;
    assert!(!node.log_tail().contains(&password));
    Ok(())
}
