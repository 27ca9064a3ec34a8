//! The whole list of attacks against the program itself, over real QUIC, with an honest node beside it. After each: the
//! node serves its API and the honest node, nothing hostile is shown, figures and quarantine say what happened, and
//! memory stayed where it was.

use std::sync::Arc;
use std::time::Duration;

use domain::{Kind, RecordId};
use ed25519_dalek::SigningKey;
use serde_json::json;
use sync_engine::{
    CONTROL_FRAME_BYTES_MAX, Engine, Frontier, GroupId, Incarnation, Interest,
    LANE_FRAME_BYTES_MAX, Lane, Limits, LocalNode, LogId, LogTail, NodeId, Now, Payload,
    ReasonCode, Run, Seq, StreamKind, Trust,
};
use sync_quic::testing::{Crowd, Foreign, Light, LightPeer, Shown};

use super::changes::hostile_changes;
use super::member::{Member, WAIT, change, entry, wall_ms};
use super::process::Scene;
use super::runs::{another_operation, foreign_run};
use super::world::{NOTE, edit};

const SYNC: &[u8] = b"muster/1";
/// The byte that begins the frame of a run.
const RUN: u8 = 16;
/// The byte that begins the frame of a wish to be sent a log again.
const WANT: u8 = 4;
const RUN_PLAIN: u8 = 0;
const RUN_ZSTD: u8 = 1;

#[tokio::test(flavor = "multi_thread")]
async fn every_attack_leaves_a_real_node_serving_and_unchanged() {
    let scene = Scene::set().await;
    scene.goes_on("nothing").await;
    signatures_and_chains(&scene).await;
    replays(&scene).await;
    withheld_acknowledgements(&scene).await;
    floods(&scene).await;
    oversize_frames_and_bombs(&scene).await;
    poisoned_changes(&scene).await;
    wrong_lanes(&scene).await;
    strangers_and_other_operations(&scene).await;
    garbage(&scene).await;
    half_open_handshakes(&scene).await;
    unknown_streams(&scene).await;
}

