//! The log side of muster.db: batches, chains, epochs, runs.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use store::{
    Batch, CommitError, CommitNo, Disposition, FactWrite, OpenOptions, RunEntry, RunWrite, Store,
};
use sync_engine::{Lane, LogId, Run, Seq};

fn about(object: sync_engine::ObjectId, disposition: Disposition) -> RunEntry {
    RunEntry {
        kind: INCIDENT,
        object,
        disposition,
    }
}

fn receive(run: sync_engine::VerifiedRun, dispositions: &[Disposition]) -> Batch {
    let entries = dispositions
        .iter()
        .map(|disposition| about(id(1), disposition.clone()))
        .collect();
    let mut batch = Batch::new(Lane::Life, 50);
    batch.runs.push(RunWrite { run, entries });
    batch
}

#[test]
fn own_entries_come_back_as_runs_that_verify() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let mut runs: Vec<Run> = Vec::new();
    for number in 0..40 {
        let committed = commit(&store, edit(id(number), &format!("v{number}"), 10));
        assert_eq!(committed.stored, [(log_of(1, Lane::Life), Seq(number + 1))]);
        runs.extend(committed.local_runs);
    }
    let sent: usize = runs
        .into_iter()
        .map(|run| run.verify().unwrap().entries().len())
        .sum();
    assert_eq!(sent, 40);
    let log = log_of(1, Lane::Life);
    let loaded = store
        .read(|reader| reader.load_run(&log, Seq(5), 1 << 16))
        .unwrap()
        .unwrap();
    let verified = loaded.verify().unwrap();
    assert_eq!((verified.first(), verified.head().seq), (Seq(5), Seq(40)));
    let frontier = store.read(|reader| reader.frontier()).unwrap();
    assert_eq!(frontier.head(&log), verified.head());
    assert_eq!(
        store
            .read(|reader| reader.load_run(&log, Seq(41), 1 << 16))
            .unwrap(),
        None
    );
}

#[test]
fn batches_in_one_transaction_share_signatures_and_all_entries_are_sent() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let tickets: Vec<_> = (0..500)
        .map(|number| store.commit(edit(id(number), &"x".repeat(300), 10)))
        .collect();
    let mut next = Seq(1);
    for (number, ticket) in tickets.into_iter().enumerate() {
        let committed = ticket.wait().unwrap();
        assert_eq!(committed.commit, CommitNo(number as i64 + 1));
        for run in committed.local_runs {
            assert_eq!(run.first, next);
            next = run.verify().unwrap().head().seq.next();
        }
    }
    assert_eq!(next, Seq(501));
    let mut from = Seq(1);
    while let Some(run) = store
        .read(|reader| reader.load_run(&log_of(1, Lane::Life), from, 8_192))
        .unwrap()
    {
        assert!(run.entry_bytes() < 16_384);
        from = run.verify().unwrap().head().seq.next();
    }
    assert_eq!(from, Seq(501));
}

#[test]
fn a_failed_batch_leaves_no_trace_and_its_neighbours_stand() {
    fails_alone(edit(id(2), "bad", 10));
}

/// One so large has a transaction to itself.
#[test]
fn a_failed_batch_of_a_catch_up_leaves_no_trace_and_its_neighbours_stand() {
    let mut bad = edit(id(2), "bad", 10);
    for number in 100..164 {
        let mut document = document(id(number), "bad");
        document.view = format!("{{\"title\":\"{}\"}}", "x".repeat(10_000));
        bad.documents.push(document);
    }
    fails_alone(bad);
}

#[track_caller]
fn fails_alone(mut bad: Batch) {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    // A fact without an entry: found only after the entries were written.
    bad.facts.push(FactWrite {
        id: id(99),
        kind: NOTE,
        entry: None,
        view: "{}".into(),
        about: None,
        created_wall_ms: 1,
    });
    let tickets = [
        store.commit(edit(id(1), "one", 10)),
        store.commit(bad),
        store.commit(edit(id(3), "three", 10)),
    ];
    let [one, bad, three] = tickets.map(|ticket| ticket.wait());
    assert_eq!(one.unwrap().commit, CommitNo(1));
    assert!(matches!(bad, Err(CommitError::Fault { .. })));
    let three = three.unwrap();
    assert_eq!((three.commit, three.stored[0].1), (CommitNo(2), Seq(2)));
    for object in [id(2), id(100)] {
        let document = store.read(|reader| reader.get_document(None, &object, None));
        assert_eq!(document.unwrap(), None);
    }
    let log = log_of(1, Lane::Life);
    let run = store
        .read(|reader| reader.load_run(&log, Seq(1), 1 << 16))
        .unwrap()
        .unwrap();
    assert_eq!(run.verify().unwrap().head().seq, Seq(2));
}

