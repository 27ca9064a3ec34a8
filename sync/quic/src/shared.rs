//! What the tasks of one node share.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use sync_engine::{ConnId, Engine, NodeId, Trust};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::SyncLimits;
use crate::dial::Targets;
use crate::events::Events;
use crate::identity::Identity;
use crate::ledger::Ledger;
use crate::links::Links;
use crate::local::Local;
use crate::offenders::{Offenders, Refusal};
use crate::rooms::Rooms;
use crate::windows::Windows;
use crate::wire::Preface;

/// See the fields. Locks are held for moments and never across an `await`; where two are needed, the engine's is taken
/// first.
pub(crate) struct Shared {
    pub(crate) node: NodeId,
    pub(crate) identity: Identity,
    pub(crate) limits: SyncLimits,
    pub(crate) preface: Preface,
    pub(crate) endpoint: quinn::Endpoint,
    pub(crate) local_addr: SocketAddr,
    pub(crate) started: Instant,
    /// Changed by the driver alone; others look.
    pub(crate) engine: Mutex<Engine>,
    pub(crate) trust: ArcSwap<Trust>,
    pub(crate) links: Mutex<Links>,
    /// Moves when a connection comes or goes.
    pub(crate) links_moved: watch::Sender<u64>,
    pub(crate) targets: Targets,
    /// Moves when what people see of peers changed.
    pub(crate) peers_changed: watch::Sender<u64>,
    /// Moves with every input that can change how far anybody is behind.
    pub(crate) progress_moved: watch::Sender<u64>,
    pub(crate) local: Local,
    pub(crate) events: Events,
    pub(crate) conns: AtomicU64,
    /// Room for what was received and is not stored.
    pub(crate) rooms: Rooms,
    /// What waits for slow peers.
    pub(crate) ledger: Ledger,
    /// What QUIC itself may hold for each connection.
    pub(crate) windows: Windows,
    /// Who broke the protocol.
    pub(crate) offenders: Mutex<Offenders>,
    /// What came on streams and was no frame: it ended a connection before the engine saw anything of it.
    pub(crate) no_frames: AtomicU64,
    pub(crate) cancel: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Shared {
    pub(crate) fn next_conn(&self) -> ConnId {
        ConnId(self.conns.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn links_move(&self) {
        self.links_moved
            .send_modify(|count| *count = count.wrapping_add(1));
        self.peers_change();
    }

    pub(crate) fn peers_change(&self) {
        self.peers_changed
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// `node` broke the protocol: it is refused for a while.
    pub(crate) fn violated(&self, node: NodeId, why: &str) {
        let trust = self.trust.load();
        let pause = self
            .offenders
            .lock()
            .note(Instant::now(), &self.limits, node, why, |node| {
                trust.is_member(node)
            });
        tracing::warn!(%node, why, refused_for = ?pause, "a peer broke the protocol");
    }

    /// Why `node` is refused at this moment, if it is.
    pub(crate) fn refusal(&self, node: NodeId) -> Option<Refusal> {
        self.offenders.lock().refusal(Instant::now(), node)
    }

    /// Waits until `node` is connected, or is not.
    pub(crate) async fn until_connected(&self, node: NodeId, connected: bool) {
        let mut moved = self.links_moved.subscribe();
        while self.links.lock().is_connected(node) != connected {
            if moved.changed().await.is_err() {
                return;
            }
        }
    }
}
