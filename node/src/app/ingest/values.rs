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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sensor_drivers::script::ScriptHost;
    use sensor_drivers::{DecoderTable, Message};
    use serde_json::json;

    use super::*;

    /// A time of 2026.
    const NOW_MS: i64 = 1_795_291_200_000;
    const HOUR_MS: i64 = 3_600_000;

    #[test]
    fn a_forecast_beside_a_value_of_now_does_not_move_it() {
        let entry = json!([{
            "topic": "tide/+", "format": "json", "device": "{2}",
            "values": [
                { "channel": "level", "pointer": "/now/level", "time_pointer": "/now/t" },
                { "channel": "next_high", "pointer": "/next_high/level", "time_pointer": "/next_high/t" },
            ],
        }]);
        let entries: Vec<_> = serde_json::from_value(entry).unwrap();
        let table = DecoderTable::build(&entries, ScriptHost { monotonic: None }).unwrap();
        let payload = json!({
            "now": { "t": NOW_MS, "level": 3.1 },
            "next_high": { "t": NOW_MS + 6 * HOUR_MS, "level": 4.0 },
        })
        .to_string();
        let received_ms = NOW_MS + 1_000;
        let message = Message {
            topic: "tide/pier",
            payload: payload.as_bytes(),
            received_ms,
        };
        let decoded = table.decode(&message).unwrap();
        let filed: Vec<_> = values_of(&decoded.devices[0], received_ms)
            .map(|(sample, judged)| {
                let judged = (judged.estimated_ms, judged.flag.is_absurd());
                (sample.channel.clone(), judged)
            })
            .collect();
        assert_eq!(
            filed,
            [
                ("level".to_owned(), (NOW_MS, false)),
                ("next_high".to_owned(), (received_ms, true)),
            ]
        );
    }
}