#[test]
fn after_a_lost_batch_its_epoch_is_refused_until_a_higher_one_comes() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let of_epoch = |epoch, object| {
        let mut batch = edit(id(object), "v", 10);
        batch.epoch = epoch;
        batch
    };
    let mut bad = of_epoch(4, 1);
    bad.released
        .push((log_of(9, Lane::Life), Seq(1), Disposition::Applied));
    let results: Vec<_> = [
        of_epoch(4, 0),
        bad,
        of_epoch(4, 2),
        of_epoch(3, 3),
        of_epoch(0, 4),
        of_epoch(5, 5),
    ]
    .map(|batch| store.commit(batch))
    .into_iter()
    .map(|ticket| ticket.wait())
    .collect();
    assert!(results[0].is_ok());
    assert!(matches!(results[1], Err(CommitError::Fault { .. })));
    assert_eq!(
        results[2].as_ref().unwrap_err(),
        &CommitError::EpochPoisoned
    );
    assert_eq!(
        results[3].as_ref().unwrap_err(),
        &CommitError::EpochPoisoned
    );
    assert!(results[4].is_ok(), "epoch 0 takes no part");
    assert!(results[5].is_ok());
}

#[test]
fn runs_of_a_peer_are_stored_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let mut peer = Peer::new(2);
    let first = peer.run(&[b"a", b"b"]);
    let second = peer.run(&[b"c"]);
    let applied = [
        Disposition::Applied,
        Disposition::Applied,
        Disposition::Applied,
    ];
    let gap = store
        .commit(receive(second.clone().verify().unwrap(), &applied[..1]))
        .wait();
    assert!(matches!(gap, Err(CommitError::Fault { .. })));
    commit(
        &store,
        receive(first.clone().verify().unwrap(), &applied[..2]),
    );
    let again = commit(
        &store,
        receive(first.clone().verify().unwrap(), &applied[..2]),
    );
    assert_eq!(again.stored, []);
    let joined = first.join(&second).unwrap().verify().unwrap();
    let committed = commit(&store, receive(joined, &applied));
    assert_eq!(committed.stored, [(log_of(2, Lane::Life), Seq(3))]);
    // Another branch of the same log does not continue what is stored.
    let mut forged = Peer::new(2);
    let other = forged.verified(&[b"a", b"b", b"x", b"y"]);
    let refused = store
        .commit(receive(other, &[const { Disposition::Applied }; 4]))
        .wait();
    assert!(matches!(refused, Err(CommitError::Fault { .. })));
    let heights = store.read(|reader| reader.applied_heights()).unwrap();
    assert_eq!(heights, [(log_of(2, Lane::Life), Seq(3))]);
}

#[test]
fn waiting_and_quarantined_entries_are_kept_apart_until_they_are_released() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let mut peer = Peer::new(2);
    let log = log_of(2, Lane::Life);
    let missing = vec![[5; 32], [6; 32]];
    let run = peer.verified(&[b"good", b"waits", b"bad", b"held"]);
    let mut batch = receive(
        run,
        &[
            Disposition::Applied,
            Disposition::Waiting {
                missing: missing.clone(),
            },
            Disposition::Quarantined {
                reason: "unknown object".into(),
            },
            Disposition::Held {
                fault: "panicked".into(),
            },
        ],
    );
    let mut unsaved = document(id(1), "good");
    unsaved.snapshot = None;
    batch.documents.push(unsaved);
    commit(&store, batch);
    let loaded = store.read(|reader| reader.load_document(&id(1))).unwrap();
    assert_eq!(loaded.snapshot, None);
    assert_eq!(
        loaded
            .applied
            .iter()
            .map(|entry| &entry.bytes[..])
            .collect::<Vec<_>>(),
        [b"good"]
    );
    assert_eq!(loaded.waiting[0].missing, missing);
    assert_eq!(loaded.quarantined.len(), 2);
    assert_eq!(
        loaded.quarantined.iter().filter(|entry| entry.held).count(),
        1
    );
    let counts = store.read(|reader| reader.unapplied()).unwrap();
    assert_eq!((counts.waiting, counts.quarantined, counts.held), (1, 1, 1));
    assert_eq!(
        store.read(|reader| reader.applied_heights()).unwrap(),
        [(log, Seq(1))]
    );

    let mut release = Batch::new(Lane::Life, 60);
    release.released.push((log, Seq(2), Disposition::Applied));
    release.documents.push(document(id(1), "released"));
    commit(&store, release);
    let loaded = store.read(|reader| reader.load_document(&id(1))).unwrap();
    assert_eq!(loaded.snapshot.as_deref(), Some(&b"snapshot released"[..]));
    assert!(loaded.applied.is_empty() && loaded.waiting.is_empty());
    // What is held back is not applied: a peer must not be told so.
    assert_eq!(
        store.read(|reader| reader.applied_heights()).unwrap(),
        [(log, Seq(3))]
    );
    let listed = store.read(|reader| reader.quarantine(None, 1)).unwrap();
    assert_eq!(listed[0].reason, "panicked");
    let last = (
        listed[0].entry.commit,
        listed[0].entry.log,
        listed[0].entry.seq,
    );
    let rest = store
        .read(|reader| reader.quarantine(Some(last), 10))
        .unwrap();
    assert_eq!(
        rest.iter()
            .map(|entry| entry.reason.as_str())
            .collect::<Vec<_>>(),
        ["unknown object"]
    );

    let journal = store
        .read(|reader| reader.journal_after(CommitNo(0), 100))
        .unwrap();
    assert_eq!(
        journal
            .iter()
            .map(|commit| commit.entries.len())
            .collect::<Vec<_>>(),
        [4, 1]
    );
    assert!(!journal[1].entries[0].arrived);
    assert_eq!(journal[1].entries[0].bytes, b"waits");
}

