//! Sync as the node runs it: where it listens, whom it dials, and exchanging now.

mod figures;
mod host;
mod invitations;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use domain::permissions::{Action, Subject};
use serde_json::{Value, json};
use store::GroupCommit;
use sync_engine::{Engine, GroupId, Interest, Lane, Limits, LocalNode, NodeId, Now};
use sync_quic::{PeerAddr, SyncConfig, SyncNode};

use super::codec::DocumentCodec;
use super::founding::{PEERS_SETTING, trust_record};
use super::peers::state_word;
use super::{App, AppError, Caller};
use host::NodeHost;

/// Nodes connected at once: an HQ serves a large operation's field nodes, each of which may take some megabytes of
/// buffers at worst and some kilobytes at rest.
const CONNECTIONS_MAX: usize = 1_024;

/// Where this node syncs.
#[derive(Debug, Clone)]
pub struct SyncSettings {
    /// UDP address to listen on.
    pub listen: SocketAddr,
    /// Nodes to dial, `NODE@HOST:PORT` or `HOST:PORT`.
    pub peers: Vec<String>,
    /// Addresses at which others reach this node.
    pub advertise: Vec<String>,
    /// Find nodes by multicast DNS.
    pub mdns: bool,
}

/// Tells the sync engine of entries that this node has just committed.
pub(in crate::app) fn local_commit(sync: &OnceLock<SyncNode>, group: &GroupCommit) {
    let Some(sync) = sync.get() else { return };
    if group.heads.is_empty() {
        return;
    }
    let records = group
        .local_runs
        .iter()
        .filter(|run| run.log.lane == Lane::Trust)
        .flat_map(|run| run.entries.iter().filter_map(|bytes| trust_record(bytes)))
        .collect();
    sync.local_commit(group.heads.clone(), group.local_runs.clone(), records);
}

/// `NODE@HOST:PORT` or `HOST:PORT`.
fn peer_addr(text: &str) -> Result<PeerAddr, AppError> {
    let bad = || {
        AppError::Unreadable(format!(
            "{text:?} is no peer: write NODE@HOST:PORT or HOST:PORT"
        ))
    };
    let (node, addr) = match text.split_once('@') {
        Some((node, addr)) => (Some(node.parse::<NodeId>().map_err(|_| bad())?), addr),
        None => (None, text),
    };
    let (host, port) = addr.rsplit_once(':').ok_or_else(bad)?;
    if host.is_empty() || port.parse::<u16>().is_err() {
        return Err(bad());
    }
    Ok(PeerAddr {
        node,
        addr: addr.to_owned(),
    })
}

impl App {
    /// Starts listening for other nodes and dialling them; answers the address in use.
    ///
    /// # Errors
    /// A peer or address that cannot be read, or a port that is taken.
    pub async fn start_sync(
        self: &Arc<Self>,
        settings: SyncSettings,
    ) -> Result<SocketAddr, AppError> {
        let mut config = SyncConfig::new(settings.listen, self.me.key.clone());
        for peer in &settings.peers {
            config.peers.push(peer_addr(peer)?);
        }
        for peer in self.saved_peers().await? {
            match peer_addr(&peer) {
                Ok(peer) if !config.peers.contains(&peer) => config.peers.push(peer),
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "a remembered peer cannot be read"),
            }
        }
        for address in &settings.advertise {
            let resolved = tokio::net::lookup_host(address).await.map_err(|error| {
                AppError::Unreadable(format!("--advertise {address}: {error}: write HOST:PORT"))
            })?;
            config.advertise.extend(resolved);
        }
        config.mdns = settings.mdns;

