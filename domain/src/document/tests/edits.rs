//! Editing, merging, saving.

use super::*;

#[test]
fn what_was_created_is_shown_with_defaults_for_the_rest() {
    let (a, b) = pair();
    let view = a.doc.view();
    assert_eq!(view.fields["title"], "flood");
    assert_eq!(view.fields["severity"], "minor");
    assert_eq!(view.fields["status"], "reported");
    assert_eq!(view.fields["tags"], json!(["river"]));
    assert_eq!(view.fields["description"], "");
    assert_eq!(view.fields["location"], Value::Null);
    assert!(view.conflicts.is_empty() && !view.deleted);
    let created = view.created.unwrap();
    assert_eq!(
        (created.actor, created.time_s),
        (author(1).actor(), T0 + 11)
    );
    same(&a.doc, &b.doc);
}

#[test]
fn an_empty_document_is_the_same_everywhere_and_needs_no_snapshot() {
    let empty = Document::new(Kind::Device, id());
    let loaded = Document::load(Kind::Device, id(), &[]).unwrap();
    assert_eq!(empty.heads(), loaded.heads());
    assert!(empty.is_empty() && empty.view().created.is_none());
    let again = Document::load(Kind::Device, id(), &empty.save()).unwrap();
    assert_eq!(empty.version(), again.version());
}

#[test]
fn an_edit_that_changes_nothing_makes_no_change() {
    let (mut a, _) = pair();
    let version = a.doc.version();
    assert_eq!(
        a.edit(None, &patch(json!({"title": "flood", "tags": ["river"]}))),
        None
    );
    assert_eq!(a.edit(None, &patch(json!({"location": null}))), None);
    assert_eq!(a.doc.version(), version);
}

#[test]
fn edits_of_different_fields_merge_whatever_the_order_of_arrival() {
    let (mut a, mut b) = pair();
    a.set(json!({"severity": "severe", "tags": ["river", "bridge"]}));
    b.set(json!({"status": "confirmed", "tags": ["river", "night"]}));
    let (to_b, to_a) = (a.log.clone(), b.log.clone());
    b.take(a.author, &to_b);
    a.take(b.author, &to_a);
    same(&a.doc, &b.doc);
    assert_eq!(a.field("severity"), "severe");
    assert_eq!(a.field("status"), "confirmed");
    assert_eq!(a.field("tags"), json!(["bridge", "night", "river"]));
    assert!(a.doc.view().conflicts.is_empty());
}

#[test]
fn texts_merge_character_by_character() {
    let (mut a, mut b) = pair();
    a.set(json!({"description": "Water at the mill. Road open."}));
    b.pull(&a);
    a.set(json!({"description": "Water at the old mill. Road open."}));
    b.set(json!({"description": "Water at the mill. Road closed 🚧."}));
    let logs = (a.log.clone(), b.log.clone());
    b.take(a.author, &logs.0);
    a.take(b.author, &logs.1);
    same(&a.doc, &b.doc);
    assert_eq!(
        a.field("description"),
        "Water at the old mill. Road closed 🚧."
    );
}

#[test]
fn a_long_text_replaced_by_another_is_quick_and_exact() {
    let (mut a, _) = pair();
    let (old, new) = ("ab ".repeat(3_000), "xyz ".repeat(2_500));
    a.set(json!({"description": format!("start {old} end")}));
    a.set(json!({"description": format!("start {new} end")}));
    assert_eq!(a.field("description"), format!("start {new} end"));
}

#[test]
fn an_edit_of_an_old_version_merges_as_if_made_then() {
    let (mut a, mut b) = pair();
    let seen = a.doc.version();
    a.set(json!({"severity": "extreme", "description": "one"}));
    a.set(json!({"title": "great flood"}));
    // A second user of this node saved a form that was opened before.
    a.edit(
        Some(&seen),
        &patch(json!({"title": "flood at the mill", "tags": []})),
    );
    assert_eq!(a.field("severity"), "extreme");
    assert_eq!(a.field("tags"), json!([]));
    assert_eq!(
        a.doc.view().conflicts.len(),
        1,
        "two users of one node can conflict"
    );
    let ingested = b.pull(&a);
    assert_eq!(
        ingested
            .outcomes
            .iter()
            .filter(|o| **o == Outcome::Applied)
            .count(),
        3
    );
    same(&a.doc, &b.doc);
    same(&a.doc, &a.reloaded());
}

