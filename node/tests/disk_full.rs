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
