//! More than there is room for, and more than anybody needs.

use domain::RecordId;
use sync_engine::{Incarnation, Lane, LogId, NodeId, Payload, ReasonCode, Seq, StreamKind};

use super::super::member::entry;
use super::super::scene::Scene;
use super::{LATER, OwnLog, light, log_id, send_run};

/// The byte that begins the frame of how far somebody is.
const PROGRESS: u8 = 3;
/// The byte that begins the frame of a wish to be sent a log again.
const WANT: u8 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn floods_leave_a_node_serving_and_unchanged() {
    let scene = Scene::set().await;
    runs_without_end(&scene).await;
    wishes_without_end(&scene).await;
    claims_without_end(&scene).await;
}

/// Thirty megabytes at once, past every window: entries of a later version's kind, in order in every way.
async fn runs_without_end(scene: &Scene) {
    let member = scene.attacker().await;
    let light = light(&member).await;
    let mut log = OwnLog::new(&member, Lane::Coordination, 1);
    let bulk: Vec<u8> = (0..30_000).map(|_| rand::random()).collect();
    for _ in 0..500 {
        let bulk = Payload::Plain(bulk.clone());
        send_run(
            &light,
            &log.next(vec![entry(LATER, RecordId([7; 16]), bulk); 2]),
        );
    }
    // Meanwhile people work on.
    scene.goes_on("a flood of runs").await;
    // Either the node took all of it, at its own pace, or it said that this is too much.
    if !light.is_open() {
        let (code, text) = light.closed().await.unwrap();
        assert_eq!(code, ReasonCode::Flow.code(), "{text}");
        let why = "more was sent than there is room for";
        scene.until_caught(&member, why).await;
    }
}

/// Control frames, none of them wrong: they are urgent, and still must not stop the bulk of others.
async fn wishes_without_end(scene: &Scene) {
    let member = scene.attacker().await;
    let light = light(&member).await;
    let mut want = vec![WANT];
    let log = log_id(&member, Lane::Life, 99);
    want.extend(postcard::to_allocvec(&(log, Seq(1))).unwrap());
    for _ in 0..50_000 {
        light.send_raw(StreamKind::Control, want.clone());
    }
    scene.goes_on("a flood of control frames").await;
}

/// A member says that it has stored logs that nobody has: first as many as are remembered of one peer, then more.
async fn claims_without_end(scene: &Scene) {
    const LOGS_A_FRAME: u64 = 4_096;
    const LOGS_REMEMBERED: u64 = 65_536;
    let member = scene.attacker().await;
    let light = light(&member).await;
    let claims = |round: u64| {
        let claims: Vec<_> = (0..LOGS_A_FRAME)
            .map(|number| {
                let log = LogId {
                    author: NodeId([0xaa; 32]),
                    incarnation: Incarnation(round * LOGS_A_FRAME + number),
                    ..log_id(&member, Lane::Life, 0)
                };
                (log, Seq(u64::MAX), [0_u8; 8], Seq(u64::MAX))
            })
            .collect();
        let mut frame = vec![PROGRESS];
        frame.extend(postcard::to_allocvec(&claims).unwrap());
        frame
    };
    // The node's own logs and the other's are among those remembered.
    let rounds = LOGS_REMEMBERED / LOGS_A_FRAME - 1;
    for round in 0..rounds {
        light.send_raw(StreamKind::Control, claims(round));
    }
    scene.goes_on("claims of logs that nobody has").await;
    scene.is_let_be(&member).await;
    for round in rounds..rounds + 2 {
        light.send_raw(StreamKind::Control, claims(round));
    }
    scene.until_caught(&member, "too many logs").await;
    scene.goes_on("more claims than are remembered").await;
}
