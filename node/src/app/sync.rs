//! The node as the sync engine's host: it loads and stores runs, lets others join, and says who is where.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use domain::permissions::{Action, Subject};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{AuditWrite, Batch, GroupCommit};
use sync_engine::{
    Counters, DigestItems, Digests, Engine, Grant, GroupId, Interest, Lane, Limits, LocalNode,
    LogId, Mark, Mismatch, Name, NodeId, Now, Place, ProgressItem, Seq, StoreFault, Stored,
    TrustRecord, VerifiedRun,
};
use sync_quic::{
    Host, Invite, JoinRefusal, JoinReply, JoinRequest, Loaded, MemberAddresses, PeerAddr,
    SyncConfig, SyncNode,
};

use super::clock::rfc3339_wall;
use super::codec::DocumentCodec;
use super::founding::{NodeRole, PEERS_SETTING, trust_entry, trust_record};
use super::peers::state_word;
use super::{App, AppError, Caller, receipts};

/// Setting that holds the open invitations (JSON).
const INVITES_SETTING: &str = "invites";

/// Invitations open at once: a person makes a handful.
const INVITES_MAX: usize = 256;

/// Nodes connected at once: an HQ serves a large operation's field nodes, each of which may take some megabytes of
/// buffers at worst and some kilobytes at rest.
const CONNECTIONS_MAX: usize = 1_024;

/// Addresses in one invitation; they must fit a QR code that a phone reads in the rain.
const INVITE_ADDRESSES_MAX: usize = 4;

/// Bytes per run when the trust lane is given to a new member.
const TRUST_RUN_BYTES: usize = 64 * 1024;

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

