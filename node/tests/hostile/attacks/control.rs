//! The control stream: greetings that lie, marks and proofs of nothing, and what a later version would send.

use std::collections::BTreeMap;

use postcard::to_allocvec;
use serde::Serialize;
use sync_engine::{
    GroupId, Interest, Lane, Mark, MarkHash, Memory, NodeId, OperationId, PROTOCOL_MAX, ReasonCode,
    Seq, StreamKind,
};
use sync_quic::testing::{Foreign, ForeignStream, Light};

use super::super::member::Member;
use super::super::scene::Scene;
use super::{OwnLog, connect_live, engine, light, log_id, note, send_run};

const HELLO: u8 = 1;
const PROGRESS: u8 = 3;
const WANT: u8 = 4;
const MARK: u8 = 8;
const MARKED: u8 = 9;
const PROOF: u8 = 10;
/// Kinds of frames that no version has yet.
const LATER_KINDS: [u8; 3] = [11, 99, 255];

const STORED: &str = "muster_sync_entries_stored_total";

#[tokio::test(flavor = "multi_thread")]
async fn control_frames_that_lie_leave_a_node_serving_and_unchanged() {
    let scene = Scene::set().await;
    greetings_that_lie(&scene).await;
    greetings_of_later_versions(&scene).await;
    marks_that_nobody_agreed_on(&scene).await;
    marks_without_end(&scene).await;
    proofs_of_nothing(&scene).await;
    frames_of_later_versions(&scene).await;
}

/// Makes an honest greeting another one.
type Lie = fn(&mut Greeting);

/// What a greeting says, field by field.
#[derive(Serialize)]
struct Greeting {
    protocol_min: u16,
    protocol_max: u16,
    node: NodeId,
    operation: OperationId,
    software: String,
    name: String,
    groups: Vec<GroupId>,
    lanes: Vec<u8>,
    members: [u8; 8],
    frontier: Said,
    complete: bool,
}

#[derive(Serialize)]
enum Said {
    Later,
    Whole(bool, Vec<u8>),
}

impl Greeting {
    fn of(member: &Member) -> Self {
        Self {
            protocol_min: 1,
            protocol_max: PROTOCOL_MAX,
            node: member.node(),
            operation: member.trust.operation(),
            software: "other".into(),
            name: "other".into(),
            groups: Vec::new(),
            lanes: Vec::new(),
            members: [0; 8],
            frontier: Said::Later,
            complete: false,
        }
    }

    fn frame(&self) -> Vec<u8> {
        frame(HELLO, self)
    }
}

fn frame(kind: u8, body: &impl Serialize) -> Vec<u8> {
    let mut frame = vec![kind];
    frame.extend(to_allocvec(body).unwrap());
    frame
}

async fn greeted(member: &Member) -> (Foreign, ForeignStream) {
    Foreign::greet(member.address, &member.key).await.unwrap()
}

async fn greetings_that_lie(scene: &Scene) {
    let lies: [(&str, Lie); 3] = [
        ("names another node", |it| it.node = NodeId([3; 32])),
        ("more groups than a grant may", |it| {
            it.groups = vec![GroupId([5; 16]); 60_000];
        }),
        ("", |it| it.frontier = Said::Whole(true, vec![0xff; 5_000])),
    ];
    let before = scene.hq.refused("frame").await;
    let count = lies.len() as u64;
    for (why, lie) in lies {
        let member = scene.attacker().await;
        let (foreign, mut control) = greeted(&member).await;
        let mut greeting = Greeting::of(&member);
        lie(&mut greeting);
        control.frame(&greeting.frame()).await.unwrap();
        let (code, text) = foreign.closed().await.unwrap();
        assert_eq!(code, ReasonCode::BadFrame.code(), "{text}");
        scene.until_caught(&member, why).await;
    }
    // Something else before the greeting, and a greeting after the greeting.
    let member = scene.attacker().await;
    let (foreign, mut control) = greeted(&member).await;
    control
        .frame(&frame(MARK, &MarkHash([1; 16])))
        .await
        .unwrap();
    foreign.closed().await.unwrap();
    scene
        .until_caught(&member, "the first frame is no greeting")
        .await;
    let member = scene.attacker().await;
    let (foreign, mut control) = greeted(&member).await;
    for _ in 0..2 {
        control.frame(&Greeting::of(&member).frame()).await.unwrap();
    }
    foreign.closed().await.unwrap();
    scene.until_caught(&member, "a second greeting").await;
    assert_eq!(scene.hq.refused("frame").await, before + count + 2);
    scene.goes_on("greetings that lie").await;
}

