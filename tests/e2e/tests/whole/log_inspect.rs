//! `muster log inspect` answers the same whether or not the node runs, and finds a log that is not what it was.

use e2e::node::Node;
use serde_json::{Value, json};

async fn inspect(node: &Node, words: &[&str]) -> anyhow::Result<Value> {
    let words: Vec<&str> = ["log", "inspect", "--json"]
        .iter()
        .chain(words)
        .copied()
        .collect();
    node.command(&words).await?.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_can_be_looked_into_while_the_node_runs_and_while_it_rests() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let mut node = Node::found(&place.path().join("node"), "HQ").await?;
    let api = node.api().await?;
    let incident = api
        .post(
            "/v1/incidents",
            json!({ "title": "Smoke", "category": "Fire" }),
        )
        .await?;
    api.post("/v1/notes", json!({ "text": "Road is open" }))
        .await?;

    let logs = inspect(&node, &[]).await?;
    let lanes: Vec<&str> = logs["logs"]
        .as_array()
        .expect("logs")
        .iter()
        .filter_map(|log| log["lane"].as_str())
        .collect();
    assert_eq!(lanes, ["trust", "life", "coordination"]);

    let life = inspect(&node, &["hq/life"]).await?;
    assert_eq!(life["log"]["author_name"], "HQ");
    let entry = &life["entries"][0];
    assert_eq!(entry["kind"], "incident");
    assert_eq!(entry["object"], incident["id"]);
    assert_eq!(entry["user"], "admin");
    assert_eq!(
        (&entry["state"], &entry["signed"]),
        (&json!("applied"), &json!(true))
    );
    let trust = inspect(&node, &["--author", "HQ", "--lane", "trust"]).await?;
    assert_eq!(trust["entries"][1]["kind"], "grant to HQ (hq)");

    let page = inspect(&node, &["HQ/coordination", "--from", "2", "--limit", "1"]).await?;
    assert_eq!(page["entries"][0]["seq"], 2);
    let runs = inspect(&node, &["HQ/life", "--runs"]).await?;
    assert_eq!(
        (&runs["runs"][0]["first"], &runs["runs"][0]["last"]),
        (&json!(1), &life["log"]["height"])
    );
    let run = &runs["runs"][0];
    let (plain, packed) = (run["wire_bytes"].as_u64(), run["packed_bytes"].as_u64());
    assert!(packed > Some(64) && packed < plain, "{run}");
    let frontier = inspect(&node, &["--frontier"]).await?;
    assert_eq!(frontier["logs"].as_array().map(Vec::len), Some(3));
    let whole = frontier["whole_bytes"].as_u64().expect("a size");
    assert!((20..100).contains(&whole), "{whole} bytes for three logs");
    let verified = inspect(&node, &["--verify"]).await?;
    assert!(
        verified["logs"]
            .as_array()
            .is_some_and(|logs| logs.iter().all(|log| log["verified"]["ok"] == true)),
        "{verified}"
    );

    // A person sees the same in words.
    let text = node.command(&["log", "inspect", "HQ/life"]).await?;
    assert!(text.stdout.contains("HQ/life"), "{}", text.stdout);
    assert!(text.stdout.contains("applied"), "{}", text.stdout);
    let runs = node
        .command(&["log", "inspect", "hq/LIFE", "--runs"])
        .await?;
    assert!(runs.stdout.contains("PACKED"), "{}", runs.stdout);
    for (words, says) in [
        (&["HQ", "--runs"][..], "HQ/trust, HQ/life, HQ/coordination"),
        (&["HQ/life", "--from", "99"], "the log ends at entry 1"),
        (&[""], "no log here fits \"\""),
        (&["HQ/bulk"], "no lane"),
    ] {
        let words: Vec<&str> = ["log", "inspect"].iter().chain(words).copied().collect();
        let wrong = node.command(&words).await?;
        assert_eq!(wrong.code, Some(1), "{words:?}");
        assert!(wrong.stderr.contains(says), "{words:?}: {}", wrong.stderr);
    }
    let unknown = node.command(&["log", "inspect", "South/life"]).await?;
    assert_eq!(unknown.code, Some(1));
    assert!(
        unknown.stderr.contains("muster log inspect"),
        "it says where to look: {}",
        unknown.stderr
    );
    let wrong = node
        .command(&["log", "inspect", "--verify", "--frontier"])
        .await?;
    assert_eq!(wrong.code, Some(2));

    node.stop().await?;
    assert_eq!(inspect(&node, &[]).await?, logs);
    assert_eq!(inspect(&node, &["hq/life"]).await?, life);
    assert_eq!(inspect(&node, &["--frontier"]).await?, frontier);
    assert_eq!(inspect(&node, &["--verify"]).await?, verified);
    Ok(())
}
