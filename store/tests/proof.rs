//! What sync remembers of peers, the faults that comparing with them brought up, and views written anew.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{commit, document, edit, entry, id, key, log_of, node, node_id};
use store::{
    Batch, ConflictState, ConflictWrite, Disposition, EntryState, FaultWrite, GroupUnapplied,
    OpenOptions, RebuildCommit, RewrittenViews, Store,
};
use sync_engine::{GroupId, Interest, Lane, MARKS_MAX, Mark, MarkHash, NodeId, Seq};

fn mark(number: u8) -> Arc<Mark> {
    Arc::new(Mark {
        hash: MarkHash([number; 16]),
        scope: Interest {
            groups: vec![GroupId::SHARED],
            lanes: vec![Lane::Life],
        },
        heights: vec![(log_of(2, Lane::Life), Seq(u64::from(number)))],
    })
}

fn peer(number: u8) -> NodeId {
    NodeId([number; 32])
}

/// Waits until what was handed over without a ticket is on the disk.
fn settle(store: &Store) {
    store.write_sessions(Vec::new()).wait().unwrap();
}

#[test]
fn marks_read_back_the_oldest_first_and_only_the_bound_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    store.keep_mark(peer(1), mark(1), 10);
    store.keep_mark(peer(2), mark(1), 11);
    // Another peer moves on from mark to mark: those before its newest are nobody's.
    for number in 2..60 {
        store.keep_mark(peer(3), mark(number), 20);
    }
    settle(&store);
    let memory = store.read(|reader| reader.sync_memory()).unwrap();
    assert_eq!(memory.marks.len(), MARKS_MAX);
    assert_eq!(memory.marks[0], *mark(1), "two peers stand at it");
    assert_eq!(memory.marks[MARKS_MAX - 1], *mark(59));
    assert_eq!(
        memory.peers,
        [
            (peer(1), MarkHash([1; 16])),
            (peer(2), MarkHash([1; 16])),
            (peer(3), MarkHash([59; 16])),
        ]
    );
}

#[test]
fn a_peer_whose_mark_went_is_not_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    for number in 1..=MARKS_MAX as u8 + 1 {
        store.keep_mark(peer(number), mark(number), 1);
    }
    settle(&store);
    let memory = store.read(|reader| reader.sync_memory()).unwrap();
    assert_eq!(memory.marks.len(), MARKS_MAX);
    assert!(memory.peers.iter().all(|(node, _)| *node != peer(1)));
    assert_eq!(memory.peers.len(), MARKS_MAX);
}

fn fault(about: u8, at_wall_ms: u64) -> FaultWrite {
    FaultWrite {
        at_wall_ms,
        peer: peer(9),
        mark: MarkHash([4; 16]),
        group: GroupId::SHARED,
        about: [about; 16],
        objects: 3,
        detail: format!("{{\"at\":{at_wall_ms}}}"),
    }
}

#[test]
fn the_same_difference_again_is_counted_and_asks_to_be_looked_at_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let record = |about, at| store.record_sync_fault(fault(about, at)).wait().unwrap();
    let unseen = || {
        let unseen = store.read(|reader| reader.unseen_sync_faults()).unwrap();
        (unseen.count, unseen.last_wall_ms)
    };
    assert_eq!(unseen(), (0, None));
    let first = record(1, 10);
    store
        .settle_sync_fault(first, "{}".into(), Some(11))
        .wait()
        .unwrap();
    assert_eq!(unseen(), (1, Some(10)));
    assert_eq!(store.see_sync_faults(first, 12).wait().unwrap(), 1);
    assert_eq!(unseen(), (0, None));
    assert_eq!(record(1, 20), first);
    let second = record(2, 30);
    assert_ne!(second, first);
    let rows = store.read(|reader| reader.sync_faults(None, 10)).unwrap();
    assert_eq!(
        rows.iter().map(|row| row.no).collect::<Vec<_>>(),
        [second, first]
    );
    let again = &rows[1];
    assert_eq!(
        (again.at_wall_ms, again.last_wall_ms, again.times),
        (10, 20, 2)
    );
    assert_eq!(
        (again.repaired_at_wall_ms, again.seen_at_wall_ms),
        (None, None)
    );
    assert_eq!(unseen(), (2, Some(30)));
    let older = store
        .read(|reader| reader.sync_faults(Some(second), 10))
        .unwrap();
    assert_eq!(older.len(), 1);
}

#[test]
fn a_node_that_differs_all_the_time_cannot_fill_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let rows = || {
        settle(&store);
        store
            .read(|reader| reader.sync_faults(None, 1_000))
            .unwrap()
    };
    let with = |number: u8, about: u64| FaultWrite {
        peer: peer(number),
        ..fault((about % 2) as u8, about)
    };
    drop(store.record_sync_fault(with(0, 0)));
    for at in 1..=450 {
        drop(store.record_sync_fault(with(1, at)));
    }
    assert_eq!(
        rows().len(),
        21,
        "one peer cannot push out what others showed"
    );
    assert_eq!(rows()[0].at_wall_ms, 450);
    assert_eq!(rows()[20].at_wall_ms, 0);
    for number in 2..30 {
        for at in 0..10 {
            drop(store.record_sync_fault(with(number, at)));
        }
    }
    assert_eq!(rows().len(), 200);
}

