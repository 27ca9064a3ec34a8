//! One batch, written inside the open transaction.
//!
//! Always holds: an error leaves it to the caller to roll back the savepoint and the state; nothing here answers anyone.

use std::collections::HashMap;

use rusqlite::{Connection, params};
use sync_engine::{ChainHash, HeadSignature, LogId, ObjectId, Seq};

use super::batch::{Batch, CommitNo, Committed, Disposition, EntryPlace};
use super::events::{self, Event, EventSubject};
use super::rows::{self, At};
use super::state::State;
use super::{health, identity, raw, rebuild, receipts, sessions, summaries, upkeep};
use crate::error::{CommitError, StoreError};
use crate::sql::{entry_at, entry_log_no, entry_seq, millis};

/// Sessions and idempotency keys are expired once in so many commits, besides the caller's own upkeep: fewer than one
/// step of it forgets.
const TIDY_EVERY_COMMITS: i64 = 1_024;

/// An entry of this batch that has its place.
struct Placed {
    at: i64,
    log: LogId,
    object: ObjectId,
    applied: bool,
}

struct NewEntry<'a> {
    at: i64,
    kind: u16,
    object: ObjectId,
    bytes: &'a [u8],
    chain: ChainHash,
    signature: Option<HeadSignature>,
}

/// Writes `batch`, the `index`-th of its transaction, under the next commit number.
pub(crate) fn apply(
    connection: &Connection,
    state: &mut State,
    batch: &Batch,
    search: &[String],
    index: usize,
    events_out: &mut Vec<Event>,
) -> Result<Committed, CommitError> {
    state.counters.commit += 1;
    let commit = CommitNo(state.counters.commit);
    let mut stored = Vec::new();
    let placed = write_entries(connection, state, batch, commit, index, &mut stored)?;
    let heights = heights(batch, &placed);
    rebuild::rewrite(connection, &batch.rewritten).map_err(|error| match error {
        StoreError::DiskFull => CommitError::DiskFull,
        other => CommitError::fault(other.to_string()),
    })?;
    for subject in rewritten_subjects(batch) {
        tell(connection, state, commit, subject, events_out)?;
    }
    for (number, document) in batch.documents.iter().enumerate() {
        let at = At {
            commit,
            journal_last: state.counters.journal,
            heights: heights.get(&document.id).map_or(&[], Vec::as_slice),
            pruned_to: CommitNo(0),
        };
        let search = search.get(number).map_or("", String::as_str);
        rows::write_document(connection, document, search, &at)?;
        let subject = EventSubject::Object {
            kind: document.kind,
            id: document.id,
            version: document.version.clone(),
        };
        tell(connection, state, commit, subject, events_out)?;
    }
    for fact in &batch.facts {
        let entry = match &fact.entry {
            None => placed[..batch.local.len()]
                .iter()
                .rfind(|entry| entry.object == fact.id),
            Some((log, seq)) => placed
                .iter()
                .find(|entry| entry.log == *log && entry_seq(entry.at) == *seq),
        };
        let entry =
            entry.ok_or_else(|| CommitError::fault("a fact without its entry in the batch"))?;
        if !rows::write_fact(connection, fact, &entry.log, entry.at, commit)? {
            continue;
        }
        let subject = EventSubject::Object {
            kind: fact.kind,
            id: fact.id,
            version: String::new(),
        };
        tell(connection, state, commit, subject, events_out)?;
    }
    for conflict in &batch.conflicts {
        rows::write_conflict(connection, conflict, commit)?;
        tell(
            connection,
            state,
            commit,
            EventSubject::Conflict {
                id: conflict.id.clone(),
            },
            events_out,
        )?;
    }
    // What was stored before was taken in then, and may have been said better since.
    let is_new = |place: &Option<(LogId, Seq)>| {
        place.as_ref().is_none_or(|(log, seq)| {
            let mut entries = placed.iter();
            entries.any(|entry| entry.log == *log && entry_seq(entry.at) == *seq)
        })
    };
    for said in batch.summaries.iter().filter(|said| is_new(&said.entry)) {
        summaries::fold(connection, said, commit)?;
    }
    for said in batch.health.iter().filter(|said| is_new(&said.entry)) {
        health::fold(connection, said, millis(batch.arrival_wall_ms))?;
    }
    for said in &batch.raw {
        let entry = match said.place {
            EntryPlace::Local(index) => placed[..batch.local.len()].get(index),
            EntryPlace::Log(log, seq) => placed
                .iter()
                .find(|entry| entry.log == log && entry_seq(entry.at) == seq),
        };
        if let Some(entry) = entry {
            raw::fold(connection, said, entry.at)?;
        }
    }
    write_local_state(connection, batch, commit)?;
    connection
        .prepare_cached(
            "INSERT INTO commit_info (commit_no, at_wall_ms, journal_last) VALUES (?1, ?2, ?3)",
        )?
        .execute((
            commit.0,
            millis(batch.arrival_wall_ms),
            state.counters.journal,
        ))?;
    if commit.0 % TIDY_EVERY_COMMITS == 0 {
        upkeep::expire(connection, batch.arrival_wall_ms)?;
    }
    Ok(Committed {
        commit,
        stored,
        event_position: state.counters.event,
        heads: Vec::new(),
        local_runs: Vec::new(),
    })
}