#[test]
fn a_document_is_its_snapshot_and_the_entries_applied_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    commit(&store, edit(id(1), "one", 10));
    for version in ["two", "three"] {
        let mut batch = edit(id(1), version, 10);
        batch.documents[0].snapshot = None;
        commit(&store, batch);
    }
    let loaded = store.read(|reader| reader.load_document(&id(1))).unwrap();
    assert_eq!(loaded.snapshot.as_deref(), Some(&b"snapshot one"[..]));
    assert_eq!(
        loaded
            .applied
            .iter()
            .map(|entry| &entry.bytes[..])
            .collect::<Vec<_>>(),
        [&b"two"[..], b"three"]
    );
    let history = store
        .read(|reader| reader.entries_of_object(&id(1)))
        .unwrap();
    assert_eq!(
        history
            .iter()
            .map(|entry| entry.commit.0)
            .collect::<Vec<_>>(),
        [1, 2, 3]
    );
}

#[test]
fn what_was_answered_is_there_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let tickets: Vec<_> = (0..300)
        .map(|number| store.commit(edit(id(number % 7), &format!("v{number}"), 10)))
        .collect();
    let mut newest = CommitNo(0);
    for ticket in tickets {
        newest = ticket.wait().unwrap().commit;
    }
    // What a power cut leaves: the files as they are, the write-ahead log not copied back.
    for name in [
        "muster.db",
        "muster.db-wal",
        "readings.db",
        "readings.db-wal",
        "blobs.db",
        "blobs.db-wal",
    ] {
        let from = dir.path().join(name);
        if from.exists() {
            std::fs::copy(from, copy.path().join(name)).unwrap();
        }
    }
    let survivor = open(copy.path());
    assert_eq!(
        survivor.read(|reader| reader.newest_commit()).unwrap(),
        newest
    );
    let fingerprints =
        [&store, &survivor].map(|store| store.read(|reader| reader.views_fingerprint()).unwrap());
    assert_eq!(fingerprints[0], fingerprints[1]);
    // The chain goes on where it ended.
    let next = commit(&survivor, edit(id(1), "after", 20));
    assert_eq!(next.stored[0].1, Seq(301));
    let log: LogId = log_of(1, Lane::Life);
    let run = survivor
        .read(|reader| reader.load_run(&log, Seq(290), 1 << 16))
        .unwrap()
        .unwrap();
    assert_eq!(run.verify().unwrap().head().seq, Seq(301));
}

#[test]
fn a_full_disk_is_said_and_loses_nothing_that_was_answered() {
    let dir = tempfile::tempdir().unwrap();
    node(dir.path()).close();
    let options = OpenOptions {
        pages_max: Some(400),
        ..OpenOptions::default()
    };
    let store = Store::open(dir.path(), &key(), &options).unwrap();
    let mut stored = 0;
    let error = loop {
        match store
            .commit(edit(id(stored), &"x".repeat(20_000), 10))
            .wait()
        {
            Ok(committed) => {
                stored += 1;
                assert_eq!(committed.stored[0].1, Seq(stored));
            }
            Err(error) => break error,
        }
    };
    assert_eq!(error, CommitError::DiskFull);
    assert!(stored > 3);
    // The writer lives: it reads, refuses again, and goes on when there is room.
    assert_eq!(
        store.read(|reader| reader.newest_commit()).unwrap(),
        CommitNo(stored as i64)
    );
    assert_eq!(
        store
            .commit(edit(id(stored), &"x".repeat(20_000), 10))
            .wait()
            .unwrap_err(),
        CommitError::DiskFull
    );
    store.close();
    drop(store);
    let store = open(dir.path());
    let next = commit(&store, edit(id(stored), "room", 10));
    assert_eq!(next.stored[0].1, Seq(stored + 1));
    let log = log_of(1, Lane::Life);
    let mut from = Seq(1);
    while let Some(run) = store
        .read(|reader| reader.load_run(&log, from, 1 << 16))
        .unwrap()
    {
        from = run.verify().unwrap().head().seq.next();
    }
    assert_eq!(from, Seq(stored + 2));
}

#[test]
fn a_closed_store_answers_closed() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let queued = store.commit(edit(id(1), "one", 10));
    store.close();
    assert!(queued.wait().is_ok(), "what was queued before is done");
    assert_eq!(
        store.commit(edit(id(2), "two", 10)).wait().unwrap_err(),
        CommitError::Closed
    );
}
