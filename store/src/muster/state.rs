//! What the writer of muster.db keeps in memory: counters, the heads of all logs, the tails of its own.
//!
//! Always holds: it says what the open transaction says. Every change is noted, so that a batch or a whole transaction
//! that fails takes the memory back with it.

use std::collections::{BTreeMap, HashMap};

use ed25519_dalek::SigningKey;
use rusqlite::{Connection, OptionalExtension};
use sync_engine::{
    ChainHash, Head, HeadSignature, Incarnation, LogId, LogTail, NodeId, RUN_BYTES_MAX, Run,
    RunBuilder, Seq,
};

use super::identity::Identity;
use crate::error::{CommitError, Doing, StoreError};
use crate::sql::{LOG_NO_MAX, SEQ_MAX, blob, entry_at, entry_seq, log_id};

/// The last number of each sequence that the writer gives out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counters {
    pub(crate) commit: i64,
    pub(crate) journal: i64,
    pub(crate) event: i64,
}

pub(crate) struct Author {
    pub(crate) node: NodeId,
    pub(crate) incarnation: Incarnation,
    key: SigningKey,
}

impl Author {
    pub(crate) fn of(identity: &Identity) -> Self {
        let key = SigningKey::from_bytes(&identity.node_secret);
        Author {
            node: NodeId(key.verifying_key().to_bytes()),
            incarnation: identity.incarnation,
            key,
        }
    }
}

#[derive(Clone)]
struct Log {
    no: i64,
    head: Head,
    /// Only while this node appends to it.
    tail: Option<LogTail>,
}

/// Entries of an own log in the open transaction, on their way to a run.
struct Fresh {
    prev: ChainHash,
    first: Seq,
    /// Bytes, and the chain hash there.
    entries: Vec<(Vec<u8>, ChainHash)>,
    signatures: Vec<(Seq, HeadSignature)>,
    /// The last batch that wrote to it gets the runs.
    batch: usize,
}

enum Undo {
    Log {
        id: LogId,
        before: Option<Log>,
    },
    Fresh {
        id: LogId,
        before: Option<FreshMark>,
    },
}

struct FreshMark {
    entries: usize,
    signatures: usize,
    batch: usize,
}

/// A point to return to.
pub(crate) struct Mark {
    undo: usize,
    counters: Counters,
}

pub(crate) struct State {
    pub(crate) counters: Counters,
    pub(crate) author: Option<Author>,
    logs: HashMap<LogId, Log>,
    log_no_last: i64,
    fresh: BTreeMap<LogId, Fresh>,
    undo: Vec<Undo>,
}

/// What one log got in a transaction: for the last batch that wrote to it.
pub(crate) struct Grown {
    pub(crate) batch: usize,
    pub(crate) log: LogId,
    pub(crate) head: Head,
    pub(crate) runs: Vec<Run>,
}

