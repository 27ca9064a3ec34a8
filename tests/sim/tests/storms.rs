//! Many seeds, each a small disaster. A failure prints the line that replays it.
//!
//! Here a few hundred, as every build is checked with; `make sim` plays thousands, quicker.
#![allow(clippy::unwrap_used)]

use sim::{Config, DiskKind, check, run};

/// The seeds are cut into parts so that two cores share them.
const SEEDS_A_PART: u64 = 50;

fn part(number: u64, test: &str) {
    let first = 1 + number * SEEDS_A_PART;
    let reports = check(test, first..=first + SEEDS_A_PART - 1, &Config::default());
    assert!(reports.iter().all(|report| report.acknowledged_entries > 0));
}

#[test]
fn acknowledged_entries_are_everywhere_after_the_storm_1() {
    part(0, "acknowledged_entries_are_everywhere_after_the_storm_1");
}

#[test]
fn acknowledged_entries_are_everywhere_after_the_storm_2() {
    part(1, "acknowledged_entries_are_everywhere_after_the_storm_2");
}

#[test]
fn acknowledged_entries_are_everywhere_after_the_storm_3() {
    part(2, "acknowledged_entries_are_everywhere_after_the_storm_3");
}

#[test]
fn acknowledged_entries_are_everywhere_after_the_storm_4() {
    part(3, "acknowledged_entries_are_everywhere_after_the_storm_4");
}

#[test]
fn the_same_storms_pass_over_nodes_with_the_real_store() {
    let config = Config {
        disk: DiskKind::Sqlite,
        ..Config::default()
    };
    check(
        "the_same_storms_pass_over_nodes_with_the_real_store",
        1..=4,
        &config,
    );
}

#[test]
fn a_seed_replays_event_for_event() {
    let config = Config::default();
    assert_eq!(run(7, &config), run(7, &config));
    assert_ne!(
        run(7, &config).unwrap().trace,
        run(8, &config).unwrap().trace
    );
}
