//! Packed runs, written field by field after the specification (docs/spec/sync.md, "Packed runs"): what another program
//! could send, and this one's packer never would.

use ed25519_dalek::SigningKey;
use sync_engine::{LogId, Run};

use super::super::runs::foreign_run;

/// The byte that begins the frame of a packed run.
pub(super) const RUN_PACKED: u8 = 17;
/// A body that is not compressed.
pub(super) const STORED: u64 = 0;
/// The dictionary that this version compresses with.
pub(super) const DICTIONARY: u64 = 1;

/// Every field as it stands in the frame, with all logs and ids named in full.
#[derive(Clone)]
pub(super) struct PackedFrame {
    pub(super) dictionary: u64,
    pub(super) log: Vec<u8>,
    /// Of as many entries as that, the last one signed so.
    pub(super) entries: u64,
    pub(super) signature: [u8; 64],
    pub(super) logs: Vec<Vec<u8>>,
    pub(super) noise: Vec<u8>,
    pub(super) body: Vec<u8>,
}

impl PackedFrame {
    /// A log's first entries, which nobody has signed and which say nothing yet.
    pub(super) fn of(log: &LogId, entries: u64) -> Self {
        Self {
            dictionary: STORED,
            log: in_full(log),
            entries,
            signature: [0; 64],
            logs: Vec::new(),
            noise: Vec::new(),
            body: Vec::new(),
        }
    }

    /// A run of one entry, which travels as it is.
    pub(super) fn of_run(run: &Run) -> Self {
        let [entry] = &run.entries[..] else {
            panic!("one entry");
        };
        let mut shape = Vec::new();
        number(&mut shape, 0);
        number(&mut shape, entry.len() as u64);
        shape.extend_from_slice(entry);
        Self {
            signature: run.signatures[0].1.0,
            body: short_body(&shape, &[]),
            ..Self::of(&run.log, 1)
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![RUN_PACKED];
        number(&mut out, self.dictionary);
        out.extend_from_slice(&self.log);
        number(&mut out, 1);
        number(&mut out, 1);
        number(&mut out, self.entries - 1);
        out.extend_from_slice(&self.signature);
        number(&mut out, self.logs.len() as u64);
        for log in &self.logs {
            out.extend_from_slice(log);
        }
        // No ids.
        number(&mut out, 0);
        number(&mut out, self.noise.len() as u64);
        out.extend_from_slice(&self.noise);
        out.extend_from_slice(&self.body);
        out
    }
}

/// A log of group `shared`, named in full.
pub(super) fn in_full(log: &LogId) -> Vec<u8> {
    let mut out = vec![0];
    out.extend_from_slice(&log.author.0);
    out.extend_from_slice(&log.incarnation.0.to_le_bytes());
    out
}

/// A log by its place in the stream's table.
pub(super) fn by_place(place: u64) -> Vec<u8> {
    let mut out = Vec::new();
    number(&mut out, 2 + place);
    out
}

/// The body of up to three entries: the engine's values, then the codec's.
pub(super) fn short_body(engine: &[u8], codec: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    number(&mut body, engine.len() as u64);
    body.extend_from_slice(engine);
    body.extend_from_slice(codec);
    body
}

/// The engine's values of an entry whose object is sixteen bytes of noise and whose payload is in the codec's column;
/// `parents` stand in the first of the other logs.
pub(super) fn packed_entry(kind: u16, parents: &[u64]) -> Vec<u8> {
    const WHOLE_OBJECT_PACKED: u64 = 1 + 2 + 1;
    let mut out = Vec::new();
    let no_user = 0;
    let (logical, distance_ms) = (0, 0);
    for value in [
        WHOLE_OBJECT_PACKED,
        kind.into(),
        no_user,
        logical,
        distance_ms,
    ] {
        number(&mut out, value);
    }
    number(&mut out, parents.len() as u64);
    let mut before = 0;
    for parent in parents {
        number(&mut out, 2);
        number(&mut out, (parent - before) << 1);
        before = *parent;
    }
    out
}

/// A run of one note or change by whoever has the key, in order in every way.
pub(super) fn honest(key: &SigningKey, lane: sync_engine::Lane, entry: Vec<u8>) -> PackedFrame {
    PackedFrame::of_run(&foreign_run(key, lane, vec![entry]))
}

/// LEB128.
fn number(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(value as u8 & 0x7f | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
