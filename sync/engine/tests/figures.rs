//! Two figures that the design names, measured where they are made. `cargo test --release -p sync-engine --test
//! figures -- --nocapture` prints them.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Instant;

use common::*;
use sync_engine::*;

/// Bytes that do not compress, like the hashes and actor ids in a change.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

/// An entry of the size of a small Automerge change (129 bytes): mostly alike, with 36 bytes of its own.
fn small_change(n: u64) -> Vec<u8> {
    let mut payload = vec![0x85, 0x6f, 0x4a, 0x83];
    payload.extend(noise(n, 36));
    payload.extend(b"status=active;severity=severe;title=Bridge closed;location=;");
    payload.extend([n as u8; 29]);
    Entry {
        header: EntryHeader {
            time: HybridTime {
                wall_ms: 1_790_000_000_000 + n,
                logical: 0,
            },
            user: Some([7; 16]),
            kind: EntryKind(0x0101),
            object: ObjectId([(n % 50) as u8; 16]),
        },
        payload: Payload::Plain(payload),
    }
    .encode()
    .unwrap()
}

#[test]
fn five_thousand_small_entries_move_in_a_fraction_of_a_second() {
    let mut net = Net::operation(1);
    let log = log_of(1, Lane::Life);
    for commit in (0..5_000).map(small_change).collect::<Vec<_>>().chunks(20) {
        net.commit(0, log, commit);
    }
    let start = Instant::now();
    net.connect(0, 1);
    net.drive();
    let took = start.elapsed();
    net.assert_converged();
    let sent = net.nodes[0].engine.counters().sent_bytes;
    println!("5,000 entries, both engines and their stores in memory: {took:?}, {sent} bytes");
    // In release 100 ms is the aim and a third of it is usual; the bound holds for slow debug builds.
    let bound_ms = if cfg!(debug_assertions) { 3_000 } else { 100 };
    assert!(took.as_millis() < bound_ms, "{took:?}");
    assert!(sent < 5_000 * 80, "{sent} bytes");
}

#[test]
fn a_small_change_costs_at_most_80_bytes_in_runs_of_32() {
    let mut store = MemoryStore::default();
    let log = log_of(1, Lane::Life);
    let entries: Vec<_> = (0..32).map(small_change).collect();
    let run = store.append(log, &entries, &key(1));
    let bytes = run.encode().len();
    println!("run of 32: {bytes} bytes, {} each", bytes / 32);
    assert!(bytes <= 32 * 80, "{bytes} bytes");
}
