//! The proof: two peers that hold the same logs compare what they have made of them.
//!
//! It starts when a mark is agreed on, because then both hold exactly the same of all that both want:
//!
//! ```text
//! digests of both, from snapshots at the mark ── equal ─────────────────▶ agreed
//!        │ differ
//!        ▼
//! 256 bucket digests of the first group that differs ── all equal ──▶ the counts of pending or quarantined differ
//!        │ some differ
//!        ▼
//! items of the first of those buckets ──▶ the objects that differ: a fault for the shell to record and to repair,
//!                                         and after a while the next round
//! ```
//!
//! Invariants: a snapshot that is not at the mark proves nothing, and no fault is made of it; both ends walk the same way
//! by what both know, neither asks the other for more than it says itself; a peer that lies costs a bounded look per
//! mark, and changes nothing here.

mod digest;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::Engine;
use crate::frame;
use crate::frontier::Frontier;
use crate::ids::{GroupId, NodeId, ObjectId};
use crate::io::{Effect, Now};
use crate::marks::{Mark, MarkHash};
use crate::peer::{Peer, Stage};

pub use digest::{
    DifferingObject, DigestItems, Digests, GroupDigest, Mismatch, PROOF_BUCKETS, ProofId, ProofView,
};

/// Differing buckets that are looked into at once: 1/32 of the objects, so that the items of a million fit a frame.
const BUCKETS_MAX: usize = 8;
/// Items in one frame: 24 bytes each, below the bound of a control frame.
const ITEMS_MAX: usize = 40_000;
/// Objects named in one fault. Where more differ, the next rounds and marks find the rest.
const DIFFERING_MAX: usize = 1_024;
/// Comparisons at one mark: the first, and two after a repair.
const ROUNDS_MAX: u8 = 3;
/// How long a repair may take before both compare again, milliseconds.
const ROUND_PAUSE_MS: u64 = 5_000;
/// Groups compared: more than any grant names.
const GROUPS_MAX: usize = 128;

/// Why a peer is looked at again.
const COMPARE: &str = "compare once more after a repair";

/// Which comparison a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Round {
    pub(crate) mark: MarkHash,
    pub(crate) number: u8,
}

/// One group, as a peer says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireGroup {
    group: GroupId,
    digest: [u8; 16],
    pending: u64,
    quarantined: u64,
}

impl WireGroup {
    fn of(digest: &GroupDigest) -> Self {
        Self {
            group: digest.group,
            digest: digest.digest(),
            pending: digest.pending,
            quarantined: digest.quarantined,
        }
    }
}

/// All of what a node says at first, in one digest for people.
fn digest_of(groups: &[WireGroup]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_derive_key("muster 2026 proof of all groups 1");
    for said in groups {
        hasher.update(&said.group.0);
        hasher.update(&said.digest);
        hasher.update(&said.pending.to_le_bytes());
        hasher.update(&said.quarantined.to_le_bytes());
    }
    let mut digest = [0; 16];
    digest.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    digest
}

/// What a peer says in the course of a proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum WireProof {
    Groups { rules: u64, groups: Vec<WireGroup> },
    Buckets(Vec<[u8; 8]>),
    Items(Vec<(ObjectId, [u8; 8])>),
}

/// Both sides of one step.
#[derive(Debug)]
struct Both<T> {
    ours: Option<T>,
    theirs: Option<T>,
}

impl<T> Default for Both<T> {
    fn default() -> Self {
        Self {
            ours: None,
            theirs: None,
        }
    }
}

impl<T> Both<T> {
    fn pair(&self) -> Option<(&T, &T)> {
        self.ours.as_ref().zip(self.theirs.as_ref())
    }
}

/// A comparison under way with one peer.
#[derive(Debug)]
pub(crate) struct Proof {
    round: Round,
    /// What we asked the shell last.
    asked: ProofId,
    rules: Both<u64>,
    digests: Vec<GroupDigest>,
    groups: Both<Vec<WireGroup>>,
    /// The group that is looked into.
    group: Option<WireGroup>,
    buckets: Both<Vec<[u8; 8]>>,
    items: Both<Vec<(ObjectId, [u8; 8])>>,
    /// When the next round begins, once this one has found a difference (monotonic milliseconds).
    again_at_ms: Option<u64>,
    /// When the shell is asked again that could not look (monotonic milliseconds).
    look_at_ms: Option<u64>,
}

