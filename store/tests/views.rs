//! The read models of muster.db against a model, and rebuilding them.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use common::*;
use proptest::prelude::*;
use store::{
    Batch, BoundingBox, CommitNo, ConflictQuery, ConflictState, ConflictWrite, Disposition,
    DocumentQuery, DocumentWrite, FactQuery, FactWrite, RebuildCommit, RunEntry, RunWrite, Store,
};
use sync_engine::{Lane, ObjectId};

fn list(store: &Store, query: &DocumentQuery) -> Vec<ObjectId> {
    store
        .read(|reader| reader.list_documents(query))
        .unwrap()
        .into_iter()
        .map(|row| row.id)
        .collect()
}

#[derive(Debug, Clone)]
struct Edit {
    document: u64,
    title: u8,
    status: u8,
    tag: u8,
    place: Option<(f64, f64)>,
    deleted: bool,
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let one = (
        0u64..8,
        0u8..6,
        0u8..3,
        0u8..4,
        proptest::option::of((-90.0..90.0f64, -180.0..180.0f64)),
        any::<u8>(),
    )
        .prop_map(|(document, title, status, tag, place, deleted)| Edit {
            document,
            title,
            status,
            tag,
            place,
            deleted: deleted < 40,
        });
    proptest::collection::vec(one, 1..60)
}

fn write(edit: &Edit, number: usize) -> DocumentWrite {
    let mut facets = vec![
        ("status", edit.status.to_string()),
        ("tag", edit.tag.to_string()),
    ];
    if edit.tag > 1 {
        facets.push(("tag", "common".to_owned()));
    }
    let title = format!("Incident Ä{} of {}", edit.title, edit.document);
    DocumentWrite {
        title: title.clone(),
        facets,
        location: edit.place,
        deleted: edit.deleted,
        view: format!(
            "{{\"title\":\"{title}\",\"description\":\"Fluß {}\"}}",
            edit.status
        ),
        created_wall_ms: 1_000 + edit.document / 2,
        updated_wall_ms: number as u64,
        ..document(id(edit.document), &format!("v{number}"))
    }
}

fn inside(place: Option<(f64, f64)>, bbox: &BoundingBox) -> bool {
    place.is_some_and(|(lat, lon)| {
        let across = if bbox.lon_min <= bbox.lon_max {
            lon >= bbox.lon_min && lon <= bbox.lon_max
        } else {
            lon >= bbox.lon_min || lon <= bbox.lon_max
        };
        lat >= bbox.lat_min && lat <= bbox.lat_max && across
    })
}

