//! A full disk: acknowledgements are withheld, requests are answered so, and everything goes on when there is room.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use node::app::{AppError, Caller, RecordKind};
use serde_json::json;
use support::{Connect, Node, Raw, eventually, publish_packet, skip};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;

const TOPIC: &str = "muster/v1/gauge/level";

/// A file system of a few megabytes, gone with the value. Needs the right to mount.
struct SmallDisk {
    at: PathBuf,
    _parent: TempDir,
}

impl SmallDisk {
    fn mount() -> Option<SmallDisk> {
        let parent = TempDir::new().unwrap();
        let at = parent.path().join("disk");
        std::fs::create_dir(&at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=12m", "tmpfs"])
            .arg(&at)
            .output();
        mounted
            .is_ok_and(|output| output.status.success())
            .then_some(SmallDisk {
                at,
                _parent: parent,
            })
    }

    /// Takes all the room that is left; gives the file that holds it.
    fn fill(&self) -> PathBuf {
        let path = self.at.join("ballast");
        let mut file = std::fs::File::create(&path).unwrap();
        let mut bytes = vec![1; 64 * 1024];
        while !bytes.is_empty() {
            // The last bytes fit one by one.
            if file.write_all(&bytes).is_err() {
                bytes.truncate(bytes.len() / 2);
            }
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

async fn is_silent(raw: &mut Raw, time: Duration) -> bool {
    let mut byte = [0; 1];
    tokio::time::timeout(time, raw.stream.read_exact(&mut byte))
        .await
        .is_err()
}

fn in_directory(path: &Path) -> TempDir {
    tempfile::Builder::new()
        .prefix("node")
        .tempdir_in(path)
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_withholds_acknowledgements_until_there_is_room() {
    let Some(disk) = SmallDisk::mount() else {
        skip(
            "root",
            "a_full_disk_withholds_acknowledgements_until_there_is_room",
        );
        return;
    };
    let node = Node::start_in(in_directory(&disk.at)).await;
    let (mut raw, _) = Raw::connect(&node, Connect::default()).await;
    raw.publish(TOPIC, b"1", 1, false).await;
    let ballast = disk.fill();

    // Whatever room the files had inside is used up by and by; then a message stays without an answer.
    let mut packet_id = 1_u16;
    let withheld = loop {
        packet_id += 1;
        let payload = packet_id.to_string();
        raw.send(&publish_packet(
            TOPIC,
            payload.as_bytes(),
            Some((packet_id, false)),
        ))
        .await;
        let mut puback = [0; 4];
        match tokio::time::timeout(Duration::from_secs(1), raw.stream.read_exact(&mut puback)).await
        {
            Ok(read) => {
                read.unwrap();
                assert_eq!(u16::from_be_bytes([puback[2], puback[3]]), packet_id);
            }
            Err(_) => break packet_id,
        }
        assert!(packet_id < 60_000, "the disk never became full");
    };
    assert!(is_silent(&mut raw, Duration::from_secs(1)).await);
    let acknowledged = u64::from(withheld) - 1;
    assert_eq!(
        node.count("gauge").await,
        acknowledged,
        "what was not acknowledged is not there"
    );

    // People are told, and the node lives on.
    let refused = eventually("a full disk", || async {
        let fields = json!({"title": "a".repeat(150), "description": "b".repeat(15_000)});
        let created = node
            .app
            .create(
                &Caller::socket(),
                RecordKind::Document(domain::Kind::Incident),
                fields.as_object().unwrap().clone(),
                None,
            )
            .await;
        match created {
            Err(error) => Ok(error),
            Ok(_) => Err("room for an incident".to_owned()),
        }
    })
    .await;
    assert!(matches!(refused, AppError::DiskFull), "{refused:?}");

    std::fs::remove_file(ballast).unwrap();
    raw.puback(withheld).await;
    assert_eq!(node.count("gauge").await, acknowledged + 1);
    node.create(domain::Kind::Incident, json!({"title": "room again"}))
        .await;
    let node = node.restart().await;
    assert_eq!(node.count("gauge").await, acknowledged + 1);
    node.stop().await;
}

/// Edits one incident until `refusals` edits were refused for want of room, or `edits` went through; the versions that
/// were acknowledged.
async fn edit_until(
    node: &Node,
    id: &str,
    refusals: usize,
    edits: usize,
) -> Vec<serde_json::Value> {
    let caller = Caller::socket();
    let incidents = RecordKind::Document(domain::Kind::Incident);
    let (mut acknowledged, mut refused) = (Vec::new(), 0);
    while refused < refusals && acknowledged.len() < edits {
        let shown = node.app.get(&caller, incidents, id, None).await.unwrap();
        let text = format!("{} {}", acknowledged.len(), "water ".repeat(800));
        let patch = json!({ "description": text }).as_object().unwrap().clone();
        let version = shown["version"].as_str();
        match node
            .app
            .patch(&caller, domain::Kind::Incident, id, version, patch, None)
            .await
        {
            Ok(merged) => acknowledged.push(merged["version"].clone()),
            // What was built on a refused edit of somebody else is refused as busy.
            Err(AppError::DiskFull) => refused += 1,
            Err(AppError::Busy { .. }) => tokio::time::sleep(Duration::from_millis(2)).await,
            Err(error) => panic!("{error:?}"),
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_refused_by_a_full_disk_leave_nothing_behind_and_acknowledged_ones_stay() {
    let Some(disk) = SmallDisk::mount() else {
        skip(
            "root",
            "edits_refused_by_a_full_disk_leave_nothing_behind_and_acknowledged_ones_stay",
        );
        return;
    };
    let node = Node::start_in(in_directory(&disk.at)).await;
    let mut incidents = Vec::new();
    for number in 0..4 {
        let title = format!("incident {number}");
        let created = node
            .create(domain::Kind::Incident, json!({ "title": title }))
            .await;
        incidents.push(created["id"].as_str().unwrap().to_owned());
    }
    let ballast = disk.fill();
    let full = incidents.iter().map(|id| edit_until(&node, id, 5, 2_000));
    let mut acknowledged = futures::future::join_all(full).await;
    assert!(
        acknowledged.iter().all(|edits| edits.len() < 2_000),
        "the disk was full"
    );
    std::fs::remove_file(ballast).unwrap();
    let again = incidents.iter().map(|id| edit_until(&node, id, 5, 10));
    for (all, more) in acknowledged
        .iter_mut()
        .zip(futures::future::join_all(again).await)
    {
        assert_eq!(more.len(), 10, "there is room again");
        all.extend(more);
    }

    let check = async |node: &Node| {
        for (id, acknowledged) in incidents.iter().zip(&acknowledged) {
            let (mut items, mut cursor) = (Vec::new(), None);
            loop {
                let page = node
                    .app
                    .history(
                        &Caller::socket(),
                        domain::Kind::Incident,
                        id,
                        Some(500),
                        cursor,
                    )
                    .await
                    .unwrap();
                items.extend(page.items);
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            let versions: Vec<_> = items.iter().map(|item| &item["version"]).collect();
            assert!(
                acknowledged
                    .iter()
                    .all(|version| versions.contains(&version))
            );
            assert_eq!(
                versions.len(),
                acknowledged.len() + 1,
                "nothing else is there"
            );
        }
        let rebuilt = node.app.rebuild(&Caller::socket()).await.unwrap();
        assert_eq!(rebuilt["views_changed"], json!(false));
        node.list(domain::Kind::Incident).await
    };
    let before = check(&node).await;
    let node = node.restart().await;
    assert_eq!(check(&node).await, before, "memory and disk say the same");
    node.stop().await;
}
