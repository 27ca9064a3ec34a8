//! Which dead letters go when there are too many: those that are settled, then the oldest of what has most.
//!
//! What has most is a source, and in it a share: what has the first levels of its topic in common, which is a device in
//! most layouts of topics. So a broker that sends rubbish only ever pushes out its own, and a sensor that speaks another
//! language leaves the one letter of its neighbour where a person finds it. Who invents topics takes the room of its
//! source, and no other's.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use rusqlite::Connection;

/// Levels of a topic that name a share: `muster/v1/<device>`, `zigbee2mqtt/<device>`, `homeassistant/sensor/<device>`.
const SHARE_LEVELS: usize = 3;
/// And so much of them.
const SHARE_BYTES_MAX: usize = 96;
/// Made at once, as a part of all: counting the shares costs more than dropping some letters.
const AT_ONCE: u64 = 128;
/// Of one share at a time, before it is asked again which has most; it is a part of what the share has, if that is less.
const STEP_ROWS_MAX: u64 = 64;

/// How many dead letters there may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    pub(crate) rows_max: u64,
    /// Of their payloads.
    pub(crate) bytes_max: u64,
}

impl Default for Room {
    /// A device that sends nothing but rubbish must not fill the disk.
    fn default() -> Self {
        Room {
            rows_max: 100_000,
            bytes_max: 256 << 20,
        }
    }
}

/// Letters and the bytes of their payloads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

impl Amount {
    pub(super) fn add(&mut self, other: Amount) {
        self.rows += other.rows;
        self.bytes += other.bytes;
    }

    pub(super) fn remove(&mut self, other: Amount) {
        self.rows = self.rows.saturating_sub(other.rows);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}

/// As dead letters of a topic are grouped.
pub(super) fn share_of(topic: &str) -> &str {
    let levels = topic.match_indices('/').nth(SHARE_LEVELS - 1);
    let end = levels.map_or(topic.len(), |(end, _)| end);
    &topic[..topic.floor_char_boundary(end.min(SHARE_BYTES_MAX))]
}

impl Room {
    pub(super) fn is_full(&self, has: Amount) -> bool {
        has.rows > self.rows_max || has.bytes > self.bytes_max
    }

    /// Drops letters until there is room for some; answers how many.
    pub(super) fn make(
        &self,
        connection: &Connection,
        has: Amount,
    ) -> Result<Amount, rusqlite::Error> {
        let enough = Room {
            rows_max: self.rows_max - self.rows_max / AT_ONCE,
            bytes_max: self.bytes_max - self.bytes_max / AT_ONCE,
        };
        let mut left = has;
        while enough.is_full(left) {
            let dropped = drop_settled(connection)?;
            if dropped.rows == 0 {
                break;
            }
            left.remove(dropped);
        }
        if enough.is_full(left) {
            let mut shares = self.shares(connection)?;
            while enough.is_full(left) {
                let dropped = shares.drop_of_largest(connection)?;
                if dropped.rows == 0 {
                    break;
                }
                left.remove(dropped);
            }
        }
        let mut dropped = has;
        dropped.remove(left);
        Ok(dropped)
    }

    /// What letters take of both bounds, in bytes.
    fn cost(&self, amount: Amount) -> u64 {
        amount.bytes + amount.rows * (self.bytes_max / self.rows_max.max(1))
    }

    fn shares(&self, connection: &Connection) -> Result<Shares<'_>, rusqlite::Error> {
        let mut sources: BTreeMap<String, OfSource> = BTreeMap::new();
        let mut statement = connection.prepare_cached(
            "SELECT source, share, count(*), sum(bytes), min(id) FROM dead_letter INDEXED BY dead_letter_share \
             WHERE state = 0 GROUP BY source, share",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let amount = Amount {
                rows: crate::sql::wall(row, 2)?,
                bytes: crate::sql::wall(row, 3)?,
            };
            let of_source = sources.entry(row.get(0)?).or_default();
            of_source.cost += self.cost(amount);
            of_source.shares.push(Share {
                cost: self.cost(amount),
                oldest: Reverse(row.get(4)?),
                amount: amount.rows,
                name: row.get(1)?,
            });
        }
        Ok(Shares {
            room: self,
            sources,
        })
    }
}

/// Open letters by source and share.
struct Shares<'a> {
    room: &'a Room,
    sources: BTreeMap<String, OfSource>,
}

#[derive(Default)]
struct OfSource {
    cost: u64,
    shares: BinaryHeap<Share>,
}

/// The one that costs most is the greatest, and of two the one with the oldest letter.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Share {
    cost: u64,
    oldest: Reverse<i64>,
    amount: u64,
    name: String,
}

impl Shares<'_> {
    fn drop_of_largest(&mut self, connection: &Connection) -> Result<Amount, rusqlite::Error> {
        let largest = self.sources.iter_mut().max_by_key(|(_, it)| it.cost);
        let Some((source, of_source)) = largest else {
            return Ok(Amount::default());
        };
        let Some(mut share) = of_source.shares.pop() else {
            return Ok(Amount::default());
        };
        let step = (share.amount / STEP_ROWS_MAX).clamp(1, STEP_ROWS_MAX);
        let mut dropped = Amount::default();
        let mut statement = connection.prepare_cached(
            "DELETE FROM dead_letter WHERE id IN (SELECT id FROM dead_letter INDEXED BY dead_letter_share \
             WHERE state = 0 AND source = ?1 AND share = ?2 ORDER BY id LIMIT ?3) RETURNING bytes, id",
        )?;
        let mut rows = statement.query((&source, &share.name, step.cast_signed()))?;
        while let Some(row) = rows.next()? {
            dropped.add(one(row)?);
            let next: i64 = row.get::<_, i64>(1)? + 1;
            share.oldest = share.oldest.min(Reverse(next));
        }
        let cost = self.room.cost(dropped);
        of_source.cost = of_source.cost.saturating_sub(cost);
        share.cost = share.cost.saturating_sub(cost);
        share.amount = share.amount.saturating_sub(dropped.rows);
        if share.amount > 0 && dropped.rows > 0 {
            of_source.shares.push(share);
        }
        Ok(dropped)
    }
}

fn drop_settled(connection: &Connection) -> Result<Amount, rusqlite::Error> {
    let mut dropped = Amount::default();
    let mut statement = connection.prepare_cached(
        "DELETE FROM dead_letter WHERE id IN (SELECT id FROM dead_letter INDEXED BY dead_letter_settled \
         WHERE state <> 0 ORDER BY id LIMIT ?1) RETURNING bytes",
    )?;
    let mut rows = statement.query([STEP_ROWS_MAX.cast_signed()])?;
    while let Some(row) = rows.next()? {
        dropped.add(one(row)?);
    }
    Ok(dropped)
}

fn one(row: &rusqlite::Row<'_>) -> Result<Amount, rusqlite::Error> {
    Ok(Amount {
        rows: 1,
        bytes: crate::sql::wall(row, 0)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_device_in_most_layouts_of_topics() {
        for (topic, share) in [
            ("help", "help"),
            ("zigbee2mqtt/door", "zigbee2mqtt/door"),
            ("muster/v1/gauge/level", "muster/v1/gauge"),
            (
                "homeassistant/sensor/door/config",
                "homeassistant/sensor/door",
            ),
            ("/a/b/c", "/a/b"),
            ("", ""),
        ] {
            assert_eq!(share_of(topic), share, "{topic}");
        }
        assert!(share_of(&"ü".repeat(200)).len() <= SHARE_BYTES_MAX);
    }
}
