//! How a data directory comes to hold a node: it founds an operation, or it joins one.
//!
//! Invariant: the identity is written first and the trust lane in one transaction after it; a power cut in between
//! leaves a directory that [`has_member`] calls unfinished, and both ways can simply be started again.

use std::path::Path;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use store::{Batch, Disposition, Identity, LocalEntry, RunWrite, Store, StoreError};
use sync_engine::{
    Entry, EntryHeader, Genesis, Grant, GroupId, HybridTime, Incarnation, Lane, NodeId, ObjectId,
    OperationId, Payload, Role, Trust, TrustRecord, VerifiedRun,
};
use sync_quic::{Invite, JoinRequest};
use zeroize::Zeroizing;

use super::clock::Clock;
use super::documents::judge_trust_entry;
use super::{KeySource, OpenConfig, OpenError, open_store};

/// Names are shown in lists on small screens.
const NAME_BYTES_MAX: usize = 64;
/// Titles of operations stand in headings.
const TITLE_BYTES_MAX: usize = 128;

/// Setting under which the addresses of peers to dial are kept (JSON list of `NODE@ADDR`).
pub(in crate::app) const PEERS_SETTING: &str = "peers";

/// What a person decides when founding.
#[derive(Debug, Clone)]
pub struct Founding {
    /// Name of this node.
    pub name: String,
    /// What it is.
    pub role: NodeRole,
    /// Title of the operation.
    pub title: String,
}

/// A node's role, as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeRole(pub Role);

impl std::str::FromStr for NodeRole {
    type Err = FoundingError;

    fn from_str(text: &str) -> Result<Self, FoundingError> {
        match text {
            "hq" => Ok(NodeRole(Role::Hq)),
            "field" => Ok(NodeRole(Role::Field)),
            "gateway" => Ok(NodeRole(Role::Gateway)),
            _ => Err(FoundingError::Role(text.to_owned())),
        }
    }
}

/// `field`, `hq` or `gateway`.
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Field => "field",
        Role::Hq => "hq",
        Role::Gateway => "gateway",
    }
}

/// Why a directory holds no node after all.
#[derive(Debug, thiserror::Error)]
pub enum FoundingError {
    /// There is one already.
    #[error(
        "{dir} already holds node {node} of the operation {title:?}: start it with `muster run`, \
         or give another --data-dir"
    )]
    AlreadyMember {
        /// The directory.
        dir: String,
        /// Its node.
        node: String,
        /// Its operation.
        title: String,
    },
    /// An unusable name or title.
    #[error("{what} must have 1 to {max} bytes and no control characters")]
    Text {
        /// Which one.
        what: &'static str,
        /// The bound, bytes.
        max: usize,
    },
    /// No such role.
    #[error("no role {0:?}: hq, field or gateway")]
    Role(String),
    /// The code cannot be read.
    #[error(transparent)]
    Code(#[from] sync_quic::InviteError),
    /// The inviter could not be reached, or said no.
    #[error(transparent)]
    Join(#[from] sync_quic::JoinError),
    /// The inviter's answer does not belong to the code.
    #[error(
        "the inviting node answered for another operation than the code says: ask for a new code"
    )]
    OtherOperation,
    /// The inviter's answer holds no valid membership.
    #[error("the inviting node's answer cannot be trusted: {0}")]
    Answer(String),
    /// The data directory cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It could not be committed.
    #[error("store the membership")]
    Commit(#[source] store::CommitError),
}

/// Whether there is anything of a node in `data_dir` (it may be unfinished; opening it tells).
pub fn has_data(data_dir: &Path) -> bool {
    data_dir.join("muster.db").exists()
}

