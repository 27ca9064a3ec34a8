//! What happens to the operation during the storm: bursts of acts, seconds apart, with quiet hours between them.

use domain::{FactKind, Kind, RecordId};
use rand::{Rng, RngExt};
use serde_json::{Map, Value};
use sync_engine::{GroupId, TrustRecord};

use super::setup::GROUP;
use super::{Event, World};
use crate::clock::WallSet;
use crate::desk::Plan;
use crate::net::Quality;

/// Acts within a burst are at most so far apart.
const PAUSE_MS_MAX: u64 = 1_500;
/// How long a disk is full, slow or unreadable: until somebody has seen to it.
const DISK_FAULT_MS: std::ops::RangeInclusive<u64> = 2_000..=120_000;
/// Documents of one run: few, so that edits meet.
const DOCUMENTS_MAX: usize = 4;

const SEVERITIES: [&str; 4] = ["minor", "moderate", "severe", "extreme"];
const STATUSES: [&str; 4] = ["reported", "confirmed", "active", "contained"];

impl World {
    /// Something random happens, and the next such moment is set.
    pub(super) fn act(&mut self) -> Result<(), String> {
        if !self.stormy {
            return Ok(());
        }
        if self.burst_acts == 0 {
            let honest = &self.nodes[..self.honest];
            self.model.sessions.check(honest, self.now_ms)?;
            self.burst_acts = self.config.acts_per_burst;
        }
        self.burst_acts -= 1;
        let pause_ms = if self.burst_acts == 0 {
            let quiet_ms = self.config.storm_ms / u64::from(self.config.bursts.max(1));
            self.rng.random_range(quiet_ms * 3 / 4..=quiet_ms)
        } else {
            self.rng.random_range(1..=PAUSE_MS_MAX)
        };
        self.at(pause_ms, Event::Act);
        let node = self.rng.random_range(0..self.honest);
        match self.rng.random_range(0..100) {
            0..40 => self.write_something(node),
            40..45 => self.enrol_somebody(),
            45..48 => self.join_somebody(),
            48..64 => self.change_a_link(),
            64..68 => self.reset_a_connection(),
            68..76 => return self.crash_or_start(node),
            76..81 => self.change_a_disk(node),
            81..86 => self.set_a_clock(node),
            86..89 => self.evict(node),
            _ => self.harm(),
        }
        Ok(())
    }

    fn write_something(&mut self, node: usize) {
        if !self.is_on(node) {
            return;
        }
        let number = self.next_number();
        let plan = match self.rng.random_range(0..10) {
            0..4 if self.edits < self.config.edits_max => {
                self.edits += 1;
                self.edit_plan(node, number)
            }
            0..7 => self.note_plan(node, number),
            _ => self.opaque_plan(node),
        };
        self.queue_own(node, plan);
    }

    /// A new document while there are few, else an edit of one that this node knows.
    fn edit_plan(&mut self, node: usize, number: u64) -> Plan {
        let known: Vec<RecordId> = {
            let this = &mut self.nodes[node];
            let disk = this.disk.as_ref();
            let desk = this.running.as_mut().map(|running| &mut running.desk);
            let ids = desk.map(|desk| desk.document_ids(disk)).unwrap_or_default();
            ids.into_iter()
                .filter(|id| self.documents.contains(id))
                .collect()
        };
        let few = self.documents.len() < DOCUMENTS_MAX && self.rng.random_bool(0.2);
        let known = self.pick(&known).copied().filter(|_| !few);
        // What is stored and waits is no document that anybody sees.
        let shown = known.filter(|id| self.shows(node, *id));
        let Some(id) = shown else {
            let code = Kind::Incident.spec().code;
            let id = domain::ids::new_id(
                code,
                self.now_of(node).wall_ms & 0xffff_ffff_ffff,
                &self.rng.random(),
            );
            self.documents.push(id);
            return Plan::Create {
                id,
                title: format!("incident {number}"),
            };
        };
        let mut fields = Map::new();
        if self.rng.random_bool(0.6) {
            let severity = SEVERITIES[self.rng.random_range(0..SEVERITIES.len())];
            fields.insert("severity".to_owned(), Value::from(severity));
        }
        if self.rng.random_bool(0.4) {
            let status = STATUSES[self.rng.random_range(0..STATUSES.len())];
            fields.insert("status".to_owned(), Value::from(status));
        }
        if self.rng.random_bool(0.4) {
            fields.insert(
                "description".to_owned(),
                Value::from(format!("line {number}")),
            );
        }
        let versions_ago = if self.rng.random_bool(0.2) {
            self.rng.random_range(1..=3)
        } else {
            0
        };
        if versions_ago > 0 {
            self.tally.note("node: edit of an old version");
        }
        Plan::Patch {
            id,
            versions_ago,
            fields,
            tag: format!("tag {number}"),
        }
    }

    fn shows(&mut self, node: usize, id: RecordId) -> bool {
        let this = &mut self.nodes[node];
        let disk = this.disk.as_ref();
        let desk = this.running.as_mut().map(|running| &mut running.desk);
        desk.is_some_and(|desk| matches!(desk.view(id, disk), Ok(Some(_))))
    }

    fn note_plan(&mut self, node: usize, number: u64) -> Plan {
        let (author, wall_ms) = (self.nodes[node].id().0, self.now_of(node).wall_ms);
        let random: [u8; 10] = self.rng.random();
        Plan::Note {
            id: domain::ids::new_fact_id(
                FactKind::Note.code(),
                &author,
                wall_ms & 0xffff_ffff_ffff,
                &random,
            ),
            text: format!("note {number}"),
        }
    }

