//! Who may write where: the genesis and the grants of lane 0, evaluated from the root down.
//!
//! A grant counts when the root key signed it, or a node whose own grant counts, may enrol, and covers what it hands
//! on. Of several grants for one node the one nearest the root decides, among those the highest serial, then the
//! smallest hash: so the order in which records arrive never matters.

use std::collections::BTreeMap;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::entry::{Entry, EntryHeader, Payload};
use crate::ids::{EntryKind, GroupId, HeadSignature, Lane, LogId, NodeId, OperationId};
use crate::planted::{self, Planted};

/// The most grants held: some 5 MB, and far more nodes than an operation has. A member that writes more is ignored
/// there.
pub const TRUST_RECORDS_MAX: usize = 16_384;

/// Bounds of a grant's lists and names, so that one record stays far below an entry's size.
const GRANT_ITEMS_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 256;

const GRANT_CONTEXT: &[u8] = b"muster grant 1\0";

/// Why a trust record does not count, and never will.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// It belongs to another operation.
    #[error("record of another operation")]
    OtherOperation,
    /// Its signature is not its issuer's.
    #[error("grant's signature does not verify")]
    Signature,
    /// The bytes are no trust record, or one beyond its bounds.
    #[error("malformed trust record")]
    Malformed,
    /// [`TRUST_RECORDS_MAX`] are held.
    #[error("too many trust records")]
    TooMany,
}

/// The first record of an operation; its hash names the operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Genesis {
    /// What people call the operation.
    pub title: String,
    /// The Ed25519 key that every grant leads back to.
    pub root_key: [u8; 32],
    /// BLAKE3 of the key that may succeed the root key.
    pub successor_hash: [u8; 32],
    /// When it was founded, by the founder's wall clock, milliseconds since 1970; for display.
    pub created_wall_ms: u64,
    /// Makes two operations of one title and key different.
    pub nonce: [u8; 16],
}

impl Genesis {
    /// BLAKE3 of the encoded record: the operation's name.
    pub fn id(&self) -> OperationId {
        let bytes = postcard::to_allocvec(self).expect("a genesis always encodes");
        OperationId(blake3::derive_key("muster 2026 operation id 1", &bytes))
    }
}

/// What a node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// With responders in the field.
    Field,
    /// Headquarters: may let others enrol.
    Hq,
    /// A bridge to other systems.
    Gateway,
}

/// What one node may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The operation it is for.
    pub operation: OperationId,
    /// Whom it is for.
    pub node: NodeId,
    /// What people call the node.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// The organisation it belongs to.
    pub organisation: Option<String>,
    /// Groups it reads and writes besides `shared`.
    pub groups: Vec<GroupId>,
    /// Classes of protected fields it may read.
    pub field_classes: Vec<String>,
    /// Lanes it may write.
    pub lanes: Vec<Lane>,
    /// Whether it may hand on grants.
    pub may_enrol: bool,
    /// Of two grants from equally near the root the higher serial counts.
    pub serial: u64,
}

impl Grant {
    /// Signs the grant with the root key or the key of a node that may enrol.
    pub fn sign(self, issuer: &SigningKey) -> SignedGrant {
        let signature = HeadSignature(issuer.sign(&grant_message(&self)).to_bytes());
        SignedGrant {
            grant: self,
            issuer: issuer.verifying_key().to_bytes(),
            signature,
        }
    }

    /// Whether the holder of this grant may hand on `other`.
    fn covers(&self, other: &Self) -> bool {
        let hq = self.role == Role::Hq;
        self.may_enrol
            && (hq || !other.may_enrol && other.role != Role::Hq)
            && other.groups.iter().all(|group| self.reads(*group))
            && other.lanes.iter().all(|lane| self.lanes.contains(lane))
            && other
                .field_classes
                .iter()
                .all(|class| self.field_classes.contains(class))
    }

    fn reads(&self, group: GroupId) -> bool {
        group == GroupId::SHARED || self.groups.contains(&group)
    }

