//! Many members in one process, each an engine on a connection and a log in memory.

use std::net::SocketAddr;
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use sync_engine::{
    Engine, Frontier, GroupId, Incarnation, Interest, Lane, Limits, LocalNode, LogId, NodeId, Now,
    StreamKind, Trust,
};
use sync_quic::testing::{Crowd, Light, LightPeer};

use super::{Memory, Operation, append, node_id, plain, wall_ms};

/// The key of one of a crowd: apart from those of [`super::key`], and the same in each run.
pub fn crowd_key(number: usize) -> SigningKey {
    let seed = blake3::derive_key("muster tests crowd", &number.to_be_bytes());
    SigningKey::from_bytes(&seed)
}

pub fn crowd_ids(count: usize) -> Vec<NodeId> {
    (0..count)
        .map(|number| node_id(&crowd_key(number)))
        .collect()
}

/// What everybody in a crowd knows.
pub fn crowd_trust(operation: &Operation, founder: NodeId, count: usize) -> Trust {
    let mut trust = Trust::new(operation.genesis.clone());
    trust.insert(operation.grant(founder, "founder")).unwrap();
    for node in crowd_ids(count) {
        trust.insert(operation.grant(node, "member")).unwrap();
    }
    trust
}

/// One of a crowd.
pub struct CrowdPeer {
    pub light: LightPeer,
    key: SigningKey,
    memory: Arc<Memory>,
}

impl CrowdPeer {
    /// Connects and waits until both ends are members to each other.
    pub async fn connect(
        crowd: &Crowd,
        to: SocketAddr,
        number: usize,
        trust: &Trust,
        deaf_to: &[StreamKind],
    ) -> Result<Self, String> {
        let key = crowd_key(number);
        let memory = Memory::new();
        let now = Now {
            mono_ms: 0,
            wall_ms: wall_ms(),
        };
        let local = LocalNode {
            node: node_id(&key),
            incarnation: Incarnation(1),
            name: format!("peer {number}"),
            software: "light".into(),
        };
        let interest = Interest {
            groups: Vec::new(),
            lanes: vec![Lane::Raw],
        };
        let engine = Engine::new(
            number as u64,
            now,
            local,
            trust.clone(),
            Frontier::default(),
            interest,
            Limits::default(),
        );
        let mut light = Light::new(key.clone(), engine);
        light.deaf_to = deaf_to.to_vec();
        let runs = memory.clone();
        light.load = Arc::new(move |log, from, bytes_max| runs.run(log, from, bytes_max));
        let light = crowd.connect(to, light).await?;
        light.until(|seen| seen.live).await?;
        Ok(Self { light, key, memory })
    }

    pub fn log_id(&self, lane: Lane) -> LogId {
        LogId {
            author: node_id(&self.key),
            incarnation: Incarnation(1),
            group: GroupId::SHARED,
            lane,
        }
    }

    /// Commits entries with these payload sizes, which then go to the node.
    pub fn write(&self, lane: Lane, sizes: &[usize]) {
        let log = self.log_id(lane);
        let entries = sizes.iter().map(|size| plain(*size)).collect();
        let (head, mut runs) = append(&self.memory, &self.key, log, entries);
        let run = (runs.len() == 1).then(|| runs.remove(0));
        self.light.commit(log, head, run);
    }

    /// Entries of a lane that came from the node.
    pub fn entries(&self, lane: Lane) -> u64 {
        self.light.seen().entries.get(&lane).copied().unwrap_or(0)
    }
}
