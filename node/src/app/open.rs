//! From a data directory to a running [`App`].

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, ArcSwapOption};
use domain::{Author, Kind, RecordId};
use ed25519_dalek::SigningKey;
use serde_json::Value;
use store::{
    DbKey, DocumentQuery, Identity, ListCursor, OpenOptions, Store, StoreError, Synchronous,
};
use sync_engine::{LogId, NodeId, OperationId, Role, Seq, Trust, TrustRecord};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::archive::{Archive, ArchiveSettings};
use super::clock::Clock;
use super::documents::{Committed, DocumentService, Surroundings};
use super::events::EventFeed;
use super::health::{self, HealthTiming};
use super::names::NameBook;
use super::own_log::OwnLog;
use super::present::RowView;
use super::retention::Kept;
use super::storage::Storage;
use super::summaries::{Replicate, SummaryTiming};
use super::{App, Me, auth, devices, founding, ingest, proof, receipts, rules, summaries, upkeep};

/// Where the database key comes from.
#[derive(Clone)]
pub enum KeySource {
    /// A file with 32 bytes or 64 hex digits.
    File(PathBuf),
    /// Words that a person types or a service manager hands in (argon2id).
    Passphrase(Zeroizing<String>),
    /// The file `key` in the data directory, made if need be.
    DataDir,
}

impl std::fmt::Debug for KeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            KeySource::File(_) => "File",
            KeySource::Passphrase(_) => "Passphrase",
            KeySource::DataDir => "DataDir",
        })
    }
}

/// How a data directory is opened.
#[derive(Debug, Clone)]
pub struct OpenConfig {
    /// The directory.
    pub data_dir: PathBuf,
    /// Its key.
    pub key: KeySource,
    /// What it lies on.
    pub storage: Storage,
    /// Places for messages of sensors.
    pub ingest: ingest::IngestPlaces,
    /// How long what is kept.
    pub kept: Kept,
    /// Where closed days of readings are exported to.
    pub archive: ArchiveSettings,
    /// Which readings are given away, and whether others are asked for theirs.
    pub replicate: Replicate,
    /// When others are told what its sensors said.
    pub summaries: SummaryTiming,
    /// What tells the time.
    pub clock: Clock,
    /// When others are told how its devices are.
    pub health: HealthTiming,
}

impl OpenConfig {
    /// A directory and its key.
    pub fn new(data_dir: &Path, key: KeySource) -> Self {
        OpenConfig {
            data_dir: data_dir.to_owned(),
            key,
            storage: Storage::default(),
            ingest: ingest::IngestPlaces::default(),
            kept: Kept::default(),
            archive: ArchiveSettings::default(),
            replicate: Replicate::default(),
            summaries: SummaryTiming::default(),
            clock: Clock::start(),
            health: HealthTiming::default(),
        }
    }
}

/// Why a data directory could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be made or used.
    #[error("data directory {dir}: {source}")]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The store says no: somebody holds it, the key is wrong, a file is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A founding or joining that was cut off.
    #[error(
        "{0} holds no finished node (founding or joining was cut off): \
         run `muster init` or `muster join` again"
    )]
    Unfinished(PathBuf),
    /// The trust lane cannot be read.
    #[error("the trust lane of this node cannot be read: {0}")]
    Trust(String),
    /// A thread could not be started.
    #[error("start a worker")]
    Thread(#[source] std::io::Error),
}

/// Opens the store of a data directory, which is made if need be (0700).
pub(in crate::app) async fn open_store(config: &OpenConfig) -> Result<Store, OpenError> {
    let config = config.clone();
    // Argon2 and migrations take their time.
    tokio::task::spawn_blocking(move || open_store_blocking(&config))
        .await
        .map_err(|error| OpenError::Thread(std::io::Error::other(error)))?
}

fn open_store_blocking(config: &OpenConfig) -> Result<Store, OpenError> {
    let dir = &config.data_dir;
    let failed = |source| OpenError::Directory {
        dir: dir.clone(),
        source,
    };
    if !dir.exists() {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(failed)?;
    }
    let key: DbKey = match &config.key {
        KeySource::File(path) => store::key_from_file(path)?,
        KeySource::Passphrase(words) => store::key_from_passphrase(words, dir, rand::random())?,
        KeySource::DataDir => store::key_in_data_dir(dir, rand::random())?,
    };
    let options = open_options(config.storage);
    if !options.encrypt {
        tracing::error!(
            dir = %dir.display(),
            "this program was built to measure what encryption costs: its files can be read by anybody"
        );
    }
    Ok(Store::open(dir, &key, &options)?)
}

fn open_options(storage: Storage) -> OpenOptions {
    let mut options = OpenOptions {
        wear: storage.wear(),
        // A file that another build encrypted cannot be opened without its key, nor this build's file with one.
        encrypt: !cfg!(feature = "measure-plaintext"),
        ..OpenOptions::default()
    };
    // Only in builds for tests: the power-cut test must be able to show that it notices a missing fsync.
    if cfg!(debug_assertions) && std::env::var_os("MUSTER_TEST_SYNCHRONOUS_OFF").is_some() {
        tracing::error!("fault injection: the disk is not synchronised");
        options.synchronous = Synchronous::Off;
    }
    options
}

