//! What a receipt says, as bytes: a version, then per life of an author the heights of its logs.
//!
//! `version (1 byte) | postcard(Vec<Part>)`. Ids stand once per author and incarnation, numbers are varints. The logs
//! are of the group whose log the receipt stands in. There is one encoding of what is said, and no other is read: a
//! receipt that is malformed on one node is malformed on every one.
//!
//! Its size: 2 bytes, 41 for each life of an author, and for each of its logs 2 and a varint of the height (2 bytes up to
//! 16,383 entries, 3 up to 2 million); where something is not applied the varint of how much takes the place of one of the
//! 2. One that names all four logs of [`PARTS_MAX`] lives is 3.9 KB with logs of 2 million entries, and at the very worst,
//! with the highest positions there are and nothing applied, below 6 KB.

use serde::{Deserialize, Serialize};
use sync_engine::{EntryKind, Incarnation, Lane, LogId, NodeId, ProgressItem, Seq};

use super::is_about;

/// Number on the wire, for ever; 0x0301 and up are what a node says of itself.
pub(in crate::app) const KIND: EntryKind = EntryKind(0x0301);

const VERSION: u8 = 1;

/// Authors' lives in one receipt: at most 4 KiB unless logs are millions of entries long, so that it fits one frame of a
/// thin link and needs one signature. A node that has just caught up writes several.
const PARTS_MAX: usize = 64;

#[derive(Serialize, Deserialize)]
struct Part {
    author: NodeId,
    incarnation: Incarnation,
    logs: Vec<Log>,
}

#[derive(Serialize, Deserialize)]
struct Log {
    lane: Lane,
    stored: Seq,
    /// Stored entries from the first that is not applied on: 0 nearly always, and one byte then.
    unapplied: u64,
}

/// Bytes that no node writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed receipt")]
pub(in crate::app) struct Malformed;

/// The payloads that say all of `items`, which are logs of one group in their order.
pub(super) fn encode(items: &[ProgressItem]) -> Vec<Vec<u8>> {
    let parts: Vec<Part> = items
        .chunk_by(|a, b| part_of(&a.log) == part_of(&b.log))
        .filter_map(|logs| {
            let first = logs.first()?;
            Some(Part {
                author: first.log.author,
                incarnation: first.log.incarnation,
                logs: logs
                    .iter()
                    .map(|item| Log {
                        lane: item.log.lane,
                        stored: item.stored,
                        unapplied: item.stored.0.saturating_sub(item.applied.0),
                    })
                    .collect(),
            })
        })
        .collect();
    parts
        .chunks(PARTS_MAX)
        .map(|parts| {
            let mut bytes = vec![VERSION];
            // Writing to memory does not fail.
            bytes.extend(postcard::to_allocvec(parts).unwrap_or_default());
            bytes
        })
        .collect()
}

/// What a receipt in `log` says; `None` for a version that this program does not know, which is kept and passed on.
///
/// # Errors
/// [`Malformed`].
pub(in crate::app) fn decode(
    log: &LogId,
    bytes: &[u8],
) -> Result<Option<Vec<ProgressItem>>, Malformed> {
    let (version, rest) = bytes.split_first().ok_or(Malformed)?;
    match *version {
        0 => return Err(Malformed),
        VERSION => {}
        _ => return Ok(None),
    }
    let parts: Vec<Part> = match postcard::take_from_bytes(rest) {
        Ok((parts, [])) => parts,
        _ => return Err(Malformed),
    };
    let in_order = parts.is_sorted_by(|a, b| (a.author, a.incarnation) < (b.author, b.incarnation));
    if parts.is_empty() || parts.len() > PARTS_MAX || !in_order {
        return Err(Malformed);
    }
    let mut items = Vec::new();
    for part in &parts {
        let in_order = part.logs.is_sorted_by(|a, b| a.lane < b.lane);
        if part.logs.is_empty() || !in_order {
            return Err(Malformed);
        }
        for said in &part.logs {
            if !is_about(said.lane) || said.stored == Seq::NONE {
                return Err(Malformed);
            }
            let applied = said.stored.0.checked_sub(said.unapplied);
            items.push(ProgressItem {
                log: LogId {
                    author: part.author,
                    incarnation: part.incarnation,
                    group: log.group,
                    lane: said.lane,
                },
                stored: said.stored,
                applied: Seq(applied.ok_or(Malformed)?),
            });
        }
    }
    Ok(Some(items))
}

