//! A change in its parts, so that what a receiver can work out for itself need not travel.
//!
//! Invariants: [`ChangeParts::put_together`] gives back exactly the bytes that [`ChangeParts::take_apart`] took, or the
//! bytes are not taken apart at all; neither panics on any bytes, and both cost time and memory linear in them. Nothing
//! here says that a change is valid: that is judged where it is applied.
//!
//! What is left out: magic, checksum and length, which follow from the rest; the author's own actor, which follows from
//! the log; the genesis changes of the document's kind, which every node knows. Dependencies on other changes stay, for
//! the caller to replace by something shorter. Format: "Automerge Binary Document Format", change chunks.

use automerge::ChangeHash;
use sha2::{Digest as _, Sha256};

use super::actor::{Author, join_actor, split_actor};
use super::genesis::genesis;
use super::prescan::{CHUNK_CHANGE, Input, MAGIC, hash};
use super::valid::CHANGE_BYTES_MAX;
use crate::schema::spec_by_code;

/// Dependencies, other actors or columns of one change; honest ones have a handful. Who has more travels as it is.
const LIST_MAX: u64 = 256;

/// One dependency of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dep {
    /// A change that stands in somebody's log.
    Change([u8; 32]),
    /// The genesis change of the document's kind with that number, from 0.
    Genesis(u8),
}

/// An actor: 16 bytes, or their concurrency form of a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ActorParts {
    /// 0 for the plain form.
    pub level: u32,
    /// [`Author::actor`] of its author.
    pub base: [u8; 16],
}

/// A change that was taken apart, or is to be put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeParts<'a> {
    /// What it builds on, in the order of its bytes.
    pub deps: Vec<Dep>,
    /// The level of its actor, which is the author's own.
    pub level: u32,
    /// Its number among the actor's changes of this document.
    pub seq: u64,
    /// The number of its first operation.
    pub start_op: u64,
    /// Seconds since 1970, by the author's clock.
    pub time_s: i64,
    /// Usually empty.
    pub message: &'a [u8],
    /// Other actors that its operations name.
    pub others: Vec<ActorParts>,
    /// Column specifications with their bytes, as they stand.
    pub columns: Vec<(u64, &'a [u8])>,
    /// What stands behind the columns; no valid change has any.
    pub rest: &'a [u8],
}

/// A change that was put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// The change.
    pub bytes: Vec<u8>,
    /// Its hash.
    pub hash: [u8; 32],
}

impl<'a> ChangeParts<'a> {
    /// Takes apart a change of a document of the kind numbered `kind`, found in a log of `author`; gives its hash too.
    /// `None` for bytes that are no change, or whose parts would not give the same bytes again.
    pub fn take_apart(kind: u16, author: &Author, bytes: &'a [u8]) -> Option<(Self, [u8; 32])> {
        if bytes.len() > CHANGE_BYTES_MAX {
            return None;
        }
        let hash = hash(bytes)?;
        let own = author.actor();
        let parts = Self::read(kind, &own, bytes)?;
        // Numbers can be spelt in several ways, and only one of them comes back.
        let chunk = chunk(&parts.contents(kind, &own)?);
        (bytes.get(CHUNK_AT..) == Some(&chunk[..])).then_some((parts, hash))
    }

    fn read(kind: u16, own: &[u8; 16], bytes: &'a [u8]) -> Option<Self> {
        let mut input = Input(bytes);
        input.take(CHUNK_AT + 1)?;
        input.unsigned()?; // length, checked with the hash
        let genesis_hashes = genesis_hashes(kind);
        let mut deps = Vec::new();
        for _ in 0..bounded(input.unsigned()?)? {
            let hash: [u8; 32] = input.take(32)?.try_into().ok()?;
            let known = genesis_hashes.iter().position(|known| known.0 == hash);
            deps.push(match known.and_then(|number| u8::try_from(number).ok()) {
                Some(number) => Dep::Genesis(number),
                None => Dep::Change(hash),
            });
        }
        let (level, base) = split_actor(input.block()?)?;
        if base != *own {
            return None;
        }
        let seq = input.unsigned()?;
        let start_op = input.unsigned()?;
        let time_s = input.signed()?;
        let message = input.block()?;
        let mut others = Vec::new();
        for _ in 0..bounded(input.unsigned()?)? {
            let (level, base) = split_actor(input.block()?)?;
            others.push(ActorParts { level, base });
        }
        let mut layout = Vec::new();
        for _ in 0..bounded(input.unsigned()?)? {
            layout.push((input.unsigned()?, usize::try_from(input.unsigned()?).ok()?));
        }
        let mut columns = Vec::with_capacity(layout.len());
        for (spec, length) in layout {
            columns.push((spec, input.take(length)?));
        }
        Some(Self {
            deps,
            level,
            seq,
            start_op,
            time_s,
            message,
            others,
            columns,
            rest: input.0,
        })
    }

