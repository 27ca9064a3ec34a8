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

/// A packed run by hand, after its length: dictionary, log, first entry, its entries, what is listed, body.
fn packed_run(
    dictionary: u8,
    first: u64,
    entries: u64,
    log: &[u8],
    ids: &[u8],
    body: &[u8],
) -> Vec<u8> {
    let mut frame = vec![dictionary];
    frame.extend(log);
    frame.extend(number(first));
    // One signature, at the last entry.
    frame.push(1);
    frame.extend(number(entries - 1));
    frame.extend([7; 64]);
    let prev = if entries > 3 { 32 } else { 4 };
    frame.extend(vec![0; if first == 1 { 0 } else { prev }]);
    // No other logs.
    frame.push(0);
    frame.extend(ids);
    // Random bytes: as many as the object of one entry, where there is only one.
    let noise = if entries == 1 { 16 } else { 0 };
    frame.push(noise);
    frame.extend(vec![9; usize::from(noise)]);
    frame.extend(body);
    let length = u16::try_from(frame.len()).expect("a frame of a lane");
    [&length.to_be_bytes()[..], &frame].concat()
}

/// A log in full.
fn new_log() -> Vec<u8> {
    [&[0][..], &[2; 32], &[2, 0, 0, 0, 0, 0, 0, 0]].concat()
}

/// The columns of a run of more than three entries: shape, time and distance of the engine, the others empty.
fn columns(shape: &[u8], time: &[u8], distance: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for column in [shape, time, distance] {
        body.extend(number(column.len() as u64));
    }
    body.extend([0; 6]);
    body.extend([shape, time, distance].concat());
    body
}

fn zstd_body(body: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(body, 19).expect("zstd").split_off(4)
}

#[test]
fn a_few_bytes_that_unpack_into_forty_thousand_parents_are_held_within_bounds() {
    let entries = 600;
    let shape = [&[2, 1, 0, 0, 64][..], &[1; 64]].concat().repeat(entries);
    let body = columns(&shape, &vec![0; entries], &vec![1; 64 * entries]);
    let frame = packed_run(
        1,
        1_000,
        entries as u64,
        &new_log(),
        &[0],
        &zstd_body(&body),
    );
    assert!(frame.len() < 400, "{} bytes", frame.len());
    assert!(!check("packed_run", &frame));
}

#[test]
fn a_few_bytes_that_unpack_into_thousands_of_empty_entries_are_held_within_bounds() {
    let entries = 4_096;
    let body = columns(&[0, 0].repeat(entries), &[], &[]);
    let frame = packed_run(
        1,
        1_000,
        entries as u64,
        &new_log(),
        &[0],
        &zstd_body(&body),
    );
    assert!(frame.len() < 300, "{} bytes", frame.len());
    assert!(check("packed_run", &frame), "a run, if an odd one");
    let body = columns(&[0, 0].repeat(entries + 1), &[], &[]);
    let frame = packed_run(
        1,
        1_000,
        entries as u64 + 1,
        &new_log(),
        &[0],
        &zstd_body(&body),
    );
    assert!(!check("packed_run", &frame));
}

#[test]
fn ids_that_the_stream_has_named_are_held_within_bounds_and_refused_where_nothing_uses_them() {
    // One entry: whole object, plain payload; kind, user, logical time, time, no payload.
    let entry = [3, 1, 1, 0, 0, 0];
    let body = [&[6][..], &entry].concat();
    let user = [&[1, 0][..], &[5; 16]].concat();
    let named = packed_run(0, 1, 1, &new_log(), &user, &body);
    assert!(check("packed_run", &named));
    let ids = [&number(65_000)[..], &vec![2; 65_000]].concat();
    let listed = packed_run(0, 1, 1, &[2], &ids, &body);
    let twice = packed_run(0, 1, 1, &[2], &[1, 2], &body);
    assert!(check("packed_run", &[&named[..], &twice].concat()));
    check("packed_run", &[named, listed].concat());
}

/// A Frontier frame: kind, form "whole", not indexed, then the logs of one author in `shared`.
fn frontier_frame(incarnations: u64, flags: u8, heights: &[u8]) -> Vec<u8> {
    let mut logs = vec![1];
    logs.extend([0; 16]);
    // One author, written out.
    logs.extend([1, 0]);
    logs.extend([9; 32]);
    logs.extend(number(incarnations));
    for incarnation in 0..incarnations {
        logs.extend(incarnation.to_le_bytes());
        logs.push(flags);
        logs.extend([7; 8]);
        logs.extend(heights);
    }
    let mut frame = vec![6, 1, 0];
    frame.extend(number(logs.len() as u64));
    frame.extend(logs);
    frame
}

