//! What MQTT clients are promised: sessions, subscriptions, retained messages, commands, accounts. Bytes and sockets are
//! [`crate::ingest::mqtt`]'s; readings are [`super::ingest`]'s.
//!
//! ```text
//! PUBLISH → Publisher::publish → readings, retained, targets → one commit → PUBACK and Session::keep → subscribers
//! ```
//!
//! Invariants:
//! - A message reaches subscribers after the commit that holds it; what a session that outlives its connection is to get
//!   is in the same commit.
//! - While nobody subscribes, publishing costs one atomic load for all of this.
//! - A subscriber that is slow costs its own messages, then its own connection, never the publishers.
//! - Everything is bounded, and each bound has its answer:
//!
//! | what | bound | answer beyond it |
//! | --- | --- | --- |
//! | sessions that outlive their connection | [`sessions::PERSISTENT_MAX`], and per account | refused with a reason |
//! | subscriptions of a session | [`SUBSCRIPTIONS_MAX`] | failure in SUBACK |
//! | messages on their way to a session | [`QUEUE_MESSAGES_MAX`], [`QUEUE_BYTES_MAX`]; of all [`QUEUES_BYTES_MAX`] | the new message is dropped and counted; QoS 1 and 2 end a connection that is too slow |
//! | retained messages | [`RETAINED_MAX`], [`RETAINED_BYTES_MAX`] | not kept, counted; delivered all the same |
//! | delayed wills | [`wills::WAITING_MAX`] | said without the delay |
//! | states of devices | [`state::STATES_BYTES_MAX`] | dead letter |
//! | commands | [`COMMANDS_MAX`], [`COMMANDS_OPEN_MAX`] a device | the newest is refused to the person who gives it |
//! | accounts | [`ACCOUNTS_MAX`] | refused |

pub(in crate::app) mod accounts;
mod barred;
mod commands;
mod grant;
mod presence;
mod publisher;
mod queue;
mod retained;
mod rights;
mod session;
mod sessions;
mod state;
mod submission;
mod subscriptions;
mod topics;
mod wills;
mod words;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use store::{CommitError, MqttChange, Store, StoreError};
use tokio_util::sync::CancellationToken;

pub use self::accounts::{ACCOUNTS_MAX, Denied};
pub(in crate::app) use self::barred::keep_accounts;
pub use self::commands::{COMMANDS_MAX, COMMANDS_OPEN_MAX};
pub use self::presence::Presence;
pub use self::publisher::{Incoming, PublishRefused, Publisher};
pub use self::retained::{RETAINED_BYTES_MAX, RETAINED_MAX};
pub use self::rights::Rights;
pub use self::session::{
    Ended, QUEUE_BYTES_MAX, QUEUE_MESSAGES_MAX, QUEUES_BYTES_MAX, Ready, Receiver,
    SUBSCRIPTIONS_MAX, Session,
};
pub use self::sessions::{OpenRefused, OpenRequest, Opened};
pub use self::state::device_of_state;
pub use self::submission::Submission;
pub use self::subscriptions::SubscribeRequest;
pub use self::topics::{FilterRefused, TOPIC_BYTES_MAX};
pub use self::words::{Qos, Will};

use super::clock::Clock;
use super::devices::Devices;
use super::ingest::Ingest;
use super::{App, AppError};
use accounts::Accounts;
use commands::Commands;
use grant::Grant;
use retained::Retained;
use rights::Aim;
use sessions::Sessions;
use state::DeviceStates;
use topics::Trie;
use wills::Wills;

/// How often sessions, commands and delayed wills are looked at; their times are in seconds.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The MQTT endpoint's memory. Cheap to clone.
#[derive(Clone)]
pub struct Mqtt(Arc<Shared>);

struct Shared {
    store: Store,
    ingest: Ingest,
    devices: Devices,
    clock: Clock,
    /// Subscriptions, of all sessions.
    listening: AtomicUsize,
    router: RwLock<Trie<Taker>>,
    sessions: Mutex<Sessions>,
    retained: Mutex<Retained>,
    commands: Mutex<Commands>,
    /// Held while a command is given, from the look at keys and bounds until it is in `commands`.
    giving: tokio::sync::Mutex<()>,
    states: Mutex<DeviceStates>,
    accounts: RwLock<Accounts>,
    /// Held while an account is changed, from the look at what is there until the disk and `accounts` have it.
    changing_accounts: tokio::sync::Mutex<()>,
    wills: Mutex<Wills>,
    /// Of the certificate that devices may pin.
    tls_fingerprint: OnceLock<String>,
}

