//! What the operations of an applied change were, read from its columns: for the index, which wants three bytes of each.
//!
//! automerge's own decoding gives every operation its own names and values; over a loaded document that costs more than
//! loading it. Here nothing is judged: the bytes are those of a change that automerge holds, and where they are not as
//! expected the answer is `None`. Format: "Automerge Binary Document Format", change chunks; tests compare every
//! operation with what automerge says.

use super::prescan::Input;

/// Column of the object's actor: id 0, actor.
const OBJECT_ACTOR: u64 = 0x01;
/// Column of the object's counter: id 0, integer.
const OBJECT_COUNTER: u64 = 0x02;
/// Column of keys in maps: id 1, string.
const KEY: u64 = 0x15;
/// Column of whether something was inserted: id 3, boolean.
const INSERT: u64 = 0x34;
/// Column of actions: id 4, integer.
const ACTION: u64 = 0x42;
/// The number of "delete" in the column of actions.
const ACTION_DELETE: u64 = 3;

/// An operation, as much of it as the index keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OpSketch<'a> {
    /// The object's counter and actor; `None` for the root.
    pub(super) object: Option<(u64, &'a [u8])>,
    /// The key in a map; `None` in a sequence.
    pub(super) key: Option<&'a str>,
    pub(super) insert: bool,
    pub(super) delete: bool,
}

/// The operations of a change in its bytes, in order.
pub(super) fn sketches(bytes: &[u8]) -> Option<Vec<OpSketch<'_>>> {
    let mut input = Input(bytes);
    input.take(4 + 4 + 1)?; // magic bytes, checksum, type of the chunk
    input.unsigned()?; // length
    let deps = input.unsigned()?;
    input.take(usize::try_from(deps.checked_mul(32)?).ok()?)?;
    let mut actors = vec![input.block()?];
    input.unsigned()?; // seq
    input.unsigned()?; // start_op
    input.signed()?; // time
    input.block()?; // message
    for _ in 0..input.unsigned()? {
        actors.push(input.block()?);
    }
    let mut layout = Vec::new();
    for _ in 0..input.unsigned()? {
        layout.push((input.unsigned()?, usize::try_from(input.unsigned()?).ok()?));
    }
    let mut numbers =
        [OBJECT_ACTOR, OBJECT_COUNTER, ACTION].map(|spec| (spec, Column::empty(number)));
    let mut keys = Column::empty(text);
    let mut inserts = Input(&[]);
    for (spec, length) in layout {
        let data = input.take(length)?;
        match spec {
            KEY => keys.input = Input(data),
            INSERT => inserts = Input(data),
            _ => {
                if let Some((_, column)) = numbers.iter_mut().find(|(of, _)| *of == spec) {
                    column.input = Input(data);
                }
            }
        }
    }
    let [
        (_, mut object_actors),
        (_, mut object_counters),
        (_, mut actions),
    ] = numbers;
    let mut inserted = Booleans::new(inserts);
    let mut found = Vec::new();
    // Every operation has an action, so that column says how many there are.
    while let Some(action) = actions.next()? {
        let object = match (
            object_counters.next()?.flatten(),
            object_actors.next()?.flatten(),
        ) {
            (Some(counter), Some(actor)) => {
                Some((counter, *actors.get(usize::try_from(actor).ok()?)?))
            }
            _ => None,
        };
        found.push(OpSketch {
            object,
            key: keys.next()?.flatten(),
            insert: inserted.next()?,
            delete: action == Some(ACTION_DELETE),
        });
    }
    Some(found)
}

fn number<'a>(input: &mut Input<'a>) -> Option<u64> {
    input.unsigned()
}

fn text<'a>(input: &mut Input<'a>) -> Option<&'a str> {
    std::str::from_utf8(input.block()?).ok()
}

/// A run-length encoded column.
struct Column<'a, T> {
    input: Input<'a>,
    read: fn(&mut Input<'a>) -> Option<T>,
    run: Run<T>,
}

