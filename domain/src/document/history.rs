//! An index over a document's changes: who is whose ancestor, and what each operation was.
//!
//! Made when a remote change must be judged by a document that was loaded, kept up to date afterwards. Invariants: nodes
//! are in causal order, so an ancestor has a smaller index; only changes that were found valid (or that automerge held
//! already) are in it.

use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

use automerge::legacy::{Key, ObjectId, Op, OpId, OpType};
use automerge::{ActorId, Automerge, Change, ChangeHash};

use super::columns::{self, OpSketch};
use super::genesis::{Genesis, genesis};
use crate::Kind;

/// What an operation did, as far as later operations may refer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OpMeta {
    /// Put something under a key of a map. Container 0 is the root.
    Put { container: u8, key: u32 },
    /// Inserted a character.
    Insert { container: u8 },
    /// Nothing may refer to it.
    Other,
}

#[derive(Clone)]
struct Node {
    hash: ChangeHash,
    actor: u32,
    seq: u64,
    start_op: u64,
    deps: Box<[u32]>,
    ops: Box<[OpMeta]>,
}

impl Node {
    fn end_op(&self) -> u64 {
        self.start_op + self.ops.len() as u64
    }
}

/// See the module.
#[derive(Clone)]
pub(super) struct History {
    genesis: &'static Genesis,
    nodes: Vec<Node>,
    by_hash: HashMap<ChangeHash, u32>,
    actors: HashMap<ActorId, u32>,
    /// Per actor its nodes; position = seq − 1.
    by_actor: Vec<Vec<u32>>,
    keys: HashMap<Box<str>, u32>,
}

/// A set of nodes that is closed under ancestry.
#[derive(Clone)]
pub(super) struct Ancestors {
    /// One bit per node.
    bits: Vec<u64>,
    /// One above the highest operation counter in the set.
    pub(super) end_op: u64,
}

impl Ancestors {
    pub(super) fn contains(&self, node: u32) -> bool {
        self.bits
            .get(node as usize / 64)
            .is_some_and(|word| word >> (node % 64) & 1 == 1)
    }

    /// True when it was not in the set before.
    fn insert(&mut self, node: u32) -> bool {
        let (index, bit) = (node as usize / 64, 1_u64 << (node % 64));
        if self.bits.len() <= index {
            self.bits.resize(index + 1, 0);
        }
        let new = self.bits[index] & bit == 0;
        self.bits[index] |= bit;
        new
    }
}

impl History {
    /// The index of the empty document.
    pub(super) fn empty(kind: Kind) -> Self {
        static ALL: OnceLock<BTreeMap<Kind, History>> = OnceLock::new();
        let all = ALL.get_or_init(|| {
            let of = |kind| (kind, History::of_genesis(genesis(kind)));
            Kind::all().map(of).collect()
        });
        all.get(&kind)
            .expect("made for every kind in the registry")
            .clone()
    }

    /// The index of everything that a document of this kind holds.
    pub(super) fn of(kind: Kind, doc: &Automerge) -> Self {
        let mut history = History::empty(kind);
        // Every change builds on the genesis, which is indexed already.
        history.add_all(doc.get_changes(&genesis(kind).hashes));
        history
    }

    fn of_genesis(genesis: &'static Genesis) -> Self {
        let mut history = History {
            genesis,
            nodes: Vec::new(),
            by_hash: HashMap::new(),
            actors: HashMap::new(),
            by_actor: Vec::new(),
            keys: HashMap::new(),
        };
        history.add_all(genesis.doc.get_changes(&[]));
        history
    }

    fn add_all(&mut self, changes: Vec<Change>) {
        for change in changes {
            self.add_applied(&change);
        }
    }

