//! What devices say besides values, through moves to blocks, restarts and messages that come again.

use super::*;

fn text(id: u8, words: &str) -> DeviceText {
    DeviceText {
        id: [id; 16],
        device: "radio".into(),
        text: words.into(),
        to: None,
        channel: None,
        received_ms: START_MS,
        sent_ms: None,
    }
}

#[test]
fn times_of_readings_are_kept_in_blocks_and_odd_ones_beside_them() {
    let dir = tempfile::tempdir().unwrap();
    let readings = open(dir.path(), small());
    let series = readings
        .intern_series(
            &names("gauge", "level", "m"),
            SeriesOwner::Approved,
            START_MS,
        )
        .unwrap();
    // Every second reading has a clock that counts from 1970; every fifth has none.
    let said = |number: i64| match number {
        number if number % 5 == 0 => None,
        number if number % 2 == 0 => Some(number),
        number => Some(START_MS + number * 1000),
    };
    for batch in 0..10 {
        let numbers: Vec<i64> = (batch * 10..batch * 10 + 10).collect();
        let new = numbers.iter().map(|number| NewReading {
            device_time: said(*number).is_some_and(|at| at >= START_MS),
            ..reading(series, START_MS + number * 1000, 1.0)
        });
        let odd_clocks = (0..).zip(&numbers).filter_map(|(reading, number)| {
            let device_ms = said(*number).filter(|at| *at < START_MS)?;
            Some(OddClock { reading, device_ms })
        });
        let batch = IngestBatch {
            readings: new.collect(),
            devices: DeviceWrites {
                odd_clocks: odd_clocks.collect(),
                ..DeviceWrites::default()
            },
            ..IngestBatch::default()
        };
        readings.ingest(batch).wait().unwrap();
    }
    settle(&readings, START_MS, FOR_EVER);
    assert!(number(dir.path(), "SELECT count(*) FROM block") > 0);
    let (timed, more) = readings
        .timed_points(series, i64::MIN, i64::MAX, POINTS_MAX)
        .unwrap();
    assert!(!more);
    let seen: Vec<_> = timed
        .iter()
        .map(|timed| (timed.point.at_ms, timed.received_ms, timed.device_ms))
        .collect();
    let expected: Vec<_> = (0..100)
        .map(|number| {
            let at_ms = START_MS + number * 1000;
            (at_ms, at_ms + 5, said(number))
        })
        .collect();
    assert_eq!(seen, expected);
    let (newest, more) = readings
        .timed_points(series, i64::MIN, i64::MAX, 7)
        .unwrap();
    assert!(more);
    assert_eq!(newest, timed[93..]);

    while readings
        .expire_odd_clocks(START_MS + 50_000)
        .wait()
        .unwrap()
    {}
    let (timed, _) = readings
        .timed_points(series, i64::MIN, i64::MAX, POINTS_MAX)
        .unwrap();
    assert_eq!((timed[42].device_ms, timed[52].device_ms), (None, Some(52)));
    readings.close();
}

#[test]
fn a_reading_that_came_already_leaves_no_second_odd_time() {
    let dir = tempfile::tempdir().unwrap();
    let readings = open(dir.path(), small());
    let series = readings
        .intern_series(
            &names("gauge", "level", "m"),
            SeriesOwner::Approved,
            START_MS,
        )
        .unwrap();
    let (session, _) = readings.intern_session("client", START_MS);
    for redelivered in [false, true] {
        let batch = IngestBatch {
            readings: vec![NewReading {
                device_time: false,
                message: Some(0),
                ..reading(series, START_MS, 1.0)
            }],
            messages: vec![Delivery {
                session,
                packet_id: 1,
                payload_hash: 7,
                redelivered,
                exactly_once: false,
            }],
            devices: DeviceWrites {
                odd_clocks: vec![OddClock {
                    reading: 0,
                    device_ms: 5,
                }],
                ..DeviceWrites::default()
            },
            ..IngestBatch::default()
        };
        readings.ingest(batch).wait().unwrap();
    }
    assert_eq!(number(dir.path(), "SELECT count(*) FROM odd_clock"), 1);
    readings.close();
}

