//! A deterministic simulation of whole operations: real engines, virtual time, disks that forget what was not synced.
//!
//! One seed decides everything: links that come and go, delays, connections that drop, crashes, full disks, what is
//! written where and when. [`run`] plays it and compares with the model; a failure names the seed that replays it.
//!
//! `net` is the network, `node` a node over its disk, `model` what must be true,
//! `world` what moves them all.

pub mod model;
pub mod net;
pub mod node;
mod world;

use crate::world::World;

/// What a run is made of.
#[derive(Debug, Clone)]
pub struct Config {
    /// How long the world misbehaves, virtual milliseconds.
    pub storm_ms: u64,
    /// How long it then has to converge.
    pub calm_ms: u64,
    /// Whether the writers sync before they answer. Only the test of the model itself says no.
    pub sync_before_answer: bool,
    /// Whether nodes crash.
    pub crashes: bool,
    /// Whether links and connections fail.
    pub partitions: bool,
    /// Whether disks fill up.
    pub full_disks: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            storm_ms: 60_000,
            calm_ms: 120_000,
            sync_before_answer: true,
            crashes: true,
            partitions: true,
            full_disks: true,
        }
    }
}

/// What happened in a run that went well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// A hash of every event in order: equal for equal seeds.
    pub trace: u64,
    /// Nodes in the operation.
    pub nodes: usize,
    /// Entries that users were promised.
    pub acknowledged_entries: u64,
    /// Crashes survived.
    pub crashes: u64,
    /// Connections made.
    pub connections: u64,
    /// How long it took to converge after the storm, virtual milliseconds.
    pub converged_after_ms: u64,
}

/// Plays one seed.
///
/// # Errors
/// The first sentence of the model that did not hold.
pub fn run(seed: u64, config: Config) -> Result<Report, String> {
    World::new(seed, config).play_all()
}

/// The line that replays a seed.
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
        .map(|seed| match run(seed, config.clone()) {
            Ok(report) => report,
            Err(violation) => panic!("{violation}\nreplay: {}", replay_line(seed, test)),
        })
        .collect()
}
