//! Frames as a hostile node writes them: by hand, from the description of the wire format, not by the engine's encoder.

use std::sync::OnceLock;

use rand::RngExt;
use rand::rngs::StdRng;
use sync_engine::{Lane, LogId, Run, Seq, StreamKind};

use super::Frame;

const PROGRESS: u8 = 3;
const WANT: u8 = 4;
const RUN: u8 = 16;
const RUN_PACKED: u8 = 17;
/// A kind that no version knows.
const UNKNOWN: u8 = 0xee;
/// The byte behind [`RUN`] that says: compressed with zstd.
const COMPRESSED: u8 = 1;
/// In a packed run: the dictionary, and before a log that is named in full.
const DICTIONARY: u8 = 1;
const NEW_LOG: u8 = 0;
/// What a bomb unpacks to.
const BOMB_BYTES: usize = 16 * 1024 * 1024;

/// A claim about somebody else's log.
#[derive(Debug, Clone, Copy)]
pub struct Lie {
    /// The log.
    pub log: LogId,
    /// How far the liar says it is.
    pub stored: Seq,
    /// The beginning of the chain hash it says it has there.
    pub chain: [u8; 8],
}

pub(super) fn is_run(frame: &[u8]) -> bool {
    matches!(frame.first(), Some(&(RUN | RUN_PACKED)))
}

pub(super) fn is_packed(frame: &[u8]) -> bool {
    frame.first() == Some(&RUN_PACKED)
}

/// One bit of a packed run is another: its head, a reference, a value.
pub(super) fn spoil_packed(frame: &[u8], rng: &mut StdRng) -> Vec<u8> {
    let mut spoilt = frame.to_vec();
    if spoilt.len() > 1 {
        let at = rng.random_range(1..spoilt.len());
        spoilt[at] ^= 1 << rng.random_range(0..8);
    }
    spoilt
}

pub(super) fn is_progress(frame: &[u8]) -> bool {
    frame.first() == Some(&PROGRESS)
}

fn altered(frame: &[u8], alter: impl FnOnce(&mut Run)) -> Option<Vec<u8>> {
    let mut run = Run::decode(frame.get(1..)?).ok()?;
    alter(&mut run);
    let mut forged = vec![RUN];
    forged.extend(run.encode());
    Some(forged)
}

pub(super) fn forge_signature(frame: &[u8], rng: &mut StdRng) -> Option<Vec<u8>> {
    altered(frame, |run| {
        let at = rng.random_range(0..run.signatures.len().max(1));
        if let Some((_, signature)) = run.signatures.get_mut(at) {
            signature.0[rng.random_range(0..64)] ^= 1 << rng.random_range(0..8);
        }
    })
}

pub(super) fn forge_chain(frame: &[u8], rng: &mut StdRng) -> Option<Vec<u8>> {
    altered(frame, |run| {
        let at = rng.random_range(0..run.entries.len().max(1));
        if let Some(byte) = run.entries.get_mut(at).and_then(|entry| entry.last_mut()) {
            *byte ^= 1;
        }
    })
}

pub(super) fn another_stream(stream: StreamKind) -> StreamKind {
    match stream {
        StreamKind::Lane(Lane::Life) => StreamKind::Lane(Lane::Flash),
        _ => StreamKind::Lane(Lane::Life),
    }
}

pub(super) fn too_long(rng: &mut StdRng) -> Frame {
    let stream = StreamKind::Lane(Lane::Life);
    let mut frame = vec![0; stream.frame_bytes_max() + 1];
    rng.fill(&mut frame[..64]);
    frame[0] = RUN;
    (stream, frame)
}

pub(super) fn bomb(rng: &mut StdRng) -> Frame {
    static PACKED: OnceLock<Vec<u8>> = OnceLock::new();
    let packed =
        PACKED.get_or_init(|| zstd::bulk::compress(&vec![0; BOMB_BYTES], 1).unwrap_or_default());
    let mut frame = if rng.random_bool(0.5) {
        vec![RUN, COMPRESSED]
    } else {
        packed_head()
    };
    frame.extend(packed);
    let lanes = [Lane::Trust, Lane::Life, Lane::Coordination];
    (
        StreamKind::Lane(lanes[rng.random_range(0..lanes.len())]),
        frame,
    )
}

/// All that stands before the body of a packed run of one entry.
fn packed_head() -> Vec<u8> {
    let mut head = vec![RUN_PACKED, DICTIONARY, NEW_LOG];
    head.extend([7; 32 + 8]);
    // The first entry, and one signature at it.
    head.extend([1, 1, 0]);
    head.extend([0; 64]);
    // No other logs, no ids, no random bytes.
    head.extend([0, 0, 0]);
    head
}

pub(super) fn garbage(rng: &mut StdRng) -> Frame {
    let streams = [
        StreamKind::Control,
        StreamKind::Lane(Lane::Trust),
        StreamKind::Lane(Lane::Life),
    ];
    let mut frame = vec![0; rng.random_range(1..200)];
    rng.fill(&mut frame[..]);
    // A kind that is known, so that the rest is read at all. Never a Hold: see the module.
    frame[0] = [1, 2, PROGRESS, WANT, RUN, RUN_PACKED][rng.random_range(0..6)];
    (streams[rng.random_range(0..streams.len())], frame)
}

pub(super) fn lie(lies: &[Lie]) -> Frame {
    let items: Vec<_> = lies
        .iter()
        .map(|lie| (lie.log, lie.stored, lie.chain, lie.stored))
        .collect();
    (StreamKind::Control, encode(PROGRESS, &items))
}

/// Requests that make the victim read and send, and kinds that it does not know.
pub(super) fn flood(frames: usize, logs: &[LogId], rng: &mut StdRng) -> Vec<Frame> {
    (0..frames)
        .map(|_| {
            let frame = match logs.get(rng.random_range(0..=logs.len())) {
                Some(log) => encode(WANT, &(*log, Seq(1))),
                None => vec![UNKNOWN; rng.random_range(1..100)],
            };
            (StreamKind::Control, frame)
        })
        .collect()
}

fn encode<T: serde::Serialize>(kind: u8, body: &T) -> Vec<u8> {
    postcard::to_extend(body, vec![kind]).unwrap_or_default()
}
