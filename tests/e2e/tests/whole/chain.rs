//! Three nodes in a chain: the ends never meet, and each learns through the middle what the other has.

use std::collections::BTreeMap;

use anyhow::Context as _;
use e2e::api::Api;
use e2e::node::{Node, agree};
use e2e::wait::until;
use serde_json::{Value, json};

/// Incidents that each end opens while the middle is away: more than one batch, so that the middle can be taken away
/// again with half of them.
const MEANWHILE: usize = 150;

async fn open(api: &Api, title: &str) -> anyhow::Result<String> {
    let incident = api
        .post(
            "/v1/incidents",
            json!({ "title": title, "category": "Transport" }),
        )
        .await?;
    Ok(incident["id"].as_str().unwrap_or_default().to_owned())
}

/// Both times of each node that a document is seen by, by node id.
fn seen_by(document: &Value) -> BTreeMap<String, (Value, Value)> {
    let seen = document["seen_by"].as_array().into_iter().flatten();
    seen.map(|seen| {
        let node = seen["node"].as_str().unwrap_or_default().to_owned();
        (
            node,
            (seen["stored_at"].clone(), seen["applied_at"].clone()),
        )
    })
    .collect()
}

/// Waits until every incident at `here` is stored and applied at exactly `others`, as far as `here` knows.
async fn everything_is_seen_by(here: &Api, name: &str, others: [&Node; 2]) -> anyhow::Result<()> {
    let wanted: Vec<&str> = {
        let mut ids = others.map(Node::id).to_vec();
        ids.sort_unstable();
        ids
    };
    until(
        &format!("{name} knows that the others have all"),
        || async {
            let incidents = here.all("/v1/incidents").await?;
            let complete = incidents.iter().all(|incident| {
                let seen = seen_by(incident);
                seen.keys().eq(wanted.iter())
                    && seen
                        .values()
                        .all(|(stored, applied)| stored.is_string() && applied.is_string())
            });
            Ok(complete.then_some(()))
        },
    )
    .await
}

/// What a node says of another.
async fn peer(node: &Node, of: &Node) -> anyhow::Result<Value> {
    let status = node.status().await?;
    let peers = status["peers"].as_array().into_iter().flatten();
    let peer = peers
        .into_iter()
        .find(|peer| peer["node_id"] == json!(of.id()));
    peer.cloned().context("a node that is not known")
}

#[tokio::test(flavor = "multi_thread")]
async fn three_real_nodes_in_a_chain_converge_with_the_middle_restarted_and_the_ends_know_who_has_what()
-> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let mut middle = Node::found(&place.path().join("middle"), "Middle").await?;
    let north = Node::join(&place.path().join("north"), "North", &middle).await?;
    let south = Node::join(&place.path().join("south"), "South", &middle).await?;
    let (at_north, at_south) = (north.api().await?, south.api().await?);

    // Before.
    let flood = open(&at_north, "Mill bridge is under water").await?;
    let slide = open(&at_south, "Slope above the quarry moves").await?;
    agree(&[&north, &middle, &south]).await?;
    everything_is_seen_by(&at_north, "north", [&middle, &south]).await?;
    everything_is_seen_by(&at_south, "south", [&north, &middle]).await?;

    // The middle is away: nobody hears of anybody.
    middle.kill().await?;
    let (flood_path, slide_path) = (
        format!("/v1/incidents/{flood}"),
        format!("/v1/incidents/{slide}"),
    );
    let before = at_north
        .edit(&flood_path, json!({ "severity": "extreme" }))
        .await?;
    assert!(
        seen_by(&before).is_empty(),
        "this edit is nowhere else: {before}"
    );
    at_south
        .edit(
            &flood_path,
            json!({ "status": "confirmed", "tags": ["bridge"] }),
        )
        .await?;
    at_south
        .edit(&slide_path, json!({ "severity": "severe" }))
        .await?;
    at_north
        .edit(&slide_path, json!({ "tags": ["quarry"] }))
        .await?;
    for number in 0..MEANWHILE {
        open(&at_north, &format!("Cellar {number} in the north is full")).await?;
        open(&at_south, &format!("Cellar {number} in the south is full")).await?;
    }
    assert_eq!(at_north.get(&flood_path).await?["status"], "reported");

    until("north knows what the middle lacks, by urgency", || async {
        let away = peer(&north, &middle).await?;
        let behind = &away["behind"];
        let written = json!(MEANWHILE + 2);
        let complete = behind[0]["lane"] == "life" && behind[0]["entries"] == written;
        Ok((away["state"] == "disconnected" && complete).then_some(()))
    })
    .await?;

    // It is back, and goes again as soon as it has a part of it.
    middle.start().await?;
    let at_middle = middle.api().await?;
    until("some of it has come to the middle", || async {
        Ok((at_middle.all("/v1/incidents").await?.len() > 2).then_some(()))
    })
    .await?;
    middle.kill().await?;
    at_north
        .edit(
            &flood_path,
            json!({ "description": "Boats wait in the north." }),
        )
        .await?;
    middle.start().await?;

    // After.
    at_south
        .edit(&slide_path, json!({ "status": "active" }))
        .await?;
    open(&at_north, "Ferry runs again").await?;
    agree(&[&north, &middle, &south]).await?;
    let at_middle = middle.api().await?;
    let all = at_north.export("incidents").await?;
    assert_eq!(all.len(), 2 * MEANWHILE + 3);
    assert_eq!(at_middle.export("incidents").await?, all);
    assert_eq!(at_south.export("incidents").await?, all);
    let flooded = at_south.get(&flood_path).await?;
    assert_eq!(flooded["severity"], "extreme");
    assert_eq!(flooded["status"], "confirmed");
    assert_eq!(flooded["description"], "Boats wait in the north.");

    // Who has it, on both ends and in the middle; the ends have never met.
    everything_is_seen_by(&at_north, "north", [&middle, &south]).await?;
    everything_is_seen_by(&at_south, "south", [&north, &middle]).await?;
    everything_is_seen_by(&at_middle, "middle", [&north, &south]).await?;
    for (here, there) in [(&north, &south), (&south, &north)] {
        let never_met = peer(here, there).await?;
        assert_eq!(never_met["state"], "disconnected");
        assert_eq!(never_met["last_seen"], Value::Null);
        assert_eq!(never_met["behind_entries"], 0, "{never_met}");
        assert_eq!(never_met["behind"], json!([]));
    }

    // What receipts said is no view: a rebuild leaves it as it is.
    let known = seen_by(&at_north.get(&flood_path).await?);
    north.command(&["rebuild"]).await?.success()?;
    assert_eq!(seen_by(&at_north.get(&flood_path).await?), known);
    agree(&[&north, &middle, &south]).await?;
    Ok(())
}