/// Stores the entries and their journal rows: local, runs, released, in this order.
fn write_entries(
    connection: &Connection,
    state: &mut State,
    batch: &Batch,
    commit: CommitNo,
    index: usize,
    stored: &mut Vec<(LogId, Seq)>,
) -> Result<Vec<Placed>, CommitError> {
    let mut placed = Vec::new();
    let mut dispositions: Vec<&Disposition> = Vec::new();
    for entry in &batch.local {
        let author = state
            .author
            .as_ref()
            .ok_or_else(|| CommitError::fault("this node has no identity yet"))?;
        let log = LogId {
            author: author.node,
            incarnation: author.incarnation,
            group: entry.group,
            lane: entry.lane,
        };
        let (log_no, seq, chain) = state.append(connection, &log, &entry.bytes, index)?;
        let new = NewEntry {
            at: entry_at(log_no, seq),
            kind: entry.kind,
            object: entry.object,
            bytes: &entry.bytes,
            chain,
            signature: None,
        };
        insert_entry(
            connection,
            state,
            &new,
            &entry.disposition,
            commit,
            placed.len(),
        )?;
        stored.push((log, seq));
        dispositions.push(&entry.disposition);
        placed.push(Placed {
            at: new.at,
            log,
            object: entry.object,
            applied: entry.disposition == Disposition::Applied,
        });
    }
    for write in &batch.runs {
        let run = &write.run;
        let log = *run.log();
        let (log_no, head) = state.log(connection, &log)?;
        if write.entries.len() != run.entries().len() {
            return Err(CommitError::fault("a run needs one description per entry"));
        }
        if run.first() > head.seq.next() {
            return Err(CommitError::fault("a run that leaves a gap in its log"));
        }
        let mut prev = run.prev();
        let mut grown = None;
        for (entry, about) in run.entries().iter().zip(&write.entries) {
            if entry.seq == head.seq && entry.chain != head.chain
                || entry.seq == head.seq.next() && prev != head.chain
            {
                return Err(CommitError::fault(
                    "a run that does not continue the stored chain",
                ));
            }
            prev = entry.chain;
            if entry.seq <= head.seq {
                continue;
            }
            let new = NewEntry {
                at: entry_at(log_no, entry.seq),
                kind: about.kind,
                object: about.object,
                bytes: &entry.bytes,
                chain: entry.chain,
                signature: entry.signature,
            };
            insert_entry(
                connection,
                state,
                &new,
                &about.disposition,
                commit,
                placed.len(),
            )?;
            stored.push((log, entry.seq));
            dispositions.push(&about.disposition);
            placed.push(Placed {
                at: new.at,
                log,
                object: about.object,
                applied: about.disposition == Disposition::Applied,
            });
            grown = Some(sync_engine::Head {
                seq: entry.seq,
                chain: entry.chain,
            });
        }
        if let Some(head) = grown {
            state.set_head(&log, head)?;
        }
    }
    for (log, seq, disposition) in &batch.released {
        let at = state
            .log_no(log)
            .map(|log_no| entry_at(log_no, *seq))
            .ok_or_else(|| CommitError::fault("a released entry of an unknown log"))?;
        let object = release(connection, state, at, disposition, commit, placed.len())?;
        dispositions.push(disposition);
        placed.push(Placed {
            at,
            log: *log,
            object,
            applied: *disposition == Disposition::Applied,
        });
    }
    write_journal(connection, state, batch, &placed, &dispositions, commit)?;
    Ok(placed)
}

