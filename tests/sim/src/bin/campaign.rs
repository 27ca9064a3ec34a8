//! `make sim SEEDS=10000`: many seeds on all cores, what occurred in them, and the first that failed.
//!
//! Exit code 0 only when every seed was green and every fault and phase occurred.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sim::tally::{FAULTS, PHASES, Tally};
use sim::{Config, DiskKind, Report, Violation, run};

/// Failures that are printed; one is enough to work on.
const FAILURES_MAX: usize = 10;
/// Below this many seeds a rare fault may honestly not occur.
const SEEDS_FOR_COVERAGE: u64 = 300;

const USAGE: &str = "campaign [--seeds N] [--first N] [--threads N] [--sqlite]";

/// What was asked for on the command line.
struct Asked {
    first: u64,
    seeds: u64,
    threads: usize,
    sqlite: bool,
}

fn asked() -> Result<Asked, String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut asked = Asked {
        first: 1,
        seeds: 1_000,
        threads: cores,
        sqlite: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || {
            let value = words.next().and_then(|value| value.parse::<u64>().ok());
            value.ok_or_else(|| format!("{word} wants a number: {USAGE}"))
        };
        match word.as_str() {
            "--first" => asked.first = number()?,
            "--seeds" => asked.seeds = number()?,
            "--threads" => asked.threads = usize::try_from(number()?).unwrap_or(1).max(1),
            "--sqlite" => asked.sqlite = true,
            _ => return Err(format!("{word:?} is unknown: {USAGE}")),
        }
    }
    Ok(asked)
}

/// What the threads of a campaign share.
#[derive(Default)]
struct Shared {
    next: AtomicU64,
    done: AtomicU64,
    outcome: Mutex<Outcome>,
}

#[derive(Default)]
struct Outcome {
    tally: Tally,
    failures: BTreeMap<u64, Violation>,
    steps: u64,
    least_steps: Option<u64>,
    entries: u64,
    crashes: u64,
    connections: u64,
    slowest: Option<(u64, u64)>,
}

impl Outcome {
    fn take(&mut self, seed: u64, result: Result<Report, Violation>) {
        match result {
            Ok(report) => {
                self.tally.merge(&report.tally);
                self.steps += report.steps;
                self.least_steps = Some(
                    self.least_steps
                        .map_or(report.steps, |least| least.min(report.steps)),
                );
                self.entries += report.acknowledged_entries;
                self.crashes += report.crashes;
                self.connections += report.connections;
                self.slowest = self.slowest.max(Some((report.converged_after_ms, seed)));
            }
            Err(violation) => {
                self.failures.insert(seed, violation);
            }
        }
    }
}

fn play(asked: &Asked, shared: &Shared) {
    let config = Config {
        disk: if asked.sqlite {
            DiskKind::Sqlite
        } else {
            DiskKind::Memory
        },
        ..Config::default()
    };
    loop {
        let nth = shared.next.fetch_add(1, Ordering::Relaxed);
        if nth >= asked.seeds {
            return;
        }
        let seed = asked.first + nth;
        let result = run(seed, &config);
        if let Err(violation) = &result {
            eprintln!("seed {seed} failed: {violation}");
        }
        let mut outcome = shared
            .outcome
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        outcome.take(seed, result);
        drop(outcome);
        shared.done.fetch_add(1, Ordering::Relaxed);
    }
}

fn show_progress(asked: &Asked, shared: &Shared, began: Instant) {
    const EVERY: Duration = Duration::from_secs(10);
    let mut shown = Instant::now();
    while shared.done.load(Ordering::Relaxed) < asked.seeds {
        std::thread::sleep(Duration::from_millis(50));
        if shown.elapsed() >= EVERY {
            shown = Instant::now();
            let done = shared.done.load(Ordering::Relaxed);
            eprintln!(
                "{done} of {} seeds, {} s",
                asked.seeds,
                began.elapsed().as_secs()
            );
        }
    }
}

fn print(asked: &Asked, outcome: &Outcome, took: Duration) {
    for (title, names) in [("faults", FAULTS), ("phases", PHASES)] {
        println!("{title}:");
        for name in names {
            println!("  {:>12}  {name}", outcome.tally.count(name));
        }
    }
    let per_seed_ms = took.as_millis() * asked.threads as u128 / u128::from(asked.seeds.max(1));
    println!(
        "{} seeds in {} s ({per_seed_ms} ms a seed and thread), {} failed; {} steps (at least {} a run), {} acknowledged \
         entries, {} crashes, {} connections",
        asked.seeds,
        took.as_secs(),
        outcome.failures.len(),
        outcome.steps,
        outcome.least_steps.unwrap_or(0),
        outcome.entries,
        outcome.crashes,
        outcome.connections
    );
    if let Some((after_ms, seed)) = outcome.slowest {
        println!(
            "slowest to converge: seed {seed}, {} virtual s after the storm",
            after_ms / 1_000
        );
    }
    for (seed, violation) in outcome.failures.iter().take(FAILURES_MAX) {
        println!("seed {seed}: {violation}");
        let sqlite = if asked.sqlite { " --sqlite" } else { "" };
        println!(
            "  replay: cargo run --profile sim -p sim --bin campaign -- --first {seed} --seeds 1{sqlite}"
        );
    }
}

fn main() -> ExitCode {
    let asked = match asked() {
        Ok(asked) => asked,
        Err(usage) => {
            eprintln!("{usage}");
            return ExitCode::from(2);
        }
    };
    let began = Instant::now();
    let shared = Shared::default();
    std::thread::scope(|scope| {
        for _ in 0..asked.threads {
            scope.spawn(|| play(&asked, &shared));
        }
        show_progress(&asked, &shared, began);
    });
    let outcome = shared
        .outcome
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    print(&asked, &outcome, began.elapsed());
    let missing = outcome.tally.missing();
    let covered = missing.is_empty() || asked.seeds < SEEDS_FOR_COVERAGE;
    if !covered {
        println!("never occurred: {}", missing.join(", "));
    }
    if outcome.failures.is_empty() && covered {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
