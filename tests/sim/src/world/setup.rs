//! The operation at its beginning: who is in it, who is not, and how they are connected.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::DefaultHasher;

use ed25519_dalek::SigningKey;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sync_engine::{
    Genesis, Grant, GroupId, Incarnation, Interest, Lane, Limits, Memory, NodeId, PROTOCOL_MIN,
    Role, SignedGrant, TrustRecord,
};

use super::{Event, World};
use crate::Config;
use crate::clock::{NodeClock, WallSet};
use crate::disk;
use crate::hostile::{Hostile, Who};
use crate::model::Model;
use crate::net::{Net, Quality};
use crate::node::{Identity, Node};
use crate::tally::Tally;

/// The one group besides `shared`.
pub(super) const GROUP: GroupId = GroupId([9; 16]);
/// How long a node hears nothing before it gives a connection up.
pub(super) const IDLE_MS: std::ops::RangeInclusive<u64> = 20_000..=180_000;

impl World {
    /// The world of a seed, before anything has happened.
    pub(crate) fn new(seed: u64, config: Config) -> Result<Self, String> {
        let mut rng = StdRng::seed_from_u64(seed);
        let honest = rng.random_range(5..=7_usize);
        let root = SigningKey::from_bytes(&rng.random());
        let genesis = genesis(&root, &mut rng);
        let mut world = Self {
            config,
            rng,
            now_ms: 0,
            events: BTreeMap::new(),
            next_event: 0,
            nodes: Vec::new(),
            honest,
            net: Net::default(),
            model: Model::default(),
            tally: Tally::default(),
            trace: DefaultHasher::new(),
            steps: 0,
            stormy: true,
            tell: std::env::var_os("SIM_TELL").is_some(),
            burst_acts: 0,
            to_enrol: Vec::new(),
            enrolled: Vec::new(),
            to_join: Vec::new(),
            dialling: BTreeSet::new(),
            failed_dials: BTreeMap::new(),
            documents: Vec::new(),
            written: 0,
            edits: 0,
            crashes: 0,
            connections: 0,
        };
        world.people(&root, &genesis)?;
        world.lay_links();
        world.at(1, Event::Act);
        Ok(world)
    }

    /// Makes all nodes, starts those that are there from the beginning, and founds the operation.
    fn people(&mut self, root: &SigningKey, genesis: &Genesis) -> Result<(), String> {
        let limits = limits(&mut self.rng);
        let hq_key = SigningKey::from_bytes(&self.rng.random());
        let hq = grant(genesis, &hq_key, 0, &mut self.rng).sign(root);
        let mut records = vec![
            TrustRecord::Genesis(genesis.clone()),
            TrustRecord::Grant(hq.clone()),
        ];
        self.model.grant(hq.grant.clone());
        for index in 0..self.honest {
            let (key, own) = if index == 0 {
                (hq_key.clone(), hq.clone())
            } else {
                let key = SigningKey::from_bytes(&self.rng.random());
                let own = grant(genesis, &key, index, &mut self.rng).sign(&hq_key);
                if self.rng.random_bool(0.5) {
                    self.model.grant(own.grant.clone());
                    records.push(TrustRecord::Grant(own.clone()));
                } else {
                    self.to_enrol.push(own.clone());
                }
                (key, own)
            };
            let mut joined = vec![hq.clone()];
            if index > 0 {
                joined.push(own.clone());
            }
            self.add(key, genesis.clone(), own.grant, joined, &limits, None)?;
        }
        self.strangers_and_worse(&hq, &hq_key, genesis, &mut records)?;
        self.enrolled = records
            .iter()
            .filter_map(|record| match record {
                TrustRecord::Grant(grant) => Some(grant.clone()),
                TrustRecord::Genesis(_) => None,
            })
            .collect();
        for index in 0..self.nodes.len() {
            let late = self.is_honest(index) && index > 0 && self.rng.random_bool(0.15);
            if late {
                self.to_join.push(index);
            } else {
                self.start(index);
            }
        }
        self.queue_own(0, crate::desk::Plan::Records(records));
        Ok(())
    }