fn insert_entry(
    connection: &Connection,
    state: &State,
    entry: &NewEntry<'_>,
    disposition: &Disposition,
    commit: CommitNo,
    placed: usize,
) -> Result<(), CommitError> {
    connection
        .prepare_cached(
            "INSERT INTO entry (at, kind, object, bytes, chain, signature, commit_no, applied) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            entry.at,
            entry.kind,
            &entry.object.0[..],
            entry.bytes,
            &entry.chain.0[..],
            entry.signature.as_ref().map(|signature| &signature.0[..]),
            commit.0,
            applied_position(state, disposition, placed)
        ])?;
    write_disposition(connection, entry.at, &entry.object, disposition, commit)
}

/// The journal position that the `placed`-th entry of this batch is going to have, when it is applied.
fn applied_position(state: &State, disposition: &Disposition, placed: usize) -> Option<i64> {
    (*disposition == Disposition::Applied).then(|| state.counters.journal + 1 + placed as i64)
}

/// An entry stored earlier gets a new state. Answers its object.
fn release(
    connection: &Connection,
    state: &State,
    at: i64,
    disposition: &Disposition,
    commit: CommitNo,
    placed: usize,
) -> Result<ObjectId, CommitError> {
    let object = connection
        .prepare_cached("UPDATE entry SET applied = ?2 WHERE at = ?1 RETURNING object")?
        .query_row((at, applied_position(state, disposition, placed)), |row| {
            Ok(ObjectId(crate::sql::blob(row, 0)?))
        })
        .map_err(|error| match error {
            rusqlite::Error::QueryReturnedNoRows => {
                CommitError::fault("a released entry that is not stored")
            }
            other => other.into(),
        })?;
    connection
        .prepare_cached("DELETE FROM waiting WHERE entry = ?1")?
        .execute([at])?;
    connection
        .prepare_cached("DELETE FROM quarantine WHERE entry = ?1")?
        .execute([at])?;
    write_disposition(connection, at, &object, disposition, commit)?;
    Ok(object)
}

