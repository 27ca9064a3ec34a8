//! Every bug that can be planted is found by the seed that docs/planted-bugs.md names, and that seed is green without it.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use sim::planted::{ALL, POSSIBLE};
use sim::{Config, run};

/// Where the recorded seed plays otherwise since a program changed, one of those behind it has to show the bug.
const SEEDS_BEHIND: u64 = 20;

/// The bugs are cut into parts so that two cores share them.
fn check(part: usize) {
    const { assert!(POSSIBLE, "tests are built with debug assertions") };
    for described in ALL.iter().skip(part).step_by(2) {
        let config = Config {
            planted: Some(described.bug),
            ..Config::default()
        };
        let mut seeds = described.seed..=described.seed + SEEDS_BEHIND;
        let found = seeds.find(|seed| run(*seed, &config).is_err());
        assert!(
            found.is_some(),
            "no seed from {} on shows {}: `make sim-planted BUG={}` looks further",
            described.seed,
            described.name,
            described.name
        );
    }
}

#[test]
fn the_model_finds_every_planted_bug_1() {
    check(0);
}

#[test]
fn the_model_finds_every_planted_bug_2() {
    check(1);
}

#[test]
fn their_seeds_are_green_without_them() {
    let seeds: BTreeSet<u64> = ALL.iter().map(|described| described.seed).collect();
    for seed in seeds {
        run(seed, &Config::default()).unwrap();
    }
}

#[test]
fn bugs_have_names_of_their_own_and_stand_in_the_list_for_people() {
    let names: BTreeSet<&str> = ALL.iter().map(|described| described.name).collect();
    assert_eq!(names.len(), ALL.len());
    let list = std::fs::read_to_string("../../docs/planted-bugs.md").unwrap();
    for described in ALL {
        let row = format!("| `{}` | {} |", described.name, described.mistake);
        assert!(list.contains(&row), "docs/planted-bugs.md lacks {row}");
        let seed = format!("| {} |", described.seed);
        let line = list.lines().find(|line| line.starts_with(&row)).unwrap();
        assert!(line.contains(&seed), "{line} names another seed");
        let place = std::fs::read_to_string(format!("../../{}", described.place)).unwrap();
        assert!(
            place.contains("planted::is("),
            "{} has no switch",
            described.place
        );
    }
}
