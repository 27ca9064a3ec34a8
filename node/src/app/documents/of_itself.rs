//! What a node says of itself, in logs of its own: how far it has come, what its sensors measured, how its devices are.
//!
//! Invariant: who says it is whoever wrote the log. Nobody can say it for another node.

use store::{EntryPlace, HealthWrite, RawWrite, SummaryWrite};
use sync_engine::{Entry, EntryHeader, EntryKind, GroupId, Lane, LogId, Payload, Seq};

use super::remote::{Target, target};
use crate::app::own_log::object_of;
use crate::app::summaries::{self, raw_write, summary_write};
use crate::app::{health, receipts};

/// The kinds of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::app) enum OfItself {
    /// How far it has come with the logs of others.
    Receipt,
    /// What its sensors measured, a quarter of an hour at a time.
    Summary,
    /// What it knows of its devices.
    Health,
    /// Readings of its sensors.
    Raw,
}

impl OfItself {
    /// `None` for what is said of anything else.
    pub(in crate::app) fn of(kind: EntryKind) -> Option<OfItself> {
        match kind {
            receipts::KIND => Some(OfItself::Receipt),
            summaries::KIND => Some(OfItself::Summary),
            health::KIND => Some(OfItself::Health),
            summaries::RAW_KIND => Some(OfItself::Raw),
            _ => None,
        }
    }

    fn lane(self) -> Lane {
        match self {
            OfItself::Receipt | OfItself::Summary | OfItself::Health => Lane::Summary,
            OfItself::Raw => Lane::Raw,
        }
    }

    /// Several of them, in a sentence.
    fn word(self) -> &'static str {
        match self {
            OfItself::Receipt => "receipts",
            OfItself::Summary => "summaries",
            OfItself::Health => "device health",
            OfItself::Raw => "readings",
        }
    }

    /// What such an entry is for.
    pub(super) fn target(self, log: &LogId, header: &EntryHeader, payload: &Payload) -> Target {
        let lane = self.lane();
        if log.lane != lane {
            let lane = u8::from(lane);
            return Target::Refused(format!("this kind belongs into lane {lane}"));
        }
        if header.object != object_of(log.author) {
            let what = self.word();
            return Target::Refused(format!("a node writes {what} for itself alone"));
        }
        match payload {
            Payload::Sealed { .. } => Target::Carried,
            Payload::Plain(_) if log.group != GroupId::SHARED => {
                Target::Refused("only what is for everybody is not sealed".into())
            }
            Payload::Plain(bytes) => self.decode(log, bytes).unwrap_or_else(Target::Refused),
        }
    }

    /// What the bytes say; why they are refused otherwise. Those of a later version are carried.
    fn decode(self, log: &LogId, bytes: &[u8]) -> Result<Target, String> {
        let read = match self {
            OfItself::Receipt => receipts::decode(log, bytes)
                .map_err(|error| error.to_string())?
                .map(Target::Receipt),
            OfItself::Summary => summaries::decode(bytes)
                .map_err(|error| error.to_string())?
                .map(Target::Summary),
            OfItself::Health => health::decode(bytes)
                .map_err(|error| error.to_string())?
                .map(Target::Health),
            OfItself::Raw => summaries::decode_raw(bytes)
                .map_err(|_| "malformed readings".to_owned())?
                .map(Target::Raw),
        };
        Ok(read.unwrap_or(Target::Carried))
    }
}

/// The readings in a stored entry; `None` for any other entry.
pub(in crate::app) fn raw_in(log: &LogId, seq: Seq, entry_bytes: &[u8]) -> Option<RawWrite> {
    let Entry { header, payload } = Entry::decode(entry_bytes).ok()?;
    match target(log, &header, &payload) {
        Target::Raw(quarter) => {
            let place = EntryPlace::Log(*log, seq);
            Some(raw_write(log.author, place, &quarter))
        }
        _ => None,
    }
}

/// What a stored entry says that its author heard; `None` for any other entry.
pub(in crate::app) fn summary_in(
    log: &LogId,
    seq: Seq,
    entry_bytes: &[u8],
) -> Option<SummaryWrite> {
    let Entry { header, payload } = Entry::decode(entry_bytes).ok()?;
    match target(log, &header, &payload) {
        Target::Summary(said) => Some(summary_write(log.author, Some((*log, seq)), said)),
        _ => None,
    }
}

/// What a stored entry says of its author's devices; `None` for any other entry.
pub(in crate::app) fn health_in(log: &LogId, seq: Seq, entry_bytes: &[u8]) -> Option<HealthWrite> {
    let Entry { header, payload } = Entry::decode(entry_bytes).ok()?;
    match target(log, &header, &payload) {
        Target::Health(said) => Some(health::health_write(log.author, Some((*log, seq)), said)),
        _ => None,
    }
}
