//! A full disk: nothing is acknowledged that is not stored, nothing crashes, and it goes on when there is room.

use std::time::Duration;

use e2e::api::Answer;
use e2e::disk::SmallDisk;
use e2e::mqtt::Publisher;
use e2e::node::Node;
use e2e::skip::skipped;
use e2e::wait::until;
use reqwest::{Method, StatusCode};
use serde_json::json;

/// Room for an empty node and its write-ahead logs.
const DISK_MIB: u32 = 24;

/// The node fills what its files still have before it runs into the end of the disk: this many messages do.
const MESSAGES_MAX: u16 = 20_000;

/// A message that is stored is acknowledged long before that.
const WITHHELD: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_withholds_acknowledgements_and_answers_507_and_goes_on() -> anyhow::Result<()>
{
    let place = tempfile::tempdir()?;
    let Some(disk) = SmallDisk::make(place.path(), DISK_MIB)? else {
        skipped(
            "mount-rights",
            "a_full_disk_withholds_acknowledgements_and_answers_507_and_goes_on",
        );
        return Ok(());
    };
    let mut node = Node::found(&disk.path().join("node"), "HQ").await?;
    let api = node.api().await?;
    let mut publisher = Publisher::connect(node.addresses().mqtt, "full").await?;
    disk.fill()?;

    let mut acknowledged = Vec::new();
    let mut withheld = None;
    for id in 1..=MESSAGES_MAX {
        publisher
            .publish(
                "muster/v1/gauge/level",
                id.to_string().as_bytes(),
                id,
                false,
            )
            .await?;
        publisher.flush().await?;
        match publisher.puback_within(WITHHELD).await? {
            Some(acknowledgement) => acknowledged.push(acknowledgement),
            None => {
                withheld = Some(id);
                break;
            }
        }
    }
    let withheld = withheld.expect("a full disk cannot take all that");

    let report = || async {
        let request = api.request(Method::POST, "/v1/incidents");
        api.ask(request.json(&json!({ "title": "Written on a full disk", "category": "Infra" })))
            .await
    };
    let mut taken = 0;
    let refused: Answer = until("a report is refused", || async {
        let answer = report().await?;
        Ok(if answer.status == StatusCode::CREATED {
            None
        } else {
            Some(answer)
        })
    })
    .await
    .inspect(|_| taken = 1)?;
    assert_eq!(
        (refused.status, refused.problem()),
        (StatusCode::INSUFFICIENT_STORAGE, "disk-full")
    );
    let stored_when_full = api.all("/v1/incidents").await?.len();
    assert!(
        api.get("/v1/status").await.is_ok() && node.runs(),
        "a full disk is no crash"
    );

    disk.free()?;
    // Without the sender doing anything: the node kept the message, and the sender waits.
    assert_eq!(
        publisher.puback_within(Duration::from_secs(30)).await?,
        Some(withheld)
    );
    let made = until("reports are taken again", || async {
        let answer = report().await?;
        Ok((answer.status == StatusCode::CREATED).then_some(()))
    })
    .await;
    made?;
    assert_eq!(
        api.all("/v1/incidents").await?.len(),
        stored_when_full + 1,
        "a refusal is no half-taken report"
    );

    // What was acknowledged is on the disk.
    node.kill().await?;
    node.start().await?;
    let api = node.api().await?;
    let series = api.get("/v1/series?device=gauge").await?;
    let id = series["items"][0]["id"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let readings = api
        .get(&format!("/v1/series/{id}/readings?limit=10000"))
        .await?;
    let values: std::collections::BTreeSet<u64> = readings["points"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|point| point[1].as_f64())
        .map(|value| value as u64)
        .collect();
    for id in acknowledged.iter().rev().take(9_000).chain([&withheld]) {
        assert!(
            values.contains(&u64::from(*id)),
            "{id} was acknowledged and is not there"
        );
    }
    Ok(())
}