/// What a list must show, from the edits alone.
fn expected(edits: &[Edit], query: &DocumentQuery) -> Vec<ObjectId> {
    let upto = query.at_commit.map_or(edits.len(), |at| {
        usize::try_from(at.0).unwrap().min(edits.len())
    });
    let mut state: BTreeMap<u64, (usize, &Edit)> = BTreeMap::new();
    for (number, edit) in edits[..upto].iter().enumerate() {
        state.insert(edit.document, (number, edit));
    }
    let mut rows: Vec<_> = state
        .into_iter()
        .filter(|(_, (number, edit))| {
            let written = write(edit, *number);
            (query.include_deleted || !edit.deleted)
                && query
                    .changed_after
                    .is_none_or(|after| *number as i64 + 1 > after.0)
                && query
                    .q
                    .as_ref()
                    .is_none_or(|q| written.title.to_lowercase().contains(&q.to_lowercase()))
                && query.facets.iter().all(|(name, value)| {
                    written.facets.iter().any(|(n, v)| n == name && v == value)
                })
                && query
                    .bbox
                    .as_ref()
                    .is_none_or(|bbox| inside(edit.place, bbox))
        })
        .map(|(document, _)| (1_000 + document / 2, id(document)))
        .collect();
    rows.sort();
    rows.reverse();
    rows.into_iter()
        .filter(|(created, id)| {
            query
                .after
                .is_none_or(|after| (*created, *id) < (after.created_wall_ms, after.id))
        })
        .map(|(_, id)| id)
        .take(query.limit)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn lists_say_what_a_model_says_now_and_at_every_commit(edits in edits(), west in -180.0..180.0f64, east in -180.0..180.0f64) {
        let dir = tempfile::tempdir().unwrap();
        let store = node(dir.path());
        for (number, edit) in edits.iter().enumerate() {
            let mut batch = Batch::new(Lane::Life, 100 + number as u64);
            batch.local.push(entry(id(edit.document), b"change"));
            batch.documents.push(write(edit, number));
            commit(&store, batch);
        }
        let plain = DocumentQuery::new(INCIDENT, 100);
        let bbox = BoundingBox { lon_min: west, lat_min: -45.0, lon_max: east, lat_max: 60.0 };
        let mut queries = vec![
            plain.clone(),
            DocumentQuery { include_deleted: true, ..plain.clone() },
            DocumentQuery { q: Some("ä3 OF".into()), ..plain.clone() },
            DocumentQuery { facets: vec![("status".into(), "1".into())], ..plain.clone() },
            DocumentQuery { facets: vec![("tag".into(), "common".into()), ("status".into(), "2".into())], ..plain.clone() },
            DocumentQuery { bbox: Some(bbox), ..plain.clone() },
            DocumentQuery { changed_after: Some(CommitNo(edits.len() as i64 / 2)), ..plain.clone() },
            DocumentQuery { limit: 2, ..plain.clone() },
        ];
        for query in queries.clone() {
            for at in [0, 1, edits.len() as i64 / 2, edits.len() as i64] {
                // Of the past only ASCII letters match in any case.
                let q = query.q.as_ref().map(|_| "Ä3 oF".to_owned());
                queries.push(DocumentQuery { at_commit: Some(CommitNo(at)), q, ..query.clone() });
            }
        }
        for query in &queries {
            prop_assert_eq!(list(&store, query), expected(&edits, query), "{:?}", query);
        }
        // Page by page the list is the same.
        let mut paged = Vec::new();
        let mut query = DocumentQuery { limit: 2, include_deleted: true, ..plain };
        loop {
            let page = store.read(|reader| reader.list_documents(&query)).unwrap();
            let Some(last) = page.last() else { break };
            query.after = Some(last.cursor());
            paged.extend(page.iter().map(|row| row.id));
        }
        prop_assert_eq!(paged, expected(&edits, &DocumentQuery { include_deleted: true, ..DocumentQuery::new(INCIDENT, 100) }));
    }
}

/// Batches of all kinds; answers what a replay gives for each commit.
fn busy_day(store: &Store) -> Vec<RebuildCommit> {
    let mut replay = Vec::new();
    for number in 0..60u64 {
        let mut batch = Batch::new(Lane::Life, 100 + number);
        batch.local.push(entry(id(number % 9), b"change"));
        let mut written = document(id(number % 9), &format!("v{number}"));
        written.facets = vec![("status", (number % 3).to_string())];
        written.location = (number % 2 == 0).then_some((number as f64, 20.0));
        batch.documents.push(written);
        if number % 5 == 0 {
            let mut note = entry(id(1_000 + number), b"note");
            note.kind = NOTE;
            note.lane = Lane::Coordination;
            batch.local.push(note);
            batch.facts.push(FactWrite {
                id: id(1_000 + number),
                kind: NOTE,
                entry: None,
                view: "{\"text\":\"Seen\"}".into(),
                about: Some(id(number % 9)),
                created_wall_ms: number,
            });
        }
        if number % 7 == 0 {
            let state = if number % 2 == 0 {
                ConflictState::Open
            } else {
                ConflictState::Resolved
            };
            batch.conflicts.push(ConflictWrite {
                id: format!("c{}", number % 3),
                kind: "field".into(),
                object: id(number % 9),
                object_kind: INCIDENT,
                field: "title".into(),
                state,
                detail: format!("{{\"n\":{number}}}"),
            });
        }
        let (documents, facts, conflicts) = (
            batch.documents.clone(),
            batch.facts.clone(),
            batch.conflicts.clone(),
        );
        let commit = commit(store, batch).commit;
        replay.push(RebuildCommit {
            commit,
            documents,
            facts,
            conflicts,
            ..RebuildCommit::default()
        });
    }
    replay
}

