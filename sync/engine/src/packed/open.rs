//! Unpacking, in two steps: what a packed run refers to, and, once that is known, the run.

use std::collections::BTreeSet;

use super::columns::{ColumnReader, take_array};
use super::{
    BODY_BYTES_MAX, DISTANCE, Form, ObjectForm, PARENTS_MAX, PLAIN, PackedError, PackedRun,
    REFERENCES_MAX, SHAPE, TIME, cut_columns,
};
use crate::clock::HybridTime;
use crate::codec::{Name, PayloadCodec, Place, Surroundings};
use crate::dictionary::Zstd;
use crate::entry::{ENTRY_BYTES_MAX, Entry, EntryHeader, Payload};
use crate::ids::{ChainHash, EntryKind, ObjectId, Seq};
use crate::run::{RUN_BYTES_MAX, Run};

/// A packed run, decompressed, with the engine's columns read.
#[derive(Debug)]
pub(crate) struct Opened {
    packed: PackedRun,
    body: Vec<u8>,
    entries: Vec<OpenedEntry>,
    /// Which of the ids the engine's columns used; the codec's have to use the others.
    ids_used: Vec<bool>,
}

#[derive(Debug)]
enum OpenedEntry {
    Raw(Vec<u8>),
    Built(Built),
}

#[derive(Debug)]
struct Built {
    time: HybridTime,
    user: Option<[u8; 16]>,
    kind: EntryKind,
    /// `None`: that of the first parent that is a place.
    object: Option<ObjectId>,
    payload: OpenedPayload,
}

#[derive(Debug)]
enum OpenedPayload {
    Plain(Vec<u8>),
    /// In the codec's columns; what it builds on.
    Packed(Vec<Parent>),
}

/// A parent takes two bytes of a body that may be compressed, so that there may be tens of thousands: kept small.
#[derive(Debug, Clone, Copy)]
enum Parent {
    /// A hash, that far into the random bytes.
    Hash { noise_at: u32 },
    /// An entry of the run's own log.
    Own(Seq),
    /// An entry of the other log of that number.
    Other { log: u32, seq: Seq },
}

impl PackedRun {
    /// Decompresses, and reads what does not need a codec.
    ///
    /// # Errors
    /// [`PackedError`], except for `Unresolved`.
    pub(crate) fn open(self, zstd: &mut Zstd) -> Result<Opened, PackedError> {
        let body = self.body(zstd)?;
        let [engine, _] =
            cut_columns(&body, self.count()).ok_or(PackedError::Malformed("its columns"))?;
        let mut opening = Opening {
            packed: &self,
            columns: ColumnReader::new(engine, &self.ids),
            noise: &self.noise,
            last_seqs: vec![Seq::NONE; self.logs.len()],
            references_left: REFERENCES_MAX,
            wall_ms: 0,
            plain_bytes: 0,
        };
        let entries = (self.first.0..=self.last().0)
            .map(|seq| opening.entry(Seq(seq)))
            .collect::<Result<Vec<_>, _>>()?;
        // What nothing refers to could be any number of logs: each is a byte on the wire and sixty in memory.
        let logs_used = opening.last_seqs.iter().all(|last| *last != Seq::NONE);
        if !opening.columns.is_done() || !opening.noise.is_empty() || !logs_used {
            return Err(PackedError::Malformed("more than its entries"));
        }
        let ids_used = opening.columns.into_ids_used();
        Ok(Opened {
            body,
            entries,
            ids_used,
            packed: self,
        })
    }

    /// The columns, one behind the other.
    pub(super) fn body(&self, zstd: &mut Zstd) -> Result<Vec<u8>, PackedError> {
        zstd.decompress(self.dictionary, &self.body, BODY_BYTES_MAX)
    }
}

struct Opening<'a> {
    packed: &'a PackedRun,
    columns: ColumnReader<'a>,
    noise: &'a [u8],
    /// Where the last reference to each of the other logs went.
    last_seqs: Vec<Seq>,
    /// How many more may go out of the run.
    references_left: usize,
    /// The time of the entry before.
    wall_ms: u64,
    /// Bytes of entries and payloads that came as they are.
    plain_bytes: usize,
}