    fn within_bounds(&self) -> bool {
        self.name.len() <= NAME_BYTES_MAX
            && self
                .organisation
                .as_ref()
                .is_none_or(|name| name.len() <= NAME_BYTES_MAX)
            && self.groups.len() <= GRANT_ITEMS_MAX
            && self.lanes.len() <= GRANT_ITEMS_MAX
            && self.field_classes.len() <= GRANT_ITEMS_MAX
            && self
                .field_classes
                .iter()
                .all(|class| class.len() <= NAME_BYTES_MAX)
    }
}

/// A grant with its issuer's signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedGrant {
    /// What is granted.
    pub grant: Grant,
    /// The root key, or the key of the node that hands it on.
    pub issuer: [u8; 32],
    /// Over the encoded grant.
    pub signature: HeadSignature,
}

impl SignedGrant {
    /// Whether the issuer signed exactly this grant (RFC 8032, strict).
    pub fn verify(&self) -> bool {
        VerifyingKey::from_bytes(&self.issuer).is_ok_and(|key| {
            key.verify_strict(
                &grant_message(&self.grant),
                &Signature::from_bytes(&self.signature.0),
            )
            .is_ok()
        })
    }

    fn hash(&self) -> [u8; 32] {
        let bytes = postcard::to_allocvec(self).expect("a grant always encodes");
        blake3::derive_key("muster 2026 grant hash 1", &bytes)
    }
}

fn grant_message(grant: &Grant) -> Vec<u8> {
    postcard::to_extend(grant, GRANT_CONTEXT.to_vec()).expect("a grant always encodes")
}

/// A record of lane 0 that the engine evaluates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrustRecord {
    /// Kind [`EntryKind::GENESIS`]: entry 1 of the founder's lane 0 log.
    Genesis(Genesis),
    /// Kind [`EntryKind::GRANT`].
    Grant(SignedGrant),
}

impl TrustRecord {
    /// The kind of the entry that carries it.
    pub const fn kind(&self) -> EntryKind {
        match self {
            Self::Genesis(_) => EntryKind::GENESIS,
            Self::Grant(_) => EntryKind::GRANT,
        }
    }

    /// The payload of the entry that carries it.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Genesis(genesis) => postcard::to_allocvec(genesis),
            Self::Grant(grant) => postcard::to_allocvec(grant),
        }
        .expect("a trust record always encodes")
    }

    /// Reads a record of the given kind; `Ok(None)` for kinds that later versions added, which are kept and relayed.
    ///
    /// # Errors
    /// [`TrustError::Malformed`].
    pub fn decode(kind: EntryKind, payload: &[u8]) -> Result<Option<Self>, TrustError> {
        match kind {
            EntryKind::GENESIS => {
                postcard::from_bytes(payload).map(|record| Some(Self::Genesis(record)))
            }
            EntryKind::GRANT => {
                postcard::from_bytes(payload).map(|record| Some(Self::Grant(record)))
            }
            _ => return Ok(None),
        }
        .map_err(|_| TrustError::Malformed)
    }

    /// The record as an entry, ready to be appended to a lane 0 log. `header.kind` is set here.
    pub fn into_entry(self, mut header: EntryHeader) -> Entry {
        header.kind = self.kind();
        Entry {
            header,
            payload: Payload::Plain(self.encode()),
        }
    }

    /// The record that an entry of a lane 0 log carries; `Ok(None)` when it carries none that this version evaluates.
    ///
    /// # Errors
    /// [`TrustError::Malformed`] when the bytes are no entry, or no record of the kind the entry names.
    pub fn from_entry_bytes(bytes: &[u8]) -> Result<Option<Self>, TrustError> {
        let entry = Entry::decode(bytes).map_err(|_| TrustError::Malformed)?;
        match entry.payload {
            Payload::Plain(payload) => Self::decode(entry.header.kind, &payload),
            Payload::Sealed { .. } => Ok(None),
        }
    }
}

/// The answer to "may this author write this log?".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MayWrite {
    /// A grant that counts covers it.
    Yes,
    /// No grant that counts names the author: it may still arrive.
    Unknown,
    /// The author's grant does not cover this log.
    No(&'static str),
}

