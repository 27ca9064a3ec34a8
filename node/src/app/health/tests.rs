//! What is said of devices, as bytes: what reads back, what it costs, what nobody gets past it; and what one look says.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::payload::*;
use super::*;

/// 2026-03-01 12:00 UTC.
const NOON_MS: i64 = 1_772_366_400_000;

fn device(number: i64) -> DeviceSaid {
    let heard_ms = NOON_MS - (number % 60) * 1_000;
    DeviceSaid {
        device: format!("river-{number:04}"),
        heard_ms: Some(heard_ms),
        battery_pct: Level::battery_pct(100.0 - number as f64 / 20.0, heard_ms),
        rssi_dbm: Level::rssi_dbm(-60.0 - number as f64 / 17.0, heard_ms),
        online: Some(true),
        firmware: None,
    }
}

fn named(name: &str) -> DeviceSaid {
    DeviceSaid {
        device: name.into(),
        heard_ms: Some(NOON_MS),
        ..DeviceSaid::default()
    }
}

fn read(bytes: &[u8]) -> Said {
    decode(bytes).unwrap().unwrap()
}

#[test]
fn what_is_said_reads_back() {
    let mut all: Vec<DeviceSaid> = (0..5).map(device).collect();
    all.push(DeviceSaid {
        device: "zürich".into(),
        online: Some(false),
        firmware: Some(("1.2".into(), NOON_MS - 1_000_000_000)),
        battery_pct: Level::battery_pct(0.05, NOON_MS - 86_400_000),
        ..DeviceSaid::default()
    });
    all.push(DeviceSaid {
        battery_pct: Level::battery_pct(33.3, NOON_MS),
        heard_ms: Some(NOON_MS - 5_000),
        ..named("zürichberg")
    });
    let [bytes] = encode(NOON_MS, &all).try_into().unwrap();
    assert_eq!(
        read(&bytes),
        Said {
            at_ms: NOON_MS,
            devices: all.clone()
        }
    );
    all.reverse();
    assert_eq!(
        encode(NOON_MS, &all),
        [bytes],
        "in whatever order it is given"
    );
    assert_eq!(encode(NOON_MS, &[]), Vec::<Vec<u8>>::new());
}

#[test]
fn the_bytes_of_version_1_never_change() {
    let said = DeviceSaid {
        battery_pct: Level::battery_pct(71.5, NOON_MS - 60_000),
        rssi_dbm: Level::rssi_dbm(-101.0, NOON_MS - 2_000),
        firmware: Some(("1.2".into(), NOON_MS - 130_000)),
        heard_ms: Some(NOON_MS - 2_000),
        online: Some(true),
        device: "pump".into(),
    };
    let [bytes] = encode(NOON_MS, &[said, named("pump-2")])
        .try_into()
        .unwrap();
    // 194,529,600 s after 2020 began; one version of firmware; two devices.
    let mut expected = vec![1, 0xc0, 0x92, 0xe1, 0x5c, 1, 3, b'1', b'.', b'2', 2];
    expected.extend([0, 4, b'p', b'u', b'm', b'p', 1, 2]);
    // 715 tenths 58 s earlier, -1010 tenths at the same time; it is there; the firmware 130 s earlier.
    expected.extend([1, 0x96, 0x0b, 116, 1, 0xe3, 0x0f, 0, 1, 1, 1, 0, 0x82, 1]);
    expected.extend([4, 2, b'-', b'2', 1, 0, 0, 0, 0, 0]);
    assert_eq!(bytes, expected);
}

#[test]
fn a_thousand_devices_take_less_than_17_kb_a_quarter_of_an_hour() {
    let said: Vec<DeviceSaid> = (0..1_000).map(device).collect();
    let payloads = encode(NOON_MS, &said);
    let bytes: usize = payloads.iter().map(Vec::len).sum();
    println!("{bytes} bytes");
    assert!((13_000..17_000).contains(&bytes), "{bytes}");
    assert_eq!(payloads.len(), 2);
    assert!(
        payloads
            .iter()
            .all(|payload| payload.len() <= PAYLOAD_BYTES_MAX)
    );
    let back: Vec<DeviceSaid> = payloads
        .iter()
        .flat_map(|payload| read(payload).devices)
        .collect();
    assert!(back == said, "what reads back is not what was said");
}

