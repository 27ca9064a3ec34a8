//! This node's own memory: identity, sessions, invitations, idempotency, outbox, acknowledgements; and opening files.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use common::*;
use store::{
    AuditWrite, Batch, CommitNo, Evaluated, EventSubject, IdempotencyWrite, Invite, OpenOptions,
    RuleCursor, SessionRecord, SessionWrite, Store, StoreError,
};
use sync_engine::{Lane, Seq};

#[test]
fn a_second_opener_is_refused_with_the_holders_number() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let error = Store::open(dir.path(), &key(), &OpenOptions::default())
        .err()
        .unwrap();
    assert!(
        error
            .to_string()
            .contains(&format!("process {}", std::process::id())),
        "{error}"
    );
    drop(store);
    open(dir.path());
}

#[test]
fn a_wrong_key_is_told_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    node(dir.path()).close();
    let wrong = store::DbKey::new([8; 32]);
    let error = Store::open(dir.path(), &wrong, &OpenOptions::default())
        .err()
        .unwrap();
    assert!(matches!(error, StoreError::WrongKey { .. }), "{error}");
    assert_eq!(
        open(dir.path())
            .read(|reader| reader.identity())
            .unwrap()
            .unwrap()
            .name,
        "north"
    );
}

#[test]
fn a_damaged_file_is_named_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    node(dir.path()).close();
    let path = dir.path().join("muster.db");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[..4096].fill(0x5a);
    std::fs::write(&path, &bytes).unwrap();
    let error = Store::open(dir.path(), &key(), &OpenOptions::default())
        .err()
        .unwrap();
    assert!(error.to_string().contains("muster.db"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_file_of_a_newer_program_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let plain = OpenOptions {
        encrypt: false,
        ..OpenOptions::default()
    };
    Store::open(dir.path(), &key(), &plain).unwrap().close();
    rusqlite::Connection::open(dir.path().join("readings.db"))
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let error = Store::open(dir.path(), &key(), &plain).err().unwrap();
    assert!(
        matches!(error, StoreError::TooNew { found: 99, .. }),
        "{error}"
    );
}

#[test]
fn nothing_readable_is_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    commit(&store, edit(id(1), "a telling title", 1));
    store.close();
    for name in ["muster.db", "readings.db", "blobs.db"] {
        let bytes = std::fs::read(dir.path().join(name)).unwrap();
        assert!(
            !bytes
                .windows(6)
                .any(|window| window == b"SQLite" || window == b"tellin"),
            "{name}"
        );
    }
}

#[test]
fn identity_and_settings_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let put = |name: &str, value: Option<Vec<u8>>| {
        let mut batch = Batch::new(Lane::Coordination, 0);
        batch.settings.push((name.to_owned(), value));
        store.commit(batch).wait().unwrap();
    };
    put("snapshot", Some(vec![1, 2]));
    put("gone", Some(vec![3]));
    put("gone", None);
    drop(store);
    let store = open(dir.path());
    let identity = store.read(|reader| reader.identity()).unwrap().unwrap();
    assert_eq!((identity.node_secret[0], identity.incarnation.0), (1, 7));
    assert_eq!(
        store.read(|reader| reader.setting("snapshot")).unwrap(),
        Some(vec![1, 2])
    );
    assert_eq!(store.read(|reader| reader.setting("gone")).unwrap(), None);
}

#[test]
fn entries_are_signed_by_whoever_the_node_is_at_that_moment() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let before = store.commit(edit(id(1), "one", 1));
    let changed = store.put_identity(identity(2));
    let after = store.commit(edit(id(2), "two", 1));
    assert_eq!(before.wait().unwrap().stored[0].0.author, node_id(1));
    changed.wait().unwrap();
    let committed = after.wait().unwrap();
    assert_eq!(committed.stored, [(log_of(2, Lane::Life), Seq(1))]);
    assert!(
        committed
            .local_runs
            .into_iter()
            .all(|run| run.verify().is_ok())
    );
}