#[test]
fn a_frontier_as_large_as_it_may_be_is_taken_and_a_larger_one_refused() {
    // 65,536 logs are the most: 9,362 lives with seven lanes each.
    assert!(check("control", &frontier_frame(9_362, 0x7f, &[1; 7])));
    assert!(!check("control", &frontier_frame(9_363, 0x7f, &[1; 7])));
    // Lives without a log cost a frame's worth of nothing.
    check("control", &frontier_frame(60_000, 0, &[]));
    let mut endless = frontier_frame(1, 1, &[1]);
    let claims = endless.len();
    endless.truncate(claims - 18);
    assert!(!check("control", &endless));
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

/// A change's content: no dependencies, an actor, sequence 1, first operation 100, then columns by number.
fn change(columns: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut content = vec![0, 16];
    content.extend([7; 16]);
    content.extend([1, 100, 0, 0, 0]);
    content.extend(number(columns.len() as u64));
    for (column, bytes) in columns {
        content.extend(number(*column));
        content.extend(number(bytes.len() as u64));
    }
    for (_, bytes) in columns {
        content.extend(bytes);
    }
    let length = u16::try_from(content.len()).expect("a short change");
    [&[1], &length.to_be_bytes()[..], &content].concat()
}

/// `count` times one value, as a run-length encoded column has it: the count is signed, the sign one bit above.
fn run(count: u64, value: &[u8]) -> Vec<u8> {
    let mut bytes = number(count);
    if bytes.last().is_some_and(|last| last & 0x40 != 0) {
        *bytes.last_mut().expect("a number has bytes") |= 0x80;
        bytes.push(0);
    }
    bytes.extend(value);
    bytes
}

#[test]
fn a_change_that_repeats_a_long_name_forty_thousand_times_is_held_within_bounds() {
    const OPS: u64 = 40_000;
    for length in [10, 1_000, 30_000] {
        let name = [number(length), vec![b'x'; length as usize]].concat();
        check(
            "change",
            &change(&[
                (0x15, run(OPS, &name)),
                (0x34, number(OPS)),
                (0x42, run(OPS, &[1])),
                (0x56, run(OPS, &[2])),
                (0x70, run(OPS, &[0])),
            ]),
        );
    }
}

#[test]
fn a_change_that_names_a_string_of_a_gigabyte_is_held_within_bounds() {
    let gigabyte = run(1, &[&number(1_000_000_000)[..], b"abc"].concat());
    let columns = [(0x15, gigabyte), (0x34, vec![1]), (0x42, run(1, &[1]))];
    assert!(!check("change", &change(&columns)));
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

#[test]
fn the_smallest_members_and_the_deepest_nesting_of_sensors_are_held_within_bounds() {
    // 2,047 objects of one member each, 256 values at most of which become any.
    let objects = format!("[{}{{}}]", "{\"\":0},".repeat(2_046));
    check("senml_json", objects.as_bytes());
    let named: String = (0..2_046)
        .map(|n| format!("\"{n:x}\":{{\"\":0}},"))
        .collect();
    let wide = format!("{{{named}\"z\":1}}");
    check("zigbee2mqtt", &[&[0], wide.as_bytes()].concat());
    let long = format!("{{{}\"z\":1}}", named.replace("\"\"", "\"x\""));
    check("zigbee2mqtt", &[&[0], long.as_bytes()].concat());
    let deep = format!("{}1{}", "{\"a\":".repeat(9_000), "}".repeat(9_000));
    for target in ["sensor_plain", "sensor_json", "senml_json", "meshtastic"] {
        assert!(!check(target, deep.as_bytes()), "{target}");
    }
    // CBOR that claims arrays, maps and texts of 2⁶⁴ − 1, and a chain of tags.
    for claim in [0x9b_u8, 0xbb, 0x7b, 0x5b] {
        assert!(!check(
            "senml_cbor",
            &[&[claim][..], &[0xff; 8], b"abc"].concat()
        ));
    }
    assert!(!check("senml_cbor", &[0xc1; 60_000]));
    let maps: Vec<u8> = [&[0x9f][..], &[0xa1, 0x60, 0x00].repeat(2_046), &[0xff]].concat();
    check("senml_cbor", &maps);
}

#[test]
fn a_payload_that_makes_a_script_work_is_held_within_bounds() {
    for byte in [0, 5, 6] {
        check("sensor_script", &[byte; 9_000]);
    }
}
