//! A packed run: a run without what its receiver can work out, for sessions of protocol version 2.
//!
//! Most bytes of a small change are random and do not compress: hashes of what it builds on, checksums, ids. Dependencies
//! travel as places in logs that the receiver holds, objects as those of what they build on, logs and ids by number once
//! the stream has named them; what is left stands column by column and is compressed with a trained dictionary.
//!
//! Invariants: nothing of a packed run is believed. Unpacked it is a [`Run`] like any other, whose chain and signatures
//! [`Run::verify`] checks, so that a wrong rebuild is refused like a forgery. A place that the receiver does not know
//! is no violation: it asks for the log again, plain. References go only to entries before the run in its own log,
//! earlier ones in the run, and what the receiver covers.
//!
//! On the wire, numbers as LEB128: dictionary (0 stands for a body that is not compressed), log, first, the first four
//! bytes of the chain hash before it unless it is 1, signatures (count, then distance from the one before and 64
//! bytes), other logs, ids, random bytes (length, bytes), body. The body: lengths of all columns but the last, then the
//! columns; those of the engine first, of the codec behind.

mod alone;
mod columns;
mod open;
mod pack;
mod stream;

pub use alone::PackedStream;
pub use columns::{ColumnReader, ColumnWriter};
pub(crate) use open::Opened;
pub use pack::Knows;
pub(crate) use pack::{Packing, pack};
pub(crate) use stream::{StreamNames, StreamTable};

use columns::{Id, put_unsigned, take, take_array, take_unsigned};

use crate::chain::Head;
use crate::codec::{CODEC_COLUMNS, CodecError, OutOfColumns, Place};
use crate::ids::{ChainHash, HeadSignature, LogId, Seq};
use crate::run::{RUN_BYTES_MAX, RUN_ENTRIES_MAX, SIGNATURES_MAX};

/// Entries of a packed run, as of any. Each costs a receiver some hundred bytes while it unpacks.
const ENTRIES_MAX: u64 = RUN_ENTRIES_MAX as u64;

/// Parents of one entry that are left out; more are no small change.
const PARENTS_MAX: u64 = 64;

/// Up to that many entries stand one after the other instead of column by column, and the chain hash before them is
/// left out.
const SHORT_ENTRIES_MAX: u64 = 3;

/// Entries outside of a run that it refers to: each may cost its receiver a look into the store.
const REFERENCES_MAX: usize = 4096;

/// The longest body, decompressed: entries that cannot be packed take no more than before, and some numbers each.
const BODY_BYTES_MAX: usize = RUN_BYTES_MAX + 16 * 1024;

/// The engine's own columns.
const ENGINE_COLUMNS: usize = 4;
/// Form, kind, user, logical time, parents and lengths of each entry: numbers that are much the same.
const SHAPE: usize = 0;
/// Distances in time.
const TIME: usize = 1;
/// Distances in logs.
const DISTANCE: usize = 2;
/// Entries and payloads that travel as they are.
const PLAIN: usize = 3;

/// How an entry travels: in bytes as they are, or as a header and a payload. The forms of the latter are counted from
/// [`Form::BUILT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Raw,
    Built { object: ObjectForm, packed: bool },
}

/// How an entry's object travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ObjectForm {
    /// The object of the first parent that travels as a place.
    OfParent,
    /// Sixteen bytes.
    Whole,
    /// A UUIDv7 (RFC 9562): its time as the distance from the entry's, and ten bytes.
    Timed,
}

impl Form {
    const RAW: u64 = 0;
    const BUILT: u64 = 1;

    const fn number(self) -> u64 {
        match self {
            Self::Raw => Self::RAW,
            Self::Built { object, packed } => {
                let object = match object {
                    ObjectForm::OfParent => 0,
                    ObjectForm::Whole => 2,
                    ObjectForm::Timed => 4,
                };
                Self::BUILT + object + packed as u64
            }
        }
    }

    fn of_number(number: u64) -> Option<Self> {
        let Some(number) = number.checked_sub(Self::BUILT) else {
            return Some(Self::Raw);
        };
        let object = match number >> 1 {
            0 => ObjectForm::OfParent,
            1 => ObjectForm::Whole,
            2 => ObjectForm::Timed,
            _ => return None,
        };
        let packed = number & 1 == 1;
        Some(Self::Built { object, packed })
    }
}