/// Founds an operation with this node as its first member.
///
/// # Errors
/// [`FoundingError`]; nothing is founded then.
pub async fn found(
    data_dir: &Path,
    key: &KeySource,
    founding: Founding,
) -> Result<OperationId, FoundingError> {
    check_text("the node's name", &founding.name, NAME_BYTES_MAX)?;
    check_text("the operation's title", &founding.title, TITLE_BYTES_MAX)?;
    let store = open_unfinished(data_dir, key).await?;
    let clock = Clock::start();
    let now_ms = clock.wall_ms();

    let node_key = SigningKey::from_bytes(&rand::random());
    let root_key = SigningKey::from_bytes(&rand::random());
    let successor_key = SigningKey::from_bytes(&rand::random());
    let genesis = Genesis {
        title: founding.title.clone(),
        root_key: root_key.verifying_key().to_bytes(),
        successor_hash: *blake3::hash(successor_key.verifying_key().as_bytes()).as_bytes(),
        created_wall_ms: now_ms,
        nonce: rand::random(),
    };
    let operation = genesis.id();
    let grant = Grant {
        operation,
        node: NodeId(node_key.verifying_key().to_bytes()),
        name: founding.name.clone(),
        role: founding.role.0,
        organisation: None,
        groups: vec![GroupId::SHARED],
        field_classes: Vec::new(),
        lanes: Lane::ALL.to_vec(),
        may_enrol: true,
        serial: 1,
    };
    let identity = Identity {
        node_secret: Zeroizing::new(node_key.to_bytes()),
        incarnation: Incarnation(rand::random()),
        name: founding.name,
        role: role_name(founding.role.0).to_owned(),
        operation: Some(operation.0),
        operation_title: founding.title,
        root_secret: Some(Zeroizing::new(root_key.to_bytes())),
        successor_secret: Some(Zeroizing::new(successor_key.to_bytes())),
        created_wall_ms: now_ms,
    };
    let mut batch = Batch::new(Lane::Trust, now_ms);
    batch.local = vec![
        trust_entry(&TrustRecord::Genesis(genesis), now_ms),
        trust_entry(&TrustRecord::Grant(grant.sign(&root_key)), now_ms),
    ];
    let stored = async {
        store.put_identity(identity).await?;
        commit(&store, batch).await
    }
    .await;
    close(store).await;
    stored.map(|()| operation)
}

/// What a new member is told.
#[derive(Debug)]
pub struct Joined {
    /// This node.
    pub node_id: NodeId,
    /// The operation.
    pub operation: OperationId,
    /// Its title.
    pub title: String,
    /// Who invited.
    pub inviter_name: String,
}

/// Joins the operation that `code` invites to.
///
/// # Errors
/// [`FoundingError`]; the directory can be used for another attempt.
pub async fn join(
    data_dir: &Path,
    key: &KeySource,
    code: &str,
    name: String,
    timeout: Duration,
) -> Result<Joined, FoundingError> {
    check_text("the node's name", &name, NAME_BYTES_MAX)?;
    let invite: Invite = code.parse()?;
    let store = open_unfinished(data_dir, key).await?;
    let result = join_with(&store, &invite, name, timeout).await;
    close(store).await;
    result
}

async fn join_with(
    store: &Store,
    invite: &Invite,
    name: String,
    timeout: Duration,
) -> Result<Joined, FoundingError> {
    let now_ms = Clock::start().wall_ms();
    // An attempt that was cut off keeps its key: the inviter may know it already.
    let mut identity = match store.read(|reader| reader.identity())? {
        Some(identity) if identity.root_secret.is_none() => identity,
        _ => Identity {
            node_secret: Zeroizing::new(rand::random()),
            incarnation: Incarnation(rand::random()),
            name: String::new(),
            role: role_name(Role::Field).to_owned(),
            operation: None,
            operation_title: String::new(),
            root_secret: None,
            successor_secret: None,
            created_wall_ms: now_ms,
        },
    };
    identity.name = name.clone();
    store.put_identity(identity.clone()).await?;
    let node_key = SigningKey::from_bytes(&identity.node_secret);
    let node_id = NodeId(node_key.verifying_key().to_bytes());

    let request = JoinRequest::new(name, None, env!("CARGO_PKG_VERSION"));
    let reply = sync_quic::join(&node_key, invite, request, timeout).await?;
    if reply.genesis.id() != invite.operation {
        return Err(FoundingError::OtherOperation);
    }
    let title = reply.genesis.title.clone();
    let mut trust = Trust::new(reply.genesis);
    let mut batch = Batch::new(Lane::Trust, now_ms);
    for run in reply.trust_runs {
        let run = run
            .verify()
            .map_err(|error| FoundingError::Answer(error.to_string()))?;
        if run.log().lane != Lane::Trust {
            return Err(FoundingError::Answer(
                "it holds more than the trust lane".into(),
            ));
        }
        // A record that does not count is in the lane for ever, and keeps nobody out.
        let _ = trust.extend(trust_records(&run));
        batch.runs.push(trust_run(run));
    }
    let Some(grant) = trust.grant(node_id) else {
        return Err(FoundingError::Answer(
            "it holds no grant for this node".into(),
        ));
    };
    identity.role = role_name(grant.role).to_owned();
    identity.operation = Some(invite.operation.0);
    identity.operation_title = title.clone();
    let mut peers: Vec<String> = invite
        .addresses
        .iter()
        .map(|address| format!("{}@{address}", invite.inviter))
        .collect();
    for member in &reply.members {
        if member.node != node_id && member.node != invite.inviter {
            peers.extend(
                member
                    .addresses
                    .iter()
                    .map(|address| format!("{}@{address}", member.node)),
            );
        }
    }
    let peers =
        serde_json::to_vec(&peers).map_err(|error| FoundingError::Answer(error.to_string()))?;
    batch.settings.push((PEERS_SETTING.to_owned(), Some(peers)));
    // The identity first: without the trust lane the directory counts as unfinished.
    store.put_identity(identity).await?;
    commit(store, batch).await?;
    Ok(Joined {
        node_id,
        operation: invite.operation,
        title,
        inviter_name: reply.inviter_name,
    })
}

