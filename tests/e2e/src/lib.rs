//! Whole nodes as their users meet them: real processes, real sockets, real disks, and the faults that happen to them.
//!
//! Invariants: nothing here links to the program under test but the demo's UDP relay; every wait has a bound and a
//! condition; every process, mount and directory goes with the test that made it.

pub mod api;
pub mod broker;
pub mod disk;
pub mod flood;
pub mod load;
pub mod mqtt;
pub mod node;
#[path = "../../../node/src/cli/demo/relay.rs"]
pub mod relay;
pub mod skip;
pub mod third_party;
pub mod views;
pub mod wait;

/// Signs in on every node of every test.
pub const PASSWORD: &str = "a long way to the river";

/// How many times a test with random moments tries its luck: from the environment, else `otherwise`.
pub fn rounds(variable: &str, otherwise: u32) -> u32 {
    std::env::var(variable)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(otherwise)
}
