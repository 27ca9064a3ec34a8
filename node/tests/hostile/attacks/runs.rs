//! Runs that are forged, said again and again, and never acknowledged.

use std::time::Duration;

use serde_json::json;
use sync_engine::{Lane, ReasonCode, Run};
use sync_quic::testing::{Foreign, ForeignStream, Light, Shown};

use super::super::member::{Member, WAIT};
use super::super::runs::foreign_run;
use super::super::scene::Scene;
use super::{OwnLog, SYNC, connect_live, engine, light, note, send_run, try_light};

/// Makes a good run a bad one.
type Spoil = fn(&mut Run);

#[tokio::test(flavor = "multi_thread")]
async fn forgeries_replays_and_silence_leave_a_node_serving_and_unchanged() {
    let scene = Scene::set().await;
    scene.goes_on("nothing").await;
    signatures_and_chains(&scene).await;
    offences_in_a_row(&scene).await;
    replays(&scene).await;
    withheld_acknowledgements(&scene).await;
}

async fn signatures_and_chains(scene: &Scene) {
    let spoil: [(&str, Spoil); 3] = [
        ("signature", |run| run.signatures[0].1.0[7] ^= 1),
        ("signature", |run| run.entries[0][3] ^= 1),
        ("chain", |run| run.prev.0[0] ^= 1),
    ];
    for (why, spoil) in spoil {
        let before = scene.hq.refused(why).await;
        let member = scene.attacker().await;
        let light = light(&member).await;
        let mut run = foreign_run(&member.key, Lane::Coordination, vec![note(&member, 1)]);
        spoil(&mut run);
        send_run(&light, &run);
        assert_eq!(light.closed().await.unwrap().0, ReasonCode::BadRun.code());
        scene.until_caught(&member, "refused").await;
        assert_eq!(scene.hq.refused(why).await, before + 1, "{why}");
    }
    scene.goes_on("forged signatures and broken chains").await;
}

/// Who is caught is told so, refused longer each time, shown with what it did, and let in when its time is over.
async fn offences_in_a_row(scene: &Scene) {
    let member = scene.attacker().await;
    let node = member.node().to_string();
    for (offence, seconds) in [(1, 2), (2, 4)] {
        let (foreign, mut control) = greeted(&member).await;
        control.write(&[0xff; 4]).await.unwrap();
        let (code, text) = foreign.closed().await.unwrap();
        assert_eq!(code, ReasonCode::BadFrame.code(), "{text}");
        let peer = scene.until_caught(&member, "bytes, at most").await;
        assert_eq!(peer["violations"], offence, "{peer:#}");
        let left_ms = peer["refused_for_ms"].as_u64().unwrap();
        assert!(left_ms <= seconds * 1_000, "{peer:#}");
        let refused = Foreign::dial(member.address, Some(Shown::of(&member.key)), SYNC).await;
        let told = refused.err().unwrap();
        assert!(told.contains("refused for "), "{told}");
        let plural = if offence == 1 { "" } else { "s" };
        let count = format!("after {offence} violation{plural} of the protocol: frame of");
        assert!(told.contains(&count), "{told}");
    }
    let peer = scene.hq.peer(&node).await;
    assert!(peer["refused_for_ms"].as_u64().is_some(), "{peer:#}");
    let why = peer["last_error"].as_str().unwrap();
    assert!(why.contains("after 2 violations"), "{peer:#}");
    let printed = scene.hq.printed_peers().await;
    assert!(
        printed.contains("broke the protocol 2 times, refused for"),
        "{printed}"
    );
    // Back in the fold, and that is shown, too.
    let again = async {
        loop {
            if let Ok(light) = try_light(&member).await {
                return light;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let light = tokio::time::timeout(WAIT, again).await.unwrap();
    let peer = scene.hq.peer(&node).await;
    assert_eq!(
        (&peer["violations"], peer["refused_for_ms"].as_u64()),
        (&json!(2), None)
    );
    assert!(light.is_open());
}

/// A connection with the control stream begun; waits while the node still refuses the member.
async fn greeted(member: &Member) -> (Foreign, ForeignStream) {
    let greeted = async {
        loop {
            if let Ok(greeted) = Foreign::greet(member.address, &member.key).await {
                return greeted;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(WAIT, greeted).await.unwrap()
}

async fn replays(scene: &Scene) {
    let member = scene.attacker().await;
    let light = light(&member).await;
    let before = scene.hq.figure("muster_sync_entries_stored_total").await;
    let run = foreign_run(&member.key, Lane::Coordination, vec![note(&member, 1)]);
    for _ in 0..200 {
        send_run(&light, &run);
    }
    // A second log, so that one knows that all of the first has been looked at.
    let mut log = OwnLog::new(&member, Lane::Coordination, 2);
    send_run(&light, &log.next(vec![note(&member, 2)]));
    let stored = "muster_sync_entries_stored_total";
    scene.hq.until_figure(stored, before + 2).await;
    assert!(light.is_open(), "the same twice is nobody's violation");
    scene.goes_on("replayed frames").await;
    // The truck's own, and these two: nothing of the replays.
    let after = scene.hq.figure("muster_sync_entries_stored_total").await;
    assert!(after - before < 20, "{}", after - before);
}

async fn withheld_acknowledgements(scene: &Scene) {
    let member = scene.attacker().await;
    let mut silent = Light::new(member.key.clone(), engine(&member));
    silent.acknowledges = false;
    let light = connect_live(&member, silent).await.unwrap();
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
