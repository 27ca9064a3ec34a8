//! Changes that no honest node makes: each is quarantined alone, and honest work goes on.

use automerge::legacy::{ElementId, Key, ObjectId, Op, OpId, OpType};
use automerge::{ExpandedChange, ObjType, ScalarValue};

use super::*;

fn root_put(key: &str, value: &str) -> Op {
    Op {
        action: OpType::Put(ScalarValue::Str(value.into())),
        obj: ObjectId::Root,
        key: Key::Map(key.into()),
        pred: Vec::new().into(),
        insert: false,
    }
}

/// An honest change of author 9 on top of the pair's document, to be spoilt.
fn honest(a: &Node) -> ExpandedChange {
    let mut evil = Node::new(9);
    evil.pull(a);
    let bytes = evil.set(json!({"severity": "extreme"})).bytes;
    Change::from_bytes(bytes).unwrap().decode()
}

fn bytes(change: ExpandedChange) -> Vec<u8> {
    Change::from(change).raw_bytes().to_vec()
}

fn judge(node: &mut Node, bytes: &[u8]) -> Outcome {
    let incoming = Incoming {
        key: 1,
        author: author(9),
        bytes,
    };
    node.doc.ingest(&[incoming]).outcomes.remove(0)
}

/// Spoils an honest change, checks the verdict, and that nothing else suffers.
#[track_caller]
fn refused(reason: QuarantineReason, spoil: impl FnOnce(&mut ExpandedChange)) {
    let (a, mut b) = pair();
    let mut change = honest(&a);
    spoil(&mut change);
    refused_bytes(reason, &mut b, &bytes(change));
}

#[track_caller]
fn refused_bytes(reason: QuarantineReason, node: &mut Node, bytes: &[u8]) {
    let before = node.doc.view();
    assert_eq!(judge(node, bytes), Outcome::Quarantined { reason });
    assert_eq!(node.doc.view(), before);
    node.set(json!({"title": format!("honest work goes on, {}", node.log.len())}));
    same(&node.doc, &node.reloaded());
}

#[test]
fn the_change_that_is_spoilt_below_is_fine_itself() {
    let (a, mut b) = pair();
    assert_eq!(judge(&mut b, &bytes(honest(&a))), Outcome::Applied);
}

#[test]
fn an_unknown_object() {
    refused(QuarantineReason::UnknownObject, |change| {
        change.operations[0].obj = ObjectId::Id(OpId(1, automerge::ActorId::from([3; 16])));
    });
}

#[test]
fn an_object_of_its_own_making() {
    refused(QuarantineReason::ForbiddenOperation, |change| {
        change.operations[0].action = OpType::Make(ObjType::Map);
    });
    refused(QuarantineReason::UnknownObject, |change| {
        let made = OpId(change.start_op.get(), change.actor_id.clone());
        change.operations.push(Op {
            obj: ObjectId::Id(made),
            ..root_put("x", "y")
        });
        change.operations[0].action = OpType::Put(ScalarValue::Str("x".into()));
    });
}

#[test]
fn an_unknown_predecessor() {
    refused(QuarantineReason::UnknownPredecessor, |change| {
        change.operations[0].pred = vec![OpId(1, automerge::ActorId::from([3; 16]))].into();
    });
    refused(QuarantineReason::UnknownPredecessor, |change| {
        let own = OpId(change.start_op.get(), change.actor_id.clone());
        change.operations[0].pred = vec![own].into();
    });
}

#[test]
fn a_predecessor_of_another_field() {
    refused(QuarantineReason::UnknownPredecessor, |change| {
        change.operations[0].key = Key::Map("title".into());
    });
}

#[test]
fn a_predecessor_that_is_not_an_ancestor() {
    let (a, mut b) = pair();
    let mut change = honest(&a);
    b.set(json!({"severity": "moderate"}));
    let concurrent = Change::from_bytes(b.log[0].clone()).unwrap();
    change.operations[0].pred = vec![OpId(
        concurrent.start_op().get(),
        concurrent.actor_id().clone(),
    )]
    .into();
    refused_bytes(QuarantineReason::UnknownPredecessor, &mut b, &bytes(change));
}

