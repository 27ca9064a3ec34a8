//! Messages in other formats than Muster's own: many values of several devices, and what is said about those devices.
//!
//! Invariant: a message is stored as a whole or is a dead letter as a whole: every name is looked up before the first
//! reading goes into the batch.

use std::sync::Arc;
use std::time::Instant;

use sensor_drivers::{ChannelSample, Decoded, Entry, JudgedTime, Quality};
use store::flags::Coming;
use store::{NewReading, NewText, SeriesNames};

use super::session::shown;
use super::times::{is_of_unknown_age, new_reading, odd_clock};
use super::values::{series_unit, values_of};
use super::{IngestSession, Message};
use crate::app::dead_letters::Unreadable;
use crate::app::devices::{DeviceEntry, Devices, Health, Reserved};
use crate::app::messages::{can_be_told_apart, device_text};

/// A value on its way into the batch.
struct Ready {
    device: Arc<DeviceEntry>,
    health: Option<Health>,
    judged: JudgedTime,
    reading: NewReading,
}

impl IngestSession {
    /// Takes a message that a configured decoder reads.
    pub(super) fn formatted(
        &mut self,
        entry: &Entry,
        message: &Message<'_>,
    ) -> Result<(), Unreadable> {
        let received = sensor_drivers::Message {
            topic: message.topic,
            payload: message.payload,
            received_ms: self.now_ms,
        };
        let decoded = if entry.takes_time() {
            let started = Instant::now();
            let decoded = self.shared.scripts.run(|| entry.decode(&received));
            self.decoding += started.elapsed();
            decoded.ok_or(Unreadable::ScriptsBusy)?
        } else {
            entry.decode(&received)
        }?;
        if let Some(why) = decoded.noise {
            metrics::counter!("muster_ingest_noise_total", "decoder" => entry.name().to_owned(), "why" => why)
                .increment(1);
        }
        if decoded.skipped > 0 {
            metrics::counter!("muster_ingest_members_skipped_total", "decoder" => entry.name().to_owned())
                .increment(u64::from(decoded.skipped));
        }
        self.take_decoded(&decoded, message)
    }

    fn take_decoded(&mut self, decoded: &Decoded, message: &Message<'_>) -> Result<(), Unreadable> {
        let (mut ready, mut heard, mut texts) = (Vec::new(), Vec::new(), Vec::new());
        let mut reserved = Vec::new();
        for report in &decoded.devices {
            if self.nobody && self.shared.devices.claims().has(&report.device) {
                return Err(Unreadable::NotItsAccount);
            }
            let device = self
                .shared
                .devices
                .entry(&report.device)
                .ok_or(Unreadable::TooManyDevices)?;
            for (sample, judged) in values_of(report, self.now_ms) {
                // Stored with the time of receipt it would look fresh.
                if is_of_unknown_age(&judged, message.kept) {
                    continue;
                }
                let reading = self.reading_of(&device, &report.device, &sample, judged, message)?;
                ready.push(reading);
            }
            let of_device = report.texts.iter();
            let of_device = of_device.filter(|text| !message.kept || can_be_told_apart(text));
            let before = texts.len();
            texts.extend(of_device.map(|text| device_text(&report.device, text, self.now_ms)));
            let places = reserve_texts(
                &self.shared.devices,
                &report.device,
                &device,
                texts.len() - before,
            )?;
            reserved.extend(places);
            heard.push((device, report));
        }
        for (device, report) in heard.iter().filter(|_| !message.kept) {
            // That it is gone is somebody else's word: nothing was heard of the device itself.
            if report.facts.online != Some(false) && !self.absent {
                device.heard(self.now_ms);
            }
            let news = device.told(&report.device, &report.facts, self.now_ms);
            self.batch.devices.reports.extend(news);
        }
        // One row in the store of messages, whatever it brought.
        let is_recognised = !texts.is_empty()
            || ready
                .iter()
                .any(|ready| !ready.reading.device_time || self.once.is_some());
        let number = if is_recognised {
            self.remember(message.topic, message.payload, message.delivery)
        } else {
            None
        };
        for Ready {
            device,
            health,
            judged,
            mut reading,
        } in ready
        {
            if let Some(health) = health.filter(|_| !message.kept) {
                // One that is made from the receipt is of then, like the device's own.
                let has_own_time = reading.device_time || reading.at_ms != reading.received_ms;
                device.note(health, shown(&reading), has_own_time);
            }
            let odd = odd_clock(&judged, self.batch.readings.len());
            self.batch.devices.odd_clocks.extend(odd);
            if !reading.device_time || self.once.is_some() {
                reading.message = number;
            }
            self.batch.readings.push(reading);
        }
        let texts = texts.into_iter().map(|text| NewText {
            text,
            message: number,
        });
        self.batch.devices.texts.extend(texts);
        self.texts.extend(reserved);
        Ok(())
    }

    fn reading_of(
        &self,
        device: &Arc<DeviceEntry>,
        name: &str,
        sample: &ChannelSample,
        judged: JudgedTime,
        message: &Message<'_>,
    ) -> Result<Ready, Unreadable> {
        if sample.quality == Quality::Suspect {
            metrics::counter!("muster_ingest_suspect_values_total").increment(1);
        }
        let names = SeriesNames {
            device: name,
            channel: &sample.channel,
            unit: series_unit(sample.unit.as_ref()),
        };
        let readings = self.shared.store.readings();
        let series = readings.intern_series(&names, device.owner(), self.now_ms)?;
        let coming = Coming {
            approved: device.is_approved(),
            suspect: sample.quality == Quality::Suspect,
            retained: message.kept,
            late: false,
        };
        Ok(Ready {
            health: Health::of_channel(&sample.channel),
            judged,
            reading: new_reading(series, &judged, self.now_ms, sample.value, coming),
            device: Arc::clone(device),
        })
    }
}

/// Places for so many texts of a device; `None` where there are none.
pub(in crate::app) fn reserve_texts(
    devices: &Devices,
    name: &str,
    device: &DeviceEntry,
    count: usize,
) -> Result<Option<Reserved>, Unreadable> {
    if count == 0 {
        return Ok(None);
    }
    let of_approved = device.is_approved();
    devices
        .texts()
        .reserve(name, of_approved, count as u64)
        .map(Some)
        .ok_or(Unreadable::TooManyTexts { of_approved })
}