    /// The change, for a log of `author` and a document of the kind numbered `kind`. `None` when the parts name a
    /// genesis change that this version does not know, or give more than a change may have.
    pub fn put_together(&self, kind: u16, author: &Author) -> Option<Whole> {
        let chunk = chunk(&self.contents(kind, &author.actor())?);
        let hash: [u8; 32] = Sha256::digest(&chunk).into();
        let mut bytes = Vec::with_capacity(CHUNK_AT + chunk.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&hash[..4]);
        bytes.extend_from_slice(&chunk);
        (bytes.len() <= CHANGE_BYTES_MAX).then_some(Whole { bytes, hash })
    }

    /// What stands in the chunk behind its length.
    fn contents(&self, kind: u16, own: &[u8; 16]) -> Option<Vec<u8>> {
        let data: usize = self.columns.iter().map(|(_, bytes)| bytes.len()).sum();
        let mut out = Vec::with_capacity(96 + 32 * self.deps.len() + data + self.rest.len());
        unsigned(&mut out, self.deps.len() as u64);
        for dep in &self.deps {
            match dep {
                Dep::Change(hash) => out.extend_from_slice(hash),
                Dep::Genesis(number) => {
                    let known = genesis_hashes(kind).get(usize::from(*number))?;
                    out.extend_from_slice(&known.0);
                }
            }
        }
        block(&mut out, &join_actor(self.level, own));
        unsigned(&mut out, self.seq);
        unsigned(&mut out, self.start_op);
        signed(&mut out, self.time_s);
        block(&mut out, self.message);
        unsigned(&mut out, self.others.len() as u64);
        for other in &self.others {
            block(&mut out, &join_actor(other.level, &other.base));
        }
        unsigned(&mut out, self.columns.len() as u64);
        for (spec, bytes) in &self.columns {
            unsigned(&mut out, *spec);
            unsigned(&mut out, bytes.len() as u64);
        }
        for (_, bytes) in &self.columns {
            out.extend_from_slice(bytes);
        }
        out.extend_from_slice(self.rest);
        Some(out)
    }
}

/// What a change of a document of the kind numbered `kind` builds on, genesis changes left out. `None` for bytes that do
/// not begin as one does; says nothing about what follows.
pub fn change_deps(kind: u16, bytes: &[u8]) -> Option<Vec<[u8; 32]>> {
    let mut input = Input(bytes);
    if input.take(4)? != MAGIC || input.take(5)?[4] != CHUNK_CHANGE {
        return None;
    }
    input.unsigned()?;
    let genesis_hashes = genesis_hashes(kind);
    let mut deps = Vec::new();
    for _ in 0..bounded(input.unsigned()?)? {
        let hash: [u8; 32] = input.take(32)?.try_into().ok()?;
        if !genesis_hashes.iter().any(|known| known.0 == hash) {
            deps.push(hash);
        }
    }
    Some(deps)
}

/// Where the hashed part of a change begins: behind magic and checksum.
const CHUNK_AT: usize = 8;

/// The part that is hashed: type, length, contents.
fn chunk(contents: &[u8]) -> Vec<u8> {
    let mut chunk = Vec::with_capacity(contents.len() + 6);
    chunk.push(CHUNK_CHANGE);
    unsigned(&mut chunk, contents.len() as u64);
    chunk.extend_from_slice(contents);
    chunk
}

/// Empty for a kind that only a newer version knows.
fn genesis_hashes(kind: u16) -> &'static [ChangeHash] {
    spec_by_code(kind).map_or(&[], |spec| genesis(spec.kind).hashes.as_slice())
}

fn bounded(count: u64) -> Option<u64> {
    (count <= LIST_MAX).then_some(count)
}

fn block(out: &mut Vec<u8>, bytes: &[u8]) {
    unsigned(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// LEB128.
fn unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(value as u8 & 0x7f | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Signed LEB128.
fn signed(out: &mut Vec<u8>, mut value: i64) {
    loop {
        let byte = value as u8 & 0x7f;
        value >>= 7;
        let done = value == 0 && byte & 0x40 == 0 || value == -1 && byte & 0x40 != 0;
        out.push(if done { byte } else { byte | 0x80 });
        if done {
            return;
        }
    }
}
