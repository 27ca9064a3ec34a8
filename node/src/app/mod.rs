//! The use cases: the one place that authorises, commits and writes the audit record.
//!
//! Invariant: api, ingest, ops and cli see this module and nothing below it. What an [`App`] method answers with `Ok`
//! is on disk.

mod archive;
mod audit;
pub mod auth;
pub mod brokers;
mod calibrations;
mod clock;
pub mod codec;
pub mod conflicts;
mod dead_letters;
mod decoders;
pub mod devices;
mod documents;
pub mod error;
pub mod events;
pub mod founding;
mod health;
pub mod ingest;
pub mod inspect;
mod messages;
pub mod mqtt;
mod names;
mod open;
mod own_log;
mod peers;
mod present;
mod proof;
pub mod readings;
pub mod rebuild;
mod receipts;
pub mod records;
mod retention;
pub mod rules;
pub mod status;
mod storage;
mod summaries;
pub mod sync;
pub mod types;
mod upkeep;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, ArcSwapOption};
use domain::permissions::{Action, Subject};
use serde::Serialize;
use store::Store;
use sync_engine::{Incarnation, NodeId, OperationId, Role, Trust};

pub use archive::ArchiveSettings;
pub use clock::{Clock, rfc3339, rfc3339_wall};
pub use error::AppError;
pub use health::HealthTiming;
pub(in crate::app) use open::open_store;
pub use open::{KeySource, OpenConfig, OpenError};
pub use proof::SYNC_FAULTS_LIMIT_MAX;
pub use retention::{Days, Kept};
pub use storage::{Storage, StorageError, StorageProfile};
pub use summaries::{Replicate, SummaryTiming};
pub use sync::SyncSettings;
pub use types::*;

use documents::DocumentService;
use names::NameBook;

/// Where a running node can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Addresses {
    /// Page and API.
    pub http: SocketAddr,
    /// Sync, QUIC.
    pub sync: SocketAddr,
    /// Sensors, MQTT.
    pub mqtt: SocketAddr,
    /// Sensors, MQTT over TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mqtt_tls: Option<SocketAddr>,
}

/// Who this node is.
#[derive(Debug, Clone)]
pub(in crate::app) struct Me {
    pub node: NodeId,
    pub incarnation: Incarnation,
    pub name: String,
    pub role: Role,
    pub operation: OperationId,
    pub title: String,
    pub key: ed25519_dalek::SigningKey,
}