/// Bytes that are no packed run, or one that cannot be unpacked here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackedError {
    /// No honest sender makes such bytes.
    #[error("malformed packed run: {0}")]
    Malformed(&'static str),
    /// More than a run may hold.
    #[error("packed run too large")]
    TooLarge,
    /// An entry that is referred to is not known here: to be asked for plain.
    #[error("a packed run refers to entry {} of another log, which is not here", .0.seq)]
    Unresolved(Place),
    /// A dictionary or a payload of a later version: to be asked for plain.
    #[error("a packed run of a later version")]
    Unknown,
}

impl From<OutOfColumns> for PackedError {
    fn from(_: OutOfColumns) -> Self {
        Self::Malformed("a column ends early")
    }
}

impl From<CodecError> for PackedError {
    fn from(error: CodecError) -> Self {
        match error {
            CodecError::Malformed => Self::Malformed("a payload"),
            CodecError::Unknown => Self::Unknown,
        }
    }
}

/// What a packed run says of the chain hash before its first entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prev {
    /// All of it: who has some of the entries already needs it for the others.
    Whole(ChainHash),
    /// Its beginning. The receiver knows the rest; a few entries are rarely known in part.
    Check([u8; 4]),
}

/// A packed run as it travels; see the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PackedRun {
    /// Which log.
    pub(crate) log: LogId,
    /// The place of the first entry; at least 1.
    pub(crate) first: Seq,
    /// The chain hash before it, or its beginning.
    prev: Prev,
    /// Signatures at their distance from the first entry, in order; never empty, the last at the last entry.
    signatures: Vec<(u32, HeadSignature)>,
    /// Other logs that are referred to, of the same group and lane.
    logs: Vec<LogId>,
    ids: Vec<Id>,
    /// Hashes and ids that come once.
    noise: Vec<u8>,
    dictionary: u64,
    body: Vec<u8>,
}

impl PackedRun {
    /// How many entries it has.
    fn count(&self) -> u64 {
        self.signatures
            .last()
            .map_or(0, |(offset, _)| u64::from(*offset) + 1)
    }

    /// The place of the last entry.
    pub(crate) fn last(&self) -> Seq {
        Seq(self.first.0.saturating_add(self.count()).saturating_sub(1))
    }

    /// The chain hash before its first entry, for who has the log up to `tip`. `None` when it does not follow there, or
    /// follows on another branch.
    pub(crate) fn prev(&self, tip: &Head) -> Option<ChainHash> {
        match self.prev {
            Prev::Whole(prev) => Some(prev),
            Prev::Check(check) => (self.first == tip.seq.next() && tip.chain.0.starts_with(&check))
                .then_some(tip.chain),
        }
    }

    /// About how much memory it takes, bytes: logs and ids that the stream has named are a byte each on the wire.
    pub(crate) fn held_bytes(&self) -> usize {
        size_of::<Self>()
            + self.signatures.len() * size_of::<(u32, HeadSignature)>()
            + self.logs.len() * size_of::<LogId>()
            + self.ids.len() * size_of::<Id>()
            + self.noise.len()
            + self.body.len()
    }

    /// How long its frame can get on any stream.
    pub(crate) fn frame_bytes_max(&self) -> usize {
        128 + self.signatures.len() * 67
            + self.logs.len() * 57
            + self.ids.len() * 17
            + self.noise.len()
            + self.body.len()
    }

