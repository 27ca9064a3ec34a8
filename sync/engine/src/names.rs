//! What the entries of late are called, so that references to them are resolved without a look into the store.
//!
//! Invariants: an entry that was verified and is not on the disk yet is remembered until it is, as the store cannot tell
//! of it; of those on the disk the newest are. Both have a bound; who is not remembered is asked for otherwise.

use std::collections::{BTreeMap, VecDeque};

use crate::codec::{Name, PayloadCodec, Place};
use crate::entry::{Entry, Payload};
use crate::ids::{LogId, Seq};

/// Entries on their way to the disk: what honest peers may have under way in all, some 300 bytes each.
const ARRIVING_MAX: usize = 65_536;
/// Entries on the disk: those of the conversation that goes on now.
const STORED_MAX: usize = 8_192;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Names {
    by_place: BTreeMap<Place, Name>,
    by_hash: BTreeMap<[u8; 32], Place>,
    /// Those that are on the disk, oldest first.
    stored: VecDeque<Place>,
}

impl Names {
    /// What the entry there is called.
    pub(crate) fn name(&self, place: &Place) -> Option<Name> {
        self.by_place.get(place).copied()
    }

    /// Where an entry stands that is called so.
    pub(crate) fn place(&self, name: &Name) -> Option<Place> {
        let place = self.by_hash.get(&name.hash)?;
        (self.by_place.get(place)? == name).then_some(*place)
    }

    /// Takes in verified entries of a log, from `first` on, that are not on the disk yet.
    pub(crate) fn arrive<'a>(
        &mut self,
        codec: &dyn PayloadCodec,
        log: LogId,
        first: Seq,
        entries: impl Iterator<Item = &'a [u8]>,
    ) {
        for (bytes, seq) in entries.zip(first.0..) {
            if self.by_place.len() - self.stored.len() >= ARRIVING_MAX {
                return;
            }
            let Ok(Entry {
                header,
                payload: Payload::Plain(payload),
            }) = Entry::decode(bytes)
            else {
                continue;
            };
            if let Some(hash) = codec.name(header.kind, &payload) {
                let (place, object) = (Place { log, seq: Seq(seq) }, header.object);
                self.by_place.insert(place, Name { hash, object });
                self.by_hash.insert(hash, place);
            }
        }
    }

    /// The entries of a log up to and with `last` are on the disk now.
    pub(crate) fn stored(&mut self, log: LogId, first: Seq, last: Seq) {
        let range = Place { log, seq: first }..=Place { log, seq: last };
        if first > last {
            return;
        }
        self.stored
            .extend(self.by_place.range(range).map(|(place, _)| *place));
        while self.stored.len() > STORED_MAX {
            if let Some(oldest) = self.stored.pop_front() {
                self.forget(&oldest);
            }
        }
    }

    /// What was to come behind `height` of a log will not: it could not be stored.
    pub(crate) fn lost(&mut self, log: LogId, height: Seq) {
        let range = Place {
            log,
            seq: height.next(),
        }..=Place {
            log,
            seq: Seq(u64::MAX),
        };
        let lost: Vec<Place> = self
            .by_place
            .range(range)
            .map(|(place, _)| *place)
            .collect();
        for place in lost {
            self.forget(&place);
        }
    }

    fn forget(&mut self, place: &Place) {
        if let Some(name) = self.by_place.remove(place)
            && self.by_hash.get(&name.hash) == Some(place)
        {
            self.by_hash.remove(&name.hash);
        }
    }
}
