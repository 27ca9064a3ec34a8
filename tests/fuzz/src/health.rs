//! What nodes say of their devices. The codec stands in `node` too.

#[path = "../../../node/src/app/health/payload.rs"]
pub mod payload;

use payload::{PAYLOAD_BYTES_MAX, decode, encode};

/// What is read is in the order of names, of no time after the entry, and is what a node would have written.
pub fn health(data: &[u8]) -> bool {
    let Ok(Some(said)) = decode(data) else {
        return false;
    };
    assert!(said.devices.is_sorted_by(|a, b| a.device < b.device));
    for device in &said.devices {
        let levels = [device.battery_pct, device.rssi_dbm].into_iter().flatten();
        assert!(levels.clone().all(|level| level.value().abs() <= 200.0));
        let firmware = device.firmware.iter().map(|(_, at_ms)| *at_ms);
        let mut times = device
            .heard_ms
            .into_iter()
            .chain(levels.map(|level| level.at_ms))
            .chain(firmware);
        assert!(times.all(|at_ms| at_ms <= said.at_ms));
        assert_eq!(device.clone().sayable(said.at_ms).as_ref(), Some(device));
    }
    let again = encode(said.at_ms, &said.devices);
    if data.len() <= PAYLOAD_BYTES_MAX {
        assert_eq!(again, [data]);
    }
    let read_back: usize = again
        .iter()
        .flat_map(|payload| decode(payload).ok().flatten())
        .map(|said| said.devices.len())
        .sum();
    assert_eq!(read_back, said.devices.len());
    true
}
