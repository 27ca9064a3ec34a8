//! The sync engine's look into document entries: which changes they build on, and what of them a peer can work out.
//!
//! Invariant: the columns written here are part of protocol version 2. Whatever is changed needs a new version, as a
//! peer of this one would read something else.

use domain::document::{ActorParts, ChangeParts, Dep, change_deps};
use domain::{Author, Kind, change_hash};
use sync_engine::{
    CodecError, ColumnReader, ColumnWriter, EntryKind, LogId, PayloadCodec, PutTogether,
    Surroundings, TakenApart,
};

/// Counts, forms, the layout of a change's columns and those of them that are much the same from change to change.
const SHAPE: usize = 0;
/// Sequence numbers.
const SEQ: usize = 1;
/// First operations.
const START_OP: usize = 2;
/// Names of fields.
const KEYS: usize = 3;
/// Values of fields.
const VALUES: usize = 4;
/// Counters of the operations that are replaced.
const PREDECESSORS: usize = 5;

/// Columns of a change that go to a column of ours; all others go to [`SHAPE`]. Numbers from "Automerge Binary Document
/// Format", operation columns: id and type.
const COLUMN_KEY_TEXT: u64 = 0x15;
const COLUMN_VALUE: u64 = 0x57;
const COLUMN_PREDECESSOR_COUNTER: u64 = 0x73;

/// A dependency that the engine keeps; genesis changes are counted from 1.
const DEP_CHANGE: u64 = 0;

/// Items of one change's lists: what [`ChangeParts::take_apart`] takes at most.
const LIST_MAX: u64 = 256;

/// Takes changes apart, and leaves facts as they are.
#[derive(Debug, Clone, Copy, Default)]
pub struct DocumentCodec;

impl PayloadCodec for DocumentCodec {
    fn name(&self, kind: EntryKind, payload: &[u8]) -> Option<[u8; 32]> {
        is_document(kind).then(|| change_hash(payload)).flatten()
    }

    fn parents(&self, kind: EntryKind, payload: &[u8]) -> Vec<[u8; 32]> {
        change_deps(kind.0, payload)
            .filter(|_| is_document(kind))
            .unwrap_or_default()
    }

    fn take_apart(
        &self,
        around: &Surroundings<'_>,
        payload: &[u8],
        out: &mut ColumnWriter<'_>,
    ) -> Option<TakenApart> {
        if !is_document(around.kind) {
            return None;
        }
        let (parts, name) = ChangeParts::take_apart(around.kind.0, &author(around.log), payload)?;
        Some(TakenApart {
            name,
            parents: write(&parts, around, out),
        })
    }

    fn put_together(
        &self,
        around: &Surroundings<'_>,
        parents: &[[u8; 32]],
        columns: &mut ColumnReader<'_>,
    ) -> Result<PutTogether, CodecError> {
        if !is_document(around.kind) {
            return Err(CodecError::Unknown);
        }
        let parts = read(around, parents, columns)?;
        // What is wrong with well-formed parts is that they name a genesis change of a later version.
        let whole = parts
            .put_together(around.kind.0, &author(around.log))
            .ok_or(CodecError::Unknown)?;
        Ok(PutTogether {
            payload: whole.bytes,
            name: whole.hash,
        })
    }
}

fn is_document(kind: EntryKind) -> bool {
    Kind::all().any(|known| known.spec().code == kind.0)
}

fn author(log: &LogId) -> Author {
    Author {
        node: log.author.0,
        incarnation: log.incarnation.0,
    }
}

/// The second in which the entry was made; the change was made in it too, or shortly before.
fn entry_time_s(around: &Surroundings<'_>) -> i64 {
    (around.wall_ms / 1_000).cast_signed()
}