#[test]
fn one_predecessor_named_twice() {
    refused(QuarantineReason::UnknownPredecessor, |change| {
        let pred = change.operations[0].pred.get(0).unwrap().clone();
        change.operations[0].pred = vec![pred.clone(), pred].into();
    });
}

#[test]
fn an_operation_counter_at_its_maximum_or_out_of_order() {
    for start in [u64::from(u32::MAX), (1 << 31) - 1, (1 << 20) + 100, 1, 4] {
        refused(QuarantineReason::StartOp, |change| {
            change.start_op = start.try_into().unwrap();
            change.operations[0].pred = Vec::new().into();
        });
    }
    // automerge itself refuses to decode above 32 bits.
    refused(QuarantineReason::Undecodable, |change| {
        change.start_op = u64::MAX.try_into().unwrap()
    });
}

#[test]
fn someone_elses_actor() {
    refused(QuarantineReason::ForeignActor, |change| {
        change.actor_id = author(1).actor().into()
    });
    refused(QuarantineReason::ForeignActor, |change| {
        change.actor_id = vec![1, 2, 3].into()
    });
    refused(QuarantineReason::ForeignActor, |change| {
        change.actor_id = Vec::new().into()
    });
}

#[test]
fn a_foreign_actor_does_not_harm_that_actors_own_changes() {
    let (mut a, mut b) = pair();
    let stolen = a.set(json!({"severity": "extreme"})).bytes;
    assert_eq!(
        judge(&mut b, &stolen),
        Outcome::Quarantined {
            reason: QuarantineReason::ForeignActor
        }
    );
    assert_eq!(b.pull(&a).outcomes, [Outcome::Duplicate, Outcome::Applied]);
}

#[test]
fn a_concurrency_level_out_of_bounds() {
    refused(QuarantineReason::ForeignActor, |change| {
        let base = author(9).actor();
        let form = [&[0x13, 0xb2, 0x23, 0x09, 0x81, 0x02][..], &base].concat();
        change.actor_id = form.into();
    });
}

#[test]
fn an_author_field_or_other_bytes_behind() {
    refused(QuarantineReason::AuthorField, |change| {
        change.extra_bytes = vec![1, 2, 9, 9]
    });
    refused(QuarantineReason::AuthorField, |change| {
        change.extra_bytes = vec![0]
    });
}

#[test]
fn a_sequence_left_out() {
    refused(QuarantineReason::SequenceGap, |change| change.seq = 2);
    refused(QuarantineReason::SequenceGap, |change| {
        change.seq = u64::MAX
    });
}

#[test]
fn no_dependencies_or_one_twice() {
    refused(QuarantineReason::Dependencies, |change| change.deps.clear());
    refused(QuarantineReason::Dependencies, |change| {
        change.deps.push(change.deps[0])
    });
    refused(QuarantineReason::Dependencies, |change| {
        change.deps = (0..66).map(|n| ChangeHash([n; 32])).collect();
    });
}

#[test]
fn another_kind_of_document() {
    refused(QuarantineReason::WrongDocument, |change| {
        change.deps = genesis::genesis(Kind::Device).hashes.clone();
    });
}

#[test]
fn a_time_that_nobody_can_write() {
    for time in [i64::MIN, -1, i64::MAX, 253_402_300_800] {
        refused(QuarantineReason::Time, |change| change.time = time);
    }
}

#[test]
fn operations_that_nobody_makes() {
    refused(QuarantineReason::ForbiddenOperation, |change| {
        change.operations.clear()
    });
    refused(QuarantineReason::ForbiddenOperation, |change| {
        change.operations[0].action = OpType::Increment(1);
    });
    refused(QuarantineReason::ForbiddenOperation, |change| {
        change.operations[0].action = OpType::Put(ScalarValue::counter(1));
    });
    refused(QuarantineReason::ForbiddenOperation, |change| {
        change.operations[0].action = OpType::MarkEnd(true);
    });
    refused(QuarantineReason::ForbiddenOperation, |change| {
        change.operations = vec![Op {
            action: OpType::Delete,
            ..root_put("severity", "")
        }];
    });
    refused(QuarantineReason::ForbiddenOperation, |change| {
        change.operations[0].insert = true
    });
    refused(QuarantineReason::ForbiddenOperation, |change| {
        change.operations[0].key = Key::Seq(ElementId::Head);
    });
    for key in ["tags", "description", "_kind", "", &"k".repeat(129)] {
        refused(QuarantineReason::ForbiddenOperation, |change| {
            change.operations = vec![root_put(key, "x")];
        });
    }
}