async fn signatures_and_chains(scene: &Scene) {
    let spoil: [(&str, fn(&mut Run)); 3] = [
        ("signature", |run| run.signatures[0].1.0[7] ^= 1),
        ("signature", |run| run.entries[0][3] ^= 1),
        ("chain", |run| run.prev.0[0] ^= 1),
    ];
    for (why, spoil) in spoil {
        let before = scene.hq.refused(why).await;
        let member = scene.attacker().await;
        let light = light(&member, true).await;
        let mut run = foreign_run(&member.key, Lane::Coordination, vec![note(&member, 1)]);
        spoil(&mut run);
        light.send_raw(StreamKind::Lane(Lane::Coordination), frame(&run));
        assert_eq!(light.closed().await.unwrap().0, ReasonCode::BadRun.code());
        scene.until_caught(&member, "refused").await;
        assert_eq!(scene.hq.refused(why).await, before + 1, "{why}");
    }
    scene.goes_on("forged signatures and broken chains").await;

    // Who was caught is told so, and let in when its time is over.
    let member = scene.attacker().await;
    let (foreign, mut control) = Foreign::greet(member.address, &member.key).await.unwrap();
    control.write(&[0xff; 4]).await.unwrap();
    assert_eq!(
        foreign.closed().await.unwrap().0,
        ReasonCode::BadFrame.code()
    );
    let told = Foreign::dial(member.address, Some(Shown::of(&member.key)), SYNC).await;
    let told = told.err().unwrap();
    assert!(told.contains("refused for 2 s after 1 violation"), "{told}");
    let again = async {
        loop {
            if let Ok(life) = try_light(&member, true).await {
                return life;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    drop(tokio::time::timeout(WAIT, again).await.unwrap());
}

async fn replays(scene: &Scene) {
    let member = scene.attacker().await;
    let light = light(&member, true).await;
    let before = scene.hq.figure("muster_sync_entries_stored_total").await;
    let run = foreign_run(&member.key, Lane::Coordination, vec![note(&member, 1)]);
    for _ in 0..200 {
        light.send_raw(StreamKind::Lane(Lane::Coordination), frame(&run));
    }
    // A second log, so that one knows that all of the first has been looked at.
    let mut log = OwnLog::new(&member, Lane::Coordination, 2);
    light.send_raw(
        StreamKind::Lane(Lane::Coordination),
        frame(&log.next(vec![note(&member, 2)])),
    );
    let stored = async {
        while scene.hq.figure("muster_sync_entries_stored_total").await < before + 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(WAIT, stored).await.unwrap();
    assert!(light.is_open(), "the same twice is nobody's violation");
    scene.goes_on("replayed frames").await;
    // The truck's own, and these two: nothing of the replays.
    let after = scene.hq.figure("muster_sync_entries_stored_total").await;
    assert!(after - before < 20, "{}", after - before);
}

async fn withheld_acknowledgements(scene: &Scene) {
    let member = scene.attacker().await;
    let light = light(&member, false).await;
    for number in 0..20 {
        scene
            .hq
            .incident(&format!("while nobody acknowledges {number}"))
            .await;
    }
    light
        .until(|seen| seen.entries.get(&Lane::Life).copied().unwrap_or(0) > 0)
        .await
        .unwrap();
    let shown = scene.hq.peer(&member.node().to_string()).await;
    assert!(shown["behind_entries"].as_u64().unwrap() >= 20, "{shown:#}");
    scene.goes_on("withheld acknowledgements").await;
    assert!(light.is_open());
}

async fn floods(scene: &Scene) {
    // Thirty megabytes at once, past every window: entries of a later version's kind, in order in every way.
    let member = scene.attacker().await;
    let light = light(&member, true).await;
    let mut log = OwnLog::new(&member, Lane::Coordination, 1);
    let bulk: Vec<u8> = (0..30_000).map(|_| rand::random()).collect();
    let object = RecordId([7; 16]);
    for _ in 0..500 {
        let entries = vec![entry(0x0fff, object, Payload::Plain(bulk.clone())); 2];
        light.send_raw(
            StreamKind::Lane(Lane::Coordination),
            frame(&log.next(entries)),
        );
    }
    // Meanwhile people work on.
    scene.goes_on("a flood of runs").await;
    if let Ok((code, text)) = light.closed().await {
        println!("the flood ended with {code}: {text}");
        assert_eq!(code, ReasonCode::Flow.code(), "{text}");
        scene
            .until_caught(&member, "more was sent than there is room for")
            .await;
    }
    drop(light);

    // Control frames without end, none of them wrong.
    let member = scene.attacker().await;
    let light = self::light(&member, true).await;
    let mut want = vec![WANT];
    let log = log_id(&member, Lane::Life, 99);
    want.extend(postcard::to_allocvec(&(log, Seq(1))).unwrap());
    for _ in 0..50_000 {
        light.send_raw(StreamKind::Control, want.clone());
    }
    scene.goes_on("a flood of control frames").await;
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
    for bomb in [zstd_bomb(), postcard_bomb()] {
        let member = scene.attacker().await;
        let light = light(&member, true).await;
        light.send_raw(StreamKind::Lane(Lane::Flash), bomb);
        assert_eq!(light.closed().await.unwrap().0, ReasonCode::BadFrame.code());
        scene.until_caught(&member, "refused").await;
        bombs += 1;
    }
    assert_eq!(scene.hq.refused("frame").await, before + bombs);
    scene.goes_on("decompression bombs").await;
}

/// A gibibyte of zeros in 32 KiB: repeated blocks (RFC 8878 §3.1.1.2.3) of 128 KiB each.
fn zstd_bomb() -> Vec<u8> {
    const BLOCK_BYTES: u32 = 128 * 1024;
    let mut bomb = vec![RUN, RUN_ZSTD, 0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
    for block in 0..8192_u32 {
        let last = u32::from(block == 8191);
        let header = (BLOCK_BYTES << 3 | 1 << 1 | last).to_le_bytes();
        bomb.extend_from_slice(&header[..3]);
        bomb.push(0);
    }
    bomb
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

async fn poisoned_changes(scene: &Scene) {
    let mut ids = Vec::new();
    for number in 0..8 {
        ids.push(scene.hq.incident(&format!("poisoned {number}")).await);
    }
    let member = scene.attacker().await;
    let mut life = member.connect(1).await;
    let hostile = hostile_changes(&life, &ids).await;
    life.send(Lane::Life, hostile);
    // Honest work of the same key right behind it is applied.
    let mut document = life.document(Kind::Incident, ids[7]).await;
    let honest = edit(
        &mut document,
        life.author(),
        json!({ "severity": "severe" }),
    );
    life.send(Lane::Life, vec![change(Kind::Incident, ids[7], honest)]);
    scene.until_severity(ids[7], "severe").await;
    scene.until_quarantined(8).await;
    scene.until_severity(ids[5], "extreme").await;
    for id in &ids[..5] {
        scene.until_severity(*id, "minor").await;
    }
    scene.goes_on("poisoned changes").await;
    life.sync.shutdown().await;
}

async fn wrong_lanes(scene: &Scene) {
    // A change of the bridge in logs of other lanes: set aside in each of them.
    let member = scene.attacker().await;
    let mut life = member.connect(1).await;
    let mut document = life.document(Kind::Incident, scene.bridge).await;
    let stray = edit(
        &mut document,
        life.author(),
        json!({ "severity": "extreme" }),
    );
    for lane in [Lane::Trust, Lane::Flash, Lane::Coordination, Lane::Summary] {
        life.send(
            lane,
            vec![change(Kind::Incident, scene.bridge, stray.clone())],
        );
    }
    // And under the kind of another document.
    let resource = Kind::Resource.spec().code;
    let wrong_kind = entry(resource, scene.bridge, Payload::Plain(stray));
    life.send(Lane::Life, vec![wrong_kind]);
    scene.until_quarantined(13).await;
    life.sync.shutdown().await;
    scene.goes_on("changes in wrong lanes").await;

    // A run of one lane on the stream of another.
    let member = scene.attacker().await;
    let light = light(&member, true).await;
    let run = foreign_run(&member.key, Lane::Coordination, vec![note(&member, 1)]);
    light.send_raw(StreamKind::Lane(Lane::Flash), frame(&run));
    assert_eq!(light.closed().await.unwrap().0, ReasonCode::BadFrame.code());
    scene.until_caught(&member, "another lane").await;
    scene.goes_on("a run on a wrong stream").await;
}

async fn strangers_and_other_operations(scene: &Scene) {
    let member = scene.attacker().await;
    // Another one's public key without the private one, and no key at all.
    let nobody = SigningKey::from_bytes(&[7; 32]);
    let liar = Shown {
        node: member.node(),
        signs_with: &nobody,
    };
    for shown in [Some(liar), None] {
        assert!(Foreign::dial(member.address, shown, SYNC).await.is_err());
    }
    // A key that nobody let in, with all that a member knows of the operation.
    let stranger = member.with_key(nobody);
    let light = connect(&stranger, true).await.unwrap();
    let run = foreign_run(&stranger.key, Lane::Coordination, vec![note(&stranger, 1)]);
    light.send_raw(StreamKind::Lane(Lane::Coordination), frame(&run));
    let (code, text) = light.closed().await.unwrap();
    assert_eq!(code, ReasonCode::NotMember.code(), "{text}");
    scene.goes_on("a stranger").await;

    // A member that speaks for another operation.
    let before = scene.hq.refused("operation").await;
    let founder = SigningKey::from_bytes(&[66; 32]);
    let (genesis, grant) = another_operation(&founder);
    let mut elsewhere = Trust::new(genesis);
    elsewhere.insert(grant).unwrap();
    let life = member.dial(1, elsewhere).await;
    let refused = async {
        while scene.hq.refused("operation").await == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(WAIT, refused).await.unwrap();
    life.sync.shutdown().await;
    scene.goes_on("another operation").await;
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

async fn half_open_handshakes(scene: &Scene) {
    let member = scene.attacker().await;
    let mut silent = Vec::new();
    // Strangers by the dozen that connect, and then say nothing.
    for number in 0..60_u8 {
        let key = SigningKey::from_bytes(&[180_u8.wrapping_add(number); 32]);
        if let Ok(foreign) = Foreign::dial(member.address, Some(Shown::of(&key)), SYNC).await {
            silent.push(foreign);
        }
    }
    scene
        .goes_on(&format!("{} half-open handshakes", silent.len()))
        .await;
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

/// A member's engine on a connection, both ends members to each other.
async fn light(member: &Member, acknowledges: bool) -> LightPeer {
    try_light(member, acknowledges).await.unwrap()
}

async fn try_light(member: &Member, acknowledges: bool) -> Result<LightPeer, String> {
    let light = connect(member, acknowledges).await?;
    light.until(|seen| seen.live).await?;
    Ok(light)
}

/// The same, without waiting for that: a stranger never becomes one.
async fn connect(member: &Member, acknowledges: bool) -> Result<LightPeer, String> {
    let now = Now {
        mono_ms: 0,
        wall_ms: wall_ms(),
    };
    let local = LocalNode {
        node: member.node(),
        incarnation: Incarnation(50),
        name: "light".into(),
        software: "other".into(),
    };
    let engine = Engine::new(
        5,
        now,
        local,
        member.trust.clone(),
        Frontier::default(),
        Interest::default(),
        Limits::default(),
    );
    let mut light = Light::new(member.key.clone(), engine);
    light.acknowledges = acknowledges;
    light.load = Arc::new(|_, _, _| None);
    Crowd::bind()?.connect(member.address, light).await
}

fn frame(run: &Run) -> Vec<u8> {
    let mut frame = run.encode();
    frame.insert(0, RUN);
    frame
}

/// A note in order, under an id that only this author can have.
fn note(member: &Member, number: u8) -> Vec<u8> {
    let author = member.key.verifying_key().to_bytes();
    let id = domain::ids::new_fact_id(NOTE, &author, wall_ms(), &[number; 10]);
    let text = json!({ "text": "from a member" }).to_string();
    entry(NOTE, id, Payload::Plain(text.into_bytes()))
}

fn log_id(member: &Member, lane: Lane, incarnation: u64) -> LogId {
    LogId {
        author: member.node(),
        incarnation: Incarnation(incarnation),
        group: GroupId::SHARED,
        lane,
    }
}

/// A log that goes on and on.
struct OwnLog {
    tail: LogTail,
    log: LogId,
    key: SigningKey,
}

impl OwnLog {
    fn new(member: &Member, lane: Lane, incarnation: u64) -> Self {
        let log = log_id(member, lane, incarnation);
        Self {
            tail: LogTail::start(log),
            log,
            key: member.key.clone(),
        }
    }

    fn next(&mut self, entries: Vec<Vec<u8>>) -> Run {
        let head = self.tail.head();
        let mut signatures = Vec::new();
        for bytes in &entries {
            signatures.extend(self.tail.push(bytes, &self.key).sign_before);
        }
        signatures.extend(self.tail.seal(&self.key));
        Run {
            log: self.log,
            first: head.seq.next(),
            prev: head.chain,
            entries,
            signatures,
        }
    }
}
