//! Random histories and random bytes.

use automerge::ExpandedChange;
use automerge::ScalarValue;
use automerge::legacy::{ElementId, Key, ObjectId, Op, OpId, OpType};
use proptest::prelude::*;

use super::*;

/// One step of a random history on three nodes.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A node edits what it sees, or the first version that everybody has.
    Edit {
        node: usize,
        what: u8,
        value: u8,
        stale: bool,
    },
    /// A node takes in some of another's log, from the beginning.
    Pull { to: usize, from: usize, part: u8 },
    /// A node is restarted.
    Restart { node: usize },
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let edit = (0..3_usize, 0..6_u8, 0..4_u8, proptest::bool::weighted(0.2)).prop_map(
        |(node, what, value, stale)| Step::Edit {
            node,
            what,
            value,
            stale,
        },
    );
    let pull = (0..3_usize, 0..3_usize, any::<u8>()).prop_map(|(to, from, part)| Step::Pull {
        to,
        from,
        part,
    });
    let restart = (0..3_usize).prop_map(|node| Step::Restart { node });
    proptest::collection::vec(prop_oneof![6 => edit, 4 => pull, 1 => restart], 1..40)
}

pub(super) fn edit_of(what: u8, value: u8) -> Edit {
    let word = ["severe", "moderate", "minor", "extreme"][usize::from(value)];
    patch(match what {
        0 => json!({"severity": word}),
        1 => json!({"title": format!("title {value}"), "severity": word}),
        2 => {
            let tags = &["a", "b", "c", "d"][..usize::from(value)];
            json!({"tags": tags})
        }
        3 => json!({"description": format!("{} {}", "wet ".repeat(usize::from(value)), word)}),
        4 => json!({"location": {"lat": value, "lon": 1}}),
        _ => json!({"location": null, "parent": null}),
    })
}

/// What a test node keeps on its disk.
#[derive(Default)]
struct Disk {
    waiting: Vec<Pending>,
}

fn restart(node: &mut Node, disk: &Disk) {
    let stored = Stored {
        snapshot: node.doc.save(),
        waiting: disk.waiting.clone(),
        ..Stored::default()
    };
    node.doc = Document::restore(Kind::Incident, id(), stored).unwrap();
}

fn note(disk: &mut Disk, batch: &[(u64, Author, Vec<u8>)], ingested: &Ingested) {
    for ((key, author, bytes), outcome) in batch.iter().zip(&ingested.outcomes) {
        assert!(
            matches!(
                outcome,
                Outcome::Applied | Outcome::Duplicate | Outcome::Waiting { .. }
            ),
            "honest changes are never refused: {outcome:?}"
        );
        if matches!(outcome, Outcome::Waiting { .. }) {
            disk.waiting.push(Pending {
                key: *key,
                author: *author,
                bytes: bytes.clone(),
            });
        }
    }
    for settled in &ingested.settled {
        assert_eq!(settled.outcome, Outcome::Applied);
        disk.waiting.retain(|pending| pending.key != settled.key);
    }
}

fn take(node: &mut Node, disk: &mut Disk, from: Author, first: u64, log: &[Vec<u8>]) {
    let batch: Vec<(u64, Author, Vec<u8>)> = log
        .iter()
        .enumerate()
        .map(|(n, bytes)| (first + n as u64, from, bytes.clone()))
        .collect();
    let incoming: Vec<Incoming<'_>> = batch
        .iter()
        .map(|(key, author, bytes)| Incoming {
            key: *key,
            author: *author,
            bytes,
        })
        .collect();
    let ingested = node.doc.ingest(&incoming);
    note(disk, &batch, &ingested);
}