fn container(key: &str) -> ObjectId {
    let container = genesis::genesis(Kind::Incident).container(key).unwrap();
    ObjectId::Id(OpId(container.counter, container.actor.clone()))
}

#[test]
fn a_set_only_holds_true_and_a_text_only_characters() {
    refused(QuarantineReason::ForbiddenOperation, |change| {
        change.operations = vec![Op {
            obj: container("tags"),
            ..root_put("tag", "no")
        }];
    });
    let insert = Op {
        obj: container("description"),
        key: Key::Seq(ElementId::Head),
        insert: true,
        ..root_put("", "c")
    };
    for spoilt in [
        Op {
            action: OpType::Put(ScalarValue::Int(1)),
            ..insert.clone()
        },
        Op {
            action: OpType::Put(ScalarValue::Str("c".repeat(65).into())),
            ..insert.clone()
        },
        Op {
            action: OpType::Put(ScalarValue::Str("".into())),
            ..insert.clone()
        },
        Op {
            action: OpType::Make(ObjType::Map),
            ..insert.clone()
        },
        Op {
            insert: false,
            ..insert.clone()
        },
        Op {
            key: Key::Map("x".into()),
            insert: false,
            ..insert.clone()
        },
    ] {
        refused(QuarantineReason::ForbiddenOperation, |change| {
            change.operations = vec![spoilt]
        });
    }
    let elsewhere = OpId(1, automerge::ActorId::from([3; 16]));
    refused(QuarantineReason::UnknownPredecessor, |change| {
        let key = Key::Seq(ElementId::Id(elsewhere));
        change.operations = vec![Op {
            key,
            ..insert.clone()
        }];
    });
    refused(QuarantineReason::UnknownPredecessor, |change| {
        // A register is not a character.
        let pred = change.operations[0].pred.get(0).unwrap().clone();
        let key = Key::Seq(ElementId::Id(pred.clone()));
        let pred = vec![pred].into();
        change.operations = vec![Op {
            action: OpType::Delete,
            insert: false,
            key,
            pred,
            ..insert.clone()
        }];
    });
}

#[test]
fn bytes_that_are_not_one_change_in_its_one_form() {
    let (a, mut b) = pair();
    let good = bytes(honest(&a));
    let mut deflated = Change::from_bytes(good.clone()).unwrap();
    let mut cases = vec![
        (QuarantineReason::Undecodable, Vec::new()),
        (QuarantineReason::Undecodable, [&good[..], &[0]].concat()),
        (
            QuarantineReason::Undecodable,
            [&good[..], &good[..]].concat(),
        ),
        (
            QuarantineReason::Undecodable,
            good[..good.len() - 1].to_vec(),
        ),
        (QuarantineReason::Undecodable, a.doc.save()),
        (QuarantineReason::TooLarge, vec![0; 32 * 1024 + 1]),
    ];
    if deflated.bytes().len() < good.len() {
        cases.push((QuarantineReason::Undecodable, deflated.bytes().to_vec()));
    }
    let mut checksum = good.clone();
    checksum[4] ^= 1;
    cases.push((QuarantineReason::NotCanonical, checksum));
    for (reason, bytes) in cases {
        refused_bytes(reason, &mut b, &bytes);
    }
    assert_eq!(judge(&mut b, &good), Outcome::Applied);
}

