//! Many seeds, each a small disaster. A failure prints the line that replays it.
#![allow(clippy::unwrap_used)]

use sim::{Config, check, run};

#[test]
fn acknowledged_entries_are_everywhere_after_the_storm() {
    check(
        "acknowledged_entries_are_everywhere_after_the_storm",
        1..=50,
        &Config::default(),
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