impl Opening<'_> {
    fn entry(&mut self, seq: Seq) -> Result<OpenedEntry, PackedError> {
        let form = Form::of_number(self.columns.unsigned(SHAPE)?)
            .ok_or(PackedError::Malformed("an entry's form"))?;
        let Form::Built { object, packed } = form else {
            return Ok(OpenedEntry::Raw(self.plain()?));
        };
        let kind = u16::try_from(self.columns.unsigned(SHAPE)?)
            .map_err(|_| PackedError::Malformed("an entry's kind"))?;
        let user = self.columns.id(SHAPE)?;
        let logical = u16::try_from(self.columns.unsigned(SHAPE)?)
            .map_err(|_| PackedError::Malformed("an entry's time"))?;
        let distance = self.columns.signed(TIME)?;
        self.wall_ms = self.wall_ms.wrapping_add(distance.cast_unsigned());
        let object = match object {
            ObjectForm::OfParent => None,
            ObjectForm::Whole => Some(ObjectId(self.noise()?)),
            ObjectForm::Timed => {
                let distance = self.columns.signed(TIME)?.cast_unsigned();
                let time = self.wall_ms.wrapping_sub(distance).to_be_bytes();
                let mut object = [0; 16];
                object[..6].copy_from_slice(&time[2..]);
                object[6..].copy_from_slice(&self.noise::<10>()?);
                Some(ObjectId(object))
            }
        };
        let payload = if packed {
            OpenedPayload::Packed(self.parents(seq)?)
        } else {
            OpenedPayload::Plain(self.plain()?)
        };
        Ok(OpenedEntry::Built(Built {
            time: HybridTime {
                wall_ms: self.wall_ms,
                logical,
            },
            user,
            kind: EntryKind(kind),
            object,
            payload,
        }))
    }

    fn plain(&mut self) -> Result<Vec<u8>, PackedError> {
        let length = self.columns.unsigned(SHAPE)?;
        let bytes = self.columns.bytes(PLAIN, length)?;
        self.plain_bytes += bytes.len();
        if bytes.len() > ENTRY_BYTES_MAX || self.plain_bytes > RUN_BYTES_MAX {
            return Err(PackedError::TooLarge);
        }
        Ok(bytes.to_vec())
    }

    fn parents(&mut self, seq: Seq) -> Result<Vec<Parent>, PackedError> {
        let count = self.columns.unsigned(SHAPE)?;
        if count > PARENTS_MAX {
            return Err(PackedError::Malformed("too many parents"));
        }
        (0..count).map(|_| self.parent(seq)).collect()
    }

    fn parent(&mut self, seq: Seq) -> Result<Parent, PackedError> {
        let outside = || PackedError::Malformed("a reference to no entry");
        let (parent, at) = match self.columns.unsigned(SHAPE)? {
            0 => {
                let noise_at = self.packed.noise.len() - self.noise.len();
                self.noise::<32>()?;
                let noise_at = u32::try_from(noise_at).map_err(|_| PackedError::TooLarge)?;
                return Ok(Parent::Hash { noise_at });
            }
            1 => {
                let distance = self.columns.unsigned(DISTANCE)?;
                let at = seq.0.checked_sub(distance).filter(|_| distance > 0);
                let at = Seq(at.ok_or_else(outside)?);
                (Parent::Own(at), at)
            }
            other => {
                let log = u32::try_from(other - 2).map_err(|_| outside())?;
                let distance = self.columns.signed(DISTANCE)?.cast_unsigned();
                let last = self.last_seqs.get_mut(log as usize).ok_or_else(outside)?;
                *last = Seq(last.0.wrapping_add(distance));
                (Parent::Other { log, seq: *last }, *last)
            }
        };
        if at == Seq::NONE {
            return Err(outside());
        }
        if matches!(parent, Parent::Other { .. }) || at < self.packed.first {
            self.references_left = self
                .references_left
                .checked_sub(1)
                .ok_or(PackedError::Malformed("too many references"))?;
        }
        Ok(parent)
    }

    fn noise<const N: usize>(&mut self) -> Result<[u8; N], PackedError> {
        take_array(&mut self.noise).ok_or(PackedError::Malformed("random bytes end early"))
    }
}

impl PackedRun {
    /// Where a parent stands; `None` for one that came as a hash.
    fn place(&self, parent: &Parent) -> Option<Place> {
        let (log, seq) = match parent {
            Parent::Hash { .. } => return None,
            Parent::Own(seq) => (self.log, *seq),
            Parent::Other { log, seq } => (*self.logs.get(*log as usize)?, *seq),
        };
        Some(Place { log, seq })
    }

    /// A parent that came as a hash.
    fn hash(&self, parent: &Parent) -> Result<[u8; 32], PackedError> {
        let hash = match parent {
            Parent::Hash { noise_at } => {
                let mut rest = self.noise.get(*noise_at as usize..).unwrap_or_default();
                take_array(&mut rest)
            }
            _ => None,
        };
        hash.ok_or(PackedError::Malformed("random bytes end early"))
    }
}

impl Opened {
    /// What it came as.
    pub(crate) fn packed(&self) -> &PackedRun {
        &self.packed
    }

    /// About how much memory it takes, bytes.
    pub(crate) fn held_bytes(&self) -> usize {
        let parents: usize = self.parents().count();
        self.packed.held_bytes()
            + 2 * self.body.len()
            + self.entries.len() * size_of::<OpenedEntry>()
            + parents * size_of::<Parent>()
    }

    fn parents(&self) -> impl Iterator<Item = &Parent> {
        self.entries.iter().flat_map(|entry| match entry {
            OpenedEntry::Built(Built {
                payload: OpenedPayload::Packed(parents),
                ..
            }) => &parents[..],
            _ => &[],
        })
    }