impl App {
    /// Opens a data directory that holds a node, and starts what runs in the background. Nothing listens yet.
    ///
    /// # Errors
    /// [`OpenError`], in words for a person.
    pub async fn open(config: OpenConfig) -> Result<Arc<App>, OpenError> {
        let store = open_store(&config).await?;
        let opened = Self::open_with(&config, store.clone());
        if opened.is_err() {
            let _ = tokio::task::spawn_blocking(move || store.close()).await;
        }
        opened
    }

    fn open_with(config: &OpenConfig, store: Store) -> Result<Arc<App>, OpenError> {
        let unfinished = || OpenError::Unfinished(config.data_dir.clone());
        let identity = store
            .read(|reader| reader.identity())?
            .ok_or_else(unfinished)?;
        let trust = read_trust(&store)?.ok_or_else(unfinished)?;
        let me = me(identity, &trust).ok_or_else(unfinished)?;

        let clock = config.clock;
        let trust = Arc::new(ArcSwap::from_pointee(trust));
        let names = Arc::new(NameBook::new(Arc::clone(&trust)));
        let writes_stopped = Arc::new(ArcSwapOption::empty());
        let events = EventFeed::new(&store)?;
        let devices = devices::Devices::default();
        let calibrations = super::calibrations::CalibrationBook::default();
        let rules = Arc::new(rules::Rules::default());
        let sync = Arc::new(OnceLock::new());
        let moved = receipts::Moved::default();
        let followers = Arc::new(Followers {
            names: Arc::clone(&names),
            devices: devices.clone(),
            calibrations: calibrations.clone(),
            rules: Arc::clone(&rules),
            sync: Arc::clone(&sync),
            moved: moved.clone(),
        });
        if store.read(|reader| reader.rebuild_needed())? {
            tracing::warn!("the views must be built anew; this takes a moment");
            super::rebuild::rebuild(&store)?;
        }
        followers.start(&store)?;
        store.set_commit_hook({
            let (events, sync) = (events.clone(), Arc::clone(&sync));
            move |group: &store::GroupCommit| {
                events.publish(group);
                super::sync::local_commit(&sync, group);
            }
        });
        store.readings().set_hook(Box::new({
            let rules = Arc::clone(&rules);
            move |committed: &store::CommittedReadings| rules.readings_committed(committed)
        }));
        let documents = DocumentService::start(Surroundings {
            store: store.clone(),
            author: Author {
                node: me.node.0,
                incarnation: me.incarnation.0,
            },
            node_id: me.node.to_string(),
            clock,
            committed: followers,
            writes_stopped: Arc::clone(&writes_stopped),
        })
        .map_err(OpenError::Thread)?;
        let (mismatches, to_look_into) = proof::Mismatches::new();
        let decoders = super::decoders::Decoders::default();
        let ingest = ingest::Ingest::new(
            store.clone(),
            devices.clone(),
            clock,
            decoders.clone(),
            config.ingest,
        );
        let mqtt = super::mqtt::Mqtt::start(
            store.clone(),
            ingest.clone(),
            devices.clone(),
            clock,
            &me.key.to_bytes(),
        )?;
        let app = Arc::new(App {
            ingest,
            storage: config.storage,
            receive_raw: config.replicate.receive_raw.unwrap_or(me.role == Role::Hq),
            decoders,
            mqtt,
            brokers: super::brokers::BrokerBoard::default(),
            store,
            me,
            clock,
            documents,
            names,
            trust,
            events,
            sync,
            writes_stopped,
            auth: auth::Auth::new(),
            devices,
            calibrations,
            rules: Arc::clone(&rules),
            invites: tokio::sync::Mutex::new(()),
            digest: proof::Cache::default(),
            addresses: OnceLock::new(),
            advertised: OnceLock::new(),
            stop: CancellationToken::new(),
            rule_runner: parking_lot::Mutex::new(None),
            upkeep: parking_lot::Mutex::new(None),
            dead_letters: parking_lot::Mutex::new(None),
            message_writer: parking_lot::Mutex::new(None),
            account_keeper: parking_lot::Mutex::new(None),
            moved: moved.clone(),
            mismatches,
            fault_finder: parking_lot::Mutex::new(None),
            receipt_writer: parking_lot::Mutex::new(None),
            summary_writer: parking_lot::Mutex::new(None),
            health_writer: parking_lot::Mutex::new(None),
        });
        *app.fault_finder.lock() = Some(proof::start(
            Arc::clone(&app),
            to_look_into,
            app.stop.clone(),
        ));
        tokio::spawn(app.mqtt.clone().keep_time(app.stop.clone()));
        *app.account_keeper.lock() = Some(super::mqtt::keep_accounts(
            Arc::clone(&app),
            app.stop.clone(),
        ));
        let runner = rules.start(Arc::clone(&app), app.stop.clone());
        *app.rule_runner.lock() = runner;
        *app.dead_letters.lock() = Some(super::dead_letters::start(
            Arc::clone(&app),
            app.stop.clone(),
        ));
        *app.message_writer.lock() =
            Some(super::messages::start(Arc::clone(&app), app.stop.clone()));
        *app.upkeep.lock() = Some(upkeep::start(
            app.store.clone(),
            upkeep::Keeping {
                kept: config.kept,
                archive: config.archive.dir.clone().map(Archive::new),
            },
            move || clock.wall_ms(),
            upkeep::Timing::default(),
            app.stop.clone(),
        ));
        let own_log = OwnLog {
            store: app.store.clone(),
            node: app.me.node,
            incarnation: app.me.incarnation,
            clock,
            trust: Arc::clone(&app.trust),
            writes_stopped: Arc::clone(&app.writes_stopped),
        };
        *app.receipt_writer.lock() =
            Some(receipts::start(own_log.clone(), moved, app.stop.clone()));
        *app.summary_writer.lock() = Some(summaries::start(
            own_log.clone(),
            config.replicate.clone(),
            config.summaries,
            app.stop.clone(),
        ));
        *app.health_writer.lock() = Some(health::start(
            own_log,
            app.devices.clone(),
            config.health,
            app.stop.clone(),
        ));
        Ok(app)
    }
}