#[test]
fn only_what_can_be_is_said() {
    assert_eq!(Level::battery_pct(101.0, 0), None);
    assert_eq!(Level::battery_pct(-0.1, 0), None);
    assert_eq!(Level::battery_pct(f64::NAN, 0), None);
    assert_eq!(Level::rssi_dbm(f64::NEG_INFINITY, 0), None);
    assert_eq!(Level::rssi_dbm(-87.26, 5).map(Level::value), Some(-87.3));
    let future = DeviceSaid {
        battery_pct: Level::battery_pct(50.0, NOON_MS + 86_400_000),
        heard_ms: Some(NOON_MS + 1_234),
        ..named("pump")
    };
    let said = future.sayable(NOON_MS + 700).unwrap();
    assert_eq!(said.heard_ms, Some(NOON_MS), "nothing is later than now");
    assert_eq!(said.battery_pct.map(|level| level.at_ms), Some(NOON_MS));
    let in_1970 = DeviceSaid {
        heard_ms: Some(5),
        ..named("pump")
    };
    assert_eq!(in_1970.sayable(NOON_MS), None, "nothing remains");
    assert_eq!(named("").sayable(NOON_MS), None);
    assert_eq!(named(&"a".repeat(257)).sayable(NOON_MS), None);
    let long = DeviceSaid {
        firmware: Some(("1".repeat(129), NOON_MS)),
        ..named("pump")
    };
    assert_eq!(long.sayable(NOON_MS), Some(named("pump")));
    assert_eq!(
        encode(5, &[named("pump")]),
        Vec::<Vec<u8>>::new(),
        "a clock in 1970"
    );
}

#[test]
fn what_no_node_says_is_malformed_and_a_later_version_is_kept_unread() {
    assert_eq!(decode(&[2, 0xff]), Ok(None));
    assert_eq!(decode(&[]), Err(Malformed));
    assert_eq!(decode(&[0]), Err(Malformed));
    assert_eq!(decode(&[1, 0, 0, 0]), Err(Malformed), "says nothing");
    let [sound] = encode(NOON_MS, &[named("a"), named("ab")])
        .try_into()
        .unwrap();
    // at (4 bytes), no firmware, two devices: a, and one more b.
    let rest = [
        0, 2, 0, 1, b'a', 1, 0, 0, 0, 0, 0, 1, 1, b'b', 1, 0, 0, 0, 0, 0,
    ];
    assert_eq!(sound[5..], rest);
    let refused = |at: usize, byte: u8| {
        let mut bytes = sound.clone();
        bytes[at] = byte;
        assert_eq!(decode(&bytes), Err(Malformed), "byte {at} = {byte}");
    };
    refused(16, 2); // more than there is
    refused(18, 0xff); // no text
    refused(10, 0); // then it says nothing
    let second = |names: &[u8]| {
        let bytes = [&sound[..16], names, &[1, 0, 0, 0, 0, 0]].concat();
        decode(&bytes).map(|said| said.unwrap().devices[1].device.clone())
    };
    assert_eq!(second(&[1, 1, b'b']), Ok("ab".into()));
    assert_eq!(
        second(&[0, 2, b'a', b'b']),
        Err(Malformed),
        "it shares more"
    );
    assert_eq!(second(&[0, 1, b'0']), Err(Malformed), "the wrong order");
    assert_eq!(second(&[1, 0]), Err(Malformed), "the same name again");
    let with = |changed: &[u8]| {
        let head: &[u8] = &[1, 0xc0, 0x92, 0xe1, 0x5c, 0, 1, 0, 1, b'a'];
        decode(&[head, changed].concat())
    };
    assert!(matches!(with(&[1, 0, 0, 0, 0, 0]), Ok(Some(_))));
    // 101 %; -200.1 dBm; a battery of a time after the entry; firmware that is not in the list; seven years ago.
    assert_eq!(with(&[1, 0, 1, 0xe4, 0x0f, 0, 0, 0, 0]), Err(Malformed));
    assert_eq!(with(&[1, 0, 0, 1, 0xa1, 0x1f, 0, 0, 0]), Err(Malformed));
    assert_eq!(with(&[1, 0, 1, 20, 1, 0, 0, 0]), Err(Malformed));
    assert_eq!(with(&[1, 0, 0, 0, 0, 1, 0, 0]), Err(Malformed));
    let seven_years = [1, 0x80, 0xf6, 0xb7, 0x69, 0, 0, 0, 0];
    assert_eq!(with(&seven_years), Err(Malformed));
    // A battery of nearly 2⁶³ seconds ago.
    let ages = [
        1, 0, 1, 20, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0,
    ];
    assert_eq!(with(&ages), Err(Malformed));
    let again = [&sound[..], &[0]].concat();
    assert_eq!(decode(&again), Err(Malformed), "a byte behind it");
}

