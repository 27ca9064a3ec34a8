//! A foreign program at the other end, written against the wire format alone: what it must not do costs it its
//! connection and keeps it away for a while, and costs nobody else anything.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::{Member, Operation, PATIENCE, dial, founder, joined, key, node_id};
use sync_engine::{CONTROL_FRAME_BYTES_MAX, LANE_FRAME_BYTES_MAX, Lane, NodeId, ReasonCode};
use sync_quic::testing::{Foreign, ForeignStream, Shown};
use sync_quic::{PeerStatus, SyncConfig};

const SYNC: &[u8] = b"muster/1";
const BAD_FRAME: u32 = ReasonCode::BadFrame.code();
/// The shell's own close code for who broke the protocol a short while ago.
const REFUSED: u32 = 0x102;

/// A node of whose operation the keys 2 to 60 are members.
async fn node_with(tweak: impl FnOnce(&mut SyncConfig)) -> Member {
    let members: Vec<NodeId> = (2..=60).map(|number| node_id(&key(number))).collect();
    founder(&Operation::new(1), key(1), &members, tweak).await
}

async fn node() -> Member {
    node_with(|_| {}).await
}

async fn greet(to: &Member, number: u8) -> (Foreign, ForeignStream) {
    Foreign::greet(to.addr(), &key(number)).await.unwrap()
}

async fn honest(node: &Member) -> Member {
    let honest = joined(node, key(60), |config| {
        config.peers = vec![dial(node.id(), node.addr())]
    })
    .await;
    honest.until_live(node).await;
    honest
}

