//! Messages between their publisher and the disk, and to subscribers once they are there.
//!
//! Invariant: a copy that was promised is kept after the commit or withdrawn, also when the publisher is gone meanwhile.

use std::sync::Arc;

use store::MqttMessage;

use super::session::Session;
use crate::app::AppError;
use crate::app::ingest;

/// Whose copy of a message it is.
pub(super) struct Target {
    pub(super) session: Arc<Session>,
    pub(super) retain: bool,
    pub(super) identifiers: Box<[u8]>,
    /// The place that it has; `None` at QoS 0.
    pub(super) promised: Option<u64>,
}

/// A message with its copies.
pub(super) struct Published {
    pub(super) message: Arc<MqttMessage>,
    /// As [`ingest::IngestSession::last_message`] named it.
    pub(super) origin: Option<u32>,
    pub(super) targets: Vec<Target>,
}

/// Messages on their way to the disk, and to subscribers after it.
pub struct Submission {
    /// Taken when it is dropped.
    inner: Option<ingest::Submission>,
    published: Vec<Published>,
}

impl Submission {
    pub(super) fn new(inner: ingest::Submission, published: Vec<Published>) -> Submission {
        Submission {
            inner: Some(inner),
            published,
        }
    }

    /// Returns when everything in it is on the disk, and handed to subscribers. May be dropped and called again.
    ///
    /// # Errors
    /// The store is closed.
    pub async fn committed(&mut self) -> Result<(), AppError> {
        if let Some(inner) = &mut self.inner {
            inner.committed().await?;
            deliver(std::mem::take(&mut self.published), inner.repeated());
        }
        Ok(())
    }

    /// Returns when the store has it, or had it. May be dropped and called again.
    pub async fn started(&mut self) {
        if let Some(inner) = &mut self.inner {
            inner.started().await;
        }
    }

    /// Whether it is on the disk, without waiting.
    pub fn is_committed(&mut self) -> bool {
        let Some(inner) = &mut self.inner else {
            return false;
        };
        if !inner.is_committed() {
            return false;
        }
        deliver(std::mem::take(&mut self.published), inner.repeated());
        true
    }

    /// The store has it, or had it and refused.
    pub fn is_under_way(&self) -> bool {
        self.inner
            .as_ref()
            .is_some_and(ingest::Submission::is_under_way)
    }
}

impl Drop for Submission {
    fn drop(&mut self) {
        let published = std::mem::take(&mut self.published);
        if published.is_empty() {
            return;
        }
        let under_way = self.inner.take().filter(ingest::Submission::is_under_way);
        match (under_way, tokio::runtime::Handle::try_current()) {
            // The publisher is gone, but its messages may be stored: then subscribers get them.
            (Some(mut inner), Ok(runtime)) => {
                runtime.spawn(async move {
                    if inner.settled().await {
                        deliver(published, inner.repeated());
                    } else {
                        withdraw(published);
                    }
                });
            }
            _ => withdraw(published),
        }
    }
}

fn deliver(published: Vec<Published>, repeated: &[u32]) {
    for one in published {
        let is_repeated = one.origin.is_some_and(|origin| repeated.contains(&origin));
        for target in one.targets {
            match target.promised {
                Some(number) if is_repeated => target.session.withdraw(number),
                Some(number) => target.session.keep(number),
                None if is_repeated => {}
                None => {
                    let offered =
                        target
                            .session
                            .offer(&one.message, target.retain, target.identifiers);
                    if offered.is_err() {
                        dropped("qos0-queue-full");
                    }
                }
            }
        }
    }
}

fn withdraw(published: Vec<Published>) {
    for target in published.into_iter().flat_map(|one| one.targets) {
        if let Some(number) = target.promised {
            target.session.withdraw(number);
        }
    }
}

pub(super) fn dropped(reason: &'static str) {
    metrics::counter!("muster_mqtt_outgoing_dropped_total", "reason" => reason).increment(1);
}
