//! The handle: starting a node's sync, telling it of commits, and looking at its peers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use sync_engine::{Counters, Engine, Head, LogId, NodeId, PeerState, Run, Seq, Trust, TrustRecord};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::config::{ADVERTISE_MAX, PeerAddr, SyncConfig};
use crate::dial::{self, Origin, Targets};
use crate::driver;
use crate::error::SyncError;
use crate::events::Events;
use crate::host::Host;
use crate::identity::Identity;
use crate::ledger::Ledger;
use crate::links::Links;
use crate::local::Local;
use crate::rooms::Rooms;
use crate::shared::Shared;
use crate::status::{self, PeerStatus, SyncReport, SyncReportPeer, SyncUsage};
use crate::windows::Windows;
use crate::wire::Preface;
use crate::{accept, closed, discovery, endpoint};

/// After everybody has everything, this much silence says that nobody is sending us anything either.
const QUIET_MIN: Duration = Duration::from_millis(50);

/// How long a shutdown listens for peers that have missed its goodbye; those that still do run into their idle timer.
const GOODBYE: Duration = Duration::from_millis(250);

/// A running sync. Clones are handles to the same one; when the last is dropped without [`SyncNode::shutdown`], its
/// tasks end.
#[derive(Clone)]
pub struct SyncNode {
    shared: Arc<Shared>,
    _last_handle: Arc<DropGuard>,
}

impl SyncNode {
    /// Binds the socket and starts dialling and listening. `engine` must be of the node that `config.key` names.
    ///
    /// # Errors
    ///
    /// The address is taken, or a limit is out of range.
    pub async fn start<H: Host>(
        config: SyncConfig,
        engine: Engine,
        host: Arc<H>,
    ) -> Result<Self, SyncError> {
        let identity = Identity::new(&config.key)?;
        let server = endpoint::server(&identity, &config.limits)?;
        let windows = Windows::new(&server, &config.limits)?;
        let endpoint = endpoint::bind(config.listen, &config.key, server)?;
        let local_addr = endpoint.local_addr().map_err(|source| SyncError::Listen {
            addr: config.listen,
            source,
        })?;
        let (events, incoming) = Events::channels();
        let mut advertise = config.advertise.clone();
        advertise.truncate(ADVERTISE_MAX);
        let cancel = CancellationToken::new();
        let shared = Arc::new(Shared {
            node: identity.node(),
            identity,
            preface: Preface {
                boot: rand::random(),
                advertise,
            },
            endpoint,
            local_addr,
            started: Instant::now(),
            trust: ArcSwap::from_pointee(engine.trust().clone()),
            engine: Mutex::new(engine),
            links: Mutex::new(Links::default()),
            links_moved: watch::Sender::new(0),
            targets: Targets::default(),
            peers_changed: watch::Sender::new(0),
            progress_moved: watch::Sender::new(0),
            local: Local::default(),
            events,
            conns: AtomicU64::new(1),
            rooms: Rooms::new(&config.limits),
            ledger: Ledger::new(config.limits.held_bytes_max),
            windows,
            offenders: Mutex::default(),
            no_frames: AtomicU64::new(0),
            cancel: cancel.clone(),
            tasks: TaskTracker::new(),
            limits: config.limits,
        });
        driver::spawn(shared.clone(), host.clone(), incoming);
        accept::spawn(shared.clone(), host);
        for peer in config.peers {
            dial::add(&shared, peer, Origin::Configured);
        }
        if config.mdns {
            discovery::spawn(shared.clone());
        }
        Ok(Self {
            shared,
            _last_handle: Arc::new(cancel.drop_guard()),
        })
    }

