//! Changes taken apart and put together again.

use automerge::ScalarValue;
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::properties::{Step, edit_of, steps};
use super::*;
use crate::document::pack::{ChangeParts, Dep};

const KIND: u16 = 0x0101;

/// Takes apart and puts together; `None` where the bytes are not taken apart.
fn through(author: &Author, bytes: &[u8]) -> Option<Vec<u8>> {
    let (parts, hash) = ChangeParts::take_apart(KIND, author, bytes)?;
    let whole = parts.put_together(KIND, author).unwrap();
    assert_eq!(whole.hash, hash);
    Some(whole.bytes)
}

/// The change with its checksum made right, as an attacker would.
fn with_checksum(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some(chunk) = bytes.get(8..) {
        let hash: [u8; 32] = Sha256::digest(chunk).into();
        bytes[4..8].copy_from_slice(&hash[..4]);
    }
    bytes
}

#[test]
fn the_genesis_the_own_actor_and_all_that_follows_are_left_out() {
    let mut node = Node::new(1);
    let first = node.edit(None, &create(json!({"title": "flood"}))).unwrap();
    let (parts, hash) = ChangeParts::take_apart(KIND, &node.author, &first.bytes).unwrap();
    assert_eq!(hash, first.hash);
    assert_eq!(parts.deps, [Dep::Genesis(0)]);
    assert_eq!((parts.level, parts.seq), (0, 1));
    let second = node.set(json!({"severity": "minor"}));
    let (parts, _) = ChangeParts::take_apart(KIND, &node.author, &second.bytes).unwrap();
    assert_eq!(parts.deps, [Dep::Change(first.hash)]);
    assert_eq!(through(&node.author, &second.bytes), Some(second.bytes));
}

#[test]
fn a_change_side_by_side_keeps_its_level() {
    let mut node = Node::new(1);
    node.edit(None, &create(json!({"title": "flood"})));
    let old = node.doc.version();
    node.set(json!({"severity": "minor"}));
    let beside = node
        .edit(Some(&old), &patch(json!({"severity": "severe"})))
        .unwrap();
    let (parts, _) = ChangeParts::take_apart(KIND, &node.author, &beside.bytes).unwrap();
    assert_eq!(parts.level, 1);
    assert_eq!(through(&node.author, &beside.bytes), Some(beside.bytes));
}

#[test]
fn another_authors_change_a_foreign_kind_and_a_damaged_one_are_left_alone() {
    let (a, b) = pair();
    let bytes = &a.log[0];
    assert!(through(&a.author, bytes).is_some());
    assert_eq!(through(&b.author, bytes), None);
    let mut damaged = bytes.clone();
    damaged[20] ^= 1;
    assert_eq!(through(&a.author, &damaged), None);
    // A kind that this version does not know has no genesis to leave out.
    let (parts, _) = ChangeParts::take_apart(0x7fff, &a.author, bytes).unwrap();
    assert!(matches!(parts.deps[..], [Dep::Change(_)]));
    let (parts, _) = ChangeParts::take_apart(KIND, &a.author, bytes).unwrap();
    assert_eq!(parts.put_together(0x7fff, &a.author), None);
}

#[test]
fn a_change_with_extra_bytes_or_an_odd_value_comes_back_as_it_was() {
    let (a, _) = pair();
    let change = Change::from_bytes(a.log[0].clone()).unwrap();
    let mut expanded = change.decode();
    expanded.extra_bytes = vec![1, 2, 3];
    expanded.message = Some("why".to_owned());
    expanded.operations.push(expanded.operations[0].clone());
    if let Some(op) = expanded.operations.last_mut() {
        op.action = automerge::legacy::OpType::Put(ScalarValue::F64(f64::NAN));
    }
    let odd = Change::from(expanded);
    assert_eq!(
        through(&a.author, odd.raw_bytes()).as_deref(),
        Some(odd.raw_bytes())
    );
}

/// Changes of three nodes that edit one document in turns, now and then an old version of it.
fn changes(steps: Vec<Step>) -> Vec<(Author, Vec<u8>)> {
    let mut nodes = [Node::new(1), Node::new(2), Node::new(3)];
    nodes[0].edit(None, &create(json!({"title": "flood"})));
    let first = nodes[0].doc.version();
    for n in [1, 2] {
        let log = nodes[0].log.clone();
        let author = nodes[0].author;
        nodes[n].take(author, &log);
    }
    for step in steps {
        match step {
            Step::Edit {
                node,
                what,
                value,
                stale,
            } => {
                nodes[node].edit(stale.then_some(&first), &edit_of(what, value));
            }
            Step::Pull { to, from, .. } => {
                let (author, log) = (nodes[from].author, nodes[from].log.clone());
                nodes[to].take(author, &log);
            }
            Step::Restart { .. } => {}
        }
    }
    nodes
        .iter()
        .flat_map(|node| node.log.iter().map(|bytes| (node.author, bytes.clone())))
        .collect()
}

proptest! {
    #[test]
    fn every_change_that_a_node_makes_comes_back_as_it_was(steps in steps()) {
        for (author, bytes) in changes(steps) {
            prop_assert_eq!(through(&author, &bytes), Some(bytes));
        }
    }

    #[test]
    fn altered_changes_come_back_as_they_were_or_are_left_alone(
        steps in steps(),
        pick in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let changes = changes(steps);
        let (author, mut bytes) = changes[pick.index(changes.len())].clone();
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        for bytes in [with_checksum(&bytes), bytes] {
            if let Some(again) = through(&author, &bytes) {
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