#[test]
fn an_invitation_is_taken_once_and_not_after_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let invite = |secret| Invite {
        secret_hash: [secret; 32],
        role: "field".into(),
        organisation: None,
        expires_wall_ms: 100,
    };
    store.put_invite(invite(1), 10).wait().unwrap();
    store.put_invite(invite(2), 10).wait().unwrap();
    assert_eq!(
        store.take_invite([1; 32], 50).wait().unwrap(),
        Some(invite(1))
    );
    assert_eq!(store.take_invite([1; 32], 50).wait().unwrap(), None);
    assert_eq!(store.take_invite([2; 32], 101).wait().unwrap(), None);
}

#[test]
fn sessions_end_alone_by_family_by_user_and_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let session = |token: u8, family: u8, user: u64, expires_wall_ms| SessionRecord {
        token_hash: [token; 32],
        kind: "access".into(),
        user: id(user),
        family: [family; 16],
        created_wall_ms: 1,
        expires_wall_ms,
        data: "{}".into(),
    };
    let all = [
        session(1, 1, 1, 100),
        session(2, 1, 1, 100),
        session(3, 2, 1, 100),
        session(4, 3, 2, 100),
        session(5, 4, 3, 9),
    ];
    store
        .write_sessions(all.iter().cloned().map(SessionWrite::Put).collect())
        .wait()
        .unwrap();
    let left = || -> Vec<u8> {
        (1..=5)
            .filter(|token| {
                store
                    .read(|reader| reader.session(&[*token; 32]))
                    .unwrap()
                    .is_some()
            })
            .collect()
    };
    assert_eq!(left(), [1, 2, 3, 4, 5]);
    store
        .write_sessions(vec![SessionWrite::DeleteFamily { family: [1; 16] }])
        .wait()
        .unwrap();
    assert_eq!(left(), [3, 4, 5]);
    let mut batch = Batch::new(Lane::Coordination, 1);
    batch.sessions = vec![
        SessionWrite::DeleteUser { user: id(1) },
        SessionWrite::Expire { before_wall_ms: 10 },
    ];
    commit(&store, batch);
    assert_eq!(left(), [4]);
    store
        .write_sessions(vec![SessionWrite::Delete {
            token_hash: [4; 32],
        }])
        .wait()
        .unwrap();
    assert!(left().is_empty());
}

#[test]
fn an_answer_is_remembered_for_seven_days_with_its_batch() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let answer = IdempotencyWrite {
        scope: "admin POST /v1/incidents".into(),
        key: "k".into(),
        body_hash: [1; 32],
        status: 201,
        answer: b"{}".to_vec(),
        at_wall_ms: 1_000,
    };
    let mut batch = edit(id(1), "one", 1_000);
    batch.idempotency = Some(answer.clone());
    batch.audit.push(AuditWrite {
        at_wall_ms: 1_000,
        actor: "admin".into(),
        action: "create".into(),
        kind: Some(INCIDENT),
        object: Some(id(1)),
        detail: "{}".into(),
    });
    commit(&store, batch);
    let week = 7 * 24 * 3_600_000;
    let find = |now| {
        store
            .read(|reader| reader.idempotency(&answer.scope, "k", now))
            .unwrap()
    };
    assert_eq!(find(1_000 + week), Some(answer.clone()));
    assert_eq!(find(1_001 + week), None);
    let audit = store.read(|reader| reader.audit(None, 10)).unwrap();
    assert_eq!(
        (audit.len(), audit[0].commit, audit[0].object),
        (1, CommitNo(1), Some(id(1)))
    );
}

#[test]
fn events_are_told_in_order_and_an_unknown_position_asks_for_a_reset() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    assert_eq!(
        store.read(|reader| reader.events_since(0, 10)).unwrap(),
        Some(vec![])
    );
    for number in 0..5 {
        let committed = commit(&store, edit(id(number), "v", 1));
        assert_eq!(committed.event_position, number as i64 + 1);
    }
    let events = store
        .read(|reader| reader.events_since(2, 2))
        .unwrap()
        .unwrap();
    assert_eq!(
        events
            .iter()
            .map(|event| event.position)
            .collect::<Vec<_>>(),
        [3, 4]
    );
    let subject = EventSubject::Object {
        kind: INCIDENT,
        id: id(2),
        version: "v".into(),
    };
    assert_eq!(events[0].subject, subject);
    assert_eq!(
        store.read(|reader| reader.events_since(6, 2)).unwrap(),
        None
    );
    assert_eq!(
        store.read(|reader| reader.events_since(-1, 2)).unwrap(),
        None
    );
}