impl State {
    pub(crate) fn load(connection: &Connection) -> Result<Self, StoreError> {
        let counters = connection
            .query_row(
                "SELECT (SELECT coalesce(max(commit_no), 0) FROM commit_info), \
                 (SELECT coalesce(max(position), 0) FROM journal), (SELECT coalesce(max(position), 0) FROM event)",
                [],
                |row| Ok(Counters { commit: row.get(0)?, journal: row.get(1)?, event: row.get(2)? }),
            )
            .doing("read counters")?;
        let mut logs = HashMap::new();
        let mut log_no_last = 0;
        let mut statement = connection
            .prepare("SELECT author, incarnation, grp, lane, no, floor, floor_chain FROM log")
            .doing("prepare logs")?;
        let mut rows = statement.query([]).doing("read logs")?;
        while let Some(row) = rows.next().doing("read logs")? {
            let read = |row: &rusqlite::Row<'_>| -> rusqlite::Result<(LogId, i64, i64, [u8; 32])> {
                Ok((log_id(row, 0)?, row.get(4)?, row.get(5)?, blob(row, 6)?))
            };
            let (id, no, floor, floor_chain) = read(row).doing("read logs")?;
            let head = match stored_head(connection, no)? {
                Some(head) => head,
                None => Head {
                    seq: Seq(u64::try_from(floor - 1).unwrap_or(0)),
                    chain: ChainHash(floor_chain),
                },
            };
            log_no_last = log_no_last.max(no);
            logs.insert(
                id,
                Log {
                    no,
                    head,
                    tail: None,
                },
            );
        }
        let author = super::identity::get(connection)?.map(|identity| Author::of(&identity));
        Ok(State {
            counters,
            author,
            logs,
            log_no_last,
            fresh: BTreeMap::new(),
            undo: Vec::new(),
        })
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark {
            undo: self.undo.len(),
            counters: self.counters,
        }
    }

    /// Takes back everything since the mark.
    pub(crate) fn roll_back(&mut self, mark: &Mark) {
        self.counters = mark.counters;
        while self.undo.len() > mark.undo {
            match self.undo.pop() {
                Some(Undo::Log {
                    id,
                    before: Some(before),
                }) => {
                    self.logs.insert(id, before);
                }
                Some(Undo::Log { id, before: None }) => {
                    self.logs.remove(&id);
                    self.log_no_last = self.logs.values().map(|log| log.no).max().unwrap_or(0);
                }
                Some(Undo::Fresh { id, before: None }) => {
                    self.fresh.remove(&id);
                }
                Some(Undo::Fresh {
                    id,
                    before: Some(before),
                }) => {
                    if let Some(fresh) = self.fresh.get_mut(&id) {
                        fresh.entries.truncate(before.entries);
                        fresh.signatures.truncate(before.signatures);
                        fresh.batch = before.batch;
                    }
                }
                None => break,
            }
        }
    }

    /// The log's number and head; a log that nobody knew gets a number.
    pub(crate) fn log(
        &mut self,
        connection: &Connection,
        id: &LogId,
    ) -> Result<(i64, Head), CommitError> {
        if let Some(log) = self.logs.get(id) {
            return Ok((log.no, log.head));
        }
        let no = self.log_no_last + 1;
        if no > LOG_NO_MAX {
            return Err(CommitError::fault("too many logs"));
        }
        connection
            .prepare_cached(
                "INSERT INTO log (no, author, incarnation, grp, lane, floor_chain) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(rusqlite::params![
                no,
                &id.author.0[..],
                id.incarnation.0.cast_signed(),
                &id.group.0[..],
                id.lane as u8,
                &ChainHash::ZERO.0[..]
            ])?;
        super::receipts::log_known(connection, id, no)?;
        self.undo.push(Undo::Log {
            id: *id,
            before: None,
        });
        self.logs.insert(
            *id,
            Log {
                no,
                head: Head::EMPTY,
                tail: None,
            },
        );
        self.log_no_last = no;
        Ok((no, Head::EMPTY))
    }

    /// Number of a log that must be known.
    pub(crate) fn log_no(&self, id: &LogId) -> Option<i64> {
        self.logs.get(id).map(|log| log.no)
    }

    /// Moves a peer's log to a new head.
    pub(crate) fn set_head(&mut self, id: &LogId, head: Head) -> Result<(), CommitError> {
        if head.seq.0 > SEQ_MAX {
            return Err(CommitError::fault(
                "a log is longer than the store can number",
            ));
        }
        let log = self
            .logs
            .get_mut(id)
            .ok_or_else(|| CommitError::fault("head of an unknown log"))?;
        self.undo.push(Undo::Log {
            id: *id,
            before: Some(log.clone()),
        });
        log.head = head;
        // A run of our own log, taken back from a peer: the tail goes on behind it.
        log.tail = None;
        Ok(())
    }

    /// Appends to an own log. Answers its number, sequence and chain hash; stores a signature that is due before it.
    pub(crate) fn append(
        &mut self,
        connection: &Connection,
        id: &LogId,
        bytes: &[u8],
        batch: usize,
    ) -> Result<(i64, Seq, ChainHash), CommitError> {
        let (no, head) = self.log(connection, id)?;
        let log = self
            .logs
            .get_mut(id)
            .ok_or_else(|| CommitError::fault("own log vanished"))?;
        let author = self
            .author
            .as_ref()
            .ok_or_else(|| CommitError::fault("this node has no identity yet"))?;
        if head.seq.0 >= SEQ_MAX {
            return Err(CommitError::fault(
                "an own log is longer than the store can number",
            ));
        }
        self.undo.push(Undo::Log {
            id: *id,
            before: Some(log.clone()),
        });
        let tail = log
            .tail
            .get_or_insert_with(|| LogTail::resume(*id, head.seq, head.chain, 0));
        let pushed = tail.push(bytes, &author.key);
        log.head = Head {
            seq: pushed.seq,
            chain: pushed.chain,
        };
        let before = self.fresh.get(id).map(|fresh| FreshMark {
            entries: fresh.entries.len(),
            signatures: fresh.signatures.len(),
            batch: fresh.batch,
        });
        self.undo.push(Undo::Fresh { id: *id, before });
        let fresh = self.fresh.entry(*id).or_insert_with(|| Fresh {
            prev: head.chain,
            first: pushed.seq,
            entries: Vec::new(),
            signatures: Vec::new(),
            batch,
        });
        if let Some((seq, signature)) = pushed.sign_before {
            store_signature(connection, no, seq, &signature)?;
            fresh.signatures.push((seq, signature));
        }
        fresh.entries.push((bytes.to_vec(), pushed.chain));
        fresh.batch = batch;
        Ok((no, pushed.seq, pushed.chain))
    }

    /// Signs every own log that grew in this transaction and answers what to send.
    pub(crate) fn seal(&mut self, connection: &Connection) -> Result<Vec<Grown>, CommitError> {
        let mut grown = Vec::with_capacity(self.fresh.len());
        for (id, mut fresh) in std::mem::take(&mut self.fresh) {
            let author = self
                .author
                .as_ref()
                .ok_or_else(|| CommitError::fault("this node has no identity yet"))?;
            let log = self
                .logs
                .get_mut(&id)
                .ok_or_else(|| CommitError::fault("own log vanished"))?;
            if let Some((seq, signature)) =
                log.tail.as_mut().and_then(|tail| tail.seal(&author.key))
            {
                store_signature(connection, log.no, seq, &signature)?;
                fresh.signatures.push((seq, signature));
            }
            let head = log.head;
            grown.push(Grown {
                batch: fresh.batch,
                log: id,
                head,
                runs: runs(&id, fresh),
            });
        }
        Ok(grown)
    }

    /// The transaction is on the disk: nothing is taken back any more.
    pub(crate) fn commit(&mut self) {
        self.undo.clear();
        self.fresh.clear();
    }

    /// The transaction failed: memory goes back to its start. Sealed tails cannot be unsealed, so tails start anew.
    pub(crate) fn abort(&mut self, mark: &Mark) {
        self.roll_back(mark);
        self.undo.clear();
        self.fresh.clear();
        for log in self.logs.values_mut() {
            log.tail = None;
        }
    }
}