    /// Takes in a change that automerge holds already.
    pub(super) fn add_applied(&mut self, change: &Change) {
        match columns::sketches(change.raw_bytes()) {
            Some(ops) => {
                let metas: Box<[OpMeta]> = ops.iter().map(|op| self.meta_of(op)).collect();
                #[cfg(debug_assertions)]
                {
                    let decoded = change.decode().operations;
                    let expected: Vec<OpMeta> = decoded.iter().map(|op| self.meta(op)).collect();
                    debug_assert_eq!(*metas, *expected, "both ways of reading a change agree");
                }
                self.add_node(change, metas);
            }
            None => self.add(change, &change.decode().operations),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn contains(&self, hash: &ChangeHash) -> bool {
        self.by_hash.contains_key(hash)
    }

    /// The highest sequence number that this actor has.
    pub(super) fn seq(&self, actor: &ActorId) -> u64 {
        self.actors
            .get(actor)
            .map_or(0, |index| self.by_actor[*index as usize].len() as u64)
    }

    /// The node of an actor's change.
    pub(super) fn node_of(&self, actor: &ActorId, seq: u64) -> Option<u32> {
        let index = usize::try_from(seq.checked_sub(1)?).ok()?;
        self.by_actor
            .get(*self.actors.get(actor)? as usize)?
            .get(index)
            .copied()
    }

    /// Takes in a change whose dependencies are all here. Does nothing when it is here already.
    pub(super) fn add(&mut self, change: &Change, ops: &[Op]) {
        let ops = ops.iter().map(|op| self.meta(op)).collect();
        self.add_node(change, ops);
    }

    fn add_node(&mut self, change: &Change, ops: Box<[OpMeta]>) {
        let hash = change.hash();
        if self.contains(&hash) {
            return;
        }
        let index = self.nodes.len() as u32;
        let actors = self.by_actor.len() as u32;
        let actor = *self
            .actors
            .entry(change.actor_id().clone())
            .or_insert(actors);
        if actor == actors {
            self.by_actor.push(Vec::new());
        }
        self.by_actor[actor as usize].push(index);
        let deps = change
            .deps()
            .iter()
            .filter_map(|dep| self.by_hash.get(dep).copied())
            .collect();
        self.by_hash.insert(hash, index);
        let (seq, start_op) = (change.seq(), change.start_op().get());
        self.nodes.push(Node {
            hash,
            actor,
            seq,
            start_op,
            deps,
            ops,
        });
    }

    /// Forgets the newest nodes again, down to `length` of them.
    pub(super) fn truncate(&mut self, length: usize) {
        while self.nodes.len() > length {
            if let Some(node) = self.nodes.pop() {
                self.by_hash.remove(&node.hash);
                debug_assert_eq!(self.by_actor[node.actor as usize].len() as u64, node.seq);
                self.by_actor[node.actor as usize].pop();
            }
        }
    }

    fn meta(&mut self, op: &Op) -> OpMeta {
        let Some(container) = self.container(&op.obj) else {
            return OpMeta::Other;
        };
        match (&op.key, &op.action) {
            (_, OpType::Delete) => OpMeta::Other,
            (Key::Map(key), _) => OpMeta::Put {
                container,
                key: self.intern(key),
            },
            (Key::Seq(_), _) if op.insert => OpMeta::Insert { container },
            _ => OpMeta::Other,
        }
    }

    /// The same from a change's columns.
    fn meta_of(&mut self, op: &OpSketch<'_>) -> OpMeta {
        let container = match op.object {
            None => Some(0),
            Some((counter, actor)) => self.container_of(counter, actor),
        };
        let Some(container) = container.filter(|_| !op.delete) else {
            return OpMeta::Other;
        };
        match op.key {
            Some(key) => OpMeta::Put {
                container,
                key: self.intern(key),
            },
            None if op.insert => OpMeta::Insert { container },
            None => OpMeta::Other,
        }
    }

    fn intern(&mut self, key: &str) -> u32 {
        if let Some(number) = self.keys.get(key) {
            return *number;
        }
        let number = self.keys.len() as u32;
        self.keys.insert(key.into(), number);
        number
    }

    /// The number of a key, if any operation has used it.
    pub(super) fn key(&self, key: &str) -> Option<u32> {
        self.keys.get(key).copied()
    }

    /// 0 for the root, n + 1 for the nth container of the genesis, `None` for anything else.
    pub(super) fn container(&self, object: &ObjectId) -> Option<u8> {
        match object {
            ObjectId::Root => Some(0),
            ObjectId::Id(OpId(counter, actor)) => self.container_of(*counter, actor.to_bytes()),
        }
    }

    fn container_of(&self, counter: u64, actor: &[u8]) -> Option<u8> {
        let containers = self.genesis.containers.iter();
        containers
            .enumerate()
            .find(|(_, of)| of.counter == counter && of.actor.to_bytes() == actor)
            .map(|(index, _)| index as u8 + 1)
    }

    /// The node that holds an operation, and what the operation did.
    pub(super) fn find(&self, id: &OpId) -> Option<(u32, OpMeta)> {
        let nodes = &self.by_actor[*self.actors.get(id.actor())? as usize];
        let after = nodes.partition_point(|n| self.nodes[*n as usize].start_op <= id.counter());
        let index = *nodes.get(after.checked_sub(1)?)?;
        let node = &self.nodes[index as usize];
        let offset = usize::try_from(id.counter() - node.start_op).ok()?;
        node.ops.get(offset).map(|meta| (index, *meta))
    }

    /// The changes named and everything before them.
    pub(super) fn ancestors(&self, deps: &[ChangeHash]) -> Ancestors {
        let mut found = Ancestors {
            bits: vec![0; self.nodes.len().div_ceil(64)],
            end_op: 1,
        };
        let mut todo: Vec<u32> = Vec::new();
        for node in deps.iter().filter_map(|dep| self.by_hash.get(dep).copied()) {
            if found.insert(node) {
                todo.push(node);
            }
        }
        while let Some(index) = todo.pop() {
            let node = &self.nodes[index as usize];
            found.end_op = found.end_op.max(node.end_op());
            for dep in &node.deps {
                if found.insert(*dep) {
                    todo.push(*dep);
                }
            }
        }
        found
    }

    /// Bytes in memory, roughly.
    pub(super) fn approx_bytes(&self) -> usize {
        let ops: usize = self
            .nodes
            .iter()
            .map(|node| node.ops.len() * size_of::<OpMeta>())
            .sum();
        self.nodes.len() * (size_of::<Node>() + 80) + ops + self.keys.len() * 64
    }
}
