//! Payloads that build on each other, and a codec that knows them: `toy`, a count, that many hashes, an id, a text.
#![allow(dead_code, clippy::unwrap_used)]

use sync_engine::*;

const MAGIC: &[u8] = b"toy";

/// Knows toy payloads.
#[derive(Debug, Clone, Copy)]
pub struct ToyCodec;

struct Toy<'a> {
    parents: Vec<[u8; 32]>,
    id: [u8; 16],
    text: &'a [u8],
}

fn read(payload: &[u8]) -> Option<Toy<'_>> {
    let (count, mut rest) = payload.strip_prefix(MAGIC)?.split_first()?;
    let mut parents = Vec::new();
    for _ in 0..*count {
        let (hash, left) = rest.split_first_chunk::<32>()?;
        parents.push(*hash);
        rest = left;
    }
    let (id, text) = rest.split_first_chunk::<16>()?;
    Some(Toy {
        parents,
        id: *id,
        text,
    })
}

fn write(toy: &Toy<'_>) -> Vec<u8> {
    let count = u8::try_from(toy.parents.len()).unwrap_or(u8::MAX);
    [MAGIC, &[count], &toy.parents.concat(), &toy.id, toy.text].concat()
}

fn hash(payload: &[u8]) -> [u8; 32] {
    *blake3::hash(payload).as_bytes()
}

impl PayloadCodec for ToyCodec {
    fn name(&self, _: EntryKind, payload: &[u8]) -> Option<[u8; 32]> {
        read(payload).map(|_| hash(payload))
    }

    fn parents(&self, _: EntryKind, payload: &[u8]) -> Vec<[u8; 32]> {
        read(payload).map(|toy| toy.parents).unwrap_or_default()
    }

    fn take_apart(
        &self,
        _: &Surroundings<'_>,
        payload: &[u8],
        out: &mut ColumnWriter<'_>,
    ) -> Option<TakenApart> {
        let toy = read(payload)?;
        out.id(0, Some(&toy.id));
        out.unsigned(1, toy.text.len() as u64);
        out.bytes(2, toy.text);
        Some(TakenApart {
            name: hash(payload),
            parents: toy.parents,
        })
    }

    fn put_together(
        &self,
        _: &Surroundings<'_>,
        parents: &[[u8; 32]],
        columns: &mut ColumnReader<'_>,
    ) -> Result<PutTogether, CodecError> {
        let id = columns.id(0)?.ok_or(CodecError::Malformed)?;
        let length = columns.unsigned(1)?;
        let payload = write(&Toy {
            parents: parents.to_vec(),
            id,
            text: columns.bytes(2, length)?,
        });
        Ok(PutTogether {
            name: hash(&payload),
            payload,
        })
    }
}

/// An entry of an object, made at a time, that builds on others.
pub fn entry_at(wall_ms: u64, object: [u8; 16], parents: &[[u8; 32]], text: &str) -> Vec<u8> {
    Entry {
        header: EntryHeader {
            time: HybridTime {
                wall_ms,
                logical: 0,
            },
            user: Some([9; 16]),
            kind: EntryKind(0x0101),
            object: ObjectId(object),
        },
        payload: Payload::Plain(write(&Toy {
            parents: parents.to_vec(),
            id: [3; 16],
            text: text.as_bytes(),
        })),
    }
    .encode()
    .unwrap()
}

/// An entry of an object that builds on others.
pub fn entry(object: u8, parents: &[[u8; 32]], text: &str) -> Vec<u8> {
    entry_at(1_790_000_000_000, [object; 16], parents, text)
}

fn payload(entry: &[u8]) -> Option<(EntryHeader, Vec<u8>)> {
    let entry = Entry::decode(entry).ok()?;
    match entry.payload {
        Payload::Plain(payload) => Some((entry.header, payload)),
        Payload::Sealed { .. } => None,
    }
}

/// What an entry is called.
pub fn name(entry: &[u8]) -> Option<Name> {
    let (header, payload) = payload(entry)?;
    read(&payload)?;
    Some(Name {
        hash: hash(&payload),
        object: header.object,
    })
}

/// What an entry builds on.
pub fn parents(entry: &[u8]) -> Vec<[u8; 32]> {
    payload(entry)
        .and_then(|(_, payload)| read(&payload).map(|toy| toy.parents))
        .unwrap_or_default()
}