/// One subscription in the router.
#[derive(Debug, Clone)]
struct Taker {
    session: Arc<Session>,
    grant: Grant,
    aim: Aim,
}

impl App {
    /// The MQTT endpoint's memory.
    pub fn mqtt(&self) -> &Mqtt {
        &self.mqtt
    }
}

impl Mqtt {
    /// Reads what was promised before this start. `secret` is the node's own, for hashing others'.
    pub(in crate::app) fn start(
        store: Store,
        ingest: Ingest,
        devices: Devices,
        clock: Clock,
        secret: &[u8],
    ) -> Result<Mqtt, StoreError> {
        let kept = store.readings().mqtt_state()?;
        let mqtt = Mqtt(Arc::new(Shared {
            store,
            ingest,
            devices,
            clock,
            listening: AtomicUsize::new(0),
            router: RwLock::new(Trie::default()),
            sessions: Mutex::new(Sessions::default()),
            retained: Mutex::new(Retained::restore(kept.retained)),
            commands: Mutex::new(Commands::restore(kept.commands)),
            giving: tokio::sync::Mutex::default(),
            states: Mutex::new(DeviceStates::restore(kept.device_states)),
            accounts: RwLock::new(Accounts::restore(kept.accounts, secret)),
            changing_accounts: tokio::sync::Mutex::default(),
            wills: Mutex::new(Wills::default()),
            tls_fingerprint: OnceLock::new(),
        }));
        mqtt.claim_devices();
        mqtt.restore_sessions(kept.sessions);
        Ok(mqtt)
    }

    /// Ends sessions, commands and delays in time, until `stop`.
    pub(in crate::app) async fn keep_time(self, stop: CancellationToken) {
        let rounds = async {
            let mut tick = tokio::time::interval(SWEEP_EVERY);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                self.end_sessions();
                self.expire_commands();
                self.publish_due_wills();
            }
        };
        let _ = stop.run_until_cancelled(rounds).await;
    }

    /// Says which certificate the endpoint shows; once.
    pub fn set_tls_fingerprint(&self, fingerprint: String) {
        let _ = self.0.tls_fingerprint.set(fingerprint);
    }

    pub(in crate::app) fn tls_fingerprint(&self) -> Option<&str> {
        self.0.tls_fingerprint.get().map(String::as_str)
    }

    /// Milliseconds since 1970.
    pub fn wall_ms(&self) -> i64 {
        self.now_ms()
    }

    fn now_ms(&self) -> i64 {
        i64::try_from(self.0.clock.wall_ms()).unwrap_or(i64::MAX)
    }

    fn uptime_ms(&self) -> i64 {
        i64::try_from(self.0.clock.uptime_ms()).unwrap_or(i64::MAX)
    }

    /// Stores changes; returns when they are on the disk.
    async fn write(&self, changes: Vec<MqttChange>) -> Result<(), AppError> {
        self.0
            .store
            .readings()
            .write_mqtt(changes)
            .await
            .map(drop)
            .map_err(not_stored)
    }

    /// Stores changes that nobody waits for: after a crash before them something is sent once more.
    fn write_soon(&self, changes: Vec<MqttChange>) {
        if !changes.is_empty() {
            drop(self.0.store.readings().write_mqtt(changes));
        }
    }

    /// Whether anybody subscribes to anything.
    fn is_listened_to(&self) -> bool {
        self.0.listening.load(Ordering::Relaxed) > 0
    }
}

fn not_stored(error: CommitError) -> AppError {
    match error {
        CommitError::DiskFull => AppError::DiskFull,
        CommitError::Busy { .. } => AppError::Busy { retry_after_s: 1 },
        other => AppError::Fault {
            context: "store what an MQTT client was promised",
            source: Box::new(other),
        },
    }
}
