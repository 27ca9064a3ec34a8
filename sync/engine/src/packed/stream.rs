//! What a lane's stream has named before: logs and ids are long and random, and the same ones come again and again.
//!
//! Invariant: both ends of a stream keep the same table, because both put into it what the frames name in full, in the
//! order of the frames, until it is full. So every packed frame that was made for a stream has to be sent on it, and
//! every one that comes has to be read, in order.

use std::collections::BTreeMap;

use super::columns::{Id, put_unsigned, take_array, take_unsigned};
use crate::ids::{GroupId, Incarnation, Lane, LogId, NodeId};

/// Logs and ids remembered per stream. What comes later is named in full each time.
const LOGS_MAX: usize = 4096;
const IDS_MAX: usize = 4096;

/// Before a log or an id in full. Numbers of known ones follow, from [`KNOWN`] on.
const NEW: u64 = 0;
/// Before a log in full whose group is not `shared`.
const NEW_IN_GROUP: u64 = 1;
const KNOWN: u64 = 2;

/// The sender's end of one stream: some 500 KB at worst, if we had so many logs to send.
#[derive(Debug, Default)]
pub(crate) struct StreamTable {
    logs: BTreeMap<LogId, usize>,
    ids: BTreeMap<Id, usize>,
}

impl StreamTable {
    /// Names a log of the stream's lane.
    pub(super) fn put_log(&mut self, out: &mut Vec<u8>, log: &LogId) {
        if let Some(number) = self.logs.get(log) {
            return put_unsigned(out, KNOWN + *number as u64);
        }
        if self.logs.len() < LOGS_MAX {
            self.logs.insert(*log, self.logs.len());
        }
        let shared = log.group == GroupId::SHARED;
        put_unsigned(out, if shared { NEW } else { NEW_IN_GROUP });
        out.extend_from_slice(&log.author.0);
        out.extend_from_slice(&log.incarnation.0.to_le_bytes());
        if !shared {
            out.extend_from_slice(&log.group.0);
        }
    }

    pub(super) fn put_id(&mut self, out: &mut Vec<u8>, id: &Id) {
        if let Some(number) = self.ids.get(id) {
            return put_unsigned(out, KNOWN + *number as u64);
        }
        if self.ids.len() < IDS_MAX {
            self.ids.insert(*id, self.ids.len());
        }
        put_unsigned(out, NEW);
        out.extend_from_slice(id);
    }
}

/// The receiver's end of one stream: some 330 KB at worst, whatever the peer sends.
#[derive(Debug)]
pub(crate) struct StreamNames {
    lane: Lane,
    logs: Vec<LogId>,
    ids: Vec<Id>,
}

impl StreamNames {
    pub(crate) const fn new(lane: Lane) -> Self {
        Self {
            lane,
            logs: Vec::new(),
            ids: Vec::new(),
        }
    }

    pub(super) fn take_log(&mut self, rest: &mut &[u8]) -> Option<LogId> {
        let form = take_unsigned(rest)?;
        if let Some(number) = form.checked_sub(KNOWN) {
            return self.logs.get(usize::try_from(number).ok()?).copied();
        }
        let log = LogId {
            author: NodeId(take_array(rest)?),
            incarnation: Incarnation(u64::from_le_bytes(take_array(rest)?)),
            group: match form {
                NEW_IN_GROUP => GroupId(take_array(rest)?),
                _ => GroupId::SHARED,
            },
            lane: self.lane,
        };
        if self.logs.len() < LOGS_MAX {
            self.logs.push(log);
        }
        Some(log)
    }

    pub(super) fn take_id(&mut self, rest: &mut &[u8]) -> Option<Id> {
        let form = take_unsigned(rest)?;
        if let Some(number) = form.checked_sub(KNOWN) {
            return self.ids.get(usize::try_from(number).ok()?).copied();
        }
        let id = take_array(rest)?;
        if self.ids.len() < IDS_MAX {
            self.ids.push(id);
        }
        Some(id)
    }
}
