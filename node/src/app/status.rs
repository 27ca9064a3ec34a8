//! How this node stands: what it holds, whom it reaches, and a digest that two nodes share when they agree.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use domain::permissions::{Action, Subject};
use parking_lot::Mutex;
use serde_json::{Value, json};
use store::{CommitNo, DigestItem, Reader, StoreError};
use sync_engine::GroupId;

use super::founding::role_name;
use super::{App, AppError, Caller, Page};

/// The last digest and the commit that it was taken at: a status that is asked for every second costs nothing.
#[derive(Default)]
pub(in crate::app) struct DigestCache(Arc<Mutex<Option<(CommitNo, String)>>>);

/// BLAKE3 over the documents (id, heads) and facts (id) of the group `shared` in lanes 0 to 3, in the order of their
/// ids, and over the trust records in the order of their hashes. Two nodes that hold and have applied the same entries
/// have the same digest, whatever arrived first.
pub(in crate::app) fn heads_digest(reader: &Reader<'_>) -> Result<String, StoreError> {
    let mut hasher = blake3::Hasher::new_derive_key("muster 2026 heads digest v1");
    let mut records: Vec<[u8; 32]> = reader
        .trust_records()?
        .iter()
        .map(|entry| *blake3::hash(&entry.bytes).as_bytes())
        .collect();
    records.sort_unstable();
    hasher.update(&(records.len() as u64).to_le_bytes());
    for record in records {
        hasher.update(&record);
    }
    reader.digest_items(&GroupId::SHARED, |item| match item {
        DigestItem::Document { id, lane, heads } => {
            hasher.update(&[1, lane as u8]);
            hasher.update(&id.0);
            hasher.update(&(heads.len() as u64).to_le_bytes());
            hasher.update(heads);
        }
        DigestItem::Fact { id, lane } => {
            hasher.update(&[2, lane as u8]);
            hasher.update(&id.0);
        }
    })?;
    Ok(HEXLOWER.encode(hasher.finalize().as_bytes()))
}

impl App {
    /// Whether the node can take requests: its store answers.
    pub fn is_ready(&self) -> bool {
        !self.stop.is_cancelled() && self.store.read(|reader| reader.newest_commit()).is_ok()
    }

    async fn digest(&self) -> Result<String, AppError> {
        let cache = Arc::clone(&self.digest.0);
        self.read(move |reader| {
            let newest = reader.newest_commit()?;
            if let Some((commit, digest)) = cache.lock().as_ref()
                && *commit == newest
            {
                return Ok(digest.clone());
            }
            let digest = heads_digest(reader)?;
            // Only if nothing was committed meanwhile does it belong to that commit.
            if reader.newest_commit()? == newest {
                *cache.lock() = Some((newest, digest.clone()));
            }
            Ok(digest)
        })
        .await
    }

    /// The status as DESIGN §8 describes it.
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn status(&self) -> Result<Value, AppError> {
        let digest = self.digest().await?;
        let (counts, unapplied) = self
            .read(|reader| Ok((reader.count_by_kind()?, reader.unapplied()?)))
            .await?;
        let letters = self
            .store
            .readings()
            .dead_letter_counts()
            .map_err(|error| AppError::Fault {
                context: "count dead letters",
                source: Box::new(error),
            })?;
        let documents: u64 = counts.iter().map(|(_, count)| count).sum();
        let stopped = self.writes_stopped.load_full();
        Ok(json!({
            "node_id": self.me.node.to_string(),
            "name": self.me.name,
            "role": role_name(self.me.role),
            "operation": { "id": self.me.operation.to_string(), "title": self.me.title },
            "incarnation": self.me.incarnation.to_string(),
            "software": env!("CARGO_PKG_VERSION"),
            "uptime_s": self.clock.uptime_ms() / 1_000,
            "documents": documents,
            "readings": self.store.readings().count(),
            "dead_letters": letters.open,
            "heads_digest": digest,
            "digests": { "shared": digest },
            "pending": unapplied.waiting + unapplied.held,
            "quarantined": unapplied.quarantined,
            "rules_behind": self.rules.behind(),
            "writes_stopped": stopped.as_deref(),
            "addresses": self.addresses.get(),
            "peers": self.peer_values(),
        }))
    }

    /// The other nodes.
    ///
    /// # Errors
    /// `Forbidden`.
    pub async fn peers(&self, caller: &Caller) -> Result<Page, AppError> {
        self.authorise(caller, Action::Read, Subject::Node)?;
        Ok(Page {
            items: self.peer_values(),
            next: None,
            since: self.event_position().to_string(),
        })
    }
}