/// A node's use cases. Cheap to share: everything goes through one `Arc`.
pub struct App {
    pub(in crate::app) store: Store,
    pub(in crate::app) me: Me,
    pub(in crate::app) clock: Clock,
    pub(in crate::app) documents: DocumentService,
    pub(in crate::app) names: Arc<NameBook>,
    pub(in crate::app) trust: Arc<ArcSwap<Trust>>,
    pub(in crate::app) events: events::EventFeed,
    pub(in crate::app) sync: Arc<OnceLock<sync_quic::SyncNode>>,
    pub(in crate::app) writes_stopped: Arc<ArcSwapOption<String>>,
    pub(in crate::app) auth: auth::Auth,
    pub(in crate::app) devices: devices::Devices,
    pub(in crate::app) calibrations: calibrations::CalibrationBook,
    pub(in crate::app) ingest: ingest::Ingest,
    pub(in crate::app) mqtt: mqtt::Mqtt,
    pub(in crate::app) brokers: brokers::BrokerBoard,
    pub(in crate::app) storage: Storage,
    /// Whether this node asks others for readings.
    pub(in crate::app) receive_raw: bool,
    pub(in crate::app) decoders: decoders::Decoders,
    pub(in crate::app) rules: Arc<rules::Rules>,
    pub(in crate::app) invites: tokio::sync::Mutex<()>,
    pub(in crate::app) digest: proof::Cache,
    pub(in crate::app) addresses: OnceLock<Addresses>,
    /// Addresses at which others were told to reach this node.
    pub(in crate::app) advertised: OnceLock<Vec<SocketAddr>>,
    /// Ends what runs in the background.
    pub(in crate::app) stop: tokio_util::sync::CancellationToken,
    pub(in crate::app) rule_runner: parking_lot::Mutex<Option<tokio::task::JoinHandle<()>>>,
    pub(in crate::app) upkeep: parking_lot::Mutex<Option<tokio::task::JoinHandle<()>>>,
    pub(in crate::app) message_writer: parking_lot::Mutex<Option<tokio::task::JoinHandle<()>>>,
    pub(in crate::app) dead_letters: parking_lot::Mutex<Option<tokio::task::JoinHandle<()>>>,
    pub(in crate::app) account_keeper: parking_lot::Mutex<Option<tokio::task::JoinHandle<()>>>,
    /// Told when there may be something for a receipt to say.
    pub(in crate::app) moved: receipts::Moved,
    /// Where mismatches with peers are looked into.
    pub(in crate::app) mismatches: proof::Mismatches,
    pub(in crate::app) fault_finder: parking_lot::Mutex<Option<tokio::task::JoinHandle<()>>>,
    pub(in crate::app) receipt_writer: parking_lot::Mutex<Option<tokio::task::JoinHandle<()>>>,
    pub(in crate::app) summary_writer: parking_lot::Mutex<Option<tokio::task::JoinHandle<()>>>,
    pub(in crate::app) health_writer: parking_lot::Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl App {
    /// This node's id.
    pub fn node_id(&self) -> NodeId {
        self.me.node
    }

    /// The operation that this node belongs to.
    pub fn operation_id(&self) -> OperationId {
        self.me.operation
    }

    /// This node's clocks.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Says where the node listens; once.
    pub fn set_addresses(&self, addresses: Addresses) {
        let _ = self.addresses.set(addresses);
    }

    /// Stops what runs in the background and closes the files. What was acknowledged is on disk already; this only makes
    /// the next start quick.
    pub async fn shutdown(self: &Arc<Self>) {
        if let Some(sync) = self.sync.get() {
            sync.clone().shutdown().await;
        }
        self.stop.cancel();
        let background = [
            self.rule_runner.lock().take(),
            self.upkeep.lock().take(),
            self.receipt_writer.lock().take(),
            self.summary_writer.lock().take(),
            self.health_writer.lock().take(),
            self.fault_finder.lock().take(),
            self.dead_letters.lock().take(),
            self.message_writer.lock().take(),
            self.account_keeper.lock().take(),
        ];
        for task in background.into_iter().flatten() {
            // The rule runner commits its cursor on the way out; a panic was logged.
            let _ = task.await;
        }
        let app = Arc::clone(self);
        let closed = tokio::task::spawn_blocking(move || {
            app.documents.stop();
            app.store.close();
        });
        if closed.await.is_err() {
            tracing::error!("closing the store panicked");
        }
    }

    /// Reads from the store on a thread where waiting for the disk harms nobody.
    pub(in crate::app) async fn read<T: Send + 'static>(
        &self,
        f: impl FnOnce(&store::Reader<'_>) -> Result<T, store::StoreError> + Send + 'static,
    ) -> Result<T, AppError> {
        let store = self.store.clone();
        let fault = |source| AppError::Fault {
            context: "read the store",
            source,
        };
        tokio::task::spawn_blocking(move || store.read(f))
            .await
            .map_err(|error| fault(Box::new(error)))?
            .map_err(|error| fault(Box::new(error)))
    }

    /// Whether the caller may do that; the one place that says no.
    pub(in crate::app) fn authorise(
        &self,
        caller: &Caller,
        action: Action,
        subject: Subject,
    ) -> Result<(), AppError> {
        if domain::permissions::may(&caller.role, action, subject) {
            return Ok(());
        }
        Err(AppError::Forbidden {
            role: caller.role.clone(),
            action: action.word(),
            what: subject.word().to_owned(),
        })
    }
}

/// Runs `work` to its end although whoever asked may be gone by then: a connection that breaks ends its request, and
/// must not end it after the disk and before the memory.
pub(in crate::app) async fn to_its_end<T: Send + 'static>(
    context: &'static str,
    work: impl Future<Output = Result<T, AppError>> + Send + 'static,
) -> Result<T, AppError> {
    tokio::spawn(work).await.unwrap_or_else(|error| {
        Err(AppError::Fault {
            context,
            source: Box::new(error),
        })
    })
}