fn known_of(devices: Vec<DeviceSaid>) -> Vec<Known> {
    let known = |said| Known {
        said,
        quiet_ms: None,
    };
    devices.into_iter().map(known).collect()
}

fn said_at(said_ms: i64, device: DeviceSaid) -> HealthSaid {
    HealthSaid {
        node: NodeId([1; 32]),
        said_ms,
        health: stored(device),
    }
}

#[test]
fn a_look_says_so_much_and_no_more_and_no_device_waits_for_ever() {
    let every_ms = 900_000;
    let all: Vec<DeviceSaid> = (0..5_000).map(device).collect();
    let mut said: Vec<HealthSaid> = Vec::new();
    let mut now_ms = NOON_MS;
    let mut looks = 0;
    while said.len() < all.len() {
        let some = wanted(known_of(all.clone()), said.clone(), now_ms, every_ms);
        assert!(some.iter().map(DeviceSaid::bytes_max).sum::<usize>() <= BYTES_PER_LOOK);
        let bytes: usize = encode(now_ms, &some).iter().map(Vec::len).sum();
        assert!(bytes < BYTES_PER_LOOK / 2, "{bytes}");
        said.retain(|said| some.iter().all(|some| some.device != said.health.device));
        said.extend(some.into_iter().map(|some| said_at(now_ms, some)));
        now_ms += 300_000;
        looks += 1;
        assert!(looks < 10, "{} of {}", said.len(), all.len());
    }
    // One that changed comes before all whose turn it is.
    let mut changed = all.clone();
    changed[4_000].online = Some(false);
    let some = wanted(known_of(changed), said, now_ms + every_ms, every_ms);
    assert_eq!(some[0].device, "river-4000");
}

#[test]
fn its_number_belongs_to_no_document_and_no_fact() {
    assert!(domain::schema::spec_by_code(KIND.0).is_none());
    assert_eq!(domain::FactKind::by_code(KIND.0), None);
    let others = [
        super::super::receipts::KIND,
        super::super::summaries::KIND,
        super::super::summaries::RAW_KIND,
    ];
    assert!(!others.contains(&KIND));
}

fn any_device() -> impl Strategy<Value = DeviceSaid> {
    let time = || NOON_MS - 100_000_000..NOON_MS + 100_000;
    let level = move || proptest::option::of((-300.0..300.0_f64, time()));
    (
        "[a-c]{1,4}",
        proptest::option::of(time()),
        level(),
        level(),
        proptest::option::of(any::<bool>()),
        proptest::option::of(("[0-9.]{0,3}", time())),
    )
        .prop_map(
            |(device, heard_ms, battery, rssi, online, firmware)| DeviceSaid {
                device,
                heard_ms,
                battery_pct: battery.and_then(|(value, at_ms)| Level::battery_pct(value, at_ms)),
                rssi_dbm: rssi.and_then(|(value, at_ms)| Level::rssi_dbm(value, at_ms)),
                online,
                firmware,
            },
        )
}

proptest! {
    #[test]
    fn what_is_sayable_reads_back(devices in proptest::collection::vec(any_device(), 0..20)) {
        let mut said: Vec<DeviceSaid> =
            devices.into_iter().filter_map(|device| device.sayable(NOON_MS)).collect();
        said.sort_by(|a, b| a.device.cmp(&b.device));
        said.dedup_by(|b, a| a.device == b.device);
        for payload in encode(NOON_MS, &said) {
            prop_assert_eq!(&read(&payload).devices, &said);
        }
    }

    #[test]
    fn no_bytes_make_it_panic_and_what_is_read_has_one_form(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..200), versioned in any::<bool>(),
    ) {
        if versioned && let Some(first) = bytes.first_mut() {
            *first = 1;
        }
        if let Ok(Some(said)) = decode(&bytes) {
            prop_assert_eq!(encode(said.at_ms, &said.devices), [bytes]);
        }
    }
}
