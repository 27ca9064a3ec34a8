//! What the shell needs from the program around it: reading and storing runs, and judging who wants to join.

use std::future::Future;
use std::net::SocketAddr;

use sync_engine::{
    DigestItems, Digests, GroupId, LogId, Mark, Mismatch, Name, NodeId, Place, ProgressItem, Run,
    Seq, StoreFault, Stored, VerifiedRun,
};

use crate::join::{JoinRefusal, JoinReply, JoinRequest};

/// A run read for a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The run.
    pub run: Run,
    /// See [`sync_engine::Input::Loaded`].
    pub named: Vec<(Name, Place)>,
}

impl From<Run> for Loaded {
    fn from(run: Run) -> Self {
        Self {
            run,
            named: Vec::new(),
        }
    }
}

/// The program around the shell. The plain functions are called on the task that drives the engine: they must return at
/// once and never block. The asynchronous ones run on tasks of their own.
pub trait Host: Send + Sync + 'static {
    /// Entries of `log` from `from` on, about `bytes_max` bytes (at least one entry), ending at a signed one. `None`:
    /// nothing there.
    fn load(
        &self,
        log: LogId,
        from: Seq,
        bytes_max: usize,
    ) -> impl Future<Output = Option<Loaded>> + Send;

    /// What the entries at these places are called, as far as they can be read (see [`sync_engine::PayloadCodec`]). A
    /// host that knows none has runs sent again in a longer form.
    fn resolve(&self, places: Vec<Place>) -> impl Future<Output = Vec<(Place, Name)>> + Send {
        let _ = places;
        std::future::ready(Vec::new())
    }

    /// Stores runs, in order, and returns *after* the commit: what is returned is acknowledged to `from`. Called for one
    /// batch of a lane at a time, whoever sent it; batches of different lanes overlap.
    fn store(
        &self,
        from: NodeId,
        runs: Vec<VerifiedRun>,
    ) -> impl Future<Output = Result<Stored, StoreFault>> + Send;

    /// `peer` has acknowledged more: these heights are on its disk.
    fn progress(&self, peer: NodeId, items: Vec<ProgressItem>, at_wall_ms: u64);

    /// `peer` and this node have agreed on a mark: worth remembering over a restart, for [`sync_engine::Engine::recall`].
    fn keep_mark(&self, peer: NodeId, mark: &Mark) {
        let _ = (peer, mark);
    }

    /// What the documents and facts of these groups have come to, from one snapshot of the store. `None`: cannot be said
    /// now.
    fn digests(&self, groups: Vec<GroupId>) -> impl Future<Output = Option<Digests>> + Send {
        let _ = groups;
        std::future::ready(None)
    }

    /// The objects of a group whose ids end with these bytes, and the state of each, from one snapshot of the store.
    fn digest_items(
        &self,
        group: GroupId,
        buckets: Vec<u8>,
    ) -> impl Future<Output = Option<DigestItems>> + Send {
        let _ = (group, buckets);
        std::future::ready(None)
    }

    /// A peer has made something else of the same logs: to be recorded, and to be repaired if the fault is here.
    fn mismatch(&self, mismatch: Mismatch) {
        let _ = mismatch;
    }

    /// A peer holds a longer, or a different, log of this node's own: appending to it must stop.
    fn own_log_longer(&self, log: LogId, ours: Seq, theirs: Seq, peer: NodeId);

    /// A member told where it can be dialled. Worth remembering over a restart; the shell itself dials it from now on.
    fn member_address(&self, node: NodeId, addresses: Vec<SocketAddr>) {
        let _ = (node, addresses);
    }

    /// `peer`, who has proven that key in TLS, asks to become a member. The host checks [`JoinRequest::proves`] against
    /// the invitations it gave out, and must use up the invitation in the same commit as the grant.
    fn join(
        &self,
        peer: NodeId,
        request: JoinRequest,
    ) -> impl Future<Output = Result<JoinReply, JoinRefusal>> + Send;

    /// Milliseconds since 1970 by this node's clock.
    fn wall_ms(&self) -> u64;
}
