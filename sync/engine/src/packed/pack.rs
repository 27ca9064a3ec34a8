//! Packing: what is left out of a run, and what for.

use std::collections::BTreeMap;

use super::columns::Columns;
use super::{
    BODY_BYTES_MAX, DISTANCE, ENTRIES_MAX, Form, ObjectForm, PARENTS_MAX, PLAIN, PackedRun, Prev,
    REFERENCES_MAX, SHAPE, TIME, is_short,
};
use crate::codec::{Name, PayloadCodec, Place, Surroundings, TakenApart};
use crate::dictionary::Zstd;
use crate::entry::{Entry, Payload};
use crate::ids::{EntryKind, LogId, ObjectId, Seq};
use crate::io::LANE_FRAME_BYTES_MAX;
use crate::run::Run;

/// A UUIDv7 is that near to its entry's time, milliseconds (12 days); another one may as well travel whole.
const OBJECT_DISTANCE_MS_MAX: u64 = 1 << 30;

/// What the receiver of a run knows, as far as its sender can tell.
pub struct Knows<'a> {
    /// Where an entry outside of the run stands that is called so, and of that object.
    pub places: &'a dyn Fn(&Name) -> Option<Place>,
    /// Whether the receiver holds that entry of another log, or gets it before this run.
    pub covered: &'a dyn Fn(&Place) -> bool,
}

/// A run that was packed, and the entries of other logs that its receiver must hold.
#[derive(Debug)]
pub(crate) struct Packing {
    pub(crate) run: PackedRun,
    pub(crate) references: Vec<Place>,
}

impl Packing {
    /// Whether it makes a frame of allowed length on a stream that has named nothing of it.
    pub(crate) fn fits_any_stream(&self) -> bool {
        self.run.frame_bytes_max() <= LANE_FRAME_BYTES_MAX
    }
}

/// Packs a run. `None` when it has too many entries or too many bytes, or is none: it travels as it is then.
pub(crate) fn pack(
    run: &Run,
    codec: &dyn PayloadCodec,
    knows: &Knows<'_>,
    zstd: &mut Zstd,
) -> Option<Packing> {
    let count = run.entries.len() as u64;
    if run.first == Seq::NONE || count > ENTRIES_MAX {
        return None;
    }
    let mut signatures = Vec::with_capacity(run.signatures.len());
    for (seq, signature) in &run.signatures {
        let offset = seq.0.checked_sub(run.first.0).filter(|at| *at < count)?;
        signatures.push((u32::try_from(offset).ok()?, *signature));
    }
    let last = u64::from(signatures.last()?.0);
    if last + 1 != count || !signatures.is_sorted_by_key(|(at, _)| *at) {
        return None;
    }

    let mut packer = Packer {
        run,
        codec,
        knows,
        columns: Columns::new(is_short(count)),
        noise: Vec::new(),
        logs: Vec::new(),
        names: BTreeMap::new(),
        references: Vec::new(),
        references_left: REFERENCES_MAX,
        wall_ms: 0,
    };
    for (bytes, seq) in run.entries.iter().zip(run.first.0..) {
        packer.entry(Seq(seq), bytes);
    }
    let (body, ids) = packer.columns.finish();
    if body.len() > BODY_BYTES_MAX {
        return None;
    }
    let (dictionary, body) = zstd.compress(body);
    let prev = if run.first != Seq(1) && is_short(count) {
        let mut check = [0; 4];
        check.copy_from_slice(&run.prev.0[..4]);
        Prev::Check(check)
    } else {
        Prev::Whole(run.prev)
    };
    Some(Packing {
        run: PackedRun {
            log: run.log,
            first: run.first,
            prev,
            signatures,
            logs: packer.logs.into_iter().map(|(log, _)| log).collect(),
            ids,
            noise: packer.noise,
            dictionary,
            body,
        },
        references: packer.references,
    })
}

struct Packer<'a> {
    run: &'a Run,
    codec: &'a dyn PayloadCodec,
    knows: &'a Knows<'a>,
    columns: Columns,
    noise: Vec<u8>,
    /// Other logs that are referred to, each with where the last reference to it went.
    logs: Vec<(LogId, Seq)>,
    /// What the entries so far are called, and whose they are.
    names: BTreeMap<[u8; 32], (Seq, ObjectId)>,
    references: Vec<Place>,
    /// How many more may go out of the run.
    references_left: usize,
    /// The time of the entry before.
    wall_ms: u64,
}

