//! `make sim SEEDS=10000`: many seeds on all cores, what occurred in them, and the first that failed.
//!
//! Exit code 0 only when every seed was green and every fault and phase occurred. With `--planted` a bug is planted and
//! looked for: exit code 0 only when it was found.

mod find;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sim::tally::{FAULTS, PHASES, Tally};
use sim::{Config, DiskKind, Report, Violation, run};

/// Failures that are printed; one is enough to work on.
const FAILURES_MAX: usize = 10;
/// Below this many seeds a rare fault may honestly not occur.
const SEEDS_FOR_COVERAGE: u64 = 300;
/// Seeds that are played when nothing is said.
const SEEDS: u64 = 1_000;

const USAGE: &str = "campaign [--seeds N] [--first N] [--threads N] [--minutes N] [--sqlite] [--planted NAME|all [--table FILE]]";

/// What was asked for on the command line.
struct Asked {
    first: u64,
    /// How many; how many at most, where a bug is planted.
    seeds: Option<u64>,
    threads: usize,
    /// No seed is begun later than that.
    minutes: Option<u64>,
    sqlite: bool,
    planted: Option<String>,
    table: Option<String>,
}

fn asked() -> Result<Asked, String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut asked = Asked {
        first: 1,
        seeds: None,
        threads: cores,
        minutes: None,
        sqlite: false,
        planted: None,
        table: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} wants a value: {USAGE}"));
        let number = |value: String| {
            let number = value.parse::<u64>();
            number.map_err(|_| format!("{word} wants a number: {USAGE}"))
        };
        match word.as_str() {
            "--first" => asked.first = number(value()?)?,
            "--seeds" => asked.seeds = Some(number(value()?)?),
            "--threads" => asked.threads = usize::try_from(number(value()?)?).unwrap_or(1).max(1),
            "--minutes" => asked.minutes = Some(number(value()?)?),
            "--planted" => asked.planted = Some(value()?),
            "--table" => asked.table = Some(value()?),
            "--sqlite" => asked.sqlite = true,
            _ => return Err(format!("{word:?} is unknown: {USAGE}")),
        }
    }
    Ok(asked)
}

impl Asked {
    fn seeds(&self) -> u64 {
        self.seeds.unwrap_or(SEEDS)
    }

    fn config(&self) -> Config {
        let disk = if self.sqlite {
            DiskKind::Sqlite
        } else {
            DiskKind::Memory
        };
        Config {
            disk,
            ..Config::default()
        }
    }
}

/// What the threads of a campaign share.
#[derive(Default)]
struct Shared {
    next: AtomicU64,
    done: AtomicU64,
    /// Threads that have nothing left to do.
    idle: AtomicUsize,
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
    played: u64,
}

impl Outcome {
    fn take(&mut self, seed: u64, result: Result<Report, Violation>) {
        self.played += 1;
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

fn play(asked: &Asked, shared: &Shared, began: Instant) {
    let config = asked.config();
    loop {
        let nth = shared.next.fetch_add(1, Ordering::Relaxed);
        let late = asked
            .minutes
            .is_some_and(|minutes| began.elapsed().as_secs() >= minutes * 60);
        if late || nth >= asked.seeds() {
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
    while shared.idle.load(Ordering::Relaxed) < asked.threads {
        std::thread::sleep(Duration::from_millis(50));
        if shown.elapsed() >= EVERY {
            shown = Instant::now();
            let done = shared.done.load(Ordering::Relaxed);
            eprintln!(
                "{done} of {} seeds, {} s",
                asked.seeds(),
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
    let per_seed_ms = took.as_millis() * asked.threads as u128 / u128::from(outcome.played.max(1));
    println!(
        "{} seeds in {} s ({per_seed_ms} ms a seed and thread), {} failed; {} steps (at least {} a run), {} acknowledged \
         entries, {} crashes, {} connections",
        outcome.played,
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
    if let Some(name) = &asked.planted {
        return find::find(name, &asked);
    }
    let began = Instant::now();
    let shared = Shared::default();
    std::thread::scope(|scope| {
        for _ in 0..asked.threads {
            scope.spawn(|| {
                play(&asked, &shared, began);
                shared.idle.fetch_add(1, Ordering::Relaxed);
            });
        }
        show_progress(&asked, &shared, began);
    });
    let outcome = shared
        .outcome
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    print(&asked, &outcome, began.elapsed());
    let missing = outcome.tally.missing();
    let covered = missing.is_empty() || outcome.played < SEEDS_FOR_COVERAGE;
    if !covered {
        println!("never occurred: {}", missing.join(", "));
    }
    if outcome.failures.is_empty() && covered {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