#[test]
fn the_hook_hears_every_commit_in_order_before_its_ticket() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let heard = Arc::new(AtomicI64::new(0));
    let of_hook = heard.clone();
    store.set_commit_hook(move |group| {
        assert_eq!(
            of_hook.swap(group.last.0, Ordering::SeqCst),
            group.first.0 - 1
        );
        assert_eq!(group.events.len() as i64, group.last.0 - group.first.0 + 1);
        assert!(!group.local_runs.is_empty());
    });
    let tickets: Vec<_> = (0..200)
        .map(|number| store.commit(edit(id(number), "v", 1)))
        .collect();
    for ticket in tickets {
        let commit = ticket.wait().unwrap().commit;
        assert!(heard.load(Ordering::SeqCst) >= commit.0);
    }
}

#[test]
fn a_peer_has_a_document_when_it_has_all_of_its_entries() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    for number in 1..=3 {
        commit(&store, edit(id(number), "v", 1));
    }
    let (log, peer) = (log_of(1, Lane::Life), node_id(5));
    store.record_progress(peer, &[(log, Seq(1), Seq(0))], 100);
    commit(&store, edit(id(9), "flushes", 1));
    store.record_progress(peer, &[(log, Seq(2), Seq(1))], 200);
    store.record_progress(peer, &[(log_of(8, Lane::Life), Seq(2), Seq(1))], 200);
    commit(&store, edit(id(9), "flushes", 1));
    // Nothing but time passes: an alarm writes it.
    store.record_progress(peer, &[(log, Seq(2), Seq(2))], 300);
    let seen = |number| {
        let seen = store
            .read(|reader| reader.seen_by(&id(number), &node_id(1)))
            .unwrap();
        seen.first()
            .map(|seen| (seen.stored_at_wall_ms, seen.applied_at_wall_ms))
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while seen(2) != Some((Some(200), Some(300))) {
        assert!(std::time::Instant::now() < deadline, "{:?}", seen(2));
        std::thread::yield_now();
    }
    assert_eq!(seen(1), Some((Some(100), Some(200))));
    assert_eq!(seen(3), None);
}

#[test]
fn marks_of_a_peer_are_thinned_out_and_never_claim_an_earlier_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let count = 700u64;
    for number in 1..=count {
        commit(&store, edit(id(number), "v", 1));
        store.record_progress(
            node_id(5),
            &[(log_of(1, Lane::Life), Seq(number), Seq(number))],
            number,
        );
    }
    store.close();
    drop(store);
    let store = open(dir.path());
    for number in [1, 2, 100, 350, count] {
        let seen = store
            .read(|reader| reader.seen_by(&id(number), &node_id(1)))
            .unwrap();
        assert!(
            seen[0].stored_at_wall_ms.unwrap() >= number,
            "{number}: {seen:?}"
        );
    }
}

#[test]
fn a_rule_cursor_of_an_older_version_counts_evaluations_from_now_on() {
    let dir = tempfile::tempdir().unwrap();
    let plain = OpenOptions {
        encrypt: false,
        ..OpenOptions::default()
    };
    let before = rusqlite::Connection::open(dir.path().join("muster.db")).unwrap();
    for migration in [
        include_str!("../migrations/muster/0001_log_and_local.sql"),
        include_str!("../migrations/muster/0002_receipts.sql"),
        include_str!("../migrations/muster/0003_marks_and_faults.sql"),
        "INSERT INTO rule_cursor VALUES (1, zeroblob(16), 7, x'01'); PRAGMA user_version = 3;",
    ] {
        before.execute_batch(migration).unwrap();
    }
    drop(before);
    let store = Store::open(dir.path(), &key(), &plain).unwrap();
    let cursor = store.read(|reader| reader.rule_cursor()).unwrap().unwrap();
    assert_eq!((cursor.position, cursor.state), (7, vec![1]));
    assert_eq!(cursor.evaluated, Evaluated::default());
}

