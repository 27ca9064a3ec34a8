//! Sessions by client identifier: begun, taken up again, ended.
//!
//! Invariants:
//! - A client identifier belongs to the account that began its session: nobody else gets its messages, or ends it.
//! - What CONNACK says about a session is on the disk before it is said.
//! - A session is begun, taken up and forgotten under one lock, and what ends one is queued for the disk under it too: it
//!   cannot reach the disk after what begins the next one of that client.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Weak};

use store::{MqttChange, MqttSession};
use tokio_util::sync::CancellationToken;

use super::Mqtt;
use super::publisher::Publisher;
use super::rights::Rights;
use super::session::{Ended, Receiver, Session};
use crate::app::AppError;

/// Sessions that outlive their connection, of all clients: with the live connections they stay below the client ids that
/// the store remembers.
pub const PERSISTENT_MAX: usize = 8_000;
/// Of one device's account.
const PERSISTENT_OF_DEVICE_MAX: usize = 16;
/// Of any other account, and of everybody without one.
const PERSISTENT_OF_ONE_MAX: usize = 4_000;
/// The longest that a session outlives its connection, whatever the client asks for; also for MQTT 3.1.1, which knows no
/// end. A month: a sensor that was away for longer is set up anew.
pub const EXPIRY_S_MAX: u32 = 30 * 24 * 3_600;

#[derive(Debug, Default)]
pub(super) struct Sessions {
    by_client: HashMap<String, Arc<Session>>,
    /// Those of clients without an identifier, while they are connected.
    unnamed: Vec<Weak<Session>>,
    persistent: HashMap<String, usize>,
    persistent_count: usize,
    /// Bytes on their way to all of them.
    total_bytes: Arc<AtomicUsize>,
}

/// A client that was let in wants a session.
pub struct OpenRequest {
    /// Empty: nobody can name it again.
    pub client_id: String,
    pub rights: Rights,
    pub clean_start: bool,
    /// Seconds that it outlives its connection.
    pub expiry_s: u32,
    pub receiver: Receiver,
    /// RETAIN on what it publishes marks copies of unknown age: it is a bridge of another broker.
    pub bridge: bool,
    /// Ends its connection.
    pub stop: CancellationToken,
}

/// A session with its client.
pub struct Opened {
    pub session: Arc<Session>,
    pub publisher: Publisher,
    /// There was one to go on with.
    pub present: bool,
    /// As granted.
    pub expiry_s: u32,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum OpenRefused {
    #[error("the client identifier belongs to another account")]
    Owner,
    #[error(
        "as many sessions are kept as this node may keep: ask for one that ends with its connection"
    )]
    TooMany,
    #[error("the session could not be stored: {0}")]
    NotStored(#[source] AppError),
}

impl OpenRequest {
    fn connect(&self, session: &Session) {
        session.connect(self.receiver, self.expiry_s, self.stop.clone());
    }
}

impl Sessions {
    fn count(&mut self, owner: &str, more: bool) {
        let of_owner = self.persistent.entry(owner.to_owned()).or_default();
        if more {
            *of_owner += 1;
            self.persistent_count += 1;
        } else {
            *of_owner = of_owner.saturating_sub(1);
            self.persistent_count = self.persistent_count.saturating_sub(1);
            if *of_owner == 0 {
                self.persistent.remove(owner);
            }
        }
    }

    fn has_room(&self, rights: &Rights) -> bool {
        let of_owner = self.persistent.get(rights.owner()).copied().unwrap_or(0);
        let max = match rights {
            Rights::Device { .. } => PERSISTENT_OF_DEVICE_MAX,
            Rights::Anyone | Rights::Gateway { .. } => PERSISTENT_OF_ONE_MAX,
        };
        self.persistent_count < PERSISTENT_MAX && of_owner < max
    }
}