/// Writes the parts, and gives the hashes that were left out.
fn write(
    parts: &ChangeParts<'_>,
    around: &Surroundings<'_>,
    out: &mut ColumnWriter<'_>,
) -> Vec<[u8; 32]> {
    let mut parents = Vec::new();
    out.unsigned(SHAPE, parts.deps.len() as u64);
    for dep in &parts.deps {
        match dep {
            Dep::Change(hash) => {
                out.unsigned(SHAPE, DEP_CHANGE);
                parents.push(*hash);
            }
            Dep::Genesis(number) => out.unsigned(SHAPE, 1 + u64::from(*number)),
        }
    }
    out.unsigned(SHAPE, u64::from(parts.level));
    out.unsigned(SEQ, parts.seq);
    out.unsigned(START_OP, parts.start_op);
    out.signed(SHAPE, parts.time_s.wrapping_sub(entry_time_s(around)));
    out.unsigned(SHAPE, parts.message.len() as u64);
    out.bytes(VALUES, parts.message);
    out.unsigned(SHAPE, parts.others.len() as u64);
    for other in &parts.others {
        out.id(SHAPE, Some(&other.base));
        out.unsigned(SHAPE, u64::from(other.level));
    }
    out.unsigned(SHAPE, parts.columns.len() as u64);
    for (spec, bytes) in &parts.columns {
        out.unsigned(SHAPE, *spec);
        out.unsigned(SHAPE, bytes.len() as u64);
    }
    for (spec, bytes) in &parts.columns {
        out.bytes(column_of(*spec), bytes);
    }
    out.unsigned(SHAPE, parts.rest.len() as u64);
    out.bytes(VALUES, parts.rest);
    parents
}

fn read<'a>(
    around: &Surroundings<'_>,
    parents: &[[u8; 32]],
    columns: &mut ColumnReader<'a>,
) -> Result<ChangeParts<'a>, CodecError> {
    let mut parents = parents.iter();
    let mut deps = Vec::new();
    for _ in 0..count(columns)? {
        deps.push(match columns.unsigned(SHAPE)? {
            DEP_CHANGE => Dep::Change(*parents.next().ok_or(CodecError::Malformed)?),
            number => Dep::Genesis(u8::try_from(number - 1).map_err(|_| CodecError::Unknown)?),
        });
    }
    if parents.next().is_some() {
        return Err(CodecError::Malformed);
    }
    let own_level = level(columns)?;
    let seq = columns.unsigned(SEQ)?;
    let start_op = columns.unsigned(START_OP)?;
    let time_s = columns.signed(SHAPE)?.wrapping_add(entry_time_s(around));
    let message_bytes = columns.unsigned(SHAPE)?;
    let message = columns.bytes(VALUES, message_bytes)?;
    let mut others = Vec::new();
    for _ in 0..count(columns)? {
        let base = columns.id(SHAPE)?.ok_or(CodecError::Malformed)?;
        let level = level(columns)?;
        others.push(ActorParts { level, base });
    }
    let mut layout = Vec::new();
    for _ in 0..count(columns)? {
        layout.push((columns.unsigned(SHAPE)?, columns.unsigned(SHAPE)?));
    }
    let mut data = Vec::with_capacity(layout.len());
    for (spec, length) in layout {
        data.push((spec, columns.bytes(column_of(spec), length)?));
    }
    let rest_bytes = columns.unsigned(SHAPE)?;
    Ok(ChangeParts {
        deps,
        level: own_level,
        seq,
        start_op,
        time_s,
        message,
        others,
        columns: data,
        rest: columns.bytes(VALUES, rest_bytes)?,
    })
}

fn count(columns: &mut ColumnReader<'_>) -> Result<u64, CodecError> {
    let count = columns.unsigned(SHAPE)?;
    if count > LIST_MAX {
        return Err(CodecError::Malformed);
    }
    Ok(count)
}

fn level(columns: &mut ColumnReader<'_>) -> Result<u32, CodecError> {
    u32::try_from(columns.unsigned(SHAPE)?).map_err(|_| CodecError::Malformed)
}

const fn column_of(spec: u64) -> usize {
    match spec {
        COLUMN_KEY_TEXT => KEYS,
        COLUMN_VALUE => VALUES,
        COLUMN_PREDECESSOR_COUNTER => PREDECESSORS,
        _ => SHAPE,
    }
}
