//! Payloads that could not be read: kept with their bytes and the reason, until a person replays or discards them, or
//! they are too old or too many.
//!
//! Always holds: there are no more of them than [`Room`] says; which go first, and why, is said there.

mod room;

use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, Row, params};

pub(crate) use self::room::Room;
use self::room::{Amount, share_of};

use super::types::{Delivery, NewDeadLetter};
use crate::error::{Doing, StoreError};

/// Loss is told so often, however much there is.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Rows that one step of upkeep deletes, each with up to some KiB of payload: acknowledgements wait for it.
const STEP_ROWS: u64 = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadLetterState {
    Open,
    Replayed,
    Discarded,
}

impl DeadLetterState {
    fn code(self) -> u8 {
        match self {
            DeadLetterState::Open => 0,
            DeadLetterState::Replayed => 1,
            DeadLetterState::Discarded => 2,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    pub id: i64,
    pub source: String,
    pub topic: String,
    /// See [`NewDeadLetter`].
    pub decoder: String,
    pub reason: String,
    /// See [`NewDeadLetter`].
    pub code: String,
    pub received_ms: i64,
    /// See [`NewDeadLetter`].
    pub kept: bool,
    /// See [`NewDeadLetter`].
    pub anonymous: bool,
    pub payload: Vec<u8>,
    /// How often it was tried to read it.
    pub attempts: u32,
    pub state: DeadLetterState,
    /// When the node tries again by itself, Unix milliseconds.
    pub retry_at_ms: Option<i64>,
}

/// Why another attempt failed; as in [`NewDeadLetter`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterFailure {
    pub decoder: String,
    pub reason: String,
    pub code: String,
    pub retry_at_ms: Option<i64>,
}

/// Which dead letters to list: newest first.
#[derive(Debug, Clone, Default)]
pub struct DeadLetterQuery {
    pub state: Option<DeadLetterState>,
    pub source: Option<String>,
    /// Part of the topic, in any case.
    pub topic: Option<String>,
    /// See [`NewDeadLetter`].
    pub code: Option<String>,
    /// Id of the last item of the page before.
    pub before: Option<i64>,
    pub limit: usize,
}

/// The writer's account of what is there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeadLetters {
    room: Room,
    now: Account,
    committed: Account,
    /// When loss was told, and how much had been lost then.
    told: Option<(Instant, u64)>,
    /// The open transaction came, settled or dropped some.
    changed: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Account {
    has: Amount,
    /// To make room, since this process began.
    dropped: u64,
}

/// All of them and their bytes, counted where no payload stands.
const ACCOUNT: &str =
    "SELECT count(*), coalesce(sum(bytes), 0) FROM dead_letter INDEXED BY dead_letter_listed";

impl DeadLetters {
    pub(crate) fn load(connection: &Connection, room: Room) -> Result<Self, StoreError> {
        let (rows, bytes) = connection
            .query_row(ACCOUNT, [], |row| {
                Ok((crate::sql::wall(row, 0)?, crate::sql::wall(row, 1)?))
            })
            .doing("count dead letters")?;
        let account = Account {
            has: Amount { rows, bytes },
            dropped: 0,
        };
        Ok(DeadLetters {
            room,
            now: account,
            committed: account,
            told: None,
            changed: false,
        })
    }

    /// Answers whether it is new: a copy that a broker kept comes with every connection, and is one letter.
    pub(crate) fn insert(
        &mut self,
        connection: &Connection,
        dead: &NewDeadLetter,
        delivery: Option<&Delivery>,
        position: i64,
    ) -> Result<bool, rusqlite::Error> {
        let inserted = connection
            .prepare_cached(
                "INSERT INTO dead_letter (source, topic, reason, received_ms, payload, session, packet, hash, position, \
                 decoder, code, retry_at_ms, bytes, share, copy, anonymous) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, length(?5), ?13, ?14, ?15) \
                 ON CONFLICT (source, topic, copy) WHERE copy IS NOT NULL DO NOTHING",
            )?
            .execute(params![
                dead.source,
                dead.topic,
                dead.reason,
                dead.received_ms,
                dead.payload,
                delivery.map(|delivery| delivery.session.0),
                delivery.map(|delivery| delivery.packet_id),
                delivery.map(|delivery| delivery.payload_hash.cast_signed()),
                position,
                dead.decoder,
                dead.code,
                dead.retry_at_ms,
                share_of(&dead.topic),
                dead.kept.then(|| copy_number(&dead.payload)),
                dead.anonymous,
            ])?;
        if inserted == 0 {
            return Ok(false);
        }
        self.changed = true;
        self.now.has.add(Amount {
            rows: 1,
            bytes: dead.payload.len() as u64,
        });
        if self.room.is_full(self.now.has) {
            let dropped = self.room.make(connection, self.now.has)?;
            self.now.has.remove(dropped);
            self.now.dropped += dropped.rows;
        }
        Ok(true)
    }

