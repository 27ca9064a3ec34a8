//! Registers that two people set apart.

use super::*;

/// Both nodes set the severity apart and then exchange.
fn in_conflict() -> (Node, Node) {
    let (mut a, mut b) = pair();
    a.set(json!({"severity": "severe"}));
    b.set(json!({"severity": "moderate"}));
    let logs = (a.log.clone(), b.log.clone());
    b.take(a.author, &logs.0);
    a.take(b.author, &logs.1);
    (a, b)
}

#[test]
fn a_register_set_apart_keeps_both_values_under_one_id_everywhere() {
    let (a, b) = in_conflict();
    same(&a.doc, &b.doc);
    let view = a.doc.view();
    let [conflict] = view.conflicts.as_slice() else {
        panic!("{:?}", view.conflicts)
    };
    assert_eq!(conflict.field, "severity");
    let mut values: Vec<&Value> = conflict.values.iter().map(|value| &value.value).collect();
    assert_eq!(
        *values[0], view.fields["severity"],
        "the value that is shown comes first"
    );
    values.sort_by_key(|value| value.to_string());
    assert_eq!(values, ["moderate", "severe"]);
    for value in &conflict.values {
        let by = if value.value == "severe" {
            author(1)
        } else {
            author(2)
        };
        assert_eq!(value.set.actor, by.actor());
    }
    assert_eq!(a.reloaded().view().conflicts, view.conflicts);
}

#[test]
fn equal_values_are_no_conflict() {
    let (mut a, mut b) = pair();
    let place = json!({"location": {"lat": 46, "lon": 7.5}, "severity": "severe"});
    a.set(place.clone());
    b.set(place);
    a.pull(&b);
    assert!(a.doc.view().conflicts.is_empty());
    assert_eq!(a.field("location"), json!({"lat": 46.0, "lon": 7.5}));
}

#[test]
fn clearing_a_register_conflicts_with_setting_it() {
    let (mut a, mut b) = pair();
    a.set(json!({"location": {"lat": 46, "lon": 7}}));
    b.pull(&a);
    a.set(json!({"location": null}));
    b.set(json!({"location": {"lat": 47, "lon": 8}}));
    a.pull(&b);
    let view = a.doc.view();
    assert_eq!(view.conflicts.len(), 1);
    assert!(
        view.conflicts[0]
            .values
            .iter()
            .any(|value| value.value.is_null())
    );
}

#[test]
fn a_choice_settles_the_conflict_on_every_node_and_says_so_once() {
    for choose_shown in [true, false] {
        let (mut a, mut b) = in_conflict();
        let open = a.doc.view().conflicts.remove(0);
        let chosen = open.values[usize::from(!choose_shown)].value.clone();
        let edited = a.set(json!({"severity": chosen}));
        let [resolved] = edited.resolved.as_slice() else {
            panic!("{:?}", edited.resolved)
        };
        assert_eq!(resolved.conflict, open);
        assert_eq!(resolved.chosen, chosen);
        assert_eq!(resolved.resolved.actor, author(1).actor());
        let ingested = b.pull(&a);
        assert_eq!(ingested.resolved, edited.resolved, "the same on every node");
        assert!(b.doc.view().conflicts.is_empty());
        assert_eq!(b.field("severity"), chosen);
        same(&a.doc, &b.doc);
        assert!(b.pull(&a).resolved.is_empty(), "told once");
    }
}

#[test]
fn two_choices_made_apart_are_a_new_conflict_not_a_silent_loss() {
    let (mut a, mut b) = in_conflict();
    let open = a.doc.view().conflicts.remove(0);
    a.set(json!({"severity": open.values[0].value}));
    b.set(json!({"severity": open.values[1].value}));
    let logs = (a.log.clone(), b.log.clone());
    b.take(a.author, &logs.0);
    a.take(b.author, &logs.1);
    same(&a.doc, &b.doc);
    let again = a.doc.view().conflicts.remove(0);
    assert_ne!(again.id, open.id);
    assert_eq!(again.values.len(), 2);
}

#[test]
fn an_edit_of_another_field_leaves_the_conflict_open() {
    let (mut a, _) = in_conflict();
    let open = a.doc.view().conflicts;
    assert!(a.set(json!({"title": "x"})).resolved.is_empty());
    assert_eq!(a.doc.view().conflicts, open);
    // One head now, and the conflict can still be settled.
    assert_eq!(a.doc.heads().len(), 1);
    assert_eq!(a.set(json!({"severity": "extreme"})).resolved.len(), 1);
}

#[test]
fn a_third_value_makes_it_another_conflict() {
    let (mut a, b) = in_conflict();
    let open = a.doc.view().conflicts.remove(0);
    let mut c = Node::new(3);
    let created = a.log[..1].to_vec();
    c.take(a.author, &created);
    c.set(json!({"severity": "extreme"}));
    a.pull(&c);
    let wider = a.doc.view().conflicts.remove(0);
    assert_ne!(wider.id, open.id);
    assert_eq!(wider.values.len(), 3);
    assert_eq!(b.doc.view().conflicts[0].id, open.id);
}

#[test]
fn secret_fields_never_stand_in_a_conflict() {
    let user = |n: u8, hash: &str| {
        let mut doc = Document::new(Kind::User, id());
        let edit = check_create(Kind::User, &object(json!({"name": "mara"})))
            .unwrap()
            .and(
                crate::check_node_fields(Kind::User, &object(json!({"password_hash": hash})))
                    .unwrap(),
            );
        let bytes = doc
            .edit(&author(n), None, &edit, T0)
            .unwrap()
            .unwrap()
            .bytes;
        (doc, bytes)
    };
    let (mut one, _) = user(1, "$argon2id$1");
    let (_, other) = user(2, "$argon2id$2");
    let ingested = one.ingest(&[Incoming {
        key: 1,
        author: author(2),
        bytes: &other,
    }]);
    assert_eq!(ingested.outcomes, [Outcome::Applied]);
    let view = one.view();
    assert!(view.conflicts.is_empty());
    assert!(
        view.secrets["password_hash"]
            .as_str()
            .unwrap()
            .starts_with("$argon2id$")
    );
    assert!(!view.fields.contains_key("password_hash"));
}

#[test]
fn what_resolved_a_conflict_is_found_again_by_a_replay() {
    let (mut a, b) = in_conflict();
    let resolved = a.set(json!({"severity": "extreme"})).resolved;
    // A node that hears everything at once, the resolving side first.
    let mut c = Node::new(3);
    let mut found = c.pull(&a).resolved;
    found.extend(c.pull(&b).resolved);
    assert_eq!(found, resolved);
    same(&a.doc, &c.doc);
}