#[test]
fn a_deflated_change_is_another_spelling_and_refused() {
    let (a, mut b) = pair();
    let mut evil = Node::new(9);
    evil.pull(&a);
    let bytes = evil
        .set(json!({"description": "to and fro ".repeat(100)}))
        .bytes;
    let mut change = Change::from_bytes(bytes.clone()).unwrap();
    let deflated = change.bytes().to_vec();
    assert_ne!(deflated, bytes);
    refused_bytes(QuarantineReason::Undecodable, &mut b, &deflated);
}

#[test]
fn of_two_changes_with_one_sequence_the_first_stands_even_while_it_waits() {
    let (mut a, mut b) = pair();
    // The first needs a change of node 1 that node 2 does not have yet.
    let later = a.set(json!({"status": "active"}));
    let mut evil = Node::new(9);
    evil.pull(&a);
    let first = evil.set(json!({"severity": "extreme"})).bytes;
    let mut other = Node::new(9);
    other.pull(&b_view_of(&a));
    let second = other.set(json!({"title": "forked"})).bytes;
    assert_eq!(
        judge(&mut b, &first),
        Outcome::Waiting {
            missing: vec![later.hash]
        }
    );
    refused_bytes(QuarantineReason::ReusedSequence, &mut b, &second);
    let ingested = b.pull(&a);
    assert_eq!(ingested.outcomes, [Outcome::Duplicate, Outcome::Applied]);
    assert_eq!(
        ingested.settled,
        [Settled {
            key: 1,
            outcome: Outcome::Applied
        }]
    );
    assert_eq!(b.field("severity"), "extreme");
    assert_eq!(judge(&mut b, &first), Outcome::Duplicate);
}

/// The pair's document before node 1 wrote again.
fn b_view_of(a: &Node) -> Node {
    Node {
        author: a.author,
        doc: Document::new(Kind::Incident, id()),
        log: a.log[..1].to_vec(),
        clock_s: T0,
    }
}

#[test]
fn what_builds_on_a_quarantined_change_goes_with_it_and_nothing_else() {
    let (a, mut b) = pair();
    let mut evil = Node::new(9);
    evil.pull(&a);
    let mut spoilt = Change::from_bytes(evil.set(json!({"severity": "extreme"})).bytes)
        .unwrap()
        .decode();
    spoilt.operations[0].pred = Vec::new().into();
    spoilt.operations.push(root_put("tags", "no"));
    let spoilt = bytes(spoilt);
    let hash = Change::from_bytes(spoilt.clone()).unwrap().hash();

    // Two that build on it, one of them somebody else's.
    let follow = |n: u8, seq: u64, dep: ChangeHash| {
        let mut change = honest(&a);
        change.actor_id = author(n).actor().into();
        change.seq = seq;
        change.start_op = 40.try_into().unwrap();
        change.deps = vec![dep];
        bytes(change)
    };
    let own = follow(9, 2, hash);
    let own_hash = Change::from_bytes(own.clone()).unwrap().hash();
    let others = follow(8, 1, own_hash);

    // The follower comes first and waits.
    let waits = b.take(author(8), std::slice::from_ref(&others));
    assert_eq!(
        waits.outcomes,
        [Outcome::Waiting {
            missing: vec![own_hash.0]
        }]
    );
    let ingested = b.take(author(9), &[spoilt, own]);
    let depends = Outcome::Quarantined {
        reason: QuarantineReason::DependsOnQuarantined,
    };
    let forbidden = Outcome::Quarantined {
        reason: QuarantineReason::ForbiddenOperation,
    };
    assert_eq!(ingested.outcomes, [forbidden, depends.clone()]);
    assert_eq!(
        ingested.settled,
        [Settled {
            key: 0,
            outcome: depends
        }]
    );
    assert_eq!(b.doc.waiting(), 0);
    // The same node 8 can go on in another incarnation, and everybody else at once.
    b.set(json!({"title": "unharmed"}));
    assert_eq!(b.field("severity"), "minor");
}

