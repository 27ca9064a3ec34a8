//! What changed, in this node's order of arrival: for `GET /v1/events` and everything that follows along.
//!
//! Invariant: an event is published after the commit that it tells of; who misses some finds them in the store.
//!
//! Dead letters are in the file of the readings, which has no place in that order: of them is told only that they changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use domain::{FactKind, RecordId, schema};
use store::{EventSubject, GroupCommit, Store, StoreError};
use tokio::sync::{broadcast, watch};

use super::App;
use super::error::AppError;
use super::types::Event;

/// Events kept for slow followers before they must read from the store; about a second of a busy node.
const FEED_EVENTS: usize = 1_024;

/// Events in one answer of the store; a follower that is further behind asks again.
const PAGE_EVENTS: usize = 1_000;

/// The live end.
#[derive(Clone)]
pub(in crate::app) struct EventFeed {
    sender: broadcast::Sender<Event>,
    position: Arc<AtomicI64>,
}

impl EventFeed {
    pub(in crate::app) fn new(store: &Store) -> Result<Self, StoreError> {
        let position = store.read(|reader| reader.newest_event())?;
        Ok(EventFeed {
            sender: broadcast::channel(FEED_EVENTS).0,
            position: Arc::new(AtomicI64::new(position)),
        })
    }

    /// Called by the store's writer after each SQL transaction.
    pub(in crate::app) fn publish(&self, group: &GroupCommit) {
        for event in &group.events {
            self.position.store(event.position, Ordering::Release);
            if let Some(event) = outward(event) {
                // Nobody listens: that is fine.
                let _ = self.sender.send(event);
            }
        }
    }
}

/// An event as the API shows it; `None` for kinds that this version has no name for.
fn outward(event: &store::Event) -> Option<Event> {
    let (kind, id, version) = match &event.subject {
        EventSubject::Object { kind, id, version } => {
            let name = match schema::spec_by_code(*kind) {
                Some(spec) => spec.name,
                None => FactKind::by_code(*kind)?.name(),
            };
            (name, RecordId(id.0).to_string(), version.clone())
        }
        EventSubject::Conflict { id } => ("conflict", id.clone(), String::new()),
    };
    Some(Event {
        position: event.position,
        kind: kind.to_owned(),
        id,
        version,
    })
}

impl App {
    /// The events after `position`, oldest first, at most a page of them; `None` when that is too old.
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn events_since(&self, position: i64) -> Result<Option<Vec<Event>>, AppError> {
        let events = self
            .read(move |reader| reader.events_since(position, PAGE_EVENTS))
            .await?;
        Ok(events.map(|events| events.iter().filter_map(outward).collect()))
    }

    /// Events as they are committed from now on.
    pub fn subscribe_events(&self) -> broadcast::Receiver<Event> {
        self.events.sender.subscribe()
    }

    /// Moves with each commit that changed the list of dead letters.
    pub fn subscribe_dead_letters(&self) -> watch::Receiver<u64> {
        self.store.readings().dead_letter_changes()
    }

    /// The newest event's position.
    pub fn event_position(&self) -> i64 {
        self.events.position.load(Ordering::Acquire)
    }
}