#[test]
fn one_stale_version_can_be_edited_often_but_not_for_ever() {
    let (mut a, mut b) = pair();
    let seen = a.doc.version();
    let mut made = 0;
    loop {
        let edit = patch(json!({"title": format!("title {made}")}));
        match a.doc.edit(&a.author, Some(&seen), &edit, T0) {
            Ok(edited) => a.log.push(edited.unwrap().bytes),
            Err(error) => {
                assert_eq!(error, EditError::TooManyAtOnce);
                break;
            }
        }
        made += 1;
    }
    assert_eq!(made, 257, "the base actor and 256 levels beside it");
    // A version names 64 heads at most, yet everything arrives and comes together again.
    assert!(a.doc.version().to_string().len() < 2_800);
    let ingested = b.pull(&a);
    assert!(
        ingested.outcomes[1..]
            .iter()
            .all(|outcome| *outcome == Outcome::Applied)
    );
    same(&a.doc, &b.doc);
    for n in 0..6 {
        b.set(json!({"title": format!("resolved {n}")}));
    }
    assert_eq!(b.doc.heads().len(), 1);
    assert!(b.doc.view().conflicts.is_empty());
    assert!(
        a.pull(&b)
            .outcomes
            .iter()
            .all(|outcome| *outcome == Outcome::Applied)
    );
    same(&a.doc, &b.doc);
}

#[test]
fn a_version_from_elsewhere_is_unknown_until_its_changes_come() {
    let (mut a, mut b) = pair();
    a.set(json!({"severity": "severe"}));
    let ahead = a.doc.version();
    assert!(!b.doc.knows(&ahead));
    assert!(b.doc.fields_at(&ahead).is_none());
    let edit = patch(json!({"title": "x"}));
    assert_eq!(
        b.doc.edit(&b.author, Some(&ahead), &edit, T0),
        Err(EditError::VersionUnknown)
    );
    b.pull(&a);
    assert_eq!(b.doc.fields_at(&ahead).unwrap()["severity"], "severe");
    assert!(b.doc.edit(&b.author, Some(&ahead), &edit, T0).is_ok());
}

#[test]
fn an_edit_that_does_not_fit_an_entry_leaves_no_trace() {
    let (mut a, _) = pair();
    let before = a.doc.view();
    // Two hundred tags would be refused by the check; many short-lived words in the text are not.
    let text: String = (0..19_000_u32)
        .map(|n| char::from_u32(0x4e00 + n).unwrap())
        .collect();
    let edit = Edit {
        kind: Kind::Incident,
        changes: vec![crate::schema::FieldChange {
            key: "description",
            what: crate::schema::What::Text(text),
        }],
    };
    let error = a.doc.edit(&a.author, None, &edit, T0).unwrap_err();
    assert!(matches!(error, EditError::TooLarge { bytes, max_bytes } if bytes > max_bytes));
    assert_eq!(a.doc.view(), before);
    a.set(json!({"title": "still works"}));
}

#[test]
fn deletion_is_a_mark_that_can_be_taken_away() {
    let (mut a, mut b) = pair();
    a.edit(None, &Edit::delete(Kind::Incident)).unwrap();
    b.pull(&a);
    assert!(b.doc.view().deleted);
    assert_eq!(b.doc.view().deleted_at.unwrap().actor, author(1).actor());
    b.edit(None, &Edit::restore(Kind::Incident)).unwrap();
    assert!(!b.doc.view().deleted);
    assert!(b.doc.view().unknown.is_empty(), "the mark is not a field");
}

#[test]
fn a_document_comes_back_from_snapshot_and_later_changes() {
    let (mut a, _) = pair();
    let snapshot = a.doc.save();
    let later: Vec<Vec<u8>> = (0..3)
        .map(|n| a.set(json!({"title": format!("title {n}")})).bytes)
        .collect();
    let stored = Stored {
        snapshot,
        applied: later,
        ..Stored::default()
    };
    let back = Document::restore(Kind::Incident, id(), stored).unwrap();
    same(&a.doc, &back);
    same(&a.doc, &a.reloaded());
    // And from the changes alone.
    let stored = Stored {
        applied: a.log.clone(),
        ..Stored::default()
    };
    same(
        &a.doc,
        &Document::restore(Kind::Incident, id(), stored).unwrap(),
    );
}