    /// One or two who mean harm, in two of three runs.
    fn strangers_and_worse(
        &mut self,
        hq: &SignedGrant,
        hq_key: &SigningKey,
        genesis: &Genesis,
        records: &mut Vec<TrustRecord>,
    ) -> Result<(), String> {
        if !self.config.hostile || self.rng.random_bool(0.33) {
            return Ok(());
        }
        let limits = Limits::default();
        for _ in 0..self.rng.random_range(1..=2) {
            let index = self.nodes.len();
            let key = SigningKey::from_bytes(&self.rng.random());
            let who = [
                Who::Member,
                Who::Member,
                Who::Member,
                Who::Stranger,
                Who::Foreigner,
            ][self.rng.random_range(0..5)];
            let mut own = grant(genesis, &key, index, &mut self.rng);
            own.lanes = vec![Lane::Trust, Lane::Life, Lane::Coordination];
            own.groups = Vec::new();
            let (genesis, joined) = match who {
                Who::Member => {
                    let own = own.clone().sign(hq_key);
                    self.model.grant(own.grant.clone());
                    records.push(TrustRecord::Grant(own.clone()));
                    (genesis.clone(), vec![hq.clone(), own])
                }
                Who::Stranger => (genesis.clone(), vec![hq.clone(), own.clone().sign(&key)]),
                Who::Foreigner => {
                    let other = self::genesis(&key, &mut self.rng);
                    own.operation = other.id();
                    (other, vec![own.clone().sign(&key)])
                }
            };
            match who {
                Who::Member => {}
                Who::Stranger => self.tally.note("hostile: stranger"),
                Who::Foreigner => self.tally.note("hostile: another operation"),
            }
            let hostile = Hostile::new(who, &mut self.rng);
            self.add(key, genesis, own, joined, &limits, Some(hostile))?;
        }
        Ok(())
    }

    fn add(
        &mut self,
        key: SigningKey,
        genesis: Genesis,
        grant: Grant,
        joined: Vec<SignedGrant>,
        limits: &Limits,
        hostile: Option<Hostile>,
    ) -> Result<(), String> {
        let rng = &mut self.rng;
        let mut interest = Interest::default();
        if grant.groups.contains(&GROUP) {
            interest.groups.push(GROUP);
            self.tally.note("interest: group");
        }
        for lane in [Lane::Raw, Lane::Blobs] {
            if hostile.is_none() && rng.random_bool(0.4) {
                interest.lanes.push(lane);
                self.tally.note("interest: lane on request");
            }
        }
        let mut limits = limits.clone();
        // The hostile forge the frames of either version, each in its own way.
        let old = if hostile.is_some() { 0.5 } else { 0.25 };
        if rng.random_bool(old) {
            limits.protocol_max = PROTOCOL_MIN;
        }
        let incarnation = Incarnation(rng.random());
        let mut clock = NodeClock::new(rng, 0);
        clock.set_wall(rng, 0, WallSet::NearlyRight);
        self.nodes.push(Node {
            disk: disk::open(self.config.disk, &key, incarnation)?,
            who: Identity {
                id: NodeId(key.verifying_key().to_bytes()),
                incarnation,
                genesis,
                grant,
                joined,
                interest,
                limits,
            },
            clock,
            memory: Memory::default(),
            full: false,
            unreadable: false,
            slow: false,
            epoch: 0,
            hostile,
            running: None,
        });
        Ok(())
    }

    /// A ring, so that everybody can reach everybody, and some shortcuts.
    fn lay_links(&mut self) {
        let all = self.nodes.len();
        for a in 0..all {
            for b in a + 1..all {
                let quality = Quality::random(&mut self.rng);
                self.net.lay(a, b, quality);
                let neighbours = b == a + 1 || (a == 0 && b + 1 == self.honest);
                let up = neighbours || self.rng.random_bool(0.25);
                if up {
                    self.want_dial(a, b);
                } else {
                    self.net.set_cut(a, b, true);
                    self.net.set_cut(b, a, true);
                }
            }
        }
    }
}

fn genesis(root: &SigningKey, rng: &mut StdRng) -> Genesis {
    Genesis {
        title: "simulated flood".to_owned(),
        root_key: root.verifying_key().to_bytes(),
        successor_hash: rng.random(),
        created_wall_ms: 0,
        nonce: rng.random(),
    }
}

fn grant(genesis: &Genesis, key: &SigningKey, index: usize, rng: &mut StdRng) -> Grant {
    let hq = index == 0;
    Grant {
        operation: genesis.id(),
        node: NodeId(key.verifying_key().to_bytes()),
        name: format!("node {index}"),
        role: if hq { Role::Hq } else { Role::Field },
        organisation: None,
        groups: if hq || rng.random_bool(0.4) {
            vec![GROUP]
        } else {
            Vec::new()
        },
        field_classes: Vec::new(),
        lanes: Lane::ALL.to_vec(),
        may_enrol: hq,
        serial: 1,
    }
}

/// Small bounds, so that a run of some hundred entries meets them.
fn limits(rng: &mut StdRng) -> Limits {
    let wide = Limits::default();
    Limits {
        connections_max: 16,
        strangers_max: rng.random_range(2..=4),
        unsent_bytes_max: rng.random_range(1_000..=20_000),
        unacked_bytes_max: rng.random_range(2_000..=40_000),
        // Above what an honest sender may have under way: its window, one run, and what that weighs.
        inbox_bytes_max: 256 * 1024,
        batch_bytes_max: rng.random_range(2_000..=64_000),
        batch_runs_max: rng.random_range(1..=32),
        waiting_bytes_max: rng.random_range(2_000..=64_000),
        waiting_runs_max: rng.random_range(2..=64),
        load_bytes_max: rng.random_range(600..=16_000),
        ..wide
    }
}
