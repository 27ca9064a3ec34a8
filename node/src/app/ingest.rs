//! The door for sensor data: messages in, readings or dead letters on the disk.
//!
//! ```text
//! IngestSession::message × n → IngestSession::submit → Submission::committed → acknowledge to the sender
//! ```
//!
//! Invariants:
//! - Every message given in ends as readings, as a counted duplicate, as counted old news ([`Message::kept`]), or as a
//!   dead letter with its bytes; never as nothing.
//! - No source of messages can keep another from the disk ([`places`]).
//! - `Submission::committed` answers only after the commit. While the disk is full it waits and tries again, so that
//!   nothing is acknowledged and nothing is thrown away.

mod formats;
mod hash;
mod places;
mod scripts;
mod session;
mod submission;
#[cfg(test)]
mod tests;
mod times;
mod values;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use store::{SenderId, SessionNo, Store};

use super::App;
use super::clock::Clock;
use super::decoders::Decoders;
use super::devices::Devices;
use places::Places;
use scripts::Scripts;

pub(in crate::app) use formats::reserve_texts;
pub use places::{IngestPlaces, IngestPlacesError};
pub use session::IngestSession;
pub use submission::Submission;
pub(in crate::app) use submission::count_contradictions;
pub(in crate::app) use times::{is_of_unknown_age, new_reading, odd_clock};
pub(in crate::app) use values::{series_unit, values_of};

/// The way into the store for everything that hears sensors. Cheap to clone.
#[derive(Clone)]
pub struct Ingest(Arc<Shared>);

struct Shared {
    store: Store,
    devices: Devices,
    clock: Clock,
    decoders: Decoders,
    places: Places,
    scripts: Scripts,
    /// Senders without a client id that came so far.
    unnamed: AtomicU64,
    cheats: bool,
}

/// Only in builds for tests: the power-cut test must be able to show that it notices an acknowledgement that comes
/// before the commit.
fn cheats() -> bool {
    let cheats =
        cfg!(debug_assertions) && std::env::var_os("MUSTER_TEST_ACK_BEFORE_COMMIT").is_some();
    if cheats {
        tracing::error!("fault injection: readings are acknowledged before they are stored");
    }
    cheats
}

/// One message as it came.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// MQTT topic name.
    pub topic: &'a str,
    /// Its bytes.
    pub payload: &'a [u8],
    /// What the sender was promised.
    pub delivery: Delivery,
    /// It is a copy that a broker kept for whoever subscribes (RETAIN set by the broker, MQTT 3.1.1 §3.3.1.3): nobody
    /// can say how old it is, so it is never taken for news.
    pub kept: bool,
}

/// Who sends, for recognising a message that is sent again.
#[derive(Debug, Clone)]
pub struct SessionKey {
    /// Where its messages come from, as dead letters name it: `mqtt`, or a broker.
    pub source: Arc<str>,
    /// `None` for a sender that cannot be recognised later.
    pub client_id: Option<String>,
    /// The sender wants to begin anew; its earlier messages are recognised all the same, because many clients send
    /// them again although they asked for a clean session.
    pub clean: bool,
}

/// What the sender was promised about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Nothing (MQTT QoS 0).
    AtMostOnce,
    /// It is sent again until acknowledged (QoS 1).
    AtLeastOnce {
        /// The sender's number for it, free again after the acknowledgement.
        packet_id: u16,
        /// The sender says that it may have sent it before (DUP).
        redelivered: bool,
    },
    /// It counts once however often it is sent under this number, until the sender releases the number (QoS 2).
    ExactlyOnce {
        /// The sender's number for it, free again after [`IngestSession::release`].
        packet_id: u16,
    },
}

impl App {
    /// The door for sensor data.
    pub fn ingest(&self) -> &Ingest {
        &self.ingest
    }

    /// Gives how the sources stand to the figures for Prometheus.
    pub fn publish_ingest(&self) {
        self.ingest.0.places.publish();
    }
}

impl Ingest {
    pub(in crate::app) fn new(
        store: Store,
        devices: Devices,
        clock: Clock,
        decoders: Decoders,
        places: IngestPlaces,
    ) -> Self {
        Ingest(Arc::new(Shared {
            store,
            devices,
            clock,
            decoders,
            places: Places::new(places),
            scripts: Scripts::default(),
            unnamed: AtomicU64::new(0),
            cheats: cheats(),
        }))
    }

    /// Begins a session; says whether this node remembers an earlier one of the same sender.
    pub fn session(&self, key: SessionKey) -> (IngestSession, bool) {
        let (number, known) = match key.client_id {
            Some(client_id) => {
                let (number, known) = self
                    .0
                    .store
                    .readings()
                    .intern_session(&client_id, self.0.now_ms());
                (Some(number), known)
            }
            None => (None, false),
        };
        (self.session_of(&key.source, number), known)
    }

    /// A session of a sender whose number is known already.
    pub(in crate::app) fn session_of(
        &self,
        source: &str,
        number: Option<SessionNo>,
    ) -> IngestSession {
        IngestSession::new(Arc::clone(&self.0), self.0.places.source(source), number)
    }
}

impl Shared {
    fn unnamed_sender(&self) -> SenderId {
        SenderId::Unnamed(self.unnamed.fetch_add(1, Ordering::Relaxed))
    }

    fn now_ms(&self) -> i64 {
        i64::try_from(self.clock.wall_ms()).unwrap_or(i64::MAX)
    }
}