    /// The bytes for one stream, which has to carry them: see [`StreamTable`].
    pub(crate) fn encode(&self, table: &mut StreamTable) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.frame_bytes_max());
        put_unsigned(&mut out, self.dictionary);
        table.put_log(&mut out, &self.log);
        put_unsigned(&mut out, self.first.0);
        put_unsigned(&mut out, self.signatures.len() as u64);
        let mut before = 0;
        for (offset, signature) in &self.signatures {
            put_unsigned(&mut out, u64::from(offset - before));
            out.extend_from_slice(&signature.0);
            before = *offset;
        }
        match &self.prev {
            _ if self.first == Seq(1) => {}
            Prev::Whole(prev) => out.extend_from_slice(&prev.0),
            Prev::Check(check) => out.extend_from_slice(check),
        }
        put_unsigned(&mut out, self.logs.len() as u64);
        for log in &self.logs {
            table.put_log(&mut out, log);
        }
        put_unsigned(&mut out, self.ids.len() as u64);
        for id in &self.ids {
            table.put_id(&mut out, id);
        }
        put_unsigned(&mut out, self.noise.len() as u64);
        out.extend_from_slice(&self.noise);
        out.extend_from_slice(&self.body);
        out
    }

    /// Reads what [`PackedRun::encode`] made for this stream. Nothing is decompressed yet.
    ///
    /// # Errors
    /// [`PackedError::Malformed`]; the stream is of no use then.
    pub(crate) fn decode(bytes: &[u8], stream: &mut StreamNames) -> Result<Self, PackedError> {
        Self::read(bytes, stream).ok_or(PackedError::Malformed("its head"))
    }

    fn read(mut rest: &[u8], stream: &mut StreamNames) -> Option<Self> {
        let rest = &mut rest;
        let dictionary = take_unsigned(rest)?;
        let log = stream.take_log(rest)?;
        let first = Seq(take_unsigned(rest)?);
        if first == Seq::NONE || first.0.checked_add(ENTRIES_MAX).is_none() {
            return None;
        }
        let signature_count = take_unsigned(rest)?;
        if signature_count == 0 || signature_count > SIGNATURES_MAX as u64 {
            return None;
        }
        let mut signatures = Vec::new();
        let mut offset = 0_u64;
        for _ in 0..signature_count {
            offset = offset.checked_add(take_unsigned(rest)?)?;
            if offset >= ENTRIES_MAX {
                return None;
            }
            signatures.push((
                u32::try_from(offset).ok()?,
                HeadSignature(take_array(rest)?),
            ));
        }
        let prev = if first == Seq(1) {
            Prev::Whole(ChainHash::ZERO)
        } else if is_short(offset + 1) {
            Prev::Check(take_array(rest)?)
        } else {
            Prev::Whole(ChainHash(take_array(rest)?))
        };
        // Nothing is reserved for the counts that follow: each item takes a byte at least, so the loops end with them.
        let log_count = take_unsigned(rest)?;
        if log_count > REFERENCES_MAX as u64 {
            return None;
        }
        let mut logs = Vec::new();
        for _ in 0..log_count {
            let other = stream.take_log(rest)?;
            if other.group != log.group || other.lane != log.lane {
                return None;
            }
            logs.push(other);
        }
        let mut ids = Vec::new();
        for _ in 0..take_unsigned(rest)? {
            ids.push(stream.take_id(rest)?);
        }
        let noise_bytes = usize::try_from(take_unsigned(rest)?).ok()?;
        let noise = take(rest, noise_bytes)?.to_vec();
        Some(Self {
            log,
            first,
            prev,
            signatures,
            logs,
            ids,
            noise,
            dictionary,
            body: rest.to_vec(),
        })
    }
}

/// Whether a run of that many entries is laid out for its shortness.
const fn is_short(entries: u64) -> bool {
    entries <= SHORT_ENTRIES_MAX
}

/// Cuts a body into the columns of a run of that many entries: the engine's and the codec's.
fn cut_columns(mut body: &[u8], entries: u64) -> Option<[Vec<&[u8]>; 2]> {
    let rest = &mut body;
    let (engine, codec) = if is_short(entries) {
        (1, 1)
    } else {
        (ENGINE_COLUMNS, CODEC_COLUMNS)
    };
    let mut lengths = Vec::with_capacity(engine + codec);
    for _ in 1..engine + codec {
        lengths.push(usize::try_from(take_unsigned(rest)?).ok()?);
    }
    let mut columns = Vec::with_capacity(engine + codec);
    for length in lengths {
        columns.push(take(rest, length)?);
    }
    columns.push(*rest);
    let of_codec = columns.split_off(engine);
    Some([columns, of_codec])
}