/// Cuts what was appended into runs, at signatures, as large as they may be.
fn runs(log: &LogId, fresh: Fresh) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut prev = fresh.prev;
    let mut first = fresh.first;
    let mut left = fresh.entries.as_slice();
    let mut signatures = fresh.signatures.as_slice();
    while !left.is_empty() {
        let mut builder = RunBuilder::new(*log, first, prev, RUN_BYTES_MAX);
        let mut ahead = signatures.iter().peekable();
        for (seq, (bytes, _)) in (first.0..).map(Seq).zip(left) {
            let signature = ahead
                .next_if(|(at, _)| *at == seq)
                .map(|(_, signature)| *signature);
            if !builder.push(bytes.clone(), signature) {
                break;
            }
        }
        let Some(run) = builder.finish() else { break };
        let taken = run.entries.len();
        prev = left[taken - 1].1;
        left = &left[taken..];
        first = run.last().next();
        signatures = &signatures[signatures.partition_point(|(at, _)| *at < first)..];
        runs.push(run);
    }
    runs
}

fn store_signature(
    connection: &Connection,
    log_no: i64,
    seq: Seq,
    signature: &HeadSignature,
) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached("UPDATE entry SET signature = ?2 WHERE at = ?1")?
        .execute((entry_at(log_no, seq), &signature.0[..]))?;
    Ok(())
}

/// The newest entry of a log.
pub(crate) fn stored_head(
    connection: &Connection,
    log_no: i64,
) -> Result<Option<Head>, StoreError> {
    connection
        .prepare_cached(
            "SELECT at, chain FROM entry WHERE at BETWEEN ?1 AND ?2 ORDER BY at DESC LIMIT 1",
        )
        .and_then(|mut statement| {
            statement
                .query_row(
                    (entry_at(log_no, Seq(0)), entry_at(log_no, Seq(SEQ_MAX))),
                    |row| {
                        Ok(Head {
                            seq: entry_seq(row.get(0)?),
                            chain: ChainHash(blob(row, 1)?),
                        })
                    },
                )
                .optional()
        })
        .doing("read head of log")
}