    /// One step of dropping what came before a time; answers whether more is left.
    pub(crate) fn expire(
        &mut self,
        connection: &Connection,
        before_ms: i64,
    ) -> Result<bool, StoreError> {
        self.drop_oldest(connection, before_ms, STEP_ROWS)
            .map(|gone| gone == STEP_ROWS)
            .doing("drop old dead letters")
    }

    fn drop_oldest(
        &mut self,
        connection: &Connection,
        older_than_ms: i64,
        rows_max: u64,
    ) -> Result<u64, rusqlite::Error> {
        let gone: Vec<u64> = connection
            .prepare_cached(
                "DELETE FROM dead_letter WHERE id IN (SELECT id FROM dead_letter WHERE received_ms < ?1 \
                 ORDER BY received_ms, id LIMIT ?2) RETURNING bytes",
            )?
            .query_map((older_than_ms, rows_max.cast_signed()), |row| crate::sql::wall(row, 0))?
            .collect::<Result<_, _>>()?;
        let rows = gone.len() as u64;
        self.changed |= rows > 0;
        self.now.has.remove(Amount {
            rows,
            bytes: gone.iter().sum(),
        });
        Ok(rows)
    }

    /// The open transaction settles one.
    pub(crate) fn note_change(&mut self) {
        self.changed = true;
    }

    /// After a commit: whether the list is another one than before.
    pub(crate) fn take_change(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Answers how many had to make room since this process began.
    pub(crate) fn commit(&mut self) -> u64 {
        self.committed = self.now;
        let dropped = self.now.dropped;
        let told_of = self.told.map_or(0, |(_, dropped)| dropped);
        let is_time = self.told.is_none_or(|(at, _)| at.elapsed() >= TELL_EVERY);
        if dropped > told_of && is_time {
            tracing::warn!(
                dropped = dropped - told_of,
                "dead letters are full: some were dropped, of those that nobody has settled the oldest of what has most"
            );
            self.told = Some((Instant::now(), dropped));
        }
        dropped
    }

    pub(crate) fn roll_back(&mut self) {
        self.now = self.committed;
        self.changed = false;
    }
}

/// Tells a copy of a topic from another that was kept there later.
fn copy_number(payload: &[u8]) -> i64 {
    let mut number = [0; 8];
    number.copy_from_slice(&blake3::hash(payload).as_bytes()[..8]);
    i64::from_le_bytes(number)
}

/// A copy that a broker kept is one that has a number.
const COLUMNS: &str = "id, source, topic, reason, received_ms, payload, attempts, state, decoder, code, retry_at_ms, \
                       copy IS NOT NULL, anonymous";

fn dead_letter(row: &Row<'_>) -> rusqlite::Result<DeadLetter> {
    Ok(DeadLetter {
        id: row.get(0)?,
        source: row.get(1)?,
        topic: row.get(2)?,
        reason: row.get(3)?,
        received_ms: row.get(4)?,
        payload: row.get(5)?,
        attempts: row.get(6)?,
        state: match row.get::<_, u8>(7)? {
            0 => DeadLetterState::Open,
            1 => DeadLetterState::Replayed,
            _ => DeadLetterState::Discarded,
        },
        decoder: row.get(8)?,
        code: row.get(9)?,
        retry_at_ms: row.get(10)?,
        kept: row.get(11)?,
        anonymous: row.get(12)?,
    })
}

/// Those whose time has come, the most overdue first.
pub(crate) fn due(
    connection: &Connection,
    now_ms: i64,
    limit: usize,
) -> Result<Vec<DeadLetter>, StoreError> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM dead_letter WHERE retry_at_ms <= ?1 AND state = 0 ORDER BY retry_at_ms LIMIT ?2"
        ))
        .and_then(|mut statement| {
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            statement.query_map((now_ms, limit), dead_letter)?.collect()
        })
        .doing("read dead letters that are due")
}

/// Ids of what a [`DeadLetterQuery`] asks for, from the index that has all that it can ask for: however rare that is, no
/// payload is read on the way to it. Its parameters are [`asked`].
const ASKED: &str = "SELECT id FROM dead_letter INDEXED BY dead_letter_listed \
                     WHERE id < ?1 AND (?2 IS NULL OR state = ?2) AND (?3 IS NULL OR source = ?3) \
                     AND (?4 IS NULL OR instr(lower(topic), lower(?4)) > 0) AND (?5 IS NULL OR code = ?5) \
                     ORDER BY id DESC LIMIT ?6";

fn asked(query: &DeadLetterQuery) -> impl rusqlite::Params + '_ {
    (
        query.before.unwrap_or(i64::MAX),
        query.state.map(DeadLetterState::code),
        &query.source,
        &query.topic,
        &query.code,
        i64::try_from(query.limit).unwrap_or(i64::MAX),
    )
}