/// An invitation that may still be used.
#[derive(Clone, Serialize, Deserialize)]
struct OpenInvite {
    secret: [u8; 16],
    role: String,
    organisation: Option<String>,
    expires_wall_ms: u64,
    /// Who joined with it: the same node may ask again when the answer got lost.
    used_by: Option<String>,
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
                // Raw readings stay where they were taken; blobs are fetched on demand.
                lanes: vec![
                    Lane::Trust,
                    Lane::Flash,
                    Lane::Life,
                    Lane::Coordination,
                    Lane::Summary,
                ],
            },
            Limits {
                connections_max: CONNECTIONS_MAX,
                ..Limits::default()
            },
        );
        engine.set_codec(Arc::new(DocumentCodec));
        engine.recall(self.read(|reader| reader.sync_memory()).await?);
        let _ = self.advertised.set(config.advertise.clone());
        let host = Arc::new(NodeHost {
            app: Arc::clone(self),
            last_mark: Mutex::default(),
        });
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

    /// Makes a one-time code with which another node can join.
    ///
    /// # Errors
    /// `Forbidden`, `Conflict` when this node may not enrol or does not listen.
    pub async fn invite(
        self: &Arc<Self>,
        caller: &Caller,
        role: &str,
        organisation: Option<String>,
        ttl: Duration,
    ) -> Result<Value, AppError> {
        self.authorise(caller, Action::Administer, Subject::Node)?;
        let role = role
            .parse::<NodeRole>()
            .map_err(|error| AppError::Unreadable(error.to_string()))?;
        if !self.trust.load().may_enrol(self.me.node) {
            return Err(AppError::Conflict(
                "this node may not enrol others: ask an HQ or a field leader for an invitation"
                    .into(),
            ));
        }
        let sync = self.sync.get().ok_or_else(|| {
            AppError::Conflict(
                "the node does not listen, so nobody could join: start it with `muster run`".into(),
            )
        })?;
        let expires_wall_ms = self
            .clock
            .wall_ms()
            .saturating_add(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        let invite = Invite {
            addresses: invite_addresses(
                sync.local_addr(),
                self.advertised.get().map_or(&[], Vec::as_slice),
            ),
            inviter: self.me.node,
            operation: self.me.operation,
            secret: rand::random(),
        };
        let _invites = self.invites.lock().await;
        let mut open = self.open_invites().await?;
        if open.len() >= INVITES_MAX {
            return Err(AppError::TooMany { retry_after_s: 60 });
        }
        open.push(OpenInvite {
            secret: invite.secret,
            role: super::founding::role_name(role.0).to_owned(),
            organisation,
            expires_wall_ms,
            used_by: None,
        });
        let mut batch = Batch::new(Lane::Trust, self.clock.wall_ms());
        batch
            .settings
            .push((INVITES_SETTING.to_owned(), Some(encode(&open)?)));
        batch.audit.push(self.audit(
            &caller.name,
            "node.invite",
            json!({ "role": open.last().map(|o| &o.role) }),
        ));
        self.store.commit(batch).await?;
        Ok(json!({ "code": invite.code(), "expires_at": rfc3339_wall(expires_wall_ms) }))
    }

    /// Invitations that may still be used, the used ones among them until they expire.
    async fn open_invites(&self) -> Result<Vec<OpenInvite>, AppError> {
        let now = self.clock.wall_ms();
        let saved = self.read(|reader| reader.setting(INVITES_SETTING)).await?;
        let mut open: Vec<OpenInvite> = match saved {
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| AppError::Fault {
                context: "read the invitations",
                source: Box::new(error),
            })?,
            None => Vec::new(),
        };
        open.retain(|invite| invite.expires_wall_ms > now);
        Ok(open)
    }

    fn audit(&self, actor: &str, action: &str, detail: Value) -> AuditWrite {
        AuditWrite {
            at_wall_ms: self.clock.wall_ms(),
            actor: actor.to_owned(),
            action: action.to_owned(),
            kind: None,
            object: None,
            detail: detail.to_string(),
        }
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

    /// What sync counted since it began; `None` while this node does not sync.
    pub fn sync_counters(&self) -> Option<Counters> {
        self.sync.get().map(SyncNode::counters)
    }

    /// Gives what sync counted to the figures for Prometheus.
    pub fn publish_sync_counters(&self) {
        let Some(counters) = self.sync_counters() else {
            return;
        };
        for (why, count) in [
            ("signature", counters.refused_signature),
            ("chain", counters.refused_chain),
            ("author", counters.refused_author),
            ("operation", counters.refused_operation),
            ("record", counters.refused_records),
            ("protocol", counters.refused_protocol),
            ("frame", counters.refused_frames),
            ("flow", counters.refused_flow),
        ] {
            metrics::counter!("muster_sync_refused_total", "why" => why).absolute(count);
        }
        for (what, count) in [
            ("sent", counters.sent_bytes),
            ("received", counters.received_bytes),
        ] {
            metrics::counter!("muster_sync_bytes_total", "direction" => what).absolute(count);
        }
        for (how, count) in [
            ("packed", counters.sent_packed_runs),
            ("plain", counters.sent_runs - counters.sent_packed_runs),
        ] {
            metrics::counter!("muster_sync_runs_sent_total", "form" => how).absolute(count);
        }
        let asked_again = counters.unresolved_runs + counters.wrong_rebuilds;
        metrics::counter!("muster_sync_runs_asked_for_plain_total").absolute(asked_again);
        metrics::counter!("muster_sync_entries_stored_total").absolute(counters.stored_entries);
        metrics::counter!("muster_sync_forks_seen_total").absolute(counters.forks_seen);
        metrics::counter!("muster_sync_marks_agreed_total").absolute(counters.marks_agreed);
        metrics::counter!("muster_sync_short_greetings_total").absolute(counters.short_greetings);
        for (result, count) in [
            ("equal", counters.proofs_equal),
            ("differs", counters.proof_faults),
            ("void", counters.proofs_void),
        ] {
            metrics::counter!("muster_sync_proofs_total", "result" => result).absolute(count);
        }
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

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, AppError> {
    serde_json::to_vec(value).map_err(|error| AppError::Fault {
        context: "write a setting",
        source: Box::new(error),
    })
}

/// Where a new node should dial: what was configured, else what this machine's interfaces say.
fn invite_addresses(listen: SocketAddr, advertised: &[SocketAddr]) -> Vec<SocketAddr> {
    if !advertised.is_empty() {
        return advertised
            .iter()
            .copied()
            .take(INVITE_ADDRESSES_MAX)
            .collect();
    }
    if !listen.ip().is_unspecified() {
        return vec![listen];
    }
    let mut found: Vec<IpAddr> = if_addrs::get_if_addrs()
        .unwrap_or_default()
        .into_iter()
        .map(|interface| interface.ip())
        .filter(|ip| match ip {
            IpAddr::V4(ip) => !ip.is_link_local(),
            // A link-local IPv6 address needs a scope that means nothing on the other machine.
            IpAddr::V6(ip) => listen.is_ipv6() && !ip.is_unicast_link_local(),
        })
        .collect();
    // Loopback last: it serves a second node on the same machine.
    found.sort_by_key(IpAddr::is_loopback);
    found.truncate(INVITE_ADDRESSES_MAX);
    found
        .into_iter()
        .map(|ip| SocketAddr::new(ip, listen.port()))
        .collect()
}

/// The engine's way to the disk.
struct NodeHost {
    app: Arc<App>,
    /// The mark kept last: many peers agree on one, and it may be large.
    last_mark: Mutex<Option<Arc<Mark>>>,
}

impl Host for NodeHost {
    async fn load(&self, log: LogId, from: Seq, bytes_max: usize) -> Option<Loaded> {
        let loaded = self
            .app
            .read(move |reader| {
                let Some(run) = reader.load_run(&log, from, bytes_max)? else {
                    return Ok(None);
                };
                let named = reader.parents_of_run(&run, &DocumentCodec)?;
                Ok(Some(Loaded { run, named }))
            })
            .await;
        loaded.unwrap_or_else(|error| {
            tracing::error!(%error, %log.lane, "load a run");
            None
        })
    }

    async fn resolve(&self, places: Vec<Place>) -> Vec<(Place, Name)> {
        let names = self
            .app
            .read(move |reader| reader.names_at(&places, &DocumentCodec))
            .await;
        names.unwrap_or_else(|error| {
            tracing::error!(%error, "look up what a run refers to");
            Vec::new()
        })
    }

    async fn store(&self, from: NodeId, runs: Vec<VerifiedRun>) -> Result<Stored, StoreFault> {
        let records: Vec<TrustRecord> = runs
            .iter()
            .filter(|run| run.log().lane == Lane::Trust)
            .flat_map(super::founding::trust_records)
            .collect();
        let moves = runs.iter().any(|run| receipts::is_about(run.log().lane));
        let stored = self.app.documents.ingest(runs).await.inspect_err(
            |error| tracing::error!(%error, peer = %from, "entries were not stored"),
        )?;
        self.app.learn(records);
        if moves {
            self.app.moved.note();
        }
        Ok(stored)
    }

    fn progress(&self, peer: NodeId, items: Vec<ProgressItem>, at_wall_ms: u64) {
        // Of what is not spoken of in receipts nobody asks who has it.
        let items: Vec<(LogId, Seq, Seq)> = items
            .into_iter()
            .filter(|item| receipts::is_about(item.log.lane))
            .map(|item| (item.log, item.stored, item.applied))
            .collect();
        self.app.store.record_progress(peer, &items, at_wall_ms);
    }

    fn keep_mark(&self, peer: NodeId, mark: &Mark) {
        let shared = {
            let mut last = self.last_mark.lock();
            match last.as_ref().filter(|last| last.hash == mark.hash) {
                Some(last) => Arc::clone(last),
                None => Arc::clone(last.insert(Arc::new(mark.clone()))),
            }
        };
        let now_ms = self.app.clock.wall_ms();
        self.app.store.keep_mark(peer, shared, now_ms);
    }

    async fn digests(&self, groups: Vec<GroupId>) -> Option<Digests> {
        let digests = self.app.proof_digests(groups).await;
        digests
            .inspect_err(|error| tracing::error!(%error, "digests for a peer"))
            .ok()
    }

    async fn digest_items(&self, group: GroupId, buckets: Vec<u8>) -> Option<DigestItems> {
        let items = self.app.proof_items(group, buckets).await;
        items
            .inspect_err(|error| tracing::error!(%error, "digests of objects for a peer"))
            .ok()
    }

    fn mismatch(&self, mismatch: Mismatch) {
        self.app.mismatches.note(mismatch);
    }

    fn own_log_longer(&self, log: LogId, ours: Seq, theirs: Seq, peer: NodeId) {
        let name = self
            .app
            .trust
            .load()
            .grant(peer)
            .map(|grant| grant.name.clone());
        let reason = format!(
            "node {} holds entries of this node that this node does not have (lane {}: {theirs} there, {ours} here). \
             This data directory was restored or copied. Nothing can be written here until that is settled; \
             reading and receiving go on",
            name.unwrap_or_else(|| peer.to_string()),
            log.lane as u8,
        );
        tracing::error!("{reason}");
        self.app.writes_stopped.store(Some(Arc::new(reason)));
    }

    async fn join(&self, peer: NodeId, request: JoinRequest) -> Result<JoinReply, JoinRefusal> {
        self.app.let_join(peer, request).await
    }

    fn wall_ms(&self) -> u64 {
        self.app.clock.wall_ms()
    }
}

impl App {
    /// Takes trust records into the picture that requests are judged by.
    fn learn(&self, records: Vec<TrustRecord>) {
        if records.is_empty() {
            return;
        }
        self.trust.rcu(|trust| {
            let mut trust = trust.as_ref().clone();
            for record in &records {
                // One that does not count was already refused by the engine.
                let _ = trust.insert(record.clone());
            }
            trust
        });
        // Somebody who joins should hear how far everybody is.
        self.moved.note();
    }

    /// Makes a node a member if it holds an open invitation.
    async fn let_join(
        self: &Arc<Self>,
        peer: NodeId,
        request: JoinRequest,
    ) -> Result<JoinReply, JoinRefusal> {
        let other = |error: AppError| JoinRefusal::Other(error.to_string());
        if let Some(reason) = self.writes_stopped.load_full() {
            return Err(JoinRefusal::Other(reason.as_ref().clone()));
        }
        let _invites = self.invites.lock().await;
        let mut open = self.open_invites().await.map_err(other)?;
        let invite = open
            .iter_mut()
            .find(|invite| request.proves(&invite.secret))
            .ok_or(JoinRefusal::UnknownInvite)?;
        match &invite.used_by {
            // Its first answer got lost on the way.
            Some(node) if *node == peer.to_string() => {}
            Some(_) => return Err(JoinRefusal::Used),
            None if self.trust.load().is_member(peer) => return Err(JoinRefusal::AlreadyMember),
            None => {
                invite.used_by = Some(peer.to_string());
                let grant = self.grant_for(peer, &request, invite)?;
                let now_ms = self.clock.wall_ms();
                let mut batch = Batch::new(Lane::Trust, now_ms);
                batch.local.push(trust_entry(&grant, now_ms));
                batch.settings.push((
                    INVITES_SETTING.to_owned(),
                    Some(encode(&open).map_err(other)?),
                ));
                batch.audit.push(self.audit(
                    "node",
                    "node.enrol",
                    json!({ "node": peer.to_string(), "name": request.name }),
                ));
                self.store
                    .commit(batch)
                    .await
                    .map_err(|error| other(error.into()))?;
                self.learn(vec![grant]);
                tracing::info!(node = %peer, name = request.name, "a node has joined");
            }
        }
        self.join_reply().await.map_err(other)
    }

    fn grant_for(
        &self,
        peer: NodeId,
        request: &JoinRequest,
        invite: &OpenInvite,
    ) -> Result<TrustRecord, JoinRefusal> {
        let trust = self.trust.load();
        let own = trust
            .grant(self.me.node)
            .filter(|own| own.may_enrol)
            .ok_or(JoinRefusal::NotAllowed)?;
        let role = invite
            .role
            .parse::<NodeRole>()
            .map_err(|error| JoinRefusal::Other(error.to_string()))?;
        let grant = Grant {
            operation: self.me.operation,
            node: peer,
            name: request.name.clone(),
            role: role.0,
            organisation: invite
                .organisation
                .clone()
                .or_else(|| own.organisation.clone()),
            groups: own.groups.clone(),
            field_classes: own.field_classes.clone(),
            lanes: own.lanes.clone(),
            // Headquarters enrol; who else may is decided when roles come.
            may_enrol: role.0 == sync_engine::Role::Hq && own.role == sync_engine::Role::Hq,
            serial: 1,
        };
        Ok(TrustRecord::Grant(grant.sign(&self.me.key)))
    }

    async fn join_reply(&self) -> Result<JoinReply, AppError> {
        let trust_runs = self
            .read(|reader| {
                let mut runs = Vec::new();
                for (log, held) in reader.frontier()?.iter() {
                    if log.lane != Lane::Trust {
                        continue;
                    }
                    let mut from = Seq(1);
                    while from <= held.height {
                        let Some(run) = reader.load_run(log, from, TRUST_RUN_BYTES)? else {
                            break;
                        };
                        from = Seq(run.first.0 + run.entries.len() as u64);
                        runs.push(run);
                    }
                }
                Ok(runs)
            })
            .await?;
        let members = vec![MemberAddresses {
            node: self.me.node,
            addresses: self.advertised.get().cloned().unwrap_or_default(),
        }];
        Ok(JoinReply {
            genesis: self.trust.load().genesis().clone(),
            trust_runs,
            inviter_name: self.me.name.clone(),
            checkpoint: None,
            members,
        })
    }
}