impl Packer<'_> {
    fn entry(&mut self, seq: Seq, bytes: &[u8]) {
        // Bytes that are no entry, or spell one in another way than we would, are nobody's to improve.
        let entry = Entry::decode(bytes).ok();
        let same = |entry: &Entry| entry.encode().is_ok_and(|again| again == bytes);
        let Some(Entry {
            header,
            payload: Payload::Plain(payload),
        }) = entry.filter(same)
        else {
            let mut out = self.columns.engine();
            out.unsigned(SHAPE, Form::Raw.number());
            out.unsigned(SHAPE, bytes.len() as u64);
            out.bytes(PLAIN, bytes);
            return;
        };

        let apart = self.take_apart(header.kind, header.time.wall_ms, &payload);
        let places: Vec<Option<Place>> = apart
            .iter()
            .flat_map(|apart| &apart.parents)
            .map(|parent| self.place_of(parent, &header.object))
            .collect();
        let object_distance_ms = object_distance_ms(&header.object, header.time.wall_ms);
        let object = match object_distance_ms {
            _ if places.iter().any(Option::is_some) => ObjectForm::OfParent,
            Some(_) => ObjectForm::Timed,
            None => ObjectForm::Whole,
        };
        let form = Form::Built {
            object,
            packed: apart.is_some(),
        };

        let mut out = self.columns.engine();
        out.unsigned(SHAPE, form.number());
        out.unsigned(SHAPE, u64::from(header.kind.0));
        out.id(SHAPE, header.user.as_ref());
        out.unsigned(SHAPE, u64::from(header.time.logical));
        let time = header.time.wall_ms.wrapping_sub(self.wall_ms);
        out.signed(TIME, time.cast_signed());
        self.wall_ms = header.time.wall_ms;
        match (object, object_distance_ms) {
            (ObjectForm::OfParent, _) => {}
            (ObjectForm::Timed, Some(distance)) => {
                out.signed(TIME, distance);
                self.noise.extend_from_slice(&header.object.0[6..]);
            }
            _ => self.noise.extend_from_slice(&header.object.0),
        }
        if let Some(apart) = apart {
            out.unsigned(SHAPE, places.len() as u64);
            for (parent, place) in apart.parents.iter().zip(places) {
                self.parent(seq, parent, place);
            }
            self.names.insert(apart.name, (seq, header.object));
        } else {
            out.unsigned(SHAPE, payload.len() as u64);
            out.bytes(PLAIN, &payload);
            if let Some(name) = self.codec.name(header.kind, &payload) {
                self.names.insert(name, (seq, header.object));
            }
        }
    }

    fn take_apart(&mut self, kind: EntryKind, wall_ms: u64, payload: &[u8]) -> Option<TakenApart> {
        if kind < EntryKind::FIRST_OPAQUE {
            return None;
        }
        let mark = self.columns.mark();
        let around = Surroundings {
            log: &self.run.log,
            kind,
            wall_ms,
        };
        let apart = self
            .codec
            .take_apart(&around, payload, &mut self.columns.codec())
            .filter(|apart| apart.parents.len() as u64 <= PARENTS_MAX);
        if apart.is_none() {
            self.columns.go_back(&mark);
        }
        apart
    }

    /// The place that can stand for a parent of the entry at `seq`.
    fn place_of(&mut self, parent: &[u8; 32], object: &ObjectId) -> Option<Place> {
        let log = self.run.log;
        if let Some((at, of)) = self.names.get(parent) {
            return (of == object).then_some(Place { log, seq: *at });
        }
        let name = Name {
            hash: *parent,
            object: *object,
        };
        let place = (self.knows.places)(&name)?;
        let known = if place.log == log {
            place.seq < self.run.first
        } else {
            place.log.group == log.group
                && place.log.lane == log.lane
                && (self.knows.covered)(&place)
        };
        if !known || place.seq == Seq::NONE || self.references_left == 0 {
            return None;
        }
        self.references_left -= 1;
        Some(place)
    }

    /// 0 and the hash; 1 and the distance back in the same log; from 2 on the other log, and the distance from where
    /// the last reference to it went.
    fn parent(&mut self, seq: Seq, parent: &[u8; 32], place: Option<Place>) {
        let Some(place) = place else {
            self.columns.engine().unsigned(SHAPE, 0);
            self.noise.extend_from_slice(parent);
            return;
        };
        if place.log == self.run.log {
            let mut out = self.columns.engine();
            out.unsigned(SHAPE, 1);
            out.unsigned(DISTANCE, seq.0 - place.seq.0);
            return;
        }
        self.references.push(place);
        let known = self.logs.iter().position(|(log, _)| *log == place.log);
        let number = known.unwrap_or_else(|| {
            self.logs.push((place.log, Seq::NONE));
            self.logs.len() - 1
        });
        let last = &mut self.logs[number].1;
        let distance = place.seq.0.wrapping_sub(last.0).cast_signed();
        *last = place.seq;
        let mut out = self.columns.engine();
        out.unsigned(SHAPE, 2 + number as u64);
        out.signed(DISTANCE, distance);
    }
}

/// How far the time in an id that looks like a UUIDv7 lies before `wall_ms`; `None` when that is no nearer than any
/// number.
fn object_distance_ms(object: &ObjectId, wall_ms: u64) -> Option<i64> {
    let distance = wall_ms.wrapping_sub(object_time_ms(object)).cast_signed();
    (distance.unsigned_abs() <= OBJECT_DISTANCE_MS_MAX).then_some(distance)
}

/// The first six bytes, where a UUIDv7 has its time (RFC 9562, section 5.7).
fn object_time_ms(object: &ObjectId) -> u64 {
    object.0[..6]
        .iter()
        .fold(0, |time, byte| time << 8 | u64::from(*byte))
}