fn listed() -> String {
    format!("SELECT {COLUMNS} FROM ({ASKED}) CROSS JOIN dead_letter USING (id) ORDER BY id DESC")
}

pub(crate) fn list(
    connection: &Connection,
    query: &DeadLetterQuery,
) -> Result<Vec<DeadLetter>, StoreError> {
    connection
        .prepare_cached(&listed())
        .and_then(|mut statement| statement.query_map(asked(query), dead_letter)?.collect())
        .doing("list dead letters")
}

/// Only their ids: payloads together may be more than memory has room for.
pub(crate) fn ids(
    connection: &Connection,
    query: &DeadLetterQuery,
) -> Result<Vec<i64>, StoreError> {
    connection
        .prepare_cached(ASKED)
        .and_then(|mut statement| {
            statement
                .query_map(asked(query), |row| row.get(0))?
                .collect()
        })
        .doing("list ids of dead letters")
}

pub(crate) fn get(connection: &Connection, id: i64) -> Result<Option<DeadLetter>, StoreError> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM dead_letter WHERE id = ?1"))
        .and_then(|mut statement| statement.query_row([id], dead_letter).optional())
        .doing("read dead letter")
}

/// Those that nobody has settled, counted where no payload stands.
const OPEN: &str = "SELECT count(*) FROM dead_letter INDEXED BY dead_letter_share WHERE state = 0";

pub(crate) fn open_count(connection: &Connection) -> Result<u64, StoreError> {
    connection
        .prepare_cached(OPEN)
        .and_then(|mut statement| statement.query_row([], |row| crate::sql::wall(row, 0)))
        .doing("count dead letters")
}

/// Its readings are stored in the same transaction, if this answers that it was open.
pub(crate) fn mark_replayed(connection: &Connection, id: i64) -> Result<bool, rusqlite::Error> {
    let changed = connection
        .prepare_cached(
            "UPDATE dead_letter SET state = 1, attempts = attempts + 1, retry_at_ms = NULL \
             WHERE id = ?1 AND state = 0",
        )?
        .execute([id])?;
    Ok(changed > 0)
}

/// A person gave these up; answers how many of them were open.
pub(crate) fn discard(connection: &Connection, ids: &[i64]) -> Result<u64, StoreError> {
    let discard = || -> Result<usize, rusqlite::Error> {
        let mut statement = connection.prepare_cached(
            "UPDATE dead_letter SET state = 2, retry_at_ms = NULL WHERE id = ?1 AND state = 0",
        )?;
        ids.iter().map(|id| statement.execute([id])).sum()
    };
    discard()
        .map(|changed| changed as u64)
        .doing("discard dead letters")
}

/// It was tried again and still cannot be read.
pub(crate) fn mark_failed(
    connection: &Connection,
    id: i64,
    failure: &DeadLetterFailure,
) -> Result<(), StoreError> {
    connection
        .execute(
            "UPDATE dead_letter SET attempts = attempts + 1, reason = ?2, code = ?3, decoder = ?4, retry_at_ms = ?5 \
             WHERE id = ?1 AND state = 0",
            (
                id,
                &failure.reason,
                &failure.code,
                &failure.decoder,
                failure.retry_at_ms,
            ),
        )
        .doing("note failed replay")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn plan(sql: &str) -> Vec<String> {
        let connection = Connection::open_in_memory().unwrap();
        for step in crate::migrate::READINGS {
            connection.execute_batch(step).unwrap();
        }
        let mut explained = connection
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .unwrap();
        let steps = explained.raw_query();
        let steps = steps.mapped(|row| row.get("detail"));
        steps.collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn letters_are_counted_and_looked_for_without_reading_their_payloads() {
        for sql in [OPEN, ACCOUNT, ASKED] {
            let plan = plan(sql);
            let reads = |step: &&String| step.contains("dead_letter");
            assert!(plan.iter().any(|step| reads(&step)), "{plan:?}");
            for step in plan.iter().filter(reads) {
                assert!(step.contains("USING COVERING INDEX"), "{sql}: {plan:?}");
            }
        }
    }

    #[test]
    fn a_list_reads_the_rows_of_its_letters_only_and_sorts_none_of_them() {
        for sql in [ASKED, &listed()] {
            let plan = plan(sql);
            assert!(
                !plan.iter().any(|step| step.contains("TEMP B-TREE")),
                "{sql}: {plan:?}"
            );
        }
        let plan = plan(&listed());
        let row = "SEARCH dead_letter USING INTEGER PRIMARY KEY (rowid=?)";
        assert!(plan.iter().any(|step| step == row), "{plan:?}");
    }
}