proptest! {
    /// Whatever is edited where, and however the logs travel, everybody ends with the same document, also after a
    /// restart in the middle; a snapshot shows what the document shows.
    #[test]
    fn nodes_that_took_in_the_same_changes_agree(steps in steps()) {
        let mut nodes = [Node::new(1), Node::new(2), Node::new(3)];
        let mut disks = [Disk::default(), Disk::default(), Disk::default()];
        // How much of each log each node has taken in.
        let mut seen = [[0_usize; 3]; 3];
        let created = nodes[0].edit(None, &create(json!({"title": "flood"}))).unwrap().bytes;
        let base = nodes[0].doc.version();
        for node in [1, 2] {
            take(&mut nodes[node], &mut disks[node], author(1), 0, std::slice::from_ref(&created));
            seen[node][0] = 1;
        }
        for step in steps {
            match step {
                Step::Edit { node, what, value, stale } => {
                    let base = stale.then_some(&base);
                    nodes[node].edit(base, &edit_of(what, value));
                }
                Step::Pull { to, from, part } if to != from => {
                    let (have, all) = (seen[to][from], nodes[from].log.len());
                    let upto = have + (all - have) * usize::from(part) / 255;
                    let log = nodes[from].log[have..upto].to_vec();
                    let (by, first) = (nodes[from].author, (from * 1000 + have) as u64);
                    take(&mut nodes[to], &mut disks[to], by, first, &log);
                    seen[to][from] = upto;
                }
                Step::Pull { .. } => {}
                Step::Restart { node } => restart(&mut nodes[node], &disks[node]),
            }
        }
        for to in 0..3 {
            for from in (0..3).filter(|from| *from != to) {
                let log = nodes[from].log[seen[to][from]..].to_vec();
                let (by, first) = (nodes[from].author, (from * 1000 + seen[to][from]) as u64);
                take(&mut nodes[to], &mut disks[to], by, first, &log);
            }
        }
        for node in &nodes {
            prop_assert_eq!(node.doc.waiting(), 0);
            same(&nodes[0].doc, &node.doc);
            same(&node.doc, &node.reloaded());
        }
    }

    /// Bytes from anywhere never panic out, never break the document, and honest changes still apply.
    #[test]
    fn random_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (mut a, mut b) = pair();
        let outcome = b.take(author(9), &[bytes]).outcomes.remove(0);
        let refused = matches!(outcome, Outcome::Quarantined { .. });
        prop_assert!(refused);
        a.set(json!({"severity": "severe"}));
        prop_assert_eq!(&b.pull(&a).outcomes[1], &Outcome::Applied);
    }

    /// An honest change with bytes turned over is refused, or is another change that is as good; in no case does the
    /// document break.
    #[test]
    fn spoilt_changes_do_no_harm(
        seed in 0..4_u8,
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in proptest::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let (mut a, mut b) = pair();
        let mut evil = Node::new(9);
        evil.pull(&a);
        let mut bytes = evil.edit(None, &edit_of(seed, 3)).unwrap().bytes;
        for (index, with) in flips {
            // The checksum covers the body: without mending it, nothing behind it would ever be reached.
            let at = index.index(bytes.len());
            bytes[at] ^= with;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        mend_checksum(&mut bytes);
        let outcome = b.take(author(9), &[bytes]).outcomes.remove(0);
        let held = matches!(outcome, Outcome::HeldBack { .. });
        prop_assert!(!held, "the rules stop what automerge cannot take");
        a.set(json!({"status": "active"}));
        prop_assert_eq!(&b.pull(&a).outcomes[1], &Outcome::Applied);
        same(&b.doc, &b.reloaded());
    }
}

/// How a hostile author picks the parts of an operation.
#[derive(Debug, Clone)]
struct Crafted {
    container: u8,
    key: u8,
    delete: bool,
    insert: bool,
    /// Which known operations it names, by position; beyond the end stands for one of its own.
    refers: Vec<u8>,
    value: u8,
}

fn crafted() -> impl Strategy<Value = Vec<Crafted>> {
    let refers = proptest::collection::vec(any::<u8>(), 0..3);
    let op = (
        0..3_u8,
        0..4_u8,
        any::<bool>(),
        any::<bool>(),
        refers,
        0..6_u8,
    )
        .prop_map(|(container, key, delete, insert, refers, value)| Crafted {
            container,
            key,
            delete,
            insert,
            refers,
            value,
        });
    proptest::collection::vec(op, 1..6)
}

/// An operation that exists somewhere, and where it wrote.
struct Known {
    id: OpId,
    container: u8,
    key: String,
}

const KEYS: [[&str; 4]; 2] = [
    ["severity", "title", "mood", "tags"],
    ["a", "b", "river", "c"],
];

fn known(id: OpId, op: &Op) -> Known {
    let text = genesis::genesis(Kind::Incident)
        .container("description")
        .unwrap();
    let container = match &op.obj {
        ObjectId::Root => 0,
        ObjectId::Id(object) if object.0 == text.counter => 2,
        ObjectId::Id(_) => 1,
    };
    let key = match &op.key {
        Key::Map(key) => key.to_string(),
        Key::Seq(_) => String::new(),
    };
    Known { id, container, key }
}

