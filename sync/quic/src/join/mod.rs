//! Enrolment: who holds an invitation code proves it over a TLS session and comes back with a grant.
//!
//! One exchange on one stream of a connection of its own protocol: a request, an answer. The inviter is known by its key
//! (it stands in the code), the joiner by its own, and the proof binds the secret to this very TLS session (exporter,
//! RFC 5705), so that a proof seen by one node is worth nothing at another. The secret itself never travels.

pub(crate) mod messages;

use std::net::SocketAddr;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use sync_engine::{Genesis, NodeId, OperationId, Role, Run, RunError};

use crate::config::{ADVERTISE_MAX, SyncLimits};
use crate::endpoint;
use crate::error::SyncError;
use crate::identity::{self, Identity};
use crate::invite::Invite;
use crate::{windows, wire};
use messages::RequestWire;

const EXPORTER_LABEL: &[u8] = b"EXPORTER-muster-join-1";

/// Session binding: what both ends, and nobody else, can derive from the TLS session.
type Binding = [u8; 32];

/// What a joiner says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRequest {
    /// Name that people will see.
    pub name: String,
    /// The role it would like; what it gets is the inviter's decision.
    pub role: Option<Role>,
    /// The joining node. On the inviter's side this is the key proven in TLS, whatever the request said.
    pub node: NodeId,
    /// Version of the joiner's program.
    pub software: String,
    proof: [u8; 32],
    binding: Binding,
    inviter: NodeId,
}

impl JoinRequest {
    /// A request, to be given to [`join`], which adds who asks and the proof.
    pub fn new(name: impl Into<String>, role: Option<Role>, software: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            role,
            node: NodeId([0; 32]),
            software: software.into(),
            proof: [0; 32],
            binding: [0; 32],
            inviter: NodeId([0; 32]),
        }
    }

    /// Whether the joiner holds the invitation with this secret. Takes the same time for every wrong secret.
    pub fn proves(&self, secret: &[u8; 16]) -> bool {
        proof(secret, &self.binding, self.node, self.inviter)
            .ct_eq(&self.proof)
            .into()
    }
}

fn proof(secret: &[u8; 16], binding: &Binding, joiner: NodeId, inviter: NodeId) -> [u8; 32] {
    let key = blake3::derive_key("muster 2026-11 join proof", secret);
    let mut mac = blake3::Hasher::new_keyed(&key);
    mac.update(binding).update(&joiner.0).update(&inviter.0);
    *mac.finalize().as_bytes()
}

fn binding(connection: &quinn::Connection) -> Result<Binding, JoinError> {
    let mut out = [0; 32];
    connection
        .export_keying_material(&mut out, EXPORTER_LABEL, &[])
        .map_err(|_| JoinError::Protocol("tls exporter not available"))?;
    Ok(out)
}

/// What a new member gets.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinReply {
    /// The operation's first record.
    pub genesis: Genesis,
    /// The trust lane whole, the joiner's own grant in it. Not yet verified: a run says nothing before
    /// [`Run::verify`].
    pub trust_runs: Vec<Run>,
    /// Name of the inviting node.
    pub inviter_name: String,
    /// Reserved for a signed checkpoint; none for now.
    pub checkpoint: Option<Vec<u8>>,
    /// Where other members can be dialled.
    pub members: Vec<MemberAddresses>,
}

/// Where a member can be dialled, best first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberAddresses {
    /// The member.
    pub node: NodeId,
    /// Its addresses, at most [`ADVERTISE_MAX`].
    #[serde(deserialize_with = "messages::at_most::<_, _, ADVERTISE_MAX>")]
    pub addresses: Vec<SocketAddr>,
}

/// Why an inviter said no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum JoinRefusal {
    /// No open invitation has this secret.
    #[error("invitation is not known there, or was withdrawn: ask for a new one")]
    UnknownInvite,
    /// Somebody has joined with it already.
    #[error("invitation was used already: ask for a new one")]
    Used,
    /// Its time is over.
    #[error("invitation has expired: ask for a new one")]
    Expired,
    /// The inviting node may not enrol others (any more).
    #[error("the inviting node may not enrol others")]
    NotAllowed,
    /// This key is a member already.
    #[error("this node is a member already")]
    AlreadyMember,
    /// Too many join at this moment.
    #[error("too many nodes are joining there: try again in a moment")]
    Busy,
    /// Something else, in the inviter's words.
    #[error("refused: {0}")]
    Other(String),
}