/// The members of an operation and what each may do, as far as this node knows.
#[derive(Debug, Clone)]
pub struct Trust {
    genesis: Genesis,
    operation: OperationId,
    /// Every grant with a good signature, by hash: also those whose issuer is not known yet.
    grants: BTreeMap<[u8; 32], SignedGrant>,
    /// The grant that counts, per node.
    members: BTreeMap<NodeId, Grant>,
}

impl Trust {
    /// An operation without members.
    pub fn new(genesis: Genesis) -> Self {
        let operation = genesis.id();
        Self {
            genesis,
            operation,
            grants: BTreeMap::new(),
            members: BTreeMap::new(),
        }
    }

    /// The operation's name.
    pub const fn operation(&self) -> OperationId {
        self.operation
    }

    /// Its first record.
    pub const fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// Takes a record; says whether who may do what has changed.
    ///
    /// # Errors
    /// [`TrustError`] for a record that can never count here.
    pub fn insert(&mut self, record: TrustRecord) -> Result<bool, TrustError> {
        Ok(self.add(record)? && self.settle())
    }

    /// Takes many records at once and evaluates once; says whether who may do what has changed, and which records can
    /// never count.
    pub fn extend(
        &mut self,
        records: impl IntoIterator<Item = TrustRecord>,
    ) -> (bool, Vec<TrustError>) {
        let (mut added, mut errors) = (false, Vec::new());
        for record in records {
            match self.add(record) {
                Ok(new) => added |= new,
                Err(error) => errors.push(error),
            }
        }
        (added && self.settle(), errors)
    }

    /// Whether `log`'s author might write it if `records`, which came in that log, counted too: how the founder's log
    /// is judged, which brings the founder's own grant.
    pub(crate) fn may_write_with(&self, log: &LogId, records: &[TrustRecord]) -> MayWrite {
        let names_author = |record: &TrustRecord| matches!(record, TrustRecord::Grant(signed) if signed.grant.node == log.author);
        if !records.iter().any(names_author) {
            return self.may_write(log);
        }
        let mut trial = self.clone();
        let _ = trial.extend(records.iter().cloned());
        trial.may_write(log)
    }

    /// Whether the record names another operation.
    pub(crate) fn is_foreign(&self, record: &TrustRecord) -> bool {
        match record {
            TrustRecord::Genesis(genesis) => genesis.id() != self.operation,
            TrustRecord::Grant(signed) => signed.grant.operation != self.operation,
        }
    }

    /// Keeps a record that may count; says whether it is new.
    fn add(&mut self, record: TrustRecord) -> Result<bool, TrustError> {
        if self.is_foreign(&record) {
            return Err(TrustError::OtherOperation);
        }
        let TrustRecord::Grant(grant) = record else {
            return Ok(false);
        };
        if !grant.grant.within_bounds() {
            return Err(TrustError::Malformed);
        }
        let hash = grant.hash();
        if self.grants.contains_key(&hash) {
            return Ok(false);
        }
        if self.grants.len() >= TRUST_RECORDS_MAX {
            return Err(TrustError::TooMany);
        }
        if !grant.verify() {
            return Err(TrustError::Signature);
        }
        self.grants.insert(hash, grant);
        Ok(true)
    }

    fn settle(&mut self) -> bool {
        let members = self.evaluate();
        let changed = members != self.members;
        self.members = members;
        changed
    }

