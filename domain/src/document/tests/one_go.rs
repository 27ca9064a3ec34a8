//! Documents that are read and given changes in one go end up as if they were read first and given the changes then.

use serde_json::json;

use super::*;

/// What two stores keep of an incident that both sides edited apart: at its creator changes alone, at the other node a
/// snapshot and changes. And what each wrote.
fn apart() -> ([Stored; 2], [Node; 2]) {
    let (mut a, mut b) = pair();
    let snapshot = b.doc.save();
    let created = a.log.clone();
    a.log.clear();
    for turn in 0..5 {
        let (ours, theirs) = [("severe", "minor"), ("extreme", "moderate")][turn % 2];
        a.set(json!({"severity": ours, "title": format!("a {turn}")}));
        b.set(json!({"severity": theirs, "description": format!("b {turn}")}));
    }
    let at_creator = Stored {
        applied: created.into_iter().chain(a.log.clone()).collect(),
        ..Stored::default()
    };
    let elsewhere = Stored {
        snapshot,
        applied: b.log.clone(),
        ..Stored::default()
    };
    ([at_creator, elsewhere], [a, b])
}

fn incoming<'a>(from: &Node, log: &'a [Vec<u8>]) -> Vec<Incoming<'a>> {
    let author = from.author;
    let numbered = log.iter().zip(1..);
    numbered
        .map(|(bytes, key)| Incoming { key, author, bytes })
        .collect()
}

/// Both ways must give the same; answers what they gave, and whether the short one was gone.
#[track_caller]
fn both_ways(stored: &Stored, batch: &[Incoming<'_>]) -> (Document, Ingested, bool) {
    let mut expected = Document::restore(Kind::Incident, id(), stored.clone()).unwrap();
    let expected_of = expected.ingest(batch);
    let short = Document::ingest_behind(Kind::Incident, id(), stored, batch).is_some();
    let (document, mut ingested) =
        Document::restore_and_ingest(Kind::Incident, id(), stored.clone(), batch).unwrap();
    // In which order a snapshot lists concurrent changes is automerge's affair.
    let saved = ingested.saved.take();
    assert_eq!(saved.is_some(), expected_of.saved.is_some());
    if let Some(saved) = saved {
        same(
            &Document::load(Kind::Incident, id(), &saved).unwrap(),
            &expected,
        );
    }
    let expected_of = Ingested {
        saved: None,
        ..expected_of
    };
    assert_eq!(ingested, expected_of);
    same(&document, &expected);
    assert_eq!(document.waiting(), expected.waiting());
    assert_eq!(document.held_back(), expected.held_back());
    (document, ingested, short)
}

#[test]
fn what_was_stored_and_what_is_new_are_applied_together() {
    let (stored, nodes) = apart();
    for (stored, other) in [(&stored[0], &nodes[1]), (&stored[1], &nodes[0])] {
        let (document, ingested, short) = both_ways(stored, &incoming(other, &other.log));
        assert!(short);
        assert!(ingested.outcomes.iter().all(|o| *o == Outcome::Applied));
        assert_eq!(document.view().conflicts.len(), 1);
    }
}

#[test]
fn it_goes_on_like_any_other_document() {
    let (stored, [mut a, b]) = apart();
    let (document, _, _) = both_ways(&stored[0], &incoming(&b, &b.log));
    a.doc = document;
    let mut whole = Node::new(3);
    whole.doc = Document::restore(Kind::Incident, id(), stored[0].clone()).unwrap();
    whole.pull(&b);
    a.log.clear();
    a.set(json!({"title": "after it"}));
    whole.pull(&a);
    same(&a.doc, &whole.doc);
    same(&a.reloaded(), &a.doc);
}

#[test]
fn a_refused_change_and_one_that_waits_are_told_apart_as_ever() {
    let (stored, [a, b]) = apart();
    let mut log = b.log.clone();
    log[4][20] ^= 1;
    let (_, ingested, short) = both_ways(&stored[0], &incoming(&b, &log));
    assert!(short);
    assert!(matches!(ingested.outcomes[4], Outcome::Quarantined { .. }));
    assert!(
        ingested.outcomes[..4]
            .iter()
            .all(|o| *o == Outcome::Applied)
    );

    // What builds on a change that is not there waits; nothing is applied, so the short way leads nowhere.
    let mut c = Node::new(3);
    c.doc = Document::restore(Kind::Incident, id(), stored[0].clone()).unwrap();
    c.pull(&b);
    c.set(json!({"status": "active"}));
    let (document, ingested, short) = both_ways(&stored[0], &incoming(&c, &c.log));
    assert!(!short);
    assert!(matches!(ingested.outcomes[0], Outcome::Waiting { .. }));
    assert_eq!(document.waiting(), 1);
    same(&document, &a.doc);
}

#[test]
fn a_fault_holds_back_the_culprit_and_leaves_what_is_stored() {
    let (stored, [_, b]) = apart();
    make_faulty(change_hash(&b.log[3]).unwrap());
    let (_, ingested, short) = both_ways(&stored[0], &incoming(&b, &b.log));
    mend();
    assert!(!short);
    assert!(
        ingested.outcomes[..3]
            .iter()
            .all(|o| *o == Outcome::Applied)
    );
    assert!(matches!(ingested.outcomes[3], Outcome::HeldBack { .. }));
    assert!(matches!(ingested.outcomes[4], Outcome::Waiting { .. }));

    // One that this version fails on, and an earlier one applied, does not hold back what comes after it.
    make_faulty(change_hash(&stored[0].applied[2]).unwrap());
    let (_, ingested, short) = both_ways(&stored[0], &incoming(&b, &b.log));
    mend();
    assert!(!short);
    assert!(ingested.outcomes.iter().all(|o| *o == Outcome::Applied));
}

#[test]
fn what_waited_before_is_settled() {
    let (stored, [_, b]) = apart();
    let mut c = Node::new(3);
    c.doc = Document::restore(Kind::Incident, id(), stored[0].clone()).unwrap();
    c.pull(&b);
    let mut stored = stored[0].clone();
    stored.waiting.push(Pending {
        key: 40,
        author: c.author,
        bytes: c.set(json!({"status": "active"})).bytes,
    });
    let (document, ingested, short) = both_ways(&stored, &incoming(&b, &b.log));
    assert!(!short);
    assert_eq!(ingested.settled.len(), 1);
    assert_eq!(ingested.settled[0].outcome, Outcome::Applied);
    same(&document, &c.doc);
}

#[test]
fn what_is_stored_and_damaged_is_an_error_as_ever() {
    let (stored, [_, b]) = apart();
    let batch = incoming(&b, &b.log);
    let refused = |stored: Stored| {
        let error = Document::restore_and_ingest(Kind::Incident, id(), stored.clone(), &batch);
        assert_eq!(
            error.err().unwrap(),
            Document::restore(Kind::Incident, id(), stored)
                .err()
                .unwrap()
        );
    };
    let mut damaged = stored[0].clone();
    damaged.applied[1][20] ^= 1;
    refused(damaged);
    let mut gap = stored[0].clone();
    gap.applied.remove(2);
    refused(gap);
    let mut cut = stored[1].clone();
    cut.snapshot.truncate(100);
    refused(cut);
}
