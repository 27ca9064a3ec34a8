//! Looking at the log: states, sizes and pages.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use store::{Batch, Disposition, EntryState, LogSize, RunEntry, RunWrite, Store};
use sync_engine::{ChainHash, Lane, Seq};

/// Four entries of another node, of which the second waits, the third is quarantined and the fourth is held back.
fn mixed(store: &Store) {
    let mut peer = Peer::new(2);
    let dispositions = [
        Disposition::Applied,
        Disposition::Waiting {
            missing: vec![[8; 32], [9; 32]],
        },
        Disposition::Quarantined {
            reason: "sequence used twice".into(),
        },
        Disposition::Held {
            fault: "out of memory".into(),
        },
    ];
    let mut batch = Batch::new(Lane::Life, 50);
    batch.runs.push(RunWrite {
        run: peer.verified(&[b"one", b"two", b"three", b"fourth"]),
        entries: dispositions
            .into_iter()
            .map(|disposition| RunEntry {
                kind: INCIDENT,
                object: id(1),
                disposition,
            })
            .collect(),
    });
    commit(store, batch);
}

#[test]
fn each_entry_shows_what_became_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    mixed(&store);
    let log = log_of(2, Lane::Life);
    let entries = store
        .read(|reader| reader.inspect_entries(&log, Seq(1), 10))
        .unwrap();
    let states: Vec<EntryState> = entries.iter().map(|entry| entry.state.clone()).collect();
    assert_eq!(
        states,
        [
            EntryState::Applied { position: 1 },
            EntryState::Waiting {
                missing: vec![[8; 32], [9; 32]]
            },
            EntryState::Quarantined {
                reason: "sequence used twice".into()
            },
            EntryState::Held {
                fault: "out of memory".into()
            },
        ]
    );
    assert!(entries[..3].iter().all(|entry| entry.signature.is_none()));
    assert!(entries[3].signature.is_some(), "a run ends signed");
    assert_eq!(
        (entries[3].object, entries[3].entry.at_wall_ms),
        (id(1), 50)
    );
    let page = store
        .read(|reader| reader.inspect_entries(&log, Seq(2), 2))
        .unwrap();
    assert_eq!(page[..], entries[1..3]);
}

#[test]
fn a_log_is_applied_up_to_its_first_open_entry_and_counts_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    commit(&store, edit(id(5), "ours", 10));
    mixed(&store);
    let logs = store.read(|reader| reader.held_logs()).unwrap();
    assert_eq!(logs.len(), 2);
    assert!(logs.windows(2).all(|pair| pair[0].log < pair[1].log));
    let theirs = logs
        .iter()
        .find(|held| held.log == log_of(2, Lane::Life))
        .unwrap();
    assert_eq!(
        (theirs.floor, theirs.floor_chain),
        (Seq(1), ChainHash::ZERO)
    );
    assert_eq!((theirs.head.seq, theirs.applied), (Seq(4), Seq(1)));
    assert_eq!((theirs.waiting, theirs.quarantined, theirs.held), (1, 1, 1));
    let ours = logs.iter().find(|held| held.log != theirs.log).unwrap();
    assert_eq!((ours.head.seq, ours.applied), (Seq(1), Seq(1)));
    let size = |log| store.read(|reader| reader.log_size(&log)).unwrap();
    assert_eq!(
        size(theirs.log),
        LogSize {
            entries: 4,
            bytes: 17
        }
    );
}

#[test]
fn a_log_that_is_not_held_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let log = log_of(9, Lane::Flash);
    let (size, entries) = store
        .read(|reader| {
            Ok((
                reader.log_size(&log)?,
                reader.inspect_entries(&log, Seq(1), 5)?,
            ))
        })
        .unwrap();
    assert_eq!((size.entries, size.bytes), (0, 0));
    assert_eq!(entries, []);
    let far = log_of(1, Lane::Life);
    let none = store.read(|reader| reader.inspect_entries(&far, Seq(u64::MAX), 5));
    assert_eq!(none.unwrap(), []);
}