impl Proof {
    fn new(round: Round, asked: ProofId) -> Self {
        Self {
            round,
            asked,
            rules: Both::default(),
            digests: Vec::new(),
            groups: Both::default(),
            group: None,
            buckets: Both::default(),
            items: Both::default(),
            again_at_ms: None,
            look_at_ms: None,
        }
    }
}

impl Engine {
    /// Both ends know the mark: what have they made of it?
    pub(crate) fn begin_proof(&mut self, node: NodeId, mark: MarkHash) {
        self.begin_round(node, Round { mark, number: 0 });
    }

    fn begin_round(&mut self, node: NodeId, round: Round) {
        let Some(groups) = self.groups_of(round.mark) else {
            return;
        };
        let proof = self.new_proof_id(node);
        let Some(session) = self.peers.get_mut(&node).and_then(Peer::session_mut) else {
            return;
        };
        session.proof = Some(Box::new(Proof::new(round, proof)));
        self.effect(Effect::Digest { proof, groups });
    }

    /// The groups that a mark is about.
    fn groups_of(&self, mark: MarkHash) -> Option<Vec<GroupId>> {
        let mark = self.marks.find(mark)?;
        let groups = [GroupId::SHARED]
            .into_iter()
            .chain(mark.scope.groups.iter().copied());
        Some(groups.take(GROUPS_MAX).collect())
    }

    fn new_proof_id(&mut self, node: NodeId) -> ProofId {
        self.next_proof += 1;
        let proof = ProofId(self.next_proof);
        self.proofs.insert(proof, node);
        proof
    }

    /// The comparison that a question to the shell belongs to, if it still goes on.
    fn proof_asked(&mut self, proof: ProofId) -> Option<(NodeId, &mut Proof)> {
        let node = self.proofs.remove(&proof)?;
        let running = self.proof_with(node)?;
        (running.asked == proof).then_some((node, running))
    }

    fn proof_with(&mut self, node: NodeId) -> Option<&mut Proof> {
        let session = self.peers.get_mut(&node)?.session_mut()?;
        session.proof.as_deref_mut()
    }

    /// Whether a snapshot is exactly at a mark.
    fn is_at(&self, hash: MarkHash, frontier: &Frontier) -> bool {
        self.marks
            .find(hash)
            .is_some_and(|mark| Mark::of(frontier, mark.scope.clone()).hash == hash)
    }

    pub(crate) fn on_digested(&mut self, now: Now, proof: ProofId, digests: Option<Digests>) {
        let Some((node, running)) = self.proof_asked(proof) else {
            return;
        };
        let round = running.round;
        let Some(digests) = digests else {
            return self.look_later(now, node);
        };
        if !self.is_at(round.mark, &digests.frontier) {
            return self.give_up_proof(node);
        }
        let groups: Vec<WireGroup> = digests.groups.iter().map(WireGroup::of).collect();
        let rules = digests.rules;
        let said = WireProof::Groups {
            rules,
            groups: groups.clone(),
        };
        if let Some(running) = self.proof_with(node) {
            running.rules.ours = Some(rules);
            running.groups.ours = Some(groups);
            running.digests = digests.groups;
        }
        self.send_control(node, frame::proof(round, &said));
        self.compare(now, node);
    }

    /// Something moved on before we could look: the next mark is another occasion.
    fn give_up_proof(&mut self, node: NodeId) {
        self.counters.proofs_void += 1;
        if let Some(session) = self.peers.get_mut(&node).and_then(Peer::session_mut) {
            session.proof = None;
        }
    }

    /// The shell could not look. Nothing may move for long, and then no next mark comes: it is asked again, and what the
    /// peer has said meanwhile is kept.
    fn look_later(&mut self, now: Now, node: NodeId) {
        self.counters.proofs_void += 1;
        let look_at_ms = now.mono_ms + self.limits.mark_pause_ms;
        if let Some(running) = self.proof_with(node) {
            running.look_at_ms = Some(look_at_ms);
            self.wake(look_at_ms, node, COMPARE);
        }
    }

