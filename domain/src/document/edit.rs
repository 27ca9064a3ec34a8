//! Edits made on this node.
//!
//! Invariants: an edit happens on a copy, so a refused one leaves no trace; what is minted here passes the same rules
//! that other nodes apply to it; an edit based on an earlier version merges as if it had been made at that moment.

use automerge::transaction::{CommitOptions, Transactable, Transaction};
use automerge::{ActorId, AutomergeError, ObjId, PatchLog, ROOT, ReadDoc};

use super::actor::{Author, base_actor};
use super::conflict::{self, ResolvedConflict};
use super::genesis::{Genesis, genesis};
use super::valid::{CHANGE_BYTES_MAX, OP_COUNTER_MAX};
use super::version::HEADS_MAX;
use super::{Document, Version, contained};
use crate::schema::{Edit, FieldChange, What};

/// The entry around a change: header, kind, ids, with room to grow. Change and header together fill an entry of
/// 32 KiB at most.
const HEADER_BYTES_MAX: usize = 512;
/// Up to that many characters on both sides the exact difference of two texts is worked out; its cost grows with the
/// square. Above, what lies between the common beginning and the common end is replaced as a whole.
const DIFF_CHARACTERS_MAX: usize = 2_000;

/// An edit that was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Edited {
    /// The change: the payload of the log entry.
    pub bytes: Vec<u8>,
    /// Its hash.
    pub hash: [u8; 32],
    /// Conflicts that it settled.
    pub resolved: Vec<ResolvedConflict>,
}

/// An edit that was not made; the document is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// This node lacks something that the edit was based on.
    #[error("this node does not know the version that was edited")]
    VersionUnknown,
    /// The change does not fit into one log entry.
    #[error("one edit may hold {max_bytes} bytes, this one has {bytes}")]
    TooLarge {
        /// Size of the change.
        bytes: usize,
        /// The bound.
        max_bytes: usize,
    },
    /// The same old version was edited too often by this node, or the document is full.
    #[error(
        "this version was edited too often side by side: read the document again and edit what it shows now"
    )]
    TooManyAtOnce,
    /// The edit is for another kind of document: a mistake in the program.
    #[error("the edit is for another kind of document")]
    WrongKind,
    /// automerge failed; the edit may be tried again on a freshly loaded document.
    #[error("the edit failed: {0}")]
    Fault(String),
}

impl Document {
    /// Makes an edit as `author` and applies it. `base` is the version that its writer saw; `None` stands for the
    /// current one. `time_s` is the wall clock in seconds since 1970 UTC, for display. `None` when nothing changed.
    pub fn edit(
        &mut self,
        author: &Author,
        base: Option<&Version>,
        edit: &Edit,
        time_s: i64,
    ) -> Result<Option<Edited>, EditError> {
        if edit.kind != self.kind {
            return Err(EditError::WrongKind);
        }
        let mut heads = self.doc.get_heads();
        let at = match base {
            Some(version) if version.heads() == heads => None,
            Some(version) if !self.knows(version) => return Err(EditError::VersionUnknown),
            Some(version) => Some(version.heads()),
            None if heads.len() > HEADS_MAX => {
                heads.truncate(HEADS_MAX);
                Some(heads.as_slice())
            }
            None => None,
        };
        let genesis = genesis(self.kind);
        let time_s = time_s.clamp(0, super::valid::TIME_S_MAX);
        let mut doc = self.doc.clone();
        let change = contained(|| {
            doc.set_actor(ActorId::from(author.actor()));
            let mut tx = match at {
                None => doc.transaction(),
                Some(heads) => doc
                    .transaction_at(PatchLog::inactive(), heads)
                    .map_err(|error| error.to_string())?,
            };
            let mut replaces_several = false;
            for change in &edit.changes {
                replaces_several |=
                    apply(&mut tx, genesis, change).map_err(|error| error.to_string())?;
            }
            let (hash, _) = tx.commit_with(CommitOptions::default().with_time(time_s));
            Ok(hash.and_then(|hash| Some((doc.get_change_by_hash(&hash)?, replaces_several))))
        })
        .map_err(EditError::Fault)?;
        let Some((change, replaces_several)) = change else {
            return Ok(None);
        };

        let bytes = change.raw_bytes().to_vec();
        let max_bytes = CHANGE_BYTES_MAX - HEADER_BYTES_MAX;
        if bytes.len() > max_bytes {
            return Err(EditError::TooLarge {
                bytes: bytes.len(),
                max_bytes,
            });
        }
        let full = change.start_op().get() + change.len() as u64 > OP_COUNTER_MAX;
        if full || base_actor(change.actor_id()) != Some(author.actor()) {
            return Err(EditError::TooManyAtOnce);
        }

        self.doc = doc;
        self.stamp(&change);
        let resolved = if replaces_several {
            conflict::resolved_by(&self.doc, self.id, &change, &change.decode().operations)
        } else {
            Vec::new()
        };
        let hash = change.hash().0;
        self.index_later([change]);
        Ok(Some(Edited {
            bytes,
            hash,
            resolved,
        }))
    }
}