fn row(node: &Member, number: u8) -> PeerStatus {
    let id = node_id(&key(number));
    let rows = node.sync.peers();
    rows.into_iter().find(|row| row.node == Some(id)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_private_key_nobody_gets_in() {
    let node = node().await;
    let (two, four) = (key(2), key(4));
    let liar = Shown {
        node: node_id(&two),
        signs_with: &four,
    };
    let attempts = [
        ("another's public key", Some(liar), SYNC),
        ("no key", None, SYNC),
        ("another protocol", Some(Shown::of(&two)), b"other/1"),
    ];
    for (what, shown, alpn) in attempts {
        let refused = Foreign::dial(node.addr(), shown, alpn).await.err().unwrap();
        println!("{what}: {refused}");
    }
    Foreign::dial(node.addr(), Some(Shown::of(&two)), SYNC)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_longer_than_allowed_ends_the_connection_before_it_is_read() {
    let node = node().await;
    let (foreign, mut control) = greet(&node, 2).await;
    let length = CONTROL_FRAME_BYTES_MAX as u32 + 1;
    control.write(&length.to_be_bytes()).await.unwrap();
    let (code, text) = foreign.closed().await.unwrap();
    assert_eq!(code, BAD_FRAME, "{text}");

    let (foreign, _control) = greet(&node, 3).await;
    let mut lane = foreign.open().await.unwrap();
    lane.write(&[1 + Lane::Life as u8]).await.unwrap();
    let length = LANE_FRAME_BYTES_MAX as u32 + 1;
    lane.write(&length.to_be_bytes()).await.unwrap();
    let (code, text) = foreign.closed().await.unwrap();
    assert_eq!(code, BAD_FRAME, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_stream_of_one_kind_ends_the_connection() {
    let node = node().await;
    for (number, kind) in [(2, 0), (3, 1 + Lane::Flash as u8)] {
        let (foreign, _control) = greet(&node, number).await;
        let mut streams = Vec::new();
        for _ in 0..2 {
            // The first may be one too many, and the connection gone.
            if let Ok(mut stream) = foreign.open().await {
                let _ = stream.write(&[kind]).await;
                streams.push(stream);
            }
        }
        assert_eq!(foreign.closed().await.unwrap().0, BAD_FRAME);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_any_stream_ends_only_that_connection() {
    let node = node().await;
    let honest = honest(&node).await;
    let noise = |length: usize| -> Vec<u8> { (0..length).map(|_| rand::random()).collect() };
    for kind in 0..8_u8 {
        let (foreign, mut control) = greet(&node, 10 + kind).await;
        let mut lane;
        let stream = if kind == 0 {
            &mut control
        } else {
            lane = foreign.open().await.unwrap();
            lane.write(&[kind]).await.unwrap();
            &mut lane
        };
        // A connection that is closed meanwhile takes no more.
        for length in [1_usize, 2, 60, 2_000, 60_000] {
            for _ in 0..20 {
                let _ = stream.frame(&noise(length)).await;
            }
        }
        // What is not even a frame at the end.
        let _ = stream.write(&noise(5_000)).await;
        let (code, text) = foreign.closed().await.unwrap();
        println!("noise on stream {kind}: {code} {text}");
        assert_ne!(code, ReasonCode::Shutdown.code());
    }
    honest.write(Lane::Life, &[100]);
    node.memory.until_count(Lane::Life, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_later_versions_are_declined_one_after_the_other_and_the_connection_stays() {
    let node = node().await;
    let (foreign, _control) = greet(&node, 2).await;
    for kind in [8, 9, 200, 255] {
        let mut unknown = foreign.open().await.unwrap();
        unknown.write(&[kind, 1, 2, 3]).await.unwrap();
        assert!(unknown.declined().await.unwrap());
        // Dropped, and so finished or reset: its place is free for the next.
    }
    assert!(foreign.is_open());
    // Those of this version still find their places.
    let mut lanes = Vec::new();
    for kind in 1..8 {
        let mut lane = foreign.open().await.unwrap();
        lane.write(&[kind]).await.unwrap();
        lanes.push(lane);
    }
    assert!(foreign.is_open());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_stream_must_be_control_and_must_begin_with_a_preface() {
    let node = node().await;
    let openings = [
        &[1_u8, 0, 0][..],
        &[0, 0, 0, 0, 2, 0xff, 0xff],
        &[0, 0xff, 0xff, 0xff, 0xff],
    ];
    for (number, opening) in (2..).zip(openings) {
        let key = key(number);
        let foreign = Foreign::dial(node.addr(), Some(Shown::of(&key)), SYNC)
            .await
            .unwrap();
        let mut stream = foreign.open().await.unwrap();
        stream.write(opening).await.unwrap();
        assert_eq!(foreign.closed().await.unwrap().0, BAD_FRAME, "{opening:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_broke_the_protocol_is_refused_with_the_reason_shown_and_gets_in_when_its_time_is_over()
{
    let node = node_with(|config| config.limits.refuse_min = Duration::from_millis(800)).await;
    for violations in 1..=2_u32 {
        let (foreign, mut control) = greet(&node, 2).await;
        let length = CONTROL_FRAME_BYTES_MAX as u32 + 1;
        control.write(&length.to_be_bytes()).await.unwrap();
        assert_eq!(foreign.closed().await.unwrap().0, BAD_FRAME);
        let began = Instant::now();

        // At once: refused, and told why. Somebody else is not.
        let again = key(2);
        let again = Foreign::dial(node.addr(), Some(Shown::of(&again)), SYNC).await;
        let told = again.err().unwrap();
        assert!(told.contains(&format!("code {REFUSED}")), "{told}");
        assert!(told.contains("frame of 1048577 bytes"), "{told}");
        let shown = row(&node, 2);
        assert_eq!(shown.violations, violations);
        assert!(shown.refused_for_ms.is_some());
        assert!(
            shown
                .last_error
                .as_deref()
                .is_some_and(|it| it.contains("frame of 1048577 bytes")),
            "{shown:?}"
        );
        drop(greet(&node, 3).await);

        // Twice as long each time.
        let pause = Duration::from_millis(800) * violations;
        let in_again = async {
            loop {
                let key = key(2);
                match Foreign::greet(node.addr(), &key).await {
                    Ok(again) => return again,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        let again = tokio::time::timeout(PATIENCE, in_again).await.unwrap();
        assert!(began.elapsed() >= pause, "{:?}", began.elapsed());
        assert_eq!(row(&node, 2).refused_for_ms, None);
        drop(again);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_breaks_the_protocol_is_not_dialled_either_until_its_time_is_over() {
    let node = node_with(|config| config.limits.refuse_min = Duration::from_secs(1)).await;
    // Reachable for the node: it would dial this member as soon as the link is lost.
    let listener = joined(&node, key(2), |_| {}).await;
    node.sync.add_peer(dial(listener.id(), listener.addr()));
    node.until_live(&listener).await;
    // The same key speaks from elsewhere, takes the place of the old connection, and misbehaves.
    let (foreign, mut control) = greet(&node, 2).await;
    control.write(&[0xff; 4]).await.unwrap();
    assert_eq!(foreign.closed().await.unwrap().0, BAD_FRAME);
    let began = Instant::now();
    assert!(row(&node, 2).refused_for_ms.is_some());
    // Not even if somebody asks for it.
    let asked = node
        .sync
        .sync_now(Some(listener.id()), false, PATIENCE)
        .await;
    assert!(!asked.complete);
    node.until_live(&listener).await;
    assert!(
        began.elapsed() >= Duration::from_millis(900),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_handshakes_in_any_number_keep_no_member_out() {
    let node = node_with(|config| {
        config.limits.handshakes_max = 8;
        config.limits.handshake = Duration::from_secs(2);
    })
    .await;
    // Connected, and then not a word: each holds a slot until its time is over.
    let mut silent = Vec::new();
    for number in 2..40 {
        let key = key(number);
        if let Ok(foreign) = Foreign::dial(node.addr(), Some(Shown::of(&key)), SYNC).await {
            silent.push(foreign);
        }
    }
    println!("{} connections without a word", silent.len());
    let honest = honest(&node).await;
    honest.write(Lane::Flash, &[100]);
    node.memory.until_count(Lane::Flash, 1).await;
    for foreign in &silent {
        // Nobody stays without a greeting; a slow link is no violation.
        let _ = foreign.closed().await;
        assert!(!foreign.is_open());
    }
    assert!((2..40).all(|number| row(&node, number).violations == 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_strangers_is_bounded_and_members_still_get_in() {
    let operation = Operation::new(1);
    let node = founder(&operation, key(1), &[node_id(&key(60))], |config| {
        config.limits.strangers_max = 3
    })
    .await;
    let mut busy = 0;
    let mut held = Vec::new();
    for number in 100..110_u8 {
        let (foreign, control) = greet(&node, number).await;
        let closed = tokio::time::timeout(Duration::from_millis(200), foreign.closed());
        match closed.await {
            Ok(closed) => busy += u32::from(closed.unwrap().0 == ReasonCode::Busy.code()),
            Err(_) => held.push((foreign, control)),
        }
    }
    assert_eq!((held.len(), busy), (3, 7));
    honest(&node).await;
}