fn me(identity: Identity, trust: &Trust) -> Option<Me> {
    let key = SigningKey::from_bytes(&identity.node_secret);
    let node = NodeId(key.verifying_key().to_bytes());
    Some(Me {
        node,
        incarnation: identity.incarnation,
        role: trust.grant(node).map_or(Role::Field, |grant| grant.role),
        name: identity.name,
        operation: OperationId(identity.operation?),
        title: identity.operation_title,
        key,
    })
}

/// Evaluates the trust lane; `None` where there is no genesis.
fn read_trust(store: &Store) -> Result<Option<Trust>, OpenError> {
    let entries = store.read(|reader| reader.trust_records())?;
    let records: Vec<TrustRecord> = entries
        .iter()
        .filter_map(|entry| founding::trust_record(&entry.bytes))
        .collect();
    let Some(genesis) = records.iter().find_map(|record| match record {
        TrustRecord::Genesis(genesis) => Some(genesis.clone()),
        TrustRecord::Grant(_) => None,
    }) else {
        return Ok(None);
    };
    let mut trust = Trust::new(genesis);
    for record in records {
        // A record of another operation is in the lane for ever; it counts for nothing.
        if let Err(error) = trust.insert(record) {
            tracing::warn!(%error, "a record of the trust lane does not count");
        }
    }
    Ok(Some(trust))
}

/// Those who follow what documents say.
struct Followers {
    names: Arc<NameBook>,
    devices: devices::Devices,
    calibrations: super::calibrations::CalibrationBook,
    rules: Arc<rules::Rules>,
    sync: Arc<OnceLock<sync_quic::SyncNode>>,
    moved: receipts::Moved,
}

impl Followers {
    /// Reads every document that somebody follows.
    fn start(&self, store: &Store) -> Result<(), StoreError> {
        /// Rows per read, so that no reader is held for long.
        const PAGE: usize = 500;
        for kind in [Kind::User, Kind::Device, Kind::Calibration, Kind::Rule] {
            let mut after: Option<ListCursor> = None;
            loop {
                let mut query = DocumentQuery::new(kind.spec().code, PAGE);
                query.after = after;
                // A deleted device's account has to go, also where the node stopped before it went; a deleted rule still
                // ends what it has raised.
                query.include_deleted = matches!(kind, Kind::Device | Kind::Rule);
                let rows = store.read(|reader| reader.list_documents(&query))?;
                for row in &rows {
                    match serde_json::from_str::<RowView>(&row.view) {
                        Ok(view) => self.document(kind, RecordId(row.id.0), row.deleted, &view),
                        Err(error) => {
                            tracing::error!(%error, "a row cannot be read: run `muster rebuild`")
                        }
                    }
                }
                after = rows.last().map(store::DocumentRow::cursor);
                if rows.len() < PAGE {
                    break;
                }
            }
        }
        self.devices.restore(store.readings())
    }
}

impl Committed for Followers {
    fn document(&self, kind: Kind, id: RecordId, deleted: bool, row: &RowView) {
        match kind {
            Kind::User => {
                if let Some(name) = row.fields.get("name").and_then(Value::as_str) {
                    self.names.set_user(Uuid::from_bytes(id.0), name);
                }
            }
            Kind::Device => self.devices.document_committed(&row.fields, deleted),
            Kind::Calibration => {
                self.calibrations
                    .document_committed(id, &row.fields, deleted);
            }
            Kind::Rule => self.rules.document_committed(id, &row.fields, deleted),
            _ => {}
        }
    }

    fn applied(&self, items: Vec<(LogId, Seq)>) {
        self.moved.note();
        if let Some(sync) = self.sync.get() {
            sync.applied(items);
        }
    }
}