/// Versions that have nothing in common part without a grudge; fields behind the last are left unread.
async fn greetings_of_later_versions(scene: &Scene) {
    let before = scene.hq.refused("protocol").await;
    let member = scene.attacker().await;
    let (foreign, mut control) = greeted(&member).await;
    let mut greeting = Greeting::of(&member);
    (greeting.protocol_min, greeting.protocol_max) = (700, 900);
    control.frame(&greeting.frame()).await.unwrap();
    let (code, text) = foreign.closed().await.unwrap();
    assert_eq!(code, ReasonCode::Protocol.code());
    assert!(text.contains("speaks protocol 700 to 900"), "{text}");
    assert_eq!(scene.hq.refused("protocol").await, before + 1);
    let shown = scene.hq.peer(&member.node().to_string()).await;
    assert_eq!(shown["violations"], 0, "{shown:#}");

    let (foreign, mut control) = greeted(&member).await;
    let mut longer = Greeting::of(&member).frame();
    longer.extend([0xee; 300]);
    control.frame(&longer).await.unwrap();
    scene.goes_on("greetings of later versions").await;
    assert!(foreign.is_open());
}

/// A greeting that builds on a mark of the peer's own making: it has to say everything, and then is as good as any.
async fn marks_that_nobody_agreed_on(scene: &Scene) {
    let member = scene.attacker().await;
    let mark = Mark {
        hash: MarkHash([9; 16]),
        scope: Interest::default(),
        heights: vec![(scene.hq.log(Lane::Life).await, Seq(u64::MAX))],
    };
    let mut engine = engine(&member);
    engine.recall(Memory {
        peers: vec![(member.inviter(), mark.hash)],
        marks: vec![mark],
    });
    let light = Light::new(member.key.clone(), engine);
    let light = connect_live(&member, light).await.unwrap();
    let before = scene.hq.figure(STORED).await;
    let mut log = OwnLog::new(&member, Lane::Coordination, 1);
    send_run(&light, &log.next(vec![note(&member, 1)]));
    scene.hq.until_figure(STORED, before + 1).await;
    scene.is_let_be(&member).await;
    scene.goes_on("marks that nobody agreed on").await;
}

async fn marks_without_end(scene: &Scene) {
    let member = scene.attacker().await;
    let light = light(&member).await;
    for number in 0..20_000_u32 {
        let mut hash = [0; 16];
        hash[..4].copy_from_slice(&number.to_le_bytes());
        let kind = if number % 2 == 0 { MARK } else { MARKED };
        light.send_raw(StreamKind::Control, frame(kind, &MarkHash(hash)));
    }
    scene.goes_on("marks without end").await;
    scene.is_let_be(&member).await;
}

async fn proofs_of_nothing(scene: &Scene) {
    let round = (MarkHash([8; 16]), 0_u8);
    let groups = vec![(GroupId::SHARED, [1_u8; 16], 5_u64, 5_u64); 100];
    let nonsense = [
        frame(PROOF, &(round, 0_u8, 7_u64, groups)),
        frame(PROOF, &(round, 1_u8, vec![[3_u8; 8]; 256])),
        frame(PROOF, &(round, 2_u8, vec![([4_u8; 16], [5_u8; 8]); 40_000])),
    ];
    let faults = "muster_sync_proofs_total{result=\"differs\"}";
    let before = scene.hq.figure(faults).await;
    let member = scene.attacker().await;
    let peer = light(&member).await;
    for proof in nonsense.iter().cycle().take(15) {
        peer.send_raw(StreamKind::Control, proof.clone());
    }
    scene.goes_on("proofs of nothing").await;
    scene.is_let_be(&member).await;
    assert_eq!(
        scene.hq.figure(faults).await,
        before,
        "nobody is blamed for it"
    );

    for (why, proof) in [
        (
            "beyond its bounds",
            frame(PROOF, &(round, 1_u8, vec![[3_u8; 8]; 255])),
        ),
        ("malformed frame of kind 10", vec![PROOF; 30]),
    ] {
        let member = scene.attacker().await;
        let light = light(&member).await;
        light.send_raw(StreamKind::Control, proof);
        assert_eq!(light.closed().await.unwrap().0, ReasonCode::BadFrame.code());
        scene.until_caught(&member, why).await;
    }
    scene.goes_on("proofs beyond their bounds").await;
}

/// Kinds and fields that this version does not know, on every stream: skipped, and what follows is read.
async fn frames_of_later_versions(scene: &Scene) {
    let member = scene.attacker().await;
    let light = light(&member).await;
    let unknown = "muster_sync_frames_unknown_total";
    let before = scene.hq.figure(unknown).await;
    for kind in LATER_KINDS {
        for stream in [StreamKind::Control, StreamKind::Lane(Lane::Coordination)] {
            light.send_raw(stream, vec![kind; 1_000]);
        }
    }
    let log = log_id(&member, Lane::Life, 1);
    for known in [
        frame(WANT, &(log, Seq(1))),
        frame(PROGRESS, &BTreeMap::<u8, u8>::new()),
    ] {
        let mut longer = known;
        // A later version's `true`, and what it means by it.
        longer.extend([1, 0xee, 0xee]);
        light.send_raw(StreamKind::Control, longer);
    }
    let stored = scene.hq.figure(STORED).await;
    let mut own = OwnLog::new(&member, Lane::Coordination, 1);
    send_run(&light, &own.next(vec![note(&member, 1)]));
    scene.hq.until_figure(STORED, stored + 1).await;
    scene
        .hq
        .until_figure(unknown, before + 2 * LATER_KINDS.len() as u64)
        .await;
    scene.is_let_be(&member).await;
    scene.goes_on("frames of later versions").await;
}
