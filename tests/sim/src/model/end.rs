//! After everything healed: what must be true of all honest nodes together.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Document, Incoming, Kind, RecordId, View};
use sync_engine::{LogId, PROTOCOL_MAX, PeerState, ProofView, Seq};

use super::Model;
use crate::desk::{author_of, target};
use crate::node::Node;
use crate::planted;

/// What one node refuses, and why.
type Quarantined = BTreeMap<(LogId, Seq), String>;

/// What people see on one node.
#[derive(Debug, PartialEq)]
struct Seen {
    documents: BTreeMap<RecordId, (Vec<[u8; 32]>, View)>,
    facts: BTreeMap<RecordId, String>,
    /// Over the heads of all documents and all facts.
    digest: [u8; 32],
    /// Entries that wait.
    open: Vec<(LogId, Seq)>,
}

impl Model {
    /// Whether the engines have settled: equal frontiers where interests meet, nothing known to be missing anywhere.
    /// Cheap, asked again and again.
    ///
    /// # Errors
    /// What is not so yet.
    pub fn check_settled(&self, nodes: &[&Node]) -> Result<(), String> {
        let frontiers: Vec<_> = nodes.iter().map(|node| node.disk.frontier()).collect();
        let logs: BTreeSet<LogId> = frontiers
            .iter()
            .flat_map(|frontier| frontier.iter().map(|(log, _)| *log))
            .collect();
        for log in &logs {
            let longest = frontiers.iter().map(|frontier| frontier.head(log)).max();
            for (node, frontier) in nodes.iter().zip(&frontiers) {
                if node.wants(log) && Some(frontier.head(log)) != longest {
                    let (held, longest) = (
                        frontier.head(log).seq,
                        longest.map_or(Seq::NONE, |head| head.seq),
                    );
                    return Err(format!(
                        "{} has {held} of {log}, others have {longest}",
                        node.who.grant.name
                    ));
                }
            }
        }
        for (node, frontier) in nodes.iter().zip(&frontiers) {
            let name = &node.who.grant.name;
            let Some(running) = &node.running else {
                return Err(format!("{name} is off at the end"));
            };
            if running.busy.is_some() || !running.jobs.is_empty() {
                return Err(format!("{name} has not written everything"));
            }
            if running.engine.frontier() != frontier {
                return Err(format!("{name}: engine and disk disagree"));
            }
            for peer in running.engine.peers() {
                let honest = nodes.iter().any(|other| other.id() == peer.node);
                if honest && peer.state == PeerState::Live && peer.behind_entries > 0 {
                    return Err(format!(
                        "{name} believes that {} lacks {} entries",
                        peer.node, peer.behind_entries
                    ));
                }
            }
        }
        Ok(())
    }

    /// Whether every two that are connected and speak the newest protocol have compared what they made of the same logs,
    /// found the same, and remember the frontier at which they stand.
    ///
    /// # Errors
    /// What is not so yet.
    pub fn check_proven(&self, nodes: &[&Node]) -> Result<(), String> {
        for node in nodes {
            let peers = node
                .running
                .iter()
                .flat_map(|running| running.engine.peers());
            for view in peers {
                let Some(peer) = nodes.iter().find(|peer| peer.id() == view.node) else {
                    continue;
                };
                if view.state != PeerState::Live || view.protocol != Some(PROTOCOL_MAX) {
                    continue;
                }
                let (name, other) = (&node.who.grant.name, &peer.who.grant.name);
                if !matches!(view.proof, ProofView::Equal { .. }) {
                    return Err(format!(
                        "{name} has not found that {other} made the same of the same logs: {:?}",
                        view.proof
                    ));
                }
                if !remembers(node, peer) || !remembers(peer, node) {
                    return Err(format!(
                        "{name} and {other} have not agreed on a mark at the frontier they both hold"
                    ));
                }
            }
        }
        Ok(())
    }

    /// What users were promised is everywhere, everyone sees the same, and it is what the changes say.
    ///
    /// # Errors
    /// The first sentence that does not hold.
    pub fn check_views(&self, nodes: &mut [&mut Node]) -> Result<(), String> {
        let mut first: Option<(String, Seen, Quarantined)> = None;
        for node in nodes.iter_mut() {
            let name = node.who.grant.name.clone();
            self.check_promised(node)?;
            let seen = see(node)?;
            self.check_promises(&name, &seen)?;
            let quarantined = node.disk.quarantined();
            match &first {
                None => first = Some((name, seen, quarantined)),
                Some((other, theirs, refused)) => {
                    if theirs != &seen {
                        return Err(format!(
                            "{name} and {other} show different things: {}",
                            difference(theirs, &seen)
                        ));
                    }
                    if refused != &quarantined {
                        return Err(format!(
                            "{name} and {other} have different entries in quarantine"
                        ));
                    }
                }
            }
        }
        let Some((_, seen, _)) = first else {
            return Ok(());
        };
        planted::without(|| reference(nodes, &seen))
    }

