//! Many seeds, each a small disaster. A failure prints the line that replays it.
#![allow(clippy::unwrap_used)]

use sim::{Config, check, run};

#[test]
fn acknowledged_entries_are_everywhere_after_the_storm() {
    let reports = check(
        "acknowledged_entries_are_everywhere_after_the_storm",
        1..=50,
        &Config::default(),
    );
    // The storms are storms: otherwise this proves little.
    if reports.len() > 1 {
        let sum = |of: fn(&sim::Report) -> u64| reports.iter().map(of).sum::<u64>();
        let (entries, crashes) = (sum(|r| r.acknowledged_entries), sum(|r| r.crashes));
        let slowest = reports.iter().map(|r| r.converged_after_ms).max().unwrap();
        println!(
            "{} seeds, {entries} entries, {crashes} crashes, {} connections, slowest {slowest} ms",
            reports.len(),
            sum(|r| r.connections)
        );
        assert!(entries > 10_000 && crashes > 100);
    }
}

#[test]
fn partition_heals() {
    let config = Config {
        crashes: false,
        full_disks: false,
        ..Config::default()
    };
    check("partition_heals", 1_000..=1_010, &config);
}

#[test]
fn a_seed_replays_event_for_event() {
    let short = Config {
        storm_ms: 20_000,
        ..Config::default()
    };
    assert_eq!(run(7, short.clone()), run(7, short.clone()));
    assert_ne!(
        run(7, short.clone()).unwrap().trace,
        run(8, short).unwrap().trace
    );
}

#[test]
fn the_model_notices_acknowledgement_before_the_sync() {
    let liar = Config {
        sync_before_answer: false,
        ..Config::default()
    };
    let noticed = (1..=10)
        .filter(|seed| run(*seed, liar.clone()).is_err())
        .count();
    assert_eq!(noticed, 10);
}
