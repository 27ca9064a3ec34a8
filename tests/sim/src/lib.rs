//! A deterministic simulation of whole operations: real engines and real documents, virtual time, a network that loses
//! and reorders, disks that forget what was not synced, clocks that show anything, members that mean harm.
//!
//! One seed decides everything. [`run`] plays it and compares with the model; a failure names the seed that replays it,
//! byte for byte.
//!
//! `world` moves everything; `net`, `disk` and `clock` are what goes wrong, `hostile` who does; `node` is an engine with
//! its `desk` of documents; `model` is what must be true; `tally` counts what a campaign has met; `planted` are bugs to
//! be found.

mod clock;
// The very file of the program: what packed runs cost and where they fail depends on it. All of `node` would bring a web
// server along.
#[path = "../../../node/src/app/codec.rs"]
mod codec;
mod desk;
mod disk;
mod hostile;
mod model;
mod net;
mod node;
pub mod planted;
mod proof;
pub mod tally;
mod world;

use std::cell::Cell;
use std::panic::AssertUnwindSafe;

pub use disk::DiskKind;
use tally::Tally;
use world::World;

/// What a run is made of.
#[derive(Debug, Clone)]
pub struct Config {
    /// How long the world misbehaves, virtual milliseconds.
    pub storm_ms: u64,
    /// How long it then has to converge.
    pub calm_ms: u64,
    /// In how many bursts something happens; the hours between are quiet.
    pub bursts: u32,
    /// How much happens in each.
    pub acts_per_burst: u32,
    /// Edits of documents, the costly part of a run.
    pub edits_max: u64,
    /// Whether hostile members and strangers take part.
    pub hostile: bool,
    /// What the nodes write to.
    pub disk: DiskKind,
    /// A bug for the campaign to find.
    pub planted: Option<planted::Bug>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            storm_ms: 24 * 3_600_000,
            calm_ms: 3_600_000,
            bursts: 6,
            acts_per_burst: 40,
            edits_max: 24,
            hostile: true,
            disk: DiskKind::Memory,
            planted: None,
        }
    }
}

/// What happened in a run that went well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// A hash of every event in order, with every byte that arrived: equal for equal seeds.
    pub trace: u64,
    /// Honest nodes in the operation.
    pub nodes: usize,
    /// Events played.
    pub steps: u64,
    /// How long it took, virtual milliseconds.
    pub virtual_ms: u64,
    /// Entries that users were promised.
    pub acknowledged_entries: u64,
    /// Crashes survived.
    pub crashes: u64,
    /// Connections made.
    pub connections: u64,
    /// How long it took to converge after the storm, virtual milliseconds.
    pub converged_after_ms: u64,
    /// What occurred, and how often.
    pub tally: Tally,
}

/// What did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The sentence of the model.
    pub sentence: String,
    /// Events played until then.
    pub steps: u64,
    /// The virtual time.
    pub at_ms: u64,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let minutes = self.at_ms / 60_000;
        write!(
            f,
            "{} (after {} steps, {minutes} virtual minutes)",
            self.sentence, self.steps
        )
    }
}

/// The smallest run that proves something.
const NODES_MIN: usize = 5;
const STEPS_MIN: u64 = 500;
const VIRTUAL_MS_MIN: u64 = 24 * 3_600_000;

/// Plays one seed. A panic anywhere in it is a violation too.
///
/// # Errors
/// The first sentence of the model that did not hold.
pub fn run(seed: u64, config: &Config) -> Result<Report, Violation> {
    let early = |sentence| Violation {
        sentence,
        steps: 0,
        at_ms: 0,
    };
    if config.planted.is_some() && !planted::POSSIBLE {
        let why = "bugs can be planted only in builds with debug assertions";
        return Err(early(why.to_owned()));
    }
    let _planted = planted::Planting::of(config.planted);
    let progress = Cell::new((0, 0));
    let play = || {
        let world = World::new(seed, config.clone()).map_err(early)?;
        world.play_all(&progress)
    };
    let report = std::panic::catch_unwind(AssertUnwindSafe(play)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        let (steps, at_ms) = progress.get();
        Err(Violation {
            sentence: format!("a node panicked: {text}"),
            steps,
            at_ms,
        })
    })?;
    let small =
        report.nodes < NODES_MIN || report.steps < STEPS_MIN || report.virtual_ms < VIRTUAL_MS_MIN;
    if small {
        return Err(early(format!("this run proves nothing: {report:?}")));
    }
    Ok(report)
}

/// The line that replays a seed of a test.
pub fn replay_line(seed: u64, test: &str) -> String {
    format!("SIM_SEED={seed} cargo test -p sim {test}")
}

/// Plays the seeds, or the one that `SIM_SEED` names, and panics with the replay line of the first that fails.
/// `SIM_SEEDS=n` plays n seeds instead of the given number.
///
/// # Panics
/// When a seed fails.
pub fn check(test: &str, seeds: std::ops::RangeInclusive<u64>, config: &Config) -> Vec<Report> {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    let seeds = match (number("SIM_SEED"), number("SIM_SEEDS")) {
        (Some(seed), _) => seed..=seed,
        (None, Some(count)) => *seeds.start()..=seeds.start().saturating_add(count),
        (None, None) => seeds,
    };
    seeds
        .map(|seed| match run(seed, config) {
            Ok(report) => report,
            Err(violation) => panic!("{violation}\nreplay: {}", replay_line(seed, test)),
        })
        .collect()
}