/// Opens a directory that must not hold a finished node.
async fn open_unfinished(data_dir: &Path, key: &KeySource) -> Result<Store, FoundingError> {
    let store = open_store(&OpenConfig::new(data_dir, key.clone())).await?;
    let finished = match store.read(|reader| reader.identity())? {
        Some(identity) if !store.read(|reader| reader.trust_records())?.is_empty() => {
            Some(identity)
        }
        _ => None,
    };
    let Some(identity) = finished else {
        return Ok(store);
    };
    close(store).await;
    Err(FoundingError::AlreadyMember {
        dir: data_dir.display().to_string(),
        node: NodeId(
            SigningKey::from_bytes(&identity.node_secret)
                .verifying_key()
                .to_bytes(),
        )
        .to_string(),
        title: identity.operation_title,
    })
}

async fn close(store: Store) {
    // Joins threads; a panic there was reported where it happened.
    let _ = tokio::task::spawn_blocking(move || store.close()).await;
}

async fn commit(store: &Store, batch: Batch) -> Result<(), FoundingError> {
    store
        .commit(batch)
        .await
        .map(|_| ())
        .map_err(FoundingError::Commit)
}

fn check_text(what: &'static str, text: &str, max: usize) -> Result<(), FoundingError> {
    if text.trim().is_empty() || text.len() > max || text.chars().any(char::is_control) {
        return Err(FoundingError::Text { what, max });
    }
    Ok(())
}

/// The trust lane's entry for a record of this node's own log.
pub(in crate::app) fn trust_entry(record: &TrustRecord, now_wall_ms: u64) -> LocalEntry {
    let object = trust_object(record);
    let entry = Entry {
        header: EntryHeader {
            time: HybridTime {
                wall_ms: now_wall_ms,
                logical: 0,
            },
            user: None,
            kind: record.kind(),
            object,
        },
        payload: Payload::Plain(record.encode()),
    };
    LocalEntry {
        group: GroupId::SHARED,
        lane: Lane::Trust,
        bytes: entry.encode().unwrap_or_default(),
        kind: record.kind().0,
        object,
        disposition: Disposition::Applied,
    }
}

/// A record's object: the operation for a genesis, the node for a grant.
fn trust_object(record: &TrustRecord) -> ObjectId {
    let bytes: [u8; 32] = match record {
        TrustRecord::Genesis(genesis) => genesis.id().0,
        TrustRecord::Grant(grant) => grant.grant.node.0,
    };
    let mut object = [0; 16];
    object.copy_from_slice(&bytes[..16]);
    ObjectId(object)
}

/// The readable trust records of a run.
pub(in crate::app) fn trust_records(run: &VerifiedRun) -> Vec<TrustRecord> {
    run.entries()
        .iter()
        .filter_map(|entry| trust_record(&entry.bytes))
        .collect()
}

/// The trust record in an entry's bytes, if they hold one.
pub(in crate::app) fn trust_record(bytes: &[u8]) -> Option<TrustRecord> {
    let entry = Entry::decode(bytes).ok()?;
    let Payload::Plain(payload) = &entry.payload else {
        return None;
    };
    TrustRecord::decode(entry.header.kind, payload)
        .ok()
        .flatten()
}

fn trust_run(run: VerifiedRun) -> RunWrite {
    let entries = run
        .entries()
        .iter()
        .map(|entry| judge_trust_entry(run.log(), &entry.bytes))
        .collect();
    RunWrite { run, entries }
}

/// An operation of one node, with its key beside it.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) async fn found_for_test(data_dir: &Path) {
    let founding = Founding {
        name: "test".into(),
        role: "hq".parse().unwrap(),
        title: "Test".into(),
    };
    found(data_dir, &KeySource::DataDir, founding)
        .await
        .unwrap();
}