    fn look_again_if_due(&mut self, now: Now, node: NodeId) {
        let Some(running) = self.proof_with(node) else {
            return;
        };
        if running
            .look_at_ms
            .take_if(|at_ms| *at_ms <= now.mono_ms)
            .is_none()
        {
            return;
        }
        let (mark, seen) = (running.round.mark, running.groups.ours.is_some());
        if seen {
            // The buckets that differ are looked into anew.
            self.compare(now, node);
        } else if let Some(groups) = self.groups_of(mark) {
            let proof = self.new_proof_id(node);
            if let Some(running) = self.proof_with(node) {
                running.asked = proof;
            }
            self.effect(Effect::Digest { proof, groups });
        }
    }

    pub(crate) fn on_digest_items(&mut self, now: Now, proof: ProofId, items: Option<DigestItems>) {
        let Some((node, running)) = self.proof_asked(proof) else {
            return;
        };
        let round = running.round;
        let Some(DigestItems { frontier, items }) = items else {
            return self.look_later(now, node);
        };
        if !self.is_at(round.mark, &frontier) || items.len() > ITEMS_MAX {
            return self.give_up_proof(node);
        }
        let said = WireProof::Items(items);
        self.send_control(node, frame::proof(round, &said));
        if let (Some(running), WireProof::Items(items)) = (self.proof_with(node), said) {
            running.items.ours = Some(items);
        }
        self.compare(now, node);
    }

    /// A peer's part of a comparison.
    pub(crate) fn on_proof(&mut self, now: Now, node: NodeId, round: Round, said: WireProof) {
        let in_bounds = match &said {
            WireProof::Groups { groups, .. } => groups.len() <= GROUPS_MAX,
            WireProof::Buckets(buckets) => buckets.len() == PROOF_BUCKETS,
            WireProof::Items(items) => items.len() <= ITEMS_MAX,
        };
        let live = self
            .peers
            .get(&node)
            .and_then(Peer::session)
            .is_some_and(|session| session.stage == Stage::Live);
        if !in_bounds || !live {
            return self.refuse_frame(node, "a proof beyond its bounds");
        }
        let Some(running) = self.proof_with(node) else {
            return;
        };
        if running.round.mark != round.mark || round.number > running.round.number + 1 {
            return;
        }
        // The peer began the next round a little earlier than we.
        if round.number == running.round.number + 1 && round.number < ROUNDS_MAX {
            self.begin_round(node, round);
        }
        let Some(running) = self
            .proof_with(node)
            .filter(|running| running.round == round)
        else {
            return;
        };
        match said {
            WireProof::Groups { rules, groups } => {
                running.rules.theirs = Some(rules);
                running.groups.theirs = Some(groups);
            }
            WireProof::Buckets(buckets) => running.buckets.theirs = Some(buckets),
            WireProof::Items(items) => running.items.theirs = Some(items),
        }
        self.compare(now, node);
    }

    /// Goes as far as what is known of both sides allows.
    fn compare(&mut self, now: Now, node: NodeId) {
        self.compare_groups(now, node);
        self.compare_buckets(now, node);
        self.compare_items(now, node);
    }

    fn compare_groups(&mut self, now: Now, node: NodeId) {
        let Some(running) = self.proof_with(node) else {
            return;
        };
        if running
            .rules
            .pair()
            .is_some_and(|(ours, theirs)| ours != theirs)
        {
            return self.give_up_proof(node);
        }
        let Some((ours, theirs)) = running.groups.pair().filter(|_| running.group.is_none()) else {
            return;
        };
        let differing = ours.iter().find(|group| !theirs.contains(group)).copied();
        let Some(group) = differing.filter(|_| running.again_at_ms.is_none()) else {
            if differing.is_none() {
                let digest = digest_of(ours);
                self.prove_equal(now, node, digest);
            }
            return;
        };
        running.group = Some(group);
        let digest = running.digests.iter().find(|it| it.group == group.group);
        let buckets: Vec<[u8; 8]> = digest.map(|it| it.buckets.to_vec()).unwrap_or_default();
        let round = running.round;
        let said = WireProof::Buckets(buckets);
        self.send_control(node, frame::proof(round, &said));
        if let (Some(running), WireProof::Buckets(buckets)) = (self.proof_with(node), said) {
            running.buckets.ours = Some(buckets);
        }
    }

