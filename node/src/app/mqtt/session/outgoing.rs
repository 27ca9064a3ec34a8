//! Messages on their way to a session's client: promised, kept, sent, acknowledged.
//!
//! ```text
//! promise ──▶ keep ──▶ ready (PUBLISH) ──▶ finished            QoS 1
//!    └──▶ withdraw             └──▶ received (PUBREL) ──▶ finished   QoS 2
//! ```

use std::sync::Arc;

use store::{MqttChange, MqttMessage, MqttOutgoing};

use super::{Full, Ready, Session};
use crate::app::mqtt::grant::Grant;
use crate::app::mqtt::queue::{
    Copy, Entry, Phase, at_most_once, cost, encode_identifier, is_expired,
};

impl Session {
    /// Takes a place for a message of QoS 1 or 2. It is sent after [`Session::keep`].
    pub(in crate::app) fn promise(
        &self,
        message: &Arc<MqttMessage>,
        qos: u8,
        retain: bool,
        identifiers: Box<[u8]>,
        command: Option<[u8; 16]>,
    ) -> Result<MqttOutgoing, Full> {
        let mut inner = self.inner.lock();
        let cost = cost(message);
        if !inner.has_room(cost) {
            return Err(Full);
        }
        let durable = self.number.is_some() && inner.expiry_s > 0 && command.is_none();
        let outgoing = MqttOutgoing {
            number: inner.next_number,
            packet_id: inner.free_packet_id(),
            message: Arc::clone(message),
            qos,
            retain,
            identifiers,
            released: false,
        };
        inner.next_number += 1;
        inner.charge(cost);
        inner.packet_ids.insert(outgoing.packet_id, outgoing.number);
        inner.entries.insert(
            outgoing.number,
            Entry {
                outgoing: outgoing.clone(),
                phase: Phase::Promised,
                dup: false,
                durable,
                command,
            },
        );
        Ok(outgoing)
    }

    /// The promise stands: it may be sent.
    pub(in crate::app) fn keep(&self, number: u64) {
        let mut inner = self.inner.lock();
        if let Some(entry) = inner.entries.get_mut(&number)
            && entry.phase == Phase::Promised
        {
            entry.phase = Phase::Waiting;
            inner.waiting.insert(number);
            drop(inner);
            self.wake.notify_one();
        }
    }

    /// The promise was not made after all.
    pub(in crate::app) fn withdraw(&self, number: u64) {
        self.inner.lock().forget(number);
    }

    /// A message of QoS 0, if there is room for it.
    pub(in crate::app) fn offer(
        &self,
        message: &Arc<MqttMessage>,
        retain: bool,
        identifiers: Box<[u8]>,
    ) -> Result<(), Full> {
        let mut inner = self.inner.lock();
        if inner.receiver.is_none() {
            // §4.3.1: nobody waits for it.
            return Ok(());
        }
        let cost = cost(message);
        if !inner.has_room(cost) {
            return Err(Full);
        }
        inner.charge(cost);
        inner.transient.push_back(Copy {
            message: Arc::clone(message),
            qos: 0,
            retain,
            identifiers,
        });
        drop(inner);
        self.wake.notify_one();
        Ok(())
    }

    /// Retained messages that a new subscription asks for: sent as there is room. Those of an earlier one that were not
    /// sent yet and come again are not sent twice.
    pub(in crate::app) fn offer_retained(
        &self,
        messages: impl Iterator<Item = Arc<MqttMessage>>,
        grant: Grant,
        bound: usize,
    ) {
        let mut inner = self.inner.lock();
        let identifiers = encode_identifier(grant.identifier);
        for message in messages {
            if inner.backlog.len() >= bound {
                break;
            }
            inner.backlog.push_back(Copy {
                qos: message.qos.min(grant.qos),
                message,
                retain: true,
                identifiers: identifiers.clone(),
            });
        }
        drop(inner);
        self.wake.notify_one();
    }

    /// Resolves when there may be something to send.
    pub async fn wait(&self) {
        self.wake.notified().await;
    }

