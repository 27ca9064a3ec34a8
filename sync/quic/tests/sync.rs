//! Nodes over real sockets on loopback: they converge, stay live, find each other again, and refuse who does not belong.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::relay::Relay;
use common::{
    Member, Operation, PATIENCE, Stopped, dial, founder, joined, key, node_id, percentile,
};
use sync_engine::{Lane, PeerState};
use sync_quic::{PeerAddr, PeerStatus};

const WAIT: Duration = Duration::from_secs(20);

/// A founder, and a member that dials it.
async fn pair() -> (Member, Member) {
    let operation = Operation::new(1);
    let a = founder(&operation, key(1), &[node_id(&key(2))], |_| {}).await;
    let b = joined(&a, key(2), |config| {
        config.peers = vec![dial(a.id(), a.addr())]
    })
    .await;
    (a, b)
}

async fn until(member: &Member, reached: impl Fn(&[PeerStatus]) -> bool) {
    let mut changed = member.sync.subscribe();
    let all = async {
        while !reached(&member.sync.peers()) {
            // Errors of dials and of links both move this.
            changed.changed().await.unwrap();
        }
    };
    if tokio::time::timeout(PATIENCE, all).await.is_err() {
        panic!("never came: {:#?}", member.sync.peers());
    }
}

fn has_error(peers: &[PeerStatus], text: &str) -> bool {
    peers.iter().any(|peer| {
        peer.last_error
            .as_deref()
            .is_some_and(|error| error.contains(text))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_get_what_the_other_wrote_before_they_met() {
    let operation = Operation::new(1);
    let a = founder(&operation, key(1), &[node_id(&key(2))], |_| {}).await;
    let b = joined(&a, key(2), |_| {}).await;
    for lane in [Lane::Flash, Lane::Life, Lane::Coordination] {
        for _ in 0..40 {
            a.write(lane, &[120; 25]);
            b.write(lane, &[120; 25]);
        }
    }
    let began = Instant::now();
    b.sync.add_peer(dial(a.id(), a.addr()));
    for lane in [Lane::Flash, Lane::Life, Lane::Coordination] {
        a.memory.until_count(lane, 2000).await;
        b.memory.until_count(lane, 2000).await;
    }
    println!("6,000 entries exchanged in {:?}", began.elapsed());
    let report = a.sync.sync_now(None, true, WAIT).await;
    assert!(report.complete, "{report:?}");
    let report = b.sync.sync_now(Some(a.id()), true, WAIT).await;
    assert!(report.complete, "{report:?}");
    assert_eq!(a.sync.frontier_hash(), b.sync.frontier_hash());
    let row = &b.sync.peers()[0];
    assert!(
        row.dialled && row.rtt_ms.is_some() && row.datagrams_received > 0,
        "{row:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_entry_reaches_a_connected_node_at_once() {
    let (a, b) = pair().await;
    a.until_live(&b).await;
    b.until_live(&a).await;
    let mut times = Vec::new();
    for round in 1..=200 {
        let (from, to) = if round % 2 == 0 { (&a, &b) } else { (&b, &a) };
        let mut stored = to.memory.stored.subscribe();
        stored.borrow_and_update();
        let began = Instant::now();
        from.write(Lane::Flash, &[100]);
        tokio::time::timeout(PATIENCE, async {
            while to.memory.count(Lane::Flash) < round {
                stored.changed().await.unwrap();
            }
        })
        .await
        .unwrap();
        times.push(began.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    times.sort();
    let (p50, p99) = (percentile(&times, 0.5), percentile(&times, 0.99));
    println!(
        "live push, commit to store: p50 {p50:?}, p99 {p99:?}, max {:?}",
        times[times.len() - 1]
    );
    assert!(p50 < Duration::from_millis(25), "p50 {p50:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_in_the_middle_relays_between_two_that_never_meet() {
    let operation = Operation::new(1);
    let ids = [node_id(&key(2)), node_id(&key(3))];
    let middle = founder(&operation, key(1), &ids, |_| {}).await;
    let to_middle = dial(middle.id(), middle.addr());
    let left = joined(&middle, key(2), |config| {
        config.peers = vec![to_middle.clone()]
    })
    .await;
    let right = joined(&middle, key(3), |config| config.peers = vec![to_middle]).await;
    left.write(Lane::Life, &[200; 10]);
    right.memory.until_count(Lane::Life, 10).await;
    right.until_live(&middle).await;
    // And live, once everybody is connected.
    left.until_live(&middle).await;
    let began = Instant::now();
    right.write(Lane::Flash, &[80]);
    left.memory.until_count(Lane::Flash, 1).await;
    println!("over the middle in {:?}", began.elapsed());
    assert!(
        left.state(&right)
            .is_none_or(|state| state == PeerState::Disconnected)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_let_in_later_reaches_nodes_that_did_not_know_it() {
    let operation = Operation::new(1);
    let a = founder(&operation, key(1), &[node_id(&key(2))], |_| {}).await;
    // B has the founder's lane 0 of now; C is granted afterwards, and dials B, which has not heard of it.
    let b = joined(&a, key(2), |_| {}).await;
    a.write_trust(vec![operation.grant(node_id(&key(3)), "late")]);
    let c = joined(&a, key(3), |config| {
        config.peers = vec![dial(b.id(), b.addr())]
    })
    .await;
    c.write(Lane::Life, &[100; 3]);
    b.memory.until_count(Lane::Life, 3).await;
    assert!(b.sync.trust().is_member(c.id()));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_of_either_end_the_link_is_back_at_once() {
    let (a, b) = pair().await;
    a.until_live(&b).await;
    let (addr, a_id) = (a.addr(), a.id());
    let stopped: Stopped = a.stop().await;
    until(&b, |peers| {
        peers
            .iter()
            .all(|peer| peer.state() == PeerState::Disconnected)
    })
    .await;
    b.write(Lane::Life, &[100; 5]);
    let a = stopped.start(|config| config.listen = addr).await;
    let took = a.memory.until_count(Lane::Life, 5).await;
    println!("listener restarted: converged after {took:?}");
    assert!(took < Duration::from_secs(6), "{took:?}");

    b.until_live(&a).await;
    let stopped = b.stop().await;
    a.write(Lane::Flash, &[100; 5]);
    let b = stopped
        .start(|config| config.peers = vec![dial(a_id, addr)])
        .await;
    let took = b.memory.until_count(Lane::Flash, 5).await;
    println!("dialler restarted: converged after {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dialler_that_died_without_a_word_is_let_in_again_at_once() {
    let operation = Operation::new(1);
    let a = founder(&operation, key(1), &[node_id(&key(2))], |_| {}).await;
    let relay = Relay::start(a.addr(), None).await;
    let b = joined(&a, key(2), |config| {
        config.peers = vec![dial(a.id(), relay.front)]
    })
    .await;
    a.until_live(&b).await;
    // The goodbye is lost with the link; the next life comes from another port.
    relay.cut();
    let stopped = b.stop().await;
    relay.heal();
    let began = Instant::now();
    let b = stopped
        .start(|config| config.peers = vec![dial(a.id(), relay.front)])
        .await;
    b.until_live(&a).await;
    println!("back after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_died_without_a_word_is_noticed_when_it_is_back() {
    let operation = Operation::new(1);
    // Too long to wait for: what tells is that the new life answers the old connection's packets with a reset.
    let patient = |config: &mut sync_quic::SyncConfig| {
        config.limits.idle = Duration::from_secs(120);
        config.limits.keep_alive = Duration::from_secs(1);
    };
    let a = founder(&operation, key(1), &[node_id(&key(2))], patient).await;
    let relay = Relay::start(a.addr(), None).await;
    let b = joined(&a, key(2), |config| {
        patient(config);
        config.peers = vec![dial(a.id(), relay.front)];
    })
    .await;
    b.until_live(&a).await;
    relay.cut();
    let addr = a.addr();
    let stopped = a.stop().await;
    let a = stopped.start(|config| config.listen = addr).await;
    relay.heal();
    let began = Instant::now();
    a.until_live(&b).await;
    println!("noticed and back after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_dial_each_other_again_and_again_always_end_with_one_connection() {
    let operation = Operation::new(1);
    for round in 0..25 {
        let a = founder(&operation, key(1), &[node_id(&key(2))], |_| {}).await;
        let b = joined(&a, key(2), |_| {}).await;
        let (to_a, to_b) = (dial(a.id(), a.addr()), dial(b.id(), b.addr()));
        let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(2));
        let (first, second) = (a.sync.clone(), b.sync.clone());
        let (at_first, at_second) = (barrier.clone(), barrier);
        let one = tokio::spawn(async move {
            at_first.wait().await;
            first.add_peer(to_b);
        });
        at_second.wait().await;
        second.add_peer(to_a);
        one.await.unwrap();
        let began = Instant::now();
        a.write(Lane::Life, &[100]);
        b.write(Lane::Life, &[100]);
        a.memory.until_count(Lane::Life, 2).await;
        b.memory.until_count(Lane::Life, 2).await;
        assert!(
            began.elapsed() < Duration::from_secs(3),
            "round {round}: {:?}",
            began.elapsed()
        );
        a.stop().await;
        b.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "wants a network interface with multicast"]
async fn nodes_on_one_lan_find_each_other() {
    let operation = Operation::new(1);
    let mdns = |config: &mut sync_quic::SyncConfig| {
        config.listen = "0.0.0.0:0".parse().unwrap();
        config.mdns = true;
    };
    let a = founder(&operation, key(1), &[node_id(&key(2))], mdns).await;
    let b = joined(&a, key(2), mdns).await;
    println!("found after {:?}", a.until_live(&b).await);
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_dial_each_other_keep_one_connection() {
    let operation = Operation::new(1);
    let a = founder(&operation, key(1), &[node_id(&key(2))], |_| {}).await;
    let b = joined(&a, key(2), |_| {}).await;
    let (to_a, to_b) = (dial(a.id(), a.addr()), dial(b.id(), b.addr()));
    a.sync.add_peer(to_b);
    b.sync.add_peer(to_a);
    a.until_live(&b).await;
    b.until_live(&a).await;
    a.write(Lane::Life, &[100; 3]);
    b.write(Lane::Life, &[100; 3]);
    a.memory.until_count(Lane::Life, 6).await;
    b.memory.until_count(Lane::Life, 6).await;
    // Both ends have settled on the same one, and it stays.
    tokio::time::sleep(Duration::from_millis(700)).await;
    let (at_a, at_b) = (a.sync.peers().remove(0), b.sync.peers().remove(0));
    assert_eq!(at_a.state(), PeerState::Live);
    assert_eq!(at_b.state(), PeerState::Live);
    assert_ne!(at_a.dialled, at_b.dialled, "{at_a:?} {at_b:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_node_than_the_expected_one_is_refused_and_named() {
    let (a, _b) = pair().await;
    let c = joined(&a, key(2), |config| {
        config.peers = vec![dial(node_id(&key(9)), a.addr())]
    })
    .await;
    let expected = format!("another node answers there: {}", a.id());
    until(&c, |peers| has_error(peers, &expected)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dials_itself_says_so() {
    let operation = Operation::new(1);
    let a = founder(&operation, key(1), &[], |_| {}).await;
    a.sync.add_peer(PeerAddr {
        node: None,
        addr: a.addr().to_string(),
    });
    until(&a, |peers| has_error(peers, "this node itself")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_gets_nothing_but_the_trust_lane_and_is_sent_away() {
    let operation = Operation::new(1);
    let a = founder(&operation, key(1), &[], |_| {}).await;
    a.write(Lane::Life, &[100; 3]);
    // It has stolen lane 0, so that it speaks for the right operation; nobody granted it anything.
    let stranger = joined(&a, key(66), |config| {
        config.peers = vec![dial(a.id(), a.addr())]
    })
    .await;
    stranger.write(Lane::Life, &[100; 2]);
    until(&stranger, |peers| {
        peers.iter().any(|peer| peer.last_error.is_some())
    })
    .await;
    println!(
        "the stranger is told: {:?}",
        stranger.sync.peers()[0].last_error
    );
    assert_eq!(stranger.memory.count(Lane::Life), 2);
    assert_eq!(a.memory.count(Lane::Life), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_operation_is_refused_with_both_named() {
    let (ours, theirs) = (Operation::new(1), Operation::new(2));
    let a = founder(&ours, key(1), &[], |_| {}).await;
    let b = founder(&theirs, key(2), &[], |config| {
        config.peers = vec![PeerAddr {
            node: None,
            addr: a.addr().to_string(),
        }];
    })
    .await;
    until(&b, |peers| {
        has_error(peers, &ours.id().to_string()) && has_error(peers, &theirs.id().to_string())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_link_heals_within_seconds() {
    let operation = Operation::new(1);
    let a = founder(&operation, key(1), &[node_id(&key(2))], |config| {
        quick_idle(config)
    })
    .await;
    let relay = Relay::start(a.addr(), None).await;
    let b = joined(&a, key(2), |config| {
        quick_idle(config);
        config.peers = vec![dial(a.id(), relay.front)];
    })
    .await;
    a.until_live(&b).await;
    b.until_live(&a).await;
    relay.cut();
    let passed = relay.passed();
    until(&a, |peers| {
        peers
            .iter()
            .all(|peer| peer.state() == PeerState::Disconnected)
    })
    .await;
    until(&b, |peers| {
        peers
            .iter()
            .all(|peer| peer.state() == PeerState::Disconnected)
    })
    .await;
    a.write(Lane::Life, &[100; 4]);
    b.write(Lane::Life, &[100; 4]);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(relay.passed() <= passed + 1, "the cut lets nothing through");
    relay.heal();
    let began = Instant::now();
    a.memory.until_count(Lane::Life, 8).await;
    b.memory.until_count(Lane::Life, 8).await;
    println!("converged {:?} after the heal", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(10));

    // Asking for a sync does not wait for any pause.
    relay.cut();
    until(&b, |peers| {
        peers
            .iter()
            .all(|peer| peer.state() == PeerState::Disconnected)
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    relay.heal();
    let began = Instant::now();
    let report = b.sync.sync_now(None, true, WAIT).await;
    println!("asked for: {:?}", began.elapsed());
    assert!(report.complete, "{report:?}");
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
}

fn quick_idle(config: &mut sync_quic::SyncConfig) {
    config.limits.idle = Duration::from_secs(2);
    config.limits.keep_alive = Duration::from_millis(500);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_urgent_entry_overtakes_a_full_bulk_lane() {
    let operation = Operation::new(1);
    let a = founder(&operation, key(1), &[node_id(&key(2))], |_| {}).await;
    // 400 kB/s, and 4 MB of bulk: ten seconds of queue.
    let relay = Relay::start(a.addr(), Some(400_000.0)).await;
    let b = joined(&a, key(2), |config| {
        config.peers = vec![dial(a.id(), relay.front)]
    })
    .await;
    b.until_live(&a).await;
    for _ in 0..40 {
        b.write(Lane::Raw, &[25_000; 4]);
    }
    a.memory.until_count(Lane::Raw, 8).await;
    let (began, before) = (Instant::now(), a.memory.count(Lane::Raw));
    b.write(Lane::Flash, &[60]);
    a.memory.until_count(Lane::Flash, 1).await;
    let (took, bulk) = (began.elapsed(), a.memory.count(Lane::Raw));
    println!("urgent entry after {took:?}, bulk {before} then {bulk} of 160");
    // It left before everything that was not on the link yet: half a megabyte waits in the transport, ten times as much
    // as the link's own queue and the receiver's store hold.
    assert!(bulk - before <= 16, "{} entries went first", bulk - before);
    assert!(bulk < 120, "the bulk queue was not full any more");
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_flash_commit_has_the_link_to_itself_beside_four_full_bulk_lanes() {
    const BULK: [Lane; 4] = [Lane::Life, Lane::Coordination, Lane::Summary, Lane::Raw];
    let operation = Operation::new(1);
    let a = founder(&operation, key(1), &[node_id(&key(2))], |_| {}).await;
    let relay = Relay::start(a.addr(), Some(400_000.0)).await;
    let b = joined(&a, key(2), |config| {
        config.peers = vec![dial(a.id(), relay.front)]
    })
    .await;
    b.until_live(&a).await;
    for _ in 0..20 {
        for lane in BULK {
            b.write(lane, &[25_000; 2]);
        }
    }
    let bulk = || BULK.map(|lane| a.memory.count(lane)).iter().sum::<usize>();
    a.memory.until_count(Lane::Life, 4).await;
    let before = bulk();
    b.write(Lane::Flash, &[25_000; 8]);
    a.memory.until_count(Lane::Flash, 8).await;
    let during = bulk() - before;
    println!("8 flash entries, and {during} bulk entries beside them");
    // A fair link would have carried four bulk entries for each of flash; what came was on its way already.
    assert!(during <= 12, "{during} bulk entries took the link");
}

#[tokio::test(flavor = "multi_thread")]
async fn urgent_entries_stay_quick_while_bulk_flows() {
    let (a, b) = pair().await;
    b.until_live(&a).await;
    let (a, b) = (std::sync::Arc::new(a), std::sync::Arc::new(b));
    let (from, to) = (b.clone(), a.clone());
    let bulk = tokio::spawn(async move {
        loop {
            // As fast as the engine takes it: about a megabyte ahead of the other end.
            if from.memory.count(Lane::Raw) < to.memory.count(Lane::Raw) + 80 {
                from.write(Lane::Raw, &[12_000; 4]);
            } else {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    let began = Instant::now();
    let mut times = Vec::new();
    for round in 1..=200 {
        let began = Instant::now();
        b.write(Lane::Flash, &[100]);
        a.memory.until_count(Lane::Flash, round).await;
        times.push(began.elapsed());
    }
    bulk.abort();
    times.sort();
    let rate = a.memory.count(Lane::Raw) as f64 * 0.012 / began.elapsed().as_secs_f64();
    let (p50, p99) = (percentile(&times, 0.5), percentile(&times, 0.99));
    println!("beside {rate:.0} MB/s of bulk: p50 {p50:?}, p99 {p99:?}");
    assert!(rate > 1.0, "bulk did not flow");
    // An unoptimised build on a busy machine; what it must never do is wait for the bulk queue, which is seconds long.
    assert!(p50 < Duration::from_millis(150), "{p50:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_whose_store_stalls_holds_up_no_other() {
    let (a, b) = pair().await;
    b.until_live(&a).await;
    a.memory
        .slow
        .lock()
        .insert(Lane::Coordination, Duration::from_secs(60));
    for _ in 0..40 {
        b.write(Lane::Coordination, &[25_000; 4]);
    }
    // As much as may be under way on that lane is stuck by now.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let began = Instant::now();
    b.write(Lane::Life, &[100]);
    a.memory.until_count(Lane::Life, 1).await;
    b.write(Lane::Summary, &[100]);
    a.memory.until_count(Lane::Summary, 1).await;
    println!("past a stalled lane in {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_asked_for_says_who_could_not_be_reached() {
    let (a, b) = pair().await;
    b.until_live(&a).await;
    // A third member, configured at an address where nothing listens.
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let dead = nobody.local_addr().unwrap();
    b.sync.add_peer(PeerAddr {
        node: None,
        addr: dead.to_string(),
    });
    a.write(Lane::Life, &[100; 3]);
    let report = b.sync.sync_now(Some(a.id()), true, WAIT).await;
    assert!(report.complete && report.peers.len() == 1, "{report:?}");
    assert_eq!(b.memory.count(Lane::Life), 3);
    // Asked for everybody, it waits until the dead one was tried, and no longer than it may.
    let report = b
        .sync
        .sync_now(None, true, Duration::from_millis(300))
        .await;
    let row = report
        .peers
        .iter()
        .find(|peer| peer.configured.as_deref() == Some(&dead.to_string()))
        .unwrap();
    assert_eq!(row.state, PeerState::Disconnected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_tells_where_it_can_be_dialled_and_is_dialled_there() {
    let operation = Operation::new(1);
    let a = founder(&operation, key(1), &[node_id(&key(2))], |_| {}).await;
    let spare = std::net::UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let b = joined(&a, key(2), |config| {
        config.listen = spare;
        config.advertise = vec![spare];
        config.peers = vec![dial(a.id(), a.addr())];
    })
    .await;
    a.until_live(&b).await;
    tokio::time::timeout(PATIENCE, async {
        while !a.memory.addresses.lock().contains_key(&b.id()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    // B comes back without knowing whom to dial: A finds it.
    let stopped = b.stop().await;
    let b = stopped.start(|config| config.listen = spare).await;
    b.until_live(&a).await;
}
