//! The values of a decoded message, each with the time that counts; the same when it comes and when it is read again.

use std::borrow::Cow;

use sensor_drivers::ucum::one_spelling;
use sensor_drivers::{ChannelSample, DeviceFacts, DeviceReport, JudgedTime, Quality, UnitString};

use super::times::judged_together;
use crate::app::devices::Health;

/// The one spelling of it in our table of units (UCUM has no level over a milliwatt).
const DECIBEL_MILLIWATT: &str = "dBm";

/// How far a signal stands above the noise: with LoRa it tells better than its strength whether a radio is still heard.
const SNR_CHANNEL: &str = "snr_db";
const DECIBEL: &str = "dB";

/// The unit of the series that a value belongs to; empty for none.
pub(in crate::app) fn series_unit(unit: Option<&UnitString>) -> &str {
    unit.map_or("", |unit| one_spelling(unit.as_str()))
}

/// What a message says of one device in values: those of its channels, then those of its radio.
pub(in crate::app) fn values_of(
    report: &DeviceReport,
    received_ms: i64,
) -> impl Iterator<Item = (Cow<'_, ChannelSample>, JudgedTime)> {
    let samples = report.samples.iter().map(Cow::Borrowed);
    let samples: Vec<Cow<'_, ChannelSample>> = samples
        .chain(of_radio(&report.facts).map(Cow::Owned))
        .collect();
    let judged = judged_together(
        samples.iter().map(|sample| sample.device_time_ms),
        received_ms,
    );
    samples.into_iter().zip(judged)
}

/// The signal, as channels of its own: it can be charted, and is there after a restart. (Formats give the battery as a
/// channel themselves.)
fn of_radio(facts: &DeviceFacts) -> impl Iterator<Item = ChannelSample> {
    let signal = [
        (Health::Rssi.channel(), facts.rssi_dbm, DECIBEL_MILLIWATT),
        (SNR_CHANNEL, facts.snr_db, DECIBEL),
    ];
    signal.into_iter().filter_map(|(channel, value, unit)| {
        Some(ChannelSample {
            channel: channel.to_owned(),
            // Adding 0 turns −0 into 0.
            value: value? + 0.0,
            unit: UnitString::parse(unit).ok().flatten(),
            device_time_ms: None,
            quality: Quality::Good,
        })
    })
}
