//! What the node writes itself: edits, notes, sealed entries, trust records.

use std::collections::BTreeSet;

use domain::{Edit, FactKind, Kind, RecordId, check_create, check_patch};
use serde_json::{Map, Value, json};
use store::{Batch, Disposition, LocalEntry};
use sync_engine::{
    Entry, EntryHeader, EntryKind, GroupId, HybridTime, Lane, LogId, ObjectId, Payload, Seq,
    TrustRecord,
};

use super::judge::fact_row;
use super::{Desk, row};
use crate::disk::Disk;

/// What somebody wants to write.
#[derive(Debug, Clone)]
pub enum Plan {
    /// A new incident.
    Create {
        /// Its id.
        id: RecordId,
        /// Its title.
        title: String,
    },
    /// Fields of an incident.
    Patch {
        /// Which one.
        id: RecordId,
        /// How many versions ago it was read.
        versions_ago: usize,
        /// Registers and the text that are set.
        fields: Map<String, Value>,
        /// A tag that is added; unique, so that the model can look for it.
        tag: String,
    },
    /// A note.
    Note {
        /// Its id.
        id: RecordId,
        /// What it says; unique.
        text: String,
    },
    /// Bytes that this program cannot read: sealed for a group, or of a kind that only a later version knows.
    Opaque {
        /// Of which group.
        group: GroupId,
        /// In which lane.
        lane: Lane,
        /// One entry each.
        payloads: Vec<Vec<u8>>,
    },
    /// Trust records (the HQ's).
    Records(Vec<TrustRecord>),
    /// Entries as they are, which the writer's own documents do not take in: what a hostile member writes.
    Raw(Vec<(Lane, Entry)>),
}

/// Something to be committed.
pub struct Written {
    /// For the disk.
    pub batch: Batch,
    /// The document that is lost from memory if the commit fails.
    pub touched: BTreeSet<RecordId>,
    /// What the model looks for once it is acknowledged.
    pub promise: Promise,
    /// The trust records among them.
    pub records: Vec<TrustRecord>,
}

/// What a user may rely on after the acknowledgement, besides the entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Promise {
    /// Only the entries.
    #[default]
    Entries,
    /// The document shows this tag.
    Tag(RecordId, String),
    /// The note is there.
    Note(RecordId, String),
}

impl Desk {
    /// Makes the entries of a plan; `None` when there is nothing to write.
    ///
    /// # Errors
    /// When a document cannot be read from the disk, or an honest edit is refused.
    pub fn write(
        &mut self,
        disk: &dyn Disk,
        plan: Plan,
        wall_ms: u64,
    ) -> Result<Option<Written>, String> {
        let mut written = Written {
            batch: Batch::new(Lane::Life, wall_ms),
            touched: BTreeSet::new(),
            promise: Promise::Entries,
            records: Vec::new(),
        };
        match plan {
            Plan::Create { id, title } => {
                let tag = format!("of {title}");
                let body = json!({"title": title, "severity": "minor", "tags": [tag]});
                let edit = check_create(Kind::Incident, body.as_object().expect("an object"));
                let edit = edit.map_err(|errors| format!("{errors:?}"))?;
                written.promise = Promise::Tag(id, tag);
                self.edit(disk, id, 0, &edit, wall_ms, &mut written)?;
            }
            Plan::Patch {
                id,
                versions_ago,
                mut fields,
                tag,
            } => {
                let seen = self.fields_seen(disk, id, versions_ago)?;
                let mut tags: Vec<Value> = seen["tags"].as_array().cloned().unwrap_or_default();
                tags.push(Value::String(tag.clone()));
                fields.insert("tags".to_owned(), Value::Array(tags));
                if let Some(Value::String(line)) = fields.get("description") {
                    let before = seen["description"].as_str().unwrap_or_default();
                    let text = format!("{before}{line}\n");
                    fields.insert("description".to_owned(), Value::String(text));
                }
                let edit = check_patch(Kind::Incident, &fields, &seen)
                    .map_err(|errors| format!("{errors:?}"))?;
                written.promise = Promise::Tag(id, tag);
                self.edit(disk, id, versions_ago, &edit, wall_ms, &mut written)?;
            }
            Plan::Note { id, text } => {
                let body = json!({ "text": text });
                let bytes = domain::facts::check_note(body.as_object().expect("an object"));
                let bytes = bytes.map_err(|errors| format!("{errors:?}"))?;
                let object = ObjectId(id.0);
                let nowhere = (self.log(GroupId::SHARED, Lane::Coordination), Seq::NONE);
                written
                    .batch
                    .facts
                    .push(fact_row(&bytes, nowhere, object, wall_ms)?);
                let kind = FactKind::Note.code();
                push(
                    &mut written,
                    Lane::Coordination,
                    entry(kind, object, wall_ms, bytes),
                )?;
                written.promise = Promise::Note(id, text);
            }
            Plan::Opaque {
                group,
                lane,
                payloads,
            } => {
                for bytes in payloads {
                    let object = ObjectId(
                        *blake3::hash(&bytes)
                            .as_bytes()
                            .first_chunk()
                            .expect("32 bytes"),
                    );
                    let mut entry = entry(0x0f01, object, wall_ms, bytes);
                    if group != GroupId::SHARED {
                        entry.payload = sealed(entry.payload);
                    }
                    push_in(&mut written, group, lane, entry)?;
                }
            }
            Plan::Records(records) => {
                for record in &records {
                    let header = entry(0, ObjectId([0; 16]), wall_ms, Vec::new()).header;
                    push(&mut written, Lane::Trust, record.clone().into_entry(header))?;
                }
                written.records = records;
            }
            Plan::Raw(entries) => {
                for (lane, entry) in entries {
                    push(&mut written, lane, entry)?;
                }
                for local in &mut written.batch.local {
                    // Its own documents have to stay readable.
                    local.disposition = Disposition::Quarantined {
                        reason: "poisoned by its author".to_owned(),
                    };
                }
            }
        }
        Ok((!written.batch.local.is_empty()).then_some(written))
    }

