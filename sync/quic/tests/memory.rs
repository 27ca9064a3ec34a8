//! What others can make a node hold: the bounds of docs/quic-shell.md, with real connections that misbehave.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::crowd::{CrowdPeer, crowd_ids, crowd_trust};
use common::{Member, Operation, PATIENCE, founder, key};
use sync_engine::{Lane, ReasonCode, StreamKind, Trust};
use sync_quic::SyncConfig;
use sync_quic::testing::Crowd;

const MIB: usize = 1024 * 1024;

/// A node, and what a crowd of its members knows.
async fn node_of(count: usize, tweak: impl FnOnce(&mut SyncConfig)) -> (Member, Trust) {
    let operation = Operation::new(1);
    let node = founder(&operation, key(1), &crowd_ids(count), tweak).await;
    let trust = crowd_trust(&operation, node.id(), count);
    (node, trust)
}

async fn crowd_of(
    node: &Member,
    trust: &Trust,
    count: usize,
    deaf_to: &[StreamKind],
) -> Vec<CrowdPeer> {
    let crowd = Crowd::bind().unwrap();
    let mut peers = Vec::new();
    for number in 0..count {
        let peer = CrowdPeer::connect(&crowd, node.addr(), number, trust, deaf_to).await;
        peers.push(peer.unwrap());
    }
    peers
}

async fn eventually(what: &str, mut reached: impl FnMut() -> bool) {
    let waited = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, waited).await.is_err() {
        panic!("{what} did not come");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_that_the_store_does_not_take_stops_at_its_lanes_room_and_flash_is_stored_meanwhile() {
    const PEERS: usize = 12;
    let (node, trust) = node_of(PEERS, |config| config.limits.lane_bytes_max = 4 * MIB).await;
    node.memory
        .slow
        .lock()
        .insert(Lane::Raw, Duration::from_secs(3_600));
    let peers = crowd_of(&node, &trust, PEERS, &[]).await;
    // Three times the lane's room, from all of them.
    for peer in &peers {
        for _ in 0..40 {
            peer.write(Lane::Raw, &[25_000]);
        }
    }
    let raw = Lane::Raw as usize;
    let mut most = 0;
    eventually("a full room", || {
        let held = node.sync.usage().unstored_bytes[raw];
        most = most.max(held);
        held > 4 * MIB - 128 * 1024
    })
    .await;
    // The lane is stuck: nothing of it will ever be stored. Events, not times: every flash entry gets past it.
    for peer in &peers {
        peer.write(Lane::Flash, &[60]);
        peer.write(Lane::Coordination, &[60]);
    }
    node.memory.until_count(Lane::Flash, PEERS).await;
    node.memory.until_count(Lane::Coordination, PEERS).await;
    most = most.max(node.sync.usage().unstored_bytes[raw]);
    println!(
        "{} KiB of {} KiB held",
        most / 1024,
        PEERS * 40 * 25_000 / 1024
    );
    assert!(most <= 4 * MIB + 64 * 1024, "{most}");
    assert_eq!(node.memory.count(Lane::Raw), 0);
    // Nobody did anything wrong, and nobody lost the connection for it.
    assert!(peers.iter().all(|peer| peer.light.is_open()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_that_was_full_goes_on_where_it_stopped() {
    const PEERS: usize = 6;
    let (node, trust) = node_of(PEERS, |config| config.limits.lane_bytes_max = MIB).await;
    node.memory
        .slow
        .lock()
        .insert(Lane::Raw, Duration::from_millis(100));
    let peers = crowd_of(&node, &trust, PEERS, &[]).await;
    for peer in &peers {
        for _ in 0..20 {
            peer.write(Lane::Raw, &[25_000]);
        }
    }
    let mut most = 0;
    let all = async {
        while node.memory.count(Lane::Raw) < PEERS * 20 {
            most = most.max(node.sync.usage().unstored_bytes[Lane::Raw as usize]);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.unwrap();
    assert!(most <= MIB + 64 * 1024, "{most}");
    eventually("an empty room", || {
        node.sync.usage().unstored_bytes == [0; 7]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_never_reads_its_bulk_lane_still_gets_control_and_flash() {
    let (node, trust) = node_of(1, |_| {}).await;
    let deaf = [
        StreamKind::Lane(Lane::Raw),
        StreamKind::Lane(Lane::Coordination),
    ];
    let peers = crowd_of(&node, &trust, 1, &deaf).await;
    for _ in 0..100 {
        node.write(Lane::Raw, &[25_000; 2]);
        node.write(Lane::Coordination, &[25_000; 2]);
    }
    // As much as may ever be under way towards it is stuck by now, and no more.
    eventually("a stuck lane", || {
        node.sync.usage().engine.unacked_bytes_max > MIB
    })
    .await;
    for round in 1..=20 {
        node.write(Lane::Flash, &[60]);
        peers[0]
            .light
            .until(|seen| seen.entries.get(&Lane::Flash) == Some(&round))
            .await
            .unwrap();
        // Control flows, too: what the peer writes is acknowledged to it.
        peers[0].write(Lane::Life, &[60]);
        node.memory.until_count(Lane::Life, round as usize).await;
    }
    assert_eq!(peers[0].entries(Lane::Raw), 0);
    let usage = node.sync.usage();
    println!("{usage:?}");
    assert!(usage.waiting_bytes < 2 * MIB, "{usage:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_too_much_waits_for_slow_peers_the_slowest_goes_and_the_others_stay() {
    let (node, trust) = node_of(3, |config| config.limits.held_bytes_max = MIB).await;
    let peers = crowd_of(&node, &trust, 3, &[]).await;
    // Beginnings of frames on all lanes, of which one peer sends most.
    let frame = |length: usize| {
        let mut bytes = 60_000_u32.to_be_bytes().to_vec();
        bytes.extend(std::iter::repeat_n(7, length));
        bytes
    };
    for (peer, length) in peers.iter().zip([20_000, 59_000, 30_000]) {
        for kind in Lane::ALL.into_iter().map(StreamKind::Lane) {
            peer.light.send_bytes(kind, frame(length));
        }
        let begun = if length == 59_000 { 940_000 } else { 0 };
        peer.light.send_bytes(StreamKind::Control, {
            let mut bytes = 1_000_000_u32.to_be_bytes().to_vec();
            bytes.extend(std::iter::repeat_n(7, begun));
            bytes
        });
    }
    let (code, text) = peers[1].light.closed().await.unwrap();
    println!("{code}: {text}");
    assert_eq!(code, ReasonCode::Busy.code());
    assert!(peers[0].light.is_open() && peers[2].light.is_open());
    assert!(node.sync.usage().waiting_bytes <= MIB);
    // Slow is no violation: it may come back at once.
    assert!(node.sync.peers().iter().all(|row| row.violations == 0));
}
