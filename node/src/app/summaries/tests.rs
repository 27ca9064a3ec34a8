//! What is said, as bytes: what reads back, what it costs, and what nobody gets past it.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::payload::*;

/// 2026-03-01 12:00 UTC.
const NOON: i64 = 1_772_366_400_000 / QUARTER_MS;

fn quarter(number: i64, values: &[f64]) -> Quarter {
    Quarter {
        number,
        count: values.len() as u64,
        min: values.iter().copied().fold(f64::INFINITY, f64::min),
        max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        sum: values.iter().sum(),
    }
    .sayable()
    .unwrap()
}

fn series(device: &str, channel: &str, quarters: Vec<Quarter>) -> SeriesSaid {
    SeriesSaid {
        device: device.into(),
        channel: channel.into(),
        unit: "m".into(),
        quarters,
    }
}

fn read(bytes: &[u8]) -> Vec<SeriesSaid> {
    decode(bytes).unwrap().unwrap()
}

#[test]
fn what_is_said_reads_back_bit_for_bit() {
    let said = vec![
        series(
            "river-1",
            "level",
            vec![
                quarter(NOON, &[3.42, 3.5, 3.47]),
                quarter(NOON + 2, &[-1.0]),
            ],
        ),
        series("river-2", "level", vec![quarter(NOON, &[1.0 / 3.0, 1e300])]),
    ];
    let [bytes] = encode(&said).try_into().unwrap();
    assert_eq!(read(&bytes), said);
    assert_eq!(encode(&[]), Vec::<Vec<u8>>::new());
    let mut turned = said.clone();
    turned.reverse();
    assert_eq!(
        encode(&turned),
        [bytes],
        "the order in which it is given does not matter"
    );
}

#[test]
fn the_bytes_of_version_1_never_change() {
    let [bytes] = encode(&[series("a", "b", vec![quarter(NOON, &[0.5, 1.0])])])
        .try_into()
        .unwrap();
    let mut expected = vec![1, 1, 1, b'b', 1, 1, b'm', 1, 1, b'a', 1, 0, 0, 1];
    // 216,144 quarters after 2020 began; two readings; tenths: 5, 5 more, 15.
    expected.extend([0xd0, 0x98, 0x0d, 2, 0, 1, 10, 5, 30]);
    assert_eq!(bytes, expected);
}

#[test]
fn the_sum_of_tenths_is_a_number_of_tenths_again() {
    let values = vec![0.1; 900];
    let sum: f64 = values.iter().sum();
    assert_ne!(sum, 90.0, "or the test shows nothing");
    assert_eq!(quarter(NOON, &values).sum, 90.0);
}

#[test]
fn a_thousand_series_take_less_than_20_kb_a_quarter_of_an_hour() {
    let channels = ["level", "flow", "battery_pct", "rssi_dbm"];
    let mut said: Vec<SeriesSaid> = (0..1_000)
        .map(|number| {
            let values: Vec<f64> = (0..900)
                .map(|second| (f64::from(number * 31 + second) % 977.0).round() / 100.0)
                .collect();
            let device = format!("river-{:04}", number / 4);
            series(
                &device,
                channels[number as usize % 4],
                vec![quarter(NOON, &values)],
            )
        })
        .collect();
    said.sort_by(|a, b| (&a.device, &a.channel).cmp(&(&b.device, &b.channel)));
    let payloads = encode(&said);
    let bytes: usize = payloads.iter().map(Vec::len).sum();
    println!("{bytes} bytes");
    assert!((14_000..20_000).contains(&bytes), "{bytes}");
    assert!(
        payloads
            .iter()
            .all(|payload| payload.len() <= PAYLOAD_BYTES_MAX)
    );
    let back: Vec<SeriesSaid> = payloads.iter().flat_map(|payload| read(payload)).collect();
    assert!(back == said, "what reads back is not what was said");
}

#[test]
fn what_does_not_fit_an_entry_is_split_by_series_and_by_time() {
    let month: Vec<Quarter> = (0..2_880)
        .map(|number| quarter(NOON + number, &[1.0 / 3.0, 2.0 / 3.0]))
        .collect();
    let said = [series("a", "x", month.clone()), series("b", "x", month)];
    let payloads = encode(&said);
    assert!(payloads.len() > 8);
    assert!(
        payloads
            .iter()
            .all(|payload| payload.len() <= PAYLOAD_BYTES_MAX)
    );
    let mut quarters = 0;
    for payload in &payloads {
        quarters += read(payload)
            .iter()
            .map(|series| series.quarters.len())
            .sum::<usize>();
    }
    assert_eq!(quarters, 2 * 2_880);
}