    /// Packets that may be sent now, at most `count_max`. `changes` gets what is to be stored.
    pub fn ready(
        &self,
        now_ms: i64,
        count_max: usize,
        changes: &mut Vec<MqttChange>,
    ) -> Vec<Ready> {
        let mut inner = self.inner.lock();
        let mut ready = Vec::new();
        let Some(receiver) = inner.receiver else {
            return ready;
        };
        while ready.len() < count_max
            && let Some(packet_id) = inner.pubrels.pop_front()
        {
            ready.push(Ready::Pubrel { packet_id });
        }
        while ready.len() < count_max && inner.in_flight < usize::from(receiver.receive_maximum) {
            let Some(number) = inner.waiting.pop_first() else {
                break;
            };
            let Some(entry) = inner.entries.get_mut(&number) else {
                continue;
            };
            if is_expired(&entry.outgoing.message, now_ms) && !entry.dup {
                metrics::counter!("muster_mqtt_outgoing_dropped_total", "reason" => "expired")
                    .increment(1);
                changes.extend(self.dequeued(inner.forget(number)));
                continue;
            }
            entry.phase = Phase::Sent;
            let outgoing = &entry.outgoing;
            ready.push(Ready::Publish {
                packet_id: Some(outgoing.packet_id),
                dup: entry.dup,
                qos: outgoing.qos,
                retain: outgoing.retain,
                message: Arc::clone(&outgoing.message),
                identifiers: outgoing.identifiers.clone(),
            });
            inner.in_flight += 1;
        }
        while ready.len() < count_max
            && let Some(copy) = inner.transient.pop_front()
        {
            inner.refund(cost(&copy.message));
            if !is_expired(&copy.message, now_ms) {
                ready.push(at_most_once(copy));
            }
        }
        inner.take_backlog(&mut ready, count_max, now_ms);
        ready
    }

    /// PUBACK, PUBCOMP, or PUBREC with an error: the client has it or will never have it. Answers the change to store
    /// and the command that it was.
    pub(in crate::app) fn finished(
        &self,
        packet_id: u16,
    ) -> (Option<MqttChange>, Option<[u8; 16]>) {
        let mut inner = self.inner.lock();
        let Some(&number) = inner.packet_ids.get(&packet_id) else {
            return (None, None);
        };
        let sent = inner
            .entries
            .get(&number)
            .is_some_and(|entry| matches!(entry.phase, Phase::Sent | Phase::Released));
        if !sent {
            // An acknowledgement of something that was not sent on this connection.
            return (None, None);
        }
        inner.in_flight = inner.in_flight.saturating_sub(1);
        let entry = inner.forget(number);
        let more = !inner.waiting.is_empty() || !inner.backlog.is_empty();
        drop(inner);
        if more {
            self.wake.notify_one();
        }
        let command = entry.as_ref().and_then(|entry| entry.command);
        (self.dequeued(entry), command)
    }

    /// PUBREC: answers whether there is such a message, and the change that has to be stored before PUBREL.
    pub(in crate::app) fn received(&self, packet_id: u16) -> (bool, Option<MqttChange>) {
        let mut inner = self.inner.lock();
        let Some(&number) = inner.packet_ids.get(&packet_id) else {
            return (false, None);
        };
        let Some(entry) = inner.entries.get_mut(&number) else {
            return (false, None);
        };
        if !matches!(entry.phase, Phase::Sent | Phase::Released) {
            return (false, None);
        }
        entry.phase = Phase::Released;
        entry.outgoing.released = true;
        let change = match self.number {
            Some(session) if entry.durable => {
                Some(MqttChange::OutgoingReleased { session, number })
            }
            _ => None,
        };
        (true, change)
    }

    /// Whether this command is on its way to the client.
    pub(in crate::app) fn carries(&self, command: &[u8; 16]) -> bool {
        self.inner
            .lock()
            .entries
            .values()
            .any(|entry| entry.command.as_ref() == Some(command))
    }

    fn dequeued(&self, entry: Option<Entry>) -> Option<MqttChange> {
        let entry = entry.filter(|entry| entry.durable)?;
        Some(MqttChange::Dequeued {
            session: self.number?,
            number: entry.outgoing.number,
        })
    }
}