#[test]
fn the_number_of_a_sequence_of_evaluations_is_the_same_for_ever() {
    let of = |positions: &[i64]| {
        let mut evaluated = Evaluated::default();
        positions
            .iter()
            .for_each(|position| evaluated.note(*position));
        evaluated
    };
    let all = of(&[1, 2, 3, 4]);
    assert_eq!(
        (all.readings, all.sequence),
        (4, 15_756_576_469_386_215_423)
    );
    for other in [&[1, 2, 4, 3][..], &[1, 2, 2, 4], &[1, 3, 4], &[2, 2, 3, 3]] {
        assert_ne!(of(other).sequence, all.sequence, "{other:?}");
    }
}

#[test]
fn the_rule_cursor_is_committed_with_its_effect() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let cursor = RuleCursor {
        file_id: store.readings().file_id(),
        position: 12,
        evaluated: Evaluated {
            readings: 11,
            sequence: u64::MAX,
        },
        state: vec![1],
    };
    let mut batch = edit(id(1), "raised", 1);
    batch.rule_cursor = Some(cursor.clone());
    commit(&store, batch);
    assert_eq!(
        store.read(|reader| reader.rule_cursor()).unwrap(),
        Some(cursor)
    );
}

#[test]
fn views_of_another_version_are_made_anew_and_ask_for_a_rebuild() {
    let dir = tempfile::tempdir().unwrap();
    let plain = OpenOptions {
        encrypt: false,
        ..OpenOptions::default()
    };
    let store = Store::open(dir.path(), &key(), &plain).unwrap();
    assert!(!store.read(|reader| reader.rebuild_needed()).unwrap());
    store.put_identity(identity(1)).wait().unwrap();
    commit(&store, edit(id(1), "one", 1));
    drop(store);
    rusqlite::Connection::open(dir.path().join("muster.db"))
        .unwrap()
        .execute("UPDATE meta SET value = 0 WHERE name = 'views_version'", [])
        .unwrap();
    let store = Store::open(dir.path(), &key(), &plain).unwrap();
    assert!(store.read(|reader| reader.rebuild_needed()).unwrap());
    assert_eq!(store.read(|reader| reader.count_by_kind()).unwrap(), []);
    let mut rebuild = store.begin_rebuild().unwrap();
    let replayed = store::RebuildCommit {
        commit: CommitNo(1),
        documents: vec![document(id(1), "one")],
        ..store::RebuildCommit::default()
    };
    rebuild.write(vec![replayed]).unwrap();
    rebuild.finish().unwrap();
    assert!(!store.read(|reader| reader.rebuild_needed()).unwrap());
    assert_eq!(
        store.read(|reader| reader.count_by_kind()).unwrap(),
        [(INCIDENT, 1)]
    );
}

#[test]
fn closing_leaves_an_empty_write_ahead_log() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    commit(&store, edit(id(1), "one", 1));
    store.close();
    for name in ["muster.db-wal", "readings.db-wal"] {
        let length = std::fs::metadata(dir.path().join(name)).map_or(0, |file| file.len());
        assert_eq!(length, 0, "{name}");
    }
    drop(store);
    let found = open(dir.path())
        .read(|reader| reader.get_document(None, &id(1), None))
        .unwrap();
    assert!(found.is_some());
}

#[test]
fn a_long_write_ahead_log_is_begun_anew_while_writing_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let wal = dir.path().join("muster.db-wal");
    // 90 MB of snapshots: past the bound, below twice the bound.
    let mut tickets = std::collections::VecDeque::new();
    for number in 0..450u64 {
        let mut batch = edit(id(number), "v", 1);
        batch.documents[0].snapshot = Some(vec![number as u8; 200_000]);
        tickets.push_back(store.commit(batch));
        if tickets.len() > 8 {
            tickets.pop_front().unwrap().wait().unwrap();
        }
    }
    tickets
        .into_iter()
        .for_each(|ticket| drop(ticket.wait().unwrap()));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    // The file is cut to the size that is kept once it has been begun anew.
    while std::fs::metadata(&wal).unwrap().len() > 20 << 20 {
        commit(&store, edit(id(1), "more", 1));
        assert!(std::time::Instant::now() < deadline, "the log stays long");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(
        store.read(|reader| reader.newest_event()).unwrap(),
        store.read(|reader| reader.newest_commit()).unwrap().0
    );
}
