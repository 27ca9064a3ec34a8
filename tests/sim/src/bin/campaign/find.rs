//! `campaign --planted NAME|all`: plants a bug and plays seeds until one goes wrong.
//!
//! The first seed in order is named, whatever number of threads looks for it, and it has to be green without the bug.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use sim::planted::{ALL, Described, named};
use sim::{Config, Violation, run};

use super::Asked;

/// A bug that so many disasters do not show is not found.
const SEEDS_MAX: u64 = 2_000;

/// What a search came to.
struct Found {
    seed: u64,
    violation: Violation,
}

pub(super) fn find(name: &str, asked: &Asked) -> ExitCode {
    let wanted: Vec<&Described> = match (name, named(name)) {
        ("all", _) => ALL.iter().collect(),
        (_, Some(one)) => vec![one],
        (_, None) => {
            let names: Vec<&str> = ALL.iter().map(|described| described.name).collect();
            eprintln!("no bug is called {name:?}; there are: {}", names.join(", "));
            return ExitCode::from(2);
        }
    };
    let mut missed = 0;
    let mut table = String::from(TABLE_HEAD);
    for described in wanted {
        let Some(Found { seed, violation }) = search(described, asked) else {
            println!("{}: NOT FOUND", described.name);
            missed += 1;
            continue;
        };
        println!("{}: seed {seed}, {violation}", described.name);
        let without = run(seed, &asked.config());
        if let Err(violation) = without {
            println!("  the seed is not green without it either: {violation}");
            missed += 1;
        }
        let _ = writeln!(
            table,
            "| `{}` | {} | `{}` | {} | {seed} | {} |",
            described.name,
            described.mistake,
            described.place,
            said(&violation.sentence),
            violation.steps
        );
    }
    if let Some(path) = &asked.table
        && let Err(error) = std::fs::write(path, table)
    {
        eprintln!("cannot write {path}: {error}");
        return ExitCode::FAILURE;
    }
    println!("{missed} not found");
    if missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// docs/planted-bugs.md, up to its rows.
const TABLE_HEAD: &str = "\
# Planted bugs

A simulation that is green proves little until it has been red. So mistakes that somebody could make are planted in the
program, each behind a switch at the very place where it would be made, and the campaign has to find every one. One that
it does not find means that the model is too weak: then the model is made stronger, never the bug.

- The switches are `sync/engine/src/planted.rs`, `domain/src/planted.rs` and `tests/sim/src/planted.rs` (for mistakes of a
  shell, which `node` and `store` are in the program). They exist only in builds with debug assertions; everywhere else
  the question whether a bug is planted is the constant `false`, and nothing of it is in a release.
- `make sim-planted` plants each and plays seeds until one goes wrong, 2,000 at most; `make sim-planted BUG=NAME` does it
  for one. The seed has to be green without the bug.
- `cargo test -p sim --test planted` does the same with the seeds below, in every build.
- A new one: a variant and a one-line call where the mistake would be made, a row in `tests/sim/src/planted.rs`, then
  `make sim-planted ARGS=\"--table docs/planted-bugs.md\"`, which writes this page. Its seeds go into the rows.

Steps are events played until the model objected, of some 15,000 that a run has. Seeds play otherwise whenever the engine
or the documents change.

| name | mistake | switch | what the model said | seed | steps |
| --- | --- | --- | --- | ---: | ---: |
";

/// A sentence of the model without what is long and random in it.
fn said(sentence: &str) -> String {
    let sentence = sentence.split(": Mismatch").next().unwrap_or(sentence);
    let sentence = sentence.lines().next().unwrap_or(sentence);
    let words = sentence.split(' ').map(|word| match word.split_once('/') {
        Some((author, log)) if author.len() > 40 => {
            let lane = log.rsplit('/').next().unwrap_or(log);
            format!("{}…/{lane}", &author[..4])
        }
        _ => word.chars().take(40).collect(),
    });
    let words: Vec<String> = words.collect();
    words.join(" ").replace('|', "/")
}

/// The first seed that shows the bug.
fn search(described: &Described, asked: &Asked) -> Option<Found> {
    let config = Config {
        planted: Some(described.bug),
        ..asked.config()
    };
    let last = asked.first + asked.seeds.unwrap_or(SEEDS_MAX);
    let next = AtomicU64::new(asked.first);
    let found: Mutex<Option<Found>> = Mutex::new(None);
    let limit = AtomicU64::new(last);
    std::thread::scope(|scope| {
        for _ in 0..asked.threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= limit.load(Ordering::Relaxed) {
                        return;
                    }
                    let Err(violation) = run(seed, &config) else {
                        continue;
                    };
                    limit.fetch_min(seed, Ordering::Relaxed);
                    let mut found = found
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                    if found.as_ref().is_none_or(|found| seed < found.seed) {
                        *found = Some(Found { seed, violation });
                    }
                }
            });
        }
    });
    found
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
