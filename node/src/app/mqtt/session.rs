//! One client's session: what it subscribed to, and what is on its way to it.
//!
//! Invariants:
//! - A message of QoS 1 or 2 is here from its promise until the client has it, within [`QUEUE_MESSAGES_MAX`] and
//!   [`QUEUE_BYTES_MAX`]; what finds no room is refused to whoever promises, never dropped afterwards.
//! - Messages leave in the order of their numbers, and at most as many are unacknowledged as the client allows.
//! - For a session that outlives its connection each change here has its [`store::MqttChange`], which the caller stores.

mod outgoing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use parking_lot::Mutex;
use store::{MqttMessage, SessionNo};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::grant::Grant;
use super::queue::{Inner, Phase, cost};

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

/// Why a session is ended by the node while its client is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It did not take its messages as fast as they came.
    TooSlow,
    /// Its account was removed, has a new secret, or belongs to a device that was disabled.
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
    pub fn end(&self, why: Ended) {
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
}