enum Run<T> {
    /// So many more of the same; `None` is null.
    Same(u64, Option<T>),
    /// So many more, each spelt out.
    Each(u64),
}

impl<'a, T: Copy> Column<'a, T> {
    fn empty(read: fn(&mut Input<'a>) -> Option<T>) -> Self {
        Column {
            input: Input(&[]),
            read,
            run: Run::Each(0),
        }
    }

    /// The next value, null inside; `Some(None)` at the end, `None` for bytes that spell nothing.
    fn next(&mut self) -> Option<Option<Option<T>>> {
        loop {
            match &mut self.run {
                Run::Same(left, value) if *left > 0 => {
                    *left -= 1;
                    return Some(Some(*value));
                }
                Run::Each(left) if *left > 0 => {
                    *left -= 1;
                    return Some(Some(Some((self.read)(&mut self.input)?)));
                }
                _ if self.input.0.is_empty() => return Some(None),
                _ => {}
            }
            self.run = match self.input.signed()? {
                0 => Run::Same(self.input.unsigned()?, None),
                count if count > 0 => {
                    Run::Same(count.unsigned_abs(), Some((self.read)(&mut self.input)?))
                }
                count => Run::Each(count.unsigned_abs()),
            };
        }
    }
}

/// A column of booleans: the lengths of runs, of false at first, then in turns.
struct Booleans<'a> {
    input: Input<'a>,
    left: u64,
    value: bool,
}

impl<'a> Booleans<'a> {
    fn new(input: Input<'a>) -> Self {
        Booleans {
            input,
            left: 0,
            // The first run, which turns it, is of false.
            value: true,
        }
    }

    /// The next value; false behind the end.
    fn next(&mut self) -> Option<bool> {
        while self.left == 0 {
            if self.input.0.is_empty() {
                return Some(false);
            }
            self.left = self.input.unsigned()?;
            self.value = !self.value;
        }
        self.left -= 1;
        Some(self.value)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use automerge::legacy::{Key, ObjectId, OpId, OpType};
    use serde_json::json;

    use super::*;
    use crate::document::tests::{Node, create, patch};

    #[test]
    fn every_operation_is_as_automerge_says() {
        let mut node = Node::new(1);
        node.edit(None, &create(json!({"title": "Flood", "tags": ["a", "b"]})));
        for body in [
            json!({"description": "The water rises.", "severity": "severe"}),
            json!({"description": "The wäter rises, 水.", "tags": ["b", "c"], "title": "Flood!"}),
            json!({"description": "", "location": {"lat": 50.5, "lon": 7.25}, "parent": null}),
        ] {
            node.edit(None, &patch(body));
        }
        let changes = node.doc.doc.get_changes(&[]);
        assert!(changes.len() >= 4, "the genesis too");
        for change in changes {
            let found = sketches(change.raw_bytes()).unwrap();
            let ops = change.decode().operations;
            assert_eq!(found.len(), ops.len());
            for (found, op) in found.iter().zip(&ops) {
                let object = match &op.obj {
                    ObjectId::Root => None,
                    ObjectId::Id(OpId(counter, actor)) => Some((*counter, actor.to_bytes())),
                };
                let key = match &op.key {
                    Key::Map(key) => Some(key.as_str()),
                    Key::Seq(_) => None,
                };
                let expected = OpSketch {
                    object,
                    key,
                    insert: op.insert,
                    delete: op.action == OpType::Delete,
                };
                assert_eq!(*found, expected);
            }
        }
    }

    #[test]
    fn bytes_that_are_cut_are_no_operations_and_never_too_many() {
        let mut node = Node::new(1);
        node.edit(None, &create(json!({"title": "Flood", "tags": ["a", "b"]})));
        let whole = node.log[0].clone();
        let count = sketches(&whole).unwrap().len();
        for end in 0..whole.len() {
            if let Some(found) = sketches(&whole[..end]) {
                assert!(found.len() <= count, "{end}");
            }
        }
    }
}