#[test]
fn changes_that_the_store_keeps_before_what_they_build_on_are_indexed_like_others() {
    let (mut a, mut b) = pair();
    a.set(json!({"title": "second"}));
    // One batch brought both: the store numbers them run by run.
    let mut applied = a.log.clone();
    applied.reverse();
    let stored = Stored {
        applied,
        ..Stored::default()
    };
    let mut back = Document::restore(Kind::Incident, id(), stored).unwrap();
    b.pull(&a);
    let answer = b.set(json!({"title": "third"}));
    let incoming = Incoming {
        key: 1,
        author: author(2),
        bytes: &answer.bytes,
    };
    assert_eq!(back.ingest(&[incoming]).outcomes, [Outcome::Applied]);
    same(&b.doc, &back);
}

#[test]
fn stored_changes_that_lack_one_in_between_are_an_error() {
    let (mut a, _) = pair();
    a.set(json!({"title": "second"}));
    a.set(json!({"title": "third"}));
    let applied = vec![a.log[0].clone(), a.log[2].clone()];
    let stored = Stored {
        applied,
        ..Stored::default()
    };
    let error = Document::restore(Kind::Incident, id(), stored).err();
    assert!(
        matches!(error, Some(DocumentError::Damaged(_))),
        "{error:?}"
    );
}

#[test]
fn a_document_can_travel_between_threads() {
    fn travels<T: Send + Sync + 'static>() {}
    travels::<Document>();
    travels::<View>();
}

#[test]
fn damaged_or_foreign_snapshots_are_an_error() {
    let (a, _) = pair();
    let snapshot = a.doc.save();
    assert!(matches!(
        Document::load(Kind::Device, id(), &snapshot),
        Err(DocumentError::WrongKind { expected: "device" })
    ));
    for index in (0..snapshot.len()).step_by(7) {
        let mut bytes = snapshot.clone();
        bytes[index] ^= 0x55;
        assert!(
            Document::load(Kind::Incident, id(), &bytes).is_err(),
            "byte {index}"
        );
    }
    assert!(Document::load(Kind::Incident, id(), &snapshot[..snapshot.len() / 2]).is_err());
}

#[test]
fn fields_of_a_newer_version_and_of_another_type_are_kept_apart() {
    let (mut a, mut b) = pair();
    let newer = Edit {
        kind: Kind::Incident,
        changes: vec![
            crate::schema::FieldChange {
                key: "mood",
                what: crate::schema::What::Register(crate::schema::Scalar::Json(
                    "{\"a\":1}".into(),
                )),
            },
            crate::schema::FieldChange {
                key: "severity",
                what: crate::schema::What::Register(crate::schema::Scalar::Int(5)),
            },
            crate::schema::FieldChange {
                key: "status",
                what: crate::schema::What::Register(crate::schema::Scalar::Str("paused".into())),
            },
        ],
    };
    a.edit(None, &newer).unwrap();
    assert_eq!(b.pull(&a).outcomes[1], Outcome::Applied);
    let view = b.doc.view();
    assert_eq!(view.unknown["mood"], json!({"a": 1}));
    assert_eq!(view.unknown["severity"], 5);
    assert_eq!(
        view.fields["severity"], "unknown",
        "readers rely on the type"
    );
    assert_eq!(
        view.fields["status"], "paused",
        "a word of a newer version is shown"
    );
}

#[test]
fn the_size_of_a_document_in_memory_is_known_roughly() {
    let (mut a, _) = pair();
    let small = a.doc.approx_bytes();
    a.set(json!({"description": "long ".repeat(1000)}));
    assert!((14_000..40_000).contains(&small), "{small}");
    assert!(
        a.doc.approx_bytes() > small + 1_000_000 / 2,
        "{}",
        a.doc.approx_bytes()
    );
}
