//! What must be true, kept beside the system: what was promised to users, who may write where, what nodes may claim.
//!
//! Invariants: the model learns only what users see and what the world gave to nodes, never what engines believe; a
//! violation is a sentence, and the first one ends the run.

mod bounds;
mod end;
mod fair;
mod level;

use std::collections::{BTreeMap, BTreeSet};

use domain::RecordId;
use store::Disposition;
use sync_engine::{
    EntryHash, Grant, GroupId, HeadSignature, LogId, Mark, NodeId, ProgressItem, Seq, VerifiedRun,
    verify_head,
};

use crate::desk::{Promise, Verdict};
use crate::node::{Acknowledged, Node};
use crate::tally::Tally;

pub use bounds::check as check_bounds;
use fair::Fairness;
use level::Sessions;

/// See the module.
#[derive(Debug, Default)]
pub struct Model {
    /// Entries that users were promised.
    acknowledged: BTreeMap<(LogId, Seq), EntryHash>,
    tags: BTreeMap<RecordId, BTreeSet<String>>,
    notes: BTreeMap<RecordId, String>,
    /// Everything that honest nodes ever wrote, acknowledged or not.
    honest: BTreeSet<EntryHash>,
    /// What no node may ever apply.
    poisoned: BTreeSet<EntryHash>,
    /// Grants that the HQ has written down.
    granted: BTreeMap<NodeId, Grant>,
    /// The highest that each node has claimed to have stored.
    claims: BTreeMap<(NodeId, LogId), Seq>,
    /// Signatures that were looked at: each travels many times.
    signatures: BTreeSet<(LogId, Seq, [u8; 64])>,
    /// Whether authors take turns.
    pub fairness: Fairness,
    /// Who is connected with whom.
    pub sessions: Sessions,
}

impl Model {
    /// How many entries users were promised.
    pub fn acknowledged_entries(&self) -> u64 {
        self.acknowledged.len() as u64
    }

    /// The HQ begins to write this grant: from now on it may be known somewhere.
    pub fn grant(&mut self, grant: Grant) {
        self.granted.insert(grant.node, grant);
    }

    /// An honest node has written entries; nobody was promised them yet.
    pub fn honest_wrote(&mut self, written: &[(LogId, Seq, EntryHash)]) {
        self.honest.extend(written.iter().map(|(_, _, hash)| *hash));
    }

    /// A hostile member is about to write an entry that nobody may apply.
    pub fn poison(&mut self, hash: EntryHash) {
        self.poisoned.insert(hash);
    }

    /// A user of an honest node was told that this is safe.
    ///
    /// # Errors
    /// When another entry was promised in the same place.
    pub fn acknowledge(&mut self, acknowledged: Acknowledged) -> Result<(), String> {
        for (log, seq, hash) in acknowledged.entries {
            if self
                .acknowledged
                .insert((log, seq), hash)
                .is_some_and(|before| before != hash)
            {
                return Err(format!(
                    "entry {seq} of {log} was promised twice, with different contents"
                ));
            }
        }
        match acknowledged.promise {
            Promise::Entries => {}
            Promise::Tag(id, tag) => {
                self.tags.entry(id).or_default().insert(tag);
            }
            Promise::Note(id, text) => {
                self.notes.insert(id, text);
            }
        }
        Ok(())
    }

    /// An honest node hands runs to its store: everyone in them must have been let in.
    ///
    /// # Errors
    /// When an author may not write there.
    pub fn check_authors(&self, node: &Node, runs: &[VerifiedRun]) -> Result<(), String> {
        for run in runs {
            let log = run.log();
            let may = |grant: &Grant| {
                grant.lanes.contains(&log.lane)
                    && (log.group == GroupId::SHARED || grant.groups.contains(&log.group))
            };
            if !self.granted.get(&log.author).is_some_and(may) {
                return Err(format!(
                    "unauthorised: {} stores {log}, whose author may not write it",
                    node.who.grant.name
                ));
            }
        }
        Ok(())
    }

    /// An honest node hands runs to its store: their heads must be signed, and what is said to be an honest author's must
    /// be what that one has written and cannot lose any more.
    ///
    /// # Errors
    /// When somebody else made it.
    pub fn check_origin(
        &mut self,
        node: &Node,
        honest: &[Node],
        runs: &[VerifiedRun],
    ) -> Result<(), String> {
        let name = &node.who.grant.name;
        for run in runs {
            let log = run.log();
            let author = honest.iter().find(|author| author.id() == log.author);
            let durable = author.map(|author| author.disk.durable(log));
            for entry in run.entries() {
                let seq = entry.seq;
                if let Some(HeadSignature(signature)) = entry.signature
                    && self.signatures.insert((*log, seq, signature))
                    && !verify_head(log, seq, entry.chain, &HeadSignature(signature))
                {
                    return Err(format!(
                        "unauthorised: {name} stores {log}, whose author did not sign entry {seq}"
                    ));
                }
                let Some(author) = author else {
                    continue;
                };
                if author.disk.entry_hash(log, seq) != Some(entry.hash) {
                    return Err(format!(
                        "unauthorised: {name} stores an entry {seq} of {log} that {} did not write",
                        author.who.grant.name
                    ));
                }
                if durable < Some(seq) {
                    return Err(format!(
                        "{name} stores entry {seq} of {log}, which {} may still lose",
                        author.who.grant.name
                    ));
                }
            }
        }
        Ok(())
    }

