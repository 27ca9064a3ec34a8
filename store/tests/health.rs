//! What nodes say of devices, as a view: what was said last, nothing from after it came, and again by a rebuild.
#![allow(clippy::unwrap_used)]

mod common;

use common::{commit, node, node_id};
use store::{
    Batch, CommitNo, DeviceHealth, Disposition, HealthSaid, HealthWrite, LocalEntry, RebuildCommit,
    SaidAt, Store,
};
use sync_engine::{GroupId, Lane, ObjectId};

const NOW_MS: i64 = 1_772_366_400_000;

fn heard(device: &str, heard_ms: i64) -> DeviceHealth {
    DeviceHealth {
        device: device.into(),
        heard_ms: Some(heard_ms),
        battery_pct: Some(SaidAt {
            value: 50.0,
            at_ms: heard_ms - 1_000,
        }),
        rssi_dbm: None,
        online: Some(true),
        firmware: Some(SaidAt {
            value: "1.2".into(),
            at_ms: heard_ms - 2_000,
        }),
    }
}

fn said(seed: u8, at_ms: i64, devices: Vec<DeviceHealth>) -> HealthWrite {
    HealthWrite {
        entry: None,
        node: node_id(seed),
        at_ms,
        devices,
    }
}

/// A batch that takes in at [`NOW_MS`] what a node says; its entry stands in our own log, which the view does not mind.
fn say(store: &Store, said: HealthWrite) -> (CommitNo, HealthWrite) {
    let mut batch = Batch::new(Lane::Summary, NOW_MS.unsigned_abs());
    batch.local.push(LocalEntry {
        group: GroupId::SHARED,
        lane: Lane::Summary,
        bytes: b"device health".to_vec(),
        kind: 0x0304,
        object: ObjectId([1; 16]),
        disposition: Disposition::Applied,
    });
    batch.health.push(said.clone());
    (commit(store, batch).commit, said)
}

fn of(store: &Store, device: &str) -> Vec<HealthSaid> {
    store
        .read(|reader| reader.health_of(device, &node_id(1), 10))
        .unwrap()
}

fn fingerprint(store: &Store) -> [u8; 32] {
    store.read(|reader| reader.views_fingerprint()).unwrap()
}

fn rebuild(store: &Store, all: &[(CommitNo, HealthWrite)]) {
    let mut rebuild = store.begin_rebuild().unwrap();
    for (commit, said) in all {
        let replayed = RebuildCommit {
            commit: *commit,
            health: vec![said.clone()],
            ..RebuildCommit::default()
        };
        rebuild.write(vec![replayed]).unwrap();
    }
    rebuild.finish().unwrap();
}

#[test]
fn the_last_word_of_each_node_stands_and_a_rebuild_gives_the_same_rows() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let early_ms = NOW_MS - 60_000;
    let all = [
        say(&store, said(5, early_ms, vec![heard("pump", early_ms)])),
        say(
            &store,
            said(6, NOW_MS, vec![heard("pump", early_ms - 1_000)]),
        ),
        say(&store, said(1, NOW_MS, vec![heard("pump", NOW_MS)])),
        say(
            &store,
            said(
                5,
                NOW_MS,
                vec![heard("mast", NOW_MS), heard("pump", NOW_MS)],
            ),
        ),
    ];
    let shown = of(&store, "pump");
    let nodes: Vec<_> = shown.iter().map(|said| said.node).collect();
    assert_eq!(nodes, [node_id(5), node_id(6)], "whoever asks is not named");
    assert_eq!(shown[0].health, heard("pump", NOW_MS));
    assert_eq!(of(&store, "invented"), []);
    let own = store
        .read(|reader| reader.health_said_by(&node_id(5)))
        .unwrap();
    let own: Vec<_> = own.iter().map(|said| said.health.device.as_str()).collect();
    assert_eq!(own, ["mast", "pump"]);
    let before = fingerprint(&store);
    rebuild(&store, &all);
    assert_eq!(fingerprint(&store), before);
    assert_eq!(of(&store, "pump"), shown);
}

#[test]
fn a_clock_that_is_ahead_makes_nothing_newer_than_its_coming_and_one_that_is_behind_makes_it_old() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let year_ms = 365 * 86_400_000;
    for (seed, off_ms) in [(5, year_ms), (6, -year_ms)] {
        let at_ms = NOW_MS + off_ms;
        say(
            &store,
            said(seed, at_ms, vec![heard("pump", at_ms - 30_000)]),
        );
    }
    let [ahead, behind] = of(&store, "pump").try_into().unwrap();
    assert_eq!((ahead.node, ahead.said_ms), (node_id(5), NOW_MS));
    assert_eq!(ahead.health, heard("pump", NOW_MS - 30_000));
    assert_eq!(behind.health, heard("pump", NOW_MS - year_ms - 30_000));
    // When its clock is right again, what it says counts.
    say(
        &store,
        said(5, NOW_MS, vec![heard("pump", NOW_MS - 90_000)]),
    );
    assert_eq!(of(&store, "pump")[0].health, heard("pump", NOW_MS - 90_000));
}

#[test]
fn a_node_that_invents_devices_without_end_pushes_out_its_own_and_nobody_elses() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let mut all = vec![say(&store, said(6, NOW_MS, vec![heard("pump", NOW_MS)]))];
    for part in 0..11 {
        let many = (0..1_000).map(|number| heard(&format!("invented-{part}-{number}"), NOW_MS));
        all.push(say(&store, said(5, NOW_MS, many.collect())));
    }
    all.push(say(&store, said(5, NOW_MS, vec![heard("pump", NOW_MS)])));
    let kept = store
        .read(|reader| reader.health_said_by(&node_id(5)))
        .unwrap();
    assert_eq!(kept.len(), 10_000);
    assert_eq!(kept[0].health.device, "invented-1-1");
    assert_eq!(of(&store, "pump").len(), 2);
    let before = fingerprint(&store);
    rebuild(&store, &all);
    assert_eq!(fingerprint(&store), before);
}
