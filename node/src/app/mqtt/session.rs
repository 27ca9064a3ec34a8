//! One client's session: what it subscribed to, and what is on its way to it.
//!
//! Invariants:
//! - A message of QoS 1 or 2 is here from its promise until the client has it, within [`QUEUE_MESSAGES_MAX`] and
//!   [`QUEUE_BYTES_MAX`]; what finds no room is refused to whoever promises, never dropped afterwards.
//! - Messages leave in the order of their numbers, and at most as many are unacknowledged as the client allows.
//! - For a session that outlives its connection each change here has its [`MqttChange`], which the caller stores.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use parking_lot::Mutex;
use store::{MqttChange, MqttMessage, MqttOutgoing, SessionNo};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::queue::{Copy, Entry, Inner, Phase, at_most_once, cost, encode_identifier, is_expired};

/// Messages on their way to one session. A dashboard that was away for a quarter of an hour at one message a second.
pub const QUEUE_MESSAGES_MAX: usize = 1_000;
/// And their bytes.
pub const QUEUE_BYTES_MAX: usize = 1 << 20;
/// Bytes on their way to all sessions together, those that are away among them: a hundred full queues.
pub const QUEUES_BYTES_MAX: usize = 128 << 20;
/// Subscriptions of one session; devices have one, dashboards a few.
pub const SUBSCRIPTIONS_MAX: usize = 100;
/// QoS 2 messages of a client that it has not released. As many as it may have unacknowledged at once
/// ([`crate::ingest::mqtt::RECEIVE_MAXIMUM`]).
pub const UNRELEASED_MAX: usize = 4_096;
/// A subscription as granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::app) struct Grant {
    pub(in crate::app) qos: u8,
    /// Not what this session published itself.
    pub(in crate::app) no_local: bool,
    /// Keep the RETAIN flag as published.
    pub(in crate::app) retain_as_published: bool,
    /// 0: none.
    pub(in crate::app) identifier: u32,
}

impl Grant {
    /// Options as on the wire (MQTT 5 §3.8.3.1); retain handling is of the SUBSCRIBE alone.
    pub(in crate::app) fn options(self) -> u8 {
        self.qos | u8::from(self.no_local) << 2 | u8::from(self.retain_as_published) << 3
    }

    pub(in crate::app) fn from_options(options: u8, identifier: u32) -> Self {
        Grant {
            qos: (options & 0b11).min(2),
            no_local: options & 0b100 != 0,
            retain_as_published: options & 0b1000 != 0,
            identifier,
        }
    }
}

/// Why a session is ended by the node while its client is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It did not take its messages as fast as they came.
    TooSlow,
    /// Its account was removed or has a new secret.
    AccountGone,
}

/// What a client said when it connected, as far as sending to it is concerned.
#[derive(Debug, Clone, Copy)]
pub struct Receiver {
    /// Unacknowledged messages it takes (MQTT 5 §3.1.2.11.3).
    pub receive_maximum: u16,
}