    /// The UDP address listened on, with the port that was picked.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.local_addr
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.shared.node
    }

    /// Entries of our own were committed: `heads` are the new heads, `runs` the new entries (one run per log, where it
    /// is at hand; the engine loads what is not), `records` the trust records among them. Never blocks; to be called in
    /// the order of the commits.
    pub fn local_commit(
        &self,
        heads: Vec<(LogId, Head)>,
        runs: Vec<Run>,
        records: Vec<TrustRecord>,
    ) {
        self.shared.local.push(heads, runs, records);
    }

    /// Applied heights moved: something that waited became ready. Never blocks.
    pub fn applied(&self, items: Vec<(LogId, Seq)>) {
        self.shared.local.applied(items);
    }

    /// Every peer: members and others met, then configured addresses where nobody has answered yet.
    pub fn peers(&self) -> Vec<PeerStatus> {
        status::all(&self.shared)
    }

    /// Who may do what, as of now.
    pub fn trust(&self) -> Arc<Trust> {
        self.shared.trust.load_full()
    }

    /// Hash over what is on our disk: equal on two nodes that hold the same logs.
    pub fn frontier_hash(&self) -> [u8; 32] {
        self.shared.engine.lock().frontier().hash()
    }

    /// What was counted since the start: by the engine, and with its refused frames those that never got to it.
    pub fn counters(&self) -> Counters {
        let mut counters = *self.shared.engine.lock().counters();
        counters.refused_frames += self.shared.no_frames.load(Ordering::Relaxed);
        counters
    }

    /// What is held in memory for others at this moment.
    pub fn usage(&self) -> SyncUsage {
        let engine = self.shared.engine.lock();
        SyncUsage {
            engine: engine.usage(),
            unstored_bytes: engine.held_bytes(),
            waiting_bytes: self.shared.ledger.total(),
        }
    }

    /// A number that moves whenever [`SyncNode::peers`] shows something new.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.shared.peers_changed.subscribe()
    }

    /// Dials one more peer from now on. One that is there already is dialled at once.
    pub fn add_peer(&self, peer: PeerAddr) {
        dial::add(&self.shared, peer, Origin::Configured);
    }

    /// Dials now, whatever the pauses say: everybody, or one peer. With `wait` the answer comes when the peers asked for
    /// have acknowledged everything and nothing more comes from them, or after `timeout`.
    pub async fn sync_now(
        &self,
        peer: Option<NodeId>,
        wait: bool,
        timeout: Duration,
    ) -> SyncReport {
        let attempts = self.shared.targets.wake(peer);
        if wait {
            let done = async {
                loop {
                    self.until(|node| {
                        node.report(peer).complete && attempts.all_tried(&node.shared)
                    })
                    .await;
                    if self.is_quiet().await && self.report(peer).complete {
                        return;
                    }
                }
            };
            let _ = tokio::time::timeout(timeout, done).await;
        }
        self.report(peer)
    }

    /// Closes every connection in order, lets stores in flight end, and frees the socket.
    pub async fn shutdown(self) {
        let shared = self.shared;
        shared.cancel.cancel();
        shared.tasks.close();
        if tokio::time::timeout(shared.limits.shutdown, shared.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("shut down before every store had ended");
        }
        // The goodbyes leave at once; what is waited for is that they arrive, and go out again where they do not.
        let _ = tokio::time::timeout(GOODBYE, shared.endpoint.wait_idle()).await;
        // The connections in the table hold the socket, too.
        *shared.links.lock() = Links::default();
        closed::release(&shared.endpoint, shared.local_addr);
    }

    fn report(&self, peer: Option<NodeId>) -> SyncReport {
        let asked = self
            .peers()
            .into_iter()
            .filter(|status| peer.is_none() || status.node == peer);
        let peers: Vec<_> = asked.map(|status| SyncReportPeer::of(&status)).collect();
        let mut live = peers
            .iter()
            .filter(|it| it.state == PeerState::Live)
            .peekable();
        let complete = live.peek().is_some() && live.all(|it| it.behind_entries == 0);
        SyncReport { peers, complete }
    }

    async fn until(&self, mut reached: impl FnMut(&Self) -> bool) {
        let mut progress = self.shared.progress_moved.subscribe();
        let mut links = self.shared.peers_changed.subscribe();
        while !reached(self) {
            tokio::select! {
                _ = progress.changed() => {}
                _ = links.changed() => {}
            }
        }
    }

    /// True when nothing moved for a moment: the slowest live peer could have sent what it announced.
    async fn is_quiet(&self) -> bool {
        let rtt = self
            .peers()
            .iter()
            .filter_map(|peer| peer.rtt_ms)
            .fold(0.0, f64::max);
        let quiet = QUIET_MIN.max(Duration::from_secs_f64(rtt * 3.0 / 1000.0));
        let mut progress = self.shared.progress_moved.subscribe();
        tokio::time::timeout(quiet, progress.changed())
            .await
            .is_err()
    }
}

impl std::fmt::Debug for SyncNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SyncNode")
            .field("node", &self.shared.node)
            .field("local_addr", &self.shared.local_addr)
            .finish_non_exhaustive()
    }
}