impl Mqtt {
    pub(super) fn restore_sessions(&self, kept: Vec<MqttSession>) {
        let (now_ms, uptime_ms) = (self.now_ms(), self.uptime_ms());
        for kept in kept {
            if kept.expiry_s == 0 {
                // Its connection ended with the process.
                self.write_soon(vec![MqttChange::SessionFresh {
                    session: kept.session,
                }]);
                continue;
            }
            self.0.store.readings().pin_session(kept.session, true);
            let total_bytes = Arc::clone(&self.0.sessions.lock().total_bytes);
            let session = Arc::new(Session::restored(kept, now_ms, uptime_ms, &total_bytes));
            for (filter, grant) in session.subscriptions() {
                self.route(&session, &filter, grant);
            }
            let mut sessions = self.0.sessions.lock();
            sessions.count(&session.owner, true);
            sessions
                .by_client
                .insert(session.client_id.clone(), session);
        }
    }

    /// Whether the identifier may be used by this account; asked before whoever has it is ended for the newcomer.
    pub fn may_use(&self, client_id: &str, rights: &Rights) -> bool {
        let sessions = self.0.sessions.lock();
        sessions
            .by_client
            .get(client_id)
            .is_none_or(|session| session.owner == rights.owner())
    }

    /// Begins a session or goes on with one. The connection before it under this identifier has ended.
    ///
    /// # Errors
    /// See [`OpenRefused`].
    pub async fn open(&self, mut request: OpenRequest) -> Result<Opened, OpenRefused> {
        request.expiry_s = request.expiry_s.min(EXPIRY_S_MAX);
        let mut changes = Vec::new();
        let (session, present) = if request.client_id.is_empty() {
            (self.begin_unnamed(&request), false)
        } else {
            self.take_up(&request, &mut changes)?
        };
        let OpenRequest {
            rights,
            expiry_s,
            bridge,
            ..
        } = request;
        if !changes.is_empty()
            && let Err(error) = self.write(changes).await
        {
            session.disconnect(None, self.uptime_ms());
            return Err(OpenRefused::NotStored(error));
        }
        self.cancel_will(&session.client_id, present);
        if present {
            self.dispatch_to(&session);
        }
        let publisher = Publisher::new(self.clone(), Some(Arc::clone(&session)), rights, bridge);
        Ok(Opened {
            session,
            publisher,
            present,
            expiry_s,
        })
    }

    fn begin_unnamed(&self, request: &OpenRequest) -> Arc<Session> {
        let owner = request.rights.owner().to_owned();
        let mut sessions = self.0.sessions.lock();
        let session = Session::new(None, String::new(), owner, &sessions.total_bytes);
        let session = Arc::new(session);
        request.connect(&session);
        sessions.unnamed.retain(|other| other.strong_count() > 0);
        sessions.unnamed.push(Arc::downgrade(&session));
        session
    }

    fn take_up(
        &self,
        request: &OpenRequest,
        changes: &mut Vec<MqttChange>,
    ) -> Result<(Arc<Session>, bool), OpenRefused> {
        let OpenRequest {
            client_id,
            rights,
            clean_start,
            expiry_s,
            ..
        } = request;
        let (clean_start, expiry_s) = (*clean_start, *expiry_s);
        let mut sessions = self.0.sessions.lock();
        let before = sessions.by_client.get(client_id).cloned();
        if before
            .as_ref()
            .is_some_and(|session| session.owner != rights.owner())
        {
            return Err(OpenRefused::Owner);
        }
        let was_persistent = before
            .as_ref()
            .is_some_and(|session| session.persistent().is_some());
        if expiry_s > 0 && !was_persistent && !sessions.has_room(rights) {
            metrics::counter!("muster_mqtt_sessions_refused_total").increment(1);
            return Err(OpenRefused::TooMany);
        }
        let readings = self.0.store.readings();
        let (number, _) = readings.intern_session(client_id, self.now_ms());
        readings.pin_session(number, true);
        let going_on = before.clone().filter(|session| {
            !clean_start && session.expiry_s() > 0 && !session.is_over(self.uptime_ms())
        });
        let present = going_on.is_some();
        let session = going_on.unwrap_or_else(|| {
            if let Some(before) = &before {
                self.unroute(before);
                changes.push(MqttChange::SessionFresh { session: number });
            }
            let owner = rights.owner().to_owned();
            let client_id = client_id.clone();
            let total_bytes = &sessions.total_bytes;
            Arc::new(Session::new(Some(number), client_id, owner, total_bytes))
        });
        if expiry_s > 0 {
            changes.push(MqttChange::SessionKept {
                session: number,
                owner: session.owner.clone(),
                expiry_s,
            });
        } else if present {
            // It was kept and ends with this connection now.
            changes.push(MqttChange::SessionLeft {
                session: number,
                expiry_s: 0,
                left_ms: self.now_ms(),
            });
        }
        match (was_persistent, expiry_s > 0) {
            (false, true) => sessions.count(&session.owner, true),
            (true, false) => sessions.count(&session.owner, false),
            _ => {}
        }
        sessions
            .by_client
            .insert(client_id.clone(), Arc::clone(&session));
        // Here, so that nobody finds it without its client and takes it for one that is over.
        request.connect(&session);
        Ok((session, present))
    }

