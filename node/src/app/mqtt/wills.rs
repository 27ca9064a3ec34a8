//! Wills: what a client wants to be said when it is lost (MQTT 5 §3.1.2.5), at once or after a delay in which it may come
//! back.
//!
//! Invariant: a will is published once, or not at all because its client came back or said goodbye. Delayed wills are in
//! memory only: after a crash of the node it is the node that was lost, not its clients.

use std::collections::HashMap;

use super::publisher::{Incoming, Publisher};
use super::rights::Rights;
use super::words::{Qos, Will};
use super::{Mqtt, topics};

/// Wills that wait; each may have 64 KiB.
pub(super) const WAITING_MAX: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct Wills {
    /// By client identifier, so at most one a session.
    waiting: HashMap<String, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    due_uptime_ms: i64,
    will: Will,
    rights: Rights,
}

impl Mqtt {
    /// Whether a client may have that will.
    pub fn may_will(&self, will: &Will, rights: &Rights) -> bool {
        topics::is_publishable(&will.topic)
            && rights.may_publish(&will.topic, self.0.devices.claims())
    }

    /// The device that is there while a client with these rights and this will is connected, and gone when it is lost.
    pub fn device_shown_by<'a>(
        &self,
        rights: &'a Rights,
        will: Option<&'a Will>,
    ) -> Option<&'a str> {
        let claims = self.0.devices.claims();
        rights
            .device()
            .or_else(|| rights.marked_by_will(&will?.topic, claims))
    }

    /// The client is lost: its will waits for its delay, or is published now.
    pub fn lost(&self, client_id: &str, will: Will, rights: Rights, session_expiry_s: u32) {
        let delay_s = will.delay_s.min(session_expiry_s);
        let is_full = self.0.wills.lock().waiting.len() >= WAITING_MAX;
        if delay_s == 0 || client_id.is_empty() || is_full {
            self.publish_will(will, rights);
            return;
        }
        let due_uptime_ms = self
            .uptime_ms()
            .saturating_add(i64::from(delay_s).saturating_mul(1_000));
        self.0.wills.lock().waiting.insert(
            client_id.to_owned(),
            Waiting {
                due_uptime_ms,
                will,
                rights,
            },
        );
    }

    /// The client is there again: with its session its will is not said, with a new one the old session is over and the
    /// will is due.
    pub(super) fn cancel_will(&self, client_id: &str, present: bool) {
        let waiting = self.0.wills.lock().waiting.remove(client_id);
        if let Some(waiting) = waiting.filter(|_| !present) {
            self.publish_will(waiting.will, waiting.rights);
        }
    }

    /// Wills of an account that counts no longer.
    pub(super) fn drop_wills(&self, owner: &str) {
        let mut wills = self.0.wills.lock();
        wills
            .waiting
            .retain(|_, waiting| waiting.rights.owner() != owner);
    }

    pub(super) fn publish_due_wills(&self) {
        let uptime_ms = self.uptime_ms();
        let due: Vec<Waiting> = self
            .0
            .wills
            .lock()
            .waiting
            .extract_if(|_, waiting| waiting.due_uptime_ms <= uptime_ms)
            .map(|(_, waiting)| waiting)
            .collect();
        for waiting in due {
            self.publish_will(waiting.will, waiting.rights);
        }
    }

    /// Through ingest, as any message.
    fn publish_will(&self, will: Will, rights: Rights) {
        metrics::counter!("muster_mqtt_wills_total").increment(1);
        // Not louder: whoever is let in can have one published as often as it likes.
        tracing::debug!(
            topic = will.topic,
            "an MQTT client is lost: its will is published"
        );
        let mut publisher = Publisher::new(self.clone(), None, rights, false);
        publisher.speaks_for_the_absent();
        let incoming = Incoming {
            topic: &will.topic,
            payload: &will.payload,
            qos: Qos::Zero,
            wanted_qos: will.qos,
            retain: will.retain,
            properties: &will.properties,
            expiry_s: will.expiry_s,
        };
        if publisher.publish(incoming).is_err() {
            return;
        }
        if let Some(mut submission) = publisher.submit(true) {
            // On a full disk this takes as long as that lasts.
            tokio::spawn(async move {
                if let Err(error) = submission.committed().await {
                    tracing::error!(%error, "a will could not be stored");
                }
            });
        }
    }
}
