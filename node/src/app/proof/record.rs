//! A fault as it is kept: all that somebody needs to find out how two nodes made something else of the same logs.
//!
//! Bounded: a defect may concern thousands of objects, and a few tell as much as all.

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use store::{EntryState, FaultWrite, InspectedEntry, Reader, StoreError};
use sync_engine::{DifferingObject, Mismatch, ObjectId};
use uuid::Uuid;

use crate::app::AppError;
use crate::app::documents::{EntryChange, Examined, Verdict, state_word};

/// Objects described in one fault.
const OBJECTS_MAX: usize = 64;

/// Entries listed of one object: those that are not applied, then the newest.
const ENTRIES_MAX: usize = 16;

/// See the module.
pub(super) struct Fault(Value);

impl Fault {
    /// Describes the objects as they are before anything is put right. `looked_at` are those of the mismatch, or those in
    /// doubt where it names none.
    pub(super) fn describe(
        reader: &Reader<'_>,
        mismatch: &Mismatch,
        looked_at: &[ObjectId],
        software: Option<String>,
    ) -> Result<Self, StoreError> {
        let objects = looked_at
            .iter()
            .take(OBJECTS_MAX)
            .map(|object| {
                let differing = mismatch.objects.iter().find(|it| it.object == *object);
                describe(reader, object, differing)
            })
            .collect::<Result<Vec<Value>, StoreError>>()?;
        Ok(Fault(json!({
            "software": {
                "ours": concat!("muster/", env!("CARGO_PKG_VERSION")),
                "theirs": software,
            },
            "pending": { "ours": mismatch.pending.0, "theirs": mismatch.pending.1 },
            "quarantined": { "ours": mismatch.quarantined.0, "theirs": mismatch.quarantined.1 },
            "objects": objects,
            "objects_left_out": looked_at.len().saturating_sub(OBJECTS_MAX),
        })))
    }

    /// What the store keeps of it.
    pub(super) fn write(&self, mismatch: &Mismatch, at_wall_ms: u64) -> FaultWrite {
        FaultWrite {
            at_wall_ms,
            peer: mismatch.peer,
            mark: mismatch.mark,
            group: mismatch.group,
            about: about(mismatch),
            objects: mismatch.objects.len() as u64,
            detail: self.detail(),
        }
    }

    /// Notes what looking again came to.
    pub(super) fn found(&mut self, result: &Result<Vec<Examined>, AppError>) {
        self.0["found"] = match result {
            Err(error) => json!({ "fault": "unknown", "error": error.to_string() }),
            Ok(examined) => {
                let wrong: Vec<&Examined> = examined
                    .iter()
                    .filter(|it| it.verdict != Verdict::Sound)
                    .collect();
                json!({
                    "fault": if wrong.is_empty() { "theirs" } else { "ours" },
                    "looked_at": examined.len(),
                    "wrong": wrong.len(),
                    "objects": wrong.iter().take(OBJECTS_MAX).map(|it| examined_value(it)).collect::<Vec<_>>(),
                })
            }
        };
    }

    pub(super) fn detail(&self) -> String {
        self.0.to_string()
    }
}

pub(super) fn store_fault(error: StoreError) -> AppError {
    AppError::Fault {
        context: "record a fault of sync",
        source: Box::new(error),
    }
}

/// Names what differs, so that the same difference is known again.
fn about(mismatch: &Mismatch) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_derive_key("muster 2026 sync fault 1");
    for differing in &mismatch.objects {
        hasher.update(&differing.object.0);
        for state in [differing.ours, differing.theirs] {
            hasher.update(&[u8::from(state.is_some())]);
            hasher.update(&state.unwrap_or_default());
        }
    }
    for count in [
        mismatch.pending.0,
        mismatch.pending.1,
        mismatch.quarantined.0,
        mismatch.quarantined.1,
    ] {
        hasher.update(&count.to_le_bytes());
    }
    let mut about = [0; 16];
    about.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    about
}

fn describe(
    reader: &Reader<'_>,
    object: &ObjectId,
    differing: Option<&DifferingObject>,
) -> Result<Value, StoreError> {
    let row = reader.get_document(None, object, None)?;
    let fact = reader.get_fact(object)?;
    let mut entries = reader.entries_about(object)?;
    let count = entries.len();
    let kind = entries.first().map(|entry| entry.entry.kind);
    // What is not applied first, then the newest: the cause is most likely there.
    entries.sort_by_key(|entry| {
        let applied = matches!(entry.state, EntryState::Applied { .. });
        (applied, std::cmp::Reverse(entry.entry.commit))
    });
    entries.truncate(ENTRIES_MAX);
    let hex = |digest: Option<[u8; 8]>| digest.map(|digest| HEXLOWER.encode(&digest));
    Ok(json!({
        "id": Uuid::from_bytes(object.0),
        "kind": kind.map(kind_name),
        "ours": differing.and_then(|it| hex(it.ours)),
        "theirs": differing.and_then(|it| hex(it.theirs)),
        "heads": reader.document_heads(object)?.map(|heads| heads_value(&heads)),
        "version": row.as_ref().map(|row| row.version.clone()),
        "commit": row.as_ref().map(|row| row.commit.0).or(fact.map(|fact| fact.commit.0)),
        "entries": entries.iter().map(entry_value).collect::<Vec<_>>(),
        "entries_left_out": count.saturating_sub(ENTRIES_MAX),
    }))
}

fn kind_name(code: u16) -> String {
    domain::schema::spec_by_code(code)
        .map(|spec| spec.name)
        .or_else(|| domain::FactKind::by_code(code).map(domain::FactKind::name))
        .map_or_else(|| format!("{code:#06x}"), str::to_owned)
}

fn heads_value(heads: &[u8]) -> Vec<String> {
    heads.chunks(32).map(|head| HEXLOWER.encode(head)).collect()
}

fn entry_value(entry: &InspectedEntry) -> Value {
    let why = match &entry.state {
        EntryState::Applied { .. } | EntryState::Unknown => None,
        EntryState::Waiting { missing } => {
            let missing: Vec<String> = missing.iter().map(|hash| HEXLOWER.encode(hash)).collect();
            Some(format!("for {}", missing.join(" ")))
        }
        EntryState::Quarantined { reason: why } | EntryState::Held { fault: why } => {
            Some(why.clone())
        }
    };
    json!({
        "log": log_name(&entry.entry.log),
        "seq": entry.entry.seq.0,
        "state": state_word(&entry.state),
        "why": why,
        "commit": entry.entry.commit.0,
    })
}

fn examined_value(examined: &Examined) -> Value {
    let entry = |change: &EntryChange| {
        json!({
            "log": log_name(&change.log),
            "seq": change.seq.0,
            "before": change.before,
            "after": change.after,
        })
    };
    let (repaired, why) = match &examined.verdict {
        Verdict::Sound | Verdict::Repaired => (true, None),
        Verdict::NotRepaired(why) => (false, Some(why)),
    };
    json!({
        "id": Uuid::from_bytes(examined.object.0),
        "repaired": repaired,
        "why": why,
        "before": examined.before,
        "after": examined.after,
        "entries": examined.entries.iter().take(ENTRIES_MAX).map(entry).collect::<Vec<_>>(),
        "entries_left_out": examined.entries.len().saturating_sub(ENTRIES_MAX),
    })
}

/// The whole name of a log, as `muster log inspect` takes it.
fn log_name(log: &sync_engine::LogId) -> String {
    format!(
        "{}/{}/{}/{}",
        log.author, log.incarnation, log.group, log.lane
    )
}
