//! Frames that are none, or unfold to more than they may.

use sync_engine::{
    CONTROL_FRAME_BYTES_MAX, GroupId, Incarnation, LANE_FRAME_BYTES_MAX, Lane, LogId, NodeId,
    ReasonCode, Seq, StreamKind,
};
use sync_quic::testing::Foreign;

use super::super::scene::Scene;
use super::{RUN, RUN_PLAIN, RUN_ZSTD, light};

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_are_none_leave_a_node_serving_and_unchanged() {
    let scene = Scene::set().await;
    oversize_frames_and_bombs(&scene).await;
    garbage(&scene).await;
    unknown_streams(&scene).await;
}

async fn oversize_frames_and_bombs(scene: &Scene) {
    let before = scene.hq.refused("frame").await;
    for (stream, length) in [
        (0, CONTROL_FRAME_BYTES_MAX),
        (1 + Lane::Life as u8, LANE_FRAME_BYTES_MAX),
    ] {
        let member = scene.attacker().await;
        let (foreign, mut control) = Foreign::greet(member.address, &member.key).await.unwrap();
        let mut lane = None;
        let target = match stream {
            0 => &mut control,
            _ => lane.insert(foreign.open().await.unwrap()),
        };
        if stream != 0 {
            target.write(&[stream]).await.unwrap();
        }
        let claimed = u32::try_from(length).unwrap() + 1;
        target.write(&claimed.to_be_bytes()).await.unwrap();
        assert_eq!(
            foreign.closed().await.unwrap().0,
            ReasonCode::BadFrame.code()
        );
        scene.until_caught(&member, "bytes, at most").await;
    }
    assert_eq!(scene.hq.refused("frame").await, before + 2);
    scene.goes_on("oversize frames").await;

    let before = scene.hq.refused("frame").await;
    let mut bombs = 0;
    for (why, bomb) in [("too large", zstd_bomb()), ("malformed", postcard_bomb())] {
        let member = scene.attacker().await;
        let light = light(&member).await;
        light.send_raw(StreamKind::Lane(Lane::Flash), bomb);
        assert_eq!(light.closed().await.unwrap().0, ReasonCode::BadFrame.code());
        scene.until_caught(&member, why).await;
        bombs += 1;
    }
    assert_eq!(scene.hq.refused("frame").await, before + bombs);
    scene.goes_on("decompression bombs").await;
}

/// A gibibyte of zeros in 32 KiB: a zstd frame of repeated blocks (RFC 8878 §3.1.1.2.3) of 128 KiB each.
pub(super) fn endless_zeros() -> Vec<u8> {
    const BLOCK_BYTES: u32 = 128 * 1024;
    const BLOCKS: u32 = 8 * 1024;
    let mut bomb = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
    for block in 1..=BLOCKS {
        let last = u32::from(block == BLOCKS);
        let header = (BLOCK_BYTES << 3 | 1 << 1 | last).to_le_bytes();
        bomb.extend_from_slice(&header[..3]);
        bomb.push(0);
    }
    bomb
}

fn zstd_bomb() -> Vec<u8> {
    [&[RUN, RUN_ZSTD][..], &endless_zeros()].concat()
}

/// A run that says it has four thousand million entries.
fn postcard_bomb() -> Vec<u8> {
    let log = LogId {
        author: NodeId([1; 32]),
        incarnation: Incarnation(1),
        group: GroupId::SHARED,
        lane: Lane::Flash,
    };
    let mut bomb = vec![RUN, RUN_PLAIN];
    bomb.extend(postcard::to_allocvec(&(log, Seq(1), [0_u8; 32], u32::MAX)).unwrap());
    bomb
}

async fn garbage(scene: &Scene) {
    let noise = |length: usize| -> Vec<u8> { (0..length).map(|_| rand::random()).collect() };
    let before = scene.hq.refused("frame").await;
    for stream in 0..8_u8 {
        let member = scene.attacker().await;
        let (foreign, mut control) = Foreign::greet(member.address, &member.key).await.unwrap();
        let mut lane = None;
        let target = match stream {
            0 => &mut control,
            _ => lane.insert(foreign.open().await.unwrap()),
        };
        if stream != 0 {
            target.write(&[stream]).await.unwrap();
        }
        for length in [1_usize, 60, 2_000, 60_000] {
            // A connection that is closed meanwhile takes no more.
            for _ in 0..20 {
                let _ = target.frame(&noise(length)).await;
            }
        }
        let _ = target.write(&noise(5_000)).await;
        foreign.closed().await.unwrap();
    }
    assert!(scene.hq.refused("frame").await > before);
    scene.goes_on("garbage on every stream").await;
}

async fn unknown_streams(scene: &Scene) {
    let member = scene.attacker().await;
    let (foreign, _control) = Foreign::greet(member.address, &member.key).await.unwrap();
    for kind in [8, 99, 255] {
        let mut unknown = foreign.open().await.unwrap();
        unknown.write(&[kind, 1, 2, 3]).await.unwrap();
        assert!(unknown.declined().await.unwrap());
    }
    assert!(foreign.is_open());
    scene.goes_on("unknown kinds of streams").await;
}
