//! What nodes say of their sensors.

use crate::summary_payload::{PAYLOAD_BYTES_MAX, QUARTER_MS, decode, encode};

/// What is read is sound, and is what a node would have written.
pub fn payload(data: &[u8]) -> bool {
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
