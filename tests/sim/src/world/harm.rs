//! What hostile nodes do of their own accord. How they twist the frames of their engine is in `hostile`.

use rand::RngExt;
use rand::seq::SliceRandom;
use sync_engine::{Lane, Seq, entry_hash};

use super::World;
use crate::desk::Plan;
use crate::hostile::{Lie, Poison, Who};

/// Logs that one lie is about.
const LIES_MAX: usize = 4;

impl World {
    pub(super) fn harm(&mut self) {
        let hostile: Vec<usize> = (self.honest..self.nodes.len())
            .filter(|node| self.is_on(*node))
            .collect();
        let Some(node) = self.pick(&hostile).copied() else {
            return;
        };
        let member = self.nodes[node]
            .hostile
            .as_ref()
            .is_some_and(|hostile| hostile.who == Who::Member);
        match self.rng.random_range(0..10) {
            0..4 if member => self.poison(node),
            4 if member => self.write_without_grant(node),
            _ => self.invent(node),
        }
    }

    /// Frames that no engine would send, to some peer.
    fn invent(&mut self, node: usize) {
        let open = self.net.open_at(node);
        let Some((conn, side)) = self.pick(&open).copied() else {
            return;
        };
        let Some(nodes) = self.net.nodes(conn) else {
            return;
        };
        let lies = self.lies(node, nodes[1 - side]);
        let Some(hostile) = &mut self.nodes[node].hostile else {
            return;
        };
        for (stream, frame) in hostile.invent(&lies, &mut self.rng, &mut self.tally) {
            self.transmit(conn, side, stream, frame);
        }
    }

    /// What to claim of logs that are not the victim's own (see `hostile` for why).
    fn lies(&mut self, liar: usize, victim: usize) -> Vec<Lie> {
        let victim = self.nodes[victim].id();
        let frontier = self.nodes[liar].disk.frontier();
        let mut logs: Vec<_> = frontier
            .iter()
            .filter(|(log, _)| log.author != victim)
            .map(|(log, _)| *log)
            .collect();
        logs.shuffle(&mut self.rng);
        logs.truncate(LIES_MAX);
        logs.into_iter()
            .map(|log| Lie {
                log,
                stored: Seq(self.rng.random_range(1..=10_000)),
                chain: self.rng.random(),
            })
            .collect()
    }

    /// A properly signed change that nobody may apply, on a document of the honest.
    fn poison(&mut self, node: usize) {
        let documents = self.documents.clone();
        let Some(id) = self.pick(&documents).copied() else {
            return;
        };
        let tag = format!("hostile {}", self.next_number());
        let this = &mut self.nodes[node];
        let disk = this.disk.as_ref();
        let Some(running) = this
            .running
            .as_mut()
            .filter(|running| running.busy.is_none())
        else {
            return;
        };
        let Some(draft) = running.desk.draft(disk, id, &tag) else {
            return;
        };
        let poison = Poison::ALL[self.rng.random_range(0..Poison::ALL.len())];
        let Some(entries) = poison.entries(id, &draft, &mut self.rng) else {
            return;
        };
        self.tally.note(poison.name());
        for (_, entry, poisoned) in &entries {
            if *poisoned && let Ok(bytes) = entry.encode() {
                self.model.poison(entry_hash(&bytes));
            }
        }
        let entries = entries.into_iter().map(|(lane, entry, _)| (lane, entry));
        self.queue_own(node, Plan::Raw(entries.collect()));
    }

    /// Entries in a lane that its grant does not name.
    fn write_without_grant(&mut self, node: usize) {
        self.tally.note("hostile: lane without a grant");
        let entry = crate::desk::entry(
            0x0f01,
            sync_engine::ObjectId(self.rng.random()),
            0,
            vec![7; 40],
        );
        if let Ok(bytes) = entry.encode() {
            self.model.poison(entry_hash(&bytes));
        }
        self.queue_own(node, Plan::Raw(vec![(Lane::Flash, entry)]));
    }
}