/// Why a join did not happen, seen from the joiner.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Nothing answered at any of the addresses.
    #[error(
        "inviter did not answer at {addresses}: is it running, and is this network the right one?"
    )]
    Unreachable {
        /// The addresses tried, with what happened there.
        addresses: String,
    },
    /// The whole exchange took too long.
    #[error("no answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The inviter said no.
    #[error(transparent)]
    Refused(#[from] JoinRefusal),
    /// The genesis in the answer is not of the operation in the code.
    #[error("answer is for operation {found}, the code is for {expected}")]
    OtherOperation {
        /// The operation in the code.
        expected: OperationId,
        /// The operation in the answer.
        found: OperationId,
    },
    /// A run in the answer is malformed.
    #[error("answer contains a malformed run")]
    Run(#[source] RunError),
    /// The answer, or the lack of one, makes no sense.
    #[error("inviter did not follow the protocol: {0}")]
    Protocol(&'static str),
    /// The connection broke in the middle of the exchange.
    #[error("connection lost while joining: {0}")]
    Connection(String),
    /// This node could not even begin.
    #[error(transparent)]
    Setup(#[from] SyncError),
}

/// Joins the operation of `invite` as the node of `key`: dials the inviter at each address in turn, proves the secret,
/// and returns what a new member gets. The genesis has been checked against the code; the runs still want
/// [`Run::verify`].
///
/// # Errors
///
/// See [`JoinError`]. After [`JoinError::TimedOut`] or [`JoinError::Connection`] the inviter may have used up the code.
pub async fn join(
    key: &SigningKey,
    invite: &Invite,
    request: JoinRequest,
    timeout: Duration,
) -> Result<JoinReply, JoinError> {
    tokio::time::timeout(timeout, join_within(key, invite, request, timeout))
        .await
        .unwrap_or(Err(JoinError::TimedOut(timeout)))
}

async fn join_within(
    key: &SigningKey,
    invite: &Invite,
    request: JoinRequest,
    timeout: Duration,
) -> Result<JoinReply, JoinError> {
    let identity = Identity::new(key)?;
    let limits = SyncLimits::default();
    // A dead address may not use up the time of those that follow it.
    let share = timeout / (invite.addresses.len().max(1) as u32 + 1);
    let mut tried = Vec::new();
    for &address in &invite.addresses {
        let endpoint = endpoint::bind_client(address, key)?;
        let (crypto, found) = identity.client(identity::ALPN_JOIN, Some(invite.inviter))?;
        let mut config = quinn::ClientConfig::new(std::sync::Arc::new(crypto));
        config.transport_config(windows::single(&limits)?);
        let dialled = match endpoint.connect_with(config, address, identity::SERVER_NAME) {
            Ok(connecting) => tokio::time::timeout(share.min(limits.handshake), connecting).await,
            Err(error) => {
                tried.push(format!("{address} ({error})"));
                continue;
            }
        };
        let connection = match dialled {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                match found.get() {
                    Some(other) if other != invite.inviter => {
                        tried.push(format!("{address} (another node answers there: {other})"));
                    }
                    _ => tried.push(format!("{address} ({error})")),
                }
                continue;
            }
            Err(_) => {
                tried.push(format!("{address} (no answer)"));
                continue;
            }
        };
        let result = ask(&connection, identity.node(), invite, &request).await;
        connection.close(wire::close_code(wire::CLOSE_DONE), b"joined");
        // The close must still leave the socket, or the inviter waits for its idle timer.
        let _ = tokio::time::timeout(Duration::from_secs(1), endpoint.wait_idle()).await;
        return result;
    }
    Err(JoinError::Unreachable {
        addresses: tried.join(", "),
    })
}

async fn ask(
    connection: &quinn::Connection,
    node: NodeId,
    invite: &Invite,
    request: &JoinRequest,
) -> Result<JoinReply, JoinError> {
    let lost = |error: &dyn std::fmt::Display| JoinError::Connection(error.to_string());
    let binding = binding(connection)?;
    let (mut send, mut receive) = connection.open_bi().await.map_err(|e| lost(&e))?;
    let request = RequestWire {
        name: request.name.clone(),
        role: request.role,
        software: request.software.clone(),
        proof: proof(&invite.secret, &binding, node, invite.inviter),
    };
    send.write_all(&request.encode()?)
        .await
        .map_err(|e| lost(&e))?;
    send.finish().map_err(|e| lost(&e))?;
    let answer = match receive.read_to_end(messages::ANSWER_BYTES_MAX).await {
        Ok(bytes) => bytes,
        Err(quinn::ReadToEndError::TooLong) => {
            return Err(JoinError::Protocol("answer is too large"));
        }
        Err(quinn::ReadToEndError::Read(error)) => return Err(lost(&error)),
    };
    let reply = messages::decode_answer(&answer)?;
    let found = reply.genesis.id();
    if found != invite.operation {
        return Err(JoinError::OtherOperation {
            expected: invite.operation,
            found,
        });
    }
    Ok(reply)
}

/// The inviter's side of one join connection. `judge` is the host's decision. Returns after the joiner has the answer.
pub(crate) async fn serve<F>(
    connection: &quinn::Connection,
    joiner: NodeId,
    inviter: NodeId,
    judge: impl FnOnce(JoinRequest) -> F,
) -> Result<(), JoinError>
where
    F: Future<Output = Result<JoinReply, JoinRefusal>>,
{
    let lost = |error: &dyn std::fmt::Display| JoinError::Connection(error.to_string());
    let (mut send, mut receive) = connection.accept_bi().await.map_err(|e| lost(&e))?;
    let bytes = receive
        .read_to_end(messages::REQUEST_BYTES_MAX)
        .await
        .map_err(|e| lost(&e))?;
    let wire = RequestWire::decode(&bytes)?;
    let request = JoinRequest {
        name: wire.name,
        role: wire.role,
        node: joiner,
        software: wire.software,
        proof: wire.proof,
        binding: binding(connection)?,
        inviter,
    };
    let bytes = messages::encode_answer(judge(request).await)?;
    send.write_all(&bytes).await.map_err(|e| lost(&e))?;
    send.finish().map_err(|e| lost(&e))?;
    // The joiner closes when it has read the answer.
    connection.closed().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_worth_nothing_in_another_session_or_for_another_node() {
        let (a, b, secret) = (NodeId([1; 32]), NodeId([2; 32]), [9; 16]);
        let mut request = JoinRequest::new("truck", None, "0.1.0");
        request.node = a;
        request.inviter = b;
        request.binding = [5; 32];
        request.proof = proof(&secret, &[5; 32], a, b);
        assert!(request.proves(&secret));
        assert!(!request.proves(&[8; 16]));
        assert!(
            !JoinRequest {
                binding: [6; 32],
                ..request.clone()
            }
            .proves(&secret)
        );
        assert!(
            !JoinRequest {
                node: b,
                ..request.clone()
            }
            .proves(&secret)
        );
        assert!(
            !JoinRequest {
                inviter: a,
                ..request
            }
            .proves(&secret)
        );
    }
}