#[test]
fn verdicts_are_the_same_after_a_restart() {
    let (mut a, mut b) = pair();
    let late = a.set(json!({"status": "active"}));
    let mut evil = Node::new(9);
    evil.pull(&a);
    let waiting = evil.set(json!({"severity": "extreme"})).bytes;
    let mut spoilt = honest(&b_view_of(&a));
    spoilt.actor_id = author(8).actor().into();
    spoilt.operations = vec![root_put("_kind", "x")];
    let refused_bytes = bytes(spoilt.clone());
    judge(&mut b, &waiting);
    b.take(author(8), std::slice::from_ref(&refused_bytes));

    let stored = Stored {
        snapshot: b.doc.save(),
        waiting: vec![Pending {
            key: 77,
            author: author(9),
            bytes: waiting.clone(),
        }],
        quarantined: vec![Refused {
            author: author(8),
            bytes: refused_bytes.clone(),
        }],
        ..Stored::default()
    };
    b.doc = Document::restore(Kind::Incident, id(), stored).unwrap();
    assert_eq!(b.doc.waiting(), 1);
    assert_eq!(judge(&mut b, &waiting), Outcome::Duplicate);
    // Its sequence number stays used, and nothing may build on it.
    spoilt.operations = vec![root_put("mood", "x")];
    let reused = b.take(author(8), &[bytes(spoilt.clone())]).outcomes;
    assert_eq!(
        reused,
        [Outcome::Quarantined {
            reason: QuarantineReason::ReusedSequence
        }]
    );
    let ingested = b.take(a.author, &[late.bytes]);
    assert_eq!(
        ingested.settled,
        [Settled {
            key: 77,
            outcome: Outcome::Applied
        }]
    );
    assert_eq!(b.field("severity"), "extreme");
}

#[test]
fn a_second_copy_of_a_change_in_its_log_takes_nothing_from_the_first() {
    let (mut a, mut b) = pair();
    let late = a.set(json!({"status": "active"}));
    let mut other = Node::new(9);
    other.pull(&a);
    let waiting = other.set(json!({"severity": "extreme"}));
    let applied = b.log.first().cloned().unwrap_or_else(|| a.log[0].clone());
    assert_eq!(
        judge(&mut b, &waiting.bytes),
        Outcome::Waiting {
            missing: vec![late.hash]
        }
    );
    assert_eq!(judge(&mut b, &waiting.bytes), Outcome::Duplicate);

    // The store sets second copies aside; after a restart the first ones stand as before.
    let stored = Stored {
        snapshot: b.doc.save(),
        waiting: vec![Pending {
            key: 5,
            author: author(9),
            bytes: waiting.bytes.clone(),
        }],
        quarantined: vec![
            Refused {
                author: author(9),
                bytes: waiting.bytes.clone(),
            },
            Refused {
                author: a.author,
                bytes: applied,
            },
        ],
        ..Stored::default()
    };
    b.doc = Document::restore(Kind::Incident, id(), stored).unwrap();
    let ingested = b.take(a.author, &[late.bytes]);
    assert_eq!(ingested.outcomes, [Outcome::Applied]);
    assert_eq!(
        ingested.settled,
        [Settled {
            key: 5,
            outcome: Outcome::Applied
        }]
    );
    assert_eq!(b.field("severity"), "extreme");
}

#[test]
fn json_that_a_row_could_not_give_back_is_shown_as_bytes() {
    let nested = format!("{}{}", "[".repeat(120), "]".repeat(120));
    for json in [&nested, r#"{"a":1,"$serde_json::private::RawValue":5}"#] {
        let (a, mut b) = pair();
        let mut change = honest(&a);
        change.operations[0].key = Key::Map("mood".into());
        change.operations[0].pred = Vec::new().into();
        change.operations[0].action = OpType::Put(ScalarValue::Bytes(json.as_bytes().to_vec()));
        assert_eq!(judge(&mut b, &bytes(change)), Outcome::Applied);
        let shown = b.doc.view().unknown;
        assert!(shown["mood"].is_string(), "{}", shown["mood"]);
    }
}

