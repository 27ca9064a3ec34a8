//! Packed runs that unfold without end, refer to what nobody has, or come out as something else than was signed. Who may
//! simply be of a later version, or know of other entries, is asked for the plain run; who sends what no version does is
//! caught.

use sync_engine::{Incarnation, Lane, LogId, NodeId, ReasonCode, StreamKind};
use sync_quic::testing::LightPeer;

use super::super::member::Member;
use super::super::scene::Scene;
use super::super::world::INCIDENT;
use super::frames::endless_zeros;
use super::packed_frame::{
    DICTIONARY, PackedFrame, RUN_PACKED, by_place, honest, in_full, packed_entry, short_body,
};
use super::{OwnLog, light, log_id, note, send_run};

const ASKED_FOR_PLAIN: &str = "muster_sync_runs_asked_for_plain_total";
const STORED: &str = "muster_sync_entries_stored_total";
/// Packed runs that come out wrong before their sender is caught, and look-ups in vain before none is made any more.
const PATIENCE: usize = 64;
/// Makes a good frame a bad one.
type Spoil = fn(&mut PackedFrame);
/// Logs that a stream's table holds.
const TABLE_LOGS: u64 = 4_096;

#[tokio::test(flavor = "multi_thread")]
async fn packed_runs_of_every_bad_kind_leave_a_node_serving_and_unchanged() {
    let scene = Scene::set().await;
    packed_bombs_and_nonsense(&scene).await;
    later_versions(&scene).await;
    references_to_nothing(&scene).await;
    look_ups_in_vain(&scene).await;
    wrong_rebuilds(&scene).await;
    tables_that_overflow(&scene).await;
    packed_runs_where_none_were_agreed_on(&scene).await;
}

fn send(light: &LightPeer, frame: &PackedFrame) {
    light.send_raw(StreamKind::Lane(Lane::Life), frame.encode());
}

fn own_log(member: &Member) -> LogId {
    log_id(member, Lane::Life, 7)
}

/// The peer was not caught, and what it sends next, plain, is stored.
async fn goes_on_plain(scene: &Scene, member: &Member, light: &LightPeer) {
    let before = scene.hq.figure(STORED).await;
    let mut log = OwnLog::new(member, Lane::Coordination, 8);
    send_run(light, &log.next(vec![note(member, 1)]));
    scene.hq.until_figure(STORED, before + 1).await;
    scene.is_let_be(member).await;
}

async fn packed_bombs_and_nonsense(scene: &Scene) {
    let codec_writes_nothing = short_body(&packed_entry(INCIDENT, &[]), &[]);
    let too_many_parents = short_body(&packed_entry(INCIDENT, &[1; 65]), &[]);
    let cases: [(&str, Spoil, Vec<u8>); 5] = [
        (
            "its compression",
            |it| it.dictionary = DICTIONARY,
            endless_zeros()[4..].to_vec(),
        ),
        ("its columns", |_| {}, vec![0xff; 40]),
        ("a column ends early", |_| {}, short_body(&[0, 200, 1], &[])),
        (
            "a payload",
            |it| it.noise = vec![7; 16],
            codec_writes_nothing,
        ),
        (
            "too many parents",
            |it| it.noise = vec![7; 16],
            too_many_parents,
        ),
    ];
    let before = scene.hq.refused("frame").await;
    let count = cases.len() as u64;
    for (why, spoil, body) in cases {
        let member = scene.attacker().await;
        let light = light(&member).await;
        let mut frame = PackedFrame::of(&own_log(&member), 1);
        frame.body = body;
        spoil(&mut frame);
        send(&light, &frame);
        let (code, text) = light.closed().await.unwrap();
        assert_eq!(code, ReasonCode::BadFrame.code(), "{text}");
        scene.until_caught(&member, "malformed packed run").await;
        assert!(text.contains(why), "{text} for {why}");
    }
    // A head that ends in the middle of a log.
    let member = scene.attacker().await;
    let light = light(&member).await;
    light.send_raw(
        StreamKind::Lane(Lane::Life),
        vec![RUN_PACKED, 0, 0, 1, 2, 3],
    );
    scene.until_caught(&member, "its head").await;
    assert_eq!(scene.hq.refused("frame").await, before + count + 1);
    scene.goes_on("packed bombs and nonsense").await;
}

/// A dictionary that this version does not have.
async fn later_versions(scene: &Scene) {
    let before = scene.hq.figure(ASKED_FOR_PLAIN).await;
    let member = scene.attacker().await;
    let light = light(&member).await;
    let mut frame = PackedFrame::of(&own_log(&member), 1);
    frame.dictionary = 99;
    frame.body = vec![1, 2, 3];
    send(&light, &frame);
    scene.hq.until_figure(ASKED_FOR_PLAIN, before + 1).await;
    goes_on_plain(scene, &member, &light).await;
}