fn plain(dir: &Path) -> Store {
    let options = OpenOptions {
        encrypt: false,
        ..OpenOptions::default()
    };
    Store::open(dir, &key(), &options).unwrap()
}

/// Changes rows behind the store's back.
fn damage(dir: &Path, store: Store, sql: &str) -> Store {
    store.close();
    drop(store);
    let changed = rusqlite::Connection::open(dir.join("muster.db"))
        .unwrap()
        .execute(sql, [])
        .unwrap();
    assert!(changed > 0, "{sql}");
    plain(dir)
}

#[test]
fn views_of_an_object_written_anew_are_those_a_rebuild_gives_whatever_was_damaged() {
    for sql in [
        "DELETE FROM document WHERE id = (SELECT max(id) FROM document)",
        "UPDATE document SET heads = x'00', view = '{}', facets = '' WHERE id = (SELECT max(id) FROM document)",
        "DELETE FROM row_facet",
        "DELETE FROM conflict",
        "DELETE FROM document_log",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let store = plain(dir.path());
        store.put_identity(common::identity(1)).wait().unwrap();
        let object = id(7);
        commit(&store, edit(id(1), "other", 1));
        let mut commits = Vec::new();
        for version in ["a", "b", "c"] {
            let mut batch = edit(object, version, 1);
            batch.documents[0].facets = vec![("status", version.to_owned())];
            batch.documents[0].location = Some((48.0, 16.0));
            batch.conflicts.push(ConflictWrite {
                id: "c1".into(),
                kind: "field".into(),
                object,
                object_kind: common::INCIDENT,
                field: "status".into(),
                state: ConflictState::Open,
                detail: version.into(),
            });
            let (documents, conflicts) = (batch.documents.clone(), batch.conflicts.clone());
            let commit = commit(&store, batch).commit;
            commits.push(RebuildCommit {
                commit,
                documents,
                conflicts,
                ..RebuildCommit::default()
            });
        }
        let before = store.read(|reader| reader.views_fingerprint()).unwrap();
        let store = damage(dir.path(), store, sql);
        if sql.contains("row_facet") || sql.contains("document_log") {
            // The other document has no facets, and its own log stays as it is damaged: compare from here on.
            let mut other = Batch::new(Lane::Life, 1);
            other.rewritten.push(RewrittenViews {
                object: id(1),
                commits: vec![RebuildCommit {
                    commit: store::CommitNo(1),
                    documents: vec![document(id(1), "other")],
                    ..RebuildCommit::default()
                }],
            });
            commit(&store, other);
        }
        assert_ne!(
            store.read(|reader| reader.views_fingerprint()).unwrap(),
            before,
            "{sql}"
        );
        let mut batch = Batch::new(Lane::Life, 2);
        batch.rewritten.push(RewrittenViews { object, commits });
        commit(&store, batch);
        assert_eq!(
            store.read(|reader| reader.views_fingerprint()).unwrap(),
            before,
            "{sql}"
        );
        let event = store
            .read(|reader| reader.events_since(0, 1_000))
            .unwrap()
            .unwrap()
            .pop()
            .unwrap();
        assert!(
            matches!(&event.subject, store::EventSubject::Object { id, version, .. } if *id == object && version == "c"),
            "{event:?}"
        );
    }
}

#[test]
fn an_entry_that_nothing_is_known_of_is_found_in_doubt() {
    let dir = tempfile::tempdir().unwrap();
    let store = plain(dir.path());
    store.put_identity(common::identity(1)).wait().unwrap();
    let mut batch = edit(id(1), "a", 1);
    for (object, disposition) in [
        (
            2,
            Disposition::Waiting {
                missing: vec![[3; 32]],
            },
        ),
        (
            3,
            Disposition::Held {
                fault: "automerge panicked".into(),
            },
        ),
        (
            4,
            Disposition::Quarantined {
                reason: "no".into(),
            },
        ),
    ] {
        batch.local.push(store::LocalEntry {
            disposition,
            ..entry(id(object), b"change")
        });
    }
    commit(&store, batch);
    let counts = |store: &Store| {
        store
            .read(|reader| reader.unapplied_in(&GroupId::SHARED))
            .unwrap()
    };
    assert_eq!(
        counts(&store),
        GroupUnapplied {
            pending: 2,
            quarantined: 1
        }
    );
    let held = store
        .read(|reader| reader.objects_held_back(None, 10))
        .unwrap();
    assert_eq!(held, [id(3)]);
    let store = damage(dir.path(), store, "DELETE FROM waiting");
    assert_eq!(counts(&store).pending, 1);
    let doubtful = store
        .read(|reader| reader.objects_not_all_applied(10))
        .unwrap();
    assert_eq!(doubtful, [id(2), id(3), id(4)]);
    let entries = store.read(|reader| reader.entries_about(&id(2))).unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].state, EntryState::Unknown);
    assert_eq!(entries[0].entry.log.author, node_id(1));
    let applied = store
        .read(|reader| reader.applications_of(&[id(1), id(2)]))
        .unwrap();
    assert_eq!(applied.keys().collect::<Vec<_>>(), [&id(1)]);
}
