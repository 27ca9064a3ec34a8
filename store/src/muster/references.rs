//! What payloads call each other, for runs that travel with places in logs instead of hashes. Who reads them is the
//! caller's codec: here they are bytes.
//!
//! Always holds: nothing is kept for this; both ways are found by the keys that are there, and what is read for one run
//! is bounded. What is not found costs bytes on the wire and nothing else.

use std::collections::{BTreeMap, HashSet};

use rusqlite::{Connection, OptionalExtension, params};
use sync_engine::{
    Entry, EntryHeader, LogId, Name, ObjectId, Payload, PayloadCodec, Place, Run, Seq,
};

use super::log::log_no;
use crate::error::{Doing, StoreError};
use crate::sql::{SEQ_MAX, entry_at, entry_log_no, entry_seq, log_id};

/// How many entries of an object are looked at before one that builds on them: its parents are the newest few, unless
/// many people edited at once.
const LOOK_BACK: usize = 16;

/// Bytes of entries that are looked at for one run, of some 64 KiB itself. Honest ones need less than that; a document of
/// long entries with a log full of short ones that build on nothing known would cost a second of hashing otherwise.
const LOOK_BYTES_MAX: usize = 1024 * 1024;

/// See [`super::Reader::parents_of_run`].
pub(crate) fn parents_of_run(
    connection: &Connection,
    run: &Run,
    codec: &dyn PayloadCodec,
) -> Result<Vec<(Name, Place)>, StoreError> {
    let Some(log_no) = log_no(connection, &run.log)? else {
        return Ok(Vec::new());
    };
    let mut lookup = Lookup {
        connection,
        codec,
        logs: BTreeMap::from([(log_no, run.log)]),
        found: BTreeMap::new(),
        bytes_left: LOOK_BYTES_MAX,
    };
    let mut inside = HashSet::new();
    for (bytes, seq) in run.entries.iter().zip(run.first.0..) {
        let Some((header, payload)) = plain(bytes) else {
            continue;
        };
        let object = header.object;
        let parents = codec.parents(header.kind, &payload).into_iter();
        let mut parents: Vec<Name> = parents.map(|hash| Name { hash, object }).collect();
        parents.retain(|parent| !inside.contains(parent) && !lookup.found.contains_key(parent));
        if !parents.is_empty() {
            lookup.find(entry_at(log_no, Seq(seq)), &object, &parents)?;
        }
        let name = codec.name(header.kind, &payload);
        inside.extend(name.map(|hash| Name { hash, object }));
    }
    Ok(lookup.found.into_iter().collect())
}

struct Lookup<'a> {
    connection: &'a Connection,
    codec: &'a dyn PayloadCodec,
    /// Logs by their number.
    logs: BTreeMap<i64, LogId>,
    found: BTreeMap<Name, Place>,
    /// How much more is looked at.
    bytes_left: usize,
}

impl Lookup<'_> {
    /// Looks for parents among what was applied to the object before the entry at `at`.
    fn find(&mut self, at: i64, object: &ObjectId, parents: &[Name]) -> Result<(), StoreError> {
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT at, bytes FROM entry WHERE object = ?1 AND applied < \
                 coalesce((SELECT applied FROM entry WHERE at = ?2), 9223372036854775807) \
                 ORDER BY applied DESC LIMIT ?3",
            )
            .doing("prepare parents of an entry")?;
        let mut rows = statement
            .query(params![&object.0[..], at, LOOK_BACK as i64])
            .doing("read parents of an entry")?;
        let mut left = parents.len();
        while left > 0
            && self.bytes_left > 0
            && let Some(row) = rows.next().doing("read parents of an entry")?
        {
            let read = || Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?));
            let (at, bytes) = read().doing("read parents of an entry")?;
            self.bytes_left = self.bytes_left.saturating_sub(bytes.len());
            let name = name_of(&bytes, self.codec);
            if let Some(name) = name.filter(|name| parents.contains(name)) {
                left -= 1;
                if let Some(log) = self.log(entry_log_no(at))? {
                    let seq = entry_seq(at);
                    self.found.insert(name, Place { log, seq });
                }
            }
        }
        Ok(())
    }

    fn log(&mut self, log_no: i64) -> Result<Option<LogId>, StoreError> {
        if let Some(log) = self.logs.get(&log_no) {
            return Ok(Some(*log));
        }
        let log = self
            .connection
            .prepare_cached("SELECT author, incarnation, grp, lane FROM log WHERE no = ?1")
            .and_then(|mut statement| {
                statement
                    .query_row([log_no], |row| log_id(row, 0))
                    .optional()
            })
            .doing("read log")?;
        if let Some(log) = log {
            self.logs.insert(log_no, log);
        }
        Ok(log)
    }
}

/// See [`super::Reader::names_at`].
pub(crate) fn names_at(
    connection: &Connection,
    places: &[Place],
    codec: &dyn PayloadCodec,
) -> Result<Vec<(Place, Name)>, StoreError> {
    let mut logs: BTreeMap<LogId, Option<i64>> = BTreeMap::new();
    let mut statement = connection
        .prepare_cached("SELECT bytes FROM entry WHERE at = ?1")
        .doing("prepare names")?;
    let mut names = Vec::with_capacity(places.len());
    for place in places {
        let log_no = match logs.get(&place.log) {
            Some(log_no) => *log_no,
            None => {
                let log_no = log_no(connection, &place.log)?;
                logs.insert(place.log, log_no);
                log_no
            }
        };
        let Some(log_no) = log_no.filter(|_| place.seq.0 <= SEQ_MAX) else {
            continue;
        };
        let bytes: Option<Vec<u8>> = statement
            .query_row([entry_at(log_no, place.seq)], |row| row.get(0))
            .optional()
            .doing("read names")?;
        let name = bytes.and_then(|bytes| name_of(&bytes, codec));
        names.extend(name.map(|name| (*place, name)));
    }
    Ok(names)
}

/// What an entry is called, and whose it is.
fn name_of(bytes: &[u8], codec: &dyn PayloadCodec) -> Option<Name> {
    let (header, payload) = plain(bytes)?;
    Some(Name {
        hash: codec.name(header.kind, &payload)?,
        object: header.object,
    })
}

/// An entry whose payload can be read.
fn plain(bytes: &[u8]) -> Option<(EntryHeader, Vec<u8>)> {
    let entry = Entry::decode(bytes).ok()?;
    match entry.payload {
        Payload::Plain(payload) => Some((entry.header, payload)),
        Payload::Sealed { .. } => None,
    }
}