    /// One of this node's logs.
    pub fn log(&self, group: GroupId, lane: Lane) -> LogId {
        LogId {
            author: self.node,
            incarnation: sync_engine::Incarnation(self.author.incarnation),
            group,
            lane,
        }
    }

    /// A change as this node would write it now, for a hostile member to spoil: the document forgets it again.
    pub fn draft(&mut self, disk: &dyn Disk, id: RecordId, tag: &str) -> Option<Vec<u8>> {
        let seen = self.fields_seen(disk, id, 0).ok()?;
        let mut tags = seen["tags"].as_array().cloned().unwrap_or_default();
        tags.push(tag.into());
        let fields = json!({"severity": "extreme", "title": tag, "tags": tags});
        let edit = check_patch(Kind::Incident, fields.as_object()?, &seen).ok()?;
        let author = self.author;
        let edited =
            self.resident(id, disk)
                .ok()?
                .document
                .edit(&author, None, &edit, 1_800_000_000);
        self.evict(id);
        Some(edited.ok()??.bytes)
    }

    fn fields_seen(
        &mut self,
        disk: &dyn Disk,
        id: RecordId,
        versions_ago: usize,
    ) -> Result<Map<String, Value>, String> {
        let resident = self.resident(id, disk)?;
        let at = resident.versions.len().saturating_sub(1 + versions_ago);
        let version = &resident.versions[at];
        let fields = resident.document.fields_at(version);
        fields.ok_or_else(|| format!("document {id} does not know its own version any more"))
    }

    fn edit(
        &mut self,
        disk: &dyn Disk,
        id: RecordId,
        versions_ago: usize,
        edit: &Edit,
        wall_ms: u64,
        written: &mut Written,
    ) -> Result<(), String> {
        let author = self.author;
        self.touch(id);
        let resident = self.resident(id, disk)?;
        let at = resident.versions.len().saturating_sub(1 + versions_ago);
        let base = resident.versions[at].clone();
        let time_s = i64::try_from(wall_ms / 1_000).unwrap_or(i64::MAX);
        let edited = resident.document.edit(&author, Some(&base), edit, time_s);
        let edited =
            edited.map_err(|error| format!("an honest edit of {id} is refused: {error}"))?;
        let Some(edited) = edited else {
            return Ok(());
        };
        let view = resident.document.view();
        resident.versions.push(view.version.clone());
        let old = resident.versions.len().saturating_sub(super::VERSIONS_KEPT);
        resident.versions.drain(..old);
        written
            .batch
            .documents
            .push(row(&resident.document, &view, None));
        written.touched.insert(id);
        let kind = Kind::Incident.spec().code;
        push(
            written,
            Lane::Life,
            entry(kind, ObjectId(id.0), wall_ms, edited.bytes),
        )
    }
}

/// A plain entry.
pub fn entry(kind: u16, object: ObjectId, wall_ms: u64, bytes: Vec<u8>) -> Entry {
    Entry {
        header: EntryHeader {
            time: HybridTime {
                wall_ms,
                logical: 0,
            },
            user: None,
            kind: EntryKind(kind),
            object,
        },
        payload: Payload::Plain(bytes),
    }
}

/// The engine never opens it, so that nothing has to be encrypted here.
fn sealed(payload: Payload) -> Payload {
    match payload {
        Payload::Plain(ciphertext) => Payload::Sealed {
            key_id: [1; 16],
            nonce: [2; 24],
            ciphertext,
        },
        sealed => sealed,
    }
}

fn push(written: &mut Written, lane: Lane, entry: Entry) -> Result<(), String> {
    push_in(written, GroupId::SHARED, lane, entry)
}

fn push_in(written: &mut Written, group: GroupId, lane: Lane, entry: Entry) -> Result<(), String> {
    let (kind, object) = (entry.header.kind.0, entry.header.object);
    let bytes = entry.encode().map_err(|error| error.to_string())?;
    written.batch.local.push(LocalEntry {
        group,
        lane,
        bytes,
        kind,
        object,
        disposition: Disposition::Applied,
    });
    Ok(())
}
