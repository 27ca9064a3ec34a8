//! Connections that outlive their addresses, and ends that are said and not found out.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::crowd::{CrowdPeer, crowd_ids, crowd_trust};
use common::relay::Relay;
use common::{Member, Operation, PATIENCE, dial, founder, joined, key, node_id};
use sync_engine::{Lane, NodeId, ReasonCode};
use sync_quic::testing::Crowd;
use sync_quic::{PeerStatus, SyncConfig};

fn row(member: &Member, peer: NodeId) -> PeerStatus {
    let rows = member.sync.peers();
    rows.into_iter().find(|row| row.node == Some(peer)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_survives_a_router_that_changes_its_ports() {
    let operation = Operation::new(1);
    let a = founder(&operation, key(1), &[node_id(&key(2))], |_| {}).await;
    let relay = Relay::start(a.addr(), None).await;
    let b = joined(&a, key(2), |config| {
        config.limits.keep_alive = Duration::from_millis(200);
        config.peers = vec![dial(a.id(), relay.front)];
    })
    .await;
    a.until_live(&b).await;
    b.until_live(&a).await;
    let mut seen = vec![row(&a, b.id())];
    for round in 1..=3 {
        relay.change_ports();
        b.write(Lane::Life, &[100]);
        a.memory.until_count(Lane::Life, 2 * round - 1).await;
        a.write(Lane::Life, &[100]);
        b.memory.until_count(Lane::Life, 2 * round).await;
        let (before, now) = (seen.last().unwrap(), row(&a, b.id()));
        assert_ne!(now.addr, before.addr, "the path is another one");
        assert!(
            now.datagrams_received > before.datagrams_received,
            "and the connection the same: its counts go on"
        );
        assert_eq!(now.last_error, None);
        seen.push(now);
    }
    assert_eq!(row(&b, a.id()).last_error, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_connection_outlives_its_idle_time_by_keep_alives() {
    const IDLE: Duration = Duration::from_secs(3);
    let quick = |config: &mut SyncConfig| {
        config.limits.idle = IDLE;
        config.limits.keep_alive = IDLE / 6;
    };
    let operation = Operation::new(1);
    let a = founder(&operation, key(1), &[node_id(&key(2))], quick).await;
    let b = joined(&a, key(2), |config| {
        quick(config);
        config.peers = vec![dial(a.id(), a.addr())];
    })
    .await;
    a.until_live(&b).await;
    b.until_live(&a).await;
    let (began, mut last) = (Instant::now(), row(&a, b.id()));
    // Nobody writes anything: what comes are keep-alives of this one connection, whose counts go on.
    while began.elapsed() < IDLE * 3 / 2 {
        tokio::time::sleep(IDLE / 3).await;
        let now = row(&a, b.id());
        assert!(now.datagrams_received > last.datagrams_received, "{now:?}");
        assert_eq!((now.addr, &now.last_error), (last.addr, &None));
        last = now;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_change_networks_keep_their_sessions() {
    const PEERS: usize = 5;
    let operation = Operation::new(1);
    let node = founder(&operation, key(1), &crowd_ids(PEERS), |_| {}).await;
    let trust = crowd_trust(&operation, node.id(), PEERS);
    let crowd = Crowd::bind().unwrap();
    let mut peers = Vec::new();
    for number in 0..PEERS {
        peers.push(
            CrowdPeer::connect(&crowd, node.addr(), number, &trust, &[])
                .await
                .unwrap(),
        );
    }
    let addr = crowd.move_away().unwrap();
    for peer in &peers {
        peer.write(Lane::Flash, &[60]);
    }
    node.memory.until_count(Lane::Flash, PEERS).await;
    node.write(Lane::Flash, &[60]);
    for peer in &peers {
        // Its own entries do not come back; those of the others and of the node do.
        peer.light
            .until(|seen| seen.entries.get(&Lane::Flash) == Some(&(PEERS as u64)))
            .await
            .unwrap();
        assert!(peer.light.is_open());
    }
    let there = |row: &PeerStatus| row.addr == Some(addr);
    assert_eq!(
        node.sync.peers().iter().filter(|row| there(row)).count(),
        PEERS
    );
}

#[test]
fn a_shutdown_tells_every_peer_lets_stores_end_and_leaves_no_task() {
    const PEERS: usize = 4;
    // The node's tasks alone, so that they can be counted.
    let of_node = tokio::runtime::Runtime::new().unwrap();
    let of_peers = tokio::runtime::Runtime::new().unwrap();
    let operation = Operation::new(1);
    let node = of_node.block_on(founder(&operation, key(1), &crowd_ids(PEERS), |_| {}));
    let trust = crowd_trust(&operation, node.id(), PEERS);
    let (addr, memory) = (node.addr(), node.memory.clone());
    let peers = of_peers.block_on(async {
        let crowd = Crowd::bind().unwrap();
        let mut peers = Vec::new();
        for number in 0..PEERS {
            peers.push(
                CrowdPeer::connect(&crowd, addr, number, &trust, &[])
                    .await
                    .unwrap(),
            );
        }
        peers
    });
    assert!(of_node.metrics().num_alive_tasks() > PEERS);
    // A store that is under way when the end comes, and one that waits for it.
    let slow = Duration::from_millis(400);
    memory.slow.lock().insert(Lane::Life, slow);
    let mut begun = memory.begun.subscribe();
    begun.mark_unchanged();
    peers[0].write(Lane::Life, &[100]);
    of_node.block_on(async {
        begun.changed().await.unwrap();
        peers[1].write(Lane::Life, &[100]);
        while node.sync.usage().unstored_bytes[Lane::Life as usize] < 200 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(memory.count(Lane::Life), 0, "it is under way");
        node.stop().await;
    });
    assert_eq!(
        memory.log(peers[0].log_id(Lane::Life)).len(),
        1,
        "what was begun is on the disk"
    );
    assert_eq!(
        memory.log(peers[1].log_id(Lane::Life)).len(),
        0,
        "what was not is sent again"
    );
    // Nobody was told that it is there: the goodbye came first.
    assert!(
        peers
            .iter()
            .all(|peer| peer.light.seen().acknowledged.is_empty())
    );
    of_peers.block_on(async {
        for peer in &peers {
            let told = peer.light.closed().await.unwrap();
            assert_eq!(
                told,
                (ReasonCode::Shutdown.code(), "node shuts down".to_owned())
            );
        }
    });
    let began = Instant::now();
    while of_node.metrics().num_alive_tasks() > 0 {
        assert!(
            began.elapsed() < PATIENCE,
            "{} tasks are left",
            of_node.metrics().num_alive_tasks()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    // The port is free: whoever starts next gets it.
    std::net::UdpSocket::bind(addr).unwrap();
}
