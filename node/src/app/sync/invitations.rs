//! How a node becomes a member: invitations that may still be used, and whoever comes with one.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use domain::permissions::{Action, Subject};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::Batch;
use sync_engine::{Grant, Lane, NodeId, Seq, TrustRecord};
use sync_quic::{Invite, JoinRefusal, JoinReply, JoinRequest, MemberAddresses};

use crate::app::audit;
use crate::app::clock::rfc3339_wall;
use crate::app::founding::{NodeRole, role_name, trust_entry};
use crate::app::{App, AppError, Caller};

/// Setting that holds the open invitations (JSON).
const INVITES_SETTING: &str = "invites";

/// Invitations open at once: a person makes a handful.
const INVITES_MAX: usize = 256;

/// Addresses in one invitation; they must fit a QR code that a phone reads in the rain.
const INVITE_ADDRESSES_MAX: usize = 4;

/// Bytes per run when the trust lane is given to a new member.
const TRUST_RUN_BYTES: usize = 64 * 1024;

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

impl App {
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
            role: role_name(role.0).to_owned(),
            organisation,
            expires_wall_ms,
            used_by: None,
        });
        let mut batch = Batch::new(Lane::Trust, self.clock.wall_ms());
        batch
            .settings
            .push((INVITES_SETTING.to_owned(), Some(encode(&open)?)));
        batch.audit.push(audit::record(
            batch.arrival_wall_ms,
            &caller.name,
            "node.invite",
            None,
            &json!({ "role": open.last().map(|o| &o.role) }),
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

    /// Makes a node a member if it holds an open invitation.
    pub(super) async fn let_join(
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
                batch.audit.push(audit::record(
                    now_ms,
                    "node",
                    "node.enrol",
                    None,
                    &json!({ "node": peer.to_string(), "name": request.name }),
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

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, AppError> {
    serde_json::to_vec(value).map_err(|error| AppError::Fault {
        context: "write a setting",
        source: Box::new(error),
    })
}