        let (frontier, applied) = self
            .read(|reader| Ok((reader.frontier()?, reader.applied_heights()?)))
            .await?;
        let now = Now {
            mono_ms: self.clock.uptime_ms(),
            wall_ms: self.clock.wall_ms(),
        };
        let mut engine = Engine::new(
            rand::random(),
            now,
            LocalNode {
                node: self.me.node,
                incarnation: self.me.incarnation,
                name: self.me.name.clone(),
                software: concat!("muster/", env!("CARGO_PKG_VERSION")).to_owned(),
            },
            self.trust.load().as_ref().clone(),
            frontier,
            Interest {
                groups: vec![GroupId::SHARED],
                // Readings come to who asks for them; blobs are fetched on demand.
                lanes: [
                    Lane::Trust,
                    Lane::Flash,
                    Lane::Life,
                    Lane::Coordination,
                    Lane::Summary,
                ]
                .into_iter()
                .chain(self.receive_raw.then_some(Lane::Raw))
                .collect(),
            },
            Limits {
                connections_max: CONNECTIONS_MAX,
                ..Limits::default()
            },
        );
        engine.set_codec(Arc::new(DocumentCodec));
        engine.recall(self.read(|reader| reader.sync_memory()).await?);
        let _ = self.advertised.set(config.advertise.clone());
        let host = Arc::new(NodeHost::new(Arc::clone(self)));
        let node = SyncNode::start(config, engine, host)
            .await
            .map_err(|error| AppError::Fault {
                context: "start sync",
                source: Box::new(error),
            })?;
        node.applied(applied);
        let address = node.local_addr();
        if self.sync.set(node.clone()).is_err() {
            return Err(AppError::Conflict("sync runs already".into()));
        }
        // What was committed since the frontier was read has not been told to anybody.
        let (author, incarnation) = (self.me.node, self.me.incarnation);
        let heads = self
            .read(move |reader| reader.heads_of(&author, incarnation))
            .await?;
        node.local_commit(heads, Vec::new(), Vec::new());
        Ok(address)
    }

    async fn saved_peers(&self) -> Result<Vec<String>, AppError> {
        let saved = self.read(|reader| reader.setting(PEERS_SETTING)).await?;
        // Written by this program alone; an unreadable list only costs the addresses.
        Ok(saved
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default())
    }

    /// Exchanges with other nodes now; with `wait` until nothing is left, or `timeout`.
    ///
    /// # Errors
    /// `NotFound` for an unknown peer, `Conflict` when the node does not sync.
    pub async fn sync_now(
        self: &Arc<Self>,
        caller: &Caller,
        peer: Option<String>,
        wait: bool,
        timeout: Duration,
    ) -> Result<Value, AppError> {
        self.authorise(caller, Action::Administer, Subject::Node)?;
        let sync = self
            .sync
            .get()
            .ok_or_else(|| AppError::Conflict("this node does not sync at the moment".into()))?;
        let peer = peer.map(|peer| self.find_peer(&peer)).transpose()?;
        let report = sync.sync_now(peer, wait, timeout).await;
        let peers: Vec<Value> = report
            .peers
            .iter()
            .map(|peer| {
                json!({
                    "node_id": peer.node.map(|node| node.to_string()),
                    "name": peer.name,
                    "address": peer.configured,
                    "state": state_word(peer.state),
                    "behind_entries": peer.behind_entries,
                    "last_error": peer.last_error,
                })
            })
            .collect();
        Ok(json!({ "peers": peers, "complete": report.complete || !wait }))
    }

    /// A member by id, the beginning of its id, or its name.
    fn find_peer(&self, text: &str) -> Result<NodeId, AppError> {
        let trust = self.trust.load();
        let found: Vec<NodeId> = trust
            .members()
            .filter(|(node, grant)| {
                grant.name == text || (text.len() >= 4 && node.to_string().starts_with(text))
            })
            .map(|(node, _)| *node)
            .collect();
        match found[..] {
            [node] => Ok(node),
            [] => Err(AppError::NotFound {
                what: "node",
                id: text.to_owned(),
            }),
            _ => Err(AppError::Conflict(format!(
                "{text:?} fits several nodes: write more of the id"
            ))),
        }
    }
}
