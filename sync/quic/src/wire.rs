//! What stands on a stream: one byte that says which stream it is, then frames, each after its length (u32, big endian).
//!
//! The first frame of the control stream is the shell's own [`Preface`]; every other frame is the engine's. An empty
//! frame means nothing.

use std::net::SocketAddr;

use bytes::Bytes;
use quinn::{RecvStream, SendStream, VarInt};
use serde::{Deserialize, Serialize};
use sync_engine::{Lane, ReasonCode, StreamKind};

use crate::config::ADVERTISE_MAX;

/// Streams of a connection and direction: control and seven lanes.
pub(crate) const STREAMS: usize = 1 + Lane::ALL.len();
/// Longest preface: eight addresses take under 200 bytes, the rest is for later versions.
pub(crate) const PREFACE_BYTES_MAX: usize = 4 * 1024;
/// Buffer that a frame starts with: its claimed length is believed only as its bytes come in.
const FRAME_BYTES_START: usize = 4 * 1024;

/// The other end was this very node.
pub(crate) const CLOSE_SELF: u32 = 0x101;
/// The other end violated the protocol a short while ago: see `offenders`.
pub(crate) const CLOSE_REFUSED: u32 = 0x102;
/// The exchange of a join is over.
pub(crate) const CLOSE_DONE: u32 = ReasonCode::Shutdown.code();

/// Text in a close goes into one packet with other things; a person needs no more.
const CLOSE_TEXT_BYTES_MAX: usize = 400;

pub(crate) fn close_code(code: u32) -> VarInt {
    VarInt::from_u32(code)
}

pub(crate) fn close(connection: &quinn::Connection, code: u32, text: &str) {
    let mut end = text.len().min(CLOSE_TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    connection.close(close_code(code), &text.as_bytes()[..end]);
}

/// Position of a stream among the [`STREAMS`]; also the byte that begins it.
pub(crate) fn index(kind: StreamKind) -> usize {
    match kind {
        StreamKind::Control => 0,
        StreamKind::Lane(lane) => 1 + lane as usize,
    }
}

/// The stream that begins with this byte; `None`: a kind that this version does not know.
pub(crate) fn kind(byte: u8) -> Option<StreamKind> {
    match byte {
        0 => Some(StreamKind::Control),
        _ => Lane::ALL
            .into_iter()
            .find(|lane| 1 + *lane as u8 == byte)
            .map(StreamKind::Lane),
    }
}

/// Control goes first, then lane by lane.
pub(crate) fn priority(kind: StreamKind) -> i32 {
    match kind {
        StreamKind::Control => 1,
        StreamKind::Lane(lane) => -i32::from(lane as u8),
    }
}

/// What the shells tell each other before the engines speak. Later versions append fields, which older ones ignore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Preface {
    /// Random per start of the program: tells a restart from a second connection of the same life.
    pub(crate) boot: u64,
    /// Where the sender can be dialled.
    pub(crate) advertise: Vec<SocketAddr>,
}

impl Preface {
    /// The first bytes of a control stream.
    pub(crate) fn opening(&self) -> Vec<u8> {
        let body = postcard::to_allocvec(self).expect("plain numbers and addresses always encode");
        let mut out = vec![index(StreamKind::Control) as u8];
        out.extend_from_slice(&(body.len() as u32).to_be_bytes());
        out.extend_from_slice(&body);
        out
    }

    /// The preface on a control stream whose first byte was read already.
    pub(crate) async fn read(stream: &mut RecvStream) -> Result<Self, FrameError> {
        let body = read_frame(stream, PREFACE_BYTES_MAX)
            .await?
            .ok_or(FrameError::Ended)?;
        Self::decode(&body).ok_or(FrameError::Preface)
    }

    /// What stands in its frame.
    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        let (mut preface, _later) = postcard::take_from_bytes::<Self>(body).ok()?;
        preface.advertise.truncate(ADVERTISE_MAX);
        Some(preface)
    }
}

/// Why no frame can be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("frame of {bytes} bytes, at most {max} are allowed here")]
    TooLong { bytes: usize, max: usize },
    #[error("stream ended inside a frame")]
    Ended,
    #[error("first frame of the control stream cannot be read")]
    Preface,
    #[error(transparent)]
    Read(#[from] quinn::ReadError),
}

impl FrameError {
    /// Whether the peer broke the protocol, as opposed to the connection having gone.
    pub(crate) fn is_violation(&self) -> bool {
        !matches!(self, Self::Read(_))
    }
}

/// The byte that begins a stream.
pub(crate) async fn read_kind(stream: &mut RecvStream) -> Result<u8, FrameError> {
    let mut byte = [0];
    read_exact(stream, &mut byte).await?;
    Ok(byte[0])
}

/// The length of the next frame; `None` where the stream ends in order.
pub(crate) async fn read_length(
    stream: &mut RecvStream,
    max: usize,
) -> Result<Option<usize>, FrameError> {
    let mut prefix = [0; 4];
    let Some(first) = stream.read(&mut prefix).await? else {
        return Ok(None);
    };
    read_exact(stream, &mut prefix[first..]).await?;
    let bytes = u32::from_be_bytes(prefix) as usize;
    if bytes > max {
        return Err(FrameError::TooLong { bytes, max });
    }
    Ok(Some(bytes))
}

/// The `length` bytes of a frame whose length was read. Memory grows with what has come, not with what was claimed;
/// `grows` is told of each piece.
pub(crate) async fn read_body(
    stream: &mut RecvStream,
    length: usize,
    mut grows: impl FnMut(usize),
) -> Result<Vec<u8>, FrameError> {
    let mut body = Vec::with_capacity(length.min(FRAME_BYTES_START));
    while body.len() < length {
        let chunk = stream
            .read_chunk(length - body.len(), true)
            .await?
            .ok_or(FrameError::Ended)?;
        grows(chunk.bytes.len());
        body.extend_from_slice(&chunk.bytes);
    }
    Ok(body)
}

async fn read_frame(stream: &mut RecvStream, max: usize) -> Result<Option<Vec<u8>>, FrameError> {
    match read_length(stream, max).await? {
        Some(length) => read_body(stream, length, |_| {}).await.map(Some),
        None => Ok(None),
    }
}

async fn read_exact(stream: &mut RecvStream, out: &mut [u8]) -> Result<(), FrameError> {
    stream.read_exact(out).await.map_err(|error| match error {
        quinn::ReadExactError::FinishedEarly(_) => FrameError::Ended,
        quinn::ReadExactError::ReadError(error) => FrameError::Read(error),
    })
}

/// Writes one frame; returns when the transport has taken all of it.
pub(crate) async fn write_frame(
    stream: &mut SendStream,
    frame: Bytes,
) -> Result<(), quinn::WriteError> {
    let prefix = Bytes::copy_from_slice(&(frame.len() as u32).to_be_bytes());
    stream.write_all_chunks(&mut [prefix, frame]).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stream_has_its_byte_and_lower_lanes_go_first() {
        let kinds: Vec<_> = std::iter::once(StreamKind::Control)
            .chain(Lane::ALL.into_iter().map(StreamKind::Lane))
            .collect();
        for (at, kind) in kinds.iter().enumerate() {
            assert_eq!(index(*kind), at);
            assert_eq!(super::kind(at as u8), Some(*kind));
        }
        assert!(
            kinds
                .windows(2)
                .all(|pair| priority(pair[0]) > priority(pair[1]))
        );
        assert_eq!(super::kind(STREAMS as u8), None);
    }
}