fn part_of(log: &LogId) -> (NodeId, Incarnation) {
    (log.author, log.incarnation)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use sync_engine::GroupId;

    use super::*;

    fn log(author: u8, lane: Lane) -> LogId {
        LogId {
            author: NodeId([author; 32]),
            incarnation: Incarnation(7),
            group: GroupId::SHARED,
            lane,
        }
    }

    fn item(author: u8, lane: Lane, stored: u64, applied: u64) -> ProgressItem {
        ProgressItem {
            log: log(author, lane),
            stored: Seq(stored),
            applied: Seq(applied),
        }
    }

    fn read(bytes: &[u8]) -> Result<Option<Vec<ProgressItem>>, Malformed> {
        decode(&log(9, Lane::Summary), bytes)
    }

    #[test]
    fn what_is_said_reads_back_in_as_many_receipts_as_it_needs() {
        let items: Vec<ProgressItem> = (0..150)
            .flat_map(|author| {
                [
                    item(author, Lane::Flash, 1, 0),
                    item(author, Lane::Coordination, 1 << 40, (1 << 40) - 3),
                ]
            })
            .collect();
        let receipts = encode(&items);
        assert_eq!(receipts.len(), 3);
        let back: Vec<ProgressItem> = receipts
            .iter()
            .flat_map(|bytes| read(bytes).unwrap().unwrap())
            .collect();
        assert_eq!(back, items);
        assert_eq!(encode(&[]), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn the_bytes_of_version_1_never_change() {
        let bytes = encode(&[
            item(1, Lane::Life, 300, 298),
            item(1, Lane::Coordination, 5, 5),
        ]);
        let mut expected = vec![1, 1];
        expected.extend([1; 32]);
        expected.extend(7_u64.to_le_bytes());
        expected.extend([2, 2, 0xac, 0x02, 2, 3, 5, 0]);
        assert_eq!(bytes, [expected]);
    }

    /// The four logs of each of so many authors.
    fn all_logs(authors: u8, stored: u64, applied: u64) -> Vec<ProgressItem> {
        (0..authors)
            .flat_map(|author| super::super::LANES.map(|lane| item(author, lane, stored, applied)))
            .collect()
    }

    fn size(items: &[ProgressItem]) -> usize {
        let receipts = encode(items);
        assert_eq!(receipts.len(), 1);
        receipts[0].len()
    }

    #[test]
    fn a_receipt_takes_two_bytes_41_an_author_and_2_and_a_height_for_each_log() {
        assert_eq!(size(&[item(1, Lane::Life, 9, 9)]), 2 + 41 + 3);
        assert_eq!(size(&[item(1, Lane::Life, 1_234, 1_230)]), 2 + 41 + 4);
        assert_eq!(size(&all_logs(1, 127, 127)), 2 + 41 + 4 * 3);
        assert_eq!(size(&all_logs(20, 16_383, 16_383)), 2 + 20 * (41 + 4 * 4));
    }

    #[test]
    fn the_largest_receipt_of_logs_with_two_million_entries_fits_a_frame_of_a_thin_link() {
        let authors = PARTS_MAX as u8;
        assert_eq!(size(&all_logs(authors, 2_000_000, 2_000_000)), 3_906);
        // The highest position that a log has on a disk.
        let last = (1 << 40) - 1;
        let worst = size(&all_logs(authors, last, 0));
        assert!((4_096..6 * 1_024).contains(&worst), "{worst}");
    }

    #[test]
    fn another_version_is_kept_unread_and_what_no_node_writes_is_malformed() {
        assert_eq!(read(&[2, 0xff, 0xff]), Ok(None));
        assert_eq!(read(&[]), Err(Malformed));
        assert_eq!(read(&[0]), Err(Malformed));
        assert_eq!(read(&[VERSION, 0]), Err(Malformed), "says nothing");
        let malformed = |items: &[ProgressItem]| {
            let parts = encode(items);
            assert_eq!(read(&parts[0]), Err(Malformed), "{items:?}");
        };
        malformed(&[item(1, Lane::Summary, 1, 1)]);
        malformed(&[item(1, Lane::Life, 0, 0)]);
        malformed(&[item(2, Lane::Life, 1, 1), item(1, Lane::Life, 1, 1)]);
        malformed(&[item(1, Lane::Life, 1, 1), item(1, Lane::Life, 2, 2)]);
        let mut longer = encode(&[item(1, Lane::Life, 1, 1)]).remove(0);
        longer.push(0);
        assert_eq!(read(&longer), Err(Malformed));
        let mut more_unapplied_than_stored = encode(&[item(1, Lane::Life, 1, 1)]).remove(0);
        *more_unapplied_than_stored.last_mut().unwrap() = 2;
        assert_eq!(read(&more_unapplied_than_stored), Err(Malformed));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_what_is_read_is_written_the_same(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
            versioned in any::<bool>(),
        ) {
            if versioned && let Some(first) = bytes.first_mut() {
                *first = VERSION;
            }
            if let Ok(Some(items)) = read(&bytes) {
                // A varint has longer forms of one number; what it says is the same.
                let again = encode(&items);
                prop_assert_eq!(read(&again[0]).unwrap().unwrap(), items);
            }
        }
    }
}