#[test]
fn a_rebuild_gives_the_same_rows_with_the_same_commits() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let replay = busy_day(&store);
    let before = store.read(|reader| reader.views_fingerprint()).unwrap();
    let journal = store
        .read(|reader| reader.journal_after(CommitNo(0), 1_000))
        .unwrap();
    assert_eq!(
        journal
            .iter()
            .map(|commit| commit.commit)
            .collect::<Vec<_>>(),
        replay
            .iter()
            .map(|commit| commit.commit)
            .collect::<Vec<_>>()
    );
    let mut rebuild = store.begin_rebuild().unwrap();
    for chunk in replay.chunks(7) {
        rebuild.write(chunk.to_vec()).unwrap();
        // Readers see the old views all the while; writers are told.
        assert_eq!(
            store.read(|reader| reader.views_fingerprint()).unwrap(),
            before
        );
    }
    assert_eq!(
        store
            .commit(edit(id(1), "meanwhile", 1))
            .wait()
            .unwrap_err(),
        store::CommitError::Rebuilding
    );
    rebuild.finish().unwrap();
    assert_eq!(
        store.read(|reader| reader.views_fingerprint()).unwrap(),
        before
    );
    let loaded = store.read(|reader| reader.load_document(&id(5))).unwrap();
    assert!(loaded.snapshot.is_some() && loaded.applied.is_empty());
    commit(&store, edit(id(1), "afterwards", 1));
    assert_ne!(
        store.read(|reader| reader.views_fingerprint()).unwrap(),
        before
    );
}

#[test]
fn a_second_rebuild_is_refused_and_does_not_end_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let replay = busy_day(&store);
    let before = store.read(|reader| reader.views_fingerprint()).unwrap();
    let mut rebuild = store.begin_rebuild().unwrap();
    rebuild.write(replay[..10].to_vec()).unwrap();
    assert!(store.begin_rebuild().is_err());
    rebuild.write(replay[10..].to_vec()).unwrap();
    rebuild.finish().unwrap();
    assert_eq!(
        store.read(|reader| reader.views_fingerprint()).unwrap(),
        before
    );
    commit(&store, edit(id(1), "afterwards", 1));
}

#[test]
fn of_several_facts_under_one_id_every_node_keeps_the_same_one() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let stores = [node(one.path()), node(two.path())];
    let batch = |author: u8| {
        let run = Peer::new(author).verified(&[b"note"]);
        let (log, seq) = (*run.log(), run.head().seq);
        let mut batch = Batch::new(Lane::Coordination, 50);
        batch.facts.push(FactWrite {
            id: id(7),
            kind: NOTE,
            entry: Some((log, seq)),
            view: format!("{{\"by\":{author}}}"),
            about: None,
            created_wall_ms: u64::from(author),
        });
        let entries = vec![RunEntry {
            kind: NOTE,
            object: id(7),
            disposition: Disposition::Applied,
        }];
        batch.runs.push(RunWrite { run, entries });
        batch
    };
    let authors = [11, 12, 13, 14];
    let mut kept = Vec::new();
    for (store, authors) in stores.iter().zip([authors, [14, 13, 12, 11]]) {
        let mut replay = Vec::new();
        for author in authors {
            let batch = batch(author);
            let facts = batch.facts.clone();
            let commit = commit(store, batch).commit;
            replay.push(RebuildCommit {
                commit,
                facts,
                ..RebuildCommit::default()
            });
        }
        let fact = store
            .read(|reader| reader.get_fact(&id(7)))
            .unwrap()
            .unwrap();
        let before = store.read(|reader| reader.views_fingerprint()).unwrap();
        let mut rebuild = store.begin_rebuild().unwrap();
        rebuild.write(replay).unwrap();
        rebuild.finish().unwrap();
        assert_eq!(
            store.read(|reader| reader.views_fingerprint()).unwrap(),
            before
        );
        kept.push((fact.log, fact.view, fact.created_wall_ms));
    }
    assert_eq!(kept[0], kept[1]);
}

