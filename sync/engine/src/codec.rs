//! What the engine asks of who knows what payloads say, so that packed runs can leave out what the receiver knows.
//!
//! A payload may name payloads of other entries by their hash; a [`PayloadCodec`] takes those hashes out, and the engine
//! sends places in logs instead. Everything here is pure: the same payload packs and unpacks to the same bytes on every
//! node, nothing does IO, nothing panics on any bytes.

use crate::ids::{EntryKind, LogId, ObjectId, Seq};
use crate::packed::{ColumnReader, ColumnWriter};

/// How many columns a codec writes to; fixed by the protocol version, as both ends must agree.
pub const CODEC_COLUMNS: usize = 6;

/// Where an entry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// In which log.
    pub log: LogId,
    /// At which number.
    pub seq: Seq,
}

/// What other payloads call an entry, and what it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// As [`PayloadCodec::name`] gives it.
    pub hash: [u8; 32],
    /// The document or fact in its header.
    pub object: ObjectId,
}

/// The surroundings of a payload, known to both ends before the payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Surroundings<'a> {
    /// The log it stands in.
    pub log: &'a LogId,
    /// What it is.
    pub kind: EntryKind,
    /// When its author says it was made, milliseconds since 1970.
    pub wall_ms: u64,
}

/// A payload whose parts were written to columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenApart {
    /// What other payloads call this one.
    pub name: [u8; 32],
    /// The names of other payloads that were left out, in order; [`PayloadCodec::put_together`] gets them back.
    pub parents: Vec<[u8; 32]>,
}

/// A payload that was put together again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutTogether {
    /// Its bytes.
    pub payload: Vec<u8>,
    /// What other payloads call it.
    pub name: [u8; 32],
}

/// Columns that give no payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// No honest sender writes such columns.
    #[error("malformed packed payload")]
    Malformed,
    /// They may well mean something to a codec that knows more than this one.
    #[error("a packed payload that this version cannot unpack")]
    Unknown,
}

impl From<OutOfColumns> for CodecError {
    fn from(_: OutOfColumns) -> Self {
        Self::Malformed
    }
}

/// A column ended early, or held no such value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a column ends early")]
pub struct OutOfColumns;

/// Knows how payloads are made.
pub trait PayloadCodec: Send + Sync {
    /// What other payloads call a payload of this kind; `None` when none ever names it.
    fn name(&self, kind: EntryKind, payload: &[u8]) -> Option<[u8; 32]>;

    /// What other payloads a payload of this kind names and every node cannot work out, in any order: for who looks up
    /// where they stand.
    fn parents(&self, kind: EntryKind, payload: &[u8]) -> Vec<[u8; 32]>;

    /// Writes a payload to columns. `None` when it does not know such payloads, or when what it would write does not
    /// give back the same bytes: it then travels as it is, and whatever was written is taken back.
    fn take_apart(
        &self,
        around: &Surroundings<'_>,
        payload: &[u8],
        out: &mut ColumnWriter<'_>,
    ) -> Option<TakenApart>;

    /// Reads back what [`PayloadCodec::take_apart`] wrote.
    ///
    /// # Errors
    /// [`CodecError`].
    fn put_together(
        &self,
        around: &Surroundings<'_>,
        parents: &[[u8; 32]],
        columns: &mut ColumnReader<'_>,
    ) -> Result<PutTogether, CodecError>;
}

/// Knows no payloads: they all travel as they are.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCodec;

impl PayloadCodec for NoCodec {
    fn name(&self, _: EntryKind, _: &[u8]) -> Option<[u8; 32]> {
        None
    }

    fn parents(&self, _: EntryKind, _: &[u8]) -> Vec<[u8; 32]> {
        Vec::new()
    }

    fn take_apart(
        &self,
        _: &Surroundings<'_>,
        _: &[u8],
        _: &mut ColumnWriter<'_>,
    ) -> Option<TakenApart> {
        None
    }

    fn put_together(
        &self,
        _: &Surroundings<'_>,
        _: &[[u8; 32]],
        _: &mut ColumnReader<'_>,
    ) -> Result<PutTogether, CodecError> {
        Err(CodecError::Unknown)
    }
}