    /// Settles node after node, from the root outwards, one distance at a time.
    fn evaluate(&self) -> BTreeMap<NodeId, Grant> {
        let mut by_issuer: BTreeMap<[u8; 32], Vec<&Grant>> = BTreeMap::new();
        for signed in self.grants.values() {
            by_issuer
                .entry(signed.issuer)
                .or_default()
                .push(&signed.grant);
        }
        let mut members: BTreeMap<NodeId, Grant> = BTreeMap::new();
        let mut ring: BTreeMap<NodeId, &Grant> = BTreeMap::new();
        for grant in by_issuer.get(&self.genesis.root_key).into_iter().flatten() {
            offer(&mut ring, grant);
        }
        while !ring.is_empty() {
            let mut next = BTreeMap::new();
            members.extend(ring.iter().map(|(node, grant)| (*node, (*grant).clone())));
            for (node, held) in ring {
                for grant in by_issuer.get(&node.0).into_iter().flatten() {
                    if !members.contains_key(&grant.node) && held.covers(grant) {
                        offer(&mut next, grant);
                    }
                }
            }
            ring = next;
        }
        members
    }

    /// Whether `log`'s author may write it.
    pub fn may_write(&self, log: &LogId) -> MayWrite {
        match self.members.get(&log.author) {
            None => MayWrite::Unknown,
            Some(grant)
                if !grant.lanes.contains(&log.lane) && !planted::is(Planted::SkipLaneOfGrant) =>
            {
                MayWrite::No("the author's grant does not name this lane")
            }
            Some(grant) if !grant.reads(log.group) => {
                MayWrite::No("the author's grant does not name this group")
            }
            Some(_) => MayWrite::Yes,
        }
    }

    /// The grant of a member.
    pub fn grant(&self, node: NodeId) -> Option<&Grant> {
        self.members.get(&node)
    }

    /// Whether `node` is a member.
    pub fn is_member(&self, node: NodeId) -> bool {
        self.members.contains_key(&node)
    }

    /// Whether `node` may hand on grants.
    pub fn may_enrol(&self, node: NodeId) -> bool {
        self.members.get(&node).is_some_and(|grant| grant.may_enrol)
    }

    /// The members in the order of their ids.
    pub fn members(&self) -> impl Iterator<Item = (&NodeId, &Grant)> {
        self.members.iter()
    }

    /// Every grant with a good signature, also those that do not count yet: what a joiner is handed.
    pub fn grants(&self) -> impl Iterator<Item = &SignedGrant> {
        self.grants.values()
    }
}