    /// Acknowledged entries that the node wants are on its disk.
    fn check_promised(&self, node: &Node) -> Result<(), String> {
        for ((log, seq), hash) in &self.acknowledged {
            if node.wants(log) && node.disk.entry_hash(log, *seq) != Some(*hash) {
                return Err(format!(
                    "{} lacks acknowledged entry {seq} of {log}",
                    node.who.grant.name
                ));
            }
        }
        Ok(())
    }

    /// Acknowledged tags and notes are shown.
    fn check_promises(&self, name: &str, seen: &Seen) -> Result<(), String> {
        for (id, tags) in &self.tags {
            let view = seen.documents.get(id).map(|(_, view)| view);
            let view =
                view.ok_or_else(|| format!("{name} does not show the acknowledged document {id}"))?;
            let shown: BTreeSet<&str> = view.fields["tags"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|tag| tag.as_str())
                .collect();
            if let Some(tag) = tags.iter().find(|tag| !shown.contains(tag.as_str())) {
                return Err(format!(
                    "{name} does not show the acknowledged edit {tag:?} of {id}"
                ));
            }
        }
        for (id, text) in &self.notes {
            if !seen
                .facts
                .get(id)
                .is_some_and(|fact| fact.contains(text.as_str()))
            {
                return Err(format!(
                    "{name} does not show the acknowledged note {text:?}"
                ));
            }
        }
        Ok(())
    }

    /// Whether any document has a conflict that a person has to settle: the end of a run would be poorer without.
    pub fn conflicts(nodes: &mut [&mut Node]) -> u64 {
        let Some(node) = nodes.first_mut() else {
            return 0;
        };
        let seen = see(node).map(|seen| seen.documents).unwrap_or_default();
        seen.values()
            .filter(|(_, view)| !view.conflicts.is_empty())
            .count() as u64
    }
}

/// Whether a node keeps a mark with a peer that says where both stand now.
fn remembers(node: &Node, peer: &Node) -> bool {
    let kept = node.memory.peers.iter().find(|(of, _)| *of == peer.id());
    let mark = kept.and_then(|(_, hash)| node.memory.marks.iter().find(|mark| mark.hash == *hash));
    mark.is_some_and(|mark| {
        let frontier = node.disk.frontier();
        let common = frontier.iter();
        common
            .filter(|(log, _)| node.wants(log) && peer.wants(log))
            .all(|(log, held)| mark.height(log) == held.height)
    })
}

/// What a node shows, from memory.
fn see(node: &mut Node) -> Result<Seen, String> {
    let name = node.who.grant.name.clone();
    let disk = node.disk.as_ref();
    let running = node
        .running
        .as_mut()
        .ok_or_else(|| format!("{name} is off at the end"))?;
    let mut documents = BTreeMap::new();
    let mut digest = blake3::Hasher::new();
    for id in running.desk.document_ids(disk) {
        if let Some((heads, view)) = running.desk.view(id, disk)? {
            digest.update(&id.0);
            digest.update(&heads.concat());
            documents.insert(id, (heads, view));
        }
    }
    let facts = disk.facts();
    for (id, view) in &facts {
        digest.update(&id.0);
        digest.update(view.as_bytes());
    }
    Ok(Seen {
        documents,
        facts,
        digest: *digest.finalize().as_bytes(),
        open: disk.unapplied(),
    })
}

fn difference(one: &Seen, other: &Seen) -> String {
    for (id, (heads, view)) in &one.documents {
        match other.documents.get(id) {
            None => return format!("document {id} is missing"),
            Some((theirs, _)) if theirs != heads => {
                return format!("document {id} has other heads");
            }
            Some((_, theirs)) if theirs != view => return format!("document {id} looks different"),
            Some(_) => {}
        }
    }
    if one.documents.len() != other.documents.len() {
        return "one more document".to_owned();
    }
    if one.open != other.open {
        return "other entries wait to be applied".to_owned();
    }
    "other notes".to_owned()
}

/// Each document made anew from all changes at once, in the order of the logs: it must look as it does on the nodes.
fn reference(nodes: &[&mut Node], seen: &Seen) -> Result<(), String> {
    let Some(node) = nodes.first() else {
        return Ok(());
    };
    let mut changes: BTreeMap<RecordId, Vec<(LogId, Vec<u8>)>> = BTreeMap::new();
    for (log, held) in node.disk.frontier().iter() {
        for seq in 1..=held.height.0 {
            let bytes = node.disk.entry(log, Seq(seq)).unwrap_or_default();
            if let Some((target::Target::Change(id), change)) = target::change_in(log, &bytes) {
                changes.entry(id).or_default().push((*log, change));
            }
        }
    }
    for (id, (heads, view)) in &seen.documents {
        let mut document = Document::new(Kind::Incident, *id);
        let batch = changes.get(id).into_iter().flatten().zip(0..);
        let batch: Vec<Incoming<'_>> = batch
            .map(|((log, bytes), key)| Incoming {
                key,
                author: author_of(log),
                bytes,
            })
            .collect();
        document.ingest(&batch);
        if &document.heads() != heads || &document.view() != view {
            return Err(format!(
                "{} shows document {id} otherwise than its changes say",
                node.who.grant.name
            ));
        }
    }
    Ok(())
}
