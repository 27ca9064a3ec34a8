//! `make bench`: measures a release build from outside, as real processes over real sockets.
//!
//! Each scenario is one module and gives rows; the table goes to standard output, the JSON lines to
//! `target/bench/<scenario>.jsonl`. A scenario that misses what it needs says so and is counted as skipped.
//!
//! `bench [SCENARIO…] [OPTION…]`: without names all run; `--help` lists both. Most scenarios drive the built program as its
//! users do; those of the sync engine put engines, or nodes of its QUIC shell, into this process, because the program has
//! no need of a thousand of them.

mod api;
mod child;
mod crowd;
mod crowd_engine;
mod documents;
mod engines;
mod gossip;
mod hello;
mod ingest;
mod lanes;
mod large;
mod library;
mod live;
mod many;
mod member;
mod memory;
mod merge;
mod pair;
mod relay;
mod report;
mod storage;
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
    /// Readings a second in `mqtt-sustained` instead of its own; 0: as fast as it goes.
    pub rate: Option<f64>,
    /// Nobody writes during `mqtt-sustained`: the memory that it ends with is that of readings alone.
    pub readings_only: bool,
    /// So many documents instead of a scenario's own numbers, in `sync` and `sync-many`: to see how a cost grows, or to
    /// profile the nodes meanwhile.
    pub documents: Option<usize>,
}

fn main() -> anyhow::Result<()> {
    let mut effort = Effort {
        rounds: 5,
        quick: false,
        seconds: 10,
        rate: None,
        readings_only: false,
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
                    ..effort
                }
            }
            "--rounds" => {
                let rounds = arguments.next().context("how many rounds?")?;
                effort.rounds = rounds.parse().context("--rounds takes a number")?;
                anyhow::ensure!(effort.rounds > 0, "--rounds takes a number above 0");
            }
            "--rate" => {
                let rate = arguments.next().context("how many a second?")?;
                effort.rate = Some(rate.parse().context("--rate takes a number")?);
            }
            "--readings-only" => effort.readings_only = true,
            "--documents" => {
                let documents = arguments.next().context("how many documents?")?;
                let documents: usize = documents.parse().context("--documents takes a number")?;
                anyhow::ensure!(documents > 0, "--documents takes a number above 0");
                effort.documents = Some(documents);
            }
            name if SCENARIOS.iter().any(|s| s.name == name) => wanted.push(argument),
            other => bail!(
                "{other:?} is neither --quick, --rounds, --rate, --readings-only, --documents nor a scenario ({})",
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
    for scenario in SCENARIOS.iter().filter(|s| match wanted.is_empty() {
        true => !s.by_name_only,
        false => wanted.iter().any(|w| w == s.name),
    }) {
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
        "make bench ARGS=\"[SCENARIO…] [--rounds N] [--rate N] [--readings-only] [--documents N] [--quick]\"\n\n\
         Without names all run but those that need a build of their own (*), which takes an hour. One figure: make bench\n\
         ARGS=hello. --rounds N measures N times where the median of 5 counts; --rate N paces mqtt-sustained at N readings/s\n\
         (0: as fast as it goes), --readings-only keeps people out of it; --documents N takes so many in sync and sync-many;\n\
         --quick measures once and less, to see that it works. Each scenario prints target, figure and verdict, and writes\n\
         JSON lines to target/bench/. What was seen stands in docs/figures.md.\n"
    );
    for scenario in SCENARIOS {
        let mark = if scenario.by_name_only { "*" } else { "" };
        let name = format!("{}{mark}", scenario.name);
        println!("  {name:<15} {}", scenario.what);
    }
}

type Running = std::pin::Pin<Box<dyn Future<Output = anyhow::Result<report::Report>>>>;

struct Scenario {
    name: &'static str,
    what: &'static str,
    run: fn(Effort) -> Running,
    /// It is only measured when it is asked for.
    by_name_only: bool,
}

impl Scenario {
    const fn of(name: &'static str, what: &'static str, run: fn(Effort) -> Running) -> Scenario {
        Scenario {
            name,
            what,
            run,
            by_name_only: false,
        }
    }
}

/// One line per scenario.
const SCENARIOS: &[Scenario] = &[
    Scenario::of(
        "mqtt",
        "QoS 1 readings acknowledged, 10 connections, window 50; Mosquitto beside it",
        |effort| Box::pin(ingest::rates::run(effort)),
    ),
    Scenario::of(
        "mqtt-sustained",
        "five minutes of it, with readers, alarms and people at work; memory and files",
        |effort| Box::pin(ingest::sustained::run(effort)),
    ),
    Scenario::of(
        "mqtt-crowd",
        "1,000 connections at 50,000 readings/s in all",
        |effort| Box::pin(ingest::crowd::run(effort)),
    ),
    Scenario::of("mqtt-5", "MQTT 5 beside 3.1.1", |effort| {
        Box::pin(ingest::versions::run(effort))
    }),
    Scenario::of(
        "mqtt-lone",
        "one connection that waits for each acknowledgement, and the disk's fdatasync beside it",
        |effort| Box::pin(ingest::lone::run(effort)),
    ),
    Scenario {
        name: "mqtt-plain",
        what: "what SQLCipher costs: a program built without it for this, beside the shipped one",
        run: |effort| Box::pin(ingest::plaintext::run(effort)),
        by_name_only: true,
    },
    Scenario::of(
        "store-bytes",
        "bytes a reading of a gauge at 1 Hz, in blocks",
        |effort| Box::pin(storage::bytes::run(effort)),
    ),
    Scenario::of(
        "store-charts",
        "charts of 1,000 series with 86 million readings",
        |effort| Box::pin(storage::charts::run(effort)),
    ),
    Scenario::of(
        "store-card",
        "bytes written at 10 readings/s in ten minutes, storage = \"sd-card\" beside \"disk\"",
        |effort| Box::pin(storage::card::run(effort)),
    ),
    Scenario::of(
        "sync",
        "the same documents edited on two nodes apart, then connected: time until both have committed",
        |effort| Box::pin(sync::run(effort)),
    ),
    Scenario::of(
        "sync-many",
        "the same with 10,000 documents, and automerge-repo beside it",
        |effort| Box::pin(many::run(effort)),
    ),
    Scenario::of(
        "sync-large",
        "100,000 documents through a middle node, then 1,000 changes on each side of two nodes",
        |effort| Box::pin(large::run(effort)),
    ),
    Scenario::of(
        "live",
        "committed on one node, visible through the API of a connected one",
        |effort| Box::pin(live::run(effort)),
    ),
    Scenario::of("memory", "a node with 10,000 documents", |effort| {
        Box::pin(memory::run(effort))
    }),
    Scenario::of(
        "merge",
        "what one document costs where both sides have edited it, in the domain crate alone",
        |effort| Box::pin(merge::run(effort)),
    ),
    Scenario::of(
        "hello",
        "greetings and frontiers of real engines in memory",
        |effort| Box::pin(hello::run(effort)),
    ),
    Scenario::of(
        "lanes",
        "an urgent entry, commit to commit, while raw blocks fill lane 5",
        |effort| Box::pin(lanes::run(effort)),
    ),
    Scenario::of(
        "gossip",
        "200 simulated nodes meet in pairs at random until all agree",
        |effort| Box::pin(gossip::run(effort)),
    ),
    Scenario::of(
        "crowd",
        "1,000 field nodes on one HQ: its engine alone, then real connections",
        |effort| Box::pin(crowd::run(effort)),
    ),
];