/// An operation as crafted. It mostly names operations that wrote to the same place, whatever came of them since, so
/// that the rules let many pass.
fn craft(op: &Crafted, known: &[Known], own: &OpId) -> Op {
    let genesis = genesis::genesis(Kind::Incident);
    let object = |key: &str| {
        let container = genesis.container(key).unwrap();
        ObjectId::Id(OpId(container.counter, container.actor.clone()))
    };
    let name = match op.container {
        0 | 1 => KEYS[usize::from(op.container)][usize::from(op.key)],
        _ => "",
    };
    let id = |n: u8| {
        let fits = |k: &&Known| n > 240 || (k.container == op.container && k.key == name);
        let fitting: Vec<&Known> = known.iter().filter(fits).collect();
        match fitting.get(usize::from(n) % (fitting.len() + usize::from(n > 200)).max(1)) {
            Some(known) => known.id.clone(),
            None => own.clone(),
        }
    };
    let (obj, key) = match op.container {
        0 => (ObjectId::Root, Key::Map(name.into())),
        1 => (object("tags"), Key::Map(name.into())),
        _ => {
            let element = match op.refers.first() {
                Some(n) => ElementId::Id(id(*n)),
                None => ElementId::Head,
            };
            (object("description"), Key::Seq(element))
        }
    };
    let delete = op.delete && (op.container < 2 || !op.refers.is_empty());
    let action = match (delete, op.container) {
        (true, _) => OpType::Delete,
        (false, 0) => OpType::Put(match op.value {
            0 => ScalarValue::Null,
            1 => ScalarValue::F64(f64::NAN),
            2 => ScalarValue::Bytes(vec![0xff; 3]),
            3 => ScalarValue::Timestamp(i64::MIN),
            4 => ScalarValue::Uint(u64::MAX),
            _ => ScalarValue::Str("x".into()),
        }),
        (false, 1) => OpType::Put(ScalarValue::Boolean(true)),
        (false, _) => OpType::Put(ScalarValue::Str("é".into())),
    };
    let insert = op.container == 2 && !delete && (op.insert || op.value > 0);
    let mut pred: Vec<OpId> = match (insert, op.container) {
        (true, _) => Vec::new(),
        (false, 2) => op.refers.iter().take(1).map(|n| id(*n)).collect(),
        (false, _) => op.refers.iter().map(|n| id(*n)).collect(),
    };
    if op.value > 0 {
        pred.sort();
        pred.dedup();
    }
    Op {
        action,
        obj,
        key,
        pred: pred.into(),
        insert,
    }
}

proptest! {
    /// Changes put together from operations that exist, in ways that no honest node would: whatever the rules let
    /// pass, automerge takes, saves and loads; and every node gives the same verdicts whatever came first.
    #[test]
    fn crafted_changes_are_refused_or_harmless(
        changes in proptest::collection::vec((crafted(), any::<bool>()), 1..8)
    ) {
        let (mut a, mut b) = pair();
        a.set(json!({"description": "wet", "tags": ["a", "b"]}));
        a.set(json!({"description": "we", "tags": ["b"], "severity": "severe"}));
        b.pull(&a);
        let mut all: Vec<Known> = Vec::new();
        for bytes in &a.log {
            let change = Change::from_bytes(bytes.clone()).unwrap().decode();
            for (n, op) in change.operations.iter().enumerate() {
                let id = OpId(change.start_op.get() + n as u64, change.actor_id.clone());
                all.push(known(id, op));
            }
        }
        let base: Vec<ChangeHash> = b.doc.doc.get_heads();
        let mut logs: Vec<(Author, Vec<u8>)> = Vec::new();
        for (n, (ops, concurrent)) in changes.iter().enumerate() {
            // Each from an author of its own, so that one refusal does not end the test.
            let by = author(20 + n as u8);
            let start_op = 60 + 10 * n as u64;
            let actor_id = automerge::ActorId::from(by.actor());
            let own = OpId(start_op, actor_id.clone());
            let operations: Vec<Op> = ops.iter().map(|op| craft(op, &all, &own)).collect();
            let change = Change::from(ExpandedChange {
                operations: operations.clone(),
                actor_id: actor_id.clone(),
                hash: None,
                seq: 1,
                start_op: start_op.try_into().unwrap(),
                time: T0,
                message: None,
                deps: if *concurrent { base.clone() } else { b.doc.doc.get_heads() },
                extra_bytes: Vec::new(),
                author: None,
            });
            let bytes = change.raw_bytes().to_vec();
            let outcome = b.take(by, std::slice::from_ref(&bytes)).outcomes.remove(0);
            let fine = matches!(outcome, Outcome::Applied | Outcome::Quarantined { .. });
            prop_assert!(fine, "{:?}", outcome);
            if outcome == Outcome::Applied {
                for (n, op) in operations.iter().enumerate() {
                    all.push(known(OpId(start_op + n as u64, actor_id.clone()), op));
                }
            }
            logs.push((by, bytes));
            same(&b.doc, &b.reloaded());
        }
        // The other node hears them backwards, and all at once.
        let batch: Vec<Incoming<'_>> = logs
            .iter()
            .rev()
            .map(|(author, bytes)| Incoming { key: 0, author: *author, bytes })
            .collect();
        a.doc.ingest(&batch);
        same(&a.doc, &b.doc);
        a.set(json!({"title": "honest work goes on"}));
    }
}

/// The chunk's checksum: the first four bytes of the SHA-256 over type, length and body. automerge computes the hash
/// itself while it parses, so its own hash of the spoilt bytes tells the checksum.
fn mend_checksum(bytes: &mut [u8]) {
    if let Ok(change) = std::panic::catch_unwind(|| Change::from_bytes(bytes.to_vec()))
        && let Ok(change) = change
    {
        bytes[4..8].copy_from_slice(&change.hash().0[..4]);
    }
}