#[test]
fn a_run_length_bomb_costs_nothing() {
    let (a, mut b) = pair();
    let good = bytes(honest(&a));
    // The column of actions of a change with one operation is `[7f, 01]`: a literal run of one `put`. The same length
    // can claim 63 of them, and with a longer body any number.
    let mut found = 0;
    for index in 0..good.len() - 1 {
        if good[index..index + 2] == [0x7f, 0x01] {
            let mut bomb = good.clone();
            bomb[index] = 0x3f;
            found += 1;
            assert!(matches!(judge(&mut b, &bomb), Outcome::Quarantined { .. }));
        }
    }
    assert!(found > 0);
    same(&b.doc, &b.reloaded());
}

#[test]
fn what_automerge_cannot_take_does_not_pass_the_safety_net() {
    let (a, mut b) = pair();
    let mut change = honest(&a);
    change.operations[0].obj = ObjectId::Id(OpId(1, automerge::ActorId::from([3; 16])));
    assert!(b.doc.try_apply(vec![Change::from(change)]).is_err());
    let sound = b
        .doc
        .try_apply(vec![Change::from(honest(&a))])
        .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(
        Automerge::load(&sound.saved).unwrap().get_heads(),
        sound.doc.get_heads()
    );
}

#[test]
fn a_fault_holds_back_the_culprit_and_what_builds_on_it_and_nothing_else() {
    let (mut a, mut b) = pair();
    let mut c = Node::new(3);
    c.pull(&a);
    let culprit = a.set(json!({"severity": "severe"}));
    let after = a.set(json!({"status": "active"}));
    let innocent = c.set(json!({"tags": ["night"]}));
    make_faulty(culprit.hash);

    let batch: Vec<Incoming<'_>> = [
        (1, a.author, &culprit.bytes),
        (2, a.author, &after.bytes),
        (3, c.author, &innocent.bytes),
    ]
    .map(|(key, author, bytes)| Incoming {
        key,
        author,
        bytes: bytes.as_slice(),
    })
    .to_vec();
    let ingested = b.doc.ingest(&batch);
    assert!(matches!(&ingested.outcomes[0], Outcome::HeldBack { fault } if fault.contains("test")));
    assert_eq!(
        ingested.outcomes[1],
        Outcome::Waiting {
            missing: vec![culprit.hash]
        }
    );
    assert_eq!(ingested.outcomes[2], Outcome::Applied);
    assert_eq!((b.doc.held_back(), b.doc.waiting()), (1, 1));
    assert_eq!(b.field("tags"), json!(["night"]));
    assert_eq!(b.field("severity"), "minor");
    same(&b.doc, &b.reloaded());

    // The same after a restart; a sequence number that is held back is used.
    let pending = |key, edited: &Edited| Pending {
        key,
        author: a.author,
        bytes: edited.bytes.clone(),
    };
    let stored = Stored {
        snapshot: b.doc.save(),
        waiting: vec![pending(2, &after)],
        held: vec![pending(1, &culprit)],
        ..Stored::default()
    };
    b.doc = Document::restore(Kind::Incident, id(), stored).unwrap();
    assert_eq!(
        b.take(a.author, std::slice::from_ref(&culprit.bytes))
            .outcomes,
        [Outcome::Duplicate]
    );
    assert!(b.doc.retry_held().settled.is_empty(), "still faulty");
    assert_eq!((b.doc.held_back(), b.doc.waiting()), (1, 1));

    mend();
    let mut settled = b.doc.retry_held().settled;
    settled.sort_by_key(|settled| settled.key);
    let applied = |key| Settled {
        key,
        outcome: Outcome::Applied,
    };
    assert_eq!(settled, [applied(1), applied(2)]);
    c.pull(&a);
    same(&b.doc, &c.doc);
}

#[test]
fn what_ingest_offers_is_what_the_document_shows_and_saves() {
    let (mut a, mut b) = pair();
    a.set(json!({"severity": "severe"}));
    b.set(json!({"severity": "extreme"}));
    let ingested = b.pull(&a);
    assert_eq!(ingested.view.as_ref(), Some(&b.doc.view()));
    let loaded = Document::load(Kind::Incident, id(), &ingested.saved.unwrap()).unwrap();
    same(&b.doc, &loaded);
    let again = b.pull(&a);
    assert!(again.saved.is_none() && again.view.is_none());
}