    fn opaque_plan(&mut self, node: usize) -> Plan {
        let lane = Self::WRITTEN_LANES[self.rng.random_range(0..Self::WRITTEN_LANES.len())];
        let may_group = self.nodes[node].who.grant.groups.contains(&GROUP);
        let group = if may_group && self.rng.random_bool(0.5) {
            GROUP
        } else {
            GroupId::SHARED
        };
        let bytes_max = if self.rng.random_bool(0.05) {
            20_000
        } else {
            300
        };
        let payloads = (0..self.rng.random_range(1..=8))
            .map(|_| {
                let mut payload = vec![0; self.rng.random_range(20..=bytes_max)];
                self.rng.fill_bytes(&mut payload);
                payload
            })
            .collect();
        Plan::Opaque {
            group,
            lane,
            payloads,
        }
    }

    /// The HQ writes down a grant that its holder has had for a while.
    fn enrol_somebody(&mut self) {
        if self.is_on(0)
            && let Some(grant) = self.to_enrol.pop()
        {
            self.tally.note("node: grant written late");
            self.model.grant(grant.grant.clone());
            self.enrolled.push(grant.clone());
            self.queue_own(0, Plan::Records(vec![TrustRecord::Grant(grant)]));
        }
    }

    fn join_somebody(&mut self) {
        if let Some(node) = self.to_join.pop() {
            self.tally.note("node: joined late");
            self.start(node);
        }
    }

    fn change_a_link(&mut self) {
        let pairs = self.net.pairs();
        let Some((a, b)) = self.pick(&pairs).copied() else {
            return;
        };
        let (a, b) = if self.rng.random_bool(0.5) {
            (a, b)
        } else {
            (b, a)
        };
        let carries = (self.net.carries(a, b), self.net.carries(b, a));
        match self.rng.random_range(0..6) {
            0 => {
                self.tally.note("network: quality changed");
                let quality = Quality::random(&mut self.rng);
                self.net.set_quality(a, b, quality);
            }
            1 | 2 if carries == (true, true) => {
                self.tally.note("network: link cut both ways");
                self.cut(a, b);
                self.cut(b, a);
            }
            3 if carries == (true, true) => {
                self.tally.note("network: link cut one way");
                self.cut(a, b);
            }
            _ => {
                self.mend(a, b);
                self.mend(b, a);
            }
        }
    }

    fn reset_a_connection(&mut self) {
        let conns = self.net.conns();
        if let Some(conn) = self.pick(&conns).copied() {
            self.tally.note("network: connection reset");
            for side in 0..2 {
                let delay_ms = self.rng.random_range(0..=500);
                self.at(delay_ms, Event::Gone(conn, side, "reset"));
            }
        }
    }

    fn crash_or_start(&mut self, node: usize) -> Result<(), String> {
        if self.to_join.contains(&node) {
            return Ok(());
        }
        if !self.is_on(node) {
            self.tally.note("node: restart");
            self.start(node);
            return Ok(());
        }
        self.crash(node)
    }

    /// Power is cut at a node: its peers hear nothing more, or a reset once it is back.
    pub(super) fn crash(&mut self, node: usize) -> Result<(), String> {
        self.note_counters(node);
        self.crashes += 1;
        self.tally.note("node: crash");
        let id = self.nodes[node].id();
        self.model.fairness.forget(id);
        self.model.sessions.forget(id);
        for (conn, side) in self.net.open_at(node) {
            if self.rng.random_bool(0.3) {
                let delay_ms = self.rng.random_range(100..=5_000);
                self.at(delay_ms, Event::Gone(conn, 1 - side, "reset"));
            } else {
                self.fall_silent(conn, 1 - side);
            }
            self.net.close_end(conn, side);
        }
        let this = &mut self.nodes[node];
        if this
            .running
            .as_ref()
            .is_some_and(|running| running.busy.is_some())
        {
            // The commit was under way: the disk may have got it all the same.
            if self.rng.random_bool(0.5) {
                this.disk.sync();
                self.tally
                    .note("disk: commit survived a crash without an answer");
            } else {
                self.tally.note("disk: unsynced commit lost in a crash");
            }
        }
        if self.rng.random_bool(0.3) {
            this.memory = sync_engine::Memory::default();
            self.tally.note("node: marks lost in a crash");
        }
        this.crash();
        if self.is_honest(node) {
            self.model.check_crash(&self.nodes[node])?;
        }
        Ok(())
    }

    fn change_a_disk(&mut self, node: usize) {
        let fault = self.rng.random_range(0..3);
        let this = &mut self.nodes[node];
        match fault {
            0 => this.full = true,
            1 => this.unreadable = true,
            _ => this.slow = true,
        }
        let lasts_ms = self.rng.random_range(DISK_FAULT_MS);
        self.at(lasts_ms, Event::DiskMended(node));
    }

    fn set_a_clock(&mut self, node: usize) {
        let (what, to) = match self.rng.random_range(0..5) {
            0 => ("clock: small step", WallSet::NearlyRight),
            1 => ("clock: back", WallSet::Back),
            2 => ("clock: ahead", WallSet::Ahead),
            3 => ("clock: 1970", WallSet::Year1970),
            _ => ("clock: 2106", WallSet::Year2106),
        };
        self.tally.note(what);
        let now_ms = self.now_ms;
        self.nodes[node].clock.set_wall(&mut self.rng, now_ms, to);
    }

    fn evict(&mut self, node: usize) {
        let documents = self.documents.clone();
        if let Some(id) = self.pick(&documents).copied()
            && let Some(running) = &mut self.nodes[node].running
            && running.busy.is_none()
            && running.desk.evict(id)
        {
            self.tally.note("node: document dropped from memory");
        }
    }
}