/// Takes the better of two grants for one node: the higher serial, then (as callers offer them by hash) the first.
fn offer<'a>(ring: &mut BTreeMap<NodeId, &'a Grant>, grant: &'a Grant) {
    let held = ring.entry(grant.node).or_insert(grant);
    if grant.serial > held.serial {
        *held = grant;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::ids::Incarnation;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn node(seed: u8) -> NodeId {
        NodeId(key(seed).verifying_key().to_bytes())
    }

    fn genesis() -> Genesis {
        Genesis {
            title: "Flood".to_owned(),
            root_key: node(1).0,
            successor_hash: [2; 32],
            created_wall_ms: 3,
            nonce: [4; 16],
        }
    }

    fn grant(to: u8, role: Role, may_enrol: bool, serial: u64) -> Grant {
        Grant {
            operation: genesis().id(),
            node: node(to),
            name: format!("node {to}"),
            role,
            organisation: None,
            groups: Vec::new(),
            field_classes: Vec::new(),
            lanes: Lane::ALL.to_vec(),
            may_enrol,
            serial,
        }
    }

    fn log(author: u8, lane: Lane) -> LogId {
        LogId {
            author: node(author),
            incarnation: Incarnation(1),
            group: GroupId::SHARED,
            lane,
        }
    }

    fn insert(trust: &mut Trust, grant: SignedGrant) -> Result<bool, TrustError> {
        trust.insert(TrustRecord::Grant(grant))
    }

    #[test]
    fn the_order_of_arrival_never_matters() {
        let records = [
            grant(2, Role::Hq, true, 1).sign(&key(1)),
            grant(3, Role::Field, true, 1).sign(&key(2)),
            grant(4, Role::Field, false, 1).sign(&key(3)),
            grant(4, Role::Field, false, 2).sign(&key(2)),
            // Does not count: a field node hands on the right to enrol.
            grant(5, Role::Field, true, 1).sign(&key(3)),
            // Does not count: its issuer may not enrol.
            grant(6, Role::Field, false, 1).sign(&key(4)),
        ];
        let mut outcomes = Vec::new();
        for shift in 0..records.len() {
            for reverse in [false, true] {
                let mut order = records.to_vec();
                order.rotate_left(shift);
                if reverse {
                    order.reverse();
                }
                let mut trust = Trust::new(genesis());
                for record in order {
                    insert(&mut trust, record).unwrap();
                }
                outcomes.push(trust.members);
            }
        }
        assert!(outcomes.windows(2).all(|pair| pair[0] == pair[1]));
        let members: Vec<_> = outcomes[0].keys().copied().collect();
        let mut expected = vec![node(2), node(3), node(4)];
        expected.sort();
        assert_eq!(members, expected);
        // From the HQ, one step nearer to the root than node 3.
        assert_eq!(outcomes[0][&node(4)].serial, 2);
    }

    #[test]
    fn an_author_is_unknown_until_its_grant_leads_to_the_root() {
        let mut trust = Trust::new(genesis());
        assert!(!insert(&mut trust, grant(3, Role::Field, false, 1).sign(&key(2))).unwrap());
        assert_eq!(trust.may_write(&log(3, Lane::Life)), MayWrite::Unknown);
        assert!(insert(&mut trust, grant(2, Role::Hq, true, 1).sign(&key(1))).unwrap());
        assert_eq!(trust.may_write(&log(3, Lane::Life)), MayWrite::Yes);
    }

    #[test]
    fn a_grant_covers_only_its_lanes_and_groups() {
        let mut trust = Trust::new(genesis());
        let mut narrow = grant(3, Role::Field, false, 1);
        narrow.lanes = vec![Lane::Life];
        insert(&mut trust, narrow.sign(&key(1))).unwrap();
        assert_eq!(trust.may_write(&log(3, Lane::Life)), MayWrite::Yes);
        assert!(matches!(
            trust.may_write(&log(3, Lane::Raw)),
            MayWrite::No(_)
        ));
        let other = LogId {
            group: GroupId([7; 16]),
            ..log(3, Lane::Life)
        };
        assert!(matches!(trust.may_write(&other), MayWrite::No(_)));
    }

    #[test]
    fn nobody_hands_on_more_than_it_has() {
        let mut trust = Trust::new(genesis());
        let mut narrow = grant(2, Role::Hq, true, 1);
        narrow.lanes = vec![Lane::Trust, Lane::Life];
        insert(&mut trust, narrow.sign(&key(1))).unwrap();
        let wide = grant(3, Role::Field, false, 1);
        assert!(!insert(&mut trust, wide.sign(&key(2))).unwrap());
        assert!(!trust.is_member(node(3)));
    }

    #[test]
    fn other_operations_and_forged_grants_are_refused() {
        let mut trust = Trust::new(genesis());
        let other = Genesis {
            nonce: [9; 16],
            ..genesis()
        };
        assert_eq!(
            trust.insert(TrustRecord::Genesis(other.clone())),
            Err(TrustError::OtherOperation)
        );
        let mut foreign = grant(2, Role::Hq, true, 1);
        foreign.operation = other.id();
        assert_eq!(
            insert(&mut trust, foreign.sign(&key(1))),
            Err(TrustError::OtherOperation)
        );
        let mut forged = grant(2, Role::Hq, true, 1).sign(&key(9));
        forged.issuer = node(1).0;
        assert_eq!(insert(&mut trust, forged), Err(TrustError::Signature));
        assert_eq!(trust.insert(TrustRecord::Genesis(genesis())), Ok(false));
    }

    #[test]
    fn records_read_back_from_entries() {
        let record = TrustRecord::Grant(grant(2, Role::Hq, true, 1).sign(&key(1)));
        let header = EntryHeader {
            time: crate::HybridTime::default(),
            user: None,
            kind: EntryKind(0),
            object: crate::ObjectId([0; 16]),
        };
        let bytes = record.clone().into_entry(header).encode().unwrap();
        assert_eq!(TrustRecord::from_entry_bytes(&bytes), Ok(Some(record)));
    }
}