    /// The entries outside of the run that it refers to, in their order.
    pub(crate) fn references(&self) -> BTreeSet<Place> {
        let inside = |place: &Place| place.log == self.packed.log && place.seq >= self.packed.first;
        self.parents()
            .filter_map(|parent| self.packed.place(parent))
            .filter(|place| !inside(place))
            .collect()
    }

    /// Those of them in other logs: who does not hold them all cannot be given this run as it is.
    pub(crate) fn references_elsewhere(&self) -> Vec<Place> {
        self.parents()
            .filter(|parent| matches!(parent, Parent::Other { .. }))
            .filter_map(|parent| self.packed.place(parent))
            .collect()
    }

    /// What it came as, to be passed on.
    pub(crate) fn into_packed(self) -> PackedRun {
        self.packed
    }

    /// The run, behind the chain hash `prev`; still to be verified.
    ///
    /// # Errors
    /// [`PackedError`]: `Unresolved` where `names` does not know a place.
    pub(crate) fn unpack(
        &self,
        codec: &dyn PayloadCodec,
        prev: ChainHash,
        names: &dyn Fn(&Place) -> Option<Name>,
    ) -> Result<Run, PackedError> {
        let [_, columns] = cut_columns(&self.body, self.packed.count())
            .ok_or(PackedError::Malformed("its columns"))?;
        let mut unpacking = Unpacking {
            opened: self,
            codec,
            names,
            columns: ColumnReader::new(columns, &self.packed.ids).behind(self.ids_used.clone()),
            earlier: Vec::with_capacity(self.entries.len()),
        };
        let mut entries = Vec::with_capacity(self.entries.len());
        let mut total = 0;
        for entry in &self.entries {
            let bytes = unpacking.entry(entry)?;
            total += bytes.len();
            if bytes.len() > ENTRY_BYTES_MAX || total > RUN_BYTES_MAX {
                return Err(PackedError::TooLarge);
            }
            entries.push(bytes);
        }
        let done = unpacking.columns.is_done();
        let ids_used = unpacking.columns.into_ids_used();
        if !done || ids_used.contains(&false) {
            return Err(PackedError::Malformed("more than its payloads"));
        }
        let first = self.packed.first;
        Ok(Run {
            log: self.packed.log,
            first,
            prev,
            entries,
            signatures: self
                .packed
                .signatures
                .iter()
                .map(|(offset, signature)| (Seq(first.0 + u64::from(*offset)), *signature))
                .collect(),
        })
    }
}

struct Unpacking<'a> {
    opened: &'a Opened,
    codec: &'a dyn PayloadCodec,
    names: &'a dyn Fn(&Place) -> Option<Name>,
    columns: ColumnReader<'a>,
    /// What the entries so far are called.
    earlier: Vec<Option<Name>>,
}

impl Unpacking<'_> {
    fn entry(&mut self, entry: &OpenedEntry) -> Result<Vec<u8>, PackedError> {
        let built = match entry {
            OpenedEntry::Raw(bytes) => {
                self.earlier.push(None);
                return Ok(bytes.clone());
            }
            OpenedEntry::Built(built) => built,
        };
        let mut object = built.object;
        let (payload, name) = match &built.payload {
            OpenedPayload::Plain(payload) => {
                (payload.clone(), self.codec.name(built.kind, payload))
            }
            OpenedPayload::Packed(parents) => {
                let mut hashes = Vec::with_capacity(parents.len());
                for parent in parents {
                    let Some(place) = self.opened.packed.place(parent) else {
                        hashes.push(self.opened.packed.hash(parent)?);
                        continue;
                    };
                    let name = self.name(&place).ok_or(PackedError::Unresolved(place))?;
                    object.get_or_insert(name.object);
                    hashes.push(name.hash);
                }
                let around = Surroundings {
                    log: &self.opened.packed.log,
                    kind: built.kind,
                    wall_ms: built.time.wall_ms,
                };
                let whole = self
                    .codec
                    .put_together(&around, &hashes, &mut self.columns)?;
                (whole.payload, Some(whole.name))
            }
        };
        let object = object.ok_or(PackedError::Malformed("an entry without an object"))?;
        self.earlier.push(name.map(|hash| Name { hash, object }));
        let entry = Entry {
            header: EntryHeader {
                time: built.time,
                user: built.user,
                kind: built.kind,
                object,
            },
            payload: Payload::Plain(payload),
        };
        entry.encode().map_err(|_| PackedError::TooLarge)
    }

    fn name(&self, place: &Place) -> Option<Name> {
        let inside = (place.log == self.opened.packed.log)
            .then(|| place.seq.0.checked_sub(self.opened.packed.first.0))
            .flatten();
        match inside {
            Some(offset) => *self.earlier.get(usize::try_from(offset).ok()?)?,
            None => (self.names)(place),
        }
    }
}