/// Writes one field. True when it replaced several values of a register at once.
fn apply(
    tx: &mut Transaction<'_>,
    genesis: &Genesis,
    change: &FieldChange,
) -> Result<bool, AutomergeError> {
    match &change.what {
        What::Register(scalar) => {
            let new = scalar.to_automerge();
            let (several, chooses_shown) = {
                let old = tx.get_all(ROOT, change.key)?;
                // automerge lists the value that it shows last.
                let shown = match old.last() {
                    Some((automerge::Value::Scalar(value), _)) => Some(value.as_ref()),
                    Some((automerge::Value::Object(_), _)) => None,
                    None => Some(&automerge::ScalarValue::Null),
                };
                let same = shown == Some(&new);
                if same && old.len() < 2 {
                    return Ok(false);
                }
                (old.len() > 1, same)
            };
            if chooses_shown {
                // See `conflict::resolved_by` for why.
                tx.delete(ROOT, change.key)?;
            }
            tx.put(ROOT, change.key, new)?;
            Ok(several)
        }
        What::Text(text) => {
            let Some(container) = genesis.container(change.key) else {
                return Ok(false);
            };
            update_text(tx, &container.object, text)?;
            Ok(false)
        }
        What::Set(elements) => {
            let Some(container) = genesis.container(change.key) else {
                return Ok(false);
            };
            let old: Vec<String> = tx.keys(&container.object).collect();
            for gone in old.iter().filter(|element| !elements.contains(*element)) {
                tx.delete(&container.object, gone.as_str())?;
            }
            for new in elements.iter().filter(|element| !old.contains(element)) {
                tx.put(&container.object, new.as_str(), true)?;
            }
            Ok(false)
        }
    }
}

/// Writes the difference between the text as the editor saw it and the new one.
fn update_text(tx: &mut Transaction<'_>, object: &ObjId, new: &str) -> Result<(), AutomergeError> {
    let old = tx.text(object)?;
    if old == new {
        return Ok(());
    }
    let old: Vec<char> = old.chars().collect();
    let new_chars: Vec<char> = new.chars().collect();
    let start = old
        .iter()
        .zip(&new_chars)
        .take_while(|(a, b)| a == b)
        .count();
    let end = old[start..]
        .iter()
        .rev()
        .zip(new_chars[start..].iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let removed = old.len() - start - end;
    let inserted = &new_chars[start..new_chars.len() - end];
    if removed > 0
        && !inserted.is_empty()
        && removed <= DIFF_CHARACTERS_MAX
        && inserted.len() <= DIFF_CHARACTERS_MAX
    {
        return tx.update_text(object, new);
    }
    let inserted: String = inserted.iter().collect();
    tx.splice_text(object, start, removed as isize, &inserted)
}
