//! After the storm: everything works again, nothing new is written, and the model is asked.

use std::cell::Cell;

use sync_engine::TrustRecord;

use super::World;
use crate::desk::Plan;
use crate::model::Model;
use crate::net::Quality;
use crate::node::Node;

/// How often the model is asked at first, and later when it takes long.
const ASK_MS: u64 = 2_000;
const ASK_LATER_MS: u64 = 60_000;

impl World {
    /// Everything works from now on. Who means harm stays, with its habits.
    pub(super) fn heal(&mut self) -> Result<(), String> {
        self.stormy = false;
        for node in 0..self.nodes.len() {
            let this = &mut self.nodes[node];
            (this.full, this.unreadable, this.slow) = (false, false, false);
        }
        self.to_join.clear();
        for node in 0..self.nodes.len() {
            if !self.is_on(node) {
                self.start(node);
            }
        }
        let hq = self.nodes[0].running.as_ref();
        let known = |node| hq.is_some_and(|hq| hq.engine.trust().is_member(node));
        let mut grants = std::mem::take(&mut self.enrolled);
        grants.append(&mut self.to_enrol);
        // Who was not told that it is written asks again.
        grants.retain(|grant| !known(grant.grant.node));
        if !grants.is_empty() {
            for grant in &grants {
                self.model.grant(grant.grant.clone());
            }
            let records = grants.into_iter().map(TrustRecord::Grant).collect();
            self.queue_own(0, Plan::Records(records));
        }
        self.failed_dials.clear();
        for (a, b) in self.net.pairs() {
            self.net.set_quality(a, b, Quality::GOOD);
            self.mend(a, b);
            self.mend(b, a);
        }
        Ok(())
    }

    /// Plays on until the model is content; how long it took until all had the same. The comparisons that follow take
    /// their own time, because marks are not made more often than they are worth it.
    pub(super) fn settle(&mut self, progress: &Cell<(u64, u64)>) -> Result<u64, String> {
        let (from_ms, end_ms) = (self.now_ms, self.now_ms + self.config.calm_ms);
        let mut settled_ms = None;
        let mut last = String::new();
        while self.now_ms < end_ms {
            let pause_ms = if self.now_ms < from_ms + ASK_LATER_MS {
                ASK_MS
            } else {
                ASK_LATER_MS
            };
            let ask_ms = self.now_ms + pause_ms;
            self.play_until(ask_ms, progress)?;
            self.now_ms = ask_ms;
            let honest: Vec<&Node> = self.nodes[..self.honest].iter().collect();
            if settled_ms.is_none() {
                match self.model.check_settled(&honest) {
                    Ok(()) => settled_ms = Some(self.now_ms - from_ms),
                    Err(sentence) => last = sentence,
                }
            }
            if let Some(settled_ms) = settled_ms {
                // A hostile member may let go of an entry that it withheld, in between.
                let still = self.model.check_settled(&honest);
                match still.and_then(|()| self.model.check_proven(&honest)) {
                    Ok(()) => {
                        self.check_views()?;
                        self.check_after_restart()?;
                        return Ok(settled_ms);
                    }
                    Err(sentence) => last = sentence,
                }
            }
        }
        // What people see says more than what engines wait for.
        if settled_ms.is_some() {
            self.check_views()?;
        }
        Err(format!(
            "not settled after {} minutes of calm: {last}",
            self.config.calm_ms / 60_000
        ))
    }

    /// Who is connected with whom, for whoever looks for the cause.
    pub(super) fn dump(&self) {
        for node in &self.nodes {
            let Some(running) = &node.running else {
                continue;
            };
            let who = node.hostile.as_ref().map(|hostile| hostile.who);
            eprintln!(
                "{} {} {who:?} {:?}",
                node.who.grant.name,
                &node.id().to_string()[..8],
                running.engine.usage()
            );
            for (log, held) in running.engine.frontier().iter() {
                eprintln!("    {log:?} {}", held.height);
            }
            for (peer, hash) in &node.memory.peers {
                let mark = node.memory.marks.iter().find(|mark| mark.hash == *hash);
                let heights = mark.map(|mark| &mark.heights);
                eprintln!("    mark with {} {heights:?}", &peer.to_string()[..8]);
            }
            for peer in running.engine.peers() {
                eprintln!(
                    "    peer {:?} {:?} behind {} missing {} {:?}",
                    peer.name, peer.state, peer.behind_entries, peer.missing_entries, peer.reason
                );
            }
        }
    }

    fn check_views(&mut self) -> Result<(), String> {
        for node in 0..self.honest {
            self.note_counters(node);
        }
        let mut honest: Vec<&mut Node> = self.nodes[..self.honest].iter_mut().collect();
        self.tally.add(
            "document: conflict open at the end",
            Model::conflicts(&mut honest),
        );
        self.model.check_views(&mut honest)
    }

    /// What is on the disks alone says the same.
    fn check_after_restart(&mut self) -> Result<(), String> {
        for node in 0..self.honest {
            let now = self.now_of(node);
            let this = &mut self.nodes[node];
            this.crash();
            self.model.check_crash(this)?;
            this.start(now, 0);
        }
        let mut honest: Vec<&mut Node> = self.nodes[..self.honest].iter_mut().collect();
        self.model
            .check_views(&mut honest)
            .map_err(|sentence| format!("after a restart of all: {sentence}"))
    }
}
