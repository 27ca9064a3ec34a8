//! `make bench`: measures a release build from outside, as real processes over real sockets.
//!
//! Each scenario is one module and gives rows; the table goes to standard output, the JSON lines to
//! `target/bench/<scenario>.jsonl`. A scenario that misses what it needs says so and is counted as skipped.
//!
//! `bench [SCENARIO…] [--rounds N] [--documents N] [--quick]`: without names all run; `--quick` measures less, to see that it works;
//! `--help` lists them. Most scenarios drive the built program as its users do; those of the sync engine put engines, or nodes of its
//! QUIC shell, into this process, because the program has no need of a thousand of them.

mod api;
mod child;
mod crowd;
mod crowd_engine;
mod documents;
mod engines;
mod gossip;
mod hello;
mod lanes;
mod large;
mod library;
mod live;
mod load;
mod many;
mod member;
mod memory;
mod merge;
mod mqtt;
mod pair;
mod relay;
mod report;
mod sync;

use anyhow::{Context as _, bail};

/// As in the program, so that what is measured inside this process costs what it costs there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How much to measure.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Measurements of each kind; the median is what counts.
    pub rounds: usize,
    /// Fewer documents and samples, to see that it works: no figures.
    pub quick: bool,
    /// Length of one measurement in seconds, where it has one.
    pub seconds: u64,
    /// So many documents instead of a scenario's own numbers, in `sync` and `sync-many`: to see how a cost grows, or to
    /// profile the nodes meanwhile.
    pub documents: Option<usize>,
}

fn main() -> anyhow::Result<()> {
    let mut effort = Effort {
        rounds: 5,
        quick: false,
        seconds: 10,
        documents: None,
    };
    let mut wanted = Vec::new();
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments
        .next_if(|word| word == crowd_engine::FLAG)
        .is_some()
    {
        let peers = arguments.next().context("how many peers?")?.parse()?;
        return crowd_engine::run(peers);
    }
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--help" | "-h" => {
                help();
                return Ok(());
            }
            "--quick" => {
                effort = Effort {
                    rounds: 1,
                    quick: true,
                    seconds: 3,
                    documents: effort.documents,
                }
            }
            "--rounds" => {
                let rounds = arguments.next().context("how many rounds?")?;
                effort.rounds = rounds.parse().context("--rounds takes a number")?;
                anyhow::ensure!(effort.rounds > 0, "--rounds takes a number above 0");
            }
            "--documents" => {
                let documents = arguments.next().context("how many documents?")?;
                let documents: usize = documents.parse().context("--documents takes a number")?;
                anyhow::ensure!(documents > 0, "--documents takes a number above 0");
                effort.documents = Some(documents);
            }
            name if SCENARIOS.iter().any(|s| s.name == name) => wanted.push(argument),
            other => bail!(
                "{other:?} is neither --quick, --rounds, --documents nor a scenario ({})",
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

fn help() {
    println!(
        "make bench ARGS=\"[SCENARIO…] [--rounds N] [--documents N] [--quick]\"\n\n\
         Without names all run. One figure: make bench ARGS=hello. --rounds N measures N times where the median of 5\n\
         counts; --documents N takes so many in sync and sync-many; --quick measures once and less, to see that it works.\n\
         Each scenario prints target, figure and verdict, and writes JSON lines to target/bench/. What was seen stands in docs/figures.md.\n"
    );
    for scenario in SCENARIOS {
        println!("  {:<11} {}", scenario.name, scenario.what);
    }
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
        name: "sync-many",
        what: "the same with 10,000 documents, and automerge-repo beside it",
        run: |effort| Box::pin(many::run(effort)),
    },
    Scenario {
        name: "sync-large",
        what: "100,000 documents through a middle node, then 1,000 changes on each side of two nodes",
        run: |effort| Box::pin(large::run(effort)),
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
    Scenario {
        name: "merge",
        what: "what one document costs where both sides have edited it, in the domain crate alone",
        run: |effort| Box::pin(merge::run(effort)),
    },
    Scenario {
        name: "hello",
        what: "greetings and frontiers of real engines in memory",
        run: |effort| Box::pin(hello::run(effort)),
    },
    Scenario {
        name: "lanes",
        what: "an urgent entry, commit to commit, while raw blocks fill lane 5",
        run: |effort| Box::pin(lanes::run(effort)),
    },
    Scenario {
        name: "gossip",
        what: "200 simulated nodes meet in pairs at random until all agree",
        run: |effort| Box::pin(gossip::run(effort)),
    },
    Scenario {
        name: "crowd",
        what: "1,000 field nodes on one HQ: its engine alone, then real connections",
        run: |effort| Box::pin(crowd::run(effort)),
    },
];
