//! Two hundred nodes that meet in pairs at random until all agree: how many contacts, and what a contact costs.
//!
//! All begin with the same log, and then each writes a few entries. The log is once short and once long: what a contact
//! costs may depend on what changed, never on how much there is.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use sync_engine::{Lane, Limits};

use crate::Effort;
use crate::engines::{self, Engines};
use crate::library;
use crate::report::{Reach, Report, thousands};

const NODES: u16 = 200;
/// Entries in the log at first: one a document.
const DOCUMENTS: [u64; 2] = [1_000, 100_000];
/// Entries that each node then writes.
const CHANGES: u64 = 5;
/// The same pairs meet in the same order, however long the log is.
const SEED: u64 = 2026;
/// More means that they never agree.
const CONTACTS_MAX: usize = 100_000;
/// A cost that grew less than this from the short to the long log did not grow with it: heights are a byte or two longer.
const GROWTH_MAX: f64 = 1.1;

/// What it took.
struct Cost {
    contacts: usize,
    bytes: usize,
    run_bytes: usize,
    busy: Duration,
}

impl Cost {
    fn bytes_per_contact(&self) -> f64 {
        self.bytes as f64 / self.contacts as f64
    }

    fn said_per_contact(&self) -> f64 {
        (self.bytes - self.run_bytes) as f64 / self.contacts as f64
    }
}

/// # Errors
/// They never agree.
pub async fn run(_: Effort) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let mut costs = Vec::new();
    for documents in DOCUMENTS {
        let cost = until_all_agree(documents)?;
        let about = format!("{} documents", thousands(documents as f64));
        report.row(
            format!("contacts until {NODES} nodes with {CHANGES} changes each agree, {about}"),
            thousands(cost.contacts as f64),
        );
        report.row(
            format!(
                "bytes a contact (of these greetings, frontiers and acknowledgements), {about}"
            ),
            format!(
                "{} ({})",
                thousands(cost.bytes_per_contact()),
                thousands(cost.said_per_contact())
            ),
        );
        report.row(
            format!("bytes of all contacts, {about}"),
            thousands(cost.bytes as f64),
        );
        let busy_us = cost.busy.as_secs_f64() * 1e6 / cost.contacts as f64;
        report.row(
            format!("CPU a contact, both engines, {about}"),
            format!("{busy_us:.0} µs"),
        );
        report.line(json!({
            "nodes": NODES,
            "documents": documents,
            "changes_per_node": CHANGES,
            "contacts": cost.contacts,
            "bytes": cost.bytes,
            "run_bytes": cost.run_bytes,
            "busy_ms": cost.busy.as_millis() as u64,
        }));
        costs.push(cost);
    }
    let growth = costs[1].bytes_per_contact() / costs[0].bytes_per_contact();
    report.judged(
        "bytes a contact, 100,000 documents against 1,000",
        format!("{growth:.3} ×"),
        growth,
        Reach::AtMost(GROWTH_MAX),
        format!("{GROWTH_MAX} ×"),
    );
    report.note(
        "Real engines in memory; most pairs never met before, so that they say whole frontiers.",
    );
    Ok(report)
}

fn until_all_agree(documents: u64) -> anyhow::Result<Cost> {
    let mut engines = Engines::default();
    let trust = engines::found(&mut engines.library, NODES)?;
    for number in 0..NODES {
        let key = library::key(number);
        let node = library::node_of(&key);
        let log = library::log_of(node, engines::incarnation_of(node), Lane::Life);
        let entries = (0..documents / u64::from(NODES))
            .map(|n| library::small_entry(u64::from(number), n))
            .collect::<anyhow::Result<Vec<_>>>()?;
        engines.library.append(log, entries, &key);
    }
    for number in 0..NODES {
        engines.add(library::key(number), trust.clone(), Limits::default());
    }
    for at in 0..usize::from(NODES) {
        for change in 0..CHANGES {
            let entry = library::small_entry(at as u64, 1_000_000 + change)?;
            engines.commit(at, Lane::Life, vec![entry])?;
        }
    }
    for member in &mut engines.members {
        member.busy = Duration::ZERO;
    }

    let goal = engines.library.frontier().hash();
    let agrees =
        |engines: &Engines, at: usize| engines.members[at].engine.frontier().hash() == goal;
    let mut agreed = vec![false; usize::from(NODES)];
    let mut random = StdRng::seed_from_u64(SEED);
    let mut cost = Cost {
        contacts: 0,
        bytes: 0,
        run_bytes: 0,
        busy: Duration::ZERO,
    };
    while agreed.contains(&false) {
        anyhow::ensure!(cost.contacts < CONTACTS_MAX, "the nodes never agree");
        let one = random.random_range(0..agreed.len());
        let other = (one + random.random_range(1..agreed.len())) % agreed.len();
        let contact = engines.meet(one, other)?;
        cost.contacts += 1;
        cost.bytes += contact.bytes;
        cost.run_bytes += contact.run_bytes;
        for at in [one, other] {
            agreed[at] = agreed[at] || agrees(&engines, at);
        }
    }
    cost.busy = engines.members.iter().map(|member| member.busy).sum();
    Ok(cost)
}