    /// The client is gone. `expiry_s` is what it said about that last, `exactly_once` whether it has used packet ids of
    /// QoS 2.
    pub fn close(&self, session: &Arc<Session>, expiry_s: Option<u32>, exactly_once: bool) {
        let expiry_s = expiry_s.map(|expiry_s| expiry_s.min(EXPIRY_S_MAX));
        let was_persistent = session.persistent().is_some();
        session.disconnect(expiry_s, self.uptime_ms());
        let expiry_s = session.expiry_s();
        let Some(number) = session.number else {
            self.unroute(session);
            return;
        };
        if expiry_s > 0 {
            self.write_soon(vec![MqttChange::SessionLeft {
                session: number,
                expiry_s,
                left_ms: self.now_ms(),
            }]);
            return;
        }
        let mut sessions = self.0.sessions.lock();
        let is_forgotten = self.forget(&mut sessions, session, was_persistent);
        if is_forgotten && (was_persistent || exactly_once) {
            self.write_soon(vec![MqttChange::SessionFresh { session: number }]);
        }
    }

    /// Ends sessions whose client did not come back.
    pub(super) fn end_sessions(&self) {
        let uptime_ms = self.uptime_ms();
        let mut sessions = self.0.sessions.lock();
        let over: Vec<Arc<Session>> = sessions
            .by_client
            .values()
            .filter(|session| session.is_over(uptime_ms))
            .cloned()
            .collect();
        for session in over {
            let was_persistent = session.persistent().is_some();
            self.forget(&mut sessions, &session, was_persistent);
            if let (true, Some(number)) = (was_persistent, session.number) {
                tracing::info!(client_id = session.client_id, "MQTT session is over");
                self.write_soon(vec![MqttChange::SessionFresh { session: number }]);
            }
        }
    }

    /// Answers whether it was the session of its client; else another one has begun, and everything that is stored is that
    /// one's.
    fn forget(
        &self,
        sessions: &mut Sessions,
        session: &Arc<Session>,
        was_persistent: bool,
    ) -> bool {
        self.unroute(session);
        let is_it = sessions
            .by_client
            .get(&session.client_id)
            .is_some_and(|known| Arc::ptr_eq(known, session));
        if is_it {
            sessions.by_client.remove(&session.client_id);
            if was_persistent {
                sessions.count(&session.owner, false);
            }
            if let Some(number) = session.number {
                self.0.store.readings().pin_session(number, false);
            }
        }
        is_it
    }

    /// Ends the connections of an account. What it wanted to be said when they are lost is not said: it has no right to it
    /// any more.
    pub(super) fn end_owner(&self, owner: &str) {
        self.drop_wills(owner);
        let sessions = self.0.sessions.lock();
        let unnamed = sessions.unnamed.iter().filter_map(Weak::upgrade);
        let of_owner: Vec<Arc<Session>> = sessions
            .by_client
            .values()
            .cloned()
            .chain(unnamed)
            .filter(|session| session.owner == owner)
            .collect();
        drop(sessions);
        for session in of_owner {
            session.end(Ended::AccountGone);
        }
    }
}