    /// An honest node remembers a frontier as held by an honest peer too.
    ///
    /// # Errors
    /// When the peer does not hold it.
    pub fn check_mark(&self, node: &Node, peer: &Node, mark: &Mark) -> Result<(), String> {
        let lacking = mark
            .heights
            .iter()
            .find(|(log, height)| peer.wants(log) && peer.disk.durable(log) < *height);
        lacking.map_or(Ok(()), |(log, height)| {
            Err(format!(
                "{} remembers that {} holds {height} of {log}, which it does not",
                node.who.grant.name, peer.who.grant.name
            ))
        })
    }

    /// An honest node judged entries.
    ///
    /// # Errors
    /// When an honest one was refused, or a poisoned one applied.
    pub fn check_verdicts(
        &self,
        node: &Node,
        verdicts: &[Verdict],
        tally: &mut Tally,
    ) -> Result<(), String> {
        for verdict in verdicts {
            let Verdict {
                log,
                seq,
                disposition,
                ..
            } = verdict;
            let hash = verdict.hash.or_else(|| node.disk.entry_hash(log, *seq));
            let hash = hash.ok_or_else(|| format!("{log} {seq} is settled and not on the disk"))?;
            let name = &node.who.grant.name;
            let settled = verdict.hash.is_none();
            match disposition {
                Disposition::Applied if self.poisoned.contains(&hash) => {
                    return Err(format!(
                        "unauthorised: {name} applies the poisoned entry {seq} of {log}"
                    ));
                }
                Disposition::Applied if settled => tally.note("document: waiting change settled"),
                Disposition::Applied => tally.note("document: change applied at once"),
                Disposition::Waiting { .. } => tally.note("document: change waited"),
                Disposition::Quarantined { reason } if self.honest.contains(&hash) => {
                    return Err(format!(
                        "{name} quarantines the honest entry {seq} of {log}: {reason}"
                    ));
                }
                Disposition::Quarantined { .. } => tally.note("document: change quarantined"),
                Disposition::Held { fault } => {
                    return Err(format!("{name} cannot apply entry {seq} of {log}: {fault}"));
                }
            }
        }
        Ok(())
    }

    /// An honest node said how far it is: it must be true of its disk, now and after any crash.
    ///
    /// # Errors
    /// When it is not.
    pub fn check_claim(&mut self, claimer: &Node, item: &ProgressItem) -> Result<(), String> {
        let durable = claimer.disk.durable(&item.log);
        let name = &claimer.who.grant.name;
        if item.stored > durable {
            return Err(format!(
                "{name} acknowledged {} of {}, only {durable} would survive a crash",
                item.stored, item.log
            ));
        }
        if item.applied > item.stored {
            return Err(format!(
                "{name} has applied more of {} than stored",
                item.log
            ));
        }
        let running = claimer.running.as_ref();
        let settled = running.map(|running| running.desk.applied_height(&item.log, durable));
        if settled.is_some_and(|settled| item.applied > settled) {
            return Err(format!(
                "{name} says that it applied {} of {}, and did not",
                item.applied, item.log
            ));
        }
        let claim = self.claims.entry((claimer.id(), item.log)).or_default();
        *claim = (*claim).max(item.stored);
        Ok(())
    }

    /// A node has crashed: what it ever claimed, and what its users were promised, must have survived.
    ///
    /// # Errors
    /// When something did not.
    pub fn check_crash(&self, node: &Node) -> Result<(), String> {
        let name = &node.who.grant.name;
        let frontier = node.disk.frontier();
        for ((_, log), claim) in self
            .claims
            .iter()
            .filter(|((claimer, _), _)| *claimer == node.id())
        {
            if frontier.head(log).seq < *claim {
                return Err(format!(
                    "{name} had claimed {claim} of {log}, after a crash it has less"
                ));
            }
        }
        for ((log, seq), hash) in &self.acknowledged {
            if log.author == node.id() && node.disk.entry_hash(log, *seq) != Some(*hash) {
                return Err(format!(
                    "{name} lost its acknowledged entry {seq} of {log} in a crash"
                ));
            }
        }
        Ok(())
    }
}