fn write_disposition(
    connection: &Connection,
    at: i64,
    object: &ObjectId,
    disposition: &Disposition,
    commit: CommitNo,
) -> Result<(), CommitError> {
    match disposition {
        Disposition::Applied => {}
        Disposition::Waiting { missing } => {
            connection
                .prepare_cached("INSERT INTO waiting (entry, object, missing, commit_no) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![at, &object.0[..], missing.concat(), commit.0])?;
        }
        Disposition::Quarantined { reason } | Disposition::Held { fault: reason } => {
            let held = matches!(disposition, Disposition::Held { .. });
            connection
                .prepare_cached(
                    "INSERT INTO quarantine (entry, object, held, reason, commit_no) VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![at, &object.0[..], held, reason, commit.0])?;
        }
    }
    Ok(())
}

fn write_journal(
    connection: &Connection,
    state: &mut State,
    batch: &Batch,
    placed: &[Placed],
    dispositions: &[&Disposition],
    commit: CommitNo,
) -> Result<(), CommitError> {
    if placed.is_empty() {
        return Ok(());
    }
    // The heads after this commit stand beside the last applied entry of each document.
    let mut last: HashMap<ObjectId, usize> = HashMap::with_capacity(batch.documents.len());
    let heads: HashMap<ObjectId, &[u8]> = batch
        .documents
        .iter()
        .map(|document| (document.id, document.heads.as_slice()))
        .collect();
    for (number, entry) in placed.iter().enumerate().filter(|(_, entry)| entry.applied) {
        last.insert(entry.object, number);
    }
    let mut statement = connection.prepare_cached(
        "INSERT INTO journal (position, commit_no, entry, disposition, detail, heads) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for (number, (entry, disposition)) in placed.iter().zip(dispositions).enumerate() {
        state.counters.journal += 1;
        let (code, detail) = encode(disposition);
        let heads = (last.get(&entry.object) == Some(&number))
            .then(|| heads.get(&entry.object))
            .flatten();
        statement.execute(params![
            state.counters.journal,
            commit.0,
            entry.at,
            code,
            detail,
            heads
        ])?;
    }
    Ok(())
}

fn encode(disposition: &Disposition) -> (u8, Option<Vec<u8>>) {
    match disposition {
        Disposition::Applied => (0, None),
        Disposition::Waiting { missing } => (1, Some(missing.concat())),
        Disposition::Quarantined { reason } => (2, Some(reason.clone().into_bytes())),
        Disposition::Held { fault } => (3, Some(fault.clone().into_bytes())),
    }
}

/// Reads back what [`encode`] wrote.
pub(crate) fn decode(code: u8, detail: Option<Vec<u8>>) -> Option<Disposition> {
    let detail = detail.unwrap_or_default();
    match code {
        0 => Some(Disposition::Applied),
        1 => Some(Disposition::Waiting {
            missing: hashes(&detail)?,
        }),
        2 => Some(Disposition::Quarantined {
            reason: String::from_utf8(detail).ok()?,
        }),
        3 => Some(Disposition::Held {
            fault: String::from_utf8(detail).ok()?,
        }),
        _ => None,
    }
}

/// Concatenated 32-byte hashes.
pub(crate) fn hashes(bytes: &[u8]) -> Option<Vec<[u8; 32]>> {
    let (whole, rest) = bytes.as_chunks::<32>();
    rest.is_empty().then(|| whole.to_vec())
}

/// What is told of objects whose views were written anew and that the batch does not write besides.
fn rewritten_subjects(batch: &Batch) -> impl Iterator<Item = EventSubject> {
    batch.rewritten.iter().filter_map(|views| {
        let last = views.commits.last()?;
        let document = last.documents.last().map(|document| EventSubject::Object {
            kind: document.kind,
            id: document.id,
            version: document.version.clone(),
        });
        let fact = last.facts.last().map(|fact| EventSubject::Object {
            kind: fact.kind,
            id: fact.id,
            version: String::new(),
        });
        let written_besides = batch.documents.iter().any(|it| it.id == views.object);
        document.or(fact).filter(|_| !written_besides)
    })
}

/// Per document of the batch: log numbers and the newest sequence applied by it.
fn heights(batch: &Batch, placed: &[Placed]) -> HashMap<ObjectId, Vec<(i64, i64)>> {
    let mut heights: HashMap<ObjectId, Vec<(i64, i64)>> = batch
        .documents
        .iter()
        .map(|document| (document.id, Vec::new()))
        .collect();
    for entry in placed.iter().filter(|entry| entry.applied) {
        if let Some(logs) = heights.get_mut(&entry.object) {
            raise(logs, entry.at);
        }
    }
    heights
}

/// Notes an applied entry in a list of (log number, newest sequence).
pub(crate) fn raise(logs: &mut Vec<(i64, i64)>, at: i64) {
    let (log_no, seq) = (entry_log_no(at), entry_seq(at).0.cast_signed());
    match logs.iter_mut().find(|(no, _)| *no == log_no) {
        Some((_, last)) => *last = (*last).max(seq),
        None => logs.push((log_no, seq)),
    }
}

fn tell(
    connection: &Connection,
    state: &mut State,
    commit: CommitNo,
    subject: EventSubject,
    events_out: &mut Vec<Event>,
) -> Result<(), CommitError> {
    state.counters.event += 1;
    let event = Event {
        position: state.counters.event,
        commit,
        subject,
    };
    events::insert(connection, &event)?;
    if event.position % events::EVENTS_PRUNE_STEP == 0 {
        events::prune(connection, event.position)?;
    }
    events_out.push(event);
    Ok(())
}

fn write_local_state(
    connection: &Connection,
    batch: &Batch,
    commit: CommitNo,
) -> Result<(), CommitError> {
    for audit in &batch.audit {
        connection
            .prepare_cached(
                "INSERT INTO audit (at_wall_ms, actor, action, kind, object, commit_no, detail) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                millis(audit.at_wall_ms),
                audit.actor,
                audit.action,
                audit.kind,
                audit.object.as_ref().map(|id| &id.0[..]),
                commit.0,
                audit.detail
            ])?;
    }
    if let Some(answer) = &batch.idempotency {
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO idempotency (scope, key, body_hash, status, answer, at_wall_ms) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                answer.scope,
                answer.key,
                &answer.body_hash[..],
                answer.status,
                answer.answer,
                millis(answer.at_wall_ms)
            ])?;
    }
    if let Some(cursor) = &batch.rule_cursor {
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO rule_cursor (one, file_id, position, evaluated, sequence, state) \
                 VALUES (1, ?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                &cursor.file_id[..],
                cursor.position,
                cursor.evaluated.readings.cast_signed(),
                cursor.evaluated.sequence.cast_signed(),
                cursor.state
            ])?;
    }
    for (name, value) in &batch.settings {
        identity::write_setting(connection, name, value.as_deref())?;
    }
    for session in &batch.sessions {
        sessions::write(connection, session)?;
    }
    for receipt in &batch.receipts {
        receipts::fold(connection, receipt)?;
    }
    receipts::said(connection, &batch.receipt_said)?;
    Ok(())
}