/// A packet for the client.
#[derive(Debug, Clone)]
pub enum Ready {
    Publish {
        /// `None` at QoS 0.
        packet_id: Option<u16>,
        dup: bool,
        qos: u8,
        retain: bool,
        message: Arc<MqttMessage>,
        identifiers: Box<[u8]>,
    },
    Pubrel {
        packet_id: u16,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Session {
    /// `None` for a client without an identifier.
    pub(in crate::app) number: Option<SessionNo>,
    pub(in crate::app) client_id: String,
    /// The account, empty for nobody.
    pub(in crate::app) owner: String,
    inner: Mutex<Inner>,
    wake: Notify,
}

/// There is no room for another message.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::app) struct Full;

impl Session {
    pub(in crate::app) fn new(
        number: Option<SessionNo>,
        client_id: String,
        owner: String,
        total_bytes: &Arc<AtomicUsize>,
    ) -> Session {
        Session {
            number,
            client_id,
            owner,
            inner: Mutex::new(Inner {
                receiver: None,
                stop: CancellationToken::new(),
                ended: None,
                expiry_s: 0,
                left_uptime_ms: 0,
                subscriptions: BTreeMap::new(),
                entries: BTreeMap::new(),
                packet_ids: HashMap::new(),
                waiting: BTreeSet::new(),
                in_flight: 0,
                next_number: 1,
                last_packet_id: 0,
                transient: VecDeque::new(),
                backlog: VecDeque::new(),
                bytes: 0,
                total_bytes: Arc::clone(total_bytes),
                pubrels: VecDeque::new(),
                unreleased: HashSet::new(),
            }),
            wake: Notify::new(),
        }
    }

    /// As it was stored; the client is away.
    pub(in crate::app) fn restored(
        kept: store::MqttSession,
        now_ms: i64,
        uptime_ms: i64,
        total_bytes: &Arc<AtomicUsize>,
    ) -> Session {
        let session = Session::new(Some(kept.session), kept.client_id, kept.owner, total_bytes);
        {
            let mut inner = session.inner.lock();
            inner.expiry_s = kept.expiry_s;
            let away_ms = now_ms.saturating_sub(kept.left_ms.unwrap_or(now_ms)).max(0);
            inner.left_uptime_ms = uptime_ms.saturating_sub(away_ms);
            for (filter, options, identifier) in kept.subscriptions {
                let grant = Grant::from_options(options, identifier);
                inner.subscriptions.insert(filter, grant);
            }
            for outgoing in kept.outgoing {
                inner.next_number = inner.next_number.max(outgoing.number + 1);
                inner.last_packet_id = outgoing.packet_id;
                inner.restore(outgoing);
            }
        }
        session
    }

    /// The client is there.
    pub(in crate::app) fn connect(
        &self,
        receiver: Receiver,
        expiry_s: u32,
        stop: CancellationToken,
    ) {
        let mut inner = self.inner.lock();
        inner.receiver = Some(receiver);
        inner.expiry_s = expiry_s;
        inner.stop = stop;
        inner.ended = None;
        inner.in_flight = 0;
        inner.pubrels.clear();
        // §4.4: what was not acknowledged is sent again, in the original order.
        let mut again = Vec::new();
        let mut pubrels = VecDeque::new();
        for (number, entry) in &mut inner.entries {
            match entry.phase {
                Phase::Sent => {
                    entry.phase = Phase::Waiting;
                    entry.dup = true;
                    again.push(*number);
                }
                Phase::Released => pubrels.push_back(entry.outgoing.packet_id),
                Phase::Promised | Phase::Waiting => {}
            }
        }
        inner.in_flight = pubrels.len();
        inner.pubrels = pubrels;
        inner.waiting.extend(again);
        drop(inner);
        self.wake.notify_one();
    }

    /// The client is gone.
    pub(in crate::app) fn disconnect(&self, expiry_s: Option<u32>, uptime_ms: i64) {
        let mut inner = self.inner.lock();
        inner.receiver = None;
        inner.left_uptime_ms = uptime_ms;
        if let Some(expiry_s) = expiry_s {
            inner.expiry_s = expiry_s;
        }
        for copy in std::mem::take(&mut inner.transient) {
            inner.refund(cost(&copy.message));
        }
        inner.backlog.clear();
    }

    /// Seconds that it outlives its connection.
    pub fn expiry_s(&self) -> u32 {
        self.inner.lock().expiry_s
    }

    /// It outlives its connection, so what is promised to it is stored.
    pub(in crate::app) fn persistent(&self) -> Option<SessionNo> {
        self.number.filter(|_| self.inner.lock().expiry_s > 0)
    }

    /// Whether it does not take its messages as fast as they come.
    pub(in crate::app) fn is_behind(&self) -> bool {
        self.inner.lock().is_behind()
    }

    pub(in crate::app) fn is_connected(&self) -> bool {
        self.inner.lock().receiver.is_some()
    }

    /// Whether it is over: the client has been away for longer than it asked for.
    pub(in crate::app) fn is_over(&self, uptime_ms: i64) -> bool {
        let inner = self.inner.lock();
        inner.receiver.is_none()
            && inner
                .left_uptime_ms
                .saturating_add(i64::from(inner.expiry_s) * 1_000)
                <= uptime_ms
    }

    /// Ends the connection.
    pub(in crate::app) fn end(&self, why: Ended) {
        let mut inner = self.inner.lock();
        inner.ended = Some(why);
        inner.stop.cancel();
    }

    /// Why the node ended it, if it did.
    pub fn ended(&self) -> Option<Ended> {
        self.inner.lock().ended
    }

    /// The client publishes under this id with QoS 2; answers whether it was in use already.
    pub(in crate::app) fn take_packet_id(&self, packet_id: u16) -> Result<bool, Full> {
        let mut inner = self.inner.lock();
        if inner.unreleased.contains(&packet_id) {
            return Ok(true);
        }
        if inner.unreleased.len() >= UNRELEASED_MAX {
            return Err(Full);
        }
        inner.unreleased.insert(packet_id);
        Ok(false)
    }

    pub(in crate::app) fn release_packet_id(&self, packet_id: u16) {
        self.inner.lock().unreleased.remove(&packet_id);
    }

    pub(in crate::app) fn subscriptions(&self) -> Vec<(String, Grant)> {
        let inner = self.inner.lock();
        inner
            .subscriptions
            .iter()
            .map(|(filter, grant)| (filter.clone(), *grant))
            .collect()
    }

    /// Notes a subscription; answers the one before under this filter.
    pub(in crate::app) fn subscribe(
        &self,
        filter: &str,
        grant: Grant,
    ) -> Result<Option<Grant>, Full> {
        let mut inner = self.inner.lock();
        if inner.subscriptions.len() >= SUBSCRIPTIONS_MAX
            && !inner.subscriptions.contains_key(filter)
        {
            return Err(Full);
        }
        Ok(inner.subscriptions.insert(filter.to_owned(), grant))
    }

    pub(in crate::app) fn unsubscribe(&self, filter: &str) -> bool {
        self.inner.lock().subscriptions.remove(filter).is_some()
    }

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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    fn message(bytes: usize) -> Arc<MqttMessage> {
        Arc::new(MqttMessage {
            topic: "a".into(),
            payload: vec![0; bytes].into(),
            properties: Box::default(),
            qos: 1,
            received_ms: 0,
            expires_ms: None,
        })
    }

    #[test]
    fn all_queues_together_are_bounded_and_what_is_dropped_is_given_back() {
        let total = Arc::new(AtomicUsize::new(0));
        let large = message(60_000);
        let mut sessions = Vec::new();
        let mut full = 0;
        for _ in 0..200 {
            let session = Session::new(None, String::new(), String::new(), &total);
            while session
                .promise(&large, 1, false, Box::default(), None)
                .is_ok()
            {}
            full += usize::from(session.is_behind());
            sessions.push(session);
        }
        assert!(total.load(Ordering::Relaxed) <= QUEUES_BYTES_MAX);
        assert!(
            (100..200).contains(&full),
            "{full}: the last ones are not behind themselves"
        );
        drop(sessions);
        assert_eq!(total.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn messages_leave_in_order_and_within_what_the_client_takes() {
        let total = Arc::new(AtomicUsize::new(0));
        let session = Session::new(None, String::new(), String::new(), &total);
        let receiver = Receiver { receive_maximum: 2 };
        session.connect(receiver, 0, CancellationToken::new());
        let mut numbers = Vec::new();
        for bytes in 1..=3 {
            let outgoing = session
                .promise(&message(bytes), 1, false, Box::default(), None)
                .unwrap();
            numbers.push(outgoing.number);
        }
        // The later promise is kept first: its publisher's commit was quicker.
        session.keep(numbers[1]);
        session.keep(numbers[0]);
        session.keep(numbers[2]);
        let mut sizes = Vec::new();
        let mut changes = Vec::new();
        loop {
            let ready = session.ready(0, 10, &mut changes);
            if ready.is_empty() {
                break;
            }
            assert!(ready.len() <= 2);
            for packet in ready {
                let Ready::Publish {
                    packet_id, message, ..
                } = packet
                else {
                    panic!("{packet:?}");
                };
                sizes.push(message.payload.len());
                session.finished(packet_id.unwrap());
            }
        }
        assert_eq!(sizes, [1, 2, 3]);
        assert_eq!(total.load(Ordering::Relaxed), 0);
    }
}
