//! What is on its way to one client, as data: the state behind [`super::session::Session`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use store::{MqttMessage, MqttOutgoing};
use tokio_util::sync::CancellationToken;

use super::grant::Grant;
use super::session::{
    Ended, QUEUE_BYTES_MAX, QUEUE_MESSAGES_MAX, QUEUES_BYTES_MAX, Ready, Receiver,
};

/// What a message takes beside its bytes.
const MESSAGE_OVERHEAD_BYTES: usize = 128;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its row is being stored.
    Promised,
    Waiting,
    Sent,
    /// PUBREC came.
    Released,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) outgoing: MqttOutgoing,
    pub(super) phase: Phase,
    /// It may have been sent on an earlier connection.
    pub(super) dup: bool,
    /// It has a row.
    pub(super) durable: bool,
    pub(super) command: Option<[u8; 16]>,
}

/// A copy that no acknowledgement is expected for, or that is made when there is room.
#[derive(Debug)]
pub(super) struct Copy {
    pub(super) message: Arc<MqttMessage>,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) identifiers: Box<[u8]>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) receiver: Option<Receiver>,
    pub(super) stop: CancellationToken,
    pub(super) ended: Option<Ended>,
    /// 0: it ends with its connection.
    pub(super) expiry_s: u32,
    /// Uptime when the client left; may lie before the start of the process.
    pub(super) left_uptime_ms: i64,
    pub(super) subscriptions: BTreeMap<String, Grant>,
    pub(super) entries: BTreeMap<u64, Entry>,
    pub(super) packet_ids: HashMap<u16, u64>,
    pub(super) waiting: BTreeSet<u64>,
    pub(super) in_flight: usize,
    pub(super) next_number: u64,
    pub(super) last_packet_id: u16,
    /// QoS 0.
    pub(super) transient: VecDeque<Copy>,
    /// Retained messages for a new subscription; they are kept elsewhere, so here they cost a pointer.
    pub(super) backlog: VecDeque<Copy>,
    pub(super) bytes: usize,
    /// Of all sessions.
    pub(super) total_bytes: Arc<AtomicUsize>,
    /// PUBRELs to send again after a reconnect.
    pub(super) pubrels: VecDeque<u16>,
    /// Packet ids of QoS 2 that the client uses. The store decides what is a duplicate; this bounds their number, and
    /// decides for a client without an identifier, of which the store knows nothing.
    pub(super) unreleased: HashSet<u16>,
}

impl Inner {
    pub(super) fn has_room(&self, cost: usize) -> bool {
        self.entries.len() + self.transient.len() < QUEUE_MESSAGES_MAX
            && self.bytes + cost <= QUEUE_BYTES_MAX
            && self.total_bytes.load(Ordering::Relaxed) + cost <= QUEUES_BYTES_MAX
    }

    /// Whether it is its own messages that leave no room.
    pub(super) fn is_behind(&self) -> bool {
        self.entries.len() + self.transient.len() >= QUEUE_MESSAGES_MAX
            || self.bytes > QUEUE_BYTES_MAX / 2
    }

    pub(super) fn charge(&mut self, cost: usize) {
        self.bytes += cost;
        self.total_bytes.fetch_add(cost, Ordering::Relaxed);
    }

    pub(super) fn refund(&mut self, cost: usize) {
        self.bytes -= cost;
        self.total_bytes.fetch_sub(cost, Ordering::Relaxed);
    }

    /// There are more ids than messages, so one is free.
    pub(super) fn free_packet_id(&mut self) -> u16 {
        loop {
            self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
            if !self.packet_ids.contains_key(&self.last_packet_id) {
                return self.last_packet_id;
            }
        }
    }

    /// Retained copies become messages one by one.
    pub(super) fn take_backlog(&mut self, ready: &mut Vec<Ready>, count_max: usize, now_ms: i64) {
        let receive_maximum = self
            .receiver
            .map_or(0, |receiver| usize::from(receiver.receive_maximum));
        while ready.len() < count_max
            && let Some(copy) = self.backlog.front()
        {
            let cost = cost(&copy.message);
            if copy.qos > 0 && (self.in_flight >= receive_maximum || !self.has_room(cost)) {
                return;
            }
            let Some(copy) = self.backlog.pop_front() else {
                return;
            };
            if is_expired(&copy.message, now_ms) {
                continue;
            }
            if copy.qos == 0 {
                ready.push(at_most_once(copy));
                continue;
            }
            let number = self.next_number;
            self.next_number += 1;
            let outgoing = MqttOutgoing {
                number,
                packet_id: self.free_packet_id(),
                message: copy.message,
                qos: copy.qos,
                retain: true,
                identifiers: copy.identifiers,
                released: false,
            };
            self.charge(cost);
            self.in_flight += 1;
            self.packet_ids.insert(outgoing.packet_id, number);
            ready.push(Ready::Publish {
                packet_id: Some(outgoing.packet_id),
                dup: false,
                qos: outgoing.qos,
                retain: true,
                message: Arc::clone(&outgoing.message),
                identifiers: outgoing.identifiers.clone(),
            });
            let entry = Entry {
                outgoing,
                phase: Phase::Sent,
                dup: false,
                durable: false,
                command: None,
            };
            self.entries.insert(number, entry);
        }
    }

    pub(super) fn restore(&mut self, outgoing: MqttOutgoing) {
        let number = outgoing.number;
        self.charge(cost(&outgoing.message));
        self.packet_ids.insert(outgoing.packet_id, number);
        let phase = if outgoing.released {
            Phase::Released
        } else {
            self.waiting.insert(number);
            Phase::Waiting
        };
        let entry = Entry {
            outgoing,
            phase,
            // Whether it was sent before the crash nobody knows; a copy must be marked.
            dup: true,
            durable: true,
            command: None,
        };
        self.entries.insert(number, entry);
    }

    pub(super) fn forget(&mut self, number: u64) -> Option<Entry> {
        let entry = self.entries.remove(&number)?;
        self.waiting.remove(&number);
        self.packet_ids.remove(&entry.outgoing.packet_id);
        self.refund(cost(&entry.outgoing.message));
        Some(entry)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.total_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Property 11 as on the wire (MQTT 5 §3.3.2.3.8); nothing for 0.
pub(in crate::app) fn encode_identifier(identifier: u32) -> Box<[u8]> {
    if identifier == 0 {
        return Box::default();
    }
    let mut bytes = vec![0x0b];
    let mut rest = identifier;
    loop {
        let low = (rest % 128) as u8;
        rest /= 128;
        bytes.push(if rest > 0 { low | 0x80 } else { low });
        if rest == 0 {
            return bytes.into();
        }
    }
}

pub(super) fn at_most_once(copy: Copy) -> Ready {
    Ready::Publish {
        packet_id: None,
        dup: false,
        qos: 0,
        retain: copy.retain,
        message: copy.message,
        identifiers: copy.identifiers,
    }
}

pub(super) fn is_expired(message: &MqttMessage, now_ms: i64) -> bool {
    message.expires_ms.is_some_and(|expires| expires <= now_ms)
}

pub(super) fn cost(message: &MqttMessage) -> usize {
    MESSAGE_OVERHEAD_BYTES + message.topic.len() + message.payload.len() + message.properties.len()
}
