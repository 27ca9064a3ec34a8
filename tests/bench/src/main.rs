//! `make bench`: measures a release build from outside, as real processes over real sockets.
//!
//! Each scenario is one module and gives rows; the table goes to standard output, the JSON lines to
//! `target/bench/<scenario>.jsonl`. A scenario that misses what it needs says so and is counted as skipped.
//!
//! `bench [SCENARIO…] [--quick]`: without names all run; `--quick` measures less, to see that it works.

mod api;
mod child;
mod documents;
mod live;
mod load;
mod memory;
mod mqtt;
mod pair;
mod relay;
mod report;
mod sync;

use anyhow::{Context as _, bail};

/// How much to measure.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Measurements of each kind; the median is what counts.
    pub rounds: usize,
    /// Length of one measurement in seconds, where it has one.
    pub seconds: u64,
}

fn main() -> anyhow::Result<()> {
    let mut effort = Effort {
        rounds: 5,
        seconds: 10,
    };
    let mut wanted = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--quick" => {
                effort = Effort {
                    rounds: 1,
                    seconds: 3,
                }
            }
            name if SCENARIOS.iter().any(|s| s.name == name) => wanted.push(argument),
            other => bail!(
                "{other:?} is neither --quick nor a scenario ({})",
                SCENARIOS
                    .iter()
                    .map(|s| s.name)
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    for scenario in SCENARIOS
        .iter()
        .filter(|s| wanted.is_empty() || wanted.iter().any(|w| w == s.name))
    {
        println!("\n{}: {}\n", scenario.name, scenario.what);
        let report = runtime
            .block_on((scenario.run)(effort))
            .with_context(|| format!("scenario {}", scenario.name))?;
        report.finish(scenario.name)?;
    }
    Ok(())
}

type Running = std::pin::Pin<Box<dyn Future<Output = anyhow::Result<report::Report>>>>;

struct Scenario {
    name: &'static str,
    what: &'static str,
    run: fn(Effort) -> Running,
}

/// One line per scenario.
const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "mqtt",
        what: "QoS 1 readings acknowledged, 10 connections, window 50; Mosquitto beside it",
        run: |effort| Box::pin(mqtt::run(effort)),
    },
    Scenario {
        name: "sync",
        what: "the same documents edited on two nodes apart, then connected: time until both have committed",
        run: |effort| Box::pin(sync::run(effort)),
    },
    Scenario {
        name: "live",
        what: "committed on one node, visible through the API of a connected one",
        run: |effort| Box::pin(live::run(effort)),
    },
    Scenario {
        name: "memory",
        what: "a node with 10,000 documents",
        run: |effort| Box::pin(memory::run(effort)),
    },
];
