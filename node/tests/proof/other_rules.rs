//! A node whose program makes something else of the same entries, rightly, is not compared with.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use domain::Kind;
use ed25519_dalek::SigningKey;
use node::app::{Caller, RecordKind};
use parking_lot::Mutex;
use serde_json::json;
use sync_engine::{
    Digests, Engine, Frontier, GroupDigest, GroupId, Incarnation, Interest, Limits, LocalNode,
    LogId, NodeId, Now, PROOF_BUCKETS, ProgressItem, Seq, StoreFault, Stored, Trust, TrustRecord,
    VerifiedRun,
};
use sync_quic::{
    Host, Invite, JoinRefusal, JoinReply, JoinRequest, Loaded, PeerAddr, SyncConfig, SyncNode,
};

use super::pair::{Node, WAIT, found, until};

fn wall_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis() as u64
}

/// A program that stores everything and has made something else of it, by rules of its own.
#[derive(Default)]
struct OtherProgram {
    frontier: Mutex<Frontier>,
    asked: Mutex<u32>,
}

impl Host for OtherProgram {
    async fn load(&self, _: LogId, _: Seq, _: usize) -> Option<Loaded> {
        None
    }

    async fn store(&self, _: NodeId, runs: Vec<VerifiedRun>) -> Result<Stored, StoreFault> {
        let mut frontier = self.frontier.lock();
        let mut applied = Vec::new();
        for run in runs {
            let head = run.head();
            frontier.advance(*run.log(), head.seq, head.chain);
            applied.push((*run.log(), head.seq));
        }
        Ok(Stored { applied })
    }

    async fn digests(&self, groups: Vec<GroupId>) -> Option<Digests> {
        *self.asked.lock() += 1;
        let digest = |group| GroupDigest {
            group,
            buckets: Box::new([[0xbd; 8]; PROOF_BUCKETS]),
            pending: 7,
            quarantined: 7,
        };
        Some(Digests {
            rules: 0xdead,
            frontier: self.frontier.lock().clone(),
            groups: groups.into_iter().map(digest).collect(),
        })
    }

    fn progress(&self, _: NodeId, _: Vec<ProgressItem>, _: u64) {}

    fn own_log_longer(&self, _: LogId, _: Seq, _: Seq, _: NodeId) {}

    async fn join(&self, _: NodeId, _: JoinRequest) -> Result<JoinReply, JoinRefusal> {
        Err(JoinRefusal::NotAllowed)
    }

    fn wall_ms(&self) -> u64 {
        wall_ms()
    }
}

/// Joins as any node does, and connects.
async fn join(hq: &Node, program: &Arc<OtherProgram>) -> SyncNode {
    let code = hq
        .app
        .invite(&Caller::socket(), "field", None, WAIT)
        .await
        .unwrap();
    let invite: Invite = code["code"].as_str().unwrap().parse().unwrap();
    let key = SigningKey::from_bytes(&[9; 32]);
    let request = JoinRequest::new("Boat", None, "other");
    let reply = sync_quic::join(&key, &invite, request, WAIT).await.unwrap();
    let mut trust = Trust::new(reply.genesis);
    let entries = reply.trust_runs.iter().flat_map(|run| &run.entries);
    for bytes in entries {
        if let Ok(Some(record)) = TrustRecord::from_entry_bytes(bytes) {
            let _ = trust.insert(record);
        }
    }
    let mut config = SyncConfig::new("127.0.0.1:0".parse().unwrap(), key.clone());
    config.peers.push(PeerAddr {
        node: Some(invite.inviter),
        addr: invite.addresses[0].to_string(),
    });
    let now = Now {
        mono_ms: 0,
        wall_ms: wall_ms(),
    };
    let engine = Engine::new(
        1,
        now,
        LocalNode {
            node: NodeId(key.verifying_key().to_bytes()),
            incarnation: Incarnation(1),
            name: "Boat".into(),
            software: "other".into(),
        },
        trust,
        Frontier::new(),
        Interest::default(),
        Limits::default(),
    );
    SyncNode::start(config, engine, Arc::clone(program))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_follows_other_rules_is_not_compared_and_nothing_is_taken_for_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    let (hq, _) = found(dir.path()).await;
    let incident = json!({ "title": "Dam" });
    hq.create(RecordKind::Document(Kind::Incident), incident)
        .await;
    let program = Arc::new(OtherProgram::default());
    let boat = join(&hq, &program).await;
    until("both have said what they made of the entries", async || {
        (hq.app.sync_counters()?.proofs_void > 0).then_some(())
    })
    .await;
    assert!(*program.asked.lock() > 0);
    // A fault would be told within the same moment; what is told is looked into one after the other.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(hq.other().await["agreed"]["state"], "unproven");
    assert!(hq.faults().await.is_empty());
    let counters = hq.app.sync_counters().unwrap();
    assert_eq!((counters.proofs_equal, counters.proof_faults), (0, 0));
    boat.shutdown().await;
    hq.app.shutdown().await;
}