#[test]
fn an_abandoned_rebuild_leaves_the_old_views() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let replay = busy_day(&store);
    let before = store.read(|reader| reader.views_fingerprint()).unwrap();
    let mut rebuild = store.begin_rebuild().unwrap();
    rebuild.write(replay[..10].to_vec()).unwrap();
    drop(rebuild);
    commit_until_accepted(&store);
    let (documents, facts) = store
        .read(|reader| {
            let facts = FactQuery {
                kind: NOTE,
                limit: 100,
                after: None,
                about: None,
                q: Some("seen".into()),
                changed_after: None,
                at_commit: None,
            };
            Ok((reader.count_by_kind()?, reader.list_facts(&facts)?.len()))
        })
        .unwrap();
    assert_eq!((documents, facts), (vec![(INCIDENT, 9)], 12));
    let _ = before;
}

/// The writer ends an abandoned rebuild on its own; a batch meets either it or the end.
fn commit_until_accepted(store: &Store) {
    for _ in 0..1_000 {
        if store.commit(Batch::new(Lane::Life, 1)).wait().is_ok() {
            return;
        }
    }
    panic!("the rebuild never ended");
}

#[test]
fn pruned_history_stays_pruned_through_a_rebuild() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let replay = busy_day(&store);
    let keep_from = CommitNo(30);
    while store.prune_history(keep_from).wait().unwrap() {}
    let pruned = store.read(|reader| reader.views_fingerprint()).unwrap();
    let mut rebuild = store.begin_rebuild().unwrap();
    rebuild.write(replay).unwrap();
    rebuild.finish().unwrap();
    assert_eq!(
        store.read(|reader| reader.views_fingerprint()).unwrap(),
        pruned
    );
    // After the mark the past is still there.
    let then = DocumentQuery {
        at_commit: Some(CommitNo(40)),
        ..DocumentQuery::new(INCIDENT, 100)
    };
    assert_eq!(list(&store, &then).len(), 9);
}

#[test]
fn one_document_is_shown_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    for (number, version) in ["one", "two", "three"].into_iter().enumerate() {
        commit(&store, edit(id(1), version, 1_000 * (number as u64 + 1)));
    }
    let version_at = |wall_ms| {
        store
            .read(|reader| {
                let at = reader.commit_at(wall_ms)?;
                reader.get_document(Some(INCIDENT), &id(1), Some(at))
            })
            .unwrap()
            .map(|row| row.version)
    };
    assert_eq!(version_at(999), None);
    assert_eq!(version_at(1_000).as_deref(), Some("one"));
    assert_eq!(version_at(2_500).as_deref(), Some("two"));
    assert_eq!(version_at(9_999).as_deref(), Some("three"));
    assert_eq!(
        store
            .read(|reader| reader.get_document(Some(NOTE), &id(1), None))
            .unwrap(),
        None
    );
}

#[test]
fn conflicts_are_listed_until_they_are_superseded() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let write = |id: &str, state| {
        let mut batch = Batch::new(Lane::Life, 1);
        batch.conflicts.push(ConflictWrite {
            id: id.into(),
            kind: "field".into(),
            object: common::id(1),
            object_kind: INCIDENT,
            field: "title".into(),
            state,
            detail: "{}".into(),
        });
        commit(&store, batch)
    };
    write("a", ConflictState::Open);
    write("b", ConflictState::Open);
    write("a", ConflictState::Resolved);
    let ids = |query: ConflictQuery| -> Vec<String> {
        store
            .read(|reader| reader.conflicts(&query))
            .unwrap()
            .into_iter()
            .map(|row| row.id)
            .collect()
    };
    let all = ConflictQuery {
        limit: 10,
        ..ConflictQuery::default()
    };
    assert_eq!(ids(all.clone()), ["b", "a"]);
    assert_eq!(
        ids(ConflictQuery {
            state: Some(ConflictState::Open),
            ..all.clone()
        }),
        ["b"]
    );
    assert_eq!(
        ids(ConflictQuery {
            after: Some((CommitNo(2), "b".into())),
            ..all.clone()
        }),
        ["a"]
    );
    write("b", ConflictState::Superseded);
    assert_eq!(store.read(|reader| reader.conflict("b")).unwrap(), None);
    assert_eq!(
        store
            .read(|reader| reader.conflict("a"))
            .unwrap()
            .unwrap()
            .state,
        ConflictState::Resolved
    );
}
