//! What nodes say of their sensors: summaries, and readings that they give away. The codecs stand in `node` too.

#[path = "../../../node/src/app/summaries/payload.rs"]
pub mod payload;
#[path = "../../../node/src/app/summaries/raw.rs"]
pub mod raw;

use payload::{PAYLOAD_BYTES_MAX, QUARTER_MS, decode, encode};

/// A summary that is read is sound, and is what a node would have written.
pub fn summary(data: &[u8]) -> bool {
    let Ok(Some(said)) = decode(data) else {
        return false;
    };
    for series in &said {
        assert!(!series.device.is_empty() && !series.channel.is_empty());
        assert!(series.quarters.is_sorted_by(|a, b| a.number < b.number));
        for quarter in &series.quarters {
            assert!(quarter.number.checked_mul(QUARTER_MS).is_some());
            assert!(quarter.count > 0 && quarter.min <= quarter.max);
            assert!(quarter.sum.is_finite());
        }
    }
    let again = encode(&said);
    if data.len() <= PAYLOAD_BYTES_MAX {
        assert_eq!(again, [data]);
    }
    let read_back: usize = again
        .iter()
        .flat_map(|payload| decode(payload).ok().flatten().unwrap_or_default())
        .map(|series| series.quarters.len())
        .sum();
    assert_eq!(
        read_back,
        said.iter()
            .map(|series| series.quarters.len())
            .sum::<usize>()
    );
    true
}

/// Readings that are read lie in their quarter in the order of time, and are what a node would have written.
pub fn raw_readings(data: &[u8]) -> bool {
    let Ok(Some(quarter)) = raw::decode(data) else {
        return false;
    };
    assert!(!quarter.device.is_empty() && !quarter.channel.is_empty());
    assert!((1..=raw::READINGS_MAX).contains(&quarter.readings.len()));
    assert!(quarter.readings.is_sorted_by_key(|(at_ms, _)| *at_ms));
    for (at_ms, value) in &quarter.readings {
        assert_eq!(at_ms.div_euclid(QUARTER_MS), quarter.number);
        assert!(value.is_finite());
    }
    assert_eq!(raw::encode(&quarter).as_deref(), Some(data));
    true
}