#[test]
fn what_no_node_says_is_malformed_and_a_later_version_is_kept_unread() {
    assert_eq!(decode(&[2, 0xff]), Ok(None));
    assert_eq!(decode(&[]), Err(Malformed));
    assert_eq!(decode(&[0]), Err(Malformed));
    assert_eq!(decode(&[1, 0, 0, 0]), Err(Malformed), "says nothing");
    let sound = quarter(NOON, &[1.0, 2.0]);
    let refused = |said: &[SeriesSaid]| {
        for payload in encode(said) {
            assert_eq!(decode(&payload), Err(Malformed), "{said:?}");
        }
    };
    for quarter in [
        Quarter { count: 0, ..sound },
        Quarter {
            count: u64::MAX,
            ..sound
        },
        Quarter {
            max: f64::INFINITY,
            ..sound
        },
        Quarter {
            sum: f64::NAN,
            ..sound
        },
        Quarter {
            min: 7.0 / 3.0,
            ..sound
        },
        // 2106.
        Quarter {
            number: 4_772_185,
            ..sound
        },
    ] {
        assert_eq!(quarter.sayable(), None);
        refused(&[series("a", "x", vec![quarter])]);
    }
    let in_1970 = Quarter { number: 0, ..sound };
    assert_eq!(in_1970.sayable(), None, "and there are no bytes for it");
    refused(&[series("", "x", vec![sound])]);
    refused(&[series("a", "", vec![sound])]);
    refused(&[series(&"a".repeat(257), "x", vec![sound])]);
    refused(&[series("a", "x", vec![])]);
    refused(&[series("a", "x", vec![sound, sound])]);
    refused(&[series("a", "x", vec![sound]), series("a", "x", vec![sound])]);
    // Longer than it has to be: a byte behind it, and a number in two bytes that fits one.
    let [bytes] = encode(&[series("a", "x", vec![sound])]).try_into().unwrap();
    assert_eq!(decode(&[&bytes[..], &[0]].concat()), Err(Malformed));
    let longer = [&[1, 0x81, 0x00][..], &bytes[2..]].concat();
    assert_eq!(decode(&longer), Err(Malformed));
}

proptest! {
    #[test]
    fn whatever_a_sensor_measures_is_said_as_its_rollups_have_it(
        values in proptest::collection::vec(prop_oneof![
            any::<f64>().prop_filter("finite", |value| value.is_finite() && value.abs() < 1e300),
            (-100_000i32..100_000).prop_map(|hundredths| f64::from(hundredths) / 100.0),
        ], 1..50),
    ) {
        let sum: f64 = values.iter().sum();
        let said = [series("a", "x", vec![quarter(NOON, &values)])];
        let back = read(&encode(&said)[0]);
        prop_assert_eq!(&back[..], &said[..]);
        let quarter = back[0].quarters[0];
        prop_assert!((quarter.sum - sum).abs() <= sum.abs().max(1.0) * 1e-9);
        prop_assert_eq!(quarter.sayable(), Some(quarter), "said once, it is said the same again");
    }

    #[test]
    fn no_bytes_make_it_panic_and_what_is_read_has_one_form(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..200), versioned in any::<bool>(),
    ) {
        if versioned && let Some(first) = bytes.first_mut() {
            *first = 1;
        }
        if let Ok(Some(said)) = decode(&bytes) {
            prop_assert_eq!(encode(&said), [bytes]);
        }
    }
}

#[test]
fn its_number_belongs_to_no_document_and_no_fact() {
    assert!(domain::schema::spec_by_code(KIND.0).is_none());
    assert_eq!(domain::FactKind::by_code(KIND.0), None);
    assert_ne!(KIND, crate::app::receipts::KIND);
}

#[test]
fn the_next_look_is_shortly_after_the_quarter_of_an_hour() {
    let at = |now_ms| super::until_next(now_ms).as_millis() as i64;
    assert_eq!(at(NOON * QUARTER_MS), super::SETTLE_MS);
    assert_eq!(at(NOON * QUARTER_MS + super::SETTLE_MS), QUARTER_MS);
    assert_eq!(
        at(NOON * QUARTER_MS + super::SETTLE_MS + 1_000),
        QUARTER_MS - 1_000
    );
}