#[test]
fn a_text_that_was_written_down_does_not_come_back_with_its_message() {
    let dir = tempfile::tempdir().unwrap();
    let say = |readings: &Readings, packet_id, redelivered| {
        let (session, _) = readings.intern_session("gateway", START_MS);
        let batch = IngestBatch {
            messages: vec![Delivery {
                session,
                packet_id,
                payload_hash: 7,
                redelivered,
                exactly_once: false,
            }],
            devices: DeviceWrites {
                texts: vec![NewText {
                    text: text(1, "Help"),
                    message: Some(0),
                }],
                ..DeviceWrites::default()
            },
            ..IngestBatch::default()
        };
        readings.ingest(batch).wait().unwrap().duplicates
    };
    let readings = open(dir.path(), small());
    assert_eq!(say(&readings, 1, false), 0);
    assert_eq!(readings.device_texts().unwrap(), [text(1, "Help")]);
    let of_device = readings.device_texts_of(&text(1, "Help").device).unwrap();
    assert_eq!(of_device, [text(1, "Help")]);
    assert!(readings.device_texts_of("other").unwrap().is_empty());
    let ids = readings.device_text_ids().unwrap();
    assert_eq!(ids, [text(1, "Help").id]);
    assert_eq!(readings.device_text(ids[0]).unwrap(), Some(text(1, "Help")));
    assert_eq!(readings.device_text([9; 16]).unwrap(), None);
    assert_eq!(
        readings.device_text_counts().unwrap(),
        [("radio".to_owned(), 1)]
    );
    readings.device_text_written([1; 16]).wait().unwrap();
    readings.close();
    let readings = open(dir.path(), small());
    assert_eq!(say(&readings, 1, true), 1);
    assert!(readings.device_texts().unwrap().is_empty());
    readings.close();
}

#[test]
fn what_a_device_does_not_say_again_stays_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let readings = open(dir.path(), small());
    let place = ReportedPlace {
        lat: 48.1,
        lon: 11.5,
        alt_m: Some(520.0),
    };
    let lower = ReportedPlace {
        alt_m: None,
        ..place
    };
    let firmware = DeviceReport {
        device: "pump".into(),
        firmware: Some(("1.0".into(), 1000)),
        label: Some(("Truck 4".into(), 1000)),
        place: None,
    };
    let reports = [
        firmware.clone(),
        DeviceReport {
            firmware: None,
            place: Some((place, 2000)),
            ..firmware.clone()
        },
        DeviceReport {
            firmware: Some(("1.1".into(), 3000)),
            label: None,
            ..firmware.clone()
        },
        DeviceReport {
            firmware: None,
            label: Some(("Truck 5".into(), 3500)),
            ..firmware.clone()
        },
    ];
    let say = |reports: Vec<DeviceReport>| {
        let batch = IngestBatch {
            devices: DeviceWrites {
                reports,
                ..DeviceWrites::default()
            },
            ..IngestBatch::default()
        };
        readings.ingest(batch).wait().unwrap();
        readings.device_reports().unwrap()
    };
    let known = DeviceReport {
        firmware: Some(("1.1".into(), 3000)),
        label: Some(("Truck 5".into(), 3500)),
        place: Some((place, 2000)),
        ..firmware.clone()
    };
    assert_eq!(say(reports.to_vec()), std::slice::from_ref(&known));
    let moved = DeviceReport {
        firmware: None,
        label: None,
        place: Some((lower, 4000)),
        ..firmware
    };
    let known = DeviceReport {
        place: moved.place,
        ..known
    };
    assert_eq!(say(vec![moved]), [known]);
    readings.close();
}
