//! Who is connected under which client identifier.
//!
//! Invariant: of one client identifier at most one connection gives messages to the store. A newcomer waits until the
//! one before it has ended ([MQTT-3.1.4-2]), so that a message sent again on the new connection is compared with
//! everything that came in on the old one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A connection ends at its next await, long before this; the bound keeps a newcomer from waiting for a fault.
const TAKEOVER_WAIT_MAX: Duration = Duration::from_secs(5);

/// All live connections by client identifier. Bounded by the number of connections.
#[derive(Default)]
pub(super) struct Sessions {
    live: Mutex<Live>,
}

#[derive(Default)]
struct Live {
    next_number: u64,
    by_client: HashMap<String, Entry>,
}

struct Entry {
    number: u64,
    stop: CancellationToken,
    stopped: CancellationToken,
}

/// A connection's place; giving it up frees the identifier.
pub(super) struct Registration {
    sessions: Arc<Sessions>,
    client_id: String,
    number: u64,
    /// Cancelled when this connection has to end.
    pub(super) stop: CancellationToken,
    _stopped: DropGuard,
}

impl Sessions {
    /// Takes the identifier, ends whoever had it, and waits until they are gone. `stop` is the caller's own token for
    /// everything else that may end it.
    pub(super) async fn register(
        self: &Arc<Self>,
        client_id: &str,
        stop: CancellationToken,
    ) -> Registration {
        let stopped = CancellationToken::new();
        let (number, previous) = {
            let mut live = self.live.lock();
            live.next_number += 1;
            let number = live.next_number;
            let entry = Entry {
                number,
                stop: stop.clone(),
                stopped: stopped.clone(),
            };
            (number, live.by_client.insert(client_id.to_owned(), entry))
        };
        let registration = Registration {
            sessions: Arc::clone(self),
            client_id: client_id.to_owned(),
            number,
            stop,
            _stopped: stopped.drop_guard(),
        };
        if let Some(previous) = previous {
            previous.stop.cancel();
            if tokio::time::timeout(TAKEOVER_WAIT_MAX, previous.stopped.cancelled())
                .await
                .is_err()
            {
                tracing::error!(
                    client_id,
                    "the connection before this one did not end in time"
                );
            }
        }
        registration
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut live = self.sessions.live.lock();
        if live
            .by_client
            .get(&self.client_id)
            .is_some_and(|entry| entry.number == self.number)
        {
            live.by_client.remove(&self.client_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_newcomer_waits_until_the_one_before_it_is_gone() {
        let sessions = Arc::new(Sessions::default());
        let first = sessions.register("a", CancellationToken::new()).await;
        let newcomer = tokio::spawn({
            let sessions = Arc::clone(&sessions);
            async move { sessions.register("a", CancellationToken::new()).await }
        });
        first.stop.cancelled().await;
        assert!(!newcomer.is_finished());
        drop(first);
        let second = newcomer.await.expect("the task does not panic");
        assert!(!second.stop.is_cancelled());
        assert_eq!(sessions.live.lock().by_client.len(), 1);
        drop(second);
        assert!(sessions.live.lock().by_client.is_empty());
    }

    #[tokio::test]
    async fn other_identifiers_are_left_alone() {
        let sessions = Arc::new(Sessions::default());
        let a = sessions.register("a", CancellationToken::new()).await;
        let _b = sessions.register("b", CancellationToken::new()).await;
        assert!(!a.stop.is_cancelled());
    }
}
