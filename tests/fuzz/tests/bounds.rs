//! Inputs made to cost their receiver as much as possible.

use fuzz_checks::check;

/// LEB128, as postcard writes a count.
fn number(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A run's body up to its entries: log, first, chain hash before it.
fn run_head() -> Vec<u8> {
    let mut body = vec![2; 32 + 8 + 16];
    // Lane, first entry.
    body.extend([2, 1]);
    body.extend([0; 32]);
    body
}

fn packed(body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1];
    bytes.extend(zstd::bulk::compress(body, 19).expect("zstd"));
    bytes
}

#[test]
fn a_small_frame_that_unpacks_into_many_empty_entries_is_refused_early() {
    let mut body = run_head();
    body.extend(number(65_000));
    body.extend(vec![0; 65_000]);
    body.push(0);
    let frame = packed(&body);
    assert!(frame.len() < 200, "{} bytes", frame.len());
    assert!(!check("run", &frame));
}

#[test]
fn a_frame_that_unpacks_into_more_than_a_run_is_not_unpacked() {
    for size in [65 * 1024, 10 << 20] {
        assert!(!check("run", &packed(&vec![0; size])), "{size}");
    }
}

#[test]
fn counts_are_not_believed() {
    for count in [1 << 20, u64::from(u32::MAX), u64::MAX] {
        let mut entries = vec![0];
        entries.extend(run_head());
        entries.extend(number(count));
        assert!(!check("run", &entries), "{count} entries");
        let mut signatures = vec![0];
        signatures.extend(run_head());
        // One entry of one byte, then the count of signatures.
        signatures.extend([1, 1, 7]);
        signatures.extend(number(count));
        assert!(!check("run", &signatures), "{count} signatures");
        let mut payload = vec![3, 4, 0, 1];
        payload.extend([7; 16]);
        payload.push(0);
        payload.extend(number(count));
        assert!(!check("entry", &payload), "{count} bytes of payload");
    }
}

#[test]
fn a_grant_of_empty_names_costs_no_more_than_its_bound() {
    // Kind, operation, node, empty name, role, no organisation, no groups, then field classes without end.
    let mut grant = vec![2];
    grant.extend([1; 64]);
    grant.extend([0, 0, 0, 0]);
    grant.extend(number(32_000));
    grant.extend(vec![0; 32_000]);
    check("trust", &grant);
}

#[test]
fn deeply_nested_json_is_refused() {
    let nested = format!("{{\"text\":{}1{}}}", "[".repeat(9_000), "]".repeat(9_000));
    assert!(!check("fact", nested.as_bytes()));
}

#[test]
fn a_code_without_end_is_refused() {
    let mut text = vec![0];
    text.extend("MUSTER1-".bytes());
    text.extend(vec![b'0'; 1 << 20]);
    assert!(!check("invite", &text));
}