    fn prove_equal(&mut self, now: Now, node: NodeId, digest: [u8; 16]) {
        self.counters.proofs_equal += 1;
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.proof = ProofView::Equal {
                at_wall_ms: now.wall_ms,
                digest,
            };
            if let Some(session) = peer.session_mut() {
                session.proof = None;
            }
        }
        self.effect(Effect::PeerChanged { peer: node });
    }

    fn compare_buckets(&mut self, now: Now, node: NodeId) {
        let Some(running) = self.proof_with(node) else {
            return;
        };
        let (Some(group), Some((ours, theirs))) = (running.group, running.buckets.pair()) else {
            return;
        };
        if running.items.ours.is_some()
            || running.again_at_ms.is_some()
            || running.look_at_ms.is_some()
        {
            return;
        }
        let differing: Vec<u8> = (0..=u8::MAX)
            .filter(|bucket| ours[usize::from(*bucket)] != theirs[usize::from(*bucket)])
            .take(BUCKETS_MAX)
            .collect();
        if differing.is_empty() {
            return self.report(now, node, Vec::new());
        }
        if self.proofs.values().any(|asked| *asked == node) {
            return;
        }
        let proof = self.new_proof_id(node);
        if let Some(running) = self.proof_with(node) {
            running.asked = proof;
        }
        self.effect(Effect::DigestItems {
            proof,
            group: group.group,
            buckets: differing,
        });
    }

    fn compare_items(&mut self, now: Now, node: NodeId) {
        let Some(running) = self.proof_with(node) else {
            return;
        };
        if running.again_at_ms.is_some() {
            return;
        }
        let Some((ours, theirs)) = running.items.pair() else {
            return;
        };
        let ours: BTreeMap<ObjectId, [u8; 8]> = ours.iter().copied().collect();
        let theirs: BTreeMap<ObjectId, [u8; 8]> = theirs.iter().copied().collect();
        let objects = ours
            .keys()
            .chain(theirs.keys().filter(|object| !ours.contains_key(*object)))
            .map(|object| DifferingObject {
                object: *object,
                ours: ours.get(object).copied(),
                theirs: theirs.get(object).copied(),
            })
            .filter(|differing| differing.ours != differing.theirs)
            .take(DIFFERING_MAX)
            .collect();
        self.report(now, node, objects);
    }

    /// A fault, here or there: the shell records it and looks at its own side again; then both compare once more.
    fn report(&mut self, now: Now, node: NodeId, objects: Vec<DifferingObject>) {
        let again_at_ms = now.mono_ms + ROUND_PAUSE_MS;
        let Some(running) = self.proof_with(node) else {
            return;
        };
        let Some(ours) = running.group else {
            return;
        };
        running.again_at_ms = Some(again_at_ms);
        let round = running.round;
        let theirs = running.groups.theirs.iter().flatten();
        let theirs = theirs.clone().find(|theirs| theirs.group == ours.group);
        let (pending, quarantined) = theirs.map_or((0, 0), |it| (it.pending, it.quarantined));
        let count = objects.len() as u64;
        self.counters.proof_faults += 1;
        self.effect(Effect::Mismatch(Box::new(Mismatch {
            peer: node,
            mark: round.mark,
            group: ours.group,
            objects,
            pending: (ours.pending, pending),
            quarantined: (ours.quarantined, quarantined),
        })));
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.proof = ProofView::Differs {
                at_wall_ms: now.wall_ms,
                objects: count,
            };
        }
        self.effect(Effect::PeerChanged { peer: node });
        self.wake(again_at_ms, node, COMPARE);
    }

    /// Begins the next round when its time has come, or looks again where that was not possible.
    pub(crate) fn prove_again_if_due(&mut self, now: Now, node: NodeId) {
        self.look_again_if_due(now, node);
        let Some(running) = self.proof_with(node) else {
            return;
        };
        let round = running.round;
        if running.again_at_ms.is_none_or(|at_ms| at_ms > now.mono_ms) {
            return;
        }
        let number = round.number + 1;
        if number < ROUNDS_MAX {
            self.begin_round(node, Round { number, ..round });
        } else if let Some(session) = self.peers.get_mut(&node).and_then(Peer::session_mut) {
            session.proof = None;
        }
    }
}