/// Entries of a log that nobody has heard of.
async fn references_to_nothing(scene: &Scene) {
    let before = scene.hq.figure(ASKED_FOR_PLAIN).await;
    let member = scene.attacker().await;
    let light = light(&member).await;
    let nobodys = LogId {
        author: NodeId([0xbb; 32]),
        ..own_log(&member)
    };
    let mut frame = PackedFrame::of(&own_log(&member), 1);
    frame.logs = vec![in_full(&nobodys)];
    frame.noise = vec![7; 16];
    frame.body = short_body(&packed_entry(INCIDENT, &[3, 4, 900]), &[1; 40]);
    send(&light, &frame);
    scene.hq.until_figure(ASKED_FOR_PLAIN, before + 1).await;
    goes_on_plain(scene, &member, &light).await;
    scene.goes_on("references to nothing").await;
}

/// Entries that are there and have no name that anything could refer to them by, asked for again and again.
async fn look_ups_in_vain(scene: &Scene) {
    let member = scene.attacker().await;
    let light = light(&member).await;
    let before = scene.hq.figure(ASKED_FOR_PLAIN).await;
    let stored = scene.hq.figure(STORED).await;
    let notes = log_id(&member, Lane::Coordination, 9);
    send_run(
        &light,
        &OwnLog::new(&member, notes.lane, 9).next(vec![note(&member, 2)]),
    );
    scene.hq.until_figure(STORED, stored + 1).await;
    let mut frame = PackedFrame::of(&log_id(&member, Lane::Coordination, 7), 1);
    frame.logs = vec![in_full(&notes)];
    frame.noise = vec![7; 16];
    frame.body = short_body(&packed_entry(INCIDENT, &[1]), &[1; 40]);
    for _ in 0..3 * PATIENCE {
        light.send_raw(StreamKind::Lane(Lane::Coordination), frame.encode());
    }
    let all = before + 3 * PATIENCE as u64;
    scene.hq.until_figure(ASKED_FOR_PLAIN, all).await;
    goes_on_plain(scene, &member, &light).await;
    scene.goes_on("look-ups in vain").await;
}

/// Not what its author signed: nobody's fault once, somebody's in the long run.
async fn wrong_rebuilds(scene: &Scene) {
    let member = scene.attacker().await;
    let light = light(&member).await;
    let (before, refused) = (
        scene.hq.figure(ASKED_FOR_PLAIN).await,
        scene.hq.refused("signature").await,
    );
    let mut frame = honest(&member.key, Lane::Coordination, note(&member, 1));
    frame.signature[9] ^= 1;
    for _ in 0..PATIENCE {
        light.send_raw(StreamKind::Lane(Lane::Coordination), frame.encode());
    }
    let all = before + PATIENCE as u64;
    scene.hq.until_figure(ASKED_FOR_PLAIN, all).await;
    scene.is_let_be(&member).await;
    light.send_raw(StreamKind::Lane(Lane::Coordination), frame.encode());
    let (code, text) = light.closed().await.unwrap();
    assert_eq!(code, ReasonCode::BadRun.code(), "{text}");
    scene.until_caught(&member, "refused").await;
    assert_eq!(scene.hq.refused("signature").await, refused + 1);
    scene.goes_on("wrong rebuilds").await;
}

/// More logs than a stream's table holds: what comes later is named in full each time, and a place behind the last is
/// none.
async fn tables_that_overflow(scene: &Scene) {
    const LOGS_A_FRAME: u64 = 1_500;
    let member = scene.attacker().await;
    let light = light(&member).await;
    let before = scene.hq.figure(ASKED_FOR_PLAIN).await;
    for round in 0..4 {
        let mut frame = PackedFrame::of(&own_log(&member), 1);
        let named = |number: u64| LogId {
            incarnation: Incarnation(1_000_000 + round * LOGS_A_FRAME + number),
            ..own_log(&member)
        };
        frame.logs = (0..LOGS_A_FRAME).map(|it| in_full(&named(it))).collect();
        frame.dictionary = 99;
        send(&light, &frame);
    }
    scene.hq.until_figure(ASKED_FOR_PLAIN, before + 4).await;
    // The table is full, and the stream goes on.
    let mut frame = PackedFrame::of(&own_log(&member), 1);
    frame.dictionary = 99;
    frame.logs = vec![by_place(TABLE_LOGS - 1)];
    send(&light, &frame);
    scene.hq.until_figure(ASKED_FOR_PLAIN, before + 5).await;
    goes_on_plain(scene, &member, &light).await;
    frame.logs = vec![by_place(TABLE_LOGS)];
    send(&light, &frame);
    scene.until_caught(&member, "its head").await;
    scene.goes_on("tables that overflow").await;
}

/// To a session of protocol 1 a packed run is a frame of a later version: not read.
async fn packed_runs_where_none_were_agreed_on(scene: &Scene) {
    let mut member = scene.attacker().await;
    member.protocol_max = 1;
    let light = light(&member).await;
    for _ in 0..100 {
        send(&light, &PackedFrame::of(&own_log(&member), 1));
        light.send_raw(StreamKind::Lane(Lane::Life), vec![RUN_PACKED; 50]);
    }
    goes_on_plain(scene, &member, &light).await;
    scene
        .goes_on("packed runs in a session of protocol 1")
        .await;
}
