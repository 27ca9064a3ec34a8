//! Entries in order in every way that say what no honest node would.

use domain::Kind;
use serde_json::json;
use sync_engine::{Lane, Payload, ReasonCode, StreamKind};

use super::super::changes::hostile_changes;
use super::super::member::{change, entry};
use super::super::runs::foreign_run;
use super::super::scene::Scene;
use super::super::world::edit;
use super::{LATER, OwnLog, frame, light, note, send_run};

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_no_honest_node_writes_leave_a_node_serving_and_unchanged() {
    let scene = Scene::set().await;
    poisoned_changes(&scene).await;
    wrong_lanes(&scene).await;
    kinds_of_a_later_version(&scene).await;
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
    let light = light(&member).await;
    let run = foreign_run(&member.key, Lane::Coordination, vec![note(&member, 1)]);
    light.send_raw(StreamKind::Lane(Lane::Flash), frame(&run));
    assert_eq!(light.closed().await.unwrap().0, ReasonCode::BadFrame.code());
    scene.until_caught(&member, "another lane").await;
    scene.goes_on("a run on a wrong stream").await;
}

/// Entries of kinds that this version does not know, where it shows nothing of them: kept, and carried to the others.
async fn kinds_of_a_later_version(scene: &Scene) {
    const ENTRIES: u64 = 5;
    let member = scene.attacker().await;
    let light = light(&member).await;
    let before = scene.truck.figure("muster_sync_entries_stored_total").await;
    let mut log = OwnLog::new(&member, Lane::Coordination, 1);
    for number in 0..ENTRIES {
        let payload = Payload::Plain(vec![number as u8; 40]);
        send_run(&light, &log.next(vec![entry(LATER, scene.bridge, payload)]));
    }
    scene
        .truck
        .until_figure("muster_sync_entries_stored_total", before + ENTRIES)
        .await;
    scene.goes_on("kinds of a later version").await;
    scene.is_let_be(&member).await;
    // Nothing of them is in anybody's way: what comes behind them in the same log is applied.
    send_run(&light, &log.next(vec![note(&member, 1)]));
    scene.goes_on("a note behind them").await;
}
